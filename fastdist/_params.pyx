# cython: cdivision=True, annotation_typing=False
# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Parameters, values and `out=`: from what a user passes to what a kernel takes.

This is the only place that copies. A packed array is native, aligned and C-contiguous, with size 1 where it
was broadcast; kernels read the broadcast dims with stride 0.

parameters     the array parameters of a constructor -> packed arrays of one dtype
check_*        their values; errors name parameter, shape and index
read_value     the argument of a density -> packed array, of the dtype to compute in
destination    `out=` -> the array that kernels write;  deliver   from there to the user
view           an array as the user sees it: broadcast, read-only
explain        lets a compiled function's error for a keyword that it does not take say more
"""

cimport numpy as np
from cpython.long cimport PyLong_AsLongAndOverflow, PyLong_CheckExact
from cpython.ref cimport PyObject
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport INTPTR_MAX, intptr_t, uintptr_t
from libc.string cimport memcpy

from fastdist._kernels.program cimport BLOCKED_DIM, Kernel, first_bad, panels_size

import numpy as np

from fastdist._kernels.program import KERNELS
from fastdist._shapes import broadcast_shapes, check_total, parse_shape

np.import_array()

cdef extern from "numpy/arrayobject.h":
    PyObject *PyArray_BASE(np.ndarray array)
    void PyArray_CLEARFLAGS(np.ndarray array, int flags)
    int NPY_MAXDIMS

cdef extern from * nogil:
    bint __builtin_mul_overflow(intptr_t a, intptr_t b, intptr_t *product)

cdef extern from *:
    """
    /* How compiled functions that take keywords are called, and what raises if it knows why one was not. */
    static vectorcallfunc fd_plain;
    static PyObject *fd_explanation;

    static PyObject *fd_call(PyObject *function, PyObject *const *args, size_t n, PyObject *names)
    {
        PyObject *result = fd_plain(function, args, n, names);
        if (result == NULL && names != NULL && PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyObject *type, *error, *traceback;
            PyErr_Fetch(&type, &error, &traceback);
            PyObject *nothing = PyObject_CallFunctionObjArgs(fd_explanation, function, names, NULL);
            if (nothing != NULL) {
                Py_DECREF(nothing);
                PyErr_Restore(type, error, traceback);
            } else {
                Py_DECREF(type);
                Py_XDECREF(error);
                Py_XDECREF(traceback);
            }
        }
        return result;
    }

    static void fd_explain(PyObject *function, PyObject *explanation)
    {
        const Py_ssize_t at = Py_TYPE(function)->tp_vectorcall_offset;
        if (at <= 0)
            return;
        vectorcallfunc *call = (vectorcallfunc *)((char *)function + at);
        if (fd_plain == NULL) {
            fd_plain = *call;
            fd_explanation = Py_NewRef(explanation);
        }
        if (*call == fd_plain)
            *call = fd_call;
    }
    """
    void fd_explain(object function, object explanation)

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
INT64 = np.dtype(np.int64)

cdef object float32 = FLOAT32
cdef object float64 = FLOAT64

# For functions that compute with NumPy: its error state and its warnings are about the user's own steps.
quiet = np.errstate(all="ignore")

cdef Kernel CHECK_FINITE = KERNELS["check_finite"]
cdef Kernel CHECK_POSITIVE = KERNELS["check_positive"]
cdef Kernel CHECK_PROBABILITY = KERNELS["check_probability"]
cdef Kernel CHECK_LOG_PROBABILITY = KERNELS["check_log_probability"]


# ---- any array --------------------------------------------------------------------------------


cdef bint is_masked(object value) except -1:
    """True for masked arrays; their module, which takes longer to import than this package, may wait."""
    if type(value) is np.ndarray or not isinstance(value, np.ndarray):
        return False
    return isinstance(value, np.ma.MaskedArray)


cdef bint is_weak(object value) noexcept:
    """True for Python's own numbers, which take the dtype of the arrays beside them, as in NumPy 2."""
    return type(value) is float or type(value) is int or type(value) is bool


cdef bint fits(object array) noexcept:
    """True for a plain array that kernels can take as it is."""
    cdef int typenum
    if type(array) is not np.ndarray or not np.PyArray_ISCARRAY_RO(<np.ndarray>array):
        return False
    typenum = np.PyArray_TYPE(<np.ndarray>array)
    return typenum == np.NPY_FLOAT64 or typenum == np.NPY_FLOAT32


