/* tests/c/kernels/operands.c - operands by the letters of kernels.def: what they are, how they lie, what they are
 * filled with. */
#include <math.h>
#include <string.h>

#include "check.h"

/* ---- letters --------------------------------------------------------------------------------- */

/* Whether an op writes operand k; scratch and what was found are left aside. */
int writes(fd_op op, int k) { return strchr("oxedr+=XFGyPtuzH", fd_op_operands(op)[k]) != NULL; }

/* Whether operand k is laid out by strides of its own. */
int has_strides(fd_op op, int k) { return !strchr("wnahmIKNSBDQORZ", fd_op_operands(op)[k]); }

/* What the operands f are, and whether the terms of the second are wanted. */
intptr_t kinds[3];

/* A count, then numbers of elements, those that count first. */
intptr_t counted[1 + MAX_DIM];

/* Bytes of scratch, but for fd_totals. */
size_t scratch_size(char letter, fd_dtype dtype, intptr_t dim)
{
    const size_t n = (size_t)dim;
    switch (letter) {
    case 'B': /* whole doubles */
        return 2 * FD_SCRATCH_BYTES * n +
               ((size_t)fd_panels_size(dim, FD_PANEL_BYTES / (intptr_t)itemsize[dtype]) * itemsize[dtype] + 7) / 8 * 8;
    case 'D':
        return FD_MATRIX_BYTES * n * n;
    case 'Q':
        return (dim > FD_SMALL_EVENT) * FD_KL_NUMBERS(n) * itemsize[dtype];
    default:
        return FD_SCRATCH_BYTES * n;
    }
}

/* ---- strides --------------------------------------------------------------------------------- */

/* Number of items of an operand, repeats left out. */
intptr_t n_distinct(const fd_loop *loop, int k)
{
    intptr_t n = 1;
    for (int d = 0; d < loop->ndim; d++)
        n *= loop->stride[k][d] ? loop->shape[d] : 1;
    return n;
}

/* Strides of operand k: bit d of `repeat` repeats it along dim d; `padded` leaves gaps between rows
 * and turns some dims round (not where a last dim of one element may be coalesced away: the next
 * would have to have step 1). */
void set_strides(fd_loop *loop, int k, intptr_t core, unsigned repeat, int padded)
{
    intptr_t extent = core;
    padded = padded && (core > 1 || loop->shape[loop->ndim - 1] > 1);
    for (int d = loop->ndim - 1; d >= 0; d--) {
        loop->stride[k][d] = 0;
        if (repeat >> d & 1)
            continue;
        const int step_one = d == loop->ndim - 1 && core == 1;
        const intptr_t stride = extent + (padded && !step_one ? below(4) : 0);
        loop->stride[k][d] = padded && !step_one && one_in(6) ? -stride : stride;
        extent += stride * (loop->shape[d] - 1);
    }
}

/* ---- filling operands ------------------------------------------------------------------------ */

/* A symmetric positive definite matrix B B^T by rows; `upper` says whether to fill that triangle. */
static void put_spd(fd_dtype dtype, void *p, intptr_t dim, int wild, int upper)
{
    static double b[MAX_DIM * MAX_DIM];
    for (intptr_t i = 0; i < dim; i++) {
        for (intptr_t k = 0; k < i; k++)
            b[i * dim + k] = uniform(-1, 1);
        b[i * dim + i] = uniform(0.5, 2);
    }
    /* Singular: whether its last pivots pass is a matter of single roundings. */
    if (wild == SPARSE && dim > 1 && one_in(4)) {
        const intptr_t i = 1 + below(dim - 1);
        memcpy(b + i * dim, b + (i - 1) * dim, (size_t)i * sizeof *b);
        b[i * dim + i] = 0;
    }
    for (intptr_t i = 0; i < dim; i++)
        for (intptr_t j = 0; j <= i; j++) {
            double a = 0;
            for (intptr_t k = 0; k <= j; k++)
                a += b[i * dim + k] * b[j * dim + k];
            put(dtype, p, i * dim + j, a);
            if (upper)
                put(dtype, p, j * dim + i, a);
        }
    if (wild == DENSE || wild == TINY) {
        const intptr_t i = below(dim), j = upper ? below(dim) : below(i + 1);
        if (one_in(2))
            put_worst(dtype, p, i * dim + j, wild);
        else { /* from what rounding leaves to what no factor survives */
            const double size = 1 / (double)((uint64_t)1 << below(56));
            put(dtype, p, i * dim + j, get(dtype, p, i * dim + j) * (1 + size * uniform(-1, 1)));
        }
    }
}

