/* SPDX-License-Identifier: MIT
 * raise-embed: one row of features an instruction.
 *
 * The dataset is worked off in windows of records. A finished window is appended to OUT.part,
 * so that a killed run loses one window at most; at the end the windows become the shards of
 * the output. A run to standard output writes each shard as it fills. Windows are independent
 * of each other, so a continued run gives the bytes of an unbroken one. */
#include "base/cpu.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/version.h"
#include "cluster/cluster.h"
#include "features/embed.h"
#include "lm/batch.h"
#include "stream/part.h"
#include "stream/prov.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WINDOW = 512, SHARD_WINDOWS = 8 }; /* records a window, windows a shard */
enum reduce { REDUCE_POOL, REDUCE_PCA };

struct options {
    struct opt_common common;
    const char *model, *adapter, *template, *device, *shard;
    int64_t dim, max_length, limit, batch_tokens;
    int reduce, overlong, on_error, precision;
    bool is_sampled, is_resumed, is_forced;
    int64_t shard_i, shard_n; /* from `shard` */
};

static const char *const reduce_names[] = {"pool", "pca", NULL};
static const char *const overlong_names[] = {"drop", "cut", "fail", NULL};
static const char *const on_error_names[] = {"fail", "skip", NULL};
static const char *const precision_names[] = {"auto", "fp32", "bf16", NULL};

#define O(field) offsetof(struct options, field)
static const struct opt table[] = {
    {'m', "model", OPT_STRING, O(model), "MODEL", "Hugging Face folder or .gguf file", 0, 0,
     NULL},
    {0, "adapter", OPT_STRING, O(adapter), "DIR", "PEFT adapter put on the model", 0, 0, NULL},
    {0, "template", OPT_STRING, O(template), "NAME", "prompt template, or a file", 0, 0, NULL},
    {'d', "dim", OPT_INT, O(dim), "N", "width of the embedding", 1, 1 << 20, NULL},
    {0, "reduce", OPT_CHOICE, O(reduce), "HOW", "from the model's width to --dim", 0, 0,
     reduce_names},
    {0, "max-length", OPT_INT, O(max_length), "N", "tokens a record; 0: the model's positions",
     0, 1 << 24, NULL},
    {0, "overlong", OPT_CHOICE, O(overlong), "HOW", "records that are longer", 0, 0,
     overlong_names},
    {0, "on-error", OPT_CHOICE, O(on_error), "HOW", "bad records", 0, 0, on_error_names},
    {'n', "limit", OPT_INT, O(limit), "N", "use N records only; 0: all", 0, 1e15, NULL},
    {0, "sample", OPT_FLAG, O(is_sampled), NULL, "--limit takes a seeded sample, not the first",
     0, 0, NULL},
    {0, "shard", OPT_STRING, O(shard), "I/N", "the I-th (from 0) of N equal parts", 0, 0, NULL},
    {0, "resume", OPT_FLAG, O(is_resumed), NULL, "continue a killed run from OUT.part", 0, 0,
     NULL},
    {0, "batch-tokens", OPT_INT, O(batch_tokens), "N",
     "tokens worked on at once; 0: 1024 on a CPU, 16384 on a GPU", 0, 1 << 24, NULL},
    {0, "precision", OPT_CHOICE, O(precision), "P", "arithmetic", 0, 0, precision_names},
    {0, "device", OPT_STRING, O(device), "DEVICE", "auto, cpu or cuda[:N]", 0, 0, NULL},
    {0, "force", OPT_FLAG, O(is_forced), NULL, "start even if memory seems too small", 0, 0,
     NULL},
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
    const char *out;
    struct dataset data;
    int64_t from, n; /* records of this shard */
    struct tok *tok;
    struct tmpl *tmpl;
    struct lm *lm;
    struct embed_options how;
    struct prov *prov;
    /* the plan */
    int64_t n_windows;
    int64_t *window_tokens;
    struct embed_cost cost;
    struct embed_drops drops; /* found by measuring, then by scoring */
    /* the work */
    struct part *part; /* NULL: rows go straight to the writer */
    struct st_writer *writer;
    struct embed_rows rows;   /* on their way to the writer */
    struct embed_rows window; /* scored just now */
    int64_t n_written;
    struct log_bar bar;
    double n_done, n_scored; /* tokens */
};

