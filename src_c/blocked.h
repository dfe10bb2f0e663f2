/* blocked.h - a large matrix and its triangle, by blocks and by workers: the Cholesky factor, its inverse, products.
 *
 * All are worked on as doubles, whatever the dtype, in panels of FD_ROWS rows (fastdist.h), the last of which is as
 * high as all others: below and right of the last row stands an identity. So nothing has a tail.
 *
 * A sum of products over k is made by fma in ascending k, in chunks of FD_CHUNK, which begin at multiples of that: the
 * first by a chain from what is there already (an element of the matrix, 0 or 1), each later one by a chain from 0,
 * which is then added. So many short chains round less than one long one. Where a triangle is solved, the chunk
 * on its diagonal goes on from what is there, and then comes the product with the pivot's reciprocal root. */
#ifndef FD_BLOCKED_H
#define FD_BLOCKED_H

#include "fastdist.h"
#include "pool.h"

enum { FD_CHUNK = 64, FD_ROWS = FD_PANEL(double), FD_CHUNK_PANELS = FD_CHUNK / FD_ROWS };

/* What is to be made.
 *   FD_CHOLESKY           panels of L, L L' = matrix, of which the lower triangle counts
 *   FD_REVERSE_CHOLESKY   panels of W, W' W = matrix, of which the upper triangle counts
 *   FD_INVERSE_PANELS     panels of L^-1, from panels of L
 *   FD_PRODUCT            the matrix L L' from panels of L
 *   FD_PRODUCT_T          the matrix W' W from panels of W
 *   FD_PRODUCT_INVERSE    the matrix (L L')^-1 from panels of L
 * Matrices are by rows. */
typedef enum fd_blocked_op {
    FD_CHOLESKY,
    FD_REVERSE_CHOLESKY,
    FD_INVERSE_PANELS,
    FD_PRODUCT,
    FD_PRODUCT_T,
    FD_PRODUCT_INVERSE
} fd_blocked_op;

/* Found in a matrix, or on the way. */
enum { FD_SINGULAR = 1, FD_ASYMMETRIC = 2 };

typedef struct fd_blocked {
    fd_blocked_op op;
    fd_dtype dtype;
    intptr_t dim, n_panel;
    const void *from;
    void *to;
    double *lower, *last; /* panels of a lower triangle, the last one apart */
    double *upper;        /* panels of an upper triangle, from the diagonal on */
    double *reciprocal;   /* of the roots */
    double *variance;     /* the diagonal of the matrix */
    void *root;           /* of that, in the matrix's dtype and order */
    double tolerance;     /* of a pivot, in units of the diagonal */
    int found;
    int n_stage;   /* that are left */
    intptr_t done; /* of a stage: panels, or blocks of columns */
    int n_worker;
    /* What workers do now, to panels up to `end`, of which `next` is the first that nobody has claimed. */
    void (*part)(const struct fd_blocked *of, intptr_t which, intptr_t begin, intptr_t end);
    intptr_t which, end;
    atomic_intptr_t next;
    fd_team team;
} fd_blocked;

/* Column k of a panel p is at [k * FD_ROWS]. */
static inline double *fd_lower_panel(const fd_blocked *of, intptr_t p)
{
    return p < of->n_panel - 1 ? of->lower + FD_ROWS * FD_ROWS * p * (p + 1) / 2 : of->last;
}
static inline double *fd_upper_panel(const fd_blocked *of, intptr_t p)
{
    return of->upper + FD_ROWS * FD_ROWS * (p * (of->n_panel - 1) - p * (p - 1) / 2);
}

/* What an ISA does. Panels begin <= p < end do not need each other; `which` is
 * of below      the block of columns
 * of multiply   whether upper panels are multiplied, not lower ones.
 *
 *   take       the matrix to lower panels; what was found
 *   diagonal   the diagonal block of a block of columns to that of the factor; whether its pivots are good
 *   below      panels below it
 *   invert     lower panels of L to upper ones of L^-T
 *   multiply   rows of a product, as far as the diagonal, to the result, and what they are mirrored to */
typedef void fd_blocked_part(const fd_blocked *of, intptr_t which, intptr_t begin, intptr_t end);
typedef struct fd_blocked_ops {
    int (*take[FD_N_DTYPE])(const fd_blocked *of, int check_symmetry);
    int (*diagonal)(fd_blocked *of, intptr_t column);
    fd_blocked_part *below, *invert, *multiply;
} fd_blocked_ops;
const fd_blocked_ops *fd_blocked_ops_current(void);

/* Bytes of scratch, aligned to 64. */
intptr_t fd_blocked_scratch(fd_blocked_op op, fd_dtype dtype, intptr_t dim);

/* fd_blocked_start  takes `from`, over to scratch
 * fd_blocked_work   some 10 ms of work, or all that is left; true if any is left. Between calls nobody is at work.
 * Then `found` tells what is wrong with the matrix, in which case the result is not complete. */
void fd_blocked_start(fd_blocked *of, fd_blocked_op op, fd_dtype dtype, intptr_t dim, const void *from, void *to,
                      void *scratch, int check_symmetry, int n_worker);
int fd_blocked_work(fd_blocked *of);

#endif
