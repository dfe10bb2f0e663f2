"""When will there be 370 ppm of carbon dioxide in the air? As of 1993: `python examples/gp_co2.py`.

Weekly means from Mauna Loa, 1958 to 2001 (C. D. Keeling and T. P. Whorf; the file that statsmodels ships). A
Gaussian process, with the kernel and the constants of C. E. Rasmussen and C. K. I. Williams, "Gaussian
Processes for Machine Learning", 2006, section 5.4.3, sees the weeks before 1994 and is asked for the weeks
of the 25 years after that, all together: questions about years, or about when something first happens, are
answered by draws of the whole curve.

    curve    f ~ MultivariateNormal(0, kernel(weeks))     trend, seasons, years that are off
    air      y = f + noise                                noise that lasts for weeks, and that of a week

One distribution has the air of all weeks that were seen and the curve of those that were not; `condition`
makes the posterior of it. A curve this smooth on weeks is settled by far fewer numbers than it has points:
its covariance is singular to the precision of float64, which `allow_singular=True` takes as it is, without a
"jitter" added to the diagonal. How noisy a week is, is chosen by the likelihood of the weeks that were seen.

load       years and ppm of the weeks that have a mean
kernel     covariances of the curve
posterior  the curve of some weeks, given the air of others
Forecast   what draws of it say
picture    the weeks, draws, the year of 370 ppm
"""

from __future__ import annotations

import datetime
import importlib.metadata
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastdist as fd
from command import at_least, parser, write

try:
    from matplotlib.figure import Figure

    import fastdist.plot

    STATSMODELS = importlib.metadata.distribution("statsmodels")
except ImportError as error:
    sys.exit(f"gp_co2.py: error: {error}; what it needs: pip install matplotlib statsmodels")

Array = NDArray[np.floating[Any]]
SEEN_UNTIL = 1994.0
WEEKS_AHEAD = 1300
WEEK = 7 / 365.25
LEVEL = 370.0
DRAWS = 2000
QUICK = 4  # of so many weeks a quick run takes one
NOISES = (0.2, 0.3, 0.4, 0.5)  # ppm


def load() -> tuple[Array, Array]:
    """Times in years, and ppm; weeks without a mean are left out."""
    file = STATSMODELS.locate_file("statsmodels/datasets/co2/co2.csv")
    rows = [line.split(",") for line in file.read_text().splitlines()[1:] if not line.endswith(",")]
    days = [datetime.datetime.strptime(date, "%Y%m%d").date().toordinal() for date, _ in rows]
    start = datetime.date(1958, 1, 1).toordinal()
    return 1958 + (np.array(days) - start) / 365.25, np.array([float(ppm) for _, ppm in rows])


def kernel(s: Array, t: Array) -> Array:
    """Covariances of the curve, in ppm^2, between times in years."""
    square = np.square(s[:, None] - t)
    trend = 66.0**2 * np.exp(-0.5 * square / 67.0**2)
    wave = np.sin(np.pi * (s[:, None] - t))
    seasons = 2.4**2 * np.exp(-0.5 * square / 90.0**2 - 2 * np.square(wave / 1.3))
    off_years = 0.66**2 * (1 + square / (2 * 0.78 * 1.2**2)) ** -0.78
    return np.asarray(trend + seasons + off_years)


def lasting_noise(s: Array) -> Array:
    """Covariances of the noise that lasts for some weeks."""
    return np.asarray(0.18**2 * np.exp(-0.5 * np.square((s[:, None] - s) / (1.6 / 12))))


def posterior(seen: Array, ppm: Array, ahead: Array) -> tuple[fd.MultivariateNormal, float, float]:
    """The curve at times ahead, what to add to it, and the noise of a week, the likeliest one."""
    both = np.concatenate([seen, ahead])
    covariance, n = kernel(both, both), len(seen)
    covariance[:n, :n] += lasting_noise(seen)
    mean = float(ppm.mean())
    air = [
        fd.MultivariateNormal(np.zeros(n), covariance[:n, :n] + noise**2 * np.eye(n)).log_prob(ppm - mean)
        for noise in NOISES
    ]
    noise = NOISES[int(np.argmax(air))]
    covariance[range(n), range(n)] += noise**2
    joint = fd.MultivariateNormal(np.zeros(len(both)), covariance, allow_singular=True)
    return joint.condition(slice(n), ppm - mean), mean, noise


class Forecast(NamedTuple):
    """Draws of the curve in ppm, shape (draws, weeks), and the first year of each that is above the level."""

    years: Array
    curves: Array
    first: NDArray[np.intp]


