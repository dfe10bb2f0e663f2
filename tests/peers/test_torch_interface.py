"""What a user of torch sees of fastdist.torch: attributes, errors, dtypes, devices, modes, transforms."""

import numpy as np
import pytest
import torch
from adapter_cases import DTYPES, KINDS, close, leaves, make, tensors_of
from cases import MATRICES
from torch import distributions as td
from torch.fx.experimental.proxy_tensor import make_fx

import fastdist.torch as fdt

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_attributes(kind, dtype):
    """All that torch's have, equal, and after expand, too."""
    tensors = tensors_of(kind, np.random.default_rng(0), (4, 1), (2,), dtype=dtype)
    ours, theirs = make(fdt, kind, *tensors), make(td, kind, *tensors)
    names = ["loc", "mean", "mode", "variance", "stddev"]
    names += ["scale"] if kind == "Normal" else [*MATRICES, "_unbroadcasted_scale_tril"]
    assert repr(ours) == repr(theirs)
    for shape in (None, (3, 4, 2)):
        if shape is not None:
            ours, theirs = ours.expand(shape), theirs.expand(shape)
        assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
        assert type(ours.batch_shape) is type(ours.event_shape) is torch.Size
        assert ours.support is theirs.support
        assert ours.has_rsample
        assert isinstance(ours, type(theirs))
        for name in names:
            close(getattr(ours, name), getattr(theirs, name))
        close(ours.perplexity(), theirs.perplexity())
    if kind == "Normal":
        value = torch.linspace(0.1, 0.9, 2, dtype=dtype)
        close(ours.cdf(value), theirs.cdf(value))
        close(ours.icdf(value), theirs.icdf(value))
    given_only = make(fdt, kind, *tensors)
    assert given_only.expand(torch.Size([3, -1, 2])).batch_shape == (3, 4, 2)
    for name in names:
        close(getattr(given_only.expand((3, 4, 2)), name), getattr(theirs, name))


def test_swapped_import():
    assert fdt.Gamma is td.Gamma
    assert fdt.kl.kl_divergence is td.kl.kl_divergence
    assert fdt.kl.register_kl is td.kl.register_kl
    assert fdt.normal.Normal is fdt.Normal
    assert fdt.transforms is td.transforms
    assert fdt.kl_divergence is td.kl_divergence
    with pytest.raises(AttributeError, match=r"module 'fastdist\.torch' has no attribute 'Cauchi'"):
        fdt.Cauchi  # noqa: B018


ONE = torch.ones(2)


@pytest.mark.parametrize(
    "arguments",
    [
        ((ONE, -ONE), {}),
        ((ONE * torch.nan, ONE), {}),
        ((ONE, ONE * torch.nan), {}),
        ((torch.ones(3), ONE), {}),
        (([1.0], ONE), {}),
        ((ONE.numpy(), ONE), {}),
        ((1.0, 0.0), {}),
        ((ONE,), {}),
        ((ONE, torch.ones(2, 2)), {}),
        ((ONE, -torch.eye(2)), {}),
        ((ONE, -torch.eye(2)), {"validate_args": False}),
        ((ONE, torch.tensor([[1.0, 0.5], [0.0, 1.0]])), {}),
        ((ONE, torch.ones(2, 2) * torch.nan), {}),
        ((torch.tensor(1.0), torch.eye(2)), {}),
        ((ONE, ONE), {}),
        ((torch.ones(3, 2), torch.ones(2, 1, 1).expand(2, 2, 2) + torch.eye(2)), {}),
        ((ONE,), {"scale_tril": torch.ones(2, 2)}),
        ((ONE,), {"scale_tril": -torch.eye(2)}),
        ((ONE,), {"precision_matrix": -torch.eye(2)}),
        ((ONE, torch.eye(2)), {"scale_tril": torch.eye(2)}),
        ((ONE * torch.nan, torch.eye(2)), {}),
        ((ONE, torch.eye(2).double()), {}),
        ((ONE, torch.eye(2).to(torch.complex64)), {}),
    ],
)
@pytest.mark.parametrize("name", ["Normal", "MultivariateNormal"])
def test_errors_are_torchs(name, arguments):
    """Whatever torch's constructor says or takes: the same type and the same words."""
    args, kwargs = arguments
    outcomes = []
    for module in (td, fdt):
        try:
            outcomes.append(repr(getattr(module, name)(*args, **kwargs)))
        except Exception as error:
            outcomes.append((type(error), str(error)))
    assert outcomes[0] == outcomes[1]


