/* kernels/mills.inc.h - what truncated normals are made of, in vectors of doubles, the same bits on every ISA.
 *
 * With Mills' ratio M(z) = Phi(-z) / phi(z), and H = -log Phi(-z), whose derivative is 1 / M:
 *
 *   mills, tails       M, and Phi(-z) and Phi(z) by it
 *   near, nearer       t where the tail beyond A + t is e^-c of that beyond A: H(A + t) = H(A) + c
 *   fraction           where in a narrow interval a share of its mass lies below
 *   integral, moments  of e^-(A t + t^2 / 2) from 0 on
 *
 * No intermediate result is a difference of numbers near each other, unless it is as small as it is. */

/* Included once an ISA, with the doubles, after exp.inc.h. */
#include "../mills_tables.h"

#define FD_COUNT(table) ((int)(sizeof(table) / sizeof *(table)))

/* Before a loop that is long enough as it is. */
#if defined(__GNUC__) && !defined(__clang__)
#define FD_ROLLED _Pragma("GCC unroll 1")
#else
#define FD_ROLLED
#endif

FD_INLINE f64v polynomial(int n, const double *coefficient, f64v x)
{
    const f64v x2 = f64v_mul(x, x);
    f64v even = f64v_set1(coefficient[(n - 1) / 2 * 2]), odd = f64v_set1(coefficient[n / 2 * 2 - 1]);
    FD_UNROLL
    for (int i = (n - 1) / 2 * 2 - 2; i >= 0; i -= 2)
        even = f64v_fma(even, x2, f64v_set1(coefficient[i]));
    FD_UNROLL
    for (int i = n / 2 * 2 - 3; i >= 0; i -= 2)
        odd = f64v_fma(odd, x2, f64v_set1(coefficient[i]));
    return f64v_fma(odd, x, even);
}

/* M(z) to 4 ulp, z >= 0. */
FD_INLINE f64v mills(f64v z)
{
    const f64v five = f64v_set1(5), finite = f64v_min(f64v_set1(1e300), z);
    const f64v y = f64v_div(f64v_sub(finite, five), f64v_add(finite, five));
    return f64v_div(polynomial(FD_COUNT(fd_mills), fd_mills, y), f64v_add(z, f64v_set1(1)));
}

#define FD_LOG_SQRT_2PI 0.91893853320467274178
#define FD_LOG_2 0.69314718055994530942

/* Phi(-|z|) */
FD_INLINE f64v tail_of(f64v z)
{
    const f64v a = f64v_abs(z), density = exp_f64(f64v_mul(f64v_mul(f64v_set1(-0.5), a), a));
    return f64v_mul(f64v_mul(density, f64v_set1(0.39894228040143267794)), mills(a));
}

/* Phi(z) and Phi(-z) */
FD_INLINE void tails(f64v z, f64v *below, f64v *above)
{
    const f64v q = tail_of(z), rest = f64v_sub(f64v_set1(1), q);
    const unsigned negative = f64v_below(z, f64v_set1(0));
    *below = f64v_select(negative, q, rest);
    *above = f64v_select(negative, rest, q);
}

/* One step of Householder's method, of order 4, to the zero of f(t) = H(A + t) - H(A) - c. As f' = h = 1 / M(z),
 * f'' = h q and f''' = h (q^2 + h q - 1), q = h - z, all come from one M. */
FD_INLINE f64v nearer(f64v a, f64v mills_a, f64v c, f64v t)
{
    const f64v half = f64v_set1(0.5), one = f64v_set1(1), z = f64v_add(a, t), m = mills(z), h = f64v_div(one, m);
    const f64v exponent = f64v_mul(t, f64v_fma(half, t, a));
    const f64v f = f64v_sub(f64v_add(exponent, FD_STREAM(log)(f64v_mul(mills_a, h))), c), e = f64v_mul(f, m);
    /* Where h - z would be all rounding, it is M. */
    const f64v q = f64v_select(f64v_below(f64v_set1(1e6), z), m, f64v_sub(h, z)), second = f64v_mul(half, q);
    const f64v third = f64v_mul(f64v_set1(1.0 / 6), f64v_fma(q, q, f64v_fma(h, q, f64v_set1(-1))));
    const f64v cubic = f64v_fma(f64v_add(second, second), second, f64v_sub(f64v_set1(0), third));
    const f64v step = f64v_mul(e, f64v_fma(e, f64v_fma(e, cubic, second), one));
    return f64v_max(f64v_set1(0), f64v_sub(t, step));
}

