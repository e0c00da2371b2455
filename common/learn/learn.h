/* SPDX-License-Identifier: MIT
 *
 * learn: a policy improved from trajectories, whatever its learner: which episodes count, what
 * their rewards are, and then the learner's own update (policy/learner.h; the learners and
 * their equations: learn_ppo.h, learn_reward.h).
 *
 *     struct learn_report r;
 *     int rc = learn_update(p, &features, t, names, n, n_new, NULL, &r, &e);
 *     for (int64_t i = 0; !rc && i < r.n_rows; i++)
 *         printf("%g\n", learn_report_value(&r, i, "loss"));
 *     learn_report_free(&r);
 */
#ifndef RAISE_LEARN_LEARN_H
#define RAISE_LEARN_LEARN_H

#include "learn/learners.h"
#include "learn/traj.h"
#include "policy/policy.h"

/* What an update tells: metrics as rows of numbers, under the names of learner->metrics. */
struct learn_report {
    int64_t n_dropped;  /* episodes left out */
    bool is_unchanged;  /* all that could teach were left out: the policy is as it was */
    double mean_return; /* mean P(M_T) - P(M_0) of the policy's own episodes, nats */
    double reward_sd;   /* of all rewards, nats */
    const char *const *names;
    int64_t n_names, n_rows;
    double *values; /* owned: [n_rows, n_names] */
};
/* A new row, all zero, [n_names]; valid until the next. */
double *learn_report_row(struct learn_report *r);
/* NaN: no such row or name. */
double learn_report_value(const struct learn_report *r, int64_t row, const char *name);
void learn_report_free(struct learn_report *r);

/* Improves p from trajectories. `all`: every episode so far, oldest first; of them the last
 * n_new are the ones drawn from p. Checks that they belong to f and, where the learner needs
 * its own, to p, and that the rewards of all of them can be compared (traj_differ); else
 * ERR_MISMATCH names the files by all_names[i]. An episode whose status is not "ok" or whose
 * perf is not finite is left out and counted; where none is left to learn from, the policy
 * stays as it was: r->is_unchanged. ERR_EMPTY: none was given. options: the learner's
 * (learner->options); NULL: its defaults. *r is filled in every case, and the caller's to
 * free. */
int learn_update(struct policy *p, const struct features *f, const struct traj *all,
                 const char *const *all_names, int64_t n_all, int64_t n_new,
                 const void *options, struct learn_report *r, struct err *e) RAISE_MUST_CHECK;

#endif
