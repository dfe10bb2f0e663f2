"""fastdist.torch against torch.distributions: the same lines of code, with another import."""

import copy
import doctest
import gc
import io
import pickle
import re
import subprocess
import sys
import textwrap
import threading
import weakref
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from adapter_cases import DTYPES, KINDS, close, leaves, make, tensors_of
from cases import MATRICES
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from torch import distributions as td
from torch.autograd import gradcheck, gradgradcheck
from torch.fx.experimental.proxy_tensor import make_fx

import fastdist as fd
import fastdist.torch as fdt
from fastdist._kernels import bridge
from fastdist.torch import _kernel, independent, multivariate_normal, normal

pytestmark = pytest.mark.peers


def of_any_square(kind, a):
    """The other parameter as a smooth function of any tensor, as gradcheck wants it."""
    if kind == "Normal":
        return a.exp()
    if kind == "scale_tril":
        return a.tril(-1) + torch.diag_embed(a.diagonal(dim1=-2, dim2=-1).exp())
    return a @ a.mT + torch.eye(a.shape[-1], dtype=a.dtype)


def with_eps(eps):
    """torch's draws from these normals."""
    stack = mock.patch("torch.distributions.normal._standard_normal", return_value=eps)
    return stack, mock.patch("torch.distributions.multivariate_normal._standard_normal", return_value=eps)


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


# ---- values and gradients --------------------------------------------------------------------------

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


@pytest.mark.parametrize(
    ("kind", "other"), [(a, b) for a in KINDS for b in KINDS if (a, b) != ("Normal", "Normal")]
)
def test_kl_from_a_prior_without_gradients(kind, other):
    """The gradients by p are those that it has beside q's, which are not made."""

    def diagonal_too(kind, *tensors):
        d = make(fdt, kind, *tensors)
        return fdt.Independent(d, 1) if kind == "Normal" else d

    g = np.random.default_rng(0)
    p, q = [
        tensors_of(kind, g, (4, 3), (4, 3)) if kind == "Normal" else tensors_of(kind, g, (4,), (4,))
        for kind in (kind, other)
    ]
    of_p, of_both = leaves(*p), leaves(*p, *q)
    alone = td.kl_divergence(diagonal_too(kind, *of_p), diagonal_too(other, *q)).sum()
    beside = td.kl_divergence(diagonal_too(kind, *of_both[:2]), diagonal_too(other, *of_both[2:])).sum()
    with mock.patch.object(bridge, "pull_mvn_kl", wraps=bridge.pull_mvn_kl) as pull:
        found = torch.autograd.grad(alone, of_p)
        assert pull.call_args.args[3] is None
    for one, two in zip(found, torch.autograd.grad(beside, of_both), strict=False):
        assert torch.equal(one, two)


def test_kl_of_diagonal_and_dense():
    """torch has no such rule: the diagonal one written as a MultivariateNormal."""
    g = np.random.default_rng(0)
    loc, scale = leaves(*tensors_of("Normal", g, (4, 3), (3,)))
    other_loc, matrix = leaves(*tensors_of("covariance_matrix", g, (), (4,)))
    ind = fdt.Independent(fdt.Normal(loc, scale), 1)
    mvn = fdt.MultivariateNormal(other_loc, matrix)
    dense = td.MultivariateNormal(loc, scale_tril=torch.diag_embed(scale))
    theirs = td.MultivariateNormal(other_loc, matrix)
    every = (loc, scale, other_loc, matrix)
    for pq, wanted in (((ind, mvn), (dense, theirs)), ((mvn, ind), (theirs, dense))):
        value = td.kl_divergence(*pq)
        close(value, td.kl_divergence(*wanted))
        ours = torch.autograd.grad(value.sum(), every, create_graph=True)  # by torch's formula
        theirs_by = torch.autograd.grad(td.kl_divergence(*wanted).sum(), every, retain_graph=True)
        for one, two, three in zip(torch.autograd.grad(value.sum(), every), ours, theirs_by, strict=True):
            close(one, two)
            close(one, three)


def test_kl_with_torchs_own():
    g = np.random.default_rng(0)
    for kind in KINDS:
        p, q = tensors_of(kind, g), tensors_of(kind, g)
        wanted = td.kl_divergence(make(td, kind, *p), make(td, kind, *q))
        close(td.kl_divergence(make(fdt, kind, *p), make(td, kind, *q)), wanted)
        close(td.kl_divergence(make(td, kind, *p), make(fdt, kind, *q)), wanted)
    low_rank = td.LowRankMultivariateNormal(torch.zeros(3), torch.ones(3, 1), torch.ones(3))
    mvn = fdt.MultivariateNormal(torch.zeros(3), torch.eye(3))
    close(
        td.kl_divergence(mvn, low_rank),
        td.kl_divergence(td.MultivariateNormal(torch.zeros(3), torch.eye(3)), low_rank),
    )
    with pytest.raises(NotImplementedError):
        td.kl_divergence(mvn, td.Gumbel(0.0, 1.0))


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


