# What compiled callers take from _params.pyx.

cimport numpy as np


cdef np.ndarray new_array(int typenum, int ndim, const np.npy_intp *dims)
cdef np.ndarray destination(object out, int typenum, int ndim, const np.npy_intp *dims, np.ndarray source)
cdef object deliver(np.ndarray written, object out)
cdef np.ndarray view(np.ndarray array, tuple batch_shape, int core_ndim)
cdef np.ndarray read_value(
    object value, int typenum, tuple event_shape, int *ndim, np.npy_intp *dims, str name=*)
cdef int read_shape(str name, object shape, np.npy_intp *dims) except -1
cdef int broadcast(int *ndim, np.npy_intp *dims, tuple shape, str name=*) except -1
cdef bint has_shape(np.ndarray array, int ndim, const np.npy_intp *dims) noexcept
cdef tuple shape_of(int ndim, const np.npy_intp *dims)
cpdef np.ndarray pack(np.ndarray array, object dtype, int core_ndim=*, bint owned=*)
cdef tuple parameters(dict core_ndim, passing, dict given, object matrix)
