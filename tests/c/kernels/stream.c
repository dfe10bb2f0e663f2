/* tests/c/kernels/stream.c - seed, words, normals and uniforms of every target, in any portions, and the stream's hash. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

/* ---- blocks ---------------------------------------------------------------------------------- */

/* The stream's `what` (0 words, 1 and 2 normals, 3 and 4 uniforms, of float32 and float64) from `lanes` on, which move. */
static void make(const fd_stream_ops *ops, int what, fd_lanes *lanes, fd_key key, uint64_t first, intptr_t n_step,
                 void *out, fd_pending *pending)
{
    if (what == 0)
        ops->words(lanes, n_step, out);
    else if (what == 1)
        ops->normals_f32(lanes, key, first, n_step, pending);
    else if (what == 2)
        ops->normals_f64(lanes, key, first, n_step, pending);
    else if (what == 3)
        ops->uniforms_f32(lanes, n_step, out);
    else
        ops->uniforms_f64(lanes, n_step, out);
}

static int is_float(int what) { return what == 1 || what == 3; }

static void check_block(fd_key key, uint64_t block, intptr_t n_step)
{
    static const char *const names[5] = {"words", "normals_f32", "normals_f64", "uniforms_f32", "uniforms_f64"};
    static double normal[FD_BLOCK];
    fd_lanes start, scalar_end;
    for (int what = 0; what < 5; what++) {
        const size_t item = is_float(what) ? sizeof(float) : sizeof(double);
        const size_t size = (size_t)n_step * FD_LANES * item;
        const uint64_t first = block * FD_BLOCK;
        const int code = what == 0 ? FD_CODE_RAW : FD_CODE_BLOCK;
        now.what = names[what];
        now.dtype = is_float(what) ? FD_F32 : FD_F64;
        now.n = n_step;
        for (int target = 0; target < n_target; target++)
            for (int form = 0; form < n_form(target); form++) {
                use_form(target, form);
                const fd_stream_ops *ops = fd_stream_ops_current();
                fd_lanes lanes;
                ops->seed(&lanes, key, block, code);
                if (target == 0)
                    start = lanes;
                else if (memcmp(&start, &lanes, sizeof lanes) != 0)
                    fail("seed of block %" PRIx64, block);

                for (int pieces = 0; pieces < 2; pieces++) {
                    region *out = &arena[0];
                    fd_pending pending;
                    place(out, size, item, GUARD_WRITTEN);
                    fd_pending_start(&pending, out->p, first);
                    lanes = start;
                    now.way = pieces ? "in pieces" : "whole";
                    const intptr_t cut = pieces ? below(n_step + 1) : n_step;
                    make(ops, what, &lanes, key, first, cut, out->p, &pending);
                    check_upper_halves();
                    if (cut < n_step)
                        make(ops, what, &lanes, key, first + (uint64_t)(cut * FD_LANES), n_step - cut,
                             out->p + (size_t)cut * FD_LANES * item, &pending);
                    if (what == 1)
                        ops->settle_f32(key, &pending);
                    else if (what == 2)
                        ops->settle_f64(key, &pending);
                    check_upper_halves();
                    if (target == 0 && !pieces) {
                        memcpy(wanted[0], out->p, size);
                        scalar_end = lanes;
                    }
                    if (memcmp(wanted[0], out->p, size) != 0 || memcmp(&scalar_end, &lanes, sizeof lanes) != 0)
                        fail("other bits in block %" PRIx64, block);
                    for (const unsigned char *p = out->lower; p < out->upper; p++)
                        if ((p < out->p || p >= out->p + size) && *p != GUARD_WRITTEN) {
                            fail("written outside of the block");
                            break;
                        }
                }
            }
        n_case++;
        if (what == 1) { /* against float64 normals, rounded */
            use(0);
            fd_lanes lanes = start;
            fd_pending pending;
            fd_pending_start(&pending, normal, first);
            fd_stream_ops_current()->normals_f64(&lanes, key, first, n_step, &pending);
            fd_stream_ops_current()->settle_f64(key, &pending);
            for (intptr_t i = 0; i < n_step * FD_LANES; i++)
                if (((const float *)(const void *)wanted[0])[i] != (float)normal[i]) {
                    fail("a float32 normal is not the float64 one");
                    break;
                }
        }
    }
}

void check_stream(void)
{
    const uint64_t last = FD_POSITIONS / FD_BLOCK - 1;
    for (intptr_t trial = 0; trial < 2000; trial++) {
        random_state = (uint64_t)(1000 + trial) << 32;
        const fd_key key = random_key();
        const uint64_t block = one_in(4) ? last - (uint64_t)below(3) : random_word() % (last + 1);
        check_block(key, one_in(4) ? (uint64_t)trial : block, 1 + trial % FD_BLOCK_STEPS);
    }
}

/* ---- hash ------------------------------------------------------------------------------------ */

static const struct {
    intptr_t n_block;
    uint64_t hash;
} known[] = {{1024, 0x6b7c1f22f36a051c}, {100000, 0xed8b6edfadd47476}};

/* float64 normals, float32 normals and raw words of one key, read in portions of any size. */
static uint64_t hash_stream(intptr_t n_block)
{
    enum { AT_ONCE = 16 * FD_BLOCK };
    static union {
        double f64[AT_ONCE];
        float f32[AT_ONCE];
        uint64_t word[AT_ONCE];
    } buffer;
    static fd_stream stream;
    const fd_noise noise = fd_stream_noise(&stream);
    const fd_key key = {{0x0123456789abcdef, 0xfedcba9876543210}};
    uint64_t hash = hash_start;
    for (int what = 0; what < 3; what++) {
        fd_stream_start(&stream, key);
        for (intptr_t left = n_block * FD_BLOCK, n; left > 0; left -= n) {
            n = left < AT_ONCE ? left : AT_ONCE;
            intptr_t done = 0;
            while (done < n) {
                const intptr_t any = 1 + below(4 * FD_BLOCK), portion = any < n - done ? any : n - done;
                if (what == 0)
                    noise.fill[FD_NORMAL][FD_F64](&stream, portion, buffer.f64 + done);
                else if (what == 1)
                    noise.fill[FD_NORMAL][FD_F32](&stream, portion, buffer.f32 + done);
                else
                    for (intptr_t i = 0; i < portion; i++)
                        buffer.word[done + i] = fd_stream_next_uint64(&stream);
                done += portion;
            }
            for (intptr_t i = 0; i < n / (what == 1 ? 2 : 1); i++) /* blocks are even: floats in pairs */
                hash = hash_word(hash, buffer.word[i]);
        }
    }
    return hash;
}

void check_hash(intptr_t n_block)
{
    uint64_t scalar = 0;
    now.what = "stream";
    now.n = n_block;
    now.way = "by blocks";
    random_state = 3000;
    for (int target = 0; target < n_target; target++)
        for (int form = 0; form < n_form(target); form++) {
            use_form(target, form);
            const uint64_t hash = hash_stream(n_block);
            if (target == 0)
                scalar = hash;
            if (hash != scalar)
                fail("hash %016" PRIx64 ", scalar has %016" PRIx64, hash, scalar);
            for (size_t i = 0; i < sizeof known / sizeof *known; i++)
                if (known[i].n_block == n_block && known[i].hash != hash)
                    fail("hash %016" PRIx64 ", known is %016" PRIx64, hash, known[i].hash);
        }
    printf("hash of %jd blocks %016" PRIx64 ", of kernels %016" PRIx64 "\n", (intmax_t)n_block, scalar, kernels_hash);
}
