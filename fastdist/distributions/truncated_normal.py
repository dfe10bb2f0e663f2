"""TruncatedNormal: scalar Gaussians between two bounds.

With the mode m, loc or the bound next to it, z0 = (m - loc) / scale and t = (x - m) / scale, the density at x
over that at m is exp(-t (t / 2 + z0)), in which nothing cancels however far loc is from the bounds. `mass` is
its integral over t, moments are those of t, and all else is made of these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from fastdist import _params
from fastdist._kernels import pullbacks
from fastdist._kernels.program import KERNELS, Plan, apply, sum_events
from fastdist._kernels.sources import Noise
from fastdist._params import FLOAT64, quiet
from fastdist._typing import ArrayLike, NDArray, Real, RealDType
from fastdist.distributions import constraints
from fastdist.distributions._cdf_family import Quantiles
from fastdist.distributions._gaussian import log
from fastdist.distributions.constraints import Constraint
from fastdist.distributions.distribution import Distribution, shown
from fastdist.distributions.rules import Gradients, Pull, cast, new, own_vjp, recorded, summed

PARAMETERS = ("loc", "scale", "low", "high")
LOG_PROB = KERNELS["truncated_log_prob"]
# What draws are made by, and the mass and moments (kernels.def).
MAP = ("_p", "_q", "_h")
PLACES = ("_mode", "_slope", "_below", "_above")
DISTANCES = PLACES[1:]
MOMENTS = ("_mass", "_first", "_second", "_third", "_fourth")

CDF = {
    "cdf": KERNELS["truncated_cdf"],
    "log_cdf": KERNELS["truncated_log_cdf"],
    "survival_function": KERNELS["truncated_survival"],
    "log_survival_function": KERNELS["truncated_log_survival"],
    "icdf": KERNELS["truncated_icdf"],
    "isf": KERNELS["truncated_isf"],
    "log_icdf": KERNELS["truncated_log_icdf"],
}
CHECKS = {
    "icdf": _params.check_probability,
    "isf": _params.check_probability,
    "log_icdf": _params.check_log_probability,
}


class TruncatedNormal(Quantiles, Distribution):
    r"""Normal (Gaussian) distribution of scalars between two bounds.

    .. math::
        p(x) = \frac{\phi((x - \mu) / \sigma)}{\sigma (\Phi(\beta) - \Phi(\alpha))}, \quad
        \alpha = \frac{a - \mu}{\sigma}, \; \beta = \frac{b - \mu}{\sigma}

    for x from a to b, and 0 elsewhere, with the density :math:`\phi` and the distribution function
    :math:`\Phi` of the standard normal.

    Parameters
    ----------
    loc : array_like
        Mean μ of the normal that is truncated.
    scale : array_like
        Its standard deviation σ > 0.
    low, high : array_like
        Bounds a < b, which may be -inf and inf. All four broadcast to ``batch_shape``; ``event_shape`` is
        ``()``. They are copied, but for arrays that are lent: read-only, and so is whatever they are a view
        of.
    validate_args : bool, optional
        Whether to check that `loc` is finite, `scale` finite and positive, and `low` below `high`. Default
        True.

    Raises
    ------
    ValueError
        For such values, or shapes that do not broadcast.
    TypeError
        For a parameter that is no array of reals up to float64.

    Notes
    -----
    A draw takes one normal ε, and is the x with as much mass below it as ε has: a monotone
    function of ε, which is ε's own colour where the bounds are far, and never outside of the bounds.
    Densities, moments and the cdf family are right to some 1e-14 of themselves, however far in a tail the
    bounds are or however near each other. Gradients of draws by all four parameters are those of that
    function, by `low` :math:`(1 - \Phi(\varepsilon)) \, \phi(\alpha) / \phi(z)` with z = (x - μ) / σ; of
    densities and entropies they are covariances (N. L. Johnson, S. Kotz and N. Balakrishnan, "Continuous
    Univariate Distributions" 1, 2nd ed., 1994, section 13.10).

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> d = fd.TruncatedNormal(np.zeros((3, 2)), 1.0, -1.0, [1.0, np.inf])
    >>> d.batch_shape, d.sample((100,), rng=0).shape
    ((3, 2), (100, 3, 2))
    >>> float(fd.TruncatedNormal(0.0, 1.0, 40.0, 41.0).mean)
    40.02496884720726
    >>> float(d.log_prob(-2.0)[0, 0])
    -inf
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "low": constraints.extended_real,
        "high": constraints.extended_real,
    }
    has_rsample = True
    _core_ndim: ClassVar[dict[str, int]] = dict.fromkeys(
        (*PARAMETERS, *MAP, *MOMENTS, *PLACES, "_constant", "_mean", "_variance", "_stddev"), 0
    )

    def __init__(
        self,
        loc: ArrayLike,
        scale: ArrayLike,
        low: ArrayLike,
        high: ArrayLike,
        *,
        validate_args: bool | None = None,
    ) -> None:
        bounds = {"low": low, "high": high}
        self._take(validate_args, {"loc": loc, "scale": scale, **bounds}, unchecked=bounds)
        if self._validate_args:
            good = self._arrays["low"] < self._arrays["high"]
            if not good.all():
                self._raise_bounds(good)

    def _raise_bounds(self, good: NDArray[np.bool_]) -> None:
        index = tuple(map(int, np.unravel_index(int(np.argmin(good)), good.shape)))
        low, high = (np.broadcast_to(self._arrays[name], good.shape)[index] for name in ("low", "high"))
        shapes = ", ".join(f"{name} {self._parameter_shape(name)}" for name in ("low", "high"))
        raise ValueError(f"low must be below high: shapes {shapes}, at {index} they are {low} and {high}")

    # ---- parameters ----------------------------------------------------------------------

    @property
    def support(self) -> Constraint:
        """The numbers from `low` to `high`."""
        return constraints.interval(self.low, self.high)

    @shown
    def loc(self) -> Real:
        """Mean of the normal that is truncated; shape `batch_shape`, read-only."""
        return self._arrays["loc"]

    @shown
    def scale(self) -> Real:
        """Its standard deviation; shape `batch_shape`, read-only."""
        return self._arrays["scale"]

    @shown
    def low(self) -> Real:
        """Lower bound; shape `batch_shape`, read-only."""
        return self._arrays["low"]

    @shown
    def high(self) -> Real:
        """Upper bound; shape `batch_shape`, read-only."""
        return self._arrays["high"]

    # ---- moments -------------------------------------------------------------------------

    @shown
    def mode(self) -> Real:
        """Point of the highest density: `loc`, or the bound next to it; shape `batch_shape`, read-only."""
        return np.asarray(np.clip(self._arrays["loc"], self._arrays["low"], self._arrays["high"]))

    @shown
    @quiet
    def mean(self) -> Real:
        """Mean; shape `batch_shape`, read-only."""
        mode, scale, low, high = self._wide_arrays("_mode", "scale", "low", "high")
        return _params.pack(np.asarray(np.clip(mode + scale * self._moments()[1], low, high)), self._dtype)

    @shown
    @quiet
    def variance(self) -> Real:
        """Variance; shape `batch_shape`, read-only."""
        (scale,) = self._wide_arrays("scale")
        return _params.pack(np.asarray(np.square(scale) * self._spread()), self._dtype)

    @shown
    @quiet
    def stddev(self) -> Real:
        """Standard deviation; shape `batch_shape`, read-only."""
        (scale,) = self._wide_arrays("scale")
        return _params.pack(np.asarray(scale * np.sqrt(self._spread())), self._dtype)

    def _spread(self) -> Real:
        """Variance of t."""
        _, first, second, _, _ = self._moments()
        return np.asarray(second - np.square(first))

    def _wide_arrays(self, *names: str) -> tuple[Real, ...]:
        """Arrays in float64, in which all is made that is kept."""
        self._places()
        return self._in(FLOAT64, *names)

    @quiet
    def _places(self) -> None:
        """Where the mode is, and in scales how far from loc and from the bounds."""
        if "_above" in self._arrays:
            return
        loc, scale, low, high = self._in(FLOAT64, *PARAMETERS)
        mode = np.clip(loc, low, high)
        self._keep("_mode", mode)
        self._keep("_slope", _standardized(mode, loc, scale))
        self._keep("_below", _standardized(mode, low, scale))
        self._keep("_above", _standardized(high, mode, scale))

    def _several(self, kernel: str, names: tuple[str, ...], of: tuple[str, ...]) -> list[Real]:
        """Arrays that one kernel makes of others, in float64; kept."""
        if names[-1] not in self._arrays:
            arrays = self._wide_arrays(*of)
            shape = np.broadcast(*arrays).shape
            made = [np.empty(shape) for _ in names]
            apply(KERNELS[kernel], shape, *made, *arrays)
            for name, array in zip(names, made, strict=True):
                self._keep(name, array)
        return [self._arrays[name] for name in names]

    def _moments(self) -> list[Real]:
        """The mass, and the means of the first four powers of t."""
        return self._several("truncated_moments", MOMENTS, ("_slope", "_below", "_above"))

    # ---- draws and densities ---------------------------------------------------------------

    def _draw_plan(self) -> Plan | None:
        self._several("truncate_prepare", MAP, PARAMETERS)
        return Plan(KERNELS["truncate"], *self._in_own(self._dtype, *PARAMETERS, *MAP))

    def _density_plan(self, event_ndim: int, dtype: RealDType) -> Plan | None:
        return None if event_ndim else Plan(LOG_PROB, *self._of_densities(dtype))

    def _log_prob(self, value: Real, event_ndim: int, out: Real) -> None:
        if event_ndim == 0:
            super()._log_prob(value, event_ndim, out)
            return
        tail = self._batch_shape[len(self._batch_shape) - event_ndim :]
        out[...] = 0
        pullbacks.sum_made(LOG_PROB, out, tail, value, *self._of_densities(out.dtype))

    def _of_densities(self, dtype: RealDType) -> tuple[Real, ...]:
        self._log_normalizer()
        return self._in_own(dtype, "_mode", "scale", "_slope", "_constant", "low", "high")

    def _in_own(self, dtype: RealDType, *names: str) -> tuple[Real, ...]:
        """Arrays in a dtype, whatever they are kept in."""
        return tuple(_params.pack(self._arrays[name], dtype) for name in names)

    @quiet
    def _log_normalizer(self) -> Real:
        """Minus the log density at the mode."""

        def make() -> Real:
            (scale,) = self._wide_arrays("scale")
            return np.asarray(log(scale) + log(self._moments()[0]))

        return self._kept("_constant", make)

    @quiet
    def _entropy(self, event_ndim: int) -> Real:
        (slope,) = self._wide_arrays("_slope")
        _, first, second, _, _ = self._moments()
        wide = np.asarray(self._log_normalizer() + (0.5 * second + slope * first))
        if event_ndim:
            wide = sum_events(wide, self._batch_shape[len(self._batch_shape) - event_ndim :])
        return _params.pack(wide, self._dtype)

    # ---- the cdf family --------------------------------------------------------------------

    def _cdf(self, method: str, value: ArrayLike, out: Real | None) -> Real:
        check = CHECKS.get(method) if self._validate_args else None
        return self._of_value(CDF[method], value, out, PARAMETERS, check)