# ---- what a torch user sees -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_attributes(kind, dtype):
    """All that torch's have, equal, and after expand, too."""
    tensors = tensors_of(kind, np.random.default_rng(0), (4, 1), (2,), dtype=dtype)
    ours, theirs = make(fdt, kind, *tensors), make(td, kind, *tensors)
    names = ["loc", "mean", "mode", "variance", "stddev"]
    names += ["scale"] if kind == "Normal" else [*MATRICES, "_unbroadcasted_scale_tril"]
    assert repr(ours) == repr(theirs)
    for shape in (None, (3, 4, 2)):
        if shape is not None:
            ours, theirs = ours.expand(shape), theirs.expand(shape)
        assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
        assert type(ours.batch_shape) is type(ours.event_shape) is torch.Size
        assert ours.support is theirs.support
        assert ours.has_rsample
        assert isinstance(ours, type(theirs))
        for name in names:
            close(getattr(ours, name), getattr(theirs, name))
        close(ours.perplexity(), theirs.perplexity())
    if kind == "Normal":
        value = torch.linspace(0.1, 0.9, 2, dtype=dtype)
        close(ours.cdf(value), theirs.cdf(value))
        close(ours.icdf(value), theirs.icdf(value))
    given_only = make(fdt, kind, *tensors)
    assert given_only.expand(torch.Size([3, -1, 2])).batch_shape == (3, 4, 2)
    for name in names:
        close(getattr(given_only.expand((3, 4, 2)), name), getattr(theirs, name))


def test_swapped_import():
    assert fdt.Categorical is td.Categorical
    assert fdt.kl.kl_divergence is td.kl.kl_divergence
    assert fdt.kl.register_kl is td.kl.register_kl
    assert fdt.normal.Normal is fdt.Normal
    assert fdt.transforms is td.transforms
    assert fdt.kl_divergence is td.kl_divergence
    with pytest.raises(AttributeError, match=r"module 'fastdist\.torch' has no attribute 'Cauchi'"):
        fdt.Cauchi  # noqa: B018


ONE = torch.ones(2)


@pytest.mark.parametrize(
    "arguments",
    [
        ((ONE, -ONE), {}),
        ((ONE * torch.nan, ONE), {}),
        ((ONE, ONE * torch.nan), {}),
        ((torch.ones(3), ONE), {}),
        (([1.0], ONE), {}),
        ((ONE.numpy(), ONE), {}),
        ((1.0, 0.0), {}),
        ((ONE,), {}),
        ((ONE, torch.ones(2, 2)), {}),
        ((ONE, -torch.eye(2)), {}),
        ((ONE, -torch.eye(2)), {"validate_args": False}),
        ((ONE, torch.tensor([[1.0, 0.5], [0.0, 1.0]])), {}),
        ((ONE, torch.ones(2, 2) * torch.nan), {}),
        ((torch.tensor(1.0), torch.eye(2)), {}),
        ((ONE, ONE), {}),
        ((torch.ones(3, 2), torch.ones(2, 1, 1).expand(2, 2, 2) + torch.eye(2)), {}),
        ((ONE,), {"scale_tril": torch.ones(2, 2)}),
        ((ONE,), {"scale_tril": -torch.eye(2)}),
        ((ONE,), {"precision_matrix": -torch.eye(2)}),
        ((ONE, torch.eye(2)), {"scale_tril": torch.eye(2)}),
        ((ONE * torch.nan, torch.eye(2)), {}),
        ((ONE, torch.eye(2).double()), {}),
        ((ONE, torch.eye(2).to(torch.complex64)), {}),
    ],
)
@pytest.mark.parametrize("name", ["Normal", "MultivariateNormal"])
def test_errors_are_torchs(name, arguments):
    """Whatever torch's constructor says or takes: the same type and the same words."""
    args, kwargs = arguments
    outcomes = []
    for module in (td, fdt):
        try:
            outcomes.append(repr(getattr(module, name)(*args, **kwargs)))
        except Exception as error:
            outcomes.append((type(error), str(error)))
    assert outcomes[0] == outcomes[1]


