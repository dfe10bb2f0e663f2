"""What the Gaussian distributions share: constants, logarithms and sums.

The log density of a d-dimensional Gaussian is -(mahalanobis + d log(2 pi)) / 2 - half_log_det,
where mahalanobis is |L^-1 (x - loc)|^2 and half_log_det is log det L, for a diagonal L as for a
triangular one.
"""

from __future__ import annotations

import numpy as np

from fastdist._kernels.program import KERNELS, apply, elementwise
from fastdist._shapes import Shape
from fastdist._typing import Real

HALF_LOG_2PI = 0.91893853320467274178  # log(2 pi) / 2; math.log's is an ulp off
HALF_LOG_2PI_E = 0.5 + HALF_LOG_2PI


def log(array: Real) -> Real:
    """Logarithms of a packed array, the same bits everywhere."""
    return elementwise(KERNELS["log"], array)


def sum_events(array: Real, event_shape: Shape) -> Real:
    """`array` broadcast to end in `event_shape`, summed over those dims; nothing is expanded."""
    result = np.zeros(array.shape[: max(array.ndim - len(event_shape), 0)], array.dtype)
    apply(KERNELS["sum_events"], result.shape + event_shape, result, array, event_ndim=len(event_shape))
    return result
