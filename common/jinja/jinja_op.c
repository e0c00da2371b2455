/* SPDX-License-Identifier: MIT
 * What Python's operators do with values: truth, equality, order, arithmetic, membership,
 * items and slices. Positions in a text count characters, not bytes. */
#include "base/text.h"
#include "jinja/jinja_priv.h"

#include <math.h>
#include <string.h>

bool jx_as_int(const struct jx_value *v, int64_t *i)
{
    if (v->kind != JX_INT && v->kind != JX_BOOL)
        return false;
    *i = v->kind == JX_INT ? v->u.i : v->u.b;
    return true;
}

bool jx_as_real(const struct jx_value *v, double *r)
{
    int64_t i;
    if (v->kind == JX_REAL)
        *r = v->u.r;
    else if (jx_as_int(v, &i))
        *r = (double)i;
    else
        return false;
    return true;
}

bool jx_truth(const struct jx_value *v)
{
    switch (v->kind) {
    case JX_UNDEFINED:
    case JX_NONE:
        return false;
    case JX_BOOL:
        return v->u.b;
    case JX_INT:
        return v->u.i != 0;
    case JX_REAL:
        return v->u.r < 0 || v->u.r > 0 || isnan(v->u.r);
    case JX_STRING:
        return v->u.s->len > 0;
    case JX_LIST:
    case JX_TUPLE:
        return v->u.l->n > 0 || v->u.l->is_lazy;
    case JX_DICT:
        return v->u.d->n > 0;
    case JX_NAMESPACE:
    case JX_MACRO:
    case JX_BUILTIN:
    case JX_METHOD:
    case JX_LOOP:
    case JX_CELL:
        break;
    }
    return true;
}

/* ---- comparing ---- */

const struct jx_value *jx_dict_get(struct jx *c, const struct jx_dict *d,
                                   const struct jx_value *key)
{
    jx_step(c, d->n * 16);
    for (size_t i = 0; i < d->n; i++)
        if (jx_equal(c, &d->pairs[i].key, key))
            return &d->pairs[i].value;
    return NULL;
}

void jx_dict_set(struct jx *c, struct jx_dict *d, struct jx_value key, struct jx_value value)
{
    if (key.kind == JX_LIST || key.kind == JX_DICT) {
        jx_fail(c, ERR_FORMAT, "a %s cannot be a key", jx_type_name(&key));
        return;
    }
    jx_step(c, d->n * 16);
    for (size_t i = 0; i < d->n; i++)
        if (jx_equal(c, &d->pairs[i].key, &key)) {
            d->pairs[i].value = value;
            return;
        }
    jx_dict_append(c, d, key, value);
}

static bool lists_equal(struct jx *c, const struct jx_list *a, const struct jx_list *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!jx_equal(c, &a->v[i], &b->v[i]))
            return false;
    return true;
}

static bool dicts_equal(struct jx *c, const struct jx_dict *a, const struct jx_dict *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct jx_value *v = jx_dict_get(c, b, &a->pairs[i].key);
        if (!v || !jx_equal(c, v, &a->pairs[i].value))
            return false;
    }
    return true;
}

bool jx_equal(struct jx *c, const struct jx_value *a, const struct jx_value *b)
{
    double x, y;
    int64_t i, k;
    if (jx_as_int(a, &i) && jx_as_int(b, &k))
        return i == k;
    if (jx_as_real(a, &x) && jx_as_real(b, &y))
        return !(x < y) && !(x > y) && !isnan(x) && !isnan(y);
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case JX_STRING:
        return a->u.s->len == b->u.s->len &&
               (a->u.s->len == 0 || memcmp(a->u.s->s, b->u.s->s, a->u.s->len) == 0);
    case JX_LIST:
    case JX_TUPLE: {
        jx_step(c, a->u.l->n * 16);
        if (c->rc < 0 || ++c->depth > JINJA_MAX_DEPTH)
            return false;
        bool is_it = lists_equal(c, a->u.l, b->u.l);
        c->depth--;
        return is_it;
    }
    case JX_DICT: {
        if (c->rc < 0 || ++c->depth > JINJA_MAX_DEPTH)
            return false;
        bool is_it = dicts_equal(c, a->u.d, b->u.d);
        c->depth--;
        return is_it;
    }
    case JX_UNDEFINED:
    case JX_NONE:
        return true;
    case JX_NAMESPACE:
        return a->u.d == b->u.d;
    case JX_MACRO:
        return a->u.macro == b->u.macro;
    case JX_LOOP:
        return a->u.loop == b->u.loop;
    case JX_BOOL:
    case JX_INT:
    case JX_REAL:
    case JX_BUILTIN:
    case JX_METHOD:
    case JX_CELL:
        break;
    }
    return false;
}

