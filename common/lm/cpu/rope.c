/* SPDX-License-Identifier: MIT
 * Rotary positions. */
#include "lm/cpu/cpu.h"

static void rotate(act *x, const float *cosine, const float *sine, int64_t half, float sign)
{
    act *y = x + half;
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        float a = act_get(x[i]), b = act_get(y[i]), c = cosine[i], s = sign * sine[i];
        x[i] = act_put(a * c - b * s);
        y[i] = act_put(b * c + a * s);
    }
}

void CPU_OP(rope)(struct lm_dev *d, void *x, int64_t ldx, const int32_t *positions,
                  const float *cos_sin, int64_t T, int64_t n_heads, int64_t K, bool is_inverse)
{
    (void)d;
#pragma omp parallel for schedule(static) if (T * n_heads * K > CPU_SERIAL)
    for (int64_t t = 0; t < T; t++)
        for (int64_t h = 0; h < n_heads; h++) {
            const float *table = cos_sin + positions[t] * K;
            rotate((act *)x + t * ldx + h * K, table, table + K / 2, K / 2,
                   is_inverse ? -1.0f : 1.0f);
        }
}
