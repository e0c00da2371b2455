/* SPDX-License-Identifier: MIT
 *
 * reward_fit: the reward model's regression. For learn_reward.c and tests.
 *
 * Batch to reward: with x_t the mean of phi' over the batch of step t, f_0 = g_0 = 0,
 *     f_t = e f_{t-1} + (1 - e) x_t         AdamW's momentum spreads a batch over some steps
 *     g_t = d g_{t-1} + (1 - d) f_t         d = 0.7
 *     m_t = f_t - c g_{t-1}                 pay-back: what was won early cannot be won again
 * A mean a step: how a reward depends on its step, warm-up and decay, is most of its variance,
 * and the same in all episodes. y and the columns of m are centred within each step over the
 * episodes, a flat prior on each step's mean, exactly (REML): N = rows - steps. A step that one
 * episode alone has tells nothing.
 *     sd^2 = sum r^2 / N,  y = r / sd,  z = M w0' / zs with zs^2 = |M w0'|^2 / N
 *     w = a w0'/zs + delta, delta_j ~ N(0, D_j), D_j = share_j v / d;  y = M w + N(0, s2)
 * where v is vk for columns with a prior and vu for the others, d the sum over the rows of
 * share_j m_j^2 / N of the same columns: v is a share of the variance of y. w0'_j = w0_j
 * unit_j.
 *
 * c, vk, vu, s2 and a have a grid, each point of equal prior weight, and the posterior is the
 * average over all of it by evidence. The best point alone is less: leave-one-out R^2 was .485
 * against .509 and .235 against .256 on two pools, and its mean jumps from point to point.
 * With L L' = A = X'X / s2 + D^-1 over the columns with D > 0 and A iy = X'y/s2, A iz = X'z/s2,
 *     log p(y) = -1/2 [N log(2 pi s2) + log|D| + log|A| + qyy - 2 a qyz + a^2 qzz]
 *     quv = (u'v - X'u . iv) / s2,   mean = a w0'/zs + iy - a iz,   cov = A^-1
 */
#ifndef RAISE_LEARN_REWARD_FIT_H
#define RAISE_LEARN_REWARD_FIT_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Rows are steps, episode after episode. */
struct reward_rows {
    int64_t n, p;
    double *x;       /* [n, p] mean of phi' over the batch */
    double *r;       /* [n] rewards, nats */
    int64_t *step;   /* [n] from 0, which begins an episode */
    int64_t n_steps; /* the most of an episode */
};

struct reward_prior {
    const double *w0;     /* [p] a unit of phi' */
    const double *share;  /* [p] */
    const bool *is_known; /* [p] */
    double memory;        /* e */
};

struct reward_fit {
    double *mean, *cov; /* [p], [p, p], of w a unit of phi'; owned */
    int64_t n_rows;     /* N; 0: nothing is told, mean and cov are zero */
    double stage_share; /* of the rewards' variance, that the step explains */
    double sd;          /* after the stage, nats */
    double s2;          /* geometric mean; units of sd^2 */
    double no_prior;    /* probability of a = 0 */
    double a, vk, vu, c;
    double evidence;  /* of the best point */
    double explained; /* after the stage, by the mean, at the best point's c */
    double tau;       /* deviation of a column of M within a step, root mean square over those
                       * that have a prior, or all */
};

/* ERR_NONFINITE: no point of the grid has a finite solution. *fit is the caller's to free in
 * every case. */
int reward_fit(const struct reward_rows *rows, const struct reward_prior *prior,
               struct reward_fit *fit, struct err *e) RAISE_MUST_CHECK;
void reward_fit_free(struct reward_fit *fit);

#endif
