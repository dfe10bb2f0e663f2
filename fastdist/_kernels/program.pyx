# cython: cdivision=True
# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Programs: kernels over arrays, by the letters that kernels.def has for their operands.

    Kernel      an operation, and what its operands are
    Plan        a kernel bound to the arrays of a distribution
    lay_out     arrays -> a loop: pointers, and strides of 0 where an array is broadcast
    by_blocks   what is done to one large matrix after the other (blocked.h)
    run         a kernel over arrays: piece by piece, the GIL released for all but tiny ones, Ctrl-C honoured

Whoever calls a kernel does it by these, for an array of one element as for one of a billion. Every array must
be native and of one dtype (float32 or float64) and packed: C-contiguous but for dims of size 1, as
fastdist._params leaves it. Sizes are checked here, values are not.
"""

cimport cython
cimport numpy as np
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport intptr_t
from libc.string cimport strlen

from fastdist._kernels cimport core
from fastdist._kernels.isa cimport functions

import numpy as np

from fastdist._kernels._workers import parse_workers

np.import_array()

cdef extern from * nogil:
    bint __builtin_mul_overflow(intptr_t a, intptr_t b, intptr_t *product)

cdef const core.fd_api *api = functions()

# Elements that are worked on at a time, half an L2 cache of them.
cdef enum:
    EVENTS = 65536

# Of the letters: scratch memory, and all that callers bring no array for.
cdef const char *SCRATCH = b"SBDQO"
cdef const char *WITHOUT_ARRAY = b"nahmINRSBDQO"


cdef bint is_in(char letter, const char *letters) noexcept:
    while letters[0]:
        if letters[0] == letter:
            return True
        letters += 1
    return False


cdef class Kernel:
    """An operation of kernels.def."""

    def __cinit__(self, int op):
        cdef int k
        cdef char letter
        self.op = <core.fd_op>op
        self.name = api.op_name(self.op).decode()
        self.layout = api.op_layout(self.op)
        self.letters = api.op_operands(self.op)
        self.tells_dim = self.counts = -1
        for k in range(<int>strlen(self.letters)):
            letter = self.letters[k]
            self.n_operand += 1
            self.own[k] = self.own_ndim(letter)
            if is_in(letter, WITHOUT_ARRAY):
                self.role[k] = NO_ARRAY
                self.needs_scratch |= is_in(letter, SCRATCH)
                continue
            self.n_array += 1
            self.role[k] = SINGLE if is_in(letter, b"wKZ") else NUMBER if is_in(letter, b"kr+u") else ITEMS
            if letter == c"f" and self.n_factor == 0:
                self.first_factor = k
            self.n_factor += letter == c"f"
            self.takes_uniforms |= letter == c"u"
            if letter == c"Z":
                self.counts = self.n_array - 1
            self.has_panels |= is_in(letter, b"LW") and self.layout == core.FD_EVENTS
            if self.tells_dim < 0 and self.own[k] and not is_in(letter, b"LPt=bzj"):
                self.tells_dim = k

    cdef int own_ndim(self, char letter) noexcept:
        """How many dims of an array with this letter are the kernel's own."""
        if is_in(letter, b"LP"):
            return 1
        if is_in(letter, b"kr+u") or self.layout < core.FD_EVENTS or self.layout == core.FD_CHECK_ELEMENTS:
            return 0
        return 2 if is_in(letter, b"YMTXCFG=WH") else 1

    cdef intptr_t scratch(self, core.fd_dtype dtype, intptr_t dim) noexcept:
        """Bytes of scratch memory."""
        cdef intptr_t itemsize = 4 if dtype == core.FD_F32 else 8
        cdef const char *letter = self.letters
        if not self.needs_scratch:
            return 0
        while not is_in(letter[0], SCRATCH):
            letter += 1
        if letter[0] == c"S":
            return core.FD_SCRATCH_BYTES * dim
        if letter[0] == c"B":
            return 2 * core.FD_SCRATCH_BYTES * dim + itemsize * panels_size(dim, itemsize)
        if letter[0] == c"D":
            return core.FD_MATRIX_BYTES * dim * dim
        if letter[0] == c"Q":
            return itemsize * core.FD_KL_NUMBERS(dim) if dim > core.FD_SMALL_EVENT else 0
        return itemsize * core.FD_OUTER_ROOM if letter[0] == c"O" else 0

    cdef core.fd_kernel *function(self, core.fd_dtype dtype) noexcept:
        return api.lookup(self.op, dtype)

    cdef intptr_t cost(self, intptr_t dim) noexcept:
        return api.op_cost(self.op, dim)


# What stands for a covariance, in the numbers that go with kernels of divergences.
TRIL, INVERSE, DIAGONAL = core.FD_TRIL, core.FD_INVERSE, core.FD_DIAGONAL

