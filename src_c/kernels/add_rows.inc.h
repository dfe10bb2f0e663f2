/* kernels/add_rows.inc.h - sums of rows, as many as there are coefficients, on top of events: products of matrices, and
 * colour of low rank. Some events that share the rows are done at a time, so that each row is loaded once for them. */

enum { FD_LOCAL(adding) = 4, FD_LOCAL(coloring_low_rank) = 1 }; /* events at once; what of */

/* What m elements of an event begin with: themselves, or what is left of its noise, coloured by the diagonal. */
FD_INLINE VEC FD_LOCAL(sum_begun)(int what, const REAL *x, const REAL *loc, const REAL *scale, intptr_t m)
{
    const VEC v = FD_LOCAL(load_to)(x, m);
    return what == FD_LOCAL(coloring_low_rank)
               ? V(add)(FD_LOCAL(load_to)(loc, m), V(mul)(FD_LOCAL(load_to)(scale, m), v))
               : v;
}

/* m elements from `first` on of n_event events, in n_vec vectors; all but m are compile-time constants, m where vectors
 * are full. */
FD_INLINE void FD_LOCAL(add_rows_block)(int what, int n_event, int n_vec, intptr_t m, intptr_t count, intptr_t dim,
                                        intptr_t first, REAL *out, intptr_t out_ld, const REAL *a, intptr_t a_ld,
                                        const REAL *loc, intptr_t loc_ld, const REAL *scale, intptr_t scale_ld,
                                        const REAL *rows)
{
    enum { LANES = V(lanes), MOST = FD_LOCAL(adding) };
    const REAL *row = rows + first;
    VEC sum[MOST][MOST], r[MOST];
    FD_UNROLL
    for (int e = 0; e < n_event; e++)
        FD_UNROLL
        for (int v = 0; v < n_vec; v++) {
            const intptr_t at = first + v * LANES;
            const REAL *from = what == FD_LOCAL(coloring_low_rank) ? a + e * a_ld + count : out + e * out_ld;
            sum[e][v] = FD_LOCAL(sum_begun)(what, from + at, loc + e * loc_ld + at, scale + e * scale_ld + at,
                                            m - v * LANES);
        }
    for (intptr_t k = 0; k < count; k++, row += dim) {
        FD_UNROLL
        for (int v = 0; v < n_vec; v++)
            r[v] = FD_LOCAL(load_to)(row + v * LANES, m - v * LANES);
        FD_UNROLL
        for (int e = 0; e < n_event; e++) {
            const VEC a_k = V(set1)(a[e * a_ld + k]);
            FD_UNROLL
            for (int v = 0; v < n_vec; v++)
                sum[e][v] = V(fma)(a_k, r[v], sum[e][v]);
        }
    }
    FD_UNROLL
    for (int e = 0; e < n_event; e++)
        FD_UNROLL
        for (int v = 0; v < n_vec; v++)
            FD_LOCAL(store_to)(out + e * out_ld + first + v * LANES, sum[e][v], m - v * LANES);
}

/* n_event events (a compile-time constant): whole blocks, of fewer vectors the more events there are, then vectors. */
FD_INLINE void FD_LOCAL(add_rows_events)(int what, int n_event, intptr_t count, intptr_t dim, REAL *out, intptr_t out_ld,
                                         const REAL *a, intptr_t a_ld, const REAL *loc, intptr_t loc_ld,
                                         const REAL *scale, intptr_t scale_ld, const REAL *rows)
{
    enum { LANES = V(lanes) };
    const int n_vec = n_event == 1 ? FD_LOCAL(adding) : 2;
    intptr_t i = 0;
    for (; i + n_vec * LANES <= dim; i += n_vec * LANES)
        FD_LOCAL(add_rows_block)(what, n_event, n_vec, n_vec * LANES, count, dim, i, out, out_ld, a, a_ld, loc, loc_ld,
                                 scale, scale_ld, rows);
    for (; i < dim; i += LANES)
        FD_LOCAL(add_rows_block)(what, n_event, 1, dim - i, count, dim, i, out, out_ld, a, a_ld, loc, loc_ld, scale,
                                 scale_ld, rows);
}

/* Operands out, a and, of colour, loc and scale; then rows and the count. */
FD_INLINE void FD_LOCAL(add_rows_any)(int what, const fd_loop *loop, intptr_t begin, intptr_t end)
{
    enum { AT_ONCE = FD_LOCAL(adding) };
    const int n = 2 * (what == FD_LOCAL(coloring_low_rank)), loc = n ? 2 : 0, scale = n ? 3 : 0;
    const intptr_t dim = loop->dim, count = *(const intptr_t *)loop->operand[3 + n];
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run)) {
        intptr_t r = 0;
        for (; STRIDE(2 + n) == 0 && r + AT_ONCE <= run.n; r += AT_ONCE)
            FD_LOCAL(add_rows_events)(what, AT_ONCE, count, dim, AT(0) + r * STRIDE(0), STRIDE(0),
                                      AT(1) + r * STRIDE(1), STRIDE(1), AT(loc) + r * STRIDE(loc), STRIDE(loc),
                                      AT(scale) + r * STRIDE(scale), STRIDE(scale), AT(2 + n));
        for (; r < run.n; r++)
            FD_LOCAL(add_rows_events)(what, 1, count, dim, AT(0) + r * STRIDE(0), 0, AT(1) + r * STRIDE(1), 0,
                                      AT(loc) + r * STRIDE(loc), 0, AT(scale) + r * STRIDE(scale), 0,
                                      AT(2 + n) + r * STRIDE(2 + n));
    }
}

static void FD_NAME(colorize_low_rank)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(add_rows_any)(FD_LOCAL(coloring_low_rank), loop, begin, end);
}

static void FD_NAME(add_rows)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(add_rows_any)(0, loop, begin, end);
}
