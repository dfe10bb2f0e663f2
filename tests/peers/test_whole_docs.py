"""The pages that have blocks or tables of torch's and autograd's, with these."""

import pytest
from pages import FRAMEWORKS, PAGES, Block, Row, parts, run
from test_docs import here as here
from test_docs import name_of

pytestmark = pytest.mark.peers


def needs_framework(page):
    return any(
        (isinstance(part, Block) and part.words & FRAMEWORKS)
        or (isinstance(part, Row) and part.heads[0] == "torch")
        for part in parts(page)
    )


@pytest.mark.usefixtures("here", "validating")
@pytest.mark.parametrize("page", [page for page in PAGES if needs_framework(page)], ids=name_of)
def test_code(page):
    few, _ = run(page)
    assert run(page, frameworks=True)[0] > few
