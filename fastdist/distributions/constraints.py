"""Where parameters and samples live, as objects: names, event dims and a vectorised check.

The same set as torch.distributions.constraints has for these distributions. `check` returns a
bool array over the batch; constructors use faster checks that also say where.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastdist._params import quiet
from fastdist._typing import ArrayLike, NDArray

__all__ = [
    "Constraint",
    "boolean",
    "extended_real",
    "independent",
    "integer_interval",
    "interval",
    "lower_cholesky",
    "nonnegative",
    "one_hot",
    "positive",
    "positive_definite",
    "positive_vector",
    "real",
    "real_matrix",
    "real_vector",
    "simplex",
    "union",
    "unit_interval",
]


class Constraint:
    """A set of events.

    Parameters
    ----------
    name : str
        What `repr` shows.
    event_dim : int
        How many trailing dims make one event.
    predicate : callable
        From an array to a bool array without the event dims.
    """

    is_discrete = False
    lower_bound: Any = -math.inf
    upper_bound: Any = math.inf

    def __init__(self, name: str, event_dim: int, predicate: Callable[[NDArray[Any]], Any]) -> None:
        self.name = name
        self.event_dim = event_dim
        self._predicate = predicate

    def check(self, value: ArrayLike) -> NDArray[np.bool_]:
        """True where an event of `value` is in the set; the shape is that of `value` less its event dims."""
        value = np.asarray(value)
        if value.ndim < self.event_dim:
            raise ValueError(f"{self.name} needs {self.event_dim} dims or more, got shape {value.shape}")
        return np.asarray(self._predicate(value), dtype=bool)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str | tuple[Any, ...]:
        return self.name


class _Interval(Constraint):
    """The numbers between two bounds, arrays that values broadcast with; by a `name` the module's own."""

    def __init__(self, lower_bound: Any, upper_bound: Any, name: str | None = None) -> None:
        self.lower_bound, self.upper_bound = (
            float(bound) if bound.ndim == 0 else bound
            for bound in map(np.asarray, (lower_bound, upper_bound))
        )
        self._named = name is not None
        super().__init__(
            name or f"interval({_shown(self.lower_bound)}, {_shown(self.upper_bound)})",
            0,
            lambda value: (value >= self.lower_bound) & (value <= self.upper_bound),
        )

    def __reduce__(self) -> str | tuple[Any, ...]:
        return self.name if self._named else (interval, (self.lower_bound, self.upper_bound))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Interval)
            and np.array_equal(self.lower_bound, other.lower_bound)
            and np.array_equal(self.upper_bound, other.upper_bound)
        )

    def __hash__(self) -> int:
        return hash((np.asarray(self.lower_bound).tobytes(), np.asarray(self.upper_bound).tobytes()))


def _shown(bound: Any) -> str:
    return f"{float(bound):g}" if np.size(bound) == 1 else str(np.shape(bound))


def interval(lower_bound: ArrayLike, upper_bound: ArrayLike) -> Constraint:
    """The numbers between two bounds, both included; `check` broadcasts with them."""
    return _Interval(lower_bound, upper_bound)


class _Independent(Constraint):
    """`base`, with its last `ndims` batch dims made part of the event."""

    def __init__(self, base: Constraint, ndims: int) -> None:
        self.base = base
        self.ndims = ndims
        self.lower_bound = base.lower_bound
        self.upper_bound = base.upper_bound

        def holds(value: NDArray[Any]) -> NDArray[np.bool_]:
            good = base.check(value)
            batch_shape, event_shape = good.shape[: good.ndim - ndims], good.shape[good.ndim - ndims :]
            return np.asarray(good.reshape(*batch_shape, math.prod(event_shape)).all(-1))

        super().__init__(f"independent({base!r}, {ndims})", base.event_dim + ndims, holds)
        self.is_discrete = base.is_discrete

    def __reduce__(self) -> tuple[Any, ...]:
        return independent, (self.base, self.ndims)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Independent) and (self.base, self.ndims) == (other.base, other.ndims)

    def __hash__(self) -> int:
        return hash((self.base, self.ndims))


def independent(base: Constraint, reinterpreted_batch_ndims: int) -> Constraint:
    """`base` with `reinterpreted_batch_ndims` more event dims; an event is in if all its parts are."""
    return _Independent(base, reinterpreted_batch_ndims)


