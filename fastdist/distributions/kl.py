"""Kullback-Leibler divergences: a registry by pairs of types, and the Gaussian rules.

With m = |L_q^-1 (loc_p - loc_q)|^2, every rule is

    KL(p || q) = (trace + m - d) / 2 + half_log_det(q) - half_log_det(p)

and the pairs differ in how they get trace = |L_q^-1 L_p|^2 (squared Frobenius norm).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastdist import _params, _shapes
from fastdist._kernels import bridge
from fastdist._params import Real
from fastdist._shapes import Shape
from fastdist.distributions._gaussian import log, sum_events
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


def _gaussian_kl(trace_and_m: Real, dim: int, half_log_det_p: Real, half_log_det_q: Real) -> Real:
    """The module's formula, in place of trace + m."""
    trace_and_m -= dim
    trace_and_m *= 0.5
    trace_and_m += half_log_det_q - half_log_det_p
    return trace_and_m


@register_kl(MultivariateNormal, MultivariateNormal)
def _kl_mvn_mvn(p: MultivariateNormal, q: MultivariateNormal) -> Real:
    shape, dtype = _common(p, q)
    dim = p.event_shape[0]
    result = np.zeros(shape, dtype)
    q._add_mahalanobis(_params.pack(p._arrays["loc"], dtype), result)
    # A factor's rows are the columns of L_p; whitened by q one by one, they add up to the trace.
    columns = p._triangle(inverse=False)
    bridge.mahalanobis_tril(
        result,
        _params.pack(columns, dtype),
        np.zeros(dim, dtype),
        q._panels(dtype)[..., None, :],
        q._inverse,
        sum_shape=(dim,),
    )
    return _gaussian_kl(result, dim, p._half_log_det(dtype), q._half_log_det(dtype))


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


def _diagonal(d: Independent) -> tuple[Real, Real]:
    """Loc and scale of an Independent(Normal) over vectors, each shaped (..., 1 or d)."""
    base = d.base_dist
    while isinstance(base, Independent) and keeps(type(base), Independent, LAW):
        base = base.base_dist
    if not (isinstance(base, Normal) and keeps(type(base), Normal, LAW)):
        raise NotImplementedError(f"no KL divergence is registered for {d!r} and a MultivariateNormal")
    return base._arrays["loc"], base._arrays["scale"]


@register_kl(Independent, MultivariateNormal)
def _kl_independent_mvn(p: Independent, q: MultivariateNormal) -> Real:
    shape, dtype = _common(p, q)
    loc, scale = (_params.pack(array, dtype) for array in _diagonal(p))
    result = np.zeros(shape, dtype)
    q._add_mahalanobis(_params.pack(np.broadcast_to(loc, loc.shape[:-1] + p.event_shape), dtype, 1), result)
    # Column i of L_q^-1 is stretched by scale_i.
    columns = np.hypot.reduce(_params.pack(q._triangle(inverse=True), dtype), axis=-1, initial=0)
    result += np.square(scale * columns).sum(-1)
    return _gaussian_kl(
        result, math.prod(p.event_shape), sum_events(log(scale), p.event_shape), q._half_log_det(dtype)
    )


@register_kl(MultivariateNormal, Independent)
def _kl_mvn_independent(p: MultivariateNormal, q: Independent) -> Real:
    shape, dtype = _common(p, q)
    loc, scale = (_params.pack(array, dtype) for array in _diagonal(q))
    result = np.zeros(shape, dtype)
    result += np.square((_params.pack(p._arrays["loc"], dtype) - loc) / scale).sum(-1)
    # Row i of L_p is shrunk by scale_i, and its length is the standard deviation.
    result += np.square(_params.pack(p.stddev, dtype) / scale).sum(-1)
    return _gaussian_kl(
        result, math.prod(p.event_shape), p._half_log_det(dtype), sum_events(log(scale), p.event_shape)
    )
