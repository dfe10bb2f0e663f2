"""A stream under threads, signals and forks: its lock, and that each draw is a range of its own.

A draw takes its range of the stream at once and lets go of it. So whatever happens meanwhile, another thread's
draw, a signal handler's, a new state or a fork, finds the stream behind the draw, and the draw is what it would
have been alone.
"""

import os
import pickle
import threading
import time
from itertools import count

import numpy as np
import pytest
from cases import assert_same_bits, in_threads, random_normal, run
from numpy.random import PCG64, Generator

import fastdist as fd

pytestmark = pytest.mark.any_isa  # locks, signals and forks

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
needs_signals = pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX signals")

# What hangs is to end, and to say where.
WATCHED = (
    "import faulthandler, os, signal, threading, time\nfaulthandler.dump_traceback_later(60, exit=True)\n"
)


class TestLock:
    """The lock of a BlockSFC64 is one of ours, with threading.RLock's behaviour."""

    def lock(self):
        return fd.BlockSFC64(0).lock

    def test_methods(self):
        lock = self.lock()
        assert not lock.locked()
        assert lock.acquire()
        assert lock.locked()
        assert lock.acquire(blocking=False)
        assert lock.acquire(timeout=0.01)
        for _ in range(3):
            assert lock.locked()
            lock.release()
        assert not lock.locked()
        with lock, lock:
            assert lock.locked()
        assert not lock.locked()
        with pytest.raises(RuntimeError, match="unlocked"):
            lock.release()
        with pytest.raises(ValueError, match="timeout"):
            lock.acquire(blocking=False, timeout=1)
        with pytest.raises(ValueError, match="timeout"):
            lock.acquire(timeout=-2)
        with pytest.raises(OverflowError, match="timeout"):
            lock.acquire(timeout=1e30)

    def test_other_threads_wait(self):
        lock, seen = self.lock(), []

        def other():
            seen.append(lock.acquire(blocking=False))
            seen.append(lock.acquire(timeout=0.05))
            with pytest.raises(RuntimeError, match="another thread's"):
                lock.release()
            seen.append(lock.acquire())
            lock.release()

        thread = threading.Thread(target=other)
        with lock, lock:
            thread.start()
            thread.join(0.3)
        thread.join(60)
        assert seen == [False, False, True]
        assert not lock.locked()

    def test_draws_wait_for_it(self):
        g = fd.default_rng(0)
        d, drawn = random_normal(), []
        thread = threading.Thread(target=lambda: drawn.append(d.sample(rng=g)))
        with g.bit_generator.lock:
            thread.start()
            thread.join(0.1)
            assert not drawn
        thread.join()
        assert_same_bits(drawn[0], d.sample(rng=0))

    def test_several_draws_as_one(self):
        """As NumPy's documentation of `lock` says, and with NumPy's own generators."""
        for bit_generator in (fd.BlockSFC64(3), PCG64(3)):
            with bit_generator.lock:
                pair = Generator(bit_generator).random(), fd.standard_normal(rng=bit_generator)
            again = type(bit_generator)(3)
            assert pair == (Generator(again).random(), fd.standard_normal(rng=again))

    def test_one_at_a_time(self):
        """Many threads count up a number in small steps that would get lost."""
        lock, number = self.lock(), [0]

        def work():
            for i in range(300):
                with lock, lock:
                    before = number[0]
                    if i % 50 == 0:
                        time.sleep(0.0001)
                    number[0] = before + 1

        in_threads(*[work] * 8)
        assert number[0] == 8 * 300
        assert not lock.locked()

    def test_threads_share_one_stream(self):
        """However small and large draws of several threads fall, each normal is drawn once."""
        g, parts = fd.default_rng(1), []

        def work(k):
            for i in range(40):
                parts.append(fd.standard_normal(6 if (i + k) % 4 else 100_000, rng=g))  # noqa: PERF401

        in_threads(*(lambda k=k: work(k) for k in range(4)))
        drawn = np.sort(np.concatenate(parts))
        assert_same_bits(drawn, np.sort(fd.standard_normal(drawn.size, rng=1)))

    @needs_signals
    def test_no_wake_up_is_lost(self):
        """Two wait; a signal ends the wait of one just as the lock is given back: the other one gets it."""
        script = """
class Stop(Exception): pass
def stop(*_): raise Stop
signal.signal(signal.SIGUSR1, stop)
lock, served = fd.BlockSFC64(0).lock, 0
for trial in range(20):
    held, go = threading.Event(), threading.Event()
    def holder():
        with lock:
            held.set()
            go.wait()
            time.sleep(0.02)
            signal.raise_signal(signal.SIGUSR1)
    def other():
        global served
        with lock: served += 1
    threads = [threading.Thread(target=holder, daemon=True), threading.Thread(target=other, daemon=True)]
    threads[0].start()
    held.wait()
    threading.Timer(0.005, threads[1].start).start()
    go.set()
    try:
        with lock: pass
        time.sleep(0.1)
    except Stop:
        pass
    time.sleep(0.02)
    for thread in threads: thread.join(5)
print(served, lock.locked())
"""
        assert run(WATCHED + script) == "20 False\n"

    @needs_fork
    def test_a_child_has_what_a_thread_of_the_parent_held(self):
        """A lock that a vanished thread held is free; one that this thread holds stays so."""
        script = """
b = fd.BlockSFC64(1)
G = np.random.Generator(b)
before = G.random(3), fd.standard_normal(5, rng=b)
held, done = threading.Event(), threading.Event()
def hold():
    with b.lock:
        held.set()
        done.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
def draw():
    return fd.standard_normal(4, rng=b).tolist() + G.random(2).tolist()
def child():
    locked = b.lock.locked()
    drawn = []
    threads = [threading.Thread(target=lambda: drawn.append(draw())) for _ in range(2)]
    for t in threads: t.start()
    for t in threads: t.join()
    return repr((locked, sorted(drawn), b.lock.locked()))
def in_child(task):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, task().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    return os.read(read, 10_000).decode()
inherited = in_child(child)
done.set()
thread.join()
def own():
    b.lock.release()
    return repr((b.lock.locked(), draw()))
with b.lock:
    mine = in_child(own)
print(inherited == repr((False, sorted(eval(inherited)[1]), False)), len(eval(inherited)[1]))
print(eval(mine)[0], eval(mine)[1] == draw(), eval(mine)[1] in eval(inherited)[1])
"""
        assert run(WATCHED + script, PYTHONWARNINGS="ignore") == "True 2\nFalse True True\n"


