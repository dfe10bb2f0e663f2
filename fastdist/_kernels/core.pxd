# The C core as Cython sees it: src_c/fastdist.h, fpstate.h, stream.h and share.h, which tell what each of
# these does.

from cpython.pythread cimport PyThread_type_lock
from libc.stdint cimport intptr_t, uint32_t, uint64_t

# What Cython's own declarations of it lack.
cdef extern from "pythread.h" nogil:
    ctypedef enum PyLockStatus:
        PY_LOCK_FAILURE
        PY_LOCK_ACQUIRED
        PY_LOCK_INTR

    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int intr_flag)

# What threads tell each other without a lock: who sees it sees all that was written before it was told.
cdef extern from * nogil:
    """
    #define FD_SEEN(of) __atomic_load_n(of, __ATOMIC_ACQUIRE)
    #define FD_TELL(of, value) __atomic_store_n(of, value, __ATOMIC_RELEASE)
    """
    bint seen "FD_SEEN" (const bint *of)
    void tell "FD_TELL" (bint *of, bint value)
    unsigned long seen_thread "FD_SEEN" (const unsigned long *of)
    void tell_thread "FD_TELL" (unsigned long *of, unsigned long value)

# What the core takes of it; all of it is in random/c_api.pxd.
cdef extern from "fastdist/random.h" nogil:
    int FD_BLOCK
    uint64_t FD_POSITIONS

    ctypedef enum fd_domain:
        FD_NORMAL
        FD_UNIFORM
        FD_N_DOMAIN

    ctypedef struct fd_key:
        uint64_t word[2]

    ctypedef struct fd_cursor:
        uint64_t position, carry

    ctypedef struct fd_stream:
        fd_cursor cursor[2]
        fd_key key
        uint64_t raw_block, raw_carry
        intptr_t raw_at
        uint32_t half
        int has_half

    ctypedef struct fd_place:
        fd_key key
        fd_domain domain
        uint64_t position, carry

    ctypedef struct fd_random_api:
        void (*start)(fd_stream *stream, fd_key key) noexcept nogil
        void (*seek)(fd_stream *stream, fd_domain domain, uint64_t position, uint64_t carry) noexcept nogil
        fd_place (*take)(fd_stream *stream, fd_domain domain, intptr_t n) noexcept nogil

cdef extern from "fastdist.h" nogil:
    int FD_MAX_NDIM
    int FD_MAX_OPERAND
    int FD_SUM_TERMS
    int FD_OUTER_ROOM
    int FD_MAX_STAGE
    int FD_TILE
    int FD_PANEL_BYTES
    int FD_SCRATCH_BYTES
    int FD_MATRIX_BYTES
    int FD_EVENT_BLOCK
    int FD_SMALL_EVENT
    intptr_t FD_KL_NUMBERS(intptr_t dim) noexcept
    int FD_TRIL
    int FD_INVERSE
    int FD_DIAGONAL

    ctypedef struct fd_total:
        double sum
        double error

    ctypedef enum fd_dtype:
        FD_F32
        FD_F64

    ctypedef struct fd_loop:
        int ndim
        intptr_t dim
        intptr_t shape[64]
        intptr_t stride[8][64]
        void *operand[8]

    intptr_t fd_panels_size(intptr_t dim, intptr_t rows) noexcept

    ctypedef void fd_kernel(const fd_loop *loop, intptr_t begin, intptr_t end) noexcept

    ctypedef enum fd_op:
        FD_N_OP

    ctypedef enum fd_layout:
        FD_ELEMENTS
        FD_EVENT_SUMS
        FD_SUMS
        FD_EVENTS
        FD_EVENT_PRODUCTS
        FD_MATRICES
        FD_CHECK_ELEMENTS
        FD_CHECK_MATRICES

    int fd_isa_count() noexcept
    const char *fd_isa_name(int row) noexcept
    int fd_isa_available(int row) noexcept
    int fd_isa_current() noexcept
    void fd_isa_use(int row) noexcept
    int fd_isa_best() noexcept

    ctypedef void fd_fill(void *state, intptr_t n, void *out) noexcept

    ctypedef struct fd_noise:
        void *state
        fd_fill *fill[2][2]     # by domain, then dtype

    ctypedef struct fd_stage:
        fd_kernel *kernel
        fd_loop loop
        intptr_t unit
        intptr_t in_tile[8]

    ctypedef struct fd_drawing:
        fd_loop loop
        fd_kernel *colorize
        fd_dtype dtype
        fd_domain domain
        intptr_t n_batch, n_noise
        const fd_stage *stage
        int n_before, n_stage

    ctypedef void fd_draw(
        const fd_drawing *drawing, const fd_noise *noise, void *scratch, intptr_t begin, intptr_t end
    ) noexcept

    ctypedef struct fd_pull:
        fd_stage stage[6]
        int n_stage
        fd_dtype dtype
        void *tile
        intptr_t tile_item, tile_items

