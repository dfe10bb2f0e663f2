/* kernels/mahalanobis.inc.h - |L^-1 (x - loc)|^2 and |W (x - loc)|^2, and log densities.
 *
 * Events that share a factor are whitened in tiles (whiten.inc.h), others row by row; but those of up
 * to FD_SMALL_EVENT elements have all that changes in registers, a lane each, whether they share a factor or not. */

/* |white|^2 of n events x += dim, in the order of whiten_block; n is a compile-time constant. */
FD_INLINE void FD_LOCAL(norm_of_rows)(int n, intptr_t dim, const REAL *white, REAL *norm)
{
    REAL total[FD_LOCAL(own)] = {0};
    for (intptr_t first = 0; first < dim; first += FD_LOCAL(norm_chunk)) {
        const intptr_t end = fd_min(first + FD_LOCAL(norm_chunk), dim);
        REAL chunk[FD_LOCAL(own)] = {0};
        for (intptr_t i = first; i < end; i++) {
            FD_UNROLL
            for (int e = 0; e < n; e++)
                chunk[e] = REAL_FMA(white[e * dim + i], white[e * dim + i], chunk[e]);
        }
        FD_UNROLL
        for (int e = 0; e < n; e++)
            total[e] += chunk[e];
    }
    FD_UNROLL
    for (int e = 0; e < n; e++)
        norm[e] = total[e];
}

/* |white|^2 of n events, each of its own factor; the white go to x. */
FD_ALONE void FD_LOCAL(distances_of_own)(int inverse, intptr_t n, intptr_t dim, REAL *x, const REAL *value,
                                         intptr_t value_ld, const REAL *loc, intptr_t loc_ld, const REAL *factor,
                                         intptr_t factor_ld, REAL *distance)
{
    for (intptr_t e = 0; e < n; e++)
        for (intptr_t i = 0; i < dim; i += V(lanes)) {
            const VEC v = FD_LOCAL(load_to)(value + e * value_ld + i, dim - i);
            FD_LOCAL(store_to)(x + e * dim + i, V(sub)(v, FD_LOCAL(load_to)(loc + e * loc_ld + i, dim - i)), dim - i);
        }
    for (intptr_t e = 0; inverse && e < n; e++)
        FD_LOCAL(multiply_rows)(1, dim, x + e * dim, 0, NULL, 0, factor + e * factor_ld);
    if (!inverse)
        FD_LOCAL(solve_each)(n, dim, x, dim, factor, factor_ld);
    intptr_t e = 0;
    for (; e + FD_LOCAL(own) <= n; e += FD_LOCAL(own))
        FD_LOCAL(norm_of_rows)(FD_LOCAL(own), dim, x + e * dim, distance + e);
    for (; e < n; e++)
        FD_LOCAL(norm_of_rows)(1, dim, x + e * dim, distance + e);
}

/* |white|^2 / 4 of one event whose distance was not finite. A NaN that comes of no NaN is the inf - inf or 0 inf of
 * an infinite value, or of one so far out that it overflowed: infinity. `room` is for 2 dim numbers. */
FD_ALONE double FD_LOCAL(quarter_beyond)(int inverse, intptr_t dim, double *room, const REAL *value, const REAL *loc,
                                       const REAL *factor)
{
    const intptr_t size = fd_panels_size(dim, FD_PANEL(REAL));
    int has_nan = 0;
    for (intptr_t i = 0; i < dim; i++)
        has_nan |= isnan(value[i]) | isnan(loc[i]);
    for (intptr_t i = 0; i < size && !has_nan; i++)
        has_nan |= isnan(factor[i]);
    if (has_nan)
        return (double)NAN;
    double sum = 0;
    FD_LOCAL(whiten_beyond)(inverse, dim, room, value, loc, factor);
    for (intptr_t i = 0; i < dim; i++)
        sum = fma(room[i], room[i], sum);
    return isnan(sum) ? (double)INFINITY : sum;
}

/* What becomes of a distance: so many times that, added to out, or a log density; operand 5 is this number, or the
 * constants. */
enum { FD_LOCAL(add_distance), FD_LOCAL(log_density) };

