/* kernels/mvn_kl.inc.h - Kullback-Leibler divergence of Gaussian vectors, and terms of its gradients.
 *
 * With K = L_q^-1 L_p, E = K - 1 and z = L_q^-1 (loc_p - loc_q) it is a sum of terms that are not negative,
 *
 *     sum of phi(K_ii) + 1/2 sum of E_ij^2 (i > j) + 1/2 |z|^2,   phi(r) = (r^2 - 1) / 2 - log r
 *
 * E is made without the difference of K and 1, and is 0 where the factors are the same, L or W = L^-1:
 *
 *     p     q     E
 *     L     L     L_q^-1 (L_p - L_q)
 *     W     W     (W_q - W_p) W_p^-1
 *     L     W     W_q L_p - 1
 *     W     L     -(1 + F)^-1 F,  F = W_p L_q - 1
 *
 * So of the two one, a, has its columns in E, and the other, b, is what they are multiplied or solved by; the last two
 * rows, `mixed`, sum in twice the precision. Diagonal factors are of the kind L. Up to FD_SMALL_EVENT elements a lane
 * is an item; of larger events the lanes are columns. */

/* ---- what both do ------------------------------------------------------------------------------ */

typedef struct FD_LOCAL(fd_pair) {
    int mixed, swapped;         /* p is by W: it is b */
    int diagonal_a, diagonal_b; /* a vector instead of a factor */
    const REAL *a, *b;
} FD_LOCAL(fd_pair);

FD_INLINE FD_LOCAL(fd_pair) FD_LOCAL(pair)(const intptr_t *kinds, const REAL *p, const REAL *q)
{
    const int swapped = kinds[0] == FD_INVERSE;
    const FD_LOCAL(fd_pair) pair = {swapped != (kinds[1] == FD_INVERSE), swapped, kinds[swapped] == FD_DIAGONAL,
                                    kinds[!swapped] == FD_DIAGONAL, swapped ? q : p, swapped ? p : q};
    return pair;
}

/* Of elements of the diagonals of a and b: r = K_ii and u = r - 1. */
FD_INLINE void FD_LOCAL(ratio)(const FD_LOCAL(fd_pair) *pair, VEC a, VEC b, VEC *r, VEC *u)
{
    const VEC one = V(set1)(1), product = V(mul)(a, b);
    if (!pair->mixed) {
        *r = V(div)(a, b);
        *u = V(div)(V(sub)(a, b), b);
    } else if (!pair->swapped) {
        *r = product;
        *u = V(fma)(a, b, V(set1)(-1));
    } else {
        *r = V(div)(one, product);
        *u = V(div)(V(fnma)(a, b, one), product);
    }
}

/* phi where r is near the ends of the range or beyond: log r may be finite there. */
FD_ALONE VEC FD_LOCAL(phi_beyond)(const FD_LOCAL(fd_pair) *pair, VEC phi, unsigned within, VEC a, VEC b)
{
    REAL out[V(lanes)], of_a[V(lanes)], of_b[V(lanes)];
    V(store)(out, phi);
    V(store)(of_a, a);
    V(store)(of_b, b);
    for (int j = 0; j < V(lanes); j++)
        if (!(within >> j & 1)) {
            const double x = (double)of_a[j], y = (double)of_b[j];
            const double r = !pair->mixed ? x / y : !pair->swapped ? x * y : 1 / x / y;
            double log_a[f64v_lanes], log_b[f64v_lanes];
            f64v_store(log_a, FD_STREAM(log)(f64v_set1(x)));
            f64v_store(log_b, FD_STREAM(log)(f64v_set1(y)));
            const double log_r = !pair->mixed ? log_a[0] - log_b[0] : log_a[0] + log_b[0];
            out[j] = (REAL)(0.5 * (r - 1) * (r + 1) - (pair->swapped && pair->mixed ? -log_r : log_r));
        }
    return V(load)(out);
}

/* phi(r) with u = r - 1, as in normal_kl.inc.h: where r = 2^k (1 + f) with k = 0, f is u, and the terms that would
 * cancel are 0. */
FD_INLINE VEC FD_LOCAL(phi)(const FD_LOCAL(fd_pair) *pair, VEC a, VEC b, VEC r, VEC u)
{
    const VEC half = V(set1)((REAL)0.5);
    VEC k;
    const VEC m = FD_LOCAL(split)(r, &k), size = V(abs)(k);
    const unsigned within = V(below)(size, V(set1)(FD_LOCAL(kl_exponent))); /* false for NaN, which has the largest k */
    const VEC f = V(select)(V(below)(size, half), u, V(sub)(m, V(set1)(1)));
    const VEC s = V(div)(f, V(add)(V(set1)(2), f)), half_square = V(mul)(half, V(mul)(f, f));
    const VEC rest = V(mul)(s, V(add)(half_square, FD_LOCAL(log_series)(V(mul)(s, s))));
    const VEC high = V(fnma)(k, V(set1)(FD_LOCAL(ln2)[0]), V(sub)(u, f));
    const VEC low = V(fma)(k, V(set1)(FD_LOCAL(ln2)[1]), rest);
    const VEC result = V(add)(V(fma)(V(mul)(half, u), u, half_square), V(sub)(high, low));
    return FD_UNLIKELY(within != (1u << V(lanes)) - 1) ? FD_LOCAL(phi_beyond)(pair, result, within, a, b) : result;
}

/* A sum of products in twice the precision: Dot2 of Ogita, Rump and Oishi, "Accurate sum and dot product", 2005. */
typedef struct FD_LOCAL(fd_dot) {
    VEC sum, error;
} FD_LOCAL(fd_dot);

FD_INLINE void FD_LOCAL(add_product)(FD_LOCAL(fd_dot) *dot, VEC x, VEC y)
{
    const VEC high = V(mul)(x, y), less_low = V(fnma)(x, y, high);
    const VEC sum = V(add)(dot->sum, high), back = V(sub)(sum, dot->sum);
    const VEC lost = V(add)(V(sub)(dot->sum, V(sub)(sum, back)), V(sub)(high, back));
    dot->error = V(add)(dot->error, V(sub)(lost, less_low));
    dot->sum = sum;
}

