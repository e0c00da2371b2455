/* SPDX-License-Identifier: MIT
 * learn_priv: what learners get of the episodes, and regressors that they share. For learn*.c
 * and their tests. */
#ifndef RAISE_LEARN_LEARN_PRIV_H
#define RAISE_LEARN_LEARN_PRIV_H

#include "learn/learn.h"
#include "policy/policy_body.h"

/* Terms of a step that explain its reward whatever the batch: 1, u2, u2^2, u1, r_{t-1},
 * r_{t-2}. */
enum { N_BASIS = 6 };

/* Usable episodes, with their rewards r_t = P_t - P_{t-1} divided by the sd over all of them.
 */
struct episodes {
    const struct traj **traj; /* [n] */
    const char **name;        /* [n] of their files */
    bool *is_new;             /* [n] drawn from the policy that is updated */
    double **reward;          /* [n][T] scaled */
    double **basis;           /* [n][T * N_BASIS] */
    int64_t n, n_new, n_rows; /* n_rows: steps of all episodes */
    double sd, mean_return;   /* mean_return: of the new ones, unscaled */
    bool is_flat;             /* all rewards are alike: they tell nothing */
};

/* The metrics that the learners share, in the CSV's order; columns of the report's rows. */
enum learn_metric {
    M_ITERATION,
    M_EPOCH, /* from 1; 0: no epochs */
    M_LOSS,
    M_POLICY_LOSS,
    M_ENTROPY,
    M_KL,
    M_CLIP_FRACTION,
    M_GRAD_NORM,
    M_EXPLAINED_VARIANCE,
    M_MEAN_RETURN,
    M_REWARD_SD,
    M_S2,
    M_V,
    M_LOG_EVIDENCE,
    N_METRICS
};
extern const char *const learn_metrics[N_METRICS + 1]; /* their names, and NULL */

#endif
