"""What is called otherwise in scipy.stats, numpy.random, torch and TFP: errors say what it is called here."""

from __future__ import annotations

import inspect

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


def no_attribute(cls: type, name: str) -> AttributeError:
    """The error for an attribute that `cls` has not."""
    here = METHODS.get(name)
    known = here is not None and hasattr(cls, here.partition("(")[0])
    hint = f"; it is called {here} here" if known else ""
    return AttributeError(f"{cls.__name__!r} object has no attribute {name!r}{hint}")


def unexpected(what: str, name: str) -> TypeError:
    """The error for a keyword that a call does not take."""
    here = KEYWORDS.get(name)
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
