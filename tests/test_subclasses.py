"""What a subclass overrides is honoured: in small calls and large, with `out=`, in parts and inside Independent.

And what expand and indexing do not know of is not carried along in silence.
"""

import copy
import functools
import math
import pickle

import numpy as np
import pytest
from cases import KINDS, assert_same_bits, one_of_each, random_mvn, random_normal, state_of

import fastdist as fd
from fastdist import constraints
from fastdist.distributions.distribution import CONSEQUENCES, LAW

SHIFT = 64.0


# ---- hooks, methods and the steps between them, each with a result that is SHIFT up for every event -------


def n_event(d, shape, event_ndim):
    """How many events of the distribution's own the last `event_ndim` dims of a shape are."""
    return math.prod(shape[len(shape) - event_ndim : len(shape) - len(d.event_shape)])


class Draw:
    def _draw(self, noise, out, workers):
        super()._draw(noise, out, workers)
        out += SHIFT


def parent(d):
    """The same distribution, of the class of fastdist's that a test's subclass is of."""
    if isinstance(d, fd.Independent):
        return fd.Independent(d.base_dist, d.reinterpreted_batch_ndims)
    if isinstance(d, fd.Normal):
        return fd.Normal(d.loc, d.scale)
    if isinstance(d, fd.TransformedDistribution):
        cls = fd.LogNormal if isinstance(d, fd.LogNormal) else fd.HalfNormal
        return cls(*(getattr(d, name) for name in d.arg_constraints))
    if isinstance(d, fd.TruncatedNormal):
        return fd.TruncatedNormal(d.loc, d.scale, d.low, d.high)
    if isinstance(d, fd.LowRankMultivariateNormal):
        return fd.LowRankMultivariateNormal(d.loc, d.cov_factor, d.cov_diag)
    return fd.MultivariateNormal(d.loc, **{d._given: getattr(d, d._given)})


class PublicDraw:
    @property
    def normals_per_event(self):
        return parent(self).normals_per_event or math.prod(self.event_shape)

    def draw(self, eps, out):
        base = parent(self)
        if isinstance(base, fd.LowRankMultivariateNormal):
            out[...] = base.colorize(eps) + SHIFT
            return
        eps = eps.reshape(out.shape)
        while isinstance(base, fd.Independent):
            base = base.base_dist
        if isinstance(base, fd.Normal):
            out[...] = base.loc + base.scale * eps + SHIFT
        elif isinstance(base, fd.TransformedDistribution):
            (transform,), normal = base.transforms, base.base_dist
            out[...] = transform(normal.loc + normal.scale * eps) + SHIFT
        elif isinstance(base, fd.TruncatedNormal):
            out[...] = base.icdf(fd.Normal(0.0, 1.0).cdf(eps)) + SHIFT
        else:
            out[...] = base.loc + (base.scale_tril @ eps[..., np.newaxis])[..., 0] + SHIFT


class Sample:
    def sample(self, sample_shape=(), *, rng=None, out=None):
        result = super().sample(sample_shape, rng=rng, out=out)
        result += SHIFT
        return result


class Rsample:
    def rsample(self, sample_shape=(), *, rng=None, out=None):
        result = super().rsample(sample_shape, rng=rng, out=out)
        result += SHIFT
        return result


class LogProb:
    def _log_prob(self, value, event_ndim, out):
        super()._log_prob(value, event_ndim, out)
        out += SHIFT * n_event(self, value.shape, event_ndim)


class PublicDensity:
    def log_density(self, value):
        return parent(self).log_prob(value) + SHIFT


class LogDensity:
    def log_prob(self, value, *, out=None):
        result = super().log_prob(value, out=out)
        result += SHIFT
        return result


class EntropyOf:
    def _entropy(self, event_ndim):
        shape = self.batch_shape + self.event_shape
        return super()._entropy(event_ndim) + np.float32(SHIFT * n_event(self, shape, event_ndim))


class PublicEntropy:
    def event_entropy(self):
        return parent(self).entropy() + SHIFT


class Entropy:
    def entropy(self):
        return super().entropy() + np.float32(SHIFT)


