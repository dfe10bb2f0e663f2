cimport numpy as np
from libc.stdint cimport intptr_t

from fastdist._kernels cimport core
from fastdist._kernels.program cimport Plan
from fastdist._kernels.sources cimport Noise

cdef int draw_noise(
    Noise noise, core.fd_domain domain, void *out, intptr_t n, core.fd_dtype dtype, int workers
) except -1
cdef int draw(
    Noise noise, Plan plan, np.ndarray out, tuple batch_shape, tuple event_shape, int workers,
    np.ndarray density=*
) except -1
