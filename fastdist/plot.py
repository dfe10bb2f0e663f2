"""Pictures of distributions, with matplotlib.

density    of scalars: curves, with a band of quantiles, samples as a histogram and points as a rug
scatter    of two-dimensional Gaussians: real points, samples and k-sigma ellipses
contours   of any density in two dimensions: around its densest regions
pairs      of vectors: every two elements, and each alone
ellipses   the k-sigma curves, as an array
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

__all__ = ["COLORS", "contours", "density", "ellipses", "pairs", "scatter"]

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
_CURVE: dict[str, Any] = {"linestyle": "-", "marker": "", "linewidth": 1.6, "zorder": 4}
_BAND: dict[str, Any] = {"alpha": 0.25, "linewidth": 0, "zorder": 1}
_HISTOGRAM: dict[str, Any] = {"histtype": "step", "linewidth": 0.8, "alpha": 0.8, "zorder": 2}
_RUG: dict[str, Any] = {"linestyle": "", "marker": "|", "markersize": 9, "markeredgewidth": 0.8, "alpha": 0.7}
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
        (label, style, _members(name, value, shape, (2,)))
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

    return _finished(ax, xlabel, ylabel, title, legend)


def density(
    distribution: Distribution,
    points: ArrayLike | None = None,
    samples: ArrayLike | None = None,
    *,
    band: float | None = 0.9,
    bins: int | str = "auto",
    labels: Iterable[str] | None = None,
    points_label: str = "points",
    samples_label: str = "samples",
    xlabel: str | None = None,
    title: str | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw densities of scalar distributions, with the band that holds the middle of the probability.

    Parameters
    ----------
    distribution : Distribution
        With ``event_shape`` ``()`` and a ``batch_shape`` of ``()`` or ``(B,)``: any that has `log_prob`, and
        quantiles by `icdf` or, failing that, `sample`.
    points : array_like, optional
        Real data, shape ``(..., *batch_shape)``, drawn as a rug. NaNs are not drawn.
    samples : array_like, optional
        Draws, in the same layout, drawn as a histogram.
    band : float, optional
        Probability of the band between two quantiles, as much being left below as above; None for no band.
    bins : int or str
        Of the histogram, as `numpy.histogram_bin_edges` takes them.
    labels, points_label, samples_label, xlabel, title, legend, ax
        As for `scatter`.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`, or that of a new figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        For a `distribution` that is none, `points` or `samples` that are no real numbers, an `ax` that is no
        Axes.
    ValueError
        For other shapes, or a `band` that is no probability. Nothing has been drawn then.

    Examples
    --------
    >>> import fastdist as fd
    >>> from fastdist import plot
    >>> d = fd.TruncatedNormal([0.0, 3.0], 1.0, 0.0, [4.0, 5.0])
    >>> ax = plot.density(d, samples=d.sample((200,), rng=0), labels=["from 0 to 4", "from 0 to 5"])
    >>> ax.get_legend_handles_labels()[1]
    ['from 0 to 4', 'from 0 to 5', 'samples', '90 % band']
    """
    shape = _drawable(distribution, ())
    if band is not None and not 0 < band < 1:
        raise ValueError(f"band must be a probability between 0 and 1, got {band!r}")
    names = _names(labels, shape)
    drawn = None if samples is None else _members("samples", samples, shape, ())
    real = None if points is None else _members("points", points, shape, ())
    ax = _axes(ax)
    for i, member in enumerate([distribution[b] for b in range(*shape)] if shape else [distribution]):
        low, high = _quantiles(member, [5e-4, 1 - 5e-4])
        (curve,) = ax.plot(
            *_curve(member, low - 0.04 * (high - low), high + 0.04 * (high - low)),
            label=names[i] if names else None,
            **_CURVE,
        )
        color = curve.get_color()
        if band is not None:
            ax.fill_between(
                *_curve(member, *_quantiles(member, [0.5 - band / 2, 0.5 + band / 2])), color=color, **_BAND
            )
        if drawn is not None:
            values = drawn[:, i]
            ax.hist(values[np.isfinite(values)], bins=bins, density=True, color=color, **_HISTOGRAM)
        if real is not None:
            ax.plot(
                real[:, i], np.full(len(real), 0.02), color=color, transform=ax.get_xaxis_transform(), **_RUG
            )
    ax.set_ylim(bottom=0)
    shown = ax.get_legend_handles_labels()[1]
    for label, style, wanted in (
        (points_label, _RUG, real is not None),
        (samples_label, {"linewidth": 0.8}, drawn is not None),
        ("" if band is None else f"{100 * band:g} % band", {"linewidth": 8, "alpha": 0.25}, band is not None),
    ):
        if wanted and label not in shown:
            ax.plot([], [], color=_NEUTRAL, label=label, **style)
    return _finished(ax, xlabel, "density", title, legend)


