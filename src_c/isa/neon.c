/* isa/neon.c - AArch64, every one of which has Advanced SIMD with FMA: no flags, no detection. */
#include "../vec/neon.h"
#define FD_ISA neon
#include "target.inc.h"
