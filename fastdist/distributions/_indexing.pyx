# cython: annotation_typing=False
# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Parts of a batch and batches of parts: indices by NumPy's rules, over arrays that stay unbroadcast.

    Index           what a batch is indexed by
    parse_index     an index of the batch dims, checked, and the batch shape that it leaves
    part            an array's part; where it repeats along all indexed dims it goes on repeating
    parse_expanded  the shape that a batch is to be expanded to, checked
    stack           arrays of one parameter side by side

Integers, slices, ... and None are read here, and so are parts by them made, in a tenth of a microsecond each.
What has arrays among its entries is left to NumPy, and so is any that is wrong, to say what is.
"""

cimport cython
cimport numpy as np
from cpython.long cimport PyLong_AsLongAndOverflow, PyLong_CheckExact
from cpython.ref cimport Py_INCREF
from cpython.slice cimport PySlice_AdjustIndices, PySlice_Check, PySlice_Unpack
from cpython.tuple cimport (
    PyTuple_CheckExact,
    PyTuple_GET_ITEM,
    PyTuple_GET_SIZE,
    PyTuple_New,
    PyTuple_SET_ITEM,
)
from libc.string cimport memcpy

from fastdist._params cimport view

from collections.abc import Sequence
from types import EllipsisType
from typing import Any

import numpy as np

from fastdist import _params, _shapes
from fastdist._typing import NDArray

np.import_array()

# NumPy takes a microsecond to begin a copy, as long as one of so many elements takes here.
cdef enum:
    SMALL = 1024

cdef extern from "numpy/arrayobject.h":
    void PyArray_CLEARFLAGS(np.ndarray array, int flags)

Index = int | slice | EllipsisType | Sequence[Any] | NDArray[np.integer[Any] | np.bool_] | None

cdef object WHOLE = slice(None)
cdef np.ndarray NOTHING = np.zeros((), bool)


# ---- indices -----------------------------------------------------------------------------------

@cython.final
@cython.no_gc
@cython.freelist(8)
cdef class Entries:
    """An index of the first dims of a batch.

    All dims behind them stay whole: an array's own, and those that a longer batch has.
    """


cdef bint add(Entries entries, object given, tuple batch_shape) except -1:
    """One more entry; False if it is not among those that are read here."""
    cdef Entry *entry
    cdef Py_ssize_t stop
    cdef int overflow
    if entries.n_entry == MAX_ENTRY:
        return False
    entry = &entries.entry[entries.n_entry]
    entries.n_entry += 1
    if given is None:
        entry.kind = ADD
        entries.n_kept += 1
        return True
    entry.size = <object>PyTuple_GET_ITEM(batch_shape, entries.n_dim)
    entries.n_dim += 1
    if PySlice_Check(given):
        entry.kind = CUT
        entries.n_kept += 1
        PySlice_Unpack(given, &entry.start, &stop, &entry.step)
        entry.length = PySlice_AdjustIndices(entry.size, &entry.start, &stop, entry.step)
        if entry.length == 0:
            entry.start = 0  # where there is memory
        return True
    if not PyLong_CheckExact(given):
        return False
    entry.kind = TAKE
    entry.start = PyLong_AsLongAndOverflow(given, &overflow)
    if entry.start < 0:
        entry.start += entry.size
    return not overflow and 0 <= entry.start < entry.size


cdef Entries read(tuple given, tuple batch_shape):
    """Integers, slices, ... and None as entries; None if there are others, too many, or one out of range."""
    cdef Entries entries = Entries.__new__(Entries)
    cdef Py_ssize_t n_given = PyTuple_GET_SIZE(given), n_batch = PyTuple_GET_SIZE(batch_shape)
    cdef Py_ssize_t n_elided = n_batch - n_given, i, _
    cdef bint elided = False
    for i in range(n_given):
        entry = <object>PyTuple_GET_ITEM(given, i)
        n_elided += entry is None or entry is Ellipsis
    if n_elided < 0:
        return None
    for i in range(n_given):
        entry = <object>PyTuple_GET_ITEM(given, i)
        if entry is Ellipsis:
            if elided:
                return None
            elided = True
            # At the end there is nothing to do.
            for _ in range(n_elided if i < n_given - 1 else 0):
                if not add(entries, WHOLE, batch_shape):
                    return None
        elif not add(entries, entry, batch_shape):
            return None
    return entries if entries.n_kept + n_batch - entries.n_dim <= np.NPY_MAXDIMS else None


cdef object plain(index):
    """One entry of an index as an int, a slice, ..., None or an array."""
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
        return array if array.ndim else int(array)
    try:
        return _shapes.parse_int("index", index)
    except TypeError:
        raise IndexError(
            "a batch is indexed by integers, slices, ..., None, and arrays of integers or bools, "
            f"got a {type(index).__name__}"
        ) from None


cdef Entries for_numpy(tuple given, tuple batch_shape):
    """Entries with arrays among them; or the error that NumPy finds."""
    cdef Entries entries = Entries.__new__(Entries)
    if not any([entry is Ellipsis for entry in given]):
        given += (Ellipsis,)
    try:
        entries.left = view(NOTHING, batch_shape, 0)[given].shape
    except IndexError as error:
        raise IndexError(f"batch_shape {batch_shape}: {error}") from None
    entries.given = given
    entries.n_dim = <int>PyTuple_GET_SIZE(batch_shape)
    return entries


cdef tuple shape_left(Entries entries, tuple batch_shape):
    """The shape that an index leaves of a batch."""
    cdef Py_ssize_t d, n = 0
    if entries.given is not None:
        return entries.left + batch_shape[entries.n_dim:]
    cdef Py_ssize_t n_batch = PyTuple_GET_SIZE(batch_shape)
    cdef tuple shape = PyTuple_New(entries.n_kept + n_batch - entries.n_dim)
    for d in range(entries.n_entry):
        if entries.entry[d].kind != TAKE:
            put(shape, n, 1 if entries.entry[d].kind == ADD else entries.entry[d].length)
            n += 1
    for d in range(entries.n_dim, n_batch):
        put(shape, n, <object>PyTuple_GET_ITEM(batch_shape, d))
        n += 1
    return shape


cdef inline void put(tuple new, Py_ssize_t i, object item):
    Py_INCREF(item)  # which is taken over
    PyTuple_SET_ITEM(new, i, item)


cpdef tuple parse_index(index, tuple batch_shape):
    """An index of the batch dims as Entries, and the batch shape that it leaves.

    It may be Entries already, parsed for the first dims of this batch.
    """
    cdef Entries entries
    cdef tuple given
    if type(index) is Entries:
        entries = index
        if entries.n_dim > PyTuple_GET_SIZE(batch_shape):
            raise IndexError(f"batch_shape {batch_shape}: the index is of {entries.n_dim} dims")
    else:
        given = tuple(index) if isinstance(index, tuple) else (index,)
        entries = read(given, batch_shape)
        if entries is None:
            given = tuple([plain(entry) for entry in given])
            entries = read(given, batch_shape) or for_numpy(given, batch_shape)
    return entries, shape_left(entries, batch_shape)


# ---- arrays ------------------------------------------------------------------------------------


cdef np.ndarray shown(np.ndarray array, int ndim, np.npy_intp *dims, np.npy_intp *strides, char *data):
    """A read-only view of an array's memory from `data` on."""
    cdef np.ndarray result = np.PyArray_New(
        np.ndarray, ndim, dims, np.PyArray_TYPE(array), strides, data, 0, 0, None)
    np.set_array_base(result, array)
    return result


