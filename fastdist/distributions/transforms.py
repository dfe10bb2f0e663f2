"""Transforms: invertible functions of events, with the logarithms of their Jacobian determinants.

What torch.distributions.transforms has, by its names and shapes. One's own is a subclass of `Transform`.

A distribution, which knows nothing of one but this, has it work in place:

    _forward, _backward               x to y, y to x
    _forward_scored, _backward_scored the same, and log |det dy/dx|, summed over events, off a density
    _pull, _backward_pull             gradients of these two
    _stages                           the kernels of the first and the third, if there are any
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self, SupportsIndex

import numpy as np

from fastdist import _params, _shapes
from fastdist._kernels import pullbacks
from fastdist._kernels.program import KERNELS, Kernel, apply, elementwise, sum_events
from fastdist._params import quiet
from fastdist._shapes import Shape
from fastdist._typing import ArrayLike, Real, RealDType
from fastdist.distributions import constraints
from fastdist.distributions.constraints import Constraint

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "ComposeTransform",
    "ExpTransform",
    "IndependentTransform",
    "LowerCholeskyTransform",
    "PowerTransform",
    "SigmoidTransform",
    "SoftplusTransform",
    "TanhTransform",
    "Transform",
]

Stage = tuple[Kernel, tuple[Real, ...]]


class Transform:
    r"""Base of transforms: functions y = f(x) of events that are differentiable and, mostly, invertible.

    Attributes
    ----------
    domain, codomain : Constraint
        The sets of x and of y; their `event_dim` says how many trailing dims one event has.
    bijective : bool
        Whether ``t.inv(t(x)) == x`` and ``t(t.inv(y)) == y`` for all x of the domain and y of the codomain.
    sign : int or numpy.ndarray
        1 or -1: whether f increases or decreases.

    Notes
    -----
    A transform never changes. One of one's own is a subclass with these attributes and with

    _call(x), _inverse(y)
        f and its inverse, of arrays.
    log_abs_det_jacobian(x, y)
        ``log |det dy/dx|``, of the shape of x less the dims of an event of the domain.

    It has no gradients.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> class SinhTransform(fd.transforms.Transform):
    ...     domain = codomain = fd.constraints.real
    ...     bijective = True
    ...     sign = 1
    ...     def _call(self, x):
    ...         return np.sinh(x)
    ...     def _inverse(self, y):
    ...         return np.arcsinh(y)
    ...     def log_abs_det_jacobian(self, x, y):
    ...         return np.log(np.cosh(x))
    >>> d = fd.TransformedDistribution(fd.Normal(0.0, 1.0), [SinhTransform()])
    >>> round(float(d.log_prob(1.0)), 4)
    -1.6539
    """

    domain: Constraint
    codomain: Constraint
    bijective: bool = False

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Say what those who bring torch's `cache_size` along have instead."""
        if "cache_size" in kwargs:
            raise TypeError(
                f"{cls.__name__}() has no cache_size: sample_and_log_prob makes a density with its draw"
            )
        if cls.__init__ is object.__init__ and (args or kwargs):
            raise TypeError(f"{cls.__name__}() takes no arguments")
        return super().__new__(cls)

    @property
    def sign(self) -> int | Real:
        """1 or -1: whether y increases with x, or decreases."""
        raise NotImplementedError(f"{type(self).__name__} has no sign")

    @property
    def inv(self) -> Transform:
        """The inverse transform: ``t.inv(t(x)) == x``."""
        return _InverseTransform(self)

    def __call__(self, x: ArrayLike) -> Real:
        """Return y = f(x), a new array."""
        return self._call(self._taken("x", x))

    def log_abs_det_jacobian(self, x: ArrayLike, y: ArrayLike) -> Real:
        """Logarithm of the size of the determinant of dy/dx, of an event each.

        Parameters
        ----------
        x, y : array_like
            Events of the domain, and what they are transformed to.

        Returns
        -------
        numpy.ndarray
            The shape of `x` less the dims of an event of the domain.
        """
        raise NotImplementedError(f"{type(self).__name__} has no log_abs_det_jacobian")

    def forward_shape(self, shape: Shape) -> Shape:
        """The shape of y, given that of x."""
        return tuple(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        """The shape of x, given that of y."""
        return tuple(shape)

    def _call(self, x: Real) -> Real:
        raise NotImplementedError(f"{type(self).__name__} has no _call(x)")

    def _inverse(self, y: Real) -> Real:
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    # ---- for distributions -----------------------------------------------------------------

    def _taken(self, name: str, value: ArrayLike) -> Real:
        """An argument as kernels take it, of the dtype to compute in, in its own shape."""
        array = _params.as_array(name, value)
        weak = isinstance(value, (bool, int, float))
        dtypes = [array.dtype] if not weak else []
        dtypes += [a.dtype for a, strong in self._parameters() if strong]
        single = bool(dtypes) and all(dtype.char in "ef" for dtype in dtypes)
        dtype = _params.FLOAT32 if single else _params.FLOAT64
        if array.ndim < self.domain.event_dim:
            raise ValueError(
                f"{name} must have {self.domain.event_dim} dims or more, got shape {array.shape}"
            )
        return np.require(array, dtype, ["C", "A"])

    def _parameters(self) -> list[tuple[Real, bool]]:
        """Arrays, and whether a dtype follows from each, as it does not from Python's numbers."""
        return []

    def _replaced(self, arrays: list[Real]) -> Transform:
        """The same with other arrays, which it takes from the front of a list."""
        return self

    def _forward(self, x: Real, out: Real) -> None:
        out[...] = self._call(x)

    def _backward(self, y: Real, out: Real) -> None:
        out[...] = self._inverse(y)

    def _forward_scored(self, x: Real, out: Real, density: Real) -> None:
        y = self._call(x)
        self._subtract(density, self.log_abs_det_jacobian(x, y), x)
        out[...] = y

    def _backward_scored(self, y: Real, out: Real, density: Real) -> None:
        x = self._inverse(y)
        self._subtract(density, self.log_abs_det_jacobian(x, y), x)
        out[...] = x

    def _subtract(self, density: Real, log_det: ArrayLike, x: Real) -> None:
        """Subtract log determinants, of the domain's events, summed over the events of a density."""
        shape = x.shape[: x.ndim - self.domain.event_dim]
        terms = np.require(np.broadcast_to(np.asarray(log_det), shape), density.dtype, ["C", "A"])
        density -= sum_events(terms, shape[density.ndim :])

    def _stages(self, dtype: RealDType, event_ndim: int, scored: bool) -> list[Stage] | None:
        """Kernels, and their arrays, that do `_forward`, or `_forward_scored`, to a tile of a draw."""
        return None

    def _pull(self, g: Real, h: Real, x: Real) -> tuple[Real, dict[str, Any]]:
        """Gradients by x and by parameters, of y with cotangent g and of the density with h."""
        raise self._no_gradients()

    def _backward_pull(self, g: Real, h: Real, x: Real) -> tuple[Real, dict[str, Any]]:
        """The same of x with cotangent g, made of y, and of the density; by y and by parameters."""
        raise self._no_gradients()

    def _no_gradients(self) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} has no gradients")

    def _as_affine(self) -> tuple[Real, Real] | None:
        """Loc and scale, if it is no more than these."""
        return None

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _own(x: Real) -> Real:
    """Room for as many numbers."""
    return np.empty(x.shape, x.dtype)


