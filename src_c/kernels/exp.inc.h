/* kernels/exp.inc.h - exponentials, logarithms near 1 and what is made of them, the same bits on every ISA.
 *
 *   exp 0.8, expm1 0.9, log1p 0.8 ulp
 *   tanh 0.6, atanh 0.8
 *   sigmoid 0.7, log_ratio 0.7                log_ratio(p) = log(p / (1 - p))
 *   softplus 1.1, softplus_inverse 1.1        softplus(x) = log(1 + e^x)
 *   log_sech2 3.5                             log(1 - tanh(x)^2)
 *   power 0.8                                 x^p
 *
 * all for float64; float32 is computed in double, and rounded. Subnormal results are within one of their units.
 *
 * x = k log(2) + r, |r| <= log(2)/2, and e^r - 1 is Taylor's series, the first term left away being r^15/15!, 2^-62.
 * Where the roundings of one function would add up in another, numbers go on as sums high + low of which the second is
 * less than a unit of the first in the last place (Dekker, "A floating-point technique for extending the available
 * precision", Numer. Math. 18 (1971) 224-242). */

/* Included once an ISA, after log.inc.h and before the dtypes. */

/* A number below 2^50 that is added to this is rounded to an integer, whose bits are then the lowest ones. */
#define FD_ROUNDER 0x1.8p52

/* a + b and, in *low, what its rounding has lost (Knuth, see fd_add_up). */
FD_INLINE f64v two_sum(f64v a, f64v b, f64v *low)
{
    const f64v sum = f64v_add(a, b), back = f64v_sub(sum, a);
    *low = f64v_add(f64v_sub(a, f64v_sub(sum, back)), f64v_sub(b, back));
    return sum;
}

/* (a + a_low) / (b + b_low), rounded nearly once. */
FD_INLINE f64v divide_sums(f64v a, f64v a_low, f64v b, f64v b_low)
{
    const f64v over_b = f64v_div(f64v_set1(1), b), q = f64v_mul(a, over_b);
    return f64v_fma(f64v_add(f64v_fnma(q, b, a), f64v_fnma(q, b_low, a_low)), over_b, q);
}

/* |x| below some bound is all that matters; NaN stays. */
FD_INLINE f64v abs_below(f64v x, double bound) { return f64v_min(f64v_set1(bound), f64v_abs(x)); }

FD_INLINE f64v with_sign(f64v size, f64v x)
{
    return f64v_from_bits(u64v_or(u64v_bits(size), u64v_and(u64v_bits(x), u64v_set1(0x8000000000000000))));
}

/* 2^k of an integer from -1022 to 1023. */
FD_INLINE f64v power_of_two(f64v k)
{
    return f64v_from_bits(u64v_sll(u64v_bits(f64v_add(k, f64v_set1(FD_ROUNDER + 1023))), 52));
}

/* x 2^k of an integer from -2044 to 2046. */
FD_INLINE f64v scale_by(f64v x, f64v k)
{
    const f64v rounder = f64v_set1(FD_ROUNDER), half = f64v_sub(f64v_fma(k, f64v_set1(0.5), rounder), rounder);
    return f64v_mul(f64v_mul(x, power_of_two(half)), power_of_two(f64v_sub(k, half)));
}

/* e^(x + x_low) = 2^k (1 + the result + low). */
FD_INLINE f64v reduced_expm1(f64v x, f64v x_low, f64v *k, f64v *low)
{
    static const double even[] = {1 / 87178291200.0, 1 / 479001600.0, 1 / 3628800.0, 1 / 40320.0,
                                  1 / 720.0,         1 / 24.0,        1 / 2.0};
    static const double odd[] = {1 / 6227020800.0, 1 / 39916800.0, 1 / 362880.0, 1 / 5040.0, 1 / 120.0, 1 / 6.0};
    const f64v rounder = f64v_set1(FD_ROUNDER);
    *k = f64v_sub(f64v_fma(x, f64v_set1(1.4426950408889634074), rounder), rounder);
    const f64v exact = f64v_fnma(*k, f64v_set1(ln2_f64[0]), x), ln2_low = f64v_set1(ln2_f64[1]);
    const f64v coarse = f64v_add(exact, x_low), r = f64v_fnma(*k, ln2_low, coarse);
    const f64v lost = f64v_add(f64v_sub(exact, coarse), x_low);
    const f64v r_low = f64v_add(f64v_fnma(*k, ln2_low, f64v_sub(coarse, r)), lost);

    const f64v r2 = f64v_mul(r, r);
    f64v of_even = f64v_set1(even[0]), of_odd = f64v_set1(odd[0]);
    FD_UNROLL
    for (size_t i = 1; i < sizeof even / sizeof *even; i++) {
        of_even = f64v_fma(of_even, r2, f64v_set1(even[i]));
        if (i < sizeof odd / sizeof *odd)
            of_odd = f64v_fma(of_odd, r2, f64v_set1(odd[i]));
    }
    const f64v rest = f64v_fma(r2, f64v_fma(of_odd, r, of_even), f64v_fma(r_low, r, r_low));
    const f64v high = f64v_add(r, rest);
    *low = f64v_add(f64v_sub(r, high), rest);
    return high;
}

