/* tests/c/kernels/cases.c - every kernel against the scalar one.
 *
 *   cases   one loop: operands laid out and filled, run on every target whole, coalesced, in pieces
 *           and item by item; all must give the same bits (a NaN is a NaN) and touch nothing else
 *   loops    all sizes to two vectors and one, all patterns of strides, padded and reversed rows */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "check.h"

/* ---- cases ----------------------------------------------------------------------------------- */

uint64_t kernels_hash;

static unsigned char initial[FD_MAX_OPERAND][ROOM];
static unsigned char is_written[FD_MAX_OPERAND][ROOM / sizeof(float)]; /* by element, gaps included */
static intptr_t n_element[FD_MAX_OPERAND];
static intptr_t found[5]; /* `n` and `a`, between guards of their own */

/* The same bits, or NaN both. */
static int same(fd_dtype dtype, const void *a, const void *b, intptr_t i)
{
    const size_t size = itemsize[dtype];
    if (memcmp((const char *)a + (size_t)i * size, (const char *)b + (size_t)i * size, size) == 0)
        return 1;
    return isnan(get(dtype, a, i)) && isnan(get(dtype, b, i));
}

/* Where the i-th item of an operand is, repeats left out. */
static intptr_t offset_of(const fd_loop *loop, int k, intptr_t i)
{
    intptr_t offset = 0;
    for (int d = loop->ndim - 1; d >= 0; d--)
        if (loop->stride[k][d]) {
            offset += i % loop->shape[d] * loop->stride[k][d];
            i /= loop->shape[d];
        }
    return offset;
}

/* In up to three pieces, cut at multiples of `grain`. */
static void run_in_pieces(fd_kernel *kernel, const fd_loop *loop, intptr_t n_item, intptr_t grain)
{
    intptr_t a = below(n_item / grain + 1) * grain, b = below(n_item / grain + 1) * grain;
    if (a > b) {
        const intptr_t larger = a;
        a = b;
        b = larger;
    }
    kernel(loop, 0, a);
    kernel(loop, a, b);
    kernel(loop, b, n_item);
}

/* One by one, from the last to the first. */
static void run_backwards(fd_kernel *kernel, const fd_loop *loop, intptr_t n_item, intptr_t grain)
{
    const intptr_t preset[2] = {found[1], found[3]};
    intptr_t first[2] = {preset[0], preset[1]};
    for (intptr_t i = n_item - grain; i >= 0; i -= grain) {
        found[1] = found[3] = -1;
        kernel(loop, i, i + grain);
        for (int k = 0; k < 2; k++)
            if (preset[k] < 0 && found[1 + 2 * k] >= 0)
                first[k] = found[1 + 2 * k];
    }
    found[1] = first[0];
    found[3] = first[1];
}

/* A written operand and what is around it. */
static void compare_operand(fd_dtype dtype, int k)
{
    const region *out = &arena[k];
    const size_t before = (size_t)(out->p - out->lower), size = (size_t)(out->upper - out->lower);
    const unsigned char *want = wanted[k] + before;
    if (memcmp(out->lower, wanted[k], size) == 0)
        return;
    const size_t inside = (size_t)n_element[k] * itemsize[dtype];
    for (intptr_t i = 0; i < n_element[k]; i++)
        if (is_written[k][i] ? !same(dtype, out->p, want, i)
                             : memcmp(out->p + (size_t)i * itemsize[dtype], want + (size_t)i * itemsize[dtype],
                                      itemsize[dtype]) != 0) {
            fail(is_written[k][i] ? "element %jd of operand %d is %a, not %a"
                                  : "element %jd of operand %d, in a gap, is %a, was %a",
                 (intmax_t)i, k, get(dtype, out->p, i), get(dtype, want, i));
            break;
        }
    if (memcmp(out->lower, wanted[k], before) != 0)
        fail("written before operand %d", k);
    if (memcmp(out->p + inside, want + inside, size - before - inside) != 0)
        fail("written beyond operand %d", k);
}

