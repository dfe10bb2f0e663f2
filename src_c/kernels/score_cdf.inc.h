/* kernels/score_cdf.inc.h - terms of gradients of functions of z = (value - loc) / scale, as the cdf family has
 * them, and of loc + scale f(value), its inverses.
 *
 * Densities and hazards are those of special.h. All products are right wherever intermediate results are
 * (product_over in score_diag.inc.h). */

/* a b c / d: as it stands where nothing leaves the range on the way, or is lost below it. */
static double FD_LOCAL(term)(double a, double b, double c, double d)
{
    const double left = a * b, right = c / d, all = left * right;
    return isnormal(left) && isnormal(right) && isnormal(all) ? all : FD_LOCAL(product_over)(a, b, c, d);
}

/* by_value = g f'(z) / scale, by_scale = -g f'(z) z / scale, given z + z_lo. `slopes` leaves f' in two factors, of
 * which the first is 0 where it is 0, and then z may be infinite. */
#define FD_SCORE_OF_Z(op, slopes)                                                              \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))     \
            for (intptr_t i = 0; i < run.n; i++) {                                             \
                const double g = (double)AT(2)[i * STRIDE(2)], scale = (double)AT(5)[i * STRIDE(5)]; \
                double z, z_lo, slope[2];                                                      \
                fd_normal_standardize((double)AT(3)[i * STRIDE(3)], (double)AT(4)[i * STRIDE(4)], scale, &z, &z_lo); \
                slopes;                                                                        \
                const double moment = slope[0] == 0 ? 0 : -z * slope[1];                       \
                AT(0)[i * STRIDE(0)] = (REAL)FD_LOCAL(term)(g, slope[0], slope[1], scale); \
                AT(1)[i * STRIDE(1)] = (REAL)FD_LOCAL(term)(g, slope[0], moment, scale); \
            }                                                                                  \
    }

/* phi(z) / Phi(-z), in factors that are not subnormal where it is. */
static void FD_LOCAL(hazard)(double z, double z_lo, double sign, double slope[2])
{
    if (z > 0) {
        slope[0] = sign * fd_normal_hazard(z, z_lo);
        slope[1] = 1;
    } else {
        fd_normal_density(z, z_lo, slope);
        slope[0] *= sign / fd_normal_cdf(-z, -z_lo);
    }
}

FD_SCORE_OF_Z(score_cdf, fd_normal_density(z, z_lo, slope))
FD_SCORE_OF_Z(score_survival, (fd_normal_density(z, z_lo, slope), slope[0] = -slope[0]))
FD_SCORE_OF_Z(score_log_cdf, FD_LOCAL(hazard)(-z, -z_lo, 1, slope))
FD_SCORE_OF_Z(score_log_survival, FD_LOCAL(hazard)(z, z_lo, -1, slope))
FD_SCORE_OF_Z(score_whiten_diag, slope[0] = slope[1] = 1)
FD_SCORE_OF_Z(score_mahalanobis_diag, (slope[0] = 2 * z, slope[1] = 1))
#undef FD_SCORE_OF_Z

/* by_value = g scale * numerator / denominator, by_scale = g z, given p. With q, the smaller of p and 1 - p, the
 * density at a quantile z is q times the hazard at |z|, which unlike the density itself does not magnify the
 * rounding of z. */
#define FD_SCORE_OF_QUANTILE(op, quantile, numerator, denominator)                             \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))     \
            for (intptr_t i = 0; i < run.n; i++) {                                             \
                const double g = (double)AT(2)[i * STRIDE(2)], p = (double)AT(3)[i * STRIDE(3)]; \
                const double scale = (double)AT(4)[i * STRIDE(4)], z = quantile, above = numerator, below = denominator; \
                AT(0)[i * STRIDE(0)] = (REAL)(below == 0 && !isnan(z) ? g * copysign(INFINITY, above) \
                                              : FD_LOCAL(term)(g, scale, above, below)); \
                AT(1)[i * STRIDE(1)] = (REAL)(g * z);                                          \
            }                                                                                  \
    }

FD_SCORE_OF_QUANTILE(score_icdf, fd_normal_icdf(p), 1 / fd_normal_hazard(fabs(z), 0), p < 0.5 ? p : 1 - p)
FD_SCORE_OF_QUANTILE(score_isf, -fd_normal_icdf(p), -1 / fd_normal_hazard(fabs(z), 0), p < 0.5 ? p : 1 - p)
FD_SCORE_OF_QUANTILE(score_log_icdf, fd_normal_log_icdf(p), (z > 0 ? exp(p) : 1) / fd_normal_hazard(fabs(z), 0),
                     z > 0 ? -expm1(p) : 1)
FD_SCORE_OF_QUANTILE(score_colorize_diag, p, 1.0, 1.0)
#undef FD_SCORE_OF_QUANTILE
