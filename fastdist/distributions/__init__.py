"""Distributions with the batch semantics of torch.distributions over NumPy arrays."""

from fastdist.distributions import constraints, divergences
from fastdist.distributions.distribution import Distribution, stack
from fastdist.distributions.independent import Independent
from fastdist.distributions.multivariate_normal import MultivariateNormal
from fastdist.distributions.normal import Normal
from fastdist.distributions.rules import kl_divergence, register_kl, register_vjp, vjp
from fastdist.distributions.wrapper import Wrapper

__all__ = [
    "Distribution",
    "Independent",
    "MultivariateNormal",
    "Normal",
    "Wrapper",
    "constraints",
    "divergences",
    "kl_divergence",
    "register_kl",
    "register_vjp",
    "stack",
    "vjp",
]
