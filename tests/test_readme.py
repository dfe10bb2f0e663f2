"""The Python examples of README and docs give what they show, one after the other as they are read.

Those marked `python` need fastdist alone; tests/peers also runs those marked `py`.
"""

import doctest
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def run_blocks(languages, page=README):
    """How many examples the blocks of these languages have, in one session."""
    text = page.read_text(encoding="utf-8")
    code = "\n".join(re.findall(rf"^```(?:{languages})\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    test = doctest.DocTestParser().get_doctest(code, {}, page.name, None, None)
    result = doctest.DocTestRunner().run(test)
    assert result.failed == 0
    return result.attempted


def test_examples():
    assert run_blocks("python") > 10


def test_examples_of_own_distributions():
    assert run_blocks("python", ROOT / "docs" / "distributions.md") > 10
