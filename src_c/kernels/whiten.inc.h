/* kernels/whiten.inc.h - L^-1 x and W x for events that share a factor, and their norms.
 *
 * V(block) elements of a tile (tiles.inc.h) are whitened at a time, their sums in registers: each row
 * above is two loads, V(block) splats of the factor and twice as many fma; the triangle on the diagonal
 * is solved in registers. No lane is wasted on zeros, whatever `dim`. Two tiles take turns, as a triangle
 * is a long chain of operations that leaves room for another one's. L^-1 x is done by chunks: once so
 * many elements are done, they are taken off all that follow while they are near, and not read from a
 * far cache again and again.
 *
 * Every element is reduced in ascending k and then multiplied by the reciprocal of the diagonal,
 * alone (solve_each) as in a tile; a division would cost as much as all else. */

enum { FD_LOCAL(block) = V(block), FD_LOCAL(norm_chunk) = 16, FD_LOCAL(solve_chunk) = 64 };

/* Diagonals whose reciprocal is exact to half an ulp, as it is neither subnormal nor infinite. */
#define FD_RECIPROCAL_LIMIT (REAL_MAX / 4)

FD_INLINE int FD_LOCAL(has_reciprocal)(REAL diagonal)
{
    const REAL size = REAL_ABS(diagonal);
    return size < FD_RECIPROCAL_LIMIT && size > 1 / FD_RECIPROCAL_LIMIT;
}

/* Squares are added up in chunks of `norm_chunk` elements, whose sums are then added: the error of
 * a long sum grows with the number of chunks only. */
typedef struct FD_LOCAL(norm) {
    VEC chunk[2], total[2];
} FD_LOCAL(norm);

/* The triangle on the diagonal of n elements x of n_vec vectors of events, from what is left of the x, their
 * `sum`, with the reciprocals of the diagonal; or for W added to their `sum`. All but the pointers are
 * compile-time constants. */
FD_INLINE void FD_LOCAL(whiten_triangle)(int inverse, int n_vec, int n, REAL *x, const REAL *column, intptr_t height,
                                         const REAL *reciprocal, VEC (*sum)[2])
{
    enum { WIDTH = FD_LOCAL(tile_width) };
    FD_UNROLL
    for (int k = 0; k < n; k++, column += height) {
        VEC x_k[2];
        FD_UNROLL
        for (int v = 0; v < n_vec; v++) {
            if (inverse) {
                x_k[v] = V(load)(x + k * WIDTH + v * V(lanes));
                sum[k][v] = V(fma)(V(set1)(column[k]), x_k[v], sum[k][v]);
            } else
                V(store)(x + k * WIDTH + v * V(lanes), x_k[v] = sum[k][v] = V(mul)(sum[k][v], V(set1)(reciprocal[k])));
        }
        FD_UNROLL
        for (int j = k + 1; j < n; j++) {
            const VEC l = V(set1)(column[j]);
            FD_UNROLL
            for (int v = 0; v < n_vec; v++)
                sum[j][v] = inverse ? V(fma)(l, x_k[v], sum[j][v]) : V(fnma)(l, x_k[v], sum[j][v]);
        }
    }
}

/* The same from n rows x and in place, where a diagonal might have no reciprocal. Seldom, and a function of its
 * own: its loops, not unrolled, would keep everybody's sums in memory. */
FD_ALONE void FD_LOCAL(divide_triangle)(int n_vec, int n, REAL *x, const REAL *column, intptr_t height)
{
    enum { WIDTH = FD_LOCAL(tile_width) };
    for (int k = 0; k < n; k++, column += height)
        for (int v = 0; v < n_vec; v++) {
            REAL *row = x + v * V(lanes);
            const VEC rest = V(load)(row + k * WIDTH), diagonal = V(set1)(column[k]);
            const VEC x_k = FD_LOCAL(has_reciprocal)(column[k]) ? V(mul)(rest, V(div)(V(set1)(1), diagonal))
                                                                : V(div)(rest, diagonal);
            V(store)(row + k * WIDTH, x_k);
            for (int j = k + 1; j < n; j++)
                V(store)(row + j * WIDTH, V(fnma)(V(set1)(column[j]), x_k, V(load)(row + j * WIDTH)));
        }
}

