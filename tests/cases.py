"""What the tests share: parameters, array layouts, comparisons, fresh processes and threads."""

import os
import subprocess
import sys
import threading

import mpmath
import numpy as np
from numpy.testing import assert_array_equal

import fastdist as fd

DTYPES = (np.float32, np.float64)
MATRICES = ("covariance_matrix", "precision_matrix", "scale_tril")


def random_tril(g, shape, dtype=np.float64):
    """Well-conditioned lower factors of shape (..., d, d)."""
    d = shape[-1]
    tril = np.tril(g.uniform(-1, 1, shape)) / max(d, 1)
    tril[..., range(d), range(d)] = g.uniform(0.5, 1.5, shape[:-1])
    return tril.astype(dtype)


def matrix_of(name, tril):
    """The matrix called `name` of the Gaussian whose factor is `tril`, symmetric to the last bit."""
    if name == "scale_tril":
        return tril
    wide = tril.astype(np.float64)
    covariance = wide @ wide.swapaxes(-1, -2)
    matrix = covariance if name == "covariance_matrix" else np.linalg.inv(covariance)
    return ((matrix + matrix.swapaxes(-1, -2)) / 2).astype(tril.dtype)


def beyond_the_range(dim, dtype, *, inverse=False, shrink=1):
    """A loc, a factor and values for which log_prob is finite, though a difference or a square is not.

    Of 40 events some are ordinary. The factor is shrunk so far that its reciprocals are no subnormal numbers; if it
    is to be the inverse of a precision matrix's it is diagonal, and so large that the precision is subnormal.
    """
    g, most = np.random.default_rng(dim), np.finfo(dtype).max
    loc, x = np.full(dim, -0.75 * most, dtype), np.zeros((40, dim), dtype)
    if inverse:
        scales = np.full(dim, {np.float32: 1e20, np.float64: 1e155}[dtype])
        tril = np.diag(scales).astype(dtype)
    else:
        scales = shrink * most * g.uniform(0.25, 0.5, dim)
        tril = np.tril(0.25 * shrink * most * g.uniform(-1, 1, (dim, dim)) / dim, -1).astype(dtype)
        tril[range(dim), range(dim)] = scales
    if dim > 1:
        tril[-1, :-1], tril[-1, -1], loc[-1] = 0, 1, 0  # an ordinary element, whose square may overflow
    x[:, :] = loc + tril @ g.uniform(-0.25, 1, dim).astype(dtype)
    x[::3, 0] = 0.75 * most
    if dim > 1:
        x[1::3, -1] = 1.1 * most**0.5
    return loc, tril, x


def exact_whitened(value, loc, tril):
    """L^-1 (value - loc) by mpmath."""
    with mpmath.workdps(60):
        z = []
        for i, row in enumerate(tril.tolist()):
            rest = mpmath.mpf(value[i]) - mpmath.mpf(float(loc[i]))
            rest -= sum(mpmath.mpf(row[k]) * z[k] for k in range(i) if row[k])
            z.append(rest / mpmath.mpf(row[i]))
        return z


def random_mvn(name, loc_shape, matrix_shape, dtype=np.float64, seed=0):
    g = np.random.default_rng(seed)
    tril = random_tril(g, matrix_shape, dtype)
    return fd.MultivariateNormal(g.normal(size=loc_shape).astype(dtype), **{name: matrix_of(name, tril)})


# Gaussian vectors: by a matrix, or an Independent(Normal); the pairs whose divergence is that of vectors.
VECTORS = (*MATRICES, "diagonal")
VECTOR_PAIRS = [(p, q) for p in VECTORS for q in VECTORS if (p, q) != ("diagonal", "diagonal")]


