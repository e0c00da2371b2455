/* SPDX-License-Identifier: MIT
 *
 * plan: a fixed selection, what shall happen in an episode. How one is made: plan_make.h.
 *
 * File kind "plan" (raise-stream(5)); T steps, n picks in all, in training order.
 */
#ifndef RAISE_PLAN_PLAN_H
#define RAISE_PLAN_PLAN_H

#include "plan/picks.h"
#include "stream/prov.h"

struct plan {
    int64_t n_steps, n_picks; /* T, n */
    int64_t *pick;            /* [n] row of the features */
    float *pick_score;        /* [n] the method's score of it; NaN: it has none */
    int64_t *source;          /* [n] record number of each pick in the dataset */
    uint64_t *record_hash;    /* [n] identity of each picked record's content */
    int64_t *step_offset;     /* [T + 1] picks of step t: [step_offset[t], step_offset[t+1]) */
    uint64_t features, dataset;
    uint64_t id; /* identity of the file's stream; 0: made here */
    char method[64];
    char *history; /* raise.history as read; owned */
};
extern const struct st_table plan_table;

void plan_init(struct plan *p, int64_t n_steps, int64_t n_picks);
void plan_free(struct plan *p);
int plan_write(const struct plan *p, const char *path, int flags, const struct prov *prov,
               struct err *e) RAISE_MUST_CHECK;
/* Reads and checks: every step has picks, offsets fit, no row or record is negative. */
int plan_read(struct plan *p, const char *path, struct err *e) RAISE_MUST_CHECK;
/* The same from a message whose kind the caller has looked at; errors name st_msg_name(m). */
int plan_from_msg(struct plan *p, const struct st_msg *m, struct err *e) RAISE_MUST_CHECK;

#endif
