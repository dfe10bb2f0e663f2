"""Handwritten digits go to ten boxes, by Thompson sampling: `python examples/thompson_digits.py`.

Images come one at a time. Each is put in one of ten boxes, and nothing is heard but whether that was the
right one: not which would have been. Such a problem is a contextual bandit; boxes are its arms, pixels the
context. Of each arm's reward, 1 or 0, a linear model is learned, whose weights are thought to be Gaussian:

    weights   w ~ MultivariateNormal(mean, precision)      a batch of ten
    reward    w @ x + noise                                what is observed adds x x' / noise² to a precision

Whoever puts an image where most is expected (greedy) may never find out about a box of which too little is.
Some try any box from time to time (epsilon-greedy), some add to what they expect a bonus for what they do not
know (LinUCB: L. Li et al., "A contextual-bandit approach to personalized news article recommendation", WWW
2010). Thompson sampling draws weights from what is believed, and acts as if they were true (W. R. Thompson,
"On the likelihood that one unknown probability exceeds another", Biometrika 25, 1933; S. Agrawal and N.
Goyal, "Thompson sampling for contextual bandits with linear payoffs", ICML 2013).

With a precision matrix, learning is `rank_update(u, index=arm)`: d² operations for one arm of many. A draw is
a triangular system for each arm; nothing is ever inverted, or factorised again.

The images, by 13 people, are those that scikit-learn has as `load_digits` (E. Alpaydin and C. Kaynak, UCI
Machine Learning Repository, 1998, CC BY 4.0: see data/README.md).

load      images and digits
Beliefs   the weights of each arm, as far as they are known
POLICIES  how an arm is chosen
play      all images in a random order
picture   regret, and the weights that were learned
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastdist as fd
from command import at_least, parser, write

try:
    from matplotlib.figure import Figure
    from threadpoolctl import threadpool_limits
    from tqdm import tqdm
except ImportError as error:
    sys.exit(f"thompson_digits.py: error: {error}; what it needs: pip install matplotlib threadpoolctl tqdm")

Array = NDArray[np.floating[Any]]
N_ARM = 10
NOISE = 0.2  # standard deviation of rewards about a linear model
SPREAD = 1.0  # of a weight, before anything is known
EPSILON = 0.05  # how often epsilon-greedy tries any arm
BONUS = 1.0  # of LinUCB, in standard deviations
SEEDS, QUICK_SEEDS = 5, 1
COLORS = {
    "random": "0.6",
    "epsilon-greedy": "#CC79A7",
    "greedy": "#E69F00",
    "Thompson": "#0072B2",
    "LinUCB": "#009E73",
    "told the digit": "black",
}


def load() -> tuple[Array, NDArray[np.integer[Any]]]:
    """Contexts (1797, 65), pixels and a 1 made vectors of length 1, and digits (1797,)."""
    with np.load(Path(__file__).parent / "data" / "digits.npz") as data:
        images, digits = data["images"] / 16, data["labels"]
    x = np.concatenate([images, np.ones((len(images), 1))], axis=1)
    return x / np.linalg.norm(x, axis=1, keepdims=True), digits


class Beliefs:
    """What is known of the weights of each arm: a mean, and a distribution about it.

    Attributes
    ----------
    mean : numpy.ndarray
        Shape (10, d).
    spread : fastdist.MultivariateNormal
        Of the weights less their mean: a batch (10,) of events (d,).
    """

    def __init__(self, dim: int) -> None:
        self.mean = np.zeros((N_ARM, dim))
        precision = np.broadcast_to(np.eye(dim) / SPREAD**2, (N_ARM, dim, dim))
        self.spread = fd.MultivariateNormal(np.zeros(dim), precision_matrix=precision)

    def expected(self, x: Array) -> Array:
        """Mean of each arm's reward (10,)."""
        means: Array = self.mean @ x
        return means

    def drawn(self, x: Array, rng: np.random.Generator) -> Array:
        """Each arm's reward (10,) by weights that are drawn."""
        return (self.mean + self.spread.sample(rng=rng)) @ x

    def uncertainty(self, x: Array) -> Array:
        """Standard deviation of each arm's mean reward (10,)."""
        return np.asarray(np.linalg.norm(by_noise(self.spread, x), axis=-1))

    def learn(self, arm: Any, x: Array, reward: Any) -> None:
        """From the reward of an arm; or from those of several, `arm` being a slice."""
        surprise = (reward - self.expected(x)[arm]) / NOISE**2
        self.spread = self.spread.rank_update(x / NOISE, index=arm)
        part = self.spread[arm]
        self.mean[arm] += surprise[..., np.newaxis] * part.colorize(by_noise(part, x))


def by_noise(d: fd.MultivariateNormal, x: Array) -> Array:
    """L' x, L L' being the covariance: the gradient of x @ (L eps) by the noise eps.

    So x @ L eps has the standard deviation |L' x|, and L L' x is coloured from it. (The gradient by the
    precision, which the pullback gives, too, takes most of the time, and is not used.)
    """
    _, pullback = fd.vjp(d.colorize, np.zeros(d.batch_shape + d.event_shape))
    gradient: Array = pullback(x)["eps"]
    return gradient


