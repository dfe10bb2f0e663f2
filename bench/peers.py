"""Who is compared: one class a peer, one method a verb.

A method prepares all that a user would prepare once and returns statements to time, by kind (see
cases.py); verbs, kinds and dtypes may be missing. Verbs:

    noise_         sample  seeded  workers
    normal_        construct  expand  sample  log_prob  entropy  cdf  kl  gradient  moments  index
    independent_                      sample  log_prob  step                        moments  index
    mvn_           construct  expand  sample  log_prob  entropy       kl            moments  index
    special_       cdf  log_cdf  icdf
    uniform  cholesky

Everybody gets the same parameters and values, and the fastest way there is in their own terms:
factors made beforehand, the layout that suits them, no argument checks where they can be switched
off, one thread. Constructors check, as they do unless told otherwise.
"""

from __future__ import annotations

import contextlib
import importlib
import math
from dataclasses import replace
from typing import Any

import numpy as np
from cases import COLOUR, DTYPES, FRESH, OUT, Problem
from harness import Statement

import fastdist as fd
from fastdist._kernels.program import KERNELS, factorize

Statements = dict[str, Statement]

NOISE = "noise alone"  # fastdist's, to tell its colour by the difference
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Classes:
    """The verbs of distributions that are objects: fastdist's, and torch's, which have fastdist's names.

    Hooks: `normal` and `mvn` make them, their locs moved on by `more`; `array` takes an array as they do.
    """

    module: Any
    unchecked: dict[str, bool]

    def array(self, array: np.ndarray) -> Any:
        raise NotImplementedError

    def normal(self, p: Problem, more: float = 0.0) -> Any:
        return self.module.Normal(self.array(p.loc + more), self.array(p.scale), **self.unchecked)

    def mvn(self, p: Problem, more: float = 0.0) -> Any:
        return self.module.MultivariateNormal(self.array(p.loc + more), self.array(p.scale), **self.unchecked)

    def independent(self, p: Problem) -> Any:
        return self.module.Independent(self.normal(p).expand(p.batch), 1, **self.unchecked)

    def sample(self, d: Any, p: Problem) -> Statements:
        return _fresh(_draw(p), d=d, samples=p.samples)

    def log_prob(self, d: Any, p: Problem) -> Statements:
        return _fresh("d.log_prob(value)", d=d, value=self.array(p.value))

    def construct(self, name: str, p: Problem) -> Statements:
        second = "scale" if p.dim is None else "covariance"
        names = {name: getattr(self.module, name), "loc": self.array(p.loc), second: self.array(p.scale)}
        return _fresh(f"{name}(loc, {second})", **names)

    def normal_construct(self, p: Problem) -> Statements:
        return self.construct("Normal", p)

    def mvn_construct(self, p: Problem) -> Statements:
        return self.construct("MultivariateNormal", p)

    def normal_expand(self, p: Problem) -> Statements:
        return _fresh("d.expand(shape)", d=self.normal(p), shape=(5, *p.batch))

    def mvn_expand(self, p: Problem) -> Statements:
        return _fresh("d.expand(shape)", d=self.mvn(p), shape=(5, *p.batch))

    def normal_sample(self, p: Problem) -> Statements:
        return self.sample(self.normal(p), p)

    def independent_sample(self, p: Problem) -> Statements:
        return self.sample(self.independent(p), p)

    def mvn_sample(self, p: Problem) -> Statements:
        return self.sample(self.mvn(p), p)

    def normal_log_prob(self, p: Problem) -> Statements:
        return self.log_prob(self.normal(p), p)

    def independent_log_prob(self, p: Problem) -> Statements:
        return self.log_prob(self.independent(p), p)

    def mvn_log_prob(self, p: Problem) -> Statements:
        return self.log_prob(self.mvn(p), p)

    def independent_step(self, p: Problem) -> Statements:
        names = {name: getattr(self.module, name) for name in ("Independent", "Normal")}
        off = "".join(f", {name}={value}" for name, value in self.unchecked.items())
        return _fresh(
            f"d = Independent(Normal(loc, scale{off}), 1{off}); x = {_draw(p)}; d.log_prob(x)",
            loc=self.array(p.loc),
            scale=self.array(p.scale),
            samples=p.samples,
            **names,
        )

    def normal_entropy(self, p: Problem) -> Statements:
        return _fresh("d.entropy()", d=self.normal(p))

    def mvn_entropy(self, p: Problem) -> Statements:
        return _fresh("d.entropy()", d=self.mvn(p))

    def normal_cdf(self, p: Problem) -> Statements:
        return _fresh("d.cdf(value)", d=self.normal(p), value=self.array(p.value))

    def normal_kl(self, p: Problem) -> Statements:
        return _fresh("kl(p, q)", kl=self.module.kl_divergence, p=self.normal(p), q=self.normal(p, 1))

    def mvn_kl(self, p: Problem) -> Statements:
        return _fresh("kl(p, q)", kl=self.module.kl_divergence, p=self.mvn(p), q=self.mvn(p, 1))


