"""``python -m fastdist demo`` and the command line around it."""

import csv
import importlib.resources
import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from fastdist import _demo
from fastdist.__main__ import main

pytestmark = pytest.mark.any_isa  # the command line


def run(*arguments, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "fastdist", *arguments], capture_output=True, text=True, check=False, **kwargs
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A run of the demo as a user runs it: what it printed, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("demo")
    result = run("demo", cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout, folder


def result_of(text, expression):
    """The line that the walk prints after an expression."""
    lines = text.splitlines()
    return lines[lines.index(f">>> {expression}") + 1]


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("flowers.shape", "(50, 3, 2)"),
        ("mvn", "MultivariateNormal(loc: (3, 2), covariance_matrix: (3, 2, 2))"),
        ("mvn.batch_shape, mvn.event_shape", "((3,), (2,))"),
        ("mvn.sample(rng=seed).shape", "(3, 2)"),
        ("mvn.sample((100,), rng=seed).shape", "(100, 3, 2)"),
        ("mvn.log_prob(flowers).shape", "(50, 3)"),
        ("normal.batch_shape, normal.event_shape", "((3, 2), ())"),
        ("normal.log_prob(flowers).shape", "(50, 3, 2)"),
        ("independent.batch_shape, independent.event_shape", "((3,), (2,))"),
        ("independent.log_prob(flowers).shape", "(50, 3)"),
    ],
)
def test_walk_prints_the_shapes(demo, expression, result):
    assert result_of(demo[0], expression) == result


def test_accuracy_and_confusion(demo):
    """The numbers of Gaussian classifiers with equal priors on these petals, counted independently."""
    with (importlib.resources.files("fastdist.data") / "iris.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    species = ["setosa", "versicolor", "virginica"]
    truth = np.array([species.index(row["species"]) for row in rows])
    petals = np.array([[float(row["petal_length_cm"]), float(row["petal_width_cm"])] for row in rows])

    def classify(full):
        scores = []
        for i in range(3):
            own = petals[truth == i]
            covariance = np.cov(own.T, bias=True)
            covariance = covariance if full else np.diag(np.diag(covariance))
            gap = petals - own.mean(axis=0)
            mahalanobis = np.einsum("ni,ij,nj->n", gap, np.linalg.inv(covariance), gap)
            scores.append(-0.5 * (mahalanobis + np.log(np.linalg.det(covariance))))
        return np.argmax(scores, axis=0)

    full, diagonal = classify(True), classify(False)
    text, _ = demo
    assert f"\n{np.mean(full == truth):.1%} of 150 flowers right by MultivariateNormal\n" in text
    assert f"\n{np.mean(diagonal == truth):.1%} of 150 flowers right by Independent\n" in text
    assert (np.sum(full == truth), np.sum(diagonal == truth)) == (147, 144)
    for i, name in enumerate(species):
        counts = [str(np.sum((truth == i) & (full == j))) for j in range(3)]
        assert [name, *counts] in [line.split() for line in text.splitlines()]


def test_fit_is_maximum_likelihood(capsys):
    variables = _demo.walk(0)
    capsys.readouterr()
    for i in range(3):
        own = variables["flowers"][:, i]
        np.testing.assert_allclose(variables["mvn"].loc[i], own.mean(axis=0))
        np.testing.assert_allclose(variables["mvn"].covariance_matrix[i], np.cov(own.T, bias=True))
        np.testing.assert_allclose(variables["independent"].stddev[i], own.std(axis=0))


def test_picture_is_a_png_of_sensible_size(demo):
    text, folder = demo
    assert text.endswith("Wrote demo.png\n")
    path = folder / "demo.png"
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert 20_000 < path.stat().st_size < 200_000
    pixels = imread(path)
    assert pixels.shape[:2] == (750, 1500)
    assert pixels.min() < 0.1
    assert np.median(pixels) == 1


def test_picture_shows_both_models(capsys):
    variables = _demo.walk(3)
    capsys.readouterr()
    figure = _demo.picture(variables)
    assert len(figure.axes) == 2
    full, diagonal = figure.axes
    assert (full.get_xlim(), full.get_ylim()) == (diagonal.get_xlim(), diagonal.get_ylim())
    assert full.get_xlabel() == diagonal.get_xlabel() == "petal length (cm)"
    assert full.get_ylabel() == "petal width (cm)"
    assert all(ax.get_title() for ax in figure.axes)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["setosa", "versicolor", "virginica", "real flowers", "100 draws", "1σ, 2σ ellipses"]
    for ax, name in ((full, "mvn"), (diagonal, "independent")):
        draws = variables[name].sample((100,), rng=3)
        flowers = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata())]
        crosses = [line for line in ax.lines if line.get_marker() == "x" and len(line.get_xdata())]
        ellipses = [line for line in ax.lines if line.get_marker() == "" and len(line.get_xdata())]
        assert (len(flowers), len(crosses), len(ellipses)) == (3, 3, 6)
        for i in range(3):
            np.testing.assert_array_equal(flowers[i].get_xydata(), variables["flowers"][:, i])
            np.testing.assert_array_equal(crosses[i].get_xydata(), draws[:, i])


