"""The bare noise, without a distribution around it."""

from __future__ import annotations

from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike

from fastdist._kernels import bridge
from fastdist._kernels._workers import parse_workers
from fastdist._params import FLOAT32, FLOAT64, Destination, Real
from fastdist._shapes import ShapeLike, parse_shape
from fastdist.random._rng import RNGLike, as_noise


def standard_normal(
    size: ShapeLike | None = (),
    *,
    dtype: DTypeLike = np.float64,
    rng: RNGLike = None,
    out: Real | None = None,
    workers: SupportsIndex | None = None,
) -> Any:
    """Draw standard normals, as `numpy.random.Generator.standard_normal` but faster.

    Parameters
    ----------
    size : int or iterable of int, optional
        Shape of the result. With `out` it may be left away.
    dtype : dtype_like, optional
        float64 or float32. With BlockSFC64 a float32 normal is the float64 one, rounded.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Where they come from. A seed starts a new stream of BlockSFC64; a generator moves on; None
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
    chosen = np.dtype(dtype)
    if chosen not in (FLOAT32, FLOAT64):
        raise TypeError(f"dtype must be float32 or float64, got {chosen}")
    if out is not None and (size is None or (type(size) is tuple and not size)):
        shape = np.shape(out)
    else:
        shape = () if size is None else parse_shape("size", size)
    noise, n_worker = as_noise(rng), parse_workers(workers)
    destination = Destination(out, shape, chosen, ())
    bridge.standard_normal(noise, destination.array, n_worker)
    return destination.deliver()
