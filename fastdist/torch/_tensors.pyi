"""Types of _tensors; _tensors.pyx says what each function does."""

from typing import Any

from torch import Tensor

from fastdist._typing import Real

def transformed() -> bool: ...
def all_plain(tensors: tuple[Any, ...]) -> bool: ...
def as_array(tensor: Tensor) -> Real: ...
