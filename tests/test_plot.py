"""fastdist.plot: the curves are exact, every layer gets to the Axes, errors name the parameter."""

import doctest
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import fastdist as fd
from fastdist import plot

LOC = np.array([[1.0, 2.0], [-3.0, 0.5], [0.0, 0.0]])
COVARIANCE = np.array([[[2.0, 0.9], [0.9, 1.0]], [[1e-4, -5e-3], [-5e-3, 1.0]], [[1.0, 0.0], [0.0, 9.0]]])
MVN = fd.MultivariateNormal(LOC, COVARIANCE)
INDEPENDENT = fd.Independent(fd.Normal(LOC, [0.5, 2.0]), 1)
POINTS = np.arange(24.0).reshape(4, 3, 2)


def new_axes():
    return Figure().add_subplot()


def drawn(ax, marker, color=None):
    """xy data of the lines with data, by marker."""
    return [
        line.get_xydata()
        for line in ax.lines
        if line.get_marker() == marker and len(line.get_xdata()) and color in (None, line.get_color())
    ]


def distance(distribution, xy):
    """Mahalanobis distance, from the covariance matrix by a general solver."""
    if isinstance(distribution, fd.Independent):
        covariance = distribution.variance[..., np.newaxis] * np.eye(2)
    else:
        covariance = distribution.covariance_matrix
    gap = (xy - distribution.mean)[..., np.newaxis]
    return np.sqrt((gap * np.linalg.solve(covariance, gap)).sum((-1, -2)))


# ---- ellipses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "distribution",
    [
        MVN,
        MVN[1],
        fd.MultivariateNormal(LOC, scale_tril=np.linalg.cholesky(COVARIANCE)),
        fd.MultivariateNormal(LOC, precision_matrix=np.linalg.inv(COVARIANCE)),
        fd.MultivariateNormal(LOC[:, np.newaxis], COVARIANCE),
        INDEPENDENT,
        INDEPENDENT.expand((4, 3)),
        fd.Independent(MVN, 0),
    ],
    ids=repr,
)
def test_ellipses_lie_at_their_distance(distribution):
    if isinstance(distribution, fd.Independent) and distribution.reinterpreted_batch_ndims == 0:
        reference = distribution.base_dist
    else:
        reference = distribution
    sigmas = [0.25, 1.0, 2.0, 7.5]
    curves = plot.ellipses(distribution, sigmas)
    assert curves.shape == (4, 181, *distribution.batch_shape, 2)
    assert curves.dtype == np.float64
    for k, curve in zip(sigmas, curves, strict=True):
        np.testing.assert_allclose(distance(reference, curve), k, rtol=1e-12)


def test_ellipses_are_closed_and_go_round():
    curves = plot.ellipses(MVN, 1.5)[0]
    np.testing.assert_allclose(curves[0], curves[-1], atol=1e-14)
    whitened = np.linalg.solve(MVN.scale_tril, (curves - MVN.loc)[..., np.newaxis])[..., 0]
    steps = np.diff(np.unwrap(np.arctan2(whitened[..., 1], whitened[..., 0]), axis=0), axis=0)
    np.testing.assert_allclose(steps, np.radians(2), rtol=1e-6)


def test_ellipses_hold_their_share_of_the_draws():
    """1 - exp(-k²/2), by 1e5 draws each; 5 standard errors: a false alarm in 3e5 runs."""
    n = 100_000
    for k in (1.0, 2.0):
        share = 1 - np.exp(-(k**2) / 2)
        inside = (distance(MVN, MVN.sample((n,), rng=1)) < k).mean(axis=0)
        assert np.all(np.abs(inside - share) < 5 * np.sqrt(share * (1 - share) / n))


def test_ellipses_of_float32_are_float64():
    mvn = fd.MultivariateNormal(LOC.astype(np.float32), scale_tril=np.eye(2, dtype=np.float32))
    np.testing.assert_allclose(distance(mvn, plot.ellipses(mvn, 2)), 2, rtol=1e-12)


# ---- scatter ---------------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", [MVN, INDEPENDENT], ids=["full", "independent"])
def test_scatter_draws_every_layer_of_every_member(distribution):
    samples = distribution.sample((2, 5), rng=0)
    ax = plot.scatter(distribution, POINTS, samples, sigmas=(1, 2, 3))
    points, crosses, curves = drawn(ax, "o"), drawn(ax, "x"), drawn(ax, "")
    assert (len(points), len(crosses), len(curves)) == (3, 3, 9)
    for b in range(3):
        np.testing.assert_array_equal(points[b], POINTS[:, b])
        np.testing.assert_array_equal(crosses[b], samples.reshape(10, 3, 2)[:, b])
        for k, curve in zip((1, 2, 3), curves[3 * b : 3 * b + 3], strict=True):
            np.testing.assert_allclose(distance(distribution[b], curve), k, rtol=1e-12)


