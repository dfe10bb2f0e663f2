"""Draws and densities as dask arrays: the bits of a local call, however they are cut into chunks.

sample, standard_normal   draws that are made a chunk at a time
log_prob                  densities of a dask array's chunks
distribution              a LazyDistribution, whose parameters are dask arrays

Number i of a stream depends on its key and i alone. So a task knows the `Place` where a draw begins and reads
what falls into its chunk. A graph has two layers: *parts*, a node for each slice of the batch, with its slice
of the parameters, which all chunks of samples share; and the chunks, by a Blockwise layer, which grows only
when it is computed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from dask.array.core import normalize_chunks
from dask.base import normalize_token, tokenize
from dask.blockwise import blockwise
from dask.highlevelgraph import HighLevelGraph
from dask.layers import ArraySliceDep
from dask.tokenize import TokenizationError
from numpy.random import BitGenerator, Generator
from numpy.typing import DTypeLike

from fastdist import _shapes
from fastdist._kernels.sources import PartNoise
from fastdist._shapes import Shape, ShapeLike
from fastdist._typing import NDArray, Real
from fastdist.distributions import Distribution, Independent
from fastdist.distributions.parts import Range, part_of, takes_of
from fastdist.random import BlockSFC64, Place, RNGLike, as_noise
from fastdist.random import standard_normal as local_standard_normal

__all__ = ["LazyDistribution", "distribution", "log_prob", "sample", "standard_normal"]

Chunks = tuple[tuple[int, ...], ...]


def sample(
    d: Distribution | LazyDistribution, sample_shape: ShapeLike, *, rng: RNGLike, chunks: Any = "auto"
) -> da.Array:
    """Draw samples as a dask array: ``d.sample(sample_shape, rng=rng)``, bit for bit, for any chunks.

    Parameters
    ----------
    d : Distribution or LazyDistribution
        The graph carries a slice of its parameters for each slice of its batch.
    sample_shape : int or iterable of int
        Leading dims of the result.
    rng : None, int, sequence of ints, SeedSequence, Place, BlockSFC64 or a Generator of one
        A generator is read where it stands, and moves on behind the whole draw now, when the graph is made:
        the next call draws other numbers, and computing an array again the same. (NumPy's own bit
        generators cannot be read in parts.)
    chunks : int, str, tuple or dict, optional
        dask's, over ``sample_shape + batch_shape + event_shape``; dims of the event may be left away and are
        whole then. "auto" never cuts an event, and cuts a lazy distribution's batch as its parameters are.

    Returns
    -------
    dask.array.Array
        Shape ``sample_shape + batch_shape + event_shape``; dtype as of `d.sample`.

    Raises
    ------
    TypeError
        For a `d` that is no distribution or that dask cannot tokenize, or an unusable `rng`.
    ValueError
        For chunks that do not fit the shape, or cut an event whose elements are not independent.
    NotImplementedError
        If it is not known how many numbers an event takes: one written by a user says so in
        `normals_per_event`. By no error has the generator moved.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> d = fd.Normal(np.zeros(50), 2.0)
    >>> x = fd.dask.sample(d, (1000,), rng=0, chunks=(300, 20))
    >>> x.shape, x.numblocks
    ((1000, 50), (4, 3))
    >>> bool((x.compute() == d.sample((1000,), rng=0)).all())
    True
    """
    law = _law(d)
    lead = _shapes.parse_shape("sample_shape", sample_shape)
    shape = lead + d.batch_shape + d.event_shape
    _shapes.check_total(shape, 8)
    dtype = np.dtype(np.int64) if law._discrete else law.dtype
    grid = _normalized(chunks, d, len(lead), shape, dtype)
    of_part = grid[len(lead) :]
    hidden = [(0, 0)] * (law is not d)  # a template's first dim
    _, item, items = part_of(law, hidden + [(0, sizes[0]) for sizes in of_part], "chunks")
    takes = takes_of(law, item)
    dims = lead + items[len(hidden) :]
    parts = _parts_of(d, of_part)
    place = _taken(rng, *(math.prod(dims) * number for number in takes))
    draw = partial(_drawn, Layout(place, takes, dims, len(lead)))
    index = tuple(range(len(shape)))
    return _array("sample", draw, grid, dtype, (parts, index[len(lead) :]), (ArraySliceDep(grid), index))


def standard_normal(
    shape: ShapeLike, *, rng: RNGLike, chunks: Any = "auto", dtype: DTypeLike = np.float64
) -> da.Array:
    """Draw standard normals as a dask array: `fastdist.standard_normal`'s, bit for bit, for any chunks.

    Parameters
    ----------
    shape : int or iterable of int
        Of the result.
    rng, chunks
        As for `sample`.
    dtype : dtype_like, optional
        float64 or float32.

    Returns
    -------
    dask.array.Array

    Examples
    --------
    >>> import fastdist as fd
    >>> x = fd.dask.standard_normal((1000, 1000), rng=0, chunks=(300, 1000))
    >>> bool((x.compute() == fd.standard_normal((1000, 1000), rng=0)).all())
    True
    """
    dims = _shapes.parse_shape("shape", shape)
    _shapes.check_total(dims, 8)
    of = local_standard_normal(0, dtype=dtype, rng=0).dtype
    grid = normalize_chunks(chunks, dims, dtype=of)
    place = _taken(rng, 0, math.prod(dims))
    draw = partial(_drawn_alone, Layout(place, (0, 1), dims, len(dims)), of)
    return _array("standard_normal", draw, grid, of, (ArraySliceDep(grid), tuple(range(len(dims)))))


def log_prob(d: Distribution | LazyDistribution, x: Any) -> da.Array:
    """Logarithms of probability densities as a dask array: ``d.log_prob(x)``, bit for bit.

    Parameters
    ----------
    d : Distribution or LazyDistribution
        Its batch is cut as `x` is.
    x : dask.array.Array or array_like
        Its last dims must be `event_shape` exactly; those before broadcast with `batch_shape`. Chunks that
        cut an event are merged.

    Returns
    -------
    dask.array.Array
        Shape: the dims of `x` before the event, broadcast with `batch_shape`. dtype as of `d.log_prob`.

    Raises
    ------
    TypeError
        For a `d` that is no distribution or that dask cannot tokenize, or an `x` of unsuitable dtype.
    ValueError
        For an `x` of unsuitable shape, or of unknown chunks along the batch.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> d = fd.MultivariateNormal(np.zeros((6, 2)), np.eye(2))
    >>> x = fd.dask.sample(d, (1000,), rng=0, chunks=(100, 3))
    >>> fd.dask.log_prob(d, x)
    dask.array<log_prob, shape=(1000, 6), dtype=float64, chunksize=(100, 3), chunktype=numpy.ndarray>
    """
    law = _law(d)
    batch, event = d.batch_shape, d.event_shape
    x = da.asarray(np.asarray(x, law.dtype) if type(x) in (int, float) else x)
    n = x.ndim - len(event)  # dims before the event
    if n < 0 or x.shape[n:] != event:
        raise ValueError(f"x must end in the event shape {event}, got shape {x.shape}")
    n_more = max(n - len(batch), 0)  # of which the batch knows nothing
    if any(map(math.isnan, x.shape[n_more:])):
        raise ValueError(
            f"x must have known chunks along the batch: shape {x.shape}; see compute_chunk_sizes"
        )
    shape = _shapes.broadcast_shapes(x=x.shape[n_more:n], distribution=batch)
    dtype = law.log_prob(np.empty((0,) + (1,) * len(batch) + event, x.dtype)).dtype
    x = x.rechunk(dict.fromkeys(range(n, x.ndim), -1))
    cuts = _from_the_right(len(shape), x.chunks[n_more:n], _chunks_of(d))
    grid = normalize_chunks(cuts, shape, dtype=dtype)
    of_part = zip(batch, grid[len(shape) - len(batch) :], strict=True)
    parts = _parts_of(d, tuple((1,) if size == 1 else sizes for size, sizes in of_part))
    index = tuple(range(n_more + len(shape) + len(event)))
    front = index[: n_more + len(shape)]
    of_x = front[len(front) - n :] + index[len(front) :]
    chunks = x.chunks[:n_more] + grid
    return _array("log_prob", _scored, chunks, dtype, (parts, front[len(front) - len(batch) :]), (x, of_x))


def distribution(cls: type[Distribution], **parameters: Any) -> LazyDistribution:
    """A distribution with dask arrays as parameters, which no one machine need hold.

    Parameters
    ----------
    cls : type
        A subclass of Distribution.
    **parameters
        What it takes, by name: dask arrays, arrays, numbers. Where it takes a distribution, a lazy one that
        has all batch dims, or one that has none, as in
        ``distribution(fd.Independent, base_distribution=lazy, reinterpreted_batch_ndims=1)``.

    Returns
    -------
    LazyDistribution

    Raises
    ------
    TypeError, ValueError
        For shapes and dtypes, as `cls` does. What is wrong with values is said when they are computed, with
        the index in the whole batch.

    Examples
    --------
    >>> import dask.array as da, fastdist as fd
    >>> loc = da.linspace(0, 1, 10_000_000, chunks=1_000_000)
    >>> d = fd.dask.distribution(fd.Normal, loc=loc, scale=2.0)
    >>> d
    LazyDistribution(Normal, batch_shape: (10000000,), event_shape: ())
    >>> x = d.sample((5,), rng=0)
    >>> bool(abs(x[:, -1000:].mean().compute() - 1) < 0.2)
    True
    """
    return LazyDistribution(cls, parameters)


class LazyDistribution:
    """A distribution whose parameters are dask arrays; `distribution` makes it.

    Attributes
    ----------
    batch_shape, event_shape : tuple of int
    dtype : numpy.dtype
    """

    def __init__(self, cls: type[Distribution], parameters: Mapping[str, Any]) -> None:
        if not (isinstance(cls, type) and issubclass(cls, Distribution)):
            raise TypeError(f"cls must be a subclass of Distribution, got {cls!r}")
        own = {
            name: constraint.event_dim for name, constraint in cls.arg_constraints.items()
        } | cls._core_ndim
        self._cls = cls
        self._parameters = {
            name: np.asarray(value) if name in own and isinstance(value, list | tuple) else value
            for name, value in parameters.items()
        }
        self._core_ndim = {name: own.get(name, 0) for name in self._arrays}
        # Of an empty batch, so that no values are needed: it has shapes, dtype and what follows from them.
        make: Callable[..., Distribution] = cls
        self._template: Distribution = make(
            **self._parameters | self._empty() | {name: held._template for name, held in self._held.items()}
        )
        self.batch_shape: Shape = self._template.batch_shape[1:]
        self.event_shape: Shape = self._template.event_shape
        self.dtype = self._template.dtype

    @property
    def _arrays(self) -> dict[str, Any]:
        """Parameters that are arrays of one dim or more, or of dask."""
        return {
            name: value
            for name, value in self._parameters.items()
            if isinstance(value, da.Array) or (isinstance(value, np.ndarray) and value.ndim)
        }

    @property
    def _held(self) -> dict[str, LazyDistribution]:
        return {
            name: value for name, value in self._parameters.items() if isinstance(value, LazyDistribution)
        }

    def _empty(self) -> dict[str, NDArray[Any]]:
        """Arrays in the shapes and dtypes of the parameters, with a first dim of size 0 before all others."""
        batch_shapes = {}
        for name, array in self._arrays.items():
            cut = array.ndim - self._core_ndim[name]
            if cut < 0 or any(map(math.isnan, array.shape)):
                raise ValueError(
                    f"{name} must have at least {self._core_ndim[name]} dims and chunks of known sizes, got "
                    f"shape {array.shape}"
                )
            batch_shapes[name] = array.shape[:cut]
        for name, value in self._parameters.items():
            if isinstance(value, Distribution) and value.batch_shape:
                raise ValueError(
                    f"{name} must have no batch dims or be lazy, got batch_shape {value.batch_shape}"
                )
        ndim = len(_shapes.broadcast_shapes(**batch_shapes)) if batch_shapes else 0
        return {
            name: np.empty((0, *(1,) * (ndim - len(batch_shapes[name])), *array.shape), array.dtype)
            for name, array in self._arrays.items()
        }

    def sample(self, sample_shape: ShapeLike = (), *, rng: RNGLike, chunks: Any = "auto") -> da.Array:
        """Draw samples: see `fastdist.dask.sample`."""
        return sample(self, sample_shape, rng=rng, chunks=chunks)

    def log_prob(self, x: Any) -> da.Array:
        """Logarithms of probability densities: see `fastdist.dask.log_prob`."""
        return log_prob(self, x)

    def __repr__(self) -> str:
        return (
            f"LazyDistribution({self._cls.__name__}, batch_shape: {self.batch_shape}, "
            f"event_shape: {self.event_shape})"
        )

    def __dask_tokenize__(self) -> Any:
        return normalize_token((self._cls, self._parameters))

    def _chunks(self) -> list[tuple[int, ...] | None]:
        """Of each batch dim those of the first parameter that has it and is dask's."""
        ndim = len(self.batch_shape)
        found: list[tuple[int, ...] | None] = [None] * ndim
        for name, array in self._arrays.items():
            if isinstance(array, da.Array):
                cut = array.ndim - self._core_ndim[name]
                for axis, sizes in enumerate(array.chunks[:cut], ndim - cut):
                    if found[axis] is None and sum(sizes) == self.batch_shape[axis]:
                        found[axis] = sizes
        for held in self._held.values():
            found = [mine or its for mine, its in zip(found, held._chunks(), strict=False)]
        return found

    def _recipe(self, grid: Chunks) -> tuple[Recipe, list[Any]]:
        """How a part is made of blocks, and the arrays, their first batch dims cut by a grid."""
        ndim, axes, arrays, recipes = len(self.batch_shape), {}, [], {}
        for name, array in self._arrays.items():
            cut = array.ndim - self._core_ndim[name]
            dims = [dim if dim < len(grid) else None for dim in range(ndim - cut, ndim)]
            axes[name] = (*dims, *[None] * self._core_ndim[name])
            chunks = tuple(
                (n,) if dim is None or n == 1 else grid[dim]
                for n, dim in zip(array.shape, axes[name], strict=True)
            )
            lazy = isinstance(array, da.Array)
            arrays.append(array.rechunk(chunks) if lazy else da.from_array(array, chunks=chunks))
        for name, held in self._held.items():
            # The event of an Independent is of dims of its base's batch.
            recipes[name], more = held._recipe(grid if self._cls is Independent else grid[:ndim])
            arrays += more
        rest = {
            name: value
            for name, value in self._parameters.items()
            if name not in axes and name not in recipes
        }
        return Recipe(self._cls, rest, axes, recipes), arrays


