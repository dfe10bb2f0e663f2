"""How many times as long peers take for laws made of normals, steps of learning, one large covariance:
`python bench/laws.py [--only WORD] [--rounds N]`.

Ratios of CPU times in one process on one core, medians over alternating rounds; 2.0 means that the peer takes
twice as long. A rebuild, a recipe or a formula is what a user of NumPy would write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import one_core

one_core.settle()  # before NumPy and torch load

import numpy as np
import scipy.linalg
import scipy.special
import scipy.stats
import torch
from harness import Statement, measure, parse
from torch import distributions as td

import fastdist as fd

MILLION = 10**6
logpdf = scipy.stats.multivariate_normal.logpdf
Call = Callable[[], object]


class Row(NamedTuple):
    title: str
    peer: str
    ours: Call
    theirs: Call
    must: float
    aim: float


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def covariances(*batch: int, dim: int) -> np.ndarray:
    a = numbers(*batch, dim, 2 * dim, seed=1)
    covariance = a @ a.swapaxes(-1, -2) / dim
    return (covariance + covariance.swapaxes(-1, -2)) / 2


def tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def draws() -> Iterator[Row]:
    ours, theirs = fd.default_rng(0), np.random.default_rng(0)
    law, cut = fd.LogNormal(0.5, 1.5), fd.TruncatedNormal(0.5, 1.5, -1.0, 2.0)
    yield Row(
        "LogNormal, 1M", "numpy",
        lambda: law.sample(MILLION, rng=ours), lambda: theirs.lognormal(0.5, 1.5, MILLION), 8, 12,
    )  # fmt: skip
    yield Row(
        "TruncatedNormal, 1M", "scipy",
        lambda: cut.sample(MILLION, rng=ours),
        lambda: scipy.stats.truncnorm.rvs(-1, 1, 0.5, 1.5, MILLION, random_state=theirs), 10, 30,
    )  # fmt: skip
    for shape, must, aim in (((64, 6), 15, 40), ((100_000, 10), 3, 6)):
        logits = numbers(*shape)
        mine, its = fd.Categorical(logits=logits), td.Categorical(logits=tensor(logits), validate_args=False)
        yield Row(
            f"Categorical, {shape}", "torch",
            lambda mine=mine: mine.sample(rng=ours), lambda its=its: its.sample(), must, aim,
        )  # fmt: skip
    p = np.random.default_rng(1).random(MILLION)
    p /= p.sum()
    one = fd.Categorical(probs=p)
    yield Row(
        "Categorical, K = 1M, 1M draws", "numpy",
        lambda: one.sample(MILLION, rng=ours), lambda: theirs.choice(MILLION, MILLION, p=p), 5, 10,
    )  # fmt: skip
    loc, factor, diag = numbers(1000), numbers(1000, 10), np.ones(1000)
    low = fd.LowRankMultivariateNormal(loc, factor, diag)
    its_low = td.LowRankMultivariateNormal(*map(tensor, (loc, factor, diag)), validate_args=False)
    yield Row(
        "LowRank, d = 1000, rank 10, 1000 draws", "torch",
        lambda: low.sample(1000, rng=ours), lambda: its_low.sample((1000,)), 10, 20,
    )  # fmt: skip


def mixtures() -> Iterator[Row]:
    loc, covariance, logits = numbers(8, 8), covariances(8, dim=8), numbers(8)
    x = numbers(100_000, 8, seed=3)
    ours = fd.MixtureSameFamily(
        fd.Categorical(logits=logits), fd.MultivariateNormal(loc, covariance_matrix=covariance)
    )
    theirs = td.MixtureSameFamily(
        td.Categorical(logits=tensor(logits)), td.MultivariateNormal(tensor(loc), tensor(covariance)),
        validate_args=False,
    )  # fmt: skip
    value = tensor(x)
    yield Row(
        "mixture of 8 MVNs, d = 8, log_prob of 100000", "torch",
        lambda: ours.log_prob(x), lambda: theirs.log_prob(value), 10, 20,
    )  # fmt: skip


def algebra() -> Iterator[Row]:
    known, rest = [1, 4, 6], [0, 2, 3, 5, 7]
    loc, covariance, x = numbers(1000, 8), covariances(1000, dim=8), numbers(1000, 3, seed=2)
    mvn = fd.MultivariateNormal(loc, covariance_matrix=covariance)

    def recipe() -> object:
        of_known = covariance[:, known][:, :, known]
        across = covariance[:, rest][:, :, known]
        gain = np.linalg.solve(of_known, across.swapaxes(-1, -2)).swapaxes(-1, -2)
        mean = loc[:, rest] + (gain @ (x - loc[:, known])[..., None])[..., 0]
        left = covariance[:, rest][:, :, rest] - gain @ across.swapaxes(-1, -2)
        return mean, np.linalg.cholesky(left)

    yield Row("condition (1000, 8) by 3", "numpy", lambda: mvn.condition(known, x), recipe, 5, 10)
    arms, zero, u = covariances(1000, dim=16), np.zeros((1000, 16)), numbers(1000, 16)
    for name in ("precision_matrix", "covariance_matrix"):
        before = fd.MultivariateNormal(zero, **{name: arms})

        def one_anew(name: str = name) -> object:
            matrix = arms.copy()
            matrix[7] += np.outer(u[7], u[7])
            return fd.MultivariateNormal(zero, **{name: matrix})

        def all_anew(name: str = name) -> object:
            return fd.MultivariateNormal(zero, **{name: arms + u[:, :, None] * u[:, None, :]})

        yield Row(
            f"rank_update of one of 1000, {name}", "a rebuild",
            lambda before=before: before.rank_update(u[7], index=7), one_anew, 2, 5,
        )  # fmt: skip
        yield Row(
            f"rank_update of all of 1000, {name}", "a rebuild",
            lambda before=before: before.rank_update(u), all_anew, 3, 6,
        )  # fmt: skip


def steps() -> Iterator[Row]:
    for shape, musts in (
        (
            (64, 6),
            {"tanh": (15, 30), "act": (20, 20), "policy": (25, 25), "vae": (15, 15), "joint": (25, 25)},
        ),
        ((1024, 6), {"tanh": (8, 15), "act": (8, 8), "policy": (12, 12), "vae": (10, 10), "joint": (15, 15)}),
        ((256, 64), {"vae": (10, 10), "joint": (15, 22)}),
    ):
        loc, scale = numbers(*shape), np.exp(numbers(*shape, seed=1) / 4)
        leaves = [tensor(array).requires_grad_() for array in (loc, scale)]
        zero, one, g = np.zeros(shape[-1]), np.ones(shape[-1]), fd.default_rng(0)
        prior, its_prior = fd.Independent(fd.Normal(zero, one), 1), None
        its_prior = td.Independent(td.Normal(tensor(zero), tensor(one), validate_args=False), 1)
        of_x, of_kl = np.ones(shape), np.ones(shape[0])

        base = fd.Independent(fd.Normal(loc, scale), 1)
        squashed = fd.TransformedDistribution(base, fd.transforms.TanhTransform())
        its_base = td.Independent(td.Normal(tensor(loc), tensor(scale), validate_args=False), 1)
        its_squashed = td.TransformedDistribution(
            its_base, td.TanhTransform(cache_size=1), validate_args=False
        )

        def tanh(d=squashed, g=g) -> object:
            return d.sample_and_log_prob(rng=g)

        def its_tanh(d=its_squashed) -> object:
            x = d.sample()
            return x, d.log_prob(x)

        def policy(loc=loc, scale=scale, g=g) -> object:
            return fd.Independent(fd.Normal(loc, scale), 1).sample_and_log_prob(rng=g)

        def act(loc=loc, scale=scale, g=g) -> object:
            d = fd.Independent(fd.Normal(loc, scale), 1)
            x = d.sample(rng=g)
            return x, d.log_prob(x)

        def its_act(loc=tensor(loc), scale=tensor(scale)) -> object:
            d = td.Independent(td.Normal(loc, scale, validate_args=False), 1, validate_args=False)
            x = d.sample()
            return x, d.log_prob(x)

        def joint(loc=loc, scale=scale, g=g, prior=prior, cotangents=(of_x, of_kl)) -> object:
            d = fd.Independent(fd.Normal(loc, scale), 1)
            _, pullback = fd.vjp(d.rsample_and_kl, prior, rng=g)
            return pullback(cotangents)

        def vae(loc=loc, scale=scale, g=g, prior=prior, of_x=of_x, of_kl=of_kl) -> object:
            d = fd.Independent(fd.Normal(loc, scale), 1)
            _, by_draw = fd.vjp(d.rsample, rng=g)
            _, by_kl = fd.vjp(fd.kl_divergence, d, prior)
            a, b = by_draw(of_x), by_kl(of_kl)["p"]
            return a["loc"] + b["loc"], a["scale"] + b["scale"]

        def its_vae(leaves=leaves, prior=its_prior, cotangents=(tensor(of_x), tensor(of_kl))) -> object:
            d = td.Independent(td.Normal(*leaves, validate_args=False), 1, validate_args=False)
            return torch.autograd.grad((d.rsample(), td.kl_divergence(d, prior)), leaves, cotangents)

        pairs = {
            "tanh": ("Tanh of Gaussian: sample_and_log_prob", tanh, its_tanh),
            "policy": ("policy: build, sample_and_log_prob", policy, its_act),
            "act": ("policy: build, act, score", act, its_act),
            "joint": ("VAE step by rsample_and_kl", joint, its_vae),
            "vae": ("VAE step by two vjps", vae, its_vae),
        }
        for key, (must, aim) in musts.items():
            title, ours, theirs = pairs[key]
            yield Row(f"{title}, {shape}", "torch", ours, theirs, must, aim)


def fresh() -> Iterator[Row]:
    """Particles whose matrices are new in each step; one large covariance."""
    for dim in (2, 4, 6):
        loc, covariance, x, g = (
            numbers(10_000, dim),
            covariances(10_000, dim=dim),
            numbers(10_000, dim),
            fd.default_rng(0),
        )

        def particles(loc=loc, covariance=covariance, x=x, g=g) -> object:
            d = fd.MultivariateNormal(loc, covariance_matrix=covariance)
            return d.sample(rng=g), d.log_prob(x)

        def its(loc=tensor(loc), covariance=tensor(covariance), x=tensor(x)) -> object:
            d = td.MultivariateNormal(loc, covariance, validate_args=False)
            return d.sample(), d.log_prob(x)

        def recipe(loc=loc, covariance=covariance, x=x, dim=dim, g=np.random.default_rng(0)) -> object:
            tril = np.linalg.cholesky(covariance)
            drawn = loc + (tril @ g.standard_normal((10_000, dim))[..., None])[..., 0]
            z = np.linalg.solve(tril, (x - loc)[..., None])[..., 0]
            log_det = np.log(np.diagonal(tril, axis1=-2, axis2=-1)).sum(-1)
            return drawn, -0.5 * np.square(z).sum(-1) - log_det - dim / 2 * np.log(2 * np.pi)

        yield Row(f"particle step, 10000, d = {dim}", "torch", particles, its, 5, 10)
        yield Row(f"particle step, 10000, d = {dim}", "numpy", particles, recipe, 3, 3)
    for dim in (64, 500, 1000):
        loc, covariance, x, g = numbers(dim), covariances(dim=dim), numbers(dim, seed=2), fd.default_rng(0)

        def process(loc=loc, covariance=covariance, x=x, g=g) -> object:
            d = fd.MultivariateNormal(loc, covariance_matrix=covariance)
            return d.log_prob(x), d.sample(rng=g)

        def its(loc=tensor(loc), covariance=tensor(covariance), x=tensor(x)) -> object:
            d = td.MultivariateNormal(loc, covariance, validate_args=False)
            return d.log_prob(x), d.sample()

        matrix = tensor(covariance)
        yield Row(
            f"MultivariateNormal() by one covariance, d = {dim}", "torch.linalg.cholesky",
            lambda loc=loc, covariance=covariance: fd.MultivariateNormal(loc, covariance_matrix=covariance),
            lambda matrix=matrix: torch.linalg.cholesky(matrix), 1, 1.3,
        )  # fmt: skip
        yield Row(f"Gaussian process step, d = {dim}", "torch", process, its, 1.2 if dim == 64 else 1, 1.25)
        yield Row(
            f"Gaussian process step, d = {dim}", "scipy", process,
            lambda loc=loc, covariance=covariance, x=x: logpdf(x, loc, covariance), 8, 8,
        )  # fmt: skip


def cdfs() -> Iterator[Row]:
    x, p = 3 * numbers(MILLION), np.random.default_rng(1).random(MILLION)
    standard = fd.Normal(0.0, 1.0)
    for name, function, value, must in (
        ("cdf", scipy.special.ndtr, x, 1.5),
        ("log_cdf", scipy.special.log_ndtr, x, 1.5),
        ("icdf", scipy.special.ndtri, p, 1.2),
    ):
        out = np.empty(MILLION)
        yield Row(
            f"Normal.{name}, 1M, float64", "scipy",
            lambda name=name, value=value, out=out: getattr(standard, name)(value, out=out),
            lambda function=function, value=value, out=out: function(value, out=out), must, must,
        )  # fmt: skip
    single = fd.Normal(np.float32(0), np.float32(1))
    its = td.Normal(torch.zeros(()), torch.ones(()), validate_args=False)
    for name, function, value in (
        ("cdf", its.cdf, x), ("log_cdf", torch.special.log_ndtr, x), ("icdf", its.icdf, p),
    ):  # fmt: skip
        narrow, out = value.astype(np.float32), np.empty(MILLION, np.float32)
        yield Row(
            f"Normal.{name}, 1M, float32", "torch",
            lambda name=name, narrow=narrow, out=out: getattr(single, name)(narrow, out=out),
            lambda function=function, narrow=tensor(narrow): function(narrow), 0.67, 0.67,
        )  # fmt: skip


def own_factors() -> Iterator[Row]:
    for dim, must in ((6, 5), (10, 5), (20, 5), (32, 5), (50, 3), (100, 3)):
        n = max(20, 200_000 // dim**2)
        loc, covariance, x = numbers(n, dim), covariances(n, dim=dim), numbers(n, dim, seed=2)
        ours, g = fd.MultivariateNormal(loc, covariance_matrix=covariance), fd.default_rng(0)
        theirs = td.MultivariateNormal(tensor(loc), tensor(covariance), validate_args=False)
        value = tensor(x)
        yield Row(
            f"MultivariateNormal.log_prob, ({n}, {dim}), own factors", "torch",
            lambda ours=ours, x=x: ours.log_prob(x),
            lambda theirs=theirs, value=value: theirs.log_prob(value), must, must,
        )  # fmt: skip
        yield Row(
            f"MultivariateNormal.sample, ({n}, {dim}), own factors", "torch",
            lambda ours=ours, g=g: ours.sample(rng=g), lambda theirs=theirs: theirs.sample(), must, must,
        )  # fmt: skip


GROUPS = (draws, mixtures, algebra, steps, fresh, cdfs, own_factors)


def main() -> None:
    options = parse(__doc__)
    torch.set_num_threads(1)
    print(f"{'How many times as long peers take':58}{'peer':>22}{'ratio':>8}{'must':>7}{'aim':>6}")
    for rows in GROUPS:
        for row in rows():
            if options.only in row.title:
                calls = {"ours": Statement("f()", f=row.ours), "theirs": Statement("f()", f=row.theirs)}
                ours, theirs = measure(calls, options.rounds).values()
                ratio = np.nanmedian(theirs / ours)
                print(f"{row.title:58}{row.peer:>22}{ratio:8.1f}{row.must:7g}{row.aim:6g}", flush=True)


if __name__ == "__main__":
    main()
