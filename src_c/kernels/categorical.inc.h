/* kernels/categorical.inc.h - laws over finitely many outcomes: draws by inversion, rows of logarithms of
 * probabilities and their sums.
 *
 * A draw is the number of cumulative probabilities that are not above a uniform, whichever way it is found: by
 * counting them all or, from a guide (Chen and Asau, "On generating random variates from an empirical distribution",
 * AIIE Trans. 6 (1974) 163-166), by going on from a number of them that are known to be below.
 *
 * A sum over a long row goes chunk by chunk, as sums over events do (diag.inc.h). log(sum of e^x) is
 * m + log(1 + the sum of all others' e^(x - m)), m the largest x: so the logarithm of a probability near 1 has all its
 * digits. */

#if REAL_IS_DOUBLE
#define FD_INTEGER int64_t
#define FD_SIGN(v) u64v_srl(u64v_bits(v), 63)
#define FD_COUNT_OUTCOMES(word) u64v_##word
typedef u64v FD_LOCAL(count);
#else
#define FD_INTEGER int32_t
#define FD_SIGN(v) u32v_srl(u32v_bits(v), 31)
#define FD_COUNT_OUTCOMES(word) u32v_##word
typedef u32v FD_LOCAL(count);
#endif

/* ---- draws ------------------------------------------------------------------------------ */

/* An integer where a uniform has been. */
FD_INLINE void FD_LOCAL(put_integer)(REAL *x, intptr_t n)
{
    const FD_INTEGER integer = (FD_INTEGER)n;
    memcpy(x, &integer, sizeof integer);
}

FD_INLINE int FD_LOCAL(bits_set)(unsigned mask)
{
#if defined(__GNUC__)
    return __builtin_popcount(mask);
#else
    int n = 0;
    for (; mask; mask &= mask - 1)
        n++;
    return n;
#endif
}

FD_INLINE intptr_t FD_LOCAL(count_below)(REAL u, intptr_t dim, const REAL *table)
{
    const VEC v = V(set1)(u);
    intptr_t n = dim, i = 0;
    for (; i + V(lanes) <= dim; i += V(lanes))
        n -= FD_LOCAL(bits_set)(V(below)(v, V(load)(table + i)));
    if (i < dim) /* u is not below the zeros of lanes beyond */
        n -= FD_LOCAL(bits_set)(V(below)(v, V(load_first)(table + i, dim - i)));
    return n;
}

/* Of draws from one table, a draw a lane: the sign of u - c is 1 where u < c. */
FD_INLINE void FD_LOCAL(invert_vector)(intptr_t m, REAL *x, intptr_t dim, const REAL *table)
{
    const VEC u = FD_LOCAL(load_to)(x, m);
    FD_LOCAL(count) below = FD_COUNT_OUTCOMES(set1)(0);
    for (intptr_t j = 0; j < dim; j++)
        below = FD_COUNT_OUTCOMES(add)(below, FD_SIGN(V(sub)(u, V(set1)(table[j]))));
    REAL number[V(lanes)];
    V(store)(number, FD_CAT(VEC, from_bits)(below));
    for (intptr_t i = 0; i < m; i++) {
        FD_INTEGER n;
        memcpy(&n, number + i, sizeof n);
        FD_LOCAL(put_integer)(x + i, dim - n);
    }
}

static void FD_NAME(draw_categorical)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t dim = loop->dim, stride = STRIDE(0), table_stride = STRIDE(1);
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run)) {
        REAL *x = AT(0);
        const REAL *table = AT(1);
        if (stride == 1 && table_stride == 0)
            for (intptr_t i = 0; i < run.n; i += V(lanes))
                FD_LOCAL(invert_vector)(run.n - i < V(lanes) ? run.n - i : V(lanes), x + i, dim, table);
        else
            for (intptr_t i = 0; i < run.n; i++)
                FD_LOCAL(put_integer)(x + i * stride, FD_LOCAL(count_below)(x[i * stride], dim, table + i * table_stride));
    }
}

