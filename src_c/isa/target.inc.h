/* isa/target.inc.h - one target of the dispatch table: every kernel body for both dtypes, in the lane
 * words of the vec/ header and under the FD_ISA name that the including file has set. */
#include "../kernels/body.h"
#include "../stream.h"
#include "../table.h"
#include "../ziggurat.h"
#include "../ziggurat_tables.h"

#include "../kernels/stream.inc.h"
#include "../kernels/log.inc.h"

/* double first, which float matrices are factorised in. */
#define FD_DTYPE f64
#define REAL double
#define REAL_IS_DOUBLE 1
#define VEC f64v
#define REAL_FMA fma
#define REAL_SQRT sqrt
#define REAL_ABS fabs
#define REAL_LDEXP ldexp
#define REAL_MAX_EXP DBL_MAX_EXP
#define REAL_MAX DBL_MAX
#define REAL_MIN DBL_MIN
#define REAL_EPSILON DBL_EPSILON
#define REAL_TRUE_MIN DBL_TRUE_MIN
#include "../kernels/all.inc.h"
#undef FD_DTYPE
#undef REAL
#undef REAL_IS_DOUBLE
#undef VEC
#undef REAL_FMA
#undef REAL_SQRT
#undef REAL_ABS
#undef REAL_LDEXP
#undef REAL_MAX_EXP
#undef REAL_MAX
#undef REAL_MIN
#undef REAL_EPSILON
#undef REAL_TRUE_MIN

#define FD_DTYPE f32
#define REAL float
#define REAL_IS_DOUBLE 0
#define VEC f32v
#define REAL_FMA fmaf
#define REAL_SQRT sqrtf
#define REAL_ABS fabsf
#define REAL_LDEXP ldexpf
#define REAL_MAX_EXP FLT_MAX_EXP
#define REAL_MAX FLT_MAX
#define REAL_MIN FLT_MIN
#define REAL_EPSILON FLT_EPSILON
#define REAL_TRUE_MIN FLT_TRUE_MIN
#include "../kernels/all.inc.h"

#define FD_ENTRY(op, dtype) FD_CAT(FD_CAT(fd_##op, dtype), FD_ISA)
const fd_target FD_CAT(fd_target, FD_ISA) = {
    {
#define FD_KERNEL(op, layout, operands, cost) {FD_ENTRY(op, f32), FD_ENTRY(op, f64)},
#include "../kernels.def"
#undef FD_KERNEL
    },
    &FD_STREAM(stream),
    FD_STREAM_GATHER,
    {{take_matrix_f32, take_matrix_f64},
     blocked_diagonal_f64,
     blocked_below_f64,
     blocked_invert_f64,
     blocked_multiply_f64},
};
