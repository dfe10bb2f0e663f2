"""Independent: torch's, which also hands `generator=` and `rng=` on, and sums densities as they are made."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent as TorchIndependent

import fastdist.distributions as fd
from fastdist.distributions.rules import expanded
from fastdist.random import RNGLike
from fastdist.torch._adapter import Adapter, Index, draw_of, parse_index, scored_draw_of, sum_last
from fastdist.torch._kernel import Pull
from fastdist.torch._sampling import ONE_DRAW, SampleShape
from fastdist.torch.normal import Normal


class Independent(Adapter, TorchIndependent[Any]):
    """`torch.distributions.Independent`, for distributions of fastdist's and of torch's.

    Parameters
    ----------
    base_distribution : torch.distributions.Distribution
        The base.
    reinterpreted_batch_ndims : int
        How many of its batch dims are event dims.
    validate_args : bool, optional
        As in torch.

    Examples
    --------
    >>> import torch
    >>> from fastdist.torch import Independent, Normal
    >>> ind = Independent(Normal(torch.zeros(3, 2), 1.0), 1)
    >>> ind.log_prob(ind.sample((100,), rng=0)).shape
    torch.Size([100, 3])
    """

    # fastdist's distribution, and the one of the base that it was made of.
    _kept: tuple[fd.Independent, fd.Distribution] | None = None

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution broadcast to another batch shape; no memory is used."""
        shape, n = torch.Size(batch_shape), self.reinterpreted_batch_ndims
        return self._of_base(self.base_dist.expand(shape + self._event_shape[:n]), _instance)

    def __getitem__(self, index: Index) -> Any:
        """Part of the batch, by basic indexing of its dims: ints, slices, ``...`` and None."""
        entries = parse_index(index) + (slice(None),) * self.reinterpreted_batch_ndims
        return self._of_base(self.base_dist[entries])

    def _of_base(self, base: Any, instance: Any = None) -> Any:
        """The same over another base with as many event dims."""
        new, n = self._get_checked_instance(Independent, instance), self.reinterpreted_batch_ndims
        new.base_dist, new.reinterpreted_batch_ndims = base, n
        shape = base.batch_shape[: len(base.batch_shape) - n]
        new._set_shapes(shape, self._event_shape, self.__dict__.get("_validate_args"))
        return new

    def _tensors(self) -> tuple[Tensor, ...] | None:
        base = self.base_dist
        if not isinstance(base, Adapter):
            return None
        # A subclass may have a density or an entropy of its own.
        cls = type(base)
        overridden = cls.log_prob is not Adapter.log_prob or cls.entropy not in (
            Adapter.entropy,
            Normal.entropy,
        )
        return None if overridden else base._tensors()

    def _core(self) -> fd.Independent:
        base, n = self.base_dist._core(), self.reinterpreted_batch_ndims
        kept = self._kept
        if kept is None or kept[1] is not base or kept[0]._ndims != n:
            kept = self._kept = fd.Independent(base, n), base
        return kept[0]

    def _own_core(self) -> Any:
        return fd.Independent(self.base_dist._own_core(), self.reinterpreted_batch_ndims)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def _names(self) -> tuple[str, ...]:
        names: tuple[str, ...] = self.base_dist._names()
        return names

    def _as_torch(self, *tensors: Tensor) -> TorchIndependent[Any]:
        return TorchIndependent(self.base_dist._as_torch(*tensors), self.reinterpreted_batch_ndims)

    def _draw(
        self,
        sample_shape: SampleShape,
        generator: torch.Generator | None,
        rng: RNGLike,
        *,
        reparameterised: bool,
    ) -> Tensor:
        return draw_of(self.base_dist, sample_shape, generator, rng, reparameterised=reparameterised)

    def sample_and_log_prob(
        self,
        sample_shape: SampleShape = ONE_DRAW,
        *,
        generator: torch.Generator | None = None,
        rng: RNGLike = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw samples and make their log density, by the base's method; see `rsample`."""
        x, log_prob = scored_draw_of(self.base_dist, sample_shape, generator, rng)
        return x, sum_last(log_prob, self.reinterpreted_batch_ndims)

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of draws up to `value` in each element: the product of the base's over events."""
        n = self.reinterpreted_batch_ndims
        of_base: Tensor = self.base_dist.cdf(value)
        return of_base.flatten(-n).prod(-1) if n else of_base

    def log_cdf(self, value: Tensor) -> Tensor:
        """Logarithm of the cdf."""
        return sum_last(self.base_dist.log_cdf(value), self.reinterpreted_batch_ndims)

    def _taken(self, value: Tensor) -> Tensor:
        base = self.base_dist
        return base._taken(value) if isinstance(base, Adapter) else value

    @property
    def _n_loc(self) -> int:  # type: ignore[override]
        n: int = self.base_dist._n_loc
        return n

    def entropy(self) -> Tensor:
        """Entropy in nats, summed over what is one event; shape `batch_shape`."""
        base = self.base_dist
        if self._is_small():
            return sum_last(base.entropy(), self.reinterpreted_batch_ndims)
        return super().entropy()

    def _is_small(self) -> bool:
        return isinstance(self.base_dist, Adapter) and self.base_dist._is_small()

    def _check_value(self, value: Tensor) -> None:
        self.base_dist._check_value(value)

    def _log_prob_of(self, value: Tensor, *tensors: Tensor) -> Tensor:
        log_prob: Tensor = self.base_dist._log_prob_of(value, *tensors)
        return sum_last(log_prob, self.reinterpreted_batch_ndims)

    def _pull_log_prob(self, core: fd.Independent) -> Pull:
        pull, tail = self.base_dist._pull_log_prob(core.base_dist), core._tail("_base")
        return lambda g, *arrays: pull(expanded(g, tail), *arrays)
