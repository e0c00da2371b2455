/* SPDX-License-Identifier: MIT
 * Embedding, and rows picked by number. The embedding's gradient is split by columns: two
 * tokens of the same id then never meet in two threads, and each sum has one order. */
#include "lm/cpu/cpu.h"

void CPU_OP(gather_rows)(struct lm_dev *d, float *dst, const float *src, const int32_t *rows,
                         int64_t n, int64_t D)
{
    (void)d;
#pragma omp parallel for schedule(static) if (n * D > CPU_SERIAL)
    for (int64_t i = 0; i < n; i++)
        memcpy(dst + i * D, src + rows[i] * D, (size_t)D * sizeof *dst);
}

void CPU_OP(scatter_rows)(struct lm_dev *d, float *dst, const float *src, const int32_t *rows,
                          int64_t n, int64_t D)
{
    (void)d;
#pragma omp parallel for schedule(static) if (n * D > CPU_SERIAL)
    for (int64_t i = 0; i < n; i++) {
        float *out = dst + rows[i] * D;
        const float *in = src + i * D;
#pragma omp simd
        for (int64_t j = 0; j < D; j++)
            out[j] += in[j];
    }
}

void CPU_OP(embed_fwd)(struct lm_dev *d, float *x, const void *table, bool is_act,
                       const int32_t *ids, int64_t T, int64_t D)
{
    if (!is_act || sizeof(act) == sizeof(float)) {
        CPU_OP(gather_rows)(d, x, table, ids, T, D);
        return;
    }
#pragma omp parallel for schedule(static) if (T * D > CPU_SERIAL)
    for (int64_t t = 0; t < T; t++) {
        const act *in = (const act *)table + ids[t] * D;
        float *out = x + t * D;
#pragma omp simd
        for (int64_t j = 0; j < D; j++)
            out[j] = act_get(in[j]);
    }
}

void CPU_OP(embed_bwd)(struct lm_dev *d, float *dtable, const float *dx, const int32_t *ids,
                       const int32_t *order, int64_t T, int64_t D, int64_t V)
{
    (void)d, (void)order, (void)V;
    enum { COLUMNS = 64 };
#pragma omp parallel for schedule(static) if (T * D > CPU_SERIAL)
    for (int64_t first = 0; first < D; first += COLUMNS) {
        int64_t n = cpu_min(COLUMNS, D - first);
        for (int64_t t = 0; t < T; t++) {
            float *out = dtable + ids[t] * D + first;
            const float *in = dx + t * D + first;
#pragma omp simd
            for (int64_t j = 0; j < n; j++)
                out[j] += in[j];
        }
    }
}

void CPU_OP(segment_mean)(struct lm_dev *d, float *out, const void *x_act,
                          const int32_t *offsets, int64_t n_seqs, int64_t D)
{
    (void)d;
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < n_seqs; s++) {
        float *sum = out + s * D;
        int64_t n = offsets[s + 1] - offsets[s];
        float scale = n ? 1 / (float)n : 0;
        memset(sum, 0, (size_t)D * sizeof *sum);
        for (int64_t t = offsets[s]; t < offsets[s + 1]; t++) {
            const act *x = (const act *)x_act + t * D;
#pragma omp simd
            for (int64_t j = 0; j < D; j++)
                sum[j] += act_get(x[j]);
        }
#pragma omp simd
        for (int64_t j = 0; j < D; j++)
            sum[j] *= scale;
    }
}