FD_INLINE f64v exp_f64(f64v x)
{
    f64v k, low;
    x = f64v_max(f64v_set1(-746), f64v_min(f64v_set1(710), x)); /* 0 and infinity, too; NaN stays */
    const f64v high = reduced_expm1(x, f64v_set1(0), &k, &low);
    return scale_by(f64v_add(f64v_set1(1), high), k);
}

/* e^x for x <= 0, as a sum. */
FD_INLINE f64v exp_sum(f64v x, f64v *low)
{
    f64v k, high_low;
    const f64v high = reduced_expm1(f64v_max(f64v_set1(-746), x), f64v_set1(0), &k, &high_low);
    const f64v one = f64v_set1(1), sum = f64v_add(one, high);
    *low = scale_by(f64v_add(f64v_add(f64v_sub(one, sum), high), high_low), k);
    return scale_by(sum, k);
}

/* e^(x + x_low) - 1 as a sum: twice that of half of it, since 2^1024 is no number. */
FD_INLINE f64v expm1_sum(f64v x, f64v x_low, f64v *low)
{
    f64v k, high_low;
    x = f64v_max(f64v_set1(-60), f64v_min(f64v_set1(710), x));
    const f64v high = reduced_expm1(x, x_low, &k, &high_low), half = f64v_set1(0.5);
    const f64v power = power_of_two(f64v_sub(k, f64v_set1(1))), less = f64v_sub(power, half);
    const f64v sum = f64v_fma(power, high, less);
    const f64v rest = f64v_fma(power, high_low, f64v_fma(power, high, f64v_sub(less, sum)));
    *low = f64v_add(rest, rest);
    return f64v_add(sum, sum);
}

/* f where |x| is so small that it is x, which also keeps the sign of 0. */
FD_INLINE f64v unless_tiny(f64v f, f64v x)
{
    return f64v_select(f64v_below(f64v_abs(x), f64v_set1(0x1p-54)), x, f);
}

FD_INLINE f64v expm1_f64(f64v x)
{
    f64v low;
    const f64v high = expm1_sum(x, f64v_set1(0), &low);
    return unless_tiny(f64v_add(high, low), x);
}

/* log(u + u_low) or, where u is within a factor of sqrt(2) of 1, log(1 + x + x_low); infinity for itself,
 * -infinity for 0, NaN below and for NaN. The series is that of log.inc.h. */
FD_INLINE f64v log_sum(f64v u, f64v u_low, f64v x, f64v x_low)
{
    const f64v zero = f64v_set1(0), one = f64v_set1(1), infinity = f64v_set1((double)INFINITY);
    const unsigned tiny = f64v_below(u, f64v_set1(0x1p-1022));
    f64v k;
    const f64v m = split_f64(f64v_select(tiny, f64v_mul(u, f64v_set1(0x1p54)), u), &k);
    k = f64v_sub(k, f64v_select(tiny, f64v_set1(54), zero));
    const unsigned near = f64v_below(f64v_abs(k), f64v_set1(0.5));

    const f64v f = f64v_select(near, x, f64v_sub(m, one)), s = f64v_div(f, f64v_add(f64v_set1(2), f)), s2 = f64v_mul(s, s);
    f64v r = f64v_set1(lg_f64[0]);
    FD_UNROLL
    for (size_t i = 1; i < sizeof lg_f64 / sizeof *lg_f64; i++)
        r = f64v_fma(r, s2, f64v_set1(lg_f64[i]));
    r = f64v_mul(r, s2);
    const f64v half_square = f64v_mul(f64v_mul(f64v_set1(0.5), f), f);
    const f64v rounded = f64v_div(f64v_select(near, x_low, u_low), u);
    const f64v low = f64v_fma(s, f64v_add(half_square, r), f64v_fma(k, f64v_set1(ln2_f64[1]), rounded));
    const f64v y = f64v_fma(k, f64v_set1(ln2_f64[0]), f64v_sub(f, f64v_sub(half_square, low)));

    const unsigned positive = f64v_below(zero, u), finite = f64v_below(u, infinity), negative = f64v_below(u, zero);
    const f64v beyond = f64v_select(positive, infinity, f64v_set1((double)NAN));
    const f64v end = f64v_select(finite & ~negative, f64v_sub(zero, infinity), beyond);
    return f64v_select(positive & finite, y, end);
}

