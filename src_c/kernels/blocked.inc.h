/* kernels/blocked.inc.h - Cholesky factors of large matrices, inverses of triangles, and products, by blocks
 * (blocked.h, which tells the order of sums). Two vectors of rows by several columns are reduced in registers: for a
 * column of what stands to the left that is two loads, a splat of each of its rows, and two fma for each splat (Goto
 * and van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34, 2008). */

/* ---- a matrix to panels -------------------------------------------------------------------------- */

/* As doubles. */
FD_INLINE void FD_LOCAL(store_wide)(double *to, VEC v)
{
#if REAL_IS_DOUBLE
    V(store)(to, v);
#else
    enum { HALF = (V(lanes) + 1) / 2 };
    f64v_store(to, f64v_low(v));
    if (V(lanes) > 1)
        f64v_store(to + HALF, f64v_high(v));
#endif
}

/* What there is to do besides: lay the matrix out, in reverse order or not, and look whether it is finite and
 * symmetric. Then what has been seen. */
typedef struct FD_LOCAL(taking) {
    const REAL *a;
    intptr_t dim;
    const REAL *root; /* of the diagonal */
    VEC sum;          /* of 0 a: NaN if any a is infinite or NaN */
    unsigned asymmetric;
} FD_LOCAL(taking);

/* A square of n rows from i on and m columns from j on (best with compile-time constants), and what it is mirrored
 * to. */
FD_INLINE void FD_LOCAL(take_square)(int reverse, int check_symmetry, int store, FD_LOCAL(taking) *taking, intptr_t n,
                                     intptr_t m, intptr_t i, intptr_t j, double *to)
{
    enum { LANES = V(lanes) };
    const intptr_t dim = taking->dim, end = dim - 1;
    /* A reverse matrix with its columns ascending, and the last one first. */
    const REAL *a = taking->a + (reverse ? (end - i) * dim + end - j - (m - 1) : i * dim + j);
    const intptr_t ld = reverse ? -dim : dim;
    VEC v[LANES], bound = V(set1)(0);
    if (n == LANES && m == LANES)
        V(load_square)(v, a, ld, LANES);
    else {
        for (int t = 0; t < LANES; t++)
            v[t] = t < n ? FD_LOCAL(load_to)(a + t * ld, m) : V(set1)(0);
        V(transpose)(v);
    }
    if (check_symmetry)
        bound = V(mul)(V(set1)(REAL_SQRT(REAL_EPSILON)), FD_LOCAL(load_to)(taking->root + i, n));
    FD_UNROLL
    for (int c = 0; c < LANES; c++) {
        if (c >= m)
            continue;
        if (store)
            FD_LOCAL(store_wide)(to + (reverse ? m - 1 - c : c) * FD_ROWS, v[c]);
        if (reverse)
            continue;
        const VEC mirrored = FD_LOCAL(load_to)(taking->a + (j + c) * dim + i, n);
        taking->sum = V(fma)(V(set1)(0), mirrored, V(fma)(V(set1)(0), v[c], taking->sum));
        if (check_symmetry)
            taking->asymmetric |= V(below)(V(mul)(bound, V(set1)(taking->root[j + c])), V(abs)(V(sub)(v[c], mirrored)));
    }
}

/* Of a reverse matrix nothing is looked at. All three are compile-time constants. */
FD_INLINE int FD_LOCAL(take_squares)(int reverse, int check_symmetry, int store, const fd_blocked *of, const REAL *a)
{
    enum { LANES = V(lanes) };
    const intptr_t dim = of->dim;
    FD_LOCAL(taking) taking = {a, dim, of->root, V(set1)(0), 0};
    for (intptr_t p = 0; p < of->n_panel; p++) {
        double *panel = fd_lower_panel(of, p);
        for (intptr_t r = 0; r < FD_ROWS; r += LANES) {
            const intptr_t i = p * FD_ROWS + r, n = fd_min(dim - i, LANES), last = fd_min((p + 1) * FD_ROWS, dim);
            intptr_t j = 0;
            for (; n == LANES && j + LANES <= last; j += LANES)
                FD_LOCAL(take_square)(reverse, check_symmetry, store, &taking, LANES, LANES, i, j,
                                      panel + j * FD_ROWS + r);
            for (; n > 0 && j < last; j += LANES)
                FD_LOCAL(take_square)(reverse, check_symmetry, store, &taking, n, fd_min(dim - j, LANES), i, j,
                                      panel + j * FD_ROWS + r);
            for (; store && j < dim; j++) /* rows beyond the last one */
                FD_LOCAL(store_wide)(panel + j * FD_ROWS + r, V(set1)(0));
        }
    }
    return (FD_LOCAL(all_finite)(taking.sum) ? 0 : FD_SINGULAR) | (taking.asymmetric ? FD_ASYMMETRIC : 0);
}

