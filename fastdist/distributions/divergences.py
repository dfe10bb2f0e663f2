"""Divergences of pairs of distributions, each value beside its pullback.

With K = L_q^-1 L_p and z = L_q^-1 (loc_p - loc_q), scalars and diagonals included, every one of Gaussians is

    KL(p || q) = (|K|^2 - d + |z|^2) / 2 - log det K

as a sum of terms that are not negative, without the cancellation of |K|^2 - d and the logarithm: the
kernels normal_kl and mvn_kl.

In the pullbacks of vectors M is the lower triangle of L' times the gradient by L: how the value changes with
L (1 + Y), Y lower triangular. Gradients by covariance and precision matrices come down to M, symmetrised to S
(Murray, "Differentiation of the Cholesky decomposition", 2016):

    by covariance L L'      L^-T S L^-1
    by precision W'W        -W^-1 S W^-T, with W = L^-1
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastdist import _params, _shapes
from fastdist._kernels import pullbacks
from fastdist._kernels.program import KERNELS, apply, elementwise, sum_events
from fastdist._kernels.sources import Noise
from fastdist._shapes import Shape
from fastdist._typing import Real, RealDType
from fastdist.distributions import bernoulli, categorical, normal, pivoted, truncated_normal
from fastdist.distributions._diagonal import kl_of_normals, pull_draw_and_kl, pull_kl
from fastdist.distributions._factors import multiplied
from fastdist.distributions._gaussian import HALF_LOG_2PI, log
from fastdist.distributions.bernoulli import Bernoulli
from fastdist.distributions.categorical import Categorical
from fastdist.distributions.covariance import Diagonal, Lower, transform
from fastdist.distributions.distribution import LAW, Distribution, keeps
from fastdist.distributions.independent import Independent
from fastdist.distributions.log_normal import HalfNormal
from fastdist.distributions.low_rank_multivariate_normal import (
    LowRankMultivariateNormal,
    fitted,
    scores,
)
from fastdist.distributions.multivariate_normal import MultivariateNormal
from fastdist.distributions.normal import Normal
from fastdist.distributions.one_hot_categorical import OneHotCategorical
from fastdist.distributions.rules import (
    Gradients,
    Pull,
    cast,
    divergence_of,
    expanded,
    new,
    one_and_the_other,
    own_vjp,
    register_kl,
    rule_of_kl,
    sees_value,
    summed,
)
from fastdist.distributions.transformed import TransformedDistribution
from fastdist.distributions.truncated_normal import TruncatedNormal, at_bounds

NORMAL_KL = KERNELS["normal_kl"]
MVN_KL, CATEGORICAL_KL = KERNELS["mvn_kl"], KERNELS["categorical_kl"]


def check_events(p: Distribution, q: Distribution) -> None:
    """Raise unless events of p and q have one shape."""
    if p._event_shape != q._event_shape:
        raise ValueError(f"event shapes differ: p {p.event_shape}, q {q.event_shape}")


def common_dtype(p: Distribution, q: Distribution) -> RealDType:
    """That of a divergence."""
    return p._dtype if p._dtype is q._dtype else _params.FLOAT64


# ---- scalars -------------------------------------------------------------------------------------


@register_kl(Normal, Normal)
def _kl_normal_normal(p: Normal, q: Normal) -> Real:
    return kl_of_normals(p, q)


own_vjp("kl_divergence", Normal, Normal)(pull_kl)


# ---- outcomes ------------------------------------------------------------------------------------
#
# With l and m the logarithms of the probabilities p and q, the divergence is the sum of p (l - m): the kernel
# adds up q - p + p (l - m), no term of which is negative. By what l and m are up to a constant it changes by
# p (l - m - KL) and q - p.


def check_outcomes(p: Categorical, q: Categorical) -> None:
    """Raise unless both have as many."""
    if p.num_events != q.num_events:
        raise ValueError(f"numbers of outcomes differ: p {p.num_events}, q {q.num_events}")


@register_kl(Categorical, Categorical)
def _kl_categorical(p: Categorical, q: Categorical) -> Real:
    """Unbroadcast."""
    check_outcomes(p, q)
    dtype = common_dtype(p, q)
    return categorical.by_rows(CATEGORICAL_KL, p._normalized(dtype), q._normalized(dtype))


@own_vjp("kl_divergence", Categorical, Categorical)
def _vjp_categorical(p: Categorical, q: Categorical) -> Pull:
    dtype = common_dtype(p, q)

    @_params.quiet
    def pull(g: Real, _: Real) -> tuple[Gradients, Gradients]:
        log_p, log_q, kl = p._normalized(dtype), q._normalized(dtype), _kl_categorical(p, q)
        each = summed(g, kl.shape)[..., None]
        of_p, of_q = p._weights(dtype), q._weights(dtype)
        apart = log_p - log_q - kl[..., None]
        if p._given == "logits":
            by_p = np.where(of_p > 0, of_p * apart, 0)
        else:
            share = categorical.over_sum(p, dtype)
            by_p = np.where(share > 0, share * apart, 0)
        by_q = np.where(log_q > -np.inf, of_q - of_p, 0)
        if q._given == "probs":
            share, raw = categorical.over_sum(q, dtype), q._raw(dtype)
            by_q = np.where(share > 0, share - np.where(of_p > 0, of_p / raw, 0), 0)
        return categorical.by_parameter(p, each * by_p), categorical.by_parameter(q, each * by_q)

    return pull


@register_kl(OneHotCategorical, OneHotCategorical)
def _kl_one_hot(p: OneHotCategorical, q: OneHotCategorical) -> Real:
    check_events(p, q)
    return _kl_categorical(p._categorical, q._categorical)


@own_vjp("kl_divergence", OneHotCategorical, OneHotCategorical)
def _vjp_one_hot(p: OneHotCategorical, q: OneHotCategorical) -> Pull:
    return _vjp_categorical(p._categorical, q._categorical)


@register_kl(Bernoulli, Bernoulli)
def _kl_bernoulli(p: Bernoulli, q: Bernoulli) -> Real:
    """Unbroadcast."""
    dtype = common_dtype(p, q)
    return categorical.by_rows(CATEGORICAL_KL, p._log_probs(dtype), q._log_probs(dtype))


@own_vjp("kl_divergence", Bernoulli, Bernoulli)
def _vjp_bernoulli(p: Bernoulli, q: Bernoulli) -> Pull:
    dtype = common_dtype(p, q)

    @_params.quiet
    def pull(g: Real, _: Real) -> tuple[Gradients, Gradients]:
        (none_p, one_p), (none_q, one_q) = p._both_probs(dtype), q._both_probs(dtype)
        log_p, log_q = p._log_probs(dtype), q._log_probs(dtype)
        odds_p, odds_q = (log[..., 1] - log[..., 0] for log in (log_p, log_q))
        each = summed(g, np.broadcast(none_p, none_q).shape)
        by_p = np.asarray(odds_p - odds_q)
        if p._given == "logits":
            by_p = none_p * one_p * by_p
        by_q = one_q - one_p if q._given == "logits" else none_p / none_q - one_p / one_q
        return bernoulli.by_parameter(p, each * by_p), bernoulli.by_parameter(q, each * by_q)

    return pull


# ---- scalars between bounds ----------------------------------------------------------------------
# With t of p (truncated_normal.py), log p - log q is c0 + c1 t + c2 t^2: its mean is the divergence, and
# gradients by p are its covariances.


# Where p and q are near each other: so far log p - log q changes over an ordinary distance from the mode.
NEAR = 0.1


class Bounded:
    """A truncated normal, or a whole one as if it were: in float64, unbroadcast."""

    def __init__(self, d: TruncatedNormal | Normal) -> None:
        self.d = d
        if isinstance(d, TruncatedNormal):
            self.mode, self.scale, self.slope, self.low, self.high = d._wide_arrays(
                "_mode", "scale", "_slope", "low", "high"
            )
            self.below, self.above = d._wide_arrays("_below", "_above")
            self.log_normalizer, (self.mass, *self.moments) = d._log_normalizer(), d._moments()
            self.at_low, self.at_high = at_bounds(d)
            return
        self.mode, self.scale = d._in(_params.FLOAT64, "loc", "scale")
        self.low, self.high = np.array(-np.inf), np.array(np.inf)
        self.slope = self.at_low = self.at_high = np.zeros(())
        self.log_normalizer = log(self.scale) + HALF_LOG_2PI
        self.moments = [np.array(moment) for moment in (0.0, 1.0, 0.0, 3.0)]

    def cdf(self, method: str, x: Real) -> Real:
        """A method of its cdf family."""
        kernels = truncated_normal.CDF if isinstance(self.d, TruncatedNormal) else normal.CDF
        names = [name for name in truncated_normal.PARAMETERS if name in self.d._arrays]
        return elementwise(kernels[method], x, *self.d._in(_params.FLOAT64, *names))

    def scores(self, t: Real, t2: Real) -> tuple[Real, Real]:
        """Means of the derivatives of log densities by loc and scale, of means of t and of t^2."""
        first, second, _, _ = self.moments
        by_loc = t - first
        return by_loc / self.scale, (t2 - second + 2 * self.slope * by_loc) / self.scale

    def gradients(self, shape: Shape, **terms: Real) -> Gradients:
        """Terms of the shape of the value, summed to the parameters' own."""
        names = [name for name in terms if self.d._owner(name) is not None]
        return {
            name: summed(
                np.ascontiguousarray(np.broadcast_to(terms[name], shape), self.d._dtype),
                self.d._parameter_shape(name),
            )
            for name in names
        }


