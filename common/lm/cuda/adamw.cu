/* SPDX-License-Identifier: MIT
 * AdamW, and sums of squares. */
#include "lm/cuda/cuda.h"

__global__ static void adamw_kernel(float *p, float *m, float *v, const float *g, int64_t n,
                                    struct lm_adamw h, double c1, double c2)
{
    for (int64_t i = first(); i < n; i += stride()) {
        float gi = g[i] * (float)h.grad_scale;
        float mi = (float)h.beta1 * m[i] + (float)(1 - h.beta1) * gi;
        float vi = (float)h.beta2 * v[i] + (float)(1 - h.beta2) * gi * gi;
        float root = sqrtf(vi / (float)c2) + (float)h.eps;
        float update = mi / (float)c1 / root + (float)h.weight_decay * p[i];
        p[i] -= (float)h.lr * update;
        m[i] = mi;
        v[i] = vi;
    }
}

void cuda_adamw(struct lm_dev *d, float *p, float *m, float *v, const float *g, int64_t n,
                const struct lm_adamw *h)
{
    double c1 = 1 - pow(h->beta1, (double)h->step), c2 = 1 - pow(h->beta2, (double)h->step);
    if (n)
        LAUNCH(state_of(d), adamw_kernel, (blocks(n, BLOCK)), BLOCK, p, m, v, g, n, *h, c1, c2);
}

/* Block b sums its share; the host adds the BLOCK sums in order. */
__global__ static void sumsq_kernel(double *out, const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = first(); i < n; i += stride())
        sum += (double)x[i] * (double)x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        out[blockIdx.x] = sum;
}

double cuda_sumsq(struct lm_dev *d, const float *x, int64_t n)
{
    double part[BLOCK], sum = 0;
    if (n < 1)
        return 0;
    LAUNCH(state_of(d), sumsq_kernel, (BLOCK), BLOCK, state_of(d)->sum, x, n);
    cuda_download(d, part, state_of(d)->sum, sizeof part);
    for (int i = 0; i < BLOCK; i++)
        sum += part[i];
    return sum;
}
