/* kernels/stream.inc.h - the blocks of BlockSFC64 (stream.h tells the scheme): Philox seeds, SFC64
 * words, uniforms, ziggurat normals. Included once an ISA; integers and exact float operations only, so
 * that every row makes the same bits. */

#include "ziggurat.inc.h"

static void FD_STREAM(seed)(fd_lanes *lanes, fd_key key, uint64_t block, int code)
{
    static const uint64_t lane[FD_LANES] = {0, 1, 2, 3, 4, 5, 6, 7};
    const u64v base = u64v_set1(block << FD_CODE_BITS | (uint64_t)code);
    for (int i = 0; i < FD_LANES; i += u64v_lanes) {
        const u64v half0 = u64v_add(base, u64v_sll(u64v_load(lane + i), 1));
        u64v low, high;
        FD_STREAM(philox)(key, half0, &low, &high);
        u64v_store(lanes->a + i, low);
        u64v_store(lanes->b + i, high);
        FD_STREAM(philox)(key, u64v_add(half0, u64v_set1(1)), &low, &high);
        u64v_store(lanes->c + i, low);
    }
    lanes->step = 0;
}

/* The counter of all lanes at each step: a load that every ISA can broadcast on the way costs less
 * than counting in vectors. */
#define FD_COUNT_8(k) k, k + 1, k + 2, k + 3, k + 4, k + 5, k + 6, k + 7
#define FD_COUNT_32(k) FD_COUNT_8(k), FD_COUNT_8(k + 8), FD_COUNT_8(k + 16), FD_COUNT_8(k + 24)
static const uint64_t FD_STREAM(counter)[FD_BLOCK_STEPS] = {FD_COUNT_32(1), FD_COUNT_32(33), FD_COUNT_32(65),
                                                            FD_COUNT_32(97)};

/* So many vectors of lanes as a loop over steps keeps in registers. */
typedef struct FD_STREAM(state) {
    u64v a[u64v_group], b[u64v_group], c[u64v_group];
} FD_STREAM(state);
enum { FD_STREAM(at_once) = u64v_group * u64v_lanes };

FD_INLINE FD_STREAM(state) FD_STREAM(load_state)(const fd_lanes *lanes, int first)
{
    FD_STREAM(state) state;
    for (int g = 0; g < u64v_group; g++) {
        state.a[g] = u64v_load(lanes->a + first + g * u64v_lanes);
        state.b[g] = u64v_load(lanes->b + first + g * u64v_lanes);
        state.c[g] = u64v_load(lanes->c + first + g * u64v_lanes);
    }
    return state;
}

FD_INLINE void FD_STREAM(store_state)(fd_lanes *lanes, int first, FD_STREAM(state) state)
{
    for (int g = 0; g < u64v_group; g++) {
        u64v_store(lanes->a + first + g * u64v_lanes, state.a[g]);
        u64v_store(lanes->b + first + g * u64v_lanes, state.b[g]);
        u64v_store(lanes->c + first + g * u64v_lanes, state.c[g]);
    }
}

/* SFC64: the next word of each lane of vector g. */
FD_INLINE u64v FD_STREAM(next)(FD_STREAM(state) *state, int g, uint64_t counter)
{
    const u64v a = state->a[g], b = state->b[g], c = state->c[g];
    const u64v word = u64v_add(u64v_add(a, b), u64v_set1(counter));
    state->a[g] = u64v_xor(b, u64v_srl(b, 11));
    state->b[g] = u64v_add(c, u64v_sll(c, 3));
    state->c[g] = u64v_add(u64v_rotl24(c), word);
    return word;
}

static void FD_STREAM(words)(fd_lanes *lanes, intptr_t n_step, uint64_t *out)
{
    for (int first = 0; first < FD_LANES; first += FD_STREAM(at_once)) {
        FD_STREAM(state) state = FD_STREAM(load_state)(lanes, first);
        for (intptr_t step = 0; step < n_step; step++)
            for (int g = 0; g < u64v_group; g++)
                u64v_store(out + step * FD_LANES + first + g * u64v_lanes,
                           FD_STREAM(next)(&state, g, FD_STREAM(counter)[lanes->step + step]));
        FD_STREAM(store_state)(lanes, first, state);
    }
    lanes->step += n_step;
}

/* (k + 1/2) 2^-52 with k the upper 52 bits of a word, exactly: open at both ends. Of floats, which are these rounded,
 * the largest is 1 - 2^-24. */
FD_INLINE f64v FD_STREAM(open_unit)(int is_float, u64v word)
{
    const u64v bits = u64v_or(u64v_srl(word, 12), u64v_set1(0x3ff0000000000000));
    const f64v u = f64v_sub(f64v_from_bits(bits), f64v_set1(1 - 0x1p-53)), most = f64v_set1(FD_BELOW_ONE);
    return is_float ? f64v_select(f64v_below(u, most), u, most) : u;
}

