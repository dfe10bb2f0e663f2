"""Pages of Markdown, for a program: blocks and tables of code, run as a reader would do it, and links.

A block of Python is run, unless its info string says `no-run`; the other words of that are the packages that it needs.
A page is one program, from the top down. In tables that set the calls of another package beside those of fastdist's,
cells of code are run, too: both must do, with results of the same shape and, unless they are drawn, the same values.
"""

import codeop
import contextlib
import doctest
import functools
import importlib.util
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
# What the site's machinery writes begins with an underscore.
PAGES = [
    README,
    *(page for page in sorted(DOCS.rglob("*.md")) if not page.relative_to(DOCS).parts[0].startswith("_")),
]

PACKAGES = {"dask", "joblib", "matplotlib", "numba", "pandas", "scipy", "xarray"}
FRAMEWORKS = {"autograd", "torch"}  # which run with the peers alone
# Of tables of calls: the heading of the others' column, and the package that it needs to be run.
COLUMNS = {"torch": "torch", "scipy": "scipy", "NumPy": "numpy", "TFP": "no-run"}
DRAWN = re.compile(r"sample|rvs|normal\(|choice|rng")
FENCED = r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>.*)\n(?P<code>(?s:.*?))^(?P=indent)(?P=fence)$"
PART = re.compile(rf"{FENCED}|^\|(?P<cells>.*)\|$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced one."""

    language: str
    words: frozenset
    code: str
    line: int


class Row(NamedTuple):
    """Of a table: its cells, below the first row's."""

    heads: list
    cells: list
    line: int


def text_of(page):
    return page.read_text(encoding="utf-8")


@functools.cache
def parts(page):
    """Blocks and rows of tables, in order."""
    text, found, heads, end = text_of(page), [], [], 0
    for match in PART.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match["fence"]:
            language, *words = match["info"].split() or [""]
            found.append(Block(language, frozenset(words), textwrap.dedent(match["code"]), line))
        else:
            cells = [cell.strip() for cell in match["cells"].split("|")]
            heads = cells if match.start() > end + 1 else heads  # a table begins
            found.append(Row(heads, cells, line))
            end = match.end()
    return found


def blocks(page, language, *words):
    """The code of the blocks with just this info string."""
    return [
        part.code
        for part in parts(page)
        if isinstance(part, Block) and (part.language, part.words) == (language, frozenset(words))
    ]


def unfinished(page):
    """Statements that a prompt does not take: with an empty line within, or, before another one, none behind a loop."""
    for part in parts(page):
        if isinstance(part, Block) and part.language == "python":
            for match in re.finditer(r"^>>> .*\n(?:\.\.\..*\n)*+", part.code, re.MULTILINE):
                source = re.sub(r"^(>>> |\.\.\. ?)", "", match[0], flags=re.MULTILINE).removesuffix("\n")
                rest = part.code[match.end() :]
                ends = ">>>" not in rest or rest.startswith("\n") or codeop.compile_command(source)
                if not ends or "\n\n" in source.rstrip():
                    yield part.line, match[0]


def prose(page):
    """A page without its blocks."""
    return re.sub(FENCED, "", text_of(page), flags=re.MULTILINE)


# ---- running ---------------------------------------------------------------------------------------------


def run(page, frameworks=False):
    """Run what can be run here: how many blocks and cells that were, and the variables that they have made."""
    names, n = {"__name__": "__main__"}, 0
    for part in parts(page):
        where = f"{page.relative_to(ROOT)}, line {part.line}"
        if isinstance(part, Row):
            n += _run_row(part, names, frameworks, where)
        elif part.language == "python" and "no-run" not in part.words:
            unknown = part.words - PACKAGES - FRAMEWORKS
            assert not unknown, f"{where}: {unknown}"
            if all(_is_there(package, frameworks) for package in part.words):
                names = _run_code(part.code, names, where)
                n += 1
    return n, names


def _is_there(package, frameworks):
    return (
        package != "no-run"
        and (frameworks or package not in FRAMEWORKS)
        and bool(importlib.util.find_spec(package))
    )


def _run_code(code, names, where):
    if ">>>" not in code:
        exec(compile(code, where, "exec"), names)
        return names
    test = doctest.DocTestParser().get_doctest(code, names, where, None, None)
    assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0, where
    return test.globs


def _run_row(row, names, frameworks, where):
    if row.heads[0] not in COLUMNS or row.heads[1] != "fastdist" or row.cells == row.heads:
        return 0
    results = []
    for head, cell in zip(row.heads, row.cells, strict=True):
        package = COLUMNS.get(head, "fastdist")
        if (code := re.fullmatch(r"`([^`]+)`", cell)) and _is_there(package, frameworks):
            with _telling(where):
                results.append(_result(code[1], names, package))
    values = [value for value in results if isinstance(value, np.ndarray | np.generic)]
    if len(values) == 2:
        assert values[0].shape == values[1].shape, where
        if not DRAWN.search(" ".join(row.cells)):
            np.testing.assert_allclose(*values, rtol=1e-6, atol=1e-12, err_msg=where)
    return len(results)


def _result(code, names, package):
    """Of an expression; a statement has none, but variables, which each package has for itself."""
    own = names if package == "fastdist" else names.setdefault(f"variables of {package}", {})
    scope = own if package == "fastdist" else {**names, **own}
    if package == "torch":
        from_numpy = importlib.import_module("torch").from_numpy
        scope = {name: from_numpy(x) if isinstance(x, np.ndarray) else x for name, x in scope.items()}
    if assignment := re.fullmatch(r"(\w+) = (.*)", code):
        own[assignment[1]] = eval(assignment[2], scope)
        return None
    value = eval(code, scope)
    return value.numpy() if hasattr(value, "numpy") else value


@contextlib.contextmanager
def _telling(where):
    try:
        yield
    except Exception as error:
        error.add_note(where)
        raise


# ---- links -----------------------------------------------------------------------------------------------


def headings(page):
    """The anchors of a page's headings, as code hosts and MyST make them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page):
    """What a page links to, pictures included."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page)))
