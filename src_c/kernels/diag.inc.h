/* kernels/diag.inc.h - diagonal scale: colour, logarithms, log densities. Memory bound
 * but for the division; the four patterns of broadcast (loc and scale each a row or one
 * number) are one body each, specialised by the constant strides. */

/* ---- strips ---------------------------------------------------------------------------
 * Neighbouring items that all operands go along by strides of 0 or 1: a run of the loop, or a block of short runs,
 * where a run alone takes longer to begin than to do. An operand that does not lie there in one piece, as a row that
 * all runs of the block repeat, is first put together in `room`. */
enum { FD_LOCAL(short_run) = 64, FD_LOCAL(few) = 6, FD_LOCAL(strip_room) = 1024 / sizeof(REAL) };

typedef REAL FD_LOCAL(room)[FD_LOCAL(strip_room) + V(lanes)];

typedef struct FD_LOCAL(strip) {
    intptr_t n_run, done; /* runs of the block that begins with the present one, and how many of them are done */
    intptr_t n;           /* items of the strip */
    unsigned filled;      /* which operands (bits) have been put together for it */
    REAL *at[FD_MAX_OPERAND];
    intptr_t stride[FD_MAX_OPERAND];
} FD_LOCAL(strip);

/* n_run runs of n items of an operand, ld apart. Vectors are stored whole: the next run covers what is too
 * much. */
FD_ALONE void FD_LOCAL(put_side_by_side)(intptr_t n_run, intptr_t n, REAL *room, const REAL *p, intptr_t ld,
                                         intptr_t stride)
{
    const intptr_t size = n_run * n;
    if (ld == 0)
        n_run = 1; /* then doubled */
    for (intptr_t r = 0; r < n_run; r++)
        for (intptr_t i = 0; i < n; i += V(lanes))
            V(store)(room + r * n + i, FD_LOCAL(pick_to)(p + r * ld, stride, i, n - i));
    for (intptr_t done = n_run * n; done < size; done *= 2)
        for (intptr_t i = 0; i < done && done + i < size; i += V(lanes))
            V(store)(room + done + i, V(load)(room + i));
}

/* The next strip, false after the last one. The first n_written of n_operand operands, both compile-time
 * constants, stay where they are; there is room for each of the others. */
FD_INLINE int FD_LOCAL(next_strip)(const fd_loop *loop, fd_run *run, int n_operand, int n_written,
                                   FD_LOCAL(strip) *strip, FD_LOCAL(room) *room)
{
    const int last = loop->ndim - 1;
    if (strip->done == strip->n_run) {
        if (strip->n_run > 0) {
            fd_run_skip(loop, run, strip->n_run);
            fd_run_next(loop, run);
        }
        strip->done = 0;
        strip->n_run = 1;
        int is_short = last > 0 && loop->shape[last] <= FD_LOCAL(short_run);
        for (int k = 0; k < n_written; k++)
            is_short = is_short && loop->stride[k][last - 1] == run->n;
        if (is_short) {
            const intptr_t n_run = fd_run_rows(loop, run);
            strip->n_run = n_run > FD_LOCAL(few) ? n_run : 1;
        }
    }
    const intptr_t n = strip->n = run->n;
    strip->filled = 0;
    if (strip->n_run == 1) {
        strip->done = 1;
        FD_UNROLL
        for (int k = 0; k < n_operand; k++) {
            strip->at[k] = (REAL *)loop->operand[k] + run->offset[k];
            strip->stride[k] = STRIDE(k);
        }
        return n > 0;
    }
    const intptr_t n_run = fd_min(strip->n_run - strip->done, FD_LOCAL(strip_room) / n);
    strip->n = n_run * n;
    FD_UNROLL
    for (int k = 0; k < n_operand; k++) {
        const intptr_t ld = loop->stride[k][last - 1], stride = STRIDE(k);
        strip->at[k] = (REAL *)loop->operand[k] + run->offset[k] + strip->done * ld;
        strip->stride[k] = stride;
        if (k >= n_written && ld != stride * n) {
            REAL *to = room[k - n_written];
            if (ld != 0 || strip->done == 0) {
                FD_LOCAL(put_side_by_side)(n_run, n, to, strip->at[k], ld, stride);
                strip->filled |= 1u << k;
            }
            strip->at[k] = to;
            strip->stride[k] = 1;
        }
    }
    strip->done += n_run;
    return 1;
}

/* Element i of an operand whose stride is 0 or 1. */
FD_INLINE VEC FD_LOCAL(pick)(const REAL *p, intptr_t stride, intptr_t i)
{
    return stride ? V(load)(p + i) : V(set1)(*p);
}

FD_INLINE VEC FD_LOCAL(pick_first)(const REAL *p, intptr_t stride, intptr_t i, intptr_t n)
{
    return stride ? V(load_first)(p + i, n) : V(set1)(*p);
}

