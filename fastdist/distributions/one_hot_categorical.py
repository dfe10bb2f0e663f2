"""OneHotCategorical: the outcomes of a Categorical as unit vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np

from fastdist._kernels.program import KERNELS, apply
from fastdist._kernels.sources import Noise
from fastdist._shapes import Shape
from fastdist._typing import ArrayLike, NDArray, Real
from fastdist.distributions import constraints
from fastdist.distributions.categorical import LOG_PROB, Categorical
from fastdist.distributions.constraints import Constraint
from fastdist.distributions.distribution import LAW, Distribution, keeps
from fastdist.distributions.rules import Gradients, Pull, own_vjp, recorded, rule_of
from fastdist.distributions.wrapper import Wrapper

INDEX = KERNELS["one_hot_index"]
# Outcomes that are drawn at a time, an eighth of what a method may take besides its result.
SOME = 2**17


class OneHotCategorical(Wrapper):
    r"""Categorical distribution over unit vectors: of K elements one is 1, the others are 0.

    .. math:: P(x) = \prod_k p_k^{x_k}

    Parameters
    ----------
    probs, logits, mask, validate_args
        As for `Categorical`. All dims of the parameters but the last broadcast to ``batch_shape``;
        ``event_shape`` is ``(K,)``.

    Notes
    -----
    Draws are int64; each is `Categorical`'s draw of the same uniform. A value that is no unit vector has the
    log probability -inf.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> d = fd.OneHotCategorical(np.ones((3, 4)))
    >>> d.batch_shape, d.event_shape
    ((3,), (4,))
    >>> x = d.sample(rng=0)
    >>> x.sum(-1)
    array([1, 1, 1])
    >>> bool(np.allclose(d.log_prob(x), np.log(0.25)))
    True
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = Categorical.arg_constraints
    _core_ndim: ClassVar[dict[str, int]] = {}
    _discrete = True
    _alternatives = Categorical._alternatives
    _held: Mapping[str, int] = MappingProxyType({"_categorical": 0})
    _categorical: Categorical

    def __init__(
        self,
        probs: ArrayLike | None = None,
        logits: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._hold(Categorical(probs, logits, mask=mask, validate_args=validate_args), validate_args)

    @classmethod
    def _borrowing(cls, validate_args: bool | None, **given: ArrayLike) -> Self:
        """Over memory that others may change."""
        new = cls.__new__(cls)
        new._hold(Categorical._borrowing(validate_args, **given), validate_args)
        return new

    def _hold(self, held: Categorical, validate_args: bool | None) -> None:
        """Be of the outcomes of that."""
        super().__init__(held._batch_shape, (held.num_events,), held._dtype, validate_args=validate_args)
        self._categorical, self._lent = held, held._lent

    @property
    def probs(self) -> Real:
        """Probabilities, which sum to 1; shape ``batch_shape + (K,)``, read-only."""
        return self._categorical.probs

    @property
    def logits(self) -> Real:
        """Logarithms of `probs`; shape ``batch_shape + (K,)``, read-only."""
        return self._categorical.logits

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """Which outcomes are allowed, or None; shape ``batch_shape + (K,)``."""
        return self._categorical.mask

    @property
    def param_shape(self) -> Shape:
        """``batch_shape + (K,)``."""
        return self._categorical.param_shape

    @property
    def support(self) -> Constraint:
        """Unit vectors."""
        return constraints.one_hot

    def enumerate_support(self, expand: bool = True) -> NDArray[np.int64]:
        """All unit vectors, along a new first dim.

        Parameters
        ----------
        expand : bool, optional
            Whether to repeat them for the batch: shape ``(K, *batch_shape, K)``, read-only. Otherwise all
            batch dims are 1.
        """
        (n,) = self._event_shape
        vectors = np.eye(n, dtype=np.int64).reshape(n, *(1,) * len(self._batch_shape), n)
        return np.broadcast_to(vectors, (n, *self._batch_shape, n)) if expand else vectors

    mean = probs

    @property
    def variance(self) -> Real:
        """Product p (1 - p) of each element; shape ``batch_shape + (K,)``, read-only."""
        p = self.probs
        variance = np.asarray(p * (1 - p))
        variance.flags.writeable = False
        return variance

    @property
    def mode(self) -> Real:
        """The first of the most probable unit vectors, int64; shape ``batch_shape + (K,)``, read-only."""
        mode: Any = np.zeros(self.param_shape, np.int64)
        np.put_along_axis(mode, self._categorical.mode.astype(np.int64)[..., None], 1, -1)
        mode.flags.writeable = False
        return np.asarray(mode)

    # ---- draws and densities -------------------------------------------------------------

    def _noise_per_event(self) -> tuple[int, int] | None:
        return (1, 0) if keeps(type(self), OneHotCategorical, LAW) else super()._noise_per_event()

    def _draw(self, noise: Noise, out: Real, workers: int) -> None:
        n_event = math.prod(out.shape[:-1])
        rows = out.reshape(n_event, *self._event_shape)
        rows[...] = 0
        n_batch = max(math.prod(self._batch_shape), 1)
        some = max(SOME // n_batch, 1) * n_batch  # whole samples
        with noise.ahead(n_event) as reader:
            for first in range(0, n_event, some):
                tile = rows[first : first + some]
                drawn: Any = np.empty((len(tile) // n_batch, *self._batch_shape), np.int64)
                self._categorical._draw(reader, drawn, workers)
                tile[np.arange(len(tile)), drawn.ravel()] = 1

    def _log_prob(self, value: Real, event_ndim: int, out: Real) -> None:
        rows = self._categorical._normalized(out.dtype)
        if event_ndim > 1:  # batch dims, too
            index = index_of(value)
            self._categorical._log_prob(index, event_ndim - 1, out)
            return
        apply(INDEX, out.shape, out, value)
        apply(LOG_PROB, out.shape, out, out, rows)

    def _entropy(self, event_ndim: int) -> Real:
        return self._categorical._entropy(event_ndim - 1)

    # ---- what it was built with ----------------------------------------------------------

    def _along(self) -> tuple[str, ...]:
        return ()

    def _owner(self, name: str) -> Distribution | None:
        return self._categorical._owner(name)

    def _named(self) -> tuple[str, ...]:
        return self._categorical._named()

    def _parameters(self) -> dict[str, Any]:
        return self._categorical._parameters()

    def __repr__(self) -> str:
        return repr(self._categorical).replace("Categorical", type(self).__name__, 1)


def index_of(value: Real) -> Real:
    """Which element of packed unit vectors is 1; -1 of other vectors."""
    index = np.empty(value.shape[:-1], value.dtype)
    apply(INDEX, index.shape, index, value)
    return index


# ---- gradients: the Categorical's -----------------------------------------------------------------


@own_vjp("log_prob", OneHotCategorical)
def _vjp_log_prob(d: OneHotCategorical, /, value: ArrayLike) -> Pull:
    array, value_shape, _ = recorded(value, d)
    pull_of_index = rule_of(Categorical, "log_prob").rule(d._categorical, index_of(array))

    def pull(g: Real, of_value: Real) -> Gradients:
        return {**pull_of_index(g, of_value), "value": np.zeros(value_shape, g.dtype)}

    return pull


@own_vjp("entropy", OneHotCategorical)
def _vjp_entropy(d: OneHotCategorical) -> Pull:
    pull: Pull = rule_of(Categorical, "entropy").rule(d._categorical)
    return pull
