"""Derives src_c/mills_tables.h: polynomials and nodes that truncated normals are made with, by mpmath.

    python tools/mills_tables.py --write    writes the header
    python tools/mills_tables.py --check    exits with 1 unless the header holds exactly these numbers

Mills' ratio M(z) = Phi(-z) / phi(z) times z + 1, a polynomial in y = (z - 5) / (z + 5) that interpolates at
the Chebyshev nodes of [-1, 1], 0 <= z <= infinity; so J. L. Schonfelder, "Chebyshev expansions for the error
and related functions", Math. Comp. 32 (1978) 1232-1240. The z with -log Phi(-z) = u, over r + 2, r = sqrt(u),
likewise in (r - 2) / (r + 2), to start an iteration from. Nodes and weights of Gauss and Legendre on [0, 1].
"""

from pathlib import Path

import mpmath
from header import main
from mpmath import mp, mpf

HEADER = Path(__file__).parent.parent / "src_c" / "mills_tables.h"
MILLS_DEGREE, GUESS_DEGREE, N_NODE = 22, 8, 32
GUESS_END = 36  # of sqrt(u)


def mills(z):
    if z > 60:  # its continued fraction
        rest = z
        for n in range(80, 0, -1):
            rest = z + n / rest
        return 1 / rest
    return mpmath.exp(z * z / 2) * mpmath.erfc(z / mpmath.sqrt(2)) * mpmath.sqrt(mp.pi / 2)


def deviate(u):
    """By Newton's iteration on the concave -log Phi(-z), from where it climbs."""
    z = mpmath.sqrt(max(2 * u - 2 * mpmath.log(2), 0))
    while True:
        ratio = mills(z)
        step = (z * z / 2 + mpmath.log(2 * mp.pi) / 2 - mpmath.log(ratio) - u) * ratio
        z -= step
        if abs(step) < mpf(10) ** -30:
            return z


def interpolate(f, lowest, highest, degree):
    """Coefficients of the polynomial through f at Chebyshev's nodes, from the constant on."""
    middle, half, n = (lowest + highest) / 2, (highest - lowest) / 2, degree + 1
    nodes = [middle + half * mpmath.cos(mp.pi * (2 * i + 1) / (2 * n)) for i in range(n)]
    powers = mpmath.matrix([[y**j for j in range(n)] for y in nodes])
    return list(mpmath.lu_solve(powers, mpmath.matrix([f(y) for y in nodes])))


def nodes_and_weights():
    """Roots of the Legendre polynomial by Newton's iteration, from Tricomi's estimate."""
    pairs = []
    for i in range(N_NODE):
        x = mpmath.cos(mp.pi * (4 * i + 3) / (4 * N_NODE + 2))
        for _ in range(8):
            below, at = mpf(1), x
            for k in range(2, N_NODE + 1):
                below, at = at, ((2 * k - 1) * x * at - (k - 1) * below) / k
            slope = N_NODE * (x * at - below) / (x * x - 1)
            x -= at / slope
        pairs.append(((1 - x) / 2, 1 / ((1 - x * x) * slope * slope)))
    return pairs


def table(name, comment, numbers):
    entries = [float(number).hex() for number in numbers]
    lines = [", ".join(entries[i : i + 4]) + "," for i in range(0, len(entries), 4)]
    return f"/* {comment} */\nstatic const double {name}[{len(entries)}] = {{\n" + "\n".join(lines) + "\n};\n"


def header():
    mp.dps = 50

    def of_mills(y):
        z = 5 * (1 + y) / (1 - y)
        return mills(z) * (z + 1)

    def of_deviate(y):
        r = 2 * (1 + y) / (1 - y)
        return deviate(r * r) / (r + 2)

    first, last = ((r - 2) / (r + 2) for r in (mpmath.sqrt(mpmath.log(2)), mpf(GUESS_END)))
    pairs = nodes_and_weights()
    return "\n".join(
        [
            "/* mills_tables.h - written by tools/mills_tables.py, which tells what they are. */",
            "#ifndef FD_MILLS_TABLES_H",
            "#define FD_MILLS_TABLES_H",
            "",
            table(
                "fd_mills",
                "(z + 1) M(z), the constant first.",
                interpolate(of_mills, -1, mpf(1), MILLS_DEGREE),
            ),
            table(
                "fd_deviate_guess",
                "The deviate over r + 2, to 2e-5 of the deviate.",
                interpolate(of_deviate, first, last, GUESS_DEGREE),
            ),
            table("fd_gauss_node", "Gauss and Legendre's nodes on [0, 1].", [x for x, _ in pairs]),
            table("fd_gauss_weight", "And their weights.", [w for _, w in pairs]),
            "#endif\n",
        ]
    )


if __name__ == "__main__":
    main(__doc__, HEADER, header)
