/* SPDX-License-Identifier: MIT
 * Causal attention within each sequence. */
#include "base/mem.h"
#include "lm/cpu/cpu.h"

#include <math.h>
#include <stdlib.h>

static float dot(const act *a, const act *b, int64_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += act_get(a[i]) * act_get(b[i]);
    return sum;
}

/* One query row against keys 0 .. n-1: p [n] and o32 [K] are scratch. */
static float fwd_row(act *o, float *p, float *o32, const act *q, const act *k, int64_t ldk,
                     const act *v, int64_t ldv, int64_t n, int64_t K, float scale)
{
    float max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) {
        p[j] = scale * dot(q, k + j * ldk, K);
        max = p[j] > max ? p[j] : max;
    }
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++)
        sum += p[j] = cpu_exp(p[j] - max);
    memset(o32, 0, (size_t)K * sizeof *o32);
    for (int64_t j = 0; j < n; j++)
#pragma omp simd
        for (int64_t c = 0; c < K; c++)
            o32[c] += p[j] * act_get(v[j * ldv + c]);
    for (int64_t c = 0; c < K; c++)
        o[c] = act_put(o32[c] / sum);
    return max + logf(sum);
}

void CPU_OP(attention_fwd)(struct lm_dev *d, void *o, int64_t ldo, float *lse, const void *q,
                           int64_t ldq, const void *k, int64_t ldk, const void *v, int64_t ldv,
                           const int32_t *offsets, int64_t n_seqs, int64_t T, int64_t H,
                           int64_t G, int64_t K, float scale)
{
    (void)d;
#pragma omp parallel for schedule(dynamic) collapse(2)
    for (int64_t s = 0; s < n_seqs; s++)
        for (int64_t h = 0; h < H; h++) {
            int64_t g = h / (H / G), first = offsets[s], n = offsets[s + 1] - first;
            float *p = mem_alloc((size_t)(n + K), sizeof *p);
            for (int64_t i = first; i < first + n; i++)
                lse[h * T + i] = fwd_row(
                    (act *)o + i * ldo + h * K, p, p + n, (const act *)q + i * ldq + h * K,
                    (const act *)k + first * ldk + g * K, ldk,
                    (const act *)v + first * ldv + g * K, ldv, i - first + 1, K, scale);
            free(p);
        }
}

/* One query row's gradients, added to dq [K] and to dk, dv [n, K]. */
static void bwd_row(float *dq, float *dk, float *dv, const act *q, const act *dout, float lse,
                    float delta, const act *k, int64_t ldk, const act *v, int64_t ldv,
                    int64_t n, int64_t K, float scale)
{
    for (int64_t j = 0; j < n; j++) {
        float p = cpu_exp(scale * dot(q, k + j * ldk, K) - lse);
        float ds = p * (dot(dout, v + j * ldv, K) - delta) * scale;
#pragma omp simd
        for (int64_t c = 0; c < K; c++) {
            dq[c] += ds * act_get(k[j * ldk + c]);
            dk[j * K + c] += ds * act_get(q[c]);
            dv[j * K + c] += p * act_get(dout[c]);
        }
    }
}

void CPU_OP(attention_bwd)(struct lm_dev *d, void *dq, void *dk, void *dv, float *delta,
                           const void *dout, const void *o, int64_t ldo, const float *lse,
                           const void *q, int64_t ldq, const void *k, int64_t ldk,
                           const void *v, int64_t ldv, const int32_t *offsets, int64_t n_seqs,
                           int64_t T, int64_t H, int64_t G, int64_t K, float scale)
{
    (void)d;
#pragma omp parallel for schedule(dynamic) collapse(2)
    for (int64_t s = 0; s < n_seqs; s++)
        for (int64_t g = 0; g < G; g++) {
            int64_t first = offsets[s], n = offsets[s + 1] - first;
            float *buf = mem_zalloc((size_t)((2 * n + 1) * K), sizeof *buf);
            float *dk32 = buf + K, *dv32 = dk32 + n * K;
            for (int64_t i = first, h = g * (H / G); h < (g + 1) * (H / G); h++)
                for (i = first; i < first + n; i++) {
                    const act *doi = (const act *)dout + i * ldo + h * K;
                    delta[h * T + i] = dot(doi, (const act *)o + i * ldo + h * K, K);
                    memset(buf, 0, (size_t)K * sizeof *buf);
                    bwd_row(buf, dk32, dv32, (const act *)q + i * ldq + h * K, doi,
                            lse[h * T + i], delta[h * T + i],
                            (const act *)k + first * ldk + g * K, ldk,
                            (const act *)v + first * ldv + g * K, ldv, i - first + 1, K, scale);
                    for (int64_t c = 0; c < K; c++)
                        ((act *)dq)[i * ldq + h * K + c] = act_put(buf[c]);
                }
            for (int64_t i = 0; i < n; i++)
                for (int64_t c = 0; c < K; c++) {
                    ((act *)dk)[(first + i) * ldk + g * K + c] = act_put(dk32[i * K + c]);
                    ((act *)dv)[(first + i) * ldv + g * K + c] = act_put(dv32[i * K + c]);
                }
            free(buf);
        }
}
