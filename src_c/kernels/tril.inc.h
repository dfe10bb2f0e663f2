/* kernels/tril.inc.h - colour by a lower-triangular factor: x = loc + L x, in place.
 *
 * A factor comes in panels of FD_PANEL_BYTES of rows, each stored by columns (fastdist.h), so that
 * the rows of a column are contiguous. Every row of a result sums in ascending k by fma, whichever
 * lane, block or vector it falls into.
 *
 * It goes from the bottom rows of L up. V(rows) events are done at a time, two vectors of rows
 * each: for a column that is two loads, a splat of each event's x_k, and 2 V(rows) fma, whose sums
 * stay in registers. */

enum { FD_LOCAL(row_block) = V(rows), FD_LOCAL(small_dim) = 8, FD_LOCAL(runs) = 16 };

/* sum, plus loc if there is one (a compile-time constant), of m elements. The zeros above the diagonal may or may not
 * have made +0 of a sum that underflowed to -0; + 0 always does. */
FD_INLINE void FD_LOCAL(store_sum)(REAL *x, VEC sum, int has_loc, const REAL *loc, intptr_t m)
{
    sum = V(add)(sum, V(set1)(0));
    FD_LOCAL(store_to)(x, has_loc ? V(add)(FD_LOCAL(load_to)(loc, m), sum) : sum, m);
}

/* Rows of L for so many events: i to i + m, m > V(lanes) if there are two vectors of them. Column k of
 * these rows is at column + k * height. Meanwhile the memory at `ahead` is asked for, ahead_stride bytes for each
 * column: where that is the next panel, in a far cache, draws at d = 512 take a fifth less time. */
typedef struct FD_LOCAL(block_of) {
    const REAL *column, *loc;
    uintptr_t ahead;
    intptr_t ahead_stride, height, i, m, ld, loc_ld;
} FD_LOCAL(block_of);

/* n_row events x += ld; whether there are `two` vectors and the last one is `whole`: all compile-time constants. */
FD_INLINE void FD_LOCAL(multiply_block)(int n_row, int two, int whole, int has_loc, REAL *x,
                                        const FD_LOCAL(block_of) *rows)
{
    VEC upper[FD_LOCAL(row_block)], lower[FD_LOCAL(row_block)];
    const intptr_t ld = rows->ld, height = rows->height, i = rows->i;
    const intptr_t last = whole ? V(lanes) : rows->m - two * V(lanes); /* rows in the last vector */
    const REAL *column = rows->column;
    FD_UNROLL
    for (int r = 0; r < n_row; r++)
        upper[r] = lower[r] = V(set1)(0);
    uintptr_t ahead = rows->ahead;
    intptr_t k = 0;
    if (two) {
        for (; k < i + V(lanes); k++, column += height) {
            const VEC above = V(load)(column), below = FD_LOCAL(load_to)(column + V(lanes), last);
            fd_prefetch(ahead);
            ahead += (uintptr_t)rows->ahead_stride;
            FD_UNROLL
            for (int r = 0; r < n_row; r++) {
                const VEC x_k = V(set1)(x[r * ld + k]);
                upper[r] = V(fma)(above, x_k, upper[r]);
                lower[r] = V(fma)(below, x_k, lower[r]);
            }
        }
        column += V(lanes);
    }
    for (; k < i + two * V(lanes) + last; k++, column += height) {
        const VEC below = FD_LOCAL(load_to)(column, last);
        FD_UNROLL
        for (int r = 0; r < n_row; r++)
            lower[r] = V(fma)(below, V(set1)(x[r * ld + k]), lower[r]);
    }
    FD_UNROLL
    for (int r = 0; r < n_row; r++) {
        REAL *y = x + r * ld + i;
        const REAL *loc = has_loc ? rows->loc + r * rows->loc_ld : NULL;
        if (two)
            FD_LOCAL(store_sum)(y, upper[r], has_loc, loc, V(lanes));
        FD_LOCAL(store_sum)(y + two * V(lanes), lower[r], has_loc, has_loc ? loc + two * V(lanes) : NULL, last);
    }
}

#define FD_MULTIPLY_BLOCK(name, n_row, two, whole, has_loc)                                    \
    FD_ALONE void FD_LOCAL(name)(REAL * x, const FD_LOCAL(block_of) * rows)                    \
    {                                                                                          \
        FD_LOCAL(multiply_block)(n_row, two, whole, has_loc, x, rows);                         \
    }

