"""What a bug report needs to know: versions, instruction set, machine.

facts   as a dict, in the order to show them
run     print them, as ``python -m fastdist info``

Optional packages are looked up, not imported, and no path is shown.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import sys
import sysconfig

import numpy as np

import fastdist as fd

OPTIONAL = ("matplotlib", "scipy", "torch", "autograd", "zarr", "dask", "jax")


def facts() -> dict[str, str]:
    """Names and values, for people to read."""
    return {
        "fastdist": fd.__version__,
        "isa": f"{fd.isa()} (available: {', '.join(fd.isas())})",
        "FASTDIST_ISA": os.environ.get("FASTDIST_ISA") or "not set",
        "Python": f"{platform.python_version()} ({platform.python_implementation()}, {_threading()})",
        "NumPy": np.__version__,
        "OS": platform.platform(),
        "machine": platform.machine(),
        "CPU": f"{_cpu()}, {os.cpu_count()} logical cores",
        "compiler": _compiler(),
        "optional": ", ".join(_optional()) or "none found",
    }


def run() -> None:
    """Print `facts` as a table."""
    table = facts()
    width = max(map(len, table))
    for name, value in table.items():
        print(f"{name:{width}}  {value}")


def _threading() -> str:
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "with the GIL"
    # An extension that is not ready for it switches the GIL back on.
    enabled = getattr(sys, "_is_gil_enabled", lambda: False)()
    return "free-threaded, GIL switched on" if enabled else "free-threaded"


def _cpu() -> str:
    """The CPU's name, which Linux tells only in a file, and not on every architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _compiler() -> str:
    """Python's own compiler, and the command that builds extensions, less its folder and options."""
    command = shlex.split(sysconfig.get_config_var("CC") or "")
    extensions = f"; extensions by {os.path.basename(command[0])}" if command else ""
    return f"Python by {platform.python_compiler()}{extensions}"


def _optional() -> list[str]:
    found = []
    for name in OPTIONAL:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
