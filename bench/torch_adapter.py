"""How many times as long torch.distributions takes in a training step that fastdist.torch takes:
`python bench/torch_adapter.py [--only WORD] [--rounds N]`.

Both run the same lines, with another import: build the distribution, draw, take the loss, pull it back to
leaves. Ratios of times in one process on one thread, medians over alternating rounds; 2.0 means that
torch takes twice as long. Arrays come and go as in a process that has freed larger ones before.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from typing import Any

# Before NumPy and torch load: one thread each.
os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np
import torch
from harness import compare
from torch import distributions as td

import fastdist.torch as fdt

Step = Callable[[Any], object]  # of a module with the distributions
Case = tuple[str, Step, float, float]  # title, step, what must be, what is aimed at


def leaf(array: torch.Tensor) -> torch.Tensor:
    return array.clone().requires_grad_()


def matrix_of(name: str, batch: int, dim: int) -> torch.Tensor:
    a = torch.randn(batch, dim, 2 * dim, dtype=torch.float64)
    covariance = a @ a.mT / dim
    if name == "covariance_matrix":
        return covariance
    return torch.linalg.cholesky(covariance) if name == "scale_tril" else torch.linalg.inv(covariance)


def vectors() -> Iterator[Case]:
    """Draws of vectors, with their divergence from a prior or their densities."""
    sizes = [(64, 32, 100, 20, 40), (256, 8, 100, 5, 20), (3, 2, 1, 1, 2)]
    for batch, dim, samples, must, aim in sizes:
        for name in ("scale_tril", "covariance_matrix", "precision_matrix"):
            loc = leaf(torch.randn(batch, dim, dtype=torch.float64))
            matrix = leaf(matrix_of(name, batch, dim))
            eye = torch.eye(dim, dtype=torch.float64)
            zeros = torch.zeros(dim, dtype=torch.float64)

            def with_kl(d: Any, loc=loc, matrix=matrix, name=name, n=samples, zeros=zeros, eye=eye) -> object:
                q = d.MultivariateNormal(loc, **{name: matrix})
                prior = d.MultivariateNormal(zeros, scale_tril=eye)
                loss = q.rsample((n,)).square().mean() + d.kl_divergence(q, prior).mean()
                return torch.autograd.grad(loss, (loc, matrix))

            def with_log_prob(d: Any, loc=loc, matrix=matrix, name=name, n=samples) -> object:
                q = d.MultivariateNormal(loc, **{name: matrix})
                x = q.rsample((n,))
                return torch.autograd.grad(q.log_prob(x).mean() + x.square().mean(), (loc, matrix))

            shape = f"{samples} x ({batch},) d={dim}  {name}"
            yield f"mvn rsample + kl        {shape}", with_kl, must, aim
            yield f"mvn rsample + log_prob  {shape}", with_log_prob, must / 2, aim / 2


def scalars() -> Iterator[Case]:
    """A latent variable's draw and divergence, an action and its density."""
    for shape in ((3, 2), (256, 64), (1000, 1000)):
        for dtype in (torch.float64, torch.float32):
            loc, scale = leaf(torch.randn(shape, dtype=dtype)), leaf(torch.rand(shape, dtype=dtype) + 0.5)
            zeros, ones = torch.zeros(shape[1], dtype=dtype), torch.ones(shape[1], dtype=dtype)

            def with_kl(d: Any, loc=loc, scale=scale, zeros=zeros, ones=ones) -> object:
                q, prior = d.Independent(d.Normal(loc, scale), 1), d.Independent(d.Normal(zeros, ones), 1)
                loss = q.rsample().square().mean() + d.kl_divergence(q, prior.expand(q.batch_shape)).mean()
                return torch.autograd.grad(loss, (loc, scale))

            def with_log_prob(d: Any, loc=loc, scale=scale) -> object:
                q = d.Independent(d.Normal(loc, scale), 1)
                return torch.autograd.grad(q.log_prob(q.sample()).mean(), (loc, scale))

            def with_both(d: Any, loc=loc, scale=scale) -> object:
                q = d.Normal(loc, scale)
                x = q.rsample()
                return torch.autograd.grad(q.log_prob(x).mean() + x.square().mean(), (loc, scale))

            end = f"{shape}  {str(dtype).removeprefix('torch.')}"
            yield f"normal rsample + kl        {end}", with_kl, 1, 3
            yield f"normal sample + log_prob   {end}", with_log_prob, 1, 2
            yield f"normal rsample + log_prob  {end}", with_both, 1, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--only", default="", help="cases whose title has this in it")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    np.empty(2**21)  # 16 MB, freed at once: from here on malloc keeps smaller blocks
    print(f"{'How many times as long torch takes, draws, losses and gradients':68}{'ratio':>8}{'must':>6}{'aim':>5}")
    for cases in (vectors, scalars):
        for title, step, must, aim in cases():
            if options.only in title:
                times = {"fastdist": lambda step=step: step(fdt), "torch": lambda step=step: step(td)}
                print(f"{title:68}{compare(times, options.rounds)['torch']:8.1f}{must:6g}{aim:5g}", flush=True)


if __name__ == "__main__":
    main()
