"""Against torch.distributions: shapes exactly, values to rounding.

torch computes in float64 from the same numbers, so that a float32 result is held to its own rounding.
No sizes of 0: on many of them torch fails (test_shapes.py has them).
"""

import re

import numpy as np
import pytest
import torch
from cases import DTYPES, MATRICES, assert_same_bits, matrix_of, random_tril
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from torch import distributions as td

import fastdist as fd

pytestmark = pytest.mark.peers

seeds = st.integers(0, 2**32)
dtypes = st.sampled_from(DTYPES)
sample_shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)
matrices = st.sampled_from(MATRICES)
PROPERTIES = ("mean", "mode", "variance", "stddev")


def shapes(n, min_side=1):
    return mutually_broadcastable_shapes(
        num_shapes=n, min_dims=0, max_dims=3, min_side=min_side, max_side=4
    ).map(lambda s: s.input_shapes)


def wide(array):
    return torch.from_numpy(np.array(array, np.float64))


def assert_close(ours, theirs, size=1.0):
    """Shape exactly; values to a few roundings of `size` and of themselves."""
    assert type(ours) is np.ndarray
    assert ours.shape == tuple(theirs.shape)
    eps = float(np.finfo(ours.dtype).eps)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=64 * eps * size, atol=64 * eps * size)


def printed(theirs):
    """torch's repr with NumPy's tuples for torch's sizes."""
    return re.sub(
        r"torch\.Size\(\[([\d, ]*)\]\)",
        lambda m: str(tuple(map(int, filter(None, m[1].split(", "))))),
        repr(theirs),
    )


def assert_alike(ours, theirs, sample_shape, value, size=1.0):
    """Everything that all distributions have."""
    assert ours.batch_shape == tuple(theirs.batch_shape)
    assert ours.event_shape == tuple(theirs.event_shape)
    for name in PROPERTIES:
        assert_close(getattr(ours, name), getattr(theirs, name), size)
    assert_close(ours.entropy(), theirs.entropy(), 4 * size)
    draw = ours.sample(sample_shape, rng=0)
    assert draw.shape == tuple(theirs.sample(sample_shape).shape)
    assert_same_bits(draw, ours.rsample(sample_shape, rng=0))
    for x in (draw, value):
        wanted = theirs.log_prob(wide(x))
        largest = float(wanted.abs().max()) if wanted.numel() else 1.0
        assert_close(ours.log_prob(x), wanted, size * (1 + largest))
    if "tensor(" not in repr(theirs) and not re.search(r": -?\d", repr(theirs)):
        assert repr(ours) == printed(theirs)


def normals(g, loc_shape, scale_shape, loc_dtype=np.float64, scale_dtype=np.float64):
    loc = g.normal(size=loc_shape).astype(loc_dtype)
    scale = g.uniform(0.3, 3, scale_shape).astype(scale_dtype)
    return fd.Normal(loc, scale), td.Normal(wide(loc), wide(scale), validate_args=False)


def vectors(g, name, dim, loc_shape, matrix_shape, loc_dtype=np.float64, matrix_dtype=np.float64):
    loc = g.normal(size=(*loc_shape, dim)).astype(loc_dtype)
    matrix = matrix_of(name, random_tril(g, (*matrix_shape, dim, dim), matrix_dtype))
    theirs = td.MultivariateNormal(wide(loc), **{name: wide(matrix)}, validate_args=False)
    return fd.MultivariateNormal(loc, **{name: matrix}), theirs


@given(shapes(3), sample_shapes, dtypes, dtypes, dtypes, seeds)
def test_normal(shapes, sample_shape, loc_dtype, scale_dtype, value_dtype, seed):
    g = np.random.default_rng(seed)
    ours, theirs = normals(g, shapes[0], shapes[1], loc_dtype, scale_dtype)
    assert ours.dtype == np.result_type(loc_dtype, scale_dtype)
    value = g.normal(size=shapes[2]).astype(value_dtype)
    assert_alike(ours, theirs, sample_shape, value)
    assert ours.log_prob(value).dtype == np.result_type(ours.dtype, value_dtype)
    assert_close(ours.cdf(value), theirs.cdf(wide(value)))
    z = (wide(value) - theirs.loc) / theirs.scale
    assert_close(ours.log_cdf(value), torch.special.log_ndtr(z), 4)
    assert_close(ours.log_survival_function(value), torch.special.log_ndtr(-z), 4)
    assert_close(ours.survival_function(value), 1 - theirs.cdf(wide(value)))
    probability = g.uniform(0.01, 0.99, shapes[2]).astype(value_dtype)
    assert_close(ours.icdf(probability), theirs.icdf(wide(probability)), 4)


@given(shapes(3), st.integers(1, 6), matrices, sample_shapes, dtypes, dtypes, dtypes, seeds)
def test_multivariate_normal(shapes, dim, name, sample_shape, loc_dtype, matrix_dtype, value_dtype, seed):
    g = np.random.default_rng(seed)
    ours, theirs = vectors(g, name, dim, shapes[0], shapes[1], loc_dtype, matrix_dtype)
    if name != "scale_tril":  # a matrix that is factored in float32 has no float64 densities
        value_dtype = np.float32
    value = g.normal(size=(*shapes[2], dim)).astype(value_dtype)
    assert_alike(ours, theirs, sample_shape, value, size=20 * dim)
    for other in MATRICES:
        assert_close(getattr(ours, other), getattr(theirs, other), size=20 * dim)


