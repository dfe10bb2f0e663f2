"""What fastdist.torch.MultivariateNormal has beyond torch's: against formulas in torch's operations."""

import numpy as np
import pytest
import torch

import fastdist.torch as fdt

pytestmark = pytest.mark.peers

MATRICES = ("covariance_matrix", "precision_matrix", "scale_tril")
DTYPES = [torch.float32, torch.float64]


def tensors(name, dtype, batch=(3,), dim=5):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((*batch, dim, dim))
    matrix = a @ a.swapaxes(-1, -2) / dim + np.eye(dim)
    if name == "scale_tril":
        matrix = np.linalg.cholesky(matrix)
    loc, x = rng.standard_normal((*batch, dim)), rng.standard_normal((7, *batch, dim))
    return [torch.tensor(array, dtype=dtype).requires_grad_() for array in (loc, matrix, x)]


def covariance_of(name, matrix):
    if name == "covariance_matrix":
        return (matrix + matrix.mT) / 2
    if name == "precision_matrix":
        return torch.linalg.inv((matrix + matrix.mT) / 2)
    return matrix.tril() @ matrix.tril().mT


def whitened(x, loc, tril):
    return torch.linalg.solve_triangular(tril, (x - loc)[..., None], upper=False)[..., 0]


def conditional(loc, covariance, known, rest, value):
    of_known, across = covariance[..., known, :][..., known], covariance[..., rest, :][..., known]
    gain = torch.linalg.solve(of_known, across.mT).mT
    mean = loc[..., rest] + (gain @ (value - loc[..., known])[..., None])[..., 0]
    return mean, covariance[..., rest, :][..., rest] - gain @ across.mT


def assert_same(name, dtype, ours, theirs):
    """Values, and the gradients of a sum with weights, by all three tensors."""
    mine, its = tensors(name, dtype), tensors(name, dtype)
    tolerance = {"rtol": 2e-3, "atol": 2e-3} if dtype == torch.float32 else {"rtol": 1e-8, "atol": 1e-8}
    results = ours(fdt.MultivariateNormal(mine[0], **{name: mine[1]}), mine[2]), theirs(*its)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, **tolerance)
    weights = [torch.linspace(-1, 1, r.numel(), dtype=dtype).reshape(r.shape) for r in results[1]]
    gradients = [
        torch.autograd.grad(
            sum((w * r).sum() for w, r in zip(weights, rs, strict=True)), ts, allow_unused=True
        )
        for rs, ts in zip(results, (mine, its), strict=True)
    ]
    for i, (one, other) in enumerate(zip(*gradients, strict=True)):
        assert (one is None) == (other is None)
        if one is not None:
            symmetric = i == 1 and name != "scale_tril"
            torch.testing.assert_close((one + one.mT) / 2 if symmetric else one, other, **tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MATRICES)
class TestAgainstFormulas:
    def test_colorize(self, name, dtype):
        def theirs(loc, matrix, x):
            tril = torch.linalg.cholesky(covariance_of(name, matrix))
            return [loc + (tril @ x[..., None])[..., 0]]

        assert_same(name, dtype, lambda d, x: [d.colorize(x)], theirs)

    def test_whiten(self, name, dtype):
        def theirs(loc, matrix, x):
            return [whitened(x, loc, torch.linalg.cholesky(covariance_of(name, matrix)))]

        assert_same(name, dtype, lambda d, x: [d.whiten(x)], theirs)

    def test_marginal(self, name, dtype):
        def ours(d, x):
            made = d.marginal([3, 0])
            return made.loc, made.covariance_matrix, made.log_prob(x[..., [3, 0]])

        def theirs(loc, matrix, x):
            part = covariance_of(name, matrix)[..., [3, 0], :][..., [3, 0]]
            d = torch.distributions.MultivariateNormal(loc[..., [3, 0]], part)
            return d.loc, part, d.log_prob(x[..., [3, 0]])

        assert_same(name, dtype, ours, theirs)

    def test_condition(self, name, dtype):
        def ours(d, x):
            made = d.condition([3, 0], x[..., [3, 0]])
            return made.loc, made.covariance_matrix, made.log_prob(x[..., [1, 2, 4]])

        def theirs(loc, matrix, x):
            mean, left = conditional(loc, covariance_of(name, matrix), [3, 0], [1, 2, 4], x[..., [3, 0]])
            d = torch.distributions.MultivariateNormal(mean, left)
            return mean, d.covariance_matrix, d.log_prob(x[..., [1, 2, 4]])

        assert_same(name, dtype, ours, theirs)

    def test_colours_of_own_normals_are_draws(self, name, dtype):
        loc, matrix, _ = tensors(name, dtype)
        d = fdt.MultivariateNormal(loc, **{name: matrix})
        eps = torch.tensor(np.random.default_rng(1).standard_normal((4, 3, 5)), dtype=dtype)
        torch.testing.assert_close(d.whiten(d.colorize(eps)), eps, rtol=1e-3, atol=1e-4)


def test_gradients_of_gradients():
    loc, matrix, x = tensors("scale_tril", torch.float64, (), 3)

    def of(method):
        return lambda loc, tril, x: getattr(fdt.MultivariateNormal(loc, scale_tril=tril.tril()), method)(x)

    for method in ("whiten", "colorize"):
        assert torch.autograd.gradgradcheck(of(method), (loc, matrix, x[:2].detach().requires_grad_()))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_draw_with_its_divergence(dtype):
    loc, matrix, _ = tensors("covariance_matrix", dtype)
    d = fdt.MultivariateNormal(loc, matrix)
    prior = fdt.MultivariateNormal(torch.zeros(5, dtype=dtype), torch.eye(5, dtype=dtype))
    x, kl = d.rsample_and_kl(prior, (2,), rng=1)
    wanted = d.rsample((2,), rng=1), torch.distributions.kl_divergence(d, prior)
    torch.testing.assert_close((x, kl), wanted, rtol=0, atol=0)
    gradients = [torch.autograd.grad(a.sum() + b.sum(), (loc, matrix)) for a, b in ((x, kl), wanted)]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
    one = fdt.Normal(torch.zeros(3, dtype=dtype), torch.ones(3, dtype=dtype))
    assert [t.shape for t in one.rsample_and_kl(one, (2,))] == [(2, 3), (3,)]


def test_errors_are_torchs_or_name_the_argument():
    d = fdt.MultivariateNormal(torch.zeros(3), torch.eye(3))
    with pytest.raises(IndexError, match="indices, of an event of 3 elements"):
        d.marginal([5])
    with pytest.raises(ValueError, match="indices names element 1 more than once"):
        d.condition([1, 1], torch.zeros(2))
    with pytest.raises(RuntimeError):
        d.whiten(torch.zeros(4))
