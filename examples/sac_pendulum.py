"""A squashed Gaussian policy swings a pendulum up, off-policy: `python examples/sac_pendulum.py`.

The pendulum is that of policy_gradient_pendulum.py, which throws its steps away after each iteration. Soft
Actor-Critic keeps them all, and learns from any of them what an action is worth (T. Haarnoja et al., "Soft
actor-critic algorithms and applications", 2018), so that it needs far fewer:

    policy   torque / 2 = tanh(x),  x ~ Normal(loc(observation), scale(observation))
    critics  what is to come after an action, of rewards and of entropy; of two the lower one counts
    loss     of the policy: temperature * log_prob(action) - critic(observation, action), on average

Both terms need the action and its density at once, as functions of loc and scale. `sample_and_log_prob` makes
them of the same noise, and `fd.vjp` takes gradients by the two back to loc and scale. The density is right
where an action has been rounded to 1, so that nothing is clamped: neither scales nor actions.

Policy      network and distribution
Learner     policy, critics, temperature, each with its loss and gradient
Memory      all steps so far
train       the loop, for one seed
reached     after how many steps a mean return is
picture     learning curves, and what has been learned
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import fastdist as fd
from command import at_least, parser, write
from nets import MLP, Adam, Array

try:
    from matplotlib.figure import Figure
    from threadpoolctl import threadpool_limits
    from tqdm import tqdm

    import policy_gradient_pendulum as pendulum
except ImportError as error:
    packages = "gymnasium matplotlib threadpoolctl tqdm"
    sys.exit(f"sac_pendulum.py: error: {error}; what it needs: pip install {packages}")

N_ENV = 10
N_STEP = pendulum.N_STEP  # of an episode
DISCOUNT = 0.98  # of what is to come, per step
RATE = 1e-3  # of Adam
N_BATCH = 128  # steps per gradient
N_GRADIENT = 5  # whenever each environment has made a step
FOLLOW = 0.005  # how much of a critic its slow copy takes over at a time
ENTROPY = -1.0  # that an action is to have, on average: the temperature sees to it
GOAL = -200.0
ITERATIONS, QUICK_ITERATIONS = 8, 5
SEEDS, QUICK_SEEDS = 3, 1


class Policy:
    """The tanh of a Normal whose mean and log scale are the outputs of a network.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the weights.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.network = MLP([3, 64, 64, 2], rng)

    def __call__(self, observations: Array) -> fd.TransformedDistribution:
        """Distribution of actions, from -1 to 1, for observations (..., 3): a batch of events (1,)."""
        return self.of_outputs(self.network(observations / pendulum.OBSERVED))

    @staticmethod
    def of_outputs(outputs: Array) -> fd.TransformedDistribution:
        """The distribution for outputs (..., 2) of the network."""
        normal = fd.Normal(outputs[..., :1], np.exp(outputs[..., 1:]))
        return fd.TransformedDistribution(fd.Independent(normal, 1), [fd.transforms.TanhTransform()])

    def torque(self, observations: Array) -> Array:
        """What it does if nothing is drawn: torques (..., 1) of the median action."""
        return pendulum.TORQUE * np.tanh(self.network(observations / pendulum.OBSERVED)[..., :1])


class Steps(NamedTuple):
    """n steps: observations (n, 3), actions (n, 1) from -1 to 1, rewards (n,), next observations."""

    observations: Array
    actions: Array
    rewards: Array
    nexts: Array


