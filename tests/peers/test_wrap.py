"""Distributions that users write, in torch and autograd: fastdist's bits, and the gradients of their rules."""

import copy
import pickle

import autograd.numpy as anp
import numpy as np
import pytest
import torch
from autograd import grad, hessian
from autograd.test_util import check_grads
from cases import assert_same_bits, random_tril
from torch import distributions as td
from user_written import Laplace, LogNormal, Student

import fastdist as fd
import fastdist.autograd as fda
import fastdist.torch as fdt

pytestmark = [pytest.mark.peers, pytest.mark.usefixtures("validating")]

g = np.random.default_rng(0)
LOC, SCALE, VALUE = g.normal(size=(4, 3)), g.uniform(0.5, 2, 3), g.normal(size=(2, 1, 3))
VECTOR, TRIL = g.normal(size=(3, 5)), random_tril(g, (4, 1, 5, 5))
DTYPES = [np.float32, np.float64]


class Scaled(fd.Distribution):
    """Laplace with an argument that is no array, a set that torch has not, and no rules."""

    arg_constraints = {"share": fd.constraints.Constraint("share", 0, lambda x: (x > 0) & (x < 1))}  # noqa: RUF012
    support = fd.constraints.Constraint("nonnegative", 0, lambda x: x >= 0)
    has_rsample = True
    normals_per_event = 1

    def __init__(self, share, power=1, *, validate_args=None):
        super().__init__(share, validate_args=validate_args)
        self.power = power

    def draw(self, eps, out):
        np.multiply(self.share, abs(eps[..., 0]) ** self.power, out=out)

    def log_density(self, value):
        return np.broadcast_to(self.share * self.power, np.broadcast_shapes(value.shape, self.batch_shape))


class NotReparameterised(Laplace):
    has_rsample = False


def leaf(array, dtype=np.float64):
    return torch.from_numpy(np.array(array, dtype)).requires_grad_()


def laplaces(dtype=np.float64):
    """Of torch and of fastdist."""
    arrays = LOC.astype(dtype), SCALE.astype(dtype)
    return fdt.wrap(Laplace)(*map(torch.from_numpy, arrays)), Laplace(*arrays)


def students(dtype=np.float64):
    arrays = VECTOR.astype(dtype), TRIL.astype(dtype)
    return fdt.wrap(Student)(*map(torch.from_numpy, arrays)), Student(*arrays)


# ---- torch: values ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pair", [laplaces, students])
def test_values_are_fastdists(pair, dtype):
    ours, theirs = pair(dtype)
    assert isinstance(ours, td.Distribution)
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    assert type(ours.batch_shape) is type(ours.event_shape) is torch.Size
    for shape in ((4, 3), (2, 4, 3)):
        ours, theirs = ours.expand(shape), theirs.expand(shape)
        assert ours.batch_shape == shape
        x = theirs.sample((5,), rng=1)
        assert_same_bits(ours.rsample((5,), rng=1).numpy(), x)
        assert_same_bits(ours.sample(torch.Size([5]), rng=1).numpy(), x)
        assert_same_bits(ours.log_prob(torch.from_numpy(x)).numpy(), theirs.log_prob(x))
        assert_same_bits(ours.entropy().numpy(), theirs.entropy())
    assert_same_bits(ours[0, 1:].rsample(rng=1).numpy(), theirs[0, 1:].rsample(rng=1))
    assert_same_bits(ours[..., 0].entropy().numpy(), theirs[..., 0].entropy())


def test_moments_and_parameters():
    ours, theirs = laplaces()
    for name in ("mean", "mode", "variance", "stddev", "loc", "scale"):
        np.testing.assert_array_equal(getattr(ours, name).numpy(), getattr(theirs, name))
    assert repr(ours) == "Laplace(loc: torch.Size([4, 3]), scale: torch.Size([4, 3]))"
    assert ours.expand((2, -1, 3)).batch_shape == (2, 4, 3)
    assert students()[0].loc.shape == (4, 3, 5)
    assert students()[0].scale_tril.shape == (4, 3, 5, 5)
    with pytest.raises(NotImplementedError, match="Student has no mean"):
        students()[0].mean  # noqa: B018


def test_numbers_are_taken_as_by_torch():
    wrapped = fdt.wrap(Laplace)
    assert wrapped(0, 1.0).loc.dtype == torch.get_default_dtype()
    for d in (wrapped(0, torch.ones(2, dtype=torch.float64)), wrapped(loc=torch.zeros(2).double(), scale=1)):
        assert (d.batch_shape, d.loc.dtype, d.scale.dtype) == ((2,), torch.float64, torch.float64)
        assert d.sample().dtype == torch.float64