def _standardized(x: Real, y: Real, scale: Real) -> Real:
    """(x - y) / scale, where the difference may overflow."""
    difference = np.asarray(x - y)
    halves = (0.5 * x - 0.5 * y) / (0.5 * scale)
    return np.where(np.isfinite(difference), difference / scale, halves)


# ---- gradients -----------------------------------------------------------------------------------


def _by_parameters(d: TruncatedNormal, **gradients: Real) -> Gradients:
    """Gradients of the shape of the batch, unbroadcast, summed to the parameters' own."""
    return {
        name: summed(np.ascontiguousarray(one, d._dtype), d._parameter_shape(name))
        for name, one in gradients.items()
    }


def _finite(distance: Real) -> Real:
    """Distances, 0 in place of infinite ones, which count for nothing."""
    return np.where(np.isinf(distance), 0, distance)


def at_bounds(d: TruncatedNormal) -> tuple[Real, Real]:
    """Densities at the bounds, times the scale."""
    mass = d._moments()[0]
    slope, below, above = d._wide_arrays("_slope", "_below", "_above")
    at_low = np.exp(-below * (0.5 * below - slope)) / mass
    return at_low, np.exp(-above * (0.5 * above + slope)) / mass


@own_vjp("rsample", TruncatedNormal, sees_value=True)
def _vjp_rsample(d: TruncatedNormal, replay: Callable[[], Noise]) -> Pull:
    @quiet
    def pull(g: Real, value: Real) -> Gradients:
        arrays = d._in(g.dtype, *PARAMETERS)
        shape = np.broadcast(*arrays).shape
        by_low, by_high, by_t, by_all = [new(g, shape) for _ in range(4)]
        draws = _params.pack(value, g.dtype)
        pullbacks.draw_truncated(replay(), by_low, by_high, by_t, by_all, g, draws, *arrays)
        slope, below, above = d._wide_arrays("_slope", "_below", "_above")
        by_loc = by_all - by_low - by_high
        by_scale = by_t + slope * by_loc + _finite(below) * by_low - _finite(above) * by_high
        return _by_parameters(d, loc=by_loc, scale=by_scale, low=by_low, high=by_high)

    return pull


