"""The programs in ``examples/``: their gradients, and that a short run of each learns.

Baselines are computed again, another way; gradients are held against central differences.
"""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from scipy import integrate, stats
from threadpoolctl import threadpool_limits

import fastdist as fd
import gp_co2 as process
import kalman_nile as nile
import mixture_iris as mixture
import policy_gradient_pendulum as pendulum
import portfolio_var as portfolio
import qmc_option as option
import sac_pendulum as sac
import thompson_digits as thompson
import vae_digits as vae
from nets import MLP, Adam

pytestmark = pytest.mark.any_isa  # programs over public calls, whose bits other tests hold

EXAMPLES = Path(vae.__file__).parent


def run(name, *arguments, **kwargs):
    """An example as a user runs it."""
    command = [sys.executable, EXAMPLES / name, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)


@pytest.fixture(autouse=True)
def one_thread():
    """As the programs do, which don't put it back."""
    with threadpool_limits(1, "blas"):
        yield


def numbers(text):
    """What the lines of a table begin with, by the rest of the line."""
    rows = re.findall(r"^ +(-?[\d.]+)(?: ± \d+)?  (.*)$", text, re.MULTILINE)
    return {name: float(value) for value, name in rows}


def check_gradient(loss, parameters, gradients, rng):
    """`gradients` of `loss()` by the arrays `parameters`, each along three random directions."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        assert gradient.shape == parameter.shape
        for _ in range(3):
            direction = rng.choice([-1.0, 1.0], parameter.shape)
            before, step = parameter.copy(), 1e-5
            parameter += step * direction
            above = loss()
            parameter -= 2 * step * direction
            below = loss()
            parameter[...] = before
            slope = (above - below) / (2 * step)
            scale = np.sqrt(np.sum(gradient**2))
            assert abs(slope - np.sum(gradient * direction)) <= 1e-6 * (abs(slope) + scale)


def test_mlp_gradients():
    rng = np.random.default_rng(0)
    net, x, g = MLP([4, 7, 5, 3], rng), rng.normal(size=(6, 4)), rng.normal(size=(6, 3))
    y, pullback = net.vjp(x)
    by_x, gradients = pullback(g)
    np.testing.assert_array_equal(net(x), y)
    check_gradient(lambda: np.sum(g * net(x)), [x, *net.parameters], [by_x, *gradients], rng)


def test_adam_minimises():
    """Steps of the rate at first, whatever the gradient's size; then down to the minimum of a bad bowl."""
    x = [np.array([3.0, -2.0]), np.array(5.0)]
    adam = Adam(x, 0.1)
    curvature = [np.array([1.0, 100.0]), np.array(0.01)]
    for i in range(500):
        adam.step([c * p for c, p in zip(curvature, x, strict=True)])
        if i == 0:
            np.testing.assert_allclose(np.concatenate([x[0], [x[1]]]), [2.9, -1.9, 4.9], rtol=1e-6)
    assert max(np.abs(p).max() for p in x) < 1e-2


# ---- the autoencoder -----------------------------------------------------------------------------


def test_vae_gradients():
    """Through the draw, the divergence and the density, with the same draw each time."""
    rng = fd.default_rng(0)
    model = vae.VAE(rng)
    for parameter in model.parameters:  # away from the small weights at the beginning
        parameter += rng.normal(0, 0.05, parameter.shape)
    x = vae.load(rng).held_out[:7]
    loss, gradients = model.loss(x, fd.default_rng(1))
    assert loss == model.loss(x, fd.default_rng(1))[0]
    check_gradient(lambda: model.loss(x, fd.default_rng(1))[0], model.parameters, gradients, rng)


def test_vae_bounds():
    """By few draws below, by many close to, the density of a linear Gaussian model, which is known."""
    model = vae.VAE(fd.default_rng(0))
    rng = np.random.default_rng(1)
    weight, noise = rng.normal(0, 0.5, (vae.N_PIXEL, vae.N_LATENT)), 2.0
    covariance = weight @ weight.T + noise**2 * np.eye(vae.N_PIXEL)
    x = rng.multivariate_normal(np.zeros(vae.N_PIXEL), covariance, 50)
    precision = np.eye(vae.N_LATENT) + weight.T @ weight / noise**2
    loc = x @ weight @ np.linalg.inv(precision).T / noise**2
    model.decode = lambda z: fd.Independent(fd.Normal(z @ weight.T, noise), 1)
    model.encode = lambda x: fd.Independent(fd.Normal(loc, np.diag(precision) ** -0.5), 1)  # best of its kind
    gap = np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x)
    exact = -0.5 * (gap + np.linalg.slogdet(2 * np.pi * covariance)[1]).mean()
    elbo, weighted = vae.bounds(model, x, 4000, fd.default_rng(2))
    divergence = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    assert divergence > 0.2
    assert elbo == pytest.approx(exact - divergence, abs=0.03)
    assert weighted == pytest.approx(exact, abs=0.01)


