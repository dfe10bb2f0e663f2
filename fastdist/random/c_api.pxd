# Streams of BlockSFC64 for Cython. The header tells what each does, fastdist.get_include() where it is.
#
#     from fastdist.random.c_api cimport fd_import_random, fd_next_normal, fd_random, fd_stream
#     fd_import_random()

from libc.stdint cimport intptr_t, uint64_t

cdef extern from "fastdist/random.h" nogil:
    int FD_RANDOM_VERSION
    int FD_RANDOM_REVISION
    const char *FD_RANDOM_CAPSULE
    int FD_BLOCK
    uint64_t FD_POSITIONS

    ctypedef enum fd_domain:
        FD_NORMAL
        FD_UNIFORM

    ctypedef struct fd_key:
        uint64_t word[2]

    ctypedef struct fd_cursor:
        uint64_t position, carry
        intptr_t made
        double number[1024]

    ctypedef struct fd_stream:
        pass

    ctypedef struct fd_place:
        fd_key key
        fd_domain domain
        uint64_t position, carry

    fd_cursor *fd_cursor_of(fd_stream *stream, fd_domain domain) noexcept
    bint fd_next_made(fd_cursor *cursor, double *number) noexcept

    ctypedef struct fd_random_api:
        int version, revision
        size_t stream_size
        fd_stream *(*stream_of)(object rng) except NULL
        void (*start)(fd_stream *stream, fd_key key) noexcept nogil
        void (*seek)(fd_stream *stream, fd_domain domain, uint64_t position, uint64_t carry) noexcept nogil
        fd_place (*take)(fd_stream *stream, fd_domain domain, intptr_t n) noexcept nogil
        void (*read)(fd_stream *reader, const fd_place *place, intptr_t n) noexcept nogil
        void (*fill_normal_f64)(fd_stream *stream, intptr_t n, double *out) noexcept nogil
        void (*fill_normal_f32)(fd_stream *stream, intptr_t n, float *out) noexcept nogil
        void (*fill_uniform_f64)(fd_stream *stream, intptr_t n, double *out) noexcept nogil
        void (*fill_uniform_f32)(fd_stream *stream, intptr_t n, float *out) noexcept nogil
        double (*next_normal)(fd_stream *stream) noexcept nogil
        double (*next_uniform)(fd_stream *stream) noexcept nogil

    const fd_random_api *fd_random
    double fd_next_normal(fd_stream *stream) noexcept
    double fd_next_uniform(fd_stream *stream) noexcept

cdef extern from "fastdist/random.h":
    int fd_import_random() except -1
