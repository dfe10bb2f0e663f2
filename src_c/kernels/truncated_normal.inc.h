/* kernels/truncated_normal.inc.h - normals truncated to an interval, by the functions of mills.inc.h: computed in
 * double whatever the dtype, but for densities. */

/* m elements from the i-th on, a vector of doubles at most; the last one in the lanes beyond. */
FD_INLINE f64v FD_LOCAL(wide)(const REAL *p, intptr_t stride, intptr_t i, intptr_t m)
{
    if (!stride)
        return f64v_set1((double)*p);
#if REAL_IS_DOUBLE
    if (m == f64v_lanes)
        return f64v_load(p + i);
#endif
    double all[f64v_lanes];
    for (intptr_t j = 0; j < f64v_lanes; j++)
        all[j] = (double)p[i + (j < m ? j : m - 1)];
    return f64v_load(all);
}

FD_INLINE void FD_LOCAL(round_to)(REAL *out, f64v v, intptr_t m)
{
#if REAL_IS_DOUBLE
    if (m == f64v_lanes) {
        f64v_store(out, v);
        return;
    }
#endif
    double all[f64v_lanes];
    f64v_store(all, v);
    for (intptr_t j = 0; j < m; j++)
        out[j] = (REAL)all[j];
}

/* Operand k, from element i of a run on. */
#define WIDE(k) FD_LOCAL(wide)(AT(k), STRIDE(k), i, m)
#define FD_EACH_VECTOR                                                                         \
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))         \
        for (intptr_t i = 0, m; m = fd_min(run.n - i, f64v_lanes), m > 0; i += m)

/* ---- draws --------------------------------------------------------------------------------- */

/* In steps over a block of elements, each so short that the CPU works on several of its vectors at a time: one vector
 * alone would wait for each of its divisions and polynomials in turn. */
enum { FD_LOCAL(truncate_block) = 128 };

/* n elements of a run from `first` on; the map may be the same for all of them (a compile-time constant), and is then
 * made once. */
FD_INLINE void FD_LOCAL(truncate_some)(int repeats, const fd_loop *loop, const fd_run *at, intptr_t first, intptr_t n)
{
    enum { BLOCK = FD_LOCAL(truncate_block), LANES = f64v_lanes };
    const fd_run run = *at;
    const f64v zero = f64v_set1(0);
    REAL *x = AT(0);
    double share[BLOCK], c[BLOCK], t[BLOCK], a[BLOCK], mills_a[BLOCK];
    fd_map map;
    f64v u, v;
    if (repeats) {
        const intptr_t i = first, m = 1;
        map = map_of(WIDE(1), WIDE(2), WIDE(3), WIDE(4), WIDE(5), WIDE(6), WIDE(7));
    }
    for (intptr_t k = 0; k < n; k += LANES) {
        const intptr_t i = first + k, m = fd_min(n - k, LANES);
        tails(WIDE(0), &u, &v);
        f64v_store(share + k, share_of(repeats ? map.p : WIDE(5), repeats ? map.q : WIDE(6), u, v));
    }
    for (intptr_t k = 0; k < n; k += LANES)
        f64v_store(c + k, exponent_of(f64v_abs(f64v_load(share + k))));
    for (intptr_t k = 0; k < n; k += LANES) {
        const intptr_t i = first + k, m = fd_min(n - k, LANES);
        if (!repeats) {
            map = map_of(WIDE(1), WIDE(2), WIDE(3), WIDE(4), WIDE(5), WIDE(6), WIDE(7));
            f64v_store(a + k, map.a);
            f64v_store(mills_a + k, map.mills_a);
        }
        const f64v exponent = f64v_load(c + k);
        f64v_store(t + k, near(map.a, f64v_add(map.of_a, exponent), exponent));
    }
    for (intptr_t k = 0; k < n; k += LANES) {
        const f64v at_a = repeats ? map.a : f64v_load(a + k), m = repeats ? map.mills_a : f64v_load(mills_a + k);
        f64v_store(t + k, nearer(at_a, m, f64v_load(c + k), f64v_load(t + k)));
    }
    for (intptr_t k = 0; k < n; k += LANES) {
        const intptr_t i = first + k, m = fd_min(n - k, LANES);
        if (!repeats)
            map = map_of(WIDE(1), WIDE(2), WIDE(3), WIDE(4), WIDE(5), WIDE(6), WIDE(7));
        const f64v distance = f64v_load(t + k);
        const unsigned is_lower = f64v_below(f64v_load(share + k), zero);
        u = zero;
        if (FD_UNLIKELY(map.wide != (1u << LANES) - 1))
            tails(WIDE(0), &u, &v);
        FD_LOCAL(round_to)(x + i, placed(&map, f64v_select(is_lower, f64v_sub(zero, distance), distance), u), m);
    }
}