def test_errors_of_values_are_torchs():
    mvn = {module: module.MultivariateNormal(torch.zeros(3, 2), torch.eye(2)) for module in (td, fdt)}
    scalar = {module: module.Normal(torch.zeros(3, 2), 1.0) for module in (td, fdt)}
    ind = {module: module.Independent(scalar[module], 1) for module in (td, fdt)}
    for d in (mvn, scalar, ind):
        for value in (
            ONE * torch.nan,
            torch.ones(4, 2),
            torch.ones(3),
            torch.ones(3, 1),
            0.5,
            np.ones(2),
            None,
        ):
            outcomes = []
            for one in d.values():
                try:
                    outcomes.append(one.log_prob(value).shape)
                except Exception as error:
                    outcomes.append((type(error), str(error)))
            assert outcomes[0] == outcomes[1]
    loose = {module: module.Normal(torch.zeros(2), 1.0, validate_args=False) for module in (td, fdt)}
    for value in (ONE * torch.nan, 0.5, ONE * torch.inf):
        torch.testing.assert_close(loose[fdt].log_prob(value), loose[td].log_prob(value), equal_nan=True)
    assert (scalar[fdt].log_prob(ONE * torch.inf) == -torch.inf).all()


def test_unusual_values_that_torch_takes():
    d = fdt.Normal(torch.tensor([0.0, torch.inf]), torch.tensor([torch.inf, 1.0]))
    assert d.sample().isinf().all()
    loose = fdt.Normal(0 * ONE, -ONE, validate_args=False)
    assert torch.equal(loose.sample(rng=0), -fdt.Normal(0 * ONE, ONE).sample(rng=0))
    mvn = fdt.MultivariateNormal(torch.tensor([0.0, torch.inf]), torch.eye(2))
    assert mvn.rsample().isinf().tolist() == [False, True]
    assert mvn.rsample(rng=0).isinf().tolist() == [False, True]
    assert mvn.expand((2,)).sample().shape == (2, 2)


def test_default_validation_is_torchs():
    before = td.Distribution._validate_args
    try:
        td.Distribution.set_default_validate_args(False)
        assert fdt.Normal(0.0, -1.0).scale == -1
        late = fdt.MultivariateNormal(torch.zeros(2), torch.eye(2))
        assert not late._validate_args
        td.Distribution.set_default_validate_args(True)
        assert late._validate_args
        with pytest.raises(ValueError, match="to satisfy the constraint GreaterThan"):
            fdt.Normal(0.0, -1.0)
    finally:
        td.Distribution.set_default_validate_args(before)


def test_numbers():
    for args in (
        (0.0, 1.0),
        (0, 1),
        (torch.zeros(2), 2),
        (0.5, torch.ones(3, dtype=torch.float64)),
        (True, 1.5),
    ):
        ours, theirs = fdt.Normal(*args), td.Normal(*args)
        assert (ours.batch_shape, ours.loc.dtype) == (theirs.batch_shape, theirs.loc.dtype)
        close(ours.loc, theirs.loc)
        close(ours.scale, theirs.scale)
        assert ours.sample((2,)).shape == theirs.sample((2,)).shape
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        assert fdt.Normal(0.0, 1.0).sample().dtype is torch.float64
    finally:
        torch.set_default_dtype(before)


def test_mixed_dtypes_are_torchs():
    for args in ((torch.zeros(2), torch.ones(2).double()), (torch.zeros(2).double(), torch.tensor(1.0))):
        ours, theirs = fdt.Normal(*args), td.Normal(*args)
        for value in (torch.zeros(2), torch.zeros(2).double(), torch.zeros(()).double()):
            close(ours.log_prob(value), theirs.log_prob(value))
        assert ours.rsample().dtype is theirs.rsample().dtype
        assert ours.sample().dtype is theirs.sample().dtype
        assert ours.rsample(rng=0).dtype is theirs.rsample().dtype
    single, other = fdt.Normal(torch.zeros(2), 1.0), td.Normal(torch.zeros(2), 1.0)
    for value in (torch.zeros(2).double(), torch.zeros(()).double()):
        close(single.log_prob(value), other.log_prob(value))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_torchs(dtype):
    args = torch.zeros(3, dtype=dtype), torch.ones(3, dtype=dtype)
    torch.manual_seed(0)
    ours = fdt.Normal(*args).sample()
    torch.manual_seed(0)
    assert torch.equal(ours, td.Normal(*args).sample())
    assert torch.equal(
        fdt.Normal(*args).rsample(rng=0), fdt.Normal(torch.zeros(3), torch.ones(3)).sample(rng=0).to(dtype)
    )
    assert fdt.Normal(*args).rsample(generator=torch.Generator()).dtype is dtype
    assert torch.equal(fdt.Normal(*args).log_prob(args[1]), td.Normal(*args).log_prob(args[1]))
    assert torch.equal(fdt.Normal(*args).entropy(), td.Normal(*args).entropy())


