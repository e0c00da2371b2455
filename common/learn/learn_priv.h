/* SPDX-License-Identifier: MIT
 * learn_priv: rewards and the regressors that PPO's critic and the reward model share. */
#ifndef RAISE_LEARN_LEARN_PRIV_H
#define RAISE_LEARN_LEARN_PRIV_H

#include "learn/learn.h"
#include "policy/policy_priv.h"

/* Usable episodes, with their rewards r_t = P_t - P_{t-1} divided by the sd over all of them.
 */
struct episodes {
    const struct traj **traj; /* [n] */
    const char **name;        /* [n] of their files */
    bool *is_new;             /* [n] drawn from the policy that is updated */
    double **reward;          /* [n][T] scaled */
    double **basis;           /* [n][T * N_CRITIC]: 1, u2, u2^2, u1, r_{t-1}, r_{t-2} */
    int64_t n, n_new, n_rows; /* n_rows: steps of all episodes */
    double sd, mean_return;   /* mean_return: of the new ones, unscaled */
};

int64_t learn_ppo(struct policy *p, const struct features *f, const struct episodes *eps,
                  const struct learn_options *o, struct learn_metrics *metrics, struct err *e);
int64_t learn_reward_model(struct policy *p, const struct features *f,
                           const struct episodes *eps, const struct learn_options *o,
                           struct learn_metrics *metrics, struct err *e);

#endif
