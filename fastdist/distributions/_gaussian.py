"""What the Gaussian distributions share: constants and logarithms.

The log density of a d-dimensional Gaussian is -(mahalanobis + d log(2 pi)) / 2 - half_log_det,
where mahalanobis is |L^-1 (x - loc)|^2 and half_log_det is log det L, for a diagonal L as for a
triangular one.
"""

from __future__ import annotations

import numpy as np

from fastdist._kernels.program import KERNELS, elementwise
from fastdist._typing import Real

HALF_LOG_2PI = 0.91893853320467274178  # log(2 pi) / 2; math.log's is an ulp off
HALF_LOG_2PI_E = 0.5 + HALF_LOG_2PI

# Loc and scale of noise, by dtype.
STANDARD = {char: (np.zeros((), char), np.ones((), char)) for char in "fd"}


def log(array: Real) -> Real:
    """Logarithms of a packed array, the same bits everywhere."""
    return elementwise(KERNELS["log"], array)