/* Which of `dim` parts of [0, 1] a number is in: never less for a larger one, however the product is rounded. */
FD_INLINE intptr_t FD_LOCAL(bucket)(REAL u, intptr_t dim) { return fd_min((intptr_t)(u * (REAL)dim), dim - 1); }

static void FD_NAME(guide_table)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t i = 0; i < run.n; i++) {
            REAL *guide = AT(0) + i * STRIDE(0);
            const REAL *table = AT(1) + i * STRIDE(1);
            intptr_t n = 0;
            for (intptr_t b = 0; b < loop->dim; b++) {
                while (n < loop->dim && FD_LOCAL(bucket)(table[n], loop->dim) < b)
                    n++;
                guide[b] = (REAL)n;
            }
        }
}

/* Some draws at a time, whose parts of guide and table are asked for in advance: they are anywhere in memory. */
static void FD_NAME(draw_guided)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    enum { SOME = 32 };
    const intptr_t dim = loop->dim;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t first = 0, n; first < run.n; first += n) {
            intptr_t at[SOME];
            n = fd_min(run.n - first, SOME);
            REAL *x = AT(0) + first * STRIDE(0);
            const REAL *table = AT(1) + first * STRIDE(1), *guide = AT(2) + first * STRIDE(2);
            for (intptr_t i = 0; i < n; i++) {
                at[i] = FD_LOCAL(bucket)(x[i * STRIDE(0)], dim);
                fd_prefetch((uintptr_t)(guide + i * STRIDE(2) + at[i]));
            }
            for (intptr_t i = 0; i < n; i++) {
                at[i] = (intptr_t)guide[i * STRIDE(2) + at[i]];
                fd_prefetch((uintptr_t)(table + i * STRIDE(1) + at[i]));
            }
            for (intptr_t i = 0; i < n; i++) {
                const REAL *row = table + i * STRIDE(1), u = x[i * STRIDE(0)];
                intptr_t j = at[i];
                while (row[j] <= u) /* the last one is 1 */
                    j++;
                FD_LOCAL(put_integer)(x + i * STRIDE(0), j);
            }
        }
}

static void FD_NAME(draw_bernoulli)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run)) {
        REAL *x = AT(0);
        const REAL *p = AT(1);
        for (intptr_t i = 0; i < run.n; i += V(lanes)) {
            const intptr_t m = run.n - i;
            const VEC difference = V(sub)(FD_LOCAL(load_to)(x + i, m), FD_LOCAL(pick_to)(p, STRIDE(1), i, m));
            FD_LOCAL(store_to)(x + i, FD_CAT(VEC, from_bits)(FD_SIGN(difference)), m);
        }
    }
}

/* Summed in doubled precision, each sum then rounded and divided. From the last outcome that has a probability on they
 * are 1, so that no uniform is beyond; those without one are as long as nothing. */
static void FD_NAME(cumulate)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t i = 0; i < run.n; i++) {
            REAL *table = AT(0) + i * STRIDE(0);
            const REAL *weight = AT(1) + i * STRIDE(1);
            fd_total sum = {0, 0};
            intptr_t last = 0;
            for (intptr_t j = 0; j < loop->dim; j++)
                if (weight[j] > 0) {
                    fd_add_up(&sum, (double)weight[j]);
                    last = j;
                }
            const double total = sum.sum + sum.error;
            double most = 0;
            sum = (fd_total){0, 0};
            for (intptr_t j = 0; j < loop->dim; j++) {
                if (weight[j] > 0) {
                    fd_add_up(&sum, (double)weight[j]);
                    const double part = (sum.sum + sum.error) / total;
                    most = part > most ? part : most;
                }
                table[j] = j < last && most < 1 ? (REAL)most : 1;
            }
        }
}

/* ---- rows of logarithms ------------------------------------------------------------------ */

