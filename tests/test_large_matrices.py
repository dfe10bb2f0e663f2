"""One large covariance: factors, inverses and products by blocks (src_c/blocked.h).

Their bits follow from a prescribed order of sums, on any instruction set and by any number of workers; that
they are right is said by residuals in wider arithmetic, of `np.longdouble`.
"""

import pickle

import numpy as np
import pytest
from cases import run

import fastdist as fd

# Around panels of 16 rows and chunks of 64 columns; then with several chunks.
DIMS = (64, 65, 79, 80, 81, 127, 128, 129, 192, 200, 333)

WIDE = np.longdouble
wide_enough = pytest.mark.skipif(np.finfo(WIDE).eps > 1e-18, reason="long double is double here")


def spread(d, condition=1e4, seed=0):
    """A covariance with eigenvalues from 1 down to 1 / condition, symmetric to the last bit."""
    g = np.random.default_rng([seed, d])
    basis, _ = np.linalg.qr(g.standard_normal((d, d)))
    matrix = basis * np.geomspace(1, 1 / condition, d) @ basis.T
    return (matrix + matrix.T) / 2


def mvn(matrix, name="covariance_matrix", **keywords):
    return fd.MultivariateNormal(np.zeros(matrix.shape[-1], matrix.dtype), **{name: matrix}, **keywords)


def worst(a, b, scale):
    """The largest difference, in ulp of `scale`."""
    return float(np.max(np.abs(a.astype(WIDE) - b.astype(WIDE)) / scale) / np.finfo(a.dtype).eps)


def units(matrix):
    """What rounding is relative to: roots of the diagonal."""
    root = np.sqrt(np.diagonal(matrix))
    return root[:, None] * root


# ---- values ----------------------------------------------------------------------------------------


@wide_enough
@pytest.mark.parametrize("condition", [1e2, 1e12])
@pytest.mark.parametrize("d", DIMS)
def test_a_factor_times_its_transpose_is_the_covariance(d, condition, isa):
    matrix = spread(d, condition)
    factor = mvn(matrix).scale_tril
    assert np.array_equal(factor, np.tril(factor))
    wide = factor.astype(WIDE)
    assert worst(matrix, wide @ wide.T, units(matrix)) < 8  # far below d


@wide_enough
@pytest.mark.parametrize("d", DIMS)
def test_a_precision_is_factorised_from_the_last_row_up(d):
    matrix = spread(d)
    factor = mvn(matrix, "precision_matrix")._triangle(inverse=True).T
    assert np.array_equal(factor, np.tril(factor))
    wide = factor.astype(WIDE)
    assert worst(matrix, wide.T @ wide, units(matrix)) < 8
    backwards = mvn(np.ascontiguousarray(matrix[::-1, ::-1])).scale_tril
    assert np.array_equal(factor, backwards[::-1, ::-1].T)


@wide_enough
@pytest.mark.parametrize("d", [5, 63, *DIMS])
def test_conversions(d):
    matrix = spread(d)
    lower = mvn(matrix).scale_tril
    wide = lower.astype(WIDE)
    by_factor = mvn(np.ascontiguousarray(lower), "scale_tril")
    assert worst(by_factor.covariance_matrix, wide @ wide.T, units(matrix)) < 8
    inverse = mvn(matrix).precision_matrix
    by_precision = mvn(inverse, "precision_matrix")
    for found in (
        inverse,
        by_factor.precision_matrix,
        by_precision.covariance_matrix,
        by_precision.scale_tril,
    ):
        assert not np.isnan(found).any()
    for found in (inverse, by_precision.covariance_matrix, by_factor.covariance_matrix):
        assert np.array_equal(found, found.T)
    # A residual beyond rounding is that times the condition of the matrix.
    assert np.abs(inverse.astype(WIDE) @ matrix - np.eye(d)).max() < 1e4 * d * 2.0**-52
    assert (
        np.abs(by_precision.covariance_matrix.astype(WIDE) @ inverse - np.eye(d)).max() < 1e4 * d * 2.0**-52
    )
    left = by_precision.scale_tril
    assert np.abs(left @ left.T - matrix).max() < 1e-9
    assert np.array_equal(left, np.tril(left))


