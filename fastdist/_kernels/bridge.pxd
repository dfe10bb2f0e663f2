# What other extension modules take from the bridge: noise, and the C core's functions, which are linked
# into the bridge alone. And what small calls have in common: shapes that are read in C.

from cpython.long cimport PyLong_AsLongAndOverflow, PyLong_CheckExact
from cpython.pythread cimport PyThread_type_lock
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport intptr_t

from fastdist._kernels cimport core


cdef class Scratch:
    cdef void *base
    cdef void *memory


cdef class Stream:
    cdef core.fd_stream *c
    cdef PyThread_type_lock held    # NULL where one thread alone has the stream
    # Of the thread that holds it: its identity, after how many forks it took it, and how often.
    cdef unsigned long owner, fork
    cdef long depth
    cdef bint abandoned(self) noexcept
    cdef bint mine(self) noexcept
    cdef void own(self) noexcept
    cdef int take(self) except -1
    cdef void give(self) noexcept
    cdef int renew(self) except -1
    cdef bint wait(self, double timeout) except -1


cdef class Noise:
    cdef core.fd_noise source
    cdef Stream stream              # its own; None where the normals are NumPy's
    cdef bint shared                # whether the stream has to be locked: False where one thread alone has it
    cdef object bit_generator       # that NumPy's are made with, to keep it alive
    cdef object acquire, release    # of a lock of NumPy's
    cdef int lock(self) except -1
    cdef int unlock(self) except -1
    cdef int take(self, intptr_t n, core.fd_place *place) except -1


cdef class Recorded(Noise):
    cdef Noise noise                # drawn from
    cdef bint begun
    cdef core.fd_place place        # where its stream stood, if it has one,
    cdef object state               # or the state of its bit generator


cdef const core.fd_stream_api *stream_functions() noexcept nogil

cdef Noise stream_noise(bint shared)

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
