/* SPDX-License-Identifier: MIT
 * raise-rollout: one episode: choose, train, measure, T times; writes its trajectory.
 *
 * All checks that need no training come first: do the files belong together, does validation
 * or test share a record with the pool, does it fit into memory. What the options ask for
 * besides (adapter, model, metrics) is written before the trajectory, so that a trajectory is
 * the sign that the rest is there too. */
#include "base/cpu.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/rng.h"
#include "learn/episode.h"
#include "learn/learners.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct options {
    struct opt_common common;
    const char *features, *policy, *plan, *model, *adapter, *data, *validation, *test;
    const char *template, *device, *lora_targets, *metrics, *adapter_dir, *model_dir;
    int64_t n_steps, batch, n_warmup, episode, n_shown;
    int64_t max_length, val_limit, test_limit, micro_tokens, lora_rank;
    double tau, lr, lora_alpha, weight_decay, clip;
    int schedule, precision, overlong, on_error;
    bool is_greedy, is_deployed, has_repeats, is_full, is_forced, has_recompute;
    unsigned targets; /* from lora_targets */
};

static const char *const schedule_names[] = {"constant", "linear", "cosine", NULL};
static const char *const overlong_names[] = {"cut", "fail", NULL};
static const char *const on_error_names[] = {"fail", "skip", NULL};
static const char *const precision_names[] = {"auto", "fp32", "bf16", NULL};

#define O(field) offsetof(struct options, field)
static const struct opt table[] = {
    {0, NULL, OPT_HEADING, 0, NULL, "Input", 0, 0, NULL},
    {'f', "features", OPT_STRING, O(features), "FILE", "features, with classes", 0, 0, NULL},
    {'p', "policy", OPT_STRING, O(policy), "FILE", "the policy that chooses", 0, 0, NULL},
    {0, "plan", OPT_STRING, O(plan), "FILE", "train on a fixed plan instead", 0, 0, NULL},
    {'m', "model", OPT_STRING, O(model), "MODEL", "Hugging Face folder or .gguf file", 0, 0,
     NULL},
    {0, "adapter", OPT_STRING, O(adapter), "DIR", "PEFT adapter to start from", 0, 0, NULL},
    {'d', "data", OPT_STRING, O(data), "FILE", "the dataset of the features", 0, 0, NULL},
    {0, "val", OPT_STRING, O(validation), "FILE", "validation set: the target", 0, 0, NULL},
    {0, "val-limit", OPT_INT, O(val_limit), "N", "use a seeded sample of N; 0: all", 0, 1e15,
     NULL},
    {0, "test", OPT_STRING, O(test), "FILE", "test set, measured before and after", 0, 0, NULL},
    {0, "test-limit", OPT_INT, O(test_limit), "N", "use the first N; 0: all", 0, 1e15, NULL},
    {0, "template", OPT_STRING, O(template), "NAME", "prompt template, or a file", 0, 0, NULL},
    {0, "max-length", OPT_INT, O(max_length), "N", "tokens a record; 0: the model's positions",
     0, 1 << 24, NULL},
    {0, "overlong", OPT_CHOICE, O(overlong), "HOW", "records that are longer", 0, 0,
     overlong_names},
    {0, "on-error", OPT_CHOICE, O(on_error), "HOW", "bad validation and test records", 0, 0,
     on_error_names},
    {0, NULL, OPT_HEADING, 0, NULL, "Choice", 0, 0, NULL},
    {0, "steps", OPT_INT, O(n_steps), "T", "steps; 0: the plan's, else 10", 0, 1e9, NULL},
    {'b', "batch", OPT_INT, O(batch), "B", "records a step", 1, 1e6, NULL},
    {0, "tau", OPT_REAL, O(tau), "X", "temperature of the draw", 1e-6, 1e6, NULL},
    {0, "deploy", OPT_FLAG, O(is_deployed), NULL, "the policy's mean, not one draw of it", 0, 0,
     NULL},
    {0, "greedy", OPT_FLAG, O(is_greedy), NULL, "the highest scores, no draw", 0, 0, NULL},
    {0, "repeats", OPT_FLAG, O(has_repeats), NULL, "records may be chosen again", 0, 0, NULL},
    {'k', "episode", OPT_INT, O(episode), "K", "number of the episode: its random numbers", 0,
     1e15, NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "Training", 0, 0, NULL},
    {0, "lr", OPT_REAL, O(lr), "X", "learning rate", 0, 1e30, NULL},
    {0, "warmup", OPT_INT, O(n_warmup), "N", "steps of linear warm-up; -1: a third", -1, 1e9,
     NULL},
    {0, "schedule", OPT_CHOICE, O(schedule), "HOW", "after the warm-up", 0, 0, schedule_names},
    {0, "lora-rank", OPT_INT, O(lora_rank), "R", "rank of the adapters", 1, 4096, NULL},
    {0, "lora-alpha", OPT_REAL, O(lora_alpha), "X", "their scale; 0: twice the rank", 0, 1e6,
     NULL},
    {0, "lora-targets", OPT_STRING, O(lora_targets), "LIST", "of q,k,v,o,gate,up,down; or all",
     0, 0, NULL},
    {0, "full", OPT_FLAG, O(is_full), NULL, "tune all weights, no adapters", 0, 0, NULL},
    {0, "weight-decay", OPT_REAL, O(weight_decay), "X", "AdamW's, of matrices", 0, 1e3, NULL},
    {0, "clip", OPT_REAL, O(clip), "X", "largest gradient norm; 0: any", 0, 1e9, NULL},
    {0, "micro-batch", OPT_INT, O(micro_tokens), "N",
     "tokens worked on at once; 0: 4096 on a CPU, 16384 on a GPU", 0, 1 << 24, NULL},
    {0, "recompute", OPT_FLAG, O(has_recompute), NULL, "less memory, a third more work", 0, 0,
     NULL},
    {0, "precision", OPT_CHOICE, O(precision), "P", "arithmetic", 0, 0, precision_names},
    {0, "device", OPT_STRING, O(device), "DEVICE", "auto, cpu or cuda[:N]", 0, 0, NULL},
    {0, "force", OPT_FLAG, O(is_forced), NULL, "start even if memory seems too small", 0, 0,
     NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "Output", 0, 0, NULL},
    {0, "show", OPT_INT, O(n_shown), "N", "print N records as the model sees them, and exit", 0,
     1e9, NULL},
    {0, "metrics", OPT_STRING, O(metrics), "CSV", "one row a step", 0, 0, NULL},
    {0, "save-adapter", OPT_STRING, O(adapter_dir), "DIR", "write the adapter (PEFT)", 0, 0,
     NULL},
    {0, "save-model", OPT_STRING, O(model_dir), "DIR", "write the model (Hugging Face)", 0, 0,
     NULL},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};