# What changes with each.
CHANGES = {
    Draw: {"sample", "rsample"},
    PublicDraw: {"sample", "rsample"},
    Sample: {"sample"},
    Rsample: {"rsample"},
    LogProb: {"log_prob"},
    PublicDensity: {"log_prob"},
    LogDensity: {"log_prob"},
    EntropyOf: {"entropy"},
    PublicEntropy: {"entropy"},
    Entropy: {"entropy"},
}
overrides = pytest.mark.parametrize("override", CHANGES, ids=lambda cls: cls.__name__)
of_the_law = [cls for cls, changes in CHANGES.items() if changes != {"entropy"}]


def subclassed(d, *overrides):
    """The same distribution, of a subclass that overrides something."""
    cls = type(f"My{type(d).__name__}", (*overrides, type(d)), {})
    if isinstance(d, fd.Independent):
        return cls(d.base_dist, d.reinterpreted_batch_ndims)
    if isinstance(
        d, (fd.Normal, fd.TransformedDistribution, fd.TruncatedNormal, fd.LowRankMultivariateNormal)
    ):
        return cls(*(getattr(d, name) for name in d.arg_constraints))
    return cls(d.loc, **{d._given: getattr(d, d._given)})


# What is made of a distribution of batch (4, 3), and how many of its events are then one.
USES = {
    "itself": (lambda d: d, 1),
    "part": (lambda d: d[1:, ::-1], 1),
    "expanded": (lambda d: d.expand((2, 4, 3)), 1),
    "copy": (copy.copy, 1),
    "Independent 0": (lambda d: fd.Independent(d, 0), 1),
    "Independent 1": (lambda d: fd.Independent(d, 1), 3),
    "Independent 2": (lambda d: fd.Independent(d, 2), 12),
    "nested": (lambda d: fd.Independent(fd.Independent(d, 1), 1), 12),
    "part of Independent": (lambda d: fd.Independent(d, 1)[1:], 3),
    "Independent expanded": (lambda d: fd.Independent(d, 1).expand((2, 4)), 3),
}


def small_and_large(d, name):
    """A result of a public method: the same bits from a small call, a large one, and into `out`."""
    if name == "entropy":
        return d.entropy()
    method = getattr(d, name)
    if name == "log_prob":
        value = fd.standard_normal((2, *d.batch_shape, *d.event_shape), dtype=d.dtype, rng=3)
        small, large = method(value), method(np.concatenate([value] * 200))[-2:]
        out = np.empty_like(small)
        method(value, out=out)
        strided = method(np.asfortranarray(value))
    else:
        small, large = method((2,), rng=0), method((400,), rng=0)[:2]
        out = np.empty_like(small)
        method((2,), rng=0, out=out)
        strided = method((2,), rng=fd.BlockSFC64(0))
    for other in (large, out, strided):
        assert_same_bits(small, np.ascontiguousarray(other))
    return small


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@overrides
def test_every_call_honours_what_is_overridden(override, kind, dtype):
    plain = one_of_each(dtype)[kind]
    mine = subclassed(plain, override)
    for use, (make, n) in USES.items():
        for name in ("sample", "rsample", "log_prob", "entropy"):
            if name == "entropy" and override in of_the_law:
                with pytest.raises(NotImplementedError, match=r"entropy no longer holds"):
                    make(mine).entropy()
                continue
            got, wanted = small_and_large(make(mine), name), small_and_large(make(plain), name)
            if name in CHANGES[override]:
                wanted = wanted + SHIFT * (n if name in ("log_prob", "entropy") else 1)
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-4, err_msg=f"{use}: {name}")


@overrides
def test_a_subclass_of_independent_over_one_of_its_base(override):
    """Both are honoured, neither twice."""
    plain = fd.Independent(random_normal((4, 3), (3,)), 1)
    mine = subclassed(fd.Independent(subclassed(plain.base_dist, override), 1), override)
    assert type(mine[0]) is type(mine.expand((2, 4))) is type(mine)
    for name in CHANGES[override]:
        n = 4 if name in ("log_prob", "entropy") else 1 if override is PublicDraw else 2
        wanted = small_and_large(plain, name) + n * SHIFT
        np.testing.assert_allclose(small_and_large(mine, name), wanted, rtol=1e-12)


