"""The same distributions for Pyro: import them from here in place of `pyro.distributions`.

>>> import pyro
>>> from fastdist.torch.pyro import Normal
>>> def model():
...     with pyro.plate("data", 3):
...         return pyro.sample("x", Normal(0.0, 1.0).expand([3, 2]).to_event(1))
>>> model().shape
torch.Size([3, 2])

They are subclasses of Pyro's own, and draws follow `pyro.set_rng_seed`.
"""

try:
    from pyro import distributions as dist
except ImportError as error:
    raise ImportError(f"fastdist.torch.pyro needs Pyro ({error}): pip install pyro-ppl") from error

import fastdist.torch as base

__all__ = ["MultivariateNormal", "Normal"]

# Pyro's come first: they may be subclasses of fastdist's, if these had been put in torch's place before.


class Normal(dist.Normal, base.Normal):  # type: ignore[misc]
    """`fastdist.torch.Normal` with the methods that Pyro adds."""


class MultivariateNormal(dist.MultivariateNormal, base.MultivariateNormal):  # type: ignore[misc]
    """`fastdist.torch.MultivariateNormal` with the methods that Pyro adds."""
