# What other extension modules take from the bridge: noise, and the C core's functions, which are linked
# into the bridge alone.

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
