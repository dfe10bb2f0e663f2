"""The command line, ``python -m fastdist``: arguments here, work in the modules of the commands.

demo   from measurements to batched Gaussians and a picture   (_demo)
info   what a bug report needs to know                        (_info)
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fastdist import _demo, _info


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be an integer >= 0, got {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastdist", description="Batched probability distributions for NumPy arrays."
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    about = "Fit Gaussians to measurements of irises, explain their shapes, draw a picture."
    demo = commands.add_parser("demo", help=about, description=about)
    output = "file of the picture (default: %(default)s)"
    demo.add_argument("--output", type=Path, default=Path("demo.png"), metavar="FILE", help=output)
    seed = "seed of the draws, an integer >= 0 (default: %(default)s)"
    demo.add_argument("--seed", type=_seed, default=0, metavar="N", help=seed)
    about = "Show versions, instruction set and machine, for a bug report."
    commands.add_parser("info", help=about, description=about)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; without a command, print the help.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.
    """
    try:
        try:
            _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough, as head has: what is left to write goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _run(arguments: Sequence[str] | None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "demo":
        _demo.run(options.output, options.seed)
    elif options.command == "info":
        _info.run()
    else:
        parser.print_help()


if __name__ == "__main__":
    main()
