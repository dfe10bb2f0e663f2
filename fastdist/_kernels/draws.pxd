from libc.stdint cimport intptr_t

from fastdist._kernels cimport core
from fastdist._kernels.program cimport Kernel
from fastdist._kernels.sources cimport Noise

cdef int draw_noise(Noise noise, void *out, intptr_t n, core.fd_dtype dtype, int workers) except -1
cdef int draw(
    Noise noise, Kernel kernel, int ndim, const intptr_t *shape, int n_lead, tuple arrays, int workers
) except -1
