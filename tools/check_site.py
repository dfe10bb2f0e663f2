"""Checks what `make docs` made: `check_site.py DIRECTORY`.

alone      no page and no style asks another host for a script, style, font, picture or frame
links      whatever a page links to within the site is there, anchors too
pictures   all have a text in their place
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser loads by itself; a link that a reader follows may lead anywhere.
LOADED = {
    ("script", "src"), ("link", "href"), ("iframe", "src"), ("object", "data"), ("embed", "src"),
    ("use", "href"), ("img", "src"), ("img", "srcset"), ("source", "src"), ("source", "srcset"),
    ("video", "src"), ("audio", "src"),
}  # fmt: skip
NOT_LOADED = {"canonical", "index", "search", "next", "prev", "author", "help", "copyright", "license"}
# In styles, and in what a script writes down as text.
IN_STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?\s*((?:https?:)?//[^\"')\s]+)")


class Page(HTMLParser):
    """Anchors, links, and what is loaded."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = {"", "top"}
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.without_text: list[str] = []
        self.in_style = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.in_style = tag == "style"
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.loaded += IN_STYLE.findall(given.get("style", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        # Sphinx puts the file's name where a picture has no text.
        text = given.get("alt", "")
        if tag == "img" and (not text or text.endswith((".png", ".svg"))):
            self.without_text.append(given.get("src", ""))
        relations = set(given.get("rel", "").split())
        if tag == "link" and relations & NOT_LOADED:
            return
        for name, value in given.items():
            if (tag, name) in LOADED:
                self.loaded += [part.split()[0] for part in value.split(",")] if name == "srcset" else [value]

    def handle_data(self, data: str) -> None:
        if self.in_style:
            self.loaded += IN_STYLE.findall(data)


def elsewhere(address: str) -> bool:
    split = urlsplit(address)
    return bool(split.netloc) or split.scheme in ("http", "https", "ftp")


def check(site: Path) -> list[str]:
    # The theme keeps a template among its styles.
    paths = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    pages = {path.resolve(): Page(path) for path in paths}
    if not pages:
        return [f"no pages in {site}"]
    wrong = []
    for path, page in pages.items():
        where = path.relative_to(site.resolve())
        wrong += [f"{where}: asks {address}" for address in page.loaded if elsewhere(address)]
        wrong += [f"{where}: a picture without a text, {source}" for source in page.without_text]
        for link in page.links + [one for one in page.loaded if not one.startswith("data:")]:
            if elsewhere(link) or urlsplit(link).scheme:
                continue
            split = urlsplit(link)
            target = (path.parent / unquote(split.path)).resolve() if split.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                wrong.append(f"{where}: {link} is not there")
            elif target in pages and unquote(split.fragment) not in pages[target].anchors:
                wrong.append(f"{where}: {link} has no such anchor")
    for style in sorted(site.rglob("*.css")):
        found = IN_STYLE.findall(style.read_text(encoding="utf-8"))
        wrong += [f"{style.relative_to(site)}: asks {address}" for address in found]
    return wrong


def main() -> None:
    site = Path(sys.argv[1])
    wrong = check(site)
    if wrong:
        sys.exit("check_site:\n  " + "\n  ".join(dict.fromkeys(wrong)))
    print(f"{site}: no page asks another host for anything, and every link within leads somewhere")


if __name__ == "__main__":
    main()
