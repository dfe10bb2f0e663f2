"""Transforms: functions to an ulp, log determinants, inverses, shapes, and as objects."""

import copy
import math
import pickle

import mpmath
import numpy as np
import pytest
from cases import DTYPES, assert_same_bits

import fastdist as fd
from fastdist import transforms as t

EPS = {np.float32: 2.0**-23, np.float64: 2.0**-52}
ENDS = {np.float32: (-103.0, 88.0), np.float64: (-744.0, 709.0)}


def softplus(x):
    return mpmath.log1p(mpmath.exp(x)) if x < 0 else x + mpmath.log1p(mpmath.exp(-x))


# f, its inverse, log |f'|, each with what the kernel's error is, in ulp.
FUNCTIONS = {
    "Exp": (mpmath.exp, 1.0, mpmath.log, 1.0, lambda x: x, 0.5),
    "Tanh": (mpmath.tanh, 0.65, mpmath.atanh, 0.9, lambda x: -2 * mpmath.log(mpmath.cosh(x)), 5),
    "Sigmoid": (
        lambda x: mpmath.exp(x) / (1 + mpmath.exp(x)) if x < 0 else 1 / (1 + mpmath.exp(-x)),
        0.75,
        lambda p: mpmath.log(p / (1 - p)),
        0.9,
        lambda x: -abs(x) - 2 * mpmath.log1p(mpmath.exp(-abs(x))),
        1.1,
    ),
    "Softplus": (softplus, 1.1, lambda y: mpmath.log(mpmath.expm1(y)), 1.1, lambda x: -softplus(-x), 1.1),
}
NAMES = tuple(FUNCTIONS)


def made(name):
    return getattr(t, f"{name}Transform")()


def arguments(name, dtype, inverse):
    """Numbers of all sizes, more of them where something happens."""
    g, low, high = np.random.default_rng(0), *ENDS[dtype]
    eps = EPS[dtype]
    if not inverse:
        x = np.concatenate([g.uniform(low, high, 60), g.uniform(-25, 25, 120), g.uniform(-2, 2, 120)])
        return np.concatenate([x, np.exp(g.uniform(np.log(eps) - 5, 0, 60)) * g.choice([-1, 1], 60)]).astype(
            dtype
        )
    near_0 = np.exp(g.uniform(low, 0, 120))
    if name in ("Exp", "Softplus"):
        near_zero = math.log(2) + np.exp(g.uniform(np.log(eps), 0, 60)) * g.choice([-1, 1], 60)
        far = np.exp(g.uniform(0, high if name == "Exp" else 6, 60))
        return np.concatenate(
            [near_0, near_zero[near_zero > 0], far, 1 + 10 * eps * np.arange(-5, 5)]
        ).astype(dtype)
    near_1 = 1 - np.exp(g.uniform(np.log(eps), 0, 60))
    y = np.concatenate([near_0, near_1, 0.5 + g.uniform(-0.3, 0.3, 60), 0.5 + 10 * eps * np.arange(-5, 5)])
    y = y.astype(dtype)
    y = y[y < 1]
    return np.concatenate([y, -y]) if name == "Tanh" else y


def error(got, exact):
    """In units in the last place, of the smallest subnormal at least."""
    spacing = np.spacing(np.abs(got.dtype.type(float(exact))))
    return abs(mpmath.mpf(float(got)) - exact) / mpmath.mpf(float(spacing))


def assert_within(got, x, f, bound):
    with mpmath.workdps(700):
        worst = max(
            (error(one, f(mpmath.mpf(float(arg)))), float(arg)) for one, arg in zip(got, x, strict=True)
        )
    assert worst[0] < bound, worst


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_values(name, dtype):
    f, bound, inverse, inverse_bound, log_det, log_bound = FUNCTIONS[name]
    transform, x = made(name), arguments(name, dtype, inverse=False)
    y = transform(x)
    assert y.dtype == dtype
    assert_within(y, x, f, bound)
    values = transform.log_abs_det_jacobian(x, y)
    assert values.dtype == dtype
    assert_within(values, x, log_det, log_bound)
    y = arguments(name, dtype, inverse=True)
    assert_within(transform.inv(y), y, inverse, inverse_bound)


