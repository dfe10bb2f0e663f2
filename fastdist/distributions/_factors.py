"""Triangular factors of covariance and precision matrices.

By columns, as kernels make small ones: ``factor[..., k, i]`` is row i, column k of the lower triangle: the
transpose in C order, zero where i < k. Or in panels of rows, as kernels multiply and solve by them, and
as large ones (`is_large`) are made, by blocks.

cholesky           covariance -> L with L L' = covariance, or precision -> W with W' W = precision
cholesky_panels    the same in panels
semidefinite       covariance -> the same where there is one, otherwise L of its rows in another order
pack_tril          scale_tril -> L
panels             a factor -> the same in panels;  columns  and back
transposed_panels  the same for the transpose
reordered          matrix -> the factor of its rows and columns in another order
block              a factor -> that of some elements in a row
triangular         columns of a matrix X -> L with L L' = X'X
inverse            L -> W and back
product, gram      L -> L L', or W -> W' W, or L -> (L L')^-1
multiplied         two matrices -> their product
summed_outer       rows -> the sum of their outer products
check_tril         the values of a scale_tril

Errors name the parameter, the shape it came in and the batch index.
"""

from __future__ import annotations

import functools
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.linalg import LinAlgError

from fastdist import _params
from fastdist._kernels import program, pullbacks
from fastdist._kernels.program import (
    KERNELS,
    LARGE_DIM,
    PANEL_BYTES,
    apply,
    by_blocks,
    first_bad,
    panels_size,
)
from fastdist._params import quiet
from fastdist._shapes import Shape
from fastdist._typing import NDArray, Real

PIVOTED_CHOLESKY, TRIANGULARIZE = KERNELS["pivoted_cholesky"], KERNELS["triangularize"]
ADD_ROWS = KERNELS["add_rows"]

# What of the largest variance a pivot of a singular matrix has to exceed: scipy's limit for eigenvalues.
NEGLIGIBLE = {
    dtype.char: factor * float(np.finfo(dtype).eps)
    for dtype, factor in ((_params.FLOAT32, 1e3), (_params.FLOAT64, 1e6))
}


def is_large(dim: int) -> bool:
    """True for matrices that are done by blocks, one after the other."""
    return dim >= LARGE_DIM


def cholesky(
    name: str,
    matrix: Real,
    shape: Shape,
    factor: Real | None,
    *,
    reverse: bool,
    check_symmetry: bool,
    half_log_det: Real | None = None,
    copy: Real | None = None,
) -> Real:
    """Factors of positive definite matrices; the first that is none, or not symmetric, is an error.

    They are written to `factor`, if there is one, which may be the matrix; of small ones the logarithms of
    the determinants to `half_log_det`, and the matrices themselves to `copy`.

    L with ``L L' = matrix``, or if `reverse` the factor of the inverse: W with ``W' W = matrix``, that
    is the Cholesky factor of the matrix with rows and columns in reverse order, reversed and
    transposed.
    """
    factor, singular, asymmetric = factorize(
        matrix,
        factor,
        reverse=reverse,
        check_symmetry=check_symmetry,
        half_log_det=half_log_det,
        copy=copy,
    )
    _check(name, matrix, shape, singular, asymmetric, reverse)
    return factor


def factorize(
    matrix: Real,
    factor: Real | None = None,
    *,
    reverse: bool = False,
    check_symmetry: bool = False,
    half_log_det: Real | None = None,
    copy: Real | None = None,
) -> tuple[Real, int, int]:
    """The same with the numbers of the first that has none, and of the first not symmetric, or -1."""
    dim = matrix.shape[-1]
    if not is_large(dim):
        kernel = KERNELS["reverse_cholesky" if reverse else "cholesky"]
        return program.factorize(kernel, matrix, check_symmetry, factor, half_log_det, copy)
    result = _new_panels(matrix)
    found = _by_blocks(result, matrix, reverse, check_symmetry)
    return columns(result, dim, factor), *found


def cholesky_panels(
    name: str, matrix: Real, shape: Shape, result: Real | None, *, reverse: bool, check_symmetry: bool
) -> Real:
    """`cholesky` of large matrices, in panels."""
    if result is None:
        result = _new_panels(matrix)
    _check(name, matrix, shape, *_by_blocks(result, matrix, reverse, check_symmetry), reverse)
    return result


def _by_blocks(result: Real, matrix: Real, reverse: bool, check_symmetry: bool) -> tuple[int, int]:
    op = program.REVERSE_CHOLESKY if reverse else program.CHOLESKY
    return by_blocks(op, matrix.shape[-1], result, matrix, check_symmetry)


