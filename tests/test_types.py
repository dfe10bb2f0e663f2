"""Annotations that programs can read at run time, as command lines, validators and documentation are made of them."""

import inspect
import typing

import numpy as np
import pytest

import fastdist as fd
from fastdist import plot

pytestmark = pytest.mark.any_isa  # annotations


def members(module):
    """Public functions and classes of a module, and these classes' own public methods, by name."""
    for name in module.__all__:
        one = getattr(module, name)
        if inspect.isclass(one):
            yield name, one
            for base in one.__mro__:
                if not base.__module__.startswith("fastdist"):
                    continue
                for key, method in vars(base).items():
                    if isinstance(method, property):
                        method = method.fget
                    if callable(method) and (key == "__init__" or not key.startswith("_")):
                        yield f"{name}.{key}", method
        elif callable(one):
            yield name, one


PUBLIC = {
    f"{module.__name__}.{name}": one for module in (fd, fd.constraints, plot) for name, one in members(module)
}


@pytest.mark.parametrize("name", PUBLIC)
def test_annotations_resolve(name):
    typing.get_type_hints(PUBLIC[name])


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (fd.Normal.__init__, {"loc", "scale", "validate_args"}),
        (fd.MultivariateNormal.__init__, {"loc", "scale_tril", "validate_args"}),
        (fd.Normal.sample, {"sample_shape", "rng", "out", "workers"}),
        (fd.Normal.rsample, {"sample_shape", "rng", "out", "workers"}),
        (fd.Normal.log_prob, {"value", "out"}),
        (fd.Normal.cdf, {"value", "out"}),
        (fd.Independent.__init__, {"base_distribution", "reinterpreted_batch_ndims"}),
        (fd.standard_normal, {"size", "dtype", "rng", "out", "workers"}),
        (fd.default_rng, {"seed"}),
        (fd.kl_divergence, {"p", "q"}),
        (fd.vjp, {"method"}),
        (plot.scatter, {"distribution", "points", "ax"}),
    ],
    ids=lambda x: getattr(x, "__qualname__", ""),
)
def test_every_parameter_has_a_type(function, names):
    hints = typing.get_type_hints(function)
    assert hints.keys() >= {*names, "return"}
    assert hints.keys() - {"return"} <= inspect.signature(function).parameters.keys()


@pytest.mark.parametrize(
    "value",
    [1.5, 2, True, [1.0, 2.0], ((1, 2), (3, 4)), np.zeros(3), np.float32(1), np.int8(1), memoryview(b"ab")],
    ids=lambda x: type(x).__name__,
)
def test_what_a_parameter_takes_is_of_its_type(value):
    types = typing.get_args(typing.get_type_hints(fd.Normal.__init__)["loc"])
    assert isinstance(value, tuple(typing.get_origin(one) or one for one in types))
    fd.Normal(value, 1.0)


def test_what_a_parameter_does_not_take_is_not():
    types = typing.get_args(typing.get_type_hints(fd.Normal.__init__)["loc"])
    for value in (None, 1j, object(), {1, 2}):
        assert not isinstance(value, tuple(typing.get_origin(one) or one for one in types))
        with pytest.raises(TypeError):
            fd.Normal(value, 1.0)
