/* SPDX-License-Identifier: MIT
 * policy_score: scores of all rows at one step; see policy.h. */
#include "base/mem.h"
#include "base/rng.h"
#include "policy/linalg.h"
#include "policy/scorer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Counts of n rows as floats; NULL when all are zero. */
static const float *count_block(const uint16_t *counts, int64_t n, float *out)
{
    bool has_any = false;
    memset(out, 0, SCORER_ROWS * sizeof *out);
    for (int64_t r = 0; r < n; r++) {
        out[r] = counts[r];
        has_any = has_any || counts[r];
    }
    return has_any ? out : NULL;
}

static void score_net(const struct policy *p, const struct features *f,
                      const struct policy_stage *st, const uint16_t *counts, float *scores)
{
    struct scorer s;
    float u[2], *bias = mem_alloc((size_t)p->n_hidden, sizeof *bias);
    scorer_init(&s, p);
    policy_stage_inputs(st, u);
    scorer_bias(&s, u, bias);
#pragma omp parallel
    {
        float *phi = mem_aligned((size_t)(SCORER_ROWS * p->n_static) * sizeof *phi);
        float *pre = mem_aligned((size_t)(SCORER_ROWS * p->n_hidden) * sizeof *pre);
        float count[SCORER_ROWS], out[SCORER_ROWS];
#pragma omp for schedule(static)
        for (int64_t at = 0; at < f->n; at += SCORER_ROWS) {
            int64_t n = f->n - at < SCORER_ROWS ? f->n - at : SCORER_ROWS;
            scorer_phi(p, f, NULL, at, n, phi);
            scorer_static(&s, phi, pre);
            scorer_score(&s, pre, bias, count_block(counts + at, n, count), out);
            memcpy(scores + at, out, (size_t)n * sizeof *out);
        }
        free(phi);
        free(pre);
    }
    free(bias);
}

int policy_draw(const struct policy *p, uint64_t seed, int64_t t, double *w, struct err *e)
{
    int64_t n = p->n_static;
    double *L = mem_dup(p->sigma, (size_t)(n * n) * sizeof *L);
    int rc = linalg_cholesky(L, n);
    if (rc < 0) {
        free(L);
        return err_set(e, ERR_NONFINITE, "policy: sigma is not positive definite");
    }
    struct rng r;
    rng_init(&r, seed, (uint64_t)t);
    double *z = mem_alloc((size_t)n, sizeof *z);
    for (int64_t i = 0; i < n; i++)
        z[i] = rng_normal(&r);
    for (int64_t i = 0; i < n; i++) {
        w[i] = p->mu[i];
        for (int64_t k = 0; k <= i; k++)
            w[i] += L[i * n + k] * z[k];
    }
    free(z);
    free(L);
    return 0;
}

/* phi . w of one block, in double. */
static void linear_block(const struct policy *p, const float *phi, const double *w, double *y)
{
    memset(y, 0, SCORER_ROWS * sizeof *y);
    for (int64_t k = 0; k < p->n_static; k++)
        for (int64_t r = 0; r < SCORER_ROWS; r++)
            y[r] += (double)phi[k * SCORER_ROWS + r] * w[k];
}

/* kappa (phi . w) / sd(phi . w); phi is centred over the pool, so the mean is zero but for
 * rounding, and the softmax would not see it. */
static void score_linear(const struct policy *p, const struct features *f, const double *w,
                         float *scores)
{
    int64_t blocks = (f->n + SCORER_ROWS - 1) / SCORER_ROWS;
    double *part = mem_alloc((size_t)blocks, sizeof *part), square = 0;
#pragma omp parallel
    {
        float *phi = mem_aligned((size_t)(SCORER_ROWS * p->n_static) * sizeof *phi);
        double y[SCORER_ROWS];
#pragma omp for schedule(static)
        for (int64_t b = 0; b < blocks; b++) {
            int64_t at = b * SCORER_ROWS;
            int64_t n = f->n - at < SCORER_ROWS ? f->n - at : SCORER_ROWS;
            scorer_phi(p, f, NULL, at, n, phi);
            linear_block(p, phi, w, y);
            part[b] = 0;
            for (int64_t r = 0; r < n; r++) {
                scores[at + r] = (float)y[r];
                part[b] += y[r] * y[r];
            }
        }
        free(phi);
    }
    for (int64_t b = 0; b < blocks; b++)
        square += part[b];
    free(part);
    double sd = sqrt(square / (double)f->n);
    float scale = sd > 1e-12 ? (float)(p->kappa / sd) : 0; /* nothing learned: uniform */
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < f->n; i++)
        scores[i] *= scale;
}

int policy_score(const struct policy *p, const struct features *f, const struct policy_stage *s,
                 const uint16_t *counts, bool is_deployed, uint64_t seed, float *scores,
                 struct err *e)
{
    if (f->id != p->features || f->dim != p->dim)
        return err_set(e, ERR_MISMATCH, "the policy was made for other features");
    if (p->learner == POLICY_PPO) {
        score_net(p, f, s, counts, scores);
        return 0;
    }
    double *w = mem_dup(p->mu, (size_t)p->n_static * sizeof *w);
    int rc = is_deployed ? 0 : policy_draw(p, seed, s->t, w, e);
    if (!rc)
        score_linear(p, f, w, scores);
    free(w);
    return rc;
}
