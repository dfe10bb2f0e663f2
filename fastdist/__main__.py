"""The command line, ``python -m fastdist``: arguments here, work in the modules of the commands.

demo       from measurements to batched Gaussians and a picture   (_demo)
info       what a bug report needs to know                        (_info)
sample     draws to a file, in constant memory                    (_streamed)
log-prob   densities of a file of values, likewise
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastdist import _demo, _info, _streamed, files
from fastdist.distributions import Distribution


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be an integer >= 0, got {text!r}")
    return int(text)


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part.replace("_", "")) for part in text.split(",") if part.strip())
    except ValueError:
        shape = (-1,)
    if any(n < 0 for n in shape):
        raise argparse.ArgumentTypeError(f"must be integers >= 0 with commas between them, got {text!r}")
    return shape


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

    about = "Write draws to a file, in constant memory; interrupted, the same command goes on."
    sample = commands.add_parser("sample", help=about, description=about)
    _add_parameters(sample)
    sample.add_argument(
        "--shape",
        type=_shape,
        default=(),
        metavar="N[,N...]",
        help="sample shape, such as 1000000 (default: ())",
    )
    sample.add_argument("--seed", type=_seed, required=True, metavar="N", help="an integer >= 0")
    about = "Write log densities of the rows of an .npy file to a file, in constant memory, likewise."
    log_prob = commands.add_parser("log-prob", help=about, description=about)
    _add_parameters(log_prob)
    log_prob.add_argument("values", type=Path, metavar="VALUES", help=".npy file, which may exceed memory")
    for command in (sample, log_prob):
        command.add_argument(
            "--out",
            type=Path,
            required=True,
            metavar="FILE",
            help=".npy file or, with the package zarr, .zarr",
        )
        command.add_argument("--dtype", choices=("float32", "float64"), help="of the parameters")
        command.add_argument("--workers", type=int, metavar="N", help="threads, -1 for all CPUs (default: 1)")
        command.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


def _add_parameters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "parameters",
        type=Path,
        metavar="PARAMS",
        help=".npz file (fastdist.save, or arrays by name) or .json file",
    )
    parser.add_argument("--type", metavar="NAME", help="type of distribution, if the file does not tell it")


def _distribution(options: argparse.Namespace) -> Distribution:
    d = files.read(options.parameters, options.type)
    if options.dtype is None:
        return d
    return files.cast(d, np.dtype(options.dtype))


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
    elif options.command in ("sample", "log-prob"):
        try:
            d = _distribution(options)
            keywords = {"workers": options.workers, "quiet": options.quiet}
            if options.command == "sample":
                new = _streamed.sample(d, options.shape, options.seed, options.out, **keywords)
            else:
                new = _streamed.log_prob(d, options.values, options.out, **keywords)
        except KeyboardInterrupt:
            sys.exit(130)
        except (OSError, ValueError, TypeError, NotImplementedError, ImportError) as error:
            sys.exit(f"{parser.prog} {options.command}: {error}")
        if not new and not options.quiet:
            print(f"{options.out} is complete", file=sys.stderr)
    else:
        parser.print_help()


if __name__ == "__main__":
    main()
