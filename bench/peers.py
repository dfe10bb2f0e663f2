"""Who is compared: one class a peer, one method a verb.

A method prepares all that a user would prepare once and returns the function to time, or None
where the peer has nothing of the kind; a verb may be missing altogether. Verbs:

    noise_sample
    normal_construct  normal_sample  normal_log_prob
    mvn_construct     mvn_sample     mvn_log_prob

Everybody gets the same parameters and values, and the fastest way there is in their own terms:
no argument checks where they can be switched off, factors made beforehand, one thread.
"""

from __future__ import annotations

import contextlib
import importlib
import math
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from harness import Function

import fastdist as fd


@dataclass(frozen=True)
class Problem:
    """A batch of Gaussians and how many samples of it: `dim` is None for scalars."""

    batch: tuple[int, ...]
    dim: int | None = None
    samples: tuple[int, ...] = ()
    dtype: type = np.float64
    out: bool = False  # whether results go to memory that is there already
    isa: str | None = None  # the instruction set that fastdist is to use, the best one if None

    loc: np.ndarray = field(init=False, repr=False)
    scale: np.ndarray = field(init=False, repr=False)  # standard deviations, or covariance matrices
    value: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        g = np.random.default_rng(0)
        event = () if self.dim is None else (self.dim,)
        scale = g.uniform(0.5, 2, self.batch)
        if self.dim is not None:
            a = g.standard_normal((*self.batch, self.dim, 2 * self.dim))
            scale = a @ a.swapaxes(-1, -2) / self.dim
        arrays = {
            "loc": g.standard_normal(self.batch + event),
            "scale": scale,
            "value": g.standard_normal(self.samples + self.batch + event),
        }
        for name, array in arrays.items():
            object.__setattr__(self, name, array.astype(self.dtype))

    @property
    def tril(self) -> np.ndarray:
        return np.linalg.cholesky(self.scale)


class Fastdist:
    """With its own generator."""

    name = "fastdist"

    def noise_sample(self, p: Problem) -> Function:
        g, shape = fd.default_rng(0), p.value.shape
        if not p.out:
            return partial(fd.standard_normal, shape)
        out = np.zeros_like(p.value)
        return lambda: fd.standard_normal(out=out, dtype=p.dtype, rng=g)

    def normal_construct(self, p: Problem) -> Function:
        return lambda: fd.Normal(p.loc, p.scale)

    def mvn_construct(self, p: Problem) -> Function:
        return lambda: fd.MultivariateNormal(p.loc, p.scale)

    def normal_sample(self, p: Problem) -> Function:
        return self._sample(fd.Normal(p.loc, p.scale), p)

    def mvn_sample(self, p: Problem) -> Function:
        return self._sample(fd.MultivariateNormal(p.loc, p.scale), p)

    def normal_log_prob(self, p: Problem) -> Function:
        return self._log_prob(fd.Normal(p.loc, p.scale), p)

    def mvn_log_prob(self, p: Problem) -> Function:
        return self._log_prob(fd.MultivariateNormal(p.loc, p.scale), p)

    def _sample(self, d: fd.Distribution, p: Problem) -> Function:
        g, out = fd.default_rng(0), np.zeros_like(p.value) if p.out else None
        return lambda: d.sample(p.samples, rng=g, out=out)

    def _log_prob(self, d: fd.Distribution, p: Problem) -> Function:
        out = np.zeros(p.samples + p.batch, p.dtype) if p.out else None
        return lambda: d.log_prob(p.value, out=out)


class NumPy:
    """The recipes that people write. Noise is laid out as suits matmul: batch first."""

    name = "numpy"

    def noise_sample(self, p: Problem) -> Function:
        g, shape = np.random.default_rng(0), p.value.shape
        if not p.out:
            return partial(g.standard_normal, shape)
        out = np.zeros_like(p.value)
        return lambda: g.standard_normal(out=out, dtype=p.dtype)

    def mvn_construct(self, p: Problem) -> Function:
        return lambda: np.linalg.cholesky(p.scale)

    def normal_sample(self, p: Problem) -> Function:
        g = np.random.default_rng(0)
        if not p.out:
            return lambda: p.loc + p.scale * g.standard_normal(p.value.shape, p.dtype)
        out = np.zeros_like(p.value)

        def sample() -> None:
            g.standard_normal(out=out, dtype=p.dtype)
            np.multiply(out, p.scale, out=out)
            np.add(out, p.loc, out=out)

        return sample

    def mvn_sample(self, p: Problem) -> Function:
        g = np.random.default_rng(0)
        n = math.prod(p.samples)
        loc, tril_t = p.loc[..., None, :], np.ascontiguousarray(p.tril.swapaxes(-1, -2))
        shape = (*p.batch, n, p.dim)
        if not p.out:
            return lambda: loc + g.standard_normal(shape, p.dtype) @ tril_t
        eps, out = np.zeros(shape, p.dtype), np.zeros(shape, p.dtype)

        def sample() -> None:
            g.standard_normal(out=eps, dtype=p.dtype)
            np.matmul(eps, tril_t, out=out)
            np.add(out, loc, out=out)

        return sample

    def normal_log_prob(self, p: Problem) -> Function:
        constant = np.log(p.scale) + p.dtype(0.5 * math.log(2 * math.pi))
        half = p.dtype(-0.5)
        if not p.out:
            return lambda: half * ((p.value - p.loc) / p.scale) ** 2 - constant
        out = np.zeros_like(p.value)

        def log_prob() -> None:
            np.subtract(p.value, p.loc, out=out)
            np.divide(out, p.scale, out=out)
            np.multiply(out, out, out=out)
            np.multiply(out, half, out=out)
            np.subtract(out, constant, out=out)

        return log_prob

    def mvn_log_prob(self, p: Problem) -> Function | None:
        if p.out:
            return None
        whitener = np.ascontiguousarray(np.linalg.inv(p.tril).swapaxes(-1, -2))
        half_log_det = np.log(np.diagonal(p.tril, axis1=-2, axis2=-1)).sum(-1)
        constant = half_log_det + p.dtype(0.5 * p.dim * math.log(2 * math.pi))
        half = p.dtype(-0.5)

        def log_prob() -> np.ndarray:
            gap = p.value - p.loc
            if not p.samples:
                white = (gap[:, None] @ whitener)[:, 0]
                return half * np.einsum("bi,bi->b", white, white) - constant
            white = gap.swapaxes(0, 1) @ whitener
            return half * np.einsum("bsi,bsi->sb", white, white) - constant

        return log_prob


