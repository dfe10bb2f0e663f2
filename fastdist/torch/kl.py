"""Divergences of the distributions here, registered with torch's `kl_divergence`.

Of Independent(Normal) and MultivariateNormal, too, for which torch has no rule.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributions as td
from torch.distributions.kl import _KL_REGISTRY, _dispatch_kl, kl_divergence, register_kl
from torch.distributions.utils import _sum_rightmost

from fastdist import _params, _shapes
from fastdist._kernels import bridge
from fastdist._params import Real
from fastdist.distributions import gradients, kl
from fastdist.torch._gaussian import Gaussian, by_name
from fastdist.torch._kernel import Formula, differentiable, needs_gradients, usable
from fastdist.torch.independent import Independent
from fastdist.torch.multivariate_normal import MultivariateNormal
from fastdist.torch.normal import Normal

__all__ = ["kl_divergence", "register_kl"]  # as torch.distributions.kl has them


@td.register_kl(MultivariateNormal, MultivariateNormal)
@td.register_kl(Independent, MultivariateNormal)
@td.register_kl(MultivariateNormal, Independent)
def _kl(p: Gaussian, q: Gaussian) -> Tensor:
    of_p, of_q = p._tensors(), q._tensors()
    if of_p is None or of_q is None or not usable(*of_p, *of_q):
        return _kl_by_torch(p, q)
    core_p, core_q = p._core(), q._core()
    try:
        value = kl.kl_divergence(core_p, core_q)
    except (ValueError, NotImplementedError):
        return _kl_by_torch(p, q)
    tensors = (*of_p, *of_q)
    if not needs_gradients(*tensors):
        return torch.from_numpy(value)

    # A prior mostly has no gradients.
    q_needs = needs_gradients(*of_q)

    def pull(g: Real) -> Any:
        rule = gradients.rule_of_kl(core_p, core_q)
        if not q_needs and rule is gradients.vjp_kl_vectors:
            by_p, by_q = rule(core_p, core_q, of_p_alone=True)(g)
        else:
            by_p, by_q = rule(core_p, core_q)(g)
        return *by_name(by_p, p._names()), *(by_name(by_q, q._names()) if by_q else (None,) * len(of_q))

    return differentiable(value, pull, _formula(p, q, len(of_p)), tensors)


@td.register_kl(Independent, Independent)
def _kl_independent(p: Independent, q: Independent) -> Tensor:
    n, of_p, of_q = p.reinterpreted_batch_ndims, p.base_dist, q.base_dist
    if n == q.reinterpreted_batch_ndims and p.event_shape == q.event_shape and _of_normals(of_p, of_q):
        result: Tensor = _kl_normal(of_p, of_q, n)
        return result
    return _kl_by_torch(p, q)  # of the bases


def _of_normals(p: td.Distribution, q: td.Distribution) -> bool:
    """Whether their divergence is that of normals: a subclass may have one of its own."""
    if type(p) is type(q) is Normal:
        return True
    return isinstance(p, Normal) and isinstance(q, Normal) and _dispatch_kl(type(p), type(q)) is _kl_normal


@td.register_kl(Normal, Normal)
def _kl_normal(p: Normal, q: Normal, n: int = 0) -> Tensor:
    """Summed over `n` dims as they are made; `vjp`'s rule but for its copies."""
    tensors = (*p._tensors(), *q._tensors())
    if not usable(*tensors):
        return _kl_by_torch(p, q, n)
    core_p, core_q = p._core(), q._core()
    try:
        shape = _shapes.broadcast_shapes(p=core_p._batch_shape, q=core_q._batch_shape)
    except ValueError:
        return _kl_by_torch(p, q, n)
    cut = len(shape) - n
    tail = shape[cut:]
    value = _params.filled(kl._kl_of_normals(core_p, core_q, tail), shape[:cut])
    if not needs_gradients(*tensors):
        return torch.from_numpy(value)
    operands = [core._arrays[name] for core in (core_p, core_q) for name in ("loc", "scale")]

    def pull(g: Real) -> list[Real]:
        found = [gradients._new(g, t.shape) for t in tensors]
        bridge.pull_normal_kl(*[*found, gradients._expanded(g, tail), *operands])
        return found

    formula = _formula(p, q, 2)
    return differentiable(value, pull, lambda *tensors: _sum_rightmost(formula(*tensors), n), tensors)


def _formula(p: Gaussian, q: Gaussian, n: int) -> Formula:
    """The divergence of torch's distributions in their place, p's of the first `n` tensors."""

    def formula(*tensors: Tensor) -> Tensor:
        return td.kl_divergence(_dense(p._as_torch(*tensors[:n]), q), _dense(q._as_torch(*tensors[n:]), p))

    return formula


def _dense(d: td.Distribution, other: Gaussian) -> td.Distribution:
    """A distribution of torch's as a MultivariateNormal if `other` is one."""
    if isinstance(d, td.Independent) and isinstance(other, MultivariateNormal):
        return td.MultivariateNormal(d.mean, scale_tril=torch.diag_embed(d.stddev), validate_args=False)
    return d


def _kl_by_torch(p: Any, q: Any, n: int = 0) -> Tensor:
    """By torch's rule for the classes that these are subclasses of, summed over `n` dims."""
    rules: dict[tuple[type, type], Any] = _KL_REGISTRY
    for cls in (td.Normal, td.MultivariateNormal, td.Independent):
        if isinstance(p, cls) and isinstance(q, cls):
            result: Tensor = _sum_rightmost(rules[cls, cls](p, q), n)
            return result
    raise NotImplementedError(f"no KL divergence is registered for {p!r} and {q!r} of such tensors")
