/* SPDX-License-Identifier: MIT
 * st_csv: tensors as a table; see st_csv.h. */
#include "stream/st_csv.h"

#include "base/text.h"
#include "stream/st_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct st_csv {
    struct outfile *out;
    const char *names;
    char **column; /* names of the tensors, fixed by the first shard */
    size_t n_columns, cap;
    bool is_whole; /* whole tensors were asked for: the first shard says it all */
    bool has_begun;
    struct buf text;
};

enum { FLUSH_AT = 1 << 18, MAX_COLUMNS = 1 << 24 };

struct st_csv *st_csv_new(struct outfile *out, const char *names)
{
    struct st_csv *c = mem_zalloc(1, sizeof *c);
    c->out = out;
    c->names = names;
    return c;
}

void st_csv_free(struct st_csv *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n_columns; i++)
        free(c->column[i]);
    free(c->column);
    buf_free(&c->text);
    free(c);
}

/* ---- which columns ---- */

static void add_column(struct st_csv *c, const char *name, size_t len)
{
    MEM_GROW(c->column, c->cap, c->n_columns + 1);
    c->column[c->n_columns++] = mem_strndup(name, len);
}

static int by_size(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The number of rows that most tensors share, the largest of equals; -1 when no tensor has
 * rows. */
static int64_t largest_table(const struct st_msg *m)
{
    int64_t *rows = mem_alloc(m->n_tensors, sizeof *rows), best = -1;
    size_t n = 0, best_n = 0, run = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        if (m->tensor[i].n_dims && !st_msg_is_whole(m, m->tensor[i].name))
            rows[n++] = m->tensor[i].shape[0];
    if (n)
        qsort(rows, n, sizeof *rows, by_size);
    for (size_t i = 0; i < n; i++) {
        run = i && rows[i] == rows[i - 1] ? run + 1 : 1;
        if (run >= best_n) {
            best = rows[i];
            best_n = run;
        }
    }
    free(rows);
    return best;
}

static int columns_by_default(struct st_csv *c, const struct st_msg *m, struct err *e)
{
    int64_t rows = largest_table(m);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct st_tensor *x = &m->tensor[i];
        if (x->n_dims && x->shape[0] == rows && !st_msg_is_whole(m, x->name))
            add_column(c, x->name, strlen(x->name));
    }
    return c->n_columns ? 0 : err_set(e, ERR_EMPTY, "%s: no tensor has rows", m->name);
}

static int columns_by_name(struct st_csv *c, const struct st_msg *m, struct err *e)
{
    for (const char *s = c->names; *s;) {
        size_t len = strcspn(s, ",");
        add_column(c, s, len);
        const struct st_tensor *x = st_msg_find(m, c->column[c->n_columns - 1]);
        if (!x)
            return err_set(e, ERR_RANGE, "%s: no tensor \"%.*s\"", m->name, (int)len, s);
        bool is_whole = st_msg_is_whole(m, x->name) || !x->n_dims;
        if (c->n_columns > 1 && is_whole != c->is_whole)
            return err_set(e, ERR_MISMATCH, "%s: \"%s\" and \"%s\" are no columns of one table",
                           m->name, c->column[0], x->name);
        c->is_whole = is_whole;
        s += len + (s[len] == ',');
    }
    return c->n_columns ? 0 : err_set(e, ERR_RANGE, "%s: no tensor named", m->name);
}

/* ---- text ---- */

static void put_name(struct buf *b, const char *name, const char *index)
{
    struct buf shown = {0};
    text_printable(&shown, name, strlen(name));
    bool is_quoted = strpbrk(buf_str(&shown), ",\"") != NULL;
    buf_puts(b, is_quoted ? "\"" : "");
    for (const char *s = shown.data; *s; s++)
        buf_puts(b, *s == '"' ? "\"\"" : (char[]){*s, '\0'});
    buf_puts(b, index);
    buf_puts(b, is_quoted ? "\"" : "");
    buf_free(&shown);
}

/* Values in a row. -1: more than any table has; a tensor without rows may claim any shape. */
static int64_t row_values(const struct st_tensor *x)
{
    int64_t n = 1;
    for (int i = 1; i < x->n_dims; i++)
        if (__builtin_mul_overflow(n, x->shape[i], &n) || n > MAX_COLUMNS)
            return -1;
    return n;
}

/* The names that the file itself has for the columns of x [N, K]: raise.x lists K of them.
 * NULL: it has none. */
static const char *own_names(const struct st_msg *m, const struct st_tensor *x)
{
    char *key = mem_printf("raise.%s", x->name);
    const char *list = x->n_dims == 2 ? st_msg_meta(m, key) : NULL;
    int64_t n = list && *list;
    free(key);
    for (const char *p = list; n && *p; p++)
        n += *p == ',';
    return n && n == x->shape[1] ? list : NULL;
}

static void put_own_names(struct buf *b, const char *list)
{
    for (const char *p = list;; p++) {
        size_t len = strcspn(p, ",");
        char *name = mem_strndup(p, len);
        if (b->len && b->data[b->len - 1] != '\n')
            buf_putc(b, ',');
        put_name(b, name, "");
        free(name);
        p += len;
        if (!*p)
            return;
    }
}

