"""MultivariateNormal: torch's, by fastdist's kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal as TorchMultivariateNormal
from torch.distributions.multivariate_normal import _batch_mv

import fastdist.distributions as fd
from fastdist import _params
from fastdist._typing import Real
from fastdist.distributions._indexing import Index as Elements
from fastdist.distributions.algebra import parse_indices, with_rest
from fastdist.distributions.multivariate_normal import MATRICES, pull_log_prob
from fastdist.distributions.rules import rule_of
from fastdist.torch._adapter import Adapter, Index, by_name, parse_index
from fastdist.torch._kernel import Formula, Pull, differentiable, needs_gradients, usable
from fastdist.torch._tensors import as_array


class MultivariateNormal(Adapter, TorchMultivariateNormal):
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
    The gradient for `scale_tril` is lower triangular. With tensors of other dtypes than float32 and float64,
    on other devices than the CPU, or in a transform (vmap, jvp, torch.compile, tracing) torch's operations
    do the work.

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

    _linear = True  # draws are of the factor of construction
    # Loc as it is shown, the matrix as it was given, unbroadcast, and its name.
    _given: tuple[Tensor, Tensor, str] | None = None
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
        self._given = self.loc, matrix, name
        if name == "scale_tril":
            self._tril = matrix
            if matrix.is_leaf and matrix.requires_grad:
                self._seen = matrix.detach().clone()
        self._keep(core)
        self._set_shapes(batch_shape, event_shape, validate_args)
        return True

    def _keep(self, core: fd.MultivariateNormal) -> None:
        """Keep a distribution of what is given."""
        assert self._given is not None
        loc, matrix, name = self._given
        core._shapes = {"loc": tuple(loc.shape), name: tuple(matrix.shape)}  # those of gradients
        self._distribution, self._versions = core, _versions(loc, name, matrix)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution broadcast to another batch shape; no memory is used."""
        new = self._get_checked_instance(MultivariateNormal, _instance)
        loc = self.loc.expand(torch.Size(batch_shape) + self._event_shape)
        shape = loc.shape[:-1]  # batch_shape may have -1
        self._set_up_part(new, loc, lambda matrix: matrix.expand(shape + self._event_shape * 2))
        if self._tensors() is None:
            new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril
        else:
            assert self._given is not None
            new._given, new._tril, new._seen = (loc, *self._given[1:]), self._tril, self._seen
            new._keep(self._core().expand(shape))
        return new

    def __getitem__(self, index: Index) -> Any:
        """Part of the batch, by basic indexing of its dims: ints, slices, ``...`` and None."""
        new, entries = self._get_checked_instance(MultivariateNormal), parse_index(index)
        of_loc, of_matrix = (*entries, slice(None)), (*entries, slice(None), slice(None))
        self._set_up_part(new, self.loc[of_loc], lambda matrix: matrix[of_matrix])
        if self._tensors() is None:
            tril = self._unbroadcasted_scale_tril
            new._unbroadcasted_scale_tril = tril.expand(self.loc.shape + self._event_shape)[of_matrix]
        else:
            name = self._names()[1]
            matrix = getattr(new, name)
            new._given = new.loc, matrix, name
            if name == "scale_tril":
                new._tril = matrix
                new._seen = None if self._seen is None else matrix.detach().clone()
            new._keep(self._core()[index])
        return new

    def _set_up_part(self, new: Any, loc: Tensor, part: Callable[[Tensor], Tensor]) -> None:
        """Give another one its loc, its shapes, and parts of the matrices that there are."""
        new.loc = loc
        for name in MATRICES:
            if name in self.__dict__:
                setattr(new, name, part(getattr(self, name)))
        new._set_shapes(loc.shape[:-1], self._event_shape, self._checks())

    @property
    def _unbroadcasted_scale_tril(self) -> Tensor:
        if self._tril is not None:
            return self._tril
        assert self._given is not None
        loc, matrix, name = self._given
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
        value = torch.from_numpy(np.broadcast_to(core._converted("scale_tril"), matrix.shape).copy())
        if not matrix.requires_grad:
            return value

        def pull(g: Real) -> tuple[Real]:
            by_matrix = np.tril(g)
            core._structure.gradient_by(name, by_matrix, core._factor())
            return (by_matrix,)

        def formula(matrix: Tensor) -> Tensor:  # without self, which keeps the result: no cycle
            given: dict[str, Any] = {name: matrix}
            d = TorchMultivariateNormal(matrix[..., 0], **given, validate_args=False)
            return d._unbroadcasted_scale_tril

        return differentiable(value, pull, formula, (matrix,), linear=True)

    def _tensors(self) -> tuple[Tensor, Tensor] | None:
        # Unless somebody has set another loc.
        return None if self._given is None or self._given[0] is not self.loc else self._given[:2]

    def _core(self) -> fd.MultivariateNormal:
        assert self._given is not None
        loc, matrix, name = self._given
        versions = _versions(loc, name, matrix)
        changed = versions is None or versions != self._versions
        if changed or (self._seen is not None and not self._seen.equal(matrix)):
            core = self._distribution
            if loc.shape != self._batch_shape + self._event_shape:
                raise ValueError(f"loc was resized to {tuple(loc.shape)}")
            if name == "scale_tril":
                core = _new_core(loc, name, matrix, False)
                self._seen = None if self._seen is None else matrix.detach().clone()
            else:
                packed = _params.pack(as_array(loc), core.dtype, 1)
                core = core._with_arrays({**core._arrays, "loc": packed}, core._batch_shape)
            self._keep(core)
        return self._distribution

    def _names(self) -> tuple[str, str]:
        assert self._given is not None
        return "loc", self._given[2]

    def _as_torch(self, *tensors: Tensor) -> TorchMultivariateNormal:
        loc, matrix = tensors
        name = self._names()[1]
        given = {name: matrix.tril() if name == "scale_tril" else matrix}
        return TorchMultivariateNormal(loc, **given, validate_args=False)

    def _own_core(self) -> Any:
        core = self._core()
        own = core._with_arrays({**core._arrays, "loc": core._arrays["loc"].copy()}, core._batch_shape)
        own._shapes = core._shapes
        return own

    def _from_eps(self, eps: Tensor, *tensors: Tensor) -> Tensor:
        loc, d = (tensors[0], self._as_torch(*tensors)) if tensors else (self.loc, self)
        product: Tensor = _batch_mv(d._unbroadcasted_scale_tril, eps)
        return loc + product

    # ---- what torch's has not ------------------------------------------------------------

    def colorize(self, eps: Tensor) -> Tensor:
        """Draws from noise of one's own, ``loc + scale_tril @ eps``: of `rsample`'s normals the same sample.

        Dims of `eps` before the last broadcast with `batch_shape`.
        """
        return self._by_rule("colorize", "eps", eps, self._from_eps)

    def whiten(self, x: Tensor) -> Tensor:
        """The noise of events, the inverse of `colorize`; its squares add up to Mahalanobis' distance."""
        return self._by_rule("whiten", "x", x, self._whitened)

    def _by_rule(self, method: str, name: str, x: Tensor, formula: Formula) -> Tensor:
        """What a method of the core makes of a tensor that goes by a name, its gradients by `vjp`'s rule."""
        tensors, core = self._for_kernels(x)
        if core is None:
            return formula(x)
        try:
            result = torch.from_numpy(getattr(core, method)(as_array(x)))
        except ValueError:  # shapes that do not fit
            return formula(x)
        if not needs_gradients(x, *tensors):
            return result
        rule, names = rule_of(type(core), method).rule, (name, *self._names())
        return differentiable(
            result, lambda g, x, *_: by_name(rule(core, x)(g, None), names), formula, (x, *tensors)
        )

    def _whitened(self, x: Tensor, *tensors: Tensor) -> Tensor:
        loc, d = (tensors[0], self._as_torch(*tensors)) if tensors else (self.loc, self)
        tril, rest = d._unbroadcasted_scale_tril, (x - loc)[..., None]
        z: Tensor = torch.linalg.solve_triangular(tril, rest, upper=False)[..., 0]
        return z

    def marginal(self, indices: Elements) -> MultivariateNormal:
        """Distribution of some elements of the event, in the order of `indices`, by their covariance."""
        known = torch.from_numpy(parse_indices("indices", indices, self._event_shape[0]))
        covariance = self._covariance()[..., known[:, None], known]
        return MultivariateNormal(self.loc[..., known], covariance, validate_args=self._checks())

    def condition(self, indices: Elements, value: Tensor) -> MultivariateNormal:
        """Distribution of the other elements of the event, given those of `indices`, by its `scale_tril`.

        Dims of `value` before the last broadcast with `batch_shape`; a matrix is factorised once, however
        many values there are.
        """
        dim = self._event_shape[0]
        known = parse_indices("indices", indices, dim)
        order, k = torch.from_numpy(with_rest(known, dim)), len(known)
        tril, loc = (
            torch.linalg.cholesky(self._covariance()[..., order[:, None], order]),
            self.loc[..., order],
        )
        z = torch.linalg.solve_triangular(tril[..., :k, :k], (value - loc[..., :k])[..., None], upper=False)
        mean = loc[..., k:] + (tril[..., k:, :k] @ z)[..., 0]
        return MultivariateNormal(mean, scale_tril=tril[..., k:, k:], validate_args=self._checks())

    def _covariance(self) -> Tensor:
        """The covariance, in which the upper triangle of a `scale_tril` has no part."""
        if "covariance_matrix" in self.__dict__:
            return self.covariance_matrix
        tril = self._unbroadcasted_scale_tril.tril()
        return tril @ tril.mT

    def _checks(self) -> bool | None:
        """What was said at construction of checking arguments."""
        return self.__dict__.get("_validate_args")

    def _pull_log_prob(self, core: fd.MultivariateNormal) -> Pull:
        names = ("value", *self._names())

        def pull(g: Real, value: Real, loc: Real, _: Real) -> Any:
            packed = (_params.pack(array, g.dtype, 1) for array in (value, loc))
            rule = pull_log_prob(core, next(packed), value.shape, next(packed))
            return by_name(rule(g, None), names)

        return pull

    def __getstate__(self) -> dict[str, Any]:
        # Copied memory is not the tensors' any more.
        return {**self.__dict__, "_versions": None}


def _new_core(loc: Tensor, name: str, matrix: Tensor, validate_args: bool) -> fd.MultivariateNormal:
    given = {"loc": as_array(loc), name: as_array(matrix)}
    return fd.MultivariateNormal._borrowing(validate_args, **given)


def _versions(loc: Tensor, name: str, matrix: Tensor) -> tuple[int, ...] | None:
    """What changes where these are changed, but for a matrix whose factor was made at construction."""
    if loc.is_inference() or matrix.is_inference():  # nobody counts
        return None
    if name == "scale_tril":
        return loc._version, matrix._version, loc.data_ptr(), matrix.data_ptr()
    return loc._version, loc.data_ptr()
