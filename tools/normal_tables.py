"""Derives src_c/normal_tables.h: polynomials that the cdf family of Normal is made with, by mpmath.

    python tools/normal_tables.py --write    writes the header
    python tools/normal_tables.py --check    exits with 1 unless the header holds exactly these numbers

All interpolate at Chebyshev nodes, which is near the best that there is, and never ends differently.

The upper tail Phi(-z) = e^(-z^2/2) T(z): T(z) (z + 13/16) is a polynomial in (z - 5) / (z + 5), which is in
[-1, 1] for all z >= 0; after J. L. Schonfelder, "Chebyshev expansions for the error and related functions",
Math. Comp. 32 (1978) 1232-1240, and M. M. Shepherd and J. G. Laframboise, "Chebyshev approximation of
(1 + 2x) exp(x^2) erfc x in 0 <= x < inf", Math. Comp. 36 (1981) 249-253.

The quantile z of p, over x = 2 p - 1: a polynomial in w - 3/2, w = -log(1 - x^2) from 0 to 25/4; after
M. Giles, "Approximating the erfinv function", GPU Computing Gems, Jade edition (2011) 109-116. Not about the
middle, as the constant is to be most of the value at both ends.

The middle, (Phi(z) - 1/2) / z: a polynomial in z^2 - 1/8, |z| <= 1/2.
"""

from pathlib import Path

import mpmath
from header import main
from mills_tables import interpolate, mills
from mpmath import mp, mpf

HEADER = Path(__file__).parent.parent / "src_c" / "normal_tables.h"
OFFSET, MIDDLE, W_CENTRE, W_END = mpf(13) / 16, 5, mpf(3) / 2, mpf(25) / 4
N_TAIL, N_QUANTILE, N_CENTRE = (24, 13), (25, 13), 9  # coefficients, in double and for float


def of_tail(y):
    z = MIDDLE * (1 + y) / (1 - y)
    return mills(z) * (z + OFFSET) / mpmath.sqrt(2 * mp.pi)


def of_quantile(w):
    """The z with erf(z / sqrt(2)) = x, over x, by Newton's iteration on w."""
    x = mpmath.sqrt(-mpmath.expm1(-w))
    z = x * mpmath.sqrt(mp.pi / 2) * (1 + w / 8)
    while True:
        upper = mpmath.erfc(z / mpmath.sqrt(2)) / 2
        excess = -mpmath.log(4 * upper * (1 - upper)) - w
        step = excess / (mpmath.npdf(z) * (1 / upper - 1 / (1 - upper)))
        z -= step
        if abs(step) < mpf(10) ** -32 * z:
            return z / x


def of_centre(square):
    z = mpmath.sqrt(square)
    return mpmath.erf(z / mpmath.sqrt(2)) / 2 / z


def table(name, comment, f, centre, lowest, highest, n):
    """By powers of the distance from a centre; the constant in two parts, as its rounding would show."""
    numbers = interpolate(lambda t: f(centre + t), lowest - centre, highest - centre, n - 1)
    head = float(numbers[0])
    entries = [head.hex(), *(float(number).hex() for number in [numbers[0] - head, *numbers[1:]])]
    lines = [", ".join(entries[i : i + 4]) + "," for i in range(0, len(entries), 4)]
    body = "\n".join(f"    {line}" for line in lines)
    return f"/* {comment} */\nstatic const double {name}[{len(entries)}] = {{\n{body}\n}};\n"


def header():
    mp.dps = 50
    tail = (of_tail, mpf(0), mpf(-1), mpf(1))
    centre = (of_centre, mpf(1) / 8, mpf(0), mpf(1) / 4)
    quantile = (of_quantile, W_CENTRE, mpf(0), W_END)
    return "\n".join(
        [
            "/* normal_tables.h - written by tools/normal_tables.py, which tells what they are.\n"
            " * Constants first, each in two parts. */",
            "#ifndef FD_NORMAL_TABLES_H",
            "#define FD_NORMAL_TABLES_H",
            "",
            table("fd_tail", "T(z) (z + 13/16) by (z - 5) / (z + 5).", *tail, N_TAIL[0]),
            table("fd_tail_single", "The same to 2^-28.", *tail, N_TAIL[1]),
            table("fd_quantile", "z / x by w - 3/2.", *quantile, N_QUANTILE[0]),
            table("fd_quantile_single", "The same to 2^-28.", *quantile, N_QUANTILE[1]),
            table("fd_centre", "(Phi(z) - 1/2) / z by z^2 - 1/8.", *centre, N_CENTRE),
            "#endif\n",
        ]
    )


if __name__ == "__main__":
    main(__doc__, HEADER, header)
