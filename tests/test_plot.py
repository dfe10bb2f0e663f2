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

pytestmark = pytest.mark.any_isa  # pictures and their errors

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


# ---- density ---------------------------------------------------------------------------------


SCALARS = fd.TruncatedNormal([0.0, 3.0], 1.0, [0.0, -np.inf], [np.inf, 4.0])


def curves_of(ax):
    return [line.get_xydata() for line in ax.lines if line.get_marker() == "" and len(line.get_xdata())]


def test_density_draws_exact_curves_and_bands():
    ax = plot.density(SCALARS, band=0.5)
    curves = curves_of(ax)
    assert len(curves) == len(ax.collections) == 2
    for b, curve in enumerate(curves):
        np.testing.assert_allclose(curve[:, 1], SCALARS[b].prob(curve[:, 0]))
        np.testing.assert_allclose(np.trapezoid(*curve.T[::-1]), 1, atol=2e-3)
        vertices = ax.collections[b].get_paths()[0].vertices
        np.testing.assert_allclose(np.unique(vertices[:, 0])[[0, -1]], SCALARS[b].icdf([0.25, 0.75]))
    # A density that ends goes down to 0 there, not on a slope.
    assert curves[0][0, 1] == 0
    assert curves[0][curves[0][:, 1] > 0][0, 0] == 0
    assert ax.get_ylim()[0] == 0
    assert len(plot.density(SCALARS, band=None).collections) == 0


