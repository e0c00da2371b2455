/* SPDX-License-Identifier: MIT
 * What format a file has; its records are found by dataset_scan.c or dataset_csv.c. */
#include "base/sniff.h"
#include "data/dataset_impl.h"

#include <stdlib.h>
#include <string.h>

enum { HEAD_BYTES = 1 << 16 }; /* looked at to find the format, where there are as many */

void data_split_clear(struct data_split *s)
{
    for (int64_t i = 0; i < s->n_slices; i++)
        free(s->slices[i].why);
    s->n_slices = 0;
}

void data_split_free(struct data_split *s)
{
    data_split_clear(s);
    free(s->slices);
    buf_free(&s->objects);
    data_csv_free(s->csv);
    *s = (struct data_split){0};
}

static bool has_suffix(const char *name, const char *suffix)
{
    static const char *const packed[] = {".zst", ".gz", ".xz"};
    size_t n = strlen(name), m = strlen(suffix);
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++) {
        size_t k = strlen(packed[i]);
        if (n > k && strcmp(name + n - k, packed[i]) == 0) {
            n -= k;
            break;
        }
    }
    return n >= m && strncmp(name + n - m, suffix, m) == 0;
}

/* By its first character; a CSV file has no sign of its own, so its name or a comma or a known
 * column in its first line must speak for it. */
static enum data_format find_format(const struct data_split *s)
{
    static const char *const names[] = {"text", "messages", "conversations", NULL};
    const char *head = s->text + s->at;
    if (has_suffix(s->name, ".csv"))
        return DATA_CSV;
    if (*head == '[')
        return DATA_JSON;
    if (*head == '{' || has_suffix(s->name, ".jsonl") || has_suffix(s->name, ".ndjson"))
        return DATA_JSONL;
    if (memchr(head, ',', strcspn(head, "\r\n")))
        return DATA_CSV;
    head += *head == '"'; /* a file of one column */
    for (int i = 0; names[i]; i++)
        if (strncmp(head, names[i], strlen(names[i])) == 0)
            return DATA_CSV;
    return DATA_AUTO;
}

/* {"data": [...]}, unless the object is itself a record. */
static bool is_nested(const struct data_split *s, size_t *at, int64_t *line)
{
    if (!data_find_nested(s, at, line))
        return false;
    size_t len = data_scan_again(PHASE_STREAM, s->text + s->at, s->len - s->at, s->is_last);
    struct data_record r;
    struct arena a = {0};
    struct err e = ERR_INIT;
    int64_t where = 1;
    bool is_record =
        len && data_record_parse(&r, s->text + s->at, len, false, 0, &a, &where, &e) == 0;
    arena_free(&a);
    return !is_record;
}

static int begin_json(struct data_split *s, struct err *e)
{
    size_t at;
    int64_t line;
    if (s->format != DATA_CSV && s->text[s->at] == '{' && is_nested(s, &at, &line)) {
        s->format = DATA_JSON;
        s->is_nested = true;
        s->at = at;
        s->line = line;
    }
    if (s->format == DATA_JSONL) {
        s->phase = data_spans_lines(s) ? PHASE_STREAM : PHASE_LINES;
        return 0;
    }
    if (s->text[s->at] != '[')
        return err_set(e, ERR_FORMAT, "%s:%lld: expected '[' (a JSON array), found '%c'",
                       s->name, (long long)s->line, s->text[s->at]);
    s->at++;
    s->phase = PHASE_FIRST;
    return 0;
}

/* A Parquet file is what the Hub gives; one line makes it a dataset. */
static int foreign(const struct data_split *s, const char *what, struct err *e)
{
    if (strstr(what, "Parquet"))
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: looks like %s, which is not read; to make it JSON lines: python3 "
                       "-c \"import pandas; "
                       "pandas.read_parquet('%s').to_json('data.jsonl', orient='records', "
                       "lines=True)\"",
                       s->name, what, s->name);
    return err_set(e, ERR_FORMAT, "%s: looks like %s", s->name, what);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Blanks, and then, once enough is there, what the file is. */
static int begin(struct data_split *s, struct err *e)
{
    size_t from = s->at;
    int64_t line = s->line;
    if (s->base == 0 && s->at == 0 && s->len >= 3 && memcmp(s->text, "\xef\xbb\xbf", 3) == 0)
        s->at = 3; /* byte order mark */
    for (; s->at < s->len && is_blank(s->text[s->at]); s->at++)
        s->line += s->text[s->at] == '\n';
    int rc = data_split_blank(s, s->at - from, e);
    if (rc < 0 || (!s->is_last && s->len - s->at < HEAD_BYTES))
        return rc;
    if (s->at >= s->len)
        return err_set(e, ERR_EMPTY, "%s: the file is empty: no records", s->name);
    const char *what = s->format == DATA_AUTO ? sniff(s->text + s->at, s->len - s->at) : NULL;
    if (what)
        return foreign(s, what, e);
    if (s->format == DATA_AUTO)
        s->format = find_format(s);
    if (s->format == DATA_AUTO)
        return err_set(e, ERR_FORMAT, "%s:%lld: not a JSON array, JSON lines or CSV", s->name,
                       (long long)s->line);
    if (s->format != DATA_CSV)
        return begin_json(s, e);
    s->phase = PHASE_ROWS; /* blanks are its own */
    s->at = from == 0 && s->base == 0 && s->text[0] == '\xef' ? 3 : from;
    s->line = line;
    return 0;
}

static int check_lengths(const struct data_split *s, struct err *e)
{
    for (int64_t i = 0; i < s->n_slices; i++)
        if ((int64_t)s->slices[i].len > s->max_record) {
            struct data_split here = *s;
            here.n_slices = i;
            return data_split_too_long(&here, s->slices[i].line, e);
        }
    /* A window as long as the longest record may be has at least one. */
    if (!s->is_last && s->n_slices == 0 && s->at == 0 && (int64_t)s->len > s->max_record)
        return data_split_too_long(s, s->line, e);
    return 0;
}

int data_split_window(struct data_split *s, struct err *e)
{
    int rc = s->phase == PHASE_HEAD ? begin(s, e) : 0;
    if (rc < 0)
        return rc;
    switch (s->phase) {
    case PHASE_HEAD:
        return 0;
    case PHASE_LINES:
        rc = data_split_lines(s, e);
        break;
    case PHASE_STREAM:
        rc = data_split_stream(s, e);
        break;
    case PHASE_ROWS:
        rc = data_split_csv(s, e);
        break;
    case PHASE_FIRST:
    case PHASE_VALUE:
    case PHASE_COMMA:
    case PHASE_MEMBER:
    case PHASE_END:
        rc = data_split_array(s, e);
        break;
    }
    return rc < 0 ? rc : check_lengths(s, e);
}
