/* kernels/normal_cdf.inc.h - the cdf family of Normal, by the scalar functions of special.h:
 * (value - loc) / scale is carried in double-double, because far in a tail its rounding
 * alone would cost z^2 / 2 ulp. */

/* out[i] = result, for each element, given z + z_lo. */
#define FD_CDF_KERNEL(op, result)                                                              \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))     \
            for (intptr_t i = 0; i < run.n; i++) {                                             \
                double z, z_lo;                                                                \
                fd_normal_standardize(AT(1)[i * STRIDE(1)], AT(2)[i * STRIDE(2)],              \
                                      AT(3)[i * STRIDE(3)], &z, &z_lo);                        \
                AT(0)[i * STRIDE(0)] = (REAL)(result);                                         \
            }                                                                                  \
    }

FD_CDF_KERNEL(normal_cdf, fd_normal_cdf(z, z_lo))
FD_CDF_KERNEL(normal_log_cdf, fd_normal_log_cdf(z, z_lo))
FD_CDF_KERNEL(normal_survival, fd_normal_cdf(-z, -z_lo))
FD_CDF_KERNEL(normal_log_survival, fd_normal_log_cdf(-z, -z_lo))
FD_CDF_KERNEL(half_normal_cdf, fd_half_normal_cdf(z, z_lo))
#undef FD_CDF_KERNEL

/* out[i] = loc + scale * quantile, given p; the product may overflow where the sum does not. */
#define FD_QUANTILE_KERNEL(op, quantile)                                                       \
    static void FD_NAME(op)(const fd_loop *loop, intptr_t begin, intptr_t end)                 \
    {                                                                                          \
        for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))     \
            for (intptr_t i = 0; i < run.n; i++) {                                             \
                const double p = AT(1)[i * STRIDE(1)];                                         \
                const double loc = AT(2)[i * STRIDE(2)], scale = AT(3)[i * STRIDE(3)];         \
                AT(0)[i * STRIDE(0)] = (REAL)fma(scale, quantile, loc);                        \
            }                                                                                  \
    }

FD_QUANTILE_KERNEL(normal_icdf, fd_normal_icdf(p))
FD_QUANTILE_KERNEL(normal_isf, -fd_normal_icdf(p))
FD_QUANTILE_KERNEL(normal_log_icdf, fd_normal_log_icdf(p))
#undef FD_QUANTILE_KERNEL