# ---- graphs ----------------------------------------------------------------------------------------


class Parts:
    """The layer with the parts of a distribution, as a collection of dask's that an array is made of."""

    def __init__(self, name: str, layer: dict[Any, Any], grid: Chunks, arrays: Sequence[Any]) -> None:
        self.name = name
        self.numblocks = tuple(map(len, grid))
        self._graph = HighLevelGraph.from_collections(name, layer, dependencies=arrays)

    def __dask_graph__(self) -> Any:
        return self._graph

    def __dask_layers__(self) -> tuple[str]:
        return (self.name,)


def _parts_of(d: Distribution | LazyDistribution, grid: Chunks) -> Parts:
    """The parts by a grid of all batch dims, or of those and the event's."""
    try:
        name = f"parts-{tokenize(d, grid, ensure_deterministic=True)}"
    except TokenizationError as error:
        raise TypeError(f"d, {d!r}, has something that dask cannot tokenize: {error}") from error
    layer: dict[Any, Any] = {}
    if isinstance(d, LazyDistribution):
        recipe, arrays = d._recipe(grid)
        axes = recipe.axes_of_blocks()
        for number, ranges in _blocks(grid):
            build = partial(_built, recipe, tuple(ranges[: len(d.batch_shape)]), d.batch_shape)
            keys = [_key(array, of_array, number) for array, of_array in zip(arrays, axes, strict=True)]
            layer[(name, *number)] = (build, *keys)
        return Parts(name, layer, grid, arrays)
    rest = [(0, n) for n in (d.batch_shape + d.event_shape)[len(grid) :]]
    for number, ranges in _blocks(grid):
        layer[(name, *number)] = part_of(d, ranges + rest)[0]
    return Parts(name, layer, grid, ())


