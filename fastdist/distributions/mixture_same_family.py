"""MixtureSameFamily: one of the distributions along a batch's last dim, chosen by a Categorical.

What there is for each component, a density or a responsibility, is made some values at a time: `_tiles`.
Nothing of K times the size of a result is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from fastdist import _params, _shapes
from fastdist._kernels.program import KERNELS, apply, elementwise, sum_events
from fastdist._kernels.sources import GivenNoise, Noise
from fastdist._shapes import Shape
from fastdist._typing import ArrayLike, Real, RealDType
from fastdist.distributions import constraints
from fastdist.distributions._cdf_family import CdfFamily
from fastdist.distributions.categorical import Categorical, by_log_probs, log_softmax
from fastdist.distributions.constraints import Constraint
from fastdist.distributions.distribution import LAW, Distribution, keeps
from fastdist.distributions.independent import Independent
from fastdist.distributions.multivariate_normal import MultivariateNormal
from fastdist.distributions.normal import Normal
from fastdist.distributions.rules import Gradients, Pull, own_vjp, recorded, rule_of, summed
from fastdist.distributions.wrapper import Wrapper
from fastdist.random import standard_normal, standard_uniform

LOG_SUM_EXP, EXP, LOG_COMPLEMENT = (KERNELS[op] for op in ("log_sum_exp", "exp_log_prob", "log_complement"))
NORMAL_CDF, NORMAL_SURVIVAL = KERNELS["normal_cdf"], KERNELS["normal_survival"]
NORMAL_LOG_PROB, LOG = KERNELS["normal_log_prob"], KERNELS["log"]
# Of logarithms what is to be taken from 1.
COMPLEMENTS = {"log_cdf": "survival_function", "log_survival_function": "cdf"}
# Numbers that are made at a time, half an L2 cache of them.
TILE = 2**16


class MixtureSameFamily(CdfFamily, Wrapper):
    r"""Mixture of distributions of one type.

    .. math:: p(x) = \sum_k w_k \, p_k(x)

    Parameters
    ----------
    mixture_distribution : Categorical
        The weights w of the K components.
    component_distribution : Distribution
        The components, along the last dim of its batch, whose size is K. Its other batch dims broadcast with
        the weights' to ``batch_shape``; ``event_shape`` is its own.
    validate_args : bool, optional
        As in the other constructors; there are no values to check here.

    Raises
    ------
    TypeError
        If the first is no Categorical, the second no distribution.
    ValueError
        If the second has no batch dim of size K, or the others do not broadcast.

    Notes
    -----
    A draw takes a uniform, which chooses a component, and then what that component takes of an event. If the
    components are Normal or Independent(Normal) draws are reparameterised: `rsample` is the same draw, and
    its gradients are those of the inverse of the distributional transform

    .. math:: u_j = F_j(x_j \mid x_1, \ldots, x_{j-1})

    over the elements of an event in order, with u held fixed (Figurnov, Mohamed and Mnih, "Implicit
    reparameterization gradients", NeurIPS 2018). Other components have none: NotImplementedError.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> mixture = fd.MixtureSameFamily(fd.Categorical([0.3, 0.7]), fd.Normal([-1.0, 2.0], 0.5))
    >>> mixture.batch_shape, mixture.event_shape
    ((), ())
    >>> mixture.sample((1000,), rng=0).shape
    (1000,)
    >>> round(float(mixture.mean), 3)
    1.1
    >>> mixture.posterior_marginal([-1.0, 2.0]).probs.round(3)
    array([[1., 0.],
           [0., 1.]])
    """

    _held: Mapping[str, int] = MappingProxyType({"_mixture": 0, "_component": 1})
    _mixture: Categorical
    _component: Distribution

    def __init__(
        self,
        mixture_distribution: Categorical,
        component_distribution: Distribution,
        *,
        validate_args: bool | None = None,
    ) -> None:
        mixture, component = mixture_distribution, component_distribution
        if not (isinstance(mixture, Categorical) and keeps(type(mixture), Categorical, LAW)):
            raise TypeError(
                f"mixture_distribution must be a Categorical of that one's law, got {type(mixture).__name__}"
            )
        if not isinstance(component, Distribution):
            raise TypeError(f"component_distribution must be a Distribution, got {type(component).__name__}")
        n = mixture.num_events
        if component._batch_shape[-1:] != (n,):
            raise ValueError(
                f"component_distribution must have {n} components in the last dim of its batch, as many as "
                f"mixture_distribution has outcomes; got batch_shape {component._batch_shape}"
            )
        batch_shape = _shapes.broadcast_shapes(
            mixture_distribution=mixture._batch_shape, component_distribution=component._batch_shape[:-1]
        )
        dtype = mixture._dtype if mixture._dtype is component._dtype else _params.FLOAT64
        super().__init__(batch_shape, component._event_shape, dtype, validate_args=validate_args)
        self._mixture = mixture
        self._component = component
        self._lent = mixture._lent or component._lent

    # ---- parameters --------------------------------------------------------------------

    @property
    def mixture_distribution(self) -> Categorical:
        """The weights."""
        return self._mixture

    @property
    def component_distribution(self) -> Distribution:
        """The components."""
        return self._component

    @property
    def _discrete(self) -> bool:  # type: ignore[override]
        return self._component._discrete

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """True if draws are reparameterised: of Normal and Independent(Normal) components."""
        return normals_of(self._component) is not None

    @property
    def _for_want_of_rsample(self) -> str:  # type: ignore[override]
        return f" but of Normal and Independent(Normal) components, not of {type(self._component).__name__}"

    @property
    def support(self) -> Constraint:
        """What any of the components can be."""
        return constraints.union(self._component.support)

    @property
    def _n_component(self) -> int:
        return self._mixture.num_events

    # ---- moments -----------------------------------------------------------------------

    @_params.quiet
    def _averaged(self, of_components: Real) -> Real:
        """Averages by weights of what has the components' batch dims, then an event's; read-only."""
        weights = np.asarray(self._mixture.probs, self._dtype)
        weights = weights.reshape(*weights.shape, *(1,) * len(self._event_shape))
        axis = -1 - len(self._event_shape)
        terms = np.ascontiguousarray(np.moveaxis(weights * of_components, axis, -1), self._dtype)
        average = sum_events(terms, terms.shape[-1:])
        shape = self._batch_shape + self._event_shape
        return np.broadcast_to(average, shape)

    @property
    def mean(self) -> Real:
        """Average of the components' means; shape ``batch_shape + event_shape``, read-only."""
        return self._averaged(self._component.mean)

    @property
    @_params.quiet
    def variance(self) -> Real:
        """Average of the components' variances and squared distances from the mean.

        Shape ``batch_shape + event_shape``, read-only.
        """
        axis = -1 - len(self._event_shape)
        apart = self._component.mean - np.expand_dims(self.mean, axis)
        return self._averaged(self._component.variance + np.square(apart))

    # ---- draws -------------------------------------------------------------------------

    def _noise_per_event(self) -> tuple[int, int] | None:
        of_component = self._component._noise_per_event()
        if of_component is None or not keeps(type(self), MixtureSameFamily, LAW):
            return super()._noise_per_event()
        return 1 + of_component[0], of_component[1]

    def _draw(self, noise: Noise, out: Real, workers: int) -> None:
        n_event = math.prod(out.shape[: out.ndim - len(self._event_shape)])
        takes = self._noise_per_event()
        if takes is not None:
            noise = noise.ahead(*(n_event * number for number in takes))
        with noise:
            self._draw_events(noise, takes, out.reshape(n_event, *self._event_shape), workers)

    def _draw_events(self, noise: Noise, takes: tuple[int, int] | None, rows: Real, workers: int) -> None:
        """Fill rows with events, some of them at a time: their components, and then an event of each."""
        shape, n_batch = self._batch_shape, max(math.prod(self._batch_shape), 1)
        mixture, component = self._mixture.expand(shape), self._component.expand((*shape, self._n_component))
        size = math.prod(self._event_shape)
        if isinstance(component, MultivariateNormal):  # each event has a factor
            some = max(4 * TILE // max(size * size, 1), 1)
        else:
            some = max(TILE // max(size, 1), 1)
        whole = n_batch <= some  # samples
        if whole:
            some = some // n_batch * n_batch
        for first in range(0, len(rows), some):
            tile = rows[first : first + some]
            in_batch = np.arange(first, first + len(tile)) % n_batch
            of_batch = np.unravel_index(in_batch, shape) if shape else ()
            of_choice, of_event = noise, noise
            if takes is not None and takes[0] > 1:  # each event has its uniforms side by side
                uniforms = standard_uniform((len(tile), takes[0]), rng=noise)
                normals = standard_normal(len(tile) * takes[1], rng=noise)
                of_choice = GivenNoise(uniforms[:, 0].copy(), np.empty(0))
                of_event = GivenNoise(uniforms[:, 1:].ravel(), normals)
            chosen: Any = np.empty((len(tile) // n_batch, *shape) if whole else len(tile), np.int64)
            (mixture if whole else mixture[of_batch])._draw(of_choice, chosen, workers)
            part = component[(*of_batch, chosen.ravel())]
            if part._dtype is self._dtype or self._discrete:
                part.sample(rng=of_event, out=tile, workers=workers)  # type: ignore[arg-type]
            else:
                tile[...] = part.sample(rng=of_event, workers=workers)  # type: ignore[arg-type]

    # ---- densities ---------------------------------------------------------------------

    def _log_prob(self, value: Real, event_ndim: int, out: Real) -> None:
        n_more = event_ndim - len(self._event_shape)
        if n_more == 0:
            self._combine("log_prob", value, out)
            return
        # Summed over dims of the batch by one that holds this.
        tail = self._batch_shape[len(self._batch_shape) - n_more :]
        densities = np.empty(out.shape + tail, out.dtype)
        self._combine("log_prob", value, densities)
        out[...] = sum_events(densities, tail)

    def _combine(self, method: str, value: Real, out: Real) -> None:
        """Fill `out` with what a method of the components gives, averaged by weights, or logarithms of it."""
        for part, values, result in _tiles(self, value, out):
            if not method.startswith("log_"):
                result[...] = part._weighted(method, values, out.dtype)
                continue
            each = part._of_components(method, values, out.dtype)
            apply(LOG_SUM_EXP, result.shape, result, each, part._mixture._normalized(out.dtype))
            if method in COMPLEMENTS and (near := result > -math.log(2)).any():  # near 1 by what is missing
                missing = part._weighted(COMPLEMENTS[method], values, out.dtype)
                np.copyto(result, elementwise(LOG_COMPLEMENT, missing), where=near)

    def _weighted(self, method: str, value: Real, dtype: RealDType) -> Real:
        """Probabilities that a method of the components gives for a packed value, averaged by weights."""
        each = self._of_components(method, value, dtype) * self._mixture._weights(dtype)
        return np.minimum(sum_events(each, each.shape[-1:]), 1)  # which weights may pass by an ulp

    def _of_components(self, method: str, value: Real, dtype: RealDType) -> Real:
        """What a method of the components gives for a packed value, along a new last dim."""
        at = np.expand_dims(value, -1 - len(self._event_shape))
        return np.ascontiguousarray(getattr(self._component, method)(at), dtype)

    def _cdf(self, method: str, value: ArrayLike, out: Real | None) -> Real:
        if getattr(self._component, method, None) is None:
            raise NotImplementedError(f"{type(self._component).__name__} has no {method}")
        array, batch_shape, dtype = _params.values(value, self._dtype, self._event_shape)
        result = np.empty(_shapes.broadcast_shapes(value=batch_shape, distribution=self._batch_shape), dtype)
        self._combine(method, array, result)
        return _params.delivered(result, result.shape, dtype, out)

    def posterior_marginal(self, value: ArrayLike) -> Categorical:
        """Which component a value is from: the responsibilities.

        Parameters
        ----------
        value : array_like
            As for `log_prob`.

        Returns
        -------
        Categorical
            Over the components; its batch shape is that of ``log_prob(value)``. Of a value that no component
            can have, all probabilities are NaN.
        """
        array, _, dtype = _params.values(value, self._dtype, self._event_shape)
        joint = self._of_components("log_prob", array, dtype) + self._mixture._normalized(dtype)
        return Categorical(logits=joint, validate_args=False)

    # ---- what it was built with ----------------------------------------------------------

    def _named(self) -> tuple[str, ...]:
        return "mixture_distribution", "component_distribution"

    def _parameters(self) -> dict[str, Any]:
        return {
            "mixture_distribution": self._mixture,
            "component_distribution": self._component,
            "validate_args": self._validate_args,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._mixture!r}, {self._component!r})"


def _tiles(d: MixtureSameFamily, value: Real, out: Real) -> Iterator[tuple[MixtureSameFamily, Real, Real]]:
    """Parts of a mixture, of a packed value and of a result, with a tile of numbers for all components."""
    n = out.size * d._n_component
    axis = next((axis for axis, size in enumerate(out.shape) if size > 1), None)
    if n <= TILE or axis is None:
        if out.size:
            yield d, value, out
        return
    size = out.shape[axis]
    some = max(TILE // (n // size), 1)
    of_batch = axis - (out.ndim - len(d._batch_shape))  # which dim of the batch that is, if any
    of_value = axis - (out.ndim - (value.ndim - len(d._event_shape)))
    repeats = of_value < 0 or value.shape[of_value] == 1
    for first in range(0, size, some):
        chosen = slice(first, first + some)
        part = d
        if of_batch >= 0:
            part = d[(slice(None),) * of_batch + (chosen,)]
        values = value if repeats else value[(slice(None),) * of_value + (chosen,)]
        yield from _tiles(part, values, out[(slice(None),) * axis + (chosen,)])


# ---- gradients -----------------------------------------------------------------------------------


def _total(parts: Iterator[Gradients]) -> Gradients:
    """Sums of gradients, added up in float64 and then rounded."""
    first = next(parts)
    total = _each(lambda gradient: gradient.astype(np.float64), first)
    for part in parts:
        _each(lambda gradient, more: np.add(gradient, more, out=gradient), total, part)
    return _each(lambda gradient, like: _params.pack(gradient, like.dtype), total, first)


def _each(function: Callable[..., Any], *gradients: Gradients) -> Gradients:
    """What a function makes of each array of nested gradients, or of those of the same names."""
    return {
        name: _each(function, *(of_one[name] for of_one in gradients))
        if isinstance(gradient, dict)
        else function(*(of_one[name] for of_one in gradients))
        for name, gradient in gradients[0].items()
    }


PullTile = Callable[[Real, Real], Gradients]


def _register(method: str) -> None:
    """The rule of a method that averages what the components give, or takes a logarithm of averages."""

    @own_vjp(method, MixtureSameFamily)
    def rule(d: MixtureSameFamily, /, value: ArrayLike) -> Pull:
        array, value_shape, dtype = recorded(value, d)
        of_components = rule_of(type(d._component), method)
        n_event = len(d._event_shape)

        @_params.quiet
        def pull_tile(values: Real, g: Real) -> Gradients:
            at = np.expand_dims(values, -1 - n_event)
            each = np.asarray(getattr(d._component, method)(at))
            if method.startswith("log_"):
                joint = np.ascontiguousarray(each + d._mixture._normalized(dtype), dtype)
                by_component = elementwise(EXP, log_softmax(joint)) * g[..., None]
                by_weight = by_component
            else:
                by_component = np.asarray(d._mixture._weights(dtype) * g[..., None], dtype)
                by_weight = np.ascontiguousarray(by_component * each)
            pull = of_components.rule(d._component, at)
            of_component = pull(np.broadcast_to(by_component, by_weight.shape), each)
            by_value = of_component.pop("value")
            return {
                "mixture_distribution": by_log_probs(d._mixture, by_weight),
                "component_distribution": of_component,
                "value": by_value.reshape(values.shape),
            }

        return _by_tiles(d, array, value_shape, pull_tile)


for _method in ("log_prob", "cdf", "survival_function", "log_cdf", "log_survival_function"):
    _register(_method)


def _by_tiles(d: MixtureSameFamily, array: Real, value_shape: Shape, pull_tile: PullTile) -> Pull:
    """The pullback that does `pull_tile` for some samples of a value at a time."""
    n_event = len(d._event_shape)

    def pull(g: Real, _: Real) -> Gradients:
        n_lead = g.ndim - len(d._batch_shape)
        leading = array.ndim - n_event - len(d._batch_shape)  # sample dims that the value has
        n_sample = math.prod(g.shape[:n_lead])
        if n_sample <= 1 or leading < n_lead or array.shape[:n_lead] != g.shape[:n_lead]:
            return pull_tile(array, g)
        # Some samples at a time.
        values = array.reshape(n_sample, *array.shape[n_lead:])
        cotangent = np.broadcast_to(g, g.shape).reshape(n_sample, *g.shape[n_lead:])
        per_sample = max(g.size // n_sample * d._n_component * max(math.prod(d._event_shape), 1), 1)
        some = max(TILE // per_sample, 1)
        by_value = np.empty(values.shape, g.dtype)

        def parts() -> Iterator[Gradients]:
            for first in range(0, n_sample, some):
                part = slice(first, first + some)
                gradients = pull_tile(values[part], cotangent[part])
                by_value[part] = gradients.pop("value")
                yield gradients

        return {**_total(parts()), "value": by_value.reshape(value_shape)}

    return pull


class Normals(NamedTuple):
    """Components that are vectors of independent normals, or scalars."""

    normal: Normal
    n_event: int  # how many of its batch dims are an event's


def normals_of(component: Distribution) -> Normals | None:
    """The Normal behind Independent components, if that is what they are."""
    n_event, d = 0, component
    while isinstance(d, Independent) and keeps(type(d), Independent, LAW):
        n_event, d = n_event + d._ndims, d._base
    return Normals(d, n_event) if isinstance(d, Normal) and keeps(type(d), Normal, LAW) else None


@own_vjp("rsample", MixtureSameFamily, sees_value=True)
def _vjp_rsample(d: MixtureSameFamily, replay: Callable[[], Noise]) -> Pull:
    components = normals_of(d._component)
    if components is None:
        raise NotImplementedError(f"{type(d).__name__} has no reparameterised draws{d._for_want_of_rsample}")
    normal, n_event = components
    given = {name: normal._parameter_shape(name) for name in ("loc", "scale")}
    size = math.prod(d._event_shape)
    # A dim for the components, then one for the elements of an event.
    shape = (*d._batch_shape, d._n_component, size)
    full = (*d._batch_shape, d._n_component, *d._event_shape)
    loc, scale = (
        np.asarray(np.broadcast_to(normal._view(name), full).reshape(shape), d._dtype)
        for name in ("loc", "scale")
    )

    def pull(g: Real, x: Real) -> Gradients:
        n_sample = math.prod(g.shape[: g.ndim - len(d._batch_shape) - n_event])
        tile_shape = (n_sample, *d._batch_shape, size)
        cotangent, values = np.broadcast_to(g, x.shape).reshape(tile_shape), x.reshape(tile_shape)
        log_weights = d._mixture._normalized(d._dtype)
        some = max(TILE // max(math.prod(shape), 1), 1)

        def parts() -> Iterator[Gradients]:
            for first in range(0, max(n_sample, 1), some):
                part = slice(first, first + some)
                by_weights, by_loc, by_scale = implicit(
                    cotangent[part], values[part], log_weights, loc, scale
                )
                yield {
                    "mixture_distribution": by_log_probs(d._mixture, by_weights),
                    "component_distribution": {
                        name: _params.pack(
                            summed(terms.reshape(len(terms), *full), given[name]), normal._dtype
                        )
                        for name, terms in (("loc", by_loc), ("scale", by_scale))
                    },
                }

        return _total(parts())

    return pull


@_params.quiet
def implicit(g: Real, x: Real, log_weights: Real, loc: Real, scale: Real) -> tuple[Real, Real, Real]:
    """Gradients of draws of a mixture of vectors of normals, by logarithms of weights, loc and scale.

    g and x have a last dim for the elements j of an event; loc and scale one for the components k before it.
    With r_kj the responsibilities given the elements before j, P the components' cdf and F_j = sum of
    r_kj P_kj the conditional one, whose density is f_j, F_j changes

        by x_i, i < j                 by the sum of -c_kj z_ki / scale_ki,  c_kj = r_kj (P_kj - F_j)
        by log weight k               by c_kj
        by loc_ki, scale_ki, i < j    by c_kj z_ki / scale_ki,  c_kj (z_ki^2 - 1) / scale_ki
        by loc_kj, scale_kj           by -r_kj p_kj,  -r_kj p_kj z_kj

    and x by -(dF/dx)^-1 times all of that: a triangle, which is solved from the last element on. Divided by
    f_j, r_kj p_kj are the responsibilities given element j, too.
    """
    dtype, size = g.dtype, g.shape[-1]
    z = np.asarray((x[..., None, :] - loc) / scale)
    log_density = np.empty(z.shape, dtype)
    at = np.ascontiguousarray(np.broadcast_to(x[..., None, :], z.shape))
    apply(
        NORMAL_LOG_PROB,
        z.shape,
        log_density,
        at,
        _packed(loc),
        _packed(scale),
        elementwise(LOG, _packed(scale)),
    )
    below, above = np.empty_like(log_density), np.empty_like(log_density)
    apply(NORMAL_CDF, z.shape, below, at, _packed(loc), _packed(scale))
    apply(NORMAL_SURVIVAL, z.shape, above, at, _packed(loc), _packed(scale))

    # Responsibilities before each element and after the last one.
    joint = np.empty((size + 1, *z.shape[:-1]), dtype)
    joint[0] = log_weights
    for j in range(size):
        np.add(joint[j], log_density[..., j], out=joint[j + 1])
    share = elementwise(EXP, log_softmax(joint))

    by_loc, by_scale = np.empty_like(z), np.empty_like(z)
    behind = np.zeros(
        z.shape[:-1], dtype
    )  # sum over the elements behind of c_kj / f_j times what they have to do
    for j in reversed(range(size)):
        r, after, zj, scale_j = share[j], share[j + 1], z[..., j], scale[..., j]
        slope = -zj / scale_j
        todo = g[..., j] - _sum(slope * behind)
        by_loc[..., j] = todo[..., None] * after + behind * slope
        by_scale[..., j] = todo[..., None] * after * zj - behind * (zj * zj - 1) / scale_j
        # P - F from the nearer end.
        part_below, part_above = _sum(r * below[..., j])[..., None], _sum(r * above[..., j])[..., None]
        apart = np.where(part_below < part_above, below[..., j] - part_below, part_above - above[..., j])
        density = _sum(r * elementwise(EXP, np.ascontiguousarray(log_density[..., j])))
        behind = behind + todo[..., None] * (r * apart / density[..., None])
    return -behind, by_loc, by_scale


def _packed(array: Real) -> Real:
    return _params.pack(array, array.dtype, 1)


def _sum(terms: Real) -> Real:
    """Over the last dim."""
    array = np.ascontiguousarray(terms)
    return sum_events(array, array.shape[-1:])