FD_ALONE int FD_LOCAL(take_covariance)(const fd_blocked *of, const REAL *a)
{
    return FD_LOCAL(take_squares)(0, 0, 1, of, a);
}
FD_ALONE int FD_LOCAL(take_symmetric)(const fd_blocked *of, const REAL *a)
{
    return FD_LOCAL(take_squares)(0, 1, 1, of, a);
}
FD_ALONE int FD_LOCAL(check_reverse)(const fd_blocked *of, const REAL *a)
{
    return FD_LOCAL(take_squares)(0, 1, 0, of, a);
}
FD_ALONE int FD_LOCAL(take_reverse)(const fd_blocked *of, const REAL *a)
{
    return FD_LOCAL(take_squares)(1, 0, 1, of, a);
}

static int FD_LOCAL(take_matrix)(const fd_blocked *of, int check_symmetry)
{
    const intptr_t dim = of->dim, all = of->n_panel * FD_ROWS;
    const int reverse = of->op == FD_REVERSE_CHOLESKY;
    const REAL *a = of->from;
    REAL *root = of->root;
    for (intptr_t i = 0; i < dim; i++)
        root[i] = REAL_SQRT(REAL_ABS(a[i * (dim + 1)]));
    for (intptr_t i = 0; i < all; i++)
        of->variance[i] = i < dim ? (double)a[(reverse ? dim - 1 - i : i) * (dim + 1)] : 1;
    int verdict;
    if (reverse) {
        verdict = FD_LOCAL(check_reverse)(of, a);
        FD_LOCAL(take_reverse)(of, a);
    } else
        verdict = check_symmetry ? FD_LOCAL(take_symmetric)(of, a) : FD_LOCAL(take_covariance)(of, a);
    for (intptr_t k = dim; k < all; k++)
        for (intptr_t i = 0; i < FD_ROWS; i++)
            of->last[k * FD_ROWS + i] = all - FD_ROWS + i == k;
    vec_done();
    return check_symmetry ? verdict : verdict & FD_SINGULAR;
}

#if REAL_IS_DOUBLE
/* ---- triangles -------------------------------------------------------------------------------------- */

enum { FD_LOCAL(at_once) = 2 * V(lanes), FD_LOCAL(columns_at_once) = V(rows) >= 8 ? 8 : 4 };

/* Two vectors of rows a of n columns, and as many rows b as `columns_at_once`, whose products sums are to be reduced
 * by. */
FD_INLINE void FD_LOCAL(reduce)(VEC *upper, VEC *lower, intptr_t n, const double *a, const double *b)
{
    for (intptr_t k = 0; k < n; k++, a += FD_ROWS, b += FD_ROWS) {
        const VEC above = V(load)(a), below = V(load)(a + V(lanes));
        FD_UNROLL
        for (int j = 0; j < FD_LOCAL(columns_at_once); j++) {
            const VEC splat = V(set1)(b[j]);
            upper[j] = V(fnma)(above, splat, upper[j]);
            lower[j] = V(fnma)(below, splat, lower[j]);
        }
    }
}

/* x = x - a b', of n columns; by a chain from x if that is the `first` of all (a compile-time constant), otherwise from
 * 0. */
FD_INLINE void FD_LOCAL(reduce_by)(int first, intptr_t n, double *x, const double *a, const double *b)
{
    enum { N = FD_LOCAL(columns_at_once) };
    VEC upper[N], lower[N];
    FD_UNROLL
    for (int j = 0; j < N; j++) {
        upper[j] = first ? V(load)(x + j * FD_ROWS) : V(set1)(0);
        lower[j] = first ? V(load)(x + j * FD_ROWS + V(lanes)) : V(set1)(0);
    }
    FD_LOCAL(reduce)(upper, lower, n, a, b);
    FD_UNROLL
    for (int j = 0; j < N; j++) {
        double *to = x + j * FD_ROWS;
        V(store)(to, first ? upper[j] : V(add)(V(load)(to), upper[j]));
        V(store)(to + V(lanes), first ? lower[j] : V(add)(V(load)(to + V(lanes)), lower[j]));
    }
}