def test_constraints():
    wrapped = fdt.wrap(Student)
    assert wrapped is fdt.wrap(Student)
    assert wrapped.arg_constraints == {
        "loc": td.constraints.real_vector,
        "scale_tril": td.constraints.lower_cholesky,
    }
    assert wrapped.support is td.constraints.real_vector
    assert fdt.wrap(Laplace).support is td.constraints.real
    assert fdt.wrap(Laplace).has_rsample
    assert not fdt.wrap(NotReparameterised).has_rsample
    held = fdt.wrap(LogNormal)(fdt.Normal(0.0, 1.0))
    assert held.support is td.constraints.positive
    assert fdt.wrap(fd.Normal) is fdt.Normal


def test_arguments_and_constraints_of_ones_own():
    d = fdt.wrap(Scaled)(torch.tensor([0.25, 0.5]), power=2)
    assert_same_bits(d.sample((3,), rng=0).numpy(), Scaled(np.float32([0.25, 0.5]), 2).sample((3,), rng=0))
    assert_same_bits(d[1].log_prob(torch.ones(3)).numpy(), np.full(3, 1, np.float32))
    assert repr(d.support) == "nonnegative"
    with pytest.raises(ValueError, match="within the support"):
        d.log_prob(torch.tensor(-1.0))
    with pytest.raises(ValueError, match="share must be share"):
        fdt.wrap(Scaled)(2.0)


