/* blocked.c - the way through the blocks of a large matrix, and its panels' way in and out. */
#include "blocked.h"

#include <float.h>

#include "fpstate.h"
#include "run.h"

/* Multiplications, added: between looks at signals, 10 ms of them; and in all of a part from which on helpers are
 * worth calling. */
enum { PIECE = 200000000, SHARED = 1000000 };

static intptr_t fd_max(intptr_t a, intptr_t b) { return a > b ? a : b; }

static int is_cholesky(fd_blocked_op op) { return op == FD_CHOLESKY || op == FD_REVERSE_CHOLESKY; }

/* Whether lower panels are worked on where they come from or end up. */
static int in_place(fd_blocked_op op, fd_dtype dtype)
{
    return dtype == FD_F64 && op != FD_REVERSE_CHOLESKY;
}

static int has_upper(fd_blocked_op op)
{
    return op == FD_INVERSE_PANELS || op == FD_PRODUCT_T || op == FD_PRODUCT_INVERSE;
}

/* Doubles in n full panels. */
static intptr_t panels_size(intptr_t n) { return FD_ROWS * FD_ROWS * n * (n + 1) / 2; }

intptr_t fd_blocked_scratch(fd_blocked_op op, fd_dtype dtype, intptr_t dim)
{
    const intptr_t n = (dim + FD_ROWS - 1) / FD_ROWS;
    const intptr_t n_lower = in_place(op, dtype) ? 0 : panels_size(n), n_upper = has_upper(op) ? panels_size(n) : 0;
    return (n_lower + n_upper + n * FD_ROWS * (FD_ROWS + 3)) * (intptr_t)sizeof(double);
}

/* ---- panels in and out --------------------------------------------------------------------------- */

static intptr_t height_of(fd_dtype dtype) { return dtype == FD_F32 ? FD_PANEL(float) : FD_PANEL(double); }

/* From panels of the dtype, those below `begin` left aside; and the reciprocals of the diagonal. */
static void take_panels(const fd_blocked *of)
{
    const intptr_t dim = of->dim, height = height_of(of->dtype), all = of->n_panel * FD_ROWS;
    const intptr_t begin = in_place(of->op, of->dtype) ? all - FD_ROWS : 0;
    for (intptr_t first = begin / height * height; first < dim; first += height) {
        const intptr_t at = first * (first + height) / 2, rows = fd_min(dim - first, height);
        for (intptr_t r = 0; r < rows; r += FD_ROWS) {
            double *to = fd_lower_panel(of, (first + r) / FD_ROWS);
            const intptr_t n = fd_min(rows - r, FD_ROWS);
            for (intptr_t k = 0; k < fd_min(first + r + FD_ROWS, dim); k++)
                for (intptr_t i = 0; i < FD_ROWS; i++) {
                    const intptr_t e = at + k * rows + r + i;
                    to[k * FD_ROWS + i] = i >= n                  ? 0
                                          : of->dtype == FD_F32 ? (double)((const float *)of->from)[e]
                                                                : ((const double *)of->from)[e];
                }
        }
    }
    for (intptr_t k = dim; k < all; k++)
        for (intptr_t i = 0; i < FD_ROWS; i++)
            of->last[k * FD_ROWS + i] = all - FD_ROWS + i == k;
    for (intptr_t i = 0; i < all; i++)
        of->reciprocal[i] = 1 / fd_lower_panel(of, i / FD_ROWS)[i * FD_ROWS + i % FD_ROWS];
}

/* Lower panels transposed to upper ones. */
static void transpose_panels(const fd_blocked *of)
{
    for (intptr_t p = 0; p < of->n_panel; p++)
        for (intptr_t q = 0; q <= p; q++) {
            const double *from = fd_lower_panel(of, p) + q * FD_ROWS * FD_ROWS;
            double *to = fd_upper_panel(of, q) + p * FD_ROWS * FD_ROWS;
            for (intptr_t i = 0; i < FD_ROWS; i++)
                for (intptr_t k = 0; k < FD_ROWS; k++)
                    to[i * FD_ROWS + k] = from[k * FD_ROWS + i];
        }
}

/* Element (i, k) of the triangle that was made. */
static double element(const fd_blocked *of, intptr_t i, intptr_t k)
{
    if (of->op == FD_INVERSE_PANELS)
        return fd_upper_panel(of, k / FD_ROWS)[i * FD_ROWS + k % FD_ROWS];
    if (of->op == FD_REVERSE_CHOLESKY) {
        const intptr_t row = of->dim - 1 - k;
        k = of->dim - 1 - i;
        i = row;
    }
    return fd_lower_panel(of, i / FD_ROWS)[k * FD_ROWS + i % FD_ROWS];
}

/* To panels of the dtype. */
static void give_panels(const fd_blocked *of)
{
    const intptr_t dim = of->dim, height = height_of(of->dtype);
    const intptr_t begin = of->op == FD_CHOLESKY && of->dtype == FD_F64 ? (of->n_panel - 1) * FD_ROWS : 0;
    for (intptr_t first = begin; first < dim; first += height) {
        const intptr_t at = first * (first + height) / 2, rows = fd_min(dim - first, height);
        for (intptr_t k = 0; k < first + rows; k++)
            for (intptr_t i = 0; i < rows; i++) {
                const double x = k > first + i ? 0 : element(of, first + i, k);
                if (of->dtype == FD_F32)
                    ((float *)of->to)[at + k * rows + i] = (float)x;
                else
                    ((double *)of->to)[at + k * rows + i] = x;
            }
    }
}

