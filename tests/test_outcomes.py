"""Categorical, Bernoulli and OneHotCategorical: draws, values against mpmath, gradients, masks, errors, bits."""

import copy
import math
import pickle

import mpmath
import numpy as np
import pytest
import reference
from cases import DTYPES, LAYOUTS, assert_same_bits, in_threads, state_of
from scipy import stats

import fastdist as fd
from fastdist.random import standard_uniform


def logits_of(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype) * 2


def laws(dtype=np.float64):
    """A law of every kind, by logits and by probs, with batch_shape (4, 3)."""
    g = np.random.default_rng(0)
    logits = logits_of((4, 3, 5), dtype)
    return {
        "logits": fd.Categorical(logits=logits),
        "probs": fd.Categorical(g.uniform(size=(3, 5)).astype(dtype)).expand((4, 3)),
        "many": fd.Categorical(logits=logits_of((4, 1, 70), dtype)).expand((4, 3)),
        "masked": fd.Categorical(logits=logits, mask=g.uniform(size=(3, 5)) < 0.7),
        "masked probs": fd.Categorical(np.exp(logits), mask=g.uniform(size=(4, 1, 5)) < 0.7),
        "Bernoulli": fd.Bernoulli(logits=logits[..., 0]),
        "Bernoulli probs": fd.Bernoulli(g.uniform(size=(3,)).astype(dtype)).expand((4, 3)),
        "one-hot": fd.OneHotCategorical(logits=logits),
        "one-hot probs": fd.OneHotCategorical(g.uniform(size=(3, 5)).astype(dtype)).expand((4, 3)),
        "Independent": fd.Independent(fd.Categorical(logits=logits_of((4, 3, 2, 7), dtype)), 1),
        "Independent Bernoulli": fd.Independent(fd.Bernoulli(logits=logits_of((4, 3, 6), dtype)), 1),
        "Independent one-hot": fd.Independent(fd.OneHotCategorical(logits=logits_of((4, 3, 2, 3), dtype)), 1),
    }


LAWS = tuple(laws())


def exact_log_probs(logits):
    with mpmath.workdps(50):
        powers = [mpmath.exp(mpmath.mpf(float(x))) for x in logits]
        return [mpmath.log(p / mpmath.fsum(powers)) if p else -mpmath.inf for p in powers]


def all_of(d):
    """Everything that follows from the parameters."""
    x = d.sample((3,), rng=5)
    arrays = [x, d.log_prob(x), d.entropy(), d.mean, d.variance, d.mode]
    return [np.array(array) for array in arrays]


# ---- draws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("law", LAWS)
def test_draws_come_with_their_log_probabilities(law, dtype):
    d = laws(dtype)[law]
    for sample_shape in ((), (7,), (0, 2)):
        x, log_prob = d.sample_and_log_prob(sample_shape, rng=3)
        assert (x.dtype, log_prob.dtype) == (np.int64, dtype)
        assert_same_bits(x, d.sample(sample_shape, rng=3))
        rounding = 4 * np.finfo(dtype).eps  # events are summed in another order
        np.testing.assert_allclose(log_prob, d.log_prob(x), rtol=rounding)
        assert np.isfinite(log_prob).all()
        out = np.empty_like(x), np.empty_like(log_prob)
        assert all(
            got is array
            for got, array in zip(d.sample_and_log_prob(sample_shape, rng=3, out=out), out, strict=True)
        )
        assert_same_bits(out[1], log_prob)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 31, 32, 33, 64, 1000])
