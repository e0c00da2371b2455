/* SPDX-License-Identifier: MIT
 * CSV: rows become JSON objects of strings, in the order of the columns.
 *
 * libcsv parses (RFC 4180, strict: a quote inside an unquoted field is an error). It does not
 * tell lines, so it is fed one line at a time; a quote left open at the end of one means that
 * the row goes on. Spaces around a field are kept. */
#include "data/dataset_impl.h"

#include <stdlib.h>
#include <string.h>

#include <csv.h>
#include <jansson.h>

struct csv_state {
    struct data_split *split;
    char **names; /* of columns, quoted as JSON, with ": " */
    size_t n_names, cap;
    size_t n_fields; /* of this row so far */
    size_t from;     /* of this row's object in split->csv */
    int64_t row_line;
    bool has_header;
    char *why; /* what is wrong with this row */
    struct err *e;
};

static int keep_spaces(unsigned char c)
{
    (void)c;
    return 0;
}

static void check_field(struct csv_state *st, const char *s, size_t len)
{
    size_t bad = utf8_check(s, len);
    if (st->why)
        return;
    if (bad < len)
        st->why = mem_printf("column %zu: invalid UTF-8 at byte %zu of the field",
                             st->n_fields + 1, bad + 1);
    else if (memchr(s, '\0', len))
        st->why = mem_printf("column %zu: a NUL byte", st->n_fields + 1);
}

static void add_name(struct csv_state *st, const char *s, size_t len)
{
    struct buf name = {0};
    text_json_string(&name, s, len);
    MEM_GROW(st->names, st->cap, st->n_names + 1);
    st->names[st->n_names++] = mem_strndup(name.data, name.len);
    buf_free(&name);
}

static void on_field(void *field, size_t len, void *arg)
{
    struct csv_state *st = arg;
    struct buf *b = &st->split->csv;
    const char *s = field;
    check_field(st, s, len);
    if (!st->has_header) {
        add_name(st, s, len);
    } else if (st->n_fields < st->n_names) {
        buf_puts(b, st->n_fields ? ", " : "{");
        buf_puts(b, st->names[st->n_fields]);
        buf_puts(b, ": ");
        text_json_string(b, s, len);
    }
    st->n_fields++;
}

static void on_header(struct csv_state *st)
{
    json_t *seen = json_object(); /* name: its column, from 1 */
    st->has_header = true;
    for (size_t i = 0; !st->why && i < st->n_names; i++) {
        const json_t *before = json_object_get(seen, st->names[i]);
        if (before)
            st->why = mem_printf("columns %lld and %zu have the same name %s",
                                 (long long)json_integer_value(before), i + 1, st->names[i]);
        else
            json_object_set_new_nocheck(seen, st->names[i], json_integer((json_int_t)i + 1));
    }
    json_decref(seen);
    if (st->why && !st->e->code)
        err_set(st->e, ERR_FORMAT, "%s:%lld: %s", st->split->name, (long long)st->row_line,
                st->why);
    free(st->why);
    st->why = NULL;
}

static void on_row(int c, void *arg)
{
    struct csv_state *st = arg;
    struct data_split *s = st->split;
    (void)c;
    if (!st->has_header) {
        on_header(st);
    } else {
        if (!st->why && st->n_fields != st->n_names)
            st->why = mem_printf("%zu columns, expected %zu%s", st->n_fields, st->n_names,
                                 s->columns ? "" : " as in the first line");
        buf_putc(&s->csv, '}');
        data_split_add(s, st->from, s->csv.len - st->from, st->row_line, st->why);
        buf_putc(&s->csv, '\n');
        st->why = NULL;
    }
    st->from = s->csv.len;
    st->n_fields = 0;
}

static int bad_quotes(const struct csv_state *st, int64_t line, struct err *e)
{
    return err_set(e, ERR_FORMAT,
                   "%s:%lld: record %lld: not valid CSV: a quote inside an unquoted field, or "
                   "text after a closing quote",
                   st->split->name, (long long)line, (long long)st->split->n_slices);
}

static int feed(struct csv_parser *p, struct csv_state *st, struct err *e)
{
    struct data_split *s = st->split;
    const char *at = s->text, *end = s->text + s->len;
    bool is_open = false; /* inside a quoted field that goes on */
    if (s->len >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0)
        at += 3;
    for (int64_t line = 1; at < end; line++) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));
        size_t len = nl ? (size_t)(nl - at) + 1 : (size_t)(end - at);
        if (!is_open)
            st->row_line = line;
        if (csv_parse(p, at, len, on_field, on_row, st) != len)
            return bad_quotes(st, line, e);
        if (e->code)
            return e->code;
        for (const char *q = at; (q = memchr(q, '"', (size_t)(at + len - q))); q++)
            is_open = !is_open;
        at += len;
    }
    if (csv_fini(p, on_field, on_row, st) != 0)
        return err_set(e, ERR_TRUNCATED,
                       "%s:%lld: record %lld: the file ends inside a quoted field", s->name,
                       (long long)st->row_line, (long long)s->n_slices);
    return e->code;
}

int data_split_csv(struct data_split *s, struct err *e)
{
    struct err local = ERR_INIT;
    struct csv_state st = {.split = s, .row_line = 1, .e = e ? e : &local};
    struct csv_parser p;
    st.e->code = 0;
    if (csv_init(&p, CSV_STRICT | CSV_STRICT_FINI) != 0)
        return err_set(e, ERR_IO, "%s: libcsv does not start", s->name);
    csv_set_space_func(&p, keep_spaces);
    for (int i = 0; s->columns && s->columns[i]; i++)
        add_name(&st, s->columns[i], strlen(s->columns[i]));
    st.has_header = s->columns != NULL;
    int rc = feed(&p, &st, st.e);
    csv_free(&p);
    for (size_t i = 0; i < st.n_names; i++)
        free(st.names[i]);
    free(st.names);
    free(st.why);
    s->text = buf_str(&s->csv);
    s->len = s->csv.len;
    return rc;
}