@own_vjp("log_prob", TruncatedNormal)
def _vjp_log_prob(d: TruncatedNormal, /, value: ArrayLike) -> Pull:
    array, value_shape, dtype = recorded(value, d)

    @quiet
    def pull(g: Real, _: Real) -> Gradients:
        arrays = d._in(dtype, *PARAMETERS)
        shape = np.broadcast(*arrays).shape
        by_value = new(g, value_shape)
        by_all, by_t, by_t2 = [new(g, shape) for _ in range(3)]
        pullbacks.log_prob_truncated(by_value, by_all, by_t, by_t2, g, array, *arrays)
        _, first, second, _, _ = d._moments()
        slope, scale = d._wide_arrays("_slope", "scale")
        at_low, at_high = at_bounds(d)
        by_loc = by_t - first * by_all
        by_scale = by_t2 - second * by_all + 2 * slope * by_loc
        return {
            **_by_parameters(
                d,
                loc=by_loc / scale,
                scale=by_scale / scale,
                low=by_all * at_low / scale,
                high=-by_all * at_high / scale,
            ),
            "value": by_value,
        }

    return pull


def _register(method: str, place: str, rate: str, sign: int, sign_of_value: int) -> None:
    """A rule of the cdf family, by kernels of places and rates and by the signs of their products."""
    of_place, of_rate = KERNELS[f"truncated_place{place}"], KERNELS[f"score_truncated_{rate}"]

    @own_vjp(method, TruncatedNormal)
    def rule(d: TruncatedNormal, /, value: ArrayLike) -> Pull:
        array, value_shape, dtype = recorded(value, d)

        @quiet
        def pull(g: Real, _: Real) -> Gradients:
            d._places()
            parameters, distances = d._in(dtype, *PARAMETERS), d._in_own(dtype, *DISTANCES)
            by_value = new(g, value_shape)
            found = tuple(new(g, d._parameter_shape(name)) for name in PARAMETERS)
            pullbacks.cdf_truncated(
                of_place, of_rate, bool(place), by_value, found, g, array, parameters, distances
            )
            if sign < 0:
                for by in found:
                    np.negative(by, out=by)
            if sign_of_value < 0:
                np.negative(by_value, out=by_value)
            return {**cast(dict(zip(PARAMETERS, found, strict=True)), d._dtype), "value": by_value}

        return pull


