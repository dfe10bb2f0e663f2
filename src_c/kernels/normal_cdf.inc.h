/* kernels/normal_cdf.inc.h - the cdf family of Normal, by the functions of normal_tail.inc.h: computed in double
 * whatever the dtype. */

#if REAL_IS_DOUBLE
/* *z + *z_low = (x - loc) / scale when nothing overflows or underflows: the difference by fd_add_up's theorem, what is
 * left of the quotient by fma, both exact; the low part is then rounded once, and z is the nearest to the sum. */
static void quotient(double x, double loc, double scale, double *z, double *z_low)
{
    const double d = x - loc, back = d - x, d_low = (x - (d - back)) - (loc + back);
    const double q = d / scale, q_low = (fma(-q, scale, d) + d_low) / scale;
    *z = q + q_low;
    *z_low = q_low - (*z - q);
}

/* Any numbers, for the lanes in `mask`: the larger of x and loc, and scale, brought into [1/2, 1). What the smaller
 * then loses is below 2^-1074 of the larger. */
FD_ALONE f64v standardized_beyond(unsigned mask, f64v x, f64v loc, f64v scale, f64v z, f64v *z_low)
{
    double all_x[f64v_lanes], all_loc[f64v_lanes], all_scale[f64v_lanes], all_z[f64v_lanes], all_low[f64v_lanes];
    f64v_store(all_x, x);
    f64v_store(all_loc, loc);
    f64v_store(all_scale, scale);
    f64v_store(all_z, z);
    f64v_store(all_low, *z_low);
    for (unsigned left = mask; left; left &= left - 1) {
        const int i = fd_lowest_bit(left);
        const double a = all_x[i], b = all_loc[i], c = all_scale[i];
        all_low[i] = 0;
        if (!isfinite(a) || !isfinite(b) || !isfinite(c) || a == b || c == 0) {
            all_z[i] = (a - b) / c;
            continue;
        }
        int power, scale_power;
        frexp(fmax(fabs(a), fabs(b)), &power);
        const double unit_scale = frexp(c, &scale_power);
        double number, low;
        quotient(ldexp(a, -power), ldexp(b, -power), unit_scale, &number, &low);
        all_z[i] = ldexp(number, power - scale_power);
        if (isnormal(all_z[i]))
            all_low[i] = ldexp(low, power - scale_power);
    }
    *z_low = f64v_load(all_low);
    return f64v_load(all_z);
}

/* The lanes that leave room below for what is left of a quotient (2^-106 of a difference), above for rounding. */
FD_INLINE unsigned in_safe_range(f64v v)
{
    const f64v size = f64v_abs(v);
    return f64v_below(f64v_set1(0x1p-960), size) & f64v_below(size, f64v_set1(0x1p960));
}

FD_INLINE f64v z_of_f64(f64v x, f64v loc, f64v scale, f64v *z_low)
{
    const f64v over = f64v_div(f64v_set1(1), scale), d = f64v_sub(x, loc), back = f64v_sub(d, x);
    const f64v d_low = f64v_sub(f64v_sub(x, f64v_sub(d, back)), f64v_add(loc, back)), q = f64v_mul(d, over);
    const f64v q_low = f64v_mul(f64v_add(f64v_fnma(q, scale, d), d_low), over), z = f64v_add(q, q_low);
    *z_low = f64v_sub(q_low, f64v_sub(z, q));
    const unsigned zero = f64v_below(f64v_abs(d), f64v_set1(DBL_TRUE_MIN));
    const unsigned safe = in_safe_range(over) & (zero | (in_safe_range(d) & in_safe_range(z)));
    if (FD_UNLIKELY(safe != first_lanes_f64(f64v_lanes)))
        return standardized_beyond(first_lanes_f64(f64v_lanes) & ~safe, x, loc, scale, z, z_low);
    return z;
}
#else
/* Right to a few units of a double. */
FD_INLINE f64v z_of_f32(f64v x, f64v loc, f64v scale, f64v *z_low)
{
    *z_low = f64v_set1(0);
    return f64v_div(f64v_sub(x, loc), scale);
}
#endif

/* A vector as one or two of doubles. */
enum { FD_LOCAL(halves) = (int)V(lanes) / (int)f64v_lanes };

#if REAL_IS_DOUBLE
FD_INLINE f64v half_f64(f64v v, int h) { return (void)h, v; }
FD_INLINE f64v joined_f64(const f64v half[2]) { return half[0]; }
#else
FD_INLINE f64v half_f32(f32v v, int h) { return h ? f64v_high(v) : f64v_low(v); }
FD_INLINE f32v joined_f32(const f64v half[2]) { return f32v_narrow(half[0], half[halves_f32 - 1]); }
#endif

