import pytest

import fastdist as fd


def pytest_ignore_collect(collection_path, config):
    """Comparisons with torch and scipy run by ``pytest -m peers`` only."""
    return True if collection_path.name == "peers" and config.option.markexpr != "peers" else None


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    """What runs on every instruction set by itself needs no second run on one of them."""
    for item in items:
        if "isa" in item.fixturenames:
            item.add_marker(pytest.mark.any_isa)


@pytest.fixture(params=fd.isas())
def isa(request):
    """Runs the test on every instruction set of this CPU."""
    before = fd.isa()
    fd.set_isa(request.param)
    yield request.param
    fd.set_isa(before)
