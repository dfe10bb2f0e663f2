"""Measures what cases.py lists; the result is one dict, ready for JSON.

run      all that is selected; a line is printed for each row as it is done
rows     of a case: one for each kind of call, with the ratio of each peer
points   of a curve: ns an element
"""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import time
from collections.abc import Iterator

import machine
import numpy as np
import peers
import roofs
from cases import CASES, COLOUR, CURVES, FRESH, OUT, Case, Curve, match
from harness import import_extra, measure, quartiles
from report import number

import fastdist as fd

CURVE_ROUNDS, CURVE_PATIENCE = 5, 0.5  # which show slopes, not per cents
ON_CURVES = ("fastdist", "numpy", "torch", "randomgen")


def run(only: str, rounds: int, with_curves: bool, cpus: set[int]) -> dict:
    """All whose title matches `only`. `cpus` are for the cases with workers."""
    contenders, isa = peers.installed(), fd.isa()
    slower = fd.isas()[: fd.isas().index(isa)]
    result = {
        "machine": machine.name(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rounds": rounds,
        "facts": machine.facts(),
        "cases": [],
        "curves": [],
        "statements": {},
    }
    for case in CASES:
        if case.isa in (None, *slower) and case.cpus <= max(len(cpus), 1) and match(only, case.title):
            fd.set_isa(case.isa or isa)
            wanted = {FRESH, *case.kinds, *[peers.NOISE] * (COLOUR in case.kinds)}
            every = peers.statements(case.verb, case.problem, contenders)
            statements = {key: statement for key, statement in every.items() if key[1] in wanted}
            if case.cpus == 1:
                times = measure(statements, rounds)
            else:
                with _on(cpus):
                    times = measure(statements, rounds, clock=time.perf_counter)
            for row in rows(case, times):
                print(_line(row), flush=True)
                result["cases"].append(row)
            code = {f"{peer}, {kind}": statement.code for (peer, kind), statement in statements.items()}
            result["statements"][case.verb] = code | result["statements"].get(case.verb, {})
    fd.set_isa(isa)
    if with_curves:
        result["roofs"] = {"multiply-adds a ns": roofs.fma(isa), "bytes a ns": roofs.memory()}
        on_curves = [peer for peer in contenders if peer.name in ON_CURVES]
        for curve in CURVES:
            if match(only, curve.title):
                print(curve.title, flush=True)
                result["curves"].append(points(curve, on_curves))
    if match(only, "import"):
        result["import ms"] = import_extra("fastdist", "numpy.random")
        print(f"import of fastdist: {result['import ms']:+.1f} ms over numpy.random")
    return result


def rows(case: Case, times: dict[tuple[str, str], np.ndarray]) -> list[dict]:
    """What a peer has no out= for counts with a fresh result."""
    drawn, noise = (times.get(("fastdist", kind)) for kind in (OUT, peers.NOISE))
    if noise is not None:
        times = times | {("fastdist", COLOUR): drawn - noise}
    result = []
    for kind in case.kinds:
        base = times.get(("fastdist", kind))
        if base is None:
            continue
        ratios, fresh = {}, []
        for peer in dict.fromkeys(name for name, _ in times if name != "fastdist"):
            if kind == OUT and (peer, OUT) not in times:
                fresh.append(peer)
            taken = times.get((peer, FRESH if peer in fresh else kind))
            if taken is not None:
                ratios[peer] = quartiles((taken + case.allowance) / base)
        if "fresh" in case.targets:
            ratios["fresh"] = quartiles(times["fastdist", FRESH] / base)
        if "limit" in case.targets:
            ratios["limit"] = quartiles(case.allowance / base)
        result.append(
            {
                **dict(zip(("group", "what", "dtype"), case.key, strict=True)),
                "kind": kind,
                "ns an element": quartiles(base * 1e9 / max(math.prod(case.problem.shape), 1)),
                "ratios": ratios,
                "fresh": fresh,
            }
        )
    return result


def points(curve: Curve, contenders: list) -> dict:
    """ns an element, into out= where that can be done."""
    lines: dict[str, dict[int, float]] = {}
    for x, problem in curve.problems.items():
        statements = peers.statements(curve.verb, problem, contenders)
        for peer in {name for name, kind in statements if kind == OUT}:
            statements.pop((peer, FRESH), None)
        statements = {key: statement for key, statement in statements.items() if key[1] != COLOUR}
        times = measure(statements, CURVE_ROUNDS, patience=CURVE_PATIENCE)
        for (peer, kind), taken in times.items():
            name = kind if kind == peers.NOISE else peer
            lines.setdefault(name, {})[x] = quartiles(taken * 1e9 / math.prod(problem.shape))[1]
    return {"verb": curve.verb, "axis": curve.axis, "dtype": curve.dtype, "held": curve.held, "lines": lines}


def _line(row: dict) -> str:
    title = f"{row['group']}: {row['what']}"
    shown = "  ".join(f"{peer} {number(ratio[1])}" for peer, ratio in row["ratios"].items())
    return f"{title:66} {row['dtype']}  {row['kind']:12}  {shown}"


@contextlib.contextmanager
def _on(cpus: set[int]) -> Iterator[None]:
    pinned = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, pinned)
