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

/* The row that is being read. */
struct row {
    struct data_csv *csv;
    struct data_split *split; /* NULL: a row is read again */
    struct buf *out;          /* its object is appended here, */
    size_t from;              /* from this byte on */
    size_t n_fields;          /* so far */
    int64_t place, line, n_done;
    char *why; /* what is wrong with it */
    struct err *e;
};

struct data_csv {
    char **names; /* of columns, quoted as JSON */
    size_t n_names, cap;
    bool has_header, is_headless; /* its columns' names are known; they were given */
    bool is_open;                 /* inside a quoted field that goes on */
    struct csv_parser parser;
    struct row row;
};

static int keep_spaces(unsigned char c)
{
    (void)c;
    return 0;
}

static bool start_parser(struct csv_parser *p)
{
    if (csv_init(p, CSV_STRICT | CSV_STRICT_FINI) != 0)
        return false;
    csv_set_space_func(p, keep_spaces);
    return true;
}

void data_csv_free(struct data_csv *c)
{
    if (!c)
        return;
    csv_free(&c->parser);
    for (size_t i = 0; i < c->n_names; i++)
        free(c->names[i]);
    free(c->names);
    free(c->row.why);
    free(c);
}

static void check_field(struct row *r, const char *s, size_t len)
{
    size_t bad = utf8_check(s, len);
    if (r->why)
        return;
    if (bad < len)
        r->why = mem_printf("column %zu: invalid UTF-8 at byte %zu of the field",
                            r->n_fields + 1, bad + 1);
    else if (memchr(s, '\0', len))
        r->why = mem_printf("column %zu: a NUL byte", r->n_fields + 1);
}

static void add_name(struct data_csv *c, const char *s, size_t len)
{
    struct buf name = {0};
    text_json_string(&name, s, len);
    MEM_GROW(c->names, c->cap, c->n_names + 1);
    c->names[c->n_names++] = mem_strndup(name.data, name.len);
    buf_free(&name);
}

/* columns: names in place of a first line of them; NULL: there is one. */
static struct data_csv *csv_new(const char *const *columns)
{
    struct data_csv *c = mem_zalloc(1, sizeof *c);
    c->row = (struct row){.csv = c, .line = 1};
    c->has_header = c->is_headless = columns != NULL;
    for (int i = 0; columns && columns[i]; i++)
        add_name(c, columns[i], strlen(columns[i]));
    if (start_parser(&c->parser))
        return c;
    data_csv_free(c);
    return NULL;
}

static void on_field(void *field, size_t len, void *arg)
{
    struct row *r = arg;
    const char *s = field;
    check_field(r, s, len);
    if (!r->csv->has_header) {
        add_name(r->csv, s, len);
    } else if (r->n_fields < r->csv->n_names) {
        buf_puts(r->out, r->n_fields ? ", " : "{");
        buf_puts(r->out, r->csv->names[r->n_fields]);
        buf_puts(r->out, ": ");
        text_json_string(r->out, s, len);
    }
    r->n_fields++;
}

static void on_header(struct row *r)
{
    struct data_csv *c = r->csv;
    json_t *seen = json_object(); /* name: its column, from 1 */
    c->has_header = true;
    if (c->n_names == 1 && (strstr(c->names[0], "\\t") || strchr(c->names[0], ';')))
        r->why = mem_printf("columns are between commas, and there is one, %s", c->names[0]);
    for (size_t i = 0; !r->why && i < c->n_names; i++) {
        const json_t *before = json_object_get(seen, c->names[i]);
        if (before)
            r->why = mem_printf("columns %lld and %zu have the same name %s",
                                (long long)json_integer_value(before), i + 1, c->names[i]);
        else
            json_object_set_new_nocheck(seen, c->names[i], json_integer((json_int_t)i + 1));
    }
    json_decref(seen);
    if (r->why && !r->e->code)
        err_set(r->e, ERR_FORMAT, "%s:%lld: %s", r->split->name, (long long)r->line, r->why);
    free(r->why);
    r->why = NULL;
}

static void on_row(int c, void *arg)
{
    struct row *r = arg;
    (void)c;
    if (!r->csv->has_header) {
        on_header(r);
    } else {
        size_t n = r->csv->n_names;
        if (!r->why && r->n_fields != n)
            r->why = mem_printf("%zu columns, expected %zu%s", r->n_fields, n,
                                r->csv->is_headless ? "" : " as in the first line");
        buf_putc(r->out, '}');
        if (r->split)
            data_split_add(r->split, r->from, r->out->len - r->from, r->place, r->line, r->why);
        else
            free(r->why);
        r->why = NULL;
        r->n_done++;
    }
    r->from = r->out->len;
    r->n_fields = 0;
}

