/* SPDX-License-Identifier: MIT
 *
 * best: the plan of what the best of several episodes was trained on. Of K episodes that choose
 * at random it is best-of-K, which costs what K episodes of a learner cost.
 *
 *     struct plan p;
 *     int64_t k = best_episode(t, names, n, &e);
 *     if (k >= 0)
 *         best_plan(&p, &t[k]);
 */
#ifndef RAISE_LEARN_BEST_H
#define RAISE_LEARN_BEST_H

#include "learn/traj.h"
#include "plan/plan.h"

/* Which of n trajectories ends with the least validation loss; the first of equals. One that
 * did not end well is none of them. ERR_MISMATCH names two whose losses cannot be compared
 * (traj_differ), or that were not trained on as many records in as many steps; ERR_EMPTY: none
 * ended well, or none was given. names [n]: of the files. */
int64_t best_episode(const struct traj *t, const char *const *names, int64_t n,
                     struct err *e) RAISE_MUST_CHECK;

/* The picks of t, step by step, without scores; the method is "best-of". *p is the caller's:
 * plan_free. */
void best_plan(struct plan *p, const struct traj *t);

#endif
