/* SPDX-License-Identifier: MIT
 * best: the best of several episodes, as a plan; see best.h. */
#include "learn/best.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int check_pair(const struct traj *a, const struct traj *b, const char *name_a,
                      const char *name_b, struct err *e)
{
    const char *what = traj_differ(a, b);
    if (what)
        return err_set(e, ERR_MISMATCH, "%s and %s: episodes with other %s cannot be compared",
                       name_a, name_b, what);
    if (a->n_steps != b->n_steps || a->n_picks != b->n_picks)
        return err_set(e, ERR_MISMATCH,
                       "%s and %s: %" PRId64 " records in %" PRId64 " steps, and %" PRId64
                       " in %" PRId64,
                       name_a, name_b, a->n_picks, a->n_steps, b->n_picks, b->n_steps);
    return 0;
}

int64_t best_episode(const struct traj *t, const char *const *names, int64_t n, struct err *e)
{
    int64_t best = -1;
    for (int64_t k = 0; k < n; k++) {
        if (!traj_is_ok(&t[k]))
            continue;
        int rc = best < 0 ? 0 : check_pair(&t[best], &t[k], names[best], names[k], e);
        if (rc < 0)
            return rc;
        if (best < 0 || t[k].perf[t[k].n_steps] > t[best].perf[t[best].n_steps])
            best = k;
    }
    if (best < 0)
        return err_set(e, ERR_EMPTY, "none of the %" PRId64 " episodes ended well", n);
    return best;
}

void best_plan(struct plan *p, const struct traj *t)
{
    size_t n = (size_t)t->n_picks;
    plan_init(p, t->n_steps, t->n_picks);
    memcpy(p->pick, t->pick, n * sizeof *p->pick);
    memcpy(p->source, t->source, n * sizeof *p->source);
    memcpy(p->record_hash, t->record_hash, n * sizeof *p->record_hash);
    for (int64_t k = 0; k < t->n_picks; k++)
        p->pick_score[k] = NAN;
    for (int64_t s = 0; s <= t->n_steps; s++)
        p->step_offset[s] = t->list_offset[s * t->n_classes];
    p->features = t->features;
    p->dataset = t->dataset;
    snprintf(p->method, sizeof p->method, "best-of");
}
