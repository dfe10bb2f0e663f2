"""MultivariateNormal: Gaussian vectors by covariance, precision or Cholesky factor.

Whatever is given becomes one triangular factor, and the two verbs go by it:

    given               factor                          colorize       whiten
    covariance_matrix   L, cholesky of it               L eps          solve L
    scale_tril          L, itself                       L eps          solve L
    precision_matrix    W = L^-1, reverse cholesky      solve W        W x

so that a precision matrix is never inverted. The three matrices convert lazily. Where a covariance may be,
and is, singular, the factor is one of its rows in another order, and pivoted.py does the work.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.linalg import LinAlgError

from fastdist import _params
from fastdist._kernels import pullbacks
from fastdist._kernels.program import (
    KERNELS,
    PRODUCT,
    PRODUCT_INVERSE,
    PRODUCT_T,
    Plan,
    apply,
    first_bad,
    sum_events,
)
from fastdist._kernels.sources import Noise
from fastdist._params import quiet
from fastdist._shapes import Shape
from fastdist._typing import ArrayLike, NDArray, Real, RealDType
from fastdist.distributions import _factors, constraints, pivoted
from fastdist.distributions._gaussian import HALF_LOG_2PI, HALF_LOG_2PI_E, STANDARD
from fastdist.distributions.algebra import Algebra
from fastdist.distributions.constraints import Constraint
from fastdist.distributions.covariance import InverseLower, Lower, to_events, transform, transposed
from fastdist.distributions.distribution import LAW, Kept, keeps, shown
from fastdist.distributions.pivoted import Pivoted
from fastdist.distributions.rules import (
    Gradients,
    Pull,
    cast,
    new,
    of_noise,
    own_vjp,
    recorded,
    summed,
    with_events,
)

MATRICES = ("covariance_matrix", "precision_matrix", "scale_tril")


class MultivariateNormal(Algebra):
    r"""Normal (Gaussian) distribution of vectors of d elements.

    .. math::
        p(x) = (2 \pi)^{-d/2} \det(\Sigma)^{-1/2}
               \exp\left(-\tfrac{1}{2} (x - \mu)^T \Sigma^{-1} (x - \mu)\right)

    Its entropy is :math:`\tfrac12 \log\det(2 \pi e \Sigma)`.

    Parameters
    ----------
    loc : array_like
        Mean μ, shape (..., d).
    covariance_matrix, precision_matrix, scale_tril : array_like
        Exactly one of Σ, its inverse, or its lower Cholesky factor, shape (..., d, d). As `loc` it is copied,
        but for arrays that are lent: read-only, and so is whatever they are a view of. ``batch_shape`` is
        ``loc.shape[:-1]`` broadcast with the matrix's ``shape[:-2]``, ``event_shape`` is ``(d,)``.
    allow_singular : bool, optional
        Whether a covariance matrix may be singular: positive semidefinite, of rank less than d. Default
        False. See Notes.
    validate_args : bool, optional
        Whether to check that `loc` is finite, that a covariance or precision matrix is symmetric
        (to the square root of the dtype's epsilon, relative to its diagonal) and that `scale_tril`
        is lower triangular with a positive diagonal. Default True. That a matrix is positive
        definite is always checked. Without the check the lower triangle of a covariance matrix
        counts, the upper one of a precision matrix.

    Raises
    ------
    numpy.linalg.LinAlgError
        For a matrix that is not positive definite to the precision of its dtype: a pivot of its
        Cholesky factorisation is not above d * epsilon of its diagonal; the message says which. Or, with
        `allow_singular`, for a covariance that is not positive semidefinite. Jitter is never added. It is
        a ValueError.
    ValueError
        For other values as above, shapes that do not fit, none or two of the matrices.
    TypeError
        For a parameter that is no array of reals up to float64.

    Notes
    -----
    A draw is ``loc + scale_tril @ eps``, summed by fused multiply-add in ascending order. With a
    precision matrix P, ``W.T @ W = P`` is factorised from the last row up (Rue and Held, Gaussian
    Markov Random Fields, 2005, section 2.4) and ``W x = eps`` is solved. A float32 matrix is
    factorised in float64, as by numpy.linalg, and its factor then rounded.

    With `allow_singular`, matrices that have a factor keep it. Of the others one is made by pivots, largest
    first (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 10.3), but for those not
    above 1e6 epsilon (1e3 for float32) of the largest variance, which is scipy's limit for eigenvalues:
    `rank` counts them. Events lie on ``loc`` plus the range of the covariance. `log_prob` is the density on
    that, with the pseudodeterminant, as scipy's, and -inf elsewhere (further from it than some 2e-7 of
    the largest standard deviation, 1e-3 for float32), as `mahalanobis` is inf and `whiten` NaN. An event
    takes d normals, of which `rank` count. A divergence is infinite unless both supports are the same. There
    are gradients by everything but a singular matrix.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> mvn = fd.MultivariateNormal(np.zeros((3, 2)), covariance_matrix=[[2.0, 0.5], [0.5, 1.0]])
    >>> mvn
    MultivariateNormal(loc: (3, 2), covariance_matrix: (3, 2, 2))
    >>> mvn.batch_shape, mvn.event_shape
    ((3,), (2,))
    >>> mvn.sample((100,), rng=0).shape
    (100, 3, 2)
    >>> mvn.log_prob([0.0, 0.0]).shape
    (3,)

    Two elements that are always the same:

    >>> same = fd.MultivariateNormal([0.0, 0.0], np.ones((2, 2)), allow_singular=True)
    >>> int(same.rank), same.log_prob([[1.0, 1.0], [1.0, 2.0]]).round(4)
    (1, array([-1.7655,    -inf]))
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    has_rsample = True
    _alternatives = frozenset(MATRICES)
    _core_ndim: ClassVar[dict[str, int]] = {
        "loc": 1,
        **dict.fromkeys(MATRICES, 2),
        "_factor": 2,
        "_order": 1,
        "_rank": 0,
        "_inverse_factor": 2,
        "_panels": 1,
        "_half_log_det": 0,
        "_constant": 0,
        "_variance": 1,
        "_stddev": 1,
    }

    def __init__(
        self,
        loc: ArrayLike,
        covariance_matrix: ArrayLike | None = None,
        precision_matrix: ArrayLike | None = None,
        scale_tril: ArrayLike | None = None,
        *,
        allow_singular: bool = False,
        validate_args: bool | None = None,
    ) -> None:
        given = {}
        if covariance_matrix is not None:
            given["covariance_matrix"] = covariance_matrix
        if precision_matrix is not None:
            given["precision_matrix"] = precision_matrix
        if scale_tril is not None:
            given["scale_tril"] = scale_tril
        if len(given) != 1:
            raise ValueError(
                "exactly one of covariance_matrix, precision_matrix and scale_tril must be given, "
                f"got {' and '.join(given) or 'none'}"
            )
        (name,) = given
        self._given = name
        self._allow_singular = bool(allow_singular)
        # Of a scale_tril it is the packed triangle that is kept.
        passing = (name,) if name == "scale_tril" else ()
        memory = self._take(validate_args, {"loc": loc, **given}, passing, given, None if passing else name)
        self._factorize(memory)
        if passing:
            del self._arrays[name]

    @classmethod
    def _borrowing(cls, validate_args: bool | None, **given: ArrayLike) -> Self:
        """Over memory that others may change: they see to it that what is kept of the factor is made anew."""
        new = cls.__new__(cls)
        _, name = given
        new._given = name
        new._take(validate_args, given, passing=given, unchecked=(name,))
        new._factorize(None)
        del new._arrays[name]
        return new

    def _factorize(self, memory: tuple[Real, Real | None] | None) -> None:
        """Make the factor of the matrix that is given, in memory if there is any, and a copy that waits."""
        name = self._given
        matrix, shape = self._arrays[name], self._shapes.get(name) or self._arrays[name].shape
        if name == "scale_tril":
            if self._validate_args:
                _factors.check_tril(name, matrix, shape)
            self._arrays["_factor"] = _factors.pack_tril(matrix)
            return
        reverse, check = name == "precision_matrix", self._validate_args
        result, source = memory or (None, None)
        large = _factors.is_large(matrix.shape[-1])
        half_log_det = None if large else np.empty(matrix.shape[:-2])
        if self._allow_singular and name == "covariance_matrix":
            self._arrays["_factor"], found = _factors.semidefinite(
                name,
                matrix if source is None else source,
                shape,
                None if large else result,
                check_symmetry=check,
                half_log_det=half_log_det,
                copy=None if source is None else matrix,
            )
            if found is not None:
                self._arrays["_order"], self._arrays["_rank"] = found
            elif half_log_det is not None:
                self._arrays["_half_log_det"] = half_log_det
            return
        if half_log_det is None:
            self._arrays["_panels"] = _factors.cholesky_panels(
                name, matrix, shape, result, reverse=reverse, check_symmetry=check
            )
            return
        self._arrays["_factor"] = _factors.cholesky(
            name,
            matrix if source is None else source,
            shape,
            result,
            reverse=reverse,
            check_symmetry=check,
            half_log_det=half_log_det,
            copy=None if source is None else matrix,
        )
        if reverse:
            np.negative(half_log_det, out=half_log_det)
        self._arrays["_half_log_det"] = half_log_det

    def _made(
        self, loc: Real, factor: Real, matrix: Real | None = None, *, given: str = "", batch_shape: Shape = ()
    ) -> MultivariateNormal:
        """Of a factor, and of the matrix where there is a better one than that is the factor of."""
        new = MultivariateNormal.__new__(MultivariateNormal)
        new._given = given or self._given
        new._derived = matrix is None
        new._allow_singular = self._allow_singular
        arrays = {"loc": _params.pack(loc, factor.dtype, 1), "_factor": np.ascontiguousarray(factor)}
        if matrix is not None:
            arrays[new._given] = matrix
        shape = batch_shape or np.broadcast_shapes(loc.shape[:-1], factor.shape[:-2])
        new._set_up(arrays, shape, loc.shape[-1:], factor.dtype, self._validate_args)
        return new

    def _semidefinite(self, loc: Real, matrix: Real) -> MultivariateNormal:
        """Of a covariance that may be singular, in a batch that is this one's or larger."""
        new = MultivariateNormal(loc, covariance_matrix=matrix, allow_singular=True, validate_args=False)
        new._validate_args = self._validate_args
        return new.expand(np.broadcast_shapes(new._batch_shape, self._batch_shape))

    # ---- parameters --------------------------------------------------------------------

    @property
    def support(self) -> Constraint:
        """Vectors of reals."""
        return constraints.real_vector

    @shown
    def loc(self) -> Real:
        """Mean, and point of the highest density; shape ``batch_shape + event_shape``, read-only."""
        return self._arrays["loc"]

    @shown
    def covariance_matrix(self) -> Real:
        """Covariance; shape ``batch_shape + (d, d)``, read-only."""
        return self._converted("covariance_matrix")

    @shown
    def precision_matrix(self) -> Real:
        """Inverse of the covariance; shape ``batch_shape + (d, d)``, read-only."""
        return self._converted("precision_matrix")

    @shown
    def scale_tril(self) -> Real:
        """Lower Cholesky factor of the covariance; shape ``batch_shape + (d, d)``, read-only."""
        return self._converted("scale_tril")

    def _parameter_shape(self, name: str) -> Shape:
        if name == "loc" or "_factor" in self._arrays:
            return self._shapes.get(name) or self._arrays["loc" if name == "loc" else "_factor"].shape
        return self._shapes.get(name) or self._arrays["_panels"].shape[:-1] + 2 * self._event_shape

    @property
    def _structure(self) -> type[Lower]:
        """What the factor is."""
        return InverseLower if self._given == "precision_matrix" else Lower

    def _factor(self, dtype: RealDType | None = None) -> Real:
        """The factor by columns; of a large matrix it was made in panels."""
        factor = self._kept(
            "_factor", lambda: _factors.columns(self._arrays["_panels"], self._event_shape[0])
        )
        return factor if dtype is None else _params.pack(factor, dtype, 2)

    def _pivoted(self) -> Pivoted | None:
        """What does the work if a covariance is singular."""
        if "_rank" not in self._arrays:
            return None
        made: Any = self._kept_here("_pivoted", lambda: Pivoted.of(self))
        assert isinstance(made, Pivoted)
        return made

    @property
    def rank(self) -> NDArray[np.intp]:
        """Rank of the covariance, d unless that is singular; shape ``batch_shape``, read-only."""
        dim = np.intp(self._event_shape[0])
        rank = self._arrays["_rank"].astype(np.intp) if "_rank" in self._arrays else dim
        return np.broadcast_to(rank, self._batch_shape)

    def _triangle(self, *, inverse: bool) -> Real:
        """L, or its inverse, by columns; of a singular covariance F, which is no triangle (pivoted.py)."""
        singular = self._pivoted()
        if singular is not None:
            if inverse:
                index = tuple(map(int, np.argwhere(self.rank < self._event_shape[0])[0]))
                raise LinAlgError(
                    "there is no precision_matrix: covariance_matrix "
                    f"{self._parameter_shape('covariance_matrix')} is singular, batch index {index}, "
                    f"rank {self.rank[index]}"
                )
            return singular.columns
        if self._structure.inverse == inverse:
            return self._factor()
        return self._kept("_inverse_factor", lambda: _factors.inverse(self._factor()))

    @quiet
    def _converted(self, name: str) -> Real:
        """`name` from the factor, or the factor's inverse where the other one is wanted."""
        dim, want_inverse = self._event_shape[0], name == "precision_matrix"
        if "_rank" in self._arrays:
            columns = self._triangle(inverse=want_inverse)  # F, which is no triangle
            if name == "scale_tril":
                return _factors.triangular(columns.swapaxes(-1, -2)).swapaxes(-1, -2)
            return _factors.summed_outer(columns)
        if name == "scale_tril":
            return self._triangle(inverse=False).swapaxes(-1, -2)
        if not _factors.is_large(dim):
            factor = self._triangle(inverse=want_inverse)
            return _factors.gram(np.ascontiguousarray(factor.swapaxes(-1, -2)) if want_inverse else factor)
        panels = self._panels(self._dtype)
        if want_inverse:
            return _factors.product(PRODUCT_T if self._structure.inverse else PRODUCT_INVERSE, panels, dim)
        return _factors.product(
            PRODUCT, _factors.inverse_panels(panels, dim) if self._structure.inverse else panels, dim
        )

    # ---- moments -----------------------------------------------------------------------

    mean = loc
    mode = loc

    @shown
    @quiet
    def variance(self) -> Real:
        """Diagonal of the covariance; shape ``batch_shape + event_shape``, read-only."""
        if self._given == "covariance_matrix":
            return self._given_variance()
        return np.asarray(np.square(self._row_norms()))

    @shown
    @quiet
    def stddev(self) -> Real:
        """Square root of the variance; shape ``batch_shape + event_shape``, read-only."""
        if self._given == "covariance_matrix":
            return np.asarray(np.sqrt(self._given_variance()))
        return self._row_norms()

    def _given_variance(self) -> Real:
        """Diagonal of a covariance matrix, which is made of the factor where it was only borrowed."""
        matrix = self._kept("covariance_matrix", lambda: self._converted("covariance_matrix"))
        return np.diagonal(matrix, axis1=-2, axis2=-1)

    def _row_norms(self) -> Real:
        """Lengths of the rows of scale_tril, without squares that under- or overflow."""
        norms: Real = np.hypot.reduce(self._triangle(inverse=False), axis=-2)
        return norms

    # ---- draws and densities -------------------------------------------------------------

    def _panels(self, dtype: RealDType) -> Real:
        """The factor as kernels take it, in `dtype`."""
        panels = self._kept("_panels", lambda: _factors.panels(self._arrays["_factor"]))
        return panels if dtype == self._dtype else _factors.panels(self._factor().astype(dtype))

    def _draw_plan(self) -> Plan | None:
        if "_rank" in self._arrays:
            return None
        return Plan(self._structure.colorize, self._arrays["loc"], self._panels(self._dtype))

    def _noise_per_event(self) -> tuple[int, int] | None:
        own = "_rank" in self._arrays and keeps(type(self), MultivariateNormal, LAW)
        return (0, self._event_shape[0]) if own else super()._noise_per_event()

    def _density_plan(self, event_ndim: int, dtype: RealDType) -> Plan | None:
        if event_ndim > 1 or "_rank" in self._arrays:
            return None
        (loc,) = self._in(dtype, "loc")
        return Plan(self._structure.log_prob, loc, self._panels(dtype), self._constant(HALF_LOG_2PI, dtype))

    def _draw(self, noise: Noise, out: Real, workers: int) -> None:
        singular = self._pivoted()
        if singular is None:
            super()._draw(noise, out, workers)
        else:
            singular._draw(noise, out, workers)

    def _draw_scored(self, noise: Noise, out: Real, density: Real, workers: int) -> None:
        singular = self._pivoted()
        if singular is None:
            super()._draw_scored(noise, out, density, workers)
        else:
            singular.draw_scored(noise, out, density, workers)

    def _scored_plan(self, event_ndim: int) -> Plan | None:
        plan = self._plan_of_draws()
        if plan is None or event_ndim > 1:
            return None
        log_prob, constant = KERNELS["normal_log_prob_events"], self._constant(HALF_LOG_2PI, self._dtype)
        return plan.first(log_prob, *STANDARD[self._dtype.char], constant)

    def _log_prob(self, value: Real, event_ndim: int, out: Real) -> None:
        tail, singular = self._batch_dims(event_ndim), self._pivoted()
        if singular is not None:
            singular.summed(singular.density, value, out, tail)
            return
        if not tail:
            super()._log_prob(value, event_ndim, out)
            return
        dtype = out.dtype
        np.negative(self._constant(HALF_LOG_2PI, dtype, tail), out=out)
        (loc,), panels, weight = self._in(dtype, "loc"), self._panels(dtype), np.asarray(-0.5, dtype)
        kernel = self._structure.mahalanobis
        apply(kernel, out.shape + tail, out, value, loc, panels, weight, event_ndim=len(tail))

    def _batch_dims(self, event_ndim: int) -> Shape:
        """The batch dims among the last `event_ndim` dims of a value."""
        return self._batch_shape[len(self._batch_shape) - (event_ndim - 1) :]

    def _half_log_det(self) -> Real:
        """Log of the determinant of scale_tril, in float64; shape: the matrix's batch, unbroadcast."""
        return self._kept("_half_log_det", lambda: self._structure.half_log_det(self._pivots()))

    def _pivots(self) -> Real:
        """The diagonal of the factor."""
        if "_factor" in self._arrays:
            return np.diagonal(self._arrays["_factor"], axis1=-2, axis2=-1)
        return _factors.diagonal(self._arrays["_panels"], self._event_shape[0])

    def _constant(self, constant: float, dtype: RealDType, tail: Shape = ()) -> Real:
        """Half_log_det and a constant for each element of an event, summed over batch dims, rounded once."""
        singular = self._pivoted()
        half_log_det = self._half_log_det() if singular is None else singular.log_dets(constant)
        if tail:
            half_log_det = sum_events(half_log_det, tail)
        dim = self._event_shape[0] * math.prod(tail)
        return _params.pack(np.asarray(half_log_det + dim * constant), dtype)

    @Kept
    def _entropy(self, event_ndim: int) -> Real:
        return self._constant(HALF_LOG_2PI_E, self._dtype, self._batch_dims(event_ndim))

    # ---- noise of one's own --------------------------------------------------------------

    def _colorize(self, eps: Real, out: Real) -> None:
        singular = self._pivoted()
        if singular is not None:
            singular.colorize(eps, out)
            return
        out[...] = eps
        (loc,), panels = self._in(out.dtype, "loc"), self._panels(out.dtype)
        to_events(self._structure.colorize, out, loc, panels)

    @quiet
    def _whiten(self, x: Real, out: Real) -> None:
        singular = self._pivoted()
        if singular is not None:
            singular.whiten(x, out)
            return
        (loc,), zero, panels = (
            self._in(out.dtype, "loc"),
            np.zeros(x.shape[-1], x.dtype),
            self._panels(x.dtype),
        )

        def solve(rest: Real) -> Real:
            to_events(self._structure.whiten, rest, zero, panels)
            return rest

        solve(np.subtract(x, loc, out=out))
        if first_bad(KERNELS["check_finite"], out) >= 0:  # by differences, perhaps, that left the range
            beyond = ~np.isfinite(out).all(-1)
            half = np.subtract(0.5 * x, 0.5 * loc)
            out[beyond] = 2 * solve(np.broadcast_to(half, out.shape)[beyond])

    def _mahalanobis(self, x: Real, event_ndim: int, out: Real) -> None:
        dtype, tail, singular = out.dtype, self._batch_dims(event_ndim), self._pivoted()
        if singular is not None:
            singular.summed(singular.mahalanobis, x, out, tail)
            return
        (loc,), panels, weight = self._in(dtype, "loc"), self._panels(dtype), np.ones((), dtype)
        out[...] = 0
        kernel = self._structure.mahalanobis
        apply(kernel, out.shape + tail, out, x, loc, panels, weight, event_ndim=len(tail))

    def _shown(self) -> tuple[str, ...]:
        return "loc", self._given

    def _along(self) -> tuple[str, ...]:
        factor = "_factor" if "_factor" in self._arrays else "_panels"
        singular = ("_order", "_rank") if "_rank" in self._arrays else ()
        given = (self._given,) if self._given in self._arrays else ()
        return ("loc", factor, *singular, *given)

    def _with_arrays(self, arrays: dict[str, Real], batch_shape: Shape) -> Self:
        if "_rank" in arrays and (arrays["_rank"] == self._event_shape[0]).all():  # a part that is regular
            arrays = {name: arrays[name] for name in arrays if name not in ("_order", "_rank")}
        return super()._with_arrays(arrays, batch_shape)

    def _stacked(self, parts: list[Self], axis: int) -> Self:
        for d in parts:
            d._factor()  # which all of them have then
        if any("_rank" in d._arrays for d in parts):
            parts = [d._with_order() for d in parts]
        new = super(MultivariateNormal, parts[0])._stacked(parts, axis)
        new._allow_singular = any(d._allow_singular for d in parts)
        return new

    def _with_order(self) -> Self:
        """The same, with an order and a rank for each matrix."""
        if "_rank" in self._arrays:
            return self
        factor = self._factor()
        order = np.broadcast_to(np.arange(factor.shape[-1], dtype=factor.dtype), factor.shape[:-1])
        rank = np.full(factor.shape[:-2], factor.shape[-1], factor.dtype)
        new = self._expanded(self._batch_shape)
        new._arrays = {**new._arrays, "_order": order, "_rank": rank}
        return new

    def _parameters(self) -> dict[str, Any]:
        return {**super()._parameters(), "allow_singular": self._allow_singular}