/* Calls run_body(args..., loc stride, scale stride) with the strides as compile-time constants. */
#define FD_BY_STRIDES(call, ...)                                                                 \
    do {                                                                                       \
        if (loc_stride && scale_stride)                                                        \
            call(__VA_ARGS__, 1, 1);                                                           \
        else if (loc_stride)                                                                   \
            call(__VA_ARGS__, 1, 0);                                                           \
        else if (scale_stride)                                                                 \
            call(__VA_ARGS__, 0, 1);                                                           \
        else                                                                                   \
            call(__VA_ARGS__, 0, 0);                                                           \
    } while (0)

FD_INLINE void FD_LOCAL(colorize_diag_run)(intptr_t n, REAL *x, const REAL *loc, const REAL *scale,
                                           int loc_stride, int scale_stride)
{
    intptr_t i = 0;
    for (; i + V(lanes) <= n; i += V(lanes)) {
        const VEC y = V(mul)(FD_LOCAL(pick)(scale, scale_stride, i), V(load)(x + i));
        V(store)(x + i, V(add)(FD_LOCAL(pick)(loc, loc_stride, i), y));
    }
    if (i < n) {
        const intptr_t m = n - i;
        const VEC y = V(mul)(FD_LOCAL(pick_first)(scale, scale_stride, i, m), V(load_first)(x + i, m));
        V(store_first)(x + i, V(add)(FD_LOCAL(pick_first)(loc, loc_stride, i, m), y), m);
    }
}

static void FD_NAME(colorize_diag)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(room) room[2];
    FD_LOCAL(strip) s = {0};
    fd_run run;
    fd_run_start(loop, &run, begin, end);
    while (FD_LOCAL(next_strip)(loop, &run, 3, 1, &s, room)) {
        const intptr_t loc_stride = s.stride[1], scale_stride = s.stride[2];
        FD_BY_STRIDES(FD_LOCAL(colorize_diag_run), s.n, s.at[0], s.at[1], s.at[2]);
    }
}

static void FD_NAME(log)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    fd_run run;
    for (fd_run_start(loop, &run, begin, end); run.n > 0; fd_run_next(loop, &run)) {
        FD_STREAM(FD_LOCAL(log))(STRIDE(1) ? run.n : 1, AT(0), AT(1));
        for (intptr_t i = 1; i < run.n && STRIDE(1) == 0; i++)
            AT(0)[i] = AT(0)[0];
    }
}

/* log(2 pi) / 2 */
#define FD_HALF_LOG_2PI 0.91893853320467274178

/* Of n log densities those that are -inf. The logarithms may have been where these are. */
FD_ALONE void FD_LOCAL(normal_log_prob_beyond)(intptr_t n, REAL *out, const REAL *x, intptr_t x_stride, const REAL *loc,
                                               intptr_t loc_stride, const REAL *scale, intptr_t scale_stride)
{
    for (intptr_t i = 0; i < n; i++)
        if (out[i] < -REAL_MAX) {
            const double sd = (double)scale[i * scale_stride];
            const double half_z = fd_half_standardized((double)x[i * x_stride], (double)loc[i * loc_stride], sd);
            double log_sd[f64v_lanes];
            f64v_store(log_sd, FD_STREAM(log)(f64v_set1(sd)));
            out[i] = (REAL)(-2 * half_z * half_z - (log_sd[0] + FD_HALF_LOG_2PI));
        }
}

/* m elements from the i-th on; of an `event` (a compile-time constant) each, as sums over events are made. */
FD_INLINE VEC FD_LOCAL(normal_log_prob_vector)(int event, intptr_t i, intptr_t m, REAL *out, const REAL *x,
                                               intptr_t x_stride, const REAL *constant, intptr_t constant_stride,
                                               const REAL *loc, const REAL *scale, int loc_stride, int scale_stride)
{
    const VEC value = FD_LOCAL(pick_to)(x, x_stride, i, m), location = FD_LOCAL(pick_to)(loc, loc_stride, i, m);
    const VEC sd = FD_LOCAL(pick_scale)(scale + i * scale_stride, scale_stride, m);
    const VEC z = V(div)(V(sub)(value, location), sd), minus_half = V(set1)((REAL)-0.5);
    const VEC square = event ? V(mul)(minus_half, V(mul)(z, z)) : V(mul)(V(mul)(minus_half, z), z);
    const VEC normalizer = FD_LOCAL(pick_to)(constant, event ? constant_stride : scale_stride, i, m);
    const VEC y = V(sub)(square, event ? normalizer : V(add)(normalizer, V(set1)((REAL)FD_HALF_LOG_2PI)));
    FD_LOCAL(store_to)(out + i, y, m);
    return y;
}

