/* SPDX-License-Identifier: MIT
 * export: which writer, and LLaMA-Factory's stanza; see export.h. The writers: export_json.c,
 * export_csv.c, export_text.c. */
#include "data/export.h"

#include "base/file.h"
#include "data/export_impl.h"

#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

static bool ends_with(const char *s, size_t n, const char *end)
{
    size_t m = strlen(end);
    return n > m && strncmp(s + n - m, end, m) == 0;
}

/* What follows the last dot of the base name, with it; "" where there is none. */
static const char *suffix_of(const char *path, size_t n)
{
    for (size_t i = n; i > 0 && path[i - 1] != '/'; i--)
        if (path[i - 1] == '.' && i > 1 && path[i - 2] != '/')
            return path + i - 1;
    return "";
}

int export_format_of(const char *path, enum export_format *f, bool *is_foreign, struct err *e)
{
    static const struct {
        const char *end;
        enum export_format f;
    } names[] = {{".json", EXPORT_JSON},
                 {".jsonl", EXPORT_JSONL},
                 {".ndjson", EXPORT_JSONL},
                 {".csv", EXPORT_CSV}};
    static const char *const foreign[] = {
        ".parquet", ".arrow", ".feather", ".xz",   ".bz2",    ".zip", ".lz4",        ".br",
        ".7z",      ".tar",   ".tsv",     ".xlsx", ".sqlite", ".npz", ".safetensors"};
    size_t n = file_is_std(path) ? 0 : pack_name_len(path);
    const char *suffix = suffix_of(path, n);
    *is_foreign = false;
    if (n == 0 || !*suffix)
        return 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (ends_with(path, n, names[i].end)) {
            *f = names[i].f;
            return 1;
        }
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        *is_foreign |= ends_with(path, n, foreign[i]);
    return err_set(
        e, ERR_UNSUPPORTED,
        "%s: \"%.*s\" is not written; known are .json, .jsonl and .csv, with .zst or "
        ".gz after it or not",
        path, (int)(path + n - suffix), suffix);
}

int export_write(struct pack *out, const struct export_job *job, struct err *e)
{
    switch (job->format) {
    case EXPORT_JSON:
        return export_write_json(out, job, e);
    case EXPORT_CSV:
        return export_write_csv(out, job, e);
    case EXPORT_TEXT:
        return export_write_text(out, job, e);
    case EXPORT_JSONL:
    case EXPORT_INDICES:
        break;
    }
    return export_write_lines(out, job, e);
}

/* ---- LLaMA-Factory's stanza ---- */

/* What all of the records that are written have in common. */
struct summary {
    enum data_layout layout;
    const char *fields[DATA_N_FIELDS]; /* as in data_record; a system's where one has it */
    bool has_input, has_history, has_system;
    bool has_lists; /* a record is more than one turn of each */
    bool has_pairs; /* apart from the system's */
};

static bool has_field(const struct data_record *r, const char *field)
{
    struct data_member m;
    for (size_t at = 0; field && data_member_next(r->raw, r->raw_len, &at, &m);)
        if (data_member_is(&m, field))
            return true;
    return false;
}

/* One entry describes all records: they must have the same fields. */
static int summarize(struct summary *s, const struct export_job *job, struct err *e)
{
    const struct dataset *d = job->d;
    struct data_reader *t = data_reader_new(d);
    int rc = 0;
    for (int64_t i = 0; i < job->n_rows && rc == 0; i++) {
        const struct data_record *r = data_reader_get(t, export_row(job, i), e);
        if (!r) {
            rc = dataset_name_record(e, d, export_row(job, i));
            break;
        }
        if (i == 0) {
            s->layout = r->layout;
            memcpy(s->fields, r->fields, sizeof s->fields);
        } else if (job->layout == EXPORT_AS_IS &&
                   (r->layout != s->layout ||
                    r->fields[DATA_FIELD_PROMPT] != s->fields[DATA_FIELD_PROMPT] ||
                    r->fields[DATA_FIELD_RESPONSE] != s->fields[DATA_FIELD_RESPONSE])) {
            rc =
                err_set(e, ERR_UNSUPPORTED,
                        "records %lld and %lld have different layouts, which one stanza cannot "
                        "describe; the messages format can hold them all",
                        (long long)d->records[export_row(job, 0)].source, (long long)r->source);
        }
        if (!s->fields[DATA_FIELD_SYSTEM])
            s->fields[DATA_FIELD_SYSTEM] = r->fields[DATA_FIELD_SYSTEM];
        s->has_input |= has_field(r, s->fields[DATA_FIELD_INPUT]);
        s->has_history |= has_field(r, "history");
        s->has_system |= r->turns[0].role == DATA_SYSTEM;
        s->has_lists |= !export_is_pair(r);
        s->has_pairs |= r->n_turns - (r->turns[0].role == DATA_SYSTEM) > 2;
    }
    data_reader_free(t);
    return rc;
}

