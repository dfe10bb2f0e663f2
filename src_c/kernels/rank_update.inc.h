/* kernels/rank_update.inc.h - the factor of L L' + weight u u', from L, by one rotation a column (Golub and Van Loan,
 * Matrix Computations, 4th ed., sections 6.5.4 and 6.5.5): of the pair (L_kk, u_k) to (r, 0), for a negative weight a
 * hyperbolic one, in Chambers' order of operations ("Regression updating", JASA 66, 1971), which uses the new
 * column for the rest of u. dim^2 operations, where a new factor takes dim^3 / 3. */

/* sqrt(a^2 + b^2), without squares that over- or underflow; a > 0. */
FD_INLINE REAL FD_LOCAL(hypotenuse)(REAL a, REAL b)
{
    const REAL c = REAL_ABS(b), large = a < c ? c : a, t = (a < c ? a : c) / large;
    return large * REAL_SQRT(1 + t * t);
}

/* Column k of a factor, and what is left of u; whether the result has a factor, to working precision: as cholesky
 * has it, no square of a pivot is below dim epsilon of what it was. */
FD_INLINE int FD_LOCAL(rotate_column)(intptr_t dim, intptr_t k, REAL *factor, REAL *u, int down)
{
    REAL *column = factor + k * dim;
    const REAL a = column[k], b = u[k];
    if (down) {
        const REAL s = b / a, square = (1 - s) * (1 + s), c = REAL_SQRT(square);
        if (!(square > (REAL)dim * REAL_EPSILON))
            return 0;
        column[k] = c * a;
        for (intptr_t i = k + 1; i < dim; i += V(lanes)) {
            const VEC x = FD_LOCAL(load_to)(u + i, dim - i), l = FD_LOCAL(load_to)(column + i, dim - i);
            const VEC new = V(div)(V(fnma)(V(set1)(s), x, l), V(set1)(c));
            FD_LOCAL(store_to)(column + i, new, dim - i);
            FD_LOCAL(store_to)(u + i, V(fnma)(V(set1)(s), new, V(mul)(V(set1)(c), x)), dim - i);
        }
    } else {
        const REAL r = FD_LOCAL(hypotenuse)(a, b), c = a / r, s = b / r;
        if (!(r <= REAL_MAX))
            return 0;
        column[k] = r;
        for (intptr_t i = k + 1; i < dim; i += V(lanes)) {
            const VEC x = FD_LOCAL(load_to)(u + i, dim - i), l = FD_LOCAL(load_to)(column + i, dim - i);
            FD_LOCAL(store_to)(column + i, V(fma)(V(set1)(s), x, V(mul)(V(set1)(c), l)), dim - i);
            FD_LOCAL(store_to)(u + i, V(fnma)(V(set1)(s), l, V(mul)(V(set1)(c), x)), dim - i);
        }
    }
    return 1;
}

/* Some matrices at a time: the rotations of one are a chain of roots and quotients, which leaves room for others. */
static void FD_NAME(rank_update)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    enum { AT_ONCE = 4 };
    const intptr_t dim = loop->dim;
    intptr_t item = begin;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t r = 0, n; n = fd_min(run.n - r, AT_ONCE), n > 0; r += n, item += n) {
            unsigned good = (1u << n) - 1;
            for (intptr_t j = 0; j < n; j++) {
                REAL *u = AT(1) + (r + j) * STRIDE(1);
                const VEC root = V(set1)(REAL_SQRT(REAL_ABS(AT(2)[(r + j) * STRIDE(2)])));
                for (intptr_t i = 0; i < dim; i += V(lanes))
                    FD_LOCAL(store_to)(u + i, V(mul)(FD_LOCAL(load_to)(u + i, dim - i), root), dim - i);
            }
            for (intptr_t k = 0; k < dim; k++)
                for (intptr_t j = 0; j < n; j++)
                    if (FD_UNLIKELY(!(good >> j & 1)) ||
                        !FD_LOCAL(rotate_column)(dim, k, AT(0) + (r + j) * STRIDE(0), AT(1) + (r + j) * STRIDE(1),
                                                 AT(2)[(r + j) * STRIDE(2)] < 0))
                        good &= ~(1u << j);
            if (FD_UNLIKELY(good != (1u << n) - 1))
                FD_LOCAL(note)(loop, 3, item + fd_lowest_bit(~good));
        }
}

/* ---- many small ones ---------------------------------------------------------------------
 * A lane to a matrix: vectors of them are transposed into a tile, in which column k of L follows from k * dim + k by
 * strides of 1. W backwards and transposed is a lower triangle, too, and its product with its transpose is W'W
 * backwards: of that it follows from the tile's end, by strides of -dim. */

/* Matrices to a tile, or u to its elements. */
FD_INLINE void FD_LOCAL(load_lanes)(intptr_t n, intptr_t size, VEC *tile, const REAL *x, intptr_t ld)
{
    enum { LANES = V(lanes) };
    VEC v[LANES];
    intptr_t e = 0;
    for (; n == LANES && e + LANES <= size; e += LANES) {
        FD_LOCAL(load_columns)(LANES, LANES, v, x + e, ld);
        FD_UNROLL
        for (int j = 0; j < LANES; j++)
            tile[e + j] = v[j];
    }
    for (; e < size; e += LANES) {
        const intptr_t m = fd_min(size - e, LANES);
        FD_LOCAL(load_columns)(n, m, v, x + e, ld);
        for (int j = 0; j < m; j++)
            tile[e + j] = v[j];
    }
}

