"""What a portfolio of 500 shares may lose in a month: `python examples/portfolio_var.py`.

Returns of shares go together, by factors that all of them share:

    log returns   x ~ LowRankMultivariateNormal(loc, F, D)     four factors, and what is each share's own
    prices        e^x, log-normal                              TransformedDistribution(x, ExpTransform)
    loss          1 - sum of w e^x                             of which the worst 1 % are the question

A million scenarios of 500 prices are 4 GB. They are streamed: a few thousand at a time are drawn into one
array, and only their losses are kept. A stream of draws is the same however it is cut, and so is the result.
The value at risk is the loss that one month in a hundred exceeds, the expected shortfall the mean of these
(P. Artzner, F. Delbaen, J.-M. Eber and D. Heath, "Coherent measures of risk", Math. Finance 9, 1999).

What is real: monthly returns from 1949 to 2017 of four factors (market, size, value, momentum), and of 30
portfolios by industry, size, value and momentum; K. R. French's data library, in the file that linearmodels
ships. From these come the factors' means and covariance, and the loadings of the 30 on them. What is not: the
500 shares are invented. Their loadings are draws from a Gaussian fitted to those of the 30; of a portfolio's
own deviations most have averaged out, so that a share's are set to 5 to 15 % a month; weights fall as the
inverse of the rank, as those of an index roughly do. And log returns are not Gaussian: the last table asks
how often the 12 industries, all real, lost more than this way of reckoning said, with nothing but the years
before.

load       months of factors and portfolios
shares     the distribution of prices, and weights
losses     of scenarios, streamed
peak       of memory
risk       value at risk, expected shortfall
backtest   months of the industries that lost more than they should
picture    losses, and the industries' months with their value at risk
"""

from __future__ import annotations

import bz2
import importlib.metadata
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastdist as fd
from command import at_least, parser, write

try:
    from matplotlib.figure import Figure

    import fastdist.plot

    LINEARMODELS = importlib.metadata.distribution("linearmodels")
except ImportError as error:
    sys.exit(f"portfolio_var.py: error: {error}; what it needs: pip install matplotlib linearmodels")

Array = NDArray[np.floating[Any]]
N_SHARE = 500
SCENARIOS = 1_000_000
QUICK_SCENARIOS = 50_000
AT_ONCE = 4096
LEVEL = 0.99
FACTORS, INDUSTRIES, PORTFOLIOS = slice(0, 4), slice(5, 17), slice(5, 35)
PROCESS = Path("/proc/self/status")  # of Linux
FIRST_YEARS = 240  # months that the backtest begins with


