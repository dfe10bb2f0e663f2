"""How high was the Nile? Its level by a Kalman and a particle filter: `python examples/kalman_nile.py`.

Flow of the Nile at Aswan in each year from 1871 to 1970, in 10^8 m^3 (G. W. Cobb, "The problem of the Nile",
Biometrika 65, 1978; the file that statsmodels ships). A level that nobody sees moves from year to year, and
the flow is the level with a noise about it: the local level model of J. Durbin and S. J. Koopman, "Time
Series Analysis by State Space Methods", 2012, chapter 2.

    level   x' = x + step            step ~ Normal(0, its scale)
    flow    y  = x' + noise          noise ~ Normal(0, its scale)

All of it is Gaussian. So what is known of the level is one, too, and a year is two calls: `affine` makes
next year's level and flow together of this year's level, a step and a noise, and `condition` leaves the level
once the flow is known. The distributions may be a batch, here of 1681 pairs of scales, so that one pass over
the years has the likelihood of all of them. What all years together say of each is a `condition`, too.

A particle filter has draws in place of a formula, and takes any steps. Those of a mixture, which are small in
most years and now and then large, are likelier than Gaussian ones: the level stood still, but for 1899, when
the first dam at Aswan was begun and rains grew less.

load       years and flows
kalman     levels by year, and the likelihood, of a batch of scales
smoother   the same levels by all years
particles  levels by draws, for steps of any distribution
picture    levels of both kinds, and the likelihood of the scales
"""

from __future__ import annotations

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
    sys.exit(f"kalman_nile.py: error: {error}; what it needs: pip install matplotlib statsmodels")

Array = NDArray[np.floating[Any]]
BEFORE = (1000.0, 500.0)  # the level of 1870: mean and scale, next to nothing known
STEPS, NOISES = np.linspace(2.0, 102.0, 41), np.linspace(80.0, 180.0, 41)  # scales, in 10^8 m^3
# Of a step that is large in one year of fifty.
SELDOM, SMALL, LARGE = 0.02, 3.0, 250.0
PARTICLES, QUICK_PARTICLES = 200_000, 20_000
NEXT = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])  # level, flow: of a level, a step and a noise


class Levels(NamedTuple):
    """Of each year, mean and standard deviation of the level; and the log likelihood of the flows."""

    mean: Array
    spread: Array
    likelihood: Array


def load() -> tuple[Array, Array]:
    """Years and flows."""
    file = STATSMODELS.locate_file("statsmodels/datasets/nile/nile.csv")
    table = np.loadtxt(str(file), delimiter=",", skiprows=1)
    return table[:, 0], table[:, 1]


def kalman(flow: Array, step: Any, noise: Any) -> Levels:
    """Levels by the years until then; scales may be a batch, behind the years in the result."""
    step, noise = np.broadcast_arrays(np.asarray(step, float), noise)
    level = fd.MultivariateNormal(np.full((*step.shape, 1), BEFORE[0]), [[BEFORE[1] ** 2]])
    means, spreads, total = [], [], np.zeros(step.shape)
    nothing = np.zeros((*step.shape, 2))
    for y in flow:
        variances = np.stack([level.variance[..., 0], step**2, noise**2], axis=-1)
        apart = fd.MultivariateNormal(
            np.concatenate([level.loc, nothing], axis=-1), variances[..., None] * np.eye(3)
        )
        following = apart.affine(NEXT)
        total += following.marginal(1).log_prob([y])
        level = following.condition(1, [y])
        means.append(level.mean[..., 0])
        spreads.append(level.stddev[..., 0])
    return Levels(np.array(means), np.array(spreads), total)


def smoother(flow: Array, step: float, noise: float) -> Levels:
    """Levels by all years, before and after."""
    n = len(flow)
    years = np.arange(1, n + 1)
    of_level = BEFORE[1] ** 2 + step**2 * np.minimum.outer(years, years)
    of_flow = of_level + noise**2 * np.eye(n)
    covariance = np.block([[of_level, of_level], [of_level, of_flow]])
    joint = fd.MultivariateNormal(np.full(2 * n, BEFORE[0]), covariance)
    level = joint.condition(slice(n, None), flow)
    return Levels(level.mean, level.stddev, joint.marginal(slice(n, None)).log_prob(flow))


