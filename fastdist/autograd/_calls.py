"""A call of fastdist's as one primitive of autograd's, whose derivative is the rule of `fastdist.vjp`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

try:
    from autograd.extend import Box, defvjp_argnums, primitive
except ImportError as error:
    raise ImportError(
        f"fastdist.autograd needs autograd ({error}): pip install 'fastdist-numpy[autograd]'"
    ) from error

import fastdist.distributions as fd

# What fastdist takes for an array, or a box of autograd's around it; or what is made of such.
Boxed = Any


class _Call:
    """A call, the names of the arrays it is a function of, and what it leaves behind for its derivative."""

    pullback: Callable[[Any], Any]
    made: fd.Distribution  # if that is what the method returns

    def __init__(self, names: Iterable[str], method: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.names, self.method, self.args, self.kwargs = tuple(names), method, args, kwargs

    def value(self) -> Any:
        """What the method returns; of a distribution its parameters."""
        value, self.pullback = fd.vjp(self.method, *self.args, **self.kwargs)
        if not isinstance(value, fd.Distribution):
            return value
        self.made = value
        return tuple(value.parameters[name] for name in value._named())

    def gradients(self, cotangent: Any) -> tuple[Any, ...]:
        """Those by the arrays, in their order."""
        if hasattr(self, "made"):
            cotangent = dict(zip(self.made._named(), cotangent, strict=True))
        found = flat(self.pullback(cotangent))
        missing = [name for name in self.names if name not in found]
        if missing:
            raise ValueError(f"the rule for {self.method.__name__} has no gradient by {', '.join(missing)}")
        return tuple(found[name] for name in self.names)


@primitive  # type: ignore[untyped-decorator]
def _value(call: _Call, *arrays: Any) -> Any:
    """What the call returns, a function of `arrays`, which its distributions are made of."""
    return call.value()


@primitive  # type: ignore[untyped-decorator]
def _gradients(call: _Call, cotangent: Any, *arrays: Any) -> tuple[Any, ...]:
    """The gradients by `arrays`, in their order."""
    return call.gradients(cotangent)


def _vjp_value(argnums: Sequence[int], value: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    call, *arrays = args

    def pull(cotangent: Any) -> list[Any]:
        gradients = _gradients(call, cotangent, *arrays)
        return [gradients[i - 1] for i in argnums]

    return pull


def _vjp_gradients(*args: Any) -> NoReturn:
    raise NotImplementedError("fastdist.autograd has first derivatives only, not derivatives of gradients")


defvjp_argnums(_value, _vjp_value)
defvjp_argnums(_gradients, _vjp_gradients)


def followed(arrays: dict[str, Boxed], method: Callable[..., Any], *args: Any, **kwargs: Any) -> Boxed:
    """What a call returns, as a function of those of the arrays that autograd is following."""
    boxes = _boxes(arrays)
    return (
        _value(_Call(boxes, method, *args, **kwargs), *boxes.values()) if boxes else method(*args, **kwargs)
    )


def followed_to(
    arrays: dict[str, Boxed], method: Callable[..., fd.Distribution], *args: Any, **kwargs: Any
) -> tuple[fd.Distribution, dict[str, Boxed]]:
    """The same of a call that returns a distribution: that, and its parameters."""
    boxes = _boxes(arrays)
    if not boxes:
        return method(*args, **kwargs), {}
    call = _Call(boxes, method, *args, **kwargs)
    parameters = _value(call, *boxes.values())
    return call.made, {name: parameters[i] for i, name in enumerate(call.made._named())}


def _boxes(arrays: dict[str, Boxed]) -> dict[str, Box]:
    return {name: x for name, x in flat(arrays).items() if isinstance(x, Box)}


def flat(nested: dict[str, Any]) -> dict[str, Any]:
    """Dicts and lists in a dict, as of p and q or of transforms, as one."""
    return {".".join(path): x for path, x in _leaves(nested)}


def _leaves(nested: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(nested, (dict, list)):
        for name, x in nested.items() if isinstance(nested, dict) else enumerate(nested):
            yield from _leaves(x, *path, str(name))
    else:
        yield path, nested


def unboxed(name: str, array: Boxed) -> Any:
    """The value of what the user gave as `name`."""
    while isinstance(array, Box):
        array = array._value
    if _has_boxes(array):
        if isinstance(array, np.ndarray):
            raise TypeError(
                f"{name} is an array of objects, autograd's boxes, as NumPy's functions and methods make it "
                "of them: use those of autograd.numpy, say autograd.numpy.dot(a, b) instead of a.dot(b)"
            )
        raise TypeError(
            f"{name} is a {type(array).__name__} with autograd's boxes in it, which autograd cannot follow: "
            f"make an array of it, autograd.numpy.array({name})"
        )
    return array


def _has_boxes(array: Any) -> bool:
    """True for what NumPy makes an array of objects of, as some are boxes."""
    if isinstance(array, np.ndarray):
        return array.dtype == object and any(isinstance(entry, Box) for entry in array.flat)
    return isinstance(array, (list, tuple)) and any(isinstance(x, Box) or _has_boxes(x) for x in array)


class Held:
    """What this package makes of something of fastdist's: that, and its arrays as autograd knows them."""

    _value: Any
    _arrays: dict[str, Boxed]


def taken(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What fastdist's constructor takes, by name, and its arrays, in dicts and lists as it holds them."""
    pairs = {name: _taken(name, x) for name, x in given.items()}
    return {name: x for name, (x, _) in pairs.items()}, {name: arrays for name, (_, arrays) in pairs.items()}


def _taken(name: str, x: Any) -> tuple[Any, Any]:
    if isinstance(x, Held):
        return x._value, x._arrays
    if isinstance(x, fd.Distribution):
        raise TypeError(f"{name} must be of fastdist.autograd, got {type(x).__name__}")
    if isinstance(x, (list, tuple)) and any(isinstance(part, Held) for part in x):
        parts = [_taken(name, part) for part in x]
        return [part for part, _ in parts], [arrays for _, arrays in parts]
    return unboxed(name, x), x if isinstance(x, Box) else {}