/* log(1 + x + x_low) */
FD_INLINE f64v log1p_sum(f64v x, f64v x_low)
{
    f64v low;
    const f64v u = two_sum(f64v_set1(1), x, &low);
    return unless_tiny(log_sum(u, f64v_add(low, x_low), x, x_low), x);
}

FD_INLINE f64v log1p_f64(f64v x) { return log1p_sum(x, f64v_set1(0)); }

/* m / (m + 2), m + low = e^(2 |x|) - 1, which rounds to 1 from 20 on. */
FD_INLINE f64v tanh_of(f64v x, f64v m, f64v low)
{
    f64v sum_low;
    const f64v sum = two_sum(m, f64v_set1(2), &sum_low);
    return with_sign(divide_sums(m, low, sum, f64v_add(sum_low, low)), x);
}

FD_INLINE f64v tanh_f64(f64v x)
{
    f64v low;
    const f64v a = abs_below(x, 20), m = expm1_sum(f64v_add(a, a), f64v_set1(0), &low);
    return tanh_of(x, m, low);
}

/* log(1 + 2 a / (1 - a)) / 2, a = |y| */
FD_INLINE f64v atanh_f64(f64v y)
{
    f64v low;
    const f64v a = f64v_abs(y), two = f64v_add(a, a), rest = two_sum(f64v_set1(1), f64v_sub(f64v_set1(0), a), &low);
    const f64v x = f64v_div(two, rest);
    const f64v x_low = f64v_div(f64v_fnma(x, low, f64v_fnma(x, rest, two)), rest);
    const unsigned finite = f64v_below(x, f64v_set1((double)INFINITY));
    const f64v size = f64v_mul(f64v_set1(0.5), log1p_sum(x, f64v_select(finite, x_low, f64v_set1(0))));
    return with_sign(unless_tiny(size, a), y);
}

/* 1 / (1 + e^-x), e^x / (1 + e^x) */
FD_INLINE f64v sigmoid_f64(f64v x)
{
    const f64v zero = f64v_set1(0), one = f64v_set1(1);
    f64v low, sum_low;
    const f64v e = exp_sum(f64v_sub(zero, f64v_abs(x)), &low), sum = two_sum(one, e, &sum_low);
    const unsigned negative = f64v_below(x, zero);
    return divide_sums(f64v_select(negative, e, one), f64v_select(negative, low, zero), sum, f64v_add(sum_low, low));
}

/* log(p / (1 - p)), between 1/4 and 3/4 as log(1 + (2 p - 1) / (1 - p)). */
FD_INLINE f64v log_ratio_f64(f64v p)
{
    const f64v zero = f64v_set1(0), one = f64v_set1(1);
    f64v low;
    const f64v rest = two_sum(one, f64v_sub(zero, p), &low), odds = f64v_div(p, rest);
    const f64v odds_low = f64v_div(f64v_fnma(odds, low, f64v_fnma(odds, rest, p)), rest);
    const f64v twice = f64v_fma(f64v_set1(2), p, f64v_sub(zero, one)), x = f64v_div(twice, rest);
    const f64v x_low = f64v_div(f64v_fnma(x, low, f64v_fnma(x, rest, twice)), rest);
    const unsigned exact = f64v_below(f64v_set1(0x1p-1000), odds) & f64v_below(odds, f64v_set1((double)INFINITY));
    return log_sum(odds, f64v_select(exact, odds_low, zero), x, x_low);
}

