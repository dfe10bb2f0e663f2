"""Draws as samples of their distribution. Seeds are fixed, so a test that passes goes on passing;
its false-alarm rate is the share of seeds for which right code would fail it."""

import math

import numpy as np
import pytest
from cases import DTYPES, MATRICES, random_mvn, random_normal

import fastdist as fd

ERFC = np.vectorize(math.erfc)


def kolmogorov_smirnov(uniform):
    """P of a larger distance between the empirical and the uniform distribution, asymptotically."""
    n = uniform.size
    u = np.sort(uniform, axis=None)
    distance = max((np.arange(1, n + 1) / n - u).max(), (u - np.arange(n) / n).max())
    return min(1.0, 2 * math.exp(-2 * n * distance**2))


def check_white(eps):
    """Mean 0 and covariance 1 for standard normals of shape (n, ..., d), each moment within 6 sigma."""
    n, d = len(eps), eps.shape[-1]
    assert np.abs(eps.mean(0)).max() * math.sqrt(n) < 6
    second = np.einsum("n...i,n...j->...ij", eps, eps) / n - np.eye(d)
    assert np.abs(second / np.sqrt(1 + np.eye(d))).max() * math.sqrt(n) < 6
    return eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal(dtype, isa):
    """False alarms: 1e-6 by the KS tests (4 at p < 2.5e-7), 1e-7 by the moments (54 at 6 sigma)."""
    d = random_normal((3, 2), (2,), dtype)
    eps = (d.sample(40_000, rng=11).astype(float) - d.loc) / d.scale
    check_white(eps.reshape(-1, 6))
    for part in (eps[:, 0], eps[:, 1], eps[:, 2], eps):
        assert kolmogorov_smirnov(ERFC(-part / math.sqrt(2)) / 2) > 2.5e-7


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [2, 5, 20])
@pytest.mark.parametrize("name", MATRICES)
def test_multivariate_normal(name, dim, dtype, isa):
    """False alarms: below 3e-6 by the moments of the whitened draws (at most 1300 at 6 sigma, p = 2e-9
    each), 1e-6 by the KS test of an even number of squared whitened elements, a sum of exponentials."""
    d = random_mvn(name, (3, dim), (3, dim, dim), dtype)
    x = d.sample(20_000, rng=12).astype(float)
    # independent of the factor in use: from the covariance that was asked for
    given = getattr(d, name).astype(float)
    if name == "scale_tril":
        tril = given
    else:
        tril = np.linalg.cholesky(given if name == "covariance_matrix" else np.linalg.inv(given))
    eps = np.linalg.solve(tril, (x - d.loc)[..., None])[..., 0]
    check_white(eps)
    assert kolmogorov_smirnov(np.exp(-0.5 * (eps[..., 0] ** 2 + eps[..., -1] ** 2))) > 1e-6


@pytest.mark.parametrize("name", MATRICES)
def test_mahalanobis_distances(name):
    """Squared Mahalanobis distances by log_prob are chi-squared of 4 degrees: KS test, false alarms 1e-6."""
    d = random_mvn(name, (4,), (4, 4))
    half = d.log_prob(d.mean) - d.log_prob(d.sample(50_000, rng=13))
    assert kolmogorov_smirnov(np.exp(-half) * (1 + half)) > 1e-6


@pytest.mark.parametrize("kind", ["Normal", "Independent", *MATRICES])
def test_entropy_and_kl_are_means_of_log_densities(kind):
    """Monte Carlo means within 6 standard errors: false alarms 2e-9 for each of the two."""
    if kind in MATRICES:
        p, q = (random_mvn(kind, (3,), (3, 3), seed=seed) for seed in (0, 1))
    else:
        p, q = (random_normal((3,), (3,), seed=seed)[...] for seed in (0, 1))
        p, q = (p[0], q[0]) if kind == "Normal" else (fd.Independent(p, 1), fd.Independent(q, 1))
    x = p.sample(100_000, rng=14)
    for means, wanted in (
        (-p.log_prob(x), p.entropy()),
        (p.log_prob(x) - q.log_prob(x), fd.kl_divergence(p, q)),
    ):
        assert abs(means.mean() - wanted) < 6 * means.std() / math.sqrt(len(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_batch_is_independent(dtype):
    """No two of 30 rows of a batch are correlated: 435 coefficients within 6 sigma, false alarms 1e-6."""
    d = fd.MultivariateNormal(np.zeros((30, 2), dtype), scale_tril=np.eye(2, dtype=dtype))
    x = d.sample(20_000, rng=15)
    correlation = np.corrcoef(x[..., 1].astype(float), rowvar=False) - np.eye(30)
    assert np.abs(correlation).max() * math.sqrt(20_000) < 6
