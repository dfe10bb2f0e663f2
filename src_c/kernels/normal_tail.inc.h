/* kernels/normal_tail.inc.h - the standard normal distribution: its cdf, quantiles, density and hazard, in vectors of
 * doubles, the same bits on every ISA. docs/accuracy.md has the errors as measured.
 *
 *   normal_cdf, normal_log_cdf, normal_quantile   to 2 ulp, and *_single to 2^-27, for floats
 *   half_normal_cdf                               2 Phi(z) - 1, 0 below 0
 *   normal_log_quantile                           of the logarithm of a probability
 *   slopes_of_*, slope_of_*                       derivatives
 *
 * An argument z comes with what its rounding has lost, |z_low| <= ulp(z) / 2 (0 for floats): a relative change d of z
 * changes Phi(z) by z^2 d, hundreds of ulp far in the tail. There Phi(-a) = e^(-a^2/2) T(a), of which T is smooth and
 * slow, and the exponent has twice the digits: W. J. Cody, "Algorithm 715: SPECFUN", ACM TOMS 19 (1993) 22-30.
 * tools/normal_tables.py tells of the polynomials, and normal_tables.h has their constants in two parts: below, a
 * sum head + low is rounded where it is used. */

/* Included once an ISA, with the doubles, after mills.inc.h. */
#include "../normal_tables.h"

#define FD_SQRT_2PI 2.5066282746310005024

/* A polynomial whose constant is two numbers, as a sum. */
FD_INLINE f64v headed(int n, const double *table, f64v x, f64v *low)
{
    return ordered_sum_f64(f64v_set1(table[0]), polynomial(n - 1, table + 1, x), low);
}

/* (a + a_low)^2 / 2 as a sum; where that is infinite, *low is no number. */
FD_INLINE f64v half_square(f64v a, f64v a_low, f64v *low)
{
    const f64v half = f64v_mul(f64v_set1(0.5), a), s = f64v_mul(half, a);
    *low = f64v_fma(a, a_low, f64v_fma(half, a, negative_f64(s)));
    return s;
}

/* e^-(s + s_low) = 2^k (the result + low), s up to a bound, of which it is for all beyond. */
FD_INLINE f64v decay(f64v s, f64v s_low, double most, f64v *k, f64v *low)
{
    const f64v zero = f64v_set1(0), bound = f64v_set1(most), x = negative_f64(f64v_min(bound, s));
    f64v high_low;
    const f64v x_low = f64v_select(f64v_below(s, bound), negative_f64(s_low), zero);
    const f64v high = reduced_expm1_f64(x, 1, x_low, k, &high_low);
    const f64v sum = ordered_sum_f64(f64v_set1(1), high, low);
    *low = f64v_add(*low, high_low);
    return sum;
}

/* T(a + a_low), 0 <= a, as a sum; beyond 1e9 of 1e9. */
FD_INLINE f64v tail_factor(f64v a, f64v a_low, f64v *low)
{
    const f64v zero = f64v_set1(0), most = f64v_set1(1e9), z = f64v_min(most, a);
    const f64v z_low = f64v_select(f64v_below(a, most), a_low, zero);
    f64v d_low, p_low;
    const f64v d = two_sum_f64(z, f64v_set1(0.8125), &d_low), e = f64v_add(z, f64v_set1(5));
    const f64v over = f64v_div(f64v_set1(1), f64v_mul(d, e)), over_d = f64v_mul(over, e);
    const f64v y = f64v_fma(f64v_add(z, z), f64v_mul(over, d), f64v_set1(-1)); /* (z - 5) / (z + 5) */
    const f64v p = headed(FD_COUNT(fd_tail), fd_tail, y, &p_low), t = f64v_mul(p, over_d);
    d_low = f64v_add(d_low, z_low);
    *low = f64v_mul(f64v_add(f64v_fnma(t, d, p), f64v_fnma(t, d_low, p_low)), over_d);
    return t;
}

/* Of a >= 0 half its square, T and q = Phi(-a). */
typedef struct fd_upper {
    f64v s, s_low, t, t_low, q, q_low;
} fd_upper;

