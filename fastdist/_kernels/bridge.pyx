# cython: cdivision=True
# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""From NumPy arrays to C kernels.

    operands      buffers -> an fd_job: pointers, and strides of 0 where an array is broadcast
    run           a job piece by piece: GIL released for all but tiny ones, Ctrl-C honoured
    draw_*        noise, coloured where it lies            (distributions: sample, rsample)
    standard_normal                                        (random: the bare noise)
    mahalanobis_*, mvn_log_prob, normal_*                  (distributions: log_prob, cdf, ...)
    cholesky, pack_*, solve_tril, first_*                  (distributions: construction)
    sum_to, pull_*, Recorded                               (distributions: gradients)
    normal_kl, mvn_kl                                      (distributions: divergences)
    isa, set_isa, isas

Every array must be native and of one dtype (float32 or float64) and packed: C-contiguous but
for dims of size 1, as fastdist._params leaves it. Sizes are checked here, values are not.
"""

import os
import threading
import time

from cpython.buffer cimport PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
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
from libc.stdint cimport INTPTR_MAX, intptr_t, uintptr_t

from fastdist._kernels cimport core


# ---- instruction set ---------------------------------------------------------------------


def isas():
    """Names of the instruction sets this build has and this CPU can run, slowest first."""
    return tuple(
        core.fd_isa_name(row).decode() for row in range(core.fd_isa_count()) if core.fd_isa_available(row)
    )


def isa():
    """Name of the instruction set in use.

    Returns
    -------
    str
        ``"scalar"``, ``"avx2"``, ... : the best one of the CPU, unless the environment variable
        ``FASTDIST_ISA`` or `set_isa` named another.
    """
    return core.fd_isa_name(core.fd_isa_current()).decode()


def set_isa(name):
    """Use the instruction set `name` from now on, in every thread.

    Parameters
    ----------
    name : str
        One of `isas()`.

    Raises
    ------
    ValueError
        If this build lacks it or the CPU can't run it.
    """
    for row in range(core.fd_isa_count()):
        if core.fd_isa_name(row).decode() == name and core.fd_isa_available(row):
            core.fd_isa_use(row)
            return
    offered = ", ".join(isas())
    raise ValueError(f"instruction set {name!r} is not available; this CPU and build offer {offered}")


core.fd_isa_use(core.fd_isa_best())
if os.environ.get("FASTDIST_ISA"):
    try:
        set_isa(os.environ["FASTDIST_ISA"])
    except ValueError as error:
        raise ValueError(f"environment variable FASTDIST_ISA: {error}") from None


cdef core.fd_kernel *lookup(core.fd_verb verb, core.fd_dtype dtype) noexcept nogil:
    return core.fd_lookup(verb, dtype)


cdef void coalesce(core.fd_job *job, int n_operand) noexcept nogil:
    core.fd_job_coalesce(job, n_operand)


# ---- operands ----------------------------------------------------------------------------


# What a call is made of fills small stacks of threads and is on the heap.
cdef struct Call:
    core.fd_job job, piece, some    # the whole, and as much of it as is done at a time
    core.fd_drawing drawing
    core.fd_dtype dtype
    intptr_t n_item     # product of the loop dims
    int n_operand, n_view
    Py_buffer view[8]   # of the operands that are arrays


cdef intptr_t size_of(object shape) except -1:
    """Product of a shape, which no memory bounds where operands are broadcast."""
    cdef intptr_t size = 1, n
    if 0 in shape:
        return 0
    for n in shape:
        if size > INTPTR_MAX // n:
            raise ValueError(f"shape {tuple(shape)} is too big: it has more elements than an index can count")
        size *= n
    return size


cdef Call *start(object loop_shape, intptr_t dim) except NULL:
    """Lay out the loop dims, before coalescing. Until `finish`."""
    cdef intptr_t n, n_item = size_of(loop_shape)
    if len(loop_shape) > core.FD_MAX_NDIM:
        raise ValueError(f"there are at most {core.FD_MAX_NDIM} dims, got shape {tuple(loop_shape)}")
    cdef Call *call = <Call *>PyMem_Malloc(sizeof(Call))
    if call is NULL:
        raise MemoryError
    call.n_operand = call.n_view = 0
    call.n_item = n_item
    call.job.ndim = 0
    call.job.dim = dim
    for n in loop_shape:
        call.job.shape[call.job.ndim] = n
        call.job.ndim += 1
    return call


cdef int add(Call *call, object array, int core_ndim, bint written=False, intptr_t size=-1) except -1:
    """Make `array` the next operand: its last `core_ndim` dims are the kernel's own, of `size` elements
    (by default one event, or a matrix), the others broadcast against the loop dims from the right."""
    cdef int k = call.n_operand
    cdef Py_buffer *view = &call.view[call.n_view]
    PyObject_GetBuffer(array, view, PyBUF_STRIDES | (PyBUF_WRITABLE if written else 0))
    call.n_view += 1
    call.n_operand += 1
    if k == 0:
        call.dtype = core.FD_F32 if view.itemsize == 4 else core.FD_F64
    return place(&call.job, k, call.dtype, view, core_ndim, size)


cdef int place(
    core.fd_job *job, int k, core.fd_dtype dtype, Py_buffer *view, int core_ndim, intptr_t size=-1
) except -1:
    """Make a buffer operand k of a job whose loop dims are laid out."""
    cdef int d, axis, ndim = view.ndim - core_ndim
    cdef intptr_t core_size = 1
    if view.itemsize != (4 if dtype == core.FD_F32 else 8):
        raise TypeError(f"operand {k} has items of {view.itemsize} bytes, operand 0 another size")
    if ndim > job.ndim or ndim < 0:
        raise ValueError(f"operand {k} has {view.ndim} dims, the loop {job.ndim}")
    for d in range(ndim, view.ndim):
        core_size *= view.shape[d]
    if size < 0:
        size = job.dim if core_ndim == 1 else job.dim * job.dim if core_ndim else 1
    if core_size != size:
        raise ValueError(f"operand {k} has items of {core_size} elements, not {size}, for dim {job.dim}")
    for d in range(job.ndim):
        axis = d - (job.ndim - ndim)
        if axis < 0 or view.shape[axis] == 1:
            job.stride[k][d] = 0
        elif view.shape[axis] == job.shape[d]:
            job.stride[k][d] = view.strides[axis] // view.itemsize
        else:
            raise ValueError(f"operand {k} has size {view.shape[axis]} in a loop dim of {job.shape[d]}")
    job.operand[k] = view.buf
    return 0


cdef int add_panels(Call *call, object panels, bint written=False) except -1:
    """Make a factor in panels the next operand."""
    return add(call, panels, 1, written, panels_size(call.job.dim, panels.itemsize))


cdef void add_scratch(Call *call, Scratch scratch) noexcept:
    """Make scratch memory the next operand."""
    cdef int k = call.n_operand, d
    call.n_operand += 1
    for d in range(call.job.ndim):
        call.job.stride[k][d] = 0
    call.job.operand[k] = scratch.memory


cdef void finish(Call *call) noexcept:
    cdef int k
    for k in range(call.n_view):
        PyBuffer_Release(&call.view[k])
    PyMem_Free(call)


cdef class Scratch:
    """Memory for the length of a call, aligned to the widest vector."""

    def __cinit__(self, intptr_t size):
        self.base = PyMem_Malloc(size + 64)
        if self.base is NULL:
            raise MemoryError
        self.memory = <void *>((<uintptr_t>self.base + 63) & ~<uintptr_t>63)

    def __dealloc__(self):
        PyMem_Free(self.base)


# ---- run -----------------------------------------------------------------------------------

# In rough nanoseconds of one core: below KEEP_GIL releasing the GIL (50 ns) is not worth it;
# signals are looked at every PIECE, well within the tenth of a second that Ctrl-C may take; less
# than a SHARE is not worth another worker. A NORMAL costs NumPy's ziggurat 10, the package's own 0.4
# to 2.
cdef enum:
    KEEP_GIL = 4000
    PIECE = 10_000_000
    SHARE = 200_000
    NORMAL = 4

# Elements that are worked on at a time, half an L2 cache of them.
cdef enum:
    EVENTS = 65536


cdef int run(Call *call, core.fd_verb verb, intptr_t cost, intptr_t unit=1) except -1:
    """Do all items of a job, each costing about `cost` ns, cut at multiples of `unit` items."""
    cdef core.fd_kernel *kernel = core.fd_lookup(verb, call.dtype)
    cdef intptr_t begin = 0, end, piece
    if call.n_item == 0:
        return 0
    core.fd_job_coalesce(&call.job, call.n_operand)
    if call.n_item * cost < KEEP_GIL:
        core.fd_do(kernel, &call.job, 0, call.n_item)
        return 0
    piece = max(PIECE // cost // unit, 1) * unit
    while begin < call.n_item:
        end = min(begin + piece, call.n_item)
        with nogil:
            core.fd_do(kernel, &call.job, begin, end)
        begin = end
        PyErr_CheckSignals()
    return 0


cdef int run_events(Call *call, core.fd_verb verb, intptr_t cost, int factor) except -1:
    """All items of a job over events, in whatever order is best: those that share a factor together.

    Operand `factor` tells which do. Where the first dim (samples, mostly) repeats it and the others do
    not, some of the first dim's events at a time are done for each of the others. Events of up to
    FD_SMALL_EVENT elements need not share a factor to be done together; of two dims, some of both are
    done at a time, for which kernels keep what they made of the factors.
    """
    cdef core.fd_job *job = &call.job
    cdef intptr_t n, rest, begin = 0, chunk, spent = 0
    cdef int d, repeats = 1
    cdef bint small
    core.fd_job_coalesce(job, call.n_operand)
    for d in range(job.ndim):
        repeats &= job.stride[factor][d] == 0
    n = job.shape[0]
    small = job.dim <= core.FD_SMALL_EVENT and job.ndim == 2 and job.shape[1] >= core.FD_TOGETHER
    if job.stride[factor][0] != 0 or repeats or call.n_item == 0:
        return run(call, verb, cost)
    rest = call.n_item // n
    chunk = core.FD_TOGETHER
    if not small:
        chunk *= max(EVENTS // (rest * max(job.dim, 1)) // core.FD_TOGETHER, 1)
    while begin < n:
        chunk = min(chunk, n - begin)
        call.piece = job[0]
        move(&call.piece, call, 0, begin, chunk)
        if call.n_item * cost < KEEP_GIL:
            run_samples(core.fd_lookup(verb, call.dtype), call, small)
        else:
            with nogil:
                run_samples(core.fd_lookup(verb, call.dtype), call, small)
        begin += chunk
        spent += chunk * rest * cost
        if spent > PIECE:
            spent = 0
            PyErr_CheckSignals()
    return 0


cdef void move(core.fd_job *piece, const Call *call, int dim, intptr_t begin, intptr_t n) noexcept nogil:
    """Restrict a piece of a job to n indices of a dim, from `begin` on of its own."""
    cdef intptr_t itemsize = 4 if call.dtype == core.FD_F32 else 8
    cdef int k
    piece.shape[dim] = n
    for k in range(call.n_operand):
        piece.operand[k] = <char *>piece.operand[k] + begin * piece.stride[k][dim] * itemsize


cdef void run_samples(core.fd_kernel *kernel, Call *call, bint small) noexcept nogil:
    """Some samples, the piece of a call, of all other dims."""
    cdef core.fd_job *piece = &call.piece
    cdef intptr_t n = piece.shape[0], rest, width
    cdef int d
    if not small:
        for d in range(1, piece.ndim):
            n *= piece.shape[d]
        core.fd_job_turn(piece)
        core.fd_do(kernel, piece, 0, n)
        return
    rest = piece.shape[1]
    while rest > 0:
        width = min(rest, core.FD_TOGETHER)
        call.some = piece[0]
        move(&call.some, call, 1, piece.shape[1] - rest, width)
        core.fd_do(kernel, &call.some, 0, n * width)
        rest -= width


# ---- noise ---------------------------------------------------------------------------------


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
        return self.depth > 0 and self.fork != n_fork and self.owner != survivor

    cdef bint mine(self) noexcept:
        """True if this thread holds the lock."""
        cdef unsigned long me = <unsigned long>PyThread_get_thread_ident()
        return self.depth > 0 and self.owner == me and (self.fork == n_fork or me == survivor)

    cdef void own(self) noexcept:
        self.owner = <unsigned long>PyThread_get_thread_ident()
        self.fork = n_fork
        self.depth = 1

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
            PyThread_release_lock(self.held)

    cdef int renew(self) except -1:
        """A lock in place of one whose holder a fork has left behind, perhaps while it made numbers."""
        cdef PyThread_type_lock held = PyThread_allocate_lock()
        cdef core.uint32_t half = self.c.half
        cdef int has_half = self.c.has_half
        if held is NULL:
            raise MemoryError
        self.held = held    # the other one may be in any state, and is left
        self.depth = 0
        core.fd_stream_functions.seek_normal(self.c, self.c.normal_position, self.c.normal_carry)
        core.fd_stream_functions.seek_raw(
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
        return self.depth > 0 and not self.abandoned()

    def __enter__(self):
        self.take()
        return True

    def __exit__(self, *exception):
        self.release()


cdef class Noise:
    """A source of standard normals: ``fill(state, n, out)`` writes the stream's next n.

    Parameters
    ----------
    bit_generator : numpy.random.BitGenerator
        Kept alive, its lock held during draws; normals are NumPy's own ziggurat's.
    """

    def __init__(self, bit_generator):
        self.acquire = bit_generator.lock.acquire
        self.release = bit_generator.lock.release
        self.bit_generator = bit_generator
        core.fd_noise_from_numpy(&self.source, PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator"))

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

    cdef int take(self, intptr_t n, core.fd_place *place) except -1:
        """Where the next n normals of its own stream are, which moves on behind them."""
        self.lock()
        place[0] = core.fd_stream_take(self.stream.c, n)
        self.unlock()
        return 0


cdef class Recorded(Noise):
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
        self.noise.lock()
        if not self.begun:
            try:
                if self.stream is None:
                    self.state = self.bit_generator.state
                else:
                    self.place = core.fd_stream_take(self.stream.c, 0)
            except BaseException:
                self.noise.unlock()
                raise
            self.begun = True
        return 0

    cdef int unlock(self) except -1:
        return self.noise.unlock()

    def replay(self):
        """A noise of its own that stands where the first draw began."""
        cdef Noise noise
        if self.stream is None and self.begun:
            bit_generator = type(self.bit_generator)()
            bit_generator.state = self.state
            return Noise(bit_generator)
        noise = stream_noise(False)
        core.fd_stream_functions.start(noise.stream.c, self.place.key)
        core.fd_stream_functions.seek_normal(noise.stream.c, self.place.position, self.place.carry)
        return noise


cdef const core.fd_stream_api *stream_functions() noexcept nogil:
    return &core.fd_stream_functions


cdef Noise stream_noise(bint shared):
    """Normals of a BlockSFC64 stream, which the caller starts and may read raw words from."""
    cdef Noise noise = Noise.__new__(Noise)
    noise.shared = shared
    noise.stream = Stream(shared)
    noise.source.state = noise.stream.c
    noise.source.fill[0] = core.fd_stream_functions.fill[0]
    noise.source.fill[1] = core.fd_stream_functions.fill[1]
    return noise


cdef int draw(
    Noise noise, core.fd_drawing *drawing, core.fd_draw *fill, intptr_t n_row, intptr_t cost, int workers
) except -1:
    """All rows of a draw, each costing about `cost` ns.

    A large draw from a stream of our own takes its range of it and lets others go on behind that: other
    threads, and what signals call. So does whoever catches an exception that these raise. NumPy's generators
    are locked throughout.
    """
    cdef bint own = noise.stream is not None and n_row * cost >= KEEP_GIL
    cdef intptr_t scratch_size = core.FD_SCRATCH_BYTES * drawing.job.dim
    workers = <int>max(min(workers, n_row * cost // SHARE, core.FD_MAX_WORKER), 1) if own else 1
    cdef Scratch scratch = Scratch(workers * scratch_size)
    if own:
        draw_range(noise, drawing, fill, scratch, n_row, cost, workers)
    else:
        noise.lock()
        try:
            draw_locked(noise, drawing, fill, scratch, n_row, cost)
        finally:
            noise.unlock()
    return 0


cdef int draw_locked(
    Noise noise, core.fd_drawing *drawing, core.fd_draw *fill, Scratch scratch, intptr_t n_row, intptr_t cost
) except -1:
    cdef intptr_t begin = 0, end, piece = max(PIECE // cost, 1) * drawing.job.dim
    if n_row * cost < KEEP_GIL:
        core.fd_draw_rows(fill, drawing, &noise.source, scratch.memory, 0, n_row)
        return 0
    piece = core.fd_draw_piece(fill, drawing, piece, 4 * piece)
    while begin < n_row:
        end = min(begin + piece, n_row)
        with nogil:
            core.fd_draw_rows(fill, drawing, &noise.source, scratch.memory, begin, end)
        begin = end
        PyErr_CheckSignals()
    return 0


cdef int draw_range(
    Noise noise, core.fd_drawing *drawing, core.fd_draw *fill, Scratch scratch, intptr_t n_row,
    intptr_t cost, int workers,
) except -1:
    """By this thread and helpers, none of which is at work when signals are looked at."""
    cdef Scratch memory = Scratch(core.fd_share_size(workers))
    cdef core.fd_share *share = <core.fd_share *>memory.memory
    cdef intptr_t piece = max(PIECE // cost, 1)
    cdef core.fd_place place
    cdef bint rest = True
    noise.take(n_row * drawing.job.dim, &place)
    core.fd_share_start(share, drawing, fill, &place, scratch.memory, n_row, workers)
    while rest:
        with nogil:
            rest = core.fd_share_work(share, piece)
        PyErr_CheckSignals()
    return 0


def standard_normal(Noise noise not None, out, int workers):
    """The noise's next ``out.size`` normals, in C order of `out`."""
    cdef Call *call = start(out.shape, 1)
    try:
        add(call, out, 0, True)
        draw_noise(noise, call.job.operand[0], call.n_item, call.dtype, workers)
    finally:
        finish(call)


