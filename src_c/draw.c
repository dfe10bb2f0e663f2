/* draw.c - a draw: noise -> colour -> shift, a tile at a time while it is in cache.
 *
 * The tile is 16384 elements (128 KiB of float64, part of an L2 cache; of the size of an L1 cache, with four times as
 * many calls, scalars take a twelfth more time). Where it holds few samples, 32 of them are done together, or as many
 * as 4 tiles hold, but at least 8, of large events dim / 8 up to 32, in at most 64 tiles: a batch item's events of all
 * of them are coloured one after the other, so that its factor is read from far away once and not for each sample.
 *
 * What stages do, they do to a tile of rows, too. */
#include "fastdist.h"

#include "fpstate.h"
#include "run.h"

enum { TILE = 16384, SOME_SAMPLES = 8, MANY_SAMPLES = 32, MANY_TILES = 4, MOST_TILES = 64, MANY_EVENTS = 32 };

static const intptr_t itemsize[FD_N_DTYPE] = {sizeof(float), sizeof(double)};

/* Stages from `first` to `last`, of rows begin to end. */
static void do_stages(const fd_drawing *drawing, int first, int last, intptr_t begin, intptr_t end)
{
    for (const fd_stage *stage = drawing->stage + first; stage < drawing->stage + last; stage++)
        stage->kernel(&stage->loop, begin * drawing->n_noise, end * drawing->n_noise);
}

/* Fills rows begin to end with noise, and does what comes before colour. */
static void start_rows(const fd_drawing *drawing, const fd_noise *noise, void *row, intptr_t begin, intptr_t end)
{
    noise->fill[drawing->domain][drawing->dtype](noise->state, (end - begin) * drawing->n_noise, row);
    if (drawing->n_before)
        do_stages(drawing, 0, drawing->n_before, begin, end);
}

static void finish_rows(const fd_drawing *drawing, intptr_t begin, intptr_t end)
{
    if (drawing->n_before < drawing->n_stage)
        do_stages(drawing, drawing->n_before, drawing->n_stage, begin, end);
}

static intptr_t rows_of_tile(intptr_t dim) { return TILE / dim > 0 ? TILE / dim : 1; }

void fd_draw_noise(const fd_drawing *drawing, const fd_noise *noise, void *scratch, intptr_t begin, intptr_t end)
{
    (void)scratch;
    char *x = drawing->loop.operand[0];
    noise->fill[drawing->domain][drawing->dtype](noise->state, end - begin, x + begin * itemsize[drawing->dtype]);
}

void fd_draw_elements(const fd_drawing *drawing, const fd_noise *noise, void *scratch, intptr_t begin,
                      intptr_t end)
{
    (void)scratch;
    char *x = drawing->loop.operand[0];
    const intptr_t dim = drawing->n_noise, tile = rows_of_tile(dim);
    while (begin < end) {
        const intptr_t stop = begin + fd_min(tile, end - begin);
        start_rows(drawing, noise, x + begin * dim * itemsize[drawing->dtype], begin, stop);
        drawing->colorize(&drawing->loop, begin * dim, stop * dim);
        finish_rows(drawing, begin, stop);
        begin = stop;
    }
}

/* Whether a batch item's events are done together; but events of 1 or 2 elements are coloured several to a
 * vector where they lie side by side. */
static int in_event_blocks(intptr_t n_batch, intptr_t dim) { return dim > 2 || n_batch < MANY_EVENTS; }

/* Whole samples are worth more than a small tile. */
static intptr_t samples_of_tile(intptr_t n_batch, intptr_t dim)
{
    const intptr_t sample = n_batch * dim, small = rows_of_tile(dim) / n_batch;
    const intptr_t some = fd_min(dim / 8 > SOME_SAMPLES ? dim / 8 : SOME_SAMPLES, MANY_SAMPLES);
    intptr_t many = fd_min(MANY_TILES * TILE / sample, MANY_SAMPLES);
    if (!in_event_blocks(n_batch, dim))
        many = many < MANY_SAMPLES ? 0 : many;
    else if (many < some)
        many = fd_min(some, MOST_TILES * TILE / sample);
    return small < many ? many : small;
}

