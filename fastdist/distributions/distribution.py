"""Distribution: what every distribution has. Shapes and arrays here, numbers in the subclasses.

A subclass keeps its arrays in `_arrays` (unbroadcast, see fastdist._params), the shapes they came
in in `_shapes`, and says in `_core_ndim` how many of each one's trailing dims are its own; expand,
indexing, overlap checks and the shapes of gradients follow from that. Distributions that it holds it
names in `_held`. Its numbers come in three hooks:

_draw(noise, out, workers)             the noise's next draw of out.shape
_log_prob(value, event_ndim, out)      log density, summed over `event_ndim` trailing dims of value
_entropy(event_ndim)                   entropy, likewise; unbroadcast

Plans, holders, divergences and gradients go past methods and hooks. Each asks `keeps` whether the class at
hand has them as they were where it knows them from; if a subclass has overridden one, it is called.
"""

from __future__ import annotations

import copyreg
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Self, SupportsIndex, TypeVar

import numpy as np

from fastdist import _params, _shapes
from fastdist._kernels.bridge import Noise
from fastdist._params import ArrayLike, Destination, Real, RealDType
from fastdist._shapes import Shape, ShapeLike
from fastdist.distributions import _foreign, _indexing
from fastdist.distributions._indexing import Index
from fastdist.distributions._prepared import Plan, Prepared, keeps
from fastdist.distributions.constraints import Constraint
from fastdist.random import RNGLike, as_noise, parse_workers

# What Prepared keeps.
_PREPARED = ("_arrays", "_batch_shape", "_event_shape", "_dtype", "_validate_args")

# What draws and densities go through, from what the user calls to the hook.
DRAW = ("sample", "rsample", "_sample", "_rsample", "_draw")
DENSITY = ("log_prob", "_log_prob_of", "_log_prob")
LAW = DRAW + DENSITY

# What a holder goes past on its way to the hooks.
_PASSED = ("sample", "rsample", "_sample", "_rsample", "log_prob", "_log_prob_of", "entropy")

# Whether a class has all that as another one has it.
passes: Callable[[type, type], bool] = functools.cache(lambda cls, base: keeps(cls, base, _PASSED))

AnyDistribution = TypeVar("AnyDistribution", bound="Distribution")


@_params.quiet
def _exp(array: Real, out: Real) -> Real:
    return np.exp(array, out=out)


_PLAIN = frozenset({bool, int, float, str, type(None)})


