"""Gaussian vectors from Gaussian vectors: marginal, condition, affine, rank_update; gradients at the foot.

A factor of the reordered covariance (or inverse factor of the reordered precision), what is known first, has
all of it in its blocks:

    [[L_kk, 0], [L_rk, L_rr]]    marginal of k: L_kk
                                 conditional of r: L_rr, about loc_r + L_rk L_kk^-1 (x - loc_k)
    [[W_kk, 0], [W_rk, W_rr]]    marginal of k: W_kk
                                 conditional of r: W_rr, about loc_r - W_rr^-1 W_rk (x - loc_k)

so that no Schur complement is formed, and nothing is inverted. Where the matrix that was given is at hand,
the reordered one is factorised; a factor alone is made triangular again by reflections.

Gradients go by way of the covariance, or the precision that was given: `by_matrix` and `from_matrix`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.linalg import LinAlgError

from fastdist import _params, _shapes
from fastdist._kernels.program import KERNELS, apply
from fastdist._params import quiet
from fastdist._shapes import Shape
from fastdist._typing import ArrayLike, NDArray, Real, RealDType
from fastdist.distributions import _factors
from fastdist.distributions._factors import multiplied, submatrix, triangular
from fastdist.distributions._indexing import Index
from fastdist.distributions._own_noise import Gaussian
from fastdist.distributions.covariance import Lower
from fastdist.distributions.pivoted import Pivoted, refuse, taken
from fastdist.distributions.rules import Gradients, Pull, own_vjp, summed

RANK_UPDATE, MULTIPLY = KERNELS["rank_update"], KERNELS["multiply_tril"]
RANK_UPDATES = KERNELS["rank_updates"], KERNELS["reverse_rank_updates"]
CONDITIONS = KERNELS["condition"], KERNELS["reverse_condition"]
# Vectors of matrices with fewer rows fit into the second cache.
MANY_LANES = 64


class Algebra(Gaussian):
    """This part of MultivariateNormal, whose `_factor` is of a `_structure` and made of what was `_given`."""

    _given: str
    _derived = False  # of a factor: the matrix follows from that
    _allow_singular = False

    def marginal(self, indices: Index) -> Self:
        """Distribution of some elements of the event.

        Parameters
        ----------
        indices : int, slice, or array_like of ints or bools
            Which elements, by NumPy's rules for one dim, in the order that they are to have. An int
            leaves an event of one element.

        Returns
        -------
        MultivariateNormal
            By the matrix that this one was given by; a covariance matrix is part of it.

        Raises
        ------
        IndexError
            For an index that is out of range, or none.
        ValueError
            For an element that is there twice.

        Examples
        --------
        >>> import numpy as np, fastdist as fd
        >>> mvn = fd.MultivariateNormal([1.0, 2.0, 3.0], covariance_matrix=np.diag([1.0, 4.0, 9.0]))
        >>> part = mvn.marginal([2, 0])
        >>> part.loc, part.variance
        (array([3., 1.]), array([9., 1.]))
        """
        known = parse_indices("indices", indices, self._event_shape[0])
        loc = self._arrays["loc"][..., known]
        matrix, inverse = self._matrix(), self._structure.inverse
        if matrix is not None and "_rank" in self._arrays:
            return self._semidefinite(loc, submatrix(matrix, known))
        if matrix is not None and not inverse:
            matrix = submatrix(matrix, known)
            factor = _factors.cholesky(
                self._given, matrix, matrix.shape, None, reverse=False, check_symmetry=False
            )
            return self._made(loc, factor, matrix)
        if not inverse and not is_leading(known):
            return self._made(loc, triangular(transposed(self._factor())[..., known, :]))
        factor = self._reordered(with_rest(known, self._event_shape[0]))
        return self._made(loc, _factors.block(factor, 0, len(known)))

    @quiet
    def condition(self, indices: Index, value: ArrayLike) -> Self:
        r"""Distribution of the other elements of the event, given some of them.

        .. math::
            \mu_r + \Sigma_{rk} \Sigma_{kk}^{-1} (x - \mu_k), \quad
            \Sigma_{rr} - \Sigma_{rk} \Sigma_{kk}^{-1} \Sigma_{kr}

        Parameters
        ----------
        indices : int, slice, or array_like of ints or bools
            Which elements are known, by NumPy's rules for one dim.
        value : array_like
            What they are, shape (..., number of indices), in the order of `indices`. Dims before the last
            broadcast with `batch_shape`; a matrix is factorised once, however many values there are.

        Returns
        -------
        MultivariateNormal
            Of the other elements, in their order; its batch shape is `value`'s broadcast with this one. By
            the matrix that this one was given by.

        Raises
        ------
        IndexError
            For an index that is out of range, or none.
        ValueError
            For an element that is there twice; for a `value` that does not fit or is not finite, or is
            impossible where the covariance of what is known is singular.

        Notes
        -----
        By blocks of a triangular factor with the known elements first. Of a singular covariance it is the
        pseudoinverse that counts. The formula: Rasmussen and Williams,
        Gaussian Processes for Machine Learning, 2006, appendix A.2.

        Examples
        --------
        >>> import numpy as np, fastdist as fd
        >>> mvn = fd.MultivariateNormal(np.zeros(2), covariance_matrix=[[2.0, 1.0], [1.0, 2.0]])
        >>> mvn.condition(0, [[1.0], [3.0]]).loc
        array([[0.5],
               [1.5]])
        """
        dim = self._event_shape[0]
        known = parse_indices("indices", indices, dim)
        order, k = with_rest(known, dim), len(known)
        x, batch_shape, dtype = _params.values(value, self._dtype, (k,))
        if self._validate_args:
            _params.check_finite("value", x)
        batch_shape = _shapes.broadcast_shapes(value=batch_shape, distribution=self._batch_shape)
        if "_rank" in self._arrays:
            return self._condition_singular(order, k, x, batch_shape)
        factor = self._reordered(order).astype(dtype, copy=False)
        (loc,) = self._in(dtype, "loc")
        mean: Real = np.empty((*batch_shape, dim - k), dtype)
        if mean.size:
            counted = np.concatenate([[k], order])
            apply(CONDITIONS[self._structure.inverse], batch_shape, mean, x, loc, factor, counted)
        return self._made(mean, _factors.block(factor, k, dim))

    def _condition_singular(self, order: NDArray[np.intp], k: int, x: Real, batch_shape: Shape) -> Self:
        """The same of semidefinite covariances, in float64: what is known and the rest by pivots."""
        matrix = submatrix(self._in(_params.FLOAT64, "covariance_matrix")[0], order)
        loc = self._in(_params.FLOAT64, "loc")[0][..., order]
        variances = np.diagonal(matrix, axis1=-2, axis2=-1)
        tolerance = _factors.NEGLIGIBLE[self._dtype.char] * variances.max(-1)
        part = _factors.pivoted(matrix[..., :k, :k], tolerance)
        known = Pivoted.made(loc[..., :k], part, batch_shape, self._dtype)
        z, away = known.solved(taken(np.broadcast_to(x - loc[..., :k], (*batch_shape, k)), known.order))
        off = known.is_off(away, np.maximum(np.abs(x).max(-1, initial=0), np.abs(loc).max(-1)))
        if off.any():
            index = tuple(map(int, np.unravel_index(int(off.argmax()), batch_shape)))
            raise ValueError(
                f"value {x.shape} is impossible, batch index {index}: these elements have a singular "
                "covariance, and it is not on their support"
            )
        # Column i of the covariance with what is known, whitened: row i of what the rest has of z.
        rest, _ = known.solved(taken(np.moveaxis(matrix[..., k:, :k], -2, 0), known.order))
        columns = np.moveaxis(rest, 0, -1)
        joint = np.zeros_like(matrix)
        joint[..., :k, :k], joint[..., :k, k:] = part.factor, columns
        events: Real = np.zeros((*batch_shape, len(order)))
        events[..., :k] = z
        apply(MULTIPLY, events.shape[:-1], events, np.ascontiguousarray(loc), _factors.panels(joint))
        # Of the covariance of what is left no more is kept than is above the tolerance.
        left = _factors.pivoted(matrix[..., k:, k:] - _factors.summed_outer(columns), tolerance)
        places = np.argsort(left.order, axis=-1)
        covariance = _factors.summed_outer(np.take_along_axis(left.factor, places[..., None, :], -1))
        return self._semidefinite(events[..., k:].astype(self._dtype), covariance.astype(self._dtype))

    @quiet
    def affine(self, A: ArrayLike, b: ArrayLike | None = None) -> Self:
        r"""Distribution of :math:`A x + b`.

        Parameters
        ----------
        A : array_like
            Shape (..., m, d); of full rank, m at most d, unless this one has `allow_singular`.
        b : array_like, optional
            Shape (..., m). Default 0. Dims of both before these broadcast with `batch_shape`.

        Returns
        -------
        MultivariateNormal
            Of :math:`A \mu + b` and :math:`A \Sigma A^T`, by its `scale_tril` if this one was given by that,
            else by its covariance matrix.

        Raises
        ------
        ValueError
            For shapes that do not fit, or elements that are not finite.
        numpy.linalg.LinAlgError
            If :math:`A \Sigma A^T` is singular to the precision of the dtype.

        Examples
        --------
        >>> import numpy as np, fastdist as fd
        >>> mvn = fd.MultivariateNormal([1.0, 2.0], covariance_matrix=np.eye(2))
        >>> total = mvn.affine([[1.0, 1.0]])
        >>> total.loc, total.covariance_matrix
        (array([3.]), array([[2.]]))
        """
        a, shift, dtype = self._read_affine(A, b)
        (loc,) = self._in(dtype, "loc")
        columns = self._triangle(inverse=False).astype(np.float64, copy=False)
        mean = multiplied(loc[..., None, :], transposed(a))[..., 0, :] + shift
        rows = multiplied(a.astype(np.float64, copy=False), transposed(columns))
        m, dim = a.shape[-2:]
        hint = "; allow_singular=True in this distribution would admit that"
        if m > dim:
            if self._allow_singular:
                return self._semidefinite(mean, covariance_of(rows).astype(dtype, copy=False))
            raise LinAlgError(
                f"A {a.shape} has more rows than the event has elements, {dim}: A Sigma A' is singular{hint}"
            )
        factor = triangular(rows)
        pivots = np.abs(np.diagonal(factor, axis1=-2, axis2=-1))
        sizes = np.sqrt(np.square(rows).sum(-1))
        bad = ~(pivots > dim * np.finfo(dtype).eps * sizes)
        if bad.any():
            if self._allow_singular:
                return self._semidefinite(mean, covariance_of(rows).astype(dtype, copy=False))
            index = tuple(map(int, np.unravel_index(int(bad.argmax()), bad.shape)))
            raise LinAlgError(
                f"A {a.shape} does not have full rank to the precision of {dtype}: A Sigma A' is singular, "
                f"batch index {index[:-1]}, pivot {index[-1]} is {pivots[index]:.3g}{hint}"
            )
        given = "scale_tril" if self._given == "scale_tril" else "covariance_matrix"
        return self._made(mean, factor.astype(dtype, copy=False), given=given)

    def rank_update(
        self, u: ArrayLike, *, weight: ArrayLike = 1.0, index: Index | tuple[Any, ...] | None = None
    ) -> Self:
        r"""The same with :math:`w u u^T` added to the precision, if that was given, or to the covariance.

        That takes d^2 operations a matrix, a new factor d^3 / 3. With a precision matrix it is how a linear
        model learns: `u` is what has been observed, over its standard deviation. `loc` stays; that of the
        model would move by :math:`\Sigma u (y - u^T \mu)`, with the new covariance and a response y, over
        its standard deviation, too.

        Parameters
        ----------
        u : array_like
            Shape (..., d).
        weight : array_like, optional
            w, which may be negative. Broadcasts with ``u``'s shape but for the last dim. Default 1.
        index : int, slice, array_like, or a tuple of these, optional
            Which items of the batch are updated, as in ``d[index]``; `u` broadcasts with ``d[index]``. By
            default all, and `u` broadcasts with the batch.

        Returns
        -------
        MultivariateNormal
            With one copy of the factors; `loc` is the same.

        Raises
        ------
        numpy.linalg.LinAlgError
            If a result is not positive definite to the precision of the dtype.
        ValueError
            For an item that `index` names twice, shapes that do not fit, or numbers that are not finite.
        IndexError
            For an index out of range.

        Notes
        -----
        By plane rotations, for a negative weight hyperbolic ones (Golub and Van Loan, Matrix Computations,
        4th ed., section 6.5).

        Examples
        --------
        >>> import numpy as np, fastdist as fd
        >>> arms = fd.MultivariateNormal(np.zeros((1000, 2)), precision_matrix=np.eye(2))
        >>> arms.rank_update([1.0, 2.0], index=7).precision_matrix[7]
        array([[2., 2.],
               [2., 5.]])
        """
        vectors, w = self._read_update(u, weight)
        if "_rank" in self._arrays:
            return self._update_singular(vectors, w, index)
        factor = self._factor()
        lead = np.broadcast_shapes(vectors.shape[:-1], w.shape)
        numbers = None
        if index is None:
            shape = _shapes.broadcast_shapes(u=lead, distribution=self._batch_shape)
            batch_shape = np.broadcast_shapes(factor.shape[:-2], lead)
            items = made = np.empty(batch_shape + factor.shape[-2:], factor.dtype)
        else:
            numbers = self._numbers(index)
            flat = numbers.reshape(-1)
            check_distinct(flat, lambda i: f"index names batch item {self._item(i)}")
            _shapes.check_broadcast_to("u", lead, numbers.shape)
            shape = self._batch_shape
            made = np.empty(shape + factor.shape[-2:], factor.dtype)
            made[...] = factor
            flat_made = made.reshape(-1, *factor.shape[-2:])
            one = int(flat[0]) if flat.size == 1 else 0
            items = flat_made[one : one + 1] if flat.size == 1 else flat_made[flat]
            items = factor = items.reshape(*numbers.shape, *factor.shape[-2:])
        found = update(items, factor, vectors, w, reverse=self._structure.inverse)
        if found >= 0:
            if self._allow_singular and self._given == "covariance_matrix":
                return self._update_singular(vectors, w, index)
            where = (
                np.unravel_index(found, items.shape[:-2])
                if numbers is None
                else self._item(int(numbers.flat[found]))
            )
            raise LinAlgError(
                f"{self._given} with weight u u' added is not positive definite (to the precision of "
                f"{self._dtype}): u {np.shape(u)}, batch index {tuple(map(int, where))}"
            )
        if numbers is not None and items.size and not np.may_share_memory(items, made):
            flat_made[flat] = items.reshape(-1, *factor.shape[-2:])
        return self._made(self._arrays["loc"], made, batch_shape=shape)

    @quiet
    def _update_singular(self, vectors: Real, w: Real, index: Any) -> Self:
        """The same of covariances that may be singular, with new factors."""
        matrix = self._converted("covariance_matrix") if self._derived else self._arrays["covariance_matrix"]
        added = w[..., None, None] * (vectors[..., :, None] * vectors[..., None, :])
        if index is None:
            _shapes.broadcast_shapes(u=added.shape[:-2], distribution=self._batch_shape)
            return self._semidefinite(self._arrays["loc"], matrix + added)
        numbers = self._numbers(index)
        check_distinct(numbers.reshape(-1), lambda i: f"index names batch item {self._item(i)}")
        _shapes.check_broadcast_to("u", added.shape[:-2], numbers.shape)
        result = np.array(np.broadcast_to(matrix, self._batch_shape + matrix.shape[-2:]), order="C")
        result.reshape(-1, *matrix.shape[-2:])[numbers] += added
        return self._semidefinite(self._arrays["loc"], result)

    # ---- what these share ------------------------------------------------------------------

    def _read_affine(self, A: ArrayLike, b: ArrayLike | None) -> tuple[Real, Real, RealDType]:
        given = {"A": A, "b": np.zeros((), self._dtype) if b is None else b}
        arrays = {name: _params.as_array(name, value) for name, value in given.items()}
        dim = self._event_shape[0]
        if arrays["A"].ndim < 2 or arrays["A"].shape[-1] != dim:
            raise ValueError(f"A must have shape (..., m, {dim}), got {arrays['A'].shape}")
        m = arrays["A"].shape[-2]
        if b is not None and arrays["b"].shape[-1:] != (m,):
            raise ValueError(
                f"b must have shape (..., {m}), as A has {arrays['A'].shape}, got {arrays['b'].shape}"
            )
        lead = {"A": arrays["A"].shape[:-2], "b": arrays["b"].shape[:-1], "distribution": self._batch_shape}
        _shapes.broadcast_shapes(**lead)
        dtype = self._dtype
        for name, array in arrays.items():
            if (
                array.dtype != np.float32
                and array.dtype != np.float16
                and not isinstance(given[name], float | int)
            ):
                dtype = _params.FLOAT64
        a, shift = (
            _params.pack(arrays[name], dtype, own)
            for name, own in (("A", 2), ("b", 1 if b is not None else 0))
        )
        if self._validate_args:
            _params.check_finite("A", a)
            _params.check_finite("b", shift)
        return a, shift, dtype

    def _read_update(self, u: ArrayLike, weight: ArrayLike) -> tuple[Real, Real]:
        vectors, w = (
            _params.pack(_params.as_array(name, value), self._dtype, own)
            for name, value, own in (("u", u, 1), ("weight", weight, 0))
        )
        if vectors.shape[-1:] != self._event_shape:
            raise ValueError(f"u must end in the event shape {self._event_shape}, got {np.shape(u)}")
        _shapes.broadcast_shapes(u=vectors.shape[:-1], weight=w.shape)
        if self._validate_args:
            _params.check_finite("u", vectors)
            _params.check_finite("weight", w)
        return vectors, w

    def _reordered(self, order: NDArray[np.intp]) -> Real:
        """The factor of the matrix with its rows and columns in another order."""
        factor = self._factor()
        if is_leading(order):
            return factor
        matrix, inverse = self._matrix(), self._structure.inverse
        if matrix is not None:
            return _factors.reordered(self._given, matrix, order, reverse=inverse)
        if not inverse:
            return triangular(transposed(factor)[..., order, :])
        # W'W with columns of W in another order, and all of it backwards.
        backwards = triangular(factor[..., order[::-1], :])
        return np.ascontiguousarray(transposed(backwards[..., ::-1, ::-1]))

    def _numbers(self, index: Any) -> NDArray[np.intp]:
        """Numbers of the items of the batch that an index names."""
        numbers = np.arange(math.prod(self._batch_shape)).reshape(self._batch_shape)
        try:
            return np.asarray(numbers[index])
        except IndexError as error:
            raise IndexError(f"index, of batch_shape {self._batch_shape}: {error}") from None

    def _item(self, number: int) -> tuple[int, ...]:
        return tuple(map(int, np.unravel_index(number, self._batch_shape)))

    def _matrix(self) -> Real | None:
        """The covariance or precision matrix that it was given by, unless it was made of a factor."""
        return None if self._derived or self._given == "scale_tril" else self._arrays.get(self._given)

    # ---- what MultivariateNormal has --------------------------------------------------------

    @property
    def _structure(self) -> type[Lower]:
        raise NotImplementedError

    def _made(
        self, loc: Real, factor: Real, matrix: Real | None = None, *, given: str = "", batch_shape: Shape = ()
    ) -> Self:
        raise NotImplementedError

    def _factor(self, dtype: RealDType | None = None) -> Real:
        raise NotImplementedError

    def _semidefinite(self, loc: Real, matrix: Real) -> Self:
        raise NotImplementedError

    def _converted(self, name: str) -> Real:
        raise NotImplementedError

    def _triangle(self, *, inverse: bool) -> Real:
        raise NotImplementedError


# ---- indices and matrices ------------------------------------------------------------------------


def parse_indices(name: str, indices: Any, dim: int) -> NDArray[np.intp]:
    """Numbers of the elements of an event that a user names, each once."""
    every = np.arange(dim)
    if isinstance(indices, list | tuple) and len(indices) == 0:
        indices = slice(0)
    try:
        found = every[indices if isinstance(indices, slice) else np.asarray(indices)]
    except (IndexError, ValueError, TypeError) as error:
        raise IndexError(f"{name}, of an event of {dim} elements: {error}") from None
    if found.ndim > 1:
        raise IndexError(f"{name} must have one dim, got {found.ndim}")
    found = np.atleast_1d(found)
    check_distinct(found, lambda i: f"{name} names element {i}")
    return found


def check_distinct(numbers: NDArray[np.intp], said: Callable[[int], str]) -> None:
    """Raise ValueError for the first number that is there twice."""
    if len(set(numbers.tolist())) < numbers.size:
        values, counts = np.unique(numbers, return_counts=True)
        raise ValueError(f"{said(int(values[counts > 1][0]))} more than once")


def with_rest(known: NDArray[np.intp], dim: int) -> NDArray[np.intp]:
    """All elements, those that are known first, the others in their order."""
    other = np.ones(dim, bool)
    other[known] = False
    return np.concatenate([known, np.flatnonzero(other)])


def is_leading(order: NDArray[np.intp]) -> bool:
    """True for 0, 1, 2, ..."""
    return bool((order == np.arange(len(order))).all())


def covariance_of(rows: Real) -> Real:
    """Products of the rows of a matrix with each other."""
    return _factors.summed_outer(transposed(rows))


def update(out: Real, factor: Real, u: Real, weight: Real, *, reverse: bool) -> int:
    """Write factors of L L' + weight u u', or of W'W + ... if `reverse`; the first without one, or -1."""
    shape, dim = out.shape[:-2], out.shape[-1]
    vectors: Real = np.empty((*shape, dim), out.dtype)
    if dim < MANY_LANES:
        vectors[...] = u
        return apply(RANK_UPDATES[reverse], shape, out, factor, vectors, weight)
    if not reverse:
        out[...], vectors[...] = factor, u
        return apply(RANK_UPDATE, shape, out, vectors, weight)
    # Backwards and transposed W is lower triangular, too; its product with its transpose is W'W backwards.
    vectors[...] = u[..., ::-1]
    backwards = np.empty(out.shape, out.dtype)
    backwards[...] = factor[..., ::-1, ::-1].swapaxes(-1, -2)
    found = apply(RANK_UPDATE, shape, backwards, vectors, weight)
    out[...] = backwards.swapaxes(-1, -2)[..., ::-1, ::-1]
    return found