def _check(name: str, matrix: Real, shape: Shape, singular: int, asymmetric: int, reverse: bool) -> None:
    if asymmetric >= 0:
        _raise_asymmetric(name, matrix, shape, asymmetric)
    if singular >= 0:
        _raise_singular(name, matrix, shape, singular, reverse)


@quiet
def semidefinite(
    name: str,
    matrix: Real,
    shape: Shape,
    factor: Real | None,
    *,
    check_symmetry: bool,
    half_log_det: Real | None = None,
    copy: Real | None = None,
) -> tuple[Real, tuple[Real, Real] | None]:
    """Factors of positive semidefinite matrices, and of what they are: None if of the matrices themselves.

    Otherwise an order and a rank for each matrix: its factor is that of ``matrix[order][:, order]``, and only
    the first `rank` columns are not 0. Those that are positive definite have the factor that `cholesky`
    makes, the order 0, 1, ... and full rank.
    """
    dim = matrix.shape[-1]
    factor, singular, asymmetric = factorize(
        matrix, factor, check_symmetry=check_symmetry, half_log_det=half_log_det, copy=copy
    )
    if asymmetric >= 0:
        _raise_asymmetric(name, matrix, shape, asymmetric)
    if singular < 0:
        return factor, None
    order: Real = np.empty(matrix.shape[:-1], matrix.dtype)
    order[...] = np.arange(dim)
    rank: Real = np.full(matrix.shape[:-2], dim, matrix.dtype)
    flat, factors = matrix.reshape(-1, dim, dim), factor.reshape(-1, dim, dim)
    for i in range(singular, len(flat)):
        if factorize(flat[i], factors[i])[1] >= 0:
            if not np.isfinite(flat[i]).all():
                _raise_singular(name, matrix, shape, i, False)
            found = _by_pivots(flat[i])
            if not found.is_whole:
                _raise_indefinite(name, matrix, shape, i, found)
            factors[i], order.reshape(-1, dim)[i], rank.reshape(-1)[i] = found[:3]
    return factor, (order, rank)


def submatrix(matrix: Real, order: NDArray[np.intp]) -> Real:
    """Rows and columns of matrices."""
    n = len(order)
    places = (order[:, None] * matrix.shape[-1] + order).reshape(-1)
    taken: Real = np.take(matrix.reshape(*matrix.shape[:-2], -1), places, axis=-1, mode="clip")
    return taken.reshape(*matrix.shape[:-2], n, n)


def block(factor: Real, first: int, last: int) -> Real:
    """Factors of the elements from one to another."""
    if is_large(factor.shape[-1]):
        return np.ascontiguousarray(factor[..., first:last, first:last])
    return submatrix(factor, np.arange(first, last))  # in less than half the time that strides take


def reordered(name: str, matrix: Real, order: NDArray[np.intp], *, reverse: bool) -> Real:
    """`cholesky` of matrices with their rows and columns in another order."""
    dim = len(order)
    if is_large(dim):
        matrix = submatrix(matrix, order)
        return cholesky(name, matrix, matrix.shape, matrix, reverse=reverse, check_symmetry=False)
    to = np.empty(dim, np.intp)
    to[order] = np.arange(dim)[::-1] if reverse else np.arange(dim)
    kernel = KERNELS["reverse_cholesky" if reverse else "cholesky"]
    factor, singular, _ = program.factorize(kernel, matrix, False, places=to[:, None] * dim + to)
    if singular >= 0:
        _raise_singular(name, submatrix(matrix, order), matrix.shape, singular, reverse)
    return factor


@quiet
def triangular(columns: Real) -> Real:
    """L by columns, with L L' = X'X for matrices X, given by columns, too: in float64, then rounded."""
    dim, count = columns.shape[-2:]
    factor: Real = np.empty((*columns.shape[:-2], dim, dim))
    if factor.size:
        used_up = np.array(columns, np.float64, order="C")
        apply(TRIANGULARIZE, columns.shape[:-2], factor, used_up, np.array([count], np.intp))
    return factor.astype(columns.dtype, copy=False)


def multiplied(a: Real, b: Real, to: Real | None = None) -> Real:
    """Products of matrices of one dtype, added to others if there are any, each number by fma in order."""
    shape = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    full = (*shape, a.shape[-2], b.shape[-1])
    result: Real = np.zeros(full, a.dtype) if to is None else np.array(np.broadcast_to(to, full), order="C")
    if result.size:
        rows, count = np.ascontiguousarray(b)[..., None, :, :], np.array([b.shape[-2]], np.intp)
        apply(ADD_ROWS, result.shape[:-1], result, np.ascontiguousarray(a), rows, count)
    return result