# ---- gradients -----------------------------------------------------------------------------------


@own_vjp("rsample", MultivariateNormal)
def _vjp_rsample(d: MultivariateNormal, replay: Callable[[], Noise]) -> Pull:
    if d._pivoted() is not None:
        return pivoted.pull_rsample(d)
    name, factor, structure = d._given, d._factor(), d._structure
    shape = d._batch_shape + d._event_shape

    def pull(g: Real, _: Real) -> Gradients:
        n_sample = math.prod(g.shape[: g.ndim - len(shape)])
        by_matrix = np.zeros(d._parameter_shape(name), g.dtype)
        pullbacks.draw_tril(replay(), by_matrix, with_events(g).reshape(n_sample, *shape))
        structure.gradient_by(name, by_matrix, factor)
        return {"loc": summed(g, d._parameter_shape("loc")), name: by_matrix}

    return pull


@own_vjp("sample_and_log_prob", MultivariateNormal)
def _vjp_scored(d: MultivariateNormal, replay: Callable[[], Noise]) -> Pull:
    return of_noise(d, replay) if d._pivoted() is None else pivoted.pull_scored(d)


@own_vjp("log_prob", MultivariateNormal)
def _vjp_log_prob(d: MultivariateNormal, /, value: ArrayLike) -> Pull:
    singular = d._pivoted()
    if singular is not None:
        return pivoted.pull_events(d, singular, value, "value", -0.5)
    array, value_shape, dtype = recorded(value, d)
    return pull_log_prob(d, array, value_shape, *d._in(dtype, "loc"))