@pytest.mark.parametrize("dtype", DTYPES)
def test_at_the_ends(dtype):
    inf, nan, most = np.inf, np.nan, np.finfo(dtype).max
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([0.0, -0.0, inf, -inf, nan, tiny, -tiny, most, -most], dtype)
    wanted = {
        "Exp": ([1, 1, inf, 0, nan, 1, 1, inf, 0], x),
        "Tanh": ([0.0, -0.0, 1, -1, nan, tiny, -tiny, 1, -1], [0, 0, -inf, -inf, nan, 0, 0, -inf, -inf]),
        "Sigmoid": (
            [0.5, 0.5, 1, 0, nan, 0.5, 0.5, 1, 0],
            [-2 * LOG_2, -2 * LOG_2, -inf, -inf, nan, -2 * LOG_2, -2 * LOG_2, -most, -most],
        ),
        "Softplus": (
            [LOG_2, LOG_2, inf, 0, nan, LOG_2, LOG_2, most, 0],
            [-LOG_2, -LOG_2, 0, -inf, nan, -LOG_2, -LOG_2, 0, -most],
        ),
    }
    for name, (values, log_det) in wanted.items():
        transform = made(name)
        assert_same_bits(
            np.abs(transform(x)) if name == "Softplus" else transform(x), np.array(values, dtype)
        )
        np.testing.assert_array_equal(transform.log_abs_det_jacobian(x, x), np.array(log_det, dtype))
    y = np.array([0.0, 1, -1, inf, -inf, nan, tiny, 2, -0.0], dtype)
    with mpmath.workdps(50):
        log_tiny = dtype(float(mpmath.log(mpmath.mpf(float(tiny)))))
    inverse = {
        "Exp": [-inf, 0, nan, inf, nan, nan, log_tiny, LOG_2, -inf],
        "Tanh": [0, inf, -inf, nan, nan, nan, tiny, nan, -0.0],
        "Sigmoid": [-inf, inf, nan, nan, nan, nan, log_tiny, nan, -inf],
        "Softplus": [
            -inf,
            math.log(math.expm1(1)),
            nan,
            inf,
            nan,
            nan,
            log_tiny,
            math.log(math.expm1(2)),
            -inf,
        ],
    }
    for name, values in inverse.items():
        np.testing.assert_allclose(made(name).inv(y), np.array(values, dtype), rtol=4 * EPS[dtype])


