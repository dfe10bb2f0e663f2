# What compiled callers take from program.pyx.

cimport numpy as np
from cpython.ref cimport PyObject
from libc.stdint cimport intptr_t, uintptr_t

from fastdist._kernels cimport core

# In rough nanoseconds of one core: below KEEP_GIL releasing the GIL (50 ns) is not worth it; signals are
# looked at every PIECE, well within the tenth of a second that Ctrl-C may take.
cdef enum:
    KEEP_GIL = 4000
    PIECE = 10_000_000

# Of an array, or of a loop; FD_MAX_OPERAND, which Cython cannot look up.
cdef enum:
    MAX_NDIM = 64
    MAX_OPERAND = 8
    ALIGNMENT = 64              # of scratch memory, to the widest vector
    SMALL_SCRATCH = 4096        # bytes of it that are on the stack
    BLOCKED_DIM = 64            # rows of a matrix that is done by blocks
    PLAN_NDIM = 8   # of a batch's loop that is kept, coalesced


# What callers bring for an operand: an array of items, or of one number an item, one for all items, or
# nothing.
cdef enum:
    ITEMS
    NUMBER
    SINGLE
    NO_ARRAY


cdef class Kernel:
    cdef readonly str name
    cdef readonly int n_array       # how many arrays callers have to bring
    cdef core.fd_op op
    cdef core.fd_layout layout
    cdef const char *letters        # what its operands are: kernels.def
    cdef int n_operand
    cdef char role[8]
    cdef int own[8]                 # dims of each one's array that are the kernel's
    cdef int tells_dim              # the operand that ends in the kernel's own dim, or -1
    cdef int counts             # the array with the count that sizes go by, or -1
    cdef int first_factor, n_factor     # those that may be a factor or scales
    cdef bint has_panels            # one that many items may share
    cdef bint needs_scratch
    cdef bint takes_uniforms        # to make draws of, not of normals
    cdef int own_ndim(self, char letter) noexcept
    cdef core.fd_kernel *function(self, core.fd_dtype dtype) noexcept
    cdef intptr_t scratch(self, core.fd_dtype dtype, intptr_t dim) noexcept
    cdef intptr_t cost(self, intptr_t dim) noexcept


# What a kernel has found: the numbers of items, -1 if there is none.
cdef struct Found:
    intptr_t first, asymmetric
    bint symmetry               # whether to look for the second
    double *half_log_det        # of factors, or NULL
    void *copy                  # of matrices, or NULL
    void *places                # of their elements, or NULL


cdef class Plan:
    cdef Kernel kernel
    cdef tuple arrays
    cdef tuple before, after        # of colour: a kernel and its arrays each
    cdef PyObject *operands[8]      # those arrays, behind the ones that a call brings
    cdef core.fd_dtype dtype
    cdef int n_brought, n_summed
    # The loop over the batch, coalesced, and over what is summed; -1 dims are too many.
    cdef bint bound
    cdef bint repeats               # no array has more than one item: samples and batch are one dim
    cdef int n_batch_dim, ndim
    cdef intptr_t n_batch, n_event, n_item, dim
    cdef intptr_t shape[8]
    cdef intptr_t stride[8][8]      # of dims, then operands
    cdef void *data[8]
    cdef intptr_t sample_stride[2]
    cdef int take(self, Kernel kernel, tuple arrays, int n_summed) except -1
    cdef Plan with_stages(self, tuple before, tuple after)
    cdef int bind(self, tuple batch_shape, tuple event_shape) except -1
    cdef int bind_once(self, tuple batch_shape, tuple event_shape) except -1
    cdef bint holds_samples(self, np.ndarray out, tuple batch_shape) noexcept
    cdef void put_loop(self, core.fd_loop *loop, intptr_t n_sample) noexcept


cdef class Memory:
    cdef void *base
    cdef void *aligned


cdef core.fd_dtype dtype_of(np.ndarray array) except? core.FD_F32
cdef int lay_out(
    core.fd_loop *loop, Kernel kernel, int ndim, const intptr_t *shape, int event_ndim, int n_lead,
    PyObject **arrays, int first, intptr_t dim,
) except -1
cdef int place_item(
    core.fd_loop *loop, int k, Kernel kernel, np.ndarray array, int core_ndim, int skipped, int n_lead,
    intptr_t count=*,
) except -1
cdef intptr_t size_of(int ndim, const intptr_t *shape) except -1
cdef int run(
    Kernel kernel, int ndim, const intptr_t *shape, int event_ndim, PyObject **arrays, Found *found
) except -1
cpdef intptr_t first_bad(Kernel kernel, np.ndarray array) except -2
cpdef intptr_t panels_size(intptr_t dim, intptr_t itemsize)
cdef int point_to(Kernel kernel, tuple arrays, PyObject **operands) except -1
cdef Plan plan_of(Kernel kernel, tuple arrays, int n_summed)
cdef np.ndarray event_sums(Kernel kernel, tuple event_shape, tuple arrays, double each)
cdef int run_plan(Plan plan, np.ndarray out, np.ndarray value, tuple batch_shape, tuple event_shape) except -1


cdef inline void *aligned(void *memory) noexcept:
    """The first address from here on that is aligned."""
    return <void *>((<uintptr_t>memory + ALIGNMENT - 1) & ~<uintptr_t>(ALIGNMENT - 1))
