/* SPDX-License-Identifier: MIT
 * Causal attention within each sequence: the definition.
 *
 * p_ij = exp(scale q_i.k_j - lse_i) for j <= i, o_i = sum_j p_ij v_j. Backward, with
 * delta_i = do_i.o_i and ds_ij = p_ij (do_i.v_j - delta_i) scale:
 * dq_i = sum_j ds_ij k_j, dk_j = sum_i ds_ij q_i, dv_j = sum_i p_ij do_i, where the sums of dk
 * and dv run over the query heads that share a key head, too. */
#include "base/mem.h"
#include "lm/ref/ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

void ref_attention_fwd(struct lm_dev *d, void *o_act, int64_t ldo, float *lse,
                       const void *q_act, int64_t ldq, const void *k_act, int64_t ldk,
                       const void *v_act, int64_t ldv, const int32_t *offsets, int64_t n_seqs,
                       int64_t T, int64_t H, int64_t G, int64_t K, float scale)
{
    (void)d;
    float *o = o_act;
    const float *q = q_act, *k = k_act, *v = v_act;
    double *p = mem_alloc((size_t)(T + 1), sizeof *p);
    for (int64_t s = 0; s < n_seqs; s++)
        for (int64_t h = 0; h < H; h++)
            for (int64_t i = offsets[s]; i < offsets[s + 1]; i++) {
                int64_t g = h / (H / G), first = offsets[s];
                double max = -HUGE_VAL, sum = 0;
                for (int64_t j = first; j <= i; j++) {
                    p[j] = (double)scale * dot(q + i * ldq + h * K, k + j * ldk + g * K, K);
                    max = p[j] > max || isnan(p[j]) ? p[j] : max;
                }
                for (int64_t j = first; j <= i; j++)
                    sum += p[j] = exp(p[j] - max);
                for (int64_t c = 0; c < K; c++) {
                    double out = 0;
                    for (int64_t j = first; j <= i; j++)
                        out += p[j] * (double)v[j * ldv + g * K + c];
                    o[i * ldo + h * K + c] = (float)(out / sum);
                }
                lse[h * T + i] = (float)(max + log(sum));
            }
    free(p);
}

/* The gradients of one query row of one head, added to row buffers in double. */
struct bwd_rows {
    double *dq;      /* [K] */
    double *dk, *dv; /* [T, K] of this key head */
};

static void bwd_row(struct bwd_rows *r, const float *q, const float *dout, double lse,
                    double delta, const float *k, int64_t ldk, const float *v, int64_t ldv,
                    int64_t first, int64_t i, int64_t K, double scale)
{
    for (int64_t j = first; j <= i; j++) {
        double p = exp(scale * dot(q, k + j * ldk, K) - lse);
        double ds = p * (dot(dout, v + j * ldv, K) - delta) * scale;
        for (int64_t c = 0; c < K; c++) {
            r->dq[c] += ds * (double)k[j * ldk + c];
            r->dk[j * K + c] += ds * (double)q[c];
            r->dv[j * K + c] += p * (double)dout[c];
        }
    }
}

void ref_attention_bwd(struct lm_dev *d, void *dq_act, void *dk_act, void *dv_act, float *delta,
                       const void *dout_act, const void *o_act, int64_t ldo, const float *lse,
                       const void *q_act, int64_t ldq, const void *k_act, int64_t ldk,
                       const void *v_act, int64_t ldv, const int32_t *offsets, int64_t n_seqs,
                       int64_t T, int64_t H, int64_t G, int64_t K, float scale)
{
    (void)d;
    float *dq = dq_act, *dk = dk_act, *dv = dv_act;
    const float *dout = dout_act, *o = o_act, *q = q_act, *k = k_act, *v = v_act;
    double *buf = mem_zalloc((size_t)((2 * T + 1) * K), sizeof *buf);
    struct bwd_rows r = {buf, buf + K, buf + (T + 1) * K};
    for (int64_t g = 0; g < G; g++) {
        memset(r.dk, 0, (size_t)(2 * T * K) * sizeof *r.dk);
        for (int64_t h = g * (H / G); h < (g + 1) * (H / G); h++)
            for (int64_t s = 0; s < n_seqs; s++)
                for (int64_t i = offsets[s]; i < offsets[s + 1]; i++) {
                    const float *doi = dout + i * ldo + h * K;
                    double di = dot(doi, o + i * ldo + h * K, K);
                    delta[h * T + i] = (float)di;
                    memset(r.dq, 0, (size_t)K * sizeof *r.dq);
                    bwd_row(&r, q + i * ldq + h * K, doi, (double)lse[h * T + i], di, k + g * K,
                            ldk, v + g * K, ldv, offsets[s], i, K, (double)scale);
                    for (int64_t c = 0; c < K; c++)
                        dq[i * ldq + h * K + c] = (float)r.dq[c];
                }
        for (int64_t i = 0; i < T; i++)
            for (int64_t c = 0; c < K; c++) {
                dk[i * ldk + g * K + c] = (float)r.dk[i * K + c];
                dv[i * ldv + g * K + c] = (float)r.dv[i * K + c];
            }
    }
    free(buf);
}