_register("cdf", "", "cdf", -1, 1)
_register("survival_function", "", "cdf", 1, -1)
_register("log_cdf", "", "log_cdf", -1, 1)
_register("log_survival_function", "", "log_survival", 1, -1)
_register("icdf", "_icdf", "icdf", 1, 1)
_register("isf", "_isf", "icdf", 1, -1)
_register("log_icdf", "_log_icdf", "log_icdf", 1, 1)


@own_vjp("entropy", TruncatedNormal)
def _vjp_entropy(d: TruncatedNormal) -> Pull:
    @quiet
    def pull(g: Real, _: Real) -> Gradients:
        _, first, second, third, fourth = d._moments()
        slope, below, above, scale = d._wide_arrays("_slope", "_below", "_above", "scale")
        at_low, at_high = at_bounds(d)
        spread, skew = second - np.square(first), third - first * second
        # Half the covariances of the square of z with z and with itself.
        of_loc = slope * spread + 0.5 * skew
        of_scale = 2 * slope * (slope * spread + skew) + 0.5 * (fourth - np.square(second))
        # Means of the square of z less that at a bound.
        level = second + 2 * slope * first
        of_low = at_low * (0.5 * (level - _finite(below * (below - 2 * slope))) - 1)
        of_high = at_high * (1 - 0.5 * (level - _finite(above * (above + 2 * slope))))
        weight = summed(g, np.shape(slope)) / scale
        return _by_parameters(
            d, loc=weight * of_loc, scale=weight * of_scale, low=weight * of_low, high=weight * of_high
        )

    return pull