class TestWhileOthersDraw:
    def test_states_are_those_between_draws(self):
        """Read, pickled and copied ones; each draw moves the stream by whole draws."""
        n, b, stop, seen = 50_000, fd.BlockSFC64(0), threading.Event(), []

        def draw():
            while not stop.is_set():
                fd.standard_normal(n, rng=b)

        def look():
            for _ in range(100):
                time.sleep(0.001)
                state = pickle.loads(pickle.dumps(b)).state if len(seen) % 2 else b.state
                seen.append(state["state"]["normal_position"])
            stop.set()

        in_threads(draw, draw, look)
        assert {position % n for position in seen} == {0}
        assert len(set(seen)) > 10

    @pytest.mark.parametrize("draws", ["fd.standard_normal(100_000, rng=b)", "G.random(100_000)"])
    def test_setting_states(self, draws):
        """States set, seeds, jumps and spawned generators while others draw: nothing is read half written."""
        script = f"""
b = fd.BlockSFC64(0)
G, state, stop = np.random.Generator(b), b.state, False
def draw():
    while not stop: {draws}
threads = [threading.Thread(target=draw) for _ in range(2)]
for thread in threads: thread.start()
end = time.monotonic() + 1.5
while time.monotonic() < end:
    b.state = state
    b.__init__(0)
    b.advance(7)
    b.jumped()
    b.spawn(2)
    b.state["state"]["normal_position"]
stop = True
for thread in threads: thread.join()
b.__init__(5)
print(fd.standard_normal(2000, rng=b).tobytes() == fd.standard_normal(2000, rng=5).tobytes())
print(G.random(2000).tobytes() == fd.default_rng(5).random(2000).tobytes(), len(b.spawn(1)))
"""
        assert run(WATCHED + script) == "True\nTrue 1\n"

    def test_seeded_again(self):
        """The lock and the C interface stay: a Generator made before goes on with the new seed."""
        b = fd.BlockSFC64(1)
        g, lock, capsule = Generator(b), b.lock, b.capsule
        b.__init__(np.random.SeedSequence(2))
        assert b.lock is lock
        assert b.capsule is capsule
        assert_same_bits(g.random(5), fd.default_rng(2).random(5))
        assert b.seed_seq.entropy == 2