static void FD_NAME(truncate)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    enum { BLOCK = FD_LOCAL(truncate_block) };
    int repeats = 1;
    for (int k = 1; k < 8; k++)
        repeats &= STRIDE(k) == 0;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t first = 0; first < run.n; first += BLOCK)
            if (repeats)
                FD_LOCAL(truncate_some)(1, loop, &run, first, fd_min(run.n - first, BLOCK));
            else
                FD_LOCAL(truncate_some)(0, loop, &run, first, fd_min(run.n - first, BLOCK));
}

static void FD_NAME(truncate_prepare)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_EACH_VECTOR {
        const fd_interval d = interval_of(WIDE(3), WIDE(4), WIDE(5), WIDE(6));
        f64v p, q, h;
        prepare(&d, &p, &q, &h);
        FD_LOCAL(round_to)(AT(0) + i, p, m);
        FD_LOCAL(round_to)(AT(1) + i, q, m);
        FD_LOCAL(round_to)(AT(2) + i, h, m);
    }
}

/* ---- moments ------------------------------------------------------------------------------- */

static void FD_NAME(truncated_moments)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    enum { N = 5 };
    FD_EACH_VECTOR {
        const f64v a = f64v_abs(WIDE(5));
        f64v below[N], above[N];
        moments(a, WIDE(6), below);
        moments(a, WIDE(7), above);
        const f64v mass = f64v_add(above[0], below[0]);
        FD_LOCAL(round_to)(AT(0) + i, mass, m);
        for (int k = 1; k < N; k++) {
            const f64v sum = k % 2 ? f64v_sub(above[k], below[k]) : f64v_add(above[k], below[k]);
            FD_LOCAL(round_to)(AT(k) + i, f64v_div(sum, mass), m);
        }
    }
}

static void FD_NAME(truncated_excess)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_EACH_VECTOR {
        const f64v b = WIDE(1), c = WIDE(2), mean = WIDE(3), slope = WIDE(4), zero = f64v_set1(0), a = f64v_abs(slope);
        const f64v above = excess(a, WIDE(6), b, c, mean), below = excess(a, WIDE(5), f64v_sub(zero, b), c, mean);
        FD_LOCAL(round_to)(AT(0) + i, f64v_div(f64v_add(above, below), WIDE(7)), m);
    }
}

/* ---- densities ----------------------------------------------------------------------------- */

FD_ALONE void FD_LOCAL(truncated_log_prob_beyond)(REAL *out, REAL value, REAL mode, REAL scale, REAL slope,
                                                  REAL constant)
{
    const double half_t = fd_half_standardized((double)value, (double)mode, (double)scale);
    *out = (REAL)(-2 * half_t * (half_t + (double)slope) - (double)constant);
}

