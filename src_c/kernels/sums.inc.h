/* kernels/sums.inc.h - sums down to the shape of a parameter: of products of elements, and of outer
 * products of events. An element's terms are added in C order of the dims summed over: FD_SUM_TERMS of
 * them, a chunk, by fma in working precision, the chunks in twice the precision of double. Layout,
 * broadcast, vector width and the pieces that a loop is done in leave the bits alone, and a sum of any
 * length is right to some 128 roundings.
 *
 * The sum of the present chunk is kept where the result will be, that of the chunks before it in
 * `total`, laid out like it, which shorter sums never touch. */

/* Before term t, the first of a chunk: puts away the sum of the chunk before. */
FD_INLINE void FD_LOCAL(put_away)(intptr_t t, intptr_t n, const REAL *sum, fd_total *total)
{
    if (t == FD_SUM_TERMS)
        for (intptr_t i = 0; i < n; i++)
            total[i] = (fd_total){(double)sum[i], 0};
    else if (t > 0)
        for (intptr_t i = 0; i < n; i++)
            fd_add_up(total + i, (double)sum[i]);
}

/* After the last term. The error of an infinite sum is no number. */
FD_INLINE void FD_LOCAL(conclude)(intptr_t n, REAL *sum, const fd_total *total)
{
    for (intptr_t i = 0; i < n; i++)
        sum[i] = (REAL)(total[i].sum + ((isinf(total[i].sum) ? 0 : total[i].error) + (double)sum[i]));
}

/* ---- products of elements ----------------------------------------------------------------- */

/* n_vec (a compile-time constant) vectors of neighbouring elements, of the last one m lanes: their terms are rows. */
FD_INLINE void FD_LOCAL(add_panel)(int n_vec, intptr_t m, int fresh, intptr_t n_row, REAL *out, const REAL *x,
                                   intptr_t x_ld, int x_stride, const REAL *y, intptr_t y_ld, int y_stride)
{
    enum { LANES = V(lanes) };
    VEC sum[4];
    for (int v = 0; v < n_vec; v++)
        sum[v] = fresh ? V(set1)(0) : FD_LOCAL(load_to)(out + v * LANES, m);
    for (intptr_t r = 0; r < n_row; r++)
        for (int v = 0; v < n_vec; v++) {
            const REAL *xs = x + r * x_ld + v * LANES * x_stride, *ys = y + r * y_ld + v * LANES * y_stride;
            const VEC a = x_stride ? FD_LOCAL(load_to)(xs, m) : V(set1)(*xs);
            const VEC b = y_stride ? FD_LOCAL(load_to)(ys, m) : V(set1)(*ys);
            sum[v] = V(fma)(a, b, sum[v]);
        }
    for (int v = 0; v < n_vec; v++)
        FD_LOCAL(store_to)(out + v * LANES, sum[v], m);
}

/* n_col neighbouring elements, terms t to t + n_row of each. */
FD_INLINE void FD_LOCAL(add_rows)(intptr_t n_term, intptr_t t, intptr_t n_row, intptr_t n_col, REAL *out,
                                  fd_total *total, const REAL *x, intptr_t x_ld, const REAL *y, intptr_t y_ld,
                                  int x_stride, int y_stride)
{
    enum { LANES = V(lanes) };
    while (n_row > 0) {
        const intptr_t n = fd_min(n_row, FD_SUM_TERMS - t % FD_SUM_TERMS);
        const int fresh = t % FD_SUM_TERMS == 0;
        if (fresh)
            FD_LOCAL(put_away)(t, n_col, out, total);
        intptr_t i = 0;
        for (; i + 4 * LANES <= n_col; i += 4 * LANES)
            FD_LOCAL(add_panel)(4, LANES, fresh, n, out + i, x + i * x_stride, x_ld, x_stride, y + i * y_stride, y_ld,
                                y_stride);
        for (; i + LANES <= n_col; i += LANES)
            FD_LOCAL(add_panel)(1, LANES, fresh, n, out + i, x + i * x_stride, x_ld, x_stride, y + i * y_stride, y_ld,
                                y_stride);
        if (i < n_col)
            FD_LOCAL(add_panel)(1, n_col - i, fresh, n, out + i, x + i * x_stride, x_ld, x_stride, y + i * y_stride,
                                y_ld, y_stride);
        t += n;
        n_row -= n;
        x += n * x_ld;
        y += n * y_ld;
        if (t == n_term && n_term > FD_SUM_TERMS)
            FD_LOCAL(conclude)(n_col, out, total);
    }
}

