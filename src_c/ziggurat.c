/* ziggurat.c - see ziggurat.h. Plain C for every ISA: additions, products, quotients and own
 * series only, so that no libm has a say in the bits. */
#include "ziggurat.h"

#include <string.h>

#include "vec/scalar.h"
#include "ziggurat_tables.h"

#define FD_ISA one
#include "kernels/body.h"
#include "kernels/ziggurat.inc.h"

void fd_philox(fd_key key, uint64_t counter, uint64_t out[2])
{
    philox_one(key, counter, &out[0], &out[1]);
}

/* log(u) for 0 < u <= 1 to some 2e-16: u = 2^e m with m in [sqrt(1/2), sqrt(2)), and
 * log(m) = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.172: the series ends at s^23 / 23 < 2e-19. */
static double log_unit(double u)
{
    uint64_t bits;
    memcpy(&bits, &u, sizeof bits);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffff) | 0x3ff0000000000000;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        exponent++;
    }
    const double s = (m - 1) / (m + 1), s2 = s * s;
    double sum = 0;
    for (int k = 21; k >= 1; k -= 2)
        sum = sum * s2 + 1.0 / k;
    return exponent * 0.69314718055994531 + 2 * s * sum;
}

/* (0, 1] from the top 53 bits of a word. */
static double positive_unit(uint64_t word) { return (double)((word >> 11) + 1) * 0x1p-53; }

/* Marsaglia, "Generating a variable from the tail of the normal distribution", Technometrics 6, 1964:
 * r + e / r with e exponential, if 2 e' > (e / r)^2. */
double fd_ziggurat_tail(fd_key key, uint64_t position)
{
    double beyond = 0;
    /* A draw fails one time in twenty: 30 in a row do not happen. */
    for (uint64_t draw = 1; draw < FD_SIDE_DRAWS; draw++) {
        uint64_t side[2];
        fd_philox(key, position << FD_CODE_BITS | (FD_CODE_SIDE + draw), side);
        beyond = -log_unit(positive_unit(side[0])) * fd_ziggurat_inverse_r;
        if (-2 * log_unit(positive_unit(side[1])) > beyond * beyond)
            break;
    }
    return fd_ziggurat_r + beyond;
}
