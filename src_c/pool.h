/* pool.h - threads that help with a job.
 *
 *     fd_team team;
 *     fd_team_open(&team, work, argument, n);   up to n of the pool's threads call work(argument), once each
 *     work(argument);                           the caller does not wait for them to come
 *     fd_team_close(&team);                     who has not come need not any more; waits for the others
 *
 * It is up to `work` to share out what there is to do, and to return soon after nothing is left.
 * Until fd_team_close returns, `team` and what `work` uses must stay; then all that helpers have
 * written can be read. Any number of threads may have teams open at the same time.
 *
 * The pool's threads are made as they are wanted, 256 at most, and stay for the life of the
 * process, which they don't prolong. Where the system allows no more of them, a caller has fewer
 * helpers than it asked for, or none. No signal is handled in them. The child of a fork starts
 * without any. */
#ifndef FD_POOL_H
#define FD_POOL_H

#include <stdatomic.h>

/* A job and who is at it; all of it is the pool's. */
typedef struct fd_team {
    void (*work)(void *argument);
    void *argument;
    struct fd_team *next; /* of those with open places */
    int n_open;           /* places that nobody has taken */
    atomic_int n_busy;    /* helpers at work */
    int asleep;           /* whether the caller is, until they are done */
} fd_team;

void fd_team_open(fd_team *team, void (*work)(void *argument), void *argument, int n_helper);
void fd_team_close(fd_team *team);

#endif