/* The distances of n events, a vector of them at most, from the r-th of a run on. */
FD_INLINE void FD_LOCAL(deliver)(int what, int inverse, const fd_loop *loop, const fd_run *at, intptr_t r, intptr_t n,
                                 VEC distance)
{
    const fd_run run = *at;
    const REAL weight = what == FD_LOCAL(log_density) ? (REAL)-0.5 : *(const REAL *)loop->operand[5];
    REAL d[V(lanes)], *out = AT(0) + r * STRIDE(0);
    const unsigned beyond = ~V(below)(distance, V(set1)((REAL)INFINITY)) & FD_LOCAL(first_lanes)(n);
    distance = V(mul)(V(set1)(weight), distance);
    if (FD_UNLIKELY(beyond)) {
        V(store)(d, distance);
        for (intptr_t j = 0; j < n; j++)
            if (beyond >> j & 1)
                d[j] = (REAL)(4 * (double)weight *
                              FD_LOCAL(quarter_beyond)(inverse, loop->dim, loop->operand[4], AT(1) + (r + j) * STRIDE(1),
                                                       AT(2) + (r + j) * STRIDE(2), AT(3) + (r + j) * STRIDE(3)));
        distance = V(load)(d);
    }
    if (what == FD_LOCAL(log_density)) {
        const REAL *constant = AT(5) + r * STRIDE(5);
        const VEC c = STRIDE(5) == 0   ? V(set1)(*constant)
                      : STRIDE(5) == 1 ? FD_LOCAL(load_to)(constant, n)
                                     : V(gather)(constant, STRIDE(5), n);
        distance = V(sub)(distance, c);
        if (STRIDE(0) == 1) {
            FD_LOCAL(store_to)(out, distance, n);
            return;
        }
    }
    V(store)(d, distance);
    for (intptr_t j = 0; j < n; j++)
        out[j * STRIDE(0)] = what == FD_LOCAL(log_density) ? d[j] : out[j * STRIDE(0)] + d[j];
}

/* ---- small events ------------------------------------------------------------------------ */

/* What a vector of events has of its own, but for the values. */
typedef struct FD_LOCAL(triangle) {
    const REAL *factor, *loc; /* of the first event: where all this was read */
    intptr_t n;
    unsigned good; /* mask of the lanes whose diagonals have reciprocals */
    /* The lower triangle by columns: element (i, k) at [k * dim + i], and the reciprocals of its diagonal. */
    VEC l[FD_SMALL_EVENT * FD_SMALL_EVENT], reciprocal[FD_SMALL_EVENT], mean[FD_SMALL_EVENT];
} FD_LOCAL(triangle);

/* n events x += ld of `dim` elements, a compile-time constant, to as many vectors. */
FD_INLINE void FD_LOCAL(load_events)(int dim, intptr_t n, VEC *v, const REAL *x, intptr_t ld)
{
    if (dim > 4) {
        VEC column[V(lanes)];
        FD_UNROLL
        for (int i = 0; i < dim; i += V(lanes)) {
            FD_LOCAL(load_columns)(n, dim - i < V(lanes) ? dim - i : V(lanes), column, x + i, ld);
            FD_UNROLL
            for (int j = 0; j < V(lanes); j++)
                if (i + j < dim)
                    v[i + j] = column[j];
        }
        return;
    }
    if (n < V(lanes) || ld != dim || dim == 3) {
        for (int k = 0; k < dim; k++)
            v[k] = V(gather)(x + k, ld, n);
        return;
    }
    for (int k = 0; k < dim; k++)
        v[k] = V(load)(x + k * V(lanes));
    if (dim == 2) {
        const VEC a = v[0], b = v[1];
        v[0] = V(evens)(a, b);
        v[1] = V(odds)(a, b);
    } else if (dim == 4) {
        const VEC even_a = V(evens)(v[0], v[1]), even_b = V(evens)(v[2], v[3]);
        const VEC odd_a = V(odds)(v[0], v[1]), odd_b = V(odds)(v[2], v[3]);
        v[0] = V(evens)(even_a, even_b);
        v[1] = V(evens)(odd_a, odd_b);
        v[2] = V(odds)(even_a, even_b);
        v[3] = V(odds)(odd_a, odd_b);
    }
}

/* Of n events' factors and locs, or of one for all where its ld is 0. */
FD_INLINE void FD_LOCAL(load_triangle)(int inverse, int dim, intptr_t n, const REAL *factor, intptr_t factor_ld,
                                       const REAL *loc, intptr_t loc_ld, FD_LOCAL(triangle) *t)
{
    const VEC limit = V(set1)(FD_RECIPROCAL_LIMIT), least = V(set1)(1 / FD_RECIPROCAL_LIMIT);
    t->factor = factor;
    t->loc = loc;
    t->n = n;
    t->good = ~0u;
    for (int k = 0; k < dim; k++)
        for (int i = k; i < dim; i++) {
            const REAL *l = factor + k * dim + i;
            const VEC v = t->l[k * dim + i] = factor_ld ? V(gather)(l, factor_ld, n) : V(set1)(*l);
            if (i > k)
                continue;
            t->reciprocal[k] = inverse ? v : V(div)(V(set1)(1), v);
            if (!inverse)
                t->good &= V(below)(V(abs)(v), limit) & V(below)(least, V(abs)(v));
        }
    if (loc_ld)
        FD_LOCAL(load_events)(dim, n, t->mean, loc, loc_ld);
    else
        for (int k = 0; k < dim; k++)
            t->mean[k] = V(set1)(loc[k]);
}