def _blocks(grid: Chunks) -> Iterator[tuple[tuple[int, ...], list[Range]]]:
    """Number of each block, and its first and last but one in each dim."""
    ranges = [list(itertools.pairwise(itertools.accumulate(sizes, initial=0))) for sizes in grid]
    for number in itertools.product(*(range(len(sizes)) for sizes in grid)):
        yield number, [of_dim[i] for of_dim, i in zip(ranges, number, strict=True)]


def _key(array: Any, axes: Sequence[int | None], number: tuple[int, ...]) -> tuple[Any, ...]:
    """Of an array's block that goes into a part."""
    dims = zip(axes, array.numblocks, strict=True)
    return (array.name, *[0 if dim is None or n == 1 else number[dim] for dim, n in dims])


def _array(
    prefix: str, make: Any, chunks: Chunks, dtype: np.dtype[Any], *operands: tuple[Any, tuple[int, ...]]
) -> Any:
    """Of what `make` makes of blocks of operands, each with the dims of the result that its own are."""
    named = [(getattr(one, "name", one), index) for one, index in operands]
    sources = [one for one, _ in operands if not isinstance(one, ArraySliceDep)]
    name = f"{prefix}-{tokenize(make, chunks, dtype, named)}"
    layer = blockwise(
        make,
        name,
        tuple(range(len(chunks))),
        *itertools.chain.from_iterable(named),
        numblocks={one.name: one.numblocks for one in sources},
    )
    graph = HighLevelGraph.from_collections(name, layer, dependencies=sources)
    return da.Array(graph, name, chunks, meta=np.empty((0,) * len(chunks), dtype))