# ---- gradients: from those by the parameters of what a method returns ----------------------------


def natural(d: Algebra) -> Real:
    """The covariance, or of a precision that."""
    return d._converted("precision_matrix" if d._structure.inverse else "covariance_matrix")


def by_matrix(d: Algebra, gradients: Gradients) -> Real:
    """The symmetric gradient by what is `natural`, from that by what d was given by."""
    gradient: Real = gradients[d._given]
    if d._given != "scale_tril":
        return gradient
    result: Real = np.tril(gradient)
    d._structure.gradient_by("covariance_matrix", result, d._factor())
    return result


def from_matrix(d: Algebra, by: Real) -> Real:
    """And from that to the gradient by what d was given by; both in its shape."""
    shape = d._parameter_shape(d._given)
    total = summed(np.ascontiguousarray(by), shape)
    if d._given == "scale_tril":
        lower: Real = np.tril(2 * np.matmul(total, d._factor().swapaxes(-1, -2)))
        return lower
    return total


def turned(matrix: Real, by: Real) -> Real:
    """The gradient by a matrix's inverse."""
    result: Real = -np.matmul(matrix, np.matmul(by, matrix))
    return result


def transposed(matrix: Real) -> Real:
    """Of each matrix."""
    return matrix.swapaxes(-1, -2)


