"""The cdf family against mpmath: a few ulp, far in both tails, for any loc and scale."""

import accuracy
import mpmath
import numpy as np
import pytest
from cases import DTYPES, assert_same_bits

import fastdist as fd

INF = np.inf
ULP = {np.float32: 0.6, np.float64: 2}
LOC_SCALE = [(0.0, 1.0), (0.7, 0.3), (-123.456, 1e-3), (1e10, 3.7), (1e-300, 1e-300), (-2e290, 1e299)]
LOC_SCALE_F32 = [(0.0, 1.0), (0.7, 0.3), (-123.456, 1e-3), (1e-30, 1e-30), (-2e29, 1e30)]


def exact(verb, z):
    """The function at an mpmath number, to a hundred digits."""
    if "survival" in verb:
        z = -z
    upper = mpmath.erfc(abs(z) / mpmath.sqrt(2)) / 2
    if verb.startswith("log"):
        return mpmath.log(upper) if z < 0 else mpmath.log1p(-upper)
    return upper if z < 0 else 1 - upper


def ulps(got, wanted, dtype):
    """How far off `got` is, in units of the last place of the exact value; 0 for inf and zero where they are right."""
    nearest = dtype(float(wanted))
    if got == nearest:
        return 0.0
    if not (np.isfinite(got) and np.isfinite(nearest)):
        return INF
    return abs(float((mpmath.mpf(float(got)) - wanted) / mpmath.mpf(float(np.spacing(abs(nearest))))))


Z = np.concatenate([np.linspace(-40, 40, 161), [-1e-8, -1e-300, 1e-300, 1e-8, 1e-3, -37.7, 8.2, 8.3, 5.42]])
FAR = np.array([-1e153, -1e100, -1e10, -1e4, -100.0, 100.0, 1e4, 1e100])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("verb", ["cdf", "survival_function", "log_cdf", "log_survival_function"])
def test_against_mpmath(verb, dtype, isa):
    worst = 0.0
    for loc, scale in map(np.array, LOC_SCALE if dtype is np.float64 else LOC_SCALE_F32):
        z = np.concatenate([Z, FAR]) if scale == 1 and dtype is np.float64 else Z
        x = (loc + scale * z).astype(dtype)
        loc, scale = dtype(loc), dtype(scale)
        got = getattr(fd.Normal(loc, scale), verb)(x)
        with mpmath.workdps(100):
            for value, result in zip(x, got, strict=True):
                exact_z = (mpmath.mpf(float(value)) - mpmath.mpf(float(loc))) / mpmath.mpf(float(scale))
                if abs(exact_z) > 1000 and not verb.startswith("log"):
                    continue
                if abs(exact_z) > 1000 and (exact_z > 0) == (verb == "log_cdf"):
                    assert result == 0
                    continue
                if (
                    abs(exact_z) > 1000
                ):  # the leading terms of the asymptotic series: the rest is below 1e-6 ulp
                    z2 = exact_z**2
                    wanted = (
                        -z2 / 2
                        - mpmath.log(abs(exact_z))
                        - mpmath.log(2 * mpmath.pi) / 2
                        - 1 / z2
                        + 2.5 / z2**2
                    )
                else:
                    wanted = exact(verb, exact_z)
                worst = max(worst, ulps(result, wanted, dtype))
    assert worst <= ULP[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("method", "region"), [(name, region) for name, row in accuracy.ROWS.items() for region in row[2]]
)
def test_errors_are_no_larger_than_the_documentation_says(method, region, dtype):
    """docs/accuracy.md, at other points than it was made of and all borders; half a unit is left to luck."""
    stated = accuracy.stated()[method, region][dtype is np.float64]
    assert stated <= (0.6 if dtype is np.float32 else 4 if "gradient" in method else 2)
    x, found = accuracy.errors(method, region, dtype, 100)
    assert len(found) >= (30 if dtype is np.float64 else 5)
    worst = found.argmax()
    assert found[worst] <= stated + (0.1 if dtype is np.float32 else 0.5), x[worst]


PROBABILITIES = np.concatenate(
    [
        [
            5e-324,
            1e-310,
            1e-300,
            1e-100,
            1e-30,
            1e-16,
            1e-9,
            1e-4,
            0.02425,
            0.075,
            0.425,
            0.499,
            0.5,
            0.501,
            0.575,
        ],
        np.linspace(0.001, 0.999, 60),
        1 - 2.0 ** -np.arange(2, 54, 3),
        np.nextafter(0.5, [0, 1]),
    ]
)


