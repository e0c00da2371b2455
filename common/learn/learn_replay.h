/* SPDX-License-Identifier: MIT
 *
 * learn_replay: PPO's loss and its gradient over episodes that were sampled. For learn_ppo.c
 * and its tests.
 *
 * Rows are put in order of their classes and cut into blocks of SCORER_ROWS of one class. An
 * epoch works on groups of steps (all of them, if their scores fit in REPLAY_BYTES):
 *     1. each block: static part of the scorer once, then every step's scores and sums of
 *        exponentials; what was used or picked by then is left out
 *     2. each step and class: log pi, ratio, loss, and what the gradient needs, from the sums
 *     3. each block: the static part again, d loss / d score, and back through the scorer
 * Blocks belong to a fixed number of lanes whose gradients are added in order: the result does
 * not depend on the number of threads.
 */
#ifndef RAISE_LEARN_LEARN_REPLAY_H
#define RAISE_LEARN_LEARN_REPLAY_H

#include "learn/learn_ppo.h"

enum { REPLAY_BYTES = 256 << 20 };

/* Sums over an epoch. kl, n_clipped: over n_ratios ratios. entropy: the loss's term, in which a
 * list without a choice (no pick, or one row to pick from) counts as zero; of all n_lists lists
 * n_choices have one. */
struct replay_sums {
    double policy_loss, entropy, kl, n_clipped, n_ratios, n_lists, n_choices;
};

struct replay; /* owned; replay_free (NULL-safe) */
/* Of the new episodes of eps, borrowed. ERR_FORMAT: a trajectory whose picks cannot have been
 * chosen so (wrong class, masked, twice in a list). */
struct replay *replay_new(const struct features *f, const struct episodes *eps, struct err *e);
void replay_free(struct replay *q);

/* Loss sums and d loss / d net [n_net] (written), loss = policy_loss - beta entropy; A: one
 * advantage a step, episode after episode. The first run checks that the lists' probabilities
 * are the trajectory's (ERR_MISMATCH), and keeps those of single items for RATIO_ITEM. */
int replay_run(struct replay *q, const struct policy *p, const double *A,
               const struct ppo_options *o, struct replay_sums *sums, double *grad,
               struct err *e) RAISE_MUST_CHECK;

#endif