@own_vjp("marginal", Algebra)
def _vjp_marginal(d: Algebra, /, indices: Index) -> Pull:
    refuse(d, "marginal")
    known = parse_indices("indices", indices, d._event_shape[0])

    @quiet
    def pull(g: Gradients, made: Any) -> Gradients:
        by_loc = np.zeros(d._parameter_shape("loc"), d._dtype)
        by_loc[..., known] = g["loc"]
        part, inverse = by_matrix(made, g), d._structure.inverse
        if inverse:
            part = turned(natural(made), part)
        by = np.zeros(part.shape[:-2] + d._event_shape * 2, d._dtype)
        by[..., known[:, None], known] = part
        return {
            "loc": by_loc,
            d._given: from_matrix(d, turned(d._converted("covariance_matrix"), by) if inverse else by),
        }

    return pull


@own_vjp("condition", Algebra)
def _vjp_condition(d: Algebra, /, indices: Index, value: ArrayLike) -> Pull:
    refuse(d, "condition")
    dim = d._event_shape[0]
    known = parse_indices("indices", indices, dim)
    rest, k = np.delete(np.arange(dim), known), len(known)
    array, batch_shape, dtype = _params.values(value, d._dtype, (k,))
    x = array.copy()

    @quiet
    def pull(g: Gradients, made: Any) -> Gradients:
        covariance = d._converted("covariance_matrix").astype(np.float64, copy=False)
        of_known = covariance[..., known[:, None], known]
        gain = transposed(np.linalg.solve(of_known, covariance[..., known[:, None], rest]))
        # The covariance of what is left, and the mean, change with what they are made of.
        part = by_matrix(made, g)
        part = turned(natural(made), part) if d._structure.inverse else part
        left = np.zeros((*gain.shape[:-2], len(rest), dim))
        left[..., :, rest] = np.eye(len(rest))
        left[..., :, known] = -gain
        by = np.matmul(transposed(left), np.matmul(part, left))
        h = np.broadcast_to(g["loc"], (*made._batch_shape, len(rest))).astype(np.float64)
        back = np.matmul(h[..., None, :], left)[..., 0, :]  # h by the rest, -K'h by what is known
        residual = x - d._view("loc")[..., known]
        weights = np.zeros((*residual.shape[:-1], dim))
        weights[..., known] = np.linalg.solve(of_known, residual[..., None])[..., 0]
        outer = back[..., :, None] * weights[..., None, :]
        shape = d._parameter_shape(d._given)
        by = summed(np.ascontiguousarray(np.broadcast_to(by, np.broadcast_shapes(by.shape, shape))), shape)
        by = by + summed(np.ascontiguousarray(outer + transposed(outer)) / 2, shape)
        by = turned(d._converted("covariance_matrix"), by) if d._structure.inverse else by
        by_value = summed(np.ascontiguousarray(-back[..., known]), (*batch_shape, k)).astype(dtype)
        by_loc = summed(np.ascontiguousarray(back), d._parameter_shape("loc")).astype(d._dtype)
        return {"loc": by_loc, d._given: from_matrix(d, by.astype(d._dtype)), "value": by_value}

    return pull