/* Of an item: a NaN that comes of no NaN is of one that overflowed. */
static REAL FD_LOCAL(settle_kl)(const intptr_t *kinds, intptr_t dim, const REAL *loc_p, const REAL *loc_q,
                                const REAL *p, const REAL *q)
{
    int has_nan = 0;
    for (intptr_t i = 0; i < dim; i++)
        has_nan |= isnan(loc_p[i]) | isnan(loc_q[i]);
    for (intptr_t i = 0; i < (kinds[0] == FD_DIAGONAL ? dim : dim * dim); i++)
        has_nan |= isnan(p[i]);
    for (intptr_t i = 0; i < (kinds[1] == FD_DIAGONAL ? dim : dim * dim); i++)
        has_nan |= isnan(q[i]);
    return has_nan ? (REAL)NAN : (REAL)INFINITY;
}

/* Differences are divided by this, and quotients multiplied again, where they, or what is on the way to a quotient,
 * might leave the range. */
static const REAL FD_LOCAL(kl_far) = (REAL)0x1p32;

/* ---- small events: a lane an item ------------------------------------------------------------ */

typedef struct FD_LOCAL(fd_small) {
    VEC a[FD_SMALL_EVENT], b[FD_SMALL_EVENT];    /* the diagonals */
    VEC r[FD_SMALL_EVENT], u[FD_SMALL_EVENT];    /* of K and of E */
    VEC e[FD_SMALL_EVENT * FD_SMALL_EVENT];      /* E below its diagonal, by columns */
    VEC z[FD_SMALL_EVENT], back[FD_SMALL_EVENT]; /* z and L_q^-T z */
} FD_LOCAL(fd_small);

/* An element of n items, `stride` apart. */
FD_INLINE VEC FD_LOCAL(of_items)(intptr_t n, const REAL *x, intptr_t stride)
{
    return stride ? V(gather)(x, stride, n) : V(set1)(*x);
}

FD_INLINE void FD_LOCAL(load_lower)(int diagonal, intptr_t n, intptr_t dim, VEC *v, const REAL *x, intptr_t stride)
{
    for (intptr_t k = 0; k < dim; k++)
        for (intptr_t i = 0; i < dim; i++)
            v[k * dim + i] = i < k || (i > k && diagonal)
                                 ? V(set1)(0)
                                 : FD_LOCAL(of_items)(n, x + (diagonal ? k : k * dim + i), stride);
    for (intptr_t k = 0; k < dim && n < V(lanes); k++) /* ones in the lanes beyond */
        v[k * (dim + 1)] = V(select)((1u << n) - 1, v[k * (dim + 1)], V(set1)(1));
}

/* d = (x - y) / c, where c, which is returned, is 1 unless the difference is near the end of the range or beyond. */
FD_INLINE VEC FD_LOCAL(difference)(intptr_t n, intptr_t size, VEC *d, const VEC *x, const VEC *y)
{
    const unsigned all = (1u << n) - 1;
    unsigned within = all;
    for (intptr_t i = 0; i < size; i++) {
        d[i] = V(sub)(x[i], y[i]);
        within &= V(below)(V(abs)(d[i]), V(set1)(REAL_MAX / FD_LOCAL(kl_far)));
    }
    const VEC one = V(set1)(1), less = V(select)(within, one, V(set1)(1 / FD_LOCAL(kl_far)));
    for (intptr_t i = 0; FD_UNLIKELY(within != all) && i < size; i++)
        d[i] = V(sub)(V(mul)(less, x[i]), V(mul)(less, y[i]));
    return V(select)(within, one, V(set1)(FD_LOCAL(kl_far)));
}

/* x / diagonal, by way of its reciprocal in lanes that have one. */
FD_INLINE VEC FD_LOCAL(over)(VEC x, VEC diagonal, VEC reciprocal, unsigned good)
{
    const VEC product = V(mul)(x, reciprocal);
    return FD_UNLIKELY(good != (1u << V(lanes)) - 1) ? V(select)(good, product, V(div)(x, diagonal)) : product;
}

