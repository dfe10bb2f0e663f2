"""Types of the bit generator; _block_sfc64.pyx says what each method does."""

from typing import Any, Self, SupportsIndex

from numpy.random import BitGenerator

from fastdist._kernels.bridge import Noise

class BlockSFC64(BitGenerator):
    _noise: Noise
    @property
    def state(self) -> dict[str, Any]: ...
    @state.setter
    def state(self, value: dict[str, Any]) -> None: ...
    def advance(self, delta: SupportsIndex) -> Self: ...
    def jumped(self, jumps: SupportsIndex = 1) -> BlockSFC64: ...