/* Whether all of n densities are finite; the constant is log_scale, which goes with scale, unless of events. */
FD_INLINE int FD_LOCAL(normal_log_prob_run)(int event, intptr_t n, REAL *out, const REAL *x, intptr_t x_stride,
                                            const REAL *constant, intptr_t constant_stride, const REAL *loc,
                                            const REAL *scale, int loc_stride, int scale_stride)
{
    enum { LANES = V(lanes) };
    const VEC zero = V(set1)(0);
    VEC y, finite = zero; /* a sum of 0 y: NaN if any y is infinite or NaN */
    intptr_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        y = FD_LOCAL(normal_log_prob_vector)(event, i, LANES, out, x, x_stride, constant, constant_stride, loc, scale,
                                             loc_stride, scale_stride);
        finite = V(fma)(y, zero, finite);
    }
    if (i < n) {
        y = FD_LOCAL(normal_log_prob_vector)(event, i, n - i, out, x, x_stride, constant, constant_stride, loc, scale,
                                             loc_stride, scale_stride);
        finite = V(fma)(y, zero, finite);
    }
    return FD_LOCAL(all_finite)(finite);
}

static void FD_NAME(normal_log_prob)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(room) room[4];
    FD_LOCAL(strip) s = {0};
    fd_run run;
    fd_run_start(loop, &run, begin, end);
    while (FD_LOCAL(next_strip)(loop, &run, 5, 1, &s, room)) {
        const intptr_t loc_stride = s.stride[2], scale_stride = s.stride[3];
        int finite;
        FD_BY_STRIDES(finite = FD_LOCAL(normal_log_prob_run), 0, s.n, s.at[0], s.at[1], s.stride[1], s.at[4], s.stride[4],
                    s.at[2], s.at[3]);
        if (FD_UNLIKELY(!finite))
            FD_LOCAL(normal_log_prob_beyond)(s.n, s.at[0], s.at[1], s.stride[1], s.at[2], loc_stride, s.at[3],
                                             scale_stride);
    }
}

/* ---- sums over events ---------------------------------------------------------------
 * In an order that depends on nothing but the event's size, so that layout, broadcast and
 * vector width leave the bits alone: lane j of the accumulators takes elements j, j + lanes, ...
 * of a chunk, the lanes are added halves onto halves, the chunks' totals in double. A float32
 * sum of any length is thus right to some 64 roundings. */
enum { FD_LOCAL(sum_lanes) = FD_SUM_BYTES / sizeof(REAL), FD_LOCAL(sum_chunk) = 1024 };

/* What is summed: the elements; their logarithms; divergences; the squares of the standardized ones, for a log density;
 * or those of their halves, where that overflowed (compile-time constants). Logarithms are one of a product: of
 * mantissas, multiplied in the order of sums, while exponents are added up. */
enum { FD_LOCAL(plain), FD_LOCAL(logs), FD_LOCAL(divergences), FD_LOCAL(squared), FD_LOCAL(halved), FD_LOCAL(products) };

/* 1 / q of scales q that were seen last: normal_kl.inc.h. */
enum { FD_LOCAL(kl_kept) = 256 };

typedef struct FD_LOCAL(kl_reciprocals) {
    const REAL *q;
    intptr_t n;
    REAL over_q[FD_LOCAL(kl_kept)];
} FD_LOCAL(kl_reciprocals);

/* n divergences of loc_p, scale_p, loc_q, scale_q. */
static void FD_LOCAL(normal_kl_run)(intptr_t n, REAL *out, REAL *const *at, const intptr_t *stride,
                                    FD_LOCAL(kl_reciprocals) *kept);

FD_INLINE VEC FD_LOCAL(add_term)(int what, VEC y, VEC sum)
{
    if (what == FD_LOCAL(products))
        return V(mul)(y, sum);
    return what <= FD_LOCAL(divergences) ? V(add)(y, sum) : V(fma)(y, y, sum);
}

/* Where some x is not a positive normal number: NaN for NaN and below zero, exponents of infinity for it and zero. */
FD_ALONE VEC FD_LOCAL(split_beyond)(VEC x, VEC *k)
{
    REAL m[V(lanes)], exponent[V(lanes)];
    V(store)(m, x);
    for (int j = 0; j < V(lanes); j++) {
        REAL lane[V(lanes)];
        const int tiny = m[j] < REAL_MIN, ends = m[j] == 0 || m[j] > REAL_MAX;
        const VEC normal = V(set1)(ends ? 1 : m[j] > 0 ? tiny ? m[j] * REAL_LDEXP(1, 54) : m[j] : 1);
        VEC of_normal;
        const VEC mantissa = FD_LOCAL(split)(normal, &of_normal);
        V(store)(lane, of_normal);
        exponent[j] = ends ? (m[j] > 0 ? (REAL)INFINITY : -(REAL)INFINITY) : lane[0] - (tiny ? 54 : 0);
        V(store)(lane, mantissa);
        m[j] = ends || m[j] > 0 ? lane[0] : (REAL)NAN;
    }
    *k = V(load)(exponent);
    return V(load)(m);
}