/* What is summed over a row (compile-time constants): e^(a - m) of a or of a + b; the entropy's terms of logarithms a
 * of probabilities; the divergence's of a from b. */
enum { FD_LOCAL(powers), FD_LOCAL(powers_of_sums), FD_LOCAL(surprise), FD_LOCAL(divergence) };

/* q - p - p t, t = log q - log p: never negative, and 0 where both are the same. Summed over a row it is the divergence,
 * as p and q sum to 1. Where t is small it is p t^2 (1/2 + t/6 + t^2/24 ...), whose first term left away is t^14/16!. */
FD_INLINE VEC FD_LOCAL(excess_of)(VEC a, VEC b)
{
    static const REAL coefficient[] = {
        (REAL)(1 / 1307674368000.0), (REAL)(1 / 87178291200.0), (REAL)(1 / 6227020800.0), (REAL)(1 / 479001600.0),
        (REAL)(1 / 39916800.0),      (REAL)(1 / 3628800.0),     (REAL)(1 / 362880.0),     (REAL)(1 / 40320.0),
        (REAL)(1 / 5040.0),          (REAL)(1 / 720.0),         (REAL)(1 / 120.0),        (REAL)(1 / 24.0),
        (REAL)(1 / 6.0),             (REAL)(1 / 2.0)};
    const VEC p = FD_LOCAL(exp)(a), q = FD_LOCAL(exp)(b), t = V(sub)(b, a);
    VEC series = V(set1)(coefficient[0]);
    FD_UNROLL
    for (size_t i = 1; i < sizeof coefficient / sizeof *coefficient; i++)
        series = V(fma)(series, t, V(set1)(coefficient[i]));
    const VEC near = V(mul)(V(mul)(p, t), V(mul)(t, series)), far = V(sub)(V(sub)(q, p), V(mul)(p, t));
    const VEC term = V(select)(V(below)(V(abs)(t), V(set1)((REAL)0.5)), near, far);
    return V(select)(V(below)(p, V(set1)(REAL_TRUE_MIN)), q, term);
}

FD_INLINE VEC FD_LOCAL(row_term)(int what, VEC a, VEC b, VEC m)
{
    if (what == FD_LOCAL(powers))
        return FD_LOCAL(exp)(V(sub)(a, m));
    if (what == FD_LOCAL(powers_of_sums))
        return FD_LOCAL(exp)(V(sub)(V(add)(a, b), m));
    if (what == FD_LOCAL(divergence))
        return FD_LOCAL(excess_of)(a, b);
    const VEC p = FD_LOCAL(exp)(a), zero = V(set1)(0);
    return V(select)(V(below)(p, V(set1)(REAL_TRUE_MIN)), zero, V(sub)(zero, V(mul)(p, a)));
}

/* Without term `left_out`, if that is not -1. */
FD_INLINE double FD_LOCAL(sum_row)(int what, intptr_t dim, const REAL *a, const REAL *b, REAL m, intptr_t left_out)
{
    enum { CHUNK = FD_LOCAL(sum_chunk) };
    REAL chunk[CHUNK];
    double total = 0;
    for (intptr_t first = 0; first < dim; first += CHUNK) {
        const intptr_t n = fd_min(dim - first, CHUNK);
        for (intptr_t i = 0; i < n; i += V(lanes)) {
            const VEC x = FD_LOCAL(load_to)(a + first + i, n - i);
            const VEC y = what == FD_LOCAL(powers) || what == FD_LOCAL(surprise) ? x
                                                                              : FD_LOCAL(load_to)(b + first + i, n - i);
            V(store)(chunk + i, FD_LOCAL(row_term)(what, x, y, V(set1)(m)));
        }
        if (left_out >= first && left_out < first + n)
            chunk[left_out - first] = 0;
        total += FD_LOCAL(sum_of_chunk)(FD_LOCAL(plain), n, chunk);
    }
    return total;
}

