"""Against scipy.stats: values to rounding, one distribution of a batch at a time where scipy has no batches."""

import numpy as np
import pytest
from cases import MATRICES, matrix_of, random_tril
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import fastdist as fd

pytestmark = pytest.mark.peers

seeds = st.integers(0, 2**32)
VERBS = {
    "cdf": "cdf",
    "survival_function": "sf",
    "log_cdf": "logcdf",
    "log_survival_function": "logsf",
    "log_prob": "logpdf",
}


@given(seeds, st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_normal(seed, loc, scale):
    """scipy loses digits of x - loc, so that the z of the comparison are made to be exact."""
    z = np.random.default_rng(seed).uniform(-30, 30, 20)
    for name, their_name in VERBS.items():
        wanted = getattr(stats.norm, their_name)(z)
        np.testing.assert_allclose(getattr(fd.Normal(0.0, 1.0), name)(z), wanted, rtol=1e-12, err_msg=name)
    p = np.random.default_rng(seed).uniform(size=20)
    for ours, theirs in (
        (fd.Normal(0.0, 1.0), stats.norm(0.0, 1.0)),
        (fd.Normal(loc, scale), stats.norm(loc, scale)),
    ):
        np.testing.assert_allclose(ours.icdf(p), theirs.ppf(p), rtol=1e-13, atol=1e-15 * (abs(loc) + scale))
        np.testing.assert_allclose(ours.entropy(), theirs.entropy(), rtol=1e-14, atol=1e-14)
        np.testing.assert_allclose(ours.variance, theirs.var(), rtol=1e-14)
        np.testing.assert_allclose(ours.mean, theirs.mean())


@given(seeds, st.integers(1, 12), st.sampled_from(MATRICES))
def test_multivariate_normal(seed, dim, name):
    g = np.random.default_rng(seed)
    loc, tril = g.normal(size=(3, dim)), random_tril(g, (3, dim, dim))
    ours = fd.MultivariateNormal(loc, **{name: matrix_of(name, tril)})
    x = g.normal(size=(5, 3, dim))
    for i in range(3):
        theirs = stats.multivariate_normal(loc[i], tril[i] @ tril[i].T)
        np.testing.assert_allclose(ours.log_prob(x)[:, i], theirs.logpdf(x[:, i]), rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(ours.entropy()[i], theirs.entropy(), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(ours.covariance_matrix[i], theirs.cov, rtol=1e-12, atol=1e-12)


def test_singular_matrices_are_refused_as_scipy_refuses_them():
    singular = np.ones((2, 2))
    with pytest.raises(np.linalg.LinAlgError):
        stats.multivariate_normal(np.zeros(2), singular)
    with pytest.raises(np.linalg.LinAlgError):
        fd.MultivariateNormal(np.zeros(2), singular)


@given(seeds, st.floats(-4, 3), st.floats(0.3, 6))
def test_truncated_normal(seed, low, width):
    """scipy is right to 1e-7 or so near the middle; far in a tail, where mpmath is the oracle, it is not."""
    g = np.random.default_rng(seed)
    loc, scale = g.normal(), g.uniform(0.5, 2)
    ours = fd.TruncatedNormal(loc, scale, loc + scale * low, loc + scale * (low + width))
    theirs = stats.truncnorm(low, low + width, loc, scale)
    x = theirs.ppf(g.uniform(0.01, 0.99, 9))
    for name, their_name in VERBS.items():
        wanted = getattr(theirs, their_name)(x)
        np.testing.assert_allclose(getattr(ours, name)(x), wanted, rtol=1e-6, atol=1e-9, err_msg=name)
    p = g.uniform(size=9)
    np.testing.assert_allclose(ours.icdf(p), theirs.ppf(p), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(ours.isf(p), theirs.isf(p), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(ours.mean, theirs.mean(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(ours.entropy(), theirs.entropy(), rtol=1e-5, atol=1e-5)


def test_a_sobol_sequence():
    """Quasi-random draws: the mean of 1024 is right to 1e-3, where random ones are off by 3 %."""
    mvn = fd.MultivariateNormal([1.0, 2.0], [[2.0, 0.6], [0.6, 1.0]])
    u = stats.qmc.Sobol(2, rng=0).random(1024)
    x = mvn.colorize(fd.Normal(0.0, 1.0).icdf(u))
    np.testing.assert_allclose(x.mean(0), mvn.mean, atol=2e-3)
    np.testing.assert_allclose(np.cov(x.T), mvn.covariance_matrix, atol=2e-2)