/* n_chain (a compile-time constant) sums side by side, as one alone would wait for each of its additions. */
enum { FD_LOCAL(chains) = 8 };

FD_INLINE void FD_LOCAL(add_chains)(int n_chain, intptr_t n, REAL *sum, const REAL *x, intptr_t x_ld, int x_stride,
                                    const REAL *y, intptr_t y_ld, int y_stride)
{
    for (intptr_t i = 0; i < n; i++)
        for (int c = 0; c < n_chain; c++)
            sum[c] = REAL_FMA(x[c * x_ld + i * x_stride], y[c * y_ld + i * y_stride], sum[c]);
}

/* n_chain elements, out_ld apart, terms t to t + n of each, which lie along a row. */
FD_INLINE void FD_LOCAL(add_terms)(int n_chain, intptr_t n_term, intptr_t t, intptr_t n, REAL *out,
                                   intptr_t out_ld, fd_total *total, const REAL *x, intptr_t x_ld, const REAL *y,
                                   intptr_t y_ld, int x_stride, int y_stride)
{
    enum { CHAINS = FD_LOCAL(chains), ALL = CHAINS * FD_SUM_TERMS };
    REAL sum[CHAINS];
    for (int c = 0; c < n_chain; c++)
        sum[c] = t > 0 ? out[c * out_ld] : 0;
    while (n > 0) {
        intptr_t m = fd_min(n, FD_SUM_TERMS - t % FD_SUM_TERMS);
        if (t % FD_SUM_TERMS == 0 && t > 0)
            for (int c = 0; c < n_chain; c++) {
                FD_LOCAL(put_away)(t, 1, sum + c, total + c * out_ld);
                sum[c] = 0;
            }
        if (n_chain == 1 && t % FD_SUM_TERMS == 0 && n >= ALL) { /* of one element many chunks */
            REAL chunk[CHAINS] = {0};
            FD_LOCAL(add_chains)(CHAINS, FD_SUM_TERMS, chunk, x, FD_SUM_TERMS * x_stride, x_stride, y,
                                 FD_SUM_TERMS * y_stride, y_stride);
            for (int c = 0; c + 1 < CHAINS; c++)
                FD_LOCAL(put_away)(t + (c + 1) * FD_SUM_TERMS, 1, chunk + c, total);
            sum[0] = chunk[CHAINS - 1];
            m = ALL;
        } else {
            FD_LOCAL(add_chains)(n_chain, m, sum, x, x_ld, x_stride, y, y_ld, y_stride);
        }
        t += m;
        n -= m;
        x += m * x_stride;
        y += m * y_stride;
    }
    for (int c = 0; c < n_chain; c++) {
        if (t == n_term && n_term > FD_SUM_TERMS)
            FD_LOCAL(conclude)(1, sum + c, total + c * out_ld);
        out[c * out_ld] = sum[c];
    }
}