def forecast(
    d: fd.MultivariateNormal, mean: float, years: Array, n: int, rng: np.random.Generator
) -> Forecast:
    """By n draws."""
    curves = d.sample(n, rng=rng) + mean
    whole = np.unique(years.astype(int))
    annual = np.stack([curves[:, years.astype(int) == year].mean(-1) for year in whole], axis=-1)
    above = np.concatenate([annual > LEVEL, np.ones((n, 1), bool)], axis=-1)  # the last: not before the end
    return Forecast(years, curves, whole[0] + above.argmax(-1))


def seasonal_line(seen: Array, ppm: Array, ahead: Array) -> Array:
    """A parabola and two harmonics of the year, by least squares: what one would do without a process."""

    def features(t: Array) -> Array:
        turns = 2 * np.pi * t[:, None] * np.array([1, 2])
        powers = (t[:, None] - SEEN_UNTIL) ** np.arange(3)
        return np.concatenate([powers, np.cos(turns), np.sin(turns)], axis=-1)

    weights = np.linalg.lstsq(features(seen), ppm, rcond=None)[0]
    return np.asarray(features(ahead) @ weights)


def picture(t: Array, ppm: Array, found: Forecast, year: int) -> Figure:
    """The weeks, the curve's band and some draws; and the year of the level, which came true in `year`."""
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    weeks, when = figure.subplots(1, 2, width_ratios=[2, 1])
    seen, colors = t < SEEN_UNTIL, fastdist.plot.COLORS
    weeks.plot(t[seen], ppm[seen], ".", color="0.2", markersize=2, label="weeks that were seen")
    weeks.plot(t[~seen], ppm[~seen], ".", color=colors[1], markersize=3, label="weeks that came")
    low, high = np.quantile(found.curves, [0.025, 0.975], axis=0)
    weeks.fill_between(
        found.years, low, high, color=colors[0], alpha=0.25, linewidth=0, label="95 % of draws"
    )
    for i, curve in enumerate(found.curves[:4]):
        weeks.plot(found.years, curve, color=colors[0], linewidth=0.6, label=None if i else "draws")
    weeks.set(
        title=f"Carbon dioxide at Mauna Loa, forecast at {len(found.years)} weeks at once",
        xlabel="year",
        ylabel="carbon dioxide (ppm)",
        xlim=(1975, found.years[-1]),
        ylim=(325, None),
    )
    weeks.legend(loc="upper left")
    years, counts = np.unique(found.first, return_counts=True)
    when.bar(years, counts / len(found.first), color=colors[0])
    when.axvline(year, color=colors[1])
    when.set(title=f"First year above {LEVEL:g} ppm; it was {year}", xlabel="year", ylabel="share of draws")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Condition, draw, compare."""
    options = parser("A Gaussian process of carbon dioxide in the air.", "gp_co2.png")
    options.add_argument("--draws", type=at_least(1), default=DRAWS, metavar="N", help="default: %(default)s")
    given = options.parse_args(arguments)

    step = QUICK if given.quick else 1
    t, ppm = load()
    seen = t < SEEN_UNTIL
    times, air = t[seen][::step], ppm[seen][::step]
    years = SEEN_UNTIL + WEEK * step * np.arange(WEEKS_AHEAD // step)  # the weeks that came are among them
    d, mean, noise = posterior(times, air, years)
    print(f"{len(times)} weeks seen, {len(years)} ahead; noise of a week: {noise} ppm; rank {int(d.rank)}")

    number = np.rint((t[~seen] - SEEN_UNTIL) / WEEK).astype(int)
    came, truth = number[number % step == 0] // step, ppm[~seen][number % step == 0]
    gap = truth - (d.loc[came] + mean)
    spread = np.sqrt(d.variance[came] + noise**2 + 0.18**2)
    naive = truth - seasonal_line(times, air, years[came])
    print(f"On {len(gap)} weeks from 1994 to 2001, which it has not seen:")
    print(f"{np.sqrt(np.mean(gap**2)):8.2f}  ppm, root mean square error of the process")
    print(f"{np.sqrt(np.mean(naive**2)):8.2f}  ppm, that of a parabola with seasons")
    print(f"{100 * np.mean(np.abs(gap) < 1.96 * spread):8.1f}  % of the weeks are within its 95 % interval")

    found = forecast(d, mean, years, given.draws, fd.default_rng(given.seed))
    by_year = {year: ppm[t.astype(int) == year].mean() for year in np.unique(t.astype(int))}
    year = min(year for year, value in by_year.items() if value > LEVEL)
    print(
        f"First year with a mean above {LEVEL:g} ppm, by {given.draws} draws of the whole curve; it was "
        f"{year}:"
    )
    for one, count in zip(*np.unique(found.first, return_counts=True), strict=True):
        if count >= 0.01 * given.draws:
            print(f"{100 * count / given.draws:8.1f}  % {one}")
    write(picture(t, ppm, found, int(year)), given.output)


if __name__ == "__main__":
    main()
