/* SPDX-License-Identifier: MIT
 *
 * traj: trajectories, what happened in an episode.
 *
 * A trajectory holds indices and scalars only; states are rebuilt from the features. File kind
 * "trajectory"; T steps, C classes, n picks in all, in training order:
 *     pick         I64 [n]      row of the features (0..N-1)
 *     pick_score   F32 [n]      its score F(s) at that step (NaN for a plan)
 *     list_offset  I64 [T*C+1]  picks of step t, class c: [list_offset[t*C+c], ...+1), in the
 *                               order drawn (Plackett-Luce order)
 *     list_logp    F64 [T*C]    log pi of that list; 0 for greedy choice and plans
 *     perf         F64 [T+1]    P(M_0) .. P(M_T) = -(mean validation NLL), nats a token
 *     train_loss, lr, grad_norm   F64 [T]
 *     n_tokens     I64 [T]
 *     source       I64 [n]      record number of each pick in the dataset, for raise-export
 *     record_hash  U64 [n]      identity of each picked record's content
 * The reward of step t is perf[t+1] - perf[t]. Metadata: raise.features, raise.policy,
 * raise.dataset, raise.validation, raise.model (hashes), raise.episode, raise.seed,
 * raise.mode (sample|greedy|plan), raise.n_steps, raise.n_classes, raise.batch, raise.tau,
 * raise.repeats (0|1), raise.status ("ok" or why the episode ended); with a test set
 * raise.test_loss_before and raise.test_loss. No times: the same run gives the same bytes.
 */
#ifndef RAISE_LEARN_TRAJ_H
#define RAISE_LEARN_TRAJ_H

#include "stream/prov.h"
#include "stream/st.h"

struct traj {
    int64_t n_steps, n_classes, n_picks, batch;
    int64_t *pick;
    float *pick_score;
    int64_t *list_offset; /* [T*C+1] */
    double *list_logp;    /* [T*C] */
    double *perf;         /* [T+1] */
    double *train_loss, *lr, *grad_norm;
    int64_t *n_tokens;
    int64_t *source;
    uint64_t *record_hash;
    uint64_t features, policy, dataset, validation, model; /* hashes */
    int64_t episode;
    uint64_t seed;
    double tau;
    bool has_repeats;
    char mode[16]; /* "sample", "greedy", "plan" */
    char status[256];
    double test_loss_before, test_loss; /* mean NLL of M_0 and M_T; NaN: not measured */
    char *history;                      /* raise.history as read; owned */
};

/* Empty trajectory with room for n_steps steps and max_picks picks; n_picks 0. */
void traj_init(struct traj *t, int64_t n_steps, int64_t n_classes, int64_t max_picks);
void traj_free(struct traj *t);
int traj_write(const struct traj *t, const char *path, int flags, const struct prov *p,
               struct err *e) RAISE_MUST_CHECK;
/* Reads and checks: offsets ascend and end at n, classes and steps agree, perf is finite where
 * status is "ok". */
int traj_read(struct traj *t, const char *path, struct err *e) RAISE_MUST_CHECK;
/* The same from a message that was read already, whose kind the caller has looked at. */
int traj_from_msg(struct traj *t, const struct st_msg *m, const char *name,
                  struct err *e) RAISE_MUST_CHECK;

#endif
