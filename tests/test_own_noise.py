"""Noise of one's own: colorize, whiten and mahalanobis against draws, closed forms and each other."""

import cases
import mpmath
import numpy as np
import pytest
from cases import (
    DTYPES,
    LAYOUTS,
    MATRICES,
    assert_same_bits,
    exact_whitened,
    one_of_each,
    random_mvn,
    random_tril,
)

import fastdist as fd

# Of as many numbers as an event has; a low-rank normal takes more.
KINDS = tuple(
    kind
    for kind in cases.KINDS
    if not any(name in kind for name in ("Truncated", "LogN", "HalfN", "LowRank"))
)


def noise_of(d, sample_shape, dtype):
    return fd.standard_normal(sample_shape + d.batch_shape + d.event_shape, rng=7, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_draw_is_its_noise_coloured(kind, dtype, isa):
    """The same bits, and the bits are in the noise, not in its layout."""
    d = one_of_each(dtype)[kind]
    eps = noise_of(d, (6,), dtype)
    wanted = d.sample(6, rng=7)
    assert_same_bits(d.colorize(eps), wanted)
    for lay in LAYOUTS.values():
        assert_same_bits(d.colorize(lay(eps)), wanted)
    out = np.empty_like(wanted)
    assert d.colorize(eps, out=out) is out
    assert_same_bits(out, wanted)
    assert d.colorize(eps, out=eps) is eps  # in place
    assert_same_bits(eps, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_whiten_is_the_inverse(kind, dtype, isa):
    d = one_of_each(dtype)[kind]
    eps = noise_of(d, (6,), dtype)
    x = d.colorize(eps)
    whitened = d.whiten(x)
    np.testing.assert_allclose(whitened, eps, atol=200 * np.finfo(dtype).eps)
    np.testing.assert_allclose(
        d.mahalanobis(x),
        np.square(eps).reshape(6, 4, 3, -1).sum(-1).reshape(6, 4, 3),
        rtol=500 * np.finfo(dtype).eps,
    )
    assert d.whiten(x, out=x) is x
    assert_same_bits(x, whitened)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_dtypes(kind):
    d = one_of_each(np.float32)[kind]
    eps = np.zeros((2, 1, 1, *d.event_shape), np.float32)
    for method, shape in (("colorize", d.event_shape), ("whiten", d.event_shape), ("mahalanobis", ())):
        assert getattr(d, method)(eps).shape == (2, 4, 3, *shape)
        assert getattr(d, method)(eps).dtype == np.float32
        assert getattr(d, method)(eps.astype(float)).dtype == np.float64
        assert getattr(d, method)(eps[:0]).shape == (0, 4, 3, *shape)
        with pytest.raises(ValueError, match="batch shapes do not broadcast"):
            getattr(d, method)(np.zeros((5, *d.event_shape)))
        if d.event_shape:
            name = "eps" if method == "colorize" else "x"
            with pytest.raises(ValueError, match=f"{name} must end in the event shape"):
                getattr(d, method)(np.zeros((*d.event_shape[:-1], 1)))
    with pytest.raises(TypeError, match="eps must be of a real dtype"):
        d.colorize(eps.astype(complex))
    with pytest.raises(ValueError, match="out must have shape"):
        d.whiten(eps, out=np.empty(3, np.float32))


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("dim", [1, 3, 9, 33])
def test_whitened_against_mpmath(name, dim):
    g = np.random.default_rng(dim)
    tril = random_tril(g, (dim, dim))
    d = fd.MultivariateNormal(g.normal(size=dim), scale_tril=tril)
    x = g.normal(size=dim)
    exact = exact_whitened(x, d.loc, tril)
    np.testing.assert_allclose(d.whiten(x), [float(z) for z in exact], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(float(d.mahalanobis(x)), float(mpmath.fsum(z * z for z in exact)), rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_differences_beyond_the_range(dtype, isa):
    """Finite where the result is."""
    most = np.finfo(dtype).max
    loc = np.array([-0.75 * most, 0], dtype)
    x = np.array([[0.75 * most, 1], [0, 1]], dtype)
    scales = np.array([0.5 * most, 2], dtype)
    wanted = np.array([[3, 0.5], [1.5, 0.5]], dtype)
    normal = fd.Normal(loc, scales)
    np.testing.assert_allclose(normal.whiten(x), wanted, rtol=1e-6)
    np.testing.assert_allclose(fd.Independent(normal, 1).whiten(x), wanted, rtol=1e-6)
    np.testing.assert_allclose(
        fd.MultivariateNormal(loc, scale_tril=np.diag(scales)).whiten(x), wanted, rtol=1e-6
    )


def test_without_elements():
    d = fd.MultivariateNormal(np.zeros((3, 0)), scale_tril=np.zeros((0, 0)))
    assert d.colorize(np.zeros((2, 3, 0))).shape == d.whiten(np.zeros((2, 3, 0))).shape == (2, 3, 0)
    np.testing.assert_array_equal(d.mahalanobis(np.zeros((2, 3, 0))), np.zeros((2, 3)))
    x, pullback = fd.vjp(d.colorize, np.zeros((2, 3, 0)))
    assert {name: one.shape for name, one in pullback(x).items()} == {
        "loc": (3, 0), "scale_tril": (0, 0), "eps": (2, 3, 0)
    }  # fmt: skip


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("method", ["colorize", "whiten", "mahalanobis"])
def test_gradients_broadcast(name, method, isa):
    """Of an argument that repeats over the batch, and of a draw's own rule."""
    d = random_mvn(name, (4, 1, 5), (3, 5, 5))
    argument = np.random.default_rng(0).normal(size=(2, 1, 3, 5))
    y, pullback = fd.vjp(getattr(d, method), argument)
    c = np.random.default_rng(1).normal(size=y.shape)
    found = pullback(c)
    key = "eps" if method == "colorize" else "x"
    assert {name: one.shape for name, one in found.items()} == {
        "loc": (4, 1, 5), name: (3, 5, 5), key: (2, 1, 3, 5)
    }  # fmt: skip
    full = np.broadcast_to(argument, (2, 4, 3, 5)).copy()
    of_full = fd.vjp(getattr(d, method), full)[1](c)
    np.testing.assert_allclose(found[key], of_full[key].sum(1, keepdims=True), rtol=1e-13, atol=1e-13)
    for one in ("loc", name):
        np.testing.assert_allclose(found[one], of_full[one], rtol=1e-12, atol=1e-12)
    if method == "colorize":
        _, of_draw = fd.vjp(d.rsample, 2, rng=7)
        _, of_noise = fd.vjp(d.colorize, noise_of(d, (2,), np.float64))
        for one, gradient in of_draw(c).items():
            np.testing.assert_allclose(of_noise(c)[one], gradient, rtol=1e-12, atol=1e-12)


def test_what_has_no_noise():
    class Shifted(fd.Normal):
        def sample(self, *args, **kwargs):
            return super().sample(*args, **kwargs) + 1

    with pytest.raises(NotImplementedError, match=r"Normal\.colorize no longer holds"):
        Shifted(0.0, 1.0).colorize(0.0)

    class Wald(fd.Distribution):
        arg_constraints = {"loc": fd.constraints.positive}  # noqa: RUF012

    with pytest.raises(NotImplementedError, match="Wald has no colorize"):
        fd.Independent(Wald(np.ones(3)), 1).colorize(np.zeros(3))
