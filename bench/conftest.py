"""Settles the environment before anything loads NumPy."""

import one_core
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--isa", choices=one_core.ONLY, help="keep everybody to this instruction set")


def pytest_configure(config: pytest.Config) -> None:
    one_core.settle(config.getoption("--isa"))