def test_meta_tensors_are_torchs():
    loc = torch.zeros(3, 2, device="meta")
    d = fdt.Normal(loc, torch.ones_like(loc), validate_args=False)
    assert d.rsample((4,)).device.type == d.log_prob(loc).device.type == d.entropy().device.type == "meta"
    assert d.rsample((4,), rng=0).shape == (4, 3, 2)
    mvn = fdt.MultivariateNormal(loc, torch.eye(2, device="meta"), validate_args=False)
    assert mvn.rsample((4,)).shape == (4, 3, 2)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_transforms_are_torchs():
    """vmap, grad, jvp, hessian, tracing and compilation of what uses distributions, made inside or before."""
    g = np.random.default_rng(0)
    for kind in KINDS:
        loc, other = tensors_of(kind, g)
        value = torch.tensor(g.normal(size=(4, *loc.shape)))
        outcomes = []
        for module in (td, fdt):
            made = make(module, kind, loc, other, validate_args=False)

            def inside(x, module=module, kind=kind, loc=loc, other=other):
                return make(module, kind, x, other, validate_args=False).log_prob(loc).sum()

            def before(x, made=made):
                return made.log_prob(x).sum()

            for f in (inside, before):
                outcomes += [
                    torch.func.vmap(f)(value),
                    torch.func.grad(f)(value[0]),
                    torch.func.hessian(f)(value[0]),
                    torch.func.jvp(f, (value[0],), (value[1],))[1],
                    torch.jit.trace(f, value[0])(value[1]),
                    torch.compile(f, backend="eager", fullgraph=True)(value[0]),
                    f(value[0]),
                ]
            with torch.autograd.forward_ad.dual_level():
                dual = torch.autograd.forward_ad.make_dual(value[0], value[1])
                outcomes.append(torch.autograd.forward_ad.unpack_dual(before(dual)).tangent)
            outcomes.append(torch.func.vmap(lambda x, m=made: m.rsample() * x, randomness="same")(value) * 0)
        half = len(outcomes) // 2
        for ours, theirs in zip(outcomes[half:], outcomes[:half], strict=True):
            close(ours, theirs)


def test_gradient_modes():
    loc, scale = leaves(torch.zeros(3, 2), torch.ones(2))
    for d in (fdt.Normal(loc, scale), fdt.MultivariateNormal(loc, scale_tril=torch.diag(scale))):
        assert d.rsample().requires_grad
        assert d.log_prob(torch.zeros(3, 2)).requires_grad
        assert not d.sample().requires_grad
        with torch.no_grad():
            assert not d.rsample().requires_grad
            assert not d.log_prob(torch.zeros(3, 2)).requires_grad
        with torch.inference_mode():
            assert d.rsample().is_inference()
            assert not d.log_prob(d.sample()).requires_grad
            inner = (
                type(d)(torch.zeros(2), scale_tril=torch.eye(2))
                if d.event_shape
                else type(d)(torch.zeros(2), 1.0)
            )
            x = inner.sample(rng=0)
            inner.loc += 1
            assert torch.equal(inner.sample(rng=0), x + 1)
        assert d.rsample().requires_grad
    plain = fdt.Normal(torch.zeros(2), torch.ones(2))
    assert not plain.rsample().requires_grad
    (covariance,) = leaves(2 * torch.eye(2))
    d = fdt.MultivariateNormal(torch.zeros(2), covariance)
    with torch.inference_mode():
        assert not d.variance.requires_grad
    # The factor made then is one that gradients flow through, as torch's of construction is.
    close(torch.autograd.grad(d.variance.sum(), covariance)[0], torch.eye(2))
    parameter = torch.nn.Parameter(torch.ones(2))
    fdt.Normal(torch.zeros(2), parameter).rsample((3,), rng=0).sum().backward()
    assert parameter.grad.shape == (2,)


def test_needs_of_single_parameters():
    g = np.random.default_rng(0)
    for kind in KINDS:
        for which in (0, 1):
            tensors = list(tensors_of(kind, g, (200, 100), (100,), dtype=torch.float64))
            tensors[which].requires_grad_()
            d = make(fdt, kind, *tensors)
            for value in (d.rsample((2,)), d.log_prob(d.sample()), td.kl_divergence(d, d)):
                assert torch.autograd.grad(value.sum(), tensors[which])[0].shape == tensors[which].shape


# ---- memory ---------------------------------------------------------------------------------------


