"""Batched probability distributions for NumPy arrays.

Names, shapes and meanings are torch.distributions'; arrays, dtypes, exceptions and random
generators are NumPy's.

>>> import numpy as np, fastdist as fd
>>> mvn = fd.MultivariateNormal(np.zeros((3, 2)), covariance_matrix=np.eye(2))
>>> mvn.sample((100,), rng=0).shape
(100, 3, 2)
"""

import importlib
from typing import TYPE_CHECKING, Any

from fastdist import distributions
from fastdist._kernels.isa import isa, isas, set_isa
from fastdist._version import __version__
from fastdist.distributions import Distribution, constraints, stack
from fastdist.random import BlockSFC64, Place, default_rng, get_include, set_workers, standard_normal

if TYPE_CHECKING:
    from fastdist import autograd as autograd
    from fastdist import dask as dask
    from fastdist import plot as plot
    from fastdist import torch as torch
    from fastdist.distributions import (
        Bernoulli,
        Categorical,
        HalfNormal,
        Independent,
        LogitNormal,
        LogNormal,
        LowRankMultivariateNormal,
        MixtureSameFamily,
        MultivariateNormal,
        Normal,
        OneHotCategorical,
        TransformedDistribution,
        TruncatedNormal,
        Wrapper,
        kl_divergence,
        register_kl,
        register_vjp,
        transforms,
        vjp,
    )
    from fastdist.files import load, save

__all__ = [
    "Bernoulli",
    "BlockSFC64",
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
    "Place",
    "TransformedDistribution",
    "TruncatedNormal",
    "Wrapper",
    "__version__",
    "constraints",
    "default_rng",
    "get_include",
    "isa",
    "isas",
    "kl_divergence",
    "load",
    "register_kl",
    "register_vjp",
    "save",
    "set_isa",
    "set_workers",
    "stack",
    "standard_normal",
    "transforms",
    "vjp",
]


def __getattr__(name: str) -> Any:
    if name in ("autograd", "dask", "plot", "torch"):  # they need other packages: imported when asked for
        return importlib.import_module(f"fastdist.{name}")
    if name in ("load", "save"):
        return getattr(importlib.import_module("fastdist.files"), name)
    if name in __all__:
        return globals().setdefault(name, getattr(distributions, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
