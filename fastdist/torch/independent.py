"""Independent: torch's, which also hands `generator=` and `rng=` on, and sums densities as they are made."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent as TorchIndependent
from torch.distributions.utils import _sum_rightmost

import fastdist.distributions as fd
from fastdist.distributions.rules import expanded
from fastdist.random import RNGLike
from fastdist.torch._gaussian import Gaussian, Index, SampleShape, parse_index
from fastdist.torch._kernel import Pull
from fastdist.torch.normal import Normal


class Independent(Gaussian, TorchIndependent[Any]):
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
        if not isinstance(base, Gaussian):
            return None
        # A subclass may have a density or an entropy of its own.
        cls = type(base)
        overridden = cls.log_prob is not Gaussian.log_prob or cls.entropy not in (
            Gaussian.entropy,
            Normal.entropy,
        )
        return None if overridden else base._tensors()

    def _core(self) -> fd.Independent:
        base, n = self.base_dist._core(), self.reinterpreted_batch_ndims
        kept = self._kept
        if kept is None or kept[1] is not base or kept[0]._ndims != n:
            kept = self._kept = fd.Independent(base, n), base
        return kept[0]

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
        draw = self.base_dist.rsample if reparameterised else self.base_dist.sample
        given = {"generator": generator, "rng": rng}
        result: Tensor = draw(sample_shape, **{name: x for name, x in given.items() if x is not None})
        return result

    def _check_value(self, value: Tensor) -> None:
        self.base_dist._check_value(value)

    def _log_prob_of(self, value: Tensor, *tensors: Tensor) -> Tensor:
        log_prob: Tensor = self.base_dist._log_prob_of(value, *tensors)
        return _sum_rightmost(log_prob, self.reinterpreted_batch_ndims)

    def _pull_log_prob(self, core: fd.Independent) -> Pull:
        pull, tail = self.base_dist._pull_log_prob(core.base_dist), core._tail("_base")
        return lambda g, *arrays: pull(expanded(g, tail), *arrays)