/* Of n items, whose operands are so many strides apart; `back` on request. */
static void FD_LOCAL(small_excess)(const FD_LOCAL(fd_pair) *pair, int with_back, intptr_t n, intptr_t dim,
                                   FD_LOCAL(fd_small) *s, const REAL *loc_p, intptr_t loc_p_stride, const REAL *loc_q,
                                   intptr_t loc_q_stride, intptr_t a_stride, intptr_t b_stride)
{
    enum { MOST = FD_SMALL_EVENT };
    const VEC limit = V(set1)(FD_RECIPROCAL_LIMIT), least = V(set1)(1 / FD_RECIPROCAL_LIMIT), zero = V(set1)(0);
    const int mixed = pair->mixed, swapped = pair->swapped, by_inverse = mixed != swapped; /* q is by W */
    VEC a[MOST * MOST], b[MOST * MOST], x[MOST], y[MOST], over[MOST], *e = s->e, *z = s->z;
    FD_LOCAL(load_lower)(pair->diagonal_a, n, dim, a, pair->a, a_stride);
    FD_LOCAL(load_lower)(pair->diagonal_b, n, dim, b, pair->b, b_stride);
    const VEC *q = swapped ? a : b, *solved = mixed ? a : b;
    unsigned good = ~0u;
    for (intptr_t i = 0; i < dim; i++) {
        const VEC diagonal = solved[i * dim + i];
        over[i] = V(div)(V(set1)(1), diagonal);
        good &= V(below)(diagonal, limit) & V(below)(least, diagonal);
        s->a[i] = a[i * dim + i];
        s->b[i] = b[i * dim + i];
        FD_LOCAL(ratio)(pair, s->a[i], s->b[i], s->r + i, s->u + i);
        x[i] = FD_LOCAL(of_items)(n, loc_p + i, loc_p_stride);
        y[i] = FD_LOCAL(of_items)(n, loc_q + i, loc_q_stride);
    }
    good |= ~((1u << n) - 1);
    good &= (1u << V(lanes)) - 1;

    const VEC times_z = FD_LOCAL(difference)(n, dim, z, x, y);
    for (intptr_t j = 0; j < dim; j++) {
        const intptr_t i = by_inverse ? dim - 1 - j : j; /* in place */
        VEC sum = by_inverse ? V(mul)(q[i * dim + i], z[i]) : z[i];
        for (intptr_t k = 0; k < i; k++)
            sum = by_inverse ? V(fma)(q[k * dim + i], z[k], sum) : V(fnma)(q[k * dim + i], z[k], sum);
        z[i] = by_inverse ? sum : FD_LOCAL(over)(sum, q[i * dim + i], over[i], good);
    }
    for (intptr_t i = 0; i < dim; i++)
        z[i] = V(mul)(times_z, z[i]);
    for (intptr_t j = 0; with_back && j < dim; j++) {
        const intptr_t k = by_inverse ? j : dim - 1 - j;
        VEC sum = by_inverse ? V(mul)(q[k * dim + k], z[k]) : z[k];
        for (intptr_t i = k + 1; i < dim; i++)
            sum = by_inverse ? V(fma)(q[k * dim + i], z[i], sum) : V(fnma)(q[k * dim + i], s->back[i], sum);
        s->back[k] = by_inverse ? sum : FD_LOCAL(over)(sum, q[k * dim + k], over[k], good);
    }

    if (mixed) {
        for (intptr_t j = 0; j < dim; j++)
            for (intptr_t i = j + 1; i < dim; i++) {
                FD_LOCAL(fd_dot) dot = {zero, zero};
                for (intptr_t k = j; k <= i; k++)
                    FD_LOCAL(add_product)(&dot, b[k * dim + i], a[j * dim + k]);
                e[j * dim + i] = V(add)(dot.sum, dot.error);
            }
        for (intptr_t j = 0; swapped && j < dim; j++) /* from F to E, of which columns before j are done */
            for (intptr_t i = j + 1; i < dim; i++) {
                VEC sum = V(mul)(e[j * dim + i], s->r[j]);
                for (intptr_t k = j + 1; k < i; k++)
                    sum = V(fma)(e[k * dim + i], e[j * dim + k], sum);
                e[j * dim + i] = V(sub)(zero, V(mul)(sum, s->r[i]));
            }
        return;
    }
    const VEC times_e = FD_LOCAL(difference)(n, dim * dim, e, a, b);
    for (intptr_t j = 0; j < dim; j++)
        if (swapped) /* row by row */
            for (intptr_t i = j; i >= 0; i--) {
                VEC sum = e[i * dim + j];
                for (intptr_t k = j; k > i; k--)
                    sum = V(fnma)(e[k * dim + j], b[i * dim + k], sum);
                e[i * dim + j] = FD_LOCAL(over)(sum, b[i * dim + i], over[i], good);
            }
        else
            for (intptr_t i = j; i < dim; i++) {
                VEC sum = e[j * dim + i];
                for (intptr_t k = j; k < i; k++)
                    sum = V(fnma)(b[k * dim + i], e[j * dim + k], sum);
                e[j * dim + i] = FD_LOCAL(over)(sum, b[i * dim + i], over[i], good);
            }
    for (intptr_t i = 0; i < dim * dim; i++)
        e[i] = V(mul)(times_e, e[i]);
}

static VEC FD_LOCAL(small_kl)(const FD_LOCAL(fd_pair) *pair, intptr_t dim, const FD_LOCAL(fd_small) *s)
{
    VEC square = V(set1)(0), result = V(set1)(0);
    for (intptr_t j = 0; j < dim; j++) {
        square = V(fma)(s->z[j], s->z[j], square);
        for (intptr_t i = j + 1; i < dim; i++)
            square = V(fma)(s->e[j * dim + i], s->e[j * dim + i], square);
        result = V(add)(result, FD_LOCAL(phi)(pair, s->a[j], s->b[j], s->r[j], s->u[j]));
    }
    return V(fma)(V(set1)((REAL)0.5), square, result);
}

/* To an element of n items. */
FD_INLINE void FD_LOCAL(put)(intptr_t n, REAL *to, intptr_t stride, VEC v)
{
    REAL lane[V(lanes)];
    V(store)(lane, v);
    for (intptr_t e = 0; e < n; e++)
        to[e * stride] = lane[e];
}

/* The terms of n items. A scale is one of p or q's, if they are diagonal; `by_q` may be NULL. */
static void FD_LOCAL(small_score)(intptr_t n, intptr_t dim, const FD_LOCAL(fd_small) *s, VEC g, const VEC *scale_p,
                                  const VEC *scale_q, REAL *by_loc, REAL *by_p, REAL *by_q, intptr_t stride)
{
    const VEC *e = s->e, *z = s->z, minus_g = V(sub)(V(set1)(0), g);
    for (intptr_t i = 0; i < dim; i++) {
        const VEC off = V(mul)(s->u[i], V(add)(s->u[i], V(set1)(2))); /* r^2 - 1 */
        VEC of_p = off, of_q = V(fma)(z[i], z[i], off);
        for (intptr_t k = i + 1; k < dim; k++)
            of_p = V(fma)(e[i * dim + k], e[i * dim + k], of_p);
        for (intptr_t k = 0; k < i; k++)
            of_q = V(fma)(e[k * dim + i], e[k * dim + i], of_q);
        of_p = V(mul)(g, of_p);
        of_q = V(mul)(minus_g, of_q);
        FD_LOCAL(put)(n, by_loc + i, stride, V(mul)(g, s->back[i]));
        FD_LOCAL(put)(n, scale_p ? by_p + i : by_p + i * (dim + 1), stride, scale_p ? V(div)(of_p, scale_p[i]) : of_p);
        if (by_q)
            FD_LOCAL(put)(n, scale_q ? by_q + i : by_q + i * (dim + 1), stride, scale_q ? V(div)(of_q, scale_q[i]) : of_q);
        for (intptr_t j = 0; j < i && !scale_p; j++) {
            VEC sum = V(mul)(s->r[i], e[j * dim + i]);
            for (intptr_t k = i + 1; k < dim; k++)
                sum = V(fma)(e[i * dim + k], e[j * dim + k], sum);
            FD_LOCAL(put)(n, by_p + i * dim + j, stride, V(mul)(g, sum));
            FD_LOCAL(put)(n, by_p + j * dim + i, stride, V(set1)(0));
        }
        for (intptr_t j = 0; j < i && by_q && !scale_q; j++) {
            VEC sum = V(fma)(e[j * dim + i], s->r[j], V(mul)(z[i], z[j]));
            for (intptr_t k = 0; k < j; k++)
                sum = V(fma)(e[k * dim + i], e[k * dim + j], sum);
            FD_LOCAL(put)(n, by_q + i * dim + j, stride, V(mul)(minus_g, sum));
            FD_LOCAL(put)(n, by_q + j * dim + i, stride, V(set1)(0));
        }
    }
}

