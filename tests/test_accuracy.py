"""log_prob, entropy and moments: exact to rounding, at any scale, for infinities and NaN."""

import mpmath
import numpy as np
import pytest
from cases import (
    DTYPES,
    MATRICES,
    assert_same_bits,
    beyond_the_range,
    exact_whitened,
    matrix_of,
    random_normal,
    random_tril,
)

import fastdist as fd

HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)
NAN, INF = np.nan, np.inf
# powers of ten of a scale that lose nothing, and of a matrix that holds it
EXTREMES = {np.float32: (-30, -10, 10, 30), np.float64: (-300, -100, 100, 300)}


def standard_log_prob(z, scales):
    z, scales = np.asarray(z, float), np.asarray(scales, float)
    return -0.5 * np.sum(z * z, -1) - np.sum(np.log(scales), -1) - z.shape[-1] * HALF_LOG_2PI


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_scales(dtype, isa):
    """Scales whose squares under- or overflow cost no accuracy, together with z of any size."""
    powers = EXTREMES[dtype]
    tolerance = 8 * np.finfo(dtype).eps
    z = np.array([0.5, -2, 1e-3], dtype)
    for power in powers:
        scale = dtype(10.0) ** dtype(power)
        scales = (np.array([1, 3, 0.2], dtype) * scale).astype(dtype)
        loc = (np.array([1, -2, 0], dtype) * scale).astype(dtype)
        x = loc + z * scales
        wanted = standard_log_prob(z[:, None], scales[:, None])
        normal = fd.Normal(loc, scales)
        np.testing.assert_allclose(normal.log_prob(x), wanted, rtol=tolerance)
        np.testing.assert_allclose(fd.Independent(normal, 1).log_prob(x), wanted.sum(), rtol=tolerance)
        np.testing.assert_allclose(
            normal.entropy(), np.log(scales.astype(float)) + 0.5 + HALF_LOG_2PI, rtol=tolerance
        )
        mvn = fd.MultivariateNormal(loc, scale_tril=np.diag(scales))
        np.testing.assert_allclose(mvn.log_prob(x), wanted.sum(), rtol=tolerance)
        np.testing.assert_allclose(mvn.entropy(), normal.entropy().astype(float).sum(), rtol=tolerance)
        np.testing.assert_allclose(mvn.stddev, scales, rtol=tolerance)
        assert_same_bits(mvn.sample(5, rng=0), normal.sample(5, rng=0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MATRICES[:2])
def test_extreme_matrices(name, dtype, isa):
    """A covariance or precision matrix as large or small as the dtype holds, with correlations."""
    tril = random_tril(np.random.default_rng(0), (4, 4), dtype)
    unit = fd.MultivariateNormal(np.zeros(4, dtype), **{name: matrix_of(name, tril)})
    z = np.array([0.5, -2, 1e-3, 1], dtype)
    tolerance = 100 * np.finfo(dtype).eps
    for power in EXTREMES[dtype]:
        size = dtype(2.0) ** dtype(round(power * 3.3 / 2) // 1)
        variance = size * size if name == "covariance_matrix" else 1 / (size * size)
        d = fd.MultivariateNormal(np.zeros(4, dtype), **{name: matrix_of(name, tril) * variance})
        np.testing.assert_allclose(d.log_prob(z * size), unit.log_prob(z) - 4 * np.log(size), rtol=tolerance)
        np.testing.assert_allclose(d.entropy(), unit.entropy() + 4 * np.log(size), rtol=tolerance)
        np.testing.assert_allclose(d.stddev, unit.stddev * size, rtol=tolerance)
        np.testing.assert_allclose(d.scale_tril, unit.scale_tril * size, rtol=tolerance, atol=0)
        np.testing.assert_allclose(d.sample(3, rng=0), unit.sample(3, rng=0) * size, rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scales_far_apart_in_one_event(dtype, isa):
    low, high = dtype(10.0) ** dtype(EXTREMES[dtype][0]), dtype(10.0) ** dtype(EXTREMES[dtype][-1])
    scales, z = np.array([low, 1, high], dtype), np.array([2, -1, 0.5], dtype)
    wanted = standard_log_prob(z, scales)
    for d in (
        fd.Independent(fd.Normal(np.zeros(3, dtype), scales), 1),
        fd.MultivariateNormal(np.zeros(3, dtype), scale_tril=np.diag(scales)),
    ):
        np.testing.assert_allclose(
            d.log_prob(z * scales), wanted, rtol=1e-5 if dtype is np.float32 else 1e-13
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 3, 6, 8, 17, 30])
@pytest.mark.parametrize("name", MATRICES)
def test_log_prob_and_entropy_of_vectors(name, dim, dtype, isa):
    """Against mpmath, from the very factor that the distribution shows."""
    g = np.random.default_rng(dim)
    tril = random_tril(g, (dim, dim), dtype)
    d = fd.MultivariateNormal(g.normal(size=dim).astype(dtype), **{name: matrix_of(name, tril)})
    x = g.normal(size=(6, dim)).astype(dtype)
    with mpmath.workdps(40):
        shown = mpmath.matrix(d.scale_tril.tolist())
        half_log_det = sum(mpmath.log(shown[i, i]) for i in range(dim))
        whites = [
            mpmath.lu_solve(shown, mpmath.matrix((row.astype(float) - d.loc.astype(float)).tolist()))
            for row in x[:2]
        ]
        squares = np.array([float(sum(w**2 for w in white)) for white in whites])
    tolerance = 60 * dim * np.finfo(dtype).eps
    wanted = -squares / 2 - float(half_log_det) - dim * HALF_LOG_2PI
    np.testing.assert_allclose(d.log_prob(x)[:2], wanted, rtol=0, atol=tolerance * (1 + squares).max())
    np.testing.assert_allclose(d.entropy(), float(half_log_det) + dim * (0.5 + HALF_LOG_2PI), rtol=tolerance)
    np.testing.assert_allclose(d.perplexity(), np.exp(d.entropy()), rtol=tolerance)


def test_long_events_keep_float32_accuracy(isa):
    """A float32 sum of a million terms is right to some roundings, not to a million."""
    n = 10**6
    x = np.random.default_rng(0).uniform(0.5, 1.5, n).astype(np.float32)
    d = fd.Independent(fd.Normal(np.zeros(n, np.float32), np.float32(1)), 1)
    wanted = -0.5 * np.sum(x.astype(float) ** 2) - n * HALF_LOG_2PI
    np.testing.assert_allclose(d.log_prob(x), wanted, rtol=64 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 3, 8, 9, 40])
@pytest.mark.parametrize(
    "kind", ["Normal", "Independent", "scale_tril", "precision_matrix", "Independent(MVN)"]
)
def test_a_difference_or_a_square_beyond_the_range(kind, dim, dtype, isa):
    """log_prob is finite where its result is: alone, in a batch, beside ordinary events."""
    loc, tril, x = beyond_the_range(dim, dtype, inverse=kind == "precision_matrix")
    if kind == "Independent(MVN)":
        if dim % 3:
            return
        parts = [slice(i, i + 3) for i in range(0, dim, 3)]
        blocks = np.array([tril[part, part] for part in parts])
        for i, part in enumerate(parts):
            tril[part] = 0
            tril[part, part] = blocks[i]
        d = fd.Independent(fd.MultivariateNormal(loc.reshape(-1, 3), scale_tril=blocks), 1)
    elif kind in MATRICES:
        precision = np.diag((1 / np.diag(tril).astype(float)) ** 2).astype(dtype)
        matrix = tril if kind == "scale_tril" else precision
        d = fd.MultivariateNormal(loc, **{kind: matrix})
        tril = d.scale_tril if kind == "precision_matrix" else tril
    else:
        tril = np.diag(np.diag(tril))
        normal = fd.Normal(loc, np.diag(tril).copy())
        d = fd.Independent(normal, 1) if kind == "Independent" else normal
    whites = [exact_whitened(row, loc, tril) for row in x.astype(float)]
    with mpmath.workdps(40):
        logs = [mpmath.log(float(tril[i, i])) + mpmath.log(2 * mpmath.pi) / 2 for i in range(dim)]
        terms = [[-(z**2) / 2 - c for z, c in zip(white, logs, strict=True)] for white in whites]
        wanted = [one if kind == "Normal" else sum(one) for one in terms]
    wanted = np.array(wanted).astype(float)
    assert np.isfinite(wanted.astype(dtype)).all()
    x = x.reshape(len(x), *d.batch_shape, *d.event_shape)
    got = d.log_prob(x)
    tolerance = (30 * dim if kind in MATRICES else 8 + dim) * np.finfo(dtype).eps
    np.testing.assert_allclose(got, wanted, rtol=tolerance)
    for row, one in zip(x, got, strict=True):
        assert_same_bits(d.log_prob(row), np.asarray(one))


@pytest.mark.parametrize("dtype", DTYPES)
def test_entropy_to_the_last_place(dtype, isa):
    """Of every scale, those included where it crosses 0; in float32 that of the sums, too."""
    scale = np.exp(np.linspace(-1.4189385332046727 - 1e-3, -1.4189385332046727 + 1e-3, 200))
    scale = np.concatenate([scale, np.geomspace(1e-30, 1e30, 200)]).astype(dtype)
    with mpmath.workdps(40):
        const = (1 + mpmath.log(2 * mpmath.pi)) / 2
        exact = [mpmath.log(float(s)) + const for s in scale]
        of_events = np.array([float(sum(exact[i : i + 4])) for i in range(0, 400, 4)])
    exact = np.array(exact).astype(float)
    normal, events = fd.Normal(dtype(0), scale), scale.reshape(100, 4)
    independent = fd.Independent(fd.Normal(dtype(0), events), 1)
    mvn = fd.MultivariateNormal(np.zeros(4, dtype), scale_tril=events[:, None] * np.eye(4, dtype=dtype))
    for d, wanted, n in ((normal, exact, 1), (independent, of_events, 4), (mvn, of_events, 4)):
        got = d.entropy().astype(float)
        if dtype is np.float32:
            assert (abs(got - wanted) <= 0.51 * np.spacing(abs(wanted).astype(dtype)) + 1e-14).all()
        else:
            np.testing.assert_allclose(got, wanted, rtol=4e-16, atol=n * 4e-16)


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5, 8, 17, 40, 63, 64])
@pytest.mark.parametrize("name", MATRICES[:2])
def test_float32_factors_are_those_of_float64_rounded(name, dim, isa):
    """As numpy.linalg.cholesky's, whatever the condition: 1e5 here, which costs a float32 factorisation all but
    two digits."""
    g = np.random.default_rng(dim)
    basis = np.linalg.qr(g.normal(size=(37, dim, dim)))[0]
    matrix = (basis * np.geomspace(2000, 2000 / 1e5, dim)) @ basis.swapaxes(-1, -2)
    matrix = ((matrix + matrix.swapaxes(-1, -2)) / 2).astype(np.float32)
    d = fd.MultivariateNormal(np.zeros(dim, np.float32), **{name: matrix})
    wide = matrix.astype(float)
    if name == "precision_matrix":  # W, from the last row up
        wanted = np.linalg.cholesky(wide[:, ::-1, ::-1])[:, ::-1, ::-1].swapaxes(-1, -2)
        got = d._triangle(inverse=True).swapaxes(-1, -2)
    else:
        wanted, got = np.linalg.cholesky(wide), d.scale_tril
    assert got.dtype == np.float32
    rows = np.linalg.norm(wanted, axis=-1, keepdims=True)  # what elements near 0 are left of
    assert (abs(got - wanted) <= 2.0**-24 * abs(wanted) + 1e-9 * rows).all()