def _difference(p: Bounded, q: Bounded) -> tuple[Real, Real, Real, Real, Real]:
    """Of log p and log q, its coefficients c; of t of q at the mode of p, and how it grows with t of p.

    What is 0 where p and q are the same is made of differences of their parameters.
    """
    delta, ratio = (p.mode - q.mode) / q.scale, p.scale / q.scale
    c0 = (q.log_normalizer - p.log_normalizer) + delta * (0.5 * delta + q.slope)
    c2 = 0.5 * ((p.scale - q.scale) / q.scale) * (ratio + 1)
    (loc_p,), (loc_q,) = (side.d._in(_params.FLOAT64, "loc") for side in (p, q))
    return c0, 2 * p.slope * c2 + ratio * ((loc_p - loc_q) / q.scale), c2, delta, ratio


def _kl_near(p: Bounded, q: Bounded, c1: Real, c2: Real) -> Real:
    """The logarithm of the mean of e^-y, y = c1 t + c2 t^2 less its mean, less that of the mass of q inside.

    Neither of the two cancels.
    """
    arrays = (c1, c2, c1 * p.moments[0] + c2 * p.moments[1], p.slope, p.below, p.above, p.mass)
    excess = elementwise(KERNELS["truncated_excess"], *[np.array(array, order="C") for array in arrays])
    outside = np.asarray(q.cdf("cdf", p.low) + q.cdf("survival_function", p.high), order="C")
    complement = KERNELS["log_complement"]
    return elementwise(complement, np.asarray(-excess)) - elementwise(complement, outside)