/* Mantissas and exponents of numbers that have logarithms. */
FD_INLINE VEC FD_LOCAL(split_any)(VEC x, VEC *k)
{
    const unsigned normal = ~V(below)(x, V(set1)(REAL_MIN)) & V(below)(x, V(set1)((REAL)INFINITY));
    if (FD_UNLIKELY(normal != (1u << V(lanes)) - 1))
        return FD_LOCAL(split_beyond)(x, k);
    return FD_LOCAL(split)(x, k);
}

/* The logarithm of a chunk's product. Lanes' products, of up to 128 mantissas, are split again before they are
 * multiplied with each other. */
FD_ALONE double FD_LOCAL(log_of_chunk)(intptr_t n, const REAL *x)
{
    enum { N = FD_LOCAL(sum_lanes), N_VEC = N / V(lanes) };
    VEC product[N_VEC], exponent[N_VEC], k;
    for (int j = 0; j < N_VEC; j++) {
        product[j] = V(set1)(1);
        exponent[j] = V(set1)(0);
    }
    for (intptr_t i = 0; i < n; i += N)
        for (int j = 0; j < N_VEC; j++) {
            const intptr_t at = i + j * V(lanes), m = n - at;
            if (m <= 0)
                break;
            const VEC y = m >= V(lanes) ? V(load)(x + at)
                                        : V(select)((1u << m) - 1, V(load_first)(x + at, m), V(set1)(1));
            product[j] = V(mul)(FD_LOCAL(split_any)(y, &k), product[j]);
            exponent[j] = V(add)(k, exponent[j]);
        }
    REAL lane[N], lane_exponent[N];
    for (int j = 0; j < N_VEC; j++) {
        V(store)(lane + j * V(lanes), FD_LOCAL(split_any)(product[j], &k));
        V(store)(lane_exponent + j * V(lanes), V(add)(k, exponent[j]));
    }
    for (int half = N / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++) {
            lane[j] *= lane[j + half];
            lane_exponent[j] += lane_exponent[j + half];
        }
    return FD_STREAM(log_of_product)((double)lane[0], (double)lane_exponent[0]);
}

/* Logarithms of n products and their exponents, in the place of these. Vectors are read and written whole. */
FD_INLINE void FD_LOCAL(log_of_products)(intptr_t n, REAL *product, const REAL *exponent)
{
    for (intptr_t i = 0; i < n; i += V(lanes)) {
        const VEC m = V(load)(product + i), k = V(load)(exponent + i);
#if REAL_IS_DOUBLE
        V(store)(product + i, FD_STREAM(log_of_product_vector)(m, k));
#else
        const f64v low = FD_STREAM(log_of_product_vector)(f64v_low(m), f64v_low(k));
        const int wide = (int)f32v_lanes > (int)f64v_lanes;
        const f64v high = wide ? FD_STREAM(log_of_product_vector)(f64v_high(m), f64v_high(k)) : low;
        V(store)(product + i, f32v_narrow(low, high));
#endif
    }
}

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
            sum[j] = FD_LOCAL(add_term)(what, y, sum[j]);
        }
    REAL lane[N];
    for (int j = 0; j < N_VEC; j++)
        V(store)(lane + j * V(lanes), sum[j]);
    for (int half = N / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return (double)lane[0];
}

FD_INLINE void FD_LOCAL(standardize_run)(intptr_t n, REAL *z, const REAL *x, intptr_t x_stride,
                                         const REAL *loc, const REAL *scale, int loc_stride, int scale_stride)
{
    for (intptr_t i = 0; i < n; i += V(lanes)) {
        const intptr_t m = n - i;
        if (m >= V(lanes)) {
            const VEC y = V(sub)(FD_LOCAL(pick)(x, x_stride, i), FD_LOCAL(pick)(loc, loc_stride, i));
            V(store)(z + i, V(div)(y, FD_LOCAL(pick)(scale, scale_stride, i)));
        } else {
            const VEC y = V(sub)(FD_LOCAL(pick_first)(x, x_stride, i, m), FD_LOCAL(pick_first)(loc, loc_stride, i, m));
            V(store_first)(z + i, V(div)(y, FD_LOCAL(pick_first)(scale, scale_stride, i, m)), m);
        }
    }
}

FD_INLINE void FD_LOCAL(standardize_halves)(intptr_t n, REAL *half_z, const REAL *x, intptr_t x_stride,
                                            const REAL *loc, intptr_t loc_stride, const REAL *scale,
                                            intptr_t scale_stride)
{
    for (intptr_t i = 0; i < n; i++)
        half_z[i] = (REAL)fd_half_standardized((double)x[i * x_stride], (double)loc[i * loc_stride],
                                               (double)scale[i * scale_stride]);
}

static void FD_LOCAL(event_beyond)(const fd_loop *loop, intptr_t begin);

