/* kernels/whiten.inc.h - L^-1 x and W x for events that share a factor, and what is made of them:
 * draws loc + L^-1 x, Mahalanobis distances |L^-1 (x - loc)|^2 and |W (x - loc)|^2, log densities.
 *
 * Up to two vectors of events are transposed into a tile, so that a lane is an event: row k of the
 * tile is element k of each. V(block) elements are then whitened at a time, their sums in
 * registers: each row above is two loads, V(block) splats of the factor and twice as many fma;
 * the triangle on the diagonal is solved in registers. No lane is wasted on zeros, whatever `dim`.
 *
 * Every element is reduced in ascending k and then multiplied by the reciprocal of the diagonal,
 * alone (solve_row) as in a tile; a division would cost as much as all else. */

enum { FD_LOCAL(tile_width) = 2 * V(lanes), FD_LOCAL(block) = V(block), FD_LOCAL(norm_chunk) = 16 };

/* Diagonals whose reciprocal is exact to half an ulp, as it is neither subnormal nor infinite. */
#define FD_RECIPROCAL_LIMIT (REAL_MAX / 4)

FD_INLINE int FD_LOCAL(has_reciprocal)(REAL diagonal)
{
    const REAL size = REAL_ABS(diagonal);
    return size < FD_RECIPROCAL_LIMIT && size > 1 / FD_RECIPROCAL_LIMIT;
}

/* n events x += ld, less their loc if there is one, to a tile; the lanes beyond hold zeros. */
FD_INLINE void FD_LOCAL(load_tile)(intptr_t n, intptr_t dim, REAL *tile, const REAL *x, intptr_t ld,
                                   const REAL *loc, intptr_t loc_ld)
{
    enum { WIDTH = FD_LOCAL(tile_width) };
    for (intptr_t r = 0; r < n; r += V(lanes))
        for (intptr_t i = 0; i < dim; i += V(lanes)) {
            const intptr_t m = fd_min(dim - i, V(lanes));
            VEC v[V(lanes)];
            for (int j = 0; j < V(lanes); j++) {
                if (r + j >= n)
                    v[j] = V(set1)(0);
                else if (loc)
                    v[j] = V(sub)(FD_LOCAL(load_to)(x + (r + j) * ld + i, m),
                                  FD_LOCAL(load_to)(loc + (r + j) * loc_ld + i, m));
                else
                    v[j] = FD_LOCAL(load_to)(x + (r + j) * ld + i, m);
            }
            V(transpose)(v);
            for (int j = 0; j < m; j++)
                V(store)(tile + (i + j) * WIDTH + r, v[j]);
        }
}

/* The other way, loc added. */
FD_INLINE void FD_LOCAL(store_tile)(intptr_t n, intptr_t dim, const REAL *tile, REAL *x, intptr_t ld,
                                    const REAL *loc, intptr_t loc_ld)
{
    enum { WIDTH = FD_LOCAL(tile_width) };
    for (intptr_t r = 0; r < n; r += V(lanes))
        for (intptr_t i = 0; i < dim; i += V(lanes)) {
            const intptr_t m = fd_min(dim - i, V(lanes));
            VEC v[V(lanes)];
            for (int j = 0; j < V(lanes); j++)
                v[j] = j < m ? V(load)(tile + (i + j) * WIDTH + r) : V(set1)(0);
            V(transpose)(v);
            for (int j = 0; j < V(lanes) && r + j < n; j++)
                FD_LOCAL(store_to)(x + (r + j) * ld + i,
                                   V(add)(FD_LOCAL(load_to)(loc + (r + j) * loc_ld + i, m), v[j]), m);
        }
}

/* Squares are added up in chunks of `norm_chunk` elements, whose sums are then added: the error of
 * a long sum grows with the number of chunks only. */
typedef struct FD_LOCAL(norm) {
    VEC chunk[2], total[2];
} FD_LOCAL(norm);

