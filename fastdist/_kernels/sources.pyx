# cython: cdivision=True
# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Where noise comes from: standard normals, and uniforms on (0, 1).

    Stream           a stream of BlockSFC64 and its lock
    Noise            the next numbers of such a stream, or of a bit generator of NumPy's
    RecordingNoise   the same, noting where it began, so that pullbacks draw it again
    GivenNoise       numbers that are there already
    PartNoise        those that a part of a draw takes of a stream
"""

import os
import threading
import time

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.pythread cimport (
    NOWAIT_LOCK,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_get_thread_ident,
    PyThread_release_lock,
    PyThread_type_lock,
)
from libc.stdint cimport int64_t, intptr_t, uint64_t
from libc.string cimport memcpy

from fastdist._kernels cimport core
from fastdist._kernels.isa cimport functions

cdef const core.fd_api *api = functions()


# How often this process is the child of a fork, and the only thread that it began with.
cdef unsigned long n_fork = 0
cdef unsigned long survivor = 0


def forked():
    """Note that this is the child of a fork: other threads, and what they held, are gone."""
    global n_fork, survivor
    n_fork += 1
    survivor = <unsigned long>PyThread_get_thread_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forked)


cdef class Stream:
    """A stream of BlockSFC64 and its lock: a re-entrant one, like `threading.RLock`.

    Taken and given back in C, which takes a tenth of the time. Who waits does so as for Python's own locks,
    so no signal is lost and none loses a wake-up. In the child of a fork a lock that another thread held
    is free, and the stream stands where it stood.
    """

    def __cinit__(self, bint shared):
        self.c = <core.fd_stream *>PyMem_Malloc(sizeof(core.fd_stream))  # its buffers need not be cleared
        if shared:
            self.held = PyThread_allocate_lock()
        if self.c is NULL or shared and self.held is NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.held is not NULL:
            PyThread_free_lock(self.held)
        PyMem_Free(self.c)

    cdef bint abandoned(self) noexcept:
        """True if a thread of another process holds the lock, of which this one is a fork."""
        cdef unsigned long owner = core.seen_thread(&self.owner)
        return owner != 0 and self.fork != n_fork and owner != survivor

    cdef bint mine(self) noexcept:
        """True if this thread holds the lock."""
        cdef unsigned long me = <unsigned long>PyThread_get_thread_ident()
        return core.seen_thread(&self.owner) == me and (self.fork == n_fork or me == survivor)

    cdef void own(self) noexcept:
        self.fork = n_fork
        self.depth = 1
        core.tell_thread(&self.owner, <unsigned long>PyThread_get_thread_ident())

    cdef int take(self) except -1:
        if self.mine():
            self.depth += 1
        elif PyThread_acquire_lock(self.held, NOWAIT_LOCK):
            self.own()
        else:
            self.wait(-1)
        return 0

    cdef void give(self) noexcept:
        self.depth -= 1
        if self.depth == 0:
            core.tell_thread(&self.owner, 0)
            PyThread_release_lock(self.held)

    cdef int renew(self) except -1:
        """A lock in place of one whose holder a fork has left behind, perhaps while it made numbers."""
        cdef PyThread_type_lock held = PyThread_allocate_lock()
        cdef core.uint32_t half = self.c.half
        cdef int has_half = self.c.has_half, domain
        cdef core.fd_cursor *cursor
        if held is NULL:
            raise MemoryError
        self.held = held    # the other one may be in any state, and is left
        core.tell_thread(&self.owner, 0)
        for domain in range(<int>core.FD_N_DOMAIN):
            cursor = &self.c.cursor[domain]
            api.random.seek(self.c, <core.fd_domain>domain, cursor.position, cursor.carry)
        api.stream.seek_raw(
            self.c, self.c.raw_block + <core.uint64_t>self.c.raw_at, self.c.raw_carry)
        self.c.half = half
        self.c.has_half = has_half
        return 0

    cdef bint wait(self, double timeout) except -1:
        """True if it could be taken within `timeout` seconds, or at all if that is negative."""
        cdef double end = time.monotonic() + timeout
        cdef long long microseconds = -1
        cdef core.PyLockStatus status
        if self.abandoned():
            with cython.critical_section(self):
                if self.abandoned():
                    self.renew()
        while True:
            if timeout >= 0:
                microseconds = <long long>(max(end - time.monotonic(), 0) * 1e6)
            with nogil:
                status = core.PyThread_acquire_lock_timed(self.held, microseconds, True)
            if status == core.PY_LOCK_ACQUIRED:
                self.own()
                return True
            if status == core.PY_LOCK_FAILURE:
                return False
            PyErr_CheckSignals()

    def acquire(self, blocking=True, timeout=-1):
        """Take the lock, waiting for it if need be; True if it is taken. Its holder may take it again."""
        if not blocking and timeout != -1:
            raise ValueError("timeout is for a blocking call")
        if timeout < 0 and timeout != -1:
            raise ValueError(f"timeout must not be negative, got {timeout}")
        if timeout > threading.TIMEOUT_MAX:
            raise OverflowError(f"timeout must be at most {threading.TIMEOUT_MAX}, got {timeout}")
        if blocking and timeout < 0:
            self.take()
            return True
        if self.mine():
            self.depth += 1
            return True
        return self.wait(timeout if blocking else 0)

    def release(self):
        """Give the lock back, if it is held for the first time."""
        if not self.mine():
            raise RuntimeError("release of a lock that is unlocked or another thread's")
        self.give()

    def locked(self):
        """True if a thread holds it."""
        return core.seen_thread(&self.owner) != 0 and not self.abandoned()

    def __enter__(self):
        self.take()
        return True

    def __exit__(self, *exception):
        self.release()


cdef class Noise:
    """A source of noise: ``fill[domain][dtype](state, n, out)`` writes the next n numbers of a domain.

    Parameters
    ----------
    bit_generator : numpy.random.BitGenerator
        Kept alive, its lock held during draws; normals are NumPy's own ziggurat's, uniforms those of
        `numpy.random.Generator.random`.
    """

    def __init__(self, bit_generator):
        self.acquire = bit_generator.lock.acquire
        self.release = bit_generator.lock.release
        self.bit_generator = bit_generator
        api.noise_from_numpy(&self.source, PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator"))

    # Bound methods cost a third of a with statement.
    cdef int lock(self) except -1:
        if self.shared:
            self.stream.take()
        elif self.acquire is not None:
            self.acquire()
        return 0

    cdef int unlock(self) except -1:
        if self.shared:
            self.stream.give()
        elif self.release is not None:
            self.release()
        return 0

    cdef int take(self, core.fd_domain domain, intptr_t n, core.fd_place *place) except -1:
        """Where the next n numbers of a domain of its own stream are, which moves on behind them."""
        self.lock()
        place[0] = api.random.take(self.stream.c, domain, n)
        self.unlock()
        return 0

    @property
    def seekable(self):
        """True for a stream of BlockSFC64, any part of which can be made alone."""
        return self.stream is not None

    def __enter__(self):
        """Hold the lock: for draws that are made in several."""
        self.lock()
        return self

    def __exit__(self, *exception):
        self.unlock()

    def ahead(self, intptr_t n_uniform=0, intptr_t n_normal=0):
        """A noise of the next numbers of each domain, which its own stream moves on behind.

        It is the noise itself if that is NumPy's.
        """
        cdef core.fd_place place[2]
        if self.stream is None:
            return self
        self.lock()
        place[0] = api.random.take(self.stream.c, core.FD_NORMAL, n_normal)
        place[1] = api.random.take(self.stream.c, core.FD_UNIFORM, n_uniform)
        self.unlock()
        return stream_at(place, 2)


cdef class RecordingNoise(Noise):
    """Another noise to draw from, which notes where that stood when the first draw began.

    Parameters
    ----------
    noise : Noise
        Moved on by draws as if they came from it.
    """

    def __init__(self, Noise noise not None):
        self.noise = noise
        self.source = noise.source
        self.stream = noise.stream
        self.bit_generator = noise.bit_generator

    cdef int lock(self) except -1:
        cdef int domain
        self.noise.lock()
        if not self.begun:
            try:
                if self.stream is None:
                    self.state = self.bit_generator.state
                else:
                    for domain in range(<int>core.FD_N_DOMAIN):
                        self.place[domain] = api.random.take(self.stream.c, <core.fd_domain>domain, 0)
            except BaseException:
                self.noise.unlock()
                raise
            self.begun = True
        return 0

    cdef int unlock(self) except -1:
        return self.noise.unlock()

    def replay(self):
        """A noise of its own that stands where the first draw began."""
        if self.stream is None and self.begun:
            bit_generator = type(self.bit_generator)()
            bit_generator.state = self.state
            return Noise(bit_generator)
        return stream_at(self.place, core.FD_N_DOMAIN)


cdef void give_f64(void *state, int domain, intptr_t n, double *out) noexcept nogil:
    cdef const double **next = <const double **>state
    memcpy(out, next[domain], n * sizeof(double))
    next[domain] += n


cdef void give_f32(void *state, int domain, intptr_t n, float *out) noexcept nogil:
    cdef const double **next = <const double **>state
    cdef intptr_t i
    for i in range(n):
        out[i] = <float>(min(next[domain][i], core.FD_BELOW_ONE) if domain else next[domain][i])
    next[domain] += n


cdef void normals_f64(void *state, intptr_t n, void *out) noexcept nogil:
    give_f64(state, 0, n, <double *>out)


cdef void normals_f32(void *state, intptr_t n, void *out) noexcept nogil:
    give_f32(state, 0, n, <float *>out)


cdef void uniforms_f64(void *state, intptr_t n, void *out) noexcept nogil:
    give_f64(state, 1, n, <double *>out)


cdef void uniforms_f32(void *state, intptr_t n, void *out) noexcept nogil:
    give_f32(state, 1, n, <float *>out)


cdef class GivenNoise(Noise):
    """Numbers that are there already, which draws must not take more of.

    Parameters
    ----------
    uniforms, normals : numpy.ndarray
        Contiguous, of float64.
    """

    def __init__(self, const double[::1] uniforms, const double[::1] normals):
        self.arrays = uniforms, normals
        self.next[<int>core.FD_NORMAL] = &normals[0] if normals.shape[0] else NULL
        self.next[<int>core.FD_UNIFORM] = &uniforms[0] if uniforms.shape[0] else NULL
        self.source.state = self.next
        self.source.fill[0][0] = normals_f32
        self.source.fill[0][1] = normals_f64
        self.source.fill[1][0] = uniforms_f32
        self.source.fill[1][1] = uniforms_f64


cdef void seek(
    core.fd_stream *stream, core.fd_domain domain, const core.fd_place *origin, uint64_t n
) noexcept nogil:
    """Let the stream's next number be the n-th after a place; in the present block what is made is kept."""
    cdef const core.fd_cursor *cursor = &stream.cursor[<int>domain]
    cdef uint64_t position = origin.position + n, carry = origin.carry + position // core.FD_POSITIONS
    position %= core.FD_POSITIONS
    if carry == cursor.carry and 0 <= <int64_t>(position - cursor.position) < core.FD_BLOCK:
        api.random.take(stream, domain, <intptr_t>(position - cursor.position))
    else:
        api.random.seek(stream, domain, position, carry)


