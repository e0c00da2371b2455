/* SPDX-License-Identifier: MIT
 *
 * learn_ppo: the learner "ppo", proximal policy optimisation (Schulman et al. 2017) with
 * generalised advantages (Schulman et al. 2016). For learn_ppo.c, learn_replay.c and tests.
 *
 * Score: F(s) = o . tanh(W s + b), b = 0, W ~ N(0, 1/n_in), o = 0, but for one hidden unit that
 * carries the prior (prior.h): F = spread (w0 . phi) / sd(w0 . phi) at first. Without a prior,
 * or with spread 0, the first episode is exactly uniform.
 *
 * An update is n_epochs full-batch steps of Adam (betas 0.9, 0.99):
 *
 *     r_t = P_t - P_{t-1}, divided by the sd of all rewards so far
 *     delta_t = r_t + gamma V_{t+1} - V_t,  V_{T+1} = 0
 *     A_t = delta_t + gamma lambda A_{t+1}, centred, divided by (sd + 1e-6) over the update
 *
 *     V: ridge regression in double on [1, u2, u2^2, u1, r_{t-1}, r_{t-2}] over all episodes:
 *     w = (Phi'Phi + diag(1e-6, 1, ...))^-1 Phi'G
 *
 *     rho_{t,c} = exp(clamp((log pi_c - log pi_c_old) / b_c, +-20))     (--ratio mean)
 *     L = -(1/C) sum_c mean_t min(rho A, clip(rho, 1 +- eps) A)
 *         - beta (1/C) sum_c mean_t H_c / log n_c
 *
 * Rewards that are all alike say nothing about a choice: A = 0, and no step is taken, since
 * Adam would make a whole one of what rounding leaves.
 */
#ifndef RAISE_LEARN_LEARN_PPO_H
#define RAISE_LEARN_LEARN_PPO_H

#include "learn/learn_priv.h"

/* BASELINE_STEP: first V is the mean return of the other episodes at the same step, which
 * follows any dependence on the step, then the ridge regression is of what is left, on terms
 * treated the same; a step that one episode alone has has no advantage. */
enum ppo_baseline { BASELINE_RIDGE, BASELINE_STEP };
enum ppo_ratio { RATIO_MEAN, RATIO_CLASS, RATIO_ITEM };

struct ppo_options {
    int64_t n_hidden; /* of a new policy */
    int64_t n_epochs;
    double lr, gamma, lambda;
    double clip;      /* eps */
    double entropy;   /* beta */
    int ratio;        /* enum ppo_ratio */
    int baseline;     /* enum ppo_baseline */
    double grad_clip; /* 0: any norm */
    double spread;    /* of a new policy: sd of the prior's scores; 0: none */
};
#define PPO_OPTIONS_DEFAULTS                                                                   \
    {                                                                                          \
        .n_hidden = 32, .n_epochs = 4, .lr = 3e-2, .gamma = 0, .lambda = 0.95, .clip = 0.2,    \
        .entropy = 0.01, .ratio = RATIO_MEAN, .baseline = BASELINE_STEP, .grad_clip = 1,       \
        .spread = 3                                                                            \
    }

/* A policy's own state. */
struct ppo {
    int64_t n_in, n_hidden, n_net;
    float *net;             /* [n_net]: W [h, n_in], b [h], o [h], as scorer_init wants it */
    float *W, *b, *o;       /* within net */
    float *adam_m, *adam_v; /* [n_net] */
    int64_t adam_step;
    double critic[N_BASIS];
};
static inline struct ppo *ppo_of(const struct policy *p)
{
    return p->self;
}

#endif
