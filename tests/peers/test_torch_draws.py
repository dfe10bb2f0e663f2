"""Draws of fastdist.torch: generators of torch and fastdist, the noise gradients see, threads, moments."""

import threading

import numpy as np
import pytest
import torch
from adapter_cases import KINDS, close, make, tensors_of
from torch import distributions as td

import fastdist as fd
import fastdist.torch as fdt

pytestmark = pytest.mark.peers


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
