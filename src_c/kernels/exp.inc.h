/* kernels/exp.inc.h - exponentials, logarithms and what is made of them, the same bits on every ISA.
 *
 *   exp 1, expm1 0.9, log 0.8, log1p 0.9 ulp
 *   tanh 0.6, atanh 0.9
 *   sigmoid 0.7, log_ratio 0.9                log_ratio(p) = log(p / (1 - p))
 *   softplus 1.1, softplus_inverse 1.1        softplus(x) = log(1 + e^x)
 *   log_sech2 5                               log(1 - tanh(x)^2)
 *   power, root 0.8                           x^p, x^(1/p); float by double
 *
 * Subnormal results are within one of their units.
 *
 * x = k log(2) + r, |r| <= log(2)/2, and e^r is Taylor's series, of which the first term left away is r^15/15!, 2^-62,
 * or of float r^9/9!, 2^-32. Where the roundings of one function would add up in another, numbers go on as sums
 * high + low of which the second is less than a unit of the first in the last place (Dekker, "A floating-point
 * technique for extending the available precision", Numer. Math. 18 (1971) 224-242). */

#if REAL_IS_DOUBLE
#define FD_BITS(word) u64v_##word
#define FD_MANTISSA 52
#define FD_BIAS 1023
#define FD_ROUNDER 0x1.8p52
#define FD_SIGN 0x8000000000000000
#define FD_NORMAL 0x1p-1022
#define FD_LIFT 54 /* as a power of 2 makes subnormal numbers normal */
#define FD_TERMS 13
/* Within the first of these bounds exp(x) is a normal number, beyond the others 0 or infinite. */
#define FD_EXP_NORMAL 708
#define FD_EXP_LEAST -746
#define FD_EXP_MOST 710
#define FD_LOG_2_LOW 2.3190468138462996e-17
#else
#define FD_BITS(word) u32v_##word
#define FD_MANTISSA 23
#define FD_BIAS 127
#define FD_ROUNDER 0x1.8p23f
#define FD_SIGN 0x80000000
#define FD_NORMAL 0x1p-126f
#define FD_LIFT 25
#define FD_TERMS 7
#define FD_EXP_NORMAL 87
#define FD_EXP_LEAST -105
#define FD_EXP_MOST 89
#define FD_LOG_2_LOW -1.9046542e-9f
#endif
#define FD_LOG_2 0.69314718055994530942

FD_INLINE VEC FD_LOCAL(negative)(VEC x) { return V(sub)(V(set1)(0), x); }

/* a + b and, in *low, what its rounding has lost (Knuth, see fd_add_up). */
FD_INLINE VEC FD_LOCAL(two_sum)(VEC a, VEC b, VEC *low)
{
    const VEC sum = V(add)(a, b), back = V(sub)(sum, a);
    *low = V(add)(V(sub)(a, V(sub)(sum, back)), V(sub)(b, back));
    return sum;
}

/* The same where |a| >= |b|, or b is 0. */
FD_INLINE VEC FD_LOCAL(ordered_sum)(VEC a, VEC b, VEC *low)
{
    const VEC sum = V(add)(a, b);
    *low = V(add)(V(sub)(a, sum), b);
    return sum;
}

/* (a + a_low) / (b + b_low), rounded nearly once, given 1 / b to a few ulp. */
FD_INLINE VEC FD_LOCAL(divide_sums)(VEC a, VEC a_low, VEC b, VEC b_low, VEC over_b)
{
    const VEC q = V(mul)(a, over_b);
    return V(fma)(V(add)(V(fnma)(q, b, a), V(fnma)(q, b_low, a_low)), over_b, q);
}

/* |x| below some bound is all that matters; NaN stays. */
FD_INLINE VEC FD_LOCAL(abs_below)(VEC x, REAL bound) { return V(min)(V(set1)(bound), V(abs)(x)); }

FD_INLINE VEC FD_LOCAL(with_sign)(VEC size, VEC x)
{
    return V(from_bits)(FD_BITS(or)(FD_BITS(bits)(size), FD_BITS(and)(FD_BITS(bits)(x), FD_BITS(set1)(FD_SIGN))));
}

