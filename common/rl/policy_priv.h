/* SPDX-License-Identifier: MIT
 *
 * policy_priv: what a policy is made of; for policy*.c and learn*.c only.
 *
 * A row's static features are phi = [difficulty 4 | semantic d], normalised, without the parts
 * that are off: n_static numbers. The scorer's inputs are [u1 u2 | phi | count], n_in numbers;
 * the columns of W stand in that order.
 */
#ifndef RAISE_RL_POLICY_PRIV_H
#define RAISE_RL_POLICY_PRIV_H

#include "rl/policy.h"

enum { N_DIFFICULTY = 4, N_CRITIC = 6, POLICY_BLOCK = 4096 };

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

/* The scorer, unpacked for speed: input-major weights, hidden padded to a multiple of 16. */
struct scorer {
    int64_t n_static, n_hidden, hp;
    float *Wt;   /* [n_static, hp] */
    float *Wu;   /* [2, hp], zero when the stage is off */
    float *Wc;   /* [hp], zero when the count is off */
    float *b;    /* [hp] */
    float *o;    /* [hp] */
    float *bias; /* [hp] b + stage, set by scorer_set_stage */
};
void scorer_open(struct scorer *s, const struct policy *p);
void scorer_set_stage(struct scorer *s, const float u[2]);
void scorer_close(struct scorer *s);
/* out[r] for `rows` rows of phi [rows, n_static] and counts; hidden (NULL or [rows, hp]) gets
 * tanh of the hidden layer. */
void scorer_rows(const struct scorer *s, const float *phi, const uint16_t *counts, int64_t rows,
                 float *out, float *hidden);
/* Adds the gradient of sum_r dout[r] out[r] over the rows to Wt, Wu, Wc, b, o of g (same
 * shapes). */
void scorer_rows_grad(const struct scorer *s, struct scorer *g, const float u[2],
                      const float *phi, const uint16_t *counts, const float *dout,
                      const float *hidden, int64_t rows);

#endif