@register_kl(TruncatedNormal, TruncatedNormal)
@register_kl(TruncatedNormal, Normal)
@_params.quiet
def _kl_truncated(p: TruncatedNormal, q: TruncatedNormal | Normal) -> Real:
    """Infinite where p has events that q has not; right to some 1e-13, also near 0."""
    of_p, of_q = Bounded(p), Bounded(q)
    c0, c1, c2, _, _ = _difference(of_p, of_q)
    first, second, _, _ = of_p.moments
    inside = (of_q.low <= of_p.low) & (of_p.high <= of_q.high)
    near = (np.abs(c1) * np.sqrt(second) < NEAR) & (np.abs(c2) * second < NEAR)
    divergence = np.maximum(c0 + c1 * first + c2 * second, 0)
    if near.any():
        divergence = np.where(near, _kl_near(of_p, of_q, c1, c2), divergence)
    return _params.pack(np.where(inside, divergence, np.inf), common_dtype(p, q))


@own_vjp("kl_divergence", TruncatedNormal, TruncatedNormal)
@own_vjp("kl_divergence", TruncatedNormal, Normal)
def _vjp_truncated(p: TruncatedNormal, q: TruncatedNormal | Normal) -> Pull:
    @_params.quiet
    def pull(g: Real, _: Real) -> tuple[Gradients, Gradients]:
        of_p, of_q = Bounded(p), Bounded(q)
        c0, c1, c2, delta, ratio = _difference(of_p, of_q)
        first, second, third, fourth = of_p.moments
        divergence = c0 + c1 * first + c2 * second
        spread, skew, square = second - first**2, third - first * second, fourth - second**2
        with_t, with_t2 = c1 * spread + c2 * skew, c1 * skew + c2 * square

        def at_bound(density: Real, t: Real) -> Real:
            excess = divergence - (c0 + t * (c1 + c2 * t)) + 1
            return np.where(np.isinf(t), 0, g * density * excess / of_p.scale)

        by_p = of_p.gradients(
            g.shape,
            loc=g * with_t / of_p.scale,
            scale=g * (with_t2 + 2 * of_p.slope * with_t) / of_p.scale,
            low=at_bound(of_p.at_low, -of_p.below),
            high=-at_bound(of_p.at_high, of_p.above),
        )
        t, t2 = delta + ratio * first, delta**2 + 2 * delta * ratio * first + ratio**2 * second
        by_loc, by_scale = of_q.scores(t, t2)
        by_q = of_q.gradients(
            g.shape,
            loc=-g * by_loc,
            scale=-g * by_scale,
            low=-g * of_q.at_low / of_q.scale,
            high=g * of_q.at_high / of_q.scale,
        )
        return by_p, by_q

    return pull


# ---- reinterpreted dims --------------------------------------------------------------------------


@register_kl(Independent, Independent)
def _kl_independent_independent(p: Independent, q: Independent) -> Real:
    if p._ndims != q._ndims:
        raise NotImplementedError(
            "reinterpreted_batch_ndims differ: "
            f"p {p.reinterpreted_batch_ndims}, q {q.reinterpreted_batch_ndims}"
        )
    check_events(p, q)  # a base checks its own, not the reinterpreted dims
    base_p, base_q, tail = p._base, q._base, p._tail("_base")
    divergence = divergence_of(base_p, base_q)
    if divergence is _kl_normal_normal:
        return kl_of_normals(base_p, base_q, tail)
    return sum_events(np.asarray(divergence(base_p, base_q)), tail)


