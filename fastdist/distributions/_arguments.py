"""What a distribution's constructor was called with, by name: for adapters to classes of any kind."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import Parameter, signature
from typing import Any

from fastdist.distributions.distribution import Distribution, keeps


def arguments(cls: type[Distribution], args: Iterable[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name; `arg_constraints` names those of the inherited constructor and of ``*args``."""
    parameters = _parameters(cls)
    known = [name for name, p in parameters.items() if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
    if any(p.kind is Parameter.VAR_POSITIONAL for p in parameters.values()):
        known += [name for name in cls.arg_constraints if name not in parameters]
    given = tuple(args)
    if len(given) > len(known):
        names = f" ({', '.join(known)})" if known else ""
        raise TypeError(f"{cls.__name__}() takes {len(known)} positional arguments{names}, got {len(given)}")
    named = dict(zip(known, given, strict=False))
    twice = [name for name in named if name in kwargs]
    if twice:
        raise TypeError(f"{cls.__name__}() got multiple values for argument {twice[0]!r}")
    return {**named, **kwargs}


def takes_validate_args(cls: type[Distribution]) -> bool:
    """True if the constructor has this argument; Wrapper's own has, its subclasses' may not."""
    parameters = _parameters(cls)
    return "validate_args" in parameters or any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())


def _parameters(cls: type[Distribution]) -> dict[str, Parameter]:
    """Of the constructor but for `self`; the inherited one is compiled, and has no signature."""
    if keeps(cls, Distribution, ("__init__",)):
        kinds = {"args": Parameter.VAR_POSITIONAL, "kwargs": Parameter.VAR_KEYWORD}
        return {name: Parameter(name, kind) for name, kind in kinds.items()}
    _, *rest = signature(cls.__init__).parameters.items()
    return dict(rest)
