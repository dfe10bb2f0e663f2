/* tests/c/kernels/harness.c - what the checks stand on. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
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

#include "check.h"

/* ---- failures -------------------------------------------------------------------------------- */

enum { MAX_FAILURE = 10 };

int n_failure, n_case;
struct now now;

static const char *const dtype_names[FD_N_DTYPE] = {"f32", "f64"};
const size_t itemsize[FD_N_DTYPE] = {sizeof(float), sizeof(double)};

static void print_now(void)
{
    fprintf(stderr, "%s %s on %s, %s, n = %jd, wild %d", now.what, dtype_names[now.dtype], now.isa, now.way,
            (intmax_t)now.n, now.wild);
    if (now.loop) {
        fprintf(stderr, ", dim %jd, shape", (intmax_t)now.loop->dim);
        for (int d = 0; d < now.loop->ndim; d++)
            fprintf(stderr, " %jd", (intmax_t)now.loop->shape[d]);
        for (int k = 0; k < FD_MAX_OPERAND; k++) {
            fprintf(stderr, "; strides %d:", k);
            for (int d = 0; d < now.loop->ndim; d++)
                fprintf(stderr, " %jd", (intmax_t)now.loop->stride[k][d]);
        }
    }
    fputs("\n", stderr);
}

void fail(const char *format, ...)
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
void crashed(int signal_number)
{
    fprintf(stderr, "FAILED: signal %d\n    ", signal_number);
    print_now();
    _exit(1);
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

void check_upper_halves(void)
{
    if (upper_halves_in_use())
        fail("the upper halves of vector registers are left in use");
}

/* ---- targets ------------------------------------------------------------------------------------ */

/* The targets of the dispatch table that this CPU can run, found out once: CPUID is slow on a virtual one. */
static int targets[16];
int n_target;

void find_targets(void)
{
    for (int target = 0; target < fd_isa_count(); target++)
        if (fd_isa_available(target))
            targets[n_target++] = target;
}

void use(int target)
{
    fd_isa_use(targets[target]);
    now.isa = fd_isa_name(targets[target]);
}

/* The forms of a target's noise: without gathers, and with them if it has any. */
int n_form(int target) { return 1 + fd_isa_has_gather(targets[target]); }

void use_form(int target, int gather)
{
    fd_isa_use_gather(targets[target], gather);
    now.isa = gather ? "avx512, gathers" : fd_isa_name(targets[target]);
}

/* ---- random ---------------------------------------------------------------------------------- */

/* SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). */
uint64_t random_state;

uint64_t random_word(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

intptr_t below(intptr_t n) { return (intptr_t)(random_word() % (uint64_t)n); }
int one_in(intptr_t n) { return below(n) == 0; }
double unit(void) { return (double)(random_word() >> 11) * 0x1p-53; }
double uniform(double low, double high) { return low + (high - low) * unit(); }

fd_key random_key(void)
{
    fd_key key;
    key.word[0] = one_in(8) ? 0 : random_word();
    key.word[1] = one_in(8) ? 0 : random_word();
    return key;
}

double get(fd_dtype dtype, const void *p, intptr_t i)
{
    return dtype == FD_F32 ? (double)((const float *)p)[i] : ((const double *)p)[i];
}

void put(fd_dtype dtype, void *p, intptr_t i, double value)
{
    if (dtype == FD_F32)
        ((float *)p)[i] = (float)value;
    else
        ((double *)p)[i] = value;
}

/* Signed zeros, subnormals, the ends of the range, infinities, NaN, any bits at all; of a TINY case
 * the first three only. */
void put_worst(fd_dtype dtype, void *p, intptr_t i, int wild)
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
int worst_now(int wild)
{
    return wild == TINY || (wild == DENSE && one_in(2)) || (wild == SPARSE && one_in(24));
}

/* ---- arenas ---------------------------------------------------------------------------------- */

region arena[FD_MAX_OPERAND];
unsigned char wanted[FD_MAX_OPERAND][ROOM];

void open_arenas(void)
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
void place(region *r, size_t size, size_t item, int guard)
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

/* ---- hashes ---------------------------------------------------------------------------------- */

const uint64_t hash_start = 0xcbf29ce484222325;

/* FNV-1a by words, with a fold so that high bits matter to low ones. */
uint64_t hash_word(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x100000001b3;
    return hash ^ hash >> 32;
}
