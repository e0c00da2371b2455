/* SPDX-License-Identifier: MIT
 * policy_priv: what a policy is made of; for policy*.c, learners and their tests. */
#ifndef RAISE_POLICY_POLICY_PRIV_H
#define RAISE_POLICY_POLICY_PRIV_H

#include "policy/policy.h"

struct policy {
    const struct learner *learner;
    struct state state;
    uint64_t features; /* id */
    int64_t iteration;
    double reward_sd; /* of all rewards so far; 0 before any */
    void *self;       /* the learner's own, learner->self_size bytes */
    char *history;
};

#endif