static int order_of_texts(const struct jx_string *a, const struct jx_string *b)
{
    size_t n = a->len < b->len ? a->len : b->len;
    int d = n ? memcmp(a->s, b->s, n) : 0;
    return d ? d : (a->len > b->len) - (a->len < b->len);
}

int jx_order(struct jx *c, const struct jx_value *a, const struct jx_value *b)
{
    double x, y;
    int64_t i, k;
    if (jx_as_int(a, &i) && jx_as_int(b, &k))
        return (i > k) - (i < k);
    if (jx_as_real(a, &x) && jx_as_real(b, &y))
        return (x > y) - (x < y);
    if (a->kind == JX_STRING && b->kind == JX_STRING)
        return order_of_texts(a->u.s, b->u.s);
    if (a->kind == b->kind && (a->kind == JX_LIST || a->kind == JX_TUPLE)) {
        if (++c->depth > JINJA_MAX_DEPTH)
            jx_fail(c, ERR_RANGE, "lists nested too deep");
        int d = 0;
        for (size_t at = 0; c->rc == 0 && d == 0 && at < a->u.l->n && at < b->u.l->n; at++)
            d = jx_order(c, &a->u.l->v[at], &b->u.l->v[at]);
        c->depth--;
        return d ? d : (a->u.l->n > b->u.l->n) - (a->u.l->n < b->u.l->n);
    }
    jx_fail(c, ERR_FORMAT, "%s and %s have no order", jx_type_name(a), jx_type_name(b));
    return 0;
}

size_t jx_find(const struct jx_string *s, size_t from, const struct jx_string *what)
{
    if (what->len == 0)
        return from <= s->len ? from : SIZE_MAX;
    while (from + what->len <= s->len) {
        const char *p = memchr(s->s + from, what->s[0], s->len - what->len - from + 1);
        if (!p)
            return SIZE_MAX;
        from = (size_t)(p - s->s);
        if (memcmp(p, what->s, what->len) == 0)
            return from;
        from++;
    }
    return SIZE_MAX;
}

bool jx_contains(struct jx *c, const struct jx_value *in, const struct jx_value *what)
{
    if (in->kind == JX_STRING) {
        if (what->kind != JX_STRING) {
            jx_fail(c, ERR_FORMAT, "%s in a text", jx_type_name(what));
            return false;
        }
        jx_step(c, in->u.s->len);
        return jx_find(in->u.s, 0, what->u.s) != SIZE_MAX;
    }
    if (in->kind == JX_DICT)
        return jx_dict_get(c, in->u.d, what) != NULL;
    struct jx_list *l = jx_items_of(c, in);
    for (size_t i = 0; l && c->rc == 0 && i < l->n; i++)
        if (jx_equal(c, &l->v[i], what))
            return true;
    return false;
}

/* ---- arithmetic ---- */

static struct jx_value int_op(struct jx *c, int op, int64_t a, int64_t b)
{
    int64_t r = 0;
    bool is_over = false;
    if ((op == OP_FLOOR || op == '%' || op == '/') && b == 0)
        return jx_fail(c, ERR_FORMAT, "division by zero");
    switch (op) {
    case '+':
        is_over = __builtin_add_overflow(a, b, &r);
        break;
    case '-':
        is_over = __builtin_sub_overflow(a, b, &r);
        break;
    case '*':
        is_over = __builtin_mul_overflow(a, b, &r);
        break;
    case '/':
        return jx_real((double)a / (double)b);
    case OP_FLOOR:
    case '%':
        if (b == -1) {
            is_over = op == OP_FLOOR && __builtin_sub_overflow(0, a, &r);
        } else {
            int64_t q = a / b - (a % b != 0 && (a < 0) != (b < 0));
            r = op == '%' ? a - q * b : q;
        }
        break;
    default:
        if (b < 0)
            return jx_real(pow((double)a, (double)b));
        for (r = 1; b > 0 && !is_over; b--) {
            is_over = __builtin_mul_overflow(r, a, &r);
            if (a == 0 || a == 1 || (a == -1 && b > 2 && b % 2))
                b = b % 2 ? 1 : 2;
        }
    }
    return is_over ? jx_fail(c, ERR_RANGE, "a number beyond 64 bits") : jx_int(r);
}

