"""kl_divergence: closed forms, dispatch."""

import functools
import itertools
import warnings

import mpmath
import numpy as np
import pytest
from cases import (
    DTYPES,
    VECTOR_PAIRS,
    VECTORS,
    exact_difference,
    exact_factor,
    near_and_far,
    random_mvn,
    random_normal,
    random_tril,
    vectors,
)

import fastdist as fd


def exact_normal_kl(loc_p, scale_p, loc_q, scale_q):
    with mpmath.workdps(60):
        loc_p, scale_p, loc_q, scale_q = (mpmath.mpf(float(x)) for x in (loc_p, scale_p, loc_q, scale_q))
        ratio = scale_p / scale_q
        return float((ratio**2 - 1 + ((loc_p - loc_q) / scale_q) ** 2) / 2 - mpmath.log(ratio))


def exact_kl(p, q):
    """Of Gaussian vectors, given their factors, by mpmath; and the larger of the factors' conditions."""
    with mpmath.workdps(80):
        (of_p, inverse_p), (of_q, inverse_q) = exact_factor(p), exact_factor(q)
        white, z = inverse_q * of_p, inverse_q * exact_difference(p.mean, q.mean)
        squares = sum(x**2 for x in white) + sum(x**2 for x in z)
        logs = sum(mpmath.log(white[i, i]) for i in range(white.rows))
        norm = mpmath.mnorm
        condition = max(norm(of_p) * norm(inverse_p), norm(of_q) * norm(inverse_q))
        return float((squares - white.rows) / 2 - logs), float(condition)


@functools.cache
def exact_pairs(of_p, of_q, dim, dtype):
    # As in test_vjp.py: what comes close is tried where mpmath is quick.
    near = (1, 1e-1, 1e-3, 1e-6, 1e-10, 1e-13, 1e-15) if dim < 10 else (1, 1e-6, 1e-13)
    pairs = near_and_far(of_p, of_q, dim, dtype, near)
    return [(p, q, *exact_kl(p, q)) for p, q in pairs]


# 1 + 1e-9 and the like: where (ratio^2 - 1) / 2 and log(ratio) all but cancel
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ratio", [1, 1 + 1e-6, 1 - 1e-3, 1.3, 3, 1e-3, 1e15, 1e-15])
@pytest.mark.parametrize("z", [0, 1e-3, 1, 30])
def test_normal(z, ratio, dtype):
    loc_q, scale_q = dtype(0.75), dtype(0.3)
    loc_p, scale_p = dtype(loc_q + dtype(z) * scale_q), dtype(scale_q * dtype(ratio))
    wanted = exact_normal_kl(loc_p, scale_p, loc_q, scale_q)
    got = fd.kl_divergence(fd.Normal(loc_p, scale_p), fd.Normal(loc_q, scale_q))
    np.testing.assert_allclose(
        got, wanted, rtol=8 * np.finfo(dtype).eps, atol=8 * np.finfo(dtype).eps * abs(ratio - 1)
    )
    assert got >= 0


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_normal_at_extreme_scales(scale):
    d = [fd.Normal(loc * scale, s * scale) for loc, s in ((1, 2), (3, 5))]
    np.testing.assert_allclose(fd.kl_divergence(*d), exact_normal_kl(1, 2, 3, 5), rtol=1e-14)
    v = [fd.Independent(one.expand((3,)), 1) for one in d]
    v += [
        fd.MultivariateNormal([x * scale] * 3, scale_tril=np.eye(3) * s * scale) for x, s in ((1, 2), (3, 5))
    ]
    for p in v[::2]:
        for q in v[1::2]:
            np.testing.assert_allclose(fd.kl_divergence(p, q), 3 * exact_normal_kl(1, 2, 3, 5), rtol=1e-12)


