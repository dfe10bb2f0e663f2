/* share.h - a large draw shared out to workers: the calling thread and helpers from the pool. */
#ifndef FD_SHARE_H
#define FD_SHARE_H

#include "fastdist.h"
#include "pool.h"
#include "stream.h"

enum { FD_MAX_WORKER = 256 };

/* Rows that one worker begins with, claimed in pieces from the front; when none of its own are left
 * it goes on with the others'. So nearly all of a worker's rows follow each other, and nobody else's
 * are near: two are 2.0 times as fast as one, and 1.8 times with pieces from one queue. */
typedef struct fd_part {
    _Atomic intptr_t next;
    intptr_t end;
    char apart[64 - 2 * sizeof(intptr_t)]; /* in a cache line of its own */
} fd_part;

typedef struct fd_share {
    fd_drawing drawing;
    fd_draw *draw;
    fd_stream *stream;
    char *scratch; /* for each worker its part */
    intptr_t n_row, piece;
    int n_part;
    atomic_int n_worker; /* that have come */
    atomic_int stop;     /* the rest is not wanted any more */
    fd_team team;
    fd_part part[FD_MAX_WORKER];
} fd_share;

/* fd_share_start  lets up to n_worker - 1 helpers begin with n_row rows of the stream's next normals
 * fd_share_work   the calling thread's work: about n_row rows and 1, or what is left and 0
 * fd_share_stop   gives up what is left
 *
 * `scratch` is what fd_draw wants for each worker. After 0, or fd_share_stop, no helper is at work and
 * the stream stands behind the draw; until then nobody else may use the stream, and `share`, the
 * scratch and the drawing's operands must stay. */
void fd_share_start(fd_share *share, const fd_drawing *drawing, fd_draw *draw, fd_stream *stream,
                    void *scratch, intptr_t n_row, int n_worker);
int fd_share_work(fd_share *share, intptr_t n_row);
void fd_share_stop(fd_share *share);

#endif