FD_INLINE void FD_LOCAL(store_lanes)(intptr_t n, intptr_t size, const VEC *tile, REAL *x, intptr_t ld)
{
    enum { LANES = V(lanes) };
    for (intptr_t e = 0; e < size; e += LANES) {
        VEC v[LANES];
        const intptr_t m = fd_min(size - e, LANES);
        FD_UNROLL
        for (int j = 0; j < LANES; j++)
            v[j] = j < m ? tile[e + j] : V(set1)(0);
        V(transpose)(v);
        for (intptr_t j = 0; j < n; j++)
            FD_LOCAL(store_to)(x + j * ld + e, v[j], m);
    }
}

/* As rotate_column, of all lanes; `step` leads from a row of the column to the next, and u has the rows' order. The
 * lanes with a factor. */
FD_INLINE unsigned FD_LOCAL(rotate_lanes)(intptr_t dim, intptr_t k, VEC *column, intptr_t step, VEC *u, intptr_t u_step,
                                          unsigned down)
{
    const VEC one = V(set1)(1), a = *column, b = *u, size = V(abs)(b);
    const VEC large = V(select)(V(below)(a, size), size, a), t = V(div)(V(select)(V(below)(a, size), a, size), large);
    const VEC up_root = V(mul)(large, V(sqrt)(V(add)(one, V(mul)(t, t))));
    VEC s = V(div)(b, up_root), c = V(div)(a, up_root), root = up_root;
    unsigned good = ~V(below)(V(set1)(REAL_MAX), up_root) & V(below)(up_root, V(set1)((REAL)INFINITY));
    if (down) {
        const VEC s_down = V(div)(b, a), square = V(mul)(V(sub)(one, s_down), V(add)(one, s_down));
        const VEC c_down = V(sqrt)(square);
        good = (good & ~down) | (V(below)(V(set1)((REAL)dim * REAL_EPSILON), square) & down);
        s = V(select)(down, s_down, s);
        c = V(select)(down, c_down, c);
        root = V(select)(down, V(mul)(c_down, a), root);
    }
    *column = root;
    for (intptr_t i = k + 1; i < dim; i++) {
        column += step;
        u += u_step;
        const VEC x = *u, l = *column, x_c = V(mul)(c, x);
        VEC new = V(fma)(s, x, V(mul)(c, l)), from = l;
        if (down) {
            new = V(select)(down, V(div)(V(fnma)(s, x, l), c), new);
            from = V(select)(down, new, l);
        }
        *column = new;
        *u = V(fnma)(s, from, x_c);
    }
    return good;
}

FD_INLINE void FD_LOCAL(rank_update_lanes)(int reverse, const fd_loop *loop, intptr_t begin, intptr_t end)
{
    enum { LANES = V(lanes) };
    const intptr_t dim = loop->dim, size = dim * dim, step = reverse ? -dim : 1, next = reverse ? -dim - 1 : dim + 1;
    const intptr_t u_step = reverse ? -1 : 1;
    VEC *tile = loop->operand[5], *u = tile + size;
    intptr_t item = begin;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t r = 0, n; n = fd_min(run.n - r, LANES), n > 0; r += n, item += n) {
            REAL weight[LANES];
            for (intptr_t j = 0; j < LANES; j++)
                weight[j] = j < n ? AT(3)[(r + j) * STRIDE(3)] : 0;
            const VEC w = V(load)(weight), root = V(sqrt)(V(abs)(w));
            const unsigned down = V(below)(w, V(set1)(0)), all = FD_LOCAL(first_lanes)(n);
            unsigned good = all;
            FD_LOCAL(load_lanes)(n, size, tile, AT(1) + r * STRIDE(1), STRIDE(1));
            FD_LOCAL(load_lanes)(n, dim, u, AT(2) + r * STRIDE(2), STRIDE(2));
            for (intptr_t i = 0; i < dim; i++)
                u[i] = V(mul)(u[i], root);
            VEC *pivot = reverse ? tile + size - 1 : tile, *from = reverse ? u + dim - 1 : u;
            for (intptr_t k = 0; k < dim; k++, pivot += next, from += u_step)
                good &= down ? FD_LOCAL(rotate_lanes)(dim, k, pivot, step, from, u_step, down)
                             : FD_LOCAL(rotate_lanes)(dim, k, pivot, step, from, u_step, 0);
            FD_LOCAL(store_lanes)(n, size, tile, AT(0) + r * size, size);
            if (FD_UNLIKELY(good != all))
                FD_LOCAL(note)(loop, 4, item + fd_lowest_bit(~good & all));
        }
}

static void FD_NAME(rank_updates)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(rank_update_lanes)(0, loop, begin, end);
}

static void FD_NAME(reverse_rank_updates)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(rank_update_lanes)(1, loop, begin, end);
}
