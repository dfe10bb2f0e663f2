# cython: cdivision=True, annotation_typing=False
# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""The bare noise, without a distribution around it."""

cimport numpy as np

from fastdist._kernels cimport core
from fastdist._kernels.draws cimport draw_noise
from fastdist._kernels.sources cimport Noise
from fastdist._params cimport deliver, destination, read_shape
from fastdist.random._block_sfc64 cimport own_noise

from typing import SupportsIndex

import numpy as np

from fastdist._kernels._workers import parse_workers
from fastdist._shapes import ShapeLike
from fastdist._typing import Real
from fastdist.random import _rng
from fastdist.random._rng import RNGLike

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
    return bare_noise(core.FD_NORMAL, size, dtype, rng, out, workers)


def standard_uniform(
    size: ShapeLike | None = (),
    *,
    dtype: str | type | np.dtype = float64,
    rng: RNGLike = None,
    out: Real | None = None,
    workers: SupportsIndex | None = None,
) -> Real:
    """Draw uniforms on the open interval (0, 1). See `standard_normal`.

    With BlockSFC64 a uniform is ``(k + 1/2) * 2**-52``, k an integer of 52 bits; a float32 one is that,
    rounded, but at most ``1 - 2**-24``. Other generators' are those of `numpy.random.Generator.random`, which
    may be 0.

    Examples
    --------
    >>> from fastdist.random import standard_uniform
    >>> u = standard_uniform(1000, rng=0)
    >>> bool(((0 < u) & (u < 1)).all())
    True
    """
    return bare_noise(core.FD_UNIFORM, size, dtype, rng, out, workers)


cdef object bare_noise(
    core.fd_domain domain, object size, object dtype, object rng, object out, object workers
):
    cdef np.npy_intp dims[64]
    cdef int ndim, typenum = typenum_of(dtype)
    cdef Noise noise
    cdef np.ndarray array
    if out is not None and (size is None or size == ()):
        size = np.shape(out)
    ndim = read_shape("size", () if size is None else size, dims)
    noise = own_noise(rng)
    if noise is None:
        noise = _rng.as_noise(rng)
    n_worker = parse_workers(workers)
    array = destination(out, typenum, ndim, dims, None)
    draw_noise(noise, domain, np.PyArray_DATA(array), np.PyArray_SIZE(array),
               core.FD_F32 if typenum == np.NPY_FLOAT32 else core.FD_F64, n_worker)
    return deliver(array, out)


cdef int typenum_of(object dtype) except -1:
    if dtype is not float32 and dtype is not float64:
        chosen = np.dtype(dtype)
        if chosen not in (float32, float64):
            raise TypeError(f"dtype must be float32 or float64, got {chosen}")
        dtype = chosen.type
    return np.NPY_FLOAT32 if dtype is float32 else np.NPY_FLOAT64
