/* SPDX-License-Identifier: MIT
 * Rotary positions. */
#include "lm/cuda/cuda.h"

__device__ static void rotate(float *a, float *b, float c, float s)
{
    float x = *a;
    *a = x * c - *b * s;
    *b = *b * c + x * s;
}

/* Eight pairs at a time; `half` is K / 2. */
__global__ static void rope8_kernel(act_t *x, int64_t ldx, const int32_t *positions,
                                    const float *cos_sin, int64_t T, int n_heads, int half,
                                    float sign)
{
    int per_head = half / 8, n = n_heads * per_head;
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x) {
        const float *table = cos_sin + (int64_t)positions[t] * 2 * half;
        for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) {
            int at = i % per_head * 8;
            act_t *p = x + t * ldx + i / per_head * 2 * half + at;
            float a[8], b[8], c[8], s[8];
            load8(a, p);
            load8(b, p + half);
            load8(c, table + at);
            load8(s, table + half + at);
            UNROLL
            for (int k = 0; k < 8; k++)
                rotate(&a[k], &b[k], c[k], sign * s[k]);
            store8(p, a);
            store8(p + half, b);
        }
    }
}

__global__ static void rope_kernel(act_t *x, int64_t ldx, const int32_t *positions,
                                   const float *cos_sin, int64_t T, int64_t n_heads, int64_t K,
                                   float sign)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x) {
        const float *table = cos_sin + positions[t] * K;
        int64_t half = K / 2;
        for (int64_t i = threadIdx.x; i < n_heads * half; i += blockDim.x) {
            act_t *p = x + t * ldx + i / half * K + i % half;
            float c = table[i % half], s = sign * table[half + i % half];
            float a = act_to_float(p[0]), b = act_to_float(p[half]);
            p[0] = float_to_act(a * c - b * s);
            p[half] = float_to_act(b * c + a * s);
        }
    }
}

void cuda_rope(struct lm_dev *d, void *x, int64_t ldx, const int32_t *positions,
               const float *cos_sin, int64_t T, int64_t n_heads, int64_t K, bool is_inverse)
{
    float sign = is_inverse ? -1.0f : 1.0f;
    if (T && K % 16 == 0 && is_by8(ldx, x, cos_sin))
        RUN(state_of(d), rope8_kernel, (blocks(T, 1)), threads(n_heads * K / 16), (act_t *)x,
            ldx, positions, cos_sin, T, (int)n_heads, (int)(K / 2), sign);
    else if (T)
        RUN(state_of(d), rope_kernel, (blocks(T, 1)), BLOCK, (act_t *)x, ldx, positions,
            cos_sin, T, n_heads, K, sign);
}
