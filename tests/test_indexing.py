"""Parts of arrays that stay unbroadcast, against NumPy's parts of arrays that are broadcast."""

import math

import numpy as np
import pytest
from cases import assert_same_bits
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

import fastdist as fd
from fastdist.distributions._indexing import parse_index, part

pytestmark = pytest.mark.any_isa  # views of arrays

sizes = st.integers(-6, 6)
steps = sizes.filter(bool)
slices = st.builds(slice, st.none() | sizes, st.none() | sizes, st.none() | steps)


@st.composite
def entries(draw, batch_shape):
    """One entry of an index: in range or not, of the right kind for NumPy."""
    kind = draw(st.sampled_from(["int", "int", "slice", "slice", "slice", "None", "...", "ints", "mask"]))
    if kind == "int":
        return draw(st.sampled_from([int, np.int8, np.int64, np.array]))(draw(st.integers(-3, 2)))
    if kind == "slice":
        return draw(slices)
    if kind == "ints":
        shape = draw(array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=2))
        array = np.random.default_rng(draw(st.integers(0, 9))).integers(-2, 2, shape)
        return array.astype(draw(st.sampled_from([np.int8, np.intp])))
    if kind == "mask":
        begin = draw(st.integers(0, len(batch_shape)))
        shape = batch_shape[begin : begin + draw(st.integers(1, 2))] or (2,)
        return np.random.default_rng(draw(st.integers(0, 9))).random(shape) < 0.5
    return None if kind == "None" else ...