/* Gathers events chunk by chunk from the runs they come in, and adds up each. */
FD_INLINE void FD_LOCAL(sum_runs)(int what, const fd_loop *loop, intptr_t begin, intptr_t end)
{
    enum { CHUNK = FD_LOCAL(sum_chunk) };
    const intptr_t loc_stride = STRIDE(2), scale_stride = STRIDE(3);
    const intptr_t stride[4] = {STRIDE(1), loc_stride, scale_stride, STRIDE(4)};
    FD_LOCAL(kl_reciprocals) kept;
    REAL chunk[CHUNK];
    kept.q = NULL;
    intptr_t filled = 0, left = loop->dim; /* elements in the chunk; of the event, still to come */
    intptr_t first = begin; /* item of the event */
    double total = 0;
    fd_run run;
    for (fd_run_start(loop, &run, begin, end); run.n > 0; fd_run_next(loop, &run)) {
        intptr_t n;
        for (intptr_t i = 0; i < run.n; i += n) {
            n = fd_min(fd_min(run.n - i, CHUNK - filled), left);
            const REAL *x = AT(1) + i * STRIDE(1);
            const REAL *loc = AT(2) + i * loc_stride, *scale = AT(3) + i * scale_stride; /* unless plain */
            if (what == FD_LOCAL(squared)) {
                FD_BY_STRIDES(FD_LOCAL(standardize_run), n, chunk + filled, x, STRIDE(1), loc, scale);
            } else if (what == FD_LOCAL(halved)) {
                FD_LOCAL(standardize_halves)(n, chunk + filled, x, STRIDE(1), loc, loc_stride, scale, scale_stride);
            } else if (what == FD_LOCAL(divergences)) {
                REAL *const at[4] = {(REAL *)x, (REAL *)loc, (REAL *)scale, AT(4) + i * stride[3]};
                FD_LOCAL(normal_kl_run)(n, chunk + filled, at, stride, &kept);
            } else {
                for (intptr_t k = 0; k < n; k++)
                    chunk[filled + k] = x[k * STRIDE(1)];
            }
            filled += n;
            left -= n;
            if (filled == CHUNK || left == 0) {
                total += what == FD_LOCAL(logs) ? FD_LOCAL(log_of_chunk)(filled, chunk)
                                                : FD_LOCAL(sum_of_chunk)(what, filled, chunk);
                filled = 0;
            }
            if (left == 0) {
                REAL *out = AT(0) + i * STRIDE(0);
                if (what <= FD_LOCAL(divergences))
                    *out += (REAL)total;
                else
                    *out = (what == FD_LOCAL(squared) ? (REAL)-0.5 : -2) * (REAL)total - AT(4)[i * STRIDE(4)];
                if (what == FD_LOCAL(squared) && FD_UNLIKELY((REAL)total > REAL_MAX))
                    FD_LOCAL(event_beyond)(loop, first);
                total = 0;
                left = loop->dim;
                first += left;
            }
        }
    }
}

/* The log density of the event that begins with an item, where it was -inf. */
FD_ALONE void FD_LOCAL(event_beyond)(const fd_loop *loop, intptr_t begin)
{
    FD_LOCAL(sum_runs)(FD_LOCAL(halved), loop, begin, begin + loop->dim);
}

/* Functions of their own for each. */
FD_ALONE void FD_LOCAL(sum_squares)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(sum_runs)(FD_LOCAL(squared), loop, begin, end);
}

FD_ALONE void FD_LOCAL(sum_elements)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(sum_runs)(FD_LOCAL(plain), loop, begin, end);
}

FD_ALONE void FD_LOCAL(sum_logarithms)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(sum_runs)(FD_LOCAL(logs), loop, begin, end);
}

FD_ALONE void FD_LOCAL(sum_divergences)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(sum_runs)(FD_LOCAL(divergences), loop, begin, end);
}

static void FD_NAME(whiten_diag)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_LOCAL(room) room[3];
    FD_LOCAL(strip) s = {0};
    fd_run run;
    fd_run_start(loop, &run, begin, end);
    while (FD_LOCAL(next_strip)(loop, &run, 4, 1, &s, room)) {
        const intptr_t loc_stride = s.stride[2], scale_stride = s.stride[3];
        FD_BY_STRIDES(FD_LOCAL(standardize_run), s.n, s.at[0], s.at[1], s.stride[1], s.at[2], s.at[3]);
        int finite = 1;
        for (intptr_t i = 0; i < s.n; i++)
            finite &= isfinite(s.at[0][i]) != 0;
        for (intptr_t i = 0; FD_UNLIKELY(!finite) && i < s.n; i++)
            if (!isfinite(s.at[0][i]))
                s.at[0][i] = (REAL)(2 * fd_half_standardized((double)s.at[1][i * s.stride[1]],
                                                             (double)s.at[2][i * loc_stride],
                                                             (double)s.at[3][i * scale_stride]));
    }
}

/* ---- short events ----------------------------------------------------------------------
 * The same sums of many events at a time, an event a lane: alone, each would wait for its own last stride. Terms are
 * made as if there were no events, then added up. */
