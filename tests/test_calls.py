"""Every call goes one way: small and large, fresh and into `out=`, of an array in whatever layout, the same bits.

For every distribution, those that users write included.
"""

import copy
import itertools
import pickle

import numpy as np
import pytest
from cases import (
    DTYPES,
    KINDS,
    LAYOUTS,
    MATRICES,
    assert_same_bits,
    matrix_of,
    one_of_each,
    random_normal,
    random_tril,
    state_of,
)
from user_written import USER_WRITTEN, Laplace, user_written

import fastdist as fd
from fastdist.distributions import _diagonal as implementation

EVERY = (*KINDS, *USER_WRITTEN)
MANY = 1500

every = pytest.mark.parametrize("kind", EVERY)
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def made(kind, dtype=np.float64):
    """A distribution of batch (4, 3)."""
    return (one_of_each if kind in KINDS else user_written)(dtype)[kind]


def into(method, *args, layout, **kwargs):
    """A method's result by way of `out=`."""
    out = LAYOUTS[layout](np.full_like(method(*args, **kwargs), 7))
    assert method(*args, **kwargs, out=out) is out
    return np.array(out, out.dtype.newbyteorder("="), order="C")


OUTS = ("read-write", "strided", "negative strides", "Fortran", "byte-swapped", "unaligned")
LAYOUTS = {**LAYOUTS, "read-write": np.copy}


# ---- sizes -----------------------------------------------------------------------------------------


@dtypes
@every
def test_draws(kind, dtype, isa):
    """A few draws are the first of many; many are few after few."""
    d = made(kind, dtype)
    for default_rng in (fd.default_rng, np.random.default_rng):
        g = default_rng(5)
        many, after = d.sample(MANY, rng=g), state_of(g)
        for method in (d.sample, d.rsample):
            for n in (1, 2, 40):
                assert_same_bits(method(n, rng=default_rng(5)), many[:n])
                for layout in OUTS:
                    assert_same_bits(into_draw(method, (n,), default_rng, layout), many[:n])
            assert_same_bits(method(rng=default_rng(5)), many[0])
            assert_same_bits(method((3, 50), rng=default_rng(5)), many[:150].reshape(3, 50, *many.shape[1:]))
            g = default_rng(5)
            parts = [method(n, rng=g, workers=2) for n in (1, 0, 2, 500, MANY - 503)]
            assert_same_bits(np.concatenate(parts), many)
            assert state_of(g) == after
            for layout in OUTS:
                assert_same_bits(into_draw(method, (MANY,), default_rng, layout), many)


def into_draw(method, shape, default_rng, layout):
    out = LAYOUTS[layout](np.full_like(method(shape, rng=0), 7))
    assert method(shape, rng=default_rng(5), out=out) is out
    return np.array(out, out.dtype.newbyteorder("="), order="C")


def of_a_value(d):
    """The methods of a value that a distribution has, and some thousand values of it."""
    value = d.sample(MANY, rng=1)
    for name in ("log_prob", "prob"):
        yield name, getattr(d, name), value
    if isinstance(d, fd.Normal):
        for name in ("cdf", "log_cdf", "survival_function", "log_survival_function"):
            yield name, getattr(d, name), value
        yield "icdf", d.icdf, d.cdf(value)


@dtypes
@every
def test_methods_of_a_value(kind, dtype, isa):
    d = made(kind, dtype)
    n_event = len(d.event_shape)
    for name, method, value in of_a_value(d):
        many = method(value)
        assert many.shape == (MANY, 4, 3)
        for n in (0, 1, 2, 40, MANY):
            few = value[:n]
            assert_same_bits(method(few), many[:n])
            for layout in OUTS if n else ("strided", "Fortran"):
                assert_same_bits(into(method, few, layout=layout), many[:n])
            for layout, change in LAYOUTS.items():
                if few.size and (layout != "outer dims transposed" or few.ndim > 1):
                    assert_same_bits(method(change(few)), many[:n])
        assert_same_bits(method(value[7]), many[7])
        assert_same_bits(method(value[:6].reshape(2, 3, *value.shape[1:])), many[:6].reshape(2, 3, 4, 3))
        # One event for all of the batch, for some, and as a list of Python's numbers.
        event = value[3, 2, 1]
        repeated = method(np.broadcast_to(event, value.shape))
        assert_same_bits(method(event), repeated[0])
        assert_same_bits(method(np.broadcast_to(event, (5, 1, 3, *event.shape))), repeated[:5])
        if dtype is np.float64:
            assert_same_bits(method(value[:2].tolist()), many[:2])
            assert_same_bits(method(event.tolist()), repeated[0])
        # A wider value makes a wider result, in calls of every size.
        wide = value.astype(np.float64)
        assert_same_bits(method(wide)[:2], method(wide[:2]))
        if n_event == 0:
            out = value.copy()
            assert method(out, out=out) is out
            assert_same_bits(out, many)
            memory = np.empty((MANY + 1, 4, 3), dtype)
            memory[1:] = value
            assert_same_bits(method(memory[1:], out=memory[:-1]).copy(), many), name


