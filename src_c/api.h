/* api.h - the C core's functions in one table: it is linked into one extension module alone, and the others
 * have them from there. What each does tell fastdist.h, share.h and stream.h. */
#ifndef FD_API_H
#define FD_API_H

#include "blocked.h"
#include "fastdist.h"
#include "share.h"
#include "stream.h"

typedef struct fd_api {
    fd_kernel *(*lookup)(fd_op op, fd_dtype dtype);
    const char *(*op_name)(fd_op op);
    const char *(*op_operands)(fd_op op);
    fd_layout (*op_layout)(fd_op op);
    intptr_t (*op_cost)(fd_op op, intptr_t dim);
    void (*coalesce)(fd_loop *loop, int n_operand);
    void (*rotate_dims)(fd_loop *loop);
    void (*run)(fd_kernel *kernel, const fd_loop *loop, intptr_t begin, intptr_t end);

    fd_draw *draw_noise, *draw_elements, *draw_events;
    void (*draw_rows)(fd_draw *draw, const fd_drawing *drawing, const fd_noise *noise, void *scratch, intptr_t begin,
                      intptr_t end);
    intptr_t (*draw_piece)(fd_draw *draw, const fd_drawing *drawing, intptr_t n, intptr_t most);
    size_t (*share_size)(int n_worker);
    void (*share_start)(fd_share *share, const fd_drawing *drawing, fd_draw *draw, const fd_place *place,
                        void *scratch, intptr_t n_row, int n_worker);
    int (*share_work)(fd_share *share, intptr_t n_row);

    void (*pull_items)(fd_pull *pull, const fd_noise *noise, intptr_t begin, intptr_t end);
    void (*pull_samples)(const fd_pull *pull, const fd_noise *noise, int axis, intptr_t begin, intptr_t end);

    intptr_t (*blocked_scratch)(fd_blocked_op op, fd_dtype dtype, intptr_t dim);
    void (*blocked_start)(fd_blocked *of, fd_blocked_op op, fd_dtype dtype, intptr_t dim, const void *from, void *to,
                          void *scratch, int check_symmetry, int n_worker);
    int (*blocked_work)(fd_blocked *of);

    void (*noise_from_numpy)(fd_noise *noise, void *bitgen);
    const fd_random_api *random;
    const fd_stream_api *stream;
} fd_api;

extern const fd_api fd_functions;

#endif