/* f where |x| is so small that it is x, which also keeps the sign of 0. */
FD_INLINE VEC FD_LOCAL(unless_tiny)(VEC f, VEC x)
{
    const unsigned tiny = V(below)(V(abs)(x), V(set1)(REAL_EPSILON / 4));
    return FD_UNLIKELY(tiny) ? V(select)(tiny, x, f) : f;
}

/* ---- powers of 2 -------------------------------------------------------------------------------- */

/* 2^k of an integer, if that is a normal number. A number that is added to FD_ROUNDER is rounded to an integer,
 * whose bits are then the lowest ones. */
FD_INLINE VEC FD_LOCAL(power_of_two)(VEC k)
{
    const VEC biased = V(add)(k, V(set1)(FD_ROUNDER + FD_BIAS));
    return V(from_bits)(FD_BITS(sll)(FD_BITS(bits)(biased), FD_MANTISSA));
}

/* x 2^k of an integer of which half may be an exponent. */
FD_INLINE VEC FD_LOCAL(scale_by)(VEC x, VEC k)
{
    const VEC rounder = V(set1)(FD_ROUNDER), half = V(sub)(V(fma)(k, V(set1)((REAL)0.5), rounder), rounder);
    return V(mul)(V(mul)(x, FD_LOCAL(power_of_two)(half)), FD_LOCAL(power_of_two)(V(sub)(k, half)));
}

/* ---- exponentials -------------------------------------------------------------------------------- */

/* (e^r - 1 - r) / r^2, by pairs of terms, then pairs of pairs, so that few wait for each other (Estrin). */
FD_INLINE VEC FD_LOCAL(exp_series)(VEC r, VEC r2)
{
    static const REAL term[] = {(REAL)(1 / 2.0),           (REAL)(1 / 6.0),          (REAL)(1 / 24.0),
                                (REAL)(1 / 120.0),         (REAL)(1 / 720.0),        (REAL)(1 / 5040.0),
                                (REAL)(1 / 40320.0),       (REAL)(1 / 362880.0),     (REAL)(1 / 3628800.0),
                                (REAL)(1 / 39916800.0),    (REAL)(1 / 479001600.0),  (REAL)(1 / 6227020800.0),
                                (REAL)(1 / 87178291200.0)};
    enum { N = FD_TERMS, N_PAIR = (N + 1) / 2, N_QUAD = (N_PAIR + 1) / 2 };
    const VEC r4 = V(mul)(r2, r2);
    VEC pair[N_PAIR], quad[N_QUAD];
    FD_UNROLL
    for (int i = 0; i < N_PAIR; i++) {
        pair[i] = V(set1)(term[2 * i]);
        if (2 * i + 1 < N)
            pair[i] = V(fma)(V(set1)(term[2 * i + 1]), r, pair[i]);
    }
    FD_UNROLL
    for (int i = 0; i < N_QUAD; i++)
        quad[i] = 2 * i + 1 < N_PAIR ? V(fma)(pair[2 * i + 1], r2, pair[2 * i]) : pair[2 * i];
    VEC sum = quad[N_QUAD - 1];
    FD_UNROLL
    for (int i = N_QUAD - 2; i >= 0; i--)
        sum = V(fma)(sum, r4, quad[i]);
    return sum;
}

/* e^x = 2^k y: y, and k + FD_ROUNDER. */
FD_INLINE VEC FD_LOCAL(exp_mantissa)(VEC x, VEC *shifted)
{
    const VEC rounder = V(set1)(FD_ROUNDER);
    *shifted = V(fma)(x, V(set1)((REAL)1.4426950408889634074), rounder);
    const VEC k = V(sub)(*shifted, rounder);
    const VEC r = V(fnma)(k, V(set1)(FD_LOCAL(ln2)[1]), V(fnma)(k, V(set1)(FD_LOCAL(ln2)[0]), x)), r2 = V(mul)(r, r);
    return V(add)(V(set1)(1), V(fma)(r2, FD_LOCAL(exp_series)(r, r2), r));
}

/* Where some are no normal numbers. */
FD_ALONE VEC FD_LOCAL(exp_beyond)(VEC x)
{
    VEC shifted;
    const VEC y = FD_LOCAL(exp_mantissa)(V(max)(V(set1)(FD_EXP_LEAST), V(min)(V(set1)(FD_EXP_MOST), x)), &shifted);
    return FD_LOCAL(scale_by)(y, V(sub)(shifted, V(set1)(FD_ROUNDER)));
}

