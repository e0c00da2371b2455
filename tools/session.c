/* SPDX-License-Identifier: MIT
 * session: the one door to a model; see session.h. */
#include "session.h"

#include "base/cpu.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "lm/batch.h"
#include "stream/model_path.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const session_precisions[] = {"auto", "fp32", "bf16", NULL};
const char *const session_on_errors[] = {"fail", "skip", NULL};

bool session_words(const char *option, struct buf *b)
{
    bool is_template = option && !strcmp(option, "template");
    if (is_template) {
        buf_puts(b, " auto model");
        for (const char *const *n = tmpl_names(); *n; n++)
            buf_printf(b, " %s", *n);
    }
    if (option && !strcmp(option, "device"))
        buf_puts(b, " auto cpu cuda");
    return is_template;
}

void session_check(struct session_options *o)
{
    if (!o->model)
        opt_misuse("-m MODEL is missing");
    o->named = o->model;
}

/* A name of the Hub becomes the folder of its snapshot. One that is not found stays as it is:
 * session_encoding says so, when all else has been checked. */
static void find_model(struct session_options *o)
{
    static char *path; /* reachable to the end */
    if (model_path_find(o->named, &path, NULL) < 0)
        return;
    if (strcmp(path, o->named) != 0)
        log_note("%s: %s", o->named, path);
    o->model = path;
}

void session_add_places(struct session_options *o, struct places *p)
{
    find_model(o);
    places_add(p, PLACE_INPUT, "-m", o->model);
    places_add(p, PLACE_INPUT, "--adapter", o->adapter);
    if (!tmpl_builtin(o->template) && strcmp(o->template, "auto") != 0 &&
        strcmp(o->template, "model") != 0)
        places_add(p, PLACE_INPUT, "--template", o->template);
}

/* ---- encoding ---- */

static void warn_of_markers(const struct session *s)
{
    char *foreign = example_foreign_markers(s->tok, s->tmpl);
    if (foreign)
        log_warn("template %s: %s: no tokens of %s, so the model sees them as plain text",
                 tmpl_name(s->tmpl), foreign, s->o->model);
    free(foreign);
}

/* strftime_now's time: a template that asks for the date gives the same text every day, unless
 * SOURCE_DATE_EPOCH sets another. 26 July 2024 is what Llama 3.1's has where it is not told. */
static int64_t template_time(void)
{
    const char *s = getenv("SOURCE_DATE_EPOCH");
    return s && *s ? strtoll(s, NULL, 10) : 1721995200;
}

static char *token_text(const struct tok *t, int32_t id)
{
    struct buf b = {0};
    if (id < 0)
        return NULL;
    tok_text(t, id, &b);
    return buf_str(&b);
}

/* The model's own template; NULL without an error: it has none. */
static struct tmpl *load_own(const struct session *s, struct err *e)
{
    const struct tok *t = s->tok;
    if (!tok_chat_template(t))
        return NULL;
    char *bos = token_text(t, tok_bos(t)), *eos = token_text(t, tok_eos(t)),
         *unk = token_text(t, tok_unk(t)), *pad = token_text(t, tok_pad(t));
    struct tmpl_model m = {.name = s->o->model,
                           .text = tok_chat_template(t),
                           .tool_text = tok_tool_template(t),
                           .bos = bos,
                           .eos = eos,
                           .unk = unk,
                           .pad = pad,
                           .now = template_time()};
    struct tmpl *own = tmpl_of_model(&m, e);
    free(bos);
    free(eos);
    free(unk);
    free(pad);
    return own;
}

static int load_template(struct session *s, struct err *e)
{
    const char *name = s->o->template;
    bool is_auto = strcmp(name, "auto") == 0, is_model = strcmp(name, "model") == 0;
    struct err why = ERR_INIT;
    if (!is_auto && !is_model) {
        s->tmpl = tmpl_load(name, e);
        s->own = s->tmpl ? load_own(s, &why) : NULL;
        return s->tmpl ? 0 : e->code;
    }
    s->tmpl = load_own(s, e);
    if (tok_has_odd_template(s->tok))
        return err_set(e, ERR_FORMAT,
                       "%s: tokenizer_config.json: chat_template is neither a template nor "
                       "templates by name: --template NAME chooses another",
                       s->o->model);
    if (!s->tmpl && tok_chat_template(s->tok))
        return err_prefix(e, "--template NAME chooses another");
    if (!s->tmpl && is_model)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: has no chat template: --template NAME chooses one", s->o->model);
    if (s->tmpl) {
        if (is_auto)
            log_note("template: the model's own, of %s", s->o->model);
        return 0;
    }
    log_note("template: alpaca, for %s has none of its own", s->o->model);
    s->tmpl = tmpl_load("alpaca", e);
    return s->tmpl ? 0 : e->code;
}