static void compare(fd_op op, fd_dtype dtype, const region *scratch, size_t scratch_bytes,
                    const intptr_t found_wanted[5])
{
    for (int k = 0; fd_op_operands(op)[k]; k++)
        if (writes(op, k))
            compare_operand(dtype, k);
    if (memcmp(found, found_wanted, sizeof found) != 0)
        fail("found %jd and %jd, not %jd and %jd", (intmax_t)found[1], (intmax_t)found[3],
             (intmax_t)found_wanted[1], (intmax_t)found_wanted[3]);
    for (const unsigned char *p = scratch ? scratch->lower : NULL; scratch && p < scratch->upper; p++)
        if ((p < scratch->p || p >= scratch->p + scratch_bytes) && *p != GUARD_WRITTEN) {
            fail("written outside of scratch");
            break;
        }
}

/* Puts the content of the written operands back, or keeps it. */
static void restore(fd_op op)
{
    for (int k = 0; fd_op_operands(op)[k]; k++)
        if (writes(op, k))
            memcpy(arena[k].lower, initial[k], (size_t)(arena[k].upper - arena[k].lower));
}

static void keep(fd_op op, unsigned char (*where)[ROOM])
{
    for (int k = 0; fd_op_operands(op)[k]; k++)
        if (writes(op, k))
            memcpy(where[k], arena[k].lower, (size_t)(arena[k].upper - arena[k].lower));
}

static float weight_f32[] = {1, -0.5f};
static double weight_f64[] = {1, -0.5};

static intptr_t order[MAX_DIM], places[MAX_DIM * MAX_DIM];

/* Numbers up to dim in some order. */
static void shuffle(intptr_t dim, intptr_t *numbers)
{
    for (intptr_t i = 0; i < dim; i++) {
        const intptr_t j = below(i + 1);
        numbers[i] = numbers[j];
        numbers[j] = i;
    }
}

/* Where elements go if rows and columns are put in some order. */
static intptr_t *places_of(intptr_t dim)
{
    shuffle(dim, order);
    for (intptr_t i = 0; i < dim; i++)
        for (intptr_t j = 0; j < dim; j++)
            places[i * dim + j] = order[i] * dim + order[j];
    return places;
}

/* Runs a loop, whose strides and shape are given, on all targets and in all ways; where it is to be BRIEF, on scalar
 * whole, and on each other target in one way or another. */
