/* SPDX-License-Identifier: MIT
 * plan_rds: similarity of embeddings to the validation set's; see plan_make.h.
 *
 * Round-robin: the validation rows take turns, in order, and each takes the most similar row
 * that is still free. A validation row keeps only the head of its own ranking, long enough for
 * its turns and some that others took before it; when that runs out, the head is made again,
 * twice as long. So memory is (validation rows) x (a few turns), not x N. */
#include "base/mem.h"
#include "base/rng.h"
#include "base/top.h"
#include "plan/plan_work.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SPARE_TURNS = 32 };

/* ---- mean and max ---- */

static void scores_by_mean(double *score, const struct unit_rows *u, const struct unit_rows *v)
{
    float *mean = mem_zalloc((size_t)v->stride, sizeof *mean);
    for (int64_t j = 0; j < v->stride; j++) {
        double sum = 0;
        for (int64_t k = 0; k < v->n; k++)
            sum += (double)v->x[k * v->stride + j];
        mean[j] = (float)(sum / (double)v->n);
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < u->n; i++)
        score[i] = (double)plan_dot(u->x + i * u->stride, mean, u->stride);
    free(mean);
}

static void scores_by_max(double *score, const struct unit_rows *u, const struct unit_rows *v)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < u->n; i++) {
        float best = -2;
        for (int64_t k = 0; k < v->n; k++) {
            float s = plan_dot(u->x + i * u->stride, v->x + k * v->stride, u->stride);
            best = s > best ? s : best;
        }
        score[i] = (double)best;
    }
}

/* ---- round-robin ---- */

struct queue {            /* head of one validation row's ranking */
    struct top_row *head; /* best first */
    int64_t n, at;
};

/* What a round-robin shares: rows that are taken, or have no direction; 1, or -1 where the
 * least similar are wanted. */
struct round {
    const struct unit_rows *u;
    bool *is_taken;
    double sign;
    uint64_t seed;
};

/* The `want` best free rows for v, in order. */
static void make_head(struct queue *h, int64_t want, const struct round *r, const float *v)
{
    const struct unit_rows *u = r->u;
    h->head = mem_realloc(h->head, (size_t)want, sizeof *h->head);
    h->n = h->at = 0;
    for (int64_t i = 0; i < u->n; i++) {
        if (r->is_taken[i])
            continue;
        struct top_row c = {
            .key = r->sign * (double)plan_dot(u->x + i * u->stride, v, u->stride), .row = i};
        if (h->n == want && c.key < h->head[0].key)
            continue;
        c.tie = rng_hash(r->seed, (uint64_t)i, 0, 0);
        top_offer(h->head, &h->n, want, c);
    }
    top_sort(h->head, h->n);
}

static void take_turns(struct plan_work *w, struct round *r, const struct unit_rows *v,
                       int64_t n_free)
{
    int64_t n_picks = w->n_enough < n_free ? w->n_enough : n_free;
    int64_t want = n_picks / v->n * 2 + SPARE_TURNS;
    want = want < n_free ? want : n_free;
    struct queue *queue = mem_zalloc((size_t)v->n, sizeof *queue);
#pragma omp parallel for schedule(dynamic)
    for (int64_t k = 0; k < v->n; k++)
        make_head(&queue[k], want, r, v->x + k * v->stride);
    for (int64_t k = 0; w->n_ranked < n_picks; k = (k + 1) % v->n) {
        struct queue *h = &queue[k];
        while (h->at < h->n && r->is_taken[h->head[h->at].row])
            h->at++;
        if (h->at == h->n) /* others took all of them */
            make_head(h, h->n * 2 < n_free ? h->n * 2 : n_free, r, v->x + k * v->stride);
        struct top_row c = h->head[h->at++];
        r->is_taken[c.row] = true;
        w->score[c.row] = r->sign * c.key;
        w->ranked[w->n_ranked++] = c.row;
    }
    for (int64_t k = 0; k < v->n; k++)
        free(queue[k].head);
    free(queue);
}

/* Every validation row would see the same similarity everywhere: as plan_rank_by_score has it.
 */
static bool is_constant(const struct unit_rows *u, const bool *is_left_out)
{
    const float *first = NULL;
    for (int64_t i = 0; i < u->n; i++) {
        const float *x = u->x + i * u->stride;
        if (is_left_out[i])
            continue;
        if (first && memcmp(first, x, (size_t)u->stride * sizeof *x))
            return false;
        first = x;
    }
    return true;
}

