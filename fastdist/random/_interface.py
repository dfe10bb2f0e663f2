"""Functions of fastdist/random.h as ctypes and cffi have them, beside those of NumPy's bit generators."""

from __future__ import annotations

import functools
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np

# `fd_cursor`; a position is below 2^58, and signed, as Numba makes a float of a signed and an unsigned integer.
CURSOR = np.dtype(
    [("position", np.int64), ("carry", np.uint64), ("made", np.intp), ("number", np.float64, (1024,))]
)
# Functions that take a state alone; those that fill an array, and its type.
NEXT = ("next_normal", "next_uniform")
FILL = {
    "fill_normal_f64": "double",
    "fill_normal_f32": "float",
    "fill_uniform_f64": "double",
    "fill_uniform_f32": "float",
}


def get_include() -> str:
    """Directory of the C header ``fastdist/random.h``.

    Returns
    -------
    str
        For ``include_dirs`` of an extension; ``docs/guides/c_interface.md`` shows what to do with it.

    Examples
    --------
    >>> import os, fastdist as fd
    >>> os.path.isfile(os.path.join(fd.get_include(), "fastdist", "random.h"))
    True
    """
    return str(Path(__file__).parents[1] / "include")


@functools.cache
def _ctypes_functions(addresses: tuple[int, ...]) -> tuple[Any, ...]:
    import ctypes

    array: dict[str, type[Any]] = {
        "double": ctypes.POINTER(ctypes.c_double),
        "float": ctypes.POINTER(ctypes.c_float),
    }
    types = [ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_void_p) for _ in NEXT]
    types += [
        ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t, array[real]) for real in FILL.values()
    ]
    return tuple(made(address) for made, address in zip(types, addresses, strict=True))


@functools.cache
def _cffi_functions(addresses: tuple[int, ...]) -> tuple[Any, ...]:
    import cffi

    ffi = cffi.FFI()
    types = ["double (*)(void *)" for _ in NEXT]
    types += [f"void (*)(void *, intptr_t, {real} *)" for real in FILL.values()]
    return tuple(ffi.cast(declared, address) for declared, address in zip(types, addresses, strict=True))


@functools.cache
def _type(fields: tuple[str, ...]) -> Any:
    return namedtuple("interface", (*fields, *NEXT, *FILL))


def with_ctypes(interface: Any, addresses: tuple[int, ...]) -> Any:
    """NumPy's `ctypes` interface, the functions at these addresses, in the order of NEXT and FILL, and cursors."""
    import ctypes

    memory = (ctypes.c_char * (2 * CURSOR.itemsize)).from_address(interface.state_address)
    fields = (*interface._fields, "cursors")
    return _type(fields)(*interface, np.frombuffer(memory, CURSOR), *_ctypes_functions(addresses))


def with_cffi(interface: Any, addresses: tuple[int, ...]) -> Any:
    """The same of its `cffi` interface."""
    return _type(interface._fields)(*interface, *_cffi_functions(addresses))
