# What other extension modules take: parts of arrays.

cimport numpy as np

# Entries beyond these are left to NumPy.
cdef enum:
    MAX_ENTRY = 8

# An entry takes one of a dim, which is gone then, or cuts a dim, or adds one of size 1.
cdef enum Kind:
    TAKE
    CUT
    ADD

cdef struct Entry:
    Kind kind
    Py_ssize_t size                     # of the batch's dim
    Py_ssize_t start, step, length      # of what it leaves


cdef class Entries:
    cdef int n_entry, n_kept            # entries, and those that leave or add a dim
    cdef int n_dim                      # the dims of the batch that they are of
    cdef Entry entry[MAX_ENTRY]
    cdef tuple given                    # None, or entries for NumPy ...
    cdef tuple left                     # ... and the shape that they leave


cpdef tuple parse_index(index, tuple batch_shape)

cpdef np.ndarray part(np.ndarray array, Entries entries, tuple batch_shape, int core_ndim)

cpdef tuple parse_expanded(shape, tuple batch_shape)

cpdef np.ndarray stack(arrays, int axis, int batch_ndim, int core_ndim, dtype)
