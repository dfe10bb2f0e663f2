/* loop.c - the loop nest: fewer, longer dims, and in another order; doing it. */
#include "fastdist.h"

#include "fpstate.h"

void fd_loop_coalesce(fd_loop *loop, int n_operand)
{
    int kept = 0;
    for (int d = 0; d < loop->ndim; d++) {
        if (loop->shape[d] == 1)
            continue;
        int merge = kept > 0;
        for (int k = 0; merge && k < n_operand; k++)
            merge = loop->stride[k][kept - 1] == loop->stride[k][d] * loop->shape[d];
        const int to = merge ? kept - 1 : kept++;
        loop->shape[to] = merge ? loop->shape[to] * loop->shape[d] : loop->shape[d];
        for (int k = 0; k < n_operand; k++)
            loop->stride[k][to] = loop->stride[k][d];
    }
    if (kept == 0) {
        loop->shape[0] = 1;
        for (int k = 0; k < n_operand; k++)
            loop->stride[k][0] = 0;
        kept = 1;
    }
    loop->ndim = kept;
    for (int k = n_operand; k < FD_MAX_OPERAND; k++)
        for (int d = 0; d < kept; d++)
            loop->stride[k][d] = 0;
}

static void rotate(intptr_t *entry, int n)
{
    const intptr_t first = entry[0];
    for (int d = 1; d < n; d++)
        entry[d - 1] = entry[d];
    entry[n - 1] = first;
}

void fd_loop_rotate_dims(fd_loop *loop)
{
    rotate(loop->shape, loop->ndim);
    for (int k = 0; k < FD_MAX_OPERAND; k++)
        rotate(loop->stride[k], loop->ndim);
}

void fd_do(fd_kernel *kernel, const fd_loop *loop, intptr_t begin, intptr_t end)
{
    const fd_fpstate callers = fd_fpstate_enter();
    kernel(loop, begin, end);
    fd_fpstate_leave(callers);
}