/* A block of rows: along them either the elements of the result lie or the terms of one. */
FD_INLINE void FD_LOCAL(add_block)(const fd_loop *loop, intptr_t n_term, const fd_run *run, intptr_t n_row,
                                   int x_stride, int y_stride)
{
    enum { CHAINS = FD_LOCAL(chains) };
    const int last = loop->ndim - 1;
    const intptr_t out_ld = n_row > 1 ? loop->stride[0][last - 1] : 0;
    const intptr_t x_ld = n_row > 1 ? loop->stride[1][last - 1] : 0;
    const intptr_t y_ld = n_row > 1 ? loop->stride[2][last - 1] : 0;
    REAL *out = (REAL *)loop->operand[0] + run->offset[0];
    fd_total *total = n_term > FD_SUM_TERMS ? (fd_total *)loop->operand[3] + run->offset[0] : NULL;
    const REAL *x = (const REAL *)loop->operand[1] + run->offset[1];
    const REAL *y = (const REAL *)loop->operand[2] + run->offset[2];
    intptr_t t = fd_term_at(loop, run);

    if (loop->stride[0][last] != 0 && out_ld == 0) {
        FD_LOCAL(add_rows)(n_term, t, n_row, run->n, out, total, x, x_ld, y, y_ld, x_stride, y_stride);
        return;
    }
    for (intptr_t r = 0; r < n_row;) {
        REAL *to = out + r * out_ld;
        fd_total *to_total = total ? total + r * out_ld : NULL;
        const REAL *xs = x + r * x_ld, *ys = y + r * y_ld;
        if (loop->stride[0][last] != 0) {
            FD_LOCAL(add_rows)(n_term, t, 1, run->n, to, to_total, xs, 0, ys, 0, x_stride, y_stride);
            r++;
        } else if (out_ld != 0 && n_row - r >= CHAINS) {
            FD_LOCAL(add_terms)(CHAINS, n_term, t, run->n, to, out_ld, to_total, xs, x_ld, ys, y_ld, x_stride, y_stride);
            r += CHAINS;
        } else {
            FD_LOCAL(add_terms)(1, n_term, t, run->n, to, 0, to_total, xs, 0, ys, 0, x_stride, y_stride);
            if (out_ld == 0)
                t += run->n;
            r++;
        }
    }
}

static void FD_NAME(sum_products)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t n_term = fd_term_count(loop), x_stride = STRIDE(1), y_stride = STRIDE(2);
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run)) {
        const intptr_t n_row = fd_run_rows(loop, &run);
        if (x_stride && y_stride)
            FD_LOCAL(add_block)(loop, n_term, &run, n_row, 1, 1);
        else if (x_stride)
            FD_LOCAL(add_block)(loop, n_term, &run, n_row, 1, 0);
        else if (y_stride)
            FD_LOCAL(add_block)(loop, n_term, &run, n_row, 0, 1);
        else
            FD_LOCAL(add_block)(loop, n_term, &run, n_row, 0, 0);
        fd_run_skip(loop, &run, n_row);
    }
}

/* ---- outer products of events -------------------------------------------------------------- */

/* A block of the lower triangle, n_row rows from i on and n_vec vectors of columns from j on: out_ij +=
 * sum over n events of a_i b_j. These numbers and whether all rows and vectors are `full` are compile-time constants;
 * rows beyond the last are done for nothing. */
enum { FD_LOCAL(outer_rows) = 8 };

FD_INLINE void FD_LOCAL(add_outer_block)(int n_row, int n_vec, int full, int fresh, intptr_t n, intptr_t dim,
                                         REAL *out, intptr_t i, intptr_t j, const REAL *a, intptr_t a_ld,
                                         const REAL *b, intptr_t b_ld)
{
    enum { ROWS = FD_LOCAL(outer_rows), LANES = V(lanes) };
    VEC sum[ROWS][2];
    for (int p = 0; p < n_row; p++)
        for (int v = 0; v < n_vec; v++) {
            const intptr_t column = j + v * LANES, m = i + p + 1 - column;
            const int old = !fresh && i + p < dim && m > 0;
            sum[p][v] = old ? FD_LOCAL(load_to)(out + (i + p) * dim + column, m) : V(set1)(0);
        }
    for (intptr_t r = 0; r < n; r++) {
        const REAL *left = a + r * a_ld + i;
        VEC right[2];
        for (int v = 0; v < n_vec; v++) {
            const REAL *at = b + r * b_ld + j + v * LANES;
            right[v] = full ? V(load)(at) : FD_LOCAL(load_to)(at, dim - j - v * LANES);
        }
        for (int p = 0; p < n_row; p++) {
            const VEC splat = V(set1)(left[full ? p : fd_min(p, dim - 1 - i)]);
            for (int v = 0; v < n_vec; v++)
                sum[p][v] = V(fma)(splat, right[v], sum[p][v]);
        }
    }
    for (int p = 0; p < n_row; p++)
        for (int v = 0; v < n_vec; v++) {
            const intptr_t column = j + v * LANES, m = i + p + 1 - column;
            if (i + p < dim && m > 0)
                FD_LOCAL(store_to)(out + (i + p) * dim + column, sum[p][v], m);
        }
}