/* ---- any events: the lanes are columns --------------------------------------------------------- */

/* Matrices of scratch have rows of whole cache lines, padded by zeros, and not of a multiple of 512 bytes: rows a power
 * of two apart would drive each other out of the cache. */
enum { FD_LOCAL(kl_line) = 64 / sizeof(REAL), FD_LOCAL(kl_apart) = 512 / sizeof(REAL) };

FD_INLINE intptr_t FD_LOCAL(kl_ld)(intptr_t dim)
{
    const intptr_t ld = (dim + FD_LOCAL(kl_line) - 1) / FD_LOCAL(kl_line) * FD_LOCAL(kl_line);
    return ld % FD_LOCAL(kl_apart) ? ld : ld + FD_LOCAL(kl_line);
}

/* NaN in a lane of `check` as soon as a number is not far from the end of the range: infinity times 0. */
FD_INLINE VEC FD_LOCAL(look_at)(VEC x, VEC check)
{
    return V(fma)(V(mul)(x, V(set1)(FD_LOCAL(kl_far))), V(set1)(0), check);
}

FD_INLINE int FD_LOCAL(within)(VEC check) { return V(below)(V(abs)(check), V(set1)(1)) == (1u << V(lanes)) - 1; }

/* Vector i of c (a - b), of n elements; zeros beyond. */
FD_INLINE VEC FD_LOCAL(subtract)(intptr_t n, intptr_t i, VEC c, const REAL *a, const REAL *b)
{
    const VEC x = FD_LOCAL(load_to)(a + i, n - i), y = FD_LOCAL(load_to)(b + i, n - i);
    return V(sub)(V(mul)(c, x), V(mul)(c, y));
}

/* Returns whether all differences are far from the end of the range. */
static int FD_LOCAL(subtract_rows)(intptr_t dim, REAL *x, intptr_t ld, REAL c, const REAL *a, const REAL *b)
{
    VEC check = V(set1)(0);
    for (intptr_t k = 0; k < dim; k++, x += ld, a += dim, b += dim)
        for (intptr_t i = 0; i < ld; i += V(lanes)) {
            const VEC d = i < dim ? FD_LOCAL(subtract)(dim, i, V(set1)(c), a, b) : V(set1)(0);
            check = FD_LOCAL(look_at)(d, check);
            V(store)(x + i, d);
        }
    return FD_LOCAL(within)(check);
}

FD_INLINE void FD_LOCAL(times)(intptr_t n, REAL *x, REAL c)
{
    for (intptr_t i = 0; c != 1 && i < n; i++)
        x[i] *= c;
}

/* A square of m rows and n columns of the transpose of `from`, less that of `less` if this is not NULL, or of -less. */
FD_INLINE void FD_LOCAL(transpose_square)(intptr_t n, intptr_t m, REAL *to, intptr_t ld, REAL c, const REAL *from,
                                          const REAL *less, intptr_t from_ld, VEC *check)
{
    VEC v[V(lanes)], w[V(lanes)];
    FD_UNROLL
    for (int k = 0; k < V(lanes); k++)
        v[k] = w[k] = V(set1)(0);
    if (from)
        FD_LOCAL(load_columns)(n, m, v, from, from_ld);
    if (less)
        FD_LOCAL(load_columns)(n, m, w, less, from_ld);
    FD_UNROLL
    for (int k = 0; k < V(lanes); k++) {
        const VEC element = less ? V(sub)(V(mul)(V(set1)(c), v[k]), V(mul)(V(set1)(c), w[k])) : v[k];
        if (k < m) {
            *check = FD_LOCAL(look_at)(element, *check);
            V(store)(to + k * ld, element);
        }
    }
}

/* The transpose of an upper triangle by rows without padding: of c (from - less), or as above. Returns whether all
 * numbers are far from the end of the range. */
FD_INLINE int FD_LOCAL(transpose_upper)(intptr_t dim, REAL *to, intptr_t ld, REAL c, const REAL *from, const REAL *less)
{
    enum { LANES = V(lanes) };
    VEC check = V(set1)(0);
    for (intptr_t i = 0; i < dim; i += LANES) {
        const intptr_t m = fd_min(dim - i, LANES);
        REAL *row = to + i * ld;
        intptr_t j = 0;
        for (; j <= i; j += LANES) {
            const intptr_t at = j * dim + i, n = dim - j;
            if (m == LANES && n >= LANES)
                FD_LOCAL(transpose_square)(LANES, LANES, row + j, ld, c, from ? from + at : NULL, less ? less + at : NULL,
                                           dim, &check);
            else
                FD_LOCAL(transpose_square)(n, m, row + j, ld, c, from ? from + at : NULL, less ? less + at : NULL, dim,
                                           &check);
        }
        for (intptr_t k = 0; k < m; k++)
            for (intptr_t zero = j; zero < ld; zero += LANES)
                V(store)(row + k * ld + zero, V(set1)(0));
    }
    return FD_LOCAL(within)(check);
}

/* The same between matrices of scratch, either triangle. */
static void FD_LOCAL(transpose)(intptr_t dim, REAL *to, const REAL *from, intptr_t ld)
{
    for (intptr_t i = 0; i < dim; i += V(lanes))
        for (intptr_t j = 0; j < dim; j += V(lanes)) {
            VEC v[V(lanes)];
            FD_LOCAL(load_columns)(fd_min(dim - j, V(lanes)), V(lanes), v, from + j * ld + i, ld);
            for (int k = 0; k < V(lanes) && i + k < dim; k++)
                V(store)(to + (i + k) * ld + j, v[k]);
        }
}

enum { FD_LOCAL(solve_rows) = 4 };