@pytest.mark.parametrize("given", ["probs", "logits"])
def test_draws_invert_the_cumulative_probabilities(n, given, isa):
    g = np.random.default_rng(n)
    probs = g.gamma(0.2, size=(3, n))
    probs[0, : n // 2] = probs[1, n // 2 + 1 :] = 0  # the first ones, the last ones
    if n > 40:
        probs[2, :20] *= 1e-9  # crowded in one part of the guide
    with np.errstate(divide="ignore"):
        d = fd.Categorical(**{given: probs if given == "probs" else np.log(probs)})
    for x, u in (
        (d.sample((500,), rng=1), standard_uniform((500, 3), rng=1)),
        (d.sample(rng=2), standard_uniform(3, rng=2)),
    ):
        for b in range(3):
            steps = np.array([math.fsum(probs[b, : k + 1]) for k in range(n)]) / math.fsum(probs[b])
            last = np.flatnonzero(probs[b])[-1]
            wanted = np.minimum(np.searchsorted(steps, u[..., b], side="right"), last)
            np.testing.assert_array_equal(x[..., b], wanted)
            assert (probs[b][x[..., b]] > 0).all()
    one = fd.Categorical(**{given: (probs if given == "probs" else np.log(np.maximum(probs, 1e-300)))[2]})
    np.testing.assert_array_equal(one.sample((1000,), rng=1)[:7], one.expand(7).sample(rng=1))


def test_a_million_outcomes():
    g = np.random.default_rng(0)
    probs = g.gamma(0.1, size=10**6)
    d = fd.Categorical(probs)
    x, u = d.sample(100_000, rng=0), standard_uniform(100_000, rng=0)
    steps = np.cumsum(probs.astype(np.longdouble)) / probs.astype(np.longdouble).sum()
    np.testing.assert_array_equal(x, np.searchsorted(steps.astype(float), u, side="right"))


def test_draws_of_bernoulli_are_uniforms_below_p(isa):
    p = np.array([0.0, 1.0, 0.3, 1e-3, 1 - 1e-3])
    x, u = fd.Bernoulli(p).sample(1001, rng=3), standard_uniform((1001, 5), rng=3)
    assert x.dtype == np.int64
    np.testing.assert_array_equal(x, u < p)
    np.testing.assert_array_equal(fd.Bernoulli(0.3).sample(1001, rng=3), standard_uniform(1001, rng=3) < 0.3)


@pytest.mark.parametrize("kind", LAWS)
def test_any_cut_any_workers_any_dtype(kind, isa):
    d, event = laws()[kind], laws()[kind].event_shape
    whole = d.sample((3000,), rng=7)
    assert whole.dtype == np.int64
    assert whole.shape == (3000, 4, 3, *event)
    g = fd.BlockSFC64(7)
    parts = [d.sample((n,), rng=g) for n in (1, 0, 700, 13, 2286)]
    assert_same_bits(np.concatenate(parts), whole)
    state = g.state["state"]
    n_uniform = 1 if isinstance(d, fd.OneHotCategorical) else int(np.prod(event))
    n_uniform = 2 if kind == "Independent one-hot" else n_uniform
    assert (state["raw_position"], state["normal_position"]) == (0, 0)
    assert state["uniform_position"] == 3000 * 12 * n_uniform
    assert_same_bits(d.sample((3000,), rng=7, workers=3), whole)
    out = np.empty(whole.shape, np.int64)
    assert d.sample((3000,), rng=7, out=out) is out
    assert_same_bits(out, whole)
    if kind not in ("probs", "Bernoulli probs", "one-hot probs"):
        narrow = laws(np.float32)[kind]
        assert (narrow.sample((3000,), rng=7) == whole).mean() > 0.9999


@pytest.mark.parametrize("kind", LAWS)
def test_one_by_one_in_order(kind, isa):
    d = laws()[kind]
    for make in (np.random.default_rng, fd.default_rng):
        whole, g = d.sample((5,), rng=make(0)), make(0)
        rows = [d[index].sample(rng=g) for _ in range(5) for index in np.ndindex(4, 3)]
        np.testing.assert_array_equal(np.reshape(rows, whole.shape), whole)


@pytest.mark.parametrize("kind", LAWS)
def test_frequencies(kind):
    """Chi-square of counts; each of the twelve falls below 1e-5 once in 100 000 seeds, which are fixed."""
    d = laws()[kind]
    n = 50_000
    x = d.sample((n,), rng=21)
    base = d.base_dist if isinstance(d, fd.Independent) else d
    if isinstance(base, fd.OneHotCategorical):
        x = x.argmax(-1)
    probs = np.stack([1 - base.probs, base.probs], -1) if isinstance(base, fd.Bernoulli) else base.probs
    for index in np.ndindex(base.batch_shape):
        p = probs[index]
        counts = np.bincount(x[(slice(None), *index)], minlength=len(p))
        assert not counts[p == 0].any()
        assert stats.chisquare(counts[p > 0], n * p[p > 0] / p.sum()).pvalue > 1e-5


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "subclass"])
@pytest.mark.parametrize("kind", LAWS)
def test_layouts_of_out(kind, layout):
    d = laws()[kind]
    wanted = d.sample((6,), rng=1)
    if layout not in ("read-only",):
        out = (
            LAYOUTS[layout](np.zeros(wanted.shape, np.int64))
            if layout != "strided"
            else np.zeros((*wanted.shape[:-1], 2 * wanted.shape[-1]), np.int64)[..., ::2]
        )
        assert d.sample((6,), rng=1, out=out) is out
        np.testing.assert_array_equal(out, wanted)
    for values in (wanted, wanted.astype(float)):
        if layout != "strided":
            assert_same_bits(d.log_prob(LAYOUTS[layout](values)), d.log_prob(wanted))


