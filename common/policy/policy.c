/* SPDX-License-Identifier: MIT
 * policy: making one, its normalisation and its stage; see policy.h. */
#include "policy/policy.h"

#include "base/mem.h"
#include "base/rng.h"
#include "policy/policy_priv.h"

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

/* Is the sum of squares about the mean more than what rounding leaves of equal values? */
static bool is_spread(double square, int64_t n, double mean)
{
    return square > 1e-20 * (double)n * (1 + mean * mean);
}

/* Sums over the pool of x - center and of its square, each column: blocks of rows of fixed size
 * are summed apart and merged in order, the same for any number of threads. */
static void column_sums(const struct features *f, const double *center, double *sum,
                        double *square)
{
    enum { ROWS = 1 << 14 };
    int64_t n = N_DIFFICULTY + f->dim, blocks = (f->n + ROWS - 1) / ROWS;
    double *part = mem_zalloc((size_t)(blocks * 2 * n), sizeof *part);
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        double *s = part + b * 2 * n, *q = s + n;
        int64_t end = (b + 1) * ROWS < f->n ? (b + 1) * ROWS : f->n;
        for (int64_t i = b * ROWS; i < end; i++)
            for (int64_t k = 0; k < n; k++) {
                double x = raw(f, i, k) - center[k];
                s[k] += x;
                q[k] += x * x;
            }
    }
    memset(sum, 0, (size_t)n * sizeof *sum);
    memset(square, 0, (size_t)n * sizeof *square);
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t k = 0; k < n; k++) {
            sum[k] += part[b * 2 * n + k];
            square[k] += part[b * 2 * n + n + k];
        }
    free(part);
}

/* Difficulty: z-scores over the pool. Semantic: centred, one root mean square for the block. A
 * constant column gets scale 1 and is zero everywhere. */
static void fit_norm(struct policy *p, const struct features *f)
{
    int64_t n = N_DIFFICULTY + p->dim;
    double *sum = mem_alloc((size_t)n * 2, sizeof *sum), *square = sum + n, total = 0;
    column_sums(f, p->norm_center, sum, square);
    for (int64_t k = 0; k < n; k++)
        p->norm_center[k] = sum[k] / (double)f->n;
    column_sums(f, p->norm_center, sum, square);
    for (int64_t k = 0; k < n; k++)
        if (k < N_DIFFICULTY)
            p->norm_scale[k] = is_spread(square[k], f->n, p->norm_center[k])
                                   ? sqrt(square[k] / (double)f->n)
                                   : 1;
        else
            total += square[k];
    double rms = total > 0 ? sqrt(total / ((double)f->n * (double)p->dim)) : 1;
    for (int64_t k = N_DIFFICULTY; k < n; k++)
        p->norm_scale[k] = rms;
    free(sum);
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

int policy_start(struct policy *p, const struct policy *from, const struct features *f,
                 struct err *e)
{
    /* tanh bends a score of 3 by 7 %; with less gain Adam's first steps would be larger. */
    const double gain = 0.15;
    const unsigned statics = PART_DIFFICULTY | PART_SEMANTIC;
    if (from->learner != POLICY_REWARD_MODEL)
        return err_set(e, ERR_UNSUPPORTED, "is not a reward model");
    if (from->features != p->features || f->id != p->features)
        return err_set(e, ERR_MISMATCH, "was made for other features");
    if ((from->parts & statics) != (p->parts & statics))
        return err_set(e, ERR_MISMATCH, "was made with other parts of the state");
    double square = 0;
    float *phi = mem_alloc((size_t)p->n_static, sizeof *phi), *W = policy_W(p);
    for (int64_t i = 0; i < f->n; i++) {
        double y = 0;
        policy_phi(p, f, i, phi);
        for (int64_t k = 0; k < p->n_static; k++)
            y += (double)phi[k] * from->mu[k];
        square += y * y;
    }
    free(phi);
    double sd = sqrt(square / (double)f->n);
    int64_t first = p->parts & PART_STAGE ? 2 : 0;
    for (int64_t k = 0; k < p->n_in; k++)
        W[k] = 0;
    for (int64_t k = 0; k < p->n_static && sd > 1e-12; k++)
        W[first + k] = (float)(gain * from->kappa * from->mu[k] / sd);
    policy_o(p)[0] = (float)(1 / gain);
    return 0;
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
