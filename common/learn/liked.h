/* SPDX-License-Identifier: MIT
 *
 * liked: the rows that each weight of a policy likes most and least. An embedding's number says
 * nothing to a person; the records at its two ends do.
 */
#ifndef RAISE_LEARN_LIKED_H
#define RAISE_LEARN_LIKED_H

#include "base/mem.h"
#include "policy/policy.h"

/* Appends CSV: feature,place,row,source,liking. For each number of phi (state.h) that p weighs,
 * and for "score", the sum of all: places 1, 2, ... n_each, the rows that it likes most, then
 * -1, -2,
 * ..., those that it likes least. liking: weight times the row's value. Rows with the content
 * of one that is named there already are passed over, so a small pool may fill fewer places; of
 * equal ones the first in the pool. p: bound to f, of a learner with weights. One pass over the
 * rows. */
void liked_csv(const struct policy *p, const struct features *f, int n_each, struct buf *b);

#endif