@own_vjp("affine", Algebra)
def _vjp_affine(d: Algebra, /, A: ArrayLike, b: ArrayLike | None = None) -> Pull:
    refuse(d, "affine")
    a, _, dtype = d._read_affine(A, b)
    a, shape_a = a.copy(), np.shape(A)

    @quiet
    def pull(g: Gradients, made: Any) -> Gradients:
        part = by_matrix(made, g)
        covariance = d._converted("covariance_matrix")
        by = np.matmul(transposed(a), np.matmul(part, a))
        h = g["loc"]
        by_a = 2 * np.matmul(part, np.matmul(a, covariance))
        of_mean = h[..., :, None] * d._arrays["loc"][..., None, :]
        total = np.zeros(shape_a, dtype)
        for term in (by_a, of_mean):
            total = total + summed(_packed(term, shape_a), shape_a)
        by_loc = np.matmul(h[..., None, :], a)[..., 0, :]
        result: Gradients = {
            "loc": summed(_packed(by_loc, d._parameter_shape("loc")), d._parameter_shape("loc")),
            "A": total,
        }
        if b is not None:
            result["b"] = summed(_packed(h, np.shape(b)), np.shape(b))
        by = summed(_packed(by, d._parameter_shape(d._given)), d._parameter_shape(d._given))
        result[d._given] = from_matrix(d, turned(covariance, by) if d._structure.inverse else by)
        return result

    return pull


