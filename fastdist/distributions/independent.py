"""Independent: batch dims of a distribution reinterpreted as event dims."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, SupportsIndex

import numpy as np

from fastdist import _shapes
from fastdist._kernels.bridge import Noise
from fastdist._params import Real, RealDType
from fastdist._shapes import Shape, ShapeLike
from fastdist.distributions import constraints
from fastdist.distributions._gaussian import sum_events
from fastdist.distributions._prepared import Plan, keeps
from fastdist.distributions.constraints import Constraint
from fastdist.distributions.distribution import Distribution, passes
from fastdist.random import RNGLike, set_workers


class Independent(Distribution):
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

    arg_constraints: ClassVar[dict[str, Constraint]] = {}

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
        n = _shapes.parse_int("reinterpreted_batch_ndims", reinterpreted_batch_ndims)
        base_shape = base_distribution.batch_shape
        if n < 0:
            raise ValueError(f"reinterpreted_batch_ndims must not be negative, got {n}")
        if n > len(base_shape):
            raise ValueError(
                f"reinterpreted_batch_ndims must be at most {len(base_shape)}, "
                f"as base_distribution has batch_shape {base_shape}; got {n}"
            )
        self._base = base_distribution
        self._ndims = n
        cut = len(base_shape) - n
        event_shape = base_shape[cut:] + base_distribution.event_shape
        self._set_up({}, base_shape[:cut], event_shape, base_distribution.dtype, validate_args)

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
        """Whether the base has reparameterised draws."""
        return self._base.has_rsample

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

    @property
    def _held(self) -> Mapping[str, int]:  # type: ignore[override]
        return {"_base": self._ndims}

    def _passes(self) -> bool:
        return passes(type(self), Independent) and self._base._passes()

    def _make_plan(self) -> Plan | None:
        # A sum over a batch of vectors is no small call.
        return self._base._plan() if not self._base._event_shape and self._base._passes() else None

    def _rsample(
        self, sample_shape: ShapeLike, rng: RNGLike, out: Real | None, workers: SupportsIndex | None
    ) -> Real:
        # Further on it is not known which of the base's methods is meant.
        if self._base._passes() or not keeps(type(self), Independent, ("has_rsample", "_sample", "_draw")):
            return super()._rsample(sample_shape, rng, out, workers)
        return self._fill(functools.partial(self._ask, self._base.rsample), sample_shape, rng, out, workers)

    def _draw(self, noise: Noise, out: Real, workers: int) -> None:
        if self._base._passes():
            self._base._draw(noise, out, workers)
        else:
            self._ask(self._base.sample, noise, out, workers)

    def _ask(self, method: Callable[..., Real], noise: Noise, out: Real, workers: int) -> None:
        """Fill `out` by a method of the base, which may have no more parameters than it needs."""
        n = out.ndim - len(self._batch_shape) - len(self._event_shape)
        with set_workers(workers):
            out[...] = method(out.shape[:n], rng=noise)

    def _log_prob(self, value: Real, event_ndim: int, out: Real) -> None:
        if self._base._passes():
            self._base._log_prob(value, event_ndim, out)
        else:
            out[...] = self._summed(self._base.log_prob(value), event_ndim, out.dtype)

    def _entropy(self, event_ndim: int) -> Real:
        if self._base._passes():
            return self._base._entropy(event_ndim)
        return self._summed(self._base.entropy(), event_ndim, self._dtype)

    def _summed(self, of_base: Real, event_ndim: int, dtype: RealDType) -> Real:
        """What a method of the base has returned, summed over batch dims among an event's `event_ndim`."""
        array = np.asarray(of_base, dtype, order="C")
        n = array.ndim - (event_ndim - len(self._base._event_shape))
        return sum_events(array, array.shape[n:])

    def _tail(self) -> Shape:
        """The reinterpreted dims."""
        return self._event_shape[: self._ndims]

    def _parameters(self) -> dict[str, Any]:
        return {
            "base_distribution": self._base,
            "reinterpreted_batch_ndims": self._ndims,
            "validate_args": self._validate_args,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base!r}, {self._ndims})"
