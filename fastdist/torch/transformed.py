"""TransformedDistribution, LogNormal and HalfNormal: torch's transforms of draws by fastdist."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import HalfNormal as TorchHalfNormal
from torch.distributions import Independent as TorchIndependent
from torch.distributions import LogNormal as TorchLogNormal
from torch.distributions import TransformedDistribution as TorchTransformedDistribution
from torch.distributions import transforms as t
from torch.special import ndtri

from fastdist.distributions.transformed import DECREASING
from fastdist.random import RNGLike
from fastdist.torch._adapter import Adapter, Index, all_finite, draw_of, parse_index, scored_draw_of, sum_last
from fastdist.torch._cdf_family import CdfFamily
from fastdist.torch._kernel import usable
from fastdist.torch._sampling import ONE_DRAW, SampleShape
from fastdist.torch._tensors import as_array
from fastdist.torch.independent import Independent
from fastdist.torch.normal import Normal

# Transforms without parameters that have a batch.
_PLAIN = (
    t.AbsTransform,
    t.CorrCholeskyTransform,
    t.ExpTransform,
    t.LowerCholeskyTransform,
    t.PositiveDefiniteTransform,
    t.ReshapeTransform,
    t.SigmoidTransform,
    t.SoftmaxTransform,
    t.SoftplusTransform,
    t.StickBreakingTransform,
    t.TanhTransform,
)
# Those whose inverse is finite only of what is in their codomain: there is no need to check values of these.
_FINITE_WITHIN = frozenset({t.AffineTransform, t.ExpTransform, t.TanhTransform})


class TransformedDistribution(CdfFamily, Adapter, TorchTransformedDistribution):
    """`torch.distributions.TransformedDistribution`, which hands `generator=` and `rng=` on to its base.

    Parameters
    ----------
    base_distribution : torch.distributions.Distribution
        That of x: of fastdist.torch, or torch's own.
    transforms : torch.distributions.transforms.Transform or list of them
        torch's transforms, with their caches.
    validate_args : bool, optional
        As in torch.

    Notes
    -----
    `sample_and_log_prob` makes the density of the draw before it was transformed, so that it is right also
    where that has been rounded to an end of its range: for a squashed action of 1. The cdf family has the
    base's tails: through a transform that decreases it is that of the base's complement.

    Examples
    --------
    >>> import torch
    >>> import fastdist.torch as D
    >>> normal = D.Independent(D.Normal(torch.zeros(3, 2), 10.0), 1)
    >>> policy = D.TransformedDistribution(normal, [D.TanhTransform()])
    >>> action, log_prob = policy.sample_and_log_prob((100,), rng=0)
    >>> bool((action.abs() == 1).any()), bool(log_prob.isfinite().all())
    (True, True)
    """

    def __init__(
        self,
        base_distribution: Any,
        transforms: t.Transform | list[t.Transform],
        validate_args: bool | None = None,
    ) -> None:
        TorchTransformedDistribution.__init__(self, base_distribution, transforms, validate_args)
        base = self.base_dist
        if base is not base_distribution and type(base) is TorchIndependent:
            self.base_dist = Independent(base.base_dist, base.reinterpreted_batch_ndims)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution broadcast to another batch shape; no memory is used."""
        new = self._get_checked_instance(TransformedDistribution, _instance)
        return TorchTransformedDistribution.expand(self, batch_shape, new)

    def __getitem__(self, index: Index) -> Any:
        """Part of the batch, by basic indexing of its dims: ints, slices, ``...`` and None."""
        new, entries = self._get_checked_instance(self._own_class()), parse_index(index)
        base: Any = self.base_dist
        n = len(base.batch_shape) - len(self._batch_shape)
        shapes = [base.batch_shape + base.event_shape]
        for transform in self.transforms:
            shapes.append(transform.forward_shape(shapes[-1]))
        parts = [
            _part(transform, shape, (*entries, *(slice(None),) * (len(shape) - len(self._batch_shape))))
            for transform, shape in zip(self.transforms, shapes, strict=False)
        ]
        TransformedDistribution.__init__(
            new, base[(*entries, *(slice(None),) * n)], parts, self.__dict__.get("_validate_args")
        )
        return new

    def _own_class(self) -> type[Any]:
        """The class whose constructor this one has, unless it is a subclass's."""
        return TransformedDistribution

    def _tensors(self) -> None:
        return None

    # ---- draws and densities -------------------------------------------------------------

    def _draw_by_torch(
        self,
        sample_shape: SampleShape,
        generator: torch.Generator | None,
        rng: RNGLike,
        *,
        reparameterised: bool,
    ) -> Tensor:
        with torch.set_grad_enabled(reparameterised and torch.is_grad_enabled()):
            x = draw_of(self.base_dist, sample_shape, generator, rng, reparameterised=reparameterised)
            for transform in self.transforms:
                x = transform(x)
            return x

    def _log_prob_by_torch(self, value: Tensor) -> Tensor:
        finite_within = all(type(transform) in _FINITE_WITHIN for transform in self.transforms)
        if not (self._validate_args and finite_within):
            return super()._log_prob_by_torch(value)
        event_dim, log_dets, y = len(self._event_shape), [], value
        for transform in reversed(self.transforms):
            x = transform.inv(y)
            event_dim += transform.domain.event_dim - transform.codomain.event_dim
            n = event_dim - transform.domain.event_dim
            log_dets.append(sum_last(transform.log_abs_det_jacobian(x, y), n))
            y = x
        if not (usable(y) and all_finite(as_array(y))):
            self._validate_sample(value)
        log_prob = sum_last(self.base_dist.log_prob(y), event_dim - len(self.base_dist.event_shape))
        for log_det in log_dets:
            log_prob = log_prob - log_det
        return log_prob

    def sample_and_log_prob(
        self,
        sample_shape: SampleShape = ONE_DRAW,
        *,
        generator: torch.Generator | None = None,
        rng: RNGLike = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw samples and make their log density of the same noise, before they are transformed."""
        x, log_prob = scored_draw_of(self.base_dist, sample_shape, generator, rng)
        n_batch = len(self._batch_shape) + len(torch.Size(sample_shape))
        for transform in self.transforms:
            y = transform(x)
            log_det = transform.log_abs_det_jacobian(x, y)
            log_prob = _sum_to(log_prob, n_batch) - _sum_to(log_det, n_batch)
            x = y
        return x, _sum_to(log_prob, n_batch)

    # ---- the cdf family ------------------------------------------------------------------

    def icdf(self, value: Tensor) -> Tensor:
        """Inverse of the cdf (quantile function)."""
        x = self._directed("icdf", "isf", value)
        for transform in self.transforms:
            x = transform(x)
        return x

    def isf(self, value: Tensor) -> Tensor:
        """Inverse of the survival function."""
        x = self._directed("isf", "icdf", value)
        for transform in self.transforms:
            x = transform(x)
        return x

    def _cdf(self, method: str, value: Tensor) -> Tensor:
        for transform in reversed(self.transforms):
            value = transform.inv(value)
        return self._directed(method, DECREASING[method], value)

    def _directed(self, increasing: str, decreasing: str, x: Tensor) -> Tensor:
        """One method of the base where the transforms increase, another one where they decrease."""
        if not all(transform.bijective for transform in self.transforms):
            raise NotImplementedError(f"{increasing} needs monotone transforms, got {self.transforms}")
        sign: Any = math.prod(transform.sign for transform in self.transforms)
        base = self.base_dist
        if not isinstance(sign, Tensor):
            up: Tensor = getattr(base, increasing if sign > 0 else decreasing)(x)
            return up
        return torch.where(sign > 0, getattr(base, increasing)(x), getattr(base, decreasing)(x))


def _sum_to(x: Tensor, ndim: int) -> Tensor:
    """Sum over the dims after the first `ndim`."""
    return sum_last(x, x.ndim - ndim)


def _part(transform: t.Transform, shape: torch.Size, entries: Any) -> t.Transform:
    """A transform of part of a batch: `shape` is that of what it is applied to."""

    def cut(x: Any) -> Any:
        return x.expand(shape)[entries] if isinstance(x, Tensor) and x.ndim else x

    if isinstance(transform, _PLAIN):
        return transform
    if isinstance(transform, t.AffineTransform):
        return t.AffineTransform(cut(transform.loc), cut(transform.scale), transform.event_dim)
    if isinstance(transform, t.PowerTransform):
        return t.PowerTransform(cut(transform.exponent))
    if isinstance(transform, t._InverseTransform):
        return _part(transform.inv, shape, entries).inv
    if isinstance(transform, t.IndependentTransform):
        return t.IndependentTransform(
            _part(transform.base_transform, shape, entries), transform.reinterpreted_batch_ndims
        )
    if isinstance(transform, t.ComposeTransform) and all(p.domain.event_dim == 0 for p in transform.parts):
        return t.ComposeTransform([_part(part, shape, entries) for part in transform.parts])
    raise NotImplementedError(f"a batch with {transform} cannot be indexed: is it one for all of it?")


class LogNormal(TransformedDistribution, TorchLogNormal):
    """`torch.distributions.LogNormal`, the exponential of `fastdist.torch.Normal`.

    Parameters
    ----------
    loc, scale : float or Tensor
        Mean and standard deviation of the logarithm.
    validate_args : bool, optional
        As in torch, with torch's errors.

    Examples
    --------
    >>> import torch
    >>> from fastdist.torch import LogNormal
    >>> d = LogNormal(torch.zeros(3), 1.0)
    >>> d.sample((100,), rng=0).shape, d[0].batch_shape
    (torch.Size([100, 3]), torch.Size([]))
    """

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        base = Normal(loc, scale, validate_args)
        TransformedDistribution.__init__(self, base, t.ExpTransform(), validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution broadcast to another batch shape; no memory is used."""
        return super().expand(batch_shape, self._get_checked_instance(LogNormal, _instance))

    def _own_class(self) -> type[Any]:
        return LogNormal


class HalfNormal(TransformedDistribution, TorchHalfNormal):
    """`torch.distributions.HalfNormal`, the size of `fastdist.torch.Normal` around 0.

    Parameters
    ----------
    scale : float or Tensor
        Standard deviation of the normal.
    validate_args : bool, optional
        As in torch, with torch's errors.

    Examples
    --------
    >>> import torch
    >>> from fastdist.torch import HalfNormal
    >>> d = HalfNormal(torch.tensor([1.0, 2.0]))
    >>> bool(torch.allclose(d.cdf(d.icdf(torch.tensor(1e-30))), torch.tensor(1e-30), rtol=1e-4))
    True
    """

    def __init__(self, scale: Tensor | float, validate_args: bool | None = None) -> None:
        TransformedDistribution.__init__(
            self, Normal(0, scale, validate_args=False), t.AbsTransform(), validate_args
        )

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution broadcast to another batch shape; no memory is used."""
        return super().expand(batch_shape, self._get_checked_instance(HalfNormal, _instance))

    def _own_class(self) -> type[Any]:
        return HalfNormal

    def sample_and_log_prob(
        self,
        sample_shape: SampleShape = ONE_DRAW,
        *,
        generator: torch.Generator | None = None,
        rng: RNGLike = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw samples and make their log density of the same noise."""
        x, log_prob = scored_draw_of(self.base_dist, sample_shape, generator, rng)
        return x.abs(), log_prob + math.log(2)

    def _cdf(self, method: str, value: Tensor) -> Tensor:
        """Twice the normal's above 0, without cancellation there and near 1."""
        if self._validate_args:
            self._validate_sample(value)
        base: Any = self.base_dist
        if method == "survival_function":
            survival: Tensor = 2 * base.survival_function(value)
            return survival
        cdf = torch.erf(value / (self.scale * math.sqrt(2)))
        if method == "cdf":
            return cdf
        near_one = cdf > 0.5
        low = torch.where(near_one, 0.5, cdf)
        if method == "log_survival_function":
            log_survival = base.log_survival_function(value) + math.log(2)
            return torch.where(near_one, log_survival, torch.log1p(-low))
        missing = torch.where(near_one, 2 * base.survival_function(value), 0.5)
        return torch.where(near_one, torch.log1p(-missing), low.log())

    def icdf(self, value: Tensor) -> Tensor:
        """Inverse of the cdf (quantile function): -ndtri of half the complement from 1/2 on."""
        low = torch.erfinv(value.clamp(max=0.5)) * math.sqrt(2)
        high = -ndtri(0.5 * (1 - value.clamp(min=0.5)))
        return self.scale * torch.where(value < 0.5, low, high)

    def isf(self, value: Tensor) -> Tensor:
        """Inverse of the survival function."""
        base: Any = self.base_dist
        x: Tensor = base.isf(0.5 * value)
        return x