def _packed(array: Real, shape: Shape) -> Real:
    """For `summed` to a shape, which may have dims that the array lacks."""
    return np.ascontiguousarray(np.broadcast_to(array, np.broadcast_shapes(array.shape, shape)))


@own_vjp("rank_update", Algebra)
def _vjp_rank_update(d: Algebra, /, u: ArrayLike, *, weight: ArrayLike = 1.0, index: Any = None) -> Pull:
    refuse(d, "rank_update")
    vectors, w = d._read_update(u, weight)
    vectors, w = vectors.copy(), w.copy()
    numbers = None if index is None else d._numbers(index)

    @quiet
    def pull(g: Gradients, made: Any) -> Gradients:
        part = by_matrix(made, g)
        here = part if numbers is None else part.reshape(-1, *part.shape[-2:])[numbers]
        times_u = np.matmul(here, vectors[..., None])[..., 0]
        by_u = 2 * w[..., None] * times_u
        by_w = (times_u * vectors).sum(-1)
        by = _packed(part, d._parameter_shape(d._given))
        return {
            "loc": summed(_packed(g["loc"], d._parameter_shape("loc")), d._parameter_shape("loc")),
            d._given: from_matrix(d, by),
            "u": summed(_packed(by_u, np.shape(u)), np.shape(u)),
            "weight": summed(_packed(by_w, np.shape(weight)), np.shape(weight)),
        }

    return pull
