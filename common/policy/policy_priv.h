/* SPDX-License-Identifier: MIT
 *
 * policy_priv: what a policy is made of; for policy*.c and learn*.c only.
 *
 * A row's static features are phi = [difficulty 4 | semantic d], normalised, without the parts
 * that are off: n_static numbers. The scorer's inputs are [u1 u2 | phi | count], n_in numbers;
 * the columns of W stand in that order.
 */
#ifndef RAISE_POLICY_POLICY_PRIV_H
#define RAISE_POLICY_POLICY_PRIV_H

#include "policy/policy.h"

enum { N_DIFFICULTY = 4, N_CRITIC = 6 };

struct policy {
    enum policy_learner learner;
    unsigned parts;
    int64_t dim;      /* d of the features */
    int64_t n_static; /* length of phi */
    int64_t n_in;     /* scorer's inputs */
    int64_t n_hidden;
    int64_t iteration;
    uint64_t features;                /* id */
    double *norm_center, *norm_scale; /* [4 + d] */
    double reward_sd;
    /* ppo */
    float *net;             /* W [h, n_in], b [h], o [h], one block of n_net floats */
    float *adam_m, *adam_v; /* [n_net] */
    int64_t n_net, adam_step;
    double critic[N_CRITIC];
    /* reward model */
    double *mu, *sigma; /* [n_static], [n_static, n_static] */
    double beta[N_CRITIC];
    double kappa, memory, s2, v;
    char *history;
};

/* Allocates what `learner`, `parts`, `dim` and `n_hidden` ask for, zeroed. */
void policy_alloc(struct policy *p);
static inline float *policy_W(const struct policy *p)
{
    return p->net;
}
static inline float *policy_b(const struct policy *p)
{
    return p->net + p->n_hidden * p->n_in;
}
static inline float *policy_o(const struct policy *p)
{
    return p->net + p->n_hidden * p->n_in + p->n_hidden;
}
/* phi of row i, n_static floats. */
void policy_phi(const struct policy *p, const struct features *f, int64_t i, float *phi);
/* u1, u2 of a stage. */
void policy_stage_inputs(const struct policy_stage *s, float u[2]);
/* Reward model: w~ = mu + L n, n ~ N(0, I) from (seed, t), Sigma = L L'; w [n_static]. */
int policy_draw(const struct policy *p, uint64_t seed, int64_t t, double *w,
                struct err *e) RAISE_MUST_CHECK;

#endif