/* log(1 + e^x) = max(x, 0) + log(1 + e^-|x|) */
FD_INLINE f64v softplus_f64(f64v x)
{
    f64v low;
    const f64v e = exp_sum(f64v_sub(f64v_set1(0), f64v_abs(x)), &low);
    return f64v_add(f64v_max(f64v_set1(0), x), log1p_sum(e, low));
}

/* log(e^y - 1), near its zero as log(1 + 2 (e^(y - log 2) - 1)). */
FD_INLINE f64v softplus_inverse_f64(f64v y)
{
    const f64v zero = f64v_set1(0), near = f64v_sub(y, f64v_set1(0.69314718055994530942)), most = f64v_set1(40);
    const f64v near_low = f64v_set1(-2.3190468138462996e-17);
    const unsigned is_near = f64v_below(f64v_abs(near), f64v_set1(0.19)), far = f64v_below(most, y);
    f64v low, sum_low;
    const f64v at = f64v_select(is_near, near, f64v_min(most, y));
    const f64v m = unless_tiny(expm1_sum(at, f64v_select(is_near, near_low, zero), &low), at);
    const f64v x = f64v_add(m, m), x_low = f64v_add(low, low), sum = two_sum(f64v_set1(1), x, &sum_low);
    const f64v u = f64v_select(is_near, sum, m), u_low = f64v_select(is_near, f64v_add(sum_low, x_low), low);
    return f64v_select(far, y, log_sum(u, u_low, x, x_low));
}

/* log(1 - tanh(x)^2) = -log(1 + sinh(x)^2), sinh(x)^2 = m^2 / (m + 1) / 4, m = e^(2 |x|) - 1 */
FD_INLINE f64v log_sech2_of(f64v x, f64v m)
{
    const f64v quarter = f64v_mul(f64v_set1(0.25), m), size = f64v_abs(x);
    const f64v square = f64v_mul(quarter, f64v_div(m, f64v_add(m, f64v_set1(1))));
    const f64v far = f64v_sub(f64v_set1(1.3862943611198906188), f64v_add(size, size));
    return f64v_select(f64v_below(f64v_set1(20), size), far, f64v_sub(f64v_set1(0), log1p_f64(square)));
}

FD_INLINE f64v log_sech2_f64(f64v x)
{
    const f64v a = abs_below(x, 20);
    f64v low;
    return log_sech2_of(x, expm1_sum(f64v_add(a, a), f64v_set1(0), &low));
}

/* log(x) for x > 0, as a sum right to 2^-66: k log(2) + 2 s + s^3 (2/3 + s^2 (2/5 + ...)), s = f / (2 + f). */
FD_INLINE f64v log_as_sum(f64v x, f64v *low)
{
    static const double series[] = {2 / 29.0, 2 / 27.0, 2 / 25.0, 2 / 23.0, 2 / 21.0, 2 / 19.0, 2 / 17.0,
                                    2 / 15.0, 2 / 13.0, 2 / 11.0, 2 / 9.0,  2 / 7.0,  2 / 5.0};
    const f64v third = f64v_set1(2 / 3.0), third_low = f64v_set1(3.7007434154171886e-17), one = f64v_set1(1);
    const f64v zero = f64v_set1(0);
    const unsigned tiny = f64v_below(x, f64v_set1(0x1p-1022));
    f64v k, d_low, error;
    const f64v m = split_f64(f64v_select(tiny, f64v_mul(x, f64v_set1(0x1p54)), x), &k), f = f64v_sub(m, one);
    k = f64v_sub(k, f64v_select(tiny, f64v_set1(54), zero));

    const f64v d = two_sum(f64v_set1(2), f, &d_low), over_d = f64v_div(one, d), s = f64v_mul(f, over_d);
    const f64v s_low = f64v_mul(f64v_fnma(s, d_low, f64v_fnma(s, d, f)), over_d);
    const f64v z = f64v_mul(s, s);
    const f64v z_low = f64v_fma(f64v_add(s, s), s_low, f64v_fma(s, s, f64v_sub(zero, z)));
    f64v q = f64v_set1(series[0]);
    FD_UNROLL
    for (size_t i = 1; i < sizeof series / sizeof *series; i++)
        q = f64v_fma(q, z, f64v_set1(series[i]));
    q = f64v_mul(q, z);
    const f64v w = f64v_add(third, q), w_low = f64v_add(f64v_add(f64v_sub(third, w), q), third_low);
    const f64v t = f64v_mul(z, w);
    const f64v t_low = f64v_fma(z, w_low, f64v_fma(z_low, w, f64v_fma(z, w, f64v_sub(zero, t))));
    const f64v u = f64v_mul(s, t), u_low = f64v_fma(s, t_low, f64v_fma(s_low, t, f64v_fma(s, t, f64v_sub(zero, u))));
    const f64v twice = f64v_add(s, s), r = f64v_add(twice, u);
    const f64v r_low = f64v_add(f64v_add(f64v_sub(twice, r), u), f64v_add(u_low, f64v_add(s_low, s_low)));
    const f64v sum = two_sum(f64v_mul(k, f64v_set1(ln2_f64[0])), r, &error);
    const f64v rest = f64v_add(error, f64v_fma(k, f64v_set1(ln2_f64[1]), r_low)), high = f64v_add(sum, rest);
    *low = f64v_add(f64v_sub(sum, high), rest);
    return high;
}

