"""Types of _memory; _memory.pyx says what it does."""

from torch import Tensor

from fastdist._params import Real

def array_of(tensor: Tensor) -> Real: ...
