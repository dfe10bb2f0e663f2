"""A variational autoencoder of handwritten digits, in NumPy: `python examples/vae_digits.py`.

An image x is thought to come from a few numbers z that nobody sees:

    prior     z ~ Normal(0, 1)
    decoder   x | z ~ Normal(loc(z), scale(z)), by a network
    encoder   z | x ~ Normal(loc(x), scale(x)), by another; an approximation

Each is an Independent(Normal, 1), whose events are vectors, of numbers or of pixels.

Both networks learn to raise the evidence lower bound (ELBO) of log p(x), in nats per image,

    ELBO = E[log p(x | z)] - KL(encoder || prior),    z drawn by the encoder

(D. P. Kingma and M. Welling, "Auto-encoding variational Bayes", ICLR 2014). The draw of z is
reparameterised, and `fd.vjp` carries gradients through it, through the divergence and the density.

Pixels are counts from 0 to 16. Uniform noise from [0, 1) is added to them, anew in each epoch, so that they
have a density in units of one grey level; its mean log is a lower bound of the log probability of the counts
(L. Theis et al., "A note on the evaluation of generative models", ICLR 2016). All models compared are
scored in this unit on the same noisy images, which none of them was trained on.

load       the images, to train with and held out
VAE        both networks, the loss and its gradient
bounds     ELBO and importance-weighted bound of images
train      the loop
baselines  densities of models without z
picture    reconstructions, samples, the latent space and the learning curve
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastdist as fd
from command import at_least, parser, write
from nets import MLP, Adam, Array

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from threadpoolctl import threadpool_limits
    from tqdm import tqdm
except ImportError as error:
    packages = "matplotlib threadpoolctl tqdm"
    sys.exit(f"vae_digits.py: error: {error}; what it needs: pip install {packages}")

DATA = Path(__file__).parent / "data" / "digits.npz"
N_HELD_OUT = 300
N_PIXEL = 64
N_LATENT = 10
N_HIDDEN = 128
N_BATCH = 100  # images per step
GREY = 6.0  # grey levels per unit of the networks: about their standard deviation
RATE, DECAY = 3e-3, 0.1  # of Adam
EPOCHS, QUICK_EPOCHS = 300, 40
N_DRAW = 100  # of z for each held-out image, in the end

# What belongs to one model has one colour.
ELBO, PCA, APART = "#0072B2", "#D55E00", "0.4"


class Digits(NamedTuple):
    """Grey levels as counts (n, 64) to train with; with noise (300, 64) and their digits (300,) to test."""

    train: Array
    held_out: Array
    labels: NDArray[np.uint8]


def load(rng: np.random.Generator) -> Digits:
    """The bundled images in random order."""
    with np.load(DATA) as data:
        order = rng.permutation(len(data["labels"]))
        images, labels = data["images"][order].astype(float), data["labels"][order]
    held_out = images[-N_HELD_OUT:]
    return Digits(images[:-N_HELD_OUT], held_out + rng.random(held_out.shape), labels[-N_HELD_OUT:])


# ---- the model -----------------------------------------------------------------------------------


def gaussian(output: Array, unit: float) -> fd.Independent:
    """What a network's outputs stand for: a vector of independent Normals, by loc and log scale in `unit`."""
    loc, log_scale = np.split(output, 2, axis=-1)
    return fd.Independent(fd.Normal(unit * loc, unit * np.exp(log_scale)), 1)


def by_output(d: fd.Independent, gradients: dict[str, Array], unit: float) -> Array:
    """From the gradients by loc and scale of `gaussian` to that by the outputs."""
    return np.concatenate([unit * gradients["loc"], d.stddev * gradients["scale"]], axis=-1)


