# cython: annotation_typing=False
# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""The registries behind `kl_divergence` and `vjp`, and what these do once they have found a rule.

    divergence_of, pair_of      what is registered for the types of two distributions
    Rule                        a rule of gradients; rule_of and rule_of_kl find those that are registered
    with_pullback               the value of a method, or of a divergence, and its Pullback
    Pullback                    what the user gets: from cotangents to gradients

Compiled, as in a training step these take longer than small draws and densities.
"""

cimport cython
cimport numpy as np

from fastdist._kernels.sources cimport Noise, RecordingNoise
from fastdist._params cimport pack
from fastdist.distributions.distribution cimport Base
from fastdist.random._block_sfc64 cimport own_noise

import importlib
from collections.abc import Mapping

import numpy as np

from fastdist import _params
from fastdist.distributions import distribution
from fastdist.distributions.distribution import keeps
from fastdist.random import as_noise

np.import_array()


@cython.final
cdef class Rule:
    """A rule of gradients; the package's own have no use for the value, but of what a distribution holds.

    Parameters
    ----------
    rule : callable
        Of a distribution and the method's arguments; returns `pull(g, value)`.
    sees_value : bool or callable
        True if that has a use for the value; or a function of the distribution that tells.
    """

    cdef readonly object rule, sees_value

    def __init__(self, rule, sees_value):
        self.rule = rule
        self.sees_value = sees_value


# What a subclass may override of a method: then it needs a rule of its own.
PARTS = {
    "rsample": distribution.DRAW,
    "sample_and_log_prob": (*distribution.LAW, "sample_and_log_prob", "_draw_scored"),
    "log_prob": distribution.DENSITY,
    "entropy": ("entropy", "event_entropy", "_entropy"),
    **{
        name: (name, "_cdf")
        for name in (
            "cdf",
            "icdf",
            "log_cdf",
            "survival_function",
            "log_survival_function",
            "isf",
            "log_icdf",
        )
    },
    **{name: (name, f"_{name}") for name in ("colorize", "whiten", "mahalanobis")},
}

# By the types that they were registered for: divergences, rules for them together with the divergence that
# each is of, and rules by method and type.
DIVERGENCES = {}
RULES_OF_KL = {}
RULES = {}

# What has been found for other types. After a change there are other dicts: a thread that has searched
# without it adds what it has found to the ones before. As Python's globals they are safe to read meanwhile.
pairs = {}
found = {}


def forget():
    """After a change to what is registered."""
    global pairs, found
    pairs, found = {}, {}


# ---- divergences -----------------------------------------------------------------------------------


def read_in():
    """See that the package's own are registered, whose module imports every distribution."""
    importlib.import_module("fastdist.distributions.divergences")


cpdef tuple pair_of(p, q):
    """The types that the rule for p and q is registered for."""
    cdef tuple types = (type(p), type(q))
    cdef dict known = pairs
    pair = known.get(types)
    if pair is not None:
        return pair
    read_in()
    for cls_p in types[0].__mro__:
        for cls_q in types[1].__mro__:
            if (cls_p, cls_q) not in DIVERGENCES:
                continue
            if keeps(types[0], cls_p, distribution.LAW) and keeps(types[1], cls_q, distribution.LAW):
                return known.setdefault(types, (cls_p, cls_q))
    raise NotImplementedError(
        f"no KL divergence is registered for {types[0].__name__} and {types[1].__name__}; see register_kl")


cpdef object divergence_of(p, q):
    """What is registered for the types of p and q."""
    return DIVERGENCES[pair_of(p, q)]


def rule_of_kl(p, q):
    """The rule for a divergence, if it is that divergence's."""
    pair = pair_of(p, q)
    divergence, rule = RULES_OF_KL.get(pair, (None, None))
    if rule is None or divergence is not DIVERGENCES[pair]:
        names = " and ".join([cls.__name__ for cls in pair])
        raise NotImplementedError(
            f"no gradient rule is registered for kl_divergence of {names}; see register_vjp")
    return rule


# ---- rules of gradients ----------------------------------------------------------------------------


def rule_of(cls, str name not None):
    """The rule for a method, of the nearest class that has one and from which `cls` has the method."""
    cdef dict known = found
    rule = known.get((cls, name))
    if rule is not None:
        return rule
    for base in cls.__mro__:
        if (name, base) in RULES and keeps(cls, base, PARTS.get(name, (name,))):
            return known.setdefault((cls, name), RULES[name, base])
    hint = "differentiate rsample instead" if name == "sample" else "see register_vjp"
    raise NotImplementedError(f"no gradient rule is registered for {cls.__name__}.{name}; {hint}")


def sees_value(d, str name not None):
    """True if the rule for a distribution's method has a use for the value."""
    return sees_value_of(d, rule_of(type(d), name))


def sees_value_of(d, Rule rule not None):
    """True if a rule has a use for the value."""
    return rule.sees_value if isinstance(rule.sees_value, bool) else rule.sees_value(d)


# ---- values with their pullbacks -------------------------------------------------------------------


