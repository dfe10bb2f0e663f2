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

/* a b c / d, wherever intermediate results are. */
static double FD_LOCAL(product_over)(double a, double b, double c, double d)
{
    int power[4] = {0};
    const double mantissas = frexp(a, power) * frexp(b, power + 1) * frexp(c, power + 2) / frexp(d, power + 3);
    return ldexp(mantissas, power[0] + power[1] + power[2] - power[3]);
}

/* Terms of one element that were not finite. */
FD_ALONE void FD_LOCAL(score_diag_beyond)(REAL *by_value, REAL *by_scale, REAL g, REAL value, REAL loc, REAL scale)
{
    const double half_z = fd_half_standardized((double)value, (double)loc, (double)scale);
    *by_value = (REAL)FD_LOCAL(product_over)((double)g, half_z, -2, (double)scale);
    *by_scale = (REAL)FD_LOCAL(product_over)(4 * (double)g, half_z - 0.5, half_z + 0.5, (double)scale);
}

/* m elements from the i-th of a block on; `finite` are sums of 0 a. */
FD_INLINE void FD_LOCAL(score_vector)(intptr_t i, intptr_t m, FD_LOCAL(fd_reciprocals) *kept, int known, VEC *finite,
                                      REAL *by_value, REAL *by_scale, const REAL *g, intptr_t g_step, const REAL *x,
                                      intptr_t x_step, const REAL *loc, intptr_t loc_step, const REAL *scale,
                                      intptr_t scale_step)
{
    const VEC zero = V(set1)(0), sd = FD_LOCAL(pick_scale)(scale + i * scale_step, scale_step, m);
    const VEC r = FD_LOCAL(reciprocal)(kept, known, sd, scale_step, i, m);
    const VEC value = FD_LOCAL(pick_to)(x, x_step, i, m), at = FD_LOCAL(pick_to)(loc, loc_step, i, m);
    const VEC h = V(mul)(FD_LOCAL(pick_to)(g, g_step, i, m), V(sub)(zero, r));
    /* value - at = difference + error exactly, as in fd_add_up: near |z| = 1 that is what counts. */
    const VEC difference = V(sub)(value, at), back = V(sub)(difference, value);
    const VEC error = V(sub)(V(sub)(value, V(sub)(difference, back)), V(add)(at, back));
    const VEC less = V(mul)(V(sub)(V(sub)(sd, difference), error), r); /* 1 - z */
    const VEC more = V(mul)(V(add)(V(add)(sd, difference), error), r);
    const VEC of_value = V(mul)(h, V(mul)(difference, r)), of_scale = V(mul)(V(mul)(h, less), more);
    FD_LOCAL(store_to)(by_value + i, of_value, m);
    FD_LOCAL(store_to)(by_scale + i, of_scale, m);
    finite[0] = V(fma)(of_value, zero, finite[0]);
    finite[1] = V(fma)(of_scale, zero, finite[1]);
}

static void FD_NAME(score_diag)(const fd_job *job, intptr_t begin, intptr_t end)
{
    enum { LANES = V(lanes) };
    const intptr_t g_step = STEP(2), x_step = STEP(3), loc_step = STEP(4), scale_step = STEP(5);
    FD_LOCAL(fd_reciprocals) kept;
    kept.of = NULL;
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        FD_BLOCKS(first, n) {
            REAL *by_value = AT(0) + first, *by_scale = AT(1) + first;
            const REAL *g = AT(2) + first * g_step, *x = AT(3) + first * x_step, *loc = AT(4) + first * loc_step;
            const REAL *scale = AT(5) + first * scale_step;
            const int known = FD_LOCAL(know)(&kept, n, scale, scale_step);
            VEC finite[2] = {V(set1)(0), V(set1)(0)};
            intptr_t i = 0;
            for (; i + LANES <= n; i += LANES)
                FD_LOCAL(score_vector)(i, LANES, &kept, known, finite, by_value, by_scale, g, g_step, x, x_step, loc,
                                       loc_step, scale, scale_step);
            if (i < n)
                FD_LOCAL(score_vector)(i, n - i, &kept, known, finite, by_value, by_scale, g, g_step, x, x_step, loc,
                                       loc_step, scale, scale_step);
            if (FD_UNLIKELY(!FD_LOCAL(all_finite)(V(add)(finite[0], finite[1]))))
                for (i = 0; i < n; i++)
                    if (!(isfinite(by_value[i]) && isfinite(by_scale[i])))
                        FD_LOCAL(score_diag_beyond)(by_value + i, by_scale + i, g[i * g_step], x[i * x_step],
                                                    loc[i * loc_step], scale[i * scale_step]);
        }
}

