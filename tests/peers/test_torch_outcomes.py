"""Categorical, Bernoulli, OneHotCategorical and MixtureSameFamily against torch's: shapes, values, gradients."""

import numpy as np
import pytest
import torch
from cases import DTYPES, random_tril
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from torch import distributions as td

import fastdist as fd

pytestmark = pytest.mark.peers

seeds = st.integers(0, 2**32)
dtypes = st.sampled_from(DTYPES)
numbers = st.integers(1, 40)
parameters = st.sampled_from(["probs", "logits"])
sample_shapes = st.lists(st.integers(1, 3), max_size=2).map(tuple)
LAWS = st.sampled_from(["Categorical", "OneHotCategorical", "Bernoulli"])
EPS = {dtype: float(np.finfo(dtype).eps) for dtype in DTYPES}


def shapes(n):
    return mutually_broadcastable_shapes(num_shapes=n, min_dims=0, max_dims=2, min_side=1, max_side=4).map(
        lambda s: s.input_shapes
    )


def wide(array, requires_grad=False):
    return torch.tensor(np.array(array, np.float64), requires_grad=requires_grad)


def close(ours, theirs, dtype, size=1.0):
    """Shape exactly, values to some roundings; torch computes in float64 from the same numbers."""
    assert ours.shape == tuple(theirs.shape)
    tolerance = 200 * EPS[dtype] * size
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=tolerance, atol=tolerance)


def pair(name, given, shape, n, dtype, seed):
    """Ours and torch's of the same numbers, and torch's parameter."""
    g = np.random.default_rng(seed)
    shape = shape if name == "Bernoulli" else (*shape, n)
    array = g.uniform(0.05, 0.95, shape) if given == "probs" else 3 * g.normal(size=shape)
    array = array.astype(dtype)
    theirs = wide(array, requires_grad=True)
    ours = getattr(fd, name)(**{given: array})
    return ours, getattr(td, name)(**{given: theirs}), theirs


@given(LAWS, parameters, shapes(1), numbers, dtypes, sample_shapes, seeds)
def test_values_and_gradients(name, given_by, shape, n, dtype, sample_shape, seed):
    ours, theirs, parameter = pair(name, given_by, shape[0], n, dtype, seed)
    assert ours.batch_shape == tuple(theirs.batch_shape)
    assert ours.event_shape == tuple(theirs.event_shape)
    assert ours.param_shape == tuple(theirs.param_shape)
    for attribute in ("probs", "logits") + (("mean", "variance") if name != "Categorical" else ()):
        close(getattr(ours, attribute), getattr(theirs, attribute), dtype, 4)
    x = ours.sample(sample_shape, rng=seed)
    assert x.shape == tuple(theirs.sample(sample_shape).shape)
    value = wide(x) if name != "Categorical" else torch.from_numpy(np.array(x))
    close(ours.log_prob(x), theirs.log_prob(value), dtype, 4)
    close(ours.entropy(), theirs.entropy(), dtype, 4)
    np.testing.assert_array_equal(ours.enumerate_support(), theirs.enumerate_support().numpy())
    for method, arguments, wanted in (
        (ours.log_prob, (x,), lambda: theirs.log_prob(value)),
        (ours.entropy, (), theirs.entropy),
    ):
        got, pullback = fd.vjp(method, *arguments)
        cotangent = np.random.default_rng(seed).normal(size=got.shape)
        parameter.grad = None
        wanted().backward(wide(cotangent), retain_graph=True)
        close(pullback(cotangent.astype(got.dtype))[given_by], parameter.grad, dtype, 100)


@given(LAWS, parameters, parameters, shapes(2), numbers, dtypes, seeds)
def test_divergences(name, of_p, of_q, both, n, dtype, seed):
    p, _, array_p = pair(name, of_p, both[0], n, dtype, seed)
    q, _, array_q = pair(name, of_q, both[1], n, dtype, seed + 1)
    shape = np.broadcast_shapes(*both)
    tail = () if name == "Bernoulli" else (n,)
    wanted = td.kl_divergence(  # torch's of Bernoulli does not broadcast
        *(
            getattr(td, name)(**{by: array.expand((*shape, *tail))})
            for by, array in ((of_p, array_p), (of_q, array_q))
        )
    )
    got, pullback = fd.vjp(fd.kl_divergence, p, q)
    close(got, wanted, dtype, 20)
    wanted.backward(torch.ones_like(wanted))
    gradients = pullback(1.0)
    close(gradients["p"][of_p], array_p.grad, dtype, 500)
    close(gradients["q"][of_q], array_q.grad, dtype, 500)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    shapes(3), st.integers(1, 6), st.integers(1, 3), st.sampled_from(["Normal", "Independent", "MVN"]), seeds
)
def test_mixtures(dtype, three, n, dim, kind, seed):
    g = np.random.default_rng(seed)
    weights, loc = g.normal(size=(*three[0], n)), g.normal(size=(*three[1], n, dim))
    scale = g.uniform(0.5, 2, (*three[2], n, dim))
    if kind == "Normal":
        loc, scale = loc[..., 0], scale[..., 0]
    elif kind == "MVN":
        scale = random_tril(g, (*three[2], n, dim, dim))
    arrays = [array.astype(dtype) for array in (weights, loc, scale)]
    tensors = [wide(array, requires_grad=True) for array in arrays]

    def component(module, loc, scale):
        if kind == "MVN":
            return module.MultivariateNormal(loc, scale_tril=scale)
        return (
            module.Independent(module.Normal(loc, scale), 1)
            if kind == "Independent"
            else module.Normal(loc, scale)
        )

    ours = fd.MixtureSameFamily(fd.Categorical(logits=arrays[0]), component(fd, *arrays[1:]))
    # torch's does not broadcast the two.
    batch_shape = np.broadcast_shapes(*three)
    of_components = component(td, *tensors[1:])
    theirs = td.MixtureSameFamily(
        td.Categorical(logits=tensors[0].expand((*batch_shape, n))), of_components.expand((*batch_shape, n))
    )
    assert ours.batch_shape == tuple(theirs.batch_shape)
    assert ours.event_shape == tuple(theirs.event_shape)
    close(ours.mean, theirs.mean, dtype, 4)
    close(ours.variance, theirs.variance, dtype, 4)
    x = ours.sample((3,), rng=seed)
    tensor = wide(x, requires_grad=True)
    density = theirs.log_prob(tensor)
    size = 4 * (1 + float(density.detach().abs().max()))
    got, pullback = fd.vjp(ours.log_prob, x)
    close(got, density, dtype, size)
    cotangent = g.normal(size=got.shape)
    density.backward(wide(cotangent))
    gradients = pullback(cotangent.astype(dtype))
    parts = gradients["component_distribution"]
    close(gradients["value"], tensor.grad, dtype, 10 * size)
    close(gradients["mixture_distribution"]["logits"], tensors[0].grad, dtype, 10 * size)
    close(parts["loc"], tensors[1].grad, dtype, 40 * size)
    close(parts["scale_tril" if kind == "MVN" else "scale"], tensors[2].grad, dtype, 100 * size)
    if kind == "Normal":
        close(ours.cdf(x), theirs.cdf(tensor), dtype, 4)