/* By whether there are two vectors and the last is whole. */
#define FD_MULTIPLY_BLOCKS(name, n_row, has_loc)                                               \
    FD_MULTIPLY_BLOCK(name##_pair, n_row, 1, 1, has_loc)                                       \
    FD_MULTIPLY_BLOCK(name##_part, n_row, 1, 0, has_loc)                                       \
    FD_MULTIPLY_BLOCK(name##_single, n_row, 0, 0, has_loc)                                     \
    static void FD_LOCAL(name)(REAL *x, const FD_LOCAL(block_of) *rows)                        \
    {                                                                                          \
        if (rows->m == 2 * V(lanes))                                                           \
            FD_LOCAL(name##_pair)(x, rows);                                                    \
        else if (rows->m > V(lanes))                                                           \
            FD_LOCAL(name##_part)(x, rows);                                                    \
        else                                                                                   \
            FD_LOCAL(name##_single)(x, rows);                                                  \
    }

FD_MULTIPLY_BLOCKS(multiply_many, FD_LOCAL(row_block), 1)
FD_MULTIPLY_BLOCKS(multiply_two, 2, 1)
FD_MULTIPLY_BLOCKS(multiply_one, 1, 1)
FD_MULTIPLY_BLOCKS(whiten_one, 1, 0)
#undef FD_MULTIPLY_BLOCK
#undef FD_MULTIPLY_BLOCKS

/* n events x += ld that share their factor; loc may be NULL if there is one event. The rows of L are
 * outermost: those of one block are read from far away once and then found in a cache. */
static void FD_LOCAL(multiply_rows)(intptr_t n, intptr_t dim, REAL *x, intptr_t ld, const REAL *loc,
                                    intptr_t loc_ld, const REAL *factor)
{
    enum { H = FD_PANEL(REAL), PAIR = 2 * V(lanes), MANY = FD_LOCAL(row_block) };
    for (intptr_t first = (dim - 1) / H * H; first >= 0; first -= H) {
        const REAL *panel = factor + first * (first + H) / 2;
        const intptr_t height = fd_min(dim - first, H);
        for (intptr_t at = (height - 1) / PAIR * PAIR; at >= 0; at -= PAIR) {
            const intptr_t i = first + at, m = fd_min(height - at, PAIR);
            /* The next panel, by the calls for MANY events each their part; of 128 bytes one line, which brings its
             * neighbour. */
            const uintptr_t next = (uintptr_t)(first > 0 ? panel - first * H : panel);
            const intptr_t ahead_stride = (intptr_t)sizeof(REAL) * H * MANY / (n > MANY ? n : MANY);
            FD_LOCAL(block_of) rows = {panel + at, loc ? loc + i : NULL, next, ahead_stride, height, i, m, ld, loc_ld};
            intptr_t r = 0;
            if (!loc) {
                FD_LOCAL(whiten_one)(x, &rows);
                continue;
            }
            for (; r + MANY <= n; r += MANY, rows.loc += MANY * loc_ld, rows.ahead += (uintptr_t)(i * ahead_stride))
                FD_LOCAL(multiply_many)(x + r * ld, &rows);
            for (; r + 2 <= n; r += 2, rows.loc += 2 * loc_ld)
                FD_LOCAL(multiply_two)(x + r * ld, &rows);
            if (r < n)
                FD_LOCAL(multiply_one)(x + r * ld, &rows);
        }
    }
}

/* The same for small events, `dim` a compile-time constant: all sums of an event at once. Factors are factor_ld apart,
 * 0 if there is one for all (a compile-time constant). */
FD_INLINE void FD_LOCAL(multiply_small)(int n_row, int dim, REAL *x, intptr_t ld, const REAL *loc, intptr_t loc_ld,
                                        const REAL *factor, intptr_t factor_ld)
{
    enum { MAX_VEC = (FD_LOCAL(small_dim) + V(lanes) - 1) / V(lanes) };
    const int n_vec = (dim + V(lanes) - 1) / V(lanes);
    VEC sum[FD_LOCAL(row_block)][MAX_VEC];
    for (int r = 0; r < n_row; r++)
        for (int v = 0; v < n_vec; v++)
            sum[r][v] = V(set1)(0);
    for (int k = 0; k < dim; k++)
        for (int v = k / V(lanes); v < n_vec; v++) {
            VEC column = V(set1)(0);
            for (int r = 0; r < n_row; r++) {
                if (r == 0 || factor_ld != 0)
                    column = FD_LOCAL(load_to)(factor + r * factor_ld + k * dim + v * V(lanes), dim - v * V(lanes));
                sum[r][v] = V(fma)(column, V(set1)(x[r * ld + k]), sum[r][v]);
            }
        }
    for (int r = 0; r < n_row; r++)
        for (int v = 0; v < n_vec; v++) {
            const intptr_t i = v * V(lanes);
            FD_LOCAL(store_sum)(x + r * ld + i, sum[r][v], 1, loc + r * loc_ld + i, dim - i);
        }
}

#define FD_ROW(k) (AT(k) + r * STRIDE(k))

/* n_row runs. From the last event down: a store of part of a vector holds up loads of what lies beyond it. A block of
 * each run is done before the next ones, while what lies side by side is in the cache: samples that are 4 KiB apart
 * leave room for few. */
FD_INLINE void FD_LOCAL(multiply_small_runs)(int dim, const fd_loop *loop, const fd_run *at, intptr_t n_row)
{
    enum { BLOCK = FD_LOCAL(row_block) };
    const int last = loop->ndim - 1;
    fd_run run = *at;
    intptr_t step[3] = {0}, r = run.n;
    for (int k = 0; k < 3 && n_row > 1; k++)
        step[k] = loop->stride[k][last - 1];
    while (r > 0) {
        const intptr_t n = r >= BLOCK ? BLOCK : 1;
        r -= n;
        for (intptr_t i = n_row - 1; i >= 0; i--) {
            REAL *x = FD_ROW(0) + i * step[0];
            const REAL *loc = FD_ROW(1) + i * step[1], *factor = FD_ROW(2) + i * step[2];
            if (n == 1)
                FD_LOCAL(multiply_small)(1, dim, x, 0, loc, 0, factor, 0);
            else if (STRIDE(2) == 0)
                FD_LOCAL(multiply_small)(BLOCK, dim, x, STRIDE(0), loc, STRIDE(1), factor, 0);
            else
                FD_LOCAL(multiply_small)(BLOCK, dim, x, STRIDE(0), loc, STRIDE(1), factor, STRIDE(2));
        }
    }
}

/* n vectors x += ld of m elements, events of several neighbours side by side. Operands are the columns of their
 * factors, and behind them their locs. dim is a compile-time constant, and m for all vectors but the last. */
FD_INLINE void FD_LOCAL(multiply_abreast)(int dim, int m, intptr_t n, REAL *x, intptr_t ld, REAL (*operand)[V(lanes)])
{
    VEC column[FD_LOCAL(small_dim)];
    for (int k = 0; k < dim; k++)
        column[k] = V(load)(operand[k]);
    for (intptr_t r = 0; r < n; r++, x += ld) {
        const VEC y = FD_LOCAL(load_to)(x, m);
        VEC sum = V(set1)(0);
        for (int k = 0; k < dim; k++)
            sum = V(fma)(column[k], V(splat)(dim, k, y), sum);
        FD_LOCAL(store_sum)(x, sum, 1, operand[dim], m);
    }
}

/* The same runs where a vector has room for two or more events, of as many runs that lie side by side. Each has its own
 * factor and loc, which are put together once for all its events. */
FD_INLINE void FD_LOCAL(multiply_neighbours)(int dim, const fd_loop *loop, const fd_run *at, intptr_t n_row)
{
    enum { BLOCK = FD_LOCAL(row_block) };
    REAL operand[FD_LOCAL(runs) / 2][FD_LOCAL(small_dim) + 1][V(lanes)];
    const fd_run run = *at;
    const int outer = loop->ndim - 2, abreast = V(lanes) / dim, rest = (int)n_row % abreast;
    const int n_vec = ((int)n_row + abreast - 1) / abreast;
    memset(operand, 0, (size_t)n_vec * sizeof *operand);
    for (int i = 0; i < n_row; i++) {
        const REAL *loc = AT(1) + i * loop->stride[1][outer], *factor = AT(2) + i * loop->stride[2][outer];
        for (int k = 0; k <= dim; k++)
            memcpy(operand[i / abreast][k] + i % abreast * dim, k < dim ? factor + k * dim : loc,
                   (size_t)dim * sizeof *loc);
    }
    for (intptr_t r = 0; r < run.n; r += BLOCK)
        for (int v = 0; v < n_vec; v++) {
            const intptr_t n = fd_min(run.n - r, BLOCK);
            REAL *x = FD_ROW(0) + v * abreast * dim;
            if (rest == 0 || v + 1 < n_vec)
                FD_LOCAL(multiply_abreast)(dim, abreast * dim, n, x, STRIDE(0), operand[v]);
            else
                FD_LOCAL(multiply_abreast)(dim, rest * dim, n, x, STRIDE(0), operand[v]);
        }
}

/* Events of 1, 2 or 4 elements one after the other, several of them to a vector: `dim` is a compile-time constant, as
 * are whether they share one loc and one factor (4 always do). A run's n elements. */
FD_INLINE void FD_LOCAL(multiply_packed)(int dim, int one_loc, int one_factor, intptr_t n, REAL *x, const REAL *loc,
                                         const REAL *factor)
{
    VEC column[4], shift;
    for (int k = 0; k < dim + one_loc && (one_loc || one_factor); k++) {
        /* One event's column, or its loc, over and over. */
        REAL all[V(lanes)];
        for (int j = 0; j < V(lanes); j++)
            all[j] = k < dim ? factor[k * dim + j % dim] : loc[j % dim];
        *(k < dim ? &column[k] : &shift) = V(load)(all);
    }
    for (intptr_t i = 0; i < n; i += V(lanes)) {
        const intptr_t m = n - i;
        const VEC y = FD_LOCAL(load_to)(x + i, m);
        if (!one_factor && dim == 1)
            column[0] = FD_LOCAL(load_to)(factor + i, m);
        if (!one_factor && dim == 2) { /* four elements for two of x */
            const VEC a = FD_LOCAL(load_to)(factor + 2 * i, 2 * m);
            const VEC b = 2 * m > V(lanes) ? FD_LOCAL(load_to)(factor + 2 * i + V(lanes), 2 * m - V(lanes)) : a;
            column[0] = V(even_pairs)(a, b);
            column[1] = V(odd_pairs)(a, b);
        }
        VEC sum = V(set1)(0);
        for (int k = 0; k < dim; k++)
            sum = V(fma)(column[k], dim == 1 ? y : V(splat)(dim, k, y), sum);
        sum = V(add)(sum, V(set1)(0));
        FD_LOCAL(store_to)(x + i, V(add)(one_loc ? shift : FD_LOCAL(load_to)(loc + i, m), sum), m);
    }
}

/* Does a run if it can be done like that. */
FD_INLINE int FD_LOCAL(multiply_packed_run)(int dim, const fd_loop *loop, const fd_run *at)
{
    const fd_run run = *at;
    const int one_loc = STRIDE(1) == 0, one_factor = STRIDE(2) == 0;
    const intptr_t n = run.n * dim;
    if (dim > V(lanes) || STRIDE(0) != dim || !(one_loc || STRIDE(1) == dim) ||
        !(one_factor || (STRIDE(2) == dim * dim && (dim == 1 || (dim == 2 && V(lanes) >= 4)))))
        return 0;
    if (one_loc && one_factor)
        FD_LOCAL(multiply_packed)(dim, 1, 1, n, AT(0), AT(1), AT(2));
    else if (one_factor)
        FD_LOCAL(multiply_packed)(dim, 0, 1, n, AT(0), AT(1), AT(2));
    else if (one_loc)
        FD_LOCAL(multiply_packed)(dim, 1, 0, n, AT(0), AT(1), AT(2));
    else
        FD_LOCAL(multiply_packed)(dim, 0, 0, n, AT(0), AT(1), AT(2));
    return 1;
}

#define FD_SMALL(d)                                                                            \
    FD_ALONE void FD_LOCAL(multiply_##d)(const fd_loop *loop, fd_run *run)                     \
    {                                                                                          \
        if ((d <= 2 || d == 4) && FD_LOCAL(multiply_packed_run)(d, loop, run))                 \
            return;                                                                            \
        const intptr_t n_row = STRIDE(2) ? 1 : fd_min(fd_run_rows(loop, run), FD_LOCAL(runs)); \
        const int side_by_side = n_row > 1 && STRIDE(1) == 0 && loop->stride[0][loop->ndim - 2] == d; \
        if (d > 2 && 2 * d <= V(lanes) && side_by_side && run->n >= FD_LOCAL(row_block))       \
            FD_LOCAL(multiply_neighbours)(d, loop, run, n_row);                                \
        else                                                                                   \
            FD_LOCAL(multiply_small_runs)(d, loop, run, n_row);                                \
        fd_run_skip(loop, run, n_row);                                                         \
    }
FD_SMALL(1)
FD_SMALL(2)
FD_SMALL(3)
FD_SMALL(4)
FD_SMALL(5)
FD_SMALL(6)
FD_SMALL(7)
FD_SMALL(8)
#undef FD_SMALL

static void FD_NAME(multiply_tril)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    static void (*const small[])(const fd_loop *, fd_run *) = {
        NULL, FD_LOCAL(multiply_1), FD_LOCAL(multiply_2), FD_LOCAL(multiply_3), FD_LOCAL(multiply_4),
        FD_LOCAL(multiply_5), FD_LOCAL(multiply_6), FD_LOCAL(multiply_7), FD_LOCAL(multiply_8)};
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        if (loop->dim <= FD_LOCAL(small_dim))
            small[loop->dim](loop, &run);
        else if (STRIDE(2) == 0)
            FD_LOCAL(multiply_rows)(run.n, loop->dim, AT(0), STRIDE(0), AT(1), STRIDE(1), AT(2));
        else
            for (intptr_t r = 0; r < run.n; r++)
                FD_LOCAL(multiply_rows)(1, loop->dim, FD_ROW(0), 0, FD_ROW(1), 0, FD_ROW(2));
}
#undef FD_ROW