static struct jx_value real_op(struct jx *c, int op, double a, double b)
{
    bool is_division = op == '/' || op == OP_FLOOR || op == '%';
    if (is_division && !(b < 0) && !(b > 0) && !isnan(b))
        return jx_fail(c, ERR_FORMAT, "division by zero");
    switch (op) {
    case '+':
        return jx_real(a + b);
    case '-':
        return jx_real(a - b);
    case '*':
        return jx_real(a * b);
    case '/':
        return jx_real(a / b);
    case OP_FLOOR:
        return jx_real(floor(a / b));
    case '%':
        return jx_real(a - b * floor(a / b));
    default:
        return jx_real(pow(a, b));
    }
}

struct jx_value jx_safe(struct jx *c, const struct jx_string *s)
{
    struct jx_value v = jx_part(c, s, 0, s->len);
    if (c->rc < 0)
        return JX_NOTHING;
    struct jx_string *x = jx_take(c, sizeof *x);
    if (x) {
        *x = *v.u.s;
        x->is_safe = true;
        v.u.s = x;
    }
    return v;
}

struct jx_value jx_escape(struct jx *c, const struct jx_string *s)
{
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    struct jx_out o = {0};
    for (size_t i = 0; i < s->len && c->rc == 0; i++) {
        const char *p = s->s[i] ? strchr(from, s->s[i]) : NULL;
        jx_out_puts(c, &o, p ? to[p - from] : s->s + i, p ? strlen(to[p - from]) : 1,
                    s->from ? s->from[i] : s->one);
    }
    struct jx_value v = jx_out_value(c, &o);
    return c->rc < 0 ? JX_NOTHING : jx_safe(c, v.u.s);
}

static struct jx_value join2(struct jx *c, const struct jx_string *a, const struct jx_string *b)
{
    struct jx_out o = {0};
    if (a->len == 0 && a->is_safe == b->is_safe)
        return jx_part(c, b, 0, b->len);
    if (b->len == 0 && a->is_safe == b->is_safe)
        return jx_part(c, a, 0, a->len);
    jx_out_put(c, &o, a);
    jx_out_put(c, &o, b);
    return jx_out_value(c, &o);
}

static struct jx_value add_texts(struct jx *c, const struct jx_string *a,
                                 const struct jx_string *b)
{
    if (!a->is_safe && !b->is_safe)
        return join2(c, a, b);
    struct jx_value x = a->is_safe ? jx_part(c, a, 0, a->len) : jx_escape(c, a),
                    y = b->is_safe ? jx_part(c, b, 0, b->len) : jx_escape(c, b);
    struct jx_value both = c->rc < 0 ? JX_NOTHING : join2(c, x.u.s, y.u.s);
    return c->rc < 0 ? JX_NOTHING : jx_safe(c, both.u.s);
}

static struct jx_value add_lists(struct jx *c, const struct jx_value *a,
                                 const struct jx_value *b)
{
    size_t n = a->u.l->n, m = b->u.l->n;
    struct jx_value l = jx_list_new(c, a->kind, n + m);
    jx_step(c, (n + m) * sizeof *l.u.l->v);
    if (c->rc < 0)
        return JX_NOTHING;
    if (n)
        memcpy(l.u.l->v, a->u.l->v, n * sizeof *l.u.l->v);
    if (m)
        memcpy(l.u.l->v + n, b->u.l->v, m * sizeof *l.u.l->v);
    return l;
}

