/* kernels/diag.inc.h - diagonal scale: colour, logarithms, log densities. Memory bound
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

static void FD_NAME(log)(const fd_job *job, intptr_t begin, intptr_t end)
{
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run)) {
        FD_STREAM(FD_LOCAL(log))(STEP(1) ? run.n : 1, AT(0), AT(1));
        for (intptr_t i = 1; i < run.n && STEP(1) == 0; i++)
            AT(0)[i] = AT(0)[0];
    }
}

/* log(2 pi) / 2 */
#define FD_HALF_LOG_2PI 0.91893853320467274178

/* Of n log densities those that are -inf. The logarithms may have been where these are. */
FD_ALONE void FD_LOCAL(normal_log_prob_beyond)(intptr_t n, REAL *out, const REAL *x, intptr_t x_step, const REAL *loc,
                                               intptr_t loc_step, const REAL *scale, intptr_t scale_step)
{
    for (intptr_t i = 0; i < n; i++)
        if (out[i] < -REAL_MAX) {
            const double sd = (double)scale[i * scale_step];
            const double half_z = fd_half_standardized((double)x[i * x_step], (double)loc[i * loc_step], sd);
            double log_sd[f64v_lanes];
            f64v_store(log_sd, FD_STREAM(log)(f64v_set1(sd)));
            out[i] = (REAL)(-2 * half_z * half_z - (log_sd[0] + FD_HALF_LOG_2PI));
        }
}

/* m elements from the i-th on. */
FD_INLINE VEC FD_LOCAL(normal_log_prob_vector)(intptr_t i, intptr_t m, REAL *out, const REAL *x, intptr_t x_step,
                                               const REAL *log_scale, const REAL *loc, const REAL *scale,
                                               int loc_step, int scale_step)
{
    const VEC value = FD_LOCAL(pick_to)(x, x_step, i, m), location = FD_LOCAL(pick_to)(loc, loc_step, i, m);
    const VEC sd = FD_LOCAL(pick_scale)(scale + i * scale_step, scale_step, m);
    const VEC constant = V(add)(FD_LOCAL(pick_to)(log_scale, scale_step, i, m), V(set1)((REAL)FD_HALF_LOG_2PI));
    const VEC z = V(div)(V(sub)(value, location), sd);
    const VEC y = V(sub)(V(mul)(V(mul)(V(set1)((REAL)-0.5), z), z), constant);
    FD_LOCAL(store_to)(out + i, y, m);
    return y;
}

FD_INLINE void FD_LOCAL(normal_log_prob_run)(intptr_t n, REAL *out, const REAL *x, intptr_t x_step,
                                             const REAL *log_scale, const REAL *loc,
                                             const REAL *scale, int loc_step, int scale_step)
{
    enum { LANES = V(lanes) };
    const VEC zero = V(set1)(0);
    VEC y, finite = zero; /* a sum of 0 y: NaN if any y is infinite or NaN */
    intptr_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        y = FD_LOCAL(normal_log_prob_vector)(i, LANES, out, x, x_step, log_scale, loc, scale, loc_step, scale_step);
        finite = V(fma)(y, zero, finite);
    }
    if (i < n) {
        y = FD_LOCAL(normal_log_prob_vector)(i, n - i, out, x, x_step, log_scale, loc, scale, loc_step, scale_step);
        finite = V(fma)(y, zero, finite);
    }
    if (FD_UNLIKELY(!FD_LOCAL(all_finite)(finite)))
        FD_LOCAL(normal_log_prob_beyond)(n, out, x, x_step, loc, loc_step, scale, scale_step);
}

static void FD_NAME(normal_log_prob)(const fd_job *job, intptr_t begin, intptr_t end)
{
    const intptr_t loc_step = STEP(2), scale_step = STEP(3);
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
        FD_BY_STEPS(FD_LOCAL(normal_log_prob_run), run.n, AT(0), AT(1), STEP(1), AT(4), AT(2), AT(3));
}

/* ---- sums over events ---------------------------------------------------------------
 * In an order that depends on nothing but the event's size, so that layout, broadcast and
 * vector width leave the bits alone: lane j of the accumulators takes elements j, j + lanes, ...
 * of a chunk, the lanes are added halves onto halves, the chunks' totals in double. A float32
 * sum of any length is thus right to some 64 roundings. */
enum { FD_LOCAL(sum_lanes) = FD_SUM_BYTES / sizeof(REAL), FD_LOCAL(sum_chunk) = 1024 };

/* What is summed: the elements; the squares of the standardized ones, for a log density; or those of their
 * halves, where that overflowed (literals). */
enum { FD_LOCAL(plain), FD_LOCAL(squared), FD_LOCAL(halved) };

