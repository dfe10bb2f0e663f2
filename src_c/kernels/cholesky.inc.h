/* kernels/cholesky.inc.h - Cholesky factors of many small matrices, each in a lane; those of up to 4 rows
 * all in registers. Of doubles: float matrices go by cholesky_float.inc.h.
 *
 * A vector of matrices is transposed into a tile, so that row i * dim + j of the tile is element
 * (i, j) of each, and factorised there from the left: blocks of up to 4 columns, two rows at a time, whose
 * sums stay in registers (Golub and Van Loan, Matrix Computations, 4th ed., section 4.2.4). Each
 * element is reduced by fma in ascending k and multiplied by the reciprocal of the pivot's root. */

enum { FD_LOCAL(columns) = 4, FD_LOCAL(rows_at_once) = V(block) / 2 };
enum { FD_LOCAL(small_matrix) = 4, FD_LOCAL(two_tiles) = 16 }; /* rows of a matrix */

/* Which lanes hold a factor, and which a matrix that is not symmetric. */
typedef struct FD_LOCAL(verdict) {
    unsigned good, asymmetric;
} FD_LOCAL(verdict);

/* How far ahead of what is done to ask for memory: matrices are read in many streams, of which the CPU
 * does not see where they lead. */
FD_INLINE uintptr_t FD_LOCAL(matrices_ahead)(intptr_t ld)
{
    return (uintptr_t)(2 * V(lanes) * ld);
}

/* Matrices to a tile, the first element in the last row if `reverse`, or all at their places if there are any
 * (compile-time constants). */
FD_INLINE void FD_LOCAL(load_matrices)(int reverse, int placed, intptr_t n, intptr_t size, VEC *tile, const REAL *matrix,
                                       intptr_t ld, const intptr_t *place)
{
    enum { LANES = V(lanes) };
    const uintptr_t ahead = FD_LOCAL(matrices_ahead)(ld) * sizeof(REAL);
    const intptr_t stride = reverse ? -1 : 1;
    VEC v[LANES], *to = reverse ? tile + size - 1 : tile;
    intptr_t e = 0;
    for (; n == LANES && e + LANES <= size; e += LANES) {
        FD_UNROLL
        for (int j = 0; j < LANES; j++)
            fd_prefetch((uintptr_t)(matrix + j * ld + e) + ahead);
        FD_LOCAL(load_columns)(LANES, LANES, v, matrix + e, ld);
        FD_UNROLL
        for (int j = 0; j < LANES; j++)
            to[placed ? place[e + j] : (e + j) * stride] = v[j];
    }
    for (; e < size; e += LANES) {
        const intptr_t m = fd_min(size - e, LANES);
        FD_LOCAL(load_columns)(n, m, v, matrix + e, ld);
        for (int j = 0; j < m; j++)
            to[placed ? place[e + j] : (e + j) * stride] = v[j];
    }
}

FD_INLINE void FD_LOCAL(store_elements)(intptr_t n, intptr_t m, VEC *v, REAL *factor, intptr_t ld)
{
    V(transpose)(v);
    FD_UNROLL
    for (int j = 0; j < V(lanes); j++)
        if (j < n)
            FD_LOCAL(store_to)(factor + j * ld, v[j], m);
}

/* Factors by columns: element k * dim + i is (i, k) of L; or, if `reverse` (a compile-time constant), of the W that a
 * reversed matrix's factor is, read backwards. */
