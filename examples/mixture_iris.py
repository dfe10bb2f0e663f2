"""Clusters of irises that nobody has named, by a mixture of Gaussians: `python examples/mixture_iris.py`.

A flower is thought to be of one of three kinds, and its four measures, given the kind, Gaussian:

    kind      k ~ Categorical(w)
    flower    x | k ~ MultivariateNormal(loc[k], covariance[k])

which together are a MixtureSameFamily. The expectation-maximisation algorithm (A. P. Dempster, N. M. Laird
and D. B. Rubin, "Maximum likelihood from incomplete data via the EM algorithm", J. R. Stat. Soc. B 39, 1977)
raises the likelihood of the flowers by turns of

    E    which kind is each flower?            responsibilities: `posterior_marginal`
    M    what are the kinds, if it were so?    weighted means and covariances

It begins with thirds of the flowers, in the order of their first principal component, and never sees a
species. Mixtures of one kind less, with one covariance for all, or with diagonal ones, are fitted to compare,
by the Bayesian information criterion (G. Schwarz, "Estimating the dimension of a model", Ann. Stat. 6, 1978):
the higher, the better.

load       measures and species of 150 flowers
Fit        a mixture, the likelihood on the way to it
fit        the algorithm
agreement  how many flowers kinds and species tell apart in the same way
picture    petals by species and by kind, and the likelihood
"""

from __future__ import annotations

import importlib.resources
import itertools
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastdist as fd
from command import at_least, parser, write

try:
    from matplotlib.figure import Figure

    import fastdist.plot
except ImportError as error:
    sys.exit(f"mixture_iris.py: error: {error}; what it needs: pip install matplotlib")

Array = NDArray[np.floating[Any]]
TURNS = 300
QUICK_TURNS = 40
PETAL = slice(2, 4)


def load() -> tuple[Array, list[str]]:
    """Measures of 150 flowers in cm, shape (150, 4), and their species (R. A. Fisher's data)."""
    text = (importlib.resources.files("fastdist.data") / "iris.csv").read_text()
    rows = [line.split(",") for line in text.splitlines()[1:]]
    return np.array([[float(x) for x in row[:4]] for row in rows]), [row[4] for row in rows]


class Fit(NamedTuple):
    """A mixture, and the mean log density of the flowers at each turn."""

    mixture: fd.MixtureSameFamily
    curve: list[float]
    n_parameter: int

    def criterion(self, n: int) -> float:
        """Twice the log likelihood of n flowers, less what each parameter has to bring."""
        return 2 * n * self.curve[-1] - self.n_parameter * math.log(n)


