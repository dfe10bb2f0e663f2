"""Transforms and transformed distributions against torch's: values, log determinants, shapes, gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fastdist as fd
from fastdist import transforms as ours

theirs = torch.distributions.transforms
td = torch.distributions
pytestmark = pytest.mark.peers

DTYPES = (np.float32, np.float64)


def pairs(dtype):
    """Transforms of ours and of torch's, and the arguments that they take."""
    g = np.random.default_rng(0)
    loc, scale = g.normal(size=(3, 1)).astype(dtype), g.uniform(0.5, 2, 2).astype(dtype)
    tensors = torch.tensor(loc), torch.tensor(-scale)
    affine = ours.AffineTransform(loc, -scale), theirs.AffineTransform(*tensors)
    event = ours.AffineTransform(loc, -scale, 1), theirs.AffineTransform(*tensors, event_dim=1)
    power = ours.PowerTransform(scale), theirs.PowerTransform(torch.tensor(scale))
    plain = {
        name: (getattr(ours, name)(), getattr(theirs, name)())
        for name in ("ExpTransform", "TanhTransform", "SigmoidTransform", "SoftplusTransform")
    }
    both = [affine, plain["ExpTransform"], power]
    composed = ours.ComposeTransform([a for a, _ in both]), theirs.ComposeTransform([b for _, b in both])
    independent = ours.IndependentTransform(composed[0], 1), theirs.IndependentTransform(composed[1], 1)
    return {
        **plain,
        "affine": affine,
        "event": event,
        "power": power,
        "composed": composed,
        "independent": independent,
    }


NAMES = tuple(pairs(np.float64))


@given(st.sampled_from(NAMES), st.sampled_from(DTYPES), st.integers(0, 2**32 - 1), st.booleans())
def test_transforms(name, dtype, seed, inverted):
    mine, other = pairs(dtype)[name]
    x = np.random.default_rng(seed).uniform(0.2, 1.5, (4, 3, 2)).astype(dtype)
    if inverted:
        x = mine(x)
        mine, other = mine.inv, other.inv
    tensor = torch.tensor(x)
    y, wanted = mine(x), other(tensor)
    tolerance = {"rtol": 2e-4, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-12}
    assert y.dtype == dtype
    np.testing.assert_allclose(y, wanted.numpy(), **tolerance)
    log_det = mine.log_abs_det_jacobian(x, y)
    wanted = torch.broadcast_to(other.log_abs_det_jacobian(tensor, wanted), log_det.shape)
    np.testing.assert_allclose(log_det, wanted.numpy(), **tolerance)
    assert mine.bijective == other.bijective
    assert mine.domain.event_dim == other.domain.event_dim
    assert mine.codomain.event_dim == other.codomain.event_dim
    assert mine.forward_shape((3, 2)) == tuple(other.forward_shape(torch.Size((3, 2))))
    assert mine.inverse_shape((3, 2)) == tuple(other.inverse_shape(torch.Size((3, 2))))
    np.testing.assert_array_equal(np.asarray(mine.sign), np.asarray(other.sign))


def test_equality_is_torchs():
    for name, (mine, other) in pairs(np.float64).items():
        for another, (one, else_) in pairs(np.float64).items():
            if name in ("affine", "event") and another in ("affine", "event"):
                continue  # torch leaves event_dim away
            assert (mine == one) == (name == another)
            assert name == another or (other == else_) is False


def test_lower_cholesky():
    x = np.random.default_rng(0).normal(size=(4, 3, 3))
    mine, other = ours.LowerCholeskyTransform(), theirs.LowerCholeskyTransform()
    np.testing.assert_allclose(mine(x), other(torch.tensor(x)).numpy(), rtol=1e-14)
    np.testing.assert_allclose(
        mine.inv(mine(x)), other.inv(other(torch.tensor(x))).numpy(), rtol=1e-14, atol=1e-15
    )


