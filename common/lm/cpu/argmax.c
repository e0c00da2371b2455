/* SPDX-License-Identifier: MIT
 * The place of a row's greatest logit: the greatest, in vectors, then where it first is. */
#include "lm/cpu/cpu.h"

#include <math.h>

static int32_t place_of_greatest(const float *z, int64_t V)
{
    float max = -INFINITY;
    int64_t n_nan = 0, at = 0;
#pragma omp simd reduction(max : max) reduction(+ : n_nan)
    for (int64_t v = 0; v < V; v++) {
        max = z[v] > max ? z[v] : max;
        n_nan += z[v] != z[v];
    }
    if (n_nan)
        return -1;
    while (z[at] != max) /* all are -infinity: the first */
        at++;
    return (int32_t)at;
}

void CPU_OP(argmax)(struct lm_dev *d, int32_t *best, const float *logits, int64_t n, int64_t V)
{
    (void)d;
#pragma omp parallel for schedule(static) if (n * V > CPU_SERIAL)
    for (int64_t i = 0; i < n; i++)
        best[i] = place_of_greatest(logits + i * V, V);
}