/* Of a row a, or a + b: *m is the largest element, the result the logarithm of the sum of e^(a - m); NaN if one is. */
FD_INLINE REAL FD_LOCAL(log_total)(int what, intptr_t dim, const REAL *a, const REAL *b, REAL *m)
{
    intptr_t largest = -1;
    int nan = 0;
    *m = -(REAL)INFINITY;
    for (intptr_t j = 0; j < dim; j++) {
        const REAL x = what == FD_LOCAL(powers) ? a[j] : a[j] + b[j];
        nan |= x != x;
        if (x > *m) {
            *m = x;
            largest = j;
        }
    }
    if (nan || largest < 0 || *m > REAL_MAX) /* no number, nothing but -inf, or infinity */
        return nan ? (REAL)NAN : 0;
    double rest[f64v_lanes];
    f64v_store(rest, log1p_f64(f64v_set1(FD_LOCAL(sum_row)(what, dim, a, b, *m, largest))));
    return (REAL)rest[0];
}

/* ---- short rows ---------------------------------------------------------------------------
 * Rows of a few outcomes, a row a lane: alone, each would wait for its own sums. These are added up one after the
 * other, so that a row's bits depend on its elements alone. */
enum { FD_LOCAL(few_outcomes) = 32 };

FD_INLINE VEC FD_LOCAL(column)(const REAL *p, intptr_t stride, intptr_t n)
{
    return stride ? V(gather)(p, stride, n) : V(set1)(*p);
}

/* What log_total gives, of n rows; the rows themselves, by columns, to x. */
FD_INLINE VEC FD_LOCAL(log_sums)(int what, intptr_t n, intptr_t dim, const REAL *a, intptr_t a_stride, const REAL *b,
                                 intptr_t b_stride, VEC *x, VEC *m)
{
    const VEC infinity = V(set1)((REAL)INFINITY), lowest = V(set1)(-(REAL)INFINITY), zero = V(set1)(0);
    VEC largest = V(set1)(-1), sum = zero;
    unsigned numbers = ~0u;
    *m = lowest;
    for (intptr_t j = 0; j < dim; j++) {
        x[j] = FD_LOCAL(column)(a + j, a_stride, n);
        if (what == FD_LOCAL(powers_of_sums))
            x[j] = V(add)(x[j], FD_LOCAL(column)(b + j, b_stride, n));
        const unsigned larger = V(below)(*m, x[j]);
        *m = V(select)(larger, x[j], *m);
        largest = V(select)(larger, V(set1)((REAL)j), largest);
        numbers &= V(below)(x[j], infinity) | V(below)(lowest, x[j]);
    }
    for (intptr_t j = 0; j < dim; j++) {
        const unsigned other = V(below)(V(set1)((REAL)0.5), V(abs)(V(sub)(largest, V(set1)((REAL)j))));
        sum = V(add)(sum, V(select)(other, FD_LOCAL(exp)(V(sub)(x[j], *m)), zero));
    }
    const unsigned finite = V(below)(*m, infinity) & V(below)(lowest, *m);
    return V(select)(finite, FD_LOCAL(log1p)(sum), V(select)(numbers, zero, V(set1)((REAL)NAN)));
}

/* Entropies, or divergences, of n rows. */
FD_INLINE VEC FD_LOCAL(sum_rows)(int what, intptr_t n, intptr_t dim, const REAL *a, intptr_t a_stride, const REAL *b,
                                 intptr_t b_stride)
{
    VEC sum = V(set1)(0);
    for (intptr_t j = 0; j < dim; j++) {
        const VEC x = FD_LOCAL(column)(a + j, a_stride, n);
        const VEC y = what == FD_LOCAL(divergence) ? FD_LOCAL(column)(b + j, b_stride, n) : x;
        sum = V(add)(sum, FD_LOCAL(row_term)(what, x, y, x));
    }
    return sum;
}

