/* stream.h - BlockSFC64: random numbers as a function of (key, position).
 *
 * Position p of a stream belongs to block p / 1024. A block is made by 8 lanes of SFC64
 * (Chris Doty-Humphrey, PractRand 0.94), word j by lane j % 8. Their counter begins with 1, as
 * SFC64's does; the 192 bits besides of a lane's state, a, b and c, are the first three words of two
 * outputs of Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC
 * 2011), a keyed hash of
 *
 *     counter = (block or position) * 64 + code, 64 bits | key[1], 64 bits;   key = key[0]
 *
 * whose code tells what it is for. Raw words, normals and uniforms have separate ones, so that none
 * ever meets the others' numbers:
 *
 *     0..15   lane state of the normals' block: lane * 2 + half; of the uniforms' block, too, for which 2^48
 *             is added to its number: there are that many blocks
 *     16..31  the same of the raw words' block
 *     32..62  draw 0..30 of the side stream of the normal at one position (ziggurat.h)
 *
 * Positions have 58 bits; beyond them a stream goes on with key[1] + 1, which makes
 * 2^122 positions in all. */
#ifndef FD_STREAM_H
#define FD_STREAM_H

#include <stdint.h>

#include "fastdist.h"

enum { FD_LANES = 8, FD_BLOCK_STEPS = FD_BLOCK / FD_LANES };
enum { FD_CODE_BLOCK = 0, FD_CODE_RAW = 16, FD_CODE_SIDE = 32, FD_CODE_BITS = 6, FD_SIDE_DRAWS = 31 };
/* The largest float32 uniform. */
#define FD_BELOW_ONE 0x1.fffffep-1
/* What is added to a block's number in a domain. */
#define FD_FIRST_BLOCK(domain) ((uint64_t)(domain) << 48)

/* The state of a block's lanes, part by part; their counter is step + 1. */
typedef struct fd_lanes {
    uint64_t a[FD_LANES], b[FD_LANES], c[FD_LANES];
    intptr_t step;
} fd_lanes;

/* Normals yet to be made, because their words have no layer (ziggurat.h): position and word of each, the number of the
 * side draw that comes next and, from draw 1 on, the wedge. They gather over blocks of one key until they are MANY,
 * for they are made by vectors full of them. They belong to an array whose first normal has position `first`. */
enum { FD_PENDING_MANY = 32, FD_PENDING = 128 };
typedef struct fd_pending {
    void *out;
    uint64_t first;
    int n;
    uint64_t position[FD_PENDING], word[FD_PENDING], draw[FD_PENDING], wedge[FD_PENDING];
} fd_pending;

void fd_pending_start(fd_pending *pending, void *out, uint64_t first);

/* What each ISA makes blocks with; all rows give the same bits.
 *   seed     lanes at the start of a block
 *   words    the next n_step * 8 words of a block
 *   normals  the same as normals, to where `pending` says that position `position` belongs; some stay pending
 *   settle   makes those
 *   uniforms the next n_step * 8 uniforms of a block */
typedef struct fd_stream_ops {
    void (*seed)(fd_lanes *lanes, fd_key key, uint64_t block, int code);
    void (*words)(fd_lanes *lanes, intptr_t n_step, uint64_t *out);
    void (*normals_f64)(fd_lanes *lanes, fd_key key, uint64_t position, intptr_t n_step, fd_pending *pending);
    void (*normals_f32)(fd_lanes *lanes, fd_key key, uint64_t position, intptr_t n_step, fd_pending *pending);
    void (*settle_f64)(fd_key key, fd_pending *pending);
    void (*settle_f32)(fd_key key, fd_pending *pending);
    void (*uniforms_f64)(fd_lanes *lanes, intptr_t n_step, double *out);
    void (*uniforms_f32)(fd_lanes *lanes, intptr_t n_step, float *out);
} fd_stream_ops;

const fd_stream_ops *fd_stream_ops_current(void);

/* One stream being read: in each domain a cursor, which is public (fastdist/random.h), and the lanes that go on
 * with its block. Raw words are asked for one by one: of them it is the block's first
 * position that is kept, and which word of it comes next (1024 at its end), so that one is a comparison and a load. */
struct fd_stream {
    fd_cursor cursor[FD_N_DOMAIN]; /* first: so others find them */
    fd_lanes lanes[FD_N_DOMAIN];
    fd_key key;
    uint64_t raw_block, raw_carry;
    intptr_t raw_made, raw_at;
    uint32_t half;     /* the unused upper half of the last word that 32 bits were taken from */
    int has_half;
    fd_lanes raw_lanes;
    uint64_t raw[FD_BLOCK];
};

/* What these do tells fastdist/random.h. */
void fd_stream_start(fd_stream *stream, fd_key key);
void fd_stream_seek(fd_stream *stream, fd_domain domain, uint64_t position, uint64_t carry);
void fd_stream_seek_raw(fd_stream *stream, uint64_t position, uint64_t carry);
fd_place fd_stream_take(fd_stream *stream, fd_domain domain, intptr_t n);
void fd_stream_read(fd_stream *reader, const fd_place *place, intptr_t n);

/* The stream as a source of noise. */
fd_noise fd_stream_noise(fd_stream *stream);

/* The next raw word, its parts and the double made of it: NumPy's bitgen_t. */
uint64_t fd_stream_next_uint64(void *state);
uint32_t fd_stream_next_uint32(void *state);
double fd_stream_next_double(void *state);

/* What is public, but for stream_of, which is Python's; and the rest for the package's other extension modules. */
extern const fd_random_api fd_random_functions;

typedef struct fd_stream_api {
    void (*seek_raw)(fd_stream *stream, uint64_t position, uint64_t carry);
    fd_noise (*noise)(fd_stream *stream);
    uint64_t (*next_uint64)(void *state);
    uint32_t (*next_uint32)(void *state);
    double (*next_double)(void *state);
    void (*philox)(fd_key key, uint64_t counter, uint64_t out[2]);
} fd_stream_api;

extern const fd_stream_api fd_stream_functions;

#endif
