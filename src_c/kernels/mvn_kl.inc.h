/* kernels/mvn_kl.inc.h - Kullback-Leibler divergence of Gaussian vectors, and terms of its gradients.
 *
 * With K = L_q^-1 L_p, E = K - 1 and z = L_q^-1 (loc_p - loc_q) it is a sum of terms that are not negative,
 *
 *     sum of phi(K_ii) + 1/2 sum of E_ij^2 (i > j) + 1/2 |z|^2,   phi(r) = (r^2 - 1) / 2 - log r
 *
 * E is made without the difference of K and 1, and is 0 where the factors are the same, L or W = L^-1:
 *
 *     p     q     E
 *     L     L     L_q^-1 (L_p - L_q)
 *     W     W     (W_q - W_p) W_p^-1
 *     L     W     W_q L_p - 1
 *     W     L     -(1 + F)^-1 F,  F = W_p L_q - 1
 *
 * So of the two one, a, has its columns in E, and the other, b, is what they are multiplied or solved by; the last two
 * rows, `mixed`, sum in twice the precision. Diagonal factors are of the kind L. Up to FD_SMALL_EVENT elements a lane
 * is an item; of larger events the lanes are columns. */

/* ---- what both do ------------------------------------------------------------------------------ */

typedef struct FD_LOCAL(fd_pair) {
    int mixed, swapped;         /* p is by W: it is b */
    int diagonal_a, diagonal_b; /* a vector instead of a factor */
    const REAL *a, *b;
} FD_LOCAL(fd_pair);

FD_INLINE FD_LOCAL(fd_pair) FD_LOCAL(pair)(const intptr_t *kinds, const REAL *p, const REAL *q)
{
    const int swapped = kinds[0] == FD_INVERSE;
    const FD_LOCAL(fd_pair) pair = {swapped != (kinds[1] == FD_INVERSE), swapped, kinds[swapped] == FD_DIAGONAL,
                                    kinds[!swapped] == FD_DIAGONAL, swapped ? q : p, swapped ? p : q};
    return pair;
}

/* Of elements of the diagonals of a and b: r = K_ii and u = r - 1. */
FD_INLINE void FD_LOCAL(ratio)(const FD_LOCAL(fd_pair) *pair, VEC a, VEC b, VEC *r, VEC *u)
{
    const VEC one = V(set1)(1), product = V(mul)(a, b);
    if (!pair->mixed) {
        *r = V(div)(a, b);
        *u = V(div)(V(sub)(a, b), b);
    } else if (!pair->swapped) {
        *r = product;
        *u = V(fma)(a, b, V(set1)(-1));
    } else {
        *r = V(div)(one, product);
        *u = V(div)(V(fnma)(a, b, one), product);
    }
}

/* phi where r is near the ends of the range or beyond: log r may be finite there. */
FD_ALONE VEC FD_LOCAL(phi_beyond)(const FD_LOCAL(fd_pair) *pair, VEC phi, unsigned within, VEC a, VEC b)
{
    REAL out[V(lanes)], of_a[V(lanes)], of_b[V(lanes)];
    V(store)(out, phi);
    V(store)(of_a, a);
    V(store)(of_b, b);
    for (int j = 0; j < V(lanes); j++)
        if (!(within >> j & 1)) {
            const double x = (double)of_a[j], y = (double)of_b[j];
            const double r = !pair->mixed ? x / y : !pair->swapped ? x * y : 1 / x / y;
            double log_a[f64v_lanes], log_b[f64v_lanes];
            f64v_store(log_a, FD_STREAM(log)(f64v_set1(x)));
            f64v_store(log_b, FD_STREAM(log)(f64v_set1(y)));
            const double log_r = !pair->mixed ? log_a[0] - log_b[0] : log_a[0] + log_b[0];
            out[j] = (REAL)(0.5 * (r - 1) * (r + 1) - (pair->swapped && pair->mixed ? -log_r : log_r));
        }
    return V(load)(out);
}

/* phi(r) with u = r - 1, as in normal_kl.inc.h: where r = 2^k (1 + f) with k = 0, f is u, and the terms that would
 * cancel are 0. */
