"""The memory of fastdist.torch: shared with tensors, changed in place, copied, pickled, empty, set free."""

import copy
import gc
import io
import pickle
import weakref

import numpy as np
import pytest
import torch
from adapter_cases import KINDS, close, leaves, make, tensors_of, with_eps
from torch import distributions as td

import fastdist.torch as fdt
from fastdist.torch import _kernel

pytestmark = pytest.mark.peers


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
