"""Gradients against torch.autograd, which differentiates torch.distributions in float64.

Of a draw, too: torch's own rsample, given fastdist's normals. Distributions are random in shapes,
broadcasts, parametrisations and dtypes; half of them are expanded, indexed or in an Independent or two.
"""

from unittest import mock

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

# What float64 gradients owe torch's, and float32 ones, relative to the largest of a parameter's.
RTOL = {np.float64: 1e-10, np.float32: 1e-4}

seeds = st.integers(0, 2**32)
dtypes = st.sampled_from(DTYPES)
sample_shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)
kinds = st.sampled_from(["Normal", *MATRICES])


def shapes(n):
    return mutually_broadcastable_shapes(num_shapes=n, min_dims=0, max_dims=3, max_side=4).map(
        lambda s: s.input_shapes
    )


def leaf(array):
    return torch.tensor(np.array(array, np.float64), requires_grad=True)


class Case:
    """A distribution, torch's of the same numbers, and its parameters as torch's leaves."""

    def __init__(self, data, g, kind, loc_shape, other_shape, dtype, dim=None):
        if kind == "Normal":
            loc = g.normal(size=loc_shape).astype(dtype)
            arrays = {"loc": loc, "scale": g.uniform(0.3, 3, other_shape).astype(dtype)}
            cls, their_cls = fd.Normal, td.Normal
        else:
            dim = data.draw(st.integers(1, 9)) if dim is None else dim
            tril = random_tril(g, (*other_shape, dim, dim), dtype)
            loc = g.normal(size=(*loc_shape, dim)).astype(dtype)
            arrays = {"loc": loc, kind: matrix_of(kind, tril)}
            cls, their_cls = fd.MultivariateNormal, td.MultivariateNormal
        self.dtype = dtype
        self.leaves = {name: leaf(array) for name, array in arrays.items()}
        self.ours = cls(**arrays)
        self.theirs = their_cls(**self.leaves, validate_args=False)

    def expand(self, shape):
        self.ours, self.theirs = self.ours.expand(shape), self.theirs.expand(shape)

    def wrap(self, n):
        self.ours, self.theirs = fd.Independent(self.ours, n), td.Independent(self.theirs, n)

    def vary(self, data):
        """Expanded to more dims, reinterpreted, or as it is."""
        if data.draw(st.booleans()):
            more = data.draw(st.lists(st.integers(1, 3), max_size=2))
            batch = [data.draw(st.integers(1, 4)) if n == 1 else n for n in self.ours.batch_shape]
            self.expand((*more, *batch))
        for _ in range(data.draw(st.integers(0, 2))):
            self.wrap(data.draw(st.integers(0, len(self.ours.batch_shape))))
        return self


def assert_gradients(pullback, g, value, theirs, *cases, value_leaf=None):
    """A pullback's against autograd's of torch's value, to RTOL of the largest element of each."""
    dtype = value.dtype.type
    np.testing.assert_allclose(value, theirs.detach().numpy(), rtol=1e-12 if dtype is np.float64 else 1e-4,
                               atol=1e3 * RTOL[dtype])  # fmt: skip
    cotangent = g.normal(size=value.shape).astype(dtype)
    gradients, again = pullback(cotangent), pullback(cotangent)
    if len(cases) == 1:
        gradients, again = {"p": gradients}, {"p": again}
    assert len(gradients) == len(cases)
    leaves = {
        (side, name): one
        for side, case in zip("pq", cases, strict=False)
        for name, one in case.leaves.items()
    }
    if value_leaf is not None:
        leaves["p", "value"] = value_leaf
    wanted = torch.autograd.grad(
        theirs, list(leaves.values()), torch.tensor(cotangent.astype(float)), allow_unused=True
    )
    assert {(side, name) for side in gradients for name in gradients[side]} == leaves.keys()
    for ((side, name), one), gradient in zip(leaves.items(), wanted, strict=True):
        ours = gradients[side][name]
        gradient = np.zeros(one.shape) if gradient is None else gradient.numpy()
        if name == "scale_tril":  # torch's has something above the diagonal, too, sometimes
            gradient = np.tril(gradient)
        assert_same_bits(ours, again[side][name])
        assert (ours.shape, ours.dtype) == (gradient.shape, dtype)
        atol = RTOL[dtype] * np.abs(gradient).max(initial=1)
        np.testing.assert_allclose(ours, gradient, rtol=0, atol=atol, err_msg=f"{side}, {name}")
        if name == "scale_tril":
            assert not np.triu(ours, 1).any()
        elif name in MATRICES:
            np.testing.assert_array_equal(ours, ours.swapaxes(-1, -2))


