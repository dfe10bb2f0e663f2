/* tests/c/kernels - every kernel on every instruction set against the scalar one, in the manner
 * of dav1d's checkasm: a plain C program, so that sanitizers, other compilers and emulated CPUs
 * can have it. tests/c/run builds and runs it in all these ways.
 *
 *   harness    failures, targets of the dispatch table, repeatable numbers, memory between forbidden pages
 *   operands   by the letters of kernels.def: one that is missing here fails
 *   cases      kernels, whole, coalesced, in pieces, item by item
 *   stream     seed, words and normals of every target, in any portions
 *   draws      tiles against noise and colour done one after the other
 *   blocked    large matrices, by any number of workers
 *
 * `kernels [N]` takes the stream's hash over N blocks (default 1024) each of float64 and float32
 * normals and raw words; it is known for 1024 and for 100000. It prints this hash, and that of the kernels'
 * results, for builds to compare. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"

int main(int argc, char **argv)
{
    const intptr_t n_block = argc > 1 ? (intptr_t)strtoll(argv[1], NULL, 10) : 1024;
    signal(SIGSEGV, crashed);
    signal(SIGBUS, crashed);
    signal(SIGILL, crashed);
    find_targets();
    open_arenas();
    kernels_hash = hash_start;
    check_kernels();
    check_stream();
    check_draws();
    check_blocked();
    check_hash(n_block);
    printf("%d cases on", n_case);
    for (int target = 0; target < fd_isa_count(); target++)
        printf(" %s%s", fd_isa_name(target), fd_isa_available(target) ? "" : " (not on this CPU)");
    puts(n_failure ? ": FAILED" : ": all the same");
    return n_failure != 0;
}