/* Elements i to i + n of n_vec vectors of events: L^-1 in place, or W if `inverse`, which leaves the
 * tile as it is (these are literals). `column` is where column 0 of these rows of the factor is, and
 * `height` how far on the next. */
FD_INLINE void FD_LOCAL(whiten_block)(int inverse, int n_vec, int n, REAL *tile, const REAL *column, intptr_t height,
                                      intptr_t i, FD_LOCAL(norm) *norm)
{
    enum { WIDTH = FD_LOCAL(tile_width) };
    VEC sum[FD_LOCAL(block)][2];
    for (int j = 0; j < n; j++)
        for (int v = 0; v < n_vec; v++)
            sum[j][v] = inverse ? V(set1)(0) : V(load)(tile + (i + j) * WIDTH + v * V(lanes));
    const REAL *row = tile;
    for (intptr_t k = 0; k < i; k++, row += WIDTH, column += height) {
        VEC x_k[2];
        for (int v = 0; v < n_vec; v++)
            x_k[v] = V(load)(row + v * V(lanes));
        for (int j = 0; j < n; j++) {
            const VEC l = V(set1)(column[j]);
            for (int v = 0; v < n_vec; v++)
                sum[j][v] = inverse ? V(fma)(l, x_k[v], sum[j][v]) : V(fnma)(l, x_k[v], sum[j][v]);
        }
    }
    for (int k = 0; k < n; k++, column += height) {
        VEC x_k[2];
        const REAL diagonal = column[k];
        const int multiply = !inverse && FD_LOCAL(has_reciprocal)(diagonal);
        const VEC by = V(set1)(multiply ? 1 / diagonal : diagonal);
        for (int v = 0; v < n_vec; v++) {
            REAL *x = tile + (i + k) * WIDTH + v * V(lanes);
            if (inverse) {
                x_k[v] = V(load)(x);
                sum[k][v] = V(fma)(by, x_k[v], sum[k][v]);
            } else {
                sum[k][v] = x_k[v] = multiply ? V(mul)(sum[k][v], by) : V(div)(sum[k][v], by);
                V(store)(x, x_k[v]);
            }
        }
        for (int j = k + 1; j < n; j++) {
            const VEC l = V(set1)(column[j]);
            for (int v = 0; v < n_vec; v++)
                sum[j][v] = inverse ? V(fma)(l, x_k[v], sum[j][v]) : V(fnma)(l, x_k[v], sum[j][v]);
        }
    }
    for (int v = 0; v < n_vec; v++) {
        for (int j = 0; j < n; j++)
            norm->chunk[v] = V(fma)(sum[j][v], sum[j][v], norm->chunk[v]);
        if ((i + n) % FD_LOCAL(norm_chunk) == 0) {
            norm->total[v] = V(add)(norm->total[v], norm->chunk[v]);
            norm->chunk[v] = V(set1)(0);
        }
    }
}