@pytest.mark.parametrize("kind", LAWS)
def test_what_out_must_be(kind):
    d, g = laws()[kind], np.random.default_rng(0)
    before = state_of(g)
    with pytest.raises(TypeError, match="out must be of dtype int64, got float64"):
        d.sample(rng=g, out=np.empty(d.batch_shape + d.event_shape))
    with pytest.raises(ValueError, match="out must have shape"):
        d.sample(rng=g, out=np.empty((7, 7), np.int64))
    with pytest.raises(NotImplementedError, match="no reparameterised draws"):
        d.rsample(rng=g)
    assert state_of(g) == before


def test_threads_share_a_generator():
    d, g, draws = fd.OneHotCategorical(np.ones((50, 6))), fd.default_rng(0), []
    in_threads(*[lambda: draws.extend(d.sample(40, rng=g) for _ in range(10))] * 3)
    alone = fd.default_rng(0)
    assert {x.tobytes() for x in draws} == {d.sample(40, rng=alone).tobytes() for _ in range(30)}


# ---- values ----------------------------------------------------------------------------------------

EXTREMES = [
    [0.0],
    [1e4, -1e4, 0.0],
    [0.0, -40.0],
    [0.0, -800.0, -1e-9],
    [-1e300, 1e300, 1e300],
    [-np.inf, 3.0, -np.inf, 3.0],
    [700.0, 710.0, 709.5],
]


@pytest.mark.parametrize("logits", EXTREMES, ids=str)
def test_log_probs_have_all_digits(logits, isa):
    wanted = exact_log_probs(np.array(logits) - np.max(logits))
    d = fd.Categorical(logits=logits)
    x = range(len(logits))
    for got in (d.log_prob(list(x)), d.logits):
        for a, b in zip(got, wanted, strict=True):
            assert a == b or abs(a - b) <= 4e-16 * abs(b)
    np.testing.assert_allclose(d.probs, [float(mpmath.exp(w)) for w in wanted], rtol=1e-15, atol=0)
    entropy = -sum(mpmath.exp(w) * w for w in wanted if mpmath.isfinite(w))
    assert abs(d.entropy() - entropy) <= 1e-15 * max(1, abs(entropy))


@pytest.mark.parametrize("dtype", DTYPES)
def test_probs_and_logits_are_the_same_law(dtype, isa):
    logits = logits_of((50, 9), dtype)
    a, b = fd.Categorical(logits=logits), fd.Categorical(7 * np.exp(logits.astype(float)))
    rtol = 3e-6 if dtype is np.float32 else 1e-14
    np.testing.assert_allclose(a.probs, b.probs, rtol=rtol)
    np.testing.assert_allclose(a.logits, b.logits, rtol=rtol)
    np.testing.assert_allclose(a.entropy(), b.entropy(), rtol=rtol)
    assert a.dtype == a.probs.dtype == a.entropy().dtype == a.log_prob(np.arange(3)[:, None]).dtype == dtype
    assert a.log_prob(np.zeros(50)).dtype == np.float64
    one, none = fd.Bernoulli(logits=logits), fd.Bernoulli(logits=-logits)
    np.testing.assert_allclose(one.probs + none.probs, 1, rtol=rtol)
    assert_same_bits(one.log_prob(1), none.log_prob(0))


@pytest.mark.parametrize("x", [-1e4, -800.0, -37.0, -1e-20, 0.0, 2.5, 36.0, 1e4])
def test_bernoulli_has_all_digits_at_both_ends(x, isa):
    d = fd.Bernoulli(logits=x)
    with mpmath.workdps(50):
        p, q = 1 / (1 + mpmath.exp(-x)), 1 / (1 + mpmath.exp(mpmath.mpf(x)))
        wanted = mpmath.log(q), mpmath.log(p)
        entropy = -(p * wanted[1] + q * wanted[0])
        for value in (0, 1):
            assert abs(d.log_prob(value) - wanted[value]) <= 4e-16 * abs(wanted[value])
        assert abs(d.entropy() - entropy) <= 1e-15 * entropy + mpmath.mpf(10) ** -300
        assert abs(d.variance - p * q) <= 1e-15 * p * q + mpmath.mpf(10) ** -300
    tiny = fd.Bernoulli(1e-30)
    assert tiny.log_prob(0) == -1e-30
    assert tiny.logits == pytest.approx(math.log(1e-30), rel=1e-15)


@pytest.mark.parametrize("kind", LAWS)
def test_outside_of_the_support(kind):
    d = laws()[kind]
    for value in (-1, 0.5, 1e300, -np.inf, np.inf, 70, 2**40):
        assert (d.log_prob(np.full(d.event_shape, value)) == -np.inf).all()
        assert (d.prob(np.full(d.event_shape, value)) == 0).all()
    assert np.isnan(d.log_prob(np.full(d.event_shape, np.nan))).all()
    inside = d.support.check(d.sample((50,), rng=0))
    assert inside.shape == (50, 4, 3)
    assert inside.all()
    assert d.support.is_discrete