class Fastdist(Classes):
    """With its own generator."""

    name = "fastdist"
    module = fd
    unchecked: dict[str, bool] = {}  # noqa: RUF012

    def array(self, array: np.ndarray) -> np.ndarray:
        return array

    def sample(self, d: fd.Distribution, p: Problem) -> Statements:
        names = {"fd": fd, "d": d, "samples": p.samples, "g": fd.default_rng(0), "out": _empty(p)}
        call = "d.sample(samples, rng=g" if p.samples else "d.sample(rng=g"
        return {
            OUT: Statement(f"{call}, out=out)", **names),
            FRESH: Statement(f"{call})", **names),
            NOISE: Statement(f"fd.standard_normal(dtype='{p.dtype}', rng=g, out=out)", **names),
        }

    def log_prob(self, d: fd.Distribution, p: Problem) -> Statements:
        names = {"d": d, "value": p.value, "out": d.log_prob(p.value)}
        return {
            OUT: Statement("d.log_prob(value, out=out)", **names),
            FRESH: Statement("d.log_prob(value)", **names),
        }

    def noise_sample(self, p: Problem) -> Statements:
        names = {"fd": fd, "shape": p.shape, "dtype": p.dtype, "g": fd.default_rng(0), "out": _empty(p)}
        return {
            OUT: Statement("fd.standard_normal(dtype=dtype, rng=g, out=out)", **names),
            FRESH: Statement(
                "fd.standard_normal(shape" + (", dtype=dtype" if p.dtype == "float32" else "") + ")", **names
            ),
        }

    def noise_workers(self, p: Problem) -> Statements:
        return _on_workers(p, 2)

    def noise_seeded(self, p: Problem) -> Statements:
        return _fresh("fd.standard_normal(shape, rng=12345)", fd=fd, shape=p.shape)

    def uniform(self, p: Problem) -> Statements:
        return _uniform(fd.default_rng(0), p)

    def special_cdf(self, p: Problem) -> Statements:
        return self._special("cdf", p.value)

    def special_log_cdf(self, p: Problem) -> Statements:
        return self._special("log_cdf", p.value)

    def special_icdf(self, p: Problem) -> Statements:
        return self._special("icdf", _probabilities(p))

    def _special(self, method: str, x: np.ndarray) -> Statements:
        call = getattr(fd.Normal(x.dtype.type(0), x.dtype.type(1), **self.unchecked), method)
        return {OUT: Statement("call(x, out=out)", call=call, x=x, out=np.zeros_like(x))}

    def cholesky(self, p: Problem) -> Statements:
        names = {"factorize": factorize, "kernel": KERNELS["cholesky"], "symmetry": False}
        arrays = {"matrix": p.scale, "out": np.zeros_like(p.scale)}
        return {OUT: Statement("factorize(kernel, matrix, symmetry, out)[0]", **names, **arrays)}

    def normal_gradient(self, p: Problem) -> Statements:
        names = {"fd": fd, "d": self.normal(p), "value": p.value, "one": np.ones_like(p.value)}
        return _fresh("_, pullback = fd.vjp(d.log_prob, value); pullback(one)['scale']", **names)

    def normal_moments(self, p: Problem) -> Statements:
        return _fresh("d.mean; d.stddev; d.variance", d=self.normal(p))

    def independent_moments(self, p: Problem) -> Statements:
        return _fresh("d.mean; d.stddev; d.variance", d=self.independent(p))

    def mvn_moments(self, p: Problem) -> Statements:
        return _fresh("d.mean; d.stddev; d.variance; d.scale_tril", d=self.mvn(p))

    def normal_index(self, p: Problem) -> Statements:
        return _fresh("d[0]; d[1:]", d=self.normal(p))

    def independent_index(self, p: Problem) -> Statements:
        return _fresh("d[0]; d[1:]", d=self.independent(p))

    def mvn_index(self, p: Problem) -> Statements:
        return _fresh("d[0]; d[1:]", d=self.mvn(p))


class OneWorker:
    """fastdist itself, for what it shares out."""

    name = "1 worker"

    def noise_workers(self, p: Problem) -> Statements:
        return _on_workers(p, 1)


