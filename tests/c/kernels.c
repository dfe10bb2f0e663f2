/* tests/c/kernels.c - every kernel on every instruction set against the scalar one, in the manner
 * of dav1d's checkasm: a plain C program, so that sanitizers, other compilers and emulated CPUs
 * can have it. tests/c/run builds and runs it in all these ways.
 *
 *   rows         of the dispatch table that can be run here
 *   random       repeatable numbers, ordinary and worst-case
 *   arenas       memory between two forbidden pages, for operands with guard bands around them
 *   specs        what the letters of kernels.def mean: one that is missing here fails
 *   cases        one job: operands laid out and filled, run on every row whole, coalesced, in pieces
 *                and item by item; all must give the same bits (a NaN is a NaN) and touch nothing else
 *   jobs         all sizes to two vectors and one, all patterns of steps, padded and reversed rows
 *   stream       seed, words and normals of every row, in any portions
 *   draws        tiles against noise and colour done one after the other
 *   hashes       of the stream, known, and of the kernels' results, for builds to compare
 *
 * `kernels [N]` takes the stream's hash over N blocks (default 1024) each of float64 and float32
 * normals and raw words; it is known for 1024 and for 100000. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__) && defined(CHECK_UPPER_HALVES)
#include <cpuid.h>
#endif

#include "../../src_c/fastdist.h"
#include "../../src_c/stream.h"

/* ---- failures ---------------------------------------------------------------------------- */

enum { MAX_FAILURE = 10, MAX_DIM = 150 };
static int n_failure, n_case;

/* What is being done, for the message if it goes wrong. */
static struct {
    const char *what, *isa, *way;
    fd_dtype dtype;
    int wild;
    const fd_job *job;
    intptr_t n;
} now;

static const char *const dtype_names[FD_N_DTYPE] = {"f32", "f64"};
static const size_t itemsize[FD_N_DTYPE] = {sizeof(float), sizeof(double)};

static void print_now(void)
{
    fprintf(stderr, "%s %s on %s, %s, n = %jd, wild %d", now.what, dtype_names[now.dtype], now.isa, now.way,
            (intmax_t)now.n, now.wild);
    if (now.job) {
        fprintf(stderr, ", dim %jd, shape", (intmax_t)now.job->dim);
        for (int d = 0; d < now.job->ndim; d++)
            fprintf(stderr, " %jd", (intmax_t)now.job->shape[d]);
        for (int k = 0; k < FD_MAX_OPERAND; k++) {
            fprintf(stderr, "; strides %d:", k);
            for (int d = 0; d < now.job->ndim; d++)
                fprintf(stderr, " %jd", (intmax_t)now.job->stride[k][d]);
        }
    }
    fputs("\n", stderr);
}

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("FAILED: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("\n    ", stderr);
    va_end(arguments);
    print_now();
    if (++n_failure == MAX_FAILURE) {
        fputs("too many failures\n", stderr);
        exit(1);
    }
}

/* Not what a signal handler should do, but the end is near. */
static void crashed(int signal_number)
{
    fprintf(stderr, "FAILED: signal %d\n    ", signal_number);
    print_now();
    _exit(1);
}

/* ---- rows --------------------------------------------------------------------------------- */

/* The rows of the dispatch table that this CPU can run, found out once: CPUID is slow on a virtual one. */
static int rows[16], n_row;

static void find_rows(void)
{
    for (int row = 0; row < fd_isa_count(); row++)
        if (fd_isa_available(row))
            rows[n_row++] = row;
}

static void use(int row)
{
    fd_isa_use(rows[row]);
    now.isa = fd_isa_name(rows[row]);
}

/* The forms of a row's noise: without gathers, and with them if it has any. */
static int n_form(int row) { return 1 + fd_isa_has_gather(rows[row]); }

static void use_form(int row, int gather)
{
    fd_isa_use_gather(rows[row], gather);
    now.isa = gather ? "avx512, gathers" : fd_isa_name(rows[row]);
}

/* ---- random ------------------------------------------------------------------------------ */

/* SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). */
static uint64_t random_state;

