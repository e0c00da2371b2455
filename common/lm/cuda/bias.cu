/* SPDX-License-Identifier: MIT
 * Biases. Only Qwen2's q, k and v have one: cuBLASLt's epilogue would take it, but rounded to
 * bf16, and saves one pass over a sixth of a layer's outputs. */
#include "lm/cuda/columns.h"

__global__ static void bias8_kernel(act_t *y, int64_t ldy, const float *bias, int64_t T,
                                    int64_t N)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x)
        for (int64_t i = threadIdx.x * 8; i < N; i += blockDim.x * 8) {
            float v[8], b[8];
            load8(v, y + t * ldy + i);
            load8(b, bias + i);
            UNROLL
            for (int k = 0; k < 8; k++)
                v[k] += b[k];
            store8(y + t * ldy + i, v);
        }
}

__global__ static void bias_fwd_kernel(act_t *y, int64_t ldy, const float *bias, int64_t T,
                                       int64_t N)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x)
        for (int64_t i = threadIdx.x; i < N; i += blockDim.x)
            y[t * ldy + i] = float_to_act(act_to_float(y[t * ldy + i]) + bias[i]);
}

void cuda_bias_fwd(struct lm_dev *d, void *y, int64_t ldy, const float *bias, int64_t T,
                   int64_t N)
{
    if (T && ldy % 8 == 0 && is_by8(N, y, bias))
        RUN(state_of(d), bias8_kernel, (blocks(T, 1)), threads(N / 8), (act_t *)y, ldy, bias, T,
            N);
    else if (T)
        RUN(state_of(d), bias_fwd_kernel, (blocks(T, 1)), BLOCK, (act_t *)y, ldy, bias, T, N);
}

__global__ static void bias_bwd_kernel(float *partial, const act_t *dy, int64_t lddy, int64_t T,
                                       int64_t N)
{
    slab_sums(partial, T, N,
              [=](int64_t t, int64_t c) { return act_to_float(dy[t * lddy + c]); });
}

void cuda_bias_bwd(struct lm_dev *d, float *dbias, const void *dy, int64_t lddy, int64_t T,
                   int64_t N)
{
    if (T)
        COLUMN_SUMS(state_of(d), bias_bwd_kernel, dbias, N, (const act_t *)dy, lddy, T, N);
}