def test_scatter_keeps_a_members_colour_and_takes_it_from_the_cycle():
    ax = new_axes()
    ax.set_prop_cycle(color=["#111111", "#222222", "#333333"])
    assert plot.scatter(MVN, POINTS, POINTS + 1, ax=ax) is ax
    for b, color in enumerate(["#111111", "#222222", "#333333"]):
        (points,), (samples,) = drawn(ax, "o", color), drawn(ax, "x", color)
        np.testing.assert_array_equal(points, POINTS[:, b])
        np.testing.assert_array_equal(samples, POINTS[:, b] + 1)
        assert len(drawn(ax, "", color)) == 2


def test_scatter_makes_axes_of_its_own():
    ax = plot.scatter(MVN)
    colors = list(dict.fromkeys(line.get_color() for line in ax.lines if len(line.get_xdata())))
    assert [to_hex(c).upper() for c in colors] == list(plot.COLORS[:3])
    file = io.BytesIO()
    ax.figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG\r\n")


def test_scatter_labels():
    ax = plot.scatter(
        MVN,
        POINTS,
        POINTS,
        labels=np.array(["a", "b", "c"]),
        points_label="flowers",
        samples_label="draws",
        xlabel="length (cm)",
        ylabel="width (cm)",
        title="irises",
    )
    expected = ["a", "b", "c", "flowers", "draws", "1σ, 2σ ellipses"]
    assert ax.get_legend_handles_labels()[1] == expected
    assert [text.get_text() for text in ax.get_legend().get_texts()] == expected
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("length (cm)", "width (cm)", "irises")


def test_legend_tells_layers_apart_and_colours_members():
    ax = plot.scatter(MVN, POINTS, POINTS)
    handles, _ = ax.get_legend_handles_labels()
    assert [handle.get_marker() for handle in handles] == ["s", "s", "s", "o", "x", ""]
    assert [to_hex(handle.get_color()).upper() for handle in handles[:3]] == list(plot.COLORS[:3])
    assert len({handle.get_color() for handle in handles[3:]}) == 1


def test_legend_shows_only_what_is_drawn():
    def entries(*args, **kwargs):
        ax = plot.scatter(*args, **kwargs)
        shown = ax.get_legend()
        return [text.get_text() for text in shown.get_texts()] if shown else None

    assert entries(MVN) == ["[0]", "[1]", "[2]", "1σ, 2σ ellipses"]
    assert entries(MVN, sigmas=2.5) == ["[0]", "[1]", "[2]", "2.5σ ellipse"]
    assert entries(MVN, POINTS, sigmas=()) == ["[0]", "[1]", "[2]", "points"]
    assert entries(MVN[0]) == ["1σ, 2σ ellipses"]
    assert entries(MVN[0], labels=["only"]) == ["only", "1σ, 2σ ellipses"]
    assert entries(MVN[0], sigmas=()) is None
    assert entries(MVN, legend=False) is None
    assert entries(MVN[:0]) == ["1σ, 2σ ellipses"]


def test_two_calls_share_an_axes():
    ax = plot.scatter(MVN[:1], labels=["a"])
    plot.scatter(MVN[1:2], labels=["b"], ax=ax)
    assert ax.get_legend_handles_labels()[1] == ["a", "1σ, 2σ ellipses", "b"]
    assert len({line.get_color() for line in ax.lines if len(line.get_xdata())}) == 2


def test_scatter_leaves_labels_of_a_given_axes_alone():
    ax = new_axes()
    ax.set(xlabel="x", ylabel="y", title="t")
    plot.scatter(MVN, ax=ax)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("x", "y", "t")


def test_scatter_of_batches_of_any_size():
    for batch in ((), (1,), (0,)):
        mvn = fd.MultivariateNormal(np.zeros((*batch, 2)), np.eye(2))
        ax = plot.scatter(mvn, mvn.sample(7, rng=0), mvn.sample(0))
        assert sum(len(xy) for xy in drawn(ax, "o")) == 7 * int(np.prod(batch))
        ax.figure.savefig(io.BytesIO(), format="png")