/* The reciprocals of n diagonals, the first column's and so on; whether all have one. */
FD_INLINE int FD_LOCAL(reciprocals)(int n, const REAL *column, intptr_t height, REAL *reciprocal)
{
    const VEC limit = V(set1)(FD_RECIPROCAL_LIMIT), least = V(set1)(1 / FD_RECIPROCAL_LIMIT);
    int all = 1;
    for (int k = 0; k < n; k += V(lanes)) {
        const int m = n - k < V(lanes) ? n - k : V(lanes);
        const VEC diagonal = V(gather)(column + k * (height + 1), height + 1, m), size = V(abs)(diagonal);
        all &= !(~(V(below)(size, limit) & V(below)(least, size)) & ((1u << m) - 1));
        FD_LOCAL(store_to)(reciprocal + k, V(div)(V(set1)(1), diagonal), m);
    }
    return all;
}

/* Elements i to i + n of n_vec vectors of events: L^-1 in place, or W if `inverse`, which goes to the tile
 * `white` unless it is NULL (these are compile-time constants). `column` is where column 0 of these rows of the
 * factor is, and `height` how far on the next; `reciprocal` those of the diagonal, if all have one. What comes of columns
 * before `from` has been done; with `to` <= i only the columns before that are done now. */
FD_INLINE void FD_LOCAL(whiten_block)(int inverse, int n_vec, int n, REAL *tile, const REAL *column, intptr_t height,
                                      intptr_t i, intptr_t from, intptr_t to, const REAL *reciprocal,
                                      REAL *white, FD_LOCAL(norm) *norm)
{
    enum { WIDTH = FD_LOCAL(tile_width) };
    VEC sum[FD_LOCAL(block)][2];
    FD_UNROLL
    for (int j = 0; j < n; j++)
        FD_UNROLL
        for (int v = 0; v < n_vec; v++)
            sum[j][v] = inverse ? V(set1)(0) : V(load)(tile + (i + j) * WIDTH + v * V(lanes));
    REAL *row = tile + from * WIDTH;
    column += from * height;
    for (const intptr_t end = fd_min(i, to); from < end; from++, row += WIDTH, column += height) {
        VEC x_k[2];
        FD_UNROLL
        for (int v = 0; v < n_vec; v++)
            x_k[v] = V(load)(row + v * V(lanes));
        FD_UNROLL
        for (int j = 0; j < n; j++) {
            const VEC l = V(set1)(column[j]);
            FD_UNROLL
            for (int v = 0; v < n_vec; v++)
                sum[j][v] = inverse ? V(fma)(l, x_k[v], sum[j][v]) : V(fnma)(l, x_k[v], sum[j][v]);
        }
    }
    if (!inverse && to <= i) {
        FD_UNROLL
        for (int j = 0; j < n; j++)
            FD_UNROLL
            for (int v = 0; v < n_vec; v++)
                V(store)(tile + (i + j) * WIDTH + v * V(lanes), sum[j][v]);
        return;
    }
    if (inverse || reciprocal)
        FD_LOCAL(whiten_triangle)(inverse, n_vec, n, row, column, height, reciprocal, sum);
    else {
        FD_UNROLL
        for (int j = 0; j < n; j++)
            FD_UNROLL
            for (int v = 0; v < n_vec; v++)
                V(store)(row + j * WIDTH + v * V(lanes), sum[j][v]);
        FD_LOCAL(divide_triangle)(n_vec, n, row, column, height);
        FD_UNROLL
        for (int j = 0; j < n; j++)
            FD_UNROLL
            for (int v = 0; v < n_vec; v++)
                sum[j][v] = V(load)(row + j * WIDTH + v * V(lanes));
    }
    if (inverse && white)
        FD_UNROLL
        for (int j = 0; j < n; j++)
            FD_UNROLL
            for (int v = 0; v < n_vec; v++)
                V(store)(white + (i + j) * WIDTH + v * V(lanes), sum[j][v]);
    FD_UNROLL
    for (int v = 0; v < n_vec; v++) {
        FD_UNROLL
        for (int j = 0; j < n; j++)
            norm->chunk[v] = V(fma)(sum[j][v], sum[j][v], norm->chunk[v]);
        if ((i + n) % FD_LOCAL(norm_chunk) == 0) {
            norm->total[v] = V(add)(norm->total[v], norm->chunk[v]);
            norm->chunk[v] = V(set1)(0);
        }
    }
}

