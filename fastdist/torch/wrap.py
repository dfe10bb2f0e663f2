"""wrap: classes of torch's for distributions of fastdist's, as users write them.

A call copies the tensors into a distribution of fastdist's, so that it sees every change of theirs, and is
one Function of autograd's, whose backward is the rule of `fastdist.vjp`. There are first derivatives alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.kl import register_kl

import fastdist.distributions as fd
from fastdist._typing import Real
from fastdist.distributions._arguments import arguments, takes_validate_args
from fastdist.distributions.constraints import Constraint, _Independent
from fastdist.distributions.rules import rule_of
from fastdist.random import RNGLike
from fastdist.torch import _draws
from fastdist.torch._adapter import Adapter, Index, flat, parse_index
from fastdist.torch._formulas import CDFS
from fastdist.torch._kernel import in_transform, needs_gradients
from fastdist.torch._sampling import Sampled, SampleShape
from fastdist.torch._tensors import all_plain, as_array
from fastdist.torch.independent import Independent
from fastdist.torch.low_rank_multivariate_normal import LowRankMultivariateNormal
from fastdist.torch.mixture_same_family import MixtureSameFamily
from fastdist.torch.multivariate_normal import MultivariateNormal
from fastdist.torch.normal import Normal
from fastdist.torch.outcomes import Bernoulli, Categorical, OneHotCategorical
from fastdist.torch.transformed import HalfNormal, LogNormal, TransformedDistribution


def wrap(cls: type[fd.Distribution]) -> type[Any]:
    """The class of torch's for a distribution of fastdist's.

    Parameters
    ----------
    cls : type
        A subclass of `fastdist.Distribution`.

    Returns
    -------
    type
        A subclass of `torch.distributions.Distribution`, the same at each call; for a class that
        `fastdist.torch` has itself, that one. Its constructor takes what that of `cls` takes. What
        `arg_constraints` names are tensors, float32 or float64 on the CPU, or numbers; in place of a
        distribution that a `Wrapper` holds there may be one of fastdist.torch.

    Raises
    ------
    TypeError
        If `cls` is no such class; by the constructor, for tensors of another dtype or device.

    Notes
    -----
    `rsample`, `log_prob`, `entropy` and torch's `kl_divergence` have the gradients of the rules that are
    registered for `cls` (`fastdist.register_vjp`). Without one they raise NotImplementedError where gradients
    are asked for, as do derivatives of gradients. Moments are constants to autograd.

    With `validate_args` fastdist checks the parameters, and `log_prob` that the value is in the support.

    Examples
    --------
    >>> import torch, fastdist as fd
    >>> from fastdist.torch import wrap
    >>> class Cauchy(fd.Distribution):
    ...     arg_constraints = {"loc": fd.constraints.real}
    ...     support = fd.constraints.real
    ...     has_rsample = True
    ...     normals_per_event = 2
    ...     def draw(self, eps, out):
    ...         out[...] = self.loc + eps[..., 0] / eps[..., 1]
    >>> @fd.register_vjp("rsample", Cauchy)
    ... def vjp_cauchy(d, replay):
    ...     return lambda g, x: {"loc": g}
    >>> loc = torch.zeros(3, requires_grad=True)
    >>> wrap(Cauchy)(loc).rsample((100,), rng=0).sum().backward()
    >>> loc.grad
    tensor([100., 100., 100.])
    """
    if not (isinstance(cls, type) and issubclass(cls, fd.Distribution)):
        raise TypeError(f"cls must be a subclass of fastdist.Distribution, got {cls!r}")
    return _classes.get(cls) or _classes.setdefault(cls, _new_class(cls))


class Wrapped(Sampled):
    """A distribution of torch's over one of fastdist's; of `wrap`, which see."""

    _wrapped: ClassVar[type[fd.Distribution]]
    _takes_validate_args: ClassVar[bool]

    def __init__(self, *args: Any, validate_args: bool | None = None, **kwargs: Any) -> None:
        given = arguments(self._wrapped, args, kwargs)
        self._others = {
            name: x for name, x in given.items() if name not in self._wrapped.arg_constraints or x is None
        }
        tensors = _as_tensors({name: x for name, x in given.items() if name not in self._others})
        check = self._validate_args if validate_args is None else validate_args
        core = self._made_of(tensors, validate_args=check)
        shape = torch.Size(core.batch_shape)
        self._names = tuple(tensors)
        for name, tensor in tensors.items():
            whole = shape + tensor.shape[tensor.ndim - self._wrapped._core_ndim[name] :]
            self.__dict__[name] = tensor if tensor.shape == whole else tensor.expand(whole)
        self._set_shapes(shape, torch.Size(core.event_shape), validate_args)

    def _set_shapes(
        self, batch_shape: torch.Size, event_shape: torch.Size, validate_args: bool | None
    ) -> None:
        """What torch's constructor does but for checking parameters."""
        self._batch_shape, self._event_shape = batch_shape, event_shape
        if validate_args is not None:  # otherwise the class's, which may be changed later on
            self._validate_args = validate_args

    def _made_of(self, tensors: dict[str, Tensor], *, validate_args: bool) -> fd.Distribution:
        """A distribution of fastdist's over copies of tensors, and of those of what it holds."""
        given: dict[str, Any] = {name: _as_array(name, x) for name, x in tensors.items()}
        given |= {
            name: _parts(x)[1] if isinstance(x, Distribution) else x for name, x in self._others.items()
        }
        if self._takes_validate_args:
            given["validate_args"] = validate_args
        return self._wrapped(**given)

    def _core(self) -> fd.Distribution:
        core = self._made_of({name: self.__dict__[name] for name in self._names}, validate_args=False)
        shape = tuple(self._batch_shape)
        return core if core.batch_shape == shape else core.expand(shape)

    def _tensors(self) -> dict[str, Tensor]:
        """What it is a function of, by the names of gradients."""
        own = {name: self.__dict__[name] for name in self._names}
        return own | flat(
            {name: _parts(x)[0] for name, x in self._others.items() if isinstance(x, Distribution)}
        )

    # ---- shapes ------------------------------------------------------------------------

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution broadcast to another batch shape; no memory is used."""
        return self._over(
            self._get_checked_instance(Wrapped, _instance),
            lambda tensor, tail: tensor.expand(*batch_shape, *tail),
            batch_shape,
        )

    def __getitem__(self, index: Index) -> Any:
        """Part of the batch, by basic indexing of its dims: ints, slices, ``...`` and None."""
        if any(isinstance(x, (Distribution, fd.Distribution)) for x in self._others.values()):
            raise NotImplementedError(f"a {type(self).__name__} that holds distributions cannot be indexed")
        entries = parse_index(index)
        return self._over(
            self._get_checked_instance(Wrapped),
            lambda tensor, tail: tensor[(*entries, *(slice(None),) * len(tail))],
            torch.empty(()).expand(self._batch_shape)[entries].shape,
        )

    def _over(self, new: Any, change: Callable[[Tensor, torch.Size], Tensor], batch_shape: Any) -> Any:
        """The same over changed tensors; their last dims, `tail`, are the parameter's own."""
        for name in self._names:
            tensor: Tensor = self.__dict__[name]
            cut = tensor.ndim - self._wrapped._core_ndim[name]
            new.__dict__[name] = changed = change(tensor, tensor.shape[cut:])
            batch_shape = changed.shape[: changed.ndim - (tensor.ndim - cut)]  # without the -1 of expand
        new._others, new._names = self._others, self._names
        new._set_shapes(torch.Size(batch_shape), self._event_shape, self.__dict__.get("_validate_args"))
        return new

    def __reduce_ex__(self, protocol: Any) -> Any:
        if type(self) is not wrap(self._wrapped):  # a subclass has a name to be found under
            return super().__reduce_ex__(protocol)
        return _new, (self._wrapped,), self.__dict__

    # ---- draws -------------------------------------------------------------------------

    def _draw(
        self,
        sample_shape: SampleShape,
        generator: torch.Generator | None,
        rng: RNGLike,
        *,
        reparameterised: bool,
    ) -> Tensor:
        core, shape = self._core(), tuple(torch.Size(sample_shape))
        if not reparameterised:
            noise: Any = _draws.noise(generator, rng)[0]
            return torch.from_numpy(core.sample(shape, rng=noise))
        tensors = self._tensors()
        if core.has_rsample:  # otherwise fastdist says so
            if needs_gradients(*tensors.values()):
                rule_of(type(core), "rsample")  # what is missing is said before the generator moves
            return _called(tensors, core.rsample, shape, rng=_draws.noise(generator, rng)[0])
        return torch.from_numpy(core.rsample(shape))

    # ---- densities ---------------------------------------------------------------------

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the probability density at `value`."""
        if self._validate_args:
            self._validate_sample(value)
        return self._of_value("log_prob", value)

    def _of_value(self, method: str, value: Tensor) -> Tensor:
        """What a method of the core makes of a value."""
        core = self._core()
        if isinstance(value, Tensor) and not value.is_floating_point():
            value = value.to(torch.float32 if core.dtype == "float32" else torch.float64)
        return _called({**self._tensors(), "value": value}, getattr(core, method), _as_array("value", value))

    def entropy(self) -> Tensor:
        """Differential entropy in nats; shape `batch_shape`."""
        return _called(self._tensors(), self._core().entropy)

    # ---- what fastdist's has -----------------------------------------------------------

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """True if draws are differentiable."""
        return bool(self._core().has_rsample)

    @property
    def support(self) -> Any:
        """The set of events."""
        return _as_torch(self._core().support)

    @property
    def mean(self) -> Tensor:
        """Mean, a constant to autograd, as all moments."""
        return _copied(self._core().mean)

    @property
    def mode(self) -> Tensor:
        """Point of the highest density."""
        return _copied(self._core().mode)

    @property
    def variance(self) -> Tensor:
        """Variance of each element."""
        return _copied(self._core().variance)

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of each element."""
        return _copied(self._core().stddev)


