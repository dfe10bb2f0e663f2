/* stream.c - reading a stream of BlockSFC64 in any portions: whole blocks go straight to where
 * they are wanted, the rest by way of a buffer that holds the present block as far as it is
 * made. What is read depends on key and position alone. */
#include "stream.h"

#include <string.h>

#include "fpstate.h"
#include "run.h"
#include "ziggurat.h"

/* A small draw makes this many steps (128 normals) more than it needs of a block, so that a
 * hundred of them cost one. */
enum { AHEAD_STEPS = 16 };

/* Steps that are gone past at a time. */
enum { SKIP_STEPS = 32 };

static fd_key key_at(const fd_stream *stream, uint64_t carry)
{
    fd_key key = stream->key;
    key.word[1] += carry;
    return key;
}

void fd_stream_start(fd_stream *stream, fd_key key)
{
    stream->key = key;
    for (int domain = 0; domain < FD_N_DOMAIN; domain++)
        fd_stream_seek(stream, (fd_domain)domain, 0, 0);
    fd_stream_seek_raw(stream, 0, 0);
}

void fd_stream_seek(fd_stream *stream, fd_domain domain, uint64_t position, uint64_t carry)
{
    fd_cursor *cursor = &stream->cursor[domain];
    cursor->position = position % FD_POSITIONS;
    cursor->carry = carry + position / FD_POSITIONS;
    cursor->made = 0;
}

void fd_stream_seek_raw(fd_stream *stream, uint64_t position, uint64_t carry)
{
    stream->raw_at = (intptr_t)(position % FD_BLOCK);
    stream->raw_block = (position - (uint64_t)stream->raw_at) % FD_POSITIONS;
    stream->raw_carry = carry + position / FD_POSITIONS;
    stream->raw_made = 0;
    stream->has_half = 0;
}

fd_place fd_stream_take(fd_stream *stream, fd_domain domain, intptr_t n)
{
    fd_cursor *cursor = &stream->cursor[domain];
    const fd_place place = {stream->key, domain, cursor->position, cursor->carry};
    const uint64_t end = place.position + (uint64_t)n;
    if (end / FD_BLOCK != place.position / FD_BLOCK)
        cursor->made = 0;
    cursor->position = end % FD_POSITIONS;
    cursor->carry += end / FD_POSITIONS;
    return place;
}

void fd_stream_read(fd_stream *reader, const fd_place *place, intptr_t n)
{
    reader->key = place->key;
    fd_stream_seek(reader, place->domain, place->position + (uint64_t)n, place->carry);
}

void fd_pending_start(fd_pending *pending, void *out, uint64_t first)
{
    pending->out = out;
    pending->first = first;
    pending->n = 0;
}


static void seed(const fd_stream_ops *ops, fd_lanes *lanes, fd_key key, fd_domain domain, uint64_t position)
{
    ops->seed(lanes, key, position / FD_BLOCK + FD_FIRST_BLOCK(domain), FD_CODE_BLOCK);
}

/* Lets the lanes go n_step steps on. */
static void skip(fd_lanes *lanes, const fd_stream_ops *ops, intptr_t n_step)
{
    uint64_t words[SKIP_STEPS * FD_LANES];
    for (; n_step > 0; n_step -= SKIP_STEPS)
        ops->words(lanes, fd_min(n_step, SKIP_STEPS), words);
}

/* Makes the buffer hold the present block from the cursor up to `end` at least. What lies before the cursor is
 * never read, and words alone cost a third of their normals; who seeks takes little, and gets nothing ahead. */
static void make(fd_stream *stream, fd_domain domain, const fd_stream_ops *ops, intptr_t end)
{
    fd_cursor *cursor = &stream->cursor[domain];
    fd_lanes *lanes = &stream->lanes[domain];
    const fd_key key = key_at(stream, cursor->carry);
    const uint64_t start = cursor->position - cursor->position % FD_BLOCK;
    if (cursor->made == 0)
        seed(ops, lanes, key, domain, start);
    if (end <= cursor->made)
        return;
    const intptr_t n_skip = ((intptr_t)(cursor->position - start) - cursor->made) / FD_LANES;
    if (n_skip > 0) {
        skip(lanes, ops, n_skip);
        cursor->made += n_skip * FD_LANES;
    }
    const intptr_t steps = (end - cursor->made + FD_LANES - 1) / FD_LANES + (n_skip > 0 ? 0 : AHEAD_STEPS);
    const intptr_t n_step = fd_min(steps, (FD_BLOCK - cursor->made) / FD_LANES);
    if (domain == FD_UNIFORM) {
        ops->uniforms_f64(lanes, n_step, cursor->number + cursor->made);
    } else {
        fd_pending pending;
        fd_pending_start(&pending, cursor->number, start);
        ops->normals_f64(lanes, key, start + (uint64_t)cursor->made, n_step, &pending);
        ops->settle_f64(key, &pending);
    }
    cursor->made += n_step * FD_LANES;
}