static void FD_NAME(truncated_log_prob)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const VEC zero = V(set1)(0);
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t i = 0, m; m = fd_min(run.n - i, V(lanes)), m > 0; i += m) {
#define PICK(k) FD_LOCAL(pick_to)(AT(k), STRIDE(k), i, m)
            const VEC x = PICK(1), t = V(div)(V(sub)(x, PICK(2)), FD_LOCAL(pick_scale)(AT(3) + i * STRIDE(3), STRIDE(3), m));
            const VEC exponent = V(mul)(t, V(fma)(V(set1)((REAL)0.5), t, PICK(4)));
            const VEC y = V(sub)(V(sub)(zero, exponent), PICK(5));
            FD_LOCAL(store_to)(AT(0) + i, y, m);
            const unsigned finite = V(below)(V(sub)(zero, V(set1)(REAL_MAX)), y) | V(below)(zero, y);
            const unsigned out_of = V(below)(x, PICK(6)) | V(below)(PICK(7), x);
            if (FD_UNLIKELY((finite & ~out_of) != FD_LOCAL(first_lanes)(V(lanes)))) {
                for (intptr_t j = 0; j < m; j++) {
                    const intptr_t at = i + j;
                    if (out_of >> j & 1)
                        AT(0)[at] = -(REAL)INFINITY;
                    else if (!(finite >> j & 1))
                        FD_LOCAL(truncated_log_prob_beyond)(AT(0) + at, AT(1)[at * STRIDE(1)], AT(2)[at * STRIDE(2)],
                                                            AT(3)[at * STRIDE(3)], AT(4)[at * STRIDE(4)],
                                                            AT(5)[at * STRIDE(5)]);
                }
            }
#undef PICK
        }
}

/* ---- the cdf family ------------------------------------------------------------------------ */

#define FD_TRUNCATED_KERNEL(op, result)                                                        \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        FD_EACH_VECTOR {                                                                       \
            const f64v x = WIDE(1), loc = WIDE(2), scale = WIDE(3), low = WIDE(4), high = WIDE(5); \
            const f64v zero = f64v_set1(0), one = f64v_set1(1);                                \
            (void)zero, (void)one;                                                             \
            FD_LOCAL(round_to)(AT(0) + i, result, m);                                          \
        }                                                                                      \
    }
#define FD_MINUS(x) f64v_sub(zero, x)

FD_TRUNCATED_KERNEL(truncated_cdf, truncated_cdf(x, loc, scale, low, high))
FD_TRUNCATED_KERNEL(truncated_survival, truncated_cdf(FD_MINUS(x), FD_MINUS(loc), scale, FD_MINUS(high), FD_MINUS(low)))
FD_TRUNCATED_KERNEL(truncated_log_cdf, truncated_log_cdf(x, loc, scale, low, high))
FD_TRUNCATED_KERNEL(truncated_log_survival,
                    truncated_log_cdf(FD_MINUS(x), FD_MINUS(loc), scale, FD_MINUS(high), FD_MINUS(low)))
FD_TRUNCATED_KERNEL(truncated_icdf, truncated_quantile(x, f64v_sub(one, x), zero, loc, scale, low, high))
FD_TRUNCATED_KERNEL(truncated_isf, truncated_quantile(f64v_sub(one, x), x, zero, loc, scale, low, high))
FD_TRUNCATED_KERNEL(truncated_log_icdf, truncated_quantile(exp_f64(x), FD_MINUS(expm1_f64(x)), x, loc, scale, low, high))
#undef FD_TRUNCATED_KERNEL
#undef FD_MINUS

/* ---- terms of gradients -------------------------------------------------------------------- */

/* phi at a bound over phi at the draw, with the exponents of both over that at the mode, times a share. */
static void FD_NAME(score_truncate)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const f64v half = f64v_set1(0.5), zero = f64v_set1(0);
    FD_EACH_VECTOR {
        const fd_interval d = interval_of(WIDE(4), WIDE(5), WIDE(6), WIDE(7));
        f64v u, above;
        tails(WIDE(0), &u, &above);
        const f64v t = standardized(WIDE(3), d.mode, d.scale), exponent = f64v_mul(t, f64v_fma(half, t, d.slope));
        const f64v at_low = f64v_mul(d.below, f64v_fma(half, d.below, f64v_sub(zero, d.slope)));
        const f64v at_high = f64v_mul(d.above, f64v_fma(half, d.above, d.slope));
        FD_LOCAL(round_to)(AT(0) + i, f64v_mul(above, exp_f64(f64v_sub(exponent, at_low))), m);
        FD_LOCAL(round_to)(AT(1) + i, f64v_mul(u, exp_f64(f64v_sub(exponent, at_high))), m);
        FD_LOCAL(round_to)(AT(2) + i, t, m);
    }
}

