/* SPDX-License-Identifier: MIT
 * st_table: tensors by rows of a table; see st_table.h. Metadata: st_key.c. */
#include "stream/st_table.h"

#include "base/mem.h"
#include "stream/st_priv.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Structs are reached through offsets; memcpy is how C allows that for pointers of any type. */
static void *get_pointer(const void *s, const struct st_column *c)
{
    void *p;
    if (c->flags & ST_INLINE)
        return (char *)(uintptr_t)s + c->at;
    assert(c->size == sizeof p && "values in the struct that are not ST_INLINE");
    memcpy(&p, (const char *)s + c->at, sizeof p);
    return p;
}

static void set_pointer(void *s, const struct st_column *c, const void *p)
{
    memcpy((char *)s + c->at, &p, sizeof p);
}

static bool is_ours(const struct st_column *c)
{
    return !(c->flags & (ST_INLINE | ST_PLACED));
}

static int64_t get_size(const struct st_table *t, const void *s, int k)
{
    int64_t v;
    memcpy(&v, (const char *)s + t->sizes[k].at, sizeof v);
    return v;
}

static void set_size(const struct st_table *t, void *s, int k, int64_t v)
{
    memcpy((char *)s + t->sizes[k].at, &v, sizeof v);
}

bool st_table_has(const struct st_table *t, const char *column)
{
    for (const struct st_column *c = t->columns; c && c->name; c++)
        if (!strcmp(c->name, column))
            return true;
    return false;
}

bool st_table_has_any(const struct st_table *t, const struct st_msg *m)
{
    for (int64_t i = 0; i < st_msg_n_tensors(m); i++)
        if (st_table_has(t, st_msg_at(m, i)->name))
            return true;
    return false;
}

/* ---- shapes ---- */

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";

static int find_symbol(const struct st_table *t, const char *p, size_t len)
{
    int k = 0;
    while (t->sizes && t->sizes[k].symbol &&
           (strlen(t->sizes[k].symbol) != len || memcmp(t->sizes[k].symbol, p, len)))
        k++;
    assert(t->sizes && t->sizes[k].symbol && "a shape has a symbol that is no size");
    return k;
}

/* The dimension that begins at p, with x for the size that is unknown, whose index goes into
 * *open (-1: none is). INT64_MAX when it overflows: no tensor has that many. */
static int64_t eval(const struct st_table *t, const void *s, const char *p, int64_t x,
                    int *open)
{
    int64_t sum = 0, term = 1;
    bool overflows = false;
    *open = -1;
    for (;;) {
        p += strspn(p, " [");
        size_t n_digits = strspn(p, "0123456789"), n_letters = strspn(p, letters);
        int64_t factor = 0;
        if (n_digits) {
            factor = strtoll(p, NULL, 10);
        } else if (n_letters) {
            int k = find_symbol(t, p, n_letters);
            factor = get_size(t, s, k);
            if (factor < 0) {
                assert((*open < 0 || *open == k) && "two unknown sizes in a dimension");
                *open = k;
                factor = x;
            }
        } else {
            overflows = overflows || __builtin_add_overflow(sum, term, &sum);
            term = 1;
            if (*p != '+')
                return overflows ? INT64_MAX : sum;
            n_digits = 1; /* the plus */
            factor = 1;
        }
        overflows = overflows || __builtin_mul_overflow(term, factor, &term);
        p += n_digits + n_letters;
    }
}

/* Dimensions of a column, -1 for one with an unknown size; returns how many. */
static int shape_of(const struct st_table *t, const void *s, const struct st_column *c,
                    int64_t *shape)
{
    int n = 0, open;
    for (const char *p = c->shape; *p && *p != ']'; p += strcspn(p, ",]")) {
        p += n > 0; /* the comma */
        assert(n < ST_MAX_DIMS);
        shape[n] = eval(t, s, p, 0, &open);
        shape[n] = open < 0 ? shape[n] : -1;
        n++;
    }
    return n;
}

/* Finds unknown sizes of a column from the shape of its tensor: dimensions are linear in them.
 * One that cannot be stays unknown. */
static void solve(const struct st_table *t, void *s, const struct st_column *c,
                  const int64_t *shape)
{
    const char *p = c->shape;
    for (int i = 0; *p && *p != ']'; i++, p += strcspn(p, ",]")) {
        int open;
        p += i > 0;
        int64_t base = eval(t, s, p, 0, &open), slope = eval(t, s, p, 1, &open) - base;
        if (open < 0 || slope < 1 || shape[i] < base || (shape[i] - base) % slope)
            continue;
        set_size(t, s, open, (shape[i] - base) / slope);
    }
}

