"""Normal: independent scalar Gaussians."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from fastdist import _params, _shapes
from fastdist._kernels import bridge
from fastdist._kernels.bridge import Noise
from fastdist._params import ArrayLike, Destination, Real
from fastdist.distributions import constraints
from fastdist.distributions._gaussian import HALF_LOG_2PI, HALF_LOG_2PI_E, log, sum_events
from fastdist.distributions._prepared import Plan, plan, take_normal
from fastdist.distributions.constraints import Constraint
from fastdist.distributions.distribution import Distribution


class Normal(Distribution):
    r"""Normal (Gaussian) distribution of scalars.

    .. math:: p(x) = \frac{1}{\sigma \sqrt{2 \pi}} \exp\left(-\frac{(x - \mu)^2}{2 \sigma^2}\right)

    Its entropy is :math:`\log(\sigma \sqrt{2 \pi e})`.

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
    _core_ndim: ClassVar[dict[str, int]] = {"loc": 0, "scale": 0, "_variance": 0}

    def __init__(self, loc: ArrayLike, scale: ArrayLike, *, validate_args: bool | None = None) -> None:
        if take_normal(self, loc, scale, validate_args):
            return
        arrays, shapes = _params.parameters(self._core_ndim, loc=loc, scale=scale)
        batch_shape = _shapes.broadcast_shapes(**shapes)
        self._set_up(arrays, batch_shape, (), arrays["loc"].dtype, validate_args)
        self._shapes = shapes
        if self._validate_args:
            _params.check_finite("loc", arrays["loc"], shapes["loc"])
            _params.check_positive("scale", arrays["scale"], shapes["scale"])

    @property
    def support(self) -> Constraint:
        """The real line."""
        return constraints.real

    @property
    def loc(self) -> Real:
        """Mean; shape `batch_shape`, read-only."""
        return self._view("loc")

    @property
    def scale(self) -> Real:
        """Standard deviation; shape `batch_shape`, read-only."""
        return self._view("scale")

    @property
    def mean(self) -> Real:
        """Mean, `loc`; shape `batch_shape`, read-only."""
        return self._view("loc")

    @property
    def mode(self) -> Real:
        """Point of the highest density, `loc`; shape `batch_shape`, read-only."""
        return self._view("loc")

    @property
    def stddev(self) -> Real:
        """Standard deviation, `scale`; shape `batch_shape`, read-only."""
        return self._view("scale")

    @property
    @_params.quiet
    def variance(self) -> Real:
        """Square of `scale`; shape `batch_shape`, read-only."""
        return _params.view(np.asarray(np.square(self._arrays["scale"])), self._batch_shape)

    def _parameters(self) -> dict[str, Any]:
        return self._given_arrays()

    def _make_plan(self) -> Plan | None:
        return plan(self._batch_shape, self._arrays["loc"], self._arrays["scale"], vectors=False)

    def _draw(self, noise: Noise, out: Real, workers: int) -> None:
        bridge.draw_diag(noise, out, self._arrays["loc"], self._arrays["scale"], workers)

    def _log_prob(self, value: Real, event_ndim: int, out: Real) -> None:
        loc, scale = (_params.pack(self._arrays[name], out.dtype) for name in ("loc", "scale"))
        if event_ndim == 0:
            # Where the logarithms are as large as the result they are made in it.
            log_scale = out if scale.shape == out.shape else np.empty_like(scale)
            bridge.log(log_scale, scale)
            bridge.normal_log_prob(out, value, loc, scale, log_scale)
            return
        event_shape = self._batch_shape[len(self._batch_shape) - event_ndim :]
        constant = sum_events(log(scale), event_shape)
        constant += out.dtype.type(math.prod(event_shape) * HALF_LOG_2PI)
        bridge.normal_log_prob_events(out, event_shape, value, loc, scale, constant)

    def _entropy(self, event_ndim: int) -> Real:
        event_shape = self._batch_shape[len(self._batch_shape) - event_ndim :]
        # In float64, as a float32 sum loses digits where it comes near 0.
        log_scale = log(_params.pack(self._arrays["scale"], _params.FLOAT64))
        total = sum_events(log_scale, event_shape) if event_ndim else log_scale
        total += math.prod(event_shape) * HALF_LOG_2PI_E
        return _params.pack(total, self._dtype)

    # ---- the cdf family ------------------------------------------------------------------

    def cdf(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Cumulative distribution function Φ((value - loc) / scale), to a few ulp in both tails.

        Parameters
        ----------
        value : array_like
            Broadcasts with `batch_shape`.
        out : numpy.ndarray, optional
            Array of the result's shape and dtype to write to, and to return.

        Returns
        -------
        numpy.ndarray
            Shape: that of `value` broadcast with `batch_shape`; dtype as for `log_prob`.
        """
        return self._cdf("cdf", value, out)

    def survival_function(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Complement of the cdf, 1 - `cdf`, without its cancellation. See `cdf`."""
        return self._cdf("survival_function", value, out)

    def log_cdf(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Logarithm of `cdf`, finite down to values of -1e154 scales. See `cdf`."""
        return self._cdf("log_cdf", value, out)

    def log_survival_function(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Logarithm of `survival_function`. See `cdf`."""
        return self._cdf("log_survival_function", value, out)

    def icdf(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Inverse of the cdf (quantile function): -inf at 0, inf at 1. See `cdf`.

        Raises
        ------
        ValueError
            For a probability outside [0, 1] (unless ``validate_args=False``, then NaN).
        """
        return self._cdf("icdf", value, out)

    def _cdf(self, verb: str, value: ArrayLike, out: Real | None) -> Real:
        array, value_shape, dtype = _params.values(value, self._dtype)
        if verb == "icdf" and self._validate_args:
            _params.check_probability("value", array, value_shape)
        shape = _shapes.broadcast_shapes(value=value_shape, distribution=self._batch_shape)
        destination = Destination(out, shape, dtype, [array])
        loc, scale = (_params.pack(self._arrays[name], dtype) for name in ("loc", "scale"))
        bridge.normal_cdf(verb, destination.array, array, loc, scale)
        return destination.deliver()
