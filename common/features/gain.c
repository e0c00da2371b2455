/* SPDX-License-Identifier: MIT
 * gain: a few steps on the target's records; see gain.h. */
#include "features/gain.h"

#include "base/mem.h"
#include "base/rng.h"
#include "lm/batch.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { STREAM_ORDER = 0x6761 }; /* of random numbers: a pass over the records each */

int gain_measure(struct gain *g, struct err *e)
{
    struct embed_cost cost = {0};
    const struct embed_options *o = g->how; /* its costs are the pool's: only rows count here */
    const struct dataset *d = g->target;
    int rc = embed_measure(o, d, 0, d->n_records, &cost, &g->drops, e);
    if (!rc)
        rc = example_set_make(&g->examples, o->tok, o->tmpl, d, o->max_len, o->overlong, e);
    if (rc)
        return rc;
    g->n_records = cost.n_rows;
    g->longest = cost.longest;
    for (int64_t i = 0; i < d->n_records; i++)
        g->n_tokens +=
            embed_is_scorable(&g->examples.examples[i]) ? g->examples.examples[i].n : 0;
    if (!g->n_records)
        return err_set(e, ERR_EMPTY, "%s: none of %" PRId64 " records can be scored: %s",
                       d->name, d->n_records, embed_why_text(g->drops.drop[0].why));
    return 0;
}

static void add_example(struct lm_pack *p, const struct example *x)
{
    lm_pack_add(p, x->ids, x->is_loss, x->n);
}

/* Nats a response token over all records, under the present adapter. */
static int mean_loss(const struct gain *g, struct lm *m, double *loss, struct err *e)
{
    struct lm_pack p = {0};
    double *nll = mem_alloc((size_t)g->n_records, sizeof *nll), sum = 0;
    int64_t *count = mem_alloc((size_t)g->n_records, sizeof *count), n = 0;
    int64_t n_examples = g->target->n_records;
    int rc = 0;
    for (int64_t at = 0; !rc && at < n_examples;) {
        lm_pack_clear(&p);
        for (; at < n_examples; at++) {
            const struct example *x = &g->examples.examples[at];
            if (!embed_is_scorable(x))
                continue;
            if (p.n_seqs && p.n_tokens + x->n > g->how->batch_tokens)
                break;
            add_example(&p, x);
        }
        struct lm_batch b = lm_pack_batch(&p);
        rc = p.n_seqs ? lm_nll(m, &b, nll, count, e) : 0;
        for (int64_t i = 0; !rc && i < p.n_seqs; i++) {
            sum += nll[i];
            n += count[i];
        }
    }
    lm_pack_free(&p);
    free(nll);
    free(count);
    *loss = sum / (double)(n ? n : 1);
    return rc;
}

static int embed_target(struct gain *g, struct lm *m, struct err *e)
{
    struct embed_options how = *g->how;
    struct embed_drops drops = {0}; /* named by gain_measure, or below */
    how.has_gain = false;
    how.influence = NULL;
    how.record = (struct record_choice){0};
    how.given = NULL;
    how.progress = NULL;
    embed_rows_start(&g->rows, &how);
    int rc = embed_window(m, &how, g->target, 0, g->target->n_records, &g->rows, &drops, e);
    if (!rc && g->rows.n < g->n_records)
        rc = err_set(e, ERR_NONFINITE, "%s: record %" PRId64 ": %s", g->target->name,
                     drops.drop[0].source, embed_why_text(drops.drop[0].why));
    embed_drops_free(&drops);
    return rc;
}

/* ---- the probe ---- */

/* The records that can be scored, in the order of pass k. */
static void pass_order(const struct gain *g, int64_t k, int64_t *order)
{
    struct rng r;
    int64_t n = 0;
    for (int64_t i = 0; i < g->target->n_records; i++)
        if (embed_is_scorable(&g->examples.examples[i]))
            order[n++] = i;
    rng_init(&r, g->seed, STREAM_ORDER + ((uint64_t)k << 16));
    rng_shuffle(&r, order, n);
}

static int train(struct gain *g, struct lm *m, struct err *e)
{
    int64_t *order = mem_alloc((size_t)g->n_records, sizeof *order), at = 0;
    int64_t batch = g->n_records < GAIN_BATCH ? g->n_records : GAIN_BATCH;
    struct lm_pack p = {0};
    int rc = 0;
    for (int64_t t = 1; !rc && t <= g->n_steps; t++) {
        lm_pack_clear(&p);
        for (int64_t i = 0; i < batch; i++, at++) {
            if (at % g->n_records == 0)
                pass_order(g, at / g->n_records, order);
            add_example(&p, &g->examples.examples[order[at % g->n_records]]);
        }
        struct lm_batch b = lm_pack_batch(&p);
        double factor = lm_schedule_factor(LM_CONSTANT, t, g->n_steps / 3, g->n_steps);
        rc = lm_step(m, &b, g->lr * factor, NULL, e);
        if (rc)
            err_prefix(e, "%s: step %" PRId64 " of the probe", g->target->name, t);
    }
    lm_pack_free(&p);
    free(order);
    return rc;
}

static int make_or_load(struct gain *g, struct lm *m, const char *dir, bool is_made_before,
                        struct err *e)
{
    int rc = is_made_before ? lm_load_adapter(m, dir, e) : train(g, m, e);
    if (!rc && !is_made_before)
        rc = lm_save_adapter(m, dir, NULL, e);
    if (!rc)
        rc = lm_adapter_identify(dir, &g->probe, e);
    return rc ? rc : mean_loss(g, m, &g->loss_tuned, e);
}

int gain_probe(struct gain *g, struct lm *m, const char *dir, bool is_made_before,
               struct err *e)
{
    int rc = embed_target(g, m, e);
    if (!rc)
        rc = mean_loss(g, m, &g->loss, e);
    if (!rc)
        rc = lm_adapter_fork(m, e);
    if (rc)
        return rc;
    rc = make_or_load(g, m, dir, is_made_before, e);
    lm_adapter_swap(m);
    return rc;
}

void gain_free(struct gain *g)
{
    example_set_free(&g->examples);
    embed_drops_free(&g->drops);
    embed_rows_free(&g->rows);
}
