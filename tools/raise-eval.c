/* SPDX-License-Identifier: MIT
 * raise-eval: what a model can do, record by record, with errors.
 *
 * A task (eval/eval.h) reads and encodes its files, has the model opened when it knows how much
 * there is to do, and fills a result; this program says where it came from and writes it. Two
 * results are compared record by record (eval/compare.h). */
#include "base/cpu.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/text.h"
#include "base/version.h"
#include "eval/compare.h"
#include "eval/eval.h"
#include "session.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct options {
    struct opt_common common;
    struct session_options session;
    struct session_records records;
    const char *json, *summary, *samples, *shots_from;
    int64_t n_shots, max_new, n_slots;
    bool are_shots_sampled;
    int by, prompt;               /* enum question_by; question_style_names */
    const struct eval_task *task; /* NULL: compare */
    const char *const *files;
    int n_files;
};

enum { MAX_NEW = 256 }; /* lm-evaluation-harness's */

static const char *const overlong_names[] = {"drop", "cut", "fail", NULL};

static const char *const by_names[] = {"auto", "letter", "text", NULL};

#define O(field) offsetof(struct options, field)
static const struct opt table[] = {
    SESSION_MODEL_ROWS(struct options, session),
    SESSION_ENCODING_ROWS(struct options, session, overlong_names),
    SESSION_ON_ERROR_ROW(struct options, records),
    SESSION_LIMIT_ROWS(struct options, records),
    SESSION_DEVICE_ROWS(struct options, session, "batch-tokens",
                        "1024 on a CPU, 16384 on a GPU"),
    {0, NULL, OPT_HEADING, 0, NULL, "For choice and gsm8k", 0, 0, NULL},
    {0, "shots", OPT_INT, O(n_shots), "K", "answered questions before each", 0, 100, NULL},
    {0, "shots-from", OPT_STRING, O(shots_from), "PATH",
     "file of them, or folder with NAME_dev.csv for NAME_test.csv", 0, 0, NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "For choice", 0, 0, NULL},
    {0, "by", OPT_CHOICE, O(by), "HOW", "what is scored; auto: as the benchmark is", 0, 0,
     by_names},
    {0, "prompt", OPT_CHOICE, O(prompt), "STYLE", "auto: by the layout of the record", 0, 0,
     question_style_names},
    {0, NULL, OPT_HEADING, 0, NULL, "For gsm8k", 0, 0, NULL},
    {0, "sample-shots", OPT_FLAG, O(are_shots_sampled), NULL,
     "draw the shots by --seed, not the first", 0, 0, NULL},
    {0, "max-new", OPT_INT, O(max_new), "N", "most tokens of an answer", 1, 1 << 20, NULL},
    {0, "slots", OPT_INT, O(n_slots), "N",
     "answers written at once; 0: 32 on a CPU, 256 on a GPU", 0, 1 << 16, NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "Results", 0, 0, NULL},
    {0, "json", OPT_PLACE, O(json), "FILE", "all results as JSON, too", 0, 0, NULL},
    {0, "summary", OPT_PLACE, O(summary), "FILE", "means and standard errors as CSV", 0, 0,
     NULL},
    {0, "log-samples", OPT_PLACE, O(samples), "FILE", "what was asked, as JSON lines", 0, 0,
     NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "Common", 0, 0, NULL},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};

static bool words(const char *option, struct buf *b)
{
    for (const struct eval_task *t = eval_tasks; !option && t->name; t++)
        buf_printf(b, " %s", t->name);
    if (!option)
        buf_puts(b, " compare");
    return session_words(option, b);
}