FD_INLINE VEC FD_LOCAL(exp)(VEC x)
{
    VEC shifted;
    if (FD_UNLIKELY(V(below)(V(abs)(x), V(set1)(FD_EXP_NORMAL)) != FD_LOCAL(first_lanes)(V(lanes))))
        return FD_LOCAL(exp_beyond)(x);
    const VEC y = FD_LOCAL(exp_mantissa)(x, &shifted);
    return V(from_bits)(FD_BITS(add)(FD_BITS(bits)(y), FD_BITS(sll)(FD_BITS(bits)(shifted), FD_MANTISSA)));
}

/* e^(x + x_low) = 2^k (1 + the result + low); has_low is a compile-time constant. */
FD_INLINE VEC FD_LOCAL(reduced_expm1)(VEC x, int has_low, VEC x_low, VEC *k, VEC *low)
{
    const VEC rounder = V(set1)(FD_ROUNDER), ln2_low = V(set1)(FD_LOCAL(ln2)[1]);
    *k = V(sub)(V(fma)(x, V(set1)((REAL)1.4426950408889634074), rounder), rounder);
    VEC lost = V(set1)(0), coarse = V(fnma)(*k, V(set1)(FD_LOCAL(ln2)[0]), x);
    if (has_low)
        coarse = FD_LOCAL(ordered_sum)(coarse, x_low, &lost);
    const VEC r = V(fnma)(*k, ln2_low, coarse), r2 = V(mul)(r, r);
    VEC r_low = V(fnma)(*k, ln2_low, V(sub)(coarse, r));
    if (has_low)
        r_low = V(add)(r_low, lost);
    const VEC rest = V(fma)(r2, FD_LOCAL(exp_series)(r, r2), V(fma)(r_low, r, r_low));
    return FD_LOCAL(ordered_sum)(r, rest, low);
}

/* e^x for x <= 0, as a sum. */
FD_INLINE VEC FD_LOCAL(exp_sum)(VEC x, VEC *low)
{
    const unsigned within = V(below)(V(abs)(x), V(set1)(FD_EXP_NORMAL));
    VEC k, high_low, sum_low;
    const VEC high = FD_LOCAL(reduced_expm1)(V(max)(V(set1)(FD_EXP_LEAST), x), 0, x, &k, &high_low);
    const VEC sum = FD_LOCAL(ordered_sum)(V(set1)(1), high, &sum_low), rest = V(add)(sum_low, high_low);
    if (FD_UNLIKELY(within != FD_LOCAL(first_lanes)(V(lanes)))) {
        *low = FD_LOCAL(scale_by)(rest, k);
        return FD_LOCAL(scale_by)(sum, k);
    }
    const VEC power = FD_LOCAL(power_of_two)(k);
    *low = V(mul)(rest, power);
    return V(mul)(sum, power);
}

/* e^(x + x_low) - 1 as a sum, for x between -60 (float: -30) and FD_EXP_MOST: twice that of half of it, since the
 * largest power of 2 that counts is no number. */
FD_INLINE VEC FD_LOCAL(bounded_expm1)(VEC x, int has_low, VEC x_low, VEC *low)
{
    VEC k, high_low;
    const VEC high = FD_LOCAL(reduced_expm1)(x, has_low, x_low, &k, &high_low);
    const VEC power = FD_LOCAL(power_of_two)(V(sub)(k, V(set1)(1))), less = V(sub)(power, V(set1)((REAL)0.5));
    const VEC sum = V(fma)(power, high, less);
    const VEC rest = V(fma)(power, high_low, V(fma)(power, high, V(sub)(less, sum)));
    *low = V(add)(rest, rest);
    return V(add)(sum, sum);
}

FD_INLINE VEC FD_LOCAL(expm1_sum)(VEC x, VEC *low)
{
    const VEC most = V(set1)(FD_EXP_MOST), least = V(set1)(REAL_IS_DOUBLE ? -60 : -30);
    return FD_LOCAL(bounded_expm1)(V(max)(least, V(min)(most, x)), 0, x, low);
}

FD_INLINE VEC FD_LOCAL(expm1)(VEC x)
{
    VEC low;
    const VEC high = FD_LOCAL(expm1_sum)(x, &low);
    return FD_LOCAL(unless_tiny)(V(add)(high, low), x);
}

