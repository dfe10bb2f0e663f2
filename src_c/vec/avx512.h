/* vec/avx512.h - lane words (vec/scalar.h tells what each does) on AVX-512 F, DQ, BW and VL: 8 doubles
 * or 16 floats. */
#ifndef FD_VEC_H
#define FD_VEC_H

#include <stdint.h>

#include "x86.h"

#define FD_VEC_AVX512(V, REAL, VECTOR, LANES, PX, MASK)                                        \
    typedef VECTOR V;                                                                          \
    enum { V##_lanes = LANES, V##_rows = 8, V##_block = 8 };                                   \
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
    static inline V V##_sqrt(V a) { return _mm512_sqrt_##PX(a); }                              \
    static inline V V##_abs(V a) { return _mm512_abs_##PX(a); }                                \
    static inline V V##_min(V a, V b) { return _mm512_min_##PX(a, b); }                        \
    static inline V V##_max(V a, V b) { return _mm512_max_##PX(a, b); }                        \
    static inline unsigned V##_below(V a, V b)                                                 \
    {                                                                                          \
        return _mm512_cmp_##PX##_mask(a, b, _CMP_LT_OQ);                                       \
    }                                                                                          \
    static inline V V##_fma(V a, V b, V c) { return _mm512_fmadd_##PX(a, b, c); }              \
    static inline V V##_fnma(V a, V b, V c) { return _mm512_fnmadd_##PX(a, b, c); }

FD_VEC_AVX512(f64v, double, __m512d, 8, pd, __mmask8)
FD_VEC_AVX512(f32v, float, __m512, 16, ps, __mmask16)

static inline __m512i fd_steps(intptr_t step, intptr_t from) /* from * step, (from + 1) * step, ... */
{
    const __m512i count = _mm512_add_epi64(_mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7), _mm512_set1_epi64(from));
    return _mm512_mullo_epi64(count, _mm512_set1_epi64(step));
}
static inline f64v f64v_gather(const double *p, intptr_t step, intptr_t n)
{
    const __mmask8 first = (__mmask8)((1u << n) - 1);
    return _mm512_mask_i64gather_pd(_mm512_setzero_pd(), first, fd_steps(step, 0), p, 8);
}
static inline f32v f32v_gather(const float *p, intptr_t step, intptr_t n)
{
    const __mmask16 first = (__mmask16)((1u << n) - 1);
    const __m256 zero = _mm256_setzero_ps();
    const __m256 low = _mm512_mask_i64gather_ps(zero, (__mmask8)first, fd_steps(step, 0), p, 4);
    const __m256 high = _mm512_mask_i64gather_ps(zero, (__mmask8)(first >> 8), fd_steps(step, 8), p, 4);
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

/* A square changes rows and columns in steps: of lanes within quarters of vectors, of quarters, and of halves, which
 * load_square does on the way from memory: that takes no shuffle, and one port shuffles for all other steps. */
static inline void f64v_turn_quarters(f64v *v, int m)
{
    for (int i = 0; i < m; i += 4) {
        const f64v a = _mm512_unpacklo_pd(v[i], v[i + 1]), b = _mm512_unpackhi_pd(v[i], v[i + 1]);
        const f64v c = _mm512_unpacklo_pd(v[i + 2], v[i + 3]), d = _mm512_unpackhi_pd(v[i + 2], v[i + 3]);
        v[i] = _mm512_shuffle_f64x2(a, c, 0x88);
        v[i + 1] = _mm512_shuffle_f64x2(b, d, 0x88);
        v[i + 2] = _mm512_shuffle_f64x2(a, c, 0xdd);
        v[i + 3] = _mm512_shuffle_f64x2(b, d, 0xdd);
    }
}
static inline void f64v_load_square(f64v *v, const double *p, intptr_t ld, int m)
{
    for (int i = 0; i < m; i++) { /* rows 0, 1, 4, 5, and the second row after each above it */
        const double *half = p + (i % 4 < 2 ? i % 4 : i % 4 + 2) * ld + i / 4 * 4;
        v[i] = _mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_loadu_pd(half)), _mm256_loadu_pd(half + 2 * ld), 1);
    }
    f64v_turn_quarters(v, m);
}
static inline void f64v_transpose(f64v v[8])
{
    f64v_turn_quarters(v, 8);
    for (int i = 0; i < 4; i++) {
        const f64v a = v[i], b = v[i + 4];
        v[i] = _mm512_shuffle_f64x2(a, b, 0x88);
        v[i + 4] = _mm512_shuffle_f64x2(a, b, 0xdd);
    }
}