/* The first n elements of a vector to anywhere. */
FD_INLINE void FD_LOCAL(scatter)(REAL *p, intptr_t stride, VEC v, intptr_t n)
{
    REAL lane[V(lanes)];
    V(store)(lane, v);
    for (intptr_t i = 0; i < n; i++)
        p[i * stride] = lane[i];
}

/* ---- rows -------------------------------------------------------------------------------- */

static void FD_NAME(log_softmax)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t dim = loop->dim;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run)) {
        for (intptr_t i = 0; dim <= FD_LOCAL(few_outcomes) && i < run.n; i += V(lanes)) {
            const intptr_t n = fd_min(run.n - i, V(lanes));
            VEC x[FD_LOCAL(few_outcomes)], m;
            const VEC rest = FD_LOCAL(log_sums)(FD_LOCAL(powers), n, dim, AT(1) + i * STRIDE(1), STRIDE(1), NULL, 0, x,
                                                &m);
            for (intptr_t j = 0; j < dim; j++)
                FD_LOCAL(scatter)(AT(0) + i * STRIDE(0) + j, STRIDE(0), V(sub)(V(sub)(x[j], m), rest), n);
        }
        for (intptr_t i = 0; dim > FD_LOCAL(few_outcomes) && i < run.n; i++) {
            REAL *out = AT(0) + i * STRIDE(0), m;
            const REAL *x = AT(1) + i * STRIDE(1), rest = FD_LOCAL(log_total)(FD_LOCAL(powers), dim, x, NULL, &m);
            for (intptr_t j = 0; j < dim; j += V(lanes)) {
                const VEC v = V(sub)(FD_LOCAL(load_to)(x + j, dim - j), V(set1)(m));
                FD_LOCAL(store_to)(out + j, V(sub)(v, V(set1)(rest)), dim - j);
            }
        }
    }
}

static void FD_NAME(log_sum_exp)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t dim = loop->dim;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run)) {
        for (intptr_t i = 0; dim <= FD_LOCAL(few_outcomes) && i < run.n; i += V(lanes)) {
            const intptr_t n = fd_min(run.n - i, V(lanes));
            VEC x[FD_LOCAL(few_outcomes)], m;
            const VEC rest = FD_LOCAL(log_sums)(FD_LOCAL(powers_of_sums), n, dim, AT(1) + i * STRIDE(1), STRIDE(1),
                                                AT(2) + i * STRIDE(2), STRIDE(2), x, &m);
            FD_LOCAL(scatter)(AT(0) + i * STRIDE(0), STRIDE(0), V(add)(m, rest), n);
        }
        for (intptr_t i = 0; dim > FD_LOCAL(few_outcomes) && i < run.n; i++) {
            REAL m;
            const REAL rest = FD_LOCAL(log_total)(FD_LOCAL(powers_of_sums), dim, AT(1) + i * STRIDE(1),
                                                AT(2) + i * STRIDE(2), &m);
            AT(0)[i * STRIDE(0)] = m + rest;
        }
    }
}

/* Sums of what is made of rows 1 and, of divergences, 2. */
#define FD_ROW_SUMS(op, what, k)                                                               \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        const intptr_t dim = loop->dim, step = dim <= FD_LOCAL(few_outcomes) ? V(lanes) : 1;   \
        for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))     \
            for (intptr_t i = 0; i < run.n; i += step) {                                       \
                const intptr_t n = fd_min(run.n - i, step);                                    \
                const REAL *a = AT(1) + i * STRIDE(1), *b = AT(k) + i * STRIDE(k);             \
                REAL *out = AT(0) + i * STRIDE(0);                                             \
                if (dim > FD_LOCAL(few_outcomes))                                              \
                    *out = (REAL)FD_LOCAL(sum_row)(what, dim, a, b, 0, -1);                    \
                else                                                                           \
                    FD_LOCAL(scatter)(out, STRIDE(0),                                          \
                                      FD_LOCAL(sum_rows)(what, n, dim, a, STRIDE(1), b, STRIDE(k)), n); \
            }                                                                                  \
    }

