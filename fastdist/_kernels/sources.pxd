from cpython.pythread cimport PyThread_type_lock
from libc.stdint cimport intptr_t

from fastdist._kernels cimport core


cdef class Stream:
    cdef core.fd_stream *c
    cdef PyThread_type_lock held    # NULL where one thread alone has the stream
    # Of the thread that holds it: its identity, 0 if none does, which any thread may ask for at any
    # time; after how many forks it took it, and how often.
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
    cdef Stream stream              # its own; None where the noise is NumPy's
    cdef bint shared                # whether the stream has to be locked: False where one thread alone has it
    cdef object bit_generator       # that NumPy's is made with, to keep it alive
    cdef object acquire, release    # of a lock of NumPy's
    cdef int lock(self) except -1
    cdef int unlock(self) except -1
    cdef int take(self, core.fd_domain domain, intptr_t n, core.fd_place *place) except -1


cdef class RecordingNoise(Noise):
    cdef Noise noise                # drawn from
    cdef bint begun
    cdef core.fd_place place[2]     # where its stream stood in each domain, if it has one,
    cdef object state               # or the state of its bit generator


cdef class GivenNoise(Noise):
    cdef const double *next[2]      # what comes next of each domain
    cdef object arrays


# numpy's most, and that of fd_loop
cdef enum:
    PART_NDIM = 64


cdef struct part:
    core.fd_stream *stream
    core.fd_place origin[2]             # of the whole draw, in each domain
    intptr_t unit[2]                    # numbers that an item takes
    intptr_t at[2]                      # numbers of the part that have been given
    int ndim
    intptr_t shape[PART_NDIM]    # of the part, in items; those of the last dim lie side by side
    intptr_t stride[PART_NDIM]   # in items of the whole
    intptr_t first                      # which of these is the part's first


cdef class PartNoise(Noise):
    cdef part c


cdef Noise stream_noise(bint shared)
cdef Noise stream_at(const core.fd_place *places, int n)
