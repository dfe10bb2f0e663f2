"""Normal: independent scalar Gaussians."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from fastdist import _params
from fastdist._kernels.program import KERNELS, Kernel, apply
from fastdist._shapes import Shape
from fastdist._typing import ArrayLike, Real
from fastdist.distributions import _diagonal, constraints
from fastdist.distributions._cdf_family import Quantiles
from fastdist.distributions._diagonal import pull_draw, pull_scaled, pull_standardized
from fastdist.distributions._gaussian import HALF_LOG_2PI_E
from fastdist.distributions._own_noise import Gaussian
from fastdist.distributions.constraints import Constraint
from fastdist.distributions.distribution import Kept, shown
from fastdist.distributions.rules import Gradients, Pull, of_noise, own_vjp, summed

LOG_PROB, LOG_PROB_EVENTS = KERNELS["normal_log_prob"], KERNELS["normal_log_prob_events"]

CDF = {
    "cdf": KERNELS["normal_cdf"],
    "log_cdf": KERNELS["normal_log_cdf"],
    "survival_function": KERNELS["normal_survival"],
    "log_survival_function": KERNELS["normal_log_survival"],
    "icdf": KERNELS["normal_icdf"],
    "isf": KERNELS["normal_isf"],
    "log_icdf": KERNELS["normal_log_icdf"],
}
CHECKS = {
    "icdf": _params.check_probability,
    "isf": _params.check_probability,
    "log_icdf": _params.check_log_probability,
}
SCORE = KERNELS["score_diag"]


class Normal(Quantiles, Gaussian):
    r"""Normal (Gaussian) distribution of scalars.

    .. math:: p(x) = \frac{1}{\sigma \sqrt{2 \pi}} \exp\left(-\frac{(x - \mu)^2}{2 \sigma^2}\right)

    Its entropy is :math:`\log(\sigma \sqrt{2 \pi e})`. The cdf family is right to a few ulp in both tails:
    `log_cdf` down to values of -1e154 scales, `log_icdf` down to log probabilities of -1e308.

    Parameters
    ----------
    loc : array_like
        Mean μ.
    scale : array_like
        Standard deviation σ > 0. The two broadcast to ``batch_shape``; ``event_shape`` is ``()``.
        Both are copied, but for arrays that are lent: read-only, and so is whatever they are a view of.
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
    >>> import numpy as np, fastdist as fd
    >>> normal = fd.Normal(np.zeros((3, 2)), 1.0)
    >>> normal.batch_shape, normal.event_shape
    ((3, 2), ())
    >>> normal.sample((100,), rng=0).shape
    (100, 3, 2)
    >>> float(fd.Normal(0.0, 1.0).log_cdf(-40.0))
    -804.6084420137538
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    has_rsample = True
    _core_ndim: ClassVar[dict[str, int]] = {"loc": 0, "scale": 0, "_log_scale": 0, "_variance": 0}

    def __init__(self, loc: ArrayLike, scale: ArrayLike, *, validate_args: bool | None = None) -> None:
        self._take(validate_args, {"loc": loc, "scale": scale})

    @property
    def support(self) -> Constraint:
        """The real line."""
        return constraints.real

    @shown
    def loc(self) -> Real:
        """Mean, and point of the highest density; shape `batch_shape`, read-only."""
        return self._arrays["loc"]

    @shown
    def scale(self) -> Real:
        """Standard deviation; shape `batch_shape`, read-only."""
        return self._arrays["scale"]

    mean = loc
    mode = loc
    stddev = scale

    @shown
    @_params.quiet
    def variance(self) -> Real:
        """Square of `scale`; shape `batch_shape`, read-only."""
        return np.asarray(np.square(self._arrays["scale"]))

    # ---- draws and densities -------------------------------------------------------------

    _draw_plan = _diagonal.draw_plan
    _density_plan = _diagonal.density_plan
    _scored_plan = _diagonal.scored_plan
    _per_event = _diagonal.per_event

    def _log_prob(self, value: Real, event_ndim: int, out: Real) -> None:
        if event_ndim or self._arrays["scale"].size <= _diagonal.KEPT:
            super()._log_prob(value, event_ndim, out)
            return
        # So many logarithms are made in the result, where it has room for them.
        loc, scale = self._in(out.dtype, "loc", "scale")
        log_scale = out if scale.shape == out.shape else np.empty_like(scale)
        apply(KERNELS["log"], scale.shape, log_scale, scale)
        apply(LOG_PROB, out.shape, out, value, loc, scale, log_scale)

    def _event_dims(self, event_ndim: int) -> Shape:
        return self._batch_shape[len(self._batch_shape) - event_ndim :]

    @Kept
    def _entropy(self, event_ndim: int) -> Real:
        # In float64, as a float32 sum loses digits where it comes near 0.
        wide = self._per_event(event_ndim, _params.FLOAT64, HALF_LOG_2PI_E)
        return _params.pack(wide, self._dtype)

    # ---- the cdf family ------------------------------------------------------------------

    def _cdf(self, method: str, value: ArrayLike, out: Real | None) -> Real:
        check = CHECKS.get(method) if self._validate_args else None
        return self._of_value(CDF[method], value, out, ("loc", "scale"), check)

    # ---- noise of one's own --------------------------------------------------------------

    def _colorize(self, eps: Real, out: Real) -> None:
        out[...] = eps
        apply(KERNELS["colorize_diag"], out.shape, out, *self._in(out.dtype, "loc", "scale"))

    def _whiten(self, x: Real, out: Real) -> None:
        apply(KERNELS["whiten_diag"], out.shape, out, x, *self._in(out.dtype, "loc", "scale"))

    def _mahalanobis(self, x: Real, event_ndim: int, out: Real) -> None:
        loc, scale = self._in(out.dtype, "loc", "scale")
        shape, zero = out.shape + self._event_dims(event_ndim), np.zeros((), out.dtype)
        apply(LOG_PROB_EVENTS, shape, out, x, loc, scale, zero, event_ndim=event_ndim)
        out *= -2


