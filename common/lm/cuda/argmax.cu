/* SPDX-License-Identifier: MIT
 * The place of a row's greatest logit: a block a row finds the greatest, then the first place
 * where it is. */
#include "lm/cuda/cuda.h"

struct op_min {
    __device__ int64_t operator()(int64_t a, int64_t b) const
    {
        return a < b ? a : b;
    }
};

__global__ static void argmax_kernel(int32_t *best, const float *logits, int64_t n, int64_t V)
{
    for (int64_t row = blockIdx.x; row < n; row += gridDim.x) {
        const float *z = logits + row * V;
        float max = -INFINITY;
        for (int64_t c = threadIdx.x; c < V; c += blockDim.x)
            max = op_max()(max, z[c]);
        max = block_max(max); /* NaN wins */
        int64_t at = V;
        for (int64_t c = threadIdx.x; c < V; c += blockDim.x)
            at = z[c] == max && c < at ? c : at;
        at = block_reduce(at, V, op_min());
        if (threadIdx.x == 0)
            best[row] = max != max ? -1 : (int32_t)at;
    }
}

void cuda_argmax(struct lm_dev *d, int32_t *best, const float *logits, int64_t n, int64_t V)
{
    if (n)
        RUN(state_of(d), argmax_kernel, (blocks(n, 1)), threads(V), best, logits, n, V);
}