@register_kl(Wrapped, Wrapped)
@register_kl(Wrapped, Adapter)
@register_kl(Adapter, Wrapped)
def _kl_wrapped(p: Any, q: Any) -> Tensor:
    (of_p, core_p), (of_q, core_q) = _parts(p), _parts(q)
    return _called(flat({"p": of_p, "q": of_q}), fd.kl_divergence, core_p, core_q)


# ---- classes --------------------------------------------------------------------------------------

_classes: dict[type, type] = {
    fd.Bernoulli: Bernoulli,
    fd.Categorical: Categorical,
    fd.HalfNormal: HalfNormal,
    fd.Independent: Independent,
    fd.LogNormal: LogNormal,
    fd.LowRankMultivariateNormal: LowRankMultivariateNormal,
    fd.MixtureSameFamily: MixtureSameFamily,
    fd.MultivariateNormal: MultivariateNormal,
    fd.Normal: Normal,
    fd.OneHotCategorical: OneHotCategorical,
    fd.TransformedDistribution: TransformedDistribution,
}


def _new_class(cls: type[fd.Distribution]) -> type[Any]:
    attributes: dict[str, Any] = {
        "_wrapped": cls,
        "_takes_validate_args": takes_validate_args(cls),
        "arg_constraints": {name: _as_torch(set_) for name, set_ in cls.arg_constraints.items()},
        "__doc__": f"`{cls.__name__}` as a distribution of torch's; see `fastdist.torch.wrap`.",
        "__module__": __name__,
    }
    attributes |= {name: _method(name) for name in CDFS if hasattr(cls, name)}
    # What the class does not know its instances do.
    if isinstance(cls.has_rsample, bool):
        attributes["has_rsample"] = cls.has_rsample
    if isinstance(cls.support, Constraint):
        attributes["support"] = _as_torch(cls.support)
    return type(cls.__name__, (Wrapped,), attributes)