class NumPy:
    """The recipes that people write. Vectors are laid out as suits matmul: batch, samples, event."""

    name = "numpy"

    def noise_sample(self, p: Problem) -> Statements:
        names = self._generator(p)
        return {
            OUT: Statement("g.standard_normal(dtype=dtype, out=out)", **names),
            FRESH: Statement(
                "g.standard_normal(shape" + (", dtype)" if p.dtype == "float32" else ")"), **names
            ),
        }

    def mvn_construct(self, p: Problem) -> Statements:
        return {FRESH: Statement("np.linalg.cholesky(covariance)", np=np, covariance=p.scale)}

    def cholesky(self, p: Problem) -> Statements:
        return {FRESH: Statement("np.linalg.cholesky(matrix)", np=np, matrix=p.scale)}

    def noise_seeded(self, p: Problem) -> Statements:
        return _fresh("np.random.default_rng(12345).standard_normal(shape)", np=np, shape=p.shape)

    def uniform(self, p: Problem) -> Statements:
        return _uniform(np.random.Generator(np.random.SFC64(0)), p)

    def normal_index(self, p: Problem) -> Statements:
        return _indexed_twice(p.loc, p.scale)

    independent_index = normal_index

    def mvn_index(self, p: Problem) -> Statements:
        return _indexed_twice(p.loc, p.scale, p.tril)

    def normal_sample(self, p: Problem) -> Statements:
        names = self._generator(p) | {"loc": p.loc, "scale": p.scale}
        colour = "np.multiply(out, scale, out=out); np.add(out, loc, out=out)"
        return {
            OUT: Statement(f"g.standard_normal(dtype=dtype, out=out); {colour}", **names),
            FRESH: Statement("loc + scale * g.standard_normal(shape, dtype)", **names),
            # Into other memory: done again in place, the numbers would grow beyond all bounds.
            COLOUR: Statement(
                "np.multiply(eps, scale, out=out); np.add(out, loc, out=out)", eps=p.value, **names
            ),
        }

    independent_sample = normal_sample

    def mvn_sample(self, p: Problem) -> Statements:
        shape = (*p.batch, p.n_sample, p.dim)
        names = self._generator(p) | {
            "loc": p.loc[..., None, :],
            "tril_t": _transposed(p.tril),
            "shape": shape,
            "eps": p.value.reshape(shape),
            "out": np.zeros(shape, p.dtype),
        }
        colour = "np.matmul(eps, tril_t, out=out); np.add(out, loc, out=out)"
        return {
            OUT: Statement(f"g.standard_normal(dtype=dtype, out=eps); {colour}", **names),
            FRESH: Statement("loc + g.standard_normal(shape, dtype) @ tril_t", **names),
            COLOUR: Statement(colour, **names),
        }

    def normal_log_prob(self, p: Problem) -> Statements:
        constant = (np.log(p.scale) + HALF_LOG_2PI).astype(p.dtype)
        names = {"value": p.value, "loc": p.loc, "scale": p.scale, "constant": constant}
        return {FRESH: Statement("-0.5 * ((value - loc) / scale) ** 2 - constant", **names)}

    def independent_log_prob(self, p: Problem) -> Statements:
        constant = np.broadcast_to(np.log(p.scale) + HALF_LOG_2PI, p.batch).sum(-1).astype(p.dtype)
        names = {"np": np, "value": p.value, "loc": p.loc, "scale": p.scale, "constant": constant}
        return {FRESH: Statement("z = (value - loc) / scale; -0.5 * np.vecdot(z, z) - constant", **names)}

    def mvn_log_prob(self, p: Problem) -> Statements:
        whitener = _transposed(np.linalg.inv(p.tril))
        half_log_det = np.log(np.diagonal(p.tril, axis1=-2, axis2=-1)).sum(-1)
        names = {
            "np": np,
            "value": _batch_first(p),
            "loc": p.loc[..., None, :],
            "whitener": whitener,
            "constant": (half_log_det + p.dim * HALF_LOG_2PI).astype(p.dtype)[..., None],
        }
        buffers = {name: np.zeros_like(names["value"]) for name in ("gap", "white")}
        out = np.zeros((*p.batch, p.n_sample), p.dtype)
        steps = (
            "np.subtract(value, loc, out=gap)",
            "np.matmul(gap, whitener, out=white)",
            "np.vecdot(white, white, out=out)",
            "np.multiply(out, -0.5, out=out)",
            "np.subtract(out, constant, out=out)",
        )
        fresh = "white = (value - loc) @ whitener; -0.5 * np.vecdot(white, white) - constant"
        return {
            OUT: Statement("; ".join(steps), out=out, **buffers, **names),
            FRESH: Statement(fresh, **names),
        }

    def _generator(self, p: Problem) -> dict[str, Any]:
        return {"np": np, "g": np.random.default_rng(0), "shape": p.shape, "dtype": p.dtype, "out": _empty(p)}