static struct jx_value repeat(struct jx *c, const struct jx_value *v, int64_t n)
{
    struct jx_out o = {0};
    if (v->kind == JX_STRING) {
        for (int64_t i = 0; i < n && c->rc == 0 && v->u.s->len; i++)
            jx_out_put(c, &o, v->u.s);
        return jx_out_value(c, &o);
    }
    struct jx_value l = jx_list_new(c, v->kind, 0);
    for (int64_t i = 0; i < n && c->rc == 0 && v->u.l->n; i++)
        l = add_lists(c, &l, v);
    return l;
}

static bool is_sequence(const struct jx_value *v)
{
    return v->kind == JX_STRING ||
           ((v->kind == JX_LIST || v->kind == JX_TUPLE) && !v->u.l->is_lazy);
}

struct jx_value jx_binary(struct jx *c, int op, const struct jx_value *a,
                          const struct jx_value *b)
{
    int64_t i, k;
    double x, y;
    if (op == '~') {
        struct jx_value s = jx_str(c, a), t = jx_str(c, b);
        return c->rc < 0 ? JX_NOTHING : join2(c, s.u.s, t.u.s);
    }
    if (jx_as_int(a, &i) && jx_as_int(b, &k))
        return int_op(c, op, i, k);
    if (jx_as_real(a, &x) && jx_as_real(b, &y))
        return real_op(c, op, x, y);
    if (op == '+' && a->kind == JX_STRING && b->kind == JX_STRING)
        return add_texts(c, a->u.s, b->u.s);
    if (op == '+' && a->kind == b->kind && is_sequence(a))
        return add_lists(c, a, b);
    if (op == '*' && is_sequence(a) && jx_as_int(b, &k))
        return repeat(c, a, k);
    if (op == '*' && is_sequence(b) && jx_as_int(a, &k))
        return repeat(c, b, k);
    if (a->kind == JX_UNDEFINED || b->kind == JX_UNDEFINED) {
        const char *name = a->kind == JX_UNDEFINED ? a->u.name : b->u.name;
        return jx_fail(c, ERR_FORMAT, "%s is undefined", name ? name : "a value");
    }
    return jx_fail(c, ERR_FORMAT, "%s %c%s %s cannot be", jx_type_name(a), op & 0xff,
                   op >> 8 ? (char[]){(char)(op >> 8), 0} : "", jx_type_name(b));
}

/* ---- items ---- */

size_t jx_chars(const struct jx_string *s, size_t n)
{
    size_t at = 0, len;
    for (; n > 0 && at < s->len; n--, at += len)
        utf8_at((const unsigned char *)s->s + at, &len);
    return at;
}

size_t jx_n_chars(const struct jx_string *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->len; i++)
        n += ((unsigned char)s->s[i] & 0xc0) != 0x80;
    return n;
}

struct jx_list *jx_items_of(struct jx *c, const struct jx_value *v)
{
    struct jx_value l;
    if (v->kind == JX_LIST || v->kind == JX_TUPLE)
        return v->u.l;
    if (v->kind == JX_UNDEFINED)
        l = jx_list_new(c, JX_LIST, 0);
    else if (v->kind == JX_DICT) {
        l = jx_list_new(c, JX_LIST, v->u.d->n);
        for (size_t i = 0; c->rc == 0 && i < v->u.d->n; i++)
            l.u.l->v[i] = v->u.d->pairs[i].key;
    } else if (v->kind == JX_STRING) {
        size_t at = 0, len;
        l = jx_list_new(c, JX_LIST, jx_n_chars(v->u.s));
        for (size_t i = 0; c->rc == 0 && i < l.u.l->n; i++, at += len) {
            utf8_at((const unsigned char *)v->u.s->s + at, &len);
            l.u.l->v[i] = jx_part(c, v->u.s, at, at + len);
        }
    } else
        l = jx_fail(c, ERR_FORMAT, "a %s cannot be iterated over", jx_type_name(v));
    return c->rc < 0 ? NULL : l.u.l;
}

struct jx_list *jx_items_or_none(struct jx *c, const struct jx_value *v)
{
    return jx_items_of(c, jx_truth(v) ? v : &JX_NOTHING);
}

struct jx_value jx_lazy(struct jx_value list)
{
    if (list.kind == JX_LIST)
        list.u.l->is_lazy = true;
    return list;
}