/* A copy of the dims there are: a whole loop is 5 KB. */
static void copy_loop(fd_loop *to, const fd_loop *from)
{
    to->ndim = from->ndim;
    to->dim = from->dim;
    for (int d = 0; d < from->ndim; d++)
        to->shape[d] = from->shape[d];
    for (int k = 0; k < FD_MAX_OPERAND; k++) {
        to->operand[k] = from->operand[k];
        for (int d = 0; d < from->ndim; d++)
            to->stride[k][d] = from->stride[k][d];
    }
}

/* Puts the batch dims within a dim of samples, whose number is still to be said. */
static void add_samples(fd_loop *loop, intptr_t sample_stride)
{
    loop->ndim++;
    for (int d = loop->ndim - 1; d > 0; d--)
        loop->shape[d] = loop->shape[d - 1];
    for (int k = 0; k < FD_MAX_OPERAND; k++) {
        for (int d = loop->ndim - 1; d > 0; d--)
            loop->stride[k][d] = loop->stride[k][d - 1];
        loop->stride[k][0] = k == 0 ? sample_stride : 0;
    }
}

void fd_draw_events(const fd_drawing *drawing, const fd_noise *noise, void *scratch, intptr_t begin, intptr_t end)
{
    const intptr_t n_batch = drawing->n_batch, dim = drawing->loop.dim;
    const intptr_t size = itemsize[drawing->dtype];
    const intptr_t tile_rows = rows_of_tile(dim), tile_samples = samples_of_tile(n_batch, dim);
    const int innermost = in_event_blocks(n_batch, dim);
    fd_loop part, tile;
    copy_loop(&part, &drawing->loop);
    part.operand[3] = scratch;
    if (end - begin >= 2 * n_batch) { /* otherwise there are no samples to be done together */
        copy_loop(&tile, &part);
        add_samples(&tile, n_batch * dim);
        if (innermost)
            fd_loop_rotate_dims(&tile);
    }

    while (begin < end) {
        const intptr_t first = begin % n_batch;
        const intptr_t n_sample = first ? 0 : fd_min(tile_samples, (end - begin) / n_batch);
        char *row = (char *)drawing->loop.operand[0] + begin * dim * size;
        intptr_t rows;
        if (n_sample > 1) {
            rows = n_sample * n_batch;
            start_rows(drawing, noise, row, begin, begin + rows);
            tile.operand[0] = row;
            tile.shape[innermost ? tile.ndim - 1 : 0] = n_sample;
            drawing->colorize(&tile, 0, rows);
        } else {
            /* Part of one sample: batch items `first` and on. */
            rows = fd_min(fd_min(tile_rows, end - begin), n_batch - first);
            start_rows(drawing, noise, row, begin, begin + rows);
            part.operand[0] = row - first * dim * size;
            drawing->colorize(&part, first, first + rows);
        }
        finish_rows(drawing, begin, begin + rows);
        begin += rows;
    }
}

void fd_draw_rows(fd_draw *draw, const fd_drawing *drawing, const fd_noise *noise, void *scratch, intptr_t begin,
                  intptr_t end)
{
    const fd_fpstate callers = fd_fpstate_enter();
    draw(drawing, noise, scratch, begin, end);
    fd_fpstate_leave(callers);
}

intptr_t fd_draw_piece(fd_draw *draw, const fd_drawing *drawing, intptr_t n, intptr_t most)
{
    const intptr_t n_batch = drawing->n_batch, dim = drawing->n_noise, sample = n_batch * dim;
    if (draw != fd_draw_events)
        return (n + dim - 1) / dim;
    const intptr_t n_sample = fd_min(samples_of_tile(n_batch, dim), most / sample);
    const intptr_t tile = n_sample > 1 ? n_sample * n_batch : rows_of_tile(dim);
    return (n + tile * dim - 1) / (tile * dim) * tile;
}
