/* SPDX-License-Identifier: MIT
 * raise-embed: one row of features an instruction.
 *
 * Reads the dataset, tokenises it once to know what there is to do, plans memory, opens the
 * model, makes the probe (features/gain.h) where there is a target, and has the rows made
 * (features/embed_run.h); names every record that gave none. */
#include "base/cpu.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/text.h"
#include "features/embed_run.h"
#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum reduce { REDUCE_POOL, REDUCE_PCA };

struct options {
    struct opt_common common;
    struct session_options session;
    struct session_records records;
    const char *shard, *target, *fields, *columns;
    int64_t dim, target_limit, target_steps, influence_epochs;
    double target_lr, influence_lr;
    bool has_influence;
    int reduce;
    bool is_resumed;
    int64_t shard_i, shard_n; /* from `shard` */
};

static const char *const reduce_names[] = {"pool", "pca", NULL};
static const char *const overlong_names[] = {"drop", "cut", "fail", NULL};

#define O(field) offsetof(struct options, field)
static const struct opt table[] = {
    SESSION_MODEL_ROWS(struct options, session),
    SESSION_ENCODING_ROWS(struct options, session, overlong_names),
    {'d', "dim", OPT_INT, O(dim), "N", "width of the embedding", 1, 1 << 20, NULL},
    {0, "reduce", OPT_CHOICE, O(reduce), "HOW", "from the model's width to --dim", 0, 0,
     reduce_names},
    {0, "columns", OPT_STRING, O(columns), "NAMES", "columns of the record itself, or all", 0,
     0, NULL},
    SESSION_ON_ERROR_ROW(struct options, records),
    SESSION_LIMIT_ROWS(struct options, records),
    {0, "shard", OPT_STRING, O(shard), "I/N", "the I-th (from 0) of N equal parts", 0, 0, NULL},
    {0, "resume", OPT_FLAG, O(is_resumed), NULL, "continue a killed run from OUT.part", 0, 0,
     NULL},
    SESSION_DEVICE_ROWS(struct options, session, "batch-tokens",
                        "1024 on a CPU, 16384 on a GPU"),
    {0, "fields", OPT_STRING, O(fields), "LIST",
     "numbers in fields of the records, comma-separated, as columns", 0, 0, NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "What a record does for a target", 0, 0, NULL},
    {0, "target", OPT_STRING, O(target), "FILE", "records of the target: adds the gain", 0, 0,
     NULL},
    {0, "target-limit", OPT_INT, O(target_limit), "N", "a seeded sample of N of them; 0: all",
     0, 1e9, NULL},
    {0, "target-steps", OPT_INT, O(target_steps), "N", "steps of 32 on them", 1, 1e6, NULL},
    {0, "target-lr", OPT_REAL, O(target_lr), "X", "learning rate of these steps", 0, 1e30,
     NULL},
    {0, "influence", OPT_FLAG, O(has_influence), NULL,
     "with --target: LESS, by a gradient of every record and epoch", 0, 0, NULL},
    {0, "influence-epochs", OPT_INT, O(influence_epochs), "N",
     "epochs of its warm-up on a twentieth of the records", 1, 1000, NULL},
    {0, "influence-lr", OPT_REAL, O(influence_lr), "X", "learning rate of its warm-up", 0, 1e30,
     NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "Common", 0, 0, NULL},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};

static const struct opt_spec spec = {
    .program = "raise-embed",
    .usage = "-m MODEL [options] [DATASET]",
    .summary = "Lengths, log-probabilities and an embedding of every instruction of a dataset.",
    .common = "otusp",
    .common_offset = O(common),
    .table = table,
    .min_args = 0,
    .max_args = 1,
};

struct run {
    const struct options *o;
    struct dataset data, target;
    struct record_choice columns;
    struct session s;
    struct embed_run job;
    struct given given;
    struct gain gain;
    struct influence influence;
    char *warmup;    /* file of the influence's states beside the part; NULL: none */
    char *probe_dir; /* where the probe's adapter lies; NULL: none */
    struct prov *prov;
    char *reading; /* how the dataset was read */
    struct log_bar bar;
    double n_scored; /* tokens */
};