@pytest.mark.parametrize("dtype", DTYPES)
def test_icdf_against_mpmath(dtype, isa):
    """For loc 0, to a few ulp; elsewhere the sum's rounding is all that is added."""
    p = PROBABILITIES.astype(dtype)
    p = p[(p > 0) & (p < 1)]
    got = fd.Normal(dtype(0), dtype(1)).icdf(p)
    with mpmath.workdps(100):
        wanted = []
        for probability, z in zip(p, got, strict=True):
            z, probability = mpmath.mpf(float(z)), mpmath.mpf(float(probability))
            for _ in range(4):  # Newton: each step doubles the digits
                z -= (exact("cdf", z) - probability) / mpmath.npdf(z)
            wanted.append(z)
        assert max(ulps(g, w, dtype) for g, w in zip(got, wanted, strict=True)) <= ULP[dtype]
        for loc, scale in LOC_SCALE[:4]:
            loc, scale = dtype(loc), dtype(scale)
            shifted = fd.Normal(loc, scale).icdf(p)
            for g, w in zip(shifted, wanted, strict=True):
                exact_x = mpmath.mpf(float(loc)) + mpmath.mpf(float(scale)) * w
                rounding = 4 * np.finfo(dtype).eps * (abs(loc) + abs(scale * float(w)))
                assert abs(mpmath.mpf(float(g)) - exact_x) <= rounding


@pytest.mark.parametrize("dtype", DTYPES)
def test_limits(dtype, isa):
    d = fd.Normal(dtype(0.5), dtype(2))
    low, high = dtype(-INF), dtype(INF)
    limits = {
        "cdf": (0, 1),
        "survival_function": (1, 0),
        "log_cdf": (-INF, 0),
        "log_survival_function": (0, -INF),
    }
    for verb, (at_low, at_high) in limits.items():
        assert getattr(d, verb)(low) == at_low
        assert getattr(d, verb)(high) == at_high
    assert d.icdf(dtype(0)) == -INF
    assert d.icdf(dtype(1)) == INF
    assert d.icdf(dtype(0.5)) == dtype(0.5)


def test_broadcasting_and_position(isa):
    """A value alone gives the bits that it gives anywhere in an array."""
    g = np.random.default_rng(0)
    loc, scale, x = g.normal(size=(4, 1)), g.uniform(0.5, 2, 5), g.uniform(size=(3, 4, 5))
    for verb in ("cdf", "survival_function", "log_cdf", "log_survival_function", "icdf"):
        whole = getattr(fd.Normal(loc, scale), verb)(x)
        for i, j, k in ((0, 0, 0), (2, 3, 4), (1, 2, 3)):
            alone = getattr(fd.Normal(loc[j, 0], scale[k]), verb)(x[i, j, k])
            assert_same_bits(alone, np.array(whole[i, j, k]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("verb", ["cdf", "survival_function", "log_cdf", "log_survival_function", "icdf"])
def test_a_difference_or_a_product_beyond_the_range(verb, dtype, isa):
    """Finite where the result is."""
    most = np.finfo(dtype).max
    loc, scale = -most, dtype(0.95 * most)
    d = fd.Normal(loc, scale)
    value = np.array([0.9, 0.95] if verb == "icdf" else [0.25 * most, most], dtype)
    got = getattr(d, verb)(value)
    with mpmath.workdps(60):
        exact_loc, exact_scale = mpmath.mpf(float(loc)), mpmath.mpf(float(scale))
        for one, result in zip(value, got, strict=True):
            if verb == "icdf":
                z = mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(float(one)) - 1)
                assert scale * z > most  # beyond
                assert ulps(result, exact_loc + exact_scale * z, dtype) <= 8
            else:
                z = (mpmath.mpf(float(one)) - exact_loc) / exact_scale
                assert ulps(result, exact(verb, z), dtype) <= ULP[dtype]


# ---- quantiles of upper tails and of log probabilities ----------------------------------------------


def exact_log_cdf(z):
    """At an mpmath number of 100 digits; beyond 1e4 by the asymptotic series, whose next term is below 1e-26."""
    if z < -1e4:
        return (
            -(z**2) / 2 - mpmath.log(-z) - mpmath.log(2 * mpmath.pi) / 2 - 1 / z**2 + mpmath.mpf(5) / 2 / z**4
        )
    return exact("log_cdf", z)


def exact_hazard(z):
    """phi(z) / Phi(-z)."""
    if z > 1e4:
        return z + 1 / z - 2 / z**3
    return mpmath.npdf(z) / exact("survival_function", z)


LOG_PROBABILITIES = np.concatenate(
    [
        -np.logspace(-320, 4, 82),
        -np.linspace(0.01, 3, 60),
        -np.log(2) * (1 + np.array([0, 1e-16, -1e-16, 1e-9, -1e-9, 1e-3, -1e-3])),
        -np.array([767.9, 768.1, 1e8, 1e19, 1.1e20, 1e100, 1e300, 1e308, 5e-324]),
        np.log([15 / 16, 1 / 16]) + 1e-15 * np.array([[-1], [0], [1]]),
    ],
    axis=None,
)


def test_log_icdf_against_mpmath(isa):
    """To 4 ulp, by the distance of exact log probabilities and the slope."""
    got = fd.Normal(0.0, 1.0).log_icdf(LOG_PROBABILITIES)
    assert np.all(np.isfinite(got))
    with mpmath.workdps(120):
        for log_p, z in zip(LOG_PROBABILITIES.tolist(), got.tolist(), strict=True):
            z = mpmath.mpf(z)
            off = (exact_log_cdf(z) - mpmath.mpf(log_p)) / exact_hazard(-z)
            assert abs(off) <= 4 * np.spacing(abs(float(z))), log_p


def test_log_icdf_in_float32(isa):
    """The float64 one, rounded."""
    log_p = LOG_PROBABILITIES[np.abs(LOG_PROBABILITIES) < 1e38].astype(np.float32)
    got = fd.Normal(np.float32(0), np.float32(1)).log_icdf(log_p)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, fd.Normal(0.0, 1.0).log_icdf(log_p.astype(float)).astype(np.float32))


