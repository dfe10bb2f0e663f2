"""stable-baselines3 with the Normal that it imports swapped."""

import gymnasium
import pytest
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common import distributions

import fastdist.torch as fdt

# Of gymnasium, of rendering and of torch.
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def swapped(monkeypatch):
    monkeypatch.setattr(distributions, "Normal", fdt.Normal)


@pytest.mark.parametrize("cls", ["DiagGaussianDistribution", "SquashedDiagGaussianDistribution"])
def test_distribution(cls, monkeypatch):
    """All methods: draws follow the seed, densities and entropies are those with torch's Normal."""
    mean = torch.randn(5, 3, requires_grad=True)
    log_std = torch.zeros(3, requires_grad=True)
    d = getattr(distributions, cls)(3).proba_distribution(mean, log_std)
    assert type(d.distribution) is fdt.Normal
    torch.manual_seed(0)
    actions = d.get_actions()
    torch.manual_seed(0)
    assert torch.equal(d.get_actions(), actions)
    assert actions.requires_grad
    (d.log_prob(actions).sum() + actions.sum()).backward()
    assert mean.grad.shape == (5, 3)
    assert log_std.grad.shape == (3,)
    monkeypatch.undo()
    theirs = getattr(distributions, cls)(3).proba_distribution(mean, log_std)
    assert type(theirs.distribution) is torch.distributions.Normal
    fixed = actions.detach()
    torch.testing.assert_close(d.log_prob(fixed), theirs.log_prob(fixed))
    torch.testing.assert_close(d.mode(), theirs.mode())
    if cls == "DiagGaussianDistribution":
        torch.testing.assert_close(d.entropy(), theirs.entropy())
        torch.testing.assert_close(
            distributions.kl_divergence(d, theirs), torch.zeros(5, 3), rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_learning(algorithm):
    """Rollouts and updates run, and the same seed gives the same policy."""
    outcomes = []
    for _ in range(2):
        settings = {"n_steps": 64, "batch_size": 32} if algorithm is PPO else {"learning_starts": 32}
        model = algorithm("MlpPolicy", gymnasium.make("Pendulum-v1"), seed=0, device="cpu", **settings)
        model.learn(96)
        outcomes.append(torch.cat([p.detach().flatten() for p in model.policy.parameters()]))
    assert outcomes[0].isfinite().all()
    assert torch.equal(*outcomes)