/* The first estimate of t: for A up to 30 by a polynomial, beyond from At + t^2/2 = c. `u` is c + H(A). */
FD_INLINE f64v near(f64v a, f64v u, f64v c)
{
    const f64v two = f64v_set1(2), root = f64v_sqrt(u), more = f64v_add(root, two);
    const f64v y = f64v_div(f64v_sub(root, two), more);
    const f64v z = f64v_mul(more, polynomial(FD_COUNT(fd_deviate_guess), fd_deviate_guess, y));
    const f64v t = f64v_max(f64v_set1(0), f64v_sub(z, a));
    const unsigned is_far = f64v_below(f64v_set1(30), a) | f64v_below(f64v_set1(1250), u);
    if (FD_UNLIKELY(is_far)) {
        const f64v twice = f64v_add(c, c), far = f64v_add(a, f64v_sqrt(f64v_fma(a, a, twice)));
        return f64v_select(is_far, f64v_div(twice, far), t);
    }
    return t;
}

/* Of the interval from z to z + w, w (1 + |z|) < 1/8: the y with a share u of its mass below z + w y. By the series
 * e^-(z s + s^2/2) = sum of (-1)^n He_n(z) s^n / n! and Newton's iteration, whose third step leaves 1e-20. */
FD_ALONE f64v fraction(f64v z, f64v w, f64v u)
{
    enum { N = 11 };
    f64v density[N], mass[N];
    const f64v zw = f64v_mul(z, w), w2 = f64v_mul(w, w), zero = f64v_set1(0);
    density[0] = mass[0] = f64v_set1(1);
    density[1] = f64v_sub(zero, zw);
    mass[1] = f64v_mul(density[1], f64v_set1(0.5));
    for (int n = 1; n + 1 < N; n++) {
        const f64v sum = f64v_fma(zw, density[n], f64v_mul(w2, density[n - 1]));
        density[n + 1] = f64v_mul(sum, f64v_set1(-1.0 / (n + 1)));
        mass[n + 1] = f64v_mul(density[n + 1], f64v_set1(1.0 / (n + 2)));
    }
    f64v all = mass[N - 1], y = u;
    for (int n = N - 2; n >= 0; n--)
        all = f64v_add(all, mass[n]);
    const f64v wanted = f64v_mul(u, all);
    for (int i = 0; i < 3; i++) {
        f64v of_mass = mass[N - 1], slope = density[N - 1];
        for (int n = N - 2; n >= 0; n--) {
            of_mass = f64v_fma(of_mass, y, mass[n]);
            slope = f64v_fma(slope, y, density[n]);
        }
        y = f64v_sub(y, f64v_div(f64v_fma(of_mass, y, f64v_sub(zero, wanted)), slope));
    }
    return y;
}

/* Where 1e-21 of the integral of e^-(A t + t^2/2), A >= 0, is left. */
FD_INLINE f64v reach_of(f64v a)
{
    const f64v room = f64v_set1(100), steep = f64v_div(f64v_set1(50), a);
    const f64v reach = f64v_div(room, f64v_add(a, f64v_sqrt(f64v_fma(a, a, room))));
    return f64v_select(f64v_below(f64v_set1(1e8), a), steep, reach);
}

/* Integrals of t^k e^-(A t + t^2/2), A >= 0, from 0 to w, or to there: k = 0 to n - 1, a compile-time constant. By
 * Gauss and Legendre's rule, which is exact to 1e-17 of terms of one sign. */
FD_INLINE void integrals(int n, f64v a, f64v w, f64v *sum)
{
    const f64v end = f64v_min(w, reach_of(a));
    for (int k = 0; k < n; k++)
        sum[k] = f64v_set1(0);
    FD_ROLLED
    for (int i = 0; i < FD_COUNT(fd_gauss_node); i++) {
        const f64v t = f64v_mul(end, f64v_set1(fd_gauss_node[i]));
        f64v term = exp_f64(f64v_mul(t, f64v_fma(f64v_set1(-0.5), t, f64v_sub(f64v_set1(0), a))));
        term = f64v_mul(term, f64v_set1(fd_gauss_weight[i]));
        FD_UNROLL
        for (int k = 0; k < n; k++) {
            sum[k] = f64v_add(sum[k], term);
            term = f64v_mul(term, t);
        }
    }
    for (int k = 0; k < n; k++)
        sum[k] = f64v_mul(sum[k], end);
}

