"""Gaussian: what the distributions here share, each a distribution of torch's over one of fastdist's.

A subclass says, in hooks, which tensors it is made of and what they make:

_tensors()              its parameters as they were given, unbroadcast; None if it is not made of such
_core()                 fastdist's distribution over the memory of these tensors
_names()                the names of their gradients
_as_torch(*tensors)     torch's own distribution of others in their place

Values are the core's, gradients come from the rules of `fastdist.vjp` for it, and gradients of gradients
from torch's distribution. What fastdist does not take, by dtype, device, shape or value, goes to
torch's method, which computes it or says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch import distributions as td

import fastdist.distributions as fd
from fastdist._kernels import bridge
from fastdist._kernels.bridge import Noise
from fastdist._params import Real
from fastdist.distributions import gradients
from fastdist.random import RNGLike
from fastdist.torch import _draws
from fastdist.torch._draws import Replay
from fastdist.torch._kernel import Pull, as_array, differentiable, needs_gradients, usable

SampleShape = Iterable[int]

_ONE_DRAW = torch.Size()


class Gaussian(td.Distribution):
    """A distribution of torch's whose numbers come from fastdist's kernels."""

    def _tensors(self) -> tuple[Tensor, ...] | None:
        raise NotImplementedError

    def _core(self) -> fd.Distribution:
        raise NotImplementedError

    def _names(self) -> tuple[str, ...]:
        raise NotImplementedError

    def _as_torch(self, *tensors: Tensor) -> td.Distribution:
        raise NotImplementedError

    def _from_eps(self, eps: Tensor) -> Tensor:
        """The draw that standard normals make, by torch."""
        raise NotImplementedError

    def _set_shapes(
        self, batch_shape: torch.Size, event_shape: torch.Size, validate_args: bool | None
    ) -> None:
        """What torch's constructor does once parameters have been checked."""
        td.Distribution.__init__(self, batch_shape, event_shape, validate_args=False)
        if validate_args is None:
            del self._validate_args  # the class's, which may be changed later on
        else:
            self._validate_args = validate_args

    # ---- draws -------------------------------------------------------------------------

    def sample(
        self,
        sample_shape: SampleShape = _ONE_DRAW,
        *,
        generator: torch.Generator | None = None,
        rng: RNGLike = None,
    ) -> Tensor:
        """Draw samples that know nothing of gradients: those of `rsample`, bit for bit."""
        return self._draw(sample_shape, generator, rng, reparameterised=False)

    def rsample(
        self,
        sample_shape: SampleShape = _ONE_DRAW,
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
        shape = self._extended_shape(sample_shape)  # type: ignore[arg-type]
        tensors = self._tensors()
        if tensors is not None and usable(*tensors):
            noise, replay = _draws.noise(generator, rng)
            if reparameterised and needs_gradients(*tensors):
                return self._recorded_draw(shape, noise, replay, tensors)
            return torch.from_numpy(self._new_draw(self._core(), shape, noise))
        if generator is None and rng is None:
            draw = super().rsample if reparameterised else super().sample
            return draw(sample_shape)  # type: ignore[arg-type]
        with torch.set_grad_enabled(reparameterised and torch.is_grad_enabled()):
            return self._from_eps(_draws.normals_like(self.mean, shape, generator, rng))

    def _new_draw(self, core: Any, shape: torch.Size, noise: Noise) -> Real:
        """A draw of `shape` from the core."""
        sample_shape = shape[: len(shape) - len(self._batch_shape) - len(self._event_shape)]
        draw: Real = core.sample(sample_shape, rng=noise)
        return draw

    def _recorded_draw(
        self, shape: torch.Size, noise: Noise, replay: Replay, tensors: tuple[Tensor, ...]
    ) -> Tensor:
        """A draw of `shape` that knows its gradients."""
        raise NotImplementedError

    # ---- densities ---------------------------------------------------------------------

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the probability density at `value`."""
        tensors = self._tensors()
        if tensors is None or not usable(value, *tensors):
            return super().log_prob(value)
        core, array = self._core(), as_array(value)
        try:
            result = core.log_prob(array)
        except ValueError:  # shapes that do not fit, or that only torch broadcasts
            return super().log_prob(value)
        if bridge.first_not_finite(result) >= 0:
            self._check_value(value)
        if not needs_gradients(value, *tensors):
            return torch.from_numpy(result)
        return differentiable(
            result,
            self._pull_log_prob(core, array),
            lambda value, *tensors: self._as_torch(*tensors).log_prob(value),
            (value, *tensors),
        )

    def _check_value(self, value: Tensor) -> None:
        """Raise for a value out of the support, that is with a NaN."""
        if self._validate_args:
            self._validate_sample(value)

    def _pull_log_prob(self, core: fd.Distribution, value: Real) -> Pull:
        rule, names = gradients._find(type(core), "log_prob"), ("value", *self._names())
        return lambda g: by_name(rule(core, value)(g), names)

    def entropy(self) -> Tensor:
        """Differential entropy in nats; shape `batch_shape`."""
        tensors = self._tensors()
        if tensors is None or not usable(*tensors):
            return super().entropy()
        core, names = self._core(), self._names()
        value = core.entropy()
        if not needs_gradients(*tensors):
            return torch.from_numpy(value)
        rule = gradients._find(type(core), "entropy")
        return differentiable(
            value,
            lambda g: by_name(rule(core)(g), names),
            lambda *tensors: self._as_torch(*tensors).entropy(),
            tensors,
        )


def by_name(gradients: dict[str, Real], names: Iterable[str]) -> Any:
    """The gradients of a rule in the order of tensors."""
    return map(gradients.__getitem__, names)