def _of_a_batch(value: object) -> bool:
    """True for a distribution or an array of one dim or more, and for what has one in it."""
    if isinstance(value, dict):
        return any(map(_of_a_batch, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(map(_of_a_batch, value))
    return isinstance(value, Distribution) or (isinstance(value, np.ndarray) and value.ndim > 0)


class Distribution(Prepared):
    """Base of all distributions: a batch of independent distributions over events of one shape.

    Attributes
    ----------
    batch_shape : tuple of int
        Shape of the batch; parameters broadcast to it.
    event_shape : tuple of int
        Shape of one event, one draw of one distribution of the batch.
    dtype : numpy.dtype
        float32 or float64, of draws and densities.
    support : Constraint
        The set of events.
    arg_constraints : dict of str to Constraint
        The sets that the parameters are from.
    has_rsample : bool
        Whether draws are differentiable functions of the parameters.
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    has_rsample: bool = False
    _core_ndim: ClassVar[dict[str, int]] = {}
    # Of these parameters one is given, the others follow from it.
    _alternatives: ClassVar[frozenset[str]] = frozenset()
    # Attributes that are distributions, and how many of each one's trailing batch dims are its own.
    _held: Mapping[str, int] = MappingProxyType({})

    _shapes: Mapping[str, Shape] = MappingProxyType({})

    def _set_up(
        self,
        arrays: dict[str, Real],
        batch_shape: Shape,
        event_shape: Shape,
        dtype: RealDType,
        validate_args: bool | None,
    ) -> None:
        self._arrays = arrays
        self._batch_shape = batch_shape
        self._event_shape = event_shape
        self._dtype = dtype
        self._validate_args = validate_args is None or bool(validate_args)

    # ---- shapes ------------------------------------------------------------------------

    @property
    def batch_shape(self) -> Shape:
        """Shape of the batch of distributions."""
        return self._batch_shape

    @property
    def event_shape(self) -> Shape:
        """Shape of one event."""
        return self._event_shape

    @property
    def dtype(self) -> RealDType:
        """float32 or float64, of draws and densities."""
        return self._dtype

    @property
    def support(self) -> Constraint:
        """The set of events."""
        raise NotImplementedError

    def _parameter_shape(self, name: str) -> Shape:
        """Shape that parameter `name` was given in, or has by itself in a part of a batch."""
        return self._shapes.get(name) or self._arrays[name].shape

    def _derived(self, name: str, make: Callable[[], Real]) -> Real:
        """An array that is made of the parameters, which never change, and kept; as `_view` shows it."""
        if name not in self._arrays:
            self._keep(name, make())
        return self._view(name)

    def _keep(self, name: str, array: Real) -> None:
        """Add an array: threads that race do the work twice and agree."""
        self._arrays = {**self._arrays, name: array}

    # ---- draws -------------------------------------------------------------------------

    def _make_plan(self) -> Plan | None:
        """What small calls go by, if they can be made by a plan."""
        return None

    def _passes(self) -> bool:
        """True if a holder may call the hooks, as public methods do no more than that."""
        return passes(type(self), Distribution)

    def _sample(
        self, sample_shape: ShapeLike, rng: RNGLike, out: Real | None, workers: SupportsIndex | None
    ) -> Real:
        """`sample` with any arguments."""
        return self._fill(self._draw, sample_shape, rng, out, workers)

    def _fill(
        self,
        draw: Callable[[Noise, Real, int], None],
        sample_shape: ShapeLike,
        rng: RNGLike,
        out: Real | None,
        workers: SupportsIndex | None,
    ) -> Real:
        """What `draw`, a hook like `_draw`, makes of checked arguments."""
        shape = _shapes.parse_shape("sample_shape", sample_shape) + self._batch_shape + self._event_shape
        noise, n_worker = as_noise(rng), parse_workers(workers)
        destination = Destination(out, shape, self._dtype, ())
        draw(noise, destination.array, n_worker)
        return destination.deliver()

    def _rsample(
        self, sample_shape: ShapeLike, rng: RNGLike, out: Real | None, workers: SupportsIndex | None
    ) -> Real:
        """`rsample` with any arguments."""
        if not self.has_rsample:
            raise NotImplementedError(f"{type(self).__name__} has no reparameterised draws")
        return self._sample(sample_shape, rng, out, workers)

    def _draw(self, noise: Noise, out: Real, workers: int) -> None:
        raise NotImplementedError

    # ---- densities ---------------------------------------------------------------------

    def _log_prob_of(self, value: ArrayLike, out: Real | None) -> Real:
        """`log_prob` with any arguments."""
        array, value_batch, dtype = _params.values(value, self._dtype, self._event_shape)
        shape = _shapes.broadcast_shapes(value=value_batch, distribution=self._batch_shape)
        destination = Destination(out, shape, dtype, [array])
        self._log_prob(array, len(self._event_shape), destination.array)
        return destination.deliver()

    def _log_prob(self, value: Real, event_ndim: int, out: Real) -> None:
        raise NotImplementedError

    def prob(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Probability density at `value`: the exponential of `log_prob`, which see."""
        density = self.log_prob(value) if out is None else self.log_prob(value, out=out)
        return _exp(density, density)

    def entropy(self, *, out: Real | None = None) -> Real:
        """Differential entropy in nats.

        Parameters
        ----------
        out : numpy.ndarray, optional
            Array of the result's shape and dtype to write to, and to return.

        Returns
        -------
        numpy.ndarray
            Shape `batch_shape`.
        """
        entropy = self._entropy(len(self._event_shape))
        return _params.delivered(entropy, self._batch_shape, self._dtype, out)

    def _entropy(self, event_ndim: int) -> Real:
        raise NotImplementedError

    def perplexity(self, *, out: Real | None = None) -> Real:
        """Exponential of the entropy; shape `batch_shape`. See `entropy`."""
        entropy = self.entropy() if out is None else self.entropy(out=out)
        return _exp(entropy, entropy)

    # ---- moments -----------------------------------------------------------------------

    @property
    def mean(self) -> Real:
        """Mean; shape ``batch_shape + event_shape``, read-only."""
        raise NotImplementedError

    @property
    def mode(self) -> Real:
        """Point of the highest density; shape ``batch_shape + event_shape``, read-only."""
        raise NotImplementedError

    @property
    def variance(self) -> Real:
        """Variance of each element; shape ``batch_shape + event_shape``, read-only."""
        raise NotImplementedError

    @property
    def stddev(self) -> Real:
        """Standard deviation of each element; shape ``batch_shape + event_shape``, read-only."""
        raise NotImplementedError

    # ---- other batches of the same -------------------------------------------------------

    def _with_arrays(self, arrays: dict[str, Real], batch_shape: Shape) -> Self:
        """This distribution over other arrays: nothing is checked again, nothing cached is kept.

        What it holds is still of the batch that it was.
        """
        cls, held = self.__class__, self._held
        new = cls.__new__(cls)
        for name, value in self.__dict__.items():
            if name != "_shapes" and name not in held and type(value) not in _PLAIN and _of_a_batch(value):
                if isinstance(getattr(cls, name, None), functools.cached_property):
                    continue
                raise NotImplementedError(
                    f"{cls.__name__}.{name} holds a distribution or an array that expand and indexing "
                    "know nothing of: a distribution has to be named in _held, an array kept in _arrays "
                    "and named in _core_ndim"
                )
            new.__dict__[name] = value
        new._set_up(arrays, batch_shape, self._event_shape, self._dtype, self._validate_args)
        return new

    def __reduce__(self) -> tuple[Any, ...]:
        # By default only protocols 2 and up know how to make an object of a compiled class.
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {name: getattr(self, name) for name in _PREPARED}
        state["_arrays"] = {name: a for name, a in self._arrays.items() if not name.startswith("_")}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def expand(self, batch_shape: ShapeLike) -> Self:
        """The same distribution broadcast to another batch shape; no memory is used.

        Parameters
        ----------
        batch_shape : int or iterable of int
            A shape that the present batch shape broadcasts to.

        Raises
        ------
        ValueError
            If it does not, or an entry is negative.
        """
        shape = _shapes.parse_shape("batch_shape", batch_shape)
        _shapes.check_broadcast_to("batch_shape", self._batch_shape, shape)
        new = self._with_arrays(self._arrays, shape)
        for name, own_ndim in self._held.items():
            held: Distribution = getattr(self, name)
            tail = held._batch_shape[len(held._batch_shape) - own_ndim :]
            setattr(new, name, held.expand(shape + tail))
        return new

    def __getitem__(self, index: Index | tuple[Index, ...]) -> Self:
        """Part of the batch, by NumPy's rules: ints, slices, ``...``, None, arrays of ints or bools.

        A parameter that repeats along the indexed dims still does, and takes no more memory.

        Raises
        ------
        IndexError
            For an index out of range, too many of them, or one of another type.
        """
        entries, batch_shape = _indexing.parse_index(index, self._batch_shape)
        arrays = {
            name: _indexing.part(array, entries, self._batch_shape, self._core_ndim[name])
            for name, array in self._arrays.items()
        }
        new = self._with_arrays(arrays, batch_shape)
        new._shapes = {}
        for name, own_ndim in self._held.items():
            held: Distribution = getattr(self, name)
            whole = self._batch_shape + held._batch_shape[len(held._batch_shape) - own_ndim :]
            if held._batch_shape != whole:
                held = held.expand(whole)
            setattr(new, name, held[entries + (slice(None),) * own_ndim])
        return new

    def __len__(self) -> int:
        """Size of the first batch dim."""
        if not self._batch_shape:
            raise TypeError(f"{type(self).__name__} with an empty batch_shape has no len()")
        return self._batch_shape[0]

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Self]:
        """The distributions along the first batch dim."""
        if not self._batch_shape:
            raise TypeError(f"{self!r} has an empty batch_shape and cannot be iterated over")
        return (self[i] for i in range(self._batch_shape[0]))

    # ---- what it was built with ------------------------------------------------------------

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What it was built with, under the names of the constructor, keywords included; read-only.

        ``type(d)(**d.parameters)`` has the same class, shapes, dtype and values. An array has the shape
        it was given in; if the distribution was expanded since, that of the batch.

        Raises
        ------
        NotImplementedError
            If a subclass has a constructor of its own, and no `parameters`.
        """
        cls = type(self)
        owner = next(base for base in cls.__mro__ if "_parameters" in base.__dict__)
        if cls.__init__ is not owner.__init__:  # type: ignore[misc]
            raise NotImplementedError(
                f"{cls.__name__} has an __init__ of its own, and has to define parameters"
            )
        return MappingProxyType(self._parameters())

    def _parameters(self) -> dict[str, Any]:
        """`parameters` of the class that has this method and the constructor."""
        raise NotImplementedError

    def _given_arrays(self) -> dict[str, Any]:
        """`_parameters` of a class whose parameters are the arrays that repr shows."""
        names = self._shown()
        shown = {name: getattr(self, name) for name in names}  # of the whole batch
        given = {name: self._parameter_shape(name) for name in names}
        cut = {name: len(given[name]) - self._core_ndim[name] for name in names}
        batch_shape = _shapes.broadcast_shapes(**{name: given[name][: cut[name]] for name in names})
        if batch_shape == self._batch_shape:
            shown = {name: _params.view(self._arrays[name], given[name]) for name in names}
        return {**shown, "validate_args": self._validate_args}

    def replace(self, **parameters: Any) -> Self:
        """A distribution of the same class with other `parameters`; it is built anew, and checked.

        Parameters
        ----------
        **parameters
            By the constructor's names. One matrix takes the place of another.

        Examples
        --------
        >>> import fastdist as fd
        >>> fd.Normal([0.0, 1.0], 2.0).replace(scale=3.0)
        Normal(loc: (2,), scale: (2,))
        """
        kept = dict(self.parameters)
        if self._alternatives.intersection(parameters):
            kept = {name: value for name, value in kept.items() if name not in self._alternatives}
        return type(self)(**{**kept, **parameters})

    def __getattr__(self, name: str) -> Any:
        raise _foreign.no_attribute(type(self), name)

    # ---- printing ------------------------------------------------------------------------

    def _shown(self) -> tuple[str, ...]:
        """Names of the parameters that repr shows."""
        return tuple(name for name in self._arrays if not name.startswith("_"))

    def __repr__(self) -> str:
        shown = []
        for name in self._shown():
            shape = self._batch_shape + self._event_shape[-1:] * self._core_ndim[name]
            shown.append(f"{name}: {getattr(self, name) if math.prod(shape) == 1 else shape}")
        return f"{type(self).__name__}({', '.join(shown)})"


def stack(distributions: Sequence[AnyDistribution], axis: SupportsIndex = 0) -> AnyDistribution:
    """Distributions of one type as one batch, along a new dim.

    Parameters
    ----------
    distributions : sequence of Distribution
        Of one type, batch shape and event shape.
    axis : int, optional
        Where in the batch shape the new dim is.

    Returns
    -------
    Distribution
        Of batch shape ``batch_shape[:axis] + (len(distributions),) + batch_shape[axis:]``; float64 unless all
        are float32. What repeats in all parameters goes on repeating.

    Raises
    ------
    ValueError
        If there are none, or their shapes, or the matrices that they were given by, differ.
    TypeError
        If their types do.
    numpy.exceptions.AxisError
        For an axis that the result has not.

    Examples
    --------
    >>> import fastdist as fd
    >>> fd.stack([fd.Normal(0.0, 1.0), fd.Normal(1.0, 2.0)]).batch_shape
    (2,)
    """
    parts = list(distributions)
    if not parts:
        raise ValueError("there must be at least one distribution to stack")
    first = parts[0]
    for i, d in enumerate(parts):
        if not isinstance(d, Distribution) or type(d) is not type(first):
            raise TypeError(
                f"distributions must be of one type, got {type(d).__name__} for distributions[{i}] "
                f"and {type(first).__name__} for distributions[0]"
            )
        for name in ("batch_shape", "event_shape"):
            shapes = getattr(first, name), getattr(d, name)
            if shapes[0] != shapes[1]:
                raise ValueError(
                    f"{name} differs: {shapes[0]} of distributions[0], {shapes[1]} of distributions[{i}]"
                )
        if d._shown() != first._shown():
            raise ValueError(
                f"distributions were given by {first._shown()} and, distributions[{i}], {d._shown()}"
            )
    ndim = len(first._batch_shape)
    where = np.lib.array_utils.normalize_axis_index(_shapes.parse_int("axis", axis), ndim + 1)
    dtype = _params.FLOAT32 if all(d._dtype == _params.FLOAT32 for d in parts) else _params.FLOAT64
    names = [name for name in first._arrays if all(name in d._arrays for d in parts)]
    arrays = {
        name: _indexing.stack([d._arrays[name] for d in parts], where, ndim, first._core_ndim[name], dtype)
        for name in names
    }
    batch_shape = (*first._batch_shape[:where], len(parts), *first._batch_shape[where:])
    new = first._with_arrays(arrays, batch_shape)
    new._dtype = dtype
    new._shapes = {}
    for name, own_ndim in first._held.items():
        held: list[Distribution] = [getattr(d, name) for d in parts]
        expanded = [
            d.expand(first._batch_shape + d._batch_shape[len(d._batch_shape) - own_ndim :]) for d in held
        ]
        setattr(new, name, stack(expanded, where))
    return new