static uint64_t random_word(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static intptr_t below(intptr_t n) { return (intptr_t)(random_word() % (uint64_t)n); }
static int one_in(intptr_t n) { return below(n) == 0; }
static double unit(void) { return (double)(random_word() >> 11) * 0x1p-53; }
static double uniform(double low, double high) { return low + (high - low) * unit(); }

static double get(fd_dtype dtype, const void *p, intptr_t i)
{
    return dtype == FD_F32 ? (double)((const float *)p)[i] : ((const double *)p)[i];
}

static void put(fd_dtype dtype, void *p, intptr_t i, double value)
{
    if (dtype == FD_F32)
        ((float *)p)[i] = (float)value;
    else
        ((double *)p)[i] = value;
}

/* How bad a case's values are. */
enum { TAME, SPARSE, DENSE, TINY, N_WILD };

/* Signed zeros, subnormals, the ends of the range, infinities, NaN, any bits at all; of a TINY case
 * the first three only. */
static void put_worst(fd_dtype dtype, void *p, intptr_t i, int wild)
{
    static const uint32_t f32[] = {0, 1, 0x7fffff, 0x800000, 0x3f800000, 0x7f7fffff, 0x7f800000, 0x7fc00000};
    static const uint64_t f64[] = {0,
                                   1,
                                   0xfffffffffffff,
                                   0x10000000000000,
                                   0x3ff0000000000000,
                                   0x7fefffffffffffff,
                                   0x7ff0000000000000,
                                   0x7ff8000000000000};
    const int any = one_in(3) && wild != TINY;
    const uint64_t sign = random_word();
    const intptr_t k = below(wild == TINY ? 3 : 8);
    const uint64_t bits64 = any ? random_word() : f64[k] | (sign & (uint64_t)1 << 63);
    const uint32_t bits32 = any ? (uint32_t)random_word() : f32[k] | ((uint32_t)sign & (uint32_t)1 << 31);
    if (dtype == FD_F32)
        memcpy((float *)p + i, &bits32, sizeof bits32);
    else
        memcpy((double *)p + i, &bits64, sizeof bits64);
}

/* Whether the next value is to be one of these. */
static int worst_now(int wild)
{
    return wild == TINY || (wild == DENSE && one_in(2)) || (wild == SPARSE && one_in(24));
}

/* ---- arenas ------------------------------------------------------------------------------ */

enum { GUARD = 512, ROOM = 8 << 20 };

typedef struct region {
    unsigned char *begin, *end;     /* what may be read and written */
    unsigned char *lower, *upper;   /* the operand with its guard bands */
    unsigned char *p;               /* the operand */
} region;

static region arena[FD_MAX_OPERAND];

static void open_arenas(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int k = 0; k < FD_MAX_OPERAND; k++) {
        unsigned char *p = mmap(NULL, ROOM + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || mprotect(p + page, ROOM, PROT_READ | PROT_WRITE) != 0) {
            perror("arena");
            exit(1);
        }
        arena[k].begin = p + page;
        arena[k].end = p + page + ROOM;
    }
}

/* Puts an operand of `size` bytes against the upper or the lower forbidden page, or anywhere. */
static void place(region *r, size_t size, size_t item, int guard)
{
    const size_t room = ROOM - size, anywhere = GUARD + item * (size_t)below(16);
    if (size + 2 * GUARD + 16 * item > ROOM) {
        fail("an arena is too small for %zu bytes", size);
        exit(1);
    }
    const intptr_t where = below(3);
    r->p = r->begin + (where == 0 ? room : where == 1 ? 0 : anywhere);
    r->lower = r->p - r->begin > GUARD ? r->p - GUARD : r->begin;
    r->upper = r->end - (r->p + size) > GUARD ? r->p + size + GUARD : r->end;
    memset(r->lower, guard, (size_t)(r->upper - r->lower));
}

/* What surrounds an operand: NaN where it is read; where it is written, something that no result is. */
enum { GUARD_READ = 0xff, GUARD_WRITTEN = 0x3b };

/* ---- specs ------------------------------------------------------------------------------- */

/* No libm, so that every build has the same bits. */
static int exact(fd_op op)
{
    switch (op) {
    case FD_normal_cdf:
    case FD_normal_log_cdf:
    case FD_normal_survival:
    case FD_normal_log_survival:
    case FD_normal_icdf:
        return 0;
    default:
        return 1;
    }
}

/* Whether an op writes operand k; scratch and what was found are left aside. */
static int writes(fd_op op, int k) { return strchr("oxedr+=XFPt", fd_op_operands(op)[k]) != NULL; }

/* Whether operand k is laid out by strides of its own. */
static int has_strides(fd_op op, int k) { return !strchr("wnaKNSBDQOR", fd_op_operands(op)[k]); }

/* What the operands f are, and whether the terms of the second are wanted. */
static intptr_t kinds[3];

/* Bytes of scratch, but for fd_totals. */
static size_t scratch_size(char letter, fd_dtype dtype, intptr_t dim)
{
    const size_t n = (size_t)dim;
    switch (letter) {
    case 'B': /* whole doubles */
        return 2 * FD_SCRATCH_BYTES * n +
               ((size_t)fd_panels_size(dim, FD_PANEL_BYTES / (intptr_t)itemsize[dtype]) * itemsize[dtype] + 7) / 8 * 8;
    case 'D':
        return FD_MATRIX_BYTES * n * n;
    case 'Q':
        return (dim > FD_SMALL_EVENT) * FD_KL_NUMBERS(n) * itemsize[dtype];
    default:
        return FD_SCRATCH_BYTES * n;
    }
}