@given(shapes(2), st.data(), matrices, seeds, sample_shapes)
def test_independent(shapes, data, name, seed, sample_shape):
    """One Independent or one in another, over scalars or vectors."""
    g = np.random.default_rng(seed)
    over_vectors = data.draw(st.booleans())
    ours, theirs = vectors(g, name, 3, *shapes) if over_vectors else normals(g, *shapes)
    for _ in range(data.draw(st.integers(1, 2))):
        n = data.draw(st.integers(0, len(ours.batch_shape)))
        ours, theirs = fd.Independent(ours, n), td.Independent(theirs, n, validate_args=False)
    value = g.normal(size=(2,) * bool(ours.batch_shape) + (1,) * len(ours.batch_shape) + ours.event_shape)
    size = 60.0 * max(1, int(np.prod(ours.event_shape)))
    assert_alike(ours, theirs, sample_shape, value, size)


@given(shapes(2), shapes(1), st.data(), matrices, seeds)
def test_expand(shapes, more, data, name, seed):
    g = np.random.default_rng(seed)
    ours, theirs = vectors(g, name, 3, *shapes) if data.draw(st.booleans()) else normals(g, *shapes)
    if data.draw(st.booleans()):
        n = data.draw(st.integers(0, len(ours.batch_shape)))
        ours, theirs = fd.Independent(ours, n), td.Independent(theirs, n)
    target = tuple(data.draw(st.integers(1, 4)) if size == 1 else size for size in ours.batch_shape)
    target = more[0] + target
    ours, theirs = ours.expand(target), theirs.expand(target)
    assert_alike(
        ours, theirs, (2,), np.zeros(ours.event_shape), 60.0 * max(1, int(np.prod(ours.event_shape)))
    )


def assert_kl_close(p, q, wanted, size=1.0):
    got = fd.kl_divergence(p, q)
    assert_close(got, wanted, size * (1 + (float(wanted.abs().max()) if wanted.numel() else 0)))


@given(shapes(4), dtypes, dtypes, seeds)
def test_kl_of_scalars(shapes, dtype_p, dtype_q, seed):
    g = np.random.default_rng(seed)
    p, their_p = normals(g, *shapes[:2], dtype_p, dtype_p)
    q, their_q = normals(g, *shapes[2:], dtype_q, dtype_q)
    assert_kl_close(p, q, td.kl_divergence(their_p, their_q))


@given(shapes(4), st.integers(1, 6), matrices, matrices, dtypes, seeds)
def test_kl_of_vectors(shapes, dim, name_p, name_q, dtype, seed):
    g = np.random.default_rng(seed)
    p, their_p = vectors(g, name_p, dim, *shapes[:2], dtype, dtype)
    q, their_q = vectors(g, name_q, dim, *shapes[2:], dtype, dtype)
    assert_kl_close(p, q, td.kl_divergence(their_p, their_q), 20.0 * dim)


@given(shapes(4), st.integers(1, 6), matrices, st.sampled_from(["p", "q", "both"]), dtypes, seeds)
def test_kl_with_diagonal_vectors(shapes, dim, name, diagonal, dtype, seed):
    """torch lacks the mixed pairs: it gets the diagonal ones as MultivariateNormal."""
    g = np.random.default_rng(seed)
    ours, theirs = [], []
    for side, batch in (("p", shapes[:2]), ("q", shapes[2:])):
        if diagonal in (side, "both"):
            normal, _ = normals(g, *((*shape, dim) for shape in batch), dtype, dtype)
            ours.append(fd.Independent(normal, 1))
            tril = torch.diag_embed(wide(normal.scale))
            theirs.append(td.MultivariateNormal(wide(normal.loc), scale_tril=tril, validate_args=False))
        else:
            one, their_one = vectors(g, name, dim, *batch, dtype, dtype)
            ours.append(one)
            theirs.append(their_one)
    assert_kl_close(*ours, td.kl_divergence(*theirs), 20.0 * dim)


@given(shapes(4), st.data(), seeds)
def test_kl_of_independent(shapes, data, seed):
    g = np.random.default_rng(seed)
    p, their_p = normals(g, *shapes[:2])
    q, their_q = normals(g, *shapes[2:])
    n = data.draw(st.integers(0, min(len(p.batch_shape), len(q.batch_shape))))
    p, q = fd.Independent(p, n), fd.Independent(q, n)
    if p.event_shape != q.event_shape:
        with pytest.raises(ValueError, match="event"):
            fd.kl_divergence(p, q)
        return
    wanted = td.kl_divergence(td.Independent(their_p, n), td.Independent(their_q, n))
    assert_kl_close(p, q, wanted, 4.0)


@pytest.mark.parametrize(
    "index", [0, -1, slice(1, 3), (0, 1), (slice(None), 0), (..., 1), None, (slice(None, None, 2), None)]
)
def test_indexing_is_torchs_on_the_parameters(index):
    g = np.random.default_rng(0)
    d, _ = normals(g, (4, 3), (3,))
    np.testing.assert_array_equal(d[index].loc, torch.from_numpy(d.loc.copy())[index].numpy())
    np.testing.assert_array_equal(d[index].scale, torch.from_numpy(d.scale.copy())[index].numpy())


def test_constraints_have_torchs_names():
    for ours, theirs in ((fd.Normal, td.Normal), (fd.MultivariateNormal, td.MultivariateNormal)):
        assert ours.has_rsample == theirs.has_rsample
        assert ours.arg_constraints.keys() == theirs.arg_constraints.keys()
        for name, constraint in ours.arg_constraints.items():
            assert constraint.event_dim == theirs.arg_constraints[name].event_dim
            assert constraint.is_discrete == theirs.arg_constraints[name].is_discrete