#define FD_UNIFORMS(dtype, REAL, is_float, STORE)                                              \
    static void FD_STREAM(uniforms_##dtype)(fd_lanes *lanes, intptr_t n_step, REAL *out)       \
    {                                                                                          \
        for (int first = 0; first < FD_LANES; first += FD_STREAM(at_once)) {                   \
            FD_STREAM(state) state = FD_STREAM(load_state)(lanes, first);                      \
            for (intptr_t step = 0; step < n_step; step++)                                     \
                for (int g = 0; g < u64v_group; g++) {                                         \
                    const u64v word = FD_STREAM(next)(&state, g, FD_STREAM(counter)[lanes->step + step]); \
                    STORE(out + step * FD_LANES + first + g * u64v_lanes, FD_STREAM(open_unit)(is_float, word)); \
                }                                                                              \
            FD_STREAM(store_state)(lanes, first, state);                                       \
        }                                                                                      \
        lanes->step += n_step;                                                                 \
    }

FD_UNIFORMS(f64, double, 0, f64v_store)
FD_UNIFORMS(f32, float, 1, f64v_store_f32)
#undef FD_UNIFORMS

/* The next side draw of the pending normals from `from` on, a vector of them: sets their wedges and points, returns
 * the mask of points under the curve, nine in ten. Lanes beyond the last one do anything. */
FD_INLINE uint64_t FD_STREAM(draw_side)(int gather, fd_key key, const fd_pending *pending, int from, uint64_t *wedge,
                                        double *x)
{
    const u64v word = u64v_load(pending->word + from), draw = u64v_load(pending->draw + from);
    const u64v position = u64v_sll(u64v_load(pending->position + from), FD_CODE_BITS);
    u64v low, high;
    f64v point;
    FD_STREAM(philox)(key, u64v_add(position, u64v_add(draw, u64v_set1(FD_CODE_SIDE))), &low, &high);
    u64v_store(wedge, low);
    for (int k = 0; k < u64v_lanes; k++) {
        const uint64_t picked = fd_ziggurat_wedge(wedge[k], fd_ziggurat_alias);
        wedge[k] = from + k < pending->n && pending->draw[from + k] > 0 ? pending->wedge[from + k] : picked;
    }
    const unsigned later = u64v_below(u64v_set1(0), draw);
    const f64v u = f64v_select(later, FD_STREAM(unit)(low), FD_STREAM(unit)(word));
    const unsigned hit = FD_STREAM(in_wedge)(gather, u64v_load(wedge), u, FD_STREAM(unit)(high), &point);
    f64v_store(x, FD_STREAM(with_sign)(point, word));
    return hit;
}

/* The next side draw of all that is pending. The vectors come first, one independent of the other, and then what
 * is done with each result. FD_SIDE_DRAWS misses in a row do not happen.
 *
 * Inline, for gcc takes a call for something that leaves the upper halves of vectors clean: without
 * any it would return without vzeroupper, and all SSE code after it run at half its speed. */
#define FD_SETTLE(form, gather, dtype, REAL)                                                   \
    FD_INLINE void FD_STREAM(draw_all_##form##dtype)(fd_key key, fd_pending *pending)          \
    {                                                                                          \
        uint64_t wedge[FD_PENDING];                                                            \
        double x[FD_PENDING];                                                                  \
        uint64_t hit[FD_PENDING / 64] = {0};                                                   \
        for (int from = 0; from < pending->n; from += u64v_lanes)                              \
            hit[from / 64] |= FD_STREAM(draw_side)(gather, key, pending, from, wedge + from, x + from) << from % 64; \
        int n = 0;                                                                             \
        for (int k = 0; k < pending->n; k++) {                                                 \
            REAL *const place = (REAL *)pending->out + (pending->position[k] - pending->first); \
            *place = (REAL)x[k];                                                               \
            if (FD_UNLIKELY(wedge[k] == FD_ZIGGURAT_TAIL)) {                                   \
                const double tail = fd_ziggurat_tail(key, pending->position[k]);               \
                *place = (REAL)(pending->word[k] >> 53 & 1 ? -tail : tail);                    \
                continue;                                                                      \
            }                                                                                  \
            pending->position[n] = pending->position[k];                                       \
            pending->word[n] = pending->word[k];                                               \
            pending->draw[n] = pending->draw[k] + 1;                                           \
            pending->wedge[n] = wedge[k];                                                      \
            n += !(hit[k / 64] >> k % 64 & 1);                                                 \
        }                                                                                      \
        pending->n = n;                                                                        \
    }                                                                                          \
    static void FD_STREAM(settle_##form##dtype)(fd_key key, fd_pending *pending)               \
    {                                                                                          \
        while (pending->n > 0)                                                                 \
            FD_STREAM(draw_all_##form##dtype)(key, pending);                                   \
    }

/* All but 0.3 % of the words have a layer, whose width they scale. The others are marked, a bit in a byte for each
 * step, and noted as pending afterwards: to branch on them in the main loop would cost a quarter of its time,
 * for each misprediction throws away what the CPU has begun of the next hundred normals. Of 64 one at most is
 * marked, but for 1.5 %.
 *
 * The memory of the numbers FD_AHEAD positions later is asked for in advance: a large array is not
 * in the nearer caches, and waiting for its lines would cost a fifth of the time. */
enum { FD_AHEAD = 1024 };

#define FD_NORMALS(form, gather, dtype, REAL, STORE)                                           \
    FD_SETTLE(form, gather, dtype, REAL)                                                       \
    static void FD_STREAM(normals_##form##dtype)(fd_lanes *lanes, fd_key key, uint64_t position, intptr_t n_step, \
                                                 fd_pending *pending)                          \
    {                                                                                          \
        REAL *out = (REAL *)pending->out + (position - pending->first);                        \
        _Alignas(64) uint64_t words[FD_BLOCK];                                                 \
        unsigned char outside[FD_BLOCK_STEPS + 8];                                             \
        const uint64_t *counter = FD_STREAM(counter) + lanes->step;                            \
        for (int first = 0; first < FD_LANES; first += FD_STREAM(at_once)) {                   \
            FD_STREAM(state) state = FD_STREAM(load_state)(lanes, first);                      \
            for (intptr_t step = 0; step < n_step; step++) {                                   \
                unsigned mask = 0;                                                             \
                fd_prefetch_write((uintptr_t)(out + step * FD_LANES) + FD_AHEAD * sizeof(REAL)); \
                for (int g = 0; g < u64v_group; g++) {                                         \
                    const int lane = first + g * u64v_lanes;                                   \
                    const u64v word = FD_STREAM(next)(&state, g, counter[step]);               \
                    const u64v layer = FD_STREAM(layer)(word);                                 \
                    const f64v width = f64v_lookup(gather, fd_ziggurat_x, layer);              \
                    u64v_store(words + step * FD_LANES + lane, word);                          \
                    STORE(out + step * FD_LANES + lane, f64v_mul(FD_STREAM(signed_unit)(word), width)); \
                    mask |= u64v_below(layer, u64v_set1(FD_ZIGGURAT_OUTSIDE)) << lane;         \
                }                                                                              \
                outside[step] = (unsigned char)(first == 0 ? mask : outside[step] | mask);     \
            }                                                                                  \
            FD_STREAM(store_state)(lanes, first, state);                                       \
        }                                                                                      \
        lanes->step += n_step;                                                                 \
        memset(outside + n_step, 0, 8);                                                        \
        for (intptr_t step = 0; step < n_step; step += 8) {                                    \
            uint64_t marked = fd_little_endian(outside + step);                                \
            int n = pending->n;                                                                \
            do {                                                                               \
                const intptr_t at = step * FD_LANES + fd_lowest_bit(marked | (uint64_t)1 << 63); \
                pending->position[n] = position + (uint64_t)at;                                \
                pending->word[n] = words[at];                                                  \
                pending->draw[n] = 0;                                                          \
                n += marked != 0;                                                              \
                marked &= marked - 1;                                                          \
            } while (FD_UNLIKELY(marked));                                                     \
            pending->n = n;                                                                    \
            while (FD_UNLIKELY(pending->n >= FD_PENDING_MANY))                                 \
                FD_STREAM(draw_all_##form##dtype)(key, pending);                               \
        }                                                                                      \
    }

#define FD_STREAM_OPS(form, gather)                                                            \
    FD_NORMALS(form, gather, f64, double, f64v_store)                                          \
    FD_NORMALS(form, gather, f32, float, f64v_store_f32)                                       \
    static const fd_stream_ops FD_STREAM(form##stream) = {                                     \
        FD_STREAM(seed),                                                                       \
        FD_STREAM(words),                                                                      \
        FD_STREAM(normals_##form##f64),                                                        \
        FD_STREAM(normals_##form##f32),                                                        \
        FD_STREAM(settle_##form##f64),                                                         \
        FD_STREAM(settle_##form##f32),                                                         \
        FD_STREAM(uniforms_f64),                                                               \
        FD_STREAM(uniforms_f32),                                                               \
    };

FD_STREAM_OPS(, 0)
#ifdef FD_VEC_GATHER
FD_STREAM_OPS(gather_, 1)
#define FD_STREAM_GATHER &FD_STREAM(gather_stream)
#else
#define FD_STREAM_GATHER &FD_STREAM(stream)
#endif
#undef FD_STREAM_OPS
#undef FD_NORMALS
#undef FD_SETTLE