FD_INLINE VEC FD_LOCAL(phi)(const FD_LOCAL(fd_pair) *pair, VEC a, VEC b, VEC r, VEC u)
{
    const VEC half = V(set1)((REAL)0.5);
    VEC k;
    const VEC m = FD_LOCAL(split)(r, &k), size = V(abs)(k);
    const unsigned within = V(below)(size, V(set1)(FD_LOCAL(kl_exponent))); /* false for NaN, which has the largest k */
    const VEC f = V(select)(V(below)(size, half), u, V(sub)(m, V(set1)(1)));
    const VEC s = V(div)(f, V(add)(V(set1)(2), f)), half_square = V(mul)(half, V(mul)(f, f));
    const VEC rest = V(mul)(s, V(add)(half_square, FD_LOCAL(log_series)(V(mul)(s, s))));
    const VEC high = V(fnma)(k, V(set1)(FD_LOCAL(ln2)[0]), V(sub)(u, f));
    const VEC low = V(fma)(k, V(set1)(FD_LOCAL(ln2)[1]), rest);
    const VEC result = V(add)(V(fma)(V(mul)(half, u), u, half_square), V(sub)(high, low));
    return FD_UNLIKELY(within != (1u << V(lanes)) - 1) ? FD_LOCAL(phi_beyond)(pair, result, within, a, b) : result;
}

/* A sum of products in twice the precision: Dot2 of Ogita, Rump and Oishi, "Accurate sum and dot product", 2005. */
typedef struct FD_LOCAL(fd_dot) {
    VEC sum, error;
} FD_LOCAL(fd_dot);

FD_INLINE void FD_LOCAL(add_product)(FD_LOCAL(fd_dot) *dot, VEC x, VEC y)
{
    const VEC high = V(mul)(x, y), low = V(fma)(x, y, V(sub)(V(set1)(0), high));
    const VEC sum = V(add)(dot->sum, high), back = V(sub)(sum, dot->sum);
    const VEC lost = V(add)(V(sub)(dot->sum, V(sub)(sum, back)), V(sub)(high, back));
    dot->error = V(add)(dot->error, V(add)(lost, low));
    dot->sum = sum;
}

/* Of an item: a NaN that comes of no NaN is of one that overflowed. */
static REAL FD_LOCAL(settle_kl)(const intptr_t *kinds, intptr_t dim, const REAL *loc_p, const REAL *loc_q,
                                const REAL *p, const REAL *q)
{
    int has_nan = 0;
    for (intptr_t i = 0; i < dim; i++)
        has_nan |= isnan(loc_p[i]) | isnan(loc_q[i]);
    for (intptr_t i = 0; i < (kinds[0] == FD_DIAGONAL ? dim : dim * dim); i++)
        has_nan |= isnan(p[i]);
    for (intptr_t i = 0; i < (kinds[1] == FD_DIAGONAL ? dim : dim * dim); i++)
        has_nan |= isnan(q[i]);
    return has_nan ? (REAL)NAN : (REAL)INFINITY;
}

/* ---- small events: a lane an item ------------------------------------------------------------ */

/* An element of n items' vectors or factors, `step` apart. */
FD_INLINE VEC FD_LOCAL(of_items)(intptr_t n, const REAL *x, intptr_t step)
{
    return step ? V(gather)(x, step, n) : V(set1)(*x);
}

/* By columns, like the factors. */
FD_INLINE void FD_LOCAL(load_lower)(int diagonal, intptr_t n, intptr_t dim, VEC *v, const REAL *x, intptr_t step)
{
    for (intptr_t k = 0; k < dim; k++)
        for (intptr_t i = 0; i < dim; i++)
            v[k * dim + i] = i < k || (i > k && diagonal)
                                 ? V(set1)(0)
                                 : FD_LOCAL(of_items)(n, x + (diagonal ? k : k * dim + i), step);
}

/* d = (x - y) / c, where c, which is returned, is 2 where the difference is beyond the range, otherwise 1. */
FD_INLINE VEC FD_LOCAL(difference)(intptr_t n, intptr_t size, VEC *d, const VEC *x, const VEC *y)
{
    unsigned finite = (1u << n) - 1;
    for (intptr_t i = 0; i < size; i++) {
        d[i] = V(sub)(x[i], y[i]);
        finite &= V(below)(V(abs)(d[i]), V(set1)((REAL)INFINITY));
    }
    if (finite == (1u << n) - 1)
        return V(set1)(1);
    const VEC half = V(select)(finite, V(set1)(1), V(set1)((REAL)0.5));
    for (intptr_t i = 0; i < size; i++)
        d[i] = V(sub)(V(mul)(half, x[i]), V(mul)(half, y[i]));
    return V(select)(finite, V(set1)(1), V(set1)(2));
}