static const struct opt_spec spec = {
    .program = "raise-eval",
    .usage = "loss -m MODEL [options] FILE...\n"
             "       raise-eval choice -m MODEL [options] FILE...\n"
             "       raise-eval gsm8k -m MODEL [options] FILE...\n"
             "       raise-eval compare [options] A B",
    .summary = "Measures a model on benchmark files, a row a record, with standard errors.",
    .common = "otsp",
    .common_offset = O(common),
    .table = table,
    .min_args = 1,
    .max_args = -1,
    .words = words,
    .input =
        "It reads benchmark files, as they are published or in any layout of raise-data(5), "
        "and a model.",
    .examples = "raise-eval loss -m MODEL test.jsonl\n"
                "raise-eval choice -m MODEL --shots 5 --shots-from mmlu/dev \\\n"
                "    -o rows.csv mmlu/test/*.csv\n"
                "raise-eval loss -m MODEL --adapter DIR --summary loss.csv test.jsonl",
};

struct run {
    const struct options *o;
    struct session s;
    struct eval v;
    struct log_bar bar;
    double n_done; /* tokens */
};

/* ---- what a task asks for ---- */

static void on_work(void *arg, double n_tokens)
{
    struct run *r = arg;
    r->n_done += n_tokens;
    log_bar_set(&r->bar, r->n_done);
    session_watch(&r->s);
}

static void on_records(void *arg, const struct dataset *d)
{
    const struct run *r = arg;
    session_check_records(&r->s, d);
}

static struct lm *open_model(void *arg, const struct eval_work *w, struct err *e)
{
    struct run *r = arg;
    struct lm_options lo = session_lm_options(&r->s, w->longest);
    struct session_need need = {"--batch-tokens", "records", w->bytes};
    lo.n_slots = w->n_slots;
    if (session_open(&r->s, &lo, &need, e) < 0)
        return NULL;
    log_bar_start(&r->bar, r->o->task->name, "tokens", (double)w->n_tokens);
    lm_on_work(r->s.lm, on_work, r);
    return r->s.lm;
}

/* ---- results ---- */

static void tell(const struct eval_result *r)
{
    for (int k = 0; k < eval_n_metrics(r->schema); k++) {
        struct eval_estimate x = eval_estimate(r, &r->schema->metrics[k], NULL);
        if (isfinite(x.error))
            log_note("%s: %.4f, standard error %.4f, %" PRId64 " records",
                     r->schema->metrics[k].name, x.mean, x.error, x.n);
        else
            log_note("%s: %.4f, one record: no standard error", r->schema->metrics[k].name,
                     x.mean);
    }
}

static void report_misses(const struct eval_result *r)
{
    enum { SHOWN = 10 };
    if (!r->n_misses)
        return;
    log_warn("%" PRId64 " of %" PRId64 " records left out%s", r->n_misses,
             r->n_misses + r->n_rows,
             r->n_misses > SHOWN && log_level < 2 ? "; the first 10 (-v: all):" : ":");
    for (int64_t i = 0; i < r->n_misses && (i < SHOWN || log_level >= 2); i++)
        log_note("%s:%" PRId64 ": record %" PRId64 ": %s", r->misses[i].file, r->misses[i].line,
                 r->misses[i].record, r->misses[i].why);
}

static void put_json(struct buf *b, const struct run *r, const char *args)
{
    char model[17], adapter[17];
    const struct options *o = r->o;
    prov_hex(model, lm_hash(r->s.lm));
    prov_hex(adapter, lm_adapter_hash(r->s.lm));
    const struct eval_note notes[] = {
        {"template", o->session.template, 0},
        {"model", o->session.named, 0},
        {"model_hash", model, 0},
        {"arithmetic", lm_arith_path(r->s.lm), 0},
        {"version", RAISE_VERSION, 0},
        {"command", args, 0},
        {"adapter", o->session.adapter, 0},
        {"adapter_hash", adapter, 0},
    };
    int n = (int)(sizeof notes / sizeof *notes) - (o->session.adapter ? 0 : 2);
    eval_put_json(b, &r->v.result, notes, o->common.no_provenance ? 1 : n);
}

static int write_out(const char *path, struct buf *b, struct err *e)
{
    int rc = path ? file_write_all(path, b->data ? b->data : "", b->len, e) : 0;
    b->len = 0;
    return rc;
}

