"""Divergences of the distributions here, registered with torch's `kl_divergence`.

Of Independent(Normal) and MultivariateNormal, too, for which torch has no rule: also where one of the two
is torch's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions import Independent as TorchIndependent
from torch.distributions import LowRankMultivariateNormal as TorchLowRank
from torch.distributions import MultivariateNormal as TorchMultivariateNormal
from torch.distributions import Normal as TorchNormal
from torch.distributions.kl import (
    _dispatch_kl,
    _kl_bernoulli_bernoulli,
    _kl_categorical_categorical,
    kl_divergence,
    register_kl,
)
from torch.distributions.kl import _kl_independent_independent as _kl_of_bases
from torch.distributions.kl import (
    _kl_lowrankmultivariatenormal_lowrankmultivariatenormal as _kl_low_rank,
)
from torch.distributions.kl import (
    _kl_lowrankmultivariatenormal_multivariatenormal as _kl_low_rank_vectors,
)
from torch.distributions.kl import (
    _kl_multivariatenormal_lowrankmultivariatenormal as _kl_vectors_low_rank,
)
from torch.distributions.utils import _sum_rightmost

import fastdist.distributions as fd
from fastdist import _params, _shapes
from fastdist._kernels import pullbacks
from fastdist._typing import Real
from fastdist.distributions._diagonal import kl_of_normals
from fastdist.distributions.divergences import common_dtype, vjp_kl_vectors
from fastdist.distributions.rules import expanded, new, rule_of_kl
from fastdist.torch._adapter import Adapter, by_name
from fastdist.torch._formulas import normal_kl, vector_kl
from fastdist.torch._kernel import Pull, differentiable, needs_gradients, usable
from fastdist.torch.independent import Independent
from fastdist.torch.low_rank_multivariate_normal import LowRankMultivariateNormal
from fastdist.torch.multivariate_normal import MultivariateNormal
from fastdist.torch.normal import Normal
from fastdist.torch.outcomes import Bernoulli, Categorical, OneHotCategorical
from fastdist.torch.transformed import HalfNormal

Divergence = Callable[[Any, Any], Tensor]

__all__ = ["kl_divergence", "register_kl"]  # as torch.distributions.kl has them


def _by_rules(own: Divergence) -> Divergence:
    """A divergence by fastdist, and by a function of torch's where kernels do not do it."""

    def divergence(p: Any, q: Any) -> Tensor:
        kernels = _for_kernels(p, q)
        if kernels is None:
            return own(p, q)
        of_p, core_p, of_q, core_q = kernels
        try:
            value = torch.from_numpy(fd.kl_divergence(core_p, core_q))
        except (ValueError, NotImplementedError):  # what does not fit
            return own(p, q)
        if not needs_gradients(*of_p, *of_q):
            return value

        def formula(*tensors: Tensor) -> Tensor:
            n = len(of_p)
            return own(p._as_torch(*tensors[:n]), q._as_torch(*tensors[n:]))

        return differentiable(value, _pull(p, q, needs_gradients(*of_q)), formula, (*of_p, *of_q))

    return divergence


@register_kl(MultivariateNormal, MultivariateNormal)
@register_kl(Independent, MultivariateNormal)
@register_kl(MultivariateNormal, Independent)
@register_kl(Independent, TorchMultivariateNormal)
@register_kl(TorchMultivariateNormal, Independent)
@register_kl(TorchIndependent, MultivariateNormal)
@register_kl(MultivariateNormal, TorchIndependent)
@register_kl(Independent, LowRankMultivariateNormal)
@register_kl(LowRankMultivariateNormal, Independent)
@_by_rules
def _kl_vectors(p: Distribution, q: Distribution) -> Tensor:
    """By torch's operations."""
    factored_p, factored_q = _factored(p), _factored(q)
    if p.event_shape != q.event_shape:
        raise ValueError(f"event shapes differ: p {tuple(p.event_shape)}, q {tuple(q.event_shape)}")
    return vector_kl(*factored_p, *factored_q)


register_kl(Categorical, Categorical)(_by_rules(_kl_categorical_categorical))
register_kl(Bernoulli, Bernoulli)(_by_rules(_kl_bernoulli_bernoulli))
register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)(_by_rules(_kl_low_rank))
register_kl(LowRankMultivariateNormal, MultivariateNormal)(_by_rules(_kl_low_rank_vectors))
register_kl(MultivariateNormal, LowRankMultivariateNormal)(_by_rules(_kl_vectors_low_rank))