cdef int draw_noise(Noise noise, void *out, intptr_t n, core.fd_dtype dtype, int workers) except -1:
    """The noise's next n normals, to memory that has room for them."""
    cdef core.fd_drawing drawing
    drawing.job.dim = 1
    drawing.job.operand[0] = out
    drawing.dtype = dtype
    if n:
        draw(noise, &drawing, core.fd_draw_noise, n, NORMAL, workers)
    return 0


def draw_diag(Noise noise not None, out, loc, scale, int workers=1):
    """``out = loc + scale * eps`` with the noise's next ``out.size`` normals, in C order of `out`."""
    cdef Call *call = start(out.shape, 1)
    try:
        add(call, out, 0, True)
        add(call, loc, 0)
        add(call, scale, 0)
        if call.n_item:
            core.fd_job_coalesce(&call.job, 3)
            call.drawing.job = call.job
            call.drawing.dtype = call.dtype
            call.drawing.colorize = core.fd_lookup(core.FD_colorize_diag, call.dtype)
            draw(noise, &call.drawing, core.fd_draw_elements, call.n_item, NORMAL, workers)
    finally:
        finish(call)


def draw_tril(Noise noise not None, out, batch_shape, loc, panels, bint inverse, int workers=1):
    """``out = loc + L eps``, or ``loc + W^-1 eps`` if `factor` is the inverse one, W."""
    cdef intptr_t dim = out.shape[len(out.shape) - 1]
    cdef intptr_t n_row = out.size // dim if dim else 0
    cdef Call *call = start(batch_shape, dim)
    try:
        if n_row:
            # One sample stands for all in the job; fd_draw_events knows where the others lie.
            add(call, out[(0,) * (len(out.shape) - 1 - call.job.ndim)], 1, True)
            add(call, loc, 1)
            add_panels(call, panels)
            core.fd_job_coalesce(&call.job, 3)
            call.drawing.job = call.job
            call.drawing.dtype = call.dtype
            call.drawing.n_batch = call.n_item
            call.drawing.colorize = core.fd_lookup(
                core.FD_solve_tril if inverse else core.FD_multiply_tril, call.dtype)
            draw(noise, &call.drawing, core.fd_draw_events, n_row, dim * (NORMAL + dim // 8), workers)
    finally:
        finish(call)


# ---- densities -----------------------------------------------------------------------------


def log(out, x):
    """``out = log(x)``."""
    cdef Call *call = start(out.shape, 1)
    try:
        add(call, out, 0, True)
        add(call, x, 0)
        run(call, core.FD_log, 3)
    finally:
        finish(call)


def normal_log_prob(out, value, loc, scale, log_scale):
    """``out = -((value - loc) / scale)**2 / 2 - log_scale - log(2 pi) / 2``."""
    cdef Call *call = start(out.shape, 1)
    try:
        add(call, out, 0, True)
        add(call, value, 0)
        add(call, loc, 0)
        add(call, scale, 0)
        add(call, log_scale, 0)
        run(call, core.FD_normal_log_prob, 2)
    finally:
        finish(call)


def normal_log_prob_events(out, tuple event_shape, value, loc, scale, constant):
    """``out = -sum(((value - loc) / scale)**2) / 2 - constant`` over the trailing dims `event_shape`."""
    cdef intptr_t unit = size_of(event_shape)
    cdef tuple outer = (...,) + (None,) * len(event_shape)
    if unit == 0:
        out[...] = -constant
        return
    cdef Call *call = start(out.shape + event_shape, unit)
    try:
        add(call, out[outer], 0, True)
        add(call, value, 0)
        add(call, loc, 0)
        add(call, scale, 0)
        add(call, constant[outer], 0)
        run(call, core.FD_normal_log_prob_events, 2, unit)
    finally:
        finish(call)


def sum_events(out, tuple event_shape, value):
    """``out += sum(value)`` over the trailing dims `event_shape`."""
    cdef intptr_t unit = size_of(event_shape)
    cdef Call *call = start(out.shape + event_shape, unit)
    try:
        add(call, out[(...,) + (None,) * len(event_shape)], 0, True)
        add(call, value, 0)
        run(call, core.FD_sum_events, 1, unit)
    finally:
        finish(call)


def mahalanobis_tril(out, value, loc, panels, bint inverse, tuple sum_shape=(), double weight=1.0):
    """``out += weight |L^-1 (value - loc)|^2``, or with W for L^-1 if the factor is the inverse one.

    Summed over the last of value's batch dims, `sum_shape`.
    """
    cdef float weight_f32 = <float>weight
    cdef intptr_t dim = value.shape[len(value.shape) - 1]
    cdef Scratch scratch = Scratch(core.FD_SCRATCH_BYTES * dim)
    cdef core.fd_verb verb = core.FD_mahalanobis_multiply if inverse else core.FD_mahalanobis_solve
    cdef intptr_t unit = size_of(sum_shape), cost = dim * (2 + dim // 4) + 1
    cdef Call *call = start(out.shape + sum_shape, dim)
    try:
        add(call, out[(...,) + (None,) * len(sum_shape)], 0, True)
        add(call, value, 1)
        add(call, loc, 1)
        add_panels(call, panels)
        add_scratch(call, scratch)
        call.job.operand[5] = <void *>&weight_f32 if call.dtype == core.FD_F32 else <void *>&weight
        if sum_shape:
            run(call, verb, cost, unit)
        else:
            run_events(call, verb, cost, 3)
    finally:
        finish(call)


def mvn_log_prob(out, value, loc, panels, constant, bint inverse):
    """``out = -|L^-1 (value - loc)|^2 / 2 - constant``; with W for L^-1 if the factor is the inverse one."""
    cdef intptr_t dim = value.shape[len(value.shape) - 1]
    cdef Scratch scratch = Scratch(core.FD_SCRATCH_BYTES * dim)
    cdef Call *call = start(out.shape, dim)
    try:
        add(call, out, 0, True)
        add(call, value, 1)
        add(call, loc, 1)
        add_panels(call, panels)
        add_scratch(call, scratch)
        add(call, constant, 0)
        run_events(call, core.FD_mvn_log_prob_multiply if inverse else core.FD_mvn_log_prob_solve,
                   dim * (2 + dim // 4) + 1, 3)
    finally:
        finish(call)


# ---- the cdf family ------------------------------------------------------------------------

cdef dict CDF_VERBS = {
    "cdf": core.FD_normal_cdf,
    "log_cdf": core.FD_normal_log_cdf,
    "survival_function": core.FD_normal_survival,
    "log_survival_function": core.FD_normal_log_survival,
    "icdf": core.FD_normal_icdf,
}


def normal_cdf(str verb, out, value, loc, scale):
    """The cdf or its inverse, complement or logarithm, as `verb` (Normal's method) says."""
    cdef Call *call = start(out.shape, 1)
    try:
        add(call, out, 0, True)
        add(call, value, 0)
        add(call, loc, 0)
        add(call, scale, 0)
        run(call, CDF_VERBS[verb], 30)
    finally:
        finish(call)


# ---- factors and validation ----------------------------------------------------------------


def cholesky(factor, matrix, bint reverse, bint check_symmetry):
    """Cholesky factors, by columns, or if `reverse` those of the inverse: W with ``W' W = matrix``.

    Returns the numbers of the first matrix without one and of the first that is not symmetric, or -1.
    """
    cdef intptr_t dim = factor.shape[len(factor.shape) - 1]
    cdef intptr_t found = -1, asymmetric = -1
    cdef Scratch scratch = Scratch(core.FD_MATRIX_BYTES * dim * dim)
    cdef Call *call = start(factor.shape[:-2], dim)
    try:
        add(call, factor, 2, True)
        add(call, matrix, 2)
        call.job.operand[2] = &found
        call.job.operand[3] = scratch.memory
        call.job.operand[4] = &asymmetric if check_symmetry else NULL
        # Vectors of matrices are not to be cut.
        run(call, core.FD_reverse_cholesky if reverse else core.FD_cholesky,
            4 + dim * dim * (1 + dim // 20), 16)
    finally:
        finish(call)
    return found, asymmetric


def pack_tril(factor, matrix):
    """Lower triangles, by columns."""
    cdef intptr_t dim = factor.shape[len(factor.shape) - 1]
    cdef Call *call = start(factor.shape[:-2], dim)
    try:
        add(call, factor, 2, True)
        add(call, matrix, 2)
        run(call, core.FD_pack_tril, 1 + dim * dim)
    finally:
        finish(call)


cpdef intptr_t panels_size(intptr_t dim, intptr_t itemsize):
    """Number of elements of a factor in panels."""
    return core.fd_panels_size(dim, core.FD_PANEL_BYTES // itemsize)


def pack_panels(panels, factor):
    """Factors in panels."""
    cdef intptr_t dim = factor.shape[len(factor.shape) - 1]
    cdef Call *call = start(factor.shape[:-2], dim)
    try:
        add_panels(call, panels, True)
        add(call, factor, 2)
        run(call, core.FD_pack_panels, 1 + dim * dim)
    finally:
        finish(call)


def solve_tril(out, loc, panels):
    """``out = loc + L^-1 out`` for each event (row) of `out`."""
    cdef intptr_t dim = out.shape[len(out.shape) - 1]
    cdef Scratch scratch = Scratch(core.FD_SCRATCH_BYTES * dim)
    cdef Call *call = start(out.shape[:-1], dim)
    try:
        add(call, out, 1, True)
        add(call, loc, 1)
        add_panels(call, panels)
        add_scratch(call, scratch)
        run(call, core.FD_solve_tril, dim * (1 + dim // 4) + 1)
    finally:
        finish(call)


cdef intptr_t first(core.fd_verb verb, array, int core_ndim) except -2:
    cdef intptr_t dim = array.shape[len(array.shape) - 1] if core_ndim else 1
    cdef intptr_t found = -1
    cdef Call *call = start(array.shape[:len(array.shape) - core_ndim], dim)
    try:
        add(call, array, core_ndim)
        call.job.operand[1] = &found
        run(call, verb, 1 + dim * dim)
    finally:
        finish(call)
    return found


def first_not_finite(array):
    """Flat index of the first NaN or infinity, or -1."""
    return first(core.FD_check_finite, array, 0)


def first_not_positive(array):
    """Flat index of the first element that is not finite and above zero, or -1."""
    return first(core.FD_check_positive, array, 0)


def first_not_probability(array):
    """Flat index of the first element below 0 or above 1, or -1; NaN passes."""
    return first(core.FD_check_probability, array, 0)


def first_not_tril(matrix):
    """Number of the first matrix that is no finite lower triangle with positive diagonal, or -1."""
    return first(core.FD_check_tril, matrix, 2)


# ---- gradients -----------------------------------------------------------------------------
# A pullback is a few steps (fd_pull in fastdist.h), done tile by tile over the items of a cotangent,
# which comes in its full shape, with strides of 0 where it repeats. A gradient gets the sum of the
# terms that broadcasting had spread from one element. Of an empty cotangent nothing is written.

# Numbers in a tile: of events, to stay in the nearer caches; of whole samples of a batch, enough of
# them that a matrix is read and written once for 16.
cdef enum:
    EVENT_TILE = 8192
    SAMPLE_TILE = 16384
    MIN_TILE_SAMPLE = 16

# Where the operands of a sum are, if not in the tile.
cdef enum:
    ARRAY = -1
    PLUS = -2
    MINUS = -3

cdef double[2] SIGN_F64 = [1, -1]
cdef float[2] SIGN_F32 = [1, -1]


# More than any pullback takes.
cdef enum:
    MAX_VIEW = 16
    MAX_SCRATCH = 8


cdef struct Pull:
    core.fd_pull c
    int ndim                # of the loop over items
    intptr_t shape[64]
    int order[64]           # in which its dims are walked
    intptr_t n_item, dim
    int n_view, n_scratch
    Py_buffer view[MAX_VIEW]
    void *scratch[MAX_SCRATCH]


cdef Pull *pull_start(tuple shape, intptr_t itemsize, int core_ndim, intptr_t dim) except NULL:
    """Lay out the loop over the items of a cotangent of a shape, each its last `core_ndim` dims."""
    cdef int d, ndim = <int>len(shape) - core_ndim
    cdef intptr_t n_item = size_of(shape[:ndim])
    if ndim >= core.FD_MAX_NDIM:
        raise ValueError(f"gradients take at most {core.FD_MAX_NDIM - 1} dims, got shape {shape}")
    cdef Pull *pull = <Pull *>PyMem_Malloc(sizeof(Pull))
    if pull is NULL:
        raise MemoryError
    pull.n_view = pull.n_scratch = pull.c.n_step = 0
    pull.ndim = ndim
    pull.n_item = n_item
    pull.dim = dim
    pull.c.dtype = core.FD_F32 if itemsize == 4 else core.FD_F64
    for d in range(pull.ndim):
        pull.shape[d] = shape[d]
        pull.order[d] = d
    return pull


cdef int pull_tile(Pull *pull, intptr_t tile_item, intptr_t tile_items) except -1:
    """Make a tile of so many items, or of all if they are fewer."""
    pull.c.tile_item = tile_item
    pull.c.tile_items = max(1, min(tile_items, pull.n_item))
    pull.c.tile = scratch(pull, pull.c.tile_items * tile_item)
    return 0


cdef int pull_planes(Pull *pull, int n_plane) except -1:
    """Make a tile of elements, with so many numbers for each, `tile_items` apart."""
    pull.c.tile_item = 1
    pull.c.tile_items = min(core.FD_TILE, pull.n_item)
    pull.c.tile = scratch(pull, n_plane * pull.c.tile_items)
    return 0


cdef void pull_finish(Pull *pull) noexcept:
    cdef int k
    for k in range(pull.n_view):
        PyBuffer_Release(&pull.view[k])
    for k in range(pull.n_scratch):
        PyMem_Free(pull.scratch[k])
    PyMem_Free(pull)


cdef void *scratch(Pull *pull, intptr_t n) except NULL:
    """Memory for n numbers, until pull_finish."""
    if pull.n_scratch == MAX_SCRATCH:
        raise SystemError("too many arrays of scratch memory for a pullback")
    cdef void *memory = PyMem_Malloc(max(n, 1) * sizeof(double))
    if memory is NULL:
        raise MemoryError
    pull.scratch[pull.n_scratch] = memory
    pull.n_scratch += 1
    return memory


cdef core.fd_step *pull_step(Pull *pull, core.fd_verb verb, intptr_t inner=-1) except NULL:
    """A step whose items are those of the loop or, with `inner`, that many elements of each."""
    if pull.c.n_step == core.FD_MAX_STEP:
        raise SystemError("too many steps for a pullback")
    cdef core.fd_step *step = &pull.c.step[pull.c.n_step]
    cdef int d
    pull.c.n_step += 1
    step.kernel = core.fd_lookup(verb, pull.c.dtype)
    step.unit = 1
    step.job.dim = pull.dim
    step.job.ndim = pull.ndim
    for d in range(pull.ndim):
        step.job.shape[d] = pull.shape[d]
    if inner >= 0:
        step.unit = step.job.shape[pull.ndim] = inner
        step.job.ndim += 1
    for d in range(core.FD_MAX_OPERAND):
        step.in_tile[d] = -1
    return step


cdef int pull_add(Pull *pull, core.fd_step *step, int k, object array, int core_ndim=0,
                  bint written=False, intptr_t size=-1) except -1:
    """Make `array` operand k of a step."""
    if pull.n_view == MAX_VIEW:
        raise SystemError("too many arrays for a pullback")
    cdef Py_buffer *view = &pull.view[pull.n_view]
    PyObject_GetBuffer(array, view, PyBUF_STRIDES | (PyBUF_WRITABLE if written else 0))
    pull.n_view += 1
    return place(&step.job, k, pull.c.dtype, view, core_ndim, size)


cdef void pull_ready(Pull *pull, core.fd_step *step, int n_operand) noexcept:
    """Put the loop dims in order, lay out operands in the tile, coalesce."""
    cdef core.fd_job *job = &step.job
    cdef intptr_t moved[64]
    cdef intptr_t stride
    cdef int d, k
    cdef bint single = job.ndim > pull.ndim and job.shape[pull.ndim] == 1
    for k in range(n_operand):
        for d in range(pull.ndim):
            moved[d] = job.stride[k][pull.order[d]]
        for d in range(pull.ndim):
            job.stride[k][d] = moved[d]
    for d in range(pull.ndim):
        job.shape[d] = pull.shape[pull.order[d]]
    for k in range(n_operand):
        if step.in_tile[k] >= 0:
            job.stride[k][pull.ndim] = 1
            stride = pull.c.tile_item
            for d in reversed(range(pull.ndim)):
                job.stride[k][d] = stride
                stride *= job.shape[d]
    core.fd_job_coalesce(job, n_operand)
    if single:
        # Elementwise kernels take steps of 0 or 1: the elements of items must stay the innermost dim.
        for k in range(core.FD_MAX_OPERAND):
            job.stride[k][job.ndim] = 0
        job.shape[job.ndim] = 1
        job.ndim += 1


cdef intptr_t n_term(const core.fd_job *job) noexcept:
    """How many terms each sum of a job has."""
    cdef intptr_t n = 1
    cdef int d
    for d in range(job.ndim):
        if job.stride[0][d] == 0:
            n *= job.shape[d]
    return n


cdef void *total(Pull *pull, core.fd_job *job, intptr_t n_sum) except? NULL:
    """The scratch of a job's sums, where they need any."""
    return scratch(pull, 2 * n_sum) if n_term(job) > core.FD_SUM_TERMS else NULL


cdef void set_sign(core.fd_job *job, core.fd_dtype dtype, bint minus) noexcept:
    """Let operand 2 be 1 or -1."""
    cdef int d
    job.operand[2] = <void *>&SIGN_F32[minus] if dtype == core.FD_F32 else <void *>&SIGN_F64[minus]
    for d in range(job.ndim):
        job.stride[2][d] = 0


cdef int pull_sum(Pull *pull, object out, object x, intptr_t x_at, intptr_t y_at,
                  intptr_t inner=-1) except -1:
    """A step that sums x y: x is an array (`x_at` is ARRAY) or in the tile, y in the tile or 1 or -1."""
    cdef core.fd_step *step = pull_step(pull, core.FD_sum_products, inner)
    pull_add(pull, step, 0, out, 0, True)
    if x_at == ARRAY:
        pull_add(pull, step, 1, x)
    step.in_tile[1] = x_at
    if y_at < 0:
        set_sign(&step.job, pull.c.dtype, y_at == MINUS)
    else:
        step.in_tile[2] = y_at
    pull_ready(pull, step, 3)
    step.job.operand[3] = total(pull, &step.job, out.size)
    return 0


cdef int pull_run(Pull *pull, Noise noise, intptr_t cost) except -1:
    """All items, each costing about `cost` ns, on top of the next normals of `noise` if there is one."""
    cdef core.fd_noise *source = NULL
    cdef intptr_t begin = 0, end, piece
    if noise is not None:
        source = &noise.source
    if pull.n_item * cost < KEEP_GIL:
        core.fd_pull_items(&pull.c, source, 0, pull.n_item)
        return 0
    piece = max(PIECE // cost // pull.c.tile_items, 1) * pull.c.tile_items
    while begin < pull.n_item:
        end = min(begin + piece, pull.n_item)
        with nogil:
            core.fd_pull_items(&pull.c, source, begin, end)
        begin = end
        PyErr_CheckSignals()
    return 0


def sum_to(out, x):
    """``out = x``, summed over the dims in which `out` has size 1 or which it lacks."""
    cdef void *scratch = NULL
    cdef Call *call = start(x.shape, 1)
    try:
        add(call, out, 0, True)
        add(call, x, 0)
        if call.n_item and n_term(&call.job) > core.FD_SUM_TERMS:
            scratch = PyMem_Malloc(max(<intptr_t>out.size, 1) * sizeof(core.fd_total))
            if scratch is NULL:
                raise MemoryError
        call.job.operand[3] = scratch
        set_sign(&call.job, call.dtype, False)
        run(call, core.FD_sum_products, 1)
    finally:
        PyMem_Free(scratch)
        finish(call)


cdef int pull_term(Pull *pull, core.fd_step *step, int k, object out, intptr_t plane) except -1:
    """Let a step write terms, its operand k, to the tile or, where they are not to be summed, to `out`."""
    if out.size == pull.n_item:
        pull_add(pull, step, k, out, 0, True)
    else:
        step.in_tile[k] = plane * pull.c.tile_items
    return 0


cdef int pull_sum_term(Pull *pull, object out, object of, intptr_t plane, intptr_t sign) except -1:
    """A step: the sum of such terms, which were for `of`."""
    cdef bint there = of.size == pull.n_item
    if not (there and out is of):
        pull_sum(pull, out, of, ARRAY if there else plane * pull.c.tile_items, sign)
    return 0


def pull_draw_diag(Noise noise not None, by_loc, by_scale, cotangent):
    """Gradients of ``loc + scale * eps`` with the noise's next normals."""
    cdef Pull *pull = pull_start(cotangent.shape, cotangent.itemsize, 0, 1)
    try:
        if pull.n_item:
            pull_planes(pull, 1)
            pull_sum(pull, by_scale, cotangent, ARRAY, 0)
            pull_sum(pull, by_loc, cotangent, ARRAY, PLUS)
            pull_run(pull, noise, NORMAL)
    finally:
        pull_finish(pull)


def pull_log_prob_diag(by_value, by_loc, by_scale, cotangent, value, loc, scale):
    """Gradients of `normal_log_prob`."""
    cdef core.fd_step *step
    cdef Pull *pull = pull_start(cotangent.shape, cotangent.itemsize, 0, 1)
    try:
        if pull.n_item:
            pull_planes(pull, 2)
            step = pull_step(pull, core.FD_score_diag)
            pull_term(pull, step, 0, by_value, 0)
            pull_term(pull, step, 1, by_scale, 1)
            pull_add(pull, step, 2, cotangent)
            pull_add(pull, step, 3, value)
            pull_add(pull, step, 4, loc)
            pull_add(pull, step, 5, scale)
            pull_ready(pull, step, 6)
            pull_sum_term(pull, by_value, by_value, 0, PLUS)
            pull_sum_term(pull, by_loc, by_value, 0, MINUS)
            pull_sum_term(pull, by_scale, by_scale, 1, PLUS)
            pull_run(pull, None, 3)
    finally:
        pull_finish(pull)


def pull_normal_kl(by_loc_p, by_scale_p, by_loc_q, by_scale_q, cotangent, loc_p, scale_p, loc_q, scale_q):
    """Gradients of `normal_kl`."""
    cdef core.fd_step *step
    cdef Pull *pull = pull_start(cotangent.shape, cotangent.itemsize, 0, 1)
    try:
        if pull.n_item:
            pull_planes(pull, 3)
            step = pull_step(pull, core.FD_kl_score_diag)
            pull_term(pull, step, 0, by_loc_p, 0)
            pull_term(pull, step, 1, by_scale_p, 1)
            pull_term(pull, step, 2, by_scale_q, 2)
            pull_add(pull, step, 3, cotangent)
            pull_add(pull, step, 4, loc_p)
            pull_add(pull, step, 5, scale_p)
            pull_add(pull, step, 6, loc_q)
            pull_add(pull, step, 7, scale_q)
            pull_ready(pull, step, 8)
            pull_sum_term(pull, by_loc_p, by_loc_p, 0, PLUS)
            pull_sum_term(pull, by_scale_p, by_scale_p, 1, PLUS)
            pull_sum_term(pull, by_loc_q, by_loc_p, 0, MINUS)
            pull_sum_term(pull, by_scale_q, by_scale_q, 2, PLUS)
            pull_run(pull, None, 3)
    finally:
        pull_finish(pull)


cdef bint kept_first(Pull *pull, tuple shape) noexcept:
    """Let the dims that an array of `shape` has come first, so that each item of it gets all its terms
    in a row; whether that makes a difference."""
    cdef int lacking = pull.ndim - <int>len(shape), n = 0, d
    cdef bint repeats = False, moved = False
    for d in range(pull.ndim):
        if d >= lacking and shape[d - lacking] != 1:
            pull.order[n] = d
            n += 1
            moved |= repeats
        else:
            repeats |= pull.shape[d] > 1
    for d in range(pull.ndim):
        if d < lacking or shape[d - lacking] == 1:
            pull.order[n] = d
            n += 1
    return moved


def pull_draw_tril(Noise noise not None, by_factor, cotangent):
    """Gradient by L of ``L eps``, lower triangle only, with the noise's next normals.

    The samples are one dim, the first of the cotangent.
    """
    cdef core.fd_step *step
    cdef intptr_t span[2]
    cdef intptr_t n_sample = cotangent.shape[0], dim = cotangent.shape[len(cotangent.shape) - 1]
    cdef Pull *pull = pull_start(cotangent.shape, cotangent.itemsize, 1, dim)
    try:
        if pull.n_item == 0 or dim == 0:
            return
        step = pull_step(pull, core.FD_sum_outer)
        pull_add(pull, step, 0, by_factor, 2, True)
        pull_add(pull, step, 1, cotangent, 1)
        step.in_tile[2] = 0
        span[0] = 0
        span[1] = n_term(&step.job)
        step.job.operand[3] = total(pull, &step.job, by_factor.size)
        step.job.operand[4] = span
        step.job.operand[5] = scratch(pull, core.FD_OUTER_ROOM)
        if kept_first(pull, by_factor.shape[:-2]):
            size = pull.n_item // n_sample * dim
            pull_tile(pull, size, max(SAMPLE_TILE // size, min(MIN_TILE_SAMPLE, n_sample)))
            pull_samples(pull, step, noise, n_sample)
        else:
            pull_tile(pull, dim, EVENT_TILE // dim)
            pull_ready(pull, step, 3)
            pull_run(pull, noise, dim * (NORMAL + dim // 2))
    finally:
        pull_finish(pull)


cdef int pull_samples(Pull *pull, core.fd_step *step, Noise noise, intptr_t n_sample) except -1:
    """fd_pull_samples over all of them, which are the first dim of the cotangent."""
    cdef core.fd_job *job = &step.job
    cdef core.fd_job natural = step.job
    cdef intptr_t begin = 0, end, piece, stride = pull.dim
    cdef int k, i, d, axis = 0
    for d in reversed(range(pull.ndim)):
        natural.stride[2][d] = stride
        stride *= natural.shape[d]
    job.ndim = 0
    for i in range(pull.ndim):
        d = pull.order[i]
        if d == 0:
            axis = job.ndim
        elif natural.shape[d] == 1:
            continue
        job.shape[job.ndim] = natural.shape[d]
        for k in range(core.FD_MAX_OPERAND):
            job.stride[k][job.ndim] = natural.stride[k][d] if k < 3 else 0
        job.ndim += 1
    piece = PIECE // (pull.c.tile_item * (NORMAL + pull.dim // 2)) // pull.c.tile_items
    piece = max(piece, 1) * pull.c.tile_items
    while begin < n_sample:
        end = min(begin + piece, n_sample)
        with nogil:
            core.fd_pull_samples(&pull.c, &noise.source, axis, begin, end)
        begin = end
        PyErr_CheckSignals()
    return 0


cdef dict SCORE_VERBS = {
    "scale_tril": core.FD_score_tril,
    "covariance_matrix": core.FD_score_covariance,
    "precision_matrix": core.FD_score_precision,
}


def pull_log_prob_tril(str given, by_value, by_loc, by_factor, cotangent, value, loc, panels):
    """Gradients of ``-|z|^2 / 2``, z = L^-1 (value - loc), with panels of a factor of the `given` matrix.

    `by_factor` gets the lower triangle of the one by L or, if L was not given, of L' times that.
    """
    cdef core.fd_step *step
    cdef intptr_t span[2]
    cdef intptr_t dim = value.shape[len(value.shape) - 1], size, n_scratch
    cdef bint whitened = given != "scale_tril", summed
    cdef Pull *pull = pull_start(cotangent.shape, cotangent.itemsize, 0, dim)
    try:
        if pull.n_item == 0 or dim == 0:
            return
        kept_first(pull, by_factor.shape[:-2])
        summed = by_value.size != pull.n_item * dim
        # Of an item there are one or two vectors of terms and then, if it is summed, its part of by_value.
        size = 2 * dim if whitened else dim
        pull_tile(pull, size + dim if summed else size,
                  max(EVENT_TILE // dim // 2, core.FD_SCRATCH_BYTES // cotangent.itemsize))
        step = pull_step(pull, SCORE_VERBS[given])
        step.in_tile[0] = 0
        if summed:
            step.in_tile[1] = size
        else:
            pull_add(pull, step, 1, by_value, 1, True)
        pull_add(pull, step, 2, cotangent)
        pull_add(pull, step, 3, value, 1)
        pull_add(pull, step, 4, loc, 1)
        pull_add(pull, step, 5, panels, 1, False, panels_size(dim, panels.itemsize))
        pull_ready(pull, step, 6)
        n_scratch = core.FD_SCRATCH_BYTES // 4 * dim + panels_size(dim, panels.itemsize)
        step.job.operand[6] = scratch(pull, n_scratch)
        if summed:
            pull_sum(pull, by_value, None, size, PLUS, dim)
        pull_sum(pull, by_loc, by_value, size if summed else ARRAY, MINUS, dim)
        step = pull_step(pull, core.FD_sum_outer)
        pull_add(pull, step, 0, by_factor, 2, True)
        if whitened or summed:
            step.in_tile[1] = dim
        else:
            pull_add(pull, step, 1, by_value, 1)
        step.in_tile[2] = 0
        pull_ready(pull, step, 3)
        span[0] = 0
        span[1] = n_term(&step.job)
        step.job.operand[3] = total(pull, &step.job, by_factor.size)
        step.job.operand[4] = span
        step.job.operand[5] = scratch(pull, core.FD_OUTER_ROOM)
        pull_run(pull, None, dim * (4 + 2 * dim))
    finally:
        pull_finish(pull)


cdef dict KINDS = {"tril": core.FD_TRIL, "inverse": core.FD_INVERSE, "diagonal": core.FD_DIAGONAL}


def pull_mvn_kl(by_loc_p, by_loc_q, by_p, by_q, cotangent, loc_p, loc_q, p, q, str kind_p, str kind_q):
    """Gradients of `mvn_kl`, by factors times L' (lower triangles, as rows of dim^2) and by scales.

    Those by q are both None if they are not wanted."""
    cdef core.fd_step *step
    cdef intptr_t kinds[3]
    cdef intptr_t dim = p.shape[len(p.shape) - 1]
    cdef intptr_t size_p = dim if kind_p == "diagonal" else dim * dim
    cdef intptr_t size_q = dim if kind_q == "diagonal" else dim * dim
    kinds[:] = [KINDS[kind_p], KINDS[kind_q], by_q is not None]
    cdef Pull *pull = pull_start(cotangent.shape, cotangent.itemsize, 0, dim)
    try:
        if pull.n_item == 0 or dim == 0:
            return
        pull_tile(pull, dim + size_p + size_q, EVENT_TILE // (dim + size_p + size_q))
        step = pull_step(pull, core.FD_kl_score_mvn)
        step.in_tile[0] = 0
        pull_add(pull, step, 1, cotangent)
        pull_add(pull, step, 2, loc_p, 1)
        pull_add(pull, step, 3, loc_q, 1)
        pull_add(pull, step, 4, p, 1 if kind_p == "diagonal" else 2)
        pull_add(pull, step, 5, q, 1 if kind_q == "diagonal" else 2)
        pull_ready(pull, step, 6)
        step.job.operand[6] = scratch(pull, 0 if dim <= core.FD_SMALL_EVENT else core.FD_KL_NUMBERS(dim))
        step.job.operand[7] = kinds
        pull_sum(pull, by_loc_p, None, 0, PLUS, dim)
        pull_sum(pull, by_p, None, dim, PLUS, size_p)
        if by_q is not None:
            pull_sum(pull, by_loc_q, None, 0, MINUS, dim)
            pull_sum(pull, by_q, None, dim + size_p, PLUS, size_q)
        pull_run(pull, None, dim * dim * (4 + 3 * dim))
    finally:
        pull_finish(pull)


cdef dict TRIL_VERBS = {
    "left_multiply_t": core.FD_left_multiply_t,
    "left_solve_t": core.FD_left_solve_t,
    "subtract_log_det": core.FD_subtract_log_det,
    "congruence_t": core.FD_congruence_t,
    "congruence": core.FD_congruence,
}


def transform_tril(str verb, matrix, factor, less=None):
    """Do what `verb` says (kernels.def) to each matrix, in place; factors and `less` (c there) broadcast."""
    cdef double zero = 0  # of all dtypes
    cdef intptr_t dim = matrix.shape[len(matrix.shape) - 1]
    cdef Call *call = start(matrix.shape[:-2], dim)
    try:
        add(call, matrix, 2, True)
        add(call, factor, 2)
        if less is not None:
            add(call, less, 0)
        else:
            call.job.operand[2] = &zero
        run(call, TRIL_VERBS[verb], 1 + dim * dim * (2 + dim // 2))
    finally:
        finish(call)


# ---- divergences ---------------------------------------------------------------------------


def normal_kl(out, tuple event_shape, loc_p, scale_p, loc_q, scale_q):
    """Kullback-Leibler divergences of scalars, summed over the trailing dims `event_shape`."""
    cdef Call *call
    cdef core.fd_step *step
    if not event_shape:
        call = start(out.shape, 1)
        try:
            add(call, out, 0, True)
            add(call, loc_p, 0)
            add(call, scale_p, 0)
            add(call, loc_q, 0)
            add(call, scale_q, 0)
            run(call, core.FD_normal_kl, 3)
        finally:
            finish(call)
        return
    cdef Pull *pull = pull_start(out.shape + event_shape, out.itemsize, 0, 1)
    try:
        if pull.n_item:
            pull_planes(pull, 1)
            step = pull_step(pull, core.FD_normal_kl)
            step.in_tile[0] = 0
            pull_add(pull, step, 1, loc_p)
            pull_add(pull, step, 2, scale_p)
            pull_add(pull, step, 3, loc_q)
            pull_add(pull, step, 4, scale_q)
            pull_ready(pull, step, 5)
            pull_sum(pull, out[(...,) + (None,) * len(event_shape)], None, 0, PLUS)
            pull_run(pull, None, 3)
    finally:
        pull_finish(pull)


def mvn_kl(out, loc_p, loc_q, p, q, str kind_p, str kind_q):
    """Divergences of Gaussian vectors by L ("tril"), W ("inverse") or scales ("diagonal")."""
    cdef intptr_t kinds[2]
    cdef intptr_t dim = p.shape[len(p.shape) - 1]
    kinds[:] = [KINDS[kind_p], KINDS[kind_q]]
    cdef intptr_t n_scratch = 0 if dim <= core.FD_SMALL_EVENT else core.FD_KL_NUMBERS(dim)
    cdef Scratch scratch = Scratch(n_scratch * out.itemsize)
    cdef Call *call = start(out.shape, dim)
    try:
        add(call, out, 0, True)
        add(call, loc_p, 1)
        add(call, loc_q, 1)
        add(call, p, 1 if kind_p == "diagonal" else 2)
        add(call, q, 1 if kind_q == "diagonal" else 2)
        add_scratch(call, scratch)
        call.job.operand[6] = kinds
        run(call, core.FD_mvn_kl, 10 + dim * dim * (2 + dim // 4))
    finally:
        finish(call)
