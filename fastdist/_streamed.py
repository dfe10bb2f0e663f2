"""Draws and densities that are streamed to files, and go on where they were interrupted.

sample     ``python -m fastdist sample``
log_prob   ``python -m fastdist log-prob``

A result is made some rows at a time, in OUT.part, which gets the name OUT when it is complete. Every row can
be made alone (`sample_part`), so no more is recorded than the file itself: what of it is there is whole rows
of this run if its header fits and its first and last rows are what they would be now.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from fastdist import _shapes
from fastdist._shapes import Shape
from fastdist._typing import NDArray
from fastdist.distributions import Distribution
from fastdist.random import BlockSFC64, set_workers

# Bytes made at a time: enough that files and workers do not wait, and little against 100 MB.
CHUNK = 8 << 20

Rows = Callable[[int, int], NDArray[Any]]


def sample(
    d: Distribution, shape: Shape, seed: int, out: Path, *, workers: int | None = None, quiet: bool = False
) -> bool:
    """Write ``d.sample(shape, rng=seed)``; False if the file was complete already."""
    n = math.prod(shape)
    dtype = np.dtype(np.int64) if d._discrete else d._dtype
    place = BlockSFC64(seed).place

    def rows(first: int, stop: int) -> NDArray[Any]:
        return d.sample_part((n,), slice(first, stop), rng=place)

    _shapes.check_total(shape + d.batch_shape + d.event_shape, dtype.itemsize)
    with set_workers(workers if workers is not None else 1):
        return _write(out, rows, n, shape, d.batch_shape + d.event_shape, dtype, quiet)


def log_prob(
    d: Distribution, values: Path, out: Path, *, workers: int | None = None, quiet: bool = False
) -> bool:
    """Write ``d.log_prob(np.load(values))``, of an .npy file that may be larger than memory."""
    value = np.load(values, mmap_mode="r", allow_pickle=False)
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{values} must be an .npy file")
    event, n_batch = d.event_shape, len(d.batch_shape)
    if value.shape[value.ndim - len(event) :] != event:
        raise ValueError(f"{values} has shape {value.shape}, which must end in the event shape {event}")
    lead = value.shape[: value.ndim - len(event)]
    if len(lead) <= n_batch:
        raise ValueError(
            f"{values} has shape {value.shape}, which must have a dim before batch_shape {d.batch_shape} and "
            f"event_shape {event}"
        )
    own = _shapes.broadcast_shapes(value=lead[1:], distribution=d.batch_shape)

    def rows(first: int, stop: int) -> NDArray[Any]:
        return d.log_prob(np.ascontiguousarray(value[first:stop]))

    dtype = d.log_prob(np.empty((0, *value.shape[1:]), value.dtype)).dtype
    return _write(out, rows, lead[0], lead[:1], own, dtype, quiet)


def _write(
    out: Path, rows: Rows, n: int, shape: Shape, own: Shape, dtype: np.dtype[Any], quiet: bool
) -> bool:
    """Write n rows of shape `own`, an array of ``shape + own``, to .npy or .zarr."""
    if out.suffix not in (".npy", ".zarr"):
        raise ValueError(f"out must end in .npy or .zarr, got {out}")
    per_row = math.prod(own)
    some = max(CHUNK // max(per_row * dtype.itemsize, 1), 1)
    store = (_Npy if out.suffix == ".npy" else _Zarr)(shape, own, dtype, some)
    part = out.with_name(out.name + ".part")
    if out.exists():
        with store.opened(out, writing=False) as there:
            if there != n or not _same(store, rows, n):
                raise FileExistsError(f"{out} is there and is not this run's")
        return False
    try:
        with store.opened(part, writing=True) as there:
            if not _same(store, rows, there):
                raise FileExistsError(f"{part} is there and is not this run's")
            for first in _progress(range(there, n, some), n, some, quiet or per_row == 0):
                stop = min(first + some, n)
                store.write(first, rows(first, stop))
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise
        raise OSError(
            error.errno, f"{error.strerror or error}: {part} stays, to go on from", str(part)
        ) from None
    os.replace(part, out)
    return True


def _same(store: _Npy | _Zarr, rows: Rows, there: int) -> bool:
    """True if the first and the last of the rows that are there are this run's."""
    for row in {0, there - 1} if there else ():
        if store.read(row).tobytes() != rows(row, row + 1).tobytes():
            return False
    return True


