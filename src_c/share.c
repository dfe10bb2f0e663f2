/* share.c - rows of one draw by several threads. A worker seeks the stream's place of its rows, which
 * are therefore the same whoever draws them. */
#include "share.h"

#include "run.h"

/* A piece has at least this many elements, 10 us of bare noise, or is a tile, but a quarter of a worker's
 * share at most: so long do workers wait for the last. Pieces of 1, 2, 4, 8, 16 blocks: two draw a
 * million normals 1.75, 1.90, 1.98, 1.97, 2.04 times as fast as one. */
enum { PIECE = 16 * FD_BLOCK };

static intptr_t claim(fd_part *part, intptr_t n)
{
    return atomic_fetch_add_explicit(&part->next, n, memory_order_relaxed);
}

/* Whether rows are left after about n_row of them. */
static int work(fd_share *share, int own, intptr_t n_row)
{
    fd_stream reader;
    const fd_noise noise = {&reader, {fd_stream_fill_f32, fd_stream_fill_f64}};
    const intptr_t dim = share->drawing.job.dim;
    void *scratch = share->scratch + own * FD_SCRATCH_BYTES * dim;
    intptr_t at = -1; /* where the reader is */
    fd_stream_start(&reader, share->stream->key);
    for (int i = 0; i < share->n_part; i++) {
        fd_part *part = &share->part[(own + i) % share->n_part];
        for (;;) {
            if (atomic_load_explicit(&share->stop, memory_order_relaxed))
                return 0;
            if (n_row <= 0)
                return 1;
            const intptr_t claimed = claim(part, share->piece);
            if (claimed >= part->end)
                break;
            const intptr_t begin = claimed > 0 ? claimed : 0, end = fd_min(claimed + share->piece, part->end);
            if (begin != at)
                fd_stream_seek_ahead(&reader, share->stream, begin * dim);
            share->draw(&share->drawing, &noise, scratch, begin, end);
            at = end;
            n_row -= end - begin;
        }
    }
    return 0;
}

static void help(void *argument)
{
    fd_share *share = argument;
    work(share, atomic_fetch_add_explicit(&share->n_worker, 1, memory_order_relaxed), INTPTR_MAX);
}

static void finish(fd_share *share)
{
    fd_team_close(&share->team);
    fd_stream_seek_ahead(share->stream, share->stream, share->n_row * share->drawing.job.dim);
}

void fd_share_start(fd_share *share, const fd_drawing *drawing, fd_draw *draw, fd_stream *stream,
                    void *scratch, intptr_t n_row, int n_worker)
{
    const intptr_t fair = n_row * drawing->job.dim / (4 * n_worker);
    const intptr_t piece = fd_draw_piece(draw, drawing, PIECE, fair > PIECE ? fair : PIECE);
    /* Rows of one element are cut where blocks begin, so that none is made twice; the first piece is
     * shorter by what the draw's first block has before it. */
    const intptr_t lead = drawing->job.dim == 1 ? (intptr_t)(stream->normal_position % FD_BLOCK) : 0;
    const intptr_t n_piece = (lead + n_row + piece - 1) / piece;
    share->drawing = *drawing;
    share->draw = draw;
    share->stream = stream;
    share->scratch = scratch;
    share->n_row = n_row;
    share->piece = piece;
    share->n_part = (int)fd_min(n_worker, n_piece);
    share->n_worker = 1;
    share->stop = 0;
    for (int i = 0; i < share->n_part; i++) {
        share->part[i].next = i * n_piece / share->n_part * piece - lead;
        share->part[i].end = fd_min((i + 1) * n_piece / share->n_part * piece - lead, n_row);
    }
    fd_team_open(&share->team, help, share, share->n_part - 1);
}

int fd_share_work(fd_share *share, intptr_t n_row)
{
    if (work(share, 0, n_row))
        return 1;
    finish(share);
    return 0;
}

void fd_share_stop(fd_share *share)
{
    atomic_store_explicit(&share->stop, 1, memory_order_relaxed);
    finish(share);
}