def test_scatter_pads_with_nan():
    points = POINTS.copy()
    points[2:, 1] = np.nan
    ax = plot.scatter(MVN, points, sigmas=())
    assert np.isfinite([ax.get_xlim(), ax.get_ylim()]).all()
    ax.figure.savefig(io.BytesIO(), format="png")


def test_scatter_takes_lists_and_integers():
    ax = plot.scatter(MVN[0], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(drawn(ax, "o")[0], [[1, 2], [3, 4]])


# ---- errors ----------------------------------------------------------------------------------


class Uniform(fd.Distribution):
    """No Gaussian."""

    def __init__(self):
        self._set_up({}, (3,), (2,), np.dtype(float), None)


SHAPE_OF_VALUES = "must have shape (..., 3, 2), the distribution's batch_shape and event_shape last, got"
GOT_NORMAL = "got event_shape () and batch_shape (3, 2); see Independent(distribution, 1)"


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("distribution", LOC, TypeError, "must be a Distribution, got ndarray"),
        (
            "distribution",
            Uniform(),
            TypeError,
            "must be a MultivariateNormal or Independent(Normal, 1), got Uniform",
        ),
        ("distribution", INDEPENDENT.base_dist, ValueError, f"must have event_shape (2,), {GOT_NORMAL}"),
        (
            "distribution",
            MVN.expand((4, 3)),
            ValueError,
            "must have at most one batch dim to be drawn, got batch_shape (4, 3)",
        ),
        (
            "distribution",
            fd.MultivariateNormal([0.0] * 3, np.eye(3)),
            ValueError,
            "must have event_shape (2,), got event_shape (3,)",
        ),
        ("points", np.zeros((50, 2)), ValueError, f"{SHAPE_OF_VALUES} (50, 2)"),
        ("points", np.zeros(2), ValueError, f"{SHAPE_OF_VALUES} (2,)"),
        ("points", np.zeros((5, 3, 1)), ValueError, f"{SHAPE_OF_VALUES} (5, 3, 1)"),
        ("samples", np.zeros((5, 1, 2)), ValueError, f"{SHAPE_OF_VALUES} (5, 1, 2)"),
        ("points", [[1.0, 2.0], [3.0]], ValueError, "is no array"),
        ("points", POINTS * 1j, TypeError, "must be of a real dtype, got complex128"),
        ("samples", np.full((4, 3, 2), "a"), TypeError, "must be of a real dtype, got <U1"),
        ("points", np.ma.masked_greater(POINTS, 3), TypeError, "must not be a masked array"),
        ("sigmas", (1, 0), ValueError, "must be positive and finite, got sigmas[1] = 0"),
        ("sigmas", np.nan, ValueError, "must be positive and finite, got sigmas[0] = nan"),
        ("sigmas", [np.inf], ValueError, "must be positive and finite, got sigmas[0] = inf"),
        ("sigmas", None, TypeError, "must be a number or a list of numbers, got None"),
        (
            "labels",
            "abc",
            TypeError,
            "must be a list of strings, one for each member of the batch, got 'abc'",
        ),
        ("labels", 3, TypeError, "must be a list of strings, one for each member of the batch, got 3"),
        (
            "labels",
            ["a", "b"],
            ValueError,
            "must have one entry for each of the 3 members of batch_shape (3,), got 2",
        ),
    ],
)
def test_bad_input_draws_nothing(name, value, error, message):
    ax = new_axes()
    with pytest.raises(error, match=re.escape(f"{name} {message}")):
        plot.scatter(**{"distribution": MVN, "ax": ax, name: value})
    assert not ax.lines
    assert ax.get_legend() is None


def test_bad_axes():
    for ax in (Figure(), Figure().subplots(1, 2)):
        with pytest.raises(TypeError, match=f"ax must be one matplotlib Axes, got {type(ax).__name__}"):
            plot.scatter(MVN, ax=ax)


# ---- imports ---------------------------------------------------------------------------------


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with pytest.raises(ImportError, match=re.escape("pip install matplotlib")):
        plot.scatter(MVN)
    plot.ellipses(MVN)  # needs NumPy only


def test_matplotlib_is_imported_late_and_pyplot_never():
    script = """
import sys
import fastdist as fd
assert not {"fastdist.plot", "fastdist._demo", "fastdist.__main__", "argparse", "csv"} & set(sys.modules)
from fastdist import plot
assert "matplotlib" not in sys.modules
plot.scatter(fd.MultivariateNormal([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]]))
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_examples():
    assert doctest.testmod(plot).failed == 0
