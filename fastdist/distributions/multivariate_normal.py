"""MultivariateNormal: Gaussian vectors by covariance, precision or Cholesky factor.

Whatever is given becomes one triangular factor, and the two verbs go by it:

    given               factor                          colorize       whiten
    covariance_matrix   L, cholesky of it               L eps          solve L
    scale_tril          L, itself                       L eps          solve L
    precision_matrix    W = L^-1, reverse cholesky      solve W        W x

so that a precision matrix is never inverted. The three matrices convert lazily.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from fastdist import _params, _shapes
from fastdist._kernels import bridge
from fastdist._kernels.bridge import Noise
from fastdist._params import FLOAT64, ArrayLike, Real, RealDType, quiet
from fastdist._shapes import Shape
from fastdist.distributions import _factors, constraints
from fastdist.distributions._gaussian import HALF_LOG_2PI, HALF_LOG_2PI_E, log, sum_events
from fastdist.distributions._prepared import Plan, plan, take_mvn
from fastdist.distributions.constraints import Constraint
from fastdist.distributions.distribution import Distribution

MATRICES = ("covariance_matrix", "precision_matrix", "scale_tril")


class MultivariateNormal(Distribution):
    r"""Normal (Gaussian) distribution of vectors of d elements.

    .. math::
        p(x) = (2 \pi)^{-d/2} \det(\Sigma)^{-1/2}
               \exp\left(-\tfrac{1}{2} (x - \mu)^T \Sigma^{-1} (x - \mu)\right)

    Its entropy is :math:`\tfrac12 \log\det(2 \pi e \Sigma)`.

    Parameters
    ----------
    loc : array_like
        Mean μ, shape (..., d). Referenced, not copied, where dtype and layout allow.
    covariance_matrix, precision_matrix, scale_tril : array_like
        Exactly one of Σ, its inverse, or its lower Cholesky factor, shape (..., d, d); taken
        over at construction. ``batch_shape`` is ``loc.shape[:-1]`` broadcast with the matrix's
        ``shape[:-2]``, ``event_shape`` is ``(d,)``.
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
        Cholesky factorisation is not above d * epsilon of its diagonal. Jitter is never added. It is a
        ValueError.
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
        validate_args: bool | None = None,
    ) -> None:
        candidates = zip(MATRICES, (covariance_matrix, precision_matrix, scale_tril), strict=True)
        given = {name: matrix for name, matrix in candidates if matrix is not None}
        if len(given) != 1:
            raise ValueError(
                "exactly one of covariance_matrix, precision_matrix and scale_tril must be given, "
                f"got {' and '.join(given) or 'none'}"
            )
        (name,) = given
        self._given = name
        if take_mvn(self, loc, name, given[name], validate_args):
            return
        # Of a scale_tril it is the packed triangle that is kept.
        passing = (name,) if name == "scale_tril" else ()
        arrays, shapes = _params.parameters(self._core_ndim, passing, loc=loc, **given)
        matrix, loc_shape, matrix_shape = arrays[name], shapes["loc"], shapes[name]
        if not loc_shape:
            raise ValueError("loc must have at least one dim, got shape ()")
        if len(matrix_shape) < 2 or matrix_shape[-1] != matrix_shape[-2]:
            raise ValueError(f"{name} must have shape (..., d, d), got {matrix_shape}")
        if loc_shape[-1] != matrix_shape[-1]:
            raise ValueError(f"loc {loc_shape} and {name} {matrix_shape} differ in event size")
        batch_shape = _shapes.broadcast_shapes(**{"loc": loc_shape[:-1], name: matrix_shape[:-2]})
        self._set_up(arrays, batch_shape, loc_shape[-1:], matrix.dtype, validate_args)
        self._shapes = shapes
        if self._validate_args:
            _params.check_finite("loc", arrays["loc"], loc_shape)
        if name == "scale_tril":
            if self._validate_args:
                _factors.check_tril(name, matrix, matrix_shape)
            arrays["_factor"] = _factors.pack_tril(arrays.pop(name))
        else:
            arrays["_factor"] = _factors.cholesky(
                name, matrix, matrix_shape, reverse=self._inverse, check_symmetry=self._validate_args
            )
        arrays["_factor"].flags.writeable = False

    # ---- parameters --------------------------------------------------------------------

    @property
    def support(self) -> Constraint:
        """Vectors of reals."""
        return constraints.real_vector

    @property
    def loc(self) -> Real:
        """Mean; shape ``batch_shape + event_shape``, read-only."""
        return self._view("loc")

    @property
    def covariance_matrix(self) -> Real:
        """Covariance; shape ``batch_shape + (d, d)``, read-only."""
        return self._matrix("covariance_matrix")

    @property
    def precision_matrix(self) -> Real:
        """Inverse of the covariance; shape ``batch_shape + (d, d)``, read-only."""
        return self._matrix("precision_matrix")

    @property
    def scale_tril(self) -> Real:
        """Lower Cholesky factor of the covariance; shape ``batch_shape + (d, d)``, read-only."""
        return self._matrix("scale_tril")

    def _parameters(self) -> dict[str, Any]:
        return self._given_arrays()

    def _parameter_shape(self, name: str) -> Shape:
        return self._shapes.get(name) or self._arrays["loc" if name == "loc" else "_factor"].shape

    @property
    def _inverse(self) -> bool:
        """Whether the factor is W = L^-1."""
        return self._given == "precision_matrix"

    def _matrix(self, name: str) -> Real:
        if name not in self._arrays:
            self._keep(name, self._converted(name))
        return self._view(name)

    def _triangle(self, *, inverse: bool) -> Real:
        """L, or its inverse, by columns."""
        if self._inverse == inverse:
            return self._arrays["_factor"]
        if "_inverse_factor" not in self._arrays:
            self._keep("_inverse_factor", _factors.inverse(self._arrays["_factor"]))
        return self._arrays["_inverse_factor"]

    @quiet
    def _converted(self, name: str) -> Real:
        """`name` from the factor, or the factor's inverse where the other one is wanted."""
        want_inverse = name == "precision_matrix"
        factor = self._triangle(inverse=want_inverse)
        tril = factor.swapaxes(-1, -2)
        if name == "scale_tril":
            return tril
        result: Real = np.matmul(factor, tril) if want_inverse else np.matmul(tril, factor)  # W'W or LL'
        return result

    # ---- moments -----------------------------------------------------------------------

    @property
    def mean(self) -> Real:
        """Mean, `loc`; shape ``batch_shape + event_shape``, read-only."""
        return self._view("loc")

    @property
    def mode(self) -> Real:
        """Point of the highest density, `loc`; shape ``batch_shape + event_shape``, read-only."""
        return self._view("loc")

    @property
    def variance(self) -> Real:
        """Diagonal of the covariance; shape ``batch_shape + event_shape``, read-only."""
        return self._derived("_variance", self._made_variance)

    @quiet
    def _made_variance(self) -> Real:
        if self._given == "covariance_matrix":
            return np.diagonal(self._arrays[self._given], axis1=-2, axis2=-1)
        return np.asarray(np.square(self._row_norms()))

    @property
    def stddev(self) -> Real:
        """Square root of the variance; shape ``batch_shape + event_shape``, read-only."""
        return self._derived("_stddev", self._made_stddev)

    @quiet
    def _made_stddev(self) -> Real:
        if self._given == "covariance_matrix":
            return np.asarray(np.sqrt(np.diagonal(self._arrays[self._given], axis1=-2, axis2=-1)))
        return self._row_norms()

    def _row_norms(self) -> Real:
        """Lengths of the rows of scale_tril, without squares that under- or overflow."""
        self._matrix("scale_tril")
        norms: Real = np.hypot.reduce(self._arrays["scale_tril"], axis=-1)
        return norms

    def _half_log_det(self, dtype: RealDType) -> Real:
        """Log of the determinant of scale_tril, in `dtype`; shape: the matrix's batch, unbroadcast.

        Kept in float64, as what is added to it may nearly cancel it.
        """
        if "_half_log_det" not in self._arrays:
            diagonal = np.diagonal(self._arrays["_factor"], axis1=-2, axis2=-1)
            log_det = sum_events(log(np.ascontiguousarray(diagonal, FLOAT64)), self._event_shape)
            self._keep("_half_log_det", -log_det if self._inverse else log_det)
        return _params.pack(self._arrays["_half_log_det"], dtype)

    # ---- draws and densities -------------------------------------------------------------

    def _make_plan(self) -> Plan | None:
        shape, factor = self._batch_shape + self._event_shape, self._arrays["_factor"]
        return plan(shape, self._arrays["loc"], factor, vectors=True, inverse=self._inverse)

    def _panels(self, dtype: RealDType) -> Real:
        """The factor as kernels take it, in `dtype`."""
        if "_panels" not in self._arrays:
            self._keep("_panels", _factors.panels(self._arrays["_factor"]))
        panels = self._arrays["_panels"]
        if dtype == self._dtype:
            return panels
        return _factors.panels(self._arrays["_factor"].astype(dtype))

    def _draw(self, noise: Noise, out: Real, workers: int) -> None:
        panels = self._panels(self._dtype)
        bridge.draw_tril(noise, out, self._batch_shape, self._arrays["loc"], panels, self._inverse, workers)

    def _log_prob(self, value: Real, event_ndim: int, out: Real) -> None:
        summed = self._summed_shape(event_ndim)
        constant = self._log_prob_constant(out.dtype, summed)
        if summed:
            np.negative(constant, out=out)
            self._add_mahalanobis(value, out, summed, weight=-0.5)
            return
        loc, panels = _params.pack(self._arrays["loc"], out.dtype), self._panels(out.dtype)
        bridge.mvn_log_prob(out, value, loc, panels, constant, self._inverse)

    def _log_prob_constant(self, dtype: RealDType, summed: Shape = ()) -> Real:
        """What a log density ends with, summed over the batch dims `summed`; shape: the matrix's batch."""
        if summed or dtype != self._dtype:
            return self._log_det_plus(HALF_LOG_2PI, dtype, summed)
        if "_constant" not in self._arrays:
            self._keep("_constant", self._log_det_plus(HALF_LOG_2PI, dtype, ()))
        return self._arrays["_constant"]

    def _log_det_plus(self, constant: float, dtype: RealDType, summed: Shape) -> Real:
        """Sums of half_log_det and of a constant for each element of an event, rounded once."""
        half_log_det = self._half_log_det(FLOAT64)
        if summed:
            half_log_det = sum_events(half_log_det, summed)
        dim = self._event_shape[0] * math.prod(summed)
        return _params.pack(np.asarray(half_log_det + dim * constant), dtype)

    def _summed_shape(self, event_ndim: int) -> Shape:
        """The batch dims among the last `event_ndim` dims of a value."""
        return self._batch_shape[len(self._batch_shape) - (event_ndim - 1) :]

    def _add_mahalanobis(self, value: Real, out: Real, summed: Shape = (), *, weight: float = 1) -> None:
        """``out += weight * |L^-1 (value - loc)|^2``, summed over the batch dims `summed`."""
        loc, panels = _params.pack(self._arrays["loc"], out.dtype), self._panels(out.dtype)
        bridge.mahalanobis_tril(out, value, loc, panels, self._inverse, summed, weight)

    def _entropy(self, event_ndim: int) -> Real:
        return self._log_det_plus(HALF_LOG_2PI_E, self._dtype, self._summed_shape(event_ndim))

    def _shown(self) -> tuple[str, ...]:
        return "loc", self._given

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        keep = ("loc", "_factor", self._given)
        state["_arrays"] = {name: array for name, array in self._arrays.items() if name in keep}
        return state
