/* kernels/cholesky.inc.h - Cholesky factors of many small matrices, each in a lane.
 *
 * A vector of matrices is transposed into a tile, so that row i * dim + j of the tile is element
 * (i, j) of each, and factorised there from the left: blocks of up to 4 columns, two rows at a time, whose
 * sums stay in registers (Golub and Van Loan, Matrix Computations, 4th ed., section 4.2.4). Each
 * element is reduced by fma in ascending k and multiplied by the reciprocal of the pivot's root. */

enum { FD_LOCAL(columns) = 4 };

/* Which lanes hold a factor, and which a matrix that is not symmetric. */
typedef struct FD_LOCAL(verdict) {
    unsigned good, asymmetric;
} FD_LOCAL(verdict);

/* n matrices of `size` elements to a tile, the first element in the last row if `reverse` (a literal). */
FD_INLINE void FD_LOCAL(load_matrices)(int reverse, intptr_t n, intptr_t size, VEC *tile, const REAL *matrix,
                                       intptr_t ld)
{
    for (intptr_t e = 0; e < size; e += V(lanes)) {
        const intptr_t m = fd_min(size - e, V(lanes));
        VEC v[V(lanes)];
        for (int j = 0; j < V(lanes); j++)
            v[j] = j < n ? FD_LOCAL(load_to)(matrix + j * ld + e, m) : V(set1)(0);
        V(transpose)(v);
        for (int j = 0; j < m; j++)
            tile[reverse ? size - 1 - (e + j) : e + j] = v[j];
    }
}

/* Factors by columns: element e = k * dim + i is (i, k) of L; or, if `reverse`, of the W that a
 * reversed matrix's factor is, read backwards. */
FD_INLINE void FD_LOCAL(store_factors)(int reverse, intptr_t n, intptr_t dim, const VEC *tile, REAL *factor)
{
    const intptr_t size = dim * dim;
    intptr_t k = 0, i = 0;
    for (intptr_t e = 0; e < size; e += V(lanes)) {
        const intptr_t m = fd_min(size - e, V(lanes));
        VEC v[V(lanes)];
        for (int j = 0; j < V(lanes); j++) {
            v[j] = j >= m || i < k ? V(set1)(0) : tile[reverse ? size - 1 - (e + j) : i * dim + k];
            if (++i == dim) {
                i = 0;
                k++;
            }
        }
        V(transpose)(v);
        for (int j = 0; j < V(lanes) && j < n; j++)
            FD_LOCAL(store_to)(factor + j * size + e, v[j], m);
    }
}

/* Lanes where |a_ij - a_ji| is beyond rounding: against sqrt(a_ii a_jj), which bounds |a_ij| in a
 * positive definite matrix whatever the units of its rows. NaN passes: it has no factor. */
FD_INLINE unsigned FD_LOCAL(asymmetric_lanes)(intptr_t dim, const VEC *tile)
{
    const VEC tolerance = V(set1)(REAL_SQRT(REAL_EPSILON)), zero = V(set1)(0);
    unsigned found = 0;
    for (intptr_t i = 1; i < dim; i++) {
        const VEC bound = V(mul)(tolerance, V(sqrt)(V(abs)(tile[i * dim + i])));
        for (intptr_t j = 0; j < i; j++) {
            const VEC difference = V(abs)(V(sub)(tile[i * dim + j], tile[j * dim + i]));
            const unsigned differ = V(below)(zero, difference);
            if (FD_UNLIKELY(differ))
                found |= differ & V(below)(V(mul)(bound, V(sqrt)(V(abs)(tile[j * dim + j]))), difference);
        }
    }
    return found;
}

/* Two rows (or one: a literal) from i on of n columns (a literal) from `first` on, less what the columns
 * before them account for. */
FD_INLINE void FD_LOCAL(reduce_rows)(int n_row, int n, intptr_t dim, const VEC *tile, intptr_t i, intptr_t first,
                                     VEC sum[2][FD_LOCAL(columns)])
{
    for (int r = 0; r < n_row; r++)
        for (int c = 0; c < n; c++)
            sum[r][c] = tile[(i + r) * dim + first + c];
    for (intptr_t k = 0; k < first; k++) {
        VEC l[2];
        for (int r = 0; r < n_row; r++)
            l[r] = tile[(i + r) * dim + k];
        for (int c = 0; c < n; c++)
            for (int r = 0; r < n_row; r++)
                sum[r][c] = V(fnma)(l[r], tile[(first + c) * dim + k], sum[r][c]);
    }
}

