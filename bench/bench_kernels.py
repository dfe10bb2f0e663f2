"""Times of the kernels on memory that is ready, for every ISA and both dtypes, by pytest-benchmark.

The bridge is called as fastdist's classes call it, below all shapes and checks. What a draw costs
beyond its noise is the difference of `draw_*` and `standard_normal`.
"""

import numpy as np
import pytest
from cases import DTYPES, Problem

import fastdist as fd
from fastdist._kernels import bridge

N = 2**16  # elements, or about as many: 512 kB in float64, and no cache but the first is too small
DIMS = (2, 4, 8, 16, 32, 128, 512)
NOISES = {"BlockSFC64": fd.BlockSFC64, "PCG64": np.random.PCG64}
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
    generator = NOISES[source](0)
    noise = generator._noise if source == "BlockSFC64" else bridge.Noise(generator)
    time(bridge.standard_normal, noise, np.zeros(N, dtype), 1)


@pytest.mark.parametrize("pattern", PATTERNS)
def bench_draw_diag(time, noise, dtype, pattern):
    p = Problem((256, 256), None, (), dtype, PATTERNS[pattern])
    time(bridge.draw_diag, noise, np.zeros(p.shape, dtype), p.loc, p.scale)


@pytest.mark.parametrize("inverse", [False, True], ids=["multiply", "solve"])
@pytest.mark.parametrize("dim", DIMS)
def bench_draw_tril(time, noise, dtype, dim, inverse):
    out, loc, _, panels = gaussian(dim, dtype)
    time(bridge.draw_tril, noise, out, (1,), loc, panels, inverse)


@pytest.mark.parametrize("dim", DIMS)
def bench_solve_tril(time, dtype, dim):
    value, *_ = gaussian(dim, dtype)
    # In place, again and again: by the identity, or the numbers would grow beyond all bounds.
    identity = fd.MultivariateNormal(np.zeros(dim, dtype), scale_tril=np.eye(dim, dtype=dtype))
    time(bridge.solve_tril, value, np.zeros(dim, dtype), identity._panels(np.dtype(dtype)))


# ---- densities -----------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", PATTERNS)
def bench_normal_log_prob(time, dtype, pattern):
    p = Problem((256, 256), None, (), dtype, PATTERNS[pattern])
    time(bridge.normal_log_prob, np.zeros(p.shape, dtype), p.value, p.loc, p.scale, np.log(p.scale))


def bench_normal_log_prob_events(time, dtype):
    p = Problem((256, 256), None, (), dtype, PATTERNS["row"])
    constant = np.zeros((), dtype)
    time(bridge.normal_log_prob_events, np.zeros(256, dtype), (256,), p.value, p.loc, p.scale, constant)


@pytest.mark.parametrize("inverse", [False, True], ids=["solve", "multiply"])
@pytest.mark.parametrize("dim", DIMS)
def bench_mahalanobis_tril(time, dtype, dim, inverse):
    value, loc, _, panels = gaussian(dim, dtype)
    time(bridge.mahalanobis_tril, np.zeros(value.shape[:-1], dtype), value, loc, panels, inverse)


@pytest.mark.parametrize("inverse", [False, True], ids=["solve", "multiply"])
@pytest.mark.parametrize("dim", DIMS)
def bench_mvn_log_prob(time, dtype, dim, inverse):
    value, loc, _, panels = gaussian(dim, dtype)
    out = np.zeros(value.shape[:-1], dtype)
    time(bridge.mvn_log_prob, out, value, loc, panels, np.zeros((), dtype), inverse)


def bench_log(time, dtype):
    value = np.abs(Problem((N,), None, (), dtype).value)
    time(bridge.log, np.empty_like(value), value)


@pytest.mark.parametrize("verb", ["cdf", "log_cdf", "survival_function", "log_survival_function", "icdf"])
def bench_normal_cdf(time, dtype, verb):
    value = Problem((N,), None, (), dtype).value
    if verb == "icdf":
        value = np.abs(np.modf(value)[0])
    zero, one = np.zeros((), dtype), np.ones((), dtype)
    time(bridge.normal_cdf, verb, np.empty_like(value), value, zero, one)


# ---- construction --------------------------------------------------------------------------


@pytest.mark.parametrize("check_symmetry", [True, False], ids=["checked", "unchecked"])
@pytest.mark.parametrize("reverse", [False, True], ids=["covariance", "precision"])
@pytest.mark.parametrize("dim", DIMS)
def bench_cholesky(time, dtype, dim, reverse, check_symmetry):
    _, _, covariance, _ = gaussian(dim, dtype, batch=max(N // dim**2, 1))
    time(bridge.cholesky, np.empty_like(covariance), covariance, reverse, check_symmetry)


@pytest.mark.parametrize("dim", DIMS)
def bench_pack_panels(time, dtype, dim):
    _, _, covariance, panels = gaussian(dim, dtype, batch=max(N // dim**2, 1))
    time(bridge.pack_panels, np.empty_like(panels), covariance)  # a small factor's are the factor, read-only


@pytest.mark.parametrize("check", ["finite", "positive", "probability"])
def bench_first_not(time, dtype, check):
    time(getattr(bridge, f"first_not_{check}"), np.full(N, 0.5, dtype))
