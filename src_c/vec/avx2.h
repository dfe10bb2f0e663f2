/* vec/avx2.h - lane words (vec/scalar.h tells what each does) on AVX2 with FMA: 4 doubles or
 * 8 floats. Masked loads and stores never touch memory beyond the mask. */
#ifndef FD_VEC_H
#define FD_VEC_H

#include <stdint.h>

#include "x86.h"

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
    enum { V##_lanes = LANES, V##_rows = 6, V##_block = 4 };                                   \
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
    static inline V V##_add(V a, V b) { return _mm256_add_##PX(a, b); }                        \
    static inline V V##_sub(V a, V b) { return _mm256_sub_##PX(a, b); }                        \
    static inline V V##_mul(V a, V b) { return _mm256_mul_##PX(a, b); }                        \
    static inline V V##_div(V a, V b) { return _mm256_div_##PX(a, b); }                        \
    static inline V V##_sqrt(V a) { return _mm256_sqrt_##PX(a); }                              \
    static inline V V##_abs(V a) { return _mm256_andnot_##PX(_mm256_set1_##PX(-0.0f), a); }    \
    static inline V V##_min(V a, V b) { return _mm256_min_##PX(a, b); }                        \
    static inline V V##_max(V a, V b) { return _mm256_max_##PX(a, b); }                        \
    static inline unsigned V##_below(V a, V b)                                                 \
    {                                                                                          \
        return (unsigned)_mm256_movemask_##PX(_mm256_cmp_##PX(a, b, _CMP_LT_OQ));              \
    }                                                                                          \
    static inline V V##_fma(V a, V b, V c) { return _mm256_fmadd_##PX(a, b, c); }              \
    static inline V V##_fnma(V a, V b, V c) { return _mm256_fnmadd_##PX(a, b, c); }

FD_VEC_AVX2(f64v, double, __m256d, 4, pd, fd_first64, _mm256_castsi256_pd)
FD_VEC_AVX2(f32v, float, __m256, 8, ps, fd_first32, _mm256_castsi256_ps)

/* Loads of single elements take no longer than the gather instructions. */
static inline f64v f64v_gather(const double *p, intptr_t step, intptr_t n)
{
    if (n == 4)
        return _mm256_setr_pd(p[0], p[step], p[2 * step], p[3 * step]);
    return _mm256_setr_pd(p[0], n > 1 ? p[step] : 0, n > 2 ? p[2 * step] : 0, 0);
}
static inline f32v f32v_gather(const float *p, intptr_t step, intptr_t n)
{
    if (n == 8)
        return _mm256_setr_ps(p[0], p[step], p[2 * step], p[3 * step], p[4 * step], p[5 * step], p[6 * step],
                              p[7 * step]);
    float all[8] = {0};
    for (intptr_t i = 0; i < n; i++)
        all[i] = p[i * step];
    return f32v_load(all);
}

/* A square changes rows and columns in steps: of lanes within halves of vectors, and of halves, which load_square
 * does on the way from memory. */
static inline void f64v_turn_halves(f64v *v, int m)
{
    for (int i = 0; i < m; i += 2) {
        const f64v a = v[i], b = v[i + 1];
        v[i] = _mm256_unpacklo_pd(a, b);
        v[i + 1] = _mm256_unpackhi_pd(a, b);
    }
}
static inline void f64v_load_square(f64v *v, const double *p, intptr_t ld, int m)
{
    for (int i = 0; i < m; i++) {
        const double *half = p + i % 2 * ld + i / 2 * 2;
        v[i] = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(half)), _mm_loadu_pd(half + 2 * ld), 1);
    }
    f64v_turn_halves(v, m);
}
static inline void f64v_transpose(f64v v[4])
{
    f64v_turn_halves(v, 4);
    for (int i = 0; i < 2; i++) {
        const f64v a = v[i], b = v[i + 2];
        v[i] = _mm256_permute2f128_pd(a, b, 0x20);
        v[i + 2] = _mm256_permute2f128_pd(a, b, 0x31);
    }
}

