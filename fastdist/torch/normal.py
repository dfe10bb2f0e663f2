"""Normal: torch's, by fastdist's kernels."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal as TorchNormal

import fastdist.distributions as fd
from fastdist import _params
from fastdist._kernels import pullbacks
from fastdist._kernels.sources import Noise
from fastdist._typing import Real
from fastdist.distributions._gaussian import HALF_LOG_2PI, HALF_LOG_2PI_E
from fastdist.distributions.normal import SCORE
from fastdist.distributions.rules import new
from fastdist.random import RNGLike
from fastdist.torch import _draws
from fastdist.torch._adapter import Adapter, Index, all_finite, draw_to, parse_index
from fastdist.torch._cdf_family import CdfFamily
from fastdist.torch._draws import Replay, fill, normals
from fastdist.torch._formulas import CDFS, normal_log_prob
from fastdist.torch._kernel import DTYPES, SMALL, Pull, differentiable, needs_gradients, usable
from fastdist.torch._sampling import ONE_DRAW, SampleShape
from fastdist.torch._tensors import as_array


class Normal(CdfFamily, Adapter, TorchNormal):
    r"""`torch.distributions.Normal`, its draws and densities by fastdist.

    Parameters
    ----------
    loc, scale : float or Tensor
        Mean and standard deviation. Kernels read the tensors' memory, with strides of 0 where they broadcast.
    validate_args : bool, optional
        As in torch, with torch's errors.

    Notes
    -----
    With tensors of other dtypes than float32 and float64, on other devices than the CPU, of two dtypes, or
    in a transform (vmap, jvp, torch.compile, tracing) torch's operations do the work.

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

    # fastdist's distribution, the tensors it is made of, and the addresses of their memory, to which it
    # refers.
    _kept: tuple[fd.Normal, Tensor, Tensor, int, int] | None = None

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
            core = fd.Normal._borrowing(check, loc=as_array(loc), scale=as_array(scale))
        except ValueError:
            return False
        shape = torch.Size(core._batch_shape)
        if loc.shape == shape == scale.shape:
            self.loc, self.scale = loc, scale
        else:
            self.loc, self.scale = torch.broadcast_tensors(loc, scale)
            core._shapes = {"loc": tuple(shape), "scale": tuple(shape)}  # of gradients: as they are shown
        self._keep(core)
        self._set_shapes(shape, torch.Size(), validate_args)
        return True

    def _keep(self, core: fd.Normal) -> None:
        """Keep a distribution of loc and scale, unless it has copied them."""
        arrays, loc, scale = core._arrays, self.loc, self.scale
        if not (arrays["loc"].flags.owndata or arrays["scale"].flags.owndata):
            self._kept = core, loc, scale, loc.data_ptr(), scale.data_ptr()

    def _kept_core(self) -> fd.Normal | None:
        """What is kept, if it is still of these tensors and their memory."""
        if self._kept is None:
            return None
        core, loc, scale, at_loc, at_scale = self._kept
        same = (
            self.loc is loc
            and self.scale is scale
            and loc.data_ptr() == at_loc
            and scale.data_ptr() == at_scale
            and loc.shape == scale.shape == self._batch_shape  # or they were resized
        )
        return core if same else None

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution broadcast to another batch shape; no memory is used."""
        new = self._get_checked_instance(Normal, _instance)
        new.loc, new.scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        shape = new.loc.shape  # batch_shape may have -1
        core = self._kept_core()
        if core is not None:
            core = core.expand(shape)
            core._shapes = {"loc": tuple(shape), "scale": tuple(shape)}
            new._keep(core)
        new._set_shapes(shape, torch.Size(), self.__dict__.get("_validate_args"))
        return new

    def __getitem__(self, index: Index) -> Any:
        """Part of the batch, by basic indexing of its dims: ints, slices, ``...`` and None."""
        new, entries = self._get_checked_instance(Normal), parse_index(index)
        new.loc, new.scale = self.loc[entries], self.scale[entries]
        new._set_shapes(new.loc.shape, torch.Size(), self.__dict__.get("_validate_args"))
        return new

    def _tensors(self) -> tuple[Tensor, Tensor]:
        return self.loc, self.scale

    def _core(self) -> fd.Normal:
        core = self._kept_core()
        if core is None:
            core = fd.Normal._borrowing(False, loc=as_array(self.loc), scale=as_array(self.scale))
            if core._batch_shape != self._batch_shape:
                core = core.expand(self._batch_shape)
            self._keep(core)
        return core

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def _names(self) -> tuple[str, ...]:
        return "loc", "scale"

    def _as_torch(self, *tensors: Tensor) -> TorchNormal:
        loc, scale = tensors
        return TorchNormal(loc, scale, validate_args=False)

    def _from_eps(self, eps: Tensor, *tensors: Tensor) -> Tensor:
        loc, scale = tensors or self._tensors()
        return loc + eps * scale

    def _own_core(self) -> Any:
        core = self._core()
        own = core._with_arrays(
            {name: core._arrays[name].copy() for name in ("loc", "scale")}, core._batch_shape
        )
        own._shapes = core._shapes
        return own

    def _recorded_draw(
        self, out: Tensor, noise: Noise, replay: Replay, core: fd.Normal, tensors: tuple[Tensor, ...]
    ) -> Tensor:
        loc, scale = tensors
        shape, dtype = out.shape, out.dtype
        if shape.numel() <= SMALL:
            return loc + fill(out, noise) * scale
        loc_shape, scale_shape = tuple(loc.shape), tuple(scale.shape)

        def pull(g: Real) -> tuple[Real, Real]:
            by_loc, by_scale = new(g, loc_shape), new(g, scale_shape)
            pullbacks.draw_diag(replay(), by_loc, by_scale, g)
            return by_loc, by_scale

        def formula(*tensors: Tensor) -> Tensor:
            return self._from_eps(normals(replay(), shape, dtype), *tensors)

        return differentiable(draw_to(out, core, noise), pull, formula, tensors, linear=True)

    def sample_and_log_prob(
        self,
        sample_shape: SampleShape = ONE_DRAW,
        *,
        generator: torch.Generator | None = None,
        rng: RNGLike = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw samples and make their log density of the same noise; see `rsample`.

        The draw is that of `rsample`. Both are differentiable, with the noise held fixed.
        """
        tensors, core = self._for_kernels()
        if core is None:
            return super().sample_and_log_prob(sample_shape, generator=generator, rng=rng)
        shape = self._extended_shape(sample_shape)  # type: ignore[arg-type]
        loc, scale = tensors
        eps = torch.empty(tuple(shape), dtype=loc.dtype)
        fill(eps, _draws.noise(generator, rng)[0])
        return loc + eps * scale, (-0.5 * eps * eps - HALF_LOG_2PI) - scale.log()

    # ---- densities ---------------------------------------------------------------------

    def _log_prob_of(self, value: Tensor, *tensors: Tensor) -> Tensor:
        return normal_log_prob(value, *tensors)

    def _log_prob_by_torch(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return normal_log_prob(value, self.loc, self.scale)

    def _pull_log_prob(self, core: fd.Normal) -> Pull:
        def pull(g: Real, value: Real, loc: Real, scale: Real) -> tuple[Real, Real, Real]:
            gradients = new(g, value.shape), new(g, loc.shape), new(g, scale.shape)
            packed = (_params.pack(x, g.dtype) for x in (value, loc, scale))
            pullbacks.standardized_diag(SCORE, *gradients, g, *packed)
            return gradients

        return pull

    def entropy(self) -> Tensor:
        """Differential entropy in nats; shape `batch_shape`."""
        return self.scale.log() + HALF_LOG_2PI_E if self._is_small() else super().entropy()

    def _is_small(self) -> bool:
        return self.scale.numel() <= SMALL

    # ---- the cdf family ------------------------------------------------------------------

    def icdf(self, value: Tensor) -> Tensor:
        """Inverse of the cdf (quantile function): -inf at 0, inf at 1, NaN outside."""
        return self._cdf("icdf", value)

    def isf(self, value: Tensor) -> Tensor:
        """Inverse of the survival function: inf at 0, -inf at 1, NaN outside."""
        return self._cdf("isf", value)

    def _cdf(self, method: str, value: Tensor) -> Tensor:
        formula, result = CDFS[method], None
        tensors, core = self._for_kernels(value)
        if core is not None:
            with contextlib.suppress(ValueError):  # shapes that do not fit, a probability that is none
                result = getattr(core, method)(as_array(value))
        if method not in ("icdf", "isf") and (result is None or not all_finite(result)):
            self._check_value(value)  # a probability is not checked in torch
        if result is None:
            return formula(value, self.loc, self.scale)
        if not needs_gradients(value, *tensors):
            return torch.from_numpy(result)
        return differentiable(torch.from_numpy(result), None, formula, (value, *tensors))


def _as_tensors(loc: Any, scale: Any) -> tuple[Tensor, Tensor] | None:
    """Tensors as they are, Python's numbers as torch takes them: of the other's dtype, or the default."""
    numbers = isinstance(loc, (int, float)), isinstance(scale, (int, float))
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
