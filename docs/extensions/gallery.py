"""Pages of the gallery: the programs of `examples`, as they are, and what they show and say.

Each runs as a process of its own, as a user would start it, so that the memory and the seeds of one are
nobody else's. (sphinx-gallery would run them all within Sphinx.)

gallery_options  by -D, is handed to each in place of "--quick"
{example} NAME   in a page: text, picture, output and source of examples/NAME.py; `:alt:` tells the picture
                 (and pages of the API list the programs that use a class)
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
MADE = ROOT / "build" / "gallery"
HEADER = re.compile(r'"""(.*?)"""\n', re.DOTALL)
PAGE = re.compile(r"^```\{example\} (\w+)\n:alt: (.*)\n```$", re.MULTILINE)


def pages(app: Sphinx) -> dict[str, str]:
    """Names of pages by example."""
    found = {}
    for path in sorted((Path(app.srcdir) / "gallery").glob("*.md")):
        if match := PAGE.search(path.read_text(encoding="utf-8")):
            found[match[1]] = f"gallery/{path.stem}"
    return found


def make(app: Sphinx) -> None:
    """Run the programs, one a core, unless they have run since they were changed."""
    options = app.config.gallery_options.split()
    MADE.mkdir(parents=True, exist_ok=True)

    def run(name: str) -> None:
        path = EXAMPLES / f"{name}.py"
        sources = [path, *(EXAMPLES / f"{one}.py" for one in shared(path))]
        changed = max(source.stat().st_mtime for source in sources)
        said = MADE / f"{name}.txt"
        first = f"$ python examples/{name}.py {' '.join(options)}".rstrip()
        if said.exists() and said.stat().st_mtime > changed and said.read_text().startswith(first + "\n"):
            return
        command = [sys.executable, path, "--output", MADE / f"{name}.png", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ExtensionError(f"{' '.join(map(str, command))}:\n{done.stderr}")
        lines = [line for line in done.stdout.splitlines() if not line.startswith("Wrote ")]
        said.write_text("\n".join([first, *lines]) + "\n")
        logging.getLogger(__name__).info("ran %s", name)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(run, pages(app)))


def expand(app: Sphinx, docname: str, source: list[str]) -> None:
    """A page's text before it is parsed: in place of a program's name, what there is of it."""

    def told(found: re.Match[str]) -> str:
        name, alt = found.groups()
        path = EXAMPLES / f"{name}.py"
        app.env.note_dependency(path)
        app.env.note_dependency(MADE / f"{name}.txt")
        text, parts = split(HEADER.match(path.read_text(encoding="utf-8"))[1])
        up = "../" * (docname.count("/") + 1)
        downloads = ", ".join(
            f"{{download}}`{one}.py <{up}examples/{one}.py>`" for one in [name, *shared(path)]
        )
        whole = f"A whole run, without `--quick`, draws [this picture](/{name}.png)."
        return f"""{text}

```{{image}} {up}build/gallery/{name}.png
:alt: {alt}
```

## What it says

```{{literalinclude}} {up}build/gallery/{name}.txt
:language: text
```

{whole if "--quick" in app.config.gallery_options else ""}

## The program

{downloads}

```text
{parts}
```

```{{literalinclude}} {up}examples/{name}.py
:language: python
:start-at: from __future__
```
"""

    source[0] = PAGE.sub(told, source[0])


def shared(path: Path) -> list[str]:
    """Modules of `examples` that a program imports."""
    imported = re.findall(r"^from (\w+) import", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [name for name in imported if (EXAMPLES / f"{name}.py").exists()]


def split(text: str) -> tuple[str, str]:
    """A program's docstring: what is Markdown but for indented formulas, and the map of its parts."""
    *paragraphs, parts = text.strip().split("\n\n")
    fenced = [
        f"```text\n{paragraph}\n```" if paragraph.startswith("    ") else paragraph
        for paragraph in paragraphs
    ]
    return "\n\n".join(fenced), parts


def mention(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """At the end of a class's docstring, the programs that use it."""
    short = name.removeprefix("fastdist.")
    if what not in ("class", "function") or "." in short:
        return
    used = re.compile(rf"\bfd\.{short}\b")
    docs = [
        page
        for example, page in pages(app).items()
        if used.search((EXAMPLES / f"{example}.py").read_text(encoding="utf-8"))
    ]
    if docs:
        lines += ["", ".. rubric:: In the gallery", "", ", ".join(f":doc:`/{page}`" for page in docs), ""]


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls it."""
    app.add_config_value("gallery_options", "--quick", "env", str)
    app.connect("builder-inited", make)
    app.connect("autodoc-process-docstring", mention, priority=900)  # after numpydoc
    app.connect("source-read", expand)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
