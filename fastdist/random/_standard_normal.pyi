"""Types of the bare noise; _standard_normal.pyx says what it does."""

from typing import SupportsIndex

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdist._kernels.sources import Noise
from fastdist._shapes import ShapeLike
from fastdist.random._rng import RNGLike

def standard_normal(
    size: ShapeLike | None = (),
    *,
    dtype: DTypeLike = ...,
    rng: RNGLike | Noise = None,
    out: NDArray[np.float32 | np.float64] | None = None,
    workers: SupportsIndex | None = None,
) -> NDArray[np.float32 | np.float64]: ...
def standard_uniform(
    size: ShapeLike | None = (),
    *,
    dtype: DTypeLike = ...,
    rng: RNGLike | Noise = None,
    out: NDArray[np.float32 | np.float64] | None = None,
    workers: SupportsIndex | None = None,
) -> NDArray[np.float32 | np.float64]: ...
