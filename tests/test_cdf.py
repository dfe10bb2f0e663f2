"""The cdf family against mpmath: a few ulp, far in both tails, for any loc and scale."""

import mpmath
import numpy as np
import pytest
from cases import DTYPES, assert_same_bits

import fastdist as fd

INF = np.inf
ULP = {np.float32: 1, np.float64: 8}
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