static int64_t window_from(const struct run *r, int64_t w)
{
    return r->from + w * WINDOW;
}

static int64_t window_len(const struct run *r, int64_t w)
{
    int64_t left = r->n - w * WINDOW;
    return left < WINDOW ? left : WINDOW;
}

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
    struct data_options want = {.on_error = (enum data_on_error)o->on_error,
                                .limit = o->limit,
                                .is_sampled = o->is_sampled,
                                .seed = o->common.seed};
    int rc = dataset_read(&r->data, path, &want, e);
    if (rc)
        return rc;
    int64_t N = r->data.n_records;
    r->n = N;
    if (o->shard_n) {
        r->from = N / o->shard_n * o->shard_i + N % o->shard_n * o->shard_i / o->shard_n;
        r->n = N / o->shard_n * (o->shard_i + 1) +
               N % o->shard_n * (o->shard_i + 1) / o->shard_n - r->from;
    }
    if (!r->n)
        return err_set(e, ERR_EMPTY, "%s: no record in shard %s of %" PRId64, r->data.name,
                       o->shard, N);
    log_detail("%s: %" PRId64 " records, %" PRId64 " skipped", r->data.name, N,
               r->data.n_problems);
    return 0;
}

static int check_shapes(struct run *r, struct err *e)
{
    const struct options *o = r->o;
    struct lm_config c;
    int rc = lm_config_read(&c, o->model, e);
    if (rc)
        return rc;
    if (o->dim > c.d_model)
        return err_set(e, ERR_RANGE, "--dim %" PRId64 ": the model is only %" PRId64 " wide",
                       o->dim, c.d_model);
    if (o->max_length > c.max_positions)
        return err_set(e, ERR_RANGE,
                       "--max-length %" PRId64 ": the model has %" PRId64 " positions",
                       o->max_length, c.max_positions);
    if (tok_n_vocab(r->tok) > c.n_vocab)
        return err_set(e, ERR_MISMATCH,
                       "%s: the tokenizer has %" PRId64 " tokens, the model %" PRId64, o->model,
                       tok_n_vocab(r->tok), c.n_vocab);
    if (embed_start_token(r->tok) < 0)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: the tokenizer has neither BOS nor EOS nor padding token to start a "
                       "response with",
                       o->model);
    r->how = (struct embed_options){.tok = r->tok,
                                    .tmpl = r->tmpl,
                                    .max_len = o->max_length ? o->max_length : c.max_positions,
                                    .overlong = (enum example_overlong)o->overlong,
                                    .batch_tokens = o->batch_tokens,
                                    .dim = o->reduce == REDUCE_PCA ? c.d_model : o->dim};
    return 0;
}

/* Tokenises everything once: what there is to do, and what will drop out. */
static int measure(struct run *r, struct err *e)
{
    r->n_windows = (r->n + WINDOW - 1) / WINDOW;
    r->window_tokens = mem_zalloc((size_t)r->n_windows, sizeof *r->window_tokens);
    for (int64_t w = 0; w < r->n_windows; w++) {
        int64_t before = r->cost.n_tokens;
        int rc = embed_measure(&r->how, &r->data, window_from(r, w), window_len(r, w), &r->cost,
                               &r->drops, e);
        if (rc)
            return rc;
        r->window_tokens[w] = r->cost.n_tokens - before;
    }
    if (!r->cost.n_rows)
        return err_set(e, ERR_EMPTY, "%s: none of %" PRId64 " records can be scored: %s",
                       r->data.name, r->n, embed_why_text(r->drops.drop[0].why));
    return 0;
}

/* ---- memory and model ---- */

static struct lm_options model_options(const struct run *r)
{
    struct lm_options lo = LM_OPTIONS_DEFAULTS;
    lo.precision = (enum lm_precision)r->o->precision;
    lo.device = r->o->device;
    lo.tuning = LM_TUNE_NONE;
    lo.micro_tokens = r->o->batch_tokens;
    lo.longest = r->cost.longest;
    return lo;
}

static bool keeps_all_rows(const struct run *r)
{
    return r->o->common.is_uncompressed || r->o->reduce == REDUCE_PCA;
}

