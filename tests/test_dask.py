"""`fastdist.dask`: the bits of local calls for any chunks, on any scheduler; graphs, tokens and bad input."""

import functools
import itertools
import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from cases import assert_same_bits, state_of
from test_parts import NAMES, Laplace, Silent, laws

import fastdist as fd

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

pytestmark = pytest.mark.any_isa  # chunks, graphs and clusters

N = 50  # samples


def cut(g, n):
    """Sizes of random chunks of a dim."""
    places = sorted(g.choice(np.arange(1, n), g.integers(0, min(n, 3)), replace=False))
    return tuple(map(int, np.diff([0, *places, n])))


@functools.cache
def draws():
    """Lazy and local draws: 25 laws, each cut at random along all dims that can be cut."""
    g = np.random.default_rng(0)
    lazy, local = [], []
    for name, dtype in zip([*NAMES, *NAMES[:2]], itertools.cycle([np.float64, np.float32]), strict=False):
        d, divisible = laws(dtype)[name]
        shape = (N, *d.batch_shape, *d.event_shape * divisible)
        lazy.append(fd.dask.sample(d, N, rng=7, chunks=tuple(cut(g, n) for n in shape)))
        local.append(d.sample(N, rng=7))
    assert len(lazy) == 25
    assert sum(math.prod(x.numblocks) for x in lazy) > 100
    return lazy, local


def check(computed):
    for x, y in zip(computed, draws()[1], strict=True):
        assert_same_bits(x, y)


def slowly(x):
    time.sleep(0.005)
    return x


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def client():
    """Of a cluster of two processes."""
    distributed = pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.worker.memory.rebalance.measure": "managed"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0, silence_logs="CRITICAL"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


# ---- draws, on every scheduler -----------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_draws_are_the_local_ones(scheduler):
    lazy, _ = draws()
    check(dask.compute(*lazy, scheduler=scheduler, num_workers=4))


def test_draws_are_the_local_ones_on_processes(pool):
    check(dask.compute(*draws()[0], scheduler="processes", pool=pool))


def test_draws_are_the_local_ones_on_a_cluster(client):
    check(client.gather(client.compute(draws()[0])))


def test_draws_are_the_local_ones_while_a_worker_is_killed(client):
    pids = client.run(os.getpid)
    futures = client.compute([x.map_blocks(slowly, dtype=x.dtype) for x in draws()[0]])
    while not any(future.done() for future in futures):
        time.sleep(0.01)
    assert not all(future.done() for future in futures)
    os.kill(next(iter(pids.values())), signal.SIGKILL)
    check(client.gather(futures))


@pytest.mark.parametrize(
    "chunks", [1, 7, -1, "auto", "1KiB", {0: 3}, {-1: 1}, (9, (1, 3), 2), ("auto", 1, -1)]
)
def test_all_that_dask_calls_chunks(chunks):
    d, _ = laws()["Normal"]
    x = fd.dask.sample(d, (N,), rng=1, chunks=chunks)
    assert_same_bits(x.compute(scheduler="synchronous"), d.sample((N,), rng=1))


def test_events_are_whole_unless_they_are_cut():
    mvn, _ = laws()["MultivariateNormal"]
    independent, _ = laws()["Independent"]
    for d in (mvn, independent):
        for chunks in (1, "auto", "100B", (1, 1, 1), (1, 1, 1, "auto"), (1, 1, 1, -1)):
            assert fd.dask.sample(d, 8, rng=1, chunks=chunks).chunks[-1] == (5,)
    assert fd.dask.sample(independent, 8, rng=1, chunks=(1, 1, 1, 2)).chunks[-1] == (2, 2, 1)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3, 4)])