/* Beyond 39 q rounds to 0. Its power of 2 is that of a normal number if 2^100 are taken off in the end. */
FD_INLINE fd_upper upper_of(f64v a, f64v a_low)
{
    const f64v lift = f64v_set1(100), drop = f64v_set1(0x1p-100);
    fd_upper u;
    f64v k, e_low;
    u.s = half_square(a, a_low, &u.s_low);
    u.t = tail_factor(a, a_low, &u.t_low);
    const f64v e = decay(u.s, u.s_low, 761, &k, &e_low), power = power_of_two_f64(f64v_add(k, lift));
    const f64v q = f64v_mul(e, u.t), lost = f64v_fma(e, u.t, negative_f64(q));
    const f64v q_low = f64v_add(lost, f64v_fma(e, u.t_low, f64v_mul(e_low, u.t)));
    u.q = f64v_mul(f64v_mul(q, power), drop);
    u.q_low = f64v_mul(f64v_mul(q_low, power), drop);
    return u;
}

/* ---- of a number -------------------------------------------------------------------------------- */

typedef f64v fd_of_z(f64v z, f64v z_low);

FD_ALONE f64v normal_cdf(f64v z, f64v z_low)
{
    const unsigned below_zero = f64v_below(z, f64v_set1(0));
    const fd_upper u = upper_of(f64v_abs(z), f64v_select(below_zero, negative_f64(z_low), z_low));
    const f64v q = f64v_add(u.q, u.q_low);
    return f64v_select(below_zero, q, f64v_sub(f64v_set1(1), q));
}

/* Below 0 log(T) - z^2 / 2, of which both are negative; above log(1 - q). NaN is only in q. */
FD_ALONE f64v normal_log_cdf(f64v z, f64v z_low)
{
    const f64v zero = f64v_set1(0), one = f64v_set1(1);
    const unsigned below_zero = f64v_below(z, zero);
    const fd_upper u = upper_of(f64v_abs(z), f64v_select(below_zero, negative_f64(z_low), z_low));
    f64v p_low;
    const f64v p = ordered_sum_f64(one, negative_f64(u.q), &p_low);
    const f64v head = f64v_select(below_zero, u.t, p);
    const f64v low = f64v_select(below_zero, u.t_low, f64v_sub(p_low, u.q_low));
    const f64v y = f64v_fma(u.q, zero, log_of_normal_f64(head, low, zero));
    const unsigned far = below_zero & ~f64v_below(u.s, f64v_set1((double)INFINITY));
    const f64v lower = f64v_select(far, negative_f64(u.s), f64v_sub(f64v_sub(y, u.s_low), u.s));
    return f64v_select(below_zero, lower, y);
}

/* Near 0 by a polynomial that is odd, as differences would leave nothing. */
FD_ALONE f64v half_normal_cdf(f64v z, f64v z_low)
{
    const f64v zero = f64v_set1(0), a = f64v_max(zero, z), a_low = f64v_select(f64v_below(zero, z), z_low, zero);
    const fd_upper u = upper_of(a, a_low);
    const f64v q = f64v_add(u.q, u.q_low), y = f64v_fnma(f64v_set1(2), q, f64v_set1(1));
    f64v c_low;
    const f64v c = headed(FD_COUNT(fd_centre), fd_centre, f64v_fma(a, a, f64v_set1(-0.125)), &c_low);
    const f64v half = f64v_fma(a, c, f64v_fma(a, c_low, f64v_mul(a_low, c)));
    return f64v_select(f64v_below(a, f64v_set1(0.5)), f64v_add(half, half), y);
}

/* ---- for floats --------------------------------------------------------------------------------- */

