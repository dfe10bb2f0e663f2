from numpy.random.bit_generator cimport BitGenerator

from fastdist._kernels.sources cimport Noise, Stream


cdef class BlockSFC64(BitGenerator):
    cdef readonly Noise _noise
    cdef Stream stream              # the noise's, and the lock
    cdef object own_ctypes, own_cffi    # interfaces, once they have been asked for
    cdef void connect(self)
    cdef int start(self, words) except -1


cdef Noise thread_noise()

cdef Noise own_noise(object rng)
