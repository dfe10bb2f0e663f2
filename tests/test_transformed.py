"""TransformedDistribution, the three distributions that are transformed Normals, and `sample_and_log_prob` of all."""

import pickle

import mpmath
import numpy as np
import pytest
from cases import DTYPES, KINDS, LAYOUTS, assert_same_bits, one_of_each, random_mvn, random_normal, state_of
from user_written import USER_WRITTEN, user_written

import fastdist as fd
from fastdist import transforms as t

INF = np.inf
EPS = {np.float32: 2.0**-23, np.float64: 2.0**-52}


def normal(dtype=np.float64):
    return random_normal((4, 3), (3,), dtype)


def some(dtype=np.float64):
    """Transformed distributions of batch (4, 3)."""
    g = np.random.default_rng(5)
    rows = g.uniform(0.5, 2, (3, 1)).astype(dtype)
    affine = t.AffineTransform(g.normal(size=(4, 1)).astype(dtype), -rows[:, 0])
    vectors = fd.Independent(random_normal((4, 3, 2), (3, 1), dtype), 1)
    return {
        "tanh": fd.TransformedDistribution(vectors, t.TanhTransform()),
        "affine, tanh": fd.TransformedDistribution(normal(dtype), [affine, t.TanhTransform()]),
        "sigmoid, inverse affine": fd.TransformedDistribution(
            normal(dtype), [t.SigmoidTransform(), affine.inv]
        ),
        "softplus, power": fd.TransformedDistribution(
            normal(dtype), [t.SoftplusTransform(), t.PowerTransform(-rows[:, 0])]
        ),
        "exp of MVN": fd.TransformedDistribution(
            random_mvn("scale_tril", (3, 2), (4, 1, 2, 2), dtype), t.IndependentTransform(t.ExpTransform(), 1)
        ),
        "affine": fd.TransformedDistribution(vectors, t.AffineTransform(rows, rows, 1)),
        "composed": fd.TransformedDistribution(
            normal(dtype), t.ComposeTransform([t.ExpTransform(), t.ExpTransform().inv, affine])
        ),
    }


def of_normal(dtype=np.float64):
    loc, scale = normal(dtype).loc.copy(), normal(dtype).scale.copy()
    return {
        "LogNormal": fd.LogNormal(loc, scale[0]),
        "HalfNormal": fd.HalfNormal(scale),
        "LogitNormal": fd.LogitNormal(loc, scale[0]),
    }


NAMES = (*some(), *of_normal())


def made(name, dtype=np.float64):
    return {**some(dtype), **of_normal(dtype)}[name]


EVERY = (*KINDS, *NAMES, *(name for name in USER_WRITTEN if name not in ("LogNormal", "Student")))


def every(name, dtype=np.float64):
    if name in NAMES:
        return made(name, dtype)
    return (one_of_each if name in KINDS else user_written)(dtype)[name]


# ---- draws and their densities -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EVERY)
def test_sample_and_log_prob(name, dtype, isa):
    """The draw is sample's, the density that of the draw; whoever makes them, and however many at a time."""
    d = every(name, dtype)
    for make in (fd.default_rng, np.random.default_rng):
        ours, theirs = make(1), make(1)
        x, density = d.sample_and_log_prob((200,), rng=ours)
        assert_same_bits(x, d.sample((200,), rng=theirs))
        assert state_of(ours) == state_of(theirs)
        assert (density.shape, density.dtype) == ((200, 4, 3), dtype)
        value = d.log_prob(x)
        close = np.abs(density - value) < (2e-3 if dtype == np.float32 else 1e-9)
        assert close.mean() > 0.95, (density - value)[~close]
    x, density = d.sample_and_log_prob((200,), rng=1)
    for workers in (1, 3):
        again = d.sample_and_log_prob((200,), rng=1, workers=workers)
        assert_same_bits(again[0], x)
        assert_same_bits(again[1], density)
    g = fd.default_rng(1)
    parts = [d.sample_and_log_prob((n,), rng=g) for n in (1, 0, 50, 149)]
    assert_same_bits(np.concatenate([part[0] for part in parts]), x)
    assert_same_bits(np.concatenate([part[1] for part in parts]), density)
    assert_same_bits(d.sample_and_log_prob(rng=1)[1], density[0].copy())


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "read-only"])
def test_pairs_of_out(layout):
    d = made("tanh")
    x, density = d.sample_and_log_prob((5,), rng=0)
    outs = [LAYOUTS[layout](np.full_like(one, 7)) for one in (x, density)]
    for out in ((outs[0], None), (None, outs[1]), tuple(outs), outs):
        got = d.sample_and_log_prob((5,), rng=0, out=out)
        for one, given, wanted in zip(got, out, (x, density), strict=True):
            assert given is None or one is given
            np.testing.assert_array_equal(one, wanted)


def test_errors_move_nothing():
    d, g = made("tanh"), fd.default_rng(0)
    state, out = state_of(g), np.full((4, 3, 2), 7.0)
    for bad, error in (
        (out, TypeError),
        ((out,), TypeError),
        ((out, np.zeros((4, 2))), ValueError),
        ((out, np.zeros((4, 3), np.float32)), TypeError),
        ((out[:2], None), ValueError),
    ):
        with pytest.raises(error, match="out"):
            d.sample_and_log_prob(rng=g, out=bad)
    assert state_of(g) == state
    assert (out == 7).all()


