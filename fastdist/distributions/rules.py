"""Rules by method and type: divergences of pairs, and gradients of methods.

kl_divergence, register_kl    a divergence is found by the types of p and q
vjp, register_vjp             a rule of gradients is found by a method's name and the distribution's type

A rule of gradients is called before the method is. It records what gradients need (of an argument a copy, as
the user might change it; parameters never change) and returns `pull(g, value)`: from the cotangent g, in the
value's full shape, and the value to the gradients, the same each time.

A rule is a class's own only as long as no subclass has changed what it is about: `keeps`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastdist import _params, _shapes
from fastdist._kernels import pullbacks
from fastdist._kernels.pullbacks import expanded as expanded
from fastdist._kernels.pullbacks import new as new
from fastdist._kernels.sources import Noise
from fastdist._shapes import Shape
from fastdist._typing import ArrayLike, Real, RealDType
from fastdist.distributions._rules import (
    DIVERGENCES,
    RULES,
    RULES_OF_KL,
    Rule,
    forget,
    read_in,
    with_pullback,
    with_pullback_of_kl,
)
from fastdist.distributions._rules import divergence_of as divergence_of
from fastdist.distributions._rules import rule_of as rule_of
from fastdist.distributions._rules import rule_of_kl as rule_of_kl
from fastdist.distributions._rules import sees_value as sees_value
from fastdist.distributions._rules import sees_value_of as sees_value_of
from fastdist.distributions.distribution import ABOVE, Distribution

Divergence = Callable[[Any, Any], Real]
Gradients = dict[str, Any]  # arrays, or those of a distribution that is held
# From a cotangent and the value to Gradients; of a draw and its density from pairs, of kl_divergence to one.
Pull = Callable[[Any, Any], Any]
AnyDivergence = TypeVar("AnyDivergence", bound=Divergence)
AnyRule = TypeVar("AnyRule", bound=Callable[..., Pull])

# ---- divergences -----------------------------------------------------------------------------------


def register_kl(
    type_p: type[Distribution], type_q: type[Distribution]
) -> Callable[[AnyDivergence], AnyDivergence]:
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
    read_in()  # or it would replace this one

    def register(rule: AnyDivergence) -> AnyDivergence:
        DIVERGENCES[type_p, type_q] = rule
        forget()
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
    shape = p._batch_shape
    if shape != q._batch_shape:
        shape = _shapes.broadcast_shapes(p=shape, q=q._batch_shape)
    divergence = np.asarray(divergence_of(p, q)(p, q))
    return _params.delivered(divergence, shape, divergence.dtype, out)


ABOVE["kl_divergence"] = kl_divergence


# ---- gradients --------------------------------------------------------------------------------------


def vjp(method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> tuple[Any, Callable[..., Any]]:
    r"""Value of a method, and its pullback: from the gradient by the value to those by the parameters.

    .. math:: \text{pullback}(g) = \nabla \sum_i g_i \, \text{value}_i

    (a vector-Jacobian product, one step of reverse-mode differentiation.)

    Parameters
    ----------
    method : callable
        `rsample`, `log_prob`, `prob` or `entropy` of a distribution, `sample_and_log_prob`, `rsample_and_kl`,
        its cdf family, `colorize`, `whiten` or `mahalanobis`, or `kl_divergence`; or a method that returns
        another distribution, such as `condition`.
    *args, **kwargs
        Its arguments, `rng`, `out` and `workers` included.

    Returns
    -------
    value : numpy.ndarray
        What the method returns, bit for bit; a generator is left where the method leaves it.
    pullback : callable
        Takes a cotangent, an array that broadcasts to the value's shape and is converted to its
        dtype, and returns a dict of gradients: one for each array parameter that the distribution
        was built with, under its constructor's name, in the shape it was given in and the
        distribution's dtype, and for `log_prob` and the cdf family one for ``"value"``, in the value's
        shape and the result's dtype; for `colorize` it is ``"eps"``, for `whiten` and `mahalanobis`
        ``"x"``. `Independent` passes through to its base; other distributions that hold one have a dict of
        its gradients, under their constructor's name for it. For `kl_divergence` there is a dict for ``"p"``
        and one for ``"q"``. Of a method that returns two arrays it takes a pair of cotangents, of which one
        may be None; for `rsample_and_kl` there is a dict for ``"prior"``, too. Where the value is a
        distribution it takes gradients by its parameters, a dict as its own methods' pullbacks return
        (``"value"`` is left aside, what is missing is 0), and returns also those by the method's array
        arguments, by name. It may be called any number of times, and always gives the same.

    Raises
    ------
    NotImplementedError
        For a method without a rule; see `register_vjp`.
    TypeError
        If `method` is no such thing; by the pullback, for a cotangent that is not of reals.
    ValueError
        By the pullback, for a cotangent that does not broadcast to the value's shape.

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
    if method is kl_divergence:
        return _vjp_of_kl(*args, **kwargs)
    d = getattr(method, "__self__", None)
    if not isinstance(d, Distribution):
        raise TypeError(f"method must be a distribution's method or kl_divergence, got {method!r}")
    name: str = method.__name__
    rule = rule_of_scored(d) if name == "sample_and_log_prob" else rule_of(type(d), name)
    return with_pullback(rule, d, method, name, args, kwargs)


