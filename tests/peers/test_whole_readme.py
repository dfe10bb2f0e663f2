"""All of the README's Python examples in one session, those of the adapters between the others."""

import pytest
from test_readme import run_blocks

pytestmark = pytest.mark.peers


def test_examples():
    assert run_blocks("python|py") > run_blocks("python") + 5
