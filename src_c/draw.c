/* draw.c - a draw: noise -> colour -> shift, a tile at a time while it is in cache.
 *
 * The tile is 4096 elements (32 KiB of float64, an L1 cache); where several whole samples fit, a
 * batch item's rows of all of them are coloured together, so that a factor is read once a tile
 * and not once a sample. */
#include "fastdist.h"

#include <stdatomic.h>

#include "run.h"

enum { TILE = 4096, MIN_TILE_SAMPLE = 16 };

static const intptr_t itemsize[FD_N_DTYPE] = {sizeof(float), sizeof(double)};

void fd_draw_noise(const fd_drawing *drawing, const fd_noise *noise, intptr_t begin, intptr_t end)
{
    char *x = drawing->job.operand[0];
    noise->fill[drawing->dtype](noise->state, end - begin, x + begin * itemsize[drawing->dtype]);
}

void fd_draw_elements(const fd_drawing *drawing, const fd_noise *noise, intptr_t begin, intptr_t end)
{
    char *x = drawing->job.operand[0];
    while (begin < end) {
        const intptr_t n = fd_min(TILE, end - begin);
        noise->fill[drawing->dtype](noise->state, n, x + begin * itemsize[drawing->dtype]);
        drawing->colorize(&drawing->job, begin, begin + n);
        begin += n;
    }
}

void fd_draw_events(const fd_drawing *drawing, const fd_noise *noise, intptr_t begin, intptr_t end)
{
    const intptr_t n_batch = drawing->n_batch, dim = drawing->job.dim;
    const intptr_t size = itemsize[drawing->dtype];
    const intptr_t tile_rows = TILE / dim > 0 ? TILE / dim : 1;
    /* Whole samples are worth more than a small tile: up to 16 of them may leave L1 for L2. */
    intptr_t tile_samples = tile_rows / n_batch;
    if (tile_samples < MIN_TILE_SAMPLE && n_batch * dim * MIN_TILE_SAMPLE <= 8 * TILE)
        tile_samples = MIN_TILE_SAMPLE;

    /* The batch dims, then the samples of one tile as the innermost dim. */
    fd_job tile = drawing->job;
    const int sample_axis = tile.ndim;
    for (int k = 0; k < FD_MAX_OPERAND; k++)
        tile.stride[k][sample_axis] = 0;
    tile.stride[0][sample_axis] = n_batch * dim;

    while (begin < end) {
        const intptr_t first = begin % n_batch;
        const intptr_t n_sample = first ? 0 : fd_min(tile_samples, (end - begin) / n_batch);
        char *row = (char *)drawing->job.operand[0] + begin * dim * size;
        if (n_sample > 1) {
            const intptr_t rows = n_sample * n_batch;
            noise->fill[drawing->dtype](noise->state, rows * dim, row);
            tile.operand[0] = row;
            tile.shape[sample_axis] = n_sample;
            tile.ndim = sample_axis + 1;
            drawing->colorize(&tile, 0, rows);
            begin += rows;
        } else {
            /* Part of one sample: batch items `first` and on. */
            const intptr_t rows = fd_min(fd_min(tile_rows, end - begin), n_batch - first);
            noise->fill[drawing->dtype](noise->state, rows * dim, row);
            tile.operand[0] = row - first * dim * size;
            tile.ndim = sample_axis;
            drawing->colorize(&tile, first, first + rows);
            begin += rows;
        }
    }
}

intptr_t fd_claim(fd_claims *claims, intptr_t n)
{
    return atomic_fetch_add_explicit(&claims->next, n, memory_order_relaxed);
}