def contours(
    distribution: Distribution,
    masses: float | Iterable[float] = (0.5, 0.9),
    *,
    n: int = 161,
    labels: Iterable[str] | None = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
    title: str | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw curves of constant density around the densest regions that hold given shares of the probability.

    For any distribution of two elements, whatever the shape of its density: the level that a region ends at
    is the quantile of the density over 20000 draws, from a seed of their own (R. J. Hyndman, "Computing and
    graphing highest density regions", The American Statistician 50 (1996) 120-126). Of Gaussians see
    `scatter` for the exact curves.

    Parameters
    ----------
    distribution : Distribution
        With ``event_shape`` ``(2,)`` and a ``batch_shape`` of ``()`` or ``(B,)``: any that has `log_prob` and
        `sample`.
    masses : float or iterable of float
        Shares of the probability, between 0 and 1.
    n : int
        Points along each side of the grid that densities are computed on.
    labels, xlabel, ylabel, title, legend, ax
        As for `scatter`.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`, or that of a new figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        For a `distribution` that is none, or an `ax` that is no Axes.
    ValueError
        For other shapes, or masses that are no probabilities. Nothing has been drawn then.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> from fastdist import plot
    >>> corner = fd.Independent(fd.TruncatedNormal(np.zeros(2), 1.0, 0.0, np.inf), 1)
    >>> ax = plot.contours(corner, 0.5)
    """
    shape = _drawable(distribution, (2,))
    shares = sorted(
        [float(m) for m in masses] if isinstance(masses, Iterable) else [float(masses)], reverse=True
    )
    for share in shares:
        if not 0 < share < 1:
            raise ValueError(f"masses must be probabilities between 0 and 1, got {share!r}")
    names = _names(labels, shape)
    ax = _axes(ax)
    for i, member in enumerate([distribution[b] for b in range(*shape)] if shape else [distribution]):
        draws = np.asarray(member.sample((20000,), rng=0), np.float64)
        of_draws = np.asarray(member.log_prob(draws), np.float64)
        levels = np.unique(np.quantile(of_draws, [1 - share for share in shares]))
        low, high = np.quantile(draws, [5e-4, 1 - 5e-4], axis=0)
        low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
        x, y = np.linspace(low, high, n).T
        grid = np.stack(np.meshgrid(x, y), axis=-1)
        log_density = np.asarray(member.log_prob(grid), np.float64)
        floor = levels[0] - 50  # outside of a support it has no curve to be drawn towards
        (entry,) = ax.plot([], [], label=names[i] if names else None, **_MEMBER)
        ax.contour(
            x, y, np.maximum(np.nan_to_num(log_density, nan=floor), floor), levels=levels,
            colors=[entry.get_color()], linestyles="-", linewidths=np.linspace(0.9, 1.6, len(levels)),
        )  # fmt: skip
    label = ", ".join(f"{100 * share:g} %" for share in reversed(shares)) + " regions"
    if shares and label not in ax.get_legend_handles_labels()[1]:
        ax.plot([], [], color=_NEUTRAL, label=label, **_ELLIPSE)
    return _finished(ax, xlabel, ylabel, title, legend)


def pairs(
    distribution: Distribution,
    points: ArrayLike | None = None,
    samples: ArrayLike | None = None,
    *,
    sigmas: float | Iterable[float] = (1.0, 2.0),
    names: Iterable[str] | None = None,
    title: str | None = None,
    axes: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Draw every two elements of vectors against each other, and each alone, as a triangle of Axes.

    Of Gaussians there are marginal densities with their bands, and k-sigma ellipses of the marginals of
    pairs; of others histograms and draws.

    Parameters
    ----------
    distribution : Distribution
        With ``event_shape`` ``(d,)``, d > 1, and ``batch_shape`` ``()``.
    points : array_like, optional
        Real data, shape ``(..., d)``.
    samples : array_like, optional
        Draws, in the same layout. Default: 500 from a seed of their own.
    sigmas : float or iterable of float
        Sizes of the ellipses, in standard deviations. ``()`` for none. Default 1 and 2.
    names : iterable of str, optional
        Of the d elements, for the axes.
    title : str, optional
        Of the figure.
    axes : numpy.ndarray of matplotlib.axes.Axes, optional
        Where to draw: shape ``(d, d)``, as ``figure.subplots(d, d)`` makes them. Default: those of a new
        figure.

    Returns
    -------
    numpy.ndarray
        The Axes, shape ``(d, d)``. Those above the diagonal are hidden.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        For a `distribution` that is none, or `axes` that are no Axes.
    ValueError
        For other shapes, or a wrong number of names. Nothing has been drawn then.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> from fastdist import plot
    >>> mvn = fd.MultivariateNormal(np.zeros(3), scale_tril=[[1.0, 0, 0], [0.5, 1, 0], [0, -0.7, 1]])
    >>> plot.pairs(mvn, names=["x", "y", "z"]).shape
    (3, 3)
    """
    _check_distribution(distribution)
    shape = distribution.event_shape
    if len(shape) != 1 or shape[0] < 2 or distribution.batch_shape:
        raise ValueError(
            f"distribution must have event_shape (d,), d > 1, and batch_shape (), got event_shape {shape} "
            f"and batch_shape {distribution.batch_shape}"
        )
    dim = shape[0]
    labels = _names(names, shape) if names is not None else [f"[{i}]" for i in range(dim)]
    sizes = _sizes(sigmas)
    draws = _members(
        "samples", distribution.sample((500,), rng=0) if samples is None else samples, (), shape
    )[:, 0]
    real = None if points is None else _members("points", points, (), shape)[:, 0]
    covariance = _covariance(distribution)
    grid = _grid(axes, dim)
    mean = None if covariance is None else np.asarray(distribution.mean, np.float64)
    for i in range(dim):
        for j in range(dim):
            ax = grid[i, j]
            both = [j, i]
            if j > i:
                ax.set_visible(False)
            elif i == j and covariance is not None and mean is not None:
                marginal = Normal(mean[i], math.sqrt(covariance[i, i]))
                density(marginal, None if real is None else real[:, i], draws[:, i], legend=False, ax=ax)
                ax.set_ylabel("")
            elif i == j:
                values = draws[np.isfinite(draws[:, i]), i]
                ax.hist(values, bins="auto", density=True, color=COLORS[0], **_HISTOGRAM)
            elif covariance is not None and mean is not None:
                pair = MultivariateNormal(mean[both], covariance[np.ix_(both, both)])
                of_pair = None if real is None else real[:, both]
                scatter(pair, of_pair, draws[:, both], sigmas=sizes, legend=False, ax=ax)
            else:
                ax.plot(*draws[:, both].T, color=COLORS[0], **_SAMPLES)
                if real is not None:
                    ax.plot(*real[:, both].T, color=COLORS[0], **_POINTS)
            if i == dim - 1:
                ax.set_xlabel(labels[j])
            if j == 0 and i > 0:
                ax.set_ylabel(labels[i])
            if i == j:
                ax.set_yticks([])
            elif j > 0:
                ax.tick_params(labelleft=False)
    if title is not None:
        grid[0, 0].figure.suptitle(title)
    return grid


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
    base = _base(distribution)
    if isinstance(base, MultivariateNormal):
        return np.asarray(base.scale_tril, np.float64)
    if isinstance(base, Normal):
        return np.asarray(base.stddev, np.float64)[..., np.newaxis] * np.eye(2)
    raise TypeError(
        f"distribution must be a MultivariateNormal or Independent(Normal, 1), got {distribution!r}"
    )


def _base(distribution: Distribution) -> Distribution:
    """What is within Independents."""
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return distribution


def _covariance(distribution: Distribution) -> NDArray[np.float64] | None:
    """Of Gaussian vectors, shape (d, d); None of others."""
    base = _base(distribution)
    if isinstance(base, MultivariateNormal):
        return np.asarray(base.covariance_matrix, np.float64)
    return np.diag(np.asarray(base.variance, np.float64)) if isinstance(base, Normal) else None


def _check_distribution(distribution: Distribution) -> None:
    """Any object that has what is asked of one."""
    if not all(hasattr(distribution, name) for name in ("batch_shape", "event_shape", "log_prob", "sample")):
        raise TypeError(f"distribution must be a Distribution, got {type(distribution).__name__}")


def _drawable(distribution: Distribution, event_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The batch shape of a distribution of this event shape."""
    _check_distribution(distribution)
    if distribution.event_shape != event_shape or len(distribution.batch_shape) > 1:
        raise ValueError(
            f"distribution must have event_shape {event_shape} and at most one batch dim, got event_shape "
            f"{distribution.event_shape} and batch_shape {distribution.batch_shape}"
        )
    return distribution.batch_shape


def _quantiles(distribution: Distribution, p: list[float]) -> NDArray[np.float64]:
    """By icdf or, if there is none, of draws."""
    try:
        found: NDArray[np.float64] = np.asarray(distribution.icdf(p), np.float64)  # type: ignore[attr-defined]
    except (AttributeError, NotImplementedError):
        found = np.quantile(np.asarray(distribution.sample((20000,), rng=0), np.float64), p)
    return found


def _curve(distribution: Distribution, low: float, high: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Points and densities, at the ends of a support on both sides."""
    x = np.linspace(low, high, 401)
    for end in (distribution.support.lower_bound, distribution.support.upper_bound):
        if low < end < high:
            x = np.sort(
                np.concatenate([x, [np.nextafter(end, -np.inf), end, np.nextafter(end, np.inf)]], axis=None)
            )
    return x, np.exp(np.asarray(distribution.log_prob(x), np.float64))


def _finished(ax: Axes, xlabel: str | None, ylabel: str | None, title: str | None, legend: bool) -> Axes:
    if xlabel is not None:
        ax.set_xlabel(xlabel)
    if ylabel is not None:
        ax.set_ylabel(ylabel)
    if title is not None:
        ax.set_title(title)
    if legend and ax.get_legend_handles_labels()[1]:
        ax.legend()
    return ax


def _grid(axes: NDArray[Any] | None, dim: int) -> NDArray[Any]:
    """A square of Axes, as given or of a new figure."""
    axes_type, figure_type = _matplotlib()
    if axes is None:
        figure = figure_type(figsize=(1.2 + 1.9 * dim, 1 + 1.9 * dim), layout="constrained")
        grid: NDArray[Any] = figure.subplots(dim, dim, sharex="col", squeeze=False)
        for row in grid:
            for ax in row:
                ax.set_prop_cycle(color=COLORS)
        for i in range(1, dim):
            for ax in grid[i, 1:i]:
                ax.sharey(grid[i, 0])
        return grid
    if np.shape(axes) != (dim, dim):
        raise ValueError(f"axes must have shape ({dim}, {dim}), got {np.shape(axes)}")
    if not all(isinstance(ax, axes_type) for ax in np.asarray(axes).flat):
        raise TypeError("axes must be an array of matplotlib Axes")
    return np.asarray(axes)


def _members(
    name: str, value: ArrayLike, batch_shape: tuple[int, ...], event_shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """`value` as an array of shape (n, B, *event_shape)."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array: fill it with NaN first")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is no array: {error}") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be of a real dtype, got {array.dtype}")
    tail = batch_shape + event_shape
    cut = array.ndim - len(tail)
    if cut < 0 or array.shape[cut:] != tail:
        raise ValueError(
            f"{name} must have shape (..., {', '.join(map(str, tail))}), the distribution's batch_shape "
            f"and event_shape last, got {array.shape}"
        )
    # Sizes are spelled out: -1 is undefined for an empty batch.
    return array.astype(np.float64).reshape(
        math.prod(array.shape[:cut]), math.prod(batch_shape), *event_shape
    )


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
