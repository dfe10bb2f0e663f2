# What compiled callers take from distribution.pyx.

cimport numpy as np


cdef class Kept:
    cdef readonly object __wrapped__
    cdef np.ndarray of(self, Base d, int event_ndim)


cdef class Ways:
    cdef object cls
    cdef tuple names            # of parameters
    cdef dict core_ndim         # how many dims of an array are its own, by name
    cdef object tall            # those of shape (..., d, any number)
    cdef dict checks            # the kernel that checks a parameter, by name; of others there is None
    cdef bint draw_by_plan, density_by_plan, scored_by_plan, scored_by_hook
    cdef bint asks_to_pass      # `_passes` does more than look at the class
    cdef Kept kept_entropy      # `_entropy`, if that is one


cdef class Base:
    cdef public dict _arrays                # parameters, packed, and what is kept of those made from them
    cdef public dict _shapes                # in which parameters came, where their arrays have another
    cdef public tuple _batch_shape, _event_shape
    cdef public object _dtype
    cdef public bint _validate_args
    cdef public bint _lent                  # its arrays are others' memory: keep nothing made from them
    cdef int typenum
    cdef int drawn                          # the typenum of draws; -1: not known yet
    cdef Ways way                           # those of its class
    cdef object draw_plan, density_plan     # None where there is none, False until it has been asked for
    cdef object scored_plan                 # the same, of both together
    cdef dict made                          # what is kept of this batch
    cdef int reparameterised                # has_rsample, which a wrapper has to ask for; -1: not known yet
    cdef int dtype_is(self, object dtype) except -1
    cdef np.ndarray shown(self, str name)
