"""Distributions as users write them, from public names alone: scalars, vectors, and one that holds another."""

import math

import numpy as np
from cases import random_normal, random_tril

import fastdist as fd


class Laplace(fd.Distribution):
    """The example of Distribution's docstring, with moments and all rules."""

    arg_constraints = {"loc": fd.constraints.real, "scale": fd.constraints.positive}  # noqa: RUF012
    support = fd.constraints.real
    has_rsample = True
    normals_per_event = 4

    def draw(self, eps, out):
        a, b, c, d = np.moveaxis(eps, -1, 0)
        np.add(self.loc, self.scale * (a * d - b * c), out=out)

    def log_density(self, value):
        return -abs(value - self.loc) / self.scale - np.log(2 * self.scale)

    def event_entropy(self):
        return 1 + np.log(2 * self.scale)

    @property
    def mean(self):
        return self.loc

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        return 2 * self.scale**2


@fd.register_vjp("rsample", Laplace)
def vjp_laplace_rsample(d, replay):
    return lambda g, x: {"loc": g, "scale": g * (x - d.loc) / d.scale}


@fd.register_vjp("log_prob", Laplace)
def vjp_laplace_log_prob(d, value):
    z = (np.array(value) - d.loc) / d.scale
    score = np.sign(z) / d.scale
    return lambda g, _: {"value": -g * score, "loc": g * score, "scale": g * (abs(z) - 1) / d.scale}


@fd.register_vjp("entropy", Laplace)
def vjp_laplace_entropy(d):
    return lambda g, _: {"loc": 0 * g, "scale": g / d.scale}


@fd.register_kl(Laplace, Laplace)
def kl_laplace(p, q):
    z = abs(p.loc - q.loc)
    return np.log(q.scale / p.scale) + z / q.scale + p.scale / q.scale * np.exp(-z / p.scale) - 1


@fd.register_vjp("kl_divergence", Laplace, Laplace)
def vjp_kl_laplace(p, q):
    z, sign = abs(p.loc - q.loc), np.sign(p.loc - q.loc)
    e = np.exp(-z / p.scale)
    by_loc = sign * (1 - e) / q.scale
    by_p = (e * (1 + z / p.scale)) / q.scale - 1 / p.scale
    by_q = 1 / q.scale - (z + p.scale * e) / q.scale**2
    return lambda g, _: ({"loc": g * by_loc, "scale": g * by_p}, {"loc": -g * by_loc, "scale": g * by_q})


class Student(fd.Distribution):
    """Student's t of vectors with 2 degrees of freedom: a Gaussian over the root of an exponential."""

    arg_constraints = {"loc": fd.constraints.real_vector, "scale_tril": fd.constraints.lower_cholesky}  # noqa: RUF012
    support = fd.constraints.real_vector
    has_rsample = True

    @property
    def normals_per_event(self):
        return self.event_shape[0] + 2

    def draw(self, eps, out):
        np.add(self.loc, (self.scale_tril * spread(eps)[..., np.newaxis, :]).sum(-1), out=out)

    def log_density(self, value):
        (dim,) = self.event_shape
        z = np.linalg.solve(self.scale_tril, (value - self.loc)[..., np.newaxis])[..., 0]
        return self.log_peak() - (1 + dim / 2) * np.log1p((z * z).sum(-1) / 2)

    def event_entropy(self):
        (dim,) = self.event_shape
        odd = dim % 2
        # digamma(1 + dim / 2) - digamma(1)
        difference = sum(1 / (k + odd / 2) for k in range(1 - odd, dim // 2 + 1)) - odd * math.log(4)
        return (1 + dim / 2) * difference - self.log_peak()

    def log_peak(self):
        (dim,) = self.event_shape
        log_det = np.log(np.diagonal(self.scale_tril, axis1=-2, axis2=-1)).sum(-1)
        return math.lgamma(1 + dim / 2) - dim / 2 * math.log(2 * math.pi) - log_det


def spread(eps):
    """A Student's vector with the identity for a matrix, of its normals."""
    return eps[..., :-2] / np.sqrt((eps[..., -1:] ** 2 + eps[..., -2:-1] ** 2) / 2)


@fd.register_vjp("rsample", Student)
def vjp_student_rsample(d, replay):
    def pull(g, _):
        eps = fd.standard_normal((*g.shape[:-1], d.normals_per_event), dtype=g.dtype, rng=replay())
        return {"loc": g, "scale_tril": np.tril(g[..., np.newaxis] * spread(eps)[..., np.newaxis, :])}

    return pull


class LogNormal(fd.Wrapper):
    """The example of Wrapper's docstring, with an entropy, parameters and a rule."""

    support = fd.constraints.positive
    has_rsample = True
    _held = {"normal": 0}  # noqa: RUF012

    def __init__(self, normal):
        super().__init__(normal.batch_shape, (), normal.dtype)
        self.normal = normal

    @property
    def parameters(self):
        return {"normal": self.normal}

    def _draw(self, noise, out, workers):
        n = out.ndim - len(self.batch_shape)
        self.normal.sample(out.shape[:n], rng=noise, out=out, workers=workers)
        np.exp(out, out=out)

    def log_density(self, value):
        y = np.log(value)
        return self.normal.log_prob(y) - y

    def event_entropy(self):
        return self.normal.entropy() + self.normal.mean


@fd.register_vjp("rsample", LogNormal)
def vjp_log_normal_rsample(d, replay):
    return lambda g, x: {
        "normal": {"loc": g * x, "scale": g * x * (np.log(x) - d.normal.loc) / d.normal.scale}
    }


def user_written(dtype=np.float64):
    """One of each, all of them with batch_shape (4, 3)."""
    g = np.random.default_rng(0)
    loc, scale = g.normal(size=(4, 3)).astype(dtype), g.uniform(0.5, 2, 3).astype(dtype)
    pairs = g.normal(size=(4, 3, 2)).astype(dtype)
    return {
        "Laplace": Laplace(loc, scale),
        "Student": Student(g.normal(size=(3, 5)).astype(dtype), random_tril(g, (4, 1, 5, 5), dtype)),
        "LogNormal": LogNormal(random_normal((4, 3), (3,), dtype)),
        "Independent(Laplace)": fd.Independent(Laplace(pairs, scale[:, np.newaxis]), 1),
    }


USER_WRITTEN = tuple(user_written())