def test_overrides_may_leave_out_parameters():
    class Mine(fd.Normal):
        def sample(self, sample_shape, rng):
            return np.full(sample_shape + self.batch_shape, 2.0)

        rsample = sample

        def log_prob(self, value):
            return np.full(np.shape(value), 3.0, np.float32)

        def entropy(self):
            return [[1, 2], [3, 4]]

    d, out = fd.Independent(Mine(np.zeros((2, 2)), 1.0), 1), np.empty((5, 2, 2))
    for method in (d.sample, d.rsample):
        assert_same_bits(method(5), np.full((5, 2, 2), 2.0))
        assert method(5, out=out, workers=2) is out
        assert_same_bits(out, np.full((5, 2, 2), 2.0))
    assert_same_bits(d.log_prob(np.zeros((5, 1, 2))), np.full((5, 2), 6.0))
    assert_same_bits(d.entropy(), np.array([3.0, 7.0]))


def test_workers_reach_a_base_that_overrides_its_draws():
    class Mine(fd.Normal):
        def sample(self, sample_shape=(), *, rng=None, workers=None):
            seen.append(fd.random.parse_workers(workers))
            return super().sample(sample_shape, rng=rng)

    seen = []
    d = fd.Independent(Mine(np.zeros(3), 1.0), 1)
    d.sample(2, rng=0, workers=3)
    d.sample(2, rng=0)
    assert seen == [3, 1]


def test_an_override_that_is_taken_back():
    """A subclass that has the class's own hooks again has its small calls and its rules again."""
    shifted = type(subclassed(random_normal(), Draw))
    back = type("Back", (shifted,), {"_draw": fd.Normal._draw})
    d, plain = back(np.zeros(3), 2.0), fd.Normal(np.zeros(3), 2.0)
    assert_same_bits(d.sample(rng=0), plain.sample(rng=0))
    assert_same_bits(
        fd.vjp(d.rsample, rng=0)[1](np.ones(3))["scale"], fd.vjp(plain.rsample, rng=0)[1](np.ones(3))["scale"]
    )
    assert_same_bits(fd.kl_divergence(d, plain), np.zeros(3))


@pytest.mark.parametrize("kind", KINDS)
def test_no_reparameterised_draws(kind):
    """A subclass that says so has none, however small; `sample` is left, and nothing moves."""
    plain = one_of_each()[kind]
    mine = type("Mine", (type(plain),), {"has_rsample": False})
    d = subclassed(plain)
    d.__class__ = mine
    g = fd.default_rng(0)
    before = state_of(g)
    for e in (d, fd.Independent(d, 1), fd.Independent(fd.Independent(d, 1), 1), d[0], d.expand((2, 4, 3))):
        assert not e.has_rsample
        out = np.ones((2, *e.batch_shape, *e.event_shape))
        for call in (
            lambda e=e: e.rsample(rng=g),
            lambda e=e: e.rsample(1000, rng=g),
            lambda e=e, out=out: e.rsample(2, rng=g, out=out),
            lambda e=e: fd.vjp(e.rsample, rng=g),
        ):
            with pytest.raises(NotImplementedError, match="no reparameterised draws"):
                call()
        assert (out == 1).all()
    assert state_of(g) == before
    assert_same_bits(d.sample(2, rng=0), plain.sample(2, rng=0))


# ---- gradients and divergences --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@overrides
def test_gradients_are_those_of_what_is_called(override, kind):
    """Those of what is overridden are not its parent's."""
    given = one_of_each()[kind]
    plain, mine = subclassed(given), subclassed(given, override)
    changes = {"rsample" if name == "sample" else name for name in CHANGES[override]}
    for use in ("itself", "part", "Independent 1", "nested"):
        make, _ = USES[use]
        value = make(plain).sample(rng=1)
        arguments = {"rsample": {"rng": 0}, "log_prob": {"value": value}, "entropy": {}}
        gone = {"entropy"} if override in of_the_law else set()
        for name in arguments.keys() - changes - gone:
            x, pullback = fd.vjp(getattr(make(mine), name), **arguments[name])
            y, wanted = fd.vjp(getattr(make(plain), name), **arguments[name])
            np.testing.assert_allclose(x, y, rtol=1e-13)
            for key, gradient in wanted(np.ones_like(y)).items():
                assert_same_bits(pullback(np.ones_like(x))[key], gradient)
        for name in changes | gone:
            with pytest.raises(NotImplementedError, match=r"no gradient rule is registered|no longer holds"):
                fd.vjp(getattr(make(mine), name), **arguments[name])


