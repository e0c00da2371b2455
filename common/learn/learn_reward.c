/* SPDX-License-Identifier: MIT
 *
 * learn_reward: the learner "reward-model"; equations in learn_reward.h.
 *
 * s2 and v maximise the evidence over a grid. With A = Lambda + X'X/s2 the posterior is
 * N(A^-1 X'y/s2, A^-1), and
 *     log p(y) = -1/2 [n log(2 pi s2) - log|Lambda| + log|A| + y'y/s2 - mean' X'y/s2].
 */
#include "learn/learn_reward.h"

#include "base/mem.h"
#include "policy/linalg.h"
#include "policy/linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct regression {
    int64_t n, q; /* rows; columns: N_BASIS of beta, then n_static of w */
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
    int64_t n = p->state.n_static;
    double *x = mem_zalloc((size_t)g->q, sizeof *x), *m = mem_zalloc((size_t)n, sizeof *m);
    float *phi = mem_alloc((size_t)n, sizeof *phi);
    for (int64_t k = 0; k < t->n_steps; k++) {
        int64_t first = t->list_offset[k * t->n_classes];
        int64_t last = t->list_offset[(k + 1) * t->n_classes];
        for (int64_t j = 0; j < n; j++)
            m[j] *= memory;
        for (int64_t i = first; i < last; i++) {
            state_row(&p->state, f, t->pick[i], phi);
            for (int64_t j = 0; j < n; j++)
                m[j] += (1 - memory) * (double)phi[j] / (double)(last - first);
        }
        memcpy(x, eps->basis[at] + k * N_BASIS, N_BASIS * sizeof *x);
        memcpy(x + N_BASIS, m, (size_t)n * sizeof *x);
        add_row(g, x, eps->reward[at][k]);
    }
    free(phi);
    free(m);
    free(x);
}

