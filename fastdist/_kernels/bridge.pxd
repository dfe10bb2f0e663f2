# What other extension modules take from the bridge: noise, and the C core's functions, which are linked
# into the bridge alone. And what small calls have in common: shapes that are read in C.

from cpython.long cimport PyLong_AsLongAndOverflow, PyLong_CheckExact
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport intptr_t

from fastdist._kernels cimport core


cdef class Mutex:
    cdef core.fd_mutex mutex
    cdef object waiters             # a Condition, once somebody had to wait
    cdef int take(self) except -1
    cdef int give(self) except -1
    cdef object condition(self)
    cdef bint wait(self, double timeout) except -1


cdef class Noise:
    cdef core.fd_noise source
    cdef core.fd_stream *stream     # its own; NULL where the normals are NumPy's
    cdef object bit_generator       # that NumPy's are made with, to keep it alive
    cdef Mutex mutex                # the lock of its own bit generator; None where one thread alone has it
    cdef object acquire, release    # of a lock of NumPy's
    cdef int lock(self) except -1
    cdef int unlock(self) except -1


cdef class Recorded(Noise):
    cdef Noise noise                # drawn from
    cdef bint begun
    cdef core.fd_key key            # where its stream stood, if it has one,
    cdef core.uint64_t position, carry
    cdef object state               # or the state of its bit generator


cdef const core.fd_stream_api *stream_functions() noexcept nogil

cdef Noise stream_noise()

cdef int draw_noise(Noise noise, void *out, intptr_t n, core.fd_dtype dtype, int workers) except -1

cdef core.fd_kernel *lookup(core.fd_verb verb, core.fd_dtype dtype) noexcept nogil

cdef void coalesce(core.fd_job *job, int n_operand) noexcept nogil

# So many elements take a microsecond or two: short enough to keep the GIL.
cdef enum:
    SMALL = 1024
    SMALL_NDIM = 8


cdef inline int small_shape(object shape, intptr_t *dims, intptr_t *total) noexcept:
    """Parse an int or a tuple of ints into `dims`; their number, or -1 if it is not plain and small."""
    cdef bint is_int = PyLong_CheckExact(shape)
    cdef Py_ssize_t i, ndim = 1
    cdef int overflow
    total[0] = 1
    if not is_int:
        if not PyTuple_CheckExact(shape) or PyTuple_GET_SIZE(shape) > SMALL_NDIM:
            return -1
        ndim = PyTuple_GET_SIZE(shape)
    for i in range(ndim):
        entry = shape if is_int else <object>PyTuple_GET_ITEM(shape, i)
        if not PyLong_CheckExact(entry):
            return -1
        dims[i] = PyLong_AsLongAndOverflow(entry, &overflow)  # then -1
        if not 0 <= dims[i] <= SMALL:
            return -1
        total[0] *= dims[i]
        if total[0] > SMALL:
            return -1
    return <int>ndim
