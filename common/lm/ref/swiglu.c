/* SPDX-License-Identifier: MIT
 * SwiGLU: the definition. silu(z) = z s(z) with s the logistic function, and
 * silu'(z) = s(z) (1 + z (1 - s(z))). */
#include "lm/ref/ref.h"

#include <math.h>

void ref_swiglu_fwd(struct lm_dev *d, void *h_act, const void *gate_up, int64_t T, int64_t F)
{
    (void)d;
    float *h = h_act;
    for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < F; i++) {
            const float *row = (const float *)gate_up + t * 2 * F;
            double z = (double)row[i];
            h[t * F + i] = (float)(z / (1 + exp(-z)) * (double)row[F + i]);
        }
}

void ref_swiglu_bwd(struct lm_dev *d, void *dgate_up, void *h_act, const void *dh_act,
                    const void *gate_up, int64_t T, int64_t F)
{
    (void)d;
    const float *dh = dh_act;
    float *h = h_act;
    for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < F; i++) {
            const float *row = (const float *)gate_up + t * 2 * F;
            float *drow = (float *)dgate_up + t * 2 * F;
            double z = (double)row[i], up = (double)row[F + i], g = (double)dh[t * F + i];
            double s = 1 / (1 + exp(-z));
            drow[i] = (float)(g * up * s * (1 + z * (1 - s)));
            drow[F + i] = (float)(g * z * s);
            if (h)
                h[t * F + i] = (float)(z * s * up);
        }
}