@pytest.mark.parametrize("size", [1e-30, 1, 1e30])
@pytest.mark.parametrize("z", [0, 0.01, 3])
def test_normal_in_float32(z, size, isa):
    """All ratios, those densely where the terms cancel: to ten roundings of the divergence of the same numbers."""
    ratio = np.concatenate([np.geomspace(0.3, 3.5, 20_001), np.geomspace(1e-8, 1e8, 2_001)])
    scale_q = np.float32(0.7 * size)
    loc_q, loc_p = np.float32(0.1 * size), np.float32((0.1 + 0.7 * z) * size)
    scale_p = (scale_q * ratio).astype(np.float32)
    got = fd.kl_divergence(fd.Normal(loc_p, scale_p), fd.Normal(loc_q, scale_q))
    wanted = fd.kl_divergence(
        fd.Normal(float(loc_p), scale_p.astype(float)), fd.Normal(float(loc_q), float(scale_q))
    )
    assert got.dtype == np.float32
    assert (abs(got - wanted) <= 10 * np.spacing(wanted.astype(np.float32))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_with_a_difference_beyond_the_range(dtype, isa):
    most = np.finfo(dtype).max
    for loc_q in (-most, 0.75 * most):
        p, q = fd.Normal(most, most / 2), fd.Normal(dtype(loc_q), most / 4)
        wanted = exact_normal_kl(1, 0.5, float(loc_q / most), 0.25)
        np.testing.assert_allclose(fd.kl_divergence(p, q), wanted, rtol=8 * np.finfo(dtype).eps)
        p, q = (fd.Independent(d.expand(37), 1) for d in (p, q))
        np.testing.assert_allclose(fd.kl_divergence(p, q), 37 * wanted, rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_with_a_square_beyond_the_range(dtype, isa):
    """Of a scale of which there is no reciprocal, too."""
    most = np.finfo(dtype).max
    for scale in (dtype(0.5), dtype(0.5 * np.finfo(dtype).tiny)):
        z = dtype(1.1 * most**0.5)
        got = fd.kl_divergence(fd.Normal(z * scale, scale), fd.Normal(dtype(0), scale))
        wanted = exact_normal_kl(z * scale, scale, 0, scale)
        np.testing.assert_allclose(got, wanted, rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 2, 5, 8, 9, 19])
@pytest.mark.parametrize(("of_p", "of_q"), VECTOR_PAIRS)
def test_vectors(of_p, of_q, dim, dtype, isa):
    """Far from each other and near: to roundings of the divergence itself."""
    for p, q, wanted, condition in exact_pairs(of_p, of_q, dim, dtype):
        got = fd.kl_divergence(p, q)
        assert got.dtype == dtype
        assert abs(got - wanted) <= 20 * np.finfo(dtype).eps * condition * wanted


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 2, 8, 9, 40])
@pytest.mark.parametrize("kind", VECTORS)
def test_of_itself_is_zero(kind, dim, dtype, isa):
    """Exactly: of the same arrays, of copies, of one dtype or two."""
    g = np.random.default_rng(dim)
    loc, tril = g.normal(size=(50, dim)).astype(dtype), random_tril(g, (50, dim, dim), dtype)
    d, same = vectors(kind, loc, tril), vectors(kind, loc.copy(), tril.copy())
    for q in (d, same, d.expand((50,))):
        assert not fd.kl_divergence(d, q).any()
    assert not fd.kl_divergence(d[:1], d[:1].expand((3, 50))).any()
    if kind in ("scale_tril", "diagonal"):
        assert not fd.kl_divergence(d, vectors(kind, loc.astype(float), tril.astype(float))).any()
        dense = vectors("scale_tril", loc, np.tril(tril * np.eye(dim, dtype=dtype)))
        plain = vectors("diagonal", loc, tril)
        assert not fd.kl_divergence(dense, plain).any()
        assert not fd.kl_divergence(plain, dense).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [2, 5, 10])
@pytest.mark.parametrize(("of_p", "of_q"), VECTOR_PAIRS)
def test_never_negative(of_p, of_q, dim, dtype):
    g = np.random.default_rng(dim)
    for near in (3e-1, 1e-4, 1e-7, 1e-9, 1e-16):
        loc, tril = g.normal(size=(400, dim)).astype(dtype), random_tril(g, (400, dim, dim), dtype)
        moved = (tril * (1 + near * g.uniform(-1, 1, tril.shape))).astype(dtype)
        if "diagonal" in (of_p, of_q):
            moved, tril = moved * np.eye(dim, dtype=dtype), tril * np.eye(dim, dtype=dtype)
        p, q = vectors(of_p, loc, tril), vectors(of_q, loc, moved)
        assert (fd.kl_divergence(p, q) >= 0).all()


@pytest.mark.parametrize("size", [1e-150, 1e-100, 1e150])
@pytest.mark.parametrize(("of_p", "of_q"), VECTOR_PAIRS)
def test_vectors_at_extreme_scales(of_p, of_q, size, isa):
    """The same for all elements, or each with its own."""
    g = np.random.default_rng(0)
    for dim in (3, 10):
        for sizes in (np.full(dim, size), np.where(np.arange(dim) % 2, size, 1 / size)):
            tril = random_tril(g, (2, dim, dim)) * np.eye(dim) * sizes
            if np.ptp(sizes) == 0 and "diagonal" not in (of_p, of_q):
                tril = random_tril(g, (2, dim, dim)) * size
            loc = g.normal(size=(2, dim)) * sizes
            p, q = vectors(of_p, loc[0], tril[0]), vectors(of_q, loc[1], tril[1])
            np.testing.assert_allclose(fd.kl_divergence(p, q), exact_kl(p, q)[0], rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [2, 8, 9])