@pytest.mark.parametrize("kind", KINDS)
@overrides
def test_divergences_are_not_those_of_another_law(override, kind):
    plain = one_of_each()[kind]
    mine = subclassed(plain, override)
    for make in (
        lambda d: d,
        lambda d: fd.Independent(d, 1),
        lambda d: fd.Independent(fd.Independent(d, 1), 1),
    ):
        for p, q in ((mine, plain), (plain, mine), (mine, mine)):
            if override in of_the_law:
                for call in (fd.kl_divergence, functools.partial(fd.vjp, fd.kl_divergence)):
                    with pytest.raises(NotImplementedError, match="no KL divergence is registered"):
                        call(make(p), make(q))
            else:
                assert_same_bits(
                    fd.kl_divergence(make(p), make(q)), fd.kl_divergence(make(plain), make(plain))
                )


@pytest.mark.parametrize("override", of_the_law, ids=lambda cls: cls.__name__)
def test_divergences_of_vectors_and_independent_ones_of_another_law(override):
    mvn = random_mvn("covariance_matrix", (4, 3), (3, 3))
    normal = random_normal((4, 3), (3,))
    others = (
        fd.Independent(subclassed(normal, override), 1),
        subclassed(fd.Independent(normal, 1), override),
        fd.Independent(subclassed(fd.Independent(normal, 1), override), 0),
    )
    for pair in [(mvn, other) for other in others] + [(subclassed(mvn, override), fd.Independent(normal, 1))]:
        for p, q in (pair, pair[::-1]):
            with pytest.raises(NotImplementedError, match="no KL divergence is registered"):
                fd.kl_divergence(p, q)


# ---- what followed from a law that a subclass has changed -----------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("override", of_the_law, ids=lambda cls: cls.__name__)
def test_what_follows_from_the_parents_law_is_gone(override, kind):
    plain = one_of_each()[kind]
    mine = subclassed(plain, override)
    name_of_parent, changed = type(plain).__name__, next(n for n in LAW if n in vars(override))
    for name in CONSEQUENCES:
        if not hasattr(plain, name):
            with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
                getattr(mine, name)
            continue
        message = (
            rf"^My{name_of_parent} has {changed} of its own, so that {name_of_parent}\.{name} no longer holds: "
            rf"define it, or take it over by {name} = {name_of_parent}\.{name}$"
        )
        for d in (mine, mine[1:], mine.expand((2, 4, 3)), copy.deepcopy(mine)):
            with pytest.raises(NotImplementedError, match=message):
                getattr(d, name)
        if name in ("mean", "mode", "variance", "stddev", "entropy"):
            for d in (fd.Independent(mine, 1), fd.Independent(fd.Independent(mine, 0), 2)):
                with pytest.raises(NotImplementedError, match=message):
                    d.entropy() if name == "entropy" else getattr(d, name)
    with pytest.raises(NotImplementedError, match="entropy no longer holds"):
        mine.perplexity()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("override", of_the_law, ids=lambda cls: cls.__name__)
def test_what_follows_may_be_taken_over(override, kind):
    plain = one_of_each()[kind]
    names = [name for name in CONSEQUENCES if hasattr(type(plain), name)]
    mine = subclassed(plain, type("Taken", (override,), {name: getattr(type(plain), name) for name in names}))
    for make, _ in USES.values():
        for name in ("mean", "mode", "variance", "stddev"):
            assert_same_bits(np.array(getattr(make(mine), name)), np.array(getattr(make(plain), name)))
        for entropy in (make(mine).entropy(), fd.vjp(make(mine).entropy)[0]):
            np.testing.assert_allclose(entropy, make(plain).entropy(), rtol=1e-15)
    if kind == "Normal":
        assert_same_bits(mine.cdf(0.5), plain.cdf(0.5))


def test_what_follows_may_be_given_anew():
    class Mine(fd.Normal):
        """Twice the draws."""

        def sample(self, *args, **kwargs):
            return 2 * super().sample(*args, **kwargs)

        @property
        def variance(self):
            return 4 * self.scale**2

        stddev = fd.Distribution.stddev

        def event_entropy(self):
            return fd.Normal(0.0, 2 * self.scale).entropy()

    d = Mine(np.zeros(3), [1.0, 2.0, 3.0])
    assert_same_bits(d.stddev, np.array([2.0, 4.0, 6.0]))
    wanted = fd.Normal(0.0, [2.0, 4.0, 6.0]).entropy()
    assert_same_bits(d.entropy(), wanted)
    np.testing.assert_allclose(fd.Independent(d, 1).entropy(), wanted.sum(), rtol=1e-15)
    with pytest.raises(NotImplementedError, match=r"Mine has sample of its own, so that Normal\.mean"):
        d.mean  # noqa: B018

    class Below(Mine):
        """Of the same law."""

    assert_same_bits(Below(0.0, 1.0).entropy(), Mine(0.0, 1.0).entropy())


