/* tests/c/pool.c - the thread pool and draws shared out to it, under many callers; for sanitizers, the
 * one for threads above all. What hangs is ended by an alarm.
 *
 *   counts    every item is done once, nobody comes when a team is closed, no more than were asked for
 *   meetings  all helpers asked for do come, sleeping or awake: each waits for the others
 *   slow      a caller sleeps until its helpers are done
 *   limits    no thread is to be had, or some
 *   rows      of shared draws: each is drawn once, or is given up
 *   shares    draws from many threads at once, whole and given up, against the same without helpers
 *   forks     in the middle of all that; the children have a pool of their own
 *
 * Linked with --wrap=pthread_create, which makes threads scarce. */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../src_c/share.h"

enum { N_CALLER = 6, SECONDS = 300 };

#define CHECK(condition)                                                                       \
    do                                                                                         \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "FAILED, line %d: %s\n", __LINE__, #condition);                    \
            _exit(1);                                                                          \
        }                                                                                      \
    while (0)

static int unlimited = 1;
static atomic_int n_to_be_had;

int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                          void *argument)
{
    if (!unlimited && atomic_fetch_sub(&n_to_be_had, 1) <= 0)
        return EAGAIN;
    return __real_pthread_create(thread, attributes, start, argument);
}

/* Xorshift (Marsaglia, 2003): each thread has its own. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static int below(uint64_t *state, int n) { return (int)(next_random(state) % (uint64_t)n); }

static void pass(long microseconds) { nanosleep(&(struct timespec){0, microseconds * 1000}, NULL); }

static void in_threads(void *(*run)(void *), int n)
{
    pthread_t thread[N_CALLER];
    for (intptr_t i = 0; i < n; i++)
        CHECK(__real_pthread_create(&thread[i], NULL, run, (void *)(i + 1)) == 0);
    for (int i = 0; i < n; i++)
        CHECK(pthread_join(thread[i], NULL) == 0);
}

/* ---- counts ------------------------------------------------------------------------------ */

typedef struct counts {
    atomic_int next, n_worker;
    int n_item, n_pass, open;
    int done[1000]; /* not atomic: each item has one writer, whom fd_team_close waits for */
} counts;

static void count(void *argument)
{
    counts *job = argument;
    CHECK(job->open);
    atomic_fetch_add(&job->n_worker, 1);
    for (int i; (i = atomic_fetch_add(&job->next, 1)) < job->n_item;) {
        job->done[i]++;
        for (volatile int k = 0; k < job->n_pass; k++)
            ;
    }
}

static void check_counts(uint64_t *random)
{
    counts job = {.n_item = below(random, 1001), .n_pass = below(random, 200), .open = 1};
    const int n_helper = below(random, 4);
    fd_team team;
    fd_team_open(&team, count, &job, n_helper);
    count(&job);
    fd_team_close(&team);
    job.open = 0;
    CHECK(job.n_worker <= 1 + n_helper);
    for (int i = 0; i < job.n_item; i++)
        CHECK(job.done[i] == 1);
    if (below(random, 8) == 0) /* long enough for helpers to fall asleep, now and then */
        pass(below(random, 400));
}

static void *run_counts(void *seed)
{
    uint64_t random = (uint64_t)(intptr_t)seed;
    for (int i = 0; i < 1500; i++)
        check_counts(&random);
    return NULL;
}

/* ---- meetings ---------------------------------------------------------------------------- */

typedef struct meeting {
    pthread_t caller;
    atomic_int n_here;
    int n_wanted;
    long stay; /* of helpers */
} meeting;

static void meet(void *argument)
{
    meeting *job = argument;
    atomic_fetch_add(&job->n_here, 1);
    while (job->n_here < job->n_wanted)
        pass(20);
    if (pthread_equal(pthread_self(), job->caller))
        return;
    sigset_t blocked; /* Ctrl-C is for others, a fault is one's own */
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0);
    CHECK(sigismember(&blocked, SIGINT) && !sigismember(&blocked, SIGSEGV));
    pass(job->stay);
}

static void check_meeting(int n_helper, long stay)
{
    meeting job = {.caller = pthread_self(), .n_wanted = 1 + n_helper, .stay = stay};
    fd_team team;
    fd_team_open(&team, meet, &job, n_helper);
    meet(&job);
    fd_team_close(&team);
    CHECK(job.n_here == 1 + n_helper);
}

static void *run_meetings(void *seed)
{
    uint64_t random = (uint64_t)(intptr_t)seed;
    for (int i = 0; i < 30; i++) {
        check_meeting(below(&random, 12), 0);
        if (i % 3 == 0)
            pass(1000);
    }
    check_meeting(3, 3000); /* slow */
    return NULL;
}

