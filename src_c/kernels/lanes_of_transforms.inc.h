/* kernels/lanes_of_transforms.inc.h - of transforms y = f(x), in lanes: f and log |f'|, their inverses, and
 * derivatives of both. Included once an ISA, after exp.inc.h.
 *
 *   f_scored(x, &log_slope)            y and log |f'(x)|
 *   f_inverse_scored(y, &log_slope)    x and log |f'(x)|; outside of the values of f x is 0 and log |f'| infinite,
 *                                      so that a density is 0 there
 *   f_slopes(x, &of_log)               f'(x) and the derivative of log |f'(x)| */

FD_INLINE f64v negative(f64v x) { return f64v_sub(f64v_set1(0), x); }
FD_INLINE f64v outside(unsigned mask, f64v x, f64v *log_slope)
{
    *log_slope = f64v_select(mask, f64v_set1((double)INFINITY), *log_slope);
    return f64v_select(mask, f64v_set1(0), x);
}

FD_INLINE f64v absolute_f64(f64v x) { return f64v_abs(x); }
FD_INLINE f32v absolute_f32(f32v x) { return f32v_abs(x); }

/* ---- exp ---------------------------------------------------------------------------------------- */

FD_INLINE f64v exp_log_slope_f64(f64v x) { return x; }
FD_INLINE f64v exp_scored_f64(f64v x, f64v *log_slope) { return *log_slope = x, exp_f64(x); }
FD_INLINE f64v exp_inverse_scored_f64(f64v y, f64v *log_slope)
{
    *log_slope = FD_STREAM(log)(y);
    return outside(f64v_below(y, f64v_set1(0x1p-1074)), *log_slope, log_slope);
}
FD_INLINE f64v exp_slopes_f64(f64v x, f64v *of_log) { return *of_log = f64v_set1(1), exp_f64(x); }

/* ---- tanh --------------------------------------------------------------------------------------- */

FD_INLINE f64v tanh_log_slope_f64(f64v x) { return log_sech2_f64(x); }
FD_INLINE f64v tanh_scored_f64(f64v x, f64v *log_slope)
{
    const f64v a = abs_below(x, 20);
    f64v low;
    const f64v m = expm1_sum(f64v_add(a, a), f64v_set1(0), &low);
    *log_slope = log_sech2_of(x, m);
    return tanh_of(x, m, low);
}
FD_INLINE f64v tanh_inverse_scored_f64(f64v y, f64v *log_slope)
{
    const f64v minus = negative(y), square = f64v_mul(y, y);
    *log_slope = log1p_sum(negative(square), f64v_fma(minus, y, square)); /* log(1 - y^2) */
    return outside(f64v_below(f64v_set1(1 - 0x1p-53), f64v_abs(y)), atanh_f64(y), log_slope);
}
FD_INLINE f64v tanh_slopes_f64(f64v x, f64v *of_log)
{
    f64v low;
    const f64v a = f64v_abs(x), e = exp_sum(f64v_mul(f64v_set1(-2), a), &low), one = f64v_set1(1);
    const f64v over = f64v_div(f64v_set1(2), f64v_add(one, e));
    *of_log = f64v_mul(f64v_set1(-2), tanh_f64(x));
    return f64v_mul(f64v_mul(over, e), over);
}

/* ---- sigmoid ------------------------------------------------------------------------------------ */

