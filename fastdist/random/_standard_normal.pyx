# cython: cdivision=True, annotation_typing=False
# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""The bare noise, without a distribution around it.

Compiled for two kinds of call, which go past everything that only others need. `standard_normal((3, 2))`
is mostly calling, allocating and returning. And a large draw leaves nothing of Python in the caches:
finding out what to do with `out=` took a tenth of the time in which two workers draw a million normals.
"""

cimport numpy as np
from cpython.long cimport PyLong_CheckExact
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_SIZE
from libc.stdint cimport intptr_t

from fastdist._kernels cimport core
from fastdist._kernels.bridge cimport SMALL_NDIM, Noise, draw_noise, small_shape

from typing import SupportsIndex

import numpy as np

from fastdist import _params
from fastdist._kernels import bridge
from fastdist._kernels._workers import parse_workers
from fastdist._params import Real
from fastdist._shapes import ShapeLike, parse_shape
from fastdist.random import _rng
from fastdist.random._rng import RNGLike
from fastdist.random._block_sfc64 cimport own_noise

np.import_array()

cdef object float32 = np.float32
cdef object float64 = np.float64


def standard_normal(
    size: ShapeLike | None = (),
    *,
    dtype: str | type | np.dtype = float64,
    rng: RNGLike = None,
    out: Real | None = None,
    workers: SupportsIndex | None = None,
) -> Real:
    """Draw standard normals, as `numpy.random.Generator.standard_normal` but faster.

    Parameters
    ----------
    size : int or iterable of int, optional
        Shape of the result. With `out` it may be left away.
    dtype : dtype_like, optional
        float64 or float32. With BlockSFC64 a float32 normal is the float64 one, rounded.
    rng : None, int, sequence of ints, SeedSequence, BitGenerator or Generator
        Where they come from. Seeds start a new stream of BlockSFC64; a generator moves on; None
        uses this thread's own generator, seeded from the operating system.
    out : numpy.ndarray, optional
        Array of that shape and dtype to write to, and to return.
    workers : int, optional
        How many threads may share a large draw, -1 for all CPUs; see `set_workers`. It leaves the
        bits alone. Generators other than BlockSFC64 are sequential and use one.

    Returns
    -------
    numpy.ndarray
        Shape `size`.

    Raises
    ------
    TypeError
        For an unusable `rng`, another dtype, a size that is no integer.
    ValueError
        For a negative size, or an `out` of another shape or read-only.

    Examples
    --------
    >>> import numpy as np, fastdist as fd
    >>> x = fd.standard_normal((2, 3), rng=0)
    >>> y = fd.standard_normal((2, 3), rng=0, dtype=np.float32)
    >>> bool((y == x.astype(np.float32)).all())
    True
    """
    cdef np.npy_intp shape[SMALL_NDIM]
    cdef intptr_t total
    cdef int ndim
    cdef Noise noise
    if out is None and workers is None and dtype is float64:
        ndim = small_shape(size, <intptr_t *>shape, &total)
        if ndim >= 0:
            noise = own_noise(rng)
            if noise is not None:
                return small_draw(noise, ndim, shape)
    elif fits(out, dtype) and PyTuple_CheckExact(size) and PyTuple_GET_SIZE(size) == 0:
        noise = own_noise(rng)
        if noise is not None:
            fill(noise, out, workers)
            return out
    return any_draw(size, dtype, rng, out, workers)


cdef object small_draw(Noise noise, int ndim, np.npy_intp *shape):
    cdef np.ndarray result = np.PyArray_SimpleNew(ndim, shape, np.NPY_FLOAT64)
    noise.lock()
    cdef core.fd_fpstate callers = core.fd_fpstate_enter()
    noise.source.fill[<int>core.FD_F64](noise.source.state, np.PyArray_SIZE(result), np.PyArray_DATA(result))
    core.fd_fpstate_leave(callers)
    noise.unlock()
    return result


cdef bint fits(object out, object dtype):
    """Whether `out` is a plain array of that dtype, to be written as it is."""
    if type(out) is not np.ndarray or not np.PyArray_ISCARRAY(out):
        return False
    cdef int typenum = np.PyArray_TYPE(out)
    return dtype is float64 and typenum == np.NPY_FLOAT64 or dtype is float32 and typenum == np.NPY_FLOAT32


cdef int fill(Noise noise, np.ndarray out, object workers) except -1:
    cdef int n_worker
    cdef core.fd_dtype dtype = core.FD_F32 if np.PyArray_TYPE(out) == np.NPY_FLOAT32 else core.FD_F64
    n_worker = workers if PyLong_CheckExact(workers) and 0 < workers < 1000 else parse_workers(workers)
    return draw_noise(noise, np.PyArray_DATA(out), np.PyArray_SIZE(out), dtype, n_worker)


cdef object any_draw(object size, object dtype, object rng, object out, object workers):
    chosen = np.dtype(dtype)
    if chosen not in (_params.FLOAT32, _params.FLOAT64):
        raise TypeError(f"dtype must be float32 or float64, got {chosen}")
    if out is not None and (size is None or (type(size) is tuple and not size)):
        shape = np.shape(out)
    else:
        shape = () if size is None else parse_shape("size", size)
    noise, n_worker = _rng.as_noise(rng), parse_workers(workers)
    destination = _params.Destination(out, shape, chosen, ())
    bridge.standard_normal(noise, destination.array, n_worker)
    return destination.deliver()