/* n rows of n_vec vectors of columns, from row t on; `by` are the diagonal or (`divide` is 0) its reciprocals. All three
 * are compile-time constants. */
FD_INLINE void FD_LOCAL(solve_block)(int n, int n_vec, int divide, intptr_t from, intptr_t t, REAL *x, intptr_t x_row,
                                     const REAL *f, intptr_t f_row, intptr_t f_col, const REAL *by)
{
    VEC left[FD_LOCAL(solve_rows)][2];
    REAL *top = x + t * x_row;
    const REAL *row = x + from * x_row, *column = f + t * f_row + from * f_col;
    FD_UNROLL
    for (int r = 0; r < n; r++)
        FD_UNROLL
        for (int v = 0; v < n_vec; v++)
            left[r][v] = V(load)(top + r * x_row + v * V(lanes));
    for (intptr_t k = t - from; k > 0; k--, row += x_row, column += f_col) {
        VEC x_k[2];
        FD_UNROLL
        for (int v = 0; v < n_vec; v++)
            x_k[v] = V(load)(row + v * V(lanes));
        FD_UNROLL
        for (int r = 0; r < n; r++) {
            const VEC c = V(set1)(column[r * f_row]);
            FD_UNROLL
            for (int v = 0; v < n_vec; v++)
                left[r][v] = V(fnma)(c, x_k[v], left[r][v]);
        }
    }
    FD_UNROLL
    for (int k = 0; k < n; k++, column += f_col) {
        const VEC diagonal = V(set1)(by[k]);
        FD_UNROLL
        for (int v = 0; v < n_vec; v++) {
            left[k][v] = divide ? V(div)(left[k][v], diagonal) : V(mul)(left[k][v], diagonal);
            V(store)(top + k * x_row + v * V(lanes), left[k][v]);
        }
        FD_UNROLL
        for (int r = k + 1; r < n; r++) {
            const VEC c = V(set1)(column[r * f_row]);
            FD_UNROLL
            for (int v = 0; v < n_vec; v++)
                left[r][v] = V(fnma)(c, left[k][v], left[r][v]);
        }
    }
}

/* x = F^-1 x, lower triangles from the first row down or, with negative strides, upper ones from the last up: x and f
 * are where that begins. A panel of columns at a time, for which x is near, without the rows where it is zero; its
 * vectors take turns, as the triangle on the diagonal is a long chain of operations. */
static void FD_LOCAL(solve_triangle)(intptr_t dim, REAL *x, intptr_t x_row, const REAL *f, intptr_t f_row,
                                     intptr_t f_col)
{
    enum { LANES = V(lanes), ROWS = FD_LOCAL(solve_rows), PANEL = FD_PANEL(REAL) };
    for (intptr_t first = 0; first < dim; first += PANEL) {
        const intptr_t end = fd_min(first + PANEL, dim), from = x_row > 0 ? first : dim - end;
        for (intptr_t t = from, n; t < dim; t += n) {
            REAL diagonal[ROWS], reciprocal[ROWS];
            int divide = 0;
            n = dim - t < ROWS ? 1 : ROWS;
            for (intptr_t k = 0; k < n; k++) {
                diagonal[k] = f[(t + k) * (f_row + f_col)];
                reciprocal[k] = 1 / diagonal[k];
                divide |= !FD_LOCAL(has_reciprocal)(diagonal[k]);
            }
            for (intptr_t j = first; j < end; j += 2 * LANES)
                if (FD_UNLIKELY(divide))
                    for (intptr_t c = j; c < fd_min(j + 2 * LANES, end); c += LANES)
                        for (intptr_t k = 0; k < n; k++)
                            FD_LOCAL(solve_block)(1, 1, 1, from, t + k, x + c, x_row, f, f_row, f_col, diagonal + k);
                else if (n > 1 && end - j > LANES)
                    FD_LOCAL(solve_block)(ROWS, 2, 0, from, t, x + j, x_row, f, f_row, f_col, reciprocal);
                else if (n > 1)
                    FD_LOCAL(solve_block)(ROWS, 1, 0, from, t, x + j, x_row, f, f_row, f_col, reciprocal);
                else if (end - j > LANES)
                    FD_LOCAL(solve_block)(1, 2, 0, from, t, x + j, x_row, f, f_row, f_col, reciprocal);
                else
                    FD_LOCAL(solve_block)(1, 1, 0, from, t, x + j, x_row, f, f_row, f_col, reciprocal);
        }
    }
}

/* x = (b a)', upper triangular. A panel of columns of b at a time is put together in `room`. */
static void FD_LOCAL(product)(const FD_LOCAL(fd_pair) *pair, intptr_t dim, REAL *x, intptr_t ld, REAL *room)
{
    enum { LANES = V(lanes), PANEL = FD_PANEL(REAL) };
    const REAL *a = pair->a, *b = pair->b;
    if (pair->diagonal_a) {
        for (intptr_t j = 0; j < dim; j++)
            for (intptr_t i = 0; i < ld; i++)
                x[j * ld + i] = i < dim ? a[j] * b[j * dim + i] : 0;
        return;
    }
    const intptr_t room_ld = fd_min(PANEL, ld);
    memset(x, 0, (size_t)(dim * ld) * sizeof *x);
    for (intptr_t first = 0; first < dim; first += PANEL) {
        const intptr_t width = fd_min(PANEL, dim - first);
        for (intptr_t k = 0; k < first + width; k++)
            for (intptr_t i = 0; i < room_ld; i++)
                room[k * room_ld + i] = i < width ? b[k * dim + first + i] : 0;
        for (intptr_t j = 0; j < first + width; j++)
            for (intptr_t i = 0; i < width; i += LANES) {
                const intptr_t end = first + fd_min(i + LANES, width);
                FD_LOCAL(fd_dot) dot = {V(set1)(0), V(set1)(0)};
                for (intptr_t k = j; k < end; k++)
                    FD_LOCAL(add_product)(&dot, V(set1)(a[j * dim + k]), V(load)(room + k * room_ld + i));
                V(store)(x + j * ld + first + i, V(add)(dot.sum, dot.error));
            }
    }
}

