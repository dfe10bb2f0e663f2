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
from fastdist.distributions import _rules as implementation

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


SIGNED, LOGITS = anp.abs(LOC) + 0.1, g.normal(size=(3, 2, 4))
CDFS = ("cdf", "log_cdf", "survival_function", "log_survival_function")


def squashed(loc, scale, shift=0.5):
    parts = [fda.transforms.AffineTransform(shift, 2.0), fda.transforms.TanhTransform()]
    return fda.TransformedDistribution(fda.Independent(fda.Normal(loc, scale), 1), parts)


def mixture(logits, loc, scale):
    return fda.MixtureSameFamily(fda.Categorical(logits=logits), fda.Normal(loc, scale))


# Of positive vectors of shape (3, 2), and values within the support.
CONTINUOUS = {
    "LogNormal": (fda.LogNormal, (SIGNED, SCALE), SIGNED),
    "HalfNormal": (fda.HalfNormal, (SIGNED,), SIGNED),
    "LogitNormal": (fda.LogitNormal, (SIGNED, SCALE), SIGNED / (1 + SIGNED)),
    "TruncatedNormal": (lambda *p: fda.TruncatedNormal(*p, 5.0), (LOC, SCALE, -SIGNED - 2), LOC),
    "squashed": (squashed, (LOC, SCALE, SIGNED), np.tanh(LOC)),
    "mixture": (mixture, (LOGITS, LOC[..., None] + np.arange(4.0), SCALE[:, None]), LOC),
    "LowRank": (fda.LowRankMultivariateNormal, (LOC, g.normal(size=(2, 1)), SCALE), LOC),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous(name):
    make, parameters, value = CONTINUOUS[name]
    first(lambda *p: make(*p[1:]).log_prob(p[0]), value, *parameters)
    first(lambda *p: make(*p[1:]).prob(p[0]), value, *parameters)
    if name != "mixture":  # whose gradients are not those of a draw by one choice
        first(lambda *p: make(*p).rsample((2,), rng=1), *parameters)
        first(lambda *p: sum(map(anp.sum, make(*p).sample_and_log_prob((2,), rng=1))), *parameters)
    d = make(*parameters)
    for ours, wanted in zip(
        d.sample_and_log_prob(rng=1), d.distribution.sample_and_log_prob(rng=1), strict=True
    ):
        np.testing.assert_array_equal(ours, wanted)


@pytest.mark.parametrize(
    "name", [name for name in CONTINUOUS if name not in ("LogitNormal", "squashed", "mixture")]
)
def test_entropies(name):
    make, parameters, _ = CONTINUOUS[name]
    first(lambda *p: make(*p).entropy(), *parameters)


def test_draws_of_mixtures():
    """Implicit gradients, those of fastdist's rule; the mean's, as many draws have it."""
    parameters = CONTINUOUS["mixture"][1]
    gradients = grad(lambda p: anp.sum(mixture(*p).rsample((5,), rng=1)))(parameters)
    d = mixture(*parameters).distribution
    pulled = fd.vjp(d.rsample, (5,), rng=1)[1](1.0)
    wanted = pulled["mixture_distribution"]["logits"], *pulled["component_distribution"].values()
    for ours, theirs in zip(gradients, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    by_loc = grad(lambda loc: anp.mean(mixture(np.zeros(2), loc, 0.5).rsample((10**5,), rng=1)))
    np.testing.assert_allclose(by_loc(np.array([-1.0, 1.0])), [0.5, 0.5], atol=0.02)


def test_gradients_through_every_transform():
    """Parameters of a transform, of one within others, and of an inverse."""
    t = fda.transforms

    def d(loc, shift, scale, exponent):
        parts = [
            t.SoftplusTransform(),
            t.ComposeTransform([t.PowerTransform(exponent), t.AffineTransform(shift, scale).inv]),
            t.IndependentTransform(t.AffineTransform(0.0, scale), 1),
        ]
        return fda.TransformedDistribution(fda.Normal(loc, 1.0), parts)

    given = LOC, SCALE, SCALE[::-1].copy(), np.array(1.5)
    first(lambda *p: d(*p).rsample(rng=1), *given)
    x = d(*given).sample(rng=2)
    first(lambda *p: d(*p).log_prob(x), *given)


@pytest.mark.parametrize("name", CDFS)
def test_cdfs(name):
    first(lambda loc, scale, x: getattr(fda.Normal(loc, scale), name)(x), LOC, SCALE, VALUE)
    far = grad(lambda x: anp.sum(getattr(fda.Normal(0.0, 1.0), name)(x)))(-100.0)
    assert np.isfinite(far)
    assert name != "log_cdf" or abs(far / 100.01 - 1) < 1e-4  # x + 1 / x


def test_quantiles():
    p = 1 / (1 + np.exp(-VALUE))
    for name in ("icdf", "isf"):
        first(lambda loc, scale, x, name=name: getattr(fda.Normal(loc, scale), name)(x), LOC, SCALE, p)
    first(lambda loc, scale, x: fda.Normal(loc, scale).log_icdf(x), LOC, SCALE, np.log(p))


@pytest.mark.parametrize("name", ["probs", "logits"])
def test_outcomes(name):
    of_any = (lambda a: anp.exp(a)) if name == "probs" else (lambda a: a)
    hot, both = np.eye(4)[[1, 0, 3]], g.integers(0, 2, (3, 2))

    def d(cls, a, **more):
        return cls(**{name: of_any(a)}, **more)

    first(lambda a: d(fda.Categorical, a).log_prob(np.array([1, 3])), LOGITS)
    first(lambda a: d(fda.Categorical, a).entropy(), LOGITS)
    first(lambda a: d(fda.Categorical, a, mask=[True, False, True, True]).entropy(), LOGITS)
    first(lambda a, b: fda.kl_divergence(d(fda.Categorical, a), d(fda.Categorical, b)), LOGITS, LOGITS[0])
    first(lambda a: d(fda.OneHotCategorical, a).log_prob(hot), LOGITS[0, 0])

    def coin(a):
        return fda.Bernoulli(**{name: a if name == "logits" else 1 / (1 + anp.exp(-a))})

    first(lambda a: coin(a).log_prob(both), LOC)
    first(lambda a: coin(a).entropy(), LOC)
    first(lambda a, b: fda.kl_divergence(coin(a), coin(b)), LOC, SCALE)
    draw = d(fda.Categorical, LOGITS).sample((5,), rng=1)
    np.testing.assert_array_equal(draw, fd.Categorical(**{name: of_any(LOGITS)}).sample((5,), rng=1))


def test_own_noise():
    def d(loc, a):
        return fda.MultivariateNormal(loc, scale_tril=matrix_of("scale_tril", a))

    for make, given, x in (
        (fda.Normal, (LOC, SCALE), VALUE),
        (d, (LOC_3, A), VALUE_3),
        (fda.LowRankMultivariateNormal, (LOC_3, A[0], np.exp(LOC_3)), VALUE_3),
    ):
        size = x.shape[-1] + (3 if make is fda.LowRankMultivariateNormal else 0)
        first(lambda e, *p, make=make: make(*p).colorize(e), g.normal(size=(*x.shape[:-1], size)), *given)
        if make is not fda.LowRankMultivariateNormal:
            first(lambda x, *p, make=make: make(*p).whiten(x), x, *given)
        first(lambda x, *p, make=make: make(*p).mahalanobis(x), x, *given)


def test_algebra():
    """Methods that return another distribution, of which there are gradients, too."""

    def d(loc, a):
        return fda.MultivariateNormal(loc, covariance_matrix=matrix_of("covariance_matrix", a))

    seen, u, x = g.normal(size=(4, 2, 1)), g.normal(size=3), VALUE_3[..., :2]
    first(lambda loc, a: d(loc, a).marginal([2, 0]).log_prob(x), LOC_3, A)
    first(lambda loc, a, v: d(loc, a).condition([1], v).log_prob(x), LOC_3, A, seen)
    first(lambda loc, a, b: d(loc, a).affine(b[:2], b[2, :2]).rsample(rng=1), LOC_3, A, A[1])
    first(lambda loc, a, u: d(loc, a).rank_update(u, weight=0.5).entropy(), LOC_3, A, u)
    first(lambda v: d(LOC_3, A).condition([1], v).entropy() * anp.sum(v), seen)
    plain = d(LOC_3, A).condition([1], seen)
    np.testing.assert_array_equal(
        plain.log_prob(x), d(LOC_3, A).distribution.condition([1], seen).log_prob(x)
    )


def test_divergences():
    pairs = {
        "LogNormal": (lambda *p: fda.LogNormal(*p), (LOC, SCALE), (LOC[0], SCALE + 1)),
        "HalfNormal": (lambda *p: fda.HalfNormal(*p), (SCALE,), (SIGNED,)),
        "squashed": (squashed, (LOC, SCALE), (LOC[0], SCALE + 1)),
        "LowRank": (
            fda.LowRankMultivariateNormal, CONTINUOUS["LowRank"][1], (LOC[0], np.ones((2, 1)), SCALE),
        ),
    }  # fmt: skip
    for make, p, q in pairs.values():
        n = len(p)
        first(lambda *a, make=make, n=n: fda.kl_divergence(make(*a[:n]), make(*a[n:])), *p, *q)


def test_a_draw_and_a_divergence():
    def both(loc, scale, prior_loc, prior_scale):
        q, prior = (fda.Independent(fda.Normal(*p), 1) for p in ((loc, scale), (prior_loc, prior_scale)))
        x, kl = q.rsample_and_kl(prior, (2,), rng=1)
        return anp.sum(x**2) + anp.sum(kl)

    first(both, LOC, SCALE, LOC[0], SCALE + 1)
    with pytest.raises(TypeError, match="prior must be a distribution of"):
        fda.Normal(0.0, 1.0).rsample_and_kl(fd.Normal(0.0, 1.0))


def test_constants():
    """What autograd does not follow is fastdist's, also where there is no rule."""
    d = fda.Normal(0.0, 1.0)
    assert isinstance(d.log_prob(1.0), np.ndarray)
    mixed = fda.MixtureSameFamily(fda.Categorical([0.5, 0.5]), fda.Normal([0.0, 1.0], 1.0))
    np.testing.assert_array_equal(mixed.cdf(0.5), 0.5)
    with pytest.raises(NotImplementedError, match="has no reparameterised draws"):
        fda.Categorical([0.5, 0.5]).rsample()
    x, log_prob = fda.Categorical([0.25, 0.75]).sample_and_log_prob((4,), rng=0)
    np.testing.assert_allclose(log_prob, np.log([0.25, 0.75])[x])
    with pytest.raises(AttributeError, match="no attribute 'cdf'"):
        fda.MultivariateNormal(np.zeros(2), np.eye(2)).cdf(0.0)


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


def test_boxes_that_are_not_followed():
    """The error says what to do, and doing it works."""
    plain = np.arange(6.0).reshape(3, 2)
    cases = {
        r"loc is a list .*autograd\.numpy\.array\(loc\)": lambda p: fda.Normal([p[0], p[1]], 1.0).entropy(),
        r"scale is a tuple .*autograd\.numpy\.array\(scale\)": lambda p: fda.Normal(
            0.0, (p[0], 1.0)
        ).entropy(),
        r"loc is a list .*array\(loc\)": lambda p: fda.MultivariateNormal([[p[0], 1.0]], np.eye(2)).entropy(),
        r"scale_tril is a list": lambda p: fda.MultivariateNormal(
            LOC[0], scale_tril=[[p[0], 0.0], [0.0, p[1]]]
        ).entropy(),
        r"loc is an array of objects.*autograd\.numpy\.dot": lambda p: fda.Normal(
            plain.dot(p), 1.0
        ).entropy(),
        r"value is a list .*array\(value\)": lambda p: fda.Normal(0.0, 1.0).log_prob([p[0], 2.0]),
        r"value is an array of objects": lambda p: fda.Normal(0.0, 1.0).log_prob(plain.dot(p)),
    }
    for message, f in cases.items():
        with pytest.raises(TypeError, match=message):
            grad(lambda p, f=f: anp.sum(f(p)))(np.ones(2))
    first(lambda p: fda.Normal(anp.array([p[0], p[1]]), 1.0).log_prob(anp.dot(plain, p)[:2]), np.ones(2))
    # What is no box keeps fastdist's own errors, and lists of numbers work.
    with pytest.raises(TypeError, match="loc must be of a real dtype up to float64, got object"):
        fda.Normal(np.array([1.0, None]), 1.0)
    first(lambda x: fda.Normal([0.0, 1.0], (1.0, 2.0)).log_prob(x), LOC)


@pytest.fixture
def registry():
    """Rules that a test registers are gone after it."""
    registries = implementation.RULES, implementation.RULES_OF_KL
    kept = [rules.copy() for rules in registries]
    yield
    for rules, before in zip(registries, kept, strict=True):
        rules.clear()
        rules.update(before)
    implementation.forget()


def test_a_rule_may_name_gradients_in_any_order(registry):
    def both(p):
        d = fda.Normal(p, anp.exp(p))
        return anp.sum(d.log_prob(p[::-1])) + anp.sum(fda.kl_divergence(d, fda.Normal(0.5 * p, 2.0 + p**2)))

    wanted = grad(both)(LOC)
    own = implementation.RULES["log_prob", fd.Normal].rule
    of_kl = implementation.RULES_OF_KL[fd.Normal, fd.Normal][1].rule

    def reversed_(found):
        return dict(reversed(found.items()))

    @fd.register_vjp("log_prob", fd.Normal)
    def rule(d, value):
        pull = own(d, value)
        return lambda g, y: reversed_(pull(g, y))

    @fd.register_vjp("kl_divergence", fd.Normal, fd.Normal)
    def rule_of_kl(p, q):
        pull = of_kl(p, q)
        return lambda g, y: tuple(map(reversed_, pull(g, y)))

    np.testing.assert_array_equal(grad(both)(LOC), wanted)


def test_a_rule_without_a_gradient_is_named(registry):
    @fd.register_vjp("entropy", fd.Normal)
    def rule(d):
        return lambda g, _: {"scale": g / d.scale}

    with pytest.raises(ValueError, match="the rule for entropy has no gradient by loc"):
        grad(lambda loc: anp.sum(fda.Normal(loc, SCALE).entropy()))(LOC)


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
    assert "fastdist-numpy[autograd]" in run.stderr