def test_one_hot_values():
    d = fd.OneHotCategorical([1.0, 2.0, 1.0])
    values = [[0, 1, 0], [0, 0, 0], [1, 1, 0], [0, 2, 0], [0, -1, 0], [0, 1, np.nan]]
    np.testing.assert_allclose(d.log_prob(values), [np.log(0.5), *[-np.inf] * 4, np.nan], rtol=1e-15)
    with pytest.raises(ValueError, match=r"event shape \(3,\)"):
        d.log_prob([1.0])


def test_moments_and_supports():
    p = np.array([[0.2, 0.5, 0.3], [0.5, 0.0, 0.5]])
    d, hot, b = fd.Categorical(p), fd.OneHotCategorical(p), fd.Bernoulli(p)
    assert np.isnan(d.mean).all()
    assert np.isnan(d.variance).all()
    assert_same_bits(np.array(d.mode), np.array([1, 0]))
    assert_same_bits(np.array(hot.mode), np.array([[0, 1, 0], [1, 0, 0]]))
    assert_same_bits(np.array(b.mode), np.array([[0, 0, 0], [0, 0, 0]]))
    np.testing.assert_allclose(hot.mean, p)
    np.testing.assert_allclose(hot.variance, p * (1 - p))
    np.testing.assert_allclose(b.stddev, np.sqrt(p * (1 - p)))
    assert (d.num_events, d.param_shape, hot.param_shape, b.param_shape) == (3, (2, 3), (2, 3), (2, 3))
    assert_same_bits(np.array(d.enumerate_support()), np.array([[0, 0], [1, 1], [2, 2]]))
    assert_same_bits(d.enumerate_support(expand=False), np.array([[0], [1], [2]]))
    assert hot.enumerate_support().shape == (3, 2, 3)
    assert b.enumerate_support().shape == (2, 2, 3)
    np.testing.assert_allclose(np.exp(d.log_prob(d.enumerate_support())).sum(0), 1)
    np.testing.assert_allclose(d.perplexity(), np.exp(d.entropy()))


# ---- masks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["probs", "logits"])
def test_masked_outcomes_have_no_probability_and_no_gradient(given):
    g = np.random.default_rng(3)
    array, mask = g.uniform(0.5, 2, size=(6, 1, 5)), g.uniform(size=(4, 5)) < 0.6
    mask[:, 2] = True
    d = fd.Categorical(**{given: array}, mask=mask)
    assert d.batch_shape == (6, 4)
    assert (d.probs[:, ~mask] == 0).all()
    assert (d.logits[:, ~mask] == -np.inf).all()
    np.testing.assert_allclose(d.probs.sum(-1), 1)
    assert_same_bits(np.array(d.mask), np.broadcast_to(mask, (6, 4, 5)).copy())
    x = d.sample(2000, rng=0)
    assert np.take_along_axis(np.broadcast_to(mask, (2000, 6, 4, 5)), x[..., None], -1).all()
    rows = [(i, j, k) for i in range(6) for j in range(4) for k in range(5) if not mask[j, k]]
    whole = fd.Categorical(**{given: np.broadcast_to(array, (6, 4, 5))}, mask=mask)
    for method, arguments in ((whole.log_prob, (x,)), (whole.log_prob, (0,)), (whole.entropy, ())):
        value, pullback = fd.vjp(method, *arguments)
        gradient = pullback(np.ones(value.shape))[given]
        assert np.isfinite(gradient).all()
        assert all(gradient[row] == 0 for row in rows)
    # The same as the allowed ones alone.
    alone = fd.Categorical(**{given: array[2, 0, mask[1]]})
    np.testing.assert_allclose(d[2, 1].probs[mask[1]], alone.probs, rtol=1e-15)
    np.testing.assert_allclose(d[2, 1].entropy(), alone.entropy(), rtol=1e-14)
    again = type(d)(**d.parameters)
    assert_same_bits(again.sample(9, rng=0), d.sample(9, rng=0))
    assert again.mask.dtype == np.bool_
    narrow = fd.Categorical(**{given: array.astype(np.float32)}, mask=mask)
    assert narrow.dtype == np.float32


# ---- gradients ------------------------------------------------------------------------------------


def by_differences(f, x, h=1e-6):
    result = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][index] += h
        moved[1][index] -= h
        result[index] = (f(moved[0]) - f(moved[1])) / (2 * h)
    return result


MAKERS = {
    f"{cls.__name__} {given}": (cls, given)
    for cls in (fd.Categorical, fd.OneHotCategorical, fd.Bernoulli)
    for given in ("probs", "logits")
}


def parameter(cls, given, shape=(2, 3), seed=0):
    shape = shape if cls is fd.Bernoulli else (*shape, 4)
    g = np.random.default_rng(seed)
    return g.uniform(0.2, 0.8, shape) if given == "probs" else g.normal(size=shape)


