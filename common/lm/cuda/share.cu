/* SPDX-License-Identifier: MIT
 * Rows of a prefix that sequences share: copied out, and summed up again, in their order. */
#include "lm/cuda/cuda.h"

__global__ static void sum_kernel(act_t *dst, int64_t ldd, const act_t *src, int64_t lds,
                                  const int32_t *starts, const int32_t *rows, int64_t n, int64_t N)
{
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x) {
        int64_t from = starts ? starts[i] : i, to = starts ? starts[i + 1] : i + 1;
        for (int64_t c = threadIdx.x; c < N; c += blockDim.x) {
            float sum = 0;
            for (int64_t k = from; k < to; k++)
                sum += act_to_float(src[rows[k] * lds + c]);
            dst[i * ldd + c] = float_to_act(sum);
        }
    }
}

void cuda_sum_rows(struct lm_dev *d, void *dst, int64_t ldd, const void *src, int64_t lds,
                   const int32_t *starts, const int32_t *rows, int64_t n, int64_t N)
{
    if (n && N)
        RUN(state_of(d), sum_kernel, (blocks(n, 1)), threads(N), (act_t *)dst, ldd,
            (const act_t *)src, lds, starts, rows, n, N);
}
