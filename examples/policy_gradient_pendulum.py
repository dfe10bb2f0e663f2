"""A Gaussian policy swings a pendulum up, in NumPy: `python examples/policy_gradient_pendulum.py`.

Gymnasium's Pendulum-v1 hangs on a motor that is too weak to lift it at once. Every 0.05 s, for 10 s, the
policy sees angle and velocity and chooses a torque; it pays for angles away from upright, for speed and for
torque. The return of an episode, the sum of its rewards, is about -1200 for whoever does nothing, and -150
for a very good policy.

    policy   torque ~ Normal(loc(observation), scale)     Independent(Normal, 1): an event is an action

A policy gradient needs draws from it, and the gradient of their log density, which `fd.vjp` gives:

    sum over steps of  advantage * grad log_prob(torque)

The advantage is how much better it went than expected (R. J. Williams, "Simple statistical gradient-following
algorithms", Machine Learning, 1992). What to expect is told by a second network (J. Schulman et al.,
"High-dimensional continuous control using generalized advantage estimation", ICLR 2016). Each batch is used
again and again, as long as no action becomes more than a fifth more or less likely than it was (J. Schulman
et al., "Proximal policy optimization algorithms", 2017: PPO).

Policy      network and distribution
surrogate   the loss, by the ratio of new and old densities, and its gradient
play        whole episodes in all environments at once
advantages  of all steps of these
train       the loop, for one seed
evaluate    whole episodes without learning
picture     learning curves, and what has been learned
draw_plane  the torque by angle and velocity
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

import fastdist as fd
from command import at_least, parser, write
from nets import MLP, Adam, Array

try:
    import gymnasium
    from gymnasium.vector import VectorEnv
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from threadpoolctl import threadpool_limits
    from tqdm import tqdm
except ImportError as error:
    packages = "gymnasium matplotlib threadpoolctl tqdm"
    sys.exit(f"policy_gradient_pendulum.py: error: {error}; what it needs: pip install {packages}")

N_ENV = 16
N_STEP = 200  # of an episode
TORQUE = 2.0  # the motor's strength (N m)
OBSERVED = np.array([1.0, 1.0, 8.0])  # range of cos and sin of the angle, and of the velocity (rad/s)
REWARD = 8.0  # about the standard deviation of what is to come
DISCOUNT, TRACE = 0.9, 0.95  # of a reward, and of a surprise, per step into the future
CLIP = 0.2
EPOCHS, N_BATCH = 10, 320  # over the steps of an iteration, and steps per gradient
RATE = 1e-3  # of Adam, at the beginning
ITERATIONS, QUICK_ITERATIONS = 40, 15
SEEDS, QUICK_SEEDS = 5, 1
N_TEST = 100  # episodes


class Policy:
    """A Normal torque: its mean by a network, its scale a number.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the weights.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.network = MLP([3, 64, 64, 1], rng)
        self.log_scale = np.zeros(1)
        self.parameters = [*self.network.parameters, self.log_scale]

    def mean(self, observations: Array) -> Array:
        """Torques (..., 1) for observations (..., 3)."""
        return TORQUE * self.network(observations / OBSERVED)

    def __call__(self, observations: Array) -> fd.Independent:
        """The distribution of torques, a batch (...) of events (1,)."""
        return self.of_mean(self.mean(observations))

    def of_mean(self, mean: Array) -> fd.Independent:
        """The distribution with these means."""
        return fd.Independent(fd.Normal(mean, np.exp(self.log_scale)), 1)


class Steps(NamedTuple):
    """What happened in n steps: observations (n, 3), torques (n, 1), then (n,) each."""

    observations: Array
    torques: Array
    log_probs: Array  # of the torques, under the policy that drew them
    advantages: Array
    to_come: Array  # discounted sum of rewards, an estimate


def surrogate(policy: Policy, steps: Steps) -> tuple[float, list[Array]]:
    """PPO's loss and its gradient by `parameters`.

    The loss is the mean of -min(ratio * advantage, clip(ratio) * advantage), with the ratio of the action's
    density to what it was when it was drawn.
    """
    n = len(steps.advantages)
    output, pull_network = policy.network.vjp(steps.observations / OBSERVED)
    d = policy.of_mean(TORQUE * output)
    log_prob, pull_log_prob = fd.vjp(d.log_prob, steps.torques)
    ratio = np.exp(log_prob - steps.log_probs)
    free = ratio * steps.advantages
    gain = np.minimum(free, np.clip(ratio, 1 - CLIP, 1 + CLIP) * steps.advantages)

    # A clipped ratio has no gradient; the gradient of a ratio is the ratio times that of log_prob.
    by_d = pull_log_prob(np.where(free == gain, -free / n, 0.0))
    _, gradients = pull_network(TORQUE * by_d["loc"])
    return -float(gain.mean()), [*gradients, by_d["scale"] * np.exp(policy.log_scale)]


# ---- episodes ------------------------------------------------------------------------------------


