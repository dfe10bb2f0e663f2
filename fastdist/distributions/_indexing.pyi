"""Types of indices and of what they leave; _indexing.pyx says what each does."""

from collections.abc import Sequence
from types import EllipsisType
from typing import Any, TypeAlias, final

import numpy as np

from fastdist._shapes import Shape, ShapeLike
from fastdist._typing import NDArray, Real, RealDType

Index: TypeAlias = int | slice | EllipsisType | Sequence[Any] | NDArray[np.integer[Any] | np.bool_] | None

__pyx_capi__: dict[str, object]

@final
class Entries: ...

def parse_index(index: Index | tuple[Index, ...] | Entries, batch_shape: Shape) -> tuple[Entries, Shape]: ...
def part(array: Real, entries: Entries, batch_shape: Shape, core_ndim: int) -> Real: ...
def parse_expanded(shape: ShapeLike, batch_shape: Shape) -> Shape: ...
def stack(arrays: Sequence[Real], axis: int, batch_ndim: int, core_ndim: int, dtype: RealDType) -> Real: ...
