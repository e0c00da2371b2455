/* SPDX-License-Identifier: MIT
 *
 * learn_reward: the reward model, a Bayesian regression of rewards on what was in the batches.
 *
 *     m_t = e m_{t-1} + (1 - e) mean_{i in D_t} phi_i,  m_0 = 0
 *     r_t / sd(r) = beta . b_t + w . m_t + N(0, s2)
 * with prior precision 1e-6 on the intercept, 0.1 on the rest of beta, 1/v on w. s2 and v
 * maximise the evidence over a grid. With A = Lambda + X'X/s2 the posterior is N(A^-1 X'y/s2,
 * A^-1), and
 *     log p(y) = -1/2 [n log(2 pi s2) - log|Lambda| + log|A| + y'y/s2 - mean' X'y/s2].
 */
#include "base/mem.h"
#include "learn/learn_priv.h"
#include "policy/linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct regression {
    int64_t n, q; /* rows; columns: N_CRITIC of beta, then n_static of w */
    double *XX, *Xy, yy;
    double *A, *mean; /* Cholesky factor and posterior mean of the last fit */
};

static void add_row(struct regression *g, const double *x, double y)
{
    for (int64_t i = 0; i < g->q; i++) {
        for (int64_t j = 0; j <= i; j++)
            g->XX[i * g->q + j] += x[i] * x[j];
        g->Xy[i] += x[i] * y;
    }
    g->yy += y * y;
    g->n++;
}

static void add_episode(struct regression *g, const struct policy *p, const struct features *f,
                        const struct episodes *eps, int64_t at, double memory)
{
    const struct traj *t = eps->traj[at];
    int64_t n = p->n_static;
    double *x = mem_zalloc((size_t)g->q, sizeof *x), *m = mem_zalloc((size_t)n, sizeof *m);
    float *phi = mem_alloc((size_t)n, sizeof *phi);
    for (int64_t k = 0; k < t->n_steps; k++) {
        int64_t first = t->list_offset[k * t->n_classes];
        int64_t last = t->list_offset[(k + 1) * t->n_classes];
        for (int64_t j = 0; j < n; j++)
            m[j] *= memory;
        for (int64_t i = first; i < last; i++) {
            policy_phi(p, f, t->pick[i], phi);
            for (int64_t j = 0; j < n; j++)
                m[j] += (1 - memory) * (double)phi[j] / (double)(last - first);
        }
        memcpy(x, eps->basis[at] + k * N_CRITIC, N_CRITIC * sizeof *x);
        memcpy(x + N_CRITIC, m, (size_t)n * sizeof *x);
        add_row(g, x, eps->reward[at][k]);
    }
    free(phi);
    free(m);
    free(x);
}

static double prior_precision(int64_t i, double v)
{
    return i == 0 ? 1e-6 : i < N_CRITIC ? 0.1 : 1 / v;
}

/* Posterior under (s2, v) into g->A and g->mean; returns the log evidence, NaN on failure. */
static double fit(struct regression *g, double s2, double v)
{
    int64_t q = g->q;
    double log_prior = 0, quad = g->yy / s2;
    for (int64_t i = 0; i < q; i++) {
        for (int64_t j = 0; j < q; j++)
            g->A[i * q + j] = g->XX[i > j ? i * q + j : j * q + i] / s2;
        g->A[i * q + i] += prior_precision(i, v);
        g->mean[i] = g->Xy[i] / s2;
        log_prior += log(prior_precision(i, v));
    }
    if (linalg_cholesky(g->A, q) < 0)
        return (double)NAN;
    linalg_solve(g->A, q, g->mean);
    for (int64_t i = 0; i < q; i++)
        quad -= g->mean[i] * g->Xy[i] / s2;
    return -0.5 * ((double)g->n * log(2 * 3.14159265358979323846 * s2) - log_prior +
                   linalg_logdet(g->A, q) + quad);
}

