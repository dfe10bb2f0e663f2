# cython: cdivision=True, annotation_typing=False
# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""What calls of Normal go by, alone or as events of Independent: plans, divergences, and their pullbacks.

Compiled, as policies and encoders build a distribution for each step: Python would take longer over a plan
than its kernel over a thousand elements.

    draw_plan, density_plan, scored_plan    methods of Normal
    per_event, logarithms                   and what densities and entropies have of its scales
    kl_of_normals                           a divergence, over events or not
    pull_*                                  rules of gradients, see rules.py
"""

cimport numpy as np

from fastdist._kernels.program cimport Kernel, event_sums, plan_of
from fastdist._kernels.pullbacks cimport (
    draw_and_kl_diag,
    draw_diag,
    expanded,
    kl_diag,
    new,
    scaled_diag,
    standardized_diag,
)
from fastdist._params cimport pack
from fastdist.distributions.distribution cimport Base

import numpy as np

from fastdist import _params
from fastdist._kernels.program import KERNELS, elementwise, sum_events
from fastdist.distributions import _gaussian
from fastdist.distributions._gaussian import log
from fastdist.distributions.covariance import Diagonal

np.import_array()

cdef Kernel COLORIZE = Diagonal.colorize
cdef Kernel LOG_PROB = KERNELS["normal_log_prob"]
cdef Kernel LOG_PROB_EVENTS = KERNELS["normal_log_prob_events"]
cdef Kernel SUM_LOGS = KERNELS["sum_logs"]
cdef Kernel NORMAL_KL = KERNELS["normal_kl"]
cdef Kernel NORMAL_KL_EVENTS = KERNELS["normal_kl_events"]

cdef object float64 = _params.FLOAT64
cdef double half_log_2pi = _gaussian.HALF_LOG_2PI

# More logarithms of scales than these, 8 MB, are not kept but made for each density, which then takes
# 1.6 times as long.
KEPT = 2**20


cdef np.ndarray array_in(Base d, object dtype, str name):
    """An array of scalars in a dtype to compute in."""
    array = d._arrays[name]
    return array if dtype is d._dtype else pack(array, dtype)


# ---- draws and densities ---------------------------------------------------------------------------


def draw_plan(Base d not None):
    return plan_of(COLORIZE, (d._arrays["loc"], d._arrays["scale"]), 0)


def density_plan(Base d not None, int event_ndim, dtype):
    arrays = array_in(d, dtype, "loc"), array_in(d, dtype, "scale")
    if event_ndim:
        return plan_of(LOG_PROB_EVENTS, (*arrays, per_event(d, event_ndim, dtype, half_log_2pi)), event_ndim)
    if np.PyArray_SIZE(<np.ndarray>d._arrays["scale"]) > KEPT:
        return None
    return plan_of(LOG_PROB, (*arrays, logarithms(d, dtype)), 0)


def scored_plan(Base d not None, int event_ndim):
    # Log densities are those of the noise, less log_scale.
    plan, dtype = d._plan_of_draws(), d._dtype
    if plan is None:
        return None
    return plan.first(
        LOG_PROB_EVENTS, *_gaussian.STANDARD[dtype.char], per_event(d, event_ndim, dtype, half_log_2pi))


def logarithms(Base d not None, dtype):
    """Logarithms of the scales, made in `dtype`."""
    scale = d._arrays["scale"]
    if dtype is d._dtype and np.PyArray_SIZE(<np.ndarray>scale) <= KEPT:
        return d._kept("_log_scale", lambda: log(scale))
    return log(array_in(d, dtype, "scale"))


def per_event(Base d not None, int event_ndim, dtype, double constant):
    """Sums over events of logarithms of scales, made in `dtype`, and of a constant."""
    if event_ndim == 0:
        return sum_events(logarithms(d, dtype), (), constant)
    return event_sums(
        SUM_LOGS, d._batch_shape[len(d._batch_shape) - event_ndim:], (array_in(d, dtype, "scale"),), constant)


# ---- divergences -----------------------------------------------------------------------------------


cdef tuple arrays_of_both(Base p, Base q):
    """Loc and scale of p and of q, in the dtype of their divergence."""
    dtype = p._dtype if p._dtype is q._dtype else float64
    return (array_in(p, dtype, "loc"), array_in(p, dtype, "scale"),
            array_in(q, dtype, "loc"), array_in(q, dtype, "scale"))


def kl_of_normals(Base p not None, Base q not None, tuple tail=()):
    """The divergence of Normals, summed over the last dims, `tail`; unbroadcast."""
    if tail:
        return event_sums(NORMAL_KL_EVENTS, tail, arrays_of_both(p, q), 0)
    return elementwise(NORMAL_KL, *arrays_of_both(p, q))


# ---- gradients -------------------------------------------------------------------------------------


cdef tuple shape_of_parameter(Base d, str name):
    shape = d._shapes.get(name)
    return shape if shape is not None else np.shape(d._arrays[name])


cdef tuple shapes_of_both(Base p, Base q):
    return (shape_of_parameter(p, "loc"), shape_of_parameter(p, "scale"),
            shape_of_parameter(q, "loc"), shape_of_parameter(q, "scale"))


cdef dict in_dtype(object dtype, np.ndarray by_loc, np.ndarray by_scale):
    """Gradients by a Normal's parameters, in its dtype."""
    return {"loc": pack(by_loc, dtype), "scale": pack(by_scale, dtype)}