cpdef np.ndarray part(np.ndarray array, Entries entries, tuple batch_shape, int core_ndim):
    """The part of an array that broadcasts to the batch and ends in `core_ndim` dims of its own.

    It is read-only and packed: a view if that is, else a copy. Where the array repeats it still does: a dim
    that is cut has size 1.
    """
    cdef np.npy_intp[np.NPY_MAXDIMS] dims, strides
    cdef int n_batch = <int>PyTuple_GET_SIZE(batch_shape), ndim = np.PyArray_NDIM(array), n = 0, i
    cdef int axis = ndim - core_ndim - n_batch  # of the next dim; negative where the array lacks it
    cdef char *data = np.PyArray_BYTES(array)
    cdef Entry *entry
    if entries.given is not None:
        return part_by_numpy(array, entries, batch_shape, core_ndim)
    if (axis > 0 or core_ndim > ndim or entries.n_dim > n_batch
            or entries.n_kept + n_batch - entries.n_dim + core_ndim > np.NPY_MAXDIMS):
        raise ValueError(f"no array of {ndim} dims has such a part")
    for i in range(entries.n_entry):
        entry = &entries.entry[i]
        dims[n] = 1
        strides[n] = 0
        if entry.kind != ADD:
            if not repeats(array, axis):
                if np.PyArray_DIM(array, axis) != entry.size:
                    raise ValueError(f"a dim of {entry.size} is indexed, not {np.PyArray_DIM(array, axis)}")
                data += entry.start * np.PyArray_STRIDE(array, axis)
                dims[n] = entry.length
                strides[n] = entry.step * np.PyArray_STRIDE(array, axis)
            axis += 1
        n += entry.kind != TAKE
    for axis in range(axis, ndim):
        dims[n] = 1
        strides[n] = 0
        if axis >= ndim - core_ndim or not repeats(array, axis):
            dims[n] = np.PyArray_DIM(array, axis)
            strides[n] = np.PyArray_STRIDE(array, axis)
        n += 1
    # How many of the last dims lie together, and how many bytes.
    cdef np.npy_intp run = np.PyArray_ITEMSIZE(array)
    ndim = n
    while n > 0 and (dims[n - 1] == 1 or strides[n - 1] == run):
        n -= 1
        run *= dims[n]
    if n == 0:
        return shown(array, ndim, dims, strides, data)
    cdef np.ndarray result
    cdef char *out
    if np.PyArray_MultiplyList(dims, ndim) <= SMALL:
        result = np.PyArray_SimpleNew(ndim, dims, np.PyArray_TYPE(array))
        out = np.PyArray_BYTES(result)
        gather(&out, data, n, dims, strides, run)
    else:
        result = np.PyArray_NewCopy(shown(array, ndim, dims, strides, data), np.NPY_CORDER)
    PyArray_CLEARFLAGS(result, np.NPY_ARRAY_WRITEABLE)
    return result


