/* mutex.h - the three states of a lock: free, taken, taken and perhaps waited for (Drepper, "Futexes are
 * tricky", 2011, mutex2). To take and give it where nobody waits is one atomic instruction each; how
 * others wait, and are woken, is the caller's affair. */
#ifndef FD_MUTEX_H
#define FD_MUTEX_H

#include <stdatomic.h>

typedef struct fd_mutex {
    atomic_int state;
} fd_mutex;

enum { FD_FREE, FD_TAKEN, FD_WAITED_FOR };

/* Whether it was free, and is now taken. */
static inline int fd_mutex_take(fd_mutex *mutex)
{
    int state = FD_FREE;
    return atomic_compare_exchange_strong_explicit(&mutex->state, &state, FD_TAKEN, memory_order_acquire,
                                                   memory_order_relaxed);
}

/* The same for who waits: whoever has it will know. */
static inline int fd_mutex_take_or_wait(fd_mutex *mutex)
{
    return atomic_exchange_explicit(&mutex->state, FD_WAITED_FOR, memory_order_acquire) == FD_FREE;
}

/* What it was before it was given back. */
static inline int fd_mutex_give(fd_mutex *mutex)
{
    return atomic_exchange_explicit(&mutex->state, FD_FREE, memory_order_release);
}

static inline int fd_mutex_taken(const fd_mutex *mutex)
{
    return atomic_load_explicit(&mutex->state, memory_order_relaxed) != FD_FREE;
}

#endif
