/* SPDX-License-Identifier: MIT
 * The place of a row's greatest logit: the definition. */
#include "lm/ref/ref.h"

#include <math.h>

void ref_argmax(struct lm_dev *d, int32_t *best, const float *logits, int64_t n, int64_t V)
{
    (void)d;
    for (int64_t i = 0; i < n; i++) {
        const float *z = logits + i * V;
        int32_t at = 0;
        for (int64_t v = 0; v < V && at >= 0; v++)
            at = isnan(z[v]) ? -1 : z[v] > z[at] ? (int32_t)v : at;
        best[i] = at;
    }
}
