/* vec/avx512.h - lane words (vec/scalar.h tells what each does) on AVX-512 F, DQ, BW and VL: 8 doubles
 * or 16 floats. */
#ifndef FD_VEC_H
#define FD_VEC_H

#include <immintrin.h>
#include <stdint.h>

#define FD_VEC_AVX512(V, REAL, VECTOR, LANES, PX, MASK)                                        \
    typedef VECTOR V;                                                                          \
    enum { V##_lanes = LANES };                                                                \
    static inline MASK V##_first(intptr_t n) { return (MASK)((1u << n) - 1); }                 \
    static inline V V##_set1(REAL a) { return _mm512_set1_##PX(a); }                           \
    static inline V V##_load(const REAL *p) { return _mm512_loadu_##PX(p); }                   \
    static inline void V##_store(REAL *p, V v) { _mm512_storeu_##PX(p, v); }                   \
    static inline V V##_load_first(const REAL *p, intptr_t n)                                  \
    {                                                                                          \
        return _mm512_maskz_loadu_##PX(V##_first(n), p);                                       \
    }                                                                                          \
    static inline void V##_store_first(REAL *p, V v, intptr_t n)                               \
    {                                                                                          \
        _mm512_mask_storeu_##PX(p, V##_first(n), v);                                           \
    }                                                                                          \
    static inline V V##_add(V a, V b) { return _mm512_add_##PX(a, b); }                        \
    static inline V V##_sub(V a, V b) { return _mm512_sub_##PX(a, b); }                        \
    static inline V V##_mul(V a, V b) { return _mm512_mul_##PX(a, b); }                        \
    static inline V V##_div(V a, V b) { return _mm512_div_##PX(a, b); }                        \
    static inline V V##_fma(V a, V b, V c) { return _mm512_fmadd_##PX(a, b, c); }              \
    static inline V V##_fnma(V a, V b, V c) { return _mm512_fnmadd_##PX(a, b, c); }

FD_VEC_AVX512(f64v, double, __m512d, 8, pd, __mmask8)
FD_VEC_AVX512(f32v, float, __m512, 16, ps, __mmask16)

typedef __m512i u64v;
enum { u64v_lanes = 8, u64v_group = 1 };
static inline u64v u64v_set1(uint64_t a) { return _mm512_set1_epi64((int64_t)a); }
static inline u64v u64v_load(const uint64_t *p) { return _mm512_loadu_si512(p); }
static inline void u64v_store(uint64_t *p, u64v v) { _mm512_storeu_si512(p, v); }
static inline u64v u64v_add(u64v a, u64v b) { return _mm512_add_epi64(a, b); }
static inline u64v u64v_and(u64v a, u64v b) { return _mm512_and_si512(a, b); }
static inline u64v u64v_or(u64v a, u64v b) { return _mm512_or_si512(a, b); }
static inline u64v u64v_xor(u64v a, u64v b) { return _mm512_xor_si512(a, b); }
static inline u64v u64v_mul32(u64v a, u64v b) { return _mm512_mul_epu32(a, b); }
static inline u64v u64v_rotl24(u64v a) { return _mm512_rol_epi64(a, 24); }
#define u64v_srl(a, k) _mm512_srli_epi64(a, k)
#define u64v_sll(a, k) _mm512_slli_epi64(a, k)
static inline u64v u64v_bits(f64v a) { return _mm512_castpd_si512(a); }
static inline f64v f64v_from_bits(u64v a) { return _mm512_castsi512_pd(a); }
static inline unsigned f64v_abs_below(f64v a, f64v b)
{
    return _mm512_cmp_pd_mask(_mm512_abs_pd(a), b, _CMP_LT_OQ);
}
static inline f64v f64v_select(unsigned mask, f64v a, f64v b)
{
    return _mm512_mask_mov_pd(b, (__mmask8)mask, a);
}
static inline void f64v_store_f32(float *p, f64v v) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(v)); }

/* Two gathers would take twice the time of these eight loads of both neighbours. */
static inline __m256d fd_pairs(const double *table, uint64_t i, uint64_t j)
{
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(table + i)), _mm_loadu_pd(table + j), 1);
}
static inline void f64v_lookup(const double *table, const uint64_t *index, f64v *at, f64v *after)
{
    const __m512d even = _mm512_insertf64x4(_mm512_castpd256_pd512(fd_pairs(table, index[0], index[2])),
                                            fd_pairs(table, index[4], index[6]), 1);
    const __m512d odd = _mm512_insertf64x4(_mm512_castpd256_pd512(fd_pairs(table, index[1], index[3])),
                                           fd_pairs(table, index[5], index[7]), 1);
    *at = _mm512_unpacklo_pd(even, odd);
    *after = _mm512_unpackhi_pd(even, odd);
}

#endif
