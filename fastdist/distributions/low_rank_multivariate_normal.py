"""LowRankMultivariateNormal: Gaussian vectors whose covariance is of low rank but for its diagonal.

With S the root of cov_diag, F the cov_factor, G = S^-1 F and C = 1 + G'G, rank by rank, y = S^-1 (x - loc)
and v = C^-1 G'y:

    draws                  loc + S eps + F delta, delta and eps being rank and then d normals
    distance               |y - G v|^2 + |v|^2         (Woodbury, as a sum of squares: nothing cancels)
    half log determinant   log det S + log det C / 2   (the matrix determinant lemma)
    inverse times x - loc  S^-1 (y - G v)

so that nothing is made that has d x d elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fastdist import _params
from fastdist._kernels.program import KERNELS, apply, sum_events
from fastdist._kernels.sources import Noise
from fastdist._params import quiet
from fastdist._shapes import Shape
from fastdist._typing import ArrayLike, Real
from fastdist.distributions import _factors, constraints
from fastdist.distributions._factors import multiplied
from fastdist.distributions._gaussian import HALF_LOG_2PI, HALF_LOG_2PI_E, log
from fastdist.distributions._own_noise import Gaussian
from fastdist.distributions.constraints import Constraint
from fastdist.distributions.distribution import Kept, shown
from fastdist.distributions.rules import Gradients, Pull, cast, own_vjp, recorded, summed
from fastdist.random import set_workers, standard_normal

COLORIZE = KERNELS["colorize_low_rank"]

# Numbers that are worked on at a time: an L2 cache of them, as each tile costs many calls from Python; and of
# draws, which take few.
TILE, DRAWN = 131072, 32768


class LowRankMultivariateNormal(Gaussian):
    r"""Normal (Gaussian) distribution of vectors with covariance :math:`F F^T + \operatorname{diag}(D)`.

    .. math::
        p(x) = (2 \pi)^{-d/2} \det(\Sigma)^{-1/2}
               \exp\left(-\tfrac{1}{2} (x - \mu)^T \Sigma^{-1} (x - \mu)\right), \quad
        \Sigma = F F^T + \operatorname{diag}(D)

    Parameters
    ----------
    loc : array_like
        Mean μ, shape (..., d).
    cov_factor : array_like
        F, shape (..., d, rank).
    cov_diag : array_like
        D > 0, shape (..., d). ``batch_shape`` is what is left of the three, broadcast; ``event_shape`` is
        ``(d,)``.
    validate_args : bool, optional
        Whether to check that all are finite, and D positive. Default True.

    Raises
    ------
    ValueError
        For such values, or shapes that do not fit.
    TypeError
        For a parameter that is no array of reals up to float64.

    Notes
    -----
    An event takes `rank` and then d normals, by which `colorize` makes it: its `eps` is of so many. `whiten`
    returns d numbers, whose squares add up to `mahalanobis`: ``(1 + G G')^(-1/2) S^-1 (x - loc)`` with S the
    root of D and ``G = S^-1 F``. Time and memory are those of F (Woodbury's formula and the determinant
    lemma: Golub and Van Loan, Matrix Computations, 4th ed., section 2.1.4). Where F is larger than the root
    of D by more than the inverse root of float64's epsilon, digits are lost.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> d = fd.LowRankMultivariateNormal(np.zeros(1000), np.ones((1000, 1)), np.ones(1000))
    >>> d.event_shape, d.sample(5, rng=0).shape
    ((1000,), (5, 1000))
    >>> round(float(d.log_prob(np.zeros(1000))), 3)
    -922.393
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.real_matrix,
        "cov_diag": constraints.positive_vector,
    }
    has_rsample = True
    _tall = frozenset({"cov_factor"})
    _core_ndim: ClassVar[dict[str, int]] = {
        "loc": 1,
        "cov_factor": 2,
        "cov_diag": 1,
        "_rows": 2,
        "_scale": 1,
        "_root": 1,
        "_whitened": 2,
        "_inverse_root": 2,
        "_half_log_det": 0,
        "_variance": 1,
        "_stddev": 1,
        "_covariance_matrix": 2,
        "_precision_matrix": 2,
        "_scale_tril": 2,
    }

    def __init__(
        self,
        loc: ArrayLike,
        cov_factor: ArrayLike,
        cov_diag: ArrayLike,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self._take(validate_args, {"loc": loc, "cov_factor": cov_factor, "cov_diag": cov_diag})

    # ---- parameters and moments ----------------------------------------------------------

    @property
    def support(self) -> Constraint:
        """Vectors of reals."""
        return constraints.real_vector

    @shown
    def loc(self) -> Real:
        """Mean, and point of the highest density; shape ``batch_shape + event_shape``, read-only."""
        return self._arrays["loc"]

    @shown
    def cov_factor(self) -> Real:
        """F; shape ``batch_shape + event_shape + (rank,)``, read-only."""
        return self._arrays["cov_factor"]

    @shown
    def cov_diag(self) -> Real:
        """D; shape ``batch_shape + event_shape``, read-only."""
        return self._arrays["cov_diag"]

    mean = loc
    mode = loc

    @property
    def rank(self) -> int:
        """Number of columns of F."""
        return int(self._arrays["cov_factor"].shape[-1])

    @shown
    @quiet
    def variance(self) -> Real:
        """Diagonal of the covariance; shape ``batch_shape + event_shape``, read-only."""
        squares: Real = np.square(self._arrays["cov_factor"]).sum(-1)
        return squares + self._arrays["cov_diag"]

    @shown
    @quiet
    def stddev(self) -> Real:
        """Square root of the variance; shape ``batch_shape + event_shape``, read-only."""
        return np.asarray(np.sqrt(self._view("_variance") if "_variance" in self._arrays else self.variance))

    @shown
    @quiet
    def covariance_matrix(self) -> Real:
        """Covariance, d x d elements of it; shape ``batch_shape + (d, d)``, read-only."""
        factor = self._arrays["cov_factor"]
        return self._plus_diagonal(multiplied(factor, factor.swapaxes(-1, -2)), self._arrays["cov_diag"])

    @shown
    @quiet
    def precision_matrix(self) -> Real:
        """Inverse of the covariance; shape ``batch_shape + (d, d)``, read-only."""
        half = self._parts().half()
        inverse = 1 / self._in(_params.FLOAT64, "cov_diag")[0]
        return self._plus_diagonal(multiplied(-half, half.swapaxes(-1, -2)), inverse).astype(self._dtype)

    @shown
    def scale_tril(self) -> Real:
        """Lower Cholesky factor of the covariance; shape ``batch_shape + (d, d)``, read-only."""
        matrix = np.ascontiguousarray(self.covariance_matrix)
        factor = _factors.cholesky(
            "covariance_matrix", matrix, matrix.shape, None, reverse=False, check_symmetry=False
        )
        return factor.swapaxes(-1, -2)

    @staticmethod
    def _plus_diagonal(matrix: Real, diagonal: Real) -> Real:
        shape = np.broadcast_shapes(matrix.shape[:-1], diagonal.shape)
        result: Real = np.array(np.broadcast_to(matrix, (*shape, shape[-1])))
        np.einsum("...ii->...i", result)[...] += diagonal
        return result

    # ---- what is kept ----------------------------------------------------------------------

    @quiet
    def _parts(self) -> Parts:
        """S, G and the inverse of C's factor, in float64."""
        wide = _params.FLOAT64
        scale = self._kept("_scale", lambda: np.sqrt(self._in(wide, "cov_diag")[0]))
        whitened = self._kept("_whitened", lambda: self._in(wide, "cov_factor")[0] / scale[..., None])

        def make() -> Real:
            gram = _factors.summed_outer(whitened)
            np.einsum("...ii->...i", gram)[...] += 1
            factor, _, _ = _factors.factorize(np.ascontiguousarray(gram))
            return np.ascontiguousarray(_factors.inverse(factor).swapaxes(-1, -2))

        return Parts(scale, whitened, self._kept("_inverse_root", make))

    @quiet
    def _half_log_det(self) -> Real:
        def make() -> Real:
            parts = self._parts()
            diagonal = np.diagonal(parts.inverse_root, axis1=-2, axis2=-1)
            of_scale = sum_events(log(parts.scale), parts.scale.shape[-1:])
            return np.asarray(of_scale - np.log(diagonal).sum(-1))

        return self._kept("_half_log_det", make)

    # ---- draws -----------------------------------------------------------------------------

    def _draw(self, noise: Noise, out: Real, workers: int) -> None:
        (d,), (n,) = self._event_shape, self._noise_shape
        events = out.reshape(math.prod(out.shape[:-1]), d)
        most = max(DRAWN // max(n, 1), 1)
        room: Real = np.empty((min(most, len(events)), n), self._dtype)
        with noise.ahead(n_normal=len(events) * n) as noise, set_workers(max(workers, 1)):
            for begin, end, items in self._blocks(len(events), most):
                eps = standard_normal(dtype=self._dtype, rng=noise, out=room[: end - begin])
                self._color(eps, events[begin:end], items)

    def _blocks(self, n_event: int, most: int) -> Iterator[tuple[int, int, slice]]:
        """Events some at a time, and of which batch items they are: of whole samples, or of part of one."""
        n_batch, most = math.prod(self._batch_shape), max(most, 1)
        begin = 0
        while begin < n_event:
            first = begin % n_batch
            if first == 0 and most >= 2 * n_batch and n_event - begin >= n_batch:
                n = min(most // n_batch, (n_event - begin) // n_batch) * n_batch
                yield begin, begin + n, slice(None)
            else:
                n = min(most, n_batch - first, n_event - begin)
                yield begin, begin + n, slice(first, first + n)
            begin += n

    def _of_items(self, array: Real, own: int, items: slice) -> Real:
        """An array's part for some batch items in a row, which it may be one for all of."""
        core = array.shape[array.ndim - own :]
        if array.size == math.prod(core):
            return array.reshape(1, *core)
        rows = np.broadcast_to(array, self._batch_shape + core)
        return np.ascontiguousarray(rows.reshape(-1, *core)[items])

    def _color(self, eps: Real, out: Real, items: slice) -> None:
        """Events, rows of `out`, from rank + d normals each; of these batch items, or all several times."""
        rank, n_batch = self.rank, math.prod(self._batch_shape)
        scale = self._kept("_root", lambda: np.sqrt(self._arrays["cov_diag"]))
        by_rank = self._kept(
            "_rows", lambda: np.ascontiguousarray(self._arrays["cov_factor"].swapaxes(-1, -2))
        )
        loc, scale, rows = (
            self._of_items(array, own, items)
            for array, own in ((self._arrays["loc"], 1), (scale, 1), (by_rank, 2))
        )
        n_item = n_batch if items == slice(None) else len(out)
        x = out.reshape(len(out) // n_item, n_item, out.shape[-1])
        noise = np.ascontiguousarray(eps).reshape(*x.shape[:-1], eps.shape[-1])
        apply(COLORIZE, x.shape[:-1], x, noise, loc, scale, rows, np.array([rank], np.intp))

    # ---- densities -------------------------------------------------------------------------

    def _solved(self, x: Real) -> tuple[Real, Real]:
        """Of packed events y - G v and v, in float64."""
        parts = self._parts()
        y = (x - self._in(_params.FLOAT64, "loc")[0]) / parts.scale
        root, y = parts.inverse_root, y[..., None, :]
        v = multiplied(multiplied(multiplied(y, parts.whitened), root.swapaxes(-1, -2)), root)
        rest = multiplied(-v, parts.whitened.swapaxes(-1, -2), y)
        return rest[..., 0, :], v[..., 0, :]

    @quiet
    def _distance(self, x: Real) -> Real:
        rest, v = self._solved(x)
        distance = np.square(rest).sum(-1) + np.square(v).sum(-1)
        if not np.isfinite(distance).all():  # differences of infinities, unless of NaNs
            distance = np.where(np.abs(x).max(-1, initial=0) == np.inf, np.inf, distance)
        return np.asarray(distance)

    def _mahalanobis(self, x: Real, event_ndim: int, out: Real) -> None:
        self._by_tiles(x, out, self._distance, event_ndim)

    def _log_prob(self, value: Real, event_ndim: int, out: Real) -> None:
        d = self._event_shape[0]
        constant = self._half_log_det() + d * HALF_LOG_2PI
        self._by_tiles(value, out, lambda x: -0.5 * self._distance(x) - constant, event_ndim)

    @quiet
    def _by_tiles(self, x: Real, out: Real, of: Callable[[Real], Real], event_ndim: int) -> None:
        """What `of` makes of events, summed over batch dims among `event_ndim`, some samples at a time."""
        tail = self._batch_shape[len(self._batch_shape) - (event_ndim - 1) :] if event_ndim > 1 else ()
        shape = out.shape + tail
        full = np.broadcast_to(x, shape + self._event_shape)

        def summed_over(part: Real) -> Real:
            terms = np.broadcast_to(of(part), part.shape[:-1])
            return terms.sum(tuple(range(-len(tail), 0))) if tail else terms

        n_lead = len(shape) - len(self._batch_shape)
        if n_lead == 0 or not full.size:
            out[...] = summed_over(full)
            return
        n = math.prod(shape[:n_lead])
        flat, result = full.reshape(n, *full.shape[n_lead:]), out.reshape(n, *out.shape[n_lead:])
        some = max(TILE // max(math.prod(flat.shape[1:]), 1), 1)
        for begin in range(0, len(flat), some):
            result[begin : begin + some] = summed_over(flat[begin : begin + some])

    @Kept
    def _entropy(self, event_ndim: int) -> Real:
        tail = self._batch_shape[len(self._batch_shape) - (event_ndim - 1) :]
        half_log_det = sum_events(self._half_log_det(), tail) if tail else self._half_log_det()
        constant = self._event_shape[0] * math.prod(tail) * HALF_LOG_2PI_E
        return _params.pack(np.asarray(half_log_det + constant), self._dtype)

    # ---- noise of one's own ----------------------------------------------------------------

    @property
    def normals_per_event(self) -> int:  # type: ignore[override]
        """Rank and then d."""
        return self.rank + self._event_shape[0]

    @property
    def _noise_shape(self) -> Shape:
        return (self.normals_per_event,)

    def colorize(self, eps: ArrayLike, *, out: Real | None = None) -> Real:
        """Draws from noise of one's own, rank + d normals an event: ``loc + S eps[rank:] + F eps[:rank]``.

        Of the normals that `sample` would draw it makes the same sample, bit for bit.

        Parameters
        ----------
        eps : array_like
            Standard normals, shape (..., rank + d). Dims before the last broadcast with `batch_shape`.
        out : numpy.ndarray, optional
            Array of the result's shape and dtype to write to, and to return.

        Returns
        -------
        numpy.ndarray
            Shape: the batch dims of `eps`, broadcast with `batch_shape`, and the event.
        """
        (n,) = self._noise_shape
        array, batch_shape, dtype = _params.values(eps, self._dtype, (n,), "eps")
        shape = np.broadcast_shapes(batch_shape, self._batch_shape)
        if dtype != self._dtype:
            wide = LowRankMultivariateNormal(
                *self._in(dtype, "loc", "cov_factor", "cov_diag"), validate_args=False
            ).expand(self._batch_shape)
            return wide.colorize(array, out=out)
        result: Real = np.empty(shape + self._event_shape, dtype)
        n_event = math.prod(shape)
        rows = np.broadcast_to(array, (*shape, n)).reshape(n_event, n)
        events = result.reshape(n_event, self._event_shape[0])
        for begin, end, items in self._blocks(len(events), TILE // max(n, 1)):
            self._color(rows[begin:end], events[begin:end], items)
        return _params.delivered(result, result.shape, dtype, out)

    @quiet
    def _whiten(self, x: Real, out: Real) -> None:
        y = (x - self._in(_params.FLOAT64, "loc")[0]) / self._parts().scale
        out[...] = Whitening(self._parts().whitened).apply(y)


class Parts(NamedTuple):
    """S, G and W, the inverse of the lower Cholesky factor of C."""

    scale: Real
    whitened: Real
    inverse_root: Real

    def solve(self) -> Real:
        """H = Σ⁻¹F = S⁻¹ G C⁻¹."""
        return multiplied(self.half(), self.inverse_root)

    def half(self) -> Real:
        """S⁻¹ G W', of which Σ⁻¹ is S⁻² less the square."""
        return multiplied(self.whitened, self.inverse_root.swapaxes(-1, -2)) / self.scale[..., None]

    def inverse_diagonal(self) -> Real:
        """Diagonal of Σ⁻¹."""
        return np.asarray(1 / np.square(self.scale) - np.square(self.half()).sum(-1))


class Whitening:
    """(1 + G G')^(-1/2) = 1 - G P G', P being a function of G'G: 1 / (r + r^2) of its eigenvalues r^2 - 1."""

    def __init__(self, whitened: Real) -> None:
        self.g = whitened
        values, self.vectors = np.linalg.eigh(multiplied(whitened.swapaxes(-1, -2), whitened))
        self.root = np.sqrt(1 + np.maximum(values, 0))
        self.power = multiplied(
            self.vectors / (self.root + self.root**2)[..., None, :], self.vectors.swapaxes(-1, -2)
        )

    def apply(self, y: Real) -> Real:
        """Of vectors y."""
        return np.asarray(y - multiplied(self.g, multiplied(self.power, self.in_span(y)[..., None]))[..., 0])

    def in_span(self, y: Real) -> Real:
        """G'y."""
        return np.asarray(multiplied(y[..., None, :], self.g)[..., 0, :])

    def gradient(self, y: Real, h: Real) -> Real:
        """By G, of what becomes of y, with cotangents h. P changes by divided differences of eigenvalues."""
        a, b = self.in_span(h), self.in_span(y)
        of_h, of_y = (multiplied(self.power, one[..., None])[..., 0] for one in (a, b))
        r, s = self.root[..., :, None], self.root[..., None, :]
        differences = -(1 + r + s) / ((r + s) * (r + r * r) * (s + s * s))
        turned = self.vectors.swapaxes(-1, -2)
        inner: Real = -0.5 * (a[..., :, None] * b[..., None, :] + b[..., :, None] * a[..., None, :])
        inner = multiplied(
            self.vectors,
            multiplied(differences * multiplied(multiplied(turned, inner), self.vectors), turned),
        )
        direct = h[..., :, None] * of_y[..., None, :] + y[..., :, None] * of_h[..., None, :]
        return np.asarray(2 * multiplied(self.g, inner) - direct)


# ---- gradients -----------------------------------------------------------------------------------


def fitted(d: LowRankMultivariateNormal, terms: dict[str, Any]) -> Gradients:
    """Terms of gradients summed to the parameters' shapes and of their dtype."""
    result: Gradients = {}
    for name, term in terms.items():
        shape = d._parameter_shape(name)
        full = np.broadcast_to(term, np.broadcast_shapes(np.shape(term), shape))
        result[name] = summed(np.ascontiguousarray(full, np.float64), shape)
    return cast(result, d._dtype)


@own_vjp("rsample", LowRankMultivariateNormal)
def _vjp_rsample(d: LowRankMultivariateNormal, replay: Callable[[], Noise]) -> Pull:
    rank, (n,) = d.rank, d._noise_shape

    @quiet
    def pull(g: Real, _: Real) -> Gradients:
        noise, n_batch = replay(), math.prod(d._batch_shape)
        rows = g.reshape(math.prod(g.shape[:-1]), d._event_shape[0])
        by_loc = np.zeros((n_batch, d._event_shape[0]))
        by_scale, by_factor = np.zeros_like(by_loc), np.zeros((*by_loc.shape, rank))
        for begin, end, items in d._blocks(len(rows), TILE // max(n, 1)):
            eps = standard_normal((end - begin, n), dtype=d._dtype, rng=noise).astype(float, copy=False)
            part = np.array(rows[begin:end], float, order="C")
            n_item = len(by_loc[items])
            n_sample = len(part) // n_item
            part, eps = part.reshape(n_sample, n_item, -1), eps.reshape(n_sample, n_item, n)
            by_loc[items] += part.sum(0)
            by_scale[items] += (part * eps[..., rank:]).sum(0)
            by_factor[items] += multiplied(part.transpose(1, 2, 0), eps[..., :rank].transpose(1, 0, 2))
        shape = d._batch_shape + d._event_shape
        return fitted(
            d,
            {
                "loc": by_loc.reshape(shape),
                "cov_factor": by_factor.reshape(*shape, rank),
                "cov_diag": by_scale.reshape(shape) / (2 * d._parts().scale),
            },
        )

    return pull


def scores(d: LowRankMultivariateNormal, x: Real, g: Real) -> tuple[Real, dict[str, Real]]:
    """Gradients of half the distance, negative, with cotangents g: by x, and by the parameters."""
    rest, v = d._solved(x)
    back = rest / d._parts().scale  # the inverse covariance times x - loc
    g = g[..., None]
    return -g * back, {
        "loc": g * back,
        "cov_factor": (g * back)[..., None] * v[..., None, :],
        "cov_diag": 0.5 * g * np.square(back),
    }


def of_determinant(d: LowRankMultivariateNormal, g: Real) -> dict[str, Real]:
    """Gradients of the half log determinant."""
    parts = d._parts()
    return {
        "cov_factor": g[..., None, None] * parts.solve(),
        "cov_diag": 0.5 * g[..., None] * parts.inverse_diagonal(),
    }


def _scored(
    d: LowRankMultivariateNormal, name: str, value: ArrayLike, weight: float, determinant: float
) -> Pull:
    array, value_shape, dtype = recorded(value, d, name)

    @quiet
    def pull(g: Real, _: Real) -> Gradients:
        wide = np.broadcast_to(g, g.shape).astype(float)
        by_value, terms = scores(d, array, weight * wide)
        result: Gradients = fitted(d, terms)
        if determinant:
            of_batch = summed(np.ascontiguousarray(wide), d._batch_shape) * determinant
            for parameter, gradient in fitted(d, of_determinant(d, of_batch)).items():
                result[parameter] = result[parameter] + gradient
        full = np.broadcast_to(by_value, np.broadcast_shapes(by_value.shape, value_shape))
        result[name] = summed(np.ascontiguousarray(full), value_shape).astype(dtype)
        return result

    return pull


@own_vjp("log_prob", LowRankMultivariateNormal)
def _vjp_log_prob(d: LowRankMultivariateNormal, /, value: ArrayLike) -> Pull:
    return _scored(d, "value", value, 1.0, -1.0)


@own_vjp("mahalanobis", LowRankMultivariateNormal)
def _vjp_mahalanobis(d: LowRankMultivariateNormal, /, x: ArrayLike) -> Pull:
    return _scored(d, "x", x, -2.0, 0.0)


@own_vjp("entropy", LowRankMultivariateNormal)
def _vjp_entropy(d: LowRankMultivariateNormal) -> Pull:
    @quiet
    def pull(g: Real, _: Real) -> Gradients:
        zero = {"loc": np.zeros(d._parameter_shape("loc"), d._dtype)}
        return {**zero, **fitted(d, of_determinant(d, g.astype(float)))}

    return pull


@own_vjp("colorize", LowRankMultivariateNormal)
def _vjp_colorize(d: LowRankMultivariateNormal, /, eps: ArrayLike) -> Pull:
    rank = d.rank
    array, batch_shape, dtype = _params.values(eps, d._dtype, d._noise_shape, "eps")
    record, eps_shape = array.astype(float), (*batch_shape, array.shape[-1])

    @quiet
    def pull(g: Real, _: Real) -> Gradients:
        wide, scale = np.broadcast_to(g, g.shape).astype(float), d._parts().scale
        (factor,) = d._in(_params.FLOAT64, "cov_factor")
        terms = {
            "loc": wide,
            "cov_factor": wide[..., None] * record[..., None, :rank],
            "cov_diag": wide * record[..., rank:] / (2 * scale),
        }
        by_eps = np.concatenate([multiplied(wide[..., None, :], factor)[..., 0, :], wide * scale], -1)
        full = np.broadcast_to(by_eps, np.broadcast_shapes(by_eps.shape, eps_shape))
        return {**fitted(d, terms), "eps": summed(np.ascontiguousarray(full), eps_shape).astype(dtype)}

    return pull


@own_vjp("whiten", LowRankMultivariateNormal)
def _vjp_whiten(d: LowRankMultivariateNormal, /, x: ArrayLike) -> Pull:
    array, x_shape, dtype = recorded(x, d, "x")

    @quiet
    def pull(g: Real, _: Real) -> Gradients:
        scale, whitened = d._parts().scale, d._parts().whitened
        whitening = Whitening(whitened)
        y, h = (array - d._in(_params.FLOAT64, "loc")[0]) / scale, np.asarray(g, np.float64)
        by_y, by_g = whitening.apply(h), whitening.gradient(y, h)
        by_x = by_y / scale
        by_scale = -(by_y * y + (by_g * whitened).sum(-1)) / scale
        terms = {"loc": -by_x, "cov_factor": by_g / scale[..., None], "cov_diag": by_scale / (2 * scale)}
        full = np.broadcast_to(by_x, np.broadcast_shapes(by_x.shape, x_shape))
        return {**fitted(d, terms), "x": summed(np.ascontiguousarray(full), x_shape).astype(dtype)}

    return pull
