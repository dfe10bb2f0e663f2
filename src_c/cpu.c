/* cpu.c - detection by CPUID and, for what the system must save at a task switch, XCR0. */
#include "cpu.h"

#if defined(__x86_64__) || defined(__i386__)

#include <cpuid.h>
#include <stdint.h>

/* CPUID and XCR0 bits: Intel SDM vol. 2A "CPUID", vol. 1 section 13.3. */
enum {
    LEAF1_ECX_FMA = 1 << 12,
    LEAF1_ECX_OSXSAVE = 1 << 27,
    LEAF7_EBX_AVX2 = 1 << 5,
    XCR0_SSE_AVX = 0x6
};

static uint32_t xcr0(void)
{
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

int fd_cpu_has_avx2(void)
{
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx))
        return 0;
    if (!(ecx & LEAF1_ECX_FMA) || !(ecx & LEAF1_ECX_OSXSAVE))
        return 0;
    if ((xcr0() & XCR0_SSE_AVX) != XCR0_SSE_AVX)
        return 0;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & LEAF7_EBX_AVX2);
}

#else

int fd_cpu_has_avx2(void) { return 0; }

#endif