/* |white|^2 of n events. */
FD_INLINE VEC FD_LOCAL(norm_small)(int inverse, int dim, intptr_t n, const REAL *value, intptr_t ld,
                                   const FD_LOCAL(triangle) *t)
{
    VEC x[FD_SMALL_EVENT], white[FD_SMALL_EVENT], norm = V(set1)(0);
    FD_LOCAL(load_events)(dim, n, x, value, ld);
    FD_UNROLL
    for (int k = 0; k < dim; k++)
        x[k] = V(sub)(x[k], t->mean[k]);
    FD_UNROLL
    for (int i = 0; i < dim; i++) {
        VEC sum = inverse ? V(set1)(0) : x[i];
        FD_UNROLL
        for (int k = 0; k < i + inverse; k++) {
            const VEC l = t->l[k * dim + i];
            sum = inverse ? V(fma)(l, x[k], sum) : V(fnma)(l, white[k], sum);
        }
        white[i] = inverse ? sum : V(mul)(sum, t->reciprocal[i]);
        norm = V(fma)(white[i], white[i], norm);
    }
    return norm;
}

/* ---- any events ------------------------------------------------------------------------------ */

/* The distances of n events from the r-th of a run on: those that share a factor, or a few others. */
FD_INLINE void FD_LOCAL(mahalanobis_events)(int what, int inverse, const fd_loop *loop, const fd_run *at, intptr_t r,
                                            intptr_t n)
{
    const fd_run run = *at;
    const REAL *value = AT(1) + r * STRIDE(1), *loc = AT(2) + r * STRIDE(2), *factor = AT(3) + r * STRIDE(3);
    REAL *tile = loop->operand[4], distance[FD_LOCAL(n_tile) * FD_LOCAL(tile_width) + 2 * FD_LOCAL(own)];
    if (n > 1 && STRIDE(3) == 0) {
        FD_LOCAL(load_tiles)(n, loop->dim, tile, value, STRIDE(1), loc, STRIDE(2), FD_LOCAL(bytes_ahead)(loop, 1, n, run.n));
        FD_LOCAL(whiten_tiles)(inverse, n, loop->dim, tile, factor, NULL, distance);
    } else
        FD_LOCAL(distances_of_own)(inverse, n, loop->dim, tile, value, STRIDE(1), loc, STRIDE(2), factor, STRIDE(3),
                                   distance);
    for (intptr_t e = 0; e < n; e += V(lanes))
        FD_LOCAL(deliver)(what, inverse, loop, at, r + e, fd_min(n - e, V(lanes)), V(load)(distance + e));
}

/* A vector of small events at a time; inverse and dim are compile-time constants. The triangles of a run's
 * first FD_EVENT_BLOCK events are kept: the next run mostly has the same ones, with other values. */
