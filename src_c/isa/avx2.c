/* isa/avx2.c - x86-64 with AVX2 and FMA (Haswell, Zen and later); compiled with -mavx2 -mfma. */
#include "../vec/avx2.h"
#define FD_ISA avx2
#include "target.inc.h"