def test_digits():
    """Each image once, to train or to test, with its own label."""
    digits = vae.load(fd.default_rng(0))
    counts = np.floor(np.concatenate([digits.train, digits.held_out])).astype(np.uint8)
    with np.load(EXAMPLES / "data" / "digits.npz") as data:
        labels = {image.tobytes(): label for image, label in zip(data["images"], data["labels"], strict=True)}
        assert sorted(map(bytes, counts)) == sorted(map(bytes, data["images"]))
    assert [labels[bytes(image)] for image in counts[-300:]] == digits.labels.tolist()
    assert np.array_equal(digits.train, counts[:-300])  # the noise comes in training
    noise = digits.held_out - counts[-300:]
    assert abs(noise.mean() - 0.5) < 0.01


def test_baselines():
    """By numpy alone: the Gaussians that PCA and the pixels' moments give, on the noisy images."""
    digits = vae.load(fd.default_rng(3))
    found = vae.baselines(digits)
    train = digits.train + 0.5
    gap = digits.held_out - train.mean(axis=0)
    variance = train.var(axis=0) + 1 / 12
    apart = -0.5 * (gap**2 / variance + np.log(2 * np.pi * variance)).sum(axis=1)
    assert found.apart == pytest.approx(apart.mean())

    _, s, vt = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)
    spectrum = s**2 / len(train) + 1 / 12
    by_k = []
    for k in range(1, 64):
        noise = spectrum[k:].mean()
        covariance = noise * np.eye(64) + vt[:k].T @ np.diag(spectrum[:k] - noise) @ vt[:k]
        mahalanobis = np.einsum("ni,ij,nj->n", gap, np.linalg.inv(covariance), gap)
        by_k.append(-0.5 * (mahalanobis.mean() + np.linalg.slogdet(2 * np.pi * covariance)[1]))
    assert found.pca == pytest.approx(by_k[9])
    assert found.best_pca == pytest.approx(max(by_k))
    assert found.n_best == np.argmax(by_k) + 1


@pytest.fixture(scope="module")
def quick_vae(tmp_path_factory):
    """What a quick run printed, and the folder with its picture."""
    folder = tmp_path_factory.mktemp("vae")
    result = run("vae_digits.py", "--quick", cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout, folder


def test_vae_beats_the_baselines(quick_vae):
    """By a few nats after 40 epochs already; an image of 64 pixels, each a nat or so."""
    text, _ = quick_vae
    apart, pca, best_pca, elbo, weighted = numbers(text).values()
    assert pca < best_pca
    assert elbo > apart + 20
    assert elbo > best_pca + 5
    assert elbo < weighted < elbo + 10


def test_vae_picture(quick_vae):
    text, folder = quick_vae
    assert text.endswith("Wrote vae_digits.png\n")
    check_picture(folder / "vae_digits.png", (760, 1100))


def check_picture(path, shape):
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert 20_000 < path.stat().st_size < 200_000
    pixels = imread(path)
    assert pixels.shape[:2] == shape
    assert pixels.min() < 0.1


def levels(ax):
    """Heights of the horizontal lines across a panel."""
    lines = [line.get_ydata() for line in ax.lines if list(line.get_xdata()) == [0, 1]]
    return sorted(float(low) for low, high in lines if low == high)


def check_texts(figure, axes):
    """Titles, and the axes named; none leaves the picture or runs into another."""
    figure.draw_without_rendering()
    texts = [figure._suptitle]
    for ax in axes:
        assert ax.get_title()
        assert not ax.axison or (ax.get_xlabel() and ax.get_ylabel())
        texts += [
            text for text in (ax.title, ax.xaxis.label, ax.yaxis.label) if text.get_text() and ax.axison
        ]
    boxes = [text.get_window_extent() for text in texts]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_vae_picture_shows_the_numbers():
    rng = fd.default_rng(0)
    digits, model, curve = vae.load(rng), vae.VAE(rng), [-200.0, -120.0, -111.0]
    baseline = vae.Baselines(apart=-150.0, pca=-161.0, best_pca=-130.0, n_best=54)
    figure = vae.picture(model, digits, curve, baseline, rng)
    reconstructions, samples, latent, learning = figure.axes
    check_texts(figure, figure.axes)
    assert levels(learning) == [-161.0, -150.0, -130.0]
    assert learning.lines[0].get_ydata().tolist() == curve
    assert [text.get_text() for text in learning.texts][1].startswith("PCA-Gaussian, 54 components")
    tiles = reconstructions.images[0].get_array()
    first = digits.held_out[digits.labels == 4][0].reshape(8, 8)
    np.testing.assert_array_equal(tiles[:8, 36:44], first)
    np.testing.assert_allclose(
        tiles[9:17, 36:44], model.decode(model.encode(first.ravel()).mean).mean.reshape(8, 8)
    )
    assert samples.images[0].get_array().shape == (71, 89)
    assert sum(len(dots.get_offsets()) for dots in latent.collections) == 300


def test_vae_same_seed_same_bits(tmp_path, capsys):
    def outcome(seed):
        output = tmp_path / "vae.png"
        vae.main(["--seed", str(seed), "--epochs", "2", "--output", str(output)])
        return capsys.readouterr().out, output.read_bytes()

    first, again, other = outcome(5), outcome(5), outcome(6)
    assert first == again
    assert first[0] != other[0]


# ---- the policy ----------------------------------------------------------------------------------


def some_steps(rng, n=40):
    """Steps of a policy that has moved on since, some of them clipped, none close to that."""
    policy = pendulum.Policy(rng)
    angle = rng.uniform(-np.pi, np.pi, n)
    observations = np.stack([np.cos(angle), np.sin(angle), rng.uniform(-8, 8, n)], axis=-1)
    d = policy(observations)
    torques = d.sample(rng=rng)
    ratio = rng.permutation(np.linspace(0.5, 1.5, n))
    return policy, pendulum.Steps(
        observations, torques, d.log_prob(torques) - np.log(ratio), rng.normal(size=n), np.zeros(n)
    )


def test_surrogate():
    """Its value by the definition, its gradient by differences."""
    rng = fd.default_rng(0)
    policy, steps = some_steps(rng)
    loss, gradients = pendulum.surrogate(policy, steps)
    loc, scale = policy.mean(steps.observations)[:, 0], np.exp(policy.log_scale[0])
    log_prob = -0.5 * ((steps.torques[:, 0] - loc) / scale) ** 2 - np.log(scale * np.sqrt(2 * np.pi))
    ratio = np.exp(log_prob - steps.log_probs)
    gains = [min(r * a, min(max(r, 0.8), 1.2) * a) for r, a in zip(ratio, steps.advantages, strict=True)]
    assert np.any(gains != ratio * steps.advantages)
    assert loss == pytest.approx(-np.mean(gains))
    check_gradient(lambda: pendulum.surrogate(policy, steps)[0], policy.parameters, gradients, rng)


def test_advantages():
    """Against the double sum, each step by itself."""
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=(pendulum.N_STEP, 3)), rng.normal(size=(pendulum.N_STEP + 1, 3))
    found = pendulum.advantages(rewards, values)
    for t in (0, 57, pendulum.N_STEP - 1):
        later = range(t, pendulum.N_STEP)
        surprises = [rewards[s] + 0.9 * values[s + 1] - values[s] for s in later]
        expected = sum((0.9 * 0.95) ** i * surprise for i, surprise in enumerate(surprises))
        np.testing.assert_allclose(found[t], expected)


