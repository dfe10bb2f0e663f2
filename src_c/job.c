/* job.c - the loop nest: fewer, longer dims, and in another order; doing it. */
#include "fastdist.h"

#include "fpstate.h"

void fd_job_coalesce(fd_job *job, int n_operand)
{
    int kept = 0;
    for (int d = 0; d < job->ndim; d++) {
        if (job->shape[d] == 1)
            continue;
        int merge = kept > 0;
        for (int k = 0; merge && k < n_operand; k++)
            merge = job->stride[k][kept - 1] == job->stride[k][d] * job->shape[d];
        const int to = merge ? kept - 1 : kept++;
        job->shape[to] = merge ? job->shape[to] * job->shape[d] : job->shape[d];
        for (int k = 0; k < n_operand; k++)
            job->stride[k][to] = job->stride[k][d];
    }
    if (kept == 0) {
        job->shape[0] = 1;
        for (int k = 0; k < n_operand; k++)
            job->stride[k][0] = 0;
        kept = 1;
    }
    job->ndim = kept;
    for (int k = n_operand; k < FD_MAX_OPERAND; k++)
        for (int d = 0; d < kept; d++)
            job->stride[k][d] = 0;
}

static void turn(intptr_t *entry, int n)
{
    const intptr_t first = entry[0];
    for (int d = 1; d < n; d++)
        entry[d - 1] = entry[d];
    entry[n - 1] = first;
}

void fd_job_turn(fd_job *job)
{
    turn(job->shape, job->ndim);
    for (int k = 0; k < FD_MAX_OPERAND; k++)
        turn(job->stride[k], job->ndim);
}

void fd_do(fd_kernel *kernel, const fd_job *job, intptr_t begin, intptr_t end)
{
    const fd_fpstate callers = fd_fpstate_enter();
    kernel(job, begin, end);
    fd_fpstate_leave(callers);
}
