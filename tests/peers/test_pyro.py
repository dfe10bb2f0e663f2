"""Pyro's documented uses of Normal and MultivariateNormal, with the import swapped."""

import doctest
import math

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro.distributions import constraints
from pyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal, AutoNormal
from pyro.optim import Adam

import fastdist.torch.pyro as implementation
from fastdist.torch.pyro import MultivariateNormal, Normal

# Pyro and torch warn of each other.
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def fresh():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)


def fit(model, guide, *args, loss=None, steps=400, lr=0.02):
    svi = SVI(model, guide, Adam({"lr": lr}), loss or Trace_ELBO())
    return [svi.step(*args) for _ in range(steps)]


def test_shapes():
    """Of the tutorial on tensor shapes: batches, events, expand, to_event, plates, masks."""
    d = MultivariateNormal(torch.zeros(3), torch.eye(3))
    assert (d.batch_shape, d.event_shape) == ((), (3,))
    assert d.sample((2,)).shape == d().expand(2, 3).shape
    assert d.log_prob(d.sample((2,))).shape == (2,)
    d = Normal(torch.zeros(3), 1.0).expand([4, 3]).to_event(1)
    assert (d.batch_shape, d.event_shape, d.shape()) == ((4,), (3,), (4, 3))
    assert type(d.base_dist) is Normal
    assert isinstance(d.base_dist, dist.Normal)
    assert (Normal(0.0, 1.0).expand_by([5, 2]).mask(False).log_prob(torch.ones(5, 2)) == 0).all()
    assert Normal.infer_shapes(loc=(2, 1), scale=(3,)) == ((2, 3), ())
    assert MultivariateNormal.infer_shapes((2, 3), scale_tril=(3, 3)) == ((2,), (3,))

    def model():
        with pyro.plate("x", 3, dim=-1), pyro.plate("y", 2, dim=-2):
            return pyro.sample("z", MultivariateNormal(torch.zeros(4), scale_tril=torch.eye(4)))

    trace = pyro.poutine.trace(model).get_trace()
    trace.compute_log_prob()
    assert trace.nodes["z"]["value"].shape == (2, 3, 4)
    assert trace.nodes["z"]["log_prob"].shape == (2, 3)


def test_seeds_and_samples():
    d = Normal(torch.zeros(5), 1.0)
    pyro.set_rng_seed(1)
    x = pyro.sample("x", d)
    pyro.set_rng_seed(1)
    assert torch.equal(pyro.sample("x", d), x)
    assert torch.equal(d(), d.rsample()) is False


def test_scale_that_is_unsure():
    """Of the introduction: guess a weight, measure it, infer it by SVI; the posterior is known."""

    def model(guess):
        weight = pyro.sample("weight", Normal(guess, 1.0))
        return pyro.sample("measurement", Normal(weight, 0.75))

    def guide(guess):
        a = pyro.param("a", torch.tensor(guess))
        b = pyro.param("b", torch.tensor(1.0), constraint=constraints.positive)
        return pyro.sample("weight", Normal(a, b))

    conditioned = pyro.condition(model, data={"measurement": torch.tensor(9.5)})
    elbo = Trace_ELBO(num_particles=16, vectorize_particles=True)
    losses = fit(conditioned, guide, 8.5, loss=elbo, steps=500)
    assert losses[-1] < losses[0]
    assert pyro.param("a").item() == pytest.approx((9.5 + 0.75**2 * 8.5) / (1 + 0.75**2), abs=0.1)
    assert pyro.param("b").item() == pytest.approx(math.sqrt(1 / (1 + 1 / 0.75**2)), abs=0.1)


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO, TraceGraph_ELBO])
def test_regression(elbo):
    """Bayesian regression with its guide, by sampled and by analytic divergences."""
    x = torch.randn(200, 3)
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.1 * torch.randn(200)

    def model(x, y=None):
        weight = pyro.sample("weight", Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", Normal((x * weight).sum(-1), 0.1), obs=y)

    def guide(x, y=None):
        loc = pyro.param("loc", torch.zeros(3))
        scale = pyro.param("scale", torch.full((3,), 0.1), constraint=constraints.positive)
        pyro.sample("weight", Normal(loc, scale).to_event(1))

    fit(model, guide, x, y, loss=elbo())
    torch.testing.assert_close(pyro.param("loc").detach(), torch.tensor([1.0, -2.0, 0.5]), rtol=0, atol=0.1)
    predicted = Predictive(model, guide=guide, num_samples=50)(x)["y"]
    assert predicted.shape == (50, 200)
    assert (predicted.mean(0) - y).std() < 0.3


@pytest.mark.parametrize("auto", [AutoNormal, AutoMultivariateNormal, AutoDelta])
def test_automatic_guides(auto):
    data = MultivariateNormal(torch.tensor([1.0, -1.0]), torch.eye(2)).sample((500,))

    def model(data):
        loc = pyro.sample("loc", MultivariateNormal(torch.zeros(2), scale_tril=10 * torch.eye(2)))
        with pyro.plate("data", len(data)):
            pyro.sample("x", MultivariateNormal(loc, precision_matrix=torch.eye(2)), obs=data)

    guide = auto(model)
    fit(model, guide, data)
    found = guide.median(data)["loc"]
    torch.testing.assert_close(found.detach(), data.mean(0), rtol=0, atol=0.2)


def test_hamiltonian_monte_carlo():
    """Gradients of log_prob in NUTS; means to 5 standard errors of 100 independent draws."""
    covariance = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    mcmc = MCMC(
        NUTS(lambda: pyro.sample("x", MultivariateNormal(torch.ones(2), covariance))),
        num_samples=200, warmup_steps=100, disable_progbar=True,
    )  # fmt: skip
    mcmc.run()
    error = (mcmc.get_samples()["x"].mean(0) - 1) / (covariance.diagonal() / 100).sqrt()
    assert (error.abs() < 5).all()


def test_enumeration():
    """A mixture: log_prob of values that broadcast over enumerated dims."""
    data = torch.cat([torch.randn(50) - 3, torch.randn(50) + 3])

    @pyro.infer.config_enumerate
    def model(data):
        locs = pyro.sample("locs", Normal(torch.tensor([-1.0, 1.0]), 5.0).to_event(1))
        with pyro.plate("data", len(data)):
            k = pyro.sample("k", dist.Categorical(torch.ones(2) / 2))
            pyro.sample("x", Normal(locs[k], 1.0), obs=data)

    guide = AutoDelta(pyro.poutine.block(model, expose=["locs"]))
    fit(model, guide, data, loss=pyro.infer.TraceEnum_ELBO(max_plate_nesting=1), steps=200, lr=0.05)
    found = guide.median(data)["locs"].sort().values
    torch.testing.assert_close(found.detach(), torch.tensor([-3.0, 3.0]), rtol=0, atol=0.5)


def test_docstring():
    assert doctest.testmod(implementation).failed == 0