class NumPyNoise:
    """What no recipe of NumPy's can go below: a draw without its colour."""

    name = "numpy's bare noise"

    def normal_sample(self, p: Problem) -> Statements:
        return NumPy().noise_sample(p)

    independent_sample = mvn_sample = normal_sample


class SciPy:
    """scipy.stats has no batches of vectors: a list of frozen distributions stands for one."""

    name = "scipy"
    dtypes = ("float64",)

    def __init__(self) -> None:
        self.stats = importlib.import_module("scipy.stats")
        self.special = importlib.import_module("scipy.special")

    def special_cdf(self, p: Problem) -> Statements:
        return _special(self.special.ndtr, p.value, np.zeros_like(p.value))

    def special_log_cdf(self, p: Problem) -> Statements:
        return _special(self.special.log_ndtr, p.value, np.zeros_like(p.value))

    def special_icdf(self, p: Problem) -> Statements:
        return _special(self.special.ndtri, _probabilities(p), np.zeros_like(p.value))

    def normal_construct(self, p: Problem) -> Statements:
        return {FRESH: Statement("stats.norm(loc, scale)", stats=self.stats, loc=p.loc, scale=p.scale)}

    def mvn_construct(self, p: Problem) -> Statements:
        code = "[stats.multivariate_normal(m, c) for m, c in zip(loc, covariance)]"
        return {FRESH: Statement(code, stats=self.stats, loc=p.loc, covariance=p.scale)}

    def normal_sample(self, p: Problem) -> Statements:
        names = {"d": self.stats.norm(p.loc, p.scale), "g": np.random.default_rng(0), "shape": p.shape}
        return {FRESH: Statement("d.rvs(shape, random_state=g)", **names)}

    def mvn_sample(self, p: Problem) -> Statements:
        code = "[d.rvs(n, random_state=g) for d in frozen]"
        names = {"frozen": self._frozen(p), "n": p.n_sample, "g": np.random.default_rng(0)}
        return {FRESH: Statement(code, **names)}

    def normal_log_prob(self, p: Problem) -> Statements:
        return {FRESH: Statement("d.logpdf(value)", d=self.stats.norm(p.loc, p.scale), value=p.value)}

    def mvn_log_prob(self, p: Problem) -> Statements:
        code = "[d.logpdf(x) for d, x in zip(frozen, value)]"
        return {FRESH: Statement(code, frozen=self._frozen(p), value=_batch_first(p))}

    def _frozen(self, p: Problem) -> list:
        from_cholesky = self.stats.Covariance.from_cholesky
        pairs = zip(p.loc, p.tril, strict=True)
        return [self.stats.multivariate_normal(m, from_cholesky(tril)) for m, tril in pairs]


class Torch(Classes):
    name = "torch"
    unchecked: dict[str, bool] = {"validate_args": False}  # noqa: RUF012

    def __init__(self) -> None:
        self.torch = importlib.import_module("torch")
        self.torch.set_num_threads(1)
        self.module = self.torch.distributions

    def array(self, array: np.ndarray) -> Any:
        return self.torch.from_numpy(np.asarray(array))

    def noise_sample(self, p: Problem) -> Statements:
        names = {"torch": self.torch, "shape": p.shape, "dtype": getattr(self.torch, p.dtype)}
        return {
            OUT: Statement("out.normal_()", out=self.torch.from_numpy(_empty(p))),
            FRESH: Statement("torch.randn(shape, dtype=dtype)", **names),
        }

    def special_cdf(self, p: Problem) -> Statements:
        return _special(self.torch.special.ndtr, self.array(p.value), self.array(_empty(p)))

    def special_log_cdf(self, p: Problem) -> Statements:
        return _special(self.torch.special.log_ndtr, self.array(p.value), self.array(_empty(p)))

    def special_icdf(self, p: Problem) -> Statements:
        return _special(self.torch.special.ndtri, self.array(_probabilities(p)), self.array(_empty(p)))

    def cholesky(self, p: Problem) -> Statements:
        return _fresh("torch.linalg.cholesky(matrix)", torch=self.torch, matrix=self.array(p.scale))

    def normal_gradient(self, p: Problem) -> Statements:
        leaves = [self.array(array).clone().requires_grad_() for array in (p.loc, p.scale)]
        value, one = self.array(p.value), self.array(np.ones_like(p.value))
        d, grad = self.module.Normal(*leaves, **self.unchecked), self.torch.autograd.grad
        return _fresh(
            "grad(d.log_prob(value), leaves, one)[1]", grad=grad, d=d, leaves=leaves, value=value, one=one
        )


