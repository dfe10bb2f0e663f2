# cython: cdivision=True
# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Programs: kernels over arrays, by the letters that kernels.def has for their operands.

    Kernel      an operation, and what its operands are
    lay_out     arrays -> a loop: pointers, and strides of 0 where an array is broadcast
    run         a kernel over arrays: piece by piece, the GIL released for all but tiny ones, Ctrl-C honoured

Whoever calls a kernel does it by these, for an array of one element as for one of a billion. Every array must be
native and of one dtype (float32 or float64) and packed: C-contiguous but for dims of size 1, as
fastdist._params leaves it. Sizes are checked here, values are not.
"""

cimport numpy as np
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport INTPTR_MAX, intptr_t, uintptr_t

from fastdist._kernels cimport core
from fastdist._kernels.isa cimport functions

import numpy as np

np.import_array()

cdef const core.fd_api *api = functions()

# Elements that are worked on at a time, half an L2 cache of them.
cdef enum:
    EVENTS = 65536

# Of the letters: scratch memory; what callers bring no array for; what they bring one of, for all items;
# what has a number an item, and none for the parts of an event.
cdef const char *SCRATCH = b"SBDQO"
cdef const char *WITHOUT_ARRAY = b"naNRSBDQO"
cdef const char *SINGLE = b"wK"
cdef const char *NUMBER = b"kr+"


cdef bint is_in(char letter, const char *letters) noexcept:
    while letters[0]:
        if letters[0] == letter:
            return True
        letters += 1
    return False


cdef class Kernel:
    """An operation of kernels.def."""

    def __cinit__(self, int op):
        cdef const char *letter
        self.op = <core.fd_op>op
        self.name = api.op_name(self.op).decode()
        self.layout = api.op_layout(self.op)
        letter = self.letters = api.op_operands(self.op)
        while letter[0]:
            self.n_operand += 1
            self.n_array += not is_in(letter[0], WITHOUT_ARRAY)
            self.has_factor |= letter[0] == c"L" and self.layout == core.FD_EVENTS
            letter += 1
        while self.letters[self.first_factor] and self.letters[self.first_factor] != c"f":
            self.first_factor += 1
        if self.layout == core.FD_EVENTS or self.layout == core.FD_MATRICES or self.layout == core.FD_CHECK_MATRICES:
            while is_in(self.letters[self.tells_dim], b"kr+tLP"):
                self.tells_dim += 1
        else:
            self.tells_dim = -1

    cdef core.fd_kernel *function(self, core.fd_dtype dtype) noexcept:
        return api.lookup(self.op, dtype)

    cdef intptr_t scratch(self, core.fd_dtype dtype, intptr_t dim) noexcept:
        """Bytes of scratch memory."""
        cdef intptr_t itemsize = 4 if dtype == core.FD_F32 else 8
        cdef const char *letter = self.letters
        while letter[0] and not is_in(letter[0], SCRATCH):
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

    cdef intptr_t cost(self, intptr_t dim) noexcept:
        return api.op_cost(self.op, dim)


# What stands for a covariance, in the numbers that go with kernels of divergences.
TRIL, INVERSE, DIAGONAL = core.FD_TRIL, core.FD_INVERSE, core.FD_DIAGONAL

KERNELS = {kernel.name: kernel for kernel in map(Kernel, range(core.FD_N_OP))}


cdef class Memory:
    """Memory for the length of a call, aligned to the widest vector."""

    def __cinit__(self, intptr_t n_byte):
        self.base = PyMem_Malloc(n_byte + 64)
        if self.base is NULL:
            raise MemoryError
        self.aligned = <void *>((<uintptr_t>self.base + 63) & ~<uintptr_t>63)

    def __dealloc__(self):
        PyMem_Free(self.base)


# ---- laying out --------------------------------------------------------------------------------


cdef intptr_t size_of(int ndim, const intptr_t *shape) except -1:
    """Product of a shape, which no memory bounds where operands are broadcast."""
    cdef intptr_t size = 1
    cdef int d
    for d in range(ndim):
        if shape[d] == 0:
            return 0
    for d in range(ndim):
        if size > INTPTR_MAX // shape[d]:
            raise ValueError(
                f"shape {tuple([shape[d] for d in range(ndim)])} is too big: "
                "it has more elements than an index can count"
            )
        size *= shape[d]
    return size


cdef core.fd_dtype dtype_of(np.ndarray array) except? core.FD_F32:
    """A kernel's dtype for an array."""
    cdef int typenum = np.PyArray_TYPE(array)
    if typenum == np.NPY_FLOAT64:
        return core.FD_F64
    if typenum == np.NPY_FLOAT32:
        return core.FD_F32
    raise TypeError(f"kernels take float32 and float64, not {array.dtype}")


