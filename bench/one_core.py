"""One thread on one core, and libraries with the kernels that they pick themselves.

To be settled before NumPy and torch load, as they read the environment while they do.
"""

from __future__ import annotations

import os

ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

# What would make a library pick other kernels than it does for everybody.
FORCED = (
    "ATEN_CPU_CAPABILITY",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
)

# Everybody without AVX-512; NumPy's features by their old names and, since 2.4, their new ones.
ONLY = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "FASTDIST_ISA": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512_SKX X86_V4 AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Haswell",
    }
}


def settle(isa: str | None = None) -> set[int]:
    """Pin this process to one CPU; returns all those that it could run on."""
    for name in FORCED:
        os.environ.pop(name, None)
    os.environ.update(ONE_THREAD | ONLY.get(isa or "", {}))
    if not hasattr(os, "sched_setaffinity"):
        return set()
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cpus)})
    return cpus