/* ---- filling operands -------------------------------------------------------------------- */

/* A symmetric positive definite matrix B B^T by rows; `upper` says whether to fill that triangle. */
static void put_spd(fd_dtype dtype, void *p, intptr_t dim, int wild, int upper)
{
    static double b[MAX_DIM * MAX_DIM];
    for (intptr_t i = 0; i < dim; i++) {
        for (intptr_t k = 0; k < i; k++)
            b[i * dim + k] = uniform(-1, 1);
        b[i * dim + i] = uniform(0.5, 2);
    }
    /* Singular: whether its last pivots pass is a matter of single roundings. */
    if (wild == SPARSE && dim > 1 && one_in(4)) {
        const intptr_t i = 1 + below(dim - 1);
        memcpy(b + i * dim, b + (i - 1) * dim, (size_t)i * sizeof *b);
        b[i * dim + i] = 0;
    }
    for (intptr_t i = 0; i < dim; i++)
        for (intptr_t j = 0; j <= i; j++) {
            double a = 0;
            for (intptr_t k = 0; k <= j; k++)
                a += b[i * dim + k] * b[j * dim + k];
            put(dtype, p, i * dim + j, a);
            if (upper)
                put(dtype, p, j * dim + i, a);
        }
    if (wild == DENSE || wild == TINY) {
        const intptr_t i = below(dim), j = upper ? below(dim) : below(i + 1);
        if (one_in(2))
            put_worst(dtype, p, i * dim + j, wild);
        else { /* from what rounding leaves to what no factor survives */
            const double size = 1 / (double)((uint64_t)1 << below(56));
            put(dtype, p, i * dim + j, get(dtype, p, i * dim + j) * (1 + size * uniform(-1, 1)));
        }
    }
}

/* A lower triangle with positive diagonal: step_i between rows, step_k between columns. */
static void put_lower(fd_dtype dtype, void *p, intptr_t dim, int wild, intptr_t step_i, intptr_t step_k)
{
    for (intptr_t i = 0; i < dim; i++)
        for (intptr_t k = 0; k < dim; k++) {
            const double size = wild && one_in(8) ? (double)((uint64_t)1 << below(60)) : 1;
            const double value = i == k ? uniform(0.5, 2) : uniform(-1, 1);
            double element = k > i ? 0.0 : one_in(2) ? value * size : value / size;
            if (wild && i == k && one_in(32)) /* without a reciprocal */
                element = dtype == FD_F32 ? (one_in(2) ? 1e-40 : 2e38) : (one_in(2) ? 1e-310 : 1.2e308);
            put(dtype, p, i * step_i + k * step_k, element);
        }
}

/* The same by columns, in panels. */
static void put_panels(fd_dtype dtype, void *p, intptr_t dim, int wild)
{
    static double columns[MAX_DIM * MAX_DIM];
    const intptr_t rows = FD_PANEL_BYTES / (intptr_t)itemsize[dtype];
    put_lower(dtype, columns, dim, wild, 1, dim);
    for (intptr_t i = 0; i < dim; i++) {
        const intptr_t first = i / rows * rows, height = dim - first < rows ? dim - first : rows;
        for (intptr_t k = 0; k < first + height; k++)
            put(dtype, p, first * (first + rows) / 2 + k * height + i - first, get(dtype, columns, k * dim + i));
    }
}

/* One item of an operand. */
static void put_item(char letter, fd_dtype dtype, void *p, intptr_t dim, intptr_t core, int wild)
{
    switch (letter) {
    case 'L':
        put_panels(dtype, p, dim, wild);
        break;
    case 'C':
        put_lower(dtype, p, dim, wild, 1, dim);
        break;
    case 'T':
        put_lower(dtype, p, dim, wild, dim, 1);
        if (wild && one_in(3))
            put_worst(dtype, p, below(dim * dim), wild);
        break;
    case 'M':
        put_spd(dtype, p, dim, wild, 0);
        break;
    case 'Y':
        put_spd(dtype, p, dim, wild, 1);
        break;
    case 'f':
        if (core == dim * dim)
            put_lower(dtype, p, dim, wild, 1, dim);
        else
            put_item('s', dtype, p, dim, core, wild);
        break;
    default:
        for (intptr_t i = 0; i < core; i++) {
            const double value = letter == 's' || letter == 'g' ? uniform(0.25, 4)
                                 : letter == 'p'                ? unit()
                                 : letter == 'c'                ? 1 - unit()
                                                                : uniform(-4, 4);
            put(dtype, p, i, value);
            if (worst_now(wild))
                put_worst(dtype, p, i, wild);
            if (letter == 'e' && !isfinite(get(dtype, p, i)))
                put(dtype, p, i, value);
        }
    }
}

