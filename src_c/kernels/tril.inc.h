/* kernels/tril.inc.h - lower-triangular factors: L x, L^-1 x, and Mahalanobis distances.
 *
 * A factor is stored by columns with zeros above the diagonal, so that a panel of `lanes`
 * rows of column k is one load; each x_k is splatted. Panels go from the bottom row up for
 * L x and from the top down for L^-1 x, so that both work in place. Every row sums in
 * ascending k by fma, whichever lane it falls into. */

/* This many rows of x share each load of a factor. */
enum { FD_LOCAL(row_block) = FD_SCRATCH_ROWS };

FD_INLINE VEC FD_LOCAL(panel)(const REAL *p, intptr_t m)
{
    return m >= V(lanes) ? V(load)(p) : V(load_first)(p, m);
}

FD_INLINE void FD_LOCAL(store_panel)(REAL *p, VEC v, intptr_t m)
{
    if (m >= V(lanes))
        V(store)(p, v);
    else
        V(store_first)(p, v, m);
}

/* n_row (a literal) rows x += ld: x = loc + L x. */
FD_INLINE void FD_LOCAL(multiply_rows)(int n_row, intptr_t dim, REAL *x, intptr_t ld,
                                       const REAL *loc, intptr_t loc_ld, const REAL *factor)
{
    for (intptr_t i = (dim - 1) / V(lanes) * V(lanes); i >= 0; i -= V(lanes)) {
        const intptr_t m = fd_min(dim - i, V(lanes));
        VEC sum[FD_LOCAL(row_block)];
        for (int r = 0; r < n_row; r++)
            sum[r] = V(set1)(0);
        for (intptr_t k = 0; k < i + m; k++) {
            const VEC column = FD_LOCAL(panel)(factor + k * dim + i, m);
            for (int r = 0; r < n_row; r++)
                sum[r] = V(fma)(column, V(set1)(x[r * ld + k]), sum[r]);
        }
        for (int r = 0; r < n_row; r++) {
            /* The zeros above the diagonal may or may not have made +0 of a sum that underflowed to
             * -0; + 0 always does. */
            if (loc)
                sum[r] = V(add)(FD_LOCAL(panel)(loc + r * loc_ld + i, m), V(add)(sum[r], V(set1)(0)));
            FD_LOCAL(store_panel)(x + r * ld + i, sum[r], m);
        }
    }
}

/* n_row (a literal) rows x += ld: x = L^-1 x. */
FD_INLINE void FD_LOCAL(solve_rows)(int n_row, intptr_t dim, REAL *x, intptr_t ld, const REAL *factor)
{
    for (intptr_t i = 0; i < dim; i += V(lanes)) {
        const intptr_t m = fd_min(dim - i, V(lanes));
        VEC left[FD_LOCAL(row_block)];
        for (int r = 0; r < n_row; r++)
            left[r] = FD_LOCAL(panel)(x + r * ld + i, m);
        for (intptr_t k = 0; k < i; k++) {
            const VEC column = FD_LOCAL(panel)(factor + k * dim + i, m);
            for (int r = 0; r < n_row; r++)
                left[r] = V(fnma)(column, V(set1)(x[r * ld + k]), left[r]);
        }
        for (int r = 0; r < n_row; r++) {
            REAL *y = x + r * ld;
            FD_LOCAL(store_panel)(y + i, left[r], m);
            /* The triangle on the diagonal, at most lanes^2 / 2 steps of a row's dim^2 / 2. */
            for (intptr_t k = i; k < i + m; k++) {
                const REAL *column = factor + k * dim;
                y[k] /= column[k];
                for (intptr_t j = k + 1; j < i + m; j++)
                    y[j] = REAL_FMA(-column[j], y[k], y[j]);
            }
        }
    }
}

FD_INLINE void FD_LOCAL(shift_rows)(int n_row, intptr_t dim, REAL *x, intptr_t ld, const REAL *loc,
                                    intptr_t loc_ld)
{
    for (int r = 0; r < n_row; r++)
        for (intptr_t i = 0; i < dim; i += V(lanes)) {
            const intptr_t m = dim - i;
            REAL *y = x + r * ld + i;
            const VEC shift = FD_LOCAL(panel)(loc + r * loc_ld + i, m);
            FD_LOCAL(store_panel)(y, V(add)(shift, FD_LOCAL(panel)(y, m)), m);
        }
}

/* The rows of a run in blocks while they share their factor, one by one otherwise. */
#define FD_ROW_BLOCKS(block, single)                                                           \
    do {                                                                                       \
        intptr_t r = 0;                                                                        \
        if (STEP(2) == 0)                                                                      \
            for (; r + FD_LOCAL(row_block) <= run.n; r += FD_LOCAL(row_block))                 \
                block;                                                                         \
        for (; r < run.n; r++)                                                                 \
            single;                                                                            \
    } while (0)