/* As if the records had been read in the layout that they are written in. */
static int imagine(struct summary *s, enum export_layout l, struct err *e)
{
    static const struct {
        enum data_layout layout;
        const char *fields[DATA_N_FIELDS];
    } as[] = {
        [EXPORT_AS_IS] = {DATA_TEXT, {NULL}},
        [EXPORT_MESSAGES] = {DATA_MESSAGES, {[DATA_FIELD_PROMPT] = "messages"}},
        [EXPORT_ALPACA] = {DATA_ALPACA,
                           {[DATA_FIELD_PROMPT] = "instruction",
                            [DATA_FIELD_RESPONSE] = "output",
                            [DATA_FIELD_INPUT] = "input"}},
        [EXPORT_SHAREGPT] = {DATA_SHAREGPT, {[DATA_FIELD_PROMPT] = "conversations"}},
        [EXPORT_COMPLETION] =
            {DATA_COMPLETION,
             {[DATA_FIELD_PROMPT] = "prompt", [DATA_FIELD_RESPONSE] = "completion"}},
    };
    if (l == EXPORT_AS_IS)
        return 0;
    if (l == EXPORT_COMPLETION && s->has_lists)
        return err_set(e, ERR_UNSUPPORTED,
                       "prompt-completion of lists has no stanza; messages has");
    s->layout = as[l].layout;
    memcpy(s->fields, as[l].fields, sizeof s->fields);
    s->has_input = l == EXPORT_ALPACA;
    s->has_history = l == EXPORT_ALPACA && s->has_pairs;
    if (l == EXPORT_ALPACA && s->has_system)
        s->fields[DATA_FIELD_SYSTEM] = "system";
    return 0;
}

/* LLaMA-Factory's names of columns, and what we call the field in each of our layouts. */
static void add_column(struct buf *b, const char *column, const char *field)
{
    buf_printf(b, "%s      \"%s\": \"%s\"", b->data[b->len - 1] == '{' ? "\n" : ",\n", column,
               field);
}

/* A column that no record has must not be named. */
static void add_columns(struct buf *b, const struct summary *s)
{
    const char *const *f = s->fields;
    bool is_list = s->layout == DATA_MESSAGES || s->layout == DATA_SHAREGPT;
    if (s->layout == DATA_TEXT)
        add_column(b, "prompt", f[DATA_FIELD_RESPONSE]); /* as it calls text to pre-train on */
    else
        add_column(b, is_list ? "messages" : "prompt", f[DATA_FIELD_PROMPT]);
    if (s->has_input)
        add_column(b, "query", f[DATA_FIELD_INPUT]);
    if (f[DATA_FIELD_RESPONSE] && s->layout != DATA_TEXT)
        add_column(b, "response", f[DATA_FIELD_RESPONSE]);
    if (f[DATA_FIELD_SYSTEM])
        add_column(b, "system", f[DATA_FIELD_SYSTEM]);
    if (s->layout == DATA_ALPACA && s->has_history)
        add_column(b, "history", "history");
}

/* "out/subset.json" to "subset". */
static void add_stem(struct buf *b, const char *base)
{
    const char *dot = strchr(base, '.');
    text_json_string(b, base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
}

char *export_stanza(const struct export_job *job, const char *file_name, struct err *e)
{
    static const char tags[] = ",\n    \"tags\": {\n"
                               "      \"role_tag\": \"role\",\n"
                               "      \"content_tag\": \"content\",\n"
                               "      \"user_tag\": \"user\",\n"
                               "      \"assistant_tag\": \"assistant\",\n"
                               "      \"system_tag\": \"system\",\n"
                               "      \"observation_tag\": \"tool\"\n    }";
    struct buf b = {0};
    bool is_text = job->format == EXPORT_TEXT;
    if (job->format == EXPORT_INDICES || is_text) {
        err_set(e, ERR_UNSUPPORTED, "%s no dataset: there is no stanza for %s",
                is_text ? "text is" : "indices are", is_text ? "it" : "them");
        return NULL;
    }
    struct summary sum = {0};
    if (summarize(&sum, job, e) < 0 || imagine(&sum, job->layout, e) < 0)
        return NULL;
    enum data_layout layout = sum.layout;
    const char *slash = strrchr(file_name, '/'), *base = slash ? slash + 1 : file_name;
    bool is_chat = layout == DATA_MESSAGES || layout == DATA_SHAREGPT;
    buf_puts(&b, "{\n  ");
    add_stem(&b, base);
    buf_puts(&b, ": {\n    \"file_name\": ");
    text_json_string(&b, base, strlen(base));
    buf_printf(&b, ",\n    \"formatting\": \"%s\",\n    \"columns\": {",
               is_chat ? "sharegpt" : "alpaca");
    add_columns(&b, &sum);
    buf_puts(&b, "\n    }");
    buf_puts(&b, layout == DATA_MESSAGES ? tags : "");
    buf_puts(&b, "\n  }\n}\n");
    return buf_str(&b);
}
