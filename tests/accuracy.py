"""The cdf family of Normal against mpmath: the largest errors, region by region, as docs/accuracy.md tells.

    python tests/accuracy.py --write    writes the table
    python tests/accuracy.py --check    exits with 1 unless it holds just these numbers

The points are drawn from fixed seeds, log-uniformly where a region spans magnitudes, with those around the places where
the computation changes from one way to another. As results have the same bits everywhere, so has the table.
test_cdf.py measures some of the points and holds them against the table.
"""

import argparse
import sys
from pathlib import Path

import mpmath
import numpy as np

import fastdist as fd

FILE = Path(__file__).parent.parent / "docs" / "accuracy.md"
DTYPES = (np.float32, np.float64)
N = 1000

# ---- exact values at mpmath numbers ------------------------------------------------------------------


def upper(z):
    """Phi(-z) for z >= 0."""
    return mpmath.erfc(z / mpmath.sqrt(2)) / 2


def cdf(z):
    return upper(-z) if z < 0 else 1 - upper(z)


def log_cdf(z):
    """Beyond 1e4 by the asymptotic series, whose next term is below 1e-26."""
    if z < -1e4:
        return -(z**2) / 2 - mpmath.log(-z) - mpmath.log(2 * mpmath.pi) / 2 - 1 / z**2 + 5 / (2 * z**4)
    return mpmath.log(upper(-z)) if z < 0 else mpmath.log1p(-upper(z))


def hazard(z):
    """phi(z) / Phi(-z)."""
    return z + 1 / z - 2 / z**3 if z > 1e4 else mpmath.npdf(z) / cdf(-z)


def half_normal_cdf(z):
    return mpmath.erf(z / mpmath.sqrt(2))


# A quantile is refined from what was found: Newton's step leaves the square of 1e-16, and of 1e-8 in float32 two do.
def icdf(p, found):
    for _ in range(3):
        found -= (cdf(found) - p) / mpmath.npdf(found)
    return found


def log_icdf(log_p, found):
    for _ in range(3):
        found -= (log_cdf(found) - log_p) / hazard(-found)
    return found


# ---- regions ------------------------------------------------------------------------------------------


def between(low, high):
    return lambda u: low + (high - low) * u


def sizes(low, high, sign=1):
    """Log-uniform between powers of ten."""
    return lambda u: sign * 10.0 ** (low + (high - low) * u)


def from_half(u):
    """Probabilities at distances from 1/2 of 1e-16 to 1/2 on either side."""
    away = 0.5 * 10.0 ** (-16 * np.abs(2 * u - 1))
    return np.clip(0.5 + np.where(u < 0.5, -away, away), 5e-324, 1 - 2.0**-53)


STANDARD = {dtype: fd.Normal(dtype(0), dtype(1)) for dtype in DTYPES}
HALF = {dtype: fd.HalfNormal(dtype(1)) for dtype in DTYPES}


def slope(method):
    """The gradient of a method by its value, its cotangent 1."""

    def pulled(dtype, x):
        one, pullback = fd.vjp(getattr(STANDARD[dtype], method), x)
        return pullback(np.ones_like(one))["value"]

    return pulled


def value(method):
    return lambda dtype, x: getattr(STANDARD[dtype], method)(x)


LOWER = {"-38 to -1": between(-38, -1), "-1 to 1": between(-1, 1), "1 to 9": between(1, 9)}
FAR = {"-1e150 to -38": sizes(1.58, 150, -1)}
UPPER = {"-9 to -1": between(-9, -1), "-1 to 1": between(-1, 1), "1 to 38": between(1, 38)}
PROBABILITIES = {
    "1e-307 to 5e-4": sizes(-307, -3.3),
    "5e-4 to 1 - 5e-4": between(5e-4, 1 - 5e-4),
    "around 1/2": from_half,
    "1 - 5e-4 to 1 - 2^-53": lambda u: 1 - 2.0 ** (-11 - 42 * u),
}
LOG_PROBABILITIES = {
    "-1e307 to -7.6": sizes(0.88, 307, -1),
    "-7.6 to -0.29": between(-7.6, -0.29),
    "around -log 2": lambda u: -np.log(2) * (1 + np.sign(u - 0.5) * 2.0 ** (-52 * np.abs(2 * u - 1))),
    "-0.29 to -1e-307": sizes(-307, -0.54, -1),
}

