/* SPDX-License-Identifier: MIT
 * AdamW with decoupled weight decay, and sums of squares. */
#include "lm/cpu/cpu.h"

#include <math.h>

void CPU_OP(adamw)(struct lm_dev *d, float *p, float *m, float *v, const float *g, int64_t n,
                   const struct lm_adamw *h)
{
    (void)d;
    double c1 = 1 - pow(h->beta1, (double)h->step), c2 = 1 - pow(h->beta2, (double)h->step);
    const float beta1 = (float)h->beta1, beta2 = (float)h->beta2;
    const float rest1 = (float)(1 - h->beta1), rest2 = (float)(1 - h->beta2);
    const float rate = (float)(h->lr / c1), root = (float)(1 / sqrt(c2)), eps = (float)h->eps;
    const float decay = (float)(h->lr * h->weight_decay), scale = (float)h->grad_scale;
#pragma omp parallel for simd schedule(static) if (n > CPU_SERIAL)
    for (int64_t i = 0; i < n; i++) {
        float gi = g[i] * scale;
        float mi = m[i] = beta1 * m[i] + rest1 * gi;
        float vi = v[i] = beta2 * v[i] + rest2 * gi * gi;
        p[i] -= rate * mi / (sqrtf(vi) * root + eps) + decay * p[i];
    }
}

/* Blocks of fixed length, each in float lanes over short runs, added up in order in double. */
double CPU_OP(sumsq)(struct lm_dev *d, const float *x, int64_t n)
{
    (void)d;
    enum { N_BLOCKS = 512 };
    double part[N_BLOCKS] = {0}, total = 0;
    int64_t len = (n + N_BLOCKS - 1) / N_BLOCKS;
#pragma omp parallel for schedule(static) if (n > CPU_SERIAL)
    for (int64_t b = 0; b < N_BLOCKS; b++) {
        double sum = 0;
        int64_t end = cpu_min(n, (b + 1) * len);
#pragma omp simd reduction(+ : sum)
        for (int64_t i = b * len; i < end; i++)
            sum += (double)x[i] * (double)x[i];
        part[b] = sum;
    }
    for (int64_t b = 0; b < N_BLOCKS; b++)
        total += part[b];
    return total;
}
