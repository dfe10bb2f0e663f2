"""What pages take from the rest of the repository.

`% bench/results`   in a page: the tables of `bench/results`, each machine's
links               to files that are pages here lead to these
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

RESULTS = Path(__file__).parents[2] / "bench" / "results"
MARK = "% bench/results"
PAGES = {
    r"CHANGELOG\.md": "/inside/changes.md",
    r"CONTRIBUTING\.md": "/inside/index.md",
    r"README\.md": "/index.md",
    r"bench/results(?:/[\w-]+\.md)?": "/benchmarks.md",
}


def prepare(app: Sphinx, docname: str, source: list[str]) -> None:
    """A page's text before it is parsed; a table's headings go a level down, below the page's title."""
    up = "../" * (docname.count("/") + 1)
    if MARK in source[0]:
        tables = [
            f"```{{include}} {up}bench/results/{path.name}\n:heading-offset: 1\n:relative-images:\n```\n"
            for path in sorted(RESULTS.glob("*.md"))
        ]
        source[0] = source[0].replace(MARK, "\n".join(tables))
    for file, page in PAGES.items():
        source[0] = re.sub(rf"\]\({up}{file}(#[\w-]*)?\)", rf"]({page}\1)", source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls it."""
    app.connect("source-read", prepare)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
