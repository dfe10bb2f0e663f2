"""Independent: batch dims of a distribution reinterpreted as event dims."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, SupportsIndex

import numpy as np

from fastdist import _params, _shapes
from fastdist._kernels.program import sum_events
from fastdist._kernels.sources import Noise
from fastdist._params import quiet
from fastdist._shapes import Shape
from fastdist._typing import ArrayLike, Real, RealDType
from fastdist.distributions import constraints
from fastdist.distributions.constraints import Constraint
from fastdist.distributions.distribution import (
    LAW,
    Distribution,
    base_density_plan,
    base_draw_plan,
    base_scored_plan,
    draw_scored,
    keeps,
    reinterpret,
)
from fastdist.distributions.rules import (
    Gradients,
    Pull,
    expanded,
    own_vjp,
    rule_of,
    rule_of_scored,
    sees_value,
    sees_value_of,
)
from fastdist.distributions.wrapper import Wrapper


class Independent(Wrapper):
    r"""The last `n` batch dims of a distribution taken as event dims.

    .. math:: p(x) = \prod_i p_i(x_i)

    over the reinterpreted dims: the draws are the base's own, log densities and entropies are
    summed.

    Parameters
    ----------
    base_distribution : Distribution
        The base.
    reinterpreted_batch_ndims : int
        How many of its batch dims, 0 to all.
    validate_args : bool, optional
        As in the other constructors; there are no values to check here.

    Raises
    ------
    ValueError
        If `reinterpreted_batch_ndims` is negative or exceeds the number of batch dims.
    TypeError
        If it is no integer, or the base no distribution.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> ind = fd.Independent(fd.Normal(np.zeros((3, 2)), 1.0), 1)
    >>> ind
    Independent(Normal(loc: (3, 2), scale: (3, 2)), 1)
    >>> ind.batch_shape, ind.event_shape
    ((3,), (2,))
    >>> ind.log_prob(np.zeros(2)).shape
    (3,)
    """

    _base: Distribution
    _ndims: int

    def __init__(
        self,
        base_distribution: Distribution,
        reinterpreted_batch_ndims: SupportsIndex,
        *,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(base_distribution, Distribution):
            raise TypeError(
                f"base_distribution must be a Distribution, got {type(base_distribution).__name__}"
            )
        n = reinterpreted_batch_ndims
        if type(n) is not int:  # as it mostly is
            n = _shapes.parse_int("reinterpreted_batch_ndims", n)
        base_shape = base_distribution._batch_shape
        if n < 0:
            raise ValueError(f"reinterpreted_batch_ndims must not be negative, got {n}")
        if n > len(base_shape):
            raise ValueError(
                f"reinterpreted_batch_ndims must be at most {len(base_shape)}, "
                f"as base_distribution has batch_shape {base_shape}; got {n}"
            )
        self._base = base_distribution
        self._ndims = n
        reinterpret(self, base_distribution, n, validate_args)

    @property
    def _held(self) -> Mapping[str, int]:  # type: ignore[override]
        return {"_base": self._ndims}

    def _tail(self, name: str) -> Shape:
        return self._event_shape[: self._ndims]

    @property
    def base_dist(self) -> Distribution:
        """The base distribution."""
        return self._base

    @property
    def reinterpreted_batch_ndims(self) -> int:
        """How many of its batch dims are event dims."""
        return self._ndims

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """True if the base has reparameterised draws."""
        return self._base.has_rsample

    @property
    def _discrete(self) -> bool:  # type: ignore[override]
        return self._base._discrete

    @property
    def support(self) -> Constraint:
        """Events whose every part is in the base's support."""
        return constraints.independent(self._base.support, self._ndims) if self._ndims else self._base.support

    @property
    def mean(self) -> Real:
        """Mean of the base; shape ``batch_shape + event_shape``, read-only."""
        return self._base.mean

    @property
    def mode(self) -> Real:
        """Point of the highest density; shape ``batch_shape + event_shape``, read-only."""
        return self._base.mode

    @property
    def variance(self) -> Real:
        """Variance of each element; shape ``batch_shape + event_shape``, read-only."""
        return self._base.variance

    @property
    def stddev(self) -> Real:
        """Standard deviation of each element; shape ``batch_shape + event_shape``, read-only."""
        return self._base.stddev

    def _passes(self) -> bool:
        return super()._passes() and self._base._passes()

    _draw_plan = base_draw_plan
    _density_plan = base_density_plan
    _scored_plan = base_scored_plan

    def _noise_per_event(self) -> tuple[int, int] | None:
        if self._plan_of_draws() is not None or not keeps(type(self), Independent, LAW):
            return super()._noise_per_event()
        of_base, n = self._base._noise_per_event(), math.prod(self._tail("_base"))
        return None if of_base is None else (of_base[0] * n, of_base[1] * n)

    def _draw(self, noise: Noise, out: Real, workers: int) -> None:
        if self._base._passes():
            self._base._draw(noise, out, workers)
        else:
            self._asked(self._base.sample, noise, out, workers)

    def _rdraw(self, noise: Noise, out: Real, workers: int) -> None:
        # Further on it is not known which of the base's methods is meant.
        if self._base._passes() or not keeps(type(self), Independent, ("_draw",)):
            self._draw(noise, out, workers)
        else:
            self._asked(self._base.rsample, noise, out, workers)

    def _draw_scored(self, noise: Noise, out: Real, density: Real, workers: int) -> None:
        if type(self._base)._draw_scored is Distribution._draw_scored and self._base._passes():
            Distribution._draw_scored(self, noise, out, density, workers)  # sums densities as they are made
            return
        tail = self._tail("_base")
        of_base = np.empty(density.shape + tail, density.dtype)
        draw_scored(self._base, noise, out, of_base, workers)
        density[...] = sum_events(of_base, tail)

    def _log_prob(self, value: Real, event_ndim: int, out: Real) -> None:
        if self._base._passes():
            self._base._log_prob(value, event_ndim, out)
        else:
            out[...] = self._summed(self._base.log_prob(value), event_ndim, out.dtype)

    def _entropy(self, event_ndim: int) -> Real:
        if self._base._passes():
            return self._base._entropy(event_ndim)
        return self._summed(self._base.entropy(), event_ndim, self._dtype)

    # ---- of marginals --------------------------------------------------------------------

    @quiet
    def cdf(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Joint distribution function P(X <= value): the product of the base's over the reinterpreted dims.

        Parameters
        ----------
        value : array_like
            Its last dims must be `event_shape` exactly; those before broadcast with `batch_shape`.
        out : numpy.ndarray, optional
            Array of the result's shape and dtype to write to, and to return.

        Returns
        -------
        numpy.ndarray
            Shape and dtype as for `log_prob`.

        Raises
        ------
        AttributeError
            If the base has none.
        """
        of_base = self._of_marginals("cdf", value)
        flat = of_base.reshape(*of_base.shape[: of_base.ndim - self._ndims], math.prod(self._tail("_base")))
        product = np.asarray(np.multiply.reduce(flat, axis=-1))
        return _params.delivered(product, product.shape, product.dtype, out)

    def log_cdf(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Logarithm of `cdf`: the sum of the base's `log_cdf`. See `cdf`."""
        total = sum_events(self._of_marginals("log_cdf", value), self._tail("_base"))
        return _params.delivered(total, total.shape, total.dtype, out)

    def _of_marginals(self, method: str, value: ArrayLike) -> Real:
        """What a method of the base makes of a value, whose event dims must match."""
        of_base = getattr(self._base, method)
        array, _, _ = _params.values(value, self._dtype, self._event_shape)
        return np.asarray(of_base(array), order="C")

    # ---- noise of one's own --------------------------------------------------------------

    @property
    def _noise_shape(self) -> Shape:
        of_base: Shape = getattr(self._base, "_noise_shape", self._base._event_shape)
        return self._tail("_base") + of_base

    def colorize(self, eps: ArrayLike, *, out: Real | None = None) -> Real:
        """Draws from noise of one's own, if the base makes them: see `Normal.colorize`."""
        array, _, _ = _params.values(eps, self._dtype, self._noise_shape, "eps")
        return self._gaussian("colorize")(array, out=out)

    def whiten(self, x: ArrayLike, *, out: Real | None = None) -> Real:
        """The noise that events are made of, the inverse of `colorize`: see `Normal.whiten`."""
        array, _, _ = _params.values(x, self._dtype, self._event_shape, "x")
        return self._gaussian("whiten")(array, out=out)

    def mahalanobis(self, x: ArrayLike, *, out: Real | None = None) -> Real:
        """Squared Mahalanobis distance of events, the sum of the base's: see `Normal.mahalanobis`."""
        n = len(self._event_shape)
        return self._of_events("x", x, out, lambda value, result: self._mahalanobis(value, n, result), ())

    def _mahalanobis(self, x: Real, event_ndim: int, out: Real) -> None:
        self._gaussian("_mahalanobis")(x, event_ndim, out)

    def _gaussian(self, method: str) -> Callable[..., Real]:
        """A method of the base's that Gaussian distributions have."""
        found: Callable[..., Real] | None = getattr(self._base, method, None)
        if found is None:
            raise NotImplementedError(f"{type(self._base).__name__} has no {method.lstrip('_')}")
        return found

    def _summed(self, of_base: Real, event_ndim: int, dtype: RealDType) -> Real:
        """What a method of the base has returned, summed over batch dims among an event's `event_ndim`."""
        array = np.asarray(of_base, dtype, order="C")
        n = array.ndim - (event_ndim - len(self._base._event_shape))
        return sum_events(array, array.shape[n:])

    def _owner(self, name: str) -> Distribution | None:
        return self._base._owner(name)

    def _named(self) -> tuple[str, ...]:
        return self._base._named()

    def _parameters(self) -> dict[str, Any]:
        return {
            "base_distribution": self._base,
            "reinterpreted_batch_ndims": self._ndims,
            "validate_args": self._validate_args,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base!r}, {self._ndims})"