class ByPivots(NamedTuple):
    """What `pivoted` makes: factors, which rows they are of, ranks, how large what is left may be, and is."""

    factor: Real
    order: Real
    rank: Real
    tolerance: Real
    rest: Real

    @property
    def is_whole(self) -> bool:
        """True if what is left of a matrix is no more than rounding."""
        return bool(self.rest <= 10 * self.tolerance)


def _by_pivots(matrix: Real) -> ByPivots:
    """Of one matrix, to scipy's tolerance."""
    return pivoted(matrix, NEGLIGIBLE[matrix.dtype.char] * float(np.diagonal(matrix).max()))


def pivoted(matrix: Real, tolerance: float = 0.0) -> ByPivots:
    """Factors of matrices with their rows and columns in another order, in float64 (kernels.def)."""
    matrix = np.ascontiguousarray(matrix, np.float64)
    factor, order, batch_shape = np.empty_like(matrix), np.empty(matrix.shape[:-1]), matrix.shape[:-2]
    order[...] = np.arange(matrix.shape[-1])
    rank, rest, limit = np.zeros(batch_shape), np.zeros(batch_shape), np.asarray(tolerance)
    if matrix.size:
        apply(PIVOTED_CHOLESKY, batch_shape, factor, matrix, order, limit, rank, rest)
    return ByPivots(factor, order, rank, limit, rest)


def summed_outer(rows: Real) -> Real:
    """Sums of the outer products of vectors, shape (..., n, d), with themselves: by fma in order."""
    dim = rows.shape[-1]
    events = np.ascontiguousarray(np.moveaxis(rows, -2, 0))
    result: Real = np.zeros((*events.shape[1:], dim), rows.dtype)
    pullbacks.colorize_tril(result, events, events)
    lower: Real = np.tril(result)
    return lower + np.tril(lower, -1).swapaxes(-1, -2)


def pack_tril(matrix: Real) -> Real:
    """Factors from lower triangular matrices."""
    factor = np.empty_like(matrix)
    apply(KERNELS["pack_tril"], matrix.shape[:-2], factor, matrix)
    return factor


def _new_panels(matrix: Real) -> Real:
    """Memory for the panels of matrices."""
    size = panels_size(matrix.shape[-1], matrix.itemsize)
    result: Real = np.empty((*matrix.shape[:-2], size), matrix.dtype)
    return result


def panels(factor: Real) -> Real:
    """Factors in panels, shape (..., size); a view where a factor is but one panel."""
    result = _new_panels(factor)
    if result.shape[-1] == factor.shape[-1] ** 2:
        return factor.reshape(result.shape)
    apply(KERNELS["pack_panels"], factor.shape[:-2], result, factor)
    return result


def columns(panels: Real, dim: int, result: Real | None = None) -> Real:
    """Factors by columns, of panels."""
    if result is None:
        result = np.empty((*panels.shape[:-1], dim, dim), panels.dtype)
    apply(KERNELS["unpack_panels"], panels.shape[:-1], result, panels)
    return result


