"""Golden bits: what every public method returns, as hashes, to prove that a change has changed no result.

    python tests/golden.py --record FILE      writes the hashes; tests/golden.json is such a file
    python tests/golden.py --check FILE       compares, and names what differs

A result's bits depend on its operands alone, and operands are made here by a hash of integers. So they are
the same on every machine and instruction set, with one exception, which has a probe: where the probe has
another hash than that of record, results that need it are left out.

    numpy     its exp (prob, perplexity), hypot (stddev, variance) and ziggurat (draws from PCG64)

A case is a result that may be had in several ways, such as fresh and in `out=`: if these differ so does its
hash. The file has one hash for all cases of a method of a distribution. To see which it was, record `--each`
where the bits are still right, and check against that. Only public names are used. Bits that are meant to
change are recorded again, and the CHANGELOG says so.
"""

import argparse
import copy
import functools
import hashlib
import json
import math
import pickle
import sys
import zlib
from pathlib import Path

import numpy as np

import fastdist as fd

FILE = Path(__file__).with_name("golden.json")

MATRICES = ("covariance_matrix", "precision_matrix", "scale_tril")
CDFS = ("cdf", "survival_function", "log_cdf", "log_survival_function")
DTYPES = {"float32": np.float32, "float64": np.float64}
OTHER = {"float32": "float64", "float64": "float32"}

SEEDS = (0, 2**32, 2**64 - 1, 2**100, [1, 2])

# Elements of the largest draw of a distribution.
MANY = 20_000


# ---- operands --------------------------------------------------------------------------------------


def uniform(name, shape=(), low=-2.0, high=2.0, dtype=np.float64):
    """Numbers in [low, high) by a hash (splitmix64) of a name and their places."""
    word = np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * 0x9E3779B97F4A7C15
    word += zlib.crc32(name.encode()) << 32
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ (word >> shift)) * factor
    word ^= word >> 31
    return (low + (high - low) * ((word >> 11) * 2.0**-53)).reshape(shape).astype(dtype)


def tril(name, shape):
    """Lower triangles with a positive diagonal."""
    d = shape[-1]
    result = np.tril(uniform(name, shape, -1, 1)) / max(d, 1)
    result[..., range(d), range(d)] = uniform(f"{name} diagonal", shape[:-1], 0.5, 1.5)
    return result


def matrix(name, kind, shape, dtype=np.float64):
    """A parameter of a MultivariateNormal: products are summed one by one, as BLAS's order is its own."""
    lower = tril(name, shape)
    if kind == "scale_tril":
        return lower.astype(dtype)
    total = np.zeros(shape)
    for k in range(shape[-1]):
        total += lower[..., :, k, None] * lower[..., None, :, k]
    return total.astype(dtype)


def mvn(kind, loc_shape, matrix_shape, dtype=np.float64, name="mvn"):
    return fd.MultivariateNormal(
        uniform(f"{name} loc", loc_shape, dtype=dtype), **{kind: matrix(name, kind, matrix_shape, dtype)}
    )


def normal(loc_shape, scale_shape, dtype=np.float64, name="normal"):
    return fd.Normal(
        uniform(f"{name} loc", loc_shape, dtype=dtype), uniform(f"{name} scale", scale_shape, 0.25, 2, dtype)
    )


def wide(dtype):
    """200 scales over all of a dtype's range, to near its ends."""
    most = 2 * np.finfo(dtype).maxexp // 2 - 28
    exponents = np.linspace(-most, most, 200).astype(int)
    scale = np.ldexp(uniform("wide scale", (200,), 0.5, 1), exponents).astype(dtype)
    return fd.Normal((scale * uniform("wide loc", (200,))).astype(dtype), scale)


def size_of(d):
    return math.prod(d.batch_shape + d.event_shape)


# ---- hashes ----------------------------------------------------------------------------------------


def arrays_of(result):
    """The arrays in a result: in a tuple, a list or a dict, whose names count, too."""
    if isinstance(result, dict):
        for name in sorted(result):
            yield np.frombuffer(name.encode(), np.uint8)
            yield from arrays_of(result[name])
    elif isinstance(result, (tuple, list)):
        for part in result:
            yield from arrays_of(part)
    else:
        yield np.asarray(result)


