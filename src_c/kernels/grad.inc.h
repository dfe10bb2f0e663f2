/* kernels/grad.inc.h - terms of gradients, before they are summed (sums.inc.h), and pullbacks of
 * triangular algebra. With g for a cotangent and z for L^-1 (x - loc):
 *
 *   score_*                 of log densities
 *   kl_score_diag           of Kullback-Leibler divergences of scalars
 *   left_*, congruence_*    from the gradient by a factor to that by the matrix it was made from
 */

/* ---- diagonal ------------------------------------------------------------------------------
 * The divisions take most of the time. Those by a scale go on beside the rest of the work, and are kept,
 * block by block, while it repeats from run to run. What could leave the range is multiplied by the small
 * and the large in turns. */

enum { FD_LOCAL(reciprocal_block) = 256 };

typedef struct FD_LOCAL(fd_reciprocals) {
    const REAL *of;
    intptr_t n;
    REAL value[FD_LOCAL(reciprocal_block)];
} FD_LOCAL(fd_reciprocals);

/* Before a block of n elements, or of one that repeats, which are not to change: whether theirs are known. */
FD_INLINE int FD_LOCAL(know)(FD_LOCAL(fd_reciprocals) *kept, intptr_t n, const REAL *x, intptr_t step)
{
    const int known = kept->of == x && kept->n == n;
    kept->of = x;
    kept->n = n;
    if (!step)
        kept->value[0] = 1 / *x;
    return known || !step;
}

/* Vector i of them. */
FD_INLINE VEC FD_LOCAL(reciprocal)(FD_LOCAL(fd_reciprocals) *kept, int known, VEC x, intptr_t step, intptr_t i,
                                   intptr_t m)
{
    if (known)
        return FD_LOCAL(pick_to)(kept->value, step, i, m);
    const VEC result = V(div)(V(set1)(1), x);
    FD_LOCAL(store_to)(kept->value + i, result, m);
    return result;
}

/* A run in blocks of n elements from `first` on. */
#define FD_BLOCKS(first, n)                                                                    \
    for (intptr_t first = 0, n; n = fd_min(run.n - first, FD_LOCAL(reciprocal_block)), n > 0; first += n)

static void FD_NAME(score_diag)(const fd_job *job, intptr_t begin, intptr_t end)
{
    FD_LOCAL(fd_reciprocals) kept;
    kept.of = NULL;
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        FD_BLOCKS(first, n) {
            const REAL *g = AT(2) + first * STEP(2), *x = AT(3) + first * STEP(3), *loc = AT(4) + first * STEP(4);
            const REAL *scale = AT(5) + first * STEP(5);
            const int known = FD_LOCAL(know)(&kept, n, scale, STEP(5));
            for (intptr_t i = 0; i < n; i += V(lanes)) {
                const intptr_t m = n - i;
                const VEC sd = FD_LOCAL(pick_to)(scale, STEP(5), i, m);
                const VEC r = FD_LOCAL(reciprocal)(&kept, known, sd, STEP(5), i, m);
                const VEC difference = V(sub)(FD_LOCAL(pick_to)(x, STEP(3), i, m), FD_LOCAL(pick_to)(loc, STEP(4), i, m));
                const VEC h = V(mul)(FD_LOCAL(pick_to)(g, STEP(2), i, m), V(sub)(V(set1)(0), r));
                const VEC z = V(mul)(difference, r), hz = V(mul)(h, z);
                FD_LOCAL(store_to)(AT(0) + first + i, hz, m);
                FD_LOCAL(store_to)(AT(1) + first + i, V(fnma)(hz, z, h), m);
            }
        }
}

