/* cpu.h - what this CPU and its operating system can run. No policy. */
#ifndef FD_CPU_H
#define FD_CPU_H

int fd_cpu_has_avx2(void);   /* AVX2 and FMA, registers saved by the system */
int fd_cpu_has_avx512(void); /* AVX-512 F, DQ, BW and VL besides */
int fd_cpu_has_fast_gathers(void); /* AVX-512's, faster than loads one by one */

#endif
