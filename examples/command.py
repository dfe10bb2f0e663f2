"""The command line that the examples have in common.

parser    --seed, --quick and --output
at_least  type of an argument: an int that is not too small
write     a figure to its file
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def parser(description: str, output: str) -> argparse.ArgumentParser:
    """A parser with the arguments of every example; `output` is where its picture goes."""
    result = argparse.ArgumentParser(description=description)
    seed = "seed of everything random (default: %(default)s)"
    result.add_argument("--seed", type=at_least(0), default=0, metavar="N", help=seed)
    result.add_argument("--quick", action="store_true", help="a short run, to see it work")
    file = "file of the picture, its suffix gives the format (default: %(default)s)"
    result.add_argument("-o", "--output", type=_picture, default=Path(output), metavar="FILE", help=file)
    return result


def _picture(text: str) -> Path:
    """A file that a figure can go to: better to hear before the training than after it."""
    from matplotlib.figure import Figure  # whether it is there, each example says itself

    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"no file can be written to {text!r}")
    kinds = Figure().canvas.get_supported_filetypes()
    if path.suffix[1:] not in kinds:
        raise argparse.ArgumentTypeError(f"its suffix must be one of {', '.join(kinds)}, got {text!r}")
    return path


def at_least(least: int) -> Callable[[str], int]:
    """A type for an argument: what reads an int from a text, and raises if it is below `least`."""

    def whole(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be an integer >= {least}, got {text!r}")
        return int(text)

    return whole


def write(figure: Figure, output: Path) -> None:
    """Save a figure."""
    figure.savefig(output, dpi=100)
    print(f"Wrote {output}")
