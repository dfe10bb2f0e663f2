"""Batches taken apart, put together and built again: indices of arrays, len, stack, parameters, replace."""

import functools
import inspect

import numpy as np
import pytest
from cases import (
    DTYPES,
    EVERY_KIND,
    KINDS,
    MATRICES,
    assert_same_bits,
    one_of_each,
    random_mvn,
    random_normal,
)

import fastdist as fd

INDICES = [
    [2, 0, 2],
    [],
    np.array([[3, -1], [0, 0]]),
    np.array([True, False, True, True]),
    np.zeros(4, bool),
    np.arange(12).reshape(4, 3) % 5 == 0,
    (slice(None), [2, 1]),
    ([0, 3, 1], [1, 1, 2]),
    (np.array([[0], [2]]), [0, 2]),
    (2, [0, 2]),
    (None, [1, 2], ...),
    (np.array([1]), slice(0, 2)),
    (np.array([1]), None, [2]),
    np.array(1),
    (..., np.array([True, False, True])),
]


@pytest.mark.parametrize("index", INDICES, ids=repr)
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_indices_by_numpy_s_rules(kind, index):
    """Moments, draws and densities of the part are NumPy's part of those of the whole."""
    d = one_of_each()[kind]
    part, core = d[index], (slice(None),) * len(d.event_shape)
    entries = index if isinstance(index, tuple) else (index,)
    entries = entries if any(entry is ... for entry in entries) else (*entries, ...)
    assert part.batch_shape == np.empty(d.batch_shape)[index].shape
    assert part.event_shape == d.event_shape
    for name in ("mean", "stddev"):
        assert_same_bits(np.array(getattr(part, name)), np.array(getattr(d, name)[entries + core]))
    value = np.linspace(-1, 1, int(np.prod(d.event_shape))).reshape(d.event_shape)
    assert_same_bits(part.log_prob(value), d.log_prob(value)[index])
    if "Mixture" not in kind:
        assert_same_bits(part.entropy(), d.entropy()[index])
    x = part.sample((7,), rng=0)
    assert_same_bits(part.log_prob(x), type(part)(**part.parameters).log_prob(x))


def test_a_parameter_that_repeats_along_the_indexed_dims_takes_no_more_memory():
    d = fd.Normal(np.zeros((1000, 1)), np.ones(3)).expand((1000, 3))
    i = np.arange(0, 1000, 2)
    assert d[i].parameters["loc"].base.nbytes == 500 * 8
    mvn = random_mvn("covariance_matrix", (1000, 4), (4, 4))
    gradients = fd.vjp(mvn[i].entropy)[1](np.ones(500))
    assert gradients["covariance_matrix"].shape == (1, 4, 4)
    np.testing.assert_allclose(gradients["covariance_matrix"][0], 250 * mvn.precision_matrix[0], rtol=1e-12)


