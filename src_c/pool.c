/* pool.c - teams that want helpers, and helpers that are idle.
 *
 * A sleeping thread takes 50 us to wake, the time of 80,000 normals; one that looks out for work
 * is there in less than one. So who has to wait, a helper for a team or a caller for its helpers,
 * looks out for a while before it sleeps. */
#ifdef __linux__
#define _GNU_SOURCE /* names and CPUs of threads */
#endif
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* LOOK_OUT, in ns, bridges some lines of Python between draws in a loop. Whoever looks out in vain
 * has spent three times what waking costs. */
enum { MAX_HELPER = 256, LOOK_OUT = 150000 };

typedef struct helper {
    pthread_t thread;
    struct helper *next; /* of those asleep */
    int asleep;
    pthread_cond_t wanted;
#ifdef __linux__
    int away; /* kept off one of these for a moment */
    cpu_set_t cpus;
#endif
} helper;

/* Under the mutex, all of it; n_open may be looked at without. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t done; /* for callers asleep */
    fd_team *first;      /* of the teams with open places, in the order in which they came */
    atomic_int n_open;   /* places of all teams */
    helper *asleep;      /* the one whose caches are warmest first */
    int n_asleep, n_busy, n_helper;
    int forgets;
    helper helpers[MAX_HELPER];
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

/* ---- waiting ----------------------------------------------------------------------------- */

static void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb"); /* about as long; "yield" does nothing on most */
#endif
}

/* It is held for less than a microsecond at a time, which is not worth going to sleep for. */
static void lock(void)
{
    for (int i = 0; i < 1000; i++) {
        if (pthread_mutex_trylock(&pool.mutex) == 0)
            return;
        pause_cpu();
    }
    pthread_mutex_lock(&pool.mutex);
}

static void unlock(void) { pthread_mutex_unlock(&pool.mutex); }

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Looks out for *n to be some or none; whether it is. Who looks out for work, on the chance that there
 * will be some, leaves the CPU to whoever has some: its caller, if they share one. */
static int look_out(const atomic_int *n, int some)
{
    const int64_t end = now() + LOOK_OUT;
    do {
        for (int i = 0; i < 64; i++) {
            if ((atomic_load_explicit(n, memory_order_acquire) > 0) == some)
                return 1;
            pause_cpu();
        }
        if (some)
            sched_yield();
    } while (now() < end);
    return 0;
}

/* ---- helpers ----------------------------------------------------------------------------- */

/* Has a helper about to start do so on another CPU than this one, where it would wait for its caller
 * to be done: a virtual machine's Linux does not know a halted CPU from one that the host has
 * taken away, and leaves every other woken thread where it was woken from. Costs 1 to 4 us. */
static void send_away(helper *helper)
{
#ifdef __linux__
    if (pthread_getaffinity_np(helper->thread, sizeof helper->cpus, &helper->cpus) == 0) {
        cpu_set_t others = helper->cpus;
        CPU_CLR(sched_getcpu(), &others);
        helper->away = pthread_setaffinity_np(helper->thread, sizeof others, &others) == 0;
    }
#else
    (void)helper;
#endif
}

static void settle(helper *self)
{
#ifdef __linux__
    if (self->away)
        pthread_setaffinity_np(self->thread, sizeof self->cpus, &self->cpus);
    self->away = 0;
#else
    (void)self;
#endif
}

static void add_open(int n)
{
    const int before = atomic_load_explicit(&pool.n_open, memory_order_relaxed);
    atomic_store_explicit(&pool.n_open, before + n, memory_order_relaxed);
}

/* Unlocks, and wakes a helper if there are more open places than helpers looking out. One only, for it
 * costs 15 us: each that comes wakes the next. */
static void unlock_and_wake(void)
{
    helper *sleeper = NULL;
    if (pool.asleep && pool.n_open > pool.n_helper - pool.n_busy - pool.n_asleep) {
        sleeper = pool.asleep;
        pool.asleep = sleeper->next;
        pool.n_asleep--;
        sleeper->asleep = 0;
        send_away(sleeper);
    }
    unlock();
    if (sleeper)
        pthread_cond_signal(&sleeper->wanted);
}

