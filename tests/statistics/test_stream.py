"""The quick part of the battery: `make battery` does the same with more numbers, and more.

Seeds are fixed: a test that fails has not met with bad luck, the stream has changed. Each test has a
number of p-values and accepts its seed unless one of them, two-sided, is below ALARM divided by this
number; a right generator fails such a test for one seed in 1 / ALARM = 10000.
"""

from unittest import mock

import broken
import checks
import numpy as np
import pytest

import fastdist as fd

pytestmark = pytest.mark.any_isa  # the stream has the same bits on each (test_block_sfc64.py)

ALARM = 1e-4


def accept(results):
    assert len(results) > 3
    bad = [(name, p) for name, p in results if checks.two_sided(p) < ALARM / len(results)]
    assert not bad


def test_one_stream():
    b = fd.BlockSFC64(2024)
    of = [*checks.of_normals(), checks.Distinct()]
    accept(checks.run(of, lambda n: fd.standard_normal(n, rng=b), 1 << 24))


@pytest.mark.parametrize(
    "streams",
    [
        lambda: fd.BlockSFC64(11).spawn(16),
        lambda: [fd.BlockSFC64(seed) for seed in range(16)],
        lambda: checks.neighbours(12),
        checks.small_keys,
        lambda: [fd.BlockSFC64(13).jumped(k) for k in range(16)],
    ],
    ids=["spawned", "seeds 0 to 15", "keys of few bits' difference", "small keys", "jumped"],
)
def test_streams_in_turn(streams):
    streams = streams()
    accept(checks.run(checks.of_interleaved(16), lambda n: checks.interleaved(streams, n), 1 << 23))


def test_raw_words():
    b = fd.BlockSFC64(14)
    accept(checks.run([checks.Words()], b.random_raw, 1 << 24))


def test_raw_words_and_normals_are_not_correlated():
    b = fd.BlockSFC64(15)
    n = 1 << 22
    x = fd.standard_normal(n, rng=b)
    u = np.random.Generator(b).random(n) * 12**0.5 - 3**0.5
    z = [(x[: n - k] * u[k:]).sum() / (n - k) ** 0.5 for k in range(10)]
    accept([(f"{k} apart", checks.p_of_z(z[k])) for k in range(10)])


# ---- the checks find what is wrong ------------------------------------------------------------


def numpy_normals(seed=1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal


def spoiled(change):
    draw = numpy_normals()
    return lambda n: change(draw(n))


def worst(results):
    return min(checks.two_sided(p) for _, p in results) * len(results)


def without_tail(x):
    return np.where(np.abs(x) > 4.0388, 4.0388 * np.sign(x), x)


def repeated_block(x):
    """One block in 64 is the one before."""
    x = x.copy()
    blocks = x.reshape(-1, 1024)
    blocks[1::64] = blocks[::64]
    return x


def coarse(x):
    return x.astype(np.float32).astype(float)


def correlated(x):
    y = x.copy()
    y[8:] += 0.01 * x[:-8]
    return y / (1 + 0.01**2) ** 0.5


def wide_zero(x):
    return np.where(np.abs(x) < 2e-6, 0.0, x)


def test_checks_find_nothing_where_nothing_is():
    assert worst(checks.run(checks.of_normals(), numpy_normals(), 1 << 21, 1 << 18)) > 1e-3


@pytest.mark.parametrize(
    "change",
    [
        without_tail,
        repeated_block,
        coarse,
        correlated,
        wide_zero,
        lambda x: x * 1.005,
        lambda x: x + 0.005,
        lambda x: np.where(np.abs(x) > 4.0388, x * 1.05, x),
        lambda x: np.where((x > 1) & (x < 1.001), 1.0005, x),
        np.sort,
        np.abs,
        lambda x: np.repeat(x[::2], 2),
    ],
)
def test_checks_find_what_is_wrong(change):
    assert worst(checks.run(checks.of_normals(), spoiled(change), 1 << 21, 1 << 18)) < 1e-6


@pytest.mark.parametrize("breakage", [name for name in broken.BREAKAGES if name not in broken.HARD])
def test_checks_find_a_broken_stream(breakage):
    assert worst(broken.results(breakage, 1 << 22)) < 1e-4


def test_the_reference_is_not_broken():
    with mock.patch.dict(broken.BREAKAGES, {"none": {}}):
        assert worst(broken.results("none", 1 << 22)) > 1e-3


@pytest.mark.parametrize(
    "change",
    [
        lambda words: words & ~np.uint64(1 << 17),
        lambda words: np.repeat(words[::2], 2),
        lambda words: words | (np.arange(len(words)) % 100 == 0).astype(np.uint64),
    ],
)
def test_checks_find_wrong_words(change):
    draw = np.random.PCG64(3).random_raw
    assert worst(checks.run([checks.Words()], draw, 1 << 22)) > 1e-3
    assert worst(checks.run([checks.Words()], lambda n: change(draw(n)), 1 << 22)) < 1e-6


def test_p_values():
    assert checks.p_of_z(1.6448536269514722) == pytest.approx(0.05)
    assert checks.p_of_chi2(18.307, 10) == pytest.approx(0.05, rel=1e-4)
    assert checks.p_of_chi2(4250.0, 4095) == pytest.approx(checks.p_of_z((4250 - 4095) / 8190**0.5), rel=0.05)
    assert checks.p_of_count(0, 0.1) == pytest.approx(1 - np.exp(-0.1) / 2)
    assert checks.p_of_count(9900, 9999.0) == pytest.approx(checks.p_of_count(9900, 10001.0), abs=0.01)
    assert checks.p_of_ks((np.arange(1000) + 0.5) / 1000 * 0.9) < 1e-6
    assert 0.4 < np.mean([checks.p_of_ks(np.random.default_rng(k).random(200)) for k in range(300)]) < 0.6
    assert checks.equal_pairs(np.array([3, 1, 3, 3, 1, 2])) == 4
