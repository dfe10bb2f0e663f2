/* kernels/normal_kl.inc.h - Kullback-Leibler divergence of scalars. The part that is due to scales is
 *
 *     (r^2 - 1) / 2 - log r = w + w^2 / 2 - log r,   r = p / q, w = r - 1
 *
 * With r = 2^k (1 + f) and log(1 + f) = f - f^2 / 2 + s (f^2 / 2 + R) (log.inc.h) it is
 *
 *     w - f - k log 2 + w^2 / 2 + f^2 / 2 - s (f^2 / 2 + R)
 *
 * Between 0.35 and 2.8, where k is -1, 0 or 1, f is made of w, which knows r - 1 better than r does: 2^-k w + 2^-k - 1.
 * Where k is 0 that is w, and the first terms, that would cancel, are 0. R is right to a third of a rounding
 * of the sum. */

enum { FD_LOCAL(kl_exponent) = REAL_MAX_EXP - 4 }; /* 2 to it, its reciprocal and those of all between are normal */

/* R of s^2, in two halves that do not wait for each other: of even powers of s^2 and of odd ones. */
FD_INLINE VEC FD_LOCAL(log_series)(VEC s2)
{
    enum { N = sizeof FD_LOCAL(lg) / sizeof *FD_LOCAL(lg) };
    const VEC s4 = V(mul)(s2, s2);
    VEC odd = V(set1)(FD_LOCAL(lg)[(N - 1) % 2]), even = V(set1)(FD_LOCAL(lg)[N % 2]);
    FD_UNROLL
    for (int i = (N - 1) % 2 + 2; i < N; i += 2)
        odd = V(fma)(odd, s4, V(set1)(FD_LOCAL(lg)[i]));
    FD_UNROLL
    for (int i = N % 2 + 2; i < N; i += 2)
        even = V(fma)(even, s4, V(set1)(FD_LOCAL(lg)[i]));
    return V(fma)(even, s4, V(mul)(odd, s2));
}

/* The ratio itself may under- or overflow where its logarithm does not, and a difference where its quotient does
 * not: replaces such lanes of a result. */
FD_ALONE VEC FD_LOCAL(kl_beyond)(VEC result, unsigned within, VEC at_p, VEC p, VEC at_q, VEC q)
{
    REAL out[V(lanes)], loc_p[V(lanes)], scale_p[V(lanes)], loc_q[V(lanes)], scale_q[V(lanes)];
    V(store)(out, result);
    V(store)(loc_p, at_p);
    V(store)(loc_q, at_q);
    V(store)(scale_p, p);
    V(store)(scale_q, q);
    for (int j = 0; j < V(lanes); j++)
        if (!(within >> j & 1)) {
            const double r = (double)scale_p[j] / (double)scale_q[j];
            const double half_z = fd_half_standardized((double)loc_p[j], (double)loc_q[j], (double)scale_q[j]);
            double log_r[f64v_lanes];
            f64v_store(log_r, isnormal(r) ? FD_STREAM(log)(f64v_set1(r))
                                          : f64v_sub(FD_STREAM(log)(f64v_set1((double)scale_p[j])),
                                                     FD_STREAM(log)(f64v_set1((double)scale_q[j]))));
            out[j] = (REAL)(0.5 * (r - 1) * (r + 1) + 2 * half_z * half_z - log_r[0]);
        }
    return V(load)(out);
}

/* 1 / q, or NaN where it or q is near the ends of the range. */
FD_INLINE VEC FD_LOCAL(kl_reciprocal)(VEC q)
{
    const REAL most = REAL_LDEXP(1, FD_LOCAL(kl_exponent));
    const VEC over_q = V(div)(V(set1)(1), q);
    const unsigned within = V(below)(V(set1)(1 / most), over_q) & V(below)(over_q, V(set1)(most));
    return V(select)(within, over_q, V(set1)((REAL)NAN));
}

