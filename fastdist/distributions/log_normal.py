"""LogNormal, HalfNormal and LogitNormal: exp, the size and the logistic function of a Normal's draws.

Each is a `TransformedDistribution` with the Normal's parameters for its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import numpy as np

from fastdist import _params
from fastdist._kernels.program import KERNELS, Plan, elementwise, sum_events
from fastdist._kernels.sources import Noise
from fastdist._shapes import Shape
from fastdist._typing import ArrayLike, Real
from fastdist.distributions import constraints
from fastdist.distributions._gaussian import HALF_LOG_2PI, STANDARD, log
from fastdist.distributions.constraints import Constraint
from fastdist.distributions.distribution import Distribution, score_value
from fastdist.distributions.normal import LOG_PROB_EVENTS, Normal
from fastdist.distributions.rules import Gradients, Pull, own_vjp, recorded, rule_of, summed
from fastdist.distributions.transformed import TransformedDistribution
from fastdist.distributions.transforms import AbsTransform, ExpTransform, SigmoidTransform

LOG_2 = 0.69314718055994530942
SQRT_2_OVER_PI = 0.79788456080286535588


class _OfNormal(TransformedDistribution):
    """A transformed Normal that has the parameters of it."""

    _base: Normal

    @property
    def scale(self) -> Real:
        """Standard deviation of the Normal; shape `batch_shape`, read-only."""
        return self._base.scale

    def _shown(self) -> tuple[str, ...]:
        return tuple(self.arg_constraints)

    def _named(self) -> tuple[str, ...]:
        return self._shown()

    def _along(self) -> tuple[str, ...]:
        return ()

    def _owner(self, name: str) -> Distribution | None:
        return self._base if name in self._shown() else None

    def _parameter_shape(self, name: str) -> Shape:
        return self._base._parameter_shape(name)

    def _parameters(self) -> dict[str, Any]:
        of_base = self._base.parameters
        return {**{name: of_base[name] for name in self._shown()}, "validate_args": self._validate_args}

    def _gradients(self, by_base: Gradients, by_transforms: dict[str, Any] | None = None) -> Gradients:
        return {name: by_base[name] for name in self._shown()}

    def __repr__(self) -> str:
        return Distribution.__repr__(self)

    def _of_parameters(self, name: str, make: Callable[[Real, Real], ArrayLike]) -> Real:
        """What a function in double makes of loc and scale, in the shape of the batch, read-only; kept."""

        def made() -> Real:
            loc, scale = self._base._in(_params.FLOAT64, "loc", "scale")
            with np.errstate(all="ignore"):
                return np.asarray(make(loc, scale), self._dtype)

        return np.broadcast_to(self._kept_here(name, made), self._batch_shape)


class LogNormal(_OfNormal):
    r"""Distribution of exp(x), x being normal.

    .. math:: p(y) = \frac{1}{y \sigma \sqrt{2 \pi}} \exp\left(-\frac{(\log y - \mu)^2}{2 \sigma^2}\right)

    Its mean is :math:`\exp(\mu + \sigma^2/2)`, its entropy :math:`\mu + \log(\sigma \sqrt{2 \pi e})`.

    Parameters
    ----------
    loc : array_like
        Mean μ of the logarithm.
    scale : array_like
        Standard deviation σ > 0 of the logarithm. The two broadcast to ``batch_shape``.
    validate_args : bool, optional
        Whether to check that `loc` is finite and `scale` finite and positive. Default True.

    Raises
    ------
    ValueError
        For such values, or shapes that do not broadcast.
    TypeError
        For a parameter that is no array of reals up to float64.

    Examples
    --------
    >>> import fastdist as fd
    >>> d = fd.LogNormal([0.0, 1.0], 0.5)
    >>> d
    LogNormal(loc: (2,), scale: (2,))
    >>> d.sample((100,), rng=0).shape, round(float(d.mean[0]), 4)
    ((100, 2), 1.1331)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }

    def __init__(self, loc: ArrayLike, scale: ArrayLike, *, validate_args: bool | None = None) -> None:
        super().__init__(
            Normal(loc, scale, validate_args=validate_args), ExpTransform(), validate_args=validate_args
        )

    @property
    def loc(self) -> Real:
        """Mean of the logarithm; shape `batch_shape`, read-only."""
        return self._base.loc

    @property
    def mean(self) -> Real:
        """Mean exp(loc + scale²/2); shape `batch_shape`, read-only."""
        return self._of_parameters("mean", lambda loc, scale: _exp(loc + 0.5 * scale * scale))

    @property
    def mode(self) -> Real:
        """Point of the highest density, exp(loc - scale²); shape `batch_shape`, read-only."""
        return self._of_parameters("mode", lambda loc, scale: _exp(loc - scale * scale))

    @property
    def variance(self) -> Real:
        """Variance (exp(scale²) - 1) exp(2 loc + scale²); shape `batch_shape`, read-only."""
        return self._of_parameters("variance", lambda *given: np.square(_stddev_of_log_normal(*given)))

    @property
    def stddev(self) -> Real:
        """Standard deviation; shape `batch_shape`, read-only."""
        return self._of_parameters("stddev", _stddev_of_log_normal)

    @_params.quiet
    def _entropy(self, event_ndim: int) -> Real:
        tail = self._batch_shape[len(self._batch_shape) - event_ndim :]
        return np.asarray(self._base._entropy(event_ndim) + sum_events(self._base._arrays["loc"], tail))


