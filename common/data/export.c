/* SPDX-License-Identifier: MIT
 * export: which writer, and LLaMA-Factory's stanza; see export.h. The writers: export_json.c,
 * export_csv.c, export_text.c. */
#include "data/export.h"

#include "data/export_impl.h"

#include <stdlib.h>
#include <string.h>

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

enum export_format export_format_of(const char *path, enum data_format like)
{
    static const struct {
        const char *end;
        enum data_format like;
        enum export_format f;
    } names[] = {{".json", DATA_JSON, EXPORT_JSON},
                 {".jsonl", DATA_JSONL, EXPORT_JSONL},
                 {".csv", DATA_CSV, EXPORT_CSV}};
    enum { N = sizeof names / sizeof *names };
    for (int i = 0; i < N; i++)
        if (!file_is_std(path) && ends_with(path, names[i].end))
            return names[i].f;
    for (int i = 0; i < N; i++)
        if (names[i].like == like)
            return names[i].f;
    return EXPORT_JSON;
}

int export_write(struct outfile *o, enum export_format f, const struct dataset *d,
                 const int64_t *rows, int64_t n_rows, const struct export_extra *extras,
                 int n_extras, struct err *e)
{
    switch (f) {
    case EXPORT_JSON:
        return export_write_json(o, d, rows, n_rows, extras, n_extras, e);
    case EXPORT_CSV:
        return export_write_csv(o, d, rows, n_rows, extras, n_extras, e);
    case EXPORT_TEXT:
        return export_write_text(o, d, rows, n_rows, extras, n_extras, e);
    case EXPORT_JSONL:
    case EXPORT_MESSAGES:
    case EXPORT_INDICES:
        break;
    }
    return export_write_lines(o, f, d, rows, n_rows, extras, n_extras, e);
}

/* ---- LLaMA-Factory's stanza ---- */

/* What all of the records that are written have in common. */
struct summary {
    enum data_layout layout;
    const char *fields[DATA_N_FIELDS]; /* as in data_record; a system's where one has it */
    bool has_input, has_history;
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
static int summarize(struct summary *s, const struct dataset *d, const int64_t *rows,
                     int64_t n_rows, struct err *e)
{
    struct data_reader *t = data_reader_new(d);
    int rc = 0;
    for (int64_t i = 0; i < n_rows && rc == 0; i++) {
        const struct data_record *r = data_reader_get(t, rows[i], e);
        if (!r) {
            rc = dataset_name_record(e, d, rows[i]);
            break;
        }
        if (i == 0) {
            s->layout = r->layout;
            memcpy(s->fields, r->fields, sizeof s->fields);
        } else if (r->layout != s->layout ||
                   r->fields[DATA_FIELD_PROMPT] != s->fields[DATA_FIELD_PROMPT] ||
                   r->fields[DATA_FIELD_RESPONSE] != s->fields[DATA_FIELD_RESPONSE]) {
            rc =
                err_set(e, ERR_UNSUPPORTED,
                        "records %lld and %lld have different layouts, which one stanza cannot "
                        "describe; the messages format can hold them all",
                        (long long)d->records[rows[0]].source, (long long)r->source);
        }
        if (!s->fields[DATA_FIELD_SYSTEM])
            s->fields[DATA_FIELD_SYSTEM] = r->fields[DATA_FIELD_SYSTEM];
        s->has_input |= has_field(r, s->fields[DATA_FIELD_INPUT]);
        s->has_history |= has_field(r, "history");
    }
    data_reader_free(t);
    return rc;
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

char *export_stanza(enum export_format f, const struct dataset *d, const int64_t *rows,
                    int64_t n_rows, const char *file_name, struct err *e)
{
    static const char tags[] = ",\n    \"tags\": {\n"
                               "      \"role_tag\": \"role\",\n"
                               "      \"content_tag\": \"content\",\n"
                               "      \"user_tag\": \"user\",\n"
                               "      \"assistant_tag\": \"assistant\",\n"
                               "      \"system_tag\": \"system\",\n"
                               "      \"observation_tag\": \"tool\"\n    }";
    struct buf b = {0};
    if (f == EXPORT_INDICES || f == EXPORT_TEXT) {
        err_set(e, ERR_UNSUPPORTED, "%s no dataset: there is no stanza for %s",
                f == EXPORT_TEXT ? "text is" : "indices are", f == EXPORT_TEXT ? "it" : "them");
        return NULL;
    }
    struct summary sum = {.layout = DATA_MESSAGES};
    if (f != EXPORT_MESSAGES && summarize(&sum, d, rows, n_rows, e) < 0)
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
    if (f == EXPORT_MESSAGES)
        add_column(&b, "messages", "messages");
    else
        add_columns(&b, &sum);
    buf_puts(&b, "\n    }");
    buf_puts(&b, layout == DATA_MESSAGES ? tags : "");
    buf_puts(&b, "\n  }\n}\n");
    return buf_str(&b);
}