class Learner:
    """A policy, two critics with slow copies, and the logarithm of a temperature; all drawn by `rng`."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.policy = Policy(rng)
        self.critics = [MLP([4, 64, 64, 1], rng) for _ in range(2)]
        self.slow = copy.deepcopy(self.critics)
        self.log_temperature = np.zeros(1)

    def follow(self) -> None:
        """Move the slow copies a little of the way to their critics."""
        for critic, slow in zip(self.critics, self.slow, strict=True):
            for p, q in zip(critic.parameters, slow.parameters, strict=True):
                q += FOLLOW * (p - q)

    def to_come(self, steps: Steps, rng: np.random.Generator) -> Array:
        """What the critics should say (n,): the reward, and what the slow ones say of a next action.

        An episode ends because time is up, not because nothing is to come.
        """
        action, log_prob = self.policy(steps.nexts).sample_and_log_prob(rng=rng)
        x = inputs(steps.nexts, action)
        later = np.minimum(*(slow(x)[:, 0] for slow in self.slow))
        return steps.rewards + DISCOUNT * (later - np.exp(self.log_temperature) * log_prob)

    def policy_loss(self, observations: Array, rng: np.random.Generator) -> tuple[float, list[Array], float]:
        """The policy's loss, its gradient by the network's parameters, and the actions' mean log density."""
        n = len(observations)
        outputs, pull_network = self.policy.network.vjp(observations / pendulum.OBSERVED)
        d = self.policy.of_outputs(outputs)
        (action, log_prob), pull_draw = fd.vjp(d.sample_and_log_prob, rng=rng)
        (worth, pull), (other, pull_other) = (c.vjp(inputs(observations, action)) for c in self.critics)
        temperature = float(np.exp(self.log_temperature[0]))
        loss = float(np.mean(temperature * log_prob - np.minimum(worth, other)[:, 0]))

        lower = worth < other
        by_inputs = pull(np.where(lower, -1 / n, 0.0))[0] + pull_other(np.where(lower, 0.0, -1 / n))[0]
        by_d = pull_draw((by_inputs[:, 3:], temperature / n))["base_distribution"]
        by_outputs = np.concatenate([by_d["loc"], by_d["scale"] * np.exp(outputs[:, 1:])], axis=-1)
        return loss, pull_network(by_outputs)[1], float(log_prob.mean())


def inputs(observations: Array, actions: Array) -> Array:
    """What a critic sees: (n, 4)."""
    return np.concatenate([observations / pendulum.OBSERVED, actions], axis=-1)


def critic_loss(critic: MLP, steps: Steps, to_come: Array) -> tuple[float, list[Array]]:
    """Mean square of a critic's errors, and its gradient by the critic's parameters."""
    foretold, pull = critic.vjp(inputs(steps.observations, steps.actions))
    errors = foretold[:, 0] - to_come
    return float(np.mean(errors**2)), pull(2 / len(errors) * errors[:, np.newaxis])[1]


# ---- learning ------------------------------------------------------------------------------------


class Memory:
    """Steps, as many as there is room for."""

    def __init__(self, room: int) -> None:
        self.steps = Steps(np.empty((room, 3)), np.empty((room, 1)), np.empty(room), np.empty((room, 3)))
        self.n = 0

    def add(self, steps: Steps) -> None:
        """Keep some more."""
        end = self.n + len(steps.rewards)
        for kept, new in zip(self.steps, steps, strict=True):
            kept[self.n : end] = new
        self.n = end

    def some(self, rng: np.random.Generator) -> Steps:
        """A batch of them, drawn with replacement."""
        chosen = rng.integers(self.n, size=N_BATCH)
        return Steps(*(array[chosen] for array in self.steps))


def train(seed: int, iterations: int) -> tuple[Policy, list[float]]:
    """A policy, and the mean return of the episodes of each iteration; a gradient for every second step."""
    rng = fd.default_rng(seed)
    environments = pendulum.make(N_ENV)
    environments.reset(seed=int(rng.integers(2**31)))
    learner, memory = Learner(rng), Memory(iterations * N_ENV * N_STEP)
    of_policy = Adam(learner.policy.network.parameters, RATE)
    of_critics = [Adam(critic.parameters, RATE) for critic in learner.critics]
    of_temperature = Adam([learner.log_temperature], RATE)
    curve: list[float] = []
    with tqdm(range(iterations), unit="iteration", desc=f"seed {seed}", disable=None) as bar:
        for _ in bar:
            observations, _ = environments.reset()
            total = np.zeros(N_ENV)
            for _ in range(N_STEP):
                actions = learner.policy(observations).sample(rng=rng)
                nexts, rewards, *_ = environments.step(pendulum.TORQUE * actions)
                total += rewards
                memory.add(Steps(observations, actions, rewards / pendulum.REWARD, nexts))
                observations = nexts
                for _ in range(N_GRADIENT):
                    some = memory.some(rng)
                    to_come = learner.to_come(some, rng)
                    for critic, adam in zip(learner.critics, of_critics, strict=True):
                        adam.step(critic_loss(critic, some, to_come)[1])
                    _, gradients, log_prob = learner.policy_loss(some.observations, rng)
                    of_policy.step(gradients)
                    # Actions of too little entropy raise the temperature.
                    of_temperature.step([np.array([-(log_prob + ENTROPY)])])
                    learner.follow()
            curve.append(float(total.mean()))
            bar.set_postfix_str(f"return {curve[-1]:.0f}")
    environments.close()
    return learner.policy, curve


