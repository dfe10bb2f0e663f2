"""torch.distributions with Gaussians on fastdist's kernels: swap one import.

>>> import torch
>>> import fastdist.torch as D  # in place of: import torch.distributions as D
>>> mvn = D.MultivariateNormal(torch.zeros(3, 2), torch.eye(2))
>>> mvn.rsample((100,)).shape
torch.Size([100, 3, 2])

Normal, MultivariateNormal, LowRankMultivariateNormal,   torch's classes, by fastdist: draws, densities,
Categorical, Bernoulli, MixtureSameFamily                entropies, divergences; the cdf family with its
                                                         logarithms and complements, parts of a batch by
                                                         d[i], `generator=` and `rng=`
Independent, TransformedDistribution, LogNormal,         torch's classes, of these: all that is handed on
HalfNormal, OneHotCategorical, -StraightThrough
LogitNormal, TruncatedNormal                             fastdist's, which torch has not, by `wrap`
wrap                                                     a class of torch's for a distribution of fastdist's
all else                                                 torch.distributions' own

`fastdist.torch.pyro` has the same classes for Pyro.
"""

from typing import Any

try:
    import torch.distributions as _torch_distributions
except ImportError as error:
    raise ImportError(f"fastdist.torch needs torch ({error}): pip install 'fastdist-numpy[torch]'") from error
from torch.distributions import kl_divergence, register_kl

import fastdist.distributions as _fd
from fastdist.torch import kl as kl
from fastdist.torch.independent import Independent
from fastdist.torch.low_rank_multivariate_normal import LowRankMultivariateNormal
from fastdist.torch.mixture_same_family import MixtureSameFamily
from fastdist.torch.multivariate_normal import MultivariateNormal
from fastdist.torch.normal import Normal
from fastdist.torch.outcomes import (
    Bernoulli,
    Categorical,
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
)
from fastdist.torch.transformed import HalfNormal, LogNormal, TransformedDistribution
from fastdist.torch.wrap import wrap

LogitNormal, TruncatedNormal = wrap(_fd.LogitNormal), wrap(_fd.TruncatedNormal)

__all__ = [
    "Bernoulli",
    "Categorical",
    "HalfNormal",
    "Independent",
    "LogNormal",
    "LogitNormal",
    "LowRankMultivariateNormal",
    "MixtureSameFamily",
    "MultivariateNormal",
    "Normal",
    "OneHotCategorical",
    "OneHotCategoricalStraightThrough",
    "TransformedDistribution",
    "TruncatedNormal",
    "kl_divergence",
    "register_kl",
    "wrap",
]


def __getattr__(name: str) -> Any:
    try:
        return getattr(_torch_distributions, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
