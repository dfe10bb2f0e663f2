"""Categorical: numbers of outcomes, and what is made of rows of logarithms of probabilities."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from fastdist import _params, _shapes
from fastdist._kernels import pullbacks
from fastdist._kernels.program import KERNELS, Plan, apply, elementwise, sum_events
from fastdist._shapes import Shape
from fastdist._typing import ArrayLike, NDArray, Real, RealDType
from fastdist.distributions import constraints
from fastdist.distributions.constraints import Constraint
from fastdist.distributions.distribution import Distribution, shown
from fastdist.distributions.rules import Gradients, Pull, new, own_vjp, recorded, summed

LOG_PROB, ENTROPY = KERNELS["categorical_log_prob"], KERNELS["categorical_entropy"]
LOG_SOFTMAX, EXP = KERNELS["log_softmax"], KERNELS["exp_log_prob"]
DRAW, DRAW_GUIDED = KERNELS["draw_categorical"], KERNELS["draw_guided"]
# More outcomes are not counted one by one for each draw: those of a guide save more than they cost.
COUNTED = 32
# The numbers that a float32 value can be.
MOST_FLOAT32 = 2**24


def one_of(**given: ArrayLike | None) -> str:
    """The name of the one parameter that is given."""
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise ValueError(
            f"exactly one of {' and '.join(given)} must be given, got {' and '.join(names) or 'none'}"
        )
    return names[0]


def by_rows(kernel: Any, *rows: Real) -> Real:
    """A number for each of rows that broadcast."""
    shape = np.broadcast(*rows).shape[:-1]
    result = np.empty(shape, rows[0].dtype)
    apply(kernel, shape, result, *rows)
    return result


def log_softmax(rows: Real) -> Real:
    """Logarithms of probabilities, normalised."""
    result = np.empty_like(rows)
    apply(LOG_SOFTMAX, rows.shape[:-1], result, rows)
    return result


def sum_log_prob(out: Real, value: Real, rows: Real, tail: Shape) -> None:
    """``out`` = log probabilities of outcomes in rows, summed over the trailing dims `tail` of a value."""
    if tail:
        out[...] = 0
        pullbacks.sum_made(LOG_PROB, out, tail, value, rows)
    else:
        apply(LOG_PROB, out.shape, out, value, rows)


class Categorical(Distribution):
    r"""Categorical distribution over the numbers 0 to K - 1.

    .. math:: P(k) = p_k, \qquad p_k = e^{l_k} / \sum_j e^{l_j}

    Its entropy is :math:`-\sum_k p_k \log p_k`.

    Parameters
    ----------
    probs : array_like, optional
        Probabilities p, shape ``(..., K)``: finite and not negative. They are divided by their sum.
    logits : array_like, optional
        In their place logarithms l, up to a constant that may differ from row to row; -inf is a probability
        of 0.
    mask : array_like of bool, optional
        Which outcomes are allowed, shape ``(..., K)``; the others have probability 0, and gradients of 0.
    validate_args : bool, optional
        Whether to check the values. Default True.

    Raises
    ------
    ValueError
        If not exactly one of `probs` and `logits` is given; for values as above, and a row in which no
        outcome has a probability; for shapes that do not fit, and more than 2**24 outcomes of float32.
    TypeError
        For a parameter that is no array of reals up to float64, or a `mask` that is not of bools.

    Notes
    -----
    The dims of these arrays but the last broadcast to ``batch_shape``; ``event_shape`` is ``()``. Draws are
    int64. A draw is the number of cumulative probabilities that are not above a uniform (inversion), one
    uniform a draw: it grows with the uniform, and depends on it and the parameters alone. Of more than 32
    outcomes the search begins where a guide says (Chen and Asau, "On generating random variates from an
    empirical distribution", AIIE Trans. 6, 1974), in a time that does not grow with K. Table and guide are
    made for the first draw, and kept.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> d = fd.Categorical(logits=np.zeros((64, 6)))
    >>> d
    Categorical(logits: (64, 6))
    >>> d.sample(rng=0).shape, d.sample(rng=0).dtype
    ((64,), dtype('int64'))
    >>> round(float(fd.Categorical([1.0, 2.0, 1.0]).log_prob(1)), 4)
    -0.6931
    >>> fd.Categorical(logits=[5.0, 0.0, 0.0], mask=[False, True, True]).probs
    array([0. , 0.5, 0.5])
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "probs": constraints.simplex,
        "logits": constraints.real_vector,
        "mask": constraints.boolean,
    }
    _discrete = True
    _alternatives = frozenset(("probs", "logits"))
    _core_ndim: ClassVar[dict[str, int]] = {
        "probs": 1,
        "logits": 1,
        "mask": 1,
        "_logits": 1,
        "_probs": 1,
        "_table": 1,
        "_guide": 1,
        "_entropy": 0,
        "_mean": 0,
        "_mode": 0,
    }

    def __init__(
        self,
        probs: ArrayLike | None = None,
        logits: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        validate_args: bool | None = None,
    ) -> None:
        name = one_of(probs=probs, logits=logits)
        given: dict[str, Any] = {name: probs if logits is None else logits}
        if mask is not None:
            mask = np.asarray(mask)
            if mask.dtype != np.bool_:
                raise TypeError(f"mask must be an array of bools, got {mask.dtype}")
            given["mask"] = mask.astype(np.float32)  # of the other's dtype in the end
        self._be(validate_args, given)

    @classmethod
    def _borrowing(cls, validate_args: bool | None, **given: ArrayLike) -> Self:
        """Over memory that others may change; a mask is of numbers, 0 or 1."""
        new = cls.__new__(cls)
        new._lent = True
        new._be(validate_args, given, passing=given)
        return new

    def _be(
        self, validate_args: bool | None, given: Mapping[str, ArrayLike], passing: Collection[str] = ()
    ) -> None:
        """Be of these parameters, first of which is probs or logits."""
        name = self._given = next(iter(given))
        self._take(validate_args, dict(given), passing, unchecked=("probs", "logits", "mask"))
        (n,) = self._event_shape
        self._event_shape = ()
        if n == 0 or (n > MOST_FLOAT32 and self._dtype is _params.FLOAT32):
            at_most = "" if n == 0 else f", at most {MOST_FLOAT32} in float32"
            raise ValueError(
                f"{name} must have one outcome or more{at_most}: shape {self._parameter_shape(name)}"
            )
        if self._validate_args and not (self._sums_are_good() if name == "probs" else self._rows_are_good()):
            self._explain()

    # ---- parameters --------------------------------------------------------------------

    @_params.quiet
    def _sums_are_good(self) -> bool:
        """True if probs are not negative, and have sums to be divided by."""
        array = self._arrays["probs"]
        sums = sum_events(self._raw(self._dtype), array.shape[-1:])
        return bool((array >= 0).all() and ((sums > 0) & (sums <= np.finfo(sums.dtype).max)).all())

    def _rows_are_good(self) -> bool:
        """True if logits are numbers or -inf, though not all: otherwise something of their row is NaN."""
        return not np.isnan(self._normalized(self._dtype).sum())

    @_params.quiet
    def _explain(self) -> None:
        """Raise for values that are no probabilities, or a row without any."""
        name, array = self._given, self._arrays[self._given]
        shape = self._parameter_shape(name)
        bad = ~((array >= 0) & (array < np.inf)) if name == "probs" else ~(array < np.inf)
        if bad.any():
            index = tuple(map(int, np.unravel_index(int(np.argmax(bad)), bad.shape)))
            must = "finite and not negative" if name == "probs" else "numbers below infinity"
            at = ", ".join(map(str, index))
            raise ValueError(f"{name} must be {must}: shape {shape}, {name}[{at}] = {array[index]}")
        raw = self._raw(self._dtype)
        none = ~((raw > 0) if name == "probs" else (raw > -np.inf)).any(-1)
        if not none.any():
            raise ValueError(f"{name} must have a finite sum: shape {shape}")
        index = tuple(map(int, np.unravel_index(int(np.argmax(none)), none.shape)))
        of_mask = " and mask" if "mask" in self._arrays else ""
        raise ValueError(
            f"{name}{of_mask} must leave an outcome a probability: shape {shape}, none in batch index {index}"
        )

    def _raw(self, dtype: RealDType) -> Real:
        """What was given, masked."""
        (array,) = self._in(dtype, self._given)
        if "mask" not in self._arrays:
            return array
        nothing = np.asarray(0 if self._given == "probs" else -np.inf, dtype)
        return np.where(self._arrays["mask"] != 0, array, nothing)

    def _normalized(self, dtype: RealDType) -> Real:
        """Logarithms of probabilities, made in `dtype`; unbroadcast."""

        def make() -> Real:
            raw = self._raw(dtype)
            return log_softmax(raw if self._given == "logits" else elementwise(KERNELS["log"], raw))

        return self._kept("_logits", make) if dtype is self._dtype else make()

    def _weights(self, dtype: RealDType) -> Real:
        """Probabilities, made in `dtype`; unbroadcast."""
        if self._given == "logits":
            return elementwise(EXP, self._normalized(dtype))
        raw = self._raw(dtype)
        return np.asarray(raw / sum_events(raw, raw.shape[-1:])[..., None])

    @shown
    def _logits(self) -> Real:
        """Logarithms of `probs`; shape ``batch_shape + (K,)``, read-only."""
        return self._normalized(self._dtype)

    @shown
    @_params.quiet
    def _probs(self) -> Real:
        """Probabilities, which sum to 1; shape ``batch_shape + (K,)``, read-only."""
        return self._weights(self._dtype)

    logits = _logits
    probs = _probs

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """Which outcomes are allowed, or None; shape ``batch_shape + (K,)``."""
        return self._view("mask") != 0 if "mask" in self._arrays else None

    @property
    def num_events(self) -> int:
        """The number K of outcomes."""
        n: int = self._arrays[self._given].shape[-1]
        return n

    @property
    def param_shape(self) -> Shape:
        """``batch_shape + (K,)``."""
        return (*self._batch_shape, self.num_events)

    @property
    def support(self) -> Constraint:
        """The integers from 0 to K - 1."""
        return constraints.integer_interval(0, self.num_events - 1)

    def enumerate_support(self, expand: bool = True) -> NDArray[np.int64]:
        """All outcomes, along a new first dim.

        Parameters
        ----------
        expand : bool, optional
            Whether to repeat them for the batch: shape ``(K, *batch_shape)``, read-only. Otherwise all batch
            dims are 1.
        """
        n = self.num_events
        outcomes = np.arange(n).reshape(n, *(1,) * len(self._batch_shape))
        return np.broadcast_to(outcomes, (n, *self._batch_shape)) if expand else outcomes

    # ---- moments -----------------------------------------------------------------------

    @shown
    def mean(self) -> Real:
        """NaN, as numbers of outcomes are names; shape `batch_shape`, read-only."""
        return np.asarray(np.nan, self._dtype)

    variance = mean
    stddev = mean

    @shown
    def mode(self) -> Real:
        """The first of the most probable outcomes, int64; shape `batch_shape`, read-only."""
        return np.asarray(self._normalized(self._dtype).argmax(-1))

    # ---- draws and densities -------------------------------------------------------------

    def _draw_plan(self) -> Plan | None:
        table = self._kept("_table", self._cumulative)
        if self.num_events <= COUNTED:
            return Plan(DRAW, table)
        return Plan(DRAW_GUIDED, table, self._kept("_guide", lambda: guide_of(table)))

    def _cumulative(self) -> Real:
        """Cumulative probabilities in float64, whatever the dtype, since so are uniforms."""
        wide = self._raw if self._given == "probs" else self._weights
        weights = wide(_params.FLOAT64)
        table = np.empty_like(weights)
        apply(KERNELS["cumulate"], weights.shape[:-1], table, weights)
        return table

    def _density_plan(self, event_ndim: int, dtype: RealDType) -> Plan | None:
        return None if event_ndim else Plan(LOG_PROB, self._normalized(dtype))

    def _log_prob(self, value: Real, event_ndim: int, out: Real) -> None:
        sum_log_prob(out, value, self._normalized(out.dtype), self._tail(event_ndim))

    def _tail(self, event_ndim: int) -> Shape:
        return self._batch_shape[len(self._batch_shape) - event_ndim :]

    def _entropies(self) -> Real:
        return self._kept("_entropy", lambda: by_rows(ENTROPY, self._normalized(self._dtype)))

    def _entropy(self, event_ndim: int) -> Real:
        entropies = self._entropies()
        return sum_events(entropies, self._tail(event_ndim)) if event_ndim else entropies

    # ---- what it was built with ----------------------------------------------------------

    def _along(self) -> tuple[str, ...]:
        return self._shown()

    def _parameters(self) -> dict[str, Any]:
        shapes = {name: self._parameter_shape(name) for name in self._shown()}
        batch_shape = _shapes.broadcast_shapes(**{name: shape[:-1] for name, shape in shapes.items()})
        expanded = batch_shape != self._batch_shape
        result: dict[str, Any] = {
            name: self._view(name) if expanded else np.broadcast_to(self._arrays[name], shape)
            for name, shape in shapes.items()
        }
        if "mask" in result:
            result["mask"] = result["mask"] != 0
        return {**result, "validate_args": self._validate_args}

    def __repr__(self) -> str:
        named = ", ".join(f"{name}: {self.param_shape}" for name in self._shown())
        return f"{type(self).__name__}({named})"


