/* tests/c/kernels/check.h - what the files of this program have in common. */
#ifndef CHECK_H
#define CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "../../../src_c/fastdist.h"
#include "../../../src_c/stream.h"

/* ---- failures ---------------------------------------------------------------------------- */

extern int n_failure, n_case;

/* What is being done, for the message if it goes wrong. */
extern struct now {
    const char *what, *isa, *way;
    fd_dtype dtype;
    int wild;
    const fd_loop *loop;
    intptr_t n;
} now;

void fail(const char *format, ...);
void crashed(int signal_number);
void check_upper_halves(void);

/* ---- targets -------------------------------------------------------------------------------- */

extern int n_target;

void find_targets(void);
void use(int target);
int n_form(int target);
void use_form(int target, int gather);

/* ---- random ------------------------------------------------------------------------------ */

extern const size_t itemsize[FD_N_DTYPE];
extern uint64_t random_state;

uint64_t random_word(void);
intptr_t below(intptr_t n);
int one_in(intptr_t n);
double unit(void);
double uniform(double low, double high);
fd_key random_key(void);

double get(fd_dtype dtype, const void *p, intptr_t i);
void put(fd_dtype dtype, void *p, intptr_t i, double value);

/* How bad a case's values are. */
enum { TAME, SPARSE, DENSE, TINY, N_WILD };

void put_worst(fd_dtype dtype, void *p, intptr_t i, int wild);
int worst_now(int wild);

/* ---- arenas ------------------------------------------------------------------------------ */

enum { GUARD = 512, ROOM = 32 << 20 };

typedef struct region {
    unsigned char *begin, *end;     /* what may be read and written */
    unsigned char *lower, *upper;   /* the operand with its guard bands */
    unsigned char *p;               /* the operand */
} region;

extern region arena[FD_MAX_OPERAND];

/* What is to be written, with its guard bands. */
extern unsigned char wanted[FD_MAX_OPERAND][ROOM];

void open_arenas(void);
void place(region *r, size_t size, size_t item, int guard);

/* What surrounds an operand: NaN where it is read; where it is written, something that no result is. */
enum { GUARD_READ = 0xff, GUARD_WRITTEN = 0x3b };

/* ---- hashes ------------------------------------------------------------------------------ */

extern const uint64_t hash_start;
extern uint64_t kernels_hash;

uint64_t hash_word(uint64_t hash, uint64_t word);

/* ---- operands ---------------------------------------------------------------------------- */

enum { MAX_DIM = 150 };

extern intptr_t kinds[3];
extern intptr_t counted[1 + MAX_DIM];

int writes(fd_op op, int k);
int has_strides(fd_op op, int k);
size_t scratch_size(char letter, fd_dtype dtype, intptr_t dim);
intptr_t core_of(fd_op op, int k, fd_dtype dtype, intptr_t dim);
intptr_t n_distinct(const fd_loop *loop, int k);
void set_strides(fd_loop *loop, int k, intptr_t core, unsigned repeat, int padded);
void put_item(char letter, fd_dtype dtype, void *p, intptr_t dim, intptr_t core, int wild);

/* ---- checks ------------------------------------------------------------------------------ */

void check_kernels(void);
void check_stream(void);
void check_draws(void);
void check_blocked(void);
void check_hash(intptr_t n_block);

#endif
