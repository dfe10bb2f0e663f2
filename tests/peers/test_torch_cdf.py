"""The cdf family of fastdist.torch: values in both tails, gradients of all orders, what kernels do not take."""

import mpmath as mp
import numpy as np
import pytest
import torch
from adapter_cases import DTYPES
from torch import distributions as td
from torch.autograd import gradcheck, gradgradcheck

import fastdist as fd
import fastdist.torch as fdt

pytestmark = pytest.mark.peers

OF_VALUES = ("cdf", "survival_function", "log_cdf", "log_survival_function")
METHODS = (*OF_VALUES, "icdf")


def exact(method, z):
    """Value and derivative at a standard normal's z."""
    with mp.workdps(50):
        z = mp.mpf(z)
        sign = -1 if "survival" in method else 1
        below, density = mp.ncdf(sign * z), sign * mp.npdf(z)
        if method.startswith("log"):
            return float(mp.log(below)), float(density / below)
        return float(below), float(density)


def within(found, wanted, tolerance):
    error = (found.detach().double() - wanted).abs()
    assert (error <= tolerance * wanted.abs() + 1e-44).all(), (found, wanted)


@pytest.mark.parametrize("method", OF_VALUES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients(method, dtype):
    """Tails where torch's cdf is 0 or 1, by value, loc and scale: of kernels, and of formulas under vmap."""
    z = torch.tensor([-12.5, -6.0, -3.0, -0.5, 0.0, 0.5, 3.0, 6.0, 12.5], dtype=dtype)
    n = len(z)
    loc, scale = (torch.full((n,), x, dtype=dtype, requires_grad=True) for x in (0.5, 0.25))  # z is exact
    value = (0.5 + 0.25 * z).requires_grad_()
    eps = torch.finfo(dtype).eps
    wanted, slope = torch.tensor([exact(method, x) for x in z.tolist()], dtype=torch.float64).T
    by_all = [x * slope / 0.25 for x in (1, -1, -z.double())]
    tail = 4 * eps * (1 + z.double().square())  # what exp(-z^2 / 2) loses

    def of(value, loc, scale):
        return getattr(fdt.Normal(loc, scale, validate_args=False), method)(value)

    found = of(value, loc, scale)
    within(found, wanted, 8 * eps)
    for create_graph in (False, True):
        gradients = torch.autograd.grad(
            found.sum(), (value, loc, scale), retain_graph=True, create_graph=create_graph
        )
        for g, y in zip(gradients, by_all, strict=True):
            within(g, y, 2 * tail)
    gradients, found = torch.func.vmap(torch.func.grad_and_value(of, (0, 1, 2)))(
        value.detach(), loc.detach(), scale.detach()
    )
    within(found, wanted, tail)
    for g, y in zip(gradients, by_all, strict=True):
        within(g, y, 2 * tail)


@pytest.mark.parametrize("dtype", DTYPES)
def test_quantiles(dtype):
    loc, scale = torch.tensor(0.0, dtype=dtype), torch.tensor(0.25, dtype=dtype, requires_grad=True)
    d = fdt.Normal(loc, scale)
    p = torch.tensor([1e-30, 1e-6, 0.3, 0.9, 0.999], dtype=dtype, requires_grad=True)
    with mp.workdps(50):
        exact_z = [
            mp.findroot(lambda z, x=x: mp.log(mp.ncdf(z)) - mp.log(x), start)
            for x, start in zip(p.tolist(), (-11.5, -4.8, -0.5, 1.3, 3.1), strict=True)
        ]
    z = torch.tensor([float(x) for x in exact_z], dtype=torch.float64)
    eps = torch.finfo(dtype).eps
    x = d.icdf(p)
    within(x, 0.25 * z, 8 * eps)
    by_p, by_scale = torch.autograd.grad(x.sum(), (p, scale))
    within(by_p, 0.25 * (2 * np.pi) ** 0.5 * (z.square() / 2).exp(), 8 * eps * (1 + z.square()))
    within(by_scale, z.sum(), 20 * eps)
    within(torch.func.vmap(d.icdf)(p.detach()), 0.25 * z, 20 * eps)
    ends = d.icdf(torch.tensor([0.0, 1.0, -0.1, 1.1], dtype=dtype))
    assert ends[:2].tolist() == [-np.inf, np.inf]
    assert ends[2:].isnan().all()


@pytest.mark.parametrize("method", METHODS)
def test_kernels_compute_them(method):
    """Bit for bit what fastdist gives for the same memory, with gradients or without, broadcast or not."""
    g = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        loc, scale = g.normal(size=(3, 1)).astype(dtype), g.uniform(0.5, 2, 4).astype(dtype)
        value = g.uniform(0.01, 0.99, (5, 3, 4)).astype(dtype)
        wanted = getattr(fd.Normal(loc, scale), method)(value)
        tensors = [torch.tensor(x, requires_grad=True) for x in (value, loc, scale)]
        for grad in (False, True):
            with torch.set_grad_enabled(grad):
                found = getattr(fdt.Normal(*tensors[1:]), method)(tensors[0])
            assert found.requires_grad == grad
            np.testing.assert_array_equal(found.detach().numpy(), wanted)


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("method", METHODS)
def test_gradcheck(method):
    """torch's own check of gradients, and of their gradients, with parameters that broadcast."""
    g = np.random.default_rng(0)
    inputs = [
        torch.tensor(x, requires_grad=True)
        for x in (g.uniform(0.1, 0.9, (2, 3, 2)), g.normal(size=(3, 1)) / 4, g.uniform(0.5, 2, 2))
    ]

    def f(value, loc, scale):
        return getattr(fdt.Normal(loc, scale), method)(value)

    assert gradcheck(f, inputs)
    assert gradgradcheck(f, inputs)
    x = [t.detach() for t in inputs]
    torch.testing.assert_close(
        torch.func.jacrev(f, 2)(*x), torch.autograd.functional.jacobian(lambda s: f(*x[:2], s), x[2])
    )
    for ours, theirs in zip(
        torch.func.jvp(lambda s: f(*x[:2], s), (x[2],), (x[2],)),
        (f(*x), torch.func.jacfwd(f, 2)(*x) @ x[2]),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_shown_parameters():
    loc, scale = torch.zeros(3, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    d = fdt.Normal(loc, scale)
    seen = []
    d.scale.register_hook(seen.append)
    (by_scale,) = torch.autograd.grad(d.log_cdf(torch.ones(3)).sum(), d.scale)
    assert by_scale.shape == (3,)
    assert torch.equal(seen[0], by_scale)


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("method", METHODS)
def test_transforms(method):
    value = torch.linspace(0.1, 0.9, 5)
    d = fdt.Normal(torch.tensor(0.1), torch.tensor(1.5), validate_args=False)
    f = getattr(d, method)
    wanted = f(value)
    torch.testing.assert_close(torch.func.vmap(f)(value), wanted)
    torch.testing.assert_close(torch.compile(f, backend="eager", fullgraph=True)(value), wanted)
    torch.testing.assert_close(torch.jit.trace(f, value)(value), wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_low_precision(method, dtype):
    value = torch.linspace(0.125, 0.875, 7, dtype=dtype)
    args = torch.zeros(7, dtype=dtype), torch.ones(7, dtype=dtype)
    found = getattr(fdt.Normal(*args), method)(value)
    wide = getattr(fdt.Normal(*(t.float() for t in args)), method)(value.float())
    assert found.dtype is dtype
    torch.testing.assert_close(found.float(), wide, rtol=torch.finfo(dtype).eps, atol=0)
    if hasattr(td.Normal, method):
        torch.testing.assert_close(found, getattr(td.Normal(*args), method)(value), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("method", ["cdf", "icdf"])
def test_errors_are_torchs(method):
    """And what is no error: shapes, dtypes, NaN, numbers for tensors."""
    values = (
        torch.zeros(3) * torch.nan,
        torch.zeros(4),
        torch.zeros(2, 3).double(),
        torch.zeros(3, 1),
        0.5,
        None,
    )
    for validate_args in (True, False):
        outcomes = []
        for module in (td, fdt):
            d = module.Normal(torch.zeros(3), 1.0, validate_args=validate_args)
            for value in values:
                try:
                    result = getattr(d, method)(value)
                    outcomes.append((result.shape, result.dtype, result.isnan().tolist()))
                except (ValueError, TypeError, RuntimeError) as error:
                    outcomes.append(type(error))
        assert outcomes[: len(values)] == outcomes[len(values) :]


def test_transformed_distributions_use_it():
    d = td.TransformedDistribution(
        fdt.Normal(torch.zeros(()), torch.ones(())), [td.AffineTransform(0.0, 2.0)]
    )
    torch.testing.assert_close(d.cdf(torch.tensor(-12.0)).item(), exact("cdf", -6)[0], rtol=1e-6, atol=0)
