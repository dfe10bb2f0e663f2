/* vec/avx2.h - lane words (vec/scalar.h tells what each does) on AVX2 with FMA: 4 doubles or
 * 8 floats. Masked loads and stores never touch memory beyond the mask. */
#ifndef FD_VEC_H
#define FD_VEC_H

#include <immintrin.h>
#include <stdint.h>

/* A sliding window over this table is the mask of the first n lanes. */
static const int32_t fd_mask32[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
static const int64_t fd_mask64[8] = {-1, -1, -1, -1, 0, 0, 0, 0};

static inline __m256i fd_first32(intptr_t n)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)(fd_mask32 + 8 - n));
}

static inline __m256i fd_first64(intptr_t n)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)(fd_mask64 + 4 - n));
}

#define FD_VEC_AVX2(V, REAL, VECTOR, LANES, PX, FIRST, AS_VECTOR)                              \
    typedef VECTOR V;                                                                          \
    enum { V##_lanes = LANES };                                                                \
    static inline V V##_set1(REAL a) { return _mm256_set1_##PX(a); }                           \
    static inline V V##_load(const REAL *p) { return _mm256_loadu_##PX(p); }                   \
    static inline void V##_store(REAL *p, V v) { _mm256_storeu_##PX(p, v); }                   \
    static inline V V##_load_first(const REAL *p, intptr_t n)                                  \
    {                                                                                          \
        return _mm256_maskload_##PX(p, FIRST(n));                                              \
    }                                                                                          \
    static inline void V##_store_first(REAL *p, V v, intptr_t n)                               \
    {                                                                                          \
        _mm256_maskstore_##PX(p, FIRST(n), v);                                                 \
    }                                                                                          \
    static inline V V##_keep_first(V v, intptr_t n)                                            \
    {                                                                                          \
        return _mm256_and_##PX(v, AS_VECTOR(FIRST(n)));                                        \
    }                                                                                          \
    static inline V V##_add(V a, V b) { return _mm256_add_##PX(a, b); }                        \
    static inline V V##_sub(V a, V b) { return _mm256_sub_##PX(a, b); }                        \
    static inline V V##_mul(V a, V b) { return _mm256_mul_##PX(a, b); }                        \
    static inline V V##_div(V a, V b) { return _mm256_div_##PX(a, b); }                        \
    static inline V V##_fma(V a, V b, V c) { return _mm256_fmadd_##PX(a, b, c); }              \
    static inline V V##_fnma(V a, V b, V c) { return _mm256_fnmadd_##PX(a, b, c); }

FD_VEC_AVX2(f64v, double, __m256d, 4, pd, fd_first64, _mm256_castsi256_pd)
FD_VEC_AVX2(f32v, float, __m256, 8, ps, fd_first32, _mm256_castsi256_ps)

#endif