/* Elements of one item. */
static intptr_t core_of(fd_op op, int k, fd_dtype dtype, intptr_t dim)
{
    const fd_layout layout = fd_op_layout(op);
    const char *letters = fd_op_operands(op), *first_f = strchr(letters, 'f');
    const intptr_t event = layout == FD_EVENTS || layout == FD_EVENT_PRODUCTS ? dim : 1;
    switch (letters[k]) {
    case 'k':
    case 'r':
    case '+':
        return 1;
    case '=':
        return event * event;
    case 'Y':
    case 'M':
    case 'T':
    case 'X':
    case 'C':
    case 'F':
        return dim * dim;
    case 'L':
    case 'P':
        return fd_panels_size(dim, FD_PANEL_BYTES / (intptr_t)itemsize[dtype]);
    case 'f':
        return kinds[first_f != letters + k] == FD_DIAGONAL ? dim : dim * dim;
    case 't':
        return dim + core_of(op, (int)(first_f - letters), dtype, dim) +
               core_of(op, (int)(first_f - letters) + 1, dtype, dim);
    case 'd':
        return 2 * event;
    default:
        return event;
    }
}

/* ---- cases ------------------------------------------------------------------------------- */

static unsigned char initial[FD_MAX_OPERAND][ROOM], wanted[FD_MAX_OPERAND][ROOM];
static unsigned char is_written[FD_MAX_OPERAND][ROOM / sizeof(float)]; /* by element, gaps included */
static intptr_t n_element[FD_MAX_OPERAND];
static intptr_t found[5];                              /* `n` and `a`, between guards of their own */

static uint64_t kernels_hash;

/* FNV-1a by words, with a fold so that high bits matter to low ones. */
static uint64_t hash_word(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x100000001b3;
    return hash ^ hash >> 32;
}

static const uint64_t hash_start = 0xcbf29ce484222325;

/* The same bits, or NaN both. */
static int same(fd_dtype dtype, const void *a, const void *b, intptr_t i)
{
    const size_t size = itemsize[dtype];
    if (memcmp((const char *)a + (size_t)i * size, (const char *)b + (size_t)i * size, size) == 0)
        return 1;
    return isnan(get(dtype, a, i)) && isnan(get(dtype, b, i));
}

/* Number of items of an operand, and where the i-th of them is, repeats left out. */
static intptr_t n_distinct(const fd_job *job, int k)
{
    intptr_t n = 1;
    for (int d = 0; d < job->ndim; d++)
        n *= job->stride[k][d] ? job->shape[d] : 1;
    return n;
}

static intptr_t offset_of(const fd_job *job, int k, intptr_t i)
{
    intptr_t offset = 0;
    for (int d = job->ndim - 1; d >= 0; d--)
        if (job->stride[k][d]) {
            offset += i % job->shape[d] * job->stride[k][d];
            i /= job->shape[d];
        }
    return offset;
}

/* In up to three pieces, cut at multiples of `grain`. */
static void run_in_pieces(fd_kernel *kernel, const fd_job *job, intptr_t n_item, intptr_t grain)
{
    intptr_t a = below(n_item / grain + 1) * grain, b = below(n_item / grain + 1) * grain;
    if (a > b) {
        const intptr_t larger = a;
        a = b;
        b = larger;
    }
    kernel(job, 0, a);
    kernel(job, a, b);
    kernel(job, b, n_item);
}

