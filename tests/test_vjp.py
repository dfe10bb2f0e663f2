"""vjp: values as the methods give them, gradients against closed forms and finite differences, and how
they depend on nothing but the numbers: not on layout, instruction set, generator or later changes."""

import doctest
import functools
import math
import threading
import tracemalloc

import mpmath
import numpy as np
import pytest
from cases import (
    DTYPES,
    KINDS,
    LAYOUTS,
    MATRICES,
    VECTOR_PAIRS,
    VECTORS,
    assert_same_bits,
    beyond_the_range,
    exact_difference,
    exact_factor,
    exact_whitened,
    matrix_of,
    near_and_far,
    one_of_each,
    random_mvn,
    random_normal,
    random_tril,
    state_of,
    vectors,
    with_gradients,
)
from numpy.random import MT19937, PCG64, PCG64DXSM, SFC64, Generator, Philox

import fastdist as fd
from fastdist.distributions import _rules, rules

EPS = {np.float32: 2.0**-24, np.float64: 2.0**-53}


def flat(gradients):
    """Gradients by name, those of kl_divergence by "p.loc" and so on."""
    if gradients.keys() == {"p", "q"}:
        return {f"{side}.{name}": one for side in "pq" for name, one in gradients[side].items()}
    return gradients


def methods_of(d, value, seed=0):
    """The differentiable methods, bound, with arguments: names to (method, args, kwargs)."""
    return {
        "rsample": (d.rsample, ((5,),), {"rng": seed}),
        "log_prob": (d.log_prob, (value,), {}),
        "entropy": (d.entropy, (), {}),
        "kl_divergence": (fd.kl_divergence, (d, d[::-1]), {}),
    }


def all_gradients(d, value, g, rng=0):
    """Every gradient of every method for random cotangents."""
    result = {}
    for name, (method, args, kwargs) in methods_of(d, value, rng).items():
        out, pullback = fd.vjp(method, *args, **kwargs)
        cotangent = g.normal(size=out.shape).astype(out.dtype)
        result |= {f"{name}: {key}": one for key, one in flat(pullback(cotangent)).items()}
    return result


# ---- values and closed forms -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_values_are_the_methods(kind, dtype):
    d = one_of_each(dtype)[kind]
    value = d.sample((2,), rng=1)
    for method, args, kwargs in methods_of(d, value).values():
        assert_same_bits(fd.vjp(method, *args, **kwargs)[0], method(*args, **kwargs))


def spread(gradient, shape):
    """Summed to a shape that broadcasts to its own: what a broadcast parameter is owed."""
    gradient = gradient.sum(tuple(range(gradient.ndim - len(shape))))
    ones = tuple(i for i, n in enumerate(shape) if n == 1)
    return gradient.sum(ones, keepdims=True)