KERNELS = {kernel.name: kernel for kernel in map(Kernel, range(core.FD_N_OP))}

cdef Kernel SUM_EVENTS = KERNELS["sum_events"]


cdef class Memory:
    """Memory for the length of a call, aligned to the widest vector."""

    def __cinit__(self, intptr_t n_byte):
        self.base = PyMem_Malloc(n_byte + ALIGNMENT)
        if self.base is NULL:
            raise MemoryError
        self.aligned = aligned(self.base)

    def __dealloc__(self):
        PyMem_Free(self.base)


# ---- laying out --------------------------------------------------------------------------------


cdef intptr_t size_of(int ndim, const intptr_t *shape) except -1:
    """Product of a shape, which no memory bounds where operands are broadcast."""
    cdef intptr_t size = 1
    cdef int d
    for d in range(ndim):
        if __builtin_mul_overflow(size, shape[d], &size):
            if 0 in [shape[i] for i in range(ndim)]:
                return 0
            raise ValueError(
                f"shape {tuple([shape[d] for d in range(ndim)])} is too big: "
                "it has more elements than an index can count"
            )
    return size


cdef core.fd_dtype dtype_of(np.ndarray array) except? core.FD_F32:
    """A kernel's dtype for an array."""
    cdef int typenum = np.PyArray_TYPE(array)
    if typenum == np.NPY_FLOAT64:
        return core.FD_F64
    if typenum == np.NPY_FLOAT32:
        return core.FD_F32
    raise TypeError(f"kernels take float32 and float64, not {array.dtype}")


cdef int place(core.fd_loop *loop, int k, np.ndarray array, int core_ndim, int skipped, int n_lead) except -1:
    """Make an array operand k of a loop whose dims are laid out, all but the last `skipped` of which it has.

    Its own last `core_ndim` dims are the kernel's, and its first `n_lead` others'.
    """
    cdef int ndim = np.PyArray_NDIM(array) - core_ndim - n_lead
    cdef int lead = loop.ndim - skipped - ndim, d, axis
    cdef int shift = 3 if np.PyArray_ITEMSIZE(array) == 8 else 2
    cdef np.npy_intp *dims = np.PyArray_DIMS(array) + n_lead
    cdef np.npy_intp *strides = np.PyArray_STRIDES(array) + n_lead
    if ndim < 0 or lead < 0:
        raise ValueError(f"operand {k} has {np.PyArray_NDIM(array)} dims, the loop {loop.ndim - skipped}")
    for d in range(loop.ndim):
        axis = d - lead
        if axis < 0 or axis >= ndim or dims[axis] == 1:
            loop.stride[k][d] = 0
        elif dims[axis] == loop.shape[d]:
            loop.stride[k][d] = strides[axis] >> shift
        else:
            raise ValueError(f"operand {k} has size {dims[axis]} in a loop dim of {loop.shape[d]}")
    loop.operand[k] = np.PyArray_DATA(array)
    return 0