static void FD_NAME(score_truncated)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const f64v zero = f64v_set1(0);
    FD_EACH_VECTOR {
        const f64v g = WIDE(2), x = WIDE(3), low = WIDE(6), high = WIDE(7);
        const fd_interval d = interval_of(WIDE(4), WIDE(5), low, high);
        const unsigned outside = f64v_below(x, low) | f64v_below(high, x);
        FD_LOCAL(round_to)(AT(0) + i, f64v_select(outside, zero, g), m);
        FD_LOCAL(round_to)(AT(1) + i, f64v_select(outside, zero, standardized(x, d.mode, d.scale)), m);
    }
}

static void FD_NAME(score_truncated_value)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_EACH_VECTOR {
        const f64v g = WIDE(2), t = WIDE(3);
        const fd_interval d = interval_of(WIDE(4), WIDE(5), WIDE(6), WIDE(7));
        const f64v of_z = f64v_mul(g, f64v_add(t, d.slope));
        FD_LOCAL(round_to)(AT(0) + i, f64v_sub(f64v_set1(0), f64v_div(of_z, d.scale)), m);
        FD_LOCAL(round_to)(AT(1) + i, f64v_mul(g, t), m);
    }
}

/* ---- gradients of the cdf family ------------------------------------------------------------- */

#define FD_PLACE_KERNEL(op, place_of)                                                          \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        FD_EACH_VECTOR {                                                                       \
            const f64v x = WIDE(2), loc = WIDE(3), scale = WIDE(4), low = WIDE(5), high = WIDE(6); \
            const f64v zero = f64v_set1(0), one = f64v_set1(1);                                \
            (void)zero, (void)one;                                                             \
            const fd_spot place = place_of;                                                   \
            FD_LOCAL(round_to)(AT(0) + i, place.t, m);                                         \
            FD_LOCAL(round_to)(AT(1) + i, place.edge, m);                                      \
        }                                                                                      \
    }
#define FD_PLACE(u, v, log_u) truncated_quantile_place(u, v, log_u, loc, scale, low, high)
FD_PLACE_KERNEL(truncated_place, truncated_place(x, loc, scale, low, high))
FD_PLACE_KERNEL(truncated_place_icdf, FD_PLACE(x, f64v_sub(one, x), zero))
FD_PLACE_KERNEL(truncated_place_isf, FD_PLACE(f64v_sub(one, x), x, zero))
FD_PLACE_KERNEL(truncated_place_log_icdf, FD_PLACE(exp_f64(x), f64v_sub(zero, expm1_f64(x)), x))
#undef FD_PLACE
#undef FD_PLACE_KERNEL

/* By the value: g times a rate, 0 beyond the bounds. With d the density at the place over that at the mode, and D the
 * logarithm of its reciprocal. */
#define FD_RATE_KERNEL(op, rate)                                                               \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        const f64v zero = f64v_set1(0), half = f64v_set1(0.5), infinity = f64v_set1((double)INFINITY); \
        FD_EACH_VECTOR {                                                                       \
            const f64v g = WIDE(1), scale = WIDE(4), slope = WIDE(5);                          \
            const fd_spot place = {WIDE(2), WIDE(3)};                                         \
            const fd_sides sides = sides_of(place, slope, WIDE(6), WIDE(7));                   \
            const f64v D = f64v_mul(place.t, f64v_fma(half, place.t, slope));                  \
            const unsigned number = f64v_below(place.t, infinity) | f64v_below(zero, place.t); \
            f64v y = f64v_mul(g, rate);                                                        \
            y = f64v_select(f64v_below(place.edge, zero), zero, y);                            \
            FD_LOCAL(round_to)(AT(0) + i, f64v_select(number, y, place.t), m);                 \
        }                                                                                      \
    }
#define FD_EXP_OF_MINUS(x) exp_f64(f64v_sub(zero, x))
/* D, less what the mass of a side has taken off. */
FD_INLINE f64v FD_LOCAL(exponent_left)(const fd_side *side, f64v D)
{
    return f64v_select(f64v_below(f64v_set1(0), side->exponent), f64v_set1(0), D);
}

