"""The tables of `bench/results`, each machine's, where a page has the line `% bench/results`."""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

RESULTS = Path(__file__).parents[2] / "bench" / "results"
MARK = "% bench/results"


def insert(app: Sphinx, docname: str, source: list[str]) -> None:
    """A page's text before it is parsed; a table's headings go a level down, below the page's title."""
    if MARK not in source[0]:
        return
    up = "../" * (docname.count("/") + 1)
    tables = [
        f"```{{include}} {up}bench/results/{path.name}\n:heading-offset: 1\n:relative-images:\n```\n"
        for path in sorted(RESULTS.glob("*.md"))
    ]
    source[0] = source[0].replace(MARK, "\n".join(tables))


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls it."""
    app.connect("source-read", insert)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