/* Says what will be taken; refuses what does not fit. */
static int plan_memory(struct run *r, struct lm_options *lo, struct err *e)
{
    struct lm_memory p;
    int rc = lm_plan(r->o->model, lo, &p, e);
    if (rc)
        return rc;
    lo->micro_tokens = p.micro_tokens;
    /* Not the longest record: the batches of a shard are those of the whole. */
    r->how.batch_tokens = p.asked_tokens < p.micro_tokens ? p.asked_tokens : p.micro_tokens;
    if (p.device_note[0])
        (p.is_warning ? log_warn : log_detail)("the CPU is used: %s", p.device_note);
    int64_t n_rows = keeps_all_rows(r) ? r->cost.n_rows : WINDOW * SHARD_WINDOWS;
    int64_t rows = n_rows * (40 + 4 * r->how.dim), need = p.total + (p.is_gpu ? 0 : rows);
    char a[32], b[32], c[32], *model = lm_memory_text(&p);
    log_note("memory: %s, rows %s: %s; %s available%s", model, log_bytes(a, rows),
             log_bytes(b, need), log_bytes(c, p.available), p.is_gpu ? " on the GPU" : "");
    free(model);
    if (p.micro_tokens < p.wanted_tokens)
        log_warn("a batch of %" PRId64 " tokens does not fit: %" PRId64 " instead",
                 p.wanted_tokens, p.micro_tokens);
    if (p.available && need > p.available && !r->o->is_forced)
        return err_set(e, ERR_MEMORY,
                       "needs %s of memory and %s are available: lower --batch-tokens or "
                       "--max-length (longest record: %" PRId64 " tokens), or --force",
                       b, c, r->cost.longest);
    return 0;
}

static int open_model(struct run *r, struct err *e)
{
    struct lm_options lo = model_options(r);
    int rc = plan_memory(r, &lo, e);
    if (rc)
        return rc;
    r->lm = lm_open(r->o->model, &lo, e);
    if (!r->lm)
        return e->code;
    if (r->o->adapter)
        rc = lm_load_adapter(r->lm, r->o->adapter, e);
    log_detail("%s: %s%s", r->o->model, lm_arith_path(r->lm),
               cpu_was_reexecuted() ? ", OpenBLAS kernel set by re-execution" : "");
    return rc;
}

/* ---- output ---- */

static void set_meta(const struct run *r, struct st_msg *m)
{
    char hex[17];
    char number[32];
    st_msg_set_meta(m, "raise.kind", "features");
    st_msg_set_meta(m, "raise.version", ST_FORMAT_VERSION);
    st_msg_set_meta(m, "raise.dataset", prov_hex(hex, r->data.hash));
    st_msg_set_meta(m, "raise.model", prov_hex(hex, lm_hash(r->lm)));
    st_msg_set_meta(m, "raise.template", tmpl_name(r->tmpl));
    snprintf(number, sizeof number, "%" PRId64, r->how.max_len);
    st_msg_set_meta(m, "raise.max_length", number);
    snprintf(number, sizeof number, "%" PRId64, r->data.n_records);
    st_msg_set_meta(m, "raise.n_total", number);
    snprintf(number, sizeof number, "%" PRId64, r->from);
    st_msg_set_meta(m, "raise.first_row", number);
    snprintf(number, sizeof number, "%" PRId64, r->n);
    st_msg_set_meta(m, "raise.n_rows", number);
    st_msg_set_meta(m, "raise.reduce", reduce_names[r->o->reduce]);
    prov_write(r->prov, m, NULL);
}

static int put_rows(struct run *r, const struct embed_rows *rows, struct err *e)
{
    if (!rows->n)
        return 0;
    struct st_msg *m = st_msg_new();
    set_meta(r, m);
    embed_rows_to_msg(rows, m);
    int rc = st_writer_put(r->writer, m, e);
    st_msg_free(m);
    r->n_written += rows->n;
    return rc;
}

/* Rows of window w have been appended to r->rows: a full shard goes out. */
static int window_arrived(struct run *r, int64_t w, struct err *e)
{
    if (keeps_all_rows(r) || ((w + 1) % SHARD_WINDOWS && w + 1 < r->n_windows))
        return 0;
    int rc = put_rows(r, &r->rows, e);
    embed_rows_clear(&r->rows);
    return rc;
}

