"""Divergences of the distributions here, registered with torch's `kl_divergence`.

Of a pair that torch has no rule for, Independent(Normal) and MultivariateNormal, too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributions as td
from torch.distributions import kl

import fastdist as fd
from fastdist._params import Real
from fastdist.distributions import gradients
from fastdist.torch._gaussian import Gaussian, by_name
from fastdist.torch._kernel import differentiable, needs_gradients, usable
from fastdist.torch.independent import Independent
from fastdist.torch.multivariate_normal import MultivariateNormal
from fastdist.torch.normal import Normal


@td.register_kl(Normal, Normal)
@td.register_kl(MultivariateNormal, MultivariateNormal)
@td.register_kl(Independent, Independent)
@td.register_kl(Independent, MultivariateNormal)
@td.register_kl(MultivariateNormal, Independent)
def _kl(p: Gaussian, q: Gaussian) -> Tensor:
    of_p, of_q = p._tensors(), q._tensors()
    if of_p is None or of_q is None or not usable(*of_p, *of_q):
        return _kl_by_torch(p, q)
    core_p, core_q = p._core(), q._core()
    try:
        value = fd.kl_divergence(core_p, core_q)
    except (ValueError, NotImplementedError):
        return _kl_by_torch(p, q)
    tensors, n = (*of_p, *of_q), len(of_p)
    if not needs_gradients(*tensors):
        return torch.from_numpy(value)

    def pull(g: Real) -> Any:
        by_p, by_q = gradients._pull_of_kl(core_p, core_q)(g)
        return *by_name(by_p, p._names()), *by_name(by_q, q._names())

    def formula(*tensors: Tensor) -> Tensor:
        return td.kl_divergence(_dense(p._as_torch(*tensors[:n]), q), _dense(q._as_torch(*tensors[n:]), p))

    return differentiable(value, pull, formula, tensors)


def _dense(d: td.Distribution, other: Gaussian) -> td.Distribution:
    """torch's distribution as a MultivariateNormal if it is Independent, and `other` is none."""
    if isinstance(d, td.Independent) and isinstance(other, MultivariateNormal):
        return td.MultivariateNormal(d.mean, scale_tril=torch.diag_embed(d.stddev), validate_args=False)
    return d


def _kl_by_torch(p: Any, q: Any) -> Tensor:
    """By torch's rule for what these are subclasses of."""
    rules: dict[tuple[type, type], Any] = kl._KL_REGISTRY
    for cls in (td.Normal, td.MultivariateNormal, td.Independent):
        if isinstance(p, cls) and isinstance(q, cls):
            result: Tensor = rules[cls, cls](p, q)
            return result
    raise NotImplementedError(f"no KL divergence is registered for {p!r} and {q!r} on these tensors")
