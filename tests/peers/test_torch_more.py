"""fastdist.torch's transformed distributions, mixtures, laws of outcomes and low rank, against torch's own."""

import copy
import pickle

import numpy as np
import pytest
import torch
from adapter_cases import DTYPES, close, leaves
from cases import assert_same_bits
from torch import distributions as td

import fastdist as fd
import fastdist.torch as fdt

pytestmark = [pytest.mark.peers, pytest.mark.usefixtures("validating")]

LOC, SCALE = torch.linspace(-1, 1, 6).double().reshape(3, 2), torch.tensor([0.5, 2.0]).double()
LOGITS = torch.linspace(-2, 2, 12).double().sin().mul(2).reshape(3, 4)
MASK = torch.tensor([True, False, True, True])


def squashed(m, loc, scale, shift):
    normal = m.Independent(m.Normal(loc, scale), 1)
    return m.TransformedDistribution(normal, [td.AffineTransform(shift, 0.5), td.TanhTransform()])


def falling(m, loc, scale):
    parts = [td.AffineTransform(0.5, -2.0), td.ExpTransform(), td.PowerTransform(torch.tensor(0.5).double())]
    return m.TransformedDistribution(m.Normal(loc, scale), parts)


def mixture(m, logits, loc, scale):
    return m.MixtureSameFamily(m.Categorical(logits=logits), m.Normal(loc, scale))


def mixture_of_vectors(m, logits, loc, tril):
    tril = tril.tril(-1) + torch.diag_embed(tril.diagonal(dim1=-2, dim2=-1).exp())
    return m.MixtureSameFamily(m.Categorical(logits=logits), m.MultivariateNormal(loc, scale_tril=tril))


TRIL = torch.linspace(-1, 1, 16).double().reshape(4, 2, 2)
# A constructor, its parameters, and values of the support.
KINDS = {
    "LogNormal": (lambda m, *p: m.LogNormal(*p), (LOC, SCALE), LOC.exp()),
    "HalfNormal": (lambda m, s: m.HalfNormal(s), (LOC.exp(),), LOC.abs() + 0.1),
    "squashed": (squashed, (LOC, SCALE, LOC[:, :1]), LOC.tanh() * 0.9),
    "falling": (falling, (LOC, SCALE), LOC.exp()),
    "probs": (lambda m, a: m.Categorical(a.exp()), (LOGITS,), torch.tensor([1, 0, 3])),
    "logits": (lambda m, a: m.Categorical(logits=a), (LOGITS,), torch.tensor([[1, 0, 3], [2, 2, 2]])),
    "Bernoulli probs": (lambda m, a: m.Bernoulli(a.sigmoid()), (LOC,), (LOC > 0).double()),
    "Bernoulli logits": (lambda m, a: m.Bernoulli(logits=a), (LOC,), (SCALE > 1).double()),
    "OneHot": (lambda m, a: m.OneHotCategorical(logits=a), (LOGITS,), torch.eye(4).double()[:3]),
    "LowRank": (
        lambda m, loc, f, d: m.LowRankMultivariateNormal(loc, f, d.exp()),
        (LOC, LOC[:, :, None] + 1, SCALE),
        LOC + 1,
    ),
    "mixture": (mixture, (LOGITS, LOC[:, :1] + torch.arange(4.0).double(), LOGITS.exp()), LOC[:, 0]),
    "mixture of vectors": (mixture_of_vectors, (LOGITS, LOGITS.reshape(3, 1, 4)[..., :2], TRIL), LOC),
}  # fmt: skip
CONTINUOUS = ("LogNormal", "HalfNormal", "squashed", "falling", "LowRank")


