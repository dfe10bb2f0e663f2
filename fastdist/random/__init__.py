"""Noise: from `rng=` to a source of standard normals and uniforms.

BlockSFC64, default_rng    the package's own generator, a numpy.random.BitGenerator
Place                      where a stream stands
standard_normal, standard_uniform   the bare noise
noise_of_key               the beginning of a stream whose key others have chosen
as_noise                   None, int, SeedSequence, BitGenerator, Generator -> Noise, what kernels draw from
get_include, _c_api        the C interface: c_api.pxd, include/fastdist/random.h and the capsule
set_workers                how many threads may share a large draw
"""

from fastdist._kernels._workers import parse_workers, set_workers
from fastdist.random._block_sfc64 import BlockSFC64, noise_of_key
from fastdist.random._block_sfc64 import _c_api as _c_api
from fastdist.random._interface import get_include
from fastdist.random._place import Place
from fastdist.random._rng import RNGLike, as_noise, default_rng
from fastdist.random._standard_normal import standard_normal, standard_uniform

__all__ = [
    "BlockSFC64",
    "Place",
    "RNGLike",
    "as_noise",
    "default_rng",
    "get_include",
    "noise_of_key",
    "parse_workers",
    "set_workers",
    "standard_normal",
    "standard_uniform",
]