FD_INLINE void FD_LOCAL(mahalanobis_small)(int what, int inverse, int dim, const fd_loop *loop, intptr_t begin,
                                           intptr_t end)
{
    enum { KEPT = FD_EVENT_BLOCK / V(lanes) };
    FD_LOCAL(triangle) kept[KEPT];
    int n_kept = 0;
    /* Which values to prefetch: those of the sample's next FD_EVENT_BLOCK events. But a caller does other samples
     * first, after which events of more than 4 elements would be lost from the cache again: of these, the same
     * events four samples on. Where runs are along samples, either is mostly in vain. */
    const int by_sample = dim > 4 && loop->ndim > 1;
    const intptr_t later = by_sample ? 4 * loop->stride[1][loop->ndim - 2] : FD_EVENT_BLOCK * STRIDE(1);
    const uintptr_t ahead = (uintptr_t)later * sizeof(REAL);
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run)) {
        int slot = -1;
        for (intptr_t r = 0; r < run.n; r += V(lanes)) {
            const intptr_t n = fd_min(run.n - r, V(lanes));
            const REAL *factor = AT(3) + r * STRIDE(3), *loc = AT(2) + r * STRIDE(2);
            if (slot < 0 || (STRIDE(2) | STRIDE(3)))
                slot = slot == KEPT - 1 ? 0 : slot + 1;
            FD_LOCAL(triangle) *t = kept + slot;
            if (slot >= n_kept || t->factor != factor || t->loc != loc || t->n < n) {
                FD_LOCAL(load_triangle)(inverse, dim, n, factor, STRIDE(3), loc, STRIDE(2), t);
                n_kept = slot >= n_kept ? slot + 1 : n_kept;
            }
            const REAL *value = AT(1) + r * STRIDE(1);
            for (int line = 0; line < dim * V(lanes) * (int)sizeof *value; line += 64)
                fd_prefetch((uintptr_t)value + ahead + (uintptr_t)line);
            VEC distance = FD_LOCAL(norm_small)(inverse, dim, n, value, STRIDE(1), t);
            if (FD_UNLIKELY(~t->good & ((1u << n) - 1))) {
                REAL d[V(lanes)];
                V(store)(d, distance);
                for (intptr_t e = 0; e < n; e++)
                    FD_LOCAL(distances_of_own)(inverse, 1, dim, loop->operand[4], value + e * STRIDE(1), 0,
                                               loc + e * STRIDE(2), 0, factor + e * STRIDE(3), 0, d + e);
                distance = V(load)(d);
            }
            FD_LOCAL(deliver)(what, inverse, loop, &run, r, n, distance);
        }
    }
}

#define FD_MAHALANOBIS_SMALL(name, inverse, dim)                                               \
    FD_ALONE void FD_LOCAL(name##_##dim)(int what, const fd_loop *loop, intptr_t begin, intptr_t end) \
    {                                                                                          \
        FD_LOCAL(mahalanobis_small)(what, inverse, dim, loop, begin, end);                     \
    }
#define FD_MAHALANOBIS_ALL_SMALL(name, inverse)                                                \
    FD_MAHALANOBIS_SMALL(name, inverse, 1)                                                     \
    FD_MAHALANOBIS_SMALL(name, inverse, 2)                                                     \
    FD_MAHALANOBIS_SMALL(name, inverse, 3)                                                     \
    FD_MAHALANOBIS_SMALL(name, inverse, 4)                                                     \
    FD_MAHALANOBIS_SMALL(name, inverse, 5)                                                     \
    FD_MAHALANOBIS_SMALL(name, inverse, 6)                                                     \
    FD_MAHALANOBIS_SMALL(name, inverse, 7)                                                     \
    FD_MAHALANOBIS_SMALL(name, inverse, 8)                                                     \
    static void (*const FD_LOCAL(name)[FD_SMALL_EVENT + 1])(int, const fd_loop *, intptr_t, intptr_t) = { \
        NULL,              FD_LOCAL(name##_1), FD_LOCAL(name##_2), FD_LOCAL(name##_3), FD_LOCAL(name##_4), \
        FD_LOCAL(name##_5), FD_LOCAL(name##_6), FD_LOCAL(name##_7), FD_LOCAL(name##_8)};

FD_MAHALANOBIS_ALL_SMALL(mahalanobis_of_tril, 0)
FD_MAHALANOBIS_ALL_SMALL(mahalanobis_of_inverse, 1)
#undef FD_MAHALANOBIS_ALL_SMALL
#undef FD_MAHALANOBIS_SMALL

#define FD_MAHALANOBIS(op, what, inverse)                                                      \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        if (0 < loop->dim && loop->dim <= FD_SMALL_EVENT) {                                    \
            (inverse ? FD_LOCAL(mahalanobis_of_inverse)                                        \
                     : FD_LOCAL(mahalanobis_of_tril))[loop->dim](FD_LOCAL(what), loop, begin, end); \
            return;                                                                            \
        }                                                                                      \
        const intptr_t at_once = FD_LOCAL(events_at_once)(STRIDE(3), 2 * FD_LOCAL(own));        \
        for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))     \
            for (intptr_t r = 0; r < run.n; r += at_once)                                       \
                FD_LOCAL(mahalanobis_events)(FD_LOCAL(what), inverse, loop, &run, r, fd_min(at_once, run.n - r)); \
    }

FD_MAHALANOBIS(mahalanobis_solve, add_distance, 0)
FD_MAHALANOBIS(mahalanobis_multiply, add_distance, 1)
FD_MAHALANOBIS(mvn_log_prob_solve, log_density, 0)
FD_MAHALANOBIS(mvn_log_prob_multiply, log_density, 1)
#undef FD_MAHALANOBIS
