/* SPDX-License-Identifier: MIT
 *
 * gain: what a record does for the target, by a probe. The model is fine-tuned on the target's
 * own records for a few steps, and the pool is scored before and after:
 *
 *     gain_sum = log P_tuned(y | x) - log P(y | x)       a record, in nats
 *
 * To first order that is the step's length times the inner product of the record's gradient
 * with the target's, the raw form of the influence that LESS normalises, for the price of one
 * more forward pass. AdamW's steps have a fixed length, so what counts is gain beside the
 * record's own pull: gain_sum / sqrt(len_y), or gain_sum / loss.
 *
 * Both states lie side by side over the same frozen weights (lm_adapter_fork), so that a window
 * of records is scored under both before the next is begun.
 *
 *     struct gain g = {.target = &records, .how = &how, .n_steps = 3, .lr = 3e-4, ...};
 *     rc = gain_measure(&g, &e);               // g.longest: before the model is opened
 *     rc = gain_probe(&g, lm, dir, false, &e); // lm opened for LoRA; leaves it as it was, the
 *                                              // tuned state aside
 *     ... how.has_gain = true; embed_window(lm, &how, ...) ...
 *     gain_free(&g);
 */
#ifndef RAISE_FEATURES_GAIN_H
#define RAISE_FEATURES_GAIN_H

#include "features/embed.h"

enum { GAIN_BATCH = 32 }; /* records a step; all of the target's if they are fewer */

struct gain {
    /* the caller's, borrowed */
    const struct dataset *target;
    const struct embed_options
        *how; /* how the pool is scored; batch_tokens set before the probe */
    int64_t n_steps;
    double lr;     /* constant, after a linear warm-up over a third of the steps */
    uint64_t seed; /* of the order of the records, and of the adapter (lm_options) */
    /* found by gain_measure; owned */
    struct example_set examples;
    int64_t n_records, n_tokens, longest; /* those that can be scored; their tokens */
    struct embed_drops drops;
    /* found by gain_probe; owned */
    struct embed_rows rows;  /* the target's records as the pool's: their embeddings */
    double loss, loss_tuned; /* over the response tokens of all of them, nats a token */
    uint64_t probe;          /* identity of the tuned adapter (lm_adapter_identify) */
};

/* Tokenises the target. ERR_EMPTY when none of its records can be scored. */
int gain_measure(struct gain *g, struct err *e) RAISE_MUST_CHECK;
/* Embeds the target's records, trains the probe and saves it in the folder `dir`; with
 * is_made_before, takes it from there instead. On success the model's adapter is as it was, and
 * its other state is the probe's. Unless loss_tuned is below loss, it is of no use. */
int gain_probe(struct gain *g, struct lm *m, const char *dir, bool is_made_before,
               struct err *e) RAISE_MUST_CHECK;
void gain_free(struct gain *g);

#endif