def test_no_copies():
    t = torch.zeros(4, 6)
    for view in (t, t.mT, t[:, ::2], t[1:, :1].expand(3, 5)):
        array = _kernel.as_array(view)
        assert array.ctypes.data == view.data_ptr()
        assert array.strides == tuple(4 * n for n in view.stride())
    wide = fdt.Normal(t[0, :1].expand(10**9), torch.ones(1).expand(10**9))
    assert wide._core()._arrays["loc"].ctypes.data == t.data_ptr()
    more = wide.expand((2, 10**9))
    assert more.loc.data_ptr() == more._core()._arrays["loc"].ctypes.data == t.data_ptr()
    assert more._core().batch_shape == more.loc.shape == (2, 10**9)
    mvn = fdt.MultivariateNormal(torch.zeros(2), torch.eye(2)).expand((10**9,))
    assert mvn.loc.shape == (10**9, 2)
    assert mvn.covariance_matrix.shape == (10**9, 2, 2)
    assert mvn._core().batch_shape == (10**9,)


@pytest.mark.parametrize("layout", ["contiguous", "strided", "expanded"])
@pytest.mark.parametrize("kind", KINDS)
def test_changes_in_place_are_seen_as_in_torch(kind, layout):
    """A draw reads the parameters as they are; a covariance or precision as it was at construction."""
    g = np.random.default_rng(0)
    loc, other = tensors_of(kind, g, (4,), (4,))
    if layout == "strided":
        loc, other = (torch.stack([t, t], 1)[:, 0] for t in (loc, other))
    elif layout == "expanded":
        loc, other = loc[:1].expand(4, *loc.shape[1:]), other[:1].expand(4, *other.shape[1:])
    both = [make(module, kind, loc, other) for module in (fdt, td)]
    with torch.no_grad():
        (loc[:1] if layout == "expanded" else loc).add_(1)
        (other[:1] if layout == "expanded" else other).mul_(2)
    value = torch.zeros(both[0].batch_shape + both[0].event_shape, dtype=torch.float64)
    close(both[0].log_prob(value), both[1].log_prob(value))
    close(both[0].entropy(), both[1].entropy())
    eps = fdt.Normal(torch.zeros((), dtype=torch.float64), 1.0).sample(value.shape, rng=0)
    one, two = with_eps(eps)
    with one, two:
        close(both[0].sample(rng=0), both[1].rsample())
    close(both[0].variance, both[1].variance)


def test_changes_before_backward():
    loc, scale = leaves(torch.zeros(5000), torch.ones(5000))
    d = fdt.Normal(loc, scale)
    x, y = d.rsample(rng=0), d.log_prob(torch.zeros(5000))
    with torch.no_grad():
        scale.mul_(2)
    close(torch.autograd.grad(x.sum(), scale)[0], x.detach())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_attributes_that_are_set():
    d = fdt.Normal(torch.zeros(2), torch.ones(2))
    d.loc = torch.ones(2)
    assert torch.equal(d.sample(rng=0), fdt.Normal(1.0, 1.0).sample((2,), rng=0))
    mvn = fdt.MultivariateNormal(torch.zeros(2), torch.eye(2))
    mvn.loc = torch.ones(2)
    close(
        mvn.log_prob(torch.ones(2)),
        td.Independent(td.Normal(torch.zeros(2), 1.0), 1).log_prob(torch.zeros(2)),
    )
    mvn._unbroadcasted_scale_tril = 2 * torch.eye(2)
    close(mvn.variance, 4 * torch.ones(2))
    close(mvn.entropy(), td.MultivariateNormal(torch.zeros(2), 4 * torch.eye(2)).entropy())
    mvn = fdt.MultivariateNormal(torch.zeros(2), torch.eye(2))
    mvn._unbroadcasted_scale_tril = 2 * torch.eye(2)
    close(mvn.entropy(), td.MultivariateNormal(torch.zeros(2), 4 * torch.eye(2)).entropy())


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_pickles(kind):
    tensors = tensors_of(kind, np.random.default_rng(0), (4,), ())
    d = fdt.Independent(make(fdt, kind, *tensors), 1)
    d.rsample()
    stream = io.BytesIO()
    torch.save(d, stream)
    stream.seek(0)
    loaded = torch.load(stream, weights_only=False)
    for other in (copy.copy(d), copy.deepcopy(d), pickle.loads(pickle.dumps(d)), loaded):
        assert type(other) is fdt.Independent
        assert type(other.base_dist) is type(d.base_dist)
        assert torch.equal(other.rsample((3,), rng=0), d.rsample((3,), rng=0))
        value = d.sample(rng=1)
        assert torch.equal(other.log_prob(value), d.log_prob(value))
    deep = copy.deepcopy(d)
    deep.base_dist.loc.add_(1)
    assert not torch.equal(deep.sample(rng=0), d.sample(rng=0))


def test_empty():
    for shape in ((0,), (0, 3), (3, 0)):
        loc, scale = leaves(torch.zeros(shape), torch.ones(shape))
        d = fdt.Independent(fdt.Normal(loc, scale), 1)
        x = d.rsample((2,))
        (x.sum() + d.log_prob(x).sum() + d.entropy().sum() + td.kl_divergence(d, d).sum()).backward()
        assert loc.grad.shape == shape
    loc, tril = leaves(torch.zeros(0, 2), torch.eye(2))
    d = fdt.MultivariateNormal(loc, scale_tril=tril)
    (d.rsample((2,)).sum() + d.log_prob(d.sample()).sum()).backward()
    assert torch.equal(tril.grad, torch.zeros(2, 2))