@pytest.mark.parametrize("kind", MAKERS)
def test_gradients_are_those_of_differences(kind):
    cls, given = MAKERS[kind]
    array, g = parameter(cls, given), np.random.default_rng(5)

    def make(a):
        return cls(**{given: a})

    d = make(array)
    x = d.sample(7, rng=0)
    for method in ("log_prob", "entropy"):
        arguments = (x,) if method == "log_prob" else ()
        value, pullback = fd.vjp(getattr(d, method), *arguments)
        assert_same_bits(value, getattr(d, method)(*arguments))
        c = g.normal(size=value.shape)
        gradients = pullback(c)
        wanted = by_differences(lambda a: (c * getattr(make(a), method)(*arguments)).sum(), array)  # noqa: B023
        np.testing.assert_allclose(gradients.pop(given), wanted, atol=3e-8)
        if method == "log_prob":
            assert_same_bits(gradients.pop("value"), np.zeros(x.shape))
        assert not gradients
    other, p = parameter(cls, "logits", (3,), 1), d
    q = cls(logits=other)
    value, pullback = fd.vjp(fd.kl_divergence, p, q)
    c = g.normal(size=value.shape)
    gradients = pullback(c)
    np.testing.assert_allclose(
        gradients["p"][given],
        by_differences(lambda a: (c * fd.kl_divergence(make(a), q)).sum(), array),
        atol=3e-8,
    )
    np.testing.assert_allclose(
        gradients["q"]["logits"],
        by_differences(lambda a: (c * fd.kl_divergence(p, cls(logits=a))).sum(), other),
        atol=3e-8,
    )
    value, pullback = fd.vjp(fd.kl_divergence, q, p)
    c = g.normal(size=value.shape)
    np.testing.assert_allclose(
        pullback(c)["q"][given],
        by_differences(lambda a: (c * fd.kl_divergence(q, make(a))).sum(), array),
        atol=3e-7,
    )


def test_gradients_of_independent_outcomes_pass_through():
    logits = logits_of((3, 2, 4))
    d = fd.Independent(fd.Categorical(logits=logits), 1)
    x, c = d.sample(6, rng=0), np.random.default_rng(0).normal(size=(6, 3))
    value, pullback = fd.vjp(d.log_prob, x)
    base, pullback_of_base = fd.vjp(d.base_dist.log_prob, x)
    np.testing.assert_allclose(value, base.sum(-1), rtol=1e-14)
    wanted = pullback_of_base(np.broadcast_to(c[..., None], base.shape))
    np.testing.assert_allclose(pullback(c)["logits"], wanted["logits"], rtol=1e-14)


def test_gradients_at_the_ends():
    """Outcomes without a probability have no say; saturated ones lose nothing."""
    for given, array in (("probs", [0.0, 0.5, 0.5]), ("logits", [-np.inf, 0.0, 0.0])):
        value, pullback = fd.vjp(fd.Categorical(**{given: array}).log_prob, [0, 1])
        assert value[0] == -np.inf
        assert np.isfinite(pullback([1.0, 0.0])[given]).all()
        assert (pullback([1.0, 0.0])[given] == 0).all()
    _, pullback = fd.vjp(fd.Categorical(logits=[1e4, -1e4]).log_prob, 1)
    np.testing.assert_array_equal(pullback(1.0)["logits"], [-1, 1])
    _, pullback = fd.vjp(fd.Bernoulli(logits=-50.0).log_prob, 0)
    np.testing.assert_allclose(pullback(1.0)["logits"], -np.exp(-50.0), rtol=1e-15)
    for d in (fd.Bernoulli(0.25), fd.Bernoulli(logits=0.5)):
        assert fd.vjp(d.entropy)[1](1.0)[d._given].shape == ()
        assert fd.vjp(fd.kl_divergence, d, fd.Bernoulli(0.5))[1](1.0)["q"]["probs"].shape == ()


# ---- divergences -----------------------------------------------------------------------------------


@pytest.mark.parametrize("near", [1e-12, 1e-7, 1e-3, 0.3, 30.0])
def test_divergences_neither_cancel_nor_are_negative(near, isa):
    g = np.random.default_rng(0)
    p = g.normal(size=(20, 6))
    q = p + near * g.normal(size=(20, 6))
    got = fd.kl_divergence(fd.Categorical(logits=p), fd.Categorical(logits=q))
    assert (got >= 0).all()
    for a, b, kl in zip(p, q, got, strict=True):
        with mpmath.workdps(50):
            log_p, log_q = exact_log_probs(a), exact_log_probs(b)
            wanted = mpmath.fsum(mpmath.exp(x) * (x - y) for x, y in zip(log_p, log_q, strict=True))
            assert abs(kl - wanted) <= 1e-14 * (1 + 1 / near) * abs(wanted)
    assert (fd.kl_divergence(fd.Categorical(logits=p), fd.Categorical(logits=p)) == 0).all()