/* The divergences of n items; c_p, c, ... are how far on the next item's is. */
static VEC FD_LOCAL(kl_small)(const intptr_t *kinds, intptr_t n, intptr_t dim, const REAL *loc_p, intptr_t loc_p_step,
                              const REAL *loc_q, intptr_t loc_q_step, const REAL *p, intptr_t p_step, const REAL *q,
                              intptr_t q_step)
{
    enum { MOST = FD_SMALL_EVENT };
    const FD_LOCAL(fd_pair) pair = FD_LOCAL(pair)(kinds, p, q);
    VEC a[MOST * MOST], b[MOST * MOST], e[MOST * MOST], x[MOST], y[MOST], z[MOST];
    FD_LOCAL(load_lower)(pair.diagonal_a, n, dim, a, pair.a, pair.swapped ? q_step : p_step);
    FD_LOCAL(load_lower)(pair.diagonal_b, n, dim, b, pair.b, pair.swapped ? p_step : q_step);
    for (intptr_t i = 0; i < dim; i++) {
        x[i] = FD_LOCAL(of_items)(n, loc_p + i, loc_p_step);
        y[i] = FD_LOCAL(of_items)(n, loc_q + i, loc_q_step);
    }

    const VEC *of_q = pair.swapped ? a : b, times_z = FD_LOCAL(difference)(n, dim, z, x, y);
    VEC square = V(set1)(0), result = V(set1)(0), times_e = V(set1)(1);
    for (intptr_t j = 0; j < dim; j++) {
        const intptr_t i = kinds[1] == FD_INVERSE ? dim - 1 - j : j; /* in place */
        VEC sum = kinds[1] == FD_INVERSE ? V(mul)(of_q[i * dim + i], z[i]) : z[i];
        for (intptr_t k = 0; k < i; k++)
            sum = kinds[1] == FD_INVERSE ? V(fma)(of_q[k * dim + i], z[k], sum) : V(fnma)(of_q[k * dim + i], z[k], sum);
        z[i] = kinds[1] == FD_INVERSE ? sum : V(div)(sum, of_q[i * dim + i]);
        const VEC far = V(mul)(times_z, z[i]);
        square = V(fma)(far, far, square);
    }

    if (!pair.mixed)
        times_e = FD_LOCAL(difference)(n, dim * dim, e, a, b);
    for (intptr_t j = 0; j < dim; j++) { /* column by column; of the second kind, row by row */
        VEC r, u;
        FD_LOCAL(ratio)(&pair, a[j * dim + j], b[j * dim + j], &r, &u);
        result = V(add)(result, FD_LOCAL(phi)(&pair, a[j * dim + j], b[j * dim + j], r, u));
        if (!pair.mixed && !pair.swapped) {
            for (intptr_t i = j; i < dim; i++) {
                VEC sum = e[j * dim + i];
                for (intptr_t k = j; k < i; k++)
                    sum = V(fnma)(b[k * dim + i], e[j * dim + k], sum);
                e[j * dim + i] = V(div)(sum, b[i * dim + i]);
            }
        } else if (!pair.mixed) {
            for (intptr_t i = j; i >= 0; i--) {
                VEC sum = e[i * dim + j];
                for (intptr_t k = j; k > i; k--)
                    sum = V(fnma)(e[k * dim + j], b[i * dim + k], sum);
                e[i * dim + j] = V(div)(sum, b[i * dim + i]);
            }
        } else {
            for (intptr_t i = j + 1; i < dim; i++) {
                FD_LOCAL(fd_dot) dot = {V(set1)(0), V(set1)(0)};
                for (intptr_t k = j; k <= i; k++)
                    FD_LOCAL(add_product)(&dot, b[k * dim + i], a[j * dim + k]);
                e[j * dim + i] = V(add)(dot.sum, dot.error);
            }
        }
    }
    for (intptr_t j = 0; pair.mixed && pair.swapped && j < dim; j++) { /* from F to E */
        VEC r, u;
        FD_LOCAL(ratio)(&pair, a[j * dim + j], b[j * dim + j], &r, &u);
        for (intptr_t i = j + 1; i < dim; i++) {
            VEC sum = V(mul)(e[j * dim + i], r);
            for (intptr_t k = j + 1; k < i; k++)
                sum = V(fma)(e[k * dim + i], e[j * dim + k], sum);
            e[j * dim + i] = V(div)(sum, V(mul)(V(set1)(-1), V(mul)(a[i * dim + i], b[i * dim + i])));
        }
    }
    for (intptr_t j = 0; j < dim; j++)
        for (intptr_t i = j + 1; i < dim; i++) {
            const VEC far = V(mul)(times_e, e[j * dim + i]);
            square = V(fma)(far, far, square);
        }
    return V(fma)(V(set1)((REAL)0.5), square, result);
}

