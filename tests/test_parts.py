"""`sample_part`: parts of draws, made alone, are those of the whole draw; places of streams."""

import pickle
from typing import ClassVar

import numpy as np
import pytest
from cases import assert_same_bits, state_of

import fastdist as fd


class Laplace(fd.Distribution):
    arg_constraints: ClassVar = {"loc": fd.constraints.real}
    support = fd.constraints.real
    normals_per_event = 4

    def draw(self, eps, out):
        a, b, c, d = np.moveaxis(eps, -1, 0)
        np.add(self.loc, a * d - b * c, out=out)


class Silent(Laplace):
    normals_per_event = None


def laws(dtype=np.float64):
    """Distributions of batch shape (4, 3), by name; whether elements of their events are independent."""
    rng = np.random.default_rng(0)
    loc, scale = rng.standard_normal((4, 3, 5)).astype(dtype), rng.uniform(0.5, 2, (3, 5)).astype(dtype)
    root = rng.standard_normal((4, 1, 5, 5)).astype(dtype)
    matrix = root @ root.swapaxes(-1, -2) + 5 * np.eye(5, dtype=dtype)
    logits = rng.standard_normal((4, 3, 5)).astype(dtype)
    normal = fd.Normal(loc, scale)
    mvn = fd.MultivariateNormal(loc, covariance_matrix=matrix)
    mixture = fd.MixtureSameFamily(fd.Categorical(logits=logits), fd.Normal(loc, scale))
    return {
        "Normal": (normal[..., 0], False),
        "Independent": (fd.Independent(normal, 1), True),
        "Independent of all": (fd.Independent(normal, 3), True),
        "nested": (fd.Independent(fd.Independent(normal, 1), 1), True),
        "MultivariateNormal": (mvn, False),
        "by precision": (fd.MultivariateNormal(loc, precision_matrix=matrix), False),
        "MultivariateNormals": (fd.Independent(mvn, 1), False),
        "LowRank": (fd.LowRankMultivariateNormal(loc, root[..., :2], scale), False),
        "LogNormal": (fd.LogNormal(loc[..., 0], scale[..., 0]), False),
        "LogNormals": (fd.Independent(fd.LogNormal(loc, scale), 1), True),
        "HalfNormal": (fd.HalfNormal(scale), False),
        "tanh": (fd.TransformedDistribution(fd.Independent(normal, 1), fd.transforms.TanhTransform()), False),
        "tanh of low rank": (
            fd.TransformedDistribution(
                fd.LowRankMultivariateNormal(loc, root[..., :2], scale), fd.transforms.TanhTransform()
            ),
            False,
        ),
        "Truncated": (fd.TruncatedNormal(loc[..., 0], scale[..., 0], dtype(-1), dtype(2)), False),
        "Categorical": (fd.Categorical(logits=logits), False),
        "Bernoulli": (fd.Bernoulli(logits=logits[..., 0]), False),
        "Bernoullis": (fd.Independent(fd.Bernoulli(logits=logits), 1), True),
        "OneHot": (fd.OneHotCategorical(logits=logits), False),
        "mixture": (mixture, False),
        "mixture of vectors": (
            fd.MixtureSameFamily(
                fd.Categorical(logits=logits[..., :3]),
                fd.Independent(normal[..., None, :].expand((4, 3, 3, 5)), 1),
            ),
            False,
        ),
        "mixtures": (fd.Independent(mixture, 1), True),
        "user-written": (Laplace(loc[..., 0]), False),
        "user-written ones": (fd.Independent(Laplace(loc), 1), True),
    }


NAMES = list(laws())


def random_index(g, shape):
    """Slices, some of them short, empty, negative, beyond the end or left away."""
    index = []
    for n in shape:
        first, stop = sorted(g.integers(0, n + 1, 2))
        index.append(
            [
                slice(None),
                slice(int(first), int(stop)),
                slice(int(first), None),
                slice(-n - 3, int(stop)),
                slice(int(first), n + 5, 1),
                slice(-1, None),
            ][g.integers(6)]
        )
    return tuple(index[: g.integers(0, len(index) + 1)])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", NAMES)
def test_a_part_is_that_of_the_whole_draw(name, dtype, isa):
    d, divisible = laws(dtype)[name]
    g = np.random.default_rng(len(name))
    for sample_shape in ((), (7,), (3, 50), (900,), (0,)):
        whole = d.sample(sample_shape, rng=5)
        event = len(d.event_shape)
        for _ in range(12):
            index = random_index(g, whole.shape if divisible else whole.shape[: whole.ndim - event])
            part = d.sample_part(sample_shape, index, rng=5)
            assert_same_bits(part, np.ascontiguousarray(whole[index]))


def test_chunks_make_the_whole_draw():
    d = fd.Independent(fd.Normal(np.zeros((30, 40)), 1.0), 1)
    whole = d.sample((100,), rng=1)
    out = np.empty_like(whole)
    for rows in (slice(0, 33), slice(33, 34), slice(34, 100)):
        for items in (slice(0, 7), slice(7, 30)):
            for elements in (slice(0, 39), slice(39, 40)):
                index = rows, items, elements
                d.sample_part((100,), index, rng=1, out=out[index])
    assert_same_bits(out, whole)


@pytest.mark.parametrize("name", NAMES)
def test_a_generator_is_read_and_moves_on_behind_the_whole_draw(name):
    d, _ = laws()[name]
    ours, its = fd.default_rng(3), fd.default_rng(3)
    for g in (ours, its):
        fd.standard_normal(100, rng=g)
        d.sample(3, rng=g)
    place = ours.bit_generator.place
    part = d.sample_part((50,), slice(20, 30), rng=ours)
    whole = d.sample((50,), rng=its)
    assert_same_bits(part, whole[20:30].copy())
    assert state_of(ours) == state_of(its)
    for _ in range(2):
        assert_same_bits(d.sample_part((50,), slice(20, 30), rng=place), part)