static int reduce_by_pca(struct run *r, struct err *e)
{
    int64_t d = r->o->dim;
    float *x = mem_alloc((size_t)(r->rows.n * d), sizeof *x);
    int rc = cluster_pca(x, NULL, NULL, r->rows.embedding, r->rows.n, r->rows.dim, d, e);
    if (rc) {
        free(x);
        return rc;
    }
    free(r->rows.embedding);
    r->rows.embedding = x;
    r->rows.dim = d;
    return 0;
}

static struct embed_rows slice(const struct embed_rows *r, int64_t from, int64_t n)
{
    struct embed_rows s = *r;
    s.n = r->n - from < n ? r->n - from : n;
    s.len_x += from;
    s.len_y += from;
    s.logp_yx += from;
    s.logp_y += from;
    s.embedding += from * r->dim;
    s.hash += from;
    s.source += from;
    return s;
}

/* What was kept to the end. */
static int put_kept(struct run *r, struct err *e)
{
    int64_t step = r->o->common.is_uncompressed ? r->rows.n : WINDOW * SHARD_WINDOWS;
    int rc = r->o->reduce == REDUCE_PCA && r->rows.n ? reduce_by_pca(r, e) : 0;
    for (int64_t at = 0; !rc && at < r->rows.n; at += step) {
        struct embed_rows s = slice(&r->rows, at, step);
        rc = put_rows(r, &s, e);
    }
    return rc;
}

/* ---- the part ---- */

/* Which run this is: what its bytes depend on. */
static char *part_parameters(const struct run *r)
{
    struct buf b = {0};
    const struct options *o = r->o;
    char hex[17];
    buf_printf(&b, "version=%s %d\n", RAISE_VERSION, WINDOW);
    buf_printf(&b, "dataset=%s\n", prov_hex(hex, r->data.hash));
    buf_printf(&b, "on-error=%s\nlimit=%" PRId64 "\nsample=%d\nseed=%" PRIu64 "\n",
               on_error_names[o->on_error], o->limit, o->is_sampled,
               o->is_sampled ? o->common.seed : 0);
    buf_printf(&b, "shard=%s\n", o->shard ? o->shard : "all");
    buf_printf(&b, "model=%s\n", prov_hex(hex, lm_hash(r->lm)));
    buf_printf(&b, "adapter=%s\n", o->adapter ? o->adapter : "none");
    buf_printf(&b, "arithmetic=%s\n", lm_arith_path(r->lm));
    buf_printf(&b, "tokenizer=%s\n", prov_hex(hex, tok_hash(r->tok)));
    buf_printf(&b, "template=%s\n", prov_hex(hex, tmpl_hash(r->tmpl)));
    buf_printf(&b, "max-length=%" PRId64 "\noverlong=%s\nbatch-tokens=%" PRId64 "\n",
               r->how.max_len, overlong_names[o->overlong], r->how.batch_tokens);
    buf_printf(&b, "width=%" PRId64 "\n", r->how.dim);
    return buf_str(&b);
}

static bool can_have_part(const char *out)
{
    struct stat st;
    return !file_is_std(out) && (stat(out, &st) < 0 || S_ISREG(st.st_mode));
}

static int open_output(struct run *r, struct err *e)
{
    int flags = r->o->common.is_uncompressed ? ST_PLAIN : 0;
    if (!can_have_part(r->out)) {
        r->writer = st_writer_open(r->out, flags, e);
        return r->writer ? 0 : e->code;
    }
    char *path = mem_printf("%s.part", r->out), *parameters = part_parameters(r);
    if (!r->o->is_resumed && file_exists(path))
        log_warn("%s: left by an unfinished run, discarded (--resume would continue it)", path);
    r->part = part_open(path, parameters, r->o->is_resumed, e);
    if (r->part && part_n_entries(r->part))
        log_note("%s: continuing after %" PRId64 " of %" PRId64 " windows", path,
                 part_n_entries(r->part), r->n_windows);
    free(path);
    free(parameters);
    return r->part ? 0 : e->code;
}

static int save_window(struct run *r, size_t n_drops_before, struct err *e)
{
    struct st_msg *m = st_msg_new();
    int64_t n = (int64_t)(r->drops.n - n_drops_before);
    char *data;
    size_t len;
    embed_rows_to_msg(&r->window, m);
    if (n)
        st_msg_add(m, "drops", ST_I64, 2, (int64_t[]){n, 3}, r->drops.drop + n_drops_before);
    st_msg_serialize(m, &data, &len);
    int rc = part_put(r->part, data, len, e);
    free(data);
    st_msg_free(m);
    return rc;
}