def pair(kind, dtype=torch.float64):
    make, parameters, value = KINDS[kind]
    given = [t.to(dtype) for t in parameters]
    return make(fdt, *given), make(td, *given), value.to(dtype) if value.is_floating_point() else value


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_values(kind, dtype):
    ours, theirs, value = pair(kind, dtype)
    assert isinstance(ours, type(theirs))
    assert repr(ours) == repr(theirs)
    for one, two in ((ours, theirs), (ours.expand((2, 3, *ours.batch_shape[1:])), None)):
        two = two or theirs.expand((2, 3, *theirs.batch_shape[1:]))
        assert (one.batch_shape, one.event_shape) == (two.batch_shape, two.event_shape)
        assert type(one) is type(ours)
        close(one.log_prob(value), two.log_prob(value))
        close(one.prob(value), two.log_prob(value).exp())
        for method in ("entropy", "cdf"):
            try:
                wanted = getattr(two, method)(*() if method == "entropy" else (value,))
            except NotImplementedError:
                continue
            close(getattr(one, method)(*() if method == "entropy" else (value,)), wanted)
        for name in ("mean", "variance", "mode", "stddev"):
            try:
                wanted = getattr(two, name)
            except (NotImplementedError, AttributeError):
                continue
            np.testing.assert_array_equal(getattr(one, name), wanted)
        x = one.sample((5,))
        assert (x.shape, x.dtype) == (two.sample((5,)).shape, two.sample().dtype)
        assert two.support.check(x).all()
    assert ours.has_rsample is (theirs.has_rsample or kind == "mixture")