/* log(f (1 - f)) = -|x| - 2 log(1 + e^-|x|) */
FD_INLINE f64v sigmoid_log_slope_f64(f64v x)
{
    f64v low;
    const f64v size = f64v_abs(x), e = exp_sum(negative(size), &low);
    return f64v_fnma(f64v_set1(2), log1p_sum(e, low), negative(size));
}
FD_INLINE f64v sigmoid_scored_f64(f64v x, f64v *log_slope)
{
    *log_slope = sigmoid_log_slope_f64(x);
    return sigmoid_f64(x);
}
FD_INLINE f64v sigmoid_inverse_scored_f64(f64v y, f64v *log_slope)
{
    *log_slope = f64v_add(FD_STREAM(log)(y), log1p_f64(negative(y)));
    const unsigned beyond = f64v_below(y, f64v_set1(0x1p-1074)) | f64v_below(f64v_set1(1 - 0x1p-53), y);
    return outside(beyond, log_ratio_f64(y), log_slope);
}
FD_INLINE f64v sigmoid_slopes_f64(f64v x, f64v *of_log)
{
    f64v low;
    const f64v e = exp_sum(negative(f64v_abs(x)), &low), over = f64v_div(f64v_set1(1), f64v_add(f64v_set1(1), e));
    *of_log = negative(tanh_f64(f64v_mul(f64v_set1(0.5), x)));
    return f64v_mul(f64v_mul(over, e), over);
}

/* ---- softplus ----------------------------------------------------------------------------------- */

/* log sigmoid(x) = min(x, 0) - log(1 + e^-|x|) */
FD_INLINE f64v softplus_scored_f64(f64v x, f64v *log_slope)
{
    f64v low;
    const f64v zero = f64v_set1(0), e = exp_sum(negative(f64v_abs(x)), &low), rest = log1p_sum(e, low);
    *log_slope = f64v_sub(f64v_min(zero, x), rest);
    return f64v_add(f64v_max(zero, x), rest);
}
FD_INLINE f64v softplus_log_slope_f64(f64v x)
{
    f64v log_slope;
    (void)softplus_scored_f64(x, &log_slope);
    return log_slope;
}
FD_INLINE f64v softplus_inverse_scored_f64(f64v y, f64v *log_slope)
{
    /* log(1 - e^-y): of the difference as it is, or from 1 on */
    f64v low, e_low;
    const f64v minus = negative(y), less = unless_tiny(expm1_sum(minus, f64v_set1(0), &low), minus);
    const f64v e = exp_sum(minus, &e_low);
    *log_slope = log_sum(negative(less), negative(low), negative(e), negative(e_low));
    return outside(f64v_below(y, f64v_set1(0x1p-1074)), softplus_inverse_f64(y), log_slope);
}
FD_INLINE f64v softplus_slopes_f64(f64v x, f64v *of_log)
{
    *of_log = sigmoid_f64(negative(x));
    return sigmoid_f64(x);
}

/* ---- powers ------------------------------------------------------------------------------------- */

/* log |p x^(p - 1)| */
FD_INLINE f64v power_log_slope_f64(f64v x, f64v p)
{
    return f64v_fma(f64v_sub(p, f64v_set1(1)), FD_STREAM(log)(x), FD_STREAM(log)(f64v_abs(p)));
}

/* ---- float, by double --------------------------------------------------------------------------- */

#define FD_PAIR_BY_DOUBLE(name)                                                                \
    FD_INLINE f32v name##_f32(f32v x, f32v *other)                                             \
    {                                                                                          \
        const int two = (int)f32v_lanes > (int)f64v_lanes;                                     \
        f64v low_other, high_other;                                                            \
        const f64v low = name##_f64(f64v_low(x), &low_other);                                  \
        const f64v high = two ? name##_f64(f64v_high(x), &high_other) : low;                   \
        *other = f32v_narrow(low_other, two ? high_other : low_other);                         \
        return f32v_narrow(low, high);                                                         \
    }

#define FD_TRANSFORM(t)                                                                        \
    FD_BY_DOUBLE(t##_log_slope)                                                                \
    FD_PAIR_BY_DOUBLE(t##_scored)                                                              \
    FD_PAIR_BY_DOUBLE(t##_inverse_scored)                                                      \
    FD_PAIR_BY_DOUBLE(t##_slopes)

FD_TRANSFORM(exp)
FD_TRANSFORM(tanh)
FD_TRANSFORM(sigmoid)
FD_TRANSFORM(softplus)
#undef FD_TRANSFORM
#undef FD_PAIR_BY_DOUBLE

FD_OF_TWO_BY_DOUBLE(power_log_slope)
