"""`sample` and `rsample`, each one way through a distribution's own `_draw`."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributions import Distribution

from fastdist.random import RNGLike

SampleShape = Iterable[int]

ONE_DRAW = torch.Size()


class Sampled(Distribution):
    """A distribution whose draws take a generator of torch's, or NumPy's or fastdist's."""

    def sample(
        self,
        sample_shape: SampleShape = ONE_DRAW,
        *,
        generator: torch.Generator | None = None,
        rng: RNGLike = None,
    ) -> Tensor:
        """Draw samples that know nothing of gradients: those of `rsample`, bit for bit."""
        return self._draw(sample_shape, generator, rng, reparameterised=False)

    def rsample(
        self,
        sample_shape: SampleShape = ONE_DRAW,
        *,
        generator: torch.Generator | None = None,
        rng: RNGLike = None,
    ) -> Tensor:
        """Draw reparameterised samples.

        Parameters
        ----------
        sample_shape : iterable of int
            Leading dims of the result.
        generator : torch.Generator, optional
            Gives the draw its key, 128 bits, and moves on. Default: the one that `torch.manual_seed` seeds.
        rng : int, SeedSequence, BitGenerator or Generator, optional
            A seed or generator of NumPy's or fastdist's in its place.

        Returns
        -------
        Tensor
            Shape ``sample_shape + batch_shape + event_shape``.

        Raises
        ------
        NotImplementedError
            If `has_rsample` is False, or gradients are asked for and have no rule.
        ValueError
            If both `generator` and `rng` are given.
        TypeError
            For an unusable one.
        """
        return self._draw(sample_shape, generator, rng, reparameterised=True)

    def _draw(
        self,
        sample_shape: SampleShape,
        generator: torch.Generator | None,
        rng: RNGLike,
        *,
        reparameterised: bool,
    ) -> Tensor:
        """The draw of either."""
        raise NotImplementedError

    def _draw_of_torch(self, sample_shape: SampleShape, *, reparameterised: bool) -> Tensor:
        """The same draw by torch's class and its default generator; it says what torch cannot draw."""
        draw = super().rsample if reparameterised else super().sample
        return draw(sample_shape)  # type: ignore[arg-type]
