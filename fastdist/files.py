"""Distributions in files: NumPy's .npz, without pickles, or JSON.

save, load        a distribution to an .npz file and back
described, made   a distribution as dicts, lists, strings, numbers and arrays, and back
read              parameters from an .npz or .json file, also bare arrays under constructors' names

An .npz file has a member `fastdist`, JSON text: {"version": 1, "distribution": ...}, and in it
{"type": "Normal", "parameters": {"loc": {"array": "array_0"}, ...}}, where `array_0` is another member. In a
.json file arrays stand where they belong, as nested lists: {"type": "Normal", "loc": [0, 1], "scale": 2}.
"""

from __future__ import annotations

import inspect
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastdist as fd
from fastdist import transforms
from fastdist._typing import NDArray
from fastdist.distributions import Distribution
from fastdist.distributions.transforms import Transform

VERSION = 1
MEMBER = "fastdist"

# Attributes that transforms are constructed with, by the constructors' names.
_TRANSFORMS: dict[type[Transform], tuple[str, ...]] = {
    transforms.ExpTransform: (),
    transforms.TanhTransform: (),
    transforms.SigmoidTransform: (),
    transforms.SoftplusTransform: (),
    transforms.AbsTransform: (),
    transforms.LowerCholeskyTransform: (),
    transforms.AffineTransform: ("loc", "scale", "event_dim"),
    transforms.PowerTransform: ("exponent",),
    transforms.ComposeTransform: ("parts",),
    transforms.IndependentTransform: ("base_transform", "reinterpreted_batch_ndims"),
}

# What bare arrays are parameters of, if nothing says what: the first that all of them are names of.
_INFERRED = (
    ("Normal", {"loc", "scale"}),
    ("MultivariateNormal", {"loc", "covariance_matrix"}),
    ("MultivariateNormal", {"loc", "precision_matrix"}),
    ("MultivariateNormal", {"loc", "scale_tril"}),
    ("LowRankMultivariateNormal", {"loc", "cov_factor", "cov_diag"}),
    ("TruncatedNormal", {"loc", "scale", "low", "high"}),
)
_OPTIONS = {"allow_singular", "validate_args"}


def save(path: str | Path, distribution: Distribution) -> None:
    """Write a distribution to an .npz file.

    Parameters
    ----------
    path : str or pathlib.Path
        Of the file; an existing one is replaced when the new one is complete.
    distribution : Distribution
        Of any type; those of one's own are named to `load`.

    Raises
    ------
    TypeError
        If it is no distribution, or has a parameter that is no array, number, string, distribution or
        transform.

    Examples
    --------
    >>> import tempfile, fastdist as fd
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fd.save(f"{folder}/prior.npz", fd.Independent(fd.Normal([0.0, 1.0], 2.0), 1))
    ...     fd.load(f"{folder}/prior.npz")
    Independent(Normal(loc: (2,), scale: (2,)), 1)
    """
    if not isinstance(distribution, Distribution):
        raise TypeError(f"distribution must be a Distribution, got {type(distribution).__name__}")
    arrays: dict[str, NDArray[Any]] = {}

    def kept(array: NDArray[Any]) -> dict[str, str]:
        name = f"array_{len(arrays)}"
        arrays[name] = array
        return {"array": name}

    tree = {"version": VERSION, "distribution": described(distribution, kept)}
    target = Path(path)
    part = target.with_name(target.name + ".part")
    try:
        with part.open("wb") as file:
            np.savez(file, **{MEMBER: np.array(json.dumps(tree))}, **arrays)  # type: ignore[arg-type]
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def load(path: str | Path, *, types: Sequence[type] = ()) -> Distribution:
    """Read a distribution from a file that `save` has written.

    Parameters
    ----------
    path : str or pathlib.Path
        Of the file. No code is in it: types are this package's or among `types`.
    types : sequence of type, optional
        Distributions and transforms of one's own that may be in the file.

    Returns
    -------
    Distribution
        Of the type, shapes, dtype and values that were saved.

    Raises
    ------
    ValueError
        For a file that is none of `save`'s, is truncated or of a later version, or has a type that is
        neither this package's nor among `types`.
    OSError
        If it cannot be read.
    """
    members = _members(path)
    if MEMBER not in members:
        raise ValueError(f"{path} was not written by fastdist.save: it has no member {MEMBER!r}")
    try:
        tree = json.loads(str(members[MEMBER][()]))
        version, distribution = tree["version"], tree["distribution"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} was not written by fastdist.save: {error!r}") from None
    if version != VERSION:
        raise ValueError(
            f"{path} is of version {version}; this is fastdist {fd.__version__}, which reads {VERSION}"
        )
    found = made(distribution, members, types)
    if not isinstance(found, Distribution):
        raise ValueError(f"{path} holds no distribution")
    return found