int session_encoding(struct session *s, const struct session_options *o, struct err *e)
{
    s->o = o;
    char *path = NULL;
    int rc = o->model == o->named ? model_path_find(o->named, &path, e) : 0;
    free(path);
    if (!rc)
        rc = lm_config_read(&s->config, o->model, e);
    if (rc)
        return rc;
    s->max_len = o->max_length ? o->max_length : s->config.max_positions;
    if (s->max_len > s->config.max_positions)
        return err_set(e, ERR_RANGE,
                       "--max-length %" PRId64 ": the model has %" PRId64 " positions",
                       s->max_len, s->config.max_positions);
    s->tok = tok_load(o->model, e);
    rc = s->tok ? load_template(s, e) : e->code;
    if (rc)
        return rc;
    warn_of_markers(s);
    if (tok_eos(s->tok) < 0)
        log_warn("%s: its files name no end token that the vocabulary has: answers are read "
                 "without one",
                 o->model);
    return 0;
}

/* ---- records and template ---- */

/* By the counts of all that was read: whether a key has a place does not depend on the record.
 */
static void warn_of_keys(const struct session *s, const struct dataset *d)
{
    for (int k = 0; k < DATA_N_KEYS; k++) {
        enum data_key key = (enum data_key)(1u << k);
        const struct data_record r = {.keys = key,
                                      .tools = key == DATA_KEY_TOOLS ? "[]" : NULL};
        const char *what =
            key == DATA_KEY_WEIGHT   ? "other than 0 and 1, which counts as 1"
            : key == DATA_KEY_TRAIN  ? "of turns that are no assistant's, which "
                                       "are not learnt from"
            : key == DATA_KEY_LABEL  ? "false, which are learnt from as the others "
                                       "are"
            : key == DATA_KEY_DETAIL ? "which is not heeded: the whole turn counts"
                                     : "for which the template has no place";
        if (d->n_with_key[k] && tmpl_unheeded(s->tmpl, &r))
            log_warn("%s: %" PRId64 " of %" PRId64 " records have \"%s\" %s (the first: record "
                     "%" PRId64 "; template %s)",
                     d->name, d->n_with_key[k], d->n_read, data_key_name(key), what,
                     d->first_with_key[k], tmpl_name(s->tmpl));
    }
}

/* Do the two templates make the same tokens of a record? Where one of them cannot, yes. */
static bool is_same_example(const struct session *s, const struct data_record *r)
{
    struct example a = {0}, b = {0};
    struct err e = ERR_INIT;
    bool is_same = example_make(s->tok, s->tmpl, r, 0, EXAMPLE_DROP, &a, &e) < 1 ||
                   example_make(s->tok, s->own, r, 0, EXAMPLE_DROP, &b, &e) < 1 ||
                   (a.n == b.n && memcmp(a.ids, b.ids, (size_t)a.n * sizeof *a.ids) == 0 &&
                    memcmp(a.is_loss, b.is_loss, (size_t)a.n) == 0);
    example_free(&a);
    example_free(&b);
    return is_same;
}

static void warn_of_difference(const struct session *s, const struct dataset *d)
{
    enum { LOOKED_AT = 100 };
    struct data_reader *reader = s->own ? data_reader_new(d) : NULL;
    for (int64_t i = 0; reader && i < d->n_records && i < LOOKED_AT; i++) {
        struct err e = ERR_INIT;
        const struct data_record *r = data_reader_get(reader, i, &e);
        if (!r || is_same_example(s, r))
            continue;
        log_warn("%s: record %" PRId64 ": template %s gives other tokens than the model's own "
                 "(--template model)",
                 d->name, (int64_t)d->records[i].source, tmpl_name(s->tmpl));
        break;
    }
    data_reader_free(reader);
}

void session_check_records(const struct session *s, const struct dataset *d)
{
    warn_of_keys(s, d);
    warn_of_difference(s, d);
}

void session_name_skipped(const struct dataset *d)
{
    int64_t i = 0;
    for (; i < d->n_problems && d->problems[i].why; i++)
        log_warn("%s:%" PRId64 ": record %" PRId64 ": skipped: %s",
                 dataset_file_name(d, d->problems[i].source), d->problems[i].line,
                 d->problems[i].source, d->problems[i].why);
    if (i < d->n_problems)
        log_warn("%s: %" PRId64 " more records skipped", d->name, d->n_problems - i);
}

static int show(const struct session *s, const struct dataset *d, struct data_reader *reader,
                int64_t i, enum example_overlong overlong, struct err *e)
{
    struct example x = {0};
    struct buf text = {0};
    const struct data_record *r = data_reader_get(reader, i, e);
    int made = r ? example_make(s->tok, s->tmpl, r, s->max_len, overlong, &x, e) : e->code;
    if (made < 0)
        return dataset_name_record(e, d, i);
    char *place = dataset_place(d, i);
    buf_printf(&text, "%s: ", place);
    free(place);
    if (!made)
        buf_printf(&text, "no token of its response is within %" PRId64 " tokens\n",
                   s->max_len);
    else
        buf_printf(&text, "%d prompt and %d response tokens%s\n", (int)x.n_prompt,
                   (int)x.n_response, x.is_cut ? ", cut" : "");
    if (made)
        example_show(s->tok, &x, &text);
    fwrite(text.data, 1, text.len, stdout);
    putchar('\n');
    buf_free(&text);
    example_free(&x);
    return 0;
}

