"""MixtureSameFamily: densities against mpmath, draws, moments, cdf, gradients, memory, objects."""

import copy
import pickle
import tracemalloc

import mpmath
import numpy as np
import pytest
from cases import DTYPES, assert_same_bits, in_threads, random_mvn, random_normal
from scipy import stats

import fastdist as fd
from fastdist.distributions.mixture_same_family import TILE


def weights(shape, dtype=np.float64, seed=0):
    return fd.Categorical(logits=np.random.default_rng(seed).normal(size=shape).astype(dtype))


class Scaled(fd.Distribution):
    """A normal as a user writes one: twice a draw of what it takes."""

    arg_constraints = {"scale": fd.constraints.positive}  # noqa: RUF012
    support = fd.constraints.real
    normals_per_event = 1

    def draw(self, eps, out):
        np.multiply(self.scale, eps[..., 0], out=out)

    def log_density(self, value):
        return fd.Normal(0.0, self.scale).log_prob(value)

    @property
    def mean(self):
        return np.zeros(self.batch_shape)

    @property
    def variance(self):
        return self.scale**2


def mixtures(dtype=np.float64):
    """Of every kind of component, with batch_shape (4, 3)."""
    g = np.random.default_rng(1)
    inner = fd.MixtureSameFamily(weights((2,), dtype), random_normal((4, 3, 5, 2), (2,), dtype))
    return {
        "Normal": fd.MixtureSameFamily(weights((3, 5), dtype), random_normal((4, 3, 5), (5,), dtype)),
        "one weight for all": fd.MixtureSameFamily(weights((5,), dtype), random_normal((4, 3, 5), (), dtype)),
        "Independent": fd.MixtureSameFamily(
            weights((4, 1, 3), dtype), fd.Independent(random_normal((3, 3, 2), (4, 1, 3, 1), dtype), 1)
        ),
        "MVN": fd.MixtureSameFamily(
            weights((4, 3, 3), dtype), random_mvn("covariance_matrix", (3, 5), (3, 3, 5, 5), dtype)
        ),
        "Categorical": fd.MixtureSameFamily(weights((4, 3, 2), dtype), weights((2, 6), dtype)),
        "Bernoulli": fd.MixtureSameFamily(
            weights((4, 3, 2), dtype), fd.Independent(fd.Bernoulli(g.uniform(size=(2, 7)).astype(dtype)), 1)
        ),
        "one-hot": fd.MixtureSameFamily(
            weights((4, 3, 2), dtype), fd.OneHotCategorical(g.uniform(size=(2, 3)).astype(dtype))
        ),
        "mixture": fd.MixtureSameFamily(weights((5,), dtype), inner),
        "user's": fd.MixtureSameFamily(weights((4, 3, 2), dtype), Scaled(np.array([1, 4], dtype))),
        "one component": fd.MixtureSameFamily(weights((1,), dtype), random_normal((4, 3, 1), (1,), dtype)),
    }


KINDS = tuple(mixtures())


def by_hand(d, value):
    """Weights and log densities of the components, for a value that is broadcast."""
    at = np.expand_dims(value, -1 - len(d.event_shape))
    logits = d.mixture_distribution.expand(d.batch_shape).logits
    return logits, d.component_distribution.expand((*d.batch_shape, logits.shape[-1])).log_prob(at)


# ---- draws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_any_cut_any_workers(kind, dtype, isa):
    d = mixtures(dtype)[kind]
    n = TILE // 12 // max(int(np.prod(d.event_shape)), 1) + 7
    whole, g = d.sample((n,), rng=7), fd.BlockSFC64(7)
    assert whole.shape == (n, 4, 3, *d.event_shape)
    assert whole.dtype == (np.int64 if d.support.is_discrete else dtype)
    assert_same_bits(np.concatenate([d.sample((m,), rng=g) for m in (1, 0, 6, n - 7)]), whole)
    assert_same_bits(d.sample((n,), rng=7, workers=3), whole)
    out = np.empty_like(whole)
    assert d.sample((n,), rng=7, out=out) is out
    assert_same_bits(out, whole)
    g = fd.BlockSFC64(7)
    rows = [d[index].sample(rng=g) for _ in range(3) for index in np.ndindex(4, 3)]
    assert_same_bits(np.stack(rows).reshape(3, 4, 3, *d.event_shape), whole[:3])


