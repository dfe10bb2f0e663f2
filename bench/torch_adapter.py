"""How many times as long torch.distributions takes than fastdist.torch for its part of a training step:
`python bench/torch_adapter.py [--only WORD] [--rounds N]`.

Both run the same lines, with another import: build distributions, draw, take the loss, pull gradients
back to leaves. Of the rest of a model there is only the gradient for the draw, a tensor that is there
already. Ratios of CPU times in one process on one core, medians over alternating rounds; 2.0 means
that torch takes twice as long. Arrays come and go as in a process that has freed larger ones before:
from then on the C library keeps their memory, and pages are not faulted in anew at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import one_core

one_core.settle()  # before NumPy and torch load

import numpy as np
import torch
from harness import Statement, measure, parse
from torch import distributions as td

import fastdist.torch as fdt

Step = Callable[[Any], object]  # of the module with the distributions
Case = tuple[str, Step, float, float]  # title, step, the ratio that must be, the one aimed at


def leaf(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.clone().requires_grad_()


def matrices(name: str, batch: int, dim: int) -> torch.Tensor:
    a = torch.randn(batch, dim, 2 * dim, dtype=torch.float64)
    covariance = a @ a.mT / dim
    if name == "covariance_matrix":
        return covariance
    return torch.linalg.cholesky(covariance) if name == "scale_tril" else torch.linalg.inv(covariance)


def vectors() -> Iterator[Case]:
    """Draws of vectors, with their divergence from a prior or with their densities."""
    for batch, dim, samples, must, aim in [(64, 32, 100, 20, 40), (256, 8, 100, 5, 10), (3, 2, 1, 1, 2)]:
        for name in ("scale_tril", "covariance_matrix", "precision_matrix"):
            loc = leaf(torch.randn(batch, dim, dtype=torch.float64))
            matrix = leaf(matrices(name, batch, dim))
            zeros, eye = torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64)
            c = torch.randn(samples, batch, dim, dtype=torch.float64)

            def with_kl(
                d: Any, loc=loc, matrix=matrix, name=name, n=samples, c=c, zeros=zeros, eye=eye
            ) -> object:
                q = d.MultivariateNormal(loc, **{name: matrix})
                prior = d.MultivariateNormal(zeros, scale_tril=eye)
                loss = d.kl_divergence(q, prior).mean()
                return torch.autograd.grad((q.rsample((n,)), loss), (loc, matrix), (c, None))

            def with_log_prob(d: Any, loc=loc, matrix=matrix, name=name, n=samples, c=c) -> object:
                q = d.MultivariateNormal(loc, **{name: matrix})
                x = q.rsample((n,))
                return torch.autograd.grad((x, q.log_prob(x).mean()), (loc, matrix), (c, None))

            shape = f"{samples} x ({batch},) d={dim}  {name}"
            yield f"mvn rsample + kl        {shape}", with_kl, must, aim
            yield f"mvn rsample + log_prob  {shape}", with_log_prob, must, aim


def scalars() -> Iterator[Case]:
    """A latent variable's draw and divergence; an action and its density."""
    for shape in ((3, 2), (256, 64), (1000, 1000)):
        for dtype in (torch.float64, torch.float32):
            loc, scale = leaf(torch.randn(shape, dtype=dtype)), leaf(torch.rand(shape, dtype=dtype) + 0.5)
            zeros, ones = torch.zeros(shape, dtype=dtype), torch.ones(shape, dtype=dtype)
            c = torch.randn(shape, dtype=dtype)

            def with_kl(d: Any, loc=loc, scale=scale, c=c, zeros=zeros, ones=ones) -> object:
                q, prior = d.Independent(d.Normal(loc, scale), 1), d.Independent(d.Normal(zeros, ones), 1)
                loss = d.kl_divergence(q, prior).mean()
                return torch.autograd.grad((q.rsample(), loss), (loc, scale), (c, None))

            def with_score(d: Any, loc=loc, scale=scale) -> object:
                q = d.Independent(d.Normal(loc, scale), 1)
                return torch.autograd.grad(q.log_prob(q.sample()).mean(), (loc, scale))

            def with_log_prob(d: Any, loc=loc, scale=scale, c=c) -> object:
                q = d.Normal(loc, scale)
                x = q.rsample()
                return torch.autograd.grad((x, q.log_prob(x).mean()), (loc, scale), (c, None))

            end = f"{shape}  {str(dtype).removeprefix('torch.')}"
            yield f"independent normal rsample + kl       {end}", with_kl, 1, 3
            yield f"independent normal sample + log_prob  {end}", with_score, 1, 2
            yield f"normal rsample + log_prob             {end}", with_log_prob, 1, 2


