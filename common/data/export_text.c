/* SPDX-License-Identifier: MIT
 * Records as text for people, and one field of them a line; see export.h. Whatever a record
 * holds, a line at the left margin is ours, and nothing steers a terminal. */
#include "data/export_impl.h"

#include <string.h>

#include <jansson.h>

static const char *const roles[] = {"system", "user", "assistant", "tool"};

/* Lines of the text, each after four blanks. */
static void add_lines(struct buf *b, const char *s, size_t len)
{
    for (size_t at = 0, n; at <= len; at += n + 1) {
        const char *end = memchr(s + at, '\n', len - at);
        n = end ? (size_t)(end - s) - at : len - at;
        buf_puts(b, n ? "    " : "");
        for (size_t from = at, m; from <= at + n; from += m + 1) { /* a tab is no harm */
            const char *tab = memchr(s + from, '\t', at + n - from);
            m = tab ? (size_t)(tab - s) - from : at + n - from;
            text_printable(b, s + from, m);
            buf_puts(b, tab ? "\t" : "");
        }
        buf_putc(b, '\n');
    }
}

static void add_record(struct buf *b, const struct data_record *r,
                       const struct export_extra *extras, int n_extras, int64_t row)
{
    buf_printf(b, "record %lld", (long long)r->source);
    for (int i = 0; i < n_extras; i++) {
        const char *name = strchr(extras[i].name, '_');
        size_t before = b->len;
        buf_printf(b, ", %s ", name ? name + 1 : extras[i].name);
        if (!export_number(b, &extras[i], row))
            b->len = before;
    }
    buf_putc(b, '\n');
    for (int i = 0; i < r->n_turns; i++) {
        buf_printf(b, "  %s\n", roles[r->turns[i].role]);
        add_lines(b, r->turns[i].text, r->turns[i].len);
    }
    buf_putc(b, '\n');
}

/* A text decoded, anything else as it is written. */
static void add_field(struct buf *b, const struct data_record *r, const char *field)
{
    struct data_member m;
    for (size_t at = 0; data_member_next(r->raw, r->raw_len, &at, &m);) {
        if (!data_member_is(&m, field))
            continue;
        if (m.value[0] == '"') {
            json_t *v = json_loadb(m.value, m.value_len, JSON_DECODE_ANY, NULL);
            text_printable(b, json_string_value(v), json_string_length(v));
            json_decref(v);
        } else if (m.value[0] != 'n') { /* null */
            text_printable(b, m.value, m.value_len);
        }
        break;
    }
    buf_putc(b, '\n');
}

/* Every record as text, or with `field` that field of it. */
static int write_all(struct pack *out, const struct export_job *job, const char *field,
                     struct err *e)
{
    struct export_source s;
    struct buf b = {0};
    int rc = export_source_init(&s, job, e);
    for (int64_t i = 0; rc == 0 && i < job->n_rows; i++) {
        b.len = 0;
        rc = export_source_get(&s, i, e);
        if (rc < 0)
            break;
        if (field)
            add_field(&b, s.record, field);
        else
            add_record(&b, s.record, job->extras, job->n_extras, i);
        rc = pack_write(out, b.data, b.len, e);
    }
    export_source_free(&s);
    buf_free(&b);
    return rc;
}

int export_write_text(struct pack *out, const struct export_job *job, struct err *e)
{
    return write_all(out, job, NULL, e);
}

int export_write_field(struct pack *out, const struct export_job *job, const char *field,
                       struct err *e)
{
    return write_all(out, job, field, e);
}
