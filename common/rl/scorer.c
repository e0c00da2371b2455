/* SPDX-License-Identifier: MIT
 *
 * scorer: the acquisition function F(s) = o . tanh(W s + b) over many rows, and its gradient.
 *
 * Inputs stream by, the hidden layer stays in registers: the weights are stored input-major and
 * each input is multiplied into all hidden units at once. tanh is 1 - 2/(e^2x + 1) with e^x
 * from a polynomial (absolute error below 3e-7), so that the loop over hidden units vectorises.
 */
#include "base/mem.h"
#include "rl/policy_priv.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

void scorer_open(struct scorer *s, const struct policy *p)
{
    int64_t h = p->n_hidden, k = 0, stage = -1, first, count = -1;
    if (p->parts & PART_STAGE) {
        stage = 0;
        k = 2;
    }
    first = k;
    if (p->parts & PART_COUNT)
        count = first + p->n_static;
    memset(s, 0, sizeof *s);
    s->n_static = p->n_static;
    s->n_hidden = h;
    s->hp = (h + 15) / 16 * 16;
    size_t hp = (size_t)s->hp, n = ((size_t)s->n_static + 6) * hp;
    s->Wt = mem_aligned(n * sizeof *s->Wt);
    memset(s->Wt, 0, n * sizeof *s->Wt);
    s->Wu = s->Wt + (size_t)s->n_static * hp;
    s->Wc = s->Wu + 2 * hp;
    s->b = s->Wc + hp;
    s->o = s->b + hp;
    s->bias = s->o + hp;
    const float *W = policy_W(p);
    for (int64_t j = 0; j < h; j++) {
        for (int64_t i = 0; i < s->n_static; i++)
            s->Wt[i * s->hp + j] = W[j * p->n_in + first + i];
        for (int64_t i = 0; i < 2 && stage >= 0; i++)
            s->Wu[i * s->hp + j] = W[j * p->n_in + stage + i];
        if (count >= 0)
            s->Wc[j] = W[j * p->n_in + count];
        s->b[j] = policy_b(p)[j];
        s->o[j] = policy_o(p)[j];
    }
}

void scorer_close(struct scorer *s)
{
    free(s->Wt);
    memset(s, 0, sizeof *s);
}

void scorer_set_stage(struct scorer *s, const float u[2])
{
    for (int64_t j = 0; j < s->hp; j++)
        s->bias[j] = s->b[j] + u[0] * s->Wu[j] + u[1] * s->Wu[s->hp + j];
}

/* 2^n 2^f with n whole and |f| <= 1/2; adding and subtracting 1.5 * 2^23 rounds to whole. */
static inline float tanh_poly(float x)
{
    const float limit = 9.0F, two_log2e = 2.885390082F, ln2 = 0.693147181F, magic = 12582912.0F;
    x = x > limit ? limit : x < -limit ? -limit : x;
    float y = x * two_log2e, n = (y + magic) - magic, f = (y - n) * ln2;
    float e =
        1.0F +
        f * (1.0F + f * (0.5F + f * (0.166666667F +
                                     f * (0.0416666667F +
                                          f * (0.00833333333F +
                                               f * (0.00138888889F + f * 0.000198412698F))))));
    union {
        float value;
        int32_t bits;
    } scale;
    scale.bits = ((int32_t)n + 127) << 23;
    return 1.0F - 2.0F / (e * scale.value + 1.0F);
}

CLONES void scorer_rows(const struct scorer *s, const float *phi, const uint16_t *counts,
                        int64_t rows, float *out, float *hidden)
{
    enum { TILE = 16 };
    int64_t hp = s->hp, n = s->n_static;
    for (int64_t r = 0; r < rows; r++)
        out[r] = 0;
    for (int64_t j0 = 0; j0 < hp; j0 += TILE)
        for (int64_t r = 0; r < rows; r++) {
            float acc[TILE], count = (float)counts[r], sum = 0;
            const float *x = phi + r * n;
            for (int j = 0; j < TILE; j++)
                acc[j] = s->bias[j0 + j] + count * s->Wc[j0 + j];
            for (int64_t k = 0; k < n; k++) {
                const float *w = s->Wt + k * hp + j0;
                for (int j = 0; j < TILE; j++)
                    acc[j] += x[k] * w[j];
            }
            for (int j = 0; j < TILE; j++)
                acc[j] = tanh_poly(acc[j]);
            if (hidden)
                memcpy(hidden + r * hp + j0, acc, sizeof acc);
            for (int j = 0; j < TILE; j++)
                acc[j] *= s->o[j0 + j];
            for (int j = 0; j < TILE; j++)
                sum += acc[j];
            out[r] += sum;
        }
}

CLONES void scorer_rows_grad(const struct scorer *s, struct scorer *g, const float u[2],
                             const float *phi, const uint16_t *counts, const float *dout,
                             const float *hidden, int64_t rows)
{
    enum { TILE = 16 };
    int64_t hp = s->hp, n = s->n_static;
    for (int64_t j0 = 0; j0 < hp; j0 += TILE)
        for (int64_t r = 0; r < rows; r++) {
            const float *h = hidden + r * hp + j0, *x = phi + r * n;
            float d = dout[r], da[TILE], count = (float)counts[r];
            if (d == 0.0F)
                continue;
            for (int j = 0; j < TILE; j++) {
                g->o[j0 + j] += d * h[j];
                da[j] = d * s->o[j0 + j] * (1.0F - h[j] * h[j]);
                g->b[j0 + j] += da[j];
                g->Wu[j0 + j] += u[0] * da[j];
                g->Wu[hp + j0 + j] += u[1] * da[j];
                g->Wc[j0 + j] += count * da[j];
            }
            for (int64_t k = 0; k < n; k++) {
                float *w = g->Wt + k * hp + j0;
                for (int j = 0; j < TILE; j++)
                    w[j] += x[k] * da[j];
            }
        }
}
