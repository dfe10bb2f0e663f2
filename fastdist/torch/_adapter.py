"""Adapter: what the distributions here share, each a distribution of torch's over one of fastdist's.

A subclass says, in hooks, which tensors it is made of and what they make:

_tensors()              its parameters; None if it is not made of such
_core()                 fastdist's distribution over the memory of these tensors
_names()                the names of their gradients
_as_torch(*tensors)     torch's own distribution of others in their place

`Made` has these for one that says in `_given()` what fastdist's constructor takes.

Values are the core's, gradients come from the rules of `fastdist.vjp` for it, and gradients of gradients
from formulas in torch's operations. What fastdist does not take, by dtype, device, shape or value, goes to
torch's method or to a formula, which computes it or says what is wrong with it.

A loc or scale that was broadcast is a parameter as it is shown, so that `autograd.grad` and hooks see it.
torch's classes are imported by name: somebody may have put these here in their place in torch's modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import EllipsisType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

import fastdist.distributions as fd
from fastdist._kernels.program import KERNELS, first_bad
from fastdist._kernels.sources import Noise
from fastdist._typing import Real
from fastdist.distributions.rules import rule_of, sees_value
from fastdist.random import RNGLike, parse_workers
from fastdist.torch import _draws
from fastdist.torch._draws import Replay, normals
from fastdist.torch._kernel import Pull, differentiable, needs_gradients, usable
from fastdist.torch._sampling import ONE_DRAW, Sampled, SampleShape
from fastdist.torch._tensors import as_array

Index = int | slice | EllipsisType | None | tuple[int | slice | EllipsisType | None, ...]

_CHECK_FINITE = KERNELS["check_finite"]


class Adapter(Sampled):
    """A distribution of torch's whose numbers come from fastdist's kernels."""

    # How many tensors at the front entropy is no function of: a loc.
    _n_loc: ClassVar[int] = 1
    # Whether gradients of draws depend on no tensor's present value.
    _linear: ClassVar[bool] = False

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

    def _is_small(self) -> bool:
        """True if torch's operations and their gradients are quicker than a Function."""
        return False

    def _own_core(self) -> Any:
        """The core over no tensor's memory, which its owner might free before a pullback."""
        return self._core()

    def _from_eps(self, eps: Tensor, *tensors: Tensor) -> Tensor:
        """The draw that normals make, by torch's operations: of other tensors, if there are any."""
        raise NotImplementedError(f"draws of {type(self).__name__} by torch's operations")

    def _eps_shape(self, shape: torch.Size) -> torch.Size:
        """The shape of the normals for a draw of a shape."""
        return shape

    def _taken(self, value: Tensor) -> Tensor:
        """A value as kernels take it."""
        return value

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

    def _draw(
        self,
        sample_shape: SampleShape,
        generator: torch.Generator | None,
        rng: RNGLike,
        *,
        reparameterised: bool,
    ) -> Tensor:
        if reparameterised and not self.has_rsample:
            return self._draw_of_torch(sample_shape, reparameterised=True)
        shape = self._extended_shape(sample_shape)  # type: ignore[arg-type]
        tensors, core = self._for_kernels()
        if core is not None:
            # What can fail does so before the generator moves.
            out = torch.empty(tuple(shape), dtype=tensors[0].dtype)
            noise, replay = _draws.noise(generator, rng)
            if reparameterised and needs_gradients(*tensors):
                return self._recorded_draw(out, noise, replay, core, tensors)
            return draw_to(out, core, noise)
        return self._draw_by_torch(sample_shape, generator, rng, reparameterised=reparameterised)

    def _draw_by_torch(
        self,
        sample_shape: SampleShape,
        generator: torch.Generator | None,
        rng: RNGLike,
        *,
        reparameterised: bool,
    ) -> Tensor:
        """The draw of what kernels do not take."""
        if generator is None and rng is None:
            return self._draw_of_torch(sample_shape, reparameterised=reparameterised)
        shape = self._eps_shape(self._extended_shape(sample_shape))  # type: ignore[arg-type]
        with torch.set_grad_enabled(reparameterised and torch.is_grad_enabled()):
            return self._from_eps(_draws.normals_like(self.mean, shape, generator, rng))

    def _recorded_draw(
        self, out: Tensor, noise: Noise, replay: Replay, core: Any, tensors: tuple[Tensor, ...]
    ) -> Tensor:
        """A draw to `out` that knows its gradients: by `vjp`'s rule for a core that keeps what it needs."""
        rule, names = rule_of(type(core), "rsample").rule(core, replay), self._names()
        shape, dtype = self._eps_shape(out.shape), out.dtype
        value = draw_to(out, core, noise)
        record = as_array(value).copy() if sees_value(core, "rsample") else None

        def formula(*tensors: Tensor) -> Tensor:
            return self._from_eps(normals(replay(), shape, dtype), *tensors)

        def pull(g: Real, *_: Real) -> Any:
            return by_name(rule(g, record), names)

        return differentiable(value, pull, formula, tensors, linear=self._linear)

    def sample_and_log_prob(
        self,
        sample_shape: SampleShape = ONE_DRAW,
        *,
        generator: torch.Generator | None = None,
        rng: RNGLike = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw samples and make their log density, both differentiable if draws are; see `rsample`."""
        x = self._draw(sample_shape, generator, rng, reparameterised=self.has_rsample)
        return x, self.log_prob(x)

    def rsample_and_kl(
        self,
        prior: Distribution,
        sample_shape: SampleShape = ONE_DRAW,
        *,
        generator: torch.Generator | None = None,
        rng: RNGLike = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw reparameterised samples, and the divergence of this from a prior; see `rsample`."""
        x = self._draw(sample_shape, generator, rng, reparameterised=True)
        return x, kl_divergence(self, prior)

    # ---- densities ---------------------------------------------------------------------

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the probability density at `value`."""
        taken = self._taken(value)
        tensors, core = self._for_kernels(taken)
        if core is None:
            return self._log_prob_by_torch(value)
        array = as_array(taken)
        try:
            result = core.log_prob(array)
        except ValueError:  # shapes that do not fit, or that only torch broadcasts
            return self._log_prob_by_torch(value)
        if not all_finite(result):
            self._check_value(value)
        if not needs_gradients(value, *tensors):
            return torch.from_numpy(result)
        return differentiable(
            torch.from_numpy(result), self._pull_log_prob(core), self._log_prob_of, (taken, *tensors)
        )

    def prob(self, value: Tensor) -> Tensor:
        """Probability density at `value`."""
        return self.log_prob(value).exp()

    def _log_prob_by_torch(self, value: Tensor) -> Tensor:
        """The log density of what kernels do not take."""
        return super().log_prob(value)

    def _check_value(self, value: Tensor) -> None:
        """Raise for a value out of the support, that is with a NaN."""
        if self._validate_args:
            self._validate_sample(value)

    def _pull_log_prob(self, core: Any) -> Pull:
        """The rule of `vjp`, with a value that has not changed: autograd watches over that."""
        rule, names = rule_of(type(core), "log_prob").rule, ("value", *self._names())
        return lambda g, value, *_: by_name(rule(core, value)(g, None), names)

    def entropy(self) -> Tensor:
        """Entropy in nats; shape `batch_shape`."""
        tensors, core = self._for_kernels()
        if core is None:
            return super().entropy()
        value, n = torch.from_numpy(core.entropy()), self._n_loc
        if not needs_gradients(*tensors[n:]):
            return value
        pull, names = rule_of(type(core), "entropy").rule(core), self._names()[n:]
        locs = [loc.detach() for loc in tensors[:n]]
        return differentiable(
            value,
            lambda g, *_: by_name(pull(g, None), names),
            lambda *others: self._as_torch(*locs, *others).entropy(),
            tensors[n:],
        )


class Made(Adapter):
    """One of torch's whose core is made of copies of what it holds, and kept as long as that is the same."""

    _wrapped: ClassVar[type[fd.Distribution]]
    _made: tuple[fd.Distribution, list[tuple[int, int]]] | None = None

    def _given(self) -> dict[str, Any]:
        """What fastdist's constructor takes, by its names: tensors, and distributions."""
        raise NotImplementedError

    def _constants(self, **given: Any) -> dict[str, Any]:
        """What the constructor takes besides."""
        return {}

    def _tensors(self) -> tuple[Tensor, ...] | None:
        found: list[Tensor] = []
        for x in self._given().values():
            of_x = x._tensors() if isinstance(x, Adapter) else (x,) if isinstance(x, Tensor) else None
            if of_x is None:
                return None
            found += of_x
        return tuple(found)

    def _names(self) -> tuple[str, ...]:
        names: list[str] = []
        for name, x in self._given().items():
            names += [name] if isinstance(x, Tensor) else [f"{name}.{inner}" for inner in x._names()]
        return tuple(names)

    def _core(self) -> Any:
        tensors = self._tensors()
        assert tensors is not None
        versions = [] if any(map(_unwatched, tensors)) else [(t._version, t.data_ptr()) for t in tensors]
        if self._made is not None and versions and self._made[1] == versions:
            return self._made[0]
        given = {
            name: as_array(x) if isinstance(x, Tensor) else x._own_core() for name, x in self._given().items()
        }
        core = self._wrapped(**given, **self._constants(**given), validate_args=False)
        if core.batch_shape != self._batch_shape:
            core = core.expand(self._batch_shape)
        self._made = core, versions
        return core

    def _as_torch(self, *tensors: Tensor) -> Any:
        left, given = list(tensors), {}
        for name, x in self._given().items():
            n = 1 if isinstance(x, Tensor) else len(x._names())
            given[name] = left[0] if isinstance(x, Tensor) else x._as_torch(*left[:n])
            left = left[n:]
        return self._made_by_torch(**given)

    def _made_by_torch(self, **given: Any) -> Distribution:
        """The distribution of torch's own."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}


def _unwatched(tensor: Tensor) -> bool:
    """True if a tensor may change without being counted: fused optimizers do not count."""
    return tensor.is_inference() or (tensor.is_leaf and tensor.requires_grad)


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


def draw_of(
    d: Any,
    sample_shape: SampleShape,
    generator: torch.Generator | None,
    rng: RNGLike,
    *,
    reparameterised: bool,
) -> Tensor:
    """A draw of what another one holds, which may be torch's own: that takes no source of noise."""
    draw = d.rsample if reparameterised else d.sample
    given = {"generator": generator, "rng": rng}
    result: Tensor = draw(sample_shape, **{name: x for name, x in given.items() if x is not None})
    return result


def scored_draw_of(
    d: Any, sample_shape: SampleShape, generator: torch.Generator | None, rng: RNGLike
) -> tuple[Tensor, Tensor]:
    """The same with its log density."""
    if isinstance(d, Adapter):
        return d.sample_and_log_prob(sample_shape, generator=generator, rng=rng)
    x = draw_of(d, sample_shape, generator, rng, reparameterised=d.has_rsample)
    return x, d.log_prob(x)


def sum_last(x: Tensor, n: int) -> Tensor:
    """Sum over the last `n` dims, empty ones, too."""
    return x.sum(tuple(range(-n, 0))) if n > 0 else x


def by_name(gradients: dict[str, Any], names: Iterable[str]) -> Any:
    """The gradients of a rule, nested by names with dots, in the order of tensors."""
    return map(flat(gradients).__getitem__, names)


def flat(nested: dict[str, Any]) -> dict[str, Any]:
    """Dicts in a dict as one, by names with a dot."""
    if not any(isinstance(x, dict) for x in nested.values()):
        return nested
    found = {}
    for name, x in nested.items():
        found.update({f"{name}.{key}": y for key, y in flat(x).items()} if isinstance(x, dict) else {name: x})
    return found
