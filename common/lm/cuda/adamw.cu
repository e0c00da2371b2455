/* SPDX-License-Identifier: MIT
 * AdamW, and sums of squares. */
#include "lm/cuda/cuda.h"

struct rates {
    float lr, beta1, beta2, rest1, rest2, c1, c2, eps, decay, scale;
};

__device__ static inline void update(float *p, float *m, float *v, float g, struct rates h)
{
    g *= h.scale;
    *m = h.beta1 * *m + h.rest1 * g;
    *v = h.beta2 * *v + h.rest2 * g * g;
    *p -= h.lr * (*m / h.c1 / (sqrtf(*v / h.c2) + h.eps) + h.decay * *p);
}

__global__ static void adamw_kernel(float *p, float *m, float *v, const float *g, int64_t n,
                                    struct rates h)
{
    for (int64_t i = first(); i < n; i += stride())
        update(p + i, m + i, v + i, g[i], h);
}

__global__ static void adamw8_kernel(float *p, float *m, float *v, const float *g, int64_t n,
                                     struct rates h)
{
    for (int64_t i = 8 * first(); i < n; i += 8 * stride()) {
        float pi[8], mi[8], vi[8], gi[8];
        load8(pi, p + i);
        load8(mi, m + i);
        load8(vi, v + i);
        load8(gi, g + i);
        UNROLL
        for (int k = 0; k < 8; k++)
            update(&pi[k], &mi[k], &vi[k], gi[k], h);
        store8(p + i, pi);
        store8(m + i, mi);
        store8(v + i, vi);
    }
}

void cuda_adamw(struct lm_dev *d, float *p, float *m, float *v, const float *g, int64_t n,
                const struct lm_adamw *h)
{
    struct rates r = {(float)h->lr,
                      (float)h->beta1,
                      (float)h->beta2,
                      (float)(1 - h->beta1),
                      (float)(1 - h->beta2),
                      (float)(1 - pow(h->beta1, (double)h->step)),
                      (float)(1 - pow(h->beta2, (double)h->step)),
                      (float)h->eps,
                      (float)h->weight_decay,
                      (float)h->grad_scale};
    if (n && is_by8(n, p, m, v, g))
        RUN(state_of(d), adamw8_kernel, (blocks(n / 8, BLOCK)), BLOCK, p, m, v, g, n, r);
    else if (n)
        RUN(state_of(d), adamw_kernel, (blocks(n, BLOCK)), BLOCK, p, m, v, g, n, r);
}

/* Block b sums its share; the host adds the blocks' sums in order. */
__global__ static void sumsq_kernel(double *out, const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = first(); i < n; i += stride())
        sum += (double)x[i] * (double)x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        out[blockIdx.x] = sum;
}

__global__ static void sumsq8_kernel(double *out, const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 8 * first(); i < n; i += 8 * stride()) {
        float v[8];
        load8(v, x + i);
        UNROLL
        for (int k = 0; k < 8; k++)
            sum += (double)v[k] * (double)v[k];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        out[blockIdx.x] = sum;
}

double cuda_sumsq(struct lm_dev *d, const float *x, int64_t n)
{
    double part[SUM_BLOCKS], sum = 0;
    struct cuda_state *s = state_of(d);
    if (n < 1)
        return 0;
    if (is_by8(n, x))
        RUN(s, sumsq8_kernel, (SUM_BLOCKS), BLOCK, s->sum, x, n);
    else
        RUN(s, sumsq_kernel, (SUM_BLOCKS), BLOCK, s->sum, x, n);
    cuda_download(d, part, s->sum, sizeof part);
    for (int i = 0; i < SUM_BLOCKS; i++)
        sum += part[i];
    return sum;
}