/* T and q alike, by fewer terms; beyond 40 q is of 40, which no float is. */
FD_INLINE f64v upper_single(f64v a, f64v s, f64v *t)
{
    static const double term[] = {1, 1, 1 / 2.0, 1 / 6.0, 1 / 24.0, 1 / 120.0, 1 / 720.0, 1 / 5040.0, 1 / 40320.0};
    const f64v rounder = f64v_set1(0x1.8p52), z = f64v_min(f64v_set1(1e9), a), x = f64v_min(f64v_set1(700), s);
    const f64v d = f64v_add(z, f64v_set1(0.8125)), e = f64v_add(z, f64v_set1(5));
    const f64v over = f64v_div(f64v_set1(1), f64v_mul(d, e));
    const f64v y = f64v_fma(f64v_add(z, z), f64v_mul(over, d), f64v_set1(-1));
    const f64v p = polynomial(FD_COUNT(fd_tail_single) - 1, fd_tail_single + 1, y);
    *t = f64v_mul(f64v_add(p, f64v_set1(fd_tail_single[0])), f64v_mul(over, e));
    const f64v k = f64v_sub(f64v_fma(x, f64v_set1(-1.4426950408889634074), rounder), rounder);
    const f64v r = f64v_fnma(k, f64v_set1(FD_LOG_2), negative_f64(x));
    return f64v_mul(f64v_mul(polynomial(FD_COUNT(term), term, r), power_of_two_f64(k)), *t);
}

FD_ALONE f64v normal_cdf_single(f64v z, f64v z_low)
{
    const f64v half = f64v_set1(0.5);
    f64v t;
    (void)z_low;
    const f64v q = upper_single(f64v_abs(z), f64v_mul(f64v_mul(half, z), z), &t);
    return f64v_select(f64v_below(z, f64v_set1(0)), q, f64v_sub(f64v_set1(1), q));
}

FD_ALONE f64v normal_log_cdf_single(f64v z, f64v z_low)
{
    const f64v zero = f64v_set1(0), one = f64v_set1(1), s = f64v_mul(f64v_mul(f64v_set1(0.5), z), z);
    const unsigned below_zero = f64v_below(z, zero);
    f64v t, p_low;
    (void)z_low;
    const f64v q = upper_single(f64v_abs(z), s, &t), p = ordered_sum_f64(one, negative_f64(q), &p_low);
    const f64v low = f64v_select(below_zero, zero, p_low);
    const f64v y = f64v_fma(q, zero, log_of_normal_f64(f64v_select(below_zero, t, p), low, zero));
    return f64v_select(below_zero, f64v_sub(y, s), y);
}

/* ---- quantiles ---------------------------------------------------------------------------------- */

typedef f64v fd_of_p(f64v p);

/* The z with log Phi(-z) = -c - log(2), z >= 3: two estimates of it beyond where one is good to 1e-5 (mills.inc.h). */
FD_ALONE f64v far_quantile(f64v c)
{
    const f64v u = f64v_add(c, f64v_set1(FD_LOG_2)), zero = f64v_set1(0), mills_0 = f64v_set1(FD_SQRT_2PI / 2);
    const unsigned far = f64v_below(f64v_set1(1250), u), huge = f64v_below(f64v_set1(1e20), u);
    f64v z = nearer(zero, mills_0, c, near(zero, u, c));
    if (FD_UNLIKELY(far)) {
        z = f64v_select(far, nearer(zero, mills_0, c, z), z);
        const f64v root = f64v_sqrt(f64v_mul(f64v_set1(0.5), u));
        z = f64v_select(huge, f64v_add(root, root), z);
    }
    return z;
}

/* x = 2 p - 1 times the polynomial in w = -log(1 - x^2). */
FD_INLINE f64v central_quantile(f64v x, f64v x_low, f64v w)
{
    f64v low;
    const f64v f = headed(FD_COUNT(fd_quantile), fd_quantile, f64v_sub(w, f64v_set1(1.5)), &low);
    return f64v_fma(x, f, f64v_fma(x, low, f64v_mul(x_low, f)));
}

/* The polynomial is good for at least this probability on either side, and this logarithm of it. */
#define FD_TAIL_BEGIN 0.0005
#define FD_LOG_TAIL_BEGIN -7.6

