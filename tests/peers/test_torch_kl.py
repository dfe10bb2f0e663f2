"""Divergences of vectors in fastdist.torch: unlike pairs, torch's own, and what kernels do not compute."""

import itertools
from unittest import mock

import mpmath as mp
import numpy as np
import pytest
import torch
from adapter_cases import KINDS, close, leaves, make, tensors_of
from torch import distributions as td

import fastdist.torch as fdt
from fastdist._kernels import pullbacks
from fastdist.torch import _formulas

pytestmark = pytest.mark.peers

PAIRS = [pair for pair in itertools.product(KINDS, KINDS) if pair != ("Normal", "Normal")]


def vectors(module, kind, loc, other):
    d = make(module, kind, loc, other, validate_args=False)
    return module.Independent(d, 1) if kind == "Normal" else d


def dense(kind, loc, other):
    """torch's own, diagonal ones by their factor."""
    if kind == "Normal":
        return td.MultivariateNormal(loc, scale_tril=torch.diag_embed(other.expand(loc.shape)))
    return make(td, kind, loc, other)


def both(pair, dtype=torch.float64):
    """Four ps to one q."""
    g = np.random.default_rng(0)
    p, q = (
        tensors_of(kind, g, (3,) if kind == "Normal" else (), (3,) * (kind == "Normal"), dtype=dtype)
        for kind in pair
    )
    return (torch.stack([p[0] + i for i in range(4)]), p[1]), q


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:`torch.jit")
@pytest.mark.parametrize("pair", PAIRS)
def test_transforms(pair):
    """The value of the kernels, and derivatives of a divergence of torch's, in every transform."""
    p, q = both(pair)

    def kl(m):
        return fdt.kl_divergence(vectors(fdt, pair[0], m, p[1]), vectors(fdt, pair[1], *q))

    def wanted(m):
        return td.kl_divergence(dense(pair[0], m, p[1]), dense(pair[1], *q))

    m, t = p[0], torch.ones_like(p[0])
    close(kl(m), wanted(m))
    close(torch.func.vmap(kl)(m), wanted(m))
    close(torch.func.jacrev(kl)(m), torch.func.jacrev(wanted)(m))
    close(torch.func.hessian(lambda m: kl(m).sum())(m), torch.func.hessian(lambda m: wanted(m).sum())(m))
    for ours, theirs in zip(torch.func.jvp(kl, (m,), (t,)), torch.func.jvp(wanted, (m,), (t,)), strict=True):
        close(ours, theirs)
    close(torch.jit.trace(kl, (m,))(m + 1), wanted(m + 1))
    close(torch.compile(kl, backend="eager")(m), wanted(m))


@pytest.mark.parametrize("pair", PAIRS)
def test_dtypes(pair):
    """Of two dtypes the common one, in low precision what is computed in float32, autocast included."""
    p, q = both(pair)
    wanted = td.kl_divergence(dense(pair[0], *p), dense(pair[1], *q))
    single = [t.float() for t in q]
    close(
        fdt.kl_divergence(vectors(fdt, pair[0], *p), vectors(fdt, pair[1], *single)).float(), wanted.float()
    )
    layer = torch.nn.Linear(3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        m = layer(p[0].float())
        assert m.dtype is torch.bfloat16
        other = p[1].float()
        d = (
            vectors(fdt, pair[0], m, other)
            if pair[0] == "Normal"
            else vectors(fdt, pair[0], m.float(), other)
        )
        value = fdt.kl_divergence(d, vectors(fdt, pair[1], *single))
    theirs = td.kl_divergence(dense(pair[0], m.float(), other), dense(pair[1], *single))
    close(value, theirs)
    value.sum().backward()
    assert layer.weight.grad.isfinite().all()


def test_low_precision():
    m = torch.ones(4, 3, dtype=torch.bfloat16)
    p = fdt.Independent(fdt.Normal(m, m), 1)
    q = fdt.MultivariateNormal(torch.zeros(3), scale_tril=2 * torch.eye(3))
    q_low = td.MultivariateNormal(torch.zeros(3).bfloat16(), scale_tril=2 * torch.eye(3).bfloat16())
    value = fdt.kl_divergence(p, q)
    close(value, torch.full((4,), 3 * ((0.25 + 0.25 - 1) / 2 + np.log(2))))
    low = fdt.kl_divergence(p, q_low)
    assert low.dtype is torch.bfloat16
    assert torch.equal(low, value.bfloat16())


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if "Normal" in pair])
def test_one_side_is_torchs(pair):
    p, q = both(pair)
    wanted = td.kl_divergence(dense(pair[0], *p), dense(pair[1], *q))
    for modules in ((fdt, fdt), (fdt, td), (td, fdt)):
        tensors = [leaves(*p), leaves(*q)]
        value = td.kl_divergence(*[vectors(m, k, *t) for m, k, t in zip(modules, pair, tensors, strict=True)])
        close(value, wanted)
        by_ours = torch.autograd.grad(value.sum(), [t for ts in tensors for t in ts])
        others = [leaves(*p), leaves(*q)]
        theirs = td.kl_divergence(*[dense(k, *t) for k, t in zip(pair, others, strict=True)])
        for i, (one, two) in enumerate(
            zip(by_ours, torch.autograd.grad(theirs.sum(), [t for ts in others for t in ts]), strict=True)
        ):
            close(one.tril() if i % 2 and pair[i // 2] == "scale_tril" else one, two)


def test_pairs_without_a_divergence():
    mvn = fdt.MultivariateNormal(torch.zeros(3), torch.eye(3))
    with pytest.raises(NotImplementedError, match="no KL divergence is registered for Independent"):
        td.kl_divergence(fdt.Independent(td.Laplace(torch.zeros(3), 1.0), 1), mvn)
    with pytest.raises(NotImplementedError, match="no KL divergence is registered for Independent"):
        td.kl_divergence(mvn, fdt.Independent(fdt.Normal(torch.zeros(1, 3), 1.0), 2))
    with pytest.raises(ValueError, match=r"event shapes differ: p \(2,\), q \(3,\)"):
        td.kl_divergence(fdt.Independent(fdt.Normal(torch.zeros(2), 1.0), 1), mvn)
    with pytest.raises(ValueError, match=r"event shapes differ: p \(3,\), q \(2,\)"):
        td.kl_divergence(mvn, fdt.MultivariateNormal(torch.zeros(2), torch.eye(2)))


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
    with mock.patch.object(pullbacks, "kl_mvn", wraps=pullbacks.kl_mvn) as pull:
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


# ---- the formulas ---------------------------------------------------------------------------------------


def exact(p_loc, p_tril, q_loc, q_tril):
    """By mpmath, to 60 digits."""
    with mp.workdps(60):
        loc, p, q = (mp.matrix(t.tolist()) for t in (p_loc - q_loc, p_tril, q_tril))
        inverse = mp.inverse(q)
        m, z = inverse * p, inverse * loc
        squares = sum(x * x for x in m) + sum(x * x for x in z) - p.rows
        return float(squares / 2 - sum(mp.log(m[i, i]) for i in range(p.rows)))


@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e-8, 1e-4, 0.1, 0.3, 0.5, 2.0, 1e3])
@pytest.mark.parametrize(("dtype", "eps"), [(torch.float64, 2.0**-53), (torch.float32, 2.0**-24)])
def test_near_and_far(dtype, eps, distance):
    """Right to some roundings times the condition, however near the two are; never negative; 0 of p from p."""
    g = torch.Generator().manual_seed(0)
    for dim in (1, 2, 5):
        q_tril = (
            torch.randn(dim, dim, generator=g, dtype=torch.float64).tril(-1) / 2 + 2 * torch.eye(dim).double()
        )
        change = torch.randn(dim, dim, generator=g, dtype=torch.float64).tril(-1) + torch.eye(dim).double()
        p_tril = (q_tril + distance * change).to(dtype)
        q_tril = q_tril.to(dtype)
        loc = torch.zeros(dim, dtype=dtype)
        value = _formulas.vector_kl(loc, p_tril, loc, q_tril)
        wanted = exact(loc.double(), p_tril.double(), loc.double(), q_tril.double())
        assert value >= 0
        assert (value == 0) == (wanted == 0)
        condition = torch.linalg.cond(q_tril.double()).item() ** 2
        assert abs(value.item() - wanted) <= 8 * condition * eps * wanted


@pytest.mark.parametrize("r", [1e-30, 1e-3, 0.69, 0.71, 1 - 1e-9, 1.0, 1 + 1e-9, 1.41, 1.43, 30.0, 1e30])
def test_scalars(r):
    """Value and derivatives by p's scale, of ratios whose squares leave the range of float32, too."""
    for dtype, eps in ((torch.float64, 2.0**-53), (torch.float32, 2.0**-24)):
        q = torch.tensor(r**-0.5, dtype=dtype)
        p = (q * r).requires_grad_()
        zero = torch.zeros((), dtype=dtype)
        value = _formulas.normal_kl(zero, p, zero, q)
        (first,) = torch.autograd.grad(value, p, create_graph=True)
        (second,) = torch.autograd.grad(first, p)
        with mp.workdps(60):
            of_p, of_q = mp.mpf(p.item()), mp.mpf(q.item())
            u = of_p / of_q - 1
            wanted = (
                u + u * u / 2 - mp.log1p(u),
                (u + 1 - 1 / (u + 1)) / of_q,
                (1 + 1 / (u + 1) ** 2) / of_q**2,
            )
        for x, y in zip((value, first, second), map(float, wanted), strict=True):
            if abs(y) < torch.finfo(dtype).max:
                assert abs(x.item() - y) <= 30 * eps * abs(y)


def test_divergences_of_the_same_in_a_transform():
    """Of p from p and of near ones: never negative, as torch's are in a third of all cases."""
    g = np.random.default_rng(0)
    loc, covariance = tensors_of("covariance_matrix", g, (200,), (200,), dim=4, dtype=torch.float32)

    def kl(loc, matrix):
        p = fdt.MultivariateNormal(loc, matrix, validate_args=False)
        return td.kl_divergence(p, p)

    assert torch.equal(torch.func.vmap(kl)(loc, covariance), torch.zeros(200))
    one = torch.func.vmap(lambda m: kl(m, covariance[0]))(loc)
    assert torch.equal(one, torch.zeros(200))
