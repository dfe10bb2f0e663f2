"""How many times as long the peers take: `python bench/run.py [--only WORD] [--rounds N]`.

Ratios of times in one process on one thread, medians over alternating rounds; absolute times say
more about the machine than about the code, and are not shown. 2.0 means: takes twice as long as
fastdist. "out=" rows write to memory that is there already, the others to fresh memory. Sizes are
sample_shape x batch_shape, d the size of an event. The process is pinned to one CPU, but for what
compares workers.
"""

from __future__ import annotations

import argparse
import os

# Before NumPy and torch load: one thread each, and BLAS with the kernels it picks itself.
os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)

import numpy as np  # noqa: E402
from harness import compare, import_extra  # noqa: E402
from peers import Problem, installed  # noqa: E402

import fastdist as fd  # noqa: E402

IMPORT_BUDGET = 10  # ms more than numpy.random


def problems() -> dict[str, tuple[str, Problem]]:
    """What is timed: title -> verb and problem."""
    cases = {}

    def add(verb: str, problem: Problem) -> None:
        family, _, method = verb.partition("_")
        samples = "" if method == "construct" else f"{problem.samples} x "
        shape = f"{samples}{problem.batch}" + (f" d={problem.dim}" if problem.dim else "")
        kind = " ".join([np.dtype(problem.dtype).name, *["out="] * problem.out, *filter(None, [problem.isa])])
        cases[f"{family:6} {method:9}  {shape:22} {kind}"] = verb, problem

    for isa in (None, *fd.isas()[:-1]):
        for dtype in (np.float64, np.float32):
            add("noise_sample", Problem((), None, (10**6,), dtype, out=True, isa=isa))
    add("noise_sample", Problem((), None, (3, 2)))
    for batch, dim in (((3, 2), None), ((3,), 2)):
        family = "mvn" if dim else "normal"
        for method in ("construct", "sample", "log_prob"):
            add(f"{family}_{method}", Problem(batch, dim))
    for out in (False, True):
        for dtype in (np.float64, np.float32):
            for method in ("sample", "log_prob"):
                add(f"normal_{method}", Problem((1000,), None, (1000,), dtype, out))
    for batch, dim, samples in ((1, 2, 100_000), (256, 8, 1000), (64, 32, 1000), (16, 128, 1000)):
        add("mvn_construct", Problem((batch,), dim))
        for method in ("sample", "log_prob"):
            for out in (False, True)[: 2 if method == "sample" else 1]:
                add(f"mvn_{method}", Problem((batch,), dim, (samples,), np.float64, out))
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--only", default="", help="cases whose title has this in it")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()

    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if cpus:
        os.sched_setaffinity(0, {max(cpus)})

    cases = {title: case for title, case in problems().items() if options.only in title}
    peers = installed()
    width = max(map(len, cases), default=0)
    print("How many times as long as fastdist:\n")
    print(" " * width + "".join(f"{peer.name:>10}" for peer in peers[1:]))
    for title, (verb, problem) in cases.items():
        fd.set_isa(problem.isa or fd.isas()[-1])
        contenders = {peer.name: getattr(peer, verb, lambda p: None)(problem) for peer in peers}
        ratios = compare({k: v for k, v in contenders.items() if v is not None}, options.rounds)
        cells = (f"{ratios[p.name]:10.2f}" if p.name in ratios else f"{'-':>10}" for p in peers[1:])
        print(f"{title:{width}}" + "".join(cells), flush=True)

    if options.only in "workers" and len(cpus) > 1:
        os.sched_setaffinity(0, cpus)
        out, g = np.zeros(10**6), fd.default_rng(0)
        one, two = (lambda n=n: fd.standard_normal(out=out, rng=g, workers=n) for n in (1, 2))
        ratio = 1 / compare({"one": one, "two": two}, options.rounds)["two"]
        print(f"\nnoise  (1000000,) float64 out=: 2 workers are {ratio:.2f} times as fast as 1")

    if options.only in "import":
        extra = import_extra("fastdist", "numpy.random")
        print(f"\nimport fastdist: {extra:+.1f} ms over numpy.random (at most {IMPORT_BUDGET} promised)")


if __name__ == "__main__":
    main()