static int write_results(struct run *r, const char *args, struct err *e)
{
    const struct options *o = r->o;
    struct buf b = {0};
    if (eval_is_json(o->common.out))
        put_json(&b, r, args);
    else
        eval_put_csv(&b, &r->v.result);
    int rc = write_out(o->common.out ? o->common.out : "-", &b, e);
    if (rc == 0 && o->json) {
        put_json(&b, r, args);
        rc = write_out(o->json, &b, e);
    }
    if (rc == 0 && o->summary) {
        eval_put_summary(&b, &r->v.result);
        rc = write_out(o->summary, &b, e);
    }
    if (rc == 0)
        rc = write_out(o->samples, &r->v.samples, e);
    buf_free(&b);
    return rc;
}

/* ---- two results ---- */

static void tell_differences(const struct eval_result *a, const struct eval_result *b)
{
    for (const struct eval_metric *m = a->schema->metrics; m->name; m++) {
        struct eval_difference x = eval_compare(a, b, m, NULL);
        log_note("%s: %.4f and %.4f, difference %+.4f, standard error %.4f; %" PRId64
                 " more, %" PRId64 " less, sign test p %.3g",
                 m->name, x.a, x.b, x.of.mean, x.of.error, x.n_more, x.n_less, x.p);
    }
}

static int compare(const struct options *o, struct err *e)
{
    struct eval_result a = {0}, b = {0};
    struct buf text = {0};
    const char *name_a = file_name_in(o->files[0]), *name_b = file_name_in(o->files[1]);
    int rc = eval_result_read(&a, o->files[0], eval_schema_of, e);
    if (rc == 0)
        rc = eval_result_read(&b, o->files[1], eval_schema_of, e);
    if (rc == 0)
        rc = eval_check_pair(&a, name_a, &b, name_b, e);
    if (rc == 0) {
        eval_put_comparison(&text, &a, &b);
        rc = write_out(o->common.out ? o->common.out : "-", &text, e);
    }
    if (rc == 0)
        tell_differences(&a, &b);
    buf_free(&text);
    eval_result_free(&a);
    eval_result_free(&b);
    return rc;
}

/* ---- the program ---- */

static int measure(struct run *r, const char *args, struct err *e)
{
    const struct options *o = r->o;
    int rc = session_encoding(&r->s, &o->session, e);
    if (rc)
        return rc;
    r->v = (struct eval){
        .o = {.files = o->files,
              .n_files = o->n_files,
              .tok = r->s.tok,
              .tmpl = r->s.tmpl,
              .is_raw = strcmp(o->session.template, "none") == 0,
              .max_len = r->s.max_len,
              .overlong = (enum example_overlong)o->session.overlong,
              .reading = {.on_error = (enum data_on_error)o->records.on_error,
                          .max_record = o->records.max_record,
                          .limit = o->records.limit,
                          .is_sampled = o->records.is_sampled,
                          .seed = o->common.seed},
              .is_logged = o->samples != NULL,
              .n_shots = o->n_shots,
              .shots = o->shots_from,
              .are_shots_sampled = o->are_shots_sampled,
              .max_new = o->max_new,
              .n_slots = o->n_slots,
              .by = (enum question_by)o->by,
              .style = o->prompt ? question_style_find(question_style_names[o->prompt]) : NULL},
        .open = open_model,
        .on_records = on_records,
        .arg = r,
        .result = {.task = o->task->name, .schema = o->task->schema}};
    rc = o->task->run(&r->v, e);
    if (rc == 0)
        log_bar_end(&r->bar);
    return rc ? rc : write_results(r, args, e);
}

static void report(struct run *r)
{
    char n[32], rate[32];
    report_misses(&r->v.result);
    tell(&r->v.result);
    double spent = text_clock() - r->bar.start;
    log_summary("%" PRId64 " records, %s tokens, %s tokens/s", r->v.result.n_rows,
                text_count(n, r->n_done), text_count(rate, spent > 0 ? r->n_done / spent : 0));
}