FD_ALONE void moments(f64v a, f64v w, f64v sum[5]) { integrals(5, a, w, sum); }

FD_ALONE f64v integral(f64v a, f64v w)
{
    f64v sum;
    integrals(1, a, w, &sum);
    return sum;
}

/* e^-y - 1 + y, to an ulp or two where that is small. */
FD_INLINE f64v exponential_excess(f64v y)
{
    static const double series[14] = {
        1.0 / 2,        1.0 / 6,         1.0 / 24,         1.0 / 120,         1.0 / 720,
        1.0 / 5040,     1.0 / 40320,     1.0 / 362880,     1.0 / 3628800,     1.0 / 39916800,
        1.0 / 479001600, 1.0 / 6227020800, 1.0 / 87178291200, 1.0 / 1307674368000,
    };
    const f64v minus = f64v_sub(f64v_set1(0), y);
    const f64v near = f64v_mul(f64v_mul(y, y), polynomial(FD_COUNT(series), series, minus));
    const f64v far = f64v_add(f64v_sub(exp_f64(minus), f64v_set1(1)), y);
    return f64v_select(f64v_below(f64v_abs(y), f64v_set1(0.5)), near, far);
}

/* The integral of that of (b + c t) t - mean times e^-(A t + t^2/2), as above. */
FD_ALONE f64v excess(f64v a, f64v w, f64v b, f64v c, f64v mean)
{
    const f64v end = f64v_min(w, reach_of(a));
    f64v sum = f64v_set1(0);
    FD_ROLLED
    for (int i = 0; i < FD_COUNT(fd_gauss_node); i++) {
        const f64v t = f64v_mul(end, f64v_set1(fd_gauss_node[i]));
        const f64v density = exp_f64(f64v_mul(t, f64v_fma(f64v_set1(-0.5), t, f64v_sub(f64v_set1(0), a))));
        const f64v y = f64v_sub(f64v_mul(t, f64v_fma(c, t, b)), mean);
        sum = f64v_fma(f64v_mul(density, f64v_set1(fd_gauss_weight[i])), exponential_excess(y), sum);
    }
    return f64v_mul(sum, end);
}

/* (x - y) / scale, where the difference may overflow. */
FD_INLINE f64v standardized(f64v x, f64v y, f64v scale)
{
    const f64v half = f64v_set1(0.5), d = f64v_sub(x, y), half_d = f64v_sub(f64v_mul(half, x), f64v_mul(half, y));
    const unsigned finite = f64v_below(f64v_abs(d), f64v_set1((double)INFINITY));
    return f64v_div(f64v_select(finite, d, half_d), f64v_select(finite, scale, f64v_mul(half, scale)));
}

/* ---- truncated to an interval ----------------------------------------------------------------- */

/* Of the normal of a loc and a scale between two bounds, in scales: where its mode is, and how far from there they
 * are. */
typedef struct fd_interval {
    f64v loc, scale, low, high, mode, slope, below, above;
} fd_interval;

FD_INLINE fd_interval interval_of(f64v loc, f64v scale, f64v low, f64v high)
{
    fd_interval d = {.loc = loc, .scale = scale, .low = low, .high = high};
    d.mode = f64v_max(low, f64v_min(high, loc));
    d.slope = standardized(d.mode, loc, scale);
    d.below = standardized(d.mode, low, scale);
    d.above = standardized(high, d.mode, scale);
    return d;
}

/* The mass where the density at the mode is 1. */
FD_INLINE f64v whole_mass(const fd_interval *d)
{
    const f64v a = f64v_abs(d->slope);
    return f64v_add(integral(a, d->below), integral(a, d->above));
}

/* That below a point t scales from the mode and w from the lower bound is e^-exponent (the result), over the density
 * at the point if it is below the mode, and then the exponent is that of the density. */
FD_INLINE f64v mass_below(const fd_interval *d, f64v t, f64v w, f64v *exponent)
{
    const f64v zero = f64v_set1(0), a = f64v_abs(d->slope), left = f64v_min(t, zero);
    const unsigned is_left = f64v_below(t, zero);
    const f64v from_left = integral(f64v_sub(a, left), f64v_select(is_left, w, d->below));
    *exponent = f64v_mul(left, f64v_fma(f64v_set1(0.5), left, d->slope));
    return f64v_add(from_left, integral(a, f64v_max(t, zero)));
}