@own_vjp("kl_divergence", Independent, Independent)
def _vjp_independent_independent(p: Independent, q: Independent) -> Pull:
    rule = rule_of_kl(p._base, q._base)
    of_base: Any = divergence_of(p._base, q._base)(p._base, q._base) if rule.sees_value else None
    pull, tail = rule.rule(p._base, q._base), p._tail("_base")
    return lambda g, _: pull(expanded(g, tail), of_base)


# ---- with a draw: one pass over the parameters, where each has one draw ------------------------------


@own_vjp("rsample_and_kl", Normal)
@own_vjp("rsample_and_kl", Independent, sees_value=lambda d: sees_value(d, "rsample"))
def _vjp_draw_and_kl(p: Distribution, replay: Callable[[], Noise], prior: Distribution) -> Pull:
    base, of_prior = p, prior
    tail: Shape = ()
    if type(p) is Independent and type(prior) is Independent:
        base, of_prior, tail = p._base, prior._base, p._tail("_base")
    if type(base) is not Normal or type(of_prior) is not Normal or p._dtype is not prior._dtype:
        return one_and_the_other(p, replay, prior)
    return pull_draw_and_kl(base, of_prior, tail, replay, lambda: one_and_the_other(p, replay, prior))


# ---- vectors -------------------------------------------------------------------------------------


class Side:
    """p or q of a divergence of vectors: its loc and its factor, or scales, packed."""

    def __init__(self, d: Distribution, dtype: RealDType) -> None:
        if isinstance(d, MultivariateNormal):
            self.d: MultivariateNormal | Normal = d
            self.structure: type[Lower | Diagonal] = d._structure
            self.name = d._given
            (self.loc,), self.factor = d._in(dtype, "loc"), d._factor(dtype)
            return
        base = d
        while isinstance(base, Independent) and keeps(type(base), Independent, LAW):
            base = base.base_dist
        if not (isinstance(base, Normal) and keeps(type(base), Normal, LAW)):
            raise NotImplementedError(f"no KL divergence is registered for {d!r} and a MultivariateNormal")
        self.d, self.structure, self.name = base, Diagonal, "scale"
        # They may repeat along the event, and then are as long as that.
        self.loc, self.factor = (
            _params.pack(np.broadcast_to(array, array.shape[:-1] + d._event_shape), dtype, 1)
            for array in (base._arrays["loc"], base._arrays["scale"])
        )

    def new(self, g: Real) -> Gradients:
        """Arrays for the gradients."""
        return {name: new(g, self.d._parameter_shape(name)) for name in ("loc", self.name)}

    def row(self, gradients: Gradients) -> Real:
        """What the kernel adds up: by a scale as it is, by a matrix as one row."""
        array: Real = gradients[self.name]
        return array if self.name == "scale" else array.reshape(*array.shape[:-2], array.shape[-1] ** 2)

    @_params.quiet
    def finish(self, gradients: Gradients) -> Gradients:
        """From M to the gradient by the matrix."""
        if issubclass(self.structure, Lower):
            transform(self.structure.from_m[self.name], gradients[self.name], self.factor)
        return cast(gradients, self.d._dtype)


@register_kl(MultivariateNormal, MultivariateNormal)
@register_kl(Independent, MultivariateNormal)
@register_kl(MultivariateNormal, Independent)
def _kl_vectors(p: Distribution, q: Distribution) -> Real:
    check_events(p, q)
    shape = _shapes.broadcast_shapes(p=p._batch_shape, q=q._batch_shape)
    dtype = common_dtype(p, q)
    of_p, of_q = Side(p, dtype), Side(q, dtype)
    kinds = np.array([of_p.structure.kind, of_q.structure.kind, 1], np.intp)
    result = np.empty(shape, dtype)
    apply(MVN_KL, shape, result, of_p.loc, of_q.loc, of_p.factor, of_q.factor, kinds)
    p_singular, q_singular = (d._pivoted() if isinstance(d, MultivariateNormal) else None for d in (p, q))
    if p_singular is None and q_singular is None:
        return result
    regular = np.ones((), bool)
    for one in (p_singular, q_singular):
        regular = regular if one is None else regular & ~one.null.any(-1)
    singular: Any = np.inf
    if p_singular is not None and q_singular is not None:
        singular = pivoted.divergence(p_singular, q_singular, shape)
    return np.where(regular, result, singular).astype(dtype, copy=False)


