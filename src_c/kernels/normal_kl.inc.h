/* kernels/normal_kl.inc.h - Kullback-Leibler divergence of scalars. The part that is due to scales is
 *
 *     (r^2 - 1) / 2 - log r,   r = p / q
 *
 * With w = r - 1 it is w^2 - w^3 / 3 + ...: near r = 1 the first terms of both parts cancel, and are never
 * made. From log(1 + f) = f - f^2 / 2 + s (f^2 / 2 + R), s = f / (2 + f), R = 2 s^2 / 3 + 2 s^4 / 5 + ...
 * (atanh) follows
 *
 *     w^2 - s (w^2 / 2 + R)                   near, f = w
 *     w (w + 2) / 2 - k log 2 - log(1 + f)    else, r = 2^k (1 + f)
 *
 * with |f| < 0.415 in both, so that what is left out of R is less than a tenth of a rounding. Computed in
 * double whatever the dtype, like the logarithm; included once an ISA, before the dtypes. */

/* r must be normal. */
FD_INLINE f64v FD_STREAM(kl_of_scales)(f64v r, f64v w)
{
    static const double coefficient[] = {2.0 / 21, 2.0 / 19, 2.0 / 17, 2.0 / 15, 2.0 / 13,
                                         2.0 / 11, 2.0 / 9,  2.0 / 7,  2.0 / 5,  2.0 / 3};
    const f64v half = f64v_set1(0.5), two = f64v_set1(2);
    const unsigned near = f64v_below(f64v_abs(w), f64v_set1(0.29));
    f64v k;
    const f64v m = FD_STREAM(split)(r, &k), f = f64v_select(near, w, f64v_sub(m, f64v_set1(1)));
    const f64v s = f64v_div(f, f64v_add(two, f)), s2 = f64v_mul(s, s), half_square = f64v_mul(half, f64v_mul(f, f));
    f64v series = f64v_set1(coefficient[0]);
    for (size_t i = 1; i < sizeof coefficient / sizeof *coefficient; i++)
        series = f64v_fma(series, s2, f64v_set1(coefficient[i]));
    const f64v rest = f64v_mul(s, f64v_fma(series, s2, half_square));
    const f64v low = f64v_fma(k, f64v_set1(FD_LN2_LOW), rest);
    const f64v log_r = f64v_fma(k, f64v_set1(FD_LN2_HIGH), f64v_sub(f, f64v_sub(half_square, low)));
    const f64v far = f64v_sub(f64v_mul(half, f64v_mul(w, f64v_add(w, two))), log_r);
    return f64v_select(near, f64v_sub(f64v_mul(w, w), rest), far);
}

/* The ratio itself may under- or overflow where its logarithm does not. */
static double FD_STREAM(kl_beyond)(double delta, double p, double q)
{
    double lane[f64v_lanes];
    const double r = p / q, z = delta / q;
    f64v_store(lane, f64v_sub(FD_STREAM(log)(f64v_set1(p)), FD_STREAM(log)(f64v_set1(q))));
    return 0.5 * ((r - 1) * (r + 1) + z * z) - lane[0];
}

/* Of delta = loc_p - loc_q and the scales, over_q = 1 / q. */
FD_INLINE f64v FD_STREAM(normal_kl)(f64v delta, f64v p, f64v q, f64v over_q)
{
    const unsigned all = (1u << f64v_lanes) - 1;
    const f64v half = f64v_set1(0.5), r = f64v_mul(p, over_q);
    const f64v w = f64v_mul(f64v_sub(p, q), over_q), z = f64v_mul(delta, over_q);
    const f64v low = f64v_set1(0x1p-1020), high = f64v_set1(0x1p1020);
    const unsigned within =
        f64v_below(low, r) & f64v_below(r, high) & f64v_below(low, over_q) & f64v_below(over_q, high);
    const f64v result = f64v_fma(f64v_mul(half, z), z, FD_STREAM(kl_of_scales)(r, w));
    if (FD_UNLIKELY(within != all)) {
        double out[f64v_lanes], d[f64v_lanes], of_p[f64v_lanes], of_q[f64v_lanes];
        f64v_store(out, result);
        f64v_store(d, delta);
        f64v_store(of_p, p);
        f64v_store(of_q, q);
        for (int j = 0; j < f64v_lanes; j++)
            if (!(within >> j & 1))
                out[j] = FD_STREAM(kl_beyond)(d[j], of_p[j], of_q[j]);
        return f64v_load(out);
    }
    return result;
}
