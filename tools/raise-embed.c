/* SPDX-License-Identifier: MIT
 * raise-embed: one row of features an instruction.
 *
 * Reads the dataset, tokenises it once to know what there is to do, plans memory, opens the
 * model, has what a target needs made (target.h) and then the rows (features/embed_run.h);
 * names every record that gave none. */
#include "base/cpu.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/text.h"
#include "features/embed_run.h"
#include "reading.h"
#include "session.h"
#include "target.h"

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
    struct target_options target;
    const char *shard, *fields, *columns;
    int64_t dim;
    int reduce;
    bool is_resumed, is_anew; /* the first is the default, and says nothing more */
    int64_t shard_i, shard_n; /* from `shard` */
    const char *const *paths; /* of the dataset */
    int64_t n_paths;
};

static const char *const reduce_names[] = {"pool", "pca", NULL};
static const char *const overlong_names[] = {"drop", "cut", "fail", NULL};

#define O(field) offsetof(struct options, field)
static const struct opt table[] = {
    SESSION_MODEL_ROWS(struct options, session),
    SESSION_ENCODING_ROWS(struct options, session, overlong_names),
    {'D', "dim", OPT_INT, O(dim), "N", "width of the embedding", 1, 1 << 20, NULL},
    {'d', NULL, OPT_INT, O(dim), "N", NULL, 1, 1 << 20, NULL},
    {0, "reduce", OPT_CHOICE, O(reduce), "HOW", "from the model's width to --dim", 0, 0,
     reduce_names},
    {0, "columns", OPT_STRING, O(columns), "NAMES", "columns of the record itself, or all", 0,
     0, NULL},
    SESSION_ON_ERROR_ROW(struct options, records),
    SESSION_LIMIT_ROWS(struct options, records),
    {0, "shard", OPT_STRING, O(shard), "I/N", "the I-th (from 0) of N equal parts", 0, 0, NULL},
    {0, "no-resume", OPT_FLAG, O(is_anew), NULL, "start anew where a killed run left OUT.part",
     0, 0, NULL},
    {0, "resume", OPT_FLAG, O(is_resumed), NULL, "go on after a killed run (the default)", 0, 0,
     NULL},
    SESSION_DEVICE_ROWS(struct options, session, "batch-tokens",
                        "1024 on a CPU, 16384 on a GPU"),
    {0, "fields", OPT_STRING, O(fields), "LIST",
     "numbers in fields of the records, comma-separated, as columns", 0, 0, NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "What a record does for a target", 0, 0, NULL},
    TARGET_ROWS(struct options, target),
    {0, NULL, OPT_HEADING, 0, NULL, "Common", 0, 0, NULL},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};

static bool words(const char *option, struct buf *b)
{
    if (option && !strcmp(option, "columns"))
        for (const struct record_column *c = record_columns(); c->name; c++)
            buf_printf(b, " %s", c->name);
    return session_words(option, b);
}

static const struct opt_spec spec = {
    .program = "raise-embed",
    .usage = "-m MODEL [options] [DATASET...]",
    .summary = "Lengths, log-probabilities and an embedding of every instruction of a dataset.",
    .common = "otusp",
    .common_offset = O(common),
    .table = table,
    .min_args = 0,
    .max_args = -1,
    .words = words,
    .input =
        "It reads a dataset of instructions, JSON, JSON lines or CSV, plain or compressed, in "
        "any layout that raise-data(5) tells (Alpaca, messages, ShareGPT, prompt and "
        "completion, question and answer), from a file or a pipe; and a model, as a Hugging "
        "Face folder or a .gguf file. --show of raise-rollout prints records as the model "
        "sees them.",
    .examples = "raise-embed -m MODEL -o features.st.zst data.jsonl\n"
                "raise-embed -m MODEL --target problems.jsonl -o features.st.zst data.jsonl",
};