/* A saved window's rows, and the records that dropped out when it was scored. */
static int load_window(struct run *r, int64_t w, bool with_drops, struct err *e)
{
    char *data;
    size_t len;
    int rc = part_get(r->part, w, &data, &len, e);
    if (rc)
        return rc;
    struct st_msg *m = st_msg_parse(data, len, r->out, e);
    if (!m) {
        free(data);
        return e->code;
    }
    const struct st_tensor *t = st_msg_find(m, "drops");
    for (int64_t i = 0; with_drops && t && i < t->shape[0]; i++) {
        MEM_GROW(r->drops.drop, r->drops.cap, r->drops.n + 1);
        memcpy(&r->drops.drop[r->drops.n++], (const int64_t *)t->data + 3 * i,
               3 * sizeof(int64_t));
    }
    if (!with_drops)
        rc = embed_rows_append(&r->rows, m, e);
    st_msg_free(m);
    free(data);
    return rc;
}

/* ---- the work ---- */

static void on_progress(void *arg, int64_t n_tokens)
{
    struct run *r = arg;
    r->n_scored += (double)n_tokens;
    log_bar_set(&r->bar, r->n_scored);
}

static int score_window(struct run *r, int64_t w, struct err *e)
{
    size_t n_drops = r->drops.n;
    embed_rows_clear(&r->window);
    int rc = embed_window(r->lm, &r->how, &r->data, window_from(r, w), window_len(r, w),
                          r->part ? &r->window : &r->rows, &r->drops, e);
    if (rc)
        return rc;
    return r->part ? save_window(r, n_drops, e) : window_arrived(r, w, e);
}

static int score(struct run *r, struct err *e)
{
    int64_t first = r->part ? part_n_entries(r->part) : 0;
    double total = 0;
    int rc = 0;
    for (int64_t w = first; w < r->n_windows; w++)
        total += (double)r->window_tokens[w];
    for (int64_t w = 0; !rc && w < first; w++)
        rc = load_window(r, w, true, e);
    log_bar_start(&r->bar, "scoring", "tokens", total);
    r->how.progress = on_progress;
    r->how.progress_arg = r;
    for (int64_t w = first; !rc && w < r->n_windows; w++)
        rc = score_window(r, w, e);
    log_bar_end(&r->bar);
    return rc;
}

/* From the part to the output. */
static int assemble(struct run *r, struct err *e)
{
    r->writer = st_writer_open(r->out, r->o->common.is_uncompressed ? ST_PLAIN : 0, e);
    int rc = r->writer ? 0 : e->code;
    for (int64_t w = 0; !rc && w < r->n_windows; w++) {
        rc = load_window(r, w, false, e);
        if (!rc)
            rc = window_arrived(r, w, e);
    }
    return rc;
}

static int finish(struct run *r, struct err *e)
{
    int rc = r->part ? assemble(r, e) : 0;
    if (!rc && keeps_all_rows(r))
        rc = put_kept(r, e);
    if (!rc && !r->n_written)
        rc = err_set(e, ERR_EMPTY, "%s: no record gave a row: %s", r->data.name,
                     embed_why_text(r->drops.drop[0].why));
    if (rc)
        return rc;
    rc = st_writer_close(r->writer, e);
    r->writer = NULL;
    if (!rc) {
        part_close(r->part, true);
        r->part = NULL;
    }
    return rc;
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
    int64_t n = r->data.n_problems + (int64_t)r->drops.n, k = 0;
    if (r->cost.n_cut)
        log_warn("%s: %" PRId64 " records cut to %" PRId64 " tokens", r->data.name,
                 r->cost.n_cut, r->how.max_len);
    if (!n)
        return;
    log_warn("%s: %" PRId64 " of %" PRId64 " records left out%s", r->data.name, n,
             r->n + r->data.n_problems,
             n > SHOWN && log_level < 2 ? "; the first 10 (-v: all):" : ":");
    if (r->drops.n)
        qsort(r->drops.drop, r->drops.n, sizeof *r->drops.drop, by_source);
    for (int64_t i = 0; i < r->data.n_problems; i++, k++)
        if (k < SHOWN || log_level >= 2)
            log_note("%s:%" PRId64 ": record %" PRId64 ": %s", r->data.name,
                     r->data.problems[i].line, r->data.problems[i].source,
                     r->data.problems[i].why);
    for (size_t i = 0; i < r->drops.n; i++, k++)
        if (k < SHOWN || log_level >= 2)
            log_note("%s:%" PRId64 ": record %" PRId64 ": %s", r->data.name,
                     r->drops.drop[i].line, r->drops.drop[i].source,
                     embed_why_text(r->drops.drop[i].why));
}

