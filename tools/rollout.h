/* SPDX-License-Identifier: MIT
 *
 * rollout: what raise-rollout is asked for, and one run of it, in parts: its inputs
 * (rollout_inputs.c), its bar (rollout_progress.c), and what is kept for other runs of it:
 * losses before the first step, and checkpoints (rollout_kept.c).
 */
#ifndef RAISE_TOOLS_ROLLOUT_H
#define RAISE_TOOLS_ROLLOUT_H

#include "base/log.h"
#include "base/opt.h"
#include "learn/episode_inputs.h"
#include "learn/episode_metrics.h"
#include "learn/untrained.h"
#include "session.h"

struct rollout_options {
    struct opt_common common;
    struct session_options session;
    struct session_records records;
    const char *features, *policy, *plan, *data, *validation, *test;
    const char *lora_targets, *metrics, *adapter_dir, *base_name, *model_dir, *checkpoint,
        *untrained;
    int64_t n_steps, batch, n_warmup, episode, n_shown, val_limit, test_limit, lora_rank;
    double tau, lr, lora_alpha, weight_decay, clip;
    int schedule;
    bool is_greedy, is_deployed, is_drawn, has_repeats, is_full, has_recompute;
    unsigned targets;    /* from lora_targets */
    int64_t every_steps; /* from checkpoint, as is every_seconds */
    double every_seconds;
};

struct rollout {
    const struct rollout_options *o;
    struct session_options session; /* as given, and where nothing was, as of the features */
    struct session s;
    struct episode_inputs in;
    struct episode episode;
    struct traj traj;
    double test_before, test_after; /* NaN without --test */
    struct untrained untrained;     /* losses that are known already */
    uint64_t val_key, test_key;     /* theirs, by which they are known */
    struct episode_metrics *metrics;
    struct episode_saving saving;
    char *checkpoint;         /* its file; NULL: none is kept */
    struct episode_step last; /* its row waits for the test loss */
    struct log_bar bar;
    double worked, work; /* tokens gone through (lm_on_work); in the whole run */
    double n_tokens, train_seconds;
};

/* The template and the length that the features were made with, unless the user says others,
 * which may not contradict them: a policy would learn about other texts than it chooses by. */
int rollout_open_encoding(struct rollout *r, struct err *e) RAISE_MUST_CHECK;

/* Steps, the pool, validation and test records; what is left out or cut is named. */
int rollout_read_inputs(struct rollout *r, struct err *e) RAISE_MUST_CHECK;

/* Tokens to go through after n measurements of the validation set, n - 1 of the steps. */
double rollout_work_left(const struct rollout *r, int64_t n);
void rollout_begin_progress(struct rollout *r);
void rollout_end_progress(struct rollout *r);

/* By what the loss of a set is known before the first step: all that it depends on. */
uint64_t rollout_untrained_key(const struct rollout *r, const struct episode_set *s);

/* Into --untrained, if there is one; a failure is a warning. */
void rollout_keep_untrained(const struct rollout *r, uint64_t key, double loss);

/* Hands --checkpoint to the episode. */
void rollout_keep_checkpoints(struct rollout *r);

#endif
