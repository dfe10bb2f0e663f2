/* vec/neon.h - lane words (vec/scalar.h tells what each does) on AArch64's Advanced SIMD: 2 doubles
 * or 4 floats. There are no masks: the first lanes are loaded and stored one by one. */
#ifndef FD_VEC_H
#define FD_VEC_H

#include <arm_neon.h>
#include <stdint.h>

/* NEON's accumulator is the first operand: vfma(c, a, b) = c + a b, vfms(c, a, b) = c - a b. */
#define FD_VEC_NEON(V, REAL, VECTOR, LANES, PX)                                                \
    typedef VECTOR V;                                                                          \
    enum { V##_lanes = LANES, V##_rows = 8, V##_block = 8 };                                   \
    static inline V V##_set1(REAL a) { return vdupq_n_##PX(a); }                               \
    static inline V V##_load(const REAL *p) { return vld1q_##PX(p); }                          \
    static inline void V##_store(REAL *p, V v) { vst1q_##PX(p, v); }                           \
    static inline V V##_add(V a, V b) { return vaddq_##PX(a, b); }                             \
    static inline V V##_sub(V a, V b) { return vsubq_##PX(a, b); }                             \
    static inline V V##_mul(V a, V b) { return vmulq_##PX(a, b); }                             \
    static inline V V##_div(V a, V b) { return vdivq_##PX(a, b); }                             \
    static inline V V##_sqrt(V a) { return vsqrtq_##PX(a); }                                   \
    static inline V V##_abs(V a) { return vabsq_##PX(a); }                                     \
    static inline V V##_min(V a, V b) { return vbslq_##PX(vcltq_##PX(a, b), a, b); }           \
    static inline V V##_max(V a, V b) { return vbslq_##PX(vcgtq_##PX(a, b), a, b); }           \
    static inline V V##_fma(V a, V b, V c) { return vfmaq_##PX(c, a, b); }                     \
    static inline V V##_fnma(V a, V b, V c) { return vfmsq_##PX(c, a, b); }

FD_VEC_NEON(f64v, double, float64x2_t, 2, f64)
FD_VEC_NEON(f32v, float, float32x4_t, 4, f32)

static inline f64v f64v_gather(const double *p, intptr_t step, intptr_t n)
{
    const f64v v = vld1q_lane_f64(p, vdupq_n_f64(0), 0);
    return n > 1 ? vld1q_lane_f64(p + step, v, 1) : v;
}
static inline f32v f32v_gather(const float *p, intptr_t step, intptr_t n)
{
    f32v v = vld1q_lane_f32(p, vdupq_n_f32(0), 0);
    if (n > 1)
        v = vld1q_lane_f32(p + step, v, 1);
    if (n > 2)
        v = vld1q_lane_f32(p + 2 * step, v, 2);
    if (n > 3)
        v = vld1q_lane_f32(p + 3 * step, v, 3);
    return v;
}
static inline void f64v_transpose(f64v v[2])
{
    const f64v a = vzip1q_f64(v[0], v[1]), b = vzip2q_f64(v[0], v[1]);
    v[0] = a;
    v[1] = b;
}
static inline void f32v_transpose(f32v v[4])
{
    f64v pair[4]; /* of floats */
    for (int i = 0; i < 4; i += 2) {
        pair[i] = vreinterpretq_f64_f32(vzip1q_f32(v[i], v[i + 1]));
        pair[i + 1] = vreinterpretq_f64_f32(vzip2q_f32(v[i], v[i + 1]));
    }
    for (int j = 0; j < 2; j++) {
        v[2 * j] = vreinterpretq_f32_f64(vzip1q_f64(pair[j], pair[j + 2]));
        v[2 * j + 1] = vreinterpretq_f32_f64(vzip2q_f64(pair[j], pair[j + 2]));
    }
}

static inline f64v f64v_load_half(const double *p) { return vcombine_f64(vld1_f64(p), vdup_n_f64(0)); }
static inline f32v f32v_load_half(const float *p) { return vcombine_f32(vld1_f32(p), vdup_n_f32(0)); }

#define FD_SQUARE_NEON(V, REAL)                                                               \
    static inline void V##_load_square(V *v, const REAL *p, intptr_t ld, int m)                \
    {                                                                                          \
        V row[V##_lanes];                                                                      \
        for (int i = 0; i < V##_lanes; i++)                                                    \
            row[i] = m == V##_lanes ? V##_load(p + i * ld) : V##_load_half(p + i * ld);        \
        V##_transpose(row);                                                                    \
        for (int i = 0; i < m; i++)                                                            \
            v[i] = row[i];                                                                     \
    }

FD_SQUARE_NEON(f64v, double)
FD_SQUARE_NEON(f32v, float)

/* Two lanes are one pair: there are no even and odd ones. */
static inline f64v f64v_splat(int d, int k, f64v v)
{
    (void)d;
    return k ? vdupq_laneq_f64(v, 1) : vdupq_laneq_f64(v, 0);
}
static inline f32v f32v_splat(int d, int k, f32v v)
{
    if (d == 2)
        return k ? vtrn2q_f32(v, v) : vtrn1q_f32(v, v);
    return k == 0   ? vdupq_laneq_f32(v, 0)
           : k == 1 ? vdupq_laneq_f32(v, 1)
           : k == 2 ? vdupq_laneq_f32(v, 2)
                    : vdupq_laneq_f32(v, 3);
}
static inline f64v f64v_evens(f64v a, f64v b) { return vuzp1q_f64(a, b); }
static inline f64v f64v_odds(f64v a, f64v b) { return vuzp2q_f64(a, b); }
static inline f32v f32v_evens(f32v a, f32v b) { return vuzp1q_f32(a, b); }
static inline f32v f32v_odds(f32v a, f32v b) { return vuzp2q_f32(a, b); }
static inline f64v f64v_even_pairs(f64v a, f64v b) { return (void)b, a; }
static inline f64v f64v_odd_pairs(f64v a, f64v b) { return (void)a, b; }
static inline f32v f32v_even_pairs(f32v a, f32v b)
{
    return vreinterpretq_f32_f64(vzip1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}
static inline f32v f32v_odd_pairs(f32v a, f32v b)
{
    return vreinterpretq_f32_f64(vzip2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}

/* Fewer than two lanes are one. */
static inline f64v f64v_load_first(const double *p, intptr_t n)
{
    (void)n;
    return vld1q_lane_f64(p, vdupq_n_f64(0), 0);
}
static inline void f64v_store_first(double *p, f64v v, intptr_t n)
{
    (void)n;
    vst1q_lane_f64(p, v, 0);
}
static inline f32v f32v_load_first(const float *p, intptr_t n)
{
    f32v v = vld1q_lane_f32(p, vdupq_n_f32(0), 0);
    if (n > 1)
        v = vld1q_lane_f32(p + 1, v, 1);
    if (n > 2)
        v = vld1q_lane_f32(p + 2, v, 2);
    return v;
}
static inline void f32v_store_first(float *p, f32v v, intptr_t n)
{
    vst1q_lane_f32(p, v, 0);
    if (n > 1)
        vst1q_lane_f32(p + 1, v, 1);
    if (n > 2)
        vst1q_lane_f32(p + 2, v, 2);
}

/* With 32 registers all eight lanes of a block are kept at a time. */
typedef uint64x2_t u64v;
enum { u64v_lanes = 2, u64v_group = 4 };
static inline u64v u64v_set1(uint64_t a) { return vdupq_n_u64(a); }
static inline u64v u64v_load(const uint64_t *p) { return vld1q_u64(p); }
static inline void u64v_store(uint64_t *p, u64v v) { vst1q_u64(p, v); }
static inline u64v u64v_add(u64v a, u64v b) { return vaddq_u64(a, b); }
static inline u64v u64v_and(u64v a, u64v b) { return vandq_u64(a, b); }
static inline u64v u64v_or(u64v a, u64v b) { return vorrq_u64(a, b); }
static inline u64v u64v_xor(u64v a, u64v b) { return veorq_u64(a, b); }
static inline u64v u64v_mul32(u64v a, u64v b) { return vmull_u32(vmovn_u64(a), vmovn_u64(b)); }
static inline u64v u64v_rotl24(u64v a) { return vsriq_n_u64(vshlq_n_u64(a, 24), a, 40); }
#define u64v_srl(a, k) vshrq_n_u64(a, k)
#define u64v_sll(a, k) vshlq_n_u64(a, k)
static inline u64v u64v_bits(f64v a) { return vreinterpretq_u64_f64(a); }
static inline f64v f64v_from_bits(u64v a) { return vreinterpretq_f64_u64(a); }

/* Each lane's bit in a mask. */
static inline u64v fd_lane_bit(void) { return vcombine_u64(vcreate_u64(1), vcreate_u64(2)); }
static inline unsigned f64v_below(f64v a, f64v b)
{
    return (unsigned)vaddvq_u64(vandq_u64(vcltq_f64(a, b), fd_lane_bit()));
}
static inline uint32x4_t fd_lane_bit32(void)
{
    static const uint32_t lane_bit[4] = {1, 2, 4, 8};
    return vld1q_u32(lane_bit);
}
static inline unsigned f32v_below(f32v a, f32v b)
{
    return vaddvq_u32(vandq_u32(vcltq_f32(a, b), fd_lane_bit32()));
}
static inline unsigned u64v_below(u64v a, u64v b)
{
    return (unsigned)vaddvq_u64(vandq_u64(vcltq_u64(a, b), fd_lane_bit()));
}
static inline f64v f64v_select(unsigned mask, f64v a, f64v b)
{
    return vbslq_f64(vtstq_u64(vdupq_n_u64(mask), fd_lane_bit()), a, b);
}

typedef uint32x4_t u32v;
static inline u32v u32v_set1(uint32_t a) { return vdupq_n_u32(a); }
static inline u32v u32v_add(u32v a, u32v b) { return vaddq_u32(a, b); }
static inline u32v u32v_and(u32v a, u32v b) { return vandq_u32(a, b); }
static inline u32v u32v_or(u32v a, u32v b) { return vorrq_u32(a, b); }
#define u32v_srl(a, k) vshrq_n_u32(a, k)
#define u32v_sll(a, k) vshlq_n_u32(a, k)
static inline u32v u32v_bits(f32v a) { return vreinterpretq_u32_f32(a); }
static inline f32v f32v_from_bits(u32v a) { return vreinterpretq_f32_u32(a); }
static inline f32v f32v_select(unsigned mask, f32v a, f32v b)
{
    return vbslq_f32(vtstq_u32(vdupq_n_u32(mask), fd_lane_bit32()), a, b);
}

static inline void f64v_store_f32(float *p, f64v v) { vst1_f32(p, vcvt_f32_f64(v)); }
static inline f64v f64v_low(f32v v) { return vcvt_f64_f32(vget_low_f32(v)); }
static inline f64v f64v_high(f32v v) { return vcvt_high_f64_f32(v); }
static inline f32v f32v_narrow(f64v a, f64v b) { return vcvt_high_f32_f64(vcvt_f32_f64(a), b); }

static inline void vec_done(void) {}

static inline f64v f64v_lookup(int gather, const double *table, u64v index)
{
    (void)gather;
    const f64v first = vld1q_dup_f64(table + vgetq_lane_u64(index, 0));
    return vld1q_lane_f64(table + vgetq_lane_u64(index, 1), first, 1);
}

#endif