#define FD_ROW(k) (AT(k) + r * STEP(k))

static void FD_NAME(multiply_tril)(const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t dim = job->dim;
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        FD_ROW_BLOCKS(FD_LOCAL(multiply_rows)(FD_LOCAL(row_block), dim, FD_ROW(0), STEP(0),
                                              FD_ROW(1), STEP(1), FD_ROW(2)),
                      FD_LOCAL(multiply_rows)(1, dim, FD_ROW(0), 0, FD_ROW(1), 0, FD_ROW(2)));
}

FD_INLINE void FD_LOCAL(solve_and_shift)(int n_row, intptr_t dim, REAL *x, intptr_t ld,
                                         const REAL *loc, intptr_t loc_ld, const REAL *factor)
{
    FD_LOCAL(solve_rows)(n_row, dim, x, ld, factor);
    FD_LOCAL(shift_rows)(n_row, dim, x, ld, loc, loc_ld);
}

static void FD_NAME(solve_tril)(const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t dim = job->dim;
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        FD_ROW_BLOCKS(FD_LOCAL(solve_and_shift)(FD_LOCAL(row_block), dim, FD_ROW(0), STEP(0),
                                                FD_ROW(1), STEP(1), FD_ROW(2)),
                      FD_LOCAL(solve_and_shift)(1, dim, FD_ROW(0), 0, FD_ROW(1), 0, FD_ROW(2)));
}
#undef FD_ROW_BLOCKS
#undef FD_ROW

/* |white|^2, where infinities (of the value, or by overflow) may have left inf - inf or 0 inf behind:
 * without a NaN among the operands the distance is then infinite. */
FD_INLINE REAL FD_LOCAL(squared_norm)(intptr_t dim, const REAL *white, const REAL *value, const REAL *loc)
{
    const REAL norm = (REAL)FD_LOCAL(sum_squares)(dim, white);
    if (!isnan(norm))
        return norm;
    int infinite = 0;
    for (intptr_t i = 0; i < dim; i++) {
        if (isnan(value[i]) || isnan(loc[i]))
            return norm;
        infinite |= isinf(value[i]) || isinf(value[i] - loc[i]) || isinf(white[i]);
    }
    return infinite ? (REAL)INFINITY : norm;
}

/* One whitening for both parametrisations: `inverse` (a literal) says that the factor is W. */
FD_INLINE void FD_LOCAL(whiten_rows)(int inverse, int n_row, intptr_t dim, REAL *x, const REAL *factor)
{
    if (inverse)
        FD_LOCAL(multiply_rows)(n_row, dim, x, dim, NULL, 0, factor);
    else
        FD_LOCAL(solve_rows)(n_row, dim, x, dim, factor);
}

FD_INLINE void FD_LOCAL(mahalanobis_tril)(int inverse, const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t dim = job->dim;
    REAL *scratch = job->operand[4];
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run)) {
        intptr_t n_row;
        for (intptr_t first = 0; first < run.n; first += n_row) {
            n_row = STEP(3) == 0 && run.n - first >= FD_LOCAL(row_block) ? FD_LOCAL(row_block) : 1;
            const REAL *value = AT(1) + first * STEP(1), *loc = AT(2) + first * STEP(2);
            const REAL *factor = AT(3) + first * STEP(3);
            for (intptr_t r = 0; r < n_row; r++)
                for (intptr_t i = 0; i < dim; i++)
                    scratch[r * dim + i] = value[r * STEP(1) + i] - loc[r * STEP(2) + i];
            if (n_row == FD_LOCAL(row_block))
                FD_LOCAL(whiten_rows)(inverse, FD_LOCAL(row_block), dim, scratch, factor);
            else
                FD_LOCAL(whiten_rows)(inverse, 1, dim, scratch, factor);
            for (intptr_t r = 0; r < n_row; r++)
                AT(0)[(first + r) * STEP(0)] +=
                    FD_LOCAL(squared_norm)(dim, scratch + r * dim, value + r * STEP(1), loc + r * STEP(2));
        }
    }
}

static void FD_NAME(mahalanobis_solve)(const fd_job *job, intptr_t begin, intptr_t end)
{
    FD_LOCAL(mahalanobis_tril)(0, job, begin, end);
}

static void FD_NAME(mahalanobis_multiply)(const fd_job *job, intptr_t begin, intptr_t end)
{
    FD_LOCAL(mahalanobis_tril)(1, job, begin, end);
}
