/* SPDX-License-Identifier: MIT
 * plan_make: the simple methods, and from a ranking to a plan; see plan_make.h. */
#include "plan/plan_make.h"

#include "base/mem.h"
#include "base/rng.h"
#include "plan/plan_work.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Streams of random numbers, so that no two uses share one. */
enum { STREAM_RANDOM = 0x70, STREAM_PASS = 0x7000 };

void plan_report_free(struct plan_report *r)
{
    if (!r)
        return;
    free(r->left_out);
    *r = (struct plan_report){0};
}

/* ---- ranking ---- */

static int rank_random(struct plan_work *w, struct err *e)
{
    struct rng r;
    (void)e;
    w->n_ranked = w->q->f->n;
    for (int64_t i = 0; i < w->n_ranked; i++)
        w->ranked[i] = i;
    rng_init(&r, w->q->seed, STREAM_RANDOM);
    rng_shuffle(&r, w->ranked, w->n_ranked);
    return 0;
}

static int rank_ifd(struct plan_work *w, struct err *e)
{
    const struct features *f = w->q->f;
    for (int64_t i = 0; i < f->n; i++) {
        double ifd = exp(((double)f->logp_y[i] - (double)f->logp_yx[i]) / f->len_y[i]);
        w->score[i] = ifd;
        if (!isfinite(ifd))
            plan_leave_out(w, i, "IFD is not a number", ifd);
        else if (ifd > 1)
            plan_leave_out(w, i, "IFD above 1", ifd);
    }
    return plan_rank_by_score(w, e);
}

static int rank_loss(struct plan_work *w, struct err *e)
{
    const struct features *f = w->q->f;
    for (int64_t i = 0; i < f->n; i++)
        w->score[i] = -(double)f->logp_yx[i] / f->len_y[i];
    return plan_rank_by_score(w, e);
}

static int rank_length(struct plan_work *w, struct err *e)
{
    for (int64_t i = 0; i < w->q->f->n; i++)
        w->score[i] = w->q->f->len_y[i];
    return plan_rank_by_score(w, e);
}

static const struct plan_method methods[] = {
    {"random", "uniform, without replacement", 0, false, rank_random},
    {"full", "all records, for --epochs of them", PLAN_NEEDS_EPOCHS, false, rank_random},
    {"ifd", "instruction-following difficulty, highest first", 0, false, rank_ifd},
    {"rds", "most similar to the validation set (RDS+)", PLAN_NEEDS_VAL, false, plan_rank_rds},
    {"loss", "highest loss of the response first", 0, false, rank_loss},
    {"self-paced", "from a growing part of the pool, easiest first", 0, true,
     plan_rank_self_paced},
    {"length", "longest response first", 0, false, rank_length},
    {"near", "embedding nearest to one of the target's", 0, false, plan_rank_near},
    {"gain", "most gained by steps on the target, for its length", 0, false, plan_rank_gain},
    {"less", "gradient most like the target's (LESS)", 0, false, plan_rank_less},
    {"prior", "near, gains and consistency together", 0, false, plan_rank_prior},
    {"scores", "highest number in a field of the dataset first", PLAN_NEEDS_FIELD, false,
     plan_rank_field},
    {"deita", "highest product of two fields: complexity, quality (DEITA)", PLAN_NEEDS_FIELD,
     false, plan_rank_product},
    {"alpagasus", "highest rating in a field, of at least 4.5 (AlpaGasus)", PLAN_NEEDS_FIELD,
     false, plan_rank_rating},
    {"only", "a list of record numbers, in its order", PLAN_NEEDS_LIST, true, plan_rank_list},
    {"best-of", "what the best of several episodes was trained on", PLAN_NEEDS_EPISODES, true,
     NULL},
    {NULL, NULL, 0, false, NULL},
};

const struct plan_method *plan_methods(void)
{
    return methods;
}

const struct plan_method *plan_method_find(const char *name)
{
    for (const struct plan_method *m = methods; m->name; m++)
        if (!strcmp(m->name, name))
            return m;
    return NULL;
}

/* ---- from a ranking to a plan ---- */

/* Rows that the plan draws from, the first of the ranking; of what that makes: w->n_picks. */
static int64_t pool_size(struct plan_work *w, struct err *e)
{
    const struct plan_request *q = w->q;
    bool takes_all = !q->n_top && (q->epochs > 0 || q->has_repeats);
    int64_t n = takes_all && w->n_wanted > w->n_ranked ? w->n_ranked : w->n_wanted;
    if (n > w->n_ranked)
        return err_set(e, ERR_RANGE,
                       "%s: %" PRId64 " records wanted, %" PRId64 " of %" PRId64
                       " can be chosen",
                       q->method->name, n, w->n_ranked, q->f->n);
    if (q->epochs > 0)
        w->n_picks = llround(q->epochs * (double)n);
    else if (n < w->n_picks && !q->has_repeats)
        return err_set(e, ERR_RANGE,
                       "%s: %" PRId64 " steps of %" PRId64 " need %" PRId64
                       " records, there are %" PRId64 " (allow repeats?)",
                       q->method->name, q->n_steps, q->batch, w->n_picks, n);
    if (w->n_picks < 1)
        return err_set(e, ERR_RANGE, "%s: %g epochs of %" PRId64 " records are none",
                       q->method->name, q->epochs, n);
    return n;
}