def _vjp_of_kl(
    p: Distribution, q: Distribution, *, out: Real | None = None
) -> tuple[Real, Callable[..., Any]]:
    value = kl_divergence(p, q, out=out)
    return with_pullback_of_kl(rule_of_kl(p, q), p, q, value)


# ---- the registry of gradients -----------------------------------------------------------------------


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
        needs of an argument, and returns a function of the cotangent and of the value, what the method
        has returned, both of one shape. This returns a dict of gradients (for ``"kl_divergence"`` a pair of
        dicts), each either of the parameter's shape or of one that the parameter broadcasts to, and then
        is summed. By a distribution that a wrapper holds it is a dict of those by its parameters.

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
    >>> @fd.register_vjp("perplexity", fd.Normal)
    ... def vjp_perplexity(d):
    ...     return lambda g, p: {"scale": g * p / d.scale}
    >>> p, pullback = fd.vjp(fd.Normal(np.zeros(3), 1.0).perplexity)
    >>> round(float(pullback(np.ones(3))["scale"]), 3)
    12.398
    """
    n = 2 if method == "kl_divergence" else 1
    if len(types) != n:
        raise TypeError(f"a rule for {method} takes {n} type{'s' if n > 1 else ''}, got {len(types)}")
    for cls in types:
        if not (isinstance(cls, type) and issubclass(cls, Distribution)):
            raise TypeError(f"types must be subclasses of Distribution, got {cls!r}")

    def register(rule: AnyRule) -> AnyRule:
        fitted = _fitted_pair(rule) if n == 2 else _fitted(rule)
        _register(Rule(fitted, sees_value=True), method, *types)
        return rule

    return register


def own_vjp(
    method: str, *types: type[Distribution], sees_value: bool | Callable[[Any], bool] = False
) -> Callable[[AnyRule], AnyRule]:
    """`register_vjp` for rules whose gradients have the right shapes, and that mostly see no value."""

    def register(rule: AnyRule) -> AnyRule:
        _register(Rule(rule, sees_value), method, *types)
        return rule

    return register


def _register(rule: Rule, method: str, *types: type) -> None:
    if method == "kl_divergence":
        pair = types[0], types[1]
        read_in()
        if pair not in DIVERGENCES:
            raise ValueError(f"no KL divergence is registered for {pair[0].__name__} and {pair[1].__name__}")
        RULES_OF_KL[pair] = DIVERGENCES[pair], rule
    else:
        RULES[method, types[0]] = rule
        forget()


def _fitted(rule: Callable[..., Pull]) -> Callable[..., Pull]:
    """The rule with its gradients summed to the shapes of the parameters, and of the argument `value`."""

    def fitted(d: Distribution, *args: Any, **kwargs: Any) -> Pull:
        pull = rule(d, *args, **kwargs)
        value: Any = kwargs.get("value", args[0] if args else 0)
        value_shape = np.shape(value)
        return lambda g, result: _fit(d, pull(g, result), g.dtype, value_shape)

    return fitted


def _fitted_pair(rule: Callable[..., Pull]) -> Callable[..., Pull]:
    def fitted(p: Distribution, q: Distribution) -> Pull:
        pull = rule(p, q)
        return lambda g, result: tuple(
            _fit(d, of_d, g.dtype) for d, of_d in zip((p, q), pull(g, result), strict=True)
        )

    return fitted


@_params.quiet
def _fit(d: Distribution, gradients: Gradients, dtype: RealDType, value_shape: Shape = ()) -> Gradients:
    result: Gradients = {}
    for name, gradient in gradients.items():
        owner = d._owner(name)
        if isinstance(gradient, dict) and isinstance(d.parameters.get(name), Distribution):
            result[name] = _fit(d.parameters[name], gradient, dtype)
            continue
        if owner is None and name != "value":
            known = ", ".join(d._named())
            raise ValueError(f"a rule for {type(d).__name__} returned a gradient by {name!r}; it has {known}")
        shape = value_shape if owner is None else owner._parameter_shape(name)
        terms = np.ascontiguousarray(gradient, dtype if owner is None else owner.dtype)
        _shapes.check_broadcast_to(f"{name} of shape", shape, terms.shape)
        result[name] = summed(terms, shape)
    return result


# ---- a draw and its density --------------------------------------------------------------------------


def rule_of_scored(d: Distribution) -> Rule:
    """The rule for `sample_and_log_prob`: its own, or those of the draw and of its density."""
    if not d.has_rsample:
        raise NotImplementedError(f"{type(d).__name__} has no reparameterised draws")
    try:
        return rule_of(type(d), "sample_and_log_prob")
    except NotImplementedError:
        return Rule(_one_after_the_other, sees_value=True)


def _one_after_the_other(d: Distribution, replay: Callable[[], Noise]) -> Pull:
    by_draw, of_density = rule_of(type(d), "rsample").rule(d, replay), rule_of(type(d), "log_prob").rule

    def pull(g: tuple[Real, Real], value: tuple[Real, Real]) -> Gradients:
        by_density: Gradients = of_density(d, value[0])(g[1], value[1])
        with np.errstate(all="ignore"):
            by_value = np.asarray(g[0] + by_density.pop("value"))
        result: Gradients = added(by_draw(by_value, value[0]), by_density)
        return result

    return pull


def of_noise(d: Distribution, replay: Callable[[], Noise]) -> Pull:
    """The rule for a draw that is affine in noise: log densities are the noise's, less the entropy."""
    by_draw, by_entropy = rule_of(type(d), "rsample").rule(d, replay), rule_of(type(d), "entropy").rule(d)

    def pull(g: tuple[Real, Real], _: Any) -> Gradients:
        of_entropy = summed(g[1], d._batch_shape)
        np.negative(of_entropy, out=of_entropy)
        result: Gradients = added(by_draw(g[0], None), by_entropy(of_entropy, None))
        return result

    return pull


