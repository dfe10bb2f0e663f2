"""Independent: torch's, which also hands `generator=` and `rng=` on, and sums densities as they are made."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributions as td

import fastdist.distributions as fd
from fastdist._params import Real
from fastdist.distributions.gradients import _expanded
from fastdist.random import RNGLike
from fastdist.torch._gaussian import Gaussian, SampleShape
from fastdist.torch._kernel import Pull
from fastdist.torch.normal import Normal


class Independent(Gaussian, td.Independent[Any]):
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

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution broadcast to another batch shape; no memory is used."""
        new = self._get_checked_instance(Independent, _instance)
        super().expand(batch_shape, _instance=new)
        base_shape = new.base_dist.batch_shape  # batch_shape may have -1
        new._batch_shape = base_shape[: len(base_shape) - self.reinterpreted_batch_ndims]
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
        return fd.Independent(self.base_dist._core(), self.reinterpreted_batch_ndims)

    def _names(self) -> tuple[str, ...]:
        names: tuple[str, ...] = self.base_dist._names()
        return names

    def _as_torch(self, *tensors: Tensor) -> td.Independent[Any]:
        return td.Independent(self.base_dist._as_torch(*tensors), self.reinterpreted_batch_ndims)

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

    def _pull_log_prob(self, core: fd.Distribution, value: Real) -> Pull:
        assert isinstance(core, fd.Independent)
        pull, tail = self.base_dist._pull_log_prob(core.base_dist, value), core._tail()
        return lambda g: pull(_expanded(g, tail))
