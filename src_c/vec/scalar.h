/* vec/scalar.h - lane words, one lane: the reference that every other row must equal.
 *
 * The words, for f64v (double) and f32v (float) alike:
 *   lanes                   elements in a vector
 *   rows, block             how many vectors of sums there are registers for, with operands beside
 *                           them: of pairs of vectors, in multiply_block and in whiten_block
 *   set1(a)                 a in every lane
 *   load(p), store(p, v)    `lanes` elements at any address
 *   load_first(p, n)        0 < n < lanes elements, zero in the lanes beyond
 *   store_first(p, v, n)    the same for writing; nothing beyond is touched
 *   gather(p, step, n)      p[0], p[step], ...: 0 < n <= lanes elements, zero in the lanes beyond
 *   add sub mul div sqrt    each rounded once
 *   abs(a)                  without its sign
 *   min(a, b), max(a, b)    a where a < b or a > b, otherwise b, so where one is NaN
 *   below(a, b)             mask of the lanes where a < b, lane 0 in bit 0
 *   fma(a, b, c)            a * b + c, rounded once
 *   fnma(a, b, c)           c - a * b, rounded once
 *   transpose(v)            `lanes` vectors in place: lane j of v[i] and lane i of v[j] change places
 *   load_square(v, p, ld, m)   the first m elements of `lanes` rows, ld apart, transposed: lane j of v[i] is
 *                           element i of row j; m is a compile-time constant, lanes or half of it
 *   splat(d, k, v)          lane k of each d lanes in all of them; 0 <= k < d, constants, d = 2 or 4 <= lanes, or
 *                           d <= lanes / 2, or d = lanes; lanes beyond the last d hold anything
 *   even_pairs(a, b), odd_pairs(a, b)   of the pairs of lanes of a, then of b: the first of each two, the
 *                           second of each two (where lanes >= 4)
 *   evens(a, b), odds(a, b) of the lanes of a, then of b: every other one, from the first or the second on
 *
 * and for u64v (uint64_t), as many lanes as f64v:
 *   group                   vectors to keep in registers at a time, for enough independent work
 *   add and or xor          modulo 2^64
 *   srl(a, k) sll(a, k)     shifts by a compile-time constant; rotl24 rotates left by 24
 *   mul32(a, b)             product of the low 32 bits of each
 *   bits, f64v_from_bits    the same bits as another type
 *   f64v_select(m, a, b)    a in the lanes of mask m, b in the others
 *   f64v_store_f32(p, v)    rounded to floats
 *   f64v_low(v), f64v_high(v)   the first half of a vector of floats as doubles, and the second; f32v_narrow(a, b)
 *                           rounds both back to one. With one lane there is no second.
 *   below(a, b)             mask of the lanes where a < b, both below 2^63
 *   f64v_lookup(gather, table, i)   table[i] of each lane's i; by a gather if that constant is 1 and the ISA
 *                           has one, for which it defines FD_VEC_GATHER
 *
 * and for u32v (uint32_t), as many lanes as f32v: set1, add, and, or, srl, sll, bits, f32v_from_bits, f32v_select.
 *
 * vec_done()                leaves no upper halves of vectors in use; compilers see to that, but where clang makes
 *                           narrow vectors of wide ones in memory, and thinks that those are never in a register */
