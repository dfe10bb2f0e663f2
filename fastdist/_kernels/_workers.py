"""The thread pool that large draws are shared out to, and the default number of workers.

As in scipy.fft: 1 unless asked for more, by `workers=` or within ``with set_workers(n):``.
"""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, SupportsIndex

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Task = Callable[[], object]


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


# ---- the pool --------------------------------------------------------------------------------

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def _forget_after_fork() -> None:
    """A child has none of its parent's threads, and perhaps a lock that nobody will release."""
    global _lock, _pool, _pool_size
    _lock, _pool, _pool_size = threading.Lock(), None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def _executor(size: int) -> ThreadPoolExecutor:
    """A pool of `size` threads or more; one that is too small ends by itself when nobody uses it."""
    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size < size:
            from concurrent.futures import ThreadPoolExecutor

            _pool, _pool_size = ThreadPoolExecutor(size, thread_name_prefix="fastdist"), size
        return _pool


def run(tasks: Sequence[Task], on_error: Task) -> None:
    """Do all tasks, the first in this thread and the others in the pool.

    If one of them raises, `on_error` is called (to hurry up the others) and waited for them. Tasks
    keep what they work on alive themselves, should even the waiting be interrupted.
    """
    futures: list[Future[Any]] = []
    own = [tasks[0]]
    try:
        if len(tasks) > 1:
            pool = _executor(len(tasks) - 1)
            for task in tasks[1:]:
                try:
                    futures.append(pool.submit(task))
                except RuntimeError:  # no more threads: the interpreter is shutting down, or a limit
                    own.append(task)
        for task in own:
            task()
        for future in futures:
            future.result()
    except BaseException:
        on_error()
        _wait(futures)
        raise


def _wait(futures: list[Future[Any]]) -> None:
    """Wait for all, as well as another Ctrl-C lets: the caller's `out` should be at rest."""
    for future in futures:
        while not (future.cancel() or future.done()):
            try:
                future.exception()
            except BaseException:
                continue
