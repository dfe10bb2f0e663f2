"""The README's Python examples give what they show."""

import doctest
import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_examples():
    text = README.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    test = doctest.DocTestParser().get_doctest(code, {}, README.name, None, None)
    result = doctest.DocTestRunner().run(test)
    assert result.failed == 0
    assert result.attempted > 10
