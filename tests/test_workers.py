"""The pool of helpers: when it is there, what it survives. (Bits and Ctrl-C: test_block_sfc64.py.)"""

import os

import numpy as np
import pytest
import reference
from cases import in_threads, run
from known_answers import of_seed

import fastdist as fd

pytestmark = pytest.mark.any_isa  # threads below the kernels

linux = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs Linux's /proc")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

COUNT = """
import os
before = len(os.listdir("/proc/self/task"))   # NumPy's BLAS has threads, too
def helpers():
    return len(os.listdir("/proc/self/task")) - before
"""


# ---- who helps -------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize(
    ("draw", "small"),
    [
        ("fd.standard_normal(n, **how)", 90_000),
        ("fd.Normal(np.zeros(1000), 1.0).sample(n // 1000, **how)", 90_000),
        ("fd.MultivariateNormal(np.zeros(2), np.eye(2)).sample(n // 2, **how)", 60_000),
        ("fd.MultivariateNormal(np.zeros((3, 200)), np.eye(200)).sample(n // 600, **how)", 3600),
    ],
    ids=["noise", "Normal", "small events", "large events"],
)
def test_large_draws_are_shared_out(draw, small):
    """And small ones are not, nor those of sequential generators; later draws have the same helpers."""
    script = f"""{COUNT}
def draw(n, **how):
    {draw}
counts = []
for n, rng, workers in (({small}, 0, 4), (10**6, 0, 1), (10**6, np.random.default_rng(0), 4),
                        (10**6, 0, 2), (10**6, 0, 4), (10**6, 0, 3)):
    draw(n, rng=rng, workers=workers)
    counts.append(helpers())
with fd.set_workers(6):
    draw({small}, rng=0)
    draw(10**6, rng=0)
counts.append(helpers())
print(counts)
"""
    assert run(script) == "[0, 0, 0, 1, 3, 3, 5]\n"


@linux
def test_helpers_may_use_all_cpus_of_their_process():
    """They are kept off their caller's CPU when woken, and for a moment only."""
    script = """
import os, time
threads = set(os.listdir("/proc/self/task"))
out = np.empty(300_000)
for _ in range(30):
    fd.standard_normal(out=out, rng=1, workers=3)
    time.sleep(0.002)   # they fall asleep
time.sleep(0.1)
helpers = set(os.listdir("/proc/self/task")) - threads
print(len(helpers), all(os.sched_getaffinity(int(h)) == os.sched_getaffinity(0) for h in helpers))
"""
    assert run(script) == "2 True\n"


@linux
def test_no_threads_to_be_had():
    """A draw is made without helpers where the system allows no more threads, and with them once it does."""
    script = f"""{COUNT}
import resource
first, second = np.empty(500_000), np.empty(500_000)
wanted = fd.standard_normal(1_000_000, rng=3)
b = fd.BlockSFC64(3)
pages = int(open("/proc/self/statm").read().split()[0])
limits = resource.getrlimit(resource.RLIMIT_AS)
no_stack_more = pages * resource.getpagesize() + 2**20
resource.setrlimit(resource.RLIMIT_AS, (no_stack_more, limits[1]))
fd.standard_normal(out=first, rng=b, workers=4)
counts = [helpers()]
resource.setrlimit(resource.RLIMIT_AS, limits)
fd.standard_normal(out=second, rng=b, workers=4)
counts.append(helpers())
print(counts, (np.concatenate([first, second]) == wanted).all(), b.state["state"]["normal_position"])
"""
    assert run(script) == "[0, 3] True 1000000\n"


# ---- threads ---------------------------------------------------------------------------------


def test_several_threads_share_out_their_draws():
    """They have helpers in common, and each draws its own stream."""
    sizes = [120_000, 700_001, 250_000, 1_000_000]
    wanted = [reference.normals(of_seed(seed), 0, sum(sizes)) for seed in range(5)]

    def work(seed):
        dtype = (np.float64, np.float32)[seed % 2]
        for _ in range(4):
            b, x = fd.BlockSFC64(seed), np.empty(sum(sizes), dtype)
            end = 0
            for i, n in enumerate(sizes):
                end += n
                fd.standard_normal(out=x[end - n : end], dtype=dtype, rng=b, workers=2 + (seed + i) % 3)
            assert np.array_equal(x, wanted[seed].astype(dtype))

    in_threads(*(lambda seed=seed: work(seed) for seed in range(5)))


# ---- forks -----------------------------------------------------------------------------------


@forks
def test_the_pool_after_a_fork():
    """A child has none of its parent's threads, and makes its own."""
    script = """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)   # of forking with threads, which is the point here
wanted = fd.standard_normal(1_000_000, rng=1)
assert (fd.standard_normal(1_000_000, rng=1, workers=2) == wanted).all()
codes = []
for workers in (2, 3):
    pid = os.fork()
    if pid == 0:
        same = (fd.standard_normal(1_000_000, rng=1, workers=workers) == wanted).all()
        n_thread = len(os.listdir(tasks)) if os.path.isdir(tasks := "/proc/self/task") else workers
        os._exit(0 if same and n_thread == workers else 5)
    codes.append(os.waitpid(pid, 0)[1])
assert (fd.standard_normal(1_000_000, rng=1, workers=2) == wanted).all()
print(codes)
"""
    assert run(script) == "[0, 0]\n"


@forks
def test_a_fork_during_a_draw():
    """Another thread's draw and its helpers are the parent's: nothing of them is waited for in the child."""
    script = """
import os, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
wanted = fd.standard_normal(1_000_000, rng=1)
out, stop, draws = np.empty(4_000_000), threading.Event(), []
def work():
    while not stop.is_set():
        fd.standard_normal(out=out, rng=2, workers=3)
        draws.append((out[::1000] == fd.standard_normal(4_000_000, rng=2)[::1000]).all())
thread = threading.Thread(target=work)
thread.start()
codes = set()
for _ in range(20):
    time.sleep(0.003)
    pid = os.fork()
    if pid == 0:
        same = (fd.standard_normal(1_000_000, rng=1, workers=3) == wanted).all()
        os._exit(0 if same else 5)
    codes.add(os.waitpid(pid, 0)[1])
stop.set()
thread.join()
print(codes, len(draws) > 0 and all(draws))
"""
    assert run(script) == "{0} True\n"


# ---- the end ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        "fd.standard_normal(out=out, rng=1, workers=4)",
        "fd.standard_normal(out=out, rng=1, workers=4); time.sleep(0.05)",
        "threading.Thread(target=work, daemon=True).start(); time.sleep(0.05)",
        "threading.Thread(target=work, daemon=True).start(); time.sleep(0.05); os._exit(0)",
        "atexit.register(fd.standard_normal, out=out, rng=1, workers=4)",
    ],
    ids=["awake", "asleep", "at work", "at work and no farewell", "atexit"],
)
def test_helpers_do_not_outlive_the_interpreter(end):
    """Nor do they keep it, whatever they are at; `run` waits, and asserts that nothing crashed."""
    script = f"""
import atexit, os, threading, time
out = np.empty(2**23)
def work():
    while True:
        fd.standard_normal(out=out, rng=1, workers=4)
{end}
"""
    for _ in range(3):
        assert run(script) == ""