@pytest.mark.parametrize(("of_p", "of_q"), VECTOR_PAIRS)
def test_vectors_with_differences_beyond_the_range(of_p, of_q, dim, dtype, isa):
    """Of locs, and of factors, whose quotients are not."""
    most = np.finfo(dtype).max
    if "precision_matrix" in (of_p, of_q) or "covariance_matrix" in (of_p, of_q):
        return  # squares of such factors are beyond the range themselves
    sides = []
    for kind, sign in ((of_p, 1), (of_q, -1)):
        tril = np.eye(dim, dtype=dtype) * dtype(most / 2)
        if kind != "diagonal":
            tril[1, 0] = sign * most * dtype(0.75)
        loc = np.zeros(dim, dtype)
        loc[:2] = sign * most * dtype(0.75)
        sides.append(vectors(kind, loc, tril))
    wanted = exact_kl(*sides)[0]
    assert 1 < wanted < 100
    np.testing.assert_allclose(fd.kl_divergence(*sides), wanted, rtol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [2, 9])
def test_logarithms_of_ratios_beyond_the_range(dim, dtype, isa):
    """A ratio of scales that is 0 has a finite logarithm; one whose square is infinite has no finite divergence."""
    small, large = (dtype(1e-300), dtype(1e100)) if dtype is np.float64 else (dtype(1e-30), dtype(1e25))
    loc, one = np.zeros(dim, dtype), np.eye(dim, dtype=dtype)
    for of_p, of_q in VECTOR_PAIRS:
        if "covariance_matrix" in (of_p, of_q) or "precision_matrix" in (of_p, of_q):
            continue
        p, q = vectors(of_p, loc, one * small), vectors(of_q, loc, one * large)
        np.testing.assert_allclose(fd.kl_divergence(p, q), exact_kl(p, q)[0], rtol=4 * np.finfo(dtype).eps)
        assert fd.kl_divergence(q, p) == np.inf


@pytest.mark.parametrize("dim", [2, 9])
@pytest.mark.parametrize(("of_p", "of_q"), VECTOR_PAIRS)
def test_locs_that_are_not_finite(of_p, of_q, dim):
    """Infinitely far is an infinite divergence, that from or to nowhere none."""
    g = np.random.default_rng(0)
    tril, loc = random_tril(g, (2, dim, dim)), g.normal(size=(2, 4, dim))
    for bad, wanted in ((np.inf, np.inf), (-np.inf, np.inf), (np.nan, np.nan)):
        for side in range(2):
            moved = loc.copy()
            moved[side, 1, 1] = bad
            p, q = (
                vectors(*side, validate_args=False) for side in zip((of_p, of_q), moved, tril, strict=True)
            )
            got = fd.kl_divergence(p, q)
            assert np.isfinite(got[[0, 2, 3]]).all()
            np.testing.assert_equal(got[1], wanted)


@pytest.mark.parametrize(
    "dtypes", [(np.float64, np.float64), (np.float32, np.float64), (np.float32, np.float32)]
)
@pytest.mark.parametrize(("of_p", "of_q"), VECTOR_PAIRS)
def test_vectors_raise_no_floating_point_errors(of_p, of_q, dtypes):
    """Whatever over- or underflows: neither NumPy's error state nor warnings concern a divergence and its gradients."""
    g = np.random.default_rng(0)
    sizes = {np.float32: (1, 1e-15, 1e15), np.float64: (1, 1e-100, 1e100)}
    sides = [
        [
            vectors(kind, (g.normal(size=3) * s).astype(dtype), (random_tril(g, (3, 3)) * s).astype(dtype))
            for s in sizes[dtype]
        ]
        for kind, dtype in zip((of_p, of_q), dtypes, strict=True)
    ]
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        for p in sides[0]:
            for q in sides[1]:
                value, pullback = fd.vjp(fd.kl_divergence, p, q)
                assert value > 0
                pullback(np.ones((), value.dtype))


def test_independent_sums():
    p, q = random_normal((4, 3, 2), (3, 1)), random_normal((3, 2), (2,), seed=1)
    parts = fd.kl_divergence(p, q)
    np.testing.assert_allclose(
        fd.kl_divergence(fd.Independent(p, 1), fd.Independent(q, 1)), parts.sum(-1), rtol=1e-14
    )
    np.testing.assert_allclose(
        fd.kl_divergence(fd.Independent(p, 2), fd.Independent(q, 2)), parts.sum((1, 2)), rtol=1e-14
    )
    p, q = (
        random_mvn("scale_tril", (4, 2, 3), (2, 3, 3)),
        random_mvn("precision_matrix", (2, 3), (3, 3), seed=1),
    )
    parts = fd.kl_divergence(p, q)
    np.testing.assert_allclose(
        fd.kl_divergence(fd.Independent(p, 1), fd.Independent(q, 1)), parts.sum(-1), rtol=1e-14
    )


class Base(fd.Distribution):
    """Of no particular kind: enough for a rule to be found by type."""

    arg_constraints = {}  # noqa: RUF012


