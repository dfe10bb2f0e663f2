/* ziggurat.h - one rejected normal, from its word on: the reference for wedges() in
 * kernels/stream.inc.h and the way out of what it leaves. */
#ifndef FD_ZIGGURAT_H
#define FD_ZIGGURAT_H

#include "stream.h"

/* The normal at `position` whose word was not inside its rectangle. Its side draws are Philox
 * outputs of their own, (low, high) each: a wedge takes low for the height and, if that is above
 * the curve, high as the next word; a tail takes both for Marsaglia's test. */
double fd_ziggurat_finish(fd_key key, uint64_t position, uint64_t word);

/* Philox-4x32-10 of one counter. */
void fd_philox(fd_key key, uint64_t counter, uint64_t out[2]);

#endif