@pytest.mark.parametrize("name", EVERY)
def test_large_draws(name, isa):
    """Of many tiles: each is what it is among few."""
    d, g = every(name), fd.default_rng(3)
    n = 4000
    x, density = d.sample_and_log_prob((n,), rng=3, workers=2)
    for _ in range(4):
        some_x, some_density = d.sample_and_log_prob((n // 4,), rng=g)
        assert_same_bits(some_x, x[: n // 4].copy())
        assert_same_bits(some_density, density[: n // 4].copy())
        x, density = x[n // 4 :], density[n // 4 :]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0.1, 5.0, 100.0])
def test_saturated_actions(scale, dtype, isa):
    """The density of tanh(x) is right where tanh(x) has been rounded to 1."""
    loc = np.array([0.0, 1.0, -3.0], dtype)
    policy = fd.TransformedDistribution(fd.Normal(loc, np.array(scale, dtype)), [t.TanhTransform()])
    y, density = policy.sample_and_log_prob((50,), rng=0)
    eps = fd.standard_normal((50, 3), rng=0, dtype=dtype)
    assert (np.abs(y) == 1).any() == (scale == 100 or (scale == 5 and dtype == np.float32))
    assert np.isfinite(density).all()
    with mpmath.workdps(60):
        for i in np.ndindex(50, 3):
            e = mpmath.mpf(float(eps[i]))
            x = mpmath.mpf(float(loc[i[1]])) + mpmath.mpf(float(dtype(scale))) * e
            terms = (
                e * e / 2,
                mpmath.log(mpmath.mpf(float(dtype(scale)))),
                mpmath.log(2 * mpmath.pi) / 2,
                2 * mpmath.log(mpmath.sech(x)),
            )
            exact = -sum(terms)
            # x itself is rounded, by which its slope's logarithm changes.
            bound = (
                4 * EPS[dtype] * (1 + sum(map(abs, terms)) + 2 * (abs(x) + abs(mpmath.mpf(float(loc[i[1]])))))
            )
            assert abs(float(density[i]) - exact) < bound
    given = policy.log_prob(y)
    assert (given[np.abs(y) == 1] == -np.inf).all()
    assert np.isfinite(given[np.abs(y) < 1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_densities_at_the_ends(dtype, isa):
    inf, nan = np.inf, np.nan
    base = fd.Normal(np.zeros((), dtype), np.ones((), dtype))
    value = np.array([-inf, -2, -1, -0.0, 0, 1, 2, inf, nan], dtype)
    finite = {
        "Tanh": [-2, 3, 4],
        "Exp": [5, 6],
        "Sigmoid": [],
        "Softplus": [5, 6],
    }
    for name, indices in finite.items():
        density = fd.TransformedDistribution(base, getattr(t, f"{name}Transform")()).log_prob(value)
        inside = np.zeros(9, bool)
        inside[[i for i in indices if i >= 0]] = True
        assert np.isfinite(density[inside]).all(), name
        assert (density[:8][~inside[:8]] == -inf).all(), (name, density)
        assert np.isnan(density[8])
    for p in (2.0, 0.5, -1.0):
        density = fd.TransformedDistribution(
            fd.LogNormal(np.zeros((), dtype), 1.0), t.PowerTransform(p)
        ).log_prob(value)
        assert (density[[0, 1, 2, 3, 4, 7]] == -inf).all()
        assert np.isfinite(density[5:7]).all()
        assert np.isnan(density[8])


class Shifted(fd.Normal):
    def log_density(self, value):
        return np.full(np.broadcast_shapes(value.shape, self.batch_shape), 5.0)


class Doubled(fd.Normal):
    def sample(self, sample_shape=(), **kwargs):
        return 2 * super().sample(sample_shape, **kwargs)


class Own(fd.Normal):
    def sample_and_log_prob(self, sample_shape=(), *, rng=None, out=None, workers=None):
        x = self.sample(sample_shape, rng=rng)
        result = x, np.full_like(x, 9.0)
        if out is not None:
            for to, one in zip(out, result, strict=True):
                to[...] = one
        return result


def test_what_subclasses_override_is_honoured():
    for cls, value in ((Shifted, 5.0), (Own, 9.0)):
        d = cls(np.zeros(3), 1.0)
        assert (d.sample_and_log_prob((2,), rng=0)[1] == value).all()
        assert (fd.Independent(d, 1).sample_and_log_prob((2,), rng=0)[1] == 3 * value).all()
        moved = fd.TransformedDistribution(d, t.AffineTransform(1.0, 1.0))
        assert (moved.sample_and_log_prob((2,), rng=0)[1] == value).all()
    d = Doubled(np.zeros(3), 1.0)
    for one in (d, fd.Independent(d, 1), fd.TransformedDistribution(d, t.AffineTransform(0.0, 1.0))):
        x, density = one.sample_and_log_prob((2,), rng=0)
        assert_same_bits(x, d.sample((2,), rng=0))
        np.testing.assert_allclose(density, one.log_prob(x))


class Cube(t.Transform):
    domain = codomain = fd.constraints.real
    bijective = True
    sign = 1

    def _call(self, x):
        return x**3

    def _inverse(self, y):
        return np.cbrt(y)

    def log_abs_det_jacobian(self, x, y):
        return np.log(3 * x**2)


def test_a_transform_of_ones_own():
    d = fd.TransformedDistribution(fd.Independent(normal(), 1), [Cube(), t.ExpTransform()])
    x, density = d.sample_and_log_prob((2000,), rng=0)
    base = d.base_dist.sample((2000,), rng=0)
    np.testing.assert_allclose(x, np.exp(base**3))
    wanted = d.base_dist.log_prob(base) - (np.log(3 * base**2) + base**3).sum(-1)
    np.testing.assert_allclose(density, wanted)
    np.testing.assert_allclose(d.log_prob(x[:5]), wanted[:5], rtol=1e-6)
    scalar = fd.TransformedDistribution(normal(), Cube())
    np.testing.assert_allclose(scalar.cdf(8.0), normal().cdf(2.0))
    with pytest.raises(NotImplementedError, match="Cube has no gradients"):
        fd.vjp(d.rsample, rng=0)[1](1.0)


# ---- densities -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_densities_are_slopes_of_the_base(name):
    """log p(y) = log p(x) - log |dy/dx|, from the transforms themselves."""
    d = made(name)
    y = d.sample((7,), rng=0)
    if name == "HalfNormal":
        np.testing.assert_allclose(d.log_prob(y), d.base_dist.log_prob(y) + np.log(2))
        return
    values, less = [y], 0
    for transform in reversed(d.transforms):
        values.append(transform.inv(values[-1]))
        log_det = transform.log_abs_det_jacobian(values[-1], values[-2])
        less = less + log_det.reshape(7, 4, 3, -1).sum(-1)
    np.testing.assert_allclose(d.log_prob(y), d.base_dist.log_prob(values[-1]) - less, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_values_broadcast_and_blocks_are_of_no_account(name, isa):
    d = made(name)
    y = d.sample((7,), rng=0)
    whole = d.log_prob(y)
    for index in np.ndindex(7, 4, 3):
        assert_same_bits(d[index[1:]].log_prob(y[index]), np.array(whole[index]))
    one = y[0, 0, 0]
    assert_same_bits(d.log_prob(one), d.log_prob(np.broadcast_to(one, (4, 3, *one.shape))))
    many = np.tile(y, (900,) + (1,) * (y.ndim - 1))
    assert_same_bits(d.log_prob(many), np.tile(whole, (900, 1, 1)))
    out = np.empty_like(whole)
    assert d.log_prob(y, out=out) is out
    assert_same_bits(out, whole)
    assert np.isnan(d.log_prob(np.full_like(y, np.nan))).all()
    narrow = made(name, np.float32)
    assert narrow.log_prob(y.astype(np.float32)).dtype == np.float32
    assert narrow.log_prob(y).dtype == np.float64
    assert d.log_prob(np.zeros((0, *y.shape[1:]))).shape == (0, 4, 3)


def test_independent_sums_over_them(isa):
    for name in NAMES:
        d = made(name)
        y = d.sample((5,), rng=0)
        ind = fd.Independent(d, 1)
        np.testing.assert_allclose(ind.log_prob(y), d.log_prob(y).sum(-1), rtol=1e-12)
        x, density = ind.sample_and_log_prob((5,), rng=0)
        assert_same_bits(x, y)
        np.testing.assert_allclose(
            density, d.sample_and_log_prob((5,), rng=0)[1].sum(-1), rtol=1e-12, atol=1e-12
        )


# ---- as objects -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_parts_of_batches(name):
    d = made(name)
    y = d.sample((6,), rng=0)
    whole = d.log_prob(y)
    for index in (
        0,
        (1, 2),
        (slice(None), 1),
        np.array([2, 0]),
        (None, ..., slice(1, 3)),
        d.log_prob(y[0]) > -np.inf,
    ):
        part, extra = d[index], (slice(None),) * len(d.event_shape)
        shape = np.empty((4, 3))[index].shape
        assert type(part) is type(d)
        assert part.batch_shape == shape
        entries = index if isinstance(index, tuple) else (index,)
        entries = entries if any(entry is ... for entry in entries) else (*entries, ...)
        value = np.stack([one[(*entries, *extra)] for one in y])
        assert_same_bits(part.log_prob(value), np.stack([one[index] for one in whole]))
    wide = d[:, :1].expand((2, 4, 3))
    assert_same_bits(wide.log_prob(y[0]), d[:, :1].expand((4, 3)).log_prob(y[[0, 0]]))
    both = fd.stack([d[0], d[1]])
    assert_same_bits(both.log_prob(y[:, :2]), whole[:, :2].copy())
    again = pickle.loads(pickle.dumps(d))
    assert_same_bits(again.sample((2,), rng=0), d.sample((2,), rng=0))
    assert repr(again) == repr(d)
    rebuilt = type(d)(**d.parameters)
    assert_same_bits(rebuilt.log_prob(y), whole)
    assert_same_bits(d.replace(validate_args=False).log_prob(y), whole)


def test_transforms_with_batches_of_their_own():
    scale = np.array([[1.0], [2.0], [3.0]])
    d = fd.TransformedDistribution(fd.Normal(np.zeros(2), 1.0), t.AffineTransform(0.0, scale))
    assert (d.batch_shape, d.event_shape) == ((3, 2), ())
    assert_same_bits(d[1].transforms[0].scale, np.array([2.0]))
    x = d.sample((1000,), rng=0)
    np.testing.assert_allclose(x / scale, fd.standard_normal((1000, 3, 2), rng=0))
    event = fd.TransformedDistribution(
        fd.Normal(np.zeros((3, 2)), 1.0), t.AffineTransform(0.0, scale, event_dim=1)
    )
    assert (event.batch_shape, event.event_shape) == ((3,), (2,))
    assert isinstance(event.base_dist, fd.Independent)
    np.testing.assert_allclose(event.log_prob(x), d.log_prob(x).sum(-1))
    assert event.support.event_dim == 1
    stacked = fd.stack(
        [d, fd.TransformedDistribution(fd.Normal(np.zeros(2), 1.0), t.AffineTransform(1.0, 2 * scale))]
    )
    assert stacked.batch_shape == (2, 3, 2)
    assert_same_bits(stacked[0].log_prob(x), d.log_prob(x))


def test_errors():
    base = fd.Normal(np.zeros((3, 2)), 1.0)
    for make, error, match in (
        (
            lambda: fd.TransformedDistribution(1, []),
            TypeError,
            "base_distribution must be a Distribution, got int",
        ),
        (
            lambda: fd.TransformedDistribution(base, fd.transforms.TanhTransform),  # no ()
            TypeError,
            "transforms must be a Transform or a sequence of them, got type",
        ),
        (
            lambda: fd.TransformedDistribution(base, [1]),
            TypeError,
            r"transforms\[0\] must be a Transform, got int",
        ),
        (
            lambda: fd.TransformedDistribution(fd.Normal(0.0, 1.0), t.LowerCholeskyTransform()),
            ValueError,
            "must have 2 dims or more",
        ),
        (
            lambda: fd.TransformedDistribution(base, t.AffineTransform(0.0, np.ones(4))),
            ValueError,
            "broadcast",
        ),
        (lambda: fd.LogNormal(0.0, -1.0), ValueError, "scale must be positive"),
        (lambda: fd.HalfNormal([1.0, 0.0]), ValueError, r"scale\[1\]"),
        (
            lambda: fd.TransformedDistribution(base, t.ExpTransform()).entropy(),
            NotImplementedError,
            "no entropy unless",
        ),
        (
            lambda: fd.TransformedDistribution(base, t.ExpTransform()).mean,
            NotImplementedError,
            "no mean unless",
        ),
        (lambda: fd.LogitNormal(0.0, 1.0).mean, NotImplementedError, "closed form"),
        (lambda: fd.LogitNormal(0.0, 1.0).entropy(), NotImplementedError, "closed form"),
        (
            lambda: fd.TransformedDistribution(base, t.AbsTransform()).cdf(1.0),
            NotImplementedError,
            "monotone",
        ),
        (lambda: fd.TransformedDistribution(base, t.ExpTransform()).icdf(2.0), ValueError, "probability"),
        (
            lambda: fd.TransformedDistribution(random_mvn("scale_tril", (2,), (2, 2)), t.ExpTransform()).cdf(
                [1.0, 2.0]
            ),
            NotImplementedError,
            "MultivariateNormal, the base, has no cdf",
        ),
        (
            lambda: fd.kl_divergence(
                fd.TransformedDistribution(base, t.ExpTransform()),
                fd.TransformedDistribution(base, t.TanhTransform()),
            ),
            NotImplementedError,
            "no KL divergence of transformed distributions unless",
        ),
    ):
        with pytest.raises(error, match=match):
            make()


def test_lower_cholesky():
    """Random factors: draws without a density."""
    base = fd.Independent(fd.Normal(np.zeros((4, 3, 3)), 1.0), 2)
    d = fd.TransformedDistribution(base, t.LowerCholeskyTransform())
    x = d.sample((5,), rng=0)
    assert d.support.check(x).all()
    with pytest.raises(NotImplementedError, match="log_abs_det_jacobian"):
        d.log_prob(x)


# ---- moments, entropies, divergences ---------------------------------------------------------------------


LOCS_AND_SCALES = [
    (0.0, 1.0),
    (-3.0, 0.1),
    (700.0, 1e-3),
    (-700.0, 5.0),
    (0.0, 20.0),
    (1e-3, 1e-12),
    (-300.0, 1e-160),
    (-400.0, 30.0),
]


@pytest.mark.parametrize(("loc", "scale"), LOCS_AND_SCALES)
def test_moments_of_log_normal(loc, scale):
    d = fd.LogNormal(loc, scale)
    with mpmath.workdps(400):
        m, s = mpmath.mpf(loc), mpmath.mpf(scale)
        wanted = {
            "mean": mpmath.exp(m + s * s / 2),
            "mode": mpmath.exp(m - s * s),
            "stddev": mpmath.sqrt(mpmath.expm1(s * s)) * mpmath.exp(m + s * s / 2),
            "variance": mpmath.expm1(s * s) * mpmath.exp(2 * m + s * s),
        }
        for name, exact in wanted.items():
            got, exact = float(getattr(d, name)), float(exact)
            np.testing.assert_allclose(
                got, exact, rtol=4e-16 * (4 + 4 * abs(loc) + 4 * scale * scale), atol=1e-320
            )
        entropy = m + mpmath.log(s) + mpmath.log(2 * mpmath.pi * mpmath.e) / 2
        np.testing.assert_allclose(float(d.entropy()), float(entropy), rtol=1e-15, atol=1e-15)


def test_moments_of_half_normal():
    d = fd.HalfNormal([1.0, 1e-300, 3e150])
    scale = d.scale
    np.testing.assert_allclose(d.mean, np.sqrt(2 / np.pi) * scale, rtol=1e-15)
    np.testing.assert_allclose(d.stddev, np.sqrt(1 - 2 / np.pi) * scale, rtol=1e-15)
    np.testing.assert_allclose(d.variance[:1], 1 - 2 / np.pi, rtol=1e-15)
    np.testing.assert_array_equal(d.mode, 0)
    np.testing.assert_allclose(d.entropy(), 0.5 + 0.5 * np.log(np.pi / 2) + np.log(scale), rtol=1e-15)
    x = d[0].sample(200_000, rng=0)
    assert abs(x.mean() - d.mean[0]) < 5 * d.stddev[0] / 200_000**0.5  # 6e-7


def test_affine_moments():
    d = some()["affine"]
    base, transform = d.base_dist, d.transforms[0]
    np.testing.assert_allclose(d.mean, transform(base.mean))
    np.testing.assert_allclose(d.mode, transform(base.mode))
    np.testing.assert_allclose(d.stddev, transform.scale * base.stddev)
    np.testing.assert_allclose(d.variance, (transform.scale * base.stddev) ** 2)
    wanted = base.entropy() + np.log(np.broadcast_to(transform.scale, (4, 3, 2))).sum(-1)
    np.testing.assert_allclose(d.entropy(), wanted)
    inverse = fd.TransformedDistribution(base, transform.inv)
    np.testing.assert_allclose(inverse.mean, transform.inv(base.mean))
    np.testing.assert_allclose(inverse.stddev, base.stddev / transform.scale)
    assert not d.mean.flags.writeable


def test_divergences():
    p, q = normal(), fd.Normal(0.5, 2.0)
    wanted = fd.kl_divergence(p, q)
    exp = t.ExpTransform()
    moved = [fd.TransformedDistribution(one, exp) for one in (p, q)]
    np.testing.assert_array_equal(fd.kl_divergence(*moved), wanted)
    log_normals = [fd.LogNormal(one.loc, one.scale) for one in (p, q)]
    np.testing.assert_array_equal(fd.kl_divergence(*log_normals), wanted)
    np.testing.assert_array_equal(fd.kl_divergence(log_normals[0], moved[1]), wanted)
    half = [fd.HalfNormal(one.scale) for one in (p, q)]
    np.testing.assert_allclose(
        fd.kl_divergence(*half), fd.kl_divergence(fd.Normal(0.0, p.scale), fd.Normal(0.0, q.scale))
    )
    affine = t.AffineTransform(1.0, -2.0)
    direct = fd.Normal(1 - 2 * p.loc, 2 * p.scale)
    through = fd.TransformedDistribution(p, affine)
    np.testing.assert_allclose(fd.kl_divergence(through, q), fd.kl_divergence(direct, q))
    np.testing.assert_allclose(fd.kl_divergence(q, through), fd.kl_divergence(q, direct))
    other = fd.TransformedDistribution(q, t.AffineTransform(0.0, 3.0))
    np.testing.assert_allclose(
        fd.kl_divergence(through, other), fd.kl_divergence(direct, fd.Normal(1.5, 6.0))
    )
    events = fd.Independent(normal(), 1)
    mvn = fd.MultivariateNormal(np.zeros(3), covariance_matrix=np.eye(3))
    through = fd.TransformedDistribution(events, affine)
    np.testing.assert_allclose(
        fd.kl_divergence(through, mvn), fd.kl_divergence(fd.Independent(direct, 1), mvn)
    )
    np.testing.assert_allclose(
        fd.kl_divergence(fd.TransformedDistribution(mvn, affine), through),
        fd.kl_divergence(
            fd.MultivariateNormal(np.ones(3), covariance_matrix=4 * np.eye(3)), fd.Independent(direct, 1)
        ),
    )


# ---- the cdf family ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_cdfs_of_log_normal(dtype):
    loc, scale = dtype(0.5), dtype(1.5)
    d = fd.LogNormal(loc, scale)
    x = np.exp(np.linspace(-40, 40, 33)).astype(dtype)
    with mpmath.workdps(60):
        z = [
            (mpmath.log(mpmath.mpf(float(one))) - mpmath.mpf(float(loc))) / mpmath.mpf(float(scale))
            for one in x
        ]
        lower, upper = ([float(f(one)) for one in z] for f in (mpmath.ncdf, lambda one: mpmath.ncdf(-one)))
        log_lower = [
            float(mpmath.log(mpmath.ncdf(one)) if one < 0 else mpmath.log1p(-mpmath.ncdf(-one))) for one in z
        ]
    tolerance = {
        "rtol": 800 * EPS[dtype],
        "atol": np.finfo(dtype).tiny,
    }  # the logarithm's rounding, times z^2
    np.testing.assert_allclose(d.cdf(x), np.array(lower, dtype), **tolerance)
    np.testing.assert_allclose(d.survival_function(x), np.array(upper, dtype), **tolerance)
    np.testing.assert_allclose(d.log_cdf(x), np.array(log_lower, dtype), **tolerance)
    np.testing.assert_array_equal(d.cdf(np.array([-1, 0, np.inf], dtype)), [0, 0, 1])
    np.testing.assert_array_equal(d.log_survival_function(np.array([-1, 0, np.inf], dtype)), [0, 0, -np.inf])
    p = np.array([1e-30, 0.1, 0.5, 0.9], dtype)
    np.testing.assert_allclose(d.cdf(d.icdf(p)), p, rtol=400 * EPS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_cdfs_of_half_normal(dtype):
    scale = dtype(1.5)
    d = fd.HalfNormal(scale)
    x = np.concatenate([np.exp(np.linspace(-60, 3.5, 60)), [0.7499, 0.75, 0.7501, 1.0117]]).astype(dtype)
    with mpmath.workdps(60):
        z = [mpmath.mpf(float(one)) / mpmath.mpf(float(scale)) for one in x]
        cdf = [mpmath.erf(one / mpmath.sqrt(2)) for one in z]
        survival = [mpmath.erfc(one / mpmath.sqrt(2)) for one in z]
        wanted = {
            "cdf": cdf,
            "survival_function": survival,
            "log_cdf": [
                mpmath.log1p(-b) if b < 0.5 else mpmath.log(a) for a, b in zip(cdf, survival, strict=True)
            ],
            "log_survival_function": [mpmath.log(one) for one in survival],
        }
        for method, exact in wanted.items():
            exact = np.array([float(one) for one in exact]).astype(dtype)
            np.testing.assert_allclose(
                getattr(d, method)(x), exact, rtol=8 * EPS[dtype], atol=np.finfo(dtype).tiny, err_msg=method
            )
        p = np.array([0, 1e-30, 1e-9, 0.1, 0.4999, 0.5, 0.9, 1 - 1e-6, 1], dtype)
        exact = [float(mpmath.sqrt(2) * mpmath.erfinv(mpmath.mpf(float(one))) * scale) for one in p]
    np.testing.assert_allclose(d.icdf(p), np.array(exact, dtype), rtol=8 * EPS[dtype])
    np.testing.assert_array_equal(d.cdf([-1.0, np.nan, np.inf]), [0, np.nan, 1])
    with pytest.raises(ValueError, match="probability"):
        d.icdf(1.5)
    assert (d.log_prob([-1.0, -1e-300]) == -np.inf).all()
    np.testing.assert_allclose(d.log_prob(0.0), fd.Normal(0.0, scale).log_prob(0.0) + np.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["affine, tanh", "sigmoid, inverse affine", "softplus, power", "composed", "LogitNormal"]
)
def test_cdfs_through_transforms(name):
    """By draws' ranks: of the base, upwards or downwards."""
    d = made(name)
    x = d.base_dist.sample((50,), rng=0)
    y = d.sample((50,), rng=0)
    up = np.broadcast_to(np.prod([np.broadcast_to(one.sign, (4, 3)) for one in d.transforms], 0) > 0, (4, 3))
    base = d.base_dist
    pairs = {
        "cdf": "survival_function",
        "survival_function": "cdf",
        "log_cdf": "log_survival_function",
        "log_survival_function": "log_cdf",
    }
    for method, other in pairs.items():
        wanted = np.where(up, getattr(base, method)(x), getattr(base, other)(x))
        np.testing.assert_allclose(getattr(d, method)(y), wanted, rtol=1e-7, err_msg=method)
    p = d.cdf(y)
    np.testing.assert_allclose(d.icdf(p), y, rtol=1e-6)
    out = np.empty_like(p)
    assert d.cdf(y, out=out) is out
    assert_same_bits(out, p)


def test_cdfs_that_go_either_way():
    d = fd.TransformedDistribution(fd.Normal(0.0, 1.0), t.AffineTransform(0.0, [1.0, -1.0]))
    np.testing.assert_allclose(d.cdf(1.0), 0.8413447460685429)
    np.testing.assert_allclose(d.cdf([1.0, -1.0]), [0.8413447460685429, 0.15865525393145707])
    np.testing.assert_allclose(d.icdf(0.1), [-1.2815515655446004] * 2)


# ---- gradients -------------------------------------------------------------------------------------------


def flat(gradients, prefix=()):
    """Nested dicts and lists by paths."""
    if isinstance(gradients, dict):
        return {k: v for key, one in gradients.items() for k, v in flat(one, (*prefix, key)).items()}
    if isinstance(gradients, list):
        return {k: v for key, one in enumerate(gradients) for k, v in flat(one, (*prefix, key)).items()}
    return {prefix: gradients}


# Of each, parameters by path and a constructor from them.
def built(name, a):
    loc, scale, shift, factor = a["loc"], np.exp(a["scale"]), a["shift"], np.exp(a["factor"])
    base = fd.Normal(loc, scale)
    affine = t.AffineTransform(shift, -factor)
    return {
        "tanh": lambda: fd.TransformedDistribution(fd.Independent(base, 1), t.TanhTransform()),
        "affine, tanh": lambda: fd.TransformedDistribution(base, [affine, t.TanhTransform()]),
        "inverse affine": lambda: fd.TransformedDistribution(base, [t.SigmoidTransform(), affine.inv]),
        "softplus, power": lambda: fd.TransformedDistribution(
            fd.Independent(base, 1), [t.SoftplusTransform(), t.PowerTransform(-factor)]
        ),
        "composed": lambda: fd.TransformedDistribution(
            base,
            [
                t.ComposeTransform([t.ExpTransform(), t.PowerTransform(factor)]),
                t.IndependentTransform(affine, 1),
            ],
        ),
        "MVN": lambda: fd.TransformedDistribution(
            fd.MultivariateNormal(loc, scale_tril=np.diag(np.broadcast_to(scale, 3))),
            [t.ExpTransform(), affine],
        ),
        "affine": lambda: fd.TransformedDistribution(fd.Independent(base, 1), [affine, affine.inv, affine]),
        "LogNormal": lambda: fd.LogNormal(loc, scale),
        "HalfNormal": lambda: fd.HalfNormal(scale),
        "LogitNormal": lambda: fd.LogitNormal(loc, scale),
        "Normal": lambda: base,
        "Independent": lambda: fd.Independent(base, 1),
    }[name]()


def arrays():
    g = np.random.default_rng(0)
    return {
        "loc": g.normal(size=(2, 3)),
        "scale": 0.3 * g.normal(size=3),
        "shift": g.normal(size=(2, 1)),
        "factor": 0.2 * g.normal(size=()),
    }


# What a change of the arrays does to a parameter that ends a path.
def change_of(path, shape, a, da):
    factor, scale = np.exp(a["factor"]), np.exp(a["scale"])
    if path[-1] == "scale_tril":
        return np.diag(scale * da["scale"])
    if path[-1] == "loc" and "transforms" in path:
        return da["shift"]
    if path[-1] == "scale" and "transforms" in path:
        return -factor * da["factor"]
    if path[-1] == "exponent":
        return factor * da["factor"]
    return {"loc": da["loc"], "scale": scale * da["scale"]}[path[-1]]


NAMES_OF_GRADIENTS = [
    "tanh",
    "affine, tanh",
    "inverse affine",
    "softplus, power",
    "composed",
    "MVN",
    "affine",
    "LogNormal",
    "HalfNormal",
    "LogitNormal",
    "Normal",
    "Independent",
]


@pytest.mark.parametrize("name", NAMES_OF_GRADIENTS)
def test_gradients(name):
    """Against differences, along a direction of all parameters and of the value."""
    g, a = np.random.default_rng(1), arrays()
    da = {key: g.normal(size=one.shape) for key, one in a.items()}
    d = built(name, a)
    value = d.sample((4,), rng=7)
    dvalue = 0.01 * g.normal(size=value.shape) * np.abs(value)

    def moved(h):
        return built(name, {key: one + h * da[key] for key, one in a.items()})

    methods = {
        "rsample": (lambda h: (moved(h).rsample((4,), rng=3),), lambda: fd.vjp(d.rsample, (4,), rng=3)),
        "log_prob": (lambda h: (moved(h).log_prob(value + h * dvalue),), lambda: fd.vjp(d.log_prob, value)),
        "both": (
            lambda h: moved(h).sample_and_log_prob((4,), rng=3),
            lambda: fd.vjp(d.sample_and_log_prob, (4,), rng=3),
        ),
    }
    if name in ("affine", "LogNormal", "HalfNormal", "Normal"):
        methods["entropy"] = (lambda h: (moved(h).entropy(),), lambda: fd.vjp(d.entropy))
    for method, (evaluate, differentiate) in methods.items():
        out, pullback = differentiate()
        outs = out if isinstance(out, tuple) else (out,)
        cotangents = tuple(g.normal(size=one.shape) for one in outs)
        gradients = flat(pullback(cotangents if len(outs) == 2 else cotangents[0]))
        inner = 0.0
        for path, one in gradients.items():
            change = dvalue if path == ("value",) else change_of(path, one.shape, a, da)
            if name == "softplus, power" and path[-1] == "exponent":
                change = -change
            inner += np.sum(one * change)
        h = 1e-5
        slope = sum(
            np.sum(c * (up - down) / (2 * h))
            for c, up, down in zip(cotangents, evaluate(h), evaluate(-h), strict=True)
        )
        np.testing.assert_allclose(inner, slope, rtol=2e-6, atol=2e-6, err_msg=method)


def test_gradients_are_nested():
    d = built("composed", arrays())
    x, pullback = fd.vjp(d.rsample, (4,), rng=0)
    gradients = pullback(np.ones_like(x))
    assert gradients.keys() == {"base_distribution", "transforms"}
    assert {name: one.shape for name, one in gradients["base_distribution"].items()} == {
        "loc": (2, 3),
        "scale": (3,),
    }
    parts, affine = gradients["transforms"]
    assert parts["parts"][0] == {}
    assert parts["parts"][1]["exponent"].shape == ()
    assert {name: one.shape for name, one in affine["base_transform"].items()} == {"loc": (2, 1), "scale": ()}
    flat_ones = fd.vjp(fd.LogNormal(np.zeros(3), 1.0).log_prob, np.ones((4, 3)))[1](1.0)
    assert {name: one.shape for name, one in flat_ones.items()} == {"loc": (3,), "scale": (), "value": (4, 3)}


def test_gradients_of_saturated_actions():
    """The pathwise gradient of the density stays finite, and is that of the density as a function of x."""
    d = fd.TransformedDistribution(fd.Normal([300.0, -300.0], 1.0), t.TanhTransform())
    (_, density), pullback = fd.vjp(d.sample_and_log_prob, rng=0)
    by = pullback((None, np.ones(2)))["base_distribution"]
    np.testing.assert_allclose(by["loc"], [2, -2], rtol=1e-12)
    assert np.isfinite(density).all()
    assert np.isfinite(by["scale"]).all()


def test_pairs_of_cotangents():
    d = fd.Normal(np.zeros(3), 1.0)
    _, pullback = fd.vjp(d.sample_and_log_prob, (5,), rng=0)
    both, first, second = pullback((1.0, 2.0)), pullback((1.0, None)), pullback((None, np.full(3, 2.0)))
    for name, one in both.items():
        np.testing.assert_allclose(one, first[name] + second[name])
    for bad in (1.0, np.ones((5, 3)), (1.0,)):
        with pytest.raises(TypeError, match="must be a pair"):
            pullback(bad)


@pytest.mark.parametrize("name", EVERY)
def test_gradients_of_both_are_those_of_each(name):
    """The noise held fixed: of a draw and its density, as if one came after the other."""
    d = every(name)
    (x, density), pullback = fd.vjp(d.sample_and_log_prob, (3,), rng=0)
    g = np.random.default_rng(0)
    cotangents = g.normal(size=x.shape), g.normal(size=density.shape)
    got = flat(pullback(cotangents))
    _, of_density = fd.vjp(d.log_prob, x)
    by_density = of_density(cotangents[1])
    by_value = by_density.pop("value")
    _, of_draw = fd.vjp(d.rsample, (3,), rng=0)
    by_draw = flat(of_draw(cotangents[0] + by_value))
    for path, one in flat(by_density).items():
        np.testing.assert_allclose(got[path], one + by_draw[path], rtol=1e-6, atol=1e-6, err_msg=path)


def test_gradients_of_divergences():
    a, b = arrays(), {key: one + 0.1 for key, one in arrays().items()}
    for name in ("tanh", "LogNormal", "HalfNormal"):
        p, q = built(name, a), built(name, b)
        value, pullback = fd.vjp(fd.kl_divergence, p, q)
        by = {side: flat(one) for side, one in pullback(np.ones_like(value)).items()}
        h, da = 1e-6, {key: np.ones_like(one) for key, one in a.items()}
        up, down = (built(name, {key: one + s * h for key, one in a.items()}) for s in (1, -1))
        slope = (fd.kl_divergence(up, q) - fd.kl_divergence(down, q)).sum() / (2 * h)
        inner = sum(np.sum(one * change_of(path, one.shape, a, da)) for path, one in by["p"].items())
        np.testing.assert_allclose(inner, slope, rtol=1e-6)


CDFS = ("cdf", "survival_function", "log_cdf", "log_survival_function", "icdf")


def slope_of(f, h=1e-5):
    """The derivative of f at 0, by central differences."""
    return (f(h) - f(-h)) / (2 * h)


@pytest.mark.parametrize("method", CDFS)
@pytest.mark.parametrize("law", ["LogNormal", "HalfNormal", "LogitNormal", "down and up", "truncated"])
def test_gradients_of_the_cdf_family(law, method):
    """By all parameters and the value, against finite differences; transforms that increase or decrease."""
    g = np.random.default_rng(0)
    given = {"loc": g.normal(size=3), "scale": g.uniform(0.5, 2, (4, 1)), "shift": np.array(0.3)}
    given |= {"factor": np.array([-0.5, 1.0, 2.0]), "value": g.uniform(0.1, 0.9, (2, 4, 3))}

    def build(loc, scale, shift, factor, value):
        if law in ("LogNormal", "LogitNormal"):
            return getattr(fd, law)(loc, scale)
        if law == "HalfNormal":
            return fd.HalfNormal(scale)
        affine = t.AffineTransform(shift, factor)
        if law == "down and up":
            return fd.TransformedDistribution(fd.Normal(loc, scale), [affine, t.ExpTransform()])
        return fd.TransformedDistribution(fd.TruncatedNormal(loc, scale, -9.0, 9.0), affine)

    value, pullback = fd.vjp(getattr(build(**given), method), given["value"])
    c = g.normal(size=value.shape)
    found = flat(pullback(c))
    change = {key: g.normal(size=one.shape) for key, one in given.items()}
    names = {("transforms", 0, "loc"): "shift", ("transforms", 0, "scale"): "factor"}
    inner = sum(
        np.sum(one * change[names.get(path, path[-1])])
        for path, one in found.items()
        if path[-1] not in ("low", "high")
    )

    def at(h):
        arrays = {key: one + h * change[key] for key, one in given.items()}
        return np.sum(c * getattr(build(**arrays), method)(arrays["value"]))

    np.testing.assert_allclose(inner, slope_of(at), rtol=1e-6)


def test_gradients_of_the_cdf_family_beyond_the_support():
    for d, low, high in ((fd.LogNormal(0.0, 1.0), -1.0, INF), (fd.LogitNormal(0.0, 1.0), -0.5, 1.5)):
        for method in CDFS[:2]:
            for one in flat(fd.vjp(getattr(d, method), [low, high])[1](1.0)).values():
                assert not np.any(one), method
    half = fd.HalfNormal(2.0)
    for method in CDFS[:4]:
        assert not any(np.any(one) for one in fd.vjp(getattr(half, method), -1.0)[1](1.0).values())
    y = np.array([1e-20, 1e-3, 60.0])
    found = fd.vjp(half.log_cdf, y)[1]([1.0, 0.0, 0.0])
    np.testing.assert_allclose(found["value"][0], 1e20, rtol=1e-14)
    found = fd.vjp(half.log_survival_function, y)[1]([0.0, 0.0, 1.0])
    np.testing.assert_allclose(found["value"][2], -0.5 * (30 + 1 / 30 - 2 / 30**3 + 10 / 30**5), rtol=1e-8)
    p = np.array([1e-20])
    np.testing.assert_allclose(fd.vjp(half.icdf, p)[1](1.0)["scale"], np.sqrt(np.pi / 2) * 1e-20, rtol=1e-14)


# Gaussians by arrays of a batch (2,) and events (3,), or for all.
GAUSSIANS = {
    "diagonal": lambda loc, scale, **_: fd.Independent(fd.Normal(loc, scale), 1),
    "scale_tril": lambda loc, tril, **_: fd.MultivariateNormal(loc[0], scale_tril=np.tril(tril)),
    **{
        name: lambda loc, tril, name=name, **_: fd.MultivariateNormal(loc, **{name: tril @ tril.T})
        for name in ("covariance_matrix", "precision_matrix")
    },
    "low rank": lambda loc, scale, tril, **_: fd.LowRankMultivariateNormal(loc[1], tril[:, :2], scale),
}


@pytest.mark.parametrize("of_q", GAUSSIANS)
@pytest.mark.parametrize("of_p", GAUSSIANS)
def test_gradients_of_divergences_of_moved_gaussians(of_p, of_q):
    """An affine transform of a Gaussian is one: values, and gradients by all that made it."""
    g = np.random.default_rng(0)

    def arrays():
        tril = np.tril(0.3 * g.normal(size=(3, 3))) + np.eye(3)
        return {"loc": g.normal(size=(2, 3)), "scale": g.uniform(0.5, 2, 3), "tril": tril}

    shift, factor = g.normal(size=(2, 3)), np.array([-1.5, 0.7, 2.0])

    def direct(d):
        rows = (factor / 1.3)[:, None]
        loc = (shift + factor * d.mean - 0.5) / 1.3
        matrix = (
            d.covariance_matrix if not isinstance(d, fd.Independent) else d.variance[..., None] * np.eye(3)
        )
        return fd.MultivariateNormal(loc, covariance_matrix=rows * matrix * rows.T)

    made = GAUSSIANS[of_p](**arrays()), GAUSSIANS[of_q](**arrays())
    through = [moved(d, shift, factor, 1.3) for d in made]
    less = moved(made[1], shift + 1, factor * 1.1, 1.0)
    for p, q, same_p, same_q in (
        (through[0], made[1], direct(made[0]), made[1]),
        (made[0], through[1], made[0], direct(made[1])),
        (through[0], less, None, None),
    ):
        value, pullback = fd.vjp(fd.kl_divergence, p, q)
        if same_p is not None:
            np.testing.assert_allclose(value, fd.kl_divergence(same_p, same_q), rtol=1e-10)
        c = g.normal(size=value.shape)
        found = pullback(c)
        if isinstance(p, fd.TransformedDistribution):
            check_gradients_of_moved(p, found["p"], lambda e, c=c, q=q: np.sum(c * fd.kl_divergence(e, q)), g)
        if isinstance(q, fd.TransformedDistribution):
            check_gradients_of_moved(q, found["q"], lambda e, c=c, p=p: np.sum(c * fd.kl_divergence(p, e)), g)


def moved(d, shift, factor, less):
    """Of a Gaussian: by two affine transforms, an inverse one among them."""
    return fd.TransformedDistribution(d, [t.AffineTransform(shift, factor), t.AffineTransform(0.5, less).inv])


def check_gradients_of_moved(d, found, loss, g):
    """Gradients of a loss of a distribution that `moved` has made."""
    base, (first, last) = d.base_dist, d.transforms
    inside = base.base_dist if isinstance(base, fd.Independent) else base
    own = {name: np.array(inside._arrays[name]) for name in found["base_distribution"]}
    change = {name: g.normal(size=one.shape) for name, one in own.items()}
    for name, one in change.items():
        if name.endswith(("tril", "matrix")):
            change[name] = np.tril(one) if name == "scale_tril" else one + one.T
    by_less = g.normal()

    def at(h):
        new = type(inside)(**{name: one + h * change[name] for name, one in own.items()})
        new = fd.Independent(new, 1) if isinstance(base, fd.Independent) else new
        return loss(moved(new, first.loc + h, first.scale + h, last.inv.scale + h * by_less))

    by_first, by_last = found["transforms"]
    inner = sum(np.sum(found["base_distribution"][name] * change[name]) for name in own)
    inner += by_first["loc"].sum() + by_first["scale"].sum() + by_last["scale"] * by_less
    np.testing.assert_allclose(inner, slope_of(at), rtol=1e-6, atol=1e-7)


# ---- statistics --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_draws_are_of_the_distribution(name):
    """Ranks of the draws are uniform: Kolmogorov's distance of 40 000, beyond 2.2 once in 10 000 times."""
    d = made(name)
    if d.event_shape:
        return
    n = 40_000
    ranks = np.sort(d[0, 0].cdf(d[0, 0].sample(n, rng=11)))
    grid = np.arange(1, n + 1) / n
    distance = np.sqrt(n) * max(np.max(grid - ranks), np.max(ranks - grid + 1 / n))
    assert distance < 2.23


# ---- bits ----------------------------------------------------------------------------------------------------


def everything(dtype):
    for name in NAMES:
        d = made(name, dtype)
        x, density = d.sample_and_log_prob((33,), rng=5)
        yield from (x, density, d.log_prob(x), d.log_prob(x[0].astype(np.float64)))
        (_, _), pullback = fd.vjp(d.sample_and_log_prob, (5,), rng=5)
        yield from flat(pullback((np.ones(x[:5].shape, dtype), np.ones(density[:5].shape, dtype)))).values()
        _, pullback = fd.vjp(d.log_prob, x[:5])
        yield from flat(pullback(np.ones(density[:5].shape, dtype))).values()
    for name in ("LogNormal", "HalfNormal"):
        d = made(name, dtype)
        yield from (d.entropy(), d.mean.copy(), d.stddev.copy())


@pytest.mark.skipif(len(fd.isas()) == 1, reason="one ISA only")
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_isa_equals_scalar(dtype):
    before, results = fd.isa(), {}
    try:
        for isa in fd.isas():
            fd.set_isa(isa)
            results[isa] = list(everything(dtype))
    finally:
        fd.set_isa(before)
    for isa in fd.isas()[1:]:
        for got, wanted in zip(results[isa], results["scalar"], strict=True):
            assert_same_bits(got, wanted)
