"""From tensors to kernels and back, with gradients.

usable           whether kernels may read these tensors; if not, formulas in torch's operations do the work
differentiable   a kernel's result as a tensor that knows its gradients
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastdist import _params
from fastdist._typing import Real
from fastdist.torch._tensors import all_plain, as_array, transformed

# From a cotangent, and arrays of the tensors unless it is linear, to gradients, one for each tensor.
Pull = Callable[..., Iterable[Real]]
Formula = Callable[..., Tensor]  # the same value by torch's operations

# Up to so many elements a few operations of torch's and their gradients are quicker than one Function.
SMALL = 16384
DTYPES = frozenset({torch.float32, torch.float64})


def usable(*tensors: Any) -> bool:
    """True if these are plain tensors on the CPU, all float32 or all float64.

    In transforms none is: vmap, jvp, torch.compile and tracing see operations of torch's alone.
    """
    return not in_transform() and all_plain(tensors)


def in_transform() -> bool:
    """True if somebody is looking on who knows torch's operations alone."""
    return torch.compiler.is_compiling() or transformed()


def needs_gradients(*tensors: Tensor) -> bool:
    """True if autograd records what is made of these."""
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


def differentiable(
    value: Tensor,
    pull: Pull | None,
    formula: Formula,
    tensors: tuple[Tensor, ...],
    *,
    linear: bool = False,
) -> Tensor:
    """A value that kernels have made of `tensors`.

    Its gradients come from `pull`, and theirs, or those by a batch of cotangents, from `formula`; all, if
    there is no `pull`. With `linear`, gradients do not depend on the tensors, which may change in place.
    """
    result: Tensor = _Kernel.apply((value,), pull, formula, linear, *tensors)
    return result


class _Kernel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, value: tuple[Tensor], pull: Pull | None, formula: Formula, linear: bool, *tensors: Tensor
    ) -> Tensor:
        ctx.save_for_backward(*tensors)
        ctx.pull, ctx.formula, ctx.linear = pull, formula, linear
        return value[0]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        needs = ctx.needs_input_grad[4:]
        if (
            ctx.pull is None
            or torch.is_grad_enabled()
            or in_transform()
            or torch._C._functorch.is_legacy_batchedtensor(g)
        ):
            return None, None, None, None, *_by_torch(ctx.formula, ctx.saved_tensors, needs, g)
        # Memory may have moved since, as of parameters that are freed between forward and backward. Saved
        # tensors raise if one has changed in place.
        arrays = () if ctx.linear else map(as_array, ctx.saved_tensors)
        array = as_array(g)
        packed = _params.pack(array, array.dtype)
        cotangent = packed if packed.shape == array.shape else np.broadcast_to(packed, array.shape)
        gradients = zip(ctx.pull(cotangent, *arrays), needs, strict=True)
        return None, None, None, None, *(torch.from_numpy(x) if need else None for x, need in gradients)


def _by_torch(
    formula: Formula, tensors: tuple[Tensor, ...], needs: tuple[bool, ...], g: Tensor
) -> list[Tensor | None]:
    """Gradients by torch's operations, that can be differentiated again where autograd records."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # Aliases: one tensor may have been made of another one, whose gradient must not hold its part.
        aliases = [t.view_as(t) for t in tensors]
        wanted = [alias for alias, need in zip(aliases, needs, strict=True) if need]
        value = formula(*aliases)
        found = iter(torch.autograd.grad(value, wanted, g, create_graph=again, allow_unused=True))
    return [next(found) if need else None for need in needs]
