# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""A tensor's memory as a NumPy array, of which the tensor knows nothing.

`Tensor.numpy` makes a storage that can never be resized again, neither by `resize_` nor by
`untyped_storage().resize_`, as sharded training frees and brings back parameters.
"""

cimport numpy as np
from libc.stdint cimport uintptr_t

np.import_array()


def array_of(tensor):
    """The memory of a plain tensor on the CPU, float32 or float64, with its strides.

    The array keeps the tensor, but not the memory: it must not be read after the storage was resized.
    """
    cdef object shape = tensor.shape, steps = tensor.stride()
    cdef uintptr_t address = tensor.data_ptr()
    cdef int i, ndim = len(shape), itemsize = tensor.element_size()
    cdef int typenum = np.NPY_FLOAT32 if itemsize == 4 else np.NPY_FLOAT64
    cdef np.npy_intp[np.NPY_MAXDIMS] dims, strides
    cdef bint empty = False
    if ndim > np.NPY_MAXDIMS:
        raise ValueError(f"a tensor of {ndim} dims is no array: NumPy has {np.NPY_MAXDIMS} at most")
    for i in range(ndim):
        dims[i] = shape[i]
        strides[i] = steps[i] * itemsize
        empty = empty or dims[i] == 0
    if empty:
        return np.PyArray_EMPTY(ndim, dims, typenum, False)
    if address == 0:
        raise RuntimeError(f"the storage of a tensor of shape {tuple(shape)} has been freed")
    array = np.PyArray_New(
        np.ndarray, ndim, dims, typenum, strides, <void *>address, 0, np.NPY_ARRAY_WRITEABLE, None
    )
    np.set_array_base(array, tensor)
    return array
