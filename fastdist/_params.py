"""Parameters, values and `out=`: from what a user passes to what a kernel takes.

This is the only place that copies. A packed array is native, aligned and C-contiguous, with
size 1 where it was broadcast; kernels read the broadcast dims with stride 0.

parameters   the array parameters of a constructor -> packed arrays of one dtype
check_*      their values; errors name parameter, shape and index
values       the argument of a density -> packed array and the dtype to compute in
destination  `out=` -> the array that kernels write, and how its content gets to the user

Real, ArrayLike, NDArray are for annotations, which `typing.get_type_hints` can resolve. numpy.typing's
would take as long to import as all of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np

from fastdist._kernels import bridge
from fastdist._shapes import Shape, check_total

Scalar = TypeVar("Scalar", bound=np.generic)
NDArray: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[Scalar]]
Real: TypeAlias = NDArray[np.float32 | np.float64]
RealDType: TypeAlias = np.dtype[np.float32 | np.float64]


@runtime_checkable
class SupportsArray(Protocol):
    """Arrays of NumPy's and others', and their scalars."""

    def __array__(self) -> NDArray[Any]: ...


# What np.asarray takes.
ArrayLike: TypeAlias = SupportsArray | Sequence[Any] | bool | int | float

FLOAT32: np.dtype[np.float32] = np.dtype(np.float32)
FLOAT64: np.dtype[np.float64] = np.dtype(np.float64)

# For functions that compute with NumPy: its error state and its warnings are about the user's own steps.
quiet = np.errstate(all="ignore")

# Python's own numbers are weak, as in NumPy 2: they take the dtype of the arrays beside them.
_WEAK = (float, int, bool)


def as_array(name: str, value: ArrayLike) -> NDArray[Any]:
    """`value` as a real array, whatever its layout."""
    if type(value) is int:
        try:
            value = float(value)  # NumPy makes an object of an int beyond 64 bits
        except OverflowError:
            raise ValueError(f"{name} is too large for float64") from None
    if type(value) is not np.ndarray:
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(f"{name} must not be a masked array: fill or compress it first")
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"{name} is no array: {error}") from None
    if value.dtype.char not in "dfe" and value.dtype.kind not in "biu":
        raise TypeError(f"{name} must be of a real dtype up to float64, got {value.dtype}")
    return value


def _strong_dtype(array: NDArray[Any]) -> RealDType:
    return FLOAT32 if array.dtype.char in "fe" else FLOAT64


def pack(array: NDArray[Any], dtype: RealDType, core_ndim: int = 0, *, owned: bool = False) -> Real:
    """`array` itself (or a view of it) where layout and dtype already fit, a packed copy otherwise.

    Its last `core_ndim` dims stay whole; with `owned` it is copied in any case.
    """
    if 0 in array.strides and array.size > 1:
        steps = array.strides[: array.ndim - core_ndim]
        array = array[tuple(slice(1) if step == 0 else slice(None) for step in steps)]
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned and not owned:
        return array
    return _packed_copy(array, dtype)


@quiet  # a number too big for float32 is infinite, one too small is 0, and so reported
def _packed_copy(array: NDArray[Any], dtype: RealDType) -> Real:
    return np.array(array, dtype, order="C")


def is_lent(array: NDArray[Any]) -> bool:
    """True if nobody is to write to it any more: it and every array that it is a view of are read-only."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    return True


def parameters(
    core_ndim: dict[str, int], passing: Container[str] = (), **given: ArrayLike
) -> tuple[dict[str, Real], dict[str, Shape]]:
    """The named parameters as packed arrays of their common dtype, and the shapes they came in.

    float32 if every array among them is float32 or float16, otherwise float64. Each one's last
    `core_ndim` dims are its own. They are taken over: copied, unless they are lent; but for those
    named in `passing`, which the constructor reads and no more.
    """
    arrays = {name: as_array(name, value) for name, value in given.items()}
    strong = [_strong_dtype(arrays[name]) for name, value in given.items() if type(value) not in _WEAK]
    dtype = FLOAT32 if strong and all(d == FLOAT32 for d in strong) else FLOAT64
    packed = {
        name: pack(
            array, dtype, min(core_ndim[name], array.ndim), owned=name not in passing and not is_lent(array)
        )
        for name, array in arrays.items()
    }
    for name in packed:
        if name in passing:
            continue
        packed[name].flags.writeable = False
    return packed, {name: array.shape for name, array in arrays.items()}