def _law(d: Any) -> Distribution:
    """A distribution of the same law, dtype and shape of events."""
    if isinstance(d, LazyDistribution):
        return d._template
    if not isinstance(d, Distribution):
        raise TypeError(f"d must be a Distribution or a LazyDistribution, got {type(d).__name__}")
    return d


def _chunks_of(d: Distribution | LazyDistribution) -> list[tuple[int, ...] | None]:
    """Of the batch, where parameters have some already."""
    return d._chunks() if isinstance(d, LazyDistribution) else [None] * len(d.batch_shape)


def _normalized(
    chunks: Any, d: Distribution | LazyDistribution, n_lead: int, shape: Shape, dtype: np.dtype[Any]
) -> Chunks:
    """Chunks of a draw; of events whole, unless they say otherwise."""
    n_event = len(d.event_shape)
    n_front = len(shape) - n_event
    if isinstance(chunks, Mapping):
        cuts = [chunks.get(axis, chunks.get(axis - len(shape), -1)) for axis in range(len(shape))]
    elif not isinstance(chunks, tuple | list):
        cuts = [chunks] * n_front + [-1] * n_event
    else:
        cuts = list(chunks) + [-1] * n_event * (len(chunks) == n_front)
    if len(cuts) == len(shape):
        own = [None] * n_lead + _chunks_of(d) + [-1] * n_event
        cuts = [alike or cut if isinstance(cut, str) else cut for cut, alike in zip(cuts, own, strict=True)]
    found: Chunks = normalize_chunks(tuple(cuts), shape, dtype=dtype)
    return found