def test_generators():
    d = laplaces()[0]
    torch.manual_seed(0)
    a, b = d.rsample(), d.rsample()
    torch.manual_seed(0)
    assert torch.equal(d.sample(), a)
    assert not torch.equal(a, b)
    draws = [d.sample((2,), generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*draws)
    with pytest.raises(ValueError, match="exclude each other"):
        d.sample(generator=torch.Generator(), rng=0)


def test_changes_in_place_are_seen():
    loc = torch.zeros(3)
    d = fdt.wrap(Laplace)(loc, 1.0)
    before = d.rsample(rng=0)
    loc += 1
    np.testing.assert_array_equal(d.rsample(rng=0), before + 1)
    np.testing.assert_array_equal(d.mean, np.ones(3))


def test_a_change_between_forward_and_backward_leaves_gradients_alone():
    scale = leaf(SCALE)
    d = fdt.wrap(Laplace)(torch.from_numpy(LOC), scale)
    total = d.log_prob(torch.from_numpy(VALUE)).sum()
    (wanted,) = torch.autograd.grad(total, scale, retain_graph=True)
    with torch.no_grad():
        scale *= 2
    total.backward()
    assert torch.equal(scale.grad, wanted)


def test_copies():
    d = laplaces()[0]
    for other in (pickle.loads(pickle.dumps(d)), copy.deepcopy(d)):
        assert type(other) is type(d)
        assert torch.equal(other.sample(rng=0), d.sample(rng=0))


@pytest.mark.parametrize("independent", [td.Independent, fdt.Independent])
def test_independent(independent):
    ours, theirs = independent(laplaces()[0], 1), fd.Independent(laplaces()[1], 1)
    x = torch.from_numpy(VALUE) + torch.zeros(4, 1)
    np.testing.assert_allclose(ours.log_prob(x), theirs.log_prob(x.numpy()), rtol=1e-14)
    np.testing.assert_allclose(ours.entropy(), theirs.entropy(), rtol=1e-14)
    other = independent(fdt.wrap(Laplace)(torch.zeros(3).double(), 1.0), 1)
    wanted = fd.kl_divergence(theirs, fd.Independent(Laplace(np.zeros(3), 1.0), 1))
    np.testing.assert_allclose(td.kl_divergence(ours, other), wanted, rtol=1e-14)
    if independent is fdt.Independent:
        assert_same_bits(ours.rsample((2,), rng=0).numpy(), theirs.rsample((2,), rng=0))
        assert ours[1:].rsample().shape == (3, 3)


# ---- torch: gradients --------------------------------------------------------------------------------


def test_gradients_are_those_of_torchs_laplace():
    def gradients(make):
        loc, scale, value = leaf(LOC), leaf(SCALE), leaf(VALUE)
        d = make(loc, scale)
        weights = torch.linspace(-1, 1, 24).double().reshape(2, 4, 3)
        other = make(torch.zeros(3).double(), torch.tensor(2.0).double())
        loss = (weights * d.log_prob(value)).sum() + (weights[0] * d.entropy()).sum()
        loss = loss + (weights[1] * td.kl_divergence(d, other)).sum() + td.kl_divergence(other, d).sum()
        loss.backward()
        return loss.detach(), loc.grad, scale.grad, value.grad

    for ours, theirs in zip(gradients(fdt.wrap(Laplace)), gradients(td.Laplace), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("shape", [None, (2, 4, 3)])
def test_gradients_of_draws_by_finite_differences(shape):
    def draw(cls, *tensors):
        d = cls(*tensors)
        return (d if shape is None else d.expand(shape)).rsample((2,), rng=1)

    assert torch.autograd.gradcheck(lambda *t: draw(fdt.wrap(Laplace), *t), (leaf(LOC), leaf(SCALE)))
    tril = leaf(TRIL)
    assert torch.autograd.gradcheck(lambda a, b: draw(fdt.wrap(Student), a, b.tril()), (leaf(VECTOR), tril))


def test_subclasses_of_the_packages_own():
    """By fastdist's rules, which are torch's gradients; divergences from fastdist.torch's own, too."""

    class Own(fd.MultivariateNormal):
        pass

    def gradients(make):
        loc, tril = leaf(VECTOR), leaf(TRIL)
        d = make(loc, scale_tril=tril)
        prior = fdt.MultivariateNormal(torch.zeros(5).double(), 2 * torch.eye(5).double())
        (d.log_prob(torch.ones(5).double()).sum() + td.kl_divergence(d, prior).sum()).backward()
        return loc.grad, tril.grad

    for ours, theirs in zip(gradients(fdt.wrap(Own)), gradients(fdt.MultivariateNormal), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("held", [fdt.Normal, fdt.wrap(fd.Normal)])
def test_gradients_through_what_is_held(held):
    loc, scale = leaf(LOC), leaf(SCALE)
    assert torch.autograd.gradcheck(
        lambda loc, scale: fdt.wrap(LogNormal)(held(loc, scale)).expand((2, 4, 3)).rsample(rng=1),
        (loc, scale),
    )


def test_gradients_are_of_the_tensors_dtypes():
    loc, scale = leaf(LOC, np.float32), leaf(SCALE)
    x = fdt.wrap(Laplace)(loc, scale).rsample(rng=0)
    x.sum().backward()
    assert (x.dtype, loc.grad.dtype, scale.grad.dtype) == (torch.float64, torch.float32, torch.float64)


def test_an_optimisation():
    """Of a Laplace to one of known parameters, by draws and divergences."""
    loc, log_scale = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    wrapped = fdt.wrap(Laplace)
    goal = wrapped(torch.tensor([1.0, -0.5]), torch.tensor([0.5, 2.0]))
    optimizer = torch.optim.Adam([loc, log_scale], lr=0.05)
    for step in range(400):
        d = wrapped(loc, log_scale.exp())
        loss = td.kl_divergence(d, goal).sum()
        loss = loss - 0.1 * (goal.log_prob(d.rsample((16,), rng=step)).mean(0) + d.entropy()).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(loc.detach(), goal.loc, atol=0.1)
    np.testing.assert_allclose(log_scale.exp().detach(), goal.scale, rtol=0.1)


def test_no_second_derivatives():
    d, value = fdt.wrap(Laplace)(leaf(LOC), leaf(SCALE)), leaf(VALUE)
    (by_value,) = torch.autograd.grad(d.log_prob(value).sum(), value, create_graph=True)
    assert by_value.requires_grad  # or a penalty on it would be none, in silence
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        (by_value**2).sum().backward()


def test_errors():
    wrapped, loc = fdt.wrap(Laplace), leaf(LOC)
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        wrapped(loc, -1.0)
    assert wrapped(loc, -1.0, validate_args=False).batch_shape == (4, 3)
    nan = torch.tensor(torch.nan)
    with pytest.raises(ValueError, match="within the support"):
        wrapped(loc, 1.0).log_prob(nan)
    assert wrapped(loc, 1.0, validate_args=False).log_prob(nan).isnan().all()
    for bad in ([1.0], torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.float16)):
        with pytest.raises(TypeError, match="loc must be a"):
            wrapped(bad, 1.0)
    for args, kwargs in (
        ((0.0,), {}),
        ((0.0, 1.0, 2.0), {}),
        ((0.0, 1.0), {"loc": 1.0}),
        ((0.0,), {"x": 1.0}),
    ):
        with pytest.raises(TypeError, match=r"Laplace\(\)"):
            wrapped(*args, **kwargs)
    with pytest.raises(TypeError, match="must be a subclass of"):
        fdt.wrap(td.Laplace)
    with pytest.raises(NotImplementedError, match="neither vmap"):
        torch.func.vmap(wrapped(0.0, 1.0).log_prob)(torch.zeros(3))
    with pytest.raises(NotImplementedError, match="neither vmap"):
        torch.autograd.functional.jacobian(wrapped(0.0, 1.0).log_prob, torch.zeros(3), vectorize=True)
    with pytest.raises(NotImplementedError, match="not one that fastdist has"):
        fdt.wrap(LogNormal)(td.Normal(0.0, 1.0))
    with pytest.raises(NotImplementedError, match="cannot be indexed"):
        fdt.wrap(LogNormal)(fdt.Normal(torch.zeros(2), 1.0))[0]


def test_missing_rules():
    state = torch.get_rng_state()
    with pytest.raises(NotImplementedError, match=r"no gradient rule is registered for Scaled\.rsample"):
        fdt.wrap(Scaled)(torch.tensor(0.5, requires_grad=True)).rsample()
    with pytest.raises(NotImplementedError, match="has no reparameterised draws"):
        fdt.wrap(NotReparameterised)(0.0, 1.0).rsample()
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(NotImplementedError, match=r"Student\.log_prob"):
        students()[0].log_prob(leaf(VECTOR))
    with pytest.raises(NotImplementedError, match="no KL divergence is registered for Laplace and Normal"):
        td.kl_divergence(laplaces()[0], fdt.Normal(0.0, 1.0))


# ---- autograd --------------------------------------------------------------------------------------


def first(f, *args):
    check_grads(f, modes=["rev"], order=1)(*args)


def test_autograd_values_are_fastdists():
    wrapped = fda.wrap(Laplace)
    assert wrapped is fda.wrap(Laplace)
    assert fda.wrap(fd.Normal) is fda.Normal
    ours, theirs = wrapped(LOC, scale=SCALE), Laplace(LOC, SCALE)
    assert (ours.batch_shape, ours.event_shape) == ((4, 3), ())
    assert repr(ours) == f"autograd.{theirs!r}"
    for value, wanted in (
        (ours.rsample((5,), rng=1), theirs.rsample((5,), rng=1)),
        (ours.sample((5,), rng=1), theirs.rsample((5,), rng=1)),
        (ours.log_prob(VALUE), theirs.log_prob(VALUE)),
        (ours.entropy(), theirs.entropy()),
        (fda.wrap(Student)(VECTOR, TRIL).rsample(rng=1), Student(VECTOR, TRIL).rsample(rng=1)),
        (fda.wrap(Scaled)(0.5, power=2).sample(rng=1), Scaled(0.5, 2).sample(rng=1)),
    ):
        assert_same_bits(value, wanted)


def test_autograd_gradients():
    wrapped = fda.wrap(Laplace)
    first(lambda loc, scale: wrapped(loc, scale).rsample((5,), rng=1), LOC, SCALE)
    first(lambda loc, scale, x: wrapped(loc, scale).log_prob(x), LOC, SCALE, VALUE)
    first(lambda scale: wrapped(LOC, scale=scale).entropy(), SCALE)
    first(lambda a, b, c, d: fda.kl_divergence(wrapped(a, b), wrapped(c, d)), LOC, SCALE, 0.5, 2.0)
    first(lambda loc, scale: fda.Independent(wrapped(loc, scale), 1).log_prob(LOC + 1), LOC, SCALE)
    first(lambda loc, a: fda.wrap(Student)(loc, anp.tril(a)).rsample(rng=1), VECTOR, TRIL)
    first(lambda loc, scale: fda.wrap(LogNormal)(fda.Normal(loc, scale)).rsample(rng=1), LOC, SCALE)


def test_autograd_optimisation():
    def loss(p):
        return anp.sum(fda.kl_divergence(fda.wrap(Laplace)(p[0], anp.exp(p[1])), fda.wrap(Laplace)(1.0, 0.5)))

    p = np.zeros(2)
    for _ in range(500):
        p = p - 0.05 * grad(loss)(p)
    np.testing.assert_allclose(p, [1, np.log(0.5)], atol=0.06)


def test_autograd_errors():
    wrapped = fda.wrap(Laplace)
    with pytest.raises(ValueError, match="scale must be positive"):
        grad(lambda scale: anp.sum(wrapped(0.0, scale).entropy()))(np.array([1.0, -1.0]))
    assert wrapped(0.0, -1.0, validate_args=False).batch_shape == ()
    with pytest.raises(TypeError, match="loc is a list"):
        grad(lambda p: anp.sum(wrapped([p[0], p[1]], 1.0).entropy()))(np.ones(2))
    with pytest.raises(TypeError, match=r"Laplace\(\) lacks scale"):
        wrapped(0.0)
    with pytest.raises(TypeError, match="must be a subclass of"):
        fda.wrap(fda.Normal)
    with pytest.raises(NotImplementedError, match=r"Scaled\.log_prob"):
        grad(lambda share: anp.sum(fda.wrap(Scaled)(share).log_prob(1.0)))(0.5)
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        hessian(lambda loc: anp.sum(wrapped(loc, 1.0).log_prob(VALUE)))(LOC[0])
