/* kernels/condition.inc.h - the mean of the other elements of an event, given the first of an order: by the columns of a
 * factor, one after the other, which leave in t what is yet to be taken off. Some events at a time, as one is a chain
 * of quotients. */

/* t less z times a column, in the rows from `first` on and, up to a whole vector, before: these are done with. There
 * may be as much room behind t. */
FD_ALONE void FD_LOCAL(take_column)(intptr_t dim, intptr_t first, REAL *t, const REAL *column, REAL z)
{
    const VEC v = V(set1)(z);
    for (intptr_t i = first / V(lanes) * V(lanes); i < dim; i += V(lanes))
        V(store)(t + i, V(fnma)(FD_LOCAL(load_to)(column + i, dim - i), v, V(load)(t + i)));
}

FD_INLINE REAL FD_LOCAL(over_pivot)(REAL x, REAL pivot)
{
    return FD_LOCAL(has_reciprocal)(pivot) ? x * (1 / pivot) : x / pivot;
}

FD_INLINE void FD_LOCAL(condition_any)(int reverse, const fd_loop *loop, intptr_t begin, intptr_t end)
{
    enum { AT_ONCE = 4, LANES = V(lanes) };
    const intptr_t *order = loop->operand[4], dim = loop->dim, known = *order++;
    const intptr_t padded = (dim + LANES - 1) / LANES * LANES;
    REAL *const t = loop->operand[5];
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t r = 0, n; n = fd_min(run.n - r, AT_ONCE), n > 0; r += n) {
            const REAL *value = AT(1) + r * STRIDE(1), *loc = AT(2) + r * STRIDE(2), *factor = AT(3) + r * STRIDE(3);
            REAL *mean = AT(0) + r * STRIDE(0);
            for (intptr_t e = 0; e < n * padded; e += LANES)
                V(store)(t + e, V(set1)(0));
            for (intptr_t e = 0; e < n && !reverse; e++)
                for (intptr_t i = 0; i < known; i++)
                    t[e * padded + i] = value[e * STRIDE(1) + i] - loc[e * STRIDE(2) + order[i]];
            for (intptr_t k = 0; k < known; k++)
                for (intptr_t e = 0; e < n; e++) {
                    const REAL *column = factor + e * STRIDE(3) + k * dim;
                    const REAL z = reverse ? value[e * STRIDE(1) + k] - loc[e * STRIDE(2) + order[k]]
                                           : FD_LOCAL(over_pivot)(t[e * padded + k], column[k]);
                    FD_LOCAL(take_column)(dim, reverse ? known : k + 1, t + e * padded, column, z);
                }
            for (intptr_t k = known; k < dim; k++)
                for (intptr_t e = 0; e < n; e++) {
                    const REAL *column = factor + e * STRIDE(3) + k * dim, l = loc[e * STRIDE(2) + order[k]];
                    const REAL rest = t[e * padded + k], z = reverse ? FD_LOCAL(over_pivot)(rest, column[k]) : -rest;
                    mean[e * STRIDE(0) + k - known] = l + z;
                    if (reverse)
                        FD_LOCAL(take_column)(dim, k + 1, t + e * padded, column, z);
                }
        }
}

static void FD_NAME(condition)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(condition_any)(0, loop, begin, end);
}

static void FD_NAME(reverse_condition)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(condition_any)(1, loop, begin, end);
}
