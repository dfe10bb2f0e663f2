"""What lies at the edges: sizes no memory bounds, triangles nobody reads."""

import os
import subprocess
import sys

import numpy as np
import pytest

import fastdist as fd


@pytest.mark.parametrize("dim", [2, 5, 70])
@pytest.mark.parametrize("name", ["covariance_matrix", "precision_matrix"])
@pytest.mark.parametrize("corner", [(0, -1), (-1, 0)])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("validate_args", [None, False])
def test_neither_triangle_may_be_infinite_or_nan(dim, name, corner, bad, validate_args):
    matrix = np.stack([np.eye(dim)] * 3)
    matrix[(1, *corner)] = bad
    with pytest.raises(ValueError, match=rf"{name} .*\(3, {dim}, {dim}\), batch index \(1,\)"):
        fd.MultivariateNormal(np.zeros(dim), **{name: matrix}, validate_args=validate_args)


def test_at_most_as_many_dims_as_an_array():
    d = fd.Normal(0.0, 2.0).expand((1,) * 64)
    assert fd.Independent(d, 64).entropy() == fd.Normal(0.0, 2.0).entropy()
    for n in (65, 1000):
        with pytest.raises(ValueError, match=f"batch_shape .* 64 dims, got {n}"):
            d.expand((1,) * n)
        with pytest.raises(ValueError, match=f"sample_shape .* 64 dims, got {n}"):
            d.sample((1,) * n)


def test_events_too_large_to_count():
    d = fd.Normal(0.0, 2.0).expand((2**32, 2**32))
    with pytest.raises(ValueError, match=r"4294967296, 4294967296\) is too big"):
        fd.Independent(d, 2).entropy()


def test_repr_of_what_no_array_could_hold():
    assert repr(fd.Normal(0.0, 2.0).expand((2**40, 2**40))).count("(1099511627776, 1099511627776)") == 2
    mvn = fd.MultivariateNormal(np.zeros(2), scale_tril=np.eye(2)).expand((1,) * 63)
    assert repr(mvn).startswith("MultivariateNormal(loc: (1, 1,")


def test_a_bit_generator_started_anew_under_a_generator():
    b = fd.BlockSFC64(1)
    g = np.random.Generator(b)
    first = g.random()
    b.__init__(1)
    assert g.random() == first
    assert fd.BlockSFC64.__new__(fd.BlockSFC64).state["state"]["normal_position"] == 0


def test_plot_is_imported_when_asked_for():
    script = (
        "import sys, fastdist; before = 'fastdist.plot' in sys.modules; print(before, fastdist.plot.__name__)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout.split() == ["False", "fastdist.plot"]
    with pytest.raises(AttributeError, match="no attribute 'plots'"):
        _ = fd.plots


def test_divergences_that_are_infinite_come_without_warnings():
    assert fd.kl_divergence(fd.Normal(0.0, 1e300), fd.Normal(0.0, 1e-300)) == np.inf