/* Whole blocks, then 4, 2 and 1 elements. */
#define FD_WHITEN(name, inverse, n_vec)                                                        \
    FD_WHITEN_BLOCK(name##_block, inverse, n_vec, FD_LOCAL(block))                             \
    FD_WHITEN_BLOCK(name##_4, inverse, n_vec, 4)                                               \
    FD_WHITEN_BLOCK(name##_2, inverse, n_vec, 2)                                               \
    FD_WHITEN_BLOCK(name##_1, inverse, n_vec, 1)                                               \
    /* All elements of n_vec vectors of events, and the squares of the results. */             \
    static void FD_LOCAL(name)(intptr_t dim, REAL *tile, const REAL *factor, FD_LOCAL(norm) *norm) \
    {                                                                                          \
        enum { H = FD_PANEL(REAL), BLOCK = FD_LOCAL(block) };                                  \
        for (intptr_t first = 0; first < dim; first += H) {                                    \
            const REAL *panel = factor + first * (first + H) / 2;                              \
            const intptr_t height = fd_min(dim - first, H);                                    \
            intptr_t at = 0;                                                                   \
            for (; at + BLOCK <= height; at += BLOCK)                                          \
                FD_LOCAL(name##_block)(tile, panel + at, height, first + at, norm);            \
            if (BLOCK > 4 && at + 4 <= height) {                                               \
                FD_LOCAL(name##_4)(tile, panel + at, height, first + at, norm);                \
                at += 4;                                                                       \
            }                                                                                  \
            if (at + 2 <= height) {                                                            \
                FD_LOCAL(name##_2)(tile, panel + at, height, first + at, norm);                \
                at += 2;                                                                       \
            }                                                                                  \
            if (at < height)                                                                   \
                FD_LOCAL(name##_1)(tile, panel + at, height, first + at, norm);                \
        }                                                                                      \
    }

#define FD_WHITEN_BLOCK(name, inverse, n_vec, n)                                               \
    FD_ALONE void FD_LOCAL(name)(REAL * tile, const REAL *column, intptr_t height, intptr_t i, \
                                 FD_LOCAL(norm) * norm)                                        \
    {                                                                                          \
        FD_LOCAL(whiten_block)(inverse, n_vec, n, tile, column, height, i, norm);              \
    }

FD_WHITEN(solve_one, 0, 1)
FD_WHITEN(solve_two, 0, 2)
FD_WHITEN(times_one, 1, 1)
FD_WHITEN(times_two, 1, 2)
#undef FD_WHITEN
#undef FD_WHITEN_BLOCK

/* The tile of n events, and their |white|^2. */
FD_INLINE void FD_LOCAL(whiten_tile)(int inverse, intptr_t n, intptr_t dim, REAL *tile, const REAL *factor,
                                     REAL *distance)
{
    FD_LOCAL(norm) norm;
    for (int v = 0; v < 2; v++)
        norm.chunk[v] = norm.total[v] = V(set1)(0);
    if (n > V(lanes))
        (inverse ? FD_LOCAL(times_two) : FD_LOCAL(solve_two))(dim, tile, factor, &norm);
    else
        (inverse ? FD_LOCAL(times_one) : FD_LOCAL(solve_one))(dim, tile, factor, &norm);
    for (int v = 0; v < 2; v++)
        V(store)(distance + v * V(lanes), V(add)(norm.total[v], norm.chunk[v]));
}

/* One event x in place: L^-1 x. The rows of a vector, and then the triangle on the diagonal. */
FD_INLINE void FD_LOCAL(solve_row)(intptr_t dim, REAL *x, const REAL *factor)
{
    enum { H = FD_PANEL(REAL) };
    for (intptr_t first = 0; first < dim; first += H) {
        const intptr_t height = fd_min(dim - first, H);
        for (intptr_t at = 0; at < height; at += V(lanes)) {
            const intptr_t i = first + at, m = fd_min(height - at, V(lanes));
            const REAL *column = factor + first * (first + H) / 2 + at;
            VEC sum = FD_LOCAL(load_to)(x + i, m);
            for (intptr_t k = 0; k < i; k++, column += height)
                sum = V(fnma)(FD_LOCAL(load_to)(column, m), V(set1)(x[k]), sum);
            FD_LOCAL(store_to)(x + i, sum, m);
            for (intptr_t k = 0; k < m; k++, column += height) {
                REAL *y = x + i;
                y[k] = FD_LOCAL(has_reciprocal)(column[k]) ? y[k] * (1 / column[k]) : y[k] / column[k];
                for (intptr_t j = k + 1; j < m; j++)
                    y[j] = REAL_FMA(-column[j], y[k], y[j]);
            }
        }
    }
}

FD_INLINE void FD_LOCAL(add_row)(intptr_t dim, REAL *x, const REAL *loc)
{
    for (intptr_t i = 0; i < dim; i += V(lanes)) {
        const intptr_t m = dim - i;
        FD_LOCAL(store_to)(x + i, V(add)(FD_LOCAL(load_to)(loc + i, m), FD_LOCAL(load_to)(x + i, m)), m);
    }
}

static void FD_NAME(solve_tril)(const fd_job *job, intptr_t begin, intptr_t end)
{
    enum { WIDTH = FD_LOCAL(tile_width) };
    const intptr_t dim = job->dim;
    REAL *tile = job->operand[3], distance[WIDTH];
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run)) {
        const intptr_t step = STEP(2) == 0 ? WIDTH : 1;
        for (intptr_t r = 0; r < run.n; r += step) {
            const intptr_t n = fd_min(step, run.n - r);
            REAL *x = AT(0) + r * STEP(0);
            const REAL *loc = AT(1) + r * STEP(1), *factor = AT(2) + r * STEP(2);
            if (n == 1) {
                FD_LOCAL(solve_row)(dim, x, factor);
                FD_LOCAL(add_row)(dim, x, loc);
            } else {
                FD_LOCAL(load_tile)(n, dim, tile, x, STEP(0), NULL, 0);
                FD_LOCAL(whiten_tile)(0, n, dim, tile, factor, distance);
                FD_LOCAL(store_tile)(n, dim, tile, x, STEP(0), loc, STEP(1));
            }
        }
    }
}

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

FD_INLINE void FD_LOCAL(mahalanobis_tril)(int what, int inverse, const fd_job *job, intptr_t begin, intptr_t end)
{
    enum { WIDTH = FD_LOCAL(tile_width) };
    const intptr_t dim = job->dim;
    REAL *tile = job->operand[4];
    REAL distance[WIDTH];
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run)) {
        const intptr_t step = STEP(3) == 0 ? WIDTH : 1;
        for (intptr_t r = 0; r < run.n; r += step) {
            const intptr_t n = fd_min(step, run.n - r);
            const REAL *value = AT(1) + r * STEP(1), *loc = AT(2) + r * STEP(2), *factor = AT(3) + r * STEP(3);
            if (n == 1) {
                for (intptr_t i = 0; i < dim; i++)
                    tile[i] = value[i] - loc[i];
                if (inverse)
                    FD_LOCAL(multiply_rows)(1, dim, tile, 0, NULL, 0, factor);
                else
                    FD_LOCAL(solve_row)(dim, tile, factor);
                distance[0] = FD_LOCAL(norm_of_row)(dim, tile);
            } else {
                FD_LOCAL(load_tile)(n, dim, tile, value, STEP(1), loc, STEP(2));
                FD_LOCAL(whiten_tile)(inverse, n, dim, tile, factor, distance);
            }
            for (intptr_t e = 0; e < n; e++) {
                REAL *out = AT(0) + (r + e) * STEP(0);
                REAL d = distance[e];
                if (FD_UNLIKELY(isnan(d)))
                    d = FD_LOCAL(settle_nan)(dim, value + e * STEP(1), loc + e * STEP(2), factor);
                if (what == FD_LOCAL(log_density))
                    *out = (REAL)-0.5 * d - AT(5)[(r + e) * STEP(5)];
                else
                    *out += d;
            }
        }
    }
}

#define FD_MAHALANOBIS(verb, what, inverse)                                                    \
    static void FD_NAME(verb)(const fd_job *job, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        FD_LOCAL(mahalanobis_tril)(FD_LOCAL(what), inverse, job, begin, end);                  \
    }

FD_MAHALANOBIS(mahalanobis_solve, add_distance, 0)
FD_MAHALANOBIS(mahalanobis_multiply, add_distance, 1)
FD_MAHALANOBIS(mvn_log_prob_solve, log_density, 0)
FD_MAHALANOBIS(mvn_log_prob_multiply, log_density, 1)
#undef FD_MAHALANOBIS