static double prior_precision(int64_t i, double v)
{
    return i == 0 ? 1e-6 : i < N_BASIS ? 0.1 : 1 / v;
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

/* Rewards have variance 1. s2 is the share of it that is noise, in factors of two, between
 * which the evidence hardly moves. sqrt(v) is what one deviation of phi is worth, in deviations
 * of the reward: at 0.03 all of some forty columns explain 4 % together, which is nothing; at
 * 10 one column overwhelms the rewards; half decades between. */
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
static void take_posterior(struct reward_model *p, const struct regression *g)
{
    int64_t q = g->q, n = p->n;
    double *col = mem_alloc((size_t)q, sizeof *col);
    memcpy(p->beta, g->mean, sizeof p->beta);
    memcpy(p->mu, g->mean + N_BASIS, (size_t)n * sizeof *p->mu);
    for (int64_t i = 0; i < n; i++) {
        memset(col, 0, (size_t)q * sizeof *col);
        col[N_BASIS + i] = 1;
        linalg_solve(g->A, q, col);
        memcpy(p->sigma + i * n, col + N_BASIS, (size_t)n * sizeof *col);
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

static void tell(struct learn_report *r, const struct policy *p, const struct episodes *eps,
                 const struct regression *g, double evidence)
{
    const struct reward_model *x = reward_model_of(p);
    double *m = learn_report_row(r);
    m[M_ITERATION] = (double)(p->iteration + 1);
    m[M_EXPLAINED_VARIANCE] = explained(g);
    m[M_MEAN_RETURN] = eps->mean_return;
    m[M_REWARD_SD] = eps->sd;
    m[M_S2] = x->s2;
    m[M_V] = x->v;
    m[M_LOG_EVIDENCE] = evidence;
}

static int update(struct policy *p, const struct features *f, const struct episodes *eps,
                  const void *options, struct learn_report *r, struct err *e)
{
    const struct reward_options *o = options;
    struct reward_model *x = reward_model_of(p);
    size_t q = (size_t)(N_BASIS + x->n);
    struct regression g = {.q = (int64_t)q,
                           .XX = mem_zalloc(q * q, sizeof(double)),
                           .Xy = mem_zalloc(q, sizeof(double)),
                           .A = mem_zalloc(q * q, sizeof(double)),
                           .mean = mem_zalloc(q, sizeof(double))};
    int rc = 0;
    for (int64_t i = 0; i < eps->n; i++)
        add_episode(&g, p, f, eps, i, o->memory);
    double evidence = search(&g, &x->s2, &x->v);
    if (!isfinite(evidence) || !isfinite(fit(&g, x->s2, x->v))) {
        rc = err_set(e, ERR_NONFINITE, "the regression has no finite solution");
    } else {
        take_posterior(x, &g);
        x->memory = o->memory;
        tell(r, p, eps, &g, evidence);
    }
    free(g.XX);
    free(g.Xy);
    free(g.A);
    free(g.mean);
    return rc;
}

/* ---- the row ---- */

static void size(struct policy *p, const void *options)
{
    (void)options;
    reward_model_of(p)->n = p->state.n_static;
}

static int init(struct policy *p, const struct features *f, const void *options, uint64_t seed,
                struct err *e)
{
    const struct reward_options *o = options;
    struct reward_model *x = reward_model_of(p);
    (void)f;
    (void)seed;
    (void)e;
    x->kappa = o->kappa;
    x->memory = o->memory;
    x->s2 = x->v = 1;
    for (int64_t i = 0; i < x->n; i++)
        x->sigma[i * x->n + i] = 1;
    return 0;
}

static int score(const struct policy *p, const struct features *f, const struct policy_stage *s,
                 const uint16_t *counts, bool is_deployed, uint64_t seed, float *scores,
                 struct err *e)
{
    const struct reward_model *x = reward_model_of(p);
    double *w = mem_dup(x->mu, (size_t)x->n * sizeof *w);
    (void)counts;
    int rc = is_deployed ? 0 : linear_draw(x->mu, x->sigma, x->n, seed, s->t, w, e);
    if (!rc)
        linear_score(&p->state, f, w, x->kappa, scores);
    free(w);
    return rc;
}

static double weights(const struct policy *p, double *mean, double *standard_error)
{
    const struct reward_model *x = reward_model_of(p);
    for (int64_t i = 0; i < x->n; i++) {
        mean[i] = x->mu[i];
        standard_error[i] = sqrt(x->sigma[i * x->n + i]);
    }
    return x->kappa;
}

#define OWN(field) offsetof(struct reward_model, field)
static const struct st_size sizes[] = {{"p", OWN(n)}, {NULL, 0}};
static const struct st_column columns[] = {
    {"mu", ST_F64, OWN(mu), "[p]", ST_FINITE},
    {"sigma", ST_F64, OWN(sigma), "[p, p]", ST_FINITE},
    {"beta", ST_F64, OWN(beta), "[6]", ST_FINITE | ST_INLINE},
    {NULL, 0, 0, NULL, 0},
};
_Static_assert(N_BASIS == 6, "beta's shape");
static const struct st_key keys[] = {
    {"raise.kappa", ST_KEY_REAL, OWN(kappa), .max = 1e6},
    {"raise.memory", ST_KEY_REAL, OWN(memory), .max = 1},
    {"raise.s2", ST_KEY_REAL, OWN(s2), .flags = 0},
    {"raise.v", ST_KEY_REAL, OWN(v), .flags = 0},
    {.name = NULL},
};
static const struct st_table table = {NULL, sizes, columns, keys};

#define AT(field) offsetof(struct reward_options, field)
static const struct opt options_table[] = {
    {0, "kappa", OPT_REAL, AT(kappa), "X", "with --init: sharpness of the choice", 1e-3, 100,
     NULL},
    {0, "memory", OPT_REAL, AT(memory), "X", "credit that a step passes on", 0, 0.999, NULL},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};
static const struct reward_options defaults = REWARD_OPTIONS_DEFAULTS;

const struct learner learner_reward_model = {
    .name = "reward-model",
    .help = "a Bayesian regression of the rewards on the batches",
    .options = options_table,
    .defaults = &defaults,
    .options_size = sizeof defaults,
    .needs_columns = true,
    .table = &table,
    .self_size = sizeof(struct reward_model),
    .metrics = learn_metrics,
    .size = size,
    .init = init,
    .score = score,
    .update = update,
    .weights = weights,
};
