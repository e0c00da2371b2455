/* SPDX-License-Identifier: MIT
 * Softmax cross-entropy. A row of logits (V = 50,000: 200 KB) stays in the second-level cache
 * over its three passes: largest, sum, gradient. */
#include "lm/cpu/cpu.h"

#include <math.h>

/* The sum in blocks of 1024, so that its error does not grow with V. */
static double sum_exp(const float *z, float max, int64_t V)
{
    double total = 0;
    for (int64_t first = 0; first < V; first += 1024) {
        int64_t end = cpu_min(first + 1024, V);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t v = first; v < end; v++)
            sum += cpu_exp(z[v] - max);
        total += (double)sum;
    }
    return total;
}

static float row_max(const float *z, int64_t V)
{
    float max = -INFINITY;
#pragma omp simd reduction(max : max)
    for (int64_t v = 0; v < V; v++)
        max = z[v] > max ? z[v] : max;
    return max; /* a NaN is passed over here; sum_exp then finds it */
}

void CPU_OP(xent)(struct lm_dev *d, float *loss, void *dlogits, const float *logits,
                  const int32_t *targets, int64_t n, int64_t V, float scale)
{
    (void)d;
#pragma omp parallel for schedule(static) if (n * V > CPU_SERIAL)
    for (int64_t i = 0; i < n; i++) {
        const float *z = logits + i * V;
        act *dz = dlogits ? (act *)dlogits + i * V : NULL;
        float max = row_max(z, V);
        double sum = sum_exp(z, max, V);
        float inverse = (float)((double)scale / sum), target = z[targets[i]];
        loss[i] = (float)(log(sum) + ((double)max - (double)target));
        if (!dz)
            continue;
        float at_target = cpu_exp(target - max) * inverse - scale;
#pragma omp simd
        for (int64_t v = 0; v < V; v++)
            dz[v] = act_put(cpu_exp(z[v] - max) * inverse);
        dz[targets[i]] = act_put(at_target);
    }
}
