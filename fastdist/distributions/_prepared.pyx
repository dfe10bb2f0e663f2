# cython: cdivision=True, annotation_typing=False
# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Prepared: a distribution's arrays and shapes, and the calls of little data that go straight to kernels.

    Prepared        what `Distribution` keeps, and sample, rsample, log_prob; others go on to its
                    `_sample`, `_log_prob_of`
    Plan            operands and loops of a distribution's kernels, made at its first small call
    keeps           whether a class has methods and hooks as the one has them that it inherits from
    take_normal, take_mvn   constructors' arguments as they mostly come: arrays that fit as they are

A small call takes less time than Python needs to look at its arguments one by one, so it goes past
everything that only other calls need. What it computes is the others' to the last bit.
"""

cimport numpy as np
from cpython.ref cimport PyObject
from cpython.tuple cimport PyTuple_GET_SIZE
from libc.stdint cimport intptr_t, uintptr_t

from fastdist._kernels cimport core
from fastdist._kernels.bridge cimport SMALL, SMALL_NDIM, Noise, Scratch, coalesce, lookup, small_shape
from fastdist.random._block_sfc64 cimport own_noise

from typing import SupportsIndex

import numpy as np

from fastdist import _params
from fastdist._params import ArrayLike, Real
from fastdist._shapes import ShapeLike
from fastdist.distributions import _foreign, _gaussian
from fastdist.random import RNGLike, _rng

np.import_array()

cdef extern from "numpy/arrayobject.h":
    PyObject *PyArray_BASE(np.ndarray array)
    void PyArray_CLEARFLAGS(np.ndarray array, int flags)

if SCRATCH < core.FD_SCRATCH_BYTES * MAX_EVENT:
    raise ImportError("stack memory for small calls is smaller than kernels want")

cdef object FLOAT32 = _params.FLOAT32
cdef object FLOAT64 = _params.FLOAT64

# Scales and batches of densities, and events of vectors, are limited by the room on the stack.
cdef enum:
    MAX_SCALES = 128
    MAX_EVENT = 16
    SCRATCH = 256 * 16      # FD_SCRATCH_BYTES * MAX_EVENT, which Cython cannot work out

cdef double HALF_LOG_2PI = _gaussian.HALF_LOG_2PI


# ---- plans -------------------------------------------------------------------------------


cdef class Plan:
    """A distribution's operands, loops and kernels: scalars (Normal) or vectors (MultivariateNormal).

    There is none for more dims than SMALL_NDIM, or for large events.
    """

    cdef bint vectors, inverse
    cdef core.fd_dtype dtype
    cdef int typenum, ndim, n_loop
    cdef intptr_t dim, n_item, size     # elements of an item; items, and elements, of one sample
    cdef np.npy_intp shape[SMALL_NDIM]    # of one sample
    cdef intptr_t full[2][SMALL_NDIM]     # strides of loc and of scale or factor along the dims of items
    cdef intptr_t loop[SMALL_NDIM]        # those dims, merged where both go on alike ...
    cdef intptr_t stride[2][SMALL_NDIM]   # ... and the strides
    cdef np.ndarray loc, scale          # scale is the factor of vectors
    cdef np.ndarray constant            # that log densities of vectors end with; None until it is asked for


cdef Plan make_plan(tuple shape, np.ndarray loc, np.ndarray scale, int core_ndim, bint inverse):
    """A plan for samples of `shape`; `core_ndim` of their dims are vectors (1 or 0)."""
    cdef Plan plan = Plan.__new__(Plan)
    cdef core.fd_job job
    cdef int d, k, axis, ndim
    cdef np.ndarray array
    plan.ndim = <int>PyTuple_GET_SIZE(shape)
    if plan.ndim > SMALL_NDIM:
        return None
    plan.vectors = core_ndim
    plan.inverse = inverse
    plan.typenum = np.PyArray_TYPE(loc)
    plan.dtype = core.FD_F32 if plan.typenum == np.NPY_FLOAT32 else core.FD_F64
    plan.loc = loc
    plan.scale = scale
    plan.dim = shape[plan.ndim - 1] if core_ndim else 1
    if plan.dim > MAX_EVENT:
        return None
    plan.n_item = 1
    job.ndim = plan.ndim - core_ndim
    for d in range(plan.ndim):
        plan.shape[d] = shape[d]
        if d < job.ndim:
            job.shape[d] = shape[d]
            # Beyond SMALL it is of no account, and the product of all might not fit.
            plan.n_item = min(plan.n_item, SMALL + 1) * min(job.shape[d], SMALL + 1)
    plan.size = plan.n_item * plan.dim
    for k in range(2):
        array = scale if k else loc
        ndim = np.PyArray_NDIM(array) - (core_ndim * (2 if k else 1))
        for d in range(job.ndim):
            axis = d - (job.ndim - ndim)
            job.stride[k][d] = 0
            if axis >= 0 and np.PyArray_DIM(array, axis) != 1:
                job.stride[k][d] = np.PyArray_STRIDE(array, axis) // np.PyArray_ITEMSIZE(array)
            plan.full[k][d] = job.stride[k][d]
    coalesce(&job, 2)
    plan.n_loop = job.ndim
    for d in range(job.ndim):
        plan.loop[d] = job.shape[d]
        plan.stride[0][d] = job.stride[0][d]
        plan.stride[1][d] = job.stride[1][d]
    return plan


cdef inline void loops(Plan plan, core.fd_job *job, intptr_t n_sample) noexcept:
    """The dims of a job over the items of so many samples; strides are 0 but for a contiguous operand 0."""
    cdef int d, k
    cdef intptr_t extent = plan.dim
    job.dim = plan.dim
    job.ndim = plan.n_loop + 1
    job.shape[0] = n_sample
    for d in range(plan.n_loop):
        job.shape[d + 1] = plan.loop[d]
    if plan.n_loop == 1 and plan.stride[0][0] == 0 and plan.stride[1][0] == 0:
        job.ndim = 1
        job.shape[0] = n_sample * plan.loop[0]
    elif n_sample == 1:
        job.ndim = plan.n_loop
        for d in range(plan.n_loop):
            job.shape[d] = plan.loop[d]
    for k in range(1, core.FD_MAX_OPERAND):
        for d in range(job.ndim):
            job.stride[k][d] = 0
    for d in range(job.ndim - 1, -1, -1):
        job.stride[0][d] = extent
        extent *= job.shape[d]


cdef inline void operand(Plan plan, core.fd_job *job, int k, int which, void *data) noexcept:
    """Makes operand k walk as loc (0) or scale (1) does."""
    cdef int d, lead = job.ndim - plan.n_loop
    job.operand[k] = data
    for d in range(plan.n_loop):
        job.stride[k][lead + d] = plan.stride[which][d]


cdef inline void do(core.fd_verb verb, core.fd_dtype dtype, core.fd_job *job, intptr_t n_item) noexcept nogil:
    """All items of a job, under the default floating-point state."""
    cdef core.fd_fpstate callers = core.fd_fpstate_enter()
    lookup(verb, dtype)(job, 0, n_item)
    core.fd_fpstate_leave(callers)


# ---- the small calls -----------------------------------------------------------------------


cdef bint takes(object out, int typenum, int ndim, np.npy_intp *dims):
    """True if `out` is a plain array of that dtype and shape, to be written as it is."""
    cdef int d
    if type(out) is not np.ndarray or np.PyArray_TYPE(out) != typenum or not np.PyArray_ISCARRAY(out):
        return False
    if np.PyArray_NDIM(out) != ndim:
        return False
    for d in range(ndim):
        if np.PyArray_DIM(out, d) != dims[d]:
            return False
    return True


cdef np.ndarray small_draw(Plan plan, object sample_shape, object rng, object out):
    """A draw, or None if it is none of the small ones."""
    cdef np.npy_intp dims[2 * SMALL_NDIM]
    cdef core.fd_job job
    cdef intptr_t n_sample, n_element
    cdef int lead = small_shape(sample_shape, <intptr_t *>dims, &n_sample), d
    cdef char scratch[SCRATCH]
    cdef core.fd_verb verb
    if lead < 0:
        return None
    n_element = n_sample * plan.size
    if n_element > SMALL:
        return None
    for d in range(plan.ndim):
        dims[lead + d] = plan.shape[d]
    cdef np.ndarray result
    if out is None:
        result = np.PyArray_SimpleNew(lead + plan.ndim, dims, plan.typenum)
    elif takes(out, plan.typenum, lead + plan.ndim, dims):
        result = out
    else:
        return None
    cdef Noise noise = own_noise(rng)
    if noise is None:
        noise = _rng.as_noise(rng)
    if n_element == 0:
        return result
    cdef void *x = np.PyArray_DATA(result)
    noise.lock()
    cdef core.fd_fpstate callers = core.fd_fpstate_enter()
    noise.source.fill[<int>plan.dtype](noise.source.state, n_element, x)
    core.fd_fpstate_leave(callers)
    noise.unlock()
    loops(plan, &job, n_sample)
    job.operand[0] = x
    operand(plan, &job, 1, 0, np.PyArray_DATA(plan.loc))
    operand(plan, &job, 2, 1, np.PyArray_DATA(plan.scale))
    if not plan.vectors:
        verb = core.FD_colorize_diag
    elif plan.inverse:
        verb = core.FD_solve_tril
        job.operand[3] = scratch
    else:
        verb = core.FD_multiply_tril
    do(verb, plan.dtype, &job, n_sample * plan.n_item)
    return result


cdef bint apart(np.ndarray a, np.ndarray b) noexcept:
    """True if two contiguous arrays have no memory in common."""
    cdef uintptr_t at_a = <uintptr_t>np.PyArray_DATA(a), at_b = <uintptr_t>np.PyArray_DATA(b)
    return at_a + <uintptr_t>np.PyArray_NBYTES(a) <= at_b or at_b + <uintptr_t>np.PyArray_NBYTES(b) <= at_a


cdef np.ndarray small_log_prob(Prepared d, Plan plan, object given, int event_ndim, object out):
    """Log densities, or None if they are none of the small ones."""
    if type(given) is not np.ndarray:
        return None
    cdef np.ndarray value = given
    cdef int ndim = np.PyArray_NDIM(value), lead = ndim - plan.ndim, k
    if (np.PyArray_TYPE(value) != plan.typenum or lead < 0 or not np.PyArray_ISCARRAY_RO(value)
            or np.PyArray_SIZE(value) > SMALL or plan.size == 0):
        return None
    for k in range(plan.ndim):
        if np.PyArray_DIM(value, lead + k) != plan.shape[k]:
            return None
    cdef np.ndarray result
    if out is None:
        result = np.PyArray_SimpleNew(ndim - event_ndim, np.PyArray_DIMS(value), plan.typenum)
    elif takes(out, plan.typenum, ndim - event_ndim, np.PyArray_DIMS(value)) and apart(out, value):
        result = out
    else:
        return None
    cdef intptr_t n_sample = np.PyArray_SIZE(value) // plan.size
    if n_sample == 0:
        return result
    cdef bint done
    if plan.vectors:
        done = vectors_log_prob(d, plan, value, result, n_sample)
    elif event_ndim == 0:
        done = scalars_log_prob(plan, value, result, n_sample)
    else:
        done = events_log_prob(plan, value, result, n_sample, event_ndim)
    return result if done else None


cdef int vectors_log_prob(
    Prepared d, Plan plan, np.ndarray value, np.ndarray result, intptr_t n_sample
) except -1:
    cdef core.fd_job job
    cdef char scratch[SCRATCH]
    cdef int k
    if plan.constant is None:
        plan.constant = d._log_prob_constant(d._dtype)
    loops(plan, &job, n_sample)
    job.operand[1] = np.PyArray_DATA(value)
    for k in range(job.ndim):
        job.stride[1][k] = job.stride[0][k]
        job.stride[0][k] //= plan.dim
    job.operand[0] = np.PyArray_DATA(result)
    operand(plan, &job, 2, 0, np.PyArray_DATA(plan.loc))
    operand(plan, &job, 3, 1, np.PyArray_DATA(plan.scale))
    job.operand[4] = scratch
    # Constants are as many as factors.
    operand(plan, &job, 5, 1, np.PyArray_DATA(plan.constant))
    for k in range(job.ndim):
        job.stride[5][k] //= plan.dim * plan.dim
    do(core.FD_mvn_log_prob_multiply if plan.inverse else core.FD_mvn_log_prob_solve, plan.dtype, &job,
       n_sample * plan.n_item)
    return True


cdef bint scalars_log_prob(Plan plan, np.ndarray value, np.ndarray result, intptr_t n_sample) noexcept:
    cdef core.fd_job job
    cdef double log_scale[MAX_SCALES]
    cdef intptr_t n_scale = np.PyArray_SIZE(plan.scale)
    if n_scale > MAX_SCALES:
        return False
    logarithms(plan, log_scale, n_scale)
    loops(plan, &job, n_sample)
    job.operand[0] = np.PyArray_DATA(result)
    job.operand[1] = np.PyArray_DATA(value)
    for k in range(job.ndim):
        job.stride[1][k] = job.stride[0][k]
    operand(plan, &job, 2, 0, np.PyArray_DATA(plan.loc))
    operand(plan, &job, 3, 1, np.PyArray_DATA(plan.scale))
    operand(plan, &job, 4, 1, log_scale)
    do(core.FD_normal_log_prob, plan.dtype, &job, n_sample * plan.n_item)
    return True


cdef bint events_log_prob(
    Plan plan, np.ndarray value, np.ndarray result, intptr_t n_sample, int event_ndim
) noexcept:
    """Summed over the last `event_ndim` dims."""
    cdef core.fd_job job
    cdef double log_scale[MAX_SCALES]
    cdef double constant[MAX_SCALES]
    cdef intptr_t n_scale = np.PyArray_SIZE(plan.scale), n_batch = 1, n_event = 1, i
    cdef int d, k, n_dim = plan.ndim - event_ndim
    for d in range(plan.ndim):
        if d < n_dim:
            n_batch *= plan.shape[d]
        else:
            n_event *= plan.shape[d]
    if n_scale > MAX_SCALES or n_batch > MAX_SCALES:
        return False
    logarithms(plan, log_scale, n_scale)
    # One sample's dims, then with a first one for all of them.
    job.dim = n_event
    job.ndim = plan.ndim
    for d in range(plan.ndim):
        job.shape[d] = plan.shape[d]
        job.stride[1][d] = plan.full[1][d]
        for k in range(2, core.FD_MAX_OPERAND):
            job.stride[k][d] = 0
    batch_strides(&job, 0, 0, n_dim, 1)
    job.operand[0] = constant
    job.operand[1] = log_scale
    for i in range(n_batch):
        constant[i] = 0             # in bits, of two floats as well
    do(core.FD_sum_events, plan.dtype, &job, plan.n_item)
    if plan.dtype == core.FD_F32:
        for i in range(n_batch):
            (<float *>constant)[i] += <float>(n_event * HALF_LOG_2PI)
    else:
        for i in range(n_batch):
            constant[i] += n_event * HALF_LOG_2PI

    job.ndim = plan.ndim + 1
    job.shape[0] = n_sample
    for k in range(core.FD_MAX_OPERAND):
        job.stride[k][0] = 0
    for d in range(plan.ndim):
        job.shape[d + 1] = plan.shape[d]
        job.stride[2][d + 1] = plan.full[0][d]
        job.stride[3][d + 1] = plan.full[1][d]
        job.stride[5][d + 1] = 0
    batch_strides(&job, 0, 0, n_dim + 1, 1)
    batch_strides(&job, 1, 0, plan.ndim + 1, 1)
    batch_strides(&job, 4, 1, n_dim + 1, 1)
    job.operand[0] = np.PyArray_DATA(result)
    job.operand[1] = np.PyArray_DATA(value)
    job.operand[2] = np.PyArray_DATA(plan.loc)
    job.operand[3] = np.PyArray_DATA(plan.scale)
    job.operand[4] = constant
    coalesce(&job, 5)
    do(core.FD_normal_log_prob_events, plan.dtype, &job, n_sample * plan.n_item)
    return True


cdef inline void batch_strides(core.fd_job *job, int k, int begin, int end, intptr_t extent) noexcept:
    """Operand k is contiguous along dims begin to end, and repeated along the others."""
    cdef int d
    for d in range(job.ndim - 1, -1, -1):
        job.stride[k][d] = extent if begin <= d < end else 0
        if begin <= d < end:
            extent *= job.shape[d]


cdef inline void logarithms(Plan plan, void *log_scale, intptr_t n) noexcept:
    """Of the scales as they lie in memory."""
    cdef core.fd_job job
    cdef int k
    job.ndim = 1
    job.dim = 1
    job.shape[0] = n
    for k in range(core.FD_MAX_OPERAND):
        job.stride[k][0] = 1
    job.operand[0] = log_scale
    job.operand[1] = np.PyArray_DATA(plan.scale)
    do(core.FD_log, plan.dtype, &job, n)


# ---- constructors ----------------------------------------------------------------------------


cdef bint fits(object array, int typenum) noexcept:
    """Whether it is an array that kernels can take as it is."""
    return (type(array) is np.ndarray and np.PyArray_TYPE(array) == typenum
            and np.PyArray_ISCARRAY_RO(array))


cdef np.ndarray taken(np.ndarray array):
    """A parameter as its distribution keeps it: a read-only copy, or itself if it is lent (`is_lent`)."""
    cdef object base = array
    while isinstance(base, np.ndarray) and not np.PyArray_ISWRITEABLE(<np.ndarray>base):
        if PyArray_BASE(<np.ndarray>base) is NULL:
            return array
        base = <object>PyArray_BASE(<np.ndarray>base)
    if not isinstance(base, np.ndarray):
        return array
    cdef np.ndarray copy = np.PyArray_NewCopy(array, np.NPY_CORDER)
    PyArray_CLEARFLAGS(copy, np.NPY_ARRAY_WRITEABLE)
    return copy


cdef bint passes(
    core.fd_verb check, np.ndarray array, core.fd_dtype dtype, intptr_t dim, intptr_t n
) noexcept:
    """Whether all n items of an array pass a check."""
    cdef core.fd_job job
    cdef intptr_t found = -1
    job.ndim = 1
    job.dim = dim
    job.shape[0] = n
    job.operand[0] = np.PyArray_DATA(array)
    job.operand[1] = &found
    if n <= SMALL:
        do(check, dtype, &job, n)
    else:
        with nogil:
            do(check, dtype, &job, n)
    return found < 0


cdef object shape_of(np.ndarray array, int ndim):
    """The first `ndim` dims as a tuple."""
    cdef int d
    return tuple([np.PyArray_DIM(array, d) for d in range(ndim)])


cdef np.ndarray view(np.ndarray array, tuple batch_shape, int core_ndim):
    """An array broadcast to a batch but for `core_ndim` dims of its own, read-only.

    np.broadcast_to takes 3 us for it.
    """
    cdef np.npy_intp[np.NPY_MAXDIMS] dims, strides
    cdef int n_batch = <int>PyTuple_GET_SIZE(batch_shape), d, axis
    cdef int lead = n_batch + core_ndim - np.PyArray_NDIM(array)
    if n_batch + core_ndim > np.NPY_MAXDIMS or lead < 0:
        raise ValueError(f"an array cannot have {n_batch + core_ndim} dims, or fewer than it has")
    for d in range(n_batch + core_ndim):
        axis = d - lead
        strides[d] = 0 if axis < 0 else np.PyArray_STRIDE(array, axis)
        if d >= n_batch:
            dims[d] = np.PyArray_DIM(array, axis)
        else:
            dims[d] = batch_shape[d]
            if axis >= 0 and np.PyArray_DIM(array, axis) == 1:
                strides[d] = 0
    cdef int typenum = np.PyArray_TYPE(array)
    cdef np.ndarray result = np.PyArray_New(
        np.ndarray, n_batch + core_ndim, dims, typenum, strides, np.PyArray_DATA(array), 0, 0, None)
    np.set_array_base(result, array)
    return result


def take_normal(Prepared self, loc, scale, validate_args):
    """Sets up a Normal whose arguments are arrays that fit and are right; whether they are."""
    cdef core.fd_dtype dtype
    cdef int d, ndim
    if type(loc) is not np.ndarray:
        return False
    cdef int typenum = np.PyArray_TYPE(loc)
    if typenum != np.NPY_FLOAT64 and typenum != np.NPY_FLOAT32:
        return False
    if not fits(loc, typenum) or not fits(scale, typenum):
        return False
    ndim = np.PyArray_NDIM(loc)
    if np.PyArray_NDIM(scale) != ndim:
        return False
    for d in range(ndim):
        if np.PyArray_DIM(loc, d) != np.PyArray_DIM(scale, d):
            return False
    dtype = core.FD_F32 if typenum == np.NPY_FLOAT32 else core.FD_F64
    self._validate_args = validate_args is None or bool(validate_args)
    loc = taken(loc)
    scale = taken(scale)
    if self._validate_args and not (
            passes(core.FD_check_finite, loc, dtype, 1, np.PyArray_SIZE(loc))
            and passes(core.FD_check_positive, scale, dtype, 1, np.PyArray_SIZE(scale))):
        return False
    self._arrays = {"loc": loc, "scale": scale}
    self._batch_shape = shape_of(loc, ndim)
    self._event_shape = ()
    self._dtype = FLOAT32 if typenum == np.NPY_FLOAT32 else FLOAT64
    return True


def take_mvn(Prepared self, loc, str name, matrix, validate_args):
    """Sets up a MultivariateNormal whose arguments are such, and small; whether they are."""
    cdef core.fd_dtype dtype
    cdef core.fd_job job
    cdef int d, ndim, n_batch_dim
    cdef intptr_t dim, n_matrix, found = -1, asymmetric = -1
    cdef np.ndarray given, factor
    cdef core.fd_verb verb
    cdef Scratch scratch
    if type(loc) is not np.ndarray:
        return False
    cdef int typenum = np.PyArray_TYPE(loc)
    if typenum != np.NPY_FLOAT64 and typenum != np.NPY_FLOAT32:
        return False
    if (not fits(loc, typenum) or not fits(matrix, typenum)
            or np.PyArray_SIZE(loc) > SMALL or np.PyArray_SIZE(matrix) > SMALL):
        return False
    ndim = np.PyArray_NDIM(loc)
    n_batch_dim = np.PyArray_NDIM(matrix) - 2
    if ndim < 1 or n_batch_dim < 0 or (n_batch_dim != ndim - 1 and n_batch_dim != 0):
        return False
    dim = np.PyArray_DIM(loc, ndim - 1)
    if not (0 < dim <= MAX_EVENT and np.PyArray_DIM(matrix, n_batch_dim) == dim
            and np.PyArray_DIM(matrix, n_batch_dim + 1) == dim):
        return False
    for d in range(n_batch_dim):
        if np.PyArray_DIM(loc, d) != np.PyArray_DIM(matrix, d):
            return False
    dtype = core.FD_F32 if typenum == np.NPY_FLOAT32 else core.FD_F64
    n_matrix = np.PyArray_SIZE(matrix) // (dim * dim)
    self._validate_args = validate_args is None or bool(validate_args)
    loc = taken(loc)
    if self._validate_args and not passes(core.FD_check_finite, loc, dtype, 1, np.PyArray_SIZE(loc)):
        return False

    given = matrix if name == "scale_tril" else taken(matrix)
    factor = np.PyArray_SimpleNew(n_batch_dim + 2, np.PyArray_DIMS(matrix), typenum)
    job.ndim = 1
    job.dim = dim
    job.shape[0] = n_matrix
    for d in range(core.FD_MAX_OPERAND):
        job.stride[d][0] = dim * dim if d < 2 else 0
    job.operand[0] = np.PyArray_DATA(factor)
    job.operand[1] = np.PyArray_DATA(given)
    if name == "scale_tril":
        if self._validate_args and not passes(core.FD_check_tril, given, dtype, dim, n_matrix):
            return False
        do(core.FD_pack_tril, dtype, &job, n_matrix)
        self._arrays = {"loc": loc, "_factor": factor}
    else:
        job.operand[2] = &found
        scratch = Scratch(core.FD_MATRIX_BYTES * dim * dim)
        job.operand[3] = scratch.memory
        job.operand[4] = &asymmetric if self._validate_args else NULL
        verb = core.FD_cholesky if name == "covariance_matrix" else core.FD_reverse_cholesky
        do(verb, dtype, &job, n_matrix)
        if found >= 0 or asymmetric >= 0:
            return False
        self._arrays = {"loc": loc, name: given, "_factor": factor}
    PyArray_CLEARFLAGS(factor, np.NPY_ARRAY_WRITEABLE)
    self._batch_shape = shape_of(loc, ndim - 1)
    self._event_shape = (dim,)
    self._dtype = FLOAT32 if typenum == np.NPY_FLOAT32 else FLOAT64
    return True


# ---- the class ---------------------------------------------------------------------------------


def keeps(cls, base, tuple names):
    """True if `cls` has all of these as `base` has them."""
    return all([getattr(cls, name, None) is getattr(base, name, None) for name in names])


cdef dict by_plan = {}


cdef bint goes_by_plan(object cls) except -1:
    """True if the plan that `cls` inherits does what its own hooks do."""
    known = by_plan.get(cls)
    if known is None:
        owner = next(base for base in cls.__mro__ if "_make_plan" in base.__dict__)
        known = by_plan[cls] = keeps(
            cls, owner, ("_sample", "_rsample", "_draw", "_log_prob_of", "_log_prob"))
    return known


def plan(
    tuple shape, np.ndarray loc not None, np.ndarray scale not None, *, bint vectors, bint inverse=False
):
    """A plan for samples of `shape` of packed `loc` and `scale`, or factor where events are `vectors`."""
    return make_plan(shape, loc, scale, vectors, inverse)


cdef class Prepared:
    """What a distribution keeps, and its small calls.

    A subclass has `_make_plan`, `_sample`, `_rsample` and `_log_prob_of`.
    """

    cdef public dict _arrays
    cdef public tuple _batch_shape, _event_shape
    cdef public object _dtype
    cdef public bint _validate_args
    cdef Plan small
    cdef bint planned
    cdef int reparameterised        # has_rsample, which Independent has to ask for; -1 until it is known

    def __cinit__(self, *args, **kwargs):
        self.reparameterised = -1
        if kwargs:
            foreign = [name for name in kwargs if name in _foreign.KEYWORDS]
            if foreign:
                _foreign.check_keywords(type(self), foreign)

    cdef Plan plan(self):
        if not self.planned:
            self.small = self._make_plan() if goes_by_plan(type(self)) else None
            self.planned = True
        return self.small

    def _plan(self):
        """The plan of small calls, if there is one."""
        return self.plan()

    def _view(self, str name):
        """Array `name` broadcast to the batch, read-only."""
        return view(self._arrays[name], self._batch_shape, self._core_ndim[name])

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
            Shape ``sample_shape + batch_shape + event_shape``, of the distribution's dtype.

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
        cdef Plan plan
        if workers is None:
            plan = self.plan()
            if plan is not None:
                result = small_draw(plan, sample_shape, rng, out)
                if result is not None:
                    return result
        return self._sample(sample_shape, rng, out, workers)

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
        cdef Plan plan
        if workers is None:
            plan = self.plan()
            if self.reparameterised < 0:
                self.reparameterised = bool(self.has_rsample)
            if plan is not None and self.reparameterised:
                result = small_draw(plan, sample_shape, rng, out)
                if result is not None:
                    return result
        return self._rsample(sample_shape, rng, out, workers)

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
        cdef Plan plan
        plan = self.plan()
        if plan is not None:
            result = small_log_prob(self, plan, value, <int>PyTuple_GET_SIZE(self._event_shape), out)
            if result is not None:
                return result
        return self._log_prob_of(value, out)
