"""NumPy's error state and its warnings are about the user's own steps: none of the package's reaches them."""

import warnings

import numpy as np
import pytest
from cases import DTYPES, KINDS, MATRICES, one_of_each

import fastdist as fd

PROPERTIES = ("mean", "mode", "variance", "stddev")


@pytest.fixture(autouse=True)
def strict():
    """Everything that NumPy can raise is raised, and every warning is an error."""
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def scaled(d, size):
    """The same kind of distribution with scales `size` times as large."""
    dtype = d.dtype.type
    if isinstance(d, fd.Independent):
        return fd.Independent(scaled(d.base_dist, size), d.reinterpreted_batch_ndims)
    if isinstance(d, fd.TransformedDistribution):
        return type(d)(*(getattr(d, name) * dtype(size) for name in d.arg_constraints))
    loc = d.loc * dtype(size)
    if isinstance(d, fd.Normal):
        return fd.Normal(loc, d.scale * dtype(size))
    if isinstance(d, fd.TruncatedNormal):
        return fd.TruncatedNormal(loc, *[array * dtype(size) for array in (d.scale, d.low, d.high)])
    if isinstance(d, fd.LowRankMultivariateNormal):
        return type(d)(loc, d.cov_factor * dtype(size), d.cov_diag * dtype(size) ** 2)
    (name,) = [name for name in MATRICES if name in repr(d)]
    factor = size ** {"scale_tril": 1, "covariance_matrix": 2, "precision_matrix": -2}[name]
    return fd.MultivariateNormal(loc, **{name: getattr(d, name) * dtype(factor)})


MOST = {np.float32: 30, np.float64: 300}  # powers of ten
POWERS = (-1, -0.45, 0.45, 1)  # of ten, as parts of these


def one_scaled(kind, dtype, power):
    """With scales far out or, where a matrix is given that is as large as their square, half as far."""
    squared = kind in ("covariance_matrix", "precision_matrix", "LowRank")
    return scaled(one_of_each(dtype)[kind], 10.0 ** (power * MOST[dtype] / (2 if squared else 1)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power", POWERS)
def test_every_method(power, kind, dtype):
    d = one_scaled(kind, dtype, power)
    x = d.sample(5, rng=0)
    most = np.finfo(dtype).max
    for value in (x, *(np.full_like(x, one) for one in (0, most, -np.inf, np.nan))):
        d.log_prob(value)
        d.log_prob(value.astype(np.float64))
        out, pullback = fd.vjp(d.log_prob, value)
        pullback(np.ones_like(out))
        if isinstance(d, fd.Normal):
            for name in ("cdf", "log_cdf", "survival_function", "log_survival_function"):
                getattr(d, name)(value)
    if isinstance(d, fd.Normal):
        d.icdf(np.array([0, 1e-300, 0.3, 1])[:, None, None])
    d.entropy()
    d.perplexity()
    for name in (*PROPERTIES, *d.arg_constraints):
        getattr(d, name)
    repr(d[0, 0])
    d.expand((2, 4, 3)).variance  # noqa: B018
    for event in (x, np.full_like(x, most), np.full_like(x, np.inf)):
        d.support.check(event)
    for method, arguments in ((d.rsample, (3,)), (d.entropy, ())):
        out, pullback = fd.vjp(method, *arguments)
        pullback(np.full_like(out, most / 8))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("nested", [False, True])
def test_divergences_of_normals(nested, dtype):
    for a in POWERS:
        for b in POWERS:
            p, q = (one_scaled("Normal", dtype, power) for power in (a, b))
            if nested:
                p, q = fd.Independent(p, 1), fd.Independent(q, 1)
            out, pullback = fd.vjp(fd.kl_divergence, p, q)
            pullback(np.ones_like(out))


@pytest.mark.parametrize("dim", [3, 63, 64, 80])
@pytest.mark.parametrize("name", MATRICES[:2])
@pytest.mark.parametrize("size", [1e-300, 1e-30, 1e30, 1e300])
def test_matrices_of_any_size(size, name, dim):
    dtypes = (np.float64,) if not 1e-35 < size < 1e35 else DTYPES
    for dtype in dtypes:
        d = fd.MultivariateNormal(np.zeros(dim, dtype), **{name: np.eye(dim, dtype=dtype) * dtype(size)})
        for other in (*d.arg_constraints, *PROPERTIES):
            getattr(d, other)
        d.entropy()
        for bad in (np.nan, np.inf, -size, size / 2):
            matrix = np.eye(dim, dtype=dtype) * dtype(size)
            matrix[0, 1] = bad
            with pytest.raises(ValueError, match=name):
                fd.MultivariateNormal(np.zeros(dim, dtype), **{name: matrix})
            fd.MultivariateNormal.arg_constraints[name].check(matrix)


def test_numbers_that_leave_the_range_of_float32():
    """They are told of as what they become, not by the conversion's own error."""
    with pytest.raises(ValueError, match=r"scale must be positive and finite: shape \(\), scale = 0\.0"):
        fd.Normal(np.float32(0), 1e-300)
    with pytest.raises(ValueError, match=r"scale must be positive and finite: shape \(\), scale = inf"):
        fd.Normal(np.float32(0), 1e300)
    with pytest.raises(ValueError, match="loc must be finite"):
        fd.Normal(1e300, np.float32(1))
    assert fd.Normal(1e-300, np.float32(1)).loc == 0
    assert fd.Normal(np.float32(0), 1e-40).variance == 0
    d = fd.Normal(np.float32([0, 1]), 1)
    assert d.log_prob(1e-300).dtype == np.float32
    d.log_prob(1e300)
    pull = fd.vjp(d.log_prob, np.float64([1e-200, 1e200]))[1]
    assert pull(np.ones(2))["loc"].dtype == np.float32


def test_rules_of_ones_own_keep_the_users_state():
    """Not quietened: it is the user's arithmetic."""

    class Own(fd.Normal):
        pass

    @fd.register_vjp("entropy", Own)
    def rule(d):
        return lambda g, _: {"scale": np.square(np.full_like(g, 1e300))}

    pullback = fd.vjp(Own(np.zeros(2), 1.0).entropy)[1]
    with pytest.raises(FloatingPointError):
        pullback(np.ones(2))