/* ---- logarithms ----------------------------------------------------------------------------------- */

/* log(u + u_low) + less log(2) of normal u; the series is that of log.inc.h. */
FD_INLINE VEC FD_LOCAL(log_of_normal)(VEC u, VEC u_low, VEC less)
{
    VEC k, lost;
    const VEC m = FD_LOCAL(split)(u, &k), least = V(set1)(1 - FD_BIAS);
    const VEC moved = V(mul)(u_low, FD_LOCAL(power_of_two)(V(max)(least, FD_LOCAL(negative)(k))));
    const VEC f = FD_LOCAL(ordered_sum)(V(sub)(m, V(set1)(1)), moved, &lost);
    k = V(sub)(k, less);

    const VEC s = V(div)(f, V(add)(V(set1)(2), f)), s2 = V(mul)(s, s);
    VEC r = V(set1)(FD_LOCAL(lg)[0]);
    FD_UNROLL
    for (int i = 1; i < (int)(sizeof FD_LOCAL(lg) / sizeof *FD_LOCAL(lg)); i++)
        r = V(fma)(r, s2, V(set1)(FD_LOCAL(lg)[i]));
    const VEC half_square = V(mul)(V(mul)(V(set1)((REAL)0.5), f), f);
    const VEC low = V(fma)(s, V(fma)(r, s2, half_square), V(fma)(k, V(set1)(FD_LOCAL(ln2)[1]), lost));
    return V(fma)(k, V(set1)(FD_LOCAL(ln2)[0]), V(sub)(f, V(sub)(half_square, low)));
}

/* log(u + u_low); infinity for itself, -infinity for 0, NaN below and for NaN. */
FD_INLINE VEC FD_LOCAL(log_sum)(VEC u, VEC u_low)
{
    const VEC zero = V(set1)(0), infinity = V(set1)((REAL)INFINITY), normal = V(set1)(FD_NORMAL);
    const unsigned finite = V(below)(u, infinity), all = FD_LOCAL(first_lanes)(V(lanes));
    if ((V(below)(normal, u) & finite) == all)
        return FD_LOCAL(log_of_normal)(u, u_low, zero);
    const unsigned tiny = V(below)(u, normal), positive = V(below)(zero, u), below_zero = V(below)(u, zero);
    const VEC lifted = V(select)(tiny, V(mul)(u, V(set1)(REAL_LDEXP(1, FD_LIFT))), u);
    const VEC y = FD_LOCAL(log_of_normal)(lifted, V(select)(tiny, zero, u_low), V(select)(tiny, V(set1)(FD_LIFT), zero));
    const VEC beyond = V(select)(positive, infinity, V(set1)((REAL)NAN));
    const VEC end = V(select)(finite & ~below_zero, FD_LOCAL(negative)(infinity), beyond);
    return V(select)(positive & finite, y, end);
}

FD_INLINE VEC FD_LOCAL(log)(VEC x) { return FD_LOCAL(log_sum)(x, V(set1)(0)); }

/* log(1 + x + x_low) */
FD_INLINE VEC FD_LOCAL(log1p_sum)(VEC x, VEC x_low)
{
    VEC low;
    const VEC u = FD_LOCAL(two_sum)(V(set1)(1), x, &low);
    return FD_LOCAL(log_sum)(u, V(add)(low, x_low));
}

FD_INLINE VEC FD_LOCAL(log1p)(VEC x) { return FD_LOCAL(unless_tiny)(FD_LOCAL(log1p_sum)(x, V(set1)(0)), x); }

/* log(1 + x) for 0 <= x < 2^100, NaN for NaN. */
FD_INLINE VEC FD_LOCAL(log1p_of_positive)(VEC x)
{
    const VEC one = V(set1)(1);
    VEC low;
    const VEC u = FD_LOCAL(ordered_sum)(V(max)(one, x), V(min)(one, x), &low);
    return FD_LOCAL(log_of_normal)(u, low, V(set1)(0));
}

/* ---- tanh ------------------------------------------------------------------------------------------ */

/* m / (m + 2), m = e^(2 |x|) - 1, which rounds to 1 from 20 on; and log(1 - tanh(x)^2) = -log(1 + sinh(x)^2),
 * sinh(x)^2 = m^2 / (m + 1) / 4. One division does for both. */