# ---- gradients -----------------------------------------------------------------------------------


own_vjp("rsample", Normal)(pull_draw)
own_vjp("sample_and_log_prob", Normal)(of_noise)


def _register(pull: Callable[[Normal, str, ArrayLike, Kernel], Pull], method: str, score: Kernel) -> None:
    @own_vjp(method, Normal)
    def rule(d: Normal, /, value: ArrayLike) -> Pull:
        return pull(d, "value", value, score)


_register(pull_standardized, "log_prob", SCORE)
_register(pull_standardized, "cdf", KERNELS["score_cdf"])
_register(pull_standardized, "survival_function", KERNELS["score_survival"])
_register(pull_standardized, "log_cdf", KERNELS["score_log_cdf"])
_register(pull_standardized, "log_survival_function", KERNELS["score_log_survival"])
_register(pull_scaled, "icdf", KERNELS["score_icdf"])
_register(pull_scaled, "isf", KERNELS["score_isf"])
_register(pull_scaled, "log_icdf", KERNELS["score_log_icdf"])


@own_vjp("colorize", Normal)
def _vjp_colorize(d: Normal, /, eps: ArrayLike) -> Pull:
    return pull_scaled(d, "eps", eps, KERNELS["score_colorize_diag"])


@own_vjp("whiten", Normal)
def _vjp_whiten(d: Normal, /, x: ArrayLike) -> Pull:
    return pull_standardized(d, "x", x, KERNELS["score_whiten_diag"])


@own_vjp("mahalanobis", Normal)
def _vjp_mahalanobis(d: Normal, /, x: ArrayLike) -> Pull:
    return pull_standardized(d, "x", x, KERNELS["score_mahalanobis_diag"])


@own_vjp("entropy", Normal)
def _vjp_entropy(d: Normal) -> Pull:
    scale = d._arrays["scale"]

    @_params.quiet
    def pull(g: Real, _: Real) -> Gradients:
        by_scale = summed(g, d._parameter_shape("scale"))
        by_scale /= scale
        return {"loc": np.zeros(d._parameter_shape("loc"), d._dtype), "scale": by_scale}

    return pull