static void check_case(fd_op op, fd_dtype dtype, fd_loop *loop, int wild)
{
    const fd_layout layout = fd_op_layout(op);
    const char *letters = fd_op_operands(op);
    static double outer_room[FD_OUTER_ROOM];
    const region *scratch = NULL;
    size_t scratch_bytes = 0;
    intptr_t n_item = 1, span[2] = {0, 1}, first[FD_MAX_OPERAND] = {0};
    int n_view = 0; /* operands with strides, as fd_loop_coalesce() wants it */

    for (int d = 0; d < loop->ndim; d++) {
        n_item *= loop->shape[d];
        span[1] *= loop->stride[0][d] ? 1 : loop->shape[d];
    }
    for (int k = 0; letters[k]; k++) {
        if (strchr("na", letters[k]))
            loop->operand[k] = letters[k] == 'n' ? &found[1] : one_in(4) ? NULL : &found[3];
        if (strchr("hm", letters[k])) { /* what is written there is tested from Python */
            const intptr_t size = loop->dim * loop->dim;
            intptr_t packed = size;
            int can = 1; /* of matrices that lie side by side, as packed ones do */
            for (int d = loop->ndim - 1; d >= 0 && letters[k] == 'm'; d--) {
                can &= loop->shape[d] == 1 || loop->stride[1][d] == packed;
                packed *= loop->shape[d];
            }
            place(&arena[k], (size_t)(n_item * (letters[k] == 'h' ? 1 : size)) * sizeof(double), sizeof(double),
                  GUARD_WRITTEN);
            loop->operand[k] = can && one_in(2) ? arena[k].p : NULL;
        }
        if (letters[k] == 'K')
            loop->operand[k] = kinds;
        if (letters[k] == 'Z')
            loop->operand[k] = counted;
        if (letters[k] == 'I')
            loop->operand[k] = one_in(2) ? NULL : places_of(loop->dim);
        if (letters[k] == 'N')
            loop->operand[k] = span;
        if (letters[k] == 'O')
            loop->operand[k] = outer_room;
        if (letters[k] == 'w')
            loop->operand[k] =
                dtype == FD_F32 ? (void *)&weight_f32[below(2)] : (void *)&weight_f64[below(2)];
        if (strchr("SBDQR", letters[k])) {
            const int totals = letters[k] == 'R';
            scratch = &arena[k];
            scratch_bytes = totals ? (size_t)n_element[0] * sizeof(fd_total)
                                   : scratch_size(letters[k], dtype, loop->dim);
            place(&arena[k], scratch_bytes, totals ? sizeof(fd_total) : 64, GUARD_WRITTEN);
            loop->operand[k] = arena[k].p + (totals ? (size_t)first[0] * sizeof(fd_total) : 0);
        }
        if (!has_strides(op, k))
            continue;
        const intptr_t core = core_of(op, k, dtype, loop->dim);
        intptr_t low = 0, high = core;
        n_view = k + 1;
        for (int d = 0; d < loop->ndim; d++) {
            const intptr_t reach = loop->stride[k][d] * (loop->shape[d] - 1);
            *(reach < 0 ? &low : &high) += reach;
        }
        place(&arena[k], (size_t)(high - low) * itemsize[dtype], itemsize[dtype],
              writes(op, k) ? GUARD_WRITTEN : GUARD_READ);
        loop->operand[k] = arena[k].p + (size_t)-low * itemsize[dtype];
        first[k] = -low;
        n_element[k] = high - low;
        memset(is_written[k], 0, (size_t)n_element[k]);
        for (intptr_t i = 0; i < n_distinct(loop, k); i++) {
            const intptr_t at = offset_of(loop, k, i);
            if (!strchr("odr=FPtz", letters[k]))
                put_item(letters[k], dtype, (char *)loop->operand[k] + at * (intptr_t)itemsize[dtype], loop->dim, core,
                         wild);
            if (writes(op, k))
                memset(is_written[k] + first[k] + at, 1, (size_t)core);
        }
    }

    fd_loop coalesced = *loop;
    fd_loop_coalesce(&coalesced, n_view);

    const intptr_t found_initial[5] = {-77, one_in(8) ? below(n_item) : -1, -77, one_in(8) ? below(n_item) : -1, -77};
    intptr_t found_wanted[5];
    keep(op, initial);
    memcpy(found, found_initial, sizeof found);

    n_case++;
    now.what = fd_op_name(op);
    now.dtype = dtype;
    now.wild = wild;
    now.loop = loop;
    now.n = n_item;
    now.way = "whole";
    use(0);
    fd_lookup(op, dtype)(loop, 0, n_item);

    /* Scalar is right by definition where it may write, and must have written nowhere else. */
    memcpy(found_wanted, found_initial, sizeof found);
    found_wanted[1] = found[1];
    found_wanted[3] = found[3];
    for (int k = 0; letters[k]; k++) {
        if (!writes(op, k))
            continue;
        const size_t before = (size_t)(arena[k].p - arena[k].lower);
        memcpy(wanted[k], initial[k], (size_t)(arena[k].upper - arena[k].lower));
        for (intptr_t i = 0; i < n_element[k]; i++)
            if (is_written[k][i])
                memcpy(wanted[k] + before + (size_t)i * itemsize[dtype], arena[k].p + (size_t)i * itemsize[dtype],
                       itemsize[dtype]);
        for (intptr_t i = 0; i < n_element[k]; i++)
            if (is_written[k][i]) {
                const double value = get(dtype, arena[k].p, i);
                uint64_t bits;
                memcpy(&bits, &value, sizeof bits);
                kernels_hash = hash_word(kernels_hash, isnan(value) ? 1 : bits);
            }
    }
    kernels_hash = hash_word(hash_word(kernels_hash, (uint64_t)found[1]), (uint64_t)found[3]);
    compare(op, dtype, scratch, scratch_bytes, found_wanted);

    enum { WHOLE, COALESCED, IN_PIECES, ONE_BY_ONE };
    static const char *const ways[] = {"whole", "coalesced", "in pieces", "one by one"};
#ifdef BRIEF
    const int brief = 1;
#else
    const int brief = 0;
#endif
    const intptr_t grain = layout == FD_EVENT_SUMS ? loop->dim : 1;
    /* Items that add to the same number must do so in order. */
    const int in_order = letters[0] == '=' || (layout == FD_EVENTS && n_distinct(loop, 0) < n_item);
    const int n_way = in_order ? ONE_BY_ONE : ONE_BY_ONE + 1, only = (int)below(n_way);
    const uint64_t cuts = random_state; /* the next case is the same however many targets and ways there are */
    for (int target = brief; target < n_target; target++) {
        use(target);
        fd_kernel *kernel = fd_lookup(op, dtype);
        for (int way = target == 0 ? COALESCED : WHOLE; way < n_way; way++) {
            if (brief && way != only)
                continue;
            random_state = cuts;
            restore(op);
            memcpy(found, found_initial, sizeof found);
            now.way = ways[way];
            if (way == IN_PIECES)
                run_in_pieces(kernel, loop, n_item, grain);
            else if (way == ONE_BY_ONE)
                run_backwards(kernel, loop, n_item, grain);
            else
                kernel(way == COALESCED ? &coalesced : loop, 0, n_item);
            check_upper_halves();
            compare(op, dtype, scratch, scratch_bytes, found_wanted);
        }
    }
    random_state = cuts;
    now.loop = NULL;
}

