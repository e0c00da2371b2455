/* SPDX-License-Identifier: MIT
 *
 * episode_metrics: a row a step of an episode, in a file that grows with it: each row is one
 * write, so that others can follow it, and what a killed run has written stays. By its suffix
 * the file is JSON lines (.jsonl), with the keys that transformers' trainer logs under,
 *
 *     {"step": 1, "epoch": 0.2, "loss": 5.76, "eval_loss": 5.75, "learning_rate": 0.0003,
 *      "grad_norm": 4.37, "reward": 0.0045, "tokens": 74, "seconds": 0.027, "test_loss": 5.8}
 *
 * or CSV:
 *
 *     step,train_loss,val_loss,reward,lr,grad_norm,tokens,seconds,test_loss
 *
 * Row 0 is the model before the first step. Numbers are as short as keeps their value
 * (text_real); one that there is not is left out of JSON, and empty in CSV.
 */
#ifndef RAISE_LEARN_EPISODE_METRICS_H
#define RAISE_LEARN_EPISODE_METRICS_H

#include "learn/episode.h"

struct episode_metrics; /* owned */
/* The file is there with its first row, and another of that name is untouched until then. */
struct episode_metrics *episode_metrics_new(const char *path);
/* test: the loss on the test set, NaN where it was not measured. m NULL: nothing is done. The
 * first failure is kept, and returned by episode_metrics_close. */
void episode_metrics_put(struct episode_metrics *m, const struct episode_step *s, double test);
/* Frees m in every case; NULL is no error. e NULL: the work failed, and its error is another.
 */
int episode_metrics_close(struct episode_metrics *m, struct err *e);

#endif
