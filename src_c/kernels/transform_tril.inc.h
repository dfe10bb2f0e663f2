/* kernels/transform_tril.inc.h - pullbacks of triangular algebra: from the gradient by a factor to that by the
 * matrix it was made from. */

/* ---- rows of a matrix, combined ------------------------------------------------------------------
 * n_vec (a compile-time constant) vectors of columns, of the last one m lanes; rows y are ld apart, which may be
 * negative, as may the stride between their coefficients. Always in order, by fma. */

/* x = (x - sum of c_k y_k) * scale */
FD_INLINE void FD_LOCAL(reduce_row)(int n_vec, intptr_t m, intptr_t n, REAL *x, const REAL *y, intptr_t ld,
                                    const REAL *c, intptr_t c_stride, REAL scale)
{
    VEC left[8];
    for (int v = 0; v < n_vec; v++)
        left[v] = FD_LOCAL(load_to)(x + v * V(lanes), m);
    for (intptr_t k = 0; k < n; k++) {
        const VEC splat = V(set1)(c[k * c_stride]);
        for (int v = 0; v < n_vec; v++)
            left[v] = V(fnma)(splat, FD_LOCAL(load_to)(y + k * ld + v * V(lanes), m), left[v]);
    }
    for (int v = 0; v < n_vec; v++)
        FD_LOCAL(store_to)(x + v * V(lanes), V(mul)(left[v], V(set1)(scale)), m);
}

/* x = sum of c_k y_k, of which x may be one */
FD_INLINE void FD_LOCAL(combine_rows)(int n_vec, intptr_t m, intptr_t n, REAL *x, const REAL *y, intptr_t ld,
                                      const REAL *c, intptr_t c_stride)
{
    VEC sum[8];
    for (int v = 0; v < n_vec; v++)
        sum[v] = V(set1)(0);
    for (intptr_t k = 0; k < n; k++) {
        const VEC splat = V(set1)(c[k * c_stride]);
        for (int v = 0; v < n_vec; v++)
            sum[v] = V(fma)(splat, FD_LOCAL(load_to)(y + k * ld + v * V(lanes), m), sum[v]);
    }
    for (int v = 0; v < n_vec; v++)
        FD_LOCAL(store_to)(x + v * V(lanes), sum[v], m);
}

/* What is done to columns by a factor F, which is stored by columns. From the first row down: F^-1 x and F' x;
 * from the last up: F^-T x. */
enum { FD_LOCAL(solve), FD_LOCAL(multiply_t), FD_LOCAL(solve_t) };

/* Rows from `begin` to `end` (others are not needed) of a panel of columns. */
FD_INLINE void FD_LOCAL(do_panel)(int what, int n_vec, intptr_t m, intptr_t begin, intptr_t end, intptr_t dim,
                                  REAL *x, intptr_t ld, const REAL *factor)
{
    if (what == FD_LOCAL(solve))
        for (intptr_t i = begin; i < end; i++)
            FD_LOCAL(reduce_row)(n_vec, m, i, x + i * ld, x, ld, factor + i, dim, 1 / factor[i * dim + i]);
    else if (what == FD_LOCAL(multiply_t))
        for (intptr_t i = begin; i < end; i++)
            FD_LOCAL(combine_rows)(n_vec, m, dim - i, x + i * ld, x + i * ld, ld, factor + i * dim + i, 1);
    else
        for (intptr_t i = end - 1; i >= begin; i--)
            FD_LOCAL(reduce_row)(n_vec, m, dim - 1 - i, x + i * ld, x + (dim - 1) * ld, -ld,
                                 factor + i * dim + dim - 1, -1, 1 / factor[i * dim + i]);
}

/* n columns, in panels as wide as they last: all rows of them, or those of the lower or upper triangle
 * and some beyond. */
enum { FD_LOCAL(all), FD_LOCAL(lower), FD_LOCAL(upper) };

FD_INLINE void FD_LOCAL(do_panels)(int what, int part, intptr_t n, intptr_t dim, REAL *x, intptr_t ld,
                                   const REAL *factor)
{
    enum { LANES = V(lanes) };
    for (intptr_t j = 0, n_vec; j < n; j += n_vec * LANES) {
        const intptr_t left = (n - j) / LANES, begin = part == FD_LOCAL(lower) ? j : 0;
        n_vec = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        const intptr_t end = part == FD_LOCAL(upper) ? fd_min(j + n_vec * LANES, dim) : dim;
        if (n_vec == 8)
            FD_LOCAL(do_panel)(what, 8, LANES, begin, end, dim, x + j, ld, factor);
        else if (n_vec == 4)
            FD_LOCAL(do_panel)(what, 4, LANES, begin, end, dim, x + j, ld, factor);
        else if (n_vec == 2)
            FD_LOCAL(do_panel)(what, 2, LANES, begin, end, dim, x + j, ld, factor);
        else if (left)
            FD_LOCAL(do_panel)(what, 1, LANES, begin, end, dim, x + j, ld, factor);
        else
            FD_LOCAL(do_panel)(what, 1, n - j, begin, end, dim, x + j, ld, factor);
    }
}

