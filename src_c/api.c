/* api.c - the table of the core's functions. */
#include "api.h"

static size_t share_size(int n_worker) { return fd_share_size(n_worker); }

const fd_api fd_functions = {
    .lookup = fd_lookup,
    .op_name = fd_op_name,
    .op_operands = fd_op_operands,
    .op_layout = fd_op_layout,
    .op_cost = fd_op_cost,
    .coalesce = fd_loop_coalesce,
    .rotate_dims = fd_loop_rotate_dims,
    .run = fd_do,
    .draw_noise = fd_draw_noise,
    .draw_elements = fd_draw_elements,
    .draw_events = fd_draw_events,
    .draw_rows = fd_draw_rows,
    .draw_piece = fd_draw_piece,
    .share_size = share_size,
    .share_start = fd_share_start,
    .share_work = fd_share_work,
    .pull_items = fd_pull_items,
    .pull_samples = fd_pull_samples,
    .blocked_scratch = fd_blocked_scratch,
    .blocked_start = fd_blocked_start,
    .blocked_work = fd_blocked_work,
    .noise_from_numpy = fd_noise_from_numpy,
    .random = &fd_random_functions,
    .stream = &fd_stream_functions,
};