def with_pullback(Rule rule not None, Base d not None, method, str name not None, tuple args, dict kwargs):
    """The value of a method of d, of a name, and its pullback."""
    cdef RecordingNoise noise
    cdef Noise drawn_from
    if name == "rsample" or name == "sample_and_log_prob" or name == "rsample_and_kl":
        rng = kwargs.pop("rng", None)
        drawn_from = own_noise(rng)
        noise = RecordingNoise(as_noise(rng) if drawn_from is None else drawn_from)
        kwargs["rng"] = noise
        if name != "rsample_and_kl":
            pull = rule.rule(d, noise.replay)
        elif args or "prior" in kwargs:
            pull = rule.rule(d, noise.replay, args[0] if args else kwargs["prior"])
        else:
            raise TypeError("rsample_and_kl() takes a prior")
        value = method(*args, **kwargs)
    else:
        out = {"out": kwargs.pop("out")} if "out" in kwargs else {}
        pull = rule.rule(d, *args, **kwargs)
        value = method(*args, **kwargs, **out)
        if isinstance(value, Base):
            return value, PullbackOfDistribution(pull, value)
    if type(value) is tuple:
        return value, PullbackOfTwo(pull, value, sees_value_of(d, rule))
    return value, Pullback(pull, value, sees_value_of(d, rule))


def with_pullback_of_kl(Rule rule not None, p, q, value):
    """A divergence of two distributions, and its pullback."""
    return value, PullbackOfKL(rule.rule(p, q), value, bool(rule.sees_value))


cdef class Pullback:
    """From a cotangent of a method's value, which may change from now on, to gradients.

    Parameters
    ----------
    pull : callable
        Of a cotangent in the value's full shape, and of the value.
    value : numpy.ndarray
        What the method has returned.
    sees : bool
        True if `pull` has a use for the value.
    """

    cdef object pull, record, dtype
    cdef tuple shape

    def __init__(self, pull, value, bint sees):
        self.pull = pull
        self.shape, self.dtype = value.shape, value.dtype
        self.record = value.copy() if sees else value

    def __call__(self, cotangent):
        return self.pull(like(cotangent, self.shape, self.dtype), self.record)


@cython.final
cdef class PullbackOfKL(Pullback):
    """The same of a divergence: a dict for each of the two."""

    def __call__(self, cotangent):
        by_p, by_q = self.pull(like(cotangent, self.shape, self.dtype), self.record)
        return {"p": by_p, "q": by_q}


@cython.final
cdef class PullbackOfTwo:
    """The same of a draw and something else: `pull` takes a pair of cotangents."""

    cdef object pull
    cdef tuple record, shapes, dtypes

    def __init__(self, pull, tuple value not None, bint sees):
        first, second = value
        self.pull = pull
        self.shapes = first.shape, second.shape
        self.dtypes = first.dtype, second.dtype
        self.record = (first.copy(), second.copy()) if sees else value

    def __call__(self, cotangents):
        if not isinstance(cotangents, (tuple, list)) or len(cotangents) != 2:
            raise TypeError("cotangents must be a pair: for the draw, and for what comes with it")
        first, second = cotangents
        return self.pull(
            (like(0 if first is None else first, self.shapes[0], self.dtypes[0]),
             like(0 if second is None else second, self.shapes[1], self.dtypes[1])),
            self.record)


@cython.final
cdef class PullbackOfDistribution:
    """The same of a method that returns a distribution: from gradients by that one's parameters."""

    cdef object pull
    cdef Base made

    def __init__(self, pull, Base made not None):
        self.pull = pull
        self.made = made

    def __call__(self, cotangents):
        made = self.made
        names = made._named()
        if not isinstance(cotangents, Mapping):
            raise TypeError(
                f"the cotangent of a {type(made).__name__} is a dict of gradients by {' and '.join(names)}, "
                f"got {type(cotangents).__name__}"
            )
        unknown = [name for name in cotangents if name not in (*names, "value")]
        if unknown:
            raise ValueError(f"{type(made).__name__} has {' and '.join(names)}, no {unknown[0]!r}")
        g = {
            name: np.ascontiguousarray(
                like(cotangents.get(name, 0), made._parameter_shape(name), made._dtype))
            for name in names
        }
        return self.pull(g, made)


cdef np.ndarray like(object cotangent, tuple shape, object dtype):
    """A cotangent as the rules take it: packed, in the value's shape, with strides of 0 where it repeats."""
    cdef np.ndarray array
    if type(cotangent) is np.ndarray and np.PyArray_ISCARRAY_RO(<np.ndarray>cotangent):
        array = cotangent
        if array.dtype is dtype and np.shape(array) == shape:
            return array  # as it nearly always is
    array = _params.as_array("cotangent", cotangent)
    try:
        array = np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"cotangent {np.shape(array)} does not broadcast to the value's shape {shape}") from None
    packed = pack(array, dtype)
    return packed if np.shape(packed) == shape else np.broadcast_to(packed, shape)
