/* SPDX-License-Identifier: MIT
 * target: --target and --influence of raise-embed, in words; see target.h. */
#include "target.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "reading.h"

#include <inttypes.h>
#include <string.h>

void target_check(const struct target_options *o)
{
    if (o->has_influence && !o->path)
        opt_misuse("--influence needs a --target");
    for (const char *line = o->path; line;) {
        const char *end = strchr(line, '\n');
        if (*line == '-' && (!line[1] || line[1] == '\n'))
            opt_misuse("--target: a file, as it is read beside the dataset");
        line = end ? end + 1 : NULL;
    }
}

/* ---- before the model ---- */

/* Records of the pool that are the target's as well would look better than they are. */
static void warn_of_overlap(const struct target *t, const struct dataset *pool)
{
    int64_t first, n = dataset_count_overlap(pool, &t->data, &first);
    if (n)
        log_warn("%" PRId64 " records of %s are records of the target %s, too (the first: "
                 "record %" PRId64 ")",
                 n, pool->name, t->data.name, (int64_t)pool->records[first].source);
}

int target_read(struct target *t, const struct dataset *pool, const struct data_options *how,
                struct err *e)
{
    struct data_options want = *how;
    if (!t->o->path)
        return 0;
    want.limit = t->o->limit;
    want.is_sampled = true;
    int rc = reading_one(&t->data, t->o->path, &want, e);
    if (!rc && !t->data.n_records)
        rc = err_set(e, ERR_EMPTY, "%s: no records", t->data.name);
    if (!rc)
        warn_of_overlap(t, pool);
    return rc;
}

void target_begin(struct target *t, struct embed_run *job, uint64_t seed)
{
    const struct target_options *o = t->o;
    if (!o->path)
        return;
    t->probe = (struct probe){.target = &t->data,
                              .target_limit = o->limit,
                              .n_steps = o->n_steps,
                              .lr = o->lr,
                              .has_influence = o->has_influence,
                              .n_epochs = o->n_epochs,
                              .influence_lr = o->influence_lr,
                              .seed = seed};
    probe_begin(&t->probe, job);
}

int target_measure(struct target *t, struct err *e)
{
    struct gain *g = &t->probe.gain;
    char all[32], steps[32];
    int rc = t->o->path ? gain_measure(g, e) : 0;
    if (rc || !t->o->path)
        return rc;
    for (size_t i = 0; i < g->drops.n; i++)
        log_warn("%s:%" PRId64 ": record %" PRId64 ": %s", t->data.name, g->drops.drop[i].line,
                 g->drops.drop[i].source, embed_why_text(g->drops.drop[i].why));
    int64_t batch = g->n_records < GAIN_BATCH ? g->n_records : GAIN_BATCH;
    log_note(
        "target: %" PRId64 " records; %" PRId64 " steps of %" PRId64
        " (about %s tokens, forward and backward), then %s tokens to score, responses twice",
        g->n_records, g->n_steps, batch,
        text_count(steps,
                   (double)(g->n_steps * batch) * (double)g->n_tokens / (double)g->n_records),
        text_count(all, (double)t->probe.job->cost.n_tokens));
    return 0;
}

int target_plan(const struct target *t, const char *model, struct lm_options *lo,
                struct session_need *need, struct err *e)
{
    if (!t->o->path)
        return 0;
    need->what = t->o->has_influence ? "rows, the adapter's other state and its warm-up"
                                     : "rows and the adapter's other state";
    return probe_plan(&t->probe, model, lo, &need->bytes, e);
}

/* ---- with it ---- */

struct work {
    struct log_bar bar;
    double done;
    struct lm *lm;
};

static void on_work(void *arg, double n_tokens)
{
    struct work *w = arg;
    w->done += n_tokens;
    log_bar_set(&w->bar, w->done);
}

static void begin_work(struct work *w, struct lm *m, const char *what, double n_tokens)
{
    w->lm = m;
    log_bar_start(&w->bar, what, "tokens", n_tokens);
    lm_on_work(m, on_work, w);
}

