/* SPDX-License-Identifier: MIT
 * learners: one line a learner; see policy/learner.h. */
#include "learn/learners.h"

#include <string.h>

extern const struct learner learner_ppo, learner_reward_model, learner_lead;

static const struct learner *const table[] = {
    &learner_ppo,
    &learner_reward_model,
    &learner_lead,
    NULL,
};

const struct learner *const *learners(void)
{
    return table;
}

const struct learner *learner_find(const char *name)
{
    const struct learner *const *l = table;
    while (*l && strcmp((*l)->name, name) != 0)
        l++;
    return *l;
}
