"""Types of the bit generator; _block_sfc64.pyx says what each method does."""

from collections.abc import Mapping
from typing import Any, Self, SupportsIndex

from numpy.random import BitGenerator, SeedSequence
from numpy.typing import ArrayLike
from typing_extensions import disjoint_base

from fastdist._kernels.bridge import Noise

__pyx_capi__: dict[str, object]

@disjoint_base
class BlockSFC64(BitGenerator):
    _noise: Noise
    def __init__(self, seed: ArrayLike | SeedSequence | None = None) -> None: ...
    @property
    def state(self) -> Mapping[str, Any]: ...
    @state.setter
    def state(self, value: Mapping[str, Any]) -> None: ...
    def advance(self, delta: SupportsIndex) -> Self: ...
    def jumped(self, jumps: SupportsIndex = 1) -> BlockSFC64: ...

def unshared_noise() -> Noise: ...
def noise_of_key(first: int, second: int) -> Noise: ...
def forget_threads() -> None: ...