static size_t width_of(const struct st_table *t, const void *s, const struct st_column *c)
{
    int64_t shape[ST_MAX_DIMS];
    int n = shape_of(t, s, c, shape);
    shape[0] = 1;
    return (size_t)st_shape_bytes(c->dtype, n, shape);
}

/* ---- memory ---- */

static size_t bytes_of(const struct st_table *t, const void *s, const struct st_column *c)
{
    int64_t shape[ST_MAX_DIMS];
    int64_t bytes = st_shape_bytes(c->dtype, shape_of(t, s, c, shape), shape);
    assert(bytes >= 0 && "a size is not set");
    return (size_t)bytes;
}

void st_table_alloc(const struct st_table *t, void *s)
{
    for (const struct st_column *c = t->columns; c && c->name; c++)
        if (is_ours(c) && !(c->flags & ST_OPTIONAL))
            set_pointer(s, c, mem_zalloc(bytes_of(t, s, c), 1));
}

static void free_names(void *at)
{
    char **names;
    memcpy(&names, at, sizeof names);
    for (size_t i = 0; names && names[i]; i++)
        free(names[i]);
    free(names);
    memset(at, 0, sizeof names);
}

static void free_string(void *at)
{
    char *text;
    memcpy(&text, at, sizeof text);
    free(text);
    memset(at, 0, sizeof text);
}

void st_table_free(const struct st_table *t, void *s)
{
    for (const struct st_column *c = t->columns; c && c->name; c++)
        if (is_ours(c)) {
            free(get_pointer(s, c));
            set_pointer(s, c, NULL);
        }
    for (const struct st_key *k = t->keys; k && k->name; k++) {
        if (k->type == ST_KEY_STRING)
            free_string((char *)s + k->at);
        else if (k->type == ST_KEY_NAMES)
            free_names((char *)s + k->at);
    }
}

/* ---- writing ---- */

static void list_whole(struct st_msg *m, const char *name)
{
    const char *list = st_msg_meta(m, "raise.whole");
    if (st_list_has(list, name))
        return;
    char *longer = mem_printf("%s%s%s", list ? list : "", list && *list ? "," : "", name);
    st_msg_set_meta(m, "raise.whole", longer);
    free(longer);
}

void st_table_put(const struct st_table *t, const void *s, struct st_msg *m)
{
    if (t->kind) {
        st_msg_set_meta(m, "raise.kind", t->kind);
        st_msg_set_meta(m, "raise.version", ST_FORMAT_VERSION);
    }
    for (const struct st_key *k = t->keys; k && k->name; k++)
        st_key_put(k, s, m);
    for (const struct st_column *c = t->columns; c && c->name; c++) {
        int64_t shape[ST_MAX_DIMS];
        const void *p = get_pointer(s, c);
        if (!p && c->flags & ST_OPTIONAL)
            continue;
        st_msg_add(m, c->name, c->dtype, shape_of(t, s, c, shape), shape, p);
        if (c->flags & ST_WHOLE)
            list_whole(m, c->name);
    }
}

/* ---- reading ---- */

/* The column's tensor, sizes solved; NULL and 0 in e->code where an optional one is absent. */
static const struct st_tensor *find_tensor(const struct st_table *t, void *s,
                                           const struct st_column *c, const struct st_msg *m,
                                           struct err *e)
{
    int64_t shape[ST_MAX_DIMS];
    if (c->flags & ST_OPTIONAL && !st_msg_find(m, c->name))
        return NULL;
    int n = shape_of(t, s, c, shape);
    const struct st_tensor *x = st_msg_need(m, c->name, c->dtype, n, shape, e);
    if (!x)
        return NULL;
    solve(t, s, c, x->shape);
    shape_of(t, s, c, shape);
    for (int i = 0; i < n; i++)
        if (shape[i] < 0) {
            err_set(e, ERR_MISMATCH, "%s: tensor \"%s\": %lld is no size of %s %s",
                    st_msg_name(m), c->name, (long long)x->shape[i], st_dtype_name(c->dtype),
                    c->shape);
            return NULL;
        }
    return st_msg_need(m, c->name, c->dtype, n, shape, e);
}

int st_table_check(const struct st_table *t, void *s, const struct st_msg *m, struct err *e)
{
    struct err local = ERR_INIT;
    e = e ? e : &local;
    for (const struct st_key *k = t->keys; k && k->name; k++) {
        int rc = st_key_take(k, s, m, e);
        if (rc < 0)
            return rc;
    }
    for (const struct st_column *c = t->columns; c && c->name; c++) {
        e->code = 0;
        if (!find_tensor(t, s, c, m, e) && e->code)
            return e->code;
    }
    return 0;
}

