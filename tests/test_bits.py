"""A row gives the same bits wherever it falls, and on every instruction set."""

from fractions import Fraction

import numpy as np
import pytest
from cases import (
    DTYPES,
    EVERY_KIND,
    MATRICES,
    VECTOR_PAIRS,
    assert_same_bits,
    matrix_of,
    one_of_each,
    random_mvn,
    random_normal,
    random_tril,
    vectors,
)

import fastdist as fd


def contiguous(array):
    return np.array(array, order="C")


def alone(d, index):
    """One distribution of a batch, rebuilt from its parameters."""
    if isinstance(d, fd.Independent):
        return fd.Independent(alone(d.base_dist, index), d.reinterpreted_batch_ndims)
    if isinstance(d, fd.TransformedDistribution):  # of a Normal
        return type(d)(*(getattr(d, name)[index].copy() for name in d.arg_constraints))
    if isinstance(d, fd.MixtureSameFamily):
        weights = d.mixture_distribution.expand(d.batch_shape)
        return fd.MixtureSameFamily(alone(weights, index), alone(d.component_distribution, index))
    if isinstance(d, fd.Normal):
        return fd.Normal(d.loc[index].copy(), d.scale[index].copy())
    if isinstance(d, fd.TruncatedNormal):
        return fd.TruncatedNormal(
            *[getattr(d, name)[index].copy() for name in ("loc", "scale", "low", "high")]
        )
    if isinstance(d, fd.LowRankMultivariateNormal):
        return type(d)(*[getattr(d, name)[index].copy() for name in ("loc", "cov_factor", "cov_diag")])
    if d.support.is_discrete:
        name = "logits" if "logits" in d.parameters else "probs"
        return type(d)(**{name: np.array(d.parameters[name])[index].copy()})
    name = d._given
    return fd.MultivariateNormal(d.loc[index].copy(), **{name: getattr(d, name)[index].copy()})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_row_alone(kind, dtype, isa):
    """Drawn one by one from one stream, and looked at one by one, it is what it is in the batch."""
    d = one_of_each(dtype)[kind]
    default_rng = fd.default_rng if "Mixture" in kind else np.random.default_rng
    g, x = default_rng(0), d.sample((33,), rng=default_rng(0))
    log_prob, entropy = d.log_prob(x), None if "Mixture" in kind else d.entropy()
    rows = {index: alone(d, index) for index in np.ndindex(4, 3)}
    for s in range(33):
        for index, row in rows.items():
            assert_same_bits(row.sample(rng=g), contiguous(x[(s, *index)]))
            assert_same_bits(row.log_prob(x[(s, *index)]), contiguous(log_prob[(s, *index)]))
    for index, row in rows.items():
        if entropy is not None:
            assert_same_bits(row.entropy(), contiguous(entropy[index]))
        for name in MATRICES if isinstance(d, fd.MultivariateNormal) else ():
            if name in ("scale_tril", d._given):
                assert_same_bits(contiguous(getattr(row, name)), contiguous(getattr(d, name)[index]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 2, 3, 4, 7, 8, 9, 16, 21, 65, 150])
@pytest.mark.parametrize("name", MATRICES)
def test_offset_and_length(name, dim, dtype, isa):
    """Any stretch of values, of any length and offset, has the log densities that it has in the whole."""
    d = random_mvn(name, (dim,), (dim, dim), dtype)
    x = np.random.default_rng(0).normal(size=(23, dim)).astype(dtype)
    whole = d.log_prob(x)
    for start, stop in ((0, 1), (1, 6), (3, 23), (22, 23), (0, 4), (5, 12)):
        assert_same_bits(d.log_prob(x[start:stop]), whole[start:stop].copy())
    # as a batch of distributions, as an expanded batch, in two dims
    assert_same_bits(d.expand(23).log_prob(x), whole)
    assert_same_bits(d.log_prob(x.reshape(1, 23, 1, dim)).reshape(23), whole)
    batch = fd.MultivariateNormal(np.tile(d.loc, (23, 1)), **{name: np.tile(getattr(d, name), (23, 1, 1))})
    assert_same_bits(batch.log_prob(x), whole)
    draws = d.sample(23, rng=np.random.default_rng(0))
    assert_same_bits(d.expand(23).sample(rng=np.random.default_rng(0)), draws)
    assert_same_bits(batch.sample(rng=np.random.default_rng(0)), draws)
    g = np.random.default_rng(0)
    assert_same_bits(np.concatenate([d.sample(n, rng=g) for n in (1, 5, 0, 17)]), draws)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [2, 4, 5, 8, 9, 16])
def test_densities_of_large_batches(dim, dtype, isa):
    """Some samples of some of the batch are scored at a time: each has the density that it has alone."""
    d = random_mvn("scale_tril", (75, dim), (75, dim, dim), dtype)
    x = d.sample(37, rng=np.random.default_rng(0))
    log_prob = d.log_prob(x)
    for b in (0, 31, 32, 63, 74):
        alone = np.array([d[b].log_prob(row) for row in x[:, b]])
        assert_same_bits(contiguous(log_prob[:, b]), alone)
    assert_same_bits(d.log_prob(x[5]), contiguous(log_prob[5]))
    one_factor = fd.MultivariateNormal(d.loc, scale_tril=d.scale_tril[7])
    np.testing.assert_array_equal(one_factor.log_prob(x)[:, 7], log_prob[:, 7])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_batch", [2, 5, 19, 40])
