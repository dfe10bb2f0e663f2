/* kernels/score_cdf.inc.h - terms of gradients of functions of z = (value - loc) / scale, as the cdf family has
 * them, and of loc + scale f(value), its inverses; with the words of normal_cdf.inc.h.
 *
 * Densities and hazards are those of normal_tail.inc.h. All products are right wherever intermediate results are
 * (product_over in score_diag.inc.h). */

#if REAL_IS_DOUBLE
/* The lanes whose numbers are normal, and those that are 0. */
FD_INLINE unsigned are_normal(f64v v)
{
    const f64v size = f64v_abs(v);
    return f64v_below(f64v_set1(DBL_MIN * (1 - DBL_EPSILON)), size) & f64v_below(size, f64v_set1((double)INFINITY));
}

FD_INLINE unsigned are_zero(f64v v) { return f64v_below(f64v_abs(v), f64v_set1(DBL_TRUE_MIN)); }

/* a b c / d: as it stands where nothing leaves the range on the way, or is lost below it. */
FD_ALONE f64v term(f64v a, f64v b, f64v c, f64v d)
{
    const f64v left = f64v_mul(a, b), right = f64v_div(c, d), product = f64v_mul(left, right);
    const unsigned zero = are_zero(product) & (are_zero(a) | are_zero(b) | are_zero(c));
    const unsigned good = zero | (are_normal(left) & are_normal(right) & are_normal(product));
    if (!FD_UNLIKELY(good != first_lanes_f64(f64v_lanes)))
        return product;
    double all_a[f64v_lanes], all_b[f64v_lanes], all_c[f64v_lanes], all_d[f64v_lanes], all[f64v_lanes];
    f64v_store(all_a, a);
    f64v_store(all_b, b);
    f64v_store(all_c, c);
    f64v_store(all_d, d);
    f64v_store(all, product);
    for (unsigned left_over = first_lanes_f64(f64v_lanes) & ~good; left_over; left_over &= left_over - 1) {
        const int i = fd_lowest_bit(left_over);
        all[i] = product_over_f64(all_a[i], all_b[i], all_c[i], all_d[i]);
    }
    return f64v_load(all);
}

FD_ALONE void slopes_of_whiten(f64v z, f64v z_low, f64v slope[2])
{
    (void)z, (void)z_low;
    slope[0] = slope[1] = f64v_set1(1);
}

FD_ALONE void slopes_of_square(f64v z, f64v z_low, f64v slope[2])
{
    (void)z_low;
    slope[0] = f64v_add(z, z);
    slope[1] = f64v_set1(1);
}

FD_ALONE f64v slope_of_colorize(f64v z, f64v *above, f64v *below) { return *above = *below = f64v_set1(1), z; }
#endif

/* by_value = g f'(z) / scale, by_scale = -g f'(z) z / scale, where z may be infinite if f' is 0. */
FD_ALONE void FD_LOCAL(each_slope)(fd_slopes *slopes, const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const f64v zero = f64v_set1(0);
    FD_EACH_VECTOR {
        const VEC all_g = PICK_OR(2, 1), x = PICK_OR(3, 1), loc = PICK(4), all_scale = PICK_SCALE(5);
        f64v by_value[2], by_scale[2], z_low, slope[2];
        FD_EACH_HALF(h) {
            const f64v g = FD_LOCAL(half)(all_g, h), scale = FD_LOCAL(half)(all_scale, h);
            const f64v z = FD_LOCAL(z_of)(FD_LOCAL(half)(x, h), FD_LOCAL(half)(loc, h), scale, &z_low);
            slopes(z, z_low, slope);
            const unsigned some = f64v_below(zero, slope[0]) | f64v_below(slope[0], zero);
            const f64v moment = f64v_select(some, f64v_mul(negative_f64(z), slope[1]), zero);
            by_value[h] = term(g, slope[0], slope[1], scale);
            by_scale[h] = term(g, slope[0], moment, scale);
        }
        FD_LOCAL(store_to)(AT(0) + i, FD_LOCAL(joined)(by_value), m);
        FD_LOCAL(store_to)(AT(1) + i, FD_LOCAL(joined)(by_scale), m);
    }
}

#define FD_SCORE_OF_Z(op, slopes)                                                              \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        FD_LOCAL(each_slope)(slopes, loop, begin, end);                                        \
    }

FD_SCORE_OF_Z(score_cdf, slopes_of_cdf)
FD_SCORE_OF_Z(score_survival, slopes_of_survival)
FD_SCORE_OF_Z(score_log_cdf, slopes_of_log_cdf)
FD_SCORE_OF_Z(score_log_survival, slopes_of_log_survival)
FD_SCORE_OF_Z(score_whiten_diag, slopes_of_whiten)
FD_SCORE_OF_Z(score_mahalanobis_diag, slopes_of_square)
#undef FD_SCORE_OF_Z

/* by_value = g scale f'(p), infinite at the ends, by_scale = g f(p). */
FD_ALONE void FD_LOCAL(each_slope_of_quantile)(fd_slope_of_quantile *f, double other, const fd_loop *loop,
                                               intptr_t begin, intptr_t end)
{
    FD_EACH_VECTOR {
        const VEC all_g = PICK_OR(2, 1), p = PICK_OR(3, (REAL)other), all_scale = PICK_SCALE(4);
        f64v by_value[2], by_scale[2], above, below;
        FD_EACH_HALF(h) {
            const f64v g = FD_LOCAL(half)(all_g, h), scale = FD_LOCAL(half)(all_scale, h);
            by_scale[h] = f64v_mul(g, f(FD_LOCAL(half)(p, h), &above, &below));
            by_value[h] = term(g, scale, above, below);
            const unsigned end_of_all = are_zero(below);
            if (FD_UNLIKELY(end_of_all)) {
                const f64v infinite = with_sign_f64(f64v_set1((double)INFINITY), above);
                by_value[h] = f64v_select(end_of_all, f64v_mul(g, infinite), by_value[h]);
            }
        }
        FD_LOCAL(store_to)(AT(0) + i, FD_LOCAL(joined)(by_value), m);
        FD_LOCAL(store_to)(AT(1) + i, FD_LOCAL(joined)(by_scale), m);
    }
}

#define FD_SCORE_OF_QUANTILE(op, f, other)                                                     \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        FD_LOCAL(each_slope_of_quantile)(f, other, loop, begin, end);                          \
    }

FD_SCORE_OF_QUANTILE(score_icdf, slope_of_quantile, 0.5)
FD_SCORE_OF_QUANTILE(score_isf, slope_of_upper_quantile, 0.5)
FD_SCORE_OF_QUANTILE(score_log_icdf, slope_of_log_quantile, -1)
FD_SCORE_OF_QUANTILE(score_colorize_diag, slope_of_colorize, 1)
#undef FD_SCORE_OF_QUANTILE
#undef PICK
#undef PICK_OR
#undef PICK_SCALE
#undef FD_EACH_VECTOR
#undef FD_EACH_HALF
