"""Noise: from `rng=` to a source of standard normals.

as_noise   None, int, SeedSequence, BitGenerator, Generator -> Noise, what kernels draw from
"""

from fastdist.random._rng import RNGLike, as_noise

__all__ = ["RNGLike", "as_noise"]
