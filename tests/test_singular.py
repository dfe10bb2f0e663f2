"""MultivariateNormal(..., allow_singular=True): against scipy's densities, pseudoinverses and closed forms."""

import copy
import pickle

import numpy as np
import pytest
import scipy.stats
from cases import DTYPES, assert_same_bits, random_tril
from numpy.linalg import LinAlgError
from numpy.testing import assert_allclose, assert_array_equal

import fastdist as fd
from fastdist.distributions import pivoted

TIGHT = {np.float32: 2e-4, np.float64: 1e-9}


def semidefinite(g, dim, rank, dtype=np.float64):
    """A covariance of a rank, symmetric to the last bit."""
    half = g.normal(size=(dim, rank))
    return (half @ half.T / max(rank, 1)).astype(dtype)


def mixed(dtype=np.float64, dim=5, ranks=(2, 5, 0, 4), seed=0):
    """A batch (ranks, 1) of loc of batch (3,): some of its covariances are regular."""
    g = np.random.default_rng(seed)
    matrices = [semidefinite(g, dim, rank) for rank in ranks]
    for i, rank in enumerate(ranks):
        if rank == dim:
            tril = random_tril(g, (dim, dim))
            matrices[i] = tril @ tril.T
    matrix = np.stack(matrices)[:, None].astype(dtype)
    return fd.MultivariateNormal(g.normal(size=(3, dim)).astype(dtype), matrix, allow_singular=True)


def items(d):
    """Index, loc and covariance of each, in float64."""
    for index in np.ndindex(d.batch_shape):
        yield index, d.loc[index].astype(float), d.covariance_matrix[index].astype(float)


def pseudoinverse(matrix, rank):
    values, vectors = np.linalg.eigh(matrix)
    keep = vectors[:, len(matrix) - rank :]
    return keep / values[len(matrix) - rank :] @ keep.T


# ---- densities ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_densities_are_scipys(seed):
    g = np.random.default_rng(seed)
    dim = int(g.integers(1, 40))
    ranks = [int(rank) for rank in g.integers(0, dim + 1, 4)]
    d = mixed(dim=dim, ranks=ranks, seed=seed)
    assert_array_equal(d.rank, np.broadcast_to(np.array(ranks)[:, None], (4, 3)))
    x = d.sample((7,), rng=seed)
    log_prob, entropy = d.log_prob(x), d.entropy()
    for index, loc, covariance in items(d):
        theirs = scipy.stats.multivariate_normal(loc, covariance, allow_singular=True)
        here = (slice(None), *index)
        expected = theirs.logpdf(x[here].reshape(7, dim)) if d.rank[index] else 0  # scipy's: -inf, of a point
        assert_allclose(log_prob[here], expected, rtol=1e-9, atol=1e-9)
        assert_allclose(entropy[index], theirs.entropy(), rtol=1e-9, atol=1e-9)


def test_densities_of_float32():
    """Of the same covariance in float64, rank and densities are the same to its precision."""
    d = mixed(np.float32, dim=12, ranks=(3, 12, 0, 7))
    wide = mixed(np.float64, dim=12, ranks=(3, 12, 0, 7))
    assert_array_equal(d.rank, wide.rank)
    x = d.sample((50,), rng=0)
    assert x.dtype == d.log_prob(x).dtype == d.entropy().dtype == np.float32
    assert np.isfinite(d.log_prob(x)).all()
    for index, _, covariance in items(wide):
        deviation = (x - d.loc)[:, *index].astype(float)
        rank = int(wide.rank[index])
        distance = np.einsum("ni,ij,nj->n", deviation, pseudoinverse(covariance, rank), deviation)
        assert_allclose(d.mahalanobis(x)[:, *index], distance, rtol=2e-2, atol=1e-3)
    assert_allclose(d.entropy(), wide.entropy(), rtol=1e-4, atol=1e-3)
    assert d.log_prob(x.astype(float)).dtype == np.float64
    assert np.isfinite(d.log_prob(x.astype(float))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_off_the_support(dtype):
    d = mixed(dtype)
    x = d.sample((4,), rng=0)
    moved = x + np.asarray(0.05, dtype)
    singular = d.rank < 5
    assert np.isfinite(d.log_prob(x)).all()
    assert_array_equal(d.log_prob(moved) == -np.inf, np.broadcast_to(singular, (4, 4, 3)))
    assert_array_equal(d.mahalanobis(moved) == np.inf, np.broadcast_to(singular, (4, 4, 3)))
    assert_array_equal(np.isnan(d.whiten(moved)).all(-1), np.broadcast_to(singular, (4, 4, 3)))
    assert_array_equal(d.prob(moved)[:, singular], 0)
    for value, expected in ((np.nan, np.nan), (np.inf, -np.inf), (-np.inf, -np.inf)):
        bad = x.copy()
        bad[..., 2] = value
        assert_array_equal(d.log_prob(bad), np.full((4, 4, 3), expected))
    bad[..., 0] = np.nan
    assert np.isnan(d.log_prob(bad)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e6, 1e15])