def reached(curve: Sequence[float], steps: int) -> str:
    """When a curve with a point every so many steps first is at the goal."""
    for i, mean in enumerate(curve, 1):
        if mean >= GOAL:
            return f"{GOAL:.0f} after {i * steps:,} steps"
    return f"below {GOAL:.0f} for all of {len(curve) * steps:,} steps"


# ---- the picture ---------------------------------------------------------------------------------


def picture(policy: Policy, trial: pendulum.Trial, curves: Array, on_policy: Sequence[float]) -> Figure:
    """Learning curves (seeds, iterations) beside that of the other program, and one policy at work."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    figure.suptitle("A squashed Gaussian policy swings a pendulum up (Pendulum-v1)", fontsize="x-large")
    learning, plane = figure.subplots(1, 2, width_ratios=[1.15, 1])

    n_seed, n_iteration = curves.shape
    thousands = N_ENV * N_STEP * np.arange(1, n_iteration + 1) / 1000
    learning.plot(thousands, curves.T, color="#56B4E9", linewidth=0.8)
    label = f"Soft Actor-Critic, mean of {n_seed}"
    learning.plot(thousands, curves.mean(axis=0), color="#0072B2", linewidth=2, label=label)
    if on_policy:
        thousands = pendulum.N_ENV * N_STEP * np.arange(1, len(on_policy) + 1) / 1000
        learning.plot(thousands, on_policy, color="#D55E00", label="policy_gradient_pendulum.py")
    learning.axhline(GOAL, color="0.4", linestyle=":", linewidth=2)
    learning.set(
        title="Learning curves",
        xlabel="environment steps (thousands)",
        ylabel="return of an episode (sum of rewards)",
        xscale="log",
        ylim=(None, 0),
    )
    learning.xaxis.set_major_formatter("{x:g}")
    learning.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)

    plane.set_title("What the first seed has learned")
    pendulum.draw_plane(figure, plane, policy.torque, trial, "torque, median (N m)")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, compare, draw."""
    options = parser("A squashed Gaussian policy learns to swing a pendulum up.", "sac_pendulum.png")
    iterations = f"of {N_ENV} episodes each (default: {ITERATIONS})"
    options.add_argument("--iterations", type=at_least(1), metavar="N", help=iterations)
    seeds = f"number of runs, with seeds from --seed on (default: {SEEDS})"
    options.add_argument("--seeds", type=at_least(1), metavar="N", help=seeds)
    given = options.parse_args(arguments)
    n_iteration = given.iterations or (QUICK_ITERATIONS if given.quick else ITERATIONS)
    n_seed = given.seeds or (QUICK_SEEDS if given.quick else SEEDS)

    threadpool_limits(1, "blas")
    runs = [train(seed, n_iteration) for seed in range(given.seed, given.seed + n_seed)]
    learned = [pendulum.evaluate(policy.torque, given.seed) for policy, _ in runs]
    on_policy: list[float] = []
    if not given.quick:
        _, on_policy = pendulum.train(given.seed, pendulum.ITERATIONS, pendulum.Clock())

    print(f"Return of an episode, mean of {pendulum.N_TEST} that begin alike, ± its standard error")
    for i, (trial, (_, curve)) in enumerate(zip(learned, runs, strict=True)):
        steps = f"policy after {n_iteration * N_ENV * N_STEP:,} steps, seed {given.seed + i}"
        print(f"{pendulum.mean_return(trial)}  {steps}; in training {reached(curve, N_ENV * N_STEP)}")
    if on_policy:
        print(f"policy_gradient_pendulum.py in training: {reached(on_policy, pendulum.N_ENV * N_STEP)}")
    curves = np.array([curve for _, curve in runs])
    write(picture(runs[0][0], learned[0], curves, on_policy), given.output)


if __name__ == "__main__":
    main()
