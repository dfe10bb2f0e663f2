/* ziggurat.h - the normals whose words have no layer, 0.3 %.
 *
 * The one at `position` has side draws of its own, Philox outputs (low, high). Draw 0 picks its wedge by low; the
 * word and high make a point there, which most often is under the curve. If not, low and high of each later draw
 * make another one, until one is (settle, in kernels/stream.inc.h). If the wedge is the tail, low and high of each
 * later draw go into Marsaglia's test. The sign is the word's. */
#ifndef FD_ZIGGURAT_H
#define FD_ZIGGURAT_H

#include "stream.h"

/* |x| of the normal at `position`, whose wedge is the tail. */
double fd_ziggurat_tail(fd_key key, uint64_t position);

/* The wedge that a word picks by the alias table: 10 bits for its entry, 54 bits to compare. */
static inline uint64_t fd_ziggurat_wedge(uint64_t word, const uint64_t *alias)
{
    const uint64_t own = word >> 54, entry = alias[own];
    return word << 10 < (entry & ~(uint64_t)1023) ? own : entry & 1023;
}

/* Philox-4x32-10 of one counter. */
void fd_philox(fd_key key, uint64_t counter, uint64_t out[2]);

#endif
