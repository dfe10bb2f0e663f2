"""Draws: NumPy's own normals, coloured; where they come from and where they leave the generator."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from cases import (
    DTYPES,
    EVERY_KIND,
    KINDS,
    MATRICES,
    assert_same_bits,
    one_of_each,
    random_mvn,
    random_normal,
    run,
    state_of,
)

import fastdist as fd
from fastdist.random import as_noise

BIT_GENERATORS = (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64)
BROADCASTS = [
    ((), ()),
    ((7,), ()),
    ((), (7,)),
    ((5, 7), (7,)),
    ((5, 1), (1, 7)),
    ((5, 7), (5, 1)),
    ((3, 1, 4), (2, 1)),
    ((0,), ()),
    ((5000,), ()),
    ((), (5000,)),
    ((70, 90), (90,)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bit_generator", BIT_GENERATORS)
def test_normal_is_numpy_bit_for_bit(bit_generator, dtype, isa):
    ours, theirs = (np.random.Generator(bit_generator(5)) for _ in range(2))
    for loc, scale in BROADCASTS:
        d = random_normal(loc, scale, dtype)
        for sample_shape in ((), (3,), (2, 1, 2)):
            shape = sample_shape + d.batch_shape
            wanted = np.asarray(d.loc + d.scale * theirs.standard_normal(shape, dtype))
            assert_same_bits(d.sample(sample_shape, rng=ours), wanted)
            assert state_of(ours) == state_of(theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bit_generator", BIT_GENERATORS[1:3])
@pytest.mark.parametrize("name", MATRICES)
def test_mvn_is_loc_plus_scale_tril_eps(name, bit_generator, dtype, isa):
    ours, theirs = (np.random.Generator(bit_generator(5)) for _ in range(2))
    for loc, matrix in (*BROADCASTS[:8], ((300,), ()), ((40, 1), (30,))):
        for dim in (1, 2, 3, 8, 9, 33):
            d = random_mvn(name, (*loc, dim), (*matrix, dim, dim), dtype)
            for sample_shape in ((), (3,), (20, 2)):
                eps = theirs.standard_normal(sample_shape + d.batch_shape + (dim,), dtype)
                n = int(np.prod(sample_shape))
                columns = np.moveaxis(eps.reshape(n, *d.batch_shape, dim), 0, -1).astype(float)
                colored = np.moveaxis(d.scale_tril.astype(float) @ columns, -1, 0)
                wanted = d.loc + colored.reshape(eps.shape)
                got = d.sample(sample_shape, rng=ours)
                np.testing.assert_allclose(got, wanted, rtol=0, atol=40 * dim * np.finfo(dtype).eps)
                assert state_of(ours) == state_of(theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [70, 5000])
def test_large_events(dim, dtype, isa):
    tril = np.eye(dim, dtype=dtype)
    tril[:, 0] = 1
    ours, theirs = np.random.default_rng(1), np.random.default_rng(1)
    d = fd.MultivariateNormal(np.zeros(dim, dtype), scale_tril=tril)
    eps = theirs.standard_normal((2, dim), dtype)
    eps[:, 1:] += eps[:, :1]
    np.testing.assert_allclose(d.sample(2, rng=ours), eps, rtol=0, atol=8 * np.finfo(dtype).eps)
    assert state_of(ours) == state_of(theirs)


@pytest.mark.parametrize(
    ("batch", "dim", "samples"), [(100, 100, 45), (1200, 9, 21), (6, 300, 70), (3, 700, 41)]
)
@pytest.mark.parametrize("name", ["scale_tril", "precision_matrix"])
def test_samples_that_share_factors(batch, dim, samples, name, isa):
    """They are done some at a time, whoever draws them: the bits are those of one sample after the other."""
    d = random_mvn(name, (batch, dim), (batch, dim, dim))
    g = fd.default_rng(8)
    wanted = np.stack([d.sample(rng=g) for _ in range(samples)])
    for workers in (1, 2, 5):
        assert_same_bits(d.sample(samples, rng=8, workers=workers), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_rsample_is_sample(kind, dtype):
    d = one_of_each(dtype)[kind]
    assert_same_bits(d.sample((3, 2), rng=9), d.rsample((3, 2), rng=9))


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_what_may_be_an_rng(kind):
    """Seeds start anew, generators move on, and a Generator and its BitGenerator are one stream."""
    d = one_of_each()[kind]
    for seed in (3, np.int64(3), 2**200):
        assert_same_bits(d.sample(rng=seed), d.sample(rng=seed))
    assert_same_bits(d.sample(rng=np.random.SeedSequence(3)), d.sample(rng=np.random.SeedSequence(3)))
    assert not np.array_equal(d.sample(rng=3), d.sample(rng=4))
    if "Mixture" in kind:  # uniforms of all samples come before normals
        return
    wanted = d.sample((2,), rng=np.random.PCG64(3))
    bit_generator = np.random.PCG64(3)
    first, second = d.sample(rng=bit_generator), d.sample(rng=np.random.Generator(bit_generator))
    assert_same_bits(np.stack([first, second]), wanted)


def test_many_generators_at_once():
    """More generators than any cache holds, used in turn, keep their streams apart."""
    d = random_normal()
    ours = [np.random.default_rng(i) for i in range(100)]
    theirs = [np.random.default_rng(i) for i in range(100)]
    for _ in range(3):
        for a, b in zip(ours, theirs, strict=True):
            assert_same_bits(d.sample(rng=a), d.loc + d.scale * b.standard_normal((3, 2)))


def test_a_state_set_from_outside_counts():
    d, g = random_normal(), np.random.default_rng(0)
    state = g.bit_generator.state
    first = d.sample(rng=g)
    g.bit_generator.state = state
    assert_same_bits(d.sample(rng=g), first)


def test_no_rng_never_repeats():
    d = fd.Normal(np.zeros(4), 1.0)
    draws = [d.sample() for _ in range(3)]
    sources = [as_noise(None)]
    assert as_noise(None) is sources[0]

    def work():
        draws.extend(d.sample() for _ in range(3))
        sources.append(as_noise(None))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({x for draw in draws for x in draw}) == 4 * 27
    assert len({id(source) for source in sources}) == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_no_rng_differs_after_fork():
    script = """
