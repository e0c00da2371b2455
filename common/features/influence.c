/* SPDX-License-Identifier: MIT
 * influence: LESS without projection; see influence.h. */
#include "features/influence.h"

#include "base/mem.h"
#include "base/rng.h"
#include "features/embed.h"
#include "lm/batch.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STREAM_SHARE = 0x6c65, STREAM_PASS = 0x6c66 }; /* of random numbers */

static int encode(const struct influence *f, const struct dataset *d, struct example_set *s,
                  struct err *e)
{
    const struct embed_options *o = f->how;
    return example_set_make(s, o->tok, o->tmpl, d, o->max_len, o->overlong, e);
}

static void add_example(struct lm_pack *p, const struct example *x)
{
    lm_pack_add(p, x->ids, x->is_loss, x->n);
}

/* ---- warming up ---- */

/* A seeded share of the pool, as a dataset that borrows its records. */
static struct dataset share_of(const struct influence *f)
{
    struct dataset d = *f->pool;
    int64_t n = (d.n_records + INFLUENCE_SHARE - 1) / INFLUENCE_SHARE, n_taken = 0;
    struct rng r;
    d.records = mem_alloc((size_t)n, sizeof *d.records);
    rng_init(&r, f->seed, STREAM_SHARE);
    for (int64_t i = 0; n_taken < n; i++) /* selection sampling (Knuth 3.4.2 S) */
        if ((int64_t)rng_below(&r, (uint64_t)(d.n_records - i)) < n - n_taken)
            d.records[n_taken++] = f->pool->records[i];
    d.n_records = n;
    return d;
}

/* Steps t + 1 ... of pass k over the examples in `order` [n]; the mean rate to *rate. */
static int run_epoch(struct influence *f, struct lm *m, const struct example_set *s,
                     int64_t *order, int64_t n, int64_t k, double *rate, struct err *e)
{
    struct lm_pack p = {0};
    struct rng r;
    int64_t n_steps = (n + INFLUENCE_BATCH - 1) / INFLUENCE_BATCH, all = n_steps * f->n_epochs;
    int rc = 0;
    *rate = 0;
    rng_init(&r, f->seed, STREAM_PASS + ((uint64_t)k << 16));
    rng_shuffle(&r, order, n);
    for (int64_t t = 0; !rc && t < n_steps; t++) {
        double lr = f->lr * lm_schedule_factor(LM_LINEAR, k * n_steps + t + 1, all / 10, all);
        lm_pack_clear(&p);
        for (int64_t i = t * INFLUENCE_BATCH; i < n && i < (t + 1) * INFLUENCE_BATCH; i++)
            add_example(&p, &s->examples[order[i]]);
        struct lm_batch b = lm_pack_batch(&p);
        rc = lm_step(m, &b, lr, NULL, e);
        if (rc)
            err_prefix(e, "warm-up: epoch %" PRId64 ", step %" PRId64, k + 1, t + 1);
        *rate += lr / (double)n_steps;
    }
    lm_pack_free(&p);
    return rc;
}

/* u_e: the mean of the target records' gradients, each of length 1. */
static int find_direction(const struct influence *f, struct lm *m, const struct example_set *s,
                          float *u, struct err *e)
{
    int64_t n_values = lm_n_values(m), n = 0;
    struct lm_pack p = {0};
    float *g = mem_alloc((size_t)n_values, sizeof *g);
    double *sum = mem_zalloc((size_t)n_values, sizeof *sum);
    int rc = 0;
    for (int64_t i = 0; !rc && i < f->target->n_records; i++) {
        struct lm_step_stats stats;
        if (!embed_is_scorable(&s->examples[i]))
            continue;
        lm_pack_clear(&p);
        add_example(&p, &s->examples[i]);
        struct lm_batch b = lm_pack_batch(&p);
        rc = lm_gradient(m, &b, &stats, e);
        if (rc) {
            dataset_name_record(e, f->target, i);
            break;
        }
        lm_gradient_get(m, g);
        double scale = stats.grad_norm > 0 ? 1 / stats.grad_norm : 0;
        for (int64_t k = 0; k < n_values; k++)
            sum[k] += (double)g[k] * scale;
        n++;
    }
    if (!rc && !n)
        rc = err_set(e, ERR_EMPTY, "%s: no record can be scored", f->target->name);
    for (int64_t k = 0; !rc && k < n_values; k++)
        u[k] = (float)(sum[k] / (double)n);
    lm_pack_free(&p);
    free(g);
    free(sum);
    return rc;
}