FD_ALONE void FD_LOCAL(reduce_by_first)(intptr_t n, double *x, const double *a, const double *b)
{
    FD_LOCAL(reduce_by)(1, n, x, a, b);
}

FD_ALONE void FD_LOCAL(reduce_by_later)(intptr_t n, double *x, const double *a, const double *b)
{
    FD_LOCAL(reduce_by)(0, n, x, a, b);
}

/* A panel's rows x of the columns that panel b has rows for, less the products of columns `from` to `to` of panels a
 * and b, which are of one chunk. */
static void FD_LOCAL(reduce_square)(int first, intptr_t from, intptr_t to, double *x, const double *a, const double *b)
{
    for (intptr_t j = 0; j < FD_ROWS; j += FD_LOCAL(columns_at_once))
        for (intptr_t r = 0; r < FD_ROWS; r += FD_LOCAL(at_once))
            (first ? FD_LOCAL(reduce_by_first) : FD_LOCAL(reduce_by_later))(
                to - from, x + j * FD_ROWS + r, a + from * FD_ROWS + r, b + from * FD_ROWS + j);
}

/* Columns x = a + n columns: what those to the left of them account for, then the triangle of L on the diagonal, of
 * which column k, row j is at [k * FD_ROWS + j]; b are rows of L. */
FD_ALONE void FD_LOCAL(solve_columns)(intptr_t n, double *a, const double *b, const double *reciprocal)
{
    enum { N = FD_LOCAL(columns_at_once) };
    VEC upper[N], lower[N];
    double *x = a + n * FD_ROWS;
    const double *triangle = b + n * FD_ROWS;
    FD_UNROLL
    for (int j = 0; j < N; j++) {
        upper[j] = V(load)(x + j * FD_ROWS);
        lower[j] = V(load)(x + j * FD_ROWS + V(lanes));
    }
    FD_LOCAL(reduce)(upper, lower, n, a, b);
    FD_UNROLL
    for (int k = 0; k < N; k++) {
        const VEC scale = V(set1)(reciprocal[k]);
        upper[k] = V(mul)(upper[k], scale);
        lower[k] = V(mul)(lower[k], scale);
        FD_UNROLL
        for (int j = k + 1; j < N; j++) {
            const VEC splat = V(set1)(triangle[k * FD_ROWS + j]);
            upper[j] = V(fnma)(upper[k], splat, upper[j]);
            lower[j] = V(fnma)(lower[k], splat, lower[j]);
        }
        V(store)(x + k * FD_ROWS, upper[k]);
        V(store)(x + k * FD_ROWS + V(lanes), lower[k]);
    }
}

/* Columns `from` to `to` of a panel, which are of one chunk, solved by the triangle that L has there. */
static void FD_LOCAL(solve_large_panel)(const fd_blocked *of, double *panel, intptr_t from, intptr_t to)
{
    for (intptr_t j = from; j < to; j += FD_LOCAL(columns_at_once)) {
        const double *b = fd_lower_panel(of, j / FD_ROWS) + from * FD_ROWS + j % FD_ROWS;
        for (intptr_t r = 0; r < FD_ROWS; r += FD_LOCAL(at_once))
            FD_LOCAL(solve_columns)(j - from, panel + from * FD_ROWS + r, b, of->reciprocal + j);
    }
}

/* Panels at a time: what far chunks of L, in a far cache, are read once for. */
enum { FD_LOCAL(panels_at_once) = 8 };

static void FD_LOCAL(blocked_below)(const fd_blocked *of, intptr_t column, intptr_t begin, intptr_t end)
{
    const intptr_t first = column * FD_CHUNK;
    for (intptr_t p = begin, last; p < end; p = last) {
        last = fd_min(p + FD_LOCAL(panels_at_once), end);
        for (intptr_t k = 0; k < first; k += FD_CHUNK)
            for (intptr_t i = p; i < last; i++) {
                double *panel = fd_lower_panel(of, i);
                for (intptr_t j = first; j < first + FD_CHUNK; j += FD_ROWS)
                    FD_LOCAL(reduce_square)(k == 0, k, k + FD_CHUNK, panel + j * FD_ROWS, panel,
                                            fd_lower_panel(of, j / FD_ROWS));
            }
        for (intptr_t i = p; i < last; i++)
            FD_LOCAL(solve_large_panel)(of, fd_lower_panel(of, i), first, first + FD_CHUNK);
    }
    vec_done();
}