def pull_log_prob(d: MultivariateNormal, value: Real, value_shape: Shape, loc: Real) -> Pull:
    """The rule but for its copies: neither the value, packed, nor the loc may change."""
    dtype = loc.dtype
    name, structure = d._given, d._structure
    factor, panels = d._factor(dtype), d._panels(dtype)

    def pull(g: Real, _: Real) -> Gradients:
        by_value, by_loc = new(g, value_shape), new(g, d._parameter_shape("loc"))
        by_matrix = np.zeros(d._parameter_shape(name), dtype)
        pullbacks.log_prob_tril(name, by_value, by_loc, by_matrix, g, value, loc, panels)
        structure.add_log_det(name, by_matrix, factor, summed(g, by_matrix.shape[:-2]))
        return {**cast({"loc": by_loc, name: by_matrix}, d._dtype), "value": by_value}

    return pull


@own_vjp("entropy", MultivariateNormal)
def _vjp_entropy(d: MultivariateNormal) -> Pull:
    if d._pivoted() is not None:
        return pivoted.pull_entropy(d)
    name, factor, structure = d._given, d._factor(), d._structure

    def pull(g: Real, _: Real) -> Gradients:
        by_matrix = np.zeros(d._parameter_shape(name), g.dtype)
        structure.add_log_det(name, by_matrix, factor, np.asarray(-summed(g, by_matrix.shape[:-2])))
        return {"loc": np.zeros(d._parameter_shape("loc"), g.dtype), name: by_matrix}

    return pull