class Named(fd.Normal):
    """The same law, by another name."""

    def log_cdf(self, value, *, out=None):
        return super().log_cdf(value, out=out)


def test_the_same_law_by_another_name():
    """What does not change the law changes nothing that follows from it."""
    d, plain = Named(np.zeros(3), 2.0), fd.Normal(np.zeros(3), 2.0)
    for name in ("mean", "variance", "stddev"):
        assert_same_bits(np.array(getattr(d, name)), np.array(getattr(plain, name)))
    assert_same_bits(d.entropy(), plain.entropy())
    assert_same_bits(d.log_cdf(0.5), plain.log_cdf(0.5))
    assert_same_bits(fd.kl_divergence(d, plain), np.zeros(3))


# ---- distributions that hold others -----------------------------------------------------------------------


class LogNormal(fd.Wrapper):
    """By a Normal that it holds."""

    support = constraints.positive
    has_rsample = True
    _held = {"normal": 0}  # noqa: RUF012

    def __init__(self, loc, scale):
        self.normal = fd.Normal(loc, scale)
        self.name = "LogNormal"
        super().__init__(self.normal.batch_shape, (), self.normal.dtype)

    def _draw(self, noise, out, workers):
        self.normal._draw(noise, out, workers)
        np.exp(out, out=out)

    def _log_prob(self, value, event_ndim, out):
        y = np.asarray(np.log(value))
        self.normal._log_prob(y, event_ndim, out)
        out -= y.sum(tuple(range(-event_ndim, 0)))


class Mixture(fd.Wrapper):
    """Equal parts of each Normal along the last dim of the one that it holds; densities alone."""

    _held = {"parts": 1}  # noqa: RUF012

    def __init__(self, parts):
        super().__init__(parts.batch_shape[:-1], (), parts.dtype)
        self.parts = parts

    def _log_prob(self, value, event_ndim, out):
        assert event_ndim == 0
        out[...] = np.log(np.exp(self.parts.log_prob(value[..., np.newaxis])).mean(-1))


LOC, SCALE = np.arange(6.0).reshape(2, 3), np.array([0.1, 0.2, 0.3])
INDICES = [0, -1, slice(None, None, -1), (1, 2), (..., slice(1, None)), (None, 0), (slice(0), 1)]


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_what_is_held_is_indexed_too(index):
    d, loc, scale = LogNormal(LOC, SCALE), LOC[index], np.broadcast_to(SCALE, LOC.shape)[index]
    part, alone = d[index], LogNormal(loc, scale)
    assert type(part) is LogNormal
    assert part.batch_shape == part.normal.batch_shape == loc.shape
    for rng in (0, np.random.PCG64(0)):
        assert_same_bits(part.sample(3, rng=rng), alone.sample(3, rng=0 if rng == 0 else np.random.PCG64(0)))
    assert_same_bits(part.log_prob(2.0), alone.log_prob(2.0))
    wanted = Mixture(fd.Normal(LOC[..., None] + np.arange(4), 1.0))[index].log_prob(1.0)
    alone = Mixture(fd.Normal(loc[..., None] + np.arange(4), 1.0))
    np.testing.assert_array_equal(alone.log_prob(1.0), wanted)


def test_what_is_held_is_expanded_too():
    d, wide = LogNormal(LOC[0], SCALE), LogNormal(LOC[0], SCALE).expand((4, 3))
    assert wide.normal.batch_shape == (4, 3)
    full = LogNormal(np.broadcast_to(LOC[0], (4, 3)), SCALE)
    for a, b in ((wide, full), (wide[1:], full[1:]), (wide.expand((2, 4, 3))[1], full)):
        assert_same_bits(a.sample(5, rng=0), b.sample(5, rng=0))
    mixture = Mixture(fd.Normal(LOC, SCALE)).expand((5, 2))
    assert mixture.parts.batch_shape == (5, 2, 3)
    assert_same_bits(mixture[3].log_prob(0.5), Mixture(fd.Normal(LOC, SCALE)).log_prob(0.5))
    for one, wanted in zip(d, LOC[0], strict=True):
        assert one.normal.loc == wanted


