/* SPDX-License-Identifier: MIT
 * Softmax cross-entropy: the definition. */
#include "lm/ref/ref.h"

#include <math.h>

void ref_xent(struct lm_dev *d, float *loss, void *dlogits_act, const float *logits,
              const int32_t *targets, int64_t n, int64_t V, float scale)
{
    (void)d;
    float *dlogits = dlogits_act;
    for (int64_t i = 0; i < n; i++) {
        const float *z = logits + i * V;
        double max = (double)z[0], sum = 0;
        for (int64_t v = 1; v < V; v++)
            max = (double)z[v] > max || isnan(z[v]) ? (double)z[v] : max;
        for (int64_t v = 0; v < V; v++)
            sum += exp((double)z[v] - max);
        double lse = max + log(sum); /* cppcheck-suppress invalidFunctionArg; V >= 1 */
        loss[i] = (float)(lse - (double)z[targets[i]]);
        for (int64_t v = 0; dlogits && v < V; v++)
            dlogits[i * V + v] =
                (float)((double)scale * (exp((double)z[v] - lse) - (v == targets[i])));
    }
}
