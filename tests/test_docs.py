"""README and docs keep what they say: their code runs, what it shows is so, and links lead somewhere.

`pages.py` has the rules; tests/peers runs the blocks of torch and autograd, too.
"""

import builtins
import doctest
import importlib
import importlib.util
import inspect
import multiprocessing
import multiprocessing.dummy
import pydoc
import re
import tomllib

import numpy as np
import pytest
from pages import DOCS, PAGES, README, ROOT, blocks, headings, links, run, text_of, unfinished

import fastdist as fd

name_of = {page: str(page.relative_to(ROOT)) for page in PAGES}.get
LINKED = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md"))]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A directory to write to, and threads where a page starts processes."""
    monkeypatch.chdir(tmp_path)
    contexts = {"spawn": multiprocessing.dummy, None: multiprocessing.get_context()}
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: contexts[method])
    if importlib.util.find_spec("joblib"):
        with importlib.import_module("joblib").parallel_config(backend="threading"):
            yield
    else:
        yield


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code(page):
    n, _ = run(page)
    assert n or not blocks(page, "python")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code_may_be_pasted_to_a_prompt(page):
    assert not list(unfinished(page))


@pytest.mark.usefixtures("here")
def test_column_of_draws():
    """Spark's batches of rows are of any size: here by pandas alone."""
    pd = pytest.importorskip("pandas")
    _, names = run(DOCS / "guides" / "clusters.md")
    batches = [pd.DataFrame({"id": range(a, b)}) for a, b in ((0, 400), (400, 400), (400, 1000))]
    table = pd.concat(names["draws"](batches))
    wanted = names["d"][0].sample((1000,), rng=7)
    np.testing.assert_array_equal(table[["east", "north"]].to_numpy(), wanted)


# ---- links and names -------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page):
    wrong = []
    for link in links(page):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in headings(target)):
            wrong.append(link)
    assert not wrong


def test_commands_and_extras_exist():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for page in PAGES:
        text = text_of(page)
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= {*targets}
        for name, extra in re.findall(r"pip install '?([\w.-]+)(?:\[(\w+)\])?", text):
            assert name in (project["name"], ".")
            assert not extra or extra in project["optional-dependencies"]


def test_names_of_the_readme_exist():
    """Those in code, of classes, functions, methods and modules."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = {*project["optional-dependencies"], *dir(builtins), "d"}
    for owner in (fd, fd.MultivariateNormal, fd.Normal):
        known |= {*dir(owner)}
    names = {name.partition("(")[0] for name in re.findall(r"`(?:fd\.)?(\w+(?:\(\w+\))?)`", text_of(README))}
    assert len(names) > 30
    assert names <= known


# ---- help ------------------------------------------------------------------------------------------------


def test_index_of_help():
    """`help(fastdist)` begins with all public names, each once, on one screen."""
    _, _, index = fd.__doc__.partition("Index\n-----\n")
    names = ", ".join(re.findall(r"^    (\S+(?:, \S+)*)  ", index, re.MULTILINE)).split(", ")
    assert sorted(names) == sorted(fd.__all__)
    first_screen = pydoc.render_doc(fd, renderer=pydoc.plaintext).splitlines()[:60]
    assert fd.__doc__.splitlines()[-2].strip() in [line.strip() for line in first_screen]
    assert max(map(len, fd.__doc__.splitlines())) <= 100


# ---- docstrings ------------------------------------------------------------------------------------------


def docstrings():
    """Those of what is public, by its name, that have examples; of classes, those of their attributes, too."""
    modules = [fd, fd.transforms]
    if importlib.util.find_spec("dask"):
        modules.append(fd.dask)
    found = {"fastdist": fd.__doc__}
    for module in modules:
        for name in module.__all__:
            item = getattr(module, name)
            found[f"{module.__name__}.{name}"] = inspect.getdoc(item)
            if isinstance(item, type):
                for of_item, attribute in inspect.getmembers_static(item):
                    if not of_item.startswith("_"):
                        found[f"{module.__name__}.{name}.{of_item}"] = inspect.getdoc(attribute)
    texts = {text: name for name, text in reversed(found.items()) if text and ">>>" in text}
    return {name: text for text, name in texts.items()}


@pytest.mark.parametrize(("name", "text"), docstrings().items(), ids=docstrings())
def test_examples_of_docstrings(name, text):
    examples = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert doctest.DocTestRunner().run(examples).failed == 0


def test_every_distribution_and_transform_has_an_example():
    names = {
        f"{module.__name__}.{cls.__name__}"
        for module in (fd, fd.transforms)
        for cls in map(module.__dict__.get, module.__all__)
        if isinstance(cls, type)
    }
    assert names <= set(docstrings())
