/* kernels/body.h - the words that kernel bodies are written in. A body is included once per
 * dtype by isa/target.inc.h, which sets FD_ISA, FD_DTYPE, REAL, VEC, REAL_FMA, ... around it. */
#ifndef FD_BODY_H
#define FD_BODY_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "../fastdist.h"
#include "../run.h"

#define FD_CAT2(a, b) a##_##b
#define FD_CAT(a, b) FD_CAT2(a, b)

/* fd_<op>_<dtype>_<isa> */
#define FD_NAME(op) FD_CAT(FD_CAT(fd_##op, FD_DTYPE), FD_ISA)
/* A helper of one dtype: <name>_<dtype>; files of an ISA are separate translation units. */
#define FD_LOCAL(name) FD_CAT(name, FD_DTYPE)
/* A lane word: V(load) is f64v_load or f32v_load. */
#define V(word) FD_CAT(VEC, word)

/* Where operand k of the present run begins, and how far on its next item is. */
#define AT(k) ((REAL *)loop->operand[k] + run.offset[k])
#define STRIDE(k) (loop->stride[k][loop->ndim - 1])

/* Before a loop whose number of turns is a compile-time constant: its arrays of vectors are then registers. Clang
 * does it unasked. */
#if defined(__GNUC__) && !defined(__clang__)
#define FD_UNROLL _Pragma("GCC unroll 16")
#else
#define FD_UNROLL
#endif

/* Eight bytes as a word, the first one lowest, in which compilers see one load. */
static inline uint64_t fd_little_endian(const unsigned char *byte)
{
    return (uint64_t)byte[0] | (uint64_t)byte[1] << 8 | (uint64_t)byte[2] << 16 | (uint64_t)byte[3] << 24 |
           (uint64_t)byte[4] << 32 | (uint64_t)byte[5] << 40 | (uint64_t)byte[6] << 48 | (uint64_t)byte[7] << 56;
}

#if defined(__GNUC__)
#define FD_INLINE static inline __attribute__((always_inline))
/* A function of its own, so that its loop has all registers to itself. */
#define FD_ALONE static __attribute__((noinline))
#define FD_UNLIKELY(condition) __builtin_expect((condition) != 0, 0)
static inline int fd_lowest_bit(uint64_t mask) { return __builtin_ctzll(mask); }
/* The cache line at an address, which need not be one, will be read, or written. */
static inline void fd_prefetch(uintptr_t address) { __builtin_prefetch((void *)address, 0); }
/* To the second-level cache: much of it, that would drive itself out of the first. */
static inline void fd_prefetch_outer(uintptr_t address) { __builtin_prefetch((void *)address, 0, 2); }
static inline void fd_prefetch_write(uintptr_t address) { __builtin_prefetch((void *)address, 1); }
#else
#define FD_INLINE static inline
#define FD_ALONE static
#define FD_UNLIKELY(condition) (condition)
static inline int fd_lowest_bit(uint64_t mask)
{
    int bit = 0;
    while (!(mask >> bit & 1))
        bit++;
    return bit;
}
static inline void fd_prefetch(uintptr_t address) { (void)address; }
static inline void fd_prefetch_outer(uintptr_t address) { (void)address; }
static inline void fd_prefetch_write(uintptr_t address) { (void)address; }
#endif

/* A sum of doubles and what its roundings lost (Knuth, The Art of Computer Programming 2, section 4.2.2,
 * theorem B). */
static inline void fd_add_up(fd_total *total, double x)
{
    const double sum = total->sum + x, back = sum - total->sum;
    total->error += (total->sum - (sum - back)) + (x - back);
    total->sum = sum;
}

/* (x - loc) / scale / 2, where the difference may overflow. Halves of what is so large lose nothing; all others
 * would if they are subnormal. */
static inline double fd_half_standardized(double x, double loc, double scale)
{
    const double difference = x - loc;
    return isfinite(difference) ? 0.5 * (difference / scale) : (0.5 * x - 0.5 * loc) / scale;
}

/* Sums run over this many bytes of accumulators in a fixed order whatever the vector width:
 * one AVX-512 vector, two of AVX2, 8 or 16 scalars. */
enum { FD_SUM_BYTES = 64 };

#endif
