"""Gaussian: what the distributions here share, each a distribution of torch's over one of fastdist's.

A subclass says, in hooks, which tensors it is made of and what they make:

_tensors()              its loc and its other parameter; None if it is not made of such
_core()                 fastdist's distribution over the memory of these tensors
_names()                the names of their gradients
_as_torch(*tensors)     torch's own distribution of others in their place

Values are the core's, gradients come from the rules of `fastdist.vjp` for it, and gradients of gradients
from formulas in torch's operations. What fastdist does not take, by dtype, device, shape or value, goes to
torch's method or to a formula, which computes it or says what is wrong with it.

A loc or scale that was broadcast is a parameter as it is shown, so that `autograd.grad` and hooks see it.
torch's classes are imported by name: somebody may have put these here in their place in torch's modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

import fastdist.distributions as fd
from fastdist._kernels.program import KERNELS, first_bad
from fastdist._kernels.sources import Noise
from fastdist._typing import Real
from fastdist.distributions.rules import rule_of
from fastdist.random import RNGLike, parse_workers
from fastdist.torch import _draws
from fastdist.torch._draws import Replay
from fastdist.torch._kernel import Pull, differentiable, needs_gradients, usable
from fastdist.torch._tensors import as_array

SampleShape = Iterable[int]
Index = int | slice | EllipsisType | None | tuple[int | slice | EllipsisType | None, ...]

_ONE_DRAW = torch.Size()
_CHECK_FINITE = KERNELS["check_finite"]


class Gaussian(Distribution):
    """A distribution of torch's whose numbers come from fastdist's kernels."""

    def _tensors(self) -> tuple[Tensor, ...] | None:
        raise NotImplementedError

    def _core(self) -> fd.Distribution:
        raise NotImplementedError

    def _names(self) -> tuple[str, ...]:
        raise NotImplementedError

    def _as_torch(self, *tensors: Tensor) -> Distribution:
        raise NotImplementedError

    def _log_prob_of(self, value: Tensor, *tensors: Tensor) -> Tensor:
        """The log density with others in their place, by torch's operations."""
        return self._as_torch(*tensors).log_prob(value)

    def _from_eps(self, eps: Tensor) -> Tensor:
        """The draw that standard normals make, by torch."""
        raise NotImplementedError

    def _set_shapes(
        self, batch_shape: torch.Size, event_shape: torch.Size, validate_args: bool | None
    ) -> None:
        """What torch's constructor does but for checking parameters."""
        self._batch_shape, self._event_shape = batch_shape, event_shape
        if validate_args is not None:  # otherwise the class's, which may be changed later on
            self._validate_args = validate_args
        super(Distribution, self).__init__()

    def __iter__(self) -> Iterator[Any]:
        """The distributions along the first batch dim."""
        if not self._batch_shape:
            raise TypeError(f"{self!r} has an empty batch_shape and cannot be iterated over")
        return (self[i] for i in range(self._batch_shape[0]))  # type: ignore[index]

    def _for_kernels(self, *more: Tensor) -> tuple[tuple[Tensor, ...], Any]:
        """The tensors and the core, if kernels take the tensors and some `more`; otherwise no core."""
        tensors = self._tensors()
        if tensors is not None and usable(*more, *tensors):
            try:
                return tensors, self._core()
            except ValueError:  # sizes that have changed since
                pass
        return (), None

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
        tensors, core = self._for_kernels()
        if core is not None:
            # What can fail does so before the generator moves.
            out = torch.empty(tuple(shape), dtype=tensors[0].dtype)
            noise, replay = _draws.noise(generator, rng)
            if reparameterised and needs_gradients(*tensors):
                return self._recorded_draw(out, noise, replay, core, tensors)
            return draw_to(out, core, noise)
        if generator is None and rng is None:
            draw = super().rsample if reparameterised else super().sample
            return draw(sample_shape)  # type: ignore[arg-type]
        with torch.set_grad_enabled(reparameterised and torch.is_grad_enabled()):
            return self._from_eps(_draws.normals_like(self.mean, shape, generator, rng))

    def _recorded_draw(
        self, out: Tensor, noise: Noise, replay: Replay, core: Any, tensors: tuple[Tensor, ...]
    ) -> Tensor:
        """A draw to `out` that knows its gradients."""
        raise NotImplementedError

    # ---- densities ---------------------------------------------------------------------

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the probability density at `value`."""
        tensors, core = self._for_kernels(value)
        if core is None:
            return self._log_prob_by_torch(value)
        array = as_array(value)
        try:
            result = core.log_prob(array)
        except ValueError:  # shapes that do not fit, or that only torch broadcasts
            return self._log_prob_by_torch(value)
        if not all_finite(result):
            self._check_value(value)
        if not needs_gradients(value, *tensors):
            return torch.from_numpy(result)
        return differentiable(
            torch.from_numpy(result), self._pull_log_prob(core), self._log_prob_of, (value, *tensors)
        )

    def _log_prob_by_torch(self, value: Tensor) -> Tensor:
        """The log density of what kernels do not take."""
        return super().log_prob(value)

    def _check_value(self, value: Tensor) -> None:
        """Raise for a value out of the support, that is with a NaN."""
        if self._validate_args:
            self._validate_sample(value)

    def _pull_log_prob(self, core: Any) -> Pull:
        """The rule of `vjp` but for its copies: autograd watches over changes in place."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """Differential entropy in nats; shape `batch_shape`."""
        tensors, core = self._for_kernels()
        if core is None:
            return super().entropy()
        value, (loc, other) = torch.from_numpy(core.entropy()), tensors
        if not needs_gradients(other):
            return value
        pull, name = rule_of(type(core), "entropy").rule(core), self._names()[1]
        return differentiable(
            value,
            lambda g, _: (pull(g, None)[name],),
            lambda other: self._as_torch(loc.detach(), other).entropy(),
            (other,),
        )


def parse_index(index: Index) -> tuple[int | slice | EllipsisType | None, ...]:
    """A basic index of batch dims as one of tensors that go on with dims of events."""
    entries = index if isinstance(index, tuple) else (index,)
    for entry in entries:
        if isinstance(entry, bool) or not isinstance(entry, int | slice | EllipsisType | None):
            raise IndexError(
                "a batch is indexed by integers, slices, ... and None, "
                f"got {entry!r} of type {type(entry).__name__}"
            )
    return entries if Ellipsis in entries else (*entries, ...)


def all_finite(array: Real) -> bool:
    """True if there is no NaN and no infinity."""
    return first_bad(_CHECK_FINITE, array) < 0


def draw_to(out: Tensor, core: Any, noise: Noise) -> Tensor:
    """A draw of the core's to a new tensor."""
    core._draw(noise, as_array(out), parse_workers(None))
    return out


def by_name(gradients: dict[str, Real], names: Iterable[str]) -> Any:
    """The gradients of a rule in the order of tensors."""
    return map(gradients.__getitem__, names)