def test_play_is_gymnasium():
    """Torques are draws from the policy, scored by it, and what follows is what gymnasium does."""
    rng = fd.default_rng(0)
    policy, clock = pendulum.Policy(rng), pendulum.Clock()
    environments = pendulum.make(2)
    environments.reset(seed=3)
    observations, torques, log_probs, rewards = pendulum.play(environments, policy, fd.default_rng(1), clock)
    assert clock.steps == 2 * 200
    d = policy(observations[:-1])
    np.testing.assert_allclose(log_probs, d.log_prob(torques), rtol=1e-9)
    z = (torques - d.mean) / d.stddev
    np.testing.assert_allclose(z, fd.standard_normal(z.shape, rng=1), atol=1e-9)
    cos, sin, speed = np.moveaxis(observations, -1, 0)
    angle, torque = np.arctan2(sin, cos), np.clip(torques[..., 0], -2, 2)
    costs = angle[:-1] ** 2 + 0.1 * speed[:-1] ** 2 + 0.001 * torque**2
    np.testing.assert_allclose(rewards, -costs, rtol=1e-4, atol=1e-5)
    turned = np.clip(speed[:-1] + 0.05 * (15 * sin[:-1] + 3 * torque), -8, 8)
    np.testing.assert_allclose(speed[1:], turned, atol=1e-5)