/* ---- loops ------------------------------------------------------------------------------------ */

/* Outer dims, none to two, before the innermost n, which the operands in mask `repeated` have once. */
static void check_loop(fd_op op, fd_dtype dtype, intptr_t dim, intptr_t n, unsigned repeated, int wild)
{
    const fd_layout layout = fd_op_layout(op);
    const char *letters = fd_op_operands(op);
    fd_loop loop = {.ndim = layout < FD_CHECK_ELEMENTS ? 1 + (int)below(3) : 1, .dim = dim};
    const int last = loop.ndim - 1;
    int n_event_dim = 0;
    if (strchr(letters, 'K')) {
        kinds[0] = below(3);
        kinds[1] = below(kinds[0] == FD_DIAGONAL ? 2 : 3);
        kinds[2] = !one_in(4);
    }
    if (strchr(letters, 'Z')) {
        counted[0] = below(strchr(letters, 'z') ? dim + 1 : dim < 30 ? dim + 20 : 20);
        shuffle(dim, counted + 1);
    }
    for (int d = 0; d < last; d++)
        loop.shape[d] = 1 + below(3);
    if (last > 0 && (layout == FD_ELEMENTS || layout == FD_EVENT_SUMS) && n < 70 && one_in(4)) /* short runs in a block */
        loop.shape[last - 1] = 1 + below(3000 / n);
    loop.shape[last] = n;
    if (layout == FD_EVENT_SUMS) {
        n_event_dim = 1 + (int)below(loop.ndim);
        loop.dim = 1;
        for (int d = 0; d < n_event_dim; d++)
            loop.dim *= loop.shape[last - d];
    }
    if (layout == FD_EVENTS && letters[0] == '+') /* these may sum over dims */
        n_event_dim = (int)below(loop.ndim + 1);
    for (int k = 0; letters[k]; k++) {
        if (!has_strides(op, k))
            continue;
        if (letters[k] == 'g') {
            memcpy(loop.stride[k], loop.stride[k - 1], sizeof loop.stride[k]);
            continue;
        }
        unsigned repeat = 0;
        if (repeated >> k & 1)
            repeat |= 1u << last;
        if (!writes(op, k))
            for (int d = 0; d < last; d++)
                repeat |= (unsigned)one_in(4) << d;
        if (letters[k] == '=')
            repeat = (unsigned)below((intptr_t)1 << loop.ndim);
        if (letters[k] == '+' || (layout == FD_EVENT_SUMS && strchr("rk", letters[k])))
            for (int d = 0; d < n_event_dim; d++)
                repeat |= 1u << (last - d);
        const int padded = one_in(2) && !strchr("FP", letters[k]) && layout < FD_CHECK_ELEMENTS;
        set_strides(&loop, k, core_of(op, k, dtype, dim), repeat, padded);
    }
    check_case(op, dtype, &loop, wild);
}

