"""Checks what `python -m build` made: `check_dist.py DIRECTORY`, with one sdist and one wheel in it.

sdist   has what a build, the tests and the benchmarks need, and nothing that a build makes; of its files
        the same bytes are made once more, elsewhere
wheel   has every module and stub, no C and no Cython sources but what others compile with, needs NumPy
        alone, and an extension exports PyInit_* only
"""

import email
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

NEEDED = {
    "LICENSE", "README.md", "Makefile", "setup.py", "pyproject.toml",
    "fastdist/_kernels/program.pyx", "fastdist/_kernels/core.pxd", "fastdist/data/iris.csv",
    "fastdist/include/fastdist/random.h", "fastdist/random/c_api.pxd",
    "examples/vae_digits.py", "examples/data/digits.npz",
    "src_c/fastdist.h", "src_c/kernels.def", "src_c/isa/scalar.c", "src_c/vec/scalar.h",
}  # fmt: skip
# What others compile with.
C_INTERFACE = {"fastdist/include/fastdist/random.h", "fastdist/random/c_api.pxd"}
INSTALLED = C_INTERFACE | {"fastdist/py.typed", "fastdist/data/iris.csv"}


def check(holds: bool, complaint: str) -> None:
    if not holds:
        sys.exit(f"check_dist: {complaint}")


def the_only(directory: Path, pattern: str) -> Path:
    found = sorted(directory.glob(pattern))
    check(len(found) == 1, f"one {pattern} expected in {directory}, found {len(found)}")
    return found[0]


def check_sdist(path: Path) -> set[str]:
    """Names of the files that the package is made of, once what is in the sdist has been checked."""
    with tarfile.open(path) as archive:
        names = {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in archive.getnames()}
    check(names >= NEEDED, f"{path.name} lacks {sorted(NEEDED - names)}")
    generated = sorted(name for name in names if name.endswith((".so", ".pyc")) or name.startswith("build/"))
    check(not generated, f"{path.name} holds {generated}")
    return {name for name in names if is_module(name)}


def is_module(name: str) -> bool:
    return name.startswith("fastdist/") and name.endswith((".py", ".pyi"))


def modules_of_tree(root: Path) -> set[str]:
    return set(filter(is_module, (path.relative_to(root).as_posix() for path in root.glob("fastdist/**/*"))))


def check_same_again(path: Path) -> None:
    with tarfile.open(path) as archive, tempfile.TemporaryDirectory() as directory:
        archive.extractall(directory, filter="data")
        (root,) = Path(directory).iterdir()
        for made in (root / "PKG-INFO", root / "setup.cfg", *root.glob("*.egg-info")):
            shutil.rmtree(made) if made.is_dir() else made.unlink()
        environ = os.environ | {"SOURCE_DATE_EPOCH": str(archive.getmembers()[0].mtime)}
        again = [sys.executable, "-m", "build", "--sdist", "--outdir", directory, str(root)]
        subprocess.run(again, check=True, stdout=subprocess.DEVNULL, env=environ)
        check(the_only(Path(directory), "*.tar.gz").read_bytes() == path.read_bytes(), f"{path.name} varies")


def check_wheel(path: Path, modules: set[str]) -> None:
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as directory:
        names = set(archive.namelist())
        installed = INSTALLED | modules
        check(names >= installed, f"{path.name} lacks {sorted(installed - names)}")
        sources = sorted(
            name for name in names - C_INTERFACE if name.endswith((".c", ".h", ".def", ".pyx", ".pxd"))
        )
        check(not sources, f"{path.name} holds sources: {sources}")
        stray = sorted(name for name in names if not name.startswith(("fastdist/", "fastdist_numpy-")))
        check(not stray, f"{path.name} installs outside the package: {stray}")

        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        required = email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist", [])
        always = [requirement for requirement in required if "extra ==" not in requirement]
        check([r.split(">")[0] for r in always] == ["numpy"], f"{path.name} requires {always}")

        extensions = sorted(name for name in names if name.endswith(".so"))
        check(bool(extensions), f"{path.name} holds no extension")
        for extension in extensions if sys.platform == "linux" else ():
            nm = ["nm", "-D", "--defined-only", archive.extract(extension, directory)]
            listing = subprocess.run(nm, check=True, capture_output=True, text=True).stdout
            exported = [line.split()[-1] for line in listing.splitlines()]
            wanted = "PyInit_" + PurePosixPath(extension).name.partition(".")[0]
            check(exported == [wanted], f"{extension} exports {exported}")


def main() -> None:
    directory = Path(sys.argv[1])
    sdist, wheel = the_only(directory, "*.tar.gz"), the_only(directory, "*.whl")
    check_wheel(wheel, check_sdist(sdist))
    check_same_again(sdist)
    print(f"{sdist.name} and {wheel.name} are as they should be")


if __name__ == "__main__":
    main()