static void FD_NAME(kl_score_diag)(const fd_job *job, intptr_t begin, intptr_t end)
{
    FD_LOCAL(fd_reciprocals) kept_p, kept_q;
    kept_p.of = kept_q.of = NULL;
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        FD_BLOCKS(first, n) {
            REAL *by_loc = AT(0) + first, *by_p = AT(1) + first, *by_q = AT(2) + first;
            const REAL *g = AT(3) + first * STEP(3);
            const REAL *loc_p = AT(4) + first * STEP(4), *p = AT(5) + first * STEP(5);
            const REAL *loc_q = AT(6) + first * STEP(6), *q = AT(7) + first * STEP(7);
            const int p_known = FD_LOCAL(know)(&kept_p, n, p, STEP(5));
            const int q_known = FD_LOCAL(know)(&kept_q, n, q, STEP(7));
            for (intptr_t i = 0; i < n; i += V(lanes)) {
                const intptr_t m = n - i;
                const VEC scale_p = FD_LOCAL(pick_to)(p, STEP(5), i, m);
                const VEC scale_q = FD_LOCAL(pick_to)(q, STEP(7), i, m);
                const VEC over_p = FD_LOCAL(reciprocal)(&kept_p, p_known, scale_p, STEP(5), i, m);
                const VEC over_q = FD_LOCAL(reciprocal)(&kept_q, q_known, scale_q, STEP(7), i, m);
                const VEC delta = V(sub)(FD_LOCAL(pick_to)(loc_p, STEP(4), i, m), FD_LOCAL(pick_to)(loc_q, STEP(6), i, m));
                const VEC wider = V(sub)(scale_p, scale_q);
                /* t = scale_p / scale_q - 1, exact where the scales are close */
                const VEC t = V(mul)(wider, over_q), z = V(mul)(delta, over_q);
                const VEC t2 = V(mul)(V(add)(t, V(set1)(2)), over_q), squares = V(fma)(t, t2, V(mul)(z, V(mul)(z, over_q)));
                const VEC weight = FD_LOCAL(pick_to)(g, STEP(3), i, m);
                FD_LOCAL(store_to)(by_loc + i, V(mul)(V(mul)(weight, z), over_q), m);
                FD_LOCAL(store_to)(by_p + i, V(mul)(V(mul)(weight, t), V(add)(over_p, over_q)), m);
                FD_LOCAL(store_to)(by_q + i, V(mul)(V(sub)(V(set1)(0), weight), squares), m);
            }
        }
}

#undef FD_BLOCKS

/* ---- rows of a matrix, combined ------------------------------------------------------------------
 * n_vec (a literal) vectors of columns, of the last one m lanes; rows y are ld apart, which may be
 * negative, as may the step between their coefficients. Always in order, by fma. */

/* x = (x - sum of c_k y_k) * scale */
FD_INLINE void FD_LOCAL(reduce_row)(int n_vec, intptr_t m, intptr_t n, REAL *x, const REAL *y, intptr_t ld,
                                    const REAL *c, intptr_t c_step, REAL scale)
{
    VEC left[8];
    for (int v = 0; v < n_vec; v++)
        left[v] = FD_LOCAL(load_to)(x + v * V(lanes), m);
    for (intptr_t k = 0; k < n; k++) {
        const VEC splat = V(set1)(c[k * c_step]);
        for (int v = 0; v < n_vec; v++)
            left[v] = V(fnma)(splat, FD_LOCAL(load_to)(y + k * ld + v * V(lanes), m), left[v]);
    }
    for (int v = 0; v < n_vec; v++)
        FD_LOCAL(store_to)(x + v * V(lanes), V(mul)(left[v], V(set1)(scale)), m);
}