def _over(h: Real, like: Real) -> Real:
    """Numbers of an event each, as dims that repeat over the elements of events."""
    return h.reshape(h.shape + (1,) * (like.ndim - h.ndim))


class _Elementwise(Transform):
    """Transforms of numbers that kernels make, named after f."""

    domain = constraints.real
    bijective = True
    sign = 1
    _f: ClassVar[str]
    _inverse_kernel: ClassVar[Kernel]

    def _kernel(self, suffix: str = "") -> Kernel:
        return KERNELS[self._f + suffix]

    def _call(self, x: Real) -> Real:
        return elementwise(self._kernel(), x)

    def _inverse(self, y: Real) -> Real:
        return elementwise(self._inverse_kernel, y)

    def log_abs_det_jacobian(self, x: ArrayLike, y: ArrayLike) -> Real:
        """Logarithm of the derivative, made of `x` alone; of its shape."""
        return elementwise(self._kernel("_log_det"), self._taken("x", x))

    def _forward(self, x: Real, out: Real) -> None:
        apply(self._kernel(), out.shape, out, x)

    def _backward(self, y: Real, out: Real) -> None:
        apply(self._inverse_kernel, out.shape, out, y)

    def _forward_scored(self, x: Real, out: Real, density: Real) -> None:
        apply(self._kernel("_scored"), out.shape, density, out, x, event_ndim=out.ndim - density.ndim)

    def _backward_scored(self, y: Real, out: Real, density: Real) -> None:
        apply(self._kernel("_inverse_scored"), out.shape, density, out, y, event_ndim=out.ndim - density.ndim)

    def _stages(self, dtype: RealDType, event_ndim: int, scored: bool) -> list[Stage] | None:
        return [(self._kernel("_scored" if scored else ""), ())]

    def _pull(self, g: Real, h: Real, x: Real) -> tuple[Real, dict[str, Any]]:
        by_x = _own(x)
        apply(self._kernel("_pull"), x.shape, by_x, g, _over(h, x), x)
        return by_x, {}

    def _backward_pull(self, g: Real, h: Real, x: Real) -> tuple[Real, dict[str, Any]]:
        by_y = _own(x)
        apply(self._kernel("_inverse_pull"), x.shape, by_y, g, _over(h, x), x)
        return by_y, {}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))