static const struct opt_spec spec = {
    .program = "raise-rollout",
    .usage = "-f FEATURES -p POLICY -m MODEL -d DATASET --val VALIDATION [options]\n"
             "       raise-rollout --show N -m MODEL -d DATASET [--template NAME]",
    .summary = "An episode of fine-tuning on what a policy chooses; writes its trajectory.",
    .common = "otusp",
    .common_offset = O(common),
    .table = table,
    .min_args = 0,
    .max_args = 0,
};

struct run {
    const struct options *o;
    struct lm_config config;
    int64_t max_len;
    struct tok *tok;
    struct tmpl *tmpl;
    struct features features;
    struct policy *policy;
    struct plan plan;
    struct dataset pool, val_data, test_data;
    struct episode_set validation, test;
    int64_t *record_of;
    struct lm *lm;
    struct episode episode;
    struct traj traj;
    double test_before, test_after; /* NaN without --test */
    struct outfile *metrics;
    struct err metrics_err; /* of the callback */
    struct log_bar bar;
    double n_tokens, train_seconds;
    int64_t micro_tokens; /* as last said */
};

/* ---- encoding ---- */

static int open_encoding(struct run *r, struct err *e)
{
    const struct options *o = r->o;
    int rc = lm_config_read(&r->config, o->model, e);
    if (rc)
        return rc;
    r->max_len = o->max_length ? o->max_length : r->config.max_positions;
    if (r->max_len > r->config.max_positions)
        return err_set(e, ERR_RANGE,
                       "--max-length %" PRId64 ": the model has %" PRId64 " positions",
                       r->max_len, r->config.max_positions);
    r->tmpl = tmpl_load(o->template, e);
    r->tok = r->tmpl ? tok_load(o->model, e) : NULL;
    if (!r->tok)
        return e->code;
    char *foreign = example_foreign_markers(r->tok, r->tmpl);
    if (foreign)
        log_warn("template %s: %s: no tokens of %s, so the model sees them as plain text",
                 tmpl_name(r->tmpl), foreign, o->model);
    free(foreign);
    if (tok_n_vocab(r->tok) > r->config.n_vocab)
        return err_set(e, ERR_MISMATCH,
                       "%s: the tokenizer has %" PRId64 " tokens, the model %" PRId64, o->model,
                       tok_n_vocab(r->tok), r->config.n_vocab);
    return 0;
}

