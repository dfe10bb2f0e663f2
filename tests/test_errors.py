"""Bad input: each row of the contract's table by type and message, and nothing has happened."""

import re
from contextlib import contextmanager

import numpy as np
import pytest
from cases import (
    DTYPES,
    MATRICES,
    assert_same_bits,
    matrix_of,
    random_mvn,
    random_normal,
    random_tril,
    state_of,
)

import fastdist as fd

EYE = np.eye(2)
NAN, INF = np.nan, np.inf


@contextmanager
def raises(exception, *parts):
    """pytest.raises of just that type, with all of `parts` in the message, in this order."""
    with pytest.raises(exception, match="(?s)" + ".*".join(map(re.escape, parts))) as caught:
        yield
    assert caught.type is exception


def batch(bad, index, good, shape):
    """A float64 array of `good`s with some `bad` ones at `index`."""
    array = np.array(np.broadcast_to(good, shape + np.shape(good)), dtype=float)
    array[index] = bad
    return array


# ---- values of parameters ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_loc_not_finite(bad, dtype, isa):
    loc = batch(bad, (2, 1), 0.0, (3, 2)).astype(dtype)
    loc[2, 1:] = bad
    with raises(ValueError, "loc", "(3, 2)", "[2, 1]", str(bad)):
        fd.Normal(loc, 1.0)
    with raises(ValueError, "loc", "(3, 2)", "[2, 1]", str(bad)):
        fd.MultivariateNormal(loc, EYE)
    with raises(ValueError, "loc", str(bad)):
        fd.Normal(dtype(bad), 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [0.0, -0.0, -1.0, NAN, INF, -INF])
def test_scale_not_positive(bad, dtype, isa):
    with raises(ValueError, "scale", "(3, 40)", "[1, 37]", str(bad)):
        fd.Normal(0.0, batch(bad, (slice(1, 3), 37), 1.0, (3, 40)).astype(dtype))
    with raises(ValueError, "scale", str(bad)):
        fd.Normal(0.0, dtype(bad))


def test_a_number_beyond_float32_is_not_finite():
    with raises(ValueError, "loc", "inf"):
        fd.Normal(1e39, np.ones(2, np.float32))
    with raises(ValueError, "scale", "0.0"):
        fd.Normal(np.ones(2, np.float32), 1e-50)


NOT_POSITIVE_DEFINITE = {
    "indefinite": [[1.0, 2.0], [2.0, 1.0]],
    "singular": [[1.0, 1.0], [1.0, 1.0]],
    "zero": [[0.0, 0.0], [0.0, 0.0]],
    "negative": [[-1.0, 0.0], [0.0, 1.0]],
    "NaN on the diagonal": [[NAN, 0.0], [0.0, 1.0]],
    "NaN off the diagonal": [[1.0, NAN], [NAN, 1.0]],
    "NaN at the end": [[1.0, 0.0], [0.0, NAN]],
    "infinite": [[1.0, 0.0], [0.0, INF]],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MATRICES[:2])
@pytest.mark.parametrize("bad", NOT_POSITIVE_DEFINITE.values(), ids=NOT_POSITIVE_DEFINITE.keys())
def test_not_positive_definite(bad, name, dtype, isa):
    matrix = batch(bad, (1, slice(2, 4)), EYE, (3, 4)).astype(dtype)
    for validate_args in (None, False):
        with raises(np.linalg.LinAlgError, name, "(3, 4, 2, 2)", "(1, 2)"):
            fd.MultivariateNormal(np.zeros(2), **{name: matrix}, validate_args=validate_args)
    with raises(np.linalg.LinAlgError, name, "(2, 2)"):
        fd.MultivariateNormal(np.zeros(2, dtype), **{name: np.array(bad, dtype)})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MATRICES[:2])
@pytest.mark.parametrize("dim", [3, 9, 64, 80])
def test_large_matrices_not_positive_definite(dim, name, dtype, isa):
    good = matrix_of(name, random_tril(np.random.default_rng(0), (dim, dim), dtype))
    for where in (0, dim // 2, dim - 1):
        for bad in (-1, NAN):
            matrix = np.array([good] * 3)
            matrix[1:, where, where] *= bad
            with raises(np.linalg.LinAlgError, name, f"(3, {dim}, {dim})", "(1,)"):
                fd.MultivariateNormal(np.zeros(dim, dtype), **{name: matrix})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MATRICES[:2])
