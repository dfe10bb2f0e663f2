"""TruncatedNormal against mpmath: far in both tails, narrow, half-open; draws, moments, cdf family, gradients."""

import copy
import functools
import math
import pickle

import mpmath
import numpy as np
import pytest
from cases import DTYPES, assert_same_bits

import fastdist as fd
from fastdist import constraints

INF = np.inf
# loc, scale, low, high
CASES = [
    (0.0, 1.0, -1.0, 2.0),
    (0.5, 2.0, -INF, 1.0),
    (-1.0, 0.25, -1.1, INF),
    (3.0, 2.0, -INF, INF),
    (0.0, 1.0, -9.0, 30.0),
    (0.0, 1.0, 40.0, 41.0),
    (0.0, 1.0, -41.0, -40.0),
    (0.0, 1.0, 8.0, INF),
    (0.0, 1.0, -INF, -8.0),
    (0.0, 1.0, 0.0, INF),
    (0.0, 1.0, 1.5, 1.5 + 2.0**-40),
    (0.0, 1.0, -(2.0**-41), 2.0**-41),
    (0.0, 1.0, 0.3, 0.4),
    (-1e10, 1.0, 0.0, INF),
    (1e10, 1.0, -1.0, 0.0),
    (0.0, 1e-3, 35.0, 35.001),
    (0.0, 1.0, -0.001, 12.0),
    (1e-300, 1e-300, -INF, 3e-300),
    (0.0, 1e150, -1e150, 5e150),
    (0.0, 1.0, -1e3, 1e3),
]
IDS = [f"{loc:g}-{scale:g}-[{low:.3g}, {high:.3g}]" for loc, scale, low, high in CASES]


@pytest.fixture(autouse=True)
def _digits():
    """So many that the textbook's formulas may cancel."""
    with mpmath.workdps(120):
        yield


def normal_mass(a, b):
    """Phi(b) - Phi(a)."""
    if a + b < 0:
        a, b = -b, -a
    return (mpmath.erfc(a / mpmath.sqrt(2)) - mpmath.erfc(b / mpmath.sqrt(2))) / 2


def moment(n, z):
    """z^n phi(z), 0 at infinity."""
    return mpmath.mpf(0) if mpmath.isinf(z) else z**n * mpmath.npdf(z)


class Exact:
    """Of one of them, by the formulas of the textbook."""

    def __init__(self, loc, scale, low, high):
        self.loc, self.scale = mpmath.mpf(loc), mpmath.mpf(scale)
        self.low, self.high = self.z(low), self.z(high)
        self.mass = normal_mass(self.low, self.high)
        self.mode = min(max(self.loc, mpmath.mpf(low)), mpmath.mpf(high))
        at_low, at_high = ([moment(n, z) / self.mass for n in (0, 1)] for z in (self.low, self.high))
        self.first, self.second = at_low[0] - at_high[0], 1 + at_low[1] - at_high[1]
        self.spread = self.second - self.first**2

    def z(self, x):
        return (mpmath.mpf(x) - self.loc) / self.scale

    def cdf(self, x):
        return normal_mass(self.low, self.z(x)) / self.mass

    def survival(self, x):
        return normal_mass(self.z(x), self.high) / self.mass

    def log_prob(self, x):
        return mpmath.log(mpmath.npdf(self.z(x)) / (self.scale * self.mass))

    def mean(self):
        return self.loc + self.scale * self.first

    def entropy(self):
        return mpmath.log(mpmath.sqrt(2 * mpmath.pi) * self.scale * self.mass) + self.second / 2


def points(d, n=9):
    """Values between the bounds, near them too, as the distribution has them."""
    p = np.array([1e-12, 1e-3, 0.05, 0.3, 0.5, 0.8, 0.99, 1 - 1e-6])
    x = np.unique(np.concatenate([d.icdf(p), d.mean[None]]))
    return x[(d.low < x) & (x < d.high)]


