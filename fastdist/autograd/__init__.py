"""Distributions that autograd (HIPS autograd, from PyPI) differentiates through.

>>> import autograd.numpy as np
>>> from autograd import grad
>>> from fastdist.autograd import Normal, kl_divergence
>>> def loss(scale):
...     q = Normal(np.zeros(2), scale)
...     return np.mean(q.rsample((1000,), rng=0) ** 2) + np.sum(kl_divergence(q, Normal(0.0, 1.0)))
>>> grad(loss)(np.array([1.0, 2.0])).shape
(2,)

Normal, LogNormal, Categorical, ...  fastdist's distributions, of arrays that autograd may be following
transforms                           fastdist's transforms, of such arrays
wrap                                 the same for a distribution that a user has written
kl_divergence                        of two of these

A call is one primitive of autograd's, whose derivative is the rule of `fastdist.vjp`. There are first
derivatives in reverse mode alone: derivatives of these raise NotImplementedError.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import fastdist.distributions as fd
from fastdist._shapes import Shape, ShapeLike
from fastdist.autograd import transforms
from fastdist.autograd._calls import Boxed, Held, followed, followed_to, taken, unboxed
from fastdist.distributions._arguments import arguments
from fastdist.random import RNGLike

__all__ = [
    "Bernoulli",
    "Categorical",
    "HalfNormal",
    "Independent",
    "LogNormal",
    "LogitNormal",
    "LowRankMultivariateNormal",
    "MixtureSameFamily",
    "MultivariateNormal",
    "Normal",
    "OneHotCategorical",
    "TransformedDistribution",
    "TruncatedNormal",
    "kl_divergence",
    "transforms",
    "wrap",
]


class Distribution(Held):
    """A distribution of fastdist's, and the arrays that it was made of, as autograd knows them.

    Its constructor takes what that of fastdist's takes; in place of a distribution, or a transform, there is
    one of this package.

    Attributes
    ----------
    distribution : fastdist.Distribution
        fastdist's own, over the present values.
    batch_shape, event_shape : tuple of int
        Its shapes.
    """

    _wrapped: ClassVar[type[fd.Distribution]]
    _value: fd.Distribution

    def __init__(self, *args: Boxed, **kwargs: Boxed) -> None:
        given, self._arrays = taken(arguments(self._wrapped, args, kwargs))
        self._value = self._wrapped(**given)

    @property
    def distribution(self) -> fd.Distribution:
        """The one of fastdist's, over the present values."""
        return self._value

    @property
    def batch_shape(self) -> Shape:
        """Shape of the batch of distributions."""
        return self._value.batch_shape

    @property
    def event_shape(self) -> Shape:
        """Shape of one event."""
        return self._value.event_shape

    def sample(self, sample_shape: ShapeLike = (), *, rng: RNGLike = None) -> Boxed:
        """Draw samples, constants to autograd: those of `rsample` under the same rng, bit for bit."""
        return self._value.sample(sample_shape, rng=rng)

    def rsample(self, sample_shape: ShapeLike = (), *, rng: RNGLike = None) -> Boxed:
        """Draw samples, differentiable by the parameters. See `fastdist.Distribution.rsample`."""
        return followed(self._arrays, self._value.rsample, sample_shape, rng=rng)

    def sample_and_log_prob(
        self, sample_shape: ShapeLike = (), *, rng: RNGLike = None
    ) -> tuple[Boxed, Boxed]:
        """Draw samples and make their log density of the same noise.

        Both are differentiable by the parameters, if draws are; see `fastdist.Distribution`.
        """
        if not self._value.has_rsample:
            x = self.sample(sample_shape, rng=rng)
            return x, self.log_prob(x)
        pair = followed(self._arrays, self._value.sample_and_log_prob, sample_shape, rng=rng)
        return pair[0], pair[1]

    def rsample_and_kl(
        self, prior: Distribution, sample_shape: ShapeLike = (), *, rng: RNGLike = None
    ) -> tuple[Boxed, Boxed]:
        """Draw samples, and make the divergence of a prior, differentiable by the parameters of both.

        See `fastdist.Distribution.rsample_and_kl`.
        """
        _check("prior", prior)
        arrays = {**self._arrays, "prior": prior._arrays}
        pair = followed(arrays, self._value.rsample_and_kl, prior._value, sample_shape, rng=rng)
        return pair[0], pair[1]

    def entropy(self) -> Boxed:
        """Entropy in nats; shape `batch_shape`."""
        return followed(self._arrays, self._value.entropy)

    def _of(self, method: str, argument: str, value: Boxed) -> Boxed:
        """What a method makes of an array."""
        return followed(
            {**self._arrays, argument: value}, getattr(self._value, method), unboxed(argument, value)
        )

    def log_prob(self, value: Boxed) -> Boxed:
        """Log density at `value`, differentiable by that, too. See `fastdist.Distribution.log_prob`."""
        return self._of("log_prob", "value", value)

    def prob(self, value: Boxed) -> Boxed:
        """Density at `value`. See `log_prob`."""
        return self._of("prob", "value", value)

    # ---- the cdf family, where fastdist's distribution has it --------------------------------

    def cdf(self, value: Boxed) -> Boxed:
        """Cumulative distribution function, differentiable by `value`, too. See `fastdist.Normal.cdf`."""
        return self._of("cdf", "value", value)

    def icdf(self, value: Boxed) -> Boxed:
        """Inverse of the cdf (quantile function). See `cdf`."""
        return self._of("icdf", "value", value)

    def log_cdf(self, value: Boxed) -> Boxed:
        """Logarithm of the cdf. See `cdf`."""
        return self._of("log_cdf", "value", value)

    def survival_function(self, value: Boxed) -> Boxed:
        """Complement of the cdf. See `cdf`."""
        return self._of("survival_function", "value", value)

    def log_survival_function(self, value: Boxed) -> Boxed:
        """Logarithm of the survival function. See `cdf`."""
        return self._of("log_survival_function", "value", value)

    def isf(self, value: Boxed) -> Boxed:
        """Inverse of the survival function. See `cdf`."""
        return self._of("isf", "value", value)

    def log_icdf(self, value: Boxed) -> Boxed:
        """Quantile of a log probability. See `cdf`."""
        return self._of("log_icdf", "value", value)

    # ---- noise of one's own, of Gaussians ----------------------------------------------------

    def colorize(self, eps: Boxed) -> Boxed:
        """Draws made of standard normals, differentiable by these, too. See `fastdist.Normal.colorize`."""
        return self._of("colorize", "eps", eps)

    def whiten(self, x: Boxed) -> Boxed:
        """Standard normals that `colorize` makes x of. See `fastdist.Normal.whiten`."""
        return self._of("whiten", "x", x)

    def mahalanobis(self, x: Boxed) -> Boxed:
        """Squared Mahalanobis distance of x. See `fastdist.Normal.mahalanobis`."""
        return self._of("mahalanobis", "x", x)

    def __repr__(self) -> str:
        return f"autograd.{self._value!r}"