FD_INLINE VEC FD_LOCAL(tanh_and_log_slope)(VEC x, VEC *log_slope)
{
    const VEC one = V(set1)(1), two = V(set1)(2), size = V(abs)(x), a = V(min)(V(set1)(20), size);
    VEC low, sum_low;
    const VEC m = FD_LOCAL(bounded_expm1)(V(add)(a, a), 0, a, &low), more = V(add)(m, one);
    const VEC sum = FD_LOCAL(ordered_sum)(V(max)(two, m), V(min)(two, m), &sum_low);
    const VEC over = V(div)(one, V(mul)(more, sum));
    const VEC y = FD_LOCAL(divide_sums)(m, low, sum, V(add)(sum_low, low), V(mul)(over, more));
    const VEC square = V(mul)(V(mul)(V(set1)((REAL)0.25), m), V(mul)(m, V(mul)(over, sum)));
    const unsigned far = V(below)(V(set1)(20), size);
    *log_slope = FD_LOCAL(negative)(FD_LOCAL(log1p_of_positive)(square));
    if (FD_UNLIKELY(far))
        *log_slope = V(select)(far, V(sub)(V(set1)((REAL)(2 * FD_LOG_2)), V(add)(size, size)), *log_slope);
    return FD_LOCAL(with_sign)(y, x);
}

FD_INLINE VEC FD_LOCAL(tanh)(VEC x)
{
    VEC log_slope;
    return FD_LOCAL(tanh_and_log_slope)(x, &log_slope);
}

FD_INLINE VEC FD_LOCAL(log_sech2)(VEC x)
{
    VEC log_slope;
    (void)FD_LOCAL(tanh_and_log_slope)(x, &log_slope);
    return log_slope;
}

/* (a - q (b + b_low)) / b, what a quotient q = a / b has left. */
FD_INLINE VEC FD_LOCAL(rest_of_quotient)(VEC a, VEC q, VEC b, VEC b_low)
{
    const VEC rest = V(div)(V(fnma)(q, b_low, V(fnma)(q, b, a)), b);
    return V(select)(V(below)(V(abs)(rest), V(set1)(1)), rest, V(set1)(0)); /* 0 where q is infinite */
}

/* log(1 + 2 a / (1 - a)) / 2, a = |y| */
FD_INLINE VEC FD_LOCAL(atanh)(VEC y)
{
    VEC low;
    const VEC a = V(abs)(y), twice = V(add)(a, a), rest = FD_LOCAL(two_sum)(V(set1)(1), FD_LOCAL(negative)(a), &low);
    const VEC x = V(div)(twice, rest), x_low = FD_LOCAL(rest_of_quotient)(twice, x, rest, low);
    const VEC size = V(mul)(V(set1)((REAL)0.5), FD_LOCAL(log1p_sum)(x, x_low));
    return FD_LOCAL(with_sign)(FD_LOCAL(unless_tiny)(size, a), y);
}

/* ---- sigmoid and softplus --------------------------------------------------------------------------- */

/* 1 / (1 + e^-x), e^x / (1 + e^x) */
FD_INLINE VEC FD_LOCAL(sigmoid)(VEC x)
{
    const VEC zero = V(set1)(0), one = V(set1)(1);
    VEC low, sum_low;
    const VEC e = FD_LOCAL(exp_sum)(FD_LOCAL(negative)(V(abs)(x)), &low), sum = FD_LOCAL(ordered_sum)(one, e, &sum_low);
    const unsigned below_zero = V(below)(x, zero);
    return FD_LOCAL(divide_sums)(V(select)(below_zero, e, one), V(select)(below_zero, low, zero), sum,
                                 V(add)(sum_low, low), V(div)(one, sum));
}