import os, sys, warnings
import fastdist as fd
d = fd.Normal(0.0, 1.0)
d.sample()
read, write = os.pipe()
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        os.write(write, f"{d.sample()} ".encode())
        os._exit(0)
    os.waitpid(pid, 0)
os.close(write)
print(d.sample(), os.read(read, 1000).decode())
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert len(set(run.stdout.split())) == 4


def test_the_lock_is_waited_for():
    g = np.random.default_rng(0)
    d, draws, done = random_normal(), [], threading.Event()

    def work():
        draws.append(d.sample(rng=g))
        done.set()

    thread = threading.Thread(target=work)
    before = state_of(g)
    with g.bit_generator.lock:
        thread.start()
        assert not done.wait(0.3)
        assert state_of(g) == before
    thread.join(60)
    assert_same_bits(draws[0], d.sample(rng=np.random.default_rng(0)))


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_the_lock_is_held_throughout_a_draw(kind):
    """Draws of threads that share a generator are whole segments of its stream."""
    d, g, n = one_of_each()[kind], np.random.default_rng(0), 20
    draws = []

    def work():
        for _ in range(n):
            draws.append(d.sample(400, rng=g))  # noqa: PERF401

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = np.random.default_rng(0)
    assert {draw.tobytes() for draw in draws} == {d.sample(400, rng=alone).tobytes() for _ in range(3 * n)}


MVN = "d = fd.MultivariateNormal(np.zeros(1000), scale_tril=np.eye(1000));"


@pytest.mark.parametrize(
    ("setup", "call", "unfinished"),
    [
        (
            "d = fd.Normal(0.0, 1.0); out = np.zeros(2 * 10**8)",
            "sample(out.shape, rng=0, out=out)",
            "x == 0",
        ),
        (f"{MVN} out = np.zeros((10_000, 1000))", "sample(10_000, rng=0, out=out)", "x == 0"),
        (
            f"{MVN} out = np.full(10_000, np.nan)",
            "log_prob(np.ones((10_000, 1000)), out=out)",
            "x != x or x == 0",
        ),
    ],
    ids=["Normal", "MultivariateNormal", "log_prob"],
)
def test_ctrl_c(setup, call, unfinished):
    """KeyboardInterrupt arrives in a call of seconds while the last of `out` is still to be computed."""
    script = f"""
import os, threading
{setup}
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    d.{call}
except KeyboardInterrupt:
    x = out.flat[-1]
    print("interrupted", {unfinished})
"""
    assert run(script, FASTDIST_ISA="scalar") == "interrupted True\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX signals")
def test_ctrl_c_is_heard_in_a_background_job():
    """There SIGINT is ignored; what the tests of it start must not inherit that."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        script = """
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("heard")
"""
        assert run(script) == "heard\n"
    finally:
        signal.signal(signal.SIGINT, before)


def test_default_rng_wraps_the_bit_generator_of_a_random_state():
    """One state for both, as with numpy.random.default_rng."""
    ours, theirs = np.random.RandomState(5), np.random.RandomState(5)
    g, wanted = fd.default_rng(ours), np.random.Generator(theirs._bit_generator)
    assert type(g) is np.random.Generator
    assert_same_bits(g.random(3), wanted.random(3))
    assert_same_bits(fd.Normal(0.0, 1.0).sample(3, rng=g), wanted.standard_normal(3))
    assert ours.random_sample() == theirs.random_sample()