def close(got, wanted, rtol, atol=0.0):
    wanted = float(wanted)
    assert abs(float(got) - wanted) <= rtol * abs(wanted) + atol, (float(got), wanted)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_moments_and_entropy(case):
    """Those of t to 1e-14 and so what is made of them; the spread loses some digits of a square."""
    exact, d = Exact(*case), fd.TruncatedNormal(*case)
    stddev = exact.scale * mpmath.sqrt(exact.spread)
    close(d.mean, exact.mean(), 4e-16, 1e-14 * float(stddev))
    assert case[2] <= d.mean <= case[3]
    assert d.mode == exact.mode
    close(d.stddev, stddev, 1e-14)
    if 1e-150 < case[1] < 1e150:
        close(d.variance, stddev**2, 2e-14)
    close(d.entropy(), exact.entropy(), 2e-15, 1e-14)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_densities(case, isa):
    exact, d = Exact(*case), fd.TruncatedNormal(*case)
    for x in points(d).tolist():
        # The value itself is rounded, and so is its distance from the mode.
        close(d.log_prob(x), exact.log_prob(x), 1e-14, 1e-14)
    for bound, beyond in ((case[2], -INF), (case[3], INF)):
        if math.isfinite(bound):
            close(d.log_prob(bound), exact.log_prob(bound), 1e-14, 1e-14)
            assert d.log_prob(np.nextafter(bound, beyond)) == -INF
    assert d.log_prob(-INF) == d.log_prob(INF) == -INF
    assert np.isnan(d.log_prob(np.nan))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_cdf_family(case, isa):
    exact, d = Exact(*case), fd.TruncatedNormal(*case)
    for x in points(d).tolist():
        lower, upper = exact.cdf(x), exact.survival(x)
        close(d.cdf(x), lower, 1e-13)
        close(d.survival_function(x), upper, 1e-13)
        close(d.log_cdf(x), mpmath.log(lower), 1e-13, 1e-13 if lower < 0.5 else 0)
        close(d.log_survival_function(x), mpmath.log(upper), 1e-13, 1e-13 if upper < 0.5 else 0)
    ends = [case[2], case[3]]
    np.testing.assert_array_equal(d.cdf(ends), [0, 1])
    np.testing.assert_array_equal(d.survival_function(ends), [1, 0])
    np.testing.assert_array_equal(d.log_cdf(ends), [-INF, 0])
    np.testing.assert_array_equal(d.log_survival_function(ends), [0, -INF])
    np.testing.assert_array_equal(d.cdf([-INF, INF]), [0, 1])
    assert np.isnan([d.cdf(np.nan), d.survival_function(np.nan), d.log_cdf(np.nan)]).all()


PROBABILITIES = [1e-300, 1e-30, 1e-12, 1e-3, 0.1, 0.4, 0.5, 0.7, 0.95, 1 - 1e-9]


@functools.cache
def exactly(case, digits):
    with mpmath.workdps(digits):
        return Exact(*case)


@functools.cache  # for all instruction sets, whose quantiles are the same
def exactly_at(case, x, p):
    """The mass below and above, and the density; to digits enough for masses of p next to a bound."""
    digits = 120 if p > 1e-50 else 350  # which take fifty times as long
    with mpmath.workdps(digits):
        exact = exactly(case, digits)
        return exact.cdf(x), exact.survival(x), mpmath.exp(exact.log_prob(x))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_quantiles(case, isa):
    """The mass below is right, to the rounding of the quantile itself."""
    d = fd.TruncatedNormal(*case)
    for p in PROBABILITIES:
        for x, side, wanted in (
            (d.icdf(p), 0, p),
            (d.isf(p), 1, p),
            (d.log_icdf(math.log(p)), 0, mpmath.exp(mpmath.mpf(math.log(p)))),
        ):
            x = float(x)
            assert case[2] <= x <= case[3]
            *masses, density = exactly_at(case, x, p)
            off = abs(masses[side] - wanted) / density
            near = min(abs(x - case[2]), abs(case[3] - x), abs(x - case[0]))
            assert (
                off
                <= 1.5 * np.spacing(abs(x)) + 4e-15 * min(near, abs(x) + case[1]) + 1e-14 * wanted / density
            ), p
    np.testing.assert_array_equal(d.icdf([0.0, 1.0]), case[2:])
    np.testing.assert_array_equal(d.isf([0.0, 1.0]), case[:1:-1])
    np.testing.assert_array_equal(d.log_icdf([-INF, 0.0]), case[2:])
    assert np.isnan([d.icdf(np.nan), d.isf(np.nan), d.log_icdf(np.nan)]).all()