/* The map of a draw is told what is as costly as itself: p and q are shares of weights, and h is
 *
 *   0                 for a narrow interval (fraction): p and q are where it begins and how wide it is
 *   H(A), or -H(A)    if the mode is the lower bound, or the upper one, A scales from loc: of masses between the
 *                     bounds and beyond the other one q, or p, is the ratio, and the other of the two is 1
 *   1/2               in between: twice the mass below the lower bound, and beyond the upper one */
FD_ALONE void prepare(const fd_interval *d, f64v *p, f64v *q, f64v *h)
{
    const f64v zero = f64v_set1(0), one = f64v_set1(1), half = f64v_set1(0.5);
    const f64v a = f64v_abs(d->slope), w = f64v_max(d->below, d->above), width = standardized(d->high, d->low, d->scale);
    const unsigned all = (1u << f64v_lanes) - 1, lower = all ^ f64v_below(zero, d->below);
    const unsigned upper = all ^ f64v_below(zero, d->above), outside = lower | upper;
    const unsigned narrow = f64v_below(f64v_mul(width, f64v_add(one, a)), f64v_set1(0.125));
    const f64v m = mills(a), far = f64v_add(a, w), decay = f64v_mul(w, f64v_fma(half, w, a));
    const f64v ratio = f64v_mul(f64v_div(mills(far), m), exp_f64(f64v_sub(zero, decay)));
    const f64v hazard = f64v_sub(f64v_fma(f64v_mul(half, a), a, f64v_set1(FD_LOG_SQRT_2PI)), FD_STREAM(log)(m));
    const f64v twice_below = f64v_mul(f64v_set1(2), tail_of(d->below)), twice_above = f64v_mul(f64v_set1(2), tail_of(d->above));
    const f64v start = standardized(d->low, d->loc, d->scale);
    *p = f64v_select(narrow, start, f64v_select(upper, ratio, f64v_select(lower, one, twice_below)));
    *q = f64v_select(narrow, width, f64v_select(lower, ratio, f64v_select(upper, one, twice_above)));
    *h = f64v_select(outside, f64v_select(upper, f64v_sub(zero, hazard), hazard), half);
    *h = f64v_select(narrow, zero, *h);
}

/* The map, and what of it the parameters alone decide. */
typedef struct fd_map {
    f64v scale, low, high, p, q, h, anchor, a, mills_a, of_a;
    unsigned at_low, at_high, wide; /* where it is anchored at a bound; which intervals are not narrow */
} fd_map;

FD_INLINE fd_map map_of(f64v loc, f64v scale, f64v low, f64v high, f64v p, f64v q, f64v h)
{
    fd_map map = {.scale = scale, .low = low, .high = high, .p = p, .q = q, .h = h};
    const f64v zero = f64v_set1(0);
    map.at_high = f64v_below(h, zero);
    map.at_low = f64v_below(f64v_set1(0.6), h);
    map.wide = f64v_below(zero, h) | map.at_high;
    map.anchor = f64v_select(map.at_high, high, f64v_select(map.at_low, low, loc));
    map.a = f64v_abs(standardized(map.anchor, loc, scale));
    map.mills_a = mills(map.a);
    map.of_a = f64v_select(map.at_high | map.at_low, f64v_abs(h), f64v_set1(FD_LOG_2));
    return map;
}

/* Of mass u below a point and v above, which add up to 1: the share of the tail below or above, the smaller one, of
 * twice the mass, or of that beyond the bound that is the anchor. With a minus if it is the one below. */
FD_INLINE f64v share_of(f64v p, f64v q, f64v u, f64v v)
{
    const f64v two = f64v_set1(2), lower = f64v_fma(v, p, f64v_mul(u, f64v_sub(two, q)));
    const f64v upper = f64v_fma(v, f64v_sub(two, p), f64v_mul(u, q));
    return f64v_select(f64v_below(lower, upper), f64v_sub(f64v_set1(0), lower), upper);
}

/* c of a share without its sign: no more than a number that may be squared. */
FD_INLINE f64v exponent_of(f64v share)
{
    const f64v zero = f64v_set1(0);
    return f64v_max(zero, f64v_min(f64v_set1(8e307), f64v_sub(zero, FD_STREAM(log)(share))));
}