@pytest.fixture(scope="module")
def quick_policy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    result = run("policy_gradient_pendulum.py", "--quick", cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout, folder


def test_policy_beats_the_baselines(quick_policy):
    """After 48,000 steps by far more than the spread of the means, some 40."""
    text, _ = quick_policy
    random, zero, learned = numbers(text).values()
    assert -1400 < random < -1000
    assert -1400 < zero < -1000
    assert learned > max(random, zero) + 300


def test_policy_speed_is_told(quick_policy):
    text, _ = quick_policy
    seconds, total, per_second = re.search(
        r"Sampling and scoring took ([\d.]+) of ([\d.]+) s, 16 actions at a time: ([\d,]+) environment steps",
        text,
    ).groups()
    assert 0 < float(seconds) < float(total)
    assert float(seconds) == pytest.approx(48_000 / int(per_second.replace(",", "")), abs=0.0051)  # rounded


def test_policy_picture(quick_policy):
    text, folder = quick_policy
    assert text.endswith("Wrote policy_gradient_pendulum.png\n")
    check_picture(folder / "policy_gradient_pendulum.png", (460, 1100))


def test_policy_picture_shows_the_numbers():
    policy = pendulum.Policy(fd.default_rng(0))
    angle = np.linspace(np.pi, 0, 201)
    way = np.stack([np.cos(angle), np.sin(angle), np.ones(201)], axis=-1)
    trial = pendulum.Trial(np.stack([way[::-1], way], axis=1), np.zeros(2))  # the second begins at the bottom
    curves = np.array([[-1200.0, -400.0], [-1100.0, -200.0]])
    figure = pendulum.picture(policy, trial, curves, -1198.0, -1180.0)
    learning, plane, bar = figure.axes
    check_texts(figure, [learning, plane])
    assert bar.get_ylabel() == "torque, on average (N m)"
    assert levels(learning) == [-1198.0, -1180.0]
    assert [line.get_ydata().tolist() for line in learning.lines[:3]] == [*curves.tolist(), [-1150.0, -300.0]]
    np.testing.assert_allclose(learning.lines[0].get_xdata(), [3.2, 6.4])
    np.testing.assert_allclose(plane.lines[0].get_xdata(), np.linspace(180, 0, 201), atol=1e-9)
    torque = plane.collections[0].get_array()
    assert torque[60, 90] == pytest.approx(
        policy.mean(np.array([0.0, 1.0, 0.0]))[0]
    )  # at 90 degrees, at rest


def test_policy_same_seed_same_bits():
    (policy, curve), (again, curve_again), (_, other) = (
        pendulum.train(seed, 2, pendulum.Clock()) for seed in (4, 4, 5)
    )
    assert curve == curve_again != other
    for parameter, same in zip(policy.parameters, again.parameters, strict=True):
        np.testing.assert_array_equal(parameter, same)


# ---- the squashed policy -------------------------------------------------------------------------


def some_squashed_steps(rng, n=40):
    """A learner away from its beginning, and steps, some of whose actions are rounded to 1."""
    learner = sac.Learner(rng)
    for net in (learner.policy.network, *learner.critics, *learner.slow):
        for parameter in net.parameters:
            parameter += rng.normal(0, 0.1, parameter.shape)
    learner.policy.network.parameters[-1] += [0.0, 2.0]  # scales of 7, so that tanh saturates
    learner.log_temperature[:] = -0.7
    angle = rng.uniform(-np.pi, np.pi, (2, n))
    seen, then = np.stack([np.cos(angle), np.sin(angle), rng.uniform(-8, 8, (2, n))], axis=-1)
    return learner, sac.Steps(seen, rng.uniform(-1, 1, (n, 1)), rng.normal(size=n), then)


def by_definition(learner, observations, critics, seed):
    """Actions, and their log densities by log(1 - tanh²) = 2 log(sech), and the lower of two critics."""
    outputs = learner.policy.network(observations / [1, 1, 8])
    loc, log_scale = outputs[:, 0], outputs[:, 1]
    eps = fd.standard_normal(len(loc), rng=seed)
    x = loc + np.exp(log_scale) * eps
    log_sech = np.log(2) - np.abs(x) - np.log1p(np.exp(-2 * np.abs(x)))
    log_prob = -(eps**2) / 2 - log_scale - np.log(2 * np.pi) / 2 - 2 * log_sech
    action = np.tanh(x)
    seen = np.column_stack([observations / [1, 1, 8], action])
    return action, log_prob, np.minimum(critics[0](seen)[:, 0], critics[1](seen)[:, 0])


def test_squashed_policy_loss():
    """Its value by the definition, its gradient by differences, through actions of exactly 1, too."""
    rng = fd.default_rng(0)
    learner, steps = some_squashed_steps(rng)
    loss, gradients, mean = learner.policy_loss(steps.observations, fd.default_rng(1))
    action, log_prob, worth = by_definition(learner, steps.observations, learner.critics, 1)
    assert (np.abs(action) == 1).any()
    assert mean == pytest.approx(log_prob.mean())
    assert loss == pytest.approx(np.mean(np.exp(-0.7) * log_prob - worth))
    check_gradient(
        lambda: learner.policy_loss(steps.observations, fd.default_rng(1))[0],
        learner.policy.network.parameters,
        gradients,
        rng,
    )


def test_critic_loss():
    rng = fd.default_rng(0)
    learner, steps = some_squashed_steps(rng)
    to_come = learner.to_come(steps, fd.default_rng(1))
    _, log_prob, worth = by_definition(learner, steps.nexts, learner.slow, 1)
    np.testing.assert_allclose(to_come, steps.rewards + 0.98 * (worth - np.exp(-0.7) * log_prob))
    critic = learner.critics[1]
    loss, gradients = sac.critic_loss(critic, steps, to_come)
    seen = np.column_stack([steps.observations / [1, 1, 8], steps.actions])
    assert loss == pytest.approx(np.mean((critic(seen)[:, 0] - to_come) ** 2))
    check_gradient(lambda: sac.critic_loss(critic, steps, to_come)[0], critic.parameters, gradients, rng)


def test_slow_critics_follow():
    learner = sac.Learner(fd.default_rng(0))
    pairs = [
        (p, q)
        for critic, slow in zip(learner.critics, learner.slow, strict=True)
        for p, q in zip(critic.parameters, slow.parameters, strict=True)
    ]
    assert all(p is not q and np.array_equal(p, q) for p, q in pairs)
    for p, _ in pairs:
        p += 1
    learner.follow()
    assert all(np.allclose(p - q, 0.995) for p, q in pairs)


def test_memory():
    memory, rng = sac.Memory(30), fd.default_rng(0)
    for i in range(2):
        numbers = np.arange(10 * i, 10 * i + 10.0)
        column = numbers[:, np.newaxis]
        memory.add(sac.Steps(np.tile(column, 3), column, numbers, np.tile(column + 1, 3)))
    some = memory.some(rng)
    assert set(some.rewards) == set(range(20))  # of 128 drawn, all but in 20 (1 - 1/20)^128 = 3% of all cases
    np.testing.assert_array_equal(some.actions[:, 0], some.rewards)
    np.testing.assert_array_equal(some.observations, np.tile(some.actions, 3))
    np.testing.assert_array_equal(some.nexts, some.observations + 1)


def test_reached():
    assert sac.reached([-900.0, -200.0, -300.0], 2000) == "-200 after 4,000 steps"
    assert sac.reached([-900.0, -201.0], 2000) == "below -200 for all of 4,000 steps"


def test_squashed_policy_same_seed_same_bits(monkeypatch):
    monkeypatch.setattr(sac, "N_STEP", 20)
    (policy, curve), (again, curve_again), (_, other) = (sac.train(seed, 2) for seed in (4, 4, 5))
    assert curve == curve_again != other
    for parameter, same in zip(policy.network.parameters, again.network.parameters, strict=True):
        np.testing.assert_array_equal(parameter, same)


def test_squashed_policy_learns_in_fewer_steps(tmp_path):
    """10,000 steps, after which that of policy_gradient_pendulum.py is about as good as no torque, -1200."""
    result = run("sac_pendulum.py", "--quick", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    ((name, learned),) = numbers(result.stdout).items()
    assert name.startswith("policy after 10,000 steps, seed 0")
    assert learned > -400
    check_picture(tmp_path / "sac_pendulum.png", (460, 1100))


def test_squashed_policy_picture_shows_the_numbers():
    policy = sac.Policy(fd.default_rng(0))
    trial = pendulum.Trial(np.full((201, 2, 3), [1.0, 0.0, 0.0]), np.zeros(2))
    curves = np.array([[-1200.0, -400.0], [-1100.0, -200.0]])
    figure = sac.picture(policy, trial, curves, [-1100.0, -1000.0])
    learning, plane, bar = figure.axes
    check_texts(figure, [learning, plane])
    assert bar.get_ylabel() == "torque, median (N m)"
    assert levels(learning) == [-200.0]
    lines = [line.get_ydata().tolist() for line in learning.lines[:4]]
    assert lines == [*curves.tolist(), [-1150.0, -300.0], [-1100.0, -1000.0]]
    np.testing.assert_allclose(learning.lines[0].get_xdata(), [2.0, 4.0])
    np.testing.assert_allclose(learning.lines[3].get_xdata(), [3.2, 6.4])
    upright = policy(np.array([1.0, 0.0, 0.0]))
    median = 2 * np.tanh(upright.base_dist.base_dist.loc)
    assert plane.collections[0].get_array()[60, 60] == pytest.approx(median)


# ---- the bandit ----------------------------------------------------------------------------------


def test_beliefs():
    """Those of a Bayesian linear model of each arm, by its normal equations; draws have their moments."""
    rng = fd.default_rng(0)
    beliefs = thompson.Beliefs(5)
    precision, weighted = np.tile(np.eye(5), (10, 1, 1)), np.zeros((10, 5))
    for arm in (3, 7, 3, 3, 0):
        x, reward = rng.normal(size=5), rng.normal()
        beliefs.learn(arm, x, reward)
        precision[arm] += np.outer(x, x) / 0.2**2
        weighted[arm] += reward * x / 0.2**2
    x, rewards = rng.normal(size=5), rng.normal(size=10)
    beliefs.learn(slice(None), x, rewards)
    precision += np.outer(x, x) / 0.2**2
    weighted += rewards[:, np.newaxis] * x / 0.2**2

    covariance = np.linalg.inv(precision)
    mean = np.linalg.solve(precision, weighted[..., np.newaxis])[..., 0]
    x = rng.normal(size=5)
    deviation = np.sqrt(np.einsum("i,kij,j->k", x, covariance, x))
    np.testing.assert_allclose(beliefs.mean, mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(beliefs.expected(x), mean @ x, rtol=1e-9)
    np.testing.assert_allclose(beliefs.uncertainty(x), deviation, rtol=1e-9)
    z = np.array([(beliefs.drawn(x, rng) - mean @ x) / deviation for _ in range(4000)])
    assert abs(z.mean(0)).max() < 5 / np.sqrt(4000)  # a false alarm in 170,000 for ten of them
    assert abs(np.mean(z**2, 0) - 1).max() < 5 * np.sqrt(2 / 4000)


def test_contexts():
    x, digits = thompson.load()
    assert x.shape == (1797, 65)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1)
    with np.load(EXAMPLES / "data" / "digits.npz") as data:
        np.testing.assert_allclose(x[:, :64] / x[:, 64:] * 16, data["images"], atol=1e-12)
        assert np.array_equal(digits, data["labels"])


def test_bandits(tmp_path):
    """Regret is between chance and that of whoever is told the digit, and in the order that the README has."""
    result = run("thompson_digits.py", "--quick", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    wrong = {name.split(" (")[0]: count for name, count in numbers(result.stdout).items()}
    assert set(wrong) == set(thompson.POLICIES)
    assert abs(wrong["random"] - 0.9 * 1797) < 5 * np.sqrt(1797 * 0.09)
    assert wrong["told the digit"] < wrong["LinUCB"] - 30 < wrong["Thompson"] - 60
    assert wrong["Thompson"] < 450
    assert max(wrong["greedy"], wrong["epsilon-greedy"]) < 900
    check_picture(tmp_path / "thompson_digits.png", (480, 1100))


def test_bandits_picture_shows_the_numbers():
    rewards = {name: np.array([[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]) for name in thompson.POLICIES}
    beliefs = thompson.Beliefs(65)
    beliefs.mean[...] = np.arange(650).reshape(10, 65)
    figure = thompson.picture(rewards, beliefs)
    regret, weights, bar = figure.axes
    check_texts(figure, [regret, weights])
    assert bar.get_ylabel() == "weight of a pixel, mean"
    assert [line.get_ydata().tolist() for line in regret.lines] == 6 * [[0.5, 0.5, 1.5]]
    assert [text.get_text() for text in regret.get_legend().get_texts()] == list(rewards)
    tiles = weights.images[0].get_array()
    np.testing.assert_array_equal(tiles[9:17, 18:26], beliefs.mean[7, :64].reshape(8, 8))


# ---- the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["vae_digits.py", "policy_gradient_pendulum.py", "sac_pendulum.py", "thompson_digits.py"]
)
def test_missing_extra(tmp_path, name):
    (tmp_path / "tqdm.py").write_text("raise ModuleNotFoundError(\"No module named 'tqdm'\")")
    result = run(name, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"{name}: error: No module named 'tqdm'; what it needs: pip install ")
    assert " tqdm" in result.stderr.partition("pip install")[2]
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("example", [mixture, nile, option, process, portfolio, vae, pendulum, sac, thompson])
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--seed", "-1"], "argument --seed: must be an integer >= 0, got '-1'"),
        (["--output", "missing/picture.png"], "no file can be written to 'missing/picture.png'"),
        (["--output", "picture.xyz"], "its suffix must be one of "),
        (["--output", "picture"], "its suffix must be one of "),
    ],
)
def test_bad_arguments(tmp_path, monkeypatch, capsys, example, arguments, complaint):
    """Told before anything is trained."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        example.main(arguments)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("example", "option"),
    [
        (mixture, "--turns"),
        (process, "--draws"),
        (nile, "--particles"),
        (vae, "--epochs"),
        (pendulum, "--iterations"),
        (pendulum, "--seeds"),
        (sac, "--iterations"),
        (sac, "--seeds"),
        (thompson, "--seeds"),
    ],
)
def test_bad_counts(capsys, example, option):
    with pytest.raises(SystemExit):
        example.main([option, "0"])
    assert f"argument {option}: must be an integer >= 1, got '0'" in capsys.readouterr().err


# ---- the mixture -----------------------------------------------------------------------------------


def test_the_mixture_of_irises_is_a_maximum():
    """Each turn raises the likelihood, up to what mclust has for the model VVV with 3 kinds; there its gradient is 0."""
    x, species = mixture.load()
    found = mixture.fit(x, 3, "one each", mixture.TURNS)
    assert (np.diff(found.curve) > 0).all()
    assert round(len(x) * found.curve[-1], 2) == -180.19
    assert found.criterion(len(x)) == pytest.approx(-580.84, abs=0.01)
    assert mixture.agreement(found.mixture.posterior_marginal(x).mode, species) == 145
    _, pullback = fd.vjp(found.mixture.log_prob, x)
    gradients = pullback(1 / len(x))
    assert abs(gradients["component_distribution"]["loc"]).max() < 1e-3
    by_weights = gradients["mixture_distribution"]["probs"]
    assert abs(by_weights).max() < 1e-4


@pytest.mark.parametrize(("shape", "n"), [("one for all", 24), ("diagonal", 26)])
def test_mixtures_of_fewer_parameters(shape, n):
    x, _ = mixture.load()
    found = mixture.fit(x, 3, shape, 30)
    assert found.n_parameter == n
    assert (np.diff(found.curve) > -1e-12).all()
    covariance = found.mixture.component_distribution.covariance_matrix
    if shape == "diagonal":
        assert not covariance[:, ~np.eye(4, dtype=bool)].any()
    else:
        assert (covariance == covariance[0]).all()


def test_the_mixture_s_picture(tmp_path, capsys):
    mixture.main(["--quick", "--output", str(tmp_path / "iris.png")])
    rows = numbers(capsys.readouterr().out)
    assert max(rows.values()) == -574.0
    assert imread(tmp_path / "iris.png").shape[:2] == (440, 1300)


# ---- the process -------------------------------------------------------------------------------------


def test_the_posterior_of_the_process():
    """By the textbook's formulas (Rasmussen and Williams, equations 2.23 and 2.24), of few weeks."""
    t, ppm = process.load()
    assert len(t) == 2225
    assert t[0] == pytest.approx(1958 + 87 / 365.25)  # the 29th of March
    seen, air, ahead = t[:900:5], ppm[:900:5], t[900:1000:5]
    d, mean, noise = process.posterior(seen, air, ahead)
    assert mean == pytest.approx(air.mean())
    of_air = process.kernel(seen, seen) + process.lasting_noise(seen) + noise**2 * np.eye(len(seen))
    across = process.kernel(ahead, seen)
    np.testing.assert_allclose(d.loc, across @ np.linalg.solve(of_air, air - mean), atol=1e-5)
    left = process.kernel(ahead, ahead) - across @ np.linalg.solve(of_air, across.T)
    np.testing.assert_allclose(d.covariance_matrix, left, atol=1e-5)
    likelihoods = [
        -np.linalg.slogdet(of_air + (other**2 - noise**2) * np.eye(len(seen)))[1]
        - (air - mean) @ np.linalg.solve(of_air + (other**2 - noise**2) * np.eye(len(seen)), air - mean)
        for other in process.NOISES
    ]
    assert process.NOISES[int(np.argmax(likelihoods))] == noise


def test_a_quick_run_of_the_process(tmp_path, capsys):
    """It forecasts better than a parabola, and does not rule out what came."""
    process.main(["--quick", "--draws", "400", "--output", str(tmp_path / "co2.png")])
    rows = numbers(capsys.readouterr().out)
    ours, parabola = (
        rows[f"ppm, {name}"]
        for name in ("root mean square error of the process", "that of a parabola with seasons")
    )
    assert ours < 1 < parabola
    assert rows["% 2001"] > 20
    check_picture(tmp_path / "co2.png", (440, 1300))


# ---- the portfolio -------------------------------------------------------------------------------------


def test_the_portfolio_s_months():
    months = portfolio.load()
    assert months.factors.shape == (819, 4)
    assert months.portfolios.shape == (819, 30)
    assert (months.industries == months.portfolios[:, :12]).all()
    assert months.years[[0, -1]].tolist() == pytest.approx([1949, 2017 + 2 / 12])
    assert np.expm1(months.factors[0]).round(4).tolist() == [0.0023, 0.0181, 0.0117, -0.0292]


def test_losses_are_the_same_however_they_are_streamed():
    """And have the moments of sums of log-normals, within 5 standard errors."""
    prices, weights = portfolio.shares(portfolio.load(), fd.default_rng(0))
    assert prices.event_shape == (500,)
    assert weights.sum() == pytest.approx(1)
    at_once, streamed = (
        portfolio.losses(prices, weights, 20_000, n, fd.default_rng(1)) for n in (20_000, 777)
    )
    np.testing.assert_allclose(streamed, at_once, rtol=0, atol=1e-12)  # but for the sums over shares
    base = prices.base_dist
    mean = np.exp(base.loc + base.variance / 2)
    covariance = np.outer(mean, mean) * np.expm1(base.covariance_matrix)
    variance = weights @ covariance @ weights
    assert abs(at_once.mean() - (1 - weights @ mean)) < 5 * np.sqrt(variance / 20_000)
    assert at_once.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / 20_000) * 1.5)