def _exp(x: ArrayLike) -> Real:
    return elementwise(KERNELS["exp"], np.asarray(x))


def _log_complement(x: Real) -> Real:
    """Of 1 - x, its logarithm."""
    return elementwise(KERNELS["log_complement"], x)


def _stddev_of_log_normal(loc: Real, scale: Real) -> Real:
    """sqrt(exp(scale^2) - 1) exp(loc + scale^2/2), by logarithms where a factor leaves the range."""
    square = np.asarray(scale * scale)
    half = np.asarray(0.5 * square)
    # exp(x) - 1 = tanh(x/2) / sigmoid(-x), of a square that does not vanish
    less_1 = elementwise(KERNELS["tanh"], half) / elementwise(KERNELS["sigmoid"], np.asarray(-square))
    root = np.where(square < 1e-20, scale, np.sqrt(less_1))
    direct = root * _exp(loc + half)
    log_root = 0.5 * elementwise(KERNELS["softplus_inverse"], square)
    log_root = np.where(square < 1e-20, elementwise(KERNELS["log"], scale), log_root)
    within = (direct > 1e-300) & (direct < np.inf)
    return np.where(within, direct, _exp(log_root + (loc + half)))


class HalfNormal(_OfNormal):
    r"""Distribution of the size of a normal draw around 0.

    .. math:: p(y) = \frac{\sqrt 2}{\sigma \sqrt \pi} \exp\left(-\frac{y^2}{2 \sigma^2}\right), \quad y \ge 0

    Its mean is :math:`\sigma \sqrt{2/\pi}`, its entropy :math:`\log(\sigma \sqrt{\pi e / 2})`.

    Parameters
    ----------
    scale : array_like
        σ > 0; its shape is ``batch_shape``.
    validate_args : bool, optional
        Whether to check that `scale` is finite and positive. Default True.

    Raises
    ------
    ValueError
        For such values.
    TypeError
        If it is no array of reals up to float64.

    Examples
    --------
    >>> import fastdist as fd
    >>> d = fd.HalfNormal([1.0, 2.0])
    >>> d.sample((100,), rng=0).shape, round(float(d.cdf(1.0)[0]), 4)
    ((100, 2), 0.6827)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {"scale": constraints.positive}

    def __init__(self, scale: ArrayLike, *, validate_args: bool | None = None) -> None:
        super().__init__(
            Normal(0.0, scale, validate_args=validate_args), AbsTransform(), validate_args=validate_args
        )

    @property
    def support(self) -> Constraint:
        """Numbers from 0 on."""
        return constraints.nonnegative

    @property
    def mean(self) -> Real:
        """Mean scale √(2/π); shape `batch_shape`, read-only."""
        return self._of_parameters("mean", lambda _, scale: SQRT_2_OVER_PI * scale)

    @property
    def mode(self) -> Real:
        """Point of the highest density, 0; shape `batch_shape`, read-only."""
        return self._of_parameters("mode", lambda _, scale: np.zeros_like(scale))

    @property
    def variance(self) -> Real:
        """Variance scale² (1 - 2/π); shape `batch_shape`, read-only."""
        return self._of_parameters("variance", lambda _, scale: (1 - SQRT_2_OVER_PI**2) * scale * scale)

    @property
    def stddev(self) -> Real:
        """Standard deviation; shape `batch_shape`, read-only."""
        return self._of_parameters("stddev", lambda _, scale: (1 - SQRT_2_OVER_PI**2) ** 0.5 * scale)

    # ---- draws and densities: twice the Normal's -------------------------------------------

    def _scored_plan(self, event_ndim: int) -> Plan | None:
        plan, dtype = self._plan_of_draws(), self._dtype
        if plan is None:
            return None
        constant = self._base._per_event(event_ndim, dtype, HALF_LOG_2PI - LOG_2)
        return plan.first(LOG_PROB_EVENTS, *STANDARD[dtype.char], constant)

    def _draw_scored(self, noise: Noise, out: Real, density: Real, workers: int) -> None:
        Distribution._draw_scored(self, noise, out, density, workers)

    def _log_prob_of(self, y: Real, out: Real) -> None:
        event_ndim = y.ndim - out.ndim
        score_value(self._base, np.array(y, order="C"), event_ndim, out)
        out += LOG_2 * math.prod(y.shape[out.ndim :])
        out[(y < 0).any(axis=tuple(range(-event_ndim, 0)))] = -np.inf

    @_params.quiet
    def _entropy(self, event_ndim: int) -> Real:
        tail = self._batch_shape[len(self._batch_shape) - event_ndim :]
        less = sum_events(np.full((1,) * event_ndim, LOG_2, self._dtype), tail)
        return np.asarray(self._base._entropy(event_ndim) - less)

    # ---- the cdf family ----------------------------------------------------------------------

    cdf = TransformedDistribution.cdf
    icdf = TransformedDistribution.icdf
    log_cdf = TransformedDistribution.log_cdf
    survival_function = TransformedDistribution.survival_function
    log_survival_function = TransformedDistribution.log_survival_function

    def _check_cdf(self, method: str) -> None:
        pass

    def _cdf_of(self, method: str, value: Real, out: Real) -> None:
        if method == "icdf":
            out[...] = self._quantile_of(value)
            return
        x = np.maximum(value, 0)
        cdf = self._base._of_value(KERNELS["half_normal_cdf"], x, None, ("loc", "scale"))
        if method == "cdf":
            out[...] = cdf
        elif method == "log_cdf":
            outside = np.asarray(2 * self._base.survival_function(x))
            out[...] = np.where(cdf < 0.5, log(cdf), _log_complement(outside))
        elif method == "survival_function":
            out[...] = 2 * self._base.survival_function(x)
        else:
            rest = LOG_2 + self._base.log_survival_function(x)
            out[...] = np.where(cdf < 0.5, _log_complement(cdf), rest)

    def _quantile_of(self, p: Real) -> Real:
        """Upper quantiles of half the complement, exact from 1/2 on; below that a step of Newton's more."""
        wide = np.asarray(p, np.float64)
        standard = Normal(0.0, 1.0, validate_args=False)
        z = -standard.icdf(np.asarray(0.5 * (1 - wide)))
        half = KERNELS["half_normal_cdf"]
        error = standard._of_value(half, z, None, ("loc", "scale")) - wide
        step = error / (SQRT_2_OVER_PI * _exp(-0.5 * z * z))
        z = np.where(wide < 0.5, z - step, z)
        return np.asarray(np.abs(z) * self._base._in(_params.FLOAT64, "scale")[0])


