/* SPDX-License-Identifier: MIT
 * Embedding, and rows picked by number: the definition. */
#include "lm/ref/ref.h"

#include <string.h>

void ref_gather_rows(struct lm_dev *d, float *dst, const float *src, const int32_t *rows,
                     int64_t n, int64_t D)
{
    (void)d;
    for (int64_t i = 0; i < n; i++)
        memcpy(dst + i * D, src + rows[i] * D, (size_t)D * sizeof *dst);
}

void ref_scatter_rows(struct lm_dev *d, float *dst, const float *src, const int32_t *rows,
                      int64_t n, int64_t D)
{
    (void)d;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < D; j++)
            dst[rows[i] * D + j] += src[i * D + j];
}

void ref_embed_fwd(struct lm_dev *d, float *x, const void *table, bool is_act,
                   const int32_t *ids, int64_t T, int64_t D)
{
    (void)is_act; /* float either way */
    ref_gather_rows(d, x, table, ids, T, D);
}

void ref_embed_bwd(struct lm_dev *d, float *dtable, const float *dx, const int32_t *ids,
                   const int32_t *order, int64_t T, int64_t D, int64_t V)
{
    (void)order, (void)V;
    ref_scatter_rows(d, dtable, dx, ids, T, D);
}

void ref_segment_mean(struct lm_dev *d, float *out, const void *x_act, const int32_t *offsets,
                      int64_t n_seqs, int64_t D)
{
    (void)d;
    const float *x = x_act;
    for (int64_t s = 0; s < n_seqs; s++)
        for (int64_t j = 0; j < D; j++) {
            double sum = 0;
            for (int64_t t = offsets[s]; t < offsets[s + 1]; t++)
                sum += (double)x[t * D + j];
            int64_t n = offsets[s + 1] - offsets[s];
            out[s * D + j] = n ? (float)(sum / (double)n) : 0;
        }
}
