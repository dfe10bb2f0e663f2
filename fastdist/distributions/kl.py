"""Kullback-Leibler divergences: a registry by pairs of types, and the Gaussian rules.

With K = L_q^-1 L_p and z = L_q^-1 (loc_p - loc_q), scalars and diagonals included, every rule is

    KL(p || q) = (|K|^2 - d + |z|^2) / 2 - log det K

as a sum of terms that are not negative, without the cancellation of |K|^2 - d and the logarithm: the
kernels normal_kl and mvn_kl.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastdist import _params, _shapes
from fastdist._kernels import bridge
from fastdist._params import Real
from fastdist._shapes import Shape
from fastdist.distributions._gaussian import sum_events
from fastdist.distributions._prepared import keeps
from fastdist.distributions.distribution import LAW, Distribution
from fastdist.distributions.independent import Independent
from fastdist.distributions.multivariate_normal import MultivariateNormal
from fastdist.distributions.normal import Normal

Rule = Callable[[Any, Any], Real]
AnyRule = TypeVar("AnyRule", bound=Rule)

_rules: dict[tuple[type, type], Rule] = {}
_found: dict[tuple[type, type], tuple[type, type]] = {}  # what _types has found


def register_kl(type_p: type[Distribution], type_q: type[Distribution]) -> Callable[[AnyRule], AnyRule]:
    """Register a rule of `kl_divergence` for a pair of types and their subclasses.

    A subclass that overrides draws or densities, or a hook behind them, needs a rule of its own.

    Parameters
    ----------
    type_p, type_q : type
        Subclasses of Distribution. The most specific rule that fits is used; of two equally
        specific ones, that nearer to the type of p.

    Returns
    -------
    callable
        A decorator for a function of (p, q) that returns an array which broadcasts to their
        common batch shape.

    Raises
    ------
    TypeError
        If a type is no subclass of Distribution.

    Examples
    --------
    >>> import fastdist as fd
    >>> class Unit(fd.Normal):
    ...     pass
    >>> @fd.register_kl(Unit, Unit)
    ... def kl_unit_unit(p, q):
    ...     return (p.loc - q.loc) ** 2 / 2
    """
    for name, cls in (("type_p", type_p), ("type_q", type_q)):
        if not (isinstance(cls, type) and issubclass(cls, Distribution)):
            raise TypeError(f"{name} must be a subclass of Distribution, got {cls!r}")

    def register(rule: AnyRule) -> AnyRule:
        _rules[type_p, type_q] = rule
        _found.clear()
        return rule

    return register


def kl_divergence(p: Distribution, q: Distribution, *, out: Real | None = None) -> Real:
    r"""Kullback-Leibler divergence of `q` from `p`, in nats.

    .. math:: KL(p \| q) = \int p(x) \log \frac{p(x)}{q(x)} \, dx

    Parameters
    ----------
    p, q : Distribution
        Their batch shapes broadcast, their event shapes must be the same.
    out : numpy.ndarray, optional
        Array of the result's shape and dtype to write to, and to return.

    Returns
    -------
    numpy.ndarray
        Shape: the broadcast batch shape; float64 unless both are float32.

    Raises
    ------
    NotImplementedError
        If no rule is registered for their types.
    TypeError
        If one of them is no distribution.
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import fastdist as fd
    >>> float(fd.kl_divergence(fd.Normal(1.0, 1.0), fd.Normal(0.0, 1.0)))
    0.5
    """
    if not (isinstance(p, Distribution) and isinstance(q, Distribution)):
        name, d = ("p", p) if not isinstance(p, Distribution) else ("q", q)
        raise TypeError(f"{name} must be a Distribution, got {type(d).__name__}")
    rule = _rules[_types(p, q)]
    shape = _shapes.broadcast_shapes(p=p._batch_shape, q=q._batch_shape)
    divergence = np.asarray(rule(p, q))
    return _params.delivered(divergence, shape, divergence.dtype, out)


def _types(p: Distribution, q: Distribution) -> tuple[type, type]:
    """The types that the rule for p and q is registered for."""
    found = _found.get((type(p), type(q)))
    if found is not None:
        return found
    for cls_p in type(p).__mro__:
        for cls_q in type(q).__mro__:
            if (cls_p, cls_q) in _rules and keeps(type(p), cls_p, LAW) and keeps(type(q), cls_q, LAW):
                return _found.setdefault((type(p), type(q)), (cls_p, cls_q))
    raise NotImplementedError(
        f"no KL divergence is registered for {type(p).__name__} and {type(q).__name__}; see register_kl"
    )


def _common(p: Distribution, q: Distribution) -> tuple[Shape, _params.RealDType]:
    """Batch shape and dtype of a divergence."""
    _check_events(p, q)
    return _shapes.broadcast_shapes(p=p._batch_shape, q=q._batch_shape), _common_dtype(p, q)


def _check_events(p: Distribution, q: Distribution) -> None:
    if p._event_shape != q._event_shape:
        raise ValueError(f"event shapes differ: p {p.event_shape}, q {q.event_shape}")


def _common_dtype(p: Distribution, q: Distribution) -> _params.RealDType:
    return p._dtype if p._dtype == q._dtype else _params.FLOAT64


def _in(dtype: _params.RealDType, array: Real) -> Real:
    """A packed array in `dtype`."""
    return array if array.dtype == dtype else array.astype(dtype)


@register_kl(Normal, Normal)
def _kl_normal_normal(p: Normal, q: Normal) -> Real:
    return _kl_of_normals(p, q, ())


def _kl_of_normals(p: Normal, q: Normal, summed: Shape) -> Real:
    """Unbroadcast but for the last dims, `summed`."""
    dtype, of_p, of_q = _common_dtype(p, q), p._arrays, q._arrays
    arrays = (
        _in(dtype, of_p["loc"]), _in(dtype, of_p["scale"]), _in(dtype, of_q["loc"]), _in(dtype, of_q["scale"])
    )  # fmt: skip
    shape = np.broadcast(*arrays).shape
    n = len(shape) - len(summed)
    if shape[max(n, 0) :] == summed:  # summed as they are made
        result = np.zeros(shape[:n], dtype)
        bridge.normal_kl(result, summed, *arrays)
        return result
    result = np.empty(shape, dtype)
    bridge.normal_kl(result, (), *arrays)
    return sum_events(result, summed)


@register_kl(Independent, Independent)
def _kl_independent_independent(p: Independent, q: Independent) -> Real:
    if p._ndims != q._ndims:
        raise NotImplementedError(
            "reinterpreted_batch_ndims differ: "
            f"p {p.reinterpreted_batch_ndims}, q {q.reinterpreted_batch_ndims}"
        )
    _check_events(p, q)  # a base checks its own, not the reinterpreted dims
    base_p, base_q, tail = p._base, q._base, p._tail()
    rule = _rules[_types(base_p, base_q)]
    if rule is _kl_normal_normal:
        assert isinstance(base_p, Normal)
        assert isinstance(base_q, Normal)
        return _kl_of_normals(base_p, base_q, tail)
    return sum_events(np.asarray(rule(base_p, base_q)), tail)


class Vectors:
    """p or q of a divergence of vectors as kernels take it: loc and factor, packed.

    The factor is of the `kind` "tril" (L), "inverse" (W) or "diagonal" (scales).
    """

    def __init__(self, d: Distribution, dtype: _params.RealDType) -> None:
        if isinstance(d, MultivariateNormal):
            self.d: MultivariateNormal | Normal = d
            self.kind = "inverse" if d._inverse else "tril"
            self.loc = _params.pack(d._arrays["loc"], dtype, 1)
            self.factor = _params.pack(d._arrays["_factor"], dtype, 2)
            return
        base = d
        while isinstance(base, Independent) and keeps(type(base), Independent, LAW):
            base = base.base_dist
        if not (isinstance(base, Normal) and keeps(type(base), Normal, LAW)):
            raise NotImplementedError(f"no KL divergence is registered for {d!r} and a MultivariateNormal")
        self.d, self.kind = base, "diagonal"
        # They may repeat along the event, and then are as long as that.
        self.loc, self.factor = (
            _params.pack(np.broadcast_to(array, array.shape[:-1] + d._event_shape), dtype, 1)
            for array in (base._arrays["loc"], base._arrays["scale"])
        )


@register_kl(MultivariateNormal, MultivariateNormal)
@register_kl(Independent, MultivariateNormal)
@register_kl(MultivariateNormal, Independent)
def _kl_vectors(p: Distribution, q: Distribution) -> Real:
    shape, dtype = _common(p, q)
    of_p, of_q = Vectors(p, dtype), Vectors(q, dtype)
    result = np.empty(shape, dtype)
    bridge.mvn_kl(result, of_p.loc, of_q.loc, of_p.factor, of_q.factor, of_p.kind, of_q.kind)
    return result
