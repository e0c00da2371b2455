/* SPDX-License-Identifier: MIT
 *
 * learn: policies from trajectories: PPO with GAE, and the reward model.
 *
 * PPO, per update (K4 full-batch epochs of Adam):
 *     r_t = P_t - P_{t-1}, divided by the sd of all rewards so far
 *     delta_t = r_t + gamma V_{t+1} - V_t,  V_{T+1} = 0;  A_t = delta_t + gamma lambda A_{t+1},
 *         then centred and divided by (sd + 1e-6) over the update
 *     V: ridge regression in double on [1, u2, u2^2, u1, r_{t-1}, r_{t-2}] over all episodes:
 *         w = (Phi'Phi + diag(1e-6, 1, ...))^-1 Phi'G
 *     rho_{t,c} = exp(clamp((log pi_c - log pi_c_old) / b_c, +-20))     (--ratio mean)
 *     L = -(1/C) sum_c mean_t min(rho A, clip(rho, 1 +- eps) A) - beta (1/C) sum_c mean_t
 *         H_c / log n_c
 * Reward model: m_t = e m_{t-1} + (1-e) mean_{i in D_t} phi_i; r_t / sd(r) = beta . b_t + w .
 * m_t + N(0, s2), w ~ N(0, v I); s2 and v maximise the evidence over a grid; one Cholesky.
 */
#ifndef RAISE_LEARN_LEARN_H
#define RAISE_LEARN_LEARN_H

#include "learn/traj.h"
#include "policy/policy.h"

enum learn_ratio { RATIO_MEAN, RATIO_CLASS, RATIO_ITEM };

struct learn_options {
    int64_t n_epochs;     /* [4] */
    double lr;            /* [3e-2] */
    double gamma, lambda; /* [0, 0.95] */
    double clip;          /* [0.2] */
    double entropy;       /* [0.01] */
    enum learn_ratio ratio;
    double grad_clip; /* [1] */
    double memory;    /* e of the reward model [0.5] */
};

/* One row of the metrics CSV: an epoch of PPO, or the reward model's fit (epoch 0). */
struct learn_metrics {
    int64_t iteration, epoch;
    double loss, policy_loss, entropy, kl, clip_fraction, grad_norm;
    double explained_variance; /* of the critic, or of the regression */
    double mean_return, reward_sd;
    double s2, v, log_evidence; /* reward model */
};

/* Improves p from trajectories. `all`: every episode so far, oldest first (critic, scales,
 * reward model); of them the last n_new are the ones drawn from p (PPO's update). Checks that
 * they belong to f and, for the new ones, to p (ERR_MISMATCH names the file by all_names[i]).
 * An episode whose status is not "ok" or whose perf is not finite is left out and counted in
 * *n_dropped. metrics: room for n_epochs rows; returns the number written, or < 0. */
int64_t learn_update(struct policy *p, const struct features *f, const struct traj *all,
                     const char *const *all_names, int64_t n_all, int64_t n_new,
                     const struct learn_options *o, struct learn_metrics *metrics,
                     int64_t *n_dropped, struct err *e) RAISE_MUST_CHECK;

#endif