FD_INLINE void FD_LOCAL(store_factors)(int reverse, intptr_t n, intptr_t dim, const VEC *tile, REAL *factor)
{
    enum { LANES = V(lanes) };
    const intptr_t size = dim * dim;
    const uintptr_t ahead = FD_LOCAL(matrices_ahead)(size) * sizeof(REAL);
    const intptr_t stride = reverse ? -1 : dim; /* from a row of a column to the next */
    VEC v[LANES];
    for (intptr_t k = 0; k < dim; k++) {
        const VEC *row = reverse ? tile + size - 1 - k * dim : tile + k;
        for (intptr_t i = 0; i < dim; i += LANES, row += LANES * stride) {
            const intptr_t m = fd_min(dim - i, LANES);
            REAL *to = factor + k * dim + i;
            FD_UNROLL
            for (int j = 0; j < LANES; j++)
                fd_prefetch_write((uintptr_t)(to + j * size) + ahead);
            if (i >= k && n == LANES && m == LANES) {
                FD_UNROLL
                for (int j = 0; j < LANES; j++)
                    v[j] = row[j * stride];
                FD_LOCAL(store_elements)(LANES, LANES, v, to, size);
            } else if (i + m <= k) { /* above the diagonal */
                for (int j = 0; j < n; j++)
                    FD_LOCAL(store_to)(to + j * size, V(set1)(0), m);
            } else {
                for (int j = 0; j < LANES; j++)
                    v[j] = j < m && i + j >= k ? row[j * stride] : V(set1)(0);
                FD_LOCAL(store_elements)(n, m, v, to, size);
            }
        }
    }
}

/* Functions of their own for each. */
#define FD_LOAD_MATRICES(name, reverse, placed)                                                \
    FD_ALONE void FD_LOCAL(load_matrices##name)(intptr_t n, intptr_t size, VEC *tile, const REAL *matrix, intptr_t ld, \
                                                const intptr_t *place)                         \
    {                                                                                          \
        FD_LOCAL(load_matrices)(reverse, placed, n, size, tile, matrix, ld, place);            \
    }
FD_LOAD_MATRICES(_forward, 0, 0)
FD_LOAD_MATRICES(_reverse, 1, 0)
FD_LOAD_MATRICES(_placed, 0, 1)
#undef FD_LOAD_MATRICES

