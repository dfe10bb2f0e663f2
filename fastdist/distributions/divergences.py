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
from fastdist._kernels.program import KERNELS, apply, elementwise, event_sums, sum_events
from fastdist._kernels.sources import Noise
from fastdist._shapes import Shape
from fastdist._typing import Real, RealDType
from fastdist.distributions import bernoulli, categorical
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

NORMAL_KL, NORMAL_KL_EVENTS = KERNELS["normal_kl"], KERNELS["normal_kl_events"]
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
def kl_normal_normal(p: Normal, q: Normal) -> Real:
    """Unbroadcast."""
    dtype = common_dtype(p, q)
    return elementwise(NORMAL_KL, *p._in(dtype, "loc", "scale"), *q._in(dtype, "loc", "scale"))


def kl_of_normals(p: Normal, q: Normal, tail: Shape) -> Real:
    """The same, summed over the last dims, `tail`."""
    if not tail:
        return kl_normal_normal(p, q)
    dtype = common_dtype(p, q)
    arrays = *p._in(dtype, "loc", "scale"), *q._in(dtype, "loc", "scale")
    return event_sums(NORMAL_KL_EVENTS, tail, *arrays)


@own_vjp("kl_divergence", Normal, Normal)
def _vjp_normal_normal(p: Normal, q: Normal) -> Pull:
    dtype = common_dtype(p, q)
    arrays = *p._in(dtype, "loc", "scale"), *q._in(dtype, "loc", "scale")
    shapes = [d._parameter_shape(name) for d in (p, q) for name in ("loc", "scale")]

    def pull(g: Real, _: Real) -> tuple[Gradients, Gradients]:
        found = [new(g, shape) for shape in shapes]
        pullbacks.kl_diag(*[*found, g, *arrays])
        by_p, by_q = ({"loc": loc, "scale": scale} for loc, scale in (found[:2], found[2:]))
        return cast(by_p, p._dtype), cast(by_q, q._dtype)

    return pull


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


class Bounded:
    """A truncated normal, or a whole one as if it were: in float64, unbroadcast."""

    def __init__(self, d: TruncatedNormal | Normal) -> None:
        self.d = d
        if isinstance(d, TruncatedNormal):
            self.mode, self.scale, self.slope, self.low, self.high = d._wide_arrays(
                "_mode", "scale", "_slope", "low", "high"
            )
            self.below, self.above = d._wide_arrays("_below", "_above")
            self.log_normalizer, self.moments = d._log_normalizer(), d._moments()[1:]
            self.at_low, self.at_high = at_bounds(d)
            return
        self.mode, self.scale = d._in(_params.FLOAT64, "loc", "scale")
        self.low, self.high = np.array(-np.inf), np.array(np.inf)
        self.slope = self.at_low = self.at_high = np.zeros(())
        self.log_normalizer = log(self.scale) + HALF_LOG_2PI
        self.moments = [np.array(moment) for moment in (0.0, 1.0, 0.0, 3.0)]

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
    """Of log p and log q, its coefficients c; of t of q at the mode of p, and how it grows with t of p."""
    delta, ratio = (p.mode - q.mode) / q.scale, p.scale / q.scale
    c0 = (q.log_normalizer - p.log_normalizer) + delta * (0.5 * delta + q.slope)
    return c0, ratio * (delta + q.slope) - p.slope, 0.5 * (ratio - 1) * (ratio + 1), delta, ratio


@register_kl(TruncatedNormal, TruncatedNormal)
@register_kl(TruncatedNormal, Normal)
@_params.quiet
def _kl_truncated(p: TruncatedNormal, q: TruncatedNormal | Normal) -> Real:
    """Infinite where p has events that q has not; otherwise right to some 1e-15, but no more near 0."""
    of_p, of_q = Bounded(p), Bounded(q)
    c0, c1, c2, _, _ = _difference(of_p, of_q)
    first, second, _, _ = of_p.moments
    inside = (of_q.low <= of_p.low) & (of_p.high <= of_q.high)
    divergence = np.where(inside, np.maximum(c0 + c1 * first + c2 * second, 0), np.inf)
    return _params.pack(divergence, common_dtype(p, q))


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
    if divergence is kl_normal_normal:
        assert isinstance(base_p, Normal)
        assert isinstance(base_q, Normal)
        return kl_of_normals(base_p, base_q, tail)
    return sum_events(np.asarray(divergence(base_p, base_q)), tail)


@own_vjp("kl_divergence", Independent, Independent)
def _vjp_independent_independent(p: Independent, q: Independent) -> Pull:
    rule, sees_value = rule_of_kl(p._base, q._base)
    of_base: Any = divergence_of(p._base, q._base)(p._base, q._base) if sees_value else None
    pull, tail = rule(p._base, q._base), p._tail("_base")
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
    a, b = base._arrays, of_prior._arrays

    def pull(g: tuple[Real, Real], value: tuple[Real, Real]) -> Gradients:
        of_kl = expanded(g[1], tail)
        if of_kl.shape != g[0].shape:  # more samples, or priors
            gradients: Gradients = one_and_the_other(p, replay, prior)(g, value)
            return gradients
        by_p, by_q = (
            {name: new(of_kl, d._parameter_shape(name)) for name in ("loc", "scale")}
            for d in (base, of_prior)
        )
        pullbacks.draw_and_kl_diag(
            replay(), by_p["loc"], by_p["scale"], by_q["loc"], by_q["scale"], g[0], of_kl,
            a["loc"], a["scale"], b["loc"], b["scale"],
        )  # fmt: skip
        return {**by_p, "prior": by_q}

    return pull


# ---- vectors -------------------------------------------------------------------------------------


