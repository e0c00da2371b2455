/* SPDX-License-Identifier: MIT
 * policy: making one, its normalisation and its stage; see policy.h. */
#include "rl/policy.h"

#include "base/mem.h"
#include "base/rng.h"
#include "rl/policy_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void policy_alloc(struct policy *p)
{
    size_t n_norm = (size_t)(N_DIFFICULTY + p->dim);
    p->norm_center = mem_zalloc(n_norm, sizeof *p->norm_center);
    p->norm_scale = mem_zalloc(n_norm, sizeof *p->norm_scale);
    p->n_static = (p->parts & PART_DIFFICULTY ? N_DIFFICULTY : 0) +
                  (p->parts & PART_SEMANTIC ? p->dim : 0);
    p->n_in = p->n_static + (p->parts & PART_STAGE ? 2 : 0) + (p->parts & PART_COUNT ? 1 : 0);
    if (p->learner == POLICY_PPO) {
        p->n_net = p->n_hidden * (p->n_in + 2);
        p->net = mem_zalloc((size_t)p->n_net, sizeof *p->net);
        p->adam_m = mem_zalloc((size_t)p->n_net, sizeof *p->adam_m);
        p->adam_v = mem_zalloc((size_t)p->n_net, sizeof *p->adam_v);
    } else {
        p->mu = mem_zalloc((size_t)p->n_static, sizeof *p->mu);
        p->sigma = mem_zalloc((size_t)(p->n_static * p->n_static), sizeof *p->sigma);
    }
}

void policy_free(struct policy *p)
{
    if (!p)
        return;
    free(p->norm_center);
    free(p->norm_scale);
    free(p->net);
    free(p->adam_m);
    free(p->adam_v);
    free(p->mu);
    free(p->sigma);
    free(p->history);
    free(p);
}

/* One raw feature of a row: k < 4 difficulty, else semantic. */
static double raw(const struct features *f, int64_t i, int64_t k)
{
    switch (k) {
    case 0:
        return f->len_x[i];
    case 1:
        return f->len_y[i];
    case 2:
        return (double)f->logp_yx[i] / f->len_y[i];
    case 3:
        return (double)f->logp_y[i] / f->len_y[i];
    default:
        return (double)f->embedding[i * f->dim + k - N_DIFFICULTY];
    }
}

/* Difficulty: z-scores over the pool. Semantic: centred, one root mean square for the block. A
 * constant column gets scale 1 and is zero everywhere. */
static void fit_norm(struct policy *p, const struct features *f)
{
    double square = 0;
    for (int64_t k = 0; k < N_DIFFICULTY + p->dim; k++) {
        double sum = 0, var = 0;
        for (int64_t i = 0; i < f->n; i++)
            sum += raw(f, i, k);
        double mean = sum / (double)f->n;
        for (int64_t i = 0; i < f->n; i++) {
            double x = raw(f, i, k) - mean;
            var += x * x;
        }
        p->norm_center[k] = mean;
        if (k < N_DIFFICULTY)
            p->norm_scale[k] = var > 0 ? sqrt(var / (double)f->n) : 1;
        else
            square += var;
    }
    double rms = square > 0 ? sqrt(square / ((double)f->n * (double)p->dim)) : 1;
    for (int64_t k = N_DIFFICULTY; k < N_DIFFICULTY + p->dim; k++)
        p->norm_scale[k] = rms;
}

struct policy *policy_new(const struct features *f, const struct policy_options *o,
                          struct err *e)
{
    if (!(o->parts & PART_ALL) || (o->learner == POLICY_REWARD_MODEL &&
                                   !(o->parts & (PART_DIFFICULTY | PART_SEMANTIC)))) {
        err_set(e, ERR_RANGE, "no part of the state is left to score by");
        return NULL;
    }
    if (o->n_hidden < 1 || o->n_hidden > 4096) {
        err_set(e, ERR_RANGE, "hidden width %lld is not between 1 and 4096",
                (long long)o->n_hidden);
        return NULL;
    }
    struct policy *p = mem_zalloc(1, sizeof *p);
    p->learner = o->learner;
    p->parts = o->parts;
    p->dim = f->dim;
    p->n_hidden = o->n_hidden;
    p->features = f->id;
    p->kappa = o->kappa;
    p->memory = 0.5;
    p->s2 = p->v = 1;
    policy_alloc(p);
    fit_norm(p, f);
    if (p->learner == POLICY_PPO) {
        struct rng r;
        rng_init(&r, o->seed, 0);
        for (int64_t i = 0; i < p->n_hidden * p->n_in; i++)
            p->net[i] = (float)(rng_normal(&r) / sqrt((double)p->n_in));
    } else {
        for (int64_t i = 0; i < p->n_static; i++)
            p->sigma[i * p->n_static + i] = 1;
    }
    return p;
}

uint64_t policy_features(const struct policy *p)
{
    return p->features;
}

enum policy_learner policy_learner(const struct policy *p)
{
    return p->learner;
}

int64_t policy_iteration(const struct policy *p)
{
    return p->iteration;
}

const char *policy_history(const struct policy *p)
{
    return p->history;
}

int64_t policy_n_static(const struct policy *p)
{
    return p->n_static;
}

int64_t policy_weight(const struct policy *p, int64_t i, double *mean, double *standard_error)
{
    *mean = p->mu[i];
    *standard_error = sqrt(p->sigma[i * p->n_static + i]);
    return p->parts & PART_DIFFICULTY ? i : i + N_DIFFICULTY;
}

void policy_phi(const struct policy *p, const struct features *f, int64_t i, float *phi)
{
    int64_t n = 0;
    if (p->parts & PART_DIFFICULTY)
        for (int64_t k = 0; k < N_DIFFICULTY; k++)
            phi[n++] = (float)((raw(f, i, k) - p->norm_center[k]) / p->norm_scale[k]);
    if (p->parts & PART_SEMANTIC) {
        const float *x = f->embedding + i * f->dim;
        const double *center = p->norm_center + N_DIFFICULTY;
        float scale = (float)(1 / p->norm_scale[N_DIFFICULTY]);
        for (int64_t k = 0; k < p->dim; k++)
            phi[n++] = (x[k] - (float)center[k]) * scale;
    }
}

void policy_stage_inputs(const struct policy_stage *s, float u[2])
{
    double base = fabs(s->perf_start) > 1e-12 ? fabs(s->perf_start) : 1e-12;
    u[0] = (float)(5 * (s->perf_now - s->perf_start) / base);
    u[1] = (float)(2 * (double)(s->t - 1) / (double)s->n_steps - 1);
}
