# The C core's functions, for the other extension modules.

from fastdist._kernels cimport core

cdef const core.fd_api *functions() noexcept nogil