class ExpTransform(_Elementwise):
    r"""Transform by :math:`y = \exp(x)`.

    Examples
    --------
    >>> import fastdist as fd
    >>> float(fd.transforms.ExpTransform().inv(1.0))
    0.0
    """

    codomain = constraints.positive
    _f = "exp"
    _inverse_kernel = KERNELS["exp_inverse"]


class TanhTransform(_Elementwise):
    r"""Transform by :math:`y = \tanh(x)`.

    The logarithm of its derivative is :math:`-\log(1 + \sinh^2 x)`, right where y has been rounded to 1.

    Examples
    --------
    >>> import fastdist as fd
    >>> tanh = fd.transforms.TanhTransform()
    >>> y = tanh(100.0)
    >>> float(y), round(float(tanh.log_abs_det_jacobian(100.0, y)), 3)
    (1.0, -198.614)
    """

    codomain = constraints.interval(-1.0, 1.0)
    _f = "tanh"
    _inverse_kernel = KERNELS["tanh_inverse"]


class SigmoidTransform(_Elementwise):
    r"""Transform by the logistic function, :math:`y = 1 / (1 + \exp(-x))`.

    Examples
    --------
    >>> import fastdist as fd
    >>> fd.transforms.SigmoidTransform()([-800.0, 0.0, 800.0])
    array([0. , 0.5, 1. ])
    """

    codomain = constraints.unit_interval
    _f = "sigmoid"
    _inverse_kernel = KERNELS["sigmoid_inverse"]


class SoftplusTransform(_Elementwise):
    r"""Transform by :math:`y = \log(1 + \exp(x))`.

    Examples
    --------
    >>> import fastdist as fd
    >>> fd.transforms.SoftplusTransform()([-100.0, 0.0, 100.0])
    array([3.72007598e-44, 6.93147181e-01, 1.00000000e+02])
    """

    codomain = constraints.positive
    _f = "softplus"
    _inverse_kernel = KERNELS["softplus_inverse"]


class AbsTransform(Transform):
    r"""Transform by :math:`y = |x|`, which has no inverse; that of a y is y itself.

    So there are draws, but no densities (`HalfNormal` has them).

    Examples
    --------
    >>> import fastdist as fd
    >>> fd.transforms.AbsTransform()([-2.0, 3.0])
    array([2., 3.])
    """

    domain = constraints.real
    codomain = constraints.positive

    def _call(self, x: Real) -> Real:
        return elementwise(KERNELS["abs"], x)

    def _inverse(self, y: Real) -> Real:
        return y.copy()

    def _forward(self, x: Real, out: Real) -> None:
        apply(KERNELS["abs"], out.shape, out, x)

    def _stages(self, dtype: RealDType, event_ndim: int, scored: bool) -> list[Stage] | None:
        return None if scored else [(KERNELS["abs"], ())]

    @quiet
    def _pull(self, g: Real, h: Real, x: Real) -> tuple[Real, dict[str, Any]]:
        return g * np.sign(x), {}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))


# ---- transforms with arrays --------------------------------------------------------------------------


