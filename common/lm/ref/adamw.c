/* SPDX-License-Identifier: MIT
 * AdamW with decoupled weight decay (Loshchilov and Hutter 2019), and sums of squares: the
 * definition. */
#include "lm/ref/ref.h"

#include <math.h>

void ref_adamw(struct lm_dev *d, float *p, float *m, float *v, const float *g, int64_t n,
               const struct lm_adamw *h)
{
    (void)d;
    double c1 = 1 - pow(h->beta1, (double)h->step), c2 = 1 - pow(h->beta2, (double)h->step);
    for (int64_t i = 0; i < n; i++) {
        double gi = (double)g[i] * h->grad_scale;
        double mi = h->beta1 * (double)m[i] + (1 - h->beta1) * gi;
        double vi = h->beta2 * (double)v[i] + (1 - h->beta2) * gi * gi;
        double update = mi / c1 / (sqrt(vi / c2) + h->eps) + h->weight_decay * (double)p[i];
        p[i] = (float)((double)p[i] - h->lr * update);
        m[i] = (float)mi;
        v[i] = (float)vi;
    }
}

double ref_sumsq(struct lm_dev *d, const float *x, int64_t n)
{
    (void)d;
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}