def _from_the_right(ndim: int, *given: Sequence[tuple[int, ...] | None]) -> tuple[Any, ...]:
    """Chunks of dims that broadcast: the first that are given for more than one element."""
    cuts = []
    for back in range(ndim, 0, -1):
        known = [chunks[-back] for chunks in given if len(chunks) >= back]
        cuts.append(next((sizes for sizes in known if sizes and sum(sizes) != 1), "auto"))
    return tuple(cuts)


def _taken(rng: RNGLike, n_uniform: int, n_normal: int) -> Place:
    """Where a draw of so many numbers begins; a generator moves on behind it."""
    if isinstance(rng, Place):
        return BlockSFC64.at(rng).place
    if isinstance(rng, Generator):
        rng = rng.bit_generator
    if not isinstance(rng, BitGenerator):
        as_noise(rng)  # says what is wrong with a seed
        return BlockSFC64(rng).place
    if not isinstance(rng, BlockSFC64):
        raise TypeError(
            f"rng must be a seed, a Place or a generator of fastdist, as no part of the numbers of a "
            f"{type(rng).__name__} can be drawn alone"
        )
    with rng.lock:
        place = rng.place
        rng._noise.ahead(n_uniform, n_normal)
    return place


# ---- tasks -----------------------------------------------------------------------------------------