enum { FD_LOCAL(short_event) = 3 * FD_LOCAL(sum_lanes), FD_LOCAL(events_room) = 4096 / sizeof(REAL) };

/* The first ndim dims of a loop, with n_operand of its operands. */
static void FD_LOCAL(part_of_loop)(fd_loop *part, const fd_loop *loop, int ndim, int n_operand, const int *which)
{
    part->ndim = ndim;
    for (int d = 0; d < ndim; d++)
        part->shape[d] = loop->shape[d];
    for (int k = 0; k < n_operand; k++) {
        part->operand[k] = loop->operand[which[k]];
        for (int d = 0; d < ndim; d++)
            part->stride[k][d] = loop->stride[which[k]][d];
    }
    fd_loop_coalesce(part, n_operand);
}

/* How many operands terms are made of. */
FD_INLINE int FD_LOCAL(operands_of_terms)(int what)
{
    return what <= FD_LOCAL(logs) ? 1 : what == FD_LOCAL(divergences) ? 4 : 3;
}

/* The terms of items begin to end, but for squaring, to z. */
FD_INLINE void FD_LOCAL(gather_terms)(int what, const fd_loop *loop, intptr_t begin, intptr_t end, REAL *z)
{
    FD_LOCAL(room) room[4];
    FD_LOCAL(strip) s = {0};
    FD_LOCAL(kl_reciprocals) kept;
    kept.q = NULL;
    fd_run run;
    fd_run_start(loop, &run, begin, end);
    while (FD_LOCAL(next_strip)(loop, &run, FD_LOCAL(operands_of_terms)(what), 0, &s, room)) {
        const intptr_t loc_stride = s.stride[1], scale_stride = s.stride[2];
        if (what == FD_LOCAL(divergences)) {
            /* Scales that differ from run to run may come in the same room. */
            if (s.n == s.done * run.n || loop->stride[3][loop->ndim - 2] != 0)
                kept.q = NULL;
            FD_LOCAL(normal_kl_run)(s.n, z, s.at, s.stride, &kept);
        } else if (what == FD_LOCAL(squared))
            FD_BY_STRIDES(FD_LOCAL(standardize_run), s.n, z, s.at[0], s.stride[0], s.at[1], s.at[2]);
        else
            for (intptr_t i = 0; i < s.n; i += V(lanes))
                FD_LOCAL(store_to)(z + i, FD_LOCAL(pick_to)(s.at[0], s.stride[0], i, s.n - i), s.n - i);
        z += s.n;
    }
}

/* Adds the first m of n_col terms (a compile-time constant) of each of a vector of events to as many sums. */
FD_INLINE void FD_LOCAL(add_terms_of_events)(int what, int n_col, intptr_t m, intptr_t dim, const REAL *z, VEC *sum)
{
    enum { LANES = V(lanes) };
    VEC v[LANES];
    if (2 * n_col > LANES)
        V(load_square)(v, z, dim, LANES);
    else
        V(load_square)(v, z, dim, LANES / 2);
    FD_UNROLL
    for (int c = 0; c < n_col; c++)
        if (c < m)
            sum[c] = FD_LOCAL(add_term)(what, v[c], sum[c]);
}

FD_INLINE void FD_LOCAL(fold)(int what, int half, VEC *sum)
{
    FD_UNROLL
    for (int j = 0; j < half; j++)
        sum[j] = what == FD_LOCAL(products) ? V(mul)(sum[j], sum[j + half]) : V(add)(sum[j], sum[j + half]);
}

/* The sums of a vector of events, or products. Each is added up as by sum_of_chunk, whose accumulators beyond an
 * event stay 0: here are `width` of them (a compile-time constant), enough for the event, or all. */
FD_INLINE VEC FD_LOCAL(sum_lanewise)(int what, int width, intptr_t dim, const REAL *z)
{
    enum { N = FD_LOCAL(sum_lanes), LANES = V(lanes) };
    const VEC none = V(set1)(what == FD_LOCAL(products));
    if (width == 2 && LANES >= 2) {
        const VEC a = V(load)(z), b = V(load)(z + LANES);
        VEC both[2] = {FD_LOCAL(add_term)(what, V(evens)(a, b), none), FD_LOCAL(add_term)(what, V(odds)(a, b), none)};
        FD_LOCAL(fold)(what, 1, both);
        return both[0];
    }
    VEC sum[N];
    FD_UNROLL
    for (int j = 0; j < N; j++)
        sum[j] = none;
    for (intptr_t i = 0; i < (width < N ? 1 : dim); i += N) {
        FD_UNROLL
        for (int j = 0; j < width; j += LANES) {
            const intptr_t m = dim - i - j;
            if (m > 0)
                FD_LOCAL(add_terms_of_events)(what, width < LANES ? width : LANES, m, dim, z + i + j, sum + j);
        }
    }
    if (width > 8)
        FD_LOCAL(fold)(what, 8, sum);
    if (width > 4)
        FD_LOCAL(fold)(what, 4, sum);
    if (width > 2)
        FD_LOCAL(fold)(what, 2, sum);
    FD_LOCAL(fold)(what, 1, sum);
    return sum[0];
}