static void run_free(struct run *r)
{
    eval_result_free(&r->v.result);
    buf_free(&r->v.samples);
    session_close(&r->s);
}

static void check_places(struct options *o)
{
    struct places p = {0};
    if (o->task)
        session_add_places(&o->session, &p);
    for (int i = 0; i < o->n_files; i++)
        places_add(&p, PLACE_INPUT, o->task ? "a benchmark" : "a result", o->files[i]);
    places_add(&p, PLACE_INPUT, "--shots-from", o->shots_from);
    places_add(&p, PLACE_FILE, "--json", o->json);
    places_add(&p, PLACE_FILE, "--summary", o->summary);
    places_add(&p, PLACE_FILE, "--log-samples", o->samples);
    places_add(&p, PLACE_FILE, "-o", o->common.out ? o->common.out : "-");
    opt_check_places(&p);
}

static void check_compare(const struct options *o)
{
    if (o->n_files != 2)
        opt_misuse("compare: two results are compared, not %d", o->n_files);
    if (o->session.model || o->session.adapter || o->json || o->summary || o->samples)
        opt_misuse("compare reads two results: no model, no output but -o");
}

/* An option that the task does not know would be passed over in silence. */
static void check_taken(const struct options *o)
{
    const struct {
        unsigned what;
        const char *option;
        bool is_given;
    } rows[] = {{EVAL_TEMPLATE, "--template", o->session.template != NULL},
                {EVAL_SHOTS, "--shots", o->n_shots != 0},
                {EVAL_SHOTS, "--shots-from", o->shots_from != NULL},
                {EVAL_BY, "--by", o->by != 0},
                {EVAL_BY, "--prompt", o->prompt != 0},
                {EVAL_WRITES, "--sample-shots", o->are_shots_sampled},
                {EVAL_WRITES, "--max-new", o->max_new != MAX_NEW},
                {EVAL_WRITES, "--slots", o->n_slots != 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].is_given && !(o->task->takes & rows[i].what))
            opt_misuse("%s: the task %s does not take it", rows[i].option, o->task->name);
    if (!o->n_shots != !o->shots_from)
        opt_misuse("--shots and --shots-from go together: how many, and where from");
}

static void check_options(struct options *o, const char *task)
{
    if (strcmp(task, "compare") == 0) {
        check_compare(o);
        return;
    }
    o->task = eval_task_find(task);
    if (!o->task) {
        struct buf known = {0};
        for (const struct eval_task *t = eval_tasks; t->name; t++)
            buf_printf(&known, "%s, ", t->name);
        opt_misuse("no task '%s'; known: %scompare", task, buf_str(&known));
    }
    if (!o->n_files)
        opt_misuse("%s: no benchmark file", task);
    session_check(&o->session);
    check_taken(o);
    if (!o->session.template)
        o->session.template = o->task->template;
}

int main(int argc, char **argv)
{
    cpu_fix_blas(argv);
    struct err e = ERR_INIT;
    struct options o = {.common = OPT_COMMON_DEFAULTS, .session = SESSION_DEFAULTS};
    o.session.template = NULL; /* the task's */
    o.max_new = MAX_NEW;
    int first = opt_parse(&spec, &o, argc, argv);
    o.files = (const char *const *)(argv + first + 1);
    o.n_files = argc - first - 1;
    check_options(&o, argv[first]);
    check_places(&o);
    struct run r = {.o = &o};
    char *args = opt_command_line(&spec, argc, argv);
    int rc = o.task ? measure(&r, args, &e) : compare(&o, &e);
    if (rc == 0 && o.task)
        report(&r);
    free(args);
    run_free(&r);
    if (rc == 0)
        rc = file_close_stdout(&e);
    if (rc)
        log_error("%s", e.msg);
    return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
