/* SPDX-License-Identifier: MIT
 * policy_score: scores of all rows at one step; see policy.h. */
#include "base/mem.h"
#include "base/rng.h"
#include "rl/linalg.h"
#include "rl/policy_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int64_t n_blocks(int64_t n)
{
    return (n + POLICY_BLOCK - 1) / POLICY_BLOCK;
}

static void phi_block(const struct policy *p, const struct features *f, int64_t at,
                      int64_t rows, float *phi)
{
    for (int64_t r = 0; r < rows; r++)
        policy_phi(p, f, at + r, phi + r * p->n_static);
}

static void score_net(const struct policy *p, const struct features *f,
                      const struct policy_stage *st, const uint16_t *counts, float *scores)
{
    enum { ROWS = 256 };
    struct scorer s;
    float u[2];
    scorer_open(&s, p);
    policy_stage_inputs(st, u);
    scorer_set_stage(&s, u);
#pragma omp parallel
    {
        float *phi = mem_alloc((size_t)(ROWS * p->n_static), sizeof *phi);
#pragma omp for schedule(static)
        for (int64_t at = 0; at < f->n; at += ROWS) {
            int64_t rows = f->n - at < ROWS ? f->n - at : ROWS;
            phi_block(p, f, at, rows, phi);
            scorer_rows(&s, phi, counts + at, rows, scores + at, NULL);
        }
        free(phi);
    }
    scorer_close(&s);
}

/* w~ = mu + L n, n ~ N(0, I), Sigma = L L'. */
static int draw_weights(const struct policy *p, uint64_t seed, int64_t t, double *w,
                        struct err *e)
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

static int score_linear(const struct policy *p, const struct features *f, const double *w,
                        float *scores)
{
    int64_t blocks = n_blocks(f->n);
    double *sum = mem_alloc((size_t)blocks * 2, sizeof *sum), total = 0, square = 0;
#pragma omp parallel
    {
        float *phi = mem_alloc((size_t)p->n_static, sizeof *phi);
#pragma omp for schedule(static)
        for (int64_t b = 0; b < blocks; b++) {
            double s1 = 0, s2 = 0;
            int64_t end = (b + 1) * POLICY_BLOCK < f->n ? (b + 1) * POLICY_BLOCK : f->n;
            for (int64_t i = b * POLICY_BLOCK; i < end; i++) {
                double y = 0;
                policy_phi(p, f, i, phi);
#pragma omp simd reduction(+ : y)
                for (int64_t k = 0; k < p->n_static; k++)
                    y += (double)phi[k] * w[k];
                scores[i] = (float)y;
                s1 += y;
                s2 += y * y;
            }
            sum[2 * b] = s1;
            sum[2 * b + 1] = s2;
        }
        free(phi);
    }
    for (int64_t b = 0; b < blocks; b++) {
        total += sum[2 * b];
        square += sum[2 * b + 1];
    }
    free(sum);
    double mean = total / (double)f->n, var = square / (double)f->n - mean * mean;
    double scale = var > 1e-24 ? p->kappa / sqrt(var) : 0; /* nothing learned: uniform */
    for (int64_t i = 0; i < f->n; i++)
        scores[i] = (float)(scale * ((double)scores[i] - mean));
    return 0;
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
    int rc = is_deployed ? 0 : draw_weights(p, seed, s->t, w, e);
    if (!rc)
        rc = score_linear(p, f, w, scores);
    free(w);
    return rc;
}