class Layout(NamedTuple):
    """How a draw lies in a stream."""

    place: Place  # where it begins
    takes: tuple[int, int]  # uniforms and normals of an item
    dims: Shape  # of items
    n_lead: int  # dims of samples

    def noise(self, where: Sequence[slice]) -> Any:
        """What a chunk takes."""
        ranges = [(one.start, one.stop) for one in where[: len(self.dims)]]
        return PartNoise(as_noise(self.place), self.takes, self.dims, ranges)


def _drawn(layout: Layout, part: Distribution, where: Sequence[slice]) -> Real:
    lead = [one.stop - one.start for one in where[: layout.n_lead]]
    return part.sample(lead, rng=layout.noise(where), workers=1)


def _drawn_alone(layout: Layout, dtype: np.dtype[Any], where: Sequence[slice]) -> Real:
    shape = [one.stop - one.start for one in where]
    return local_standard_normal(shape, dtype=dtype, rng=layout.noise(where), workers=1)


def _scored(part: Distribution, x: Any) -> Real:
    while isinstance(x, list):  # of the one block that there is in each dim of an event
        (x,) = x
    return part.log_prob(x)


@dataclass(frozen=True)
class Recipe:
    """A distribution but for blocks of arrays."""

    cls: Callable[..., Distribution]
    rest: Mapping[str, Any]
    axes: Mapping[str, tuple[int | None, ...]]  # of each array, and which dim of the batch each of these is
    held: Mapping[str, Recipe]

    def axes_of_blocks(self) -> list[tuple[int | None, ...]]:
        """In the order in which `made` takes blocks."""
        return [*self.axes.values(), *(axes for held in self.held.values() for axes in held.axes_of_blocks())]

    def made(self, blocks: Iterator[Any]) -> Distribution:
        """The distribution."""
        arrays = {name: next(blocks) for name in self.axes}
        held = {name: recipe.made(blocks) for name, recipe in self.held.items()}
        return self.cls(**self.rest, **arrays, **held)


def _built(recipe: Recipe, ranges: Sequence[Range], shape: Shape, *blocks: Any) -> Distribution:
    """A part; ValueErrors tell the index in the whole batch, of this shape."""
    try:
        return recipe.made(iter(blocks))
    except ValueError:
        index, error = _offender(recipe, [stop - first for first, stop in ranges], blocks)
        if error is None:
            raise
        place = tuple(first + i for (first, _), i in zip(ranges, index, strict=True))
        raise type(error)(f"batch index {place} of {shape}: {error}") from None


def _offender(
    recipe: Recipe, shape: Sequence[int], blocks: Sequence[Any]
) -> tuple[list[int], ValueError | None]:
    """The first index in a part's batch whose distribution cannot be made alone, and why."""

    def error_of(entries: Sequence[slice | int]) -> ValueError | None:
        try:
            recipe.made(_cut(block, axes, entries) for block, axes in zip(blocks, every, strict=True))
        except ValueError as error:
            return error
        return None

    every = recipe.axes_of_blocks()
    index: list[int] = []
    for axis, n in enumerate(shape):
        first, stop = 0, n
        while stop - first > 1:
            middle = (first + stop) // 2
            whole = [slice(None)] * (len(shape) - axis - 1)
            alone = [slice(i, i + 1) for i in index]
            if error_of([*alone, slice(first, middle), *whole]):
                stop = middle
            else:
                first = middle
        index.append(first)
    return index, error_of(index)


def _cut(block: NDArray[Any], axes: Sequence[int | None], entries: Sequence[slice | int]) -> Any:
    """What of a block goes into part of a part; a dim of size 1 repeats."""
    cut = []
    for n, dim in zip(block.shape, axes, strict=True):
        entry: slice | int = slice(None) if dim is None or dim >= len(entries) else entries[dim]
        if n == 1:
            entry = 0 if isinstance(entry, int) else slice(None)
        cut.append(entry)
    return np.asarray(block[tuple(cut)])