/* One by one, from the last to the first. */
static void run_backwards(fd_kernel *kernel, const fd_job *job, intptr_t n_item, intptr_t grain)
{
    const intptr_t preset[2] = {found[1], found[3]};
    intptr_t first[2] = {preset[0], preset[1]};
    for (intptr_t i = n_item - grain; i >= 0; i -= grain) {
        found[1] = found[3] = -1;
        kernel(job, i, i + grain);
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

/* Whether the upper halves of vector registers are in use: a kernel that leaves them so slows down all
 * the SSE code of the process, NumPy's and libm's. XGETBV with ECX = 1: Intel SDM vol. 1, 13.8. */
static int upper_halves_in_use(void)
{
#if defined(__x86_64__) && defined(CHECK_UPPER_HALVES)
    static int supported = -1;
    if (supported < 0) {
        unsigned eax = 0, ebx, ecx, edx;
        supported = __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & 1u << 27) &&
                    __get_cpuid_count(0xd, 1, &eax, &ebx, &ecx, &edx) && (eax & 1u << 2);
    }
    if (supported) {
        uint32_t low, high;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
        return low >> 2 & 1;
    }
#endif
    return 0;
}

static void check_upper_halves(void)
{
    if (upper_halves_in_use())
        fail("the upper halves of vector registers are left in use");
}

static float weight_f32[] = {1, -0.5f};
static double weight_f64[] = {1, -0.5};

/* Runs a job, whose strides and shape are given, on all rows and in all ways. */
static void check_case(fd_op op, fd_dtype dtype, fd_job *job, int wild)
{
    const fd_layout layout = fd_op_layout(op);
    const char *letters = fd_op_operands(op);
    static double outer_room[FD_OUTER_ROOM];
    const region *scratch = NULL;
    size_t scratch_bytes = 0;
    intptr_t n_item = 1, span[2] = {0, 1}, first[FD_MAX_OPERAND] = {0};
    int n_view = 0; /* operands with strides, as fd_job_coalesce() wants it */

    for (int d = 0; d < job->ndim; d++) {
        n_item *= job->shape[d];
        span[1] *= job->stride[0][d] ? 1 : job->shape[d];
    }
    for (int k = 0; letters[k]; k++) {
        if (strchr("na", letters[k]))
            job->operand[k] = letters[k] == 'n' ? &found[1] : one_in(4) ? NULL : &found[3];
        if (letters[k] == 'K')
            job->operand[k] = kinds;
        if (letters[k] == 'N')
            job->operand[k] = span;
        if (letters[k] == 'O')
            job->operand[k] = outer_room;
        if (letters[k] == 'w')
            job->operand[k] = dtype == FD_F32 ? (void *)&weight_f32[below(2)] : (void *)&weight_f64[below(2)];
        if (strchr("SBDQR", letters[k])) {
            const int totals = letters[k] == 'R';
            scratch = &arena[k];
            scratch_bytes = totals ? (size_t)n_element[0] * sizeof(fd_total)
                                   : scratch_size(letters[k], dtype, job->dim);
            place(&arena[k], scratch_bytes, totals ? sizeof(fd_total) : 64, GUARD_WRITTEN);
            job->operand[k] = arena[k].p + (totals ? (size_t)first[0] * sizeof(fd_total) : 0);
        }
        if (!has_strides(op, k))
            continue;
        const intptr_t core = core_of(op, k, dtype, job->dim);
        intptr_t low = 0, high = core;
        n_view = k + 1;
        for (int d = 0; d < job->ndim; d++) {
            const intptr_t reach = job->stride[k][d] * (job->shape[d] - 1);
            *(reach < 0 ? &low : &high) += reach;
        }
        place(&arena[k], (size_t)(high - low) * itemsize[dtype], itemsize[dtype],
              writes(op, k) ? GUARD_WRITTEN : GUARD_READ);
        job->operand[k] = arena[k].p + (size_t)-low * itemsize[dtype];
        first[k] = -low;
        n_element[k] = high - low;
        memset(is_written[k], 0, (size_t)n_element[k]);
        for (intptr_t i = 0; i < n_distinct(job, k); i++) {
            const intptr_t at = offset_of(job, k, i);
            if (!strchr("odr=FPt", letters[k]))
                put_item(letters[k], dtype, (char *)job->operand[k] + at * (intptr_t)itemsize[dtype], job->dim, core,
                         wild);
            if (writes(op, k))
                memset(is_written[k] + first[k] + at, 1, (size_t)core);
        }
    }

    fd_job coalesced = *job;
    fd_job_coalesce(&coalesced, n_view);

    const intptr_t found_initial[5] = {-77, one_in(8) ? below(n_item) : -1, -77, one_in(8) ? below(n_item) : -1, -77};
    intptr_t found_wanted[5];
    keep(op, initial);
    memcpy(found, found_initial, sizeof found);

    n_case++;
    now.what = fd_op_name(op);
    now.dtype = dtype;
    now.wild = wild;
    now.job = job;
    now.n = n_item;
    now.way = "whole";
    use(0);
    fd_lookup(op, dtype)(job, 0, n_item);

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
        if (exact(op))
            for (intptr_t i = 0; i < n_element[k]; i++)
                if (is_written[k][i]) {
                    const double value = get(dtype, arena[k].p, i);
                    uint64_t bits;
                    memcpy(&bits, &value, sizeof bits);
                    kernels_hash = hash_word(kernels_hash, isnan(value) ? 1 : bits);
                }
    }
    if (exact(op))
        kernels_hash = hash_word(hash_word(kernels_hash, (uint64_t)found[1]), (uint64_t)found[3]);
    compare(op, dtype, scratch, scratch_bytes, found_wanted);

    static const char *const ways[] = {"whole", "coalesced", "in pieces", "one by one"};
    const intptr_t grain = layout == FD_EVENT_SUMS ? job->dim : 1;
    /* Items that add to the same number must do so in order. */
    const int in_order = letters[0] == '=' || (layout == FD_EVENTS && n_distinct(job, 0) < n_item);
    const uint64_t cuts = random_state; /* the next case is the same however many rows there are */
    for (int row = 0; row < n_row; row++) {
        random_state = cuts;
        use(row);
        fd_kernel *kernel = fd_lookup(op, dtype);
        for (int way = row == 0; way < (in_order ? 3 : 4); way++) {
            restore(op);
            memcpy(found, found_initial, sizeof found);
            now.way = ways[way];
            if (way == 2)
                run_in_pieces(kernel, job, n_item, grain);
            else if (way == 3)
                run_backwards(kernel, job, n_item, grain);
            else
                kernel(way == 1 ? &coalesced : job, 0, n_item);
            check_upper_halves();
            compare(op, dtype, scratch, scratch_bytes, found_wanted);
        }
    }
    now.job = NULL;
}