def read(path: str | Path, type_name: str | None = None) -> Distribution:
    """A distribution from an .npz file of `save` or of bare arrays, or from a .json file."""
    path = Path(path)
    if path.suffix == ".json":
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is no JSON: {error}") from None
        return _of_bare(tree, path, type_name)
    members = _members(path)
    if MEMBER in members:
        return load(path)
    return _of_bare(members, path, type_name)


def _of_bare(tree: Any, path: Path, type_name: str | None) -> Distribution:
    """Of parameters by name, with their type among them, given, or found by their names."""
    if not isinstance(tree, dict):
        raise ValueError(f"{path} must hold parameters by name")
    if "type" not in tree:
        given = set(tree) - _OPTIONS
        name = type_name or next((name for name, names in _INFERRED if names == given), None)
        if name is None:
            names = ", ".join(sorted(given)) or "nothing"
            raise ValueError(f"{path} has {names}, which does not tell the type of distribution")
        tree = {"type": name, "parameters": tree}
    found = made(_spelled_out(tree), {}, ())
    if not isinstance(found, Distribution):
        raise ValueError(f"{path} holds no distribution")
    return found


def _spelled_out(value: Any) -> Any:
    """Parameters that stand beside the type in a dict of their own, as `described` has them."""
    if isinstance(value, dict):
        of_type = {key: one for key, one in value.items() if key != "type"}
        parameters = of_type.get("parameters", of_type)
        return {
            "type": str(value.get("type")),
            "parameters": {key: _spelled_out(one) for key, one in parameters.items()},
        }
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_spelled_out(one) for one in value]
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "bU":
        return value.item()
    return value


def _members(path: str | Path) -> dict[str, NDArray[Any]]:
    with Path(path).open("rb") as stream:
        try:
            loaded = np.load(stream, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise ValueError("it is an .npy file, parameters are in an .npz file")
            with loaded as file:
                return {name: file[name] for name in file.files}
        except (zipfile.BadZipFile, EOFError, KeyError, ValueError) as error:
            raise ValueError(f"{path} is no whole .npz file: {error}") from None


def cast(d: Distribution, dtype: np.dtype[Any]) -> Distribution:
    """The same distribution with arrays of reals in a dtype."""

    def kept(array: NDArray[Any]) -> NDArray[Any]:
        return array.astype(dtype, copy=False) if array.dtype.kind == "f" else array

    found: Distribution = made(described(d, kept), {}, (type(d),))
    return found


# ---- trees -----------------------------------------------------------------------------------------


def described(value: Any, kept: Callable[[NDArray[Any]], Any]) -> Any:
    """A distribution, or a parameter, as JSON has it; `kept` says what stands for an array."""
    if isinstance(value, Distribution):
        return _named(value, dict(value.parameters), kept)
    if isinstance(value, Transform):
        if type(value).__name__ == "_InverseTransform":
            return {"type": "inv", "parameters": {"transform": described(value.inv, kept)}}
        names = next((names for cls, names in _TRANSFORMS.items() if type(value) is cls), None)
        if names is None:
            names = tuple(inspect.signature(type(value)).parameters)
        return _named(value, {name: getattr(value, name) for name in names}, kept)
    if isinstance(value, np.ndarray):
        return kept(value)
    if isinstance(value, list | tuple):
        return [described(one, kept) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return kept(np.asarray(value))
    raise TypeError(f"a parameter of type {type(value).__name__} cannot be saved")


def _named(value: Any, parameters: dict[str, Any], kept: Callable[[NDArray[Any]], Any]) -> dict[str, Any]:
    return {
        "type": type(value).__name__,
        "parameters": {name: described(one, kept) for name, one in parameters.items()},
    }


def made(tree: Any, arrays: dict[str, NDArray[Any]], types: Sequence[type]) -> Any:
    """What was described."""
    if isinstance(tree, list):
        if tree and isinstance(tree[0], dict):
            return [made(one, arrays, types) for one in tree]
        return tree
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        if tree["array"] not in arrays:
            raise ValueError(f"the file lacks the array {tree['array']!r}")
        return arrays[tree["array"]]
    name = tree.get("type")
    parameters = {key: made(one, arrays, types) for key, one in tree.get("parameters", {}).items()}
    if name == "inv":
        return parameters["transform"].inv
    cls = _class(str(name), types)
    try:
        return cls(**parameters)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from None


def _class(name: str, types: Sequence[type]) -> type:
    for cls in types:
        if cls.__name__ == name:
            return cls
    for module in (fd, transforms):
        found = getattr(module, name, None) if not name.startswith("_") else None
        if isinstance(found, type) and issubclass(found, Distribution | Transform):
            return found
    raise ValueError(f"{name} is no distribution or transform of fastdist, nor among types")