def _method(name: str) -> Callable[[Wrapped, Tensor], Tensor]:
    def method(self: Wrapped, value: Tensor) -> Tensor:
        return self._of_value(name, value)

    method.__name__, method.__doc__ = name, f"See `fastdist.Normal.{name}`."
    return method


def _new(cls: type[fd.Distribution]) -> Any:
    """For pickle: an empty one, as its class cannot be found under a name."""
    made: Any = wrap(cls)
    return made.__new__(made)


class _Constraint(constraints.Constraint):
    """One of fastdist's that torch has none for."""

    def __init__(self, constraint: Constraint) -> None:
        self.constraint = constraint
        self.event_dim = constraint.event_dim
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """True where an event is in the set."""
        return torch.from_numpy(self.constraint.check(_as_array("value", value)))

    def __repr__(self) -> str:
        return repr(self.constraint)


_OF_TORCH = {
    getattr(fd.constraints, name): getattr(constraints, name)
    for name in ("real", "positive", "real_vector", "lower_cholesky", "positive_definite")
}


def _as_torch(constraint: Constraint) -> Any:
    """The same set among torch's constraints."""
    if isinstance(constraint, _Independent):
        return constraints.independent(_as_torch(constraint.base), constraint.ndims)
    return _OF_TORCH.get(constraint) or _Constraint(constraint)


