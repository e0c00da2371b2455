/* SPDX-License-Identifier: MIT
 * A cache of keys and values: rows stored, and attention of single rows over it: the
 * definition. With j from first to last: p_j = exp(scale q.k_j) / sum, o = sum_j p_j v_j. */
#include "base/mem.h"
#include "lm/ref/ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void ref_store_rows(struct lm_dev *d, void *dst, int64_t ldd, const void *src, int64_t lds,
                    const int32_t *rows, int64_t n, int64_t N)
{
    (void)d;
    for (int64_t i = 0; i < n; i++)
        memcpy((float *)dst + rows[i] * ldd, (const float *)src + i * lds,
               (size_t)N * sizeof(float));
}

/* One head of one row: n keys and values, strides ldc. p [n] is scratch. */
static void head(float *o, const float *q, const float *k, const float *v, int64_t ldc,
                 int64_t n, int64_t K, double scale, double *p)
{
    double max = -HUGE_VAL, sum = 0;
    for (int64_t j = 0; j < n; j++) {
        double dot = 0;
        for (int64_t c = 0; c < K; c++)
            dot += (double)q[c] * (double)k[j * ldc + c];
        p[j] = scale * dot;
        max = p[j] > max || isnan(p[j]) ? p[j] : max;
    }
    for (int64_t j = 0; j < n; j++)
        sum += p[j] = exp(p[j] - max);
    for (int64_t c = 0; c < K; c++) {
        double out = 0;
        for (int64_t j = 0; j < n; j++)
            out += p[j] * (double)v[j * ldc + c];
        o[c] = (float)(out / sum);
    }
}

void ref_attention_cached(struct lm_dev *d, void *o_act, int64_t ldo, const void *q_act,
                          int64_t ldq, const void *k_act, const void *v_act, int64_t ldc,
                          const int32_t *first, const int32_t *last, int64_t T, int64_t H,
                          int64_t G, int64_t K, float scale)
{
    (void)d;
    float *o = o_act;
    const float *q = q_act, *k = k_act, *v = v_act;
    for (int64_t i = 0; i < T; i++) {
        int64_t n = last[i] - first[i] + 1, at = first[i] * ldc;
        double *p = mem_alloc((size_t)n, sizeof *p);
        for (int64_t h = 0; h < H; h++) {
            int64_t g = h / (H / G);
            head(o + i * ldo + h * K, q + i * ldq + h * K, k + at + g * K, v + at + g * K, ldc,
                 n, K, (double)scale, p);
        }
        free(p);
    }
}
