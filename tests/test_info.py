"""``python -m fastdist info``: complete, of this process, and without imports or paths."""

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import numpy as np
import pytest

import fastdist as fd
from fastdist import _info


def run(**environment):
    result = subprocess.run(
        [sys.executable, "-m", "fastdist", "info"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    assert result.stderr == ""
    return result.stdout


def test_versions_and_machine():
    table = dict(line.split(maxsplit=1) for line in run(FASTDIST_ISA="").splitlines())
    assert list(table) == list(_info.facts())
    assert table["fastdist"] == fd.__version__
    assert table["NumPy"] == np.__version__
    assert table["Python"].startswith(f"{platform.python_version()} ({platform.python_implementation()}, ")
    assert table["OS"] == platform.platform()
    assert table["machine"] == platform.machine()
    assert table["isa"].endswith(f"(available: {', '.join(fd.isas())})")
    assert table["FASTDIST_ISA"] == "not set"
    assert table["CPU"].endswith("logical cores")
    assert platform.python_compiler() in table["compiler"]
    assert f"matplotlib {importlib.metadata.version('matplotlib')}" in table["optional"]


@pytest.mark.parametrize("isa", fd.isas())
def test_isa_in_use(isa):
    lines = run(FASTDIST_ISA=isa).splitlines()
    assert any(line.split()[:2] == ["isa", isa] for line in lines)
    assert any(line.split() == ["FASTDIST_ISA", isa] for line in lines)


def test_set_isa_shows(isa):
    assert _info.facts()["isa"].startswith(f"{isa} (")


def test_columns_line_up(capsys):
    _info.run()
    lines = capsys.readouterr().out.splitlines()
    width = max(map(len, _info.facts()))
    assert all(line[width : width + 2] == "  " and line[width + 2] != " " for line in lines)


def test_imports_no_optional_package():
    script = """
import sys
from fastdist.__main__ import main
main(["info"])
assert not {"matplotlib", "scipy", "torch", "autograd", "jax"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_no_paths(monkeypatch):
    monkeypatch.setattr(sysconfig, "get_config_var", {"CC": "/secret/bin/cc -isysroot /secret/sdk"}.get)
    text = "\n".join(_info.facts().values())
    assert "extensions by cc" in text
    assert "secret" not in text
    assert sys.prefix not in text


def test_compiler_unknown(monkeypatch):
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: None)
    assert _info.facts()["compiler"] == f"Python by {platform.python_compiler()}"


@pytest.mark.parametrize(
    ("disabled", "enabled", "expected"),
    [
        (0, True, "with the GIL"),
        (None, True, "with the GIL"),
        (1, False, "free-threaded"),
        (1, True, "free-threaded, GIL switched on"),
    ],
)
def test_threading(monkeypatch, disabled, enabled, expected):
    monkeypatch.setattr(sysconfig, "get_config_var", {"Py_GIL_DISABLED": disabled}.get)
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: enabled, raising=False)
    assert _info.facts()["Python"].endswith(f", {expected})")


def test_what_extras_install_is_listed(monkeypatch):
    """Whatever pyproject.toml has as optional dependencies."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"version of {name}")
    for requirements in project["optional-dependencies"].values():
        for requirement in requirements:
            name = re.match("[a-z]+", requirement)[0]
            assert f"{name} version of {name}" in _info.facts()["optional"]


def test_optional_packages(monkeypatch):
    monkeypatch.setattr(_info, "OPTIONAL", ("numpy", "no-such-package"))
    assert _info.facts()["optional"] == f"numpy {np.__version__}"
    monkeypatch.setattr(_info, "OPTIONAL", ("no-such-package",))
    assert _info.facts()["optional"] == "none found"