/* ---- inputs ---- */

static int parse_shard(struct options *o)
{
    char *end;
    if (!o->shard)
        return 0;
    o->shard_i = strtoll(o->shard, &end, 10);
    if (end == o->shard || *end != '/')
        return -1;
    const char *n = end + 1;
    o->shard_n = strtoll(n, &end, 10);
    return end == n || *end || o->shard_i < 0 || o->shard_n < 1 || o->shard_i >= o->shard_n ? -1
                                                                                            : 0;
}

static int read_data(struct run *r, const char *path, struct err *e)
{
    const struct options *o = r->o;
    struct data_options want = {.on_error = (enum data_on_error)o->records.on_error,
                                .limit = o->records.limit,
                                .is_sampled = o->records.is_sampled,
                                .seed = o->common.seed};
    int rc = dataset_read(&r->data, path, &want, e);
    if (rc)
        return rc;
    r->job.data = &r->data;
    embed_run_shard(&r->job, o->shard_i, o->shard_n ? o->shard_n : 1);
    if (!r->job.n)
        return err_set(e, ERR_EMPTY, "%s: no record in shard %s of %" PRId64, r->data.name,
                       o->shard, r->data.n_records);
    r->reading = mem_printf(
        "on-error=%s\nlimit=%" PRId64 "\nsample=%d\nseed=%" PRIu64 "\nshard=%s\n",
        session_on_errors[o->records.on_error], o->records.limit, o->records.is_sampled,
        o->records.is_sampled ? o->common.seed : 0, o->shard ? o->shard : "all");
    log_detail("%s: %" PRId64 " records, %" PRId64 " skipped", r->data.name, r->data.n_records,
               r->data.n_problems);
    return 0;
}

/* Of the whole dataset, so that every shard fills in the same. */
static int read_fields(struct run *r, struct err *e)
{
    struct given *g = &r->given;
    const struct dataset *d = &r->data;
    if (!r->o->fields)
        return 0;
    int rc = given_measure(g, d, e);
    for (int64_t k = 0; !rc && k < g->n; k++)
        if (g->n_missing[k])
            log_warn("%s: %" PRId64 " of %" PRId64
                     " records without a number in \"%s\" get the "
                     "mean, %g (the first: record %" PRId64 ")",
                     d->name, g->n_missing[k], d->n_records, g->names[k], g->mean[k],
                     d->records[g->first_missing[k]].source);
    char *reading = mem_printf("%sfields=%s\n", r->reading, r->o->fields);
    free(r->reading);
    r->reading = reading;
    return rc;
}

/* Records of the pool that are the target's as well would look better than they are. */
static void warn_of_overlap(const struct run *r)
{
    int64_t first, n = dataset_count_overlap(&r->data, &r->target, &first);
    if (n)
        log_warn("%" PRId64 " records of %s are records of the target %s, too (the first: "
                 "record %" PRId64 ")",
                 n, r->data.name, r->target.name, r->data.records[first].source);
}

static int read_target(struct run *r, struct err *e)
{
    const struct options *o = r->o;
    struct data_options want = {.on_error = (enum data_on_error)o->records.on_error,
                                .limit = o->target_limit,
                                .is_sampled = true,
                                .seed = o->common.seed};
    int rc = o->target ? dataset_read(&r->target, o->target, &want, e) : 0;
    if (!rc && o->target && !r->target.n_records)
        rc = err_set(e, ERR_EMPTY, "%s: no records", r->target.name);
    if (!rc && o->target)
        warn_of_overlap(r);
    return rc;
}

static int check_model(const struct run *r, struct err *e)
{
    const struct options *o = r->o;
    if (o->dim > r->s.config.d_model)
        return err_set(e, ERR_RANGE, "--dim %" PRId64 ": the model is only %" PRId64 " wide",
                       o->dim, r->s.config.d_model);
    int32_t start = embed_start_token(r->s.tok);
    if (start >= r->s.config.n_vocab)
        return err_set(
            e, ERR_MISMATCH,
            "%s: a response starts with token %d of the tokenizer, and the model has "
            "%" PRId64,
            o->session.model, (int)start, r->s.config.n_vocab);
    if (start < 0)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: the tokenizer has neither BOS nor EOS nor padding token to start a "
                       "response with",
                       o->session.model);
    return 0;
}

