/* kernels/mahalanobis.inc.h - |L^-1 (x - loc)|^2 and |W (x - loc)|^2, and log densities.
 *
 * Events that share a factor are whitened in tiles (whiten.inc.h), others one by one; but events of up
 * to 4 elements have all they need in registers, a lane each, whether they share a factor or not. */

enum { FD_LOCAL(small_event) = 4 };

/* |white|^2 of one event, in the order of whiten_block. */
FD_INLINE REAL FD_LOCAL(norm_of_row)(intptr_t dim, const REAL *white)
{
    REAL total = 0, chunk = 0;
    for (intptr_t i = 0; i < dim; i++) {
        chunk = REAL_FMA(white[i], white[i], chunk);
        if ((i + 1) % FD_LOCAL(norm_chunk) == 0) {
            total += chunk;
            chunk = 0;
        }
    }
    return total + chunk;
}

/* A NaN that comes of no NaN is the inf - inf or 0 inf of an infinite value, or of one so far out
 * that it overflowed: infinity. */
static REAL FD_LOCAL(settle_nan)(intptr_t dim, const REAL *value, const REAL *loc, const REAL *factor)
{
    const intptr_t size = fd_panels_size(dim, FD_PANEL(REAL));
    int has_nan = 0;
    for (intptr_t i = 0; i < dim; i++)
        has_nan |= isnan(value[i]) | isnan(loc[i]);
    for (intptr_t i = 0; i < size && !has_nan; i++)
        has_nan |= isnan(factor[i]);
    return has_nan ? (REAL)NAN : (REAL)INFINITY;
}

/* What becomes of a distance: added to out, or a log density, which takes operand 5. */
enum { FD_LOCAL(add_distance), FD_LOCAL(log_density) };

/* The distances of n events from the r-th of a run on, which may be changed. */
FD_INLINE void FD_LOCAL(deliver)(int what, const fd_job *job, const fd_run *at, intptr_t r, intptr_t n, REAL *distance)
{
    const fd_run run = *at;
    const VEC infinity = V(set1)((REAL)INFINITY);
    for (intptr_t e = 0; e < n; e += V(lanes)) {
        const intptr_t m = fd_min(n - e, V(lanes));
        const unsigned all = (1u << m) - 1;
        REAL *d = distance + e, *out = AT(0) + (r + e) * STEP(0);
        if (FD_UNLIKELY(~V(below)(V(load)(d), infinity) & all))
            for (intptr_t j = 0; j < m; j++)
                if (isnan(d[j]))
                    d[j] = FD_LOCAL(settle_nan)(job->dim, AT(1) + (r + e + j) * STEP(1), AT(2) + (r + e + j) * STEP(2),
                                                AT(3) + (r + e + j) * STEP(3));
        if (what == FD_LOCAL(log_density)) {
            const REAL *constant = AT(5) + (r + e) * STEP(5);
            const VEC c = STEP(5) == 0   ? V(set1)(*constant)
                          : STEP(5) == 1 ? FD_LOCAL(load_to)(constant, m)
                                         : V(gather)(constant, STEP(5), m);
            const VEC y = V(sub)(V(mul)(V(set1)((REAL)-0.5), V(load)(d)), c);
            if (STEP(0) == 1) {
                FD_LOCAL(store_to)(out, y, m);
                continue;
            }
            V(store)(d, y);
            for (intptr_t j = 0; j < m; j++)
                out[j * STEP(0)] = d[j];
        } else
            for (intptr_t j = 0; j < m; j++)
                out[j * STEP(0)] += d[j];
    }
}

/* ---- small events ------------------------------------------------------------------------ */

/* What a vector of events has of its own, but for the values. */
typedef struct FD_LOCAL(triangle) {
    const REAL *factor, *loc; /* of the first event: where all this was read */
    intptr_t n;
    unsigned good; /* mask of the lanes whose diagonals have reciprocals */
    /* The lower triangle by columns: element (i, k) at [k * 4 + i], and the reciprocals of its diagonal. */
    VEC l[16], reciprocal[4], mean[4];
} FD_LOCAL(triangle);

/* n events x += ld of `dim` elements to as many vectors; those that lie together by a few shuffles. */
FD_INLINE void FD_LOCAL(load_events)(int dim, intptr_t n, VEC *v, const REAL *x, intptr_t ld)
{
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
            const VEC v = t->l[k * 4 + i] = factor_ld ? V(gather)(l, factor_ld, n) : V(set1)(*l);
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
    VEC x[4], white[4], norm = V(set1)(0);
    FD_LOCAL(load_events)(dim, n, x, value, ld);
    for (int k = 0; k < dim; k++)
        x[k] = V(sub)(x[k], t->mean[k]);
    for (int i = 0; i < dim; i++) {
        VEC sum = inverse ? V(set1)(0) : x[i];
        for (int k = 0; k < i + inverse; k++)
            sum = inverse ? V(fma)(t->l[k * 4 + i], x[k], sum) : V(fnma)(t->l[k * 4 + i], white[k], sum);
        white[i] = inverse ? sum : V(mul)(sum, t->reciprocal[i]);
        norm = V(fma)(white[i], white[i], norm);
    }
    return norm;
}

/* ---- any events ------------------------------------------------------------------------------ */