FD_INLINE VEC FD_LOCAL(pick_or)(const REAL *p, intptr_t stride, intptr_t i, intptr_t m, REAL other)
{
    const VEC v = FD_LOCAL(pick_to)(p, stride, i, m);
    return m >= V(lanes) ? v : V(select)(FD_LOCAL(first_lanes)(m), v, V(set1)(other));
}

/* m elements of operand k of a run from the i-th on, and what does no harm in the lanes beyond. */
#define PICK(k) FD_LOCAL(pick_to)(AT(k), STRIDE(k), i, m)
#define PICK_OR(k, other) FD_LOCAL(pick_or)(AT(k), STRIDE(k), i, m, other)
#define PICK_SCALE(k) FD_LOCAL(pick_scale)(AT(k) + i * STRIDE(k), STRIDE(k), m)
#define FD_EACH_VECTOR                                                                         \
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))         \
        for (intptr_t i = 0, m; m = fd_min(run.n - i, V(lanes)), m > 0; i += m)
#define FD_EACH_HALF(h) FD_UNROLL for (int h = 0; h < FD_LOCAL(halves); h++)

/* out = f(z), z = (value - loc) / scale, each the operand of that number; with the first two exchanged it is -z. */
FD_ALONE void FD_LOCAL(each_z)(fd_of_z *f, int value, int loc, const fd_loop *loop, intptr_t begin, intptr_t end)
{
    FD_EACH_VECTOR {
        const VEC x = PICK(value), from = PICK(loc), scale = PICK_SCALE(3);
        f64v y[2], z_low;
        FD_EACH_HALF(h) {
            const f64v of_x = FD_LOCAL(half)(x, h), of_loc = FD_LOCAL(half)(from, h);
            const f64v z = FD_LOCAL(z_of)(of_x, of_loc, FD_LOCAL(half)(scale, h), &z_low);
            y[h] = f(z, z_low);
        }
        FD_LOCAL(store_to)(AT(0) + i, FD_LOCAL(joined)(y), m);
    }
}

#define FD_CDF_KERNEL(op, f, value, loc)                                                       \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        FD_LOCAL(each_z)(f, value, loc, loop, begin, end);                                     \
    }
#define FD_BY_DTYPE(f) (REAL_IS_DOUBLE ? f : f##_single)

FD_CDF_KERNEL(normal_cdf, FD_BY_DTYPE(normal_cdf), 1, 2)
FD_CDF_KERNEL(normal_log_cdf, FD_BY_DTYPE(normal_log_cdf), 1, 2)
FD_CDF_KERNEL(normal_survival, FD_BY_DTYPE(normal_cdf), 2, 1)
FD_CDF_KERNEL(normal_log_survival, FD_BY_DTYPE(normal_log_cdf), 2, 1)
FD_CDF_KERNEL(half_normal_cdf, half_normal_cdf, 1, 2)
#undef FD_CDF_KERNEL

/* out = loc + sign scale f(p); the product may overflow where the sum does not. */
FD_ALONE void FD_LOCAL(each_quantile)(fd_of_p *f, double sign, double other, const fd_loop *loop, intptr_t begin,
                                      intptr_t end)
{
    FD_EACH_VECTOR {
        const VEC p = PICK_OR(1, (REAL)other), loc = PICK(2), scale = PICK(3);
        f64v y[2];
        FD_EACH_HALF(h) {
            const f64v z = f64v_mul(f64v_set1(sign), f(FD_LOCAL(half)(p, h)));
            y[h] = f64v_fma(FD_LOCAL(half)(scale, h), z, FD_LOCAL(half)(loc, h));
        }
        FD_LOCAL(store_to)(AT(0) + i, FD_LOCAL(joined)(y), m);
    }
}

#define FD_QUANTILE_KERNEL(op, f, sign, other)                                                 \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        FD_LOCAL(each_quantile)(f, sign, other, loop, begin, end);                             \
    }

FD_QUANTILE_KERNEL(normal_icdf, FD_BY_DTYPE(normal_quantile), 1, 0.5)
FD_QUANTILE_KERNEL(normal_isf, FD_BY_DTYPE(normal_quantile), -1, 0.5)
FD_QUANTILE_KERNEL(normal_log_icdf, normal_log_quantile, 1, -1)
#undef FD_QUANTILE_KERNEL
#undef FD_BY_DTYPE