def peak() -> float:
    """MB of memory that this process has had at most, matplotlib's included."""
    (line,) = (line for line in PROCESS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e3


class Months(NamedTuple):
    """Log returns by months: factors (n, 4), portfolios (n, 30), of which 12 are industries."""

    years: Array
    factors: Array
    portfolios: Array
    industries: Array


def load() -> Months:
    """Log returns; factors are differences of portfolios, taken alike."""
    with bz2.open(str(LINEARMODELS.locate_file("linearmodels/datasets/french/french.csv.bz2")), "rt") as file:
        lines = file.read().splitlines()[1:]
    years = np.array([int(line[:4]) + (int(line[5:7]) - 1) / 12 for line in lines])
    table = np.loadtxt(io.StringIO("\n".join(line.partition(",")[2] for line in lines)), delimiter=",")
    logs = np.log1p(table)
    return Months(years, logs[:, FACTORS], logs[:, PORTFOLIOS], logs[:, INDUSTRIES])


def shares(months: Months, rng: np.random.Generator) -> tuple[fd.TransformedDistribution, Array]:
    """Prices after a month, of what costs 1 now; and weights."""
    mean, covariance = months.factors.mean(0), np.cov(months.factors.T)
    design = np.concatenate([np.ones((len(months.years), 1)), months.factors], axis=1)
    loadings = np.linalg.lstsq(design, months.portfolios, rcond=None)[0][1:].T
    spread = fd.MultivariateNormal(loadings.mean(0), np.cov(loadings.T))
    invented = spread.sample(N_SHARE, rng=rng)
    own = rng.uniform(0.05, 0.15, N_SHARE)
    log_returns = fd.LowRankMultivariateNormal(
        invented @ mean, invented @ np.linalg.cholesky(covariance), own**2
    )
    weights = 1 / np.arange(1, N_SHARE + 1)
    return fd.TransformedDistribution(log_returns, fd.transforms.ExpTransform()), weights / weights.sum()


def losses(prices: fd.Distribution, weights: Array, n: int, at_once: int, rng: np.random.Generator) -> Array:
    """Of n scenarios, so many of which are in memory at a time."""
    result, scenarios = np.empty(n), np.empty((at_once, len(weights)))
    for begin in range(0, n, at_once):
        part = scenarios[: min(at_once, n - begin)]
        prices.sample(len(part), rng=rng, out=part)
        result[begin : begin + len(part)] = 1 - part @ weights
    return result


class Risk(NamedTuple):
    """At a level: value at risk, two standard errors of it, and expected shortfall."""

    value: float
    error: float
    shortfall: float


def risk(loss: Array, level: float) -> Risk:
    """By order statistics, whose ranks are binomial."""
    ordered, n = np.sort(loss), len(loss)
    rank, width = level * n, 2 * np.sqrt(n * level * (1 - level))
    low, value, high = (ordered[min(int(one), n - 1)] for one in (rank - width, rank, rank + width))
    return Risk(float(value), float(high - low) / 2, float(ordered[int(rank) :].mean()))


def backtest(months: Months, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Losses of equal parts of the industries in a month, and their value at risk by the months before."""
    loss = 1 - np.exp(months.industries).mean(-1)
    seen = range(FIRST_YEARS, len(loss))
    covariance = np.stack([np.cov(months.industries[:i].T) for i in seen])
    loc = np.stack([months.industries[:i].mean(0) for i in seen])
    eps = fd.standard_normal((n, 1, loc.shape[-1]), rng=rng)  # the same for all months
    bound = [
        np.quantile(1 - np.exp(d.colorize(eps[:, 0])).mean(-1), LEVEL)
        for d in fd.MultivariateNormal(loc, covariance)
    ]
    return loss[FIRST_YEARS:], np.array(bound)


def picture(loss: Array, found: Risk, years: Array, real: Array, bound: Array) -> Figure:
    """Losses of scenarios, and of real months."""
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    scenarios, history = figure.subplots(1, 2)
    colors = fastdist.plot.COLORS
    _, edges, bars = scenarios.hist(100 * loss, 150, density=True, color=colors[0])
    for edge, bar in zip(edges, bars, strict=False):
        if edge > 100 * found.value:
            bar.set_color(colors[1])
    scenarios.axvline(100 * found.value, color="0.2", linewidth=1, label="value at risk, 99 %")
    scenarios.axvline(100 * found.shortfall, color="0.2", linestyle=":", label="expected shortfall")
    scenarios.set(
        title=f"Losses of 500 shares in a month, {len(loss):,} scenarios",
        xlabel="loss (%)",
        ylabel="density",
    )
    scenarios.legend()
    beyond = real > bound
    history.plot(years, 100 * real, color="0.6", linewidth=0.6)
    history.plot(
        years, 100 * bound, color="0.2", linewidth=1, label="value at risk, 99 %, by the months before"
    )
    history.plot(years[beyond], 100 * real[beyond], "o", color=colors[1], markersize=4, label="lost more")
    history.set(
        title="Losses of 12 real industries in equal parts", xlabel="year", ylabel="loss in a month (%)"
    )
    history.legend()
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Stream, measure, look back."""
    options = parser("Value at risk of a portfolio of 500 shares.", "portfolio_var.png")
    options.add_argument("--scenarios", type=at_least(1000), metavar="N", help=f"default: {SCENARIOS}")
    given = options.parse_args(arguments)
    n = given.scenarios or (QUICK_SCENARIOS if given.quick else SCENARIOS)

    rng = fd.default_rng(given.seed)
    months = load()
    prices, weights = shares(months, rng)
    loss = losses(prices, weights, n, AT_ONCE, rng)
    found = risk(loss, LEVEL)
    # Gaussian losses would have this value at risk.
    plain = float(fd.Normal(loss.mean(), loss.std()).icdf(LEVEL))
    print(f"{n:,} scenarios of {N_SHARE} invented shares by real factors, {AT_ONCE} at a time")
    print(f"{100 * found.value:8.2f}  % lost in one month of a hundred, or more (± {100 * found.error:.2f})")
    print(f"{100 * found.shortfall:8.2f}  % lost in the mean of such months")
    print(f"{100 * plain:8.2f}  % would be the first, were losses Gaussian")
    if PROCESS.exists():
        print(f"{peak():8.0f}  MB of memory at most; all scenarios would be {8 * n * N_SHARE / 1e6:,.0f}")

    real, bound = backtest(months, 10_000 if given.quick else 100_000, rng)
    print(
        f"{int((real > bound).sum()):8d}  of {len(real)} months in which 12 real industries lost more "
        "than was said,"
    )
    print(
        f"{len(real) * (1 - LEVEL):8.1f}  were to be expected: returns have fatter tails than Gaussian ones"
    )
    write(picture(loss, found, months.years[FIRST_YEARS:], real, bound), given.output)


if __name__ == "__main__":
    main()