FD_INLINE double FD_LOCAL(sum_of_chunk)(int what, intptr_t n, const REAL *x)
{
    enum { N = FD_LOCAL(sum_lanes), N_VEC = N / V(lanes) };
    VEC sum[N_VEC];
    for (int j = 0; j < N_VEC; j++)
        sum[j] = V(set1)(0);
    for (intptr_t i = 0; i < n; i += N)
        for (int j = 0; j < N_VEC; j++) {
            const intptr_t at = i + j * V(lanes), m = n - at;
            if (m <= 0)
                break;
            const VEC y = m >= V(lanes) ? V(load)(x + at) : V(load_first)(x + at, m);
            sum[j] = what == FD_LOCAL(plain) ? V(add)(y, sum[j]) : V(fma)(y, y, sum[j]);
        }
    REAL lane[N];
    for (int j = 0; j < N_VEC; j++)
        V(store)(lane + j * V(lanes), sum[j]);
    for (int half = N / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return (double)lane[0];
}

FD_INLINE void FD_LOCAL(standardize_run)(intptr_t n, REAL *z, const REAL *x, intptr_t x_step,
                                         const REAL *loc, const REAL *scale, int loc_step, int scale_step)
{
    for (intptr_t i = 0; i < n; i += V(lanes)) {
        const intptr_t m = n - i;
        if (m >= V(lanes)) {
            const VEC y = V(sub)(FD_LOCAL(pick)(x, x_step, i), FD_LOCAL(pick)(loc, loc_step, i));
            V(store)(z + i, V(div)(y, FD_LOCAL(pick)(scale, scale_step, i)));
        } else {
            const VEC y = V(sub)(FD_LOCAL(pick_first)(x, x_step, i, m), FD_LOCAL(pick_first)(loc, loc_step, i, m));
            V(store_first)(z + i, V(div)(y, FD_LOCAL(pick_first)(scale, scale_step, i, m)), m);
        }
    }
}

FD_INLINE void FD_LOCAL(standardize_halves)(intptr_t n, REAL *half_z, const REAL *x, intptr_t x_step,
                                            const REAL *loc, intptr_t loc_step, const REAL *scale,
                                            intptr_t scale_step)
{
    for (intptr_t i = 0; i < n; i++)
        half_z[i] = (REAL)fd_half_standardized((double)x[i * x_step], (double)loc[i * loc_step],
                                               (double)scale[i * scale_step]);
}

static void FD_LOCAL(event_beyond)(const fd_job *job, intptr_t begin);

/* Gathers events chunk by chunk from the runs they come in, and adds up each. */
FD_INLINE void FD_LOCAL(sum_runs)(int what, const fd_job *job, intptr_t begin, intptr_t end)
{
    enum { CHUNK = FD_LOCAL(sum_chunk) };
    const intptr_t loc_step = STEP(2), scale_step = STEP(3);
    REAL chunk[CHUNK];
    intptr_t filled = 0, left = job->dim; /* elements in the chunk; of the event, still to come */
    intptr_t first = begin; /* item of the event */
    double total = 0;
    for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run)) {
        intptr_t n;
        for (intptr_t i = 0; i < run.n; i += n) {
            n = fd_min(fd_min(run.n - i, CHUNK - filled), left);
            const REAL *x = AT(1) + i * STEP(1);
            const REAL *loc = AT(2) + i * loc_step, *scale = AT(3) + i * scale_step; /* unless plain */
            if (what == FD_LOCAL(squared)) {
                FD_BY_STEPS(FD_LOCAL(standardize_run), n, chunk + filled, x, STEP(1), loc, scale);
            } else if (what == FD_LOCAL(halved)) {
                FD_LOCAL(standardize_halves)(n, chunk + filled, x, STEP(1), loc, loc_step, scale, scale_step);
            } else {
                for (intptr_t k = 0; k < n; k++)
                    chunk[filled + k] = x[k * STEP(1)];
            }
            filled += n;
            left -= n;
            if (filled == CHUNK || left == 0) {
                total += FD_LOCAL(sum_of_chunk)(what, filled, chunk);
                filled = 0;
            }
            if (left == 0) {
                REAL *out = AT(0) + i * STEP(0);
                if (what == FD_LOCAL(plain))
                    *out += (REAL)total;
                else
                    *out = (what == FD_LOCAL(squared) ? (REAL)-0.5 : -2) * (REAL)total - AT(4)[i * STEP(4)];
                if (what == FD_LOCAL(squared) && FD_UNLIKELY((REAL)total > REAL_MAX))
                    FD_LOCAL(event_beyond)(job, first);
                total = 0;
                left = job->dim;
                first += left;
            }
        }
    }
}

/* The log density of the event that begins with an item, where it was -inf. */
FD_ALONE void FD_LOCAL(event_beyond)(const fd_job *job, intptr_t begin)
{
    FD_LOCAL(sum_runs)(FD_LOCAL(halved), job, begin, begin + job->dim);
}

static void FD_NAME(normal_log_prob_events)(const fd_job *job, intptr_t begin, intptr_t end)
{
    FD_LOCAL(sum_runs)(FD_LOCAL(squared), job, begin, end);
}

static void FD_NAME(sum_events)(const fd_job *job, intptr_t begin, intptr_t end)
{
    FD_LOCAL(sum_runs)(FD_LOCAL(plain), job, begin, end);
}
#undef FD_BY_STEPS
