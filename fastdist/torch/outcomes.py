"""Categorical, Bernoulli and OneHotCategorical: torch's, by fastdist's kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import OneHotCategorical as TorchOneHotCategorical
from torch.distributions import OneHotCategoricalStraightThrough as TorchStraightThrough

import fastdist.distributions as fd
from fastdist.random import RNGLike
from fastdist.torch import _draws
from fastdist.torch._adapter import Adapter, Index, Made, parse_index
from fastdist.torch._kernel import SMALL, needs_gradients, usable
from fastdist.torch._sampling import ONE_DRAW, SampleShape


class _ByProbabilities(Made):
    """Draws by a uniform each, from what torch's constructor calls `_param`: probs or logits."""

    _n_loc = 0
    _param: Tensor
    _core_ndim: int  # how many dims of it are its own

    def _given(self) -> dict[str, Any]:
        return {self._by(): self._param}

    def _by(self) -> str:
        """What it was given."""
        return "probs" if self.__dict__.get("probs") is self._param else "logits"

    def _over(self, new: Any, tensors: dict[str, Tensor], batch_shape: torch.Size) -> Any:
        """The same of parts of probs and logits."""
        new.__dict__.update(tensors)
        new._param = tensors[self._by()]
        new._set_shapes(batch_shape, torch.Size(), self.__dict__.get("_validate_args"))
        return new

    def _there(self) -> dict[str, Tensor]:
        """Probs, logits, or both."""
        return {name: self.__dict__[name] for name in ("probs", "logits") if name in self.__dict__}

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution broadcast to another batch shape; no memory is used."""
        n = self._core_ndim
        shape = torch.empty(()).expand(self._batch_shape).expand(torch.Size(batch_shape)).shape
        tensors = {name: x.expand(shape + x.shape[x.ndim - n :]) for name, x in self._there().items()}
        return self._over(self._new_one(_instance), tensors, shape)

    def __getitem__(self, index: Index) -> Any:
        """Part of the batch, by basic indexing of its dims: ints, slices, ``...`` and None."""
        n, entries = self._core_ndim, parse_index(index)
        tensors = {name: x[(*entries, *(slice(None),) * n)] for name, x in self._there().items()}
        first = next(iter(tensors.values()))
        return self._over(self._new_one(None), tensors, first.shape[: first.ndim - n])

    def _new_one(self, instance: Any) -> Any:
        raise NotImplementedError

    def _taken(self, value: Tensor) -> Tensor:
        whole = isinstance(value, Tensor) and not value.dtype.is_floating_point
        return value.to(self._param.dtype) if whole else value

    def _draw(
        self,
        sample_shape: SampleShape,
        generator: torch.Generator | None,
        rng: RNGLike,
        *,
        reparameterised: bool,
    ) -> Tensor:
        if reparameterised:
            return self._draw_of_torch(sample_shape, reparameterised=True)
        shape, core = self._extended_shape(sample_shape), self._for_kernels()[1]  # type: ignore[arg-type]
        if core is not None:
            out = np.empty(shape, np.int64)
            noise: Any = _draws.noise(generator, rng)[0]
            core.sample(tuple(torch.Size(sample_shape)), rng=noise, out=out)
            return self._outcomes(torch.from_numpy(out))
        if generator is None and rng is None:
            return self._draw_of_torch(sample_shape, reparameterised=False)
        uniforms = _draws.uniforms_like(self._param, shape, generator, rng)
        return self._outcomes(self._of_uniforms(uniforms))

    def _outcomes(self, draws: Tensor) -> Tensor:
        """Integers as torch has them."""
        return draws

    def _of_uniforms(self, uniforms: Tensor) -> Tensor:
        """The draws that uniforms make, by torch's operations."""
        raise NotImplementedError