def guide_of(table: Real) -> Real:
    """Where to begin to search a table: for each part of [0, 1]."""
    guide = np.empty_like(table)
    apply(KERNELS["guide_table"], table.shape[:-1], guide, table)
    return guide


# ---- gradients -----------------------------------------------------------------------------------


@_params.quiet
def gain_and_loss(d: Categorical, dtype: RealDType) -> tuple[Real, Real]:
    """Rows by which the logarithm of an outcome's probability changes: the first, there, less the second.

    By logits they are 1 and p, by probs 1 / probs and 1 / (sum of probs); 0 where an outcome has no
    probability, and the second where it is masked.
    """
    logits, one, zero = d._normalized(dtype), np.asarray(1, dtype), np.asarray(0, dtype)
    possible = logits > -np.inf
    if d._given == "logits":
        return np.where(possible, one, zero), d._weights(dtype)
    return np.where(possible, one / d._raw(dtype), zero), over_sum(d, dtype)


def over_sum(d: Categorical, dtype: RealDType) -> Real:
    """1 / (sum of probs), in rows; 0 where they are masked."""
    raw = d._raw(dtype)
    share = 1 / sum_events(raw, raw.shape[-1:])[..., None]
    allowed = d._arrays["mask"] != 0 if "mask" in d._arrays else True
    return np.asarray(np.where(allowed, share, np.asarray(0, dtype)) + np.zeros(raw.shape, dtype), dtype)