/* By q = min(p, 1 - p), which is exact; with a minus where that is p. */
FD_INLINE f64v quantile_of(int single, f64v p)
{
    const f64v one = f64v_set1(1), q = f64v_min(p, f64v_sub(one, p)), twice = f64v_add(q, q);
    const unsigned central = f64v_below(f64v_set1(FD_TAIL_BEGIN), q);
    const f64v v = f64v_mul(f64v_add(twice, twice), f64v_sub(one, q));
    const f64v w = negative_f64(log_of_normal_f64(v, f64v_set1(0), f64v_set1(0)));
    f64v x_low, z;
    const f64v x = ordered_sum_f64(one, negative_f64(twice), &x_low);
    if (single) {
        const f64v t = f64v_sub(w, f64v_set1(1.5));
        const f64v f = polynomial(FD_COUNT(fd_quantile_single) - 1, fd_quantile_single + 1, t);
        z = f64v_mul(x, f64v_add(f, f64v_set1(fd_quantile_single[0])));
    } else
        z = central_quantile(x, x_low, w);
    if (FD_UNLIKELY(central != first_lanes_f64(f64v_lanes)))
        z = f64v_select(central, z, far_quantile(negative_f64(FD_STREAM(log)(twice))));
    return f64v_select(f64v_below(p, f64v_set1(0.5)), negative_f64(z), z);
}

FD_ALONE f64v normal_quantile(f64v p) { return quantile_of(0, p); }
FD_ALONE f64v normal_quantile_single(f64v p) { return quantile_of(1, p); }

/* With m = p - 1 for p above 3/4 x = 1 + 2 m and w = -log(-4 m) - log p; below x = m = e^(log p + log 2) - 1 and
 * w = -log(1 - m) - log(2 p). */
FD_ALONE f64v normal_log_quantile(f64v log_p)
{
    const f64v zero = f64v_set1(0), one = f64v_set1(1), log_2 = f64v_set1(FD_LOG_2);
    const unsigned top = f64v_below(f64v_set1(-0.29), log_p);
    const f64v bounded = f64v_max(f64v_set1(-30), f64v_min(one, log_p));
    f64v at_low, m_low, x_low;
    f64v at = two_sum_f64(bounded, log_2, &at_low);
    at = ordered_sum_f64(at, f64v_add(at_low, f64v_set1(2.3190468138462996e-17)), &at_low);
    at = f64v_select(top, bounded, at);
    at_low = f64v_select(top, zero, at_low);
    f64v m = bounded_expm1_f64(at, 1, at_low, &m_low);
    const unsigned tiny = f64v_below(f64v_abs(at), f64v_set1(0x1p-54));
    m = f64v_select(tiny, at, m);
    m_low = f64v_select(tiny, at_low, m_low);

    const f64v twice = f64v_add(m, m), top_x = ordered_sum_f64(one, twice, &x_low);
    const f64v x = f64v_select(top, top_x, m);
    x_low = f64v_select(top, f64v_add(x_low, f64v_add(m_low, m_low)), m_low);
    const f64v v = f64v_select(top, negative_f64(f64v_add(twice, twice)), f64v_sub(one, m));
    const f64v w = f64v_sub(negative_f64(log_of_normal_f64(v, zero, zero)), at);
    const f64v z = central_quantile(x, x_low, w);

    const unsigned lower = f64v_below(log_p, f64v_set1(FD_LOG_TAIL_BEGIN));
    const unsigned upper = top & f64v_below(f64v_set1(-FD_TAIL_BEGIN), m);
    if (!FD_UNLIKELY(lower | upper))
        return z;
    const f64v log_upper = FD_STREAM(log)(negative_f64(twice));
    const f64v far = far_quantile(negative_f64(f64v_select(lower, f64v_add(log_p, log_2), log_upper)));
    return f64v_select(lower, negative_f64(far), f64v_select(upper, far, z));
}

/* ---- slopes ------------------------------------------------------------------------------------- */

/* In two factors, of which the first is 0 where the slope is 0; neither is subnormal. */
typedef void fd_slopes(f64v z, f64v z_low, f64v slope[2]);

/* phi(z), down to 10^-608. */
FD_ALONE void slopes_of_cdf(f64v z, f64v z_low, f64v slope[2])
{
    const f64v most = f64v_set1(1400), rounder = f64v_set1(0x1.8p52);
    f64v s_low, k, e_low;
    const f64v s = half_square(z, z_low, &s_low), e = decay(s, s_low, 1400, &k, &e_low);
    const f64v half = f64v_sub(f64v_fma(k, f64v_set1(0.5), rounder), rounder);
    const f64v density = f64v_mul(f64v_set1(1 / FD_SQRT_2PI), f64v_add(e, e_low));
    slope[0] = f64v_select(f64v_below(most, s), f64v_set1(0), f64v_mul(density, power_of_two_f64(half)));
    slope[1] = power_of_two_f64(f64v_sub(k, half));
}