def test_risk_of_known_losses():
    """Of uniform ones: the quantile, the mean beyond it, and an error that the next ones stay within."""
    g = np.random.default_rng(0)
    found = portfolio.risk(g.uniform(size=100_000), 0.99)
    assert found.value == pytest.approx(0.99, abs=2 * found.error)
    assert found.error == pytest.approx(2 * np.sqrt(0.99 * 0.01 / 100_000), rel=0.3)
    assert found.shortfall == pytest.approx(0.995, abs=1e-3)


def test_a_quick_run_of_the_portfolio(tmp_path):
    result = run("portfolio_var.py", "--quick", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    value, shortfall, _, *memory, beyond, expected = numbers(result.stdout).values()
    assert 7 < value < shortfall < 13
    assert all(megabytes < 200 for megabytes in memory)
    assert expected == pytest.approx(5.79, abs=0.05)
    assert beyond > 10
    check_picture(tmp_path / "portfolio_var.png", (440, 1300))


# ---- the filters ---------------------------------------------------------------------------------------


def joint_of_levels(n, step, noise):
    """Covariances of n levels and of n flows, about 1000, by sums of steps."""
    steps = np.tril(np.ones((n, n)))
    of_level = 500.0**2 + step**2 * steps @ steps.T
    return of_level, of_level + noise**2 * np.eye(n)


def test_the_kalman_filter():
    """Levels by the textbook's recursion (Durbin and Koopman, equation 2.15), the likelihood by one Gaussian."""
    years, flow = nile.load()
    assert years[[0, -1]].tolist() == [1871, 1970]
    assert flow[[0, -1]].tolist() == [1120, 740]
    steps, noises = np.array([[20.0], [38.0]]), np.array([100.0, 123.0, 150.0])
    found = nile.kalman(flow, steps, noises)
    assert found.mean.shape == (100, 2, 3)
    for i, step in enumerate(steps[:, 0]):
        for j, noise in enumerate(noises):
            mean, variance = 1000.0, 500.0**2
            for year, y in enumerate(flow):
                variance += step**2
                gain = variance / (variance + noise**2)
                mean, variance = mean + gain * (y - mean), variance * (1 - gain)
                assert found.mean[year, i, j] == pytest.approx(mean)
                assert found.spread[year, i, j] == pytest.approx(np.sqrt(variance))
            of_flow = joint_of_levels(100, step, noise)[1]
            expected = stats.multivariate_normal(np.full(100, 1000.0), of_flow).logpdf(flow)
            assert found.likelihood[i, j] == pytest.approx(expected)


def test_levels_by_all_years():
    _, flow = nile.load()
    found = nile.smoother(flow, 38.0, 123.0)
    of_level, of_flow = joint_of_levels(100, 38.0, 123.0)
    np.testing.assert_allclose(found.mean, 1000 + of_level @ np.linalg.solve(of_flow, flow - 1000))
    left = of_level - of_level @ np.linalg.solve(of_flow, of_level)
    np.testing.assert_allclose(found.spread, np.sqrt(np.diag(left)))
    filtered = nile.kalman(flow, 38.0, 123.0)
    assert found.mean[-1] == pytest.approx(filtered.mean[-1])
    assert found.likelihood == pytest.approx(filtered.likelihood)


def test_particles_are_the_kalman_filter():
    """Within a few of their standard errors; these by runs of other seeds."""
    _, flow = nile.load()
    exact = nile.kalman(flow, 38.0, 123.0)
    runs = [
        nile.particles(flow, fd.Normal(0.0, 38.0), 123.0, 20_000, fd.default_rng(seed)) for seed in range(8)
    ]
    likelihoods = np.array([run.likelihood for run in runs])
    assert likelihoods.std() < 0.2
    assert abs(likelihoods.mean() - exact.likelihood) < 4 * likelihoods.std() / np.sqrt(7)
    assert np.abs(np.mean([run.mean for run in runs], axis=0) - exact.mean).max() < 2
    assert np.abs(np.mean([run.spread for run in runs], axis=0) - exact.spread).max() < 2


def test_particles_of_seldom_steps():
    """The likelihood of four flows, by all ways of which steps are large."""
    flow, noise = np.array([1100.0, 1080.0, 700.0, 720.0]), 120.0
    exact = 0.0
    for large in itertools.product([False, True], repeat=4):
        scales = np.where(large, nile.LARGE, nile.SMALL)
        steps = np.tril(np.ones((4, 4))) * scales
        covariance = nile.BEFORE[1] ** 2 + steps @ steps.T + noise**2 * np.eye(4)
        weight = np.where(large, nile.SELDOM, 1 - nile.SELDOM).prod()
        exact += weight * stats.multivariate_normal(np.full(4, 1000.0), covariance).pdf(flow)
    found = nile.particles(flow, nile.seldom(), noise, 400_000, fd.default_rng(0))
    assert found.likelihood == pytest.approx(np.log(exact), abs=0.03)


def test_a_quick_run_of_the_filters(tmp_path, capsys):
    """The likeliest scales are those of Durbin and Koopman, 38.3 and 122.9, to the grid."""
    nile.main(["--quick", "--output", str(tmp_path / "nile.png")])
    text = capsys.readouterr().out
    step, noise = map(float, re.search(r"likeliest: step ([\d.]+), noise ([\d.]+)", text).groups())
    assert abs(step - np.sqrt(1469.1)) < 2.5
    assert abs(noise - np.sqrt(15099)) < 2.5
    kalman, particle, seldom, gap = numbers(text).values()
    assert particle == pytest.approx(kalman, abs=0.5)
    assert seldom > kalman + 1
    assert gap < 0.1
    check_picture(tmp_path / "nile.png", (440, 1300))


# ---- the option ----------------------------------------------------------------------------------------


def test_the_bridge_is_an_order():
    assert option.bridge(8) == [8, 4, 2, 6, 1, 3, 5, 7]
    assert sorted(option.bridge(12)) == list(range(1, 13))
    covariance = np.array([[0.04, 0.01], [0.01, 0.09]])
    in_order, by_bridge = option.prices(covariance, [1, 2, 3]), option.prices(covariance, option.bridge(3))
    walk = np.tril(np.ones((3, 3)))
    np.testing.assert_allclose(in_order.covariance_matrix, np.kron(walk @ walk.T, covariance))
    place = [4, 5, 0, 1, 2, 3]  # months 3, 1, 2
    np.testing.assert_allclose(by_bridge.covariance_matrix, in_order.covariance_matrix[np.ix_(place, place)])
    np.testing.assert_allclose(by_bridge.loc, -by_bridge.variance / 2)  # no gain is expected


def test_the_price_that_is_known():
    """By quadrature; and by each kind of noise, within its error."""
    covariance = np.cov(portfolio.load().industries.T)
    d = option.prices(covariance, option.bridge(option.MONTHS))
    loc, scale = d.loc.mean(), np.sqrt(d.covariance_matrix.mean())
    law = stats.lognorm(scale, scale=np.exp(loc))
    exact = integrate.quad(lambda price: (price - 1) * law.pdf(price), 1, 10)[0]
    assert option.geometric(d) == pytest.approx(exact, rel=1e-6)
    for noise, n, size in (
        (option.plain, 2**15, 1.5e-3),
        (option.antithetic, 2**15, 1e-3),
        (option.sobol, 2**12, 2e-4),
    ):
        eps = noise(n, 144, fd.default_rng(1))
        assert eps.shape == (n, 144)
        assert option.worth(d, eps, geometric=True) == pytest.approx(exact, abs=size)


def test_a_quick_run_of_the_option(tmp_path, capsys):
    """Each kind of noise errs less than the one before, by far more than the spread of errors of 32 prices."""
    option.main(["--quick", "--output", str(tmp_path / "option.png")])
    text = capsys.readouterr().out
    *errors, enough, drawn, exact = numbers(text).values()
    assert len(errors) == 4
    plain, antithetic, sobol, bridge = errors
    assert antithetic < plain
    assert sobol < plain / 2
    assert bridge < sobol
    assert enough < 2048 / 4
    assert drawn == pytest.approx(exact, abs=4 * bridge)
    means = [float(mean) for mean in re.findall(r"the mean is ([\d.]+)", text)]
    assert np.ptp(means) < 4 * plain / np.sqrt(32)
    check_picture(tmp_path / "option.png", (440, 1300))
