"""How many workers large draws are shared out to.

As in scipy.fft: 1 unless asked for more, by `workers=` or within ``with set_workers(n):``.
"""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import SupportsIndex


class _Default(threading.local):
    workers = 1


_default = _Default()


def _n_cpu() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parse_workers(workers: SupportsIndex | None) -> int:
    """The number of workers that `workers` stands for.

    Parameters
    ----------
    workers : int or None
        None: the default of this thread. Negative numbers count back from all CPUs: -1 is all of
        them, -2 all but one.

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it is 0, or below minus the number of CPUs.
    """
    if workers is None:
        return _default.workers
    if isinstance(workers, bool):
        raise TypeError(f"workers must be an integer, got the bool {workers}")
    try:
        n = operator.index(workers)
    except TypeError:
        raise TypeError(
            f"workers must be an integer, got {workers!r} of type {type(workers).__name__}"
        ) from None
    if n > 0:
        return min(n, 2**16)
    n_cpu = _n_cpu()
    if n == 0 or n < -n_cpu:
        raise ValueError(f"workers must not be 0 or below {-n_cpu} (minus the number of CPUs), got {n}")
    return n_cpu + 1 + n


@contextmanager
def set_workers(workers: SupportsIndex) -> Iterator[None]:
    """Change the default number of workers of this thread, for a while.

    Draws with BlockSFC64 are the same bits for any number; other bit generators are sequential and
    use one.

    Parameters
    ----------
    workers : int
        As for `workers=`: -1 for all CPUs.

    Examples
    --------
    >>> import fastdist as fd
    >>> with fd.set_workers(-1):
    ...     x = fd.standard_normal(1_000_000, rng=0)
    """
    before = _default.workers
    _default.workers = parse_workers(workers)
    try:
        yield
    finally:
        _default.workers = before
