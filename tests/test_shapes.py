"""The shape (and type) of whatever a distribution returns."""

import numpy as np
import pytest
from cases import DTYPES, MATRICES, random_mvn, random_normal

import fastdist as fd

SAMPLE_SHAPES = [(), 5, (5,), [2, 3], (0,), (2, 0), np.int64(4), np.array([2, 1]), np.array(3), range(1, 3)]
# shapes of loc and scale, or of the batch dims of loc and matrix -> batch_shape
BROADCASTS = [
    ((), (), ()),
    ((1,), (), (1,)),
    ((3,), (), (3,)),
    ((), (3,), (3,)),
    ((3, 2), (2,), (3, 2)),
    ((3, 1), (1, 4), (3, 4)),
    ((5, 1), (4,), (5, 4)),
    ((2, 1, 3), (4, 1), (2, 4, 3)),
    ((0,), (), (0,)),
    ((2, 0, 3), (3,), (2, 0, 3)),
    ((0,), (1,), (0,)),
]


def as_tuple(shape):
    return tuple(int(n) for n in np.atleast_1d(shape))


def check(array, shape, dtype):
    assert type(array) is np.ndarray
    assert array.shape == shape
    assert array.dtype == dtype


def check_everything(d, batch, event, dtype):
    """Every method and property that all distributions have."""
    assert d.batch_shape == batch
    assert d.event_shape == event
    assert all(type(n) is int for n in d.batch_shape + d.event_shape)
    assert d.dtype == dtype
    assert d.has_rsample is True
    for name in ("mean", "mode", "variance", "stddev"):
        check(getattr(d, name), batch + event, dtype)
    for method in (d.entropy, d.perplexity):
        check(method(), batch, dtype)
    for method in (d.sample, d.rsample):
        for shape in SAMPLE_SHAPES:
            check(method(shape, rng=0), as_tuple(shape) + batch + event, dtype)
        check(method(iter((2, 3)), rng=0), (2, 3, *batch, *event), dtype)
        check(method(), batch + event, dtype)
    for lead in ((), (7,), (2, 7)):
        check(d.log_prob(np.zeros(lead + batch + event, dtype)), lead + batch, dtype)
    check(d.log_prob(np.zeros(event, dtype)), batch, dtype)
    ones = (1,) * len(batch)
    check(d.log_prob(np.zeros((7, *ones, *event), dtype)), (7, *batch), dtype)
    wider = d.expand((2, *batch))
    assert type(wider) is type(d)
    assert (wider.batch_shape, wider.event_shape) == ((2, *batch), event)
    check(wider.sample(3, rng=0), (3, 2, *batch, *event), dtype)
    check(wider.mean, (2, *batch, *event), dtype)
    assert d.expand(batch).batch_shape == batch


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loc", "scale", "batch"), BROADCASTS)
def test_normal(loc, scale, batch, dtype):
    d = random_normal(loc, scale, dtype)
    check_everything(d, batch, (), dtype)
    for name in ("loc", "scale"):
        check(getattr(d, name), batch, dtype)
    for method in (d.cdf, d.icdf, d.log_cdf, d.survival_function, d.log_survival_function):
        check(method(dtype(0.5)), batch, dtype)
        check(method(0.5), batch, dtype)
        check(method(np.full((7, *batch), 0.5, dtype)), (7, *batch), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [0, 1, 3])
@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize(("loc", "matrix", "batch"), BROADCASTS)
def test_multivariate_normal(loc, matrix, batch, name, dim, dtype):
    d = random_mvn(name, (*loc, dim), (*matrix, dim, dim), dtype)
    check_everything(d, batch, (dim,), dtype)
    check(d.loc, (*batch, dim), dtype)
    for matrix_name in MATRICES:
        check(getattr(d, matrix_name), (*batch, dim, dim), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loc", "scale", "batch"), BROADCASTS)
def test_independent(loc, scale, batch, dtype):
    base = random_normal(loc, scale, dtype)
    for n in range(len(batch) + 1):
        cut = len(batch) - n
        d = fd.Independent(base, n)
        check_everything(d, batch[:cut], batch[cut:], dtype)
        assert d.base_dist is base
        assert d.reinterpreted_batch_ndims == n


def test_independent_of_vectors_and_of_itself():
    mvn = random_mvn("scale_tril", (4, 1, 2, 3), (5, 1, 3, 3))
    check_everything(fd.Independent(mvn, 2), (4,), (5, 2, 3), np.float64)
    check_everything(fd.Independent(fd.Independent(mvn, 1), 1), (4,), (5, 2, 3), np.float64)


@pytest.mark.parametrize(("p", "q", "batch"), BROADCASTS)
def test_kl(p, q, batch):
    dim = 3
    vectors = [
        (random_mvn(name, (*shape, dim), (dim, dim)), fd.Independent(random_normal((*shape, dim), (dim,)), 1))
        for name, shape in (("covariance_matrix", p), ("precision_matrix", q))
    ]
    for a in vectors[0]:
        for b in vectors[1]:
            check(fd.kl_divergence(a, b), batch, np.float64)
    check(fd.kl_divergence(random_normal(p, ()), random_normal(q, ())), batch, np.float64)


def test_kl_dtype():
    narrow, wide = (random_mvn("scale_tril", (3,), (3, 3), dtype) for dtype in DTYPES)
    check(fd.kl_divergence(narrow, narrow), (), np.float32)
    check(fd.kl_divergence(narrow, wide), (), np.float64)
    check(fd.kl_divergence(wide, narrow), (), np.float64)
