"""Shapes as pure tuple algebra: parse, broadcast, check. Knows no arrays.

parse_shape        what a user may write for a shape -> tuple of int
broadcast_shapes   batch shapes of several parameters -> their common one
check_broadcast_to one shape into a given other
check_total        a result that memory could address at all
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterable, Sized
from itertools import islice
from typing import SupportsIndex

Shape = tuple[int, ...]

# As many dims as NumPy's arrays may have.
MAX_NDIM = 64
ShapeLike = SupportsIndex | Iterable[SupportsIndex]


def parse_int(name: str, value: object) -> int:
    """`value` as an int, where it is an integer and no bool."""
    if isinstance(value, bool) or type(value).__name__ == "bool":
        raise TypeError(f"{name} must be an integer, got the bool {value}")
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}") from None


def parse_shape(name: str, shape: ShapeLike) -> Shape:
    """A shape from an int or an iterable of ints, none negative."""
    if type(shape) is tuple and not shape:
        return ()
    if isinstance(shape, str | bytes):
        raise TypeError(f"{name} must be an int or an iterable of ints, got {shape!r}")
    if isinstance(shape, Iterable) and getattr(shape, "ndim", 1) != 0:
        # No more of them than tell that they are too many: an iterable may have no end.
        entries = tuple(parse_int(f"{name}[{i}]", n) for i, n in enumerate(islice(shape, MAX_NDIM + 1)))
    else:
        entries = (parse_int(name, shape),)
    if len(entries) > MAX_NDIM:
        n_dim = len(shape) if isinstance(shape, Sized) else "more"
        raise ValueError(f"{name} must have at most {MAX_NDIM} dims, got {n_dim}")
    for n in entries:
        if n < 0:
            raise ValueError(f"{name} must not be negative, got {entries}")
    return entries


def broadcast_shapes(**shapes: Shape) -> Shape:
    """The common shape of batch shapes that are given by parameter name."""
    iterator = iter(shapes.values())
    result = next(iterator)
    for shape in iterator:
        if shape == result or not shape:
            continue
        if not result:
            result = shape
            continue
        if len(shape) < len(result):
            shape = (1,) * (len(result) - len(shape)) + shape
        elif len(shape) > len(result):
            result = (1,) * (len(shape) - len(result)) + result
        for a, b in zip(result, shape, strict=True):
            if a != b and a != 1 and b != 1:
                named = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
                raise ValueError(f"batch shapes do not broadcast: {named}")
        result = tuple(b if a == 1 else a for a, b in zip(result, shape, strict=True))
    return result


def check_broadcast_to(name: str, shape: Shape, target: Shape) -> None:
    """Raise unless `shape` broadcasts to `target` itself."""
    tail = target[len(target) - len(shape) :] if len(shape) <= len(target) else None
    if tail is None or any(n not in (1, m) for n, m in zip(shape, tail, strict=True)):
        raise ValueError(f"{name} {shape} does not broadcast to {target}")


def check_total(shape: Shape, itemsize: int) -> None:
    """Raise where a result's bytes exceed what a signed size holds."""
    total = math.prod(shape) or math.prod(n for n in shape if n)
    if total * itemsize > sys.maxsize:
        raise ValueError(f"shape {shape} is too big: its total size exceeds {sys.maxsize} bytes")