def test_errors_of_values_are_torchs():
    mvn = {module: module.MultivariateNormal(torch.zeros(3, 2), torch.eye(2)) for module in (td, fdt)}
    scalar = {module: module.Normal(torch.zeros(3, 2), 1.0) for module in (td, fdt)}
    ind = {module: module.Independent(scalar[module], 1) for module in (td, fdt)}
    for d in (mvn, scalar, ind):
        for value in (
            ONE * torch.nan,
            torch.ones(4, 2),
            torch.ones(3),
            torch.ones(3, 1),
            0.5,
            np.ones(2),
            None,
        ):
            outcomes = []
            for one in d.values():
                try:
                    outcomes.append(one.log_prob(value).shape)
                except Exception as error:
                    outcomes.append((type(error), str(error)))
            assert outcomes[0] == outcomes[1]
    loose = {module: module.Normal(torch.zeros(2), 1.0, validate_args=False) for module in (td, fdt)}
    for value in (ONE * torch.nan, 0.5, ONE * torch.inf):
        torch.testing.assert_close(loose[fdt].log_prob(value), loose[td].log_prob(value), equal_nan=True)
    assert (scalar[fdt].log_prob(ONE * torch.inf) == -torch.inf).all()


def test_unusual_values_that_torch_takes():
    d = fdt.Normal(torch.tensor([0.0, torch.inf]), torch.tensor([torch.inf, 1.0]))
    assert d.sample().isinf().all()
    loose = fdt.Normal(0 * ONE, -ONE, validate_args=False)
    assert torch.equal(loose.sample(rng=0), -fdt.Normal(0 * ONE, ONE).sample(rng=0))
    mvn = fdt.MultivariateNormal(torch.tensor([0.0, torch.inf]), torch.eye(2))
    assert mvn.rsample().isinf().tolist() == [False, True]
    assert mvn.rsample(rng=0).isinf().tolist() == [False, True]
    assert mvn.expand((2,)).sample().shape == (2, 2)


def test_default_validation_is_torchs():
    before = td.Distribution._validate_args
    try:
        td.Distribution.set_default_validate_args(False)
        assert fdt.Normal(0.0, -1.0).scale == -1
        late = fdt.MultivariateNormal(torch.zeros(2), torch.eye(2))
        assert not late._validate_args
        td.Distribution.set_default_validate_args(True)
        assert late._validate_args
        with pytest.raises(ValueError, match="to satisfy the constraint GreaterThan"):
            fdt.Normal(0.0, -1.0)
    finally:
        td.Distribution.set_default_validate_args(before)


def test_numbers():
    for args in (
        (0.0, 1.0),
        (0, 1),
        (torch.zeros(2), 2),
        (0.5, torch.ones(3, dtype=torch.float64)),
        (True, 1.5),
    ):
        ours, theirs = fdt.Normal(*args), td.Normal(*args)
        assert (ours.batch_shape, ours.loc.dtype) == (theirs.batch_shape, theirs.loc.dtype)
        close(ours.loc, theirs.loc)
        close(ours.scale, theirs.scale)
        assert ours.sample((2,)).shape == theirs.sample((2,)).shape
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        assert fdt.Normal(0.0, 1.0).sample().dtype is torch.float64
    finally:
        torch.set_default_dtype(before)


def test_mixed_dtypes_are_torchs():
    for args in ((torch.zeros(2), torch.ones(2).double()), (torch.zeros(2).double(), torch.tensor(1.0))):
        ours, theirs = fdt.Normal(*args), td.Normal(*args)
        for value in (torch.zeros(2), torch.zeros(2).double(), torch.zeros(()).double()):
            close(ours.log_prob(value), theirs.log_prob(value))
        assert ours.rsample().dtype is theirs.rsample().dtype
        assert ours.sample().dtype is theirs.sample().dtype
        assert ours.rsample(rng=0).dtype is theirs.rsample().dtype
    single, other = fdt.Normal(torch.zeros(2), 1.0), td.Normal(torch.zeros(2), 1.0)
    for value in (torch.zeros(2).double(), torch.zeros(()).double()):
        close(single.log_prob(value), other.log_prob(value))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_torchs(dtype):
    args = torch.zeros(3, dtype=dtype), torch.ones(3, dtype=dtype)
    torch.manual_seed(0)
    ours = fdt.Normal(*args).sample()
    torch.manual_seed(0)
    assert torch.equal(ours, td.Normal(*args).sample())
    assert torch.equal(
        fdt.Normal(*args).rsample(rng=0), fdt.Normal(torch.zeros(3), torch.ones(3)).sample(rng=0).to(dtype)
    )
    assert fdt.Normal(*args).rsample(generator=torch.Generator()).dtype is dtype
    assert torch.equal(fdt.Normal(*args).log_prob(args[1]), td.Normal(*args).log_prob(args[1]))
    assert torch.equal(fdt.Normal(*args).entropy(), td.Normal(*args).entropy())