int64_t jx_length(struct jx *c, const struct jx_value *v)
{
    if (v->kind == JX_STRING)
        return (int64_t)jx_n_chars(v->u.s);
    if ((v->kind == JX_LIST || v->kind == JX_TUPLE) && !v->u.l->is_lazy)
        return (int64_t)v->u.l->n;
    if (v->kind == JX_DICT)
        return (int64_t)v->u.d->n;
    if (v->kind == JX_UNDEFINED)
        return 0;
    jx_fail(c, ERR_FORMAT, "a %s has no length", jx_type_name(v));
    return 0;
}

struct jx_value jx_item(struct jx *c, const struct jx_value *v, const struct jx_value *key)
{
    int64_t i;
    if (v->kind == JX_DICT) {
        const struct jx_value *found = jx_dict_get(c, v->u.d, key);
        return found ? *found : JX_NOTHING;
    }
    if (v->kind == JX_UNDEFINED)
        return jx_fail(c, ERR_FORMAT, "%s is undefined", v->u.name ? v->u.name : "a value");
    if (!is_sequence(v) || !jx_as_int(key, &i))
        return JX_NOTHING;
    int64_t n = jx_length(c, v);
    i += i < 0 ? n : 0;
    if (i < 0 || i >= n)
        return JX_NOTHING;
    if (v->kind != JX_STRING)
        return v->u.l->v[i];
    size_t from = jx_chars(v->u.s, (size_t)i), len;
    jx_step(c, from);
    utf8_at((const unsigned char *)v->u.s->s + from, &len);
    return jx_part(c, v->u.s, from, from + len);
}

/* A bound of a slice, within [least, most] after counting from the end. */
static int64_t bound(struct jx *c, const struct jx_value *v, int64_t n, int64_t absent,
                     int64_t least, int64_t most)
{
    int64_t i = absent;
    if (v->kind == JX_NONE || v->kind == JX_UNDEFINED)
        return absent;
    if (!jx_as_int(v, &i)) {
        jx_fail(c, ERR_FORMAT, "a slice by a %s", jx_type_name(v));
        return absent;
    }
    if (i < 0)
        i = i < -n ? least : i + n;
    return i < least ? least : i > most ? most : i;
}

struct jx_value jx_slice(struct jx *c, const struct jx_value *v, const struct jx_value *from,
                         const struct jx_value *to, const struct jx_value *step)
{
    int64_t by = 1, n;
    if (step->kind != JX_NONE && step->kind != JX_UNDEFINED && !jx_as_int(step, &by))
        return jx_fail(c, ERR_FORMAT, "a slice by a %s", jx_type_name(step));
    if (by == 0)
        return jx_fail(c, ERR_FORMAT, "a slice of step 0");
    if (v->kind == JX_UNDEFINED)
        return jx_fail(c, ERR_FORMAT, "%s is undefined", v->u.name ? v->u.name : "a value");
    if (!is_sequence(v))
        return jx_fail(c, ERR_FORMAT, "a slice of a %s", jx_type_name(v));
    n = jx_length(c, v);
    int64_t a = by > 0 ? bound(c, from, n, 0, 0, n) : bound(c, from, n, n - 1, -1, n - 1);
    int64_t b = by > 0 ? bound(c, to, n, n, 0, n) : bound(c, to, n, -1, -1, n - 1);
    if (v->kind == JX_STRING && by == 1) {
        jx_step(c, v->u.s->len);
        return jx_part(c, v->u.s, jx_chars(v->u.s, (size_t)a),
                       b > a ? jx_chars(v->u.s, (size_t)b) : 0);
    }
    struct jx_list *all = jx_items_of(c, v);
    size_t count = 0;
    for (int64_t i = a; by > 0 ? i < b : i > b; count++)
        if (__builtin_add_overflow(i, by, &i))
            i = b;
    jx_step(c, count * sizeof *all->v);
    struct jx_value l = jx_list_new(c, v->kind == JX_STRING ? JX_LIST : v->kind, count);
    for (size_t k = 0; c->rc == 0 && k < count; k++)
        l.u.l->v[k] = all->v[a + (int64_t)k * by];
    if (v->kind != JX_STRING || c->rc < 0)
        return l;
    struct jx_out o = {0};
    for (size_t k = 0; k < count; k++)
        jx_out_put(c, &o, l.u.l->v[k].u.s);
    return jx_out_value(c, &o);
}