/* The number t scales from the anchor or, in a narrow interval, that with mass u below it. */
FD_INLINE f64v placed(const fd_map *map, f64v t, f64v u)
{
    f64v x = f64v_fma(map->scale, t, map->anchor);
    if (FD_UNLIKELY(map->wide != (1u << f64v_lanes) - 1)) {
        const f64v y = fraction(map->p, map->q, u);
        x = f64v_select(map->wide, x, f64v_fma(f64v_sub(map->high, map->low), y, map->low));
    }
    return f64v_max(map->low, f64v_min(map->high, x));
}

/* How far from the anchor of the draw's map the quantile of u is, with mass v above it: by the map, then a step of
 * Newton's by the integrals. So near the bound it is anchored at that the mass is about the distance, two steps from
 * there, which leave 1e-15 of that. */
FD_INLINE f64v quantile(f64v u, f64v v, f64v log_u, const fd_interval *d, fd_map *of_draws)
{
    const f64v zero = f64v_set1(0), half = f64v_set1(0.5);
    f64v p, q, h, exponent;
    prepare(d, &p, &q, &h);
    const fd_map map = *of_draws = map_of(d->loc, d->scale, d->low, d->high, p, q, h);
    const f64v of_tail = share_of(p, q, u, v), log_rest = FD_STREAM(log)(f64v_sub(f64v_set1(2), q));
    const unsigned is_lower = f64v_below(of_tail, zero) | f64v_below(log_u, zero);
    const unsigned tiny = f64v_below(log_u, zero) & (((1u << f64v_lanes) - 1) ^ f64v_below(zero, p));
    f64v c = exponent_of(f64v_abs(of_tail));
    c = f64v_select(tiny, f64v_min(f64v_set1(8e307), f64v_sub(f64v_sub(zero, log_rest), log_u)), c);
    f64v t = nearer(map.a, map.mills_a, c, near(map.a, f64v_add(map.of_a, c), c));
    t = f64v_select(is_lower, f64v_sub(zero, t), t);
    const unsigned small = f64v_below(u, v), others = ((1u << f64v_lanes) - 1) ^ small;

    /* From the bound that less of the mass lies before, for which everything is reflected. */
    fd_interval e = *d;
    e.slope = f64v_select(small, d->slope, f64v_sub(zero, d->slope));
    e.below = f64v_select(small, d->below, d->above);
    const f64v share = f64v_select(small, u, v), at = f64v_select(small, t, f64v_sub(zero, t));
    const f64v mass = mass_below(&e, at, f64v_add(at, e.below), &exponent), all = whole_mass(d);
    const f64v log_share = f64v_select(small & f64v_below(log_u, zero), log_u, FD_STREAM(log)(share));
    const f64v excess = f64v_sub(f64v_sub(FD_STREAM(log)(f64v_div(mass, all)), exponent), log_share);
    const f64v right = f64v_max(at, zero), density = f64v_mul(right, f64v_fma(half, right, e.slope));
    const f64v step = f64v_mul(f64v_mul(excess, mass), exp_f64(density));
    const unsigned good = f64v_below(f64v_abs(step), f64v_set1(0.01)); /* not at a bound, where masses are 0 */
    f64v better = f64v_select(good, f64v_sub(at, step), at);

    const f64v distance = f64v_mul(share, all), aa = map.a;
    const unsigned close = ((small & map.at_low) | (others & map.at_high)) &
                           f64v_below(f64v_fma(distance, aa, distance), f64v_set1(0.0625));
    if (close) {
        f64v s = f64v_fma(f64v_mul(f64v_mul(half, aa), distance), distance, distance);
        for (int i = 0; i < 2; i++) {
            const f64v slope = exp_f64(f64v_mul(s, f64v_fma(half, s, aa)));
            s = f64v_sub(s, f64v_mul(f64v_sub(integral(aa, s), distance), slope));
        }
        better = f64v_select(close, s, better);
    }
    return f64v_select(small, better, f64v_sub(zero, better));
}

/* The share of the mass below x, and its logarithm. */
FD_INLINE f64v share_below(f64v x, const fd_interval *d, f64v *exponent)
{
    const f64v inside = f64v_max(d->low, f64v_min(d->high, x));
    const f64v t = standardized(inside, d->mode, d->scale), w = standardized(inside, d->low, d->scale);
    return f64v_div(mass_below(d, t, w, exponent), whole_mass(d));
}