def test_divergences_of_what_cannot_be():
    some, others = fd.Categorical([0.5, 0.5, 0.0]), fd.Categorical([0.0, 0.5, 0.5])
    assert fd.kl_divergence(some, others) == np.inf
    np.testing.assert_allclose(fd.kl_divergence(fd.Categorical([0, 1, 0]), others), np.log(2), rtol=1e-15)
    assert fd.kl_divergence(fd.Bernoulli(0.0), fd.Bernoulli(0.5)) == pytest.approx(np.log(2), rel=1e-15)
    assert fd.kl_divergence(fd.Bernoulli(0.5), fd.Bernoulli(1.0)) == np.inf
    with pytest.raises(ValueError, match="numbers of outcomes differ: p 3, q 2"):
        fd.kl_divergence(some, fd.Categorical([0.5, 0.5]))
    with pytest.raises(NotImplementedError):
        fd.kl_divergence(some, fd.Bernoulli(0.5))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", LAWS)
def test_divergences_of_rows(kind, dtype, isa):
    d = laws(dtype)[kind]
    e = d[::-1]
    whole = fd.kl_divergence(d, e)
    assert whole.shape == (4, 3)
    assert whole.dtype == dtype
    for index in np.ndindex(4, 3):
        assert_same_bits(fd.kl_divergence(d[index], e[index]), np.array(whole[index]))
    out = np.empty((4, 3), dtype)
    assert fd.kl_divergence(d, e, out=out) is out


# ---- objects ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", LAWS)
def test_parts_copies_and_parameters(kind, dtype, isa):
    d = laws(dtype)[kind]
    whole = all_of(d)
    core = (slice(None),) * len(d.event_shape)
    for index in (
        0,
        (1, 2),
        (slice(None), 1),
        (slice(2, 0, -1),),
        ([0, 3, 3],),
        (None, ..., 0),
        (..., slice(0, 0)),
    ):
        part = d[index]
        entries = index if isinstance(index, tuple) else (index,)
        entries = entries if any(entry is ... for entry in entries) else (*entries, ...)
        assert part.batch_shape == np.empty((4, 3))[index].shape
        assert_same_bits(part.entropy(), np.array(whole[2][entries]))
        for got, wanted in zip((part.mean, part.variance, part.mode), whole[3:], strict=True):
            assert_same_bits(np.array(got), np.array(wanted[entries + core]))
        x = part.sample(2, rng=0)
        assert_same_bits(part.log_prob(x), type(part)(**part.parameters).log_prob(x))
    for again in (
        copy.copy(d),
        copy.deepcopy(d),
        pickle.loads(pickle.dumps(d)),
        type(d)(**d.parameters),
        d.expand((2, 4, 3))[1],
        fd.stack([d, d[::-1]])[0],
    ):
        assert repr(again) == repr(d)
        assert again.dtype == d.dtype
        for a, b in zip(all_of(again), whole, strict=True):
            assert_same_bits(a, b)
    for array in (d.mean, d.variance, d.mode, d.stddev):
        assert not array.flags.writeable


def test_probs_and_logits_displace_each_other():
    d = fd.Categorical([0.5, 0.5], mask=[True, True])
    assert repr(d.replace(logits=[0.0, 1.0])) == "Categorical(logits: (2,), mask: (2,))"
    assert repr(fd.Bernoulli(0.25)) == "Bernoulli(probs: 0.25)"
    assert repr(fd.Bernoulli(logits=np.zeros(3)).replace(probs=0.5)) == "Bernoulli(probs: 0.5)"
    assert (
        repr(fd.OneHotCategorical(np.ones((2, 3))).replace(logits=np.ones(4)))
        == "OneHotCategorical(logits: (4,))"
    )


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3)])
def test_empty_batches(shape):
    for d in (
        fd.Categorical(np.ones(shape)),
        fd.OneHotCategorical(np.ones(shape)),
        fd.Bernoulli(np.ones(shape[:-1])),
    ):
        assert d.sample((5,), rng=0).shape == (5, *shape[:-1], *d.event_shape)
        assert d.log_prob(np.zeros(d.event_shape)).shape == shape[:-1]
        assert d.entropy().shape == shape[:-1]
        assert fd.kl_divergence(d, d).shape == shape[:-1]
        value, pullback = fd.vjp(d.log_prob, d.sample(2, rng=0))
        assert pullback(np.ones(value.shape))[d._named()[0]].shape == np.shape(d.parameters[d._named()[0]])
    assert fd.Independent(fd.Categorical(np.ones((0, 3))), 1).log_prob(np.zeros(0)) == 0
    assert fd.Categorical(np.ones((2, 3))).sample((0, 4), rng=0).shape == (0, 4, 2)


