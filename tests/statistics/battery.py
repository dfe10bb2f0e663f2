"""The statistical battery: runs parts of it, keeps what they find, and writes docs/statistics.md.

    python tests/statistics/battery.py                       all parts, some hours, then the report
    python tests/statistics/battery.py --parts bits normals  these parts and the report, with what earlier runs found
    python tests/statistics/battery.py --parts               the report alone
    python tests/statistics/battery.py --draws 1e7           fewer numbers, to try it out
    python tests/statistics/battery.py --words raw 5         words of seed 5 to stdout, without end

Each part leaves a text file in build/battery/, a line per p-value as soon as it is known, so that a part
that is stopped early has its p-values up to there: "p-value<tab>test<tab>name<tab>p<tab>numbers so far".
dieharder, TestU01's headers and libraries, and a C compiler ($CC) must be there for their parts (in Debian:
dieharder, and libtestu01-0-dev of its section non-free); the report names the parts that did not run.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import broken as breakages
import checks
import numpy as np

import fastdist as fd

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
REPORT = ROOT / "docs" / "statistics.md"
ALARM = 1e-3  # how often a right generator's whole report says "suspect"
CHUNK = 1 << 21
UNIT = 16 * CHUNK  # draws are a multiple of it, so that shares of them are whole chunks

# Tests of dieharder: all that it calls good itself. 200 to 203 have a parameter, of which `dieharder -a` tries
# many values, for hours; here it has one: 3 bits, 2 dims, permutations of 5, lag 7.
DIEHARDER = {
    **{number: [] for number in (0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 15, 16, 17, 100, 101, 102)},
    200: ["-n", "3"],
    201: ["-n", "2"],
    202: ["-n", "5"],
    203: ["-n", "7"],
    **{number: [] for number in (204, 205, 206, 207, 208, 209)},
}

SEEDS = {
    "bits": 1000,
    "normals": 1001,
    "crush-raw": 1002,
    "spawned": 1003,
    "neighbours": 1004,
    "raw": 1005,
    "distinct": 1006,
    "cross": 1007,
    "small-crush-raw": 1008,
    "small-crush-normals": 1009,
    "small-crush-reversed": 1012,
    "dieharder-raw": 1010,
    "dieharder-normals": 1011,
    "broken": None,
}


class Findings:
    """The file of a part."""

    def __init__(self, directory, part):
        directory.mkdir(parents=True, exist_ok=True)
        self.file = open(directory / f"{part}.txt", "w")  # noqa: SIM115

    def add(self, test, name, p, n):
        self.line("p-value", test, name, repr(float(p)), n)

    def line(self, *fields):
        print(*fields, sep="\t", file=self.file, flush=True)
        print(*fields, sep="  ", flush=True)

    def add_all(self, results, n):
        for name, p in results:
            self.add("-", name, p, n)


# ---- our own tests -----------------------------------------------------------------------------


def normals(findings, seed, draws):
    b = fd.BlockSFC64(seed)
    findings.add_all(checks.run(checks.of_normals(), lambda n: fd.standard_normal(n, rng=b), draws), draws)


def spawned(findings, seed, draws):
    """64 spawned streams, a normal of each in turn."""
    streams, draws = fd.BlockSFC64(seed).spawn(64), draws // 8
    of = checks.of_interleaved(64)
    findings.add_all(checks.run(of, lambda n: checks.interleaved(streams, n), draws, CHUNK), draws)


def neighbours(findings, seed, draws):
    """16 keys that differ in few bits, and 16 small keys: a normal of each in turn."""
    for name, streams in (("few bits", checks.neighbours(seed)), ("small keys", checks.small_keys())):
        n = draws // 16
        for test, p in checks.run(
            checks.of_interleaved(16), lambda n, streams=streams: checks.interleaved(streams, n), n, CHUNK
        ):
            findings.add("-", f"{name}: {test}", p, n)


def cross(findings, seed, draws):
    """Normals against those of other keys and positions, and against the raw words of their own key."""
    draws //= 16
    first = fd.BlockSFC64(seed)
    key0, key1 = (int(word) for word in first.state["state"]["key"])
    others = {
        "the next key": checks.with_key((key0 + 1, key1)),
        "the next key of a carry": checks.with_key((key0, key1 + 1)),
        "a spawned key": first.spawn(1)[0],
        "the jumped stream": first.jumped(),
        "its own raw words": None,
    }
    for name, other in others.items():
        b = checks.with_key((key0, key1))
        sums, pairs = np.zeros(2), np.zeros(64 * 64)
        for _ in range(draws // CHUNK):
            x = fd.standard_normal(CHUNK, rng=b)
            if other is None:
                v = (b.random_raw(CHUNK) >> np.uint64(11)) * 2.0**-53
                y = checks.NORMAL.icdf(np.clip(v, 2.0**-54, 1 - 2.0**-53))
            else:
                y = fd.standard_normal(CHUNK, rng=other)
            sums += (x @ y, (x * x - 1) @ (y * y - 1) / 2)
            u, v = ((checks.NORMAL.cdf(z) * 64).astype(np.int64).clip(0, 63) for z in (x, y))
            pairs += np.bincount(u * 64 + v, minlength=64 * 64)
        n = int(pairs.sum())
        for what, total in zip(("correlation", "correlation of squares"), sums, strict=True):
            findings.add("-", f"{what} with {name}", checks.p_of_z(total / n**0.5), n)
        p = checks.p_of_chi2(checks.chi2_of(pairs, n / 4096), 4095)
        findings.add("-", f"chi square of pairs with {name}, 64 x 64 bins", p, n)


def raw(findings, seed, draws):
    b = fd.BlockSFC64(seed)
    draws //= 8
    findings.add_all(checks.run([checks.Words()], b.random_raw, draws), draws)
    # The first word of each lane of each block, right behind the keyed hash.
    of = checks.Words()
    b = fd.BlockSFC64(seed + 10**6)
    for _ in range(draws // CHUNK):
        of.update(np.ascontiguousarray(b.random_raw(CHUNK).reshape(-1, 1024)[:, :8]).ravel())
    for name, p in of.results():
        findings.add("-", f"first of each lane: {name}", p, of.n)


def distinct(findings, seed, draws):
    """Equal pairs among many doubles at once: about as many as the doubles' own spacing makes."""
    n = min(1 << 26, draws)
    of = checks.Distinct(n)
    of.update(fd.standard_normal(n, rng=seed))
    findings.add_all(of.results(), n)