cdef int place_item(
    core.fd_loop *loop, int k, Kernel kernel, np.ndarray array, int core_ndim, int skipped, int n_lead,
    intptr_t count=0,
) except -1:
    """The same, of an array whose items must be of the kernel's size, and of a `count` that goes with it."""
    cdef intptr_t size = 1, wanted = 1
    cdef int d
    place(loop, k, array, core_ndim, skipped, n_lead)
    if core_ndim == 0:
        return 0
    for d in range(np.PyArray_NDIM(array) - core_ndim, np.PyArray_NDIM(array)):
        size *= np.PyArray_DIM(array, d)
        wanted *= loop.dim
    if kernel.letters[k] == c"L" or kernel.letters[k] == c"P":
        wanted = core.fd_panels_size(loop.dim, core.FD_PANEL_BYTES // np.PyArray_ITEMSIZE(array))
    elif is_in(kernel.letters[k], b"bzjWH"):
        wanted = size_by_count(kernel.letters[k], loop.dim, count)
    if size != wanted:
        raise ValueError(f"operand {k} has items of {size} elements, not {wanted}, for dim {loop.dim}")
    return 0


cdef intptr_t size_by_count(char letter, intptr_t dim, intptr_t count) noexcept:
    """How many numbers an item has that goes by a count."""
    if letter == c"b":
        return count
    if letter == c"z" or letter == c"j":
        return dim - count if letter == c"z" else dim + count
    return dim * count


cdef int lay_out(
    core.fd_loop *loop, Kernel kernel, int ndim, const intptr_t *shape, int event_ndim, int n_lead,
    PyObject **arrays, int first, intptr_t dim,
) except -1:
    """The loop of a kernel over `arrays`, its operands but for scratch and the like, which stay NULL.

    The kernel's own `dim`, unless it is given, is that of its vectors or matrices, or the size of the loop's
    last `event_ndim` dims, which results and constants of sums over events lack. The first array may have
    `n_lead` dims before those of the loop. Of arrays before `first` nothing is looked at.
    """
    cdef int k, d, own, at = first, typenum = np.PyArray_TYPE(<np.ndarray>arrays[first])
    cdef intptr_t count = 0
    cdef np.ndarray array
    if ndim > MAX_NDIM:
        raise ValueError(f"there are at most {MAX_NDIM} dims, got {ndim}")
    loop.ndim = ndim
    for d in range(ndim):
        loop.shape[d] = shape[d]
    loop.dim = dim
    if dim < 0 and kernel.tells_dim >= 0:
        array = <np.ndarray>arrays[kernel.tells_dim]
        loop.dim = np.PyArray_DIM(array, np.PyArray_NDIM(array) - 1)
    elif dim < 0:
        loop.dim = size_of(event_ndim, shape + ndim - event_ndim) if event_ndim else 1
    if kernel.counts >= 0:
        count = (<const intptr_t *>np.PyArray_DATA(<np.ndarray>arrays[kernel.counts]))[0]
    for k in range(first, kernel.n_operand):
        if kernel.role[k] == NO_ARRAY:
            repeat(loop, k, NULL)
            continue
        array = <np.ndarray>arrays[at]
        at += 1
        if kernel.role[k] == SINGLE:
            repeat(loop, k, np.PyArray_DATA(array))
            continue
        if np.PyArray_TYPE(array) != typenum:
            raise TypeError(f"operand {k} of {kernel.name} is of {array.dtype}, operand 0 is not")
        own = kernel.own[k]
        if kernel.n_factor and kernel.letters[k] == c"f":  # as the numbers at the end say
            own = own_of_factor(<np.ndarray>arrays[kernel.n_array - 1], k - kernel.first_factor)
        place_item(
            loop, k, kernel, array, own, event_ndim if kernel.role[k] == NUMBER else 0, 0 if k else n_lead,
            count)
    return 0


cdef int own_of_factor(np.ndarray kinds, int i) noexcept:
    """How many dims of its own factor i of a divergence has."""
    return 1 if (<const intptr_t *>np.PyArray_DATA(kinds))[i] == core.FD_DIAGONAL else 2


cdef void repeat(core.fd_loop *loop, int k, void *operand) noexcept:
    """Make something operand k that all items share."""
    cdef int d
    loop.operand[k] = operand
    for d in range(loop.ndim):
        loop.stride[k][d] = 0


# ---- run -----------------------------------------------------------------------------------------


cdef int run(
    Kernel kernel, int ndim, const intptr_t *shape, int event_ndim, PyObject **arrays, Found *found
) except -1:
    """Do all items of a loop, of `shape`, over arrays."""
    cdef core.fd_loop loop
    cdef intptr_t n_item = size_of(ndim, shape)
    lay_out(&loop, kernel, ndim, shape, event_ndim, 0, arrays, 0, -1)
    if n_item == 0:
        return 0
    api.coalesce(&loop, kernel.n_operand)
    # Sums are not to be cut, and no vectors of matrices.
    unit = 16 if kernel.layout == core.FD_MATRICES else size_of(event_ndim, shape + ndim - event_ndim)
    return run_loop(kernel, &loop, dtype_of(<np.ndarray>arrays[0]), n_item, unit, event_ndim, found)


cdef int run_loop(
    Kernel kernel, core.fd_loop *loop, core.fd_dtype dtype, intptr_t n_item, intptr_t unit, int event_ndim,
    Found *found,
) except -1:
    """Do all items of a loop that is laid out and coalesced, cut at multiples of `unit`."""
    cdef core.fd_kernel *function = kernel.function(dtype)
    cdef intptr_t cost = kernel.cost(loop.dim), n_byte
    cdef Memory memory = None
    cdef char room[SMALL_SCRATCH + ALIGNMENT]
    cdef void *scratch = aligned(room)
    cdef int k
    cdef char letter
    if kernel.n_array < kernel.n_operand:
        n_byte = kernel.scratch(dtype, loop.dim)
        if n_byte > SMALL_SCRATCH:
            memory = Memory(n_byte)
            scratch = memory.aligned
        for k in range(kernel.n_operand):
            letter = kernel.letters[k]
            if kernel.role[k] != NO_ARRAY:
                continue
            if letter == c"n":
                loop.operand[k] = &found.first
            elif letter == c"a":
                loop.operand[k] = &found.asymmetric if found.symmetry else NULL
            elif letter == c"h":
                loop.operand[k] = found.half_log_det
            elif letter == c"m":
                loop.operand[k] = found.copy
            elif letter == c"I":
                loop.operand[k] = found.places
            elif n_byte:
                loop.operand[k] = scratch
    if n_item * cost < KEEP_GIL:
        api.run(function, loop, 0, n_item)
    elif kernel.has_panels and event_ndim == 0:
        run_events(kernel, function, loop, dtype, n_item, cost)
    else:
        run_pieces(function, loop, n_item, cost, unit)
    return 0


cdef int run_pieces(
    core.fd_kernel *function, const core.fd_loop *loop, intptr_t n_item, intptr_t cost, intptr_t unit
) except -1:
    cdef intptr_t begin = 0, end, piece = max(PIECE // cost // unit, 1) * unit
    while begin < n_item:
        end = min(begin + piece, n_item)
        with nogil:
            api.run(function, loop, begin, end)
        begin = end
        PyErr_CheckSignals()
    return 0


cdef int run_events(
    Kernel kernel, core.fd_kernel *function, core.fd_loop *loop, core.fd_dtype dtype, intptr_t n_item,
    intptr_t cost,
) except -1:
    """All items of a loop over events, in whatever order is best: those that share a factor together.

    Where the first dim (samples, mostly) repeats the factor and the others do not, some of the first dim's
    events at a time are done for each of the others. Events of up to FD_SMALL_EVENT elements need not share a
    factor to be done together; of two dims, some of both are done at a time, for which kernels keep what they
    made of the factors.
    """
    cdef int d, factor = 0
    cdef bint repeats = True, small
    cdef intptr_t n = loop.shape[0], rest = n_item // n, begin = 0, spent = 0, chunk
    cdef Memory memory
    cdef core.fd_loop *piece
    while not is_in(kernel.letters[factor], b"LW"):
        factor += 1
    for d in range(loop.ndim):
        repeats &= loop.stride[factor][d] == 0
    if loop.stride[factor][0] != 0 or repeats:
        return run_pieces(function, loop, n_item, cost, 1)
    small = loop.dim <= core.FD_SMALL_EVENT and loop.ndim == 2 and loop.shape[1] >= core.FD_EVENT_BLOCK
    chunk = core.FD_EVENT_BLOCK
    if not small:
        chunk *= max(EVENTS // (rest * max(loop.dim, 1)) // core.FD_EVENT_BLOCK, 1)
    memory = Memory(2 * sizeof(core.fd_loop))
    piece = <core.fd_loop *>memory.aligned
    while begin < n:
        chunk = min(chunk, n - begin)
        piece[0] = loop[0]
        with nogil:
            restrict(piece, dtype, kernel.n_operand, 0, begin, chunk)
            run_samples(function, piece, piece + 1, dtype, kernel.n_operand, small)
        begin += chunk
        spent += chunk * rest * cost
        if spent > PIECE:
            spent = 0
            PyErr_CheckSignals()
    return 0


cdef void restrict(
    core.fd_loop *loop, core.fd_dtype dtype, int n_operand, int dim, intptr_t begin, intptr_t n
) noexcept nogil:
    """Cut a loop down to n indices of a dim, from `begin` on."""
    cdef intptr_t itemsize = 4 if dtype == core.FD_F32 else 8
    cdef int k
    loop.shape[dim] = n
    for k in range(n_operand):
        loop.operand[k] = <char *>loop.operand[k] + begin * loop.stride[k][dim] * itemsize


cdef void run_samples(
    core.fd_kernel *function, core.fd_loop *piece, core.fd_loop *some, core.fd_dtype dtype, int n_operand,
    bint small,
) noexcept nogil:
    """Some samples of all other dims."""
    cdef intptr_t n = piece.shape[0], rest, width
    cdef int d
    if not small:
        for d in range(1, piece.ndim):
            n *= piece.shape[d]
        api.rotate_dims(piece)
        api.run(function, piece, 0, n)
        return
    rest = piece.shape[1]
    while rest > 0:
        width = min(rest, core.FD_EVENT_BLOCK)
        some[0] = piece[0]
        restrict(some, dtype, n_operand, 1, piece.shape[1] - rest, width)
        api.run(function, some, 0, n * width)
        rest -= width


cpdef intptr_t first_bad(Kernel kernel, np.ndarray array) except -2:
    """Flat number of the first item of an array that a check finds, or -1."""
    cdef core.fd_loop loop
    cdef core.fd_dtype dtype = dtype_of(array)
    cdef intptr_t found = -1, n_item = np.PyArray_SIZE(array), own = 1
    cdef int ndim = np.PyArray_NDIM(array)
    loop.dim = 1
    if kernel.layout == core.FD_CHECK_MATRICES:
        loop.dim = np.PyArray_DIM(array, ndim - 1)
        own = loop.dim * np.PyArray_DIM(array, ndim - 2)
        n_item = n_item // own if own else 0
    if n_item == 0:
        return -1
    loop.ndim = 1
    loop.shape[0] = n_item
    loop.stride[0][0] = own
    loop.operand[0] = np.PyArray_DATA(array)
    loop.operand[1] = &found
    if n_item * kernel.cost(loop.dim) < KEEP_GIL:
        api.run(kernel.function(dtype), &loop, 0, n_item)
    else:
        run_pieces(kernel.function(dtype), &loop, n_item, kernel.cost(loop.dim), 1)
    return found


# ---- plans ---------------------------------------------------------------------------------------


cdef class Plan:
    """A kernel bound to the arrays of a distribution, its last operands; calls bring the others.

    These are a result or a draw and, with densities, a value. Mostly they hold whole samples of the batch,
    and then all that is left to do is to put the dim of the samples before the loop over the batch, which is
    laid out and coalesced once.

    Parameters
    ----------
    kernel : Kernel
        What it does.
    *arrays : numpy.ndarray
        The distribution's.
    n_summed : int, optional
        How many of the dims behind those of a result, in values and arrays, are summed over.

    Notes
    -----
    A plan of draws may have stages before colour and after it. Of their operands that the distribution has no
    arrays for, one of a number an event is the density of the draw, others are the draw.
    """

    def __init__(self, Kernel kernel not None, *arrays, int n_summed=0):
        self.take(kernel, arrays, n_summed)

    cdef int take(self, Kernel kernel, tuple arrays, int n_summed) except -1:
        cdef int k, n, n_array = <int>PyTuple_GET_SIZE(arrays)
        self.before = self.after = ()
        self.kernel = kernel
        self.arrays = arrays
        self.n_summed = n_summed
        self.n_brought = n = kernel.n_array - n_array
        if not 1 <= n <= 2:
            raise TypeError(f"{kernel.name} takes {kernel.n_array} arrays, got {n_array} of a distribution")
        for k in range(n_array):
            array = <object>PyTuple_GET_ITEM(arrays, k)
            if not isinstance(array, np.ndarray):
                raise TypeError(f"a plan for {kernel.name} takes arrays, got {array!r}")
            self.operands[n + k] = <PyObject *>array
        self.dtype = dtype_of(<np.ndarray>self.operands[n])
        for k in range(n, kernel.n_operand):
            if kernel.role[k] != NO_ARRAY:
                self.data[k] = np.PyArray_DATA(<np.ndarray>self.operands[n])
                n += 1
        return 0

    def first(self, Kernel kernel not None, *arrays):
        """The plan with a stage more before all others."""
        return self.with_stages(((kernel, arrays), *self.before), self.after)

    def then(self, Kernel kernel not None, *arrays):
        """The plan with a stage more behind all others."""
        return self.with_stages(self.before, (*self.after, (kernel, arrays)))

    cdef Plan with_stages(self, tuple before, tuple after):
        cdef Plan plan = plan_of(self.kernel, self.arrays, self.n_summed)
        plan.before = before
        plan.after = after
        return plan

    cdef int bind(self, tuple batch_shape, tuple event_shape) except -1:
        """Lay out the loop, unless another thread does."""
        with cython.critical_section(self):
            if not self.bound:
                self.bind_once(batch_shape, event_shape)
        return 0

    cdef int bind_once(self, tuple batch_shape, tuple event_shape) except -1:
        """Lay out the loop over a batch of a shape, and over events that are summed."""
        cdef intptr_t dims[2 * MAX_NDIM]
        cdef core.fd_loop loop
        cdef int d, k, ndim = read_dims(batch_shape, dims)
        cdef int n_event = read_dims(event_shape, dims + ndim)
        cdef intptr_t extent
        self.n_batch_dim = ndim
        self.n_batch = size_of(ndim, dims)
        self.n_event = size_of(n_event, dims + ndim)
        cdef intptr_t dim = self.n_event
        if self.kernel.layout == core.FD_EVENTS:  # which arrays tell if what a call brings has no events
            dim = dims[ndim + n_event - 1] if self.kernel.own[self.n_brought - 1] else -1
        lay_out(&loop, self.kernel, ndim + self.n_summed, dims, self.n_summed, 0, self.operands,
                self.n_brought,
                dim)
        for k in range(self.n_brought):
            extent = loop.dim if self.kernel.own[k] else 1
            for d in range(loop.ndim - 1, -1, -1):
                loop.stride[k][d] = 0 if self.kernel.role[k] == NUMBER and d >= ndim else extent
                extent *= loop.shape[d] if loop.stride[k][d] else 1
            self.sample_stride[k] = extent
        self.n_item = size_of(loop.ndim, loop.shape)
        api.coalesce(&loop, self.kernel.n_operand)
        self.dim = loop.dim
        self.ndim = loop.ndim if loop.ndim <= PLAN_NDIM else -1
        self.repeats = self.ndim == 1 and self.n_summed == 0
        for d in range(self.ndim):
            self.shape[d] = loop.shape[d]
            for k in range(self.kernel.n_operand):
                self.stride[d][k] = loop.stride[k][d]
                self.repeats &= k < self.n_brought or loop.stride[k][d] == 0
        core.tell(&self.bound, True)
        return 0

    cdef bint holds_samples(self, np.ndarray out, tuple batch_shape) noexcept:
        """True if a result is of whole samples of the batch."""
        cdef int lead = np.PyArray_NDIM(out) - self.n_batch_dim, d
        if lead < 0 or self.ndim < 0:
            return False
        for d in range(self.n_batch_dim):
            if np.PyArray_DIM(out, lead + d) != <intptr_t><object>PyTuple_GET_ITEM(batch_shape, d):
                return False
        return True

    cdef void put_loop(self, core.fd_loop *loop, intptr_t n_sample) noexcept:
        """The loop over samples of the batch, but for the operands that the call brings."""
        cdef int d, k, lead = 0
        loop.dim = self.dim
        for k in range(MAX_OPERAND):
            loop.operand[k] = self.data[k]
        if self.n_item == 1 or self.repeats:  # one dim for all
            loop.ndim = 1
            loop.shape[0] = n_sample * self.n_item
            for k in range(MAX_OPERAND):
                loop.stride[k][0] = 0
            for k in range(self.n_brought):
                loop.stride[k][0] = self.sample_stride[k] if self.n_item == 1 else self.stride[0][k]
            return
        if n_sample != 1:
            lead = 1
            loop.shape[0] = n_sample
            for k in range(MAX_OPERAND):
                loop.stride[k][0] = 0
            for k in range(self.n_brought):
                loop.stride[k][0] = self.sample_stride[k]
        loop.ndim = self.ndim + lead
        for d in range(self.ndim):
            loop.shape[lead + d] = self.shape[d]
            for k in range(MAX_OPERAND):
                loop.stride[k][lead + d] = self.stride[d][k]


cdef Plan plan_of(Kernel kernel, tuple arrays, int n_summed):
    """A plan, for callers that are compiled."""
    cdef Plan plan = Plan.__new__(Plan)
    plan.take(kernel, arrays, n_summed)
    return plan


cdef int run_plan(
    Plan plan, np.ndarray out, np.ndarray value, tuple batch_shape, tuple event_shape
) except -1:
    """What a plan makes of a packed value, to a packed array."""
    cdef core.fd_loop loop
    cdef intptr_t dims[MAX_NDIM]
    cdef PyObject *operands[MAX_OPERAND]
    cdef intptr_t n_out = np.PyArray_SIZE(out), n_item
    cdef int d, ndim = np.PyArray_NDIM(out)
    if not core.seen(&plan.bound):
        plan.bind(batch_shape, event_shape)
    if n_out == 0:
        return 0
    if plan.holds_samples(out, batch_shape) and np.PyArray_SIZE(value) == n_out * plan.n_event:
        n_item = n_out // plan.n_batch
        plan.put_loop(&loop, n_item)
        n_item *= plan.n_item
        loop.operand[0] = np.PyArray_DATA(out)
        loop.operand[1] = np.PyArray_DATA(value)
    else:
        for d in range(2, plan.kernel.n_array):
            operands[d] = plan.operands[d]
        operands[0] = <PyObject *>out
        operands[1] = <PyObject *>value
        for d in range(ndim):
            dims[d] = np.PyArray_DIM(out, d)
        for d in range(plan.n_summed):
            dims[ndim + d] = np.PyArray_DIM(value, np.PyArray_NDIM(value) - plan.n_summed + d)
        lay_out(&loop, plan.kernel, ndim + plan.n_summed, dims, plan.n_summed, 0, operands, 0, -1)
        n_item = size_of(loop.ndim, loop.shape)
        api.coalesce(&loop, plan.kernel.n_operand)
    return run_loop(
        plan.kernel, &loop, plan.dtype, n_item, loop.dim if plan.n_summed else 1, plan.n_summed, NULL)


# ---- for callers in Python ---------------------------------------------------------------------


def apply(Kernel kernel not None, tuple shape, *arrays, int event_ndim=0):
    """Do all items of a loop of `shape` over a kernel's arrays, in the order of its letters.

    Sums over events add up its last `event_ndim` dims. Returns the number of the first item that a check
    found, or -1.
    """
    cdef intptr_t dims[MAX_NDIM]
    cdef PyObject *operands[MAX_OPERAND]
    cdef Found found
    found.first = -1
    found.symmetry = False
    found.half_log_det = NULL
    found.copy = found.places = NULL
    point_to(kernel, arrays, operands)
    run(kernel, read_dims(shape, dims), dims, event_ndim, operands, &found)
    return found.first


cdef int point_to(Kernel kernel, tuple arrays, PyObject **operands) except -1:
    """Pointers to arrays, as many as a kernel takes."""
    cdef int k
    if PyTuple_GET_SIZE(arrays) != kernel.n_array:
        raise TypeError(f"{kernel.name} takes {kernel.n_array} arrays, got {len(arrays)}")
    for k in range(kernel.n_array):
        if not isinstance(arrays[k], np.ndarray):
            raise TypeError(f"operand {k} of {kernel.name} is no array: {arrays[k]!r}")
        operands[k] = <PyObject *>PyTuple_GET_ITEM(arrays, k)
    return 0


cdef int read_dims(tuple shape, intptr_t *dims) except -1:
    cdef int d, ndim = <int>len(shape)
    if ndim > MAX_NDIM:
        raise ValueError(f"there are at most {MAX_NDIM} dims, got shape {shape}")
    for d in range(ndim):
        dims[d] = shape[d]
    return ndim


def factorize(
    Kernel kernel not None, np.ndarray matrix not None, bint symmetry, np.ndarray factor=None,
    np.ndarray half_log_det=None, np.ndarray copy=None, np.ndarray places=None,
):
    """Cholesky factors, by `cholesky` or `reverse_cholesky`.

    Returns them, in `factor` if that is given, the number of the first matrix that has none and, with
    `symmetry`, of the first that is not symmetric, or -1. The logarithms of their determinants go to
    `half_log_det`, packed and of float64, and copies of the matrices, packed, to `copy`. `places`, numbers of
    elements, are an order of rows and columns.
    """
    cdef PyObject *operands[MAX_OPERAND]
    cdef int ndim = np.PyArray_NDIM(matrix)
    cdef Found found
    if factor is None:
        factor = np.PyArray_SimpleNew(ndim, np.PyArray_DIMS(matrix), np.PyArray_TYPE(matrix))
    found.first = found.asymmetric = -1
    found.symmetry = symmetry
    found.half_log_det = NULL
    found.copy = found.places = NULL
    if half_log_det is not None:
        if np.PyArray_SIZE(half_log_det) != size_of(ndim - 2, <const intptr_t *>np.PyArray_DIMS(matrix)):
            raise ValueError(f"{np.shape(half_log_det)} are not the numbers of {np.shape(matrix)}")
        found.half_log_det = <double *>np.PyArray_DATA(half_log_det)
    if copy is not None:
        if np.PyArray_NBYTES(copy) != np.PyArray_NBYTES(matrix):
            raise ValueError(f"{np.shape(copy)} are not like {np.shape(matrix)}")
        found.copy = np.PyArray_DATA(copy)
    if places is not None:
        if np.PyArray_SIZE(places) != np.PyArray_DIM(matrix, ndim - 1) * np.PyArray_DIM(matrix, ndim - 2):
            raise ValueError(f"{np.shape(places)} are not the places of {np.shape(matrix)}")
        found.places = np.PyArray_DATA(places)
    point_to(kernel, (factor, matrix), operands)
    run(kernel, ndim - 2, <const intptr_t *>np.PyArray_DIMS(factor), 0, operands, &found)
    return factor, found.first, found.asymmetric


# What can be done by blocks, to a matrix or to panels.
CHOLESKY, REVERSE_CHOLESKY = core.FD_CHOLESKY, core.FD_REVERSE_CHOLESKY
INVERSE_PANELS, PRODUCT = core.FD_INVERSE_PANELS, core.FD_PRODUCT
PRODUCT_T, PRODUCT_INVERSE = core.FD_PRODUCT_T, core.FD_PRODUCT_INVERSE
LARGE_DIM, PANEL_BYTES = BLOCKED_DIM, core.FD_PANEL_BYTES


def by_blocks(
    core.fd_blocked_op op, intptr_t dim, np.ndarray result not None, np.ndarray source not None,
    bint symmetry=False,
):
    """Do an operation of blocked.h to matrices of `dim` rows one after the other, each by all workers.

    Both arrays have the same batch dims. Returns the number of the first matrix that has no factor and, with
    `symmetry`, of the first that is not symmetric, or -1.
    """
    cdef core.fd_dtype dtype = dtype_of(source)
    cdef intptr_t itemsize = np.PyArray_ITEMSIZE(source), panels = panels_size(dim, itemsize)
    cdef bint takes_matrix = op == core.FD_CHOLESKY or op == core.FD_REVERSE_CHOLESKY
    cdef bint gives_panels = takes_matrix or op == core.FD_INVERSE_PANELS
    cdef intptr_t n_in = dim * dim if takes_matrix else panels, n_out = panels if gives_panels else dim * dim
    cdef intptr_t n = np.PyArray_SIZE(source) // n_in if n_in else 0, i
    cdef intptr_t cost = 1000 + dim * dim * (1 + dim // 60), spent = 0, singular = -1, asymmetric = -1
    cdef const char *from_here = np.PyArray_BYTES(source)
    cdef char *to = np.PyArray_BYTES(result)
    cdef int workers = parse_workers(None)
    if (dtype_of(result) != dtype or np.PyArray_SIZE(source) != n * n_in
            or np.PyArray_SIZE(result) != n * n_out):
        raise ValueError(f"no matrices of {dim} rows: {np.shape(source)} to {np.shape(result)}")
    if n == 0:
        return -1, -1
    cdef Memory memory = Memory(sizeof(core.fd_blocked) + ALIGNMENT + api.blocked_scratch(op, dtype, dim))
    cdef core.fd_blocked *job = <core.fd_blocked *>memory.aligned
    cdef void *scratch = aligned(<char *>memory.aligned + sizeof(core.fd_blocked))
    with nogil:
        for i in range(n):
            api.blocked_start(
                job, op, dtype, dim, from_here + i * n_in * itemsize, to + i * n_out * itemsize, scratch,
                symmetry, workers)
            while api.blocked_work(job):
                with gil:
                    PyErr_CheckSignals()
            if job.found & core.FD_SINGULAR and singular < 0:
                singular = i
            if job.found & core.FD_ASYMMETRIC and asymmetric < 0:
                asymmetric = i
            spent += cost
            if spent > PIECE:
                spent = 0
                with gil:
                    PyErr_CheckSignals()
    return singular, asymmetric


def elementwise(Kernel kernel not None, *arrays):
    """A new array of what a kernel makes of each element of arrays that broadcast."""
    cdef intptr_t dims[MAX_NDIM]
    cdef PyObject *operands[MAX_OPERAND]
    cdef int ndim = broadcast_dims(kernel, arrays, (), dims, operands)
    cdef np.ndarray result
    result = np.PyArray_SimpleNew(ndim, <np.npy_intp *>dims, np.PyArray_TYPE(<np.ndarray>operands[1]))
    operands[0] = <PyObject *>result
    run(kernel, ndim, dims, 0, operands, NULL)
    return result


cdef int broadcast_dims(
    Kernel kernel, tuple arrays, tuple event_shape, intptr_t *dims, PyObject **operands
) except -1:
    """The dims that arrays, all of a kernel's but its result, and an event shape broadcast to."""
    cdef int ndim = read_dims(event_shape, dims), d, k, lead, n = <int>PyTuple_GET_SIZE(arrays)
    cdef np.ndarray array
    if n + 1 != kernel.n_array:
        raise TypeError(f"{kernel.name} takes {kernel.n_array - 1} arrays and a result, got {n}")
    for k in range(n):
        array = arrays[k]
        operands[k + 1] = <PyObject *>array
        lead = np.PyArray_NDIM(array) - ndim
        if lead > 0:
            for d in range(ndim - 1, -1, -1):
                dims[d + lead] = dims[d]
            for d in range(lead):
                dims[d] = 1
            ndim += lead
        for d in range(np.PyArray_NDIM(array)):
            if dims[d - min(lead, 0)] == 1:
                dims[d - min(lead, 0)] = np.PyArray_DIM(array, d)
    return ndim


cdef np.ndarray event_sums(Kernel kernel, tuple event_shape, tuple arrays, double each):
    """A new array: what a kernel makes of arrays, summed over an event shape that they broadcast to end in,
    and `each` for every term."""
    cdef intptr_t dims[MAX_NDIM]
    cdef PyObject *operands[MAX_OPERAND]
    cdef int n_event = <int>PyTuple_GET_SIZE(event_shape)
    cdef int ndim = broadcast_dims(kernel, arrays, event_shape, dims, operands)
    cdef np.ndarray result
    cdef intptr_t i
    result = np.PyArray_ZEROS(
        ndim - n_event, <np.npy_intp *>dims, np.PyArray_TYPE(<np.ndarray>operands[1]), 0)
    operands[0] = <PyObject *>result
    run(kernel, ndim, dims, n_event, operands, NULL)
    if each == 0:
        return result
    each *= size_of(n_event, dims + ndim - n_event)
    if dtype_of(result) == core.FD_F64:
        for i in range(np.PyArray_SIZE(result)):
            (<double *>np.PyArray_DATA(result))[i] += each
    else:
        for i in range(np.PyArray_SIZE(result)):
            (<float *>np.PyArray_DATA(result))[i] += <float>each
    return result


def sum_events(np.ndarray array not None, tuple event_shape, double each=0):
    """A new array: sums over an event shape that `array` broadcasts to end in, and `each` for every term."""
    if event_shape:
        return event_sums(SUM_EVENTS, event_shape, (array,), each)
    result = np.PyArray_NewCopy(array, np.NPY_CORDER)
    result += each
    return result


cpdef intptr_t panels_size(intptr_t dim, intptr_t itemsize):
    """Number of elements of a factor in panels."""
    return core.fd_panels_size(dim, core.FD_PANEL_BYTES // itemsize)
