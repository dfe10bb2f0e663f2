"""Arrays in annotations, which `typing.get_type_hints` can resolve.

numpy.typing's would take as long to import as all of this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np

Scalar = TypeVar("Scalar", bound=np.generic)
NDArray: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[Scalar]]
Real: TypeAlias = NDArray[np.float32 | np.float64]
RealDType: TypeAlias = np.dtype[np.float32 | np.float64]


@runtime_checkable
class SupportsArray(Protocol):
    """Arrays of NumPy's and others', and their scalars."""

    def __array__(self) -> NDArray[Any]: ...


# What np.asarray takes.
ArrayLike: TypeAlias = SupportsArray | Sequence[Any] | bool | int | float