cdef int letter_ndim(Kernel kernel, char letter) noexcept:
    """How many dims of an array with this letter are the kernel's own."""
    if is_in(letter, b"LP"):
        return 1
    if is_in(letter, NUMBER) or kernel.layout < core.FD_EVENTS or kernel.layout == core.FD_CHECK_ELEMENTS:
        return 0
    if is_in(letter, b"YMTXCF="):
        return 2
    return 1


cdef int place(core.fd_job *job, int k, np.ndarray array, int core_ndim, int skipped, int n_lead) except -1:
    """Make an array operand k of a loop whose dims are laid out, all but the last `skipped` of which it has.

    Its own last `core_ndim` dims are the kernel's, and its first `n_lead` others'.
    """
    cdef int ndim = np.PyArray_NDIM(array) - core_ndim - n_lead
    cdef int lead = job.ndim - skipped - ndim, d, axis
    cdef int shift = 3 if np.PyArray_ITEMSIZE(array) == 8 else 2
    cdef np.npy_intp *dims = np.PyArray_DIMS(array) + n_lead
    cdef np.npy_intp *strides = np.PyArray_STRIDES(array) + n_lead
    if ndim < 0 or lead < 0:
        raise ValueError(f"operand {k} has {np.PyArray_NDIM(array)} dims, the loop {job.ndim - skipped}")
    for d in range(job.ndim):
        axis = d - lead
        if axis < 0 or axis >= ndim or dims[axis] == 1:
            job.stride[k][d] = 0
        elif dims[axis] == job.shape[d]:
            job.stride[k][d] = strides[axis] >> shift
        else:
            raise ValueError(f"operand {k} has size {dims[axis]} in a loop dim of {job.shape[d]}")
    job.operand[k] = np.PyArray_DATA(array)
    return 0


