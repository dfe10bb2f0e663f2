/* kernels/lanes_of_transforms.inc.h - of transforms y = f(x), in lanes: f and log |f'|, their inverses, and
 * derivatives of both.
 *
 *   f_scored(x, &log_slope)            y and log |f'(x)|
 *   f_inverse_scored(y, &log_slope)    x and log |f'(x)|; outside of the values of f x is 0 and log |f'| infinite,
 *                                      so that a density is 0 there
 *   f_slopes(x, &of_log)               f'(x) and the derivative of log |f'(x)| */

FD_INLINE VEC FD_LOCAL(outside)(unsigned mask, VEC x, VEC *log_slope)
{
    *log_slope = V(select)(mask, V(set1)((REAL)INFINITY), *log_slope);
    return V(select)(mask, V(set1)(0), x);
}

/* The lanes where y <= 0, and where |y| >= 1. */
FD_INLINE unsigned FD_LOCAL(not_positive)(VEC y) { return V(below)(y, V(set1)(REAL_TRUE_MIN)); }
FD_INLINE unsigned FD_LOCAL(not_below_1)(VEC y) { return V(below)(V(set1)(1 - REAL_EPSILON / 2), y); }

FD_INLINE VEC FD_LOCAL(absolute)(VEC x) { return V(abs)(x); }

/* ---- exp ---------------------------------------------------------------------------------------- */

FD_INLINE VEC FD_LOCAL(exp_log_slope)(VEC x) { return x; }
FD_INLINE VEC FD_LOCAL(exp_scored)(VEC x, VEC *log_slope) { return *log_slope = x, FD_LOCAL(exp)(x); }
FD_INLINE VEC FD_LOCAL(exp_inverse_scored)(VEC y, VEC *log_slope)
{
    *log_slope = FD_LOCAL(log)(y);
    return FD_LOCAL(outside)(FD_LOCAL(not_positive)(y), *log_slope, log_slope);
}
FD_INLINE VEC FD_LOCAL(exp_slopes)(VEC x, VEC *of_log) { return *of_log = V(set1)(1), FD_LOCAL(exp)(x); }

/* ---- tanh --------------------------------------------------------------------------------------- */

FD_INLINE VEC FD_LOCAL(tanh_log_slope)(VEC x) { return FD_LOCAL(log_sech2)(x); }
FD_INLINE VEC FD_LOCAL(tanh_scored)(VEC x, VEC *log_slope) { return FD_LOCAL(tanh_and_log_slope)(x, log_slope); }
FD_INLINE VEC FD_LOCAL(tanh_inverse_scored)(VEC y, VEC *log_slope)
{
    const VEC minus = FD_LOCAL(negative)(y), square = V(mul)(y, y);
    *log_slope = FD_LOCAL(log1p_sum)(FD_LOCAL(negative)(square), V(fma)(minus, y, square)); /* log(1 - y^2) */
    return FD_LOCAL(outside)(FD_LOCAL(not_below_1)(V(abs)(y)), FD_LOCAL(atanh)(y), log_slope);
}
FD_INLINE VEC FD_LOCAL(tanh_slopes)(VEC x, VEC *of_log)
{
    const VEC one = V(set1)(1), e = FD_LOCAL(exp)(V(mul)(V(set1)(-2), V(abs)(x)));
    const VEC over = V(div)(V(set1)(2), V(add)(one, e));
    *of_log = V(mul)(V(set1)(-2), FD_LOCAL(tanh)(x));
    return V(mul)(V(mul)(over, e), over);
}

/* ---- sigmoid ------------------------------------------------------------------------------------ */

/* log(f (1 - f)) = -|x| - 2 log(1 + e^-|x|) */
FD_INLINE VEC FD_LOCAL(sigmoid_log_slope)(VEC x)
{
    return V(fnma)(V(set1)(2), FD_LOCAL(softplus_rest)(x), FD_LOCAL(negative)(V(abs)(x)));
}
FD_INLINE VEC FD_LOCAL(sigmoid_scored)(VEC x, VEC *log_slope)
{
    *log_slope = FD_LOCAL(sigmoid_log_slope)(x);
    return FD_LOCAL(sigmoid)(x);
}
FD_INLINE VEC FD_LOCAL(sigmoid_inverse_scored)(VEC y, VEC *log_slope)
{
    *log_slope = V(add)(FD_LOCAL(log)(y), FD_LOCAL(log1p)(FD_LOCAL(negative)(y)));
    return FD_LOCAL(outside)(FD_LOCAL(not_positive)(y) | FD_LOCAL(not_below_1)(y), FD_LOCAL(log_ratio)(y), log_slope);
}
FD_INLINE VEC FD_LOCAL(sigmoid_slopes)(VEC x, VEC *of_log)
{
    const VEC one = V(set1)(1), e = FD_LOCAL(exp)(FD_LOCAL(negative)(V(abs)(x))), over = V(div)(one, V(add)(one, e));
    *of_log = FD_LOCAL(negative)(FD_LOCAL(tanh)(V(mul)(V(set1)((REAL)0.5), x)));
    return V(mul)(V(mul)(over, e), over);
}

/* ---- softplus ----------------------------------------------------------------------------------- */

/* log sigmoid(x) = min(x, 0) - log(1 + e^-|x|) */
FD_INLINE VEC FD_LOCAL(softplus_scored)(VEC x, VEC *log_slope)
{
    const VEC zero = V(set1)(0), rest = FD_LOCAL(softplus_rest)(x);
    *log_slope = V(sub)(V(min)(zero, x), rest);
    return V(add)(V(max)(zero, x), rest);
}
FD_INLINE VEC FD_LOCAL(softplus_log_slope)(VEC x)
{
    VEC log_slope;
    (void)FD_LOCAL(softplus_scored)(x, &log_slope);
    return log_slope;
}
/* log(1 - e^-y), of -(e^-y - 1) up to 1, where that is exact, and from there on of 1 - e^-y. */
FD_INLINE VEC FD_LOCAL(softplus_inverse_scored)(VEC y, VEC *log_slope)
{
    const VEC minus = FD_LOCAL(negative)(y), one = V(set1)(1);
    VEC low, e_low, u_low;
    const VEC less = FD_LOCAL(unless_tiny)(FD_LOCAL(expm1_sum)(minus, &low), minus);
    const VEC e = FD_LOCAL(exp_sum)(minus, &e_low), u = FD_LOCAL(two_sum)(one, FD_LOCAL(negative)(e), &u_low);
    const unsigned small = V(below)(y, one);
    *log_slope = FD_LOCAL(log_sum)(V(select)(small, FD_LOCAL(negative)(less), u),
                                   V(select)(small, FD_LOCAL(negative)(low), V(sub)(u_low, e_low)));
    return FD_LOCAL(outside)(FD_LOCAL(not_positive)(y), FD_LOCAL(softplus_inverse)(y), log_slope);
}
FD_INLINE VEC FD_LOCAL(softplus_slopes)(VEC x, VEC *of_log)
{
    *of_log = FD_LOCAL(sigmoid)(FD_LOCAL(negative)(x));
    return FD_LOCAL(sigmoid)(x);
}

/* ---- powers ------------------------------------------------------------------------------------- */

/* log |p x^(p - 1)| */
FD_INLINE VEC FD_LOCAL(power_log_slope)(VEC x, VEC p)
{
    return V(fma)(V(sub)(p, V(set1)(1)), FD_LOCAL(log)(x), FD_LOCAL(log)(V(abs)(p)));
}
