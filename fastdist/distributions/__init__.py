"""Distributions with the batch semantics of torch.distributions over NumPy arrays.

The module of each is imported when its name is first asked for: all of them take several times as long
as what every one of them needs.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fastdist.distributions import constraints
from fastdist.distributions.distribution import Distribution, stack

if TYPE_CHECKING:
    from fastdist.distributions import divergences, parts, transforms
    from fastdist.distributions.bernoulli import Bernoulli
    from fastdist.distributions.categorical import Categorical
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

# The modules that wait, and the names that are asked of them.
_WAITING = {
    "bernoulli": ("Bernoulli",),
    "categorical": ("Categorical",),
    "divergences": (),
    "independent": ("Independent",),
    "log_normal": ("HalfNormal", "LogNormal", "LogitNormal"),
    "low_rank_multivariate_normal": ("LowRankMultivariateNormal",),
    "mixture_same_family": ("MixtureSameFamily",),
    "multivariate_normal": ("MultivariateNormal",),
    "normal": ("Normal",),
    "one_hot_categorical": ("OneHotCategorical",),
    "parts": (),
    "rules": ("kl_divergence", "register_kl", "register_vjp", "vjp"),
    "transformed": ("TransformedDistribution",),
    "transforms": (),
    "truncated_normal": ("TruncatedNormal",),
    "wrapper": ("Wrapper",),
}


def __getattr__(name: str) -> Any:
    for module, names in _WAITING.items():
        if name == module or name in names:
            imported = importlib.import_module(f"{__name__}.{module}")
            return imported if name == module else globals().setdefault(name, getattr(imported, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
