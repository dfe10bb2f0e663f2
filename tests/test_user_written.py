"""Distributions written from public names alone have the whole contract, as the package's own."""

import copy
import doctest
import inspect
import pickle

import numpy as np
import pytest
from cases import DTYPES, LAYOUTS, assert_same_bits, state_of
from numpy.random import PCG64, Generator
from user_written import USER_WRITTEN, Laplace, LogNormal, Student, spread, user_written

import fastdist as fd
from fastdist import constraints

INDICES = [0, (slice(1, 3), 1), (..., None), slice(None, None, -1), [2, 0, 2], np.eye(4, 3, dtype=bool)]
COPIES = [copy.copy, copy.deepcopy, *(lambda d, n=n: pickle.loads(pickle.dumps(d, n)) for n in range(6))]

kinds = pytest.mark.parametrize("kind", USER_WRITTEN)
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def by_hand(d, n, seed):
    """`n` draws, from the normals of a seed."""
    if isinstance(d, fd.Independent):
        return by_hand(d.base_dist, n, seed)
    if isinstance(d, LogNormal):
        return np.exp(d.normal.sample(n, rng=seed))
    eps = fd.standard_normal((n, *d.batch_shape, d.normals_per_event), dtype=d.dtype, rng=seed)
    if isinstance(d, Student):
        return d.loc + (d.scale_tril * spread(eps)[..., np.newaxis, :]).sum(-1)
    return d.loc + d.scale * (eps[..., 0] * eps[..., 3] - eps[..., 1] * eps[..., 2])


def n_normal(d):
    """How many normals a draw of the whole batch takes."""
    size = int(np.prod(d.batch_shape))
    if isinstance(d, fd.Independent):
        return n_normal(d.base_dist)
    return size if isinstance(d, LogNormal) else size * d.normals_per_event


@pytest.mark.parametrize("cls", [fd.Distribution, fd.Wrapper], ids=lambda cls: cls.__name__)
def test_the_examples_of_docstrings(cls):
    examples = doctest.DocTestParser().get_doctest(inspect.getdoc(cls), {}, cls.__name__, None, None)
    assert len(examples.examples) > 3
    assert doctest.DocTestRunner().run(examples).failed == 0


# ---- draws -----------------------------------------------------------------------------------------


@dtypes
@kinds
def test_draws_are_what_they_say(kind, dtype):
    d = user_written(dtype)[kind]
    wanted = by_hand(d, 6, 0)
    assert wanted.dtype == d.dtype == dtype
    for method in (d.sample, d.rsample):
        assert_same_bits(method(6, rng=0), wanted)
        assert_same_bits(method((2, 3), rng=fd.default_rng(0)), wanted.reshape(2, 3, *wanted.shape[1:]))
        assert_same_bits(method(rng=fd.BlockSFC64(0)), by_hand(d, 1, 0)[0])
        assert method((2, 0), rng=0).shape == (2, 0, *d.batch_shape, *d.event_shape)
    assert d.sample().shape == d.batch_shape + d.event_shape
    ours, theirs = PCG64(3), PCG64(3)
    for n in (1, 5):
        assert_same_bits(d.sample(n, rng=ours), by_hand(d, n, theirs))


@pytest.mark.parametrize("default_rng", [fd.default_rng, np.random.default_rng])
@dtypes
@kinds
def test_a_draw_takes_as_many_normals_as_it_says(kind, dtype, default_rng):
    d = user_written(dtype)[kind]
    for n in (0, 1, 7, 5000):
        ours, theirs = default_rng(1), default_rng(1)
        d.sample(n, rng=ours)
        fd.standard_normal(n * n_normal(d), dtype=dtype, rng=theirs)
        assert state_of(ours) == state_of(theirs)


@pytest.mark.parametrize("n", [1, 2, 8191, 8192, 8193, 20_000])
def test_draws_of_many_tiles(n):
    """Some samples at a time are made; where one tile ends and the next begins is not to be seen."""
    for d in (Laplace(0.5, 2.0), Laplace(np.zeros(3), [1.0, 2.0, 3.0])):
        assert_same_bits(d.sample(n, rng=4), by_hand(d, n, 4))


def test_a_sample_larger_than_a_tile():
    d = Laplace(np.zeros(50_000), 1.0)
    assert_same_bits(d.sample(2, rng=4), by_hand(d, 2, 4))


@kinds
def test_workers_leave_the_bits_alone(kind):
    d = user_written()[kind]
    assert_same_bits(d.sample(50_000, rng=2, workers=2), d.sample(50_000, rng=2, workers=1))
    with fd.set_workers(2):
        assert_same_bits(d.sample(50_000, rng=2), by_hand(d, 50_000, 2))


@dtypes
@kinds
def test_draws_into_out(kind, dtype):
    d = user_written(dtype)[kind]
    for n in (3, 3000):
        wanted = by_hand(d, n, 0)
        for layout in ("Fortran", "strided", "negative strides", "byte-swapped", "unaligned"):
            out = LAYOUTS[layout](np.zeros_like(wanted))
            for method in (d.sample, d.rsample):
                out[...] = 0
                assert method(n, rng=0, out=out) is out
                assert_same_bits(out.astype(dtype, order="C"), wanted)