FD_ROW_SUMS(categorical_entropy, FD_LOCAL(surprise), 1)
FD_ROW_SUMS(categorical_kl, FD_LOCAL(divergence), 2)
#undef FD_ROW_SUMS

/* ---- logarithms of elements --------------------------------------------------------------- */

#define FD_ELEMENTWISE(op, y)                                                                  \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))     \
            for (intptr_t i = 0; i < run.n; i += V(lanes)) {                                   \
                const VEC x = FD_LOCAL(pick_to)(AT(1), STRIDE(1), i, run.n - i);               \
                FD_LOCAL(store_to)(AT(0) + i, y, run.n - i);                                   \
            }                                                                                  \
    }

FD_ELEMENTWISE(exp_log_prob, FD_LOCAL(exp)(x))
FD_ELEMENTWISE(log_complement, FD_LOCAL(log1p)(V(sub)(V(set1)(0), x)))
FD_ELEMENTWISE(log_odds, FD_LOCAL(log_ratio)(x))
FD_ELEMENTWISE(odds_prob, FD_LOCAL(sigmoid)(x))
FD_ELEMENTWISE(odds_log_prob, V(sub)(V(set1)(0), FD_LOCAL(softplus)(V(sub)(V(set1)(0), x))))
#undef FD_ELEMENTWISE

/* ---- densities and terms of gradients ------------------------------------------------------ */

/* The number of an outcome, or -1. */
FD_INLINE intptr_t FD_LOCAL(outcome)(REAL value, intptr_t dim)
{
    if (!(value >= 0 && value < (REAL)dim))
        return -1;
    const intptr_t n = (intptr_t)value;
    return (REAL)n == value ? n : -1;
}

static void FD_NAME(categorical_log_prob)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t i = 0; i < run.n; i++) {
            const REAL value = AT(1)[i * STRIDE(1)];
            const intptr_t n = FD_LOCAL(outcome)(value, loop->dim);
            AT(0)[i * STRIDE(0)] = n >= 0 ? AT(2)[i * STRIDE(2) + n] : value == value ? -(REAL)INFINITY : value;
        }
}

static void FD_NAME(one_hot_index)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t i = 0; i < run.n; i++) {
            const REAL *x = AT(1) + i * STRIDE(1);
            intptr_t n_one = 0, n_other = 0, n_nan = 0, at = 0;
            for (intptr_t j = 0; j < loop->dim; j++) {
                at = x[j] == 1 ? j : at;
                n_one += x[j] == 1;
                n_nan += x[j] != x[j];
                n_other += x[j] != 0;
            }
            AT(0)[i * STRIDE(0)] = n_nan ? (REAL)NAN : n_one == 1 && n_other == 1 ? (REAL)at : -1;
        }
}

static void FD_NAME(score_categorical)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t dim = loop->dim;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t i = 0; i < run.n; i++) {
            REAL *out = AT(0) + i * STRIDE(0);
            const REAL g = AT(1)[i * STRIDE(1)], value = AT(2)[i * STRIDE(2)];
            const REAL *gain = AT(3) + i * STRIDE(3), *loss = AT(4) + i * STRIDE(4);
            const intptr_t n = FD_LOCAL(outcome)(value, dim);
            /* What has no probability is nothing's doing. */
            const REAL weight = n >= 0 && gain[n] > 0 ? -g : value == value ? 0 : value;
            for (intptr_t j = 0; j < dim; j += V(lanes)) {
                const VEC y = V(mul)(V(set1)(weight), FD_LOCAL(load_to)(loss + j, dim - j));
                FD_LOCAL(store_to)(out + j, y, dim - j);
            }
            if (weight == -g && n >= 0)
                out[n] = g * (gain[n] - loss[n]);
        }
}
#undef FD_INTEGER
#undef FD_SIGN
#undef FD_COUNT_OUTCOMES