# ---- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [fd.Categorical, fd.OneHotCategorical])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "exactly one of probs and logits must be given, got none"),
        (
            {"probs": [1.0], "logits": [1.0]},
            ValueError,
            "exactly one of probs and logits .* got probs and logits",
        ),
        (
            {"probs": [[1, 1], [1, -1]]},
            ValueError,
            r"probs must be finite and not negative: .*probs\[1, 1\] = -1",
        ),
        ({"probs": [1, np.inf]}, ValueError, r"probs\[1\] = inf"),
        ({"probs": [1e308, 1e308]}, ValueError, "probs must have a finite sum"),
        (
            {"probs": [[1, 1], [0, 0]]},
            ValueError,
            r"must leave an outcome a probability: .* batch index \(1,\)",
        ),
        ({"logits": [0, np.nan]}, ValueError, r"logits must be numbers below infinity: .*logits\[1\] = nan"),
        ({"logits": [0, np.inf]}, ValueError, r"logits\[1\] = inf"),
        ({"logits": [[[0, 0], [-np.inf, -np.inf]]]}, ValueError, r"none in batch index \(0, 1\)"),
        (
            {"logits": [0, 1], "mask": [[True, False], [False, False]]},
            ValueError,
            r"and mask .*batch index \(1,\)",
        ),
        ({"logits": [0, 1], "mask": [1, 0]}, TypeError, "mask must be an array of bools, got int64"),
        ({"logits": [0, 1], "mask": [True] * 3}, ValueError, "differ in event size"),
        ({"logits": np.zeros((2, 0))}, ValueError, r"one outcome or more: shape \(2, 0\)"),
        ({"logits": 0.0}, ValueError, "logits must have at least one dim"),
        ({"logits": [1j]}, TypeError, "logits must be of a real dtype"),
        ({"logits": np.zeros((3, 2)), "mask": np.ones((2, 2), bool)}, ValueError, "broadcast"),
    ],
)
def test_bad_parameters(cls, arguments, error, message):
    with pytest.raises(error, match=message):
        cls(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "exactly one of probs and logits must be given, got none"),
        ({"probs": [0.5, 1.5]}, ValueError, r"probability in \[0, 1\]: .*probs\[1\] = 1.5"),
        ({"probs": [0.5, np.nan]}, ValueError, "probs"),
        ({"logits": [0.5, np.inf]}, ValueError, r"logits must be finite: .*logits\[1\] = inf"),
        ({"logits": "a"}, TypeError, "logits must be of a real dtype"),
    ],
)
def test_bad_parameters_of_bernoulli(arguments, error, message):
    with pytest.raises(error, match=message):
        fd.Bernoulli(**arguments)


def test_without_validation_nothing_is_checked():
    assert np.isnan(fd.Categorical(logits=[np.nan, 0.0], validate_args=False).log_prob(0))
    assert np.isnan(fd.Bernoulli([np.nan], validate_args=False).log_prob(1)).all()


def test_it_is_quiet():
    with np.errstate(all="raise"):
        for logits in EXTREMES:
            d = fd.Categorical(logits=logits)
            d.sample(3, rng=0), d.entropy(), d.probs, d.mode
            for method, arguments in ((d.log_prob, (0,)), (d.entropy, ()), (fd.kl_divergence, (d, d))):
                value, pullback = fd.vjp(method, *arguments)
                pullback(np.ones(value.shape))
        for probs in ([1.0, 0.0], [0.0, 1e-300, 1.0]):
            for d in (fd.Categorical(probs), fd.Bernoulli(probs)):
                d.sample(3, rng=0), d.entropy(), d.logits
                for method, arguments in ((d.log_prob, (0,)), (d.entropy, ()), (fd.kl_divergence, (d, d))):
                    value, pullback = fd.vjp(method, *arguments)
                    pullback(np.ones(value.shape))


@pytest.mark.skipif(len(fd.isas()) == 1, reason="one ISA only")
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_isa_equals_scalar(dtype):
    before, results = fd.isa(), {}
    try:
        for isa in fd.isas():
            fd.set_isa(isa)
            results[isa] = []
            for n in (1, 2, 3, 5, 8, 13, 16, 17, 33, 100, 1025):
                d, e = (fd.Categorical(logits=logits_of((3, n), dtype, seed)) for seed in (n, n + 1))
                x = d.sample(20, rng=n)
                results[isa] += [x, d.log_prob(x), d.entropy(), d.probs.copy(), fd.kl_divergence(d, e)]
                results[isa] += [fd.vjp(d.log_prob, x)[1](1)["logits"], fd.vjp(d.entropy)[1](1)["logits"]]
                b = fd.Bernoulli(logits=d.logits)
                results[isa] += [b.sample(5, rng=n), b.log_prob(1), b.entropy(), b.probs.copy()]
    finally:
        fd.set_isa(before)
    for isa in fd.isas()[1:]:
        for got, wanted in zip(results[isa], results["scalar"], strict=True):
            assert_same_bits(got, wanted)