/* ---- any events: the lanes are columns --------------------------------------------------------- */

/* n numbers: x = c (a - b); returns whether they are all finite. */
FD_INLINE int FD_LOCAL(subtract)(intptr_t n, REAL *x, REAL c, const REAL *a, const REAL *b)
{
    int finite = 1;
    for (intptr_t i = 0; i < n; i++) {
        x[i] = c * a[i] - c * b[i];
        finite &= REAL_ABS(x[i]) < (REAL)INFINITY;
    }
    return finite;
}

/* As `difference`; a is a matrix or (`diagonal_a`) its diagonal. */
static REAL FD_LOCAL(subtract_columns)(int diagonal_a, intptr_t dim, REAL *x, const REAL *a, const REAL *b)
{
    if (diagonal_a) {
        for (intptr_t i = 0; i < dim * dim; i++)
            x[i] = -b[i];
        for (intptr_t i = 0; i < dim; i++)
            x[i * (dim + 1)] = a[i] - b[i * (dim + 1)];
        return 1;
    }
    if (FD_LOCAL(subtract)(dim * dim, x, 1, a, b))
        return 1;
    FD_LOCAL(subtract)(dim * dim, x, (REAL)0.5, a, b);
    return 2;
}

FD_INLINE void FD_LOCAL(times)(intptr_t n, REAL *x, REAL c)
{
    for (intptr_t i = 0; c != 1 && i < n; i++)
        x[i] *= c;
}

/* The transpose of a matrix. */
static void FD_LOCAL(transpose)(intptr_t dim, REAL *to, const REAL *from)
{
    for (intptr_t i = 0; i < dim; i += V(lanes))
        for (intptr_t j = 0; j < dim; j += V(lanes)) {
            VEC v[V(lanes)];
            FD_LOCAL(load_columns)(dim - j, dim - i, v, from + j * dim + i, dim);
            for (int k = 0; k < V(lanes) && i + k < dim; k++)
                FD_LOCAL(store_to)(to + (i + k) * dim + j, v[k], dim - j);
        }
}

/* x = (b a)', upper triangular, of a and b by columns. */
static void FD_LOCAL(multiply_columns)(intptr_t dim, REAL *x, const REAL *a, const REAL *b)
{
    for (intptr_t j = 0; j < dim; j++)
        for (intptr_t i = 0; i < dim; i += V(lanes)) {
            const intptr_t end = fd_min(i + V(lanes), dim);
            FD_LOCAL(fd_dot) dot = {V(set1)(0), V(set1)(0)};
            for (intptr_t k = j; k < end; k++)
                FD_LOCAL(add_product)(&dot, V(set1)(a[j * dim + k]), FD_LOCAL(load_to)(b + k * dim + i, dim - i));
            FD_LOCAL(store_to)(x + j * dim + i, V(add)(dot.sum, dot.error), dim - i);
        }
}

