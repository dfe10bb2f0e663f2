"""LowRankMultivariateNormal: torch's, by fastdist's kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal as TorchLowRank
from torch.distributions.multivariate_normal import _batch_mv

import fastdist.distributions as fd
from fastdist.torch._adapter import Index, Made, parse_index


class LowRankMultivariateNormal(Made, TorchLowRank):
    """`torch.distributions.LowRankMultivariateNormal`, its draws and densities by fastdist.

    Parameters
    ----------
    loc, cov_factor, cov_diag : Tensor
        Mean (..., d), factor (..., d, rank) and diagonal (..., d): the covariance is F Fᵀ + diag(D).
    validate_args : bool, optional
        As in torch, with torch's errors.

    Examples
    --------
    >>> import torch
    >>> from fastdist.torch import LowRankMultivariateNormal
    >>> d = LowRankMultivariateNormal(torch.zeros(1000), torch.ones(1000, 2), torch.ones(1000))
    >>> d.log_prob(d.rsample((100,), rng=0)).shape
    torch.Size([100])
    """

    _wrapped = fd.LowRankMultivariateNormal

    def __getitem__(self, index: Index) -> Any:
        """Part of the batch, by basic indexing of its dims: ints, slices, ``...`` and None."""
        new, entries = self._get_checked_instance(LowRankMultivariateNormal), parse_index(index)
        loc, factor, diag = self.loc, self.cov_factor, self.cov_diag
        of_vector, of_matrix = (*entries, slice(None)), (*entries, slice(None), slice(None))
        TorchLowRank.__init__(new, loc[of_vector], factor[of_matrix], diag[of_vector], validate_args=False)
        new._set_shapes(new._batch_shape, new._event_shape, self.__dict__.get("_validate_args"))
        return new

    def _given(self) -> dict[str, Any]:
        return {
            "loc": self.loc,
            "cov_factor": self._unbroadcasted_cov_factor,
            "cov_diag": self._unbroadcasted_cov_diag,
        }

    def _made_by_torch(self, **given: Any) -> TorchLowRank:
        return TorchLowRank(**given, validate_args=False)

    def _eps_shape(self, shape: torch.Size) -> torch.Size:
        rank = self._unbroadcasted_cov_factor.shape[-1]
        return torch.Size((*shape[:-1], rank + shape[-1]))

    def _from_eps(self, eps: Tensor, *tensors: Tensor) -> Tensor:
        loc, factor, diag = tensors or self._given().values()
        rank = factor.shape[-1]
        product: Tensor = _batch_mv(factor, eps[..., :rank])
        return loc + product + diag.sqrt() * eps[..., rank:]
