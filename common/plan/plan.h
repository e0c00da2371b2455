/* SPDX-License-Identifier: MIT
 *
 * plan: a fixed selection, what shall happen in an episode. How one is made: plan_make.h.
 *
 * File kind "plan"; T steps, n picks in all, in training order:
 *     pick         I64 [n]      row of the features (0..N-1)
 *     pick_score   F32 [n]      the method's score of it; NaN: it has none
 *     step_offset  I64 [T+1]    picks of step t
 *     source       I64 [n]      record number of each pick in the dataset, for raise-export
 *     record_hash  U64 [n]      identity of each picked record's content
 * Metadata: raise.features, raise.dataset (hashes), raise.method.
 */
#ifndef RAISE_PLAN_PLAN_H
#define RAISE_PLAN_PLAN_H

#include "stream/prov.h"
#include "stream/st.h"

struct plan {
    int64_t n_steps, n_picks;
    int64_t *pick;
    float *pick_score;
    int64_t *step_offset; /* [T+1] */
    int64_t *source;
    uint64_t *record_hash;
    uint64_t features, dataset;
    char method[64];
    char *history;
};
void plan_init(struct plan *p, int64_t n_steps, int64_t n_picks);
void plan_free(struct plan *p);
int plan_write(const struct plan *p, const char *path, int flags, const struct prov *prov,
               struct err *e) RAISE_MUST_CHECK;
int plan_read(struct plan *p, const char *path, struct err *e) RAISE_MUST_CHECK;
int plan_from_msg(struct plan *p, const struct st_msg *m, const char *name,
                  struct err *e) RAISE_MUST_CHECK;

#endif