def gradients(kind, module, what):
    make, parameters, value = KINDS[kind]
    given = leaves(*parameters)
    x = value.clone().requires_grad_(value.is_floating_point() and kind in CONTINUOUS)
    found = what(make(module, *given), x)
    weights = torch.linspace(0.5, 1.5, found.numel()).double().reshape(found.shape)
    return torch.autograd.grad(
        (weights * found).sum(), [*given, *[x] * x.requires_grad], create_graph=True, allow_unused=True
    ), given


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["log_prob", "entropy"])
def test_gradients(kind, method):
    """First ones, and those of their squares."""

    def what(d, x):
        return d.log_prob(x) if method == "log_prob" else d.entropy()

    try:
        (theirs, leaves_2), (ours, leaves_1) = gradients(kind, td, what), gradients(kind, fdt, what)
    except NotImplementedError:
        assert method == "entropy"
        return
    for one, two in zip(ours, theirs, strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            close(one, two)
    again = [
        torch.autograd.grad(sum(g.square().sum() for g in first if g is not None), inputs, allow_unused=True)
        for first, inputs in ((ours, leaves_1), (theirs, leaves_2))
    ]
    for one, two in zip(*again, strict=True):
        close(torch.zeros(()) if one is None else one, torch.zeros(()) if two is None else two)


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_gradients_of_draws(kind):
    make, parameters, _ = KINDS[kind]
    given = leaves(*parameters)
    assert torch.autograd.gradcheck(lambda *p: make(fdt, *p).rsample((2,), rng=1), given)
    assert torch.autograd.gradcheck(lambda *p: make(fdt, *p).sample_and_log_prob((2,), rng=1), given)
    assert torch.autograd.gradgradcheck(lambda *p: make(fdt, *p).rsample(rng=1), given)
    d = make(fdt, *parameters)
    x, log_prob = d.sample_and_log_prob((50,), rng=2)
    assert torch.equal(x, d.sample((50,), rng=2))
    close(log_prob, d.log_prob(x))


@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_fastdists(kind):
    """One stream, by `rng=` and by torch's generators; and one law."""
    ours, theirs, _ = pair(kind)
    a = ours.sample((4,), rng=3)
    assert torch.equal(a, ours.sample((4,), rng=fd.default_rng(3)))
    torch.manual_seed(1)
    two = ours.sample((3,)), ours.sample((3,))
    torch.manual_seed(1)
    assert torch.equal(ours.sample((3,)), two[0])
    assert not torch.equal(*two)
    assert torch.equal(
        ours.sample(generator=torch.Generator().manual_seed(5)),
        ours.sample(generator=torch.Generator().manual_seed(5)),
    )
    with pytest.raises(ValueError, match="exclude each other"):
        ours.sample(generator=torch.Generator(), rng=1)
    x, y = ours.sample((20000,), rng=1).double(), theirs.sample((20000,)).double()
    np.testing.assert_allclose(x.mean(0), y.mean(0), atol=5 * float((x.std(0) + y.std(0)).max()) / 20000**0.5)


def test_draws_are_those_of_fastdist():
    probs = LOGITS.exp()
    d = fd.Categorical(probs.numpy())
    assert_same_bits(fdt.Categorical(probs).sample((9,), rng=1).numpy(), d.sample((9,), rng=1))
    coins = fdt.Bernoulli(logits=LOC).sample((9,), rng=1)
    np.testing.assert_array_equal(coins, fd.Bernoulli(logits=LOC.numpy()).sample((9,), rng=1))
    low = LOC.numpy(), LOC.numpy()[..., None], SCALE.numpy()
    ours = fdt.LowRankMultivariateNormal(*map(torch.from_numpy, low)).rsample((9,), rng=1)
    assert_same_bits(ours.numpy(), fd.LowRankMultivariateNormal(*low).sample((9,), rng=1))
    ours, _, _ = pair("mixture")
    weights, parts = fd.Categorical(logits=LOGITS.numpy()), ours.component_distribution
    theirs = fd.MixtureSameFamily(weights, fd.Normal(parts.loc.numpy(), parts.scale.numpy()))
    assert_same_bits(ours.sample((9,), rng=1).numpy(), theirs.sample((9,), rng=1))
    one_hot = fdt.OneHotCategorical(probs)
    assert torch.equal(one_hot.sample((9,), rng=1).argmax(-1), fdt.Categorical(probs).sample((9,), rng=1))


def test_what_kernels_do_not_take_is_drawn_from_generators_too():
    for d in (
        fdt.Categorical(LOGITS.exp().half()),
        fdt.Bernoulli(LOC.sigmoid().bfloat16()),
        fdt.LogNormal(LOC.half(), SCALE.half()),
        fdt.LowRankMultivariateNormal(LOC, LOC[..., None], SCALE.float()),
        fdt.MixtureSameFamily(
            fdt.Categorical(LOGITS[0].float().exp()), fdt.Normal(torch.arange(4.0).double(), 1.0)
        ),
    ):
        for given in ({"rng": 1}, {"generator": torch.Generator().manual_seed(1)}):
            x = d.sample((3000,), **given)
            assert x.shape[1:] == d.batch_shape + d.event_shape
            assert x.dtype == (torch.int64 if isinstance(d, td.Categorical) else d.mean.dtype)
        assert torch.equal(d.sample((4,), rng=1), d.sample((4,), rng=1))
    probs = LOGITS.exp().half()
    x = fdt.Categorical(probs).sample((30000,), rng=1)
    share = torch.nn.functional.one_hot(x, 4).double().mean(0)
    np.testing.assert_allclose(share, (probs / probs.sum(-1, keepdim=True)).double(), atol=0.015)
    by_vmap = torch.func.vmap(lambda a: fdt.Categorical(logits=a).log_prob(torch.tensor(1)))(LOGITS)
    close(by_vmap, td.Categorical(logits=LOGITS).log_prob(torch.tensor(1)))


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_a_batch(kind):
    ours, _, _ = pair(kind)
    n = len(ours.event_shape)
    for index in (0, slice(1, None), (Ellipsis, None), -1):
        part = ours[index]
        assert type(part) is type(ours)
        wanted = ours.log_prob(ours.sample((), rng=1))[index]
        x = ours.sample((), rng=1)
        cut = x[(*(index if isinstance(index, tuple) else (index, Ellipsis)), *(slice(None),) * n)]
        if index == (Ellipsis, None):
            cut = x.unsqueeze(-1 - n)
        assert part.batch_shape == wanted.shape
        close(part.log_prob(cut), wanted)
        assert part.sample((2,), rng=1).shape == (2, *part.batch_shape, *part.event_shape)
    assert len(list(ours)) == 3
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert torch.equal(other.sample(rng=1), ours.sample(rng=1))


@pytest.mark.parametrize("law", ["Bernoulli", "Categorical", "OneHotCategorical"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_kernels_do_not_take_is_drawn_by_torch(law, dtype):
    draws = []
    for module in (fdt, td):
        d = getattr(module, law)(logits=LOGITS.to(dtype), validate_args=False)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            draws.append(d.sample((7,)))
        with pytest.raises(NotImplementedError):
            d.rsample()
    assert draws[0].dtype == draws[1].dtype
    assert torch.equal(*draws)


def test_parts_are_in_the_graph():
    make, parameters, value = KINDS["squashed"]
    given = leaves(*parameters)
    d = make(fdt, *given)
    whole = torch.autograd.grad(d.log_prob(value)[1], given)
    parts = torch.autograd.grad(d[1].log_prob(value[1]), given)
    for one, two in zip(parts, whole, strict=True):
        close(one, two)
    scale = SCALE.clone().requires_grad_()
    log_normal = fdt.LogNormal(LOC, scale)
    (by_shown,) = torch.autograd.grad(log_normal.log_prob(LOC.exp()).sum(), log_normal.scale)
    assert by_shown.shape == (3, 2)
    of_all = td.CumulativeDistributionTransform(fdt.Normal(0.0, 1.0))
    with pytest.raises(NotImplementedError, match="cannot be indexed"):
        fdt.TransformedDistribution(fdt.Normal(LOC, 1.0), [of_all])[0]


def test_masks():
    for cls in (fdt.Categorical, fdt.OneHotCategorical):
        for name, given in (("logits", LOGITS), ("probs", LOGITS.exp())):
            raw = given.clone().requires_grad_()
            d = cls(**{name: raw}, mask=MASK)
            theirs = getattr(fd, cls.__name__)(**{name: given.numpy()}, mask=MASK.numpy())
            np.testing.assert_allclose(d.probs.detach(), theirs.probs, rtol=1e-14)
            np.testing.assert_allclose(d.entropy().detach(), theirs.entropy(), rtol=1e-14)
            (d.entropy().sum() + d.log_prob(d.sample(rng=0)).sum()).backward()
            assert torch.all(raw.grad[:, 1] == 0)
            assert raw.grad.isfinite().all()
            assert torch.all(d.sample((1000,), rng=0) != (1 if cls is fdt.Categorical else 2))
    with pytest.raises(ValueError, match=r"must allow an outcome .* shape \(4,\), none is at index \(\)"):
        fdt.Categorical(LOGITS, mask=torch.zeros(4, dtype=torch.bool))
    with pytest.raises(TypeError, match="mask must be a tensor of bools"):
        fdt.Categorical(LOGITS, mask=torch.ones(4))
    assert fdt.Categorical(torch.tensor([0.0, 1.0])).log_prob(torch.tensor(0)) == -torch.inf


def test_errors_are_torchs():
    for kind in KINDS:
        ours, theirs, value = pair(kind)
        bad = value.double() + torch.nan if value.is_floating_point() else value + 7
        for d in (ours, theirs):
            with pytest.raises(ValueError, match="support"):
                d.log_prob(bad)
        if not ours.has_rsample:
            with pytest.raises(NotImplementedError):
                ours.rsample()
    for module in (td, fdt):
        with pytest.raises(ValueError, match="support"):  # whose logarithm is a real number to torch
            module.LogNormal(0.0, 1.0).log_prob(torch.tensor(0.0))
        with pytest.raises(ValueError, match="scale"):
            module.LogNormal(0.0, -1.0)
        with pytest.raises(ValueError, match="scale"):
            module.HalfNormal(-1.0)
        with pytest.raises(ValueError, match="probs"):
            module.Categorical(torch.tensor([-1.0, 2.0]))
        with pytest.raises(ValueError, match="Either"):
            module.Bernoulli()


# ---- the cdf family ----------------------------------------------------------------------------------


def test_tails():
    far = torch.tensor(-30.0).double()
    d, theirs = fdt.LogNormal(torch.zeros(()).double(), 1.0), fd.LogNormal(0.0, 1.0)
    for name in ("cdf", "log_cdf", "survival_function", "log_survival_function"):
        for x in (far.exp(), (-far).exp(), torch.tensor(0.0).double()):
            np.testing.assert_allclose(getattr(d, name)(x), getattr(theirs, name)(x.numpy()), rtol=1e-12)
    tiny = torch.tensor([1e-300, 1e-30, 0.1, 0.9]).double()
    for name in ("icdf", "isf"):
        one = getattr(d, name)(tiny)
        np.testing.assert_allclose(one, np.exp(getattr(fd.Normal(0.0, 1.0), name)(tiny.numpy())), rtol=1e-11)
    half, theirs = fdt.HalfNormal(torch.tensor(2.0).double()), fd.HalfNormal(2.0)
    for x in (torch.tensor([1e-200, 1e-9, 0.3, 3.0, 50.0]).double(),):
        for name in ("cdf", "log_cdf", "survival_function", "log_survival_function"):
            np.testing.assert_allclose(getattr(half, name)(x), getattr(theirs, name)(x.numpy()), rtol=1e-12)
    np.testing.assert_allclose(half.icdf(tiny), theirs.icdf(tiny.numpy()), rtol=1e-12)
    np.testing.assert_allclose(half.survival_function(half.isf(tiny)), tiny, rtol=1e-10)


def test_a_transform_that_falls_changes_sides():
    ours, theirs, value = pair("falling")
    close(ours.cdf(value), theirs.cdf(value))
    close(ours.cdf(value) + ours.survival_function(value), torch.ones(3, 2).double())
    close(ours.icdf(ours.cdf(value)), value)
    close(ours.isf(ours.survival_function(value)), value)
    small = torch.full((3, 2), 1e-30).double()
    np.testing.assert_allclose(ours.cdf(ours.icdf(small)), small, rtol=1e-10)  # theirs is 0
    by_number = [td.AffineTransform(0.5, -2.0), td.ExpTransform()]
    d = fdt.TransformedDistribution(fdt.Normal(LOC, SCALE), by_number)
    close(d.cdf(value), td.TransformedDistribution(td.Normal(LOC, SCALE), by_number).cdf(value))
    scale = torch.tensor([1.0, -1.0]).double()
    both = fdt.TransformedDistribution(fdt.Normal(LOC, SCALE), [td.AffineTransform(0.0, scale)])
    close(both.cdf(value), torch.stack([both[..., i].cdf(value[..., i]) for i in (0, 1)], -1))
    with pytest.raises(NotImplementedError, match="monotone"):
        fdt.TransformedDistribution(fdt.Normal(LOC, 1.0), [td.AbsTransform()]).cdf(value)
    tails = torch.autograd.functional.jacobian(lambda x: ours.log_cdf(x).sum(), value)
    assert tails.isfinite().all()


def test_cdfs_of_mixtures():
    ours, theirs, value = pair("mixture")
    close(ours.cdf(value), theirs.cdf(value))
    logits = LOGITS.clone().requires_grad_()
    parts = ours.component_distribution
    d, other = (m.MixtureSameFamily(m.Categorical(logits=logits), c) for m, c in ((fdt, parts), (td, parts)))
    close(*(torch.autograd.grad(one.cdf(value).sum(), logits)[0] for one in (d, other)))
    close(ours.log_cdf(value), theirs.cdf(value).log())
    close(ours.survival_function(value), 1 - theirs.cdf(value))
    assert ours.log_cdf(torch.tensor(-300.0).double()).isfinite().all()
    joint = parts.log_prob(value[:, None]) + LOGITS.log_softmax(-1)
    close(ours.posterior_marginal(value).probs, joint.softmax(-1))


def test_cdfs_of_vectors():
    d = fdt.Independent(fdt.Normal(LOC, SCALE), 1)
    close(d.cdf(LOC + 1), fdt.Normal(LOC, SCALE).cdf(LOC + 1).prod(-1))
    close(d.log_cdf(LOC + 1), d.cdf(LOC + 1).log())


# ---- what is saturated, mixtures, divergences ------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_saturated_action_has_its_density(dtype):
    loc = torch.full((4,), 12.0, dtype=dtype, requires_grad=True)
    normal = fdt.Independent(fdt.Normal(loc, torch.full((4,), 8.0, dtype=dtype)), 1)
    d = fdt.TransformedDistribution(normal, [td.TanhTransform()])
    action, log_prob = d.sample_and_log_prob((100,), rng=0)
    assert (action.abs() == 1).any()
    assert log_prob.isfinite().all()
    own = fd.TransformedDistribution(
        fd.Independent(fd.Normal(loc.detach().numpy(), np.full(4, 8, loc.detach().numpy().dtype)), 1),
        [fd.transforms.TanhTransform()],
    )
    np.testing.assert_allclose(log_prob.detach(), own.sample_and_log_prob((100,), rng=0)[1], rtol=1e-5)
    log_prob.sum().backward()
    np.testing.assert_allclose(
        loc.grad,
        2 * torch.tanh(np.asarray(12.0) * 0 + normal.rsample((100,), rng=0)).sum(0).detach(),
        rtol=1e-4,
    )


def test_implicit_gradients():
    make, parameters, _ = KINDS["mixture"]
    given = leaves(*parameters)
    x = make(fdt, *given).rsample((7,), rng=1)
    weights = torch.linspace(-1, 1, x.numel()).double().reshape(x.shape)
    ours = torch.autograd.grad((weights * x).sum(), given)
    logits, loc, scale = (t.numpy() for t in parameters)
    d = fd.MixtureSameFamily(fd.Categorical(logits=logits), fd.Normal(loc, scale))
    value, pull = fd.vjp(d.rsample, (7,), rng=1)
    wanted = pull(weights.numpy())
    assert_same_bits(x.detach().numpy(), value)
    close(ours[0], torch.from_numpy(wanted["mixture_distribution"]["logits"]))
    close(ours[1], torch.from_numpy(wanted["component_distribution"]["loc"]))
    x = make(fdt, *given).rsample((7,), rng=1)
    x *= 2  # what is drawn is theirs to change
    close(torch.autograd.grad((weights * x).sum(), given)[0], 2 * ours[0])
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        torch.autograd.grad(make(fdt, *given).rsample(rng=1).sum(), given, create_graph=True)


def test_changes_in_place_are_seen():
    for kind in ("Bernoulli logits", "LowRank", "mixture"):
        make, parameters, value = KINDS[kind]
        given = [t.clone() for t in parameters]
        d = make(fdt, *given) if kind != "LowRank" else fdt.LowRankMultivariateNormal(*given)
        before = d.log_prob(value)
        given[0 if kind != "mixture" else 1].add_(1)
        again = make(fdt, *given) if kind != "LowRank" else fdt.LowRankMultivariateNormal(*given)
        assert torch.equal(d.log_prob(value), again.log_prob(value))
        assert not torch.equal(d.log_prob(value), before)
    loc = LOC.clone().requires_grad_()
    total = fdt.LowRankMultivariateNormal(loc, LOC[..., None], SCALE).log_prob(LOC).sum()
    with torch.no_grad():
        loc += 1
    with pytest.raises(RuntimeError, match="inplace"):
        total.backward()


SAME = {kind: KINDS[kind] for kind in KINDS if kind not in ("falling", "mixture", "mixture of vectors")}


@pytest.mark.parametrize("kind", SAME)
def test_divergences(kind):
    make, parameters, _ = SAME[kind]
    found = []
    for module in (fdt, td):
        p, q = leaves(*parameters), leaves(*(t.flip(0) + 0.25 for t in parameters))
        if kind == "squashed":
            q[2] = p[2]
        d, e = make(module, *p), make(module, *q)
        if kind == "squashed":
            e.transforms = d.transforms
        value = td.kl_divergence(d, e)
        found.append(
            (value.detach(), *torch.autograd.grad(value.square().sum(), [*p, *q], allow_unused=True))
        )
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None) == (theirs is None) or (ours is None or not ours.any())
        if ours is not None and theirs is not None:
            close(ours, theirs)
    assert torch.all(td.kl_divergence(make(fdt, *parameters), make(fdt, *parameters)).abs() < 1e-14)


def test_divergences_of_low_rank_and_others():
    make, parameters, _ = KINDS["LowRank"]
    low, theirs = make(fdt, *parameters), make(td, *parameters)
    mvn, own = (
        m.MultivariateNormal(LOC, scale_tril=TRIL[0].tril() + 2 * torch.eye(2).double()) for m in (fdt, td)
    )
    close(td.kl_divergence(low, mvn), td.kl_divergence(theirs, own))
    close(td.kl_divergence(mvn, low), td.kl_divergence(own, theirs))
    normal = fdt.Independent(fdt.Normal(LOC, SCALE), 1)
    as_mvn = td.MultivariateNormal(LOC, torch.diag_embed((SCALE**2).expand(3, 2)))
    close(td.kl_divergence(low, normal), td.kl_divergence(theirs, as_mvn))
    close(td.kl_divergence(normal, low), td.kl_divergence(as_mvn, theirs))


def test_independent_of_outcomes():
    for independent in (fdt.Independent, td.Independent):
        logits = LOGITS.clone().requires_grad_()
        ours = independent(fdt.Categorical(logits=logits), 1)
        theirs = td.Independent(td.Categorical(logits=logits), 1)
        value = torch.tensor([1, 0, 3])
        close(ours.log_prob(value), theirs.log_prob(value))
        close(ours.entropy(), theirs.entropy())
        close(*(torch.autograd.grad(d.log_prob(value) + d.entropy(), logits)[0] for d in (ours, theirs)))
        close(td.kl_divergence(ours, ours), torch.zeros(()).double())
    assert fdt.Independent(fdt.Categorical(logits=LOGITS), 1).sample((2,), rng=1).dtype == torch.int64


def test_subclasses():
    class Named(fdt.Categorical):
        pass

    assert type(Named(LOGITS.exp()).expand((2, 3))) is Named
    assert type(Named(LOGITS.exp())[0]) is Named
    assert issubclass(fdt.LogNormal, td.LogNormal)
    for name in ("LogNormal", "HalfNormal", "Categorical", "Bernoulli", "LowRankMultivariateNormal"):
        assert fdt.wrap(getattr(fd, name)) is getattr(fdt, name)


def test_what_torch_has_not():
    d = fdt.TruncatedNormal(LOC, SCALE, -1.0, torch.tensor(2.0).double())
    own = fd.TruncatedNormal(LOC.numpy(), SCALE.numpy(), -1.0, 2.0)
    for name in ("cdf", "log_cdf", "survival_function"):
        np.testing.assert_allclose(getattr(d, name)(LOC / 2), getattr(own, name)(LOC.numpy() / 2), rtol=1e-14)
    loc = LOC.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda loc: fdt.TruncatedNormal(loc, SCALE, -1.0, 2.0).rsample(rng=1), loc
    )
    half = fdt.LogitNormal(torch.zeros(3), 1.0).icdf(torch.tensor(0.5))
    assert torch.equal(half, torch.full((3,), 0.5))
