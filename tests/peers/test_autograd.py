"""fastdist.autograd against autograd's own finite differences."""

import subprocess
import sys

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad, grad, hessian, jacobian, value_and_grad
from autograd.test_util import check_grads
from cases import MATRICES

import fastdist as fd
from fastdist import autograd as fda

pytestmark = pytest.mark.peers

g = np.random.default_rng(0)
LOC, SCALE, VALUE = g.normal(size=(3, 2)), g.uniform(0.5, 2, 2), g.normal(size=(4, 1, 2))
LOC_3, A, VALUE_3 = g.normal(size=3), g.normal(size=(2, 3, 3)), g.normal(size=(4, 2, 3))


def matrix_of(name, a):
    """A matrix of the kind, as a differentiable function of any square one."""
    if name == "scale_tril":
        return anp.tril(a, -1) + anp.exp(anp.tril(a) - anp.tril(a, -1)) * np.eye(a.shape[-1])
    return anp.matmul(a, anp.swapaxes(a, -1, -2)) + np.eye(a.shape[-1])


def first(f, *args):
    check_grads(f, modes=["rev"], order=1)(*args)


def test_normal():
    first(lambda loc, scale: fda.Normal(loc, scale).rsample((5,), rng=1), LOC, SCALE)
    first(lambda loc, scale, x: fda.Normal(loc, scale).log_prob(x), LOC, SCALE, VALUE)
    first(lambda scale: fda.Normal(LOC, scale).entropy(), SCALE)
    first(lambda a, b, c, d: fda.kl_divergence(fda.Normal(a, b), fda.Normal(c, d)), LOC, SCALE, 0.5, 2.0)


def test_numbers():
    first(lambda loc, scale, x: fda.Normal(loc, scale).log_prob(x), 0.5, 2.0, -1.0)
    first(lambda loc, scale: fda.Normal(loc, scale).rsample((3,), rng=1), 0.5, 2.0)


@pytest.mark.parametrize("name", MATRICES)
def test_multivariate_normal(name):
    def d(loc, a):
        return fda.MultivariateNormal(loc, **{name: matrix_of(name, a)})

    first(lambda loc, a: d(loc, a).rsample((5,), rng=1), LOC_3, A)
    first(lambda loc, a, x: d(loc, a).log_prob(x), LOC_3, A, VALUE_3)
    first(lambda loc, a: d(loc, a).entropy(), LOC_3, A)
    first(lambda loc, a, b: fda.kl_divergence(d(loc, a), d(LOC_3, b)), LOC_3, A, A[::-1] + 1)
    first(
        lambda loc, scale, a: fda.kl_divergence(fda.Independent(fda.Normal(loc, scale), 1), d(LOC_3, a)),
        LOC_3, np.exp(LOC_3), A,
    )  # fmt: skip


def test_independent():
    def d(loc, scale):
        return fda.Independent(fda.Normal(loc, scale), 1)

    assert (d(LOC, SCALE).batch_shape, d(LOC, SCALE).event_shape) == ((3,), (2,))
    first(lambda loc, scale: d(loc, scale).rsample((5,), rng=1), LOC, SCALE)
    first(
        lambda loc, scale, x: d(loc, scale).log_prob(x), LOC, SCALE, np.broadcast_to(VALUE, (4, 3, 2)).copy()
    )
    first(lambda loc, scale: d(loc, scale).entropy(), LOC, SCALE)


def test_values_are_fastdists():
    ours, theirs = fda.Normal(LOC, SCALE), fd.Normal(LOC, SCALE)
    for value, wanted in (
        (ours.rsample((5,), rng=1), theirs.rsample((5,), rng=1)),
        (ours.sample((5,), rng=1), theirs.rsample((5,), rng=1)),
        (ours.log_prob(VALUE), theirs.log_prob(VALUE)),
        (ours.entropy(), theirs.entropy()),
    ):
        np.testing.assert_array_equal(value, wanted)


def test_float32_stays():
    loc, scale = LOC.astype(np.float32), SCALE.astype(np.float32)
    value, (by_loc, by_scale) = value_and_grad(
        lambda pair: anp.sum(fda.Normal(*pair).rsample((5,), rng=1) * 2.0)
    )((loc, scale))
    assert {value.dtype, by_loc.dtype, by_scale.dtype} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(by_loc, np.full((3, 2), 10))


def test_sample_is_constant():
    with pytest.warns(UserWarning, match="independent of input"):
        assert grad(lambda loc: anp.sum(fda.Normal(loc, 1.0).sample(rng=1)))(1.0) == 0


def test_jacobian_and_inner_functions():
    by_loc = jacobian(lambda loc: fda.Normal(loc, SCALE).rsample(rng=1))(LOC[0])
    np.testing.assert_array_equal(by_loc, np.eye(2))
    score = elementwise_grad(lambda x: fda.Normal(1.0, 2.0).log_prob(x))
    np.testing.assert_allclose(score(VALUE), -(VALUE - 1) / 4)


def test_no_second_derivatives():
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        hessian(lambda loc: anp.sum(fda.Normal(loc, 1.0).log_prob(VALUE)))(LOC[0])
    with pytest.raises(NotImplementedError):
        check_grads(lambda loc: fda.Normal(loc, 1.0).log_prob(VALUE), modes=["fwd"], order=1)(LOC[0])


def test_errors_are_fastdists():
    with pytest.raises(ValueError, match="scale must be positive"):
        grad(lambda scale: anp.sum(fda.Normal(0.0, scale).entropy()))(np.array([1.0, -1.0]))
    with pytest.raises(TypeError, match=r"q must be a distribution of fastdist\.autograd, got Normal"):
        fda.kl_divergence(fda.Normal(0.0, 1.0), fd.Normal(0.0, 1.0))
    with pytest.raises(TypeError, match="base_distribution must be of"):
        fda.Independent(fd.Normal(np.zeros(2), 1.0), 1)


def test_training_by_gradient():
    """A fit by stochastic gradients ends at the distribution that the data came from."""
    rng = fd.default_rng(0)
    target = fda.Independent(fda.Normal(np.array([1.0, -2.0]), np.array([0.5, 2.0])), 1)

    def loss(parameters):
        loc, log_scale = parameters
        q = fda.Independent(fda.Normal(loc, anp.exp(log_scale)), 1)
        x = q.rsample((64,), rng=rng)
        return -anp.mean(target.log_prob(x)) - q.entropy()

    parameters = [np.zeros(2), np.zeros(2)]
    step = grad(loss)
    for i in range(600):
        parameters = [x - 0.3 / (1 + i / 50) * dx for x, dx in zip(parameters, step(parameters), strict=True)]
    np.testing.assert_allclose(parameters[0], [1, -2], atol=0.1)
    np.testing.assert_allclose(np.exp(parameters[1]), [0.5, 2], rtol=0.1)


def test_without_autograd():
    code = "import sys; sys.modules['autograd'] = None; import fastdist.autograd"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: fastdist.autograd needs autograd" in run.stderr
    assert "fastdist[autograd]" in run.stderr
