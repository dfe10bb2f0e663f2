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

cdef extern from "fastdist.h" nogil:
    int FD_MAX_NDIM
    int FD_MAX_OPERAND
    int FD_SUM_TERMS
    int FD_OUTER_ROOM
    int FD_MAX_STEP
    int FD_TILE
    int FD_PANEL_BYTES
    int FD_SCRATCH_BYTES
    int FD_MATRIX_BYTES
    int FD_TOGETHER
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

    ctypedef struct fd_job:
        int ndim
        intptr_t dim
        intptr_t shape[64]
        intptr_t stride[8][64]
        void *operand[8]

    void fd_job_coalesce(fd_job *job, int n_operand) noexcept
    void fd_job_turn(fd_job *job) noexcept

    intptr_t fd_panels_size(intptr_t dim, intptr_t rows) noexcept

    ctypedef void fd_kernel(const fd_job *job, intptr_t begin, intptr_t end) noexcept

    void fd_do(fd_kernel *kernel, const fd_job *job, intptr_t begin, intptr_t end) noexcept

    ctypedef enum fd_verb:
        FD_colorize_diag
        FD_multiply_tril
        FD_solve_tril
        FD_log
        FD_normal_log_prob
        FD_normal_log_prob_events
        FD_sum_events
        FD_mahalanobis_solve
        FD_mahalanobis_multiply
        FD_mvn_log_prob_solve
        FD_mvn_log_prob_multiply
        FD_normal_cdf
        FD_normal_log_cdf
        FD_normal_survival
        FD_normal_log_survival
        FD_normal_icdf
        FD_cholesky
        FD_reverse_cholesky
        FD_pack_tril
        FD_pack_panels
        FD_check_finite
        FD_check_positive
        FD_check_probability
        FD_check_tril
        FD_normal_kl
        FD_mvn_kl
        FD_sum_products
        FD_sum_outer
        FD_score_diag
        FD_kl_score_diag
        FD_score_tril
        FD_score_covariance
        FD_score_precision
        FD_kl_score_mvn
        FD_left_multiply_t
        FD_left_solve_t
        FD_subtract_log_det
        FD_congruence_t
        FD_congruence

    fd_kernel *fd_lookup(fd_verb verb, fd_dtype dtype) noexcept

    int fd_isa_count() noexcept
    const char *fd_isa_name(int row) noexcept
    int fd_isa_available(int row) noexcept
    int fd_isa_current() noexcept
    void fd_isa_use(int row) noexcept
    int fd_isa_best() noexcept

    ctypedef struct fd_noise:
        void *state
        void (*fill[2])(void *state, intptr_t n, void *out) noexcept nogil

    ctypedef struct fd_drawing:
        fd_job job
        fd_kernel *colorize
        fd_dtype dtype
        intptr_t n_batch

    ctypedef void fd_draw(
        const fd_drawing *drawing, const fd_noise *noise, void *scratch, intptr_t begin, intptr_t end
    ) noexcept

    void fd_draw_noise(
        const fd_drawing *drawing, const fd_noise *noise, void *scratch, intptr_t begin, intptr_t end
    ) noexcept
    void fd_draw_elements(
        const fd_drawing *drawing, const fd_noise *noise, void *scratch, intptr_t begin, intptr_t end
    ) noexcept
    void fd_draw_events(
        const fd_drawing *drawing, const fd_noise *noise, void *scratch, intptr_t begin, intptr_t end
    ) noexcept
    void fd_draw_rows(
        fd_draw *draw, const fd_drawing *drawing, const fd_noise *noise, void *scratch, intptr_t begin,
        intptr_t end
    ) noexcept
    intptr_t fd_draw_piece(fd_draw *draw, const fd_drawing *drawing, intptr_t n, intptr_t most) noexcept

    ctypedef struct fd_step:
        fd_kernel *kernel
        fd_job job
        intptr_t unit
        intptr_t in_tile[8]

    ctypedef struct fd_pull:
        fd_step step[6]
        int n_step
        fd_dtype dtype
        void *tile
        intptr_t tile_item, tile_items

    void fd_pull_items(fd_pull *pull, const fd_noise *noise, intptr_t begin, intptr_t end) noexcept
    void fd_pull_samples(
        const fd_pull *pull, const fd_noise *noise, int axis, intptr_t begin, intptr_t end
    ) noexcept

    void fd_noise_from_numpy(fd_noise *noise, void *bitgen) noexcept

cdef extern from "fpstate.h" nogil:
    ctypedef unsigned long fd_fpstate

    fd_fpstate fd_fpstate_enter() noexcept
    void fd_fpstate_leave(fd_fpstate callers) noexcept

cdef extern from "stream.h" nogil:
    int FD_BLOCK
    uint64_t FD_POSITIONS

    ctypedef struct fd_key:
        uint64_t word[2]

    ctypedef struct fd_stream:
        fd_key key
        uint64_t normal_position, normal_carry
        uint64_t raw_block, raw_carry
        intptr_t raw_at
        uint32_t half
        int has_half

    ctypedef struct fd_place:
        fd_key key
        uint64_t position, carry

    fd_place fd_stream_take(fd_stream *stream, intptr_t n) noexcept

    ctypedef struct fd_stream_api:
        void (*start)(fd_stream *stream, fd_key key) noexcept nogil
        void (*seek_normal)(fd_stream *stream, uint64_t position, uint64_t carry) noexcept nogil
        void (*seek_raw)(fd_stream *stream, uint64_t position, uint64_t carry) noexcept nogil
        void (*fill[2])(void *state, intptr_t n, void *out) noexcept nogil
        uint64_t (*next_uint64)(void *state) noexcept nogil
        uint32_t (*next_uint32)(void *state) noexcept nogil
        double (*next_double)(void *state) noexcept nogil
        void (*philox)(fd_key key, uint64_t counter, uint64_t *out) noexcept nogil

    const fd_stream_api fd_stream_functions

cdef extern from "share.h" nogil:
    int FD_MAX_WORKER

    ctypedef struct fd_share:
        pass

    size_t fd_share_size(int n_worker) noexcept
    void fd_share_start(
        fd_share *share, const fd_drawing *drawing, fd_draw *draw, const fd_place *place, void *scratch,
        intptr_t n_row, int n_worker
    ) noexcept
    bint fd_share_work(fd_share *share, intptr_t n_row) noexcept