LOG_2 = math.log(2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers(dtype):
    g = np.random.default_rng(0)
    x = np.exp(g.uniform(*np.divide(ENDS[dtype], 1.1), 400)).astype(dtype)
    x[::4] = 1 + g.uniform(-1e-3, 1e-3, 100)
    size = (np.log(np.finfo(dtype).max) * 0.9 / np.abs(np.log(x.astype(float)))).astype(dtype)
    p = (size * g.choice([1, 0.1, -0.3, -1], 400)).astype(dtype)
    y, back = t.PowerTransform(p)(x), t.PowerTransform(1 / p).inv(x)
    with mpmath.workdps(60):
        for one, other, a, b in zip(y, back, x, p, strict=True):
            a, q = mpmath.mpf(float(a)), mpmath.mpf(float(1 / b))
            assert error(one, a ** mpmath.mpf(float(b))) < 0.85
            assert error(other, a ** (1 / q)) < 0.85
    log_det = t.PowerTransform(p).log_abs_det_jacobian(x, y)
    wide = np.log(np.abs(p.astype(float))) + (p.astype(float) - 1) * np.log(x.astype(float))
    np.testing.assert_allclose(log_det, wide, rtol=1e-4 if dtype == np.float32 else 1e-12)
    np.testing.assert_array_equal(t.PowerTransform(2.0)([0.0, np.inf, -1.0]), [0, np.inf, np.nan])
    np.testing.assert_array_equal(t.PowerTransform(-2.0)([0.0, np.inf, -1.0]), [np.inf, 0, np.nan])


def all_values(dtype):
    g = np.random.default_rng(1)
    x = np.concatenate([g.normal(0, 3, 60), g.uniform(*ENDS[dtype], 40), [0, -0.0, np.inf, -np.inf, np.nan]])
    x = x.astype(dtype)
    y = np.abs(x)
    below_1 = np.minimum(y, dtype(1) / (1 + y))
    for name in NAMES:
        transform = made(name)
        yield from (
            transform(x),
            transform.inv(x),
            transform.inv(below_1),
            transform.log_abs_det_jacobian(x, x),
        )
    affine = t.AffineTransform(x[:60], np.exp(x[:60]))
    yield from (affine(x[0]), affine.inv(x[1]), affine.log_abs_det_jacobian(x[:60], x))
    power = t.PowerTransform(x[:60])
    yield from (power(y[:60]), power.inv(y[:60]), power.log_abs_det_jacobian(y[:60], y))
    yield t.AbsTransform()(x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_isa_has_the_same_bits(dtype):
    before = fd.isa()
    try:
        results = {}
        for isa in fd.isas():
            fd.set_isa(isa)
            results[isa] = list(all_values(dtype))
    finally:
        fd.set_isa(before)
    for isa in fd.isas()[1:]:
        for got, wanted in zip(results[isa], results["scalar"], strict=True):
            assert_same_bits(got, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_an_element_alone(name, dtype, isa):
    transform, x = made(name), np.random.default_rng(0).normal(0, 2, 37).astype(dtype)
    for method in (transform, transform.inv, lambda a: transform.log_abs_det_jacobian(a, a)):
        whole = method(x)
        for start, stop in ((0, 1), (1, 6), (3, 37), (36, 37)):
            assert_same_bits(method(x[start:stop]), whole[start:stop].copy())
        strided = np.repeat(x, 2)[::2]
        assert_same_bits(method(strided.reshape(1, 37, 1)), whole.reshape(1, 37, 1))


def some_transforms():
    affine = t.AffineTransform([1.0, 2.0], [[-0.5], [3.0]])
    return [
        *(made(name) for name in NAMES),
        affine,
        t.PowerTransform(3.0),
        t.ComposeTransform([affine, t.ExpTransform(), t.PowerTransform(0.5)]),
        t.IndependentTransform(t.ExpTransform(), 1),
        t.ComposeTransform([]),
    ]


@pytest.mark.parametrize("index", range(len(some_transforms())))
def test_inverse_and_jacobian(index):
    """The inverse undoes it, log determinants have opposite signs and are slopes of the function."""
    transform = some_transforms()[index]
    x = np.random.default_rng(0).uniform(0.2, 1.5, (3, 2, 2))
    y = transform(x)
    assert y.shape == transform.forward_shape(x.shape)
    np.testing.assert_allclose(transform.inv(y), np.broadcast_to(x, y.shape), rtol=1e-13)
    assert transform.inv.inv is transform
    log_det = transform.log_abs_det_jacobian(x, y)
    np.testing.assert_allclose(transform.inv.log_abs_det_jacobian(y, x), -log_det)
    n = transform.domain.event_dim
    assert transform.inv.codomain == transform.domain
    h = 1e-6
    slope = np.log(np.abs(transform(x + h) - transform(x - h)) / (2 * h))
    slope = slope.reshape(*slope.shape[: slope.ndim - n], -1).sum(-1) if n else slope
    np.testing.assert_allclose(log_det, slope, atol=1e-8)
    sign = np.sign(transform(x + h) - y)
    np.testing.assert_array_equal(np.broadcast_to(transform.sign, sign.shape), sign)
    assert transform.bijective


@pytest.mark.parametrize("index", range(len(some_transforms())))
def test_objects(index):
    transform = some_transforms()[index]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(transform, protocol))
        assert again == transform
        assert repr(again) == repr(transform)
    assert copy.deepcopy(transform) == transform
    others = [other for i, other in enumerate(some_transforms()) if i != index]
    assert all(transform != other for other in others)
    assert transform.inv == copy.deepcopy(transform).inv
    x = np.random.default_rng(0).uniform(0.2, 1.5, (3, 2, 2))
    assert_same_bits(pickle.loads(pickle.dumps(transform))(x), transform(x))


def test_parameters_are_copied():
    loc = np.zeros(2)
    affine = t.AffineTransform(loc, 1.0)
    loc += 1
    np.testing.assert_array_equal(affine(0.0), [0, 0])
    with pytest.raises(ValueError, match="read-only"):
        affine.loc[0] = 1


def test_dtypes():
    assert t.ExpTransform()(1.0).dtype == np.float64
    assert t.ExpTransform()(np.float32(1)).dtype == np.float32
    assert t.ExpTransform()([1, 2]).dtype == np.float64
    assert t.AffineTransform(0.0, 2.0)(np.ones(2, np.float32)).dtype == np.float32
    assert t.AffineTransform(np.zeros(2), 2.0)(np.ones(2, np.float32)).dtype == np.float64


def test_lower_cholesky():
    transform, x = t.LowerCholeskyTransform(), np.random.default_rng(0).normal(size=(4, 3, 3))
    y = transform(x)
    assert transform.codomain.check(y).all()
    np.testing.assert_allclose(np.tril(transform.inv(y)), np.tril(x), rtol=1e-14, atol=1e-15)
    assert transform.domain.event_dim == 2
    with pytest.raises(NotImplementedError, match="LowerCholeskyTransform has no log_abs_det_jacobian"):
        transform.log_abs_det_jacobian(x, y)
    with pytest.raises(ValueError, match=r"square matrices, got shape \(2, 3\)"):
        transform(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"x must have 2 dims or more, got shape \(3,\)"):
        transform(np.zeros(3))


def test_abs():
    transform = t.AbsTransform()
    np.testing.assert_array_equal(transform([-1.0, 2.0, -0.0]), [1, 2, 0])
    assert not transform.bijective
    with pytest.raises(NotImplementedError, match="log_abs_det_jacobian"):
        transform.log_abs_det_jacobian(1.0, 1.0)
    with pytest.raises(NotImplementedError, match="sign"):
        _ = transform.sign


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: t.AffineTransform(0.0, [1.0, 0.0]), ValueError, r"scale of shape \(2,\) must not be 0"),
        (lambda: t.TanhTransform(cache_size=1), TypeError, "no cache_size: sample_and_log_prob makes"),
        (lambda: t.AffineTransform(0.0, 1.0, cache_size=1), TypeError, "no cache_size"),
        (lambda: t.TanhTransform(1), TypeError, r"TanhTransform\(\) takes no arguments"),
        (lambda: t.AffineTransform(np.nan, 1.0), ValueError, "loc must be finite"),
        (lambda: t.AffineTransform(np.zeros(2), np.ones(3)), ValueError, r"loc \(2,\).*scale \(3,\)"),
        (lambda: t.AffineTransform(0.0, 1.0, -1), ValueError, "event_dim must not be negative, got -1"),
        (lambda: t.AffineTransform(0.0, 1.0, 0.5), TypeError, "event_dim"),
        (lambda: t.AffineTransform("a", 1.0), TypeError, "loc must be of a real dtype"),
        (lambda: t.PowerTransform(0.0), ValueError, "exponent of shape"),
        (
            lambda: t.ComposeTransform([t.ExpTransform(), 1]),
            TypeError,
            r"parts\[1\] must be a Transform, got int",
        ),
        (lambda: t.IndependentTransform(1, 1), TypeError, "base_transform must be a Transform, got int"),
        (lambda: t.IndependentTransform(t.ExpTransform(), -1), ValueError, "must not be negative, got -1"),
        (lambda: t.ExpTransform()("a"), TypeError, "x must be of a real dtype"),
    ],
)
def test_errors(make, error, match):
    with pytest.raises(error, match=match):
        make()