def test_gradients_of_a_part_are_by_its_own_arrays():
    d = random_normal((4, 3), (4, 1))
    part = d[[0, 0, 2]]
    _, pullback = fd.vjp(part.log_prob, np.zeros((3, 3)))
    gradients = pullback(np.ones((3, 3)))
    assert gradients["loc"].shape == (3, 3)
    assert gradients["scale"].shape == (3, 1)
    np.testing.assert_allclose(gradients["loc"], -part.loc / part.scale**2, rtol=1e-14)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_len_and_truth(kind):
    d = one_of_each()[kind]
    assert len(d) == 4
    assert len(list(d)) == 4
    assert bool(d)
    assert bool(d[:0])
    assert len(d[:0]) == 0
    assert bool(d[0, 0])
    with pytest.raises(TypeError, match="empty batch_shape has no len"):
        len(d[0, 0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_stack(kind, axis, dtype):
    d = one_of_each(dtype)[kind]
    parts = [d, d[::-1], d[[1, 1, 0, 3]]]
    whole = fd.stack(parts, axis)
    assert type(whole) is type(d)
    assert whole.dtype == dtype
    assert whole.batch_shape == np.stack([np.empty((4, 3))] * 3, axis).shape
    at = axis if axis >= 0 else 3 + axis
    for name in ("mean", "variance"):
        assert_same_bits(np.array(getattr(whole, name)), np.stack([getattr(p, name) for p in parts], at))
    value = np.full(d.event_shape, 0.25, dtype)
    assert_same_bits(whole.log_prob(value), np.stack([p.log_prob(value) for p in parts], at))
    again = fd.stack(list(d))
    assert_same_bits(again.sample(5, rng=1), d.sample(5, rng=1))


def test_stack_keeps_what_repeats_and_promotes():
    normals = [fd.Normal(np.full((4, 3), float(i)), np.float32(2)) for i in range(5)]
    scale = fd.stack(normals).parameters["scale"]
    assert scale.base.size <= 5
    mixed = fd.stack([random_normal(dtype=np.float32), random_normal(dtype=np.float64)])
    assert mixed.dtype == np.float64
    assert_same_bits(np.array(mixed[0].loc), random_normal(dtype=np.float32).loc.astype(np.float64))


def test_stack_says_what_does_not_fit():
    normal, mvn = random_normal(), random_mvn("scale_tril", (3, 2), (2, 2))
    for parts, error, message in [
        ([], ValueError, "at least one"),
        ([normal, mvn], TypeError, r"MultivariateNormal for distributions\[1\] and Normal"),
        ([normal, 1.0], TypeError, r"float for distributions\[1\]"),
        ([normal, normal[0]], ValueError, r"batch_shape differs: \(3, 2\) .* \(2,\) of distributions\[1\]"),
        ([mvn, random_mvn("precision_matrix", (3, 2), (2, 2))], ValueError, "precision_matrix"),
    ]:
        with pytest.raises(error, match=message):
            fd.stack(parts)
    with pytest.raises(np.exceptions.AxisError):
        fd.stack([normal], 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_parameters_build_the_same_again(kind, dtype):
    d = one_of_each(dtype)[kind]
    for e in (d, d[1], d[[0, 2]], d.expand((2, 4, 3)), d[1:, :1].expand((3, 3))):
        parameters = e.parameters
        assert set(parameters) <= set(inspect.signature(type(e)).parameters)
        again = type(e)(**parameters)
        assert type(again) is type(e)
        assert (again.batch_shape, again.event_shape, again.dtype) == (e.batch_shape, e.event_shape, dtype)
        assert_same_bits(again.sample(3, rng=0), e.sample(3, rng=0))
        with pytest.raises(TypeError):
            parameters["loc"] = 0


def test_parameters_have_the_shapes_they_were_given_in():
    normal = fd.Normal(np.zeros((3, 1)), 2.0, validate_args=False)
    assert {n: np.shape(p) for n, p in normal.parameters.items()} == {
        "loc": (3, 1),
        "scale": (),
        "validate_args": (),
    }
    assert normal.parameters["validate_args"] is False
    assert normal.expand((3, 2)).parameters["scale"].shape == (3, 2)
    for name in MATRICES:
        mvn = random_mvn(name, (3, 2), (2, 2))
        assert set(mvn.parameters) == {"loc", name, "allow_singular", "validate_args"}
        assert mvn.parameters[name].shape == (2, 2)
        assert not mvn.parameters[name].flags.writeable
    independent = fd.Independent(normal, 1)
    assert independent.parameters["base_distribution"] is normal


def test_parameters_of_a_subclass_with_a_constructor_of_its_own():
    class Standard(fd.Normal):
        def __init__(self, n):
            super().__init__(np.zeros(n), 1.0)

    with pytest.raises(NotImplementedError, match="Standard has an __init__ of its own"):
        Standard(3).parameters  # noqa: B018

    class Named(fd.Normal):
        pass

    assert type(Named(0.0, 1.0).replace(loc=2.0)) is Named


def test_replace():
    d = random_mvn("covariance_matrix", (3, 2), (3, 2, 2))
    moved = d.replace(loc=np.ones(2))
    assert_same_bits(np.array(moved.covariance_matrix), np.array(d.covariance_matrix))
    assert (moved.loc == 1).all()
    other = d.replace(scale_tril=np.eye(2))
    assert set(other.parameters) == {"loc", "scale_tril", "allow_singular", "validate_args"}
    assert_same_bits(np.array(other.loc), np.array(d.loc))
    assert fd.Independent(random_normal(), 1).replace(reinterpreted_batch_ndims=2).event_shape == (3, 2)
    with pytest.raises(ValueError, match="scale must be positive"):
        random_normal().replace(scale=-1.0)
    with pytest.raises(TypeError, match="sigma"):
        random_normal().replace(sigma=1.0)


# ---- names of others -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "error", "here"),
    [
        (lambda d: d.logpdf(0), AttributeError, "log_prob"),
        (lambda d: d.pdf(0), AttributeError, "prob"),
        (lambda d: d.rvs(3), AttributeError, "sample"),
        (lambda d: d.sf(0), AttributeError, "survival_function"),
        (lambda d: d.ppf(0.5), AttributeError, "icdf"),
        (lambda d: d.std(), AttributeError, "stddev"),
        (lambda _: fd.Normal(mean=0.0, scale=1.0), TypeError, "loc"),
        (lambda _: fd.Normal(0.0, sigma=1.0), TypeError, "scale"),
        (lambda _: fd.MultivariateNormal(np.zeros(2), cov=np.eye(2)), TypeError, "covariance_matrix"),
        (lambda _: fd.MultivariateNormal(mean=np.zeros(2), scale_tril=np.eye(2)), TypeError, "loc"),
        (lambda d: d.sample(size=3), TypeError, "sample_shape"),
        (lambda d: d.sample(3, seed=1), TypeError, "rng"),
        (lambda d: functools.partial(d.rsample, random_state=1)(3), TypeError, "rng"),
        (lambda d: d.sample_and_log_prob(**{"key": 1}), TypeError, "rng"),
        (lambda d: d.sample_part(3, slice(2), generator=1), TypeError, "rng"),
        (lambda d: fd.Normal.log_prob(d, x=0.0), TypeError, "value"),
    ],
)
def test_names_of_others_are_answered_by_ours(use, error, here):
    with pytest.raises(error, match=f"it is called {here}[ (].*here"):
        use(random_normal())


def test_names_of_nobody_are_not():
    for use, error in [
        (lambda d: d.nothing, AttributeError),
        (lambda d: d.covariance, AttributeError),  # a Normal has none
        (lambda d: d.sample(nothing=1), TypeError),
        (lambda d: d.log_prob(0.0, seed=1), TypeError),  # nothing is drawn
        (lambda d: d.sample(3, rng="a"), TypeError),
    ]:
        with pytest.raises(error) as caught:
            use(random_normal())
        assert "called" not in str(caught.value)

    class Mine(fd.Normal):
        def __init__(self, mean, sigma):
            super().__init__(mean, sigma)

    assert Mine(mean=1.0, sigma=2.0).mean == 1


# ---- out, prob, cotangents, seeds -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [kind for kind in EVERY_KIND if "Mixture" not in kind])
def test_out_of_what_needs_no_value(kind, dtype):
    d = one_of_each(dtype)[kind]
    for method in (d.entropy, d.perplexity, lambda **k: fd.kl_divergence(d, d[::-1], **k)):
        wanted = method()
        for out in (np.empty((4, 3), dtype), np.empty((3, 4), dtype).T):
            assert method(out=out) is out
            assert_same_bits(out.copy(), wanted)
        with pytest.raises(ValueError, match=r"out must have shape \(4, 3\), got \(3, 4\)"):
            method(out=np.empty((3, 4), dtype))
        with pytest.raises(TypeError, match="out must be of dtype"):
            method(out=np.empty((4, 3), np.int64))


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_prob(kind):
    d = one_of_each()[kind]
    value = np.full(d.event_shape, 0.1)
    out = np.empty((4, 3))
    assert_same_bits(d.prob(value), np.exp(d.log_prob(value)))
    assert d.prob(value, out=out) is out
    assert_same_bits(out, d.prob(value))
    with np.errstate(all="raise"):
        assert (d.prob(np.full(d.event_shape, 1e100)) == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_cotangents_broadcast(kind):
    d = one_of_each(np.float32)[kind]
    value, pullback = fd.vjp(d.rsample, (2,), rng=0)
    wanted = pullback(np.ones(value.shape, np.float32))
    for cotangent in (
        1,
        1.0,
        np.ones(1),
        np.ones(value.shape[-1:]),
        np.int8(1),
        np.ones(value.shape, np.float64),
    ):
        for name, gradient in pullback(cotangent).items():
            assert_same_bits(gradient, wanted[name])
    with pytest.raises(ValueError, match=r"cotangent \(7, 9\) does not broadcast to the value's shape"):
        pullback(np.ones((7, 9)))
    with pytest.raises(TypeError, match="cotangent must be of a real dtype"):
        pullback(1j * np.ones(value.shape))


def test_seeds():
    """Ints seed as NumPy's SeedSequence does, of any size, and so do sequences of them."""
    seeds = [
        0,
        1,
        2**31,
        2**32 - 1,
        2**32,
        2**63,
        2**64 - 1,
        2**64,
        2**200 + 17,
        np.uint8(200),
        np.int64(2**62),
    ]
    seeds += [int(s) for s in np.random.default_rng(0).integers(0, 2**63, 100)]
    for seed in seeds:
        wanted = fd.standard_normal(3, rng=fd.BlockSFC64(np.random.SeedSequence(int(seed))))
        assert_same_bits(fd.standard_normal(3, rng=seed), wanted)
        assert_same_bits(
            random_normal((3,), (1,)).sample(rng=seed), random_normal((3,), (1,)).sample(rng=[seed])
        )
    wanted = fd.standard_normal(3, rng=fd.BlockSFC64([1, 2, 2**40]))
    for seed in ([1, 2, 2**40], (1, 2, 2**40), np.array([1, 2, 2**40])):
        assert_same_bits(fd.standard_normal(3, rng=seed), wanted)
    for seed, error, message in [
        (-1, ValueError, "rng must not be a negative seed, got -1"),
        ([1, -2], ValueError, r"rng\[1\] must not be a negative seed, got -2"),
        ([1, 2.0], TypeError, r"rng\[1\] must be an integer"),
        (True, TypeError, "rng must be"),
        (1.0, TypeError, "rng must be None, an int or a sequence of ints, .* got a float"),
    ]:
        with pytest.raises(error, match=message):
            random_normal().sample(rng=seed)


def test_lazily_imported():
    for name in ("torch", "autograd", "plot"):
        assert name not in vars(fd) or vars(fd)[name].__name__ == f"fastdist.{name}"
    with pytest.raises(AttributeError, match="no attribute 'tensorflow'"):
        fd.tensorflow  # noqa: B018