def test_draws_are_on_the_support_however_far_it_is(dtype, size):
    """A loc that leaves few digits for the covariance; and covariances of any size."""
    g = np.random.default_rng(0)
    matrix = semidefinite(g, 9, 4, dtype)
    d = fd.MultivariateNormal(np.full(9, size, dtype), matrix, allow_singular=True)
    assert np.isfinite(d.log_prob(d.sample((1000,), rng=0))).all()
    small = fd.MultivariateNormal(np.zeros(9, dtype), matrix * dtype(size), allow_singular=True)
    x = small.sample((1000,), rng=0)
    assert small.rank == 4
    assert np.isfinite(small.log_prob(x)).all()
    scale = np.sqrt(size)
    assert_allclose(
        small.log_prob(x) + 4 * np.log(scale),
        fd.MultivariateNormal(np.zeros(9, dtype), matrix, allow_singular=True).log_prob(x / dtype(scale)),
        rtol=1e-3 if dtype is np.float32 else 1e-9,
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_regular_keeps_its_bits(dtype, isa):
    d = mixed(dtype, dim=11, ranks=(3, 11, 0, 11))
    x, eps = d.sample((6,), rng=0), fd.standard_normal((6, 4, 3, 11), dtype=dtype, rng=0)
    _, scored = d.sample_and_log_prob((6,), rng=0)
    for i in (1, 3):
        plain = fd.MultivariateNormal(d.loc[i], d.covariance_matrix[i])
        assert_same_bits(plain.colorize(eps[:, i]), x[:, i].copy())
        assert_same_bits(plain.log_prob(x[:, i]), d.log_prob(x)[:, i].copy())
        assert_same_bits(plain.whiten(x[:, i]), d.whiten(x)[:, i].copy())
        assert_same_bits(plain.mahalanobis(x[:, i]), d.mahalanobis(x)[:, i].copy())
        assert_same_bits(plain.entropy(), d.entropy()[i].copy())
        assert_same_bits(fd.kl_divergence(plain, plain[::-1]), fd.kl_divergence(d, d[:, ::-1])[i].copy())
        alone = fd.MultivariateNormal(d.loc[i], d.covariance_matrix[i], allow_singular=True)
        assert_same_bits(alone.sample(6, rng=0), plain.sample(6, rng=0))
        assert_same_bits(alone.scale_tril.copy(), plain.scale_tril.copy())
        assert_same_bits(d[i].scale_tril.copy(), plain.scale_tril.copy())
        _, both = alone.sample_and_log_prob((), rng=1)
        assert_same_bits(both, plain.sample_and_log_prob((), rng=1)[1])
    assert_allclose(scored, d.log_prob(x), rtol=TIGHT[dtype], atol=1e-2 if dtype is np.float32 else 1e-9)


def bits(dtype):
    """What a batch makes, of factors of one and of several panels."""
    for dim, ranks in ((5, (2, 5)), (40, (17, 40)), (130, (75, 3))):
        d = mixed(dtype, dim=dim, ranks=ranks)
        x, log_prob = d.sample_and_log_prob((5,), rng=3)
        yield from (x, log_prob, d.log_prob(x), d.whiten(x), d.mahalanobis(x), d.entropy(), d.rank.copy())
        value, pullback = fd.vjp(d.log_prob, x)
        yield pullback(np.ones_like(value))["value"]
        yield fd.kl_divergence(d, d[:, ::-1])
        yield d.condition([0], d.loc[..., :1]).covariance_matrix.copy()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_on_every_isa(dtype, isa):
    found = list(bits(dtype))
    fd.set_isa("scalar")
    for array, expected in zip(found, bits(dtype), strict=True):
        assert_same_bits(array, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_however_a_draw_is_cut(dtype):
    d = mixed(dtype)
    x = d.sample((3000,), rng=0)
    assert_same_bits(d.sample((3000,), rng=0, workers=2), x)
    g = fd.default_rng(0)
    assert_same_bits(np.concatenate([d.sample((n,), rng=g) for n in (1, 1999, 1000)]), x)
    assert_same_bits(d.rsample((3000,), rng=0), x)
    assert_same_bits(d.colorize(fd.standard_normal((3000, 4, 3, 5), dtype=dtype, rng=0)), x)
    out = np.empty_like(x)
    assert d.sample((3000,), rng=0, out=out) is out
    assert_same_bits(out, x)
    again, log_prob = d.sample_and_log_prob((3000,), rng=0)
    assert_same_bits(again, x)
    assert_allclose(log_prob, d.log_prob(x), atol=2e-2 if dtype is np.float32 else 1e-9)
    theirs = d.sample((20,), rng=np.random.default_rng(0))
    noise = np.random.default_rng(0).standard_normal((20, 4, 3, 5), dtype)
    assert_same_bits(theirs, d.colorize(noise))


def test_tiles(monkeypatch):
    """Some at a time, samples and items of the batch, it is what it is all at once."""
    d = mixed()
    x = d.sample((30,), rng=0)
    whole = d.log_prob(x), d.whiten(x), d.mahalanobis(x), d.sample(30, rng=1), d.log_prob(x[0, 0, 0])
    for tile in (1, 10, 40, 200):
        monkeypatch.setattr(pivoted, "TILE", tile)
        parts = d.log_prob(x), d.whiten(x), d.mahalanobis(x), d.sample(30, rng=1), d.log_prob(x[0, 0, 0])
        for part, expected in zip(parts, whole, strict=True):
            assert_same_bits(part, expected)


# ---- parameters, moments, noise ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_and_matrices(dtype):
    d = mixed(dtype, dim=20, ranks=(7, 20, 0, 19))
    assert_array_equal(d.mean, np.broadcast_to(d.loc, d.mean.shape))
    assert_array_equal(d.variance, np.diagonal(d.covariance_matrix, axis1=-2, axis2=-1))
    tril = d.scale_tril.astype(float)
    assert_array_equal(tril, np.tril(tril))
    assert_allclose(tril @ tril.swapaxes(-1, -2), d.covariance_matrix, atol=10 * np.finfo(dtype).eps)
    assert d.rank.dtype == np.intp
    assert fd.MultivariateNormal(np.zeros(3), np.eye(3)).rank == 3
    with pytest.raises(LinAlgError, match=r"no precision_matrix.*\(4, 1, 20, 20\).*index \(0, 0\), rank 7"):
        _ = d.precision_matrix


def test_draws_have_the_covariance():
    """Sample moments of 20 000 events: each within 5 standard errors (false alarms below 1e-4)."""
    g = np.random.default_rng(0)
    d = fd.MultivariateNormal(g.normal(size=6), semidefinite(g, 6, 3), allow_singular=True)
    n = 20_000
    x = d.sample(n, rng=1)
    assert (abs(x.mean(0) - d.mean) < 5 * d.stddev / np.sqrt(n)).all()
    covariance = d.covariance_matrix
    error = np.sqrt((np.square(covariance) + np.outer(d.variance, d.variance)) / n)
    assert (abs(np.cov(x.T) - covariance) < 5 * error).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_and_back(dtype):
    """`whiten` gives back the noise that counts, and 0 for what does not."""
    d = mixed(dtype)
    eps = fd.standard_normal((50, 4, 3, 5), dtype=dtype, rng=0)
    x = d.colorize(eps)
    z = d.whiten(x)
    counts = np.arange(5) < d.rank[..., None]
    assert_allclose(z, np.where(counts, eps, 0), atol=1e-3 if dtype is np.float32 else 1e-10)
    assert_allclose(d.colorize(z), x, atol=1e-5 if dtype is np.float32 else 1e-12)
    assert_allclose(d.mahalanobis(x), np.square(z).sum(-1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_batches(dtype):
    d = mixed(dtype)
    x = d.sample((2,), rng=0)
    log_prob = d.log_prob(x)
    assert_same_bits(d.expand((2, 4, 3)).log_prob(x), log_prob)
    assert_array_equal(d.expand((2, 4, 3)).rank, np.broadcast_to(d.rank, (2, 4, 3)))
    for index in (0, 1, (slice(None), 1), ([2, 0, 1],), (slice(1, 3), None, 2)):
        here = (slice(None), *index) if isinstance(index, tuple) else (slice(None), index)
        assert_same_bits(d[index].log_prob(x[here]), np.ascontiguousarray(log_prob[here]))
        assert_array_equal(d[index].rank, d.rank[index])
    parts = [d[i] for i in range(4)]  # a regular one among them
    for stacked in (fd.stack(parts), fd.stack([d[1].replace(allow_singular=False), d[0]])):
        assert stacked.parameters["allow_singular"]
    assert_same_bits(fd.stack(parts).log_prob(x), log_prob)
    assert_same_bits(fd.stack(parts, axis=1).log_prob(x.swapaxes(1, 2)), log_prob.swapaxes(1, 2).copy())
    for made in (
        pickle.loads(pickle.dumps(d)),
        copy.deepcopy(d),
        fd.MultivariateNormal(**d.parameters),
        d.replace(loc=d.loc),
    ):
        assert_same_bits(made.sample((2,), rng=0), x)
        assert made.parameters["allow_singular"] is True
    assert d.replace(precision_matrix=np.eye(5)).rank.shape == (3,)
    assert repr(d) == "MultivariateNormal(loc: (4, 3, 5), covariance_matrix: (4, 3, 5, 5))"


def test_files_and_parts_of_draws(tmp_path):
    d = mixed(dim=4, ranks=(2, 4))
    fd.save(tmp_path / "d.npz", d)
    x = d.sample((9,), rng=0)
    assert_same_bits(fd.load(tmp_path / "d.npz").sample((9,), rng=0), x)
    part = (slice(2, 7), slice(0, 1))
    assert_same_bits(d.sample_part((9,), part, rng=0), x[part].copy())


def test_holders():
    """In an Independent, under a transform, in a mixture."""
    d = mixed()
    x, log_prob = d.sample_and_log_prob((5,), rng=0)
    ind = fd.Independent(d, 1)
    assert_same_bits(ind.sample((5,), rng=0), x)
    for found in (ind.log_prob(x), ind.sample_and_log_prob((5,), rng=0)[1]):
        assert_allclose(found, log_prob.sum(-1), rtol=1e-9)
    assert_allclose(ind.entropy(), d.entropy().sum(-1))
    assert_allclose(ind.rsample((5,), rng=0), x)
    squashed = fd.TransformedDistribution(d, [fd.transforms.ExpTransform()])
    assert_allclose(squashed.sample((5,), rng=0), np.exp(x))
    moved = fd.TransformedDistribution(d, [fd.transforms.AffineTransform(1.0, 2.0)])
    assert_array_equal(fd.kl_divergence(moved, moved) < 1e-9, True)
    mixture = fd.MixtureSameFamily(fd.Categorical(np.ones(3)), d)
    y = mixture.sample((50,), rng=0)
    parts = d.log_prob(y[..., None, :])
    assert_allclose(mixture.log_prob(y), np.log(np.exp(parts).mean(-1)), rtol=1e-8)


# ---- errors ------------------------------------------------------------------------------------------


def test_errors_say_which_pivot():
    good = np.eye(3)
    with pytest.raises(LinAlgError) as error:
        fd.MultivariateNormal(np.zeros(3), np.stack([good, good - 1.5 * np.diag([0, 1, 0])]))
    assert str(error.value) == (
        "covariance_matrix is not positive definite (to the precision of float64): shape (2, 3, 3), batch index "
        "(1,), pivot 1 of its Cholesky factorisation is -0.5, which should be above 0; "
        "it has a negative eigenvalue, as no covariance has"
    )
    pattern = (
        r"pivot 0 of its Cholesky factorisation is -0\.75.*allow_singular=True is for a covariance_matrix"
    )
    with pytest.raises(LinAlgError, match=pattern):
        fd.MultivariateNormal(np.zeros(2), precision_matrix=[[0.25, 1.0], [1.0, 1.0]])
    for dim in (4, 100):  # by either factorisation, at any pivot
        matrix = np.eye(dim)
        matrix[-1, 0] = matrix[0, -1] = 1
        pattern = (
            rf"pivot {dim - 1} of .* is 0, .* above .*e-1[456]; allow_singular=True admits singular matrices$"
        )
        with pytest.raises(LinAlgError, match=pattern):
            fd.MultivariateNormal(np.zeros(dim), matrix)
    with pytest.raises(LinAlgError, match=r"batch index \(\), pivot 1 .* is nan, which should be above \S+$"):
        fd.MultivariateNormal(
            np.zeros(2), [[1.0, 0.0], [0.0, np.nan]], allow_singular=True, validate_args=False
        )


@pytest.mark.parametrize(
    ("matrix", "rank", "size"),
    [
        ([[0.0, 1.0], [1.0, 0.0]], 0, "1"),
        ([[1.0, 2.0], [2.0, 1.0]], 1, "3"),
        ([[1.0, 0.0], [0.0, -1e-3]], 1, "0.001"),
    ],
)
def test_indefinite_matrices(matrix, rank, size):
    batch = np.stack([np.eye(2), matrix])
    message = (
        rf"not positive semidefinite.*batch index \(1,\), after its {rank} largest pivots.* of size {size}, "
    )
    with pytest.raises(LinAlgError, match=message):
        fd.MultivariateNormal(np.zeros(2), batch, allow_singular=True, validate_args=False)


def test_rounding_is_no_error():
    """Eigenvalues below 0 by rounding, as sums of outer products have them."""
    for seed in range(20):
        g = np.random.default_rng(seed)
        half = g.normal(size=(60, 8)) * 10 ** g.uniform(-3, 0, 8)
        for dtype in DTYPES:
            matrix = (half.astype(dtype) @ half.astype(dtype).T).astype(dtype)
            d = fd.MultivariateNormal(np.zeros(60, dtype), matrix, allow_singular=True)
            assert d.rank <= 8
            assert np.isfinite(d.log_prob(d.sample(20, rng=seed))).all()


def test_the_degenerate():
    nothing = fd.MultivariateNormal(np.full(3, 2.0), np.zeros((3, 3)), allow_singular=True)
    assert nothing.rank == 0
    assert_array_equal(nothing.sample(4, rng=0), 2)
    assert_array_equal(nothing.log_prob([[2.0, 2.0, 2.0], [2.0, 2.0, 2.1]]), [0, -np.inf])
    assert nothing.entropy() == 0
    assert fd.kl_divergence(nothing, nothing) == 0
    empty = fd.MultivariateNormal(np.zeros(0), np.zeros((0, 0)), allow_singular=True)
    assert empty.log_prob(np.zeros(0)) == 0
    assert empty.rank == 0
    none = mixed()[:0]
    assert none.sample(2, rng=0).shape == (2, 0, 3, 5)
    assert none.log_prob(np.zeros(5)).shape == (0, 3)
    assert mixed().sample((0,)).shape == (0, 4, 3, 5)


def test_a_smooth_process():
    """A squared exponential kernel on 400 points, of some 20 eigenvalues that count: draws, densities, a posterior."""
    t = np.linspace(0, 1, 400)
    kernel = np.exp(-0.5 * ((t[:, None] - t) / 0.2) ** 2)
    with pytest.raises(LinAlgError, match="allow_singular=True"):
        fd.MultivariateNormal(np.zeros(400), kernel)
    d = fd.MultivariateNormal(np.zeros(400), kernel, allow_singular=True)
    values = np.linalg.eigvalsh(kernel)
    counted = (values > 1e6 * np.finfo(float).eps * values[-1]).sum()
    assert abs(d.rank - counted) <= 2
    x = d.sample(100, rng=0)
    assert np.isfinite(d.log_prob(x)).all()
    assert_allclose(d.scale_tril @ d.scale_tril.T, kernel, atol=1e-8)
    seen = [0, 100, 250, 399]
    left = np.delete(np.arange(400), seen)
    posterior = d.condition(seen, x[:, seen])
    gain = np.linalg.solve(kernel[np.ix_(seen, seen)], kernel[np.ix_(seen, left)]).T
    assert_allclose(posterior.loc, x[:, seen] @ gain.T, atol=1e-7)
    expected = kernel[np.ix_(left, left)] - gain @ kernel[np.ix_(seen, left)]
    assert_allclose(posterior.covariance_matrix[0], expected, atol=1e-8)


# ---- algebra -----------------------------------------------------------------------------------------


def test_marginals():
    d = mixed()
    part = d.marginal([4, 1])
    assert_array_equal(part.covariance_matrix, d.covariance_matrix[..., [4, 1], :][..., [4, 1]])
    assert_array_equal(part.loc, d.loc[..., [4, 1]])
    assert_array_equal(part.rank, np.minimum(d.rank, 2))
    assert part.parameters["allow_singular"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("known", [[3], [0, 2], [1, 4, 0], [], [0, 1, 2, 3, 4]])
def test_conditions(dtype, known):
    """By pseudoinverses; of values that are possible."""
    d = mixed(dtype)
    rest = np.delete(np.arange(5), known)
    x = d.sample((6,), rng=0)
    made = d.condition(known, x[..., known])
    assert made.batch_shape == (6, 4, 3)
    tolerance = 2e-3 if dtype is np.float32 else 1e-9
    for index, loc, covariance in items(d):
        of_known = covariance[np.ix_(known, known)]
        inverse = np.linalg.pinv(of_known, rcond=1e-3 if dtype is np.float32 else 1e-9, hermitian=True)
        gain = covariance[np.ix_(rest, known)] @ inverse
        for s in range(6):
            here = (s, *index)
            expected = loc[rest] + gain @ (x[here][known] - loc[known])
            assert_allclose(made.loc[here], expected, atol=tolerance)
            left = covariance[np.ix_(rest, rest)] - gain @ covariance[np.ix_(known, rest)]
            assert_allclose(made.covariance_matrix[here], left, atol=tolerance)
            assert made.rank[here] == max(d.rank[index] - min(len(known), d.rank[index]), 0)
    assert np.isfinite(made.log_prob(x[..., rest]))[made.rank > 0].all()


def test_the_impossible_is_no_condition():
    d = mixed()
    value = d.loc[..., :3].copy()
    value = np.broadcast_to(value, (4, 3, 3)).copy()
    d.condition([0, 1, 2], value)
    value[0, 2, 1] += 1
    with pytest.raises(ValueError, match=r"value \(4, 3, 3\) is impossible, batch index \(0, 2\)"):
        d.condition([0, 1, 2], value)


@pytest.mark.parametrize("of_singular", [False, True])
def test_affine_maps_to_larger_spaces(of_singular):
    g = np.random.default_rng(0)
    d = mixed() if of_singular else mixed(ranks=(5, 5))
    A, b = g.normal(size=(7, 5)), g.normal(size=7)
    made = d.affine(A, b)
    assert_array_equal(made.rank, d.rank)
    assert_allclose(made.loc, d.loc @ A.T + b, rtol=1e-12)
    assert_allclose(made.covariance_matrix, A @ d.covariance_matrix @ A.T, atol=1e-12)
    x = d.sample((3,), rng=0)
    assert np.isfinite(made.log_prob(x @ A.T + b)).all()
    if of_singular:
        assert_array_equal(d.affine(A[:2]).rank, np.minimum(d.rank, 2))
    with pytest.raises(LinAlgError, match="allow_singular=True in this distribution would admit that"):
        fd.MultivariateNormal(np.zeros(5), np.eye(5)).affine(A)
    twice = np.array([[1.0, 0, 0, 0, 0], [2.0, 0, 0, 0, 0]])
    assert fd.MultivariateNormal(np.zeros(5), np.eye(5), allow_singular=True).affine(twice).rank == 1
    by_scale = fd.MultivariateNormal(np.zeros(5), scale_tril=np.eye(5), allow_singular=True)
    assert by_scale.affine(A).rank == 5


def test_rank_updates():
    d = mixed()
    u = np.random.default_rng(1).normal(size=(4, 3, 5))
    made = d.rank_update(u, weight=2.0)
    expected = d.covariance_matrix + 2 * u[..., :, None] * u[..., None, :]
    assert_allclose(made.covariance_matrix, expected, atol=1e-12)
    assert_array_equal(made.rank, np.minimum(d.rank + 1, 5))
    some = d.rank_update(u[0, 0], index=(slice(None), 1))
    assert_array_equal(some.rank[:, 0], d.rank[:, 0])
    assert_array_equal(some.rank[:, 1], made.rank[:, 1])
    regular = fd.MultivariateNormal(np.zeros(2), np.eye(2), allow_singular=True)
    assert regular.rank_update([1.0, 0.0], weight=-1.0).rank == 1
    assert regular.rank_update([1.0, 1.0]).rank == 2
    with pytest.raises(LinAlgError, match="not positive semidefinite"):
        regular.rank_update([1.0, 0.0], weight=-2.0)
    with pytest.raises(ValueError, match=r"index names batch item \(1,\) more than once"):
        mixed()[:, 0].rank_update(np.ones(5), index=[1, 1])


# ---- divergences -------------------------------------------------------------------------------------


def on_one_support(seed=0, dim=6, rank=3):
    """Two of one support, and the regular ones of which they are images."""
    g = np.random.default_rng(seed)
    basis = np.linalg.qr(g.normal(size=(dim, rank)))[0]
    trils, locs = random_tril(g, (2, rank, rank)), g.normal(size=(2, rank))
    regular = [
        fd.MultivariateNormal(*pair) for pair in zip(locs, trils @ trils.swapaxes(-1, -2), strict=True)
    ]
    singular = [
        fd.MultivariateNormal(basis @ d.loc, (basis @ d.covariance_matrix) @ basis.T, allow_singular=True)
        for d in regular
    ]
    return regular, singular


@pytest.mark.parametrize("seed", range(5))
def test_divergences_on_one_support(seed):
    (p, q), (singular_p, singular_q) = on_one_support(seed)
    assert_allclose(fd.kl_divergence(singular_p, singular_q), fd.kl_divergence(p, q), rtol=1e-10)
    assert 0 <= fd.kl_divergence(singular_p, singular_p) < 1e-14


def test_divergences_of_different_supports():
    (p, _), (one, other) = on_one_support()
    assert p.rank == 3
    whole = fd.MultivariateNormal(np.zeros(6), np.eye(6))
    moved = one.replace(loc=one.loc + 0.1)
    turned = one.replace(covariance_matrix=one.covariance_matrix[::-1, ::-1])
    smaller = one.replace(covariance_matrix=np.outer(*[one.scale_tril[:, 0]] * 2))
    diagonal = fd.Independent(fd.Normal(np.zeros(6), np.ones(6)), 1)
    low_rank = fd.LowRankMultivariateNormal(np.zeros(6), np.ones((6, 1)), np.ones(6))
    for q in (whole, moved, turned, smaller, diagonal, low_rank):
        assert fd.kl_divergence(one, q) == np.inf
        assert fd.kl_divergence(q, one) == np.inf
    batch = fd.stack([one, other, whole])
    expected = np.isinf(fd.kl_divergence(batch[:, None], batch))
    assert_array_equal(expected, [[False, False, True], [False, False, True], [True, True, False]])


# ---- gradients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_of_densities(dtype):
    """Along the support: minus the pseudoinverse times what a value is away."""
    d = mixed(dtype)
    x = d.sample((3,), rng=0)
    x[1] += np.asarray(0.5, dtype)  # off the support of what is singular: nothing to follow
    value, pullback = fd.vjp(d.log_prob, x)
    g = np.random.default_rng(0).normal(size=value.shape).astype(dtype)
    found = pullback(g)
    by_value = np.zeros(x.shape)
    for index, loc, covariance in items(d):
        inverse = pseudoinverse(covariance, int(d.rank[index]))
        for s in range(3):
            if np.isfinite(value[(s, *index)]):
                by_value[(s, *index)] = -g[(s, *index)] * (inverse @ (x[(s, *index)] - loc))
    tolerance = {"rtol": 5e-2, "atol": 5e-2} if dtype is np.float32 else {"rtol": 1e-8, "atol": 1e-8}
    assert_allclose(found["value"], by_value, **tolerance)
    assert_allclose(found["loc"], -by_value.sum((0, 1)), **tolerance)
    assert found["loc"].shape == (3, 5)
    assert found["value"].dtype == found["loc"].dtype == dtype
    with pytest.raises(NotImplementedError, match="singular covariance_matrix has no gradient"):
        _ = found["covariance_matrix"]
    with pytest.raises(KeyError):
        _ = found["scale"]
    squashed = fd.TransformedDistribution(d, [fd.transforms.TanhTransform()])
    _, pullback = fd.vjp(squashed.sample_and_log_prob, 2, rng=0)
    by_base = pullback((np.ones((2, 4, 3, 5), dtype), np.ones((2, 4, 3), dtype)))["base_distribution"]
    assert by_base["loc"].shape == (3, 5)
    with pytest.raises(NotImplementedError, match="singular covariance_matrix has no gradient"):
        _ = by_base["covariance_matrix"]
    narrow = fd.vjp(d.log_prob, x[0, 0, 0])[1](np.ones((4, 3), dtype))
    assert narrow["value"].shape == (5,)


def test_gradients_along_the_support():
    """By differences, of the methods that take events."""
    d = mixed()
    step = 1e-6 * d.colorize(fd.standard_normal((4, 3, 5), rng=5)) - 1e-6 * d.loc
    x = d.sample(rng=0)
    for method in (d.log_prob, d.mahalanobis, d.whiten):
        value, pullback = fd.vjp(method, x)
        g = np.random.default_rng(0).normal(size=value.shape)
        found = pullback(g)
        name = "value" if method == d.log_prob else "x"
        slope = (g * (method(x + step) - method(x - step))).sum()
        assert_allclose(2 * (found[name] * step).sum(), slope, rtol=1e-6)
        assert_allclose(found["loc"], -found[name].sum(0), rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_of_draws(dtype):
    d = mixed(dtype)
    eps = fd.standard_normal((6, 4, 3, 5), dtype=dtype, rng=0)
    x, pullback = fd.vjp(d.rsample, (6,), rng=0)
    assert_same_bits(x, d.colorize(eps))
    g = np.random.default_rng(0).normal(size=x.shape).astype(dtype)
    found = pullback(g)
    assert list(found) == ["loc"]
    assert_allclose(found["loc"], g.sum((0, 1)), rtol=1e-5, atol=1e-6)
    _, both = fd.vjp(d.sample_and_log_prob, (6,), rng=0)
    assert_array_equal(both((g, None))["loc"], found["loc"])
    _, of_entropy = fd.vjp(d.entropy)
    assert_array_equal(of_entropy(np.ones((4, 3), dtype))["loc"], np.zeros((3, 5)))
    _, of_noise = fd.vjp(d.colorize, eps)
    by_noise = of_noise(g)
    step = np.asarray(1e-3, dtype) * fd.standard_normal(eps.shape, dtype=dtype, rng=9)
    slope = (g.astype(float) * (d.colorize(eps + step).astype(float) - d.colorize(eps))).sum()
    assert_allclose((by_noise["eps"].astype(float) * step).sum(), slope, rtol=5e-3, atol=1e-4)


def test_there_are_no_gradients_by_what_is_singular():
    d = mixed()
    for method, arguments in (
        (d.marginal, ([0],)),
        (d.condition, ([0], d.loc[..., :1])),
        (d.affine, (np.eye(5),)),
        (d.rank_update, (np.ones(5),)),
    ):
        with pytest.raises(NotImplementedError, match=f"{method.__name__} has no gradients by a singular"):
            fd.vjp(method, *arguments)
    with pytest.raises(NotImplementedError, match="kl_divergence has no gradients by a singular"):
        fd.vjp(fd.kl_divergence, d, d)
    # A regular one that might have been singular has all.
    regular = fd.MultivariateNormal(np.zeros(2), np.eye(2), allow_singular=True)
    assert fd.vjp(regular.log_prob, np.ones(2))[1](1.0)["covariance_matrix"].shape == (2, 2)
    assert fd.vjp(mixed()[1].entropy)[1](np.ones(3))["covariance_matrix"].shape == (1, 5, 5)