/* Sums of n events, in the place of their terms. Vectors are read whole. */
FD_INLINE void FD_LOCAL(sum_width_side_by_side)(int what, int width, intptr_t n, intptr_t dim, REAL *z)
{
    for (intptr_t r = 0; r < n; r += V(lanes))
        V(store)(z + r, FD_LOCAL(sum_lanewise)(what, width, dim, z + r * dim));
}

FD_INLINE void FD_LOCAL(sum_side_by_side)(int what, intptr_t n, intptr_t dim, REAL *z)
{
    if (dim == 2)
        FD_LOCAL(sum_width_side_by_side)(what, 2, n, dim, z);
    else if (dim <= 4)
        FD_LOCAL(sum_width_side_by_side)(what, 4, n, dim, z);
    else if (dim <= 8)
        FD_LOCAL(sum_width_side_by_side)(what, 8, n, dim, z);
    else
        FD_LOCAL(sum_width_side_by_side)(what, FD_LOCAL(sum_lanes), n, dim, z);
}

/* Sums of the logarithms of n events, in the place of their elements. */
FD_ALONE void FD_LOCAL(logs_side_by_side)(intptr_t n, intptr_t dim, REAL *z)
{
    REAL exponent[FD_LOCAL(events_room) + V(lanes)];
    for (intptr_t i = 0; i < n * dim; i += V(lanes)) {
        VEC k;
        const intptr_t m = n * dim - i;
        const VEC x = FD_LOCAL(load_to)(z + i, m);
        const VEC mantissa = FD_LOCAL(split_any)(m < V(lanes) ? V(select)((1u << m) - 1, x, V(set1)(1)) : x, &k);
        V(store)(z + i, mantissa);
        V(store)(exponent + i, k);
    }
    FD_LOCAL(sum_side_by_side)(FD_LOCAL(products), n, dim, z);
    FD_LOCAL(sum_side_by_side)(FD_LOCAL(plain), n, dim, exponent);
    FD_LOCAL(log_of_products)(n, z, exponent);
}

/* From sums to results. Whether a sum of squares is beyond the range. */
FD_INLINE int FD_LOCAL(conclude_events)(int what, intptr_t n, REAL *out, const REAL *sum, const REAL *constant,
                                        int constant_stride)
{
    unsigned beyond = 0;
    for (intptr_t i = 0; i < n; i += V(lanes)) {
        const intptr_t m = n - i;
        const VEC s = FD_LOCAL(load_to)(sum + i, m);
        VEC y;
        if (what <= FD_LOCAL(divergences)) {
            y = V(add)(FD_LOCAL(load_to)(out + i, m), s);
        } else {
            y = V(sub)(V(mul)(V(set1)((REAL)-0.5), s), FD_LOCAL(pick_to)(constant, constant_stride, i, m));
            beyond |= V(below)(V(set1)(REAL_MAX), s);
        }
        FD_LOCAL(store_to)(out + i, y, m);
    }
    return beyond != 0;
}

FD_INLINE void FD_LOCAL(sum_short_events)(int what, const fd_loop *loop, intptr_t begin, intptr_t end)
{
    enum { LANES = V(lanes), ROOM = FD_LOCAL(events_room) };
    const int n_operand = what <= FD_LOCAL(divergences) ? 1 : 2;
    const intptr_t dim = loop->dim, at_once = ROOM / dim / LANES * LANES, n = end / dim;
    REAL z[ROOM + LANES]; /* blocks of them are read beyond the last one */
    FD_LOCAL(room) room[1];
    fd_loop terms, events;
    int ndim = loop->ndim;
    FD_LOCAL(part_of_loop)(&terms, loop, ndim, FD_LOCAL(operands_of_terms)(what), (const int[]){1, 2, 3, 4});
    for (intptr_t size = 1; size < dim; size *= loop->shape[ndim])
        ndim--;
    FD_LOCAL(part_of_loop)(&events, loop, ndim, n_operand, (const int[]){0, 4});
    const intptr_t out_stride = events.stride[0][events.ndim - 1], constant_stride = events.stride[1][events.ndim - 1];
    if (out_stride != 1 || (constant_stride != 0 && constant_stride != 1)) { /* as packed arrays never lie */
        (what == FD_LOCAL(plain)         ? FD_LOCAL(sum_elements)
         : what == FD_LOCAL(logs)        ? FD_LOCAL(sum_logarithms)
         : what == FD_LOCAL(divergences) ? FD_LOCAL(sum_divergences)
                                         : FD_LOCAL(sum_squares))(loop, begin, end);
        return;
    }
    for (intptr_t e = begin / dim, m; e < n; e += m) {
        m = fd_min(at_once, n - e);
        FD_LOCAL(gather_terms)(what, &terms, e * dim, (e + m) * dim, z);
        if (what == FD_LOCAL(logs))
            FD_LOCAL(logs_side_by_side)(m, dim, z);
        else
            FD_LOCAL(sum_side_by_side)(what, m, dim, z);
        int beyond = 0;
        const REAL *sum = z;
        FD_LOCAL(strip) s = {0};
        fd_run run;
        fd_run_start(&events, &run, e, e + m);
        while (FD_LOCAL(next_strip)(&events, &run, n_operand, 1, &s, room)) {
            beyond |= s.stride[1] ? FD_LOCAL(conclude_events)(what, s.n, s.at[0], sum, s.at[1], 1)
                                : FD_LOCAL(conclude_events)(what, s.n, s.at[0], sum, s.at[1], 0);
            sum += s.n;
        }
        for (intptr_t r = 0; FD_UNLIKELY(beyond) && r < m; r++)
            if (z[r] > REAL_MAX)
                FD_LOCAL(event_beyond)(loop, (e + r) * dim);
    }
}