def test_uniforms_are_the_stream_s():
    """A draw is what it is by the stream's description alone."""
    b = fd.BlockSFC64(9)
    key = [int(word) for word in b.state["state"]["key"]]
    u = reference.uniforms(key, 0, 100)
    x = fd.Categorical([0.25, 0.25, 0.5]).sample(100, rng=b)
    np.testing.assert_array_equal(x, (u >= 0.25).astype(int) + (u >= 0.5))


# ---- over memory of others -----------------------------------------------------------------------


@pytest.mark.parametrize("given", ["probs", "logits"])
@pytest.mark.parametrize(
    "cls", [fd.Categorical, fd.OneHotCategorical, fd.Bernoulli], ids=lambda cls: cls.__name__
)
def test_what_is_borrowed_is_read_when_it_is_asked_for(cls, given):
    """As adapters do it: no copy, and nothing is kept of values that others change."""
    g = np.random.default_rng(0)
    memory = g.uniform(0.1, 0.9, (3, 4))
    d = cls._borrowing(True, **{given: memory})
    x = None
    for _ in range(3):
        fresh = cls(**{given: memory.copy()})
        assert_same_bits(d.sample((50,), rng=0), fresh.sample((50,), rng=0))
        x = fresh.sample((2,), rng=1) if x is None else x
        assert_same_bits(d.log_prob(x), fresh.log_prob(x))
        assert_same_bits(d.entropy(), fresh.entropy())
        for name in ("probs", "logits", "mean", "mode"):
            assert_same_bits(np.array(getattr(d, name)), np.array(getattr(fresh, name)))
        for ours, theirs in ((d, fresh), (d[1:], fresh[1:])):
            _, pullback = fd.vjp(ours.entropy)
            assert_same_bits(pullback(1.0)[given], fd.vjp(theirs.entropy)[1](1.0)[given])
        memory[...] = g.uniform(0.1, 0.9, (3, 4))
    with pytest.raises(ValueError, match=given):
        cls._borrowing(True, **{given: np.full((3, 4), np.nan)})


# ---- extreme parameters --------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [fd.Categorical, fd.OneHotCategorical])
def test_one_outcome(cls):
    """Which has probability 1, whatever it was given by."""
    for d in (cls([3.0]), cls(logits=[-1e4]), cls(logits=np.full((2, 1), 1e4))):
        x, density = d.sample_and_log_prob((5,), rng=0)
        assert np.all(x == (1 if cls is fd.OneHotCategorical else 0))
        assert not np.any(density)
        assert not np.any(d.entropy())
        assert not np.any(fd.kl_divergence(d, d))
        for method, arguments in ((d.log_prob, (x,)), (d.entropy, ())):
            gradients = fd.vjp(method, *arguments)[1](1.0)
            assert not np.any(gradients["probs" if "probs" in gradients else "logits"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_of_ten_thousand(dtype):
    """Probabilities of 0 and 1, logarithms with all their digits."""
    logits = np.array([1e4, -1e4, 0.0, 1e4], dtype)
    d, b = fd.Categorical(logits=logits), fd.Bernoulli(logits=logits)
    np.testing.assert_allclose(d.log_prob([0, 1, 2, 3]), [0, -2e4, -1e4, 0] - np.log(2), rtol=1e-6)
    np.testing.assert_array_equal(d.probs, [0.5, 0, 0, 0.5])
    assert set(d.sample(1000, rng=0).tolist()) == {0, 3}
    np.testing.assert_allclose(d.entropy(), np.log(2), rtol=1e-6)
    np.testing.assert_array_equal(b.log_prob(1.0), np.array([0, -1e4, -np.log(2), 0], dtype))
    np.testing.assert_array_equal(b.log_prob(0.0), np.array([-1e4, 0, -np.log(2), -1e4], dtype))
    np.testing.assert_array_equal(b.sample(rng=0)[[0, 1, 3]], [1, 0, 1])
    for one, other in ((d, fd.Categorical(logits=np.zeros(4, dtype))), (b, fd.Bernoulli(logits=-logits))):
        value, pullback = fd.vjp(fd.kl_divergence, one, other)
        assert np.isfinite(value).all()
        for side in pullback(1.0).values():
            assert np.isfinite(side["logits"]).all()
        x = one.sample(rng=0)
        assert np.isfinite(fd.vjp(one.log_prob, x)[1](1.0)["logits"]).all()
    np.testing.assert_allclose(fd.kl_divergence(b, fd.Bernoulli(logits=-logits))[[0, 1, 3]], 1e4, rtol=1e-6)
