"""An option's price by noise that is more even than random: `python examples/qmc_option.py`.

An option on 12 industries pays what the mean of their prices over the ends of 12 months is above 1, where all
prices began. What it is worth is the mean of that over log-normal prices, an integral over 144 normals:

    log prices   x ~ MultivariateNormal(loc, covariance)     covariances of months times those of industries
    payoff       max(mean of e^x - 1, 0)                      discounted at no interest

Covariances are those of real months from 1949 to 2017 (K. R. French's data library, see portfolio_var.py); a
price expects no gain, as for all options on what can be traded (J. C. Hull, "Options, Futures, and Other
Derivatives", 2018).

`colorize` makes draws of whatever noise it is given. Antithetic noise, eps and -eps, leaves an error to the
even part of the payoff alone. Sobol's points, which scipy scrambles, fill the cube [0, 1]^144 more evenly
than random ones (A. B. Owen, "Scrambling Sobol' and Niederreiter-Xing points", Journal of Complexity 14,
1998), and `Normal.icdf` makes normals of them. The first coordinates are the most even. So most of the
variance should be in these, and a draw takes its noise in order: element i of an event is made of eps 0 to i.
Whoever puts the last month first, and then halves what is between, has the Brownian bridge (R. E. Caflisch,
W. Morokoff and A. B. Owen, "Valuation of mortgage-backed securities using Brownian bridges to reduce
effective dimension", J. Comp. Finance 1, 1997), by nothing but an order of the covariance's rows.

bridge     months in the order of a Brownian bridge
prices     the distribution of all log prices, months in any order
plain, antithetic, sobol   normals of three kinds
worth      the option's price by such noise
geometric  the same on the geometric mean, which is known
worths     prices by the number of draws, over and over
picture    their errors
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastdist as fd
from command import parser, write
from portfolio_var import load

try:
    from matplotlib.figure import Figure
    from scipy.stats.qmc import Sobol

    import fastdist.plot
except ImportError as error:
    sys.exit(f"qmc_option.py: error: {error}; what it needs: pip install matplotlib scipy linearmodels")

Array = NDArray[np.floating[Any]]
Noise = Callable[[int, int, np.random.Generator], Array]
MONTHS = 12
STRIKE = 1.0
LEAST, MOST, QUICK_MOST = 6, 14, 11  # binary logarithms of numbers of draws
REPEATS = 32
SHOWN = 1024  # draws
STANDARD = fd.Normal(0.0, 1.0)


def bridge(n: int) -> list[int]:
    """Months 1 to n: the last one, then the middle of each gap, wider gaps first."""
    order, gaps = [n], [(0, n)]
    while gaps:
        low, high = gaps.pop(0)
        if high - low > 1:
            middle = (low + high) // 2
            order.append(middle)
            gaps += [(low, middle), (middle, high)]
    return order


def prices(covariance: Array, order: Sequence[int]) -> fd.MultivariateNormal:
    """Log prices of industries after months, a month's all together; months in an order."""
    months = np.array(order, float)
    whole = np.kron(np.minimum.outer(months, months), covariance)
    return fd.MultivariateNormal(-np.diag(whole) / 2, whole)


def plain(n: int, dim: int, rng: np.random.Generator) -> Array:
    """Random normals."""
    return fd.standard_normal((n, dim), rng=rng)