/* Of locs and scales, over_q = kl_reciprocal(q). */
FD_INLINE VEC FD_LOCAL(normal_kl_of)(VEC loc_p, VEC p, VEC loc_q, VEC q, VEC over_q)
{
    const unsigned all = (1u << V(lanes)) - 1;
    const VEC half = V(set1)((REAL)0.5), r = V(mul)(p, over_q), delta = V(sub)(loc_p, loc_q);
    const VEC w = V(mul)(V(sub)(p, q), over_q), z = V(mul)(delta, over_q);
    VEC k;
    const VEC m = FD_LOCAL(split)(r, &k);
    const VEC size = V(abs)(k), one = V(set1)(1);
    /* false for NaN, which has the largest k */
    const unsigned within =
        V(below)(size, V(set1)(FD_LOCAL(kl_exponent))) & V(below)(V(abs)(delta), V(set1)((REAL)INFINITY));
    const VEC power = V(select)(V(below)(k, V(sub)(V(set1)(0), half)), V(set1)(2),
                                V(select)(V(below)(half, k), half, one)); /* 2^-k */
    const VEC f = V(select)(V(below)(size, V(set1)((REAL)1.5)), V(fma)(power, w, V(sub)(power, one)), V(sub)(m, one));
    const VEC s = V(div)(f, V(add)(V(set1)(2), f)), half_square = V(mul)(half, V(mul)(f, f));
    const VEC rest = V(mul)(s, V(add)(half_square, FD_LOCAL(log_series)(V(mul)(s, s))));
    const VEC squares = V(fma)(V(mul)(half, z), z, V(fma)(V(mul)(half, w), w, half_square));
    const VEC high = V(fnma)(k, V(set1)(FD_LOCAL(ln2)[0]), V(sub)(w, f));
    const VEC low = V(fma)(k, V(set1)(FD_LOCAL(ln2)[1]), rest);
    const VEC result = V(add)(squares, V(sub)(high, low));
    return FD_UNLIKELY(within != all) ? FD_LOCAL(kl_beyond)(result, within, loc_p, p, loc_q, q) : result;
}

/* m elements of each operand. */
FD_INLINE void FD_LOCAL(normal_kl_vector)(intptr_t m, REAL *out, const REAL *loc_p, intptr_t loc_p_stride,
                                          const REAL *p, intptr_t p_stride, const REAL *loc_q, intptr_t loc_q_stride,
                                          const REAL *q, intptr_t q_stride, const REAL *over_q)
{
    const VEC at_p = FD_LOCAL(pick_to)(loc_p, loc_p_stride, 0, m), at_q = FD_LOCAL(pick_to)(loc_q, loc_q_stride, 0, m);
    const VEC scale_p = FD_LOCAL(pick_scale)(p, p_stride, m), scale_q = FD_LOCAL(pick_scale)(q, q_stride, m);
    FD_LOCAL(store_to)(out, FD_LOCAL(normal_kl_of)(at_p, scale_p, at_q, scale_q, V(load)(over_q)), m);
}

/* A third of the time are divisions: those by a scale_q are kept while it repeats from run to run, as a
 * prior's does. */
FD_ALONE void FD_LOCAL(normal_kl_run)(intptr_t n_item, REAL *out, REAL *const *at, const intptr_t *stride,
                                      FD_LOCAL(kl_reciprocals) *kept)
{
    const intptr_t loc_p_stride = stride[0], p_stride = stride[1], loc_q_stride = stride[2], q_stride = stride[3];
    for (intptr_t first = 0, n; n = fd_min(n_item - first, FD_LOCAL(kl_kept)), n > 0; first += n) {
        const REAL *loc_p = at[0] + first * loc_p_stride, *p = at[1] + first * p_stride;
        const REAL *loc_q = at[2] + first * loc_q_stride, *q = at[3] + first * q_stride;
        REAL *to = out + first, *over_q = kept->over_q;
        intptr_t i = 0;
        for (; (q != kept->q || n != kept->n) && i < n; i += V(lanes))
            V(store)(over_q + i, FD_LOCAL(kl_reciprocal)(FD_LOCAL(pick_scale)(q + i * q_stride, q_stride, n - i)));
        kept->q = q;
        kept->n = n;
        for (i = 0; i + V(lanes) <= n; i += V(lanes))
            FD_LOCAL(normal_kl_vector)(V(lanes), to + i, loc_p + i * loc_p_stride, loc_p_stride, p + i * p_stride,
                                       p_stride, loc_q + i * loc_q_stride, loc_q_stride, q + i * q_stride, q_stride,
                                       over_q + i);
        if (i < n)
            FD_LOCAL(normal_kl_vector)(n - i, to + i, loc_p + i * loc_p_stride, loc_p_stride, p + i * p_stride,
                                       p_stride, loc_q + i * loc_q_stride, loc_q_stride, q + i * q_stride, q_stride,
                                       over_q + i);
    }
}

static void FD_NAME(normal_kl)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t stride[4] = {STRIDE(1), STRIDE(2), STRIDE(3), STRIDE(4)};
    FD_LOCAL(kl_reciprocals) kept;
    kept.q = NULL;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        FD_LOCAL(normal_kl_run)(run.n, AT(0), (REAL *const[]){AT(1), AT(2), AT(3), AT(4)}, stride, &kept);
}