@own_vjp("colorize", MultivariateNormal)
def _vjp_colorize(d: MultivariateNormal, /, eps: ArrayLike) -> Pull:
    singular = d._pivoted()
    if singular is not None:
        return pivoted.pull_colorize(d, singular, eps)
    array, shape, dtype = recorded(eps, d, "eps")
    name, structure = d._given, d._structure
    factor = d._factor(dtype)

    def pull(g: Real, _: Real) -> Gradients:
        by_matrix = np.zeros(d._parameter_shape(name), dtype)
        pullbacks.colorize_tril(by_matrix, with_events(g), array)
        structure.gradient_by(name, by_matrix, factor)
        by_parameters = {"loc": summed(g, d._parameter_shape("loc")), name: by_matrix}
        return {
            **cast(by_parameters, d._dtype),
            "eps": summed(transposed(structure.colorize, g, factor), shape),
        }

    return pull


@own_vjp("whiten", MultivariateNormal)
def _vjp_whiten(d: MultivariateNormal, /, x: ArrayLike) -> Pull:
    singular = d._pivoted()
    if singular is not None:
        return pivoted.pull_events(d, singular, x, "x", None)
    array, shape, dtype = recorded(x, d, "x")
    name, structure = d._given, d._structure
    factor = d._factor(dtype)
    z = d.whiten(array)

    def pull(g: Real, _: Real) -> Gradients:
        by_x = transposed(structure.whiten, g, factor)
        minus = -by_x
        by_matrix = np.zeros(d._parameter_shape(name), dtype)
        pullbacks.colorize_tril(by_matrix, minus, z)
        structure.gradient_by(name, by_matrix, factor)
        by_parameters = {"loc": summed(minus, d._parameter_shape("loc")), name: by_matrix}
        return {**cast(by_parameters, d._dtype), "x": summed(by_x, shape)}

    return pull


@own_vjp("mahalanobis", MultivariateNormal)
def _vjp_mahalanobis(d: MultivariateNormal, /, x: ArrayLike) -> Pull:
    singular = d._pivoted()
    if singular is not None:
        return pivoted.pull_events(d, singular, x, "x", 1.0)
    array, shape, dtype = recorded(x, d, "x")
    (loc,), factor, panels = d._in(dtype, "loc"), d._factor(dtype), d._panels(dtype)
    name, structure = d._given, d._structure

    def pull(g: Real, _: Real) -> Gradients:
        by_x, by_loc = new(g, shape), new(g, d._parameter_shape("loc"))
        by_matrix = np.zeros(d._parameter_shape(name), dtype)
        pullbacks.log_prob_tril(name, by_x, by_loc, by_matrix, np.asarray(-2 * g), array, loc, panels)
        if name != "scale_tril":
            transform(structure.from_m[name], by_matrix, factor)
        return {**cast({"loc": by_loc, name: by_matrix}, d._dtype), "x": by_x}

    return pull
