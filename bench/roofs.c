/* Fused multiply-adds as fast as the core has them: CHAINS independent sums of vectors of WIDTH
   bytes, enough to cover the latency of two units, n steps each. BLAS stays some per cent below.
   Compiled by roofs.py with the flags of one instruction set.
*/

#include <stdint.h>

enum { CHAINS = 12 };

/* Keeps compilers from knowing a value, and so from merging chains that are alike. */
#define OPAQUE(x) __asm__ volatile("" : "+m"(x))

#define ROOF(real, name)                                                                 \
    double name(intptr_t n)                                                              \
    {                                                                                    \
        real __attribute__((vector_size(WIDTH))) sum[CHAINS] = {{0}}, x = {0};           \
        OPAQUE(sum);                                                                     \
        OPAQUE(x);                                                                       \
        for (intptr_t i = 0; i < n; i++)                                                 \
            for (int k = 0; k < CHAINS; k++) sum[k] = sum[k] * x + x;                    \
        for (int k = 1; k < CHAINS; k++) sum[0] += sum[k];                               \
        return (double)sum[0][0];                                                        \
    }

ROOF(double, fma_float64)
ROOF(float, fma_float32)
