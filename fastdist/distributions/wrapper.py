"""Wrapper: a distribution that holds others.

What these override in public is honoured: a wrapper that would go past a held distribution's methods to its
hooks asks `_passes` first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Self

from fastdist._kernels.sources import Noise
from fastdist._shapes import Shape
from fastdist._typing import Real, RealDType
from fastdist.distributions.constraints import Constraint
from fastdist.distributions.distribution import Distribution, stack
from fastdist.random import set_workers

if TYPE_CHECKING:
    from fastdist.distributions._indexing import Entries


class Wrapper(Distribution):
    """Base of distributions that hold others.

    Parameters
    ----------
    batch_shape, event_shape : tuple of int
        Its own.
    dtype : numpy.dtype
        float32 or float64.
    validate_args : bool, optional
        As in the other constructors.

    Notes
    -----
    A subclass is written as one of `Distribution` is, but that it has distributions in place of arrays, and
    these with names for subclasses alone:

    _held
        A dict: names of attributes that are distributions, and how many of each one's trailing batch dims are
        its own (of a mixture's parts one, for example). Expand, indexing and stack take them along. A held
        distribution's batch shape, but for these dims, broadcasts to that of the wrapper.
    _draw(noise, out, workers)
        Fills all of `out`, if draws are not made by `draw` of normals of its own; a held distribution's
        `sample` takes a noise as `rng`.
    parameters
        A property, if there is to be a `replace`: what the constructor takes.

    Gradients by what is held are returned as a dict under its name among the parameters (`register_vjp`).

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> class LogNormal(fd.Wrapper):
    ...     support = fd.constraints.positive
    ...     has_rsample = True
    ...     _held = {"normal": 0}
    ...     def __init__(self, normal):
    ...         super().__init__(normal.batch_shape, (), normal.dtype)
    ...         self.normal = normal
    ...     def _draw(self, noise, out, workers):
    ...         n = out.ndim - len(self.batch_shape)
    ...         self.normal.sample(out.shape[:n], rng=noise, out=out, workers=workers)
    ...         np.exp(out, out=out)
    ...     def log_density(self, value):
    ...         y = np.log(value)
    ...         return self.normal.log_prob(y) - y
    >>> d = LogNormal(fd.Normal(np.zeros((3, 2)), 1.0))
    >>> d[0], fd.Independent(d, 1).log_prob(d.sample((100,), rng=0)).shape
    (LogNormal(normal: Normal(loc: (2,), scale: (2,))), (100, 3))
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}

    def __init__(
        self, batch_shape: Shape, event_shape: Shape, dtype: RealDType, *, validate_args: bool | None = None
    ) -> None:
        self._set_up({}, batch_shape, event_shape, dtype, validate_args)

    def _tail(self, name: str) -> Shape:
        """The trailing batch dims of a held distribution that are its own."""
        held: Distribution = getattr(self, name)
        n = self._held[name]
        return held._batch_shape[len(held._batch_shape) - n :]

    def _expanded(self, shape: Shape) -> Self:
        new = super()._expanded(shape)
        for name in self._held:
            setattr(new, name, getattr(self, name).expand(shape + self._tail(name)))
        return new

    def _part(self, entries: Entries, batch_shape: Shape) -> Self:
        new = super()._part(entries, batch_shape)
        for name, n in self._held.items():
            held: Distribution = getattr(self, name)
            shape = held._batch_shape
            whole = self._batch_shape + shape[len(shape) - n :]
            if shape != whole:
                held = held.expand(whole)
            setattr(new, name, held[entries])  # its own dims stay whole
        return new

    def _stacked(self, parts: list[Self], axis: int) -> Self:
        new = super()._stacked(parts, axis)
        for name in self._held:
            held: list[Distribution] = [
                getattr(d, name).expand(d._batch_shape + d._tail(name)) for d in parts
            ]
            setattr(new, name, stack(held, axis))
        return new

    def _asked(self, method: Callable[..., Real], noise: Noise, out: Real, workers: int) -> None:
        """Fill `out` by a public method of a held distribution, which may take no more than it needs."""
        n = out.ndim - len(self._batch_shape) - len(self._event_shape)
        with set_workers(workers):
            out[...] = method(out.shape[:n], rng=noise)

    def _shown(self) -> tuple[str, ...]:
        return ()

    def _named(self) -> tuple[str, ...]:
        return tuple(self._held)

    def __repr__(self) -> str:
        held = ", ".join(f"{name}: {getattr(self, name)!r}" for name in self._held)
        return f"{type(self).__name__}({held})"
