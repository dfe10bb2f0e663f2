/* pull.c - pullbacks: all stages are done for one tile of items, then for the next: terms stay in cache. */
#include "fastdist.h"

#include "fpstate.h"
#include "run.h"

static const intptr_t itemsize[FD_N_DTYPE] = {sizeof(float), sizeof(double)};

/* The address of item 0, which is not there, of an operand whose item `begin` is at p: as a number,
 * since a pointer must not leave what it points into. */
static void *before(void *p, intptr_t n_byte) { return (void *)((uintptr_t)p - (uintptr_t)n_byte); }

void fd_pull_items(fd_pull *pull, const fd_noise *noise, intptr_t begin, intptr_t end)
{
    const intptr_t size = itemsize[pull->dtype];
    const fd_fpstate callers = fd_fpstate_enter();
    for (intptr_t n; begin < end; begin += n) {
        n = fd_min(pull->tile_items, end - begin);
        if (noise)
            noise->fill[FD_NORMAL][pull->dtype](noise->state, n * pull->tile_item, pull->tile);
        for (fd_stage *stage = pull->stage; stage < pull->stage + pull->n_stage; stage++) {
            for (int k = 0; k < FD_MAX_OPERAND; k++)
                if (stage->in_tile[k] >= 0)
                    stage->loop.operand[k] =
                        before((char *)pull->tile + stage->in_tile[k] * size, begin * pull->tile_item * size);
            stage->kernel(&stage->loop, begin * stage->unit, (begin + n) * stage->unit);
        }
    }
    fd_fpstate_leave(callers);
}

void fd_pull_samples(const fd_pull *pull, const fd_noise *noise, int axis, intptr_t begin, intptr_t end)
{
    const intptr_t size = itemsize[pull->dtype];
    const intptr_t *whole = pull->stage[0].loop.operand[4];
    fd_loop loop = pull->stage[0].loop;
    const intptr_t n_row = pull->tile_item / loop.dim;
    intptr_t terms = 1; /* of a sample */
    for (int d = 0; d < loop.ndim; d++)
        if (d != axis && loop.stride[0][d] == 0)
            terms *= loop.shape[d];
    loop.operand[2] = pull->tile;
    const fd_fpstate callers = fd_fpstate_enter();
    for (intptr_t n; begin < end; begin += n) {
        n = fd_min(pull->tile_items, end - begin);
        intptr_t span[2] = {begin * terms, whole[1]};
        noise->fill[FD_NORMAL][pull->dtype](noise->state, n * pull->tile_item, pull->tile);
        loop.shape[axis] = n;
        loop.operand[1] = (char *)pull->stage[0].loop.operand[1] + begin * loop.stride[1][axis] * size;
        loop.operand[4] = span;
        pull->stage[0].kernel(&loop, 0, n * n_row);
    }
    fd_fpstate_leave(callers);
}