cdef void fill_part(
    part *c, core.fd_domain domain, core.fd_dtype dtype, intptr_t n, char *out
) noexcept nogil:
    cdef core.fd_noise source = api.stream.noise(c.stream)
    cdef intptr_t unit = c.unit[<int>domain], inner = c.shape[c.ndim - 1], item, rest, whole, some
    cdef intptr_t itemsize = sizeof(float) if dtype == core.FD_F32 else sizeof(double)
    cdef int d
    while n > 0:
        item = c.at[<int>domain] // unit
        some = min(n, (inner - item % inner) * unit - c.at[<int>domain] % unit)
        rest = item // inner
        whole = c.first + item % inner
        for d in range(c.ndim - 2, -1, -1):
            whole += rest % c.shape[d] * c.stride[d]
            rest //= c.shape[d]
        seek(c.stream, domain, &c.origin[<int>domain], whole * unit + c.at[<int>domain] % unit)
        source.fill[<int>domain][<int>dtype](source.state, some, out)
        c.at[<int>domain] += some
        out += some * itemsize
        n -= some


cdef void part_normals_f32(void *state, intptr_t n, void *out) noexcept nogil:
    fill_part(<part *>state, core.FD_NORMAL, core.FD_F32, n, <char *>out)


cdef void part_normals_f64(void *state, intptr_t n, void *out) noexcept nogil:
    fill_part(<part *>state, core.FD_NORMAL, core.FD_F64, n, <char *>out)