#ifndef FD_VEC_H
#define FD_VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define FD_VEC_SCALAR(V, REAL, FMA, SQRT, ABS)                                                        \
    typedef REAL V;                                                                        \
    enum { V##_lanes = 1, V##_rows = 4, V##_block = 4 };                                   \
    static inline V V##_set1(REAL a) { return a; }                                         \
    static inline V V##_load(const REAL *p) { return *p; }                                 \
    static inline void V##_store(REAL *p, V v) { *p = v; }                                 \
    static inline V V##_load_first(const REAL *p, intptr_t n) { return n > 0 ? *p : 0; }   \
    static inline void V##_store_first(REAL *p, V v, intptr_t n)                           \
    {                                                                                      \
        if (n > 0)                                                                         \
            *p = v;                                                                        \
    }                                                                                      \
    static inline V V##_gather(const REAL *p, intptr_t step, intptr_t n) { return (void)step, (void)n, *p; } \
    static inline V V##_add(V a, V b) { return a + b; }                                    \
    static inline V V##_sub(V a, V b) { return a - b; }                                    \
    static inline V V##_mul(V a, V b) { return a * b; }                                    \
    static inline V V##_div(V a, V b) { return a / b; }                                    \
    static inline V V##_sqrt(V a) { return SQRT(a); }                                      \
    static inline V V##_abs(V a) { return ABS(a); }                                        \
    static inline V V##_min(V a, V b) { return a < b ? a : b; }                            \
    static inline V V##_max(V a, V b) { return a > b ? a : b; }                            \
    static inline unsigned V##_below(V a, V b) { return a < b; }                           \
    static inline V V##_fma(V a, V b, V c) { return FMA(a, b, c); }                        \
    static inline V V##_fnma(V a, V b, V c) { return FMA(-a, b, c); }                      \
    static inline void V##_transpose(V v[1]) { (void)v; }                                  \
    static inline void V##_load_square(V *v, const REAL *p, intptr_t ld, int m) { (void)ld, (void)m, *v = *p; } \
    static inline V V##_splat(int d, int k, V v) { return (void)d, (void)k, v; }           \
    static inline V V##_even_pairs(V a, V b) { return (void)b, a; }                        \
    static inline V V##_odd_pairs(V a, V b) { return (void)a, b; }                         \
    static inline V V##_evens(V a, V b) { return (void)b, a; }                             \
    static inline V V##_odds(V a, V b) { return (void)a, b; }

FD_VEC_SCALAR(f64v, double, fma, sqrt, fabs)
FD_VEC_SCALAR(f32v, float, fmaf, sqrtf, fabsf)

typedef uint64_t u64v;
enum { u64v_lanes = 1, u64v_group = 2 };
static inline u64v u64v_set1(uint64_t a) { return a; }
static inline u64v u64v_load(const uint64_t *p) { return *p; }
static inline void u64v_store(uint64_t *p, u64v v) { *p = v; }
static inline u64v u64v_add(u64v a, u64v b) { return a + b; }
static inline u64v u64v_and(u64v a, u64v b) { return a & b; }
static inline u64v u64v_or(u64v a, u64v b) { return a | b; }
static inline u64v u64v_xor(u64v a, u64v b) { return a ^ b; }
static inline u64v u64v_mul32(u64v a, u64v b) { return (a & 0xffffffff) * (b & 0xffffffff); }
static inline u64v u64v_rotl24(u64v a) { return a << 24 | a >> 40; }
static inline u64v u64v_srl(u64v a, int k) { return a >> k; }
static inline u64v u64v_sll(u64v a, int k) { return a << k; }
static inline u64v u64v_bits(f64v a)
{
    u64v bits;
    memcpy(&bits, &a, sizeof bits);
    return bits;
}
static inline f64v f64v_from_bits(u64v a)
{
    f64v value;
    memcpy(&value, &a, sizeof value);
    return value;
}
static inline unsigned u64v_below(u64v a, u64v b) { return a < b; }
static inline f64v f64v_select(unsigned mask, f64v a, f64v b) { return mask ? a : b; }

typedef uint32_t u32v;
static inline u32v u32v_set1(uint32_t a) { return a; }
static inline u32v u32v_add(u32v a, u32v b) { return a + b; }
static inline u32v u32v_and(u32v a, u32v b) { return a & b; }
static inline u32v u32v_or(u32v a, u32v b) { return a | b; }
static inline u32v u32v_srl(u32v a, int k) { return a >> k; }
static inline u32v u32v_sll(u32v a, int k) { return a << k; }
static inline u32v u32v_bits(f32v a)
{
    u32v bits;
    memcpy(&bits, &a, sizeof bits);
    return bits;
}
static inline f32v f32v_from_bits(u32v a)
{
    f32v number;
    memcpy(&number, &a, sizeof number);
    return number;
}
static inline f32v f32v_select(unsigned mask, f32v a, f32v b) { return mask ? a : b; }

static inline void f64v_store_f32(float *p, f64v v) { *p = (float)v; }
static inline f64v f64v_low(f32v v) { return (double)v; }
static inline f64v f64v_high(f32v v) { return (double)v; }
static inline f32v f32v_narrow(f64v a, f64v b) { return (void)b, (float)a; }
static inline f64v f64v_lookup(int gather, const double *table, u64v index) { return (void)gather, table[index]; }

static inline void vec_done(void) {}

#endif
