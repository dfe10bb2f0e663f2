"""torch's own names rebound to fastdist's, the way into a library that one does not own: each in a process."""

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.peers

REBIND = """
import threading, warnings
import torch
import torch.distributions as td
own = td.Normal, td.MultivariateNormal, td.Independent
import fastdist.torch as fdt
for name, module in {
    "Normal": "normal", "MultivariateNormal": "multivariate_normal", "Independent": "independent",
    "kl_divergence": "kl", "register_kl": "kl",
}.items():
    for place in (td, getattr(td, module)):
        setattr(place, name, getattr(fdt, name))
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

def parts(dtype=torch.float64):
    loc = torch.linspace(-1, 1, 6, dtype=dtype).reshape(2, 3)
    return loc, loc.exp(), torch.eye(3, dtype=dtype) + 0.1

def all_of(dtype=torch.float64, number=lambda t: t):
    loc, scale, matrix = map(number, parts(dtype))
    normal = Normal(loc, scale)
    yield from (normal, Independent(normal, 1))
    if dtype in (torch.float32, torch.float64):
        for name in ("covariance_matrix", "precision_matrix", "scale_tril"):
            yield MultivariateNormal(loc, **{name: matrix.tril() if name == "scale_tril" else matrix})
"""

CASES = {
    "half": """
        for d in all_of(torch.float16):
            assert (kl_divergence(d, d) == 0).all()
            assert d.log_prob(d.sample()).dtype is d.entropy().dtype is torch.float16
    """,
    "expanded": """
        for dtype in (torch.float64, torch.float16):
            for d in all_of(dtype):
                e = d.expand((4, *d.batch_shape))
                assert type(e) is type(d) and e.sample().shape[0] == 4
                torch.testing.assert_close(e.log_prob(e.mean)[0], d.log_prob(d.mean))
                assert d[0].batch_shape == d.batch_shape[1:]
    """,
    "second order": """
        loc, scale, matrix = parts()
        before = threading.active_count()
        losses = {
            "log_prob": lambda x: sum(d.log_prob(loc).sum() for d in all_of(number=lambda t: t * x)),
            "entropy": lambda x: sum(d.entropy().sum() for d in all_of(number=lambda t: t * x)),
            "kl": lambda x: sum(
                kl_divergence(p, q).sum()
                for p in all_of(number=lambda t: t * x) for q in all_of() if len(p.event_shape) == len(q.event_shape)
            ),
        }
        if hasattr(Normal, "cdf"):
            losses["cdf"] = lambda x: Normal(loc, scale * x).cdf(loc).sum()
        one = torch.ones((), dtype=torch.float64)
        for f in losses.values():
            h = torch.autograd.functional.hessian(f, one)
            step = 1e-4
            wanted = (f(one + step) - 2 * f(one) + f(one - step)) / step**2
            torch.testing.assert_close(h, wanted, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(torch.func.hessian(f)(one), h)
    """,
    "torch's own beside": """
        loc, scale, matrix = parts()
        a, b = Normal(loc, scale), own[0](loc + 1, scale)
        c = own[0](loc, scale)
        torch.testing.assert_close(kl_divergence(a, b), kl_divergence(c, b))
        p, q = MultivariateNormal(loc, matrix), own[1](loc + 1, matrix)
        torch.testing.assert_close(kl_divergence(p, q), kl_divergence(own[1](loc, matrix), q))
        torch.testing.assert_close(kl_divergence(own[2](c, 1), p), kl_divergence(Independent(a, 1), q.__class__(loc, matrix)))
        assert td.LogNormal(loc, scale).log_prob(loc.exp()).isfinite().all()
        assert td.TransformedDistribution(a, [td.TanhTransform()]).rsample().abs().max() <= 1
    """,
    "mixed": """
        loc, scale, matrix = parts()
        d = Normal(loc.float(), scale)
        assert kl_divergence(d, d).dtype is torch.float64
        assert d.log_prob(loc).dtype is torch.float64 and d.rsample(rng=0).shape == (2, 3)
        torch.func.vmap(lambda x: kl_divergence(Normal(x, 1.0), Normal(x, x)))(scale[0])
    """,
    "pyro": """
        import fastdist.torch.pyro as p
        import pyro.distributions as dist
        loc, scale, matrix = parts()
        assert issubclass(p.Normal, fdt.Normal) and issubclass(p.Normal, dist.Normal)
        d = p.Normal(loc, scale).to_event(1)
        assert d.log_prob(d.rsample()).shape == (2,)
        assert p.MultivariateNormal(loc, matrix).expand((4, 2)).sample().shape == (4, 2, 3)
    """,
}


@pytest.mark.parametrize("case", CASES)
def test_rebound(case):
    code = REBIND + textwrap.dedent(CASES[case]) + "\nassert threading.active_count() < 20"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