/* x L' = 1: rows of L^-T from the diagonal on. */
static void FD_LOCAL(blocked_invert)(const fd_blocked *of, intptr_t which, intptr_t begin, intptr_t end)
{
    const intptr_t all = of->n_panel * FD_ROWS;
    (void)which;
    for (intptr_t p = begin, last; p < end; p = last) {
        last = fd_min(p + FD_LOCAL(panels_at_once), end);
        for (intptr_t i = p; i < last; i++) {
            double *panel = fd_upper_panel(of, i);
            memset(panel + i * FD_ROWS * FD_ROWS, 0, (size_t)((all - i * FD_ROWS) * FD_ROWS) * sizeof *panel);
            for (intptr_t r = 0; r < FD_ROWS; r++)
                panel[(i * FD_ROWS + r) * FD_ROWS + r] = 1;
        }
        for (intptr_t first = p * FD_ROWS / FD_CHUNK * FD_CHUNK; first < all; first += FD_CHUNK) {
            const intptr_t next = fd_min(first + FD_CHUNK, all);
            for (intptr_t k = p * FD_ROWS / FD_CHUNK * FD_CHUNK; k < first; k += FD_CHUNK)
                for (intptr_t i = p; i < last && i * FD_ROWS < k + FD_CHUNK; i++) {
                    double *panel = fd_upper_panel(of, i);
                    const intptr_t from = i * FD_ROWS > k ? i * FD_ROWS : k;
                    for (intptr_t j = first; j < next; j += FD_ROWS)
                        FD_LOCAL(reduce_square)(from == i * FD_ROWS, from, k + FD_CHUNK, panel + j * FD_ROWS, panel,
                                                fd_lower_panel(of, j / FD_ROWS));
                }
            for (intptr_t i = p; i < last && i * FD_ROWS < next; i++)
                FD_LOCAL(solve_large_panel)(of, fd_upper_panel(of, i), i * FD_ROWS > first ? i * FD_ROWS : first, next);
        }
    }
    vec_done();
}

/* A square of a product, of which the negative is here by columns, to n rows, ld apart, of m elements. */
#define FD_GIVE_SQUARE(name, real)                                                             \
    static void name(intptr_t n, intptr_t m, real *to, intptr_t ld, const double *square, intptr_t row,     \
                     intptr_t column)                                                          \
    {                                                                                          \
        for (intptr_t r = 0; r < n; r++)                                                       \
            for (intptr_t c = 0; c < m; c++)                                                   \
                to[r * ld + c] = (real)-square[r * row + c * column];                          \
    }
FD_GIVE_SQUARE(give_floats, float)
FD_GIVE_SQUARE(give_doubles, double)
#undef FD_GIVE_SQUARE

/* Rows i and columns j, and what they are mirrored to. */
static void FD_LOCAL(give_square)(const fd_blocked *of, intptr_t i, intptr_t j, const double *square)
{
    const intptr_t dim = of->dim, n = fd_min(dim - i, FD_ROWS), m = fd_min(dim - j, FD_ROWS);
    if (of->dtype == FD_F32) {
        give_floats(n, m, (float *)of->to + i * dim + j, dim, square, 1, FD_ROWS);
        give_floats(m, n, (float *)of->to + j * dim + i, dim, square, FD_ROWS, 1);
    } else {
        give_doubles(n, m, (double *)of->to + i * dim + j, dim, square, 1, FD_ROWS);
        give_doubles(m, n, (double *)of->to + j * dim + i, dim, square, FD_ROWS, 1);
    }
}

/* So many panels by four others at a time, for which each is read once. */
static void FD_LOCAL(blocked_multiply)(const fd_blocked *of, intptr_t upper, intptr_t begin, intptr_t end)
{
    enum { N = FD_LOCAL(panels_at_once), M = FD_CHUNK_PANELS };
    _Alignas(64) double square[N][M][FD_ROWS * FD_ROWS];
    double *(*const panel)(const fd_blocked *, intptr_t) = upper ? fd_upper_panel : fd_lower_panel;
    for (intptr_t p = begin, last; p < end; p = last) {
        last = fd_min(p + N, end);
        for (intptr_t q = 0, q_end; q < last; q = q_end) {
            q_end = fd_min(q + M, last);
            memset(square, 0, sizeof square);
            /* Of panels i and j <= i: products from row i on, or up to row j. */
            const intptr_t from = upper ? (q > p ? q : p) * FD_ROWS : 0, to = (upper ? of->n_panel : q_end) * FD_ROWS;
            for (intptr_t k = from / FD_CHUNK * FD_CHUNK; k < to; k += FD_CHUNK)
                for (intptr_t i = p; i < last; i++)
                    for (intptr_t j = q; j < fd_min(q_end, i + 1); j++) {
                        const intptr_t first = upper ? i * FD_ROWS : 0, behind = upper ? to : (j + 1) * FD_ROWS;
                        const intptr_t k_from = k > first ? k : first, k_to = fd_min(k + FD_CHUNK, behind);
                        if (k_from < k_to)
                            FD_LOCAL(reduce_square)(k_from == first, k_from, k_to, square[i - p][j - q], panel(of, i),
                                                    panel(of, j));
                    }
            for (intptr_t i = p; i < last; i++)
                for (intptr_t j = q; j < fd_min(q_end, i + 1); j++)
                    FD_LOCAL(give_square)(of, i * FD_ROWS, j * FD_ROWS, square[i - p][j - q]);
        }
    }
    vec_done();
}