def test_numpy_s_generators():
    """Their lock is held throughout a draw, and the generator moves on."""
    d, g, draws = mixtures()["Normal"], np.random.default_rng(0), []
    in_threads(*[lambda: draws.extend(d.sample(2000, rng=g) for _ in range(4))] * 3)
    alone = np.random.default_rng(0)
    assert {x.tobytes() for x in draws} == {d.sample(2000, rng=alone).tobytes() for _ in range(12)}
    assert g.bit_generator.state == alone.bit_generator.state
    x, pullback = fd.vjp(d.rsample, (5,), rng=np.random.default_rng(3))
    assert_same_bits(x, d.sample(5, rng=np.random.default_rng(3)))
    assert np.isfinite(pullback(1.0)["component_distribution"]["loc"]).all()


def test_an_event_takes_one_uniform_and_an_event_s_normals():
    d = mixtures()["Independent"]
    g, alone = fd.BlockSFC64(3), fd.BlockSFC64(3)
    x = d.sample(50, rng=g)
    state = g.state["state"]
    assert (state["uniform_position"], state["normal_position"]) == (600, 1200)
    chosen = d.mixture_distribution.expand((4, 3)).sample(50, rng=alone)
    eps = fd.standard_normal((50, 4, 3, 2), rng=alone)
    for index in np.ndindex(50, 4, 3):
        part = d.component_distribution.base_dist.expand((4, 3, 3, 2))[(*index[1:], chosen[index])]
        assert_same_bits(part.loc + part.scale * eps[index], x[index])


def test_a_batch_larger_than_a_tile():
    """Of a large batch parts are drawn, and scored, at a time."""
    g = np.random.default_rng(0)
    n = TILE + 1000
    d = fd.MixtureSameFamily(fd.Categorical(g.uniform(size=(n, 2))), fd.Normal(g.normal(size=(n, 2)), 1.0))
    x = d.sample(2, rng=0)
    b = fd.BlockSFC64(0)
    assert_same_bits(np.stack([d.sample(rng=b), d.sample(rng=b)]), x)
    for i in (0, TILE - 1, TILE, n - 1):
        assert_same_bits(np.array(d.log_prob(x)[:, i]), d[i].log_prob(x[:, i]))


@pytest.mark.parametrize("kind", ["Normal", "Independent", "MVN"])
def test_draws_have_the_moments_and_the_law(kind):
    """Means within five standard errors, of 12 to 60 numbers: a false alarm once in 20 000 seeds; they are fixed."""
    d, n = mixtures()[kind], 100_000
    x = d.sample(n, rng=5)
    assert (abs(x.mean(0) - d.mean) < 5 * d.stddev / np.sqrt(n)).all()
    np.testing.assert_allclose(x.var(0), d.variance, rtol=0.05)
    if kind == "Normal":
        for index in np.ndindex(4, 3):
            u = d[index].cdf(x[(slice(None), *index)])
            assert stats.kstest(u, "uniform").pvalue > 1e-5


# ---- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_densities_are_sums_of_those_of_components(kind, dtype, isa):
    d = mixtures(dtype)[kind]
    x = d.sample((5, 6), rng=0)
    logits, of_components = by_hand(d, x)
    with np.errstate(all="ignore"):
        wanted = np.logaddexp.reduce(logits.astype(float) + of_components, -1)
    got = d.log_prob(x)
    assert got.dtype == dtype
    np.testing.assert_allclose(
        got, wanted, rtol=3e-6 if dtype is np.float32 else 2e-14, atol=3e-6 if dtype is np.float32 else 1e-15
    )
    assert_same_bits(d.log_prob(x[2]), got[2].copy())
    assert_same_bits(d.log_prob(x[2, 3, 0]), np.stack([d[i].log_prob(x[2, 3, 0]) for i in range(4)]))
    assert_same_bits(d[1, 2].log_prob(x[:, :, 1, 2]), got[:, :, 1, 2].copy())
    out = np.empty_like(got)
    assert d.log_prob(x, out=out) is out
    assert_same_bits(out, got)
    joint = d.posterior_marginal(x)
    assert joint.batch_shape == (5, 6, 4, 3)
    np.testing.assert_allclose(
        joint.logits,
        logits + of_components - wanted[..., None],
        rtol=1e-4 if dtype is np.float32 else 1e-12,
        atol=1e-4 if dtype is np.float32 else 1e-12,
    )
    outer = fd.Independent(d, 1)
    np.testing.assert_allclose(
        outer.log_prob(x), got.astype(float).sum(-1), rtol=1e-5 if dtype is np.float32 else 1e-13
    )