static int show_records(struct run *r, struct err *e)
{
    const struct options *o = r->o;
    struct data_options want = {.limit = o->n_shown,
                                .on_error = (enum data_on_error)o->on_error};
    int rc = dataset_read(&r->pool, o->data, &want, e);
    for (int64_t i = 0; !rc && i < r->pool.n_records; i++) {
        const struct data_record *d = &r->pool.records[i];
        struct example x = {0};
        struct buf text = {0};
        int made = example_make(r->tok, r->tmpl, d, r->max_len,
                                o->overlong ? EXAMPLE_FAIL : EXAMPLE_CUT, &x, e);
        if (made < 0)
            return err_prefix(e, "%s:%" PRId64 ": record %" PRId64, r->pool.name, d->line,
                              d->source);
        buf_printf(&text, "%s:%" PRId64 ": record %" PRId64 ": ", r->pool.name, d->line,
                   d->source);
        if (!made)
            buf_printf(&text, "no token of its response is within %" PRId64 " tokens\n",
                       r->max_len);
        else
            buf_printf(&text, "%d prompt and %d response tokens%s\n", (int)x.n_prompt,
                       (int)x.n_response, x.is_cut ? ", cut" : "");
        if (made)
            example_show(r->tok, &x, &text);
        fwrite(text.data, 1, text.len, stdout);
        putchar('\n');
        buf_free(&text);
        example_free(&x);
    }
    return rc;
}

/* ---- inputs, and whether they belong together ---- */

static int read_choice(struct run *r, struct err *e)
{
    const struct options *o = r->o;
    const struct features *f = &r->features;
    int rc = features_read(&r->features, o->features, e);
    if (rc)
        return rc;
    if (o->plan) {
        rc = plan_read(&r->plan, o->plan, e);
        if (!rc && r->plan.features != f->id)
            rc = err_set(e, ERR_MISMATCH, "%s: made for other features than %s", o->plan,
                         o->features);
        for (int64_t i = 0; !rc && i < r->plan.n_picks; i++)
            if (r->plan.pick[i] < 0 || r->plan.pick[i] >= f->n)
                rc = err_set(e, ERR_RANGE, "%s: pick %" PRId64 ": row %" PRId64 " of %" PRId64,
                             o->plan, i, r->plan.pick[i], f->n);
        return rc;
    }
    r->policy = policy_read(o->policy, learners(), e);
    if (!r->policy)
        return e->code;
    if (policy_features(r->policy) != f->id)
        return err_set(e, ERR_MISMATCH, "%s: made for other features than %s", o->policy,
                       o->features);
    rc = policy_bind(r->policy, f, e);
    return rc ? err_prefix(e, "%s", o->policy) : 0;
}

static int read_pool(struct run *r, struct err *e)
{
    const struct options *o = r->o;
    const struct features *f = &r->features;
    struct data_options want = {.on_error = DATA_SKIP}; /* the rows say which records count */
    int rc = dataset_read(&r->pool, o->data, &want, e);
    if (rc)
        return rc;
    if (f->dataset && f->dataset != r->pool.hash)
        return err_set(e, ERR_MISMATCH, "%s: not the dataset that %s was made from",
                       r->pool.name, o->features);
    r->record_of = episode_map_rows(f, &r->pool, e);
    if (!r->record_of)
        return e->code;
    const char *name = st_msg_meta(f->msg, "raise.template");
    if (name && strcmp(name, tmpl_name(r->tmpl)) != 0)
        log_warn("%s was made with template %s, training is with %s", o->features, name,
                 tmpl_name(r->tmpl));
    return 0;
}