def pull_draw(Base d not None, replay):
    cdef tuple of_loc = shape_of_parameter(d, "loc"), of_scale = shape_of_parameter(d, "scale")

    def pull(g, _):
        by_loc, by_scale = new(g, of_loc), new(g, of_scale)
        draw_diag(replay(), by_loc, by_scale, g)
        return {"loc": by_loc, "scale": by_scale}

    return pull


cdef object pull_of_value(Base d, str name, value, Kernel score, bint inverse):
    """Of what a `score` differentiates by a value, whose argument is called `name`, and by loc and scale."""
    array, value_shape, dtype = _params.values(value, d._dtype, d._event_shape, name)
    array = array.copy()
    loc, scale, own = array_in(d, dtype, "loc"), array_in(d, dtype, "scale"), d._dtype
    of_loc, of_scale = shape_of_parameter(d, "loc"), shape_of_parameter(d, "scale")

    def pull(g, _):
        by_value, by_loc, by_scale = new(g, value_shape), new(g, of_loc), new(g, of_scale)
        if inverse:
            scaled_diag(score, by_value, by_loc, by_scale, g, array, scale)
        else:
            standardized_diag(score, by_value, by_loc, by_scale, g, array, loc, scale)
        gradients = in_dtype(own, by_loc, by_scale)
        gradients[name] = by_value
        return gradients

    return pull


def pull_standardized(Base d not None, str name, value, Kernel score not None):
    """Of what depends on ``(value - loc) / scale``."""
    return pull_of_value(d, name, value, score, False)


def pull_scaled(Base d not None, str name, value, Kernel score not None):
    """Of ``loc + scale * f(value)``."""
    return pull_of_value(d, name, value, score, True)


def pull_kl(Base p not None, Base q not None):
    loc_p, scale_p, loc_q, scale_q = arrays_of_both(p, q)
    cdef tuple shapes = shapes_of_both(p, q)
    of_p, of_q = p._dtype, q._dtype

    def pull(g, _):
        a, b, c, d = new(g, shapes[0]), new(g, shapes[1]), new(g, shapes[2]), new(g, shapes[3])
        kl_diag(a, b, c, d, g, loc_p, scale_p, loc_q, scale_q)
        return in_dtype(of_p, a, b), in_dtype(of_q, c, d)

    return pull


def pull_draw_and_kl(Base p not None, Base q not None, tuple tail not None, replay, otherwise):
    """Of a draw of p, or of events of such, and of its divergence from q, both of one dtype, in one pass.

    Where there are more samples, or priors, the gradients are those of ``otherwise()``.
    """
    loc_p, scale_p, loc_q, scale_q = arrays_of_both(p, q)
    cdef tuple shapes = shapes_of_both(p, q)

    def pull(g, value):
        of_draw, of_kl = g[0], expanded(g[1], tail)
        if np.shape(of_kl) != np.shape(of_draw):
            return otherwise()(g, value)
        a, b = new(of_kl, shapes[0]), new(of_kl, shapes[1])
        c, d = new(of_kl, shapes[2]), new(of_kl, shapes[3])
        draw_and_kl_diag(replay(), a, b, c, d, of_draw, of_kl, loc_p, scale_p, loc_q, scale_q)
        return {"loc": a, "scale": b, "prior": {"loc": c, "scale": d}}

    return pull
