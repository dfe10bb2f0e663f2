/* Scalar special functions behind the Normal distribution.

   All are pure and safe from any thread: no global state, no allocation.  They
   may raise IEEE status flags, never change the floating point environment,
   and assume round-to-nearest.

   An argument written (z, z_lo) is the unevaluated sum z + z_lo with
   |z_lo| <= ulp(z) / 2; pass z_lo = 0 when z is all that is known, and always
   when z is infinite or NaN.  The low part matters: in the tails a relative
   change d of z changes Phi(z) by z^2 d, so that z rounded to double would
   alone cost hundreds of ulp at z = -38.

   The ulp bounds below hold where the result is a normal number.  They are
   measured, on a libm with exp and log within 0.52 ulp and log1p within 1; a
   weaker libm adds its excess.  A subnormal result is within one unit of the
   smallest subnormal. */
#ifndef FASTDIST_SPECIAL_H
#define FASTDIST_SPECIAL_H

/* Phi(z), the standard normal distribution function.
   Within 2 ulp.  Phi(-inf) = 0, Phi(+inf) = 1, NaN gives NaN.
   The survival function is fd_normal_cdf(-z, -z_lo). */
double fd_normal_cdf(double z, double z_lo);

/* 2 Phi(z) - 1, the distribution function of |z|; 0 below 0.
   Within 3 ulp. */
double fd_half_normal_cdf(double z, double z_lo);

/* log Phi(z).
   Within 2.1 ulp.  -inf at z = -inf (and where -z^2/2 overflows), zero at +inf,
   NaN gives NaN.  The log survival function is fd_normal_log_cdf(-z, -z_lo). */
double fd_normal_log_cdf(double z, double z_lo);

/* Phi^-1(p), the quantile of exactly the double p.
   Within 2 ulp, for every p from the smallest subnormal to 1 - 2^-53.
   -inf at 0, +inf at 1, NaN outside [0, 1] and for NaN. */
double fd_normal_icdf(double p);

/* Phi^-1(exp(log_p)), the quantile of a log probability.
   Within 4 ulp for every double: -inf at -inf, +inf at 0, NaN above 0 and for NaN. */
double fd_normal_log_icdf(double log_p);

/* factor[0] * factor[1] = phi(z), the density. Within 3 ulp, also where the product is subnormal or zero, down to
   10^-600. */
void fd_normal_density(double z, double z_lo, double factor[2]);

/* phi(z) / Phi(-z), minus the derivative of log Phi(-z) (the inverse of Mills' ratio).
   Within 4 ulp, without a limit to z: 0 at -inf, inf at inf. */
double fd_normal_hazard(double z, double z_lo);

/* *z + *z_lo = (x - loc) / scale to a relative 2^-104 as long as *z_lo does not
   underflow, with *z the nearest double to that sum (a subnormal *z: within
   0.76 of the spacing there).
   scale > 0 is meant, though any sign works.
   Neither a large x - loc nor a tiny or huge scale overflows or underflows on
   the way.  *z_lo = 0 when *z is zero, subnormal, infinite or NaN; infinities,
   NaN and scale = 0 give the *z of IEEE division. */
void fd_normal_standardize(double x, double loc, double scale, double *z, double *z_lo);

#endif
