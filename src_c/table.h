/* table.h - a row of the dispatch table: kernels by verb and dtype, one row an ISA. */
#ifndef FD_TABLE_H
#define FD_TABLE_H

#include "fastdist.h"

typedef fd_kernel *fd_table[FD_N_VERB][FD_N_DTYPE];

extern const fd_table fd_table_scalar;
extern const fd_table fd_table_avx2;

#endif