int session_show(const struct session *s, const char *path, const struct session_records *which,
                 int64_t n, enum example_overlong overlong, struct err *e)
{
    struct data_options want = {.limit = n,
                                .on_error = (enum data_on_error)which->on_error,
                                .max_record = which->max_record};
    struct dataset d = {0};
    int rc = dataset_read(&d, path, &want, e);
    struct data_reader *reader = data_reader_new(&d);
    for (int64_t i = 0; !rc && i < d.n_records; i++)
        rc = show(s, &d, reader, i, overlong, e);
    if (!rc)
        session_check_records(s, &d);
    data_reader_free(reader);
    dataset_free(&d);
    return rc;
}

/* ---- memory and model ---- */

struct lm_options session_lm_options(const struct session *s, int64_t longest)
{
    struct lm_options lo = LM_OPTIONS_DEFAULTS;
    lo.precision = (enum lm_precision)s->o->precision;
    lo.device = s->o->device;
    lo.tuning = LM_TUNE_NONE;
    lo.micro_tokens = s->o->micro_tokens;
    lo.longest = longest;
    return lo;
}

static void say_memory(const struct lm_memory *p, const struct session_need *need,
                       int64_t total)
{
    char own[32], sum[32], left[32], *model = lm_memory_text(p);
    struct buf b = {0};
    buf_puts(&b, model);
    if (need->what)
        buf_printf(&b, ", %s %s", need->what, text_bytes(own, need->bytes));
    log_note("memory: %s: %s; %s available%s", buf_str(&b), text_bytes(sum, total),
             text_bytes(left, p->available), p->is_gpu ? " on the GPU" : "");
    buf_free(&b);
    free(model);
    if (p->micro_tokens < p->wanted_tokens)
        log_warn("micro-batch of %" PRId64 " tokens does not fit: %" PRId64 " instead",
                 p->wanted_tokens, p->micro_tokens);
}

/* Says what will be taken; refuses what does not fit. */
static int plan_memory(struct session *s, struct lm_options *lo,
                       const struct session_need *need, struct err *e)
{
    struct lm_memory *p = &s->memory;
    char a[32], b[32];
    int rc = lm_plan(s->o->model, lo, p, e);
    if (rc)
        return rc;
    lo->micro_tokens = p->micro_tokens;
    lo->n_slots = p->n_slots;
    if (p->device_note[0])
        (p->is_warning ? log_warn : log_detail)("the CPU is used: %s", p->device_note);
    int64_t total = p->total + (p->is_gpu ? 0 : need->bytes), host = mem_available_bytes();
    say_memory(p, need, total);
    if (s->o->is_forced)
        return 0;
    if (p->available && total > p->available)
        return err_set(e, ERR_MEMORY,
                       "needs %s of memory and %s are available: lower %s or --max-length "
                       "(longest record: %" PRId64 " tokens), %sor --force",
                       text_bytes(a, total), text_bytes(b, p->available), need->option,
                       lo->longest,
                       lo->tuning == LM_TUNE_NONE || lo->recompute ? "" : "--recompute, ");
    if (p->is_gpu && host && p->host + need->bytes > host)
        return err_set(e, ERR_MEMORY,
                       "needs %s of the host's memory and %s are available (--force)",
                       text_bytes(a, p->host + need->bytes), text_bytes(b, host));
    return 0;
}

int session_open(struct session *s, struct lm_options *lo, const struct session_need *need,
                 struct err *e)
{
    const char *path = s->o->model;
    int rc = plan_memory(s, lo, need, e);
    if (rc)
        return rc;
    s->lm = lm_open(path, lo, e);
    if (!s->lm)
        return e->code;
    s->micro_tokens = lm_micro_tokens(s->lm);
    if (s->o->adapter)
        rc = lm_load_adapter(s->lm, s->o->adapter, e);
    const char *note = cpu_was_reexecuted() ? ", OpenBLAS kernel set by re-execution" : "";
    if (lo->tuning == LM_TUNE_NONE)
        log_detail("%s: %s%s", path, lm_arith_path(s->lm), note);
    else
        log_detail("%s: %s%s, %" PRId64 " trainable parameters", path, lm_arith_path(s->lm),
                   note, lm_n_trainable(s->lm));
    return rc;
}

void session_watch(struct session *s)
{
    int64_t now = lm_micro_tokens(s->lm);
    if (now < s->micro_tokens)
        log_warn("out of memory: micro-batches of %" PRId64 " tokens from here on", now);
    s->micro_tokens = now;
}

void session_add_inputs(const struct session *s, struct prov *p)
{
    if (!p)
        return;
    prov_add_input(p, s->o->named, lm_hash(s->lm));
    if (s->o->adapter)
        prov_add_input(p, s->o->adapter, lm_adapter_hash(s->lm));
}

void session_close(struct session *s)
{
    lm_close(s->lm);
    tok_free(s->tok);
    tmpl_free(s->tmpl);
    tmpl_free(s->own);
    *s = (struct session){0};
}
