"""kl_divergence: closed forms, dispatch."""

import mpmath
import numpy as np
import pytest
from cases import DTYPES, MATRICES, matrix_of, random_mvn, random_normal, random_tril

import fastdist as fd


def exact_normal_kl(loc_p, scale_p, loc_q, scale_q):
    with mpmath.workdps(60):
        loc_p, scale_p, loc_q, scale_q = (mpmath.mpf(float(x)) for x in (loc_p, scale_p, loc_q, scale_q))
        ratio = scale_p / scale_q
        return float((ratio**2 - 1 + ((loc_p - loc_q) / scale_q) ** 2) / 2 - mpmath.log(ratio))


def exact_kl(loc_p, tril_p, loc_q, tril_q):
    """Of Gaussian vectors, from their factors, by mpmath."""
    with mpmath.workdps(60):
        p, q = mpmath.matrix(tril_p.tolist()), mpmath.matrix(tril_q.tolist())
        inverse = q**-1
        white, m = inverse * p, inverse * mpmath.matrix((loc_p.astype(float) - loc_q.astype(float)).tolist())
        trace, m = sum(x**2 for x in white), sum(x**2 for x in m)
        logs = sum(mpmath.log(q[i, i] / p[i, i]) for i in range(p.rows))
        return float((trace + m - p.rows) / 2 + logs)


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
@pytest.mark.parametrize("dim", [1, 2, 5, 12])
@pytest.mark.parametrize("of_p", [*MATRICES, "diagonal"])
@pytest.mark.parametrize("of_q", [*MATRICES, "diagonal"])
def test_vectors(of_p, of_q, dim, dtype, isa):
    g = np.random.default_rng(dim)
    factors, made = [], []
    for name in (of_p, of_q):
        loc, tril = g.normal(size=dim).astype(dtype), random_tril(g, (dim, dim), dtype)
        if name == "diagonal":
            tril = np.diag(np.diag(tril))
            d = fd.Independent(fd.Normal(loc, np.diag(tril)), 1)
        else:
            d = fd.MultivariateNormal(loc, **{name: matrix_of(name, tril)})
        factors += [loc, tril]
        made.append(d)
    wanted = exact_kl(*factors)
    np.testing.assert_allclose(
        fd.kl_divergence(*made), wanted, rtol=0, atol=60 * dim * np.finfo(dtype).eps * (1 + wanted)
    )


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_of_itself_is_zero(name, dtype):
    tolerance = 100 * np.finfo(dtype).eps
    for d in (random_mvn(name, (4, 9), (4, 9, 9), dtype), random_normal(dtype=dtype)):
        np.testing.assert_allclose(fd.kl_divergence(d, d), 0, atol=tolerance)


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

    _batch_shape = _event_shape = ()


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
