# What other extension modules take from the bridge: noise, and the functions over streams.

from fastdist._kernels cimport core


cdef class Noise:
    cdef core.fd_noise source
    cdef core.fd_stream *stream     # its own; NULL where the normals are NumPy's
    cdef object bit_generator       # that NumPy's are made with, to keep it alive
    cdef object acquire, release    # of the bit generator's lock; None where one thread alone has it
    cdef int lock(self) except -1
    cdef int unlock(self) except -1


cdef const core.fd_stream_api *stream_functions() noexcept nogil

cdef Noise stream_noise()
