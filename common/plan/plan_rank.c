/* SPDX-License-Identifier: MIT
 * plan_rank: what the methods share; see plan_work.h. */
#include "base/mem.h"
#include "base/rng.h"
#include "base/top.h"
#include "plan/plan_work.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

void plan_leave_out(struct plan_work *w, int64_t row, const char *why, double value)
{
    struct plan_report *r = w->report;
    MEM_GROW(r->left_out, w->left_out_cap, r->n_left_out + 1);
    r->left_out[r->n_left_out++] = (struct plan_left_out){row, why, value};
    w->score[row] = (double)NAN;
}

int plan_rank_by_score(struct plan_work *w, struct err *e)
{
    const struct plan_request *q = w->q;
    struct top_row *place = mem_alloc((size_t)q->f->n, sizeof *place);
    int64_t n = 0;
    for (int64_t i = 0; i < q->f->n; i++) {
        if (isnan(w->score[i]))
            continue;
        place[n++] = (struct top_row){q->prefer == PLAN_LOW ? -w->score[i] : w->score[i],
                                      rng_hash(q->seed, (uint64_t)i, 0, 0), i};
    }
    top_sort(place, n);
    int rc = 0;
    if (!n)
        rc = err_set(e, ERR_EMPTY, "%s: no record has a score", q->method->name);
    else if (n > 1 && !(place[0].key > place[n - 1].key))
        rc = err_set(e, ERR_RANGE,
                     "%s: all %" PRId64 " scores are %g: there is nothing to choose by",
                     q->method->name, n, w->score[place[0].row]);
    for (int64_t k = 0; k < n; k++)
        w->ranked[k] = place[k].row;
    w->n_ranked = n;
    free(place);
    return rc;
}