def antithetic(n: int, dim: int, rng: np.random.Generator) -> Array:
    """Half of them random, the others their opposites."""
    eps = fd.standard_normal((n // 2, dim), rng=rng)
    return np.concatenate([eps, -eps])


def sobol(n: int, dim: int, rng: np.random.Generator) -> Array:
    """Sobol's points, scrambled anew."""
    return np.asarray(STANDARD.icdf(Sobol(dim, rng=rng).random(n)))


def worth(d: fd.MultivariateNormal, eps: Array, *, geometric: bool = False) -> float:
    """The price by draws of this noise."""
    x = d.colorize(eps)
    mean = np.exp(x.mean(-1)) if geometric else np.exp(x).mean(-1)
    return float(np.maximum(mean - STRIKE, 0).mean())


def geometric(d: fd.MultivariateNormal) -> float:
    """The price of the option on the geometric mean, which is log-normal: Black's formula."""
    of_mean = d.affine(np.full((1, *d.event_shape), 1 / d.event_shape[0]))
    loc, scale = of_mean.loc.item(), of_mean.stddev.item()
    above = (loc - np.log(STRIKE)) / scale
    forward = np.exp(loc + scale**2 / 2)
    return float(forward * STANDARD.cdf(above + scale) - STRIKE * STANDARD.cdf(above))


def kinds(covariance: Array) -> dict[str, tuple[fd.MultivariateNormal, Noise]]:
    """What is compared."""
    in_order, by_bridge = prices(covariance, range(1, MONTHS + 1)), prices(covariance, bridge(MONTHS))
    return {
        "plain": (in_order, plain),
        "antithetic": (in_order, antithetic),
        "Sobol": (in_order, sobol),
        "Sobol, by a bridge": (by_bridge, sobol),
    }


def worths(d: fd.MultivariateNormal, noise: Noise, sizes: Sequence[int], repeats: int, seed: int) -> Array:
    """Prices (sizes, repeats), each by noise of its own."""
    rng, dim = fd.default_rng(seed), d.event_shape[0]
    return np.array([[worth(d, noise(n, dim, rng)) for _ in range(repeats)] for n in sizes])


# ---- the picture ---------------------------------------------------------------------------------


def picture(sizes: Sequence[int], found: dict[str, Array]) -> Figure:
    """Of prices (sizes, repeats) by kind: their standard deviations, and all that are by 1024 draws."""
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    by_size, alike = figure.subplots(1, 2)
    at = sizes.index(SHOWN)
    for i, (name, price) in enumerate(found.items()):
        color = fastdist.plot.COLORS[i]
        by_size.plot(sizes, 100 * price.std(-1), "o-", color=color, markersize=4, label=name)
        alike.plot(100 * price[at], np.full(price.shape[-1], i), "|", color=color, markersize=24)
    by_size.set_xscale("log", base=2)
    by_size.set_yscale("log")
    by_size.yaxis.set_major_formatter("{x:g}")
    by_size.set(
        title="Error of the price", xlabel="draws", ylabel="standard deviation (% of what it begins at)"
    )
    by_size.legend()
    alike.set_yticks(range(len(found)), list(found))
    alike.set_ylim(len(found) - 0.5, -0.5)
    alike.set(
        title=f"{price.shape[-1]} prices of each kind, by {SHOWN} draws",
        xlabel="price of the option (%)",
        ylabel="noise",
    )
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Price it over and over."""
    options = parser("An option's price by plain, antithetic and Sobol noise.", "qmc_option.png")
    given = options.parse_args(arguments)
    sizes = [2**i for i in range(LEAST, (QUICK_MOST if given.quick else MOST) + 1)]

    covariance = np.cov(load().industries.T)
    found = {
        name: worths(d, noise, sizes, REPEATS, given.seed) for name, (d, noise) in kinds(covariance).items()
    }
    print(
        f"An option on the mean of {len(covariance)} industries and {MONTHS} months, in % of what that is now"
    )
    print(f"Standard deviations of {REPEATS} prices by {sizes[-1]} draws each:")
    for name, price in found.items():
        print(f"{100 * price[-1].std():10.4f}  {name}; the mean is {100 * price[-1].mean():.3f}")
    enough = next(
        n
        for n, price in zip(sizes, found["Sobol, by a bridge"], strict=True)
        if price.std() <= found["plain"][-1].std()
    )
    print(f"{enough:10d}  draws by a bridge err no more than {sizes[-1]} plain ones")
    d, noise = kinds(covariance)["Sobol, by a bridge"]
    eps = noise(sizes[-1], d.event_shape[0], fd.default_rng(given.seed))
    print("On the geometric mean in place of the arithmetic one:")
    print(f"{100 * worth(d, eps, geometric=True):10.4f}  by {sizes[-1]} of these draws")
    print(f"{100 * geometric(d):10.4f}  by Black's formula")
    write(picture(sizes, found), given.output)


if __name__ == "__main__":
    main()
