# cython: cdivision=True
# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Pullbacks: terms of gradients, and their sums, a tile at a time.

A pullback is a program of a few stages (fd_pull in fastdist.h), done tile by tile over the items of a
cotangent, which comes in its full shape, with strides of 0 where it repeats. A gradient gets the sum of the
terms that broadcasting had spread from one element. Of an empty cotangent nothing is written.

    Pull             the stages, what they have of arrays and of the tile, and doing them
    new, expanded    arrays for gradients, and cotangents of sums
    sum_to           a sum over broadcast dims
    sum_made         a kernel's results, summed as they are made
    draw_*, log_prob_*, *_kl     the gradients of a draw, a density, a divergence
    standardized_*, scaled_*     those of functions of (value - loc) / scale, and of their inverses
"""

cimport numpy as np
from cpython.exc cimport PyErr_CheckSignals
from cpython.long cimport PyLong_Check
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport PyObject
from libc.stdint cimport intptr_t

from fastdist._kernels cimport core
from fastdist._kernels.isa cimport functions
from fastdist._kernels.program cimport (
    KEEP_GIL,
    MAX_NDIM,
    PIECE,
    Kernel,
    Memory,
    dtype_of,
    lay_out,
    place_item,
    size_of,
)
from fastdist._kernels.sources cimport Noise

import numpy as np

from fastdist._kernels.program import KERNELS

np.import_array()

cdef const core.fd_api *api = functions()

# Numbers in a tile: of events, to stay in the nearer caches; of whole samples of a batch, enough of
# them that a matrix is read and written once for 16.
cdef enum:
    EVENT_TILE = 8192
    SAMPLE_TILE = 16384
    MIN_TILE_SAMPLE = 16

# A normal and its share of a sum, in rough nanoseconds.
cdef enum:
    NORMAL = 4

# The other factor of terms that are summed as they are, or with the other sign.
cdef enum:
    PLUS = -1
    MINUS = -2

cdef double[2] SIGN_F64 = [1, -1]
cdef float[2] SIGN_F32 = [1, -1]

cdef Kernel SUM_PRODUCTS = KERNELS["sum_products"]
cdef Kernel SUM_OUTER = KERNELS["sum_outer"]
cdef Kernel ADD_DRAW_SCORES = KERNELS["add_draw_scores"]
cdef Kernel KL_SCORE_DIAG = KERNELS["kl_score_diag"]
cdef Kernel KL_SCORE_MVN = KERNELS["kl_score_mvn"]
cdef Kernel SCORE_CATEGORICAL = KERNELS["score_categorical"]
cdef Kernel SCORE_TRUNCATE = KERNELS["score_truncate"]
cdef Kernel SCORE_TRUNCATED = KERNELS["score_truncated"]
cdef Kernel SCORE_TRUNCATED_VALUE = KERNELS["score_truncated_value"]
cdef Kernel SCORE_TRUNCATED_BOUNDS = KERNELS["score_truncated_bounds"]
cdef Kernel SCORE_TRUNCATED_SHAPE = KERNELS["score_truncated_shape"]
cdef dict SCORES = {
    "scale_tril": KERNELS["score_tril"],
    "covariance_matrix": KERNELS["score_covariance"],
    "precision_matrix": KERNELS["score_precision"],
}


cdef class Pull:
    """Stages over the items of a cotangent of a shape, each its last `core_ndim` dims."""

    cdef core.fd_pull *c
    cdef int ndim                   # of the loop over items
    cdef intptr_t shape[MAX_NDIM]
    cdef int order[MAX_NDIM]        # in which its dims are walked
    cdef intptr_t n_item, dim
    cdef intptr_t kinds[3]          # what factors of a divergence are, and if terms of the second are wanted
    cdef list memory                # what the stages need besides arrays

    def __cinit__(self, np.ndarray cotangent, int core_ndim, intptr_t dim, tuple more=()):
        cdef int d
        self.ndim = np.PyArray_NDIM(cotangent) - core_ndim + <int>len(more)
        if self.ndim >= MAX_NDIM:
            raise ValueError(f"gradients take at most {MAX_NDIM - 1} dims, got {self.ndim}")
        for d in range(self.ndim):
            self.shape[d] = np.PyArray_DIM(cotangent, d) if d < self.ndim - <int>len(more) else (
                more[d - self.ndim])
            self.order[d] = d
        self.n_item = size_of(self.ndim, self.shape)
        self.dim = dim
        self.memory = []
        self.c = <core.fd_pull *>PyMem_Malloc(sizeof(core.fd_pull))
        if self.c is NULL:
            raise MemoryError
        self.c.n_stage = 0
        self.c.dtype = dtype_of(cotangent)

    def __dealloc__(self):
        PyMem_Free(self.c)

    cdef void *scratch(self, intptr_t n_byte) except NULL:
        """Memory for the length of the call."""
        cdef Memory memory = Memory(n_byte)
        self.memory.append(memory)
        return memory.aligned

    cdef int tile(self, intptr_t tile_item, intptr_t tile_items) except -1:
        """Make a tile of so many items, or of all if they are fewer, each of `tile_item` numbers."""
        self.c.tile_item = tile_item
        self.c.tile_items = max(1, min(tile_items, self.n_item))
        self.c.tile = self.scratch(self.c.tile_items * tile_item * sizeof(double))
        return 0

    cdef int planes(self, int n_plane) except -1:
        """Make a tile of elements, with so many numbers for each, `tile_items` apart."""
        self.c.tile_item = 1
        self.c.tile_items = min(core.FD_TILE, self.n_item)
        self.c.tile = self.scratch(n_plane * self.c.tile_items * sizeof(double))
        return 0

    cdef object term(self, np.ndarray out, int plane):
        """Where a stage writes terms: to `out` if they are not to be summed, or to a plane of the tile."""
        if np.PyArray_SIZE(out) == self.n_item:
            return out
        return plane * self.c.tile_items

    cdef core.fd_stage *stage(
        self, Kernel kernel, tuple operands, intptr_t inner=-1, bint natural=False
    ) except NULL:
        """Add a stage whose items are those of the loop or, with `inner`, that many elements of each.

        An operand is an array, or a number: where it begins in the tile. The kernel's others are left to the
        caller. With `natural` the dims stay as they are.
        """
        if self.c.n_stage == core.FD_MAX_STAGE:
            raise SystemError("too many stages for a pullback")
        cdef core.fd_stage *stage = &self.c.stage[self.c.n_stage]
        cdef core.fd_loop *loop = &stage.loop
        cdef int d, k
        self.c.n_stage += 1
        stage.kernel = kernel.function(self.c.dtype)
        stage.unit = 1
        loop.dim = self.dim
        loop.ndim = self.ndim
        for d in range(self.ndim):
            loop.shape[d] = self.shape[d]
        if inner >= 0:
            stage.unit = loop.shape[self.ndim] = inner
            loop.ndim += 1
        for k in range(core.FD_MAX_OPERAND):
            stage.in_tile[k] = -1
            loop.operand[k] = NULL
            for d in range(loop.ndim):
                loop.stride[k][d] = 0
        for k in range(<int>len(operands)):
            if PyLong_Check(operands[k]):
                stage.in_tile[k] = operands[k]
            elif operands[k] is not None:
                self.operand(loop, k, kernel, operands[k])
        if not natural:
            self.put_in_order(stage, <int>len(operands))
        return stage

    cdef int operand(self, core.fd_loop *loop, int k, Kernel kernel, np.ndarray array) except -1:
        cdef int own = kernel.own[k]
        if kernel.letters[k] == c"f":
            own = 1 if self.kinds[k - kernel.first_factor] == core.FD_DIAGONAL else 2
        if dtype_of(array) != self.c.dtype:
            raise TypeError(f"operand {k} of {kernel.name} is of {array.dtype}, the cotangent is not")
        return place_item(loop, k, kernel, array, own, 0, 0)

    cdef void put_in_order(self, core.fd_stage *stage, int n_operand) noexcept:
        """Put the loop dims in order, lay out operands in the tile, coalesce."""
        cdef core.fd_loop *loop = &stage.loop
        cdef intptr_t moved[MAX_NDIM]
        cdef intptr_t stride
        cdef int d, k
        cdef bint single = loop.ndim > self.ndim and loop.shape[self.ndim] == 1
        for k in range(n_operand):
            for d in range(self.ndim):
                moved[d] = loop.stride[k][self.order[d]]
            for d in range(self.ndim):
                loop.stride[k][d] = moved[d]
        for d in range(self.ndim):
            loop.shape[d] = self.shape[self.order[d]]
        for k in range(n_operand):
            if stage.in_tile[k] >= 0:
                loop.stride[k][self.ndim] = 1
                stride = self.c.tile_item
                for d in reversed(range(self.ndim)):
                    loop.stride[k][d] = stride
                    stride *= loop.shape[d]
        api.coalesce(loop, n_operand)
        if single:
            # Elementwise kernels take strides of 0 or 1: the elements of items must stay the innermost dim.
            for k in range(core.FD_MAX_OPERAND):
                loop.stride[k][loop.ndim] = 0
            loop.shape[loop.ndim] = 1
            loop.ndim += 1

    cdef int total(self, core.fd_loop *loop, intptr_t n_sum) except -1:
        """Give a stage's sums scratch memory, where they need any."""
        if n_term(loop) > core.FD_SUM_TERMS:
            loop.operand[3] = self.scratch(n_sum * sizeof(core.fd_total))
        return 0

    cdef int sum(self, np.ndarray out, object x, object y, intptr_t inner=-1) except -1:
        """A stage that sums x y; y may be PLUS or MINUS."""
        cdef bint alone = PyLong_Check(y) and y < 0
        cdef core.fd_stage *stage = self.stage(SUM_PRODUCTS, (out, x, None if alone else y), inner)
        if alone:
            set_sign(&stage.loop, self.c.dtype, y == MINUS)
        return self.total(&stage.loop, np.PyArray_SIZE(out))

    cdef int sum_term(self, np.ndarray out, object term, object y) except -1:
        """The same of terms that a stage has written, unless they were written where their sum would be."""
        if term is out and y == PLUS:
            return 0
        return self.sum(out, term, y)

    cdef int outer(self, np.ndarray out, object a, object b, bint natural=False) except -1:
        """A stage that sums outer products a b', of which the lower triangle is written."""
        cdef core.fd_stage *stage = self.stage(SUM_OUTER, (out, a, b), -1, natural)
        cdef intptr_t *span = <intptr_t *>self.scratch(2 * sizeof(intptr_t))
        span[0] = 0
        span[1] = n_term(&stage.loop)
        stage.loop.operand[4] = span
        stage.loop.operand[5] = self.scratch(core.FD_OUTER_ROOM * sizeof(double))
        return self.total(&stage.loop, np.PyArray_SIZE(out))

    cdef bint kept_first(self, int ndim, const intptr_t *shape) noexcept:
        """Let the dims that an array of a shape has come first, so that each item of it gets all its terms
        in a row; whether that makes a difference."""
        cdef int lacking = self.ndim - ndim, n = 0, d
        cdef bint repeats = False, moved = False
        for d in range(self.ndim):
            if d >= lacking and shape[d - lacking] != 1:
                self.order[n] = d
                n += 1
                moved |= repeats
            else:
                repeats |= self.shape[d] > 1
        for d in range(self.ndim):
            if d < lacking or shape[d - lacking] == 1:
                self.order[n] = d
                n += 1
        return moved

    cdef int run(self, Noise noise, intptr_t cost) except -1:
        """All items, each costing about `cost` ns, on top of the next normals of `noise` if there is one."""
        cdef core.fd_noise *source = NULL
        cdef intptr_t begin = 0, end, piece
        if noise is not None:
            source = &noise.source
        if self.n_item * cost < KEEP_GIL:
            api.pull_items(self.c, source, 0, self.n_item)
            return 0
        piece = max(PIECE // cost // self.c.tile_items, 1) * self.c.tile_items
        while begin < self.n_item:
            end = min(begin + piece, self.n_item)
            with nogil:
                api.pull_items(self.c, source, begin, end)
            begin = end
            PyErr_CheckSignals()
        return 0

    cdef int run_samples(self, Noise noise) except -1:
        """fd_pull_samples over the first dim of the cotangent, which are the samples."""
        cdef core.fd_loop *loop = &self.c.stage[0].loop
        cdef core.fd_loop natural = loop[0]
        cdef intptr_t begin = 0, end, piece, stride = self.dim, n_sample = self.shape[0]
        cdef int k, i, d, axis = 0
        for d in reversed(range(self.ndim)):
            natural.stride[2][d] = stride
            stride *= natural.shape[d]
        loop.ndim = 0
        for i in range(self.ndim):
            d = self.order[i]
            if d == 0:
                axis = loop.ndim
            elif natural.shape[d] == 1:
                continue
            loop.shape[loop.ndim] = natural.shape[d]
            for k in range(core.FD_MAX_OPERAND):
                loop.stride[k][loop.ndim] = natural.stride[k][d] if k < 3 else 0
            loop.ndim += 1
        piece = PIECE // (self.c.tile_item * (NORMAL + self.dim // 2)) // self.c.tile_items
        piece = max(piece, 1) * self.c.tile_items
        while begin < n_sample:
            end = min(begin + piece, n_sample)
            with nogil:
                api.pull_samples(self.c, &noise.source, axis, begin, end)
            begin = end
            PyErr_CheckSignals()
        return 0


cdef intptr_t n_term(const core.fd_loop *loop) noexcept:
    """How many terms each sum of a loop has."""
    cdef intptr_t n = 1
    cdef int d
    for d in range(loop.ndim):
        if loop.stride[0][d] == 0:
            n *= loop.shape[d]
    return n


cdef void set_sign(core.fd_loop *loop, core.fd_dtype dtype, bint minus) noexcept:
    """Let operand 2 be 1 or -1."""
    cdef int d
    loop.operand[2] = <void *>&SIGN_F32[minus] if dtype == core.FD_F32 else <void *>&SIGN_F64[minus]
    for d in range(loop.ndim):
        loop.stride[2][d] = 0


# ---- arrays --------------------------------------------------------------------------------------


cpdef np.ndarray new(np.ndarray g, tuple shape):
    """For a gradient of g's dtype: pullbacks overwrite it, but by an empty sum."""
    cdef np.npy_intp dims[MAX_NDIM]
    cdef int d, ndim = <int>len(shape)
    if ndim > MAX_NDIM:
        raise ValueError(f"there are at most {MAX_NDIM} dims, got shape {shape}")
    for d in range(ndim):
        dims[d] = shape[d]
    if np.PyArray_SIZE(g):
        return np.PyArray_SimpleNew(ndim, dims, np.PyArray_TYPE(g))
    return np.PyArray_ZEROS(ndim, dims, np.PyArray_TYPE(g), 0)


cpdef np.ndarray expanded(np.ndarray g, tuple tail):
    """`g` repeated over dims `tail` at its end, read-only."""
    cdef np.npy_intp dims[MAX_NDIM]
    cdef np.npy_intp strides[MAX_NDIM]
    cdef int d, lead = np.PyArray_NDIM(g), ndim = lead + <int>len(tail)
    cdef np.ndarray result
    if ndim > MAX_NDIM:
        raise ValueError(f"gradients take at most {MAX_NDIM} dims, got {ndim}")
    for d in range(ndim):
        dims[d] = np.PyArray_DIM(g, d) if d < lead else tail[d - lead]
        strides[d] = np.PyArray_STRIDE(g, d) if d < lead else 0
    result = np.PyArray_New(
        np.ndarray, ndim, dims, np.PyArray_TYPE(g), strides, np.PyArray_DATA(g), 0, 0, None)
    np.set_array_base(result, g)
    return result


# ---- sums ----------------------------------------------------------------------------------------


def sum_to(np.ndarray out not None, np.ndarray x not None):
    """``out = x``, summed over the dims in which `out` has size 1 or which it lacks."""
    cdef core.fd_loop loop
    cdef core.fd_dtype dtype = dtype_of(x)
    cdef core.fd_kernel *function = SUM_PRODUCTS.function(dtype)
    cdef intptr_t n_item = np.PyArray_SIZE(x), begin = 0, end
    cdef PyObject *operands[3]
    cdef Memory totals
    operands[0] = <PyObject *>out
    operands[1] = operands[2] = <PyObject *>x
    lay_out(
        &loop, SUM_PRODUCTS, np.PyArray_NDIM(x), <const intptr_t *>np.PyArray_DIMS(x), 0, 0, operands, 0, -1)
    if n_item == 0:
        return
    set_sign(&loop, dtype, False)
    if n_term(&loop) > core.FD_SUM_TERMS:
        totals = Memory(np.PyArray_SIZE(out) * sizeof(core.fd_total))
        loop.operand[3] = totals.aligned
    api.coalesce(&loop, 3)
    if n_item < KEEP_GIL:
        api.run(function, &loop, 0, n_item)
        return
    while begin < n_item:
        end = min(begin + PIECE, n_item)
        with nogil:
            api.run(function, &loop, begin, end)
        begin = end
        PyErr_CheckSignals()


# ---- scalars -------------------------------------------------------------------------------------


cpdef int draw_diag(Noise noise, np.ndarray by_loc, np.ndarray by_scale, np.ndarray cotangent) except -1:
    """Gradients of ``loc + scale * eps`` with the noise's next normals."""
    cdef Pull pull = Pull(cotangent, 0, 1)
    if pull.n_item:
        pull.planes(1)
        pull.sum(by_scale, cotangent, 0)
        pull.sum(by_loc, cotangent, PLUS)
        pull.run(noise, NORMAL)


cpdef int standardized_diag(
    Kernel score, np.ndarray by_value, np.ndarray by_loc, np.ndarray by_scale,
    np.ndarray cotangent, np.ndarray value, np.ndarray loc, np.ndarray scale,
) except -1:
    """Gradients of what depends on ``(value - loc) / scale``, and on the scale, by their `score`."""
    cdef Pull pull = Pull(cotangent, 0, 1)
    if pull.n_item:
        pull.planes(2)
        of_value, of_scale = pull.term(by_value, 0), pull.term(by_scale, 1)
        pull.stage(score, (of_value, of_scale, cotangent, value, loc, scale))
        pull.sum_term(by_value, of_value, PLUS)
        pull.sum(by_loc, of_value, MINUS)
        pull.sum_term(by_scale, of_scale, PLUS)
        pull.run(None, score.cost(1) + 1)


cpdef int scaled_diag(
    Kernel score, np.ndarray by_value, np.ndarray by_loc, np.ndarray by_scale,
    np.ndarray cotangent, np.ndarray value, np.ndarray scale,
) except -1:
    """Gradients of ``loc + scale * f(value)``, by the `score` of f."""
    cdef Pull pull = Pull(cotangent, 0, 1)
    if pull.n_item:
        pull.planes(2)
        of_value, of_scale = pull.term(by_value, 0), pull.term(by_scale, 1)
        pull.stage(score, (of_value, of_scale, cotangent, value, scale))
        pull.sum_term(by_value, of_value, PLUS)
        pull.sum(by_loc, cotangent, PLUS)
        pull.sum_term(by_scale, of_scale, PLUS)
        pull.run(None, score.cost(1) + 1)


cpdef int kl_diag(
    np.ndarray by_loc_p, np.ndarray by_scale_p, np.ndarray by_loc_q, np.ndarray by_scale_q,
    np.ndarray cotangent, np.ndarray loc_p, np.ndarray scale_p, np.ndarray loc_q, np.ndarray scale_q,
) except -1:
    """Gradients of `normal_kl`."""
    cdef Pull pull = Pull(cotangent, 0, 1)
    if pull.n_item:
        pull.planes(3)
        of_loc, of_p, of_q = pull.term(by_loc_p, 0), pull.term(by_scale_p, 1), pull.term(by_scale_q, 2)
        pull.stage(KL_SCORE_DIAG, (of_loc, of_p, of_q, cotangent, loc_p, scale_p, loc_q, scale_q))
        pull.sum_term(by_loc_p, of_loc, PLUS)
        pull.sum_term(by_scale_p, of_p, PLUS)
        pull.sum(by_loc_q, of_loc, MINUS)
        pull.sum_term(by_scale_q, of_q, PLUS)
        pull.run(None, 3)


cpdef int draw_and_kl_diag(
    Noise noise, np.ndarray by_loc_p, np.ndarray by_scale_p, np.ndarray by_loc_q,
    np.ndarray by_scale_q, np.ndarray of_draw, np.ndarray of_kl, np.ndarray loc_p, np.ndarray scale_p,
    np.ndarray loc_q, np.ndarray scale_q,
) except -1:
    """The sum of `draw_diag` and of `kl_diag`, whose cotangents are of one shape."""
    cdef Pull pull = Pull(of_draw, 0, 1)
    cdef intptr_t plane
    if pull.n_item:
        pull.planes(4)
        plane = pull.c.tile_items
        of_loc, of_p, of_q = pull.term(by_loc_p, 1), pull.term(by_scale_p, 2), 3 * plane
        pull.stage(KL_SCORE_DIAG, (of_loc, of_p, of_q, of_kl, loc_p, scale_p, loc_q, scale_q))
        pull.sum(by_loc_q, of_loc, MINUS)
        pull.sum(by_scale_q, of_q, PLUS)
        pull.stage(ADD_DRAW_SCORES, (of_loc, of_p, of_draw, 0))
        pull.sum_term(by_loc_p, of_loc, PLUS)
        pull.sum_term(by_scale_p, of_p, PLUS)
        pull.run(noise, NORMAL + 4)


def sum_made(Kernel kernel not None, np.ndarray out not None, tuple event_shape, *arrays):
    """``out`` = what a kernel makes of arrays, summed over the trailing dims `event_shape` as it is made.

    Its items are elements, or events of which it makes a number.
    """
    cdef np.ndarray last = arrays[len(arrays) - 1]
    cdef intptr_t dim = np.PyArray_DIM(last, np.PyArray_NDIM(last) - 1) if kernel.tells_dim >= 0 else 1
    cdef Pull pull = Pull(out, 0, dim, event_shape)
    if pull.n_item:
        pull.planes(1)
        pull.stage(kernel, (0, *arrays))
        pull.sum(out[(...,) + (None,) * len(event_shape)], 0, PLUS)
        pull.run(None, kernel.cost(dim))


# ---- outcomes ------------------------------------------------------------------------------------


def log_prob_categorical(
    np.ndarray by_row, np.ndarray cotangent, np.ndarray value, np.ndarray gain, np.ndarray loss
):
    """Gradients of `categorical_log_prob` by what its rows are made of, as gain and loss tell."""
    cdef intptr_t dim = np.PyArray_DIM(gain, np.PyArray_NDIM(gain) - 1)
    cdef Pull pull = Pull(cotangent, 0, dim)
    if pull.n_item:
        pull.tile(dim, max(EVENT_TILE // dim, 1))
        pull.stage(SCORE_CATEGORICAL, (0, cotangent, value, gain, loss))
        pull.sum(by_row, 0, PLUS, dim)
        pull.run(None, 4 + 2 * dim)


# ---- truncated normals ----------------------------------------------------------------------------


def draw_truncated(
    Noise noise not None, np.ndarray by_low, np.ndarray by_high, np.ndarray by_t, np.ndarray by_all,
    np.ndarray cotangent, np.ndarray value, np.ndarray loc, np.ndarray scale, np.ndarray low, np.ndarray high,
):
    """Of a truncated normal's draws, `value`: sums of cotangents times derivatives by the bounds, of
    cotangents times t, and of cotangents alone."""
    cdef Pull pull = Pull(cotangent, 0, 1)
    cdef intptr_t plane
    if pull.n_item:
        pull.planes(3)
        plane = pull.c.tile_items
        pull.stage(SCORE_TRUNCATE, (0, plane, 2 * plane, value, loc, scale, low, high))
        pull.sum(by_low, cotangent, 0)
        pull.sum(by_high, cotangent, plane)
        pull.sum(by_t, cotangent, 2 * plane)
        pull.sum(by_all, cotangent, PLUS)
        pull.run(noise, SCORE_TRUNCATE.cost(1) + NORMAL)


def log_prob_truncated(
    np.ndarray by_value, np.ndarray by_all, np.ndarray by_t, np.ndarray by_t2, np.ndarray cotangent,
    np.ndarray value, np.ndarray loc, np.ndarray scale, np.ndarray low, np.ndarray high,
):
    """Of its densities: the gradient by the value, and sums over values between the bounds of cotangents, of
    cotangents times t, and times t^2."""
    cdef Pull pull = Pull(cotangent, 0, 1)
    cdef intptr_t plane
    if pull.n_item:
        pull.planes(4)
        plane = pull.c.tile_items
        of_value = pull.term(by_value, 3)
        pull.stage(SCORE_TRUNCATED, (0, plane, cotangent, value, loc, scale, low, high))
        pull.stage(SCORE_TRUNCATED_VALUE, (of_value, 2 * plane, 0, plane, loc, scale, low, high))
        pull.sum_term(by_value, of_value, PLUS)
        pull.sum(by_all, 0, PLUS)
        pull.sum(by_t, 2 * plane, PLUS)
        pull.sum(by_t2, 2 * plane, plane)
        pull.run(None, 2 * SCORE_TRUNCATED.cost(1))


def cdf_truncated(
    Kernel place not None, Kernel rate not None, bint inverse, np.ndarray by_value,
    tuple by_parameters not None, np.ndarray cotangent, np.ndarray value, tuple parameters not None,
    tuple places not None,
):
    """Of its cdf family: the gradient by the value and, weighted with that or, of an inverse, with the
    cotangent, how the four parameters move the number with its share of the mass below it."""
    cdef Pull pull = Pull(cotangent, 0, 1)
    cdef intptr_t t, edge
    cdef int i
    if pull.n_item:
        pull.planes(7)
        t, edge = 5 * pull.c.tile_items, 6 * pull.c.tile_items
        of_value = pull.term(by_value, 0)
        terms = [pull.term(by_parameters[i], 1 + i) for i in range(4)]
        weight = cotangent if inverse else of_value
        pull.stage(place, (t, edge, value, *parameters))
        pull.stage(rate, (of_value, cotangent, t, edge, parameters[1], *places))
        pull.stage(SCORE_TRUNCATED_SHAPE, (*terms[:2], weight, t, edge, *places))
        pull.stage(SCORE_TRUNCATED_BOUNDS, (*terms[2:], weight, t, edge, *places))
        pull.sum_term(by_value, of_value, PLUS)
        for i in range(4):
            pull.sum_term(by_parameters[i], terms[i], PLUS)
        pull.run(None, place.cost(1) + 3 * rate.cost(1))


# ---- vectors -------------------------------------------------------------------------------------


def draw_tril(Noise noise not None, np.ndarray by_factor, np.ndarray cotangent):
    """Gradient by L of ``L eps``, lower triangle only, with the noise's next normals.

    The samples are one dim, the first of the cotangent.
    """
    cdef int ndim = np.PyArray_NDIM(cotangent)
    cdef intptr_t n_sample = np.PyArray_DIM(cotangent, 0), dim = np.PyArray_DIM(cotangent, ndim - 1), size
    cdef Pull pull = Pull(cotangent, 1, dim)
    if pull.n_item == 0 or dim == 0:
        return
    if pull.kept_first(np.PyArray_NDIM(by_factor) - 2, <const intptr_t *>np.PyArray_DIMS(by_factor)):
        size = pull.n_item // n_sample * dim
        pull.tile(size, max(SAMPLE_TILE // size, min(MIN_TILE_SAMPLE, n_sample)))
        pull.outer(by_factor, cotangent, 0, True)
        pull.run_samples(noise)
    else:
        pull.tile(dim, EVENT_TILE // dim)
        pull.outer(by_factor, cotangent, 0)
        pull.run(noise, dim * (NORMAL + dim // 2))


def colorize_tril(np.ndarray by_factor, np.ndarray cotangent, np.ndarray eps):
    """Gradient by L of ``L eps``, lower triangle only, with events in full."""
    cdef intptr_t dim = np.PyArray_DIM(cotangent, np.PyArray_NDIM(cotangent) - 1)
    cdef Pull pull = Pull(cotangent, 1, dim)
    if pull.n_item == 0 or dim == 0:
        return
    pull.kept_first(np.PyArray_NDIM(by_factor) - 2, <const intptr_t *>np.PyArray_DIMS(by_factor))
    pull.tile(dim, EVENT_TILE // dim)
    pull.outer(by_factor, cotangent, eps)
    pull.run(None, dim * (1 + dim // 2))


def log_prob_tril(
    str given, np.ndarray by_value, np.ndarray by_loc, np.ndarray by_factor, np.ndarray cotangent,
    np.ndarray value, np.ndarray loc, np.ndarray panels,
):
    """Gradients of ``-|z|^2 / 2``, z = L^-1 (value - loc), with panels of a factor of the `given` matrix.

    `by_factor` gets the lower triangle of the one by L or, if L was not given, of L' times that.
    """
    cdef intptr_t dim = np.PyArray_DIM(value, np.PyArray_NDIM(value) - 1), size
    cdef bint whitened = given != "scale_tril", summed
    cdef Kernel kernel = SCORES[given]
    cdef Pull pull = Pull(cotangent, 0, dim)
    cdef core.fd_stage *stage
    if pull.n_item == 0 or dim == 0:
        return
    pull.kept_first(np.PyArray_NDIM(by_factor) - 2, <const intptr_t *>np.PyArray_DIMS(by_factor))
    summed = np.PyArray_SIZE(by_value) != pull.n_item * dim
    # Of an item there are one or two vectors of terms and then, if it is summed, its part of by_value.
    size = 2 * dim if whitened else dim
    pull.tile(size + dim if summed else size,
              max(EVENT_TILE // dim // 2, core.FD_SCRATCH_BYTES // np.PyArray_ITEMSIZE(cotangent)))
    of_value = size if summed else by_value
    stage = pull.stage(kernel, (0, of_value, cotangent, value, loc, panels))
    stage.loop.operand[6] = pull.scratch(kernel.scratch(pull.c.dtype, dim))
    if summed:
        pull.sum(by_value, of_value, PLUS, dim)
    pull.sum(by_loc, of_value, MINUS, dim)
    pull.outer(by_factor, dim if whitened else of_value, 0)
    pull.run(None, dim * (4 + 2 * dim))


def kl_mvn(
    np.ndarray by_loc_p, np.ndarray by_loc_q, np.ndarray by_p, np.ndarray by_q, np.ndarray cotangent,
    np.ndarray loc_p, np.ndarray loc_q, np.ndarray p, np.ndarray q, intptr_t kind_p, intptr_t kind_q,
):
    """Gradients of `mvn_kl`, by factors times L' (lower triangles, as rows of dim^2) and by scales.

    Those by q are both None if they are not wanted."""
    cdef intptr_t dim = np.PyArray_DIM(p, np.PyArray_NDIM(p) - 1)
    cdef intptr_t size_p = dim if kind_p == core.FD_DIAGONAL else dim * dim
    cdef intptr_t size_q = dim if kind_q == core.FD_DIAGONAL else dim * dim
    cdef core.fd_stage *stage
    cdef Pull pull = Pull(cotangent, 0, dim)
    if pull.n_item == 0 or dim == 0:
        return
    pull.kinds[0] = kind_p
    pull.kinds[1] = kind_q
    pull.kinds[2] = by_q is not None
    pull.tile(dim + size_p + size_q, EVENT_TILE // (dim + size_p + size_q))
    stage = pull.stage(KL_SCORE_MVN, (0, cotangent, loc_p, loc_q, p, q))
    stage.loop.operand[6] = pull.scratch(KL_SCORE_MVN.scratch(pull.c.dtype, dim))
    stage.loop.operand[7] = pull.kinds
    pull.sum(by_loc_p, 0, PLUS, dim)
    pull.sum(by_p, dim, PLUS, size_p)
    if by_q is not None:
        pull.sum(by_loc_q, 0, MINUS, dim)
        pull.sum(by_q, dim + size_p, PLUS, size_q)
    pull.run(None, dim * dim * (4 + 3 * dim))