/* x^(p + p_low) for x >= 0, p not 0; NaN for others. */
FD_INLINE f64v power_sum(f64v x, f64v p, f64v p_low)
{
    const f64v zero = f64v_set1(0), infinity = f64v_set1((double)INFINITY), nan = f64v_set1((double)NAN);
    f64v low, k, high_low;
    const f64v log_x = log_as_sum(x, &low), exponent = f64v_mul(p, log_x);
    const f64v rest = f64v_fma(p, low, f64v_fma(p_low, log_x, f64v_fma(p, log_x, f64v_sub(zero, exponent))));
    const unsigned within = f64v_below(f64v_abs(exponent), f64v_set1(800));
    const f64v bounded = f64v_max(f64v_set1(-746), f64v_min(f64v_set1(710), exponent));
    const f64v high = reduced_expm1(bounded, f64v_select(within, rest, zero), &k, &high_low);
    const f64v y = scale_by(f64v_add(f64v_set1(1), f64v_add(high, high_low)), k);
    const unsigned positive = f64v_below(zero, x), finite = f64v_below(x, infinity), negative = f64v_below(x, zero);
    const unsigned rises = f64v_below(zero, p), falls = f64v_below(p, zero);
    const f64v at_zero = f64v_select(rises, zero, f64v_select(falls, infinity, nan));
    const f64v at_infinity = f64v_select(rises, infinity, f64v_select(falls, zero, nan));
    const f64v end = f64v_select(finite & ~negative, at_zero, f64v_select(positive & ~finite, at_infinity, nan));
    return f64v_select(positive & finite, y, end);
}

FD_INLINE f64v power_f64(f64v x, f64v p) { return power_sum(x, p, f64v_set1(0)); }

/* x^(1/p) */
FD_INLINE f64v root_f64(f64v x, f64v p)
{
    const f64v one = f64v_set1(1), over_p = f64v_div(one, p);
    return power_sum(x, over_p, f64v_mul(f64v_fnma(over_p, p, one), over_p));
}

/* float by double: each half of a vector. */
#define FD_BY_DOUBLE(name)                                                                     \
    FD_INLINE f32v name##_f32(f32v x)                                                          \
    {                                                                                          \
        const f64v low = name##_f64(f64v_low(x));                                              \
        return f32v_narrow(low, (int)f32v_lanes > (int)f64v_lanes ? name##_f64(f64v_high(x)) : low); \
    }

FD_BY_DOUBLE(exp)
FD_BY_DOUBLE(expm1)
FD_BY_DOUBLE(log1p)
FD_BY_DOUBLE(tanh)
FD_BY_DOUBLE(atanh)
FD_BY_DOUBLE(sigmoid)
FD_BY_DOUBLE(log_ratio)
FD_BY_DOUBLE(softplus)
FD_BY_DOUBLE(softplus_inverse)
FD_BY_DOUBLE(log_sech2)

#define FD_OF_TWO_BY_DOUBLE(name)                                                              \
    FD_INLINE f32v name##_f32(f32v x, f32v p)                                                  \
    {                                                                                          \
        const f64v low = name##_f64(f64v_low(x), f64v_low(p));                                 \
        const int two = (int)f32v_lanes > (int)f64v_lanes;                                     \
        return f32v_narrow(low, two ? name##_f64(f64v_high(x), f64v_high(p)) : low);           \
    }

FD_OF_TWO_BY_DOUBLE(power)
FD_OF_TWO_BY_DOUBLE(root)