def test_quantiles_of_tiny_probabilities(isa):
    """Below the smallest number, as a logarithm; an untruncated side goes on as the normal's does."""
    log_p = np.array([-1e3, -1e4, -1e8])
    whole, normal = fd.TruncatedNormal(0.0, 1.0, -INF, INF), fd.Normal(0.0, 1.0)
    np.testing.assert_allclose(whole.log_icdf(log_p), normal.log_icdf(log_p), rtol=1e-15)
    half = fd.TruncatedNormal(0.0, 1.0, -INF, 0.0)
    np.testing.assert_allclose(half.log_icdf(log_p), normal.log_icdf(log_p - np.log(2)), rtol=1e-14)
    np.testing.assert_array_equal(fd.TruncatedNormal(0.0, 1.0, -3.0, 0.0).log_icdf(log_p), -3.0)
    p = np.array([1e-320, 1e-200, 1e-20, 0.3])
    np.testing.assert_allclose(whole.icdf(p), normal.icdf(p), rtol=2e-15)
    np.testing.assert_allclose(whole.isf(p), normal.isf(p), rtol=2e-15)


# ---- draws ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_draw_has_the_mass_of_its_normal_below_it(case, isa):
    d = fd.TruncatedNormal(*case)
    eps = np.sort(fd.standard_normal(2000, rng=3))
    x = np.sort(d.sample(2000, rng=3))
    assert np.all((case[2] <= x) & (x <= case[3]))
    exact = Exact(*case)
    for i in (0, 3, 100, 500, 999, 1500, 1997, 1999):
        e = mpmath.mpf(float(eps[i]))
        wanted, mass = (mpmath.ncdf(e), exact.cdf) if e < 0 else (mpmath.ncdf(-e), exact.survival)
        density = mpmath.exp(exact.log_prob(float(x[i])))
        off = abs(mass(float(x[i])) - wanted) / density
        assert off <= 1.5 * np.spacing(abs(x[i])) + 2e-14 * float(d.stddev) + 1e-13 * wanted / density


