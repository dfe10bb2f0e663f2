/* table.h - a target of the dispatch table: what one ISA offers. */
#ifndef FD_TABLE_H
#define FD_TABLE_H

#include "blocked.h"
#include "fastdist.h"
#include "stream.h"

typedef struct fd_target {
    fd_kernel *kernel[FD_N_OP][FD_N_DTYPE];
    const fd_stream_ops *stream, *stream_gather; /* the latter for CPUs with fast gathers */
    fd_blocked_ops blocked;
} fd_target;

extern const fd_target fd_target_scalar;
extern const fd_target fd_target_avx2;
extern const fd_target fd_target_avx512;
extern const fd_target fd_target_neon;

#endif