/* n columns (a literal) from `first` on; lanes whose pivots are positive beyond rounding, and finite. */
FD_INLINE unsigned FD_LOCAL(factor_columns)(int n, intptr_t dim, VEC *tile, intptr_t first)
{
    /* After rounding errors of order dim * epsilon * a_kk, a pivot that small says nothing about its
     * sign. */
    const VEC tolerance = V(set1)((REAL)dim * REAL_EPSILON), infinity = V(set1)((REAL)INFINITY);
    VEC reciprocal[FD_LOCAL(columns)], sum[2][FD_LOCAL(columns)];
    unsigned good = ~0u;
    for (int d = 0; d < n; d++) { /* the triangle on the diagonal, row by row */
        VEC *row = tile + (first + d) * dim + first;
        const VEC variance = row[d];
        FD_LOCAL(reduce_rows)(1, n, dim, tile, first + d, first, sum);
        for (int c = 0; c <= d; c++) {
            for (int k = 0; k < c; k++)
                sum[0][c] = V(fnma)(row[k], tile[(first + c) * dim + first + k], sum[0][c]);
            if (c < d)
                row[c] = V(mul)(sum[0][c], reciprocal[c]);
        }
        const VEC pivot = sum[0][d];
        good &= V(below)(V(mul)(tolerance, variance), pivot) & V(below)(pivot, infinity);
        row[d] = V(sqrt)(pivot);
        reciprocal[d] = V(div)(V(set1)(1), row[d]);
    }
    for (intptr_t i = first + n; i < dim;) {
        const int n_row = dim - i >= 2 ? 2 : 1;
        if (n_row == 2)
            FD_LOCAL(reduce_rows)(2, n, dim, tile, i, first, sum);
        else
            FD_LOCAL(reduce_rows)(1, n, dim, tile, i, first, sum);
        for (int c = 0; c < n; c++)
            for (int r = 0; r < n_row; r++) {
                VEC *row = tile + (i + r) * dim + first;
                for (int k = 0; k < c; k++)
                    sum[r][c] = V(fnma)(row[k], tile[(first + c) * dim + first + k], sum[r][c]);
                row[c] = V(mul)(sum[r][c], reciprocal[c]);
            }
        i += n_row;
    }
    return good;
}

/* The matrices of a tile to factors in its lower triangles. */
FD_ALONE unsigned FD_LOCAL(factor_tile)(intptr_t dim, VEC *tile)
{
    unsigned good = ~0u;
    intptr_t first = 0;
    for (; first + 4 <= dim; first += 4)
        good &= FD_LOCAL(factor_columns)(4, dim, tile, first);
    if (first + 2 <= dim) {
        good &= FD_LOCAL(factor_columns)(2, dim, tile, first);
        first += 2;
    }
    if (first < dim)
        good &= FD_LOCAL(factor_columns)(1, dim, tile, first);
    return good;
}

/* All elements count for whether a matrix is finite, the upper triangle included. */
FD_INLINE unsigned FD_LOCAL(finite_lanes)(intptr_t size, const VEC *tile)
{
    VEC sum = V(set1)(0); /* of 0 a: NaN if any a is infinite or NaN */
    for (intptr_t e = 0; e < size; e++)
        sum = V(fma)(tile[e], V(set1)(0), sum);
    return V(below)(sum, V(set1)(1));
}

FD_INLINE FD_LOCAL(verdict) FD_LOCAL(factor_matrices)(int reverse, int check_symmetry, intptr_t n, intptr_t dim,
                                                      VEC *tile, REAL *factor, const REAL *matrix,
                                                      intptr_t ld)
{
    FD_LOCAL(verdict) verdict = {0, 0};
    FD_LOCAL(load_matrices)(reverse, n, dim * dim, tile, matrix, ld);
    verdict.good = FD_LOCAL(finite_lanes)(dim * dim, tile);
    if (check_symmetry)
        verdict.asymmetric = FD_LOCAL(asymmetric_lanes)(dim, tile);
    verdict.good &= FD_LOCAL(factor_tile)(dim, tile);
    FD_LOCAL(store_factors)(reverse, n, dim, tile, factor);
    return verdict;
}

FD_INLINE void FD_LOCAL(cholesky_items)(int reverse, const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t dim = job->dim, size = dim * dim;
    const int check_symmetry = job->operand[4] != NULL;
    VEC *tile = job->operand[3];
    intptr_t item = begin;
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        for (intptr_t r = 0; r < run.n; r += V(lanes), item += V(lanes)) {
            const intptr_t n = fd_min(run.n - r, V(lanes));
            const unsigned all = (1u << n) - 1;
            const FD_LOCAL(verdict) verdict = FD_LOCAL(factor_matrices)(
                reverse, check_symmetry, n, dim, tile, AT(0) + r * size, AT(1) + r * STEP(1), STEP(1));
            if (~verdict.good & all)
                FD_LOCAL(note)(job, 2, item + fd_lowest_bit(~verdict.good & all));
            if (verdict.asymmetric & all)
                FD_LOCAL(note)(job, 4, item + fd_lowest_bit(verdict.asymmetric & all));
            if (n < V(lanes))
                item += n - V(lanes);
        }
}

static void FD_NAME(cholesky)(const fd_job *job, intptr_t begin, intptr_t end)
{
    FD_LOCAL(cholesky_items)(0, job, begin, end);
}

static void FD_NAME(reverse_cholesky)(const fd_job *job, intptr_t begin, intptr_t end)
{
    FD_LOCAL(cholesky_items)(1, job, begin, end);
}
