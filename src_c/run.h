/* run.h - walking a job: maximal runs along its innermost dim.
 *
 *     for (fd_run run = fd_run_at(job, begin, end); run.n > 0; fd_run_next(job, &run))
 *         ... run.n items; operand k of the first one is at run.offset[k],
 *             of the following ones job->stride[k][job->ndim - 1] further each ...
 */
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

static inline void fd_run_locate(const fd_job *job, fd_run *run)
{
    const int last = job->ndim - 1;
    for (int k = 0; k < FD_MAX_OPERAND; k++) {
        run->offset[k] = 0;
        for (int d = 0; d <= last; d++)
            run->offset[k] += run->index[d] * job->stride[k][d];
    }
    run->n = fd_min(job->shape[last] - run->index[last], run->left);
}

static inline fd_run fd_run_at(const fd_job *job, intptr_t begin, intptr_t end)
{
    fd_run run;
    run.left = end - begin;
    run.n = 0;
    if (run.left <= 0)
        return run;
    if (begin == 0) { /* small calls begin here, and have no time for divisions */
        for (int d = 0; d < job->ndim; d++)
            run.index[d] = 0;
        for (int k = 0; k < FD_MAX_OPERAND; k++)
            run.offset[k] = 0;
        run.n = fd_min(job->shape[job->ndim - 1], run.left);
        return run;
    }
    for (int d = job->ndim - 1; d >= 0; d--) {
        run.index[d] = begin % job->shape[d];
        begin /= job->shape[d];
    }
    fd_run_locate(job, &run);
    return run;
}

static inline void fd_run_next(const fd_job *job, fd_run *run)
{
    run->left -= run->n;
    run->n = 0;
    if (run->left <= 0)
        return;
    int d = job->ndim - 1;
    run->index[d] = 0;
    while (--d >= 0) {
        if (++run->index[d] < job->shape[d])
            break;
        run->index[d] = 0;
    }
    fd_run_locate(job, run);
}

#endif