@pytest.mark.parametrize("name", ["covariance_matrix", "precision_matrix"])
@pytest.mark.parametrize("d", DIMS)
def test_float32_is_float64_rounded(d, name):
    matrix = spread(d).astype(np.float32)
    narrow, double = mvn(matrix, name), mvn(matrix.astype(np.float64), name)
    inverse = name == "precision_matrix"
    assert np.array_equal(
        narrow._triangle(inverse=inverse), double._triangle(inverse=inverse).astype(np.float32)
    )
    other = np.ascontiguousarray(narrow._triangle(inverse=inverse).T)
    if not inverse:
        by_factor = [mvn(a, "scale_tril") for a in (other, other.astype(np.float64))]
        for what in ("covariance_matrix", "precision_matrix"):
            a, b = (getattr(one, what) for one in by_factor)
            assert np.array_equal(a, b.astype(np.float32))


# ---- bits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [64, 65, 200])
def test_the_first_63_rows_are_those_of_a_small_factor(d, isa):
    """Which is made in another way: a matrix a lane."""
    matrix = spread(d)
    small = mvn(np.ascontiguousarray(matrix[:63, :63])).scale_tril
    assert np.array_equal(mvn(matrix).scale_tril[:63, :63], small)


def everything(matrix):
    """Of one matrix each array that is made by blocks."""
    for name in ("covariance_matrix", "precision_matrix"):
        d = mvn(matrix, name)
        yield from (d._triangle(inverse=False), d._triangle(inverse=True))
        yield from (d.replace(loc=d.loc).covariance_matrix, d.precision_matrix)
        factor = mvn(np.ascontiguousarray(d.scale_tril), "scale_tril")
        yield from (factor.covariance_matrix, factor.precision_matrix)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [64, 129, 300])
def test_bits_are_those_of_scalar_by_one_worker(d, dtype, isa):
    matrix = spread(d, 1e2).astype(dtype)
    found = list(everything(matrix))
    with fd.set_workers(3):
        by_several = list(everything(matrix))
    fd.set_isa("scalar")
    for a, b, c in zip(everything(matrix), found, by_several, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, c)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["covariance_matrix", "precision_matrix"])
def test_in_a_batch_and_alone(name, dtype):
    matrices = np.stack([spread(70, 1e2, seed) for seed in range(6)]).astype(dtype).reshape(2, 3, 70, 70)
    batch = fd.MultivariateNormal(np.zeros(70, dtype), **{name: matrices})
    for i in np.ndindex(2, 3):
        alone = mvn(matrices[i], name)
        x = np.linspace(-1, 1, 70).astype(dtype)
        assert np.array_equal(batch.log_prob(x)[i], alone.log_prob(x))
        for what in ("scale_tril", "covariance_matrix", "precision_matrix", "variance"):
            assert np.array_equal(getattr(batch, what)[i], getattr(alone, what))


def test_layouts():
    """Read-only, in Fortran's order, with gaps, or lent."""
    matrix = spread(100)
    wanted = mvn(matrix).sample(3, rng=0)
    gaps = np.zeros((100, 200))
    gaps[:, ::2] = matrix
    lent = matrix.copy()
    lent.flags.writeable = False
    for layout in (np.asfortranarray(matrix), gaps[:, ::2], matrix[::-1, ::-1].copy()[::-1, ::-1], lent):
        d = mvn(layout)
        assert np.array_equal(d.sample(3, rng=0), wanted)
        assert np.array_equal(d.covariance_matrix, matrix)


def test_a_matrix_is_taken_over():
    matrix = spread(100)
    d, changed = mvn(matrix), matrix.copy()
    d_changed = mvn(changed)
    changed[:] = 7
    assert np.array_equal(d_changed.covariance_matrix, matrix)
    assert np.array_equal(d_changed.sample(rng=0), d.sample(rng=0))