def test_shapes(shape):
    for d in (
        fd.Normal(0.5, 2.0),
        fd.Normal(np.zeros(0), 1.0),
        fd.MultivariateNormal(np.zeros(2), np.eye(2)),
    ):
        x = fd.dask.sample(d, shape, rng=1, chunks=2)
        assert_same_bits(np.asarray(x.compute(scheduler="synchronous")), d.sample(shape, rng=1))
    z = fd.dask.standard_normal(shape, rng=1)
    assert_same_bits(np.asarray(z.compute(scheduler="synchronous")), fd.standard_normal(shape, rng=1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_standard_normals(dtype):
    g = np.random.default_rng(1)
    whole = fd.standard_normal((40, 3000), rng=2, dtype=dtype)
    for _ in range(5):
        x = fd.dask.standard_normal((40, 3000), rng=2, dtype=dtype, chunks=(cut(g, 40), cut(g, 3000)))
        assert x.dtype == dtype
        assert_same_bits(x.compute(), whole)


def test_meta_dtype_and_names():
    for name, dtype in (("Normal", np.float64), ("Independent", np.float32), ("Categorical", np.int64)):
        d, _ = laws(np.float32 if dtype == np.float32 else np.float64)[name]
        x = fd.dask.sample(d, 5, rng=0, chunks=2)
        y = fd.dask.log_prob(d, x)
        assert x.name.startswith("sample-")
        assert y.name.startswith("log_prob-")
        for array in (x, y):
            assert type(array._meta) is np.ndarray
            assert (array._meta.ndim, array._meta.dtype) == (array.ndim, array.dtype)
            assert array.compute(scheduler="synchronous").dtype == array.dtype
        assert x.dtype == dtype
        assert y.dtype == d.dtype
    assert fd.dask.standard_normal(3, rng=0).name.startswith("standard_normal-")


# ---- generators and tokens -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Normal", "Independent", "LowRank", "mixture of vectors", "Categorical"])
def test_a_generator_moves_on_when_the_graph_is_made(name):
    d, _ = laws()[name]
    ours, its = fd.default_rng(3), fd.default_rng(3)
    first, second = (fd.dask.sample(d, N, rng=ours, chunks=20) for _ in range(2))
    assert first.name != second.name
    expected = [d.sample(N, rng=its) for _ in range(2)]
    assert state_of(ours) == state_of(its)
    for x, y in zip((second, first, first), (*expected[::-1], expected[0]), strict=True):
        assert_same_bits(x.compute(scheduler="synchronous"), y)
    assert state_of(ours) == state_of(its)
    fd.dask.log_prob(d, first)
    assert state_of(ours) == state_of(its)


def test_seeds_and_places():
    d, _ = laws()["mixture"]
    place = fd.Place((1, 2), 3, 4, 5)
    for rng in (
        7,
        [1, 2],
        np.random.SeedSequence(5),
        2**70,
        place,
        np.int64(3),
        fd.BlockSFC64(3),
        fd.default_rng(3),
    ):
        x = fd.dask.sample(d, N, rng=rng, chunks=30)
        if isinstance(rng, fd.BlockSFC64 | np.random.Generator):
            rng = 3
        assert_same_bits(x.compute(scheduler="synchronous"), d.sample(N, rng=rng))
    one, other = (fd.dask.standard_normal(3, rng=None).compute() for _ in range(2))
    assert (one != other).all()


def test_tokens_are_of_what_is_drawn():
    def names(seed=0, **change):
        arguments = {"loc": np.arange(3.0), "scale": 2.0} | change
        d = fd.Normal(**arguments)
        d.log_prob(0.0), d.variance  # what is kept of it is not it
        x = fd.dask.sample(d, 5, rng=seed, chunks=2)
        return x.name, fd.dask.log_prob(d, x).name, fd.dask.sample(d, 5, rng=seed, chunks=3).name

    assert names() == names()
    every = [
        name for change in ({}, {"seed": 1}, {"loc": np.ones(3)}, {"scale": 1.0}) for name in names(**change)
    ]
    assert len(set(every)) == len(every)


def names_of_some():
    d = fd.Independent(fd.LogNormal(np.arange(6.0).reshape(2, 3), 2.0), 1)
    x = fd.dask.sample(d, 5, rng=[1, 2], chunks=2)
    return x.name, fd.dask.log_prob(d, x).name, fd.dask.standard_normal(5, rng=1).name


def test_tokens_are_the_same_in_every_process(pool):
    assert pool.submit(names_of_some).result() == names_of_some()


# ---- graphs ------------------------------------------------------------------------------------------


def test_graphs_are_small():
    """100 x 100 chunks: a slice of the parameters for each of the batch, and no matrices besides."""
    d = fd.MultivariateNormal(np.zeros((100, 8)), scale_tril=np.broadcast_to(np.eye(8), (100, 8, 8)).copy())
    x = fd.dask.sample(d, 10_000, rng=0, chunks=(100, 1))
    assert x.npartitions == 10_000
    parameters = 100 * (8 + 64) * 8
    assert len(pickle.dumps(x.dask)) < 2 * parameters
    tasks = dict(x.dask)
    assert len(tasks) == 10_000 + 100
    assert len(pickle.dumps(tasks)) < 2 * parameters + 2_000_000
    z = fd.dask.standard_normal(10**9, rng=0, chunks=10**5)
    assert len(pickle.dumps(z.dask)) < 150_000


BUILT = []


class Counted(fd.Normal):
    def __init__(self, loc, scale):
        super().__init__(loc, scale)
        BUILT.append(self.batch_shape)


def test_a_part_is_made_once_for_all_of_its_samples():
    d = fd.dask.distribution(Counted, loc=da.zeros(6, chunks=2), scale=1.0)
    x = d.sample(40, rng=0, chunks=(4, 2))
    BUILT.clear()
    x.compute(scheduler="synchronous")
    assert BUILT == [(2,)] * 3


def test_sums_never_hold_the_draw():
    """4 GB that are summed a chunk at a time."""
    x = fd.dask.standard_normal((500, 1_000_000), rng=0, chunks=(1, 1_000_000))
    total = x[:3].sum().compute(scheduler="synchronous")
    assert math.isclose(total, fd.standard_normal(3_000_000, rng=0).sum(), rel_tol=1e-9)


def test_persist_rechunk_and_index(client):
    d, _ = laws()["Independent"]
    whole = d.sample(N, rng=4)
    x = fd.dask.sample(d, N, rng=4, chunks=(20, 2, 3))
    kept = client.persist(x)
    assert_same_bits(client.gather(client.compute(kept.rechunk((7, 4, 1, 5)))), whole)
    assert_same_bits(
        x.persist(scheduler="threads")[3:30:4, 1].compute(), np.ascontiguousarray(whole[3:30:4, 1])
    )
    assert_same_bits(client.gather(client.compute(fd.dask.log_prob(d, kept))), d.log_prob(whole))


# ---- densities -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", NAMES)
def test_densities_are_the_local_ones(name, dtype):
    d, _ = laws(dtype)[name]
    if name.startswith("user-written"):
        d = {"user-written": LAPLACE, "user-written ones": fd.Independent(LAPLACE, 1)}[name]
    g = np.random.default_rng(len(name))
    value = d.sample((2, N), rng=5)
    n_event = len(d.event_shape)
    some = [slice(1) if i % 2 else slice(None) for i in range(len(d.batch_shape))]
    lead_only = value[(..., *[slice(1)] * len(d.batch_shape), *[slice(None)] * n_event)]
    for x in (value, value[0, 0], value[(0, slice(None), *some)], lead_only):
        if x.ndim > n_event:
            lazy = da.from_array(x, chunks=tuple(cut(g, n) if n else (0,) for n in x.shape))
            y = fd.dask.log_prob(d, lazy)
            expected = d.log_prob(x)
            assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
            assert_same_bits(y.compute(scheduler="synchronous"), expected)
    one = value[(0,) * (value.ndim - n_event)]
    assert_same_bits(fd.dask.log_prob(d, one).compute(scheduler="synchronous"), d.log_prob(one))


class Scored(Laplace):
    def log_density(self, value):
        return -abs(value - self.loc) - np.log(2.0)


LAPLACE = Scored(np.arange(12.0).reshape(4, 3))


def test_dtypes_of_densities():
    d = fd.Normal(np.zeros(3, np.float32), np.float32(1))
    for x in (1.0, 1, np.float32(1), np.float64(1), np.arange(3), np.arange(3.0)):
        y = fd.dask.log_prob(d, x)
        assert_same_bits(y.compute(), d.log_prob(x))
        assert y.dtype == d.log_prob(x).dtype


def test_samples_of_unknown_number():
    d = fd.Normal(np.zeros(3), 1.0)
    x = fd.dask.sample(d, N, rng=0, chunks=20)
    some = fd.dask.log_prob(d, x[x[:, 0] > 0])
    assert math.isnan(some.shape[0])
    local = d.sample(N, rng=0)
    assert_same_bits(some.compute(), d.log_prob(local[local[:, 0] > 0]))


# ---- parameters of dask --------------------------------------------------------------------------------


def lazy(d, g):
    """The same distribution with dask arrays for parameters, cut at random."""

    def of(value):
        if isinstance(value, fd.Distribution):
            return lazy(value, g) if value.batch_shape else value
        if isinstance(value, np.ndarray) and value.ndim:
            return da.from_array(value, chunks=tuple(cut(g, n) for n in value.shape))
        return value

    return fd.dask.distribution(type(d), **{name: of(value) for name, value in d.parameters.items()})


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", NAMES)
def test_lazy_parameters(name, dtype):
    d, divisible = laws(dtype)[name]
    g = np.random.default_rng(len(name))
    ours = lazy(d, g)
    assert (ours.batch_shape, ours.event_shape, ours.dtype) == (d.batch_shape, d.event_shape, d.dtype)
    shape = (N, *d.batch_shape, *d.event_shape * divisible)
    for chunks in ("auto", tuple(cut(g, n) for n in shape)):
        x = ours.sample(N, rng=7, chunks=chunks)
        assert_same_bits(x.compute(scheduler="synchronous"), d.sample(N, rng=7))
    if not name.startswith("user-written"):
        assert_same_bits(ours.log_prob(x).compute(scheduler="synchronous"), d.log_prob(d.sample(N, rng=7)))


def test_lazy_parameters_broadcast_and_mix_with_local_ones():
    loc, scale = np.arange(60.0).reshape(20, 3), np.arange(1.0, 4.0)
    d = fd.dask.distribution(fd.Normal, loc=da.from_array(loc, chunks=(6, 2)), scale=scale)
    local = fd.Normal(loc, scale)
    assert d.sample(4, rng=0).chunks == ((4,), (6, 6, 6, 2), (2, 1))
    assert_same_bits(d.sample(4, rng=0).compute(), local.sample(4, rng=0))
    assert_same_bits(d.log_prob(scale).compute(), local.log_prob(scale))
    column = fd.dask.distribution(fd.Normal, loc=da.from_array(loc[:, :1], chunks=7), scale=scale.tolist())
    assert_same_bits(
        column.sample(4, rng=0, chunks=(4, 5, 2)).compute(), fd.Normal(loc[:, :1], scale).sample(4, rng=0)
    )
    scalars = fd.dask.distribution(fd.Normal, loc=da.from_array(np.float32(1)), scale=2.0)
    assert_same_bits(scalars.sample(4, rng=0).compute(), fd.Normal(np.float32(1), 2.0).sample(4, rng=0))
    weights = fd.Categorical([0.2, 0.3, 0.5])
    mixture = fd.dask.distribution(
        fd.MixtureSameFamily, mixture_distribution=weights, component_distribution=d
    )
    assert_same_bits(
        mixture.sample(9, rng=0, chunks=(4, 7)).compute(),
        fd.MixtureSameFamily(weights, local).sample(9, rng=0),
    )


def test_lazy_parameters_say_where_they_are_wrong():
    scale = np.ones((300, 40))
    scale[217, 13] = scale[217, 14] = scale[250, 1] = -2.0
    d = fd.dask.distribution(
        fd.Normal, loc=da.zeros((300, 1), chunks=70), scale=da.from_array(scale, chunks=(100, 30))
    )
    x = d.sample(2, rng=0)
    with pytest.raises(
        ValueError,
        match=r"batch index \(217, 13\) of \(300, 40\): scale must be positive and finite: shape \(\), scale = -2.0",
    ):
        x.compute(scheduler="synchronous")
    matrices = np.broadcast_to(np.eye(3), (50, 3, 3)).copy()
    matrices[33, 0, 0] = -1
    mvn = fd.dask.distribution(
        fd.MultivariateNormal, loc=da.zeros(3), covariance_matrix=da.from_array(matrices, chunks=(20, 2, 3))
    )
    with pytest.raises(
        np.linalg.LinAlgError, match=r"batch index \(33,\) of \(50,\): covariance_matrix is not positive"
    ):
        mvn.log_prob(np.zeros(3)).compute(scheduler="threads")
    independent = fd.dask.distribution(fd.Independent, base_distribution=d, reinterpreted_batch_ndims=1)
    with pytest.raises(
        ValueError, match=r"batch index \(217,\) of \(300,\): scale must .* scale\[13\] = -2.0"
    ):
        independent.sample(2, rng=0, chunks=(2, 64, 40)).compute(scheduler="synchronous")


def test_lazy_errors_that_are_known_at_once():
    lazy = functools.partial(fd.dask.distribution, fd.Normal)
    for call, error, message in (
        (
            lambda: lazy(loc=da.zeros(3), scale=da.ones(2)),
            ValueError,
            r"batch shapes do not broadcast: loc \(3,\), scale \(2,\)",
        ),
        (lambda: lazy(loc=da.zeros(3), scale=-1.0), ValueError, "scale must be positive"),
        (lambda: lazy(loc=da.zeros(3, dtype=complex), scale=1.0), TypeError, "loc"),
        (lambda: lazy(loc=da.zeros(3)), TypeError, "scale"),
        (lambda: lazy(mean=da.zeros(3), scale=1.0), TypeError, "loc"),
        (
            lambda: fd.dask.distribution(dict, loc=da.zeros(3)),
            TypeError,
            "cls must be a subclass of Distribution",
        ),
        (
            lambda: fd.dask.distribution(
                fd.MultivariateNormal, loc=da.zeros(3), covariance_matrix=da.ones(3)
            ),
            ValueError,
            "covariance_matrix must have at least 2 dims",
        ),
        (
            lambda: lazy(loc=da.zeros(3)[da.zeros(3) > 1], scale=1.0),
            ValueError,
            "loc must have .* chunks of known sizes",
        ),
        (
            lambda: fd.dask.distribution(
                fd.Independent, base_distribution=fd.Normal(np.zeros(3), 1.0), reinterpreted_batch_ndims=1
            ),
            ValueError,
            "base_distribution must have no batch dims or be lazy",
        ),
    ):
        with pytest.raises(error, match=message):
            call()


def test_parameters_too_many_for_memory():
    """10**12 Gaussians, of which one chunk is drawn."""
    loc = da.zeros(10**12, chunks=10**6, dtype=np.float64)
    x = fd.dask.distribution(fd.Normal, loc=da.zeros(10**9, chunks=10**6), scale=1.0).sample((), rng=3)
    assert loc.size > x.size
    last = x[-3:].compute(scheduler="synchronous")
    assert_same_bits(last, fd.standard_normal(3, rng=fd.BlockSFC64(3).place._replace(normal=10**9 - 3)))


# ---- bad input -----------------------------------------------------------------------------------------


class Locked(fd.Normal):
    """Has what can be neither pickled nor tokenized."""

    def __init__(self, loc, scale):
        super().__init__(loc, scale)
        self.lock = threading.Lock()


def test_errors_leave_the_generator_alone():
    d, _ = laws()["Independent"]
    mvn, _ = laws()["MultivariateNormal"]
    g = fd.default_rng(0)
    before = state_of(g)
    for call, error, message in (
        (
            lambda: fd.dask.sample(mvn, 8, rng=g, chunks=(4, 4, 3, 2)),
            ValueError,
            r"chunks: elements 0 to 2 of 5 of an event of MultivariateNormal, event shape \(5,\): events cannot be split",
        ),
        (
            lambda: fd.dask.sample(lazy(mvn, np.random.default_rng(0)), 8, rng=g, chunks=(4, 4, 3, 2)),
            ValueError,
            "split",
        ),
        (lambda: fd.dask.sample(d, 8, rng=g, chunks=((4, 5), 4, 3)), ValueError, "Chunks"),
        (lambda: fd.dask.sample(d, 8, rng=g, chunks=(4, 4)), ValueError, "Chunks"),
        (lambda: fd.dask.sample(d, -8, rng=g), ValueError, "sample_shape must not be negative"),
        (lambda: fd.dask.sample(d, 2**62, rng=g), ValueError, "too big"),
        (lambda: fd.dask.sample(Silent(0.0), 8, rng=g), NotImplementedError, "normals_per_event"),
        (
            lambda: fd.dask.sample(Locked(0.0, 1.0), 8, rng=g),
            TypeError,
            r"d, Locked\(.*\), has something that dask cannot tokenize",
        ),
        (
            lambda: fd.dask.sample(np.zeros(3), 8, rng=g),
            TypeError,
            "d must be a Distribution or a LazyDistribution, got ndarray",
        ),
        (lambda: fd.dask.sample(d, 8, rng="a"), TypeError, "rng must be None, an int"),
        (lambda: fd.dask.sample(d, 8, rng=-1), ValueError, "negative seed"),
        (lambda: fd.dask.sample(d, 8, rng=np.random.default_rng(0)), TypeError, "a PCG64 can be drawn alone"),
        (lambda: fd.dask.sample(d, 8), TypeError, "rng"),
        (lambda: fd.dask.standard_normal(8, rng=g, dtype=int), TypeError, "dtype must be float32 or float64"),
        (lambda: fd.dask.standard_normal((8, -1), rng=g), ValueError, "shape must not be negative"),
        (
            lambda: fd.dask.log_prob(d, np.zeros((3, 4))),
            ValueError,
            r"x must end in the event shape \(5,\), got shape \(3, 4\)",
        ),
        (
            lambda: fd.dask.log_prob(d, np.zeros((7, 5))),
            ValueError,
            r"do not broadcast: x \(7,\), distribution \(4, 3\)",
        ),
        (lambda: fd.dask.log_prob(d, da.zeros(5, dtype=complex)), TypeError, "complex"),
        (
            lambda: fd.dask.log_prob(fd.Normal(np.zeros(3), 1.0), UNKNOWN),
            ValueError,
            "known chunks along the batch",
        ),
    ):
        with pytest.raises(error, match=message):
            call()
        assert state_of(g) == before


UNKNOWN = da.arange(3, chunks=1)[da.arange(3, chunks=1) > 0]


# ---- xarray ------------------------------------------------------------------------------------------


def test_xarray():
    xr = pytest.importorskip("xarray")
    d = fd.Independent(fd.Normal(np.zeros((4, 3)), 1.0), 1)
    x = xr.DataArray(fd.dask.sample(d, N, rng=0, chunks=(20, 2)), dims=("sample", "station", "variable"))
    local = d.sample(N, rng=0)
    assert_same_bits(x.transpose(..., "sample").values, np.moveaxis(local, 0, -1).copy())
    np.testing.assert_allclose(x.mean("station").values, local.mean(1), rtol=1e-13, atol=1e-15)
    y = xr.apply_ufunc(
        functools.partial(fd.dask.log_prob, d), x, input_core_dims=[["variable"]], dask="allowed"
    )
    assert y.dims == ("sample", "station")
    assert y.chunks == ((20, 20, 10), (2, 2))
    assert_same_bits(y.values, d.log_prob(local))