FD_ALONE void FD_LOCAL(kl_score_diag_beyond)(REAL *by_loc, REAL *by_p, REAL *by_q, REAL g, REAL loc_p, REAL scale_p,
                                             REAL loc_q, REAL scale_q)
{
    const double p = (double)scale_p, q = (double)scale_q, half_t = 0.5 * ((p - q) / q);
    const double half_z = fd_half_standardized((double)loc_p, (double)loc_q, q), four_g = 4 * (double)g;
    *by_loc = (REAL)FD_LOCAL(product_over)((double)g, 2, half_z, q);
    *by_p = (REAL)FD_LOCAL(product_over)((double)g, 2 * half_t, 1 / p + 1 / q, 1);
    *by_q = (REAL)-(FD_LOCAL(product_over)(four_g, half_t, half_t + 1, q) + FD_LOCAL(product_over)(four_g, half_z, half_z, q));
}

/* m elements from the i-th of a block on; `finite` are sums of 0 a. */
FD_INLINE void FD_LOCAL(kl_score_vector)(intptr_t i, intptr_t m, FD_LOCAL(fd_reciprocals) *kept_p, int p_known,
                                         FD_LOCAL(fd_reciprocals) *kept_q, int q_known, VEC *finite, REAL *by_loc,
                                         REAL *by_p, REAL *by_q, const REAL *g, intptr_t g_step, const REAL *loc_p,
                                         intptr_t loc_p_step, const REAL *p, intptr_t p_step, const REAL *loc_q,
                                         intptr_t loc_q_step, const REAL *q, intptr_t q_step)
{
    const VEC zero = V(set1)(0), scale_p = FD_LOCAL(pick_scale)(p + i * p_step, p_step, m);
    const VEC scale_q = FD_LOCAL(pick_scale)(q + i * q_step, q_step, m);
    const VEC over_p = FD_LOCAL(reciprocal)(kept_p, p_known, scale_p, p_step, i, m);
    const VEC over_q = FD_LOCAL(reciprocal)(kept_q, q_known, scale_q, q_step, i, m);
    const VEC at_p = FD_LOCAL(pick_to)(loc_p, loc_p_step, i, m), at_q = FD_LOCAL(pick_to)(loc_q, loc_q_step, i, m);
    const VEC delta = V(sub)(at_p, at_q), wider = V(sub)(scale_p, scale_q);
    /* t = scale_p / scale_q - 1, exact where the scales are close */
    const VEC t = V(mul)(wider, over_q), z = V(mul)(delta, over_q);
    const VEC t2 = V(mul)(V(add)(t, V(set1)(2)), over_q), squares = V(fma)(t, t2, V(mul)(z, V(mul)(z, over_q)));
    const VEC weight = FD_LOCAL(pick_to)(g, g_step, i, m), of_loc = V(mul)(V(mul)(weight, z), over_q);
    const VEC of_p = V(mul)(V(mul)(weight, t), V(add)(over_p, over_q)), of_q = V(mul)(V(sub)(zero, weight), squares);
    FD_LOCAL(store_to)(by_loc + i, of_loc, m);
    FD_LOCAL(store_to)(by_p + i, of_p, m);
    FD_LOCAL(store_to)(by_q + i, of_q, m);
    finite[0] = V(fma)(of_loc, zero, finite[0]);
    finite[1] = V(fma)(of_p, zero, finite[1]);
    finite[2] = V(fma)(of_q, zero, finite[2]);
}

