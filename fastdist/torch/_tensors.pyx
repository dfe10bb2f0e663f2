# cython: freethreading_compatible=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Tensors as kernels see them. Compiled, as every small call looks at several.

    transformed     whether somebody is looking on who knows torch's operations alone
    all_plain       whether tensors are memory that kernels may read
    as_array        that memory as a NumPy array, of which the tensor knows nothing

`Tensor.numpy` would leave a storage that can never be resized again, neither by `resize_` nor by
`untyped_storage().resize_`, as sharded training frees and brings back parameters.
"""

cimport numpy as np
from libc.stdint cimport uintptr_t

import torch
from torch.autograd import forward_ad

np.import_array()

cdef object TENSOR = torch.Tensor, PARAMETER = torch.nn.Parameter
cdef object FLOAT32 = torch.float32, FLOAT64 = torch.float64, STRIDED = torch.strided
cdef object functorch_is_active = torch._C._are_functorch_transforms_active
cdef object tracing_state = torch._C._get_tracing_state
cdef object dispatch_modes = torch._C._len_torch_dispatch_stack  # make_fx


def transformed():
    """True if a transform other than torch.compile sees each operation: vmap, jvp, tracing."""
    return (
        functorch_is_active()
        or tracing_state() is not None
        or forward_ad._current_level >= 0
        or dispatch_modes() > 0
    )


def all_plain(tuple tensors not None):
    """True if these are tensors themselves, on the CPU, all float32 or all float64."""
    cdef object dtype = getattr(tensors[0], "dtype", None), t
    if dtype is not FLOAT32 and dtype is not FLOAT64:
        return False
    for t in tensors:
        if type(t) is not TENSOR and type(t) is not PARAMETER:
            return False
        if t.dtype is not dtype or not t.is_cpu or t.layout is not STRIDED:
            return False
    return True


def as_array(tensor not None):
    """A plain tensor's memory with its strides, to be read before the user has a turn.

    The array keeps the tensor, but not the memory, should its storage be resized.
    """
    if tensor.is_neg():  # to be negated when it is read, as an imaginary part of a conjugate
        return as_array(tensor.detach().resolve_neg()).copy()
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
