"""What is called otherwise in scipy.stats, numpy.random, torch and TFP: errors say what it is called here."""

from __future__ import annotations

import inspect
from typing import Any, NoReturn

METHODS = {
    "cov": "covariance_matrix",
    "covariance": "covariance_matrix",
    "logcdf": "log_cdf",
    "logpdf": "log_prob",
    "logpmf": "log_prob",
    "logsf": "log_survival_function",
    "log_survival": "log_survival_function",
    "median": "icdf(0.5)",
    "pdf": "prob",
    "pmf": "prob",
    "ppf": "icdf",
    "precision": "precision_matrix",
    "quantile": "icdf",
    "rvs": "sample",
    "sample_n": "sample",
    "sf": "survival_function",
    "sigma": "scale",
    "std": "stddev",
    "var": "variance",
}

# Of constructors.
KEYWORDS = {
    "cov": "covariance_matrix",
    "covariance": "covariance_matrix",
    "mean": "loc",
    "mu": "loc",
    "precision": "precision_matrix",
    "reinterpreted_batch_rank": "reinterpreted_batch_ndims",
    "sd": "scale",
    "sigma": "scale",
    "std": "scale",
}

# Of draws and densities.
ARGUMENTS = {
    "generator": "rng",
    "key": "rng",
    "n": "sample_shape",
    "random_state": "rng",
    "seed": "rng",
    "shape": "sample_shape",
    "size": "sample_shape",
    "x": "value",
}


class Foreign:
    """In the place of an attribute that others have: an error."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, d: object, cls: type) -> NoReturn:
        here = METHODS[self.name]
        hint = f"; it is called {here} here" if hasattr(cls, here.partition("(")[0]) else ""
        raise AttributeError(f"{cls.__name__!r} object has no attribute {self.name!r}{hint}")


class Names:
    """Base of classes that have none of these attributes, and say what they have instead.

    A `__getattr__` would do, but it slows down all attributes, and with them calls of methods by a third.
    """

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in METHODS or hasattr(self, name)]


for _name in METHODS:
    setattr(Names, _name, Foreign(_name))


def unexpected(what: str, name: str) -> TypeError:
    """The error for a keyword that a call does not take."""
    here = KEYWORDS.get(name) or ARGUMENTS.get(name)
    hint = f"; it is called {here} here" if here else ""
    return TypeError(f"{what}() got an unexpected keyword argument {name!r}{hint}")


def check_keywords(cls: type, names: list[str]) -> None:
    """Raise for a keyword of others, if the constructor of `cls` takes what it is here and not the other."""
    taken = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken.values()):
        return
    for name in names:
        if name not in taken and KEYWORDS[name] in taken:
            raise unexpected(cls.__name__, name)


def check_arguments(function: Any, names: tuple[str, ...]) -> None:
    """Raise for a keyword of others, if the method takes what it is here."""
    code = function.__code__
    taken = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    for name in names:
        if name not in taken and ARGUMENTS.get(name) in taken:
            raise unexpected(function.__name__, name)