FD_INLINE void FD_LOCAL(mahalanobis_events)(int what, int inverse, const fd_job *job, const fd_run *at, intptr_t r,
                                            intptr_t n)
{
    const fd_run run = *at;
    const intptr_t dim = job->dim;
    REAL *tile = job->operand[4], distance[FD_LOCAL(n_tile) * FD_LOCAL(tile_width)];
    const REAL *value = AT(1) + r * STEP(1), *loc = AT(2) + r * STEP(2), *factor = AT(3) + r * STEP(3);
    if (n > 1) {
        const intptr_t ahead = FD_LOCAL(bytes_ahead)(job, 1, n, run.n);
        FD_LOCAL(load_tiles)(n, dim, tile, value, STEP(1), loc, STEP(2), ahead);
        FD_LOCAL(whiten_tiles)(inverse, n, dim, tile, factor, NULL, distance);
    } else {
        for (intptr_t i = 0; i < dim; i++)
            tile[i] = value[i] - loc[i];
        if (inverse)
            FD_LOCAL(multiply_rows)(1, dim, tile, 0, NULL, 0, factor);
        else
            FD_LOCAL(solve_row)(dim, tile, factor);
        for (int j = 0; j < V(lanes); j++)
            distance[j] = FD_LOCAL(norm_of_row)(dim, tile);
    }
    FD_LOCAL(deliver)(what, job, at, r, n, distance);
}

/* A vector of small events at a time; dim is a literal. The triangles of a run's first FD_TOGETHER events are
 * kept: the next run mostly has the same ones, with other values. */
FD_INLINE void FD_LOCAL(mahalanobis_small)(int what, int inverse, int dim, const fd_job *job, intptr_t begin,
                                           intptr_t end)
{
    enum { KEPT = FD_TOGETHER / V(lanes) };
    FD_LOCAL(triangle) kept[KEPT];
    int n_kept = 0;
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run)) {
        int slot = -1;
        for (intptr_t r = 0; r < run.n; r += V(lanes)) {
            const intptr_t n = fd_min(run.n - r, V(lanes));
            const REAL *factor = AT(3) + r * STEP(3), *loc = AT(2) + r * STEP(2);
            REAL distance[V(lanes)];
            if (slot < 0 || (STEP(2) | STEP(3)))
                slot = slot == KEPT - 1 ? 0 : slot + 1;
            FD_LOCAL(triangle) *t = kept + slot;
            if (slot >= n_kept || t->factor != factor || t->loc != loc || t->n < n) {
                FD_LOCAL(load_triangle)(inverse, dim, n, factor, STEP(3), loc, STEP(2), t);
                n_kept = slot >= n_kept ? slot + 1 : n_kept;
            }
            if (FD_UNLIKELY(~t->good & ((1u << n) - 1))) {
                for (intptr_t e = 0; e < n; e++)
                    FD_LOCAL(mahalanobis_events)(what, inverse, job, &run, r + e, 1);
                continue;
            }
            const REAL *value = AT(1) + r * STEP(1);
            for (int line = 0; line < dim * V(lanes) * (int)sizeof *value; line += 64)
                fd_prefetch((uintptr_t)(value + FD_TOGETHER * STEP(1)) + line);
            V(store)(distance, FD_LOCAL(norm_small)(inverse, dim, n, value, STEP(1), t));
            FD_LOCAL(deliver)(what, job, &run, r, n, distance);
        }
    }
}

#define FD_MAHALANOBIS_SMALL(verb, what, inverse, dim)                                         \
    FD_ALONE void FD_LOCAL(verb##_##dim)(const fd_job *job, intptr_t begin, intptr_t end)      \
    {                                                                                          \
        FD_LOCAL(mahalanobis_small)(FD_LOCAL(what), inverse, dim, job, begin, end);            \
    }

#define FD_MAHALANOBIS(verb, what, inverse)                                                    \
    FD_MAHALANOBIS_SMALL(verb, what, inverse, 1)                                               \
    FD_MAHALANOBIS_SMALL(verb, what, inverse, 2)                                               \
    FD_MAHALANOBIS_SMALL(verb, what, inverse, 3)                                               \
    FD_MAHALANOBIS_SMALL(verb, what, inverse, 4)                                               \
    static void FD_NAME(verb)(const fd_job *job, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        static fd_kernel *const small[] = {NULL, FD_LOCAL(verb##_1), FD_LOCAL(verb##_2), FD_LOCAL(verb##_3), \
                                           FD_LOCAL(verb##_4)};                                \
        if (0 < job->dim && job->dim <= FD_LOCAL(small_event)) {                               \
            small[job->dim](job, begin, end);                                                  \
            return;                                                                            \
        }                                                                                      \
        const intptr_t step = FD_LOCAL(events_at_once)(STEP(3));                               \
        for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))       \
            for (intptr_t r = 0; r < run.n; r += step)                                         \
                FD_LOCAL(mahalanobis_events)(FD_LOCAL(what), inverse, job, &run, r, fd_min(step, run.n - r)); \
    }

FD_MAHALANOBIS(mahalanobis_solve, add_distance, 0)
FD_MAHALANOBIS(mahalanobis_multiply, add_distance, 1)
FD_MAHALANOBIS(mvn_log_prob_solve, log_density, 0)
FD_MAHALANOBIS(mvn_log_prob_multiply, log_density, 1)
#undef FD_MAHALANOBIS
#undef FD_MAHALANOBIS_SMALL