class Categorical(_ByProbabilities, TorchCategorical):
    """`torch.distributions.Categorical`, its draws and probabilities by fastdist.

    Parameters
    ----------
    probs, logits : Tensor
        Exactly one of them, shape (..., K).
    validate_args : bool, optional
        As in torch, with torch's errors.
    mask : Tensor of bool, optional
        Which outcomes are allowed; the others have probability 0, and gradients of 0.

    Notes
    -----
    An outcome of probability 0 has the log probability -inf, where torch has that of the smallest number.
    A gradient by `d.logits` or `d.probs` as they are shown is one along what keeps these normalised; by what
    was given it is torch's.

    Examples
    --------
    >>> import torch
    >>> from fastdist.torch import Categorical
    >>> d = Categorical(logits=torch.zeros(64, 6), mask=torch.arange(6) < 4)
    >>> int(d.sample((1000,), rng=0).max())
    3
    """

    _wrapped = fd.Categorical
    _core_ndim = 1

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
        *,
        mask: Tensor | None = None,
    ) -> None:
        super().__init__(*_masked(probs, logits, mask), validate_args)

    def _over(self, new: Any, tensors: dict[str, Tensor], batch_shape: torch.Size) -> Any:
        new._num_events = self._num_events
        return super()._over(new, tensors, batch_shape)

    def _new_one(self, instance: Any) -> Any:
        return self._get_checked_instance(Categorical, instance)

    def _constants(self, **given: Any) -> dict[str, Any]:
        # Entropy has an infinite gradient by a probability of 0, if that is not masked.
        possible = given["probs"] != 0 if "probs" in given else None
        return {} if possible is None or possible.all() else {"mask": possible}

    def _made_by_torch(self, **given: Any) -> TorchCategorical:
        return TorchCategorical(**given, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the probability of outcomes."""
        if not (self._is_small() and usable(self._param) and getattr(value, "dtype", None) == torch.int64):
            return super().log_prob(value)
        if self._validate_args and value.numel():
            least, most = value.aminmax()
            if least < 0 or most >= self._num_events:
                self._validate_sample(value)
        index, rows = torch.broadcast_tensors(value.unsqueeze(-1), self._param)
        chosen: Tensor = rows.gather(-1, index[..., :1]).squeeze(-1)
        return chosen if self._by() == "logits" else chosen.log()

    def entropy(self) -> Tensor:
        """Entropy in nats; shape `batch_shape`."""
        return TorchCategorical.entropy(self) if self._is_small() else super().entropy()

    def _is_small(self) -> bool:
        return self._param.numel() <= SMALL and needs_gradients(self._param)

    def _of_uniforms(self, uniforms: Tensor) -> Tensor:
        table = self.probs.to(uniforms.dtype).cumsum(-1)[..., :-1]
        return (uniforms[..., None] >= table).sum(-1)


class Bernoulli(_ByProbabilities, TorchBernoulli):
    """`torch.distributions.Bernoulli`, its draws and probabilities by fastdist.

    Parameters
    ----------
    probs, logits : float or Tensor
        Exactly one of them: the probability of 1, or its log-odds.
    validate_args : bool, optional
        As in torch, with torch's errors.

    Notes
    -----
    Logarithms of both probabilities have all their digits: of a probability of 0 that is -inf, where torch
    has the one of the smallest number.

    Examples
    --------
    >>> import torch
    >>> from fastdist.torch import Bernoulli
    >>> Bernoulli(torch.full((3,), 0.5)).sample((100,), rng=0).shape
    torch.Size([100, 3])
    """

    _wrapped = fd.Bernoulli
    _core_ndim = 0

    def _new_one(self, instance: Any) -> Any:
        return self._get_checked_instance(Bernoulli, instance)

    def _made_by_torch(self, **given: Any) -> TorchBernoulli:
        return TorchBernoulli(**given, validate_args=False)

    def _outcomes(self, draws: Tensor) -> Tensor:
        return draws.to(self._param.dtype)

    def _of_uniforms(self, uniforms: Tensor) -> Tensor:
        return uniforms < self.probs


class OneHotCategorical(Adapter, TorchOneHotCategorical):
    """`torch.distributions.OneHotCategorical`, over `fastdist.torch.Categorical`.

    Parameters
    ----------
    probs, logits, validate_args, mask
        As for `Categorical`.

    Examples
    --------
    >>> import torch
    >>> from fastdist.torch import OneHotCategorical
    >>> OneHotCategorical(torch.ones(3, 4)).sample(rng=0).sum(-1)
    tensor([1., 1., 1.])
    """

    _categorical: Any

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
        *,
        mask: Tensor | None = None,
    ) -> None:
        given = _masked(probs, logits, mask)
        TorchOneHotCategorical.__init__(self, *given, validate_args)
        self._categorical = Categorical(*given)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution broadcast to another batch shape; no memory is used."""
        return self._of(self._categorical.expand(batch_shape), _instance)

    def __getitem__(self, index: Index) -> Any:
        """Part of the batch, by basic indexing of its dims: ints, slices, ``...`` and None."""
        return self._of(self._categorical[index])

    def _of(self, categorical: Any, instance: Any = None) -> Any:
        new = self._get_checked_instance(self._own_class(), instance)
        new._categorical = categorical
        new._set_shapes(categorical.batch_shape, self._event_shape, self.__dict__.get("_validate_args"))
        return new

    def _own_class(self) -> type[Any]:
        return OneHotCategorical

    def _tensors(self) -> None:
        return None

    def _draw_by_torch(
        self,
        sample_shape: SampleShape,
        generator: torch.Generator | None,
        rng: RNGLike,
        *,
        reparameterised: bool,
    ) -> Tensor:
        index = self._categorical.sample(sample_shape, generator=generator, rng=rng)
        return torch.nn.functional.one_hot(index, self._event_shape[0]).to(self._param)


class OneHotCategoricalStraightThrough(OneHotCategorical, TorchStraightThrough):
    """`torch.distributions.OneHotCategoricalStraightThrough`, over `fastdist.torch.Categorical`."""

    def _own_class(self) -> type[Any]:
        return OneHotCategoricalStraightThrough

    def rsample(
        self,
        sample_shape: SampleShape = ONE_DRAW,
        *,
        generator: torch.Generator | None = None,
        rng: RNGLike = None,
    ) -> Tensor:
        """Draw samples whose gradients are those of the probabilities."""
        probs = self.probs
        return self.sample(sample_shape, generator=generator, rng=rng) + (probs - probs.detach())


def _masked(probs: Tensor | None, logits: Tensor | None, mask: Tensor | None) -> tuple[Any, Any]:
    """Probs and logits without what is not allowed."""
    if mask is None:
        return probs, logits
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        raise TypeError(f"mask must be a tensor of bools, got {getattr(mask, 'dtype', type(mask).__name__)}")
    allowed = mask.any(-1)
    if not allowed.all():
        index = tuple((~allowed).nonzero()[0].tolist())
        raise ValueError(
            f"mask must allow an outcome in each row: shape {tuple(mask.shape)}, none is at index {index}"
        )
    return (
        None if probs is None else torch.where(mask, probs, 0),
        None if logits is None else torch.where(mask, logits, -torch.inf),
    )