/* To x either E by rows or, which it returns, its transpose. On the diagonal stands whatever. `room` has dim^2. */
static int FD_LOCAL(excess)(const FD_LOCAL(fd_pair) *pair, intptr_t dim, REAL *x, REAL *room)
{
    const REAL *a = pair->a, *b = pair->b;
    if (pair->mixed) {
        if (pair->diagonal_a)
            for (intptr_t j = 0; j < dim; j++)
                for (intptr_t i = 0; i < dim; i++)
                    x[j * dim + i] = a[j] * b[j * dim + i];
        else
            FD_LOCAL(multiply_columns)(dim, x, a, b);
        if (!pair->swapped)
            return 1;
        memcpy(room, x, (size_t)(dim * dim) * sizeof *x);
        for (intptr_t i = 0; i < dim; i++)
            x[i * (dim + 1)] = REAL_FMA(pair->diagonal_a ? a[i] : a[i * (dim + 1)], b[i * (dim + 1)], -1);
        for (intptr_t i = 0; i < dim * dim; i++)
            x[i] = -x[i];
        FD_LOCAL(do_columns)(FD_LOCAL(solve_t), FD_LOCAL(in_upper), dim, dim, x, dim, room);
        return 1;
    }
    if (pair->diagonal_b) {
        for (intptr_t j = 0; j < dim; j++)
            for (intptr_t i = 0; i < dim; i++)
                x[j * dim + i] = a[j * dim + i] / b[i];
        return 1;
    }
    const REAL c = FD_LOCAL(subtract_columns)(pair->diagonal_a, dim, pair->swapped ? x : room, a, b);
    if (pair->swapped) {
        FD_LOCAL(do_columns)(FD_LOCAL(solve_t), FD_LOCAL(in_upper), dim, dim, x, dim, b);
    } else {
        FD_LOCAL(transpose)(dim, x, room);
        FD_LOCAL(do_columns)(FD_LOCAL(solve), FD_LOCAL(in_lower), dim, dim, x, dim, b);
    }
    FD_LOCAL(times)(dim * dim, x, c);
    return pair->swapped;
}

/* What is done to one vector by a factor F, which is stored by columns; all elements get their terms at a time, as one
 * alone would wait for each. */
FD_INLINE void FD_LOCAL(solve_vector)(intptr_t dim, REAL *x, const REAL *factor)
{
    for (intptr_t k = 0; k < dim; k++) {
        const REAL *column = factor + k * dim;
        const VEC x_k = V(set1)(x[k] /= column[k]);
        for (intptr_t i = k + 1; i < dim; i += V(lanes)) {
            const VEC left = FD_LOCAL(load_to)(x + i, dim - i);
            FD_LOCAL(store_to)(x + i, V(fnma)(FD_LOCAL(load_to)(column + i, dim - i), x_k, left), dim - i);
        }
    }
}

FD_INLINE void FD_LOCAL(solve_t_vector)(intptr_t dim, REAL *x, const REAL *factor)
{
    for (intptr_t k = dim - 1; k >= 0; k--) {
        x[k] /= factor[k * dim + k];
        for (intptr_t i = 0; i < k; i++)
            x[i] = REAL_FMA(-factor[i * dim + k], x[k], x[i]);
    }
}

/* From x to y = F x or F' x. */
FD_INLINE void FD_LOCAL(multiply_vector)(int transposed, intptr_t dim, REAL *y, const REAL *x, const REAL *factor)
{
    memset(y, 0, (size_t)dim * sizeof *y);
    for (intptr_t k = 0; k < dim; k++) {
        const REAL *column = factor + k * dim;
        if (transposed)
            for (intptr_t i = 0; i <= k; i++)
                y[i] = REAL_FMA(factor[i * dim + k], x[k], y[i]);
        else
            for (intptr_t i = k; i < dim; i += V(lanes)) {
                const VEC sum = FD_LOCAL(load_to)(y + i, dim - i);
                const VEC f = FD_LOCAL(load_to)(column + i, dim - i);
                FD_LOCAL(store_to)(y + i, V(fma)(f, V(set1)(x[k]), sum), dim - i);
            }
    }
}

/* In place x = L_q^-1 x or L_q^-T x; `room` has dim. */
FD_INLINE void FD_LOCAL(whiten_by)(intptr_t kind, int transposed, intptr_t dim, REAL *x, REAL *room, const REAL *q)
{
    if (kind == FD_DIAGONAL) {
        for (intptr_t i = 0; i < dim; i++)
            x[i] /= q[i];
    } else if (kind == FD_INVERSE) {
        memcpy(room, x, (size_t)dim * sizeof *x);
        FD_LOCAL(multiply_vector)(transposed, dim, x, room, q);
    } else if (transposed) {
        FD_LOCAL(solve_t_vector)(dim, x, q);
    } else {
        FD_LOCAL(solve_vector)(dim, x, q);
    }
}