static void add_provenance(struct run *r, const char *path, int argc, char **argv)
{
    if (r->o->common.no_provenance)
        return;
    char *args = opt_command_line(argc, argv);
    r->prov = prov_new(spec.program, args, r->o->common.seed);
    prov_set_path(r->prov, lm_arith_path(r->lm));
    prov_add_input(r->prov, path, r->data.hash);
    prov_add_input(r->prov, r->o->model, lm_hash(r->lm));
    free(args);
}

static void warn_of_markers(const struct run *r)
{
    char *foreign = example_foreign_markers(r->tok, r->tmpl);
    if (foreign)
        log_warn("template %s: %s: no tokens of %s, so the model sees them as plain text",
                 tmpl_name(r->tmpl), foreign, r->o->model);
    free(foreign);
}

static int embed(struct run *r, const char *path, int argc, char **argv, struct err *e)
{
    const struct options *o = r->o;
    int rc = file_refuse_tty(r->out, e);
    if (!rc)
        rc = read_data(r, path, e);
    if (!rc && !(r->tmpl = tmpl_load(o->template, e)))
        rc = e->code;
    if (!rc && !(r->tok = tok_load(o->model, e)))
        rc = e->code;
    if (!rc)
        warn_of_markers(r);
    if (!rc)
        rc = check_shapes(r, e);
    if (!rc)
        rc = measure(r, e);
    if (!rc)
        rc = open_model(r, e);
    if (rc)
        return rc;
    r->rows.dim = r->window.dim = r->how.dim;
    add_provenance(r, path, argc, argv);
    rc = open_output(r, e);
    if (!rc)
        rc = score(r, e);
    return rc ? rc : finish(r, e);
}

/* A part is kept for --resume only, and only when it holds something. */
static void run_free(struct run *r)
{
    bool is_kept = r->part && r->o->is_resumed && part_n_entries(r->part) > 0;
    if (is_kept)
        log_note("%s.part: %" PRId64 " of %" PRId64 " windows kept for --resume", r->out,
                 part_n_entries(r->part), r->n_windows);
    part_close(r->part, !is_kept);
    st_writer_abort(r->writer);
    embed_rows_free(&r->rows);
    embed_rows_free(&r->window);
    embed_drops_free(&r->drops);
    free(r->window_tokens);
    prov_free(r->prov);
    lm_close(r->lm);
    tok_free(r->tok);
    tmpl_free(r->tmpl);
    dataset_free(&r->data);
}

static void report(struct run *r)
{
    char n[32], rate[32];
    report_lost(r);
    double spent = log_seconds() - r->bar.start;
    log_summary("%" PRId64 " records, %s tokens, %s tokens/s", r->n_written,
                log_count(n, r->n_scored),
                log_count(rate, spent > 0 ? r->n_scored / spent : 0));
}

int main(int argc, char **argv)
{
    cpu_fix_blas(argv);
    struct err e = ERR_INIT;
    struct options o = {
        .common = OPT_COMMON_DEFAULTS, .template = "alpaca", .device = "auto", .dim = 32};
    int first = opt_parse(&spec, &o, argc, argv);
    const char *path = first < argc ? argv[first] : NULL;
    if (!o.model)
        opt_misuse("-m MODEL is missing");
    if (parse_shard(&o) < 0)
        opt_misuse("--shard: '%s' is not I/N with 0 <= I < N", o.shard);
    if (o.shard && o.reduce == REDUCE_PCA)
        opt_misuse("--shard does not go with --reduce pca, which needs all records");
    if (file_is_std(path) && isatty(STDIN_FILENO))
        opt_misuse("no dataset");
    struct run r = {.o = &o, .out = o.common.out};
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