/* Validation and test must not share a record with the pool or with each other. */
static int refuse_overlap(const struct dataset *a, const struct dataset *b, struct err *e)
{
    int64_t j, i = dataset_overlap(a, b, &j);
    if (i < 0)
        return 0;
    return err_set(e, ERR_MISMATCH,
                   "%s:%" PRId64 ": record %" PRId64 ": is also %s:%" PRId64
                   ": record %" PRId64,
                   a->name, a->records[i].line, a->records[i].source, b->name,
                   b->records[j].line, b->records[j].source);
}

static int read_set(struct run *r, const char *path, const struct data_options *want,
                    struct dataset *d, struct episode_set *s, struct err *e)
{
    int rc = dataset_read(d, path, want, e);
    if (rc)
        return rc;
    for (int64_t i = 0; i < d->n_problems; i++)
        log_warn("%s:%" PRId64 ": record %" PRId64 ": skipped: %s", d->name,
                 d->problems[i].line, d->problems[i].source, d->problems[i].why);
    rc = refuse_overlap(d, &r->pool, e);
    if (!rc)
        rc = episode_set_make(s, d, r->tok, r->tmpl, r->max_len, !r->o->overlong, e);
    if (rc)
        return rc;
    if (s->n_cut)
        log_warn("%s: %" PRId64 " records cut to %" PRId64 " tokens", d->name, s->n_cut,
                 r->max_len);
    for (int64_t i = 0; i < s->n_dropped; i++)
        log_warn("%s:%" PRId64 ": record %" PRId64
                 ": left out: no token of its response is within %" PRId64 " tokens",
                 d->name, d->records[s->dropped[i]].line, d->records[s->dropped[i]].source,
                 r->max_len);
    log_detail("%s: %" PRId64 " records, %" PRId64 " response tokens", d->name, s->pack.n_seqs,
               s->n_targets);
    return 0;
}

static int read_sets(struct run *r, struct err *e)
{
    const struct options *o = r->o;
    struct data_options val = {.on_error = (enum data_on_error)o->on_error,
                               .limit = o->val_limit,
                               .is_sampled = true,
                               .seed = o->common.seed};
    struct data_options test = {.on_error = val.on_error, .limit = o->test_limit};
    int rc = read_set(r, o->validation, &val, &r->val_data, &r->validation, e);
    if (rc || !o->test)
        return rc;
    rc = read_set(r, o->test, &test, &r->test_data, &r->test, e);
    return rc ? rc : refuse_overlap(&r->test_data, &r->val_data, e);
}

static int set_steps(struct run *r, struct err *e)
{
    const struct options *o = r->o;
    struct episode *k = &r->episode;
    k->n_steps = o->n_steps ? o->n_steps : o->plan ? r->plan.n_steps : 10;
    if (o->plan && k->n_steps > r->plan.n_steps)
        return err_set(e, ERR_RANGE, "%s: has %" PRId64 " steps, --steps asks for %" PRId64,
                       o->plan, r->plan.n_steps, k->n_steps);
    if (!o->plan && r->features.n < o->batch)
        return err_set(e, ERR_RANGE, "%s: %" PRId64 " rows are fewer than a batch of %" PRId64,
                       o->features, r->features.n, o->batch);
    if (!o->plan && !o->has_repeats && r->features.n / o->batch < k->n_steps)
        log_warn("%s: %" PRId64 " rows for %" PRId64 " steps of %" PRId64
                 ": when all are used, the choice begins anew",
                 o->features, r->features.n, k->n_steps, o->batch);
    k->n_warmup = o->n_warmup >= 0 ? o->n_warmup : k->n_steps / 3;
    return 0;
}

/* ---- memory and model ---- */

static int64_t longest_sequence(const struct run *r)
{
    const struct features *f = &r->features;
    int64_t longest = r->validation.longest;
    if (r->test.longest > longest)
        longest = r->test.longest;
    for (int64_t i = 0; i < f->n; i++)
        if ((int64_t)f->len_x[i] + f->len_y[i] > longest)
            longest = (int64_t)f->len_x[i] + f->len_y[i];
    return longest < r->max_len ? longest : r->max_len;
}

