from numpy.random.bit_generator cimport BitGenerator

from fastdist._kernels cimport core
from fastdist._kernels.bridge cimport Noise


cdef class BlockSFC64(BitGenerator):
    cdef readonly Noise _noise
    cdef core.fd_stream *stream     # the noise's


cdef Noise thread_noise()

cdef Noise own_noise(object rng)