static double search(struct regression *g, double *s2, double *v)
{
    static const double s2_grid[] = {0.05, 0.1, 0.2, 0.4, 0.8};
    static const double sd_grid[] = {0.03, 0.1, 0.3, 1, 3, 10};
    double best = -(double)INFINITY;
    for (size_t i = 0; i < sizeof s2_grid / sizeof *s2_grid; i++)
        for (size_t j = 0; j < sizeof sd_grid / sizeof *sd_grid; j++) {
            double at_v = sd_grid[j] * sd_grid[j], ev = fit(g, s2_grid[i], at_v);
            if (ev > best) {
                best = ev;
                *s2 = s2_grid[i];
                *v = at_v;
            }
        }
    return best;
}

/* mu and Sigma: the w part of the posterior mean and of A^-1, one solved unit vector a row. */
static void take_posterior(struct policy *p, const struct regression *g)
{
    int64_t q = g->q, n = p->n_static;
    double *col = mem_alloc((size_t)q, sizeof *col);
    memcpy(p->beta, g->mean, sizeof p->beta);
    memcpy(p->mu, g->mean + N_CRITIC, (size_t)n * sizeof *p->mu);
    for (int64_t i = 0; i < n; i++) {
        memset(col, 0, (size_t)q * sizeof *col);
        col[N_CRITIC + i] = 1;
        linalg_solve(g->A, q, col);
        memcpy(p->sigma + i * n, col + N_CRITIC, (size_t)n * sizeof *col);
    }
    for (int64_t i = 0; i < n; i++) /* exactly symmetric */
        for (int64_t j = 0; j < i; j++)
            p->sigma[i * n + j] = p->sigma[j * n + i] =
                0.5 * (p->sigma[i * n + j] + p->sigma[j * n + i]);
    free(col);
}

/* 1 - residual sum of squares / sum of squares about the mean, both from the sums kept. */
static double explained(const struct regression *g)
{
    int64_t q = g->q;
    double residual = g->yy, mean = g->XX[0] > 0 ? g->Xy[0] / g->XX[0] : 0;
    for (int64_t i = 0; i < q; i++) {
        residual -= 2 * g->mean[i] * g->Xy[i];
        for (int64_t j = 0; j < q; j++)
            residual += g->mean[i] * g->mean[j] * g->XX[i > j ? i * q + j : j * q + i];
    }
    double total = g->yy - (double)g->n * mean * mean;
    return total > 0 ? 1 - residual / total : 0;
}

int64_t learn_reward_model(struct policy *p, const struct features *f,
                           const struct episodes *eps, const struct learn_options *o,
                           struct learn_metrics *metrics, struct err *e)
{
    size_t q = (size_t)(N_CRITIC + p->n_static);
    struct regression g = {.q = (int64_t)q,
                           .XX = mem_zalloc(q * q, sizeof(double)),
                           .Xy = mem_zalloc(q, sizeof(double)),
                           .A = mem_zalloc(q * q, sizeof(double)),
                           .mean = mem_zalloc(q, sizeof(double))};
    int64_t rc = 1;
    for (int64_t i = 0; i < eps->n; i++)
        add_episode(&g, p, f, eps, i, o->memory);
    double evidence = search(&g, &p->s2, &p->v);
    if (!isfinite(evidence) || !isfinite(fit(&g, p->s2, p->v))) {
        rc = err_set(e, ERR_NONFINITE, "the regression has no finite solution");
    } else {
        take_posterior(p, &g);
        p->memory = o->memory;
        metrics[0] = (struct learn_metrics){.iteration = p->iteration + 1,
                                            .explained_variance = explained(&g),
                                            .mean_return = eps->mean_return,
                                            .reward_sd = eps->sd,
                                            .s2 = p->s2,
                                            .v = p->v,
                                            .log_evidence = evidence};
    }
    free(g.XX);
    free(g.Xy);
    free(g.A);
    free(g.mean);
    return rc;
}
