"""Types of programs; program.pyx says what each function does.

Arrays are float32 or float64, all of a call alike; an int that is returned is the number of the first item
that a check finds, or -1.
"""

from typing import Any

import numpy as np
from typing_extensions import disjoint_base

from fastdist._typing import NDArray, Real

__pyx_capi__: dict[str, object]

TRIL: int
INVERSE: int
DIAGONAL: int
KERNELS: dict[str, Kernel]
CHOLESKY: int
REVERSE_CHOLESKY: int
INVERSE_PANELS: int
PRODUCT: int
PRODUCT_T: int
PRODUCT_INVERSE: int
LARGE_DIM: int
PANEL_BYTES: int

@disjoint_base
class Kernel:
    name: str
    n_array: int

@disjoint_base
class Plan:
    def __init__(self, kernel: Kernel, *arrays: Real, n_summed: int = 0) -> None: ...
    def first(self, kernel: Kernel, *arrays: Real) -> Plan: ...
    def then(self, kernel: Kernel, *arrays: Real) -> Plan: ...

@disjoint_base
class Memory: ...

def apply(kernel: Kernel, shape: tuple[int, ...], *arrays: NDArray[Any], event_ndim: int = 0) -> int: ...
def factorize(
    kernel: Kernel,
    matrix: Real,
    symmetry: bool,
    factor: Real | None = None,
    half_log_det: Real | None = None,
    copy: Real | None = None,
    places: NDArray[np.intp] | None = None,
) -> tuple[Real, int, int]: ...
def by_blocks(op: int, dim: int, result: Real, source: Real, symmetry: bool = False) -> tuple[int, int]: ...
def elementwise(kernel: Kernel, *arrays: Real) -> Real: ...
def sum_events(array: Real, event_shape: tuple[int, ...], each: float = 0.0) -> Real: ...
def first_bad(kernel: Kernel, array: Real) -> int: ...
def panels_size(dim: int, itemsize: int) -> int: ...
