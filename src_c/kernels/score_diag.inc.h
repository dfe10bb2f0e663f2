/* kernels/score_diag.inc.h - terms of gradients of scalars, before they are summed (sums.inc.h): of log
 * densities and of Kullback-Leibler divergences.
 *
 * The divisions take most of the time. Those by a scale go on beside the rest of the work, and are kept,
 * block by block, while it repeats from run to run. A product takes factors that may be large and factors that
 * may be small in turn, so that it seldom leaves the range on the way; what did is done again by *_beyond. */

enum { FD_LOCAL(reciprocal_block) = 256 };

typedef struct FD_LOCAL(fd_reciprocals) {
    const REAL *of;
    intptr_t n;
    REAL value[FD_LOCAL(reciprocal_block)];
} FD_LOCAL(fd_reciprocals);

/* Before a block of n elements, or of one that repeats, which are `filled` anew or have not changed: whether theirs
 * are known. */
FD_INLINE int FD_LOCAL(know)(FD_LOCAL(fd_reciprocals) *kept, intptr_t n, const REAL *x, intptr_t stride, int filled)
{
    const int known = !filled && kept->of == x && kept->n == n;
    kept->of = x;
    kept->n = n;
    if (!stride)
        kept->value[0] = 1 / *x;
    return known || !stride;
}

/* Vector i of them. */
FD_INLINE VEC FD_LOCAL(reciprocal)(FD_LOCAL(fd_reciprocals) *kept, int known, VEC x, intptr_t stride, intptr_t i,
                                   intptr_t m)
{
    if (known)
        return FD_LOCAL(pick_to)(kept->value, stride, i, m);
    const VEC result = V(div)(V(set1)(1), x);
    FD_LOCAL(store_to)(kept->value + i, result, m);
    return result;
}

