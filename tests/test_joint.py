"""`rsample_and_kl`: the draw and the divergence of a prior, and the gradients of both together."""

import numpy as np
import pytest
from cases import assert_same_bits, state_of

import fastdist as fd


def pairs(dtype=np.float64):
    """Distributions and priors of one event shape, by name."""
    rng = np.random.default_rng(0)
    loc, scale = rng.standard_normal((5, 3)).astype(dtype), rng.uniform(0.5, 2, (5, 3)).astype(dtype)
    root = (rng.standard_normal((5, 3, 3)) + 2 * np.eye(3)).astype(dtype)
    matrix = root @ root.swapaxes(-1, -2) + np.eye(3, dtype=dtype)
    normal, zero, one = fd.Normal(loc, scale), np.zeros(3, dtype), np.ones(3, dtype)
    ind, mvn = fd.Independent(normal, 1), fd.MultivariateNormal(loc, covariance_matrix=matrix)
    standard = fd.Independent(fd.Normal(zero, one), 1)
    return {
        "normal": (normal, fd.Normal(dtype(0.5), dtype(2))),
        "normal, its own": (normal, normal),
        "independent, a row": (ind, standard),
        "independent, full": (ind, fd.Independent(fd.Normal(scale, scale), 1)),
        "independent, a scale": (fd.Independent(fd.Normal(loc, scale[:1]), 1), standard),
        "independent of two dims": (
            fd.Independent(normal, 2),
            fd.Independent(fd.Normal(np.zeros((5, 3), dtype), one), 2),
        ),
        "independent, more priors": (
            fd.Independent(fd.Normal(zero, one), 1),
            fd.Independent(fd.Normal(loc, scale), 1),
        ),
        "mvn": (mvn, fd.MultivariateNormal(zero, covariance_matrix=np.eye(3, dtype=dtype))),
        "mvn, independent": (mvn, standard),
        "independent, mvn": (ind, mvn),
        "log-normal": (fd.LogNormal(loc, scale), fd.LogNormal(dtype(0), dtype(1))),
        "low rank": (
            fd.LowRankMultivariateNormal(loc, root[..., :1], scale),
            fd.LowRankMultivariateNormal(zero, np.zeros((3, 1), dtype), one),
        ),
    }


NAMES = list(pairs())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", NAMES)
def test_is_the_draw_and_the_divergence(name, dtype, isa):
    d, prior = pairs(dtype)[name]
    for sample_shape in ((), (7,), (2, 0)):
        ours, its = fd.default_rng(3), fd.default_rng(3)
        x, kl = d.rsample_and_kl(prior, sample_shape, rng=ours)
        assert_same_bits(x, d.rsample(sample_shape, rng=its))
        assert_same_bits(kl, fd.kl_divergence(d, prior))
        assert state_of(ours) == state_of(its)


