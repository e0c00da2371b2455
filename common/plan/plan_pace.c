/* SPDX-License-Identifier: MIT
 * plan_pace: self-paced learning, from easy to hard; see plan_make.h.
 *
 * Kumar, Packer and Koller (2010) train on the records whose loss is below a threshold, which
 * rises until all of them count. A plan knows the losses before training only, and each record
 * is to come once: so step t of T draws from the t/T of the ranking with the least loss, among
 * those not drawn yet. The first step sees the easiest, the last one the whole pool. */
#include "base/mem.h"
#include "base/rng.h"
#include "plan/plan_work.h"

#include <stdlib.h>
#include <string.h>

enum { STREAM_PACE = 0x71 };

/* Rows of the ranking that step t (from 1) of n_steps may draw from. */
static int64_t n_open(int64_t n, int64_t t, int64_t n_steps)
{
    return t >= n_steps ? n : (int64_t)((double)n * (double)t / (double)n_steps);
}

static void draw_by_pace(struct plan_work *w)
{
    int64_t n = w->n_ranked, batch = w->q->batch;
    int64_t n_steps = ((w->n_wanted < n ? w->n_wanted : n) + batch - 1) / batch;
    int64_t *easy = mem_dup(w->ranked, (size_t)n * sizeof *easy); /* easiest first */
    int64_t *open = mem_alloc((size_t)n, sizeof *open), n_free = 0, at = 0;
    struct rng r;
    rng_init(&r, w->q->seed, STREAM_PACE);
    for (int64_t k = 0; k < n; k++) {
        int64_t until = n_open(n, k / batch + 1, n_steps);
        while (at < until || !n_free) /* where steps take all that is open, one more */
            open[n_free++] = easy[at++];
        int64_t i = (int64_t)rng_below(&r, (uint64_t)n_free);
        w->ranked[k] = open[i];
        open[i] = open[--n_free];
    }
    free(open);
    free(easy);
}

int plan_rank_self_paced(struct plan_work *w, struct err *e)
{
    const struct features *f = w->q->f;
    for (int64_t i = 0; i < f->n; i++)
        w->score[i] = (double)f->logp_yx[i] / f->len_y[i];
    int rc = plan_rank_by_score(w, e);
    if (!rc)
        draw_by_pace(w);
    return rc;
}