/* The log_u that `quantile` is to go by, 0 if u itself will do. */
FD_INLINE f64v tiny_only(f64v u, f64v log_u)
{
    const unsigned some = f64v_below(f64v_set1(-(double)INFINITY), log_u);
    const unsigned tiny = some & f64v_below(log_u, f64v_set1(0)) & f64v_below(u, f64v_set1(1e-290));
    return f64v_select(tiny, log_u, f64v_set1(0));
}

/* y of a u between 0 and 1, lowest and highest at the ends, NaN of others. */
FD_INLINE f64v of_share(f64v u, f64v v, f64v log_tiny, f64v y, f64v lowest, f64v highest)
{
    const f64v zero = f64v_set1(0), one = f64v_set1(1), nan = f64v_set1((double)NAN);
    const unsigned inside = (f64v_below(zero, u) | f64v_below(log_tiny, zero)) & f64v_below(zero, v);
    const f64v end = f64v_select(f64v_below(u, v), lowest, f64v_select(f64v_below(v, u), highest, nan));
    y = f64v_select(inside, y, end);
    return f64v_select(f64v_below(one, u) | f64v_below(one, v), nan, y);
}

/* Of u below and v above, which add up to 1; `log_u` is the logarithm of u. */
FD_ALONE f64v truncated_quantile(f64v u, f64v v, f64v log_u, f64v loc, f64v scale, f64v low, f64v high)
{
    const fd_interval d = interval_of(loc, scale, low, high);
    const f64v log_tiny = tiny_only(u, log_u);
    fd_map map;
    const f64v t = quantile(u, v, log_tiny, &d, &map);
    return of_share(u, v, log_tiny, placed(&map, t, u), low, high);
}

/* A place between the bounds, in scales: t from the mode, and how far from the nearer bound, which a sum with t might
 * have lost; that is negative for what is beyond. */
typedef struct fd_spot {
    f64v t, edge;
} fd_spot;

FD_ALONE fd_spot truncated_place(f64v x, f64v loc, f64v scale, f64v low, f64v high)
{
    const fd_interval d = interval_of(loc, scale, low, high);
    const f64v infinity = f64v_set1((double)INFINITY), outermost = f64v_sub(f64v_set1(0), infinity);
    const f64v inside = f64v_max(low, f64v_min(high, x));
    const f64v from_low = f64v_select(f64v_below(outermost, low), standardized(inside, low, scale), infinity);
    const f64v from_high = f64v_select(f64v_below(high, infinity), standardized(high, inside, scale), infinity);
    const unsigned beyond = f64v_below(x, low) | f64v_below(high, x);
    const unsigned number = f64v_below(x, infinity) | f64v_below(outermost, x);
    fd_spot place = {standardized(inside, d.mode, scale), f64v_min(from_low, from_high)};
    place.t = f64v_select(number, place.t, x);
    place.edge = f64v_select(beyond, f64v_set1(-1), place.edge);
    return place;
}

/* The same of a quantile. */
FD_ALONE fd_spot truncated_quantile_place(f64v u, f64v v, f64v log_u, f64v loc, f64v scale, f64v low, f64v high)
{
    const fd_interval d = interval_of(loc, scale, low, high);
    const f64v zero = f64v_set1(0), log_tiny = tiny_only(u, log_u), lowest = f64v_sub(zero, d.below);
    fd_map map;
    f64v t = quantile(u, v, log_tiny, &d, &map), from_low = f64v_add(t, d.below);
    if (FD_UNLIKELY(map.wide != (1u << f64v_lanes) - 1)) {
        const f64v narrow = f64v_mul(map.q, fraction(map.p, map.q, u));
        from_low = f64v_select(map.wide, from_low, narrow);
        t = f64v_select(map.wide, t, f64v_sub(narrow, d.below));
    }
    t = f64v_max(lowest, f64v_min(d.above, t));
    from_low = f64v_max(zero, from_low);
    fd_spot place = {of_share(u, v, log_tiny, t, lowest, d.above), zero};
    const f64v edge = f64v_min(from_low, f64v_max(zero, f64v_sub(d.above, t)));
    place.edge = of_share(u, v, log_tiny, edge, zero, zero);
    return place;
}

/* The masses on both sides of a place, which are these times e^-exponent where the density at the mode is 1; sums of
 * distances from the place, and of their squares; and what the density at a bound is of that at the place or, on the
 * side of the mode, at the mode. */