/* ---- work ---------------------------------------------------------------------------------------- */

void fd_blocked_start(fd_blocked *of, fd_blocked_op op, fd_dtype dtype, intptr_t dim, const void *from, void *to,
                      void *scratch, int check_symmetry, int n_worker)
{
    const intptr_t n = (dim + FD_ROWS - 1) / FD_ROWS;
    double *room = scratch;
    of->op = op;
    of->dtype = dtype;
    of->dim = dim;
    of->n_panel = n;
    of->from = from;
    of->to = to;
    of->last = room;
    of->reciprocal = room + n * FD_ROWS * FD_ROWS;
    of->variance = of->reciprocal + n * FD_ROWS;
    of->root = of->variance + n * FD_ROWS;
    of->upper = of->variance + 2 * n * FD_ROWS;
    of->lower = of->upper + (has_upper(op) ? panels_size(n) : 0);
    if (in_place(op, dtype)) /* what is only read keeps its last panel, too */
        of->lower = op == FD_CHOLESKY ? to : (double *)(uintptr_t)from;
    of->tolerance = (double)dim * (dtype == FD_F32 ? (double)FLT_EPSILON : DBL_EPSILON);
    of->found = 0;
    of->n_stage = op == FD_PRODUCT_INVERSE ? 2 : 1;
    of->done = 0;
    of->n_worker = n_worker;
    const fd_fpstate callers = fd_fpstate_enter();
    if (is_cholesky(op))
        of->found = fd_blocked_ops_current()->take[dtype](of, check_symmetry);
    else
        take_panels(of);
    if (op == FD_PRODUCT_T)
        transpose_panels(of);
    fd_fpstate_leave(callers);
}

static void claim(fd_blocked *of, intptr_t piece)
{
    for (intptr_t p; p = atomic_fetch_add_explicit(&of->next, piece, memory_order_relaxed), p < of->end;)
        of->part(of, of->which, p, fd_min(p + piece, of->end));
}

/* Panels that are claimed at once: what is read of the triangle serves all of them. */
enum { CLAIM = 8 };

static void help(void *argument)
{
    const fd_fpstate callers = fd_fpstate_enter();
    claim(argument, CLAIM);
    fd_fpstate_leave(callers);
}

/* Panels begin <= p < end by all workers, `cost` multiplications in all, which is returned. */
static intptr_t share(fd_blocked *of, fd_blocked_part *part, intptr_t which, intptr_t begin, intptr_t end,
                      intptr_t cost)
{
    const intptr_t n_claim = (end - begin + CLAIM - 1) / CLAIM;
    const int n_helper = cost > SHARED ? (int)fd_min(of->n_worker, n_claim) - 1 : 0;
    of->part = part;
    of->which = which;
    of->next = begin;
    of->end = end;
    if (n_helper > 0) {
        fd_team_open(&of->team, help, of, n_helper);
        claim(of, CLAIM);
        fd_team_close(&of->team);
    } else
        claim(of, fd_max(end - begin, 1));
    return cost;
}

/* One more block of columns. */
static intptr_t factor_column(fd_blocked *of, const fd_blocked_ops *ops)
{
    const intptr_t column = of->done++, begin = of->done * FD_CHUNK_PANELS, n = of->n_panel;
    if (!ops->diagonal(of, column))
        of->found |= FD_SINGULAR;
    if (of->found || begin >= n)
        return 0;
    return share(of, ops->below, column, begin, n, (n - begin) * FD_ROWS * FD_CHUNK * (column + 1) * FD_CHUNK);
}

/* Some more panels of a stage. */
static intptr_t do_panels(fd_blocked *of, fd_blocked_part *part)
{
    const intptr_t each = FD_ROWS * of->dim * of->dim / 3; /* on average */
    const intptr_t begin = of->done, end = fd_min(begin + fd_max(PIECE / each, CLAIM), of->n_panel);
    of->done = end;
    return share(of, part, has_upper(of->op), begin, end, (end - begin) * each);
}

int fd_blocked_work(fd_blocked *of)
{
    const fd_blocked_ops *ops = fd_blocked_ops_current();
    const fd_fpstate callers = fd_fpstate_enter();
    for (intptr_t spent = 0; of->n_stage > 0 && !of->found && spent < PIECE;) {
        if (is_cholesky(of->op))
            spent += factor_column(of, ops);
        else
            spent += do_panels(of, of->n_stage == 2 || of->op == FD_INVERSE_PANELS ? ops->invert : ops->multiply);
        if (of->done * (is_cholesky(of->op) ? FD_CHUNK_PANELS : 1) >= of->n_panel) {
            of->n_stage--;
            of->done = 0;
        }
    }
    const int left = of->n_stage > 0 && !of->found;
    if (!left && !of->found && (is_cholesky(of->op) || of->op == FD_INVERSE_PANELS))
        give_panels(of);
    fd_fpstate_leave(callers);
    return left;
}