def test_picture_overlaps_nothing(capsys):
    """Titles, axis labels and the legend keep clear of each other and of the panels."""
    variables = _demo.walk(0)
    capsys.readouterr()
    figure = _demo.picture(variables)
    figure.draw_without_rendering()
    boxes = [figure._suptitle.get_window_extent(), figure.legends[0].get_window_extent()]
    for ax in figure.axes:
        texts = (ax.title, ax.xaxis.label, ax.yaxis.label)
        boxes += [artist.get_window_extent() for artist in (ax, *texts) if artist is ax or artist.get_text()]
    for i, box in enumerate(boxes):
        assert figure.bbox.containsx(box.x0)
        assert figure.bbox.containsx(box.x1)
        assert figure.bbox.containsy(box.y0)
        assert figure.bbox.containsy(box.y1)
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_same_seed_same_output(demo, tmp_path, monkeypatch, capsys):
    text, folder = demo
    monkeypatch.chdir(tmp_path)
    main(["demo", "--seed", "0"])
    assert capsys.readouterr().out == text
    first = (folder / "demo.png").read_bytes()
    assert (tmp_path / "demo.png").read_bytes() == first
    main(["demo", "--seed", "1", "--output", "other.png"])
    assert ">>> seed = 1\n" in capsys.readouterr().out
    assert (tmp_path / "other.png").read_bytes() != first


def test_walk_can_be_pasted(demo):
    """The printed lines are a program of their own, and print what the demo printed."""
    printed = [line for line in demo[0].splitlines() if line.startswith(">>> ")]
    script = "".join(line.removeprefix(">>> ") + "\n" for line in printed)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "98.0% of 150 flowers right by MultivariateNormal" in result.stdout


def test_walk_is_plain_and_narrow(demo):
    """It must read well in any terminal."""
    assert demo[0].isascii()
    assert max(map(len, demo[0].splitlines())) <= 100


def test_output_goes_by_its_suffix(tmp_path, capsys):
    for name, start in (("plain", b"\x89PNG"), ("picture.svg", b"<?xml"), ("picture.pdf", b"%PDF")):
        main(["demo", "--output", str(tmp_path / name)])
        assert (tmp_path / name).read_bytes().startswith(start)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/demo.png", "No such file or directory"),
        (".", "Is a directory"),
        ("demo.xyz", "Format 'xyz' is not supported"),
    ],
)
def test_unwritable_output(tmp_path, monkeypatch, capsys, name, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--output", name])
    assert str(stop.value).startswith(f"python -m fastdist demo: error: cannot write {name}: {reason}")
    assert "Wrote" not in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_unwritable_output_without_a_traceback(tmp_path):
    result = run("demo", "--output", "missing/demo.png", cwd=tmp_path)
    assert result.returncode == 1
    # Not all of stderr: matplotlib speaks up there when it builds its cache of fonts.
    assert result.stderr.endswith("demo: error: cannot write missing/demo.png: No such file or directory\n")
    assert "Traceback" not in result.stderr


def test_missing_matplotlib(tmp_path):
    """Everything but the picture, then what to do about it."""
    (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError(\"No module named 'matplotlib'\")")
    result = run("demo", cwd=tmp_path)  # -m looks there first
    assert result.returncode == 1
    assert "98.0% of 150" in result.stdout
    assert "Wrote" not in result.stdout
    assert result.stderr == (
        "python -m fastdist demo: error: pictures need matplotlib (No module named 'matplotlib'): "
        "pip install matplotlib\n"
    )
    assert not (tmp_path / "demo.png").exists()


@pytest.mark.parametrize("seed", ["-1", "x", "1.5", ""])
def test_bad_seed(capsys, seed):
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--seed", seed])
    assert stop.value.code == 2
    assert f"argument --seed: must be an integer >= 0, got {seed!r}" in capsys.readouterr().err


def test_no_command_prints_the_help():
    result = run()
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: python -m fastdist")
    assert "demo" in result.stdout
    assert "info" in result.stdout


def test_unknown_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["dance"])
    assert stop.value.code == 2
    assert "dance" in capsys.readouterr().err


def test_data():
    """The table is whole: its sizes, and the means that Fisher's article gives."""
    with (importlib.resources.files("fastdist.data") / "iris.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm", "species"]
    means = {
        "setosa": [5.006, 3.428, 1.462, 0.246],
        "versicolor": [5.936, 2.770, 4.260, 1.326],
        "virginica": [6.588, 2.974, 5.552, 2.026],
    }
    assert {row[-1] for row in rows[1:]} == set(means)
    for name, mean in means.items():
        values = np.array([row[:-1] for row in rows[1:] if row[-1] == name], float)
        assert values.shape == (50, 4)
        np.testing.assert_allclose(values.mean(axis=0), mean, rtol=1e-12)


@pytest.mark.parametrize("name", ["info", "demo"])
def test_a_reader_that_has_gone(name, tmp_path):
    """As head has when it has read enough: nothing is said about that."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "fastdist", name]
    try:
        result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, check=False)
    finally:
        os.close(write)
    assert (result.stderr, result.returncode) == (b"", 1)
