/* kernels/factor.inc.h - factors that are given: taking them over, in panels, and checks. */

FD_INLINE void FD_LOCAL(note)(const fd_loop *loop, int operand, intptr_t item)
{
    intptr_t *found = loop->operand[operand];
    if (*found < 0)
        *found = item;
}

FD_INLINE void FD_LOCAL(pack)(intptr_t dim, REAL *factor, const REAL *matrix)
{
    for (intptr_t k = 0; k < dim; k++)
        for (intptr_t i = 0; i < dim; i++)
            factor[k * dim + i] = i < k ? 0 : matrix[i * dim + k];
}

static void FD_NAME(pack_tril)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t size = loop->dim * loop->dim;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t r = 0; r < run.n; r++)
            FD_LOCAL(pack)(loop->dim, AT(0) + r * size, AT(1) + r * STRIDE(1));
}

static void FD_NAME(pack_panels)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    enum { H = FD_PANEL(REAL) };
    const intptr_t dim = loop->dim, size = fd_panels_size(dim, H);
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t r = 0; r < run.n; r++) {
            REAL *to = AT(0) + r * size;
            for (intptr_t first = 0; first < dim; first += H) {
                const intptr_t height = fd_min(dim - first, H);
                for (intptr_t k = 0; k < first + height; k++, to += height)
                    memcpy(to, AT(1) + r * STRIDE(1) + k * dim + first, (size_t)height * sizeof *to);
            }
        }
}

static void FD_NAME(unpack_panels)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    enum { H = FD_PANEL(REAL) };
    const intptr_t dim = loop->dim, size = dim * dim;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t r = 0; r < run.n; r++) {
            const REAL *from = AT(1) + r * STRIDE(1);
            REAL *to = AT(0) + r * size;
            for (intptr_t first = 0; first < dim; first += H) {
                const intptr_t height = fd_min(dim - first, H);
                for (intptr_t k = 0; k < first + height; k++, from += height)
                    memcpy(to + k * dim + first, from, (size_t)height * sizeof *to);
                for (intptr_t k = first + height; k < dim; k++)
                    memset(to + k * dim + first, 0, (size_t)height * sizeof *to);
            }
        }
}

static void FD_NAME(gram)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t dim = loop->dim, size = dim * dim;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t r = 0; r < run.n; r++) {
            const REAL *x = AT(1) + r * STRIDE(1);
            for (intptr_t i = 0; i < dim; i++)
                for (intptr_t j = 0; j < dim; j += V(lanes)) {
                    VEC sum = V(set1)(0);
                    for (intptr_t k = 0; k < dim; k++)
                        sum = V(fma)(V(set1)(x[k * dim + i]), FD_LOCAL(load_to)(x + k * dim + j, dim - j), sum);
                    FD_LOCAL(store_to)(AT(0) + r * size + i * dim + j, sum, dim - j);
                }
        }
}

/* The whole range at a glance, which vectorises; the culprit only if there is one. */
#define FD_CHECK_KERNEL(op, good)                                                              \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        const REAL *x = loop->operand[0];                                                      \
        int all = 1;                                                                           \
        for (intptr_t i = begin; i < end; i++)                                                 \
            all &= (good);                                                                     \
        for (intptr_t i = begin; !all && i < end; i++)                                         \
            if (!(good))                                                                       \
                FD_LOCAL(note)(loop, 1, i);                                                    \
    }

FD_CHECK_KERNEL(check_finite, (x[i] >= -REAL_MAX) & (x[i] <= REAL_MAX))
FD_CHECK_KERNEL(check_positive, (x[i] > 0) & (x[i] <= REAL_MAX))
FD_CHECK_KERNEL(check_probability, !((x[i] < 0) | (x[i] > 1)))
FD_CHECK_KERNEL(check_log_probability, !(x[i] > 0))
#undef FD_CHECK_KERNEL

static void FD_NAME(check_tril)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t dim = loop->dim;
    for (intptr_t item = begin; item < end; item++) {
        const REAL *a = (const REAL *)loop->operand[0] + item * dim * dim;
        int good = 1;
        for (intptr_t i = 0; i < dim; i++) {
            for (intptr_t j = 0; j < i; j++)
                good &= (a[i * dim + j] >= -REAL_MAX) & (a[i * dim + j] <= REAL_MAX);
            good &= (a[i * dim + i] > 0) & (a[i * dim + i] <= REAL_MAX);
            for (intptr_t j = i + 1; j < dim; j++)
                good &= a[i * dim + j] == 0;
        }
        if (!good)
            FD_LOCAL(note)(loop, 1, item);
    }
}
