/* SPDX-License-Identifier: MIT
 *
 * policy: the acquisition function: from the state (state.h) to a score a row, by a learner
 * (learner.h). One file format and one interface for all learners.
 *
 *     const struct policy_options o = {.learner = learner_find("ppo"), .parts = PART_PAPER};
 *     struct policy *p = policy_new(&features, &o, &e);
 *     ...
 *     struct policy *q = policy_read("policy.0.st.zst", learners(), &e);
 *     rc = policy_bind(q, &features, &e);              // before it scores
 *     rc = policy_score(q, &features, &stage, counts, false, seed, scores, &e);
 *
 * File kind "policy", n entries of all state columns:
 *     norm_center F64 [n], norm_scale F64 [n]; then what the learner's own table has
 * Metadata: raise.learner, raise.features, raise.parts, raise.columns (absent in files from
 * before it: the four of difficulty and the embedding), raise.iteration, raise.reward_sd; then
 * the learner's own.
 */
#ifndef RAISE_POLICY_POLICY_H
#define RAISE_POLICY_POLICY_H

#include "policy/learner.h"
#include "stream/prov.h"

struct policy; /* owned; policy_free */
struct policy_options {
    const struct learner *learner;
    unsigned parts;  /* PART_..., or-ed; those that the features lack are left out */
    unsigned needed; /* of them: those whose absence is an error */
    uint64_t seed;
    const void *own; /* the learner's own options; NULL: its defaults */
};
struct policy *policy_new(const struct features *f, const struct policy_options *o,
                          struct err *e) RAISE_MUST_CHECK;
/* Makes a new policy score as `from`, which must have weights, does deployed. Both over the
 * same features and columns, else ERR_MISMATCH; ERR_UNSUPPORTED: a learner cannot. */
int policy_start(struct policy *p, const struct policy *from, const struct features *f,
                 struct err *e) RAISE_MUST_CHECK;
/* What every policy has in its file; the rest is its learner's table. */
extern const struct st_table policy_head_table;
/* known: learners that there are, ending with NULL (learners()). */
struct policy *policy_read(const char *path, const struct learner *const *known,
                           struct err *e) RAISE_MUST_CHECK;
int policy_write(const struct policy *p, const char *path, int flags, const struct prov *prov,
                 struct err *e) RAISE_MUST_CHECK;
void policy_free(struct policy *p);
/* Gives a policy that was read the rows that it is for. ERR_MISMATCH: it is for others. */
int policy_bind(struct policy *p, const struct features *f, struct err *e) RAISE_MUST_CHECK;

uint64_t policy_id(const struct policy *p);       /* identity of its tensors */
uint64_t policy_features(const struct policy *p); /* id of the features it belongs to */
const struct learner *policy_learner(const struct policy *p);
const struct state *policy_state(const struct policy *p);
int64_t policy_iteration(const struct policy *p);
const char *policy_history(const struct policy *p); /* raise.history; may be NULL */

/* Scores of all rows at one step, [n] (written); divide by tau is the selector's business.
 * counts: selector_counts(). is_deployed false: a learner that explores by drawing does so with
 * (seed, t); true: what it believes best. Streams over the rows in blocks with all threads.
 * ERR_MISMATCH: not bound to f. */
int policy_score(const struct policy *p, const struct features *f, const struct policy_stage *s,
                 const uint16_t *counts, bool is_deployed, uint64_t seed, float *scores,
                 struct err *e) RAISE_MUST_CHECK;
/* When it explores: are the best rows by score taken, and none drawn? (learner.h) */
bool policy_picks_best(const struct policy *p);

#endif
