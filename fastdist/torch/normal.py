"""Normal: torch's, by fastdist's kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributions as td

import fastdist.distributions as fd
from fastdist import _params
from fastdist._kernels import bridge
from fastdist._kernels.bridge import Noise
from fastdist._params import Real
from fastdist.distributions._gaussian import HALF_LOG_2PI_E
from fastdist.distributions.gradients import _new
from fastdist.random import parse_workers
from fastdist.torch._draws import Replay, normals
from fastdist.torch._gaussian import Gaussian
from fastdist.torch._kernel import DTYPES, Pull, as_array, differentiable, usable

# Up to so many elements two operations of torch's and their gradients are quicker than one Function.
SMALL = 4096


class Normal(Gaussian, td.Normal):
    r"""`torch.distributions.Normal`, its draws and densities by fastdist.

    Parameters
    ----------
    loc, scale : float or Tensor
        Mean and standard deviation. Kernels read the tensors' memory, with strides of 0 where they broadcast.
    validate_args : bool, optional
        As in torch, with torch's errors.

    Notes
    -----
    Tensors of other dtypes than float32 and float64, on other devices than the CPU, of two dtypes, or in
    a transform (vmap, jvp, torch.compile, tracing) are left to torch's own code.

    Examples
    --------
    >>> import torch
    >>> from fastdist.torch import Normal
    >>> loc, scale = torch.zeros(3, 2, requires_grad=True), torch.ones(2, requires_grad=True)
    >>> x = Normal(loc, scale).rsample((100,), rng=0)
    >>> x.sum().backward()
    >>> x.shape, loc.grad.shape, scale.grad.shape
    (torch.Size([100, 3, 2]), torch.Size([3, 2]), torch.Size([2]))
    """

    # Loc and scale as they were given, and as they are shown: broadcast.
    _given: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
    # fastdist's distribution, and the addresses of the tensors' memory, to which it refers.
    _kept: tuple[fd.Normal, int, int] | None = None

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        given = _as_tensors(loc, scale)
        if given is None or not self._take(*given, validate_args):
            super().__init__(loc, scale, validate_args)

    def _take(self, loc: Tensor, scale: Tensor, validate_args: bool | None) -> bool:
        """Be made of these, if there is nothing unusual about them."""
        if not usable(loc, scale):
            return False
        check = self._validate_args if validate_args is None else validate_args
        try:
            core = fd.Normal(as_array(loc), as_array(scale), validate_args=check)
        except ValueError:
            return False
        shape = torch.Size(core._batch_shape)
        self.loc = loc if loc.shape == shape else loc.expand(shape)
        self.scale = scale if scale.shape == shape else scale.expand(shape)
        self._given = loc, scale, self.loc, self.scale
        self._keep(core, loc, scale)
        self._set_shapes(shape, torch.Size(), validate_args)
        return True

    def _keep(self, core: fd.Normal, loc: Tensor, scale: Tensor) -> None:
        if loc.is_contiguous() and scale.is_contiguous():  # or it may have copied them
            self._kept = core, loc.data_ptr(), scale.data_ptr()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution broadcast to another batch shape; no memory is used."""
        new = self._get_checked_instance(Normal, _instance)
        super().expand(batch_shape, _instance=new)
        new._batch_shape = new.loc.shape  # where batch_shape has -1
        if self._given is not None and self._given[2] is self.loc and self._given[3] is self.scale:
            new._given = (*self._given[:2], new.loc, new.scale)
        return new

    def _tensors(self) -> tuple[Tensor, Tensor]:
        loc, scale = self.loc, self.scale
        # Unless somebody has set other ones.
        if self._given is not None and self._given[2] is loc and self._given[3] is scale:
            return self._given[:2]
        return loc, scale

    def _core(self) -> fd.Normal:
        loc, scale = self._tensors()
        if self._kept is not None and self._kept[1:] == (loc.data_ptr(), scale.data_ptr()):
            return self._kept[0]
        core = fd.Normal(as_array(loc), as_array(scale), validate_args=False)
        if core.batch_shape != self._batch_shape:
            core = core.expand(self._batch_shape)
        self._keep(core, loc, scale)
        return core

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def _names(self) -> tuple[str, ...]:
        return "loc", "scale"

    def _as_torch(self, *tensors: Tensor) -> td.Normal:
        loc, scale = tensors
        d: td.Normal = td.Normal(loc, scale, validate_args=False).expand(self._batch_shape)
        return d

    def _from_eps(self, eps: Tensor) -> Tensor:
        return self.loc + eps * self.scale

    def _new_draw(self, core: Any, shape: torch.Size, noise: Noise) -> Real:
        out: Real = np.empty(shape, core._dtype)
        bridge.draw_diag(noise, out, core._arrays["loc"], core._arrays["scale"], parse_workers(None))
        return out

    def _recorded_draw(
        self, shape: torch.Size, noise: Noise, replay: Replay, tensors: tuple[Tensor, ...]
    ) -> Tensor:
        loc, scale = tensors
        if shape.numel() <= SMALL:
            return loc + normals(noise, shape, loc.dtype) * scale
        loc_shape, scale_shape, dtype = loc.shape, scale.shape, loc.dtype

        def pull(g: Real) -> tuple[Real, Real]:
            by_loc, by_scale = _new(g, loc_shape), _new(g, scale_shape)
            bridge.pull_draw_diag(replay(), by_loc, by_scale, g)
            return by_loc, by_scale

        def formula(loc: Tensor, scale: Tensor) -> Tensor:
            return loc + normals(replay(), shape, dtype) * scale

        value = self._new_draw(self._core(), shape, noise)
        return differentiable(value, pull, formula, tensors, linear=True)

    def _pull_log_prob(self, core: fd.Distribution, value: Real) -> Pull:
        # The rule of vjp but for its copies: autograd watches over changes in place.
        loc, scale = core._arrays["loc"], core._arrays["scale"]
        loc_shape, scale_shape = core._parameter_shape("loc"), core._parameter_shape("scale")

        def pull(g: Real) -> tuple[Real, Real, Real]:
            by_value, by_loc, by_scale = _new(g, value.shape), _new(g, loc_shape), _new(g, scale_shape)
            bridge.pull_log_prob_diag(by_value, by_loc, by_scale, g, _params.pack(value, g.dtype), loc, scale)
            return by_value, by_loc, by_scale

        return pull

    def entropy(self) -> Tensor:
        """Differential entropy in nats; shape `batch_shape`."""
        tensors = self._tensors()
        if tensors[1].numel() > SMALL:
            return super().entropy()
        entropy = tensors[1].log() + HALF_LOG_2PI_E
        return entropy if entropy.shape == self._batch_shape else entropy.expand(self._batch_shape)


def _as_tensors(loc: Any, scale: Any) -> tuple[Tensor, Tensor] | None:
    """Tensors as they are, Python's numbers as torch takes them: of the other's dtype, or the default."""
    numbers = isinstance(loc, int | float), isinstance(scale, int | float)
    if numbers == (False, False):
        return loc, scale
    if torch.compiler.is_compiling():
        return None
    like = scale if numbers[0] else loc
    dtype = getattr(like, "dtype", None) if not all(numbers) else torch.get_default_dtype()
    if dtype not in DTYPES:
        return None
    made = [torch.tensor(x, dtype=dtype) if n else x for x, n in zip((loc, scale), numbers, strict=True)]
    return made[0], made[1]
