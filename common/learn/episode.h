/* SPDX-License-Identifier: MIT
 *
 * episode: T fine-tuning steps, each on a batch that a policy chooses or a plan lists.
 *
 * Step t: score all rows by the policy, draw a batch class by class, one optimiser step on it,
 * the validation loss. What happened goes into a trajectory. The model stands at M_0 before and
 * at M_T after. Only the records of the present batch are tokenised.
 *
 *     struct episode k = {.lm = m, .tok = tok, .tmpl = tmpl, .pool = &pool, .features = &f,
 *                         .record_of = rows, .policy = p, .validation = &val, ...};
 *     struct traj t;
 *     int rc = episode_run(&k, &t, &e);        // t: owned by the caller, also on failure
 *
 * Errors name the step and the records: "step 3: pool.json:44: record 43: ...".
 */
#ifndef RAISE_LEARN_EPISODE_H
#define RAISE_LEARN_EPISODE_H

#include "learn/traj.h"
#include "lm/batch.h"
#include "plan/plan.h"
#include "policy/policy.h"
#include "policy/select.h"
#include "text/example.h"

/* Records encoded once, for a loss that is measured again and again. */
struct episode_set {
    const struct dataset *data; /* borrowed */
    struct lm_pack pack;
    int64_t *record; /* [pack.n_seqs] index into data->records */
    int64_t n_cut;
    int64_t *dropped; /* [n_dropped] no response token left within max_len */
    int64_t n_dropped;
    int64_t longest, n_targets;
    uint64_t hash;     /* identity: xxh64 over the hashes of the records used, in order */
    uint64_t encoding; /* of what the model sees of them: xxh64 over the sequences' tokens and
                        * which of them count */
};
/* is_cut: longer records are cut to max_len tokens, else they are an error. ERR_EMPTY when no
 * record is left. */
int episode_set_make(struct episode_set *s, const struct dataset *d, const struct tok *tok,
                     const struct tmpl *tmpl, int64_t max_len, bool is_cut,
                     struct err *e) RAISE_MUST_CHECK;
void episode_set_free(struct episode_set *s);
/* Mean NLL over the set's response tokens. A loss that is not finite names its record. */
int episode_set_loss(struct lm *m, const struct episode_set *s, double *loss,
                     struct err *e) RAISE_MUST_CHECK;

/* Index into d->records of every row of f, by source number; checks hashes. [f->n], owned by
 * the caller. NULL: the first row without its record is named. */
int64_t *episode_map_rows(const struct features *f, const struct dataset *d,
                          struct err *e) RAISE_MUST_CHECK;

struct episode_step { /* what the progress callback gets */
    int64_t t, n_steps;
    double train_loss, val_loss, reward, lr, grad_norm, seconds;
    double epoch; /* records trained on so far, of the pool's rows */
    int64_t n_tokens;
};

/* Where an episode stands still now and then, to go on after a kill (checkpoint.h). */
struct episode_saving {
    const char *path; /* the file; the caller removes it once the trajectory is written */
    uint64_t run;     /* of this very run: of all that changes what a step does */
    int64_t every_steps;
    double every_seconds; /* 0: by steps */
    /* After a checkpoint of n_done steps was written or taken up, or (why) could not be. */
    void (*on_saved)(void *arg, int64_t n_done, bool is_taken_up, const struct err *why);
};

struct episode {
    struct lm *lm;
    const struct tok *tok;
    const struct tmpl *tmpl;
    int64_t max_len;
    bool is_cut; /* records longer than max_len are cut, else an error */
    const struct dataset *pool;
    const struct features *features;
    const int64_t *record_of; /* episode_map_rows() */
    const struct policy *policy;
    const struct plan *plan; /* instead of a policy */
    const struct episode_set *validation;
    const double *untrained; /* the validation loss before the first step; NULL: is measured */
    int64_t n_steps, batch;
    double tau;
    /* is_deployed: by what the policy believes best. Where it has weights, that is one list,
     * the best T B rows of the pool in an order that the seed shuffles (select_best), unless
     * is_drawn, is_greedy or has_repeats asks for a choice step by step. Not deployed, a policy
     * that takes its best rows itself (policy_picks_best) draws none. */
    bool is_greedy, is_deployed, is_drawn, has_repeats;
    double lr;
    int64_t n_warmup;
    enum lm_schedule schedule;
    uint64_t seed; /* of this episode's choices */
    /* After each step; also with t = 0 for the loss before the first. May be NULL. */
    void (*on_step)(void *arg, const struct episode_step *s);
    void *arg;
    const struct episode_saving *saving; /* NULL: none */
    int64_t n_cut;                       /* out: picks that were cut */
    struct err ended;                    /* out: why it diverged; code 0: it did not */
};

/* Does a step take its share out of each class? A plan and a list that is deployed know none.
 */
bool episode_has_quotas(const struct episode *k);

/* A step whose loss or gradient is not finite, or after which the validation loss is not, ends
 * the episode; that is an outcome, not an error: 0, t->status says so (traj_end), and k->ended
 * names the batch's lines too. A validation loss that is not finite before the first
 * step is an error: no choice could mend it.
 *
 * With `saving`, a checkpoint of this run that is there is taken up: the model must stand at
 * M_0, on_step hears of the steps that are done in no time, and the rest has the same bytes as
 * if it had never stopped. One that cannot be read or is another run's is begun anew.
 *
 * Fills *t with steps, picks, losses, features, policy, dataset, validation and model hashes,
 * mode, tau, status and history; episode number and seed are the caller's. */
int episode_run(struct episode *k, struct traj *t, struct err *e) RAISE_MUST_CHECK;

#endif
