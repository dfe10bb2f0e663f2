"""Many threads at once with one distribution, one generator, one registry: with the GIL, and without."""

import sys
import sysconfig
import threading

import numpy as np
import pytest

import fastdist as fd

N_THREAD = 8
LOWER = np.tril(np.full((5, 5), 0.25), -1) + np.eye(5)
MAKERS = {
    "normal": lambda: fd.Normal(np.linspace(-1, 1, 12).reshape(3, 1, 4), np.linspace(1, 2, 8).reshape(2, 4)),
    "independent": lambda: fd.Independent(fd.Normal(np.zeros((3, 4)), np.linspace(1, 2, 4)), 1),
    "covariance": lambda: fd.MultivariateNormal(np.zeros(5), LOWER @ LOWER.T),
    "precision": lambda: fd.MultivariateNormal(np.zeros((2, 5)), precision_matrix=LOWER @ LOWER.T),
    "low rank": lambda: fd.LowRankMultivariateNormal(np.zeros(5), np.ones((5, 2)), np.ones(5)),
    "truncated": lambda: fd.TruncatedNormal(np.zeros(3), 1.0, -1.0, [0.5, 1.0, 2.0]),
    "categorical": lambda: fd.Categorical(logits=np.linspace(0, 1, 6).reshape(2, 3)),
    "transformed": lambda: fd.LogNormal(np.zeros((2, 3)), np.linspace(0.5, 1, 3)),
}


def at_once(work):
    """What `work` of 0, 1, ... returns in as many threads, which begin together."""
    results, barrier = [None] * N_THREAD, threading.Barrier(N_THREAD)

    def run(i):
        barrier.wait()
        results[i] = work(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(N_THREAD)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert all(result is not None for result in results)  # a thread's exception is pytest's to report
    return results


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="an interpreter with a GIL")
def test_the_gil_stays_off():
    assert not sys._is_gil_enabled()


@pytest.mark.parametrize("name", MAKERS)
def test_threads_meet_at_a_new_distribution(name):
    """All that is made at first use is made by several threads, and all of them get the same of it."""
    wanted = everything_of(MAKERS[name]())
    for _ in range(20):
        d = MAKERS[name]()
        for got in at_once(lambda _, d=d: everything_of(d)):
            for one, other in zip(got, wanted, strict=True):
                np.testing.assert_array_equal(one, other, strict=True)


def everything_of(d):
    x = d.sample((3,), rng=1)
    return [x, d.log_prob(x), d.entropy(), d.mean, d.variance, *d.sample_and_log_prob((2,), rng=2),
            d.expand((2, *d.batch_shape)).log_prob(x[:, None])]  # fmt: skip


def test_one_generator_gives_each_number_to_one_thread():
    """Together the threads have the numbers of the stream, and each has runs of it in their order."""
    n_draw, size = 300, 7
    rng = fd.default_rng(5)
    d = fd.Normal(np.zeros(size), 1.0)
    whole = fd.standard_normal((N_THREAD * n_draw, size), rng=5)
    place = {row.tobytes(): i for i, row in enumerate(whole)}
    drawn = at_once(lambda _: [place[d.sample(rng=rng).tobytes()] for _ in range(n_draw)])
    assert sorted(i for mine in drawn for i in mine) == list(range(N_THREAD * n_draw))
    assert all(mine == sorted(mine) for mine in drawn)


def test_a_lock_is_held_by_one_thread():
    """Who holds the lock may take it again, and finds the stream where it left it."""
    bit_generator = fd.BlockSFC64(3)

    def work(_):
        for _ in range(300):
            with bit_generator.lock:
                before = bit_generator.place
                with bit_generator.lock:
                    fd.standard_normal(3, rng=bit_generator)
                if bit_generator.place.normal != before.normal + 3:
                    return False
        return True

    assert all(at_once(work))
    assert not bit_generator.lock.locked()
    assert bit_generator.place.normal == 3 * 300 * N_THREAD


def test_interfaces_are_made_once():
    for _ in range(50):
        bit_generator = fd.BlockSFC64(1)
        made = at_once(lambda _, of=bit_generator: of.ctypes)
        assert all(one is made[0] for one in made)


def test_rules_are_found_while_others_are_registered():
    """A rule counts in every thread as soon as it is registered."""
    for _ in range(20):
        cls = type("Own", (fd.Normal,), {})
        p = cls(0.0, 1.0)
        registered = threading.Event()

        def work(i, cls=cls, p=p, registered=registered):
            if i == 0:
                fd.register_kl(cls, cls)(lambda p, q: np.float64(7))
                registered.set()
                return 7
            while not registered.is_set():
                fd.kl_divergence(p, p)
            return float(fd.kl_divergence(p, p))

        assert at_once(work) == [7] * N_THREAD
