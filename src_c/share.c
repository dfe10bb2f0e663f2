/* share.c - rows of one draw by several threads. A worker seeks the stream's place of its rows, which
 * are therefore the same whoever draws them. */
#include "share.h"

#include "fpstate.h"
#include "run.h"

/* A piece has at least this many elements, 10 us of bare noise, or is a tile, but a quarter of a worker's
 * share at most: so long do workers wait for the last. Pieces of 1, 2, 4, 8, 16 blocks: two draw a
 * million normals 1.75, 1.90, 1.98, 1.97, 2.04 times as fast as one. */
enum { PIECE = 16 * FD_BLOCK };

static intptr_t claim(fd_worker *of, intptr_t n)
{
    return atomic_fetch_add_explicit(&of->next, n, memory_order_relaxed);
}

/* About n_row rows, unless all are taken before, or everybody is to stop. */
static void work(fd_share *share, int own, intptr_t n_row)
{
    fd_stream *reader = &share->worker[own].reader;
    const fd_noise noise = fd_stream_noise(reader);
    const intptr_t n_noise = share->drawing.n_noise;
    void *scratch = share->scratch + own * FD_SCRATCH_BYTES * n_noise;
    intptr_t at = -1; /* where the reader is */
    const fd_fpstate callers = fd_fpstate_enter();
    for (int i = 0; i < share->n_worker; i++) {
        fd_worker *of = &share->worker[(own + i) % share->n_worker];
        while (n_row > 0 && !atomic_load_explicit(&share->stop, memory_order_relaxed)) {
            const intptr_t claimed = claim(of, share->piece);
            if (claimed >= of->end)
                break;
            const intptr_t begin = claimed > 0 ? claimed : 0, end = fd_min(claimed + share->piece, of->end);
            if (begin != at)
                fd_stream_read(reader, &share->place, begin * n_noise);
            share->draw(&share->drawing, &noise, scratch, begin, end);
            at = end;
            n_row -= end - begin;
        }
    }
    fd_fpstate_leave(callers);
}

static void help(void *argument)
{
    fd_share *share = argument;
    work(share, atomic_fetch_add_explicit(&share->n_come, 1, memory_order_relaxed), INTPTR_MAX);
}

void fd_share_start(fd_share *share, const fd_drawing *drawing, fd_draw *draw, const fd_place *place,
                    void *scratch, intptr_t n_row, int n_worker)
{
    const intptr_t fair = n_worker > 1 ? n_row * drawing->n_noise / (4 * n_worker) : INTPTR_MAX;
    const intptr_t piece = fd_draw_piece(draw, drawing, PIECE, fair > PIECE ? fair : PIECE);
    /* Rows of one number are cut where blocks begin, so that none is made twice; the first piece is
     * shorter by what the draw's first block has before it. */
    const intptr_t lead = drawing->n_noise == 1 ? (intptr_t)(place->position % FD_BLOCK) : 0;
    const intptr_t n_piece = (lead + n_row + piece - 1) / piece;
    share->drawing = *drawing;
    share->draw = draw;
    share->place = *place;
    share->scratch = scratch;
    share->piece = piece;
    share->n_worker = (int)fd_min(n_worker, n_piece);
    for (int i = 0; i < share->n_worker; i++) {
        share->worker[i].next = i * n_piece / share->n_worker * piece - lead;
        share->worker[i].end = fd_min((i + 1) * n_piece / share->n_worker * piece - lead, n_row);
    }
}

int fd_share_work(fd_share *share, intptr_t n_row)
{
    int rest = 0;
    share->n_come = 1;
    share->stop = 0;
    fd_team_open(&share->team, help, share, share->n_worker - 1);
    work(share, 0, n_row);
    atomic_store_explicit(&share->stop, 1, memory_order_relaxed);
    fd_team_close(&share->team);
    for (int i = 0; i < share->n_worker; i++)
        rest |= share->worker[i].next < share->worker[i].end;
    return rest;
}