/* The triangle on the diagonal of a panel, n columns behind those of its block; rows above the diagonal are done
 * with all others, and then zero. */
FD_ALONE int FD_LOCAL(factor_triangle)(double tolerance, const double *variance, intptr_t n, double *a,
                                       double *reciprocal)
{
    enum { N = FD_LOCAL(columns_at_once), N_VEC = FD_ROWS / V(lanes) };
    int good = 1;
    for (intptr_t j = 0; j < FD_ROWS; j += N) {
        double *x = a + (n + j) * FD_ROWS;
        for (intptr_t r = 0; r < FD_ROWS; r += FD_LOCAL(at_once)) {
            VEC upper[N], lower[N];
            FD_UNROLL
            for (int c = 0; c < N; c++) {
                upper[c] = V(load)(x + c * FD_ROWS + r);
                lower[c] = V(load)(x + c * FD_ROWS + r + V(lanes));
            }
            FD_LOCAL(reduce)(upper, lower, n + j, a + r, a + j);
            FD_UNROLL
            for (int c = 0; c < N; c++) {
                V(store)(x + c * FD_ROWS + r, upper[c]);
                V(store)(x + c * FD_ROWS + r + V(lanes), lower[c]);
            }
        }
        for (intptr_t k = 0; k < N; k++) {
            double *y = x + k * FD_ROWS;
            const double pivot = y[j + k], root = sqrt(pivot);
            good &= tolerance * variance[j + k] < pivot && pivot < (double)INFINITY;
            reciprocal[j + k] = 1 / root;
            const VEC scale = V(set1)(reciprocal[j + k]);
            VEC l[N_VEC];
            FD_UNROLL
            for (int v = 0; v < N_VEC; v++) {
                l[v] = V(mul)(V(load)(y + v * V(lanes)), scale);
                V(store)(y + v * V(lanes), l[v]);
            }
            for (intptr_t c = k + 1; c < N; c++) {
                const VEC splat = V(set1)(y[j + c]);
                FD_UNROLL
                for (int v = 0; v < N_VEC; v++) {
                    double *to = x + c * FD_ROWS + v * V(lanes);
                    V(store)(to, V(fnma)(l[v], splat, V(load)(to)));
                }
            }
            y[j + k] = root;
        }
    }
    for (intptr_t k = 1; k < FD_ROWS; k++)
        for (intptr_t i = 0; i < k; i++)
            a[(n + k) * FD_ROWS + i] = 0;
    return good;
}

static int FD_LOCAL(blocked_diagonal)(fd_blocked *of, intptr_t column)
{
    const intptr_t first = column * FD_CHUNK, begin = column * FD_CHUNK_PANELS;
    const intptr_t end = fd_min(begin + FD_CHUNK_PANELS, of->n_panel);
    int good = 1;
    for (intptr_t p = begin; p < end; p++) {
        const intptr_t i = p * FD_ROWS;
        double *panel = fd_lower_panel(of, p);
        for (intptr_t k = 0; k < first; k += FD_CHUNK)
            for (intptr_t j = first; j <= i; j += FD_ROWS)
                FD_LOCAL(reduce_square)(k == 0, k, k + FD_CHUNK, panel + j * FD_ROWS, panel,
                                        fd_lower_panel(of, j / FD_ROWS));
        FD_LOCAL(solve_large_panel)(of, panel, first, i);
        good &= FD_LOCAL(factor_triangle)(of->tolerance, of->variance + i, i - first, panel + first * FD_ROWS,
                                          of->reciprocal + i);
    }
    vec_done();
    return good;
}
#endif
