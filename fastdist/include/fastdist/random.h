/* fastdist/random.h - the streams of fastdist.BlockSFC64 for other C code: normals and uniforms, one by one or in
 * bulk, the same that fastdist itself would draw, and the generator stands behind them afterwards.
 *
 *     #include <Python.h>
 *     #include <fastdist/random.h>                 // fastdist.get_include() tells where it is
 *
 *     if (fd_import_random() < 0)                  // once, in the module's initialisation
 *         return NULL;
 *     fd_stream *stream = fd_random->stream_of(rng);   // of a BlockSFC64 or a Generator on one
 *     double x = fd_next_normal(stream);
 *     fd_random->fill_normal_f32(stream, n, out);
 *
 * Hold the bit generator's `lock` from the first call on a stream to the last, and a reference to the generator;
 * the GIL is needed for stream_of alone. A stream of one's own (stream_size, start) needs no lock as long as one thread
 * alone has it. No function here allocates, fails or calls Python, but stream_of.
 *
 * Without Python.h before it, types alone are declared: the core itself includes it so. */
#ifndef FASTDIST_RANDOM_H
#define FASTDIST_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* The version changes where extensions have to be compiled again; the revision grows as functions are added at the
 * end of the table, and an extension needs at least the one that it was compiled with. */
#ifndef FD_RANDOM_VERSION
#define FD_RANDOM_VERSION 1
#define FD_RANDOM_REVISION 0
#endif

/* Kinds of noise: standard normals, and uniforms on (0, 1). Each is a stream of its own. */
typedef enum fd_domain { FD_NORMAL, FD_UNIFORM, FD_N_DOMAIN } fd_domain;

/* Numbers are made by blocks of so many. */
enum { FD_BLOCK = 1024 };

/* Positions of a key; beyond them a stream goes on with the next key, which is counted by `carry`. */
#define FD_POSITIONS ((uint64_t)1 << 58)

typedef struct fd_key {
    uint64_t word[2];
} fd_key;

/* Where a domain is read: position + carry * 2^58, and what is made of the present block. `number` holds doubles
 * whatever is asked for: a float32 number is the float64 one, rounded, but that a uniform stays below 1. */
typedef struct fd_cursor {
    uint64_t position, carry;
    intptr_t made;
    double number[FD_BLOCK];
} fd_cursor;

/* A stream begins with its cursors, one a domain; the rest is not public. */
typedef struct fd_stream fd_stream;

/* Where some numbers of a stream begin. */
typedef struct fd_place {
    fd_key key;
    fd_domain domain;
    uint64_t position, carry;
} fd_place;

/* A domain's cursor. */
static inline fd_cursor *fd_cursor_of(fd_stream *stream, fd_domain domain)
{
    return (fd_cursor *)stream + domain;
}

/* The next number, if it is made and not the last that is: true if so. */
static inline int fd_next_made(fd_cursor *cursor, double *number)
{
    const intptr_t at = (intptr_t)(cursor->position % FD_BLOCK);
    if (at + 1 >= cursor->made)
        return 0;
    *number = cursor->number[at];
    cursor->position++;
    return 1;
}

struct _object; /* PyObject */

/* The table of functions.
 *
 *   stream_of      the stream of a BlockSFC64, or of a numpy.random.Generator on one, for as long as that lives;
 *                  NULL with a TypeError set for any other object
 *   stream_size    bytes that a stream takes, aligned as malloc does
 *   start          lets a stream begin with a key, in all domains
 *   seek           the domain's next number is the one at position + carry * 2^58
 *   take           gives out the domain's next n numbers: where they begin, and the stream moves on behind them.
 *                  With n = 0 it tells where the stream stands
 *   read           lets `reader` read a place's domain only, beginning n behind the place: so any thread makes its
 *                  part of what `take` gave, by a stream of its own. It needs no start
 *   fill_*         the next n numbers
 *   next_*         the next one */
typedef struct fd_random_api {
    int version, revision;
    size_t stream_size;
    fd_stream *(*stream_of)(struct _object *rng);
    void (*start)(fd_stream *stream, fd_key key);
    void (*seek)(fd_stream *stream, fd_domain domain, uint64_t position, uint64_t carry);
    fd_place (*take)(fd_stream *stream, fd_domain domain, intptr_t n);
    void (*read)(fd_stream *reader, const fd_place *place, intptr_t n);
    void (*fill_normal_f64)(fd_stream *stream, intptr_t n, double *out);
    void (*fill_normal_f32)(fd_stream *stream, intptr_t n, float *out);
    void (*fill_uniform_f64)(fd_stream *stream, intptr_t n, double *out);
    void (*fill_uniform_f32)(fd_stream *stream, intptr_t n, float *out);
    double (*next_normal)(fd_stream *stream);
    double (*next_uniform)(fd_stream *stream);
} fd_random_api;

#ifdef PY_VERSION_HEX

/* The capsule's name, and where it is. */
#define FD_RANDOM_CAPSULE "fastdist.random._c_api"

/* The table, in each file that has imported it. */
static const fd_random_api *fd_random;

/* 0, or -1 with an ImportError set if the versions do not agree. */
static inline int fd_import_random(void)
{
    const fd_random_api *found = (const fd_random_api *)PyCapsule_Import(FD_RANDOM_CAPSULE, 0);
    if (found == NULL)
        return -1;
    if (found->version != FD_RANDOM_VERSION || found->revision < FD_RANDOM_REVISION) {
        PyErr_Format(PyExc_ImportError,
                     "compiled with version %d.%d of fastdist's C interface, but the fastdist that is installed has "
                     "version %d.%d: %s",
                     FD_RANDOM_VERSION, FD_RANDOM_REVISION, found->version, found->revision,
                     found->version == FD_RANDOM_VERSION ? "install a newer fastdist" : "compile this module again");
        return -1;
    }
    fd_random = found;
    return 0;
}

/* The next number, inline where it is made. */
static inline double fd_next_normal(fd_stream *stream)
{
    double number;
    return fd_next_made(fd_cursor_of(stream, FD_NORMAL), &number) ? number : fd_random->next_normal(stream);
}

static inline double fd_next_uniform(fd_stream *stream)
{
    double number;
    return fd_next_made(fd_cursor_of(stream, FD_UNIFORM), &number) ? number : fd_random->next_uniform(stream);
}

#endif

#endif