/* log(p / (1 - p)), between 1/4 and 3/4 as log(1 + (2 p - 1) / (1 - p)). */
FD_INLINE VEC FD_LOCAL(log_ratio)(VEC p)
{
    const VEC one = V(set1)(1);
    VEC low, u_low;
    const VEC rest = FD_LOCAL(two_sum)(one, FD_LOCAL(negative)(p), &low), twice = V(fma)(V(set1)(2), p, V(set1)(-1));
    const unsigned is_near = V(below)(V(abs)(twice), V(set1)((REAL)0.5));
    const VEC above = V(select)(is_near, twice, p), q = V(div)(above, rest);
    const VEC q_low = FD_LOCAL(rest_of_quotient)(above, q, rest, low);
    const VEC sum = FD_LOCAL(two_sum)(one, q, &u_low);
    return FD_LOCAL(log_sum)(V(select)(is_near, sum, q), V(add)(V(select)(is_near, u_low, V(set1)(0)), q_low));
}

/* log(1 + e^x) = max(x, 0) + log(1 + e^-|x|); the second alone. */
FD_INLINE VEC FD_LOCAL(softplus_rest)(VEC x)
{
    VEC low, u_low;
    const VEC e = FD_LOCAL(exp_sum)(FD_LOCAL(negative)(V(abs)(x)), &low);
    const VEC u = FD_LOCAL(ordered_sum)(V(set1)(1), e, &u_low);
    return FD_LOCAL(log_of_normal)(u, V(add)(u_low, low), V(set1)(0));
}

FD_INLINE VEC FD_LOCAL(softplus)(VEC x) { return V(add)(V(max)(V(set1)(0), x), FD_LOCAL(softplus_rest)(x)); }

/* log(e^y - 1), near its zero as log(1 + 2 (e^(y - log 2) - 1)). */
FD_INLINE VEC FD_LOCAL(softplus_inverse)(VEC y)
{
    const VEC zero = V(set1)(0), most = V(set1)(40), close = V(sub)(y, V(set1)((REAL)FD_LOG_2));
    const unsigned is_near = V(below)(V(abs)(close), V(set1)((REAL)0.19)), far = V(below)(most, y);
    const VEC at = V(select)(is_near, close, V(max)(FD_LOCAL(negative)(most), V(min)(most, y)));
    VEC low, sum_low;
    const VEC at_low = V(select)(is_near, V(set1)(-FD_LOG_2_LOW), zero), high = FD_LOCAL(bounded_expm1)(at, 1, at_low, &low);
    const VEC m = FD_LOCAL(unless_tiny)(high, V(select)(is_near, most, at));
    const VEC sum = FD_LOCAL(two_sum)(V(set1)(1), V(add)(m, m), &sum_low);
    const VEC u = V(select)(is_near, sum, m), u_low = V(select)(is_near, V(add)(sum_low, V(add)(low, low)), low);
    return V(select)(far, y, FD_LOCAL(log_sum)(u, u_low));
}

/* ---- powers ---------------------------------------------------------------------------------------------- */

#if REAL_IS_DOUBLE
/* log(x) for x > 0, as a sum right to 2^-66: k log(2) + 2 s + s^3 (2/3 + s^2 (2/5 + ...)), s = f / (2 + f). */
FD_INLINE f64v log_as_sum(f64v x, f64v *low)
{
    static const double series[] = {2 / 29.0, 2 / 27.0, 2 / 25.0, 2 / 23.0, 2 / 21.0, 2 / 19.0, 2 / 17.0,
                                    2 / 15.0, 2 / 13.0, 2 / 11.0, 2 / 9.0,  2 / 7.0,  2 / 5.0};
    const f64v third = f64v_set1(2 / 3.0), third_low = f64v_set1(3.7007434154171886e-17), one = f64v_set1(1);
    const f64v zero = f64v_set1(0);
    const unsigned tiny = f64v_below(x, f64v_set1(FD_NORMAL));
    f64v k, d_low, error, w_low, r_low;
    const f64v m = split_f64(f64v_select(tiny, f64v_mul(x, f64v_set1(0x1p54)), x), &k), f = f64v_sub(m, one);
    k = f64v_sub(k, f64v_select(tiny, f64v_set1(54), zero));

    const f64v d = two_sum_f64(f64v_set1(2), f, &d_low), over_d = f64v_div(one, d), s = f64v_mul(f, over_d);
    const f64v s_low = f64v_mul(f64v_fnma(s, d_low, f64v_fnma(s, d, f)), over_d);
    const f64v z = f64v_mul(s, s);
    const f64v z_low = f64v_fma(f64v_add(s, s), s_low, f64v_fma(s, s, negative_f64(z)));
    f64v q = f64v_set1(series[0]);
    FD_UNROLL
    for (size_t i = 1; i < sizeof series / sizeof *series; i++)
        q = f64v_fma(q, z, f64v_set1(series[i]));
    const f64v w = ordered_sum_f64(third, f64v_mul(q, z), &w_low), t = f64v_mul(z, w);
    w_low = f64v_add(w_low, third_low);
    const f64v t_low = f64v_fma(z, w_low, f64v_fma(z_low, w, f64v_fma(z, w, negative_f64(t))));
    const f64v u = f64v_mul(s, t), u_low = f64v_fma(s, t_low, f64v_fma(s_low, t, f64v_fma(s, t, negative_f64(u))));
    const f64v r = ordered_sum_f64(f64v_add(s, s), u, &r_low);
    r_low = f64v_add(r_low, f64v_add(u_low, f64v_add(s_low, s_low)));
    const f64v sum = two_sum_f64(f64v_mul(k, f64v_set1(ln2_f64[0])), r, &error);
    return ordered_sum_f64(sum, f64v_add(error, f64v_fma(k, f64v_set1(ln2_f64[1]), r_low)), low);
}

