/* kernels/triangularize.inc.h - the triangle that reflections make of a matrix (Golub and Van Loan, Matrix Computations,
 * 4th ed., section 5.2). Column by column, some at a time: all reflections that there are, then, of what is left of
 * it, one more, which takes the column's place: v with 1 - v v' the reflection. Products v'x are added up as sums over
 * events are, in FD_SUM_BYTES of accumulators. */

enum { FD_LOCAL(reflected) = 4 };

/* v'x of n columns x (a compile-time constant), ld apart, of `size` numbers. */
FD_INLINE void FD_LOCAL(products_of)(int n, intptr_t size, const REAL *v, const REAL *x, intptr_t ld, REAL *product)
{
    enum { N = FD_LOCAL(sum_lanes), N_VEC = N / V(lanes) };
    VEC sum[FD_LOCAL(reflected)][N_VEC];
    FD_UNROLL
    for (int c = 0; c < n; c++)
        FD_UNROLL
        for (int j = 0; j < N_VEC; j++)
            sum[c][j] = V(set1)(0);
    intptr_t i = 0;
    for (; i + N <= size; i += N) {
        FD_UNROLL
        for (int j = 0; j < N_VEC; j++) {
            const VEC one = V(load)(v + i + j * V(lanes));
            FD_UNROLL
            for (int c = 0; c < n; c++)
                sum[c][j] = V(fma)(one, V(load)(x + c * ld + i + j * V(lanes)), sum[c][j]);
        }
    }
    /* To all accumulators, as to the lanes of a vector, zeros are added beyond the end. */
    FD_UNROLL
    for (int j = 0; j < N_VEC && i < size; j++) {
        const intptr_t at = fd_min(i + j * V(lanes), size - 1), is_in = at == i + j * V(lanes);
        const VEC zero = V(set1)(0), one = is_in ? FD_LOCAL(load_to)(v + at, size - at) : zero;
        FD_UNROLL
        for (int c = 0; c < n; c++)
            sum[c][j] = V(fma)(one, is_in ? FD_LOCAL(load_to)(x + c * ld + at, size - at) : zero, sum[c][j]);
    }
    FD_UNROLL
    for (int c = 0; c < n; c++) {
        REAL lane[V(lanes)];
        for (int half = N_VEC / 2; half > 0; half /= 2)
            FD_LOCAL(fold)(FD_LOCAL(plain), half, sum[c]);
        V(store)(lane, sum[c][0]);
        for (int half = V(lanes) / 2; half > 0; half /= 2)
            for (int j = 0; j < half; j++)
                lane[j] += lane[j + half];
        product[c] = lane[0];
    }
}

/* n columns x, ld apart, less v v'x. */
FD_INLINE void FD_LOCAL(reflect)(int n, intptr_t size, const REAL *v, REAL *x, intptr_t ld)
{
    REAL product[FD_LOCAL(reflected)];
    FD_LOCAL(products_of)(n, size, v, x, ld, product);
    for (intptr_t i = 0; i < size; i += V(lanes)) {
        const VEC one = FD_LOCAL(load_to)(v + i, size - i);
        FD_UNROLL
        for (int c = 0; c < n; c++)
            FD_LOCAL(store_to)(x + c * ld + i,
                               V(fnma)(V(set1)(product[c]), one, FD_LOCAL(load_to)(x + c * ld + i, size - i)), size - i);
    }
}

FD_ALONE void FD_LOCAL(reflect_one)(intptr_t size, const REAL *v, REAL *x)
{
    FD_LOCAL(reflect)(1, size, v, x, 0);
}

FD_ALONE void FD_LOCAL(reflect_some)(intptr_t size, const REAL *v, REAL *x, intptr_t ld)
{
    FD_LOCAL(reflect)(FD_LOCAL(reflected), size, v, x, ld);
}

/* x becomes the v that takes it to a multiple of the first unit vector; how long it was. */
FD_ALONE REAL FD_LOCAL(make_reflection)(intptr_t size, REAL *x)
{
    REAL largest = 0, square;
    for (intptr_t i = 0; i < size; i++) {
        const REAL here = REAL_ABS(x[i]);
        largest = largest >= here || largest != largest ? largest : here; /* NaN stays */
    }
    if (largest == 0)
        return 0;
    for (intptr_t i = 0; i < size; i++)
        x[i] /= largest;
    FD_LOCAL(products_of)(1, size, x, x, 0, &square);
    const REAL length = REAL_SQRT(square), over = 1 / REAL_SQRT(length * (length + REAL_ABS(x[0])));
    x[0] += x[0] < 0 ? -length : length;
    for (intptr_t i = 0; i < size; i++)
        x[i] *= over;
    return length * largest;
}

static void FD_NAME(triangularize)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    enum { AT_ONCE = FD_LOCAL(reflected) };
    const intptr_t dim = loop->dim, count = *(const intptr_t *)loop->operand[2];
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t r = 0; r < run.n; r++) {
            REAL *factor = AT(0) + r * STRIDE(0), *columns = AT(1) + r * STRIDE(1);
            for (intptr_t first = 0; first < dim; first += AT_ONCE) {
                const intptr_t n = fd_min(dim - first, AT_ONCE);
                REAL *x = columns + first * count;
                for (intptr_t k = 0; k < fd_min(first, count); k++) {
                    const REAL *v = columns + k * count + k;
                    if (n == AT_ONCE)
                        FD_LOCAL(reflect_some)(count - k, v, x + k, count);
                    for (intptr_t c = 0; c < n && n < AT_ONCE; c++)
                        FD_LOCAL(reflect_one)(count - k, v, x + c * count + k);
                }
                for (intptr_t c = 0, i = first; c < n; c++, i++, x += count) {
                    for (intptr_t k = first; k < fd_min(i, count); k++)
                        FD_LOCAL(reflect_one)(count - k, columns + k * count + k, x + k);
                    factor[i * dim + i] = i < count ? FD_LOCAL(make_reflection)(count - i, x + i) : 0;
                }
            }
            /* Rows of the triangle, with the sign that makes the diagonal positive: v's first element has the other. */
            for (intptr_t k = 0; k < dim; k++) {
                const int turned = k < count && columns[k * count + k] > 0;
                for (intptr_t i = 0; i < dim; i++)
                    if (i < k || k >= count)
                        factor[k * dim + i] = 0;
                    else if (i > k)
                        factor[k * dim + i] = turned ? -columns[i * count + k] : columns[i * count + k];
            }
        }
}