typedef struct fd_side {
    f64v mass, first, second, exponent, end;
} fd_side;

FD_ALONE fd_side side_below(f64v slope, f64v below, f64v t, f64v from_low)
{
    const f64v zero = f64v_set1(0), half = f64v_set1(0.5), two = f64v_set1(2), a = f64v_abs(slope);
    const f64v left = f64v_min(t, zero), right = f64v_max(t, zero), steep = f64v_sub(a, left);
    const f64v w = f64v_select(f64v_below(t, zero), from_low, below);
    f64v l[3], r[3];
    fd_side side;
    integrals(3, steep, w, l);
    integrals(3, a, right, r);
    side.mass = f64v_add(l[0], r[0]);
    side.first = f64v_add(f64v_fma(right, l[0], l[1]), f64v_sub(f64v_mul(right, r[0]), r[1]));
    const f64v outer = f64v_fma(right, f64v_fma(right, l[0], f64v_mul(two, l[1])), l[2]);
    side.second = f64v_add(outer, f64v_fma(right, f64v_sub(f64v_mul(right, r[0]), f64v_mul(two, r[1])), r[2]));
    side.exponent = f64v_mul(left, f64v_fma(half, left, slope));
    side.end = exp_f64(f64v_sub(zero, f64v_mul(w, f64v_fma(half, w, steep))));
    return side;
}

typedef struct fd_sides {
    fd_side below, above;
    f64v mass; /* of both */
} fd_sides;

/* Of a place, infinite ones as if they were very far. */
FD_INLINE fd_sides sides_of(fd_spot place, f64v slope, f64v below, f64v above)
{
    const f64v zero = f64v_set1(0), far = f64v_set1(1e150);
    const f64v t = f64v_max(f64v_sub(zero, far), f64v_min(far, place.t)), edge = f64v_max(zero, place.edge);
    const f64v from_low = f64v_add(t, below), from_high = f64v_sub(above, t);
    const unsigned nearer_low = f64v_below(from_low, from_high);
    fd_sides sides;
    sides.below = side_below(slope, below, t, f64v_select(nearer_low, edge, from_low));
    sides.above = side_below(f64v_sub(zero, slope), above, f64v_sub(zero, t), f64v_select(nearer_low, from_high, edge));
    const f64v of_below = f64v_mul(sides.below.mass, exp_f64(f64v_sub(zero, sides.below.exponent)));
    sides.mass = f64v_fma(sides.above.mass, exp_f64(f64v_sub(zero, sides.above.exponent)), of_below);
    return sides;
}

/* y of a number x between the bounds, at_low and at_high of others, NaN for NaN. */
FD_INLINE f64v between(f64v x, f64v low, f64v high, f64v y, double at_low, double at_high)
{
    const f64v infinity = f64v_set1((double)INFINITY);
    const unsigned number = f64v_below(x, infinity) | f64v_below(f64v_sub(f64v_set1(0), infinity), x);
    y = f64v_select(f64v_below(low, x), y, f64v_set1(at_low));
    y = f64v_select(f64v_below(x, high), y, f64v_set1(at_high));
    return f64v_select(number, y, x);
}

FD_ALONE f64v truncated_cdf(f64v x, f64v loc, f64v scale, f64v low, f64v high)
{
    const fd_interval d = interval_of(loc, scale, low, high);
    f64v exponent;
    const f64v share = share_below(x, &d, &exponent), decay = exp_f64(f64v_sub(f64v_set1(0), exponent));
    return between(x, low, high, f64v_min(f64v_set1(1), f64v_mul(share, decay)), 0, 1);
}

/* Where most of the mass is below, by what is above. */
FD_ALONE f64v truncated_log_cdf(f64v x, f64v loc, f64v scale, f64v low, f64v high)
{
    const f64v zero = f64v_set1(0);
    const fd_interval d = interval_of(loc, scale, low, high);
    f64v exponent;
    const f64v share = share_below(x, &d, &exponent), log_p = f64v_sub(FD_STREAM(log)(share), exponent);
    const f64v above = truncated_cdf(f64v_sub(zero, x), f64v_sub(zero, loc), scale, f64v_sub(zero, high),
                                     f64v_sub(zero, low));
    const f64v y = f64v_select(f64v_below(f64v_set1(-FD_LOG_2), log_p), log1p_f64(f64v_sub(zero, above)), log_p);
    return between(x, low, high, y, -(double)INFINITY, 0);
}