static struct lm_options model_options(const struct run *r)
{
    const struct options *o = r->o;
    struct lm_options lo = LM_OPTIONS_DEFAULTS;
    lo.precision = (enum lm_precision)o->precision;
    lo.device = o->device;
    lo.recompute = o->has_recompute;
    lo.tuning = o->is_full ? LM_TUNE_FULL : LM_TUNE_LORA;
    lo.lora_rank = o->lora_rank;
    lo.lora_alpha = o->lora_alpha > 0 ? o->lora_alpha : 2 * (double)o->lora_rank;
    lo.lora_targets = o->targets;
    lo.seed = o->common.seed;
    lo.micro_tokens = o->micro_tokens;
    lo.longest = longest_sequence(r);
    lo.weight_decay = o->weight_decay;
    lo.clip = o->clip;
    return lo;
}

/* Says what will be taken; refuses what does not fit. */
static int plan_memory(const struct run *r, struct lm_options *lo, struct err *e)
{
    struct lm_memory p;
    int rc = lm_plan(r->o->model, lo, &p, e);
    if (rc)
        return rc;
    lo->micro_tokens = p.micro_tokens;
    if (p.device_note[0])
        (p.is_warning ? log_warn : log_detail)("the CPU is used: %s", p.device_note);
    /* Beside the model: what the choice needs, in the host's memory. */
    int64_t own = r->features.n * 12, need = p.total + (p.is_gpu ? 0 : own);
    int64_t host = mem_available_bytes();
    char a[32], b[32], c[32], *model = lm_memory_text(&p);
    log_note("memory: %s, choice %s: %s; %s available%s", model, log_bytes(a, own),
             log_bytes(b, need), log_bytes(c, p.available), p.is_gpu ? " on the GPU" : "");
    free(model);
    if (p.micro_tokens < p.wanted_tokens)
        log_warn("micro-batch of %" PRId64 " tokens does not fit: %" PRId64 " instead",
                 p.wanted_tokens, p.micro_tokens);
    if (p.available && need > p.available && !r->o->is_forced)
        return err_set(e, ERR_MEMORY,
                       "needs %s of memory and %s are available: lower --micro-batch or "
                       "--max-length (longest record: %" PRId64
                       " tokens), --recompute, or --force",
                       b, c, lo->longest);
    if (p.is_gpu && host && p.host + own > host && !r->o->is_forced)
        return err_set(e, ERR_MEMORY,
                       "needs %s of the host's memory and %s are available (--force)",
                       log_bytes(b, p.host + own), log_bytes(c, host));
    return 0;
}

static int open_model(struct run *r, struct err *e)
{
    const struct options *o = r->o;
    struct lm_options lo = model_options(r);
    int rc = plan_memory(r, &lo, e);
    if (rc)
        return rc;
    r->lm = lm_open(o->model, &lo, e);
    if (!r->lm)
        return e->code;
    r->micro_tokens = lm_micro_tokens(r->lm);
    log_detail("%s: %s%s, %" PRId64 " trainable parameters", o->model, lm_arith_path(r->lm),
               cpu_was_reexecuted() ? ", OpenBLAS kernel set by re-execution" : "",
               lm_n_trainable(r->lm));
    if (r->features.model && r->features.model != lm_hash(r->lm))
        log_detail("%s: made by another model than %s", o->features, o->model);
    return o->adapter ? lm_load_adapter(r->lm, o->adapter, e) : 0;
}

/* ---- metrics ---- */

static void put_number(struct buf *b, double v, bool is_there)
{
    if (is_there)
        buf_printf(b, ",%.17g", v);
    else
        buf_putc(b, ',');
}