def test_densities_far_out_and_where_components_part(isa):
    d = fd.MixtureSameFamily(fd.Categorical([1e-300, 1.0]), fd.Normal([0.0, 100.0], [1.0, 1e-3]))
    for x in (0.0, 100.0, 50.0, -1e5, 1e150, 99.999):
        with mpmath.workdps(60):
            w = [mpmath.mpf(1e-300) / (mpmath.mpf(1e-300) + 1), 1 / (mpmath.mpf(1e-300) + 1)]
            parts = [
                mpmath.log(a)
                - ((mpmath.mpf(x) - m) / mpmath.mpf(s)) ** 2 / 2
                - mpmath.log(mpmath.mpf(s) * mpmath.sqrt(2 * mpmath.pi))
                for a, m, s in zip(w, (0, 100), (1, 1e-3), strict=True)
            ]
            top = max(parts)
            wanted = top + mpmath.log(mpmath.fsum(mpmath.exp(p - top) for p in parts))
            assert abs(d.log_prob(x) - wanted) <= 1e-15 * abs(wanted) + 1e-13 * (x == 99.999)
    np.testing.assert_array_equal(d.log_prob([np.inf, -np.inf, np.nan]), [-np.inf, -np.inf, np.nan])
    assert np.isnan(d.posterior_marginal(np.inf).probs).all()


def test_moments():
    g = np.random.default_rng(0)
    w, loc, scale = g.dirichlet([1] * 4, size=3), g.normal(size=(3, 4, 2)), g.uniform(1, 2, (3, 4, 2))
    d = fd.MixtureSameFamily(fd.Categorical(w), fd.Independent(fd.Normal(loc + 1e8, scale), 1))
    mean = (w[..., None] * loc).sum(1)
    np.testing.assert_allclose(d.mean, mean + 1e8, rtol=1e-15)
    wanted = (w[..., None] * (scale**2 + (loc - mean[:, None]) ** 2)).sum(1)
    np.testing.assert_allclose(d.variance, wanted, rtol=1e-7)  # of means that are right to 1e-8
    for array in (d.mean, d.variance, d.stddev):
        assert array.shape == (3, 2)
        assert not array.flags.writeable
    with pytest.raises(NotImplementedError, match="no entropy"):
        d.entropy()


def test_the_cdf_family(isa):
    d = mixtures()["Normal"]
    x = np.linspace(-45, 45, 61)[:, None, None]
    w, components = d.mixture_distribution.probs, d.component_distribution
    loc, scale = components.loc, components.scale
    z = (x[..., None] - loc) / scale
    for name, sign in (("cdf", 1), ("survival_function", -1)):
        wanted = (w * stats.norm.cdf(sign * z)).sum(-1)
        np.testing.assert_allclose(getattr(d, name)(x), wanted, rtol=1e-11)
        logs = np.logaddexp.reduce(np.log(w) + stats.norm.logcdf(sign * z), -1)
        missing = (w * stats.norm.cdf(-sign * z)).sum(-1)
        logs = np.where(logs > -0.5, np.log1p(-np.minimum(missing, 0.9)), logs)
        got = getattr(d, f"log_{name}")(x)
        np.testing.assert_allclose(got, logs, rtol=1e-11)
        out = np.empty_like(got)
        assert getattr(d, f"log_{name}")(x, out=out) is out
        assert_same_bits(out, got)
    joint, at = mixtures()["Independent"], np.linspace(-4, 4, 14).reshape(7, 1, 1, 2)
    each = joint.component_distribution.expand((4, 3, 3)).cdf(at[..., None, :])
    np.testing.assert_allclose(joint.cdf(at), (joint.mixture_distribution.probs * each).sum(-1), rtol=1e-12)
    with pytest.raises(NotImplementedError, match="MultivariateNormal has no cdf"):
        mixtures()["MVN"].cdf(np.zeros(5))


def test_memory_is_that_of_the_result():
    """200 000 values of 64 components: 100 MB, if all were made at once."""
    d = fd.MixtureSameFamily(fd.Categorical(np.ones(64)), fd.Normal(np.arange(64.0), 1.0))
    x = d.sample(200_000, rng=0)
    d.log_prob(x[:10])
    for task in (lambda: d.log_prob(x), lambda: d.cdf(x), lambda: d.sample(200_000, rng=0)):
        tracemalloc.start()
        task()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < x.nbytes + 8e6