/* Makes the buffer hold the next word of the block at least, which may be another block by now. */
static void make_raw(fd_stream *stream)
{
    const fd_stream_ops *ops = fd_stream_ops_current();
    if (stream->raw_at == FD_BLOCK) {
        stream->raw_block += FD_BLOCK;
        stream->raw_carry += stream->raw_block / FD_POSITIONS;
        stream->raw_block %= FD_POSITIONS;
        stream->raw_at = stream->raw_made = 0;
    }
    if (stream->raw_made == 0)
        ops->seed(&stream->raw_lanes, key_at(stream, stream->raw_carry), stream->raw_block / FD_BLOCK, FD_CODE_RAW);
    const intptr_t steps = (stream->raw_at + 1 - stream->raw_made + FD_LANES - 1) / FD_LANES + AHEAD_STEPS;
    const intptr_t n_step = fd_min(steps, (FD_BLOCK - stream->raw_made) / FD_LANES);
    ops->words(&stream->raw_lanes, n_step, stream->raw + stream->raw_made);
    stream->raw_made += n_step * FD_LANES;
}

static void copy_f64(fd_domain domain, double *out, const double *from, intptr_t n)
{
    (void)domain;
    memcpy(out, from, (size_t)n * sizeof *out);
}

static void copy_f32(fd_domain domain, float *out, const double *from, intptr_t n)
{
    for (intptr_t i = 0; i < n; i++)
        out[i] = domain == FD_UNIFORM && from[i] > FD_BELOW_ONE ? (float)FD_BELOW_ONE : (float)from[i];
}

/* Whole blocks, as many as n numbers are and this key has positions for; and the next n numbers. */
#define FD_FILL(dtype, REAL)                                                                   \
    static intptr_t whole_##dtype(const fd_stream *stream, fd_domain domain, const fd_stream_ops *ops, intptr_t n, \
                                  REAL *out)                                                   \
    {                                                                                          \
        const fd_cursor *cursor = &stream->cursor[domain];                                     \
        const fd_key key = key_at(stream, cursor->carry);                                      \
        const uint64_t left = FD_POSITIONS - cursor->position;                                 \
        const intptr_t n_block = ((uint64_t)n < left ? n : (intptr_t)left) / FD_BLOCK;         \
        fd_pending pending;                                                                    \
        fd_pending_start(&pending, out, cursor->position);                                     \
        for (intptr_t k = 0; k < n_block; k++) {                                               \
            const uint64_t position = cursor->position + (uint64_t)(k * FD_BLOCK);             \
            fd_lanes lanes;                                                                    \
            seed(ops, &lanes, key, domain, position);                                          \
            if (domain == FD_UNIFORM)                                                          \
                ops->uniforms_##dtype(&lanes, FD_BLOCK_STEPS, out + k * FD_BLOCK);             \
            else                                                                               \
                ops->normals_##dtype(&lanes, key, position, FD_BLOCK_STEPS, &pending);         \
        }                                                                                      \
        ops->settle_##dtype(key, &pending);                                                    \
        return n_block * FD_BLOCK;                                                             \
    }                                                                                          \
                                                                                               \
    static inline void fill_##dtype(fd_stream *stream, fd_domain domain, intptr_t n, REAL *out) \
    {                                                                                          \
        const fd_stream_ops *ops = fd_stream_ops_current();                                    \
        fd_cursor *cursor = &stream->cursor[domain];                                           \
        while (n > 0) {                                                                        \
            const intptr_t at = (intptr_t)(cursor->position % FD_BLOCK);                       \
            intptr_t part = fd_min(n, FD_BLOCK - at);                                          \
            if (part == FD_BLOCK) {                                                            \
                part = whole_##dtype(stream, domain, ops, n, out);                             \
            } else {                                                                           \
                make(stream, domain, ops, at + part);                                          \
                copy_##dtype(domain, out, cursor->number + at, part);                          \
            }                                                                                  \
            fd_stream_take(stream, domain, part);                                              \
            out += part;                                                                       \
            n -= part;                                                                         \
        }                                                                                      \
    }                                                                                          \
                                                                                               \
    static void normal_##dtype(void *state, intptr_t n, void *out) { fill_##dtype(state, FD_NORMAL, n, out); } \
    static void uniform_##dtype(void *state, intptr_t n, void *out) { fill_##dtype(state, FD_UNIFORM, n, out); }

