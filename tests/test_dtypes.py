"""Which dtype comes out of which dtypes."""

import numpy as np
import pytest

import fastdist as fd

F32, F64 = np.float32, np.float64
# loc and scale -> dtype
RULES = [
    (F32(0), F32(1), F32),
    (F64(0), F64(1), F64),
    (np.zeros(2, F32), 1.0, F32),
    (np.zeros(2, F32), 1, F32),
    (0.0, np.ones(2, F32), F32),
    (False, np.ones(2, F32), F32),
    (0.0, F32(1), F32),
    (0.0, 1.0, F64),
    (0, 1, F64),
    (False, True, F64),
    (np.zeros(2, F32), np.ones(2), F64),
    (np.zeros(2, F32), F64(1), F64),
    (np.zeros(2, F32), [1.0, 1.0], F64),
    (np.zeros(2, np.float16), np.ones(2, F32), F32),
    (np.zeros(2, np.float16), 1.0, F32),
    (np.zeros(2, np.float16), np.ones(2, np.float16), F32),
    (np.zeros(2, np.float16), np.ones(2), F64),
    (np.zeros(2, np.int8), np.ones(2, F32), F64),
    (np.zeros(2, F32), np.ones(2, bool), F64),
    (np.zeros(2, np.uint64), np.ones(2, np.int16), F64),
    (np.zeros(2, ">f4"), np.ones(2, "<f4"), F32),
]


@pytest.mark.parametrize(("loc", "scale", "dtype"), RULES)
def test_of_parameters(loc, scale, dtype):
    d = fd.Normal(loc, scale)
    for array in (d.loc, d.scale, d.sample(2), d.entropy(), d.variance, d.log_prob(0.0)):
        assert array.dtype == dtype
        assert array.dtype.isnative
    if np.ndim(loc) == 1 and np.ndim(scale) == 1:
        mvn = fd.MultivariateNormal(loc, np.multiply(scale, np.eye(2, dtype=np.asarray(scale).dtype)))
        assert mvn.dtype == mvn.sample().dtype == mvn.scale_tril.dtype == mvn.precision_matrix.dtype == dtype
        assert fd.Independent(d, 1).sample().dtype == dtype


@pytest.mark.parametrize("d_dtype", [F32, F64])
@pytest.mark.parametrize(
    ("value", "narrow"),
    [
        (0.25, True),
        (1, True),
        (True, True),
        (F32(0.25), True),
        (np.float16(0.25), True),
        (np.full(2, 0.25, ">f4"), True),
        (F64(0.25), False),
        ([0.25, 0.5], False),
        (np.array([0, 1]), True),
        (np.array([False, True]), True),
    ],
)
def test_of_values(value, narrow, d_dtype):
    """A value of float32 or less, or of integers, leaves a float32 distribution's results float32."""
    d = fd.Normal(d_dtype(0), d_dtype(1))
    dtype = F32 if narrow and d_dtype is F32 else F64
    for method in (d.log_prob, d.cdf, d.log_cdf, d.survival_function, d.log_survival_function, d.icdf):
        assert method(value).dtype == dtype
    if np.ndim(value):
        mvn = fd.MultivariateNormal(np.zeros(2, d_dtype), scale_tril=np.eye(2, dtype=d_dtype))
        for vector in (mvn, fd.Independent(d.expand(2), 1)):
            assert vector.log_prob(value).dtype == dtype


def test_a_float64_value_gets_float64_accuracy():
    """Nothing of a float32 distribution's own density is rounded to float32 on the way."""
    tril = np.array([[0.1, 0], [0.3, 0.7]], F32)
    x = np.array([0.3, 0.2])
    narrow = {
        "mvn": fd.MultivariateNormal(np.zeros(2, F32), scale_tril=tril),
        "independent": fd.Independent(fd.Normal(np.zeros(2, F32), F32([0.1, 0.7])), 1),
    }
    wide = {
        "mvn": fd.MultivariateNormal(np.zeros(2), scale_tril=tril.astype(F64)),
        "independent": fd.Independent(fd.Normal(np.zeros(2), F32([0.1, 0.7]).astype(F64)), 1),
    }
    for name in narrow:
        np.testing.assert_allclose(narrow[name].log_prob(x), wide[name].log_prob(x), rtol=1e-14, err_msg=name)
