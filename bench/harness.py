"""Timing that a noisy machine cannot spoil: contenders take turns, ratios are taken round by round, and
what is measured is CPU time, so that a neighbour on the same core does not count.

Statement     code as its user writes it, to be timed or run
measure       {key: statement} -> {key: seconds a call, an array with one entry a round}
quartiles     of a time, or of the ratio of two
parse         --only and --rounds, of benchmarks that print and keep nothing
import_extra  how much longer one module takes to import than another, in ms
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np

Key = TypeVar("Key", bound=Hashable)
Clock = Callable[[], float]


class Statement:
    """One line of code and the names in it, timed without the cost of calling a function."""

    def __init__(self, code: str, **names: object) -> None:
        self.code = code
        self._timer = timeit.Timer(code, globals=names)
        *steps, last = code.split("; ")
        exec(f"def run():\n    {'; '.join([*steps, f'return {last}'])}", names)
        self.run = names["run"]  # returns what the last step does

    def time(self, calls: int, clock: Clock = time.process_time) -> float:
        """Seconds a call."""
        self._timer.timer = clock
        return self._timer.timeit(calls) / calls


def measure(
    statements: Mapping[Key, Statement],
    rounds: int,
    *,
    seconds: float = 0.01,
    patience: float = 2.0,
    clock: Clock = time.process_time,
) -> dict[Key, np.ndarray]:
    """Seconds a call of each statement, round by round.

    A round times every statement once, by as many calls as fill about `seconds`. Statements that
    have used up their `patience` in seconds take part in the first three rounds only; then there is
    NaN. What runs on several threads needs a `clock` on the wall.
    """
    calls = {key: _calls(statement, seconds, clock) for key, statement in statements.items()}
    keys = list(statements)
    times = {key: np.full(rounds, math.nan) for key in keys}
    spent = dict.fromkeys(keys, 0.0)
    gc.collect()
    for i in range(rounds):
        # Whoever comes next to whom changes, so that nobody always inherits the same cache.
        first = i % len(keys)
        for key in keys[first:] + keys[:first]:
            if i < 3 or spent[key] < patience:
                times[key][i] = statements[key].time(calls[key], clock)
                spent[key] += times[key][i] * calls[key]
    return times


def _calls(statement: Statement, seconds: float, clock: Clock) -> int:
    # The first call may pay for imports, which take no second; what does is slow itself.
    if statement.time(1, clock) > 1:
        return 1
    calls = 1
    while (one := statement.time(calls, clock)) * calls < seconds / 4:
        calls *= 4
    return max(1, round(seconds / one))


def quartiles(samples: np.ndarray) -> list[float]:
    """First quartile, median and third, to four digits."""
    return [float(f"{q:.4g}") for q in np.nanpercentile(samples, (25, 50, 75))]


def parse(doc: str) -> argparse.Namespace:
    """The command line's options; the first paragraph of `doc` is the help."""
    parser = argparse.ArgumentParser(description=doc.partition("\n\n")[0])
    parser.add_argument("--only", default="", help="cases whose title has this in it")
    parser.add_argument("--rounds", type=int, default=15)
    return parser.parse_args()


def import_extra(module: str, reference: str, rounds: int = 25) -> float:
    """Median of the difference of two imports in fresh processes, in ms of CPU time.

    Wall time varies more from one process to the next than what is looked for here.
    """
    _import_time(module)  # writes the bytecode that an installation comes with
    return statistics.median(_import_time(module) - _import_time(reference) for _ in range(rounds)) * 1e3


def _import_time(module: str) -> float:
    code = f"import time; start = time.process_time(); import {module}; print(time.process_time() - start)"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env)
    return float(result.stdout)