class LogitNormal(_OfNormal):
    r"""Distribution of 1 / (1 + exp(-x)), x being normal.

    .. math:: p(y) = \frac{1}{y (1 - y) \sigma \sqrt{2 \pi}}
        \exp\left(-\frac{(\log(y / (1 - y)) - \mu)^2}{2 \sigma^2}\right)

    Its median is the logistic function of μ; mean, variance and entropy have no closed form.

    Parameters
    ----------
    loc : array_like
        Mean μ of the logit.
    scale : array_like
        Standard deviation σ > 0 of the logit. The two broadcast to ``batch_shape``.
    validate_args : bool, optional
        Whether to check that `loc` is finite and `scale` finite and positive. Default True.

    Raises
    ------
    ValueError
        For such values, or shapes that do not broadcast.
    TypeError
        For a parameter that is no array of reals up to float64.

    Examples
    --------
    >>> import fastdist as fd
    >>> d = fd.LogitNormal(0.0, 10.0)
    >>> y, log_prob = d.sample_and_log_prob((1000,), rng=0)
    >>> bool((y <= 1).all()), float(d.icdf(0.5))
    (True, 0.5)
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }

    def __init__(self, loc: ArrayLike, scale: ArrayLike, *, validate_args: bool | None = None) -> None:
        super().__init__(
            Normal(loc, scale, validate_args=validate_args), SigmoidTransform(), validate_args=validate_args
        )

    @property
    def loc(self) -> Real:
        """Mean of the logit; shape `batch_shape`, read-only."""
        return self._base.loc

    def _no_closed_form(self) -> NoReturn:
        raise NotImplementedError("LogitNormal has no mean, mode, variance and entropy in closed form")

    mean = mode = variance = stddev = property(_no_closed_form, doc="Not in closed form.")

    def _entropy(self, event_ndim: int) -> Real:
        self._no_closed_form()


# ---- gradients: those of the Normal's parameters ---------------------------------------------------


own_vjp("sample_and_log_prob", HalfNormal)(rule_of(TransformedDistribution, "sample_and_log_prob").rule)


@own_vjp("log_prob", HalfNormal)
def _vjp_half_log_prob(d: HalfNormal, /, value: ArrayLike) -> Pull:
    pull = rule_of(Normal, "log_prob").rule(d._base, value)

    def pull_flat(g: Real, density: Real) -> Gradients:
        by: Gradients = pull(g, density)
        return {"scale": by["scale"], "value": by["value"]}

    return pull_flat


@own_vjp("entropy", LogNormal)
def _vjp_entropy(d: LogNormal) -> Pull:
    pull = rule_of(Normal, "entropy").rule(d._base)

    def pull_both(g: Real, _: Real) -> Gradients:
        by: Gradients = pull(g, None)
        return {"loc": summed(g, d._parameter_shape("loc")), "scale": by["scale"]}

    return pull_both


@own_vjp("entropy", HalfNormal)
def _vjp_half_entropy(d: HalfNormal) -> Pull:
    pull = rule_of(Normal, "entropy").rule(d._base)
    return lambda g, _: {"scale": pull(g, None)["scale"]}


def _register(method: str, of_normal: str) -> None:
    """A rule of the cdf family: twice that of the Normal's, above 0."""

    @own_vjp(method, HalfNormal, sees_value=True)
    def rule(d: HalfNormal, /, value: ArrayLike) -> Pull:
        array, value_shape, _ = recorded(value, d)
        # Half the law lies below 0 of the Normal, which the logarithm of what is above does not tell.
        times = 1 if of_normal.startswith("log_") else 2
        array = np.broadcast_to(array, value_shape)
        at = np.asarray(np.maximum(array, 0))
        pull_normal = rule_of(Normal, of_normal).rule(d._base, at)

        @_params.quiet
        def pull(g: Real, result: Real) -> Gradients:
            g = np.asarray(times * np.where(array < 0, 0, g), g.dtype)
            if method == "log_cdf":
                g = np.asarray(np.where(at > 0, g / _exp(result), 0), g.dtype)
            by: Gradients = pull_normal(g, None)
            return {"scale": by["scale"], "value": by["value"]}

        return pull


_register("cdf", "cdf")
_register("log_cdf", "cdf")
_register("survival_function", "survival_function")
_register("log_survival_function", "log_survival_function")


@own_vjp("icdf", HalfNormal, sees_value=True)
def _vjp_half_icdf(d: HalfNormal, /, value: ArrayLike) -> Pull:
    array, value_shape, dtype = recorded(value, d)
    upper = np.asarray(0.5 * (1 - np.broadcast_to(array, value_shape)), dtype)
    pull_normal = rule_of(Normal, "isf").rule(d._base, upper)

    @_params.quiet
    def pull(g: Real, y: Real) -> Gradients:
        by_value: Real = np.asarray(-0.5 * pull_normal(g, None)["value"])
        by_scale = summed(np.asarray(g * y), d._parameter_shape("scale")) / d._base._arrays["scale"]
        return {"scale": np.asarray(by_scale, d._dtype), "value": by_value}

    return pull
