"""Checks that imports in Cython files go one way, too, as import-linter reads Python files alone.

The layers are those of its contracts in pyproject.toml. A `.pyx` or `.pxd` file may import or cimport no
module of a higher layer, no independent one of its own layer (``a | b``), not the package that the layers are
in, and, if the contract is exhaustive, none that has no layer.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
PACKAGE = LINTER["root_package"]

STRING_OR_COMMENT = re.compile(
    r'"""(?:\\.|.)*?"""'
    r"|'''(?:\\.|.)*?'''"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'(?:\\.|[^'\\\n])*'"
    r"|#[^\n]*",
    re.DOTALL,
)
GAP = r"(?:[ \t]|\\\n)"
REST = r"(?:\\\n|[^\n;])*"
IMPORT = re.compile(
    rf"(?:^|[;:]){GAP}*(?:"
    rf"from{GAP}+(?P<module>\.*\w[\w.]*(?={GAP})|\.+){GAP}*c?import\b{GAP}*(?P<names>\([^)]*\)|{REST})"
    rf"|c?import{GAP}+(?P<modules>{REST}))",
    re.MULTILINE,
)


def listed(text: str) -> list[str]:
    """What stands between commas, without brackets and `as`."""
    parts = re.sub(r"[()\\\s]+", " ", text).split(",")
    return [part.split()[0] for part in parts if part.strip()]


def absolute(module: str, package: str) -> str:
    """A module that may be named relative to a package."""
    name = module.lstrip(".")
    if name == module:
        return name
    parents = package.split(".")
    return ".".join([*parents[: len(parents) + 1 - (len(module) - len(name))], *filter(None, [name])])


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or any(path.with_suffix(suffix).exists() for suffix in (".py", ".pyx", ".pxd"))


def imports_of(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and module of every import of the package's."""
    source = STRING_OR_COMMENT.sub(lambda found: "\n" * found[0].count("\n"), source)
    for found in IMPORT.finditer(source):
        if found["module"]:
            module = absolute(found["module"], package)
            names = [f"{module}.{name}" for name in listed(found["names"])]
            modules = [name if is_module(name) else module for name in names]
        else:
            modules = listed(found["modules"])
        line = source.count("\n", 0, found.start()) + 1
        yield from (
            (line, module) for module in dict.fromkeys(modules) if f"{module}.".startswith(f"{PACKAGE}.")
        )


def place(module: str, layers: list[list[str]]) -> tuple[int, str] | None:
    """The layer that a module is in, the highest one being 0, and which part of it."""
    for number, parts in enumerate(layers):
        for part in parts:
            if f"{module}.".startswith(f"{part}."):
                return number, part
    return None


def complaints(importer: str, imported: str) -> Iterator[str]:
    for contract in LINTER["contracts"]:
        for container in contract["containers"]:
            if not importer.startswith(f"{container}."):
                continue
            layers = [
                [f"{container}.{part.strip(' ()')}" for part in layer.split("|")]
                for layer in contract["layers"]
            ]
            ignored = [[f"{container}.{name}" for name in contract.get("exhaustive_ignores", ())]]
            here, there = place(importer, layers), place(imported, layers)
            if imported == container:
                yield f"{importer} imports {imported}, the package that it is in"
            elif here and there:
                if there[0] < here[0]:
                    yield f"{importer} imports {imported}, which is above it"
                elif there[0] == here[0] and there[1] != here[1]:
                    yield f"{importer} imports {imported}, of which it is to be independent"
            elif contract.get("exhaustive"):
                for module, its_place in ((importer, here), (imported, there)):
                    if not its_place and module.startswith(f"{container}.") and not place(module, ignored):
                        yield f"{module} is in no layer"


def main() -> None:
    files = sorted(path for path in (ROOT / PACKAGE).rglob("*.p[yx][xd]") if path.suffix in (".pyx", ".pxd"))
    n, found = 0, []
    for path in files:
        file = path.relative_to(ROOT)
        package = ".".join(file.parent.parts)
        for line, imported in imports_of(path.read_text(encoding="utf-8"), package):
            n += 1
            found += [
                f"{file}:{line}: {complaint}" for complaint in complaints(f"{package}.{path.stem}", imported)
            ]
    print(*found, f"{n} imports in {len(files)} Cython files, {len(found)} against the layers", sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