def test_what_hooks_get():
    """Whole draws of a batch, however they are asked for; views of parameters as the user sees them."""

    class Watched(fd.Distribution):
        arg_constraints = {"loc": constraints.real_vector, "scale": constraints.positive}  # noqa: RUF012
        normals_per_event = 3

        def draw(self, eps, out):
            seen.append((eps.shape, out.shape, eps.dtype, out.dtype))
            assert self.loc.shape == (4, 3, 2)
            assert self.scale.shape == (4, 3)
            assert not self.loc.flags.writeable
            out[...] = 1

        def log_density(self, value):
            seen.append((value.shape, value.dtype))
            return np.zeros(value.shape[:-1])

    seen, float32 = [], np.dtype(np.float32)
    d = Watched(np.zeros((4, 1, 2), float32), np.ones(3, float32))
    assert d.batch_shape == (4, 3)
    assert d.event_shape == (2,)
    assert (d.sample((2, 5)) == 1).all()
    fd.Independent(d, 1).sample()
    assert seen == [((n, 4, 3, 3), (n, 4, 3, 2), float32, float32) for n in (10, 1)]
    seen.clear()
    for value, dtype in ((np.zeros((7, 1, 3, 2)), np.float64), (np.zeros((7, 1, 3, 2), float32), float32)):
        assert_same_bits(d.log_prob(value), np.zeros((7, 4, 3), dtype))
    d.log_prob([0.0, 0.0])
    assert seen == [
        ((7, 1, 3, 2), np.dtype(np.float64)),
        ((7, 1, 3, 2), float32),
        ((2,), np.dtype(np.float64)),
    ]


def test_a_draw_may_draw():
    """From the very generator that it has its normals from: these were taken before."""

    class Nested(Laplace):
        def draw(self, eps, out):
            super().draw(eps, out)
            drawn.append(fd.standard_normal(5, rng=g))

    drawn, g, plain = [], fd.default_rng(0), fd.default_rng(0)
    x = Nested(0.0, 1.0).sample(20_000, rng=g)
    assert_same_bits(x, by_hand(Laplace(0.0, 1.0), 20_000, plain))
    assert len(drawn) == 3
    for one in drawn:
        assert_same_bits(one, fd.standard_normal(5, rng=plain))


def test_a_draw_that_fails_leaves_the_generator_at_its_end():
    class Failing(Laplace):
        def draw(self, eps, out):
            raise ZeroDivisionError

    ours, theirs = fd.default_rng(0), fd.default_rng(0)
    with pytest.raises(ZeroDivisionError):
        Failing(0.0, 1.0).sample(20_000, rng=ours)
    fd.standard_normal(80_000, rng=theirs)
    assert state_of(ours) == state_of(theirs)


# ---- densities and entropies -----------------------------------------------------------------------


def exact_log_prob(d, value):
    """By formulas of one's own, in float64; `value` in the full shape."""
    value = value.astype(float)
    if isinstance(d, fd.Independent):
        return exact_log_prob(d.base_dist, value).sum(-1)
    if isinstance(d, LogNormal):
        z = (np.log(value) - d.normal.loc) / d.normal.scale
        return -z * z / 2 - np.log(value * d.normal.scale * np.sqrt(2 * np.pi))
    if isinstance(d, Student):
        inverse = np.linalg.inv(d.scale_tril.astype(float))
        z = (inverse @ (value - d.loc)[..., np.newaxis])[..., 0]
        peak = 15 / 8 * np.sqrt(np.pi) / (2 * np.pi) ** 2.5 * np.linalg.det(inverse)
        return np.log(peak * (1 + (z * z).sum(-1) / 2) ** -3.5)
    return np.log(np.exp(-abs(value - d.loc) / d.scale) / (2 * d.scale))


@dtypes
@kinds
def test_densities(kind, dtype):
    d = user_written(dtype)[kind]
    for n in (2, 3000):
        value = d.sample(n, rng=0)
        got = d.log_prob(value)
        assert got.dtype == dtype
        np.testing.assert_allclose(
            got, exact_log_prob(d, value), rtol=40 * np.finfo(dtype).eps, atol=40 * np.finfo(dtype).eps
        )
        assert_same_bits(d.prob(value), np.exp(got))
        for layout in ("Fortran", "strided", "byte-swapped", "read-only", "subclass"):
            assert_same_bits(d.log_prob(LAYOUTS[layout](value)), got)
        for layout in ("strided", "Fortran"):
            for method, wanted in ((d.log_prob, got), (d.prob, d.prob(value))):
                out = LAYOUTS[layout](np.zeros_like(got))
                assert method(value, out=out) is out
                assert_same_bits(out.copy(order="C"), wanted)
    wide = d.log_prob(value.astype(np.float64))
    assert wide.dtype == np.float64
    np.testing.assert_allclose(wide, got, rtol=1e-4, atol=1e-4)
    one = np.full(d.event_shape, 0.5, dtype)
    assert_same_bits(d.log_prob(one), d.log_prob(np.broadcast_to(one, (4, 3, *d.event_shape))))
    assert_same_bits(d.log_prob(value[:, :1]), d.log_prob(np.broadcast_to(value[:, :1], value.shape)))


def test_out_may_be_the_value():
    d = Laplace(np.arange(3.0), 2.0)
    value = np.linspace(-1, 1, 12).reshape(4, 3)
    wanted = d.log_prob(value)
    assert d.log_prob(value, out=value) is value
    assert_same_bits(value, wanted)


