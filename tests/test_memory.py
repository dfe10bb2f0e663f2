"""Peak memory, as tracemalloc counts it (NumPy reports its arrays there): the result, and little else."""

import tracemalloc

import numpy as np
import pytest
from cases import MATRICES, random_mvn, random_normal

import fastdist as fd

pytestmark = pytest.mark.any_isa  # arrays are made above the kernels

MB = 2**20
N = 11 * MB  # float64 elements: 88 MB


def peak(call):
    """Bytes that a call had allocated at most at one time, its result's included, and the size of that."""
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1], result.nbytes
    finally:
        tracemalloc.stop()


def check(call):
    used, size = peak(call)
    assert used < size + 8 * MB, f"{used / MB:.0f} MB for a result of {size / MB:.0f} MB"


def vectors():
    distributions = {name: random_mvn(name, (4, 8), (4, 8, 8)) for name in MATRICES}
    distributions["Independent(Normal)"] = fd.Independent(random_normal((4, 8), (8,)), 1)
    distributions["Independent(MVN)"] = fd.Independent(random_mvn("scale_tril", (4, 2, 4), (2, 4, 4)), 1)
    return distributions


@pytest.mark.parametrize("kind", [*vectors(), "Normal"])
def test_draws(kind):
    d = random_normal((4, 8), (8,)) if kind == "Normal" else vectors()[kind]
    check(lambda: d.sample(N // 32, rng=0))
    out = np.empty((N // 32, *d.batch_shape, *d.event_shape))
    assert peak(lambda: d.sample(N // 32, rng=0, out=out))[0] < MB


@pytest.mark.parametrize("kind", vectors())
def test_log_prob_of_vectors(kind):
    d = vectors()[kind]
    x = np.zeros((N // 4 // 4, *d.batch_shape, *d.event_shape))
    check(lambda: d.log_prob(x))


def test_scalars():
    d, x = random_normal((4, 8), (8,)), np.full((N // 32, 4, 8), 0.5)
    for method in (d.log_prob, d.cdf, d.log_cdf, d.survival_function, d.log_survival_function, d.icdf):
        check(lambda: method(x))  # noqa: B023


@pytest.mark.parametrize("name", ["tanh", "power", "inverse", "LogNormal", "HalfNormal"])
def test_transformed(name):
    """Transforms, by kernels of draws or not, are done in place."""
    t, base = fd.transforms, random_normal((4, 8), (8,))
    d = {
        "tanh": lambda: fd.TransformedDistribution(fd.Independent(base, 1), t.TanhTransform()),
        "power": lambda: fd.TransformedDistribution(base, [t.ExpTransform(), t.PowerTransform(2.0)]),
        "inverse": lambda: fd.TransformedDistribution(
            base, [t.AffineTransform(1.0, 2.0).inv, t.ExpTransform()]
        ),
        "LogNormal": lambda: fd.LogNormal(base.loc, base.scale),
        "HalfNormal": lambda: fd.HalfNormal(base.scale),
    }[name]()
    n = N // 4 // 32
    x = np.full((n, 4, 8), 0.5)
    check(lambda: d.sample(n, rng=0))
    check(lambda: d.log_prob(x))
    assert peak(lambda: d.sample_and_log_prob(n, rng=0)[0])[0] < 2 * x.nbytes + 8 * MB
    for method in () if name == "tanh" else (d.cdf, d.log_cdf, d.icdf):
        check(lambda: method(x))  # noqa: B023


def of_every_kind():
    """One of each of the others, with some dozens of numbers a sample; how many values they take."""
    g = np.random.default_rng(0)
    weights = fd.Categorical(logits=g.normal(size=5))
    outcomes = g.normal(size=(4, 8, 6))
    return {
        "TruncatedNormal": fd.TruncatedNormal(np.zeros((4, 8)), 1.0, -1.0, 2.0),
        "LowRank": fd.LowRankMultivariateNormal(np.zeros((4, 8)), np.ones((8, 2)), np.ones(8)),
        "LogitNormal": fd.LogitNormal(np.zeros((4, 8)), 1.0),
        "Categorical": fd.Categorical(logits=outcomes),
        "Bernoulli": fd.Bernoulli(logits=outcomes[..., 0]),
        "OneHotCategorical": fd.OneHotCategorical(logits=outcomes[0]),
        "Mixture(Normal)": fd.MixtureSameFamily(weights, random_normal((4, 8, 5), (5,))),
        "Mixture(Independent)": fd.MixtureSameFamily(weights, fd.Independent(random_normal((5, 8), (8,)), 1)),
        "Mixture(MVN)": fd.MixtureSameFamily(weights, random_mvn("scale_tril", (5, 8), (5, 8, 8))),
        "Independent(Truncated)": fd.Independent(fd.TruncatedNormal(np.zeros((4, 8)), 1.0, -1.0, 2.0), 1),
        "Independent(Bernoulli)": fd.Independent(fd.Bernoulli(logits=outcomes[..., 0]), 1),
    }


@pytest.mark.parametrize("kind", of_every_kind())
def test_draws_and_densities_of_every_kind(kind):
    """The result and 8 MB, of draws and of each method of a value."""
    d = of_every_kind()[kind]
    n = N // 4 // max(int(np.prod(d.batch_shape + d.event_shape)), 1)
    check(lambda: d.sample(n, rng=0))
    x = d.sample(n, rng=0)
    assert peak(lambda: d.sample(n, rng=0, out=x))[0] < 8 * MB
    check(lambda: d.log_prob(x))
    assert (
        peak(lambda: d.sample_and_log_prob(n, rng=0)[0])[0]
        < x.nbytes + 8 * n * max(np.prod(d.batch_shape), 1) + 8 * MB
    )
    if d.support.is_discrete or d.event_shape:
        return
    p = np.full((n // 2, *d.batch_shape), 0.5)
    for name in ("cdf", "log_cdf", "survival_function", "log_survival_function", "icdf", "isf", "log_icdf"):
        if hasattr(d, name):
            values = -p if name == "log_icdf" else p
            check(lambda: getattr(d, name)(values))  # noqa: B023


@pytest.mark.parametrize("kind", [k for k in of_every_kind() if "Mixture" not in k and k != "LowRank"])
def test_gradients_of_every_kind(kind):
    """A draw and its pullback take three times the draw's memory at most, those of a value twice as much."""
    d = of_every_kind()[kind]
    n = N // 16 // max(int(np.prod(d.batch_shape + d.event_shape)), 1)
    x = d.sample(n, rng=0)

    def of_value(method):
        y, pullback = fd.vjp(getattr(d, method), x)
        pullback(1.0)
        return y

    methods = ["log_prob"]
    if not d.support.is_discrete and not d.event_shape:
        methods += ["cdf", "log_cdf", "survival_function", "log_survival_function"]
    for method in methods:
        assert peak(lambda: of_value(method))[0] < 6 * x.nbytes + 8 * MB, method  # noqa: B023
    if d.has_rsample:

        def of_draw():
            y, pullback = fd.vjp(d.rsample, n, rng=0)
            pullback(1.0)
            return y

        assert peak(of_draw)[0] < 3 * x.nbytes + 8 * MB


def test_a_large_batch():
    """One value for many distributions: still nothing but the result."""
    d = fd.Normal(np.zeros(N), np.ones(N))
    check(lambda: d.log_prob(0.0))
    check(lambda: d.sample(rng=0))
    check(lambda: fd.LogNormal(d.loc, 1.0).log_prob(1.0))
    mvn = fd.MultivariateNormal(np.zeros((N // 2, 2)), scale_tril=np.eye(2))
    check(lambda: mvn.log_prob(np.zeros(2)))
    check(lambda: mvn.sample(rng=0))


@pytest.mark.parametrize("kind", [*vectors(), "Normal"])
def test_expanded_parameters_stay_small(kind):
    d = fd.Normal(0.0, 1.0)[None] if kind == "Normal" else vectors()[kind][:1]
    size = 10**6

    def work():
        wide = d.expand((size, size))
        narrow = wide[3:, 5:7]
        for one in (wide, narrow):
            assert one.mean.shape == one.variance.shape == one.stddev.shape
            assert repr(one)
        narrow[7].sample(rng=0)
        return wide[0, :100].sample((10,), rng=0)

    assert peak(work)[0] < MB


def test_sums_over_expanded_parameters_stay_small():
    d = fd.Independent(fd.Normal(0.0, 1.0).expand((4, 5 * MB)), 1)
    assert peak(lambda: d.log_prob(0.5 * np.ones(5 * MB)))[0] < 48 * MB  # the value itself is 40
    assert peak(d.entropy)[0] < 8 * MB
    assert peak(lambda: fd.kl_divergence(d, d))[0] < 8 * MB


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", MATRICES[:2])
def test_factors_of_a_large_batch(name, dtype):
    """The matrix, which is kept, its factor and log determinant: what is done in float64 is done some at a time."""
    loc, matrix = np.zeros(4, dtype), np.broadcast_to(np.eye(4, dtype=dtype), (N // 16, 4, 4)).copy()
    tracemalloc.start()
    try:
        fd.MultivariateNormal(loc, **{name: matrix})
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used < 2 * matrix.nbytes + 8 * len(matrix) + MB
