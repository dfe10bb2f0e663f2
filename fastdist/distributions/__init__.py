"""Distributions with the batch semantics of torch.distributions over NumPy arrays."""

from fastdist.distributions import constraints, divergences, parts, transforms
from fastdist.distributions.bernoulli import Bernoulli
from fastdist.distributions.categorical import Categorical
from fastdist.distributions.distribution import Distribution, stack
from fastdist.distributions.independent import Independent
from fastdist.distributions.log_normal import HalfNormal, LogitNormal, LogNormal
from fastdist.distributions.low_rank_multivariate_normal import LowRankMultivariateNormal
from fastdist.distributions.mixture_same_family import MixtureSameFamily
from fastdist.distributions.multivariate_normal import MultivariateNormal
from fastdist.distributions.normal import Normal
from fastdist.distributions.one_hot_categorical import OneHotCategorical
from fastdist.distributions.rules import kl_divergence, register_kl, register_vjp, vjp
from fastdist.distributions.transformed import TransformedDistribution
from fastdist.distributions.truncated_normal import TruncatedNormal
from fastdist.distributions.wrapper import Wrapper

__all__ = [
    "Bernoulli",
    "Categorical",
    "Distribution",
    "HalfNormal",
    "Independent",
    "LogNormal",
    "LogitNormal",
    "LowRankMultivariateNormal",
    "MixtureSameFamily",
    "MultivariateNormal",
    "Normal",
    "OneHotCategorical",
    "TransformedDistribution",
    "TruncatedNormal",
    "Wrapper",
    "constraints",
    "divergences",
    "kl_divergence",
    "parts",
    "register_kl",
    "register_vjp",
    "stack",
    "transforms",
    "vjp",
]
