/* kernels/log.inc.h - natural logarithms of scales and pivots, the same bits on every ISA.
 *
 * x = 2^k m with m in [sqrt(1/2), sqrt(2)), and log(m) = log(1 + f) = f - (f^2/2 - s (f^2/2 + R(s^2))), where
 * s = f / (2 + f); R is FreeBSD's e_log.c (Sun Microsystems, 1993), whose error is below 1 ulp.
 * Computed in double whatever the dtype: a float32 logarithm is the float64 one, rounded. */

/* Included once an ISA, before the dtypes. */
/* log(2) in two parts; k times the first is exact. */
static const double ln2_f64[] = {6.93147180369123816490e-01, 1.90821492927058770002e-10};
static const float ln2_f32[] = {6.9313812256e-01f, 9.0580006145e-06f};

/* m and k of a positive normal x: beyond sqrt(1/2) the exponent is one higher, then the DIGITS of the mantissa
 * and the exponent are taken apart; this becomes the low digits of BIG = 2^DIGITS. */
#define FD_SPLIT(name, V, U, DIGITS, MASK, ONE, ROOT_HALF, BIG, BIG_BITS, BIAS)                \
    FD_INLINE V name(V x, V *k)                                                                \
    {                                                                                          \
        const U shifted = U##_add(U##_bits(x), U##_set1(ONE - ROOT_HALF));                     \
        const U biased = U##_or(U##_srl(shifted, DIGITS), U##_set1(BIG_BITS)); /* BIG + BIAS + k */ \
        *k = V##_sub(V##_from_bits(biased), V##_set1(BIG + BIAS));                             \
        return V##_from_bits(U##_add(U##_and(shifted, U##_set1(MASK)), U##_set1(ROOT_HALF)));  \
    }

FD_SPLIT(split_f64, f64v, u64v, 52, 0x000fffffffffffff, 0x3ff0000000000000, 0x3fe6a09e667f3bcd, 0x1p52, 0x4330000000000000,
         1023)
FD_SPLIT(split_f32, f32v, u32v, 23, 0x007fffff, 0x3f800000, 0x3f3504f3, 0x1p23f, 0x4b000000, 127)
#undef FD_SPLIT

/* Coefficients of R, the highest power first; of e_logf.c for float. */
static const double lg_f64[] = {
    1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01, 2.222219843214978396e-01,
    2.857142874366239149e-01, 3.999999999940941908e-01, 6.666666666666735130e-01,
};
static const float lg_f32[] = {0.24279078841f, 0.28498786688f, 0.40000972152f, 0.66666662693f};

/* Of 2^k m. */
FD_INLINE f64v FD_STREAM(log_of_parts)(f64v m, f64v k)
{
    const f64v ln2_high = f64v_set1(ln2_f64[0]), ln2_low = f64v_set1(ln2_f64[1]);
    const f64v f = f64v_sub(m, f64v_set1(1)), s = f64v_div(f, f64v_add(f64v_set1(2), f)), s2 = f64v_mul(s, s);
    f64v r = f64v_set1(lg_f64[0]);
    for (size_t i = 1; i < sizeof lg_f64 / sizeof *lg_f64; i++)
        r = f64v_add(f64v_mul(r, s2), f64v_set1(lg_f64[i]));
    r = f64v_mul(r, s2);
    const f64v half_square = f64v_mul(f64v_mul(f64v_set1(0.5), f), f);
    const f64v low = f64v_add(f64v_mul(s, f64v_add(half_square, r)), f64v_mul(k, ln2_low));
    return f64v_sub(f64v_mul(k, ln2_high), f64v_sub(f64v_sub(half_square, low), f));
}

/* Where some x is not a positive normal number. */
FD_ALONE f64v FD_STREAM(log_beyond)(f64v x)
{
    const f64v zero = f64v_set1(0), infinity = f64v_set1((double)INFINITY);
    /* Subnormal numbers times 2^54 are normal. */
    const unsigned tiny = f64v_below(x, f64v_set1(0x1p-1022));
    f64v k;
    const f64v m = split_f64(f64v_select(tiny, f64v_mul(x, f64v_set1(0x1p54)), x), &k);
    const f64v y = FD_STREAM(log_of_parts)(m, f64v_sub(k, f64v_select(tiny, f64v_set1(54), zero)));

    /* NaN for NaN and below zero, infinity for itself, -infinity for zero. */
    const unsigned positive = f64v_below(zero, x), finite = f64v_below(x, infinity);
    const unsigned negative = f64v_below(x, zero);
    const f64v beyond = f64v_select(positive, infinity, f64v_set1((double)NAN));
    const f64v end = f64v_select(finite & ~negative, f64v_sub(zero, infinity), beyond);
    return f64v_select(positive & finite, y, end);
}

FD_INLINE f64v FD_STREAM(log)(f64v x)
{
    const unsigned normal = ~f64v_below(x, f64v_set1(0x1p-1022)) & f64v_below(x, f64v_set1((double)INFINITY));
    f64v k;
    if (FD_UNLIKELY(normal != (1u << f64v_lanes) - 1))
        return FD_STREAM(log_beyond)(x);
    const f64v m = split_f64(x, &k);
    return FD_STREAM(log_of_parts)(m, k);
}

/* Of 2^k x, x a product of mantissas or NaN; k may be infinite. */
FD_INLINE f64v FD_STREAM(log_of_product_vector)(f64v x, f64v k)
{
    f64v more;
    const f64v number = f64v_select(f64v_below(f64v_set1(0), x), x, f64v_set1(1)); /* 1 for NaN */
    const f64v m = split_f64(number, &more);
    const f64v y = FD_STREAM(log_of_parts)(m, f64v_add(k, more));
    return f64v_select(f64v_below(f64v_set1(0), x), y, x);
}

FD_ALONE double FD_STREAM(log_of_product)(double x, double k)
{
    double y[f64v_lanes];
    f64v_store(y, FD_STREAM(log_of_product_vector)(f64v_set1(x), f64v_set1(k)));
    return y[0];
}

static void FD_STREAM(log_f64)(intptr_t n, double *out, const double *x)
{
    intptr_t i = 0;
    for (; i + f64v_lanes <= n; i += f64v_lanes)
        f64v_store(out + i, FD_STREAM(log)(f64v_load(x + i)));
    if (i < n) {
        const f64v v = f64v_select((1u << (n - i)) - 1, f64v_load_first(x + i, n - i), f64v_set1(1));
        f64v_store_first(out + i, FD_STREAM(log)(v), n - i);
    }
}

static void FD_STREAM(log_f32)(intptr_t n, float *out, const float *x)
{
    for (intptr_t i = 0; i < n; i += f32v_lanes) {
        const intptr_t m = n - i;
        const f32v v = m >= f32v_lanes ? f32v_load(x + i)
                                       : f32v_select((1u << m) - 1, f32v_load_first(x + i, m), f32v_set1(1));
        const f64v low = FD_STREAM(log)(f64v_low(v));
        const f64v high = (int)f32v_lanes > (int)f64v_lanes ? FD_STREAM(log)(f64v_high(v)) : low;
        if (m >= f32v_lanes)
            f32v_store(out + i, f32v_narrow(low, high));
        else
            f32v_store_first(out + i, f32v_narrow(low, high), m);
    }
}