/* From (1 + F)' to E'; `room` is as large. */
static void FD_LOCAL(excess_of_inverse)(const FD_LOCAL(fd_pair) *pair, intptr_t dim, REAL *x, intptr_t ld, REAL *room)
{
    const intptr_t last = (dim - 1) * (ld + 1), a_stride = pair->diagonal_a ? 1 : dim + 1;
    memcpy(room, x, (size_t)(dim * ld) * sizeof *x);
    for (intptr_t i = 0; i < dim; i++)
        x[i * (ld + 1)] = REAL_FMA(pair->a[i * a_stride], pair->b[i * (dim + 1)], -1);
    FD_LOCAL(times)(dim * ld, x, -1);
    FD_LOCAL(solve_triangle)(dim, x + last - (dim - 1), -ld, room + last, -ld, -1);
}

/* To x either E by rows or, which it returns, its transpose; on the diagonal stands whatever. `room` is as large. */
static int FD_LOCAL(excess)(const FD_LOCAL(fd_pair) *pair, intptr_t dim, REAL *x, REAL *room)
{
    const REAL *a = pair->a, *b = pair->b;
    const intptr_t ld = FD_LOCAL(kl_ld)(dim);
    if (pair->mixed) {
        FD_LOCAL(product)(pair, dim, x, ld, room);
        if (pair->swapped)
            FD_LOCAL(excess_of_inverse)(pair, dim, x, ld, room);
        return 1;
    }
    if (pair->diagonal_b) {
        for (intptr_t j = 0; j < dim; j++)
            for (intptr_t i = 0; i < ld; i++)
                x[j * ld + i] = i < dim ? a[j * dim + i] / b[i] : 0;
        return 1;
    }
    REAL c = 1;
    if (pair->swapped) {
        if (!FD_LOCAL(subtract_rows)(dim, x, ld, 1, a, b))
            FD_LOCAL(subtract_rows)(dim, x, ld, 1 / (c = FD_LOCAL(kl_far)), a, b);
        FD_LOCAL(solve_triangle)(dim, x + (dim - 1) * ld, -ld, b + dim * dim - 1, -dim, -1);
    } else {
        if (!FD_LOCAL(transpose_upper)(dim, x, ld, 1, pair->diagonal_a ? NULL : a, b))
            FD_LOCAL(transpose_upper)(dim, x, ld, 1 / (c = FD_LOCAL(kl_far)), pair->diagonal_a ? NULL : a, b);
        for (intptr_t i = 0; pair->diagonal_a && i < dim; i++)
            x[i * (ld + 1)] += a[i] / c;
        if (dim < FD_LOCAL(kl_apart)) {
            FD_LOCAL(solve_triangle)(dim, x, ld, b, 1, dim);
        } else { /* by rows: its columns are too far apart */
            FD_LOCAL(transpose_upper)(dim, room, ld, 1, b, NULL);
            FD_LOCAL(solve_triangle)(dim, x, ld, room, ld, 1);
        }
    }
    FD_LOCAL(times)(dim * ld, x, c);
    return pair->swapped;
}

/* What is done to one vector by a factor F, which is stored by columns: as many elements at a time as a cache line has,
 * their sums in registers. */

/* Elements from i on of sum + c F x, of F the first n columns; c is 1 or -1. */
FD_INLINE void FD_LOCAL(add_columns)(int c, intptr_t n, intptr_t dim, intptr_t i, REAL *sum, const REAL *x,
                                     const REAL *factor)
{
    enum { N_VEC = FD_LOCAL(kl_line) / V(lanes) };
    VEC y[N_VEC];
    FD_UNROLL
    for (int v = 0; v < N_VEC; v++) {
        const intptr_t m = dim - i - v * V(lanes);
        y[v] = m > 0 ? FD_LOCAL(load_to)(sum + i + v * V(lanes), m) : V(set1)(0);
    }
    for (intptr_t k = 0; k < n; k++) {
        const VEC x_k = V(set1)(c > 0 ? x[k] : -x[k]);
        FD_UNROLL
        for (int v = 0; v < N_VEC; v++) {
            const intptr_t m = dim - i - v * V(lanes);
            if (m > 0)
                y[v] = V(fma)(FD_LOCAL(load_to)(factor + k * dim + i + v * V(lanes), m), x_k, y[v]);
        }
    }
    FD_UNROLL
    for (int v = 0; v < N_VEC; v++) {
        const intptr_t m = dim - i - v * V(lanes);
        if (m > 0)
            FD_LOCAL(store_to)(sum + i + v * V(lanes), y[v], m);
    }
}

FD_INLINE void FD_LOCAL(solve_vector)(intptr_t dim, REAL *x, const REAL *factor)
{
    enum { LINE = FD_LOCAL(kl_line) };
    for (intptr_t first = 0; first < dim; first += LINE) {
        const intptr_t end = fd_min(first + LINE, dim);
        FD_LOCAL(add_columns)(-1, first, dim, first, x, x, factor);
        for (intptr_t k = first; k < end; k++) {
            const REAL *column = factor + k * dim;
            x[k] = FD_LOCAL(has_reciprocal)(column[k]) ? x[k] * (1 / column[k]) : x[k] / column[k];
            for (intptr_t i = k + 1; i < end; i++)
                x[i] = REAL_FMA(-column[i], x[k], x[i]);
        }
    }
}

FD_INLINE void FD_LOCAL(solve_t_vector)(intptr_t dim, REAL *x, const REAL *factor)
{
    for (intptr_t k = dim - 1; k >= 0; k--) {
        x[k] /= factor[k * dim + k];
        for (intptr_t i = 0; i < k; i++)
            x[i] = REAL_FMA(-factor[i * dim + k], x[k], x[i]);
    }
}

/* From x to y = F x or F' x. */
FD_INLINE void FD_LOCAL(multiply_vector)(int transposed, intptr_t dim, REAL *y, const REAL *x, const REAL *factor)
{
    enum { LINE = FD_LOCAL(kl_line) };
    memset(y, 0, (size_t)dim * sizeof *y);
    for (intptr_t i = 0; !transposed && i < dim; i += LINE)
        FD_LOCAL(add_columns)(1, fd_min(i + LINE, dim), dim, i, y, x, factor);
    for (intptr_t k = 0; transposed && k < dim; k++)
        for (intptr_t i = 0; i <= k; i++)
            y[i] = REAL_FMA(factor[i * dim + k], x[k], y[i]);
}