/* Passes over the pool, each in an order of its own. */
static void fill(struct plan *p, const struct plan_work *w, int64_t n_pool)
{
    const struct plan_request *q = w->q;
    bool is_shuffled =
        q->order == PLAN_SHUFFLED || (q->order == PLAN_AUTO && !q->method->keeps_order);
    int64_t *pass = mem_alloc((size_t)n_pool, sizeof *pass), n = p->n_picks;
    for (int64_t at = 0; at < n; at += n_pool) {
        memcpy(pass, w->ranked, (size_t)n_pool * sizeof *pass);
        if (is_shuffled) {
            struct rng r;
            rng_init(&r, q->seed, STREAM_PASS + (uint64_t)(at / n_pool));
            rng_shuffle(&r, pass, n_pool);
        }
        memcpy(p->pick + at, pass, (size_t)(n - at < n_pool ? n - at : n_pool) * sizeof *pass);
    }
    free(pass);
    for (int64_t k = 0; k < n; k++) {
        p->pick_score[k] = (float)w->score[p->pick[k]];
        p->source[k] = q->f->source[p->pick[k]];
        p->record_hash[k] = q->f->hash[p->pick[k]];
    }
    for (int64_t t = 0; t <= p->n_steps; t++) /* the last step takes what is left */
        p->step_offset[t] = t < p->n_steps ? t * q->batch : n;
    p->features = q->f->id;
    p->dataset = q->f->dataset;
    snprintf(p->method, sizeof p->method, "%s", q->method->name);
}

static void report_scores(const struct plan_work *w, int64_t n_pool)
{
    struct plan_report *r = w->report;
    r->n_ranked = w->n_ranked;
    r->n_used = n_pool < w->n_picks ? n_pool : w->n_picks;
    r->best = r->worst = w->score[w->ranked[0]];
    for (int64_t k = 0; k < n_pool; k++) {
        double s = w->score[w->ranked[k]];
        r->best = s > r->best ? s : r->best;
        r->worst = s < r->worst ? s : r->worst;
    }
}

static int check_request(const struct plan_request *q, struct err *e)
{
    int64_t n_picks, most = INT64_C(1) << 40;
    if (!q->method->rank)
        return err_set(e, ERR_UNSUPPORTED, "%s: chooses by no features", q->method->name);
    if (q->n_steps < 1 || q->batch < 1 || q->n_top < 0 ||
        __builtin_mul_overflow(q->n_steps, q->batch, &n_picks) || n_picks > most)
        return err_set(e, ERR_RANGE, "%" PRId64 " steps of %" PRId64 " records", q->n_steps,
                       q->batch);
    if (!(q->epochs >= 0) || q->epochs * (double)q->f->n > (double)most)
        return err_set(e, ERR_RANGE, "%g epochs", q->epochs);
    if (!(q->epochs > 0) && q->method->needs & PLAN_NEEDS_EPOCHS)
        return err_set(e, ERR_RANGE, "%s: no epochs", q->method->name);
    return 0;
}

static int compare_left_out(const void *a, const void *b)
{
    const struct plan_left_out *x = a, *y = b;
    return (x->row > y->row) - (x->row < y->row);
}

int plan_make(struct plan *p, struct plan_report *r, const struct plan_request *q,
              struct err *e)
{
    size_t n = (size_t)q->f->n;
    *p = (struct plan){0};
    *r = (struct plan_report){0};
    int rc = check_request(q, e);
    if (rc < 0)
        return rc;
    struct plan_work w = {.q = q, .report = r, .n_picks = q->n_steps * q->batch};
    w.n_wanted = q->n_top ? q->n_top : q->epochs > 0 ? q->f->n : w.n_picks;
    w.n_enough = q->max_cosine > 0 ? q->f->n : w.n_wanted;
    w.score = mem_alloc(n, sizeof *w.score);
    w.ranked = mem_alloc(n, sizeof *w.ranked);
    for (size_t i = 0; i < n; i++)
        w.score[i] = (double)NAN;
    rc = q->method->rank(&w, e);
    if (!rc && q->max_cosine > 0)
        plan_keep_diverse(&w);
    if (r->n_left_out)
        qsort(r->left_out, (size_t)r->n_left_out, sizeof *r->left_out, compare_left_out);
    int64_t n_pool = rc < 0 ? rc : pool_size(&w, e);
    if (n_pool > 0) {
        plan_init(p, (w.n_picks + q->batch - 1) / q->batch, w.n_picks);
        fill(p, &w, n_pool);
        report_scores(&w, n_pool);
    }
    free(w.score);
    free(w.ranked);
    return n_pool < 0 ? (int)n_pool : 0;
}
