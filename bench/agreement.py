"""All contenders do the same work: a recipe that forgets a factor is fast.

check    every statement of every case, run once on a small problem of the same kind
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import peers
from cases import CASES, Case, Problem, match

N = 20_000  # samples, whose standard deviations lie within 0.5 % of the true ones
DRAWS, DENSITIES, STEPS = ("sample", "workers", "seeded", "uniform"), ("log_prob",), ("step",)
OBJECTS = ("construct", "expand", "index", "moments")


def check(only: str) -> None:
    """Raise AssertionError at the first that does not."""
    contenders = [peer for peer in peers.installed() if not isinstance(peer, peers.NumPyNoise)]
    n = 0
    for case in CASES:
        if not match(only, case.title):
            continue
        statements = peers.statements(case.verb, _small(case), contenders)
        results = {key: statement.run() for key, statement in statements.items() if key[1] != peers.NOISE}
        if case.verb.endswith(OBJECTS):
            continue  # which have run
        expected = _signature(case, results["fastdist", next(kind for _, kind in results)])
        for key, result in results.items():
            np.testing.assert_allclose(
                _signature(case, result),
                expected,
                rtol=0.03 if case.verb.endswith(DRAWS + STEPS) else 1e-3,
                err_msg=f"{case.title}: {', '.join(key)}",
            )
            n += 1
    print(f"{n} statements agree")


def _small(case: Case) -> Problem:
    p = case.problem
    return dataclasses.replace(
        p,
        batch=_shrunk(p.batch),
        dim=p.dim and min(p.dim, 5),
        samples=(N,) if case.verb.endswith(DRAWS + DENSITIES + STEPS) else (),
        given=p.given if p.given is None else _shrunk(p.given),
        scale_given=p.scale_given if p.scale_given is None else _shrunk(p.scale_given),
    )


def _shrunk(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(min(n, 3) for n in shape)


def _signature(case: Case, result: Any) -> np.ndarray:
    """What does not depend on layout: numbers in order of size; of draws their standard deviations, of draws'
    densities their means."""
    array = np.asarray(result)
    if case.verb.endswith(DRAWS):
        array = array.std(array.shape.index(N), dtype=float)
    elif case.verb.endswith(STEPS):
        array = array.mean(array.shape.index(N), dtype=float)
    return np.sort(array, axis=None)
