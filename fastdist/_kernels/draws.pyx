# cython: cdivision=True
# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Draws: noise, coloured where it lies.

    draw_noise   the bare noise
    draw         noise, coloured by a plan

A large draw from a stream of our own takes its range of it and lets others go on behind that: other threads,
and what signals call. So does whoever catches an exception that these raise. NumPy's generators are locked
throughout.
"""

cimport numpy as np
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport PyObject
from libc.stdint cimport intptr_t

from fastdist._kernels cimport core
from fastdist._kernels.isa cimport functions
from fastdist._kernels.program cimport (
    ALIGNMENT,
    KEEP_GIL,
    MAX_NDIM,
    MAX_OPERAND,
    PIECE,
    SMALL_SCRATCH,
    Kernel,
    Memory,
    Plan,
    aligned,
    lay_out,
)
from fastdist._kernels.sources cimport Noise

import numpy as np

from fastdist._kernels._workers import parse_workers

np.import_array()

cdef const core.fd_api *api = functions()

# In rough nanoseconds of one core: less than a SHARE is not worth another worker. A NORMAL costs NumPy's
# ziggurat 10, the package's own 0.4 to 2; kernels' costs include theirs.
cdef enum:
    SHARE = 200_000
    NORMAL = 4


cdef int draw_noise(Noise noise, void *out, intptr_t n, core.fd_dtype dtype, int workers) except -1:
    """The noise's next n normals, to memory that has room for them."""
    cdef core.fd_drawing drawing
    drawing.loop.dim = 1
    drawing.loop.operand[0] = out
    drawing.dtype = dtype
    if n:
        draw_rows(noise, &drawing, api.draw_noise, n, NORMAL, workers, 0)
    return 0


cdef int draw(
    Noise noise, Plan plan, np.ndarray out, tuple batch_shape, tuple event_shape, int workers
) except -1:
    """The noise's next normals in all of a packed array, coloured by a plan."""
    cdef core.fd_drawing drawing
    cdef Kernel kernel = plan.kernel
    cdef bint vectors = kernel.layout == core.FD_EVENTS
    cdef intptr_t dims[MAX_NDIM]
    cdef PyObject *operands[MAX_OPERAND]
    cdef intptr_t n_row
    cdef int d, n_lead, ndim = np.PyArray_NDIM(out) - (1 if vectors else 0)
    if not plan.bound:  # of a wrapper, too, whose events are a batch to the kernel
        shape = batch_shape + event_shape
        n_own = 1 if vectors else 0
        plan.bind(shape[:len(shape) - n_own], shape[len(shape) - n_own:])
    n_row = np.PyArray_SIZE(out) // plan.dim if plan.dim else 0
    if n_row == 0:
        return 0
    if plan.ndim >= 0:
        plan.put_loop(&drawing.loop, 1 if vectors else n_row // plan.n_batch)
    else:
        # Of vectors one sample stands for all in the loop; fd_draw_events knows where the others lie.
        n_lead = ndim - plan.n_batch_dim if vectors else 0
        for d in range(ndim):
            dims[d] = np.PyArray_DIM(out, d)
        for d in range(1, kernel.n_array):
            operands[d] = plan.operands[d]
        operands[0] = <PyObject *>out
        lay_out(&drawing.loop, kernel, ndim - n_lead, dims + n_lead, 0, n_lead, operands, 0, -1)
        api.coalesce(&drawing.loop, kernel.n_array)
    drawing.loop.operand[0] = np.PyArray_DATA(out)
    drawing.dtype = plan.dtype
    drawing.n_batch = plan.n_batch
    drawing.colorize = kernel.function(plan.dtype)
    return draw_rows(noise, &drawing, api.draw_events if vectors else api.draw_elements, n_row,
                     kernel.cost(plan.dim), workers, kernel.scratch(plan.dtype, plan.dim))


cdef int draw_rows(
    Noise noise, core.fd_drawing *drawing, core.fd_draw *fill, intptr_t n_row, intptr_t cost, int workers,
    size_t n_scratch,
) except -1:
    """All rows of a draw, each costing about `cost` ns, by workers with so many bytes of scratch memory each.

    0 workers are as many as `set_workers` says, which small draws do not ask.
    """
    cdef bint own = noise.stream is not None and n_row * cost >= KEEP_GIL
    cdef Memory memory = None
    cdef char room[SMALL_SCRATCH + ALIGNMENT]
    cdef void *scratch = aligned(room)
    if own:
        if workers == 0:
            workers = parse_workers(None)
        workers = <int>max(min(workers, n_row * cost // SHARE, core.FD_MAX_WORKER), 1)
    else:
        workers = 1
    if workers * n_scratch > SMALL_SCRATCH:
        memory = Memory(workers * n_scratch)
        scratch = memory.aligned
    if own:
        draw_range(noise, drawing, fill, scratch, n_row, cost, workers)
        return 0
    noise.lock()
    try:
        draw_locked(noise, drawing, fill, scratch, n_row, cost)
    finally:
        noise.unlock()
    return 0


cdef int draw_locked(
    Noise noise, core.fd_drawing *drawing, core.fd_draw *fill, void *scratch, intptr_t n_row, intptr_t cost
) except -1:
    cdef intptr_t begin = 0, end, piece
    if n_row * cost < KEEP_GIL:
        api.draw_rows(fill, drawing, &noise.source, scratch, 0, n_row)
        return 0
    piece = max(PIECE // cost, 1) * drawing.loop.dim
    piece = api.draw_piece(fill, drawing, piece, 4 * piece)
    while begin < n_row:
        end = min(begin + piece, n_row)
        with nogil:
            api.draw_rows(fill, drawing, &noise.source, scratch, begin, end)
        begin = end
        PyErr_CheckSignals()
    return 0


cdef int draw_range(
    Noise noise, core.fd_drawing *drawing, core.fd_draw *fill, void *scratch, intptr_t n_row, intptr_t cost,
    int workers,
) except -1:
    """By this thread and helpers, none of which is at work when signals are looked at."""
    cdef Memory memory = Memory(api.share_size(workers))
    cdef core.fd_share *share = <core.fd_share *>memory.aligned
    cdef intptr_t piece = max(PIECE // cost, 1)
    cdef core.fd_place place
    cdef bint rest = True
    noise.take(n_row * drawing.loop.dim, &place)
    api.share_start(share, drawing, fill, &place, scratch, n_row, workers)
    while rest:
        with nogil:
            rest = api.share_work(share, piece)
        PyErr_CheckSignals()
    return 0
