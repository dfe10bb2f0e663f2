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
