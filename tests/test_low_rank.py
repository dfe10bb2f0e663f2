"""LowRankMultivariateNormal against the same law as a MultivariateNormal; draws, gradients, divergences."""

import tracemalloc

import mpmath
import numpy as np
import pytest

import fastdist as fd

DTYPES = [np.float64, np.float32]
BATCHES = [((), (), ()), ((3,), (), ()), ((), (3,), (3,)), ((2, 1), (3,), (1, 3))]


def close(got, wanted, dtype=np.float64):
    tolerance = 1e-10 if dtype == np.float64 else 2e-4
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


def make(batches=((), (), ()), dim=5, rank=2, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    of_loc, of_factor, of_diag = batches
    return fd.LowRankMultivariateNormal(
        rng.standard_normal((*of_loc, dim)).astype(dtype),
        rng.standard_normal((*of_factor, dim, rank)).astype(dtype),
        rng.uniform(0.5, 2, (*of_diag, dim)).astype(dtype),
    )


def dense(d):
    return fd.MultivariateNormal(d.loc.astype(float), covariance_matrix=d.covariance_matrix.astype(float))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batches", BATCHES)
@pytest.mark.parametrize("rank", [0, 1, 2, 3, 7])
def test_values_are_those_of_a_multivariate_normal(batches, rank, dtype):
    d = make(batches, 5, rank, dtype)
    same = dense(d)
    assert (d.batch_shape, d.event_shape, d.rank, d.dtype) == (same.batch_shape, (5,), rank, dtype)
    close(
        d.covariance_matrix,
        d.cov_factor @ d.cov_factor.swapaxes(-1, -2) + d.cov_diag[..., None] * np.eye(5),
        dtype,
    )
    x = np.random.default_rng(1).standard_normal((4, *d.batch_shape, 5)).astype(dtype)
    for got, wanted in [
        (d.log_prob(x), same.log_prob(x)),
        (d.log_prob(x[0]), same.log_prob(x[0])),
        (d.entropy(), same.entropy()),
        (d.variance, same.variance),
        (d.stddev, same.stddev),
        (d.scale_tril, same.scale_tril),
        (d.precision_matrix, same.precision_matrix),
        (d.mahalanobis(x), same.mahalanobis(x)),
        (np.square(d.whiten(x)).sum(-1), same.mahalanobis(x)),
        (
            fd.Independent(d, len(d.batch_shape)).log_prob(x),
            fd.Independent(same, len(d.batch_shape)).log_prob(x),
        ),
        (fd.Independent(d, len(d.batch_shape)).entropy(), fd.Independent(same, len(d.batch_shape)).entropy()),
    ]:
        assert got.dtype == dtype
        close(got, wanted, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batches", BATCHES)
def test_draws_are_noise_coloured(batches, dtype, isa):
    d = make(batches, 5, 4, dtype)
    for sample_shape in ((), (3,), (100, 2), (0,)):
        x = d.sample(sample_shape, rng=7)
        assert x.shape == (*sample_shape, *d.batch_shape, 5)
        eps = fd.standard_normal((*sample_shape, *d.batch_shape, 9), rng=7, dtype=dtype)
        wanted = d.loc + np.sqrt(d.cov_diag) * eps[..., 4:] + (d.cov_factor @ eps[..., :4, None])[..., 0]
        np.testing.assert_allclose(x, wanted, rtol=0, atol=40 * np.finfo(dtype).eps)
        np.testing.assert_array_equal(d.colorize(eps), x)
        np.testing.assert_array_equal(fd.Independent(d, len(d.batch_shape)).colorize(eps), x)


def test_bits_do_not_depend_on_splits(isa):
    d = make(((3,), (3,), (3,)), 300, 5)
    before = fd.isa()
    fd.set_isa("scalar")
    wanted = d.sample(150, rng=1)
    fd.set_isa(before)
    np.testing.assert_array_equal(d.sample(150, rng=1), wanted)
    np.testing.assert_array_equal(d.sample(150, rng=1, workers=2), wanted)
    rng = fd.default_rng(1)
    np.testing.assert_array_equal(np.concatenate([d.sample(n, rng=rng) for n in (1, 40, 109)]), wanted)
    numpys = [d.sample(20, rng=np.random.default_rng(0)), d.sample(20, rng=np.random.default_rng(0))]
    np.testing.assert_array_equal(*numpys)


@pytest.mark.parametrize("dtype", DTYPES)
def test_densities_matrices_and_divergences_have_the_same_bits_on_every_isa(dtype, isa):
    def everything():
        for batches, dim, rank in (
            (((3,), (3,), (3,)), 37, 5),
            (((), (), ()), 9, 9),
            (((), (2,), ()), 70, 1),
        ):
            d, e = (make(batches, dim, rank, dtype, seed) for seed in (0, 1))
            x = d.sample(6, rng=1)
            yield from (d.log_prob(x), d.log_prob(x[0]), d.mahalanobis(x), d.entropy())
            yield from (d.covariance_matrix, d.precision_matrix, d.scale_tril, fd.kl_divergence(d, e))

    here, before = list(everything()), fd.isa()
    fd.set_isa("scalar")
    wanted = list(everything())
    fd.set_isa(before)
    for one, other in zip(here, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_moments_of_draws():
    """Each of 14 sums of squares of 10^5 normals is beyond 5.5 sigma once in 2e6 seeds; the seed is fixed."""
    d = make(dim=4, rank=2)
    n = 100_000
    x = d.sample(n, rng=3) - d.loc
    covariance = x.T @ x / n
    wanted = d.covariance_matrix
    spread = np.sqrt((np.outer(np.diag(wanted), np.diag(wanted)) + wanted**2) / n)
    assert (np.abs(covariance - wanted) < 5.5 * spread).all()
    assert (np.abs(x.mean(0)) < 5.5 * d.stddev / np.sqrt(n)).all()


def test_large_events_take_no_more_memory_than_the_factor():
    dim, rank = 100_000, 10
    d = fd.LowRankMultivariateNormal(np.zeros(dim), np.ones((dim, rank)), np.ones(dim))
    tracemalloc.start()
    x = d.sample(3, rng=0)
    assert np.isfinite(d.log_prob(x)).all()
    assert np.isfinite(d.entropy())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 8 * dim * rank  # d x d elements were 80 GB


def test_extreme_parameters():
    d = fd.LowRankMultivariateNormal(np.zeros(3), np.zeros((3, 2)), [1e-300, 1.0, 1e300])
    np.testing.assert_allclose(
        d.log_prob([0.0, 0.0, 0.0]),
        fd.Normal(0.0, np.sqrt([1e-300, 1.0, 1e300])).log_prob(0.0).sum(),
        rtol=1e-13,
    )
    wide = fd.LowRankMultivariateNormal(np.zeros(2), [[1e7], [1e7]], [1.0, 1.0])
    exact = -0.5 * (0.5 + 0.5 / (1 + 2e14)) - 0.5 * np.log1p(2e14) - np.log(2 * np.pi)
    np.testing.assert_allclose(wide.log_prob([1.0, 0.0]), exact, rtol=1e-9)
    empty = fd.LowRankMultivariateNormal(np.zeros((0, 3)), np.zeros((3, 2)), np.ones(3))
    assert empty.sample(4, rng=0).shape == (4, 0, 3)
    assert empty.log_prob(np.zeros(3)).shape == (0,)
    assert empty.log_prob(np.zeros((4, 1, 3))).shape == empty.mahalanobis(np.zeros((4, 1, 3))).shape == (4, 0)
    assert fd.LowRankMultivariateNormal(np.zeros(0), np.zeros((0, 2)), np.zeros(0)).sample(
        2, rng=0
    ).shape == (2, 0)


def test_it_is_a_distribution_like_others():
    import pickle

    d = make(((3,), (), ()), 4, 2)
    assert repr(d) == "LowRankMultivariateNormal(loc: (3, 4), cov_factor: (3, 4, 2), cov_diag: (3, 4))"
    for other in (pickle.loads(pickle.dumps(d)), type(d)(**d.parameters)):
        np.testing.assert_array_equal(other.sample(2, rng=0), d.sample(2, rng=0))
    part = d[1]
    assert (part.batch_shape, part.cov_factor.shape) == ((), (4, 2))
    close(part.log_prob(np.zeros(4)), d.log_prob(np.zeros(4))[1])
    assert d.expand((2, 3)).sample(rng=0).shape == (2, 3, 4)
    assert fd.stack([d, d]).batch_shape == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (
            (np.zeros(3), np.zeros((4, 2)), np.ones(3)),
            ValueError,
            r"loc \(3,\) and cov_factor \(4, 2\) differ",
        ),
        (
            (np.zeros(3), np.zeros(3), np.ones(3)),
            ValueError,
            r"cov_factor must have shape \(\.\.\., d, rank\), got \(3,\)",
        ),
        ((np.zeros(3), np.zeros((3, 2)), np.ones(4)), ValueError, r"cov_diag \(4,\) differ in event size"),
        (
            (np.zeros(3), np.zeros((3, 2)), [1.0, 0.0, 1.0]),
            ValueError,
            r"cov_diag must be positive.*cov_diag\[1\] = 0",
        ),
        ((np.zeros(3), np.full((3, 2), np.nan), np.ones(3)), ValueError, r"cov_factor must be finite"),
        (([np.inf, 0, 0], np.zeros((3, 2)), np.ones(3)), ValueError, r"loc must be finite"),
        ((np.zeros((2, 3)), np.zeros((5, 3, 2)), np.ones(3)), ValueError, "broadcast"),
        (
            (np.zeros(3), np.zeros((3, 2), complex), np.ones(3)),
            TypeError,
            "cov_factor must be of a real dtype",
        ),
    ],
)
def test_errors(arguments, error, match):
    with pytest.raises(error, match=match):
        fd.LowRankMultivariateNormal(*arguments)


# ---- gradients ---------------------------------------------------------------------------------


NAMES = ("loc", "cov_factor", "cov_diag")


def parameters_of(d):
    return {name: np.array(d._arrays[name]) for name in NAMES}


def check_gradients(found, arrays, loss, rng):
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        direction, h = rng.standard_normal(array.shape), 1e-6
        slope = (
            loss({**arrays, name: array + h * direction}) - loss({**arrays, name: array - h * direction})
        ) / (2 * h)
        np.testing.assert_allclose((found[name] * direction).sum(), slope, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("batches", BATCHES)
@pytest.mark.parametrize("method", ["rsample", "log_prob", "entropy", "mahalanobis", "colorize", "whiten"])
def test_gradients(method, batches):
    d = make(batches, 4, 3)
    rng = np.random.default_rng(9)
    args = {
        "rsample": ((6,),),
        "entropy": (),
        "colorize": (rng.standard_normal((2, *d.batch_shape, 7)),),
    }.get(method, (rng.standard_normal((2, *d.batch_shape, 4)),))
    kwargs = {"rng": 3} if method == "rsample" else {}
    value, pullback = fd.vjp(getattr(d, method), *args, **kwargs)
    g = rng.standard_normal(value.shape)
    found = pullback(g)

    def loss(arrays):
        own = dict(arrays)
        own_args = (own.pop("x"),) if "x" in own else args
        return float((getattr(fd.LowRankMultivariateNormal(**own), method)(*own_args, **kwargs) * g).sum())

    check_gradients(found, parameters_of(d), loss, rng)
    if method not in ("rsample", "entropy"):
        key = {"log_prob": "value", "mahalanobis": "x", "whiten": "x", "colorize": "eps"}[method]
        direction, h = rng.standard_normal(args[0].shape), 1e-6
        method_of = getattr(d, method)
        slope = ((method_of(args[0] + h * direction) - method_of(args[0] - h * direction)) * g).sum() / (
            2 * h
        )
        np.testing.assert_allclose((found[key] * direction).sum(), slope, rtol=2e-6, atol=2e-6)


# ---- divergences -------------------------------------------------------------------------------


def others(dim, seed=4):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((dim, dim))
    yield make(dim=dim, rank=3, seed=seed)
    yield make(((3,), (), ()), dim=dim, rank=1, seed=seed)
    yield fd.MultivariateNormal(rng.standard_normal(dim), covariance_matrix=a @ a.T + np.eye(dim))
    yield fd.Independent(fd.Normal(rng.standard_normal((3, dim)), rng.uniform(0.5, 2, dim)), 1)


def test_divergences():
    p = make(dim=4, rank=2)
    for q in others(4):
        other = dense(q) if isinstance(q, fd.LowRankMultivariateNormal) else q
        close(fd.kl_divergence(p, q), fd.kl_divergence(dense(p), other))
        close(fd.kl_divergence(q, p), fd.kl_divergence(other, dense(p)))
    assert fd.kl_divergence(p, p) == 0
    with pytest.raises(ValueError, match="event shapes differ"):
        fd.kl_divergence(p, make(dim=5))


def exact_divergence(p, q):
    """By mpmath, as of matrices of d x d elements."""
    (d,) = p.event_shape

    def covariance(one):
        rows = [[mpmath.mpf(x) for x in row] for row in one.cov_factor.tolist()]
        matrix = mpmath.matrix(d, d)
        for i in range(d):
            for j in range(d):
                matrix[i, j] = mpmath.fdot(rows[i], rows[j]) + (
                    mpmath.mpf(float(one.cov_diag[i])) if i == j else 0
                )
        return matrix

    with mpmath.workdps(60):
        of_p, of_q = covariance(p), covariance(q)
        inverse = of_q**-1
        z = mpmath.matrix(
            [mpmath.mpf(a) - mpmath.mpf(b) for a, b in zip(p.loc.tolist(), q.loc.tolist(), strict=True)]
        )
        ratio = inverse * of_p
        trace = sum(ratio[i, i] for i in range(d))
        return float((trace - d - mpmath.log(mpmath.det(ratio)) + (z.T * inverse * z)[0]) / 2)


@pytest.mark.parametrize("moved", [True, False])
@pytest.mark.parametrize("distance", [3.0, 1.0, 0.3, 0.1, 1e-2, 1e-4, 1e-8, 1e-12])
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_divergences_near_0(rank, distance, moved):
    """As many digits however near p and q are."""
    p, rng = make(dim=6, rank=rank), np.random.default_rng(3)
    q = fd.LowRankMultivariateNormal(
        p.loc + 0.1 * distance * moved,
        p.cov_factor + distance * rng.standard_normal((6, rank)),
        p.cov_diag * np.exp(0.5 * distance * rng.standard_normal(6)),
    )
    for a, b in ((p, q), (q, p)):
        np.testing.assert_allclose(fd.kl_divergence(a, b), exact_divergence(a, b), rtol=2e-14)
    assert fd.kl_divergence(p, p) == 0
    batch = fd.stack([p, q, p])  # near ones beside others
    of_each = [fd.kl_divergence(one, p) for one in (p, q, p)]
    np.testing.assert_allclose(fd.kl_divergence(batch, p), of_each, rtol=1e-14)


def test_gradients_of_divergences():
    p = make(dim=4, rank=2)
    rng = np.random.default_rng(0)
    for q in others(4):
        for pair, key in (((p, q), "p"), ((q, p), "q")):
            value, pullback = fd.vjp(fd.kl_divergence, *pair)
            found = pullback(np.ones(value.shape))

            def loss(arrays, key=key, q=q):
                own = fd.LowRankMultivariateNormal(**arrays)
                return float(fd.kl_divergence(*((own, q) if key == "p" else (q, own))).sum())

            check_gradients(found[key], parameters_of(p), loss, rng)
    normal = list(others(4))[-1]
    for pair, key in (((p, normal), "q"), ((normal, p), "p")):
        value, pullback = fd.vjp(fd.kl_divergence, *pair)

        def of_normal(arrays, key=key):
            own = fd.Independent(fd.Normal(**arrays), 1)
            return float(fd.kl_divergence(*((own, p) if key == "p" else (p, own))).sum())

        base = normal.base_dist
        arrays = {name: np.array(base._arrays[name]) for name in ("loc", "scale")}
        check_gradients(pullback(np.ones(value.shape))[key], arrays, of_normal, rng)


def test_infinite_values():
    d = make(((3,), (), (3,)))
    x = np.array([[np.inf, 0, 0, 0, 0], [0, -np.inf, np.inf, 0, 0], [np.nan, np.inf, 0, 0, 0], np.zeros(5)])
    found = d.log_prob(x[:, np.newaxis])
    assert (found[:2] == -np.inf).all()
    assert np.isnan(found[2]).all()
    close(found[3], dense(d).log_prob(np.zeros(5)))
    assert (d.mahalanobis(x[0]) == np.inf).all()
    mixture = fd.MixtureSameFamily(fd.Categorical(np.ones(3)), d)
    assert np.array_equal(mixture.log_prob(x[:3]), [-np.inf, -np.inf, np.nan], equal_nan=True)
