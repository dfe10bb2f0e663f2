"""Distributions as objects: expand, indexing, iteration, pickle and copy, repr, constraints, ISA by name."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from cases import (
    DTYPES,
    EVERY_KIND,
    MATRICES,
    assert_same_bits,
    one_of_each,
    random_mvn,
    random_normal,
)

import fastdist as fd
from fastdist import constraints

INDICES = [
    0,
    -1,
    np.int64(2),
    (1, 2),
    (-4, -3),
    slice(1, 3),
    slice(None, None, -1),
    slice(3, 0, -2),
    slice(0, 0),
    (slice(None), 1),
    (slice(None, None, 2), slice(1, None)),
    None,
    (None, 0, None),
    ...,
    (..., 0),
    (0, ...),
    (None, ..., slice(2), None),
    (),
]


def arrays_of(d):
    """Everything of a distribution that has its batch dims, by name, and how many others it has."""
    n = len(d.event_shape)
    arrays = {name: (getattr(d, name), n) for name in ("mean", "variance", "stddev")}
    if not isinstance(d, fd.MixtureSameFamily):
        arrays |= {"mode": (d.mode, n), "entropy": (d.entropy(), 0)}
    arrays |= {name: (getattr(d, name), 2) for name in MATRICES if hasattr(d, name)}
    return arrays | {"log_prob": (d.log_prob(np.full(d.event_shape, 0.3, d.dtype)), 0)}


@pytest.mark.parametrize("index", INDICES, ids=repr)
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_indexing_is_numpys_on_the_batch_dims(kind, index):
    d = one_of_each()[kind]
    part = d[index]
    assert type(part) is type(d)
    assert part.event_shape == d.event_shape
    assert part.batch_shape == np.empty(d.batch_shape)[index].shape
    whole, parts = arrays_of(d), arrays_of(part)
    assert whole.keys() == parts.keys()
    entries = index if isinstance(index, tuple) else (index,)
    entries = entries if ... in entries else (*entries, ...)
    for name, (array, n_event) in whole.items():
        assert_same_bits(np.array(parts[name][0]), np.array(array[entries + (slice(None),) * n_event]))


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_expand(kind):
    d = one_of_each()[kind]
    wide = d[:, :1].expand((2, 4, 3))
    assert wide.batch_shape == (2, 4, 3)
    assert wide.expand(wide.batch_shape).batch_shape == (2, 4, 3)
    for name, (array, n_event) in arrays_of(d[:, :1]).items():
        got = arrays_of(wide)[name][0]
        assert_same_bits(
            np.array(got), np.array(np.broadcast_to(array, (2, 4, 3, *array.shape[array.ndim - n_event :])))
        )
    full = pickle.loads(pickle.dumps(wide))
    assert_same_bits(wide.sample((2,), rng=0), full.sample((2,), rng=0))
    assert d[0, 0].expand(5).batch_shape == d[0, 0].expand([np.int8(5)]).batch_shape == (5,)


def test_an_expanded_batch_takes_no_memory():
    for d in (fd.Normal(0.0, 1.0), random_mvn("covariance_matrix", (2,), (2, 2))):
        huge = d.expand((10**6, 10**6))
        assert_same_bits(huge[5, 7].sample(rng=0), d.sample(rng=0))
        assert huge.mean.shape[:2] == huge.stddev.shape[:2] == (10**6, 10**6)
        assert fd.Independent(huge, 1)[3].expand((2, 3)).batch_shape == (2, 3)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (1.0, "got a float"),
        ("0", "got a str"),
        (True, "got a bool"),
        (np.bool_(True), "got a bool"),
        (np.array(True), r"bools of one dim or more, got shape \(\)"),
        (np.arange(2.0), r"integers, .* got shape \(2,\), dtype float64"),
        ([[0], [1, 2]], "no array"),
        (np.array([True] * 5), r"batch_shape \(4, 3\): boolean index did not match"),
        ((0, np.arange(4)), r"batch_shape \(4, 3\): index 3 is out of bounds"),
        (([0, 1], [0, 1, 2]), "broadcast"),
        (4, r"batch_shape \(4, 3\): index 4 is out of bounds"),
        (-5, "out of bounds"),
        ((0, 0, 0), "too many indices"),
        (np.full(10_000, 9), "out of bounds"),
    ],
)
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_what_is_no_index(kind, index, message):
    with pytest.raises(IndexError, match=message) as error:
        one_of_each()[kind][index]
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_iteration_is_along_the_first_batch_dim(kind):
    d = one_of_each()[kind]
    assert_same_bits(np.stack([row.mean for row in d]), d.mean.copy())
    with pytest.raises(TypeError):
        iter(d[0, 0])


COPIES = {
    **{
        f"pickle {n}": lambda d, n=n: pickle.loads(pickle.dumps(d, n))
        for n in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES.keys())
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_pickle_and_copy(kind, make, dtype):
    d = one_of_each(dtype)[kind]
    fresh = make(d)
    arrays_of(d)  # fills caches
    for e in (fresh, make(d), make(d[1:].expand((2, 3, 3)))[0]):
        f = d if e.batch_shape == d.batch_shape else d[1:]
        assert type(e) is type(d)
        assert repr(e) == repr(f)
        assert (e.batch_shape, e.event_shape, e.dtype) == (f.batch_shape, f.event_shape, f.dtype)
        assert_same_bits(e.sample(2, rng=0), f.sample(2, rng=0))
        for value_dtype in DTYPES:
            value = np.full(d.event_shape, 0.3, value_dtype)
            assert_same_bits(e.log_prob(value), f.log_prob(value))
        for name, (array, _) in arrays_of(f).items():
            assert_same_bits(np.array(arrays_of(e)[name][0]), np.array(array))
            assert not e.mean.flags.writeable
    with pytest.raises(ValueError, match="value"):
        make(fd.Normal(dtype(0), dtype(1))).icdf(2.0)
    assert np.isnan(make(fd.Normal(0.0, 1.0, validate_args=False)).icdf(2.0))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_generators_and_constraints_pickle_by_every_protocol(protocol):
    for rng in (fd.BlockSFC64(3), fd.default_rng(3)):
        fd.standard_normal(5, rng=rng)
        other = pickle.loads(pickle.dumps(rng, protocol))
        assert type(other) is type(rng)
        assert_same_bits(fd.standard_normal(7, rng=other), fd.standard_normal(7, rng=rng))
    for constraint in (constraints.positive, constraints.independent(constraints.real, 1)):
        assert pickle.loads(pickle.dumps(constraint, protocol)) == constraint


class Named(fd.Independent):
    """With an attribute of its own."""


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_subclasses_pickle_by_every_protocol(protocol):
    d = Named(random_normal((4, 3), (3,)), 1)
    d.name = "prior"
    e = pickle.loads(pickle.dumps(d, protocol))
    assert (type(e), e.name) == (Named, "prior")
    assert_same_bits(e.sample(rng=0), d.sample(rng=0))


def test_copies_of_what_is_lent():
    """A shallow copy has the same arrays, a deep one arrays of its own."""
    loc = np.zeros(3)
    loc.flags.writeable = False
    d = fd.Normal(loc, 1.0)
    assert np.shares_memory(copy.copy(d).mean, loc)
    assert not np.shares_memory(copy.deepcopy(d).mean, loc)


def test_repr():
    normal = random_normal((3, 2), (2,))
    assert repr(normal) == "Normal(loc: (3, 2), scale: (3, 2))"
    assert repr(fd.Normal(0.5, 2.0)) == "Normal(loc: 0.5, scale: 2.0)"
    assert repr(fd.Normal(0.5, 2.0).expand((3,))) == "Normal(loc: (3,), scale: (3,))"
    assert repr(fd.Independent(normal, 1)) == "Independent(Normal(loc: (3, 2), scale: (3, 2)), 1)"
    for name in MATRICES:
        mvn = random_mvn(name, (3, 2), (2, 2))
        wanted = f"MultivariateNormal(loc: (3, 2), {name}: (3, 2, 2))"
        assert repr(mvn) == wanted
        arrays_of(mvn)
        assert repr(mvn) == wanted
        assert repr(mvn[0]) == f"MultivariateNormal(loc: (2,), {name}: (2, 2))"


INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("constraint", "value", "wanted"),
    [
        (constraints.real, [0.0, -INF, NAN], [True, True, False]),
        (constraints.positive, [1e-320, 0.0, -1.0, NAN], [True, False, False, False]),
        (constraints.real_vector, [[0.0, 1.0], [0.0, NAN]], [True, False]),
        (
            constraints.lower_cholesky,
            [[[1.0, 0], [5, 2]], [[1, 1], [0, 1]], [[1, 0], [0, 0]]],
            [True, False, False],
        ),
        (
            constraints.positive_definite,
            [[[2.0, 1], [1, 2]], [[1, 2], [2, 1]], [[1, 1], [0, 1]], [[NAN, 0], [0, 1]], [[1, 1], [1, 1]]],
            [True, False, False, False, False],
        ),
        (constraints.independent(constraints.positive, 1), [[1.0, 2.0], [0.0, 1.0]], [True, False]),
        (constraints.independent(constraints.real_vector, 1), [[[1.0, 2.0], [0.0, NAN]]], [False]),
        (constraints.independent(constraints.real, 1), np.zeros((3, 0)), [True] * 3),
    ],
    ids=lambda x: repr(x) if isinstance(x, constraints.Constraint) else "",
)
def test_constraints(constraint, value, wanted):
    assert constraint.check(value).tolist() == wanted
    assert constraint.check(np.asarray(value)[0]).shape == np.shape(wanted[0])
    for same in (pickle.loads(pickle.dumps(constraint)), copy.deepcopy(constraint)):
        assert same == constraint
        assert repr(same) == repr(constraint)
        assert same.event_dim == constraint.event_dim
    if constraint.event_dim:
        with pytest.raises(ValueError, match="dims"):
            constraint.check(0.0)


def test_support_and_arg_constraints():
    d = one_of_each()
    assert d["Normal"].support is constraints.real
    assert d["scale_tril"].support is constraints.real_vector
    assert d["Independent(Normal)"].support == constraints.independent(constraints.real, 1)
    assert fd.Independent(d["Normal"], 0).support is constraints.real
    assert fd.Normal.arg_constraints == {"loc": constraints.real, "scale": constraints.positive}
    assert fd.MultivariateNormal.arg_constraints == {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    for one in (d["Normal"], *(d[name] for name in MATRICES)):
        for name, constraint in one.arg_constraints.items():
            assert constraint.check(getattr(one, name)).shape == one.batch_shape
            assert constraint.check(getattr(one, name)).all()
    for one in d.values():
        assert one.support.check(one.sample((2,))).shape == (2, *one.batch_shape)


def test_the_isa_is_chosen_by_name(isa):
    assert fd.isas()[0] == "scalar"
    assert fd.isa() == isa
    with pytest.raises(ValueError, match=r"'sse9'.*scalar"):
        fd.set_isa("sse9")
    assert fd.isa() == isa
    command = [sys.executable, "-c", "import fastdist; print(fastdist.isa())"]
    env = {**os.environ, "FASTDIST_ISA": isa}
    assert subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip() == isa
    env["FASTDIST_ISA"] = "sse9"
    refused = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "FASTDIST_ISA" in refused.stderr
    assert "sse9" in refused.stderr
