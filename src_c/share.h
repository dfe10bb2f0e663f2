/* share.h - a large draw shared out to workers: the calling thread and helpers from the pool. */
#ifndef FD_SHARE_H
#define FD_SHARE_H

#include <stddef.h>

#include "fastdist.h"
#include "pool.h"
#include "stream.h"

enum { FD_MAX_WORKER = 256 };

/* A worker has rows that it begins with, claimed in pieces from the front; when none of its own are left
 * it goes on with the others'. So nearly all of a worker's rows follow each other, and nobody else's
 * are near: two are 2.0 times as fast as one, and 1.8 times with pieces from one queue. */
typedef struct fd_worker {
    _Atomic intptr_t next;
    intptr_t end;
    fd_stream reader; /* too large for small stacks; lets `next` be alone in its cache line, too */
} fd_worker;

typedef struct fd_share {
    fd_drawing drawing;
    fd_draw *draw;
    fd_place place; /* of the draw's noise */
    char *scratch;  /* for each worker its part */
    intptr_t piece;
    int n_worker;
    atomic_int n_come; /* workers that are at it */
    atomic_int stop;   /* they are to come back */
    fd_team team;
    fd_worker worker[]; /* n_worker of them */
} fd_share;

static inline size_t fd_share_size(int n_worker)
{
    return sizeof(fd_share) + (size_t)n_worker * sizeof(fd_worker);
}

/* fd_share_start  n_row rows, of the noise from `place` on, for n_worker at most
 * fd_share_work   the calling thread's work on about n_row rows, with helpers; whether any are left
 *
 * `scratch` is what fd_draw wants for each worker. Between calls nobody is at work: the caller may look at
 * signals, fork, or leave it at that. */
void fd_share_start(fd_share *share, const fd_drawing *drawing, fd_draw *draw, const fd_place *place,
                    void *scratch, intptr_t n_row, int n_worker);
int fd_share_work(fd_share *share, intptr_t n_row);

#endif
