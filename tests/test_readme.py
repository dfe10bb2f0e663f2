"""The README's Python examples give what they show, one after the other as they are read.

Those marked `python` need fastdist alone; tests/peers also runs those marked `py`.
"""

import doctest
import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def run_blocks(languages):
    """How many examples the blocks of these languages have, in one session."""
    text = README.read_text(encoding="utf-8")
    code = "\n".join(re.findall(rf"^```(?:{languages})\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    test = doctest.DocTestParser().get_doctest(code, {}, README.name, None, None)
    result = doctest.DocTestRunner().run(test)
    assert result.failed == 0
    return result.attempted


def test_examples():
    assert run_blocks("python") > 10
