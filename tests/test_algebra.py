"""Marginals, conditionals, affine maps and rank updates of Gaussian vectors, and their gradients."""

import numpy as np
import pytest

import fastdist as fd
from fastdist.distributions import _factors

MATRICES = ("covariance_matrix", "precision_matrix", "scale_tril")
TOLERANCE = {np.float64: 1e-10, np.float32: 2e-3}


def spd(rng, *shape):
    a = rng.standard_normal((*shape, shape[-1]))
    return a @ a.swapaxes(-1, -2) / shape[-1] + np.eye(shape[-1]) / 2


def given_by(name, covariance):
    if name == "covariance_matrix":
        return covariance
    return np.linalg.inv(covariance) if name == "precision_matrix" else np.linalg.cholesky(covariance)


def symmetrized(name, matrix):
    return matrix if name == "scale_tril" else (matrix + matrix.swapaxes(-1, -2)) / 2


def make(name, loc_batch, batch, dim, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    loc, matrix = rng.standard_normal((*loc_batch, dim)), given_by(name, spd(rng, *batch, dim))
    return fd.MultivariateNormal(loc.astype(dtype), **{name: symmetrized(name, matrix).astype(dtype)})


def close(got, wanted, dtype=np.float64, scale=1):
    np.testing.assert_allclose(got, wanted, rtol=TOLERANCE[dtype], atol=scale * TOLERANCE[dtype])


BATCHES = [((), ()), ((3,), ()), ((), (3,)), ((2, 1), (3,))]
INDICES = [[0], [1, 2], [4, 0, 2], [], [0, 1, 2, 3, 4], slice(None, None, -2), -1,
           np.array([True, False, True, False, False])]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize(("loc_batch", "batch"), BATCHES)
class TestValues:
    def test_marginal(self, loc_batch, batch, name, dtype):
        d = make(name, loc_batch, batch, 5, dtype)
        for indices in INDICES:
            part = d.marginal(indices)
            known = np.atleast_1d(np.arange(5)[indices if np.size(indices) else np.zeros(0, int)])
            assert part.dtype == dtype
            assert part._given == name
            assert (part.batch_shape, part.event_shape) == (d.batch_shape, (len(known),))
            np.testing.assert_array_equal(part.loc, d.loc[..., known])
            close(part.covariance_matrix, d.covariance_matrix[..., known[:, None], known], dtype)

    def test_condition(self, loc_batch, batch, name, dtype):
        d = make(name, loc_batch, batch, 5, dtype)
        rng = np.random.default_rng(1)
        for indices in INDICES:
            known = np.atleast_1d(np.arange(5)[indices if np.size(indices) else np.zeros(0, int)])
            rest = np.delete(np.arange(5), known)
            covariance = d.covariance_matrix.astype(float)
            of_known = covariance[..., known[:, None], known]
            gain = covariance[..., rest[:, None], known] @ np.linalg.inv(of_known)
            for lead in ((), (7, *d.batch_shape), (1,) * len(d.batch_shape)):
                value = rng.standard_normal((*lead, len(known))).astype(dtype)
                got = d.condition(indices, value)
                assert got.dtype == dtype
                assert got.event_shape == (len(rest),)
                assert got.batch_shape == np.broadcast_shapes(lead, d.batch_shape)
                loc = d.loc[..., rest] + (gain @ (value - d.loc[..., known])[..., None])[..., 0]
                close(got.loc, loc, dtype)
                wanted = covariance[..., rest[:, None], rest] - gain @ covariance[..., known[:, None], rest]
                close(got.covariance_matrix, np.broadcast_to(wanted, got.covariance_matrix.shape), dtype)

    def test_the_joint_density_is_the_product(self, loc_batch, batch, name, dtype):
        d = make(name, loc_batch, batch, 5, dtype)
        x = d.sample(20, rng=0)
        known, rest = [3, 1], [0, 2, 4]
        product = d.marginal(known).log_prob(x[..., known])
        product = product + d.condition(known, x[..., known]).log_prob(x[..., rest])
        close(product, d.log_prob(x), dtype)

    def test_affine(self, loc_batch, batch, name, dtype):
        d = make(name, loc_batch, batch, 4, dtype)
        rng = np.random.default_rng(2)
        for lead in ((), d.batch_shape):
            a, b = rng.standard_normal((*lead, 3, 4)).astype(dtype), rng.standard_normal(3).astype(dtype)
            got = d.affine(a, b)
            assert got.dtype == dtype
            close(got.loc, (a @ d.loc[..., None])[..., 0] + b, dtype)
            wanted = a @ d.covariance_matrix @ a.swapaxes(-1, -2)
            close(got.covariance_matrix, wanted, dtype, 10)
            close(d.affine(a).loc, got.loc - b, dtype)

    def test_rank_update(self, loc_batch, batch, name, dtype):
        d = make(name, loc_batch, batch, 4, dtype)
        matrix_name = "precision_matrix" if name == "precision_matrix" else "covariance_matrix"
        rng = np.random.default_rng(3)
        for weight in (1.0, 0.5, -0.05, 0.0):
            u = rng.standard_normal((*d.batch_shape, 4)).astype(dtype) / 2
            got = d.rank_update(u, weight=weight)
            wanted = getattr(d, matrix_name) + weight * u[..., :, None] * u[..., None, :]
            assert got.dtype == dtype
            assert got.parameters.keys() == d.parameters.keys()
            close(getattr(got, matrix_name), wanted, dtype)
            np.testing.assert_array_equal(got.loc, d.loc)


@pytest.mark.parametrize("name", MATRICES)
class TestRankUpdate:
    def test_some_items(self, name, isa):
        d = make(name, (6, 1), (1, 5), 3)
        matrix_name = "precision_matrix" if name == "precision_matrix" else "covariance_matrix"
        u = np.random.default_rng(0).standard_normal(3)
        whole = getattr(d, matrix_name)
        for index in (2, (1, 3), [4, 0], (slice(None), 2), ([5, 1], [0, 3]), slice(0, 0), ...):
            got = d.rank_update(u, weight=2.0, index=index)
            wanted = whole.copy()
            wanted[index] += 2 * np.outer(u, u)
            np.testing.assert_allclose(getattr(got, matrix_name), wanted, rtol=1e-12, atol=1e-12)
            assert got.batch_shape == d.batch_shape

    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("dim", [1, 5, 16, 33, 63, 64, 70])
    def test_of_any_size_alone_and_among_others(self, name, dim, dtype, isa):
        """A lane to a matrix or one at a time, weights of both signs side by side: the same bits."""
        d = make(name, (21,), (21,), dim, dtype)
        matrix_name = "precision_matrix" if name == "precision_matrix" else "covariance_matrix"
        rng = np.random.default_rng(dim)
        u = (rng.standard_normal((21, dim)) / dim).astype(dtype)
        weight = np.where(np.arange(21) % 3, 1.0, -0.05).astype(dtype)
        got = d.rank_update(u, weight=weight)
        wanted = getattr(d, matrix_name) + weight[:, None, None] * u[:, :, None] * u[:, None, :]
        close(getattr(got, matrix_name), wanted, dtype, 10)
        for i in (0, 1, 20):
            alone = d[i].rank_update(u[i], weight=weight[i])
            np.testing.assert_array_equal(alone.scale_tril, got[i].scale_tril)

    def test_the_old_one_does_not_change(self, name):
        d = make(name, (3,), (3,), 2)
        before = d.covariance_matrix.copy(), d.log_prob([0.0, 0.0])
        d.rank_update([1.0, 2.0], index=1)
        d.rank_update([1.0, 2.0])
        np.testing.assert_array_equal(d.covariance_matrix, before[0])
        np.testing.assert_array_equal(d.log_prob([0.0, 0.0]), before[1])

    def test_back_and_forth(self, name):
        d = make(name, (4,), (4,), 20)
        u = np.random.default_rng(0).standard_normal((4, 20))
        back = d.rank_update(u).rank_update(u, weight=-1.0)
        np.testing.assert_allclose(back.covariance_matrix, d.covariance_matrix, rtol=0, atol=1e-11)

    def test_errors(self, name):
        d = make(name, (3,), (3,), 2)
        with pytest.raises(ValueError, match=r"index names batch item \(1,\) more than once"):
            d.rank_update([1.0, 1.0], index=[1, 0, 1])
        with pytest.raises(np.linalg.LinAlgError, match=r"not positive definite .*batch index \(2,\)"):
            d.rank_update([[0.0, 0.0], [0.0, 0.0], [9.0, 9.0]], weight=-1.0)
        with pytest.raises(np.linalg.LinAlgError, match=r"not positive definite .*batch index \(1,\)"):
            d.rank_update([9.0, 9.0], weight=-1.0, index=[1])
        with pytest.raises(ValueError, match=r"u must end in the event shape \(2,\), got \(3,\)"):
            d.rank_update(np.ones(3))
        with pytest.raises(ValueError, match=r"weight must be finite"):
            d.rank_update([1.0, 1.0], weight=np.inf)
        with pytest.raises(ValueError, match=r"u must be finite"):
            d.rank_update([1.0, np.nan])
        with pytest.raises(IndexError, match=r"index, of batch_shape \(3,\): .*out of bounds"):
            d.rank_update([1.0, 1.0], index=3)

    def test_same_bits_alone_and_in_a_batch(self, name, isa):
        d = make(name, (9,), (9,), 19)
        u = np.random.default_rng(0).standard_normal((9, 19))
        whole = d.rank_update(u)
        for i in (0, 4, 8):
            alone = d[i].rank_update(u[i])
            np.testing.assert_array_equal(alone.scale_tril, whole.scale_tril[i])
            np.testing.assert_array_equal(d.rank_update(u[i], index=i)[i].scale_tril, alone.scale_tril)


@pytest.mark.parametrize("name", MATRICES)
def test_what_was_asked_for_before_makes_no_difference(name):
    a, b = (make(name, (), (), 4).affine(np.eye(4)[:3]) for _ in range(2))
    assert b.covariance_matrix.shape == b.precision_matrix.shape == (3, 3)
    np.testing.assert_array_equal(a.marginal([2, 0]).scale_tril, b.marginal([2, 0]).scale_tril)
    np.testing.assert_array_equal(a.condition(1, [0.5]).loc, b.condition(1, [0.5]).loc)


def results(d, known, x, a, u):
    for made in (d.marginal(known), d.condition(known, x), d.affine(a), d.rank_update(u)):
        yield from (made.loc, made.scale_tril)


def operands(dim, dtype):
    rng = np.random.default_rng(dim)
    known = rng.permutation(dim)[: dim // 2]
    shapes = (5, len(known)), (5, max(dim // 3, 1), dim), (5, dim)
    return known, *[rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("dim", [2, 4, 5, 8, 9, 17, 40, 70])
@pytest.mark.parametrize("name", MATRICES)
class TestBits:
    def test_on_every_isa(self, name, dim, dtype, isa):
        here, before = list(results(make(name, (5,), (5,), dim, dtype), *operands(dim, dtype))), fd.isa()
        fd.set_isa("scalar")
        wanted = list(results(make(name, (5,), (5,), dim, dtype), *operands(dim, dtype)))
        fd.set_isa(before)
        for one, other in zip(here, wanted, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_alone_in_a_batch_and_of_many_values(self, name, dim, dtype, isa):
        d, (known, x, a, u) = make(name, (5,), (5,), dim, dtype), operands(dim, dtype)
        whole = list(results(d, known, x, a, u))
        for i in (0, 3):
            alone = list(results(d[i], known, x[i], a[i], u[i]))
            for one, other in zip(whole, alone, strict=True):
                np.testing.assert_array_equal(one[i], other)
        many = d.condition(known, np.stack([x, x[::-1], x]))
        np.testing.assert_array_equal(many.loc[::2], np.stack([whole[2]] * 2))
        np.testing.assert_array_equal(many.scale_tril[1], whole[3])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 3), (5, 5), (4, 30), (41, 41), (30, 100)])
def test_triangles_by_reflections(shape, dtype, isa):
    """As numpy.linalg.qr makes them, but for signs; with no square that over- or underflows."""
    columns = np.random.default_rng(0).standard_normal((3, *shape)).astype(dtype)
    upper = np.linalg.qr(columns.swapaxes(-1, -2).astype(float), mode="r")
    wanted = upper * np.sign(np.diagonal(upper, axis1=-2, axis2=-1))[..., None]
    got = _factors.triangular(columns)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, wanted, rtol=0, atol=30 * np.finfo(dtype).eps * np.abs(wanted).max())
    assert (np.tril(got, -1) == 0).all()
    for exponent in (-1000, 1000) if dtype == np.float64 else ():
        scaled = _factors.triangular(np.ldexp(columns, exponent))
        np.testing.assert_allclose(np.ldexp(scaled, -exponent), got, rtol=1e-10, atol=1e-13)


def test_triangles_of_zeros():
    columns = np.array([[[0.0, 0.0], [3.0, 4.0]], [[3.0, 4.0], [0.0, 0.0]]])
    factor = _factors.triangular(columns).swapaxes(-1, -2)
    assert (np.triu(factor, 1) == 0).all()
    wanted = columns @ columns.swapaxes(-1, -2)
    np.testing.assert_allclose(factor @ factor.swapaxes(-1, -2), wanted, rtol=1e-15)
    np.testing.assert_array_equal(_factors.triangular(np.ones((2, 0))), np.zeros((2, 2)))


def test_a_law_of_ones_own_has_none_of_these():
    class Shifted(fd.MultivariateNormal):
        def log_prob(self, value, *, out=None):
            return super().log_prob(np.asarray(value) - 1, out=out)

    d = Shifted(np.zeros(2), np.eye(2))
    for method, args in (
        ("marginal", (0,)),
        ("condition", (0, [1.0])),
        ("affine", (np.eye(2),)),
        ("rank_update", ([1.0, 1.0],)),
    ):
        with pytest.raises(NotImplementedError, match=f"log_prob of its own.*{method} no longer holds"):
            getattr(d, method)(*args)


def test_results_are_distributions_like_others():
    d = make("covariance_matrix", (3,), (3,), 4).condition([0], np.zeros((5, 3, 1)))
    assert d[0].batch_shape == (3,)
    assert d.expand((2, 5, 3)).sample(rng=0).shape == (2, 5, 3, 3)
    again = type(d)(**d.parameters)
    np.testing.assert_allclose(again.scale_tril, d.scale_tril, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("indices", "error", "match"),
    [
        ([0, 5], IndexError, "indices, of an event of 5 elements.*out of bounds"),
        ([0, 0], ValueError, "indices names element 0 more than once"),
        ([4, -1], ValueError, "indices names element 4 more than once"),
        ([[0], [1]], IndexError, "indices must have one dim, got 2"),
        ([0.5], IndexError, "indices, of an event of 5 elements"),
        ("a", IndexError, "indices, of an event of 5 elements"),
    ],
)
def test_indices(indices, error, match):
    d = make("covariance_matrix", (), (), 5)
    with pytest.raises(error, match=match):
        d.marginal(indices)
    with pytest.raises(error, match=match):
        d.condition(indices, [0.0, 0.0])


def test_errors_of_condition_and_affine():
    d = make("covariance_matrix", (3,), (3,), 4)
    with pytest.raises(ValueError, match=r"value must end in the event shape \(2,\), got shape \(3,\)"):
        d.condition([0, 1], np.zeros(3))
    with pytest.raises(ValueError, match=r"value\[0, 1\] = nan"):
        d.condition([0, 1], [[0.0, np.nan]])
    with pytest.raises(ValueError, match=r"A must have shape \(\.\.\., m, 4\), got \(4, 3\)"):
        d.affine(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"b must have shape \(\.\.\., 2\)"):
        d.affine(np.ones((2, 4)), np.zeros(3))
    with pytest.raises(
        np.linalg.LinAlgError, match=r"does not have full rank .* batch index \(0,\), pivot 1"
    ):
        d.affine(np.ones((2, 4)))
    with pytest.raises(np.linalg.LinAlgError, match="more rows than the event has elements"):
        d.affine(np.ones((5, 4)))
    with pytest.raises(ValueError, match="A must be finite"):
        d.affine(np.full((2, 4), np.inf))


# ---- gradients -----------------------------------------------------------------------------------


def loss_of(made, x):
    return made.log_prob(x) + (made.loc * np.cos(np.arange(made.loc.shape[-1]))).sum(-1)


def gradients_of(method, *args, **kwargs):
    """Of a loss of what a method returns, by everything."""
    made, pull = fd.vjp(method, *args, **kwargs)
    x = np.linspace(-1, 1, made.event_shape[0])
    _, pull_density = fd.vjp(made.log_prob, x)
    g = pull_density(1.0)
    weights = np.broadcast_to(np.cos(np.arange(made.event_shape[0])), made.loc.shape)
    repeats = np.prod(made.batch_shape) / np.prod(np.shape(made._arrays["loc"])[:-1])
    g["loc"] = g["loc"] + weights[tuple([0] * (made.loc.ndim - g["loc"].ndim))] * repeats
    return loss_of(made, x).sum(), pull(g)


CALLS = {
    "marginal": lambda rng: (([3, 1],), {}),
    "marginal of the first": lambda rng: (([0, 1],), {}),
    "condition": lambda rng: (([2, 0], rng.standard_normal((5, 1, 2))), {}),
    "affine": lambda rng: ((rng.standard_normal((3, 4)), rng.standard_normal(3)), {}),
    "rank_update": lambda rng: ((rng.standard_normal((3, 4)),), {"weight": np.array(0.7)}),
    "rank_update of some": lambda rng: ((rng.standard_normal(4),), {"weight": 0.7, "index": [2, 0]}),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize(("loc_batch", "batch"), [((3,), (3,)), ((), (3,)), ((3,), ())])
def test_gradients_are_those_of_finite_differences(call, name, loc_batch, batch):
    rng = np.random.default_rng(5)
    d = make(name, loc_batch, batch, 4)
    args, kwargs = CALLS[call](rng)
    method = call.partition(" ")[0]
    arrays = {"loc": np.array(d._arrays["loc"]), name: np.array(d.parameters[name]).reshape(*batch, 4, 4)}
    arguments = {"condition": {"value": 1}, "affine": {"A": 0, "b": 1}, "rank_update": {"u": 0}}.get(
        method, {}
    )
    _, found = gradients_of(getattr(fd.MultivariateNormal(**arrays), method), *args, **kwargs)
    assert set(found) - {"weight"} == {"loc", name, *arguments}

    def loss(arrays, args, kwargs):
        made = getattr(fd.MultivariateNormal(**arrays), method)(*args, **kwargs)
        return float(loss_of(made, np.linspace(-1, 1, made.event_shape[0])).sum())

    def slope(change, size):
        h = 1e-5
        return (loss(*change(h)) - loss(*change(-h))) / (2 * h)

    for key, array in arrays.items():
        direction = rng.standard_normal(array.shape)
        if key == "scale_tril":
            direction = np.tril(direction)
        elif key != "loc":
            direction = direction + direction.swapaxes(-1, -2)
        got = slope(lambda h, k=key, v=direction: ({**arrays, k: arrays[k] + h * v}, args, kwargs), 1)
        assert found[key].shape == array.shape
        np.testing.assert_allclose((found[key] * direction).sum(), got, rtol=2e-6, atol=1e-6)
    for key, i in arguments.items():
        direction = rng.standard_normal(np.shape(args[i]))
        got = slope(
            lambda h, i=i, v=direction: (arrays, (*args[:i], args[i] + h * v, *args[i + 1 :]), kwargs), 1
        )
        np.testing.assert_allclose((found[key] * direction).sum(), got, rtol=2e-6, atol=1e-6)
    if "weight" in kwargs:
        got = slope(lambda h: (arrays, args, {**kwargs, "weight": kwargs["weight"] + h}), 1)
        np.testing.assert_allclose(found["weight"], got, rtol=2e-6, atol=1e-6)


def test_cotangents_of_distributions():
    d = make("covariance_matrix", (3,), (3,), 4)
    made, pull = fd.vjp(d.condition, [0], [0.5])
    only = pull({"loc": np.ones(made.loc.shape)})
    assert {name: array.shape for name, array in only.items()} == {
        "loc": (3, 4), "covariance_matrix": (3, 4, 4), "value": (1,)
    }  # fmt: skip
    assert not pull({})["loc"].any()
    with pytest.raises(TypeError, match="is a dict of gradients by loc and covariance_matrix, got ndarray"):
        pull(np.ones(3))
    with pytest.raises(ValueError, match="has loc and covariance_matrix, no 'scale'"):
        pull({"scale": 1.0})
    with pytest.raises(ValueError, match="does not broadcast"):
        pull({"loc": np.ones(7)})