def particles(flow: Array, step: fd.Distribution, noise: float, n: int, rng: np.random.Generator) -> Levels:
    """Levels by n draws, of which those that the flow speaks for are drawn again each year."""
    level = fd.Normal(*BEFORE).sample(n, rng=rng)
    means, spreads, total = [], [], 0.0
    for y in flow:
        level += step.sample(n, rng=rng)
        log_weights = fd.Normal(level, noise).log_prob(y)
        top = log_weights.max()
        weights = np.exp(log_weights - top)
        total += top + np.log(weights.mean())
        weights /= weights.sum()
        means.append(weights @ level)
        spreads.append(np.sqrt(weights @ (level - means[-1]) ** 2))
        level = level[fd.Categorical(weights).sample(n, rng=rng)]
    return Levels(np.array(means), np.array(spreads), np.array(total))


def seldom() -> fd.MixtureSameFamily:
    """A step that is small in most years."""
    return fd.MixtureSameFamily(fd.Categorical([1 - SELDOM, SELDOM]), fd.Normal(0.0, [SMALL, LARGE]))


# ---- the picture ---------------------------------------------------------------------------------


def picture(
    years: Array, flow: Array, levels: dict[str, Levels], likelihood: Array, best: tuple[float, float]
) -> Figure:
    """Bands of two standard deviations about levels, and log likelihoods (steps, noises) below their top."""
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    by_year, by_scale = figure.subplots(1, 2, width_ratios=[2, 1])
    by_year.plot(years, flow, ".", color="0.2", markersize=4, label="flow")
    for (name, found), color in zip(levels.items(), fastdist.plot.COLORS, strict=False):
        low, high = found.mean - 2 * found.spread, found.mean + 2 * found.spread
        by_year.fill_between(years, low, high, color=color, alpha=0.15, linewidth=0)
        by_year.plot(years, found.mean, color=color, linewidth=1.6, label=name)
    by_year.set(
        title="The Nile at Aswan, and its level ± 2 standard deviations",
        xlabel="year",
        ylabel="flow ($10^8$ m$^3$)",
    )
    by_year.legend()
    below = likelihood - likelihood.max()
    shown = by_scale.contourf(STEPS, NOISES, below.T, [-10, -5, -3, -2, -1, -0.5, 0], cmap="Blues")
    figure.colorbar(shown, ax=by_scale, label="log likelihood below the highest")
    by_scale.plot(*best, "o", color=fastdist.plot.COLORS[1])
    by_scale.set(
        title=f"Of {likelihood.size} pairs of scales", xlabel="scale of a step", ylabel="scale of the noise"
    )
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Filter by formula and by draws, compare."""
    options = parser("The level of the Nile by two filters.", "kalman_nile.png")
    number = f"default: {PARTICLES}"
    options.add_argument("--particles", type=at_least(1), metavar="N", help=number)
    given = options.parse_args(arguments)
    n = given.particles or (QUICK_PARTICLES if given.quick else PARTICLES)

    years, flow = load()
    likelihood = kalman(flow, STEPS[:, None], NOISES).likelihood
    at_step, at_noise = np.unravel_index(likelihood.argmax(), likelihood.shape)
    step, noise = float(STEPS[at_step]), float(NOISES[at_noise])
    print(f"{len(flow)} years, {likelihood.size} pairs of scales; likeliest: step {step:g}, noise {noise:g}")

    rng = fd.default_rng(given.seed)
    exact = kalman(flow, step, noise)
    drawn = particles(flow, fd.Normal(0.0, step), noise, n, rng)
    jumping = particles(flow, seldom(), noise, n, rng)
    print("Log likelihood of the flows:")
    print(f"{exact.likelihood:10.2f}  Kalman filter")
    print(f"{drawn.likelihood:10.2f}  particle filter of the same model, {n:,} particles")
    print(f"{jumping.likelihood:10.2f}  particle filter, steps mostly small, seldom large")
    gap = np.abs(drawn.mean - exact.mean).max() / exact.spread.min()
    print(f"{gap:10.3f}  standard deviations between the first two's levels, at most")
    fall = {name: found.mean[years == 1900].item() for name, found in (("", exact), ("jumping", jumping))}
    print(f"Level of 1900: {fall['']:.0f} by Gaussian steps, {fall['jumping']:.0f} by those")
    levels = {
        "by the years until then: Kalman filter": exact,
        "steps seldom large: particle filter": jumping,
        "by all years: one condition": smoother(flow, step, noise),
    }
    write(picture(years, flow, levels, likelihood, (step, noise)), given.output)


if __name__ == "__main__":
    main()