def make(n: int) -> VectorEnv:
    """Environments (n) that are stepped together."""
    return gymnasium.make_vec("Pendulum-v1", num_envs=n, vectorization_mode="sync")


class Clock:
    """Seconds spent on draws and their densities, and on the environments, for how many steps of these."""

    def __init__(self) -> None:
        self.steps, self.policy, self.environments = 0, 0.0, 0.0


def play(
    environments: VectorEnv, policy: Policy, rng: np.random.Generator, clock: Clock
) -> tuple[Array, Array, Array, Array]:
    """One episode in each of n environments, with draws from the policy.

    Returns
    -------
    observations, torques, log_probs, rewards : numpy.ndarray
        Of shapes (201, n, 3), (200, n, 1), (200, n) and (200, n).
    """
    n = environments.num_envs
    observations, torques = np.empty((N_STEP + 1, n, 3)), np.empty((N_STEP, n, 1))
    log_probs, rewards = np.empty((N_STEP, n)), np.empty((N_STEP, n))
    observations[0], _ = environments.reset()
    for t in range(N_STEP):
        mean = policy.mean(observations[t])
        start = time.perf_counter()
        d = policy.of_mean(mean)
        d.sample(rng=rng, out=torques[t])
        d.log_prob(torques[t], out=log_probs[t])
        drawn = time.perf_counter()
        observations[t + 1], rewards[t], *_ = environments.step(torques[t])
        clock.policy += drawn - start
        clock.environments += time.perf_counter() - drawn
    clock.steps += N_STEP * n
    return observations, torques, log_probs, rewards


def advantages(rewards: Array, values: Array) -> Array:
    """Generalized advantage estimates (200, n) by rewards (200, n) and expectations (201, n).

    An episode ends because time is up, not because nothing is to come: what is expected then counts.
    """
    surprises = rewards + DISCOUNT * values[1:] - values[:-1]
    result, later = np.empty_like(surprises), np.zeros(surprises.shape[1])
    for t in reversed(range(N_STEP)):
        result[t] = later = surprises[t] + DISCOUNT * TRACE * later
    return result


class Trial(NamedTuple):
    """Episodes without learning: observations (201, 100, 3) and returns (100,)."""

    observations: Array
    returns: Array


def evaluate(act: Callable[[Array], Array], seed: int) -> Trial:
    """Episodes with torques `act(observations)`; a seed gives all the same beginnings."""
    environments = make(N_TEST)
    observations, returns = np.empty((N_STEP + 1, N_TEST, 3)), np.zeros(N_TEST)
    observations[0], _ = environments.reset(seed=seed)
    for t in range(N_STEP):
        observations[t + 1], rewards, *_ = environments.step(act(observations[t]))
        returns += rewards
    environments.close()
    return Trial(observations, returns)


# ---- learning ------------------------------------------------------------------------------------


def train(seed: int, iterations: int, clock: Clock) -> tuple[Policy, list[float]]:
    """A policy, and the mean return of the episodes of each iteration."""
    rng = fd.default_rng(seed)
    environments = make(N_ENV)
    environments.reset(seed=int(rng.integers(2**31)))
    policy, value = Policy(rng), MLP([3, 64, 64, 1], rng)
    adam, adam_value = Adam(policy.parameters, RATE), Adam(value.parameters, RATE)
    curve: list[float] = []
    with tqdm(range(iterations), unit="iteration", desc=f"seed {seed}", disable=None) as bar:
        for iteration in bar:
            observations, torques, log_probs, rewards = play(environments, policy, rng, clock)
            values = value(observations / OBSERVED)[..., 0]
            advantage = advantages(rewards / REWARD, values)
            steps = Steps(
                observations[:-1].reshape(-1, 3),
                torques.reshape(-1, 1),
                log_probs.ravel(),
                ((advantage - advantage.mean()) / advantage.std()).ravel(),
                (advantage + values[:-1]).ravel(),
            )
            rate = RATE * (1 - iteration / iterations)
            for _ in range(EPOCHS):
                for batch in rng.permutation(len(steps.advantages)).reshape(-1, N_BATCH):
                    some = Steps(*(array[batch] for array in steps))
                    adam.step(surrogate(policy, some)[1], rate)
                    foretold, pull_value = value.vjp(some.observations / OBSERVED)
                    _, gradients = pull_value(2 / N_BATCH * (foretold - some.to_come[:, np.newaxis]))
                    adam_value.step(gradients, rate)
            curve.append(float(rewards.sum(axis=0).mean()))
            bar.set_postfix_str(f"return {curve[-1]:.0f}")
    environments.close()
    return policy, curve


# ---- the picture ---------------------------------------------------------------------------------


