"""What no kernel on this core can beat, measured.

fma      fused multiply-adds a ns, by a loop in C (roofs.c): NumPy has none, BLAS stays below
memory   bytes a ns written (`fill`) and read (`dot`, by BLAS) in an array that is too large for the
         second cache; a loop in C is no faster here
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

CHAINS = 12
SIZE = 2**24  # bytes
# Width of a vector in bytes, and the flags of a compiler that make one.
VECTORS = {
    "scalar": (8, []),
    "neon": (16, []),
    "avx2": (32, ["-mavx2", "-mfma"]),
    "avx512": (64, ["-mavx512f"]),
}


def fma(isa: str) -> dict[str, float]:
    """Multiply-adds a ns, by dtype."""
    width, flags = VECTORS[isa]
    n = 10**6
    with tempfile.TemporaryDirectory() as folder:
        library = os.path.join(folder, "roofs.so")
        options = ["-O3", "-ffp-contract=fast", "-shared", "-fPIC", f"-DWIDTH={width}", *flags]
        source = Path(__file__).with_name("roofs.c")
        subprocess.run([os.environ.get("CC", "cc"), *options, "-o", library, source], check=True)
        roofs = ctypes.CDLL(library)
        result = {}
        for dtype in ("float64", "float32"):
            loop = roofs[f"fma_{dtype}"]
            loop.restype, loop.argtypes = ctypes.c_double, [ctypes.c_ssize_t]
            result[dtype] = n * CHAINS * width / np.dtype(dtype).itemsize / _best(lambda loop=loop: loop(n))
        return result


def memory() -> dict[str, float]:
    """Bytes a ns, written and read."""
    array = np.zeros(SIZE // 8)
    return {"write": SIZE / _best(lambda: array.fill(1)), "read": SIZE / _best(lambda: array @ array)}


def _best(function: Callable[[], object], rounds: int = 20) -> float:
    """Least time in ns: a roof is what the core can do when nobody disturbs it."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        function()
        times.append(time.perf_counter_ns() - start)
    return float(min(times))