def as_array(name, value):
    """`value` as a real array, whatever its layout."""
    if type(value) is int:
        try:
            value = float(value)  # NumPy makes an object of an int beyond 64 bits
        except OverflowError:
            raise ValueError(f"{name} is too large for float64") from None
    if type(value) is not np.ndarray:
        if is_masked(value):
            raise TypeError(f"{name} must not be a masked array: fill or compress it first")
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"{name} is no array: {error}") from None
    if value.dtype.char not in "dfe" and value.dtype.kind not in "biu":
        raise TypeError(f"{name} must be of a real dtype up to float64, got {value.dtype}")
    return value


cdef bint is_integer(np.ndarray array) noexcept:
    """True for arrays of integers and of bools."""
    return np.PyArray_ISINTEGER(array) or np.PyArray_ISBOOL(array)


cdef int strong_typenum(np.ndarray array) noexcept:
    """What kernels compute an array in."""
    cdef int typenum = np.PyArray_TYPE(array)
    return np.NPY_FLOAT32 if typenum == np.NPY_FLOAT32 or typenum == np.NPY_FLOAT16 else np.NPY_FLOAT64


cpdef np.ndarray pack(np.ndarray array, object dtype, int core_ndim=0, bint owned=False):
    """`array` itself (or a view of it) where layout and dtype already fit, a packed copy otherwise.

    Its last `core_ndim` dims stay whole; with `owned` it is copied in any case.
    """
    cdef int typenum = np.NPY_FLOAT32 if dtype is float32 else np.NPY_FLOAT64, d
    cdef int ndim = np.PyArray_NDIM(array)
    cdef bint repeats = False
    cdef np.ndarray copy
    if np.PyArray_TYPE(array) == typenum and np.PyArray_ISCARRAY_RO(array) and not owned:
        return array
    for d in range(ndim - core_ndim):
        repeats |= np.PyArray_STRIDE(array, d) == 0 and np.PyArray_DIM(array, d) > 1
    if repeats and np.PyArray_SIZE(array):
        array = array[tuple([
            slice(1) if np.PyArray_STRIDE(array, d) == 0 else slice(None) for d in range(ndim - core_ndim)
        ])]
        if np.PyArray_TYPE(array) == typenum and np.PyArray_ISCARRAY_RO(array) and not owned:
            return array
    if np.PyArray_TYPE(array) == typenum and np.PyArray_ISCARRAY_RO(array):  # in a third of np.array's time
        copy = np.PyArray_SimpleNew(np.PyArray_NDIM(array), np.PyArray_DIMS(array), typenum)
        memcpy(np.PyArray_DATA(copy), np.PyArray_DATA(array), np.PyArray_NBYTES(array))
        return copy
    # A number too big for float32 is infinite, one too small is 0, and so reported.
    with np.errstate(all="ignore"):
        return np.array(array, dtype, order="C")


cdef np.ndarray new_array(int typenum, int ndim, const np.npy_intp *dims):
    cdef intptr_t size = 8
    cdef int d
    for d in range(ndim):
        if dims[d] and __builtin_mul_overflow(size, dims[d], &size):
            check_total(shape_of(ndim, dims), 4 if typenum == np.NPY_FLOAT32 else 8)
            break
    return np.PyArray_SimpleNew(ndim, <np.npy_intp *>dims, typenum)


cdef tuple shape_of(int ndim, const np.npy_intp *dims):
    cdef int d
    return tuple([dims[d] for d in range(ndim)])


# ---- parameters -------------------------------------------------------------------------------


cpdef bint is_lent(np.ndarray array):
    """True if nobody is to write to it any more: it and every array that it is a view of are read-only."""
    cdef object base = array
    while isinstance(base, np.ndarray):
        if np.PyArray_ISWRITEABLE(<np.ndarray>base):
            return False
        if PyArray_BASE(<np.ndarray>base) is NULL:
            return True
        base = <object>PyArray_BASE(<np.ndarray>base)
    return True


cdef dict NO_SHAPES = {}

# Bytes from which on pages matter, and those of a cache line.
cdef enum:
    LARGE = 65536
    LINE = 64