static void on_step(void *arg, const struct episode_step *s)
{
    struct run *r = arg;
    struct buf b = {0};
    bool is_last = s->t == s->n_steps;
    r->n_tokens += (double)s->n_tokens;
    r->train_seconds += s->seconds;
    if (lm_micro_tokens(r->lm) < r->micro_tokens)
        log_warn("out of memory: micro-batches of %" PRId64 " tokens from here on",
                 lm_micro_tokens(r->lm));
    r->micro_tokens = lm_micro_tokens(r->lm);
    if (s->t == 0)
        log_bar_start(&r->bar, "episode", "steps", (double)s->n_steps);
    log_bar_set(&r->bar, (double)s->t);
    log_detail("step %" PRId64 ": train %.4f, validation %.4f, reward %+.4f, %.1f s", s->t,
               s->train_loss, s->val_loss, s->reward, s->seconds);
    if (is_last) {
        log_bar_end(&r->bar);
        struct err e = ERR_INIT;
        if (r->o->test && episode_set_loss(r->lm, &r->test, &r->test_after, &e) < 0)
            r->metrics_err = e;
    }
    if (!r->metrics)
        return;
    double test = s->t ? r->test_after : r->test_before;
    buf_printf(&b, "%" PRId64, s->t);
    put_number(&b, s->train_loss, s->t > 0);
    put_number(&b, s->val_loss, true);
    put_number(&b, s->reward, s->t > 0);
    put_number(&b, s->lr, s->t > 0);
    put_number(&b, s->grad_norm, s->t > 0);
    buf_printf(&b, ",%" PRId64, s->n_tokens);
    put_number(&b, s->seconds, true);
    put_number(&b, test, isfinite(test) && (s->t == 0 || is_last));
    buf_putc(&b, '\n');
    if (!r->metrics_err.code)
        (void)!outfile_write(r->metrics, b.data, b.len, &r->metrics_err);
    buf_free(&b);
}

static int open_metrics(struct run *r, struct err *e)
{
    static const char head[] =
        "step,train_loss,val_loss,reward,lr,grad_norm,tokens,seconds,test_loss\n";
    if (!r->o->metrics)
        return 0;
    r->metrics = outfile_open(r->o->metrics, e);
    return r->metrics ? outfile_write(r->metrics, head, strlen(head), e) : e->code;
}

/* ---- the work ---- */

static int run_episode(struct run *r, struct err *e)
{
    const struct options *o = r->o;
    struct episode *k = &r->episode;
    k->lm = r->lm;
    k->tok = r->tok;
    k->tmpl = r->tmpl;
    k->max_len = r->max_len;
    k->is_cut = !o->overlong;
    k->pool = &r->pool;
    k->features = &r->features;
    k->record_of = r->record_of;
    k->policy = r->policy;
    k->plan = o->plan ? &r->plan : NULL;
    k->validation = &r->validation;
    k->batch = o->batch;
    k->tau = o->tau;
    k->is_greedy = o->is_greedy;
    k->is_deployed = o->is_deployed;
    k->has_repeats = o->has_repeats;
    k->lr = o->lr;
    k->schedule = (enum lm_schedule)o->schedule;
    k->seed = rng_hash(o->common.seed, (uint64_t)o->episode, 0, 0);
    k->on_step = on_step;
    k->arg = r;
    int rc = o->test ? episode_set_loss(r->lm, &r->test, &r->test_before, e) : 0;
    if (!rc)
        rc = episode_run(k, &r->traj, e);
    if (!rc && r->metrics_err.code) {
        *e = r->metrics_err;
        rc = e->code;
    }
    return rc;
}

static void add_input(struct prov *p, const char *path, uint64_t hash)
{
    if (path)
        prov_add_input(p, path, hash);
}

static struct prov *provenance(const struct run *r, int argc, char **argv)
{
    const struct options *o = r->o;
    uint64_t plan_hash = 0;
    if (o->common.no_provenance)
        return NULL;
    char *args = opt_command_line(argc, argv);
    struct prov *p = prov_new(spec.program, args, o->common.seed);
    free(args);
    prov_set_path(p, lm_arith_path(r->lm));
    add_input(p, o->features, r->features.id);
    if (o->plan && !file_is_std(o->plan) && file_hash(o->plan, &plan_hash, NULL) == 0)
        add_input(p, o->plan, plan_hash);
    if (r->policy)
        add_input(p, o->policy, policy_id(r->policy));
    add_input(p, o->model, lm_hash(r->lm));
    add_input(p, o->data, r->pool.hash);
    add_input(p, o->validation, r->val_data.hash);
    add_input(p, o->test, r->test_data.hash);
    return p;
}

static int write_results(struct run *r, int argc, char **argv, struct err *e)
{
    const struct options *o = r->o;
    int rc = 0;
    if (o->adapter_dir)
        rc = lm_save_adapter(r->lm, o->adapter_dir, o->model, e);
    if (!rc && o->model_dir)
        rc = lm_save_model(r->lm, o->model_dir, o->model, e);
    if (!rc && r->metrics) {
        rc = outfile_commit(r->metrics, e);
        r->metrics = NULL;
    }
    if (rc)
        return rc;
    struct prov *p = provenance(r, argc, argv);
    r->traj.episode = o->episode;
    r->traj.seed = o->common.seed;
    r->traj.test_loss_before = r->test_before;
    r->traj.test_loss = r->test_after;
    rc = traj_write(&r->traj, o->common.out, o->common.is_uncompressed ? ST_PLAIN : 0, p, e);
    prov_free(p);
    return rc;
}