# What kinds may have of a covariance: from weights (kinds,) and covariances (kinds, 4, 4) to covariances, and
# how many parameters these are for d measures and n kinds.
SHAPES: dict[str, tuple[Callable[[Array, Array], Array], Callable[[int, int], int]]] = {
    "one each": (lambda _, covariance: covariance, lambda d, n: n * d * (d + 1) // 2),
    "one for all": (
        lambda weights, covariance: np.broadcast_to(np.tensordot(weights, covariance, 1), covariance.shape),
        lambda d, _: d * (d + 1) // 2,
    ),
    "diagonal": (
        lambda _, covariance: covariance * np.eye(covariance.shape[-1]),
        lambda d, n: n * d,
    ),
}


def maximise(x: Array, responsibility: Array, shape: str) -> fd.MixtureSameFamily:
    """The mixture that is likeliest if flowers are of kinds with these probabilities, shape (150, kinds)."""
    of_kind = responsibility.sum(0)
    loc = (responsibility.T @ x) / of_kind[:, None]
    apart = x - loc[:, None]
    covariance = np.einsum("ik,kid,kie->kde", responsibility, apart, apart) / of_kind[:, None, None]
    weights = of_kind / len(x)
    covariance = SHAPES[shape][0](weights, (covariance + covariance.swapaxes(-1, -2)) / 2)
    return fd.MixtureSameFamily(fd.Categorical(weights), fd.MultivariateNormal(loc, covariance))


def fit(x: Array, n_kind: int, shape: str, turns: int) -> Fit:
    """Expectation and maximisation by turns, until the likelihood no longer grows."""
    centred = x - x.mean(0)
    along = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    kind = along.argsort().argsort() * n_kind // len(x)
    mixture = maximise(x, np.eye(n_kind)[kind], shape)
    curve = [float(mixture.log_prob(x).mean())]
    for _ in range(turns):
        responsibility = mixture.posterior_marginal(x).probs
        mixture = maximise(x, responsibility, shape)
        curve.append(float(mixture.log_prob(x).mean()))
        if curve[-1] - curve[-2] < 1e-10:
            break
    d = x.shape[1]
    return Fit(mixture, curve, n_kind - 1 + n_kind * d + SHAPES[shape][1](d, n_kind))


def agreement(kinds: NDArray[Any], species: Sequence[str]) -> int:
    """How many flowers are of the kind that stands for their species, by the best pairing of the two."""
    names = sorted(set(species))
    is_species = np.array(species) == np.array(names)[:, None]
    is_kind = kinds == np.arange(len(names))[:, None]
    counts = is_kind.astype(int) @ is_species.T
    orders = itertools.permutations(range(len(names)))
    return max(int(sum(counts[i, j] for j, i in enumerate(order))) for order in orders)


def picture(x: Array, species: Sequence[str], found: Fit) -> Figure:
    """Petals by species and by kind, with the kinds' ellipses, and the likelihood by turns."""
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    by_species, by_kind, likelihood = figure.subplots(1, 3)
    mixture = found.mixture
    kinds = mixture.posterior_marginal(x).mode
    component: Any = mixture.component_distribution
    petals = fd.MultivariateNormal(component.loc[:, PETAL], component.covariance_matrix[:, PETAL, PETAL])
    names = sorted(set(species))
    for ax, labels, title in (
        (by_species, [names.index(name) for name in species], "Petals by species"),
        (by_kind, kinds, "… by the kind that the mixture finds"),
    ):
        for i in range(3):
            chosen = np.array(labels) == i
            points, color = x[chosen, PETAL], fastdist.plot.COLORS[i]
            ax.plot(
                *points.T,
                "o",
                color=color,
                markersize=4,
                alpha=0.7,
                label=names[i] if ax is by_species else None,
            )
        ax.set(title=title, xlabel="petal length (cm)", ylabel="petal width (cm)")
    by_species.legend()
    for sigma in (1, 2):
        for i, curve in enumerate(fastdist.plot.ellipses(petals, sigma)[0].swapaxes(0, 1)):
            by_kind.plot(*curve.T, color=fastdist.plot.COLORS[i], linewidth=1)
    likelihood.plot(found.curve, color="0.2")
    likelihood.set(title="Likelihood", xlabel="turn", ylabel="mean log density of a flower (nats)")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, compare, draw."""
    options = parser("Clusters of irises by a mixture of Gaussians.", "mixture_iris.png")
    options.add_argument("--turns", type=at_least(1), metavar="N", help=f"at most; default: {TURNS}")
    given = options.parse_args(arguments)
    turns = given.turns or (QUICK_TURNS if given.quick else TURNS)

    x, species = load()
    print(f"Mixtures of {len(x)} irises, by the Bayesian information criterion (higher is better)")
    for n_kind, shape in ((3, "one each"), (2, "one each"), (3, "one for all"), (3, "diagonal")):
        found = fit(x, n_kind, shape, turns)
        kinds = found.mixture.posterior_marginal(x).mode
        print(
            f"{found.criterion(len(x)):8.1f}  {n_kind} kinds, covariance: {shape}; log likelihood "
            f"{len(x) * found.curve[-1]:.2f} after {len(found.curve) - 1} turns, "
            f"{agreement(kinds, species)} flowers as their species"
        )
    write(picture(x, species, fit(x, 3, "one each", turns)), given.output)


if __name__ == "__main__":
    main()
