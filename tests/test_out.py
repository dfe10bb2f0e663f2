"""`out=`: the right array comes back, whatever it is a view of."""

import numpy as np
import pytest
from cases import DTYPES, EVERY_KIND, LAYOUTS, assert_same_bits, one_of_each

import fastdist as fd

OUT_LAYOUTS = {name: LAYOUTS[name] for name in LAYOUTS if name != "read-only"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", OUT_LAYOUTS.values(), ids=OUT_LAYOUTS.keys())
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_layouts(kind, layout, dtype):
    d = one_of_each(dtype)[kind]
    for draw in (d.sample, d.rsample) if d.has_rsample else (d.sample,):
        wanted = draw((6,), rng=1)
        out = layout(np.full_like(wanted, 7))
        assert draw((6,), rng=1, out=out) is out
        np.testing.assert_array_equal(out, wanted)
    value = d.sample((6,), rng=2)
    wanted = d.log_prob(value)
    out = layout(np.full(wanted.shape, np.nan, dtype))
    assert d.log_prob(value, out=out) is out
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("method", ["cdf", "icdf", "log_cdf", "survival_function", "log_survival_function"])
def test_of_the_cdf_family(method):
    d = fd.Normal(np.zeros((3, 1)), [1.0, 2.0])
    value = np.random.default_rng(0).uniform(0.1, 0.9, (4, 3, 2))
    wanted = getattr(d, method)(value)
    out = np.empty_like(wanted)
    assert getattr(d, method)(value, out=out) is out
    assert_same_bits(out, wanted)
    assert getattr(d, method)(value, out=value) is value
    assert_same_bits(value, wanted)


@pytest.mark.parametrize("method", ["sample", "log_prob"])
def test_nothing_around_a_view_is_touched(method):
    d = one_of_each()["scale_tril"]
    wanted = d.sample(2, rng=0) if method == "sample" else d.log_prob(d.sample(2, rng=0))
    frame = np.full(tuple(n + 2 for n in wanted.shape), 7.0)
    inner = frame[(slice(1, -1),) * frame.ndim]
    if method == "sample":
        d.sample(2, rng=0, out=inner)
    else:
        d.log_prob(d.sample(2, rng=0), out=inner)
    assert_same_bits(inner.copy(), wanted)
    inner[...] = 7
    assert (frame == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_overlap_with_a_parameter(dtype, isa):
    """The result is as if `out` did not overlap: aligned, shifted, reversed."""
    memory = np.random.default_rng(0).uniform(0.5, 2, 26).astype(dtype)
    views = {"same": memory[:24], "shifted": memory[1:25], "reversed": memory[23::-1]}
    for where, out in views.items():
        fresh = memory.copy()
        normal = fd.Normal(memory[:24], memory[2:26])
        wanted = fd.Normal(fresh[:24], fresh[2:26]).sample(rng=0)
        assert normal.sample(rng=0, out=out) is out
        np.testing.assert_array_equal(out, wanted, err_msg=where)
        memory[...] = fresh
        mvn = fd.MultivariateNormal(memory[:24].reshape(2, 4, 3), scale_tril=np.eye(3, dtype=dtype))
        wanted = mvn.sample(rng=0)
        mvn.sample(
            rng=0, out=out.reshape(2, 4, 3) if where != "reversed" else out[::-1].reshape(2, 4, 3)[::-1]
        )
        got = out.reshape(2, 4, 3) if where != "reversed" else out[::-1].reshape(2, 4, 3)[::-1]
        np.testing.assert_array_equal(got, wanted, err_msg=where)
        memory[...] = fresh


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_log_prob_overlaps_its_value(kind, dtype, isa):
    d = one_of_each(dtype)[kind]
    value = d.sample(rng=0).astype(dtype)
    wanted = d.log_prob(value)
    out = value.reshape(-1)[: wanted.size].reshape(wanted.shape)
    assert d.log_prob(value, out=out) is out
    assert_same_bits(out.copy(), wanted)
