/* noise_numpy.c - NumPy's normals and uniforms for any of its bit generators, from the static library
 * that NumPy ships for the purpose ("Extending numpy.random"), so that they are NumPy's to
 * the last bit. The prototypes are numpy/random/distributions.h's; that header itself
 * would bring Python.h along. Uniforms are Generator.random's: in [0, 1), 0 included. */
#include "fastdist.h"

struct bitgen;
void random_standard_normal_fill(struct bitgen *bitgen, intptr_t n, double *out);
void random_standard_normal_fill_f(struct bitgen *bitgen, intptr_t n, float *out);
void random_standard_uniform_fill(struct bitgen *bitgen, intptr_t n, double *out);
void random_standard_uniform_fill_f(struct bitgen *bitgen, intptr_t n, float *out);

static void normal_f32(void *bitgen, intptr_t n, void *out) { random_standard_normal_fill_f(bitgen, n, out); }

static void normal_f64(void *bitgen, intptr_t n, void *out) { random_standard_normal_fill(bitgen, n, out); }

static void uniform_f32(void *bitgen, intptr_t n, void *out) { random_standard_uniform_fill_f(bitgen, n, out); }

static void uniform_f64(void *bitgen, intptr_t n, void *out) { random_standard_uniform_fill(bitgen, n, out); }

void fd_noise_from_numpy(fd_noise *noise, void *bitgen)
{
    *noise = (fd_noise){bitgen, {{normal_f32, normal_f64}, {uniform_f32, uniform_f64}}};
}