class _WithArrays(Transform):
    """Transforms of numbers with array parameters, which broadcast with what they are applied to."""

    _names: ClassVar[tuple[str, ...]]
    _arrays: dict[str, Real]
    _weak: frozenset[str]

    def _take(self, **given: ArrayLike) -> None:
        arrays: dict[str, Real] = {}
        for name, value in given.items():
            array = _params.as_array(name, value)
            dtype = _params.FLOAT32 if array.dtype.char in "ef" else _params.FLOAT64
            packed: Real = np.array(array, dtype, order="C")
            _params.check_finite(name, packed)
            packed.flags.writeable = False
            arrays[name] = packed
        _shapes.broadcast_shapes(**{name: array.shape for name, array in arrays.items()})
        self._arrays = arrays
        self._weak = frozenset(name for name, value in given.items() if isinstance(value, (bool, int, float)))

    def _parameters(self) -> list[tuple[Real, bool]]:
        return [(self._arrays[name], name not in self._weak) for name in self._names]

    def _replaced(self, arrays: list[Real]) -> Transform:
        new = type(self).__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._arrays = {name: arrays.pop(0) for name in self._names}
        return new

    def _in(self, dtype: RealDType) -> tuple[Real, ...]:
        return tuple(_params.pack(self._arrays[name], dtype) for name in self._names)

    def _shape(self) -> Shape:
        return np.broadcast_shapes(*(array.shape for array in self._arrays.values()))

    def forward_shape(self, shape: Shape) -> Shape:
        """The shape of y: that of x, broadcast with the parameters."""
        return np.broadcast_shapes(tuple(shape), self._shape())

    inverse_shape = forward_shape

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(
            np.array_equal(self._arrays[name], other._arrays[name]) for name in self._names
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = (f"{n}: {a.item() if a.ndim == 0 else a.shape}" for n, a in self._arrays.items())
        return f"{type(self).__name__}({', '.join(shown)})"


class AffineTransform(_WithArrays):
    r"""Transform by :math:`y = loc + scale \cdot x`, element by element.

    Parameters
    ----------
    loc, scale : array_like
        Finite, `scale` not 0; they broadcast with x. Both are copied.
    event_dim : int, optional
        How many trailing dims are one event, over which the log determinant is summed.

    Raises
    ------
    ValueError
        For such values, or a negative `event_dim`.

    Examples
    --------
    >>> import fastdist as fd
    >>> t = fd.transforms.AffineTransform(1.0, [2.0, 4.0])
    >>> t(3.0).tolist(), t.inv([7.0, 13.0]).tolist()
    ([7.0, 13.0], [3.0, 3.0])
    """

    bijective = True
    _names = ("loc", "scale")

    def __init__(self, loc: ArrayLike, scale: ArrayLike, event_dim: SupportsIndex = 0) -> None:
        self._take(loc=loc, scale=scale)
        self.event_dim = _shapes.parse_int("event_dim", event_dim)
        if self.event_dim < 0:
            raise ValueError(f"event_dim must not be negative, got {event_dim}")
        if not np.all(self._arrays["scale"]):
            raise ValueError(f"scale of shape {self._arrays['scale'].shape} must not be 0")
        real = (
            constraints.independent(constraints.real, self.event_dim) if self.event_dim else constraints.real
        )
        self.domain = self.codomain = real

    @property
    def loc(self) -> Real:
        """What is added; read-only."""
        return self._arrays["loc"]

    @property
    def scale(self) -> Real:
        """What x is multiplied by; read-only."""
        return self._arrays["scale"]

    @property
    def sign(self) -> Real:
        """Sign of `scale`, of its shape."""
        return np.sign(self._arrays["scale"])

    def _call(self, x: Real) -> Real:
        return elementwise(KERNELS["affine"], x, *self._in(x.dtype))

    def _inverse(self, y: Real) -> Real:
        return elementwise(KERNELS["affine_inverse"], y, *self._in(y.dtype))

    def log_abs_det_jacobian(self, x: ArrayLike, y: ArrayLike) -> Real:
        """Log of the size of `scale`, summed over events."""
        array = self._taken("x", x)
        shape = self.forward_shape(array.shape)
        log_scale = np.require(np.broadcast_to(self._log_scale(array.dtype), shape), None, ["C"])
        return sum_events(log_scale, shape[len(shape) - self.event_dim :])

    def _log_scale(self, dtype: RealDType) -> Real:
        (scale,) = self._in(dtype)[1:]
        return elementwise(KERNELS["log"], np.asarray(np.abs(scale)))

    def _forward(self, x: Real, out: Real) -> None:
        apply(KERNELS["affine"], out.shape, out, x, *self._in(out.dtype))

    def _backward(self, y: Real, out: Real) -> None:
        apply(KERNELS["affine_inverse"], out.shape, out, y, *self._in(out.dtype))

    def _forward_scored(self, x: Real, out: Real, density: Real) -> None:
        density -= sum_events(self._log_scale(out.dtype), out.shape[density.ndim :])
        self._forward(x, out)

    def _backward_scored(self, y: Real, out: Real, density: Real) -> None:
        density -= sum_events(self._log_scale(out.dtype), out.shape[density.ndim :])
        self._backward(y, out)

    def _stages(self, dtype: RealDType, event_ndim: int, scored: bool) -> list[Stage] | None:
        of_draw: Stage = (KERNELS["affine"], self._in(dtype))
        if not scored:
            return [of_draw]
        return [(KERNELS["sum_events"], (np.asarray(-self._log_scale(dtype)),)), of_draw]

    @quiet
    def _pull(self, g: Real, h: Real, x: Real) -> tuple[Real, dict[str, Any]]:
        scale = self._in(x.dtype)[1]
        by_scale = g * x - _over(h, x) / scale
        return g * scale, self._summed(np.asarray(g), by_scale)

    @quiet
    def _backward_pull(self, g: Real, h: Real, x: Real) -> tuple[Real, dict[str, Any]]:
        scale = self._in(x.dtype)[1]
        by_y = g / scale
        return by_y, self._summed(-by_y, -(g * x + _over(h, x)) / scale)

    def _summed(self, by_loc: Real, by_scale: Real) -> dict[str, Any]:
        by = {"loc": by_loc, "scale": by_scale}
        return {name: _sum_to(terms, self._arrays[name]) for name, terms in by.items()}

    def _as_affine(self) -> tuple[Real, Real] | None:
        return self._arrays["loc"], self._arrays["scale"]

    def __eq__(self, other: object) -> bool:
        return (
            super().__eq__(other) and isinstance(other, AffineTransform) and self.event_dim == other.event_dim
        )

    __hash__ = None


class PowerTransform(_WithArrays):
    r"""Transform by :math:`y = x^{exponent}` of positive numbers.

    Parameters
    ----------
    exponent : array_like
        Finite, not 0; it broadcasts with x. It is copied.

    Examples
    --------
    >>> import fastdist as fd
    >>> fd.transforms.PowerTransform(2.0)([1.0, 3.0]).tolist()
    [1.0, 9.0]
    """

    domain = codomain = constraints.positive
    bijective = True
    _names = ("exponent",)

    def __init__(self, exponent: ArrayLike) -> None:
        self._take(exponent=exponent)
        if not np.all(self._arrays["exponent"]):
            raise ValueError(f"exponent of shape {self._arrays['exponent'].shape} must not be 0")

    @property
    def exponent(self) -> Real:
        """The exponent; read-only."""
        return self._arrays["exponent"]

    @property
    def sign(self) -> Real:
        """Sign of the exponent, of its shape."""
        return np.sign(self._arrays["exponent"])

    def _call(self, x: Real) -> Real:
        return elementwise(KERNELS["power"], x, *self._in(x.dtype))

    def _inverse(self, y: Real) -> Real:
        return elementwise(KERNELS["power_inverse"], y, *self._in(y.dtype))

    def log_abs_det_jacobian(self, x: ArrayLike, y: ArrayLike) -> Real:
        """Logarithm of the size of the derivative, made of `x` alone; of the shape of y."""
        array = self._taken("x", x)
        return elementwise(KERNELS["power_log_det"], array, *self._in(array.dtype))

    def _forward(self, x: Real, out: Real) -> None:
        apply(KERNELS["power"], out.shape, out, x, *self._in(out.dtype))

    def _backward(self, y: Real, out: Real) -> None:
        apply(KERNELS["power_inverse"], out.shape, out, y, *self._in(out.dtype))

    def _forward_scored(self, x: Real, out: Real, density: Real) -> None:
        density -= sum_events(self.log_abs_det_jacobian(x, x), out.shape[density.ndim :])
        self._forward(x, out)

    def _backward_scored(self, y: Real, out: Real, density: Real) -> None:
        outside = (y <= 0) | (y == math.inf)
        self._backward(y, out)
        out[outside] = 1
        terms = self.log_abs_det_jacobian(out, y)
        terms[outside] = math.inf
        density -= sum_events(terms, out.shape[density.ndim :])

    def _stages(self, dtype: RealDType, event_ndim: int, scored: bool) -> list[Stage] | None:
        return None if scored else [(KERNELS["power"], self._in(dtype))]

    @quiet
    def _pull(self, g: Real, h: Real, x: Real) -> tuple[Real, dict[str, Any]]:
        (p,), y = self._in(x.dtype), self._call(x)
        h, log_x = _over(h, x), elementwise(KERNELS["exp_inverse"], x)
        by_p = g * y * log_x - h * (1 / p + log_x)
        return (g * p * y - h * (p - 1)) / x, {"exponent": _sum_to(by_p, self._arrays["exponent"])}

    @quiet
    def _backward_pull(self, g: Real, h: Real, x: Real) -> tuple[Real, dict[str, Any]]:
        (p,), y = self._in(x.dtype), self._call(x)
        h, log_x = _over(h, x), elementwise(KERNELS["exp_inverse"], x)
        by_x = g - h * (p - 1) / x
        by_p = -by_x * x * log_x / p - h * (1 / p + log_x)
        return by_x * x / (p * y), {"exponent": _sum_to(by_p, self._arrays["exponent"])}


def _sum_to(terms: Real, like: Real) -> Real:
    """Terms summed to the shape of a parameter, in its dtype."""
    terms = np.require(terms, None, ["C", "A"])
    by = np.zeros(like.shape, terms.dtype)
    if terms.size:
        pullbacks.sum_to(by, terms)
    return _params.pack(by, like.dtype)


class LowerCholeskyTransform(Transform):
    """Transform from matrices to lower triangular ones with a positive diagonal: its exponential.

    What is above the diagonal is ignored, so that there is no Jacobian determinant.

    Examples
    --------
    >>> import fastdist as fd
    >>> fd.transforms.LowerCholeskyTransform()([[0.0, 5.0], [3.0, 0.0]]).tolist()
    [[1.0, 0.0], [3.0, 1.0]]
    """

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def _call(self, x: Real) -> Real:
        return self._with_diagonal(KERNELS["exp"], x)

    def _inverse(self, y: Real) -> Real:
        return self._with_diagonal(KERNELS["exp_inverse"], y)

    def _with_diagonal(self, kernel: Kernel, x: Real) -> Real:
        if x.shape[-1] != x.shape[-2]:
            raise ValueError(f"events must be square matrices, got shape {x.shape}")
        result, i = np.tril(x, -1), np.arange(x.shape[-1])
        result[..., i, i] = elementwise(kernel, np.require(x[..., i, i], None, ["C", "A"]))
        return result

    @quiet
    def _pull(self, g: Real, h: Real, x: Real) -> tuple[Real, dict[str, Any]]:
        by_x, i = np.tril(g), np.arange(x.shape[-1])
        diagonal = np.require(x[..., i, i], None, ["C", "A"])
        by_x[..., i, i] *= elementwise(KERNELS["exp"], diagonal)
        return by_x, {}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))


