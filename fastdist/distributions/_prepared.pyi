"""Types of what distributions keep and of their small calls; _prepared.pyx says what each does."""

from typing import SupportsIndex, final

from numpy.typing import ArrayLike
from typing_extensions import disjoint_base

from fastdist._params import Real, RealDType
from fastdist._shapes import Shape, ShapeLike
from fastdist.random import RNGLike

@final
class Plan: ...

def plan(shape: Shape, loc: Real, scale: Real, *, vectors: bool, inverse: bool = False) -> Plan | None: ...
def take_normal(self: Prepared, loc: ArrayLike, scale: ArrayLike, validate_args: bool | None) -> bool: ...
def take_mvn(
    self: Prepared, loc: ArrayLike, name: str, matrix: ArrayLike, validate_args: bool | None
) -> bool: ...
def keeps(cls: type, base: type, names: tuple[str, ...]) -> bool: ...

@disjoint_base
class Prepared:
    _arrays: dict[str, Real]
    _batch_shape: Shape
    _event_shape: Shape
    _dtype: RealDType
    _validate_args: bool
    def _plan(self) -> Plan | None: ...
    def _view(self, name: str) -> Real: ...
    def sample(
        self,
        sample_shape: ShapeLike = (),
        *,
        rng: RNGLike = None,
        out: Real | None = None,
        workers: SupportsIndex | None = None,
    ) -> Real: ...
    def rsample(
        self,
        sample_shape: ShapeLike = (),
        *,
        rng: RNGLike = None,
        out: Real | None = None,
        workers: SupportsIndex | None = None,
    ) -> Real: ...
    def log_prob(self, value: ArrayLike, *, out: Real | None = None) -> Real: ...
