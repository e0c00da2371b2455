/* SPDX-License-Identifier: MIT
 * policy: making one, and asking it; see policy.h. */
#include "policy/policy.h"

#include "base/mem.h"
#include "policy/policy_body.h"

#include <stdlib.h>
#include <string.h>

void policy_free(struct policy *p)
{
    if (!p)
        return;
    if (p->self) {
        if (p->learner->unplace)
            p->learner->unplace(p);
        st_table_free(p->learner->table, p->self);
    }
    free(p->self);
    state_free(&p->state);
    free(p->history);
    free(p);
}

static int make(struct policy *p, const struct features *f, const struct policy_options *o,
                struct err *e)
{
    const struct learner *l = p->learner;
    const void *own = o->own ? o->own : l->defaults;
    int rc = state_init(&p->state, state_columns(), f, o->parts, o->needed, e);
    if (rc)
        return rc;
    if (!p->state.parts || (l->needs_columns && !p->state.n_static))
        return err_set(e, ERR_RANGE, "no part of the state is left to score by");
    p->self = mem_zalloc(1, l->self_size);
    l->size(p, own);
    st_table_alloc(l->table, p->self);
    rc = l->place ? l->place(p, e) : 0;
    return rc ? rc : l->init(p, f, own, o->seed, e);
}

struct policy *policy_new(const struct features *f, const struct policy_options *o,
                          struct err *e)
{
    struct policy *p = mem_zalloc(1, sizeof *p);
    p->learner = o->learner;
    p->features = f->id;
    if (!make(p, f, o, e))
        return p;
    policy_free(p);
    return NULL;
}

/* Are the numbers of phi the same of both? */
static bool has_same_columns(const struct state *a, const struct state *b)
{
    bool is_same = a->n_static == b->n_static;
    for (int64_t k = 0; k < a->n_static && is_same; k++) {
        char *x = state_phi_name(a, k), *y = state_phi_name(b, k);
        is_same = !strcmp(x, y);
        free(x);
        free(y);
    }
    return is_same;
}

int policy_start(struct policy *p, const struct policy *from, const struct features *f,
                 struct err *e)
{
    if (!p->learner->start)
        return err_set(e, ERR_UNSUPPORTED, "learner %s cannot start from another policy",
                       p->learner->name);
    if (!from->learner->weights)
        return err_set(e, ERR_UNSUPPORTED, "learner %s has no weights to start from",
                       from->learner->name);
    if (from->features != p->features || f->id != p->features)
        return err_set(e, ERR_MISMATCH, "was made for other features");
    if (!has_same_columns(&from->state, &p->state))
        return err_set(e, ERR_MISMATCH, "was made with other parts of the state");
    size_t n = (size_t)p->state.n_static;
    double *w = mem_alloc(n, sizeof *w), *se = mem_alloc(n, sizeof *se);
    double spread = from->learner->weights(from, w, se, NULL);
    p->learner->start(p, f, w, spread);
    free(w);
    free(se);
    return 0;
}

int policy_bind(struct policy *p, const struct features *f, struct err *e)
{
    if (p->features != f->id)
        return err_set(e, ERR_MISMATCH, "the policy was made for other features");
    return state_bind(&p->state, f, e);
}

uint64_t policy_features(const struct policy *p)
{
    return p->features;
}

const struct learner *policy_learner(const struct policy *p)
{
    return p->learner;
}

const struct state *policy_state(const struct policy *p)
{
    return &p->state;
}

int64_t policy_iteration(const struct policy *p)
{
    return p->iteration;
}

const char *policy_history(const struct policy *p)
{
    return p->history;
}

bool policy_picks_best(const struct policy *p)
{
    return p->learner->picks_best && p->learner->picks_best(p);
}

int policy_score(const struct policy *p, const struct features *f, const struct policy_stage *s,
                 const uint16_t *counts, bool is_deployed, uint64_t seed, float *scores,
                 struct err *e)
{
    if (f->id != p->features || !p->state.is_bound)
        return err_set(e, ERR_MISMATCH, "the policy was made for other features");
    return p->learner->score(p, f, s, counts, is_deployed, seed, scores, e);
}