def test_meta_tensors_are_torchs():
    loc = torch.zeros(3, 2, device="meta")
    d = fdt.Normal(loc, torch.ones_like(loc), validate_args=False)
    assert d.rsample((4,)).device.type == d.log_prob(loc).device.type == d.entropy().device.type == "meta"
    assert d.rsample((4,), rng=0).shape == (4, 3, 2)
    mvn = fdt.MultivariateNormal(loc, torch.eye(2, device="meta"), validate_args=False)
    assert mvn.rsample((4,)).shape == (4, 3, 2)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_transforms_are_torchs():
    """vmap, grad, jvp, hessian, tracing and compilation of what uses distributions, made inside or before."""
    g = np.random.default_rng(0)
    for kind in KINDS:
        loc, other = tensors_of(kind, g)
        value = torch.tensor(g.normal(size=(4, *loc.shape)))
        outcomes = []
        for module in (td, fdt):
            made = make(module, kind, loc, other, validate_args=False)

            def inside(x, module=module, kind=kind, loc=loc, other=other):
                return make(module, kind, x, other, validate_args=False).log_prob(loc).sum()

            def before(x, made=made):
                return made.log_prob(x).sum()

            for f in (inside, before):
                outcomes += [
                    torch.func.vmap(f)(value),
                    torch.func.grad(f)(value[0]),
                    torch.func.hessian(f)(value[0]),
                    torch.func.jvp(f, (value[0],), (value[1],))[1],
                    torch.jit.trace(f, value[0])(value[1]),
                    torch.compile(f, backend="eager", fullgraph=True)(value[0]),
                    f(value[0]),
                ]
            with torch.autograd.forward_ad.dual_level():
                dual = torch.autograd.forward_ad.make_dual(value[0], value[1])
                outcomes.append(torch.autograd.forward_ad.unpack_dual(before(dual)).tangent)
            outcomes.append(torch.func.vmap(lambda x, m=made: m.rsample() * x, randomness="same")(value) * 0)
        half = len(outcomes) // 2
        for ours, theirs in zip(outcomes[half:], outcomes[:half], strict=True):
            close(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_make_fx(kind):
    """A mode of dispatch sees torch's operations alone: what it records depends on the arguments."""
    d = make(fdt, kind, *tensors_of(kind, np.random.default_rng(0)), validate_args=False)
    x, y = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    recorded = make_fx(lambda value: d.log_prob(value))(x)
    close(recorded(y), d.log_prob(y))


def test_gradient_modes():
    loc, scale = leaves(torch.zeros(3, 2), torch.ones(2))
    for d in (fdt.Normal(loc, scale), fdt.MultivariateNormal(loc, scale_tril=torch.diag(scale))):
        assert d.rsample().requires_grad
        assert d.log_prob(torch.zeros(3, 2)).requires_grad
        assert not d.sample().requires_grad
        with torch.no_grad():
            assert not d.rsample().requires_grad
            assert not d.log_prob(torch.zeros(3, 2)).requires_grad
        with torch.inference_mode():
            assert d.rsample().is_inference()
            assert not d.log_prob(d.sample()).requires_grad
            inner = (
                type(d)(torch.zeros(2), scale_tril=torch.eye(2))
                if d.event_shape
                else type(d)(torch.zeros(2), 1.0)
            )
            x = inner.sample(rng=0)
            inner.loc += 1
            assert torch.equal(inner.sample(rng=0), x + 1)
        assert d.rsample().requires_grad
    plain = fdt.Normal(torch.zeros(2), torch.ones(2))
    assert not plain.rsample().requires_grad
    (covariance,) = leaves(2 * torch.eye(2))
    d = fdt.MultivariateNormal(torch.zeros(2), covariance)
    with torch.inference_mode():
        assert not d.variance.requires_grad
    # The factor made then is one that gradients flow through, as torch's of construction is.
    close(torch.autograd.grad(d.variance.sum(), covariance)[0], torch.eye(2))
    parameter = torch.nn.Parameter(torch.ones(2))
    fdt.Normal(torch.zeros(2), parameter).rsample((3,), rng=0).sum().backward()
    assert parameter.grad.shape == (2,)
