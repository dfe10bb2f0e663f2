"""Values of fastdist.torch against torch.distributions', at random shapes; gradients to the second order."""

from unittest import mock

import numpy as np
import pytest
import torch
from adapter_cases import DTYPES, KINDS, close, leaves, make, of_any_square, tensors_of, with_eps
from cases import MATRICES
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from torch import distributions as td
from torch.autograd import gradcheck, gradgradcheck

import fastdist.torch as fdt
from fastdist.torch import normal

pytestmark = pytest.mark.peers


def assert_gradients(ours, of_ours, theirs, of_theirs, kind, g):
    """Values and gradients by leaves, for a random cotangent."""
    close(ours, theirs)
    c = torch.tensor(g.normal(size=tuple(theirs.shape)), dtype=theirs.dtype)
    found = torch.autograd.grad(ours, of_ours, c, allow_unused=True)
    wanted = torch.autograd.grad(theirs, of_theirs, c, allow_unused=True)
    for i, (one, other, leaf) in enumerate(zip(found, wanted, of_theirs, strict=True)):
        other = torch.zeros_like(leaf) if other is None else other
        other = other.tril() if kind == "scale_tril" and i % 2 == 1 else other
        close(torch.zeros_like(leaf) if one is None else one, other)


seeds = st.integers(0, 2**32)
sample_shapes = st.lists(st.integers(1, 3), max_size=2).map(tuple)


def shapes(n):
    return mutually_broadcastable_shapes(num_shapes=n, min_dims=0, max_dims=3, max_side=4).map(
        lambda s: s.input_shapes
    )


def pair(data, g, kind, loc_shape, other_shape, dtype, dim=3):
    """Ours and torch's, maybe expanded and in an Independent, and the leaves of both."""
    tensors = tensors_of(kind, g, loc_shape, other_shape, dim, dtype)
    of_ours, of_theirs = leaves(*tensors), leaves(*tensors)
    ours, theirs = make(fdt, kind, *of_ours), make(td, kind, *of_theirs)
    if data.draw(st.booleans()):
        shape = (data.draw(st.integers(1, 3)), *ours.batch_shape)
        ours, theirs = ours.expand(shape), theirs.expand(shape)
    if data.draw(st.booleans()):
        n = data.draw(st.integers(0, len(ours.batch_shape)))
        cls = data.draw(st.sampled_from([td.Independent, fdt.Independent]))
        ours, theirs = cls(ours, n), td.Independent(theirs, n)
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    return ours, of_ours, theirs, of_theirs


@given(st.sampled_from(KINDS), shapes(2), st.data(), sample_shapes, st.sampled_from(DTYPES), seeds)
def test_rsample(kind, shapes, data, sample_shape, dtype, seed):
    g = np.random.default_rng(seed)
    ours, of_ours, theirs, of_theirs = pair(data, g, kind, *shapes, dtype)
    with mock.patch.object(normal, "SMALL", data.draw(st.sampled_from([-1, 4096]))):
        torch.manual_seed(seed)
        x = ours.rsample(sample_shape)
        torch.manual_seed(seed)
        assert torch.equal(ours.sample(sample_shape), x)
    torch.manual_seed(seed)
    unit = fdt.Normal(torch.zeros((), dtype=dtype), 1.0)
    one, other = with_eps(unit.sample(x.shape))
    with one, other:
        assert_gradients(x, of_ours, theirs.rsample(sample_shape), of_theirs, kind, g)


@given(st.sampled_from(KINDS), shapes(2), st.data(), sample_shapes, st.sampled_from(DTYPES), seeds)
def test_log_prob(kind, shapes, data, sample_shape, dtype, seed):
    g = np.random.default_rng(seed)
    ours, of_ours, theirs, of_theirs = pair(data, g, kind, *shapes, dtype)
    dims = [data.draw(st.sampled_from([1, n])) for n in ours.batch_shape]
    shape = (*sample_shape, *dims, *ours.event_shape)
    value = torch.tensor(g.normal(size=shape), dtype=dtype)
    (v,), (w,) = leaves(value), leaves(value)
    assert_gradients(ours.log_prob(v), [*of_ours, v], theirs.log_prob(w), [*of_theirs, w], kind, g)


