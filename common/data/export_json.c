/* SPDX-License-Identifier: MIT
 * Records as JSON, JSON lines, messages and indices; see export.h. */
#include "data/export_impl.h"

#include <math.h>
#include <string.h>

enum { INDENT = 4 };

static void new_line(struct buf *b, int indent, int level)
{
    buf_putc(b, '\n');
    for (int i = 0; i < indent * level; i++)
        buf_putc(b, ' ');
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* A string at s[i], with its quotes, copied as it is; returns the byte after it. */
static size_t copy_string(struct buf *b, const char *s, size_t len, size_t i)
{
    size_t from = i;
    for (i++; i < len && s[i] != '"'; i++)
        i += s[i] == '\\';
    i = i < len ? i + 1 : len;
    buf_append(b, s + from, i - from);
    return i;
}

void export_format_json(struct buf *b, const char *s, size_t len, int indent, int level)
{
    for (size_t i = 0; i < len;) {
        char c = s[i];
        if (c == '"') {
            i = copy_string(b, s, len, i);
            continue;
        }
        i++;
        if (c == '{' || c == '[') {
            while (i < len && is_space(s[i]))
                i++;
            buf_putc(b, c);
            level++;
            if (i < len && (s[i] == '}' || s[i] == ']')) {
                buf_putc(b, s[i++]);
                level--;
            } else if (indent) {
                new_line(b, indent, level);
            }
        } else if (c == '}' || c == ']') {
            level--;
            if (indent)
                new_line(b, indent, level);
            buf_putc(b, c);
        } else if (c == ',' && indent) {
            buf_putc(b, c);
            new_line(b, indent, level);
        } else if (c == ',' || c == ':') {
            buf_putc(b, c);
            buf_putc(b, ' ');
        } else if (!is_space(c)) {
            buf_putc(b, c);
        }
    }
}

bool export_is_extra(const struct data_member *m, const struct export_extra *extras,
                     int n_extras)
{
    for (int i = 0; i < n_extras; i++)
        if (data_member_is(m, extras[i].name))
            return true;
    return false;
}

bool export_number(struct buf *b, const struct export_extra *x, int64_t row)
{
    double v = x->values[row];
    if (!isfinite(v))
        return false;
    if (x->is_integer) {
        buf_printf(b, "%.0f", v);
        return true;
    }
    text_put_real(b, v, x->is_float ? TEXT_FLOAT : TEXT_DOUBLE);
    return true;
}

/* A field "messages" that is not read, for it is null or an empty cell, gives way to ours. */
bool export_is_read(const struct data_record *r, const struct data_member *m)
{
    if (data_member_is(m, "messages"))
        return true;
    for (int i = 0; i < DATA_N_FIELDS; i++)
        if (r->fields[i] && data_member_is(m, r->fields[i]))
            return true;
    if (r->instruction && data_member_is(m, DATA_INPUT_FIELD))
        return true;
    return r->layout == DATA_ALPACA && data_member_is(m, "history");
}

/* ---- one record as JSON ---- */

struct writer {
    struct buf *b;
    int indent, level; /* of the object's own lines */
    int n_members;
};

static void begin_member(struct writer *w, const char *key, size_t key_len)
{
    buf_putc(w->b, w->n_members ? ',' : '{');
    w->n_members++;
    if (w->indent)
        new_line(w->b, w->indent, w->level + 1);
    else if (w->n_members > 1)
        buf_putc(w->b, ' ');
    buf_putc(w->b, '"');
    buf_append(w->b, key, key_len);
    buf_puts(w->b, "\": ");
}

static void end_object(struct writer *w)
{
    if (w->n_members == 0)
        buf_putc(w->b, '{');
    else if (w->indent)
        new_line(w->b, w->indent, w->level);
    buf_putc(w->b, '}');
}

static void add_messages(struct writer *w, const struct data_record *r)
{
    static const char *const names[] = {"system", "user", "assistant", "tool"};
    begin_member(w, "messages", strlen("messages"));
    for (int i = 0; i < r->n_turns; i++) {
        buf_printf(w->b, "%s{\"role\": \"%s\", \"content\": ", i ? ", " : "[",
                   names[r->turns[i].role]);
        text_json_string(w->b, r->turns[i].text, r->turns[i].len);
        buf_putc(w->b, '}');
    }
    buf_putc(w->b, ']');
    if (r->instruction && r->input[0]) {
        begin_member(w, DATA_INPUT_FIELD, strlen(DATA_INPUT_FIELD));
        text_json_string(w->b, r->input, strlen(r->input));
    }
}

static void add_record(struct writer *w, const struct data_record *r, bool is_messages,
                       const struct export_extra *extras, int n_extras, int64_t row)
{
    struct data_member m;
    if (is_messages)
        add_messages(w, r);
    for (size_t at = 0; data_member_next(r->raw, r->raw_len, &at, &m);) {
        if (export_is_extra(&m, extras, n_extras) || (is_messages && export_is_read(r, &m)))
            continue;
        begin_member(w, m.key, m.key_len);
        export_format_json(w->b, m.value, m.value_len, w->indent, w->level + 1);
    }
    for (int i = 0; i < n_extras; i++) {
        begin_member(w, extras[i].name, strlen(extras[i].name));
        if (!export_number(w->b, &extras[i], row))
            buf_puts(w->b, "null");
    }
    end_object(w);
}

/* ---- files ---- */

int export_write_json(struct outfile *o, const struct dataset *d, const int64_t *rows,
                      int64_t n_rows, const struct export_extra *extras, int n_extras,
                      struct err *e)
{
    struct buf b = {0};
    struct data_reader *t = data_reader_new(d);
    int rc = 0;
    buf_putc(&b, '[');
    for (int64_t i = 0; rc == 0 && i < n_rows; i++) {
        struct writer w = {.b = &b, .indent = INDENT, .level = 1};
        const struct data_record *r = data_reader_get(t, rows[i], e);
        new_line(&b, INDENT, 1);
        if (r)
            add_record(&w, r, false, extras, n_extras, i);
        buf_puts(&b, i + 1 < n_rows ? "," : "");
        rc = r ? outfile_write(o, b.data, b.len, e) : dataset_name_record(e, d, rows[i]);
        b.len = 0;
    }
    buf_puts(&b, n_rows ? "\n]\n" : "]\n");
    if (rc == 0)
        rc = outfile_write(o, b.data, b.len, e);
    data_reader_free(t);
    buf_free(&b);
    return rc;
}

int export_write_lines(struct outfile *o, enum export_format f, const struct dataset *d,
                       const int64_t *rows, int64_t n_rows, const struct export_extra *extras,
                       int n_extras, struct err *e)
{
    struct buf b = {0};
    struct data_reader *t = data_reader_new(d);
    int rc = 0;
    for (int64_t i = 0; rc == 0 && i < n_rows; i++) {
        const struct data_record *r = NULL;
        struct writer w = {.b = &b};
        if (f == EXPORT_INDICES)
            buf_printf(&b, "%lld", (long long)d->records[rows[i]].source);
        else if ((r = data_reader_get(t, rows[i], e)))
            add_record(&w, r, f == EXPORT_MESSAGES, extras, n_extras, i);
        else
            rc = dataset_name_record(e, d, rows[i]);
        buf_putc(&b, '\n');
        if (rc == 0)
            rc = outfile_write(o, b.data, b.len, e);
        b.len = 0;
    }
    data_reader_free(t);
    buf_free(&b);
    return rc;
}