static void end_work(struct work *w)
{
    lm_on_work(w->lm, NULL, NULL);
    log_bar_work(&w->bar, 1, 1);
    log_bar_end(&w->bar);
}

/* Tokens gone through: the records' embeddings, their loss before and after, the steps between.
 */
static double probe_tokens(const struct probe *p, const struct lm *m)
{
    const struct gain *g = &p->gain;
    int64_t batch = g->n_records < GAIN_BATCH ? g->n_records : GAIN_BATCH;
    double n = (double)g->n_tokens, steps = (double)(g->n_steps * batch) / (double)g->n_records;
    return 3 * n + (p->is_made_before ? 0 : steps * n * lm_step_passes(m));
}

/* Each epoch: the pool's share, and the target's records. */
static double warm_up_tokens(const struct probe *p, const struct lm *m)
{
    const struct embed_run *job = p->job;
    double passes = 2 + (double)p->n_epochs; /* as cost.n_tokens counts, and a little more */
    double pool =
        (double)job->cost.n_tokens / passes * (double)job->data->n_records / (double)job->n;
    return (double)p->n_epochs * lm_step_passes(m) *
           (pool / INFLUENCE_SHARE + (double)p->gain.n_tokens);
}

/* A loss that is no number comes of the options. */
static int blame(const char *options, int rc, struct err *e)
{
    struct err why = *e;
    return rc == ERR_NONFINITE ? err_set(e, rc, "%s (%s)", why.msg, options) : rc;
}

static int make_probe(struct probe *p, struct lm *m, struct err *e)
{
    const struct gain *g = &p->gain;
    struct work w = {0};
    begin_work(&w, m, "target", probe_tokens(p, m));
    int rc = blame("--target-lr, --target-steps", probe_make(p, m, e), e);
    end_work(&w);
    if (rc)
        return rc;
    log_note("target: loss %.4f before the probe's steps, %.4f after%s", g->loss, g->loss_tuned,
             p->is_made_before ? " (made before)" : "");
    if (g->loss_tuned < g->loss)
        return 0;
    return err_set(e, ERR_RANGE,
                   "%s: the probe made the loss on the target's own records no better: %.4f "
                   "before, %.4f after %" PRId64 " steps at a rate of %g (--target-lr, "
                   "--target-steps)",
                   p->target->name, g->loss, g->loss_tuned, g->n_steps, g->lr);
}

int target_make(struct target *t, struct lm *m, struct err *e)
{
    struct probe *p = &t->probe;
    if (!t->o->path)
        return 0;
    int rc = probe_place(p, e);
    if (!rc)
        rc = make_probe(p, m, e);
    if (rc || !p->has_influence)
        return rc;
    log_note("influence: %" PRId64 " epochs of warm-up on a twentieth of %" PRId64
             " records%s, then a gradient of every record for each",
             p->n_epochs, p->job->data->n_records, p->is_warm_before ? " (made before)" : "");
    struct work w = {0};
    if (p->is_warm_before)
        return probe_warm_up(p, m, e);
    begin_work(&w, m, "warm-up", warm_up_tokens(p, m));
    rc = blame("--influence-lr", probe_warm_up(p, m, e), e);
    end_work(&w);
    return rc;
}

/* ---- what others are told ---- */

char *target_parameters(const struct target *t)
{
    return t->o->path ? probe_parameters(&t->probe) : mem_strdup("");
}

void target_add_inputs(const struct target *t, struct prov *p)
{
    if (!t->o->path)
        return;
    dataset_add_inputs(&t->data, p);
    prov_add_input(p, "probe", t->probe.gain.probe);
    if (t->o->has_influence)
        prov_add_input(p, "warm-up", t->probe.influence.hash);
}

void target_free(struct target *t)
{
    probe_free(&t->probe);
    dataset_free(&t->data);
}