/* is_left_out becomes what is taken, too. */
static int round_robin(struct plan_work *w, const struct unit_rows *u,
                       const struct unit_rows *v, bool *is_left_out, struct err *e)
{
    struct round r = {u, is_left_out, w->q->prefer == PLAN_LOW ? -1 : 1, w->q->seed};
    int64_t n_free = u->n - w->report->n_left_out;
    if (!n_free)
        return err_set(e, ERR_EMPTY, "%s: no record has a score", w->q->method->name);
    if (n_free > 1 && is_constant(u, is_left_out))
        return err_set(e, ERR_RANGE,
                       "%s: all %" PRId64 " embeddings point the same way: there is nothing to "
                       "choose by",
                       w->q->method->name, n_free);
    take_turns(w, &r, v, n_free);
    return 0;
}

/* An embedding of zeros is like nothing and unlike nothing: such a row is left out. Owned by
 * the caller: which they are, [n]. */
static bool *leave_out_zeros(struct plan_work *w, const struct unit_rows *u)
{
    bool *is_left_out = mem_zalloc((size_t)u->n, sizeof *is_left_out);
    for (int64_t i = 0; i < u->n; i++) {
        bool is_zero = true;
        for (int64_t j = 0; is_zero && j < u->stride; j++)
            is_zero = !(fabsf(u->x[i * u->stride + j]) > 0);
        is_left_out[i] = is_zero;
        if (is_zero)
            plan_leave_out(w, i, "embedding without direction", 0);
    }
    return is_left_out;
}

/* ---- do the two belong together? ---- */

struct hashed {
    uint64_t hash;
    int64_t row;
};

static int compare_hashed(const void *a, const void *b)
{
    const struct hashed *x = a, *y = b;
    return (x->hash > y->hash) - (x->hash < y->hash);
}

/* A pool that holds validation records would be chosen for them. */
static int check_overlap(const struct features *f, const struct features *val, struct err *e)
{
    struct hashed *h = mem_alloc((size_t)val->n, sizeof *h), *found = NULL;
    int64_t i = 0;
    for (int64_t k = 0; k < val->n; k++)
        h[k] = (struct hashed){val->hash[k], k};
    qsort(h, (size_t)val->n, sizeof *h, compare_hashed);
    for (; i < f->n && !found; i++) {
        struct hashed key = {f->hash[i], 0};
        found = bsearch(&key, h, (size_t)val->n, sizeof *h, compare_hashed);
    }
    int rc = 0;
    if (found)
        rc = err_set(e, ERR_MISMATCH,
                     "record %" PRId64 " is also in the validation set, as record %" PRId64,
                     f->source[i - 1], val->source[found->row]);
    free(h);
    return rc;
}

static int check_kin(const struct features *f, const struct features *val, struct err *e)
{
    const char *a = st_msg_meta(f->msg, "raise.reduce");
    const char *b = st_msg_meta(val->msg, "raise.reduce");
    if (f->dim != val->dim)
        return err_set(e, ERR_MISMATCH,
                       "embeddings of %" PRId64 " values, of the validation set %" PRId64,
                       f->dim, val->dim);
    if (f->model && val->model && f->model != val->model)
        return err_set(e, ERR_MISMATCH,
                       "%s and %s: embeddings of two models cannot be compared",
                       st_msg_name(f->msg), st_msg_name(val->msg));
    if (f->adapter != val->adapter)
        return err_set(e, ERR_MISMATCH,
                       "%s and %s: embeddings of a model with %s adapter cannot be compared",
                       st_msg_name(f->msg), st_msg_name(val->msg),
                       f->adapter && val->adapter ? "another" : "and without an");
    if (strcmp(a ? a : "pool", b ? b : "pool"))
        return err_set(e, ERR_MISMATCH, "embeddings reduced by %s, of the validation set by %s",
                       a ? a : "pool", b ? b : "pool");
    if (a && !strcmp(a, "pca"))
        return err_set(e, ERR_MISMATCH,
                       "embeddings reduced by pca: each file has axes of its own (embed with "
                       "--reduce pool)");
    return check_overlap(f, val, e);
}

int plan_rank_rds(struct plan_work *w, struct err *e)
{
    const struct plan_request *q = w->q;
    int rc = check_kin(q->f, q->val, e);
    if (rc < 0)
        return rc;
    struct unit_rows u = plan_unit_rows(q->f, false), v = plan_unit_rows(q->val, false);
    if (q->match == PLAN_MEAN)
        scores_by_mean(w->score, &u, &v);
    else if (q->match == PLAN_MAX)
        scores_by_max(w->score, &u, &v);
    bool *is_left_out = leave_out_zeros(w, &u);
    rc = q->match == PLAN_ROUND_ROBIN ? round_robin(w, &u, &v, is_left_out, e)
                                      : plan_rank_by_score(w, e);
    free(is_left_out);
    free(u.x);
    free(v.x);
    return rc;
}
