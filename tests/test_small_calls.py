"""Small calls take a way of their own, which must give what the general one gives, to the last bit."""

import copy
import pickle

import numpy as np
import pytest
from cases import (
    DTYPES,
    KINDS,
    MATRICES,
    assert_same_bits,
    matrix_of,
    one_of_each,
    random_normal,
    random_tril,
    state_of,
)

import fastdist as fd

SAMPLE_SHAPES = [(), 1, 4, 0, (2, 3), (1, 1, 1, 1), (5, 0), (64, 8)]


def general_sample(d, shape, rng):
    return d._sample(shape, rng, None, None)


def general_log_prob(d, value):
    return d._log_prob_of(value, None)


def distributions(dtype):
    """Batches and broadcasts of all kinds; the last ones are not for small calls, which must notice."""
    g = np.random.default_rng(3)

    def normal(loc, scale):
        return fd.Normal(g.normal(size=loc).astype(dtype), g.uniform(0.5, 2, scale).astype(dtype))

    yield from one_of_each(dtype).values()
    for shapes in (
        ((), ()),
        ((3, 2), ()),
        ((), (3, 2)),
        ((3, 1), (2,)),
        ((4, 1, 2), (3, 1)),
        ((0, 2), (2,)),
        ((300,), (300,)),
    ):
        d = normal(*shapes)
        yield d
        yield from (fd.Independent(d, n) for n in range(1, len(d.batch_shape) + 1))
    for dim in (1, 2, 3, 5, 16, 17):
        for name in MATRICES:
            for loc, matrix in (
                ((), ()),
                ((3,), (3,)),
                ((3,), ()),
                ((), (3,)),
                ((2, 3), (3,)),
                ((2, 1), (1, 3)),
            ):
                tril = random_tril(g, (*matrix, dim, dim), dtype)
                d = fd.MultivariateNormal(
                    g.normal(size=(*loc, dim)).astype(dtype), **{name: matrix_of(name, tril)}
                )
                yield d
        yield fd.Independent(d, 1)
    yield normal((1,) * 9, (2,) * 9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_are_the_general_ones(dtype, isa):
    for d in distributions(dtype):
        for shape in SAMPLE_SHAPES:
            ours, theirs = fd.default_rng(5), fd.default_rng(5)
            assert_same_bits(d.sample(shape, rng=ours), general_sample(d, shape, theirs))
            assert state_of(ours) == state_of(theirs)
        ours, theirs = np.random.default_rng(5), np.random.default_rng(5)
        assert_same_bits(d.rsample((3,), rng=ours), general_sample(d, (3,), theirs))
        assert state_of(ours) == state_of(theirs)
        assert_same_bits(d.sample(2, rng=7), general_sample(d, 2, 7))


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_densities_are_the_general_ones(dtype, isa):
    g = np.random.default_rng(0)
    for d in distributions(dtype):
        for shape in ((), (4,), (2, 3), (0,), (1,)):
            value = g.normal(size=shape + d.batch_shape + d.event_shape).astype(dtype)
            if value.size:
                value.flat[0] = np.inf
            assert_same_bits(d.log_prob(value), general_log_prob(d, value))
            # an empty array loses its shape as a list
            others = [
                value.astype(np.float64),
                np.asfortranarray(value),
                value.tolist() if value.size else value,
            ]
            for other in others:
                assert_same_bits(d.log_prob(other), general_log_prob(d, other))
        event = np.zeros(d.event_shape, dtype)
        assert_same_bits(d.log_prob(event), general_log_prob(d, event))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_parts_have_calls_of_their_own(kind, dtype):
    d = one_of_each(dtype)[kind]
    x = d.sample((2,), rng=0)  # so that it has its plan
    for other in (copy.copy(d), copy.deepcopy(d), pickle.loads(pickle.dumps(d))):
        assert_same_bits(other.sample((2,), rng=0), x)
        assert_same_bits(other.log_prob(x), d.log_prob(x))
    part, wide = d[1:3], d.expand((2, 4, 3))
    assert_same_bits(part.sample(rng=0), general_sample(part, (), 0))
    assert_same_bits(wide.sample(rng=0), general_sample(wide, (), 0))
    assert wide.sample(rng=0).shape == (2, *x.shape[1:])


def test_a_result_is_the_callers_own():
    d = random_normal()
    a, b = d.sample(rng=0), d.sample(rng=0)
    a[...] = 0
    assert a.flags.owndata
    assert not np.shares_memory(a, b)
    assert (b != 0).all()


def test_overridden_hooks_are_called():
    class Shifted(fd.Normal):
        def _draw(self, noise, out, workers):
            super()._draw(noise, out, workers)
            out += 100

    assert (Shifted(np.zeros(3), np.ones(3)).sample(rng=0) > 50).all()
    assert (fd.Independent(Shifted(np.zeros(3), np.ones(3)), 1).sample(rng=0) > 50).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MATRICES)
def test_constructors_take_what_fits_and_convert_the_rest_alike(name, dtype):
    for dim in (1, 2, 16, 17):
        matrix = matrix_of(name, random_tril(np.random.default_rng(dim), (3, dim, dim), dtype))
        loc = np.random.default_rng(0).normal(size=(3, dim)).astype(dtype)
        plain = fd.MultivariateNormal(loc, **{name: matrix})
        other = fd.MultivariateNormal(np.asfortranarray(loc), **{name: np.asfortranarray(matrix)})
        assert plain.loc.dtype == other.loc.dtype == dtype
        for get in ("loc", *MATRICES):
            assert_same_bits(np.array(getattr(plain, get)), np.array(getattr(other, get)))
        matrix[...] = np.nan
        loc[...] = 7
        assert np.isfinite(getattr(plain, name)).all()
        assert (plain.loc != 7).all()
