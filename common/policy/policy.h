/* SPDX-License-Identifier: MIT
 *
 * policy: the acquisition function, in two kinds that share one file format and one interface.
 *
 * State fusion. Row i at step t is s = [u1 u2 | difficulty 4 | semantic d | count]:
 *     u1 = 5 (P_{t-1} - P_0) / |P_0|,  u2 = 2 (t-1)/T - 1
 *     difficulty: z-scores over the pool of len_x, len_y, logp_yx/len_y, logp_y/len_y
 *     semantic: embedding, centred, the whole N x d block divided by one root mean square
 *     count: times selected so far in this episode
 * The constants travel in the policy. Each part can be switched off (its weights are absent).
 *
 * Learner "ppo": F(s) = o . tanh(W s + b), hidden 32, W ~ N(0, 1/n_in), b = 0, o = 0, so that
 * the first episode is exactly uniform. Learner "reward-model": a Bayesian regression of the
 * rewards on what was in the batches; acts by Thompson sampling, z = kappa (phi.w)/sd(phi.w)
 * with a fresh w from the posterior at every step, and deploys with its mean.
 *
 * File kind "policy"; n_in inputs, h hidden, p static features:
 *     both          norm_center F64 [4+d], norm_scale F64 [4+d]
 *     ppo           W F32 [h, n_in], b F32 [h], o F32 [h]; adam_m, adam_v F32 [h*n_in + 2h];
 *                   critic F64 [6]
 *     reward-model  mu F64 [p], sigma F64 [p, p], beta F64 [6]
 * Metadata: raise.learner, raise.features, raise.parts, raise.iteration, raise.reward_sd,
 * raise.adam_step, the hyper-parameters, and for the reward model kappa, memory e, s2, v.
 */
#ifndef RAISE_POLICY_POLICY_H
#define RAISE_POLICY_POLICY_H

#include "features/features.h"
#include "stream/prov.h"

enum policy_learner { POLICY_PPO, POLICY_REWARD_MODEL };
enum policy_part {
    PART_STAGE = 1,
    PART_DIFFICULTY = 2,
    PART_SEMANTIC = 4,
    PART_COUNT = 8,
    PART_ALL = 15
};

struct policy; /* owned; policy_free */
struct policy_options {
    enum policy_learner learner;
    unsigned parts; /* enum policy_part, or-ed */
    int64_t n_hidden;
    uint64_t seed;
    double kappa;
};
#define POLICY_OPTIONS_DEFAULTS                                                                \
    {                                                                                          \
        .parts = PART_ALL, .n_hidden = 32, .seed = 42, .kappa = 3                              \
    }
struct policy *policy_new(const struct features *f, const struct policy_options *o,
                          struct err *e) RAISE_MUST_CHECK;
/* Makes a fresh ppo policy score as the reward model `from` deploys: one hidden unit carries
 * kappa (phi.mu)/sd(phi.mu) in the nearly straight part of tanh. Both over the same features
 * and static parts, else ERR_MISMATCH. */
int policy_start(struct policy *p, const struct policy *from, const struct features *f,
                 struct err *e) RAISE_MUST_CHECK;
struct policy *policy_read(const char *path, struct err *e) RAISE_MUST_CHECK;
int policy_write(const struct policy *p, const char *path, int flags, const struct prov *prov,
                 struct err *e) RAISE_MUST_CHECK;
void policy_free(struct policy *p);
uint64_t policy_id(const struct policy *p);       /* identity of its tensors */
uint64_t policy_features(const struct policy *p); /* id of the features it belongs to */
enum policy_learner policy_learner(const struct policy *p);
int64_t policy_iteration(const struct policy *p);
const char *policy_history(const struct policy *p); /* raise.history; may be NULL */

/* Static features that the policy weighs (4 + d, less the parts that are off). */
int64_t policy_n_static(const struct policy *p);
/* Reward model: posterior mean and standard error of weight i. Returns which feature it is:
 * 0..3 difficulty (len_x, len_y, logp_yx, logp_y), 4.. the embedding. */
int64_t policy_weight(const struct policy *p, int64_t i, double *mean, double *standard_error);

/* The stage at step t, all that the policy needs besides the rows. */
struct policy_stage {
    int64_t t, n_steps; /* t from 1 */
    double perf_start;  /* P_0 */
    double perf_now;    /* P_{t-1} */
};

/* Scores of all rows at one step, [n] (written); divide by tau is the selector's business.
 * counts: selector_counts(). is_deployed false: the reward model draws w~ with (seed, t); true:
 * its mean. Streams over the rows in blocks with all threads; no N x 39 block is ever made. */
int policy_score(const struct policy *p, const struct features *f, const struct policy_stage *s,
                 const uint16_t *counts, bool is_deployed, uint64_t seed, float *scores,
                 struct err *e) RAISE_MUST_CHECK;

#endif
