"""fastdist.torch in other distributions: torch's transformed ones and mixtures, Independent, subclasses."""

import numpy as np
import pytest
import torch
from adapter_cases import KINDS, close, make, tensors_of
from torch import distributions as td

import fastdist.torch as fdt

pytestmark = pytest.mark.peers


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