cdef void gather(
    char **out, char *data, int ndim, np.npy_intp *dims, np.npy_intp *strides, size_t run
) noexcept:
    """Copies `run` bytes for each index of these dims."""
    cdef np.npy_intp i
    if ndim == 0:
        memcpy(out[0], data, run)
        out[0] += run
        return
    for i in range(dims[0]):
        gather(out, data + i * strides[0], ndim - 1, dims + 1, strides + 1, run)


cdef inline bint repeats(np.ndarray array, int axis) noexcept:
    """True if an array has one element for a dim of the batch."""
    return (axis < 0 or np.PyArray_DIM(array, axis) == 1
            or (np.PyArray_STRIDE(array, axis) == 0 and np.PyArray_DIM(array, axis) > 1
                and np.PyArray_SIZE(array)))


cdef np.ndarray part_by_numpy(np.ndarray array, Entries entries, tuple batch_shape, int core_ndim):
    """`part` by any index."""
    cdef tuple given = entries.given + (WHOLE,) * (len(batch_shape) - entries.n_dim)
    cdef tuple own = (WHOLE,) * core_ndim
    whole = array.reshape((1,) * (len(batch_shape) + core_ndim - array.ndim) + (<object>array).shape)
    replaced = with_zeros(given, whole.shape, len(batch_shape))
    found = None
    if replaced is not None:
        try:
            found = whole[replaced + own]
        except IndexError:
            pass  # out of range, which is none where entries that are replaced by now leave nothing
    if found is None:
        found = view(array, batch_shape, core_ndim)[given + own]
    found = _params.pack(found, found.dtype, core_ndim)
    found.flags.writeable = False
    return found


cdef tuple with_zeros(tuple given, shape, int n_batch):
    """An index with no more than one 0 for each dim of size 1; None if a mask has such dims and others."""
    if 1 not in shape[:n_batch]:
        return given
    skipped = n_batch - sum([dims_of(entry) for entry in given])
    indices = [entry for entry in given if isinstance(entry, np.ndarray)]
    zero = np.zeros((1,) * max([1 if i.dtype.kind == "b" else i.ndim for i in indices], default=0), np.intp)
    replaced = []
    dim = 0
    for entry in given:
        n = skipped if entry is Ellipsis else dims_of(entry)
        ones = {size == 1 for size in shape[dim:dim + n]}
        if isinstance(entry, np.ndarray) and len(ones) > 1:
            return None
        if entry is None or entry is Ellipsis or ones == {False}:
            replaced.append(entry)
        elif isinstance(entry, np.ndarray):
            replaced += [zero] * n
        else:
            replaced.append(WHOLE if isinstance(entry, slice) else 0)
        dim += n
    return tuple(replaced)


cdef int dims_of(entry) except -1:
    """How many dims of the batch an entry is about."""
    if isinstance(entry, np.ndarray):
        return entry.ndim if entry.dtype.kind == "b" else 1
    return 0 if entry is None or entry is Ellipsis else 1


# ---- other batches -------------------------------------------------------------------------------


cdef bint broadcasts(tuple shape, tuple target):
    """True if a shape broadcasts to another one, of plain ints; False if those are none or too large."""
    cdef Py_ssize_t n_target = PyTuple_GET_SIZE(target), lead = n_target - PyTuple_GET_SIZE(shape), d, size
    cdef int overflow
    if lead < 0 or n_target > np.NPY_MAXDIMS:
        return False
    for d in range(n_target):
        entry = <object>PyTuple_GET_ITEM(target, d)
        if not PyLong_CheckExact(entry):
            return False
        size = PyLong_AsLongAndOverflow(entry, &overflow)
        if size < 0:
            return False
        if d >= lead:
            entry = <object>PyTuple_GET_ITEM(shape, d - lead)
            if entry != 1 and entry != size:
                return False
    return True


cpdef tuple parse_expanded(shape, tuple batch_shape):
    """What a user may write for a shape that the batch broadcasts to."""
    if PyTuple_CheckExact(shape) and broadcasts(batch_shape, shape):
        return shape
    cdef tuple parsed = _shapes.parse_shape("batch_shape", shape)
    _shapes.check_broadcast_to("batch_shape", batch_shape, parsed)
    return parsed


cpdef np.ndarray stack(arrays, int axis, int batch_ndim, int core_ndim, dtype):
    """Arrays that broadcast to one batch shape, beside each other; what repeats in all goes on repeating."""
    lengthened = [
        array.reshape((1,) * (batch_ndim + core_ndim - array.ndim) + array.shape) for array in arrays
    ]
    return np.stack(np.broadcast_arrays(*lengthened), axis).astype(dtype, copy=False)