@own_vjp("kl_divergence", MultivariateNormal, MultivariateNormal)
@own_vjp("kl_divergence", Independent, MultivariateNormal)
@own_vjp("kl_divergence", MultivariateNormal, Independent)
def vjp_kl_vectors(p: Distribution, q: Distribution, *, of_p_alone: bool = False) -> Pull:
    """The rule, which may leave away all that is due to q."""
    for d in (p, q):
        pivoted.refuse(d, "kl_divergence")
    dtype = common_dtype(p, q)
    of_p, of_q = Side(p, dtype), Side(q, dtype)

    def pull(g: Real, _: Real) -> tuple[Gradients, Gradients]:
        by_p, by_q = of_p.new(g), {} if of_p_alone else of_q.new(g)
        pullbacks.kl_mvn(
            by_p["loc"], by_q.get("loc"), of_p.row(by_p), of_q.row(by_q) if by_q else None, g,
            of_p.loc, of_q.loc, of_p.factor, of_q.factor, of_p.structure.kind, of_q.structure.kind,
        )  # fmt: skip
        return of_p.finish(by_p), of_q.finish(by_q) if by_q else by_q

    return pull


# ---- transformed distributions ---------------------------------------------------------------------


@register_kl(TransformedDistribution, TransformedDistribution)
def _kl_transformed(p: TransformedDistribution, q: TransformedDistribution) -> Real:
    """That of the bases, as a bijection of both leaves it alone."""
    check_events(p, q)
    if p._transforms == q._transforms and p._whole.bijective:
        return _kl_of_bases(p, q)
    return _kl_of_gaussians(p, q)


@register_kl(HalfNormal, HalfNormal)
def _kl_of_bases(p: TransformedDistribution, q: TransformedDistribution) -> Real:
    return divergence_of(p._base, q._base)(p._base, q._base)


@own_vjp("kl_divergence", TransformedDistribution, TransformedDistribution)
def _vjp_transformed(p: TransformedDistribution, q: TransformedDistribution) -> Pull:
    if p._transforms == q._transforms and p._whole.bijective:
        return _vjp_of_bases(p, q)
    return _vjp_of_gaussians(p, q)


@own_vjp("kl_divergence", HalfNormal, HalfNormal)
def _vjp_of_bases(p: TransformedDistribution, q: TransformedDistribution) -> Pull:
    rule = rule_of_kl(p._base, q._base)
    of_bases: Any = _kl_of_bases(p, q) if rule.sees_value else None
    pull = rule.rule(p._base, q._base)

    def pull_bases(g: Real, _: Real) -> tuple[Gradients, Gradients]:
        by_p, by_q = pull(g, of_bases)
        return p._gradients(by_p), q._gradients(by_q)

    return pull_bases


# An affine transform of a Gaussian is one.


def _kl_of_gaussians(p: Distribution, q: Distribution) -> Real:
    of_p, of_q = _as_gaussian(p, q), _as_gaussian(q, p)
    return divergence_of(of_p, of_q)(of_p, of_q)


def _vjp_of_gaussians(p: Distribution, q: Distribution) -> Pull:
    of_p, of_q = _as_gaussian(p, q), _as_gaussian(q, p)
    pull = rule_of_kl(of_p, of_q).rule(of_p, of_q)

    @_params.quiet
    def pull_gaussians(g: Real, value: Real) -> tuple[Gradients, Gradients]:
        by_p, by_q = pull(g, value)
        return _before_moving(p, of_p, by_p), _before_moving(q, of_q, by_q)

    return pull_gaussians


for _p, _q in itertools.product(
    (TransformedDistribution, Normal, Independent, MultivariateNormal, LowRankMultivariateNormal), repeat=2
):
    if (_p is TransformedDistribution) != (_q is TransformedDistribution):
        register_kl(_p, _q)(_kl_of_gaussians)
        own_vjp("kl_divergence", _p, _q)(_vjp_of_gaussians)


def _as_gaussian(d: Distribution, other: Distribution) -> Distribution:
    """A Gaussian without the affine transforms that made it."""
    if not isinstance(d, TransformedDistribution):
        return d
    affine = d._whole._as_affine()
    moved = None if affine is None else _moved(d._base, *affine)
    if moved is None:
        raise NotImplementedError(
            "no KL divergence of transformed distributions unless they have the same bijective transforms, "
            f"or are affine transforms of Gaussians: {d!r} and {other!r}"
        )
    return moved


def _columns(d: Distribution, scale: Real) -> tuple[Real, Real]:
    """A scale for each element of events, across and along a matrix."""
    full = np.broadcast_to(scale, d._batch_shape + d._event_shape)
    return full[..., :, None], full[..., None, :]


# By what the matrix of a Gaussian is multiplied when its events are scaled, and how often by each scale.
FACTORS: dict[str, tuple[Callable[[Real, Real], Real], int]] = {
    "scale_tril": (lambda rows, columns: np.asarray(rows * np.sign(columns)), 1),
    "covariance_matrix": (lambda rows, columns: np.asarray(rows * columns), 2),
    "precision_matrix": (lambda rows, columns: np.asarray(1 / (rows * columns)), -2),
}


