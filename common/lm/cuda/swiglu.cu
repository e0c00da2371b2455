/* SPDX-License-Identifier: MIT
 * SwiGLU. */
#include "lm/cuda/cuda.h"

__global__ static void swiglu_fwd8_kernel(act_t *h, const act_t *gate_up, int64_t T, int64_t F)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x)
        for (int64_t i = threadIdx.x * 8; i < F; i += blockDim.x * 8) {
            float z[8], up[8];
            load8(z, gate_up + t * 2 * F + i);
            load8(up, gate_up + t * 2 * F + F + i);
            UNROLL
            for (int k = 0; k < 8; k++)
                z[k] = z[k] / (1 + expf(-z[k])) * up[k];
            store8(h + t * F + i, z);
        }
}

__global__ static void swiglu_bwd8_kernel(act_t *dgate_up, act_t *h, const act_t *dh,
                                          const act_t *gate_up, int64_t T, int64_t F)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x)
        for (int64_t i = threadIdx.x * 8; i < F; i += blockDim.x * 8) {
            float z[8], up[8], g[8];
            load8(z, gate_up + t * 2 * F + i);
            load8(up, gate_up + t * 2 * F + F + i);
            load8(g, dh + t * F + i);
            UNROLL
            for (int k = 0; k < 8; k++) {
                float s = 1 / (1 + expf(-z[k])), u = up[k], silu = z[k] * s;
                up[k] = g[k] * silu;                        /* d up */
                g[k] = g[k] * u * s * (1 + z[k] * (1 - s)); /* d gate */
                z[k] = silu * u;
            }
            store8(dgate_up + t * 2 * F + i, g);
            store8(dgate_up + t * 2 * F + F + i, up);
            if (h)
                store8(h + t * F + i, z);
        }
}

__global__ static void swiglu_fwd_kernel(act_t *h, const act_t *gate_up, int64_t T, int64_t F)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x)
        for (int64_t i = threadIdx.x; i < F; i += blockDim.x) {
            float z = act_to_float(gate_up[t * 2 * F + i]);
            float up = act_to_float(gate_up[t * 2 * F + F + i]);
            h[t * F + i] = float_to_act(z / (1 + expf(-z)) * up);
        }
}

void cuda_swiglu_fwd(struct lm_dev *d, void *h, const void *gate_up, int64_t T, int64_t F)
{
    if (T && is_by8(F, h, gate_up))
        RUN(state_of(d), swiglu_fwd8_kernel, (blocks(T, 1)), threads(F / 8), (act_t *)h,
            (const act_t *)gate_up, T, F);
    else if (T)
        RUN(state_of(d), swiglu_fwd_kernel, (blocks(T, 1)), BLOCK, (act_t *)h,
            (const act_t *)gate_up, T, F);
}

__global__ static void swiglu_bwd_kernel(act_t *dgate_up, act_t *h, const act_t *dh,
                                         const act_t *gate_up, int64_t T, int64_t F)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x)
        for (int64_t i = threadIdx.x; i < F; i += blockDim.x) {
            float z = act_to_float(gate_up[t * 2 * F + i]);
            float up = act_to_float(gate_up[t * 2 * F + F + i]);
            float g = act_to_float(dh[t * F + i]), s = 1 / (1 + expf(-z));
            dgate_up[t * 2 * F + i] = float_to_act(g * up * s * (1 + z * (1 - s)));
            dgate_up[t * 2 * F + F + i] = float_to_act(g * z * s);
            if (h)
                h[t * F + i] = float_to_act(z * s * up);
        }
}

void cuda_swiglu_bwd(struct lm_dev *d, void *dgate_up, void *h, const void *dh,
                     const void *gate_up, int64_t T, int64_t F)
{
    if (T && is_by8(F, dgate_up, h, dh, gate_up))
        RUN(state_of(d), swiglu_bwd8_kernel, (blocks(T, 1)), threads(F / 8), (act_t *)dgate_up,
            (act_t *)h, (const act_t *)dh, (const act_t *)gate_up, T, F);
    else if (T)
        RUN(state_of(d), swiglu_bwd_kernel, (blocks(T, 1)), BLOCK, (act_t *)dgate_up,
            (act_t *)h, (const act_t *)dh, (const act_t *)gate_up, T, F);
}
