/* run.h - walking a loop: maximal runs along its innermost dim.
 *
 *     for (fd_run run = fd_run_at(loop, begin, end); run.n > 0; fd_run_next(loop, &run))
 *         ... run.n items; operand k of the first one is at run.offset[k],
 *             of the following ones loop->stride[k][loop->ndim - 1] further each ...
 *
 * and, for sums, which term of which element a run begins with. */
#ifndef FD_RUN_H
#define FD_RUN_H

#include "fastdist.h"

typedef struct fd_run {
    intptr_t n;    /* items in this run */
    intptr_t left; /* items still to do, this run's included */
    intptr_t offset[FD_MAX_OPERAND];
    intptr_t index[FD_MAX_NDIM];
} fd_run;

static inline intptr_t fd_min(intptr_t a, intptr_t b) { return a < b ? a : b; }

static inline void fd_run_locate(const fd_loop *loop, fd_run *run)
{
    const int last = loop->ndim - 1;
    for (int k = 0; k < FD_MAX_OPERAND; k++) {
        run->offset[k] = 0;
        for (int d = 0; d <= last; d++)
            run->offset[k] += run->index[d] * loop->stride[k][d];
    }
    run->n = fd_min(loop->shape[last] - run->index[last], run->left);
}

static inline void fd_run_start(const fd_loop *loop, fd_run *run, intptr_t begin, intptr_t end)
{
    run->left = end - begin; /* none left: n is 0, too */
    if (begin == 0) { /* small calls begin here, and have no time for divisions */
        for (int d = 0; d < loop->ndim; d++)
            run->index[d] = 0;
        for (int k = 0; k < FD_MAX_OPERAND; k++)
            run->offset[k] = 0;
        run->n = fd_min(loop->shape[loop->ndim - 1], run->left);
        return;
    }
    for (int d = loop->ndim - 1; d >= 0; d--) {
        run->index[d] = begin % loop->shape[d];
        begin /= loop->shape[d];
    }
    fd_run_locate(loop, run);
}

static inline fd_run fd_run_at(const fd_loop *loop, intptr_t begin, intptr_t end)
{
    fd_run run;
    fd_run_start(loop, &run, begin, end);
    return run;
}

static inline void fd_run_next(const fd_loop *loop, fd_run *run)
{
    run->left -= run->n;
    run->n = 0;
    if (run->left <= 0)
        return;
    const int last = loop->ndim - 1;
    int d = last;
    while (d > 0 && (d == last || run->index[d] == loop->shape[d] - 1)) {
        for (int k = 0; k < FD_MAX_OPERAND; k++)
            run->offset[k] -= run->index[d] * loop->stride[k][d];
        run->index[d--] = 0;
    }
    run->index[d]++;
    for (int k = 0; k < FD_MAX_OPERAND; k++)
        run->offset[k] += loop->stride[k][d];
    run->n = fd_min(loop->shape[last], run->left);
}

/* Sums. Operand 0 has stride 0 along the dims that are summed over: how many terms an element of it
 * has, and which one, in C order of those dims, the first item of a run is. */
static inline intptr_t fd_term_count(const fd_loop *loop)
{
    intptr_t n = 1;
    for (int d = 0; d < loop->ndim; d++)
        if (loop->stride[0][d] == 0)
            n *= loop->shape[d];
    return n;
}

static inline intptr_t fd_term_at(const fd_loop *loop, const fd_run *run)
{
    intptr_t term = 0;
    for (int d = 0; d < loop->ndim; d++)
        if (loop->stride[0][d] == 0)
            term = term * loop->shape[d] + run->index[d];
    return term;
}

/* How many runs, this one included, follow along the dim before the innermost: a block of rows. */
static inline intptr_t fd_run_rows(const fd_loop *loop, const fd_run *run)
{
    const int last = loop->ndim - 1;
    if (last == 0 || run->n < loop->shape[last])
        return 1;
    return fd_min(loop->shape[last - 1] - run->index[last - 1], run->left / run->n);
}

/* Goes to the last of n_row such rows. */
static inline void fd_run_skip(const fd_loop *loop, fd_run *run, intptr_t n_row)
{
    if (n_row > 1) {
        const int d = loop->ndim - 2;
        for (int k = 0; k < FD_MAX_OPERAND; k++)
            run->offset[k] += (n_row - 1) * loop->stride[k][d];
        run->index[d] += n_row - 1;
        run->left -= (n_row - 1) * run->n;
    }
}

#endif