def vectors(kind, loc, tril, validate_args=None):
    """The Gaussian of this loc and factor, of which a diagonal one takes the diagonal."""
    if kind == "diagonal":
        scale = np.diagonal(tril, axis1=-2, axis2=-1).copy()
        return fd.Independent(fd.Normal(loc, scale, validate_args=validate_args), 1)
    return fd.MultivariateNormal(loc, **{kind: matrix_of(kind, tril)}, validate_args=validate_args)


def exact_factor(d):
    """L of one Gaussian vector and L^-1, by mpmath, from the factor that it computes by: a precision's is the inverse."""
    if isinstance(d, fd.Independent):
        factor, inverse = mpmath.diag(d.base_dist.scale.tolist()), False
    else:
        factor, inverse = mpmath.matrix(d._arrays["_factor"].T.tolist()), d._given == "precision_matrix"
    other = mpmath.diag([1 / factor[i, i] for i in range(factor.rows)])
    for i in range(factor.rows):
        for j in range(i):
            other[i, j] = -mpmath.fdot((factor[i, k], other[k, j]) for k in range(j, i)) * other[i, i]
    return (other, factor) if inverse else (factor, other)


def exact_difference(a, b):
    """Of two vectors of numbers."""
    return mpmath.matrix([mpmath.mpf(x) - mpmath.mpf(y) for x, y in zip(a.tolist(), b.tolist(), strict=True)])


def near_and_far(of_p, of_q, dim, dtype, distances):
    """Pairs of Gaussian vectors at such relative distances."""
    g = np.random.default_rng(dim)
    for near in distances:
        loc, tril = g.normal(size=dim).astype(dtype), random_tril(g, (dim, dim), dtype)
        moved = (tril * (1 + near * g.uniform(-0.5, 0.5, (dim, dim)))).astype(dtype)
        if "diagonal" in (of_p, of_q):
            tril, moved = (np.diag(np.diag(one)) for one in (tril, moved))
        yield vectors(of_p, loc, tril), vectors(of_q, (loc + near * g.normal(size=dim)).astype(dtype), moved)


def random_normal(loc_shape=(3, 2), scale_shape=(3, 2), dtype=np.float64, seed=0):
    g = np.random.default_rng(seed)
    return fd.Normal(g.normal(size=loc_shape).astype(dtype), g.uniform(0.5, 2, scale_shape).astype(dtype))


def arrays_of_normal(dtype):
    """Loc and scale of one of batch_shape (4, 3)."""
    normal = random_normal((4, 3), (4, 3), dtype)
    return normal.loc.copy(), normal.scale.copy()


def random_truncated(loc_shape, low_shape, dtype=np.float64, seed=0):
    """Bounds of all kinds: some far in a tail, some infinite, some near each other."""
    g = np.random.default_rng(seed)
    low = g.choice([-np.inf, -1.0, 0.5, 6.0, -9.0], low_shape)
    high = np.where(
        low == -np.inf, g.choice([-7.0, 0.0, 2.0], low_shape), low + g.choice([0.05, 1.0, np.inf], low_shape)
    )
    scale = g.uniform(0.5, 2, loc_shape[-1:])
    arrays = g.normal(size=loc_shape), scale, low, high
    return fd.TruncatedNormal(*[array.astype(dtype) for array in arrays])


def random_low_rank(loc_shape, factor_shape, diag_shape, dtype=np.float64, seed=0):
    g = np.random.default_rng(seed)
    return fd.LowRankMultivariateNormal(
        g.normal(size=loc_shape).astype(dtype),
        g.normal(size=factor_shape).astype(dtype),
        g.uniform(0.5, 2, diag_shape).astype(dtype),
    )


def random_logits(shape, dtype=np.float64, seed=0):
    return 2 * np.random.default_rng(seed).normal(size=shape).astype(dtype)