def policies() -> Iterator[Case]:
    """Steps of PPO and SAC, the policy's part of them, and of a VAE: events in float32 and float64."""
    for shape in ((64, 6), (1024, 6), (256, 64)):
        for dtype in (torch.float32, torch.float64):
            loc, scale = leaf(torch.randn(shape, dtype=dtype)), leaf(torch.rand(shape, dtype=dtype) + 0.5)
            action, c = torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype)
            zeros, ones = torch.zeros(shape, dtype=dtype), torch.ones(shape, dtype=dtype)

            def ppo(d: Any, loc=loc, scale=scale, action=action) -> object:
                q = d.Independent(d.Normal(loc, scale), 1)
                return torch.autograd.grad(q.log_prob(action).mean() + q.entropy().mean(), (loc, scale))

            def sac(d: Any, loc=loc, scale=scale, c=c) -> object:
                q = d.TransformedDistribution(
                    d.Independent(d.Normal(loc, scale), 1), [d.TanhTransform(cache_size=1)]
                )
                x = q.rsample()
                return torch.autograd.grad((x, q.log_prob(x).mean()), (loc, scale), (c, None))

            def joint(d: Any, loc=loc, scale=scale, c=c) -> object:
                q = d.TransformedDistribution(
                    d.Independent(d.Normal(loc, scale), 1), [d.TanhTransform(cache_size=1)]
                )
                if d is fdt:
                    x, log_prob = q.sample_and_log_prob()
                else:
                    x = q.rsample()
                    log_prob = q.log_prob(x)
                return torch.autograd.grad((x, log_prob.mean()), (loc, scale), (c, None))

            def vae(d: Any, loc=loc, scale=scale, c=c, zeros=zeros, ones=ones) -> object:
                q, prior = d.Independent(d.Normal(loc, scale), 1), d.Independent(d.Normal(zeros, ones), 1)
                loss = d.kl_divergence(q, prior).mean()
                return torch.autograd.grad((q.rsample(), loss), (loc, scale), (c, None))

            end = f"{shape}  {str(dtype).removeprefix('torch.')}"
            yield f"ppo: log_prob + entropy  {end}", ppo, 1.2, 1.5
            yield f"sac: tanh rsample + log_prob  {end}", sac, 1.1, 1.3
            yield f"sac: tanh sample_and_log_prob  {end}", joint, 1.1, 1.3
            yield f"vae: rsample + kl  {end}", vae, 1.3, 1.7


def main() -> None:
    options = parse(__doc__)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.empty(2**21)  # 16 MB, freed at once: from here on malloc keeps smaller blocks
    print(f"{'How many times as long torch takes':64}{'ratio':>8}{'must':>7}{'aim':>6}")
    for cases in (vectors, scalars, policies):
        for title, step, must, aim in cases():
            if options.only in title:
                statements = {d.__name__: Statement("step(d)", step=step, d=d) for d in (fdt, td)}
                ours, theirs = measure(statements, options.rounds).values()
                print(f"{title:64}{np.nanmedian(theirs / ours):8.1f}{must:7g}{aim:6g}", flush=True)


if __name__ == "__main__":
    main()
