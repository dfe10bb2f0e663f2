/* fpstate.h - the floating-point state under which kernels run, whatever their caller's is: to nearest, with
 * subnormals, exceptions masked. Others set flush-to-zero (torch.set_flush_denormal), a rounding mode or traps for a
 * thread; results would then depend on which worker made them. To find the default state costs 5 ns, to set and
 * restore it 7. */
#ifndef FD_FPSTATE_H
#define FD_FPSTATE_H

#include <stdint.h>

#if defined(__x86_64__) || defined(__i386__)

#include <xmmintrin.h>

typedef uint32_t fd_fpstate;
enum { FD_FP_CONTROL = 0xffc0, FD_FP_DEFAULT = 0x1f80 }; /* the other bits tell what exceptions there were */

static inline fd_fpstate fd_fpstate_enter(void)
{
    const fd_fpstate callers = _mm_getcsr();
    if ((callers & FD_FP_CONTROL) != FD_FP_DEFAULT)
        _mm_setcsr(FD_FP_DEFAULT);
    return callers;
}

static inline void fd_fpstate_leave(fd_fpstate callers)
{
    if ((callers & FD_FP_CONTROL) != FD_FP_DEFAULT)
        _mm_setcsr(callers);
}

#elif defined(__aarch64__)

typedef uint64_t fd_fpstate;

static inline fd_fpstate fd_fpstate_enter(void)
{
    fd_fpstate callers;
    __asm__ volatile("mrs %0, fpcr" : "=r"(callers));
    if (callers != 0)
        __asm__ volatile("msr fpcr, %0" : : "r"((fd_fpstate)0));
    return callers;
}

static inline void fd_fpstate_leave(fd_fpstate callers)
{
    if (callers != 0)
        __asm__ volatile("msr fpcr, %0" : : "r"(callers));
}

#else

#include <fenv.h>

typedef int fd_fpstate;

static inline fd_fpstate fd_fpstate_enter(void)
{
    const fd_fpstate callers = fegetround();
    if (callers != FE_TONEAREST)
        fesetround(FE_TONEAREST);
    return callers;
}

static inline void fd_fpstate_leave(fd_fpstate callers)
{
    if (callers != FE_TONEAREST)
        fesetround(callers);
}

#endif

#endif