/* ---- the work ---- */

static void on_progress(void *arg, int64_t n_tokens)
{
    struct run *r = arg;
    r->n_scored += (double)n_tokens;
    log_bar_set(&r->bar, r->n_scored);
    session_watch(&r->s);
}

static void describe_job(struct run *r)
{
    const struct options *o = r->o;
    r->influence = (struct influence){.pool = &r->data,
                                      .target = &r->target,
                                      .how = &r->job.how,
                                      .n_epochs = o->influence_epochs,
                                      .lr = o->influence_lr,
                                      .seed = o->common.seed};
    bool is_pca = o->reduce == REDUCE_PCA;
    r->job.out = o->common.out;
    r->job.is_uncompressed = o->common.is_uncompressed;
    r->job.is_resumed = o->is_resumed;
    r->job.pca_dim = is_pca ? o->dim : 0;
    r->job.how = (struct embed_options){.tok = r->s.tok,
                                        .tmpl = r->s.tmpl,
                                        .max_len = r->s.max_len,
                                        .config = &r->s.config,
                                        .overlong = (enum example_overlong)o->session.overlong,
                                        .dim = is_pca ? r->s.config.d_model : o->dim,
                                        .has_gain = o->target != NULL,
                                        .given = o->fields ? &r->given : NULL,
                                        .influence = o->has_influence ? &r->influence : NULL,
                                        .record = r->columns,
                                        .progress = on_progress,
                                        .progress_arg = r};
}

/* A model that is to be tuned works on as many tokens at once as one that only scores, so that
 * the columns without the probe have the same bytes. */
static int open_for_probe(struct run *r, struct lm_options *lo, struct session_need *need,
                          struct err *e)
{
    struct lm_memory p;
    int rc = lm_plan(r->o->session.model, lo, &p, e);
    if (rc)
        return rc;
    lo->micro_tokens = p.asked_tokens;
    lo->tuning = LM_TUNE_LORA;
    lo->seed = r->o->common.seed;
    lo->longest = r->gain.longest > lo->longest ? r->gain.longest : lo->longest;
    rc = lm_plan(r->o->session.model, lo, &p, e);
    need->what = "rows and the adapter's other state";
    need->bytes += p.is_gpu ? 0 : 2 * p.adapter;
    if (r->o->has_influence) { /* four blocks an epoch, and three of the model as it was */
        need->what = "rows, the adapter's other state and its warm-up";
        need->bytes += (4 * r->o->influence_epochs + 3) * p.adapter;
    }
    return rc;
}

static int open_model(struct run *r, struct err *e)
{
    struct lm_options lo = session_lm_options(&r->s, r->job.cost.longest);
    struct session_need need = {"--batch-tokens", "rows", embed_run_bytes(&r->job)};
    int rc = r->o->target ? open_for_probe(r, &lo, &need, e) : 0;
    if (!rc)
        rc = session_open(&r->s, &lo, &need, e);
    const struct lm_memory *p = &r->s.memory;
    /* Not the longest record: the batches of a shard are those of the whole. */
    r->job.how.batch_tokens =
        p->asked_tokens < p->micro_tokens ? p->asked_tokens : p->micro_tokens;
    return rc;
}

/* ---- the probe ---- */

static int measure_target(struct run *r, struct err *e)
{
    const struct options *o = r->o;
    char all[32], steps[32];
    if (!o->target)
        return 0;
    r->gain = (struct gain){.target = &r->target,
                            .how = &r->job.how,
                            .n_steps = o->target_steps,
                            .lr = o->target_lr,
                            .seed = o->common.seed};
    int rc = gain_measure(&r->gain, e);
    if (rc)
        return rc;
    struct gain *g = &r->gain;
    for (size_t i = 0; i < g->drops.n; i++)
        log_warn("%s:%" PRId64 ": record %" PRId64 ": %s", r->target.name,
                 g->drops.drop[i].line, g->drops.drop[i].source,
                 embed_why_text(g->drops.drop[i].why));
    int64_t batch = g->n_records < GAIN_BATCH ? g->n_records : GAIN_BATCH;
    log_note(
        "target: %" PRId64 " records; %" PRId64 " steps of %" PRId64
        " (about %s tokens, forward and backward), then %s tokens to score, responses twice",
        g->n_records, g->n_steps, batch,
        text_count(steps,
                   (double)(g->n_steps * batch) * (double)g->n_tokens / (double)g->n_records),
        text_count(all, (double)r->job.cost.n_tokens));
    return 0;
}

