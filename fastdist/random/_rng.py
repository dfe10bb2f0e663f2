"""`rng=`, the keyword of SPEC 7: a seed makes a new BlockSFC64, generators are used as they are."""

from __future__ import annotations

import numpy as np
from numpy.random import BitGenerator, Generator, RandomState, SeedSequence

from fastdist._kernels.bridge import Noise
from fastdist._params import ArrayLike
from fastdist.random._block_sfc64 import BlockSFC64, unshared_noise

RNGLike = int | np.integer | SeedSequence | BitGenerator | Generator | None

# Looking up a bit generator's C interface costs more than a small draw, so the last few are
# kept, by identity: a noise keeps its bit generator alive, and so its id. Bounded for that reason.
_MAX_CACHED = 16
_cache: dict[int, Noise] = {}


def default_rng(
    seed: int | np.integer | ArrayLike | SeedSequence | BitGenerator | Generator | RandomState | None = None,
) -> Generator:
    """NumPy's Generator on a new BlockSFC64.

    Parameters
    ----------
    seed : None, int, array_like of ints, SeedSequence, BitGenerator, Generator or RandomState, optional
        None takes entropy from the operating system. A Generator is returned as it is, a
        BitGenerator wrapped, and so is a RandomState's, as `numpy.random.default_rng` does.

    Returns
    -------
    numpy.random.Generator
        It has all of NumPy's methods. `fastdist.standard_normal` and the distributions here, given
        it as `rng`, draw from its stream of normals, which is much faster than its own
        method `standard_normal`, and not the same numbers.

    Examples
    --------
    >>> import fastdist as fd
    >>> rng = fd.default_rng(0)
    >>> fd.standard_normal((2, 3), rng=rng).shape
    (2, 3)
    >>> rng.integers(10, size=4).shape
    (4,)
    """
    if isinstance(seed, Generator):
        return seed
    if isinstance(seed, RandomState):
        seed = seed._bit_generator
    return Generator(seed if isinstance(seed, BitGenerator) else BlockSFC64(seed))


def as_noise(rng: RNGLike | Noise) -> Noise:
    """The source of normals that `rng` stands for.

    Parameters
    ----------
    rng : None, int, SeedSequence, BitGenerator or Generator
        None: this thread's own generator, which never repeats. An int or a SeedSequence seeds a
        new one. A generator is used as it stands and moves on, and so is a Noise, which `vjp`
        passes to look on.

    Raises
    ------
    TypeError
        For anything else, `numpy.random.RandomState` included: its normals are another algorithm's.
    ValueError
        For a negative seed.
    """
    if rng is None:
        return unshared_noise()
    if isinstance(rng, Noise):
        return rng
    if isinstance(rng, Generator):
        bit_generator: BitGenerator = rng.bit_generator
    elif isinstance(rng, BitGenerator):
        bit_generator = rng
    elif isinstance(rng, SeedSequence):
        return BlockSFC64(rng)._noise
    elif isinstance(rng, int | np.integer) and not isinstance(rng, bool):
        if rng < 0:
            raise ValueError(f"rng must not be a negative seed, got {rng}")
        return BlockSFC64(int(rng))._noise
    else:
        raise TypeError(
            "rng must be None, an int, or a numpy.random SeedSequence, BitGenerator or Generator, "
            f"got {rng!r} of type {type(rng).__name__}"
        )
    if isinstance(bit_generator, BlockSFC64):
        return bit_generator._noise
    noise = _cache.get(id(bit_generator))
    if noise is None:
        noise = Noise(bit_generator)
        if len(_cache) >= _MAX_CACHED:
            _cache.clear()
        _cache[id(bit_generator)] = noise
    return noise
