"""Bernoulli: 0 or 1."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from fastdist import _params
from fastdist._kernels import pullbacks
from fastdist._kernels.program import KERNELS, Plan, elementwise, sum_events
from fastdist._shapes import Shape
from fastdist._typing import ArrayLike, NDArray, Real, RealDType
from fastdist.distributions import constraints
from fastdist.distributions.categorical import ENTROPY, LOG_PROB, by_rows, one_of, sum_log_prob
from fastdist.distributions.constraints import Constraint
from fastdist.distributions.distribution import Distribution, shown
from fastdist.distributions.rules import Gradients, Pull, new, own_vjp, recorded, summed

PROB, LOG_OF_PROB = KERNELS["odds_prob"], KERNELS["odds_log_prob"]


class Bernoulli(Distribution):
    r"""Bernoulli distribution: 1 with probability p, otherwise 0.

    .. math:: P(x) = p^x (1 - p)^{1 - x}, \qquad p = 1 / (1 + e^{-l})

    Its entropy is :math:`-p \log p - (1 - p) \log(1 - p)`.

    Parameters
    ----------
    probs : array_like, optional
        Probability p of 1, in [0, 1]. Its shape is ``batch_shape``; ``event_shape`` is ``()``.
    logits : array_like, optional
        In its place the log-odds l = log(p / (1 - p)), finite.
    validate_args : bool, optional
        Whether to check the values. Default True.

    Raises
    ------
    ValueError
        If not exactly one of the two is given; for values as above.
    TypeError
        For a parameter that is no array of reals up to float64.

    Notes
    -----
    Draws are int64: 1 where a uniform, one a draw, is below p. Logarithms of p and of 1 - p are made each by
    itself, and have all their digits however small they are.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> d = fd.Bernoulli(logits=np.zeros((3, 2)))
    >>> d.sample((100,), rng=0).shape, d.dtype
    ((100, 3, 2), dtype('float64'))
    >>> float(fd.Bernoulli(logits=-1000.0).log_prob(1))
    -1000.0
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    _discrete = True
    _alternatives = frozenset(("probs", "logits"))
    _core_ndim: ClassVar[dict[str, int]] = {
        "probs": 0,
        "logits": 0,
        "_rows": 1,
        "_wide": 0,
        "_entropy": 0,
        "_variance": 0,
        "_mode": 0,
    }

    def __init__(
        self,
        probs: ArrayLike | None = None,
        logits: ArrayLike | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        name = one_of(probs=probs, logits=logits)
        self._be(validate_args, {name: probs if logits is None else logits})

    @classmethod
    def _borrowing(cls, validate_args: bool | None, **given: ArrayLike) -> Self:
        """Over memory that others may change."""
        new = cls.__new__(cls)
        new._lent = True
        new._be(validate_args, given, passing=given)
        return new

    def _be(
        self, validate_args: bool | None, given: Mapping[str, Any], passing: Collection[str] = ()
    ) -> None:
        """Be of these parameters: probs or logits."""
        (self._given,) = given
        self._take(validate_args, dict(given), passing, unchecked=("probs",))
        if self._validate_args and self._given == "probs":
            array = self._arrays["probs"]
            _params.check_finite("probs", array)
            _params.check_probability("probs", array)

    # ---- parameters --------------------------------------------------------------------

    @shown
    def probs(self) -> Real:
        """Probability of 1; shape `batch_shape`, read-only."""
        return elementwise(PROB, self._arrays["logits"])

    @shown
    def logits(self) -> Real:
        """Log-odds of 1; shape `batch_shape`, read-only."""
        return elementwise(KERNELS["log_odds"], self._arrays["probs"])

    @property
    def param_shape(self) -> Shape:
        """`batch_shape`."""
        return self._batch_shape

    def _log_probs(self, dtype: RealDType) -> Real:
        """Logarithms of 1 - p and p, in rows; unbroadcast."""

        def make() -> Real:
            (array,) = self._in(dtype, self._given)
            if self._given == "logits":
                pair = elementwise(LOG_OF_PROB, np.asarray(-array)), elementwise(LOG_OF_PROB, array)
            else:
                pair = elementwise(KERNELS["log_complement"], array), elementwise(KERNELS["log"], array)
            return np.stack(pair, -1)

        return self._kept("_rows", make) if dtype is self._dtype else make()

    def _both_probs(self, dtype: RealDType) -> tuple[Real, Real]:
        """1 - p and p; unbroadcast."""
        (array,) = self._in(dtype, self._given)
        if self._given == "logits":
            return elementwise(PROB, np.asarray(-array)), elementwise(PROB, array)
        return np.asarray(1 - array), array

    @property
    def support(self) -> Constraint:
        """0 and 1."""
        return constraints.boolean

    def enumerate_support(self, expand: bool = True) -> NDArray[np.int64]:
        """0 and 1, along a new first dim.

        Parameters
        ----------
        expand : bool, optional
            Whether to repeat them for the batch: shape ``(2, *batch_shape)``, read-only. Otherwise all batch
            dims are 1.
        """
        outcomes = np.arange(2).reshape(2, *(1,) * len(self._batch_shape))
        return np.broadcast_to(outcomes, (2, *self._batch_shape)) if expand else outcomes

    # ---- moments -----------------------------------------------------------------------

    mean = probs

    @shown
    def variance(self) -> Real:
        """Product p (1 - p); shape `batch_shape`, read-only."""
        none, one = self._both_probs(self._dtype)
        return np.asarray(none * one)

    @shown
    def mode(self) -> Real:
        """The more probable outcome, 0 if both are as probable; int64, shape `batch_shape`, read-only."""
        none, one = self._both_probs(self._dtype)
        return np.asarray(one > none).astype(np.int64)

    # ---- draws and densities -------------------------------------------------------------

    def _draw_plan(self) -> Plan | None:
        # In float64, whatever the dtype, since so are uniforms.
        return Plan(
            KERNELS["draw_bernoulli"], self._kept("_wide", lambda: self._both_probs(_params.FLOAT64)[1])
        )

    def _density_plan(self, event_ndim: int, dtype: RealDType) -> Plan | None:
        return None if event_ndim else Plan(LOG_PROB, self._log_probs(dtype))

    def _log_prob(self, value: Real, event_ndim: int, out: Real) -> None:
        sum_log_prob(out, value, self._log_probs(out.dtype), self._tail(event_ndim))

    def _tail(self, event_ndim: int) -> Shape:
        return self._batch_shape[len(self._batch_shape) - event_ndim :]

    def _entropy(self, event_ndim: int) -> Real:
        entropies = self._kept("_entropy", lambda: by_rows(ENTROPY, self._log_probs(self._dtype)))
        return sum_events(entropies, self._tail(event_ndim)) if event_ndim else entropies

    def _along(self) -> tuple[str, ...]:
        return (self._given,)

    def _shown(self) -> tuple[str, ...]:
        return (self._given,)


# ---- gradients -----------------------------------------------------------------------------------


def by_parameter(d: Bernoulli, terms: Real) -> Gradients:
    """Gradients in the shape of what was given, of terms that broadcast it."""
    return {d._given: summed(_params.pack(np.asarray(terms), d._dtype), d._parameter_shape(d._given))}


@own_vjp("log_prob", Bernoulli)
def _vjp_log_prob(d: Bernoulli, /, value: ArrayLike) -> Pull:
    array, value_shape, dtype = recorded(value, d)

    @_params.quiet
    def pull(g: Real, _: Real) -> Gradients:
        none, one = d._both_probs(dtype)
        # By log-odds they are p, at 0 with the other sign, and 1 - p; by p they are 1 / (1 - p) and 1 / p.
        gain = np.stack((one, none) if d._given == "logits" else (1 / none, 1 / one), -1)
        possible = np.stack((none, one), -1) > 0 if d._given == "probs" else True
        gain = np.asarray(np.where(possible, gain, np.asarray(0, dtype)), dtype)
        by_row = new(g, (*d._parameter_shape(d._given), 2))
        pullbacks.log_prob_categorical(by_row, g, array, gain, np.zeros(2, dtype))
        by = _params.pack(np.asarray(by_row[..., 1] - by_row[..., 0]), d._dtype)
        return {d._given: by, "value": np.zeros(value_shape, g.dtype)}

    return pull


@own_vjp("entropy", Bernoulli)
def _vjp_entropy(d: Bernoulli) -> Pull:
    @_params.quiet
    def pull(g: Real, _: Real) -> Gradients:
        none, one = d._both_probs(d._dtype)
        log_none, log_one = np.moveaxis(d._log_probs(d._dtype), -1, 0)
        odds = np.asarray(log_none - log_one)
        each = summed(g, odds.shape)
        return by_parameter(d, each * (none * one * odds if d._given == "logits" else odds))

    return pull