# ---- gradients --------------------------------------------------------------------------------------


def by_differences(f, x, h=1e-6):
    result = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][index] += h
        moved[1][index] -= h
        result[index] = (f(moved[0]) - f(moved[1])) / (2 * h)
    return result


def of_parts(given, w, loc, scale, n_event=0):
    component = fd.Normal(loc, scale)
    return fd.MixtureSameFamily(
        fd.Categorical(**{given: w}), fd.Independent(component, n_event) if n_event else component
    )


@pytest.mark.parametrize("n_event", [0, 1, 2])
@pytest.mark.parametrize("given", ["probs", "logits"])
def test_gradients_of_densities(given, n_event):
    g = np.random.default_rng(2)
    event = (2, 3)[:n_event]
    w, loc, scale = g.uniform(0.5, 1, (2, 4)), g.normal(size=(2, 4, *event)), g.uniform(0.5, 2, (4, *event))
    d = of_parts(given, w, loc, scale, n_event)
    x = d.sample(5, rng=0)
    value, pullback = fd.vjp(d.log_prob, x)
    assert_same_bits(value, d.log_prob(x))
    c = g.normal(size=value.shape)
    got = pullback(c)
    assert list(got) == ["mixture_distribution", "component_distribution", "value"]
    parts = {"w": w, "loc": loc, "scale": scale, "x": x}

    def loss(**changed):
        p = parts | changed
        return (c * of_parts(given, p["w"], p["loc"], p["scale"], n_event).log_prob(p["x"])).sum()

    for name, gradient in (
        ("w", got["mixture_distribution"][given]),
        ("loc", got["component_distribution"]["loc"]),
        ("scale", got["component_distribution"]["scale"]),
        ("x", got["value"]),
    ):
        wanted = by_differences(lambda a: loss(**{name: a}), parts[name])  # noqa: B023
        np.testing.assert_allclose(gradient, wanted, atol=2e-7)


def test_gradients_of_other_components_are_nested():
    for kind in ("MVN", "Categorical", "mixture"):
        d = mixtures()[kind]
        x = d.sample(3, rng=0)
        _, pullback = fd.vjp(d.log_prob, x)
        got = pullback(1.0)
        assert got["value"].shape == x.shape
        assert np.isfinite(got["mixture_distribution"]["logits"]).all()
        wanted = fd.vjp(d.component_distribution.log_prob, np.expand_dims(x, -1 - len(d.event_shape)))[1](1.0)
        assert got["component_distribution"].keys() == wanted.keys() - {"value"}


@pytest.mark.parametrize("n_value", [1, 700])
def test_many_values_at_a_time(n_value):
    """Gradients of tiles add up to those of the whole, and have the same bits each time."""
    d = mixtures()["MVN"]
    x = d.sample(n_value, rng=0)
    c = np.random.default_rng(0).normal(size=(n_value, 4, 3))
    pullback = fd.vjp(d.log_prob, x)[1]
    got, again = pullback(c), pullback(c)
    parts = [fd.vjp(d.log_prob, row)[1](of_row) for row, of_row in zip(x, c, strict=True)]
    assert_same_bits(got["value"], np.stack([part["value"] for part in parts]))
    for held in ("mixture_distribution", "component_distribution"):
        for name, gradient in got[held].items():
            np.testing.assert_allclose(
                gradient, sum(part[held][name] for part in parts), rtol=1e-8, atol=1e-10
            )
            assert_same_bits(gradient, again[held][name])


def transform(x, w, loc, scale):
    """The distributional transform of one event: conditional cdfs of its elements in order."""
    log_share, u = np.log(w), []
    for j, element in enumerate(x):
        share = np.exp(log_share - np.logaddexp.reduce(log_share))
        u.append(share @ stats.norm.cdf((element - loc[:, j]) / scale[:, j]))
        log_share = log_share + stats.norm.logpdf(element, loc[:, j], scale[:, j])
    return np.array(u)


