/* fastdist.h - what the C core offers; with stream.h and share.h, all that Cython sees of it.
 *
 *   fd_loop      what to do: loop dims, operands, strides
 *   fd_kernel   how to do it: one function per op, dtype and ISA, found by fd_lookup()
 *   fd_op_*()   what each op takes, as kernels.def says it
 *   fd_noise    where normals and uniforms come from: "fill this block with the stream's next"
 *   fd_draw_*() noise -> colour -> shift, one cache-sized tile at a time
 *   fd_pull_*() terms of gradients or noise again -> sums, a tile at a time
 *   fd_isa_*()  which instruction set is in use
 *
 * Kernels and sources of noise are to run under the default floating-point state (fpstate.h): fd_do and
 * fd_draw_rows see to it, fd_pull_*() and fd_share_work, too.
 *
 * Nothing here knows Python and nothing here can fail: sizes, dtypes and values are
 * checked by the caller before it releases the GIL. */
#ifndef FASTDIST_H
#define FASTDIST_H

#include <stdint.h>

#include "fastdist/random.h"

enum { FD_MAX_NDIM = 64, FD_MAX_OPERAND = 8 };

/* A lower-triangular factor in panels, as kernels multiply and solve by it: so many bytes of rows each,
 * the last one perhaps fewer, up to and including the diagonal, by columns: row first + i, column
 * k of the panel that begins with row `first` is at [first * (first + rows) / 2 + k * height + i],
 * where height is `rows`, or less in the last panel. Zeros stand above the diagonal. Up to one
 * panel's rows it is the matrix by columns. */
enum { FD_PANEL_BYTES = 128 };
#define FD_PANEL(real) ((int)(FD_PANEL_BYTES / sizeof(real)))

/* Elements of a factor in panels of so many `rows`. */
static inline intptr_t fd_panels_size(intptr_t dim, intptr_t rows)
{
    const intptr_t whole = dim / rows * rows;
    return whole * (whole + rows) / 2 + (dim - whole) * dim;
}

/* What stands for the covariance of Gaussian vectors: L with L L' = covariance, W = L^-1, or scales. */
enum { FD_TRIL, FD_INVERSE, FD_DIAGONAL };

/* Bytes of scratch that the kernels which say so need for each element of an event. */
enum { FD_SCRATCH_BYTES = 256 };
/* And for each element of a matrix: two vectors, the widest there are, and as many matrices of doubles. */
enum { FD_MATRIX_BYTES = 256 };
/* Numbers of scratch for a divergence of vectors and its gradients: two matrices, with rows of an odd number of cache
 * lines, and three vectors. */
#define FD_KL_NUMBERS(dim) ((dim) * (2 * ((dim) + 32) + 3))

/* A sum of more terms than this needs an fd_total an element as scratch. */
enum { FD_SUM_TERMS = 128 };
/* Numbers of scratch that a sum of outer products needs, an L1 cache of them. */
enum { FD_OUTER_ROOM = 4096 };

typedef struct fd_total {
    double sum, error;
} fd_total;

typedef enum fd_dtype { FD_F32, FD_F64, FD_N_DTYPE } fd_dtype;

/* Events that are best done together, as kernels use one factor for all of them, or keep so many for others. */
enum { FD_EVENT_BLOCK = 32 };
/* Up to so many elements, densities take an event a lane whether they share a factor or not. */
enum { FD_SMALL_EVENT = 8 };

/* A loop nest over broadcast operands. Strides count elements; 0 repeats an operand along
 * a dim, so nothing is ever expanded in memory. Items are numbered in C order of `shape`,
 * the last dim fastest; an item is one element for the elementwise kernels and one event
 * of `dim` contiguous elements for the vector kernels. */
typedef struct fd_loop {
    int ndim; /* >= 1 once coalesced */
    intptr_t dim;
    intptr_t shape[FD_MAX_NDIM];
    intptr_t stride[FD_MAX_OPERAND][FD_MAX_NDIM];
    void *operand[FD_MAX_OPERAND];
} fd_loop;

/* Drops dims of size 1 and merges neighbours that every operand walks as one. */
void fd_loop_coalesce(fd_loop *loop, int n_operand);

/* Makes the first dim the last: the items in another order. */
void fd_loop_rotate_dims(fd_loop *loop);

/* Does items begin <= i < end of a loop. What an item's result is depends on that item's
 * operands alone, never on begin, end, its neighbours or the instruction set. */
typedef void fd_kernel(const fd_loop *loop, intptr_t begin, intptr_t end);

/* Does them under the default floating-point state. */
void fd_do(fd_kernel *kernel, const fd_loop *loop, intptr_t begin, intptr_t end);

/* The kernels by name; kernels.def holds the list and each one's contract, and tells what layouts, letters of
 * operands and costs mean. */
typedef enum fd_op {
#define FD_KERNEL(op, layout, operands, cost) FD_##op,
#include "kernels.def"
#undef FD_KERNEL
    FD_N_OP
} fd_op;

