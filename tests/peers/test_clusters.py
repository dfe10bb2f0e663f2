"""The examples of docs' page on clusters, of whatever is installed, with real processes: `make test-clusters` installs all.

Each package's blocks run in a process of their own, after those that need no package.
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.peers

PAGE = next((Path(__file__).parents[2] / "docs").rglob("clusters.md"))
PACKAGES = ["dask", "distributed", "jax", "joblib", "pandas", "pyspark", "ray", "xarray"]
# What an example needs beside the package that it is about.
NEEDED = {"pyspark": {"pandas"}, "xarray": {"dask"}}

# A module, as processes that are spawned read it again.
RUNNER = """
import doctest, pathlib, sys

if __name__ == "__main__":
    test = doctest.DocTestParser().get_doctest(pathlib.Path(sys.argv[1]).read_text("utf-8"), {}, "page", None, None)
    result = doctest.DocTestRunner().run(test)
    print(result.attempted)
    sys.exit(result.failed > 0)
"""


def blocks():
    """The page's examples, each with the packages that it needs."""
    for code in re.findall(r"^```[^\n]*\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        if ">>> " in code:
            words = set(re.findall(r"(?:import|from|fd\.|, )\s*(\w+)", code))
            yield code, words & set(PACKAGES)


def test_every_package_has_an_example():
    assert {"dask", "jax", "joblib", "pyspark", "ray", "xarray"} <= set.union(*(needed for _, needed in blocks()))


@pytest.mark.parametrize("package", ["multiprocessing", "dask", "jax", "joblib", "pyspark", "ray", "xarray"])
def test_examples(package, tmp_path):
    has = {package, *NEEDED.get(package, ())}
    for name in has:
        if not importlib.util.find_spec(name):
            pytest.skip(f"{name} is not installed")
    chosen = [(code, needed) for code, needed in blocks() if needed <= has]
    assert package == "multiprocessing" or any(package in needed for _, needed in chosen)
    (tmp_path / "runner.py").write_text(RUNNER)
    (tmp_path / "page.txt").write_text("\n".join(code for code, _ in chosen), "utf-8")
    env = os.environ | {"PYSPARK_PYTHON": sys.executable, "RAY_USAGE_STATS_ENABLED": "0", "JAX_PLATFORMS": "cpu"}
    result = subprocess.run(
        [sys.executable, "runner.py", "page.txt"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(result.stdout.split()[-1]) == sum(code.count(">>> ") for code, _ in chosen)