def test_generators_of_numpys_make_the_whole_draw():
    d, _ = laws()["Independent"]
    ours, its = np.random.default_rng(3), np.random.default_rng(3)
    part = d.sample_part((50,), (slice(20, 30), slice(2)), rng=ours)
    assert_same_bits(part, d.sample((50,), rng=its)[20:30, :2].copy())
    assert ours.random() == its.random()


def test_seeds():
    d = fd.Normal(np.zeros(10), 1.0)
    for seed in (7, [1, 2], np.random.SeedSequence(5)):
        assert_same_bits(d.sample_part(20, slice(3, 5), rng=seed), d.sample(20, rng=seed)[3:5].copy())


def test_a_part_of_a_draw_larger_than_memory():
    d = fd.Normal(np.zeros(1000), 1.0)
    n = 10**12
    part = d.sample_part((n,), (slice(n // 2, n // 2 + 2), slice(10, 13)), rng=1)
    place = fd.BlockSFC64(1).place
    for row, x in enumerate(part):
        at = place._replace(normal=(n // 2 + row) * 1000 + 10)
        assert_same_bits(x, fd.standard_normal(3, rng=at) + 0.0)


def test_errors_leave_generator_and_out_alone():
    d, _ = laws()["Independent"]
    mvn, _ = laws()["MultivariateNormal"]
    g, out = fd.default_rng(0), np.full((2, 4, 3, 5), 7.0)
    before = state_of(g)
    for call, error, message in (
        (lambda: d.sample_part(3, slice(0, 2, 2), rng=g), ValueError, r"index\[0\] must have step 1, got 2"),
        (
            lambda: d.sample_part(3, slice(None, None, -1), rng=g),
            ValueError,
            r"index\[0\] must have step 1, got -1",
        ),
        (lambda: d.sample_part(3, 1, rng=g), TypeError, r"index\[0\] must be a slice, got int"),
        (
            lambda: d.sample_part(3, (slice(1), ...), rng=g),
            TypeError,
            r"index\[1\] must be a slice, got ellipsis",
        ),
        (
            lambda: d.sample_part(3, (slice(1),) * 5, rng=g),
            IndexError,
            "index has 5 slices, the draw's shape",
        ),
        (lambda: d.sample_part(-3, slice(2), rng=g), ValueError, "sample_shape must not be negative"),
        (lambda: d.sample_part(3, slice(2), rng="a"), TypeError, "rng must be None, an int"),
        (
            lambda: d.sample_part(3, slice(2), rng=g, out=out[:1]),
            ValueError,
            r"out must have shape \(2, 4, 3, 5\)",
        ),
        (lambda: d.sample_part(3, slice(2), rng=g, out=out.astype("f4")), TypeError, "out must be of dtype"),
        (
            lambda: mvn.sample_part(3, (slice(None), slice(None), slice(None), slice(1, 5)), rng=g),
            ValueError,
            r"elements 1 to 5 of 5 of an event of MultivariateNormal, event shape \(5,\): events cannot be split",
        ),
        (lambda: Silent(0.0).sample_part(3, slice(2), rng=g), NotImplementedError, "normals_per_event"),
        (lambda: d.sample_part(3, slice(2)), TypeError, "rng"),
    ):
        with pytest.raises(error, match=message):
            call()
        assert state_of(g) == before
        assert (out == 7).all()


def test_draws_of_ones_own_have_no_parts():
    class Loud(fd.Normal):
        def sample(self, sample_shape=(), *, rng=None, out=None, workers=None):
            return 2 * super().sample(sample_shape, rng=rng, out=out, workers=workers)

    with pytest.raises(NotImplementedError, match="Loud does not tell"):
        Loud(0.0, 1.0).sample_part(3, slice(2), rng=0)


# ---- places ----------------------------------------------------------------------------------------


def test_a_place_is_where_a_stream_stands():
    g = fd.default_rng(9)
    fd.standard_normal(2000, rng=g)
    fd.Bernoulli(0.5).sample(10, rng=g)
    g.integers(10, size=7)
    place = g.bit_generator.place
    state = g.bit_generator.state["state"]
    assert place == (tuple(map(int, state["key"])), state["raw_position"], 2000, 10)
    assert pickle.loads(pickle.dumps(place)) == place
    there = np.random.Generator(fd.BlockSFC64.at(place))
    assert there.bit_generator.place == place
    assert_same_bits(fd.standard_normal(50, rng=place), fd.standard_normal(50, rng=there))
    assert_same_bits(fd.standard_normal(50, rng=place), fd.standard_normal(50, rng=g))
    assert_same_bits(fd.Bernoulli(0.5).sample(50, rng=place), fd.Bernoulli(0.5).sample(50, rng=g))
    assert place.normal == 2000  # it is a value
    with pytest.raises(TypeError, match="spawn"):
        there.spawn(2)


def test_bad_places():
    good = fd.BlockSFC64(1).place
    for bad, message in (
        (good._replace(normal=-1), "positions must be in"),
        (good._replace(uniform=2**122), "positions must be in"),
        (good._replace(key=(1, 2**64)), "key must be two integers"),
        (good._replace(key=(1,)), "key must be two integers"),
    ):
        with pytest.raises(ValueError, match=message):
            fd.standard_normal(3, rng=bad)
        with pytest.raises(ValueError, match=message):
            fd.BlockSFC64.at(bad)
    with pytest.raises(TypeError, match="place must be a Place, got int"):
        fd.BlockSFC64.at(3)
