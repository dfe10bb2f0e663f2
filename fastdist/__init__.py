"""Batched probability distributions for NumPy arrays.

Names, shapes and meanings are torch.distributions'; arrays, dtypes, exceptions and random
generators are NumPy's.

>>> import numpy as np, fastdist as fd
>>> mvn = fd.MultivariateNormal(np.zeros((3, 2)), covariance_matrix=np.eye(2))
>>> mvn.sample((100,), rng=0).shape
(100, 3, 2)

Index
-----
Of numbers
    Normal                            by loc and scale
    LogNormal, HalfNormal             exp(x) and |x| of a normal x
    LogitNormal                       1 / (1 + exp(-x))
    TruncatedNormal                   between bounds
Of vectors
    MultivariateNormal                by covariance matrix, precision matrix or Cholesky factor
    LowRankMultivariateNormal         with a covariance of low rank but for its diagonal
Of choices
    Categorical, OneHotCategorical    one of several, as its number or as a vector
    Bernoulli                         0 or 1
Made of others
    Independent                       batch dims become dims of the event
    TransformedDistribution           of an outcome of another one: see transforms
    MixtureSameFamily                 one of those along a batch's last dim, by chance
    stack                             several as one batch
    transforms, constraints           functions, and sets of numbers
    Distribution, Wrapper             bases for one's own
Divergences and gradients
    kl_divergence, register_kl        of a pair
    vjp, register_vjp                 of draws, densities, entropies, cdfs, divergences
Noise
    default_rng, BlockSFC64           a NumPy Generator, and the stream behind it
    Place                             where a stream stands
    standard_normal                   the bare noise
    set_workers                       how many threads share a large draw
Files and machine
    save, load                        distributions in .npz files
    isa, isas, set_isa                the instruction set in use
    get_include                       where C headers are
    __version__                       of the package

Every distribution has `sample`, `log_prob`, `entropy` and more: `help(fastdist.Distribution)`.
`fastdist.torch`, `.autograd`, `.dask` and `.plot` are imported when they are asked for.
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