/* ---- limits ------------------------------------------------------------------------------ */

/* In a child, whose pool is empty. */
static void check_limits(void)
{
    unlimited = 0;
    uint64_t random = 1;
    for (int n = 0; n < 4; n++) {
        n_to_be_had = n > 0;
        for (int i = 0; i < 20; i++)
            check_counts(&random);
        if (n > 0)
            check_meeting(n, 0);
    }
    unlimited = 1;
    check_meeting(20, 0);
}

/* ---- rows -------------------------------------------------------------------------------- */

enum { MAX_ROW = 100000, MAX_WORKER = 6, MAX_DIM = 64 };
static const size_t scratch_size = MAX_WORKER * FD_SCRATCH_BYTES * MAX_DIM;

/* A draw that counts its rows. */
static void count_rows(const fd_drawing *drawing, const fd_noise *noise, void *scratch, intptr_t begin,
                       intptr_t end)
{
    memset(scratch, 1, FD_SCRATCH_BYTES * (size_t)drawing->loop.dim);
    const fd_stream *stream = noise->state;
    CHECK(0 <= begin && begin < end && end <= drawing->n_batch);
    for (intptr_t row = begin; row < end; row++)
        ((unsigned char *)drawing->loop.operand[0])[row]++;
    CHECK(begin == 0 || drawing->loop.dim > 1 || (stream->cursor[FD_NORMAL].position % FD_BLOCK == 0));
    fd_stream_take(noise->state, FD_NORMAL, (end - begin) * drawing->loop.dim);
}

/* Draws by turns, some given up; whether all is done. Between turns nobody is at work: memory may move. */
static int draw_shared(const fd_drawing *drawing, fd_draw *draw, fd_stream *stream, void *scratch, int n_row,
                       uint64_t *random)
{
    const int n_turn = below(random, 4) ? -1 : below(random, 3), n_worker = 1 + below(random, MAX_WORKER);
    const size_t size = fd_share_size(n_worker);
    const fd_place place = fd_stream_take(stream, FD_NORMAL, n_row * drawing->loop.dim);
    fd_share *share = malloc(size);
    CHECK(share);
    fd_share_start(share, drawing, draw, &place, scratch, n_row, n_worker);
    int rest = 1;
    for (int turn = 0; rest && turn != n_turn; turn++) {
        rest = fd_share_work(share, 1 + below(random, n_row));
        fd_share *moved = malloc(size);
        CHECK(moved);
        memcpy(moved, share, size);
        memset(share, 0, size);
        free(share);
        share = moved;
    }
    free(share);
    memset(scratch, 0, scratch_size);
    return !rest;
}

static void check_rows(fd_stream *stream, void *scratch, uint64_t *random)
{
    unsigned char done[MAX_ROW] = {0};
    const int n_row = 1 + below(random, MAX_ROW), dim = below(random, 2) ? 1 : 1 + below(random, 9);
    const fd_drawing drawing = {.loop = {.dim = dim, .operand = {done}}, .n_batch = n_row, .n_noise = dim};
    const uint64_t position = next_random(random) % FD_POSITIONS;
    fd_stream_seek(stream, FD_NORMAL, position, 0);
    const int all = draw_shared(&drawing, count_rows, stream, scratch, n_row, random);
    CHECK(stream->cursor[FD_NORMAL].position == (position + (uint64_t)n_row * (uint64_t)dim) % FD_POSITIONS);
    for (int row = 0; row < n_row; row++)
        CHECK(done[row] == 1 || (!all && done[row] == 0));
}

/* ---- shares ------------------------------------------------------------------------------ */

enum { MAX_SIZE = 60000, FILL = 0x3b };

typedef struct shares {
    fd_stream stream, alone;
    double out[MAX_SIZE], wanted[MAX_SIZE];
    double loc[MAX_DIM], matrix[MAX_DIM * MAX_DIM], factor[MAX_DIM * MAX_DIM], panels[MAX_DIM * MAX_DIM];
    void *scratch;
} shares;