/* In place x = L_q^-1 x or L_q^-T x; `room` has dim. */
FD_INLINE void FD_LOCAL(whiten_by)(intptr_t kind, int transposed, intptr_t dim, REAL *x, REAL *room, const REAL *q)
{
    if (kind == FD_DIAGONAL) {
        for (intptr_t i = 0; i < dim; i++)
            x[i] /= q[i];
    } else if (kind == FD_INVERSE) {
        memcpy(room, x, (size_t)dim * sizeof *x);
        FD_LOCAL(multiply_vector)(transposed, dim, x, room, q);
    } else if (transposed) {
        FD_LOCAL(solve_t_vector)(dim, x, q);
    } else {
        FD_LOCAL(solve_vector)(dim, x, q);
    }
}

/* z, as by `difference`. */
FD_INLINE void FD_LOCAL(white_difference)(intptr_t kind, intptr_t dim, REAL *z, REAL *room, const REAL *loc_p,
                                          const REAL *loc_q, const REAL *q)
{
    REAL c = 1;
    for (int again = 0; again < 2; again++) {
        VEC check = V(set1)(0);
        for (intptr_t i = 0; i < dim; i += V(lanes)) {
            const VEC d = FD_LOCAL(subtract)(dim, i, V(set1)(1 / c), loc_p, loc_q);
            check = FD_LOCAL(look_at)(d, check);
            FD_LOCAL(store_to)(z + i, d, dim - i);
        }
        if (FD_LOCAL(within)(check))
            break;
        c = FD_LOCAL(kl_far);
    }
    FD_LOCAL(whiten_by)(kind, 0, dim, z, room, q);
    FD_LOCAL(times)(dim, z, c);
}

/* Vector i of the diagonals. */
FD_INLINE void FD_LOCAL(diagonals)(const FD_LOCAL(fd_pair) *pair, intptr_t dim, intptr_t i, VEC *a, VEC *b)
{
    const intptr_t m = fd_min(dim - i, V(lanes)), a_stride = pair->diagonal_a ? 1 : dim + 1;
    const intptr_t b_stride = pair->diagonal_b ? 1 : dim + 1;
    const VEC one = V(set1)(1);
    *a = V(select)((1u << m) - 1, V(gather)(pair->a + i * a_stride, a_stride, m), one);
    *b = V(select)((1u << m) - 1, V(gather)(pair->b + i * b_stride, b_stride, m), one);
}

/* Of a matrix of scratch, whose diagonal is left out: 64 bytes of sums in a fixed order, row by row in doubles. */
static double FD_LOCAL(squares)(intptr_t dim, REAL *x, intptr_t ld)
{
    enum { LINE = FD_LOCAL(kl_line), N_VEC = LINE / V(lanes) };
    double total = 0;
    for (intptr_t i = 0; i < dim; i++)
        x[i * (ld + 1)] = 0;
    for (intptr_t i = 0; i < dim; i += LINE) {
        VEC sum[N_VEC];
        REAL lane[LINE];
        for (int v = 0; v < N_VEC; v++)
            sum[v] = V(set1)(0);
        for (const REAL *at = x + i * ld, *end = x + fd_min(i + LINE, dim) * ld; at < end; at += LINE)
            FD_UNROLL
            for (int v = 0; v < N_VEC; v++) {
                const VEC y = V(load)(at + v * V(lanes));
                sum[v] = V(fma)(y, y, sum[v]);
            }
        for (int v = 0; v < N_VEC; v++)
            V(store)(lane + v * V(lanes), sum[v]);
        for (int half = LINE / 2; half > 0; half /= 2)
            for (int j = 0; j < half; j++)
                lane[j] += lane[j + half];
        total += (double)lane[0];
    }
    return total;
}

/* The divergence of an item. */
static REAL FD_LOCAL(large_kl)(const FD_LOCAL(fd_pair) *pair, intptr_t kind_q, intptr_t dim, REAL *scratch,
                               const REAL *loc_p, const REAL *loc_q, const REAL *q)
{
    const intptr_t ld = FD_LOCAL(kl_ld)(dim), size = dim * ld;
    if (dim == 0)
        return 0;
    REAL *x = scratch, *room = x + size, *z = room + size;
    FD_LOCAL(white_difference)(kind_q, dim, z, room, loc_p, loc_q, q);
    const double distance = FD_LOCAL(sum_of_chunk)(FD_LOCAL(squared), dim, z);
    for (intptr_t i = 0; i < dim; i += V(lanes)) {
        VEC a, b, r, u;
        FD_LOCAL(diagonals)(pair, dim, i, &a, &b);
        FD_LOCAL(ratio)(pair, a, b, &r, &u);
        FD_LOCAL(store_to)(z + i, FD_LOCAL(phi)(pair, a, b, r, u), dim - i);
    }
    const double phis = FD_LOCAL(sum_of_chunk)(FD_LOCAL(plain), dim, z);
    FD_LOCAL(excess)(pair, dim, x, room);
    return (REAL)(0.5 * (distance + FD_LOCAL(squares)(dim, x, ld)) + phis);
}

static void FD_NAME(mvn_kl)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t dim = loop->dim, *kinds = loop->operand[6];
    const int small = 0 < dim && dim <= FD_SMALL_EVENT, swapped = kinds[0] == FD_INVERSE;
    FD_LOCAL(fd_small) s;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t r = 0, n; r < run.n; r += n) {
            const REAL *loc_p = AT(1) + r * STRIDE(1), *loc_q = AT(2) + r * STRIDE(2);
            const REAL *p = AT(3) + r * STRIDE(3), *q = AT(4) + r * STRIDE(4);
            const FD_LOCAL(fd_pair) pair = FD_LOCAL(pair)(kinds, p, q);
            REAL result[V(lanes)];
            n = small ? fd_min(run.n - r, V(lanes)) : 1;
            if (small) {
                FD_LOCAL(small_excess)(&pair, 0, n, dim, &s, loc_p, STRIDE(1), loc_q, STRIDE(2), STRIDE(3 + swapped),
                                       STRIDE(4 - swapped));
                V(store)(result, FD_LOCAL(small_kl)(&pair, dim, &s));
            } else {
                *result = FD_LOCAL(large_kl)(&pair, kinds[1], dim, loop->operand[5], loc_p, loc_q, q);
            }
            for (intptr_t e = 0; e < n; e++)
                AT(0)[(r + e) * STRIDE(0)] =
                    isnan(result[e]) ? FD_LOCAL(settle_kl)(kinds, dim, loc_p + e * STRIDE(1), loc_q + e * STRIDE(2),
                                                           p + e * STRIDE(3), q + e * STRIDE(4))
                                     : result[e];
        }
}

