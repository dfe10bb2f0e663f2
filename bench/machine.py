"""What a result depends on: the CPU and its caches, the instruction set, versions. No names of hosts.

name    of the results' files: CPU and instruction set
facts   for people to read
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
from pathlib import Path

import fastdist as fd
from fastdist import _info

PACKAGES = ("numpy", "torch", "scipy", "randomgen", "mkl_random", "mkl")
HERE = Path(__file__).parent


def name() -> str:
    words = re.sub(r"\((r|tm|c)\)|@.*|\b(cpu|processor)\b", " ", _cpu().lower())
    return "-".join([*re.findall(r"[a-z0-9]+", words), fd.isa()])


def facts() -> dict[str, str]:
    return {
        "CPU": _cpu(),
        "caches": ", ".join(_caches()) or "unknown",
        "instruction set": fd.isa(),
        "fastdist": f"{fd.__version__}, commit {_commit()}",
        "Python": platform.python_version(),
        **{package: version for package in PACKAGES if (version := _version(package))},
    }


def _cpu() -> str:
    return _info.facts()["CPU"].rpartition(",")[0]  # without the number of cores


def _caches() -> list[str]:
    """As Linux tells them, of the first CPU."""
    found = []
    for path in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")):
        level, kind, size = (path.with_name(item).read_text().strip() for item in ("level", "type", "size"))
        if kind != "Instruction":
            found.append(f"L{level} {size.removesuffix('K')} kB")
    return found


def _commit() -> str:
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