@_params.quiet
def added(a: Any, b: Any) -> Any:
    """Sums of gradients by the same parameters."""
    if isinstance(a, dict):
        return type(a)(
            {
                name: added(a[name], b[name]) if name in a and name in b else {**a, **b}[name]
                for name in {**a, **b}
            }
        )
    if isinstance(a, list):
        return [added(*pair) for pair in zip(a, b, strict=True)]
    return np.asarray(a + b)


# ---- a draw and a divergence -------------------------------------------------------------------------


def one_and_the_other(d: Distribution, replay: Callable[[], Noise], prior: Distribution) -> Pull:
    """The rule for `rsample_and_kl`: those of the draw and of the divergence."""
    by_draw, of_kl = rule_of(type(d), "rsample").rule(d, replay), rule_of_kl(d, prior)
    by_divergence, kl = of_kl.rule(d, prior), kl_divergence(d, prior) if of_kl.sees_value else None

    def pull(g: tuple[Real, Real], value: tuple[Real, Real]) -> Gradients:
        by_p, by_q = by_divergence(g[1], kl)
        return {**added(by_draw(g[0], value[0]), by_p), "prior": by_q}

    return pull


own_vjp("rsample_and_kl", Distribution, sees_value=lambda d: sees_value(d, "rsample"))(one_and_the_other)


# ---- what the rules share --------------------------------------------------------------------------


def summed(g: Real, shape: Shape) -> Real:
    """`g` summed to a shape that broadcasts to its own."""
    result = new(g, shape)
    pullbacks.sum_to(result, g)
    return result


def recorded(value: ArrayLike, d: Distribution, name: str = "value") -> tuple[Real, Shape, RealDType]:
    """A record of a density's argument, its shape, and the dtype to compute in."""
    array, batch_shape, dtype = _params.values(value, d._dtype, d._event_shape, name)
    return array.copy(), batch_shape + d._event_shape, dtype


def with_events(g: Real) -> Real:
    """`g` with events that lie together in memory, should it repeat along them."""
    if g.strides[-1] == 0 and g.shape[-1] > 1:
        return np.broadcast_to(_params.pack(g, g.dtype, 1), g.shape)
    return g


def cast(gradients: Gradients, dtype: RealDType) -> Gradients:
    """Gradients by parameters in the distribution's dtype."""
    for gradient in gradients.values():
        if gradient.dtype is not dtype and gradient.dtype != dtype:
            return {name: _params.pack(gradient, dtype) for name, gradient in gradients.items()}
    return gradients


# ---- what follows from the rule of a density --------------------------------------------------------


@own_vjp("prob", Distribution, sees_value=True)
def _vjp_prob(d: Distribution, /, value: ArrayLike) -> Pull:
    rule = rule_of(type(d), "log_prob")
    pull, log_prob = rule.rule(d, value), d.log_prob(value) if sees_value(d, "log_prob") else None

    @_params.quiet
    def pull_prob(g: Real, prob: Real) -> Gradients:
        result: Gradients = pull(np.ascontiguousarray(g * prob), log_prob)
        return result

    return pull_prob
