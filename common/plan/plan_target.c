/* SPDX-License-Identifier: MIT
 * plan_target: methods that go by what a record does for the target; see plan_make.h. */
#include "base/mem.h"
#include "base/normal.h"
#include "features/relate.h"
#include "plan/plan_work.h"

#include <stdlib.h>

/* A shorter response's gain is mostly noise, which the square root of its length enlarges. */
enum { MIN_RESPONSE = 8 };

static int lacks(const struct plan_work *w, const char *column, const char *maker,
                 struct err *e)
{
    return err_set(e, ERR_MISMATCH, "%s: the features have no %s (%s)", w->q->method->name,
                   column, maker);
}

static int need_near(const struct plan_work *w, struct err *e)
{
    return w->q->f->near
               ? 0
               : lacks(w, "near", "raise-embed --target, and raise-cluster after it", e);
}

static int need_gain(const struct plan_work *w, struct err *e)
{
    return w->q->f->gain_sum ? 0 : lacks(w, "gain_sum", "raise-embed --target", e);
}

static int need_consistency(const struct plan_work *w, struct err *e)
{
    return w->q->f->consistency ? 0 : lacks(w, "consistency", "raise-cluster", e);
}

int plan_rank_near(struct plan_work *w, struct err *e)
{
    const struct features *f = w->q->f;
    int rc = need_near(w, e);
    for (int64_t i = 0; !rc && i < f->n; i++)
        w->score[i] = (double)f->near[i];
    return rc ? rc : plan_rank_by_score(w, e);
}

int plan_rank_gain(struct plan_work *w, struct err *e)
{
    const struct features *f = w->q->f;
    int rc = need_gain(w, e);
    for (int64_t i = 0; !rc && i < f->n; i++) {
        w->score[i] = features_gain_length(f, i);
        if (f->len_y[i] < MIN_RESPONSE)
            plan_leave_out(w, i, "response of less than 8 tokens", f->len_y[i]);
    }
    return rc ? rc : plan_rank_by_score(w, e);
}

int plan_rank_less(struct plan_work *w, struct err *e)
{
    const struct features *f = w->q->f;
    int rc = f->influence ? 0 : lacks(w, "influence", "raise-embed --target --influence", e);
    for (int64_t i = 0; !rc && i < f->n; i++)
        w->score[i] = (double)f->influence[i];
    return rc ? rc : plan_rank_by_score(w, e);
}

static double near_of(const struct features *f, int64_t i)
{
    return (double)f->near[i];
}

static double gain_of(const struct features *f, int64_t i)
{
    return (double)f->gain_sum[i];
}

/* What a learner begins from before any reward: the normal scores of the target's columns, each
 * with weight 1, and consistency. */
int plan_rank_prior(struct plan_work *w, struct err *e)
{
    static double (*const columns[])(const struct features *f, int64_t i) = {
        near_of, gain_of, features_gain_length, features_gain_loss};
    const struct features *f = w->q->f;
    int rc = need_near(w, e);
    rc = rc ? rc : need_gain(w, e);
    rc = rc ? rc : need_consistency(w, e);
    if (rc)
        return rc;
    double *x = mem_alloc((size_t)f->n, sizeof *x);
    float *z = mem_alloc((size_t)f->n, sizeof *z);
    for (int64_t i = 0; i < f->n; i++)
        w->score[i] = RELATE_PRIOR * (double)f->consistency[i];
    for (size_t k = 0; k < sizeof columns / sizeof *columns; k++) {
        for (int64_t i = 0; i < f->n; i++)
            x[i] = columns[k](f, i);
        normal_scores(x, f->n, z);
        for (int64_t i = 0; i < f->n; i++)
            w->score[i] += (double)z[i];
    }
    free(x);
    free(z);
    return plan_rank_by_score(w, e);
}
