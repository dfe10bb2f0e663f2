/* kernels/transforms.inc.h - invertible functions of elements: forward, back, logarithms of derivatives summed
 * over events, and gradients. exp.inc.h has the functions themselves, lanes_of_transforms.inc.h what is made of them
 * together. */

/* out = f(x) for each element. */
#define FD_MAP(op, f)                                                                          \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        const intptr_t stride = STRIDE(1);                                                     \
        for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run)) {   \
            REAL *out = AT(0);                                                                 \
            const REAL *x = AT(1);                                                             \
            const intptr_t n = run.n, whole = stride ? n / V(lanes) * V(lanes) : 0;            \
            for (intptr_t i = 0; i < whole; i += V(lanes))                                     \
                V(store)(out + i, FD_LOCAL(f)(V(load)(x + i)));                                \
            for (intptr_t i = whole; i < n; i += V(lanes))                                     \
                FD_LOCAL(store_to)(out + i, FD_LOCAL(f)(FD_LOCAL(pick_to)(x, stride, i, n - i)), n - i); \
        }                                                                                      \
    }

/* ---- with the logarithm of the derivative, summed over events ----------------------------------
 * Terms are made of many elements at a time, as if there were no events. */
typedef void FD_LOCAL(fd_scored)(intptr_t n, REAL *y, const REAL *x, intptr_t x_stride, REAL *log_det);

/* n_event events of dim elements, side by side in memory. */
static void FD_LOCAL(score_short_events)(FD_LOCAL(fd_scored) *f, intptr_t n_event, intptr_t dim, REAL *out,
                                         intptr_t out_ld, REAL *y, const REAL *x)
{
    REAL terms[FD_LOCAL(sum_chunk)];
    const intptr_t at_once = FD_LOCAL(sum_chunk) / dim;
    for (intptr_t first = 0, n; n = fd_min(at_once, n_event - first), n > 0; first += n) {
        f(n * dim, y + first * dim, x + first * dim, 1, terms);
        for (intptr_t e = 0; e < n; e++)
            out[(first + e) * out_ld] -= (REAL)FD_LOCAL(sum_of_chunk)(FD_LOCAL(plain), dim, terms + e * dim);
    }
}

static void FD_LOCAL(score_events)(FD_LOCAL(fd_scored) *f, const fd_loop *loop, intptr_t begin, intptr_t end)
{
    enum { CHUNK = FD_LOCAL(sum_chunk) };
    const int last = loop->ndim - 1;
    const intptr_t dim = loop->dim;
    REAL chunk[CHUNK];
    intptr_t filled = 0, left = dim; /* elements in the chunk; of the event, still to come */
    double total = 0;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run)) {
        if (dim == 1 && STRIDE(2)) {
            FD_LOCAL(score_short_events)(f, run.n, 1, AT(0), STRIDE(0), AT(1), AT(2));
            continue;
        }
        if (run.n == dim && dim <= CHUNK && STRIDE(2)) {
            const intptr_t ld = last > 0 ? loop->stride[0][last - 1] : 0;
            const int together = last > 0 && loop->stride[1][last - 1] == dim && loop->stride[2][last - 1] == dim;
            const intptr_t n_row = together ? fd_run_rows(loop, &run) : 1;
            FD_LOCAL(score_short_events)(f, n_row, dim, AT(0), ld, AT(1), AT(2));
            fd_run_skip(loop, &run, n_row);
            continue;
        }
        for (intptr_t i = 0, n; i < run.n; i += n) {
            n = fd_min(fd_min(run.n - i, CHUNK - filled), left);
            f(n, AT(1) + i, AT(2) + i * STRIDE(2), STRIDE(2), chunk + filled);
            filled += n;
            left -= n;
            if (filled == CHUNK || left == 0) {
                total += FD_LOCAL(sum_of_chunk)(FD_LOCAL(plain), filled, chunk);
                filled = 0;
            }
            if (left == 0) {
                AT(0)[i * STRIDE(0)] -= (REAL)total;
                total = 0;
                left = dim;
            }
        }
    }
}

