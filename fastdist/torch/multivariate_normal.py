"""MultivariateNormal: torch's, by fastdist's kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributions as td
from torch.distributions.multivariate_normal import _batch_mv

import fastdist.distributions as fd
from fastdist import _params
from fastdist._kernels.bridge import Noise
from fastdist._params import Real
from fastdist.distributions import gradients
from fastdist.distributions.multivariate_normal import MATRICES
from fastdist.torch._draws import Replay, normals
from fastdist.torch._gaussian import Gaussian, by_name
from fastdist.torch._kernel import Pull, as_array, differentiable, usable


class MultivariateNormal(Gaussian, td.MultivariateNormal):
    r"""`torch.distributions.MultivariateNormal`, its draws and densities by fastdist.

    Parameters
    ----------
    loc : Tensor
        Mean, shape (..., d).
    covariance_matrix, precision_matrix, scale_tril : Tensor
        Exactly one of them, shape (..., d, d). It is factorised once, by fastdist, and never inverted;
        the other forms are made when they are asked for.
    validate_args : bool, optional
        As in torch, with torch's errors. A matrix counts as symmetric to fastdist's tolerance, or torch's.

    Notes
    -----
    The gradient for `scale_tril` is lower triangular. Tensors of other dtypes than float32 and float64, on
    other devices than the CPU, or in a transform (vmap, jvp, torch.compile, tracing) are left to torch's
    own code.

    Examples
    --------
    >>> import torch
    >>> from fastdist.torch import MultivariateNormal
    >>> loc, cov = torch.zeros(3, 2), torch.eye(2, requires_grad=True)
    >>> mvn = MultivariateNormal(loc, cov)
    >>> mvn.log_prob(mvn.rsample((100,), rng=0)).sum().backward()
    >>> cov.grad.shape
    torch.Size([2, 2])
    """

    # Loc and matrix as they were given, loc as it is shown: broadcast; and the name of the matrix.
    _given: tuple[Tensor, Tensor, Tensor, str] | None = None
    _distribution: fd.MultivariateNormal
    _versions: tuple[int, ...] | None
    _tril: Tensor | None = None
    # A scale_tril that is a parameter, as it was factored: fused optimizers do not count what they change.
    _seen: Tensor | None = None

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        matrices = (covariance_matrix, precision_matrix, scale_tril)
        given = [(name, m) for name, m in zip(MATRICES, matrices, strict=True) if m is not None]
        if len(given) != 1 or not self._take(loc, *given[0], validate_args):
            super().__init__(loc, *matrices, validate_args)

    def _take(self, loc: Tensor, name: str, matrix: Tensor, validate_args: bool | None) -> bool:
        """Be made of these, if there is nothing unusual about them."""
        if not usable(loc, matrix):
            return False
        check = self._validate_args if validate_args is None else validate_args
        try:
            core = _new_core(loc, name, matrix, check)
        except ValueError:
            return False
        batch_shape, event_shape = torch.Size(core.batch_shape), torch.Size(core.event_shape)
        shape = batch_shape + event_shape
        self.loc = loc if loc.shape == shape else loc.expand(shape)
        shape += event_shape
        setattr(self, name, matrix if matrix.shape == shape else matrix.expand(shape))
        if name == "scale_tril":
            self._tril = matrix
            if matrix.is_leaf and matrix.requires_grad:
                self._seen = matrix.detach().clone()
        self._given = loc, matrix, self.loc, name
        self._distribution, self._versions = core, _versions(loc, name, matrix)
        self._set_shapes(batch_shape, event_shape, validate_args)
        return True

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution broadcast to another batch shape; no memory is used."""
        new = self._get_checked_instance(MultivariateNormal, _instance)
        if self._tensors() is None:
            return super().expand(batch_shape, _instance=new)
        assert self._given is not None
        loc, matrix, _, name = self._given
        new.loc = self.loc.expand(torch.Size(batch_shape) + self._event_shape)
        shape = new.loc.shape[:-1]  # batch_shape may have -1
        for other in MATRICES:
            if other in self.__dict__:
                setattr(new, other, getattr(self, other).expand(shape + self._event_shape * 2))
        new._given, new._tril = (loc, matrix, new.loc, name), self._tril
        new._distribution = self._core().expand(shape)
        new._versions, new._seen = self._versions, self._seen
        new._set_shapes(shape, self._event_shape, self.__dict__.get("_validate_args"))
        return new

    @property
    def _unbroadcasted_scale_tril(self) -> Tensor:
        if self._tril is not None:
            return self._tril
        assert self._given is not None
        loc, matrix, _, name = self._given
        if not usable(loc, matrix):
            return self._as_torch(loc, matrix)._unbroadcasted_scale_tril
        with torch.inference_mode(False), torch.enable_grad():  # kept for later calls, out of such modes
            self._tril = self._make_tril(matrix, name)
        return self._tril

    @_unbroadcasted_scale_tril.setter
    def _unbroadcasted_scale_tril(self, value: Tensor) -> None:
        self._tril, self._given = value, None

    def _make_tril(self, matrix: Tensor, name: str) -> Tensor:
        """The factor of the matrix as it was at construction."""
        core = self._distribution
        value = np.broadcast_to(core._converted("scale_tril"), matrix.shape).copy()
        if not matrix.requires_grad:
            return torch.from_numpy(value)

        def pull(g: Real) -> tuple[Real]:
            by_matrix = np.tril(g)
            gradients.from_tril(name, by_matrix, core._arrays["_factor"])
            return (by_matrix,)

        def formula(matrix: Tensor) -> Tensor:  # without self, which keeps the result: no cycle
            given: dict[str, Any] = {name: matrix}
            d = td.MultivariateNormal(matrix[..., 0], **given, validate_args=False)
            return d._unbroadcasted_scale_tril

        return differentiable(value, pull, formula, (matrix,), linear=True)

    def _tensors(self) -> tuple[Tensor, Tensor] | None:
        # Unless somebody has set another loc.
        return None if self._given is None or self._given[2] is not self.loc else self._given[:2]

    def _core(self) -> fd.MultivariateNormal:
        assert self._given is not None
        loc, matrix, _, name = self._given
        versions = _versions(loc, name, matrix)
        changed = versions is None or versions != self._versions
        if changed or (self._seen is not None and not self._seen.equal(matrix)):
            core = self._distribution
            if name == "scale_tril":
                self._seen = None if self._seen is None else matrix.detach().clone()
                core = _new_core(loc, name, matrix, False).expand(self._batch_shape)
            else:
                array = as_array(loc)
                core = core._with_arrays(
                    {**core._arrays, "loc": _params.pack(array, core.dtype, 1)}, core._batch_shape
                )
            self._distribution, self._versions = core, versions
        return self._distribution

    def _names(self) -> tuple[str, ...]:
        assert self._given is not None
        return "loc", self._given[3]

    def _as_torch(self, *tensors: Tensor) -> td.MultivariateNormal:
        loc, matrix = tensors
        name = self._names()[1]
        given = {name: matrix.tril() if name == "scale_tril" else matrix}
        d: td.MultivariateNormal = td.MultivariateNormal(loc, **given, validate_args=False).expand(
            self._batch_shape
        )
        return d

    def _from_eps(self, eps: Tensor) -> Tensor:
        product: Tensor = _batch_mv(self._unbroadcasted_scale_tril, eps)
        return self.loc + product

    def _recorded_draw(
        self, shape: torch.Size, noise: Noise, replay: Replay, tensors: tuple[Tensor, ...]
    ) -> Tensor:
        core, names, dtype = self._core(), self._names(), tensors[0].dtype
        value = self._new_draw(core, shape, noise)
        rule = gradients._find(type(core), "rsample")(core, replay)

        def formula(loc: Tensor, matrix: Tensor) -> Tensor:
            d = self._as_torch(loc, matrix)
            product: Tensor = _batch_mv(d._unbroadcasted_scale_tril, normals(replay(), shape, dtype))
            return d.loc + product

        # Linear: the factor is the one of construction.
        return differentiable(value, lambda g: by_name(rule(g), names), formula, tensors, linear=True)

    def _pull_log_prob(self, core: fd.MultivariateNormal, value: Real) -> Pull:  # type: ignore[override]
        # The rule of vjp but for its copies: autograd watches over changes in place.
        loc, names = core._arrays["loc"], ("value", *self._names())

        def pull(g: Real) -> Any:
            packed = _params.pack(value, g.dtype, 1)
            return by_name(gradients.pull_mvn_log_prob(core, packed, value.shape, loc)(g), names)

        return pull

    def __getstate__(self) -> dict[str, Any]:
        # Copied memory is not the tensors' any more.
        return {**self.__dict__, "_versions": None}


def _new_core(loc: Tensor, name: str, matrix: Tensor, validate_args: bool) -> fd.MultivariateNormal:
    matrices: dict[str, Any] = {name: as_array(matrix)}
    return fd.MultivariateNormal(as_array(loc), **matrices, validate_args=validate_args)


def _versions(loc: Tensor, name: str, matrix: Tensor) -> tuple[int, ...] | None:
    """What changes where these are changed, but for a matrix whose factor was made at construction."""
    if loc.is_inference() or matrix.is_inference():  # nobody counts
        return None
    if name == "scale_tril":
        return loc._version, matrix._version, loc.data_ptr(), matrix.data_ptr()
    return loc._version, loc.data_ptr()
