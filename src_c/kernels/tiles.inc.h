/* kernels/tiles.inc.h - events in tiles and back.
 *
 * Up to two vectors of events are transposed into a tile, so that a lane is an event: row k of the
 * tile is element k of each. */

enum { FD_LOCAL(tile_width) = 2 * V(lanes), FD_LOCAL(n_tile) = 2 };

/* How many events of a run are done at a time: those that share a factor, as many as all tiles hold, or n_own. */
FD_INLINE intptr_t FD_LOCAL(events_at_once)(intptr_t factor_stride, intptr_t n_own)
{
    return factor_stride != 0 ? n_own : FD_LOCAL(n_tile) * FD_LOCAL(tile_width);
}

/* m elements of n events x += ld to as many rows of a tile, less their loc: none, one for all (loc_ld 0)
 * or each its own, which is a compile-time constant as is whether vectors are full. */
enum { FD_LOCAL(no_loc), FD_LOCAL(one_loc), FD_LOCAL(own_loc) };

FD_INLINE void FD_LOCAL(load_square)(int which, intptr_t n, intptr_t m, REAL *tile, const REAL *x, intptr_t ld,
                                     const REAL *loc, intptr_t loc_ld)
{
    VEC v[V(lanes)];
    if (which != FD_LOCAL(own_loc))
        FD_LOCAL(load_columns)(n, m, v, x, ld);
    else {
        FD_UNROLL
        for (int j = 0; j < V(lanes); j++)
            v[j] = j < n ? V(sub)(FD_LOCAL(load_to)(x + j * ld, m), FD_LOCAL(load_to)(loc + j * loc_ld, m)) : V(set1)(0);
        V(transpose)(v);
    }
    FD_UNROLL
    for (int j = 0; j < V(lanes); j++)
        if (j < m)
            V(store)(tile + j * FD_LOCAL(tile_width),
                     which == FD_LOCAL(one_loc) ? V(sub)(v[j], V(set1)(loc[j])) : v[j]);
}

/* Full squares of a vector of events; returns the number of elements done. */
#define FD_LOAD_SQUARES(which)                                                                 \
    FD_ALONE intptr_t FD_LOCAL(load_##which)(intptr_t dim, REAL *tile, const REAL *x, intptr_t ld, const REAL *loc, \
                                             intptr_t loc_ld, intptr_t ahead)                  \
    {                                                                                          \
        enum { LANES = V(lanes), WIDTH = FD_LOCAL(tile_width) };                               \
        intptr_t i = 0;                                                                        \
        for (; i + LANES <= dim; i += LANES) {                                                 \
            FD_UNROLL                                                                          \
            for (int j = 0; ahead && j < LANES; j++)                                           \
                fd_prefetch_outer((uintptr_t)(x + i + j * ld) + ahead);                        \
            FD_LOCAL(load_square)(FD_LOCAL(which), LANES, LANES, tile + i * WIDTH, x + i, ld, loc + i, loc_ld); \
        }                                                                                      \
        return i;                                                                              \
    }                                                                                          \
    FD_ALONE void FD_LOCAL(load_part_##which)(intptr_t n, intptr_t m, REAL *tile, const REAL *x, intptr_t ld, \
                                              const REAL *loc, intptr_t loc_ld)                \
    {                                                                                          \
        FD_LOCAL(load_square)(FD_LOCAL(which), n, m, tile, x, ld, loc, loc_ld);                \
    }                                                                                          \
    /* n events to a tile; the lanes beyond hold zeros. */                                     \
    static void FD_LOCAL(load_tile_##which)(intptr_t n, intptr_t dim, REAL *tile, const REAL *x, intptr_t ld, \
                                            const REAL *loc, intptr_t loc_ld, intptr_t ahead)  \
    {                                                                                          \
        enum { LANES = V(lanes), WIDTH = FD_LOCAL(tile_width) };                               \
        for (intptr_t r = 0; r < n; r += LANES, tile += LANES, x += LANES * ld, loc += LANES * loc_ld) { \
            intptr_t i = n - r >= LANES ? FD_LOCAL(load_##which)(dim, tile, x, ld, loc, loc_ld, ahead) : 0; \
            for (; i < dim; i += LANES)                                                        \
                FD_LOCAL(load_part_##which)(n - r, fd_min(dim - i, LANES), tile + i * WIDTH, x + i, ld, loc + i, \
                                            loc_ld);                                           \
        }                                                                                      \
    }

FD_LOAD_SQUARES(no_loc)
FD_LOAD_SQUARES(one_loc)
FD_LOAD_SQUARES(own_loc)
#undef FD_LOAD_SQUARES

/* n events x += ld to as many tiles as they need, less their loc unless it is NULL. So many bytes `ahead`, or 0,
 * are those that will be next. */
FD_INLINE void FD_LOCAL(load_tiles)(intptr_t n, intptr_t dim, REAL *tile, const REAL *x, intptr_t ld,
                                    const REAL *loc, intptr_t loc_ld, intptr_t ahead)
{
    enum { WIDTH = FD_LOCAL(tile_width) };
    for (intptr_t r = 0; r < n; r += WIDTH) {
        const intptr_t part = fd_min(n - r, WIDTH);
        if (!loc) /* x stands for it, unread */
            FD_LOCAL(load_tile_no_loc)(part, dim, tile + r * dim, x + r * ld, ld, x, 0, ahead);
        else if (loc_ld == 0)
            FD_LOCAL(load_tile_one_loc)(part, dim, tile + r * dim, x + r * ld, ld, loc, 0, ahead);
        else
            FD_LOCAL(load_tile_own_loc)(part, dim, tile + r * dim, x + r * ld, ld, loc + r * loc_ld, loc_ld, ahead);
    }
}

/* How far on in operand k are the events that will be wanted in a while, in bytes: further on in a run of which
 * n are done now, or in one of the next. Of large events the hardware sees itself what comes. */
FD_INLINE intptr_t FD_LOCAL(bytes_ahead)(const fd_loop *loop, int k, intptr_t n, intptr_t run_n)
{
    enum { WHILE = 512 };
    const intptr_t size = loop->dim * (intptr_t)sizeof(REAL);
    if (size == 0 || size > WHILE)
        return 0;
    if (n < run_n)
        return n * STRIDE(k) * (intptr_t)sizeof(REAL);
    return loop->ndim > 1 ? WHILE / size * loop->stride[k][loop->ndim - 2] * (intptr_t)sizeof(REAL) : 0;
}

/* The other way, from one tile, loc added. */
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