/* A lower triangle with positive diagonal: stride_i between rows, stride_k between columns. */
static void put_lower(fd_dtype dtype, void *p, intptr_t dim, int wild, intptr_t stride_i, intptr_t stride_k)
{
    for (intptr_t i = 0; i < dim; i++)
        for (intptr_t k = 0; k < dim; k++) {
            const double size = wild && one_in(8) ? (double)((uint64_t)1 << below(60)) : 1;
            const double value = i == k ? uniform(0.5, 2) : uniform(-1, 1);
            double element = k > i ? 0.0 : one_in(2) ? value * size : value / size;
            if (wild && i == k && one_in(32)) /* without a reciprocal */
                element = dtype == FD_F32 ? (one_in(2) ? 1e-40 : 2e38) : (one_in(2) ? 1e-310 : 1.2e308);
            put(dtype, p, i * stride_i + k * stride_k, element);
        }
}

/* The same by columns, in panels. */
static void put_panels(fd_dtype dtype, void *p, intptr_t dim, int wild)
{
    static double columns[MAX_DIM * MAX_DIM];
    const intptr_t rows = FD_PANEL_BYTES / (intptr_t)itemsize[dtype];
    put_lower(dtype, columns, dim, wild, 1, dim);
    for (intptr_t i = 0; i < dim; i++) {
        const intptr_t first = i / rows * rows, height = dim - first < rows ? dim - first : rows;
        for (intptr_t k = 0; k < first + height; k++)
            put(dtype, p, first * (first + rows) / 2 + k * height + i - first, get(dtype, columns, k * dim + i));
    }
}

/* One item of an operand. */
void put_item(char letter, fd_dtype dtype, void *p, intptr_t dim, intptr_t core, int wild)
{
    switch (letter) {
    case 'L':
        put_panels(dtype, p, dim, wild);
        break;
    case 'C':
    case 'G':
        put_lower(dtype, p, dim, wild, 1, dim);
        break;
    case 'T':
        put_lower(dtype, p, dim, wild, dim, 1);
        if (wild && one_in(3))
            put_worst(dtype, p, below(dim * dim), wild);
        break;
    case 'M':
        put_spd(dtype, p, dim, wild, 0);
        break;
    case 'Y':
        put_spd(dtype, p, dim, wild, 1);
        break;
    case 'f':
        if (core == dim * dim)
            put_lower(dtype, p, dim, wild, 1, dim);
        else
            put_item('s', dtype, p, dim, core, wild);
        break;
    case 'u':
        put(dtype, p, 0, one_in(8) ? 0 : 0.999 * unit());
        break;
    case 'q': { /* some outcomes have no probability */
        double sum = 0;
        for (intptr_t i = 0; i < core; i++) {
            sum += one_in(4) ? 0 : (1 - sum) * unit() * (wild ? 1e-3 : 0.3);
            put(dtype, p, i, i == core - 1 || (wild && 2 * i > core) ? 1 : sum);
        }
        break;
    }
    case 'i':
        for (intptr_t i = 0; i < core; i++)
            put(dtype, p, i, 0);
        break;
    default:
        for (intptr_t i = 0; i < core; i++) {
            const double value = letter == 's' || letter == 'g' ? uniform(0.25, 4)
                                 : letter == 'p'                ? unit()
                                 : letter == 'c'                ? 1 - unit()
                                                                : uniform(-4, 4);
            put(dtype, p, i, value);
            if (worst_now(wild))
                put_worst(dtype, p, i, wild);
            if (letter == 'e' && !isfinite(get(dtype, p, i)))
                put(dtype, p, i, value);
        }
    }
}

/* Elements of one item. */
intptr_t core_of(fd_op op, int k, fd_dtype dtype, intptr_t dim)
{
    const fd_layout layout = fd_op_layout(op);
    const char *letters = fd_op_operands(op), *first_f = strchr(letters, 'f');
    const intptr_t event = layout == FD_EVENTS || layout == FD_EVENT_PRODUCTS ? dim : 1;
    switch (letters[k]) {
    case 'k':
    case 'r':
    case '+':
    case 'u':
        return 1;
    case '=':
        return event * event;
    case 'Y':
    case 'M':
    case 'T':
    case 'X':
    case 'C':
    case 'F':
    case 'G':
        return dim * dim;
    case 'y':
        return dim;
    case 'L':
    case 'P':
        return fd_panels_size(dim, FD_PANEL_BYTES / (intptr_t)itemsize[dtype]);
    case 'f':
        return kinds[first_f != letters + k] == FD_DIAGONAL ? dim : dim * dim;
    case 't':
        return dim + core_of(op, (int)(first_f - letters), dtype, dim) +
               core_of(op, (int)(first_f - letters) + 1, dtype, dim);
    case 'd':
        return 2 * event;
    case 'b':
        return counted[0];
    case 'z':
        return dim - counted[0];
    case 'j':
        return dim + counted[0];
    case 'W':
    case 'H':
        return dim * counted[0];
    default:
        return event;
    }
}