static int warm_up(struct influence *f, struct lm *m, const struct example_set *pool,
                   const struct example_set *target, struct err *e)
{
    int64_t *order = mem_alloc((size_t)pool->n_examples + 1, sizeof *order), n = 0;
    double sum = 0;
    int rc = 0;
    for (int64_t i = 0; i < pool->n_examples; i++)
        if (embed_is_scorable(&pool->examples[i]))
            order[n++] = i;
    f->n_warm = n;
    if (!n)
        rc = err_set(e, ERR_EMPTY, "%s: no record of the warm-up can be scored", f->pool->name);
    for (int64_t k = 0; !rc && k < f->n_epochs; k++) {
        rc = run_epoch(f, m, pool, order, n, k, &f->weight[k], e);
        sum += f->weight[k];
        lm_state_get(m, &f->state[k]);
        if (!rc)
            rc = find_direction(f, m, target, f->direction[k], e);
    }
    for (int64_t k = 0; k < f->n_epochs; k++)
        f->weight[k] /= sum > 0 ? sum : 1;
    free(order);
    return rc;
}

static int make(struct influence *f, struct lm *m, struct err *e)
{
    struct dataset share = share_of(f);
    struct example_set pool = {0}, target = {0};
    int rc = encode(f, &share, &pool, e);
    if (!rc)
        rc = encode(f, f->target, &target, e);
    if (!rc)
        rc = warm_up(f, m, &pool, &target, e);
    example_set_free(&pool);
    example_set_free(&target);
    free(share.records);
    return rc;
}

/* ---- kept beside the part ---- */

/* What an epoch is: names of tensors, and where their values are. */
enum { N_KEPT = 4 };
static void list_epoch(const struct influence *f, int64_t k, char names[N_KEPT][32],
                       float *data[N_KEPT])
{
    static const char *const stems[N_KEPT] = {"values", "moment1", "moment2", "direction"};
    float *const at[N_KEPT] = {f->state[k].values, f->state[k].moment1, f->state[k].moment2,
                               f->direction[k]};
    for (int i = 0; i < N_KEPT; i++) {
        snprintf(names[i], 32, "%s.%" PRId64, stems[i], k);
        data[i] = at[i];
    }
}

static struct st_msg *kept_msg(const struct influence *f, int64_t n_values)
{
    struct st_msg *m = st_msg_new();
    int64_t steps[1];
    for (int64_t k = 0; k < f->n_epochs; k++) {
        char names[N_KEPT][32], name[32];
        float *data[N_KEPT];
        list_epoch(f, k, names, data);
        for (int i = 0; i < N_KEPT; i++)
            st_msg_add(m, names[i], ST_F32, 1, &n_values, data[i]);
        snprintf(name, sizeof name, "steps.%" PRId64, k);
        steps[0] = f->state[k].n_steps;
        st_msg_add_copy(m, name, ST_I64, 1, (int64_t[]){1}, steps);
    }
    st_msg_add(m, "weight", ST_F64, 1, &f->n_epochs, f->weight);
    return m;
}

static int load(struct influence *f, const char *path, int64_t n_values, struct err *e)
{
    struct st_msg *m = st_read(path, NULL, e);
    const struct st_tensor *t = NULL;
    if (!m)
        return e->code;
    for (int64_t k = 0; k < f->n_epochs; k++) {
        char names[N_KEPT][32], name[32];
        float *data[N_KEPT];
        list_epoch(f, k, names, data);
        for (int i = 0; i < N_KEPT; i++) {
            if (!(t = st_msg_need(m, names[i], ST_F32, 1, &n_values, e)))
                goto out;
            memcpy(data[i], t->data, t->len);
        }
        snprintf(name, sizeof name, "steps.%" PRId64, k);
        if (!(t = st_msg_need(m, name, ST_I64, 1, (int64_t[]){1}, e)))
            goto out;
        memcpy(&f->state[k].n_steps, t->data, sizeof f->state[k].n_steps);
    }
    if ((t = st_msg_need(m, "weight", ST_F64, 1, &f->n_epochs, e)))
        memcpy(f->weight, t->data, t->len);
out:
    st_msg_free(m);
    return t ? 0 : e->code;
}