def test_density_draws_samples_and_points():
    samples, points = SCALARS.sample((3, 50), rng=0), SCALARS.sample(7, rng=1)
    points[0, 0] = np.nan
    ax = plot.density(SCALARS, points, samples, bins=10, labels=["a", "b"], xlabel="x", title="t")
    rugs = drawn(ax, "|")
    assert len(rugs) == 2
    for b in range(2):
        np.testing.assert_array_equal(rugs[b][:, 0], points[:, b])
    assert len(ax.patches) == 2  # the histograms' outlines
    assert ax.get_legend_handles_labels()[1] == ["a", "b", "points", "samples", "90 % band"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("x", "density", "t")


def test_density_of_what_has_no_quantiles():
    """By draws, from a seed of their own: no generator moves."""

    class Cauchy(fd.Distribution):
        arg_constraints = {"loc": fd.constraints.real}  # noqa: RUF012
        support = fd.constraints.real
        normals_per_event = 2

        def draw(self, eps, out):
            np.add(self.loc, eps[..., 0] / eps[..., 1], out=out)

        def log_density(self, value):
            return -np.log(np.pi * (1 + (value - self.loc) ** 2))

    ax = plot.density(Cauchy(np.zeros(2)))
    assert len(curves_of(ax)) == 2


def test_density_takes_an_axes_and_a_single_distribution():
    ax = new_axes()
    assert plot.density(fd.Normal(0.0, 1.0), ax=ax, legend=False) is ax
    assert ax.get_legend() is None
    assert plot.density(fd.Normal(0.0, 1.0)).get_legend().get_texts()[0].get_text() == "90 % band"


def test_errors_of_density():
    with pytest.raises(
        ValueError, match=r"distribution must have event_shape \(\) and at most one batch dim"
    ):
        plot.density(MVN)
    with pytest.raises(ValueError, match="at most one batch dim"):
        plot.density(fd.Normal(np.zeros((2, 2)), 1.0))
    with pytest.raises(TypeError, match="distribution must be a Distribution, got int"):
        plot.density(3)
    with pytest.raises(ValueError, match=r"band must be a probability between 0 and 1, got 1\.5"):
        plot.density(SCALARS, band=1.5)
    with pytest.raises(ValueError, match=r"samples must have shape \(..., 2\)"):
        plot.density(SCALARS, samples=np.zeros(3))
    with pytest.raises(TypeError, match="ax must be one matplotlib Axes"):
        plot.density(SCALARS, ax="here")


# ---- contours --------------------------------------------------------------------------------


def segments(ax):
    return [
        np.concatenate([path.vertices for path in collection.get_paths()]) for collection in ax.collections
    ]


def test_contours_of_a_gaussian_are_its_ellipses():
    """To the noise of 20000 draws, some 2 % of a radius."""
    masses = [1 - np.exp(-0.5), 1 - np.exp(-2.0)]
    ax = plot.contours(MVN[0], masses)
    (vertices,) = segments(ax)
    radii = distance(MVN[0], vertices)
    for k in (1.0, 2.0):
        near = np.abs(radii - k) < 0.1
        assert near.sum() > 100
    assert np.all((np.abs(radii - 1) < 0.1) | (np.abs(radii - 2) < 0.1))
    assert ax.get_legend_handles_labels()[1] == ["39.3469 %, 86.4665 % regions"]


def test_contours_end_where_a_support_does():
    corner = fd.Independent(fd.TruncatedNormal(np.zeros((2, 2)), 1.0, 0.0, np.inf), 1)
    ax = plot.contours(corner, 0.5, labels=["a", "b"])
    assert len(ax.collections) == 2
    for vertices in segments(ax):
        assert vertices.min() > -0.05
    assert ax.get_legend_handles_labels()[1] == ["a", "b", "50 % regions"]
    with pytest.raises(ValueError, match="masses must be probabilities"):
        plot.contours(corner, [0.5, 1.0])
    with pytest.raises(ValueError, match=r"event_shape \(2,\)"):
        plot.contours(SCALARS)


# ---- pairs -----------------------------------------------------------------------------------


def test_pairs_of_a_gaussian():
    tril = np.array([[1.0, 0, 0], [0.5, 1, 0], [0.2, -0.7, 1]])
    mvn = fd.MultivariateNormal([1.0, 2.0, 3.0], scale_tril=tril)
    points, samples = mvn.sample(9, rng=0), mvn.sample(20, rng=1)
    axes = plot.pairs(mvn, points, samples, sigmas=2, names=["x", "y", "z"], title="t")
    assert axes.shape == (3, 3)
    for i in range(3):
        for j in range(3):
            ax = axes[i, j]
            assert ax.get_visible() == (j <= i)
            if j < i:
                both = [j, i]
                np.testing.assert_array_equal(drawn(ax, "o")[0], points[:, both])
                np.testing.assert_array_equal(drawn(ax, "x")[0], samples[:, both])
                marginal = fd.MultivariateNormal(mvn.mean[both], mvn.covariance_matrix[np.ix_(both, both)])
                np.testing.assert_allclose(distance(marginal, drawn(ax, "")[0]), 2, rtol=1e-10)
            if i == j:
                (curve,) = curves_of(ax)
                marginal = fd.Normal(mvn.mean[i], mvn.stddev[i])
                np.testing.assert_allclose(curve[:, 1], marginal.prob(curve[:, 0]))
    assert [ax.get_xlabel() for ax in axes[-1]] == ["x", "y", "z"]
    assert axes[0, 0].figure.get_suptitle() == "t"
    file = io.BytesIO()
    axes[0, 0].figure.savefig(file, format="png")


def test_pairs_of_others_and_on_axes_of_ones_own():
    d = fd.Independent(fd.TruncatedNormal(np.zeros(2), 1.0, [0.0, 2.0], np.inf), 1)
    axes = Figure().subplots(2, 2)
    assert plot.pairs(d, points=np.ones((3, 2)), axes=axes) is axes
    assert len(drawn(axes[1, 0], "x")[0]) == 500
    assert len(drawn(axes[1, 0], "o")[0]) == 3
    independent = plot.pairs(INDEPENDENT[0])
    assert len(drawn(independent[1, 0], "")) == 2


def test_errors_of_pairs():
    with pytest.raises(ValueError, match=r"event_shape \(d,\), d > 1, and batch_shape \(\)"):
        plot.pairs(MVN)
    with pytest.raises(ValueError, match=r"axes must have shape \(2, 2\)"):
        plot.pairs(MVN[0], axes=Figure().subplots(1, 2))
    with pytest.raises(TypeError, match="axes must be an array of matplotlib Axes"):
        plot.pairs(MVN[0], axes=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="labels must have one entry"):
        plot.pairs(MVN[0], names=["x"])