# ---- tensors and arrays ----------------------------------------------------------------------------


def _as_tensors(given: dict[str, Any]) -> dict[str, Tensor]:
    """Tensors as they are, numbers as torch takes them: of the first tensor's dtype, or the default."""
    dtypes = [x.dtype for x in given.values() if isinstance(x, Tensor)] or [torch.get_default_dtype()]
    made = {
        name: torch.tensor(x, dtype=dtypes[0])
        if isinstance(x, (int, float)) and not isinstance(x, bool)
        else x
        for name, x in given.items()
    }
    for name, tensor in made.items():
        _as_array(name, tensor)
    return made


def _as_array(name: str, tensor: Any) -> Real:
    """A tensor's memory."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor or a number, got {type(tensor).__name__}")
    if in_transform() or torch._C._functorch.is_legacy_batchedtensor(tensor):
        raise NotImplementedError(
            "what fastdist.torch.wrap makes is not made of torch's operations: it knows neither vmap, jvp, "
            "tracing nor torch.compile"
        )
    if not all_plain((tensor,)):
        raise TypeError(
            f"{name} must be a plain tensor of float32 or float64 on the CPU, got {type(tensor).__name__} of "
            f"{tensor.dtype} on {tensor.device}"
        )
    return as_array(tensor)


def _copied(moment: Real) -> Tensor:
    return torch.from_numpy(moment.copy())


def _parts(d: Distribution) -> tuple[dict[str, Tensor], fd.Distribution]:
    """The tensors by the names of their gradients, and a distribution of fastdist's over copies of them."""
    if isinstance(d, Wrapped):
        return d._tensors(), d._core()
    tensors = d._tensors() if isinstance(d, Adapter) else None
    if not isinstance(d, Adapter) or tensors is None:
        raise NotImplementedError(f"{d!r} is not one that fastdist has a distribution for")
    for name, tensor in zip(d._names(), tensors, strict=True):
        _as_array(name, tensor)
    return dict(zip(d._names(), tensors, strict=True)), d._own_core()


# ---- calls -----------------------------------------------------------------------------------------


def _called(tensors: dict[str, Tensor], method: Callable[..., Real], /, *args: Any, **kwargs: Any) -> Tensor:
    """What a method of fastdist's returns, as a function of the tensors that are behind it."""
    if not needs_gradients(*tensors.values()):
        return torch.from_numpy(method(*args, **kwargs))
    value, pullback = fd.vjp(method, *args, **kwargs)
    names = tuple(tensors)

    def gradients(g: Real) -> list[Real | None]:
        found = flat(pullback(g))
        missing = [name for name, x in tensors.items() if x.requires_grad and name not in found]
        if missing:
            raise ValueError(f"the rule for {method.__name__} has no gradient by {', '.join(missing)}")
        return [found.get(name) for name in names]

    result: Tensor = _Call.apply((torch.from_numpy(value),), gradients, *tensors.values())
    return result


class _Call(torch.autograd.Function):
    """The value of a call."""

    @staticmethod
    def forward(ctx: Any, value: tuple[Tensor], gradients: Callable[[Real], Any], *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        ctx.gradients = gradients
        ctx.dtypes = [t.dtype for t in tensors]
        return value[0]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        # Only a graph needs the tensors, of which fastdist has copies; they may have changed in place.
        tensors = ctx.saved_tensors if torch.is_grad_enabled() else ()
        return None, None, *_Gradients.apply(ctx.gradients, ctx.dtypes, ctx.needs_input_grad[2:], g, *tensors)


class _Gradients(torch.autograd.Function):
    """The gradients by the tensors, as functions of these and of the cotangent that have no derivatives."""

    @staticmethod
    def forward(
        ctx: Any,
        gradients: Callable[[Real], Any],
        dtypes: list[torch.dtype],
        needs: tuple[bool, ...],
        g: Tensor,
        *tensors: Tensor,
    ) -> Any:
        found = zip(gradients(_as_array("cotangent", g)), dtypes, needs, strict=True)
        return tuple(torch.from_numpy(x).to(dtype) if need else None for x, dtype, need in found)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> NoReturn:
        raise NotImplementedError(
            "fastdist.torch.wrap has first derivatives only, not derivatives of gradients"
        )
