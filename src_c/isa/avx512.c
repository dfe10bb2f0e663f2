/* isa/avx512.c - x86-64 with AVX-512 F, DQ, BW, VL (Skylake-X, Zen 4 and later); compiled with
 * -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma. */
#include "../vec/avx512.h"
#define FD_ISA avx512
#include "target.inc.h"