# ---- gradients: the base's, of a cotangent that repeats over the reinterpreted dims --------------


@own_vjp("rsample", Independent, sees_value=lambda d: sees_value(d._base, "rsample"))
def _vjp_rsample(d: Independent, replay: Callable[[], Noise]) -> Pull:
    return rule_of(type(d._base), "rsample").rule(d._base, replay)


@own_vjp(
    "sample_and_log_prob", Independent, sees_value=lambda d: sees_value_of(d._base, rule_of_scored(d._base))
)
def _vjp_scored(d: Independent, replay: Callable[[], Noise]) -> Pull:
    base, tail = rule_of_scored(d._base), d._tail("_base")
    pull = base.rule(d._base, replay)
    sees = sees_value_of(d._base, base)

    def pull_base(g: tuple[Real, Real], value: tuple[Real, Real]) -> Any:
        x = value[0]
        return pull((g[0], expanded(g[1], tail)), (x, d._base.log_prob(x)) if sees else value)

    return pull_base


@own_vjp("log_prob", Independent)
def _vjp_log_prob(d: Independent, /, value: ArrayLike) -> Pull:
    rule = rule_of(type(d._base), "log_prob")
    of_base = d._base.log_prob(value) if rule.sees_value else None
    return _over_events(rule.rule(d._base, value), of_base, d._tail("_base"))


