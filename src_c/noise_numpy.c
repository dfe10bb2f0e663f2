/* noise_numpy.c - NumPy's normals for any of its bit generators, from the static library
 * that NumPy ships for the purpose ("Extending numpy.random"), so that they are NumPy's to
 * the last bit. The two prototypes are numpy/random/distributions.h's; that header itself
 * would bring Python.h along. */
#include "fastdist.h"

struct bitgen;
void random_standard_normal_fill(struct bitgen *bitgen, intptr_t n, double *out);
void random_standard_normal_fill_f(struct bitgen *bitgen, intptr_t n, float *out);

static void fill_f32(void *bitgen, intptr_t n, void *out)
{
    random_standard_normal_fill_f(bitgen, n, out);
}

static void fill_f64(void *bitgen, intptr_t n, void *out)
{
    random_standard_normal_fill(bitgen, n, out);
}

void fd_noise_from_numpy(fd_noise *noise, void *bitgen)
{
    noise->state = bitgen;
    noise->fill[FD_F32] = fill_f32;
    noise->fill[FD_F64] = fill_f64;
}