static void FD_NAME(kl_score_diag)(const fd_job *job, intptr_t begin, intptr_t end)
{
    enum { LANES = V(lanes) };
    const intptr_t g_step = STEP(3), loc_p_step = STEP(4), p_step = STEP(5), loc_q_step = STEP(6), q_step = STEP(7);
    FD_LOCAL(fd_reciprocals) kept_p, kept_q;
    kept_p.of = kept_q.of = NULL;
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        FD_BLOCKS(first, n) {
            REAL *by_loc = AT(0) + first, *by_p = AT(1) + first, *by_q = AT(2) + first;
            const REAL *g = AT(3) + first * g_step;
            const REAL *loc_p = AT(4) + first * loc_p_step, *p = AT(5) + first * p_step;
            const REAL *loc_q = AT(6) + first * loc_q_step, *q = AT(7) + first * q_step;
            const int p_known = FD_LOCAL(know)(&kept_p, n, p, p_step);
            const int q_known = FD_LOCAL(know)(&kept_q, n, q, q_step);
            VEC finite[3] = {V(set1)(0), V(set1)(0), V(set1)(0)};
            intptr_t i = 0;
            for (; i + LANES <= n; i += LANES)
                FD_LOCAL(kl_score_vector)(i, LANES, &kept_p, p_known, &kept_q, q_known, finite, by_loc, by_p, by_q, g,
                                          g_step, loc_p, loc_p_step, p, p_step, loc_q, loc_q_step, q, q_step);
            if (i < n)
                FD_LOCAL(kl_score_vector)(i, n - i, &kept_p, p_known, &kept_q, q_known, finite, by_loc, by_p, by_q, g,
                                          g_step, loc_p, loc_p_step, p, p_step, loc_q, loc_q_step, q, q_step);
            if (FD_UNLIKELY(!FD_LOCAL(all_finite)(V(add)(V(add)(finite[0], finite[1]), finite[2]))))
                for (i = 0; i < n; i++)
                    if (!(isfinite(by_loc[i]) && isfinite(by_p[i]) && isfinite(by_q[i])))
                        FD_LOCAL(kl_score_diag_beyond)(by_loc + i, by_p + i, by_q + i, g[i * g_step],
                                                       loc_p[i * loc_p_step], p[i * p_step], loc_q[i * loc_q_step],
                                                       q[i * q_step]);
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

/* n events in tiles, or one, to `white`: W x or, in place, L^-1 x; and their squares. */
FD_INLINE void FD_LOCAL(whiten_events)(int inverse, intptr_t n, intptr_t dim, REAL *tile, const REAL *factor,
                                       REAL *white, REAL *distance)
{
    if (n > 1) {
        FD_LOCAL(whiten_tiles)(inverse, n, dim, tile, factor, white, distance);
        return;
    }
    if (inverse)
        FD_LOCAL(times_row)(dim, white, tile, factor);
    else
        FD_LOCAL(solve_row)(dim, white, factor);
    V(store)(distance, V(set1)(FD_LOCAL(norm_of_row)(dim, white)));
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

/* One event whose distance was not finite: what it leaves, with room for 2 dim numbers. */
FD_ALONE void FD_LOCAL(score_beyond)(int inverse, int whitened, intptr_t dim, double *half_z, REAL *terms,
                                     REAL *by_value, REAL g, const REAL *value, const REAL *loc, const REAL *factor)
{
    double *half_u = half_z + dim; /* of L^-T z or W' z */
    FD_LOCAL(whiten_beyond)(inverse, dim, half_z, value, loc, factor);
    for (intptr_t i = dim - 1; i >= 0; i--) {
        double sum = inverse ? 0 : half_z[i];
        for (intptr_t k = inverse ? i : i + 1; k < dim; k++) {
            const double l = FD_LOCAL(in_panels)(dim, factor, k, i);
            sum = inverse ? fma(l, half_z[k], sum) : fma(-l, half_u[k], sum);
        }
        half_u[i] = inverse ? sum : sum / FD_LOCAL(in_panels)(dim, factor, i, i);
    }
    for (intptr_t i = 0; i < dim; i++) {
        terms[i] = (REAL)((whitened ? 2 : -2) * half_z[i]);
        if (whitened)
            terms[dim + i] = (REAL)((double)g * half_z[i] * 2);
        by_value[i] = (REAL)((double)g * half_u[i] * -2);
    }
}

/* With `whitened` the terms are z and g z, otherwise -z. */
FD_INLINE void FD_LOCAL(score)(int inverse, int whitened, const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t dim = job->dim, room = FD_SCRATCH_BYTES / (intptr_t)sizeof(REAL) * dim;
    REAL *tile = job->operand[6], *other = tile + room, *turned = other + room;
    REAL *white = inverse ? other : tile, *reversed = inverse ? tile : other;
    REAL distance[FD_LOCAL(n_tile) * FD_LOCAL(tile_width)], unused[FD_LOCAL(n_tile) * FD_LOCAL(tile_width)];
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
            FD_LOCAL(whiten_events)(inverse, n, dim, tile, factor, white, distance);
            FD_LOCAL(to_events)(n, dim, white, ld, terms, STEP(0), NULL, 0, whitened ? 1 : -1);
            if (whitened)
                FD_LOCAL(to_events)(n, dim, white, ld, terms + dim, STEP(0), g, STEP(2), 1);
            for (intptr_t e = 0; e < n; e += FD_LOCAL(tile_width))
                FD_LOCAL(reverse)(dim, ld, reversed + e * dim, white + e * dim);
            FD_LOCAL(whiten_events)(inverse, n, dim, reversed, turned, other, unused);
            FD_LOCAL(to_events)(n, dim, other, -ld, by_value, STEP(1), g, STEP(2), -1);
            for (intptr_t e = 0; e < n; e++)
                if (FD_UNLIKELY(!(distance[e] < (REAL)INFINITY)))
                    FD_LOCAL(score_beyond)(inverse, whitened, dim, job->operand[6], terms + e * STEP(0),
                                           by_value + e * STEP(1), g[e * STEP(2)], value + e * STEP(3),
                                           loc + e * STEP(4), factor);
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