# ---- noise -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_draws_follow_torchs_generators(kind):
    d = make(fdt, kind, *tensors_of(kind, np.random.default_rng(0)))
    torch.manual_seed(1)
    first, second = d.sample(), d.rsample()
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(d.sample(), first)
    state = torch.get_rng_state()
    assert torch.equal(d.sample(), second)
    torch.set_rng_state(state)
    assert torch.equal(d.sample(), second)
    torch.set_rng_state(state)
    with torch.random.fork_rng():
        d.sample((100,))
    assert torch.equal(d.sample(), second)
    torch.manual_seed(2)
    assert not torch.equal(d.sample(), first)
    # A torch draw in between makes a difference, as it does to torch's own.
    torch.manual_seed(1)
    torch.rand(1)
    assert not torch.equal(d.sample(), first)


def test_generator_argument():
    d = fdt.Independent(fdt.Normal(torch.zeros(3), 1.0), 1)
    generator = torch.Generator().manual_seed(1)
    before = torch.get_rng_state()
    first, second = d.sample(generator=generator), d.rsample(generator=generator)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, second)
    assert torch.equal(d.sample(generator=torch.Generator().manual_seed(1)), first)
    torch.manual_seed(1)
    assert torch.equal(d.sample(), first)
    with pytest.raises(ValueError, match="generator and rng exclude each other"):
        d.sample(generator=generator, rng=1)
    with pytest.raises(TypeError, match="rng must be None, an int or"):
        d.sample(rng=generator)
    with pytest.raises(TypeError):
        d.sample(generator=1)
    with pytest.raises(TypeError, match="generator"):
        fdt.Independent(td.Normal(torch.zeros(3), 1.0), 1).sample(generator=generator)


@pytest.mark.parametrize("kind", KINDS)
def test_rng_argument_is_fastdists(kind):
    loc, other = tensors_of(kind, np.random.default_rng(0), (4,), ())
    ours = make(fdt, kind, loc, other.requires_grad_())
    name = "scale" if kind == "Normal" else kind
    cls = fd.Normal if kind == "Normal" else fd.MultivariateNormal
    core = cls(loc.numpy(), **{name: other.detach().numpy()})
    before = torch.get_rng_state()
    for default_rng in (fd.default_rng, np.random.default_rng):
        our_rng, rng = default_rng(1), default_rng(1)
        for n in (1, 30, 5000, 1):  # small draws take another way
            drawn = ours.rsample((n,), rng=our_rng)
            np.testing.assert_array_equal(drawn.detach().numpy(), core.sample((n,), rng=rng))
            np.testing.assert_array_equal(ours.sample((n,), rng=our_rng).numpy(), core.sample((n,), rng=rng))
    np.testing.assert_array_equal(ours.sample(rng=7).numpy(), core.sample(rng=7))
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_are_of_the_noise_that_was_drawn():
    """Also where the generator has moved on, and of draws in a row."""
    scale = torch.ones(6000, requires_grad=True)
    d = fdt.Normal(torch.zeros(6000), scale)
    for rng in (fd.default_rng(0), np.random.default_rng(0), None):
        draws = [d.rsample((2,), rng=rng) for _ in range(2)]
        for x in draws:
            close(torch.autograd.grad(x.sum(), scale)[0], x.detach().sum(0))


