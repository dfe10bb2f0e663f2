/* tests/c/kernels/draws.c - draws, tile by tile, against noise and colour done one after the other. */
#include <string.h>

#include "check.h"

/* Tile by tile and in pieces, on any target, against noise and colour one after the other. */
static void check_draw(fd_draw *fill, fd_op op, fd_dtype dtype, intptr_t n_sample, intptr_t n_batch, intptr_t dim)
{
    static fd_stream stream;
    const fd_key key = random_key();
    const int events = fill == fd_draw_events, noise_only = fill == fd_draw_noise;
    const intptr_t n_event = n_sample * n_batch, n = n_event * dim;
    const size_t size = (size_t)n * itemsize[dtype];
    const char *letters = fd_op_operands(op);
    const fd_domain domain = noise_only && one_in(2) ? FD_UNIFORM : FD_NORMAL;
    const fd_noise noise = fd_stream_noise(&stream);

    /* Samples and batch; loc and scale or factor have the batch dim, or not even that. */
    fd_loop loop = {.ndim = 2, .dim = dim, .shape = {n_sample, n_batch}};
    set_strides(&loop, 0, events ? dim : 1, 0, 0);
    for (int k = 1; k < 3; k++) {
        const intptr_t core = core_of(op, k, dtype, dim);
        const unsigned repeat = 1u | (one_in(2) ? 2u : 0u);
        set_strides(&loop, k, core, repeat, 0);
        place(&arena[k], (size_t)(core * n_batch) * itemsize[dtype], itemsize[dtype], GUARD_READ);
        loop.operand[k] = arena[k].p;
        for (intptr_t i = 0; i < n_distinct(&loop, k); i++)
            put_item(letters[k], dtype, arena[k].p + (size_t)(i * core) * itemsize[dtype], dim, core, TAME);
    }
    now.what = events ? fd_op_name(op) : noise_only ? "draw of noise" : "draw of elements";
    now.dtype = dtype;
    now.loop = &loop;
    now.n = n_event;

    use(0);
    fd_stream_start(&stream, key);
    loop.operand[0] = wanted[0];
    noise.fill[domain][dtype](&stream, n, wanted[0]);
    place(&arena[3], FD_SCRATCH_BYTES * (size_t)dim, 64, GUARD_WRITTEN);
    loop.operand[3] = arena[3].p;
    if (!noise_only)
        fd_lookup(op, dtype)(&loop, 0, n_event);

    for (int target = 0; target < n_target; target++) {
        use(target);
        for (int pieces = 0; pieces < 2; pieces++) {
            place(&arena[0], size, itemsize[dtype], GUARD_WRITTEN);
            loop.operand[0] = arena[0].p;
            now.way = pieces ? "in pieces" : "whole";
            fd_drawing drawing = {loop, fd_lookup(op, dtype), dtype, domain, n_batch, events ? dim : 1, NULL, 0, 0};
            if (events) { /* the batch dims only */
                drawing.loop.ndim = 1;
                drawing.loop.shape[0] = n_batch;
                for (int k = 0; k < 3; k++)
                    drawing.loop.stride[k][0] = loop.stride[k][1];
            }
            const intptr_t cut = pieces ? below(n_event + 1) : n_event;
            fd_stream_start(&stream, key);
            fill(&drawing, &noise, arena[3].p, 0, cut);
            fill(&drawing, &noise, arena[3].p, cut, n_event);
            if (memcmp(arena[0].p, wanted[0], size) != 0)
                fail("a draw is not noise, then colour");
            for (const unsigned char *p = arena[0].lower; p < arena[0].upper; p++)
                if ((p < arena[0].p || p >= arena[0].p + size) && *p != GUARD_WRITTEN) {
                    fail("written outside of the draw");
                    break;
                }
        }
    }
    n_case++;
    now.loop = NULL;
}

void check_draws(void)
{
    for (int trial = 0; trial < 400; trial++) {
        random_state = (uint64_t)(5000 + trial) << 32;
        const fd_dtype dtype = trial % 2 ? FD_F64 : FD_F32;
        const intptr_t n_sample = 1 + below(one_in(4) ? 300 : 20), n_batch = 1 + below(one_in(4) ? 60 : 6);
        const intptr_t dim = 1 + below(one_in(16) ? 100 : 12);
        check_draw(fd_draw_noise, FD_colorize_diag, dtype, n_sample, n_batch, 1);
        check_draw(fd_draw_elements, FD_colorize_diag, dtype, n_sample, n_batch, 1);
        if (n_sample * n_batch * dim < 1 << 17)
            check_draw(fd_draw_events, trial % 3 ? FD_multiply_tril : FD_solve_tril, dtype, n_sample, n_batch, dim);
        if (trial < 8) /* some samples of a large batch together, and one left */
            check_draw(fd_draw_events, trial % 3 ? FD_multiply_tril : FD_solve_tril, dtype, trial < 4 ? 13 : 9,
                       trial < 4 ? 100 : 1200, trial < 4 ? 100 : 9);
    }
}
