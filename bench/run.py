"""How many times as long as fastdist its peers take: `python bench/run.py [--only WORDS] [--quick]`.

    one_core.py   the environment: one thread, one core
    cases.py      what is compared, what must and shall be reached
    peers.py      what each contender runs
    harness.py    the timing: contenders take turns
    agreement.py  whether the contenders do the same work, `--check`
    suite.py      from cases to results
    machine.py    what the results depend on
    roofs.py, .c  what no kernel can beat
    report.py     results as tables, in Markdown and in the README; `--check` compares
    plots.py      results as plots
    results/      of a whole run on each machine: .json, and made of it .md and .png

    bench_*.py    absolute times of kernels and calls by pytest-benchmark (`make bench-times`): how
                  does a change compare with an earlier state of the code, on a quiet machine

Ratios are of CPU times, taken round by round between contenders that alternate in one process on one
core; their medians are shown. So neither a neighbour on the core counts, nor one who takes half the
memory's bandwidth: he slows all of a round alike. pytest-benchmark times one contender to the end
before it begins the next, and cannot do this; what it can is keep times and compare them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import one_core

RESULTS = Path(__file__).with_name("results")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--only", default="", help="what has these words in its title: `mvn float32`")
    parser.add_argument("--quick", action="store_true", help="3 rounds; nothing is written")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--check", action="store_true", help="time nothing: do all contenders do the same?")
    parser.add_argument("--isa", choices=one_core.ONLY, help="keep everybody to this instruction set")
    parser.add_argument(
        "--output", type=Path, help="folder to write to, even a part (the whole goes to bench/results)"
    )
    options = parser.parse_args()
    output = options.output or (None if options.only or options.quick else RESULTS)

    cpus = one_core.settle(options.isa)
    import agreement  # now that the environment is settled: NumPy and torch load here
    import report
    import suite

    if options.check:
        agreement.check(options.only)
        return
    rounds = 3 if options.quick else options.rounds
    result = suite.run(options.only, rounds, output is not None, cpus)
    if output is not None:
        output.mkdir(exist_ok=True)
        path = output / f"{result['machine']}.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        report.write(path)


if __name__ == "__main__":
    main()
