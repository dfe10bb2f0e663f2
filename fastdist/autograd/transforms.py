"""Transforms of arrays that autograd may be following, and of such transforms.

AffineTransform, PowerTransform          with array parameters
ComposeTransform, IndependentTransform   of others
all else                                 fastdist.transforms' own, which have none
"""

from __future__ import annotations

from inspect import signature
from typing import Any, ClassVar

from fastdist.autograd._calls import Boxed, Held, taken
from fastdist.distributions import transforms

__all__ = ["AffineTransform", "ComposeTransform", "IndependentTransform", "PowerTransform", "Transform"]


class Transform(Held):
    """A transform of fastdist's, and the arrays that it was made of, as autograd knows them."""

    _cls: ClassVar[type[transforms.Transform]]
    _value: transforms.Transform

    def __init__(self, *args: Boxed, **kwargs: Boxed) -> None:
        given, self._arrays = taken(signature(self._cls).bind(*args, **kwargs).arguments)
        self._value = self._cls(**given)

    @property
    def inv(self) -> Transform:
        """The inverse transform."""
        new = Transform.__new__(Transform)
        new._value, new._arrays = self._value.inv, self._arrays
        return new

    def __repr__(self) -> str:
        return f"autograd.{self._value!r}"


class AffineTransform(Transform):
    """`fastdist.transforms.AffineTransform`, differentiable by `loc` and `scale`."""

    _cls = transforms.AffineTransform


class PowerTransform(Transform):
    """`fastdist.transforms.PowerTransform`, differentiable by `exponent`."""

    _cls = transforms.PowerTransform


class ComposeTransform(Transform):
    """`fastdist.transforms.ComposeTransform`."""

    _cls = transforms.ComposeTransform


class IndependentTransform(Transform):
    """`fastdist.transforms.IndependentTransform`."""

    _cls = transforms.IndependentTransform


def __getattr__(name: str) -> Any:
    try:
        return getattr(transforms, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