@pytest.mark.parametrize("name", ["covariance_matrix", "precision_matrix"])
def test_parts_copies_and_stacks(name):
    matrices = np.stack([spread(70, 1e2, seed) for seed in range(3)])
    d = fd.MultivariateNormal(np.arange(210.0).reshape(3, 70), **{name: matrices})
    x = np.linspace(-1, 1, 70)
    density = d.log_prob(x)
    looked_at = fd.MultivariateNormal(d.loc, **{name: matrices})
    assert looked_at.scale_tril.shape == (3, 70, 70)  # which makes another form of the factor
    for one in (d, looked_at):
        assert np.array_equal(one[1:].log_prob(x), density[1:])
        assert np.array_equal(one[[2, 0]].log_prob(x), density[[2, 0]])
        assert np.array_equal(one.expand((2, 3)).log_prob(x), [density, density])
        assert np.array_equal(pickle.loads(pickle.dumps(one)).log_prob(x), density)
        assert np.array_equal(type(one)(**one.parameters).log_prob(x), density)
    for pair in ((d, looked_at), (looked_at, d)):
        assert np.array_equal(fd.stack(pair).log_prob(x), [density, density])
    assert np.array_equal(fd.kl_divergence(d, looked_at), np.zeros(3))


# ---- what has no factor ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["covariance_matrix", "precision_matrix"])
@pytest.mark.parametrize("row", [0, 15, 63, 64, 99, 130])
def test_a_pivot_that_fails(row, name, dtype, isa):
    good = spread(131, 1e2).astype(dtype)
    bad = good.copy()
    bad[row, row] = -0.5 * bad[row, row]
    shape = r"shape \(3, 131, 131\), batch index \(1,\)"
    with pytest.raises(np.linalg.LinAlgError, match=rf"{name} is not positive definite .*{shape}"):
        mvn(np.stack([good, bad, bad]), name)


@pytest.mark.parametrize("d", [70, 200])
def test_a_singular_matrix_has_no_factor(d, isa):
    tall = np.random.default_rng(d).standard_normal((d, d // 2))
    with pytest.raises(np.linalg.LinAlgError):
        mvn(tall @ tall.T / d, validate_args=False)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["covariance_matrix", "precision_matrix"])
@pytest.mark.parametrize("place", [(5, 5), (90, 3), (3, 90), (99, 99), (64, 10)])
def test_an_element_that_is_not_finite(place, name, bad, isa):
    matrix = spread(100)
    matrix[place] = bad
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        mvn(matrix, name, validate_args=False)


@pytest.mark.parametrize("name", ["covariance_matrix", "precision_matrix"])
@pytest.mark.parametrize("place", [(1, 0), (0, 1), (99, 0), (15, 99), (99, 98), (70, 40)])
def test_asymmetry_is_found_wherever_it_is(place, name, isa):
    matrix = spread(100)
    bound = np.sqrt(np.finfo(float).eps * matrix[place[0], place[0]] * matrix[place[1], place[1]])
    matrix[place] += 0.9 * bound
    mvn(matrix, name)
    matrix[place] += 0.2 * bound
    i, j = sorted(place)
    with pytest.raises(ValueError, match=rf"{name} must be symmetric: .*, \[{i}, {j}\] = "):
        mvn(matrix, name)


@pytest.mark.parametrize(("name", "counts"), [("covariance_matrix", np.tril), ("precision_matrix", np.triu)])
def test_which_triangle_counts_without_a_check(name, counts):
    matrix = spread(100)
    half = counts(matrix)
    assert np.array_equal(
        mvn(half, name, validate_args=False)._panels(np.dtype(float)),
        mvn(matrix, name)._panels(np.dtype(float)),
    )


def test_squares_near_the_ends_of_the_range():
    matrix = spread(100)
    for scale in (2.0**900, 2.0**-900):
        assert np.array_equal(mvn(matrix * scale).scale_tril, mvn(matrix).scale_tril * np.sqrt(scale))


# ---- Ctrl-C ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["CHOLESKY", "PRODUCT_INVERSE"])
def test_ctrl_c(op):
    """KeyboardInterrupt arrives in a call of some seconds while the last of the result is still to be computed."""
    script = f"""
import os, threading
from fastdist._kernels import program
n = 2000
matrix = np.eye(n) + 1 / n
panels = np.full(program.panels_size(n, 8), np.nan)
if {op!r} == "CHOLESKY":
    source, result = matrix, panels
else:
    from fastdist.distributions import _factors
    source, result = _factors.panels(np.eye(n)), np.full((n, n), np.nan)
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    program.by_blocks(program.{op}, n, result, source)
except KeyboardInterrupt:
    print("interrupted", np.isnan(result.flat[-1]))
"""
    assert run(script, FASTDIST_ISA="scalar") == "interrupted True\n"
