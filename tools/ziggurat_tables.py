"""Derives src_c/ziggurat_tables.h: the 1024 layers of the normal ziggurat, by mpmath at 60 digits.

    python tools/ziggurat_tables.py --write    writes the header
    python tools/ziggurat_tables.py --check    exits with 1 unless the header holds exactly these numbers

Layers of equal area v under f(x) = exp(-x^2 / 2), x > 0 (Marsaglia and Tsang, "The ziggurat method for
generating random variables", J. Stat. Software 5(8), 2000). Layer 0 is the base strip with the tail
beyond x[1] = r; layer i >= 1 spans x < x[i], f(x[i]) < y < f(x[i + 1]); x[1024] = 0.
"""

import argparse
import sys
from pathlib import Path

from mpmath import erfc, exp, log, mp, mpf, pi, sqrt

LAYERS = 1024
HEADER = Path(__file__).parent.parent / "src_c" / "ziggurat_tables.h"


def density(x):
    return exp(-x * x / 2)


def layers(r):
    """Edges x[0..1023] for a tail from r on, and the gap left above the topmost layer."""
    area = r * density(r) + sqrt(pi / 2) * erfc(r / sqrt(mpf(2)))
    edges, height = [area / density(r), r], density(r)
    while len(edges) < LAYERS:
        height += area / edges[-1]
        if height >= 1:
            return edges, mpf(-1)
        edges.append(sqrt(-2 * log(height)))
    return edges, 1 - (height + area / edges[-1])


def solve():
    """The r whose topmost layer ends at density 1, by bisection to all digits."""
    low, high = mpf(3), mpf(6)
    while high - low > mpf(10) ** (-mp.dps + 5):
        middle = (low + high) / 2
        if layers(middle)[1] < 0:
            low = middle
        else:
            high = middle
    return high


def table(name, comment, numbers):
    rows = [float(number).hex() for number in numbers]
    lines = [", ".join(rows[i : i + 4]) + "," for i in range(0, len(rows), 4)]
    return f"/* {comment} */\nstatic const double {name}[{len(rows)}] = {{\n" + "\n".join(lines) + "\n};\n"


def header():
    mp.dps = 60
    r = solve()
    edges = [*layers(r)[0], mpf(0)]
    heights = [mpf(0), *(density(x) for x in edges[1:])]
    reject = 1 - sum(edges[i + 1] / edges[i] for i in range(LAYERS)) / LAYERS
    return "\n".join(
        [
            "/* ziggurat_tables.h - written by tools/ziggurat_tables.py, which tells what the numbers are.",
            f" * {float(reject) * 100:.3f} % of the candidates are not inside the next layer's edge. */",
            "#ifndef FD_ZIGGURAT_TABLES_H",
            "#define FD_ZIGGURAT_TABLES_H",
            "",
            f"enum {{ FD_ZIGGURAT_LAYERS = {LAYERS} }};",
            "",
            "/* Where the tail begins, and its inverse. */",
            f"static const double fd_ziggurat_r = {float(r).hex()};",
            f"static const double fd_ziggurat_inverse_r = {float(1 / r).hex()};",
            "",
            table("fd_ziggurat_x", "Edges of the layers.", edges),
            table("fd_ziggurat_f", "exp(-x^2 / 2) at the edges; 0 below the base.", heights),
            "#endif\n",
        ]
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--write", action="store_true")
    group.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if arguments.write:
        HEADER.write_text(header())
    elif HEADER.read_text() != header():
        sys.exit(f"{HEADER.name} does not hold the numbers that this script derives")


if __name__ == "__main__":
    main()