struct run {
    const struct options *o;
    struct dataset data;
    struct target target;
    struct record_choice columns;
    struct session s;
    struct embed_run job;
    struct given given;
    struct prov *prov;
    char *reading; /* how the dataset was read */
    struct log_bar bar;
    double n_scored; /* tokens */
    int64_t n_kept;  /* windows, as last told */
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

static struct data_options reading_of(const struct options *o)
{
    return (struct data_options){.on_error = (enum data_on_error)o->records.on_error,
                                 .max_record = o->records.max_record,
                                 .limit = o->records.limit,
                                 .is_sampled = o->records.is_sampled,
                                 .seed = o->common.seed};
}

/* Adds lines, which it takes. */
static void add_reading(struct run *r, char *lines)
{
    char *both = mem_printf("%s%s", r->reading ? r->reading : "", lines);
    free(lines);
    free(r->reading);
    r->reading = both;
}

static int read_data(struct run *r, struct err *e)
{
    const struct options *o = r->o;
    struct data_options want = reading_of(o);
    int rc = reading_all(&r->data, o->paths, o->n_paths, &want, e);
    if (rc)
        return rc;
    r->job.data = &r->data;
    embed_run_shard(&r->job, o->shard_i, o->shard_n ? o->shard_n : 1);
    if (!r->job.n)
        return err_set(e, ERR_EMPTY, "%s: no record in shard %s of %" PRId64, r->data.name,
                       o->shard, r->data.n_records);
    add_reading(r, mem_printf("on-error=%s\nlimit=%" PRId64 "\nsample=%d\nseed=%" PRIu64
                              "\nshard=%s\n",
                              session_on_errors[o->records.on_error], o->records.limit,
                              o->records.is_sampled, o->records.is_sampled ? o->common.seed : 0,
                              o->shard ? o->shard : "all"));
    log_detail("%s: %" PRId64 " records, %" PRId64 " skipped", r->data.name, r->data.n_records,
               r->data.n_problems);
    session_check_records(&r->s, &r->data);
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
                     (int64_t)d->records[g->first_missing[k]].source);
    add_reading(r, mem_printf("fields=%s\n", r->o->fields));
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

static void say_when_killed(struct run *r)
{
    r->n_kept = embed_run_n_kept(&r->job);
    if (r->n_kept)
        log_when_killed("%s.part: %" PRId64 " of %" PRId64
                        " windows kept; the same command goes on after them",
                        r->job.out, r->n_kept, r->job.n_windows);
    else
        log_when_killed("killed before the first of %" PRId64
                        " windows was done: nothing is kept",
                        r->job.n_windows);
}

static void on_progress(void *arg, int64_t n_tokens)
{
    struct run *r = arg;
    r->n_scored += (double)n_tokens;
    if (embed_run_n_kept(&r->job) != r->n_kept)
        say_when_killed(r);
    log_bar_set(&r->bar, r->n_scored);
    session_watch(&r->s);
}

static void on_measured(void *arg, int64_t n_records)
{
    struct run *r = arg;
    log_bar_set(&r->bar, (double)n_records);
}

static void describe_job(struct run *r)
{
    const struct options *o = r->o;
    bool is_pca = o->reduce == REDUCE_PCA;
    r->job.out = o->common.out;
    r->job.is_uncompressed = o->common.is_uncompressed;
    r->job.is_resumed = !o->is_anew;
    r->job.pca_dim = is_pca ? o->dim : 0;
    r->job.how = (struct embed_options){.tok = r->s.tok,
                                        .tmpl = r->s.tmpl,
                                        .max_len = r->s.max_len,
                                        .config = &r->s.config,
                                        .overlong = (enum example_overlong)o->session.overlong,
                                        .dim = is_pca ? r->s.config.d_model : o->dim,
                                        .given = o->fields ? &r->given : NULL,
                                        .record = r->columns,
                                        .progress = on_progress,
                                        .measured = on_measured,
                                        .progress_arg = r};
    target_begin(&r->target, &r->job, o->common.seed);
}

static int open_model(struct run *r, struct err *e)
{
    struct lm_options lo = session_lm_options(&r->s, r->job.cost.longest);
    struct session_need need = {"--batch-tokens", "rows", embed_run_bytes(&r->job)};
    int rc = target_plan(&r->target, r->o->session.model, &lo, &need, e);
    if (!rc)
        rc = session_open(&r->s, &lo, &need, e);
    const struct lm_memory *p = &r->s.memory;
    /* Not the longest record: the batches of a shard are those of the whole. */
    r->job.how.batch_tokens =
        p->asked_tokens < p->micro_tokens ? p->asked_tokens : p->micro_tokens;
    return rc;
}

/* ---- rows ---- */

static void add_provenance(struct run *r, int argc, char **argv)
{
    if (r->o->common.no_provenance)
        return;
    char *args = opt_command_line(&spec, argc, argv);
    r->prov = prov_new(spec.program, args, r->o->common.seed);
    prov_set_path(r->prov, lm_arith_path(r->s.lm));
    dataset_add_inputs(&r->data, r->prov);
    session_add_inputs(&r->s, r->prov);
    target_add_inputs(&r->target, r->prov);
    free(args);
}

static int score(struct run *r, struct err *e)
{
    struct embed_run *job = &r->job;
    char *old = embed_run_old_part(job);
    job->lm = r->s.lm;
    job->prov = r->prov;
    add_reading(r, target_parameters(&r->target));
    job->reading = r->reading;
    if (old && !job->is_resumed)
        log_note("%s: left by an unfinished run, discarded (--no-resume)", old);
    int rc = embed_run_open(job, e);
    if (!rc && job->n_before)
        log_note("%s: continuing after %" PRId64 " of %" PRId64 " windows", old, job->n_before,
                 job->n_windows);
    free(old);
    if (rc)
        return rc;
    log_bar_start(&r->bar, "scoring", "tokens", job->n_tokens_left);
    say_when_killed(r);
    rc = embed_run_score(job, e);
    log_bar_end(&r->bar);
    return rc;
}

static int embed(struct run *r, int argc, char **argv, struct err *e)
{
    struct data_options want = reading_of(r->o);
    int rc = file_refuse_tty(r->o->common.out, e);
    if (!rc)
        rc = session_encoding(&r->s, &r->o->session, e);
    if (!rc)
        rc = check_model(r, e);
    if (!rc)
        rc = read_data(r, e);
    if (!rc)
        rc = read_fields(r, e);
    if (!rc)
        rc = target_read(&r->target, &r->data, &want, e);
    if (!rc && r->o->target.path)
        session_check_records(&r->s, &r->target.data);
    if (rc)
        return rc;
    describe_job(r);
    log_bar_start_passing(&r->bar, "counting tokens", "records", (double)r->job.n);
    rc = embed_run_measure(&r->job, e);
    log_bar_end(&r->bar);
    if (!rc)
        rc = target_measure(&r->target, e);
    if (!rc)
        rc = open_model(r, e);
    if (!rc)
        rc = target_make(&r->target, r->s.lm, e);
    if (rc)
        return rc;
    add_provenance(r, argc, argv);
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
                     data_problem_text(&r->data.problems[i]));
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
        log_note("%s.part: %" PRId64 " of %" PRId64
                 " windows kept; the same command goes on after them",
                 r->job.out, n_kept, r->job.n_windows);
    embed_run_free(&r->job);
    target_free(&r->target);
    given_free(&r->given);
    prov_free(r->prov);
    free(r->reading);
    session_close(&r->s);
    record_choice_free(&r->columns);
    dataset_free(&r->data);
}