def bits(findings, seed, draws):
    """The same bits whatever makes them: not a matter of probability. At least 1e8 normals each."""
    draws = max(draws // 16, min(4 * UNIT, draws))
    before, n_chunk = fd.isa(), draws // CHUNK
    n, cuts = n_chunk * CHUNK, np.random.default_rng(seed)
    ways = {f"{isa}, {workers} workers": (isa, workers) for isa in fd.isas() for workers in (1, 2, 7)}
    streams = {name: fd.BlockSFC64(seed) for name in [*ways, "random cuts", "float32", "raw"]}
    one, equal = fd.BlockSFC64(seed), dict.fromkeys(streams, True)
    raw_of = {isa: fd.BlockSFC64(seed) for isa in fd.isas()}

    def on(isa, function, *arguments, **keywords):
        fd.set_isa(isa)
        return function(*arguments, **keywords)

    for _ in range(n_chunk):
        wanted = on("scalar", fd.standard_normal, CHUNK, rng=one).view(np.uint64)
        for name, (isa, workers) in ways.items():
            x = on(isa, fd.standard_normal, CHUNK, rng=streams[name], workers=workers)
            equal[name] &= np.array_equal(x.view(np.uint64), wanted)
        x, at, i = np.empty(CHUNK), 0, 0
        while at < CHUNK:
            size = min(int(cuts.choice([1, 7, 100, 1024, 5000, 300_000])), CHUNK - at)
            isa = fd.isas()[i % len(fd.isas())]
            on(isa, fd.standard_normal, rng=streams["random cuts"], out=x[at : at + size], workers=i % 3 + 1)
            at, i = at + size, i + 1
        equal["random cuts"] &= np.array_equal(x.view(np.uint64), wanted)
        rounded = wanted.view(np.float64).astype(np.float32)
        isa = fd.isas()[-1]
        x = on(isa, fd.standard_normal, CHUNK, dtype=np.float32, rng=streams["float32"], workers=2)
        equal["float32"] &= np.array_equal(x, rounded)
        words = [on(isa, b.random_raw, CHUNK) for isa, b in raw_of.items()]
        equal["raw"] &= all(np.array_equal(words[0], other) for other in words)
    fd.set_isa(before)
    names = {
        "random cuts": "random cuts into calls, ISAs and 1 to 3 workers in turn",
        "float32": f"float32 ({isa}, 2 workers) against the float64, rounded",
        "raw": f"raw words of {', '.join(fd.isas())}",
    }
    for name, same in equal.items():
        findings.line("equal", names.get(name, name), "yes" if same else "NO", n)


def broken(findings, _, draws):
    """What our own tests of normals make of streams that are broken on purpose."""
    for name in breakages.BREAKAGES:
        n = draws // breakages.HARD.get(name, 512)
        caught, tried, (p, test) = breakages.summary(name, n)
        findings.line("broken", name, n, caught, tried, repr(p), test)


# ---- other people's batteries --------------------------------------------------------------------


REVERSED = np.array([int(f"{byte:08b}"[::-1], 2) for byte in range(256)], np.uint8)


def write_words(kind, seed):
    """The stream's words to stdout until nobody reads any more; their number, to stderr."""
    b, n = fd.BlockSFC64(seed), 0
    try:
        while True:
            if kind == "raw":
                words = b.random_raw(1 << 16)
            elif kind == "reversed":
                words = REVERSED[b.random_raw(1 << 16).view(np.uint8)].view(np.uint32).byteswap()
            else:
                words = (checks.NORMAL.cdf(fd.standard_normal(1 << 17, rng=b)) * 2.0**32).astype(np.uint32)
            sys.stdout.buffer.write(words.data)
            n += words.nbytes // 4
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(n, file=sys.stderr)


def fed(command, kind, seed, take):
    """Run a command with words on its stdin, `take` each line of its stdout; the words it was fed."""
    feeding = [sys.executable, __file__, "--words", kind, str(seed)]
    with subprocess.Popen(feeding, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as feeder:
        with subprocess.Popen(command, stdin=feeder.stdout, stdout=subprocess.PIPE, text=True) as tester:
            feeder.stdout.close()
            for line in tester.stdout:
                take(line)
        count = feeder.stderr.read()
    if tester.returncode:
        raise RuntimeError(f"{command[0]} ended with {tester.returncode}")
    return int(count)


def dieharder(kind):
    def part(findings, seed, _):
        if not shutil.which("dieharder"):
            findings.line("skipped", "dieharder is not installed")
            return
        for number, options in DIEHARDER.items():
            lines = []
            n = fed(
                ["dieharder", "-g", "200", "-d", str(number), *options],
                kind,
                seed + 1000 * number,
                lines.append,
            )
            for line in lines:
                fields = [field.strip() for field in line.split("|")]
                if len(fields) == 6 and fields[1].isdigit():
                    findings.add(number, f"{fields[0]} {fields[1]}", fields[4], n)

    return part


def compiled(directory):
    """crush.c as a program, or None."""
    program = Path(directory) / "crush"
    libraries = ["-ltestu01", "-ltestu01probdist", "-ltestu01mylib", "-lm"]
    # Debian has the headers in a directory of their own.
    options = ["-O2", "-isystem", "/usr/include/testu01", "-o", str(program)]
    command = [os.environ.get("CC", "cc"), str(HERE / "crush.c"), *options, *libraries]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return program if done.returncode == 0 else None


def testu01(kind, *arguments):
    def part(findings, seed, _):
        with tempfile.TemporaryDirectory() as directory:
            program = compiled(directory)
            if program is None:
                findings.line("skipped", "TestU01 is not installed")
                return

            def take(line):
                if line.startswith("p-value"):
                    findings.line(*line.rstrip("\n").split("\t"))

            fed([str(program), *arguments], kind, seed, take)

    return part


PARTS = {
    "bits": bits,
    "normals": normals,
    "spawned": spawned,
    "neighbours": neighbours,
    "cross": cross,
    "raw": raw,
    "distinct": distinct,
    "small-crush-raw": testu01("raw", "small"),
    "small-crush-reversed": testu01("reversed", "small"),
    "small-crush-normals": testu01("normals", "small"),
    "dieharder-raw": dieharder("raw"),
    "dieharder-normals": dieharder("normals"),
    "crush-raw": testu01("raw", "crush", "1", "96"),
    "broken": broken,
}


# ---- the report ----------------------------------------------------------------------------------

OF_DIEHARDER = (
    "The tests that dieharder calls good itself, each on other words; those with a parameter (200 to 203) with one value of "
    "it, where `dieharder -a` tries many."
)
ABOUT = {
    "normals": "One stream of normals. u is the normal mapped back through the cdf.",
    "spawned": "64 spawned streams, a normal of each in turn.",
    "neighbours": "16 keys that differ in few bits, and the keys (0 to 7, 0) and (0, 1 to 8): a normal of each in turn.",
    "cross": "Normals against others of the same place in other streams.",
    "raw": "One stream of raw words; and the first words of each block.",
    "distinct": "Equal pairs among one lot of doubles; those expected come of the spacing of doubles.",
    "small-crush-raw": "TestU01's SmallCrush on raw words, 32 bits at a time, lower half first.",
    "small-crush-reversed": "The same on other words with their 32 bits in reverse.",
    "small-crush-normals": "TestU01's SmallCrush on the first 32 bits of u.",
    "dieharder-raw": f"dieharder on raw words, lower half first. {OF_DIEHARDER}",
    "dieharder-normals": f"dieharder on the first 32 bits of u. {OF_DIEHARDER}",
    "broken": (
        "The tests of normals on the reference implementation, broken on purpose in one way at a time: p-values below "
        f"{breakages.ALARM:g} by the number of tests catch it."
    ),
    "crush-raw": "TestU01's Crush on raw words, 32 bits at a time, lower half first; its 96 tests in order.",
}

HEAD = """\
# Statistical battery of BlockSFC64

Written by `make battery` (tests/statistics/battery.py); `make test` does some of it, with fewer numbers.
{versions}

**Verdict: {verdict}.** {m} p-values; the smallest, two-sided, is {worst:.2g} ({where}), and that of as many
independent ones is smaller in {chance:.0%} of all cases. The rule: suspect if any two-sided p-value, 2 min(p, 1 - p), is
below {alarm:g} / {m} = {limit:.2g}. A right generator then fails at most once in {once} reports, however the tests hang
together (Bonferroni). {low} of the two-sided p-values are below 0.01, where {low_expected:.1f} are expected. Counts of rare events
have mid-p-values. Seeds are fixed, and none was ever exchanged for another.

| part | p-values | numbers | smallest, two-sided |
|---|---|---|---|
"""


def read(directory, part):
    """The p-values of a part, (test, name, p, numbers), and its other lines."""
    file = directory / f"{part}.txt"
    values, other = [], []
    for line in file.read_text().splitlines() if file.exists() else []:
        kind, *fields = line.split("\t")
        if kind == "p-value":
            values.append((fields[0], fields[1].strip(), float(fields[2]), int(fields[3])))
        elif kind in ("equal", "skipped", "broken"):
            other.append((kind, fields))
    return values, other


def versions():
    found = [f"fastdist {fd.__version__}", f"NumPy {np.__version__}", f"Python {sys.version.split()[0]}"]
    if shutil.which("dieharder"):
        text = subprocess.run(["dieharder", "-h"], capture_output=True, text=True, check=False).stdout
        found += [f"dieharder {words.split()[0]}" for words in text.split(" version ")[1:2]]
    with tempfile.TemporaryDirectory() as directory:
        if program := compiled(directory):
            found.append(
                subprocess.run(
                    [program, "version"], capture_output=True, text=True, check=True
                ).stdout.strip()
            )
    return f"{', '.join(found)}; instruction sets {', '.join(fd.isas())}, `{fd.isa()}` where none is named."


def of_numbers(part, values):
    """How many numbers a part took; each test of dieharder takes its own."""
    if part.startswith("dieharder"):
        return sum({test: n for test, _, _, n in values}.values())
    return max(n for *_, n in values)


def plain(number):
    return f"{number:.3g}".replace("e+0", "e").replace("e+", "e")


def report(directory):
    parts = {part: read(directory, part) for part in PARTS}
    everything = [(part, *value) for part, (values, _) in parts.items() for value in values]
    m = len(everything)
    ranked = sorted((checks.two_sided(p), part, name) for part, _, name, p, _ in everything)
    worst, limit = ranked[0][0], ALARM / m
    unequal = [
        fields
        for _, other in parts.values()
        for kind, fields in other
        if kind == "equal" and fields[1] != "yes"
    ]
    text = HEAD.format(
        versions=versions(),
        verdict="suspect" if worst < limit or unequal else "nothing suspect",
        m=m,
        worst=worst,
        where=f"{ranked[0][2]}, in {ranked[0][1]}",
        chance=1 - (1 - min(worst, 1)) ** m,
        alarm=ALARM,
        limit=limit,
        once=round(1 / ALARM),
        low=sum(p < 0.01 for p, *_ in ranked),
        low_expected=0.01 * m,
    )
    for part, (values, _) in parts.items():
        if values:
            smallest = min(checks.two_sided(p) for _, _, p, _ in values)
            text += f"| {part} | {len(values)} | {plain(of_numbers(part, values))} | {smallest:.2g} |\n"
    for part, (values, other) in parts.items():
        text += f"\n## {part}\n"
        if part == "broken" and other:
            text += (
                ABOUT[part]
                + "\n\n| broken how | normals | tests that caught it | smallest p, two-sided |\n|---|---|---|---|\n"
            )
            for _, (name, n, caught, tried, p, test) in other:
                text += f"| {name} | {plain(int(n))} | {caught} of {tried} | {float(p):.2g}, {test} |\n"
            continue
        if part == "bits" and other:
            text += "The same bits as the scalar row's, one worker, draws of 2^21 at a time.\n\n"
            text += "| made by | equal | numbers |\n|---|---|---|\n"
            text += "".join(f"| {name} | {same} | {plain(int(n))} |\n" for _, (name, same, n) in other)
            continue
        text += ABOUT.get(part, "") + "\n"
        for kind, fields in other:
            text += f"\nNot run: {fields[0]}.\n" if kind == "skipped" else ""
        if not values and not other:
            text += "\nNot run.\n"
        missing = (
            set(map(str, DIEHARDER)) - {test for test, *_ in values} if part.startswith("dieharder") else ()
        )
        if values and missing:
            text += f"\nNot run: {', '.join(sorted(missing))}.\n"
        if part == "crush-raw" and values and int(values[-1][0]) < 96:
            text += f"\nStopped for want of time after test {values[-1][0]} of 96; the others were not run.\n"
        if values:
            counted = "words so far" if "crush" in part else "words" if "dieharder" in part else "numbers"
            text += f"\n| test | p | {counted} |\n|---|---|---|\n"
            for test, name, p, n in values:
                text += f"| {'' if test == '-' else test + ' '}{name} | {p:.4g} | {plain(n)} |\n"
    REPORT.write_text(text)
    print(f"{REPORT.name}: {m} p-values, smallest {worst:.2g}, limit {limit:.2g}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--draws", type=float, default=2**31, help="normals of the long tests")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "battery")
    parser.add_argument("--words", nargs=2, metavar=("KIND", "SEED"), help="KIND: raw, reversed, normals")
    arguments = parser.parse_args()
    if arguments.words:
        write_words(arguments.words[0], int(arguments.words[1]))
        return
    draws = max(1, round(arguments.draws / UNIT)) * UNIT
    for part in arguments.parts:
        print(f"---- {part}", flush=True)
        PARTS[part](Findings(arguments.results, part), SEEDS[part], draws)
    report(arguments.results)


if __name__ == "__main__":
    main()