#define FD_STORE_FACTORS(name, reverse)                                                        \
    FD_ALONE void FD_LOCAL(store_factors##name)(intptr_t n, intptr_t dim, const VEC *tile, REAL *factor) \
    {                                                                                          \
        FD_LOCAL(store_factors)(reverse, n, dim, tile, factor);                                \
    }
FD_STORE_FACTORS(_forward, 0)
FD_STORE_FACTORS(_reverse, 1)
#undef FD_STORE_FACTORS

/* Lanes where |a_ij - a_ji| is beyond rounding: against sqrt(a_ii a_jj), which bounds |a_ij| in a
 * positive definite matrix whatever the units of its rows. NaN passes: it has no factor. */
FD_INLINE unsigned FD_LOCAL(asymmetric_lanes)(double epsilon, intptr_t dim, const VEC *tile)
{
    const VEC tolerance = V(sqrt)(V(set1)(epsilon)), zero = V(set1)(0);
    VEC sum[2] = {zero, zero};
    unsigned found = 0;
    enum { BLOCK = 8 }; /* both triangles by squares, that no cache line is lost before it is read */
    for (intptr_t i0 = 0; i0 < dim; i0 += BLOCK)
        for (intptr_t j0 = 0; j0 <= i0; j0 += BLOCK)
            for (intptr_t i = i0; i < fd_min(i0 + BLOCK, dim); i++)
                for (intptr_t j = j0; j < fd_min(j0 + BLOCK, i); j++)
                    sum[j % 2] = V(add)(sum[j % 2], V(abs)(V(sub)(tile[i * dim + j], tile[j * dim + i])));
    /* Most are symmetric to the last bit. */
    if (V(below)(V(add)(sum[0], sum[1]), V(set1)(REAL_TRUE_MIN)) == (1u << V(lanes)) - 1)
        return 0;
    for (intptr_t i = 1; i < dim; i++) {
        const VEC bound = V(mul)(tolerance, V(sqrt)(V(abs)(tile[i * dim + i])));
        for (intptr_t j = 0; j < i; j++) {
            const VEC difference = V(abs)(V(sub)(tile[i * dim + j], tile[j * dim + i]));
            const VEC limit = V(mul)(bound, V(sqrt)(V(abs)(tile[j * dim + j])));
            found |= V(below)(zero, difference) & V(below)(limit, difference);
        }
    }
    return found;
}

/* n_row rows from i on of n columns (compile-time constants) from `first` on, less what the columns before them account
 * for. */
FD_INLINE void FD_LOCAL(reduce_rows)(int n_row, int n, intptr_t dim, const VEC *tile, intptr_t i, intptr_t first,
                                     VEC sum[][FD_LOCAL(columns)])
{
    FD_UNROLL
    for (int r = 0; r < n_row; r++)
        FD_UNROLL
        for (int c = 0; c < n; c++)
            sum[r][c] = tile[(i + r) * dim + first + c];
    for (intptr_t k = 0; k < first; k++) {
        VEC l[FD_LOCAL(rows_at_once)];
        FD_UNROLL
        for (int r = 0; r < n_row; r++)
            l[r] = tile[(i + r) * dim + k];
        FD_UNROLL
        for (int c = 0; c < n; c++)
            FD_UNROLL
            for (int r = 0; r < n_row; r++)
                sum[r][c] = V(fnma)(l[r], tile[(first + c) * dim + k], sum[r][c]);
    }
}

/* Lanes with a pivot that is positive beyond rounding, and finite: with a matrix whose elements are rounded to
 * epsilon, or factorised so, a pivot below dim * epsilon * a_kk says nothing about its sign. */
FD_INLINE unsigned FD_LOCAL(good_pivots)(double epsilon, intptr_t dim, VEC pivot, VEC variance)
{
    const VEC tolerance = V(set1)((double)dim * epsilon), infinity = V(set1)((double)INFINITY);
    return V(below)(V(mul)(tolerance, variance), pivot) & V(below)(pivot, infinity);
}

/* n_row rows from i on of n columns (compile-time constants), below the triangle on the diagonal. */
FD_INLINE void FD_LOCAL(factor_rows)(int n_row, int n, intptr_t dim, VEC *tile, intptr_t i, intptr_t first,
                                     const VEC *reciprocal)
{
    VEC sum[FD_LOCAL(rows_at_once)][FD_LOCAL(columns)];
    FD_LOCAL(reduce_rows)(n_row, n, dim, tile, i, first, sum);
    FD_UNROLL
    for (int c = 0; c < n; c++) {
        FD_UNROLL
        for (int k = 0; k < c; k++) {
            const VEC l = tile[(first + c) * dim + first + k];
            FD_UNROLL
            for (int r = 0; r < n_row; r++)
                sum[r][c] = V(fnma)(sum[r][k], l, sum[r][c]);
        }
        FD_UNROLL
        for (int r = 0; r < n_row; r++)
            sum[r][c] = V(mul)(sum[r][c], reciprocal[c]);
    }
    FD_UNROLL
    for (int r = 0; r < n_row; r++)
        FD_UNROLL
        for (int c = 0; c < n; c++)
            tile[(i + r) * dim + first + c] = sum[r][c];
}

/* n columns (a compile-time constant) from `first` on; lanes whose pivots are good. */
FD_INLINE unsigned FD_LOCAL(factor_columns)(int n, double epsilon, intptr_t dim, VEC *tile, intptr_t first)
{
    VEC reciprocal[FD_LOCAL(columns)], sum[1][FD_LOCAL(columns)];
    unsigned good = ~0u;
    FD_UNROLL
    for (int d = 0; d < n; d++) { /* the triangle on the diagonal, row by row */
        VEC *row = tile + (first + d) * dim + first;
        const VEC variance = row[d];
        FD_LOCAL(reduce_rows)(1, n, dim, tile, first + d, first, sum);
        FD_UNROLL
        for (int c = 0; c <= d; c++) {
            FD_UNROLL
            for (int k = 0; k < c; k++)
                sum[0][c] = V(fnma)(row[k], tile[(first + c) * dim + first + k], sum[0][c]);
            if (c < d)
                row[c] = V(mul)(sum[0][c], reciprocal[c]);
        }
        good &= FD_LOCAL(good_pivots)(epsilon, dim, sum[0][d], variance);
        row[d] = V(sqrt)(sum[0][d]);
        reciprocal[d] = V(div)(V(set1)(1), row[d]);
    }
    intptr_t i = first + n;
    for (; i + FD_LOCAL(rows_at_once) <= dim; i += FD_LOCAL(rows_at_once))
        FD_LOCAL(factor_rows)(FD_LOCAL(rows_at_once), n, dim, tile, i, first, reciprocal);
    for (; i < dim; i++)
        FD_LOCAL(factor_rows)(1, n, dim, tile, i, first, reciprocal);
    return good;
}

#define FD_FACTOR_COLUMNS(n)                                                                   \
    FD_ALONE unsigned FD_LOCAL(factor_columns_##n)(double epsilon, intptr_t dim, VEC *tile, intptr_t first) \
    {                                                                                          \
        return FD_LOCAL(factor_columns)(n, epsilon, dim, tile, first);                         \
    }
FD_FACTOR_COLUMNS(4)
FD_FACTOR_COLUMNS(2)
FD_FACTOR_COLUMNS(1)
#undef FD_FACTOR_COLUMNS

/* The matrices of n_tile tiles to factors in their lower triangles. The tiles take turns: columns are long
 * chains of roots and quotients, which leave room for other ones. */
static void FD_LOCAL(factor_tiles)(int n_tile, double epsilon, intptr_t dim, VEC *tile, FD_LOCAL(verdict) *verdict)
{
    intptr_t first = 0;
    for (; first + 4 <= dim; first += 4)
        for (int t = 0; t < n_tile; t++)
            verdict[t].good &= FD_LOCAL(factor_columns_4)(epsilon, dim, tile + t * dim * dim, first);
    for (int t = 0; t < n_tile && first + 2 <= dim; t++)
        verdict[t].good &= FD_LOCAL(factor_columns_2)(epsilon, dim, tile + t * dim * dim, first);
    first += dim - first >= 2 ? 2 : 0;
    for (int t = 0; t < n_tile && first < dim; t++)
        verdict[t].good &= FD_LOCAL(factor_columns_1)(epsilon, dim, tile + t * dim * dim, first);
}

/* All elements count for whether a matrix is finite, the upper triangle included. */
FD_INLINE unsigned FD_LOCAL(finite_lanes)(intptr_t size, const VEC *tile)
{
    enum { CHAINS = 4 };
    VEC sum[CHAINS]; /* of 0 a: NaN if any a is infinite or NaN */
    FD_UNROLL
    for (int c = 0; c < CHAINS; c++)
        sum[c] = V(set1)(0);
    intptr_t e = 0;
    for (; e + CHAINS <= size; e += CHAINS) {
        FD_UNROLL
        for (int c = 0; c < CHAINS; c++)
            sum[c] = V(fma)(tile[e + c], V(set1)(0), sum[c]);
    }
    for (; e < size; e++)
        sum[0] = V(fma)(tile[e], V(set1)(0), sum[0]);
    return V(below)(V(add)(V(add)(sum[0], sum[1]), V(add)(sum[2], sum[3])), V(set1)(1));
}

/* Logarithms of the determinants of n factors, whose diagonals are `step` apart, rounded to float if epsilon is
 * float's. Each is a sum in the order of sum_events. */
FD_ALONE void FD_LOCAL(half_log_det)(double epsilon, intptr_t n, intptr_t dim, const VEC *diagonal, intptr_t step,
                                     double *out)
{
    enum { N = FD_LOCAL(sum_lanes) };
    VEC sum[N];
    for (int j = 0; j < N; j++)
        sum[j] = V(set1)(0);
    for (intptr_t i = 0; i < dim; i++) {
        const VEC wide = diagonal[i * step], pivot = epsilon > REAL_EPSILON ? f64v_low(f32v_narrow(wide, wide)) : wide;
        sum[i % N] = V(add)(FD_STREAM(log)(pivot), sum[i % N]);
    }
    for (int half = N / 2; half > 0; half /= 2)
        FD_LOCAL(fold)(FD_LOCAL(plain), half, sum);
    FD_LOCAL(store_to)(out, sum[0], n);
}

/* n matrices, which are read soon, to where the r-th one's copy belongs, if copies are wanted. */
FD_INLINE void FD_LOCAL(copy_matrices)(void *copies, intptr_t r, intptr_t n, intptr_t dim, const REAL *matrix)
{
    if (copies)
        memcpy((REAL *)copies + r * dim * dim, matrix, (size_t)(n * dim * dim) * sizeof *matrix);
}

/* n matrices, a vector or two of them; reverse is a compile-time constant. */
FD_INLINE void FD_LOCAL(factor_any)(int reverse, int check_symmetry, double epsilon, intptr_t n, intptr_t dim,
                                    VEC *tile, REAL *factor, const REAL *matrix, intptr_t ld, const intptr_t *place,
                                    FD_LOCAL(verdict) *verdict, double *half_log_det)
{
    enum { LANES = V(lanes) };
    const intptr_t size = dim * dim;
    const int n_tile = n > LANES ? 2 : 1;
    for (int t = 0; t < n_tile; t++) {
        VEC *one = tile + t * size;
        (place     ? FD_LOCAL(load_matrices_placed)
         : reverse ? FD_LOCAL(load_matrices_reverse)
                   : FD_LOCAL(load_matrices_forward))(fd_min(n - t * LANES, LANES), size, one,
                                                      matrix + t * LANES * ld, ld, place);
        verdict[t].good = FD_LOCAL(finite_lanes)(size, one);
        verdict[t].asymmetric = check_symmetry ? FD_LOCAL(asymmetric_lanes)(epsilon, dim, one) : 0;
    }
    FD_LOCAL(factor_tiles)(n_tile, epsilon, dim, tile, verdict);
    for (int t = 0; t < n_tile; t++) {
        const intptr_t m = fd_min(n - t * LANES, LANES);
        VEC *one = tile + t * size;
        if (half_log_det)
            FD_LOCAL(half_log_det)(epsilon, m, dim, reverse ? one + size - 1 : one, reverse ? -(dim + 1) : dim + 1,
                                   half_log_det + t * LANES);
        (reverse ? FD_LOCAL(store_factors_reverse) : FD_LOCAL(store_factors_forward))(m, dim, one,
                                                                                      factor + t * LANES * size);
    }
}

/* The same in registers, for two vectors of matrices (or one: n_vec), whose chains of roots and quotients
 * fill each other's gaps. reverse, check_symmetry, n_vec and dim are compile-time constants, and n where it is a
 * full vector. */
FD_INLINE void FD_LOCAL(factor_small)(int reverse, int check_symmetry, int n_vec, double epsilon, int dim, intptr_t n,
                                      REAL *factor, const REAL *matrix, intptr_t ld, FD_LOCAL(verdict) *verdict,
                                      double *half_log_det)
{
    enum { LANES = V(lanes), MAX = FD_LOCAL(small_matrix) * FD_LOCAL(small_matrix) };
    const int size = dim * dim;
    VEC a[2][MAX], v[LANES], pivot[FD_LOCAL(small_matrix)];
    FD_UNROLL
    for (int g = 0; g < n_vec; g++) {
        FD_UNROLL
        for (int e = 0; e < size; e += LANES) {
            FD_LOCAL(load_columns)(n, size - e < LANES ? size - e : LANES, v, matrix + g * LANES * ld + e, ld);
            FD_UNROLL
            for (int j = 0; j < LANES; j++)
                if (e + j < size)
                    a[g][reverse ? size - 1 - (e + j) : e + j] = v[j];
        }
        verdict[g].good = FD_LOCAL(finite_lanes)(size, a[g]);
        verdict[g].asymmetric = check_symmetry ? FD_LOCAL(asymmetric_lanes)(epsilon, dim, a[g]) : 0;
    }
    FD_UNROLL
    for (int c = 0; c < dim; c++) {
        VEC reciprocal[2];
        FD_UNROLL
        for (int i = c; i < dim; i++) {
            FD_UNROLL
            for (int g = 0; g < n_vec; g++) {
                VEC sum = a[g][i * dim + c];
                FD_UNROLL
                for (int k = 0; k < c; k++)
                    sum = V(fnma)(a[g][i * dim + k], a[g][c * dim + k], sum);
                if (i == c) {
                    verdict[g].good &= FD_LOCAL(good_pivots)(epsilon, dim, sum, a[g][i * dim + c]);
                    a[g][i * dim + c] = V(sqrt)(sum);
                    reciprocal[g] = c + 1 < dim ? V(div)(V(set1)(1), a[g][i * dim + c]) : sum;
                } else
                    a[g][i * dim + c] = V(mul)(sum, reciprocal[g]);
            }
        }
    }
    FD_UNROLL
    for (int g = 0; g < n_vec; g++) {
        FD_UNROLL
        for (int e = 0; e < size; e += LANES) {
            FD_UNROLL
            for (int j = 0; j < LANES; j++) {
                const int k = (e + j) / dim, i = (e + j) % dim;
                v[j] = e + j >= size || i < k ? V(set1)(0) : a[g][reverse ? size - 1 - (e + j) : i * dim + k];
            }
            FD_LOCAL(store_elements)(n, size - e < LANES ? size - e : LANES, v, factor + g * LANES * size + e, size);
        }
        if (half_log_det) {
            FD_UNROLL
            for (int k = 0; k < dim; k++)
                pivot[k] = a[g][(reverse ? dim - 1 - k : k) * (dim + 1)];
            FD_LOCAL(half_log_det)(epsilon, n, dim, pivot, 1, half_log_det + g * LANES);
        }
    }
}

FD_INLINE void FD_LOCAL(note_verdict)(const fd_loop *loop, intptr_t item, intptr_t n, FD_LOCAL(verdict) verdict)
{
    const unsigned all = (1u << n) - 1;
    if (FD_UNLIKELY(~verdict.good & all))
        FD_LOCAL(note)(loop, 2, item + fd_lowest_bit(~verdict.good & all));
    if (FD_UNLIKELY(verdict.asymmetric & all))
        FD_LOCAL(note)(loop, 4, item + fd_lowest_bit(verdict.asymmetric & all));
}

/* A run, whose first item is number `item`; reverse is a compile-time constant. */
FD_INLINE void FD_LOCAL(cholesky_any)(int reverse, double epsilon, const fd_loop *loop, const fd_run *at, intptr_t item)
{
    enum { LANES = V(lanes) };
    const fd_run run = *at;
    double *half_log_det = loop->operand[5];
    const intptr_t dim = loop->dim, at_once = dim <= FD_LOCAL(two_tiles) ? 2 * LANES : LANES;
    FD_LOCAL(verdict) verdict[2];
    for (intptr_t r = 0; r < run.n; r += at_once) {
        const intptr_t n = fd_min(run.n - r, at_once);
        FD_LOCAL(copy_matrices)(loop->operand[6], item + r, n, dim, AT(1) + r * STRIDE(1));
        FD_LOCAL(factor_any)(reverse, loop->operand[4] != NULL, epsilon, n, dim, loop->operand[3],
                             AT(0) + r * dim * dim, AT(1) + r * STRIDE(1), STRIDE(1), loop->operand[7], verdict,
                             half_log_det ? half_log_det + item + r : NULL);
        FD_LOCAL(note_verdict)(loop, item + r, fd_min(n, LANES), verdict[0]);
        if (n > LANES)
            FD_LOCAL(note_verdict)(loop, item + r + LANES, n - LANES, verdict[1]);
    }
}

FD_INLINE void FD_LOCAL(cholesky_small)(int reverse, int check_symmetry, double epsilon, int dim, const fd_loop *loop,
                                        const fd_run *at, intptr_t item)
{
    enum { LANES = V(lanes) };
    const fd_run run = *at;
    double *half_log_det = loop->operand[5] ? (double *)loop->operand[5] + item : NULL;
    FD_LOCAL(verdict) verdict[2];
    intptr_t r = 0;
    for (; r + 2 * LANES <= run.n; r += 2 * LANES) {
        FD_LOCAL(copy_matrices)(loop->operand[6], item + r, 2 * LANES, dim, AT(1) + r * STRIDE(1));
        FD_LOCAL(factor_small)(reverse, check_symmetry, 2, epsilon, dim, LANES, AT(0) + r * dim * dim,
                               AT(1) + r * STRIDE(1), STRIDE(1), verdict, half_log_det ? half_log_det + r : NULL);
        FD_LOCAL(note_verdict)(loop, item + r, LANES, verdict[0]);
        FD_LOCAL(note_verdict)(loop, item + r + LANES, LANES, verdict[1]);
    }
    for (; r < run.n; r += LANES) {
        const intptr_t n = fd_min(run.n - r, LANES);
        FD_LOCAL(copy_matrices)(loop->operand[6], item + r, n, dim, AT(1) + r * STRIDE(1));
        FD_LOCAL(factor_small)(reverse, check_symmetry, 1, epsilon, dim, n, AT(0) + r * dim * dim,
                               AT(1) + r * STRIDE(1), STRIDE(1), verdict, half_log_det ? half_log_det + r : NULL);
        FD_LOCAL(note_verdict)(loop, item + r, n, verdict[0]);
    }
}

#define FD_CHOLESKY_SMALL(op, reverse, dim)                                                    \
    FD_ALONE void FD_LOCAL(op##_##dim)(double epsilon, const fd_loop *loop, const fd_run *run, intptr_t item) \
    {                                                                                          \
        if (loop->operand[4])                                                                  \
            FD_LOCAL(cholesky_small)(reverse, 1, epsilon, dim, loop, run, item);               \
        else                                                                                   \
            FD_LOCAL(cholesky_small)(reverse, 0, epsilon, dim, loop, run, item);               \
    }

#define FD_CHOLESKY(op, reverse)                                                               \
    FD_CHOLESKY_SMALL(op, reverse, 1)                                                          \
    FD_CHOLESKY_SMALL(op, reverse, 2)                                                          \
    FD_CHOLESKY_SMALL(op, reverse, 3)                                                          \
    FD_CHOLESKY_SMALL(op, reverse, 4)                                                          \
    /* Matrices rounded to epsilon; a matrix's factor may take its place. */                   \
    static void FD_LOCAL(op)(double epsilon, const fd_loop *loop, intptr_t begin, intptr_t end) \
    {                                                                                          \
        static void (*const small[])(double, const fd_loop *, const fd_run *, intptr_t) = {    \
            NULL, FD_LOCAL(op##_1), FD_LOCAL(op##_2), FD_LOCAL(op##_3), FD_LOCAL(op##_4)};     \
        intptr_t item = begin;                                                                 \
        for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run)) {   \
            if (0 < loop->dim && loop->dim <= FD_LOCAL(small_matrix) && !loop->operand[7])     \
                small[loop->dim](epsilon, loop, &run, item);                                   \
            else                                                                               \
                FD_LOCAL(cholesky_any)(reverse, epsilon, loop, &run, item);                    \
            item += run.n;                                                                     \
        }                                                                                      \
    }                                                                                          \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        FD_LOCAL(op)(REAL_EPSILON, loop, begin, end);                                          \
    }

FD_CHOLESKY(cholesky, 0)
FD_CHOLESKY(reverse_cholesky, 1)
#undef FD_CHOLESKY
#undef FD_CHOLESKY_SMALL