@pytest.mark.parametrize("dim", [2, 9, 64, 80])
def test_positive_definite_to_working_precision(dim, name, dtype, isa):
    """A pivot of d * epsilon says nothing of its sign; one well above does."""
    eps = np.finfo(dtype).eps
    for i in (0, dim // 2 - 1, dim - 2):
        matrix = np.eye(dim, dtype=dtype)
        matrix[i : i + 2, i : i + 2] = 1
        for singular in (0, eps, dim // 2 * eps):
            matrix[i + 1, i + 1] = 1 + singular
            with raises(np.linalg.LinAlgError, name, f"({dim}, {dim})"):
                fd.MultivariateNormal(np.zeros(dim, dtype), **{name: matrix})
        matrix[i + 1, i + 1] = 1 + 4 * dim * eps
        assert np.isfinite(fd.MultivariateNormal(np.zeros(dim, dtype), **{name: matrix}).sample()).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MATRICES[:2])
def test_asymmetric(name, dtype, isa):
    """Beyond rounding, relative to the size of the rows; rounding itself is no offence."""
    for size in (1e-15, 1.0, 1e15):
        bad = np.array([[4.0, 0.1], [0.2, 1.0]]) * size
        with raises(ValueError, name, "symmetric", "(3, 2, 2)", "(1,)"):
            fd.MultivariateNormal(np.zeros(2, dtype), **{name: batch(bad, 1, EYE * size, (3,)).astype(dtype)})
        almost = np.array([[4.0, 0.1], [0.1, 1.0]], dtype) * dtype(size)
        almost[0, 1] *= 1 + 4 * np.finfo(dtype).eps
        fd.MultivariateNormal(np.zeros(2, dtype), **{name: almost})


BAD_TRILS = {
    "upper": ([[1.0, 1e-30], [0.0, 1.0]], "triangular"),
    "NaN above": ([[1.0, NAN], [0.0, 1.0]], ""),
    "zero diagonal": ([[1.0, 0.0], [3.0, 0.0]], "diagonal"),
    "negative diagonal": ([[-1.0, 0.0], [0.0, 1.0]], "diagonal"),
    "NaN diagonal": ([[1.0, 0.0], [0.0, NAN]], "finite"),
    "NaN below": ([[1.0, 0.0], [NAN, 1.0]], "finite"),
    "infinite": ([[1.0, 0.0], [INF, 1.0]], "finite"),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("bad", "why"), BAD_TRILS.values(), ids=BAD_TRILS.keys())
def test_scale_tril(bad, why, dtype, isa):
    with raises(ValueError, "scale_tril", why, "(3, 4, 2, 2)", "(1, 2)"):
        fd.MultivariateNormal(np.zeros(2), scale_tril=batch(bad, (1, slice(2, 4)), EYE, (3, 4)).astype(dtype))


# ---- shapes and types of parameters ------------------------------------------------------

mvn = fd.MultivariateNormal
CONSTRUCTIONS = {
    "shapes of loc and scale": (lambda: fd.Normal(np.zeros((3, 2)), np.ones(3)), ValueError, ["loc (3, 2)", "scale (3,)"]),
    "batch shapes": (lambda: mvn(np.zeros((3, 2)), np.array([EYE] * 4)), ValueError, ["loc (3,)", "covariance_matrix (4,)"]),
    "event sizes": (lambda: mvn(np.zeros(2), np.eye(3)), ValueError, ["loc (2,)", "covariance_matrix (3, 3)"]),
    "event size 1": (lambda: mvn(np.zeros(1), precision_matrix=EYE), ValueError, ["loc (1,)", "precision_matrix (2, 2)"]),
    "non-square": (lambda: mvn(np.zeros(2), scale_tril=np.ones((2, 3))), ValueError, ["scale_tril", "(2, 3)"]),
    "1-d matrix": (lambda: mvn(np.zeros(2), np.ones(2)), ValueError, ["covariance_matrix", "(2,)"]),
    "0-d matrix": (lambda: mvn(np.zeros(1), 1.0), ValueError, ["covariance_matrix", "()"]),
    "0-d loc": (lambda: mvn(0.0, EYE), ValueError, ["loc", "()"]),
    "no matrix": (lambda: mvn(np.zeros(2)), ValueError, ["exactly one", "covariance_matrix", "none"]),
    "two matrices": (lambda: mvn(np.zeros(2), EYE, scale_tril=EYE), ValueError, ["exactly one", "covariance_matrix and scale_tril"]),
    "three matrices": (lambda: mvn(np.zeros(2), EYE, EYE, EYE), ValueError, ["exactly one"]),
    "negative reinterpreted_batch_ndims": (lambda: fd.Independent(random_normal(), -1), ValueError, ["reinterpreted_batch_ndims", "-1"]),
    "too many": (lambda: fd.Independent(random_normal(), 3), ValueError, ["reinterpreted_batch_ndims", "2", "(3, 2)", "3"]),
    "bool": (lambda: fd.Independent(random_normal(), True), TypeError, ["reinterpreted_batch_ndims", "True"]),
    "float": (lambda: fd.Independent(random_normal(), 1.0), TypeError, ["reinterpreted_batch_ndims", "1.0"]),
    "no base": (lambda: fd.Independent(np.zeros(3), 1), TypeError, ["base_distribution", "ndarray"]),
}  # fmt: skip


@pytest.mark.parametrize(("make", "exception", "parts"), CONSTRUCTIONS.values(), ids=CONSTRUCTIONS.keys())
def test_construction(make, exception, parts):
    with raises(exception, *parts):
        make()


BAD_ARRAYS = {
    "complex": 1j,
    "longdouble": np.ones((2, 2), np.longdouble),
    "object": np.array([[1.0, None], [None, 1.0]]),
    "string": "one",
    "bytes": b"1",
    "None": None,
    "date": np.datetime64("2020-01-01"),
    "timedelta": np.timedelta64(1, "s"),
    "record": np.zeros(2, [("x", float)]),
    "masked": np.ma.masked_array([[1.0, 0.0], [0.0, 1.0]], False),
    "dict": {"x": 1},
}


@pytest.mark.parametrize("bad", BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_type_of_a_parameter_or_value(bad):
    with raises(TypeError, "loc"):
        fd.Normal(bad, 1.0)
    with raises(TypeError, "scale"):
        fd.Normal(0.0, bad)
    with raises(TypeError, "loc"):
        fd.MultivariateNormal(bad, EYE)
    for name in MATRICES if bad is not None else ():
        with raises(TypeError, name):
            fd.MultivariateNormal(np.zeros(2), **{name: bad})
    for method in ("log_prob", "cdf", "icdf", "log_cdf", "survival_function", "log_survival_function"):
        with raises(TypeError, "value"):
            getattr(fd.Normal(0.0, 1.0), method)(bad)


# ---- draws and densities: neither generator nor out has been touched -----------------------

HUGE = 2**31
OUT = (3, 2)
# sample_shape, exception, parts of the message
SAMPLE_SHAPES = [
    (-1, ValueError, ["sample_shape", "-1"]),
    ((2, -3), ValueError, ["sample_shape", "(2, -3)"]),
    ((0, -1), ValueError, ["sample_shape", "(0, -1)"]),
    (True, TypeError, ["sample_shape", "True"]),
    ((2, np.True_), TypeError, ["sample_shape", "[1]", "True"]),
    (2.0, TypeError, ["sample_shape", "2.0"]),
    ((2, 3.0), TypeError, ["sample_shape", "[1]", "3.0"]),
    (np.array([1.0]), TypeError, ["sample_shape"]),
    (np.array(1.0), TypeError, ["sample_shape"]),
    ("3", TypeError, ["sample_shape", "3"]),
    (None, TypeError, ["sample_shape", "None"]),
    ((None,), TypeError, ["sample_shape", "None"]),
    ((2, (3,)), TypeError, ["sample_shape", "(3,)"]),
    ((HUGE, HUGE, HUGE), ValueError, [str(HUGE)]),
    ((HUGE, HUGE), ValueError, [str(HUGE)]),
    ((0, HUGE, HUGE, HUGE), ValueError, [str(HUGE)]),
    ((1,) * 70, ValueError, ["64"]),
]


@pytest.fixture(params=["Normal", "Independent", *MATRICES])
def drawn(request):
    """A distribution whose draw has shape (3, 2), a generator and an `out` of sevens; all must stay as they are."""
    if request.param in MATRICES:
        d = random_mvn(request.param, (3, 2), (2, 2))
    else:
        d = random_normal(OUT, (2,))
        d = fd.Independent(d, 1) if request.param == "Independent" else d
    g, out = np.random.default_rng(0), np.full(OUT, 7.0)
    g.standard_normal(3, np.float32)  # leaves half a word behind
    before, parameters = state_of(g), d.mean.copy()
    yield d, g, out
    assert state_of(g) == before
    assert (out == 7).all()
    assert_same_bits(d.mean.copy(), parameters)


@pytest.mark.parametrize(("shape", "exception", "parts"), SAMPLE_SHAPES)
def test_sample_shape(drawn, shape, exception, parts):
    d, g, out = drawn
    for draw in (d.sample, d.rsample):
        with raises(exception, *parts):
            draw(shape, rng=g)
        with pytest.raises(exception):
            draw(shape, rng=g, out=out)
    if exception is TypeError or "-" in parts[-1]:
        with raises(exception, "batch_shape", *parts[1:]):
            d.expand(shape)


BAD_OUTS = {
    "shape": (np.full((2, 3), 7.0), ValueError, ["out", "(3, 2)", "(2, 3)"]),
    "broadcastable": (np.full((1, 3, 2), 7.0), ValueError, ["out", "(3, 2)", "(1, 3, 2)"]),
    "dtype": (np.full(OUT, 7, np.float32), TypeError, ["out", "float64", "float32"]),
    "integers": (np.full(OUT, 7), TypeError, ["out", "float64", "int64"]),
    "read-only": (np.broadcast_to(7.0, OUT), ValueError, ["out", "(3, 2)", "read-only"]),
    "list": ([[7.0, 7], [7, 7], [7, 7]], TypeError, ["out", "list"]),
    "masked": (np.ma.masked_array(np.full(OUT, 7.0)), TypeError, ["out", "MaskedArray"]),
}


@pytest.mark.parametrize(("bad", "exception", "parts"), BAD_OUTS.values(), ids=BAD_OUTS.keys())
def test_out(drawn, bad, exception, parts):
    d, g, _ = drawn
    with raises(exception, *parts):
        d.sample(rng=g, out=bad)
    d = d[:, None].expand(OUT) if d.event_shape else d
    with raises(exception, *parts):
        d.log_prob(np.zeros(2), out=bad)
    assert (np.asarray(bad) == 7).all()


BAD_RNGS = [
    True,
    1.5,
    "seed",
    [1, 2.5],
    np.random,
    np.random.RandomState(0),
    np.random.default_rng,
    object(),
    np.float64(1),
]


@pytest.mark.parametrize("bad", BAD_RNGS, ids=lambda x: type(x).__name__)
def test_rng(drawn, bad):
    d, _, out = drawn
    with raises(TypeError, "rng"):
        d.sample(rng=bad, out=out)


def test_negative_seed(drawn):
    d, _, out = drawn
    with raises(ValueError, "rng", "-1"):
        d.sample(rng=-1, out=out)


def test_too_large_for_memory(drawn):
    d, g, _ = drawn
    with pytest.raises(MemoryError):
        d.sample(2**56, rng=g)
    with pytest.raises(MemoryError):
        d.expand((2**28, 2**28, *d.batch_shape)).log_prob(np.zeros(d.event_shape))


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (np.zeros(3), ["value", "(2,)", "(3,)"]),
        (np.zeros((3, 1)), ["value", "(2,)", "(3, 1)"]),
        (np.zeros(1), ["value", "(2,)", "(1,)"]),
        (0.0, ["value", "(2,)", "()"]),
        (np.zeros((4, 2)), ["value", "(4,)", "(3,)"]),
    ],
)
def test_value_shape(drawn, value, parts):
    """A value's event dims match exactly; only its batch dims broadcast."""
    d, _, _ = drawn
    if d.event_shape:
        out = np.full(3, 7.0)
        with raises(ValueError, *parts):
            d.log_prob(value, out=out)
        assert (out == 7).all()


