/* tests/c/kernels/blocked.c - large matrices by blocks: every operation on every target, by one worker and by several,
 * against the scalar one by one. */
#include <math.h>
#include <string.h>

#include "../../../src_c/blocked.h"
#include "check.h"

static fd_blocked job;

/* One operation, in the memory of the arenas; what was found. */
static int run(fd_blocked_op op, fd_dtype dtype, intptr_t dim, int check_symmetry, int n_worker)
{
    fd_blocked_start(&job, op, dtype, dim, arena[0].p, arena[1].p, arena[2].p, check_symmetry, n_worker);
    while (fd_blocked_work(&job))
        ;
    return job.found;
}

static void check_guards(const region *r, size_t size, const char *what)
{
    for (const unsigned char *p = r->lower; p < r->upper; p++)
        if ((p < r->p || p >= r->p + size) && *p != GUARD_WRITTEN) {
            fail("written outside of the %s", what);
            return;
        }
}

/* On all targets from what is in the first arena; the result is then in `wanted`. */
static int check_op(const char *name, fd_blocked_op op, fd_dtype dtype, intptr_t dim, int check_symmetry)
{
    const int gives_panels = op <= FD_INVERSE_PANELS;
    const intptr_t n = gives_panels ? fd_panels_size(dim, FD_PANEL_BYTES / (intptr_t)itemsize[dtype]) : dim * dim;
    const size_t size = (size_t)n * itemsize[dtype], scratch = (size_t)fd_blocked_scratch(op, dtype, dim);
    int found = 0;
    now.what = name;
    now.dtype = dtype;
    now.n = dim;
    n_case++;
    for (int target = 0; target < n_target; target++)
        for (int n_worker = 1; n_worker <= 3; n_worker += 2) {
            use(target);
            now.way = n_worker == 1 ? "by one worker" : "by several";
            place(&arena[1], size, itemsize[dtype], GUARD_WRITTEN);
            place(&arena[2], scratch, 64, GUARD_WRITTEN);
            const int here = run(op, dtype, dim, check_symmetry, n_worker);
            check_upper_halves();
            check_guards(&arena[1], size, "result");
            check_guards(&arena[2], scratch, "scratch");
            if (target == 0 && n_worker == 1) {
                found = here;
                memcpy(wanted[0], arena[1].p, size);
                kernels_hash = hash_word(kernels_hash, (uint64_t)found);
                for (intptr_t i = 0; i < n && !found; i++) {
                    const double value = get(dtype, wanted[0], i);
                    uint64_t bits;
                    memcpy(&bits, &value, sizeof bits);
                    kernels_hash = hash_word(kernels_hash, bits);
                }
            } else if (here != found)
                fail("found %d, not %d", here, found);
            else if (!found && memcmp(wanted[0], arena[1].p, size) != 0)
                fail("other bits");
        }
    return found;
}

/* Whatever was made becomes what the next one takes. */
static void pass_on(fd_dtype dtype, intptr_t n)
{
    const size_t size = (size_t)n * itemsize[dtype];
    place(&arena[0], size, itemsize[dtype], GUARD_READ);
    memcpy(arena[0].p, wanted[0], size);
}

static void check_dim(fd_dtype dtype, intptr_t dim, int wild)
{
    const intptr_t n = dim * dim, n_panels = fd_panels_size(dim, FD_PANEL_BYTES / (intptr_t)itemsize[dtype]);
    place(&arena[0], (size_t)n * itemsize[dtype], itemsize[dtype], GUARD_READ);
    for (intptr_t i = 0; i < dim; i++)
        for (intptr_t j = 0; j <= i; j++) {
            const double a = uniform(-1, 1) + (i == j ? (double)dim : 0);
            put(dtype, arena[0].p, i * dim + j, a);
            put(dtype, arena[0].p, j * dim + i, a);
        }
    const intptr_t i = below(dim), j = below(dim);
    if (wild == SPARSE)
        put_worst(dtype, arena[0].p, i * dim + j, wild);
    if (wild == DENSE)
        put(dtype, arena[0].p, i * dim + i, uniform(-1, 1) * (double)dim);
    if (wild == TINY) /* from what rounding leaves on */
        put(dtype, arena[0].p, i * dim + j,
            get(dtype, arena[0].p, i * dim + j) * (1 + uniform(-1, 1) / (double)((uint64_t)1 << below(30))));
    now.wild = wild;
    const int reverse = one_in(2), found =
        check_op(reverse ? "reverse_cholesky by blocks" : "cholesky by blocks",
                 reverse ? FD_REVERSE_CHOLESKY : FD_CHOLESKY, dtype, dim, one_in(2) || wild == TINY);
    if (found & FD_SINGULAR)
        return;
    if (!found && !wild && (!(get(dtype, wanted[0], 0) > 0) || !isfinite(get(dtype, wanted[0], n_panels - 1))))
        fail("no factor");
    if (found)
        return;
    pass_on(dtype, n_panels);
    check_op("product by blocks", FD_PRODUCT, dtype, dim, 0);
    check_op("transposed product by blocks", FD_PRODUCT_T, dtype, dim, 0);
    check_op("inverse product by blocks", FD_PRODUCT_INVERSE, dtype, dim, 0);
    check_op("inverse by blocks", FD_INVERSE_PANELS, dtype, dim, 0);
}

void check_blocked(void)
{
    /* Around vectors, panels, chunks; then some with several chunks, and work for several. */
    static const intptr_t sizes[] = {1,  2,  7,  8,  9,   15,  16,  17,  31,  32, 33,
                                     63, 64, 65, 95, 127, 128, 129, 200, 257, 400};
    for (int s = 0; s < (int)(sizeof sizes / sizeof *sizes); s++)
        for (int dtype = 0; dtype < FD_N_DTYPE; dtype++)
            for (int wild = TAME; wild < (sizes[s] < 200 ? N_WILD : DENSE); wild++) {
                random_state = (uint64_t)(9000 + 100 * s + 10 * dtype + wild) << 32;
                check_dim((fd_dtype)dtype, sizes[s], wild);
            }
    now.wild = TAME;
}
