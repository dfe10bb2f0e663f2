"""Triangular factors of covariance and precision matrices, as kernels take them: by columns.

That is, ``factor[..., k, i]`` is row i, column k of the lower triangle: the transpose in
C order, zero where i < k.

cholesky           covariance -> L with L L' = covariance
reverse_cholesky   precision -> W with W' W = precision, that is W = L^-1
pack_tril          scale_tril -> L
inverse            L -> W and back
check_*            values; errors name the parameter, the shape it came in and the batch index
"""

from __future__ import annotations

import numpy as np
from numpy.linalg import LinAlgError

from fastdist._kernels import bridge
from fastdist._params import Real
from fastdist._shapes import Shape

# From this size on LAPACK's blocked factorisation (through numpy.linalg) is the faster one.
LAPACK_DIM = 64


def cholesky(name: str, matrix: Real, shape: Shape) -> Real:
    """Factors L of positive definite matrices; LinAlgError names the first that is not."""
    dim = matrix.shape[-1]
    factor = np.empty_like(matrix)
    found = bridge.cholesky(factor, matrix) if dim < LAPACK_DIM else _lapack_cholesky(factor, matrix)
    if found >= 0:
        raise LinAlgError(
            f"{name} is not positive definite (to the precision of {matrix.dtype}): "
            f"{_place(matrix, shape, found)}"
        )
    return factor


def _lapack_cholesky(factor: Real, matrix: Real) -> int:
    """`bridge.cholesky` for large matrices."""
    dim = matrix.shape[-1]
    flat = matrix.reshape(-1, dim, dim)
    for i, (one, result) in enumerate(zip(flat, factor.reshape(-1, dim, dim), strict=True)):
        variance = np.diagonal(one)
        try:
            result[...] = np.linalg.cholesky(one).T
        except LinAlgError:
            return i
        pivots = np.square(np.diagonal(result))
        # Written so that NaN fails, too.
        if not (np.all(pivots > dim * np.finfo(matrix.dtype).eps * variance) and np.isfinite(one).all()):
            return i
    return -1


def reverse_cholesky(name: str, matrix: Real, shape: Shape) -> Real:
    """Factors W of positive definite matrices; LinAlgError names the first that is not.

    The Cholesky factor C of the matrix with rows and columns in reverse order, reversed back,
    is upper triangular: it is W'.
    """
    flipped = cholesky(name, np.ascontiguousarray(matrix[..., ::-1, ::-1]), shape)
    return np.ascontiguousarray(flipped[..., ::-1, ::-1].swapaxes(-1, -2))


def pack_tril(matrix: Real) -> Real:
    """Factors from lower triangular matrices."""
    factor = np.empty_like(matrix)
    bridge.pack_tril(factor, matrix)
    return factor


def inverse(factor: Real) -> Real:
    """Factors of the inverse triangles, by solving for the rows of the identity."""
    dim = factor.shape[-1]
    result: Real = np.zeros_like(factor)
    np.einsum("...ii->...i", result)[...] = 1
    # Row k of `result` is the unit vector e_k; L^-1 e_k is column k of the inverse: what is wanted.
    bridge.solve_tril(result, np.zeros(dim, factor.dtype), factor[..., None, :, :])
    return result


def check_symmetric(name: str, matrix: Real, shape: Shape) -> None:
    """Raise ValueError at the first matrix that is asymmetric beyond rounding."""
    found = bridge.first_asymmetric(matrix)
    if found >= 0:
        one = matrix.reshape(-1, *matrix.shape[-2:])[found]
        gap = np.abs(one - one.T)
        i, j = sorted(map(int, np.unravel_index(np.nanargmax(gap), gap.shape)))
        raise ValueError(
            f"{name} must be symmetric: {_place(matrix, shape, found)}, "
            f"[{i}, {j}] = {one[i, j]} but [{j}, {i}] = {one[j, i]}"
        )


def check_tril(name: str, matrix: Real, shape: Shape) -> None:
    """Raise ValueError at the first matrix that is not lower triangular, finite, with positive diagonal."""
    found = bridge.first_not_tril(matrix)
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