#define FD_MAP_SCORED(op)                                                                      \
    static void FD_LOCAL(op##_elements)(intptr_t n, REAL *y, const REAL *x, intptr_t x_stride, REAL *log_det) \
    {                                                                                          \
        for (intptr_t i = 0; i < n; i += V(lanes)) {                                           \
            const intptr_t m = n - i;                                                          \
            VEC of_x;                                                                          \
            const VEC result = FD_LOCAL(op)(FD_LOCAL(pick_to)(x, x_stride, i, m), &of_x);      \
            FD_LOCAL(store_to)(y + i, result, m);                                              \
            FD_LOCAL(store_to)(log_det + i, of_x, m);                                          \
        }                                                                                      \
    }                                                                                          \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        FD_LOCAL(score_events)(FD_LOCAL(op##_elements), loop, begin, end);                     \
    }

/* ---- gradients ------------------------------------------------------------------------------------
 * Of y = f(x) and of -log f'(x), whose cotangents are g and h: by x, given x; or by y, given x and its cotangent g. */
#define FD_PULL(op, slopes, result)                                                            \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))     \
            for (intptr_t i = 0; i < run.n; i += V(lanes)) {                                   \
                const intptr_t m = run.n - i;                                                  \
                const VEC g = FD_LOCAL(pick_to)(AT(1), STRIDE(1), i, m), h = FD_LOCAL(pick_to)(AT(2), STRIDE(2), i, m); \
                VEC of_log;                                                                    \
                const VEC slope = FD_LOCAL(slopes)(FD_LOCAL(pick_to)(AT(3), STRIDE(3), i, m), &of_log); \
                FD_LOCAL(store_to)(AT(0) + i, result, m);                                      \
            }                                                                                  \
    }

#define FD_TRANSFORM(t)                                                                        \
    FD_MAP(t, t)                                                                               \
    FD_MAP(t##_log_det, t##_log_slope)                                                         \
    FD_MAP_SCORED(t##_scored)                                                                  \
    FD_MAP_SCORED(t##_inverse_scored)                                                          \
    FD_PULL(t##_pull, t##_slopes, V(fnma)(h, of_log, V(mul)(g, slope)))                        \
    FD_PULL(t##_inverse_pull, t##_slopes, V(div)(V(fnma)(h, of_log, g), slope))

FD_TRANSFORM(exp)
FD_TRANSFORM(tanh)
FD_TRANSFORM(sigmoid)
FD_TRANSFORM(softplus)
#undef FD_TRANSFORM

FD_MAP(exp_inverse, log)
FD_MAP(tanh_inverse, atanh)
FD_MAP(sigmoid_inverse, log_ratio)
FD_MAP(softplus_inverse, softplus_inverse)
FD_MAP(abs, absolute)
#undef FD_MAP
#undef FD_MAP_SCORED
#undef FD_PULL

/* ---- affine ------------------------------------------------------------------------------------ */

static void FD_NAME(affine)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t i = 0; i < run.n; i += V(lanes)) {
            const intptr_t m = run.n - i;
            const VEC x = FD_LOCAL(pick_to)(AT(1), STRIDE(1), i, m), loc = FD_LOCAL(pick_to)(AT(2), STRIDE(2), i, m);
            FD_LOCAL(store_to)(AT(0) + i, V(add)(loc, V(mul)(FD_LOCAL(pick_to)(AT(3), STRIDE(3), i, m), x)), m);
        }
}

/* Half a difference may be a number where the whole is not. */
static void FD_NAME(affine_inverse)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const VEC infinity = V(set1)((REAL)INFINITY), half = V(set1)((REAL)0.5);
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t i = 0; i < run.n; i += V(lanes)) {
            const intptr_t m = run.n - i;
            const VEC y = FD_LOCAL(pick_to)(AT(1), STRIDE(1), i, m), loc = FD_LOCAL(pick_to)(AT(2), STRIDE(2), i, m);
            const VEC scale = FD_LOCAL(pick_to)(AT(3), STRIDE(3), i, m), difference = V(sub)(y, loc);
            const VEC halves = V(sub)(V(mul)(half, y), V(mul)(half, loc));
            const unsigned within = V(below)(V(abs)(difference), infinity);
            const VEC x = V(div)(V(select)(within, difference, halves), scale);
            FD_LOCAL(store_to)(AT(0) + i, V(select)(within, x, V(add)(x, x)), m);
        }
}

/* ---- powers: y = x^p ----------------------------------------------------------------------------- */

/* out = f of x and of the exponent, for each element. */
#define FD_MAP_POWER(op, result)                                                               \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))     \
            for (intptr_t i = 0; i < run.n; i += V(lanes)) {                                   \
                const intptr_t m = run.n - i;                                                  \
                const VEC x = FD_LOCAL(pick_to)(AT(1), STRIDE(1), i, m), p = FD_LOCAL(pick_to)(AT(2), STRIDE(2), i, m); \
                FD_LOCAL(store_to)(AT(0) + i, result, m);                                      \
            }                                                                                  \
    }

FD_MAP_POWER(power, FD_LOCAL(power)(x, p))
FD_MAP_POWER(power_inverse, FD_LOCAL(root)(x, p))
FD_MAP_POWER(power_log_det, FD_LOCAL(power_log_slope)(x, p))
#undef FD_MAP_POWER