/* ---- jobs -------------------------------------------------------------------------------- */

/* Strides of operand k: bit d of `repeat` repeats it along dim d; `padded` leaves gaps between rows
 * and turns some dims round (not where a last dim of one element may be coalesced away: the next
 * would have to have step 1). */
static void set_strides(fd_job *job, int k, intptr_t core, unsigned repeat, int padded)
{
    intptr_t extent = core;
    padded = padded && (core > 1 || job->shape[job->ndim - 1] > 1);
    for (int d = job->ndim - 1; d >= 0; d--) {
        job->stride[k][d] = 0;
        if (repeat >> d & 1)
            continue;
        const int step_one = d == job->ndim - 1 && core == 1;
        const intptr_t stride = extent + (padded && !step_one ? below(4) : 0);
        job->stride[k][d] = padded && !step_one && one_in(6) ? -stride : stride;
        extent += stride * (job->shape[d] - 1);
    }
}

/* Outer dims, none to two, before the innermost n, which the operands in mask `repeated` have once. */
static void check_job(fd_op op, fd_dtype dtype, intptr_t dim, intptr_t n, unsigned repeated, int wild)
{
    const fd_layout layout = fd_op_layout(op);
    const char *letters = fd_op_operands(op);
    fd_job job = {.ndim = layout < FD_CHECK_ELEMENTS ? 1 + (int)below(3) : 1, .dim = dim};
    const int last = job.ndim - 1;
    int n_event_dim = 0;
    if (strchr(letters, 'K')) {
        kinds[0] = below(3);
        kinds[1] = below(kinds[0] == FD_DIAGONAL ? 2 : 3);
        kinds[2] = !one_in(4);
    }
    for (int d = 0; d < last; d++)
        job.shape[d] = 1 + below(3);
    job.shape[last] = n;
    if (layout == FD_EVENT_SUMS) {
        n_event_dim = 1 + (int)below(job.ndim);
        job.dim = 1;
        for (int d = 0; d < n_event_dim; d++)
            job.dim *= job.shape[last - d];
    }
    if (layout == FD_EVENTS && letters[0] == '+') /* these may sum over dims */
        n_event_dim = (int)below(job.ndim + 1);
    for (int k = 0; letters[k]; k++) {
        if (!has_strides(op, k))
            continue;
        if (letters[k] == 'g') {
            memcpy(job.stride[k], job.stride[k - 1], sizeof job.stride[k]);
            continue;
        }
        unsigned repeat = 0;
        if (repeated >> k & 1)
            repeat |= 1u << last;
        if (!writes(op, k))
            for (int d = 0; d < last; d++)
                repeat |= (unsigned)one_in(4) << d;
        if (letters[k] == '=')
            repeat = (unsigned)below((intptr_t)1 << job.ndim);
        if (letters[k] == '+' || (layout == FD_EVENT_SUMS && strchr("rk", letters[k])))
            for (int d = 0; d < n_event_dim; d++)
                repeat |= 1u << (last - d);
        set_strides(&job, k, core_of(op, k, dtype, dim), repeat, one_in(2) && !strchr("FP", letters[k]) && layout < FD_CHECK_ELEMENTS);
    }
    check_case(op, dtype, &job, wild);
}