FD_FILL(f64, double)
FD_FILL(f32, float)
#undef FD_FILL

fd_noise fd_stream_noise(fd_stream *stream)
{
    return (fd_noise){stream, {{normal_f32, normal_f64}, {uniform_f32, uniform_f64}}};
}

static inline uint64_t next_raw(fd_stream *stream)
{
    if (stream->raw_at >= stream->raw_made)
        make_raw(stream);
    return stream->raw[stream->raw_at++];
}

uint64_t fd_stream_next_uint64(void *state) { return next_raw(state); }

/* The lower half, then the upper, as NumPy's own 64-bit generators. */
uint32_t fd_stream_next_uint32(void *state)
{
    fd_stream *stream = state;
    if (stream->has_half) {
        stream->has_half = 0;
        return stream->half;
    }
    const uint64_t word = next_raw(stream);
    stream->has_half = 1;
    stream->half = (uint32_t)(word >> 32);
    return (uint32_t)word;
}

double fd_stream_next_double(void *state)
{
    return (double)(next_raw(state) >> 11) * 0x1p-53;
}

/* What others call: whatever makes numbers does so under the default floating-point state. */
#define FD_PUBLIC_FILL(domain, NAME, dtype, REAL)                                       \
    static void fill_##domain##_##dtype(fd_stream *stream, intptr_t n, REAL *out)       \
    {                                                                                   \
        const fd_fpstate callers = fd_fpstate_enter();                                  \
        fill_##dtype(stream, NAME, n, out);                                             \
        fd_fpstate_leave(callers);                                                      \
    }

FD_PUBLIC_FILL(normal, FD_NORMAL, f64, double)
FD_PUBLIC_FILL(normal, FD_NORMAL, f32, float)
FD_PUBLIC_FILL(uniform, FD_UNIFORM, f64, double)
FD_PUBLIC_FILL(uniform, FD_UNIFORM, f32, float)
#undef FD_PUBLIC_FILL

/* The next number of a loop, for which all of its block is made: in portions it takes a fifth longer. */
static double next_of_block(fd_stream *stream, fd_domain domain)
{
    const fd_cursor *cursor = &stream->cursor[domain];
    const intptr_t at = (intptr_t)(cursor->position % FD_BLOCK);
    if (at >= cursor->made) {
        const fd_fpstate callers = fd_fpstate_enter();
        make(stream, domain, fd_stream_ops_current(), FD_BLOCK);
        fd_fpstate_leave(callers);
    }
    fd_stream_take(stream, domain, 1);
    return cursor->number[at];
}

static double next_normal(fd_stream *stream)
{
    double number;
    return fd_next_made(&stream->cursor[FD_NORMAL], &number) ? number : next_of_block(stream, FD_NORMAL);
}

static double next_uniform(fd_stream *stream)
{
    double number;
    return fd_next_made(&stream->cursor[FD_UNIFORM], &number) ? number : next_of_block(stream, FD_UNIFORM);
}

const fd_random_api fd_random_functions = {
    .version = FD_RANDOM_VERSION,
    .revision = FD_RANDOM_REVISION,
    .stream_size = sizeof(fd_stream),
    .start = fd_stream_start,
    .seek = fd_stream_seek,
    .take = fd_stream_take,
    .read = fd_stream_read,
    .fill_normal_f64 = fill_normal_f64,
    .fill_normal_f32 = fill_normal_f32,
    .fill_uniform_f64 = fill_uniform_f64,
    .fill_uniform_f32 = fill_uniform_f32,
    .next_normal = next_normal,
    .next_uniform = next_uniform,
};

const fd_stream_api fd_stream_functions = {
    fd_stream_seek_raw,
    fd_stream_noise,
    fd_stream_next_uint64,
    fd_stream_next_uint32,
    fd_stream_next_double,
    fd_philox,
};