class Side:
    """p or q of a divergence of vectors: its loc and its factor, or scales, packed."""

    def __init__(self, d: Distribution, dtype: RealDType) -> None:
        if isinstance(d, MultivariateNormal):
            self.d: MultivariateNormal | Normal = d
            self.structure: type[Lower | Diagonal] = d._structure
            self.name = d._given
            self.loc, self.factor = d._in(dtype, "loc", "_factor")
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
    return result


@own_vjp("kl_divergence", MultivariateNormal, MultivariateNormal)
@own_vjp("kl_divergence", Independent, MultivariateNormal)
@own_vjp("kl_divergence", MultivariateNormal, Independent)
def vjp_kl_vectors(p: Distribution, q: Distribution, *, of_p_alone: bool = False) -> Pull:
    """The rule, which may leave away all that is due to q."""
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
    if p._transforms != q._transforms or not p._whole.bijective:
        raise NotImplementedError("a divergence has no gradients through transforms that differ")
    return _vjp_of_bases(p, q)


@own_vjp("kl_divergence", HalfNormal, HalfNormal)
def _vjp_of_bases(p: TransformedDistribution, q: TransformedDistribution) -> Pull:
    rule, sees_value = rule_of_kl(p._base, q._base)
    of_bases: Any = _kl_of_bases(p, q) if sees_value else None
    pull = rule(p._base, q._base)

    def pull_bases(g: Real, _: Real) -> tuple[Gradients, Gradients]:
        by_p, by_q = pull(g, of_bases)
        return p._gradients(by_p), q._gradients(by_q)

    return pull_bases


# An affine transform of a Gaussian is one.
for _p, _q in itertools.product((TransformedDistribution, Normal, Independent, MultivariateNormal), repeat=2):
    if (_p is TransformedDistribution) != (_q is TransformedDistribution):
        register_kl(_p, _q)(lambda p, q: _kl_of_gaussians(p, q))


def _kl_of_gaussians(p: Distribution, q: Distribution) -> Real:
    of_p, of_q = _as_gaussian(p), _as_gaussian(q)
    if of_p is None or of_q is None:
        raise NotImplementedError(
            "no KL divergence of transformed distributions unless they have the same bijective transforms, "
            f"or are affine transforms of Gaussians: {p!r} and {q!r}"
        )
    return divergence_of(of_p, of_q)(of_p, of_q)


def _as_gaussian(d: Distribution) -> Distribution | None:
    """A Gaussian without the affine transforms that made it, or None."""
    if not isinstance(d, TransformedDistribution):
        return d
    affine = d._whole._as_affine()
    return None if affine is None else _moved(d._base, *affine)


@_params.quiet
def _moved(d: Distribution, loc: Real, scale: Real) -> Distribution | None:
    """The distribution of loc + scale x."""
    if isinstance(d, Normal) and keeps(type(d), Normal, LAW):
        return Normal(loc + scale * d.loc, np.abs(scale) * d.scale, validate_args=False)
    if isinstance(d, Independent) and keeps(type(d), Independent, LAW):
        base = _moved(d._base, loc, scale)
        return None if base is None else Independent(base, d._ndims)
    if isinstance(d, MultivariateNormal) and keeps(type(d), MultivariateNormal, LAW):
        columns = np.broadcast_to(scale, d._batch_shape + d._event_shape)[..., None]
        covariance = columns * d.covariance_matrix * columns.swapaxes(-1, -2)
        return MultivariateNormal(loc + scale * d.loc, covariance_matrix=covariance, validate_args=False)
    return None


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
        - np.square(np.matmul(factor.swapaxes(-1, -2), half)).sum((-1, -2))
    )
    logs = [np.log(np.diagonal(parts.inverse_root, axis1=-2, axis2=-1)).sum(-1) for parts in (of_p, of_q)]
    distance = q._distance(p._in(_params.FLOAT64, "loc")[0])
    result = diagonal + 0.5 * distance + 0.5 * spread + logs[0] - logs[1]
    return np.asarray(np.maximum(result, 0), dtype)


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
        by_factor_p = by_factor_p - np.matmul(half, np.matmul(half.swapaxes(-1, -2), factor_p)) - of_p.solve()
        by_diag_p = 0.5 * (of_q.inverse_diagonal() - of_p.inverse_diagonal())
        # By that of q: half its precision, less that times p's covariance times that, less of the distance.
        loc_p = low_p._in(_params.FLOAT64, "loc")[0]
        by_loc, of_distance = scores(low_q, loc_p, np.ones(()))
        diag_p, precision = np.square(of_p.scale), 1 / np.square(of_q.scale)
        spread = diag_p[..., None] * solved + np.matmul(
            factor_p, np.matmul(factor_p.swapaxes(-1, -2), solved)
        )
        inner = np.matmul(half.swapaxes(-1, -2), spread)
        by_factor_q = solved - (precision[..., None] * spread - np.matmul(half, inner))
        seen = precision[..., None] * factor_p - np.matmul(half, np.matmul(half.swapaxes(-1, -2), factor_p))
        weighted = np.matmul(half.swapaxes(-1, -2), diag_p[..., None] * half)
        crossed = (np.matmul(half, weighted) * half).sum(-1)
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
    matrix = d._plus_diagonal(np.matmul(factor, factor.swapaxes(-1, -2)), diag)
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
            d, {"loc": gradients["loc"], "cov_factor": 2 * np.matmul(by, factor), "cov_diag": diagonal}
        )

    def pull(g: Real, _: Real) -> tuple[Gradients, Gradients]:
        by_p, by_q = pull_vectors(np.ascontiguousarray(g, np.float64), None)
        return back(p, by_p), back(q, by_q)

    return pull