def test_threads_and_workers():
    d = fdt.Normal(torch.zeros(400_000), 1.0)
    alone = d.sample(generator=torch.Generator().manual_seed(0))
    with fd.set_workers(2):
        assert torch.equal(d.sample(generator=torch.Generator().manual_seed(0)), alone)
    found = [None] * 4

    def draw(i):
        found[i] = [d.sample((), generator=torch.Generator().manual_seed(j)) for j in range(3)]

    threads = [threading.Thread(target=draw, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for draws in found:
        assert torch.equal(draws[0], alone)
        assert not torch.equal(draws[1], alone)


def test_moments():
    """20000 draws: means to 4.5 and variances to 5 standard errors."""
    g = np.random.default_rng(0)
    torch.manual_seed(0)
    for kind in KINDS:
        d = make(fdt, kind, *tensors_of(kind, g))
        x = torch.stack([d.sample() for _ in range(20000)])
        error = d.stddev / 20000**0.5
        assert ((x.mean(0) - d.mean).abs() < 4.5 * error).all()
        assert ((x.var(0) / d.variance - 1).abs() < 5 * (2 / 20000) ** 0.5).all()


# ---- inside torch.distributions ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_transformed(kind):
    """The base of a TransformedDistribution, and of the mixtures and wrappers that torch has."""
    tensors = tensors_of(kind, np.random.default_rng(0), (4,), ())
    ours, theirs = make(fdt, kind, *tensors), make(td, kind, *tensors)
    for transform in (
        [td.TanhTransform()],
        [td.StickBreakingTransform()],
        [td.AffineTransform(1.0, 2.0), td.ExpTransform()],
        [td.SigmoidTransform(), td.transforms.SoftmaxTransform()][:1],
    ):
        one, two = td.TransformedDistribution(ours, transform), td.TransformedDistribution(theirs, transform)
        assert (one.batch_shape, one.event_shape) == (two.batch_shape, two.event_shape)
        x = one.rsample((5,))
        assert torch.equal(two.support.check(x), one.support.check(x))
        close(one.log_prob(x), two.log_prob(x))
        assert one.expand((2, *one.batch_shape)).sample().shape == (2, *x.shape[1:])
    logits = torch.zeros(ours.batch_shape[-1])
    one, two = (td.MixtureSameFamily(td.Categorical(logits=logits), d) for d in (ours, theirs))
    x = one.sample((5,))
    close(one.log_prob(x), two.log_prob(x))


def test_independent_of_others():
    d = fdt.Independent(td.Bernoulli(torch.full((3, 2), 0.5)), 1)
    assert d.sample().shape == (3, 2)
    assert d.log_prob(torch.ones(3, 2)).shape == d.entropy().shape == (3,)
    assert not d.has_rsample
    assert d.expand((4, 3)).sample((2,)).shape == (2, 4, 3, 2)
    nested = fdt.Independent(fdt.Independent(fdt.Normal(torch.zeros(4, 3, 2), 1.0), 1), 1)
    other = td.Independent(td.Normal(torch.zeros(4, 3, 2), 1.0), 2)
    close(nested.log_prob(torch.ones(3, 2)), other.log_prob(torch.ones(3, 2)))
    close(nested.entropy(), other.entropy())
    close(td.kl_divergence(nested, nested), td.kl_divergence(other, other))
    assert (
        repr(nested.base_dist)
        == "Independent(Normal(loc: torch.Size([4, 3, 2]), scale: torch.Size([4, 3, 2])), 1)"
    )


def test_subclasses():
    class Unit(fdt.Normal):
        def __init__(self, n):
            super().__init__(torch.zeros(n), torch.ones(n))

    class Named(fdt.MultivariateNormal):
        pass

    assert type(Named(torch.zeros(2), torch.eye(2)).expand((3,))) is Named
    close(td.kl_divergence(Unit(3), fdt.Normal(0.0, 1.0)), torch.zeros(3))
    with pytest.raises(NotImplementedError, match="custom __init__"):
        Unit(3).expand((2, 3))


@pytest.mark.parametrize("override", ["log_prob", "entropy", "kl"])
def test_independent_of_a_subclass(override):
    """What a subclass overrides is what an Independent of it sums, as in torch."""
    results = []
    for module in (td, fdt):

        class Changed(module.Normal):
            def log_prob(self, value, base=module.Normal):
                return (
                    base.log_prob(self, value).clamp(min=-1)
                    if override == "log_prob"
                    else base.log_prob(self, value)
                )

            def entropy(self, base=module.Normal):
                return base.entropy(self) + 1 if override == "entropy" else base.entropy(self)

        if override == "kl":
            td.register_kl(Changed, Changed)(lambda p, q: p.loc - q.loc + 5)
        base = Changed(torch.zeros(2, 3), torch.tensor([1.0, 2.0, 3.0]))
        once = module.Independent(base, 1)
        results += [
            [d.log_prob(torch.full((2, 3), 4.0)), d.entropy(), td.kl_divergence(d, d)]
            for d in (once, module.Independent(once, 1))
        ]
    for theirs, ours in zip(results[:2], results[2:], strict=True):
        for x, y in zip(ours, theirs, strict=True):
            close(x, y)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_keeps_a_distribution(kind):
    """What it was made of, its factor, and the graphs behind are free when it is, without the collector."""
    calls = ["rsample", "entropy", "variance"] + ["scale_tril", "precision_matrix"] * (kind != "Normal")
    loc, other = leaves(*tensors_of(kind, np.random.default_rng(0)))
    gc.disable()
    try:
        for call in calls:
            d = make(fdt, kind, loc, other)
            result = getattr(d, call)
            result = result() if callable(result) else result
            result.sum().backward()
            seen = weakref.ref(d)
            del d, result
            assert seen() is None, call
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", KINDS)
def test_make_fx(kind):
    """A mode of dispatch sees torch's operations alone: what it records depends on the arguments."""
    d = make(fdt, kind, *tensors_of(kind, np.random.default_rng(0)), validate_args=False)
    x, y = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    recorded = make_fx(lambda value: d.log_prob(value))(x)
    close(recorded(y), d.log_prob(y))


def test_optimizers_change_parameters_uncounted():
    """torch's fused optimizers leave the version of a parameter as it was."""
    loc, scale_tril = leaves(torch.zeros(2), torch.eye(2))
    kept = fdt.MultivariateNormal(loc, scale_tril=scale_tril)
    optimizer = torch.optim.Adam([loc, scale_tril], lr=0.1, fused=True)
    for _ in range(3):
        optimizer.zero_grad()
        (-kept.log_prob(torch.tensor([1.0, 3.0]))).backward()
        optimizer.step()
        made = td.MultivariateNormal(loc, scale_tril=scale_tril.tril())
        close(kept.log_prob(torch.ones(2)), made.log_prob(torch.ones(2)))


DOCUMENTED = [
    (td.Normal, "torch.distributions.normal"),
    (td.MultivariateNormal, "torch.distributions.multivariate_normal"),
    (td.Independent, "torch.distributions.independent"),
    (td, "torch.distributions"),
]


@pytest.mark.parametrize(("documented", "module"), DOCUMENTED)
def test_documented_examples(documented, module):
    """The examples of torch's own docstrings, with the import swapped."""
    examples = doctest.DocTestParser().get_examples(textwrap.dedent(documented.__doc__))
    text = "".join(example.source for example in examples)
    text = text.replace("torch.distributions.multivariate_normal", "fastdist.torch")
    text = text.replace("torch.distributions.normal", "fastdist.torch")
    names = {name: getattr(fdt, name) for name in ("Normal", "MultivariateNormal", "Independent")}
    if examples:
        exec(text, {"torch": torch, **names})
    else:
        assert documented is td  # its examples are of policies; below


def test_pathwise_derivative():
    """The example of torch's page on distributions: a policy network, an action, an environment's reward."""
    torch.manual_seed(0)
    policy = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(policy.parameters(), 0.05)
    state = torch.randn(256, 3)
    rewards = []
    for _ in range(60):
        loc, log_scale = policy(state).unbind(-1)
        m = fdt.Normal(loc, log_scale.exp())
        action = m.rsample()
        reward = -((action - state.sum(-1)) ** 2)
        optimizer.zero_grad()
        (-reward).mean().backward()
        optimizer.step()
        rewards.append(reward.mean().item())
    assert rewards[-1] > 0.2 * rewards[0]


def test_maximum_likelihood():
    """A fit by log_prob finds the moments of the data, by each parametrisation's unconstrained tensor."""
    torch.manual_seed(0)
    data = td.MultivariateNormal(torch.tensor([1.0, -2.0]), torch.tensor([[2.0, 0.8], [0.8, 1.0]])).sample(
        (2000,)
    )
    for kind in MATRICES:
        loc, a = leaves(torch.zeros(2), torch.eye(2))
        optimizer = torch.optim.LBFGS([loc, a], max_iter=100, line_search_fn="strong_wolfe")

        def closure(loc=loc, a=a, kind=kind, optimizer=optimizer):
            optimizer.zero_grad()
            other = of_any_square(kind, a) - (0 if kind == "scale_tril" else 0.999 * torch.eye(2))
            loss = -make(fdt, kind, loc, other).log_prob(data).mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        with torch.no_grad():
            other = of_any_square(kind, a) - (0 if kind == "scale_tril" else 0.999 * torch.eye(2))
            fitted = make(fdt, kind, loc, other)
        torch.testing.assert_close(fitted.mean, data.mean(0), rtol=0, atol=2e-3)
        torch.testing.assert_close(fitted.covariance_matrix, data.T.cov(correction=0), rtol=0, atol=2e-2)


# ---- imports and docstrings ---------------------------------------------------------------------------


def test_docstrings():
    for module in (fdt, normal, multivariate_normal, independent):
        result = doctest.testmod(module)
        assert result.attempted
        assert not result.failed


def test_readme():
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```py\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    test = doctest.DocTestParser().get_doctest(code, {}, "README.md", None, None)
    result = doctest.DocTestRunner().run(test)
    assert result.attempted > 5
    assert result.failed == 0


def test_nobody_imports_torch():
    code = "import sys, fastdist; assert not {'torch', 'autograd', 'fastdist.torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_torch():
    code = "import sys; sys.modules['torch'] = None; import fastdist.torch"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: fastdist.torch needs torch" in run.stderr
    assert "fastdist[torch]" in run.stderr
