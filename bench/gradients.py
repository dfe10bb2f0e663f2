"""How many times as long torch's autograd takes: `python bench/gradients.py [--only WORD] [--rounds N]`.

Each case is what a training step does: build the distribution, take the value, pull a cotangent back to
the parameters. Timed as run.py does it; 2.0 means that torch takes twice as long. Arrays come and go as in
a process that has freed larger ones before: from then on the C library keeps their memory, and pages are
not faulted in anew at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import one_core

one_core.settle()  # before NumPy and torch load

import numpy as np
import torch
from harness import Statement, measure, parse, quartiles
from torch import distributions as td

import fastdist as fd

Function = Callable[[], object]
Case = tuple[str, Function, Function]  # title, fastdist's, torch's
DTYPES = (np.float64, np.float32)
# The ratio that must be and the one aimed at, by title.
WANTED: dict[str, tuple[object, object]] = {
    "mvn rsample  100 x (64,) d=32  scale_tril": (50, 90),
    "mvn rsample  100 x (64,) d=32  covariance_matrix": (40, ""),
    "vae step  (256, 64)  float64": (8, 15),
    "vae step  (256, 64)  float32": (8, 15),
}


def leaf(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.copy()).requires_grad_()


def normals(g: np.random.Generator, shape: tuple[int, ...], dtype: type) -> dict[str, np.ndarray]:
    return {"loc": g.normal(size=shape).astype(dtype), "scale": g.uniform(0.5, 2, shape).astype(dtype)}


def vectors(g: np.random.Generator, batch: int, dim: int, name: str) -> dict[str, np.ndarray]:
    a = g.standard_normal((batch, dim, 2 * dim))
    covariance = a @ a.swapaxes(-1, -2) / dim
    inverse = np.linalg.inv(covariance)
    matrix = {
        "covariance_matrix": covariance,
        "precision_matrix": (inverse + inverse.swapaxes(-1, -2)) / 2,
        "scale_tril": np.linalg.cholesky(covariance),
    }[name]
    return {"loc": g.normal(size=(batch, dim)), name: matrix}


def draws(g: np.random.Generator) -> Iterator[Case]:
    """rsample and its pullback."""
    sizes = [(64, 32, 100), (256, 8, 100), (1, 2, 10_000), (4, 128, 100), (3, 2, 1)]
    for batch, dim, samples in sizes:
        for name in ("scale_tril", "covariance_matrix", "precision_matrix")[: 1 if samples == 1 else 3]:
            arrays = vectors(g, batch, dim, name)
            c = g.normal(size=(samples, batch, dim))
            leaves, their_c = {key: leaf(one) for key, one in arrays.items()}, torch.from_numpy(c)

            def ours(arrays=arrays, n=samples, c=c):
                _, pullback = fd.vjp(fd.MultivariateNormal(**arrays).rsample, (n,))
                return pullback(c)

            def theirs(leaves=leaves, n=samples, c=their_c):
                x = td.MultivariateNormal(**leaves).rsample((n,))
                return torch.autograd.grad(x, list(leaves.values()), c)

            yield f"mvn rsample  {samples} x ({batch},) d={dim}  {name}", ours, theirs


def vae_steps(g: np.random.Generator) -> Iterator[Case]:
    """A latent draw, its divergence from the prior, and both gradients."""
    for dtype in DTYPES:
        arrays = normals(g, (256, 64), dtype)
        leaves = [leaf(one) for one in arrays.values()]
        c, many, loc, scale = (np.ones(shape, dtype) for shape in ((256, 64), 256, 64, 64))
        loc[:] = 0
        their_c, their_many, *their_prior = (torch.from_numpy(one) for one in (c, many, loc, scale))

        def ours(arrays=arrays, c=c, many=many, loc=loc, scale=scale):
            q, prior = fd.Independent(fd.Normal(**arrays), 1), fd.Independent(fd.Normal(loc, scale), 1)
            _, pull_draw = fd.vjp(q.rsample)
            _, pull_kl = fd.vjp(fd.kl_divergence, q, prior)
            total, more = pull_draw(c), pull_kl(many)["p"]
            for name in total:
                total[name] += more[name]
            return total

        def theirs(leaves=leaves, c=their_c, many=their_many, their_prior=their_prior):
            q, prior = td.Independent(td.Normal(*leaves), 1), td.Independent(td.Normal(*their_prior), 1)
            return torch.autograd.grad((q.rsample(), td.kl_divergence(q, prior)), leaves, (c, many))

        yield f"vae step  (256, 64)  {np.dtype(dtype).name}", ours, theirs


def densities(g: np.random.Generator) -> Iterator[Case]:
    """log_prob and its pullback: a policy's actions, a large batch of scalars, vectors."""
    for shape in ((3, 2), (256, 64), (1000, 1000)):
        arrays, value = normals(g, shape, np.float64), g.normal(size=shape)
        leaves, their_value, c = (
            [leaf(one) for one in arrays.values()],
            torch.from_numpy(value),
            np.ones(shape[0]),
        )

        def ours(arrays=arrays, value=value, c=c):
            _, pullback = fd.vjp(fd.Independent(fd.Normal(**arrays), 1).log_prob, value)
            return pullback(c)

        def theirs(leaves=leaves, value=their_value):
            out = td.Independent(td.Normal(*leaves), 1).log_prob(value)
            return torch.autograd.grad(out.sum(), leaves)

        yield f"normal log_prob  {shape}", ours, theirs
    for batch, dim, samples in ((64, 32, 100), (256, 8, 100), (1000, 8, 1)):
        arrays = vectors(g, batch, dim, "scale_tril")
        value, c = g.normal(size=(samples, batch, dim)), np.ones((samples, batch))
        leaves, their_value = [leaf(one) for one in arrays.values()], torch.from_numpy(value)

        def ours(arrays=arrays, value=value, c=c):
            _, pullback = fd.vjp(fd.MultivariateNormal(**arrays).log_prob, value)
            return pullback(c)

        def theirs(leaves=leaves, value=their_value):
            out = td.MultivariateNormal(leaves[0], scale_tril=leaves[1]).log_prob(value)
            return torch.autograd.grad(out.sum(), leaves)

        yield f"mvn log_prob  {samples} x ({batch},) d={dim}", ours, theirs


def main() -> None:
    options = parse(__doc__)
    torch.set_num_threads(1)
    np.empty(2**21)  # 16 MB, freed at once: from here on malloc keeps smaller blocks
    g = np.random.default_rng(0)
    print(f"{'How many times as long torch takes, value and gradients':56}{'ratio':>8}{'must':>7}{'aim':>6}")
    for cases in (draws, vae_steps, densities):
        for title, ours, theirs in cases(g):
            if options.only in title:
                statements = {"fastdist": Statement("f()", f=ours), "torch": Statement("f()", f=theirs)}
                times = measure(statements, options.rounds)
                ratio = quartiles(times["torch"] / times["fastdist"])[1]
                must, aim = WANTED.get(title, ("", ""))
                print(f"{title:56}{ratio:8.1f}{must:>7}{aim:>6}", flush=True)


if __name__ == "__main__":
    main()
