"""`rng=`, the keyword of SPEC 7: a seed makes a new BlockSFC64, generators are used as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import BitGenerator, Generator, RandomState, SeedSequence

from fastdist._kernels.sources import Noise
from fastdist._shapes import parse_int
from fastdist._typing import ArrayLike
from fastdist.random._block_sfc64 import BlockSFC64, noise_of_place, noise_of_seed, unshared_noise
from fastdist.random._place import Place

RNGLike = int | np.integer | Sequence[int] | SeedSequence | Place | BitGenerator | Generator | None

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


def _seed(name: str, value: object) -> int:
    """One integer of a seed."""
    seed = parse_int(name, value)
    if seed < 0:
        raise ValueError(f"{name} must not be a negative seed, got {seed}")
    return seed


def as_noise(rng: RNGLike | Noise) -> Noise:
    """The source of normals that `rng` stands for.

    Parameters
    ----------
    rng : None, int, sequence of ints, SeedSequence, Place, BitGenerator or Generator
        None: this thread's own generator, which never repeats. Ints or a SeedSequence seed a
        new one, a Place is where one stands. A generator is used as it stands and moves on, and so is
        a Noise, which `vjp` passes to look on.

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
        seed = _seed("rng", rng)
        return noise_of_seed(seed) if seed < 2**64 else BlockSFC64(seed)._noise
    elif isinstance(rng, Place):
        return noise_of_place(rng)
    elif isinstance(rng, list | tuple) or (isinstance(rng, np.ndarray) and rng.ndim == 1):
        return BlockSFC64([_seed(f"rng[{i}]", word) for i, word in enumerate(rng)])._noise
    else:
        raise TypeError(
            "rng must be None, an int or a sequence of ints, or a numpy.random SeedSequence, BitGenerator or "
            f"Generator, got a {type(rng).__name__}"
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