class _Npy:
    """An .npy file that grows."""

    def __init__(self, shape: Shape, own: Shape, dtype: np.dtype[Any], some: int) -> None:
        self.own, self.dtype = own, dtype
        self.row_bytes = math.prod(own) * dtype.itemsize
        self.header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape + own}
        self.n = math.prod(shape)

    @contextmanager
    def opened(self, path: Path, *, writing: bool) -> Iterator[int]:
        """Open a file, or begin it; how many whole rows there are."""
        with path.open("a+b" if writing else "rb") as file:
            self.file = file
            file.seek(0)
            if writing and not file.read(1):
                npy.write_array_header_1_0(file, self.header)
            file.seek(0)
            try:
                if npy.read_magic(file) != (1, 0):
                    raise ValueError("version")
                shape, fortran, dtype = npy.read_array_header_1_0(file)
            except ValueError:
                raise FileExistsError(f"{path} is there and is not this run's") from None
            if (shape, fortran, dtype) != (self.header["shape"], False, self.dtype):
                raise FileExistsError(
                    f"{path} is there and is not this run's: it is of {dtype}, shape {shape}"
                )
            self.start = file.tell()
            size = file.seek(0, os.SEEK_END) - self.start
            there = min(size // self.row_bytes if self.row_bytes else self.n, self.n)
            if writing:
                file.truncate(self.start + there * self.row_bytes)
            elif size != self.n * self.row_bytes:
                raise FileExistsError(f"{path} is there and is not this run's")
            yield there
            if writing:
                file.flush()
                os.fsync(file.fileno())

    def read(self, row: int) -> NDArray[Any]:
        self.file.seek(self.start + row * self.row_bytes)
        return np.frombuffer(self.file.read(self.row_bytes), self.dtype)

    def write(self, first: int, rows: NDArray[Any]) -> None:
        self.file.seek(0, os.SEEK_END)
        self.file.write(np.ascontiguousarray(rows).data)
        self.file.flush()


class _Zarr:
    """A zarr array; how many rows are there is an attribute, written after them."""

    ROWS = "fastdist_rows"

    def __init__(self, shape: Shape, own: Shape, dtype: np.dtype[Any], some: int) -> None:
        try:
            import zarr
        except ImportError:
            raise ImportError("a .zarr file needs the package zarr") from None
        self.zarr, self.own, self.dtype = zarr, own, dtype
        if len(shape) != 1:
            raise ValueError(f"a .zarr file takes one number of samples, got shape {shape}")
        self.shape, self.some, self.n = shape + own, some, shape[0]

    @contextmanager
    def opened(self, path: Path, *, writing: bool) -> Iterator[int]:
        """Open an array, or begin it; how many rows there are."""
        if writing and not path.exists():
            chunks = (min(self.some, max(self.n, 1)), *(max(n, 1) for n in self.own))
            array = self.zarr.create_array(
                store=str(path), shape=self.shape, chunks=chunks, dtype=self.dtype, attributes={self.ROWS: 0}
            )
        else:
            try:
                array = self.zarr.open_array(store=str(path), mode="r+" if writing else "r")
            except Exception as error:
                raise FileExistsError(f"{path} is there and is no zarr array: {error}") from None
        if (array.shape, array.dtype) != (self.shape, self.dtype) or self.ROWS not in array.attrs:
            raise FileExistsError(
                f"{path} is there and is not this run's: it is of {array.dtype}, shape {array.shape}"
            )
        self.array = array
        yield int(array.attrs[self.ROWS])

    def read(self, row: int) -> NDArray[Any]:
        return np.ascontiguousarray(self.array[row])

    def write(self, first: int, rows: NDArray[Any]) -> None:
        self.array[first : first + len(rows)] = rows
        self.array.attrs[self.ROWS] = first + len(rows)


def _progress(steps: range, n: int, some: int, quiet: bool) -> Iterator[int]:
    """The steps, shown on standard error: by tqdm if it is there, or by a line that counts."""
    if quiet or not sys.stderr.isatty():
        yield from steps
        return
    try:
        from tqdm import tqdm
    except ImportError:
        for first in steps:
            yield first
            width = shutil.get_terminal_size().columns
            text = f"{min(first + some, n):,} of {n:,}"
            print(f"\r{text[:width]}", end="", file=sys.stderr)
        print(file=sys.stderr)
        return
    with tqdm(total=n, initial=steps.start, unit="row", unit_scale=True) as bar:
        for first in steps:
            yield first
            bar.update(min(some, n - first))
