# What compiled callers take from distribution.pyx.

cimport numpy as np

from fastdist._kernels.program cimport Kernel


cdef class Plan:
    cdef Kernel kernel
    cdef tuple arrays
    cdef int n_summed


cdef class Base:
    cdef public dict _arrays                # parameters, packed, and what is kept of those made from them
    cdef public dict _shapes                # in which parameters came, where their arrays have another
    cdef public tuple _batch_shape, _event_shape
    cdef public object _dtype
    cdef public bint _validate_args
    cdef public bint _lent                  # arrays are others' memory and may change: keep nothing made from them
    cdef int typenum
    cdef object draw_plan, density_plan     # None where there is none, False until it has been asked for
    cdef dict made                          # what is kept of this batch
    cdef int reparameterised                # has_rsample, which a wrapper has to ask for; -1 until it is known
    cdef int dtype_is(self, object dtype) except -1
    cdef np.ndarray shown(self, str name)
