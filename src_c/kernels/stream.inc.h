/* kernels/stream.inc.h - the blocks of BlockSFC64 (stream.h tells the scheme): Philox seeds, SFC64
 * words, ziggurat normals. Included once an ISA; integers and exact float operations only, so
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
        u64v_store(lanes->counter + i, high);
    }
}

/* SFC64, n_step words of each lane. Its chain of dependent operations leaves room for more work:
 * `index` (a literal NULL or not) also gets the words' ziggurat layers. */
FD_INLINE void FD_STREAM(run_lanes)(fd_lanes *lanes, intptr_t n_step, uint64_t *out, uint64_t *index)
{
    enum { GROUP = u64v_group, WIDTH = u64v_lanes };
    const u64v one = u64v_set1(1), layer_mask = u64v_set1(FD_ZIGGURAT_LAYERS - 1);
    for (int first = 0; first < FD_LANES; first += GROUP * WIDTH) {
        u64v a[GROUP], b[GROUP], c[GROUP], counter[GROUP];
        for (int g = 0; g < GROUP; g++) {
            const int i = first + g * WIDTH;
            a[g] = u64v_load(lanes->a + i);
            b[g] = u64v_load(lanes->b + i);
            c[g] = u64v_load(lanes->c + i);
            counter[g] = u64v_load(lanes->counter + i);
        }
        for (intptr_t step = 0; step < n_step; step++)
            for (int g = 0; g < GROUP; g++) {
                const intptr_t at = step * FD_LANES + first + g * WIDTH;
                const u64v word = u64v_add(u64v_add(a[g], b[g]), counter[g]);
                counter[g] = u64v_add(counter[g], one);
                a[g] = u64v_xor(b[g], u64v_srl(b[g], 11));
                b[g] = u64v_add(c[g], u64v_sll(c[g], 3));
                c[g] = u64v_add(u64v_rotl24(c[g]), word);
                u64v_store(out + at, word);
                if (index)
                    u64v_store(index + at, u64v_and(word, layer_mask));
            }
        for (int g = 0; g < GROUP; g++) {
            const int i = first + g * WIDTH;
            u64v_store(lanes->a + i, a[g]);
            u64v_store(lanes->b + i, b[g]);
            u64v_store(lanes->c + i, c[g]);
            u64v_store(lanes->counter + i, counter[g]);
        }
    }
}

static void FD_STREAM(words)(fd_lanes *lanes, intptr_t n_step, uint64_t *out)
{
    FD_STREAM(run_lanes)(lanes, n_step, out, NULL);
}

/* The wedges and redraws of up to `lanes` rejections at once, which settles 98.5 % of them; sets
 * `settled`, a mask. Candidate k is x[k] of layer[k], its side draw 0 is low[k], high[k]. */
FD_INLINE f64v FD_STREAM(wedges)(fd_key key, const uint64_t *position, const uint64_t *word, unsigned *settled)
{
    const u64v w = u64v_load(word), layer_mask = u64v_set1(FD_ZIGGURAT_LAYERS - 1);
    uint64_t index[u64v_lanes];
    u64v low, high;
    f64v edge, next, f0, f1;
    const u64v counter = u64v_or(u64v_sll(u64v_load(position), FD_CODE_BITS), u64v_set1(FD_CODE_SIDE));
    FD_STREAM(philox)(key, counter, &low, &high);

    u64v_store(index, u64v_and(w, layer_mask));
    f64v_lookup(fd_ziggurat_x, index, &edge, &next);
    f64v_lookup(fd_ziggurat_f, index, &f0, &f1);
    const f64v x = f64v_mul(FD_STREAM(signed_unit)(w), edge);
    const f64v y = f64v_add(f0, f64v_mul(FD_STREAM(unit)(low), f64v_sub(f1, f0)));
    unsigned base = 0;
    for (int k = 0; k < u64v_lanes; k++)
        base |= (unsigned)(index[k] == 0) << k;
    const unsigned under = f64v_below(f64v_abs(y), FD_STREAM(gauss)(x)) & ~base;

    u64v_store(index, u64v_and(high, layer_mask));
    f64v_lookup(fd_ziggurat_x, index, &edge, &next);
    const f64v redrawn = f64v_mul(FD_STREAM(signed_unit)(high), edge);
    *settled = under | (f64v_below(f64v_abs(redrawn), next) & ~base);
    return f64v_select(under, x, redrawn);
}

/* The bits of n_step bytes, each a step's lanes, as a list of positions. To branch on them in the
 * main loop would cost a quarter of its time: each misprediction throws away what the CPU has
 * begun of the next hundred normals. Of 64 positions two at most are set (but for 0.3 %).
 *
 * Inline, for gcc takes a call for something that leaves the upper halves of vectors clean: without
 * rejections it would return without vzeroupper, and all SSE code after it run at half its speed. */