/* The density over the mass of a side, in scales; 0 where that is 0. */
FD_INLINE f64v FD_LOCAL(rate_of_side)(const fd_side *side, f64v D)
{
    const f64v zero = f64v_set1(0), decay = FD_EXP_OF_MINUS(FD_LOCAL(exponent_left)(side, D));
    return f64v_select(f64v_below(zero, side->mass), f64v_div(decay, side->mass), zero);
}

FD_RATE_KERNEL(score_truncated_cdf, f64v_div(f64v_div(FD_EXP_OF_MINUS(D), sides.mass), scale))
FD_RATE_KERNEL(score_truncated_log_cdf, f64v_div(FD_LOCAL(rate_of_side)(&sides.below, D), scale))
FD_RATE_KERNEL(score_truncated_log_survival, f64v_div(FD_LOCAL(rate_of_side)(&sides.above, D), scale))
FD_RATE_KERNEL(score_truncated_icdf, f64v_mul(f64v_mul(exp_f64(D), sides.mass), scale))
FD_RATE_KERNEL(score_truncated_log_icdf,
               f64v_mul(f64v_mul(exp_f64(FD_LOCAL(exponent_left)(&sides.below, D)), sides.below.mass), scale))
#undef FD_EXP_OF_MINUS
#undef FD_RATE_KERNEL

/* weight times y, 0 where that is 0; NaN where the place is. */
FD_INLINE f64v FD_LOCAL(weighted)(f64v weight, f64v y, f64v t)
{
    const f64v zero = f64v_set1(0), infinity = f64v_set1((double)INFINITY);
    const unsigned number = f64v_below(t, infinity) | f64v_below(zero, t);
    return f64v_select(number, f64v_select(f64v_below(zero, f64v_abs(weight)), f64v_mul(weight, y), weight), t);
}

static void FD_NAME(score_truncated_bounds)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_EACH_VECTOR {
        const fd_spot place = {WIDE(3), WIDE(4)};
        const fd_sides s = sides_of(place, WIDE(5), WIDE(6), WIDE(7));
        const f64v by_low = f64v_mul(s.below.end, f64v_div(s.above.mass, s.mass));
        const f64v by_high = f64v_mul(s.above.end, f64v_div(s.below.mass, s.mass));
        FD_LOCAL(round_to)(AT(0) + i, FD_LOCAL(weighted)(WIDE(2), by_low, place.t), m);
        FD_LOCAL(round_to)(AT(1) + i, FD_LOCAL(weighted)(WIDE(2), by_high, place.t), m);
    }
}

static void FD_NAME(score_truncated_shape)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const f64v infinity = f64v_set1((double)INFINITY), two = f64v_set1(2);
    FD_EACH_VECTOR {
        const fd_spot place = {WIDE(3), WIDE(4)};
        const f64v slope = WIDE(5);
        const fd_sides s = sides_of(place, slope, WIDE(6), WIDE(7));
        const f64v below = f64v_div(s.below.mass, s.mass), above = f64v_div(s.above.mass, s.mass);
        const f64v twice = f64v_mul(two, f64v_add(slope, place.t));
        const f64v by_loc = f64v_fma(above, s.below.first, f64v_mul(below, s.above.first));
        const f64v of_above = f64v_mul(below, f64v_fma(twice, s.above.first, s.above.second));
        const f64v of_below = f64v_mul(above, f64v_sub(f64v_mul(twice, s.below.first), s.below.second));
        const unsigned finite = f64v_below(f64v_abs(place.t), infinity);
        const f64v by_scale = f64v_select(finite, f64v_add(of_above, of_below), place.t);
        FD_LOCAL(round_to)(AT(0) + i, FD_LOCAL(weighted)(WIDE(2), by_loc, place.t), m);
        FD_LOCAL(round_to)(AT(1) + i, FD_LOCAL(weighted)(WIDE(2), by_scale, place.t), m);
    }
}
#undef WIDE
#undef FD_EACH_VECTOR