@dtypes
@kinds
def test_entropies(kind, dtype):
    """The mean of minus the log density."""
    d = user_written(dtype)[kind]
    got = d.entropy()
    assert (got.shape, got.dtype) == ((4, 3), dtype)
    surprise = -exact_log_prob(d, d.sample(20_000, rng=7))
    error = surprise.std(0) / np.sqrt(len(surprise))
    assert (abs(surprise.mean(0) - got) < 5 * error).all()
    assert_same_bits(d.perplexity(), np.exp(got))
    for method in (d.entropy, d.perplexity):
        out = np.zeros((3, 4), dtype).T
        assert method(out=out) is out
        assert_same_bits(out.copy(order="C"), method())


def test_the_entropy_of_a_student_of_any_dim():
    for dim in (1, 2, 3, 4, 7):
        d = Student(np.zeros(dim), np.eye(dim))
        surprise = -d.log_prob(d.sample(100_000, rng=dim))
        assert abs(surprise.mean() - d.entropy()) < 5 * surprise.std() / np.sqrt(len(surprise))
    assert Student(np.zeros(2), np.eye(2)).entropy() == pytest.approx(np.log(2 * np.pi) + 2)


# ---- other batches, copies, parameters ---------------------------------------------------------------


@pytest.mark.parametrize("index", INDICES, ids=repr)
@kinds
def test_parts(kind, index):
    d = user_written()[kind]
    part = d[index]
    core = (slice(None),) * len(d.event_shape)
    entries = index if isinstance(index, tuple) else (index,)
    entries = entries if any(entry is ... for entry in entries) else (*entries, ...)
    assert type(part) is type(d)
    assert part.event_shape == d.event_shape
    value = d.sample(rng=0)
    np.testing.assert_allclose(part.log_prob(value[entries + core]), d.log_prob(value)[index], rtol=1e-13)
    np.testing.assert_allclose(part.entropy(), d.entropy()[index], rtol=1e-14)
    assert_same_bits(part.sample(5, rng=0), by_hand(part, 5, 0))


@kinds
def test_expand_and_iterate(kind):
    d = user_written()[kind]
    wide = d.expand((2, 4, 3))
    assert wide.batch_shape == (2, 4, 3)
    assert_same_bits(wide.sample(5, rng=0), d.sample((5, 2), rng=0))
    assert_same_bits(wide.log_prob(wide.sample(rng=0)), d.log_prob(d.sample(2, rng=0)))
    assert_same_bits(wide.entropy(), np.broadcast_to(d.entropy(), (2, 4, 3)).copy())
    assert len(d) == 4
    for row, mean in zip(d, d.entropy(), strict=True):
        np.testing.assert_allclose(row.entropy(), mean, rtol=1e-14)
    with pytest.raises(ValueError, match=r"batch_shape \(4, 3\) does not broadcast to \(4, 2\)"):
        d.expand((4, 2))


@pytest.mark.parametrize("axis", [0, 1, -1])
@kinds
def test_stack(kind, axis):
    parts = [user_written()[kind], user_written()[kind][::-1]]
    whole = fd.stack(parts, axis)
    assert type(whole) is type(parts[0])
    value = np.full(whole.event_shape, 0.5)
    np.testing.assert_allclose(
        whole.log_prob(value), np.stack([d.log_prob(value) for d in parts], axis), rtol=1e-13
    )
    assert fd.stack([parts[0], user_written(np.float32)[kind]]).dtype == np.float64


@pytest.mark.parametrize("make", COPIES)
@dtypes
@kinds
def test_copies(kind, dtype, make):
    d = user_written(dtype)[kind]
    value = d.sample(2, rng=0)
    for one, other in ((make(d), d), (make(d[1:]).expand((2, 3, 3)), d[1:].expand((2, 3, 3)))):
        assert (type(one), repr(one), one.dtype) == (type(other), repr(other), dtype)
        assert_same_bits(one.sample(2, rng=0), other.sample(2, rng=0))
        assert_same_bits(one.entropy(), other.entropy())
    assert_same_bits(make(d).log_prob(value), d.log_prob(value))


def test_parameters():
    d = Laplace(np.zeros((3, 1), np.float32), 2.0, validate_args=False)
    assert list(d.parameters) == ["loc", "scale", "validate_args"]
    assert d.parameters["loc"].shape == (3, 1)
    assert d.parameters["scale"].shape == ()
    assert d.parameters["validate_args"] is False
    assert d.loc.shape == d.scale.shape == (3, 1)
    assert d.expand((3, 2)).parameters["scale"].shape == (3, 2)
    for name in ("loc", "scale"):
        assert not d.parameters[name].flags.writeable
        assert getattr(d, name).dtype == np.float32
    moved = d.replace(loc=[1.0, 2.0])
    assert (type(moved), moved.batch_shape, moved.dtype) == (Laplace, (2,), np.float64)
    with pytest.raises(ValueError, match=r"scale must be positive and finite: shape \(2,\), scale\[1\] = -1"):
        Laplace(0.0, 1.0).replace(scale=[1.0, -1.0])
    for kind, one in user_written().items():
        again = one.replace()
        assert type(again) is type(one)
        assert_same_bits(again.sample(2, rng=0), one.sample(2, rng=0))
        if kind != "LogNormal":
            with pytest.raises(TypeError):
                one.parameters["loc"] = 0