FD_ALONE void slopes_of_survival(f64v z, f64v z_low, f64v slope[2])
{
    slopes_of_cdf(z, z_low, slope);
    slope[0] = negative_f64(slope[0]);
}

/* M(a) = Phi(-a) / phi(a), a >= 0 */
FD_INLINE f64v mills_of(f64v a)
{
    const f64v zero = f64v_set1(0);
    f64v low;
    const f64v t = tail_factor(a, zero, &low), m = f64v_mul(f64v_set1(FD_SQRT_2PI), f64v_add(t, low));
    const unsigned far = f64v_below(f64v_set1(1e9), a);
    return FD_UNLIKELY(far) ? f64v_select(far, f64v_div(f64v_set1(1), a), m) : m;
}

/* phi(z) / Phi(-z): above 0 1 / M, or z itself where that rounds to it; below phi / (1 - phi M). */
FD_ALONE void normal_hazard(f64v z, f64v z_low, f64v slope[2])
{
    const f64v zero = f64v_set1(0), one = f64v_set1(1), a = f64v_abs(z);
    const unsigned above_zero = f64v_below(zero, z);
    f64v low;
    const f64v a_low = f64v_select(above_zero, z_low, negative_f64(z_low));
    const f64v t = tail_factor(a, a_low, &low), m = f64v_mul(f64v_set1(FD_SQRT_2PI), f64v_add(t, low));
    slopes_of_cdf(z, z_low, slope);
    const f64v rest = f64v_fnma(f64v_mul(slope[0], slope[1]), m, one);
    const f64v h = f64v_div(f64v_select(above_zero, one, slope[0]), f64v_select(above_zero, m, rest));
    slope[0] = f64v_select(f64v_below(f64v_set1(1e9), z), z, h);
    slope[1] = f64v_select(above_zero, one, slope[1]);
}

FD_ALONE void slopes_of_log_cdf(f64v z, f64v z_low, f64v slope[2])
{
    normal_hazard(negative_f64(z), negative_f64(z_low), slope);
}

FD_ALONE void slopes_of_log_survival(f64v z, f64v z_low, f64v slope[2])
{
    normal_hazard(z, z_low, slope);
    slope[0] = negative_f64(slope[0]);
}

/* A quantile z and its slope, as a quotient of which the lower number is 0 at the ends. With q, the smaller of p and
 * 1 - p, the density at z is q / M(|z|), which unlike the density itself does not magnify the rounding of z. */
typedef f64v fd_slope_of_quantile(f64v p, f64v *above, f64v *below);

FD_ALONE f64v slope_of_quantile(f64v p, f64v *above, f64v *below)
{
    const f64v z = normal_quantile(p);
    *above = mills_of(f64v_abs(z));
    *below = f64v_min(p, f64v_sub(f64v_set1(1), p));
    return z;
}

FD_ALONE f64v slope_of_upper_quantile(f64v p, f64v *above, f64v *below)
{
    const f64v z = slope_of_quantile(p, above, below);
    *above = f64v_mul(f64v_set1(-1), *above); /* of 0, too */
    return negative_f64(z);
}

/* p M / (1 - p) or, below 0, M. */
FD_ALONE f64v slope_of_log_quantile(f64v log_p, f64v *above, f64v *below)
{
    const f64v z = normal_log_quantile(log_p), m = mills_of(f64v_abs(z)), one = f64v_set1(1);
    const unsigned upper = f64v_below(f64v_set1(0), z);
    const f64v least = f64v_max(f64v_set1(-1), log_p); /* p is above 1/2 where it counts */
    *above = f64v_select(upper, f64v_mul(exp_f64(least), m), m);
    *below = f64v_select(upper, negative_f64(expm1_f64(least)), one);
    return z;
}
