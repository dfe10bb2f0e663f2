"""The formulas in torch's operations: for what kernels do not take, and for derivatives of gradients.

All are of z = (value - loc) / scale, as the square of a scale leaves the range of float32 at 1e-23, and
none takes the difference of what is nearly equal but of the parameters themselves.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions.multivariate_normal import _batch_mahalanobis
from torch.special import erfcx, ndtri

from fastdist.distributions._gaussian import HALF_LOG_2PI

# Of value, loc and scale.
OfNormal = Callable[[Tensor, Tensor, Tensor], Tensor]

# log(1 + u) = 2 (s + s^3 / 3 + s^5 / 5 + ...), s = u / (2 + u): from the third power on, right to an ulp
# within NEAR.
SERIES = tuple(1 / n for n in range(21, 1, -2))
NEAR = -0.3, 0.42


def normal_log_prob(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Log density of normals."""
    z = (value - loc) / scale
    return -0.5 * z * z - scale.log() - HALF_LOG_2PI


# ---- the cdf family ------------------------------------------------------------------------


def _widened(t: Tensor) -> Tensor:
    """What torch.special takes."""
    return t.float() if getattr(t, "dtype", None) in (torch.float16, torch.bfloat16) else t


def _ndtr(z: Tensor) -> Tensor:
    # torch.special.ndtr is 0 below -6 under vmap.
    return 0.5 * torch.erfc(-math.sqrt(0.5) * z)


def _log_ndtr(z: Tensor) -> Tensor:
    # torch.special.log_ndtr has no rule for vmap.
    tail, rest = z.clamp(max=-1), z.clamp(min=-1)
    of_tail = (0.5 * erfcx(-math.sqrt(0.5) * tail)).log() - 0.5 * tail * tail
    return torch.where(z < -1, of_tail, torch.log1p(-_ndtr(-rest)))


def _of_z(f: Callable[[Tensor], Tensor]) -> OfNormal:
    def formula(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        z = (value - loc) / scale
        return f(_widened(z)).to(z.dtype)

    return formula


def _icdf(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    z: Tensor = ndtri(_widened(value))
    return loc + scale * z.to(value.dtype)


def _isf(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    z: Tensor = ndtri(_widened(value))
    return loc - scale * z.to(value.dtype)


# By the method's name.
CDFS: dict[str, OfNormal] = {
    "cdf": _of_z(_ndtr),
    "icdf": _icdf,
    "isf": _isf,
    "log_cdf": _of_z(_log_ndtr),
    "survival_function": _of_z(lambda z: _ndtr(-z)),
    "log_survival_function": _of_z(lambda z: _log_ndtr(-z)),
}


# ---- divergences ---------------------------------------------------------------------------


def normal_kl(p_loc: Tensor, p_scale: Tensor, q_loc: Tensor, q_scale: Tensor) -> Tensor:
    """Divergence of normals."""
    z = (p_loc - q_loc) / q_scale
    return 0.5 * z * z + _scale_kl(p_scale, q_scale)


def vector_kl(p_loc: Tensor, p_tril: Tensor, q_loc: Tensor, q_tril: Tensor) -> Tensor:
    """Divergence of vectors by the factors of their covariances, of which lower triangles count.

    With M = L_q^-1 L_p half its squared entries below the diagonal, the divergences of scalars on it,
    and half the distance of the locs. M - 1 is made of L_p - L_q.
    """
    dtype = functools.reduce(torch.promote_types, [t.dtype for t in (p_loc, p_tril, q_loc, q_tril)])
    wide = torch.float64 if dtype == torch.float64 else torch.float32  # what linalg takes
    p_loc, p_tril, q_loc, q_tril = (t.to(wide) for t in (p_loc, p_tril, q_loc, q_tril))
    below = torch.linalg.solve_triangular(q_tril, (p_tril - q_tril).tril(), upper=False).tril(-1)
    scales = _scale_kl(p_tril.diagonal(dim1=-2, dim2=-1), q_tril.diagonal(dim1=-2, dim2=-1)).sum(-1)
    squares = below.square().sum((-2, -1)) + _batch_mahalanobis(q_tril, p_loc - q_loc)
    result: Tensor = 0.5 * squares + scales
    return result.to(dtype)


def _scale_kl(p: Tensor, q: Tensor) -> Tensor:
    """Divergence of normals with one loc: u + u^2 / 2 - log(1 + u), u = p / q - 1."""
    u = (p - q) / q
    near = u.clamp(*NEAR)
    s = near / (2 + near)
    square = s * s
    series = functools.reduce(lambda total, term: total * square + term, SERIES[1:], SERIES[0] + 0 * s)
    close = near * (0.5 * near + s) - 2 * s * square * series
    # Half of the logarithm's range, so that the quotient stays in it.
    far = u + 0.5 * u * u - 2 * (p.sqrt() / q.sqrt()).log()
    return torch.where(u == near, close, far)