def of_the_batch(d):
    """Methods without a value, with `out`, and those of pairs."""
    yield d.entropy
    yield d.perplexity
    if not type(d).__name__.startswith(("Student", "LogNormal")):

        def divergence(**kwargs):
            return fd.kl_divergence(d, d[..., ::-1], **kwargs)

        yield divergence


@dtypes
@every
def test_methods_of_the_batch(kind, dtype, isa):
    """Of a large batch, which repeats: each part is that of a small one."""
    d = made(kind, dtype)
    for method, large in zip(of_the_batch(d), of_the_batch(d.expand((MANY, 4, 3))), strict=True):
        few = method()
        assert_same_bits(method(), few)
        many = large()
        for n in (0, MANY // 2, MANY - 1):
            assert_same_bits(many[n].copy(), few)
        for layout in OUTS:
            assert_same_bits(into(method, layout=layout), few)
            assert_same_bits(into(large, layout=layout), many)


@dtypes
@every
def test_moments(kind, dtype, isa):
    d = made(kind, dtype)
    for name in ("mean", "mode", "variance", "stddev"):
        if kind in USER_WRITTEN and ("LogNormal" in kind or "Student" in kind):
            with pytest.raises(NotImplementedError):
                getattr(d, name)
            continue
        first, again, wide = getattr(d, name), getattr(d, name), getattr(d.expand((MANY, 4, 3)), name)
        assert first.shape == d.batch_shape + d.event_shape
        assert_same_bits(first.copy(), again.copy())
        assert_same_bits(wide[MANY // 2].copy(), first.copy())


@dtypes
@every
def test_vjp(kind, dtype, isa):
    """Values are the methods', and gradients by values each one's own, in calls of every size."""
    d = made(kind, dtype)
    for n in (2, MANY):
        out = np.full((n, *d.batch_shape, *d.event_shape), 7, dtype)
        for kwargs in ({}, {"out": out}):
            x, pullback = fd.vjp(d.rsample, n, rng=3, **kwargs)
            assert_same_bits(x, d.sample(n, rng=3))
            ones = flat(pullback(np.ones_like(x)))
            for name, one in flat(pullback(1.0)).items():
                assert_same_bits(one, ones[name])
    assert_same_bits(fd.vjp(d.rsample, rng=3)[0], d.sample(rng=3))
    if kind in ("Student", "LogNormal"):
        return
    value = d.sample(MANY, rng=1)
    many, pullback = fd.vjp(d.log_prob, value)
    by_value = pullback(1.0)["value"]
    assert_same_bits(many, d.log_prob(value))
    for n in (1, 2, 40):
        out = np.empty_like(many[:n])
        few, pullback = fd.vjp(d.log_prob, value[:n], out=out)
        assert few is out
        assert_same_bits(few, many[:n])
        assert_same_bits(pullback(1.0)["value"], by_value[:n])
    assert_same_bits(fd.vjp(d.entropy)[0], d.entropy())


def flat(gradients):
    return next(iter(gradients.values())) if isinstance(next(iter(gradients.values())), dict) else gradients


def test_many_scales():
    """So many that their logarithms are not kept."""
    n = implementation.KEPT // 4 + 1
    g = np.random.default_rng(0)
    loc, scale = g.normal(size=(4, n)), g.uniform(0.5, 2, (4, n))
    d, x = fd.Normal(loc, scale), g.normal(size=(2, 4, n))
    assert scale.size > implementation.KEPT
    few = fd.Normal(loc[:, :5], scale[:, :5])
    assert_same_bits(np.ascontiguousarray(d.log_prob(x)[..., :5]), few.log_prob(x[..., :5]))
    assert_same_bits(np.ascontiguousarray(d.log_prob(x[0])[..., :5]), few.log_prob(x[0, :, :5]))
    assert_same_bits(np.ascontiguousarray(d.log_prob(x[0, 0, :1])[..., :5]), few.log_prob(x[0, 0, :1]))
    single = d.log_prob(x[0].astype(np.float32).astype(np.float64))
    narrow = fd.Normal(loc.astype(np.float32), scale.astype(np.float32))
    assert narrow.log_prob(x[0]).dtype == single.dtype == np.float64
    x32 = x[0].astype(np.float32)
    assert_same_bits(
        np.ascontiguousarray(narrow.log_prob(x32)[:, :5]),
        fd.Normal(loc[:, :5].astype(np.float32), scale[:, :5].astype(np.float32)).log_prob(x32[:, :5]),
    )
    for n_event in (1, 2):
        ind = fd.Independent(d, n_event)
        np.testing.assert_allclose(ind.log_prob(x), d.log_prob(x).sum(tuple(range(-n_event, 0))), rtol=1e-12)


# ---- shapes ----------------------------------------------------------------------------------------


def batches(dtype):
    """Batches and broadcasts of all kinds."""
    g = np.random.default_rng(3)

    def normal(loc, scale):
        return fd.Normal(g.normal(size=loc).astype(dtype), g.uniform(0.5, 2, scale).astype(dtype))

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
        yield Laplace(d.loc, d.scale)
    for dim in (1, 2, 3, 5, 16, 17):
        for name, (loc, matrix) in itertools.product(
            MATRICES, (((), ()), ((3,), (3,)), ((3,), ()), ((), (3,)), ((2, 3), (3,)), ((2, 1), (1, 3)))
        ):
            tril = random_tril(g, (*matrix, dim, dim), dtype)
            d = fd.MultivariateNormal(
                g.normal(size=(*loc, dim)).astype(dtype), **{name: matrix_of(name, tril)}
            )
            yield d
        yield fd.Independent(d, 1)
    yield normal((1,) * 9, (2,) * 9)


@dtypes
def test_draws_of_all_batches(dtype, isa):
    for d in batches(dtype):
        many = d.sample(16, rng=5)
        for shape in ((), 1, 4, (2, 3), (1, 1, 1, 1), (5, 0), (2, 8)):
            n = int(np.prod(shape, dtype=int))
            ours, theirs = fd.default_rng(5), fd.default_rng(5)
            got = d.sample(shape, rng=ours)
            assert_same_bits(got, many[:n].reshape(got.shape))
            assert_same_bits(into_draw(d.rsample, shape, fd.default_rng, "read-write"), got)
            fd.standard_normal(
                n * np.prod(many.shape[1:], dtype=int) * (d.normals_per_event or 1), dtype=dtype, rng=theirs
            )
            assert state_of(ours) == state_of(theirs)
        numbers = [np.random.default_rng(5) for _ in range(2)]
        assert_same_bits(d.rsample((3,), rng=numbers[0]), d.sample(3, rng=numbers[1]))


@dtypes
def test_densities_of_all_batches(dtype, isa):
    g = np.random.default_rng(0)
    for d in batches(dtype):
        value = g.normal(size=(6, *d.batch_shape, *d.event_shape)).astype(dtype)
        if value.size:
            value.flat[0] = np.inf
        whole = d.log_prob(value)
        for shape in ((), (4,), (2, 3), (0,), (1,)):
            n = int(np.prod(shape, dtype=int))
            some = value[:n].reshape(shape + value.shape[1:])
            wanted = whole[:n].reshape(shape + d.batch_shape)
            assert_same_bits(d.log_prob(some), wanted)
            assert_same_bits(
                into(d.log_prob, some, layout="strided") if wanted.ndim else d.log_prob(some), wanted
            )
            assert_same_bits(d.log_prob(some.copy(order="F")), wanted)
            wide = d.log_prob(value.astype(np.float64))[:n].reshape(wanted.shape)
            assert_same_bits(d.log_prob(some.astype(np.float64)), wide)
            if some.size and some.ndim:  # an empty array loses its shape as a list, a number is of no dtype
                assert_same_bits(d.log_prob(some.tolist()), wide)
        event = np.zeros(d.event_shape, dtype)
        assert_same_bits(d.log_prob(event), d.log_prob(np.zeros(d.batch_shape + d.event_shape, dtype)))


# ---- copies, constructors ----------------------------------------------------------------------------


@dtypes
@every
def test_copies_and_parts_have_calls_of_their_own(kind, dtype):
    """What a distribution has made for its calls is not another's."""
    d = made(kind, dtype)
    x = d.sample((2,), rng=0)
    d.log_prob(x)
    for other in (copy.copy(d), copy.deepcopy(d), pickle.loads(pickle.dumps(d))):
        assert_same_bits(other.sample((2,), rng=0), x)
        assert_same_bits(other.log_prob(x), d.log_prob(x))
        assert_same_bits(other.entropy(), d.entropy())
    part, wide = d[1:3], d.expand((2, 4, 3))
    fresh = made(kind, dtype)
    for one, other in ((part, fresh[1:3]), (wide, fresh.expand((2, 4, 3)))):
        assert_same_bits(one.sample(rng=0), other.sample(rng=0))
        y = one.sample(3, rng=1)
        assert_same_bits(one.log_prob(y), other.log_prob(y))
        assert_same_bits(one.entropy(), other.entropy())
    assert wide.sample(rng=0).shape == (2, *x.shape[1:])


def test_a_result_is_the_callers_own():
    d = random_normal()
    a, b = d.sample(rng=0), d.sample(rng=0)
    a[...] = 0
    assert a.flags.owndata
    assert not np.shares_memory(a, b)
    assert (b != 0).all()
    a, b = d.entropy(), d.entropy()
    a[...] = 0
    assert a.flags.owndata
    assert (b != 0).all()


@dtypes
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