/* ---- entry ---- */

/* The model as it is, without what an earlier training left in AdamW. */
static void start(struct influence *f, struct lm *m)
{
    size_t bytes = (size_t)lm_n_values(m) * sizeof(float), n = (size_t)f->n_epochs;
    lm_state_get(m, &f->base);
    memset(f->base.moment1, 0, bytes);
    memset(f->base.moment2, 0, bytes);
    f->base.n_steps = 0;
    lm_state_set(m, &f->base);
    f->state = mem_zalloc(n, sizeof *f->state);
    f->direction = mem_zalloc(n, sizeof *f->direction);
    f->weight = mem_zalloc(n, sizeof *f->weight);
    for (size_t k = 0; k < n; k++) {
        lm_state_get(m, &f->state[k]);
        f->direction[k] = mem_aligned(bytes);
    }
}

int influence_prepare(struct influence *f, struct lm *m, const char *path, bool is_made_before,
                      struct err *e)
{
    int64_t n_values = lm_n_values(m);
    if (!n_values || f->n_epochs < 1)
        return err_set(e, ERR_RANGE, "influence: %" PRId64 " epochs of %" PRId64 " parameters",
                       f->n_epochs, n_values);
    start(f, m);
    int rc = is_made_before ? load(f, path, n_values, e) : make(f, m, e);
    lm_state_set(m, &f->base);
    if (rc)
        return rc;
    struct st_msg *kept = kept_msg(f, n_values);
    f->hash = st_msg_hash(kept);
    if (path && !is_made_before)
        rc = st_write(path, ST_PLAIN, kept, e);
    st_msg_free(kept);
    return rc;
}

static int add_epoch(const struct influence *f, struct lm *m, int64_t k,
                     const struct example *x, int64_t n, double *value, struct err *e)
{
    struct lm_pack p = {0};
    double length = 0;
    int rc = 0;
    for (int64_t j = 0; j < lm_n_values(m); j++)
        length += (double)f->direction[k][j] * (double)f->direction[k][j];
    length = sqrt(length);
    for (int64_t i = 0; !rc && i < n; i++) {
        double dot, norm;
        if (!embed_is_scorable(&x[i]))
            continue;
        lm_pack_clear(&p);
        add_example(&p, &x[i]);
        struct lm_batch b = lm_pack_batch(&p);
        struct lm_step_stats stats;
        rc = lm_gradient(m, &b, &stats, e);
        if (!rc)
            rc = lm_adam_along(m, &f->state[k], f->direction[k], &dot, &norm);
        if (rc == ERR_NONFINITE)
            value[i] = (double)NAN;
        else if (!rc && norm > 0 && length > 0)
            value[i] += f->weight[k] * dot / (norm * length);
        rc = rc == ERR_NONFINITE ? 0 : rc;
        if (!rc && f->how->progress)
            f->how->progress(f->how->progress_arg, x[i].n);
    }
    lm_pack_free(&p);
    return rc;
}

int influence_of(const struct influence *f, struct lm *m, const struct example *x, int64_t n,
                 double *value, struct err *e)
{
    int rc = 0;
    memset(value, 0, (size_t)n * sizeof *value);
    for (int64_t k = 0; !rc && k < f->n_epochs; k++) {
        lm_state_set(m, &f->state[k]);
        rc = add_epoch(f, m, k, x, n, value, e);
    }
    lm_state_set(m, &f->base);
    return rc;
}

void influence_free(struct influence *f)
{
    for (int64_t k = 0; k < f->n_epochs && f->state; k++) {
        lm_state_free(&f->state[k]);
        free(f->direction[k]);
    }
    lm_state_free(&f->base);
    free(f->state);
    free(f->direction);
    free(f->weight);
    f->state = NULL;
    f->direction = NULL;
    f->weight = NULL;
}