static inline void f32v_turn_halves(f32v *v, int m)
{
    for (int i = 0; i < m; i += 4) {
        const f32v a = _mm256_unpacklo_ps(v[i], v[i + 1]), b = _mm256_unpackhi_ps(v[i], v[i + 1]);
        const f32v c = _mm256_unpacklo_ps(v[i + 2], v[i + 3]), d = _mm256_unpackhi_ps(v[i + 2], v[i + 3]);
        v[i] = _mm256_shuffle_ps(a, c, 0x44);
        v[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        v[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        v[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
}
static inline void f32v_load_square(f32v *v, const float *p, intptr_t ld, int m)
{
    for (int i = 0; i < m; i++) {
        const float *half = p + i % 4 * ld + i / 4 * 4;
        v[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(half)), _mm_loadu_ps(half + 4 * ld), 1);
    }
    f32v_turn_halves(v, m);
}
static inline void f32v_transpose(f32v v[8])
{
    f32v_turn_halves(v, 8);
    for (int i = 0; i < 4; i++) {
        const f32v a = v[i], b = v[i + 4];
        v[i] = _mm256_permute2f128_ps(a, b, 0x20);
        v[i + 4] = _mm256_permute2f128_ps(a, b, 0x31);
    }
}

static inline f64v f64v_splat(int d, int k, f64v v)
{
    if (d == 2)
        return k ? _mm256_permute_pd(v, 15) : _mm256_movedup_pd(v);
    return k == 0   ? _mm256_permute4x64_pd(v, 0x00)
           : k == 1 ? _mm256_permute4x64_pd(v, 0x55)
           : k == 2 ? _mm256_permute4x64_pd(v, 0xaa)
                    : _mm256_permute4x64_pd(v, 0xff);
}
static inline f32v f32v_splat(int d, int k, f32v v)
{
    if (d == 2)
        return k ? _mm256_movehdup_ps(v) : _mm256_moveldup_ps(v);
    if (d == 3)
        return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(k, k, k, k + 3, k + 3, k + 3, 0, 0));
    if (d == 8)
        return _mm256_permutevar8x32_ps(v, _mm256_set1_epi32(k));
    return k == 0   ? _mm256_permute_ps(v, 0x00)
           : k == 1 ? _mm256_permute_ps(v, 0x55)
           : k == 2 ? _mm256_permute_ps(v, 0xaa)
                    : _mm256_permute_ps(v, 0xff);
}
static inline f64v f64v_evens(f64v a, f64v b) { return _mm256_permute4x64_pd(_mm256_unpacklo_pd(a, b), 0xd8); }
static inline f64v f64v_odds(f64v a, f64v b) { return _mm256_permute4x64_pd(_mm256_unpackhi_pd(a, b), 0xd8); }
static inline f32v f32v_evens(f32v a, f32v b)
{
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88)), 0xd8));
}
static inline f32v f32v_odds(f32v a, f32v b)
{
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd)), 0xd8));
}
static inline f64v f64v_even_pairs(f64v a, f64v b) { return _mm256_permute2f128_pd(a, b, 0x20); }
static inline f64v f64v_odd_pairs(f64v a, f64v b) { return _mm256_permute2f128_pd(a, b, 0x31); }
static inline f32v f32v_even_pairs(f32v a, f32v b)
{
    const f64v even = _mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(even, 0xd8));
}
static inline f32v f32v_odd_pairs(f32v a, f32v b)
{
    const f64v odd = _mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(odd, 0xd8));
}

typedef __m256i u64v;
enum { u64v_lanes = 4, u64v_group = 2 };
static inline u64v u64v_set1(uint64_t a) { return _mm256_set1_epi64x((int64_t)a); }
static inline u64v u64v_load(const uint64_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
static inline void u64v_store(uint64_t *p, u64v v) { _mm256_storeu_si256((__m256i *)(void *)p, v); }
static inline u64v u64v_add(u64v a, u64v b) { return _mm256_add_epi64(a, b); }
static inline u64v u64v_and(u64v a, u64v b) { return _mm256_and_si256(a, b); }
static inline u64v u64v_or(u64v a, u64v b) { return _mm256_or_si256(a, b); }
static inline u64v u64v_xor(u64v a, u64v b) { return _mm256_xor_si256(a, b); }
static inline u64v u64v_mul32(u64v a, u64v b) { return _mm256_mul_epu32(a, b); }
static inline u64v u64v_rotl24(u64v a) /* whole bytes: one shuffle */
{
    const __m256i left3 = _mm256_setr_epi8(5, 6, 7, 0, 1, 2, 3, 4, 13, 14, 15, 8, 9, 10, 11, 12, 5, 6, 7, 0, 1,
                                           2, 3, 4, 13, 14, 15, 8, 9, 10, 11, 12);
    return _mm256_shuffle_epi8(a, left3);
}
#define u64v_srl(a, k) _mm256_srli_epi64(a, k)
#define u64v_sll(a, k) _mm256_slli_epi64(a, k)
static inline u64v u64v_bits(f64v a) { return _mm256_castpd_si256(a); }
static inline f64v f64v_from_bits(u64v a) { return _mm256_castsi256_pd(a); }
static inline unsigned u64v_below(u64v a, u64v b) /* compares with sign */
{
    return (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(b, a)));
}
static inline f64v f64v_select(unsigned mask, f64v a, f64v b)
{
    const __m256i bit = _mm256_setr_epi64x(1, 2, 4, 8);
    const __m256i chosen = _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi64x(mask), bit), bit);
    return _mm256_blendv_pd(b, a, _mm256_castsi256_pd(chosen));
}

typedef __m256i u32v;
static inline u32v u32v_set1(uint32_t a) { return _mm256_set1_epi32((int32_t)a); }
static inline u32v u32v_add(u32v a, u32v b) { return _mm256_add_epi32(a, b); }
static inline u32v u32v_and(u32v a, u32v b) { return _mm256_and_si256(a, b); }
static inline u32v u32v_or(u32v a, u32v b) { return _mm256_or_si256(a, b); }
#define u32v_srl(a, k) _mm256_srli_epi32(a, k)
#define u32v_sll(a, k) _mm256_slli_epi32(a, k)
static inline u32v u32v_bits(f32v a) { return _mm256_castps_si256(a); }
static inline f32v f32v_from_bits(u32v a) { return _mm256_castsi256_ps(a); }
static inline f32v f32v_select(unsigned mask, f32v a, f32v b)
{
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i chosen = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int32_t)mask), bit), bit);
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(chosen));
}

static inline void f64v_store_f32(float *p, f64v v) { _mm_storeu_ps(p, _mm256_cvtpd_ps(v)); }
static inline f64v f64v_low(f32v v) { return _mm256_cvtps_pd(_mm256_castps256_ps128(v)); }
static inline f64v f64v_high(f32v v) { return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)); }
static inline f32v f32v_narrow(f64v a, f64v b)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(a)), _mm256_cvtpd_ps(b), 1);
}

/* By way of memory, because scalar registers address: as fast as a gather at its fastest. */
static inline f64v f64v_lookup(int gather, const double *table, u64v index)
{
    (void)gather;
    _Alignas(32) uint64_t i[4];
    _mm256_store_si256((__m256i *)(void *)i, index);
    FD_VEC_IN_MEMORY(i);
    return _mm256_setr_pd(table[i[0]], table[i[1]], table[i[2]], table[i[3]]);
}

#endif
