"""Distributions that autograd (HIPS autograd, from PyPI) differentiates through.

>>> import autograd.numpy as np
>>> from autograd import grad
>>> from fastdist.autograd import Normal, kl_divergence
>>> def loss(scale):
...     q = Normal(np.zeros(2), scale)
...     return np.mean(q.rsample((1000,), rng=0) ** 2) + np.sum(kl_divergence(q, Normal(0.0, 1.0)))
>>> grad(loss)(np.array([1.0, 2.0])).shape
(2,)

Normal, MultivariateNormal, Independent    fastdist's, of arrays that autograd may be following
wrap                                       the same for a distribution that a user has written
kl_divergence                              of two of these

A call is one primitive of autograd's, whose derivative is the rule of `fastdist.vjp`. There are first
derivatives in reverse mode alone: derivatives of these raise NotImplementedError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np

try:
    from autograd.extend import Box, defvjp_argnums, primitive
except ImportError as error:
    raise ImportError(
        f"fastdist.autograd needs autograd ({error}): pip install 'fastdist[autograd]'"
    ) from error

import fastdist.distributions as fd
from fastdist._shapes import Shape, ShapeLike
from fastdist.distributions._arguments import arguments
from fastdist.random import RNGLike

__all__ = ["Independent", "MultivariateNormal", "Normal", "kl_divergence", "wrap"]

# What fastdist takes for an array, or a box of autograd's around it; or what is made of such.
Boxed = Any


class _Call:
    """A call, the names of the arrays it is a function of, and what it leaves behind for its derivative."""

    pullback: Callable[[Any], Any]

    def __init__(self, names: Iterable[str], method: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.names, self.method, self.args, self.kwargs = tuple(names), method, args, kwargs

    def gradients(self, cotangent: Any) -> tuple[Any, ...]:
        """Those by the arrays, in their order."""
        found = _flat(self.pullback(cotangent))
        missing = [name for name in self.names if name not in found]
        if missing:
            raise ValueError(f"the rule for {self.method.__name__} has no gradient by {', '.join(missing)}")
        return tuple(found[name] for name in self.names)


def _flat(nested: dict[str, Any]) -> dict[str, Any]:
    """Dicts in a dict, as of p and q, as one."""
    flat = {}
    for name, x in nested.items():
        flat.update({f"{name}.{key}": y for key, y in _flat(x).items()} if isinstance(x, dict) else {name: x})
    return flat


@primitive  # type: ignore[untyped-decorator]
def _value(call: _Call, *arrays: Any) -> Any:
    """What the call returns, a function of `arrays`, which its distributions are made of."""
    value, call.pullback = fd.vjp(call.method, *call.args, **call.kwargs)
    return value


@primitive  # type: ignore[untyped-decorator]
def _gradients(call: _Call, cotangent: Any, *arrays: Any) -> tuple[Any, ...]:
    """The gradients by `arrays`, in their order."""
    return call.gradients(cotangent)


def _vjp_value(argnums: Sequence[int], value: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    call, *arrays = args

    def pull(cotangent: Any) -> list[Any]:
        gradients = _gradients(call, cotangent, *arrays)
        return [gradients[i - 1] for i in argnums]

    return pull


def _vjp_gradients(*args: Any) -> NoReturn:
    raise NotImplementedError("fastdist.autograd has first derivatives only, not derivatives of gradients")


defvjp_argnums(_value, _vjp_value)
defvjp_argnums(_gradients, _vjp_gradients)


def _followed(arrays: dict[str, Boxed], method: Callable[..., Any], *args: Any, **kwargs: Any) -> Boxed:
    """What a call returns, as a function of the arrays that autograd may be following."""
    return _value(_Call(arrays, method, *args, **kwargs), *arrays.values())


def _unboxed(name: str, array: Boxed) -> Any:
    """The value of what the user gave as `name`."""
    while isinstance(array, Box):
        array = array._value
    if _has_boxes(array):
        if isinstance(array, np.ndarray):
            raise TypeError(
                f"{name} is an array of objects, autograd's boxes, as NumPy's functions and methods make it "
                "of them: use those of autograd.numpy, say autograd.numpy.dot(a, b) instead of a.dot(b)"
            )
        raise TypeError(
            f"{name} is a {type(array).__name__} with autograd's boxes in it, which autograd cannot follow: "
            f"make an array of it, autograd.numpy.array({name})"
        )
    return array


def _has_boxes(array: Any) -> bool:
    """True for what NumPy makes an array of objects of, as some are boxes."""
    if isinstance(array, np.ndarray):
        return array.dtype == object and any(isinstance(entry, Box) for entry in array.flat)
    return isinstance(array, (list, tuple)) and any(isinstance(x, Box) or _has_boxes(x) for x in array)


class _Distribution:
    """A distribution of fastdist's, and the arrays that it was made of, as autograd knows them.

    Attributes
    ----------
    distribution : fastdist.Distribution
        fastdist's own, over the present values.
    batch_shape, event_shape : tuple of int
        Its shapes.
    """

    def __init__(self, distribution: fd.Distribution, arrays: dict[str, Boxed]) -> None:
        self.distribution = distribution
        self._arrays = arrays

    @property
    def batch_shape(self) -> Shape:
        """Shape of the batch of distributions."""
        return self.distribution.batch_shape

    @property
    def event_shape(self) -> Shape:
        """Shape of one event."""
        return self.distribution.event_shape

    def sample(self, sample_shape: ShapeLike = (), *, rng: RNGLike = None) -> Boxed:
        """Draw samples, constants to autograd: those of `rsample` under the same rng, bit for bit."""
        return self.distribution.sample(sample_shape, rng=rng)

    def rsample(self, sample_shape: ShapeLike = (), *, rng: RNGLike = None) -> Boxed:
        """Draw samples, differentiable by the parameters. See `fastdist.Distribution.rsample`."""
        return _followed(self._arrays, self.distribution.rsample, sample_shape, rng=rng)

    def log_prob(self, value: Boxed) -> Boxed:
        """Log density at `value`, differentiable by that, too. See `fastdist.Distribution.log_prob`."""
        arrays = {**self._arrays, "value": value}
        return _followed(arrays, self.distribution.log_prob, _unboxed("value", value))

    def entropy(self) -> Boxed:
        """Differential entropy in nats; shape `batch_shape`."""
        return _followed(self._arrays, self.distribution.entropy)

    def __repr__(self) -> str:
        return f"autograd.{self.distribution!r}"


class Normal(_Distribution):
    """`fastdist.Normal` that autograd differentiates through.

    Parameters
    ----------
    loc, scale : array_like
        Mean and standard deviation.
    validate_args : bool, optional
        As in `fastdist.Normal`.
    """

    def __init__(self, loc: Boxed, scale: Boxed, *, validate_args: bool | None = None) -> None:
        arrays = {"loc": loc, "scale": scale}
        super().__init__(
            fd.Normal(**{name: _unboxed(name, x) for name, x in arrays.items()}, validate_args=validate_args),
            arrays,
        )


class MultivariateNormal(_Distribution):
    """`fastdist.MultivariateNormal` that autograd differentiates through.

    Parameters
    ----------
    loc : array_like
        Mean, shape (..., d).
    covariance_matrix, precision_matrix, scale_tril : array_like
        Exactly one of them, shape (..., d, d).
    validate_args : bool, optional
        As in `fastdist.MultivariateNormal`.
    """

    def __init__(
        self,
        loc: Boxed,
        covariance_matrix: Boxed = None,
        precision_matrix: Boxed = None,
        scale_tril: Boxed = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        arrays = {
            "loc": loc,
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        distribution = fd.MultivariateNormal(
            **{name: _unboxed(name, x) for name, x in arrays.items()}, validate_args=validate_args
        )
        super().__init__(distribution, {name: x for name, x in arrays.items() if x is not None})


class Independent(_Distribution):
    """`fastdist.Independent` that autograd differentiates through.

    Parameters
    ----------
    base_distribution : Normal, MultivariateNormal, Independent or of a class by `wrap`
        One of this module's.
    reinterpreted_batch_ndims : int
        How many of its batch dims are event dims.
    """

    def __init__(self, base_distribution: _Distribution, reinterpreted_batch_ndims: int) -> None:
        if not isinstance(base_distribution, _Distribution):
            raise TypeError(
                f"base_distribution must be of fastdist.autograd, got {type(base_distribution).__name__}"
            )
        self.base_dist = base_distribution
        distribution = fd.Independent(base_distribution.distribution, reinterpreted_batch_ndims)
        super().__init__(distribution, base_distribution._arrays)


def kl_divergence(p: _Distribution, q: _Distribution) -> Boxed:
    """Kullback-Leibler divergence of `q` from `p`, differentiable by the parameters of both.

    See `fastdist.kl_divergence`.
    """
    for name, d in (("p", p), ("q", q)):
        if not isinstance(d, _Distribution):
            raise TypeError(f"{name} must be a distribution of fastdist.autograd, got {type(d).__name__}")
    arrays = _flat({"p": p._arrays, "q": q._arrays})
    return _followed(arrays, fd.kl_divergence, p.distribution, q.distribution)


class _Wrapped(_Distribution):
    """One that this module knows no more of than `wrap` is told."""

    _wrapped: ClassVar[type[fd.Distribution]]

    def __init__(self, *args: Boxed, **kwargs: Boxed) -> None:
        given, arrays = arguments(self._wrapped, args, kwargs), {}
        for name, x in given.items():
            if isinstance(x, _Distribution):  # that is held
                given[name] = x.distribution
                arrays.update(_flat({name: x._arrays}))
            elif name in self._wrapped.arg_constraints and x is not None:
                given[name] = _unboxed(name, x)
                arrays[name] = x
        super().__init__(self._wrapped(**given), arrays)


def wrap(cls: type[fd.Distribution]) -> type[Any]:
    """The class of this module for a distribution of fastdist's.

    Parameters
    ----------
    cls : type
        A subclass of `fastdist.Distribution`.

    Returns
    -------
    type
        A class with the constructor of `cls`, the same at each call; for one that this module has itself,
        that. What `arg_constraints` names autograd may be following; in place of a distribution that a
        `Wrapper` holds there may be one of this module. `rsample`, `log_prob`, `entropy` and `kl_divergence`
        have the gradients of the rules that are registered (`fastdist.register_vjp`); where there is none
        they raise NotImplementedError.

    Raises
    ------
    TypeError
        If `cls` is no such class.

    Examples
    --------
    >>> import autograd.numpy as np, fastdist as fd
    >>> from autograd import grad
    >>> from fastdist.autograd import wrap
    >>> class Exponential(fd.Distribution):
    ...     arg_constraints = {"rate": fd.constraints.positive}
    ...     support = fd.constraints.positive
    ...     has_rsample = True
    ...     normals_per_event = 2
    ...     def draw(self, eps, out):
    ...         out[...] = (eps**2).sum(-1) / (2 * self.rate)
    >>> @fd.register_vjp("rsample", Exponential)
    ... def vjp_exponential(d, replay):
    ...     return lambda g, x: {"rate": -g * x / d.rate}
    >>> by_rate = grad(lambda rate: np.mean(wrap(Exponential)(rate).rsample((100000,), rng=0)))(2.0)
    >>> round(float(by_rate), 2)
    -0.25
    """
    if not (isinstance(cls, type) and issubclass(cls, fd.Distribution)):
        raise TypeError(f"cls must be a subclass of fastdist.Distribution, got {cls!r}")
    return _classes.get(cls) or _classes.setdefault(cls, _new_class(cls))


_classes: dict[type, type] = {
    fd.Normal: Normal,
    fd.MultivariateNormal: MultivariateNormal,
    fd.Independent: Independent,
}


def _new_class(cls: type[fd.Distribution]) -> type[Any]:
    doc = f"`{cls.__name__}` that autograd differentiates through; see `wrap`."
    return type(cls.__name__, (_Wrapped,), {"_wrapped": cls, "__doc__": doc, "__module__": __name__})
