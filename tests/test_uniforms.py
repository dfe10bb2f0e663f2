"""Uniforms, a domain of BlockSFC64: against the reference, for any cut, workers, dtype and ISA; positions and states."""

import copy
import pickle

import numpy as np
import pytest
import reference
from cases import DTYPES, assert_same_bits
from scipy import stats

import fastdist as fd
from fastdist.random import standard_uniform

KEY = (0x0123456789ABCDEF, 0xFEDCBA9876543210)
KNOWN = [
    "0x1.728ab95830871p-1",
    "0x1.183fa4043019fp-1",
    "0x1.f0b8f874013b5p-1",
    "0x1.34e3ee266f0bbp-1",
    "0x1.896d2669c0b2dp-1",
]
BELOW_ONE = np.float32(1 - 2**-24)


def at(uniform, key=KEY, raw=0, normal=0):
    """A generator on a key, at these positions."""
    b = fd.BlockSFC64(0)
    positions = {"raw_position": raw, "normal_position": normal, "uniform_position": uniform}
    b.state = {**b.state, "state": {"key": np.array(key, np.uint64), **positions}}
    return b


def positions(b):
    return [b.state["state"][f"{name}_position"] for name in ("raw", "normal", "uniform")]


def wanted_of(dtype, first, n):
    wide = reference.uniforms(KEY, first, n)
    return wide if dtype is np.float64 else np.minimum(wide.astype(np.float32), BELOW_ONE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("first", "n"),
    [
        (0, 5000),
        (1023, 3),
        (7, 1024),
        (reference.POSITIONS - 700, 3000),
        (3 * reference.POSITIONS - 1, 2),
        (reference.PERIOD - 1500, 3000),
    ],
)
def test_against_the_reference(first, n, dtype, isa):
    b = at(first)
    assert_same_bits(standard_uniform(n, dtype=dtype, rng=b), wanted_of(dtype, first, n))
    assert positions(b) == [0, 0, (first + n) % reference.PERIOD]


def test_known_answers(isa):
    """As they were when uniforms were new; by the reference they are the same."""
    u = standard_uniform(1026, rng=at(0))
    got = [float(u[i]).hex() for i in (0, 1, 1023, 1024, 1025)]
    assert got == KNOWN


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_cut(dtype, isa):
    wanted, b, here = wanted_of(dtype, 500, 9000), at(500), 0
    for n in (1, 0, 7, 16, 500, 1024, 1500, 2049, 3, 3900):
        x = standard_uniform(n, dtype=dtype, rng=b)
        assert_same_bits(x, wanted[here : here + n])
        here += n
    assert here == 9000


@pytest.mark.parametrize("workers", [1, 2, 5, -1])
def test_any_number_of_workers(workers):
    assert_same_bits(
        standard_uniform(400_000, rng=at(333), workers=workers), wanted_of(np.float64, 333, 400_000)
    )


def test_the_largest_and_the_smallest_are_inside():
    """Of doubles 2^-53 from the ends; of floats, too, no number rounds to 1."""
    u = standard_uniform(10**7, rng=4, dtype=np.float32)
    assert u.min() > 0
    assert u.max() == BELOW_ONE


def test_domains_do_not_meet():
    """Draws of one leave the others' positions alone, and have no words in common."""
    b = at(0)
    normals, raw = fd.standard_normal(100, rng=b), b.random_raw(100)
    assert positions(b) == [100, 100, 0]
    u = standard_uniform(100, rng=b)
    assert positions(b) == [100, 100, 100]
    assert_same_bits(u, wanted_of(np.float64, 0, 100))
    assert_same_bits(normals, fd.standard_normal(100, rng=at(777)))
    words = reference.blocks(KEY, [reference.UNIFORM_BLOCKS], reference.NORMAL)[0]
    assert not set(words) & set(reference.blocks(KEY, [0], reference.NORMAL)[0])
    assert not set(words) & set(raw)


def test_states():
    b = at(5, raw=3, normal=4)
    for other in (copy.copy(b), copy.deepcopy(b), pickle.loads(pickle.dumps(b))):
        assert positions(other) == [3, 4, 5]
        assert_same_bits(standard_uniform(7, rng=other), wanted_of(np.float64, 5, 7))
    assert positions(b.jumped()) == [3 + (1 << 96), 4 + (1 << 96), 5 + (1 << 96)]
    assert positions(b.advance(-4)) == [reference.PERIOD - 1, 0, 1]
    (child,) = b.spawn(1)
    assert positions(child) == [0, 0, 0]


def test_a_state_without_the_position_begins_at_0():
    """As states were before there were uniforms."""
    b = at(5)
    state = b.state
    del state["state"]["uniform_position"]
    b.state = state
    assert positions(b) == [0, 0, 0]


@pytest.mark.parametrize(
    ("position", "error"), [(-1, ValueError), (reference.PERIOD, ValueError), (0.5, TypeError)]
)
def test_positions_that_are_none(position, error):
    b = at(5)
    with pytest.raises(error):
        b.state = {**b.state, "state": {**b.state["state"], "uniform_position": position}}
    assert positions(b) == [0, 0, 5]


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_numpy_s_generators_they_are_random_s(dtype):
    g = np.random.default_rng(3)
    x = standard_uniform((5, 4), rng=g, dtype=dtype)
    again = np.random.default_rng(3)
    assert_same_bits(x, again.random((5, 4), dtype=dtype))
    assert g.bit_generator.state == again.bit_generator.state


def test_they_are_uniform():
    """Seeds are fixed; each p-value falls below 1e-4 once in 10 000 seeds."""
    u = standard_uniform(1_000_000, rng=11)
    assert stats.kstest(u, "uniform").pvalue > 1e-4
    assert stats.chisquare(np.bincount((u * 1024).astype(int), minlength=1024)).pvalue > 1e-4
    pairs = (u[::2] * 32).astype(int) * 32 + (u[1::2] * 32).astype(int)
    assert stats.chisquare(np.bincount(pairs, minlength=1024)).pvalue > 1e-4
    x = fd.standard_normal(1_000_000, rng=11)
    assert abs(np.corrcoef(u, x)[0, 1]) < 4e-3