static void remove_probe(const char *dir)
{
    static const char *const files[] = {"adapter_model.safetensors", "adapter_config.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = mem_printf("%s/%s", dir, files[i]);
        unlink(path);
        free(path);
    }
    rmdir(dir);
}

/* Beside the part, or where temporary files go when there is none. */
static int place_probe(struct run *r, struct err *e)
{
    if (embed_run_has_part(&r->job)) {
        r->probe_dir = mem_printf("%s.probe", r->job.out);
        return 0;
    }
    const char *tmp = getenv("TMPDIR");
    char *dir = mem_printf("%s/raise-probe.XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir)) {
        err_set(e, ERR_IO, "%s: %s", dir, strerror(errno));
        free(dir);
        return ERR_IO;
    }
    r->probe_dir = dir;
    return 0;
}

/* A part that stands was begun with the probe beside it; its parameters hold the probe's hash,
 * so that another one is refused. */
static bool is_probe_made(const struct run *r, const char *old_part)
{
    char *path = mem_printf("%s/adapter_model.safetensors", r->probe_dir);
    bool is_made = r->o->is_resumed && old_part && file_exists(path);
    free(path);
    return is_made;
}

static void note_probe(struct run *r)
{
    const struct options *o = r->o;
    char target[17], probe[17];
    char *reading = mem_printf("%starget=%s\ntarget-limit=%" PRId64 "\ntarget-seed=%" PRIu64
                               "\ntarget-steps=%" PRId64 "\ntarget-lr=%.15g\nprobe=%s\n",
                               r->reading, prov_hex(target, r->target.hash), o->target_limit,
                               o->common.seed, o->target_steps, o->target_lr,
                               prov_hex(probe, r->gain.probe));
    free(r->reading);
    r->reading = reading;
}

/* The warm-up is kept as the probe is, and as the probe's its hash is the part's. */
static int warm_up(struct run *r, bool may_be_made, struct err *e)
{
    const struct options *o = r->o;
    struct influence *f = &r->influence;
    char hash[17];
    if (!o->has_influence)
        return 0;
    if (embed_run_has_part(&r->job))
        r->warmup = mem_printf("%s.warmup", r->job.out);
    bool is_made = may_be_made && r->warmup && file_exists(r->warmup);
    log_note("influence: %" PRId64 " epochs of warm-up on a twentieth of %" PRId64
             " records%s, then a gradient of every record for each",
             f->n_epochs, r->data.n_records, is_made ? " (made before)" : "");
    int rc = influence_prepare(f, r->s.lm, r->warmup, is_made, e);
    if (rc == ERR_NONFINITE) {
        struct err why = *e;
        return err_set(e, rc, "%s (--influence-lr)", why.msg);
    }
    if (rc)
        return rc;
    char *reading =
        mem_printf("%sinfluence-epochs=%" PRId64 "\ninfluence-lr=%.15g\nwarmup=%s\n",
                   r->reading, f->n_epochs, f->lr, prov_hex(hash, f->hash));
    free(r->reading);
    r->reading = reading;
    return 0;
}

