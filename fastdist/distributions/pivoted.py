"""Pivoted: what a MultivariateNormal with singular covariances does its work by.

The factor of each matrix is that of its rows and columns in another order, pivots first (_factors.py):

    factor    L by columns; of those only the first `rank` are not 0
    order     which element of an event each of its rows is
    rank      d for a matrix that is regular, whose order is 0, 1, ...

An event x, in this order, is loc + L z, and z is what it takes to get its first `rank` elements: L^-1, with
infinities on the diagonal for zeros, so that the elements of z behind are 0. The event is on the support if
its other elements are what L z makes of them. With F the factor with its rows in their places, F'F = M M':

    half log pseudodeterminant    log det M
    gradient of z z' / 2 by x     F (F'F)^-1 z, the component along the support, as the pseudoinverse has it

Where a matrix is regular all is by the same kernels as without pivots, and has the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import numpy as np

from fastdist import _params
from fastdist._kernels.program import DIAGONAL, KERNELS, TRIL, Plan, apply, sum_events
from fastdist._kernels.sources import Noise
from fastdist._params import quiet
from fastdist._shapes import Shape
from fastdist._typing import ArrayLike, NDArray, Real, RealDType
from fastdist.distributions import _factors
from fastdist.distributions._gaussian import HALF_LOG_2PI, STANDARD
from fastdist.distributions.covariance import Lower, to_events, transposed
from fastdist.distributions.distribution import Distribution, draw_scored
from fastdist.distributions.rules import Gradients, Pull, cast, recorded, summed

# How far from where the rest of it says elements of an event may be, in units of the largest standard
# deviation: what rounding in a matrix can make of the smallest pivots. For float64 it is scipy's.
AWAY = {"f": 10 * _factors.NEGLIGIBLE["f"], "d": 1e3 * _factors.NEGLIGIBLE["d"]}

TILE = 131072  # numbers that are worked on at a time, an L2 cache of them


class Pivoted(Distribution):
    """Gaussian vectors by such factors; arrays `loc`, `_factor`, `_order` and `_rank`, unbroadcast."""

    has_rsample = True
    _precision = ""  # the char of the dtype of the matrix, if it is not this one's
    _core_ndim: ClassVar[dict[str, int]] = {
        "loc": 1,
        "_factor": 2,
        "_order": 1,
        "_rank": 0,
        "_panels": 1,
        "_solving": 1,
        "_half_log_det": 0,
    }

    @classmethod
    def of(cls, d: Distribution) -> Pivoted:
        """With the arrays of another distribution."""
        new = cls.__new__(cls)
        arrays = {name: d._arrays[name] for name in new._along()}
        new._set_up(arrays, d._batch_shape, d._event_shape, d._dtype, None)
        return new

    @classmethod
    def made(cls, loc: Real, found: _factors.ByPivots, batch_shape: Shape, given: RealDType) -> Pivoted:
        """In float64, of a matrix that was `given` in a dtype."""
        new = cls.__new__(cls)
        arrays = {"loc": loc, "_factor": found.factor, "_order": found.order, "_rank": found.rank}
        new._set_up(arrays, batch_shape, loc.shape[-1:], _params.FLOAT64, None)
        new._precision = given.char
        return new

    def _along(self) -> tuple[str, ...]:
        return "loc", "_factor", "_order", "_rank"

    # ---- what the arrays say -------------------------------------------------------------

    @property
    def order(self) -> NDArray[np.intp]:
        """Which element each row of a factor is."""
        return self._arrays["_order"].astype(np.intp)

    @property
    def places(self) -> NDArray[np.intp]:
        """Which row of a factor each element is."""
        return np.argsort(self.order, axis=-1)

    @property
    def null(self) -> NDArray[np.bool_]:
        """True for columns of zeros."""
        return np.asarray(np.arange(self._event_shape[0]) >= self._arrays["_rank"][..., None])

    @property
    def columns(self) -> Real:
        """F, the factor with its rows in their places, by columns."""
        return np.take_along_axis(self._arrays["_factor"], self.places[..., None, :], -1)

    def _panels(self, dtype: RealDType) -> Real:
        """The factor as kernels multiply by it."""
        return self._made_of_factor("_panels", dtype, np.copy)

    def _solving(self, dtype: RealDType) -> Real:
        """And as they solve by it."""

        def bounded(factor: Real) -> Real:
            result = factor.copy()
            np.einsum("...ii->...i", result)[self.null] = np.inf
            return result

        return self._made_of_factor("_solving", dtype, bounded)

    def _made_of_factor(self, name: str, dtype: RealDType, make: Callable[[Real], Real]) -> Real:
        def panels() -> Real:
            return _factors.panels(make(self._in(dtype, "_factor")[0]))

        return self._kept(name, panels) if dtype == self._dtype else panels()

    def _loc(self, dtype: RealDType) -> Real:
        """Of rows of the factor."""
        return taken(self._in(dtype, "loc")[0], self.order)

    @quiet
    def gram(self) -> _factors.ByPivots:
        """M, by pivots, with ones for columns of zeros; in float64."""
        factor = self._in(_params.FLOAT64, "_factor")[0]
        matrix = _factors.summed_outer(factor.swapaxes(-1, -2))
        np.einsum("...ii->...i", matrix)[...] += self.null
        return _factors.pivoted(matrix)

    @quiet
    def _half_log_det(self) -> Real:
        """Log of the root of the pseudodeterminant, in float64; shape: the matrix's batch, unbroadcast."""

        def make() -> Real:
            of_gram, own = (
                np.diagonal(factor, axis1=-2, axis2=-1)
                for factor in (self.gram().factor, *self._in(_params.FLOAT64, "_factor"))
            )
            own = np.where(self.null, 1, own)
            return np.where(self.null.any(-1), Lower.half_log_det(of_gram), Lower.half_log_det(own))

        return self._kept("_half_log_det", make)

    def log_dets(self, each: float) -> Real:
        """`_half_log_det` less a constant a column of zeros: densities and entropies add it d times."""
        return np.asarray(self._half_log_det() - self.null.sum(-1) * each)

    def _constant(self, dtype: RealDType) -> Real:
        log_dets = self.log_dets(HALF_LOG_2PI)
        return _params.pack(np.asarray(log_dets + self._event_shape[0] * HALF_LOG_2PI), dtype)

    # ---- draws -----------------------------------------------------------------------------

    def _draw_plan(self) -> Plan | None:
        return Plan(Lower.colorize, self._loc(self._dtype), self._panels(self._dtype))

    def _scored_plan(self, event_ndim: int) -> Plan | None:
        plan = self._draw_plan()
        assert plan is not None
        scale = np.where(self.null, np.inf, 1).astype(self._dtype)  # so that noise there counts for nothing
        loc, constant = STANDARD[self._dtype.char][0], self._constant(self._dtype)
        return plan.first(KERNELS["normal_log_prob_events"], loc, scale, constant)

    def _draw(self, noise: Noise, out: Real, workers: int) -> None:
        super()._draw(noise, out, workers)
        self._put_back(out)

    def draw_scored(self, noise: Noise, out: Real, density: Real, workers: int) -> None:
        """Draws and the densities of events."""
        if out.size:
            draw_scored(self, noise, out, density, workers)
            self._put_back(out)

    def _put_back(self, events: Real) -> None:
        """Elements, in the order of the factor, to their places."""

        def put(d: Pivoted, x: Real) -> None:
            x[...] = taken(x, d.places)

        self.by_tiles(put, events)

    # ---- events, a tile of them at a time ------------------------------------------------------

    def by_tiles(self, work: Callable[..., None], x: Real, *arrays: Real) -> None:
        """Do something with events of the shape of the batch and more, and with arrays that go along.

        `work` gets this distribution, or parts of its batch, and parts of the arrays.
        """
        if x.size <= TILE or x.ndim == 1 or (x.ndim == 2 and len(x) == 1):
            work(self, x, *arrays)
            return
        some = max(TILE * len(x) // x.size, 1)
        for begin in range(0, len(x), some):
            part: Any = slice(begin, begin + some) if some > 1 or x.ndim == 2 else begin
            d = self if x.ndim - 1 > len(self._batch_shape) else self[part]
            d.by_tiles(work, x[part], *[array[part] for array in arrays])

    def solved(self, deviation: Real) -> tuple[Real, Real]:
        """Noise z of events less loc, in the order of factors, and how far away other elements are."""
        dtype, zero = deviation.dtype, np.zeros(deviation.shape[-1], deviation.dtype)
        z = deviation.copy()
        to_events(Lower.whiten, z, zero, self._solving(dtype))
        away = z.copy()
        to_events(Lower.colorize, away, zero, self._panels(dtype))
        away -= deviation
        away *= self.null
        return z, np.abs(away, out=away)

    def is_off(self, away: Real, size: Real) -> NDArray[np.bool_]:
        """True for events that are not on the support, so far away; `size` is that of what was subtracted."""
        char, dim = self._precision or self._dtype.char, away.shape[-1]
        if dim == 0:
            return np.zeros(away.shape[:-1], bool)
        limit = AWAY[char] * self._arrays["_factor"][..., 0, 0] + 4 * dim * float(np.finfo(char).eps) * size
        return np.asarray(~(away.max(-1) <= limit) & self.null.any(-1))

    def _at_events(self, x: Real, out: Real, fill: Callable[..., None], nowhere: float) -> None:
        """By `fill`, of a part of this, events in its order, their loc, z and a result; else `nowhere`.

        Where an event has a NaN the result is NaN.
        """

        @quiet
        def work(d: Pivoted, x: Real, out: Real) -> None:
            events, loc = taken(x, d.order), d._loc(x.dtype)
            z, away = d.solved(events - loc)
            off = d.is_off(away, np.maximum(np.abs(events).max(-1), np.abs(loc).max(-1)))
            result: Real = np.zeros(out.shape, out.dtype)
            fill(d, events, loc, z, result)
            result[off] = nowhere
            result[np.isnan(x).any(-1)] = np.nan
            out[...] = result

        self.by_tiles(work, x, out)

    def _events(self, x: Real, out: Real) -> Real:
        """Events for results that are a number each."""
        return np.broadcast_to(x, out.shape + self._event_shape)

    def density(self, value: Real, out: Real) -> None:
        """Log densities of events."""

        def fill(d: Pivoted, events: Real, loc: Real, _: Real, result: Real) -> None:
            dtype = result.dtype
            apply(Lower.log_prob, result.shape, result, events, loc, d._solving(dtype), d._constant(dtype))

        self._at_events(self._events(value, out), out, fill, -np.inf)

    def summed(self, of: Callable[[Real, Real], None], x: Real, out: Real, tail: Shape) -> None:
        """What a method makes of events, summed over the last dims of the batch, `tail`."""
        each: Real = np.empty(out.shape + tail, out.dtype) if tail else out
        of(x, each)
        if tail:
            out[...] = sum_events(each, tail)

    def mahalanobis(self, x: Real, out: Real) -> None:
        """Squared distances of events."""

        def fill(d: Pivoted, events: Real, loc: Real, _: Real, result: Real) -> None:
            one = np.ones((), result.dtype)
            apply(Lower.mahalanobis, result.shape, result, events, loc, d._solving(result.dtype), one)

        self._at_events(self._events(x, out), out, fill, np.inf)

    def whiten(self, x: Real, out: Real) -> None:
        """The noise of events."""

        def fill(_: Pivoted, events: Real, loc: Real, z: Real, result: Real) -> None:
            result[...] = z

        self._at_events(np.broadcast_to(x, out.shape), out, fill, np.nan)

    def colorize(self, eps: Real, out: Real) -> None:
        """Events from noise."""

        def work(d: Pivoted, eps: Real, out: Real) -> None:
            events = np.array(eps)
            to_events(Lower.colorize, events, d._loc(eps.dtype), d._panels(eps.dtype))
            out[...] = taken(events, d.places)

        self.by_tiles(work, np.broadcast_to(eps, out.shape), out)


def taken(x: Real, index: NDArray[np.intp]) -> Real:
    """Elements of events by numbers; both broadcast."""
    shape = np.broadcast_shapes(x.shape, index.shape)
    return np.take_along_axis(np.broadcast_to(x, shape), np.broadcast_to(index, shape), -1)


# ---- divergences ---------------------------------------------------------------------------------


@quiet
def divergence(p: Pivoted, q: Pivoted, shape: Shape) -> Real:
    """Of p from q, in float64: infinite unless both have one support.

    With K what q takes to make F of p, K K' has the rank of p's covariance, and with ones for q's columns of
    zeros it is the covariance of a regular distribution, of which the divergence from a standard one is the
    same. Its factor is made by pivots, too.
    """
    wide, order = _params.FLOAT64, q.order
    (loc_p,), (loc_q,) = p._in(wide, "loc"), q._in(wide, "loc")
    between = loc_p - loc_q
    columns = p.columns.astype(wide, copy=False)
    columns = np.moveaxis(np.broadcast_to(columns, shape + columns.shape[-2:]), -2, 0)
    z, away = q.solved(taken(np.broadcast_to(between, (*shape, between.shape[-1])), order))
    size = np.maximum(np.abs(loc_p).max(-1), np.abs(loc_q).max(-1))
    apart = q.is_off(away, size)
    rows, away = q.solved(taken(columns, order))
    apart = apart | q.is_off(away, np.abs(columns).max(-1)).any(0)
    matrix = _factors.summed_outer(np.moveaxis(rows, 0, -2))
    np.einsum("...ii->...i", matrix)[...] += q.null
    found = _factors.pivoted(matrix)
    result: Real = np.empty(shape)
    dim = matrix.shape[-1]
    arrays = taken(z, found.order.astype(np.intp)), np.zeros(dim), found.factor, np.ones(dim)
    apply(KERNELS["mvn_kl"], shape, result, *arrays, np.array([TRIL, DIAGONAL, 1], np.intp))
    apart = apart | (p._arrays["_rank"] != q._arrays["_rank"]) | (found.rank < dim)
    return np.where(apart, np.inf, result)


# ---- gradients -----------------------------------------------------------------------------------


class ByAllButMatrix(dict[str, Any]):
    """Gradients that say why they lack one."""

    def __missing__(self, name: str) -> NoReturn:
        if name == "covariance_matrix":
            raise NotImplementedError(
                "a singular covariance_matrix has no gradient: what changes it may change its rank"
            )
        raise KeyError(name)


def _gradients(d: Distribution, by_loc: Real, **others: Real) -> Gradients:
    by_loc = summed(np.ascontiguousarray(by_loc), d._parameter_shape("loc"))
    return ByAllButMatrix({**cast({"loc": by_loc}, d._dtype), **others})


def refuse(d: Distribution, method: str) -> None:
    """Raise where gradients would be those by a singular matrix."""
    if "_rank" in d._arrays:
        raise NotImplementedError(f"{method} has no gradients by a singular covariance_matrix")


def pull_rsample(d: Distribution) -> Pull:
    """Gradients of a draw."""
    return lambda g, _: _gradients(d, g)


def pull_scored(d: Distribution) -> Pull:
    """And of that with its density, which is the noise's."""
    return lambda g, _: _gradients(d, g[0])


def pull_entropy(d: Distribution) -> Pull:
    """No loc has any."""
    return lambda g, _: _gradients(d, np.zeros(d._parameter_shape("loc"), g.dtype))


def pull_colorize(d: Distribution, p: Pivoted, eps: ArrayLike) -> Pull:
    """By noise F'g."""
    _, shape, dtype = recorded(eps, d, "eps")

    @quiet
    def pull(g: Real, _: Real) -> Gradients:
        by_eps = transposed(Lower.colorize, taken(g, p.order), p._in(dtype, "_factor")[0])
        return _gradients(d, g, eps=summed(by_eps, shape))

    return pull


def _along_support(p: Pivoted, z: Real) -> Real:
    """F (F'F)^-1 z."""
    gram, dtype = p.gram(), z.dtype
    factor, order = gram.factor.astype(dtype), gram.order.astype(np.intp)
    v, zero = taken(z, order), np.zeros(z.shape[-1], dtype)
    to_events(Lower.whiten, v, zero, _factors.panels(factor))
    v = taken(transposed(Lower.whiten, v, factor), np.argsort(order, axis=-1))
    to_events(Lower.colorize, v, zero, p._panels(dtype))
    return taken(v, p.places)


def pull_events(d: Distribution, p: Pivoted, x: ArrayLike, name: str, weight: float | None) -> Pull:
    """By events and loc, of what is z or, with a weight, so many times z z'; 0 off the support."""
    array, shape, dtype = recorded(x, d, name)

    @quiet
    def pull(g: Real, _: Real) -> Gradients:
        full = (*g.shape, array.shape[-1]) if weight is not None else g.shape
        z: Real = np.empty(full, dtype)
        p.whiten(array, z)
        off = np.isnan(z).any(-1, keepdims=True)
        by_z = g if weight is None else 2 * weight * g[..., None] * z
        by_x = np.where(
            off, 0, _along_support(p, np.ascontiguousarray(np.where(off | p.null, 0, by_z), dtype))
        )
        return _gradients(d, -by_x, **{name: summed(np.ascontiguousarray(by_x), shape)})

    return pull
