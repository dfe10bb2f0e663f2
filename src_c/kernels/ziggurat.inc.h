/* kernels/ziggurat.inc.h - what blocks and side draws are made of, in lane words: Philox, fields of words,
 * exp(-x^2 / 2), points of a wedge. */

#define FD_STREAM(name) FD_CAT(name, FD_ISA)

/* Ten rounds of Philox-4x32 on one counter a lane, each 32-bit word in the low half of a 64-bit
 * lane; high halves hold rubbish that mul32 ignores, until the halves are put together.
 * Multipliers and Weyl constants: Salmon et al. 2011, table 2 (Random123, philox.h). */
FD_INLINE void FD_STREAM(philox)(fd_key key, u64v counter, u64v *low, u64v *high)
{
    const u64v m0 = u64v_set1(0xD2511F53), m1 = u64v_set1(0xCD9E8D57);
    const u64v low_half = u64v_set1(0xffffffff);
    uint32_t k0 = (uint32_t)key.word[0], k1 = (uint32_t)(key.word[0] >> 32);
    u64v c0 = counter, c1 = u64v_srl(counter, 32);
    u64v c2 = u64v_set1(key.word[1]), c3 = u64v_set1(key.word[1] >> 32);
    for (int round = 0; round < 10; round++) {
        const u64v p0 = u64v_mul32(c0, m0), p1 = u64v_mul32(c2, m1);
        c0 = u64v_xor(u64v_xor(u64v_srl(p1, 32), c1), u64v_set1(k0));
        c2 = u64v_xor(u64v_xor(u64v_srl(p0, 32), c3), u64v_set1(k1));
        c1 = p1;
        c3 = p0;
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    *low = u64v_or(u64v_and(c0, low_half), u64v_sll(c1, 32));
    *high = u64v_or(u64v_and(c2, low_half), u64v_sll(c3, 32));
}

/* A word's fields: index of a layer, 10 bits | sign, if that has none | one bit unused | place, 52 bits. */
FD_INLINE u64v FD_STREAM(layer)(u64v word) { return u64v_srl(word, 54); }

FD_INLINE u64v FD_STREAM(low_bits_with)(u64v word, uint64_t high_bits)
{
    return u64v_or(u64v_and(word, u64v_set1(0x000fffffffffffff)), u64v_set1(high_bits));
}

/* t in [-1, 1) from the low 52 bits of a word, by way of [2, 4): no conversion of integers. */
FD_INLINE f64v FD_STREAM(signed_unit)(u64v word)
{
    return f64v_sub(f64v_from_bits(FD_STREAM(low_bits_with)(word, 0x4000000000000000)), f64v_set1(3));
}

/* [0, 1) from the low 52 bits of a word. */
FD_INLINE f64v FD_STREAM(unit)(u64v word)
{
    return f64v_sub(f64v_from_bits(FD_STREAM(low_bits_with)(word, 0x3ff0000000000000)), f64v_set1(1));
}

/* exp(-x^2 / 2) for |x| < 8, within 2e-16 of its value: exp(y) = 2^n exp(r), |r| <= log(2) / 2 by Cody
 * and Waite's two-part log(2), then Taylor's series, whose remainder is r^16 / 16! < 3e-21, in Estrin's order:
 * what counts is the time of one result. */
FD_INLINE f64v FD_STREAM(gauss)(f64v x)
{
    static const double coefficient[16] = {
        1.0,           1.0,
        1.0 / 2,       1.0 / 6,
        1.0 / 24,      1.0 / 120,
        1.0 / 720,     1.0 / 5040,
        1.0 / 40320,   1.0 / 362880,
        1.0 / 3628800, 1.0 / 39916800,
        1.0 / 479001600,   1.0 / 6227020800,
        1.0 / 87178291200, 1.0 / 1307674368000};
    /* log(2) in 21 leading bits and the rest. */
    const f64v ln2_high = f64v_set1(0x1.62e43p-1), ln2_low = f64v_set1(-0x1.05c610ca86c39p-29);
    const f64v to_integer = f64v_set1(0x1.8p52);
    const f64v y = f64v_mul(f64v_mul(x, x), f64v_set1(-0.5));
    const f64v shifted = f64v_add(f64v_mul(y, f64v_set1(0x1.71547652b82fep+0)), to_integer);
    const f64v n = f64v_sub(shifted, to_integer);
    f64v power = f64v_sub(f64v_sub(y, f64v_mul(n, ln2_high)), f64v_mul(n, ln2_low)), sum[16];
    FD_UNROLL
    for (int k = 0; k < 16; k++)
        sum[k] = f64v_set1(coefficient[k]);
    FD_UNROLL
    for (int half = 8; half > 0; half /= 2) {
        FD_UNROLL
        for (int k = 0; k < half; k++)
            sum[k] = f64v_add(sum[2 * k], f64v_mul(sum[2 * k + 1], power));
        power = f64v_mul(power, power);
    }
    /* The integer n stands in the low bits of `shifted`; moved to the exponent it scales by 2^n. */
    return f64v_from_bits(u64v_add(u64v_bits(sum[0]), u64v_sll(u64v_bits(shifted), 52)));
}

/* A point of a wedge's triangle, which has the rectangle's corner below the curve and is as much larger than
 * half of the rectangle as the curve needs: sets x, returns the mask of points under the curve. u and v
 * are folded over their diagonal. */
FD_INLINE unsigned FD_STREAM(in_wedge)(int gather, u64v wedge, f64v u, f64v v, f64v *x)
{
    const f64v left = f64v_lookup(gather, fd_ziggurat_x, wedge), right = f64v_lookup(gather, fd_ziggurat_x + 1, wedge);
    const f64v top = f64v_lookup(gather, fd_ziggurat_f, wedge), bottom = f64v_lookup(gather, fd_ziggurat_f + 1, wedge);
    const f64v slack = f64v_lookup(gather, fd_ziggurat_slack, wedge), one = f64v_set1(1);
    const unsigned beyond = f64v_below(one, f64v_add(u, v));
    u = f64v_mul(f64v_select(beyond, f64v_sub(one, u), u), slack);
    v = f64v_mul(f64v_select(beyond, f64v_sub(one, v), v), slack);
    *x = f64v_add(left, f64v_mul(u, f64v_sub(right, left)));
    return f64v_below(f64v_add(bottom, f64v_mul(v, f64v_sub(top, bottom))), FD_STREAM(gauss)(*x));
}

/* The word's sign bit where a double has its own. */
FD_INLINE f64v FD_STREAM(with_sign)(f64v x, u64v word)
{
    const u64v sign = u64v_and(u64v_sll(word, 10), u64v_set1((uint64_t)1 << 63));
    return f64v_from_bits(u64v_or(u64v_bits(x), sign));
}