def _check(first_bad: Callable[[Real], int], name: str, array: Real, shape: Shape, must: str) -> None:
    """Raise ValueError at the first bad element of a packed array that came in `shape`."""
    found = first_bad(array)
    if found >= 0:
        index = tuple(map(int, np.unravel_index(found, array.shape)))
        where = f"{name}[{', '.join(map(str, index))}]" if index else name
        raise ValueError(f"{name} {must}: shape {shape}, {where} = {array[index]}")


def check_finite(name: str, array: Real, shape: Shape) -> None:
    """Raise ValueError at the first NaN or infinity."""
    _check(bridge.first_not_finite, name, array, shape, "must be finite")


def check_positive(name: str, array: Real, shape: Shape) -> None:
    """Raise ValueError at the first element that is NaN, infinite, zero or negative."""
    _check(bridge.first_not_positive, name, array, shape, "must be positive and finite")


def check_probability(name: str, array: Real, shape: Shape) -> None:
    """Raise ValueError at the first element below 0 or above 1; NaN passes."""
    _check(bridge.first_not_probability, name, array, shape, "must be a probability in [0, 1]")


def values(value: ArrayLike, dtype: RealDType, event_shape: Shape = ()) -> tuple[Real, Shape, RealDType]:
    """The argument of a density: packed, its batch dims, and the dtype to compute in.

    That is its own promoted with `dtype`; its last dims must be `event_shape` exactly.
    """
    array = as_array("value", value)
    if dtype == FLOAT32 and type(value) not in _WEAK:
        dtype = _strong_dtype(array)
    n = array.ndim - len(event_shape)
    if n < 0 or array.shape[n:] != event_shape:
        raise ValueError(
            f"value must end in the event shape {event_shape}, got shape {array.shape}"
            " (event dims do not broadcast)"
        )
    return pack(array, dtype, len(event_shape)), array.shape[:n], dtype


def view(array: Real, shape: Shape) -> Real:
    """`array` broadcast to `shape`, read-only."""
    return np.broadcast_to(array, shape)


def delivered(array: Real, shape: Shape, dtype: RealDType, out: Any) -> Real:
    """`array`, which the caller has just made, broadcast to an array of `shape` of its own or to `out`."""
    if out is None and array.shape == shape:
        return array
    destination = Destination(out, shape, dtype, ())
    destination.array[...] = array
    return destination.deliver()


class Destination:
    """Where a result goes.

    ``array`` is what kernels write: packed, of the result's shape and dtype. `deliver` returns
    what the user gets. The two differ only where `out` is not contiguous or overlaps an input.
    """

    __slots__ = ("_direct", "_out", "array")

    def __init__(self, out: Any, shape: Shape, dtype: RealDType, inputs: Iterable[NDArray[Any]]) -> None:
        self._out: Real | None = None
        if out is None:
            check_total(shape, dtype.itemsize)
            self.array: Real = np.empty(shape, dtype)
            return
        if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
            raise TypeError(f"out must be a numpy array, got {type(out).__name__}")
        if out.dtype.newbyteorder("=") != dtype:
            raise TypeError(f"out must be of dtype {dtype}, got {out.dtype}")
        if out.shape != shape:
            raise ValueError(f"out must have shape {shape}, got {out.shape}")
        if not out.flags.writeable:
            raise ValueError(f"out of shape {out.shape} is read-only")
        self._out = out
        plain = np.asarray(out)  # a memory map, say, as what it is underneath
        packed = out.dtype == dtype and out.flags.carray
        self._direct = packed and not any(np.may_share_memory(plain, array) for array in inputs)
        self.array = plain if self._direct else np.empty(shape, dtype)

    def deliver(self) -> Real:
        """The result for the user, `out` itself if there was one."""
        if self._out is None:
            return self.array
        if not self._direct:
            self._out[...] = self.array
        return self._out