/* A strip in blocks of n elements from `first` on. */
#define FD_BLOCKS(first, n)                                                                    \
    for (intptr_t first = 0, n; n = fd_min(s.n - first, FD_LOCAL(reciprocal_block)), n > 0; first += n)

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
                                      REAL *by_value, REAL *by_scale, const REAL *g, intptr_t g_stride, const REAL *x,
                                      intptr_t x_stride, const REAL *loc, intptr_t loc_stride, const REAL *scale,
                                      intptr_t scale_stride)
{
    const VEC zero = V(set1)(0), sd = FD_LOCAL(pick_scale)(scale + i * scale_stride, scale_stride, m);
    const VEC r = FD_LOCAL(reciprocal)(kept, known, sd, scale_stride, i, m);
    const VEC value = FD_LOCAL(pick_to)(x, x_stride, i, m), at = FD_LOCAL(pick_to)(loc, loc_stride, i, m);
    const VEC h = V(mul)(FD_LOCAL(pick_to)(g, g_stride, i, m), V(sub)(zero, r));
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

static void FD_NAME(score_diag)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    enum { LANES = V(lanes) };
    FD_LOCAL(room) room[4];
    FD_LOCAL(strip) s = {0};
    FD_LOCAL(fd_reciprocals) kept;
    fd_run run;
    kept.of = NULL;
    fd_run_start(loop, &run, begin, end);
    while (FD_LOCAL(next_strip)(loop, &run, 6, 2, &s, room))
        FD_BLOCKS(first, n) {
            const intptr_t g_stride = s.stride[2], x_stride = s.stride[3];
            const intptr_t loc_stride = s.stride[4], scale_stride = s.stride[5];
            REAL *by_value = s.at[0] + first, *by_scale = s.at[1] + first;
            const REAL *g = s.at[2] + first * g_stride, *x = s.at[3] + first * x_stride;
            const REAL *loc = s.at[4] + first * loc_stride, *scale = s.at[5] + first * scale_stride;
            const int known = FD_LOCAL(know)(&kept, n, scale, scale_stride, s.filled >> 5 & 1);
            VEC finite[2] = {V(set1)(0), V(set1)(0)};
            intptr_t i = 0;
            for (; i + LANES <= n; i += LANES)
                FD_LOCAL(score_vector)(i, LANES, &kept, known, finite, by_value, by_scale, g, g_stride, x, x_stride, loc,
                                       loc_stride, scale, scale_stride);
            if (i < n)
                FD_LOCAL(score_vector)(i, n - i, &kept, known, finite, by_value, by_scale, g, g_stride, x, x_stride, loc,
                                       loc_stride, scale, scale_stride);
            if (FD_UNLIKELY(!FD_LOCAL(all_finite)(V(add)(finite[0], finite[1]))))
                for (i = 0; i < n; i++)
                    if (!(isfinite(by_value[i]) && isfinite(by_scale[i])))
                        FD_LOCAL(score_diag_beyond)(by_value + i, by_scale + i, g[i * g_stride], x[i * x_stride],
                                                    loc[i * loc_stride], scale[i * scale_stride]);
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
                                         REAL *by_p, REAL *by_q, const REAL *g, intptr_t g_stride, const REAL *loc_p,
                                         intptr_t loc_p_stride, const REAL *p, intptr_t p_stride, const REAL *loc_q,
                                         intptr_t loc_q_stride, const REAL *q, intptr_t q_stride)
{
    const VEC zero = V(set1)(0), scale_p = FD_LOCAL(pick_scale)(p + i * p_stride, p_stride, m);
    const VEC scale_q = FD_LOCAL(pick_scale)(q + i * q_stride, q_stride, m);
    const VEC over_p = FD_LOCAL(reciprocal)(kept_p, p_known, scale_p, p_stride, i, m);
    const VEC over_q = FD_LOCAL(reciprocal)(kept_q, q_known, scale_q, q_stride, i, m);
    const VEC at_p = FD_LOCAL(pick_to)(loc_p, loc_p_stride, i, m), at_q = FD_LOCAL(pick_to)(loc_q, loc_q_stride, i, m);
    const VEC delta = V(sub)(at_p, at_q), wider = V(sub)(scale_p, scale_q);
    /* t = scale_p / scale_q - 1, exact where the scales are close */
    const VEC t = V(mul)(wider, over_q), z = V(mul)(delta, over_q);
    const VEC t2 = V(mul)(V(add)(t, V(set1)(2)), over_q), squares = V(fma)(t, t2, V(mul)(z, V(mul)(z, over_q)));
    const VEC weight = FD_LOCAL(pick_to)(g, g_stride, i, m), of_loc = V(mul)(V(mul)(weight, z), over_q);
    const VEC of_p = V(mul)(V(mul)(weight, t), V(add)(over_p, over_q)), of_q = V(mul)(V(sub)(zero, weight), squares);
    FD_LOCAL(store_to)(by_loc + i, of_loc, m);
    FD_LOCAL(store_to)(by_p + i, of_p, m);
    FD_LOCAL(store_to)(by_q + i, of_q, m);
    finite[0] = V(fma)(of_loc, zero, finite[0]);
    finite[1] = V(fma)(of_p, zero, finite[1]);
    finite[2] = V(fma)(of_q, zero, finite[2]);
}

static void FD_NAME(kl_score_diag)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    enum { LANES = V(lanes) };
    FD_LOCAL(room) room[5];
    FD_LOCAL(strip) s = {0};
    FD_LOCAL(fd_reciprocals) kept_p, kept_q;
    fd_run run;
    kept_p.of = kept_q.of = NULL;
    fd_run_start(loop, &run, begin, end);
    while (FD_LOCAL(next_strip)(loop, &run, 8, 3, &s, room))
        FD_BLOCKS(first, n) {
            const intptr_t g_stride = s.stride[3], loc_p_stride = s.stride[4], p_stride = s.stride[5];
            const intptr_t loc_q_stride = s.stride[6], q_stride = s.stride[7];
            REAL *by_loc = s.at[0] + first, *by_p = s.at[1] + first, *by_q = s.at[2] + first;
            const REAL *g = s.at[3] + first * g_stride;
            const REAL *loc_p = s.at[4] + first * loc_p_stride, *p = s.at[5] + first * p_stride;
            const REAL *loc_q = s.at[6] + first * loc_q_stride, *q = s.at[7] + first * q_stride;
            const int p_known = FD_LOCAL(know)(&kept_p, n, p, p_stride, s.filled >> 5 & 1);
            const int q_known = FD_LOCAL(know)(&kept_q, n, q, q_stride, s.filled >> 7 & 1);
            VEC finite[3] = {V(set1)(0), V(set1)(0), V(set1)(0)};
            intptr_t i = 0;
            for (; i + LANES <= n; i += LANES)
                FD_LOCAL(kl_score_vector)(i, LANES, &kept_p, p_known, &kept_q, q_known, finite, by_loc, by_p, by_q, g,
                                          g_stride, loc_p, loc_p_stride, p, p_stride, loc_q, loc_q_stride, q, q_stride);
            if (i < n)
                FD_LOCAL(kl_score_vector)(i, n - i, &kept_p, p_known, &kept_q, q_known, finite, by_loc, by_p, by_q, g,
                                          g_stride, loc_p, loc_p_stride, p, p_stride, loc_q, loc_q_stride, q, q_stride);
            if (FD_UNLIKELY(!FD_LOCAL(all_finite)(V(add)(V(add)(finite[0], finite[1]), finite[2]))))
                for (i = 0; i < n; i++)
                    if (!(isfinite(by_loc[i]) && isfinite(by_p[i]) && isfinite(by_q[i])))
                        FD_LOCAL(kl_score_diag_beyond)(by_loc + i, by_p + i, by_q + i, g[i * g_stride],
                                                       loc_p[i * loc_p_stride], p[i * p_stride], loc_q[i * loc_q_stride],
                                                       q[i * q_stride]);
        }
}

static void FD_NAME(add_draw_scores)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t g_stride = STRIDE(2), eps_stride = STRIDE(3);
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t i = 0; i < run.n; i += V(lanes)) {
            const intptr_t m = run.n - i;
            REAL *by_loc = AT(0) + i, *by_scale = AT(1) + i;
            const VEC g = FD_LOCAL(pick_to)(AT(2), g_stride, i, m), eps = FD_LOCAL(pick_to)(AT(3), eps_stride, i, m);
            FD_LOCAL(store_to)(by_loc, V(add)(FD_LOCAL(load_to)(by_loc, m), g), m);
            FD_LOCAL(store_to)(by_scale, V(fma)(g, eps, FD_LOCAL(load_to)(by_scale, m)), m);
        }
}

#undef FD_BLOCKS