FD_INLINE int FD_STREAM(positions)(const unsigned char *outside, intptr_t n_step, uint16_t *list)
{
    int n = 0;
    for (intptr_t step = 0; step < n_step; step += 8) {
        uint64_t bits = 0;
        for (int k = 0; k < 8; k++)
            bits |= (uint64_t)outside[step + k] << (8 * k);
        for (int k = 0; k < 2; k++) {
            list[n] = (uint16_t)(step * FD_LANES + fd_lowest_bit(bits | (uint64_t)1 << 63));
            n += bits != 0;
            bits &= bits - 1;
        }
        while (FD_UNLIKELY(bits)) {
            list[n++] = (uint16_t)(step * FD_LANES + fd_lowest_bit(bits));
            bits &= bits - 1;
        }
    }
    return n;
}

/* Words and their layers, then normals, a chunk at a time that stays in the cache. Nearly all are
 * inside their layer's rectangle under the curve (99.57 %); the others are marked, and finished at
 * the end: most by wedges(), the rest one by one.
 *
 * The memory of the numbers FD_AHEAD positions later is asked for in advance: a large array is not
 * in the nearer caches, and waiting for its lines would cost a fifth of the time. */
enum { FD_CHUNK_STEPS = 64, FD_AHEAD = 1024 };

#define FD_NORMALS(dtype, REAL, STORE)                                                         \
    static void FD_STREAM(normals_##dtype)(fd_lanes *lanes, fd_key key, uint64_t first,        \
                                           intptr_t n_step, REAL *out)                         \
    {                                                                                          \
        enum { WIDTH = u64v_lanes, ALL = (1 << WIDTH) - 1 };                                   \
        _Alignas(64) uint64_t words[FD_BLOCK];                                                 \
        unsigned char outside[FD_BLOCK_STEPS + 8];                                             \
        uint16_t rejected[FD_BLOCK + 2];                                                       \
        for (intptr_t done = 0; done < n_step; done += FD_CHUNK_STEPS) {                       \
            _Alignas(64) uint64_t index[FD_CHUNK_STEPS * FD_LANES];                            \
            const intptr_t end = fd_min(done + FD_CHUNK_STEPS, n_step);                        \
            FD_STREAM(run_lanes)(lanes, end - done, words + done * FD_LANES, index);           \
            for (intptr_t step = done; step < end; step++) {                                   \
                unsigned mask = 0;                                                             \
                fd_prefetch_write((uintptr_t)(out + step * FD_LANES) + FD_AHEAD * sizeof(REAL)); \
                for (int i = 0; i < FD_LANES; i += WIDTH) {                                    \
                    const intptr_t at = step * FD_LANES + i;                                   \
                    f64v edge, next;                                                           \
                    f64v_lookup(fd_ziggurat_x, index + at - done * FD_LANES, &edge, &next);    \
                    const f64v x = f64v_mul(FD_STREAM(signed_unit)(u64v_load(words + at)), edge); \
                    STORE(out + at, x);                                                        \
                    mask |= (~f64v_below(f64v_abs(x), next) & ALL) << i;                             \
                }                                                                              \
                outside[step] = (unsigned char)mask;                                           \
            }                                                                                  \
        }                                                                                      \
        memset(outside + n_step, 0, 8);                                                        \
        const int n_rejected = FD_STREAM(positions)(outside, n_step, rejected);                \
        for (int from = 0; from < n_rejected; from += WIDTH) {                                 \
            uint64_t position[WIDTH], word[WIDTH];                                             \
            double x[WIDTH];                                                                   \
            unsigned settled;                                                                  \
            for (int k = 0; k < WIDTH; k++) { /* the last one again fills up the vector */     \
                const int j = rejected[from + k < n_rejected ? from + k : n_rejected - 1];     \
                position[k] = first + (uint64_t)j;                                             \
                word[k] = words[j];                                                            \
            }                                                                                  \
            f64v_store(x, FD_STREAM(wedges)(key, position, word, &settled));                   \
            for (int k = 0; k < WIDTH && from + k < n_rejected; k++)                           \
                out[rejected[from + k]] =                                                      \
                    (REAL)(settled >> k & 1 ? x[k] : fd_ziggurat_finish(key, position[k], word[k])); \
        }                                                                                      \
    }

FD_NORMALS(f64, double, f64v_store)
FD_NORMALS(f32, float, f64v_store_f32)
#undef FD_NORMALS
