"""Times of the kernels on memory that is ready, for every ISA and both dtypes, by pytest-benchmark.

Kernels are run as fastdist's classes run them, below all shapes and checks. What a draw costs
beyond its noise is the difference of `draw_*` and `standard_normal`.
"""

from functools import partial

import numpy as np
import pytest
from cases import DTYPES, Problem

import fastdist as fd
from fastdist._kernels import program
from fastdist._kernels.program import (
    DIAGONAL,
    INVERSE,
    KERNELS,
    LARGE_DIM,
    TRIL,
    apply,
    factorize,
    first_bad,
)
from fastdist.distributions.covariance import InverseLower, Lower
from fastdist.distributions.normal import CDF

N = 2**16  # elements, or about as many: 512 kB in float64, and no cache but the first is too small
DIMS = (2, 4, 8, 16, 32, 128, 512)
NOISES = {"BlockSFC64": fd.BlockSFC64, "PCG64": np.random.PCG64}
MATRICES = {Lower: "scale_tril", InverseLower: "precision_matrix"}
PATTERNS = {"scalar": (), "row": (256,), "column": (256, 1), "full": (256, 256)}


@pytest.fixture(params=fd.isas(), autouse=True)
def isa(request):
    before = fd.isa()
    fd.set_isa(request.param)
    yield
    fd.set_isa(before)


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


@pytest.fixture
def noise():
    return fd.BlockSFC64(0)._noise


@pytest.fixture
def time(benchmark, request):
    """Of a call of a function, grouped by the name of the benchmark."""
    benchmark.group = request.node.originalname.removeprefix("bench_")
    return benchmark