HANDLER = (
    WATCHED
    + """
n, b = {n}, fd.BlockSFC64(7)
drawn = []
def handler(*_):
    {handler}
signal.signal(signal.SIGALRM, handler)
fd.standard_normal(1_000_000, rng=0, workers=2)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.02)
x = {draw}
signal.setitimer(signal.ITIMER_REAL, 0)
"""
)


@needs_signals
class TestHandlers:
    """A signal handler draws during a draw."""

    @pytest.mark.parametrize("workers", [1, 2])
    @pytest.mark.parametrize("size", [1, 3000])
    def test_from_the_same_generator(self, workers, size):
        script = HANDLER.format(
            n=30_000_000,
            handler=f"drawn.append(fd.standard_normal({size}, rng=b))",
            draw=f"fd.standard_normal(n, rng=b, workers={workers})",
        )
        script += """
again = fd.BlockSFC64(7)
print(x.tobytes() == fd.standard_normal(n, rng=again).tobytes(), len(drawn) > 0)
# a handler may be interrupted by itself, between its draw and its note of it
print({y.tobytes() for y in drawn} == {fd.standard_normal(len(y), rng=again).tobytes() for y in drawn})
print(repr(b.state) == repr(again.state))
"""
        assert run(script) == "True True\nTrue\nTrue\n"

    @pytest.mark.parametrize("workers", [1, 2])
    def test_from_nobody_s(self, workers):
        script = HANDLER.format(
            n=40_000_000,
            handler="drawn.append(fd.standard_normal(1000))",
            draw=f"fd.standard_normal(n, workers={workers})",
        )
        script += """
everything = np.concatenate([x, *drawn, fd.standard_normal(1000)])
everything.sort()
# By chance 0.03 of 4e7 are alike; of a range that is drawn twice 1000 are.
print(len(drawn) > 0, int((np.diff(everything) == 0).sum()) < 10)
"""
        assert run(script) == "True True\n"

    @pytest.mark.parametrize("workers", [1, 2])
    def test_an_interrupted_draw_leaves_the_generator_at_its_end(self, workers):
        script = HANDLER.format(
            n=30_000_000,
            handler="raise KeyboardInterrupt",
            draw=f"None\ntry: fd.standard_normal(n, rng=b, workers={workers})\nexcept KeyboardInterrupt: x = 1",
        )
        script += """
print(x, b.state["state"]["normal_position"] == n)
"""
        assert run(script) == "1 True\n"

    @needs_fork
    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_fork_within_a_draw(self, workers):
        """Parent and child both finish the draw, and have the numbers that it has alone."""
        script = HANDLER.format(
            n=40_000_000,
            handler="signal.setitimer(signal.ITIMER_REAL, 0); drawn.append(os.fork())",
            draw=f"fd.standard_normal(n, rng=b, workers={workers})",
        )
        script += """
right = x.tobytes() == fd.standard_normal(n, rng=7, workers=2).tobytes()
if drawn[0] == 0:
    os._exit(0 if right else 3)
print(right, os.waitstatus_to_exitcode(os.waitpid(drawn[0], 0)[1]))
"""
        assert run(script, PYTHONWARNINGS="ignore") == "True 0\n"


# ---- the floating-point state that a thread is in ------------------------------------------------

FLUSHING = """
import ctypes, ctypes.util, platform
libm = ctypes.CDLL(ctypes.util.find_library("m"))
x86 = platform.machine().lower() in ("x86_64", "amd64")
def downward(): libm.fesetround(0x400 if x86 else 0x800000)
def flushing(): # the control word that glibc's fenv_t ends (x86) or begins (Arm) with
    env = (ctypes.c_uint32 * 8)()
    libm.fegetenv(env)
    if x86: env[7] |= 0x8040
    else: env[0] |= 1 << 24
    libm.fesetenv(env)
def state():
    env = (ctypes.c_uint32 * 8)()
    libm.fegetenv(env)
    return env[7] & 0xffc0 if x86 else env[0]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="glibc's or Apple's libm")
@pytest.mark.parametrize("isa", fd.isas())
def test_results_do_not_depend_on_the_caller_s_floating_point_state(isa):
    script = """