@given(st.sampled_from(KINDS), shapes(2), st.data(), st.sampled_from(DTYPES), seeds)
def test_entropy(kind, shapes, data, dtype, seed):
    g = np.random.default_rng(seed)
    ours, of_ours, theirs, of_theirs = pair(data, g, kind, *shapes, dtype)
    with mock.patch.object(normal, "SMALL", data.draw(st.sampled_from([-1, 4096]))):
        assert_gradients(ours.entropy(), of_ours, theirs.entropy(), of_theirs, kind, g)


@given(
    st.sampled_from(KINDS), st.sampled_from(MATRICES), shapes(4), st.data(), st.sampled_from(DTYPES), seeds
)
def test_kl(kind, other, shapes, data, dtype, seed):
    g = np.random.default_rng(seed)
    kinds = (kind, "Normal" if kind == "Normal" else other)
    tensors = [tensors_of(kinds[i], g, *shapes[2 * i : 2 * i + 2], dtype=dtype) for i in (0, 1)]
    of_ours, of_theirs = leaves(*tensors[0], *tensors[1]), leaves(*tensors[0], *tensors[1])
    ours = [make(fdt, k, *of_ours[2 * i : 2 * i + 2]) for i, k in enumerate(kinds)]
    theirs = [make(td, k, *of_theirs[2 * i : 2 * i + 2]) for i, k in enumerate(kinds)]
    n = data.draw(st.integers(0, min(len(d.batch_shape) for d in ours)))
    if n and ours[0].batch_shape[-n:] == ours[1].batch_shape[-n:]:
        cls = data.draw(st.sampled_from([td.Independent, fdt.Independent]))
        ours, theirs = [cls(d, n) for d in ours], [td.Independent(d, n) for d in theirs]
    value, wanted = td.kl_divergence(*ours), td.kl_divergence(*theirs)
    # torch's MultivariateNormal leaves out batch dims that p alone has.
    c = torch.tensor(g.normal(size=tuple(value.shape)), dtype=dtype)
    wanted = wanted.expand(value.shape)
    close(value, wanted)
    found = torch.autograd.grad(value, of_ours, c)
    for i, (one, two) in enumerate(zip(found, torch.autograd.grad(wanted, of_theirs, c), strict=True)):
        close(one, two.tril() if i % 2 and kinds[i // 2] == "scale_tril" else two)


CHECKS = [  # loc_shape, other_shape
    ((), ()),
    ((2,), ()),
    ((), (2,)),
    ((2, 1), (3,)),
]


@pytest.mark.parametrize(("loc_shape", "other_shape"), CHECKS)
@pytest.mark.parametrize(("kind", "small"), [("Normal", -1), *((kind, 4096) for kind in KINDS)])
def test_gradcheck(kind, small, loc_shape, other_shape, monkeypatch):
    """torch's own check, to the second order, of all methods, in and out of an Independent."""
    monkeypatch.setattr(normal, "SMALL", small)
    g = np.random.default_rng(0)
    dim, tail = (2, (2,)) if kind != "Normal" else (0, ())
    loc = torch.tensor(g.normal(size=(*loc_shape, *tail)), requires_grad=True)
    other = torch.tensor(g.normal(size=(*other_shape, *([dim] * 2 if tail else []))), requires_grad=True)

    def d(loc, other, more=()):
        d = make(fdt, kind, loc, of_any_square(kind, other))
        d = d.expand((*more, *d.batch_shape))
        return fdt.Independent(d, len(d.batch_shape) // 2)

    shape = d(loc, other).batch_shape + d(loc, other).event_shape
    value = torch.tensor(g.normal(size=(2, *shape)), requires_grad=True)
    prior = d(loc.detach() + 1, other.detach() / 2)
    for f, inputs in (
        (lambda loc, other: d(loc, other).rsample((2,), rng=1), (loc, other)),
        (lambda loc, other: d(loc, other, (2,)).rsample(rng=1), (loc, other)),
        (lambda loc, other, value: d(loc, other).log_prob(value), (loc, other, value)),
        (lambda loc, other, value: d(loc, other, (2,)).log_prob(value), (loc, other, value)),
        (lambda loc, other: d(loc, other).entropy(), (loc, other)),
        (lambda loc, other: td.kl_divergence(d(loc, other), prior), (loc, other)),
        (lambda loc, other: td.kl_divergence(prior, d(loc, other)), (loc, other)),
    ):
        assert gradcheck(f, inputs)
        assert gradgradcheck(f, inputs, fast_mode=True)
    if kind != "Normal":
        for name in ("_unbroadcasted_scale_tril", *MATRICES, "variance"):
            f = lambda other, name=name: getattr(make(fdt, kind, loc, of_any_square(kind, other)), name)  # noqa: E731
            assert gradcheck(f, (other,))
            assert gradgradcheck(f, (other,), fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_recorded_gradients_are_the_same(kind):
    """With create_graph torch's formulas make them."""
    g = np.random.default_rng(0)
    every = loc, other = leaves(*tensors_of(kind, g, (200, 1), (100,)))
    d = make(fdt, kind, loc, other)
    value = d.sample(rng=1)
    for f in (
        lambda: d.rsample((2,), rng=0),
        lambda: d.log_prob(value),
        lambda: fdt.Independent(d, 1).log_prob(value),
        lambda: td.kl_divergence(d, d),
        lambda: d.expand((2, 200, 100)).entropy(),
    ):
        c = torch.tensor(g.normal(size=tuple(f().shape)))
        plain = torch.autograd.grad(f(), every, c, allow_unused=True, materialize_grads=True)
        recorded = torch.autograd.grad(
            f(), every, c, create_graph=True, allow_unused=True, materialize_grads=True
        )
        for one, two in zip(plain, recorded, strict=True):
            close(one, two)


def test_a_parameter_made_of_another():
    """Each gets its own share of the gradient, in the first and the second order."""
    for module in (td, fdt):
        x = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
        d = module.Normal(x.square(), x)
        (first,) = torch.autograd.grad(d.log_prob(x.exp()).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
        if module is td:
            wanted = first, second
    close(first, wanted[0])
    close(second, wanted[1])


def test_batches_of_cotangents():
    loc, matrix = leaves(*tensors_of("covariance_matrix", np.random.default_rng(0), (2,), ()))
    value = torch.zeros(2, 3, dtype=torch.float64)

    def f(module):
        return lambda loc, matrix: module.MultivariateNormal(loc, matrix).log_prob(value)

    for vectorize in (False, True):
        ours = torch.autograd.functional.jacobian(f(fdt), (loc, matrix), vectorize=vectorize)
        for one, two in zip(ours, torch.autograd.functional.jacobian(f(td), (loc, matrix)), strict=True):
            close(one, two)


@pytest.mark.parametrize("kind", KINDS)
def test_layouts_of_cotangents_and_values(kind):
    """Expanded, transposed, strided, negated lazily: the same as contiguous."""
    g = np.random.default_rng(0)
    loc, other = leaves(*tensors_of(kind, g, (4, 3), (3,)))
    d = make(fdt, kind, loc, other)
    shape = (5, *d.batch_shape, *d.event_shape)
    dense = torch.tensor(g.normal(size=shape))
    lazily = torch.complex(torch.zeros_like(dense), -dense).conj().imag
    assert lazily.is_neg()
    variants = [
        dense.mT.contiguous().mT,
        torch.stack([dense, dense], -1)[..., 0],
        dense[0].expand(shape),
        dense[..., :1].expand(shape),
        lazily,
    ]
    for t in variants:
        same = t.resolve_neg().contiguous().clone()
        assert torch.equal(d.log_prob(t), d.log_prob(same))
        for f, c in (
            (lambda: d.rsample((5,), rng=0), t),
            (lambda: d.log_prob(dense), t if kind == "Normal" else t[..., 0]),
            (lambda: fdt.Independent(d, 1).log_prob(dense), t[..., 0] if kind == "Normal" else t[..., 0, 0]),
        ):
            ours = torch.autograd.grad(f(), (loc, other), c)
            same = torch.autograd.grad(f(), (loc, other), c.resolve_neg().contiguous().clone())
            for one, two in zip(ours, same, strict=True):
                close(one, two)


def test_needs_of_single_parameters():
    g = np.random.default_rng(0)
    for kind in KINDS:
        for which in (0, 1):
            tensors = list(tensors_of(kind, g, (200, 100), (100,), dtype=torch.float64))
            tensors[which].requires_grad_()
            d = make(fdt, kind, *tensors)
            for value in (d.rsample((2,)), d.log_prob(d.sample()), td.kl_divergence(d, d)):
                assert torch.autograd.grad(value.sum(), tensors[which])[0].shape == tensors[which].shape