def check(got, wanted, tolerance):
    wanted = np.asarray(wanted)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * np.abs(wanted).max(initial=1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shapes", [((), ()), ((3,), ()), ((), (4, 1)), ((4, 3), (3,)), ((2, 1, 3), (4, 1))])
def test_normal(shapes, dtype, isa):
    d = random_normal(*shapes, dtype)
    loc, scale = d.loc.astype(float), d.scale.astype(float)
    g, tolerance = np.random.default_rng(1), 40 * EPS[dtype]
    x, pullback = fd.vjp(d.rsample, (5, 2), rng=7)
    eps = fd.standard_normal(x.shape, dtype=dtype, rng=7).astype(float)
    c = g.normal(size=x.shape).astype(dtype)
    got = pullback(c)
    assert list(got) == ["loc", "scale"]
    check(got["loc"], spread(c.astype(float), shapes[0]), tolerance)
    check(got["scale"], spread(c * eps, shapes[1]), tolerance)

    value = g.normal(size=(2, *d.batch_shape[-1:])).astype(dtype)[..., None, :][..., :1, :]
    value = value if d.batch_shape else dtype(0.3)
    out, pullback = fd.vjp(d.log_prob, value)
    c = g.normal(size=out.shape).astype(dtype)
    got, z = pullback(c), (value - loc) / scale
    assert list(got) == ["loc", "scale", "value"]
    check(got["value"], spread(-c * z / scale, np.shape(value)), tolerance)
    check(got["loc"], spread(c * z / scale, shapes[0]), tolerance)
    check(got["scale"], spread(c * (z * z - 1) / scale, shapes[1]), tolerance)

    out, pullback = fd.vjp(d.entropy)
    c = g.normal(size=out.shape).astype(dtype)
    got = pullback(c)
    assert_same_bits(got["loc"], np.zeros(shapes[0], dtype))
    check(got["scale"], spread(c / scale, shapes[1]), tolerance)

    q = random_normal(*shapes, dtype, seed=2)
    out, pullback = fd.vjp(fd.kl_divergence, d, q)
    c = g.normal(size=out.shape).astype(dtype)
    got, scale_q = pullback(c), q.scale.astype(float)
    z, r = (loc - q.loc) / scale_q, scale / scale_q
    check(got["p"]["loc"], spread(c * z / scale_q, shapes[0]), tolerance)
    check(got["q"]["loc"], spread(-c * z / scale_q, shapes[0]), tolerance)
    check(got["p"]["scale"], spread(c * (r - 1 / r) / scale_q, shapes[1]), tolerance)
    check(got["q"]["scale"], spread(c * (1 - r * r - z * z) / scale_q, shapes[1]), tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_by_scale_near_one_standard_deviation(dtype, isa):
    """z^2 - 1 keeps its digits: against mpmath, where it nearly cancels."""
    g = np.random.default_rng(0)
    loc, scale = g.normal(size=2000).astype(dtype), g.uniform(0.5, 2, 2000).astype(dtype)
    z = g.choice([-1, 1], 2000) * (1 + g.normal(size=2000) * 10.0 ** g.uniform(-8, -1, 2000))
    value = (loc + z * scale).astype(dtype)
    value[:1000], loc[:1000] = (z * scale)[:1000], 0
    got = fd.vjp(fd.Normal(loc, scale).log_prob, value)[1](np.ones(2000, dtype))["scale"]
    with mpmath.workdps(60):
        wanted = []
        for v, m, s in zip(*(a.astype(float).tolist() for a in (value, loc, scale)), strict=True):
            z = (mpmath.mpf(v) - mpmath.mpf(m)) / mpmath.mpf(s)
            wanted.append(float((z * z - 1) / mpmath.mpf(s)))
    np.testing.assert_allclose(got, wanted, rtol=5 * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["Normal", "Independent", "scale_tril", "precision_matrix"])
@pytest.mark.parametrize("dim", [1, 3, 20])
def test_log_prob_of_a_difference_beyond_the_range(kind, dim, dtype, isa):
    """Gradients are finite where the results are, beside ordinary events."""
    loc, tril, x = beyond_the_range(dim, dtype, inverse=kind == "precision_matrix", shrink=2.0**-12)
    if kind == "precision_matrix":
        matrix = np.diag((1 / np.diag(tril).astype(float)) ** 2).astype(dtype)
        d = fd.MultivariateNormal(loc, precision_matrix=matrix)
        tril = d.scale_tril.copy()
    elif kind == "scale_tril":
        d = fd.MultivariateNormal(loc, scale_tril=tril)
    else:
        tril = np.diag(np.diag(tril))
        d = fd.Normal(loc, np.diag(tril).copy())
        d = fd.Independent(d, 1) if kind == "Independent" else d
    shape = x.shape if kind == "Normal" else x.shape[:1]
    g = 1 / 64  # so that sums of squares are in the range
    got = fd.vjp(d.log_prob, x)[1](np.full(shape, g, dtype))
    with mpmath.workdps(60):
        whites = [exact_whitened(row, loc, tril) for row in x.astype(float)]
        turned, zeros = tril[::-1, ::-1].T, np.zeros(dim)
        by_value = [[-u * g for u in exact_whitened(z[::-1], zeros, turned)[::-1]] for z in whites]
        if kind in ("Normal", "Independent"):
            by_scale = [
                float(sum((z[i] ** 2 - 1) * g / mpmath.mpf(float(tril[i, i])) for z in whites))
                for i in range(dim)
            ]
    by_value = np.array(by_value).astype(float)
    tolerance, tiny = 40 * dim * np.finfo(dtype).eps, 8 * np.finfo(dtype).smallest_subnormal
    sizes = abs(by_value).max(0)
    assert (abs(got["value"] - by_value) <= tolerance * sizes + tiny).all()
    assert (abs(got["loc"] + by_value.sum(0)) <= 40 * (tolerance * sizes + tiny)).all()
    if kind in ("Normal", "Independent"):
        np.testing.assert_allclose(got["scale"], by_scale, rtol=tolerance, atol=40 * tiny)
    elif kind == "scale_tril":
        assert np.isfinite(got[kind]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_kl_with_a_difference_beyond_the_range(dtype, isa):
    most = float(np.finfo(dtype).max)
    numbers = [most, most / 64, -most, most / 128]
    n = 37  # some vectors and a part of one
    ordinary = [0.5, 1.5, 0.25, 0.75]
    arrays = [np.full(n, one, dtype) for one in ordinary]
    for array, one in zip(arrays, numbers, strict=True):
        array[::5] = one
    p, q = fd.Normal(*arrays[:2]), fd.Normal(*arrays[2:])
    with mpmath.workdps(60):
        wanted = []
        for row in zip(*(a.astype(float).tolist() for a in arrays), strict=True):
            loc_p, p_, loc_q, q_ = map(mpmath.mpf, row)
            r, z = p_ / q_, (loc_p - loc_q) / q_
            exact = z / q_, (r - 1 / r) / q_, -z / q_, (1 - r * r - z * z) / q_
            wanted.append([float(one) for one in exact])
    for one in (p, q), (fd.Independent(p, 1), fd.Independent(q, 1)):
        value, pullback = fd.vjp(fd.kl_divergence, *one)
        got = pullback(np.ones_like(value))
        for k, (side, name) in enumerate([("p", "loc"), ("p", "scale"), ("q", "loc"), ("q", "scale")]):
            np.testing.assert_allclose(
                got[side][name], np.array(wanted)[:, k], rtol=10 * np.finfo(dtype).eps,
                atol=4 * np.finfo(dtype).smallest_subnormal,
            )  # fmt: skip


class Parameters:
    """The array parameters of a kind, to build it again from others nearby."""

    def __init__(self, kind, g, dim=4, batch=(2, 3)):
        self.kind = kind
        if kind == "Normal":
            self.arrays = {"loc": g.normal(size=batch), "scale": g.uniform(0.5, 2, batch[-1:])}
        elif kind == "Independent(Normal)":
            self.arrays = {"loc": g.normal(size=(*batch, dim)), "scale": g.uniform(0.5, 2, (*batch, 1))}
        elif kind == "Independent(MVN)":
            self.arrays = {
                "loc": g.normal(size=(*batch, dim)),
                "precision_matrix": matrix_of("precision_matrix", random_tril(g, (*batch[-1:], dim, dim))),
            }
        else:
            tril = random_tril(g, (batch[0], 1, dim, dim))
            self.arrays = {"loc": g.normal(size=(batch[-1], dim)), kind: matrix_of(kind, tril)}

    def build(self, arrays):
        if self.kind == "Normal":
            return fd.Normal(**arrays)
        if self.kind == "Independent(Normal)":
            return fd.Independent(fd.Normal(**arrays), 1)
        d = fd.MultivariateNormal(**arrays)
        return fd.Independent(d, 1) if self.kind == "Independent(MVN)" else d

    def direction(self, g):
        """A random change: symmetric or lower triangular where the parameter is."""
        result = {}
        for name, array in self.arrays.items():
            change = g.normal(size=array.shape)
            if name == "scale_tril":
                change = np.tril(change)
            elif name in MATRICES:
                change = change + change.swapaxes(-1, -2)
            result[name] = change
        return result

    def moved(self, direction, h):
        return self.build({name: array + h * direction[name] for name, array in self.arrays.items()})


def assert_derivative(f, inner):
    """f(h) - f(-h), by Richardson's extrapolation of central differences, against 2h times an inner product."""
    h = 1e-3
    difference = [(f(t) - f(-t)) / (2 * t) for t in (h, h / 2)]
    got = (4 * difference[1] - difference[0]) / 3
    assert abs(got - inner) <= 1e-7 * (1 + abs(inner))


FINITE = ["Normal", *MATRICES, "Independent(Normal)", "Independent(MVN)"]


FAMILY = ("survival_function", "log_survival_function")
# From any numbers to the probabilities that quantiles are of.
PROBABILITIES = {
    "icdf": lambda x: 1 / (1 + np.exp(x)),
    "isf": lambda x: 1 / (1 + np.exp(x)),
    "log_icdf": lambda x: -np.log1p(np.exp(x)),
}


def chain(of_quantile, at, value):
    """The pullback of a quantile, carried on to what its probabilities were made of."""
    out, pullback = of_quantile
    h = 1e-5
    slope = (at(value + h) - at(value - h)) / (2 * h)

    def on(c):
        gradients = pullback(c)
        return {**gradients, "value": gradients["value"] * slope}

    return out, on


@pytest.mark.parametrize("kind", FINITE)
@pytest.mark.parametrize("dim", [1, 2, 5, 9])
def test_finite_differences(kind, dim):
    g = np.random.default_rng(dim)
    parameters = Parameters(kind, g, dim)
    d, direction = parameters.build(parameters.arrays), parameters.direction(g)
    value = d.sample((2,), rng=1)
    change = g.normal(size=value.shape)
    to = {**dict.fromkeys(("value", "eps", "x"), change), **direction}
    cases = {
        "prob": (lambda d, h: d.prob(value + h * change), lambda: fd.vjp(d.prob, value)),
        **{
            name: (
                lambda d, h, name=name: getattr(d, name)(value + h * change),
                lambda name=name: fd.vjp(getattr(d, name), value),
            )
            for name in ("colorize", "whiten", "mahalanobis", "cdf", "log_cdf", *FAMILY)
            if hasattr(d, name) and not (name.endswith("cdf") and "MVN" in kind)
        },
        **{
            name: (
                lambda d, h, name=name, at=at: getattr(d, name)(at(value + h * change)),
                lambda name=name, at=at: chain(fd.vjp(getattr(d, name), at(value)), at, value),
            )
            for name, at in PROBABILITIES.items()
            if hasattr(d, name)
        },
        "rsample": (lambda d, h: d.rsample((3,), rng=5), lambda: fd.vjp(d.rsample, (3,), rng=5)),
        "log_prob": (lambda d, h: d.log_prob(value + h * to["value"]), lambda: fd.vjp(d.log_prob, value)),
        "entropy": (lambda d, h: d.entropy(), lambda: fd.vjp(d.entropy)),
    }
    for evaluate, differentiate in cases.values():
        out, pullback = differentiate()
        c = g.normal(size=out.shape)
        inner = sum(np.sum(one * to[name]) for name, one in pullback(c).items())
        assert_derivative(lambda h: np.sum(c * evaluate(parameters.moved(direction, h), h)), inner)  # noqa: B023


PAIRS = [("Normal", "Normal"), ("Independent(MVN)", "Independent(MVN)")]
SIDES = [*MATRICES, "Independent(Normal)"]
PAIRS += [(p, q) for p in SIDES for q in SIDES]


@pytest.mark.parametrize(("of_p", "of_q"), PAIRS)
def test_finite_differences_of_kl(of_p, of_q):
    g = np.random.default_rng(0)
    sides = [Parameters(kind, g, 4, batch) for kind, batch in ((of_p, (2, 3)), (of_q, (1, 3)))]
    directions = [one.direction(g) for one in sides]
    out, pullback = fd.vjp(fd.kl_divergence, *(one.build(one.arrays) for one in sides))
    c = g.normal(size=out.shape)
    gradients = pullback(c)
    inner = sum(
        np.sum(gradients[side][name] * change)
        for side, direction in zip("pq", directions, strict=True)
        for name, change in direction.items()
    )

    def divergence(h):
        moved = (one.moved(direction, h) for one, direction in zip(sides, directions, strict=True))
        return np.sum(c * fd.kl_divergence(*moved))

    assert_derivative(divergence, inner)


@pytest.mark.parametrize("name", MATRICES)
def test_conventions(name, isa):
    for dim in (1, 2, 3, 8, 17):
        d = random_mvn(name, (3, dim), (3, dim, dim))
        value = d.sample(rng=0)
        for key, one in all_gradients(d, value, np.random.default_rng(0)).items():
            if key.endswith("scale_tril"):
                assert not np.triu(one, 1).any()
            elif "matrix" in key:
                np.testing.assert_array_equal(one, one.swapaxes(-1, -2))


# ---- shapes and dtypes -------------------------------------------------------------------------


def test_shapes_are_those_given():
    """Of what the user passed, though it was a broadcast view, a list or a number."""
    loc, scale = np.broadcast_to(0.5, (4, 3)), [1.0, 2.0, 3.0]
    _, pullback = fd.vjp(fd.Normal(loc, scale).rsample, (10,), rng=0)
    got, c = pullback(np.ones((10, 4, 3))), np.full((4, 3), 10.0)
    assert_same_bits(got["loc"], c)
    assert got["scale"].shape == (3,)
    _, pullback = fd.vjp(fd.Normal(0.0, 1).log_prob, [[1.0], [2.0]])
    got = pullback(np.ones((2, 1)))
    assert [one.shape for one in got.values()] == [(), (), (2, 1)]
    assert all(type(one) is np.ndarray for one in got.values())
    wide = np.broadcast_to(np.eye(2), (3, 2, 2))
    for name in MATRICES:
        _, pullback = fd.vjp(fd.MultivariateNormal(np.zeros(2), **{name: wide}).entropy)
        np.testing.assert_allclose(
            np.abs(pullback(np.ones(3))[name]), wide / (1 if name == "scale_tril" else 2)
        )


@pytest.mark.parametrize("kind", KINDS)
def test_expanded_and_indexed(kind):
    """An expanded distribution's parameters are the small ones; a part of a batch has parts of them."""
    d, g = one_of_each()[kind], np.random.default_rng(0)
    base = d
    while isinstance(base, fd.Independent):
        base = base.base_dist
    shapes = {name: np.shape(one) for name, one in base.parameters.items()}
    wide = d.expand((2, 4, 3))
    x, pullback = fd.vjp(wide.rsample, rng=0)
    y, plain = fd.vjp(d.rsample, (2,), rng=0)
    c = g.normal(size=x.shape)
    for name, one in plain(c).items():
        assert one.shape == shapes[name]
        np.testing.assert_allclose(pullback(c)[name], one, rtol=1e-12, atol=1e-12)
    out, pullback = fd.vjp(wide.log_prob, x)
    c = g.normal(size=out.shape)
    for (name, one), other in zip(pullback(c).items(), fd.vjp(d.log_prob, y)[1](c).values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12, err_msg=name)
    # The gradient by a part is that part of the gradient, with a dim of size 1 where it repeats.
    inside = np.isin(range(4), (1, 2)).astype(float)[:, None] * np.ones((4, 3))
    whole, part = fd.vjp(d.entropy)[1](inside), fd.vjp(d[1:3].entropy)[1](np.ones((2, 3)))
    for name, one in part.items():
        n = one.ndim - whole[name].ndim
        wanted = whole[name].reshape((1,) * n + whole[name].shape)
        wanted = wanted if wanted.shape[0] == 1 else wanted[1:3]
        np.testing.assert_allclose(one, wanted, rtol=1e-12, atol=1e-12)


def test_dtypes():
    f4, f8 = np.float32, np.float64
    d = fd.Normal(np.zeros(3, f4), np.ones(3, f8))
    _, pullback = fd.vjp(d.rsample, rng=0)
    assert [one.dtype for one in pullback(np.ones(3)).values()] == [f8, f8]
    for kind, narrow in with_gradients(f4).items():
        value = np.zeros(narrow.event_shape, f8)
        out, pullback = fd.vjp(narrow.log_prob, value)
        assert out.dtype == f8
        got = pullback(np.ones(out.shape))
        assert {name: one.dtype for name, one in got.items()} == {
            name: f8 if name == "value" else f4 for name in got
        }, kind
        out, pullback = fd.vjp(fd.kl_divergence, narrow, with_gradients(f8)[kind])
        got = pullback(np.ones(out.shape))
        assert {one.dtype.type for one in got["p"].values()} == {f4}
        assert {one.dtype.type for one in got["q"].values()} == {f8}
    assert fd.vjp(fd.Normal(0.0, 1.0).log_prob, 1)[1](2.0)["value"] == -2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_add(kind, dtype):
    """No samples, no batch, no elements: gradients are zeros of the right shapes."""
    d = one_of_each(dtype)[kind]
    for method, args in ((d.rsample, ((0,),)), (d.log_prob, (np.empty((0, 4, 3, *d.event_shape), dtype),))):
        out, pullback = fd.vjp(method, *args)
        for name, one in pullback(np.ones(out.shape, dtype)).items():
            assert one.shape[:1] == (0,) if name == "value" else not one.any()
    none = d[:0]
    value = np.empty((0, 3, *d.event_shape), dtype)
    for name, one in all_gradients(none, value, np.random.default_rng(0)).items():
        assert not one.any(), name
    if kind in MATRICES:
        empty = fd.MultivariateNormal(np.zeros((2, 0)), **{kind: np.zeros((0, 0))})
        got = all_gradients(empty, np.zeros((2, 0)), np.random.default_rng(0))
        assert all(0 in one.shape for one in got.values())


# ---- sums ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 127, 128, 129, 512, 577, 1000, 4096])
def test_long_sums(n, dtype, isa):
    """Over samples or batch, to so few roundings that no more than 64 terms can have been added in a row."""
    g = np.random.default_rng(n)
    tolerance = 2 * EPS[dtype]
    c = (g.uniform(0.5, 1, (n, 5)) * 2.0 ** g.integers(-3, 3, (n, 5))).astype(dtype)
    wanted = np.array([math.fsum(column) for column in c.T])
    over_samples = fd.vjp(fd.Normal(np.zeros(5, dtype), dtype(1)).rsample, (n,), rng=0)[1](c)
    over_batch = fd.vjp(fd.Normal(np.zeros((5, 1), dtype), np.ones((5, n), dtype)).rsample, rng=0)[1](
        np.ascontiguousarray(c.T)
    )
    roundings = min(n, 64)
    np.testing.assert_allclose(over_samples["loc"], wanted, rtol=roundings * tolerance)
    assert_same_bits(over_samples["loc"], over_batch["loc"][:, 0].copy())
    for k in range(5):  # one at a time: the same bits
        alone = fd.vjp(fd.Normal(dtype(0), dtype(1)).rsample, (n,), rng=0)[1](c[:, k].copy())
        assert_same_bits(alone["loc"], np.array(over_samples["loc"][k]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_million_terms(dtype):
    n = 1 << 20
    c = np.random.default_rng(0).uniform(1, 2, n).astype(dtype)
    got = fd.vjp(fd.Normal(dtype(0), dtype(1)).rsample, (n,), rng=0)[1](c)["loc"]
    np.testing.assert_allclose(got, math.fsum(c), rtol=32 * EPS[dtype])
    mvn = fd.MultivariateNormal(np.zeros(2, dtype), scale_tril=np.eye(2, dtype=dtype))
    x, pullback = fd.vjp(mvn.rsample, (n // 4,), rng=0)
    got = pullback(x)["scale_tril"]
    wide = x.astype(np.longdouble)
    np.testing.assert_allclose(got, np.tril(wide.T @ wide).astype(float), rtol=0, atol=n * EPS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [(), (3,), (1, 3), (4, 1), (4, 3)])
@pytest.mark.parametrize("dim", [1, 2, 3, 4, 7, 8, 16, 33])
def test_outer_products(dim, batch, dtype, isa):
    """Of all samples, and of all of a batch that share a matrix, in every order of dims."""
    g = np.random.default_rng(dim)
    tril = random_tril(g, (*batch, dim, dim), dtype)
    d = fd.MultivariateNormal(g.normal(size=(4, 3, dim)).astype(dtype), scale_tril=tril)
    for samples in ((), (5,), (67,)):
        x, pullback = fd.vjp(d.rsample, samples, rng=1)
        eps = fd.standard_normal(x.shape, dtype=dtype, rng=1).astype(float)
        c = g.normal(size=x.shape).astype(dtype)
        outer = np.einsum("...i,...j->...ij", c.astype(float), eps)
        wanted = np.tril(spread(outer, tril.shape))
        check(pullback(c)["scale_tril"], wanted, 200 * EPS[dtype])


# ---- the same bits ---------------------------------------------------------------------------------


@pytest.mark.skipif(len(fd.isas()) == 1, reason="one ISA only")
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_isa_equals_scalar(dtype):
    def everything():
        for dim in (1, 2, 3, 5, 8, 15, 16, 17, 33):
            g = np.random.default_rng(dim)
            for name in MATRICES:
                d = random_mvn(name, (3, dim), (3, dim, dim), dtype, seed=dim)
                yield from all_gradients(d, d.sample((70,), rng=1), g).values()
                shared = random_mvn(name, (3, dim), (dim, dim), dtype, seed=dim)
                yield from all_gradients(shared, d.sample((30,), rng=1), g).values()
                diagonal = fd.Independent(random_normal((3, dim), (dim,), dtype), 1)
                others = [random_mvn(other, (dim,), (3, dim, dim), dtype, seed=1) for other in MATRICES]
                for pair in ((d, diagonal), (diagonal, d), *((d, other) for other in others)):
                    out, pullback = fd.vjp(fd.kl_divergence, *pair)
                    yield from flat(pullback(np.ones_like(out))).values()
            for scale in ((dim,), (3, 1), (3, dim)):
                d = random_normal((3, dim), scale, dtype, seed=dim)
                yield from all_gradients(d, d.sample((70,), rng=1), g).values()

    before, results = fd.isa(), {}
    try:
        for isa in fd.isas():
            fd.set_isa(isa)
            results[isa] = list(everything())
    finally:
        fd.set_isa(before)
    for isa in fd.isas()[1:]:
        for got, wanted in zip(results[isa], results["scalar"], strict=True):
            assert_same_bits(got, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["Normal", *MATRICES])
def test_a_row_alone(name, dtype, isa):
    """One distribution of a batch has the gradients that it has in the batch."""
    g, n, dim = np.random.default_rng(0), 70, 5
    if name == "Normal":
        d, event = random_normal((6,), (6,), dtype), ()
        alone = [fd.Normal(d.loc[i].copy(), d.scale[i].copy()) for i in range(6)]
    else:
        d, event = random_mvn(name, (6, dim), (6, dim, dim), dtype), (dim,)
        alone = [
            fd.MultivariateNormal(d.loc[i].copy(), **{name: getattr(d, name)[i].copy()}) for i in range(6)
        ]
    value = g.normal(size=(n, 6, *event)).astype(dtype)
    c = g.normal(size=(n, 6)).astype(dtype)
    whole = fd.vjp(d.log_prob, value)[1](c)
    whole_entropy = fd.vjp(d.entropy)[1](c[0])
    for i, one in enumerate(alone):
        got = fd.vjp(one.log_prob, value[:, i])[1](c[:, i].copy())
        assert_same_bits(got.pop("value"), whole["value"][:, i].copy())
        for key, gradient in got.items():
            assert_same_bits(gradient, np.array(whole[key][i]))
        for key, gradient in fd.vjp(one.entropy)[1](c[0, i].copy()).items():
            assert_same_bits(gradient, np.array(whole_entropy[key][i]))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_layouts(kind, layout):
    """Of cotangents and values."""
    d = one_of_each()[kind]
    change = LAYOUTS[layout]
    value = d.sample((5,), rng=1)
    for method, args, kwargs in methods_of(d, value).values():
        out, pullback = fd.vjp(method, *args, **kwargs)
        c = np.random.default_rng(0).normal(size=out.shape)
        for got, wanted in zip(flat(pullback(change(c))).values(), flat(pullback(c)).values(), strict=True):
            assert_same_bits(got, wanted)
    out, plain = fd.vjp(d.log_prob, value)
    for name, one in fd.vjp(d.log_prob, change(value))[1](np.ones(out.shape)).items():
        assert_same_bits(one, plain(np.ones(out.shape))[name])


@pytest.mark.parametrize("kind", KINDS)
def test_cotangents_that_repeat(kind):
    """Broadcast views are read as they are, with the bits of their copies."""
    d = one_of_each()[kind]
    value = d.sample((5,), rng=1)
    for method, args, kwargs in methods_of(d, value).values():
        out, pullback = fd.vjp(method, *args, **kwargs)
        small = np.random.default_rng(0).normal(size=out.shape)
        for axes in ((0,), (1,), (out.ndim - 1,), tuple(range(out.ndim))):
            index = tuple(slice(1) if axis in axes else slice(None) for axis in range(out.ndim))
            view = np.broadcast_to(small[index], out.shape)
            for got, wanted in zip(
                flat(pullback(view)).values(), flat(pullback(view.copy())).values(), strict=True
            ):
                assert_same_bits(got, wanted)


# ---- noise again -----------------------------------------------------------------------------------

BIT_GENERATORS = [MT19937, PCG64, PCG64DXSM, SFC64, Philox, fd.BlockSFC64]


@pytest.mark.parametrize("bit_generator", BIT_GENERATORS)
@pytest.mark.parametrize("kind", KINDS)
def test_generators(kind, bit_generator):
    """Left where the method leaves them, moved by no pullback; a pullback stands by its own draw."""
    d = one_of_each()[kind]
    g, plain = Generator(bit_generator(1)), Generator(bit_generator(1))
    for rng in (g, plain):
        fd.standard_normal(3, rng=rng)
        rng.integers(10, size=3, dtype=np.int32)
    x, pullback = fd.vjp(d.rsample, (7,), rng=g)
    assert_same_bits(x, d.rsample((7,), rng=plain))
    assert state_of(g) == state_of(plain)
    c = np.random.default_rng(0).normal(size=x.shape)
    first = pullback(c)
    assert state_of(g) == state_of(plain)
    fd.standard_normal(1000, rng=g)
    g.random(5)
    for again in (pullback(c), pullback(c)):
        for name, one in again.items():
            assert_same_bits(one, first[name])
    # and it is the draw's noise: of x = loc + scale eps
    if kind == "Normal":
        eps = (x - d.loc) / d.scale
        np.testing.assert_allclose(first["scale"], spread(c * eps, (3,)), rtol=1e-9)


def test_a_generator_given_a_new_state_in_between():
    g = fd.default_rng(1)
    d = random_normal()
    x, pullback = fd.vjp(d.rsample, (4,), rng=g)
    before = pullback(np.ones_like(x))
    g.bit_generator.state = fd.BlockSFC64(5).state
    for name, one in pullback(np.ones_like(x)).items():
        assert_same_bits(one, before[name])


def test_far_along_the_stream():
    """Where positions carry over to the next key, and in the middle of a block."""
    d = fd.Normal(0.0, np.ones(3))
    for position in (5, 1023, 2**58 - 4, 2**60 + 77):
        bit_generator = fd.BlockSFC64(3)
        bit_generator.advance(position)
        x, pullback = fd.vjp(d.rsample, (700,), rng=bit_generator)
        np.testing.assert_allclose(pullback(np.ones_like(x))["scale"], x.sum(0), rtol=1e-12)


@pytest.mark.parametrize("rng", [None, 3, np.random.SeedSequence(3)])
def test_seeds_and_this_threads_own(rng):
    d = random_normal((4, 3), (3,))
    for workers in (None, 2):
        x, pullback = fd.vjp(d.rsample, (1000,), rng=rng, workers=workers)
        if rng is not None:
            assert_same_bits(x, d.rsample((1000,), rng=rng))
        d.rsample(rng=rng)
        eps = (x - d.loc) / d.scale
        np.testing.assert_allclose(pullback(np.ones_like(x))["scale"], eps.sum((0, 1)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("default_rng", [fd.default_rng, np.random.default_rng])
def test_threads_that_share_a_generator(default_rng):
    """Each pullback stands by the normals that its own value was made of."""
    rng, d, failures = default_rng(0), fd.Normal(0.0, np.ones(64)), []

    def work():
        for _ in range(200):
            x, pullback = fd.vjp(d.rsample, (3,), rng=rng)
            if not np.allclose(pullback(np.ones_like(x))["scale"], x.sum(0)):
                failures.append(x)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# ---- what is recorded --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_changes_in_place_afterwards(kind):
    """A value may be changed in place before the pullback is called."""
    d = one_of_each()[kind]
    value = d.sample((5,), rng=1)
    for method, args, kwargs in methods_of(d, value).values():
        out, pullback = fd.vjp(method, *args, **kwargs)
        c = np.random.default_rng(0).normal(size=out.shape)
        before = flat(pullback(c))
        copy = value.copy()
        value *= 3
        for name, one in flat(pullback(c)).items():
            assert_same_bits(one, before[name])
        value[...] = copy


@pytest.mark.parametrize("of_p", [True, False])
def test_a_scale_that_changes_after_a_divergence(of_p):
    """Of an Independent(Normal) from or to a MultivariateNormal; one without gradients by a factor."""
    scale = np.array([0.5, 2.0])
    ind = fd.Independent(fd.Normal(np.zeros(2), scale), 1)
    mvn = random_mvn("scale_tril", (2,), (2, 2))
    pair, side = ((ind, mvn), "p") if of_p else ((mvn, ind), "q")
    _, pullback = fd.vjp(fd.kl_divergence, *pair)
    before = pullback(np.ones(()))[side]["scale"]
    scale *= 3
    assert_same_bits(pullback(np.ones(()))[side]["scale"], before)


def test_changes_in_memory_of_others():
    """A value may be of any type that lends NumPy its memory."""
    value = memoryview(np.array([1.0, 2.0]))
    _, pullback = fd.vjp(random_normal((2,), (2,)).log_prob, value)
    before = pullback(np.ones(2))
    value[0] = 50.0
    for name, one in pullback(np.ones(2)).items():
        assert_same_bits(one, before[name])


def test_out_and_overlap():
    d = random_normal((3,), (3,))
    value = np.array([0.5, 1.0, 2.0])
    wanted_value, plain = fd.vjp(d.log_prob, value.copy())
    out, pullback = fd.vjp(d.log_prob, value, out=value)
    assert out is value
    assert_same_bits(out, wanted_value)
    for name, one in pullback(np.ones(3)).items():
        assert_same_bits(one, plain(np.ones(3))[name])
    x = np.empty((2, 3))
    assert fd.vjp(d.rsample, (2,), rng=0, out=x)[0] is x
    assert_same_bits(x, d.rsample((2,), rng=0))


def test_gradients_are_the_users_own():
    """Arrays of their own each time: changing them changes nothing else."""
    d = random_normal((3,), (3,))
    _, pullback = fd.vjp(d.rsample, rng=0)
    c = np.ones(3)
    first = pullback(c)
    assert not np.may_share_memory(first["loc"], c)
    kept = {name: one.copy() for name, one in first.items()}
    for one in first.values():
        one += 1
    for name, one in pullback(c).items():
        assert_same_bits(one, kept[name])


# ---- the ends of the range -----------------------------------------------------------------------------

EXTREMES = {np.float32: (1e-30, 1e-10, 1e10, 1e30), np.float64: (1e-300, 1e-100, 1e100, 1e300)}


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_scales(dtype, isa):
    """Gradients at scale s are those at scale 1 over s, whatever s; by a matrix, over s^2."""
    g = np.random.default_rng(0)
    tril, loc = random_tril(g, (4, 4), dtype), g.normal(size=4).astype(dtype)
    eps = np.finfo(dtype).eps
    for s in EXTREMES[dtype]:
        s = dtype(2.0 ** round(math.log2(s)))
        root = dtype(2.0 ** round(math.log2(s) / 2))
        makers = {
            "Normal": (s, lambda u: fd.Normal(loc * u, np.diag(tril) * u)),
            "Independent": (s, lambda u: fd.Independent(fd.Normal(loc * u, np.diag(tril) * u), 1)),
            "scale_tril": (s, lambda u: fd.MultivariateNormal(loc * u, scale_tril=tril * u)),
            "covariance_matrix": (
                root,
                lambda u: fd.MultivariateNormal(
                    loc * u, covariance_matrix=matrix_of("covariance_matrix", tril) * (u * u)
                ),
            ),
            "precision_matrix": (
                root,
                lambda u: fd.MultivariateNormal(
                    loc * u, precision_matrix=matrix_of("precision_matrix", tril) / (u * u)
                ),
            ),
        }
        powers = {"covariance_matrix": 2, "precision_matrix": -2}
        for kind, (u, make) in makers.items():
            one, other = make(dtype(1)), make(u)
            x = one.sample((3,), rng=0)
            pairs = [
                (fd.vjp(one.log_prob, x), fd.vjp(other.log_prob, x * u)),
                (fd.vjp(one.entropy), fd.vjp(other.entropy)),
                (fd.vjp(fd.kl_divergence, one, one), fd.vjp(fd.kl_divergence, other, other)),
            ]
            for (out, plain), (_, scaled) in pairs:
                wanted, got = flat(plain(np.ones_like(out))), flat(scaled(np.ones_like(out)))
                for name, gradient in wanted.items():
                    power = powers.get(name.rpartition(".")[2], 1)
                    back = got[name].astype(float) * float(u) ** power
                    size = np.abs(gradient).max(initial=1)
                    np.testing.assert_allclose(
                        back, gradient, rtol=0, atol=200 * eps * size, err_msg=f"{kind}, {name}, {u}"
                    )
            x, plain = fd.vjp(one.rsample, (3,), rng=0)
            _, scaled = fd.vjp(other.rsample, (3,), rng=0)
            wanted, got = plain(np.ones_like(x)), scaled(np.ones_like(x) / u)
            for name, gradient in wanted.items():
                power = powers.get(name, 1)
                back = got[name].astype(float) * float(u) ** power
                size = np.abs(gradient).max(initial=1)
                np.testing.assert_allclose(
                    back, gradient, rtol=0, atol=200 * eps * size, err_msg=f"{kind}, {name}"
                )


def exact_kl_gradients(p, q):
    """Those of the divergence of two Gaussian vectors, given their factors, by mpmath."""
    with mpmath.workdps(80):
        factors = [exact_factor(d) for d in (p, q)]
        of_p, of_q = (factor * factor.T for factor, _ in factors)
        over_p, over_q = (inverse.T * inverse for _, inverse in factors)
        delta = exact_difference(p.mean, q.mean)
        by_covariance = ((over_q - over_p) / 2, over_q * (of_q - of_p - delta * delta.T) * over_q / 2)
        result = {}
        for side, d, (factor, _), covariance, by, sign in zip(
            "pq", (p, q), factors, (of_p, of_q), by_covariance, (1, -1), strict=True
        ):
            name = "scale" if isinstance(d, fd.Independent) else d._given
            if name == "precision_matrix":
                by = -covariance * by * covariance
            elif name != "covariance_matrix":
                by = 2 * by * factor
            by = np.array(by.tolist(), float)
            by = np.tril(by) if name == "scale_tril" else np.diagonal(by) if name == "scale" else by
            result[f"{side}.loc"] = np.array([float(sign * x) for x in over_q * delta])
            result[f"{side}.{name}"] = by
        return result


@functools.cache
def exact_pairs(of_p, of_q, dim, dtype):
    # What comes close has been tried where mpmath is quick; large ones are for the panels of a factor.
    pairs = near_and_far(of_p, of_q, dim, dtype, (1, 1e-3, 1e-6, 1e-10, 1e-14) if dim < 10 else (1, 1e-10))
    return [(p, q, exact_kl_gradients(p, q)) for p, q in pairs]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 2, 5, 8, 9, 18])
@pytest.mark.parametrize(("of_p", "of_q"), VECTOR_PAIRS)
def test_kl_of_vectors(of_p, of_q, dim, dtype, isa):
    """Far from each other and near, where gradients are differences that all but vanish."""
    for p, q, wanted in exact_pairs(of_p, of_q, dim, dtype):
        got = flat(fd.vjp(fd.kl_divergence, p, q)[1](np.ones((), dtype)))
        assert got.keys() == wanted.keys()
        size = max(np.abs(one).max() for one in wanted.values())
        for name, one in got.items():
            assert np.abs(one - wanted[name]).max() <= 200 * EPS[dtype] * size


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 3, 8, 9, 30])
@pytest.mark.parametrize("kind", VECTORS)
def test_kl_of_itself(kind, dim, dtype, isa):
    """Gradients where a divergence is 0 are 0."""
    g = np.random.default_rng(dim)
    d = vectors(kind, g.normal(size=(3, dim)).astype(dtype), random_tril(g, (3, dim, dim), dtype))
    for one in flat(fd.vjp(fd.kl_divergence, d, d)[1](np.ones(3, dtype))).values():
        assert not one.any()


@pytest.mark.parametrize("dim", [2, 9])
@pytest.mark.parametrize("kind", ["scale_tril", "diagonal"])
def test_kl_of_vectors_with_a_difference_beyond_the_range(kind, dim, isa):
    most = np.finfo(float).max
    loc, one = np.full(dim, 0.75 * most), np.eye(dim)
    sides = [vectors(kind, sign * loc, one * most / 2) for sign in (1, -1)]
    sides[0] = vectors("scale_tril", loc, one * most / 2)
    got = flat(fd.vjp(fd.kl_divergence, *sides)[1](1.0))
    np.testing.assert_allclose(got["p.loc"] * most, np.full(dim, 6.0), rtol=1e-14)
    by_q = np.diagonal(got["q.scale_tril"]) if kind == "scale_tril" else got["q.scale"]
    np.testing.assert_allclose(by_q * most, np.full(dim, -18.0), rtol=1e-14)


def test_kl_between_extreme_scales():
    """Where squares of ratios leave the range and gradients do not."""
    p, q = fd.Normal(0.0, 1e300), fd.Normal(0.0, 1e100)
    with np.errstate(over="ignore"):
        _, pullback = fd.vjp(fd.kl_divergence, p, q)
    np.testing.assert_allclose(pullback(1.0)["p"]["scale"], 1e100)
    _, pullback = fd.vjp(fd.kl_divergence, fd.Normal(0.0, 1e-300), fd.Normal(0.0, 1.0))
    np.testing.assert_allclose(pullback(1.0)["p"]["scale"], -1e300)
    near = fd.Normal(0.0, 1 + 1e-9)
    _, pullback = fd.vjp(fd.kl_divergence, near, fd.Normal(0.0, 1.0))
    np.testing.assert_allclose(pullback(1.0)["p"]["scale"], 2 * (float(near.scale) - 1), rtol=1e-8)


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_values_that_are_not_finite(name, bad, isa):
    """One bad element spoils the gradient of its own event by value, and none of another's."""
    d = random_mvn(name, (7,), (7, 7))
    value = d.sample((5,), rng=0)
    value[2, 3] = bad
    _, pullback = fd.vjp(d.log_prob, value)
    got = pullback(np.ones(5))["value"]
    assert not np.isfinite(got[2]).any()
    fine = [0, 1, 3, 4]
    assert_same_bits(got[fine], fd.vjp(d.log_prob, value[fine])[1](np.ones(4))["value"])


# ---- errors ---------------------------------------------------------------------------------------------


def test_bad_cotangents():
    d = random_normal((3, 2), (2,))
    x, pullback = fd.vjp(d.rsample, (4,), rng=0)
    for c in (np.ones((3, 3)), np.ones((4, 2, 2)), np.ones((4, 3, 2, 1)), np.ones((1, 4, 3, 2))):
        with pytest.raises(
            ValueError, match=r"cotangent \(.*\) does not broadcast to the value's shape \(4, 3, 2\)"
        ):
            pullback(c)
    for c in (np.ones(x.shape, complex), "ones", None, np.ma.ones(x.shape)):
        with pytest.raises(TypeError, match="cotangent must"):
            pullback(c)
    assert pullback(np.ones(x.shape).tolist())["loc"].shape == (3, 2)


def test_methods_without_a_rule():
    d = random_normal()
    with pytest.raises(NotImplementedError, match=r"no gradient rule is registered for Normal\.expand"):
        fd.vjp(d.expand, (3, 2))
    with pytest.raises(NotImplementedError, match=r"Normal\.sample; differentiate rsample instead"):
        fd.vjp(d.sample)
    for bad in (fd.Normal.rsample, fd.Normal, len, None, lambda: 0, np.ones(3).sum):
        with pytest.raises(TypeError, match="method must be a distribution's method or kl_divergence"):
            fd.vjp(bad)


def test_the_methods_own_errors():
    """Come first, and leave the generator alone."""
    d, g = random_normal((3, 2), (2,)), fd.default_rng(0)
    before = state_of(g)
    with pytest.raises(ValueError, match="sample_shape"):
        fd.vjp(d.rsample, (-1,), rng=g)
    with pytest.raises(TypeError, match="rng must be"):
        fd.vjp(d.rsample, rng="seed")
    with pytest.raises(ValueError, match="out must have shape"):
        fd.vjp(d.rsample, rng=g, out=np.empty(7))
    with pytest.raises(ValueError, match="batch shapes do not broadcast"):
        fd.vjp(d.log_prob, np.ones(3))
    with pytest.raises(ValueError, match="event shape"):
        fd.vjp(fd.Independent(d, 1).log_prob, np.ones((3, 1)))
    with pytest.raises(TypeError, match="p must be a Distribution"):
        fd.vjp(fd.kl_divergence, 1, d)
    with pytest.raises(NotImplementedError, match="no KL divergence"):
        fd.vjp(fd.kl_divergence, d, random_mvn("scale_tril", (2,), (2, 2)))
    assert state_of(g) == before


# ---- rules of one's own -----------------------------------------------------------------------------------


@pytest.fixture
def registry():
    """Rules that a test registers are gone after it."""
    kept = [(one, one.copy()) for one in (_rules.RULES, _rules.RULES_OF_KL, _rules.DIVERGENCES)]
    yield
    for one, copy in kept:
        one.clear()
        one.update(copy)
    _rules.forget()


class Shifted(fd.Normal):
    """Draws are one up, its own method; its density is another hook's."""

    entropy = fd.Normal.entropy

    def rsample(self, *args, **kwargs):
        return super().rsample(*args, **kwargs) + 1

    def _log_prob(self, value, event_ndim, out):
        super()._log_prob(value - 1, event_ndim, out)


def test_what_a_subclass_overrides_needs_a_rule(registry):
    """For it alone: the other methods keep the rules of the class they come from."""
    d = Shifted(np.zeros(3), 2.0)
    assert fd.vjp(d.entropy)[1](np.ones(3))["scale"] == 1.5
    for method, args in ((d.rsample, ()), (d.log_prob, (0.0,))):
        with pytest.raises(NotImplementedError, match=r"Shifted\.(rsample|log_prob); see register_vjp"):
            fd.vjp(method, *args)
    with pytest.raises(NotImplementedError, match=r"Shifted\.log_prob"):
        fd.vjp(fd.Independent(d, 1).log_prob, np.zeros(3))

    @fd.register_vjp("log_prob", Shifted)
    def rule(d, value):
        z, scale = (value - 1 - d.loc) / d.scale, d.scale.copy()
        return lambda g, _: {"value": -g * z / scale, "loc": g * z / scale, "scale": g * (z * z - 1) / scale}

    value = np.linspace(-1, 1, 12).reshape(4, 3)
    shifted = fd.Normal(np.ones(3), 2.0)
    for wrap in (lambda d: d, lambda d: fd.Independent(d, 1)):
        out, pullback = fd.vjp(wrap(d).log_prob, value)
        wanted = fd.vjp(wrap(shifted).log_prob, value)[1](np.ones_like(out))
        for name, one in pullback(np.ones_like(out)).items():
            np.testing.assert_allclose(one, wanted[name], rtol=1e-14)


def test_a_rule_draws_its_noise_again(registry):
    @fd.register_vjp("rsample", Shifted)
    def rule(d, replay):
        def pull(g, _):
            eps = fd.standard_normal(g.shape, dtype=g.dtype, rng=replay())
            return {"loc": g, "scale": g * eps}

        return pull

    for rng in (3, np.random.default_rng(3)):
        d = Shifted(np.zeros((4, 1)), np.ones(3))
        x, pullback = fd.vjp(d.rsample, (5,), rng=rng)
        got = pullback(np.ones_like(x))
        np.testing.assert_allclose(got["scale"], (x - 1).sum((0, 1)), rtol=1e-12)
        assert_same_bits(got["loc"], np.full((4, 1), 15.0))


def test_a_divergence_of_ones_own(registry):
    p, q = Shifted(np.ones(3), 1.0), Shifted(0.0, 1.0)

    with pytest.raises(ValueError, match="no KL divergence is registered for Shifted and Shifted"):
        fd.register_vjp("kl_divergence", Shifted, Shifted)(lambda p, q: None)

    @fd.register_kl(Shifted, Shifted)
    def divergence(p, q):
        return (p.loc - q.loc) ** 4

    with pytest.raises(NotImplementedError, match="kl_divergence of Shifted and Shifted; see register_vjp"):
        fd.vjp(fd.kl_divergence, p, q)

    @fd.register_vjp("kl_divergence", Shifted, Shifted)
    def rule(p, q):
        slope = 4 * (p.loc - q.loc) ** 3
        return lambda g, _: ({"loc": g * slope, "scale": 0 * g}, {"loc": -g * slope, "scale": 0 * g})

    value, pullback = fd.vjp(fd.kl_divergence, p, q)
    got = pullback(np.ones(3))
    assert_same_bits(value, np.ones(3))
    assert_same_bits(got["p"]["loc"], np.full(3, 4.0))
    assert_same_bits(got["q"]["loc"], np.array(-12.0))

    @fd.register_kl(fd.Normal, fd.Normal)
    def another(p, q):
        return (p.loc - q.loc) ** 2

    with pytest.raises(NotImplementedError, match="kl_divergence of Normal and Normal"):
        fd.vjp(fd.kl_divergence, fd.Normal(0.0, 1.0), fd.Normal(0.0, 1.0))


def test_a_rule_that_is_replaced(registry):
    """The one that was registered last is used, also where another one has been used before."""
    for slope in (2.0, 3.0):

        @fd.register_vjp("entropy", fd.Normal)
        def rule(d, slope=slope):
            return lambda g, _: {"loc": 0 * g, "scale": slope * g}

        assert fd.vjp(fd.Normal(0.0, 1.0).entropy)[1](np.ones(()))["scale"] == slope


def test_a_rule_with_a_gradient_too_many(registry):
    @fd.register_vjp("entropy", fd.Normal)
    def rule(d):
        return lambda g, _: {"loc": g, "scale": g, "skew": g}

    with pytest.raises(ValueError, match="rule for Normal returned a gradient by 'skew'; it has loc, scale"):
        fd.vjp(fd.Normal(0.0, 1.0).entropy)[1](np.ones(()))


def test_bad_registrations():
    with pytest.raises(TypeError, match="a rule for entropy takes 1 type, got 2"):
        fd.register_vjp("entropy", fd.Normal, fd.Normal)
    with pytest.raises(TypeError, match="a rule for kl_divergence takes 2 types, got 1"):
        fd.register_vjp("kl_divergence", fd.Normal)
    with pytest.raises(TypeError, match="types must be subclasses of Distribution, got <class 'int'>"):
        fd.register_vjp("entropy", int)


def test_docstrings(registry):
    assert doctest.testmod(rules).failed == 0


# ---- memory -------------------------------------------------------------------------------------------------

MB = 2**20
N = 4 * MB  # float64 elements: 32 MB


def peak(call):
    tracemalloc.start()
    try:
        kept = call()
        return tracemalloc.get_traced_memory()[1], kept
    finally:
        tracemalloc.stop()


def draws():
    yield "no broadcasting", fd.Normal(np.zeros(N), np.ones(N)), ()
    yield "samples", fd.Normal(np.zeros(1024), np.ones(1024)), (N // 1024,)
    yield "in an Independent", fd.Independent(fd.Normal(np.zeros((N // 64, 64)), np.ones(64)), 1), ()
    for name in MATRICES:
        yield name, random_mvn(name, (64, 8), (64, 8, 8)), (N // 512,)
    yield "few samples of many", random_mvn("scale_tril", (N // 32, 2), (N // 32, 2, 2)), (16,)
    yield "one matrix for all", random_mvn("scale_tril", (N // 8, 8), (8, 8)), ()


@pytest.mark.parametrize(("what", "d", "samples"), list(draws()), ids=[what for what, *_ in draws()])
@pytest.mark.parametrize("default_rng", [fd.default_rng, np.random.default_rng])
def test_memory(what, d, samples, default_rng):
    """Of a draw and its pullback: three times the draw at most, the value and gradients included."""
    rng = default_rng(0)
    c = np.broadcast_to(1.0, samples + d.batch_shape + d.event_shape)

    def work():
        x, pullback = fd.vjp(d.rsample, samples, rng=rng)
        return x, pullback(c)

    used, (x, _) = peak(work)
    assert used <= 3 * x.nbytes + MB, f"{used / x.nbytes:.2f} draws"


@pytest.mark.parametrize("name", MATRICES)
def test_memory_of_densities(name):
    """What is recorded, the result, and the gradients."""
    d = random_mvn(name, (4, 8), (4, 8, 8))
    value = np.zeros((N // 32, 4, 8))
    c = np.broadcast_to(1.0, (N // 32, 4))

    def work():
        out, pullback = fd.vjp(d.log_prob, value)
        return out, pullback(c)

    used, _ = peak(work)
    assert used <= 2.2 * value.nbytes + MB