def test_without_bounds_it_is_the_normal(isa):
    """To rounding: a draw is the colour of its noise."""
    x = fd.TruncatedNormal(3.0, 2.0, -INF, INF).sample(10000, rng=0)
    np.testing.assert_allclose(x, fd.Normal(3.0, 2.0).sample(10000, rng=0), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_statistics(dtype):
    """Kolmogorov's distance of 1e5 draws; a false alarm in 1e5 runs each, seeds are fixed."""
    n = 100_000
    for case in CASES[:13]:
        if dtype is np.float32 and case[3] - case[2] < 1e-6:
            continue
        d = fd.TruncatedNormal(*np.array(case, dtype))
        x = np.sort(d.sample(n, rng=5))
        p = fd.TruncatedNormal(*case).cdf(x.astype(float))
        grid = np.arange(n + 1) / n
        distance = max((grid[1:] - p).max(), (p - grid[:-1]).max())
        ties = 2e-3 if dtype is np.float32 and case[3] - case[2] < 1.5 else 0  # rounded values
        assert distance * np.sqrt(n) < 2.5 + ties * np.sqrt(n)


def test_a_draw_depends_on_its_place_alone(isa):
    g = np.random.default_rng(0)
    loc, scale = g.normal(size=(3, 1)), g.uniform(0.5, 2, 4)
    low = np.array([-INF, -1.0, 2.0, 0.1])
    d = fd.TruncatedNormal(loc, scale, low, [5.0, 0.5, INF, 0.101])
    whole = d.sample(7, rng=1)
    stream = fd.default_rng(1)
    assert_same_bits(np.concatenate([d.sample(3, rng=stream), d.sample(4, rng=stream)]), whole)
    assert_same_bits(d.sample(7, rng=1, workers=2), whole)
    p, wanted = d.cdf(whole), fd.Normal(0.0, 1.0).cdf(fd.standard_normal((7, 3, 4), rng=1))
    np.testing.assert_allclose(p, wanted, rtol=1e-9)
    assert_same_bits(d[1:].sample(rng=3), fd.TruncatedNormal(loc[1:], scale, low, d.high[1:]).sample(rng=3))


# ---- gradients ---------------------------------------------------------------------------------------


SMOOTH = [case for case in CASES if case[3] - case[2] > 1e-3 and abs(case[0]) < 100 and 1e-2 < case[1] < 100]


@pytest.mark.parametrize("case", SMOOTH, ids=lambda case: f"[{case[2]:g}, {case[3]:g}]")
@pytest.mark.parametrize("method", ["rsample", "log_prob", "entropy"])
def test_gradients_against_finite_differences(method, case):
    d = fd.TruncatedNormal(*case)
    value = d.sample(6, rng=2)
    arguments = {"rsample": ((6,), {"rng": 2}), "log_prob": ((value,), {}), "entropy": ((), {})}[method]
    y, pullback = fd.vjp(getattr(d, method), *arguments[0], **arguments[1])
    c = np.linspace(0.5, 1.5, y.size).reshape(y.shape)
    found = pullback(c)
    for k, name in enumerate(("loc", "scale", "low", "high")):
        if not math.isfinite(case[k]):
            assert found[name] == 0
            continue
        h = 1e-3 * float(d.stddev)

        def moved(h, k=k):
            parameters = list(case)
            parameters[k] += h
            e = fd.TruncatedNormal(*parameters, validate_args=False)
            if method == "log_prob":  # of values that stay inside
                kept = (value > d.low + 1e-2 * d.stddev) & (value < d.high - 1e-2 * d.stddev)
                return np.sum(np.where(kept, c * e.log_prob(value), 0)), kept
            return np.sum(c * getattr(e, method)(*arguments[0], **arguments[1])), True

        slopes = [(moved(t)[0] - moved(-t)[0]) / (2 * t) for t in (h, h / 2)]
        wanted = (4 * slopes[1] - slopes[0]) / 3
        if method == "log_prob":
            kept = moved(0)[1]
            got = fd.vjp(d.log_prob, value)[1](np.where(kept, c, 0))[name]
        else:
            got = found[name]
        assert abs(got - wanted) <= 2e-6 * (abs(wanted) + 1 / (float(d.stddev) if method != "rsample" else 1))


def test_gradients_broadcast_and_nest(isa):
    g = np.random.default_rng(0)
    loc, scale, low = g.normal(size=(3, 1)), g.uniform(0.5, 2, 4), np.float64(-1.0)
    d = fd.TruncatedNormal(loc, scale, low, [INF, 1.0, 2.0, 0.5])
    full = fd.TruncatedNormal(
        *[np.broadcast_to(d.parameters[k], (3, 4)).copy() for k in ("loc", "scale", "low", "high")]
    )
    ind = fd.Independent(d, 1)
    value, c = d.sample(5, rng=1), g.normal(size=(5, 3, 4))
    for method, arguments in (("rsample", ((5,), {"rng": 1})), ("log_prob", ((value,), {}))):
        y, pullback = fd.vjp(getattr(d, method), *arguments[0], **arguments[1])
        found, of_full = pullback(c), fd.vjp(getattr(full, method), *arguments[0], **arguments[1])[1](c)
        assert {k: v.shape for k, v in found.items() if k != "value"} == {
            "loc": (3, 1), "scale": (4,), "low": (), "high": (4,)
        }  # fmt: skip
        np.testing.assert_allclose(found["loc"], of_full["loc"].sum(1, keepdims=True), rtol=1e-12)
        np.testing.assert_allclose(found["scale"], of_full["scale"].sum(0), rtol=1e-12)
        np.testing.assert_allclose(found["low"], of_full["low"].sum(), rtol=1e-12)
        np.testing.assert_allclose(found["high"], of_full["high"].sum(0), rtol=1e-12, atol=1e-15)
        if method == "rsample":
            np.testing.assert_array_equal(fd.vjp(ind.rsample, 5, rng=1)[1](c)["loc"], found["loc"])
    y, pullback = fd.vjp(ind.log_prob, value)
    np.testing.assert_allclose(y, d.log_prob(value).sum(-1), rtol=1e-13)
    repeated = fd.vjp(d.log_prob, value)[1](np.repeat(c[..., :1], 4, -1))
    for name, one in pullback(c[..., 0]).items():
        np.testing.assert_allclose(one, repeated[name], rtol=1e-12, atol=1e-13)


QUANTILES = ("icdf", "isf", "log_icdf")
FAMILY = ("cdf", "survival_function", "log_cdf", "log_survival_function", *QUANTILES)


def exact_quantile(exact, method, value, x):
    """The number with this mass below or above it, near x."""
    x, wanted = mpmath.mpf(x), mpmath.mpf(value)
    wanted = mpmath.exp(wanted) if method == "log_icdf" else wanted
    for _ in range(6):
        mass = exact.survival(x) - wanted if method == "isf" else wanted - exact.cdf(x)
        x += mass / mpmath.exp(exact.log_prob(x))
    return x


def exact_gradients(method, case, value, x):
    """By the textbook's derivatives of the mass below x, and of what it is made of."""
    exact = Exact(*case)
    x = exact_quantile(exact, method, value, x) if method in QUANTILES else mpmath.mpf(x)
    below, above = exact.cdf(x), exact.survival(x)

    def density(z):
        return mpmath.mpf(0) if mpmath.isinf(z) else mpmath.npdf(z) / (exact.scale * exact.mass)

    z, low, high = exact.z(x), exact.low, exact.high
    by = {"value": density(z), "low": -density(low) * above, "high": -density(high) * below}
    by["loc"] = -by["value"] - by["low"] - by["high"]
    at_low, at_high = (
        0 if mpmath.isinf(bound) else bound * by[name] for bound, name in ((low, "low"), (high, "high"))
    )
    by["scale"] = -z * by["value"] - at_low - at_high
    if method in ("icdf", "isf", "log_icdf"):
        slope = {"icdf": 1, "isf": -1, "log_icdf": below}[method] / by["value"]
        return {**{name: -one / by["value"] for name, one in by.items()}, "value": slope}
    times = {"cdf": 1, "survival_function": -1, "log_cdf": 1 / below, "log_survival_function": -1 / above}[
        method
    ]
    return {name: times * one for name, one in by.items()}


@pytest.mark.parametrize("case", CASES, ids=IDS)
@pytest.mark.parametrize("method", FAMILY)
def test_gradients_of_the_cdf_family(method, case, isa):
    """Right to the rounding of the arguments, however far in a tail the bounds are."""
    d = fd.TruncatedNormal(*case)
    if method in QUANTILES:
        values = np.array([1e-12, 1e-3, 0.05, 0.3, 0.5, 0.8, 0.99, 1 - 1e-9])
        values = np.log(values) if method == "log_icdf" else values
    else:
        values = points(d)
    results, pullback = fd.vjp(getattr(d, method), values)
    single = [fd.vjp(getattr(d, method), value)[1](1.0) for value in values]
    assert_same_bits(pullback(1.0)["value"], np.array([one["value"] for one in single]))
    for value, x, found in zip(values.tolist(), results.tolist(), single, strict=True):
        wanted = exact_gradients(method, case, value, x if method in QUANTILES else value)
        for name, one in wanted.items():
            # By a scale there are terms of both signs; of a quantile so near a bound its distance is rounded.
            near = 1e-14 * abs(wanted["loc"]) if name == "scale" else 0
            if method in QUANTILES:
                near += 2e-14 * (case[1] if name == "value" else 1)
            close(found[name], one, 1e-11, float(near))


def test_gradients_of_the_cdf_family_at_the_ends(isa):
    """Finite at values that have no more mass before them, and 0 beyond the bounds."""
    d = fd.TruncatedNormal(0.0, 1.0, [-INF, 0.0, 40.0], [INF, 1.0, INF])
    value = np.array([-100.0, 100.0, 1e100, -1e100, 0.0, 1.0, 40.0, 41.0])[:, None]
    for method in ("cdf", "survival_function", "log_cdf", "log_survival_function"):
        for one in fd.vjp(getattr(d, method), value)[1](1.0).values():
            assert np.isfinite(one).all(), method
        outside = fd.vjp(getattr(d[1], method), [-0.5, 1.5, -INF, INF])[1](1.0)
        assert not any(np.any(one) for one in outside.values())
        assert np.isnan(fd.vjp(getattr(d[1], method), np.nan)[1](1.0)["value"])
    inside = fd.TruncatedNormal(0.0, 1.0, -2.0, 3.0)
    np.testing.assert_allclose(
        fd.vjp(inside.cdf, [-2.0, 3.0])[1](1.0)["value"], inside.prob([-2.0, 3.0]), rtol=1e-14
    )
    for p, bound in ((0.0, "low"), (1.0, "high")):
        found = fd.vjp(inside.icdf, p)[1](1.0)
        assert found[bound] == 1
        assert not any(found[name] for name in ("loc", "scale", "low", "high") if name != bound)
        np.testing.assert_allclose(found["value"], 1 / inside.prob(getattr(inside, bound)), rtol=1e-14)
    whole = fd.TruncatedNormal(1.0, 2.0, -INF, INF)
    found = fd.vjp(whole.icdf, 0.0)[1](1.0)
    assert (found["loc"], found["scale"], found["value"]) == (1, -INF, INF)


def test_gradients_of_the_cdf_family_without_bounds(isa):
    """Those of the normal."""
    whole, normal = fd.TruncatedNormal(0.5, 2.0, -INF, INF), fd.Normal(0.5, 2.0)
    for method in FAMILY:
        value = np.linspace(0.01, 0.99, 23) if method in QUANTILES else np.linspace(-30, 30, 23)
        value = np.log(value) if method == "log_icdf" else value
        (_, ours), (_, theirs) = (fd.vjp(getattr(d, method), value) for d in (whole, normal))
        found, wanted = ours(1.0), theirs(1.0)
        for name in ("loc", "scale", "value"):
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-12, atol=1e-13, err_msg=method)
        assert not found["low"]
        assert not found["high"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", FAMILY)
def test_gradients_of_the_cdf_family_broadcast(method, dtype, isa):
    """Sums over what was broadcast, of float32 as of float64 to its rounding."""
    g = np.random.default_rng(0)
    arrays = g.normal(size=(3, 1)), g.uniform(0.5, 2, 4), np.float64(-1.0), np.array([INF, 1.0, 2.0, 0.5])
    d = fd.TruncatedNormal(*[array.astype(dtype) for array in arrays])
    wide = fd.TruncatedNormal(
        *[np.broadcast_to(array, (3, 4)).astype(dtype).astype(float) for array in arrays]
    )
    value = g.uniform(0.05, 0.95, (5, 1, 4)) if method in QUANTILES else g.uniform(-0.9, 0.4, (5, 1, 4))
    value = (np.log(value) if method == "log_icdf" else value).astype(dtype)
    c = g.normal(size=(5, 3, 4)).astype(dtype)
    found = fd.vjp(getattr(d, method), value)[1](c)
    wanted = fd.vjp(getattr(wide, method), value.astype(float))[1](c.astype(float))
    wanted |= {"loc": wanted["loc"].sum(1, keepdims=True), "scale": wanted["scale"].sum(0)}
    wanted |= {"low": wanted["low"].sum(), "high": wanted["high"].sum(0)}
    tolerance = 1e-12 if dtype is np.float64 else 3e-5
    for name, one in wanted.items():
        assert (found[name].shape, found[name].dtype) == (np.shape(one), dtype)
        np.testing.assert_allclose(found[name], one, rtol=tolerance, atol=tolerance, err_msg=name)
    none = fd.vjp(getattr(d, method), value[:0])[1](c[:0])
    assert not any(np.any(one) for one in none.values())


def test_gradients_outside_are_zero():
    d = fd.TruncatedNormal(0.0, 1.0, -1.0, 1.0)
    _, pullback = fd.vjp(d.log_prob, np.array([-2.0, 3.0]))
    for one in pullback(np.ones(2)).values():
        np.testing.assert_array_equal(one, np.zeros_like(one))


def test_gradient_of_draws_by_the_bounds_at_the_bounds():
    """A draw at a bound goes with it."""
    d = fd.TruncatedNormal(0.0, 1.0, -1.0, 1.0)
    x, pullback = fd.vjp(d.rsample, 1000, rng=0)
    c = np.zeros(1000)
    c[np.argmax(x)] = 1
    found = pullback(c)
    assert found["high"] > 0.99
    assert abs(found["loc"] + found["low"] + found["high"] - 1) < 1e-14


# ---- divergences --------------------------------------------------------------------------------------


PAIRS = [
    ((0.0, 1.0, -1.0, 2.0), (0.5, 2.0, -3.0, INF)),
    ((0.0, 1.0, 8.0, INF), (1.0, 0.5, 7.9, INF)),
    ((0.0, 1.0, -41.0, -40.0), (0.0, 1.5, -41.0, 0.0)),
    ((3.0, 2.0, -INF, 1.0), (2.0, 1.0, -INF, 1.0)),
    ((0.0, 1.0, 0.3, 0.4), (5.0, 0.3, 0.0, 1.0)),
]


def exact_kl(p, q):
    """By the closed form, whose terms may cancel in 120 digits."""
    of_p, of_q = Exact(*p), Exact(*q)
    mean, square = of_p.mean(), of_p.scale**2 * of_p.second + 2 * of_p.loc * of_p.mean() - of_p.loc**2
    log_q = -(square - 2 * of_q.loc * mean + of_q.loc**2) / (2 * of_q.scale**2)
    log_q -= mpmath.log(mpmath.sqrt(2 * mpmath.pi) * of_q.scale * of_q.mass)
    return -of_p.entropy() - log_q


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_divergences(p, q):
    close(fd.kl_divergence(fd.TruncatedNormal(*p), fd.TruncatedNormal(*q)), exact_kl(p, q), 1e-13, 4e-15)
    whole = (*q[:2], -INF, INF)
    close(fd.kl_divergence(fd.TruncatedNormal(*p), fd.Normal(*q[:2])), exact_kl(p, whole), 1e-13, 4e-15)
    assert fd.kl_divergence(fd.TruncatedNormal(*p), fd.TruncatedNormal(*p)) == 0


@pytest.mark.parametrize("case", [*CASES[:6], *CASES[7:9], CASES[10], CASES[12], CASES[19]], ids=str)
@pytest.mark.parametrize("distance", [1.0, 0.3, 0.1, 0.03, 1e-3, 1e-6, 1e-10, 1e-15])
def test_divergences_near_0(case, distance, isa):
    """As many digits however near p and q are, with bounds that differ, too."""
    loc, scale, low, high = case
    wider = 0.1 * min(distance, 1) * min(high - low, scale / (1 + abs(low - loc) / scale))
    other = loc + 0.7 * distance * scale, scale * (1 + 0.3 * distance), low - wider, high
    if low == -INF:
        other = (*other[:2], low, high)
    got = fd.kl_divergence(fd.TruncatedNormal(*case), fd.TruncatedNormal(*other))
    close(got, exact_kl(case, other), 2e-13)


def test_divergences_of_batches():
    p = fd.TruncatedNormal(np.zeros((3, 1)), 1.0, [0.0, -2.0], 1.0)
    q = fd.TruncatedNormal([0.5, 1.0], 2.0, -1.0, 1.0)
    kl = fd.kl_divergence(p, q)
    assert kl.shape == (3, 2)
    np.testing.assert_array_equal(np.isinf(kl), [[False, True]] * 3)  # p has events that q has not
    ind = fd.kl_divergence(fd.Independent(p[:, :1], 1), fd.Independent(q[:1], 1))
    np.testing.assert_array_equal(ind, kl[:, 0])
    single = fd.kl_divergence(fd.TruncatedNormal(*np.array([0, 1, 0, 1], np.float32)), q)
    assert single.dtype == np.float64
    assert not np.any(fd.kl_divergence(p, p))


@pytest.mark.parametrize(("p", "q"), PAIRS[:4])
@pytest.mark.parametrize("normal", [False, True])
def test_gradients_of_divergences(p, q, normal):
    names = ("loc", "scale", "low", "high")

    def value(p, q):
        other = fd.Normal(*q[:2]) if normal else fd.TruncatedNormal(*q)
        return fd.kl_divergence(fd.TruncatedNormal(*p), other)

    other = fd.Normal(*q[:2]) if normal else fd.TruncatedNormal(*q)
    _, pullback = fd.vjp(fd.kl_divergence, fd.TruncatedNormal(*p), other)
    found = pullback(1.0)
    assert set(found["q"]) == set(names[: 2 if normal else 4])
    for side, case in (("p", p), ("q", q)):
        for k, name in enumerate(names[: 2 if normal and side == "q" else 4]):
            if not math.isfinite(case[k]) or (p[k] == q[k] and k > 1):
                continue
            h = 1e-4

            def moved(t, k=k, case=case, side=side):
                other = tuple(v + t * (i == k) for i, v in enumerate(case))
                return value(other, q) if side == "p" else value(p, other)

            slopes = [(moved(t) - moved(-t)) / (2 * t) for t in (h, h / 2)]
            wanted = (4 * slopes[1] - slopes[0]) / 3
            assert abs(found[side][name] - wanted) <= 1e-6 * (1 + abs(wanted)), (side, name)


# ---- the object ---------------------------------------------------------------------------------------


def test_shapes_and_objects():
    d = fd.TruncatedNormal(np.zeros((3, 1)), [1.0, 2.0], -1.0, INF)
    assert (d.batch_shape, d.event_shape, d.dtype) == ((3, 2), (), np.float64)
    assert repr(d) == "TruncatedNormal(loc: (3, 2), scale: (3, 2), low: (3, 2), high: (3, 2))"
    assert repr(d[0, 1]) == "TruncatedNormal(loc: 0.0, scale: 2.0, low: -1.0, high: inf)"
    x = d.sample(4, rng=0)
    for other in (copy.deepcopy(d), pickle.loads(pickle.dumps(d)), type(d)(**d.parameters), d.expand((3, 2))):
        assert_same_bits(other.sample(4, rng=0), x)
        assert_same_bits(other.log_prob(x), d.log_prob(x))
    assert_same_bits(d.replace(low=-2.0).low, np.full((3, 2), -2.0))
    for method in ("mean", "variance", "stddev", "mode", "low", "high", "loc", "scale"):
        assert getattr(d, method).shape == (3, 2)
        assert not getattr(d, method).flags.writeable
    assert fd.TruncatedNormal(np.zeros((0, 2)), 1.0, 0.0, 1.0).sample(3, rng=0).shape == (3, 0, 2)
    assert fd.TruncatedNormal(np.zeros((0, 2)), 1.0, 0.0, 1.0).entropy().shape == (0, 2)
    single = fd.TruncatedNormal(*np.array([0, 1, 8, INF], np.float32))
    assert single.sample(rng=0).dtype == single.mean.dtype == single.entropy().dtype == np.float32
    assert_same_bits(fd.stack([d[0], d[1]]).sample(rng=0), d[:2].sample(rng=0))


def test_support():
    d = fd.TruncatedNormal(np.zeros(2), 1.0, [-1.0, 0.0], 2.0)
    np.testing.assert_array_equal(d.support.check([[0.0, -0.5], [2.0, 3.0]]), [[True, False], [True, False]])
    assert d.support == constraints.interval([-1.0, 0.0], [2.0, 2.0])
    assert d.support == pickle.loads(pickle.dumps(d.support))
    assert d.support != constraints.interval(-1.0, 2.0)
    assert hash(d.support) == hash(d.support)
    assert repr(fd.TruncatedNormal(0.0, 1.0, -INF, 2.0).support) == "interval(-inf, 2)"


def test_errors():
    message = r"low must be below high: shapes low \(2,\), high \(\), at \(1,\) they are 3\.0 and 2\.0"
    with pytest.raises(ValueError, match=message):
        fd.TruncatedNormal(0.0, 1.0, [1.0, 3.0], 2.0)
    for low, high in ((1.0, 1.0), (INF, INF), (-INF, -INF)):
        with pytest.raises(ValueError, match="low must be below high"):
            fd.TruncatedNormal(0.0, 1.0, low, high)
    with pytest.raises(ValueError, match=r"low must be below high: .* they are nan and 1"):
        fd.TruncatedNormal(0.0, 1.0, np.nan, 1.0)
    with pytest.raises(ValueError, match="loc must be finite"):
        fd.TruncatedNormal(INF, 1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        fd.TruncatedNormal(0.0, 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="do not broadcast"):
        fd.TruncatedNormal(np.zeros(2), 1.0, np.zeros(3), 1.0)
    d = fd.TruncatedNormal(0.0, 1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="value must be a probability"):
        d.icdf(1.5)
    with pytest.raises(ValueError, match="value must be a log probability"):
        d.log_icdf(0.5)
    free = fd.TruncatedNormal(0.0, 1.0, 0.0, 1.0, validate_args=False)
    assert np.isnan([free.icdf(1.5), free.isf(-0.1), free.log_icdf(0.1)]).all()


@pytest.mark.skipif(len(fd.isas()) == 1, reason="one ISA only")
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_isa_has_the_same_bits(dtype):
    before, found = fd.isa(), {}
    cases = np.array(CASES if dtype is np.float64 else CASES[:13], dtype)
    try:
        for isa in fd.isas():
            fd.set_isa(isa)
            d = fd.TruncatedNormal(*cases.T, validate_args=False)
            x = d.sample(11, rng=0)
            p = np.linspace(0, 1, 11, dtype=dtype)[:, None]
            found[isa] = [
                x, d.log_prob(x), d.entropy(), d.mean, d.variance, d.cdf(x), d.survival_function(x), d.log_cdf(x),
                d.log_survival_function(x), d.icdf(p), d.isf(p), d.log_icdf(-10 * p), fd.Independent(d, 1).log_prob(x),
                *fd.vjp(d.rsample, 11, rng=0)[1](np.ones_like(x)).values(),
                *fd.vjp(d.log_prob, x)[1](np.ones_like(x)).values(),
                *(one for method in FAMILY[:4] for one in fd.vjp(getattr(d, method), x)[1](1.0).values()),
                *(one for method in FAMILY[4:6] for one in fd.vjp(getattr(d, method), p)[1](1.0).values()),
                *fd.vjp(d.log_icdf, -10 * p)[1](1.0).values(),
            ]  # fmt: skip
    finally:
        fd.set_isa(before)
    for isa in fd.isas()[1:]:
        for a, b in zip(found[isa], found["scalar"], strict=True):
            np.testing.assert_array_equal(a, b)