@given(
    kinds,
    shapes(2),
    st.data(),
    sample_shapes,
    dtypes,
    st.sampled_from([fd.default_rng, np.random.default_rng]),
    seeds,
)
def test_rsample(kind, shapes, data, sample_shape, dtype, default_rng, seed):
    g = np.random.default_rng(seed)
    case = Case(data, g, kind, *shapes, dtype).vary(data)
    value, pullback = fd.vjp(case.ours.rsample, sample_shape, rng=default_rng(seed))
    eps = torch.tensor(fd.standard_normal(value.shape, dtype=dtype, rng=default_rng(seed)).astype(float))
    with (
        mock.patch("torch.distributions.normal._standard_normal", return_value=eps),
        mock.patch("torch.distributions.multivariate_normal._standard_normal", return_value=eps),
    ):
        theirs = case.theirs.rsample(sample_shape)
    assert_gradients(pullback, g, value, theirs, case)


@given(kinds, shapes(2), st.data(), dtypes, seeds)
def test_log_prob(kind, shapes, data, dtype, seed):
    g = np.random.default_rng(seed)
    case = Case(data, g, kind, *shapes, dtype).vary(data)
    dims = [data.draw(st.sampled_from([1, size])) for size in case.ours.batch_shape]
    batch = dims[data.draw(st.integers(0, len(dims))) :]
    if len(batch) == len(dims):
        batch = [*data.draw(sample_shapes), *batch]
    value = g.normal(size=(*batch, *case.ours.event_shape)).astype(dtype)
    value_leaf = leaf(value)
    ours, pullback = fd.vjp(case.ours.log_prob, value)
    assert_gradients(pullback, g, ours, case.theirs.log_prob(value_leaf), case, value_leaf=value_leaf)


@given(kinds, shapes(2), st.data(), dtypes, seeds)
def test_entropy(kind, shapes, data, dtype, seed):
    g = np.random.default_rng(seed)
    case = Case(data, g, kind, *shapes, dtype).vary(data)
    ours, pullback = fd.vjp(case.ours.entropy)
    assert_gradients(pullback, g, ours, case.theirs.entropy(), case)


@given(st.booleans(), shapes(4), st.integers(1, 9), st.data(), dtypes, seeds)
def test_kl_of_a_kind(vectors, shapes, dim, data, dtype, seed):
    """Of scalars or vectors; in an Independent each, if their last dims allow."""
    g = np.random.default_rng(seed)
    p, q = (
        Case(data, g, data.draw(st.sampled_from(MATRICES)) if vectors else "Normal", *batch, dtype, dim)
        for batch in (shapes[:2], shapes[2:])
    )
    n = data.draw(st.integers(0, min(len(p.ours.batch_shape), len(q.ours.batch_shape))))
    if n and p.ours.batch_shape[-n:] == q.ours.batch_shape[-n:]:
        p.wrap(n)
        q.wrap(n)
    value, pullback = fd.vjp(fd.kl_divergence, p.ours, q.ours)
    assert_gradients(pullback, g, value, td.kl_divergence(p.theirs, q.theirs), p, q)


@given(
    shapes(4),
    st.integers(1, 9),
    st.sampled_from(MATRICES),
    st.booleans(),
    st.booleans(),
    st.data(),
    dtypes,
    seeds,
)
def test_kl_with_diagonal_vectors(shapes, dim, name, p_is_diagonal, repeats, data, dtype, seed):
    """torch lacks the mixed pairs: its diagonal Gaussians are MultivariateNormal of the same leaves."""
    g = np.random.default_rng(seed)
    cases = []
    for diagonal, (loc_shape, other_shape) in ((p_is_diagonal, shapes[:2]), (not p_is_diagonal, shapes[2:])):
        if diagonal:
            case = Case(data, g, "Normal", (*loc_shape, dim), (*other_shape, 1 if repeats else dim), dtype)
            scale = case.leaves["scale"].expand(*other_shape, dim)
            case.wrap(1)
            case.theirs = td.MultivariateNormal(
                case.leaves["loc"], scale_tril=torch.diag_embed(scale), validate_args=False
            )
        else:
            case = Case(data, g, name, loc_shape, other_shape, dtype, dim)
        cases.append(case)
    p, q = cases
    value, pullback = fd.vjp(fd.kl_divergence, p.ours, q.ours)
    assert_gradients(pullback, g, value, td.kl_divergence(p.theirs, q.theirs), p, q)
