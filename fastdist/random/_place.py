"""Place: where a stream stands, as a value."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np
from numpy.random.bit_generator import ISeedSequence

from fastdist._typing import NDArray

# Positions of a stream: FD_POSITIONS times 2**64 carries.
PERIOD = 1 << 122


class Place(NamedTuple):
    """A place of a stream: all that its numbers from there on depend on.

    As `rng` of a draw it stands for the numbers from there on, each time.

    Attributes
    ----------
    key : pair of int
        The stream's, of 64 bits each.
    raw, normal, uniform : int
        Positions of its raw words, normals and uniforms, below 2**122.

    Examples
    --------
    >>> import fastdist as fd
    >>> rng = fd.default_rng(1)
    >>> _ = fd.standard_normal(10, rng=rng)
    >>> place = rng.bit_generator.place
    >>> place.normal
    10
    >>> bool((fd.standard_normal(3, rng=place) == fd.standard_normal(3, rng=rng)).all())
    True
    """

    key: tuple[int, int]
    raw: int = 0
    normal: int = 0
    uniform: int = 0


class KeyAlone(ISeedSequence):
    """A seed of which no more is known than the key."""

    def __init__(self, key: tuple[int, int]) -> None:
        self.key = key

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[Any]:
        """The key, whatever is asked for."""
        return np.array(self.key, np.uint64)


def checked(place: Any) -> Place:
    """A place, of integers in their ranges."""
    if not isinstance(place, Place):
        raise TypeError(f"place must be a Place, got {type(place).__name__}")
    key = tuple(operator.index(word) for word in place.key)
    if len(key) != 2 or not all(0 <= word < 2**64 for word in key):
        raise ValueError(f"place: key must be two integers in [0, 2**64), got {key}")
    positions = [operator.index(n) for n in place[1:]]
    for n in positions:
        if not 0 <= n < PERIOD:
            raise ValueError(f"place: positions must be in [0, 2**122), got {n}")
    return Place(key, *positions)
