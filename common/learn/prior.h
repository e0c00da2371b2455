/* SPDX-License-Identifier: MIT
 *
 * prior: what learners believe of a part of the state before any reward. Parts that tell what a
 * record does for the target (target, consistency, influence) are known to be good: w0 = 1 for
 * each of their columns, 3 for consistency, which is bounded by 1, 0 for all others. The reward
 * model's regression begins from it (learn_reward.h), and so do PPO's scores (learn_ppo.h);
 * without these parts both begin with uniform choice.
 */
#ifndef RAISE_LEARN_PRIOR_H
#define RAISE_LEARN_PRIOR_H

#include "policy/state.h"

struct prior_part {
    unsigned part;
    double w0;    /* a unit of phi; 0: nothing is known of it */
    double share; /* of the prior's variance, all columns of the part together */
};
/* Of any part; static. */
const struct prior_part *prior_part_of(unsigned part);
/* w0 times `scale`, [n_static] (written). False: all are 0. */
bool prior_weights(const struct state *s, double scale, double *w);

#endif