def vectors(dtype):
    """A standard normal vector of 5 in each guise; correlated where it can be."""
    tril = random_tril(np.random.default_rng(1), (5, 5), dtype)
    loc = np.zeros(5, dtype)
    normal = random_normal((5,), (5,), dtype)
    return {
        **{name: fd.MultivariateNormal(loc, **{name: matrix_of(name, tril)}) for name in MATRICES},
        "Independent": fd.Independent(normal, 1),
        "Independent, one scale": fd.Independent(fd.Normal(loc, dtype(2)), 1),
        "Independent MVN": fd.Independent(
            fd.MultivariateNormal(loc.reshape(5, 1), scale_tril=np.ones((1, 1), dtype)), 1
        ),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", vectors(np.float64).keys())
def test_infinities_and_nan_in_a_value(kind, dtype, isa):
    """Any infinity makes the density zero, any NaN makes it NaN, NaN winning; no warning, no neighbour harmed."""
    d = vectors(dtype)[kind]
    big = np.finfo(dtype).max
    x = np.zeros((40, 5), dtype)
    wanted = np.zeros(40, bool), np.zeros(40, bool)
    for i in range(5):
        x[i, i], x[5 + i, i], x[10 + i, i], x[15 + i, i] = INF, -INF, NAN, big
        x[20 + i, [i, i - 1]] = INF, -INF
        x[25 + i, [i, i - 1]] = INF, NAN
    x[30], x[31] = INF, big
    wanted[0][[*range(10), *range(15, 25), 30, 31]] = True
    wanted[1][[*range(10, 15), *range(25, 30)]] = True
    if kind == "Independent MVN":
        x = x[..., None]
    for got in (d.log_prob(x), np.array([d.log_prob(row) for row in x])):
        assert (np.isneginf(got) == wanted[0]).all()
        assert (np.isnan(got) == wanted[1]).all()
        assert np.isfinite(got[32:]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_and_nan_in_a_scalar_value(dtype, isa):
    d = fd.Normal(dtype(0), np.array([0.1, 1, 10], dtype))
    for x in (INF, -INF):
        assert np.isneginf(d.log_prob(dtype(x))).all()
    for method in (d.log_prob, d.cdf, d.icdf, d.log_cdf, d.survival_function, d.log_survival_function):
        assert np.isnan(method(dtype(NAN))).all()


@pytest.mark.parametrize("kind", ["Independent", *MATRICES])
def test_nan_in_an_unchecked_loc_gives_nan(kind):
    loc = np.array([0.0, NAN])
    if kind == "Independent":
        d = fd.Independent(fd.Normal(loc, 1.0, validate_args=False), 1)
    else:
        d = fd.MultivariateNormal(loc, **{kind: np.eye(2)}, validate_args=False)
    assert np.isnan(d.log_prob(np.zeros(2)))


def test_no_dims_at_all():
    for name in MATRICES:
        d = fd.MultivariateNormal(np.zeros((3, 0)), **{name: np.zeros((0, 0))})
        assert d.log_prob(np.zeros((2, 1, 0))).tolist() == [[0, 0, 0]] * 2
        assert d.entropy().tolist() == [0, 0, 0]
        assert fd.kl_divergence(d, d).tolist() == [0, 0, 0]
    assert fd.Independent(fd.Normal(np.zeros((3, 0)), 1.0), 1).log_prob(np.zeros(0)).tolist() == [0, 0, 0]