def diagonal(panels: Real, dim: int) -> Real:
    """The diagonal of factors in panels."""
    return np.asarray(panels.take(_places_of_diagonal(dim, PANEL_BYTES // panels.itemsize), -1))


@functools.lru_cache(maxsize=16)
def _places_of_diagonal(dim: int, rows: int) -> NDArray[np.intp]:
    """Where it is, in panels of so many rows (fastdist.h)."""
    i = np.arange(dim)
    first = i // rows * rows
    return first * (first + rows) // 2 + i * np.minimum(dim - first, rows) + i - first


def transposed_panels(factor: Real) -> Real:
    """Panels of the transpose with rows and columns reversed, for events in reverse order."""
    return panels(np.ascontiguousarray(factor.swapaxes(-1, -2)[..., ::-1, ::-1]))


def inverse(factor: Real) -> Real:
    """Factors of the inverse triangles."""
    dim = factor.shape[-1]
    if is_large(dim):
        return columns(inverse_panels(panels(factor), dim), dim)
    # By solving for the rows of the identity: row k of `result` is the unit vector e_k; L^-1 e_k is column k.
    result: Real = np.zeros_like(factor)
    np.einsum("...ii->...i", result)[...] = 1
    loc = np.zeros(dim, factor.dtype)
    apply(KERNELS["solve_tril"], result.shape[:-1], result, loc, panels(factor)[..., None, :])
    return result


def inverse_panels(panels: Real, dim: int) -> Real:
    """The same of large factors in panels."""
    result = np.empty_like(panels)
    by_blocks(program.INVERSE_PANELS, dim, result, panels)
    return result


def product(op: int, panels: Real, dim: int) -> Real:
    """Symmetric matrices from large factors in panels: a PRODUCT of `program`."""
    result: Real = np.empty((*panels.shape[:-1], dim, dim), panels.dtype)
    by_blocks(op, dim, result, panels)
    return result


def gram(rows: Real) -> Real:
    """X'X of small matrices by rows: of a factor L by columns L L'."""
    result: Real = np.empty_like(rows)
    apply(KERNELS["gram"], rows.shape[:-2], result, rows)
    return result


@quiet
def _raise_asymmetric(name: str, matrix: Real, shape: Shape, found: int) -> NoReturn:
    one = matrix.reshape(-1, *matrix.shape[-2:])[found]
    gap = np.abs(one - one.T)
    i, j = sorted(map(int, np.unravel_index(np.nanargmax(gap), gap.shape)))
    raise ValueError(
        f"{name} must be symmetric: {_place(matrix, shape, found)}, "
        f"[{i}, {j}] = {one[i, j]} but [{j}, {i}] = {one[j, i]}"
    )


@quiet
def _raise_singular(name: str, matrix: Real, shape: Shape, found: int, reverse: bool) -> NoReturn:
    given = matrix.reshape(-1, *matrix.shape[-2:])[found]
    one = given.astype(np.float64)
    number, pivot, variance = _failing_pivot(one[::-1, ::-1] if reverse else one)
    bound = len(one) * float(np.finfo(matrix.dtype).eps) * max(variance, 0.0)
    if name != "covariance_matrix":
        hint = "; allow_singular=True is for a covariance_matrix alone"
    elif np.isnan(pivot):
        hint = ""
    elif _by_pivots(given).is_whole:
        hint = "; allow_singular=True admits singular matrices"
    else:
        hint = "; it has a negative eigenvalue, as no covariance has"
    raise LinAlgError(
        f"{name} is not positive definite (to the precision of {matrix.dtype}): "
        f"{_place(matrix, shape, found)}, pivot {len(one) - 1 - number if reverse else number} of its "
        f"Cholesky factorisation is {pivot:.3g}, which should be above {bound:.3g}{hint}"
    )


def _failing_pivot(matrix: Real) -> tuple[int, float, float]:
    """Of a matrix without a factor the pivot that is smallest beside what it was: which, and both.

    Of leading parts that have one the largest is found by halving: all takes as long as a few factors.
    """
    variance = np.diagonal(matrix)
    if not np.isfinite(matrix).all():
        number = int(np.argmin(np.isfinite(matrix).all(-1)))
        return number, float("nan"), float(variance[number])
    factor: Real = np.zeros((0, 0))
    good, bad = 0, len(matrix) + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            factor, good = np.linalg.cholesky(matrix[:middle, :middle]), middle
        except LinAlgError:
            bad = middle
    pivots = np.square(np.diagonal(factor))
    if good < len(matrix):
        row = np.linalg.solve(factor, matrix[:good, good])
        pivots = np.append(pivots, variance[good] - row @ row)
    number = int(np.argmin(pivots / np.abs(variance[: len(pivots)])))
    if good < len(matrix) and not variance[good] > 0:
        number = good
    return number, float(pivots[number]), float(variance[number])


@quiet
def _raise_indefinite(name: str, matrix: Real, shape: Shape, number: int, found: ByPivots) -> NoReturn:
    raise LinAlgError(
        f"{name} is not positive semidefinite (to the precision of {matrix.dtype}): "
        f"{_place(matrix, shape, number)}, after its {int(found.rank)} largest pivots it has an element of "
        f"size {float(found.rest):.3g}, above {10 * float(found.tolerance):.3g}"
    )


def check_tril(name: str, matrix: Real, shape: Shape) -> None:
    """Raise ValueError at the first matrix that is not lower triangular, finite, with positive diagonal."""
    found = first_bad(KERNELS["check_tril"], matrix)
    if found >= 0:
        one = matrix.reshape(-1, *matrix.shape[-2:])[found]
        diagonal = np.eye(len(one), dtype=bool)
        reasons = {
            "must be finite": ~np.isfinite(one),
            "must be lower triangular": np.triu(one, 1) != 0,
            "must have a positive diagonal": diagonal & ~(one > 0),
        }
        for must, bad in reasons.items():
            if bad.any():
                i, j = map(int, np.unravel_index(bad.argmax(), bad.shape))
                raise ValueError(f"{name} {must}: {_place(matrix, shape, found)}, [{i}, {j}] = {one[i, j]}")


def _place(matrix: Real, shape: Shape, number: int) -> str:
    batch_shape = matrix.shape[:-2]
    index = tuple(map(int, np.unravel_index(number, batch_shape))) if batch_shape else ()
    return f"shape {shape}, batch index {index}"