def test_what_is_passed_is_copied_unless_it_is_lent():
    loc, lent = np.zeros(3), np.zeros(3)
    lent.flags.writeable = False
    d, e = Laplace(loc, 1.0), Laplace(lent, 1.0)
    loc[...] = 5
    assert (d.loc == 0).all()
    assert np.shares_memory(e.loc, lent)


def test_reprs():
    d = user_written()
    assert repr(d["Laplace"]) == "Laplace(loc: (4, 3), scale: (4, 3))"
    assert repr(d["Laplace"][0, 0].replace(loc=0.5, scale=2.0)) == "Laplace(loc: 0.5, scale: 2.0)"
    assert repr(d["Student"]) == "Student(loc: (4, 3, 5), scale_tril: (4, 3, 5, 5))"
    assert repr(d["LogNormal"][0]) == "LogNormal(normal: Normal(loc: (3,), scale: (3,)))"
    assert repr(d["Independent(Laplace)"]) == "Independent(Laplace(loc: (4, 3, 2), scale: (4, 3, 2)), 1)"


def test_what_it_says_of_itself():
    d = Laplace(np.zeros(3), [1.0, 2.0, 3.0])
    assert d.support is constraints.real
    assert d.has_rsample
    assert_same_bits(d.variance, np.array([2.0, 8.0, 18.0]))
    assert_same_bits(d.stddev, np.sqrt(d.variance))
    ind = fd.Independent(d, 1)
    assert ind.support == constraints.independent(constraints.real, 1)
    for name in ("mean", "mode", "variance", "stddev"):
        assert_same_bits(np.array(getattr(ind, name)), np.array(getattr(d, name)))
    assert Laplace.loc.__doc__ == "Parameter `loc`, in the shape of the batch, read-only."


def test_independent_sums():
    base = user_written()["Laplace"]
    value = base.sample((5, 2), rng=0)
    for n, axes in ((0, ()), (1, -1), (2, (-1, -2))):
        d = fd.Independent(base, n)
        assert (d.batch_shape, d.event_shape) == ((4, 3)[: 2 - n], (4, 3)[2 - n :])
        assert_same_bits(d.sample((5, 2), rng=0), value)
        wanted = base.log_prob(value).sum(axes) if n else base.log_prob(value)
        np.testing.assert_allclose(d.log_prob(value), wanted, rtol=1e-14)
        np.testing.assert_allclose(d.entropy(), base.entropy().sum(axes) if n else base.entropy(), rtol=1e-15)
        event = np.full(d.event_shape, 0.5)
        np.testing.assert_allclose(
            d.log_prob(event), base.log_prob(0.5).sum(axes) if n else base.log_prob(0.5), rtol=1e-14
        )
    students = user_written()["Student"]
    value = students.sample(6, rng=0)
    nested = fd.Independent(fd.Independent(students, 1), 1)
    assert nested.event_shape == (4, 3, 5)
    np.testing.assert_allclose(nested.log_prob(value), students.log_prob(value).sum((1, 2)), rtol=1e-14)
    repeated = fd.Independent(Laplace(0.0, 1.0).expand((2, 1000)), 1)
    np.testing.assert_allclose(repeated.log_prob(np.zeros(1000)), [-1000 * np.log(2)] * 2, rtol=1e-13)
    np.testing.assert_allclose(repeated.entropy(), [1000 * (1 + np.log(2))] * 2, rtol=1e-13)


# ---- gradients and divergences -----------------------------------------------------------------------


def moved(d, direction, h):
    return type(d)(
        **{name: array + h * direction[name] for name, array in d.parameters.items() if name in direction}
    )


def directions(d, g):
    """A random change of each array parameter, of its own shape."""
    arrays = {name: array for name, array in d.parameters.items() if isinstance(array, np.ndarray)}
    changes = {name: g.normal(size=array.shape) for name, array in arrays.items()}
    return {name: np.tril(one) if name == "scale_tril" else one for name, one in changes.items()}