@st.composite
def questions(draw):
    """A packed array that broadcasts to a batch but for its core dims, and an index of the batch."""
    batch_shape = draw(array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    core_shape = draw(array_shapes(min_dims=0, max_dims=2, max_side=3))
    own = tuple(draw(st.sampled_from([n, n, 1])) for n in batch_shape)
    own = draw(st.sampled_from([batch_shape, own[draw(st.integers(0, len(own))) :]]))
    array = np.arange(1.0, 1 + math.prod(own + core_shape)).reshape(own + core_shape)
    index = draw(entries(batch_shape) | st.lists(entries(batch_shape), max_size=5).map(tuple))
    return array, batch_shape, core_shape, index


def asked_of_numpy(array, batch_shape, core_shape, index):
    given = index if isinstance(index, tuple) else (index,)
    given = given if any(entry is ... for entry in given) else (*given, ...)
    return np.broadcast_to(array, batch_shape + core_shape)[given + (slice(None),) * len(core_shape)]


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(questions())
@example((np.ones((0, 1)), (0, 1), (), ([0], [])))
def test_parts_are_numpy_s(question):
    array, batch_shape, core_shape, index = question
    try:
        wanted = asked_of_numpy(*question)
    except IndexError:
        with pytest.raises(IndexError, match="batch_shape"):
            parse_index(index, batch_shape)
        return
    parsed, left = parse_index(index, batch_shape)
    assert left + core_shape == wanted.shape
    got = part(array, parsed, batch_shape, len(core_shape))
    assert got.flags.c_contiguous
    assert not got.flags.writeable
    assert got.ndim - len(core_shape) <= len(left)
    assert_same_bits(np.array(np.broadcast_to(got, wanted.shape)), np.array(wanted))
    # What is parsed indexes a longer batch, too.
    assert parse_index(parsed, batch_shape + core_shape) == (parsed, left + core_shape)
    got = part(array, parsed, batch_shape + core_shape, 0)
    assert_same_bits(np.array(np.broadcast_to(got, wanted.shape)), np.array(wanted))


@pytest.mark.parametrize(
    ("index", "is_view"),
    [
        (0, True),
        (-1, True),
        (slice(1, None), True),
        (slice(2, 1), True),
        ((1, slice(1, None)), True),
        ((slice(1, 2), slice(2)), True),
        ((..., None), True),
        ((None, slice(3, 2, -1), ...), True),
        ((), True),
        (slice(None, None, 2), False),
        (slice(None, None, -1), False),
        ((..., 0), False),
        ((slice(None), slice(1, None)), False),
        ([0, 1], False),
    ],
    ids=repr,
)
def test_a_part_is_a_view_where_that_is_packed(index, is_view):
    array = np.random.default_rng(0).normal(size=(4, 3))
    got = part(array, parse_index(index, (4, 3))[0], (4, 3), 0)
    assert (got.base is array) == is_view
    assert_same_bits(got.copy(), array[index].copy())


@pytest.mark.parametrize("size", [10, 10**5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_copies_of_any_size_and_dtype(size, dtype):
    array = np.random.default_rng(0).normal(size=(size, 2, 3)).astype(dtype)
    for index in ((..., 0), slice(None, None, -3), (slice(None), slice(None, None, -1)), (..., slice(1, 3))):
        got = part(array, parse_index(index, array.shape)[0], array.shape, 0)
        assert_same_bits(got.copy(), array[index].copy())


def test_what_repeats_takes_no_more_memory():
    batch_shape = (5, 4, 3)
    for shape, index, wanted in [
        ((), 0, (1, 1)),
        ((1, 3), (slice(1, 3), ...), (1, 1, 3)),
        ((4, 1), (slice(None), slice(2), slice(2)), (1, 2, 1)),
        ((5, 1, 1), (..., None, 0), (5, 1, 1)),
        ((5, 1, 1), (slice(0), 3), (0, 1)),
        ((5, 4, 1), (..., [0, 2, 1]), (5, 4, 1)),
    ]:
        parsed, _ = parse_index(index, batch_shape)
        assert part(np.ones(shape), parsed, batch_shape, 0).shape == wanted
    # Nor does an array that is broadcast already.
    wide = np.broadcast_to(2.0, (5, 4, 3))
    assert part(wide, parse_index(slice(1, None), batch_shape)[0], batch_shape, 0).size == 1


@pytest.mark.parametrize("n", [1, 8, 9, 40])
def test_indices_of_many_entries(n):
    loc = np.arange(2.0).reshape((1,) * (n - 1) + (2,))
    d = fd.Normal(loc, 1.0)
    for index in (
        (0,) * n,
        (slice(None),) * n,
        (None,) * 12,
        (0,) * (n - 1),
        (..., 1),
        (..., *[0] * (n - 1), 1),
    ):
        assert_same_bits(np.array(d[index].loc), np.array(loc[index]))
    with pytest.raises(IndexError, match=r"batch_shape .*: too many indices"):
        d[(0,) * (n + 1)]
    with pytest.raises(IndexError, match=r"batch_shape .*: an index can only have a single ellipsis"):
        d[..., ...]
    with pytest.raises(IndexError, match=r"batch_shape .*: number of dimensions must be within"):
        d[(None,) * 64]


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (3, IndexError, r"batch_shape \(2, 3\): index 3 is out of bounds for axis 0 with size 2"),
        ((0, -4), IndexError, r"batch_shape \(2, 3\): index -4 is out of bounds for axis 1 with size 3"),
        ((..., 3), IndexError, r"batch_shape \(2, 3\): index 3 is out of bounds for axis 1 with size 3"),
        (2**70, IndexError, r"batch_shape \(2, 3\): "),
        (-(2**70), IndexError, r"batch_shape \(2, 3\): "),
        (slice(None, None, 0), ValueError, "slice step cannot be zero"),
        (slice(0.5, None), TypeError, "slice indices must be integers"),
        (False, IndexError, "got a bool"),
        ((0, True), IndexError, "got a bool"),
        ((0, (1,)), IndexError, "got a tuple"),
        (np.timedelta64(1), IndexError, "got a timedelta64"),
    ],
    ids=repr,
)
def test_what_is_wrong_with_an_index(index, error, message):
    with pytest.raises(error, match=message):
        fd.Normal(np.zeros((2, 3)), 1.0)[index]


def test_what_counts_as_an_integer():
    class Two:
        def __index__(self):
            return 2

    d = fd.Normal(np.arange(4.0), 1.0)
    for two in (2, np.int8(2), np.uint64(2), np.array(2), Two(), -2, np.int64(-2)):
        assert d[two].loc == 2
    assert d[Two() :].batch_shape == (2,)
    assert d[: 2**70].batch_shape == (4,)


def test_parts_of_huge_batches():
    d = fd.Normal(np.zeros((2, 1, 1)), 2.0).expand((2, 2**40, 2**40))
    assert d[1, 2**39 :, -1].batch_shape == (2**39,)
    assert d[:, 3:2, ::-1].batch_shape == (2, 0, 2**40)
    assert fd.Independent(d, 1)[0, 5].event_shape == (2**40,)
