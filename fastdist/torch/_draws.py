"""Where a draw's noise comes from: `rng=`, `generator=`, or torch's default generator.

A torch generator gives each draw the 128-bit key of a BlockSFC64 stream of its own, and moves on by as
much. So `torch.manual_seed`, `torch.random.fork_rng` and saved states do what they do in torch, and there
is no state beside torch's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fastdist._kernels.sources import Noise, RecordingNoise
from fastdist.random import RNGLike, as_noise, noise_of_key, standard_normal, standard_uniform
from fastdist.torch._tensors import as_array

Replay = Callable[[], Noise]


class _Key(threading.local):
    """Two words for a torch generator to fill."""

    def __init__(self) -> None:
        self.words = np.empty(2, np.uint64)
        with torch.inference_mode(False):  # what is made in that mode can only be written in it
            self.tensor = torch.from_numpy(self.words.view(np.int64))


_key = _Key()


def noise(generator: torch.Generator | None, rng: RNGLike) -> tuple[Noise, Replay]:
    """The noise of a draw, and what gives the same normals again."""
    if rng is not None:
        _check_one(generator)
        recorded = RecordingNoise(as_noise(rng))
        return recorded, recorded.replay
    _key.tensor.random_(-(2**63), None, generator=generator)
    replay = partial(noise_of_key, *_key.words.tolist())
    return replay(), replay


def normals(noise: Noise, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The noise's next normals, float32 or float64."""
    return fill(torch.empty(shape, dtype=dtype), noise)


def fill(out: Tensor, noise: Noise) -> Tensor:
    """Write the noise's next normals to a new tensor."""
    array = as_array(out)
    standard_normal(dtype=array.dtype.type, rng=noise, out=array)
    return out


def normals_like(
    like: Tensor, shape: tuple[int, ...], generator: torch.Generator | None, rng: RNGLike
) -> Tensor:
    """Normals of any dtype on any device: torch's, or given `rng` fastdist's, rounded and sent there."""
    if rng is None:
        return torch.empty(shape, dtype=like.dtype, device=like.device).normal_(generator=generator)
    _check_one(generator)
    dtype = np.float64 if like.dtype == torch.float64 else np.float32
    return torch.from_numpy(standard_normal(tuple(shape), dtype=dtype, rng=rng)).to(like)


def uniforms_like(
    like: Tensor, shape: tuple[int, ...], generator: torch.Generator | None, rng: RNGLike
) -> Tensor:
    """Uniforms for a tensor of any dtype on any device, float32 or wider: the same way."""
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    if rng is None:
        return torch.empty(shape, dtype=dtype, device=like.device).uniform_(generator=generator)
    _check_one(generator)
    return torch.from_numpy(standard_uniform(tuple(shape), rng=rng)).to(like.device)


def _check_one(generator: torch.Generator | None) -> None:
    if generator is not None:
        raise ValueError("generator and rng exclude each other, and both were given")
