/* SPDX-License-Identifier: MIT
 * Records as CSV (RFC 4180, by libcsv): a first line of column names, every field quoted, so
 * that no reader has to guess; lines end with LF. */
#include "data/export_impl.h"

#include <stdlib.h>
#include <string.h>

#include <csv.h>
#include <jansson.h>

struct columns {
    struct data_member *names; /* key and key_len only */
    struct arena text;         /* which this holds */
    size_t n, cap;
    json_t *index; /* name: its column */
    struct buf name;
};

/* c->n: there is none yet, and c->name is its name. Fields mostly come in the same order and
 * spelling, so the hint is mostly right. */
static size_t find_column(struct columns *c, const struct data_member *m, size_t hint)
{
    if (hint < c->n && c->names[hint].key_len == m->key_len &&
        memcmp(c->names[hint].key, m->key, m->key_len) == 0)
        return hint;
    c->name.len = 0;
    data_member_name(m, &c->name);
    const json_t *at = json_object_get(c->index, buf_str(&c->name));
    return at ? (size_t)json_integer_value(at) : c->n;
}

static void add_column(struct columns *c, const struct data_member *m)
{
    json_object_set_new_nocheck(c->index, c->name.data, json_integer((json_int_t)c->n));
    MEM_GROW(c->names, c->cap, c->n + 1);
    char *key = arena_strndup(&c->text, m->key - 1, m->key_len + 2); /* with its quotes */
    c->names[c->n++] = (struct data_member){.key = key + 1, .key_len = m->key_len};
}

static int collect_columns(struct columns *c, struct export_source *s, struct err *e)
{
    const struct export_job *job = s->job;
    struct data_member m;
    for (int64_t i = 0; i < job->n_rows; i++) {
        size_t hint = 0;
        int rc = export_source_get(s, i, e);
        if (rc < 0)
            return rc;
        for (size_t at = 0; data_member_next(s->raw, s->raw_len, &at, &m); hint++) {
            if (export_is_extra(&m, job->extras, job->n_extras))
                continue;
            if (hint >= c->n)
                hint = 0;
            size_t k = find_column(c, &m, hint);
            if (k == c->n)
                add_column(c, &m);
            hint = k;
        }
    }
    return 0;
}

static void add_field(struct buf *b, struct buf *scratch, const char *s, size_t len)
{
    size_t room = csv_write(NULL, 0, s, len);
    MEM_GROW(scratch->data, scratch->cap, room);
    csv_write(scratch->data, scratch->cap, s, len);
    buf_append(b, scratch->data, room);
}

/* JSON string text between its quotes, or any other value, as a field. */
static void add_value(struct buf *b, struct buf *scratch, const char *s, size_t len)
{
    struct buf text = {0};
    if (len > 0 && s[0] == '"') {
        json_t *v = json_loadb(s, len, JSON_DECODE_ANY, NULL);
        add_field(b, scratch, json_string_value(v), json_string_length(v));
        json_decref(v);
    } else if (len > 0 && s[0] != 'n' && s[0] != 'N') { /* null, and Python's NaN */
        export_format_json(&text, s, len, 0, 0);
        add_field(b, scratch, text.data, text.len);
    } else {
        add_field(b, scratch, "", 0);
    }
    buf_free(&text);
}

static void add_header(struct buf *b, struct buf *scratch, const struct columns *c,
                       const struct export_extra *extras, int n_extras)
{
    for (size_t k = 0; k < c->n; k++) { /* with its quotes, the key is a JSON string */
        if (k)
            buf_putc(b, ',');
        add_value(b, scratch, c->names[k].key - 1, c->names[k].key_len + 2);
    }
    for (int k = 0; k < n_extras; k++) {
        buf_puts(b, c->n || k ? "," : "");
        add_field(b, scratch, extras[k].name, strlen(extras[k].name));
    }
    buf_putc(b, '\n');
}

static void add_row(struct buf *b, struct buf *scratch, struct columns *c,
                    struct data_member *values, const struct export_source *s, int64_t row)
{
    const struct export_job *job = s->job;
    struct data_member m;
    size_t hint = 0;
    memset(values, 0, c->n * sizeof *values);
    for (size_t at = 0; data_member_next(s->raw, s->raw_len, &at, &m);) {
        size_t k = find_column(c, &m, hint);
        if (k < c->n)
            values[k] = m;
        hint = k + 1 < c->n ? k + 1 : 0;
    }
    for (size_t k = 0; k < c->n; k++) {
        if (k)
            buf_putc(b, ',');
        add_value(b, scratch, values[k].value, values[k].value_len);
    }
    for (int k = 0; k < job->n_extras; k++) {
        struct buf number = {0};
        buf_puts(b, c->n || k ? "," : "");
        export_number(&number, &job->extras[k], row);
        add_field(b, scratch, buf_str(&number), number.len);
        buf_free(&number);
    }
    buf_putc(b, '\n');
}

int export_write_csv(struct pack *out, const struct export_job *job, struct err *e)
{
    struct columns c = {.index = json_object()};
    struct buf b = {0}, scratch = {0};
    struct export_source s;
    int rc = export_source_init(&s, job, e);
    if (rc == 0)
        rc = collect_columns(&c, &s, e);
    struct data_member *values = mem_alloc(c.n, sizeof *values);
    add_header(&b, &scratch, &c, job->extras, job->n_extras);
    if (rc == 0)
        rc = pack_write(out, b.data, b.len, e);
    for (int64_t i = 0; rc == 0 && i < job->n_rows; i++) {
        b.len = 0;
        rc = export_source_get(&s, i, e);
        if (rc < 0)
            break;
        add_row(&b, &scratch, &c, values, &s, i);
        rc = pack_write(out, b.data, b.len, e);
    }
    export_source_free(&s);
    arena_free(&c.text);
    free(values);
    free(c.names);
    json_decref(c.index);
    buf_free(&c.name);
    buf_free(&b);
    buf_free(&scratch);
    return rc;
}