# ---- transforms of transforms --------------------------------------------------------------------------


class _InverseTransform(Transform):
    """The inverse of a transform, which it holds."""

    def __init__(self, transform: Transform) -> None:
        self._inv = transform

    @property
    def domain(self) -> Constraint:  # type: ignore[override]
        return self._inv.codomain

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        return self._inv.domain

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        return self._inv.bijective

    @property
    def sign(self) -> int | Real:
        return self._inv.sign

    @property
    def inv(self) -> Transform:
        return self._inv

    def _parameters(self) -> list[tuple[Real, bool]]:
        return self._inv._parameters()

    def _replaced(self, arrays: list[Real]) -> Transform:
        return _InverseTransform(self._inv._replaced(arrays))

    def forward_shape(self, shape: Shape) -> Shape:
        return self._inv.inverse_shape(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        return self._inv.forward_shape(shape)

    def _call(self, x: Real) -> Real:
        return self._inv._inverse(x)

    def _inverse(self, y: Real) -> Real:
        return self._inv._call(y)

    @quiet
    def log_abs_det_jacobian(self, x: ArrayLike, y: ArrayLike) -> Real:
        return np.asarray(-self._inv.log_abs_det_jacobian(y, x))

    def _forward(self, x: Real, out: Real) -> None:
        self._inv._backward(x, out)

    def _backward(self, y: Real, out: Real) -> None:
        self._inv._forward(y, out)

    @quiet
    def _forward_scored(self, x: Real, out: Real, density: Real) -> None:
        of_inverse = np.zeros_like(density)
        self._inv._backward_scored(x, out, of_inverse)
        density -= of_inverse

    @quiet
    def _backward_scored(self, y: Real, out: Real, density: Real) -> None:
        of_inverse = np.zeros_like(density)
        self._inv._forward_scored(y, out, of_inverse)
        density -= of_inverse

    def _pull(self, g: Real, h: Real, x: Real) -> tuple[Real, dict[str, Any]]:
        y = _own(x)
        self._inv._backward(x, y)
        return self._inv._backward_pull(g, np.asarray(-h), y)

    def _backward_pull(self, g: Real, h: Real, x: Real) -> tuple[Real, dict[str, Any]]:
        y = _own(x)
        self._inv._backward(x, y)
        return self._inv._pull(g, np.asarray(-h), y)

    def _as_affine(self) -> tuple[Real, Real] | None:
        of_inverse = self._inv._as_affine()
        if of_inverse is None:
            return None
        loc, scale = of_inverse
        return -loc / scale, 1 / scale

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _InverseTransform) and self._inv == other._inv

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{self._inv!r}.inv"


