/* SPDX-License-Identifier: MIT
 *
 * influence: LESS (Xia et al. 2024), exactly: how far a step on a record would move the model
 * the way that the target's records would.
 *
 * The model is warmed up on a share of the pool for some epochs. At the end of each epoch e,
 * with parameters and AdamW's moments as they then are,
 *
 *     influence_i = sum_e w_e cos(x_ie, u_e)
 *
 * x_ie is the gradient of record i's mean loss as AdamW would apply it (lm_adam_along), u_e the
 * mean of the target records' gradients, each scaled to length 1, and w_e the epoch's mean
 * learning rate, as a share of their sum. LESS projects gradients to some thousands of random
 * directions to store them; here the target's side is one vector an epoch, so nothing needs to
 * be stored and nothing is projected. It costs a forward and a backward pass for every record
 * and epoch.
 *
 *     struct influence f = {.pool = &data, .target = &target, .how = &how, ...};
 *     rc = influence_prepare(&f, lm, path, false, &e);  // lm opened for LoRA; left as it was
 *     how.influence = &f;                               // embed_window fills the column
 *     influence_free(&f);
 */
#ifndef RAISE_FEATURES_INFLUENCE_H
#define RAISE_FEATURES_INFLUENCE_H

#include "data/dataset.h"
#include "lm/lm.h"
#include "text/example.h"

enum {
    INFLUENCE_BATCH = 32,
    INFLUENCE_SHARE = 20
}; /* records a step; a twentieth of the pool */

struct embed_options;
struct influence {
    /* the caller's, borrowed */
    const struct dataset *pool; /* whole, so that every shard warms up on the same records */
    const struct dataset *target;
    const struct embed_options *how;
    int64_t n_epochs;
    double lr;     /* linear warm-up over a tenth of the steps, then linear to 0 */
    uint64_t seed; /* of the records that are warmed up on, and of their order */
    /* found by influence_prepare; owned */
    struct lm_state base;   /* as the model was */
    struct lm_state *state; /* [n_epochs] */
    float **direction;      /* [n_epochs][lm_n_values] u_e */
    double *weight;         /* [n_epochs] w_e */
    int64_t n_warm;         /* records warmed up on */
    uint64_t hash;          /* identity of states and directions (st_msg_hash) */
};

/* Warms up and finds the directions; saves them in `path` (NULL: nowhere), or with
 * is_made_before reads them from there. ERR_EMPTY: no record of the target or of the pool's
 * share can be scored. */
int influence_prepare(struct influence *f, struct lm *m, const char *path, bool is_made_before,
                      struct err *e) RAISE_MUST_CHECK;
/* value [n] (written): of n examples; those that cannot be scored: 0; one whose gradient is not
 * finite: NaN. The model is in its base state before and after. */
int influence_of(const struct influence *f, struct lm *m, const struct example *x, int64_t n,
                 double *value, struct err *e) RAISE_MUST_CHECK;
void influence_free(struct influence *f);

#endif
