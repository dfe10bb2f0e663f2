/* kernels/add_products.inc.h - three products at a time, so that x is loaded and stored once for them. */

FD_INLINE void FD_LOCAL(add_products_run)(intptr_t n, REAL *x, REAL *const *at, const intptr_t *stride)
{
    for (intptr_t i = 0; i < n; i += V(lanes)) {
        VEC sum = FD_LOCAL(load_to)(x + i, n - i);
        FD_UNROLL
        for (int k = 0; k < 6; k += 2)
            sum = V(fma)(FD_LOCAL(pick_to)(at[k], stride[k], i, n - i),
                         FD_LOCAL(pick_to)(at[k + 1], stride[k + 1], i, n - i), sum);
        FD_LOCAL(store_to)(x + i, sum, n - i);
    }
}

static void FD_NAME(add_products)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    static const intptr_t number_by_row[6] = {0, 1, 0, 1, 0, 1};
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run)) {
        REAL *at[6];
        intptr_t stride[6];
        for (int k = 0; k < 6; k++) {
            at[k] = AT(k + 1);
            stride[k] = STRIDE(k + 1);
        }
        if (memcmp(stride, number_by_row, sizeof stride) == 0)
            FD_LOCAL(add_products_run)(run.n, AT(0), at, number_by_row);
        else
            FD_LOCAL(add_products_run)(run.n, AT(0), at, stride);
    }
}
