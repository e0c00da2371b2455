/* SPDX-License-Identifier: MIT
 *
 * learn_reward: the learner "reward-model", a Bayesian regression of rewards on what was in the
 * batches. For learn_reward.c and tests.
 *
 *     m_t = e m_{t-1} + (1 - e) mean_{i in D_t} phi_i,  m_0 = 0
 *     r_t / sd(r) = beta . b_t + w . m_t + N(0, s2)
 * with b_t as the critic's regressors (learn_priv.h), prior precision 1e-6 on the intercept,
 * 0.1 on the rest of beta, 1/v on w; s2 and v maximise the evidence over a grid. It explores by
 * Thompson sampling (Thompson 1933): a w from the posterior at every step, scores
 * kappa (phi . w) / sd(phi . w); deployed, w is the mean.
 */
#ifndef RAISE_LEARN_LEARN_REWARD_H
#define RAISE_LEARN_LEARN_REWARD_H

#include "learn/learn_priv.h"

struct reward_options {
    double kappa;  /* of a new policy */
    double memory; /* e */
};
#define REWARD_OPTIONS_DEFAULTS                                                                \
    {                                                                                          \
        .kappa = 3, .memory = 0.5                                                              \
    }

/* A policy's own state. */
struct reward_model {
    int64_t n;          /* n_static */
    double *mu, *sigma; /* [n], [n, n]: posterior of w */
    double beta[N_BASIS];
    double kappa, memory, s2, v;
};
static inline struct reward_model *reward_model_of(const struct policy *p)
{
    return p->self;
}

#endif
