"""How many times as long others take for 20 million normals in 64 chunks, and their sum, than fastdist.dask:
`python bench/chunks.py [--rounds N]`.

dask.array.random by the same scheduler; fastdist without dask, into fresh memory; where there are two CPUs,
dask's threads against fastdist's workers. Each call makes its graph, too. Medians over alternating rounds in
one process; 2.0 means that they take twice as long.
"""

from __future__ import annotations

import os
import time

import one_core

CPUS = one_core.settle()  # before NumPy loads

import dask.array as da
import numpy as np
from harness import Statement, measure, parse

import fastdist as fd

N, N_CHUNK = 20_000_000, 64
ONE = {"scheduler": "synchronous"}
TWO = {"scheduler": "threads", "num_workers": 2}


def main() -> None:
    options = parse(__doc__)
    shared = {"n": N, "chunks": N // N_CHUNK, "fd": fd, "rng": fd.default_rng(0)}
    ours = "fd.dask.standard_normal(n, rng=rng, chunks=chunks).sum().compute(**on)"
    statements = {
        "fastdist.dask": Statement(ours, on=ONE, **shared),
        "dask.array.random": Statement(
            "rng.standard_normal(n, chunks=chunks).sum().compute(**on)",
            on=ONE,
            **shared | {"rng": da.random.default_rng(0)},
        ),
        "fastdist alone": Statement("fd.standard_normal(n, rng=rng).sum()", **shared),
    }
    print(f"{'How many times as long':40}{'ratio':>8}{'must':>7}{'aim':>6}")
    times = measure(statements, options.rounds)
    line("dask.array.random", times["dask.array.random"] / times["fastdist.dask"], 4, 6)
    line("fastdist alone", times["fastdist alone"] / times["fastdist.dask"], 0.75, 0.95)
    if len(CPUS) > 1:
        os.sched_setaffinity(0, sorted(CPUS)[-2:])
        statements = {
            "fastdist.dask": Statement(ours, on=TWO, **shared),
            "fastdist alone": Statement("fd.standard_normal(n, rng=rng, workers=2).sum()", **shared),
        }
        times = measure(statements, options.rounds, clock=time.perf_counter)
        line("fastdist alone, two workers", times["fastdist alone"] / times["fastdist.dask"], 0.75, 0.95)


def line(title: str, ratios: np.ndarray, must: float, aim: float) -> None:
    print(f"{title:40}{np.nanmedian(ratios):8.2f}{must:7g}{aim:6g}", flush=True)


if __name__ == "__main__":
    main()
