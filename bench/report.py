"""Results as tables: `python bench/report.py [--check] [MACHINE]`.

write      from results/MACHINE.json: its .md and .png, and the README's table if that shows MACHINE
check      that all that is made of results is what it would be now (in `make lint`)
markdown   every row, by group, with what must and shall be reached (from cases.py) and whether it is
main_rows  the README's table, between its markers; the first one says which machine it shows

With MACHINE the README shows that one from now on.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from pathlib import Path

from cases import CASES, OUT, Case

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
MARKED = re.compile(r"(?<=<!-- bench: )(\S+) -->\n.*?(?=\n<!-- end of bench -->)", re.DOTALL)

AIM, MUST, MISSED = "✓✓", "✓", "✗"
FRESH_MARK = "†"
# The order of columns; whoever is not named comes last.
PEERS = ("numpy", "numpy's bare noise", "torch", "scipy", "randomgen", "mkl_random")
IN_README = ("numpy", "torch", "scipy", "randomgen", "mkl_random")


def number(ratio: float) -> str:
    """Three digits, never an exponent."""
    return f"{ratio:.0f}" if abs(ratio) >= 100 else f"{ratio:.3g}"


def mark(case: Case, row: dict, peer: str) -> str:
    """What has been reached; empty where nothing is asked for."""
    if peer not in case.targets or row["kind"] not in case.judged:
        return ""
    must, aim = case.targets[peer]
    ratio = row["ratios"][peer][1]
    if ratio < must:
        return MISSED
    return AIM if aim is not None and ratio >= aim else MUST


def markdown(result: dict) -> str:
    cases = {case.key: case for case in CASES}
    rows = [(cases[row["group"], row["what"], row["dtype"]], row) for row in result["cases"]]
    marks = [found for case, row in rows for peer in row["ratios"] if (found := mark(case, row, peer))]
    lines = [
        f"# How many times as long as fastdist: {result['machine']}",
        "",
        f"Medians over {result['rounds']} alternating rounds in one process on one core, in CPU time, "
        f"{result['date']}. 2.0 means: takes twice as long as fastdist.",
        "",
        f"- Behind a ratio: {AIM} the aim is reached, {MUST} the must is, {MISSED} it is missed; and what "
        "they are (must / aim).",
        "- `out=`: results go to memory that is there already; fresh: to new memory; colour alone: what a "
        "draw costs beyond its noise.",
        f"- {FRESH_MARK}: has no `out=`, and took new memory.",
        "- (B, d, S): size of the batch, size of an event, samples of each.",
        "",
        f"{len(marks)} ratios are asked for: {marks.count(AIM) + marks.count(MUST)} reach the must, "
        f"{marks.count(MISSED)} miss it.",
        "",
        "## Machine",
        "",
        *(f"- {name}: {value}" for name, value in result["facts"].items()),
    ]
    if "import ms" in result:
        lines.append(f"- import of fastdist: {result['import ms']:.1f} ms over numpy.random")
    for name, roof in result.get("roofs", {}).items():
        lines.append(f"- roof, {name}: {', '.join(f'{key} {value:.3g}' for key, value in roof.items())}")
    for group in dict.fromkeys(case.group for case, _ in rows):
        lines += ["", f"## {group}", "", *_table([pair for pair in rows if pair[0].group == group])]
    if result["curves"]:
        lines += ["", "## Cost against d, B and S", ""]
        verbs = dict.fromkeys(curve["verb"] for curve in result["curves"])
        lines += [f"![{verb} against d, B and S]({result['machine']}-{verb}.png)" for verb in verbs]
    lines += ["", "## What is run", ""]
    for verb, statements in result["statements"].items():
        lines += [f"- {verb}", *(f"  - {who}: `{code}`" for who, code in statements.items())]
    return "\n".join(lines) + "\n"


def _table(rows: list[tuple[Case, dict]]) -> list[str]:
    peers = _in_order({peer for _, row in rows for peer in row["ratios"]})
    lines = [_line(["what", "dtype", "result", *peers]), _line(["---"] * 3 + ["--:"] * len(peers))]
    for case, row in rows:
        cells = []
        for peer in peers:
            if peer not in row["ratios"]:
                cells.append("")
                continue
            cell = number(row["ratios"][peer][1]) + FRESH_MARK * (peer in row["fresh"])
            found = mark(case, row, peer)
            if found:
                wanted = " / ".join(f"{target:g}" for target in case.targets[peer] if target is not None)
                cell += f" {found} ({wanted})"
            cells.append(cell)
        lines.append(_line([row["what"], row["dtype"], row["kind"], *cells]))
    return lines


def main_rows(result: dict) -> str:
    """A row for each case that has a main kind."""
    shown = {(*case.key, case.main): case for case in CASES if case.main}
    facts = result["facts"]
    versions = ", ".join(f"{peer} {facts[peer]}" for peer in IN_README if peer in facts)
    head = (
        f"{facts['CPU']}, {facts['instruction set']}, one core; {versions}; float64 where nothing else is "
        "said. Below 1 they are faster. All rows, what each one runs, and plots: "
        f"[bench/results](bench/results/{result['machine']}.md)."
    )
    lines = [
        *textwrap.wrap(head, 120, break_on_hyphens=False, break_long_words=False),
        "",
        _line(["", "", *IN_README]),
        _line(["---"] * 2 + ["--:"] * len(IN_README)),
    ]
    group = None
    for row in result["cases"]:
        if (row["group"], row["what"], row["dtype"], row["kind"]) in shown:
            what = row["what"] + ", float32" * (row["dtype"] == "float32")
            what += ", into `out=`" * (row["kind"] == OUT)
            cells = [number(row["ratios"][peer][1]) if peer in row["ratios"] else "–" for peer in IN_README]
            lines.append(_line([row["group"] if row["group"] != group else "", what, *cells]))
            group = row["group"]
    return "\n".join(lines)


def _in_order(peers: set[str]) -> list[str]:
    return sorted(peers, key=lambda peer: (PEERS.index(peer) if peer in PEERS else len(PEERS), peer))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _readme(machine: str | None = None) -> tuple[str, str]:
    """The README as it is and as it should be, showing `machine` or what its marker says."""
    text = README.read_text(encoding="utf-8")
    machine = machine or MARKED.search(text)[1]
    table = main_rows(_read(HERE / "results" / f"{machine}.json"))
    return text, MARKED.sub(lambda _: f"{machine} -->\n\n{table}\n", text)


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path) -> None:
    import plots  # matplotlib, which a check does without

    result = _read(path)
    path.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
    plots.draw(result, path.parent)
    marked = MARKED.search(README.read_text(encoding="utf-8"))
    if path.parent == HERE / "results" and marked and marked[1] == result["machine"]:
        README.write_text(_readme()[1], encoding="utf-8")


def check() -> None:
    wrong = [
        path.name
        for path in sorted((HERE / "results").glob("*.json"))
        if path.with_suffix(".md").read_text(encoding="utf-8") != markdown(_read(path))
    ]
    now, due = _readme()
    if now != due:
        wrong.append(README.name)
    if wrong:
        sys.exit(f"not what bench/report.py makes of bench/results: {', '.join(wrong)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("machine", nargs="?", help="show this one in the README")
    options = parser.parse_args()
    if options.check:
        check()
        return
    for path in sorted((HERE / "results").glob("*.json")):
        write(path)
    if options.machine:
        README.write_text(_readme(options.machine)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