/* ---- gradients ----------------------------------------------------------------------------------- */

/* g (rows' rows + z z' - 1): the lower triangle or, with a scale, the diagonal alone, over that. The rows are those of
 * K or (`upper`) of K', from whose diagonal 1 is taken before anything is added; z may be NULL. `sum` has room for dim. */
static void FD_LOCAL(gram)(int upper, intptr_t dim, REAL g, REAL *out, const REAL *rows, const REAL *u, const REAL *z,
                           REAL *sum, const REAL *scale)
{
    const intptr_t ld = FD_LOCAL(kl_ld)(dim);
    for (intptr_t i = 0; i < dim; i++)
        sum[i] = REAL_FMA(z ? z[i] : 0, z ? z[i] : 0, u[i] * (u[i] + 2));
    for (intptr_t k = 0; k < dim; k++) {
        const intptr_t end = upper ? dim : k;
        for (intptr_t i = upper ? k + 1 : 0; i < end; i++)
            sum[i] = REAL_FMA(rows[k * ld + i], rows[k * ld + i], sum[i]);
    }
    for (intptr_t i = 0; i < dim; i++)
        sum[i] *= g;
    if (scale) {
        for (intptr_t i = 0; i < dim; i++)
            out[i] = sum[i] / scale[i];
        return;
    }
    memset(out, 0, (size_t)(dim * dim) * sizeof *out);
    FD_LOCAL(add_outer)(1, dim, dim, out, rows, ld, rows, ld, NULL);
    if (z)
        FD_LOCAL(add_outer)(0, 1, dim, out, z, 0, z, 0, NULL);
    FD_LOCAL(times)(dim * dim, out, g);
    for (intptr_t i = 0; i < dim; i++)
        out[i * (dim + 1)] = sum[i];
}

/* The terms of an item, as in small_score. */
static void FD_LOCAL(large_score)(const FD_LOCAL(fd_pair) *pair, intptr_t kind_q, intptr_t dim, REAL *scratch, REAL g,
                                  const REAL *loc_p, const REAL *loc_q, const REAL *q, const REAL *scale_p,
                                  const REAL *scale_q, REAL *by_loc, REAL *by_p, REAL *by_q)
{
    const intptr_t ld = FD_LOCAL(kl_ld)(dim), size = dim * ld;
    REAL *x = scratch, *turned = x + size, *z = turned + size, *u = z + dim, *room = u + dim;
    FD_LOCAL(white_difference)(kind_q, dim, z, room, loc_p, loc_q, q);
    memcpy(by_loc, z, (size_t)dim * sizeof *z);
    FD_LOCAL(whiten_by)(kind_q, 1, dim, by_loc, room, q);
    FD_LOCAL(times)(dim, by_loc, g);

    const int transposed = FD_LOCAL(excess)(pair, dim, x, turned);
    for (intptr_t i = 0; i < dim; i += V(lanes)) {
        VEC a, b, r, less_one;
        FD_LOCAL(diagonals)(pair, dim, i, &a, &b);
        FD_LOCAL(ratio)(pair, a, b, &r, &less_one);
        FD_LOCAL(store_to)(room + i, r, dim - i);
        FD_LOCAL(store_to)(u + i, less_one, dim - i);
    }
    for (intptr_t i = 0; i < dim; i++)
        x[i * (ld + 1)] = room[i];
    if (transposed || by_q)
        FD_LOCAL(transpose)(dim, turned, x, ld);
    FD_LOCAL(gram)(0, dim, g, by_p, transposed ? turned : x, u, NULL, room, scale_p);
    if (by_q)
        FD_LOCAL(gram)(1, dim, -g, by_q, transposed ? x : turned, u, z, room, scale_q);
}

static void FD_NAME(kl_score_mvn)(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const intptr_t dim = loop->dim, *kinds = loop->operand[7], size = dim * dim;
    const int small = 0 < dim && dim <= FD_SMALL_EVENT, swapped = kinds[0] == FD_INVERSE;
    const int diagonal_p = kinds[0] == FD_DIAGONAL, diagonal_q = kinds[1] == FD_DIAGONAL;
    FD_LOCAL(fd_small) s;
    for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
        for (intptr_t r = 0, n; r < run.n; r += n) {
            REAL *by_loc = AT(0) + r * STRIDE(0), *by_p = by_loc + dim;
            REAL *by_q = kinds[2] ? by_p + (diagonal_p ? dim : size) : NULL;
            const REAL *g = AT(1) + r * STRIDE(1), *loc_p = AT(2) + r * STRIDE(2), *loc_q = AT(3) + r * STRIDE(3);
            const REAL *p = AT(4) + r * STRIDE(4), *q = AT(5) + r * STRIDE(5);
            const FD_LOCAL(fd_pair) pair = FD_LOCAL(pair)(kinds, p, q);
            n = small ? fd_min(run.n - r, V(lanes)) : 1;
            if (small) {
                FD_LOCAL(small_excess)(&pair, 1, n, dim, &s, loc_p, STRIDE(2), loc_q, STRIDE(3), STRIDE(4 + swapped),
                                       STRIDE(5 - swapped));
                FD_LOCAL(small_score)(n, dim, &s, FD_LOCAL(of_items)(n, g, STRIDE(1)), diagonal_p ? s.a : NULL,
                                      diagonal_q ? (swapped ? s.a : s.b) : NULL, by_loc, by_p, by_q, STRIDE(0));
            } else {
                FD_LOCAL(large_score)(&pair, kinds[1], dim, loop->operand[6], *g, loc_p, loc_q, q, diagonal_p ? p : NULL,
                                      diagonal_q ? q : NULL, by_loc, by_p, by_q);
            }
        }
}