/* x = sum of c_k y_k, of which x may be one */
FD_INLINE void FD_LOCAL(combine_rows)(int n_vec, intptr_t m, intptr_t n, REAL *x, const REAL *y, intptr_t ld,
                                      const REAL *c, intptr_t c_step)
{
    VEC sum[8];
    for (int v = 0; v < n_vec; v++)
        sum[v] = V(set1)(0);
    for (intptr_t k = 0; k < n; k++) {
        const VEC splat = V(set1)(c[k * c_step]);
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

/* ---- lower triangular, by events -------------------------------------------------------------- */

/* The panels of a factor's transpose with rows and columns in reverse order. That is lower triangular, too:
 * what it does to the elements of an event in reverse order, the transpose does to the event. */
static void FD_LOCAL(turn_panels)(intptr_t dim, REAL *turned, const REAL *panels)
{
    enum { H = FD_PANEL(REAL) };
    memset(turned, 0, (size_t)fd_panels_size(dim, H) * sizeof *turned);
    for (intptr_t first = 0; first < dim; first += H) {
        const intptr_t end = fd_min(first + H, dim);
        for (intptr_t k = 0; k < end; k++, panels += end - first) {
            const intptr_t row = dim - 1 - k, top = row / H * H, height = fd_min(dim - top, H);
            REAL *to = turned + top * (top + H) / 2 + row - top;
            for (intptr_t i = k > first ? k : first; i < end; i++)
                to[(dim - 1 - i) * height] = panels[i - first];
        }
    }
}

/* One event: W x, without the zeros above the diagonal, as in whiten_block: an infinity times them is NaN. */
FD_INLINE void FD_LOCAL(times_row)(intptr_t dim, REAL *white, const REAL *x, const REAL *panels)
{
    enum { H = FD_PANEL(REAL) };
    memset(white, 0, (size_t)dim * sizeof *white);
    for (intptr_t first = 0; first < dim; first += H) {
        const intptr_t end = fd_min(first + H, dim);
        for (intptr_t k = 0; k < end; k++, panels += end - first)
            for (intptr_t i = k > first ? k : first; i < end; i += V(lanes)) {
                const VEC sum = FD_LOCAL(load_to)(white + i, end - i), w = FD_LOCAL(load_to)(panels + i - first, end - i);
                FD_LOCAL(store_to)(white + i, V(fma)(w, V(set1)(x[k]), sum), end - i);
            }
    }
}

/* n events in tiles, or one, to `white`: W x or, in place, L^-1 x. */
FD_INLINE void FD_LOCAL(whiten_events)(int inverse, intptr_t n, intptr_t dim, REAL *tile, const REAL *factor,
                                       REAL *white)
{
    REAL distance[FD_LOCAL(n_tile) * FD_LOCAL(tile_width)];
    if (n > 1) {
        FD_LOCAL(whiten_tiles)(inverse, n, dim, tile, factor, white, distance);
    } else if (inverse) {
        FD_LOCAL(times_row)(dim, white, tile, factor);
    } else {
        FD_LOCAL(solve_row)(dim, white, factor);
    }
}

/* Rows of n numbers in reverse order. */
FD_INLINE void FD_LOCAL(reverse)(intptr_t n_row, intptr_t n, REAL *restrict to, const REAL *restrict from)
{
    for (intptr_t i = 0; i < n_row; i++)
        for (intptr_t j = 0; j < n; j++)
            to[(n_row - 1 - i) * n + j] = from[i * n + j];
}

/* m elements of n events, `full` if that is a square, from rows of a tile: y = weight x, a lane an event. */
FD_INLINE void FD_LOCAL(store_square)(int full, intptr_t n, intptr_t m, const REAL *rows, intptr_t ld, REAL *y,
                                      intptr_t y_ld, VEC weight)
{
    VEC v[V(lanes)];
    FD_UNROLL
    for (int j = 0; j < V(lanes); j++)
        v[j] = full || j < m ? V(mul)(weight, V(load)(rows + j * ld)) : V(set1)(0);
    V(transpose)(v);
    FD_UNROLL
    for (int j = 0; j < V(lanes); j++) {
        if (full)
            V(store)(y + j * y_ld, v[j]);
        else if (j < n)
            FD_LOCAL(store_to)(y + j * y_ld, v[j], m);
    }
}

/* n events from tiles whose rows are ld apart, or from the last row on (-ld): y = sign c x, c one for
 * each or NULL. */
static void FD_LOCAL(to_events)(intptr_t n, intptr_t dim, const REAL *tile, intptr_t ld, REAL *y, intptr_t y_ld,
                                const REAL *c, intptr_t c_step, REAL sign)
{
    enum { WIDTH = FD_LOCAL(tile_width), LANES = V(lanes) };
    for (intptr_t r = 0; r < n; r += LANES) {
        const REAL *rows = tile + r / WIDTH * WIDTH * dim + r % WIDTH + (ld < 0 ? (1 - dim) * ld : 0);
        const VEC of_c = c ? V(gather)(c + r * c_step, c_step, fd_min(n - r, LANES)) : V(set1)(1);
        const VEC weight = V(mul)(V(set1)(sign), of_c);
        REAL *to = y + r * y_ld;
        intptr_t i = 0;
        for (; n - r >= LANES && i + LANES <= dim; i += LANES)
            FD_LOCAL(store_square)(1, LANES, LANES, rows + i * ld, ld, to + i, y_ld, weight);
        for (; i < dim; i += LANES)
            FD_LOCAL(store_square)(0, n - r, dim - i, rows + i * ld, ld, to + i, y_ld, weight);
    }
}

/* With `whitened` the terms are z and g z, otherwise -z. */
FD_INLINE void FD_LOCAL(score)(int inverse, int whitened, const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t dim = job->dim, room = FD_SCRATCH_BYTES / (intptr_t)sizeof(REAL) * dim;
    REAL *tile = job->operand[6], *other = tile + room, *turned = other + room;
    REAL *white = inverse ? other : tile, *reversed = inverse ? tile : other;
    const REAL *known = NULL; /* the factor that is turned */
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run)) {
        const intptr_t step = FD_LOCAL(events_at_once)(STEP(5));
        for (intptr_t r = 0; r < run.n; r += step) {
            const intptr_t n = fd_min(step, run.n - r), ld = n > 1 ? FD_LOCAL(tile_width) : 1;
            REAL *terms = AT(0) + r * STEP(0), *by_value = AT(1) + r * STEP(1);
            const REAL *g = AT(2) + r * STEP(2), *value = AT(3) + r * STEP(3), *loc = AT(4) + r * STEP(4);
            const REAL *factor = AT(5) + r * STEP(5);
            if (known != factor)
                FD_LOCAL(turn_panels)(dim, turned, known = factor);
            if (n > 1)
                FD_LOCAL(load_tiles)(n, dim, tile, value, STEP(3), loc, STEP(4),
                                     FD_LOCAL(bytes_ahead)(job, 3, n, run.n));
            for (intptr_t i = 0; n == 1 && i < dim; i++)
                tile[i] = value[i] - loc[i];
            for (intptr_t e = 0; e < n; e++) /* where they lie apart, the hardware would not see them coming */
                for (intptr_t i = 0; i < dim; i += 64 / (int)sizeof(REAL))
                    fd_prefetch_write((uintptr_t)(by_value + e * STEP(1) + i));
            FD_LOCAL(whiten_events)(inverse, n, dim, tile, factor, white);
            FD_LOCAL(to_events)(n, dim, white, ld, terms, STEP(0), NULL, 0, whitened ? 1 : -1);
            if (whitened)
                FD_LOCAL(to_events)(n, dim, white, ld, terms + dim, STEP(0), g, STEP(2), 1);
            for (intptr_t e = 0; e < n; e += FD_LOCAL(tile_width))
                FD_LOCAL(reverse)(dim, ld, reversed + e * dim, white + e * dim);
            FD_LOCAL(whiten_events)(inverse, n, dim, reversed, turned, other);
            FD_LOCAL(to_events)(n, dim, other, -ld, by_value, STEP(1), g, STEP(2), -1);
        }
    }
}

