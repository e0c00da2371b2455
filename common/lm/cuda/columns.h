/* SPDX-License-Identifier: MIT
 * columns: sums of a matrix's columns, in slabs of rows that are added in order. */
#ifndef RAISE_LM_CUDA_COLUMNS_H
#define RAISE_LM_CUDA_COLUMNS_H

#include "lm/cuda/cuda.h"

/* term(t, c) of row t and column c; partial [n_slabs, N] */
template <class Term>
__device__ static void slab_sums(float *partial, int64_t T, int64_t N, Term term)
{
    int64_t n_slabs = gridDim.y, slab = blockIdx.y;
    for (int64_t c = first(); c < N; c += stride()) {
        float sum = 0;
        for (int64_t t = T * slab / n_slabs; t < T * (slab + 1) / n_slabs; t++)
            sum += term(t, c);
        partial[slab * N + c] = sum;
    }
}

__global__ static void add_slabs_kernel(float *out, const float *partial, int64_t n_slabs,
                                        int64_t N)
{
    for (int64_t c = first(); c < N; c += stride()) {
        double sum = (double)out[c];
        for (int64_t s = 0; s < n_slabs; s++)
            sum += (double)partial[s * N + c];
        out[c] = (float)sum;
    }
}

static unsigned n_slabs_for(int64_t N)
{
    int64_t n = (int64_t)(WORKSPACE / sizeof(float)) / N;
    return (unsigned)(n < 1 ? 1 : n > MAX_SLABS ? MAX_SLABS : n);
}

#define COLUMN_SUMS(state, kernel, out, N, ...)                                                \
    do {                                                                                       \
        unsigned n_slabs = n_slabs_for(N);                                                     \
        float *partial = (float *)(state)->workspace;                                          \
        RUN(state, kernel, (blocks(N, BLOCK), n_slabs), BLOCK, partial, __VA_ARGS__);          \
        RUN(state, add_slabs_kernel, (blocks(N, BLOCK)), BLOCK, out, partial, n_slabs, N);     \
    } while (0)

#endif
