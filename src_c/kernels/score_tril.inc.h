/* kernels/score_tril.inc.h - terms of gradients of log densities of vectors, before they are summed
 * (sums.inc.h). z = L^-1 (value - loc) is made in tiles (whiten.inc.h), and so is L^-T z, by the transpose. */

/* The panels of a factor's transpose with rows and columns in reverse order. That is lower triangular, too:
 * what it does to the elements of an event in reverse order, the transpose does to the event. */
static void FD_LOCAL(transpose_panels)(intptr_t dim, REAL *transposed, const REAL *panels)
{
    enum { H = FD_PANEL(REAL) };
    memset(transposed, 0, (size_t)fd_panels_size(dim, H) * sizeof *transposed);
    for (intptr_t first = 0; first < dim; first += H) {
        const intptr_t end = fd_min(first + H, dim);
        for (intptr_t k = 0; k < end; k++, panels += end - first) {
            const intptr_t row = dim - 1 - k, top = row / H * H, height = fd_min(dim - top, H);
            REAL *to = transposed + top * (top + H) / 2 + row - top;
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
        FD_LOCAL(solve_each)(1, dim, white, 0, factor, 0);
    FD_LOCAL(norm_of_rows)(1, dim, white, distance);
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
                                const REAL *c, intptr_t c_stride, REAL sign)
{
    enum { WIDTH = FD_LOCAL(tile_width), LANES = V(lanes) };
    for (intptr_t r = 0; r < n; r += LANES) {
        const REAL *rows = tile + r / WIDTH * WIDTH * dim + r % WIDTH + (ld < 0 ? (1 - dim) * ld : 0);
        const VEC of_c = c ? V(gather)(c + r * c_stride, c_stride, fd_min(n - r, LANES)) : V(set1)(1);
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
FD_INLINE void FD_LOCAL(score)(int inverse, int whitened, const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t dim = loop->dim, room = FD_SCRATCH_BYTES / (intptr_t)sizeof(REAL) * dim;
    REAL *tile = loop->operand[6], *other = tile + room, *transposed = other + room;
    REAL *white = inverse ? other : tile, *reversed = inverse ? tile : other;
    REAL distance[FD_LOCAL(n_tile) * FD_LOCAL(tile_width)], unused[FD_LOCAL(n_tile) * FD_LOCAL(tile_width)];
    const REAL *known = NULL; /* the factor that is transposed */
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run)) {
        const intptr_t at_once = FD_LOCAL(events_at_once)(STRIDE(5), 1);
        for (intptr_t r = 0; r < run.n; r += at_once) {
            const intptr_t n = fd_min(at_once, run.n - r), ld = n > 1 ? FD_LOCAL(tile_width) : 1;
            REAL *terms = AT(0) + r * STRIDE(0), *by_value = AT(1) + r * STRIDE(1);
            const REAL *g = AT(2) + r * STRIDE(2), *value = AT(3) + r * STRIDE(3), *loc = AT(4) + r * STRIDE(4);
            const REAL *factor = AT(5) + r * STRIDE(5);
            if (known != factor)
                FD_LOCAL(transpose_panels)(dim, transposed, known = factor);
            if (n > 1)
                FD_LOCAL(load_tiles)(n, dim, tile, value, STRIDE(3), loc, STRIDE(4),
                                     FD_LOCAL(bytes_ahead)(loop, 3, n, run.n));
            for (intptr_t i = 0; n == 1 && i < dim; i++)
                tile[i] = value[i] - loc[i];
            for (intptr_t e = 0; e < n; e++) /* where they lie apart, the hardware would not see them coming */
                for (intptr_t i = 0; i < dim; i += 64 / (int)sizeof(REAL))
                    fd_prefetch_write((uintptr_t)(by_value + e * STRIDE(1) + i));
            FD_LOCAL(whiten_events)(inverse, n, dim, tile, factor, white, distance);
            FD_LOCAL(to_events)(n, dim, white, ld, terms, STRIDE(0), NULL, 0, whitened ? 1 : -1);
            if (whitened)
                FD_LOCAL(to_events)(n, dim, white, ld, terms + dim, STRIDE(0), g, STRIDE(2), 1);
            for (intptr_t e = 0; e < n; e += FD_LOCAL(tile_width))
                FD_LOCAL(reverse)(dim, ld, reversed + e * dim, white + e * dim);
            FD_LOCAL(whiten_events)(inverse, n, dim, reversed, transposed, other, unused);
            FD_LOCAL(to_events)(n, dim, other, -ld, by_value, STRIDE(1), g, STRIDE(2), -1);
            for (intptr_t e = 0; e < n; e++)
                if (FD_UNLIKELY(!(distance[e] < (REAL)INFINITY)))
                    FD_LOCAL(score_beyond)(inverse, whitened, dim, loop->operand[6], terms + e * STRIDE(0),
                                           by_value + e * STRIDE(1), g[e * STRIDE(2)], value + e * STRIDE(3),
                                           loc + e * STRIDE(4), factor);
        }
    }
}

static void FD_NAME(score_tril)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(score)(0, 0, loop, begin, end);
}

static void FD_NAME(score_covariance)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(score)(0, 1, loop, begin, end);
}

static void FD_NAME(score_precision)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(score)(1, 1, loop, begin, end);
}