tiny, normal = fd.Normal(0.0, 1e-310), fd.Normal(0.1, 0.3)
mvn = fd.MultivariateNormal(np.zeros(4), covariance_matrix=np.eye(4) + 0.3)
independent = fd.Independent(fd.Normal(np.zeros(3), np.full(3, 0.7)), 1)
x = np.linspace(-3, 3, 12_000).reshape(-1, 4)
tasks = {"single": lambda w: fd.standard_normal(4_000_000, rng=0, workers=w, dtype=np.float32)}
for name, d in dict(tiny=tiny, normal=normal, mvn=mvn, independent=independent).items():
    for n in (1, 3000, 1_000_000):
        tasks[name, n] = lambda w, d=d, n=n: d.sample(n, rng=0, workers=w)
    for value in (x, x[:5]):
        if d is independent: # the sum of logarithms is NumPy's
            continue
        tasks[name, "log_prob", len(value)] = lambda w, d=d, v=value.copy(): d.log_prob(v)
tasks["cdf"] = lambda w: normal.cdf(x)
def gradient(w):
    _, pullback = fd.vjp(mvn.rsample, 5000, rng=0)
    return pullback(np.ones((5000, 4)))["covariance_matrix"]
tasks["vjp"] = gradient
def all_of(w): return {name: task(w).tobytes() for name, task in tasks.items()}
wanted = all_of(1)
for change in (downward, flushing):
    change()
    changed = state()
    for workers in (1, 2):
        now = all_of(workers)
        print([name for name in tasks if now[name] != wanted[name]], state() == changed)
    libm.fesetenv(ctypes.c_void_p(-1))
"""
    assert run(FLUSHING + script, FASTDIST_ISA=isa) == "[] True\n" * 4


# ---- the rest ----------------------------------------------------------------------------------


def test_generators_that_compare_equal_are_not_one():
    class Named(PCG64):
        def __eq__(self, other):
            return isinstance(other, Named)

        def __hash__(self):
            return 1

    class Unhashable(PCG64):
        __hash__ = None

    for kind in (Named, Unhashable):
        for seed in (1, 2):
            x = fd.standard_normal(5, rng=kind(seed))
            assert_same_bits(x, Generator(PCG64(seed)).standard_normal(5))


def test_threads_with_small_stacks():
    """48 KiB, which NumPy's own generators can do with."""
    script = """
import threading
threading.stack_size(48 * 1024)
d = fd.Normal(np.zeros((3, 2)), np.ones(2))
def work():
    mvn = fd.MultivariateNormal(np.zeros(4), covariance_matrix=np.eye(4))
    precise = fd.MultivariateNormal(np.zeros(4), precision_matrix=np.eye(4))
    for each in (mvn, precise, d, fd.Independent(d, 1)):
        for n in (3, 5000):
            x = each.sample(n, rng=0)
            each.log_prob(x)
        for method in ("rsample", "log_prob"):
            value, pullback = fd.vjp(getattr(each, method), x if method == "log_prob" else 500)
            pullback(np.ones_like(value))
        fd.kl_divergence(each, each)
    d.cdf(0.5)
    fd.standard_normal(10_000_000, rng=0, workers=2)
    done.append(True)
done = []
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(done)
"""
    assert run(script) == "[True]\n"


def test_a_shape_without_end():
    with pytest.raises(ValueError, match="sample_shape must have at most 64 dims, got more"):
        random_normal().sample(count(1))
    with pytest.raises(ValueError, match="size must have at most 64 dims, got more"):
        fd.standard_normal(count(1))


def test_batches_whose_size_no_integer_holds():
    """Their product, 0 in 64 bits, is no reason to take a draw for a small one."""
    d = random_normal((1, 1), (1,)).expand((2**32, 2**32))
    with pytest.raises(ValueError, match=r"\(4294967296, 4294967296\) is too big: its total size exceeds"):
        d.sample(rng=0)