# Name: what computes it, the exact function (of the point and what was found, if that says), regions.
ROWS = {
    "cdf": (value("cdf"), lambda x, _: cdf(x), LOWER),
    "survival_function": (value("survival_function"), lambda x, _: cdf(-x), UPPER),
    "log_cdf": (value("log_cdf"), lambda x, _: log_cdf(x), FAR | LOWER),
    "log_survival_function": (value("log_survival_function"), lambda x, _: log_cdf(-x), UPPER),
    "icdf": (value("icdf"), icdf, PROBABILITIES),
    "isf": (value("isf"), lambda p, found: -icdf(p, -found), PROBABILITIES),
    "log_icdf": (value("log_icdf"), log_icdf, LOG_PROBABILITIES),
    "HalfNormal.cdf": (
        lambda dtype, x: HALF[dtype].cdf(x),
        lambda x, _: half_normal_cdf(x),
        {"1e-307 to 0.5": sizes(-307, -0.301), "0.5 to 9": between(0.5, 9)},
    ),
    "cdf, gradient": (slope("cdf"), lambda x, _: mpmath.npdf(x), {"-37 to 37": between(-37, 37)}),
    "log_cdf, gradient": (
        slope("log_cdf"),
        lambda x, _: hazard(-x),
        {"-1e150 to -38": sizes(1.58, 150, -1), "-38 to 37": between(-38, 37)},
    ),
    "icdf, gradient": (
        slope("icdf"),
        lambda p, _: 1 / mpmath.npdf(icdf(p, mpmath.mpf(float(STANDARD[np.float64].icdf(float(p)))))),
        {key: PROBABILITIES[key] for key in ("1e-307 to 5e-4", "5e-4 to 1 - 5e-4", "1 - 5e-4 to 1 - 2^-53")},
    ),
}

# Around these points z, and probabilities, and logarithms of them.
BORDERS = {
    "z": [-38.5, -5, -0.5, 0.5, 5, 8.3, 38.5, 39, 1e9, -1e9],
    "p": [5e-4, 1 - 5e-4, 0.25, 0.5, 0.75],
    "log p": [-7.6, -0.29, -np.log(2), -1.0, -1250.0, -1251.0, -1e20],
}


def points(name, region, dtype, n):
    """Of the region, with the borders in it."""
    u = np.random.default_rng([len(name), len(region), n]).uniform(size=n)
    with np.errstate(over="ignore", under="ignore"):
        x = ROWS[name][2][region](u).astype(dtype)
    kind = "log p" if name == "log_icdf" else "p" if name.startswith(("icdf", "isf")) else "z"
    borders = np.array(BORDERS[kind], dtype)
    borders = np.concatenate(
        [borders, np.nextafter(borders, dtype(-np.inf)), np.nextafter(borders, dtype(np.inf))]
    )
    x = np.concatenate([x, borders[(borders >= x.min()) & (borders <= x.max())]])
    ends = {"p": (0, 1), "log p": (-np.inf, 0), "z": (-np.inf, np.inf)}[kind]
    return x[(x > ends[0]) & (x < ends[1])]


def errors(name, region, dtype, n=N):
    """Points, and by how many units of the last place results are off, where exact ones are normal numbers."""
    compute, exact, _ = ROWS[name]
    x = points(name, region, dtype, n)
    limits, found = np.finfo(dtype), []
    kept = []
    with mpmath.workdps(60):
        for one, got in zip(x.tolist(), compute(dtype, x).tolist(), strict=True):
            if not np.isfinite(got):
                wanted = (
                    exact(mpmath.mpf(one), mpmath.mpf(0)) if name not in ("icdf", "isf", "log_icdf") else None
                )
                if wanted is not None and abs(wanted) > limits.max:
                    continue
                found.append(np.inf)
            else:
                if not abs(got) >= limits.tiny:
                    continue
                wanted = exact(mpmath.mpf(one), mpmath.mpf(got))
                found.append(float(abs(got - wanted) / float(np.spacing(dtype(abs(wanted))))))
            kept.append(one)
    return np.array(kept), np.array(found)


def table(n=N):
    for name, (_, _, regions) in ROWS.items():
        for region in regions:
            yield name, region, *(errors(name, region, dtype, n)[1].max() for dtype in DTYPES)


def stated():
    """The numbers of the file, by name and region: in float32 and in float64."""
    rows = [
        line.strip("| \n").split(" | ") for line in FILE.read_text().splitlines() if line.startswith("| `")
    ]
    return {(name.replace("`", ""), region): (float(a), float(b)) for name, region, a, b in rows}


HEAD = f"""# Accuracy of the cdf family

Written by `python tests/accuracy.py --write`: how far results are from exact ones at most, in units of the last place
of the exact one (0.5 is perfect rounding), against mpmath with 60 digits; for loc 0 and scale 1, at {N} points a
region and around its borders. They are drawn from fixed seeds, log-uniformly where a region spans magnitudes.
Results have the same bits on every instruction set, and so has this table. It leaves out results that are subnormal
numbers, which are within one unit of these; and the rounding of the sum `loc + scale * z` of quantiles. For any loc and
scale `(value - loc) / scale` goes on with twice the digits of its dtype, so that these errors are those of any Normal.

| method | where | float32 | float64 |
|---|---|---|---|
"""


def text():
    rows = (f"| `{name}` | {region} | {a:.2f} | {b:.2f} |\n" for name, region, a, b in table())
    return HEAD + "".join(rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--write", action="store_true")
    group.add_argument("--check", action="store_true")
    if parser.parse_args().write:
        FILE.write_text(text())
    elif FILE.read_text() != text():
        sys.exit(f"{FILE.name} does not hold the numbers that this script measures")


if __name__ == "__main__":
    main()