@pytest.mark.parametrize("size", [0, 1, 3])
def test_reparameterised_draws_hold_the_distributional_transform_fixed(size):
    """Along the gradient of a draw by a parameter, its transform does not change."""
    g = np.random.default_rng(size)
    event = (size,) if size else ()
    parts = {
        "w": g.dirichlet([2] * 3),
        "loc": g.normal(size=(3, *event)),
        "scale": g.uniform(0.5, 1.5, (3, *event)),
    }

    def make(p):
        return of_parts("probs", p["w"], p["loc"], p["scale"], len(event))

    d = make(parts)
    assert d.has_rsample
    x, pullback = fd.vjp(d.rsample, (6,), rng=1)
    assert_same_bits(x, d.sample((6,), rng=1))
    flat = {name: np.reshape(p, (3, -1)) if name != "w" else p for name, p in parts.items()}
    for row in range(6):
        at = np.reshape(x[row], -1)
        slope = by_differences_of_vector(lambda y: transform(y, **flat), at)
        for j in range(len(at)):
            c = np.zeros((6, max(size, 1)))
            c[row, j] = 1
            got = pullback(c.reshape(x.shape))
            got = {"w": got["mixture_distribution"]["probs"], **got["component_distribution"]}
            for name, p in flat.items():
                if name == "w":  # along the simplex
                    by_u = by_differences_of_vector(lambda a: transform(at, **{**flat, "w": a / a.sum()}), p)  # noqa: B023
                else:
                    by_u = by_differences_of_vector(lambda a: transform(at, **{**flat, name: a}), p)  # noqa: B023
                wanted = -np.linalg.solve(slope, by_u.reshape(len(at), -1))[j].reshape(p.shape)
                np.testing.assert_allclose(np.reshape(got[name], p.shape), wanted, atol=3e-6, rtol=1e-5)


def by_differences_of_vector(f, x, h=1e-6):
    columns = []
    for index in np.ndindex(x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][index] += h
        moved[1][index] -= h
        columns.append((f(moved[0]) - f(moved[1])) / (2 * h))
    return np.stack(columns, -1).reshape(len(columns[0]), *x.shape)


@pytest.mark.parametrize("method", ["cdf", "survival_function", "log_cdf", "log_survival_function"])
@pytest.mark.parametrize("given", ["logits", "probs"])
def test_gradients_of_the_cdf_family(method, given):
    g = np.random.default_rng(0)
    arrays = {
        given: g.uniform(0.2, 1, (3, 5)), "loc": g.normal(size=(4, 3, 5)), "scale": g.uniform(0.5, 2, 5),
        "value": g.normal(size=(2000, 4, 3)),
    }  # fmt: skip

    def at(h):
        moved = {name: one + h * change[name] for name, one in arrays.items()}
        components = fd.Normal(moved["loc"], moved["scale"])
        return fd.MixtureSameFamily(fd.Categorical(**{given: moved[given]}), components), moved["value"]

    change = {name: g.normal(size=one.shape) for name, one in arrays.items()}
    d, value = at(0)
    result, pullback = fd.vjp(getattr(d, method), value)
    c = g.normal(size=result.shape)
    found = pullback(c)
    found = {**found["mixture_distribution"], **found["component_distribution"], "value": found["value"]}
    inner = sum(np.sum(one * change[name]) for name, one in found.items())
    up, down = (np.sum(c * getattr(e, method)(x)) for e, x in (at(1e-5), at(-1e-5)))
    np.testing.assert_allclose(inner, (up - down) / 2e-5, rtol=1e-6)


def test_of_one_component_a_draw_s_gradients_are_the_component_s():
    normal = random_normal((1, 3), (1, 3))
    d = fd.MixtureSameFamily(fd.Categorical([2.0]), fd.Independent(normal, 1))
    x, pullback = fd.vjp(d.rsample, (40,), rng=3)
    c = np.random.default_rng(0).normal(size=x.shape)
    got = pullback(c)
    np.testing.assert_allclose(got["mixture_distribution"]["probs"], 0, atol=1e-15)
    np.testing.assert_allclose(got["component_distribution"]["loc"], c.sum(0)[None], rtol=1e-13)
    z = (x - normal.loc) / normal.scale
    np.testing.assert_allclose(got["component_distribution"]["scale"], (c * z).sum(0)[None], rtol=1e-13)