def test_draws_of_small_events_side_by_side(n_batch, dtype, isa):
    """Neighbours with factors of their own are coloured together, each as it is alone."""
    for dim in range(1, 10):
        d = random_mvn("scale_tril", (n_batch, dim), (n_batch, dim, dim), dtype)
        x = d.sample(21, rng=0)
        eps = fd.standard_normal(x.shape, dtype=dtype, rng=0)
        for i in (0, 1, n_batch // 2, n_batch - 1):
            assert_same_bits(contiguous(x[:, i]), d[i].colorize(contiguous(eps[:, i])))


@pytest.mark.parametrize("dtype", DTYPES)
def test_determinants_of_factors_made_and_given(dtype, isa):
    """Their logarithms come with a factor that is made, and are made of one that is given."""
    for dim in (*range(1, 20), 63):
        d = random_mvn("covariance_matrix", (37, dim), (37, dim, dim), dtype)
        given = fd.MultivariateNormal(d.loc, scale_tril=d.scale_tril)
        assert_same_bits(d.entropy(), given.entropy())
        assert_same_bits(d.log_prob(d.loc), given.log_prob(d.loc))
        d = random_mvn("precision_matrix", (37, dim), (37, dim, dim), dtype)
        log_det = np.linalg.slogdet(d.precision_matrix.astype(np.float64))[1]
        tolerance = 2e-5 if dtype == np.float32 else 1e-11
        np.testing.assert_allclose(
            d.entropy(), (dim * np.log(2 * np.pi * np.e) - log_det) / 2, rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_offset_and_length_of_scalars(dtype, isa):
    d = random_normal((37,), (37,), dtype)
    x = d.sample(3, rng=0)
    whole = d.log_prob(x)
    for start, stop in ((0, 1), (1, 6), (3, 37), (36, 37), (0, 16), (5, 20)):
        assert_same_bits(d[start:stop].log_prob(x[:, start:stop]), whole[:, start:stop].copy())
        ind = fd.Independent(d[start:stop], 1)
        assert_same_bits(
            np.array([ind.log_prob(row) for row in x[:, start:stop]]), ind.log_prob(x[:, start:stop])
        )


ENDS = {"f": (1e-44, 1.2e-38, 3.4e38), "d": (5e-324, 2.3e-308, 1.7e308)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 2, 3, 6, 8, 9, 17, 25, 48, 49, 300, 1025])
def test_logarithms_of_an_events_scales(dim, dtype, isa):
    """One logarithm of a product, of events alone and side by side, to the ends of the range."""
    rng = np.random.default_rng(dim)
    scale = np.exp(rng.uniform(-80, 80, (40, dim))).astype(dtype)
    rows = np.arange(3)
    scale[rows, rng.integers(dim, size=3)] = ENDS[scale.dtype.char]
    scale[3:6] = np.array(ENDS[scale.dtype.char], dtype)[:, np.newaxis]
    scale[6] = 1 + np.finfo(dtype).eps
    entropy = fd.Independent(fd.Normal(np.zeros((), dtype), scale), 1).entropy()
    density = fd.Independent(fd.Normal(np.zeros((), dtype), scale), 1).log_prob(np.zeros(dim, dtype))
    for i in range(len(scale)):
        row = fd.Independent(fd.Normal(np.zeros((), dtype), scale[i]), 1)
        assert_same_bits(row.entropy(), np.asarray(entropy[i]))
        assert_same_bits(row.log_prob(np.zeros(dim, dtype)), np.asarray(density[i]))
    logs = np.log(scale.astype(np.longdouble))
    constant = np.longdouble(0.5) * np.log(2 * np.longdouble(np.pi))
    size = np.finfo(dtype).eps * (np.abs(logs).sum(-1) + dim)
    assert (np.abs((logs + constant).sum(-1) + density) < 2 * size).all()
    assert (np.abs((logs + constant + 0.5).sum(-1) - entropy) < 2 * size).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 20])