static void check_kernels(void)
{
    /* Two vectors and one of the widest row, floats: 33; then single sizes around blocks and chunks. */
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
        if (strlen(letters) > FD_MAX_OPERAND || letters[strspn(letters, "vlspcgoxedkr+=YMTXCFLPftwnaKNSBDQOR")])
            fail("operands \"%s\" are too many, or a letter has no meaning in tests/c/kernels.c", letters);
        for (intptr_t dim = 0; dim <= MAX_DIM; dim++)
            if (fd_op_cost(op, dim) < 1)
                fail("it costs %jd", (intmax_t)fd_op_cost(op, dim));
        const int by_dim = layout == FD_EVENTS || layout == FD_EVENT_PRODUCTS || layout == FD_MATRICES ||
                           layout == FD_CHECK_MATRICES;
        const int cubic = letters[0] == 'X' || strchr(letters, 'K') != NULL;
        unsigned patterns = 0; /* which operands may be repeated along the last dim */
        for (int k = 1; letters[k]; k++)
            if (has_strides(op, k) && !writes(op, k) && !strchr("gk", letters[k]) && layout < FD_MATRICES)
                patterns |= 1u << k;
        for (int dtype = 0; dtype < FD_N_DTYPE; dtype++)
            for (int wild = TAME; wild < N_WILD; wild++)
                for (unsigned pattern = 0; pattern <= patterns; pattern++) {
                    if (pattern & ~patterns)
                        continue;
                    for (int s = 0; s < N_SIZE; s++) {
                        /* What takes dim^3 operations is done for a few large dims only. */
                        const int large = cubic && sizes[s] > 10, few = sizes[s] < 70 && pattern == 0 && wild <= SPARSE;
                        const int times = large ? few : patterns == 0 && sizes[s] < 18 ? 3 : 1;
                        const intptr_t most = large ? 1 : sizes[s] > 33 ? 3 : 9;
                        for (int t = 0; t < times; t++) {
                            /* Of small items up to more than a tile, or than kernels keep factors of. */
                            const intptr_t n = sizes[s] <= 10 && one_in(3) ? 10 + below(31) : 1 + below(most);
                            check_job(op, (fd_dtype)dtype, by_dim ? sizes[s] : 1, by_dim ? n : sizes[s], pattern, wild);
                        }
                    }
                    for (int s = 0; s < N_CHUNK && !by_dim && exact(op); s++)
                        check_job(op, (fd_dtype)dtype, 1, chunks[s], pattern, wild);
                }
    }
    now.wild = TAME;
}

/* ---- stream ------------------------------------------------------------------------------ */

static fd_key random_key(void)
{
    fd_key key;
    key.word[0] = one_in(8) ? 0 : random_word();
    key.word[1] = one_in(8) ? 0 : random_word();
    return key;
}

/* The stream's `what` (0 words, 1 float32, 2 float64) from `lanes` on, which move. */
static void make(const fd_stream_ops *ops, int what, fd_lanes *lanes, fd_key key, uint64_t first, intptr_t n_step,
                 void *out, fd_pending *pending)
{
    if (what == 0)
        ops->words(lanes, n_step, out);
    else if (what == 1)
        ops->normals_f32(lanes, key, first, n_step, pending);
    else
        ops->normals_f64(lanes, key, first, n_step, pending);
}

