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
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport intptr_t

from fastdist._kernels cimport core
from fastdist._kernels.isa cimport functions
from fastdist._kernels.program cimport (
    ALIGNMENT,
    KEEP_GIL,
    MAX_NDIM,
    MAX_OPERAND,
    NUMBER,
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


cdef int draw_noise(
    Noise noise, core.fd_domain domain, void *out, intptr_t n, core.fd_dtype dtype, int workers
) except -1:
    """The noise's next n numbers of a domain, to memory that has room for them."""
    cdef core.fd_drawing drawing
    drawing.loop.dim = drawing.n_noise = 1
    drawing.loop.operand[0] = out
    drawing.dtype = dtype
    drawing.domain = domain
    drawing.n_before = drawing.n_stage = 0
    if n:
        draw_rows(noise, &drawing, api.draw_noise, n, NORMAL, workers, 0)
    return 0


cdef int draw(
    Noise noise, Plan plan, np.ndarray out, tuple batch_shape, tuple event_shape, int workers,
    np.ndarray density=None
) except -1:
    """The noise's next numbers in all of a packed array, coloured by a plan; its stages may make a density.

    An array of integers gets those that its kernel makes of uniforms, as doubles where they lie.
    """
    cdef core.fd_drawing drawing
    cdef Kernel kernel = plan.kernel
    cdef Memory stages = None
    cdef intptr_t cost
    cdef bint vectors = kernel.layout == core.FD_EVENTS and kernel.own[0] > 0
    cdef intptr_t dims[MAX_NDIM]
    cdef PyObject *operands[MAX_OPERAND]
    cdef intptr_t n_row
    cdef int d, n_lead, ndim = np.PyArray_NDIM(out) - (1 if vectors else 0)
    if not core.seen(&plan.bound):  # of a wrapper, too, whose events are a batch to the kernel
        shape = batch_shape + event_shape
        n_own = 1 if vectors else 0
        plan.bind(shape[:len(shape) - n_own], shape[len(shape) - n_own:])
    drawing.n_noise = plan.dim if vectors else 1
    n_row = np.PyArray_SIZE(out) // drawing.n_noise if drawing.n_noise else 0
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
        numbers = np.asarray(out).view(np.float64) if kernel.takes_uniforms else out
        operands[0] = <PyObject *>numbers
        lay_out(&drawing.loop, kernel, ndim - n_lead, dims + n_lead, 0, n_lead, operands, 0, -1)
        api.coalesce(&drawing.loop, kernel.n_array)
    drawing.loop.operand[0] = np.PyArray_DATA(out)
    drawing.dtype = plan.dtype
    drawing.domain = core.FD_UNIFORM if kernel.takes_uniforms else core.FD_NORMAL
    drawing.n_batch = plan.n_batch
    drawing.colorize = kernel.function(plan.dtype)
    drawing.n_before = <int>len(plan.before)
    drawing.n_stage = drawing.n_before + <int>len(plan.after)
    cost = kernel.cost(plan.dim)
    if drawing.n_stage:
        stages = Memory(drawing.n_stage * sizeof(core.fd_stage))
        drawing.stage = <const core.fd_stage *>stages.aligned
        if density is not None and not vectors:  # rows are what is summed over
            drawing.n_noise = np.PyArray_SIZE(out) // np.PyArray_SIZE(density)
            n_row = np.PyArray_SIZE(density)
            cost *= drawing.n_noise
        cost += drawing.n_noise * lay_out_stages(<core.fd_stage *>stages.aligned, plan, out, density)
    return draw_rows(noise, &drawing, api.draw_events if vectors else api.draw_elements, n_row,
                     cost, workers, kernel.scratch(plan.dtype, plan.dim))


cdef intptr_t lay_out_stages(
    core.fd_stage *stage, Plan plan, np.ndarray out, np.ndarray density
) except -1:
    """The loops of a plan's stages over a draw; what they cost an element."""
    cdef PyObject *operands[MAX_OPERAND]
    cdef intptr_t dims[MAX_NDIM]
    cdef intptr_t cost = 0
    cdef int ndim = np.PyArray_NDIM(out), n_event = 0, n_brought, k
    cdef Kernel kernel
    cdef tuple arrays
    for k in range(ndim):
        dims[k] = np.PyArray_DIM(out, k)
    if density is not None:
        n_event = ndim - np.PyArray_NDIM(density)
    for kernel, arrays in plan.before + plan.after:
        n_brought = kernel.n_array - <int>PyTuple_GET_SIZE(arrays)
        for k in range(kernel.n_array):
            operands[k] = <PyObject *>out
            if k >= n_brought:
                operands[k] = PyTuple_GET_ITEM(arrays, k - n_brought)
            elif kernel.role[k] == NUMBER:
                operands[k] = <PyObject *>density
        lay_out(
            &stage.loop, kernel, ndim, dims, n_event if kernel.layout == core.FD_EVENT_SUMS else 0, 0,
            operands, 0, -1)
        api.coalesce(&stage.loop, kernel.n_operand)
        stage.kernel = kernel.function(plan.dtype)
        cost += kernel.cost(1)
        stage += 1
    return cost


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
    piece = max(PIECE // cost, 1) * drawing.n_noise
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
    noise.take(drawing.domain, n_row * drawing.n_noise, &place)
    api.share_start(share, drawing, fill, &place, scratch, n_row, workers)
    while rest:
        with nogil:
            rest = api.share_work(share, piece)
        PyErr_CheckSignals()
    return 0