def gaussian(dim, dtype, batch=1):
    """Values (samples, batch, dim), loc, covariance, and the factor in panels as kernels take it."""
    p = Problem((batch,), dim, (max(N // dim // batch, 1),), dtype)
    panels = fd.MultivariateNormal(p.loc, p.scale)._panels(np.dtype(dtype))
    return p.value, p.loc, p.scale, panels


# ---- draws -------------------------------------------------------------------------------


@pytest.mark.parametrize("source", NOISES)
def bench_standard_normal(time, dtype, source):
    time(fd.standard_normal, dtype=dtype, rng=NOISES[source](0), out=np.zeros(N, dtype))


@pytest.mark.parametrize("pattern", PATTERNS)
def bench_draw_diag(time, noise, dtype, pattern):
    p = Problem((256, 256), None, (), dtype, PATTERNS[pattern])
    time(fd.Normal(p.loc, p.scale)._draw, noise, np.zeros(p.shape, dtype), 1)


@pytest.mark.parametrize("structure", MATRICES, ids=["multiply", "solve"])
@pytest.mark.parametrize("dim", DIMS)
def bench_draw_tril(time, noise, dtype, dim, structure):
    out, loc, covariance, _ = gaussian(dim, dtype)
    matrix = np.linalg.cholesky(covariance) if structure is Lower else covariance
    time(fd.MultivariateNormal(loc, **{MATRICES[structure]: matrix})._draw, noise, out, 1)


@pytest.mark.parametrize("dim", DIMS)
def bench_solve_tril(time, dtype, dim):
    value, *_ = gaussian(dim, dtype)
    # In place, again and again: by the identity, or the numbers would grow beyond all bounds.
    identity = fd.MultivariateNormal(np.zeros(dim, dtype), scale_tril=np.eye(dim, dtype=dtype))
    panels = identity._panels(np.dtype(dtype))
    time(apply, KERNELS["solve_tril"], value.shape[:-1], value, np.zeros(dim, dtype), panels)


# ---- densities -----------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", PATTERNS)
def bench_normal_log_prob(time, dtype, pattern):
    p = Problem((256, 256), None, (), dtype, PATTERNS[pattern])
    arrays = np.zeros(p.shape, dtype), p.value, p.loc, p.scale, np.asarray(np.log(p.scale))
    time(apply, KERNELS["normal_log_prob"], p.shape, *arrays)


def bench_normal_log_prob_events(time, dtype):
    p = Problem((256, 256), None, (), dtype, PATTERNS["row"])
    arrays = np.zeros(256, dtype), p.value, p.loc, p.scale, np.zeros((), dtype)
    time(partial(apply, KERNELS["normal_log_prob_events"], p.shape, *arrays, event_ndim=1))


@pytest.mark.parametrize("structure", MATRICES, ids=["solve", "multiply"])
@pytest.mark.parametrize("dim", DIMS)
def bench_mahalanobis(time, dtype, dim, structure):
    value, loc, _, panels = gaussian(dim, dtype)
    out, weight = np.zeros(value.shape[:-1], dtype), np.full((), -0.5, dtype)
    time(apply, structure.mahalanobis, out.shape, out, value, loc, panels, weight)


@pytest.mark.parametrize("structure", MATRICES, ids=["solve", "multiply"])
@pytest.mark.parametrize("dim", DIMS)
def bench_mvn_log_prob(time, dtype, dim, structure):
    value, loc, _, panels = gaussian(dim, dtype)
    out = np.zeros(value.shape[:-1], dtype)
    time(apply, structure.log_prob, out.shape, out, value, loc, panels, np.zeros((), dtype))


def bench_log(time, dtype):
    value = np.abs(Problem((N,), None, (), dtype).value)
    time(apply, KERNELS["log"], value.shape, np.empty_like(value), value)


@pytest.mark.parametrize("f", ["exp", "tanh", "sigmoid", "softplus", "power"])
def bench_transform(time, dtype, f):
    value = np.abs(Problem((N,), None, (), dtype).value)
    arrays = (np.full((), 1.5, dtype),) if f == "power" else ()
    time(apply, KERNELS[f], value.shape, np.empty_like(value), value, *arrays)


@pytest.mark.parametrize("f", ["exp", "tanh", "sigmoid", "softplus"])
@pytest.mark.parametrize("way", ["scored", "inverse_scored"])
def bench_transform_and_log_det(time, dtype, f, way):
    value = np.abs(np.modf(Problem((N // 6, 6), None, (), dtype).value)[0])
    density = np.zeros(value.shape[:-1], dtype)
    time(apply, KERNELS[f"{f}_{way}"], value.shape, density, np.empty_like(value), value, event_ndim=1)


@pytest.mark.parametrize("verb", CDF)
def bench_normal_cdf(time, dtype, verb):
    value = Problem((N,), None, (), dtype).value
    if verb in ("icdf", "isf", "log_icdf"):
        value = np.abs(np.modf(value)[0])
        value = np.log(value) if verb == "log_icdf" else value
    zero, one = np.zeros((), dtype), np.ones((), dtype)
    time(apply, CDF[verb], value.shape, np.empty_like(value), value, zero, one)


@pytest.mark.parametrize("low", [-1.0, 8.0])
def bench_truncate(time, dtype, low):
    d = fd.TruncatedNormal(*np.array([0.0, 1.0, low, np.inf], dtype))
    time(d.sample, N, out=np.empty(N, dtype), rng=fd.default_rng(0))


# ---- construction --------------------------------------------------------------------------


@pytest.mark.parametrize("check_symmetry", [True, False], ids=["checked", "unchecked"])
@pytest.mark.parametrize("reverse", [False, True], ids=["covariance", "precision"])
@pytest.mark.parametrize("dim", [dim for dim in DIMS if dim < LARGE_DIM])
def bench_cholesky(time, dtype, dim, reverse, check_symmetry):
    _, _, covariance, _ = gaussian(dim, dtype, batch=max(N // dim**2, 1))
    kernel = KERNELS["reverse_cholesky" if reverse else "cholesky"]
    time(factorize, kernel, covariance, check_symmetry, np.empty_like(covariance))


@pytest.mark.parametrize("dim", DIMS)
def bench_pivoted_cholesky(time, dtype, dim):
    _, _, covariance, _ = gaussian(dim, dtype, batch=max(N // dim**2, 1))
    n_matrix = covariance.shape[:-2]
    order, tolerance = np.zeros((*n_matrix, dim), dtype), np.zeros((), dtype)
    rank, rest = np.zeros(n_matrix, dtype), np.zeros(n_matrix, dtype)
    factor = np.empty_like(covariance)
    kernel = KERNELS["pivoted_cholesky"]
    time(apply, kernel, n_matrix, factor, covariance, order, tolerance, rank, rest)


@pytest.mark.parametrize("dim", DIMS)
def bench_pack_panels(time, dtype, dim):
    _, _, covariance, panels = gaussian(dim, dtype, batch=max(N // dim**2, 1))
    out = np.empty_like(panels)  # a small factor's are the factor, read-only
    time(apply, KERNELS["pack_panels"], covariance.shape[:-2], out, covariance)


@pytest.mark.parametrize("dim", DIMS)
def bench_unpack_panels(time, dtype, dim):
    _, _, covariance, panels = gaussian(dim, dtype, batch=max(N // dim**2, 1))
    time(apply, KERNELS["unpack_panels"], covariance.shape[:-2], np.empty_like(covariance), panels)


@pytest.mark.parametrize("dim", [dim for dim in DIMS if dim < LARGE_DIM])
def bench_gram(time, dtype, dim):
    _, _, factor, _ = gaussian(dim, dtype, batch=max(N // dim**2, 1))
    time(apply, KERNELS["gram"], factor.shape[:-2], np.empty_like(factor), factor)


@pytest.mark.parametrize("dim", DIMS)
def bench_triangularize(time, dtype, dim):
    n_matrix = max(N // dim**2, 1)
    columns, count = np.random.default_rng(0).standard_normal((n_matrix, dim, dim)), np.array([dim])

    def used_up():  # which takes a copy
        out, copy = np.empty(columns.shape, dtype), columns.astype(dtype)
        apply(KERNELS["triangularize"], (n_matrix,), out, copy, count)

    time(used_up)


@pytest.mark.parametrize("op", ["condition", "reverse_condition"])
@pytest.mark.parametrize("dim", DIMS)
def bench_condition(time, dtype, dim, op):
    n_matrix, known = max(N // dim**2, 1), dim // 2
    factor = np.zeros((n_matrix, dim, dim), dtype)
    factor += np.triu(np.full((dim, dim), 1 / dim)) + np.eye(dim)
    loc, value, mean = (np.ones((n_matrix, n), dtype) for n in (dim, known, dim - known))
    order = np.concatenate([[known], np.arange(dim)])
    time(apply, KERNELS[op], (n_matrix,), mean, value, loc, factor, order)


@pytest.mark.parametrize("rank", [1, 10, 100])
@pytest.mark.parametrize("op", ["colorize_low_rank", "add_rows"])
def bench_sums_of_rows(time, dtype, rank, op):
    dim, n = 1000, N // 1000
    out, rows, count = np.zeros((n, dim), dtype), np.ones((rank, dim), dtype), np.array([rank])
    if op == "add_rows":
        time(apply, KERNELS[op], (n,), out, np.ones((n, rank), dtype), rows, count)
        return
    loc, scale = np.zeros(dim, dtype), np.ones(dim, dtype)
    time(apply, KERNELS[op], (n,), out, np.ones((n, rank + dim), dtype), loc, scale, rows, count)


@pytest.mark.parametrize(
    "op", ["CHOLESKY", "REVERSE_CHOLESKY", "INVERSE_PANELS", "PRODUCT", "PRODUCT_INVERSE"]
)
@pytest.mark.parametrize("dim", [64, 500, 1000])
def bench_by_blocks(time, dtype, dim, op):
    matrix = (np.eye(dim) + 1 / dim).astype(dtype)
    panels = np.empty(program.panels_size(dim, matrix.itemsize), dtype)
    program.by_blocks(program.CHOLESKY, dim, panels, matrix)
    source = matrix if "CHOLESKY" in op else panels
    result = matrix if "PRODUCT" in op else np.empty_like(panels)
    time(program.by_blocks, getattr(program, op), dim, np.empty_like(result), source)


@pytest.mark.parametrize("check", ["finite", "positive", "probability"])
def bench_check(time, dtype, check):
    time(first_bad, KERNELS[f"check_{check}"], np.full(N, 0.5, dtype))


# ---- divergences ---------------------------------------------------------------------------


KINDS = {"tril": TRIL, "inverse": INVERSE, "diagonal": DIAGONAL}


@pytest.mark.parametrize("kind_q", KINDS)
@pytest.mark.parametrize("kind_p", KINDS)
@pytest.mark.parametrize("dim", DIMS)
def bench_mvn_kl(time, dtype, dim, kind_p, kind_q):
    if kind_p == kind_q == "diagonal":
        pytest.skip("these are a sum of normal_kl")
    _, loc, covariance, _ = gaussian(dim, dtype, batch=max(N // dim**2, 1))
    # Any factor will do for an inverse one.
    factor = fd.MultivariateNormal(loc, covariance)._triangle(inverse=False)
    scale = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    p, q = (scale if kind == "diagonal" else factor for kind in (kind_p, kind_q))
    kinds = np.array([KINDS[kind_p], KINDS[kind_q], 1], np.intp)
    out = np.empty(loc.shape[:-1], dtype)
    time(apply, KERNELS["mvn_kl"], out.shape, out, loc, -loc, p, q, kinds)


# ---- outcomes ------------------------------------------------------------------------------


OUTCOMES = (2, 6, 10, 100, 1000)


def table_of(n, dtype, batch=()):
    weights = np.random.default_rng(0).uniform(size=(*batch, n)).astype(dtype)
    table = np.empty_like(weights)
    apply(KERNELS["cumulate"], batch, table, weights)
    return table


@pytest.mark.parametrize("n", OUTCOMES)
@pytest.mark.parametrize("each", [False, True], ids=["one table", "a table each"])
def bench_draw_categorical(time, dtype, n, each):
    """Its results are small integers, which go in again as uniforms near 0."""
    n_draw = max(N // n, 1) if each else N
    table = table_of(n, dtype, (n_draw,) if each else ())
    u = np.random.default_rng(0).uniform(0.01, 0.99, n_draw).astype(dtype)
    time(apply, KERNELS["draw_categorical"], (n_draw,), u, table)


@pytest.mark.parametrize("n", OUTCOMES)
@pytest.mark.parametrize("op", ["log_softmax", "categorical_entropy", "cumulate"])
def bench_rows(time, dtype, n, op):
    x = np.random.default_rng(0).normal(size=(max(N // n, 1), n)).astype(dtype)
    out = np.empty(x.shape[:-1] if op == "categorical_entropy" else x.shape, dtype)
    time(apply, KERNELS[op], x.shape[:-1], out, x)


@pytest.mark.parametrize("n", OUTCOMES)
@pytest.mark.parametrize("op", ["log_sum_exp", "categorical_kl"])
def bench_pairs_of_rows(time, dtype, n, op):
    x, y = np.random.default_rng(0).normal(size=(2, max(N // n, 1), n)).astype(dtype)
    time(apply, KERNELS[op], x.shape[:-1], np.empty(x.shape[:-1], dtype), x, y)