@given(st.sampled_from(NAMES), st.sampled_from(DTYPES), st.integers(0, 1), st.integers(0, 2**32 - 1))
def test_densities_and_their_gradients(name, dtype, n, seed):
    g = np.random.default_rng(seed)
    positive = name == "power"
    loc, scale = g.normal(size=(3, 2)).astype(dtype), g.uniform(0.5, 1.5, 2).astype(dtype)
    mine, other = pairs(dtype)[name]
    tensors = [torch.tensor(one, requires_grad=True) for one in (loc, scale)]
    law, their_law = (fd.LogNormal, td.LogNormal) if positive else (fd.Normal, td.Normal)
    d = fd.TransformedDistribution(fd.Independent(law(loc, scale), n), [mine])
    e = td.TransformedDistribution(td.Independent(their_law(*tensors), n), [other])
    assert d.batch_shape == tuple(e.batch_shape)
    assert d.event_shape == tuple(e.event_shape)
    y = d.sample((4,), rng=seed)
    if dtype == np.float32 and name in ("TanhTransform", "SigmoidTransform"):
        y = np.clip(y, -0.999 if name[0] == "T" else 1e-3, 0.999)
    value = torch.tensor(y, requires_grad=True)
    wanted = e.log_prob(value)
    got, pullback = fd.vjp(d.log_prob, y)
    tolerance = {"rtol": 5e-3, "atol": 5e-3} if dtype == np.float32 else {"rtol": 1e-7, "atol": 1e-7}
    np.testing.assert_allclose(got, wanted.detach().numpy(), **tolerance)
    c = g.normal(size=got.shape).astype(dtype)
    wanted.backward(torch.tensor(c))
    by = pullback(c)
    finite = np.isfinite(value.grad.numpy())
    np.testing.assert_allclose(by["value"][finite], value.grad.numpy()[finite], **tolerance)
    if finite.all():
        np.testing.assert_allclose(by["base_distribution"]["loc"], tensors[0].grad.numpy(), **tolerance)
        np.testing.assert_allclose(by["base_distribution"]["scale"], tensors[1].grad.numpy(), **tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_normal(dtype):
    g = np.random.default_rng(0)
    loc, scale = g.normal(size=(3, 1)).astype(dtype), g.uniform(0.5, 1.5, 2).astype(dtype)
    tensors = torch.tensor(loc), torch.tensor(scale)
    tolerance = {"rtol": 1e-5} if dtype == np.float32 else {"rtol": 1e-12}
    for d, e in (
        (fd.LogNormal(loc, scale), td.LogNormal(*tensors)),
        (fd.HalfNormal(scale), td.HalfNormal(tensors[1])),
    ):
        y = d.sample((5,), rng=0)
        for name in ("mean", "mode", "variance"):
            np.testing.assert_allclose(getattr(d, name), getattr(e, name).numpy(), **tolerance)
        np.testing.assert_allclose(d.entropy(), e.entropy().numpy(), **tolerance)
        value = torch.tensor(y)
        np.testing.assert_allclose(d.log_prob(y), e.log_prob(value).numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(d.cdf(y), e.cdf(value).numpy(), rtol=1e-4)
        assert isinstance(d, fd.TransformedDistribution)


def test_divergences():
    ps = [(fd.LogNormal(0.0, 1.0), td.LogNormal(0.0, 1.0)), (fd.LogNormal(1.0, 2.0), td.LogNormal(1.0, 2.0))]
    hs = [(fd.HalfNormal(1.5), td.HalfNormal(1.5)), (fd.HalfNormal(2.5), td.HalfNormal(2.5))]
    for (p, a), (q, b) in (ps, hs):
        np.testing.assert_allclose(fd.kl_divergence(p, q), td.kl_divergence(a, b).item(), rtol=1e-6)


def test_samples_of_the_same_noise():
    """Of one's noise the draws of both."""
    eps = np.random.default_rng(3).standard_normal((7, 3))
    d = fd.TransformedDistribution(fd.Normal(np.zeros(3), 2.0), [ours.TanhTransform()])
    x = torch.tensor(2 * eps)
    np.testing.assert_allclose(
        d.sample((7,), rng=np.random.default_rng(3)), torch.tanh(x).numpy(), rtol=1e-14
    )
    e = td.TransformedDistribution(
        td.Normal(torch.zeros(3, dtype=torch.float64), 2.0), [theirs.TanhTransform(cache_size=1)]
    )
    density = e.base_dist.log_prob(x) - theirs.TanhTransform().log_abs_det_jacobian(x, torch.tanh(x))
    np.testing.assert_allclose(
        d.sample_and_log_prob((7,), rng=np.random.default_rng(3))[1], density.numpy(), rtol=1e-12
    )