cdef tuple parameters(dict core_ndim, passing, dict given, object matrix):
    """Parameters by name, as packed arrays of one dtype, shapes of those that came in others, and memory.

    float32 if every array among them is float32 or float16, otherwise float64. Each one's last
    `core_ndim` dims are its own. They are taken over: copied, unless they are lent; but for those
    named in `passing`, which the constructor reads and no more. A large copy of `matrix` has memory for its
    factor beside it: that and, as small matrices are copied when they are factorised, what is to be copied.
    """
    cdef dict arrays = {}, shapes = NO_SHAPES
    cdef bint strong = False, single = True, owned, copied
    cdef np.ndarray array, packed
    cdef int own
    memory = None
    for name, value in given.items():
        array = value if fits(value) else as_array(name, value)
        arrays[name] = array
        if not is_weak(value):
            strong = True
            single &= strong_typenum(array) == np.NPY_FLOAT32
    dtype = float32 if strong and single else float64
    for name, value in arrays.items():
        array = value
        own = core_ndim[name]
        owned = not passing or name not in passing
        copied = owned and not is_lent(array)
        early = copied and (matrix is None or name != matrix)
        packed = pack(array, dtype, min(own, np.PyArray_NDIM(array)), early)
        if copied and packed is array:
            if np.PyArray_NBYTES(array) >= LARGE and np.PyArray_NDIM(array) < 64:
                factor, packed = beside(array)
                memory = factor, array
                if np.PyArray_DIM(array, np.PyArray_NDIM(array) - 1) >= BLOCKED_DIM:
                    memcpy(np.PyArray_DATA(packed), np.PyArray_DATA(array), np.PyArray_NBYTES(array))
                    memory = factor, None
            else:
                packed = pack(array, dtype, own, True)
        if owned:
            PyArray_CLEARFLAGS(packed, np.NPY_ARRAY_WRITEABLE)
        if packed is not array and not same_shape(packed, array):
            shapes = {**shapes, name: np.shape(array)}
        arrays[name] = packed
    return arrays, shapes, memory


cdef tuple beside(np.ndarray array):
    """Memory for the factors of matrices, and for a copy of them, in one block.

    The allocator gives back what exceeds twice the largest block that it has seen: of two blocks all pages,
    each time that a constructor is called, and getting them takes longer than factorising small matrices.
    Large factors are in panels.
    """
    cdef intptr_t dim = np.PyArray_DIM(array, np.PyArray_NDIM(array) - 1), size = np.PyArray_SIZE(array)
    cdef intptr_t itemsize = np.PyArray_ITEMSIZE(array)
    cdef bint large = dim >= BLOCKED_DIM
    cdef intptr_t n_factor = size // (dim * dim) * panels_size(dim, itemsize) if large else size
    cdef np.npy_intp n_item = n_factor + size + LINE // itemsize
    cdef np.ndarray block = new_array(np.PyArray_TYPE(array), 1, &n_item)
    cdef intptr_t start = (-<intptr_t><uintptr_t>np.PyArray_DATA(block) & (LINE - 1)) // itemsize
    shape = np.shape(array)
    factor = block[start : start + n_factor].reshape((*shape[:-2], -1) if large else shape)
    return factor, block[start + n_factor : start + n_factor + size].reshape(shape)


cdef bint same_shape(np.ndarray a, np.ndarray b) noexcept:
    cdef int d
    if np.PyArray_NDIM(a) != np.PyArray_NDIM(b):
        return False
    for d in range(np.PyArray_NDIM(a)):
        if np.PyArray_DIM(a, d) != np.PyArray_DIM(b, d):
            return False
    return True


cdef int check(Kernel kernel, object name, np.ndarray array, object shape, object must) except -1:
    """Raise ValueError at the first bad element of a packed array that came in `shape`."""
    cdef intptr_t found = first_bad(kernel, array)
    if found < 0:
        return 0
    index = tuple(map(int, np.unravel_index(found, np.shape(array))))
    where = f"{name}[{', '.join(map(str, index))}]" if index else name
    raise ValueError(f"{name} {must}: shape {shape or np.shape(array)}, {where} = {array[index]}")


def check_finite(name, array, shape=None):
    """Raise ValueError at the first NaN or infinity."""
    check(CHECK_FINITE, name, array, shape, "must be finite")


def check_positive(name, array, shape=None):
    """Raise ValueError at the first element that is NaN, infinite, zero or negative."""
    check(CHECK_POSITIVE, name, array, shape, "must be positive and finite")


def check_probability(name, array, shape=None):
    """Raise ValueError at the first element below 0 or above 1; NaN passes."""
    check(CHECK_PROBABILITY, name, array, shape, "must be a probability in [0, 1]")


def check_log_probability(name, array, shape=None):
    """Raise ValueError at the first element above 0; NaN passes."""
    check(CHECK_LOG_PROBABILITY, name, array, shape, "must be a log probability, not above 0")


