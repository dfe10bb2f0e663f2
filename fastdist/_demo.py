"""The demo: from the iris measurements to batched Gaussians, a classification and a picture.

WALK       the text: prose, and lines after ">>> " that are run as they are printed
walk       play it; the rest works on the variables it makes
confusion  a small table of true against predicted species
picture    both models side by side, as a matplotlib Figure
run        all of it, as ``python -m fastdist demo``

Batch and event as in everything else: flowers have shape (50, 3, 2), that is 50 samples from a
batch of 3 species whose events are 2 measurements.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdist import plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WALK = """\
Three species of iris, and one Gaussian for the petals of each
==============================================================

R. A. Fisher's measurements: length and width of a petal, of 50 flowers of each species.
They are laid out as a draw is: 50 samples, a batch of 3 species, an event of 2 numbers.

>>> import importlib.resources, numpy as np, fastdist as fd
>>> file = importlib.resources.files("fastdist.data") / "iris.csv"
>>> table = np.genfromtxt(file, delimiter=",", names=True, dtype=None, encoding="utf-8")
>>> petals = np.stack([table["petal_length_cm"], table["petal_width_cm"]], axis=-1)
>>> species, truth = np.unique(table["species"], return_inverse=True)
>>> flowers = np.stack([petals[truth == i] for i in range(len(species))], axis=1)
>>> flowers.shape
>>> species.tolist()

1. MultivariateNormal: a batch of 3 distributions of vectors of 2
-----------------------------------------------------------------

Fitted by maximum likelihood: the mean and the covariance of each species' flowers
(divided by 50, not by 49).

>>> loc = flowers.mean(axis=0)
>>> gap = flowers - loc
>>> mvn = fd.MultivariateNormal(loc, np.einsum("nbi,nbj->bij", gap, gap) / len(flowers))
>>> mvn
>>> mvn.batch_shape, mvn.event_shape

One draw is a flower of each species, batch_shape + event_shape; 100 draws have
sample_shape + batch_shape + event_shape.

>>> seed = SEED
>>> mvn.sample(rng=seed).shape
>>> mvn.sample((100,), rng=seed).shape

A density belongs to an event: 50 flowers, each under its own species, are 50 x 3 numbers.

>>> mvn.log_prob(flowers).shape

2. Normal: the wrong batch
--------------------------

The same flowers without the correlation of length and width, by the standard deviations:

>>> normal = fd.Normal(loc, flowers.std(axis=0))
>>> normal.batch_shape, normal.event_shape
>>> normal.sample((100,), rng=seed).shape
>>> normal.log_prob(flowers).shape

The draws have the shape we want, but this is a batch of 6 unrelated scalars, not of 3
species: length and width have a density each, and no flower has one.

3. Independent: the right batch again
-------------------------------------

It takes the last batch dim for part of the event, and log_prob sums over it.

>>> independent = fd.Independent(normal, 1)
>>> independent
>>> independent.batch_shape, independent.event_shape
>>> independent.log_prob(flowers).shape

4. Which species is a flower?
-----------------------------

The one under which it is most likely. Flowers (150, 1, 2) broadcast with the batch (3,):

>>> mvn.log_prob(petals[:, np.newaxis]).shape
>>> guess = mvn.log_prob(petals[:, np.newaxis]).argmax(axis=-1)
>>> print(f"{np.mean(guess == truth):.1%} of {len(truth)} flowers right by MultivariateNormal")
>>> guess_independent = independent.log_prob(petals[:, np.newaxis]).argmax(axis=-1)
>>> print(f"{np.mean(guess_independent == truth):.1%} of {len(truth)} flowers right by Independent")

These are the flowers that the models were fitted to; new ones would fare a little worse.
MultivariateNormal in full:
"""

FINALE = """
5. The picture
--------------

Real flowers, draws and ellipses of each species; MultivariateNormal at the left, Independent
at the right, where no ellipse can tilt. The same for your own data:

    from fastdist import plot
    plot.scatter(mvn, flowers, mvn.sample((100,)), labels=species)
"""


def walk(seed: int) -> dict[str, Any]:
    """Print `WALK`, each ">>> " line followed by its result, and return the variables it made."""
    variables: dict[str, Any] = {}
    for line in WALK.replace("SEED", str(seed)).splitlines():
        print(line)
        if line.startswith(">>> "):
            # In this mode the value of an expression is printed as at the interpreter's prompt.
            exec(compile(line.removeprefix(">>> "), "<demo>", "single"), variables)
    return variables


def confusion(truth: NDArray[np.intp], guess: NDArray[np.intp], names: Sequence[str]) -> str:
    """Counts of true against predicted names, as a table in plain text."""
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (truth, guess), 1)
    corner = "true \\ predicted"
    left = max(map(len, (corner, *names)))
    width = 2 + max(map(len, names))
    rows = [(corner, names), *zip(names, counts, strict=True)]
    return "\n".join(f"{head:{left}}" + "".join(f"{cell:>{width}}" for cell in cells) for head, cells in rows)


def picture(variables: dict[str, Any]) -> Figure:
    """The two models side by side: real flowers, 100 draws and ellipses of each species.

    Parameters
    ----------
    variables : dict
        What `walk` returned.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    _, figure_type = plot._matplotlib()
    figure = figure_type(figsize=(10, 5), layout="constrained")
    figure.suptitle("Petals of 150 irises, and a Gaussian fitted to each species", fontsize="x-large")
    panels = (
        ("MultivariateNormal: full covariance", variables["mvn"]),
        ("Independent(Normal, 1): no correlation", variables["independent"]),
    )
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for ax, (title, distribution) in zip(axes, panels, strict=True):
        ax.set_prop_cycle(color=plot.COLORS)
        plot.scatter(
            distribution,
            variables["flowers"],
            distribution.sample((100,), rng=variables["seed"]),
            labels=variables["species"],
            points_label="real flowers",
            samples_label="100 draws",
            xlabel="petal length (cm)",
            ylabel="petal width (cm)",
            title=title,
            legend=False,
            ax=ax,
        )
        ax.label_outer()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    return figure


def run(output: Path, seed: int) -> None:
    """Print the walk and write the picture; exits with a message where it cannot be drawn or written.

    Parameters
    ----------
    output : Path
        The file. Its suffix gives the format; PNG without one.
    seed : int
        Of the draws.
    """
    variables = walk(seed)
    print()
    print(confusion(variables["truth"], variables["guess"], variables["species"]))
    print(FINALE, flush=True)  # before what may go to stderr
    try:
        figure = picture(variables)
    except ImportError as error:
        sys.exit(f"python -m fastdist demo: error: {error}")
    try:
        # The format goes by the suffix, as ever with savefig, but none is added to a name that has none.
        figure.savefig(output, format=output.suffix[1:] or "png", dpi=150)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        sys.exit(f"python -m fastdist demo: error: cannot write {output}: {reason}")
    print(f"Wrote {output}")