static void check_share(shares *s, uint64_t *random)
{
    const int kind = below(random, 3), single = below(random, 2);
    const int dim = kind == 2 ? 1 + below(random, MAX_DIM) : 1;
    const int n_batch = 1 + (kind == 2 ? below(random, 5) : 0);
    const int n_row = 1 + below(random, MAX_SIZE / dim);
    const size_t size = (size_t)n_row * (size_t)dim * (single ? sizeof(float) : sizeof(double));
    const fd_dtype dtype = single ? FD_F32 : FD_F64;
    fd_draw *const draw = kind == 0 ? fd_draw_noise : kind == 1 ? fd_draw_elements : fd_draw_events;

    /* A loc, and a scale or a lower triangle: the same for all events. */
    for (int i = 0; i < dim * dim; i++) {
        const double value = i % (dim + 1) == 0 ? 1 : 0.5 / dim;
        if (single)
            ((float *)(void *)s->matrix)[i] = (float)value;
        else
            s->matrix[i] = value;
    }
    memset(s->loc, 0, sizeof s->loc);
    fd_loop packing = {.ndim = 1, .dim = dim, .shape = {1}, .operand = {s->factor, s->matrix}};
    fd_lookup(FD_pack_tril, dtype)(&packing, 0, 1);
    packing.operand[0] = s->panels;
    packing.operand[1] = s->factor;
    fd_lookup(FD_pack_panels, dtype)(&packing, 0, 1);
    fd_drawing drawing = {
        .loop = {.ndim = 1,
                .dim = dim,
                .shape = {kind == 2 ? n_batch : n_row},
                .operand = {s->wanted, s->loc, kind == 2 ? s->panels : s->matrix}},
        .colorize = fd_lookup(kind == 2 ? FD_solve_tril : FD_colorize_diag, dtype),
        .dtype = dtype,
        .n_batch = n_batch,
        .n_noise = dim,
    };
    drawing.loop.stride[0][0] = dim;

    const uint64_t from = below(random, 2) ? 0 : FD_POSITIONS - 4096, within = next_random(random);
    const uint64_t position = from ? from + within % 4096 : within % FD_POSITIONS;
    fd_stream_start(&s->alone, (fd_key){{next_random(random), next_random(random)}});
    fd_stream_seek(&s->alone, FD_NORMAL, position, 0);
    s->stream = s->alone;
    memset(s->wanted, FILL, sizeof s->wanted);
    memset(s->out, FILL, sizeof s->out);
    const fd_noise noise = fd_stream_noise(&s->alone);
    draw(&drawing, &noise, s->scratch, 0, n_row);

    drawing.loop.operand[0] = s->out;
    const int all = draw_shared(&drawing, draw, &s->stream, s->scratch, n_row, random);
    CHECK(s->stream.cursor[FD_NORMAL].position == s->alone.cursor[FD_NORMAL].position);
    CHECK(s->stream.cursor[FD_NORMAL].carry == s->alone.cursor[FD_NORMAL].carry);
    if (all)
        CHECK(memcmp(s->out, s->wanted, sizeof s->out) == 0);
    else { /* each element is drawn or untouched, and remains so */
        const size_t item = single ? sizeof(float) : sizeof(double);
        unsigned char fill[sizeof(double)];
        memset(fill, FILL, sizeof fill);
        for (size_t i = 0; i < sizeof s->out; i += item) {
            const char *p = (const char *)s->out + i, *q = (const char *)s->wanted + i;
            CHECK(memcmp(p, q, item) == 0 || (i < size && memcmp(p, fill, item) == 0));
        }
    }
}

static void *run_shares(void *seed)
{
    uint64_t random = (uint64_t)(intptr_t)seed << 8;
    shares *s = malloc(sizeof *s);
    CHECK(s && (s->scratch = aligned_alloc(64, scratch_size)));
    for (int i = 0; i < 150; i++) {
        check_rows(&s->stream, s->scratch, &random);
        check_share(s, &random);
    }
    free(s->scratch);
    free(s);
    return NULL;
}

/* ---- forks ------------------------------------------------------------------------------- */

/* The sanitizer for threads does not follow into the child of a process with several. */
#ifdef __SANITIZE_THREAD__
enum { FORKS = 0 };
#else
enum { FORKS = 1 };
#endif

static void in_child(void (*check)(void))
{
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(SECONDS);
        check();
        _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void check_child(void)
{
    uint64_t random = 7;
    check_meeting(3, 0);
    for (int i = 0; i < 20; i++)
        check_counts(&random);
    in_child(check_limits);
}

static void *run_forks(void *seed)
{
    if ((intptr_t)seed > 1)
        return run_counts(seed);
    for (int i = 0; i < 20; i++)
        in_child(check_child);
    return NULL;
}

int main(void)
{
    alarm(SECONDS);
    fd_isa_use(fd_isa_best());
    in_child(check_limits);
    in_threads(run_counts, N_CALLER);
    in_threads(run_meetings, N_CALLER);
    in_threads(run_shares, N_CALLER);
    if (FORKS)
        in_threads(run_forks, 3);
    puts("every item done once, everybody there, nobody left");
    return 0;
}