@_params.quiet
def _moved(d: Distribution, loc: Real, scale: Real) -> Distribution | None:
    """The distribution of loc + scale x, if that is a Gaussian; its arrays are of the shape of the batch."""
    if isinstance(d, Independent) and keeps(type(d), Independent, LAW):
        base = _moved(d._base, loc, scale)
        return None if base is None else Independent(base, d._ndims)
    if not any(isinstance(d, cls) and keeps(type(d), cls, LAW) for cls in GAUSSIANS):
        return None
    arrays: dict[str, Any] = {"loc": loc + scale * d.mean}
    if isinstance(d, Normal):
        return Normal(**arrays, scale=np.abs(scale) * d.scale, validate_args=False)
    rows, columns = _columns(d, scale)
    if isinstance(d, LowRankMultivariateNormal):
        arrays |= {"cov_factor": rows * d.cov_factor, "cov_diag": np.square(scale) * d.cov_diag}
        return LowRankMultivariateNormal(**arrays, validate_args=False)
    assert isinstance(d, MultivariateNormal)
    arrays[d._given] = FACTORS[d._given][0](rows, columns) * getattr(d, d._given)
    return MultivariateNormal(**arrays, allow_singular=d._allow_singular, validate_args=False)


GAUSSIANS = (Normal, MultivariateNormal, LowRankMultivariateNormal)


def _before_moving(d: Distribution, moved: Distribution, gradients: Gradients) -> Gradients:
    """Gradients by d, whose affine transforms have been left away, from those by what it was made to."""
    if not isinstance(d, TransformedDistribution):
        return gradients
    base: Any = d._base
    while isinstance(base, Independent):
        base, moved = base._base, moved._base  # type: ignore[attr-defined]
    scale = d._affine("KL divergence")[1]
    by = {name: np.asarray(gradient, base._dtype) for name, gradient in gradients.items()}
    new: dict[str, Real] = {name: getattr(moved, name) for name in by}
    # By the logarithm of the scale, of each element; and by the base's own.
    rows, columns = _columns(base, scale) if base._event_shape else (scale, scale)
    if isinstance(base, Normal):
        of_log = by["scale"] * new["scale"]
        by["scale"] = by["scale"] * np.abs(scale)
    elif isinstance(base, LowRankMultivariateNormal):
        of_log = (by["cov_factor"] * new["cov_factor"]).sum(-1) + 2 * by["cov_diag"] * new["cov_diag"]
        by["cov_factor"] = by["cov_factor"] * rows
        by["cov_diag"] = by["cov_diag"] * np.square(scale)
    else:
        factor, times = FACTORS[base._given]
        of_log = times * (by[base._given] * new[base._given]).sum(-1)
        by[base._given] = by[base._given] * factor(rows, columns)
    x = np.array(d._base.mean, base._dtype, order="C")
    _, by_transforms = d._whole._pull(by["loc"], np.asarray(-of_log, base._dtype), x)
    by["loc"] = by["loc"] * scale
    own = {
        name: summed(np.ascontiguousarray(terms, base._dtype), base._parameter_shape(name))
        for name, terms in by.items()
    }
    return d._gradients(own, by_transforms)


# ---- low rank --------------------------------------------------------------------------------------
#
# With H = S^-1 G W', so that the inverse covariance is S^-2 - H H', and R = F_p / S_q:
#
#     KL(p || q) = sum of KL of the diagonals, as scalars, + |z|^2 / 2 + sum log diag W_p - sum log diag W_q
#                + (|R|^2 - |S_p H_q|^2 - |F_p' H_q|^2) / 2


def _as_low_rank(d: Distribution) -> LowRankMultivariateNormal:
    """A diagonal is one of rank 0."""
    if isinstance(d, LowRankMultivariateNormal):
        return d
    side = Side(d, _params.FLOAT64)
    return LowRankMultivariateNormal(
        side.loc, np.zeros((d._event_shape[0], 0)), np.square(side.factor), validate_args=False
    )


def _to_own(d: Distribution, low_rank: LowRankMultivariateNormal, gradients: Gradients) -> Gradients:
    """Gradients by what d was given by."""
    if isinstance(d, LowRankMultivariateNormal):
        return gradients
    side = Side(d, _params.FLOAT64)
    shape = low_rank._parameter_shape("cov_diag")
    by_scale = 2 * side.factor * np.broadcast_to(gradients["cov_diag"], shape)
    found = {"loc": gradients["loc"], "scale": by_scale}
    return cast(
        {
            name: summed(_as_large(one, side.d, name), side.d._parameter_shape(name))
            for name, one in found.items()
        },
        side.d._dtype,
    )


def _as_large(array: Real, d: Distribution, name: str) -> Real:
    shape = np.broadcast_shapes(array.shape, d._parameter_shape(name))
    return np.ascontiguousarray(np.broadcast_to(array, shape), np.float64)