static void report(struct run *r)
{
    char n[32], rate[32];
    report_lost(r);
    double spent = text_clock() - r->bar.start;
    log_summary("%" PRId64 " record%s, %s tokens, %s tokens/s", r->job.n_written,
                text_s(r->job.n_written), text_count(n, r->n_scored),
                text_count(rate, spent > 0 ? r->n_scored / spent : 0));
}

static void check_places(struct options *o)
{
    struct places p = {0};
    session_add_places(&o->session, &p);
    places_add_paths(&p, "--target", o->target.path);
    for (int64_t i = 0; i < o->n_paths; i++)
        places_add(&p, PLACE_INPUT, "the dataset", o->paths[i]);
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
                        .target = TARGET_DEFAULTS};
    int first = opt_parse(&spec, &o, argc, argv);
    static const char *const standard[] = {"-"};
    o.paths = first < argc ? (const char *const *)(argv + first) : standard;
    o.n_paths = first < argc ? argc - first : 1;
    session_check(&o.session);
    if (parse_shard(&o) < 0)
        opt_misuse("--shard: '%s' is not I/N with 0 <= I < N", o.shard);
    if (o.shard && o.reduce == REDUCE_PCA)
        opt_misuse("--shard does not go with --reduce pca, which needs all records");
    target_check(&o.target);
    if (file_is_std(o.paths[0]) && isatty(STDIN_FILENO))
        opt_misuse("no dataset");
    check_places(&o);
    struct run r = {.o = &o, .target.o = &o.target};
    if (record_choose(&r.columns, o.columns, &e) < 0)
        opt_misuse("--columns: %s", e.msg);
    if (o.fields && given_parse(&r.given, o.fields, &e) < 0)
        opt_misuse("--fields: %s", e.msg);
    int rc = embed(&r, argc, argv, &e);
    if (!rc)
        report(&r);
    run_free(&r);
    if (!rc)
        rc = file_close_stdout(&e);
    if (rc)
        log_error("%s", e.msg);
    return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