def test_value_shape_of_normal():
    with raises(ValueError, "value (4,)", "(3, 2)"):
        random_normal().log_prob(np.zeros(4))
    with raises(ValueError, "value (4,)", "(3, 2)"):
        random_normal().cdf(np.zeros(4))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [-1e-30, 1.5, -INF, INF, 1 + 1e-6])
def test_icdf_of_no_probability(bad, dtype):
    value = batch(bad, (1, 1), 0.5, (3, 2)).astype(dtype)
    out = np.full((3, 2), 7, dtype)
    d = fd.Normal(dtype(0), dtype(1))
    with raises(ValueError, "value", "(3, 2)", "[1, 1]"):
        d.icdf(value, out=out)
    assert (out == 7).all()
    assert np.isnan(d.icdf(dtype(NAN)))


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ((2, -1), ["batch_shape", "(2, -1)"]),
        ((4, 2), ["(3, 2)", "(4, 2)"]),
        (2, ["(3, 2)", "(2,)"]),
        ((), ["(3, 2)", "()"]),
    ],
)
def test_expand(shape, parts):
    for one in (random_normal(), fd.Independent(random_normal((3, 2, 4), ()), 1)):
        with raises(ValueError, *parts):
            one.expand(shape)


def test_total_size_over_ssize_t():
    d = fd.Normal(0.0, 1.0).expand((2**32, 2**32))
    for call in (
        d.sample,
        d.entropy,
        lambda: d.log_prob(0.0),
        lambda: d.mean,
        lambda: fd.kl_divergence(d, d),
    ):
        with pytest.raises(ValueError, match=r"big|size|large"):
            call()