def test_a_draw_s_gradients_are_those_of_an_expectation():
    """The mean of x^2 is known: its gradients, by 200 000 draws, are within five of their standard errors or so."""
    w, loc, scale = np.array([0.3, 0.7]), np.array([-1.0, 2.0]), np.array([0.5, 1.5])
    d = of_parts("probs", w, loc, scale)
    x, pullback = fd.vjp(d.rsample, (200_000,), rng=1)
    got = pullback(2 * x / len(x))
    second = loc**2 + scale**2
    np.testing.assert_allclose(got["mixture_distribution"]["probs"], second - (w * second).sum(), atol=0.08)
    np.testing.assert_allclose(got["component_distribution"]["loc"], 2 * w * loc, atol=0.05)
    np.testing.assert_allclose(got["component_distribution"]["scale"], 2 * w * scale, atol=0.05)


def test_draws_of_other_components_have_no_gradients():
    for kind in ("MVN", "Bernoulli", "user's"):
        d = mixtures()[kind]
        assert not d.has_rsample
        name = type(d.component_distribution).__name__
        message = (
            rf"no reparameterised draws but of Normal and Independent\(Normal\) components, not of {name}"
        )
        with pytest.raises(NotImplementedError, match=message):
            d.rsample(rng=0)
        with pytest.raises(NotImplementedError, match=message):
            fd.vjp(d.rsample, rng=0)


@pytest.mark.parametrize("sample_shape", [(0,), (2, 0), (), (3,)])
@pytest.mark.parametrize(("batch", "event"), [((), ()), ((0,), ()), ((3,), (4,)), ((3,), (0,))])
def test_empty_batches_events_and_samples(batch, event, sample_shape):
    normal = fd.Normal(np.zeros((2, *event)), 1.0)
    d = fd.MixtureSameFamily(fd.Categorical(np.ones((*batch, 2))), fd.Independent(normal, len(event)))
    for method, arguments in ((d.rsample, (sample_shape,)), (d.log_prob, (d.sample(sample_shape),))):
        value, pullback = fd.vjp(method, *arguments)
        assert value.shape == sample_shape + batch + (event if method == d.rsample else ())
        gradients = pullback(1.0)
        assert gradients["component_distribution"]["loc"].shape == (2, *event)
        assert gradients["mixture_distribution"]["probs"].shape == (*batch, 2)
    assert d.mean.shape == d.variance.shape == batch + event


# ---- objects ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_parts_copies_and_parameters(kind):
    d = mixtures()[kind]
    x = d.sample(2, rng=0)
    for again in (
        copy.copy(d),
        copy.deepcopy(d),
        pickle.loads(pickle.dumps(d)),
        type(d)(**d.parameters),
        d.expand((2, 4, 3))[1],
        fd.stack([d, d[::-1]])[0],
        d.replace(mixture_distribution=d.mixture_distribution),
    ):
        assert again.batch_shape == (4, 3)
        assert_same_bits(again.sample(2, rng=0), x)
        assert_same_bits(again.log_prob(x), d.log_prob(x))
    for index in (0, (slice(None), 2), (None, ..., 1), ([3, 0],), np.arange(4) > 1):
        part = d[index]
        assert part.batch_shape == np.empty((4, 3))[index].shape
        assert_same_bits(part.log_prob(x[0, 0, 0]), np.array(d.log_prob(x[0, 0, 0])[index]))
        assert part.sample(3, rng=0).shape == (3, *part.batch_shape, *d.event_shape)
    assert d[:0].sample(3, rng=0).shape == (3, 0, 3, *d.event_shape)
    assert d[:0].log_prob(x[0, 0, 0]).shape == (0, 3)
    assert repr(d).startswith("MixtureSameFamily(Categorical(logits: ")


def test_dtypes():
    narrow = fd.MixtureSameFamily(weights((2,), np.float32), random_normal((2,), (2,), np.float32))
    mixed = fd.MixtureSameFamily(weights((2,)), random_normal((2,), (2,), np.float32))
    assert (narrow.dtype, mixed.dtype) == (np.float32, np.float64)
    assert narrow.log_prob(np.float32(1)).dtype == narrow.sample(3, rng=0).dtype == np.float32
    assert mixed.log_prob(np.float32(1)).dtype == mixed.sample(3, rng=0).dtype == np.float64
    assert narrow.log_prob(np.float64(1)).dtype == np.float64
    gradients = fd.vjp(mixed.log_prob, 0.5)[1](1.0)
    assert gradients["component_distribution"]["loc"].dtype == np.float32
    assert gradients["mixture_distribution"]["logits"].dtype == np.float64