/* x^(p + p_low) for x >= 0, p not 0; NaN for others. */
FD_INLINE f64v power_sum(f64v x, f64v p, f64v p_low)
{
    const f64v zero = f64v_set1(0), infinity = f64v_set1((double)INFINITY), nan = f64v_set1((double)NAN);
    f64v low, k, high_low;
    const f64v log_x = log_as_sum(x, &low), exponent = f64v_mul(p, log_x);
    const f64v rest = f64v_fma(p, low, f64v_fma(p_low, log_x, f64v_fma(p, log_x, negative_f64(exponent))));
    const unsigned within = f64v_below(f64v_abs(exponent), f64v_set1(800));
    const f64v bounded = f64v_max(f64v_set1(FD_EXP_LEAST), f64v_min(f64v_set1(FD_EXP_MOST), exponent));
    const f64v high = reduced_expm1_f64(bounded, 1, f64v_select(within, rest, zero), &k, &high_low);
    const f64v y = scale_by_f64(f64v_add(f64v_set1(1), f64v_add(high, high_low)), k);
    const unsigned positive = f64v_below(zero, x), finite = f64v_below(x, infinity), below_zero = f64v_below(x, zero);
    const unsigned rises = f64v_below(zero, p), falls = f64v_below(p, zero);
    const f64v at_zero = f64v_select(rises, zero, f64v_select(falls, infinity, nan));
    const f64v at_infinity = f64v_select(rises, infinity, f64v_select(falls, zero, nan));
    const f64v end = f64v_select(finite & ~below_zero, at_zero, f64v_select(positive & ~finite, at_infinity, nan));
    return f64v_select(positive & finite, y, end);
}

FD_INLINE f64v power_f64(f64v x, f64v p) { return power_sum(x, p, f64v_set1(0)); }

/* x^(1/p) */
FD_INLINE f64v root_f64(f64v x, f64v p)
{
    const f64v one = f64v_set1(1), over_p = f64v_div(one, p);
    return power_sum(x, over_p, f64v_mul(f64v_fnma(over_p, p, one), over_p));
}
#else
#define FD_OF_TWO_BY_DOUBLE(name)                                                              \
    FD_INLINE f32v name##_f32(f32v x, f32v p)                                                  \
    {                                                                                          \
        const f64v low = name##_f64(f64v_low(x), f64v_low(p));                                 \
        const int two = (int)f32v_lanes > (int)f64v_lanes;                                     \
        return f32v_narrow(low, two ? name##_f64(f64v_high(x), f64v_high(p)) : low);           \
    }

FD_OF_TWO_BY_DOUBLE(power)
FD_OF_TWO_BY_DOUBLE(root)
#undef FD_OF_TWO_BY_DOUBLE
#endif

#undef FD_BITS
#undef FD_MANTISSA
#undef FD_BIAS
#undef FD_ROUNDER
#undef FD_SIGN
#undef FD_NORMAL
#undef FD_LIFT
#undef FD_TERMS
#undef FD_EXP_NORMAL
#undef FD_EXP_LEAST
#undef FD_EXP_MOST
#undef FD_LOG_2_LOW
#undef FD_LOG_2