# ---- values -----------------------------------------------------------------------------------


cdef np.ndarray read_value(
    object value, int typenum, tuple event_shape, int *ndim, np.npy_intp *dims, str name="value"
):
    """The argument of a density, or another one of this `name`: packed, and its batch dims.

    Of the dtype to compute in: its own promoted with `typenum`, which integers leave as it is. Its last dims
    must be `event_shape` exactly.
    """
    cdef np.ndarray array
    cdef int d, n_event = <int>PyTuple_GET_SIZE(event_shape), n
    cdef bint good
    array = value if fits(value) else as_array(name, value)
    if typenum == np.NPY_FLOAT32 and not is_weak(value) and not is_integer(array):
        typenum = strong_typenum(array)
    n = np.PyArray_NDIM(array) - n_event
    good = n >= 0
    for d in range(n_event):
        good = good and np.PyArray_DIM(array, n + d) == <object>PyTuple_GET_ITEM(event_shape, d)
    if not good:
        raise ValueError(
            f"{name} must end in the event shape {event_shape}, got shape {np.shape(array)}"
            " (event dims do not broadcast)"
        )
    ndim[0] = n
    for d in range(n):
        dims[d] = np.PyArray_DIM(array, d)
    return pack(array, float32 if typenum == np.NPY_FLOAT32 else float64, n_event)


cdef int broadcast(int *ndim, np.npy_intp *dims, tuple shape, str name="value") except -1:
    """A value's batch dims broadcast with a batch shape, in place."""
    cdef int n = <int>PyTuple_GET_SIZE(shape), d, more = n - ndim[0]
    cdef np.npy_intp size
    if more > 0:
        for d in range(ndim[0] - 1, -1, -1):
            dims[d + more] = dims[d]
        for d in range(more):
            dims[d] = 1
        ndim[0] = n
    for d in range(n):
        size = <object>PyTuple_GET_ITEM(shape, d)
        if dims[ndim[0] - n + d] == 1:
            dims[ndim[0] - n + d] = size
        elif size != 1 and size != dims[ndim[0] - n + d]:
            broadcast_shapes(**{name: shape_of(ndim[0], dims)[max(more, 0):], "distribution": shape})
    return 0


def values(value, dtype, tuple event_shape=(), str name="value"):
    """`read_value` for Python: the packed array, its batch dims, and the dtype to compute in."""
    cdef np.npy_intp dims[64]
    cdef int ndim
    cdef np.ndarray array = read_value(
        value, np.NPY_FLOAT32 if dtype is float32 else np.NPY_FLOAT64, event_shape, &ndim, dims, name)
    return array, shape_of(ndim, dims), float32 if np.PyArray_TYPE(array) == np.NPY_FLOAT32 else float64


cdef int read_shape(str name, object shape, np.npy_intp *dims) except -1:
    """Parse what a user writes for a shape into `dims`; their number."""
    cdef Py_ssize_t i, ndim = 1
    cdef int overflow
    cdef bint is_int = PyLong_CheckExact(shape)
    cdef bint plain = is_int or PyTuple_CheckExact(shape)
    if not is_int and plain:
        ndim = PyTuple_GET_SIZE(shape)
        plain = ndim <= 64
    if plain:
        for i in range(ndim):
            entry = shape if is_int else <object>PyTuple_GET_ITEM(shape, i)
            plain = PyLong_CheckExact(entry)
            if not plain:
                break
            dims[i] = PyLong_AsLongAndOverflow(entry, &overflow)  # then -1
            plain = dims[i] >= 0
            if not plain:
                break
    if not plain:
        parsed = parse_shape(name, shape)
        ndim = len(parsed)
        for i in range(ndim):
            if parsed[i] > <intptr_t>INTPTR_MAX:
                check_total(parsed, 4)
            dims[i] = parsed[i]
    return <int>ndim


# ---- results ----------------------------------------------------------------------------------