@register_kl(OneHotCategorical, OneHotCategorical)
def _kl_one_hot(p: OneHotCategorical, q: OneHotCategorical) -> Tensor:
    return kl_divergence(p._categorical, q._categorical)


@register_kl(HalfNormal, HalfNormal)
def _kl_half(p: HalfNormal, q: HalfNormal) -> Tensor:
    return kl_divergence(p.base_dist, q.base_dist)


def _for_kernels(p: Distribution, q: Distribution) -> tuple[Any, Any, Any, Any] | None:
    """Tensors and core of p, and those of q, if kernels take them."""
    if isinstance(p, Adapter) and isinstance(q, Adapter):
        of_p, of_q = p._tensors(), q._tensors()
        if of_p is not None and of_q is not None and usable(*of_p, *of_q):
            try:
                return of_p, p._core(), of_q, q._core()
            except ValueError:  # sizes that have changed since
                pass
    return None


def _pull(p: Any, q: Any, q_needs: bool) -> Pull:
    """The rule of `vjp`."""
    core_p, core_q = p._own_core(), q._own_core()
    rule, names_p, names_q = rule_of_kl(core_p, core_q).rule, p._names(), q._names()
    # A prior mostly has no gradients.
    alone = not q_needs and rule is vjp_kl_vectors
    pull = rule(core_p, core_q, of_p_alone=True) if alone else rule(core_p, core_q)

    def pull_both(g: Real, *_: Real) -> Any:
        by_p, by_q = pull(g, None)
        return *by_name(by_p, names_p), *((None,) * len(names_q) if alone else by_name(by_q, names_q))

    return pull_both


def _factored(d: Any) -> tuple[Tensor, Tensor]:
    """Loc of a distribution of vectors, and the factor of its covariance."""
    if isinstance(d, TorchLowRank):
        return d.loc, d.scale_tril
    if isinstance(d, TorchMultivariateNormal):
        return d.loc, d._unbroadcasted_scale_tril
    base = d
    while isinstance(base, TorchIndependent):
        base = base.base_dist
    if isinstance(base, TorchNormal) and len(d.event_shape) == 1:
        return d.mean, torch.diag_embed(d.stddev)
    raise NotImplementedError(f"no KL divergence is registered for {d!r} and a MultivariateNormal")


@register_kl(Independent, Independent)
def _kl_independent(p: Independent, q: Independent) -> Tensor:
    n, of_p, of_q = p.reinterpreted_batch_ndims, p.base_dist, q.base_dist
    if n == q.reinterpreted_batch_ndims and p.event_shape == q.event_shape and _of_normals(of_p, of_q):
        result: Tensor = _kl_normal(of_p, of_q, n)
    else:
        result = _kl_of_bases(p, q)
    return result


def _of_normals(p: Distribution, q: Distribution) -> bool:
    """True if their divergence is that of normals: a subclass may have one of its own."""
    if type(p) is type(q) is Normal:
        return True
    return isinstance(p, Normal) and isinstance(q, Normal) and _dispatch_kl(type(p), type(q)) is _kl_normal


@register_kl(Normal, Normal)
def _kl_normal(p: Normal, q: Normal, n: int = 0) -> Tensor:
    """Summed over `n` dims as they are made; `vjp`'s rule but for its copies."""
    kernels = _for_kernels(p, q)
    if kernels is not None:
        of_p, core_p, of_q, core_q = kernels
        try:
            shape = _shapes.broadcast_shapes(p=core_p._batch_shape, q=core_q._batch_shape)
        except ValueError:
            pass
        else:
            return _kl_by_kernels(core_p, core_q, shape, n, (*of_p, *of_q))
    return _sum_rightmost(normal_kl(p.loc, p.scale, q.loc, q.scale), n)


def _kl_by_kernels(p: Any, q: Any, shape: tuple[int, ...], n: int, tensors: tuple[Tensor, ...]) -> Tensor:
    cut = len(shape) - n
    tail = shape[cut:]
    value = torch.from_numpy(
        _params.delivered(kl_of_normals(p, q, tail), shape[:cut], common_dtype(p, q), None)
    )
    if not needs_gradients(*tensors):
        return value

    def pull(g: Real, *arrays: Real) -> list[Real]:
        found = [new(g, array.shape) for array in arrays]
        packed = [_params.pack(array, g.dtype) for array in arrays]
        pullbacks.kl_diag(*[*found, expanded(g, tail), *packed])
        return found

    return differentiable(value, pull, lambda *tensors: _sum_rightmost(normal_kl(*tensors), n), tensors)
