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

static void add_record(struct writer *w, const struct export_source *s, int64_t row)
{
    const struct export_job *job = s->job;
    struct data_member m;
    for (size_t at = 0; data_member_next(s->raw, s->raw_len, &at, &m);) {
        if (export_is_extra(&m, job->extras, job->n_extras))
            continue;
        begin_member(w, m.key, m.key_len);
        export_format_json(w->b, m.value, m.value_len, w->indent, w->level + 1);
    }
    for (int i = 0; i < job->n_extras; i++) {
        begin_member(w, job->extras[i].name, strlen(job->extras[i].name));
        if (!export_number(w->b, &job->extras[i], row))
            buf_puts(w->b, "null");
    }
    end_object(w);
}

/* ---- files ---- */

int export_write_json(struct pack *out, const struct export_job *job, struct err *e)
{
    struct export_source s;
    struct buf b = {0};
    int rc = export_source_init(&s, job, e);
    buf_putc(&b, '[');
    for (int64_t i = 0; rc == 0 && i < job->n_rows; i++) {
        struct writer w = {.b = &b, .indent = INDENT, .level = 1};
        rc = export_source_get(&s, i, e);
        if (rc < 0)
            break;
        new_line(&b, INDENT, 1);
        add_record(&w, &s, i);
        buf_puts(&b, i + 1 < job->n_rows ? "," : "");
        rc = pack_write(out, b.data, b.len, e);
        b.len = 0;
    }
    buf_puts(&b, job->n_rows ? "\n]\n" : "]\n");
    if (rc == 0)
        rc = pack_write(out, b.data, b.len, e);
    export_source_free(&s);
    buf_free(&b);
    return rc;
}

int export_write_lines(struct pack *out, const struct export_job *job, struct err *e)
{
    struct export_source s;
    struct buf b = {0};
    int rc = export_source_init(&s, job, e);
    for (int64_t i = 0; rc == 0 && i < job->n_rows; i++) {
        struct writer w = {.b = &b};
        b.len = 0;
        if (job->format == EXPORT_INDICES)
            buf_printf(&b, "%lld", (long long)job->d->records[export_row(job, i)].source);
        else if ((rc = export_source_get(&s, i, e)) == 0)
            add_record(&w, &s, i);
        buf_putc(&b, '\n');
        if (rc == 0)
            rc = pack_write(out, b.data, b.len, e);
    }
    export_source_free(&s);
    buf_free(&b);
    return rc;
}