static int check_finite(const struct st_column *c, const struct st_tensor *x,
                        const struct st_msg *m, struct err *e)
{
    const float *f = x->data;
    const double *d = x->data;
    size_t n = x->len / st_dtype_size(c->dtype);
    assert(c->dtype == ST_F32 || c->dtype == ST_F64);
    for (size_t i = 0; i < n; i++)
        if (!(c->dtype == ST_F32 ? isfinite(f[i]) : isfinite(d[i])))
            return err_set(e, ERR_NONFINITE, "%s: %s: entry %zu is not finite", st_msg_name(m),
                           c->name, i);
    return 0;
}

/* After st_table_check: values into place. */
static int take_column(void *s, const struct st_column *c, const struct st_msg *m, bool is_view,
                       struct err *e)
{
    const struct st_tensor *x = st_msg_find(m, c->name);
    int rc = x && c->flags & ST_FINITE ? check_finite(c, x, m, e) : 0;
    if (rc < 0 || !x)
        return rc;
    if (is_view && is_ours(c)) {
        set_pointer(s, c, x->data);
        return 0;
    }
    if (is_ours(c))
        set_pointer(s, c, mem_zalloc(x->len, 1));
    assert(!(c->flags & ST_INLINE) || x->len == c->size);
    if (x->len)
        memcpy(get_pointer(s, c), x->data, x->len);
    return 0;
}

static int take(const struct st_table *t, void *s, const struct st_msg *m, bool is_view,
                struct err *e)
{
    for (const struct st_column *c = t->columns; c && c->name; c++)
        if (is_ours(c))
            set_pointer(s, c, NULL);
    int rc = st_table_check(t, s, m, e);
    for (const struct st_column *c = t->columns; c && c->name && !rc; c++)
        rc = take_column(s, c, m, is_view, e);
    return rc;
}

int st_table_take(const struct st_table *t, void *s, const struct st_msg *m, struct err *e)
{
    return take(t, s, m, false, e);
}

int st_table_view(const struct st_table *t, void *s, const struct st_msg *m, struct err *e)
{
    return take(t, s, m, true, e);
}

/* ---- rows ---- */

static bool is_left_out(void *s, const struct st_column *c)
{
    return c->flags & ST_OPTIONAL && !get_pointer(s, c);
}

void st_table_grow(const struct st_table *t, void *s, int64_t cap)
{
    for (const struct st_column *c = t->columns; c && c->name; c++) {
        assert(is_ours(c));
        if (is_left_out(s, c))
            continue;
        set_pointer(s, c, mem_realloc(get_pointer(s, c), (size_t)cap, width_of(t, s, c)));
    }
}

/* Rows of a msg that has all columns, or < 0. */
static int64_t count_rows(const struct st_table *t, void *s, const struct st_msg *m,
                          struct err *e)
{
    int64_t n = -1, shape[ST_MAX_DIMS];
    for (const struct st_column *c = t->columns; c && c->name; c++) {
        if (is_left_out(s, c))
            continue;
        int n_dims = shape_of(t, s, c, shape);
        shape[0] = n;
        const struct st_tensor *x = st_msg_need(m, c->name, c->dtype, n_dims, shape, e);
        if (!x)
            return e->code;
        n = x->shape[0];
    }
    return n;
}

int st_table_append(const struct st_table *t, void *s, int64_t *cap, const struct st_msg *m,
                    struct err *e)
{
    struct err local = ERR_INIT;
    int64_t at = get_size(t, s, 0), n = count_rows(t, s, m, e ? e : &local);
    if (n < 0)
        return (int)n;
    if (at + n > *cap) {
        *cap = at + n > *cap + *cap / 2 ? at + n : *cap + *cap / 2;
        st_table_grow(t, s, *cap);
    }
    for (const struct st_column *c = t->columns; c && c->name; c++) {
        const struct st_tensor *x = is_left_out(s, c) ? NULL : st_msg_find(m, c->name);
        if (x && x->len)
            memcpy((char *)get_pointer(s, c) + (size_t)at * width_of(t, s, c), x->data, x->len);
    }
    set_size(t, s, 0, at + n);
    return 0;
}

void st_table_slice(const struct st_table *t, void *dst, int64_t from, int64_t n)
{
    for (const struct st_column *c = t->columns; c && c->name; c++) {
        char *p = get_pointer(dst, c);
        if (p)
            set_pointer(dst, c, p + (size_t)from * width_of(t, dst, c));
    }
    set_size(t, dst, 0, n);
}
