"""Triangular factors of covariance and precision matrices, as kernels make them: by columns.

That is, ``factor[..., k, i]`` is row i, column k of the lower triangle: the transpose in
C order, zero where i < k.

cholesky           covariance -> L with L L' = covariance, or precision -> W with W' W = precision
pack_tril          scale_tril -> L
panels             a factor -> the same in panels of rows, as kernels multiply and solve by it
transposed_panels  the same for the transpose
inverse            L -> W and back
check_tril         the values of a scale_tril

Errors name the parameter, the shape it came in and the batch index.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from numpy.linalg import LinAlgError

from fastdist._kernels.program import KERNELS, apply, factorize, first_bad, panels_size
from fastdist._params import SMALL_MATRIX, quiet
from fastdist._shapes import Shape
from fastdist._typing import Real

# From this size on LAPACK's blocked factorisation (through numpy.linalg) is the faster one.
LAPACK_DIM = SMALL_MATRIX

CHOLESKY, REVERSE_CHOLESKY = KERNELS["cholesky"], KERNELS["reverse_cholesky"]


def is_small(matrix: Real) -> bool:
    """True for matrices that kernels factorise."""
    return bool(matrix.shape[-1] < LAPACK_DIM)


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

    They are written to `factor`, if there is one; of small ones the logarithms of the determinants to
    `half_log_det`, and the matrices themselves to `copy`.

    L with ``L L' = matrix``, or if `reverse` the factor of the inverse: W with ``W' W = matrix``, that
    is the Cholesky factor of the matrix with rows and columns in reverse order, reversed and
    transposed.
    """
    if is_small(matrix):
        kernel = REVERSE_CHOLESKY if reverse else CHOLESKY
        factor, singular, asymmetric = factorize(kernel, matrix, check_symmetry, factor, half_log_det, copy)
    else:
        factor, singular, asymmetric = _lapack_cholesky(matrix, factor, reverse, check_symmetry)
    if asymmetric >= 0:
        _raise_asymmetric(name, matrix, shape, asymmetric)
    if singular >= 0:
        raise LinAlgError(
            f"{name} is not positive definite (to the precision of {matrix.dtype}): "
            f"{_place(matrix, shape, singular)}"
        )
    return factor


@quiet
def _lapack_cholesky(
    matrix: Real, factor: Real | None, reverse: bool, check_symmetry: bool
) -> tuple[Real, int, int]:
    """`factorize` for large matrices."""
    dim = matrix.shape[-1]
    if factor is None:
        factor = np.empty_like(matrix)
    flat = matrix.reshape(-1, dim, dim)
    eps = np.finfo(matrix.dtype).eps
    if check_symmetry:
        for i, one in enumerate(flat):
            bound = np.sqrt(np.abs(np.diagonal(one)) * np.sqrt(eps))
            if (np.abs(one - one.T) > bound[:, np.newaxis] * bound).any():
                return factor, -1, i
    for i, (one, result) in enumerate(zip(flat, factor.reshape(-1, dim, dim), strict=True)):
        variance = np.diagonal(one)
        try:
            if reverse:
                result[...] = np.linalg.cholesky(one[::-1, ::-1])[::-1, ::-1]
            else:
                result[...] = np.linalg.cholesky(one).T
        except LinAlgError:
            return factor, i, -1
        pivots = np.square(np.diagonal(result))
        # Written so that NaN fails, too.
        if not (np.all(pivots > dim * eps * variance) and np.isfinite(one).all()):
            return factor, i, -1
    return factor, -1, -1


def pack_tril(matrix: Real) -> Real:
    """Factors from lower triangular matrices."""
    factor = np.empty_like(matrix)
    apply(KERNELS["pack_tril"], matrix.shape[:-2], factor, matrix)
    return factor


def panels(factor: Real) -> Real:
    """Factors in panels, shape (..., size); a view where a factor is but one panel."""
    dim = factor.shape[-1]
    shape = (*factor.shape[:-2], panels_size(dim, factor.itemsize))
    if shape[-1] == dim * dim:
        return factor.reshape(shape)
    result: Real = np.empty(shape, factor.dtype)
    apply(KERNELS["pack_panels"], factor.shape[:-2], result, factor)
    return result


def transposed_panels(factor: Real) -> Real:
    """Panels of the transpose with rows and columns reversed, for events in reverse order."""
    return panels(np.ascontiguousarray(factor.swapaxes(-1, -2)[..., ::-1, ::-1]))


def inverse(factor: Real) -> Real:
    """Factors of the inverse triangles, by solving for the rows of the identity."""
    dim = factor.shape[-1]
    result: Real = np.zeros_like(factor)
    np.einsum("...ii->...i", result)[...] = 1
    # Row k of `result` is the unit vector e_k; L^-1 e_k is column k of the inverse: what is wanted.
    loc = np.zeros(dim, factor.dtype)
    apply(KERNELS["solve_tril"], result.shape[:-1], result, loc, panels(factor)[..., None, :])
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