/* Bytes up to the end of the line at p, which is LF, CR LF or, as in old files, CR; 0: it is
 * not in the text. */
static size_t line_length(const char *p, size_t len, bool is_last)
{
    const char *lf = memchr(p, '\n', len), *cr = memchr(p, '\r', lf ? (size_t)(lf - p) : len);
    if (cr && cr + 1 != lf && (cr + 1 < p + len || is_last))
        return (size_t)(cr - p) + 1;
    return lf ? (size_t)(lf - p) + 1 : is_last ? len : 0;
}

/* The next line into the parser; false: it does not take it. */
static bool feed(struct csv_parser *p, struct row *r, const char *s, size_t len, bool *is_open)
{
    if (csv_parse(p, s, len, on_field, on_row, r) != len)
        return false;
    for (const char *q = s; (q = memchr(q, '"', (size_t)(s + len - q))); q++)
        *is_open = !*is_open;
    return true;
}

static int bad_quotes(const struct data_split *s, struct err *e)
{
    return err_set(e, ERR_FORMAT,
                   "%s:%lld: record %lld: not valid CSV: a quote inside an unquoted field, or "
                   "text after a closing quote",
                   s->name, (long long)s->line, (long long)(s->n_before + s->n_slices));
}

static int feed_lines(struct data_split *s, struct row *r, struct err *e)
{
    struct data_csv *c = s->csv;
    while (s->at < s->len) {
        const char *p = s->text + s->at;
        size_t len = line_length(p, s->len - s->at, s->is_last);
        if (!len)
            return 0;
        if (!c->is_open) {
            r->line = s->line;
            r->place = s->base + (int64_t)s->at;
        }
        int64_t n = s->n_slices;
        if (!feed(&c->parser, r, p, len, &c->is_open))
            return bad_quotes(s, e);
        if (r->e->code)
            return r->e->code;
        s->at += len;
        s->line += p[len - 1] == '\n';
        int rc = s->n_slices > n || c->is_open ? 0 : data_split_blank(s, len, e);
        if (rc == 0 && c->is_open && s->base + (int64_t)s->at - r->place > s->max_record)
            rc = data_split_too_long(s, r->line, e);
        if (rc < 0)
            return rc;
    }
    if (s->is_last && csv_fini(&c->parser, on_field, on_row, r) != 0)
        return err_set(e, ERR_TRUNCATED,
                       "%s:%lld: record %lld: the file ends inside a quoted field", s->name,
                       (long long)r->line, (long long)(s->n_before + s->n_slices));
    return r->e->code;
}

int data_split_csv(struct data_split *s, struct err *e)
{
    struct err local = ERR_INIT;
    if (!s->csv && !(s->csv = csv_new(s->columns)))
        return err_set(e, ERR_IO, "%s: libcsv does not start", s->name);
    struct row *r = &s->csv->row;
    size_t left = s->objects.len - r->from; /* the begun row's object moves to the front */
    if (left)
        memmove(s->objects.data, s->objects.data + r->from, left);
    s->objects.len = left;
    r->from = 0;
    r->out = &s->objects;
    r->split = s;
    r->e = e ? e : &local;
    r->e->code = 0;
    int rc = feed_lines(s, r, r->e);
    r->split = NULL;
    r->e = NULL;
    return rc;
}

bool data_csv_again(const struct data_csv *c, const char *text, size_t len, bool is_last,
                    struct buf *out)
{
    struct csv_parser p;
    struct row r = {.csv = (struct data_csv *)(uintptr_t)c, .out = out};
    size_t before = out->len;
    bool is_open = false, is_well = start_parser(&p);
    for (size_t at = 0, n; is_well && r.n_done == 0 && at < len; at += n) {
        n = line_length(text + at, len - at, is_last);
        is_well = n && feed(&p, &r, text + at, n, &is_open);
    }
    if (is_well && r.n_done == 0 && is_last)
        is_well = csv_fini(&p, on_field, on_row, &r) == 0;
    csv_free(&p);
    free(r.why);
    is_well = is_well && r.n_done == 1;
    if (!is_well)
        out->len = before;
    return is_well;
}
