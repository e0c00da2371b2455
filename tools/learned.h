/* SPDX-License-Identifier: MIT
 *
 * learned: what a learner tells of an update and of its policy, as files for people and for
 * other programs (raise-ppo --metrics, --weights, --liked). Errors name the file.
 */
#ifndef RAISE_TOOLS_LEARNED_H
#define RAISE_TOOLS_LEARNED_H

#include "learn/learn.h"

/* The report's rows: CSV with a heading, or, where path ends in ".jsonl", an object a row
 * without what is not finite. */
int learned_metrics(const char *path, const struct learn_report *r,
                    struct err *e) RAISE_MUST_CHECK;

/* CSV: feature,weight,standard_error,prior,part; a row for each number of phi. For a policy
 * whose learner has weights. */
int learned_weights(const char *path, const struct policy *p, struct err *e) RAISE_MUST_CHECK;

/* CSV of the five records at either end of each strong weight (learn/liked.h). */
int learned_liked(const char *path, const struct policy *p, const struct features *f,
                  struct err *e) RAISE_MUST_CHECK;

#endif