cdef extern from "fpstate.h" nogil:
    ctypedef unsigned long fd_fpstate

    fd_fpstate fd_fpstate_enter() noexcept
    void fd_fpstate_leave(fd_fpstate callers) noexcept

cdef extern from "stream.h" nogil:
    double FD_BELOW_ONE

    ctypedef struct fd_stream_api:
        void (*seek_raw)(fd_stream *stream, uint64_t position, uint64_t carry) noexcept nogil
        fd_noise (*noise)(fd_stream *stream) noexcept nogil
        uint64_t (*next_uint64)(void *state) noexcept nogil
        uint32_t (*next_uint32)(void *state) noexcept nogil
        double (*next_double)(void *state) noexcept nogil
        void (*philox)(fd_key key, uint64_t counter, uint64_t *out) noexcept nogil

cdef extern from "share.h" nogil:
    int FD_MAX_WORKER

    ctypedef struct fd_share:
        pass

cdef extern from "blocked.h" nogil:
    int FD_SINGULAR
    int FD_ASYMMETRIC

    ctypedef enum fd_blocked_op:
        FD_CHOLESKY
        FD_REVERSE_CHOLESKY
        FD_INVERSE_PANELS
        FD_PRODUCT
        FD_PRODUCT_T
        FD_PRODUCT_INVERSE

    ctypedef struct fd_blocked:
        int found

cdef extern from "api.h" nogil:
    ctypedef struct fd_api:
        fd_kernel *(*lookup)(fd_op op, fd_dtype dtype) noexcept nogil
        const char *(*op_name)(fd_op op) noexcept nogil
        const char *(*op_operands)(fd_op op) noexcept nogil
        fd_layout (*op_layout)(fd_op op) noexcept nogil
        intptr_t (*op_cost)(fd_op op, intptr_t dim) noexcept nogil
        void (*coalesce)(fd_loop *loop, int n_operand) noexcept nogil
        void (*rotate_dims)(fd_loop *loop) noexcept nogil
        void (*run)(fd_kernel *kernel, const fd_loop *loop, intptr_t begin, intptr_t end) noexcept nogil

        fd_draw *draw_noise
        fd_draw *draw_elements
        fd_draw *draw_events
        void (*draw_rows)(
            fd_draw *draw, const fd_drawing *drawing, const fd_noise *noise, void *scratch, intptr_t begin,
            intptr_t end
        ) noexcept nogil
        intptr_t (*draw_piece)(
            fd_draw *draw, const fd_drawing *drawing, intptr_t n, intptr_t most
        ) noexcept nogil
        size_t (*share_size)(int n_worker) noexcept nogil
        void (*share_start)(
            fd_share *share, const fd_drawing *drawing, fd_draw *draw, const fd_place *place, void *scratch,
            intptr_t n_row, int n_worker
        ) noexcept nogil
        bint (*share_work)(fd_share *share, intptr_t n_row) noexcept nogil

        void (*pull_items)(fd_pull *pull, const fd_noise *noise, intptr_t begin, intptr_t end) noexcept nogil
        void (*pull_samples)(
            const fd_pull *pull, const fd_noise *noise, int axis, intptr_t begin, intptr_t end
        ) noexcept nogil

        intptr_t (*blocked_scratch)(fd_blocked_op op, fd_dtype dtype, intptr_t dim) noexcept nogil
        void (*blocked_start)(
            fd_blocked *of, fd_blocked_op op, fd_dtype dtype, intptr_t dim, const void *source, void *to,
            void *scratch, bint check_symmetry, int n_worker
        ) noexcept nogil
        bint (*blocked_work)(fd_blocked *of) noexcept nogil

        void (*noise_from_numpy)(fd_noise *noise, void *bitgen) noexcept nogil
        const fd_random_api *random
        const fd_stream_api *stream

    const fd_api fd_functions
