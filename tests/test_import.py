"""What an import brings in."""

import subprocess
import sys


def imported(code):
    """Names of all modules that a fresh interpreter loads."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    )
    return {
        line.split("|")[-1].strip() for line in run.stderr.splitlines() if line.startswith("import time:")
    }


def test_only_the_standard_library_and_numpy():
    names = imported("import fastdist") - imported("pass")
    assert "fastdist" in names
    # "org": the standard library's copy module tries Jython's org.python.core, and fails
    allowed = {*sys.stdlib_module_names, "numpy", "fastdist", "org"}
    assert {name for name in names if name.split(".")[0] not in allowed} == set()


def test_nothing_optional():
    names = imported("import fastdist")
    assert not {
        name for name in names if name.startswith(("fastdist.plot", "fastdist._demo", "numpy.testing"))
    }


def test_public_names():
    import fastdist

    assert all(hasattr(fastdist, name) for name in fastdist.__all__)
    assert not {"np", "numpy", "torch"} & set(fastdist.__all__)