def by_parameter(d: Categorical, rows: Real) -> Gradients:
    """Gradients in the shape of what was given, of rows that broadcast it."""
    return {d._given: summed(_params.pack(rows, d._dtype), d._parameter_shape(d._given))}


def by_log_probs(d: Categorical, rows: Real) -> Gradients:
    """Gradients by what was given, of those by the logarithms of normalised probabilities."""
    dtype = rows.dtype
    per_row = np.ascontiguousarray(
        summed(_params.pack(rows, dtype, 1), (*d._raw(dtype).shape[:-1], rows.shape[-1]))
    )
    total = sum_events(per_row, per_row.shape[-1:])[..., None]
    gain, loss = gain_and_loss(d, dtype)
    return by_parameter(d, np.asarray(gain * per_row - loss * total))


@own_vjp("log_prob", Categorical)
def _vjp_log_prob(d: Categorical, /, value: ArrayLike) -> Pull:
    array, value_shape, dtype = recorded(value, d)

    def pull(g: Real, _: Real) -> Gradients:
        gain, loss = gain_and_loss(d, dtype)
        by_row = new(g, d._parameter_shape(d._given))
        pullbacks.log_prob_categorical(by_row, g, array, gain, loss)
        return {d._given: _params.pack(by_row, d._dtype), "value": np.zeros(value_shape, g.dtype)}

    return pull


@own_vjp("entropy", Categorical)
def _vjp_entropy(d: Categorical) -> Pull:
    @_params.quiet
    def pull(g: Real, _: Real) -> Gradients:
        logits = d._normalized(d._dtype)
        each = -summed(g, logits.shape[:-1])[..., None]
        surprise = logits + d._entropies()[..., None]
        if d._given == "logits":
            weight = d._weights(d._dtype)
            return by_parameter(d, each * np.where(weight > 0, weight * surprise, 0))
        share = over_sum(d, d._dtype)
        return by_parameter(d, each * np.where(share > 0, share * surprise, 0))

    return pull