/* Events of one element, as scalars. What is beyond the range is done again. */
FD_INLINE void FD_LOCAL(sum_single_events)(int what, const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const int n_operand = what <= FD_LOCAL(logs) ? 2 : 5;
    FD_LOCAL(room) room[4];
    FD_LOCAL(strip) s = {0};
    fd_loop all;
    FD_LOCAL(part_of_loop)(&all, loop, loop->ndim, n_operand, (const int[]){0, 1, 2, 3, 4});
    fd_run run;
    fd_run_start(&all, &run, begin, end);
    while (FD_LOCAL(next_strip)(&all, &run, n_operand, 1, &s, room)) {
        if (what <= FD_LOCAL(logs)) {
            for (intptr_t i = 0; i < s.n; i += V(lanes)) {
                const intptr_t m = s.n - i;
                REAL term[V(lanes)];
                V(store)(term, FD_LOCAL(pick_to)(s.at[1], s.stride[1], i, m));
                if (what == FD_LOCAL(logs))
                    FD_STREAM(FD_LOCAL(log))(fd_min(m, V(lanes)), term, term);
                const VEC sum = V(add)(V(load)(term), V(set1)(0));
                FD_LOCAL(store_to)(s.at[0] + i, V(add)(FD_LOCAL(load_to)(s.at[0] + i, m), sum), m);
            }
            continue;
        }
        const intptr_t loc_stride = s.stride[2], scale_stride = s.stride[3];
        int finite;
        FD_BY_STRIDES(finite = FD_LOCAL(normal_log_prob_run), 1, s.n, s.at[0], s.at[1], s.stride[1], s.at[4], s.stride[4],
                    s.at[2], s.at[3]);
        for (intptr_t i = 0; FD_UNLIKELY(!finite) && i < s.n; i++)
            if (!(s.at[0][i] >= -REAL_MAX))
                FD_LOCAL(sum_squares)(loop, begin + i, begin + i + 1);
        begin += s.n;
    }
}

static void FD_NAME(normal_log_prob_events)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    if (loop->dim == 1 && end - begin > 1)
        FD_LOCAL(sum_single_events)(FD_LOCAL(squared), loop, begin, end);
    else if (loop->dim <= FD_LOCAL(short_event) && end - begin > FD_LOCAL(few) * loop->dim)
        FD_LOCAL(sum_short_events)(FD_LOCAL(squared), loop, begin, end);
    else
        FD_LOCAL(sum_squares)(loop, begin, end);
}

static void FD_NAME(sum_events)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    if (loop->dim == 1 && end - begin > 1)
        FD_LOCAL(sum_single_events)(FD_LOCAL(plain), loop, begin, end);
    else if (loop->dim <= FD_LOCAL(short_event) && end - begin > FD_LOCAL(few) * loop->dim)
        FD_LOCAL(sum_short_events)(FD_LOCAL(plain), loop, begin, end);
    else
        FD_LOCAL(sum_elements)(loop, begin, end);
}

static void FD_NAME(normal_kl_events)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    if (loop->dim <= FD_LOCAL(short_event) && end - begin > FD_LOCAL(few) * loop->dim)
        FD_LOCAL(sum_short_events)(FD_LOCAL(divergences), loop, begin, end);
    else
        FD_LOCAL(sum_divergences)(loop, begin, end);
}

static void FD_NAME(sum_logs)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    if (loop->dim == 1 && end - begin > 1)
        FD_LOCAL(sum_single_events)(FD_LOCAL(logs), loop, begin, end);
    else if (loop->dim <= FD_LOCAL(short_event) && end - begin > FD_LOCAL(few) * loop->dim)
        FD_LOCAL(sum_short_events)(FD_LOCAL(logs), loop, begin, end);
    else
        FD_LOCAL(sum_logarithms)(loop, begin, end);
}
#undef FD_BY_STRIDES