static inline void f32v_turn_quarters(f32v *v, int m)
{
    for (int i = 0; i < m; i += 4) {
        const f32v a = _mm512_unpacklo_ps(v[i], v[i + 1]), b = _mm512_unpackhi_ps(v[i], v[i + 1]);
        const f32v c = _mm512_unpacklo_ps(v[i + 2], v[i + 3]), d = _mm512_unpackhi_ps(v[i + 2], v[i + 3]);
        v[i] = _mm512_shuffle_ps(a, c, 0x44);
        v[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
        v[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
        v[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
    }
    for (int i = 0; i < m; i += 8)
        for (int j = i; j < i + 4; j++) {
            const f32v a = v[j], b = v[j + 4];
            v[j] = _mm512_shuffle_f32x4(a, b, 0x88);
            v[j + 4] = _mm512_shuffle_f32x4(a, b, 0xdd);
        }
}
static inline void f32v_load_square(f32v *v, const float *p, intptr_t ld, int m)
{
    for (int i = 0; i < m; i++) { /* rows 0 to 3, 8 to 11, and the fourth row after each above it */
        const float *half = p + (i % 8 < 4 ? i % 8 : i % 8 + 4) * ld + i / 8 * 8;
        v[i] = _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(half)), _mm256_loadu_ps(half + 4 * ld), 1);
    }
    f32v_turn_quarters(v, m);
}
static inline void f32v_transpose(f32v v[16])
{
    f32v_turn_quarters(v, 16);
    for (int i = 0; i < 8; i++) {
        const f32v a = v[i], b = v[i + 8];
        v[i] = _mm512_shuffle_f32x4(a, b, 0x88);
        v[i + 8] = _mm512_shuffle_f32x4(a, b, 0xdd);
    }
}

#define FD_LANE(j, lanes) ((j) / d * d + k) & ((lanes) - 1)
static inline f64v f64v_splat(int d, int k, f64v v)
{
    if (d == 2)
        return k ? _mm512_permute_pd(v, 0xff) : _mm512_movedup_pd(v);
    return _mm512_permutexvar_pd(_mm512_setr_epi64(FD_LANE(0, 8), FD_LANE(1, 8), FD_LANE(2, 8), FD_LANE(3, 8),
                                                   FD_LANE(4, 8), FD_LANE(5, 8), FD_LANE(6, 8), FD_LANE(7, 8)),
                                 v);
}
static inline f32v f32v_splat(int d, int k, f32v v)
{
    if (d == 2)
        return k ? _mm512_movehdup_ps(v) : _mm512_moveldup_ps(v);
    return _mm512_permutexvar_ps(
        _mm512_setr_epi32(FD_LANE(0, 16), FD_LANE(1, 16), FD_LANE(2, 16), FD_LANE(3, 16), FD_LANE(4, 16),
                          FD_LANE(5, 16), FD_LANE(6, 16), FD_LANE(7, 16), FD_LANE(8, 16), FD_LANE(9, 16),
                          FD_LANE(10, 16), FD_LANE(11, 16), FD_LANE(12, 16), FD_LANE(13, 16), FD_LANE(14, 16),
                          FD_LANE(15, 16)),
        v);
}
#undef FD_LANE
static inline f64v f64v_evens(f64v a, f64v b)
{
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b);
}
static inline f64v f64v_odds(f64v a, f64v b)
{
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), b);
}
static inline f32v f32v_evens(f32v a, f32v b)
{
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(a, even, b);
}
static inline f32v f32v_odds(f32v a, f32v b)
{
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return _mm512_permutex2var_ps(a, odd, b);
}
static inline f64v f64v_even_pairs(f64v a, f64v b) { return _mm512_shuffle_f64x2(a, b, 0x88); }
static inline f64v f64v_odd_pairs(f64v a, f64v b) { return _mm512_shuffle_f64x2(a, b, 0xdd); }
static inline f32v f32v_even_pairs(f32v a, f32v b)
{
    const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    return _mm512_castpd_ps(_mm512_permutex2var_pd(_mm512_castps_pd(a), even, _mm512_castps_pd(b)));
}
static inline f32v f32v_odd_pairs(f32v a, f32v b)
{
    const __m512i odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
    return _mm512_castpd_ps(_mm512_permutex2var_pd(_mm512_castps_pd(a), odd, _mm512_castps_pd(b)));
}

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
static inline unsigned u64v_below(u64v a, u64v b) { return _mm512_cmplt_epu64_mask(a, b); }
static inline f64v f64v_select(unsigned mask, f64v a, f64v b)
{
    return _mm512_mask_mov_pd(b, (__mmask8)mask, a);
}

typedef __m512i u32v;
static inline u32v u32v_set1(uint32_t a) { return _mm512_set1_epi32((int32_t)a); }
static inline u32v u32v_add(u32v a, u32v b) { return _mm512_add_epi32(a, b); }
static inline u32v u32v_and(u32v a, u32v b) { return _mm512_and_si512(a, b); }
static inline u32v u32v_or(u32v a, u32v b) { return _mm512_or_si512(a, b); }
#define u32v_srl(a, k) _mm512_srli_epi32(a, k)
#define u32v_sll(a, k) _mm512_slli_epi32(a, k)
static inline u32v u32v_bits(f32v a) { return _mm512_castps_si512(a); }
static inline f32v f32v_from_bits(u32v a) { return _mm512_castsi512_ps(a); }
static inline f32v f32v_select(unsigned mask, f32v a, f32v b)
{
    return _mm512_mask_mov_ps(b, (__mmask16)mask, a);
}

static inline void f64v_store_f32(float *p, f64v v) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(v)); }
static inline f64v f64v_low(f32v v) { return _mm512_cvtps_pd(_mm512_castps512_ps256(v)); }
static inline f64v f64v_high(f32v v) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)); }
static inline f32v f32v_narrow(f64v a, f64v b)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(a)), _mm512_cvtpd_ps(b), 1);
}

/* Without a gather by way of memory, because scalar registers address; in halves, because what is read of a
 * stored vector of 64 bytes has to wait until the cache has it. A gather takes three quarters of the time, where
 * cpu.h says that gathers are fast. */
#define FD_VEC_GATHER
static inline f64v f64v_lookup(int gather, const double *table, u64v index)
{
    _Alignas(32) uint64_t i[8];
    if (gather)
        return _mm512_i64gather_pd(index, table, 8);
    _mm256_store_si256((__m256i *)(void *)i, _mm512_castsi512_si256(index));
    _mm256_store_si256((__m256i *)(void *)(i + 4), _mm512_extracti64x4_epi64(index, 1));
    FD_VEC_IN_MEMORY(i);
    return _mm512_setr_pd(table[i[0]], table[i[1]], table[i[2]], table[i[3]], table[i[4]], table[i[5]],
                          table[i[6]], table[i[7]]);
}

#endif