def digest(result):
    """Of dtypes, shapes and bytes; a NaN is a NaN."""
    total = hashlib.sha256()
    for array in arrays_of(result):
        total.update(f"{array.dtype.str} {array.shape} ".encode())
        if array.dtype.kind == "f":
            array = np.where(np.isnan(array), array.dtype.type(np.nan), array)
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:12]


def digest_of(ways):
    """Of what all ways give; if they differ, of each."""
    return "|".join(dict.fromkeys(digest(way()) for way in ways))


def into(method, *args, strided=False, **kwargs):
    """`method` with `out=`, which may have gaps."""
    fresh = method(*args, **kwargs)
    shape = (*fresh.shape[:-1], 2 * fresh.shape[-1]) if strided and fresh.ndim else fresh.shape
    out = np.full(shape, 7, fresh.dtype)
    out = out if shape == fresh.shape else out[..., ::2]
    assert method(*args, **kwargs, out=out) is out
    return out


# ---- what a distribution has -----------------------------------------------------------------------

# A group's cases are (page, method, case, needs, ways): a page is a distribution, needs what its bits
# depend on besides the operands ("": nothing), ways functions that return the result.


def sample_shapes(d):
    return (), (4,), (max(min(1000, MANY // max(size_of(d), 1)), 5),)


def draws(d):
    for shape in sample_shapes(d):
        yield (
            "sample", f"{shape}", "",
            lambda shape=shape: d.sample(shape, rng=5),
            lambda shape=shape: d.rsample(shape, rng=np.random.SeedSequence(5)),
            lambda shape=shape: d.sample(shape, rng=fd.BlockSFC64(5), workers=1),
            lambda shape=shape: d.rsample(shape, rng=fd.default_rng(5), workers=2),
            lambda shape=shape: into(d.sample, shape, rng=5),
            lambda shape=shape: into(d.rsample, shape, rng=5, workers=2, strided=True),
        )  # fmt: skip
    for name, make, needed in (
        ("BlockSFC64", fd.BlockSFC64, ""),
        ("PCG64", np.random.PCG64, "numpy"),
    ):

        def in_turn(method, make=make):
            """Draws one after the other, and where the generator is then."""
            generator = make(5)
            parts = [method(shape, rng=generator) for shape in sample_shapes(d)]
            return *parts, generator.random_raw()

        yield (
            "sample", f"{name} in turn", needed,
            functools.partial(in_turn, d.sample),
            functools.partial(in_turn, d.rsample),
            lambda in_turn=in_turn: in_turn(d.expand(d.batch_shape).sample),
        )  # fmt: skip


def values(d, *sample_shape, dtype=None):
    shape = (*sample_shape, *d.batch_shape, *d.event_shape)
    scale = d.stddev if d.dtype == np.float64 else d.stddev.astype(np.float64)
    with np.errstate(all="ignore"):
        return np.asarray(d.mean + scale * uniform("value", shape, -4, 4)).astype(dtype or d.dtype)


def plain_values(d, *sample_shape, dtype=None):
    """Values that no parameter has a part in."""
    return uniform("plain value", (*sample_shape, *d.batch_shape, *d.event_shape), -4, 4, dtype or d.dtype)


def one_event(d):
    return uniform("one event", d.event_shape, -4, 4, d.dtype)


def far(d):
    """Values at the ends of the range, infinite ones, and a NaN."""
    value = plain_values(d, 12)
    flat, most = value.reshape(12, -1), np.finfo(d.dtype).max
    for row, number in enumerate((most, -most, most**0.5, np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-30)):
        flat[row, -1:] = number
    flat[9], flat[10] = most, -most / 2
    return value


def gapped(array):
    """The same values, not side by side."""
    result = np.full((*array.shape, 3), np.nan if array.dtype.kind == "f" else 7, array.dtype)
    result[..., 1] = array
    return result[..., 1]


def rebuilt(d):
    return type(d)(**d.parameters)


def densities(d):
    other = DTYPES[OTHER[d.dtype.name]]
    for case, value in (
        *((f"value {shape}", functools.partial(plain_values, d, *shape)) for shape in sample_shapes(d)),
        ("value of one event", functools.partial(one_event, d)),
        ("value of another dtype", functools.partial(plain_values, d, 4, dtype=other)),
        ("value far out", functools.partial(far, d)),
    ):
        yield (
            "log_prob", case, "",
            lambda value=value: d.log_prob(value()),
            lambda value=value: d.log_prob(gapped(value())),
            lambda value=value: into(d.log_prob, value()),
            lambda value=value: into(d.log_prob, value(), strided=True),
        )  # fmt: skip
    value = plain_values(d, 2)
    yield (
        "log_prob", "of copies", "",
        lambda: d.log_prob(value),
        lambda: rebuilt(d).log_prob(value),
        lambda: d.replace().log_prob(value),
        lambda: copy.deepcopy(d).log_prob(value),
        lambda: pickle.loads(pickle.dumps(d)).log_prob(value),
    )  # fmt: skip
    yield "log_prob", "prob", "numpy", lambda: d.prob(value), lambda: into(d.prob, value)


def entropies(d):
    yield "entropy", "entropy", "", d.entropy, lambda: into(d.entropy), lambda: rebuilt(d).entropy()
    yield "entropy", "perplexity", "numpy", d.perplexity, lambda: into(d.perplexity)


def moments(d, given=None):
    yield "moments", "mean", "", lambda: d.mean, lambda: d.mode, lambda: rebuilt(d).mean
    hypot = "numpy" if given in ("precision_matrix", "scale_tril") else ""
    yield "moments", "stddev and variance", hypot, lambda: (d.stddev, d.variance)


def matrices(d):
    for name in MATRICES:
        yield "matrices", name, "", lambda name=name: getattr(d, name)


def gradients(d):
    def pulled(method, *args, **kwargs):
        value, pullback = fd.vjp(method, *args, **kwargs)
        cotangent = uniform("cotangent", value.shape, -1, 1, value.dtype)
        return value, pullback(cotangent), pullback(np.ones((), value.dtype)), pullback(gapped(cotangent))

    _, few, many = sample_shapes(d)
    for shape in (few, many):
        yield (
            "gradients", f"rsample {shape}", "",
            lambda shape=shape: pulled(d.rsample, shape, rng=5),
            lambda shape=shape: pulled(d.rsample, shape, rng=fd.default_rng(5), workers=2),
        )  # fmt: skip
    yield (
        "gradients", "rsample of PCG64", "numpy",
        lambda: pulled(d.rsample, few, rng=np.random.PCG64(5)),
        lambda: pulled(d.rsample, few, rng=np.random.default_rng(np.random.PCG64(5))),
    )  # fmt: skip
    other = DTYPES[OTHER[d.dtype.name]]
    for case, value in (
        ("value", functools.partial(plain_values, d, *few)),
        ("many values", functools.partial(plain_values, d, *many)),
        ("value of one event", functools.partial(one_event, d)),
        ("value of another dtype", functools.partial(plain_values, d, *few, dtype=other)),
    ):
        yield (
            "gradients", f"log_prob {case}", "",
            lambda value=value: pulled(d.log_prob, value()),
            lambda value=value: pulled(d.log_prob, gapped(value())),
        )  # fmt: skip
    yield "gradients", "entropy", "", lambda: pulled(d.entropy)


def parts(d):
    """Of a batch that is indexed, expanded or stacked."""

    def look(part):
        value = plain_values(part, 2)
        drawn, pullback = fd.vjp(part.rsample, (3,), rng=5)
        return drawn, part.log_prob(value), part.entropy(), pullback(np.ones_like(drawn)), part.mean

    length = d.batch_shape[0] if d.batch_shape else -1
    for name, index, least in (
        ("[..., None]", (..., None), -1),
        ("[1:]", slice(1, None), 0),
        ("[0]", 0, 1),
        ("[-1, ...]", (-1, ...), 1),
        ("[[0, 2]]", [0, 2], 3),
    ):
        if length >= least:
            yield (
                "parts", name, "",
                lambda index=index: look(d[index]),
                lambda index=index: look(rebuilt(d)[index]),
            )  # fmt: skip
    yield "parts", "expand", "", lambda: look(d.expand((2, *d.batch_shape)))
    if size_of(d) < MANY // 4:
        yield "parts", "stack", "", lambda: look(fd.stack([d, d.expand(d.batch_shape)], axis=-1))


def of_any(d):
    for make in (draws, densities, entropies, gradients, parts):
        yield from make(d)


def cdfs(d):
    def way(name, out=False):
        dtype, other = d.dtype, DTYPES[OTHER[d.dtype.name]]
        if name == "icdf":
            some = [
                uniform("probability", (3, *d.batch_shape), 0, 1, dtype),
                np.array([0, 1, 1e-30, 0.5], dtype),
            ]
            some[1] = some[1].reshape(4, *[1] * len(d.batch_shape))
            some += [uniform("probability", (*d.batch_shape,), 0, 1, other)]
        else:
            some = [values(d), values(d, 3), far(d), values(d, 2) * 5, plain_values(d, 2, dtype=other)]
        method = getattr(d, name)
        return [into(method, value) if out else method(value) for value in some]

    for name in (*CDFS, "icdf"):
        yield "cdf", name, "", lambda name=name: way(name), lambda name=name: way(name, out=True)


# ---- groups ----------------------------------------------------------------------------------------


def on(page, cases):
    for method, case, needs, *ways in cases:
        yield page, method, case, needs, ways


NORMALS = {
    "()": ((), ()),
    "(3, 2)": ((3, 2), (3, 2)),
    "(64, 6)": ((64, 6), (64, 6)),
    "(64, 6), row scale": ((64, 6), (6,)),
    "(64, 6), column scale": ((64, 6), (64, 1)),
    "(64, 6), scalar scale": ((64, 6), ()),
    "(64, 6), row loc": ((6,), (64, 6)),
    "(64, 6), scalar loc": ((), (64, 6)),
    "(5, 1) x (1, 7)": ((5, 1), (1, 7)),
    "(20000,)": ((20000,), (20000,)),
    "(0, 3)": ((0, 3), (3,)),
}


def normals():
    for name, dtype in DTYPES.items():
        made = {page: normal(*shapes, dtype) for page, shapes in NORMALS.items()}
        for page, d in {**made, "(200,), wide": wide(dtype)}.items():
            yield from on(f"{name}/{page}", (*of_any(d), *moments(d), *cdfs(d)))


def independents():
    for name, dtype in DTYPES.items():
        for e in (1, 2, 6, 20, 300):
            for page, n, loc, scale in (
                ("0, full", 0, (3, e), (3, e)),
                ("1, full", 1, (4, e), (4, e)),
                ("1, row scale", 1, (4, e), (e,)),
                ("1, column scale", 1, (4, e), (4, 1)),
                ("1, scalar loc", 1, (), (e,)),
                ("2, full", 2, (2, 3, e), (2, 3, e)),
                ("2, row scale", 2, (2, 3, e), (e,)),
            ):
                d = fd.Independent(normal(loc, scale, dtype), n)
                yield from on(f"{name}/event {e}/{page}", (*of_any(d), *moments(d)))


MVNS = {
    "()": ((), ()),
    "(5,), one matrix": ((5,), ()),
    "(3,)": ((3,), (3,)),
    "(2, 1) x (1, 4)": ((2, 1), (1, 4)),
    "(37,)": ((37,), (37,)),
}


def mvns(kind):
    for name, dtype in DTYPES.items():
        for d in (0, 1, 2, 3, 8, 17, 40, 70):
            for page, (loc, batch) in MVNS.items():
                if (page == "(37,)" and d > 8) or (d == 70 and page != "(3,)"):
                    continue
                made = mvn(kind, (*loc, d), (*batch, d, d), dtype)
                cases = (*of_any(made), *moments(made, kind), *matrices(made))
                yield from on(f"{name}/d = {d}/{page}", cases)


def nested():
    """Independent(MultivariateNormal, n)."""
    for name, dtype in DTYPES.items():
        for kind in MATRICES:
            for d in (1, 3, 17):
                for n, loc, batch in ((0, (3,), ()), (1, (4, 3), (3,)), (2, (2, 3), (2, 1))):
                    made = fd.Independent(mvn(kind, (*loc, d), (*batch, d, d), dtype), n)
                    page = f"{name}/{kind}/d = {d}/{loc} x {batch}, n = {n}"
                    yield from on(page, (*of_any(made), *moments(made, kind)))


def divergences():
    def cases(pairs):
        for case, p, q in pairs:
            yield (
                "kl",
                case,
                "",
                lambda p=p, q=q: fd.kl_divergence(p, q),
                lambda p=p, q=q: into(fd.kl_divergence, p, q),
            )

            def pulled(p=p, q=q):
                value, pullback = fd.vjp(fd.kl_divergence, p, q)
                return pullback(uniform("cotangent", value.shape, -1, 1, value.dtype)), pullback(1.0)

            yield "kl gradients", case, "", pulled

    dtypes = {**{name: (dtype, dtype) for name, dtype in DTYPES.items()}, "mixed": (np.float32, np.float64)}
    for name, (of_p, of_q) in dtypes.items():
        ps = {page: normal(*shapes, of_p, "p") for page, shapes in NORMALS.items() if page != "(20000,)"}
        qs = {page: normal(*shapes, of_q, "q") for page, shapes in NORMALS.items()}
        pairs = [(page, p, qs[page]) for page, p in ps.items()]
        pairs += [("wide", wide(of_p), wide(of_q)[::-1]), ("wide with itself", wide(of_p), wide(of_q))]
        pairs += [
            ("() and (20000,)", ps["()"], qs["(20000,)"]),
            ("(20000,) and ()", qs["(20000,)"], ps["()"]),
        ]
        yield from on(f"{name}/Normal", cases(pairs))
        for n in (0, 1, 2):
            pairs = []
            for event in (1, 2, 6, 20, 300):
                for page, scale in (("full", (3, 4, event)), ("row", (event,)), ("one", ())):
                    p, q = normal((3, 4, event), scale, of_p, "p"), normal((3, 4, event), scale, of_q, "q")
                    pairs.append((f"event {event}, {page}", fd.Independent(p, n), fd.Independent(q, n)))
            yield from on(f"{name}/Independent, {n}", cases(pairs))

        def vectors(kind, shape, batch, d, dtype, of):
            if kind == "diagonal":
                return fd.Independent(normal((*shape, d), (*batch, d), dtype, of), 1)
            return mvn(kind, (*shape, d), (*batch, d, d), dtype, of)

        kinds = (*MATRICES, "diagonal")
        batches = (((), (), ()), ((5,), (5,), (5,)), ((2, 3), (3,), ()), ((2, 3), (), (2, 1)))
        for a, b in [(a, b) for a in kinds for b in kinds if (a, b) != ("diagonal", "diagonal")]:
            pairs = [
                (f"d = {d}, {shape}, {batch_p} and {batch_q}",
                 vectors(a, shape, batch_p, d, of_p, "p"), vectors(b, shape, batch_q, d, of_q, "q"))
                for d in (1, 2, 3, 8, 17, 40)
                for shape, batch_p, batch_q in batches
            ]  # fmt: skip
            yield from on(f"{name}/{a} and {b}", cases(pairs))
    for name, dtype in DTYPES.items():
        p, q = (mvn("covariance_matrix", (4, 3, 5), (3, 5, 5), dtype, of) for of in "pq")
        pairs = [("MultivariateNormal", fd.Independent(p, 1), fd.Independent(q, 1))]
        p, q = (fd.Independent(normal((2, 3, 4), (4,), dtype, of), 1) for of in "pq")
        pairs += [("Independent", fd.Independent(p, 1), fd.Independent(q, 1))]
        yield from on(f"{name}/Independent of", cases(pairs))


def normals_of(dtype):
    def in_two(size):
        g = fd.default_rng(9)
        return np.concatenate(
            [fd.standard_normal(n, dtype=dtype, rng=g) for n in (size // 3, size - size // 3)]
        )

    for size in (1, 2, 7, 100, 1023, 1024, 1025, 5000, 100_000):
        yield (
            "standard_normal", f"{size}", "",
            lambda size=size: fd.standard_normal(size, dtype=dtype, rng=9),
            lambda size=size: fd.standard_normal((size,), dtype=dtype, rng=fd.default_rng(9), workers=2),
            lambda size=size: fd.standard_normal(dtype=dtype, rng=9, out=np.empty(size, dtype)),
            lambda size=size: in_two(size),
        )  # fmt: skip
    yield (
        "standard_normal", "PCG64", "numpy",
        lambda: fd.standard_normal((300, 10), dtype=dtype, rng=np.random.PCG64(9)),
        lambda: np.random.default_rng(9).standard_normal((300, 10), dtype=dtype),
    )  # fmt: skip


def noise():
    for name, dtype in DTYPES.items():
        yield from on(name, normals_of(dtype))
    g = functools.partial(fd.default_rng, 3)
    far_on = functools.partial(fd.BlockSFC64(3).advance, (1 << 96) - 700)
    cases = (
        ("raw", lambda: fd.BlockSFC64(3).random_raw(5000)),
        ("raw one by one", lambda: [fd.BlockSFC64([3, 4]).random_raw() for _ in range(3)]),
        ("advanced", lambda: (far_on().random_raw(1500), fd.BlockSFC64(3).advance(12345).random_raw(9))),
        ("jumped", lambda: fd.BlockSFC64(3).jumped(2).random_raw(9)),
        ("spawned", lambda: [child.random_raw(9) for child in fd.BlockSFC64(3).spawn(2)]),
        ("random", lambda: (g().random(1000), g().random(1000, dtype=np.float32))),
        ("integers", lambda: (g().integers(1000, size=1000), g().integers(7, size=99, dtype=np.uint8))),
        ("permutation", lambda: g().permutation(100)),
        ("seeds", lambda: [fd.BlockSFC64(s).random_raw(3) for s in SEEDS]),
        ("normals of seeds", lambda: [fd.standard_normal(3, rng=s) for s in SEEDS]),
    )  # fmt: skip
    yield from on("BlockSFC64", [("words", case, "", way) for case, way in cases])


def laws_of(dtype):
    """Laws made of normals, and over outcomes: (page, distribution, needs)."""
    loc, scale = uniform("law loc", (4, 3), dtype=dtype), uniform("law scale", (3,), 0.25, 2, dtype)
    logits, base = uniform("law logits", (4, 3), dtype=dtype), fd.Normal(loc, scale)
    vectors, few = fd.Independent(base, 1), fd.Categorical(logits=logits)
    t, one = fd.transforms, dtype(1)
    yield "LogNormal", fd.LogNormal(loc, scale), ""
    yield "HalfNormal", fd.HalfNormal(scale), ""
    yield "LogitNormal", fd.LogitNormal(loc, scale), ""
    yield "TruncatedNormal", fd.TruncatedNormal(loc, scale, -one, 2 * one), ""
    yield (
        "TruncatedNormal, far out",
        fd.TruncatedNormal(0 * one, one, 8 * one, uniform("far", (3,), 9, 11, dtype)),
        "",
    )
    yield "tanh", fd.TransformedDistribution(vectors, t.TanhTransform()), ""
    yield (
        "affine, softplus",
        fd.TransformedDistribution(base, [t.AffineTransform(one, scale), t.SoftplusTransform()]),
        "",
    )
    yield "Categorical", few, ""
    yield "Categorical by probs", fd.Categorical(probs=uniform("law probs", (5, 40), 0, 1, dtype)), ""
    yield "Bernoulli", fd.Bernoulli(logits=logits), ""
    yield "OneHotCategorical", fd.OneHotCategorical(logits=logits), ""
    yield "mixture", fd.MixtureSameFamily(few, base), ""
    yield "mixture of vectors", fd.MixtureSameFamily(fd.Categorical(logits=logits[0, :2]), vectors[:2]), ""


def laws():
    def cases(d, needs):
        for shape in ((), (5,), (400,)):
            yield (
                "sample", f"{shape}", needs,
                lambda shape=shape: d.sample(shape, rng=5),
                lambda shape=shape: d.sample(shape, rng=fd.default_rng(5), workers=2),
                lambda shape=shape: into(d.sample, shape, rng=5),
                lambda shape=shape: d.sample_part(shape, (), rng=5),
                lambda shape=shape: rebuilt(d).sample_and_log_prob(shape, rng=5)[0],
            )  # fmt: skip
            yield (
                "sample_and_log_prob", f"{shape}", needs,
                lambda shape=shape: d.sample_and_log_prob(shape, rng=5)[1],
                lambda shape=shape: d.sample_and_log_prob(shape, rng=fd.default_rng(5), workers=2)[1],
            )  # fmt: skip
            yield (
                "log_prob", f"{shape}", needs,
                lambda shape=shape: d.log_prob(d.sample(shape, rng=5)),
                lambda shape=shape: into(d.log_prob, d.sample(shape, rng=5)),
                lambda shape=shape: rebuilt(d).log_prob(gapped(d.sample(shape, rng=5))),
            )  # fmt: skip
        yield (
            "part",
            "[..., None]",
            needs,
            lambda: d[..., None].sample((3,), rng=5),
            lambda: rebuilt(d)[..., None].sample((3,), rng=5),
        )

    for name, dtype in DTYPES.items():
        for page, d, needs in laws_of(dtype):
            yield from on(f"{name}/{page}", cases(d, needs))


GROUPS = {
    "Normal": normals,
    "Independent": independents,
    **{f"MultivariateNormal by {kind}": functools.partial(mvns, kind) for kind in MATRICES},
    "Independent(MultivariateNormal)": nested,
    "divergences": divergences,
    "laws": laws,
    "noise": noise,
}


# ---- probes ----------------------------------------------------------------------------------------


def probe_numpy():
    x = uniform("probe", (5000,), -40, 40)
    yield from (np.exp(x), np.exp(x.astype(np.float32)), np.hypot(x[1:], x[:-1]))
    yield from (
        np.hypot(*x.astype(np.float32).reshape(2, -1)),
        np.random.default_rng(0).standard_normal(20_000),
    )


PROBES = {"numpy": probe_numpy}


def probes():
    return {name: digest(list(probe())) for name, probe in PROBES.items()}


# ---- the file --------------------------------------------------------------------------------------


@functools.cache
def cases_of(group):
    return list(GROUPS[group]())


def methods_of(group):
    return list(dict.fromkeys(method for _, method, *_ in cases_of(group)))


def key_of(method, needs):
    return f"{method} ({needs})" if needs else method


def merged(hashes):
    """One hash for those of a method's cases."""
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:12]


def bits_of(group, method=None, same=frozenset(PROBES), each=False):
    """Hashes by page, by method and what it needs: of `each` case by itself, or of all of them together."""
    bits = {}
    for page, of_method, case, needs, ways in cases_of(group):
        if method in (None, of_method) and needs in {"", *same}:
            methods = bits.setdefault(f"{group}/{page}", {})
            cases = methods.setdefault(key_of(of_method, needs), {})
            assert case not in cases, (group, page, of_method, case)
            cases[case] = digest_of(ways)
    if each:
        return bits
    return {
        page: {key: merged(cases.values()) for key, cases in of_page.items()}
        for page, of_page in bits.items()
    }


def dump(recorded, file):
    """One line a page."""
    lines = ",\n".join(
        f"  {json.dumps(page)}: {json.dumps(of_page)}" for page, of_page in recorded["bits"].items()
    )
    file.write_text(f'{{\n"probes": {json.dumps(recorded["probes"])},\n"bits": {{\n{lines}\n}}\n}}\n')


def load(file):
    """Hashes of record, and the names of the probes that have theirs here."""
    golden, here = json.loads(file.read_text()), probes()
    return golden["bits"], {name for name in PROBES if golden["probes"][name] == here[name]}


def differences(golden, bits, key=""):
    """Keys of `bits` that have another hash in `golden`, or none."""
    for name, value in bits.items():
        wanted = golden.get(name) if isinstance(golden, dict) else golden
        if isinstance(value, dict):
            yield from differences(wanted or {}, value, f"{key}{name}/")
        elif value != wanted:
            yield f"{key}{name}: {value}, recorded {wanted}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--record", type=Path, metavar="FILE")
    what.add_argument("--check", type=Path, metavar="FILE")
    parser.add_argument(
        "--each", action="store_true", help="record a hash for each case, to see what differs"
    )
    args = parser.parse_args()
    if args.record:
        bits = {page: of_page for group in GROUPS for page, of_page in bits_of(group, each=args.each).items()}
        dump({"probes": probes(), "bits": bits}, args.record)
        return
    golden, same = load(args.check)
    each = any(isinstance(value, dict) for of_page in golden.values() for value in of_page.values())
    found = [line for group in GROUPS for line in differences(golden, bits_of(group, same=same, each=each))]
    print(*found, sep="\n")
    left_out = ", ".join(sorted(PROBES.keys() - same))
    print(
        f"{len(found)} differences on {fd.isa()}" + (f"; left out what needs {left_out}" if left_out else "")
    )
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
