"""How parameters are taken: any layout, by reference or by value, and shown read-only."""

import numpy as np
import pytest
from cases import (
    DTYPES,
    EVERY_KIND,
    LAYOUTS,
    MATRICES,
    assert_same_bits,
    matrix_of,
    one_of_each,
    random_tril,
)

import fastdist as fd


def results(d, value):
    """What a distribution makes of its parameters."""
    names = [name for name in ("loc", "scale", *MATRICES, "mean", "variance", "stddev") if hasattr(d, name)]
    return [d.sample(3, rng=1), d.log_prob(value), d.entropy(), *(getattr(d, name).copy() for name in names)]


def assert_same(d, e, value, other_value):
    assert (d.batch_shape, d.event_shape, d.dtype) == (e.batch_shape, e.event_shape, e.dtype)
    for a, b in zip(results(d, value), results(e, other_value), strict=True):
        assert_same_bits(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layouts(layout, dtype, isa):
    g = np.random.default_rng(0)
    loc, scale, value = (g.uniform(0.5, 2, (4, 3, 5)).astype(dtype) for _ in range(3))
    assert_same(fd.Normal(layout(loc), layout(scale)), fd.Normal(loc, scale), layout(value), value)
    ind = fd.Independent(fd.Normal(loc, scale), 2)
    assert_same(fd.Independent(fd.Normal(layout(loc), layout(scale)), 2), ind, layout(value), value)
    tril = random_tril(g, (4, 3, 5, 5), dtype)
    for name in MATRICES:
        matrix = matrix_of(name, tril)
        d = fd.MultivariateNormal(layout(loc), **{name: layout(matrix)})
        assert_same(d, fd.MultivariateNormal(loc, **{name: matrix}), layout(value), value)


def test_lists():
    loc, scale, tril = [[0.5, 1.0], [2.0, 3.0]], [1.0, 2.0], [[1.0, 0.0], [0.5, 2.0]]
    value = np.arange(4.0).reshape(2, 2)
    d = fd.Normal(np.array(loc), np.array(scale))
    assert_same(fd.Normal(loc, scale), d, value.tolist(), value)
    mvn = fd.MultivariateNormal(np.array(loc), scale_tril=np.array(tril))
    assert_same(fd.MultivariateNormal(loc, scale_tril=tril), mvn, value.tolist(), value)


BROADCAST_VIEWS = [
    ((), (5,)),
    ((5,), (3, 5)),
    ((3, 1), (3, 5)),
    ((1, 5), (3, 5)),
    ((1,), (1,)),
    ((), (0,)),
    ((2, 1, 5), (2, 3, 5)),
]


@pytest.mark.parametrize(("shape", "target"), BROADCAST_VIEWS)
def test_broadcast_views(shape, target):
    """A view with strides of 0 is worth its contiguous copy: in shapes, bits and error messages."""
    g = np.random.default_rng(0)
    loc, scale, value = (np.broadcast_to(g.uniform(0.5, 2, shape), target) for _ in range(3))
    full_loc, full_scale, full_value = (np.array(a, order="C") for a in (loc, scale, value))
    full = fd.Normal(full_loc, full_scale)
    for d in (fd.Normal(loc, scale), fd.Normal(loc, full_scale), fd.Normal(full_loc, scale)):
        assert_same(d, full, value, full_value)
        for n in range(len(target) + 1):
            assert_same(fd.Independent(d, n), fd.Independent(full, n), value, full_value)
    if scale.size:
        with pytest.raises(
            ValueError, match=rf"scale .*shape {target}".replace("(", r"\(").replace(")", r"\)")
        ):
            fd.Normal(0.0, -scale)


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize(
    ("shape", "target"), [((2,), (4, 2)), ((1, 2), (3, 2)), ((1,), (2,)), ((3, 1, 2), (3, 4, 2))]
)
def test_broadcast_views_of_vectors_and_matrices(shape, target, name):
    g = np.random.default_rng(0)
    loc = np.broadcast_to(g.normal(size=shape), target)
    matrix = matrix_of(name, random_tril(g, (*shape[:-1], 2, 2)))
    for m in (matrix, np.broadcast_to(matrix, (*target[:-1], 2, 2))):
        full = fd.MultivariateNormal(np.array(loc, order="C"), **{name: np.array(m, order="C")})
        assert_same(fd.MultivariateNormal(loc, **{name: m}), full, loc, np.array(loc, order="C"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_properties_are_read_only_and_broadcast(kind, dtype):
    d = one_of_each(dtype)[kind]
    for name in ("loc", "scale", *MATRICES, "mean", "mode", "variance", "stddev"):
        if not ("Mixture" in kind and name == "mode") and hasattr(d, name):
            array = getattr(d, name)
            assert not array.flags.writeable, name
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
            with pytest.raises(AttributeError):
                setattr(d, name, array)


@pytest.mark.parametrize("layout", [np.array, np.asfortranarray, lambda a: a[::-1].copy()[::-1]])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_distribution_never_changes(dtype, layout):
    """Whoever writes to the arrays that it was built with has changed no distribution, nor its parts."""
    loc, scale, tril = np.zeros((3, 2), dtype), np.ones((3, 2), dtype), np.eye(2, dtype=dtype)
    for make in (
        lambda loc, scale, _: fd.Normal(loc, scale),
        lambda loc, scale, _: fd.Independent(fd.Normal(loc, scale), 1),
        lambda loc, scale, _: fd.Normal(loc, scale).expand((4, 3, 2)),
        lambda loc, scale, _: fd.Normal(loc, scale)[1:],
        lambda loc, scale, _: fd.Normal(loc, 1.0).replace(scale=scale),
        lambda loc, _, tril: fd.MultivariateNormal(loc, scale_tril=tril),
        lambda loc, _, tril: fd.MultivariateNormal(loc, covariance_matrix=tril),
        lambda loc, _, tril: fd.MultivariateNormal(loc, precision_matrix=tril),
    ):
        given = [layout(array) for array in (loc, scale, tril)]
        d = make(*given)
        before = d.sample(3, rng=0), d.log_prob(np.zeros(2, dtype)), d.mean.copy(), d.entropy()
        for array in given:
            array[...] = 7
        after = d.sample(3, rng=0), d.log_prob(np.zeros(2, dtype)), d.mean.copy(), d.entropy()
        for x, y in zip(before, after, strict=True):
            assert_same_bits(x, y)
    old = fd.Normal(loc, scale)
    loc += 1
    assert (fd.kl_divergence(old, fd.Normal(loc, scale)) > 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["covariance_matrix", "precision_matrix"])
def test_many_matrices_are_copied(name, dtype, isa):
    """While they are factorised, which the original may change after."""
    for shape in ((1100, 4, 4), (5, 121, 6, 6), (119, 17, 17), (5, 80, 80)):
        matrix = matrix_of(name, random_tril(np.random.default_rng(0), shape, dtype))
        given = matrix.copy()
        d = fd.MultivariateNormal(np.zeros(shape[-1], dtype), **{name: given})
        given[...] = np.nan
        assert_same_bits(getattr(d, name).copy(), matrix)
        lent = matrix.copy()
        lent.flags.writeable = False
        e = fd.MultivariateNormal(np.zeros(shape[-1], dtype), **{name: lent})
        assert_same_bits(d.sample(rng=0), e.sample(rng=0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_read_only_arrays_are_lent(dtype):
    """One that is read-only all the way down is used as it is; one whose base may be written to is copied."""
    loc, scale, matrix = np.zeros((3, 2), dtype), np.ones((3, 2), dtype), np.eye(2, dtype=dtype)
    for array in (loc, scale, matrix):
        array.flags.writeable = False
    for d in (fd.Normal(loc, scale), fd.Normal(loc[...], scale[0]), fd.MultivariateNormal(loc, matrix)):
        assert np.shares_memory(d.loc, loc)
        assert fd.Normal(d.loc, 1.0).loc.base is not None
        assert np.shares_memory(type(d)(**d.parameters).loc, loc)
    assert np.shares_memory(fd.MultivariateNormal(loc, matrix).covariance_matrix, matrix)
    assert np.shares_memory(fd.Normal(loc, scale).scale, scale)
    base = np.zeros((3, 2), dtype)
    view = base.view()
    view.flags.writeable = False
    d = fd.Normal(view, scale)
    assert not np.shares_memory(d.loc, base)
    base[...] = 1
    assert (d.loc == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MATRICES)
def test_a_matrix_is_taken_over(name, dtype):
    """Changing the array that was passed changes nothing, whether a property was read before or not."""
    tril = random_tril(np.random.default_rng(0), (3, 4, 4), dtype)
    matrix = matrix_of(name, tril)
    d, e = (fd.MultivariateNormal(np.zeros(4, dtype), **{name: matrix.copy()}) for _ in range(2))
    changed = matrix.copy()
    f = fd.MultivariateNormal(np.zeros(4, dtype), **{name: changed})
    changed[...] = np.nan
    for other in MATRICES:
        assert_same_bits(getattr(f, other).copy(), getattr(d, other).copy())
    assert_same(f, e, np.ones(4), np.ones(4))
    assert_same_bits(getattr(f, name).copy(), matrix)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 2, 7, 70])
@pytest.mark.parametrize("name", MATRICES)
def test_the_three_matrices_agree(name, dim, dtype):
    tril = random_tril(np.random.default_rng(dim), (2, dim, dim), dtype)
    d = fd.MultivariateNormal(np.zeros(dim, dtype), **{name: matrix_of(name, tril)})
    tolerance = 50 * dim * np.finfo(dtype).eps
    for other in MATRICES:
        wanted = matrix_of(other, tril)
        np.testing.assert_allclose(
            getattr(d, other), wanted, rtol=0, atol=tolerance * np.abs(wanted).max(), err_msg=other
        )
        matrix = getattr(d, other)
        if other == "scale_tril":
            assert not np.triu(matrix, 1).any()
        else:
            assert_same_bits(matrix.copy(), matrix.swapaxes(-1, -2).copy())
    np.testing.assert_allclose(d.variance, np.diagonal(d.covariance_matrix, axis1=1, axis2=2), rtol=tolerance)
    np.testing.assert_allclose(d.stddev**2, d.variance, rtol=tolerance)


def test_validation_can_be_switched_off_for_values_only():
    assert np.isnan(fd.Normal(np.nan, -1.0, validate_args=False).mean)
    fd.MultivariateNormal(np.zeros(2), scale_tril=[[1.0, 5.0], [0.0, -1.0]], validate_args=False)
    fd.MultivariateNormal(np.zeros(2), [[1.0, 0.9], [0.2, 1.0]], validate_args=False)
    assert np.isnan(fd.Normal(0.0, 1.0, validate_args=False).icdf(1.5))
    with pytest.raises(ValueError, match="broadcast"):
        fd.Normal(np.zeros(2), np.ones(3), validate_args=False)
    with pytest.raises(TypeError, match="loc"):
        fd.Normal(1j, 1.0, validate_args=False)