static int probe(struct run *r, struct err *e)
{
    struct gain *g = &r->gain;
    if (!r->o->target)
        return 0;
    char *old = embed_run_old_part(&r->job);
    int rc = place_probe(r, e);
    bool is_made = !rc && is_probe_made(r, old);
    free(old);
    if (!rc)
        rc = gain_probe(g, r->s.lm, r->probe_dir, is_made, e);
    if (rc == ERR_NONFINITE) {
        struct err why = *e;
        return err_set(e, rc, "%s (--target-lr, --target-steps)", why.msg);
    }
    if (rc)
        return rc;
    log_note("target: loss %.4f before the probe's steps, %.4f after%s", g->loss, g->loss_tuned,
             is_made ? " (made before)" : "");
    if (!(g->loss_tuned < g->loss))
        return err_set(
            e, ERR_RANGE,
            "%s: the probe made the loss on the target's own records no better: %.4f "
            "before, %.4f after %" PRId64 " steps at a rate of %g (--target-lr, "
            "--target-steps)",
            r->target.name, g->loss, g->loss_tuned, g->n_steps, g->lr);
    note_probe(r);
    r->job.gain = g;
    return warm_up(r, is_made, e);
}

/* ---- rows ---- */

static void add_provenance(struct run *r, const char *path, int argc, char **argv)
{
    if (r->o->common.no_provenance)
        return;
    char *args = opt_command_line(argc, argv);
    r->prov = prov_new(spec.program, args, r->o->common.seed);
    prov_set_path(r->prov, lm_arith_path(r->s.lm));
    prov_add_input(r->prov, path, r->data.hash);
    session_add_inputs(&r->s, r->prov);
    if (r->o->target) {
        prov_add_input(r->prov, r->o->target, r->target.hash);
        prov_add_input(r->prov, "probe", r->gain.probe);
        if (r->o->has_influence)
            prov_add_input(r->prov, "warm-up", r->influence.hash);
    }
    free(args);
}

static int score(struct run *r, struct err *e)
{
    struct embed_run *job = &r->job;
    char *old = embed_run_old_part(job);
    job->lm = r->s.lm;
    job->prov = r->prov;
    job->reading = r->reading;
    if (old && !job->is_resumed)
        log_warn("%s: left by an unfinished run, discarded (--resume would continue it)", old);
    int rc = embed_run_open(job, e);
    if (!rc && job->n_before)
        log_note("%s: continuing after %" PRId64 " of %" PRId64 " windows", old, job->n_before,
                 job->n_windows);
    free(old);
    if (rc)
        return rc;
    log_bar_start(&r->bar, "scoring", "tokens", job->n_tokens_left);
    rc = embed_run_score(job, e);
    log_bar_end(&r->bar);
    return rc;
}

static int embed(struct run *r, const char *path, int argc, char **argv, struct err *e)
{
    int rc = file_refuse_tty(r->o->common.out, e);
    if (!rc)
        rc = session_encoding(&r->s, &r->o->session, e);
    if (!rc)
        rc = check_model(r, e);
    if (!rc)
        rc = read_data(r, path, e);
    if (!rc)
        rc = read_fields(r, e);
    if (!rc)
        rc = read_target(r, e);
    if (rc)
        return rc;
    describe_job(r);
    rc = embed_run_measure(&r->job, e);
    if (!rc)
        rc = measure_target(r, e);
    if (!rc)
        rc = open_model(r, e);
    if (!rc)
        rc = probe(r, e);
    if (rc)
        return rc;
    add_provenance(r, path, argc, argv);
    rc = score(r, e);
    return rc ? rc : embed_run_finish(&r->job, e);
}

/* ---- the report ---- */

static int by_source(const void *a, const void *b)
{
    const struct embed_drop *p = a, *q = b;
    return p->source < q->source ? -1 : p->source > q->source;
}