def flat(gradients, prefix=""):
    for name, one in gradients.items():
        if isinstance(one, dict):
            yield from flat(one, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", one


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_the_sum_of_both(name, dtype, isa):
    d, prior = pairs(dtype)[name]
    rng = np.random.default_rng(1)
    for sample_shape in ((), (7,)):
        (x, kl), pullback = fd.vjp(d.rsample_and_kl, prior, sample_shape, rng=3)
        g, h = (rng.standard_normal(a.shape).astype(dtype) for a in (x, kl))
        alone, by_draw = fd.vjp(d.rsample, sample_shape, rng=3)
        divergence, by_kl = fd.vjp(fd.kl_divergence, d, prior)
        assert_same_bits(x, alone)
        assert_same_bits(kl, divergence)
        by_kl = by_kl(h)
        expected = dict(flat({**by_draw(g), "prior": by_kl["q"]}))
        for key, one in flat(by_kl["p"]):
            expected[key] = expected[key] + one
        found = dict(flat(pullback((g, h))))
        assert list(found) == list(expected)
        for key, one in found.items():
            assert one.shape == expected[key].shape
            assert one.dtype == dtype
            eps = np.finfo(dtype).eps
            size = np.abs(expected[key]).max(initial=1)
            np.testing.assert_allclose(one, expected[key], rtol=20 * eps, atol=20 * eps * size, err_msg=key)
        for key, one in flat(pullback((g, h))):
            assert_same_bits(one, found[key])


def test_a_cotangent_may_be_none_or_broadcast():
    d, prior = pairs()["independent, a row"]
    (x, kl), pullback = fd.vjp(d.rsample_and_kl, prior, rng=3)
    by_draw = fd.vjp(d.rsample, rng=3)[1](np.ones_like(x))
    found = pullback((1.0, None))
    np.testing.assert_allclose(found["scale"], by_draw["scale"], rtol=1e-14)
    assert not found["prior"]["loc"].any()
    by_kl = fd.vjp(fd.kl_divergence, d, prior)[1](np.ones_like(kl))
    np.testing.assert_allclose(pullback((None, 1))["loc"], by_kl["p"]["loc"], rtol=1e-14)
    with pytest.raises(TypeError, match="cotangents must be a pair"):
        pullback(np.ones_like(x))
    with pytest.raises(
        ValueError, match=r"cotangent \(4,\) does not broadcast to the value's shape \(5, 3\)"
    ):
        pullback((np.ones(4), None))


def test_out():
    d, prior = pairs()["independent, a row"]
    x, kl = d.rsample_and_kl(prior, 2, rng=3)
    for out in ((np.empty((2, 5, 3)), None), (None, np.empty(5)), [np.empty((2, 5, 3)), np.empty(10)[::2]]):
        got = d.rsample_and_kl(prior, 2, rng=3, out=out)
        for one, array, expected in zip(got, out, (x, kl), strict=True):
            assert array is None or one is array
            np.testing.assert_array_equal(one, expected)


def test_errors_leave_generator_and_out_alone():
    d, prior = pairs()["independent, a row"]
    x, kl = np.full((5, 3), 7.0), np.full(5, 7.0)
    g = fd.default_rng(0)
    before = state_of(g)
    for call, error, message in (
        (
            lambda: d.rsample_and_kl(prior, rng=g, out=x),
            TypeError,
            "out must be a pair, of a draw and of its div",
        ),
        (
            lambda: d.rsample_and_kl(prior, rng=g, out=(x, np.empty(4))),
            ValueError,
            r"out must have shape \(5,\)",
        ),
        (
            lambda: d.rsample_and_kl(prior, rng=g, out=(x[:4], kl)),
            ValueError,
            r"out must have shape \(5, 3\)",
        ),
        (lambda: d.rsample_and_kl(prior, -1, rng=g, out=(x, kl)), ValueError, "sample_shape"),
        (lambda: d.rsample_and_kl(1.0, rng=g, out=(x, kl)), TypeError, "q must be a Distribution, got float"),
        (
            lambda: d.rsample_and_kl(fd.Normal(0.0, 1.0), rng=g, out=(x, kl)),
            NotImplementedError,
            "no KL divergence",
        ),
        (lambda: fd.vjp(d.rsample_and_kl, rng=g), TypeError, "prior"),
        (lambda: d.rsample_and_kl(prior.expand((4,)), rng=g, out=(x, kl)), ValueError, "broadcast"),
    ):
        with pytest.raises(error, match=message):
            call()
        assert state_of(g) == before
        assert (x == 7).all()
        assert (kl == 7).all()
    with pytest.raises(NotImplementedError, match="no reparameterised draws"):
        fd.Bernoulli(0.5).rsample_and_kl(fd.Bernoulli(0.5))


def test_a_draw_of_ones_own_goes_its_own_way():
    class Doubled(fd.Normal):
        def draw(self, eps, out):
            np.add(self.loc, 2 * eps[..., 0], out=out)

        normals_per_event = 1

    @fd.register_kl(Doubled, fd.Normal)
    def difference(p, q):
        return p.loc - q.loc

    @fd.register_vjp("kl_divergence", Doubled, fd.Normal)
    def vjp_kl(p, q):
        return lambda g, value: ({"loc": g}, {"loc": -g})

    @fd.register_vjp("rsample", Doubled)
    def vjp_draw(d, replay):
        return lambda g, x: {"loc": g}

    d, prior = Doubled(np.zeros(3), 1.0), fd.Normal(1.0, 1.0)
    (x, kl), pullback = fd.vjp(d.rsample_and_kl, prior, (2,), rng=0)
    np.testing.assert_array_equal(x, d.sample((2,), rng=0))
    np.testing.assert_array_equal(kl, -np.ones(3))
    found = pullback((np.ones((2, 3)), np.full(3, 5.0)))
    np.testing.assert_array_equal(found["loc"], np.full(3, 7.0))
    np.testing.assert_array_equal(found["prior"]["loc"], -15.0)
