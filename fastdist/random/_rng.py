"""`rng=` by SPEC 7 (Scientific Python): seeds make a new generator, generators are used as they are."""

from __future__ import annotations

import os
import threading

import numpy as np
from numpy.random import BitGenerator, Generator, SeedSequence

from fastdist._kernels.bridge import Noise

RNGLike = int | np.integer | SeedSequence | BitGenerator | Generator | None

# Looking up a bit generator's C interface costs more than a small draw, so the last few are
# kept. Bounded, for it keeps them alive.
_MAX_CACHED = 16
_cache: dict[BitGenerator, Noise] = {}


class _PerThread(threading.local):
    """One generator a thread, seeded from the operating system's entropy at first use."""

    def __init__(self) -> None:
        self.noise = Noise(np.random.PCG64())


_unseeded = _PerThread()


def _reseed_after_fork() -> None:
    global _unseeded
    _unseeded = _PerThread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reseed_after_fork)


def as_noise(rng: RNGLike) -> Noise:
    """The source of normals that `rng` stands for.

    Parameters
    ----------
    rng : None, int, SeedSequence, BitGenerator or Generator
        None: this thread's own generator, which never repeats. An int or a SeedSequence seeds a
        new one. A generator is used as it stands and moves on.

    Raises
    ------
    TypeError
        For anything else, `numpy.random.RandomState` included: its normals are another algorithm's.
    ValueError
        For a negative seed.
    """
    if rng is None:
        return _unseeded.noise
    if isinstance(rng, Generator):
        bit_generator: BitGenerator = rng.bit_generator
    elif isinstance(rng, BitGenerator):
        bit_generator = rng
    elif isinstance(rng, SeedSequence):
        return Noise(np.random.PCG64(rng))
    elif isinstance(rng, int | np.integer) and not isinstance(rng, bool):
        if rng < 0:
            raise ValueError(f"rng must not be a negative seed, got {rng}")
        return Noise(np.random.PCG64(int(rng)))
    else:
        raise TypeError(
            "rng must be None, an int, or a numpy.random SeedSequence, BitGenerator or Generator, "
            f"got {rng!r} of type {type(rng).__name__}"
        )
    noise = _cache.get(bit_generator)
    if noise is None:
        noise = Noise(bit_generator)
        if len(_cache) >= _MAX_CACHED:
            _cache.clear()
        _cache[bit_generator] = noise
    return noise
