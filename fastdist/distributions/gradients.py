"""Gradients without a framework: `vjp`, a registry of rules by method and type, and the Gaussian rules.

A rule is called before the method is. It records what gradients need (copies of what the user might
change in place) and returns a function of the cotangent, which must give the same each time.

In the rules g is the cotangent in the value's full shape, z = L^-1 (x - loc), and M the lower triangle
of L' times the gradient by L: how the value changes with L (1 + Y), Y lower triangular. All rules for
covariance and precision matrices come down to M, symmetrised to S (Murray, "Differentiation of the
Cholesky decomposition", 2016):

    by covariance L L'      L^-T S L^-1
    by precision W'W        -W^-1 S W^-T, with W = L^-1

Nothing is made per sample but a tile at a time, in C.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fastdist import _params, _shapes
from fastdist._kernels import bridge
from fastdist._kernels.bridge import Noise, Recorded
from fastdist._params import Real, RealDType
from fastdist._shapes import Shape
from fastdist.distributions import kl
from fastdist.distributions.distribution import Distribution
from fastdist.distributions.independent import Independent
from fastdist.distributions.multivariate_normal import MultivariateNormal
from fastdist.distributions.normal import Normal
from fastdist.random import as_noise

if TYPE_CHECKING:  # numpy.typing takes as long to import as all of this package
    from numpy.typing import ArrayLike

Gradients = dict[str, Real]
Pull = Callable[[Real], Any]  # Gradients, for kl_divergence two of them
Rule = Callable[..., Pull]
AnyRule = TypeVar("AnyRule", bound=Rule)

_rules: dict[tuple[Any, ...], Rule] = {}
_found: dict[tuple[type, str], Rule] = {}  # what _find has found
_kl_rules: dict[tuple[type, type], kl.Rule] = {}  # the divergences that rules are gradients of

# What a subclass may override of a method: then it needs a rule of its own.
_PARTS = {
    "rsample": ("rsample", "sample", "_sample", "_draw"),
    "log_prob": ("log_prob", "_log_prob_of", "_log_prob"),
    "entropy": ("entropy", "_entropy"),
}


def vjp(method: Callable[..., Real], /, *args: Any, **kwargs: Any) -> tuple[Real, Pull]:
    r"""Value of a method, and its pullback: from the gradient by the value to those by the parameters.

    .. math:: \text{pullback}(g) = \nabla \sum_i g_i \, \text{value}_i

    (a vector-Jacobian product, one step of reverse-mode differentiation.)

    Parameters
    ----------
    method : callable
        `rsample`, `log_prob` or `entropy` of a distribution, or `kl_divergence`.
    *args, **kwargs
        Its arguments, `rng`, `out` and `workers` included.

    Returns
    -------
    value : numpy.ndarray
        What the method returns, bit for bit; a generator is left where the method leaves it.
    pullback : callable
        Takes a cotangent of the value's shape and dtype and returns a dict of gradients: one for
        each array parameter that the distribution was built with, under its constructor's name, in
        the shape it was given in and the distribution's dtype, and for `log_prob` one for
        ``"value"``, in the value's shape and the result's dtype. `Independent` passes through to its
        base. For `kl_divergence` there is a dict for ``"p"`` and one for ``"q"``. It may be
        called any number of times, and always gives the same.

    Raises
    ------
    NotImplementedError
        For a method without a rule; see `register_vjp`.
    TypeError
        If `method` is no such thing; by the pullback, for a cotangent of another dtype.
    ValueError
        By the pullback, for a cotangent of another shape.

    Notes
    -----
    A gradient by `scale_tril` is lower triangular, those by `covariance_matrix` and
    `precision_matrix` are symmetric: gradients along symmetric changes of them.

    What gradients depend on is recorded at the call: an array that is changed in place afterwards
    changes nothing. Of a draw that is no more than where its noise began, which pullbacks draw
    again: by key and position from BlockSFC64, from other bit generators by a new one that is set
    to the same `state`. The generator itself does not move. A draw and its pullback take at most three
    times the draw's memory, plus the gradients themselves.

    A sum over broadcast and sample dims has a fixed order: the same bits on every instruction set
    and for every layout.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> normal = fd.Normal(np.zeros((3, 2)), [1.0, 2.0])
    >>> x, pullback = fd.vjp(normal.rsample, (100,), rng=0)
    >>> gradients = pullback(np.ones_like(x))
    >>> gradients["loc"].shape, gradients["scale"].shape
    ((3, 2), (2,))
    >>> bool(np.allclose(gradients["scale"], (x / normal.scale).sum((0, 1))))
    True
    """
    if method is kl.kl_divergence:
        return _vjp_kl(*args, **kwargs)
    d = getattr(method, "__self__", None)
    if not isinstance(d, Distribution):
        raise TypeError(f"method must be a distribution's method or kl_divergence, got {method!r}")
    name: str = method.__name__
    rule = _find(type(d), name)
    if name == "rsample":
        noise = Recorded(as_noise(kwargs.pop("rng", None)))
        pull = rule(d, noise.replay)
        value = method(*args, rng=noise, **kwargs)
    else:
        out = {"out": kwargs.pop("out")} if "out" in kwargs else {}
        pull = rule(d, *args, **kwargs)
        value = method(*args, **kwargs, **out)
    return value, _pullback(pull, value)


def _vjp_kl(p: Distribution, q: Distribution) -> tuple[Real, Pull]:
    value = kl.kl_divergence(p, q)
    pull = _pull_of_kl(p, q)

    def pull_both(g: Real) -> dict[str, Gradients]:
        by_p, by_q = pull(g)
        return {"p": by_p, "q": by_q}

    return value, _pullback(pull_both, value)


def _pullback(pull: Pull, value: Real) -> Pull:
    """What the user gets: `pull`, of a cotangent for `value`."""
    shape, dtype = value.shape, value.dtype

    def pullback(cotangent: ArrayLike) -> Any:
        return pull(_cotangent(cotangent, shape, dtype))

    return pullback


def _cotangent(cotangent: ArrayLike, shape: Shape, dtype: RealDType) -> Real:
    """A cotangent as the rules take it: packed, in the value's shape, with strides of 0 where it repeats."""
    if type(cotangent) is np.ndarray and cotangent.shape == shape and cotangent.dtype == dtype:
        flags = cotangent.flags
        if flags.c_contiguous and flags.aligned:
            return cotangent  # as it nearly always is
    array = _params.as_array("cotangent", cotangent)
    if (
        array.dtype != dtype
        and array.dtype.newbyteorder("=") != dtype
        and type(cotangent) not in (float, int)
    ):
        raise TypeError(f"cotangent must be of the value's dtype {dtype}, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"cotangent must have the value's shape {shape}, got {array.shape}")
    packed = _params.pack(array, dtype)
    return packed if packed.shape == shape else np.broadcast_to(packed, shape)


# ---- the registry ------------------------------------------------------------------------------


def register_vjp(method: str, *types: type[Distribution]) -> Callable[[AnyRule], AnyRule]:
    """Register a rule of `vjp` for a method of a type and its subclasses.

    A subclass that overrides the method, or the hook behind it, needs a rule of its own.

    Parameters
    ----------
    method : str
        Name of the method, or ``"kl_divergence"``.
    *types : type
        The subclass of Distribution; for ``"kl_divergence"`` two, for which there is a divergence
        (`register_kl`) already.

    Returns
    -------
    callable
        A decorator for the rule, a function of the distribution and the method's arguments but for
        `out`; for `rsample` a function of the distribution and `replay`, which returns what, as
        ``rng=`` of `standard_normal`, draws the same normals again. It copies what it
        needs and may be changed in place, and returns a function of the cotangent, which has the
        value's shape. This returns a dict of gradients (for ``"kl_divergence"`` a pair of dicts),
        each either of the parameter's shape or of one that the parameter broadcasts to, and then
        is summed.

    Raises
    ------
    TypeError
        If a type is no subclass of Distribution, or there are too many or too few.
    ValueError
        If the types have no divergence; by the pullback, if the rule returns a gradient by something else
        than a parameter or ``"value"``, or of a shape that does not fit.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> @fd.register_vjp("cdf", fd.Normal)
    ... def vjp_cdf(d, value):
    ...     z, scale = (value - d.loc) / d.scale, d.scale.copy()
    ...     density = np.exp(-z * z / 2) / (scale * np.sqrt(2 * np.pi))
    ...     return lambda g: {"loc": -g * density, "scale": -g * density * z, "value": g * density}
    >>> p, pullback = fd.vjp(fd.Normal(np.zeros(3), 1.0).cdf, 0.0)
    >>> round(float(pullback(np.ones(3))["value"]), 3)
    1.197
    """
    n = 2 if method == "kl_divergence" else 1
    if len(types) != n:
        raise TypeError(f"a rule for {method} takes {n} type{'s' if n > 1 else ''}, got {len(types)}")
    for cls in types:
        if not (isinstance(cls, type) and issubclass(cls, Distribution)):
            raise TypeError(f"types must be subclasses of Distribution, got {cls!r}")
    return lambda rule: _register(rule, _fitted_kl if n == 2 else _fitted, method, *types)


def _register(rule: AnyRule, fitted: Callable[[Rule], Rule], method: str, *types: type) -> AnyRule:
    if method == "kl_divergence":
        pair = types[0], types[1]
        if pair not in kl._rules:
            raise ValueError(f"no KL divergence is registered for {pair[0].__name__} and {pair[1].__name__}")
        _kl_rules[pair] = kl._rules[pair]
    _rules[method, *types] = fitted(rule)
    _found.clear()
    return rule


def _own(method: str, *types: type) -> Callable[[AnyRule], AnyRule]:
    """`register_vjp` for rules whose gradients have the right shapes already."""
    return lambda rule: _register(rule, lambda rule: rule, method, *types)


def _fitted(rule: Rule) -> Rule:
    """The rule with its gradients summed to the shapes of the parameters, and of the argument `value`."""

    def fitted(d: Distribution, *args: Any, **kwargs: Any) -> Pull:
        pull = rule(d, *args, **kwargs)
        value: Any = kwargs.get("value", args[0] if args else 0)
        value_shape = np.shape(value)
        return lambda g: _fit(d, pull(g), g.dtype, value_shape)

    return fitted


def _fitted_kl(rule: Rule) -> Rule:
    def fitted(p: Distribution, q: Distribution) -> Pull:
        pull = rule(p, q)
        return lambda g: tuple(_fit(d, of_d, g.dtype) for d, of_d in zip((p, q), pull(g), strict=True))

    return fitted


def _fit(d: Distribution, gradients: Gradients, dtype: RealDType, value_shape: Shape = ()) -> Gradients:
    result = {}
    for name, gradient in gradients.items():
        of_value = name == "value" and name not in d._arrays
        if not of_value and name not in d._arrays:
            known = ", ".join(key for key in d._arrays if not key.startswith("_"))
            raise ValueError(f"a rule for {type(d).__name__} returned a gradient by {name!r}; it has {known}")
        shape = value_shape if of_value else d._parameter_shape(name)
        terms = np.ascontiguousarray(gradient, dtype if of_value else d.dtype)
        _shapes.check_broadcast_to(f"{name} of shape", shape, terms.shape)
        result[name] = _summed(terms, shape)
    return result


def _find(cls: type, name: str) -> Rule:
    """The rule for a method, from the class that it is defined in or a subclass of that."""
    rule = _found.get((cls, name))
    if rule is not None:
        return rule
    for base in cls.__mro__:
        if (name, base) in _rules:
            return _found.setdefault((cls, name), _rules[name, base])
        if any(part in base.__dict__ for part in _PARTS.get(name, (name,))):
            break
    hint = "differentiate rsample instead" if name == "sample" else "see register_vjp"
    raise NotImplementedError(f"no gradient rule is registered for {cls.__name__}.{name}; {hint}")


def _pull_of_kl(p: Distribution, q: Distribution) -> Pull:
    return rule_of_kl(p, q)(p, q)


def rule_of_kl(p: Distribution, q: Distribution) -> Rule:
    """The rule for a divergence, if it is that divergence's."""
    types = kl._types(p, q)
    if _kl_rules.get(types) is not kl._rules[types]:
        names = " and ".join(cls.__name__ for cls in types)
        raise NotImplementedError(
            f"no gradient rule is registered for kl_divergence of {names}; see register_vjp"
        )
    return _rules["kl_divergence", *types]


# ---- what the rules share ------------------------------------------------------------------------


def _new(g: Real, shape: Shape) -> Real:
    """For a gradient: the bridge overwrites it, but by an empty sum."""
    return np.empty(shape, g.dtype) if g.size else np.zeros(shape, g.dtype)


def _summed(g: Real, shape: Shape) -> Real:
    """`g` summed to a shape that broadcasts to its own."""
    result = _new(g, shape)
    bridge.sum_to(result, g)
    return result


def _copy(array: Real, dtype: RealDType) -> Real:
    """A record of a packed array that its owner might change."""
    return array.copy() if array.dtype == dtype else array.astype(dtype)


def _value(value: ArrayLike, d: Distribution) -> tuple[Real, Shape, RealDType]:
    """A record of a density's argument, its shape, and the dtype to compute in."""
    array, batch_shape, dtype = _params.values(value, d._dtype, d._event_shape)
    return array.copy(), batch_shape + d._event_shape, dtype


def _with_events(g: Real) -> Real:
    """`g` with events that lie together in memory, should it repeat along them."""
    if g.strides[-1] == 0 and g.shape[-1] > 1:
        return np.broadcast_to(_params.pack(g, g.dtype, 1), g.shape)
    return g


def _expanded(g: Real, tail: Shape) -> Real:
    """`g` repeated over dims `tail` at its end."""
    if g.flags.c_contiguous:  # a quarter of the time
        return np.ndarray(g.shape + tail, g.dtype, g, 0, g.strides + (0,) * len(tail))
    return np.broadcast_to(g.reshape(g.shape + (1,) * len(tail)), g.shape + tail)


def _cast(gradients: Gradients, dtype: RealDType) -> Gradients:
    """Gradients by parameters in the distribution's dtype."""
    if gradients["loc"].dtype == dtype:
        return gradients
    with np.errstate(all="ignore"):  # what is too large for float32 is infinite, what is too small 0
        return {name: gradient.astype(dtype) for name, gradient in gradients.items()}


# ---- Normal --------------------------------------------------------------------------------------


@_own("rsample", Normal)
def _vjp_normal_rsample(d: Normal, replay: Callable[[], Noise]) -> Pull:
    loc_shape, scale_shape = d._parameter_shape("loc"), d._parameter_shape("scale")

    def pull(g: Real) -> Gradients:
        by_loc, by_scale = _new(g, loc_shape), _new(g, scale_shape)
        bridge.pull_draw_diag(replay(), by_loc, by_scale, g)
        return {"loc": by_loc, "scale": by_scale}

    return pull


@_own("log_prob", Normal)
def _vjp_normal_log_prob(d: Normal, /, value: ArrayLike) -> Pull:
    array, value_shape, dtype = _value(value, d)
    loc, scale = _copy(d._arrays["loc"], dtype), _copy(d._arrays["scale"], dtype)
    loc_shape, scale_shape = d._parameter_shape("loc"), d._parameter_shape("scale")

    def pull(g: Real) -> Gradients:
        by_value, by_loc, by_scale = _new(g, value_shape), _new(g, loc_shape), _new(g, scale_shape)
        bridge.pull_log_prob_diag(by_value, by_loc, by_scale, g, array, loc, scale)
        return {**_cast({"loc": by_loc, "scale": by_scale}, d._dtype), "value": by_value}

    return pull


@_own("entropy", Normal)
def _vjp_normal_entropy(d: Normal) -> Pull:
    scale = d._arrays["scale"].copy()

    def pull(g: Real) -> Gradients:
        by_scale = _summed(g, d._parameter_shape("scale"))
        by_scale /= scale
        return {"loc": np.zeros(d._parameter_shape("loc"), d._dtype), "scale": by_scale}

    return pull


@_own("kl_divergence", Normal, Normal)
def _vjp_kl_normal_normal(p: Normal, q: Normal) -> Pull:
    dtype, of_p, of_q = kl._common_dtype(p, q), p._arrays, q._arrays
    loc_p, scale_p = _copy(of_p["loc"], dtype), _copy(of_p["scale"], dtype)
    loc_q, scale_q = _copy(of_q["loc"], dtype), _copy(of_q["scale"], dtype)
    loc_p_shape, scale_p_shape = p._parameter_shape("loc"), p._parameter_shape("scale")
    loc_q_shape, scale_q_shape = q._parameter_shape("loc"), q._parameter_shape("scale")

    def pull(g: Real) -> tuple[Gradients, Gradients]:
        by_p = {"loc": _new(g, loc_p_shape), "scale": _new(g, scale_p_shape)}
        by_q = {"loc": _new(g, loc_q_shape), "scale": _new(g, scale_q_shape)}
        bridge.pull_normal_kl(
            by_p["loc"], by_p["scale"], by_q["loc"], by_q["scale"], g, loc_p, scale_p, loc_q, scale_q
        )
        return _cast(by_p, p._dtype), _cast(by_q, q._dtype)

    return pull


# ---- MultivariateNormal --------------------------------------------------------------------------

# By what was given: from the gradient by L to M, and from M to that by the matrix.
_TO_M = {"covariance_matrix": "left_multiply_t", "precision_matrix": "left_solve_t"}
_FROM_M = {
    "scale_tril": "left_solve_t",
    "covariance_matrix": "congruence_t",
    "precision_matrix": "congruence",
}


@_own("rsample", MultivariateNormal)
def _vjp_mvn_rsample(d: MultivariateNormal, replay: Callable[[], Noise]) -> Pull:
    name, factor = d._given, d._arrays["_factor"]
    shape = d._batch_shape + d._event_shape

    def pull(g: Real) -> Gradients:
        n_sample = math.prod(g.shape[: g.ndim - len(shape)])
        by_matrix = np.zeros(d._parameter_shape(name), g.dtype)
        bridge.pull_draw_tril(replay(), by_matrix, _with_events(g).reshape(n_sample, *shape))
        from_tril(name, by_matrix, factor)
        return {"loc": _summed(g, d._parameter_shape("loc")), name: by_matrix}

    return pull


def from_tril(name: str, matrix: Real, factor: Real) -> None:
    """From the gradient by L, lower triangular, to that by matrix `name`, in place."""
    if name in _TO_M:
        bridge.transform_tril(_TO_M[name], matrix, factor)
        bridge.transform_tril(_FROM_M[name], matrix, factor)


@_own("log_prob", MultivariateNormal)
def _vjp_mvn_log_prob(d: MultivariateNormal, /, value: ArrayLike) -> Pull:
    array, value_shape, dtype = _value(value, d)
    return pull_mvn_log_prob(d, array, value_shape, _copy(d._arrays["loc"], dtype))


def pull_mvn_log_prob(d: MultivariateNormal, value: Real, value_shape: Shape, loc: Real) -> Pull:
    """The rule but for its copies: neither the value, packed, nor the loc may change."""
    dtype = loc.dtype
    name, factor = d._given, _params.pack(d._arrays["_factor"], dtype, 2)
    panels = d._panels(dtype)

    def pull(g: Real) -> Gradients:
        by_value, by_loc = _new(g, value_shape), _new(g, d._parameter_shape("loc"))
        by_matrix = np.zeros(d._parameter_shape(name), dtype)
        bridge.pull_log_prob_tril(name, by_value, by_loc, by_matrix, g, value, loc, panels)
        _add_log_det(name, by_matrix, factor, _summed(g, by_matrix.shape[:-2]))
        return {**_cast({"loc": by_loc, name: by_matrix}, d._dtype), "value": by_value}

    return pull


def _add_log_det(name: str, matrix: Real, factor: Real, weight: Real) -> None:
    """From M without log det L, which counts -weight times, to the gradient; by scale_tril from that."""
    verb = "subtract_log_det" if name == "scale_tril" else _FROM_M[name]
    bridge.transform_tril(verb, matrix, factor, weight)


@_own("entropy", MultivariateNormal)
def _vjp_mvn_entropy(d: MultivariateNormal) -> Pull:
    name, factor = d._given, d._arrays["_factor"]

    def pull(g: Real) -> Gradients:
        by_matrix = np.zeros(d._parameter_shape(name), g.dtype)
        _add_log_det(name, by_matrix, factor, np.asarray(-_summed(g, by_matrix.shape[:-2])))
        return {"loc": np.zeros(d._parameter_shape("loc"), g.dtype), name: by_matrix}

    return pull


class _Side(kl.Vectors):
    """A record of p or q of a divergence of vectors, and its gradients."""

    def __init__(self, d: Distribution, dtype: RealDType) -> None:
        super().__init__(d, dtype)
        self.loc = self.loc.copy()
        if isinstance(self.d, Normal):
            self.name, self.factor = "scale", self.factor.copy()
        else:
            self.name = self.d._given

    def new(self, g: Real) -> Gradients:
        """Arrays for the gradients."""
        return {name: _new(g, self.d._parameter_shape(name)) for name in ("loc", self.name)}

    def row(self, gradients: Gradients) -> Real:
        """What the kernel adds up: by a scale as it is, by a matrix as one row."""
        array = gradients[self.name]
        return array if self.name == "scale" else array.reshape(*array.shape[:-2], array.shape[-1] ** 2)

    def finish(self, gradients: Gradients) -> Gradients:
        """From M to the gradient by the matrix."""
        if self.name != "scale":
            bridge.transform_tril(_FROM_M[self.name], gradients[self.name], self.factor)
        return _cast(gradients, self.d._dtype)


@_own("kl_divergence", MultivariateNormal, MultivariateNormal)
@_own("kl_divergence", Independent, MultivariateNormal)
@_own("kl_divergence", MultivariateNormal, Independent)
def vjp_kl_vectors(p: Distribution, q: Distribution, *, of_p_alone: bool = False) -> Pull:
    """The rule, which may leave away all that is due to q."""
    dtype = kl._common_dtype(p, q)
    of_p, of_q = _Side(p, dtype), _Side(q, dtype)

    def pull(g: Real) -> tuple[Gradients, Gradients]:
        by_p, by_q = of_p.new(g), {} if of_p_alone else of_q.new(g)
        bridge.pull_mvn_kl(
            by_p["loc"], by_q.get("loc"), of_p.row(by_p), of_q.row(by_q) if by_q else None, g,
            of_p.loc, of_q.loc, of_p.factor, of_q.factor, of_p.kind, of_q.kind,
        )  # fmt: skip
        return of_p.finish(by_p), of_q.finish(by_q) if by_q else by_q

    return pull


# ---- Independent -----------------------------------------------------------------------------------


@_own("rsample", Independent)
def _vjp_independent_rsample(d: Independent, replay: Callable[[], Noise]) -> Pull:
    return _find(type(d._base), "rsample")(d._base, replay)


@_own("log_prob", Independent)
def _vjp_independent_log_prob(d: Independent, /, value: ArrayLike) -> Pull:
    pull, tail = _find(type(d._base), "log_prob")(d._base, value), d._tail()
    return lambda g: pull(_expanded(g, tail))


@_own("entropy", Independent)
def _vjp_independent_entropy(d: Independent) -> Pull:
    pull, tail = _find(type(d._base), "entropy")(d._base), d._tail()
    return lambda g: pull(_expanded(g, tail))


@_own("kl_divergence", Independent, Independent)
def _vjp_kl_independent_independent(p: Independent, q: Independent) -> Pull:
    pull, tail = _pull_of_kl(p._base, q._base), p._tail()
    return lambda g: pull(_expanded(g, tail))