static int rollout(struct run *r, int argc, char **argv, struct err *e)
{
    int rc = r->o->n_shown ? 0 : file_refuse_tty(r->o->common.out, e);
    if (!rc)
        rc = open_encoding(r, e);
    if (r->o->n_shown)
        return rc ? rc : show_records(r, e);
    if (!rc)
        rc = read_choice(r, e);
    if (!rc)
        rc = set_steps(r, e);
    if (!rc)
        rc = read_pool(r, e);
    if (!rc)
        rc = read_sets(r, e);
    if (!rc)
        rc = open_metrics(r, e);
    if (!rc)
        rc = open_model(r, e);
    if (!rc)
        rc = run_episode(r, e);
    return rc ? rc : write_results(r, argc, argv, e);
}

static void report(const struct run *r)
{
    const struct traj *t = &r->traj;
    char n[32], rate[32];
    if (r->episode.n_cut)
        log_warn("%s: %" PRId64 " picks cut to %" PRId64 " tokens", r->pool.name,
                 r->episode.n_cut, r->max_len);
    log_note("validation loss %.4f -> %.4f", -t->perf[0], -t->perf[t->n_steps]);
    if (r->o->test)
        log_note("test loss %.4f -> %.4f", r->test_before, r->test_after);
    log_summary("%" PRId64 " steps, %s tokens, %s tokens/s", t->n_steps,
                log_count(n, r->n_tokens),
                log_count(rate, r->train_seconds > 0 ? r->n_tokens / r->train_seconds : 0));
}

static void run_free(struct run *r)
{
    outfile_abort(r->metrics);
    traj_free(&r->traj);
    lm_close(r->lm);
    free(r->record_of);
    episode_set_free(&r->validation);
    episode_set_free(&r->test);
    dataset_free(&r->pool);
    dataset_free(&r->val_data);
    dataset_free(&r->test_data);
    plan_free(&r->plan);
    policy_free(r->policy);
    features_free(&r->features);
    tok_free(r->tok);
    tmpl_free(r->tmpl);
}

static void check_options(struct options *o)
{
    struct err e = ERR_INIT;
    if (!o->model)
        opt_misuse("-m MODEL is missing");
    if (!o->data)
        opt_misuse("-d DATASET is missing");
    if (lm_projections_parse(o->lora_targets, &o->targets, &e) < 0)
        opt_misuse("--lora-targets: %s", e.msg);
    if (o->n_shown)
        return;
    if (!o->features)
        opt_misuse("-f FEATURES is missing");
    if (!o->policy == !o->plan)
        opt_misuse("one of -p POLICY and --plan is needed");
    if (!o->validation)
        opt_misuse("--val VALIDATION is missing");
    if (o->plan && (o->is_greedy || o->is_deployed || o->has_repeats))
        opt_misuse("--plan does not go with --greedy, --deploy or --repeats");
    if (o->is_full && (o->adapter || o->adapter_dir))
        opt_misuse("--full has no adapter");
}

int main(int argc, char **argv)
{
    cpu_fix_blas(argv);
    struct err e = ERR_INIT;
    struct options o = {.common = OPT_COMMON_DEFAULTS,
                        .template = "alpaca",
                        .device = "auto",
                        .lora_targets = "all",
                        .batch = 16,
                        .n_warmup = -1,
                        .episode = 0,
                        .lora_rank = 16,
                        .tau = 1,
                        .lr = 3e-4,
                        .clip = 1};
    opt_parse(&spec, &o, argc, argv);
    check_options(&o);
    struct run r = {.o = &o, .test_before = (double)NAN, .test_after = (double)NAN};
    int rc = rollout(&r, argc, argv, &e);
    if (!rc && !o.n_shown)
        report(&r);
    run_free(&r);
    if (!rc)
        rc = file_close_stdout(&e);
    if (rc)
        log_error("%s", e.msg);
    return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