class ComposeTransform(Transform):
    """Transforms one after the other.

    Parameters
    ----------
    parts : sequence of Transform
        In the order in which they are applied.

    Examples
    --------
    >>> from fastdist import transforms as t
    >>> both = t.ComposeTransform([t.AffineTransform(0.0, 2.0), t.ExpTransform()])
    >>> float(both(0.0)), float(both.inv(1.0))
    (1.0, 0.0)
    """

    def __init__(self, parts: Sequence[Transform]) -> None:
        self.parts = list(parts)
        for i, part in enumerate(self.parts):
            if not isinstance(part, Transform):
                raise TypeError(f"parts[{i}] must be a Transform, got {type(part).__name__}")
        self._domain, self._codomain = self._ends()

    def _ends(self) -> tuple[Constraint, Constraint]:
        """Domain and codomain, with as many event dims as any part has, seen from there."""
        if not self.parts:
            return constraints.real, constraints.real
        domain, codomain = self.parts[0].domain, self.parts[-1].codomain
        event_dim = codomain.event_dim
        for part in reversed(self.parts):
            event_dim = max(
                event_dim + part.domain.event_dim - part.codomain.event_dim, part.domain.event_dim
            )
        if event_dim > domain.event_dim:
            domain = constraints.independent(domain, event_dim - domain.event_dim)
        for part in self.parts:
            event_dim = max(
                event_dim + part.codomain.event_dim - part.domain.event_dim, part.codomain.event_dim
            )
        if event_dim > codomain.event_dim:
            codomain = constraints.independent(codomain, event_dim - codomain.event_dim)
        return domain, codomain

    @property
    def domain(self) -> Constraint:  # type: ignore[override]
        """That of the first part."""
        return self._domain

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        """That of the last part."""
        return self._codomain

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        """True if all parts are."""
        return all(part.bijective for part in self.parts)

    @property
    def sign(self) -> int | Real:
        """Product of those of the parts."""
        return math.prod((part.sign for part in self.parts), start=1)

    def _parameters(self) -> list[tuple[Real, bool]]:
        return [one for part in self.parts for one in part._parameters()]

    def _replaced(self, arrays: list[Real]) -> Transform:
        return ComposeTransform([part._replaced(arrays) for part in self.parts])

    def forward_shape(self, shape: Shape) -> Shape:
        """The shape of y, given that of x."""
        for part in self.parts:
            shape = part.forward_shape(shape)
        return tuple(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        """The shape of x, given that of y."""
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return tuple(shape)

    def _call(self, x: Real) -> Real:
        for part in self.parts:
            x = part._call(x)
        return x if self.parts else x.copy()

    def _inverse(self, y: Real) -> Real:
        for part in reversed(self.parts):
            y = part._inverse(y)
        return y if self.parts else y.copy()

    def log_abs_det_jacobian(self, x: ArrayLike, y: ArrayLike) -> Real:
        """Sum of those of the parts, over the event dims of all."""
        array = self._taken("x", x)
        shape = self.forward_shape(array.shape)
        density = np.zeros(shape[: len(shape) - self.codomain.event_dim], array.dtype)
        for part in self.parts:
            y = part._call(array)
            part._subtract(density, part.log_abs_det_jacobian(array, y), array)
            array = y
        return np.asarray(-density)

    def _forward(self, x: Real, out: Real) -> None:
        for part in self.parts or (_IDENTITY,):
            part._forward(x, out)
            x = out

    def _backward(self, y: Real, out: Real) -> None:
        for part in reversed(self.parts or (_IDENTITY,)):
            part._backward(y, out)
            y = out

    def _forward_scored(self, x: Real, out: Real, density: Real) -> None:
        for part in self.parts or (_IDENTITY,):
            part._forward_scored(x, out, density)
            x = out

    def _backward_scored(self, y: Real, out: Real, density: Real) -> None:
        for part in reversed(self.parts or (_IDENTITY,)):
            part._backward_scored(y, out, density)
            y = out

    def _stages(self, dtype: RealDType, event_ndim: int, scored: bool) -> list[Stage] | None:
        stages: list[Stage] = []
        for part in self.parts:
            more = part._stages(dtype, event_ndim, scored)
            if more is None:
                return None
            stages += more
        return stages

    def _pull(self, g: Real, h: Real, x: Real) -> tuple[Real, dict[str, Any]]:
        values = [x]
        for part in self.parts[:-1]:
            values.append(_own(x))
            part._forward(values[-2], values[-1])
        by: list[dict[str, Any]] = []
        for part in reversed(self.parts):
            g, of_part = part._pull(g, h, values.pop())
            by.insert(0, of_part)
        return g, {"parts": by}

    def _backward_pull(self, g: Real, h: Real, x: Real) -> tuple[Real, dict[str, Any]]:
        by = []
        for part in self.parts:
            g, of_part = part._backward_pull(g, h, x)
            by.append(of_part)
            y = _own(x)
            part._forward(x, y)
            x = y
        return g, {"parts": by}

    def _as_affine(self) -> tuple[Real, Real] | None:
        loc, scale = np.zeros(()), np.ones(())
        for part in self.parts:
            of_part = part._as_affine()
            if of_part is None:
                return None
            loc, scale = of_part[0] + of_part[1] * loc, of_part[1] * scale
        return np.asarray(loc), np.asarray(scale)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ComposeTransform) and self.parts == other.parts

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.parts!r})"