/* For n_tile tiles in turn, each `size` numbers. */
FD_INLINE void FD_LOCAL(whiten_blocks)(int inverse, int n_vec, int n, int n_tile, intptr_t size, REAL *tile,
                                       const REAL *column, intptr_t height, intptr_t i, intptr_t from, intptr_t to,
                                       REAL *white, FD_LOCAL(norm) *norm)
{
    REAL reciprocal[FD_LOCAL(block)];
    const int multiply = inverse || to <= i || FD_LOCAL(reciprocals)(n, column + i * height, height, reciprocal);
    for (int t = 0; t < n_tile; t++)
        FD_LOCAL(whiten_block)(inverse, n_vec, n, tile + t * size, column, height, i, from, to,
                               multiply ? reciprocal : NULL, white ? white + t * size : NULL, norm + t);
}

/* Whole blocks, then 4, 2 and 1 elements. */
#define FD_WHITEN(name, inverse, n_vec)                                                        \
    FD_WHITEN_BLOCK(name##_block, inverse, n_vec, FD_LOCAL(block))                             \
    FD_WHITEN_BLOCK(name##_4, inverse, n_vec, 4)                                               \
    FD_WHITEN_BLOCK(name##_2, inverse, n_vec, 2)                                               \
    FD_WHITEN_BLOCK(name##_1, inverse, n_vec, 1)                                               \
    /* All elements of n_tile times n_vec vectors of events, and the squares of the results. */ \
    static void FD_LOCAL(name)(int n_tile, intptr_t dim, REAL *tile, const REAL *factor, REAL *white, \
                               FD_LOCAL(norm) *norm)                                           \
    {                                                                                          \
        enum { H = FD_PANEL(REAL), BLOCK = FD_LOCAL(block) };                                  \
        const intptr_t size = dim * FD_LOCAL(tile_width), chunk = inverse ? dim : FD_LOCAL(solve_chunk); \
        for (intptr_t from = 0; from < dim; from += chunk)                                     \
            for (intptr_t first = from; first < dim; first += H) {                             \
                const REAL *panel = factor + first * (first + H) / 2;                          \
                const intptr_t height = fd_min(dim - first, H), to = first < from + chunk ? dim : from + chunk; \
                intptr_t at = 0;                                                               \
                for (; at + BLOCK <= height; at += BLOCK)                                      \
                    FD_LOCAL(name##_block)(n_tile, size, tile, panel + at, height, first + at, from, to, white, norm); \
                if (BLOCK > 4 && at + 4 <= height) {                                           \
                    FD_LOCAL(name##_4)(n_tile, size, tile, panel + at, height, first + at, from, to, white, norm); \
                    at += 4;                                                                   \
                }                                                                              \
                if (at + 2 <= height) {                                                        \
                    FD_LOCAL(name##_2)(n_tile, size, tile, panel + at, height, first + at, from, to, white, norm); \
                    at += 2;                                                                   \
                }                                                                              \
                if (at < height)                                                               \
                    FD_LOCAL(name##_1)(n_tile, size, tile, panel + at, height, first + at, from, to, white, norm); \
            }                                                                                  \
    }

#define FD_WHITEN_BLOCK(name, inverse, n_vec, n)                                               \
    FD_ALONE void FD_LOCAL(name)(int n_tile, intptr_t size, REAL *tile, const REAL *column, intptr_t height, \
                                 intptr_t i, intptr_t from, intptr_t to, REAL *white, FD_LOCAL(norm) *norm) \
    {                                                                                          \
        FD_LOCAL(whiten_blocks)(inverse, n_vec, n, n_tile, size, tile, column, height, i, from, to, white, norm); \
    }

FD_WHITEN(solve_one, 0, 1)
FD_WHITEN(solve_two, 0, 2)
FD_WHITEN(times_one, 1, 1)
FD_WHITEN(times_two, 1, 2)
#undef FD_WHITEN
#undef FD_WHITEN_BLOCK

/* n events, in as many tiles as they need, and their |white|^2, for which there is room for all lanes. With
 * W they go to other tiles, or nowhere. */
FD_INLINE void FD_LOCAL(whiten_tiles)(int inverse, intptr_t n, intptr_t dim, REAL *tile, const REAL *factor,
                                      REAL *white, REAL *distance)
{
    enum { WIDTH = FD_LOCAL(tile_width) };
    FD_LOCAL(norm) norm[FD_LOCAL(n_tile)];
    const int n_tile = (int)((n + WIDTH - 1) / WIDTH);
    for (int t = 0; t < n_tile; t++)
        for (int v = 0; v < 2; v++)
            norm[t].chunk[v] = norm[t].total[v] = V(set1)(0);
    if (n > V(lanes))
        (inverse ? FD_LOCAL(times_two) : FD_LOCAL(solve_two))(n_tile, dim, tile, factor, white, norm);
    else
        (inverse ? FD_LOCAL(times_one) : FD_LOCAL(solve_one))(1, dim, tile, factor, white, norm);
    for (int t = 0; t < n_tile; t++)
        for (int v = 0; v < 2; v++)
            V(store)(distance + t * WIDTH + v * V(lanes), V(add)(norm[t].total[v], norm[t].chunk[v]));
}

/* ---- events of each its own factor ------------------------------------------------------- */

/* So many events take turns, as one alone is a chain of operations that wait for each other. */
enum { FD_LOCAL(own) = 4 };

/* A triangle on the diagonal whose columns begin at `column`, where a diagonal might have no reciprocal. */
FD_ALONE VEC FD_LOCAL(divide_one)(intptr_t m, VEC x, const REAL *column, intptr_t height)
{
    REAL y[V(lanes)];
    V(store)(y, x);
    for (intptr_t k = 0; k < m; k++, column += height) {
        y[k] = FD_LOCAL(has_reciprocal)(column[k]) ? y[k] * (1 / column[k]) : y[k] / column[k];
        for (intptr_t j = k + 1; j < m; j++)
            y[j] = REAL_FMA(-column[j], y[k], y[j]);
    }
    return V(load)(y);
}

/* Solves the triangles on the diagonals of n events, m rows of each in a vector, column k of event e at column[e] + k *
 * height; n is a compile-time constant, and so is m where vectors are full. */
FD_INLINE void FD_LOCAL(solve_triangles)(int n, intptr_t m, VEC *x, const REAL *const *column, intptr_t height)
{
    enum { LANES = V(lanes) };
    REAL reciprocal[FD_LOCAL(own)][LANES];
    int all = 1;
    FD_UNROLL
    for (int e = 0; e < n; e++) {
        V(store)(reciprocal[e], V(set1)(0));
        all &= FD_LOCAL(reciprocals)((int)m, column[e], height, reciprocal[e]);
    }
    if (FD_UNLIKELY(!all)) {
        FD_UNROLL
        for (int e = 0; e < n; e++)
            x[e] = FD_LOCAL(divide_one)(m, x[e], column[e], height);
        return;
    }
    FD_UNROLL
    for (int k = 0; k + 1 < LANES; k++) {
        const unsigned below = FD_LOCAL(first_lanes)(LANES) & ~((2u << k) - 1); /* the rows that follow */
        if (k + 1 >= m)
            break;
        FD_UNROLL
        for (int e = 0; e < n; e++) {
            const VEC x_k = V(mul)(V(splat)(LANES, k, x[e]), V(set1)(reciprocal[e][k]));
            const VEC l = FD_LOCAL(load_to)(column[e] + k * height, m);
            x[e] = V(select)(below, V(fnma)(l, x_k, x[e]), x[e]);
        }
    }
    FD_UNROLL
    for (int e = 0; e < n; e++)
        x[e] = V(mul)(x[e], V(load)(reciprocal[e]));
}

/* Rows i to i + m of n events x += ld, event e's at panel[e]; whether these are `two` vectors and the last one is
 * `whole`: all compile-time constants. */
FD_INLINE void FD_LOCAL(solve_panel)(int n, int two, int whole, REAL *x, intptr_t ld, const REAL *const *panel,
                                     intptr_t height, intptr_t i, intptr_t m)
{
    enum { LANES = V(lanes) };
    const intptr_t last = whole ? LANES : m - two * LANES; /* rows in the last vector */
    VEC upper[FD_LOCAL(own)], lower[FD_LOCAL(own)];
    const REAL *column[FD_LOCAL(own)];
    FD_UNROLL
    for (int e = 0; e < n; e++) {
        if (two)
            upper[e] = V(load)(x + e * ld + i);
        lower[e] = FD_LOCAL(load_to)(x + e * ld + i + two * LANES, last);
    }
    for (intptr_t k = 0; k < i; k++) {
        FD_UNROLL
        for (int e = 0; e < n; e++) {
            const REAL *l = panel[e] + k * height;
            const VEC x_k = V(set1)(x[e * ld + k]);
            if (two)
                upper[e] = V(fnma)(V(load)(l), x_k, upper[e]);
            lower[e] = V(fnma)(FD_LOCAL(load_to)(l + two * LANES, last), x_k, lower[e]);
        }
    }
    if (two) {
        FD_UNROLL
        for (int e = 0; e < n; e++)
            column[e] = panel[e] + i * height;
        FD_LOCAL(solve_triangles)(n, LANES, upper, column, height);
        FD_UNROLL
        for (int e = 0; e < n; e++)
            V(store)(x + e * ld + i, upper[e]);
        for (intptr_t k = 0; k < LANES; k++) {
            FD_UNROLL
            for (int e = 0; e < n; e++)
                lower[e] = V(fnma)(FD_LOCAL(load_to)(column[e] + k * height + LANES, last), V(set1)(x[e * ld + i + k]),
                                   lower[e]);
        }
    }
    FD_UNROLL
    for (int e = 0; e < n; e++)
        column[e] = panel[e] + (i + two * LANES) * height + two * LANES;
    FD_LOCAL(solve_triangles)(n, last, lower, column, height);
    FD_UNROLL
    for (int e = 0; e < n; e++)
        FD_LOCAL(store_to)(x + e * ld + i + two * LANES, lower[e], last);
}

#define FD_SOLVE_PANEL(name, n, two, whole)                                                    \
    FD_ALONE void FD_LOCAL(name)(REAL * x, intptr_t ld, const REAL *const *panel, intptr_t height, intptr_t i, \
                                 intptr_t m)                                                   \
    {                                                                                          \
        FD_LOCAL(solve_panel)(n, two, whole, x, ld, panel, height, i, m);                      \
    }
/* n events x += ld in place: L^-1 x, their factors factor_ld apart. */
#define FD_SOLVE_ROWS(name, n)                                                                 \
    FD_SOLVE_PANEL(name##_pair, n, 1, 1)                                                       \
    FD_SOLVE_PANEL(name##_part, n, 1, 0)                                                       \
    FD_SOLVE_PANEL(name##_single, n, 0, 0)                                                     \
    static void FD_LOCAL(name)(intptr_t dim, REAL *x, intptr_t ld, const REAL *factor, intptr_t factor_ld) \
    {                                                                                          \
        enum { H = FD_PANEL(REAL), PAIR = 2 * V(lanes) };                                      \
        for (intptr_t first = 0; first < dim; first += H) {                                    \
            const intptr_t height = fd_min(dim - first, H);                                    \
            for (intptr_t at = 0; at < height; at += PAIR) {                                   \
                const intptr_t m = height - at;                                                \
                const REAL *panel[n];                                                          \
                for (int e = 0; e < n; e++)                                                    \
                    panel[e] = factor + e * factor_ld + first * (first + H) / 2 + at;          \
                if (m >= PAIR)                                                                 \
                    FD_LOCAL(name##_pair)(x, ld, panel, height, first + at, m);                \
                else if (m > V(lanes))                                                         \
                    FD_LOCAL(name##_part)(x, ld, panel, height, first + at, m);                \
                else                                                                           \
                    FD_LOCAL(name##_single)(x, ld, panel, height, first + at, m);              \
            }                                                                                  \
        }                                                                                      \
    }

FD_SOLVE_ROWS(solve_own, FD_LOCAL(own))
FD_SOLVE_ROWS(solve_alone, 1)
#undef FD_SOLVE_ROWS
#undef FD_SOLVE_PANEL

/* n events x += ld in place, their factors factor_ld apart. */
static void FD_LOCAL(solve_each)(intptr_t n, intptr_t dim, REAL *x, intptr_t ld, const REAL *factor, intptr_t factor_ld)
{
    for (; n >= FD_LOCAL(own); n -= FD_LOCAL(own), x += FD_LOCAL(own) * ld, factor += FD_LOCAL(own) * factor_ld)
        FD_LOCAL(solve_own)(dim, x, ld, factor, factor_ld);
    for (; n > 0; n--, x += ld, factor += factor_ld)
        FD_LOCAL(solve_alone)(dim, x, 0, factor, 0);
}

/* ---- beyond the range ------------------------------------------------------------------ */

/* Element (i, k) of a factor. */
FD_INLINE double FD_LOCAL(in_panels)(intptr_t dim, const REAL *panels, intptr_t i, intptr_t k)
{
    enum { H = FD_PANEL(REAL) };
    const intptr_t first = i / H * H, height = fd_min(dim - first, H);
    return (double)panels[first * (first + H) / 2 + k * height + i - first];
}

/* Half of one event's z, where differences or sums might overflow, with room for as many numbers behind it:
 * L^-1 (value - loc), of which each row is divided by its diagonal first, or W (value - loc). */
FD_ALONE void FD_LOCAL(whiten_beyond)(int inverse, intptr_t dim, double *half_z, const REAL *value, const REAL *loc,
                                      const REAL *panels)
{
    double *half = half_z + dim; /* of the differences */
    for (intptr_t i = 0; i < dim; i++)
        half[i] = fd_half_standardized((double)value[i], (double)loc[i], 1);
    for (intptr_t i = 0; i < dim; i++) {
        const double diagonal = FD_LOCAL(in_panels)(dim, panels, i, i);
        double sum = inverse ? 0 : fd_half_standardized((double)value[i], (double)loc[i], diagonal);
        for (intptr_t k = 0; k < i + inverse; k++) {
            const double l = FD_LOCAL(in_panels)(dim, panels, i, k);
            sum = inverse ? fma(l, half[k], sum) : fma(-l / diagonal, half_z[k], sum);
        }
        half_z[i] = sum;
    }
}