class _Union(Constraint):
    """What is in any of the sets that `base` has along the last dim of a batch, that of its bounds."""

    def __init__(self, base: Constraint) -> None:
        self.base = base
        axis = -1 - base.event_dim
        low, high = np.broadcast_arrays(base.lower_bound, base.upper_bound)
        self.lower_bound, self.upper_bound = low.min(axis), high.max(axis)

        def holds(value: NDArray[Any]) -> NDArray[np.bool_]:
            return np.asarray(base.check(np.expand_dims(value, axis)).any(-1))

        super().__init__(f"union({base!r})", base.event_dim, holds)

    def __reduce__(self) -> tuple[Any, ...]:
        return union, (self.base,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Union) and self.base == other.base

    def __hash__(self) -> int:
        return hash(self.base)


def union(base: Constraint) -> Constraint:
    """Events that are in any of the sets of a batch, along its last dim; `base`, if its sets are all one."""
    return _Union(base) if np.ndim(base.lower_bound) or np.ndim(base.upper_bound) else base


class _IntegerInterval(Constraint):
    """The integers from `lower_bound` to `upper_bound`."""

    is_discrete = True

    def __init__(self, lower_bound: int, upper_bound: int) -> None:
        self.lower_bound = lower_bound
        self.upper_bound = upper_bound

        def holds(value: NDArray[Any]) -> NDArray[np.bool_]:
            return np.asarray((value >= lower_bound) & (value <= upper_bound) & (value == np.floor(value)))

        super().__init__(f"integer_interval({lower_bound}, {upper_bound})", 0, holds)

    def __reduce__(self) -> tuple[Any, ...]:
        return integer_interval, (self.lower_bound, self.upper_bound)

    def __eq__(self, other: object) -> bool:
        bounds = self.lower_bound, self.upper_bound
        return isinstance(other, _IntegerInterval) and bounds == (other.lower_bound, other.upper_bound)

    def __hash__(self) -> int:
        return hash((self.lower_bound, self.upper_bound))


def integer_interval(lower_bound: int, upper_bound: int) -> Constraint:
    """The integers from `lower_bound` to `upper_bound`, both included."""
    return _IntegerInterval(lower_bound, upper_bound)


class _Discrete(Constraint):
    is_discrete = True


def _is_one_hot(value: NDArray[Any]) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == 1)
    return result


def _is_simplex(value: NDArray[Any]) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = (value >= 0).all(-1) & (abs(value.sum(-1) - 1) < 1e-6)
    return result


def _is_tril(value: NDArray[Any]) -> NDArray[np.bool_]:
    diagonal = np.diagonal(value, axis1=-2, axis2=-1)
    result: NDArray[np.bool_] = (np.tril(value) == value).all((-2, -1)) & (diagonal > 0).all(-1)
    return result


@quiet
def _is_positive_definite(value: NDArray[Any]) -> NDArray[np.bool_]:
    close = np.isclose(value, value.swapaxes(-1, -2), rtol=1e-6, atol=0)
    symmetric = close.all((-2, -1)) & np.isfinite(value).all((-2, -1))
    eigenvalues = np.linalg.eigvalsh(np.where(symmetric[..., None, None], value, 0))
    result: NDArray[np.bool_] = symmetric & (eigenvalues > 0).all(-1)
    return result


real = Constraint("real", 0, lambda value: value == value)
extended_real = Constraint("extended_real", 0, lambda value: value == value)
positive = Constraint("positive", 0, lambda value: value > 0)
positive.lower_bound = 0.0
nonnegative = _Interval(0.0, math.inf, "nonnegative")
unit_interval = _Interval(0.0, 1.0, "unit_interval")
real_vector = Constraint("real_vector", 1, lambda value: (value == value).all(-1))
simplex = Constraint("simplex", 1, _is_simplex)
boolean = _Discrete("boolean", 0, lambda value: (value == 0) | (value == 1))
one_hot = _Discrete("one_hot", 1, _is_one_hot)
lower_cholesky = Constraint("lower_cholesky", 2, _is_tril)
positive_definite = Constraint("positive_definite", 2, _is_positive_definite)
positive_vector = independent(positive, 1)
real_matrix = independent(real, 2)