def test_dispatch():
    """The nearest pair of base classes, p's first; unregistered pairs are named in the error."""

    class P(Base):
        pass

    class Q(Base):
        pass

    class SubP(P):
        pass

    class SubQ(Q):
        pass

    with pytest.raises(NotImplementedError, match=r"SubP.*SubQ"):
        fd.kl_divergence(SubP(), SubQ())

    @fd.register_kl(P, Q)
    def rule(p, q):
        return 1.0

    assert rule(None, None) == 1.0  # the decorator hands the function back
    for p, q in ((P, Q), (SubP, Q), (P, SubQ), (SubP, SubQ)):
        got = fd.kl_divergence(p(), q())
        assert type(got) is np.ndarray
        assert got == 1
    fd.register_kl(P, SubQ)(lambda p, q: 2.0)
    assert fd.kl_divergence(SubP(), SubQ()) == 2
    fd.register_kl(SubP, Q)(lambda p, q: 3.0)
    assert fd.kl_divergence(SubP(), SubQ()) == 3
    fd.register_kl(SubP, SubQ)(lambda p, q: 4.0)
    assert [fd.kl_divergence(p(), q()) for p in (P, SubP) for q in (Q, SubQ)] == [1, 2, 3, 4]
    with pytest.raises(NotImplementedError, match=r"SubQ.*SubP"):
        fd.kl_divergence(SubQ(), SubP())


def test_subclasses_inherit_rules():
    class Mine(fd.Normal):
        pass

    assert fd.kl_divergence(Mine(1.0, 1.0), fd.Normal(0.0, 1.0)) == 0.5


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (random_normal((2,), ()), random_mvn("scale_tril", (2,), (2, 2))),
        (random_normal((2,), ()), fd.Independent(random_normal((2,), ()), 1)),
        (fd.Independent(random_mvn("scale_tril", (2,), (2, 2)), 0), random_mvn("scale_tril", (2,), (2, 2))),
    ],
)
def test_unregistered_pairs(p, q):
    for pair in ((p, q), (q, p)):
        with pytest.raises(NotImplementedError):
            fd.kl_divergence(*pair)


@pytest.mark.parametrize("sizes", [(2, 3), (3, 2), (2, 1), (1, 2)])
def test_event_shapes_that_differ(sizes):
    """Events do not broadcast, not even those of size 1."""
    vectors = [
        (
            random_mvn("scale_tril", (n,), (n, n)),
            random_mvn("precision_matrix", (n,), (n, n)),
            fd.Independent(random_normal((n,), ()), 1),
            fd.Independent(random_normal((), (n,)), 1),
        )
        for n in sizes
    ]
    match = r"event.*p \({},\).*q \({},\)".format(*sizes)
    for p in vectors[0]:
        for q in vectors[1]:
            with pytest.raises(ValueError, match=match):
                fd.kl_divergence(p, q)


def test_batch_shapes_that_do_not_broadcast():
    p, q = (random_normal((n, 2), ()) for n in (3, 4))
    with pytest.raises(ValueError, match=r"p \(3, 2\).*q \(4, 2\)"):
        fd.kl_divergence(p, q)
    with pytest.raises(ValueError, match=r"p \(3,\).*q \(4,\)"):
        fd.kl_divergence(fd.Independent(p, 1), fd.Independent(q, 1))


@pytest.mark.parametrize(("p", "q"), [(object, fd.Normal), (fd.Normal, object), (fd.Normal(0, 1), fd.Normal)])
def test_register_kl_takes_types_of_distributions(p, q):
    with pytest.raises(TypeError, match="type_"):
        fd.register_kl(p, q)
    with pytest.raises(TypeError, match="Distribution"):
        fd.kl_divergence(fd.Normal(0, 1), 3)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("event", [1, 2, 6, 22, 40])
def test_independent_of_every_broadcast(event, dtype, isa):
    """Events side by side: whatever repeats along them or along the batch, as sums of scalars."""
    g = np.random.default_rng(event)
    shapes = (100, event), (event,), (100, 1), ()
    for of_loc, of_scale, of_q_loc, of_q_scale in itertools.product(shapes, repeat=4):
        loc, q_loc = (g.standard_normal(shape).astype(dtype) for shape in (of_loc, of_q_loc))
        scale, q_scale = (g.uniform(0.5, 2, shape).astype(dtype) for shape in (of_scale, of_q_scale))
        p, q = (fd.Normal(*arrays).expand((100, event)) for arrays in ((loc, scale), (q_loc, q_scale)))
        wanted = fd.kl_divergence(p, q).sum(-1, dtype=float)
        got = fd.kl_divergence(fd.Independent(p, 1), fd.Independent(q, 1))
        np.testing.assert_allclose(got, wanted, rtol=40 * np.finfo(dtype).eps)