_IDENTITY = AffineTransform(0.0, 1.0)


class IndependentTransform(Transform):
    """A transform of which more trailing dims are one event: its log determinants are summed over them.

    Parameters
    ----------
    base_transform : Transform
        The transform.
    reinterpreted_batch_ndims : int
        How many more dims.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> x, tanh = np.zeros((3, 2)), fd.transforms.TanhTransform()
    >>> tanh.log_abs_det_jacobian(x, tanh(x)).shape
    (3, 2)
    >>> fd.transforms.IndependentTransform(tanh, 1).log_abs_det_jacobian(x, tanh(x)).shape
    (3,)
    """

    def __init__(self, base_transform: Transform, reinterpreted_batch_ndims: SupportsIndex) -> None:
        if not isinstance(base_transform, Transform):
            raise TypeError(f"base_transform must be a Transform, got {type(base_transform).__name__}")
        self.base_transform = base_transform
        self.reinterpreted_batch_ndims = _shapes.parse_int(
            "reinterpreted_batch_ndims", reinterpreted_batch_ndims
        )
        if self.reinterpreted_batch_ndims < 0:
            raise ValueError(
                f"reinterpreted_batch_ndims must not be negative, got {reinterpreted_batch_ndims}"
            )

    @property
    def domain(self) -> Constraint:  # type: ignore[override]
        """That of the base, of more dims."""
        return constraints.independent(self.base_transform.domain, self.reinterpreted_batch_ndims)

    @property
    def codomain(self) -> Constraint:  # type: ignore[override]
        """That of the base, of more dims."""
        return constraints.independent(self.base_transform.codomain, self.reinterpreted_batch_ndims)

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        """True if the base is."""
        return self.base_transform.bijective

    @property
    def sign(self) -> int | Real:
        """That of the base."""
        return self.base_transform.sign

    def _parameters(self) -> list[tuple[Real, bool]]:
        return self.base_transform._parameters()

    def _replaced(self, arrays: list[Real]) -> Transform:
        return IndependentTransform(self.base_transform._replaced(arrays), self.reinterpreted_batch_ndims)

    def forward_shape(self, shape: Shape) -> Shape:
        """The shape of y, given that of x."""
        return self.base_transform.forward_shape(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        """The shape of x, given that of y."""
        return self.base_transform.inverse_shape(shape)

    def _call(self, x: Real) -> Real:
        return self.base_transform._call(x)

    def _inverse(self, y: Real) -> Real:
        return self.base_transform._inverse(y)

    def log_abs_det_jacobian(self, x: ArrayLike, y: ArrayLike) -> Real:
        """That of the base, summed over the dims that are events now."""
        of_base = np.asarray(self.base_transform.log_abs_det_jacobian(x, y), order="C")
        return sum_events(of_base, of_base.shape[of_base.ndim - self.reinterpreted_batch_ndims :])

    def _forward(self, x: Real, out: Real) -> None:
        self.base_transform._forward(x, out)

    def _backward(self, y: Real, out: Real) -> None:
        self.base_transform._backward(y, out)

    def _forward_scored(self, x: Real, out: Real, density: Real) -> None:
        self.base_transform._forward_scored(x, out, density)

    def _backward_scored(self, y: Real, out: Real, density: Real) -> None:
        self.base_transform._backward_scored(y, out, density)

    def _stages(self, dtype: RealDType, event_ndim: int, scored: bool) -> list[Stage] | None:
        return self.base_transform._stages(dtype, event_ndim, scored)

    def _pull(self, g: Real, h: Real, x: Real) -> tuple[Real, dict[str, Any]]:
        g, by = self.base_transform._pull(g, h, x)
        return g, {"base_transform": by}

    def _backward_pull(self, g: Real, h: Real, x: Real) -> tuple[Real, dict[str, Any]]:
        g, by = self.base_transform._backward_pull(g, h, x)
        return g, {"base_transform": by}

    def _as_affine(self) -> tuple[Real, Real] | None:
        return self.base_transform._as_affine()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, IndependentTransform)
            and self.base_transform == other.base_transform
            and self.reinterpreted_batch_ndims == other.reinterpreted_batch_ndims
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_transform!r}, {self.reinterpreted_batch_ndims})"
