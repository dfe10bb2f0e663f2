"""Distributions with the batch semantics of torch.distributions over NumPy arrays."""

from fastdist.distributions import constraints
from fastdist.distributions.distribution import Distribution, stack
from fastdist.distributions.gradients import register_vjp, vjp
from fastdist.distributions.independent import Independent
from fastdist.distributions.kl import kl_divergence, register_kl
from fastdist.distributions.multivariate_normal import MultivariateNormal
from fastdist.distributions.normal import Normal

__all__ = [
    "Distribution",
    "Independent",
    "MultivariateNormal",
    "Normal",
    "constraints",
    "kl_divergence",
    "register_kl",
    "register_vjp",
    "stack",
    "vjp",
]
