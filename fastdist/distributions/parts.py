"""A part of a draw: what of a stream it takes, and how many numbers of it an event takes.

The part's distribution is this one's of the batch items, or of elements of events that are independent. It
draws from a noise that goes over the whole draw's stream as the part lies in it (PartNoise).
"""

from __future__ import annotations

import math
import operator
from typing import Any, NamedTuple

from fastdist import _shapes
from fastdist._kernels.sources import Noise, PartNoise
from fastdist._shapes import Shape, ShapeLike
from fastdist.distributions.distribution import ABOVE, Distribution
from fastdist.distributions.independent import Independent

Range = tuple[int, int]


class Part(NamedTuple):
    """How a part of a draw is made."""

    distribution: Distribution
    lead: Shape  # of the whole draw's samples
    items: Shape  # of a whole sample, each of which takes so many
    takes: tuple[int, int]  # uniforms and normals
    ranges: list[Range]  # of the part, in each dim of the draw

    @property
    def shape(self) -> Shape:
        """Of the part."""
        return tuple(stop - first for first, stop in self.ranges)

    def noise(self, source: Noise) -> PartNoise | None:
        """The part's of a source that moves on behind the whole draw; None if it cannot be sought."""
        if not source.seekable:
            return None
        dims = self.lead + self.items
        ahead = source.ahead(*(math.prod(dims) * number for number in self.takes))
        return PartNoise(ahead, self.takes, dims, self.ranges[: len(dims)])


def part_of_draw(d: Distribution, sample_shape: ShapeLike, index: Any) -> Part:
    """What ``d.sample(sample_shape)[index]`` is."""
    lead = _shapes.parse_shape("sample_shape", sample_shape)
    whole = lead + d._batch_shape + d._event_shape
    _shapes.check_total(whole, 8)
    ranges = parse_part(index, whole)
    part, item, items = part_of(d, ranges[len(lead) :])
    return Part(part, lead, items, takes_of(d, item), ranges)


ABOVE["part_of_draw"] = part_of_draw


def takes_of(d: Distribution, item: Distribution) -> tuple[int, int]:
    """How many uniforms and normals an item of a distribution takes."""
    takes = item._noise_per_event() if d._passes() else None
    if takes is None:
        raise NotImplementedError(
            f"{type(d).__name__} does not tell how many normals an event takes (normals_per_event): no part "
            "of a draw can be made alone"
        )
    return takes


def parse_part(index: Any, shape: Shape) -> list[Range]:
    """First and last but one of each dim that slices name."""
    slices = index if isinstance(index, tuple) else (index,)
    if len(slices) > len(shape):
        raise IndexError(f"index has {len(slices)} slices, the draw's shape {shape} has {len(shape)} dims")
    ranges = []
    for axis, n in enumerate(shape):
        one = slices[axis] if axis < len(slices) else slice(None)
        if not isinstance(one, slice):
            raise TypeError(f"index[{axis}] must be a slice, got {type(one).__name__}")
        if one.step is not None and operator.index(one.step) != 1:
            raise ValueError(f"index[{axis}] must have step 1, got {one.step}")
        first, stop, _ = one.indices(n)
        ranges.append((first, max(first, stop)))
    return ranges


def part_of(
    d: Distribution, ranges: list[Range], name: str = "index"
) -> tuple[Distribution, Distribution, Shape]:
    """The distribution of a part of each sample; that whose events are the items of one, and their shape."""
    n_batch = len(d._batch_shape)
    of_event = list(zip(ranges[n_batch:], d._event_shape, strict=True))
    if all(one == (0, n) for one, n in of_event):
        cut = tuple(slice(*one) for one in ranges[:n_batch])
        return d[cut] if cut else d, d, d._batch_shape
    if type(d) is Independent:
        base, item, items = part_of(d._base, ranges, name)
        return Independent(base, d._ndims), item, items
    (first, stop), n = next((one, n) for one, n in of_event if one != (0, n))
    raise ValueError(
        f"{name}: elements {first} to {stop} of {n} of an event of {type(d).__name__}, event shape "
        f"{d._event_shape}: events cannot be split"
    )