# Near each other, where that cancels, with r = D_p / D_q - 1, E = S_q^-1 (F_p - F_q), v = C_q^-1 G_q' E, and
# C_p = W^-1 (1 + X) W'^-1 in the scales of q, W being W_q, it is half the sum of |z|^2, of r - log(1 + r), of
# tr X - log det (1 + X), and of
#
#     |E - G_q v|^2 + |v|^2 - |E W'|^2 - sum of r^2 / (1 + r) |G_q W'|^2
#         + 2 tr W G_q' (r / (1 + r)) E W' + tr W E' (r / (1 + r)) E W'
#
# each no larger than squares of differences. (Expand F_p = F_q + S_q E in the traces.)

NEAR_RANK = 0.5  # r and X, up to where it is taken


def _less_log(x: Real) -> Real:
    """X - log(1 + x) of small numbers, by the series of the inverse hyperbolic tangent."""
    s = x / (2 + x)
    series = np.zeros_like(s)
    for k in range(21, -1, -1):
        series = 1 / (2 * k + 3) + s * s * series
    return np.asarray(s * s * (2 / (1 - s) - 2 * s * series))


def _less_log_det(x: Real) -> Real:
    """Tr x - log det (1 + x) of symmetric matrices, by an elimination that leaves them small."""
    result, x = np.zeros(x.shape[:-2]), x.copy()
    for i in range(x.shape[-1]):
        pivot, column = x[..., i, i].copy(), x[..., i + 1 :, i].copy()
        less = column[..., :, None] * (column / (1 + pivot)[..., None])[..., None, :]
        x[..., i + 1 :, i + 1 :] -= less
        result += _less_log(pivot) + np.einsum("...ii->...", less)
    return result


def _kl_of_near_ranks(p: LowRankMultivariateNormal, q: LowRankMultivariateNormal) -> tuple[Real, Real]:
    """Twice the divergence but for the distance, and where it is right."""
    wide, of_q = _params.FLOAT64, q._parts()
    (factor_p, diag_p), (factor_q, diag_q) = (d._in(wide, "cov_factor", "cov_diag") for d in (p, q))
    r = (diag_p - diag_q) / diag_q
    share = (r / (1 + r))[..., None]
    g, w = of_q.whitened, of_q.inverse_root.swapaxes(-1, -2)
    e = (factor_p - factor_q) / of_q.scale[..., None]
    v = multiplied(w, multiplied(w.swapaxes(-1, -2), multiplied(g.swapaxes(-1, -2), e)))
    ew, gw = multiplied(e, w), multiplied(g, w)
    fw = gw + ew
    crossed = multiplied(gw.swapaxes(-1, -2), ew)
    x = crossed + crossed.swapaxes(-1, -2) + multiplied(ew.swapaxes(-1, -2), ew)
    x = x - multiplied(fw.swapaxes(-1, -2), share * fw)

    def total(terms: Real) -> Real:
        return np.asarray(terms.sum((-1, -2)))

    squares = total(np.square(e - multiplied(g, v))) + total(np.square(v)) - total(np.square(ew))
    squares = squares - total(r[..., None] * share * np.square(gw))
    squares = squares + total(share * ew * (2 * gw + ew))
    near = (np.abs(r).max(-1, initial=0) < NEAR_RANK) & (total(np.square(x)) < NEAR_RANK**2)
    x = np.where(near[..., None, None], x, 0)
    return _less_log(np.where(near[..., None], r, 0)).sum(-1) + squares + _less_log_det(x), near


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
@register_kl(LowRankMultivariateNormal, Independent)
@register_kl(Independent, LowRankMultivariateNormal)
@_params.quiet
def _kl_low_rank(p: Distribution, q: Distribution) -> Real:
    check_events(p, q)
    dtype, p, q = common_dtype(p, q), _as_low_rank(p), _as_low_rank(q)
    of_p, of_q = p._parts(), q._parts()
    (factor,) = p._in(_params.FLOAT64, "cov_factor")
    zero, half = np.zeros(()), of_q.half()
    diagonal = elementwise(NORMAL_KL, zero, of_p.scale, zero, of_q.scale)
    diagonal = sum_events(diagonal, diagonal.shape[-1:])
    spread = (
        np.square(factor / of_q.scale[..., None]).sum((-1, -2))
        - np.square(of_p.scale[..., None] * half).sum((-1, -2))
        - np.square(multiplied(factor.swapaxes(-1, -2), half)).sum((-1, -2))
    )
    logs = [np.log(np.diagonal(parts.inverse_root, axis1=-2, axis2=-1)).sum(-1) for parts in (of_p, of_q)]
    distance = q._distance(p._in(_params.FLOAT64, "loc")[0])
    of_covariances = 2 * (diagonal + logs[0] - logs[1]) + spread
    if p.rank == q.rank:
        of_near, near = _kl_of_near_ranks(p, q)
        of_covariances = np.where(near, of_near, of_covariances)
    return np.asarray(0.5 * (np.maximum(of_covariances, 0) + distance), dtype)