def with_gradients(dtype=np.float64):
    """A distribution of every kind whose draws are functions of normals, all of them with batch_shape (4, 3)."""
    return {
        "Normal": random_normal((4, 3), (3,), dtype),
        **{name: random_mvn(name, (3, 5), (4, 1, 5, 5), dtype) for name in MATRICES},
        "LowRank": random_low_rank((4, 3, 5), (3, 5, 2), (5,), dtype),
        "TruncatedNormal": random_truncated((4, 3), (4, 1), dtype),
        "Independent(Normal)": fd.Independent(random_normal((4, 3, 2), (3, 1), dtype), 1),
        "Independent(MVN)": fd.Independent(random_mvn("scale_tril", (4, 3, 2, 5), (2, 5, 5), dtype), 1),
        "LogNormal(loc, scale)": fd.LogNormal(*arrays_of_normal(dtype)),
        "HalfNormal": fd.HalfNormal(arrays_of_normal(dtype)[1]),
        "Independent(TruncatedNormal)": fd.Independent(random_truncated((4, 3, 2), (3, 2), dtype), 1),
    }


def of_outcomes(dtype=np.float64):
    """The same of every kind whose draws are functions of uniforms, and of mixtures."""
    weights = fd.Categorical(logits=random_logits((3, 6), dtype))
    return {
        "Categorical": fd.Categorical(logits=random_logits((4, 3, 6), dtype)),
        "Categorical(probs)": fd.Categorical(np.exp(random_logits((3, 6), dtype))).expand((4, 3)),
        "Bernoulli": fd.Bernoulli(logits=random_logits((4, 3), dtype)),
        "OneHotCategorical": fd.OneHotCategorical(logits=random_logits((4, 3, 6), dtype)),
        "Independent(Bernoulli)": fd.Independent(fd.Bernoulli(logits=random_logits((4, 3, 2), dtype)), 1),
        "Mixture(Normal)": fd.MixtureSameFamily(weights, random_normal((4, 3, 6), (6,), dtype)),
        "Mixture(MVN)": fd.MixtureSameFamily(
            weights, random_mvn("scale_tril", (3, 6, 2), (4, 1, 6, 2, 2), dtype)
        ),
    }


def one_of_each(dtype=np.float64):
    """A distribution of every kind, all of them with batch_shape (4, 3)."""
    return {**with_gradients(dtype), **of_outcomes(dtype)}


KINDS = tuple(with_gradients())
EVERY_KIND = tuple(one_of_each())


def assert_same_bits(a, b):
    """Equal in type, shape, dtype and every bit, sign of zero included; NaNs are all one."""
    assert type(a) is type(b) is np.ndarray
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert_array_equal(a, b)
    assert_array_equal(np.signbit(a[~np.isnan(a)]), np.signbit(b[~np.isnan(b)]))


def state_of(g):
    """A generator's state as text, to compare."""
    return repr(g.bit_generator.state)


def _strided(a):
    wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), np.nan if a.dtype.kind == "f" else -1, a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def _reversed(a):
    back = (slice(None, None, -1),) * a.ndim
    return a[back].copy()[back]


def _read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def _unaligned(a):
    result = np.ndarray(a.shape, a.dtype, bytearray(a.nbytes + 1), 1)
    result[...] = a
    assert not result.flags.aligned
    return result


def _outer_transposed(a):
    return np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1)


LAYOUTS = {
    "strided": _strided,
    "negative strides": _reversed,
    "Fortran": np.asfortranarray,
    "outer dims transposed": _outer_transposed,
    "read-only": _read_only,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "unaligned": _unaligned,
    "subclass": lambda a: a.copy().view(type("Sub", (np.ndarray,), {})),
}


# A job in the background has SIGINT ignored, and its children inherit that.
PRELUDE = """\
import signal
import numpy as np, fastdist as fd
signal.signal(signal.SIGINT, signal.default_int_handler)
"""


def run(script, **env):
    """What a fresh Python prints, which hears Ctrl-C however the tests were started."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **env}
    command = [sys.executable, "-c", PRELUDE + script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_threads(*tasks):
    errors = []

    def guarded(task):
        try:
            task()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors, errors
