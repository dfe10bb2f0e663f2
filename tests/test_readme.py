"""The Python examples of README, docs and docstrings give what they show, one after the other as they are read.

Of README and docs those marked `python` need fastdist alone; tests/peers also runs those marked `py`.
"""

import doctest
import inspect
import re
from pathlib import Path

import pytest

import fastdist as fd

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


def docstrings():
    """Those of what is public, by its name, that have examples; of classes, those of their attributes, too."""
    found = {}
    for module in (fd, fd.transforms):
        for name in module.__all__:
            item = getattr(module, name)
            found[name] = inspect.getdoc(item)
            if isinstance(item, type):
                for of_item, attribute in inspect.getmembers_static(item):
                    if not of_item.startswith("_"):
                        found[f"{name}.{of_item}"] = inspect.getdoc(attribute)
    texts = {text: name for name, text in reversed(found.items()) if text and ">>>" in text}
    return {name: text for text, name in texts.items()}


@pytest.mark.parametrize(("name", "text"), docstrings().items(), ids=docstrings())
def test_examples_of_docstrings(name, text):
    examples = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert doctest.DocTestRunner().run(examples).failed == 0


def test_every_distribution_and_transform_has_an_example():
    names = {
        cls.__name__
        for module in (fd, fd.transforms)
        for cls in map(module.__dict__.get, module.__all__)
        if isinstance(cls, type)
    }
    assert names <= set(docstrings())