class Fair(fd.Categorical):
    """Another law than its parent's."""

    def log_prob(self, value, *, out=None):
        return np.zeros(np.shape(value))


@pytest.mark.parametrize(
    ("mixture", "component", "error", "message"),
    [
        (
            fd.Normal(0.0, 1.0),
            fd.Normal(np.zeros(2), 1.0),
            TypeError,
            "mixture_distribution must be a Categorical",
        ),
        (Fair([1.0, 1.0]), fd.Normal(np.zeros(2), 1.0), TypeError, "mixture_distribution .* got Fair"),
        (
            fd.Categorical([1.0, 1.0]),
            "normal",
            TypeError,
            "component_distribution must be a Distribution, got str",
        ),
        (
            fd.Categorical([1.0, 1.0]),
            fd.Normal(0.0, 1.0),
            ValueError,
            r"must have 2 components .* batch_shape \(\)",
        ),
        (fd.Categorical([1.0, 1.0]), fd.Normal(np.zeros(3), 1.0), ValueError, r"got batch_shape \(3,\)"),
        (fd.Categorical(np.ones((3, 2))), fd.Normal(np.zeros((4, 2)), 1.0), ValueError, "broadcast"),
    ],
)
def test_bad_parts(mixture, component, error, message):
    with pytest.raises(error, match=message):
        fd.MixtureSameFamily(mixture, component)


def test_it_is_quiet():
    with np.errstate(all="raise"):
        d = fd.MixtureSameFamily(fd.Categorical([0.0, 1.0]), fd.Normal([0.0, 1e10], [1e-5, 1e5]))
        x, pullback = fd.vjp(d.rsample, (3,), rng=0)
        pullback(np.ones(3))
        for value in (x, [0.0, 1e300, np.inf]):
            _, pullback = fd.vjp(d.log_prob, value)
            pullback(1.0)
            assert (
                np.shape(d.cdf(value))
                == np.shape(d.log_cdf(value))
                == d.posterior_marginal(value).batch_shape
            )
        assert d.mean.shape == d.variance.shape == ()


def test_probabilities_do_not_pass_1():
    """Though sums of rounded weights may, here by an ulp for one in forty."""
    rng = np.random.default_rng(0)
    weights = fd.Categorical(logits=3 * rng.normal(size=(2000, 7)))
    assert (weights.probs.sum(-1) > 1).sum() > 20
    mixture = fd.MixtureSameFamily(weights, fd.Normal(np.zeros(7), 1.0))
    for ends in (mixture.cdf(np.inf), mixture.cdf(50.0), mixture.survival_function(-np.inf)):
        assert (ends <= 1).all()
        np.testing.assert_allclose(ends, 1, rtol=1e-15)


def test_supports_that_differ_by_component():
    low, high = np.array([[0.0, 2.0], [-1.0, 0.0]]), np.array([[1.0, 3.0], [0.0, np.inf]])
    components = fd.TruncatedNormal(0.0, 1.0, low, high)
    mixture = fd.MixtureSameFamily(fd.Categorical([0.5, 0.5]), components)
    support = mixture.support
    assert support.check(mixture.sample(100, rng=0)).all()
    values = [[0.5], [1.5], [2.5], [-0.5], [9.0]]
    wanted = [[True, True], [False, True], [True, True], [False, True], [False, True]]
    np.testing.assert_array_equal(support.check(values), wanted)
    np.testing.assert_array_equal(support.check(values), mixture.prob(values) > 0)
    assert support.lower_bound.tolist() == [0, -1]
    assert support.upper_bound.tolist() == [3, np.inf]
    assert pickle.loads(pickle.dumps(support)) == support != components.support
    assert hash(support) == hash(mixture.support)
    pairs = fd.Independent(fd.TruncatedNormal(np.zeros((2, 2, 3)), 1.0, low[..., None], high[..., None]), 1)
    of_pairs = fd.MixtureSameFamily(fd.Categorical([0.5, 0.5]), pairs)
    assert of_pairs.support.check(of_pairs.sample(100, rng=0)).all()
    assert not of_pairs.support.check([0.5, 0.5, 2.5])[0]
    assert (
        fd.MixtureSameFamily(fd.Categorical([0.5, 0.5]), fd.Normal([0.0, 1.0], 1.0)).support
        is fd.constraints.real
    )