/* z, as by `difference`. */
FD_INLINE void FD_LOCAL(white_difference)(intptr_t kind, intptr_t dim, REAL *z, REAL *room, const REAL *loc_p,
                                          const REAL *loc_q, const REAL *q)
{
    const REAL c = FD_LOCAL(subtract)(dim, z, 1, loc_p, loc_q) ? 1 : 2;
    if (c == 2)
        FD_LOCAL(subtract)(dim, z, (REAL)0.5, loc_p, loc_q);
    FD_LOCAL(whiten_by)(kind, 0, dim, z, room, q);
    FD_LOCAL(times)(dim, z, c);
}

/* Vector i of the diagonals. */
FD_INLINE void FD_LOCAL(diagonals)(const FD_LOCAL(fd_pair) *pair, intptr_t dim, intptr_t i, VEC *a, VEC *b)
{
    const intptr_t m = fd_min(dim - i, V(lanes)), a_step = pair->diagonal_a ? 1 : dim + 1;
    const intptr_t b_step = pair->diagonal_b ? 1 : dim + 1;
    const VEC one = V(set1)(1);
    *a = V(select)((1u << m) - 1, V(gather)(pair->a + i * a_step, a_step, m), one);
    *b = V(select)((1u << m) - 1, V(gather)(pair->b + i * b_step, b_step, m), one);
}

/* The divergence of an item. */
static REAL FD_LOCAL(kl_large)(const intptr_t *kinds, intptr_t dim, REAL *scratch, const REAL *loc_p, const REAL *loc_q,
                               const REAL *p, const REAL *q)
{
    const FD_LOCAL(fd_pair) pair = FD_LOCAL(pair)(kinds, p, q);
    REAL *x = scratch, *room = x + dim * dim, *z = room + dim * dim, *other = z + dim;
    double squares, phis;
    FD_LOCAL(white_difference)(kinds[1], dim, z, other, loc_p, loc_q, q);
    squares = FD_LOCAL(sum_of_chunk)(FD_LOCAL(squared), dim, z);
    for (intptr_t i = 0; i < dim; i += V(lanes)) {
        VEC a, b, r, u;
        FD_LOCAL(diagonals)(&pair, dim, i, &a, &b);
        FD_LOCAL(ratio)(&pair, a, b, &r, &u);
        FD_LOCAL(store_to)(z + i, FD_LOCAL(phi)(&pair, a, b, r, u), dim - i);
    }
    phis = FD_LOCAL(sum_of_chunk)(FD_LOCAL(plain), dim, z);
    const int transposed = FD_LOCAL(excess)(&pair, dim, x, room);
    for (intptr_t i = 0; i < dim; i++)
        squares += transposed ? FD_LOCAL(sum_of_chunk)(FD_LOCAL(squared), dim - 1 - i, x + i * dim + i + 1)
                              : FD_LOCAL(sum_of_chunk)(FD_LOCAL(squared), i, x + i * dim);
    return (REAL)(0.5 * squares + phis);
}

static void FD_NAME(mvn_kl)(const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t dim = job->dim, *kinds = job->operand[6];
    const int small = 0 < dim && dim <= FD_SMALL_EVENT;
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        for (intptr_t r = 0, n; r < run.n; r += n) {
            const REAL *loc_p = AT(1) + r * STEP(1), *loc_q = AT(2) + r * STEP(2);
            const REAL *p = AT(3) + r * STEP(3), *q = AT(4) + r * STEP(4);
            REAL result[V(lanes)];
            n = small ? fd_min(V(lanes), run.n - r) : 1;
            if (small)
                V(store)(result, FD_LOCAL(kl_small)(kinds, n, dim, loc_p, STEP(1), loc_q, STEP(2), p, STEP(3), q, STEP(4)));
            else
                *result = FD_LOCAL(kl_large)(kinds, dim, job->operand[5], loc_p, loc_q, p, q);
            for (intptr_t e = 0; e < n; e++)
                AT(0)[(r + e) * STEP(0)] =
                    isnan(result[e]) ? FD_LOCAL(settle_kl)(kinds, dim, loc_p + e * STEP(1), loc_q + e * STEP(2),
                                                           p + e * STEP(3), q + e * STEP(4))
                                     : result[e];
        }
}