class VAE:
    """Encoder and decoder, with one hidden layer each.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the weights.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.encoder = MLP([N_PIXEL, N_HIDDEN, 2 * N_LATENT], rng)
        self.decoder = MLP([N_LATENT, N_HIDDEN, 2 * N_PIXEL], rng)
        self.prior = fd.Independent(fd.Normal(np.zeros(N_LATENT), 1.0), 1)
        self.parameters = self.encoder.parameters + self.decoder.parameters

    def encode(self, x: Array) -> fd.Independent:
        """The posterior of z for each image: batch (n,), events (10,)."""
        return gaussian(self.encoder(x / GREY - 1), 1.0)

    def decode(self, z: Array) -> fd.Independent:
        """The distribution of images for each z: events (64,), in grey levels."""
        return gaussian(self.decoder(z), GREY)

    def loss(self, x: Array, rng: np.random.Generator) -> tuple[float, list[Array]]:
        """Mean of -ELBO over images (n, 64), by one draw of z for each, and its gradient by `parameters`."""
        n = len(x)
        output, pull_encoder = self.encoder.vjp(x / GREY - 1)
        posterior = gaussian(output, 1.0)
        z, pull_z = fd.vjp(posterior.rsample, rng=rng)
        kl, pull_kl = fd.vjp(fd.kl_divergence, posterior, self.prior)
        output, pull_decoder = self.decoder.vjp(z)
        pixels = gaussian(output, GREY)
        log_prob, pull_log_prob = fd.vjp(pixels.log_prob, x)

        # And back, from the loss to the parameters.
        by_pixels = pull_log_prob(np.full(n, -1 / n))
        by_z, by_decoder = pull_decoder(by_output(pixels, by_pixels, GREY))
        by_draw, by_kl = pull_z(by_z), pull_kl(np.full(n, 1 / n))["p"]
        by_posterior = {name: by_draw[name] + by_kl[name] for name in ("loc", "scale")}
        _, by_encoder = pull_encoder(by_output(posterior, by_posterior, 1.0))
        return float(np.mean(kl - log_prob)), by_encoder + by_decoder


def bounds(vae: VAE, x: Array, n_draw: int, rng: np.random.Generator) -> tuple[float, float]:
    """ELBO, and importance-weighted bound, of images: means in nats per image.

    The latter is the mean of log(1/n sum_i p(x, z_i) / q(z_i | x)), which for n draws from the encoder q is
    between ELBO and log p(x) (Y. Burda et al., "Importance weighted autoencoders", ICLR 2016).
    """
    posterior = vae.encode(x)
    z = posterior.rsample(n_draw, rng=rng)  # (draws, images, 10)
    log_prob = vae.decode(z).log_prob(x)  # (draws, images)
    elbo = log_prob.mean(axis=0) - fd.kl_divergence(posterior, vae.prior)
    log_weight = log_prob + vae.prior.log_prob(z) - posterior.log_prob(z)
    weighted = np.logaddexp.reduce(log_weight, axis=0) - np.log(n_draw)
    return float(elbo.mean()), float(weighted.mean())


def train(vae: VAE, digits: Digits, epochs: int, rng: np.random.Generator) -> list[float]:
    """Train in place; returns the held-out ELBO after each epoch."""
    adam = Adam(vae.parameters, RATE, DECAY)
    curve: list[float] = []
    with tqdm(range(epochs), unit="epoch", disable=None) as bar:  # None: no bar but on a terminal
        for epoch in bar:
            x = rng.permutation(digits.train) + rng.random(digits.train.shape)
            for start in range(0, len(x), N_BATCH):
                _, gradients = vae.loss(x[start : start + N_BATCH], rng)
                adam.step(gradients, RATE * (1 - epoch / epochs))
            curve.append(bounds(vae, digits.held_out, 1, rng)[0])
            bar.set_postfix_str(f"held-out ELBO {curve[-1]:.1f} nats")
    return curve


# ---- what it is compared with --------------------------------------------------------------------


class Baselines(NamedTuple):
    """Mean log densities of held-out images, in nats per image."""

    apart: float  # one Normal per pixel
    pca: float  # PCA-Gaussian with as many components as z
    best_pca: float  # with as many as suit the held-out images best
    n_best: int


def baselines(digits: Digits) -> Baselines:
    """Gaussians fitted to the training images by maximum likelihood.

    One per pixel is the best that a decoder can do by the prior alone, with a z that knows nothing of the
    image. The PCA-Gaussian is probabilistic PCA: the k directions of most variance, and noise of equal
    variance in all others (M. E. Tipping and C. M. Bishop, "Probabilistic principal component analysis",
    Journal of the Royal Statistical Society B, 1999).
    """
    # Uniform noise has mean 1/2 and variance 1/12: these are the moments over all the noise there might be.
    mean = digits.train.mean(axis=0) + 1 / 2
    covariance = np.cov(digits.train.T, bias=True) + np.eye(N_PIXEL) / 12
    apart = fd.Independent(fd.Normal(mean, np.sqrt(np.diag(covariance))), 1)

    variance, direction = np.linalg.eigh(covariance)  # ascending
    spectra = np.tile(variance, (N_PIXEL - 1, 1))  # row k - 1 for k components
    for k, spectrum in enumerate(spectra, start=1):
        spectrum[:-k] = variance[:-k].mean()
    pca = fd.MultivariateNormal(mean, (direction * spectra[:, np.newaxis]) @ direction.T)  # a batch of 63
    by_k = pca.log_prob(digits.held_out[:, np.newaxis]).mean(axis=0)
    best = int(by_k.argmax())
    return Baselines(
        apart=float(apart.log_prob(digits.held_out).mean()),
        pca=float(by_k[N_LATENT - 1]),
        best_pca=float(by_k[best]),
        n_best=best + 1,
    )


# ---- the picture ---------------------------------------------------------------------------------


def picture(
    vae: VAE, digits: Digits, curve: list[float], baseline: Baselines, rng: np.random.Generator
) -> Figure:
    """Reconstructions, samples, the latent space by digit, and the learning curve."""
    figure = Figure(figsize=(11, 7.6), layout="constrained")
    figure.suptitle("A variational autoencoder of 8×8 digits", fontsize="x-large")
    halves = figure.add_gridspec(1, 2, wspace=0.03)
    left, right = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    reconstructions, samples = left.subplots(2, 1, height_ratios=[4, 8])
    latent, learning = right.subplots(2, 1, height_ratios=[1.3, 1], gridspec_kw={"hspace": 0.08})

    posterior = vae.encode(digits.held_out)
    decoded = vae.decode(posterior.mean).mean
    first, second = np.transpose([np.flatnonzero(digits.labels == digit)[:2] for digit in range(10)])
    rows = [digits.held_out[first], decoded[first], digits.held_out[second], decoded[second]]
    _tiles(reconstructions, np.stack(rows), "Held-out images, and below each its reconstruction")
    draws = vae.decode(vae.prior.sample((8, 10), rng=rng)).mean
    _tiles(samples, draws, "Samples: draws from the prior, decoded to means of pixels")

    # The plane of most variance among the posterior means.
    centred = posterior.mean - posterior.mean.mean(axis=0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    share = np.sum(spread[:2] ** 2) / np.sum(spread**2)
    plane = centred @ directions[:2].T
    for digit in range(10):
        x, y = plane[digits.labels == digit].T
        latent.scatter(x, y, s=28, color=f"C{digit}", marker=f"${digit}$", linewidths=0.4)
    latent.set(
        title=f"Latent space: posterior means, {share:.0%} of their variance",
        xlabel="first principal component (prior σ)",
        ylabel="second (prior σ)",
    )

    learning.plot(np.arange(1, len(curve) + 1), curve, color=ELBO)
    lines = (
        (curve[-1] - 4, ELBO, "VAE: ELBO, by one draw"),
        (baseline.best_pca, PCA, f"PCA-Gaussian, {baseline.n_best} components (the best number)"),
        (baseline.apart, APART, "prior only: one Normal per pixel"),
        (baseline.pca, PCA, f"PCA-Gaussian, {N_LATENT} components"),
    )
    for value, color, text in lines:
        if color != ELBO:
            learning.axhline(value, color=color)
        learning.annotate(text, (1, value), (-4, -3), learning.get_yaxis_transform(), "offset points",
                          color=color, ha="right", va="top")  # fmt: skip
    learning.set(
        title="Density of held-out images",
        xlabel="epoch",
        ylabel="log density (nats per image)",
        xlim=(0, len(curve)),
        ylim=(baseline.pca - 11, max(*curve, baseline.best_pca) + 4),
    )
    return figure


def _tiles(ax: Axes, images: Array, title: str) -> None:
    """Images (rows, columns, 64) side by side."""
    n_row, n_column, _ = images.shape
    tiles = np.full((n_row, n_column, 9, 9), np.nan)  # a blank line between two
    tiles[..., :8, :8] = images.reshape(n_row, n_column, 8, 8)
    ax.imshow(tiles.swapaxes(1, 2).reshape(9 * n_row, 9 * n_column)[:-1, :-1], cmap="gray_r", vmin=0, vmax=17)
    ax.set_title(title)
    ax.set_axis_off()


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, compare, draw."""
    options = parser("A variational autoencoder of handwritten digits.", "vae_digits.png")
    options.add_argument("--epochs", type=at_least(1), metavar="N", help=f"default: {EPOCHS}")
    given = options.parse_args(arguments)
    epochs = given.epochs or (QUICK_EPOCHS if given.quick else EPOCHS)

    threadpool_limits(1, "blas")  # two threads would wait for each other most of the time
    rng = fd.default_rng(given.seed)
    digits = load(rng)
    baseline = baselines(digits)
    vae = VAE(rng)
    curve = train(vae, digits, epochs, rng)
    elbo, weighted = bounds(vae, digits.held_out, N_DRAW, rng)

    print(f"Log density of {N_HELD_OUT} held-out images, nats per image (higher is better)")
    for value, name in (
        (baseline.apart, "prior only: one Normal per pixel, the best decoder without an encoder"),
        (baseline.pca, f"PCA-Gaussian, {N_LATENT} components, as many as z has"),
        (baseline.best_pca, f"PCA-Gaussian, {baseline.n_best} components, the best number for these images"),
        (elbo, f"VAE after {epochs} epochs, at least: ELBO"),
        (weighted, f"VAE after {epochs} epochs, at least: importance-weighted bound, {N_DRAW} draws"),
    ):
        print(f"{value:8.1f}  {name}")
    write(picture(vae, digits, curve, baseline, rng), given.output)


if __name__ == "__main__":
    main()
