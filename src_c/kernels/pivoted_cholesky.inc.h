/* kernels/pivoted_cholesky.inc.h - the factor of a positive semidefinite matrix with its rows and columns in another
 * order: the largest element that is left on the diagonal comes next, until none is above a tolerance (Higham, Accuracy
 * and Stability of Numerical Algorithms, 2nd ed., section 10.3). What is then left is the matrix less L L', and no
 * element of it is larger than the largest on its diagonal, if the matrix was semidefinite.
 *
 * The matrix is kept as its upper triangle by rows, of which row k becomes column k of L. As only the diagonal and the
 * present row have to be up to date, all other elements follow some pivots at a time, while rows of L are in cache. Each
 * is reduced by fma in ascending k, whenever that is done. */

enum { FD_LOCAL(pivots_at_once) = 16 };

/* A row from column j on, less what rows `first` to `last` of L account for; column i of these is the row's own. */
FD_INLINE VEC FD_LOCAL(follow_row)(const REAL *a, intptr_t dim, intptr_t i, intptr_t j, intptr_t first, intptr_t last)
{
    VEC sum = FD_LOCAL(load_to)(a + i * dim + j, dim - j);
    for (intptr_t m = first; m < last; m++)
        sum = V(fnma)(V(set1)(a[m * dim + i]), FD_LOCAL(load_to)(a + m * dim + j, dim - j), sum);
    return sum;
}

/* All above the diagonal from row `begin` on. */
FD_ALONE void FD_LOCAL(follow_rest)(REAL *a, intptr_t dim, intptr_t begin, intptr_t first, intptr_t last)
{
    for (intptr_t i = begin; i < dim; i++)
        for (intptr_t j = i + 1; j < dim; j += V(lanes))
            FD_LOCAL(store_to)(a + i * dim + j, FD_LOCAL(follow_row)(a, dim, i, j, first, last), dim - j);
}

FD_INLINE void FD_LOCAL(swap_two)(REAL *x, REAL *y)
{
    const REAL t = *x;
    *x = *y;
    *y = t;
}

/* Exchange rows and columns k < p of the upper triangle, and of what has become of those before k. */
FD_INLINE void FD_LOCAL(exchange_rows)(REAL *a, intptr_t dim, intptr_t k, intptr_t p)
{
    for (intptr_t m = 0; m < k; m++)
        FD_LOCAL(swap_two)(a + m * dim + k, a + m * dim + p);
    for (intptr_t m = k + 1; m < p; m++)
        FD_LOCAL(swap_two)(a + k * dim + m, a + m * dim + p);
    for (intptr_t m = p + 1; m < dim; m++)
        FD_LOCAL(swap_two)(a + k * dim + m, a + p * dim + m);
    FD_LOCAL(swap_two)(a + k * dim + k, a + p * dim + p);
}

/* The first of the largest elements that are left on the diagonal. */
FD_INLINE intptr_t FD_LOCAL(largest_left)(const REAL *a, intptr_t dim, intptr_t k)
{
    intptr_t p = k;
    for (intptr_t i = k + 1; i < dim; i++)
        if (a[i * dim + i] > a[p * dim + p])
            p = i;
    return p;
}

/* How many pivots there are. */
FD_INLINE intptr_t FD_LOCAL(factor_by_pivots)(REAL *a, intptr_t dim, REAL *order, REAL tolerance)
{
    intptr_t first = 0; /* of the pivots that elements are yet to follow */
    for (intptr_t k = 0; k < dim; k++) {
        const intptr_t p = FD_LOCAL(largest_left)(a, dim, k);
        const REAL pivot = a[p * dim + p];
        if (!(pivot > tolerance && pivot > 0)) {
            FD_LOCAL(follow_rest)(a, dim, k, first, k);
            return k;
        }
        if (p != k) {
            FD_LOCAL(exchange_rows)(a, dim, k, p);
            FD_LOCAL(swap_two)(order + k, order + p);
        }
        const REAL root = a[k * dim + k] = REAL_SQRT(pivot);
        for (intptr_t j = k + 1; j < dim; j += V(lanes)) {
            const VEC row = V(div)(FD_LOCAL(follow_row)(a, dim, k, j, first, k), V(set1)(root));
            FD_LOCAL(store_to)(a + k * dim + j, row, dim - j);
        }
        for (intptr_t j = k + 1; j < dim; j++)
            a[j * dim + j] = REAL_FMA(-a[k * dim + j], a[k * dim + j], a[j * dim + j]);
        if (k + 1 - first == FD_LOCAL(pivots_at_once)) {
            FD_LOCAL(follow_rest)(a, dim, k + 1, first, k + 1);
            first = k + 1;
        }
    }
    return dim;
}

static void FD_NAME(pivoted_cholesky)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t dim = loop->dim;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t r = 0; r < run.n; r++) {
            REAL *a = AT(0) + r * STRIDE(0), rest = 0;
            const REAL *matrix = AT(1) + r * STRIDE(1);
            for (intptr_t k = 0; k < dim; k++)
                for (intptr_t i = 0; i < dim; i++)
                    a[k * dim + i] = i < k ? 0 : matrix[i * dim + k];
            const intptr_t rank =
                FD_LOCAL(factor_by_pivots)(a, dim, AT(2) + r * STRIDE(2), AT(3)[r * STRIDE(3)]);
            for (intptr_t i = rank; i < dim; i++)
                for (intptr_t j = i; j < dim; j++) {
                    const REAL size = REAL_ABS(a[i * dim + j]);
                    rest = rest >= size || rest != rest ? rest : size; /* NaN stays */
                    a[i * dim + j] = 0;
                }
            AT(4)[r * STRIDE(4)] = (REAL)rank;
            AT(5)[r * STRIDE(5)] = rest;
        }
}