static void check_block(fd_key key, uint64_t block, intptr_t n_step)
{
    static const char *const names[3] = {"words", "normals_f32", "normals_f64"};
    static double normal[FD_BLOCK];
    fd_lanes start, scalar_end;
    for (int what = 0; what < 3; what++) {
        const size_t item = what == 1 ? sizeof(float) : sizeof(double);
        const size_t size = (size_t)n_step * FD_LANES * item;
        const uint64_t first = block * FD_BLOCK;
        const int code = what == 0 ? FD_CODE_RAW : FD_CODE_NORMAL;
        now.what = names[what];
        now.dtype = what == 1 ? FD_F32 : FD_F64;
        now.n = n_step;
        for (int row = 0; row < n_row; row++)
            for (int form = 0; form < n_form(row); form++) {
                use_form(row, form);
                const fd_stream_ops *ops = fd_stream_ops_current();
                fd_lanes lanes;
                ops->seed(&lanes, key, block, code);
                if (row == 0)
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
                    if (row == 0 && !pieces) {
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

static void check_stream(void)
{
    const uint64_t last = FD_POSITIONS / FD_BLOCK - 1;
    for (intptr_t trial = 0; trial < 2000; trial++) {
        random_state = (uint64_t)(1000 + trial) << 32;
        const fd_key key = random_key();
        const uint64_t block = one_in(4) ? last - (uint64_t)below(3) : random_word() % (last + 1);
        check_block(key, one_in(4) ? (uint64_t)trial : block, 1 + trial % FD_BLOCK_STEPS);
    }
}

/* ---- draws ------------------------------------------------------------------------------- */

/* Tile by tile and in pieces, on any row, against noise and colour one after the other. */
static void check_draw(fd_draw *fill, fd_op op, fd_dtype dtype, intptr_t n_sample, intptr_t n_batch, intptr_t dim)
{
    static fd_stream stream;
    const fd_key key = random_key();
    const int events = fill == fd_draw_events, noise_only = fill == fd_draw_noise;
    const intptr_t n_event = n_sample * n_batch, n = n_event * dim;
    const size_t size = (size_t)n * itemsize[dtype];
    const char *letters = fd_op_operands(op);
    fd_noise noise = {&stream, {fd_stream_fill_f32, fd_stream_fill_f64}};

    /* Samples and batch; loc and scale or factor have the batch dim, or not even that. */
    fd_job job = {.ndim = 2, .dim = dim, .shape = {n_sample, n_batch}};
    set_strides(&job, 0, events ? dim : 1, 0, 0);
    for (int k = 1; k < 3; k++) {
        const intptr_t core = core_of(op, k, dtype, dim);
        const unsigned repeat = 1u | (one_in(2) ? 2u : 0u);
        set_strides(&job, k, core, repeat, 0);
        place(&arena[k], (size_t)(core * n_batch) * itemsize[dtype], itemsize[dtype], GUARD_READ);
        job.operand[k] = arena[k].p;
        for (intptr_t i = 0; i < n_distinct(&job, k); i++)
            put_item(letters[k], dtype, arena[k].p + (size_t)(i * core) * itemsize[dtype], dim, core, TAME);
    }
    now.what = events ? fd_op_name(op) : noise_only ? "draw of noise" : "draw of elements";
    now.dtype = dtype;
    now.job = &job;
    now.n = n_event;

    use(0);
    fd_stream_start(&stream, key);
    job.operand[0] = wanted[0];
    noise.fill[dtype](&stream, n, wanted[0]);
    place(&arena[3], FD_SCRATCH_BYTES * (size_t)dim, 64, GUARD_WRITTEN);
    job.operand[3] = arena[3].p;
    if (!noise_only)
        fd_lookup(op, dtype)(&job, 0, n_event);

    for (int row = 0; row < n_row; row++) {
        use(row);
        for (int pieces = 0; pieces < 2; pieces++) {
            place(&arena[0], size, itemsize[dtype], GUARD_WRITTEN);
            job.operand[0] = arena[0].p;
            now.way = pieces ? "in pieces" : "whole";
            fd_drawing drawing = {job, fd_lookup(op, dtype), dtype, n_batch};
            if (events) { /* the batch dims only */
                drawing.job.ndim = 1;
                drawing.job.shape[0] = n_batch;
                for (int k = 0; k < 3; k++)
                    drawing.job.stride[k][0] = job.stride[k][1];
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
    now.job = NULL;
}

static void check_draws(void)
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

/* ---- hashes ------------------------------------------------------------------------------ */

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
                    fd_stream_fill_f64(&stream, portion, buffer.f64 + done);
                else if (what == 1)
                    fd_stream_fill_f32(&stream, portion, buffer.f32 + done);
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

static void check_hash(intptr_t n_block)
{
    uint64_t scalar = 0;
    now.what = "stream";
    now.n = n_block;
    now.way = "by blocks";
    random_state = 3000;
    for (int row = 0; row < n_row; row++)
        for (int form = 0; form < n_form(row); form++) {
            use_form(row, form);
            const uint64_t hash = hash_stream(n_block);
            if (row == 0)
                scalar = hash;
            if (hash != scalar)
                fail("hash %016" PRIx64 ", scalar has %016" PRIx64, hash, scalar);
            for (size_t i = 0; i < sizeof known / sizeof *known; i++)
                if (known[i].n_block == n_block && known[i].hash != hash)
                    fail("hash %016" PRIx64 ", known is %016" PRIx64, hash, known[i].hash);
        }
    printf("hash of %jd blocks %016" PRIx64 ", of kernels %016" PRIx64 "\n", (intmax_t)n_block, scalar, kernels_hash);
}

int main(int argc, char **argv)
{
    const intptr_t n_block = argc > 1 ? (intptr_t)strtoll(argv[1], NULL, 10) : 1024;
    signal(SIGSEGV, crashed);
    signal(SIGBUS, crashed);
    signal(SIGILL, crashed);
    find_rows();
    open_arenas();
    kernels_hash = hash_start;
    check_kernels();
    check_stream();
    check_draws();
    check_hash(n_block);
    printf("%d cases on", n_case);
    for (int row = 0; row < fd_isa_count(); row++)
        printf(" %s%s", fd_isa_name(row), fd_isa_available(row) ? "" : " (not on this CPU)");
    puts(n_failure ? ": FAILED" : ": all the same");
    return n_failure != 0;
}