def test_isf_is_the_other_tails_quantile(isa):
    p = PROBABILITIES[(PROBABILITIES > 0) & (PROBABILITIES < 1)]
    np.testing.assert_array_equal(fd.Normal(0.0, 3.0).isf(p), -fd.Normal(0.0, 3.0).icdf(p))
    d = fd.Normal([0.5, -2.0], 2.0)
    np.testing.assert_allclose(d.survival_function(d.isf(p[:, None])), np.stack([p, p], 1), rtol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_limits_of_quantiles(dtype, isa):
    d = fd.Normal(dtype(0.5), dtype(2))
    np.testing.assert_array_equal(d.isf(np.array([0, 0.5, 1, np.nan], dtype)), [INF, 0.5, -INF, np.nan])
    np.testing.assert_array_equal(
        d.log_icdf(np.array([-INF, 0, -0.0, np.nan], dtype)), [-INF, INF, INF, np.nan]
    )
    free = fd.Normal(dtype(0.5), dtype(2), validate_args=False)
    assert np.isnan(free.log_icdf(dtype(0.1)))
    assert np.isnan(free.isf(dtype(1.1)))


def test_errors_of_quantiles():
    d = fd.Normal(np.zeros(2), 1.0)
    with pytest.raises(
        ValueError, match=r"value must be a probability in \[0, 1\]: shape \(2,\), value\[1\] = -0\.5"
    ):
        d.isf([0.5, -0.5])
    message = r"value must be a log probability, not above 0: shape \(1, 2\), value\[0, 1\] = 0\.5"
    with pytest.raises(ValueError, match=message):
        d.log_icdf([[-1.0, 0.5]])


# ---- gradients --------------------------------------------------------------------------------------


def gradients(method, loc, scale, value):
    """By value, loc and scale, with a cotangent of 1."""
    d = fd.Normal(np.full_like(value, loc), np.full_like(value, scale))
    y, pullback = fd.vjp(getattr(d, method), value)
    found = pullback(np.ones_like(y))
    np.testing.assert_array_equal(found["loc"], -found["value"])
    return found["value"], found["scale"]


SLOPES = {
    "cdf": mpmath.npdf,
    "survival_function": lambda z: -mpmath.npdf(z),
    "log_cdf": lambda z: exact_hazard(-z),
    "log_survival_function": lambda z: -exact_hazard(z),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", SLOPES)
def test_gradients_against_mpmath(method, dtype, isa):
    """To 8 ulp, a hundred scales from the mean and more."""
    z = np.concatenate([Z[::2], [-1e9, -1e5, -1e3, -100, 100, 1e3, 1e5, 1e9]])
    cases = LOC_SCALE if dtype is np.float64 else LOC_SCALE_F32
    for loc, scale in [*cases[1:4:2], (0.0, dtype(1e25))]:
        loc, scale = dtype(loc), dtype(scale)
        value = (loc + scale * z).astype(dtype)
        by_value, by_scale = gradients(method, loc, scale, value)
        with mpmath.workdps(100):
            for x, got, got_scale in zip(value.tolist(), by_value, by_scale, strict=True):
                exact_z = (mpmath.mpf(x) - mpmath.mpf(float(loc))) / mpmath.mpf(float(scale))
                wanted = SLOPES[method](exact_z) / mpmath.mpf(float(scale))
                for one, exact_one in ((got, wanted), (got_scale, -wanted * exact_z)):
                    nearest = float(abs(exact_one))
                    tiny = float(np.finfo(dtype).smallest_subnormal)
                    if nearest > float(np.finfo(dtype).max):
                        assert abs(one) == INF
                    else:
                        assert (
                            abs(float(exact_one - mpmath.mpf(float(one))))
                            <= 8 * np.spacing(dtype(nearest)) + tiny
                        )


@pytest.mark.parametrize("method", ["icdf", "isf", "log_icdf"])
def test_gradients_of_quantiles_against_mpmath(method, isa):
    """To 8 ulp: by the value scale / density at the exact quantile, by the scale that quantile."""
    if method == "log_icdf":
        value = LOG_PROBABILITIES[(np.abs(LOG_PROBABILITIES) < 1e290) & (np.abs(LOG_PROBABILITIES) > 1e-305)]
    else:
        value = PROBABILITIES[(PROBABILITIES > 1e-308) & (PROBABILITIES < 1) & (PROBABILITIES != 0.5)]
    d = fd.Normal(np.full_like(value, 0.7), np.full_like(value, 0.25))
    x, pullback = fd.vjp(getattr(d, method), value)
    found = pullback(np.ones_like(x))
    np.testing.assert_array_equal(found["loc"], 1)
    np.testing.assert_allclose(found["scale"], getattr(fd.Normal(0.0, 1.0), method)(value), rtol=1e-15)
    with mpmath.workdps(120):
        for p, z, got in zip(value.tolist(), found["scale"].tolist(), found["value"].tolist(), strict=True):
            z = exact_z = mpmath.mpf(z)
            if method == "log_icdf":
                exact_z -= (exact_log_cdf(z) - mpmath.mpf(p)) / exact_hazard(-z)
                wanted = 1 / exact_hazard(-exact_z) / 4
            else:
                sign = 1 if method == "icdf" else -1
                exact_z -= (exact("cdf", sign * z) - mpmath.mpf(p)) / mpmath.npdf(z) * sign
                wanted = sign / mpmath.npdf(exact_z) / 4
            assert abs(mpmath.mpf(got) / wanted - 1) <= 2e-15, p


def test_gradients_of_nothing(isa):
    """Of cotangents of 0 and where the density is 0, they are 0, beside lanes where they are not."""
    value = np.array([-3.0, 0.0, 50.0, 1e160, -1e160, 2.0, 1.0])
    for method in SLOPES:
        d = fd.Normal(np.zeros(7), np.full(7, 1e-160))
        _, pullback = fd.vjp(getattr(d, method), value * 1e-160)
        found = pullback(np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]))
        assert (found["value"] != 0).tolist() == [False, True] + 4 * [False] + [True]
        assert (found["scale"] != 0).tolist() == 6 * [False] + [True]


