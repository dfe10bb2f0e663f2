"""What an import brings in."""

import importlib
import pickle
import subprocess
import sys

import pytest

pytestmark = pytest.mark.any_isa  # modules


def says(code):
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def imported(code):
    """Names of all modules that a fresh interpreter has then loaded."""
    return set(says(f"{code}; import sys; print(*sys.modules)").split())


def test_only_the_standard_library_and_numpy():
    names = imported("import fastdist") - imported("pass")
    assert "fastdist" in names
    allowed = {*sys.stdlib_module_names, "numpy", "fastdist"}
    made_by_cython = ("cython_runtime", "_cython_")  # of compiled modules, NumPy's too
    others = {name for name in names if not name.startswith(made_by_cython)}
    assert {name for name in others if name.split(".")[0] not in allowed} == set()


def test_nothing_optional():
    names = imported("import fastdist")
    assert not {
        name for name in names if name.startswith(("fastdist.plot", "fastdist._demo", "numpy.testing"))
    }


def test_distributions_wait_until_they_are_asked_for():
    names = imported("import fastdist")
    assert "fastdist.distributions.distribution" in names
    assert not {"fastdist.distributions.normal", "fastdist.distributions.rules", "numpy.ma"} & names
    names = imported("import fastdist; fastdist.Normal(0.0, [1.0]).log_prob([0.0])")
    assert "fastdist.distributions.normal" in names
    assert (
        not {"fastdist.distributions.categorical", "fastdist.distributions.divergences", "numpy.ma"} & names
    )


def test_names_are_there_before_they_are_asked_for():
    assert says("import fastdist as fd; print(set(fd.__all__) - set(dir(fd)))") == "set()\n"
    assert says("import fastdist.distributions as d; print(set(d.__all__) - set(dir(d)))") == "set()\n"
    assert (
        says("from fastdist import *; print(TruncatedNormal.__name__, vjp.__name__)")
        == "TruncatedNormal vjp\n"
    )
    assert (
        says("import fastdist; print(fastdist.distributions.normal.__name__)")
        == "fastdist.distributions.normal\n"
    )
    assert says("import fastdist as fd; print(fd.Normal is fd.distributions.Normal is fd.Normal)") == "True\n"


@pytest.mark.parametrize("module", ["fastdist", "fastdist.distributions"])
def test_a_name_that_is_not_there(module):
    with pytest.raises(AttributeError, match=rf"module '{module}' has no attribute 'Norml'"):
        importlib.import_module(module).Norml  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Norml'"):
        exec(f"from {module} import Norml")


@pytest.mark.parametrize("name", ["kl_divergence", "register_kl", "vjp", "Normal", "HalfNormal", "stack"])
def test_a_pickle_is_read_by_an_interpreter_that_has_asked_for_nothing(name):
    import fastdist

    read = f"import pickle; print(pickle.loads({pickle.dumps(getattr(fastdist, name))!r}).__name__)"
    assert says(read) == f"{name}\n"


def test_divergences_are_there_when_the_first_is_asked_for():
    import fastdist

    kl = pickle.dumps(fastdist.kl_divergence)
    script = f"""
import pickle
kl_divergence = pickle.loads({kl!r})
import fastdist as fd
print(float(kl_divergence(fd.Normal(1.0, 1.0), fd.Normal(0.0, 1.0))))
"""
    assert says(script) == "0.5\n"


def test_a_class_of_ones_own_has_all_methods_at_once():
    script = """
import numpy as np, fastdist as fd
class Unit(fd.Distribution):
    arg_constraints = {"loc": fd.constraints.real}
    support = fd.constraints.real
    has_rsample = True
    normals_per_event = 1
    def draw(self, eps, out):
        np.add(self.loc, eps[..., 0], out=out)
d = Unit([1.0, 2.0])
print((d.sample_part(5, slice(3, 4), rng=0) == d.sample(5, rng=0)[3:4]).all())
try:
    d.rsample_and_kl(d)
except NotImplementedError as error:
    print(error)
"""
    assert says(script) == "True\nno KL divergence is registered for Unit and Unit; see register_kl\n"


def test_ones_own_divergence_stays():
    """Though the package's own are read in after it."""
    script = """
import fastdist as fd
fd.register_kl(fd.Normal, fd.Normal)(lambda p, q: p.loc - q.loc)
print(float(fd.kl_divergence(fd.Normal(7.0, 1.0), fd.Normal(0.0, 1.0))))
"""
    assert says(script) == "7.0\n"


def test_ones_own_gradient_of_a_divergence_stays():
    script = """
import fastdist as fd
fd.register_vjp("kl_divergence", fd.Normal, fd.Normal)(lambda p, q: lambda g, kl: ({"loc": 3 * g}, {}))
print(float(fd.vjp(fd.kl_divergence, fd.Normal(7.0, 1.0), fd.Normal(0.0, 1.0))[1](1.0)["p"]["loc"]))
"""
    assert says(script) == "3.0\n"


def test_public_names():
    import fastdist

    assert all(hasattr(fastdist, name) for name in fastdist.__all__)
    assert not {"np", "numpy", "torch"} & set(fastdist.__all__)