def assert_derivative(f, inner):
    h = 1e-4
    assert (f(h) - f(-h)) / (2 * h) == pytest.approx(inner, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("kind", ["Laplace", "Student"])
@pytest.mark.parametrize("reinterpreted", [0, 1, 2])
def test_gradients_of_draws(kind, reinterpreted):
    d, g = user_written()[kind], np.random.default_rng(0)
    direction = directions(d, g)
    for rng in (5, PCG64(5)):
        x, pullback = fd.vjp(fd.Independent(d, reinterpreted).rsample, (3,), rng=rng)
        c = g.normal(size=x.shape)
        gradients = pullback(c)
        assert {name: one.shape for name, one in gradients.items()} == {
            name: one.shape for name, one in direction.items()
        }
        for name, one in pullback(c).items():
            assert_same_bits(one, gradients[name])

        def loss(h, rng=rng, c=c):
            again = 5 if rng == 5 else PCG64(5)
            return np.sum(c * moved(d, direction, h).sample(3, rng=again))

        assert_derivative(loss, sum(np.sum(one * direction[name]) for name, one in gradients.items()))


@pytest.mark.parametrize("reinterpreted", [0, 1, 2])
def test_gradients_of_densities_and_entropies(reinterpreted):
    d, g = user_written()["Laplace"], np.random.default_rng(1)
    direction = directions(d, g)
    value = d.sample((2, 1), rng=3)
    change = g.normal(size=value.shape)

    def made(h):
        return fd.Independent(moved(d, direction, h), reinterpreted)

    kept = value.copy()
    out, pullback = fd.vjp(made(0).log_prob, value)
    value[...] = np.nan  # the rule has a record of its own
    c = g.normal(size=out.shape)
    gradients = pullback(c)
    assert gradients["value"].shape == value.shape
    inner = sum(np.sum(one * {**direction, "value": change}[name]) for name, one in gradients.items())
    assert_derivative(lambda h: np.sum(c * made(h).log_prob(kept + h * change)), inner)

    out, pullback = fd.vjp(made(0).entropy)
    c = g.normal(size=out.shape)
    inner = sum(np.sum(one * direction[name]) for name, one in pullback(c).items())
    assert_derivative(lambda h: np.sum(c * made(h).entropy()), inner)


@kinds
def test_values_of_vjp_are_the_methods(kind):
    d = user_written(np.float32)[kind]
    ours, theirs = fd.default_rng(0), fd.default_rng(0)
    x, pullback = fd.vjp(d.rsample, 3000, rng=ours)
    assert_same_bits(x, d.rsample(3000, rng=theirs))
    assert state_of(ours) == state_of(theirs)
    out = np.zeros_like(x)
    assert fd.vjp(d.rsample, 3000, rng=0, out=out)[0] is out
    assert_same_bits(out, x)
    wanted = pullback(np.ones_like(x))
    x[...] = np.nan  # the pullback has a record of the value
    got = pullback(1.0)
    if kind == "LogNormal":
        got, wanted = got["normal"], wanted["normal"]
    for name, one in got.items():
        assert one.dtype == np.float32
        assert_same_bits(one, wanted[name])


def test_gradients_by_what_is_held():
    """Nested, under its name among the parameters, in the shapes of its own parameters."""
    d, g = user_written()["LogNormal"], np.random.default_rng(0)
    normal = d.normal
    x, pullback = fd.vjp(fd.Independent(d, 1).rsample, (5,), rng=0)
    c = g.normal(size=x.shape)
    gradients = pullback(c)
    assert list(gradients) == ["normal"]
    assert {name: one.shape for name, one in gradients["normal"].items()} == {"loc": (4, 3), "scale": (3,)}
    direction = {"loc": g.normal(size=(4, 3)), "scale": g.normal(size=3)}
    assert_derivative(
        lambda h: np.sum(c * LogNormal(moved(normal, direction, h)).sample(5, rng=0)),
        sum(np.sum(one * direction[name]) for name, one in gradients["normal"].items()),
    )


def test_rules_get_the_value_of_their_own_distribution():
    """Inside an Independent that of the base, before it is summed."""

    class Mine(Laplace):
        pass

    d, seen = Mine(np.zeros((2, 3)), 1.0), []

    def rule(*_):
        return lambda g, value: seen.append((g.shape, value)) or {}

    def rule_of_pairs(*_):
        return lambda g, value: seen.append((g.shape, value)) or ({}, {})

    for name in ("rsample", "log_prob", "entropy"):
        fd.register_vjp(name, Mine)(rule)
    fd.register_kl(Mine, Mine)(lambda p, q: np.full((2, 3), 5.0))
    fd.register_vjp("kl_divergence", Mine, Mine)(rule_of_pairs)
    for wrapped in (d, fd.Independent(d, 1), fd.Independent(fd.Independent(d, 1), 1)):
        for differentiate, of_base in (
            (lambda d: fd.vjp(d.rsample, 4, rng=0), d.rsample(4, rng=0)),
            (lambda d: fd.vjp(d.log_prob, np.ones((2, 3))), d.log_prob(np.ones((2, 3)))),
            (lambda d: fd.vjp(d.entropy), d.entropy()),
            (lambda d: fd.vjp(fd.kl_divergence, d, d), np.full((2, 3), 5.0)),
        ):
            differentiate(wrapped)[1](1.0)
            shape, value = seen.pop()
            assert shape == value.shape
            assert_same_bits(value, of_base)


def test_divergences():
    p, q = user_written()["Laplace"], user_written()["Laplace"][::-1].replace(scale=0.75)
    got = fd.kl_divergence(p, q)
    x = p.sample(20_000, rng=0)
    difference = p.log_prob(x) - q.log_prob(x)
    assert (abs(difference.mean(0) - got) < 5 * difference.std(0) / np.sqrt(len(x))).all()
    assert_same_bits(fd.kl_divergence(p, p), np.zeros((4, 3)))
    out = np.empty((3, 4)).T
    assert fd.kl_divergence(p, q, out=out) is out
    assert_same_bits(out.copy(order="C"), got)
    sums = fd.kl_divergence(fd.Independent(p, 1), fd.Independent(q, 1))
    np.testing.assert_allclose(sums, got.sum(-1), rtol=1e-14)
    assert fd.kl_divergence(p[:1], q[0]).shape == (1, 3)
    g = np.random.default_rng(2)
    sides = [directions(p, g), directions(q, g)]
    for n in (0, 1):
        value, pullback = fd.vjp(fd.kl_divergence, *(fd.Independent(d, n) for d in (p, q)))
        c = g.normal(size=value.shape)
        gradients = pullback(c)
        inner = sum(
            np.sum(one * change[name])
            for side, change in zip("pq", sides, strict=True)
            for name, one in gradients[side].items()
        )

        def loss(h, n=n, c=c):
            moves = (fd.Independent(moved(d, change, h), n) for d, change in zip((p, q), sides, strict=True))
            return np.sum(c * fd.kl_divergence(*moves))

        assert_derivative(loss, inner)
    for pair in ((p, fd.Normal(0.0, 1.0)), (fd.Normal(0.0, 1.0), p)):
        with pytest.raises(NotImplementedError, match=r"no KL divergence is registered .* see register_kl"):
            fd.kl_divergence(*pair)


# ---- statistics ----------------------------------------------------------------------------------------


def kolmogorov_smirnov(probabilities):
    """Distance of a sample from the uniform distribution, times the root of its size: above 1.95 in one of 1000."""
    p = np.sort(np.asarray(probabilities).ravel())
    n = len(p)
    return np.sqrt(n) * max(np.abs(p - np.arange(n) / n).max(), np.abs(np.arange(1, n + 1) / n - p).max())


def laplace_cdf(x, loc, scale):
    z = (x - loc) / scale
    return np.where(z < 0, np.exp(np.minimum(z, 0)) / 2, 1 - np.exp(-np.maximum(z, 0)) / 2)


def student_cdf(t):
    return 0.5 + t / (2 * np.sqrt(2 + t * t))


@dtypes
def test_draws_are_of_their_law(dtype):
    """24 tests, each false in one of 1000; the seeds are fixed."""
    d = user_written(dtype)
    for rng in (12, PCG64(12)):
        x = d["Laplace"].sample(10_000, rng=rng)
        assert kolmogorov_smirnov(laplace_cdf(x, d["Laplace"].loc, d["Laplace"].scale)) < 1.95
        student = d["Student"]
        inverse = np.linalg.inv(student.scale_tril.astype(float))
        z = (inverse @ (student.sample(10_000, rng=rng) - student.loc)[..., np.newaxis])[..., 0]
        for direction in (*np.eye(5)[[0, 4]], np.ones(5) / np.sqrt(5)):
            assert kolmogorov_smirnov(student_cdf(z @ direction)) < 1.95
        x = d["LogNormal"].sample(10_000, rng=rng)
        assert kolmogorov_smirnov(d["LogNormal"].normal.cdf(np.log(x.astype(float)))) < 1.95
        pairs = d["Independent(Laplace)"]
        x = pairs.sample(10_000, rng=rng)
        assert kolmogorov_smirnov(laplace_cdf(x, pairs.base_dist.loc, pairs.base_dist.scale)) < 1.95
        # elements of a pair are independent
        signs = np.sign(x - pairs.base_dist.loc)
        assert abs(signs[..., 0] * signs[..., 1]).sum() == x.size / 2
        assert abs((signs[..., 0] * signs[..., 1]).sum()) < 3.3 * np.sqrt(x.size / 2)


# ---- missing pieces, bad input ---------------------------------------------------------------------------


class Bare(fd.Distribution):
    arg_constraints = {"loc": constraints.real}  # noqa: RUF012


class WithoutDraw(Bare):
    normals_per_event = 2
    has_rsample = True


class WithoutNumber(Bare):
    has_rsample = True

    def draw(self, eps, out):
        raise AssertionError


MISSING = [
    (
        Bare,
        lambda d, g, out: d.sample(2, rng=g, out=out),
        "has no draws: define draw(eps, out) and normals_per_event",
    ),
    (Bare, lambda d, g, out: d.rsample(2, rng=g, out=out), "has no reparameterised draws"),
    (WithoutDraw, lambda d, g, out: d.sample(2, rng=g, out=out), "has no draws: define draw(eps, out)"),
    (WithoutDraw, lambda d, g, out: d.rsample(2, rng=g, out=out), "has no draws: define draw(eps, out)"),
    (WithoutNumber, lambda d, g, out: d.sample(2, rng=g, out=out), "has no draws: define normals_per_event"),
    (WithoutNumber, lambda d, g, out: d.rsample(2, rng=g, out=out), "has no draws: define normals_per_event"),
    (Bare, lambda d, g, out: d.log_prob(out, out=out), "has no density: define log_density(value)"),
    (Bare, lambda d, g, out: d.prob(out, out=out), "has no density: define log_density(value)"),
    (Bare, lambda d, g, out: d.entropy(out=out[0]), "has no entropy: define event_entropy()"),
    (Bare, lambda d, g, out: d.perplexity(out=out[0]), "has no entropy: define event_entropy()"),
    (Bare, lambda d, g, out: d.mean, "has no mean: define mean"),
    (Bare, lambda d, g, out: d.mode, "has no mode: define mode"),
    (Bare, lambda d, g, out: d.variance, "has no variance: define variance"),
    (Bare, lambda d, g, out: d.stddev, "has no variance: define variance"),
    (Bare, lambda d, g, out: d.support, "has no support: define support"),
]


@pytest.mark.parametrize(("cls", "call", "message"), MISSING, ids=lambda x: getattr(x, "__name__", None))
def test_what_is_missing_is_named(cls, call, message):
    for d in (cls(np.zeros(3)), cls(np.zeros(3)).expand((2, 3)), fd.Independent(cls(np.zeros((2, 3))), 0)):
        for g in (fd.default_rng(0), np.random.default_rng(0)):
            before, out = state_of(g), np.full((2, *d.batch_shape), 7.0)
            with pytest.raises(NotImplementedError) as caught:
                call(d, g, out)
            name = "Independent" if "reparam" in message and isinstance(d, fd.Independent) else cls.__name__
            assert str(caught.value) == f"{name} {message}"
            assert state_of(g) == before
            assert (out == 7).all()


def test_rules_that_are_missing_are_named():
    d, g = WithoutDraw(np.zeros(3)), fd.default_rng(0)
    before = state_of(g)
    for call, hint in (
        (lambda: fd.vjp(d.rsample, rng=g), r"for WithoutDraw\.rsample; see register_vjp"),
        (lambda: fd.vjp(fd.Independent(d, 1).rsample, rng=g), r"for WithoutDraw\.rsample; see register_vjp"),
        (lambda: fd.vjp(d.log_prob, 0.0), r"for WithoutDraw\.log_prob; see register_vjp"),
        (lambda: fd.vjp(d.entropy), r"for WithoutDraw\.entropy; see register_vjp"),
        (lambda: fd.kl_divergence(d, d), "WithoutDraw and WithoutDraw; see register_kl"),
    ):
        with pytest.raises(NotImplementedError, match=hint):
            call()
    with pytest.raises(AttributeError, match="'WithoutDraw' object has no attribute 'cdf'"):
        d.cdf  # noqa: B018
    assert state_of(g) == before


def test_a_distribution_without_parameters():
    class Standard(fd.Distribution):
        arg_constraints = {}  # noqa: RUF012
        normals_per_event = 1

        def draw(self, eps, out):
            out[...] = abs(eps[..., 0])

    d = Standard()
    assert (d.batch_shape, d.event_shape, d.dtype) == ((), (), np.float64)
    assert_same_bits(d.expand(3).sample(2, rng=0), abs(fd.standard_normal((2, 3), rng=0)))
    assert repr(d) == "Standard()"
    assert dict(d.parameters) == {"validate_args": True}

    class Unsaid(fd.Distribution):
        pass

    for cls in (fd.Distribution, Unsaid):
        for arguments in ((), (0.0,)):
            with pytest.raises(
                NotImplementedError, match=f"{cls.__name__} has no parameters: define arg_constraints"
            ):
                cls(*arguments)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Laplace(), TypeError, r"Laplace\(\) lacks loc, scale"),
        (lambda: Laplace(0.0), TypeError, r"Laplace\(\) lacks scale"),
        (lambda: Laplace(scale=1.0), TypeError, r"Laplace\(\) lacks loc"),
        (lambda: Laplace(0.0, 1.0, 2.0), TypeError, r"Laplace\(\) takes 2 parameters \(loc, scale\), got 3"),
        (lambda: Laplace(0.0, 1.0, loc=0.0), TypeError, r"Laplace\(\) got multiple values for argument 'loc'"),
        (lambda: Laplace(0.0, 1.0, skew=0.0), TypeError, r"Laplace\(\) got an unexpected keyword argument 'skew'$"),
        (lambda: Laplace(0.0, sigma=1.0), TypeError, "unexpected keyword argument 'sigma'; it is called scale here"),
        (lambda: Laplace(None, 1.0), TypeError, "loc must be of a real dtype up to float64, got object"),
        (lambda: Laplace(1j, 1.0), TypeError, "loc must be of a real dtype"),
        (lambda: Laplace(np.zeros(3), np.ones(2)), ValueError, r"do not broadcast: loc \(3,\), scale \(2,\)"),
        (lambda: Laplace(np.nan, 1.0), ValueError, r"loc must be finite: shape \(\), loc = nan"),
        (lambda: Laplace([[0.0, np.inf]], 1.0), ValueError, r"loc must be finite: shape \(1, 2\), loc\[0, 1\] = inf"),
        (lambda: Laplace(0.0, [1.0, 0.0]), ValueError, r"scale must be positive and finite: shape \(2,\), scale\[1\] = 0"),
        (lambda: Student(0.0, np.eye(2)), ValueError, r"loc must have at least one dim, got shape \(\)"),
        (lambda: Student(np.zeros(2), np.ones(2)), ValueError, r"scale_tril must have shape \(..., d, d\), got \(2,\)"),
        (lambda: Student(np.zeros(2), np.ones((2, 3))), ValueError, r"scale_tril must have shape .*, got \(2, 3\)"),
        (lambda: Student(np.zeros(2), np.eye(3)), ValueError, r"loc \(2,\) and scale_tril \(3, 3\) differ in event size"),
        (
            lambda: Student(np.zeros(2), [[np.eye(2)], [np.ones((2, 2))]]),
            ValueError,
            r"scale_tril must be lower_cholesky: shape \(2, 1, 2, 2\), batch index \(1, 0\)",
        ),
        (lambda: Student([0.0, np.nan], np.eye(2)), ValueError, r"loc must be finite: shape \(2,\), loc\[1\] = nan"),
    ],
)  # fmt: skip
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_constraints_of_ones_own():
    class Uniform(fd.Distribution):
        arg_constraints = {  # noqa: RUF012
            "width": constraints.Constraint("short", 0, lambda x: x < 2),
            "direction": constraints.Constraint("unit_vector", 1, lambda x: abs((x * x).sum(-1) - 1) < 1e-6),
        }
        normals_per_event = 3

        def draw(self, eps, out):
            out[...] = self.width[..., np.newaxis] * self.direction * eps[..., :1]

    d = Uniform(np.ones(3), [[0.6, 0.8]])
    assert (d.batch_shape, d.event_shape, d.sample(5).shape) == ((3,), (2,), (5, 3, 2))
    for arguments, message in (
        ((3.0, [0.6, 0.8]), r"width must be short: shape \(\), batch index \(\)"),
        (
            ([[0.0, 1.0], [2.0, 0.0]], [0.6, 0.8]),
            r"width must be short: shape \(2, 2\), batch index \(1, 0\)",
        ),
        (
            (1.0, [[1.0, 0.0], [1.0, 1.0]]),
            r"direction must be unit_vector: shape \(2, 2\), batch index \(1,\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            Uniform(*arguments)
        assert Uniform(*arguments, validate_args=False).event_shape == (2,)


@kinds
def test_bad_calls(kind):
    """Nothing is written, and no generator moves."""
    d = user_written()[kind]
    shape = (2, *d.batch_shape, *d.event_shape)
    read_only = np.full(shape, 7.0)
    read_only.flags.writeable = False
    outs = [np.full(shape, 7, np.float32), np.full((3, *shape[1:]), 7.0), read_only]
    for g in (fd.default_rng(0), np.random.default_rng(0)):
        before = state_of(g)
        for method in (d.sample, d.rsample):
            for out, error in zip(outs, (TypeError, ValueError, ValueError), strict=True):
                with pytest.raises(error, match="out"):
                    method(2, rng=g, out=out)
            for arguments, error in (
                ({"sample_shape": -1}, ValueError),
                ({"sample_shape": 1.5}, TypeError),
                ({"rng": "seed"}, TypeError),
                ({"workers": 0}, ValueError),
            ):
                with pytest.raises(error, match=next(iter(arguments))):
                    method(**{"rng": g, **arguments})
        assert state_of(g) == before
    for out in outs:
        assert (out == 7).all()
    value = np.full(shape, 0.5)
    for method in (d.log_prob, d.prob):
        for out, error in (
            (np.full((2, 4, 3), 7, np.float32), TypeError),
            (np.full((1, 4, 3), 7.0), ValueError),
        ):
            with pytest.raises(error, match="out must"):
                method(value, out=out)
            assert (out == 7).all()
        for bad, error in (
            (value.astype(complex), TypeError),
            (np.zeros((4, 2, *d.event_shape)), ValueError),
        ):
            with pytest.raises(error, match="value"):
                method(bad)
        if d.event_shape:
            with pytest.raises(ValueError, match="value must end in the event shape"):
                method(np.zeros((4, 3, 1)))
    x, pullback = fd.vjp(d.rsample, 2, rng=0)
    with pytest.raises(ValueError, match=r"cotangent \(9,\) does not broadcast"):
        pullback(np.ones(9))
    with pytest.raises(TypeError, match="cotangent must be of a real dtype"):
        pullback(np.ones(x.shape, complex))


def test_a_rule_that_returns_what_does_not_fit():
    class Mine(Laplace):
        def event_entropy(self):
            return super().event_entropy()

    for gradients, error, message in (
        (
            {"skew": np.ones((2, 3))},
            ValueError,
            "rule for Mine returned a gradient by 'skew'; it has loc, scale",
        ),
        ({"scale": np.ones((7, 3))}, ValueError, r"scale of shape .* does not broadcast to"),
    ):
        fd.register_vjp("entropy", Mine)(lambda d, gradients=gradients: lambda g, _: gradients)
        with pytest.raises(error, match=message):
            fd.vjp(Mine(np.zeros(3), np.ones((2, 3))).entropy)[1](1.0)
    fd.register_vjp("rsample", LogNormal)(lambda d, replay: lambda g, _: {"scale": g})
    try:
        with pytest.raises(
            ValueError, match="rule for LogNormal returned a gradient by 'scale'; it has normal"
        ):
            fd.vjp(user_written()["LogNormal"].rsample)[1](1.0)
    finally:
        from user_written import vjp_log_normal_rsample

        fd.register_vjp("rsample", LogNormal)(vjp_log_normal_rsample)


def test_warnings_of_ones_own_code_get_out():
    class Loud(Laplace):
        def draw(self, eps, out):
            out[...] = np.log(np.zeros(1))

        def log_density(self, value):
            return np.log(np.zeros(value.shape))

        def event_entropy(self):
            return np.log(np.zeros(3))

        @property
        def variance(self):
            return np.log(np.zeros(3))

    d = Loud(np.zeros(3), 1.0)
    for call in (d.sample, lambda: d.log_prob(0.0), lambda: d.prob(0.0), d.entropy, lambda: d.stddev):
        with pytest.warns(RuntimeWarning, match="divide by zero"):
            call()


def test_generators_of_numpy_are_drawn_from_in_order():
    d, n = Laplace(0.0, 1.0), 20_000
    ours, theirs = Generator(PCG64(0)), Generator(PCG64(0))
    assert_same_bits(d.sample(n, rng=ours), by_hand(d, n, theirs))
    assert_same_bits(d.sample(n, rng=ours), by_hand(d, n, theirs))
