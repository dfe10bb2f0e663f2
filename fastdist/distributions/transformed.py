"""TransformedDistribution: draws of a distribution, transformed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastdist import _params
from fastdist._kernels.program import Plan, sum_events
from fastdist._kernels.sources import Noise
from fastdist._shapes import Shape
from fastdist._typing import ArrayLike, Real
from fastdist.distributions import constraints
from fastdist.distributions._cdf_family import CdfFamily
from fastdist.distributions._gaussian import log
from fastdist.distributions._indexing import Entries, part
from fastdist.distributions.constraints import Constraint
from fastdist.distributions.distribution import LAW, Distribution, draw_scored, keeps, score_value
from fastdist.distributions.independent import Independent
from fastdist.distributions.rules import (
    Gradients,
    Pull,
    added,
    own_vjp,
    recorded,
    rule_of,
    rule_of_scored,
    sees_value,
    sees_value_of,
    summed,
)
from fastdist.distributions.transforms import ComposeTransform, Transform
from fastdist.distributions.wrapper import Wrapper

# Elements that are transformed at a time where no kernel of draws does it, half an L2 cache of them.
BLOCK = 32768

# What a method of the cdf family is for a transform that decreases.
DECREASING = {
    "cdf": "survival_function",
    "survival_function": "cdf",
    "log_cdf": "log_survival_function",
    "log_survival_function": "log_cdf",
}


class TransformedDistribution(CdfFamily, Wrapper):
    r"""The distribution of y = f(x), x being drawn from another one.

    .. math:: \log p(y) = \log p(x) - \log |\det \partial y / \partial x|

    Parameters
    ----------
    base_distribution : Distribution
        That of x. Where transforms take events of more dims, or have parameters of a larger batch, it is
        made `Independent`, or expanded.
    transforms : Transform or sequence of Transform
        In the order in which they are applied. Of their arrays the dtype is made that of the base.
    validate_args : bool, optional
        Whether `icdf` checks its argument. Default True.

    Raises
    ------
    TypeError
        If these are no such things.
    ValueError
        If shapes do not broadcast, or the base's has too few dims.

    Notes
    -----
    Draws are transformed where they lie. `sample_and_log_prob` makes the density of the noise and of the
    draw before it was transformed, so that it is right also where y has been rounded to an end of its range:
    at a squashed action of 1, for which `log_prob` is -inf. Outside of the support that is -inf, too.

    The cdf family is there for numbers with monotone transforms; mean, mode, variance and entropy for affine
    ones. A gradient is a dict of those by the parameters of the base, under ``"base_distribution"``, and
    under ``"transforms"`` a list with a dict for each transform.

    Examples
    --------
    The policy of Soft Actor-Critic (Haarnoja et al., 2018, appendix C):

    >>> import numpy as np, fastdist as fd
    >>> normal = fd.Independent(fd.Normal(np.zeros((3, 2)), 10.0), 1)
    >>> policy = fd.TransformedDistribution(normal, [fd.transforms.TanhTransform()])
    >>> policy.batch_shape, policy.event_shape
    ((3,), (2,))
    >>> action, log_prob = policy.sample_and_log_prob((100,), rng=0)
    >>> bool((abs(action) == 1).any()), bool(np.isfinite(log_prob).all())
    (True, True)
    """

    _base: Distribution
    _transforms: list[Transform]

    def __init__(
        self,
        base_distribution: Distribution,
        transforms: Transform | Sequence[Transform],
        *,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(base_distribution, Distribution):
            raise TypeError(
                f"base_distribution must be a Distribution, got {type(base_distribution).__name__}"
            )
        if isinstance(transforms, Transform):
            given = [transforms]
        elif isinstance(transforms, Sequence):
            given = list(transforms)
        else:
            raise TypeError(
                f"transforms must be a Transform or a sequence of them, got {type(transforms).__name__}"
            )
        for i, transform in enumerate(given):
            if not isinstance(transform, Transform):
                raise TypeError(f"transforms[{i}] must be a Transform, got {type(transform).__name__}")
        whole = given[0] if len(given) == 1 else ComposeTransform(given)
        base = base_distribution
        shape = base._batch_shape + base._event_shape
        needed = whole.domain.event_dim
        if len(shape) < needed:
            raise ValueError(f"base_distribution must have {needed} dims or more, its shape is {shape}")
        forward_shape = whole.forward_shape(shape)
        wider = whole.inverse_shape(forward_shape)
        if wider != shape:
            base = base.expand(wider[: len(wider) - len(base._event_shape)])
        if needed > len(base._event_shape):
            base = Independent(base, needed - len(base._event_shape))
        change = whole.codomain.event_dim - needed
        n_event = max(whole.codomain.event_dim, len(base._event_shape) + change)
        cut = len(forward_shape) - n_event
        super().__init__(forward_shape[:cut], forward_shape[cut:], base._dtype, validate_args=validate_args)
        self._base = base
        self._transforms = given
        self._whole = whole
        self._lent = base._lent

    @property
    def _held(self) -> Mapping[str, int]:  # type: ignore[override]
        return {"_base": len(self._base._batch_shape) - len(self._batch_shape)}

    @property
    def base_dist(self) -> Distribution:
        """The base distribution."""
        return self._base

    @property
    def transforms(self) -> list[Transform]:
        """The transforms, in the order in which they are applied."""
        return list(self._transforms)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """True if the base has reparameterised draws."""
        return self._base.has_rsample

    @property
    def support(self) -> Constraint:
        """The values of the last transform."""
        if not self._transforms:
            return self._base.support
        support = self._transforms[-1].codomain
        more = len(self._event_shape) - support.event_dim
        return constraints.independent(support, more) if more > 0 else support

    # ---- other batches of the same -------------------------------------------------------

    def _with_transforms(self, new: TransformedDistribution, change: Callable[[int, Real], Real]) -> Any:
        """Another one with other arrays of the transforms: `change` gets each one's number."""
        arrays = [change(i, array) for i, (array, _) in enumerate(self._whole._parameters())]
        if arrays:
            new._transforms = [transform._replaced(arrays) for transform in self._transforms]
            new._whole = (
                new._transforms[0] if len(new._transforms) == 1 else ComposeTransform(new._transforms)
            )
        return new

    def _part(self, entries: Entries, batch_shape: Shape) -> Any:
        n_event = len(self._event_shape)

        def cut(i: int, array: Real) -> Real:
            if array.ndim <= n_event:  # of an event's elements, at most
                return array
            return part(array, entries, self._batch_shape, n_event)

        return self._with_transforms(super()._part(entries, batch_shape), cut)

    def _stacked(self, parts: list[Any], axis: int) -> Any:
        new = super()._stacked(parts, axis)
        if all(d._transforms == self._transforms for d in parts):
            return new
        if any(not _alike(d._transforms, self._transforms) for d in parts):
            raise ValueError("distributions to stack differ in the types of their transforms")
        shape = self._batch_shape + self._event_shape
        lists = [[array for array, _ in d._whole._parameters()] for d in parts]

        def side_by_side(i: int, _: Real) -> Real:
            arrays = [of_part[i] for of_part in lists]
            dtype = _params.FLOAT32 if all(a.dtype == np.float32 for a in arrays) else _params.FLOAT64
            whole = [np.broadcast_to(a, shape).astype(dtype) for a in arrays]
            return np.stack(whole, axis)

        return self._with_transforms(new, side_by_side)

    def _parameters(self) -> dict[str, Any]:
        return {
            "base_distribution": self._base,
            "transforms": list(self._transforms),
            "validate_args": self._validate_args,
        }

    def _named(self) -> tuple[str, ...]:
        return "base_distribution", "transforms"

    def _gradients(self, by_base: Gradients, by_transforms: dict[str, Any] | None = None) -> Gradients:
        """Gradients under the constructor's names; 0 by transforms that nothing depends on."""
        if by_transforms is None:
            by_x = np.zeros(self._batch_shape + self._event_shape, self._dtype)
            by_transforms = self._whole._pull(by_x, by_x[..., :0].sum(-1), by_x)[1]
        of_each = [by_transforms] if len(self._transforms) == 1 else by_transforms["parts"]
        return {"base_distribution": by_base, "transforms": of_each}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base!r}, {self._transforms!r})"

    # ---- draws ---------------------------------------------------------------------------

    def _passes(self) -> bool:
        return super()._passes() and self._base._passes()

    def _staged(self, plan: Plan | None, event_ndim: int, scored: bool) -> Plan | None:
        """A plan of the base, with the transforms' stages."""
        stages = self._whole._stages(self._dtype, event_ndim, scored)
        if plan is None or stages is None:
            return None
        for kernel, arrays in stages:
            plan = plan.then(kernel, *arrays)
        return plan

    def _draw_plan(self) -> Plan | None:
        plan = self._base._plan_of_draws() if self._base._passes() else None
        return self._staged(plan, len(self._event_shape), scored=False)

    def _scored_plan(self, event_ndim: int) -> Plan | None:
        plan = self._base._plan_of_scored(event_ndim) if self._base._passes() else None
        return self._staged(plan, event_ndim, scored=True)

    def _noise_per_event(self) -> tuple[int, int] | None:
        own = not keeps(type(self), TransformedDistribution, LAW)
        return super()._noise_per_event() if own else self._base._noise_per_event()

    def _draw(self, noise: Noise, out: Real, workers: int) -> None:
        plan = self._plan_of_draws()
        if plan is not None:
            super()._draw(noise, out, workers)
            return
        if self._base._passes():
            self._base._draw(noise, out, workers)
        else:
            self._asked(self._base.sample, noise, out, workers)
        self._transform(out)

    def _rdraw(self, noise: Noise, out: Real, workers: int) -> None:
        if self._base._passes() or not keeps(type(self), TransformedDistribution, ("_draw",)):
            self._draw(noise, out, workers)
        else:
            self._asked(self._base.rsample, noise, out, workers)
            self._transform(out)

    @_params.quiet
    def _transform(self, out: Real) -> None:
        self._blockwise(lambda d, y: d._whole._forward(y, y), len(self._event_shape), out)

    @_params.quiet
    def _draw_scored(self, noise: Noise, out: Real, density: Real, workers: int) -> None:
        self._scored_base(noise, out, density, workers)
        event_ndim = out.ndim - density.ndim
        self._blockwise(lambda d, y, less: d._whole._forward_scored(y, y, less), event_ndim, out, density)

    def _scored_base(self, noise: Noise, out: Real, density: Real, workers: int) -> None:
        """The base's draw and its density, summed over dims of the base's batch that are events here."""
        base_ndim = out.ndim - len(self._base._event_shape)
        if base_ndim == density.ndim:
            draw_scored(self._base, noise, out, density, workers)
            return
        of_base = np.empty(out.shape[:base_ndim], density.dtype)
        draw_scored(self._base, noise, out, of_base, workers)
        density[...] = sum_events(of_base, of_base.shape[density.ndim :])

    def _blockwise(self, work: Callable[..., Any], event_ndim: int, *arrays: Real) -> None:
        """Do `work` on a distribution and arrays, by blocks of samples or, if one is too large, of the batch.

        The first array has `event_ndim` dims that stay whole.
        """
        first = arrays[0]
        n_lead = first.ndim - len(self._batch_shape) - len(self._event_shape)
        if first.size <= BLOCK or first.ndim == event_ndim:
            work(self, *arrays)
            return
        n = first.shape[0]
        some = BLOCK * n // first.size
        for i in range(0, n, max(some, 1)):
            index = slice(i, i + some) if some else i
            d = self if n_lead else self[index]
            parts = [array[index, ...] for array in arrays]
            if some:
                work(d, *parts)
            else:
                d._blockwise(work, event_ndim, *parts)

    # ---- densities -----------------------------------------------------------------------

    @_params.quiet
    def _log_prob(self, value: Real, event_ndim: int, out: Real) -> None:
        whole = np.broadcast_to(value, out.shape + value.shape[value.ndim - event_ndim :])
        self._blockwise(lambda d, y, to: d._log_prob_of(y, to), event_ndim, whole, out)

    def _log_prob_of(self, y: Real, out: Real) -> None:
        x, less = np.array(y, order="C"), np.zeros_like(out)
        self._whole._backward_scored(x, x, less)
        self._density_of_base(x, y.ndim - out.ndim, out)
        out += less

    def _density_of_base(self, x: Real, event_ndim: int, out: Real) -> None:
        """Log densities of the base, to an array that lies in one piece."""
        if self._base._passes():
            score_value(self._base, x, event_ndim, out)
            return
        of_base = np.asarray(self._base.log_prob(x), out.dtype, order="C")
        out[...] = sum_events(of_base, of_base.shape[out.ndim :])

    # ---- affine transforms ---------------------------------------------------------------

    def _affine(self, what: str) -> tuple[Real, Real]:
        """Loc and scale of all transforms together."""
        affine = self._whole._as_affine()
        if affine is None:
            raise NotImplementedError(
                f"{type(self).__name__} has no {what} unless its transforms are affine: {self._transforms}"
            )
        return affine

    def _entropy(self, event_ndim: int) -> Real:
        scale = self._affine("entropy")[1]
        base: Any = self._base._entropy(event_ndim) if self._base._passes() else self._base.entropy()
        log_scale = log(np.asarray(np.abs(scale), np.float64, order="C"))
        tail = (self._batch_shape + self._event_shape)[-event_ndim:] if event_ndim else ()
        return np.asarray(base + sum_events(log_scale, tail))

    @property
    def mean(self) -> Real:
        """Mean, for affine transforms; shape ``batch_shape + event_shape``, read-only."""
        loc, scale = self._affine("mean")
        return self._read_only(loc + scale * self._base.mean)

    @property
    def mode(self) -> Real:
        """Point of the highest density, for affine transforms; read-only."""
        loc, scale = self._affine("mode")
        return self._read_only(loc + scale * self._base.mode)

    @property
    def variance(self) -> Real:
        """Variance of each element, for affine transforms; read-only."""
        _, scale = self._affine("variance")
        return self._read_only(np.square(scale * self._base.stddev))

    @property
    def stddev(self) -> Real:
        """Standard deviation of each element, for affine transforms; read-only."""
        _, scale = self._affine("stddev")
        return self._read_only(np.abs(scale) * self._base.stddev)

    def _read_only(self, array: ArrayLike) -> Real:
        """An array in the shape of the batch and an event, and the dtype."""
        return np.broadcast_to(np.asarray(array, self._dtype), self._batch_shape + self._event_shape)

    # ---- the cdf family ------------------------------------------------------------------

    def icdf(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Inverse of the cdf (quantile function). See `Normal.icdf`."""
        return self._cdf("icdf", value, out)

    @_params.quiet
    def _cdf(self, method: str, value: ArrayLike, out: Real | None) -> Real:
        self._check_cdf(method)
        array, batch_shape, dtype = _params.values(value, self._dtype, self._event_shape)
        shape = np.broadcast_shapes(batch_shape + self._event_shape, self._batch_shape + self._event_shape)
        if method == "icdf" and self._validate_args:
            _params.check_probability("value", array, batch_shape)
        result = np.empty(shape, dtype)
        whole = np.broadcast_to(array, shape)
        self._blockwise(lambda d, *pieces: d._cdf_of(method, *pieces), len(self._event_shape), whole, result)
        return _params.delivered(result, shape, dtype, out)

    def _check_cdf(self, method: str) -> None:
        """Raise if there is none."""
        if not hasattr(self._base, method):
            raise NotImplementedError(f"{type(self._base).__name__}, the base, has no {method}")
        if not self._whole.bijective:
            raise NotImplementedError(f"{method} needs monotone transforms, got {self._transforms}")

    def _cdf_of(self, method: str, value: Real, out: Real) -> None:
        up = np.broadcast_to(np.asarray(self._whole.sign) > 0, value.shape)
        if method == "icdf":
            out[...] = self._quantile(value, up)
            self._whole._forward(out, out)
        else:
            x = np.array(value, order="C")
            self._to_base(self._whole, x)
            out[...] = self._directed(method, x, up)

    def _to_base(self, transform: Transform, x: Real) -> None:
        """From y to x in place, by way of the ends of what each transform can be."""
        parts = transform.parts if isinstance(transform, ComposeTransform) else [transform]
        for one in reversed(parts):
            if one is not transform and isinstance(one, ComposeTransform):
                self._to_base(one, x)
                continue
            ends = one.codomain
            if not (math.isinf(ends.lower_bound) and math.isinf(ends.upper_bound)):
                np.clip(x, ends.lower_bound, ends.upper_bound, out=x)
            one._backward(x, x)

    def _directed(self, method: str, x: Real, up: Any) -> Real:
        """A method of the base where the transforms increase, its complement where they decrease."""
        same: Real = getattr(self._base, method)(x) if up.any() or not up.size else x
        if up.all():
            return same
        other: Real = getattr(self._base, DECREASING[method])(x)
        return np.where(up, same, other)

    def _quantile(self, probability: Real, up: Any) -> Real:
        base: Any = self._base
        if up.all():
            return np.asarray(base.icdf(probability))
        isf = getattr(base, "isf", lambda p: base.icdf(1 - p))
        upper: Real = isf(probability)
        return np.where(up, base.icdf(probability), upper) if up.any() else upper


def _alike(a: list[Transform], b: list[Transform]) -> bool:
    """True if transforms are of the same types."""
    return len(a) == len(b) and all(
        type(s) is type(t) and _alike(getattr(s, "parts", []), getattr(t, "parts", []))
        for s, t in zip(a, b, strict=True)
    )


# ---- gradients -----------------------------------------------------------------------------------


@own_vjp("rsample", TransformedDistribution)
def _vjp_rsample(d: TransformedDistribution, replay: Callable[[], Noise]) -> Pull:
    pull_base = rule_of(type(d._base), "rsample").rule(d._base, replay)

    @_params.quiet
    def pull(g: Real, _: Real) -> Gradients:
        x = d._base.rsample(_lead(d, g), rng=replay())  # type: ignore[arg-type]
        zero = np.broadcast_to(np.zeros((), g.dtype), g.shape[: g.ndim - len(d._event_shape)])
        by_x, by_transform = d._whole._pull(g, zero, x)
        return d._gradients(pull_base(by_x, x), by_transform)

    return pull


@own_vjp("sample_and_log_prob", TransformedDistribution)
def _vjp_scored(d: TransformedDistribution, replay: Callable[[], Noise]) -> Pull:
    base = rule_of_scored(d._base)
    pull_base, sees = base.rule(d._base, replay), sees_value_of(d._base, base)

    @_params.quiet
    def pull(g: tuple[Real, Real], _: Any) -> Gradients:
        g_y, h = g
        n = _lead(d, g_y)
        if sees:
            x, density = d._base.sample_and_log_prob(n, rng=replay())  # type: ignore[arg-type]
        else:
            x, density = d._base.rsample(n, rng=replay()), None  # type: ignore[arg-type]
        by_x, by_transform = d._whole._pull(g_y, h, x)
        g_base = h.reshape(h.shape + (1,) * (by_x.ndim - len(d._base._event_shape) - h.ndim))
        g_base = np.broadcast_to(g_base, by_x.shape[: by_x.ndim - len(d._base._event_shape)])
        return d._gradients(pull_base((by_x, g_base), (x, density)), by_transform)

    return pull


@own_vjp("log_prob", TransformedDistribution)
def _vjp_log_prob(d: TransformedDistribution, /, value: ArrayLike) -> Pull:
    array, value_shape, dtype = recorded(value, d)
    rule = rule_of(type(d._base), "log_prob")
    sees = sees_value(d._base, "log_prob")

    @_params.quiet
    def pull(g: Real, _: Real) -> Gradients:
        x = np.array(np.broadcast_to(array, g.shape + d._event_shape), dtype, order="C")
        d._whole._backward(x, x)
        by: Gradients = rule.rule(d._base, x)(_over_base(d, g), d._base.log_prob(x) if sees else None)
        by_x = by.pop("value")
        by_y, by_transform = d._whole._backward_pull(by_x, g, x)
        by_y = np.require(by_y, None, ["C", "A"])
        return {**d._gradients(by, by_transform), "value": summed(by_y, value_shape)}

    return pull


def _register(method: str) -> None:
    """The rule of a method of the cdf family: the base's, or its complement's where transforms decrease."""

    @own_vjp(method, TransformedDistribution)
    def rule(d: TransformedDistribution, /, value: ArrayLike) -> Pull:
        d._check_cdf(method)
        array, value_shape, dtype = recorded(value, d)
        up, down = method, DECREASING.get(method, "isf")

        def pull_base(name: str, x: Real, g: Real) -> Gradients:
            rule = rule_of(type(d._base), name)
            of_base = getattr(d._base, name)(x) if sees_value(d._base, name) else None
            result: Gradients = rule.rule(d._base, x)(np.ascontiguousarray(g), of_base)
            return result

        def pull_bases(x: Real, g: Real) -> Gradients:
            increases = np.asarray(d._whole.sign) > 0
            if increases.all():
                return pull_base(up, x, g)
            if not increases.any():
                return pull_base(down, x, g)
            parts = pull_base(up, x, np.where(increases, g, 0)), pull_base(down, x, np.where(increases, 0, g))
            return dict(added(*parts))

        @_params.quiet
        def pull(g: Real, _: Real) -> Gradients:
            x = np.array(np.broadcast_to(array, g.shape), dtype, order="C")
            none = np.broadcast_to(np.zeros((), dtype), g.shape)
            if method == "icdf":
                quantile = d._quantile(x, np.broadcast_to(np.asarray(d._whole.sign) > 0, g.shape))
                by_x, by_transform = d._whole._pull(g, none, np.array(quantile, dtype, order="C"))
                by = pull_bases(x, by_x)
                by_y = by.pop("value")
            else:
                d._to_base(d._whole, x)
                by = pull_bases(x, g)
                by_x = by.pop("value")
                by_y, by_transform = d._whole._backward_pull(by_x, none, x)
                by_y = np.where(by_x == 0, 0, by_y)  # beyond what the transforms can be, too
            by_y = np.ascontiguousarray(by_y, dtype)
            return {**d._gradients(by, by_transform), "value": summed(by_y, value_shape)}

        return pull


for _method in ("cdf", "icdf", "log_cdf", "survival_function", "log_survival_function"):
    _register(_method)


@own_vjp("entropy", TransformedDistribution)
def _vjp_entropy(d: TransformedDistribution) -> Pull:
    d._affine("entropy")
    rule = rule_of(type(d._base), "entropy")
    of_base = d._base.entropy() if sees_value(d._base, "entropy") else None

    @_params.quiet
    def pull(g: Real, _: Real) -> Gradients:
        x = np.zeros(d._batch_shape + d._event_shape, g.dtype)
        _, by_transform = d._whole._pull(x, np.asarray(-g), x)
        return d._gradients(rule.rule(d._base)(_over_base(d, g), of_base), by_transform)

    return pull


def _lead(d: TransformedDistribution, g: Real) -> Shape:
    """Sample dims of a cotangent of draws."""
    return g.shape[: g.ndim - len(d._batch_shape) - len(d._event_shape)]


def _over_base(d: TransformedDistribution, g: Real) -> Real:
    """A cotangent of densities as one of the base's, whose batch may have dims that are events here."""
    tail = d._tail("_base")
    return np.broadcast_to(g.reshape(g.shape + (1,) * len(tail)), g.shape + tail) if tail else g
