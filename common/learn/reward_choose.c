/* SPDX-License-Identifier: MIT
 * reward_choose: from a reward model's posterior to scores; see learn_reward.h.
 *
 * Passes over all rows go block by block, each row by itself, and what is summed over rows is
 * summed in their order: results do not depend on the number of threads. A pass with caution
 * costs n_static^2 multiplications a row. */
#include "base/mem.h"
#include "base/rng.h"
#include "base/top.h"
#include "learn/learn_reward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { R = STATE_ROWS };

bool reward_is_pairs(const struct reward_model *x)
{
    return !reward_is_old(x) && !strcmp(x->explore, "pairs");
}

bool reward_is_old(const struct reward_model *x)
{
    return !x->prior || !x->share || !x->center;
}

/* phi . Sigma phi of a block, phi [n, R] in double and centred; Sigma symmetric. */
static void add_variance(int64_t n, const double *phi, const double *sigma, double *q)
{
    for (int64_t j = 0; j < n; j++) {
        const double *at = phi + j * R;
        double half[R];
        for (int64_t r = 0; r < R; r++)
            half[r] = 0.5 * sigma[j * n + j] * at[r];
        for (int64_t k = 0; k < j; k++)
            for (int64_t r = 0; r < R; r++)
                half[r] += sigma[j * n + k] * phi[k * R + r];
        for (int64_t r = 0; r < R; r++)
            q[r] += 2 * at[r] * half[r];
    }
}

static void rank_block(const struct reward_model *x, const double *w, double caution,
                       const float *phi, double *centred, double *y)
{
    int64_t n = x->n;
    double q[R] = {0};
    memset(y, 0, R * sizeof *y);
    for (int64_t k = 0; k < n; k++)
        for (int64_t r = 0; r < R; r++) {
            centred[k * R + r] = (double)phi[k * R + r] - (x->center ? x->center[k] : 0);
            y[r] += centred[k * R + r] * w[k];
        }
    if (!(caution > 0))
        return;
    add_variance(n, centred, x->sigma, q);
    for (int64_t r = 0; r < R; r++)
        y[r] -= caution * sqrt(q[r] > 0 ? q[r] : 0);
}

void reward_rank(const struct policy *p, const struct features *f, const double *w,
                 double caution, double *score)
{
    const struct reward_model *x = reward_model_of(p);
    size_t cells = (size_t)(R * x->n);
    int64_t blocks = (f->n + R - 1) / R;
#pragma omp parallel
    {
        float *phi = mem_aligned(cells * sizeof *phi);
        double *centred = mem_aligned(cells * sizeof *centred), y[R];
#pragma omp for schedule(static)
        for (int64_t b = 0; b < blocks; b++) {
            int64_t at = b * R, n = f->n - at < R ? f->n - at : R;
            state_block(&p->state, f, NULL, at, n, phi);
            rank_block(x, w, caution, phi, centred, y);
            memcpy(score + at, y, (size_t)n * sizeof *y);
        }
        free(phi);
        free(centred);
    }
}

void reward_best(const double *score, int64_t n_all, int64_t n, uint64_t seed, int64_t *rows)
{
    struct top_row *best = mem_alloc((size_t)n + 1, sizeof *best);
    int64_t have = 0;
    for (int64_t i = 0; i < n_all && n; i++)
        if (have < n || score[i] >= best[0].key)
            top_offer(best, &have, n,
                      (struct top_row){score[i], rng_hash(seed, (uint64_t)i, 0, 2), i});
    top_sort(best, have);
    for (int64_t k = 0; k < have; k++)
        rows[k] = best[k].row;
    free(best);
}

void reward_believe(const struct policy *p, const struct features *f, double *score)
{
    const struct reward_model *x = reward_model_of(p);
    reward_rank(p, f, x->mu, x->n_rows ? x->caution : 0, score);
}

/* Not less than a thousandth of what a column has over the pool, which is 1; what a column of a
 * block has may be less. */
static double least_unit(const struct state_col *c)
{
    return c->row->norm == NORM_BLOCK ? 1e-6 : 1e-3;
}

void reward_scale(const struct policy *p, const struct features *f, const int64_t *rows,
                  int64_t n, double *center, double *unit)
{
    const struct state *s = &p->state;
    size_t bytes = (size_t)s->n_static * sizeof(double);
    float *phi = mem_alloc((size_t)s->n_static, sizeof *phi);
    memset(center, 0, bytes);
    memset(unit, 0, bytes);
    for (int64_t i = 0; i < n; i++) {
        state_row(s, f, rows[i], phi);
        for (int64_t k = 0; k < s->n_static; k++)
            center[k] += (double)phi[k] / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        state_row(s, f, rows[i], phi);
        for (int64_t k = 0; k < s->n_static; k++)
            unit[k] += ((double)phi[k] - center[k]) * ((double)phi[k] - center[k]) / (double)n;
    }
    free(phi);
    for (int64_t i = 0; i < s->n_cols; i++) {
        const struct state_col *c = &s->cols[i];
        double all = 0, *u = unit + c->phi_at;
        for (int64_t k = 0; k < c->width && c->phi_at >= 0; k++)
            all += u[k] / (double)c->width;
        for (int64_t k = 0; k < c->width && c->phi_at >= 0; k++) {
            u[k] = sqrt(c->row->norm == NORM_BLOCK ? all : u[k]);
            u[k] = u[k] > least_unit(c) ? u[k] : least_unit(c);
        }
    }
}

double reward_below(double z)
{
    const double below = 1e4, most = 5e3;
    return fmax(-most, fmin(most, z)) - below;
}
