"""Pictures of two-dimensional Gaussians, with matplotlib.

scatter    a batch of them on one Axes: real points, samples and k-sigma ellipses
ellipses   the curves alone, as an array
COLORS     a cycle of colours that all readers can tell apart

Everything is laid out as a draw is: ``sample_shape + batch_shape + event_shape``. matplotlib is
imported at the first call, and pyplot never: no display is needed and no global state changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdist.distributions import Distribution, Independent, MultivariateNormal, Normal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # so that annotations have a meaning before there is matplotlib
    Axes = Figure = Any

__all__ = ["COLORS", "ellipses", "scatter"]

# Okabe and Ito's palette without its yellow and black: blue, vermilion, green, purple, orange, sky.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

# What the legend shows that is common to all members has no member's colour.
_NEUTRAL = "0.35"

# Points are the news and samples their backdrop: filled dots over thin crosses.
_SAMPLES: dict[str, Any] = {
    "linestyle": "",
    "marker": "x",
    "markersize": 4,
    "markeredgewidth": 0.8,
    "alpha": 0.6,
    "zorder": 2,
}
_POINTS: dict[str, Any] = {
    "linestyle": "",
    "marker": "o",
    "markersize": 4.5,
    "markeredgewidth": 0.4,
    "markeredgecolor": "white",
    "zorder": 3,
}
_ELLIPSE: dict[str, Any] = {"linestyle": "-", "marker": "", "linewidth": 1.6, "zorder": 4}
_MEMBER: dict[str, Any] = {"linestyle": "", "marker": "s", "markersize": 8}


def scatter(
    distribution: Distribution,
    points: ArrayLike | None = None,
    samples: ArrayLike | None = None,
    *,
    sigmas: float | Iterable[float] = (1.0, 2.0),
    labels: Iterable[str] | None = None,
    points_label: str = "points",
    samples_label: str = "samples",
    xlabel: str | None = None,
    ylabel: str | None = None,
    title: str | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    r"""Draw a batch of two-dimensional Gaussians: real points, samples and k-sigma ellipses.

    The k-sigma ellipse of a Gaussian with mean μ and covariance Σ = L Lᵀ is the curve of
    Mahalanobis distance k from its mean,

    .. math:: \{x : (x - \mu)^T \Sigma^{-1} (x - \mu) = k^2\}
              = \{\mu + k L (\cos t, \sin t)^T : 0 \le t \le 2 \pi\},

    on which the density is constant. It holds a share of :math:`1 - \exp(-k^2 / 2)` of the
    probability: 39 % within 1 sigma, 86 % within 2.

    Parameters
    ----------
    distribution : MultivariateNormal or Independent
        With ``event_shape`` ``(2,)`` and a ``batch_shape`` of ``()`` or ``(B,)``. An Independent
        must be one of Normal.
    points : array_like, optional
        Real data, shape ``(..., *batch_shape, 2)`` as a draw has: ``points[..., b, :]`` belongs to
        member b of the batch. A row with a NaN is not drawn: pad with NaN where members have
        unequal numbers of points.
    samples : array_like, optional
        Draws, in the same layout: ``distribution.sample((100,))``.
    sigmas : float or iterable of float
        Sizes k > 0 of the ellipses, in standard deviations. ``()`` for none. Default 1 and 2.
    labels : iterable of str, optional
        Names for the legend, one for each member of the batch. Default ``[0]``, ``[1]``, ...
        (none for a ``batch_shape`` of ``()``).
    points_label, samples_label : str
        What the legend calls `points` and `samples`.
    xlabel, ylabel : str, optional
        Axis labels, with units: ``"petal length (cm)"``.
    title : str, optional
        Title of the Axes.
    legend : bool
        Whether to add a legend to the Axes. All entries are there for a legend elsewhere:
        ``figure.legend(*ax.get_legend_handles_labels())``. Default True.
    ax : matplotlib.axes.Axes, optional
        Where to draw; colours are the next ones of its cycle. Default: the Axes of a new figure
        with `COLORS` for its cycle; save it by ``ax.figure.savefig("picture.png")``. For a window,
        pass one from ``matplotlib.pyplot``.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`, or the new one.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        For a `distribution` of another type, `points`, `samples` or `sigmas` that are no real
        numbers, `labels` that are no list of strings, an `ax` that is no Axes.
    ValueError
        For a `distribution` with other shapes, `points` or `samples` of a shape that does not fit
        it, a sigma that is not positive and finite, a wrong number of `labels`. Nothing has been
        drawn then.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> from fastdist import plot
    >>> mvn = fd.MultivariateNormal([[0.0, 0.0], [4.0, 1.0]], covariance_matrix=[[2.0, 0.5], [0.5, 1.0]])
    >>> ax = plot.scatter(mvn, samples=mvn.sample((100,), rng=0), xlabel="east (km)", ylabel="north (km)")
    >>> ax.get_legend_handles_labels()[1]
    ['[0]', '[1]', 'samples', '1σ, 2σ ellipses']
    """
    _factor(distribution)  # raises for what cannot be drawn
    shape = distribution.batch_shape
    if len(shape) > 1:
        raise ValueError(f"distribution must have at most one batch dim to be drawn, got batch_shape {shape}")
    sizes = _sizes(sigmas)
    names = _names(labels, shape)
    layers = [
        (label, style, _members(name, value, shape))
        for name, value, label, style in (
            ("samples", samples, samples_label, _SAMPLES),
            ("points", points, points_label, _POINTS),
        )
        if value is not None
    ]
    n_members = math.prod(shape)
    curves = ellipses(distribution, sizes)
    curves = curves.reshape(*curves.shape[:2], n_members, 2)
    ax = _axes(ax)

    for member in range(n_members):
        # An empty line takes the next colour of the cycle, and is the legend's entry for the member.
        (entry,) = ax.plot([], [], label=names[member] if names else None, **_MEMBER)
        color = entry.get_color()
        for _, style, values in layers:
            ax.plot(*values[:, member].T, color=color, **style)
        for curve in curves[:, :, member]:
            ax.plot(*curve.T, color=color, **_ELLIPSE)

    keys = [(label, style) for label, style, _ in reversed(layers)]
    if sizes:
        plural = "s" if len(sizes) > 1 else ""
        keys.append((", ".join(f"{k:g}σ" for k in sizes) + f" ellipse{plural}", _ELLIPSE))
    for label, style in keys:
        if label not in ax.get_legend_handles_labels()[1]:  # from an earlier call on the same Axes
            ax.plot([], [], color=_NEUTRAL, label=label, **style)

    if xlabel is not None:
        ax.set_xlabel(xlabel)
    if ylabel is not None:
        ax.set_ylabel(ylabel)
    if title is not None:
        ax.set_title(title)
    if legend and ax.get_legend_handles_labels()[1]:
        ax.legend()
    return ax


def ellipses(
    distribution: Distribution, sigmas: float | Iterable[float] = (1.0, 2.0), *, n: int = 181
) -> NDArray[np.float64]:
    """Points on the k-sigma ellipses of two-dimensional Gaussians. See `scatter` for the formula.

    Parameters
    ----------
    distribution : MultivariateNormal or Independent
        With ``event_shape`` ``(2,)`` and any ``batch_shape``. An Independent must be one of Normal.
    sigmas : float or iterable of float
        Sizes k > 0, in standard deviations.
    n : int
        Number of points on each, the last one closing the curve: every 2 degrees by default.

    Returns
    -------
    numpy.ndarray
        Shape ``(len(sigmas), n, *batch_shape, 2)``, float64.

    Raises
    ------
    TypeError
        For a `distribution` of another type.
    ValueError
        For another event shape, or a sigma that is not positive and finite.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> from fastdist import plot
    >>> mvn = fd.MultivariateNormal([3.0, 0.0], scale_tril=np.eye(2))
    >>> plot.ellipses(mvn, 2, n=3).round(12)
    array([[[ 5.,  0.],
            [ 1.,  0.],
            [ 5., -0.]]])
    """
    factor = _factor(distribution)
    angle = np.linspace(0, 2 * np.pi, n)
    circles = np.multiply.outer(_sizes(sigmas), np.stack([np.cos(angle), np.sin(angle)], axis=-1))
    mean: NDArray[np.float64] = np.asarray(distribution.mean, np.float64)
    offset: NDArray[np.float64] = np.einsum("...ij,knj->kn...i", factor, circles)
    return mean + offset


def _factor(distribution: Distribution) -> NDArray[np.float64]:
    """L with L Lᵀ = covariance, shape (*batch_shape, 2, 2); raises for what is no 2-d Gaussian."""
    if not isinstance(distribution, Distribution):
        raise TypeError(f"distribution must be a Distribution, got {type(distribution).__name__}")
    if distribution.event_shape != (2,):
        hint = "; see Independent(distribution, 1)" if isinstance(distribution, Normal) else ""
        raise ValueError(
            f"distribution must have event_shape (2,), got event_shape {distribution.event_shape} "
            f"and batch_shape {distribution.batch_shape}{hint}"
        )
    base = distribution
    while isinstance(base, Independent):
        base = base.base_dist
    if isinstance(base, MultivariateNormal):
        return np.asarray(base.scale_tril, np.float64)
    if isinstance(base, Normal):
        return np.asarray(base.stddev, np.float64)[..., np.newaxis] * np.eye(2)
    raise TypeError(
        f"distribution must be a MultivariateNormal or Independent(Normal, 1), got {distribution!r}"
    )


def _members(name: str, value: ArrayLike, batch_shape: tuple[int, ...]) -> NDArray[np.float64]:
    """`value` as an array of shape (n, B, 2)."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array: fill it with NaN first")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is no array: {error}") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be of a real dtype, got {array.dtype}")
    tail = (*batch_shape, 2)
    cut = array.ndim - len(tail)
    if cut < 0 or array.shape[cut:] != tail:
        raise ValueError(
            f"{name} must have shape (..., {', '.join(map(str, tail))}), the distribution's batch_shape "
            f"and event_shape last, got {array.shape}"
        )
    # Sizes are spelled out: -1 is undefined for an empty batch.
    return array.astype(np.float64).reshape(math.prod(array.shape[:cut]), math.prod(batch_shape), 2)


def _sizes(sigmas: float | Iterable[float]) -> list[float]:
    try:
        sizes = [float(k) for k in sigmas] if isinstance(sigmas, Iterable) else [float(sigmas)]
    except (TypeError, ValueError) as error:
        raise TypeError(f"sigmas must be a number or a list of numbers, got {sigmas!r}") from error
    for i, k in enumerate(sizes):
        if not 0 < k < math.inf:
            raise ValueError(f"sigmas must be positive and finite, got sigmas[{i}] = {k:g}")
    return sizes


def _names(labels: Iterable[str] | None, batch_shape: tuple[int, ...]) -> list[str]:
    """A label for each member, or none at all."""
    if labels is None:
        return [f"[{member}]" for member in range(*batch_shape)] if batch_shape else []
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise TypeError(f"labels must be a list of strings, one for each member of the batch, got {labels!r}")
    names = [str(label) for label in labels]
    if len(names) != math.prod(batch_shape):
        raise ValueError(
            f"labels must have one entry for each of the {math.prod(batch_shape)} members of batch_shape "
            f"{batch_shape}, got {len(names)}"
        )
    return names


def _axes(ax: Axes | None) -> Axes:
    """`ax` itself, or the Axes of a new figure."""
    axes_type, figure_type = _matplotlib()
    if ax is None:
        ax = figure_type(layout="constrained").add_subplot()
        ax.set_prop_cycle(color=COLORS)
    elif not isinstance(ax, axes_type):
        raise TypeError(f"ax must be one matplotlib Axes, got {type(ax).__name__}")
    return ax


def _matplotlib() -> tuple[type[Axes], type[Figure]]:
    """The two classes of matplotlib's that are needed, or what to do where it is missing."""
    try:
        from matplotlib.axes import Axes
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"pictures need matplotlib ({error}): pip install matplotlib") from error
    return Axes, Figure