@own_vjp("entropy", Independent)
def _vjp_entropy(d: Independent) -> Pull:
    rule = rule_of(type(d._base), "entropy")
    of_base = d._base.entropy() if rule.sees_value else None
    return _over_events(rule.rule(d._base), of_base, d._tail("_base"))


def _over_events(pull: Pull, of_base: Any, tail: Shape) -> Pull:
    return lambda g, _: pull(expanded(g, tail), of_base)


@own_vjp("log_cdf", Independent)
def _vjp_log_cdf(d: Independent, /, value: ArrayLike) -> Pull:
    rule = rule_of(type(d._base), "log_cdf")
    of_base = d._of_marginals("log_cdf", value) if rule.sees_value else None
    return _over_events(rule.rule(d._base, value), of_base, d._tail("_base"))


@own_vjp("cdf", Independent)
def _vjp_cdf(d: Independent, /, value: ArrayLike) -> Pull:
    of_base, n, tail = d._of_marginals("cdf", value), d._ndims, d._tail("_base")
    pull = rule_of(type(d._base), "cdf").rule(d._base, value)

    @quiet
    def pull_product(g: Real, _: Real) -> Gradients:
        flat = of_base.reshape(*of_base.shape[: of_base.ndim - n], math.prod(tail))
        others = np.ones_like(flat)  # the products of all factors but one
        np.multiply.accumulate(flat[..., :-1], axis=-1, out=others[..., 1:])
        others[..., :-1] *= np.multiply.accumulate(flat[..., :0:-1], axis=-1)[..., ::-1]
        result: Gradients = pull(np.asarray(g[..., np.newaxis] * others).reshape(of_base.shape), of_base)
        return result

    return pull_product


# ---- those that are the base's own ---------------------------------------------------------------


@own_vjp("colorize", Independent)
def _vjp_colorize(d: Independent, /, eps: ArrayLike) -> Pull:
    return rule_of(type(d._base), "colorize").rule(d._base, eps)


@own_vjp("whiten", Independent)
def _vjp_whiten(d: Independent, /, x: ArrayLike) -> Pull:
    return rule_of(type(d._base), "whiten").rule(d._base, x)


@own_vjp("mahalanobis", Independent)
def _vjp_mahalanobis(d: Independent, /, x: ArrayLike) -> Pull:
    return _over_events(rule_of(type(d._base), "mahalanobis").rule(d._base, x), None, d._tail("_base"))
