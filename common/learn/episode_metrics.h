/* SPDX-License-Identifier: MIT
 *
 * episode_metrics: one CSV row a step of an episode, complete or not at all.
 *
 *     step,train_loss,val_loss,reward,lr,grad_norm,tokens,seconds,test_loss
 *
 * Row 0 is the model before the first step. Numbers are as short as keeps their
 * value (text_real); one that there is not is empty.
 */
#ifndef RAISE_LEARN_EPISODE_METRICS_H
#define RAISE_LEARN_EPISODE_METRICS_H

#include "learn/episode.h"

struct episode_metrics; /* owned */
struct episode_metrics *episode_metrics_open(const char *path, struct err *e) RAISE_MUST_CHECK;
/* test: the loss on the test set, NaN where it was not measured. m NULL: nothing is done. The
 * first failure is kept, and returned by episode_metrics_commit. */
void episode_metrics_put(struct episode_metrics *m, const struct episode_step *s, double test);
/* Frees m in every case; NULL is no error. */
int episode_metrics_commit(struct episode_metrics *m, struct err *e) RAISE_MUST_CHECK;
void episode_metrics_abort(struct episode_metrics *m); /* NULL-safe */

#endif
