"""Derives src_c/ziggurat_tables.h: the layers of the normal ziggurat and what lies beside them, by mpmath.

    python tools/ziggurat_tables.py --write    writes the header
    python tools/ziggurat_tables.py --check    exits with 1 unless the header holds exactly these numbers

Under f(x) = exp(-x^2 / 2), x > 0, of area A, lie as many rectangles of area A / 1024 as there is room for
(McFarland, "A modified ziggurat algorithm for generating exponentially and normally distributed pseudorandom
numbers", J. Stat. Comput. Simul. 86(7), 2016): layer i spans x < x[i], f(x[i + 1]) < y < f(x[i]), the lowest
one, 1023, from y = 0. They are numbered so that those for which there is no room come first: with an index of
10 random bits, those below OUTSIDE have no layer, the others need no test.

What the layers leave, OUTSIDE / 1024 of the area, are the wedges: wedge i lies right of layer i, under the
curve; that of the last index without room, x = 0, is the cap above all layers, and that of layer 1023 is the
tail. A wedge is picked by the alias method (Walker, "An efficient method for generating discrete random
variables with general distributions", ACM TOMS 3(3), 1977; Vose 1991), to 2^-54 of a layer.
"""

from pathlib import Path

from header import main
from mpmath import erfc, exp, mp, mpf, pi, sqrt

LAYERS = 1024
FRACTION_BITS = 54
HEADER = Path(__file__).parent.parent / "src_c" / "ziggurat_tables.h"


def density(x):
    return exp(-x * x / 2)


def area_beyond(x):
    return sqrt(pi / 2) * erfc(x / sqrt(mpf(2)))


def last(holds, low, high):
    """Up to where `holds`, between low and high, by bisection to all digits."""
    while high - low > mpf(10) ** (5 - mp.dps):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def width(bottom, area):
    """The wider of the two rectangles of this area from height `bottom` up to the curve, or None."""
    # x (f(x) - bottom) grows as long as its derivative is positive.
    widest = last(lambda x: (1 - x**2) * density(x) > bottom, mpf(0), mpf(1))
    if widest * (density(widest) - bottom) < area:
        return None
    return last(lambda x: x * (density(x) - bottom) > area, widest, mpf(10))


def edges():
    """x[0..1023]: the widths of the layers; 0 where there is none."""
    area = sqrt(pi / 2) / LAYERS
    widths, bottom = [], mpf(0)
    while (x := width(bottom, area)) is not None:
        widths.append(x)
        bottom = density(x)
    return [mpf(0)] * (LAYERS - len(widths)) + widths[::-1]


def wedge_areas(x):
    """Of all wedges, 0 where there is none; they add up to what the layers leave."""
    outside = sum(1 for edge in x if edge == 0)
    areas = [mpf(0)] * (outside - 1)
    for left, right in zip(x[outside - 1 :], x[outside:], strict=False):
        areas.append(area_beyond(left) - area_beyond(right) - (right - left) * density(right))
    areas.append(area_beyond(x[-1]))
    assert abs(sum(areas) / sqrt(pi / 2) - mpf(outside) / LAYERS) < mpf(10) ** -40
    return areas


def slack(left, right):
    """The largest u + v on the curve inside a wedge, which it crosses from (u, v) = (0, 1) to (1, 0): 1 where
    it is convex, x > 1, and more where it rises above that chord.
    """
    slope = (density(left) - density(right)) / (right - left)
    x = last(lambda x: x * density(x) < slope, left, min(right, mpf(1)))  # -f' = x f(x) grows up to x = 1
    if left >= 1 or x * density(x) > slope:
        return mpf(1)
    return (x - left) / (right - left) + (density(x) - density(right)) / (density(left) - density(right))


def alias_table(areas):
    """For each index (keep << 10 | alias): its own wedge with probability keep / 2^54, else wedge alias."""
    one = 1 << FRACTION_BITS
    total = sum(areas)
    share = [int(mp.nint(area / total * len(areas) * one)) for area in areas]
    share[share.index(max(share))] += one * len(share) - sum(share)  # what the rounding left
    small = [i for i, s in enumerate(share) if s < one]
    large = [i for i, s in enumerate(share) if s >= one]
    keep, alias = [0] * len(share), list(range(len(share)))
    while small:
        i, j = small.pop(), large[-1]
        keep[i], alias[i] = share[i], j
        share[j] -= one - share[i]
        if share[j] < one:
            small.append(large.pop())
    assert all(share[j] == one for j in large)
    return [keep[i] << 10 | alias[i] for i in range(len(share))]


def table(kind, name, comment, entries, in_a_row):
    lines = [", ".join(entries[i : i + in_a_row]) + "," for i in range(0, len(entries), in_a_row)]
    return f"/* {comment} */\nstatic const {kind} {name}[{len(entries)}] = {{\n" + "\n".join(lines) + "\n};\n"


def doubles(name, comment, numbers):
    return table("double", name, comment, [float(number).hex() for number in numbers], 4)


def header():
    mp.dps = 50
    x = edges()
    outside = sum(1 for edge in x if edge == 0)
    r = x[-1]
    slacks = [mpf(1)] * (outside - 1)
    slacks += [slack(left, right) for left, right in zip(x[outside - 1 :], x[outside:], strict=False)]
    slacks += [mpf(1)]
    alias = [f"0x{entry:016x}" for entry in alias_table(wedge_areas(x))]
    return "\n".join(
        [
            "/* ziggurat_tables.h - written by tools/ziggurat_tables.py, which tells what they are. */",
            "#ifndef FD_ZIGGURAT_TABLES_H",
            "#define FD_ZIGGURAT_TABLES_H",
            "",
            f"enum {{ FD_ZIGGURAT_OUTSIDE = {outside}, FD_ZIGGURAT_TAIL = {LAYERS - 1} }};",
            "",
            "/* Where the tail begins, and its inverse. */",
            f"static const double fd_ziggurat_r = {float(r).hex()};",
            f"static const double fd_ziggurat_inverse_r = {float(1 / r).hex()};",
            "",
            doubles("fd_ziggurat_x", "Edges of the layers, the last one twice.", [*x, r]),
            doubles("fd_ziggurat_f", "exp(-x^2 / 2) at the edges.", [density(edge) for edge in [*x, r]]),
            doubles("fd_ziggurat_slack", "The largest u + v in each wedge.", slacks),
            table("uint64_t", "fd_ziggurat_alias", "keep << 10 | alias of each index.", alias, 4),
            "#endif\n",
        ]
    )


if __name__ == "__main__":
    main(__doc__, HEADER, header)