static void FD_NAME(score_tril)(const fd_job *job, intptr_t begin, intptr_t end)
{
    FD_LOCAL(score)(0, 0, job, begin, end);
}

static void FD_NAME(score_covariance)(const fd_job *job, intptr_t begin, intptr_t end)
{
    FD_LOCAL(score)(0, 1, job, begin, end);
}

static void FD_NAME(score_precision)(const fd_job *job, intptr_t begin, intptr_t end)
{
    FD_LOCAL(score)(1, 1, job, begin, end);
}

/* ---- lower triangular, by matrices -------------------------------------------------------------
 * x is a matrix by rows, of which only the lower triangle is read. Beyond the triangle panels leave
 * rubbish, which the end overwrites. */

FD_INLINE void FD_LOCAL(left_lower)(int what, const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t dim = job->dim;
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        for (intptr_t r = 0; r < run.n; r++) {
            REAL *x = AT(0) + r * STEP(0);
            FD_LOCAL(do_columns)(what, FD_LOCAL(lower), dim, dim, x, dim, AT(1) + r * STEP(1));
            for (intptr_t i = 0; i < dim; i++)
                for (intptr_t j = i + 1; j < dim; j++)
                    x[i * dim + j] = 0;
        }
}

static void FD_NAME(left_multiply_t)(const fd_job *job, intptr_t begin, intptr_t end)
{
    FD_LOCAL(left_lower)(FD_LOCAL(multiply_t), job, begin, end);
}

static void FD_NAME(left_solve_t)(const fd_job *job, intptr_t begin, intptr_t end)
{
    FD_LOCAL(left_lower)(FD_LOCAL(solve_t), job, begin, end);
}

/* A symmetric result needs its second half only: lower after F^-T, upper after F^-1. */
FD_INLINE void FD_LOCAL(congruence)(int what, const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t dim = job->dim;
    const int half = what == FD_LOCAL(solve_t) ? FD_LOCAL(lower) : FD_LOCAL(upper);
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        for (intptr_t r = 0; r < run.n; r++) {
            REAL *x = AT(0) + r * STEP(0), less = AT(2)[r * STEP(2)];
            const REAL *factor = AT(1) + r * STEP(1);
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
static void FD_NAME(subtract_log_det)(const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t dim = job->dim;
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        for (intptr_t r = 0; r < run.n; r++) {
            REAL *x = AT(0) + r * STEP(0);
            const REAL *factor = AT(1) + r * STEP(1);
            for (intptr_t i = 0; i < dim; i++)
                x[i * (dim + 1)] -= AT(2)[r * STEP(2)] / factor[i * (dim + 1)];
        }
}

static void FD_NAME(congruence_t)(const fd_job *job, intptr_t begin, intptr_t end)
{
    FD_LOCAL(congruence)(FD_LOCAL(solve_t), job, begin, end);
}

static void FD_NAME(congruence)(const fd_job *job, intptr_t begin, intptr_t end)
{
    FD_LOCAL(congruence)(FD_LOCAL(solve), job, begin, end);
}
