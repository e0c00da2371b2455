/* SPDX-License-Identifier: MIT
 *
 * traj: trajectories, what happened in an episode.
 *
 * A trajectory holds indices and scalars only; states are rebuilt from the features. File kind
 * "trajectory" (raise-stream(5)); T steps, C classes, n picks in all, in training order. The
 * reward of step t is perf[t+1] - perf[t]. No times: the same run gives the same bytes.
 */
#ifndef RAISE_LEARN_TRAJ_H
#define RAISE_LEARN_TRAJ_H

#include "plan/picks.h"
#include "stream/prov.h"

struct traj {
    int64_t n_steps, n_classes, n_picks, batch; /* T, C, n; most picks a step */
    int64_t *pick;                              /* [n] row of the features (0..N-1) */
    float *pick_score;                          /* [n] its score F(s) then; NaN for a plan */
    float *pick_loss;     /* [n] its mean NLL in the step that trained on it, before that step's
                           * change; NULL but for a learner that goes by it (learner.h) */
    int64_t *list_offset; /* [T C + 1] picks of step t, class c: [list_offset[t C + c], ...+1),
                           * in the order drawn (Plackett-Luce order) */
    double *list_logp;    /* [T C] log pi of that list; 0 for greedy choice and plans */
    double *perf;         /* [T + 1] P(M_0) .. P(M_T) = -(mean validation NLL), nats a token */
    double *train_loss, *lr, *grad_norm; /* [T] */
    int64_t *n_tokens;                   /* [T] */
    int64_t *source;                     /* [n] record number of each pick in the dataset */
    uint64_t *record_hash;               /* [n] identity of each picked record's content */
    /* Identities, 0: not told. validation: of the records that the reward was measured on;
     * encoding: of their tokens, so of template, tokenizer and length too; adapter: of the one
     * that the episode started from, 0: none. */
    uint64_t features, policy, dataset, validation, encoding, model, adapter;
    int64_t episode;
    uint64_t seed;
    double tau;
    bool has_repeats;
    char mode[16]; /* "sample", "greedy", "plan"; "pairs": the best of scores that explore
                    * (learn_reward.h); "best": one list, shuffled (episode.h) */
    char
        status[256]; /* "ok", or "diverged at step 3: ...": from that step on perf,
                      * train_loss and grad_norm are NaN, later steps have no picks and no lr */
    double test_loss_before, test_loss; /* mean NLL of M_0 and M_T; NaN: not measured */
    char *history;                      /* raise.history as read; owned */
};
extern const struct st_table traj_table;

/* Empty trajectory with room for n_steps steps and max_picks picks; n_picks 0. */
void traj_init(struct traj *t, int64_t n_steps, int64_t n_classes, int64_t max_picks);
void traj_free(struct traj *t);
int traj_write(const struct traj *t, const char *path, int flags, const struct prov *p,
               struct err *e) RAISE_MUST_CHECK;
/* Reads and checks: offsets ascend and end at n, classes and steps agree, perf is finite where
 * status is "ok". */
int traj_read(struct traj *t, const char *path, struct err *e) RAISE_MUST_CHECK;
bool traj_is_ok(const struct traj *t); /* status "ok" */
/* Says how a trajectory ended early: sets the status and what step t (from 1) and the later
 * ones lack. The picks of step t stay. */
void traj_end(struct traj *t, int64_t step, const char *why);
/* What keeps the rewards of two trajectories from being compared ("validation sets"), or NULL:
 * features, dataset, model, adapter, validation set and its encoding must agree where both
 * tell. How it was trained (learning rate, rank, steps, batch) may differ: that is what
 * happened, not what a reward means. */
const char *traj_differ(const struct traj *a, const struct traj *b);
/* The same from a message whose kind the caller has looked at; errors name st_msg_name(m). */
int traj_from_msg(struct traj *t, const struct st_msg *m, struct err *e) RAISE_MUST_CHECK;

#endif