cdef void part_uniforms_f32(void *state, intptr_t n, void *out) noexcept nogil:
    fill_part(<part *>state, core.FD_UNIFORM, core.FD_F32, n, <char *>out)


cdef void part_uniforms_f64(void *state, intptr_t n, void *out) noexcept nogil:
    fill_part(<part *>state, core.FD_UNIFORM, core.FD_F64, n, <char *>out)


cdef class PartNoise(Noise):
    """What a part of a draw takes of a stream, in the order of the part.

    Parameters
    ----------
    source : Noise
        Of a stream of its own, which stands where the whole draw begins.
    takes : pair of int
        How many uniforms and normals an item takes.
    shape : tuple of int
        Of the whole draw, in items.
    ranges : sequence of pairs of int
        First and last but one in each dim.
    """

    def __init__(self, Noise source not None, tuple takes, tuple shape, ranges):
        cdef int domain, d
        cdef intptr_t stride = 1
        self.bit_generator = source  # kept alive
        self.c.stream = source.stream.c
        for domain in range(<int>core.FD_N_DOMAIN):
            self.c.origin[domain] = api.random.take(self.c.stream, <core.fd_domain>domain, 0)
            self.c.at[domain] = 0
        self.c.unit[<int>core.FD_UNIFORM], self.c.unit[<int>core.FD_NORMAL] = takes
        # From the last dim on: as long as a dim is taken whole, the one before goes on behind it.
        dims = [(1, 1)]  # of the part, of the whole
        self.c.first = 0
        for (first, stop), n in reversed(list(zip(ranges, shape))):
            self.c.first += first * stride
            if dims[0][0] == dims[0][1]:
                dims[0] = ((stop - first) * dims[0][0], n * dims[0][1])
            else:
                dims.insert(0, (stop - first, n))
            stride *= n
        self.c.ndim = <int>len(dims)
        stride = 1
        for d in range(self.c.ndim - 1, -1, -1):
            self.c.shape[d] = dims[d][0]
            self.c.stride[d] = stride
            stride *= dims[d][1]
        self.source.state = &self.c
        self.source.fill[0][0] = part_normals_f32
        self.source.fill[0][1] = part_normals_f64
        self.source.fill[1][0] = part_uniforms_f32
        self.source.fill[1][1] = part_uniforms_f64


cdef Noise stream_noise(bint shared):
    """The noise of a BlockSFC64 stream, which the caller starts and may read raw words from."""
    cdef Noise noise = Noise.__new__(Noise)
    noise.shared = shared
    noise.stream = Stream(shared)
    noise.source = api.stream.noise(noise.stream.c)
    return noise


cdef Noise stream_at(const core.fd_place *places, int n):
    """The noise of a stream from n places on, each of another domain, which one thread alone draws from."""
    cdef Noise noise = stream_noise(False)
    cdef int i
    api.random.start(noise.stream.c, places[0].key)
    for i in range(n):
        api.random.seek(noise.stream.c, places[i].domain, places[i].position, places[i].carry)
    return noise
