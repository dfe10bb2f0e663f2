/* kernels/solve_tril.inc.h - colour by the inverse of a factor: x = loc + L^-1 x, in place. Events that share a
 * factor go by tiles (whiten.inc.h), others a few at a time. */

FD_INLINE void FD_LOCAL(add_row)(intptr_t dim, REAL *x, const REAL *loc)
{
    for (intptr_t i = 0; i < dim; i += V(lanes)) {
        const intptr_t m = dim - i;
        FD_LOCAL(store_to)(x + i, V(add)(FD_LOCAL(load_to)(loc + i, m), FD_LOCAL(load_to)(x + i, m)), m);
    }
}

static void FD_NAME(solve_tril)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    enum { WIDTH = FD_LOCAL(tile_width) };
    const intptr_t dim = loop->dim;
    REAL *tile = loop->operand[3], distance[FD_LOCAL(n_tile) * WIDTH];
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run)) {
        const intptr_t at_once = FD_LOCAL(events_at_once)(STRIDE(2), FD_LOCAL(own));
        for (intptr_t r = 0; r < run.n; r += at_once) {
            const intptr_t n = fd_min(at_once, run.n - r);
            REAL *x = AT(0) + r * STRIDE(0);
            const REAL *loc = AT(1) + r * STRIDE(1), *factor = AT(2) + r * STRIDE(2);
            if (n == 1 || STRIDE(2)) {
                FD_LOCAL(solve_each)(n, dim, x, STRIDE(0), factor, STRIDE(2));
                for (intptr_t e = 0; e < n; e++)
                    FD_LOCAL(add_row)(dim, x + e * STRIDE(0), loc + e * STRIDE(1));
                continue;
            }
            FD_LOCAL(load_tiles)(n, dim, tile, x, STRIDE(0), NULL, 0, FD_LOCAL(bytes_ahead)(loop, 0, n, run.n));
            FD_LOCAL(whiten_tiles)(0, n, dim, tile, factor, NULL, distance);
            for (intptr_t e = 0; e < n; e += WIDTH)
                FD_LOCAL(store_tile)(fd_min(n - e, WIDTH), dim, tile + e * dim, x + e * STRIDE(0), STRIDE(0),
                                     loc + e * STRIDE(1), STRIDE(1));
        }
    }
}
