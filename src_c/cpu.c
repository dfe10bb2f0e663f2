/* cpu.c - detection by CPUID and, for what the system must save at a task switch, XCR0. */
#include "cpu.h"

#if defined(__x86_64__) || defined(__i386__)

#include <cpuid.h>
#include <stdint.h>

/* CPUID and XCR0 bits: Intel SDM vol. 2A "CPUID", vol. 1 section 13.3. */
static const uint32_t leaf1_ecx_fma = 1u << 12, leaf1_ecx_osxsave = 1u << 27;
static const uint32_t leaf7_ebx_avx2 = 1u << 5;
static const uint32_t leaf7_ebx_avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F DQ BW VL */
static const uint32_t leaf7_edx_avx512_fp16 = 1u << 23;
static const uint32_t xcr0_avx = 0x6;                                              /* SSE, AVX */
static const uint32_t xcr0_avx512 = 0xe6; /* and opmask, upper halves, upper registers */

static uint32_t xcr0(void)
{
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* Whether the CPU has FMA and all `features` of leaf 7, and the system saves their registers. */
static int has(uint32_t features, uint32_t registers)
{
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx))
        return 0;
    if (!(ecx & leaf1_ecx_fma) || !(ecx & leaf1_ecx_osxsave) || (xcr0() & registers) != registers)
        return 0;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & features) == features;
}

int fd_cpu_has_avx2(void) { return has(leaf7_ebx_avx2, xcr0_avx); }

int fd_cpu_has_avx512(void) { return has(leaf7_ebx_avx2 | leaf7_ebx_avx512, xcr0_avx512); }

/* Sapphire Rapids and later, which FP16 tells from Intel's CPUs with AVX-512 before, whose gathers the microcode
 * against Gather Data Sampling (Intel, 2023) has made slow, and from AMD's Zen 4, where they always were. */
int fd_cpu_has_fast_gathers(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx & leaf7_edx_avx512_fp16) != 0;
}

#else

int fd_cpu_has_avx2(void) { return 0; }

int fd_cpu_has_avx512(void) { return 0; }

int fd_cpu_has_fast_gathers(void) { return 0; }

#endif