/* ---- gradients ----------------------------------------------------------------------------------- */

/* g (rows' rows + z z' - 1): the lower triangle or (`diagonal`) the diagonal alone, over a scale. The rows are those
 * of K or K', on whose diagonal 1 is taken off before anything is added; z may be NULL. `sum` has room for dim. */
static void FD_LOCAL(gram)(int upper, intptr_t dim, REAL g, REAL *out, const REAL *rows, const REAL *u, const REAL *z,
                           REAL *sum, const REAL *scale)
{
    for (intptr_t i = 0; i < dim; i++)
        sum[i] = REAL_FMA(z ? z[i] : 0, z ? z[i] : 0, u[i] * (u[i] + 2));
    for (intptr_t k = 0; k < dim; k++) {
        const intptr_t end = upper ? dim : k;
        for (intptr_t i = upper ? k + 1 : 0; i < end; i++)
            sum[i] = REAL_FMA(rows[k * dim + i], rows[k * dim + i], sum[i]);
    }
    for (intptr_t i = 0; scale && i < dim; i++)
        out[i] = g * sum[i] / scale[i];
    if (scale)
        return;
    memset(out, 0, (size_t)(dim * dim) * sizeof *out);
    FD_LOCAL(add_outer)(1, dim, dim, out, rows, dim, rows, dim);
    if (z)
        FD_LOCAL(add_outer)(0, 1, dim, out, z, 0, z, 0);
    for (intptr_t i = 0; i < dim; i++)
        out[i * (dim + 1)] = sum[i];
    for (intptr_t i = 0; i < dim * dim; i++)
        out[i] *= g;
}

static void FD_NAME(kl_score_mvn)(const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t dim = job->dim, size = dim * dim, *kinds = job->operand[7];
    REAL *x = job->operand[6], *turned = x + size, *u = turned + size, *z = u + dim, *room = z + dim;
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        for (intptr_t r = 0; r < run.n; r++) {
            REAL *by_loc = AT(0) + r * STEP(0), *by_p = by_loc + dim;
            REAL *by_q = by_p + (kinds[0] == FD_DIAGONAL ? dim : size);
            const REAL g = AT(1)[r * STEP(1)], *p = AT(4) + r * STEP(4), *q = AT(5) + r * STEP(5);
            const FD_LOCAL(fd_pair) pair = FD_LOCAL(pair)(kinds, p, q);
            FD_LOCAL(white_difference)(kinds[1], dim, z, room, AT(2) + r * STEP(2), AT(3) + r * STEP(3), q);
            memcpy(by_loc, z, (size_t)dim * sizeof *z);
            FD_LOCAL(whiten_by)(kinds[1], 1, dim, by_loc, room, q);
            FD_LOCAL(times)(dim, by_loc, g);

            const int transposed = FD_LOCAL(excess)(&pair, dim, x, turned);
            for (intptr_t i = 0; i < dim; i += V(lanes)) {
                VEC a, b, ratio, less_one;
                FD_LOCAL(diagonals)(&pair, dim, i, &a, &b);
                FD_LOCAL(ratio)(&pair, a, b, &ratio, &less_one);
                FD_LOCAL(store_to)(room + i, ratio, dim - i);
                FD_LOCAL(store_to)(u + i, less_one, dim - i);
            }
            for (intptr_t i = 0; i < dim; i++)
                x[i * (dim + 1)] = room[i];
            if (transposed || kinds[2])
                FD_LOCAL(transpose)(dim, turned, x);
            FD_LOCAL(gram)(0, dim, g, by_p, transposed ? turned : x, u, NULL, room, kinds[0] == FD_DIAGONAL ? p : NULL);
            if (kinds[2])
                FD_LOCAL(gram)(1, dim, -g, by_q, transposed ? x : turned, u, z, room,
                               kinds[1] == FD_DIAGONAL ? q : NULL);
        }
}