class SciPy:
    """scipy.stats has no batches of vectors: a list of frozen distributions stands for one."""

    name = "scipy"

    def __init__(self) -> None:
        self.stats = importlib.import_module("scipy.stats")

    def _frozen(self, p: Problem) -> list:
        items = zip(p.loc.reshape(-1, p.dim), p.scale.reshape(-1, p.dim, p.dim), strict=True)
        return [self.stats.multivariate_normal(loc, scale) for loc, scale in items]

    def normal_construct(self, p: Problem) -> Function:
        return lambda: self.stats.norm(p.loc, p.scale)

    def mvn_construct(self, p: Problem) -> Function:
        return lambda: self._frozen(p)

    def normal_sample(self, p: Problem) -> Function | None:
        g, frozen = np.random.default_rng(0), self.stats.norm(p.loc, p.scale)
        return None if p.out else lambda: frozen.rvs(p.value.shape, random_state=g)

    def mvn_sample(self, p: Problem) -> Function | None:
        g, frozen, n = np.random.default_rng(0), self._frozen(p), math.prod(p.samples)
        return None if p.out else lambda: [d.rvs(n, random_state=g) for d in frozen]

    def normal_log_prob(self, p: Problem) -> Function | None:
        frozen = self.stats.norm(p.loc, p.scale)
        return None if p.out else lambda: frozen.logpdf(p.value)

    def mvn_log_prob(self, p: Problem) -> Function | None:
        frozen = self._frozen(p)
        values = np.moveaxis(p.value.reshape(-1, len(frozen), p.dim), 1, 0)
        return None if p.out else lambda: [d.logpdf(x) for d, x in zip(frozen, values, strict=True)]


class Torch:
    name = "torch"

    def __init__(self) -> None:
        self.torch = importlib.import_module("torch")
        self.torch.set_num_threads(1)

    def noise_sample(self, p: Problem) -> Function:
        shape, out = p.value.shape, self.torch.from_numpy(np.zeros_like(p.value))
        return out.normal_ if p.out else partial(self.torch.randn, shape, dtype=self.torch.float64)

    def _normal(self, p: Problem, validate_args: bool = False) -> Function:
        loc, scale = map(self.torch.from_numpy, (p.loc, p.scale))
        return lambda: self.torch.distributions.Normal(loc, scale, validate_args=validate_args)

    def _mvn(self, p: Problem, validate_args: bool = False) -> Function:
        loc, scale = map(self.torch.from_numpy, (p.loc, p.scale))
        cls = self.torch.distributions.MultivariateNormal
        return lambda: cls(loc, scale, validate_args=validate_args)

    def normal_construct(self, p: Problem) -> Function:
        return self._normal(p, validate_args=True)

    def mvn_construct(self, p: Problem) -> Function:
        return self._mvn(p, validate_args=True)

    def normal_sample(self, p: Problem) -> Function | None:
        d = self._normal(p)()
        return None if p.out else lambda: d.sample(p.samples)

    def mvn_sample(self, p: Problem) -> Function | None:
        d = self._mvn(p)()
        return None if p.out else lambda: d.sample(p.samples)

    def normal_log_prob(self, p: Problem) -> Function | None:
        d, value = self._normal(p)(), self.torch.from_numpy(p.value)
        return None if p.out else lambda: d.log_prob(value)

    def mvn_log_prob(self, p: Problem) -> Function | None:
        d, value = self._mvn(p)(), self.torch.from_numpy(p.value)
        return None if p.out else lambda: d.log_prob(value)


class MKL:
    """Its fastest pair of generator and method. It has no out= and no float32."""

    name = "mkl"

    def __init__(self) -> None:
        self.mkl_random = importlib.import_module("mkl_random")

    def noise_sample(self, p: Problem) -> Function | None:
        g, shape = self.mkl_random.MKLRandomState(0, brng="SFMT19937"), p.value.shape
        return None if p.dtype is np.float32 else partial(g.standard_normal, shape, method="ICDF")


def installed() -> list:
    """fastdist, then the peers that can be imported."""
    peers = []
    for peer in (Fastdist, NumPy, SciPy, Torch, MKL):
        with contextlib.suppress(ModuleNotFoundError):
            peers.append(peer())
    return peers