class Normal(Distribution):
    """`fastdist.Normal` that autograd differentiates through."""

    _wrapped = fd.Normal


class MultivariateNormal(Distribution):
    """`fastdist.MultivariateNormal` that autograd differentiates through."""

    _wrapped = fd.MultivariateNormal

    def marginal(self, indices: Any) -> Self:
        """Distribution of some elements of an event. See `fastdist.MultivariateNormal.marginal`."""
        return self._made({}, "marginal", indices)

    def condition(self, indices: Any, value: Boxed) -> Self:
        """Distribution of the others, given the values of some: differentiable by these, too."""
        return self._made({"value": value}, "condition", indices, unboxed("value", value))

    def affine(self, A: Boxed, b: Boxed = None) -> Self:
        """Distribution of A x + b, differentiable by A and b, too."""
        return self._made({"A": A, "b": b}, "affine", unboxed("A", A), unboxed("b", b))

    def rank_update(self, u: Boxed, *, weight: Boxed = 1.0, index: Any = None) -> Self:
        """One whose matrix has weight · u uᵀ more, differentiable by u and weight, too."""
        return self._made(
            {"u": u, "weight": weight},
            "rank_update",
            unboxed("u", u),
            weight=unboxed("weight", weight),
            index=index,
        )

    def _made(self, arrays: dict[str, Boxed], method: str, *args: Any, **kwargs: Any) -> Self:
        """The distribution that a method returns, of `arrays`, too."""
        made = followed_to({**self._arrays, **arrays}, getattr(self._value, method), *args, **kwargs)
        new = type(self).__new__(type(self))
        new._value, new._arrays = made
        return new


