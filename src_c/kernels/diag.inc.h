/* kernels/diag.inc.h - diagonal scale: colour, log density, Mahalanobis distance. Memory bound
 * but for the division; the four patterns of broadcast (loc and scale each a row or one
 * number) are one body each, specialised by the constant steps. */

/* Element i of an operand whose step is 0 or 1. */
FD_INLINE VEC FD_LOCAL(pick)(const REAL *p, intptr_t step, intptr_t i)
{
    return step ? V(load)(p + i) : V(set1)(*p);
}

FD_INLINE VEC FD_LOCAL(pick_first)(const REAL *p, intptr_t step, intptr_t i, intptr_t n)
{
    return step ? V(load_first)(p + i, n) : V(set1)(*p);
}

/* Calls run_body(args..., loc step, scale step) with the steps as literals. */
#define FD_BY_STEPS(call, ...)                                                                 \
    do {                                                                                       \
        if (loc_step && scale_step)                                                            \
            call(__VA_ARGS__, 1, 1);                                                           \
        else if (loc_step)                                                                     \
            call(__VA_ARGS__, 1, 0);                                                           \
        else if (scale_step)                                                                   \
            call(__VA_ARGS__, 0, 1);                                                           \
        else                                                                                   \
            call(__VA_ARGS__, 0, 0);                                                           \
    } while (0)

FD_INLINE void FD_LOCAL(colorize_diag_run)(intptr_t n, REAL *x, const REAL *loc, const REAL *scale,
                                           int loc_step, int scale_step)
{
    intptr_t i = 0;
    for (; i + V(lanes) <= n; i += V(lanes)) {
        const VEC y = V(mul)(FD_LOCAL(pick)(scale, scale_step, i), V(load)(x + i));
        V(store)(x + i, V(add)(FD_LOCAL(pick)(loc, loc_step, i), y));
    }
    if (i < n) {
        const intptr_t m = n - i;
        const VEC y = V(mul)(FD_LOCAL(pick_first)(scale, scale_step, i, m), V(load_first)(x + i, m));
        V(store_first)(x + i, V(add)(FD_LOCAL(pick_first)(loc, loc_step, i, m), y), m);
    }
}

static void FD_NAME(colorize_diag)(const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t loc_step = STEP(1), scale_step = STEP(2);
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        FD_BY_STEPS(FD_LOCAL(colorize_diag_run), run.n, AT(0), AT(1), AT(2));
}

/* log(2 pi) / 2 */
#define FD_HALF_LOG_2PI 0.91893853320467274178

FD_INLINE void FD_LOCAL(normal_log_prob_run)(intptr_t n, REAL *out, const REAL *x, intptr_t x_step,
                                             const REAL *log_scale, const REAL *loc,
                                             const REAL *scale, int loc_step, int scale_step)
{
    const VEC half = V(set1)((REAL)-0.5), norm = V(set1)((REAL)FD_HALF_LOG_2PI);
    for (intptr_t i = 0; i < n; i += V(lanes)) {
        const intptr_t m = n - i;
        VEC value, location, sd, log_sd;
        if (m >= V(lanes)) {
            value = FD_LOCAL(pick)(x, x_step, i);
            location = FD_LOCAL(pick)(loc, loc_step, i);
            sd = FD_LOCAL(pick)(scale, scale_step, i);
            log_sd = FD_LOCAL(pick)(log_scale, scale_step, i);
        } else {
            value = FD_LOCAL(pick_first)(x, x_step, i, m);
            location = FD_LOCAL(pick_first)(loc, loc_step, i, m);
            sd = FD_LOCAL(pick_first)(scale, scale_step, i, m);
            log_sd = FD_LOCAL(pick_first)(log_scale, scale_step, i, m);
        }
        const VEC z = V(div)(V(sub)(value, location), sd);
        const VEC y = V(sub)(V(mul)(V(mul)(half, z), z), V(add)(log_sd, norm));
        if (m >= V(lanes))
            V(store)(out + i, y);
        else
            V(store_first)(out + i, y, m);
    }
}

static void FD_NAME(normal_log_prob)(const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t loc_step = STEP(2), scale_step = STEP(3);
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        FD_BY_STEPS(FD_LOCAL(normal_log_prob_run), run.n, AT(0), AT(1), STEP(1), AT(4), AT(2), AT(3));
}

enum { FD_LOCAL(sum_lanes) = FD_SUM_BYTES / sizeof(REAL) };
/* Lane sums longer than this are folded into a double, so that a float32 sum of any length is
 * right to some 64 roundings. */
enum { FD_LOCAL(sum_chunk) = 1024 };

/* The accumulators added up, halves onto halves. */
FD_INLINE double FD_LOCAL(fold)(const VEC *sum)
{
    enum { N = FD_LOCAL(sum_lanes) };
    REAL lane[N];
    for (int j = 0; j < N / V(lanes); j++)
        V(store)(lane + j * V(lanes), sum[j]);
    for (int half = N / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return (double)lane[0];
}

/* sum over i < n of ((x_i - loc_i) / scale_i)^2 */
FD_INLINE double FD_LOCAL(squares_run)(intptr_t n, const REAL *x, intptr_t x_step, const REAL *loc,
                                       const REAL *scale, int loc_step, int scale_step)
{
    enum { N = FD_LOCAL(sum_lanes), N_VEC = N / V(lanes) };
    double total = 0;
    for (intptr_t from = 0; from < n; from += FD_LOCAL(sum_chunk)) {
        const intptr_t to = fd_min(from + FD_LOCAL(sum_chunk), n);
        VEC sum[N_VEC];
        for (int j = 0; j < N_VEC; j++)
            sum[j] = V(set1)(0);
        for (intptr_t i = from; i < to; i += N) {
            for (int j = 0; j < N_VEC; j++) {
                const intptr_t at = i + j * V(lanes), m = to - at;
                if (m <= 0)
                    break;
                VEC z;
                if (m >= V(lanes)) {
                    z = V(sub)(FD_LOCAL(pick)(x, x_step, at), FD_LOCAL(pick)(loc, loc_step, at));
                    z = V(div)(z, FD_LOCAL(pick)(scale, scale_step, at));
                } else {
                    z = V(sub)(FD_LOCAL(pick_first)(x, x_step, at, m),
                               FD_LOCAL(pick_first)(loc, loc_step, at, m));
                    z = V(div)(z, FD_LOCAL(pick_first)(scale, scale_step, at, m));
                    z = V(keep_first)(z, m);
                }
                sum[j] = V(fma)(z, z, sum[j]);
            }
        }
        total += FD_LOCAL(fold)(sum);
    }
    return total;
}

#define FD_ADD_SQUARES(out, ...) (*(out) += (REAL)FD_LOCAL(squares_run)(__VA_ARGS__))

static void FD_NAME(mahalanobis_diag)(const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t loc_step = STEP(2), scale_step = STEP(3);
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run)) {
        if (STEP(0) == 0) {
            FD_BY_STEPS(FD_ADD_SQUARES, AT(0), run.n, AT(1), STEP(1), AT(2), AT(3));
        } else { /* events of one element */
            for (intptr_t i = 0; i < run.n; i++)
                FD_ADD_SQUARES(AT(0) + i * STEP(0), 1, AT(1) + i * STEP(1), 0, AT(2) + i * loc_step,
                               AT(3) + i * scale_step, 0, 0);
        }
    }
}
#undef FD_ADD_SQUARES
#undef FD_BY_STEPS
