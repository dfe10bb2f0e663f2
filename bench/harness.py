"""Timing that a noisy machine cannot spoil: contenders take turns, and only ratios come out.

compare       {name: function} -> {name: how many times as long as the first one takes}
import_extra  how much longer one module takes to import than another, in ms
"""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

Function = Callable[[], object]


def compare(contenders: Mapping[str, Function], rounds: int = 15, seconds: float = 0.01) -> dict[str, float]:
    """Median over rounds of each contender's time, divided by that of the first in the same round.

    A round times every contender once, each by as many calls as fill about `seconds`.
    """
    calls = {name: _calls(function, seconds) for name, function in contenders.items()}
    names = list(contenders)
    ratios: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.disable()
    try:
        for i in range(rounds):
            # Whoever comes next to whom changes, so that nobody always inherits the same cache.
            order = names[i % len(names) :] + names[: i % len(names)]
            times = {name: _time(contenders[name], calls[name]) for name in order}
            for name in names:
                ratios[name].append(times[name] / times[names[0]])
    finally:
        gc.enable()
    return {name: statistics.median(values) for name, values in ratios.items()}


def _time(function: Function, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def _calls(function: Function, seconds: float) -> int:
    function()  # the first call pays for imports, caches and pages
    calls = 1
    while (one := _time(function, calls)) * calls < seconds / 4:
        calls *= 4
    return max(1, round(seconds / one))


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