class LowRankMultivariateNormal(Distribution):
    """`fastdist.LowRankMultivariateNormal` that autograd differentiates through."""

    _wrapped = fd.LowRankMultivariateNormal


class LogNormal(Distribution):
    """`fastdist.LogNormal` that autograd differentiates through."""

    _wrapped = fd.LogNormal


class HalfNormal(Distribution):
    """`fastdist.HalfNormal` that autograd differentiates through."""

    _wrapped = fd.HalfNormal


class LogitNormal(Distribution):
    """`fastdist.LogitNormal` that autograd differentiates through."""

    _wrapped = fd.LogitNormal


class TruncatedNormal(Distribution):
    """`fastdist.TruncatedNormal` that autograd differentiates through."""

    _wrapped = fd.TruncatedNormal


class Categorical(Distribution):
    """`fastdist.Categorical` that autograd differentiates through."""

    _wrapped = fd.Categorical


class Bernoulli(Distribution):
    """`fastdist.Bernoulli` that autograd differentiates through."""

    _wrapped = fd.Bernoulli


class OneHotCategorical(Distribution):
    """`fastdist.OneHotCategorical` that autograd differentiates through."""

    _wrapped = fd.OneHotCategorical


class MixtureSameFamily(Distribution):
    """`fastdist.MixtureSameFamily` of distributions that autograd differentiates through."""

    _wrapped = fd.MixtureSameFamily


class TransformedDistribution(Distribution):
    """`fastdist.TransformedDistribution` of ones of this package, a distribution and transforms."""

    _wrapped = fd.TransformedDistribution


class Independent(Distribution):
    """`fastdist.Independent` of a distribution that autograd differentiates through."""

    _wrapped = fd.Independent

    def __init__(self, base_distribution: Distribution, reinterpreted_batch_ndims: int) -> None:
        super().__init__(base_distribution, reinterpreted_batch_ndims)
        self.base_dist = base_distribution
        self._arrays = base_distribution._arrays  # gradients pass through


def kl_divergence(p: Distribution, q: Distribution) -> Boxed:
    """Kullback-Leibler divergence of `q` from `p`, differentiable by the parameters of both.

    See `fastdist.kl_divergence`.
    """
    _check("p", p)
    _check("q", q)
    return followed({"p": p._arrays, "q": q._arrays}, fd.kl_divergence, p._value, q._value)


def _check(name: str, d: Any) -> None:
    if not isinstance(d, Distribution):
        raise TypeError(f"{name} must be a distribution of fastdist.autograd, got {type(d).__name__}")


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


_classes: dict[type, type] = {cls._wrapped: cls for cls in Distribution.__subclasses__()}


def _new_class(cls: type[fd.Distribution]) -> type[Any]:
    doc = f"`{cls.__name__}` that autograd differentiates through; see `wrap`."
    return type(cls.__name__, (Distribution,), {"_wrapped": cls, "__doc__": doc, "__module__": __name__})