def picture(policy: Policy, trial: Trial, curves: Array, random: float, zero: float) -> Figure:
    """Learning curves (seeds, iterations) with what they are compared to, and one of the policies at work."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    figure.suptitle("A Gaussian policy learns to swing a pendulum up (Pendulum-v1)", fontsize="x-large")
    learning, plane = figure.subplots(1, 2, width_ratios=[1.15, 1])

    n_seed, n_iteration = curves.shape
    thousands = N_ENV * N_STEP * np.arange(1, n_iteration + 1) / 1000
    learning.plot(thousands, curves.T, color="#56B4E9", linewidth=0.8)
    mean = curves.mean(axis=0)
    learning.plot(thousands, mean, color="#0072B2", linewidth=2, label=f"policy, mean of {n_seed} runs")
    learning.axhline(random, color="#D55E00", linestyle="--", label="random torque")
    learning.axhline(zero, color="0.4", linestyle=":", linewidth=2, label="no torque")
    learning.set(
        title="Learning curves",
        xlabel="environment steps (thousands)",
        ylabel="return of an episode (sum of rewards)",
        ylim=(None, 0),
    )
    learning.legend(loc="center right")

    plane.set_title("What the first seed has learned")
    draw_plane(figure, plane, policy.mean, trial, "torque, on average (N m)")
    return figure


def draw_plane(figure: Figure, plane: Axes, act: Callable[[Array], Array], trial: Trial, label: str) -> None:
    """Torques over the plane of states, and the way of the episode that begins nearest the bottom."""
    angle, velocity = np.meshgrid(np.linspace(-np.pi, np.pi, 121), np.linspace(-8, 8, 121))
    torque = act(np.stack([np.cos(angle), np.sin(angle), velocity], axis=-1))[..., 0]
    torque = np.clip(torque, -TORQUE, TORQUE)
    mesh = plane.pcolormesh(np.degrees(angle), velocity, torque, cmap="RdBu_r", rasterized=True)
    figure.colorbar(mesh, ax=plane, label=label)
    cos, sin, speed = trial.observations[:, trial.observations[0, :, 0].argmin()].T
    path = np.degrees(np.arctan2(sin, cos))
    # Broken where the angle jumps.
    line = np.where(np.abs(np.diff(path, prepend=path[0])) > 180, np.nan, path)
    plane.plot(line, speed, color="black", linewidth=1.2)
    plane.plot(path[0], speed[0], "ok", clip_on=False, label="an episode begins")
    plane.plot(path[-1], speed[-1], "*k", markerfacecolor="gold", markersize=14, label="and ends")
    plane.set(
        xlabel="angle from upright (degrees)",
        ylabel="angular velocity (rad/s)",
        xticks=range(-180, 181, 90),
        xlim=(-180, 180),
        ylim=(-8, 8),
    )
    # Below the panel: there is no telling where the line goes.
    plane.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, compare, draw."""
    options = parser("A Gaussian policy learns to swing a pendulum up.", "policy_gradient_pendulum.png")
    iterations = f"of {N_ENV} episodes each (default: {ITERATIONS})"
    options.add_argument("--iterations", type=at_least(1), metavar="N", help=iterations)
    seeds = f"number of runs, with seeds from --seed on (default: {SEEDS})"
    options.add_argument("--seeds", type=at_least(1), metavar="N", help=seeds)
    given = options.parse_args(arguments)
    n_iteration = given.iterations or (QUICK_ITERATIONS if given.quick else ITERATIONS)
    n_seed = given.seeds or (QUICK_SEEDS if given.quick else SEEDS)

    threadpool_limits(1, "blas")  # two threads would wait for each other most of the time
    clock, start = Clock(), time.perf_counter()
    runs = [train(seed, n_iteration, clock) for seed in range(given.seed, given.seed + n_seed)]
    duration = time.perf_counter() - start

    rng = fd.default_rng(given.seed)
    random = evaluate(lambda _: rng.uniform(-TORQUE, TORQUE, (N_TEST, 1)), given.seed)
    zero = evaluate(lambda _: np.zeros((N_TEST, 1)), given.seed)
    learned = [evaluate(policy.mean, given.seed) for policy, _ in runs]

    print(f"Return of an episode, mean of {N_TEST} that begin alike, ± its standard error")
    print(f"{mean_return(random)}  random torque")
    print(f"{mean_return(zero)}  no torque")
    for i, trial in enumerate(learned):
        steps = f"policy after {n_iteration * N_ENV * N_STEP:,} steps, seed {given.seed + i}"
        print(f"{mean_return(trial)}  {steps}")
    print(
        f"Sampling and scoring took {clock.policy:.2f} of {duration:.1f} s, {N_ENV} actions at a time: "
        f"{clock.steps / clock.policy:,.0f} environment steps a second.\n"
        f"The environments themselves take {clock.steps / clock.environments:,.0f} steps a second."
    )
    curves = np.array([curve for _, curve in runs])
    write(picture(runs[0][0], learned[0], curves, random.returns.mean(), zero.returns.mean()), given.output)


def mean_return(trial: Trial) -> str:
    """Mean return and its standard error, as the tables have it."""
    return f"{trial.returns.mean():8.0f} ± {trial.returns.std() / np.sqrt(N_TEST):.0f}"


if __name__ == "__main__":
    main()
