"""Parts of a batch and batches of parts: indices by NumPy's rules, over arrays that stay unbroadcast.

Index         what a batch is indexed by
parse_index   an index of the batch dims, checked, and the batch shape that it leaves
part          an array's part; where it repeats along all indexed dims it goes on repeating
stack         arrays of one parameter side by side
"""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import Any, TypeAlias

import numpy as np

from fastdist import _params, _shapes
from fastdist._shapes import Shape
from fastdist._typing import NDArray, Real, RealDType

Index: TypeAlias = int | slice | EllipsisType | Sequence[Any] | NDArray[np.integer[Any] | np.bool_] | None
Entry: TypeAlias = int | slice | EllipsisType | NDArray[Any] | None


def _entry(index: Any) -> Entry:
    """One entry of an index, with sequences as arrays."""
    if index is None or index is Ellipsis or isinstance(index, slice):
        return index
    if isinstance(index, np.ndarray | list):
        try:
            array = np.asarray(index)
        except ValueError as error:
            raise IndexError(f"a batch index is no array: {error}") from None
        if array.size == 0 and not isinstance(index, np.ndarray):
            array = array.astype(np.intp)  # as NumPy takes an empty list
        if array.dtype.kind not in "biu" or (array.ndim == 0 and array.dtype.kind == "b"):
            raise IndexError(
                "arrays that index a batch are of integers, or bools of one dim or more, "
                f"got shape {array.shape}, dtype {array.dtype}"
            )
        return array
    try:
        return _shapes.parse_int("index", index)
    except TypeError:
        raise IndexError(
            "a batch is indexed by integers, slices, ..., None, and arrays of integers or bools, "
            f"got a {type(index).__name__}"
        ) from None


def parse_index(index: Any, batch_shape: Shape) -> tuple[tuple[Entry, ...], Shape]:
    """An index of the batch dims as a tuple with an Ellipsis, and the batch shape that it leaves."""
    entries = tuple(map(_entry, index if isinstance(index, tuple) else (index,)))
    if not any(entry is Ellipsis for entry in entries):
        entries = (*entries, Ellipsis)
    try:
        return entries, np.broadcast_to(np.int8(0), batch_shape)[entries].shape
    except IndexError as error:
        raise IndexError(f"batch_shape {batch_shape}: {error}") from None


def _dims_of(entry: Entry) -> int:
    """How many dims of the batch an entry is about."""
    if isinstance(entry, np.ndarray):
        return entry.ndim if entry.dtype.kind == "b" else 1
    return 0 if entry is None or entry is Ellipsis else 1


def part(array: Real, entries: tuple[Entry, ...], batch_shape: Shape, core_ndim: int) -> Real:
    """The part of a packed array that broadcasts to the batch and ends in `core_ndim` dims of its own.

    Along dims in which it repeats it is indexed by zeros of no more than one element.
    """
    whole = array.reshape((1,) * (len(batch_shape) + core_ndim - array.ndim) + array.shape)
    skipped = len(batch_shape) - sum(map(_dims_of, entries))
    indices = [entry for entry in entries if isinstance(entry, np.ndarray)]
    zero = np.zeros((1,) * max((1 if i.dtype.kind == "b" else i.ndim for i in indices), default=0), np.intp)
    replaced: list[Entry] = []
    dim = 0
    for entry in entries:
        n = skipped if entry is Ellipsis else _dims_of(entry)
        repeats = {size == 1 for size in whole.shape[dim : dim + n]}
        if isinstance(entry, np.ndarray) and len(repeats) > 1:
            break  # a mask over dims of which the array has some
        if entry is None or entry is Ellipsis or repeats == {False}:
            replaced.append(entry)
        elif isinstance(entry, np.ndarray):
            replaced += [zero] * n
        else:
            replaced.append(slice(None) if isinstance(entry, slice) else 0)
        dim += n
    else:
        return _params.pack(whole[tuple(replaced) + (slice(None),) * core_ndim], array.dtype, core_ndim)
    view = np.broadcast_to(array, batch_shape + array.shape[array.ndim - core_ndim :])
    return _params.pack(view[entries + (slice(None),) * core_ndim], array.dtype, core_ndim)


def stack(arrays: Sequence[Real], axis: int, batch_ndim: int, core_ndim: int, dtype: RealDType) -> Real:
    """Arrays that broadcast to one batch shape, beside each other; what repeats in all goes on repeating."""
    lengthened = [
        array.reshape((1,) * (batch_ndim + core_ndim - array.ndim) + array.shape) for array in arrays
    ]
    result: Real = np.stack(np.broadcast_arrays(*lengthened), axis).astype(dtype, copy=False)
    return result
