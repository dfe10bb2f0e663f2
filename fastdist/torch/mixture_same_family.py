"""MixtureSameFamily: torch's, by fastdist's kernels; with reparameterised draws."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.distributions import MixtureSameFamily as TorchMixtureSameFamily

import fastdist.distributions as fd
from fastdist.random import RNGLike, as_noise
from fastdist.torch._adapter import Index, Made, all_finite, draw_of, parse_index
from fastdist.torch._cdf_family import CdfFamily
from fastdist.torch._kernel import needs_gradients
from fastdist.torch._sampling import SampleShape
from fastdist.torch._tensors import as_array
from fastdist.torch.outcomes import Categorical


class MixtureSameFamily(CdfFamily, Made, TorchMixtureSameFamily):
    """`torch.distributions.MixtureSameFamily`, by fastdist where it has the components.

    Parameters
    ----------
    mixture_distribution : torch.distributions.Categorical
        The weights.
    component_distribution : torch.distributions.Distribution
        The components, along the last dim of its batch.
    validate_args : bool, optional
        As in torch.

    Notes
    -----
    With `fastdist.torch.Categorical` weights and components of fastdist.torch, densities and draws are made
    in one pass, and nothing of the components' size is. If these are Normal or
    Independent(Normal), `rsample` has gradients, by implicit reparameterisation (first derivatives; see
    `fastdist.MixtureSameFamily`). All else is torch's, of the components' methods.

    Examples
    --------
    >>> import torch
    >>> import fastdist.torch as D
    >>> loc = torch.tensor([-1.0, 1.0], requires_grad=True)
    >>> mixture = D.MixtureSameFamily(D.Categorical(torch.ones(2)), D.Normal(loc, 0.5))
    >>> mixture.rsample((10000,), rng=0).mean().backward()
    >>> loc.grad.round(decimals=1)
    tensor([0.5000, 0.5000])
    """

    _wrapped = fd.MixtureSameFamily
    _n_loc = 0

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """True if draws are reparameterised: of Normal and Independent(Normal) components."""
        core = self._for_kernels()[1]
        return core is not None and bool(core.has_rsample)

    def _given(self) -> dict[str, Any]:
        return {
            "mixture_distribution": self._mixture_distribution,
            "component_distribution": self._component_distribution,
        }

    def _made_by_torch(self, **given: Any) -> TorchMixtureSameFamily:
        return TorchMixtureSameFamily(**given, validate_args=False)

    def __getitem__(self, index: Index) -> Any:
        """Part of the batch, by basic indexing of its dims: ints, slices, ``...`` and None."""
        new, entries = self._get_checked_instance(MixtureSameFamily), parse_index(index)
        mixture: Any = self._mixture_distribution.expand(self._batch_shape)
        component: Any = self._component_distribution
        TorchMixtureSameFamily.__init__(
            new, mixture[entries], component[(*entries, slice(None))], self.__dict__.get("_validate_args")
        )
        return new

    def _draw_by_torch(
        self,
        sample_shape: SampleShape,
        generator: torch.Generator | None,
        rng: RNGLike,
        *,
        reparameterised: bool,
    ) -> Tensor:
        rng = None if rng is None else as_noise(rng)  # type: ignore[assignment]
        mixture: Any = self._mixture_distribution.expand(self._batch_shape)
        with torch.no_grad():
            chosen, x = (
                draw_of(d, sample_shape, generator, rng, reparameterised=False)
                for d in (mixture, self._component_distribution)
            )
            n = len(self._event_shape)
            dim = x.ndim - n - 1
            index = chosen.reshape(chosen.shape + (1,) * (n + 1)).expand(
                *x.shape[:dim], 1, *self._event_shape
            )
            return x.gather(dim, index).squeeze(dim)

    def _from_eps(self, eps: Tensor, *tensors: Tensor) -> NoReturn:
        raise NotImplementedError("draws of mixtures have first derivatives only")

    def _cdf(self, method: str, value: Tensor) -> Tensor:
        """Averages by weights, in one pass by fastdist unless there are gradients."""
        tensors, core = self._for_kernels(value)
        if core is not None and not needs_gradients(value, *tensors):
            result = getattr(core, method)(as_array(value))
            if all_finite(result):
                return torch.from_numpy(result)
        component: Any = self._component_distribution
        each: Tensor = getattr(component, method)(self._pad(value))
        weights = self._mixture_distribution
        if not method.startswith("log_"):
            return (each * weights.probs).sum(-1)
        return torch.logsumexp(each + torch.log_softmax(weights.logits, -1), -1)

    def posterior_marginal(self, value: Tensor) -> Categorical:
        """Which component a value is from: the responsibilities, a Categorical over the components."""
        component: Any = self._component_distribution
        joint = component.log_prob(self._pad(value)) + torch.log_softmax(
            self._mixture_distribution.logits, -1
        )
        return Categorical(logits=joint, validate_args=False)