@own_vjp("kl_divergence", LowRankMultivariateNormal, LowRankMultivariateNormal)
@own_vjp("kl_divergence", LowRankMultivariateNormal, Independent)
@own_vjp("kl_divergence", Independent, LowRankMultivariateNormal)
def _vjp_low_rank(p: Distribution, q: Distribution) -> Pull:
    low_p, low_q = _as_low_rank(p), _as_low_rank(q)

    @_params.quiet
    def pull(g: Real, _: Real) -> tuple[Gradients, Gradients]:
        wide = np.broadcast_to(g, g.shape).astype(float)
        of_p, of_q = low_p._parts(), low_q._parts()
        (factor_p,) = low_p._in(_params.FLOAT64, "cov_factor")
        half, solved = of_q.half(), of_q.solve()
        # By the covariance of p: half of q's precision less p's own.
        by_factor_p = factor_p / np.square(of_q.scale)[..., None]
        by_factor_p = (
            by_factor_p - multiplied(half, multiplied(half.swapaxes(-1, -2), factor_p)) - of_p.solve()
        )
        by_diag_p = 0.5 * (of_q.inverse_diagonal() - of_p.inverse_diagonal())
        # By that of q: half its precision, less that times p's covariance times that, less of the distance.
        loc_p = low_p._in(_params.FLOAT64, "loc")[0]
        by_loc, of_distance = scores(low_q, loc_p, np.ones(()))
        diag_p, precision = np.square(of_p.scale), 1 / np.square(of_q.scale)
        spread = diag_p[..., None] * solved + multiplied(
            factor_p, multiplied(factor_p.swapaxes(-1, -2), solved)
        )
        inner = multiplied(half.swapaxes(-1, -2), spread)
        by_factor_q = solved - (precision[..., None] * spread - multiplied(half, inner))
        seen = precision[..., None] * factor_p - multiplied(half, multiplied(half.swapaxes(-1, -2), factor_p))
        weighted = multiplied(half.swapaxes(-1, -2), diag_p[..., None] * half)
        crossed = (multiplied(half, weighted) * half).sum(-1)
        both = diag_p * precision * (precision - 2 * np.square(half).sum(-1)) + crossed
        by_diag_q = 0.5 * (of_q.inverse_diagonal() - both - np.square(seen).sum(-1))
        g1, g2 = wide[..., None], wide[..., None, None]
        by_p = {"loc": -g1 * by_loc, "cov_factor": g2 * by_factor_p, "cov_diag": g1 * by_diag_p}
        by_q = {
            "loc": g1 * by_loc,
            "cov_factor": g2 * (by_factor_q - of_distance["cov_factor"]),
            "cov_diag": g1 * (by_diag_q - of_distance["cov_diag"]),
        }
        return _to_own(p, low_p, fitted(low_p, by_p)), _to_own(q, low_q, fitted(low_q, by_q))

    return pull


def _as_vectors(d: Distribution) -> MultivariateNormal:
    """Of d x d elements, as the other one is."""
    if isinstance(d, MultivariateNormal):
        return d
    assert isinstance(d, LowRankMultivariateNormal)
    loc, factor, diag = d._in(_params.FLOAT64, "loc", "cov_factor", "cov_diag")
    matrix = d._plus_diagonal(multiplied(factor, factor.swapaxes(-1, -2)), diag)
    return MultivariateNormal(loc, covariance_matrix=matrix, validate_args=False)


@register_kl(LowRankMultivariateNormal, MultivariateNormal)
@register_kl(MultivariateNormal, LowRankMultivariateNormal)
@_params.quiet
def _kl_low_rank_vectors(p: Distribution, q: Distribution) -> Real:
    check_events(p, q)
    return np.asarray(_kl_vectors(_as_vectors(p), _as_vectors(q)), common_dtype(p, q))


@own_vjp("kl_divergence", LowRankMultivariateNormal, MultivariateNormal)
@own_vjp("kl_divergence", MultivariateNormal, LowRankMultivariateNormal)
def _vjp_low_rank_vectors(p: Distribution, q: Distribution) -> Pull:
    pull_vectors = vjp_kl_vectors(_as_vectors(p), _as_vectors(q))

    @_params.quiet
    def back(d: Distribution, gradients: Gradients) -> Gradients:
        if not isinstance(d, LowRankMultivariateNormal):
            return gradients
        by = gradients["covariance_matrix"]
        (factor,) = d._in(_params.FLOAT64, "cov_factor")
        diagonal = np.diagonal(by, axis1=-2, axis2=-1)
        return fitted(
            d, {"loc": gradients["loc"], "cov_factor": 2 * multiplied(by, factor), "cov_diag": diagonal}
        )

    def pull(g: Real, _: Real) -> tuple[Gradients, Gradients]:
        by_p, by_q = pull_vectors(np.ascontiguousarray(g, np.float64), None)
        return back(p, by_p), back(q, by_q)

    return pull
