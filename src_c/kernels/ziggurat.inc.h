/* kernels/ziggurat.inc.h - the functions that blocks and single rejections share, in lane words:
 * Philox, units, exp(-x^2 / 2). */

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

/* t in [-1, 1) from the top 52 bits of a word, by way of [2, 4): no conversion of integers. */
FD_INLINE f64v FD_STREAM(signed_unit)(u64v word)
{
    const u64v two = u64v_set1((uint64_t)0x4000000000000000);
    return f64v_sub(f64v_from_bits(u64v_or(u64v_srl(word, 12), two)), f64v_set1(3));
}

/* [0, 1) from the top 52 bits of a word. */
FD_INLINE f64v FD_STREAM(unit)(u64v word)
{
    const u64v one = u64v_set1((uint64_t)0x3ff0000000000000);
    return f64v_sub(f64v_from_bits(u64v_or(u64v_srl(word, 12), one)), f64v_set1(1));
}

/* exp(-x^2 / 2) for |x| < 8, within 2e-16 of its value: exp(y) = 2^n exp(r), |r| <= log(2) / 2 by Cody
 * and Waite's two-part log(2), then Taylor's series, whose remainder is r^14 / 14! < 5e-18. */
FD_INLINE f64v FD_STREAM(gauss)(f64v x)
{
    static const double coefficient[] = {
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
        1.0 / 5040,       1.0 / 720,       1.0 / 120,      1.0 / 24,      1.0 / 6,      1.0 / 2,
        1.0,              1.0};
    /* log(2) in 21 leading bits and the rest. */
    const f64v ln2_high = f64v_set1(0x1.62e43p-1), ln2_low = f64v_set1(-0x1.05c610ca86c39p-29);
    const f64v to_integer = f64v_set1(0x1.8p52);
    const f64v y = f64v_mul(f64v_mul(x, x), f64v_set1(-0.5));
    const f64v shifted = f64v_add(f64v_mul(y, f64v_set1(0x1.71547652b82fep+0)), to_integer);
    const f64v n = f64v_sub(shifted, to_integer);
    const f64v r = f64v_sub(f64v_sub(y, f64v_mul(n, ln2_high)), f64v_mul(n, ln2_low));
    f64v sum = f64v_set1(coefficient[0]);
    for (size_t k = 1; k < sizeof coefficient / sizeof coefficient[0]; k++)
        sum = f64v_add(f64v_mul(sum, r), f64v_set1(coefficient[k]));
    /* The integer n stands in the low bits of `shifted`; moved to the exponent it scales by 2^n. */
    return f64v_from_bits(u64v_add(u64v_bits(sum), u64v_sll(u64v_bits(shifted), 52)));
}
