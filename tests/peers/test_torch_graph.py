"""fastdist.torch and what torch owns: graphs through shown parameters, storages, generators, parts of batches."""

import gc
import itertools

import numpy as np
import pytest
import torch
from adapter_cases import DTYPES, KINDS, close, leaves, make, tensors_of
from cases import MATRICES
from torch import distributions as td

import fastdist.torch as fdt
from fastdist.torch import normal

pytestmark = pytest.mark.peers

# ---- parameters as they are shown -------------------------------------------------------------------


def losses(module, kind, loc, other):
    """A distribution whose parameters broadcast, and losses by its methods."""
    d = make(module, kind, loc, other).expand((2, *make(module, kind, loc, other).batch_shape))
    vector = module.Independent(d, 1)
    prior = make(module, kind, loc.detach() + 1, other.detach())
    value = torch.full(d.batch_shape + d.event_shape, 0.3, dtype=loc.dtype)
    return d, {
        "log_prob": lambda: d.log_prob(value),
        "log_prob of Independent": lambda: vector.log_prob(value),
        "entropy": lambda: d.entropy(),
        "kl from": lambda: td.kl_divergence(d, prior),
        "kl to": lambda: td.kl_divergence(prior, d),
    }


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("small", [-1, 4096])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_by_shown_parameters(kind, small, create_graph, monkeypatch):
    """By d.loc and d.scale, broadcast and expanded, as by torch's; hooks on them fire with the same."""
    monkeypatch.setattr(normal, "SMALL", small)
    g = np.random.default_rng(0)
    tensors = tensors_of(kind, g, (3, 1), (2,))
    found = []
    for module in (td, fdt):
        d, fs = losses(module, kind, *leaves(*tensors))
        shown = [d.loc, d.scale] if kind == "Normal" else [d.loc]
        of_module = []
        for f in fs.values():
            hooked = []
            handles = [t.register_hook(hooked.append) for t in shown]
            loss = f()
            c = torch.linspace(0.5, 1.5, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
            of_module += torch.autograd.grad(
                loss,
                shown,
                c,
                retain_graph=True,
                create_graph=create_graph,
                allow_unused=True,
                materialize_grads=True,
            )
            of_module += hooked
            for handle in handles:
                handle.remove()
        found.append(of_module)
    assert len(found[0]) == len(found[1])
    for theirs, ours in zip(*found, strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("small", [-1, 4096])
def test_gradients_of_draws_by_shown_parameters(small, monkeypatch):
    monkeypatch.setattr(normal, "SMALL", small)
    loc, scale = leaves(*tensors_of("Normal", np.random.default_rng(0), (3, 1), (2,)))
    d = fdt.Normal(loc, scale)
    x = d.rsample((4,), rng=0)
    by_loc, by_scale, by_leaf = torch.autograd.grad(x.sum(), (d.loc, d.scale, scale))
    close(by_loc, torch.full_like(d.loc, 4))
    close(by_scale, ((x - d.loc) / d.scale).sum(0).detach())
    close(by_leaf, by_scale.sum(0))
    mvn = fdt.MultivariateNormal(loc, torch.eye(1, dtype=torch.float64).repeat(3, 1, 1))
    (by_loc,) = torch.autograd.grad(mvn.rsample((4,)).sum(), mvn.loc)
    close(by_loc, torch.full_like(mvn.loc, 4))


# ---- storages -----------------------------------------------------------------------------------------


def tensors_as_parameters(kind, shape=(500,)):
    tensors = tensors_of(kind, np.random.default_rng(0), shape, shape)
    return [torch.nn.Parameter(t.contiguous()) for t in tensors]


@pytest.mark.parametrize("kind", KINDS)
def test_storages_stay_resizable(kind):
    """Freed between uses and brought back elsewhere, as by sharded training: nobody reads what was."""
    parameters = tensors_as_parameters(kind)
    d = make(fdt, kind, *parameters)
    value = d.sample()
    wanted = d.rsample(rng=0).detach().clone(), d.log_prob(value).detach().clone()
    by_all = torch.autograd.grad(d.log_prob(value).sum(), parameters)
    loss = d.log_prob(value).sum() + td.kl_divergence(d, d.expand((500,))).sum()
    kept, blocks = [t.detach().clone() for t in (*parameters, value)], []
    for t in (*parameters, value):
        t.untyped_storage().resize_(0)
        blocks.append(torch.full(t.shape, torch.nan, dtype=t.dtype))  # most likely where it was
    gc.collect()
    with pytest.raises(RuntimeError, match=r"storage of a tensor of shape .* has been freed"):
        d.log_prob(value)
    for t, copy in zip((*parameters, value), kept, strict=True):
        t.untyped_storage().resize_(t.numel() * t.element_size())
        with torch.no_grad(), torch.autograd._unsafe_preserve_version_counter(t):
            t.copy_(copy)
    for one, two in zip(torch.autograd.grad(loss, parameters), by_all, strict=True):
        close(one, two)
    assert torch.equal(d.rsample(rng=0), wanted[0])
    assert torch.equal(d.log_prob(value), wanted[1])


@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_tensors_of_torchs_own_memory(kind):
    d = make(fdt, kind, *tensors_of(kind, np.random.default_rng(0)))
    x = d.sample((2,))
    assert x.resize_(50, *x.shape[1:]).shape[0] == 50
    torch.nn.Parameter(d.sample()).untyped_storage().resize_(0)


def test_resized_parameters():
    """What torch says or does about a distribution whose parameter has other sizes now."""
    for n in (1, 2, 100):
        outcomes = []
        for module in (td, fdt):
            loc = torch.zeros(3)
            d = module.Normal(loc, torch.ones(3))
            d.sample()
            loc.resize_(n).zero_()
            for f in (d.sample, d.rsample, lambda d=d: d.log_prob(torch.zeros(3))):
                try:
                    outcomes.append(f().shape)
                except RuntimeError:
                    outcomes.append(RuntimeError)
        assert outcomes[:3] == outcomes[3:]
    loc = torch.zeros(3)
    mvn = fdt.MultivariateNormal(loc, torch.eye(3))
    loc.resize_(100)
    with pytest.raises(RuntimeError):
        mvn.sample()


# ---- draws that fail ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2**50,), (-1,), (-1, -1), (2**62, 2**62), ("a",), 1.5])
@pytest.mark.parametrize("kind", KINDS)
def test_draws_that_fail(kind, shape):
    """The error is of torch's type, and the generator has not moved."""
    outcomes = []
    for module in (td, fdt):
        tensors = leaves(*tensors_of(kind, np.random.default_rng(0)))
        d = make(module, kind, *tensors)
        generator = torch.Generator()
        calls = [d.sample, d.rsample]
        if module is fdt:
            calls += [lambda s, d=d, g=generator: d.rsample(s, generator=g)]
            calls += [fdt.Independent(d, len(d.batch_shape)).sample]
        before = torch.get_rng_state(), generator.get_state()
        types = set()
        for call in calls:
            with pytest.raises((RuntimeError, TypeError, ValueError)) as caught:
                call(shape)
            types.add(caught.type)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert torch.equal(generator.get_state(), before[1])
        outcomes.append(types)
    assert outcomes[0] == outcomes[1]


def test_arguments_that_fail():
    d = fdt.Normal(torch.zeros(3), 1.0)
    before = torch.get_rng_state()
    for arguments in (
        {"rng": "x"},
        {"rng": -1},
        {"rng": 1, "generator": torch.Generator()},
        {"generator": 1},
    ):
        with pytest.raises((TypeError, ValueError)):
            d.sample(**arguments)
    assert torch.equal(torch.get_rng_state(), before)


# ---- scales near the ends of the range -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "scale"), [(torch.float32, 1e-25), (torch.float32, 1e25), (torch.float64, 1e-200)]
)
def test_extreme_scales(dtype, scale):
    """Gradients of gradients, and vmap, of a density and a divergence whose squared scales are out of range."""
    loc, s = leaves(torch.zeros(3, dtype=dtype), torch.full((3,), scale, dtype=dtype))
    z = torch.tensor([0.5, -1.5, 2.0], dtype=dtype)

    def check(log_prob, kl, by_loc, by_scale):
        rtol = 1e-5 if dtype == torch.float32 else 1e-12
        for found, wanted in (
            (log_prob, -0.5 * z * z - np.log(scale) - 0.5 * np.log(2 * np.pi)),
            (kl, 0.5 * z * z + (0.25 - 1) / 2 + np.log(2)),
            (by_loc * scale, z),
            (by_scale * scale, z * z - 1),
        ):
            torch.testing.assert_close(found.detach(), wanted.to(dtype), rtol=rtol, atol=rtol)

    def values(loc, s, z):
        p, q = fdt.Normal(loc + z * s, s / 2), fdt.Normal(loc, s)
        return q.log_prob((z * s).detach()), td.kl_divergence(p, q)

    log_prob, kl = values(loc, s, z)
    check(log_prob, kl, *torch.autograd.grad(log_prob.sum(), (loc, s), create_graph=True))
    each = torch.func.vmap(values)(loc, s, z)
    one = torch.func.grad(lambda loc, s, x: fdt.Normal(loc, s, validate_args=False).log_prob(x), (0, 1))
    check(*each, *torch.func.vmap(one)(loc, s, (z * s).detach()))
    (by_scale,) = torch.autograd.grad(kl.sum(), s, create_graph=True)
    assert by_scale.isfinite().all()


@pytest.mark.parametrize("kind", MATRICES)
def test_extreme_scales_of_vectors(kind):
    """z = L^-1 (x - loc) is of order 1, its log density and divergence finite."""
    scale = {"scale_tril": 1e-25, "covariance_matrix": 1e-30, "precision_matrix": 1e30}[kind]
    other = (torch.eye(2) * scale).requires_grad_()
    d = make(fdt, kind, torch.zeros(2, requires_grad=True), other)
    std = 1e-25 if kind == "scale_tril" else 1e-15
    value = torch.tensor([std, -std])
    wanted = -1 - np.log(2 * np.pi) - 2 * np.log(std)
    for log_prob in (d.log_prob(value), torch.func.vmap(d.log_prob)(value[None])[0]):
        torch.testing.assert_close(log_prob.item(), wanted, rtol=1e-4, atol=0)
    log_prob = d.log_prob(value)
    plain = torch.autograd.grad(log_prob, (d.loc, other), retain_graph=True)
    for one, two in zip(plain, torch.autograd.grad(log_prob, (d.loc, other), create_graph=True), strict=True):
        torch.testing.assert_close(two.detach(), one, rtol=1e-4, atol=1e-4 * one.abs().max().item())


# ---- parts of a batch ------------------------------------------------------------------------------------------

INDICES = [
    0,
    -1,
    slice(1, None),
    slice(None, None, 2),
    ...,
    None,
    (slice(None), 1),
    (..., 0),
    (1, 0),
    (None, ..., slice(0, 1)),
    (slice(0, 0),),
]


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("kind", KINDS)
def test_indexing(kind, index):
    """Values, draws' shapes and gradients are those of the whole batch's at that index."""
    tensors = leaves(*tensors_of(kind, np.random.default_rng(0), (3, 1), (4,)))
    d = make(fdt, kind, *tensors)
    value = d.sample(rng=0)
    at = index if isinstance(index, tuple) else (index,)
    at = (*at, *([] if Ellipsis in at else [...]), *[slice(None)] * len(d.event_shape))
    for whole, of in ((d, d.log_prob(value)), (d.expand((2, 3, 4))[1], d.log_prob(value))):
        part = whole[index]
        assert type(part) is type(d)
        assert part.batch_shape == of[index].shape
        close(part.log_prob(value[at]), of[index])
        close(part.entropy(), d.entropy()[index])
        close(part.variance, d.variance[at])
        assert part.sample((2,)).shape == (2, *value[at].shape)
        close(td.kl_divergence(part, whole[index]), torch.zeros(part.batch_shape, dtype=torch.float64))
        for f, g in (
            (part.log_prob(value[at]), of[index]),
            (part.entropy(), d.entropy()[index]),
            (part.loc.sum(), d.loc[at].sum()),
        ):
            found, wanted = (
                torch.autograd.grad(x.sum(), tensors, allow_unused=True, materialize_grads=True)
                for x in (f, g)
            )
            for one, two in zip(found, wanted, strict=True):
                close(one, two)
    x = d[index].rsample((5,), rng=1)
    (by_loc,) = torch.autograd.grad(x.sum(), tensors[0])
    close(by_loc, torch.autograd.grad(5 * d.loc[at].sum(), tensors[0])[0])


def test_indexing_of_independents():
    d = fdt.Independent(fdt.Normal(torch.randn(4, 3, 2), 1.0), 1)
    value = d.sample()
    close(d[1:, 0].log_prob(value[1:, 0]), d.log_prob(value)[1:, 0])
    assert d[..., 0].event_shape == (2,)
    assert [x.batch_shape for x in d] == [(3,)] * 4
    with pytest.raises(IndexError):
        d[0, 0, 0]
    with pytest.raises(TypeError, match="not subscriptable"):
        fdt.Independent(td.Bernoulli(torch.zeros(3, 2)), 1)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_indices_that_fail(kind):
    d = make(fdt, kind, *tensors_of(kind, np.random.default_rng(0), (3,), ()))
    for index in (3, (0, 0), (slice(None), None, 0, 0)):
        with pytest.raises(IndexError):
            d[index]
    for index in ([0, 1], torch.tensor([0]), True, 1.5, "a"):
        with pytest.raises(IndexError, match="a batch is indexed by integers, slices"):
            d[index]
    assert len(list(d)) == 3
    with pytest.raises(TypeError, match="empty batch_shape"):
        iter(d[0])


@pytest.mark.parametrize("kind", KINDS)
def test_indexing_is_of_parameters_as_they_are(kind):
    """Changed in place after the part was taken: seen by the part as it is by the whole."""
    loc, other = tensors_of(kind, np.random.default_rng(0), (4,), (4,))
    d = make(fdt, kind, loc, other)
    part = d[1:3]
    loc += 1
    if kind in ("Normal", "scale_tril"):
        other *= 2
    assert torch.equal(part.loc, d.loc[1:3])
    value = torch.zeros(d.batch_shape + d.event_shape, dtype=torch.float64)
    close(part.log_prob(value[1:3]), d.log_prob(value)[1:3])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_indexing_of_what_kernels_do_not_take(dtype):
    d = fdt.Normal(torch.zeros(3, 2, dtype=dtype), torch.ones(2, dtype=dtype))
    assert d[0].sample().shape == (2,)
    mixed = fdt.MultivariateNormal(torch.zeros(3, 2).double(), torch.eye(2).double())
    mixed._unbroadcasted_scale_tril = 2 * torch.eye(2).double()
    close(mixed[0].entropy(), mixed.entropy()[0])


def test_indexing_in_a_transform():
    loc = torch.randn(5, 3)
    found = torch.func.vmap(lambda x: fdt.Normal(x, 1.0, validate_args=False)[1:].log_prob(torch.zeros(2)))(
        loc
    )
    close(found, td.Normal(loc[:, 1:], 1.0).log_prob(torch.zeros(2)))


def test_dtypes_of_parts():
    for dtype, kind in itertools.product(DTYPES, KINDS):
        d = make(fdt, kind, *tensors_of(kind, np.random.default_rng(0), dtype=dtype))
        assert d[0].sample().dtype is d[0].log_prob(d[0].mean).dtype is dtype
