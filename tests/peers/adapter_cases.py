"""What the tests of fastdist.torch share: distributions of every kind, and what they owe torch's."""

from unittest import mock

import numpy as np
import torch
from cases import MATRICES

KINDS = ("Normal", *MATRICES)
DTYPES = (torch.float32, torch.float64)
# What values and gradients owe torch's, relative to the largest of each.
RTOL = {torch.float64: 1e-10, torch.float32: 1e-4}


def close(ours, theirs):
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    atol = RTOL[theirs.dtype] * theirs.detach().abs().max().clamp(min=1).item() if theirs.numel() else 0
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


def tensors_of(kind, g, loc_shape=(3,), other_shape=(), dim=3, dtype=torch.float64):
    """Loc and the other parameter: numbers of every kind of layout come from `varied`."""

    def tensor(array):
        return torch.tensor(array, dtype=dtype)

    if kind == "Normal":
        return tensor(g.normal(size=loc_shape)), tensor(g.uniform(0.5, 2, other_shape))
    a = g.normal(size=(*other_shape, dim, dim))
    covariance = a @ a.swapaxes(-1, -2) + np.eye(dim)
    matrix = {
        "covariance_matrix": covariance,
        "precision_matrix": covariance,
        "scale_tril": np.linalg.cholesky(covariance),
    }[kind]
    return tensor(g.normal(size=(*loc_shape, dim))), tensor(matrix)


def make(module, kind, loc, other, **kwargs):
    if kind == "Normal":
        return module.Normal(loc, other, **kwargs)
    return module.MultivariateNormal(loc, **{kind: other}, **kwargs)


def leaves(*tensors):
    return [t.clone().requires_grad_() for t in tensors]


def of_any_square(kind, a):
    """The other parameter as a smooth function of any tensor, as gradcheck wants it."""
    if kind == "Normal":
        return a.exp()
    if kind == "scale_tril":
        return a.tril(-1) + torch.diag_embed(a.diagonal(dim1=-2, dim2=-1).exp())
    return a @ a.mT + torch.eye(a.shape[-1], dtype=a.dtype)


def with_eps(eps):
    """torch's draws from these normals."""
    stack = mock.patch("torch.distributions.normal._standard_normal", return_value=eps)
    return stack, mock.patch("torch.distributions.multivariate_normal._standard_normal", return_value=eps)