static void FD_LOCAL(do_columns)(int what, int part, intptr_t n, intptr_t dim, REAL *x, intptr_t ld,
                                 const REAL *factor)
{
    if (what == FD_LOCAL(solve))
        FD_LOCAL(do_panels)(FD_LOCAL(solve), part, n, dim, x, ld, factor);
    else if (what == FD_LOCAL(multiply_t))
        FD_LOCAL(do_panels)(FD_LOCAL(multiply_t), part, n, dim, x, ld, factor);
    else
        FD_LOCAL(do_panels)(FD_LOCAL(solve_t), part, n, dim, x, ld, factor);
}

/* ---- matrices -----------------------------------------------------------------------------------
 * x is a matrix by rows, of which only the lower triangle is read. Beyond the triangle panels leave
 * rubbish, which the end overwrites. */

FD_INLINE void FD_LOCAL(left_lower)(int what, const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t dim = loop->dim;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t r = 0; r < run.n; r++) {
            REAL *x = AT(0) + r * STRIDE(0);
            FD_LOCAL(do_columns)(what, FD_LOCAL(lower), dim, dim, x, dim, AT(1) + r * STRIDE(1));
            for (intptr_t i = 0; i < dim; i++)
                for (intptr_t j = i + 1; j < dim; j++)
                    x[i * dim + j] = 0;
        }
}

static void FD_NAME(left_multiply_t)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(left_lower)(FD_LOCAL(multiply_t), loop, begin, end);
}

static void FD_NAME(left_solve_t)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(left_lower)(FD_LOCAL(solve_t), loop, begin, end);
}

/* A symmetric result needs its second half only: lower after F^-T, upper after F^-1. */
FD_INLINE void FD_LOCAL(congruence)(int what, const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t dim = loop->dim;
    const int half = what == FD_LOCAL(solve_t) ? FD_LOCAL(lower) : FD_LOCAL(upper);
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t r = 0; r < run.n; r++) {
            REAL *x = AT(0) + r * STRIDE(0), less = AT(2)[r * STRIDE(2)];
            const REAL *factor = AT(1) + r * STRIDE(1);
            for (intptr_t i = 0; i < dim; i++) {
                x[i * dim + i] = (x[i * dim + i] - less) / 2;
                for (intptr_t j = 0; j < i; j++)
                    x[j * dim + i] = x[i * dim + j] /= 2;
            }
            FD_LOCAL(do_columns)(what, FD_LOCAL(all), dim, dim, x, dim, factor);
            for (intptr_t i = 0; i < dim; i++)
                for (intptr_t j = 0; j < i; j++) {
                    const REAL swapped = x[i * dim + j];
                    x[i * dim + j] = x[j * dim + i];
                    x[j * dim + i] = swapped;
                }
            FD_LOCAL(do_columns)(what, half, dim, dim, x, dim, factor);
            for (intptr_t i = 0; i < dim; i++) {
                for (intptr_t j = 0; j < i; j++) {
                    if (what == FD_LOCAL(solve_t))
                        x[j * dim + i] = x[i * dim + j];
                    else
                        x[i * dim + j] = x[j * dim + i] = -x[j * dim + i];
                }
                if (what == FD_LOCAL(solve))
                    x[i * dim + i] = -x[i * dim + i];
            }
        }
}

/* By log det L, with weight `less`. */
static void FD_NAME(subtract_log_det)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t dim = loop->dim;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t r = 0; r < run.n; r++) {
            REAL *x = AT(0) + r * STRIDE(0);
            const REAL *factor = AT(1) + r * STRIDE(1);
            for (intptr_t i = 0; i < dim; i++)
                x[i * (dim + 1)] -= AT(2)[r * STRIDE(2)] / factor[i * (dim + 1)];
        }
}

static void FD_NAME(congruence_t)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(congruence)(FD_LOCAL(solve_t), loop, begin, end);
}

static void FD_NAME(congruence)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(congruence)(FD_LOCAL(solve), loop, begin, end);
}
