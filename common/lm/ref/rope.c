/* SPDX-License-Identifier: MIT
 * Rotary positions: the definition. Pairs (i, i + K/2) turn by the angle of their position. */
#include "lm/ref/ref.h"

void ref_rope(struct lm_dev *d, void *x_act, int64_t ldx, const int32_t *positions,
              const float *cos_sin, int64_t T, int64_t n_heads, int64_t K, bool is_inverse)
{
    (void)d;
    for (int64_t t = 0; t < T; t++)
        for (int64_t h = 0; h < n_heads; h++) {
            float *x = (float *)x_act + t * ldx + h * K;
            const float *table = cos_sin + positions[t] * K;
            for (int64_t i = 0; i < K / 2; i++) {
                double c = (double)table[i], s = (double)table[K / 2 + i];
                double a = (double)x[i], b = (double)x[K / 2 + i];
                if (is_inverse)
                    s = -s;
                x[i] = (float)(a * c - b * s);
                x[K / 2 + i] = (float)(b * c + a * s);
            }
        }
}
