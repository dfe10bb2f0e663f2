# What compiled callers take from pullbacks.pyx.

cimport numpy as np

from fastdist._kernels.program cimport Kernel
from fastdist._kernels.sources cimport Noise


cpdef np.ndarray new(np.ndarray g, tuple shape)
cpdef np.ndarray expanded(np.ndarray g, tuple tail)
cpdef int draw_diag(Noise noise, np.ndarray by_loc, np.ndarray by_scale, np.ndarray cotangent) except -1
cpdef int standardized_diag(
    Kernel score, np.ndarray by_value, np.ndarray by_loc, np.ndarray by_scale, np.ndarray cotangent,
    np.ndarray value, np.ndarray loc, np.ndarray scale,
) except -1
cpdef int scaled_diag(
    Kernel score, np.ndarray by_value, np.ndarray by_loc, np.ndarray by_scale, np.ndarray cotangent,
    np.ndarray value, np.ndarray scale,
) except -1
cpdef int kl_diag(
    np.ndarray by_loc_p, np.ndarray by_scale_p, np.ndarray by_loc_q, np.ndarray by_scale_q,
    np.ndarray cotangent, np.ndarray loc_p, np.ndarray scale_p, np.ndarray loc_q, np.ndarray scale_q,
) except -1
cpdef int draw_and_kl_diag(
    Noise noise, np.ndarray by_loc_p, np.ndarray by_scale_p, np.ndarray by_loc_q, np.ndarray by_scale_q,
    np.ndarray of_draw, np.ndarray of_kl, np.ndarray loc_p, np.ndarray scale_p, np.ndarray loc_q,
    np.ndarray scale_q,
) except -1
