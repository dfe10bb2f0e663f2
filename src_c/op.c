/* op.c - what kernels.def says of each kernel. */
#include "fastdist.h"

#define FD_KERNEL(op, layout, operands, cost) {#op, operands, FD_##layout},
static const struct {
    const char *name, *operands;
    fd_layout layout;
} ops[] = {
#include "kernels.def"
};
#undef FD_KERNEL

const char *fd_op_name(fd_op op) { return ops[op].name; }

fd_layout fd_op_layout(fd_op op) { return ops[op].layout; }

const char *fd_op_operands(fd_op op) { return ops[op].operands; }

intptr_t fd_op_cost(fd_op op, intptr_t dim)
{
    switch (op) {
#define FD_KERNEL(op, layout, operands, cost)                                                  \
    case FD_##op:                                                                              \
        return cost;
#include "kernels.def"
#undef FD_KERNEL
    default:
        return 1;
    }
}
