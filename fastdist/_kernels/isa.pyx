# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Instruction sets: which there are, which one is in use. And the C core, which is linked in here alone."""

import os

from fastdist._kernels cimport core


cdef const core.fd_api *functions() noexcept nogil:
    return &core.fd_functions


def isas():
    """Names of the instruction sets this build has and this CPU can run, slowest first."""
    return tuple(
        core.fd_isa_name(target).decode()
        for target in range(core.fd_isa_count())
        if core.fd_isa_available(target)
    )


def isa():
    """Name of the instruction set in use.

    Returns
    -------
    str
        ``"scalar"``, ``"avx2"``, ... : the best one of the CPU, unless the environment variable
        ``FASTDIST_ISA`` or `set_isa` named another.
    """
    return core.fd_isa_name(core.fd_isa_current()).decode()


def set_isa(name):
    """Use the instruction set `name` from now on, in every thread.

    Parameters
    ----------
    name : str
        One of `isas()`.

    Raises
    ------
    ValueError
        If this build lacks it or the CPU can't run it.
    """
    for target in range(core.fd_isa_count()):
        if core.fd_isa_name(target).decode() == name and core.fd_isa_available(target):
            core.fd_isa_use(target)
            return
    offered = ", ".join(isas())
    raise ValueError(f"instruction set {name!r} is not available; this CPU and build offer {offered}")


core.fd_isa_use(core.fd_isa_best())
if os.environ.get("FASTDIST_ISA"):
    try:
        set_isa(os.environ["FASTDIST_ISA"])
    except ValueError as error:
        raise ValueError(f"environment variable FASTDIST_ISA: {error}") from None