cdef np.ndarray view(np.ndarray array, tuple batch_shape, int core_ndim):
    """An array broadcast to a batch but for `core_ndim` dims of its own, read-only.

    np.broadcast_to takes 3 us for it.
    """
    cdef np.npy_intp dims[64]
    cdef np.npy_intp strides[64]
    cdef int n_batch = <int>PyTuple_GET_SIZE(batch_shape), d, axis
    cdef int lead = n_batch + core_ndim - np.PyArray_NDIM(array)
    if n_batch + core_ndim > NPY_MAXDIMS or lead < 0:
        raise ValueError(f"an array cannot have {n_batch + core_ndim} dims, or fewer than it has")
    for d in range(n_batch + core_ndim):
        axis = d - lead
        strides[d] = 0 if axis < 0 else np.PyArray_STRIDE(array, axis)
        if d >= n_batch:
            dims[d] = np.PyArray_DIM(array, axis)
        else:
            dims[d] = <object>PyTuple_GET_ITEM(batch_shape, d)
            if axis >= 0 and np.PyArray_DIM(array, axis) == 1:
                strides[d] = 0
    cdef np.ndarray result = np.PyArray_New(
        np.ndarray, n_batch + core_ndim, dims, np.PyArray_TYPE(array), strides, np.PyArray_DATA(array), 0, 0,
        None)
    np.set_array_base(result, array)
    return result


cdef bint apart(np.ndarray a, np.ndarray b) noexcept:
    """True if two contiguous arrays have no memory in common."""
    cdef uintptr_t at_a = <uintptr_t>np.PyArray_DATA(a), at_b = <uintptr_t>np.PyArray_DATA(b)
    return at_a + <uintptr_t>np.PyArray_NBYTES(a) <= at_b or at_b + <uintptr_t>np.PyArray_NBYTES(b) <= at_a


cdef bint has_shape(np.ndarray array, int ndim, const np.npy_intp *dims) noexcept:
    cdef int d
    if np.PyArray_NDIM(array) != ndim:
        return False
    for d in range(ndim):
        if np.PyArray_DIM(array, d) != dims[d]:
            return False
    return True


cdef np.ndarray destination(object out, int typenum, int ndim, const np.npy_intp *dims, np.ndarray source):
    """What kernels write: packed, of the result's shape and dtype, and apart from `source`, which they read.

    `out` itself where that can be. `deliver` gets the result to the user.
    """
    cdef np.ndarray plain
    cdef bint good
    if out is None:
        return new_array(typenum, ndim, dims)
    if type(out) is not np.ndarray or np.PyArray_TYPE(<np.ndarray>out) != typenum:
        check_type(out, dtype_of(typenum))
    plain = out if type(out) is np.ndarray else np.asarray(out)  # a memory map, say, as what it is underneath
    if not has_shape(plain, ndim, dims):
        raise ValueError(f"out must have shape {shape_of(ndim, dims)}, got {out.shape}")
    if not np.PyArray_ISWRITEABLE(plain):
        raise ValueError(f"out of shape {out.shape} is read-only")
    good = np.PyArray_ISCARRAY(plain) and (source is None or apart(plain, source))
    return plain if good else new_array(typenum, ndim, dims)


cdef object dtype_of(int typenum):
    """Of results: float32, float64 or int64."""
    return float32 if typenum == np.NPY_FLOAT32 else float64 if typenum == np.NPY_FLOAT64 else INT64


cdef int check_type(object out, object dtype) except -1:
    if not isinstance(out, np.ndarray) or is_masked(out):
        raise TypeError(f"out must be a numpy array, got {type(out).__name__}")
    if out.dtype.newbyteorder("=") != dtype:
        raise TypeError(f"out must be of dtype {dtype}, got {out.dtype}")
    return 0


cdef object deliver(np.ndarray written, object out):
    """The result for the user, `out` itself if there was one."""
    if out is None:
        return written
    if np.PyArray_DATA(<np.ndarray>out) != np.PyArray_DATA(written):
        out[...] = written
    return out


def delivered(array, tuple shape, dtype, out):
    """`array`, which the caller has just made, broadcast to an array of `shape` of its own or to `out`."""
    cdef np.npy_intp dims[64]
    cdef int d, ndim = <int>len(shape)
    cdef np.ndarray written
    for d in range(ndim):
        dims[d] = shape[d]
    if out is None and array.dtype is dtype and has_shape(array, ndim, dims):
        return array
    written = destination(out, np.NPY_FLOAT32 if dtype == float32 else np.NPY_FLOAT64, ndim, dims, None)
    written[...] = array
    return deliver(written, out)


# ---- keywords ---------------------------------------------------------------------------------


def explain(function, explanation):
    """Let ``explanation(function, names)`` see keywords of a call that was a TypeError, and raise another.

    The function's own place for how it is called is what changes, so that a call that is right costs a jump
    more. Keywords of others in the signature would cost each call as much as its own, and `**names` a dict.
    """
    fd_explain(function, explanation)