@pytest.mark.parametrize("dim", [2, 7, 60])
def test_logarithms_of_unchecked_scales(dim, n, dtype, isa):
    scale = np.ones((n, dim), dtype)
    for bad, value in ((0, -np.inf), (np.inf, np.inf), (np.nan, np.nan), (-1, np.nan)):
        scale[-1, -1] = bad
        normal = fd.Normal(np.zeros((), dtype), scale, validate_args=False)
        assert_same_bits(fd.Independent(normal, 1).entropy()[-1:], np.full(1, value, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_kl_of_a_row(dtype, isa):
    all_p, all_q = one_of_each(dtype), one_of_each(dtype)
    pairs = [("Normal", "Normal"), ("Independent(Normal)", "Independent(Normal)")]
    pairs += [(a, b) for a in MATRICES for b in MATRICES]
    for a, b in pairs:
        p, q = all_p[a], all_q[b][::-1]
        whole = fd.kl_divergence(p, q)
        for index in np.ndindex(4, 3):
            assert_same_bits(fd.kl_divergence(alone(p, index), alone(q, index)), contiguous(whole[index]))
        assert_same_bits(
            fd.kl_divergence(p[1:, 2].expand((2, 3)), q[1:, 2]),
            contiguous(np.broadcast_to(whole[1:, 2], (2, 3))),
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 3, 8, 9, 33])
@pytest.mark.parametrize(("of_p", "of_q"), VECTOR_PAIRS)
def test_kl_of_vectors_alone(of_p, of_q, dim, dtype, isa):
    """Of a batch, or of one q for all: a pair has the divergence that it has alone."""
    g = np.random.default_rng(dim)
    loc, tril = g.normal(size=(2, 21, dim)).astype(dtype), random_tril(g, (2, 21, dim, dim), dtype)
    p, q = vectors(of_p, loc[0], tril[0]), vectors(of_q, loc[1], tril[1])
    whole, shared = fd.kl_divergence(p, q), fd.kl_divergence(p, vectors(of_q, loc[1, 7], tril[1, 7]))
    for i in range(21):
        assert_same_bits(fd.kl_divergence(alone(p, i), alone(q, i)), contiguous(whole[i]))
        assert_same_bits(fd.kl_divergence(p[: i + 1], q[: i + 1])[i:], whole[i : i + 1].copy())
    assert_same_bits(contiguous(shared[7]), contiguous(whole[7]))


def everything(dtype):
    """Samples, densities, divergences and factors for d up to 40, in a fixed order."""
    for dim in range(1, 41):
        for name in MATRICES:
            d = random_mvn(name, (3, dim), (3, dim, dim), dtype, seed=dim)
            e = random_mvn(name, (dim,), (dim, dim), dtype, seed=dim + 1)
            x = d.sample(7, rng=dim)
            yield from (
                x,
                e.sample((7, 3), rng=dim),
                d.log_prob(x),
                e.log_prob(x),
                d.entropy(),
                fd.kl_divergence(d, e),
            )
            yield contiguous(d.scale_tril)
            diagonal = fd.Independent(random_normal((3, dim), (dim,), dtype), 1)
            for other in (diagonal, *(random_mvn(one, (dim,), (dim, dim), dtype) for one in MATRICES)):
                yield from (fd.kl_divergence(d, other), fd.kl_divergence(other, d))
            if dim > 1:
                nested = fd.Independent(d, 1)
                yield nested.log_prob(x)
        for scale in ((dim,), (1,), (3, 1), ()):
            d = random_normal((3, dim), scale, dtype, seed=dim)
            x = d.sample(5, rng=dim)
            yield from (
                x,
                d.log_prob(x),
                d.cdf(x),
                fd.Independent(d, 1).log_prob(x),
                fd.Independent(d, 2).log_prob(x),
            )
            yield random_normal((), scale, dtype).sample((5, 3), rng=dim)


@pytest.mark.skipif(len(fd.isas()) == 1, reason="one ISA only")
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_isa_equals_scalar(dtype):
    before = fd.isa()
    results = {}
    try:
        for isa in fd.isas():
            fd.set_isa(isa)
            results[isa] = list(everything(dtype))
    finally:
        fd.set_isa(before)
    for isa in fd.isas()[1:]:
        for got, wanted in zip(results[isa], results["scalar"], strict=True):
            assert_same_bits(got, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MATRICES)
def test_factors_alone_and_in_a_batch(name, dtype, isa):
    for dim in range(1, 41):
        matrix = matrix_of(name, random_tril(np.random.default_rng(dim), (5, dim, dim), dtype))
        whole = fd.MultivariateNormal(np.zeros(dim, dtype), **{name: matrix}).scale_tril
        for i in (0, 3, 4):
            one = fd.MultivariateNormal(np.zeros(dim, dtype), **{name: matrix[i]}).scale_tril
            assert_same_bits(contiguous(one), contiguous(whole[i]))


def fma(a, b, c):
    """a * b + c, rounded once."""
    return float(Fraction(a) * Fraction(b) + Fraction(c))


@pytest.mark.parametrize("dim", [1, 2, 5, 9])
@pytest.mark.parametrize("name", ["scale_tril", "covariance_matrix"])
def test_a_draw_sums_by_fma_in_ascending_order(name, dim, isa):
    """To the last bit: what makes it the same on every machine."""
    d = random_mvn(name, (dim,), (dim, dim))
    eps = np.random.default_rng(0).standard_normal((7, dim))
    draws = d.sample(7, rng=np.random.default_rng(0))
    for x, e in zip(draws, eps, strict=True):
        for i in range(dim):
            total = 0.0
            for k in range(i + 1):
                total = fma(d.scale_tril[i, k], e[k], total)
            assert x[i] == d.loc[i] + total
