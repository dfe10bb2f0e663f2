/* kernels/cholesky_float.inc.h - factors of float matrices: in double, then rounded, as numpy.linalg does. In
 * float, errors would be epsilon times the condition of a matrix, and not epsilon. Some matrices at a time, so that
 * the doubles stay in the nearest cache. */

enum { FD_LOCAL(matrices) = FD_MATRIX_BYTES / 2 / (int)sizeof(double) };

#define FD_CHOLESKY_FLOAT(op)                                                                  \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        const intptr_t size = loop->dim * loop->dim;                                           \
        double *tile = loop->operand[3], *wide = tile + FD_LOCAL(matrices) * size;             \
        intptr_t found, asymmetric, item = begin;                                              \
        fd_loop some;                                                                          \
        some.ndim = 1;                                                                         \
        some.dim = loop->dim;                                                                  \
        for (int k = 0; k < FD_MAX_OPERAND; k++)                                               \
            some.stride[k][0] = k < 2 ? size : 0;                                              \
        some.operand[0] = some.operand[1] = wide;                                              \
        some.operand[2] = &found;                                                              \
        some.operand[3] = tile;                                                                \
        some.operand[6] = NULL;                                                                \
        some.operand[7] = loop->operand[7];                                                    \
        some.operand[4] = loop->operand[4] ? &asymmetric : NULL;                               \
        double *half_log_det = loop->operand[5];                                               \
        for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))     \
            for (intptr_t r = 0, n; n = fd_min(run.n - r, FD_LOCAL(matrices)), n > 0; r += n, item += n) { \
                if (loop->operand[6])                                                          \
                    memcpy((REAL *)loop->operand[6] + item * size, AT(1) + r * STRIDE(1),      \
                           (size_t)(n * size) * sizeof(REAL));                                 \
                FD_LOCAL(widen)(n, size, wide, AT(1) + r * STRIDE(1), STRIDE(1));              \
                found = asymmetric = -1;                                                       \
                some.shape[0] = n;                                                             \
                some.operand[5] = half_log_det ? half_log_det + item : NULL;                   \
                op##_f64((double)REAL_EPSILON, &some, 0, n);                                   \
                FD_LOCAL(narrow)(n * size, AT(0) + r * size, wide);                            \
                if (FD_UNLIKELY(found >= 0))                                                   \
                    FD_LOCAL(note)(loop, 2, item + found);                                     \
                if (FD_UNLIKELY(asymmetric >= 0))                                              \
                    FD_LOCAL(note)(loop, 4, item + asymmetric);                                \
            }                                                                                  \
    }

/* n matrices, ld apart. */
FD_ALONE void FD_LOCAL(widen)(intptr_t n, intptr_t size, double *wide, const REAL *matrix, intptr_t ld)
{
    if (ld == size) {
        size *= n;
        n = 1;
    }
    for (intptr_t r = 0; r < n; r++)
        for (intptr_t e = 0; e < size; e++)
            wide[r * size + e] = (double)matrix[r * ld + e];
}

FD_ALONE void FD_LOCAL(narrow)(intptr_t n, REAL *factor, const double *wide)
{
    for (intptr_t e = 0; e < n; e++)
        factor[e] = (REAL)wide[e];
    vec_done();
}

FD_CHOLESKY_FLOAT(cholesky)
FD_CHOLESKY_FLOAT(reverse_cholesky)
#undef FD_CHOLESKY_FLOAT
