"""fastdist.torch by example: torch's documentation with the import swapped, programs, docstrings, imports."""

import doctest
import subprocess
import sys
import textwrap

import pytest
import torch
from adapter_cases import leaves, make, of_any_square
from cases import MATRICES
from torch import distributions as td

import fastdist.torch as fdt
from fastdist.torch import independent, multivariate_normal, normal

pytestmark = pytest.mark.peers


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


def test_docstrings():
    for module in (fdt, normal, multivariate_normal, independent):
        result = doctest.testmod(module)
        assert result.attempted
        assert not result.failed


def test_nobody_imports_torch():
    code = "import sys, fastdist; assert not {'torch', 'autograd', 'fastdist.torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_torch():
    code = "import sys; sys.modules['torch'] = None; import fastdist.torch"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: fastdist.torch needs torch" in run.stderr
    assert "fastdist-numpy[torch]" in run.stderr
