/* vec/scalar.h - lane words, one lane: the reference that every other row must equal.
 *
 * The words, for f64v (double) and f32v (float) alike:
 *   lanes                   elements in a vector
 *   set1(a)                 a in every lane
 *   load(p), store(p, v)    `lanes` elements at any address
 *   load_first(p, n)        0 < n < lanes elements, zero in the lanes beyond
 *   store_first(p, v, n)    the same for writing; nothing beyond is touched
 *   keep_first(v, n)        v with zero in the lanes beyond n
 *   add sub mul div         each rounded once
 *   fma(a, b, c)            a * b + c, rounded once
 *   fnma(a, b, c)           c - a * b, rounded once */
#ifndef FD_VEC_H
#define FD_VEC_H

#include <math.h>
#include <stdint.h>

#define FD_VEC_SCALAR(V, REAL, FMA)                                                        \
    typedef REAL V;                                                                        \
    enum { V##_lanes = 1 };                                                                \
    static inline V V##_set1(REAL a) { return a; }                                         \
    static inline V V##_load(const REAL *p) { return *p; }                                 \
    static inline void V##_store(REAL *p, V v) { *p = v; }                                 \
    static inline V V##_load_first(const REAL *p, intptr_t n) { return n > 0 ? *p : 0; }   \
    static inline void V##_store_first(REAL *p, V v, intptr_t n)                           \
    {                                                                                      \
        if (n > 0)                                                                         \
            *p = v;                                                                        \
    }                                                                                      \
    static inline V V##_keep_first(V v, intptr_t n) { return n > 0 ? v : 0; }              \
    static inline V V##_add(V a, V b) { return a + b; }                                    \
    static inline V V##_sub(V a, V b) { return a - b; }                                    \
    static inline V V##_mul(V a, V b) { return a * b; }                                    \
    static inline V V##_div(V a, V b) { return a / b; }                                    \
    static inline V V##_fma(V a, V b, V c) { return FMA(a, b, c); }                        \
    static inline V V##_fnma(V a, V b, V c) { return FMA(-a, b, c); }

FD_VEC_SCALAR(f64v, double, fma)
FD_VEC_SCALAR(f32v, float, fmaf)

#endif
