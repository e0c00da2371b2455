/* SPDX-License-Identifier: MIT
 * pool: features in memory, and episodes drawn from a policy on them, for tests.
 */
#ifndef RAISE_TESTS_POOL_H
#define RAISE_TESTS_POOL_H

#include "base/mem.h"
#include "base/rng.h"
#include "learn/learn_ppo.h"
#include "learn/learn_reward.h"
#include "learn/traj.h"
#include "policy/policy_body.h"
#include "policy/select.h"

#include <stdlib.h>
#include <string.h>

struct pool {
    struct features f;
    int32_t *len_x, *len_y, *class_of;
    float *logp_yx, *logp_y, *embedding;
    uint64_t *hash;
    int64_t *source;
};

/* N rows, d columns, C classes: everything random, classes too. */
static inline void pool_make(struct pool *p, int64_t N, int64_t d, int64_t C, uint64_t seed)
{
    struct rng r;
    size_t n = (size_t)N;
    rng_init(&r, seed, 77);
    memset(p, 0, sizeof *p);
    p->len_x = mem_alloc(n, sizeof *p->len_x);
    p->len_y = mem_alloc(n, sizeof *p->len_y);
    p->class_of = mem_alloc(n, sizeof *p->class_of);
    p->logp_yx = mem_alloc(n, sizeof *p->logp_yx);
    p->logp_y = mem_alloc(n, sizeof *p->logp_y);
    p->embedding = mem_alloc(n * (size_t)d, sizeof *p->embedding);
    p->hash = mem_alloc(n, sizeof *p->hash);
    p->source = mem_alloc(n, sizeof *p->source);
    for (size_t i = 0; i < n; i++) {
        p->len_x[i] = (int32_t)(10 + rng_below(&r, 90));
        p->len_y[i] = (int32_t)(5 + rng_below(&r, 200));
        p->class_of[i] = (int32_t)rng_below(&r, (uint64_t)C);
        p->logp_yx[i] = (float)(-p->len_y[i] * (1 + rng_unit(&r)));
        p->logp_y[i] = (float)(-p->len_y[i] * (1.5 + rng_unit(&r)));
        p->hash[i] = rng_u64(&r);
        p->source[i] = (int64_t)i;
    }
    for (size_t i = 0; i < n * (size_t)d; i++)
        p->embedding[i] = (float)(0.3 + 0.1 * rng_normal(&r));
    p->f = (struct features){.n = N,
                             .dim = d,
                             .n_classes = C,
                             .len_x = p->len_x,
                             .len_y = p->len_y,
                             .logp_yx = p->logp_yx,
                             .logp_y = p->logp_y,
                             .embedding = p->embedding,
                             .hash = p->hash,
                             .source = p->source,
                             .class_of = p->class_of,
                             .has_classes = true,
                             .id = 0xfea7 + seed};
}

static inline void pool_free(struct pool *p)
{
    free(p->len_x);
    free(p->len_y);
    free(p->class_of);
    free(p->logp_yx);
    free(p->logp_y);
    free(p->embedding);
    free(p->hash);
    free(p->source);
    memset(p, 0, sizeof *p);
}

/* A new policy of learner `name`, or NULL; n_hidden: for ppo. */
static inline struct policy *pool_policy(const struct features *f, const char *name,
                                         unsigned parts, int64_t n_hidden, struct err *e)
{
    struct ppo_options ppo = PPO_OPTIONS_DEFAULTS;
    struct policy_options o = {.learner = learner_find(name), .parts = parts, .seed = 42};
    ppo.n_hidden = n_hidden;
    if (!strcmp(name, "ppo"))
        o.own = &ppo;
    return policy_new(f, &o, e);
}

/* P(M_t) after the batch of step t (from 1), given P(M_{t-1}). */
typedef double pool_world(void *arg, const int64_t *picks, int64_t n, int64_t t, double perf);

struct pool_episode {
    int64_t n_steps, batch;
    double tau, perf_start;
    uint64_t seed;
    bool has_repeats, is_deployed;
    pool_world *world;
    void *arg;
};

/* One episode, as raise-rollout makes them. 0, or the error's code. */
static inline int pool_run(const struct policy *p, const struct features *f,
                           const struct pool_episode *q, struct traj *t, struct err *e)
{
    int64_t C = f->n_classes, *offset = mem_alloc((size_t)C + 1, sizeof *offset);
    float *scores = mem_alloc((size_t)f->n, sizeof *scores);
    struct selector *s = selector_new(f->n, f->class_of, C);
    int rc = 0;
    traj_init(t, q->n_steps, C, q->n_steps * q->batch);
    t->batch = q->batch;
    t->tau = q->tau;
    t->seed = q->seed;
    t->has_repeats = q->has_repeats;
    t->features = f->id;
    t->policy = policy_id(p);
    t->perf[0] = q->perf_start;
    for (int64_t k = 0; k < q->n_steps && rc >= 0; k++) {
        const struct policy_stage stage = {k + 1,      q->n_steps, t->perf[0],
                                           t->perf[k], q->batch,   NULL};
        const struct select_options o = {.batch = q->batch,
                                         .tau = q->tau,
                                         .is_greedy = !q->is_deployed && policy_picks_best(p),
                                         .has_repeats = q->has_repeats,
                                         .seed = q->seed,
                                         .step = k + 1};
        rc = policy_score(p, f, &stage, selector_counts(s), q->is_deployed, q->seed, scores, e);
        int64_t n = rc < 0 ? rc
                           : select_batch(s, scores, &o, t->pick + t->n_picks, offset,
                                          t->list_logp + k * C, e);
        rc = n < 0 ? (int)n : 0;
        for (int64_t c = 0; c <= C && rc >= 0; c++)
            t->list_offset[k * C + c] = t->n_picks + offset[c];
        for (int64_t i = 0; i < n; i++)
            t->pick_score[t->n_picks + i] = scores[t->pick[t->n_picks + i]];
        if (rc >= 0)
            t->perf[k + 1] = q->world(q->arg, t->pick + t->n_picks, n, k + 1, t->perf[k]);
        t->n_picks += n > 0 ? n : 0;
    }
    selector_free(s);
    free(scores);
    free(offset);
    return rc;
}

#endif
