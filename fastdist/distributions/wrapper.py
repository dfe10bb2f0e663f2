"""Wrapper: a distribution that holds others.

A subclass names them in `_held`: attributes that are distributions, and how many of each one's trailing batch dims are
its own. Expand and indexing take them along. What they override in public is honoured: a wrapper that would go past a
held distribution's methods to its hooks asks `_passes` first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from fastdist._kernels.sources import Noise
from fastdist._shapes import Shape
from fastdist._typing import Real
from fastdist.distributions.distribution import Distribution, stack
from fastdist.random import set_workers

if TYPE_CHECKING:
    from fastdist.distributions._indexing import Entries


class Wrapper(Distribution):
    """Base of the distributions that hold others."""

    def _tail(self, name: str) -> Shape:
        """The trailing batch dims of a held distribution that are its own."""
        held: Distribution = getattr(self, name)
        n = self._held[name]
        return held._batch_shape[len(held._batch_shape) - n :]

    def _with_held(self, new: Self, part: Callable[[str, Distribution], Distribution]) -> Self:
        for name in self._held:
            setattr(new, name, part(name, getattr(self, name)))
        return new

    def _expanded(self, shape: Shape) -> Self:
        return self._with_held(
            super()._expanded(shape), lambda name, held: held.expand(shape + self._tail(name))
        )

    def _part(self, entries: Entries, batch_shape: Shape) -> Self:
        def part(name: str, held: Distribution) -> Distribution:
            whole = self._batch_shape + self._tail(name)
            if held._batch_shape != whole:
                held = held.expand(whole)
            own = self._held[name]
            return held[entries + (slice(None),) * own]

        return self._with_held(super()._part(entries, batch_shape), part)

    def _stacked(self, parts: list[Self], axis: int) -> Self:
        def side_by_side(name: str, _: Distribution) -> Distribution:
            return stack([getattr(d, name).expand(d._batch_shape + d._tail(name)) for d in parts], axis)

        return self._with_held(super()._stacked(parts, axis), side_by_side)

    def _asked(self, method: Callable[..., Real], noise: Noise, out: Real, workers: int) -> None:
        """Fill `out` by a public method of a held distribution, which may have no more parameters than it needs."""
        n = out.ndim - len(self._batch_shape) - len(self._event_shape)
        with set_workers(workers):
            out[...] = method(out.shape[:n], rng=noise)

    def _shown(self) -> tuple[str, ...]:
        return ()

    def __repr__(self) -> str:
        shown = ", ".join(f"{value!r}" for name, value in self._parameters().items() if name != "validate_args")
        return f"{type(self).__name__}({shown})"