/* Every record that gave no row is counted and named; ten of them without -v. */
static void report_lost(struct run *r)
{
    enum { SHOWN = 10 };
    int64_t n = r->data.n_problems + (int64_t)r->job.drops.n, k = 0;
    if (r->job.cost.n_cut)
        log_warn("%s: %" PRId64 " records cut to %" PRId64 " tokens", r->data.name,
                 r->job.cost.n_cut, r->job.how.max_len);
    if (!n)
        return;
    log_warn("%s: %" PRId64 " of %" PRId64 " records left out%s", r->data.name, n,
             r->job.n + r->data.n_problems,
             n > SHOWN && log_level < 2 ? "; the first 10 (-v: all):" : ":");
    if (r->job.drops.n)
        qsort(r->job.drops.drop, r->job.drops.n, sizeof *r->job.drops.drop, by_source);
    for (int64_t i = 0; i < r->data.n_problems; i++, k++)
        if (k < SHOWN || log_level >= 2)
            log_note("%s:%" PRId64 ": record %" PRId64 ": %s", r->data.name,
                     r->data.problems[i].line, r->data.problems[i].source,
                     r->data.problems[i].why);
    for (size_t i = 0; i < r->job.drops.n; i++, k++)
        if (k < SHOWN || log_level >= 2)
            log_note("%s:%" PRId64 ": record %" PRId64 ": %s", r->data.name,
                     r->job.drops.drop[i].line, r->job.drops.drop[i].source,
                     embed_why_text(r->job.drops.drop[i].why));
}

static void run_free(struct run *r)
{
    int64_t n_kept = embed_run_n_kept(&r->job);
    if (n_kept)
        log_note("%s.part: %" PRId64 " of %" PRId64 " windows kept for --resume", r->job.out,
                 n_kept, r->job.n_windows);
    embed_run_free(&r->job);
    struct embed_run where = {.out = r->o->common.out};
    char *part =
        embed_run_old_part(&where); /* this run's, or another's that it would not touch */
    if (r->probe_dir && !part)
        remove_probe(r->probe_dir);
    if (r->warmup && !part)
        unlink(r->warmup);
    free(part);
    free(r->warmup);
    free(r->probe_dir);
    gain_free(&r->gain);
    given_free(&r->given);
    influence_free(&r->influence);
    prov_free(r->prov);
    free(r->reading);
    session_close(&r->s);
    record_choice_free(&r->columns);
    dataset_free(&r->data);
    dataset_free(&r->target);
}

static void report(struct run *r)
{
    char n[32], rate[32];
    report_lost(r);
    double spent = text_clock() - r->bar.start;
    log_summary("%" PRId64 " records, %s tokens, %s tokens/s", r->job.n_written,
                text_count(n, r->n_scored),
                text_count(rate, spent > 0 ? r->n_scored / spent : 0));
}

static void check_places(const struct options *o, const char *path)
{
    struct places p = {0};
    session_add_places(&o->session, &p);
    places_add(&p, PLACE_INPUT, "the dataset", path ? path : "-");
    places_add(&p, PLACE_FILE, "-o", o->common.out ? o->common.out : "-");
    opt_check_places(&p);
}

int main(int argc, char **argv)
{
    cpu_fix_blas(argv);
    struct err e = ERR_INIT;
    struct options o = {.common = OPT_COMMON_DEFAULTS,
                        .session = SESSION_DEFAULTS,
                        .dim = 32,
                        .target_steps = 3,
                        .target_lr = 3e-4,
                        .influence_epochs = 4,
                        .influence_lr = 3e-4};
    int first = opt_parse(&spec, &o, argc, argv);
    const char *path = first < argc ? argv[first] : NULL;
    session_check(&o.session);
    if (parse_shard(&o) < 0)
        opt_misuse("--shard: '%s' is not I/N with 0 <= I < N", o.shard);
    if (o.shard && o.reduce == REDUCE_PCA)
        opt_misuse("--shard does not go with --reduce pca, which needs all records");
    if (o.has_influence && !o.target)
        opt_misuse("--influence needs a --target");
    if (o.target && file_is_std(o.target))
        opt_misuse("--target: a file, as it is read beside the dataset");
    if (file_is_std(path) && isatty(STDIN_FILENO))
        opt_misuse("no dataset");
    check_places(&o, path);
    struct run r = {.o = &o};
    if (record_choose(&r.columns, o.columns, &e) < 0)
        opt_misuse("--columns: %s", e.msg);
    if (o.fields && given_parse(&r.given, o.fields, &e) < 0)
        opt_misuse("--fields: %s", e.msg);
    int rc = embed(&r, path, argc, argv, &e);
    if (!rc)
        report(&r);
    run_free(&r);
    if (!rc)
        rc = file_close_stdout(&e);
    if (rc)
        log_error("%s", e.msg);
    return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
