/* SPDX-License-Identifier: MIT
 * learners: the table of learners; how to add one stands in policy/learner.h. */
#ifndef RAISE_LEARN_LEARNERS_H
#define RAISE_LEARN_LEARNERS_H

#include "policy/learner.h"

/* All learners, ending with NULL; the first is the default. */
const struct learner *const *learners(void);
/* NULL: there is none of that name. */
const struct learner *learner_find(const char *name);

#endif
