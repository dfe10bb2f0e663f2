"""Types of pullbacks; pullbacks.pyx says what each function does.

Gradients are written to the arrays that come first; all of a call are of one dtype.
"""

from typing_extensions import disjoint_base

from fastdist._kernels.program import KERNELS as KERNELS
from fastdist._kernels.program import Kernel
from fastdist._kernels.sources import Noise
from fastdist._typing import Real

__pyx_capi__: dict[str, object]

@disjoint_base
class Pull: ...

def new(g: Real, shape: tuple[int, ...]) -> Real: ...
def expanded(g: Real, tail: tuple[int, ...]) -> Real: ...
def sum_to(out: Real, x: Real) -> None: ...
def draw_diag(noise: Noise, by_loc: Real, by_scale: Real, cotangent: Real) -> None: ...
def standardized_diag(
    score: Kernel,
    by_value: Real,
    by_loc: Real,
    by_scale: Real,
    cotangent: Real,
    value: Real,
    loc: Real,
    scale: Real,
) -> None: ...
def scaled_diag(
    score: Kernel,
    by_value: Real,
    by_loc: Real,
    by_scale: Real,
    cotangent: Real,
    value: Real,
    scale: Real,
) -> None: ...
def kl_diag(
    by_loc_p: Real,
    by_scale_p: Real,
    by_loc_q: Real,
    by_scale_q: Real,
    cotangent: Real,
    loc_p: Real,
    scale_p: Real,
    loc_q: Real,
    scale_q: Real,
) -> None: ...
def draw_and_kl_diag(
    noise: Noise,
    by_loc_p: Real,
    by_scale_p: Real,
    by_loc_q: Real,
    by_scale_q: Real,
    of_draw: Real,
    of_kl: Real,
    loc_p: Real,
    scale_p: Real,
    loc_q: Real,
    scale_q: Real,
) -> None: ...
def sum_made(kernel: Kernel, out: Real, event_shape: tuple[int, ...], *arrays: Real) -> None: ...
def log_prob_categorical(by_row: Real, cotangent: Real, value: Real, gain: Real, loss: Real) -> None: ...
def draw_truncated(
    noise: Noise,
    by_low: Real,
    by_high: Real,
    by_t: Real,
    by_all: Real,
    cotangent: Real,
    value: Real,
    loc: Real,
    scale: Real,
    low: Real,
    high: Real,
) -> None: ...
def log_prob_truncated(
    by_value: Real,
    by_all: Real,
    by_t: Real,
    by_t2: Real,
    cotangent: Real,
    value: Real,
    loc: Real,
    scale: Real,
    low: Real,
    high: Real,
) -> None: ...
def cdf_truncated(
    place: Kernel,
    rate: Kernel,
    inverse: bool,
    by_value: Real,
    by_parameters: tuple[Real, ...],
    cotangent: Real,
    value: Real,
    parameters: tuple[Real, ...],
    places: tuple[Real, ...],
) -> None: ...
def draw_tril(noise: Noise, by_factor: Real, cotangent: Real) -> None: ...
def colorize_tril(by_factor: Real, cotangent: Real, eps: Real) -> None: ...
def log_prob_tril(
    given: str,
    by_value: Real,
    by_loc: Real,
    by_factor: Real,
    cotangent: Real,
    value: Real,
    loc: Real,
    panels: Real,
) -> None: ...
def kl_mvn(
    by_loc_p: Real,
    by_loc_q: Real | None,
    by_p: Real,
    by_q: Real | None,
    cotangent: Real,
    loc_p: Real,
    loc_q: Real,
    p: Real,
    q: Real,
    kind_p: int,
    kind_q: int,
) -> None: ...
