/* SPDX-License-Identifier: MIT
 * policy_body: what a policy is made of: for its own files, learners and their tests, none
 * else. */
#ifndef RAISE_POLICY_POLICY_BODY_H
#define RAISE_POLICY_POLICY_BODY_H

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
