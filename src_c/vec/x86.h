/* vec/x86.h - what the x86 ISAs share. */
#ifndef FD_VEC_X86_H
#define FD_VEC_X86_H

#include <immintrin.h>

/* Lets compilers forget what they know of an array: elements of a vector stored there are loaded from
 * it, which costs no vector operations, where they would extract them from the vector. */
#if defined(__GNUC__)
#define FD_VEC_IN_MEMORY(array) __asm__("" : "+m"(array))
#else
#define FD_VEC_IN_MEMORY(array) (void)(array)
#endif

static inline void vec_done(void) { _mm256_zeroupper(); }

#endif