static void take_part(fd_team *team)
{
    if (--team->n_open == 0)
        pool.first = team->next;
    add_open(-1);
    pool.n_busy++;
    atomic_fetch_add_explicit(&team->n_busy, 1, memory_order_relaxed);
    unlock_and_wake();

    team->work(team->argument);

    lock();
    pool.n_busy--;
    if (team->asleep)
        pthread_cond_broadcast(&pool.done);
    /* After this the team may be gone. */
    atomic_fetch_sub_explicit(&team->n_busy, 1, memory_order_release);
}

static void sleep_until_wanted(helper *self)
{
    self->next = pool.asleep;
    pool.asleep = self;
    pool.n_asleep++;
    self->asleep = 1;
    while (self->asleep)
        pthread_cond_wait(&self->wanted, &pool.mutex);
    settle(self);
}

static void *help(void *self)
{
#if defined(__linux__)
    pthread_setname_np(pthread_self(), "fastdist");
#elif defined(__APPLE__)
    pthread_setname_np("fastdist");
#endif
    lock();
    settle(self);
    for (;;) {
        while (pool.first)
            take_part(pool.first);
        unlock();
        const int seen = look_out(&pool.n_open, 1);
        lock();
        if (!seen && !pool.first)
            sleep_until_wanted(self);
    }
    return NULL;
}

#ifndef _WIN32
/* In the child of a fork there are no helpers, nor perhaps whoever held the lock. */
static void forget(void)
{
    pool.mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pool.done = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    pool.first = NULL;
    pool.asleep = NULL;
    pool.n_open = pool.n_asleep = pool.n_busy = pool.n_helper = 0;
}
#endif

#ifdef _WIN32
/* No forks; and Ctrl-C comes in a thread of its own. */
static int forgets_in_child(void) { return 1; }

static int start(helper *made) { return pthread_create(&made->thread, NULL, help, made); }
#else
static int forgets_in_child(void) { return pthread_atfork(NULL, NULL, forget) == 0; }

/* Signals are for other threads, but for those that a thread's own fault raises: a handler may have
 * something to say about it. */
static int start(helper *made)
{
    sigset_t signals, before;
    sigfillset(&signals);
    sigdelset(&signals, SIGSEGV);
    sigdelset(&signals, SIGBUS);
    sigdelset(&signals, SIGFPE);
    sigdelset(&signals, SIGILL);
    pthread_sigmask(SIG_BLOCK, &signals, &before);
    const int error = pthread_create(&made->thread, NULL, help, made);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}
#endif

/* Whether there is another helper now. */
static int make_helper(void)
{
    if (!pool.forgets)
        pool.forgets = forgets_in_child();
    if (!pool.forgets || pool.n_helper == MAX_HELPER)
        return 0;
    helper *made = &pool.helpers[pool.n_helper];
    made->wanted = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    if (start(made))
        return 0;
    pthread_detach(made->thread);
    send_away(made);
    pool.n_helper++;
    return 1;
}

/* ---- teams ------------------------------------------------------------------------------- */

/* What points to a team in the list, or to its end. */
static fd_team **link_to(const fd_team *team)
{
    fd_team **link = &pool.first;
    while (*link != team)
        link = &(*link)->next;
    return link;
}

void fd_team_open(fd_team *team, void (*work)(void *argument), void *argument, int n_helper)
{
    *team = (fd_team){.work = work, .argument = argument, .n_open = n_helper};
    if (n_helper == 0)
        return;
    lock();
    *link_to(NULL) = team;
    add_open(n_helper);
    while (pool.n_open > pool.n_helper - pool.n_busy && make_helper())
        ;
    unlock_and_wake();
}

void fd_team_close(fd_team *team)
{
    lock();
    if (team->n_open > 0) {
        *link_to(team) = team->next;
        add_open(-team->n_open);
        team->n_open = 0;
    }
    unlock();
    if (look_out(&team->n_busy, 0))
        return;
    lock();
    team->asleep = 1;
    while (atomic_load_explicit(&team->n_busy, memory_order_relaxed) > 0)
        pthread_cond_wait(&pool.done, &pool.mutex);
    unlock();
}
