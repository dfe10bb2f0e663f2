"""What stands for the covariance of Gaussian vectors: kinds of structure, with their kernels and formulas.

                    colorize       whiten         the matrix it comes from
    Diagonal        scale * eps    x / scale      (scales themselves)
    Lower           L eps          solve L        covariance_matrix, scale_tril
    InverseLower    solve W        W x            precision_matrix, W = L^-1

A factor is stored by columns, and in panels for the kernels (fastdist.h); which kernels those are is said
here alone.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fastdist._kernels.program import DIAGONAL, INVERSE, KERNELS, TRIL, Kernel, apply, sum_events
from fastdist._typing import Real
from fastdist.distributions import _factors
from fastdist.distributions._gaussian import log


class Diagonal:
    """Scales, one for each element of an event."""

    kind = DIAGONAL
    colorize = KERNELS["colorize_diag"]


class Lower:
    """L, lower triangular, with L L' the covariance."""

    kind = TRIL
    colorize = KERNELS["multiply_tril"]
    whiten = KERNELS["solve_tril"]
    log_prob = KERNELS["mvn_log_prob_solve"]
    mahalanobis = KERNELS["mahalanobis_solve"]
    inverse = False
    # From the gradient by L, lower triangular, to M (pullbacks of covariances go by way of that) ...
    to_m: ClassVar[Kernel] = KERNELS["left_multiply_t"]
    # ... and from M to the gradients by the matrices.
    from_m: ClassVar[dict[str, Kernel]] = {
        "covariance_matrix": KERNELS["congruence_t"],
        "scale_tril": KERNELS["left_solve_t"],
    }

    @classmethod
    def half_log_det(cls, diagonal: Real) -> Real:
        """Log of the determinant of L, in float64, as what is added to it may nearly cancel it."""
        log_det = sum_events(log(np.ascontiguousarray(diagonal, np.float64)), diagonal.shape[-1:])
        return np.asarray(-log_det) if cls.inverse else log_det

    @classmethod
    def gradient_by(cls, name: str, by_tril: Real, factor: Real) -> None:
        """From the gradient by L, lower triangular, to that by matrix `name`, in place."""
        if name != "scale_tril":
            transform(cls.to_m, by_tril, factor)
            transform(cls.from_m[name], by_tril, factor)

    @classmethod
    def add_log_det(cls, name: str, by_matrix: Real, factor: Real, weight: Real) -> None:
        """From M without log det L, which counts -weight times, to the gradient; by scale_tril from that."""
        kernel = KERNELS["subtract_log_det"] if name == "scale_tril" else cls.from_m[name]
        transform(kernel, by_matrix, factor, weight)


class InverseLower(Lower):
    """W = L^-1, lower triangular, with W' W the precision."""

    kind = INVERSE
    colorize = KERNELS["solve_tril"]
    whiten = KERNELS["multiply_tril"]
    log_prob = KERNELS["mvn_log_prob_multiply"]
    mahalanobis = KERNELS["mahalanobis_multiply"]
    inverse = True
    to_m = KERNELS["left_solve_t"]
    from_m: ClassVar[dict[str, Kernel]] = {"precision_matrix": KERNELS["congruence"]}


def transform(kernel: Kernel, matrix: Real, factor: Real, less: Real | None = None) -> None:
    """Do what a kernel says (kernels.def) to each matrix in place; factors and `less`, its c, broadcast."""
    if kernel.n_array == 2:
        apply(kernel, matrix.shape[:-2], matrix, factor)
    else:
        c = np.zeros((), matrix.dtype) if less is None else less
        apply(kernel, matrix.shape[:-2], matrix, factor, c)


def to_events(kernel: Kernel, x: Real, loc: Real, panels: Real) -> None:
    """Multiply or solve in place; events without elements have nothing to do."""
    if x.size:
        apply(kernel, x.shape[:-1], x, loc, panels)


def transposed(kernel: Kernel, g: Real, factor: Real) -> Real:
    """A new array: what a kernel makes of cotangents by the transpose of a factor.

    L' and L^-T are triangles, too, of events in reverse order.
    """
    result = np.ascontiguousarray(g[..., ::-1])
    if result is g or np.shares_memory(result, g):
        result = result.copy()
    to_events(kernel, result, np.zeros(g.shape[-1], g.dtype), _factors.transposed_panels(factor))
    return np.ascontiguousarray(result[..., ::-1])
