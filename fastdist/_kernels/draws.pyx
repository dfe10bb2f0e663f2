# cython: cdivision=True
# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Draws: noise, coloured where it lies.

    draw_noise   the bare noise
    draw         noise, coloured by a kernel that changes its operand 0 in place

A large draw from a stream of our own takes its range of it and lets others go on behind that: other threads, and
what signals call. So does whoever catches an exception that these raise. NumPy's generators are locked throughout.
"""

cimport numpy as np
from cpython.exc cimport PyErr_CheckSignals
from cpython.tuple cimport PyTuple_GET_ITEM
from libc.stdint cimport intptr_t

from fastdist._kernels cimport core
from fastdist._kernels.isa cimport functions
from fastdist._kernels.program cimport KEEP_GIL, PIECE, Kernel, Memory, dtype_of, lay_out, size_of
from fastdist._kernels.sources cimport Noise

import numpy as np

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
    drawing.job.dim = 1
    drawing.job.operand[0] = out
    drawing.dtype = dtype
    if n:
        draw_rows(noise, &drawing, api.draw_noise, n, NORMAL, workers, 0)
    return 0


cdef int draw(
    Noise noise, Kernel kernel, int ndim, const intptr_t *shape, int n_lead, tuple arrays, int workers
) except -1:
    """The noise's next normals in all of ``arrays[0]``, coloured by `kernel` with the others.

    `shape` is that without the kernel's own dims; of samples are the first `n_lead`.
    """
    cdef core.fd_drawing drawing
    cdef core.fd_draw *fill = api.draw_elements
    cdef intptr_t n_row = size_of(ndim, shape)
    cdef core.fd_dtype dtype = dtype_of(<np.ndarray>PyTuple_GET_ITEM(arrays, 0))
    if kernel.layout == core.FD_EVENTS:
        # One sample stands for all in the loop; fd_draw_events knows where the others lie.
        fill = api.draw_events
        lay_out(&drawing.job, kernel, ndim - n_lead, shape + n_lead, 0, n_lead, arrays)
        drawing.n_batch = size_of(ndim - n_lead, shape + n_lead)
    else:
        lay_out(&drawing.job, kernel, ndim, shape, 0, 0, arrays)
    if n_row == 0 or drawing.job.dim == 0:
        return 0
    api.coalesce(&drawing.job, kernel.n_array)
    drawing.dtype = dtype
    drawing.colorize = kernel.function(dtype)
    draw_rows(noise, &drawing, fill, n_row, kernel.cost(drawing.job.dim), workers,
              kernel.scratch(dtype, drawing.job.dim))
    return 0


cdef int draw_rows(
    Noise noise, core.fd_drawing *drawing, core.fd_draw *fill, intptr_t n_row, intptr_t cost, int workers,
    size_t n_scratch,
) except -1:
    """All rows of a draw, each costing about `cost` ns, by workers with so many bytes of scratch memory each."""
    cdef bint own = noise.stream is not None and n_row * cost >= KEEP_GIL
    cdef Memory scratch = None
    workers = <int>max(min(workers, n_row * cost // SHARE, core.FD_MAX_WORKER), 1) if own else 1
    if n_scratch:
        scratch = Memory(workers * n_scratch)
    if own:
        draw_range(noise, drawing, fill, scratch.aligned if n_scratch else NULL, n_row, cost, workers)
        return 0
    noise.lock()
    try:
        draw_locked(noise, drawing, fill, scratch.aligned if n_scratch else NULL, n_row, cost)
    finally:
        noise.unlock()
    return 0


cdef int draw_locked(
    Noise noise, core.fd_drawing *drawing, core.fd_draw *fill, void *scratch, intptr_t n_row, intptr_t cost
) except -1:
    cdef intptr_t begin = 0, end, piece = max(PIECE // cost, 1) * drawing.job.dim
    if n_row * cost < KEEP_GIL:
        api.draw_rows(fill, drawing, &noise.source, scratch, 0, n_row)
        return 0
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
    noise.take(n_row * drawing.job.dim, &place)
    api.share_start(share, drawing, fill, &place, scratch, n_row, workers)
    while rest:
        with nogil:
            rest = api.share_work(share, piece)
        PyErr_CheckSignals()
    return 0
