# What compiled callers take from program.pyx.

cimport numpy as np
from libc.stdint cimport intptr_t

from fastdist._kernels cimport core

# In rough nanoseconds of one core: below KEEP_GIL releasing the GIL (50 ns) is not worth it; signals are
# looked at every PIECE, well within the tenth of a second that Ctrl-C may take.
cdef enum:
    KEEP_GIL = 4000
    PIECE = 10_000_000

# Of an array, or of a loop.
cdef enum:
    MAX_NDIM = 64


cdef class Kernel:
    cdef readonly str name
    cdef core.fd_op op
    cdef core.fd_layout layout
    cdef const char *letters        # what its operands are: kernels.def
    cdef readonly int n_array       # how many arrays callers have to bring
    cdef int n_operand
    cdef int tells_dim              # which of the arrays ends in the kernel's own dim, or -1
    cdef int first_factor           # the first operand that may be a factor or scales
    cdef bint has_factor            # one that many items may share
    cdef core.fd_kernel *function(self, core.fd_dtype dtype) noexcept
    cdef intptr_t scratch(self, core.fd_dtype dtype, intptr_t dim) noexcept
    cdef intptr_t cost(self, intptr_t dim) noexcept


# What a kernel has found: the numbers of items, -1 if there is none.
cdef struct Found:
    intptr_t first, asymmetric
    bint symmetry               # whether to look for the second


cdef class Memory:
    cdef void *base
    cdef void *aligned


cdef int letter_ndim(Kernel kernel, char letter) noexcept
cdef core.fd_dtype dtype_of(np.ndarray array) except? core.FD_F32
cdef int lay_out(
    core.fd_job *job, Kernel kernel, int ndim, const intptr_t *shape, int event_ndim, int n_lead,
    tuple arrays,
) except -1
cdef int place_item(
    core.fd_job *job, int k, Kernel kernel, np.ndarray array, int core_ndim, int skipped, int n_lead
) except -1
cdef intptr_t size_of(int ndim, const intptr_t *shape) except -1
cdef int run(
    Kernel kernel, int ndim, const intptr_t *shape, int event_ndim, tuple arrays, Found *found
) except -1
cpdef intptr_t first_bad(Kernel kernel, np.ndarray array) except -2
cpdef intptr_t panels_size(intptr_t dim, intptr_t itemsize)