typedef enum fd_layout {
    FD_ELEMENTS,
    FD_EVENT_SUMS,
    FD_SUMS,
    FD_EVENTS,
    FD_EVENT_PRODUCTS,
    FD_MATRICES,
    FD_CHECK_ELEMENTS,
    FD_CHECK_MATRICES
} fd_layout;

fd_kernel *fd_lookup(fd_op op, fd_dtype dtype);
const char *fd_op_name(fd_op op);
fd_layout fd_op_layout(fd_op op);
const char *fd_op_operands(fd_op op);
intptr_t fd_op_cost(fd_op op, intptr_t dim);

/* Instruction sets, slowest first; target 0 is "scalar" and always there. */
int fd_isa_count(void);
const char *fd_isa_name(int target);
int fd_isa_available(int target);
int fd_isa_current(void);
void fd_isa_use(int target); /* target must be available; calls under way finish on the old one */
int fd_isa_best(void);

/* Whether a target has a second form of its noise, with gathers. Which one is used is otherwise chosen by what the
 * CPU is fast at. */
int fd_isa_has_gather(int target);
void fd_isa_use_gather(int target, int gather);

/* A source of noise: of each domain the next n numbers of a stream, in order, with its state moved on
 * by just that much. */
typedef void fd_fill(void *state, intptr_t n, void *out);
typedef struct fd_noise {
    void *state;
    fd_fill *fill[FD_N_DOMAIN][FD_N_DTYPE];
} fd_noise;

/* A stage of what is done tile by tile: a kernel and its loop. Only in a pullback (see below) does it need to know
 * `unit` and `in_tile`. */
typedef struct fd_stage {
    fd_kernel *kernel;
    fd_loop loop;
    intptr_t unit;
    intptr_t in_tile[FD_MAX_OPERAND];
} fd_stage;

/* A draw: x is filled with noise in stream order and coloured in place by `colorize`, whose
 * operand 0 is x. They do rows begin <= r < end; as the noise is sequential, calls
 * must come in ascending order. Before colour and after it come stages, whose items are all elements of the
 * draw in stream order: what a density is made of, transforms of the draw in place.
 *
 * fd_draw_noise     rows are elements; nothing is coloured, and there are no stages.
 * fd_draw_elements  rows are n_noise elements, those that stages sum over; the loop's items are elements in stream
 *                   order, samples outermost.
 * fd_draw_events    rows are events of loop.dim elements, row r being batch item r % n_batch of
 *                   sample r / n_batch; the loop has the batch dims only. */
typedef struct fd_drawing {
    fd_loop loop;
    fd_kernel *colorize;
    fd_dtype dtype;
    fd_domain domain;
    intptr_t n_batch, n_noise; /* batch items; numbers of noise that a row takes */
    const fd_stage *stage;
    int n_before, n_stage;
} fd_drawing;

/* `scratch` is the caller's alone: FD_SCRATCH_BYTES * loop.dim bytes for fd_draw_events to give to the
 * kernel behind its operands, otherwise NULL. */
typedef void fd_draw(const fd_drawing *drawing, const fd_noise *noise, void *scratch, intptr_t begin,
                     intptr_t end);
fd_draw fd_draw_noise, fd_draw_elements, fd_draw_events;

/* One of these under the default floating-point state. */
void fd_draw_rows(fd_draw *draw, const fd_drawing *drawing, const fd_noise *noise, void *scratch, intptr_t begin,
                  intptr_t end);

/* How many rows to draw at a time: n elements or, by whole tiles, some more. Tiles of more than `most`
 * elements are made of fewer samples. */
intptr_t fd_draw_piece(fd_draw *draw, const fd_drawing *drawing, intptr_t n, intptr_t most);

/* A pullback: the same stages tile by tile, so that what one leaves in the tile the next finds in
 * cache. An item of the whole is `unit` items of a stage's loop and `tile_item` elements of the tile;
 * operand k of a stage is in the tile if in_tile[k] >= 0, beginning at that element of it, and strided
 * over all items as if the tile held them all. */
enum { FD_MAX_STAGE = 9, FD_TILE = 2048 };

typedef struct fd_pull {
    fd_stage stage[FD_MAX_STAGE];
    int n_stage;
    fd_dtype dtype;
    void *tile;
    intptr_t tile_item, tile_items; /* elements of an item; how many items there is room for */
} fd_pull;

/* Items begin <= i < end, after those before them. With noise (or NULL) each tile starts as the next
 * normals of the stream, tile_item of them an item.
 *
 * fd_pull_samples is the same for stage 0 alone, a sum_outer whose loop has the samples along dim
 * `axis` (their number is of no account) and n_row events a sample in all. Its dims need not be in
 * the order of the stream: items are whole samples, of n_row * dim elements, and operand 2 is in the
 * tile. */
void fd_pull_items(fd_pull *pull, const fd_noise *noise, intptr_t begin, intptr_t end);
void fd_pull_samples(const fd_pull *pull, const fd_noise *noise, int axis, intptr_t begin, intptr_t end);

/* NumPy's own ziggurat, and its uniforms, over a numpy.random bit generator (its bitgen_t). */
void fd_noise_from_numpy(fd_noise *noise, void *bitgen);

#endif