def test_gradients_at_the_ends(isa):
    ends = np.array([-INF, INF])
    for method, slope in {
        "cdf": (0, 0),
        "survival_function": (0, 0),
        "log_cdf": (INF, 0),
        "log_survival_function": (0, -INF),
    }.items():
        by_value, by_scale = gradients(method, 0.5, 2.0, ends)
        np.testing.assert_array_equal(by_value, slope)
        np.testing.assert_array_equal(by_scale, np.abs(slope))
    for method, value in {"icdf": [0.0, 1.0], "isf": [1.0, 0.0], "log_icdf": [-INF, 0.0]}.items():
        _, pullback = fd.vjp(getattr(fd.Normal(np.zeros(2), np.ones(2)), method), value)
        found = pullback(np.ones(2))
        np.testing.assert_array_equal(found["scale"], ends)
        low = 0 if method == "log_icdf" else -INF if method == "isf" else INF
        np.testing.assert_array_equal(found["value"], [low, -INF if method == "isf" else INF])


def test_gradients_are_summed_and_in_their_dtypes(isa):
    g = np.random.default_rng(0)
    loc, scale = g.normal(size=(3, 1)).astype(np.float32), g.uniform(0.5, 2, 4).astype(np.float32)
    d, x, c = fd.Normal(loc, scale), g.normal(size=(2, 1, 4)), g.normal(size=(2, 3, 4))
    y, pullback = fd.vjp(d.log_cdf, x)
    found = pullback(c)
    assert {name: (one.shape, one.dtype) for name, one in found.items()} == {
        "loc": ((3, 1), np.float32), "scale": ((4,), np.float32), "value": ((2, 1, 4), np.float64)
    }  # fmt: skip
    z = (x - loc.astype(float)) / scale.astype(float)
    terms = c * np.exp(-z * z / 2 - y) / np.sqrt(2 * np.pi) / scale
    np.testing.assert_allclose(found["value"], terms.sum(1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(found["loc"], -terms.sum((0, 2))[:, None], rtol=1e-6)
    np.testing.assert_allclose(found["scale"], -(terms * z).sum((0, 1)), rtol=1e-6)


# ---- Independent, and densities themselves ----------------------------------------------------------


def test_of_independent_parts(isa):
    """P(X <= x) of parts that are independent is a product."""
    g = np.random.default_rng(0)
    base = fd.Normal(g.normal(size=(4, 3, 2)), g.uniform(0.5, 2, (3, 1)))
    d, x = fd.Independent(base, 2), g.normal(size=(5, 1, 3, 2))
    np.testing.assert_allclose(d.cdf(x), base.cdf(x).prod((-1, -2)), rtol=1e-14)
    np.testing.assert_allclose(d.log_cdf(x), base.log_cdf(x).sum((-1, -2)), rtol=1e-14)
    nested = fd.Independent(fd.Independent(base, 1), 1)
    np.testing.assert_allclose(nested.log_cdf(x), d.log_cdf(x), rtol=1e-15)
    np.testing.assert_allclose(nested.cdf(x), d.cdf(x), rtol=1e-15)
    out = np.empty((5, 4))
    assert d.cdf(x, out=out) is out
    np.testing.assert_array_equal(out, d.cdf(x))
    assert_same_bits(fd.Independent(base, 0).cdf(x), base.cdf(x))
    with pytest.raises(ValueError, match="event shape"):
        d.cdf(x[..., :1])
    with pytest.raises(AttributeError, match="cdf"):
        fd.Independent(fd.MultivariateNormal(np.zeros((2, 2)), np.eye(2)), 1).cdf(np.zeros((2, 2)))


def test_gradient_of_a_product_with_zeros():
    """Where a factor is 0, its own gradient need not be."""
    d = fd.Independent(fd.Normal(np.zeros(3), 1.0), 1)
    _, pullback = fd.vjp(d.cdf, np.array([[-np.inf, 0.0, 1.0], [-38.0, 0.5, 1.0], [-50.0, -50.0, 0.0]]))
    found = pullback(np.ones(3))["value"]
    assert np.all(np.isfinite(found))
    np.testing.assert_array_equal(found[0], 0)
    one = fd.Normal(0.0, 1.0)
    np.testing.assert_allclose(found[1, 0], one.prob(-38.0) * one.cdf(0.5) * one.cdf(1.0), rtol=1e-12)


def test_gradient_of_prob():
    d = fd.Independent(fd.Normal(np.zeros((2, 3)), [0.5, 1.0, 2.0]), 1)
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    p, pullback = fd.vjp(d.prob, x)
    np.testing.assert_allclose(p, np.exp(d.log_prob(x)))
    _, of_log = fd.vjp(d.log_prob, x)
    c = np.linspace(1, 2, 8).reshape(4, 2)
    for name, one in pullback(c).items():
        np.testing.assert_allclose(one, of_log(c * p)[name], rtol=1e-14)
