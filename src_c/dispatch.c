/* dispatch.c - the table of kernels: which rows this build has, which the CPU can run, which
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
    const fd_row *row;
} rows[] = {
    {"scalar", always, &fd_row_scalar},
#ifdef FD_HAVE_AVX2
    {"avx2", fd_cpu_has_avx2, &fd_row_avx2},
#endif
#ifdef FD_HAVE_AVX512
    {"avx512", fd_cpu_has_avx512, &fd_row_avx512},
#endif
#ifdef FD_HAVE_NEON
    {"neon", always, &fd_row_neon},
#endif
};

enum { N_ROW = sizeof rows / sizeof rows[0] };

/* Written and read by any thread. */
static _Atomic int current = 0, current_gather = 0;

int fd_isa_count(void) { return N_ROW; }

const char *fd_isa_name(int row) { return rows[row].name; }

int fd_isa_available(int row) { return rows[row].available(); }

int fd_isa_current(void) { return current; }

int fd_isa_has_gather(int row)
{
    const fd_row *offered = rows[row].row;
    return offered->stream_gather != offered->stream;
}

void fd_isa_use(int row) { fd_isa_use_gather(row, fd_cpu_has_fast_gathers()); }

void fd_isa_use_gather(int row, int gather)
{
    current = row;
    current_gather = gather;
}

int fd_isa_best(void)
{
    int row = N_ROW - 1;
    while (!rows[row].available())
        row--;
    return row;
}

fd_kernel *fd_lookup(fd_op op, fd_dtype dtype)
{
    return rows[current].row->kernel[op][dtype];
}

const fd_stream_ops *fd_stream_ops_current(void)
{
    const fd_row *row = rows[current].row;
    return current_gather ? row->stream_gather : row->stream;
}
