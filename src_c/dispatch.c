/* dispatch.c - the table of kernels: which targets this build has, which the CPU can run, which
 * one is in use. The choice is made once, by the importing module, or forced by name. */
#include <stddef.h>

#include "cpu.h"
#include "table.h"

static int always(void) { return 1; }

/* Slowest first. A new ISA is a line here, a vec/ header, an isa/ file and its flags in
 * setup.py. */
static const struct {
    const char *name;
    int (*available)(void);
    const fd_target *target;
} targets[] = {
    {"scalar", always, &fd_target_scalar},
#ifdef FD_HAVE_AVX2
    {"avx2", fd_cpu_has_avx2, &fd_target_avx2},
#endif
#ifdef FD_HAVE_AVX512
    {"avx512", fd_cpu_has_avx512, &fd_target_avx512},
#endif
#ifdef FD_HAVE_NEON
    {"neon", always, &fd_target_neon},
#endif
};

enum { N_TARGET = sizeof targets / sizeof targets[0] };

/* Written and read by any thread. */
static _Atomic int current = 0, current_gather = 0;

int fd_isa_count(void) { return N_TARGET; }

const char *fd_isa_name(int target) { return targets[target].name; }

int fd_isa_available(int target) { return targets[target].available(); }

int fd_isa_current(void) { return current; }

int fd_isa_has_gather(int target)
{
    const fd_target *offered = targets[target].target;
    return offered->stream_gather != offered->stream;
}

void fd_isa_use(int target) { fd_isa_use_gather(target, fd_cpu_has_fast_gathers()); }

void fd_isa_use_gather(int target, int gather)
{
    current = target;
    current_gather = gather;
}

int fd_isa_best(void)
{
    int target = N_TARGET - 1;
    while (!targets[target].available())
        target--;
    return target;
}

fd_kernel *fd_lookup(fd_op op, fd_dtype dtype)
{
    return targets[current].target->kernel[op][dtype];
}

const fd_blocked_ops *fd_blocked_ops_current(void) { return &targets[current].target->blocked; }

const fd_stream_ops *fd_stream_ops_current(void)
{
    const fd_target *target = targets[current].target;
    return current_gather ? target->stream_gather : target->stream;
}
