/* kernels/factor.inc.h - making factors out of matrices, and checking both. */

FD_INLINE void FD_LOCAL(note)(const fd_job *job, int operand, intptr_t item)
{
    intptr_t *found = job->operand[operand];
    if (*found < 0)
        *found = item;
}

FD_INLINE void FD_LOCAL(pack)(intptr_t dim, REAL *factor, const REAL *matrix)
{
    for (intptr_t k = 0; k < dim; k++)
        for (intptr_t i = 0; i < dim; i++)
            factor[k * dim + i] = i < k ? 0 : matrix[i * dim + k];
}

static void FD_NAME(pack_tril)(const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t size = job->dim * job->dim;
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        for (intptr_t r = 0; r < run.n; r++)
            FD_LOCAL(pack)(job->dim, AT(0) + r * size, AT(1) + r * STEP(1));
}

/* Left-looking, column by column, each element reduced by fma in ascending k (Golub and Van
 * Loan, Matrix Computations, 4th ed., algorithm 4.2.1, gaxpy Cholesky). Whether it is
 * positive definite: after its rounding errors, of order dim * epsilon * a_kk, a pivot that
 * small says nothing about its sign. */
FD_INLINE int FD_LOCAL(cholesky_one)(intptr_t dim, REAL *factor)
{
    const REAL tolerance = (REAL)dim * REAL_EPSILON;
    for (intptr_t k = 0; k < dim; k++) {
        REAL *column = factor + k * dim;
        const REAL variance = column[k];
        for (intptr_t j = 0; j < k; j++) {
            const REAL *before = factor + j * dim;
            const VEC l = V(set1)(before[k]);
            for (intptr_t i = k; i < dim; i += V(lanes)) {
                const intptr_t m = dim - i;
                const VEC c = V(fnma)(FD_LOCAL(panel)(before + i, m), l, FD_LOCAL(panel)(column + i, m));
                FD_LOCAL(store_panel)(column + i, c, m);
            }
        }
        const REAL pivot = column[k];
        if (!(pivot > tolerance * variance && pivot <= REAL_MAX))
            return 0;
        column[k] = REAL_SQRT(pivot);
        for (intptr_t i = k + 1; i < dim; i++)
            column[i] /= column[k];
    }
    return 1;
}

static void FD_NAME(cholesky)(const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t size = job->dim * job->dim;
    intptr_t item = begin;
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        for (intptr_t r = 0; r < run.n; r++, item++) {
            const REAL *matrix = AT(1) + r * STEP(1);
            int finite = 1; /* the upper triangle, too, which is not read below */
            for (intptr_t i = 0; i < size; i++)
                finite &= (matrix[i] >= -REAL_MAX) & (matrix[i] <= REAL_MAX);
            FD_LOCAL(pack)(job->dim, AT(0) + r * size, matrix);
            if (!finite || !FD_LOCAL(cholesky_one)(job->dim, AT(0) + r * size))
                FD_LOCAL(note)(job, 2, item);
        }
}

/* The whole range at a glance, which vectorises; the culprit only if there is one. */
#define FD_CHECK_KERNEL(verb, good)                                                            \
    static void FD_NAME(verb)(const fd_job *job, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        const REAL *x = job->operand[0];                                                       \
        int all = 1;                                                                           \
        for (intptr_t i = begin; i < end; i++)                                                 \
            all &= (good);                                                                     \
        for (intptr_t i = begin; !all && i < end; i++)                                         \
            if (!(good))                                                                       \
                FD_LOCAL(note)(job, 1, i);                                                     \
    }

FD_CHECK_KERNEL(check_finite, (x[i] >= -REAL_MAX) & (x[i] <= REAL_MAX))
FD_CHECK_KERNEL(check_positive, (x[i] > 0) & (x[i] <= REAL_MAX))
FD_CHECK_KERNEL(check_probability, !((x[i] < 0) | (x[i] > 1)))
#undef FD_CHECK_KERNEL

/* |a_ij - a_ji| against sqrt(a_ii a_jj), which bounds |a_ij| in a positive definite matrix
 * whatever the units of its rows. NaN passes: cholesky finds it. */
static void FD_NAME(check_symmetric)(const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t dim = job->dim;
    const REAL tolerance = REAL_SQRT(REAL_EPSILON);
    for (intptr_t item = begin; item < end; item++) {
        const REAL *a = (const REAL *)job->operand[0] + item * dim * dim;
        for (intptr_t i = 0; i < dim; i++)
            for (intptr_t j = 0; j < i; j++) {
                const REAL difference = REAL_ABS(a[i * dim + j] - a[j * dim + i]);
                if (difference > 0 && difference > tolerance * REAL_SQRT(REAL_ABS(a[i * dim + i])) *
                                                       REAL_SQRT(REAL_ABS(a[j * dim + j])))
                    FD_LOCAL(note)(job, 1, item);
            }
    }
}

static void FD_NAME(check_tril)(const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t dim = job->dim;
    for (intptr_t item = begin; item < end; item++) {
        const REAL *a = (const REAL *)job->operand[0] + item * dim * dim;
        int good = 1;
        for (intptr_t i = 0; i < dim; i++) {
            for (intptr_t j = 0; j < i; j++)
                good &= (a[i * dim + j] >= -REAL_MAX) & (a[i * dim + j] <= REAL_MAX);
            good &= (a[i * dim + i] > 0) & (a[i * dim + i] <= REAL_MAX);
            for (intptr_t j = i + 1; j < dim; j++)
                good &= a[i * dim + j] == 0;
        }
        if (!good)
            FD_LOCAL(note)(job, 1, item);
    }
}