def epsilon_greedy(beliefs: Beliefs, x: Array, rng: np.random.Generator) -> Array:
    """What is expected, but now and then anything."""
    return rng.random(N_ARM) if rng.random() < EPSILON else beliefs.expected(x)


# What an arm is chosen by: of scores (10,) the highest.
POLICIES: dict[str, Callable[[Beliefs, Array, np.random.Generator], Array]] = {
    "random": lambda beliefs, x, rng: rng.random(N_ARM),
    "epsilon-greedy": epsilon_greedy,
    "greedy": lambda beliefs, x, rng: beliefs.expected(x),
    "Thompson": lambda beliefs, x, rng: beliefs.drawn(x, rng),
    "LinUCB": lambda beliefs, x, rng: beliefs.expected(x) + BONUS * beliefs.uncertainty(x),
    # No bandit: it learns from each image about all arms.
    "told the digit": lambda beliefs, x, rng: beliefs.expected(x),
}


def play(name: str, x: Array, digits: NDArray[np.integer[Any]], seed: int) -> tuple[Beliefs, Array]:
    """What is believed in the end, and the rewards of all images, in an order that is the seed's alone."""
    rng = fd.default_rng(seed)
    order = rng.permutation(len(x))
    beliefs, rewards = Beliefs(x.shape[1]), np.empty(len(x))
    for i, (context, digit) in enumerate(zip(x[order], digits[order], strict=True)):
        arm = int(POLICIES[name](beliefs, context, rng).argmax())
        rewards[i] = arm == digit
        if name == "told the digit":
            beliefs.learn(slice(None), context, np.arange(N_ARM) == digit)
        else:
            beliefs.learn(arm, context, rewards[i])
    return beliefs, rewards


# ---- the picture ---------------------------------------------------------------------------------


def picture(rewards: dict[str, Array], beliefs: Beliefs) -> Figure:
    """Mistakes so far by policy, of rewards (seeds, 1797) each, and the weights that one run has learned."""
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    figure.suptitle("Ten boxes for handwritten digits, as a bandit problem", fontsize="x-large")
    left, right = figure.subplots(1, 2, width_ratios=[1.1, 1])

    for name, of_seeds in rewards.items():
        regret = np.cumsum(1 - of_seeds, axis=1)
        images = np.arange(1, regret.shape[1] + 1)
        left.fill_between(images, regret.min(0), regret.max(0), color=COLORS[name], alpha=0.2, linewidth=0)
        left.plot(images, regret.mean(0), color=COLORS[name], linewidth=2, label=name)
    highest = max(
        np.cumsum(1 - of_seeds, axis=1)[:, -1].max() for name, of_seeds in rewards.items() if name != "random"
    )
    left.set(
        title=f"Regret: mean and range of {len(of_seeds)} runs",
        xlabel="images",
        ylabel="in the wrong box so far",
        ylim=(0, 1.05 * highest),
    )
    left.legend(loc="upper left")

    tiles = np.full((17, 44), np.nan)
    for arm, mean in enumerate(beliefs.mean):
        row, column = divmod(arm, 5)
        tiles[9 * row : 9 * row + 8, 9 * column : 9 * column + 8] = mean[:64].reshape(8, 8)
    limit = float(np.nanmax(np.abs(tiles)))
    shown = right.imshow(tiles, cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.colorbar(shown, ax=right, label="weight of a pixel, mean", shrink=0.7)
    right.set(title="What Thompson sampling learns of boxes 0 to 9")
    right.axis("off")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Play, compare, draw."""
    options = parser("Handwritten digits go to ten boxes, by Thompson sampling.", "thompson_digits.png")
    seeds = f"number of runs, with seeds from --seed on (default: {SEEDS})"
    options.add_argument("--seeds", type=at_least(1), metavar="N", help=seeds)
    given = options.parse_args(arguments)
    n_seed = given.seeds or (QUICK_SEEDS if given.quick else SEEDS)

    threadpool_limits(1, "blas")
    x, digits = load()
    rewards = {}
    with tqdm(total=len(POLICIES) * n_seed, unit="run", disable=None) as bar:
        for name in POLICIES:
            runs = []
            for seed in range(given.seed, given.seed + n_seed):
                beliefs, of_run = play(name, x, digits, seed)
                if name == "Thompson" and seed == given.seed:
                    shown = beliefs
                runs.append(of_run)
                bar.update()
            rewards[name] = np.array(runs)

    print(f"Of {len(x)} images in the wrong box, mean of {n_seed} runs ± standard deviation; of the last 400")
    for name, of_seeds in rewards.items():
        wrong = (1 - of_seeds).sum(axis=1)
        late = 1 - of_seeds[:, -400:].mean()
        print(f"{wrong.mean():8.0f} ± {wrong.std():.0f}  {name} ({100 * late:.1f}% of the last 400)")
    write(picture(rewards, shown), given.output)


if __name__ == "__main__":
    main()
