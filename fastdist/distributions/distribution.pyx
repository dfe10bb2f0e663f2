# cython: cdivision=True, annotation_typing=False
# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Distribution: what every distribution has, and the way of each call from the user to a kernel and back.

    sample, rsample     shape, rng, out -> a draw's Plan, over noise     (_kernels/draws.pyx)
    sample_and_log_prob the same, with stages that make the density of the noise
    log_prob            value, out -> a density's Plan                   (_kernels/program.pyx)

A Plan is a kernel and the arrays of a distribution that it reads. A distribution has plans for what its
kernels do, in `_draw_plan` and `_density_plan`, and does the rest in hooks:

    _draw(noise, out, workers)             the noise's next draw of out.shape
    _draw_scored(noise, out, density, workers)     the same and its density; of a plan, `_scored_plan`
    _log_prob(value, event_ndim, out)      log density, summed over `event_ndim` trailing dims of value
    _entropy(event_ndim)                   entropy, likewise; unbroadcast

Of the two that of the more derived class counts. One written outside of this package has public hooks in
their place, `draw`, `log_density`, `event_entropy`, by which those of Base go: a class that has one gets
these back.

It keeps its arrays in `_arrays` (unbroadcast, see fastdist._params) and says in `_core_ndim` how many of each
one's trailing dims are its own; expand, indexing and the shapes of gradients follow from that.
"""

cimport cython
cimport numpy as np
from cpython.ref cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport intptr_t
from libc.string cimport memcpy

from fastdist._kernels cimport core
from fastdist._kernels.draws cimport draw
from fastdist._kernels.program cimport MAX_NDIM, MAX_OPERAND, Kernel, Plan, first_bad, point_to, run, run_plan
from fastdist._kernels.sources cimport Noise, stream_at
from fastdist._params cimport (
    broadcast,
    deliver,
    destination,
    has_shape,
    parameters,
    read_shape,
    read_value,
    shape_of,
    view,
)
from fastdist.distributions._indexing cimport parse_expanded, parse_index, part
from fastdist.random._block_sfc64 cimport own_noise

import copyreg
import importlib
import inspect
import math
from functools import cached_property
from types import MappingProxyType, MethodType
from typing import SupportsIndex

import numpy as np

from fastdist import _params, _shapes
from fastdist._kernels.program import KERNELS, sum_events
from fastdist._shapes import ShapeLike
from fastdist._typing import ArrayLike, Real
from fastdist.distributions import _foreign, _indexing, constraints
from fastdist.random import RNGLike, as_noise, parse_workers, set_workers, standard_normal

np.import_array()

cdef extern from *:
    """
    /* A new object of the class of another, past the constructor; no_args is (). */
    static PyObject *fd_new(PyObject *other, PyObject *no_args)
    {
        return Py_TYPE(other)->tp_new(Py_TYPE(other), no_args, NULL);
    }
    """
    object fd_new(object other, tuple no_args)

cdef object float32 = _params.FLOAT32
cdef object float64 = _params.FLOAT64

cdef dict NO_SHAPES = {}

# Functions of modules above this one, by name: these put them here.
ABOVE = {}


cdef object above(str name, str module):
    """One of these; its module is imported if that has not been asked for before."""
    if name not in ABOVE:
        importlib.import_module(f"fastdist.distributions.{module}")
    return ABOVE[name]


# Normals that a public hook gets at a time, half an L2 cache of them.
cdef enum:
    TILE = 32768
    CONVERTED = 262144  # numbers that are made into others at a time

# What draws and densities go through, from what the user calls to the kernel.
DRAW = ("sample", "rsample", "draw", "_draw", "_draw_plan")
DENSITY = ("log_prob", "log_density", "_log_prob", "_density_plan")
LAW = DRAW + DENSITY

# What follows from the law, and no longer does once a subclass has changed that.
CONSEQUENCES = (
    "entropy", "mean", "mode", "variance", "stddev", "cdf", "icdf", "log_cdf", "survival_function",
    "log_survival_function", "isf", "log_icdf", "colorize", "whiten", "mahalanobis", "marginal", "condition",
    "affine", "rank_update",
)


# ---- which class has what ------------------------------------------------------------------------


def keeps(cls, base, tuple names):
    """True if `cls` has all of these as `base` has them."""
    return all([getattr(cls, name, None) is getattr(base, name, None) for name in names])


cdef int depth(object cls, str name) except -1:
    """How far up its bases a class has an attribute from."""
    cdef int i = 0
    for base in cls.__mro__:
        if name in base.__dict__:
            return i
        i += 1
    return i


# What a holder goes past on its way to the hooks.
cdef tuple PASSED = ("sample", "rsample", "sample_and_log_prob", "log_prob", "entropy")

cdef dict CHECKS = {
    constraints.real: KERNELS["check_finite"],
    constraints.real_vector: KERNELS["check_finite"],
    constraints.positive: KERNELS["check_positive"],
    constraints.positive_vector: KERNELS["check_positive"],
    constraints.real_matrix: KERNELS["check_finite"],
}

cdef dict passing_classes = {}


cdef bint passes(object cls) except -1:
    """True if a class has the public methods as Distribution has them."""
    known = passing_classes.get(cls)
    if known is None:
        known = passing_classes[cls] = keeps(cls, Base, PASSED)
    return known


def _pair(out, str second="log density"):
    """What a method that returns two arrays got for `out`."""
    if out is None:
        return None, None
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise TypeError(f"out must be a pair, of a draw and of its {second}, got {type(out).__name__}")
    return out


cdef class Ways:
    """How calls of a class go, by a plan if no more derived class has a hook; what its parameters are."""

    def __init__(self, cls):
        self.cls = cls
        self.names = tuple(cls.arg_constraints)
        self.core_ndim = dict(cls._core_ndim)
        self.tall = cls._tall
        self.checks = {name: CHECKS.get(constraint) for name, constraint in cls.arg_constraints.items()}
        self.asks_to_pass = cls._passes is not Base._passes
        self.draw_by_plan = depth(cls, "_draw_plan") <= depth(cls, "_draw")
        self.density_by_plan = depth(cls, "_density_plan") <= depth(cls, "_log_prob")
        entropy = inspect.getattr_static(cls, "_entropy")
        self.kept_entropy = entropy if isinstance(entropy, Kept) else None
        # A draw and its density together go by what knows of both, or one after the other.
        law = min([depth(cls, name) for name in LAW])
        self.scored_by_hook = depth(cls, "_draw_scored") <= law
        self.scored_by_plan = depth(cls, "_scored_plan") <= min(law, depth(cls, "_draw_scored"))


cdef dict ways_of_class = {}


cdef Ways ways(Base d):
    if d.way is None or d.way.cls is not type(d):  # it may be given another class
        d.way = ways_of_class.get(type(d)) or ways_of_class.setdefault(type(d), Ways(type(d)))
    return d.way


# ---- from the user to the kernels ----------------------------------------------------------------


cdef int append(np.npy_intp *dims, int ndim, tuple shape) except -1:
    """More dims after the first `ndim`; how many there are then."""
    cdef int d, n = <int>PyTuple_GET_SIZE(shape)
    if ndim + n > MAX_NDIM:
        raise ValueError(f"there are at most {MAX_NDIM} dims, got {ndim + n}")
    for d in range(n):
        dims[ndim + d] = <object>PyTuple_GET_ITEM(shape, d)
    return ndim + n


cdef object sampled(Base d, object sample_shape, object rng, object out, object workers, bint rsample):
    cdef np.npy_intp dims[MAX_NDIM]
    cdef int n_lead = read_shape("sample_shape", sample_shape, dims)
    cdef int ndim = append(dims, n_lead, d._batch_shape)
    if PyTuple_GET_SIZE(d._event_shape):
        ndim = append(dims, ndim, d._event_shape)
    cdef Noise noise = own_noise(rng)
    if noise is None:
        noise = as_noise(rng)
    cdef int n_worker = 0 if workers is None else parse_workers(workers)
    cdef np.ndarray array = destination(out, typenum_of_draws(d), ndim, dims, None)
    fill(d, noise, array, n_lead, n_worker, rsample)
    return deliver(array, out)


cdef int check_rsample(Base d) except -1:
    if d.reparameterised < 0:
        d.reparameterised = bool(d.has_rsample)
    if not d.reparameterised:
        raise NotImplementedError(
            f"{type(d).__name__} has no reparameterised draws{d._for_want_of_rsample}")
    return 0


cdef int typenum_of_draws(Base d) except -1:
    if d.drawn < 0:
        d.drawn = np.NPY_INT64 if d._discrete else d.typenum
    return d.drawn


cdef int fill(
    Base d, Noise noise, np.ndarray array, int n_lead, int workers, bint rsample
) except -1:
    """The noise's next draw of an array's shape, `n_lead` of whose dims are samples; by `_draw` or a plan."""
    cdef Plan plan = plan_of_draw(d) if ways(d).draw_by_plan else None
    if plan is None:
        (d._rdraw if rsample else d._draw)(noise, array, workers or parse_workers(None))
        return 0
    return draw(noise, plan, array, d._batch_shape, d._event_shape, workers)


cdef Plan plan_of_draw(Base d):
    if d.draw_plan is False:
        plan = d._draw_plan()
        if d._lent and not of_parameters(plan, d):
            return plan
        with cython.critical_section(d):  # the first that is made stays: a thread may be about to read it
            if d.draw_plan is False:
                d.draw_plan = plan
    return d.draw_plan


cdef int keep_here(Base d, object key, object made) except -1:
    """Add to what is kept of a batch, in the only dict that it ever has."""
    with cython.critical_section(d):
        if d.made is None:
            d.made = {}
    d.made.setdefault(key, made)
    return 0


cdef Plan plan_of_scored(Base d, int event_ndim):
    cdef bint own = event_ndim == PyTuple_GET_SIZE(d._event_shape) and not d._lent
    if own and d.scored_plan is not False:
        return d.scored_plan
    plan = d._scored_plan(event_ndim)
    if own:
        with cython.critical_section(d):
            if d.scored_plan is False:
                d.scored_plan = plan
    return plan


cdef int fill_scored(
    Base d, Noise noise, np.ndarray x, np.ndarray density, int event_ndim, int workers
) except -1:
    """The noise's next draw of an array's shape and its log density, summed over the last dims."""
    cdef Plan plan = None
    if ways(d).scored_by_plan and np.PyArray_SIZE(x):
        plan = plan_of_scored(d, event_ndim)
    if plan is not None:
        return draw(noise, plan, x, d._batch_shape, d._event_shape, workers, density)
    workers = workers or parse_workers(None)
    if ways(d).scored_by_hook:
        d._draw_scored(noise, x, density, workers)
    else:
        Base._draw_scored(d, noise, x, density, workers)
    return 0


def draw_scored(
    Base d not None, Noise noise not None, np.ndarray out not None, np.ndarray density not None, int workers
):
    """`fill_scored` for those that hold a distribution, whose own public method goes before it."""
    if d._passes():
        fill_scored(d, noise, out, density, np.PyArray_NDIM(out) - np.PyArray_NDIM(density), workers)
        return
    shape = np.shape(density)[:np.PyArray_NDIM(density) - <int>len(d._batch_shape)]
    with set_workers(workers):
        d.sample_and_log_prob(shape, rng=noise, out=(out, density))


cdef bint of_parameters(Plan plan, Base d):
    """True if a plan holds no array that was made of others."""
    return plan is None or all([any([a is b for b in d._arrays.values()]) for a in plan.arrays])


cdef object scored(Base d, object value, object out):
    cdef np.npy_intp dims[MAX_NDIM]
    if out is None and type(value) is np.ndarray and converts(d, value):
        return scored_in_pieces(d, value)
    cdef int ndim, event_ndim = <int>PyTuple_GET_SIZE(d._event_shape)
    cdef np.ndarray array = read_value(value, d.typenum, d._event_shape, &ndim, dims)
    broadcast(&ndim, dims, d._batch_shape)
    cdef np.ndarray result = destination(out, np.PyArray_TYPE(array), ndim, dims, array)
    score(d, array, event_ndim, result)
    return deliver(result, out)


cdef bint converts(Base d, np.ndarray value):
    """True for many samples that are not as kernels take them."""
    cdef int own = <int>(PyTuple_GET_SIZE(d._batch_shape) + PyTuple_GET_SIZE(d._event_shape))
    return np.PyArray_SIZE(value) > CONVERTED and np.PyArray_NDIM(value) > own and not (
        np.PyArray_ISCARRAY_RO(value) and np.PyArray_TYPE(value) == d.typenum)


cdef object scored_in_pieces(Base d, np.ndarray value):
    """Some samples at a time, so that no more of them is converted at once."""
    cdef intptr_t n = np.PyArray_DIM(value, 0), some = max(CONVERTED * n // np.PyArray_SIZE(value), 1)
    first = scored(d, value[:1], None)
    result = np.empty((n, *first.shape[1:]), first.dtype)
    for begin in range(0, n, some):
        scored(d, value[begin : begin + some], result[begin : begin + some])
    return result


cdef int score(Base d, np.ndarray value, int event_ndim, np.ndarray out) except -1:
    """Log density, summed over `event_ndim` trailing dims of a value; by `_log_prob` or a plan."""
    cdef Plan plan = None
    if ways(d).density_by_plan:
        plan = plan_of_density(d, event_ndim, np.PyArray_TYPE(value))
    if plan is None:
        d._log_prob(value, event_ndim, out)
        return 0
    return score_by_plan(d, plan, value, event_ndim, out)


def score_value(Base d not None, np.ndarray value not None, int event_ndim, np.ndarray out not None):
    """`score` for those that hold a distribution which passes."""
    score(d, value, event_ndim, out)


cdef int score_by_plan(Base d, Plan plan, np.ndarray value, int event_ndim, np.ndarray out) except -1:
    cdef tuple batch_shape = d._batch_shape, event_shape = d._event_shape
    cdef int n = <int>PyTuple_GET_SIZE(batch_shape) - (event_ndim - <int>PyTuple_GET_SIZE(event_shape))
    if np.PyArray_SIZE(value) == 0:  # of events without elements, the constant alone
        if np.PyArray_SIZE(out):
            np.negative(plan.arrays[len(plan.arrays) - 1], out=out)
        return 0
    if n < PyTuple_GET_SIZE(batch_shape):
        batch_shape, event_shape = batch_shape[:n], batch_shape[n:] + event_shape
    return run_plan(plan, out, value, batch_shape, event_shape)


cdef Plan plan_of_density(Base d, int event_ndim, int typenum):
    cdef bint own = typenum == d.typenum and event_ndim == PyTuple_GET_SIZE(d._event_shape) and not d._lent
    if own and d.density_plan is not False:
        return d.density_plan
    plan = d._density_plan(event_ndim, float32 if typenum == np.NPY_FLOAT32 else float64)
    if own:
        with cython.critical_section(d):
            if d.density_plan is False:
                d.density_plan = plan
    return plan


cdef int typenum_of(object dtype) except -1:
    """That of float32 or float64; comparisons take longer than asking for the one that is always there."""
    if dtype is float64:
        return np.NPY_FLOAT64
    return np.NPY_FLOAT32 if dtype is float32 or dtype == float32 else np.NPY_FLOAT64


# ---- a wrapper that goes as its `_base` does, but for the dims of an event --------------------------


cdef bint passes_on(Base base) except -1:
    return base._passes() if ways(base).asks_to_pass else passes(type(base))


def base_draw_plan(d):
    cdef Base base = d._base
    return plan_of_draw(base) if passes_on(base) and ways(base).draw_by_plan else None


def base_density_plan(d, int event_ndim, dtype):
    cdef Base base = d._base
    if not (passes_on(base) and ways(base).density_by_plan):
        return None
    return plan_of_density(base, event_ndim, typenum_of(dtype))


def base_scored_plan(d, int event_ndim):
    cdef Base base = d._base
    return plan_of_scored(base, event_ndim) if passes_on(base) and ways(base).scored_by_plan else None


def reinterpret(Base d not None, Base base not None, int n, validate_args):
    """Let d have the last n batch dims of its base as event dims."""
    cdef int cut = <int>PyTuple_GET_SIZE(base._batch_shape) - n
    d._arrays = {}
    d._shapes = NO_SHAPES
    d._batch_shape = base._batch_shape[:cut]
    d._event_shape = base._batch_shape[cut:] + base._event_shape if n else base._event_shape
    d._dtype = base._dtype
    d.typenum = base.typenum
    d._lent = base._lent
    d._validate_args = validate_args is None or bool(validate_args)


# ---- the class -----------------------------------------------------------------------------------


cdef class Base:
    """What every distribution has, compiled: see `Distribution`."""

    arg_constraints = {}
    has_rsample = False
    normals_per_event = None
    _discrete = False  # draws are integers
    _for_want_of_rsample = ""  # how the error ends that says so
    _core_ndim = {}
    # Parameters of two dims of their own, (d, any number); of others these are square.
    _tall = frozenset()
    # Of these parameters one is given, the others follow from it.
    _alternatives = frozenset()
    _held = MappingProxyType({})  # attributes that are distributions: wrapper.py
    _cached = frozenset()  # attributes that are made again when they are asked for

    def __cinit__(self, *args, **kwargs):
        self.reparameterised = self.drawn = -1
        self.typenum = np.NPY_FLOAT64
        self.draw_plan = self.density_plan = self.scored_plan = False
        if kwargs:
            foreign = [name for name in kwargs if name in _foreign.KEYWORDS]
            if foreign:
                _foreign.check_keywords(type(self), foreign)

    def __init__(self, *args, validate_args=None, **kwargs):
        self._take(validate_args, _bound(type(self), args, kwargs))

    # ---- set-up --------------------------------------------------------------------------

    def _take(self, validate_args, dict given not None, passing=(), unchecked=(), matrix=None):
        """Take parameters over, given by name: packed, of one dtype, broadcast; their values are checked.

        A class copies what it names in `passing`, and checks what it names in `unchecked`. A large `matrix`
        gets memory for its factor beside it, which is returned, otherwise None.
        """
        cdef Ways way = ways(self)
        self._validate_args = validate_args is None or bool(validate_args)
        self._arrays, self._shapes, memory = parameters(way.core_ndim, passing, given, matrix)
        self.typenum = np.NPY_FLOAT64
        self.drawn = -1
        for array in self._arrays.values():
            self.typenum = np.PyArray_TYPE(<np.ndarray>array)
            break
        self._dtype = float32 if self.typenum == np.NPY_FLOAT32 else float64
        if self._shapes or not take_shapes(self, way):
            self._batch_shape, self._event_shape = _shapes_of(way, self._arrays, self._shapes)
        if self._validate_args:
            for name, array in self._arrays.items():
                if not unchecked or name not in unchecked:
                    _check(way, type(self), name, array, self._shapes)
        return memory

    @classmethod
    def _borrowing(cls, validate_args, **given):
        """A distribution over memory that others may change: no copy, and nothing made of values is kept."""
        cdef Base new = cls.__new__(cls)
        new._lent = True
        new._take(validate_args, given, passing=given)
        return new

    cdef int dtype_is(self, object dtype) except -1:
        self.typenum = typenum_of(dtype)
        self._dtype = float32 if self.typenum == np.NPY_FLOAT32 else float64
        self.drawn = -1
        return 0

    def _set_up(self, dict arrays, tuple batch_shape, tuple event_shape, dtype, validate_args):
        """Be of these arrays and shapes, unchecked."""
        self._arrays = arrays
        self._shapes = {}
        self._batch_shape = batch_shape
        self._event_shape = event_shape
        self.dtype_is(dtype)
        self._validate_args = validate_args is None or bool(validate_args)

    # ---- shapes ----------------------------------------------------------------------------

    @property
    def batch_shape(self):
        """Shape of the batch of distributions."""
        return self._batch_shape

    @property
    def event_shape(self):
        """Shape of one event."""
        return self._event_shape

    @property
    def dtype(self):
        """float32 or float64, of densities, and of draws unless they are of integers, which are int64."""
        return self._dtype

    @property
    def support(self):
        """The set of events."""
        raise _missing(type(self), "support", "support")

    def _parameter_shape(self, str name):
        """Shape that parameter `name` was given in, or has by itself in a part of a batch."""
        return self._shapes.get(name) or np.shape(self._arrays[name])

    # ---- arrays ----------------------------------------------------------------------------

    cdef np.ndarray shown(self, str name):
        return view(self._arrays[name], self._batch_shape, type(self)._core_ndim[name])

    def _view(self, str name):
        """Array `name` broadcast to the batch, read-only."""
        return self.shown(name)

    def _kept(self, str name, make):
        """Array `name`, made when it is first asked for and then kept, unless what it is of may change."""
        array = self._arrays.get(name)
        if array is None:
            array = make()
            if not self._lent:
                self._keep(name, array)
        return array

    def _kept_here(self, key, make):
        """The same of what depends on the shape of the batch, too, and does not go along into another one."""
        array = None if self.made is None else self.made.get(key)
        if array is None:
            array = make()
            if not self._lent:
                keep_here(self, key, array)
        return array

    def _keep(self, str name, array):
        """Add an array, unless another thread has."""
        self._arrays.setdefault(name, np.asarray(array))

    def _in(self, dtype, *names):
        """Arrays in a dtype to compute in."""
        if dtype is self._dtype:
            return tuple([self._arrays[name] for name in names])
        return tuple([_params.pack(self._arrays[name], dtype, type(self)._core_ndim[name]) for name in names])

    # ---- draws -----------------------------------------------------------------------------

    def sample(
        self,
        sample_shape: ShapeLike = (),
        *,
        rng: RNGLike = None,
        out: Real | None = None,
        workers: SupportsIndex | None = None,
    ) -> Real:
        """Draw samples.

        Parameters
        ----------
        sample_shape : int or iterable of int
            Leading dims of the result.
        rng : None, int, sequence of ints, SeedSequence, BitGenerator or Generator
            Where the noise comes from. Seeds start a new stream of BlockSFC64; a generator
            moves on; None uses this thread's own generator, seeded from the operating system.
        out : numpy.ndarray, optional
            Array of the result's shape and dtype to write to, and to return.
        workers : int, optional
            How many threads may share a large draw, -1 for all CPUs; see `set_workers`. It leaves
            the bits alone. Generators other than BlockSFC64 are sequential and use one.

        Returns
        -------
        numpy.ndarray
            Shape ``sample_shape + batch_shape + event_shape``; of the distribution's dtype, or int64 if it is
            discrete.

        Raises
        ------
        TypeError
            For an unusable `rng`, a shape entry that is no integer, an `out` of another dtype.
        ValueError
            For a negative shape entry, or an `out` of another shape or read-only. `out` is
            untouched and the generator has not moved.

        Notes
        -----
        As by NumPy, standard normals are scaled, then the mean is added: where the first leaves the
        range of the dtype, the draw is infinite, though the sum might be back in it.
        """
        return sampled(self, sample_shape, rng, out, workers, False)

    def rsample(
        self,
        sample_shape: ShapeLike = (),
        *,
        rng: RNGLike = None,
        out: Real | None = None,
        workers: SupportsIndex | None = None,
    ) -> Real:
        """Draw reparameterised samples: the same draw as `sample`'s, bit for bit, under the same rng.

        See `sample` for parameters, result and errors.

        Raises
        ------
        NotImplementedError
            If `has_rsample` is False.
        """
        check_rsample(self)
        return sampled(self, sample_shape, rng, out, workers, True)

    def draw(self, eps, out):
        """Write draws that are made of standard normals; for subclasses (see `Distribution`, Notes)."""
        raise _missing(type(self), "draws", "draw(eps, out)")

    def _rdraw(self, noise, out, int workers):
        """The same for `rsample`; a wrapper has another if what it holds has."""
        self._draw(noise, out, workers)

    def _noise_per_event(self):
        """How many uniforms and normals an event takes, or None if that is not known."""
        if self._plan_of_draws() is None:
            return None if self.normals_per_event is None else (0, self.normals_per_event)
        n = math.prod(self._event_shape)
        return (n, 0) if self._discrete else (0, n)

    def _plan_of_draws(self):
        """The plan that draws go by, unless a hook makes them."""
        return plan_of_draw(self) if ways(self).draw_by_plan else None

    def _passes(self):
        """True if a holder may go past the public methods to plans and hooks, as they do no more."""
        return passes(type(self))

    def _draw_plan(self):
        """What draws go by, if a kernel makes them of a normal an element."""
        return None

    def _draw(self, Noise noise not None, np.ndarray out not None, int workers):
        """The noise's next draw of the shape of a packed array."""
        cdef int n_lead = np.PyArray_NDIM(out) - <int>(len(self._batch_shape) + len(self._event_shape))
        cdef Plan plan = plan_of_draw(self)
        if plan is None:
            _draw_by_hook(self, noise, out, n_lead, workers)
        else:
            draw(noise, plan, out, self._batch_shape, self._event_shape, workers)

    # ---- parts of draws --------------------------------------------------------------------

    def sample_part(
        self,
        sample_shape: ShapeLike,
        index: slice | tuple[slice, ...],
        *,
        rng: RNGLike,
        out: Real | None = None,
        workers: SupportsIndex | None = None,
    ) -> Real:
        """A part of a draw, made alone: ``sample(sample_shape, rng=rng)[index]``, bit for bit.

        So that machines, processes or chunks make one draw together, in any way that it is cut.

        Parameters
        ----------
        sample_shape : int or iterable of int
            That of the whole draw.
        index : slice or tuple of slices
            Over the dims of the whole draw, ``sample_shape + batch_shape + event_shape``, clipped as NumPy's;
            dims that are not named are taken whole. Steps are 1.
        rng : None, int, sequence of ints, SeedSequence, Place, BitGenerator or Generator
            Seeds, and a `Place` of a stream, give the same part each time. A generator is read where it
            stands, and moves on behind the whole draw. (One of NumPy's has to make the whole draw.)
        out, workers
            As for `sample`.

        Returns
        -------
        numpy.ndarray
            Of the part's shape.

        Raises
        ------
        TypeError
            For an `index` that is no slice or tuple of slices, or as `sample` does.
        ValueError
            For a step other than 1; for a part of an event whose elements are not independent.
        IndexError
            For more slices than dims.
        NotImplementedError
            If it is not known how many numbers an event takes: one written by a user says so in
            `normals_per_event`.

        Examples
        --------
        >>> import numpy as np, fastdist as fd
        >>> d = fd.Normal(np.zeros(1000), 1.0)
        >>> part = d.sample_part((500,), (slice(100, 200), slice(0, 10)), rng=0)
        >>> bool((part == d.sample((500,), rng=0)[100:200, :10]).all())
        True
        """
        cdef np.npy_intp dims[MAX_NDIM]
        made = above("part_of_draw", "parts")(self, sample_shape, index)
        cdef Noise noise = own_noise(rng)
        if noise is None:
            noise = as_noise(rng)
        cdef int n_worker = 0 if workers is None else parse_workers(workers)
        cdef np.ndarray array = destination(
            out, typenum_of_draws(self), append(dims, 0, made.shape), dims, None)
        cdef Noise reader = made.noise(noise)
        if reader is not None:
            fill(made.distribution, reader, array, <int>len(made.lead), n_worker, False)
        else:
            whole = sampled(self, made.lead, noise, None, workers, False)
            np.copyto(array, whole[tuple([slice(*one) for one in made.ranges])])
        return deliver(array, out)

    # ---- draws with their densities --------------------------------------------------------

    def sample_and_log_prob(
        self,
        sample_shape: ShapeLike = (),
        *,
        rng: RNGLike = None,
        out: tuple[Real | None, Real | None] | None = None,
        workers: SupportsIndex | None = None,
    ) -> tuple[Real, Real]:
        """Draw samples, and the logarithms of their probability densities.

        A density is that of the draw before it was rounded, made from its noise: right and finite
        where `log_prob` of the rounded draw would be far off, or infinite, as for a squashed draw
        of 1 (`TransformedDistribution`).

        Parameters
        ----------
        sample_shape, rng, workers
            As for `sample`, whose draw it is, bit for bit.
        out : pair of numpy.ndarray, optional
            Arrays of the results' shapes and dtype to write to, and to return. Each may be None.

        Returns
        -------
        draw : numpy.ndarray
            Shape ``sample_shape + batch_shape + event_shape``.
        log_prob : numpy.ndarray
            Shape ``sample_shape + batch_shape``.

        Raises
        ------
        TypeError, ValueError
            As `sample` does, and for an `out` that is no pair.

        Notes
        -----
        Of a distribution that has only draws and densities of its own it is the density of the
        draw, as `log_prob` says.

        Examples
        --------
        >>> import fastdist as fd
        >>> x, log_prob = fd.Normal(0.0, 1.0).sample_and_log_prob((3,), rng=0)
        >>> x.shape, log_prob.shape
        ((3,), (3,))
        """
        cdef np.npy_intp dims[MAX_NDIM]
        cdef int n_lead = read_shape("sample_shape", sample_shape, dims)
        cdef int n_batch = append(dims, n_lead, self._batch_shape)
        cdef int ndim = append(dims, n_batch, self._event_shape)
        cdef Noise noise = own_noise(rng)
        if noise is None:
            noise = as_noise(rng)
        cdef int n_worker = 0 if workers is None else parse_workers(workers)
        x_out, density_out = _pair(out)
        cdef np.ndarray x = destination(x_out, typenum_of_draws(self), ndim, dims, None)
        cdef np.ndarray density = destination(density_out, self.typenum, n_batch, dims, None)
        fill_scored(self, noise, x, density, ndim - n_batch, n_worker)
        return deliver(x, x_out), deliver(density, density_out)

    def _scored_plan(self, int event_ndim):
        """What a draw and its density, summed over so many dims, go by, if kernels make both of the noise."""
        return None

    def _plan_of_scored(self, int event_ndim):
        """The plan that these go by, unless a hook makes them."""
        return plan_of_scored(self, event_ndim) if ways(self).scored_by_plan else None

    def _draw_scored(
        self, Noise noise not None, np.ndarray out not None, np.ndarray density not None, int workers
    ):
        """The noise's next draw of a packed array's shape, and its log density, a packed array, too."""
        cdef int n_lead = np.PyArray_NDIM(density) - <int>len(self._batch_shape)
        cdef int event_ndim = np.PyArray_NDIM(out) - np.PyArray_NDIM(density)
        if self._passes():
            fill(self, noise, out, n_lead, workers, False)
            if out.dtype == self._dtype:
                score(self, out, event_ndim, density)
            elif n_lead and np.PyArray_SIZE(out):  # integers, some samples at a time
                some = max(CONVERTED * len(out) // np.PyArray_SIZE(out), 1)
                for begin in range(0, len(out), some):
                    value = _params.pack(out[begin : begin + some], self._dtype)
                    score(self, value, event_ndim, density[begin : begin + some])
            else:
                value = _params.pack(out, self._dtype)
                score(self, value, event_ndim, density)
            return
        shape = np.shape(density)[:n_lead]
        with set_workers(workers):
            out[...] = self.sample(shape, rng=noise)
        density[...] = self.log_prob(out)

    # ---- draws with a divergence -----------------------------------------------------------

    def rsample_and_kl(
        self,
        prior: Distribution,
        sample_shape: ShapeLike = (),
        *,
        rng: RNGLike = None,
        out: tuple[Real | None, Real | None] | None = None,
        workers: SupportsIndex | None = None,
    ) -> tuple[Real, Real]:
        """Draw reparameterised samples, and the divergence of a prior from this distribution.

        The two terms of an evidence lower bound; `vjp` of this method makes the gradients of both
        together, faster than one after the other.

        Parameters
        ----------
        prior : Distribution
            q of ``kl_divergence(self, prior)``.
        sample_shape, rng, workers
            As for `rsample`, whose draw it is, bit for bit.
        out : pair of numpy.ndarray, optional
            Arrays of the results' shapes and dtypes to write to, and to return. Each may be None.

        Returns
        -------
        draw : numpy.ndarray
            Shape ``sample_shape + batch_shape + event_shape``.
        kl : numpy.ndarray
            Shape: `batch_shape`, broadcast with the prior's. The same for all samples.

        Raises
        ------
        NotImplementedError
            If `has_rsample` is False, or no divergence is registered for the two types.
        TypeError, ValueError
            As `rsample` and `kl_divergence` do, and for an `out` that is no pair. The generator has
            not moved then, and `out` is untouched.

        Examples
        --------
        >>> import numpy as np, fastdist as fd
        >>> d = fd.Independent(fd.Normal(np.zeros((64, 6)), 2.0), 1)
        >>> prior = fd.Independent(fd.Normal(np.zeros(6), 1.0), 1)
        >>> (x, kl), pullback = fd.vjp(d.rsample_and_kl, prior, rng=0)
        >>> x.shape, kl.shape
        ((64, 6), (64,))
        >>> gradients = pullback((np.ones_like(x), np.ones_like(kl)))
        >>> list(gradients), list(gradients["prior"])
        (['loc', 'scale', 'prior'], ['loc', 'scale'])
        """
        cdef np.npy_intp dims[MAX_NDIM]
        x_out, kl_out = _pair(out, "divergence")
        check_rsample(self)
        kl = above("kl_divergence", "rules")(self, prior)
        if kl_out is None:
            return self.rsample(sample_shape, rng=rng, out=x_out, workers=workers), kl
        cdef np.ndarray result = destination(
            kl_out, np.PyArray_TYPE(<np.ndarray>kl), append(dims, 0, np.shape(kl)), dims, None)
        x = self.rsample(sample_shape, rng=rng, out=x_out, workers=workers)
        result[...] = kl
        return x, deliver(result, kl_out)

    # ---- densities -------------------------------------------------------------------------

    def log_prob(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Logarithm of the probability density at `value`.

        Parameters
        ----------
        value : array_like
            Its last dims must be `event_shape` exactly; those before broadcast with `batch_shape`.
        out : numpy.ndarray, optional
            Array of the result's shape and dtype to write to, and to return. It may overlap
            `value`.

        Returns
        -------
        numpy.ndarray
            Shape: the dims of `value` before the event, broadcast with `batch_shape`; float64 if
            `value` is (a Python number counts as the distribution's own dtype). NaN where
            `value` has a NaN, otherwise -inf where it has an infinity.

        Raises
        ------
        TypeError, ValueError
            For a `value` of unsuitable dtype or shape, or an unsuitable `out`.

        Notes
        -----
        The result is a difference: minus half the squared distance of `value` from the mean, in
        standard deviations, less what normalises the density. Neither overflows where the result
        does not, and each is right to a few units in its last place, if a factor of a matrix is
        well conditioned. Where they nearly cancel, that of the larger one counts.
        """
        return scored(self, value, out)

    def log_density(self, value):
        """Log densities of events; for subclasses (see `Distribution`, Notes)."""
        raise _missing(type(self), "density", "log_density(value)")

    def _of_value(self, Kernel kernel not None, value, out, tuple names, check=None, str name="value"):
        """What a kernel makes of each element of a value and of arrays; `check` looks at the value."""
        cdef np.npy_intp dims[MAX_NDIM]
        cdef PyObject *operands[MAX_OPERAND]
        cdef int ndim
        cdef np.ndarray array = read_value(value, self.typenum, self._event_shape, &ndim, dims, name)
        cdef np.ndarray result
        if check is not None:
            check(name, array, shape_of(ndim, dims))
        broadcast(&ndim, dims, self._batch_shape, name)
        result = destination(out, np.PyArray_TYPE(array), ndim, dims, array)
        dtype = float32 if np.PyArray_TYPE(array) == np.NPY_FLOAT32 else float64
        arrays = (result, array, *self._in(dtype, *names))
        point_to(kernel, arrays, operands)
        run(kernel, ndim, <const intptr_t *>dims, 0, operands, NULL)
        return deliver(result, out)

    def _of_events(self, str name, value, out, fill, tuple event_shape):
        """What `fill`, of a packed value and a result, makes of events: others of `event_shape`."""
        cdef np.npy_intp dims[MAX_NDIM]
        cdef int ndim
        cdef np.ndarray array = read_value(value, self.typenum, self._event_shape, &ndim, dims, name)
        cdef np.ndarray result
        broadcast(&ndim, dims, self._batch_shape, name)
        ndim = append(dims, ndim, event_shape)
        result = destination(out, np.PyArray_TYPE(array), ndim, dims, array)
        fill(array, result)
        return deliver(result, out)

    def _density_plan(self, int event_ndim, dtype):
        """What densities in a dtype, summed over so many dims, go by, if a kernel makes them."""
        return None

    def _log_prob(self, np.ndarray value not None, int event_ndim, np.ndarray out not None):
        """Log density, summed over `event_ndim` trailing dims of a packed value."""
        cdef Plan plan = plan_of_density(self, event_ndim, np.PyArray_TYPE(value))
        if plan is not None:
            score_by_plan(self, plan, value, event_ndim, out)
            return
        density = np.asarray(self.log_density(value), out.dtype, order="C")
        n_more = event_ndim - len(self._event_shape)  # dims of the batch that are summed
        if n_more:
            density = sum_events(density, self._batch_shape[len(self._batch_shape) - n_more:])
        out[...] = density

    def prob(self, value: ArrayLike, *, out: Real | None = None) -> Real:
        """Probability density at `value`: the exponential of `log_prob`, which see."""
        density = self.log_prob(value) if out is None else self.log_prob(value, out=out)
        return _exp(density)

    def entropy(self, *, out: Real | None = None) -> Real:
        """Differential entropy in nats.

        Parameters
        ----------
        out : numpy.ndarray, optional
            Array of the result's shape and dtype to write to, and to return.

        Returns
        -------
        numpy.ndarray
            Shape `batch_shape`.
        """
        cdef np.npy_intp dims[MAX_NDIM]
        cdef int ndim = append(dims, 0, self._batch_shape)
        cdef int event_ndim = <int>PyTuple_GET_SIZE(self._event_shape)
        cdef Kept way = ways(self).kept_entropy
        cdef np.ndarray entropy = (
            np.asarray(self._entropy(event_ndim)) if way is None else way.of(self, event_ndim))
        cdef np.ndarray result = destination(out, self.typenum, ndim, dims, None)
        if (np.PyArray_ISCARRAY_RO(entropy) and np.PyArray_TYPE(entropy) == self.typenum
                and has_shape(entropy, ndim, dims)):  # in a third of NumPy's time
            memcpy(np.PyArray_DATA(result), np.PyArray_DATA(entropy), np.PyArray_NBYTES(result))
        else:
            np.PyArray_CopyInto(result, entropy)
        return deliver(result, out)

    def event_entropy(self):
        """Entropies of events; for subclasses (see `Distribution`, Notes)."""
        raise _missing(type(self), "entropy", "event_entropy()")

    def _entropy(self, int event_ndim):
        """Entropy, summed over batch dims among the last `event_ndim` dims; may stay unbroadcast."""
        entropy = np.asarray(self.event_entropy(), self._dtype, order="C")
        tail = self._batch_shape[len(self._batch_shape) - (event_ndim - len(self._event_shape)):]
        return sum_events(entropy, tail) if tail else entropy

    def perplexity(self, *, out: Real | None = None) -> Real:
        """Exponential of the entropy; shape `batch_shape`. See `entropy`."""
        return _exp(self.entropy() if out is None else self.entropy(out=out))

    # ---- moments ---------------------------------------------------------------------------

    @property
    def mean(self):
        """Mean; shape ``batch_shape + event_shape``, read-only."""
        raise _missing(type(self), "mean", "mean")

    @property
    def mode(self):
        """Point of the highest density; shape ``batch_shape + event_shape``, read-only."""
        raise _missing(type(self), "mode", "mode")

    @property
    def variance(self):
        """Variance of each element; shape ``batch_shape + event_shape``, read-only."""
        raise _missing(type(self), "variance", "variance")

    @property
    def stddev(self):
        """Standard deviation of each element; shape ``batch_shape + event_shape``, read-only."""
        variance = self.variance
        with np.errstate(all="ignore"):
            stddev = np.asarray(np.sqrt(variance))
        stddev.flags.writeable = False
        return stddev

    # ---- other batches of the same ---------------------------------------------------------

    def _with_arrays(self, dict arrays, tuple batch_shape):
        """This distribution over other arrays, unchecked.

        What it is besides them goes along; an array or a distribution that nobody knows of is an error.
        """
        cls = type(self)
        cdef Base new = fd_new(self, ())
        cdef dict attributes = self.__dict__
        for name, value in attributes.items():
            if name in cls._cached:
                continue
            if type(value) not in PLAIN and name not in self._held and of_a_batch(value):
                raise NotImplementedError(
                    f"{cls.__name__}.{name} holds a distribution or an array that expand and indexing know "
                    "nothing of: a distribution has to be held by a Wrapper, an array to be a parameter"
                )
            new.__dict__[name] = value
        new._arrays = arrays
        new._shapes = NO_SHAPES
        new._batch_shape = batch_shape
        new._event_shape = self._event_shape
        new._dtype = self._dtype
        new.typenum = self.typenum
        new._validate_args = self._validate_args
        new._lent = self._lent
        return new

    def _expanded(self, tuple shape):
        new = self._with_arrays(dict(self._arrays), shape)
        new._shapes = self._shapes
        return new

    def expand(self, batch_shape: ShapeLike):
        """The same distribution broadcast to another batch shape; no memory is used.

        Parameters
        ----------
        batch_shape : int or iterable of int
            A shape that the present batch shape broadcasts to.

        Raises
        ------
        ValueError
            If it does not, or an entry is negative.
        """
        return self._expanded(parse_expanded(batch_shape, self._batch_shape))

    def _stacked(self, list parts, int axis):
        """Distributions of this one's class and shapes, itself the first, side by side."""
        cls = type(self)
        single = all([d._dtype is float32 for d in parts])
        dtype = float32 if single else float64
        arrays = {
            name: _indexing.stack([d._arrays[name] for d in parts], axis, len(self._batch_shape),
                                  cls._core_ndim[name], dtype)
            for name in self._along()
        }
        new = self._with_arrays(
            arrays, (*self._batch_shape[:axis], len(parts), *self._batch_shape[axis:]))
        (<Base>new).dtype_is(dtype)
        return new

    def _part(self, entries, tuple batch_shape):
        """Part of the batch, by a parsed index; `batch_shape` is its own."""
        cdef dict arrays = {}, core_ndim = ways(self).core_ndim
        for name in self._along():
            arrays[name] = part(self._arrays[name], entries, self._batch_shape, core_ndim[name])
        return self._with_arrays(arrays, batch_shape)

    def _along(self):
        """Names of the arrays that a part of the batch has parts of; what is made of them it makes again."""
        return ways(self).names

    def __getitem__(self, index):
        """Part of the batch, by NumPy's rules: ints, slices, ``...``, None, arrays of ints or bools.

        A parameter that repeats along the indexed dims still does, and takes no more memory.

        Raises
        ------
        IndexError
            For an index out of range, too many of them, or one of another type.
        """
        entries, batch_shape = parse_index(index, self._batch_shape)
        return self._part(entries, batch_shape)

    def __len__(self):
        """Size of the first batch dim."""
        if not self._batch_shape:
            raise TypeError(f"{type(self).__name__} with an empty batch_shape has no len()")
        return self._batch_shape[0]

    def __bool__(self):
        return True

    def __iter__(self):
        """The distributions along the first batch dim."""
        if not self._batch_shape:
            raise TypeError(f"{self!r} has an empty batch_shape and cannot be iterated over")
        return map(self.__getitem__, range(self._batch_shape[0]))

    # ---- what it was built with ------------------------------------------------------------

    @property
    def parameters(self):
        """What it was built with, under the names of the constructor, keywords included; read-only.

        ``type(d)(**d.parameters)`` has the same class, shapes, dtype and values. An array has the shape
        it was given in; if the distribution was expanded since, that of the batch.

        Raises
        ------
        NotImplementedError
            If a subclass has a constructor of its own, and no `parameters`.
        """
        cls = type(self)
        own = depth(cls, "__init__")
        if own < depth(cls, "_parameters") and (own < depth(cls, "arg_constraints") or not self._shown()):
            raise NotImplementedError(
                f"{cls.__name__} has an __init__ of its own, and has to define parameters"
            )
        return MappingProxyType(self._parameters())

    def _parameters(self):
        """`parameters` of the class that has this method and the constructor."""
        names = self._shown()
        shown = {name: getattr(self, name) for name in names}  # of the whole batch
        given = {name: self._parameter_shape(name) for name in names}
        cut = {name: len(given[name]) - type(self)._core_ndim[name] for name in names}
        if names:
            batch_shape = _shapes.broadcast_shapes(**{name: given[name][:cut[name]] for name in names})
            if batch_shape == self._batch_shape:
                shown = {name: np.broadcast_to(self._arrays[name], given[name]) for name in names}
        return {**shown, "validate_args": bool(self._validate_args)}

    def replace(self, **parameters):
        """A distribution of the same class with other `parameters`; it is built anew, and checked.

        Parameters
        ----------
        **parameters
            By the constructor's names. One matrix takes the place of another.

        Examples
        --------
        >>> import fastdist as fd
        >>> fd.Normal([0.0, 1.0], 2.0).replace(scale=3.0)
        Normal(loc: (2,), scale: (2,))
        """
        kept = dict(self.parameters)
        if self._alternatives.intersection(parameters):
            kept = {name: value for name, value in kept.items() if name not in self._alternatives}
        return type(self)(**{**kept, **parameters})

    def _owner(self, str name):
        """The distribution that has parameter `name`, or None."""
        return self if name in self._shown() else None

    def _named(self):
        """Names of the parameters."""
        return self._shown()

    def __reduce__(self):
        # By default only protocols 2 and up know how to make an object of a compiled class.
        return copyreg.__newobj__, (type(self),), self.__getstate__()

    def __getstate__(self):
        state = self.__dict__ | {name: getattr(self, name) for name in KEPT}
        state["_arrays"] = {name: self._arrays[name] for name in self._along()}
        return state

    def __setstate__(self, state):
        for name, value in state.items():
            setattr(self, name, value)
        self.dtype_is(self._dtype)

    def _shown(self):
        """Names of the parameters that repr shows."""
        return tuple([name for name in type(self).arg_constraints if name in self._arrays])

    def __repr__(self):
        shown = []
        for name in self._shown():
            own = type(self)._core_ndim[name]
            shape = self._batch_shape + self._event_shape[-1:] * own
            if name in type(self)._tall:
                shape = shape[:-1] + np.shape(self._arrays[name])[-1:]
            shown.append(f"{name}: {getattr(self, name) if math.prod(shape) == 1 else shape}")
        return f"{type(self).__name__}({', '.join(shown)})"


for _name in ("sample", "rsample", "sample_and_log_prob", "sample_part", "log_prob", "prob"):
    _params.explain(vars(Base)[_name], _foreign.check_arguments)


class Distribution(Base, _foreign.Names):
    """Base of all distributions: a batch of independent distributions over events of one shape.

    Attributes
    ----------
    batch_shape : tuple of int
        Shape of the batch; parameters broadcast to it.
    event_shape : tuple of int
        Shape of one event, one draw of one distribution of the batch.
    dtype : numpy.dtype
        float32 or float64, of draws and densities.
    support : Constraint
        The set of events.
    arg_constraints : dict of str to Constraint
        The sets that the parameters are from.
    has_rsample : bool
        Whether draws are differentiable functions of the parameters.

    Notes
    -----
    A distribution of one's own is a subclass. It says in class attributes what it is made of, and in methods
    what it does:

    arg_constraints
        A dict of its parameters: names, in the order of the constructor, to the sets that they are from
        (`fastdist.constraints`), which also tell how many dims an event's parameter has. The inherited
        constructor takes these and `validate_args`; a subclass with another one calls it. Parameters are then
        attributes, shown in the shape of the batch.
    support, has_rsample
        The set of events; whether draws are differentiable (False, unless it says so).
    normals_per_event
        How many standard normals an event takes.
    draw(eps, out)
        Writes draws to `out`, of shape ``(n, *batch_shape, *event_shape)``, made of `eps`, standard normals
        of shape ``(n, *batch_shape, normals_per_event)``.
    log_density(value)
        Returns log densities, of the shape of `value` less the event dims, broadcast with the batch.
    event_entropy()
        Returns entropies, which broadcast to the batch.
    mean, mode, variance, stddev
        Properties, if it has them.

    Sampling into `out`, sums over an Independent's dims, expand, indexing, pickles and gradients follow;
    these have rules of their own, `register_vjp`, and divergences have `register_kl`. A subclass of a
    distribution that changes draws or densities no longer has its entropy, moments, cdf, gradients and
    divergences until it gives them again, perhaps as ``entropy = fd.Normal.entropy``.

    Examples
    --------
    A Laplace distribution: a determinant of four normals is one (Devroye, "Non-Uniform Random Variate
    Generation", 1986, IV.6).

    >>> import numpy as np, fastdist as fd
    >>> class Laplace(fd.Distribution):
    ...     arg_constraints = {"loc": fd.constraints.real, "scale": fd.constraints.positive}
    ...     support = fd.constraints.real
    ...     has_rsample = True
    ...     normals_per_event = 4
    ...     def draw(self, eps, out):
    ...         a, b, c, d = np.moveaxis(eps, -1, 0)
    ...         np.add(self.loc, self.scale * (a * d - b * c), out=out)
    ...     def log_density(self, value):
    ...         return -abs(value - self.loc) / self.scale - np.log(2 * self.scale)
    ...     def event_entropy(self):
    ...         return 1 + np.log(2 * self.scale)
    >>> @fd.register_vjp("rsample", Laplace)
    ... def vjp_laplace(d, replay):
    ...     return lambda g, x: {"loc": g, "scale": g * (x - d.loc) / d.scale}
    >>> laplace = fd.Independent(Laplace(np.zeros((3, 2)), 1.0), 1)
    >>> laplace.log_prob(laplace.sample((100,), rng=0)).shape
    (100, 3)
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "arg_constraints" in cls.__dict__ and "_core_ndim" not in cls.__dict__:
            cls._core_ndim = {name: set.event_dim for name, set in cls.arg_constraints.items()}
            for name in cls.arg_constraints:
                if not hasattr(cls, name):
                    setattr(cls, name, _parameter(name))
        cls._cached = frozenset([
            name for base in cls.__mro__ for name, value in vars(base).items()
            if isinstance(value, cached_property)
        ])
        _take_public_hooks(cls)
        _disable_consequences(cls)


# What a distribution is besides its attributes in Python.
KEPT = ("_arrays", "_shapes", "_batch_shape", "_event_shape", "_dtype", "_validate_args")

PLAIN = frozenset({bool, int, float, str, type(None)})


def of_a_batch(value):
    """True for a distribution or an array of one dim or more, and for what has one in it."""
    if isinstance(value, dict):
        return any(map(of_a_batch, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(map(of_a_batch, value))
    return isinstance(value, Base) or (isinstance(value, np.ndarray) and value.ndim > 0)


# ---- what the class is made with -----------------------------------------------------------------


class shown(property):
    """A property that shows an array broadcast to the batch, read-only.

    It is the parameter of this name, or else what the function makes of the parameters, kept under the name
    with an underscore before it, or without if there may be a parameter of it.
    """

    def __set_name__(self, cls, name):
        if isinstance(self.fget, Shown):  # the same under another name, or taken over by a subclass
            return
        key = name if name in cls._core_ndim else f"_{name}"
        property.__init__(self, Shown(key, self.fget), None, None, self.fget.__doc__)


@cython.final
cdef class Kept:
    """A method of a number of event dims: packed arrays, kept for a batch and not taken along to another."""

    def __init__(self, method):
        self.__wrapped__ = method

    def __get__(self, d, cls):
        return self if d is None else MethodType(self, d)

    def __call__(self, Base d not None, int event_ndim):
        return self.of(d, event_ndim)

    cdef np.ndarray of(self, Base d, int event_ndim):
        array = None if d.made is None else d.made.get((self, event_ndim))
        if array is None:
            array = self.__wrapped__(d, event_ndim)
            if not d._lent:
                keep_here(d, (self, event_ndim), array)
        return array


@cython.final
cdef class Shown:
    cdef str key
    cdef object make

    def __init__(self, str key, make):
        self.key = key
        self.make = make

    def __call__(self, Base d not None):
        array = d._arrays.get(self.key)
        if array is None:
            array = self.make(d)
            if not d._lent:
                d._keep(self.key, array)
        return view(array, d._batch_shape, type(d)._core_ndim[self.key])

    # For typing.get_type_hints.
    @property
    def __wrapped__(self):
        return self.make

    @property
    def __annotations__(self):
        return self.make.__annotations__


def _parameter(str name):
    """The property of a parameter of a class that has none of this name."""
    doc = f"Parameter `{name}`, in the shape of the batch, read-only."
    return property(Shown(name, _lacking), None, None, doc)


def _lacking(d) -> Real:
    raise AttributeError


def _bound(cls, args, kwargs):
    """Arguments of the inherited constructor by name."""
    names = list(cls.arg_constraints)
    if cls.arg_constraints is Base.arg_constraints:
        raise _missing(cls, "parameters", "arg_constraints")
    if len(args) > len(names):
        raise TypeError(
            f"{cls.__name__}() takes {len(names)} parameters ({', '.join(names)}), got {len(args)}")
    given = dict(zip(names, args))
    for name, value in kwargs.items():
        if name not in names:
            raise _foreign.unexpected(cls.__name__, name)
        if name in given:
            raise TypeError(f"{cls.__name__}() got multiple values for argument {name!r}")
        given[name] = value
    missing = [name for name in names if name not in given]
    if missing:
        raise TypeError(f"{cls.__name__}() lacks {', '.join(missing)}")
    return given


# A public hook, and what is Base's again in a class that has it.
PUBLIC = {
    "draw": ("_draw", "_draw_plan"),
    "log_density": ("_log_prob", "_density_plan"),
    "event_entropy": ("_entropy",),
}


def _take_public_hooks(cls):
    """Let a class go by the public hooks that it has, if they are from a more derived one than the others."""
    for public, hooks in PUBLIC.items():
        if depth(cls, public) < min([depth(cls, name) for name in hooks]):
            for name in hooks:
                setattr(cls, name, getattr(Base, name))


def _disable_consequences(cls):
    """Let a subclass that changes the law of its parent no longer have what followed from that."""
    parents = [base for base in cls.__mro__[1:] if issubclass(base, Base) and not keeps(base, Base, LAW)]
    if not parents or keeps(cls, parents[0], LAW):
        return
    parent = parents[0]
    before = cls.__mro__[: cls.__mro__.index(parent)]
    changed = next(name for name in LAW if getattr(cls, name, None) is not getattr(parent, name, None))
    for name in CONSEQUENCES:
        parts = ("entropy", "event_entropy", "_entropy") if name == "entropy" else (name,)
        given = any([one in base.__dict__ for base in before for one in parts])
        if not given and not keeps(parent, Base, parts):
            setattr(cls, name, Disabled(cls.__name__, parent.__name__, name, changed))


class Disabled:
    """In the place of what a subclass has not any more."""

    def __init__(self, *names):
        self.names = names

    def __get__(self, d, cls=None):
        name, parent, attribute, changed = self.names
        if d is None:
            return self
        raise NotImplementedError(
            f"{name} has {changed} of its own, so that {parent}.{attribute} no longer holds: define it, or "
            f"take it over by {attribute} = {parent}.{attribute}"
        )


def _missing(cls, what, how):
    return NotImplementedError(f"{cls.__name__} has no {what}: define {how}")


cdef bint take_shapes(Base d, Ways way) except -1:
    """Batch and event shape of parameters that came in their arrays' shapes; False if they do not fit."""
    cdef np.npy_intp dims[MAX_NDIM]
    cdef int ndim = 0, own, n, i, lead
    cdef np.npy_intp size, event = -1
    cdef np.ndarray array
    for name, value in d._arrays.items():
        array = value
        own = way.core_ndim[name]
        n = np.PyArray_NDIM(array) - own
        if n < 0:
            return False
        if own and name in way.tall:
            own = 1
        for i in range(n, n + own):
            if event >= 0 and np.PyArray_DIM(array, i) != event:
                return False
            event = np.PyArray_DIM(array, i)
        if n > ndim:
            for i in range(ndim - 1, -1, -1):
                dims[i + n - ndim] = dims[i]
            for i in range(n - ndim):
                dims[i] = 1
            ndim = n
        lead = ndim - n
        for i in range(n):
            size = np.PyArray_DIM(array, i)
            if dims[lead + i] == 1:
                dims[lead + i] = size
            elif size != 1 and size != dims[lead + i]:
                return False
    d._batch_shape = shape_of(ndim, dims)
    d._event_shape = () if event < 0 else (event,)
    return True


cdef tuple _shapes_of(Ways way, dict arrays, dict shapes):
    """Batch shape and event shape of parameters: the last dim of those that have any of their own."""
    cdef int own = 0
    cdef dict batch_shapes = {}
    cdef tuple event_shape = (), shape
    for name, array in arrays.items():
        own = way.core_ndim[name]
        shape = shapes.get(name) or np.shape(array)
        if own:
            tall = name in way.tall
            if len(shape) < own or own == 2 and not tall and shape[-1] != shape[-2]:
                last = "rank" if tall else "d"
                must = "have at least one dim" if own == 1 else f"have shape (..., d, {last})"
                raise ValueError(f"{name} must {must}, got {'shape ' if own == 1 else ''}{shape}")
            event = shape[len(shape) - own:len(shape) - own + 1]
            if event_shape and event != event_shape:
                first = next(iter(arrays))
                raise ValueError(
                    f"{first} {shapes.get(first) or arrays[first].shape} and {name} {shape} differ in event "
                    "size"
                )
            event_shape = event
            shape = shape[:len(shape) - own]
        batch_shapes[name] = shape
    return (_shapes.broadcast_shapes(**batch_shapes) if batch_shapes else ()), event_shape


cdef int _check(Ways way, cls, name, np.ndarray array, dict shapes) except -1:
    """Raise for values that a parameter must not have."""
    cdef Kernel kernel = way.checks.get(name)
    if kernel is not None and first_bad(kernel, array) < 0:
        return 0
    constraint = cls.arg_constraints.get(name)
    if kernel is not None:
        (_params.check_positive if kernel is CHECKS[constraints.positive] else _params.check_finite)(
            name, array, shapes.get(name))
    elif constraint is not None:
        good = constraint.check(array)
        if not good.all():
            index = tuple(map(int, np.unravel_index(int(np.argmin(good)), good.shape)))
            raise ValueError(
                f"{name} must be {constraint}: shape {shapes.get(name) or np.shape(array)}, "
                f"batch index {index}"
            )
    return 0


def _exp(array):
    array = np.asarray(array)
    with np.errstate(all="ignore"):
        return np.exp(array, out=array)


cdef int _draw_by_hook(Base d, Noise noise, np.ndarray out, int n_lead, int workers) except -1:
    """By `draw`, some samples at a time, of normals that the stream is done with before the first is made."""
    cdef Noise reader = noise
    cdef core.fd_place place
    n = d.normals_per_event
    lacking = ["draw(eps, out)"] * (type(d).draw is Base.draw) + ["normals_per_event"] * (n is None)
    if lacking:
        raise _missing(type(d), "draws", " and ".join(lacking))
    batch_shape, n_sample = d._batch_shape, math.prod(np.shape(out)[:n_lead])
    per_sample = math.prod(batch_shape) * n
    rows = np.reshape(out, (n_sample, *batch_shape, *d._event_shape))
    if noise.stream is not None:
        noise.take(core.FD_NORMAL, n_sample * per_sample, &place)
        reader = stream_at(&place, 1)
    some = max(TILE // max(per_sample, 1), 1)
    for begin in range(0, n_sample, some):
        tile = rows[begin:begin + some]
        eps = standard_normal((len(tile), *batch_shape, n), dtype=d._dtype, rng=reader, workers=workers)
        d.draw(eps, tile)
    return 0


def stack(distributions, axis=0):
    """Distributions of one type as one batch, along a new dim.

    Parameters
    ----------
    distributions : sequence of Distribution
        Of one type, batch shape and event shape.
    axis : int, optional
        Where in the batch shape the new dim is.

    Returns
    -------
    Distribution
        Of batch shape ``batch_shape[:axis] + (len(distributions),) + batch_shape[axis:]``; float64 unless all
        are float32. What repeats in all parameters goes on repeating.

    Raises
    ------
    ValueError
        If there are none, or their shapes, or the matrices that they were given by, differ.
    TypeError
        If their types do.
    numpy.exceptions.AxisError
        For an axis that the result has not.

    Examples
    --------
    >>> import fastdist as fd
    >>> fd.stack([fd.Normal(0.0, 1.0), fd.Normal(1.0, 2.0)]).batch_shape
    (2,)
    """
    parts = list(distributions)
    if not parts:
        raise ValueError("there must be at least one distribution to stack")
    first = parts[0]
    for i, d in enumerate(parts):
        if not isinstance(d, Base) or type(d) is not type(first):
            raise TypeError(
                f"distributions must be of one type, got {type(d).__name__} for distributions[{i}] "
                f"and {type(first).__name__} for distributions[0]"
            )
        for name in ("batch_shape", "event_shape"):
            shapes = getattr(first, name), getattr(d, name)
            if shapes[0] != shapes[1]:
                raise ValueError(
                    f"{name} differs: {shapes[0]} of distributions[0], {shapes[1]} of distributions[{i}]"
                )
        if d._shown() != first._shown():
            raise ValueError(
                f"distributions were given by {first._shown()} and, distributions[{i}], {d._shown()}"
            )
    ndim = len(first._batch_shape)
    where = np.lib.array_utils.normalize_axis_index(_shapes.parse_int("axis", axis), ndim + 1)
    return first._stacked(parts, where)