class RandomGen:
    """Its normals are NumPy's; it takes batches of factors."""

    name = "randomgen"
    dtypes = ("float64",)

    def __init__(self) -> None:
        self.generator = importlib.import_module("randomgen").ExtendedGenerator

    def mvn_sample(self, p: Problem) -> Statements:
        # Its manual asks for a factor A with A A' = cov, its code multiplies by the transpose of one.
        names = {"loc": p.loc, "tril_t": _transposed(p.tril), "shape": p.samples + p.batch}
        code = "g.multivariate_normal(loc, tril_t, shape, method='factor', check_valid='ignore')"
        return {FRESH: Statement(code, g=self.generator(np.random.PCG64(0)), **names)}


class MKL:
    """Its fastest pair of generator and method."""

    name = "mkl_random"
    dtypes = ("float64",)

    def __init__(self) -> None:
        self.state = importlib.import_module("mkl_random").MKLRandomState

    def noise_sample(self, p: Problem) -> Statements:
        return self._statements(p, "g.standard_normal(shape, method='ICDF')")

    def normal_sample(self, p: Problem) -> Statements:
        return self._statements(p, "loc + scale * g.standard_normal(shape, method='ICDF')")

    independent_sample = normal_sample

    def mvn_sample(self, p: Problem) -> Statements:
        code = "[g.multinormal_cholesky(m, t, n, method='ICDF') for m, t in zip(loc, tril)]"
        return self._statements(p, code)

    def _statements(self, p: Problem, code: str) -> Statements:
        names = {"loc": p.loc, "scale": p.scale, "shape": p.shape, "n": p.n_sample}
        if p.dim is not None:
            names["tril"] = p.tril
        return {FRESH: Statement(code, g=self.state(0, brng="SFMT19937"), **names)}


def _fresh(code: str, **names: object) -> Statements:
    return {FRESH: Statement(code, **names)}


def _draw(p: Problem) -> str:
    return "d.sample(samples)" if p.samples else "d.sample()"


def _uniform(g: np.random.Generator, p: Problem) -> Statements:
    if not p.shape:
        return _fresh("g.random()", g=g)
    names = {"g": g, "shape": p.shape, "out": _empty(p)}
    return {OUT: Statement("g.random(out=out)", **names), FRESH: Statement("g.random(shape)", **names)}


def _indexed_twice(*arrays: np.ndarray) -> Statements:
    """What indexing a distribution may cost, but for an allowance: NumPy's for its arrays, twice."""
    names = {f"a{i}": array for i, array in enumerate(arrays)}
    return _fresh("; ".join([f"{name}[0]; {name}[1:]" for name in names] * 2), **names)


def _on_workers(p: Problem, n: int) -> Statements:
    code = f"fd.standard_normal(rng=g, out=out, workers={n})"
    return {OUT: Statement(code, fd=fd, g=fd.default_rng(0), out=_empty(p))}


def _special(f: Any, x: Any, out: Any) -> Statements:
    return {OUT: Statement("f(x, out=out)", f=f, x=x, out=out)}


def _probabilities(p: Problem) -> np.ndarray:
    return abs(np.modf(p.value)[0])


def _empty(p: Problem) -> np.ndarray:
    """Memory of a result, touched: its pages are there."""
    out = np.empty(p.shape, p.dtype)
    out.fill(0)
    return out


def _transposed(matrices: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(matrices.swapaxes(-1, -2))


def _batch_first(p: Problem) -> np.ndarray:
    """The value as recipes like it: batch, samples, event."""
    return np.ascontiguousarray(np.moveaxis(p.value.reshape(p.n_sample, *p.batch, p.dim), 0, -2))


def installed() -> list:
    """fastdist, then the peers that can be imported."""
    peers = []
    for peer in (Fastdist, OneWorker, NumPy, NumPyNoise, Torch, SciPy, RandomGen, MKL):
        with contextlib.suppress(ModuleNotFoundError):
            peers.append(peer())
    return peers


def statements(verb: str, problem: Problem, peers: list) -> dict[tuple[str, str], Statement]:
    """All that can be timed of a verb on a problem, by peer and kind."""
    problem = replace(problem)  # a copy, whose arrays go when nobody uses them any more
    return {
        (peer.name, kind): statement
        for peer in peers
        if hasattr(peer, verb) and problem.dtype in getattr(peer, "dtypes", DTYPES)
        for kind, statement in getattr(peer, verb)(problem).items()
    }