/* Of the patterns of many operands those of one, of all, and an eighth of the others are enough. */
static int is_left_out(unsigned pattern, unsigned patterns)
{
    int n = 0;
    for (unsigned left = patterns; left; left &= left - 1)
        n++;
    return n > 3 && pattern != patterns && pattern & (pattern - 1) && pattern * 2654435761u >> 29 != 0;
}

void check_kernels(void)
{
    /* Two vectors and one of the widest target, floats: 33; then single sizes around blocks and chunks. */
    static const intptr_t sizes[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
                                     21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 48, 63, 64, 65, 100, 150};
    static const intptr_t chunks[] = {1023, 1024, 1025, 1039, 2049, 3000};
    enum { N_SIZE = sizeof sizes / sizeof *sizes, N_CHUNK = sizeof chunks / sizeof *chunks };
    for (int v = 0; v < FD_N_OP; v++) {
        const fd_op op = (fd_op)v;
        random_state = (uint64_t)v; /* so that one op's cases do not depend on the others */
        const fd_layout layout = fd_op_layout(op);
        const char *letters = fd_op_operands(op);
        now.what = fd_op_name(op);
        if (strlen(letters) > FD_MAX_OPERAND || letters[strspn(letters, "vlspcgoxedykr+=YMTXCFGLPftuqibzjWHwnahmIKNSBDQORZ")])
            fail("operands \"%s\" are too many, or a letter has no meaning in tests/c/kernels", letters);
        for (intptr_t dim = 0; dim <= MAX_DIM; dim++)
            if (fd_op_cost(op, dim) < 1)
                fail("it costs %jd", (intmax_t)fd_op_cost(op, dim));
        const int by_dim = layout == FD_EVENTS || layout == FD_EVENT_PRODUCTS || layout == FD_MATRICES ||
                           layout == FD_CHECK_MATRICES;
        const int cubic = letters[0] == 'X' || strchr(letters, 'K') != NULL;
        /* Of dear elements fewer sizes will do, all of which have tails. */
        const int dear = !by_dim && (fd_op_cost(op, 1) >= 8 || strlen(letters) > 5);
        const int every = !dear ? 1 : fd_op_cost(op, 1) < 300 ? 5 : 13;
        unsigned patterns = 0; /* which operands may be repeated along the last dim */
        for (int k = 1; letters[k]; k++)
            if (has_strides(op, k) && !writes(op, k) && !strchr("gk", letters[k]) && layout < FD_MATRICES)
                patterns |= 1u << k;
        for (int dtype = 0; dtype < FD_N_DTYPE; dtype++)
            for (int wild = TAME; wild < N_WILD; wild++)
                for (unsigned pattern = 0; pattern <= patterns; pattern++) {
                    if (pattern & ~patterns || is_left_out(pattern, patterns))
                        continue;
                    for (int s = 0; s < N_SIZE; s += every) {
                        /* What takes dim^3 operations is done for a few large dims only. */
                        const int large = cubic && sizes[s] > 10, few = sizes[s] < 70 && pattern == 0 && wild <= SPARSE;
                        const int times = large ? few : patterns == 0 && sizes[s] < 18 ? 3 : 1;
                        const intptr_t most = large ? 1 : sizes[s] > 33 ? 3 : 9;
                        for (int t = 0; t < times; t++) {
                            /* Of small items up to more than a tile, or than kernels keep factors of. */
                            const intptr_t n = sizes[s] <= 10 && one_in(3) ? 10 + below(31) : 1 + below(most);
                            check_loop(op, (fd_dtype)dtype, by_dim ? sizes[s] : 1, by_dim ? n : sizes[s], pattern, wild);
                        }
                    }
                    for (int s = 0; s < N_CHUNK && !by_dim && !dear; s++)
                        check_loop(op, (fd_dtype)dtype, 1, chunks[s], pattern, wild);
                }
    }
    now.wild = TAME;
}
