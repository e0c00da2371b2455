/* SPDX-License-Identifier: MIT
 * reward_pairs: exploring by pairs of steps in mirrored directions; see learn_reward.h. */
#include "base/mem.h"
#include "base/rng.h"
#include "learn/learn_reward.h"

#include <math.h>
#include <stdlib.h>

/* z-scores of x [n] in place; zeros where all are alike. */
static void standardise(double *x, int64_t n)
{
    double mean = 0, square = 0, size = 0;
    for (int64_t i = 0; i < n; i++)
        mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++) {
        square += (x[i] - mean) * (x[i] - mean);
        size += x[i] * x[i];
    }
    double sd = sqrt(square / (double)n);
    bool is_flat = !(square > 1e-20 * size);
    for (int64_t i = 0; i < n; i++)
        x[i] = is_flat ? 0 : (x[i] - mean) / sd;
}

/* The direction of a pair of steps, as weights of phi. */
static double *direction(const struct reward_model *x, const double *unit, uint64_t seed,
                         int64_t pair)
{
    double *d = mem_alloc((size_t)x->n, sizeof *d);
    struct rng r;
    rng_init(&r, seed, (uint64_t)pair);
    for (int64_t k = 0; k < x->n; k++)
        d[k] = sqrt(x->share[k]) * rng_normal(&r) / unit[k];
    return d;
}

/* w . phi of rows. */
static void products(const struct policy *p, const struct features *f, const double *w,
                     const int64_t *rows, int64_t n, double *y)
{
    int64_t width = p->state.n_static;
#pragma omp parallel
    {
        float *phi = mem_alloc((size_t)width, sizeof *phi);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n; i++) {
            state_row(&p->state, f, rows[i], phi);
            y[i] = 0;
            for (int64_t k = 0; k < width; k++)
                y[i] += w[k] * (double)phi[k];
        }
        free(phi);
    }
}

/* Only a class that J has too few of, or a J that is used up, reaches rows outside J. */
static void score_others(const struct policy *p, const struct features *f, float *scores)
{
    double *y = mem_alloc((size_t)f->n, sizeof *y);
    reward_believe(p, f, y);
    standardise(y, f->n);
    for (int64_t i = 0; i < f->n; i++)
        scores[i] = (float)reward_below(y[i]);
    free(y);
}

void reward_score_pairs(const struct policy *p, const struct features *f,
                        const struct policy_stage *s, uint64_t seed, float *scores)
{
    const struct reward_model *x = reward_model_of(p);
    size_t width = (size_t)x->n;
    int64_t n, *rows = reward_shortlist(p, f, s->n_steps * s->batch, &n);
    double *mean = mem_alloc((size_t)n, sizeof *mean), *q = mem_alloc((size_t)n, sizeof *q);
    double *center = mem_alloc(width, sizeof *center), *unit = mem_alloc(width, sizeof *unit);
    double sign = s->t % 2 ? 1 : -1;
    reward_scale(p, f, rows, n, center, unit);
    double *d = direction(x, unit, seed, (s->t - 1) / 2);
    products(p, f, x->mu, rows, n, mean);
    products(p, f, d, rows, n, q);
    standardise(mean, n);
    standardise(q, n);
    score_others(p, f, scores);
    for (int64_t i = 0; i < n; i++)
        scores[rows[i]] = (float)(mean[i] + sign * x->rho * q[i]);
    free(rows);
    free(mean);
    free(q);
    free(center);
    free(unit);
    free(d);
}
