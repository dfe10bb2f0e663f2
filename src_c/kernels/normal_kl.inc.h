/* kernels/normal_kl.inc.h - Kullback-Leibler divergence of scalars. The part that is due to scales is
 *
 *     (r^2 - 1) / 2 - log r = w + w^2 / 2 - log r,   r = p / q, w = r - 1
 *
 * With r = 2^k (1 + f) and log(1 + f) = f - f^2 / 2 + s (f^2 / 2 + R) (log.inc.h) it is
 *
 *     w - f - k log 2 + w^2 / 2 + f^2 / 2 - s (f^2 / 2 + R)
 *
 * Near r = 1, where k is 0, f is taken to be w, which is exact: the first terms, that would cancel, are 0.
 * There R is right to a third of a rounding of the sum. Computed in double whatever the dtype, like the
 * logarithm; included once an ISA, before the dtypes. */

/* R of s^2, in two halves that do not wait for each other. */
FD_INLINE f64v FD_STREAM(log_series)(f64v s2)
{
    const double *lg = FD_STREAM(lg);
    const f64v s4 = f64v_mul(s2, s2);
    f64v even = f64v_set1(lg[0]), odd = f64v_set1(lg[1]);
    for (int i = 2; i < 6; i += 2) {
        even = f64v_fma(even, s4, f64v_set1(lg[i]));
        odd = f64v_fma(odd, s4, f64v_set1(lg[i + 1]));
    }
    even = f64v_fma(even, s4, f64v_set1(lg[6]));
    return f64v_fma(odd, s4, f64v_mul(even, s2));
}

/* The ratio itself may under- or overflow where its logarithm does not: replaces such lanes of a result. */
FD_ALONE f64v FD_STREAM(kl_beyond)(f64v result, unsigned within, f64v delta, f64v p, f64v q)
{
    double out[f64v_lanes], z[f64v_lanes], r[f64v_lanes], log_r[f64v_lanes];
    f64v_store(out, result);
    f64v_store(z, f64v_div(delta, q));
    f64v_store(r, f64v_div(p, q));
    f64v_store(log_r, f64v_sub(FD_STREAM(log)(p), FD_STREAM(log)(q)));
    for (int j = 0; j < f64v_lanes; j++)
        if (!(within >> j & 1))
            out[j] = 0.5 * ((r[j] - 1) * (r[j] + 1) + z[j] * z[j]) - log_r[j];
    return f64v_load(out);
}

/* 1 / q, or NaN where it or q is near the ends of the range. */
FD_INLINE f64v FD_STREAM(kl_reciprocal)(f64v q)
{
    const f64v over_q = f64v_div(f64v_set1(1), q);
    const unsigned within = f64v_below(f64v_set1(0x1p-1020), over_q) & f64v_below(over_q, f64v_set1(0x1p1020));
    return f64v_select(within, over_q, f64v_set1((double)NAN));
}

/* Of delta = loc_p - loc_q and the scales, over_q = kl_reciprocal(q). */
FD_INLINE f64v FD_STREAM(normal_kl)(f64v delta, f64v p, f64v q, f64v over_q)
{
    const unsigned all = (1u << f64v_lanes) - 1;
    const f64v half = f64v_set1(0.5), r = f64v_mul(p, over_q);
    const f64v w = f64v_mul(f64v_sub(p, q), over_q), z = f64v_mul(delta, over_q);
    f64v k;
    const f64v m = FD_STREAM(split)(r, &k);
    const unsigned near = f64v_below(f64v_abs(w), f64v_set1(0.29));
    const unsigned within = f64v_below(f64v_abs(k), f64v_set1(1020)); /* false for NaN, which has k = 1024 */
    const f64v f = f64v_select(near, w, f64v_sub(m, f64v_set1(1)));
    const f64v s = f64v_div(f, f64v_add(f64v_set1(2), f)), half_square = f64v_mul(half, f64v_mul(f, f));
    const f64v rest = f64v_mul(s, f64v_add(half_square, FD_STREAM(log_series)(f64v_mul(s, s))));
    const f64v squares = f64v_fma(f64v_mul(half, z), z, f64v_fma(f64v_mul(half, w), w, half_square));
    const f64v high = f64v_fnma(k, f64v_set1(FD_LN2_HIGH), f64v_sub(w, f));
    const f64v low = f64v_fma(k, f64v_set1(FD_LN2_LOW), rest);
    const f64v result = f64v_add(squares, f64v_sub(high, low));
    return FD_UNLIKELY(within != all) ? FD_STREAM(kl_beyond)(result, within, delta, p, q) : result;
}