def test_what_is_held_may_have_a_smaller_batch():
    class Half(LogNormal):
        def __init__(self, loc, scale, batch_shape):
            super().__init__(loc, scale)
            self._batch_shape = batch_shape

    d = Half(LOC[0], SCALE, (2, 3))
    assert_same_bits(d[1, ::-1].log_prob(2.0), LogNormal(LOC[0, ::-1], SCALE[::-1]).log_prob(2.0))


def test_what_is_held_inside_independent_and_in_copies():
    d = LogNormal(LOC, SCALE)
    ind = fd.Independent(d, 1)
    assert_same_bits(ind[::-1].sample(rng=0), LogNormal(LOC[::-1], SCALE).sample(rng=0))
    value = d.sample(4, rng=1)
    np.testing.assert_allclose(ind.log_prob(value), d.log_prob(value).sum(-1), rtol=1e-14)
    for other in (copy.copy(d), copy.deepcopy(d), *(pickle.loads(pickle.dumps(d, n)) for n in range(6))):
        assert_same_bits(other[1].sample(rng=0), d[1].sample(rng=0))


def test_out_may_overlap_a_parameter_of_what_is_held():
    loc = np.linspace(0, 1, 12)
    for wrap in (lambda d: d, lambda d: fd.Independent(d, 1)):
        memory = loc.copy()
        wanted = LogNormal(loc[1:11], 1.0).sample(rng=0)
        out = memory[:10]
        assert wrap(LogNormal(memory[1:11], 1.0)).sample(rng=0, out=out) is out
        assert_same_bits(out.copy(), wanted)


@pytest.mark.parametrize(
    "kept",
    [
        fd.Normal(np.zeros(3), 1.0),
        [fd.Normal(np.zeros(3), 1.0)],
        {"parts": (fd.Normal(np.zeros(3), 1.0), 2)},
        np.zeros(3),
        {"logarithms": np.zeros(3)},
    ],
    ids=["distribution", "list", "dict", "array", "dict of arrays"],
)
def test_what_is_kept_and_not_named_is_an_error(kept):
    """A part of the batch with the whole's is never an answer."""

    class Mine(fd.Normal):
        def __init__(self, loc, scale):
            super().__init__(loc, scale)
            self.kept = kept

    d = Mine(np.zeros(3), 1.0)
    for call in (
        lambda: d[::-1],
        lambda: d.expand((2, 3)),
        lambda: next(iter(d)),
        lambda: fd.Independent(d, 0)[0],
    ):
        with pytest.raises(NotImplementedError, match=r"Mine\.kept holds .*a Wrapper.*a parameter"):
            call()
    assert d.sample(rng=0).shape == (3,)


def test_what_does_not_depend_on_the_batch_may_be_kept():
    class Mine(fd.Normal):
        def __init__(self, loc, scale):
            super().__init__(loc, scale)
            self.kept = {
                "name": ("a", 1),
                "power": np.float64(2),
                "limit": np.array(3.0),
                "more": [None, {1, 2}],
            }

        @functools.cached_property
        def precision(self):
            return 1 / self.scale**2

    d = Mine([1.0, 2.0], [1.0, 2.0])
    assert_same_bits(d.precision, np.array([1.0, 0.25]))
    for e in (d[::-1], d.expand((3, 2))):
        assert e.kept is d.kept
        assert_same_bits(np.array(e.precision), np.array(1 / e.scale**2))


class Power(fd.Normal):
    """With a parameter of its own."""

    arg_constraints = {**fd.Normal.arg_constraints, "power": constraints.positive}  # noqa: RUF012
    __init__ = fd.Distribution.__init__

    def _draw(self, noise, out, workers):
        super()._draw(noise, out, workers)
        out *= self.power


def test_parameters_of_a_subclasss_own_go_along():
    d = Power(np.zeros(3), 1.0, [1.0, 2.0, 4.0])
    wanted = fd.Normal(np.zeros(3), 1.0).sample(rng=0) * [4.0, 2.0, 1.0]
    assert_same_bits(d[::-1].sample(rng=0), wanted)
    assert repr(d[1]) == "Power(loc: 0.0, scale: 1.0, power: 2.0)"
    assert d.expand((2, 3)).power.shape == (2, 3)