cdef int place_item(
    core.fd_job *job, int k, Kernel kernel, np.ndarray array, int core_ndim, int skipped, int n_lead
) except -1:
    """The same, of an array whose items must be of the kernel's size."""
    cdef intptr_t size = 1, wanted = 1
    cdef int d
    place(job, k, array, core_ndim, skipped, n_lead)
    if core_ndim == 0:
        return 0
    for d in range(np.PyArray_NDIM(array) - core_ndim, np.PyArray_NDIM(array)):
        size *= np.PyArray_DIM(array, d)
        wanted *= job.dim
    if kernel.letters[k] == c"L" or kernel.letters[k] == c"P":
        wanted = core.fd_panels_size(job.dim, core.FD_PANEL_BYTES // np.PyArray_ITEMSIZE(array))
    if size != wanted:
        raise ValueError(f"operand {k} has items of {size} elements, not {wanted}, for dim {job.dim}")
    return 0


cdef int lay_out(
    core.fd_job *job, Kernel kernel, int ndim, const intptr_t *shape, int event_ndim, int n_lead,
    tuple arrays,
) except -1:
    """The loop of a kernel over `arrays`, its operands but for scratch and the like, which stay NULL.

    The kernel's own `dim` is that of its vectors or matrices, or the size of the loop's last `event_ndim` dims,
    which results and constants of sums over events lack. The first array may have `n_lead` dims before those of
    the loop.
    """
    cdef int k, d, own, at = 0, n_factor = 0, typenum
    cdef char letter
    cdef np.ndarray array
    if PyTuple_GET_SIZE(arrays) != kernel.n_array:
        raise TypeError(f"{kernel.name} takes {kernel.n_array} arrays, got {len(arrays)}")
    if ndim > MAX_NDIM:
        raise ValueError(f"there are at most {MAX_NDIM} dims, got {ndim}")
    job.ndim = ndim
    for d in range(ndim):
        job.shape[d] = shape[d]
    if kernel.tells_dim >= 0:
        array = <np.ndarray>PyTuple_GET_ITEM(arrays, kernel.tells_dim)
        job.dim = np.PyArray_DIM(array, np.PyArray_NDIM(array) - 1)
    else:
        job.dim = size_of(event_ndim, shape + ndim - event_ndim)
    array = <np.ndarray>PyTuple_GET_ITEM(arrays, 0)
    typenum = np.PyArray_TYPE(array)
    for k in range(kernel.n_operand):
        letter = kernel.letters[k]
        if is_in(letter, WITHOUT_ARRAY):
            repeat(job, k, NULL)
            continue
        array = <np.ndarray>PyTuple_GET_ITEM(arrays, at)
        at += 1
        if is_in(letter, SINGLE):
            repeat(job, k, np.PyArray_DATA(array))
            continue
        if np.PyArray_TYPE(array) != typenum:
            raise TypeError(f"operand {k} of {kernel.name} is of {array.dtype}, operand 0 is not")
        own = letter_ndim(kernel, letter)
        if letter == c"f":  # as the numbers at the end say
            own = 1 if kinds_of(arrays)[n_factor] == core.FD_DIAGONAL else 2
            n_factor += 1
        place_item(job, k, kernel, array, own, event_ndim if is_in(letter, NUMBER) else 0, 0 if k else n_lead)
    return 0


cdef const intptr_t *kinds_of(tuple arrays) noexcept:
    """The numbers that tell what the factors among some arrays are: the last one."""
    return <const intptr_t *>np.PyArray_DATA(<np.ndarray>PyTuple_GET_ITEM(arrays, PyTuple_GET_SIZE(arrays) - 1))


cdef void repeat(core.fd_job *job, int k, void *operand) noexcept:
    """Make something operand k that all items share."""
    cdef int d
    job.operand[k] = operand
    for d in range(job.ndim):
        job.stride[k][d] = 0


# ---- run -----------------------------------------------------------------------------------------


cdef int run(
    Kernel kernel, int ndim, const intptr_t *shape, int event_ndim, tuple arrays, Found *found
) except -1:
    """Do all items of a loop, of `shape`, over arrays."""
    cdef core.fd_job job
    cdef core.fd_dtype dtype
    cdef core.fd_kernel *function
    cdef intptr_t n_item = size_of(ndim, shape), cost, n_byte, unit
    cdef Memory memory = None
    cdef int k
    cdef char letter
    lay_out(&job, kernel, ndim, shape, event_ndim, 0, arrays)
    if n_item == 0:
        return 0
    dtype = dtype_of(<np.ndarray>PyTuple_GET_ITEM(arrays, 0))
    function = kernel.function(dtype)
    cost = kernel.cost(job.dim)
    n_byte = kernel.scratch(dtype, job.dim)
    if n_byte:
        memory = Memory(n_byte)
    api.coalesce(&job, kernel.n_operand)
    for k in range(kernel.n_operand):
        letter = kernel.letters[k]
        if is_in(letter, SCRATCH):
            job.operand[k] = memory.aligned if n_byte else NULL
        elif letter == c"n":
            job.operand[k] = &found.first
        elif letter == c"a":
            job.operand[k] = &found.asymmetric if found.symmetry else NULL
    if n_item * cost < KEEP_GIL:
        api.run(function, &job, 0, n_item)
    elif kernel.has_factor and event_ndim == 0:
        run_events(kernel, function, &job, dtype, n_item, cost)
    else:
        # Sums are not to be cut, and no vectors of matrices.
        unit = 16 if kernel.layout == core.FD_MATRICES else size_of(event_ndim, shape + ndim - event_ndim)
        run_pieces(function, &job, n_item, cost, unit)
    return 0


cdef int run_pieces(
    core.fd_kernel *function, const core.fd_job *job, intptr_t n_item, intptr_t cost, intptr_t unit
) except -1:
    cdef intptr_t begin = 0, end, piece = max(PIECE // cost // unit, 1) * unit
    while begin < n_item:
        end = min(begin + piece, n_item)
        with nogil:
            api.run(function, job, begin, end)
        begin = end
        PyErr_CheckSignals()
    return 0


cdef int run_events(
    Kernel kernel, core.fd_kernel *function, core.fd_job *job, core.fd_dtype dtype, intptr_t n_item, intptr_t cost
) except -1:
    """All items of a loop over events, in whatever order is best: those that share a factor together.

    Where the first dim (samples, mostly) repeats the factor and the others do not, some of the first dim's events
    at a time are done for each of the others. Events of up to FD_SMALL_EVENT elements need not share a factor to
    be done together; of two dims, some of both are done at a time, for which kernels keep what they made of the
    factors.
    """
    cdef int d, factor = 0
    cdef bint repeats = True, small
    cdef intptr_t n = job.shape[0], rest = n_item // n, begin = 0, spent = 0, chunk
    cdef Memory memory
    cdef core.fd_job *piece
    while kernel.letters[factor] != c"L":
        factor += 1
    for d in range(job.ndim):
        repeats &= job.stride[factor][d] == 0
    if job.stride[factor][0] != 0 or repeats:
        return run_pieces(function, job, n_item, cost, 1)
    small = job.dim <= core.FD_SMALL_EVENT and job.ndim == 2 and job.shape[1] >= core.FD_TOGETHER
    chunk = core.FD_TOGETHER
    if not small:
        chunk *= max(EVENTS // (rest * max(job.dim, 1)) // core.FD_TOGETHER, 1)
    memory = Memory(2 * sizeof(core.fd_job))
    piece = <core.fd_job *>memory.aligned
    while begin < n:
        chunk = min(chunk, n - begin)
        piece[0] = job[0]
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
    core.fd_job *job, core.fd_dtype dtype, int n_operand, int dim, intptr_t begin, intptr_t n
) noexcept nogil:
    """Cut a loop down to n indices of a dim, from `begin` on."""
    cdef intptr_t itemsize = 4 if dtype == core.FD_F32 else 8
    cdef int k
    job.shape[dim] = n
    for k in range(n_operand):
        job.operand[k] = <char *>job.operand[k] + begin * job.stride[k][dim] * itemsize


cdef void run_samples(
    core.fd_kernel *function, core.fd_job *piece, core.fd_job *some, core.fd_dtype dtype, int n_operand, bint small
) noexcept nogil:
    """Some samples of all other dims."""
    cdef intptr_t n = piece.shape[0], rest, width
    cdef int d
    if not small:
        for d in range(1, piece.ndim):
            n *= piece.shape[d]
        api.turn(piece)
        api.run(function, piece, 0, n)
        return
    rest = piece.shape[1]
    while rest > 0:
        width = min(rest, core.FD_TOGETHER)
        some[0] = piece[0]
        restrict(some, dtype, n_operand, 1, piece.shape[1] - rest, width)
        api.run(function, some, 0, n * width)
        rest -= width


cpdef intptr_t first_bad(Kernel kernel, np.ndarray array) except -2:
    """Flat number of the first item of an array that a check finds, or -1."""
    cdef core.fd_job job
    cdef core.fd_dtype dtype = dtype_of(array)
    cdef intptr_t found = -1, n_item = np.PyArray_SIZE(array), own = 1
    cdef int ndim = np.PyArray_NDIM(array)
    job.dim = 1
    if kernel.layout == core.FD_CHECK_MATRICES:
        job.dim = np.PyArray_DIM(array, ndim - 1)
        own = job.dim * np.PyArray_DIM(array, ndim - 2)
        n_item = n_item // own if own else 0
    if n_item == 0:
        return -1
    job.ndim = 1
    job.shape[0] = n_item
    job.stride[0][0] = own
    job.operand[0] = np.PyArray_DATA(array)
    job.operand[1] = &found
    if n_item * kernel.cost(job.dim) < KEEP_GIL:
        api.run(kernel.function(dtype), &job, 0, n_item)
    else:
        run_pieces(kernel.function(dtype), &job, n_item, kernel.cost(job.dim), 1)
    return found


# ---- for callers in Python ---------------------------------------------------------------------


def apply(Kernel kernel not None, tuple shape, *arrays, int event_ndim=0):
    """Do all items of a loop of `shape` over a kernel's arrays, in the order of its letters.

    Sums over events add up its last `event_ndim` dims. Returns the number of the first item that a check found,
    or -1.
    """
    cdef intptr_t dims[MAX_NDIM]
    cdef Found found
    found.first = -1
    found.symmetry = False
    run(kernel, read_dims(shape, dims), dims, event_ndim, arrays, &found)
    return found.first


cdef int read_dims(tuple shape, intptr_t *dims) except -1:
    cdef int d, ndim = <int>len(shape)
    if ndim > MAX_NDIM:
        raise ValueError(f"there are at most {MAX_NDIM} dims, got shape {shape}")
    for d in range(ndim):
        dims[d] = shape[d]
    return ndim


def factorize(Kernel kernel not None, np.ndarray factor not None, np.ndarray matrix not None, bint symmetry):
    """Cholesky factors, by `cholesky` or `reverse_cholesky`.

    Returns the numbers of the first matrix without one and, with `symmetry`, of the first that is not symmetric,
    or -1.
    """
    cdef Found found
    found.first = found.asymmetric = -1
    found.symmetry = symmetry
    run(kernel, np.PyArray_NDIM(factor) - 2, <const intptr_t *>np.PyArray_DIMS(factor), 0, (factor, matrix), &found)
    return found.first, found.asymmetric


def elementwise(Kernel kernel not None, *arrays):
    """A new array of what a kernel makes of each element of arrays that broadcast."""
    cdef intptr_t dims[MAX_NDIM]
    cdef np.ndarray first = arrays[0], result
    cdef int ndim = 0, d, lead
    for array in arrays:
        ndim = max(ndim, np.PyArray_NDIM(<np.ndarray>array))
    for d in range(ndim):
        dims[d] = 1
    for array in arrays:
        lead = ndim - np.PyArray_NDIM(<np.ndarray>array)
        for d in range(lead, ndim):
            if dims[d] == 1:
                dims[d] = np.PyArray_DIM(<np.ndarray>array, d - lead)
    result = np.PyArray_SimpleNew(ndim, <np.npy_intp *>dims, np.PyArray_TYPE(first))
    run(kernel, ndim, dims, 0, (result, *arrays), NULL)
    return result


cpdef intptr_t panels_size(intptr_t dim, intptr_t itemsize):
    """Number of elements of a factor in panels."""
    return core.fd_panels_size(dim, core.FD_PANEL_BYTES // itemsize)