/* Rows that lie far apart, perhaps by a power of two, would drive each other out of the cache: they are
 * first put together, as many as there is room for. */
enum { FD_LOCAL(outer_apart) = 4 };

FD_INLINE const REAL *FD_LOCAL(gather)(intptr_t n, intptr_t dim, REAL *room, const REAL *x, intptr_t *ld)
{
    if (!room || n == 1 || *ld <= FD_LOCAL(outer_apart) * dim)
        return x;
    for (intptr_t r = 0; r < n; r++)
        memcpy(room + r * dim, x + r * *ld, (size_t)dim * sizeof *x);
    *ld = dim;
    return room;
}

/* The lower triangle of a sum of n outer products a b', rows of dim, each element by fma in order. Without room
 * rows stay where they are. */
static void FD_LOCAL(add_outer)(int fresh, intptr_t n, intptr_t dim, REAL *out, const REAL *a, intptr_t a_stride,
                                const REAL *b, intptr_t b_stride, REAL *room)
{
    enum { ROWS = FD_LOCAL(outer_rows), LANES = V(lanes), ROOM = FD_OUTER_ROOM / 2 };
    const intptr_t at_once = dim < ROOM ? ROOM / dim : 1;
    REAL *a_room = room, *b_room = room ? room + ROOM : NULL;
    for (intptr_t r = 0, m; r < n; r += m, fresh = 0) {
        m = fd_min(at_once, n - r);
        intptr_t a_ld = a_stride, b_ld = b_stride;
        const REAL *left = FD_LOCAL(gather)(m, dim, a_room, a + r * a_stride, &a_ld);
        const REAL *right = FD_LOCAL(gather)(m, dim, b_room, b + r * b_stride, &b_ld);
        for (intptr_t i = 0; i < dim; i += ROWS) {
            const intptr_t end = fd_min(i + ROWS, dim);
            intptr_t j = 0;
            const int whole = end - i == ROWS;
            for (; whole && j + LANES < end && j + 2 * LANES <= dim; j += 2 * LANES)
                for (intptr_t half = i; half < end; half += ROWS / 2)
                    FD_LOCAL(add_outer_block)(ROWS / 2, 2, 1, fresh, m, dim, out, half, j, left, a_ld, right, b_ld);
            for (; j < end; j += LANES)
                if (whole && j + LANES <= dim)
                    FD_LOCAL(add_outer_block)(ROWS, 1, 1, fresh, m, dim, out, i, j, left, a_ld, right, b_ld);
                else if (end - i > ROWS / 2)
                    FD_LOCAL(add_outer_block)(ROWS, 1, 0, fresh, m, dim, out, i, j, left, a_ld, right, b_ld);
                else
                    FD_LOCAL(add_outer_block)(ROWS / 2, 1, 0, fresh, m, dim, out, i, j, left, a_ld, right, b_ld);
        }
    }
}

static void FD_NAME(sum_outer)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t dim = loop->dim, *span = loop->operand[4];
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run)) {
        const int one = STRIDE(0) == 0; /* matrix for the whole run, or one for each of its items */
        for (intptr_t r = 0; r < run.n;) {
            intptr_t t = span[0] + fd_term_at(loop, &run) + (one ? r : 0);
            const intptr_t n = one ? fd_min(run.n - r, FD_SUM_TERMS - t % FD_SUM_TERMS) : 1;
            const int fresh = t % FD_SUM_TERMS == 0, chunks = span[1] > FD_SUM_TERMS;
            REAL *out = AT(0) + r * STRIDE(0);
            fd_total *total = chunks ? (fd_total *)loop->operand[3] + run.offset[0] + r * STRIDE(0) : NULL;
            for (intptr_t i = 0; fresh && i < dim; i++)
                FD_LOCAL(put_away)(t, i + 1, out + i * dim, chunks ? total + i * dim : NULL);
            FD_LOCAL(add_outer)(fresh, n, dim, out, AT(1) + r * STRIDE(1), STRIDE(1), AT(2) + r * STRIDE(2), STRIDE(2),
                                loop->operand[5]);
            for (intptr_t i = 0; chunks && t + n == span[1] && i < dim; i++)
                FD_LOCAL(conclude)(i + 1, out + i * dim, total + i * dim);
            r += n;
        }
    }
}