/* name, or name_0 .. name_31, or name_0_0 .. for each value of a row. */
static void put_names(struct buf *b, const struct st_tensor *x)
{
    int64_t n = row_values(x);
    for (int64_t k = 0; k < n; k++) {
        char index[160] = "";
        size_t len =
            sizeof index - 1; /* written from the end: the last dimension runs fastest */
        char *p = index + len;
        int64_t rest = k;
        for (int d = x->n_dims - 1; d > 0; d--) {
            char number[24];
            int w = snprintf(number, sizeof number, "_%" PRId64, rest % x->shape[d]);
            rest /= x->shape[d];
            p -= w;
            memcpy(p, number, (size_t)w);
        }
        if (b->len && b->data[b->len - 1] != '\n')
            buf_putc(b, ',');
        put_name(b, x->name, p);
    }
}

static void put_int(struct buf *b, int64_t v)
{
    char s[24];
    buf_append(b, s, (size_t)snprintf(s, sizeof s, "%" PRId64, v));
}

static void put_value(struct buf *b, const struct st_tensor *x, int64_t at)
{
    const unsigned char *p =
        (const unsigned char *)x->data + (size_t)at * st_dtype_size(x->dtype);
    union {
        int8_t i8;
        int16_t i16;
        uint16_t u16;
        int32_t i32;
        uint32_t u32;
        int64_t i64;
        uint64_t u64;
        float f32;
        double f64;
    } v;
    memcpy(&v, p, st_dtype_size(x->dtype));
    switch (x->dtype) {
    case ST_BOOL:
    case ST_U8:
        put_int(b, *p);
        return;
    case ST_I8:
        put_int(b, v.i8);
        return;
    case ST_I16:
        put_int(b, v.i16);
        return;
    case ST_U16:
        put_int(b, v.u16);
        return;
    case ST_I32:
        put_int(b, v.i32);
        return;
    case ST_U32:
        put_int(b, v.u32);
        return;
    case ST_I64:
        put_int(b, v.i64);
        return;
    case ST_U64:
        buf_printf(b, "%" PRIu64, v.u64);
        return;
    case ST_F16:
    case ST_BF16: {
        float f = 0;
        (void)st_to_f32(&f, p, x->dtype, 1, NULL); /* both are floats: cannot fail */
        text_put_real(b, (double)f, TEXT_HALF);
        return;
    }
    case ST_F32:
        text_put_real(b, (double)v.f32, TEXT_FLOAT);
        return;
    case ST_F64:
        text_put_real(b, v.f64, TEXT_DOUBLE);
        return;
    case ST_N_DTYPES:
        break;
    }
}

static int flush(struct st_csv *c, size_t above, struct err *e)
{
    if (c->text.len <= above)
        return 0;
    int rc = outfile_write(c->out, c->text.data, c->text.len, e);
    c->text.len = 0;
    return rc;
}

/* The columns in this shard, and their number of rows; -1 when they differ. */
static int64_t find_columns(const struct st_csv *c, const struct st_msg *m,
                            const struct st_tensor **column, struct err *e)
{
    int64_t rows = -1;
    for (size_t i = 0; i < c->n_columns; i++) {
        column[i] = st_msg_find(m, c->column[i]);
        int64_t n = column[i]->n_dims ? column[i]->shape[0] : 1;
        if (i && n != rows)
            return err_set(e, ERR_MISMATCH,
                           "%s: tensor \"%s\" has %" PRId64 " rows, \"%s\" has %" PRId64,
                           m->name, column[0]->name, rows, column[i]->name, n);
        if (row_values(column[i]) < 0)
            return err_set(e, ERR_RANGE, "%s: tensor \"%s\" has more than %d columns", m->name,
                           column[i]->name, (int)MAX_COLUMNS);
        rows = n;
    }
    return rows;
}

static int put_rows(struct st_csv *c, const struct st_tensor *const *column, int64_t rows,
                    struct err *e)
{
    int rc = 0;
    for (int64_t i = 0; !rc && i < rows; i++) {
        const char *comma = "";
        for (size_t k = 0; k < c->n_columns; k++) {
            int64_t n = row_values(column[k]);
            for (int64_t j = 0; j < n; j++, comma = ",") {
                buf_puts(&c->text, comma);
                put_value(&c->text, column[k], i * n + j);
            }
        }
        buf_putc(&c->text, '\n');
        rc = flush(c, FLUSH_AT, e);
    }
    return rc ? rc : flush(c, 0, e);
}

int st_csv_put(struct st_csv *c, const struct st_msg *m, struct err *e)
{
    bool is_first = !c->has_begun;
    int rc = 0;
    c->has_begun = true;
    if (is_first)
        rc = c->names ? columns_by_name(c, m, e) : columns_by_default(c, m, e);
    if (rc || (!is_first && c->is_whole))
        return rc;
    const struct st_tensor **column = mem_alloc(c->n_columns, sizeof *column);
    int64_t rows = find_columns(c, m, column, e);
    if (rows < 0) {
        rc = (int)rows;
    } else {
        for (size_t k = 0; is_first && k < c->n_columns; k++) {
            const char *own = own_names(m, column[k]);
            if (own)
                put_own_names(&c->text, own);
            else
                put_names(&c->text, column[k]);
        }
        if (is_first)
            buf_putc(&c->text, '\n');
        rc = put_rows(c, column, rows, e);
    }
    free(column);
    return rc;
}
