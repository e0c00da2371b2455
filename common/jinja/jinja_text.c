/* SPDX-License-Identifier: MIT
 * Values as text: Python's str() and repr(), and json.dumps. */
#include "base/text.h"
#include "jinja/jinja_priv.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* repr(): the fewest digits that read back, without an exponent from 1e-4 to 1e16. */
static void put_real(struct jx *c, struct jx_out *o, double r, bool is_json)
{
    char text[40], *e;
    if (!isfinite(r)) {
        const char *name = isnan(r) ? (is_json ? "NaN" : "nan")
                           : r > 0  ? (is_json ? "Infinity" : "inf")
                                    : (is_json ? "-Infinity" : "-inf");
        jx_out_puts(c, o, name, strlen(name), 0);
        return;
    }
    int digits = 1;
    for (; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, r);
        double back = strtod(text, NULL);
        if (!(back < r) && !(back > r))
            break;
    }
    snprintf(text, sizeof text, "%.*e", digits - 1, r);
    int exponent = (e = strchr(text, 'e')) ? atoi(e + 1) : 0;
    if (exponent >= -4 && exponent < 16) {
        int places = digits - 1 - exponent;
        snprintf(text, sizeof text, "%.*f", places > 0 ? places : 1, r);
    }
    jx_out_puts(c, o, text, strlen(text), 0);
}

static void put_number(struct jx *c, struct jx_out *o, const struct jx_value *v, bool is_json)
{
    char text[32];
    if (v->kind == JX_REAL) {
        put_real(c, o, v->u.r, is_json);
        return;
    }
    snprintf(text, sizeof text, "%" PRId64, v->u.i);
    jx_out_puts(c, o, text, strlen(text), 0);
}

static void put(struct jx *c, struct jx_out *o, const char *s)
{
    jx_out_puts(c, o, s, strlen(s), 0);
}

static uint16_t origin_at(const struct jx_string *s, size_t i)
{
    return s->from ? s->from[i] : s->one;
}

/* A character that Python's repr() writes as an escape, roughly: controls and the like. */
static bool is_printable(uint32_t u)
{
    return !(u < 0x20 || (u >= 0x7f && u <= 0xa0) || u == 0xad ||
             (u >= 0x2028 && u <= 0x202e) || (u >= 0x200b && u <= 0x200f) ||
             (u >= 0x2000 && u <= 0x200a) || u == 0x202f || u == 0x205f || u == 0x3000 ||
             u == 0x1680 || u == 0xfeff || (u >= 0xe000 && u <= 0xf8ff));
}

static void put_repr_text(struct jx *c, struct jx_out *o, const struct jx_string *s)
{
    bool has_single = s->len && memchr(s->s, '\'', s->len),
         has_double = s->len && memchr(s->s, '"', s->len);
    char quote = has_single && !has_double ? '"' : '\'', text[16];
    size_t len;
    jx_out_puts(c, o, &quote, 1, 0);
    for (size_t i = 0; i < s->len && c->rc == 0; i += len) {
        uint32_t u = utf8_at((const unsigned char *)s->s + i, &len);
        uint16_t from = origin_at(s, i);
        if (u == (unsigned char)quote || u == '\\')
            snprintf(text, sizeof text, "\\%c", (char)u);
        else if (u == '\n' || u == '\r' || u == '\t')
            snprintf(text, sizeof text, "\\%c", u == '\n' ? 'n' : u == '\r' ? 'r' : 't');
        else if (is_printable(u))
            snprintf(text, sizeof text, "%.*s", (int)len, s->s + i);
        else
            snprintf(text, sizeof text, u < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)u);
        jx_out_puts(c, o, text, strlen(text), from);
    }
    jx_out_puts(c, o, &quote, 1, 0);
}

static void put_list(struct jx *c, struct jx_out *o, const struct jx_value *v)
{
    if (v->u.l->is_lazy)
        jx_fail(c, ERR_UNSUPPORTED, "a generator as text (| list makes a list of it)");
    put(c, o, v->kind == JX_LIST ? "[" : "(");
    for (size_t i = 0; c->rc == 0 && i < v->u.l->n; i++) {
        put(c, o, i ? ", " : "");
        jx_put_repr(c, o, &v->u.l->v[i]);
    }
    if (v->kind == JX_TUPLE && v->u.l->n == 1)
        put(c, o, ",");
    put(c, o, v->kind == JX_LIST ? "]" : ")");
}

static void put_dict(struct jx *c, struct jx_out *o, const struct jx_dict *d)
{
    put(c, o, "{");
    for (size_t i = 0; c->rc == 0 && i < d->n; i++) {
        put(c, o, i ? ", " : "");
        jx_put_repr(c, o, &d->pairs[i].key);
        put(c, o, ": ");
        jx_put_repr(c, o, &d->pairs[i].value);
    }
    put(c, o, "}");
}

void jx_put_repr(struct jx *c, struct jx_out *o, const struct jx_value *v)
{
    if (++c->depth > JINJA_MAX_DEPTH)
        jx_fail(c, ERR_RANGE, "values nested more than %d deep", JINJA_MAX_DEPTH);
    if (c->rc < 0)
        ;
    else if (v->kind == JX_STRING)
        put_repr_text(c, o, v->u.s);
    else if (v->kind == JX_UNDEFINED)
        put(c, o, "Undefined");
    else
        jx_put_str(c, o, v);
    c->depth--;
}

void jx_put_str(struct jx *c, struct jx_out *o, const struct jx_value *v)
{
    switch (v->kind) {
    case JX_UNDEFINED:
        break;
    case JX_NONE:
        put(c, o, "None");
        break;
    case JX_BOOL:
        put(c, o, v->u.b ? "True" : "False");
        break;
    case JX_INT:
    case JX_REAL:
        put_number(c, o, v, false);
        break;
    case JX_STRING:
        jx_out_put(c, o, v->u.s);
        break;
    case JX_LIST:
    case JX_TUPLE:
        put_list(c, o, v);
        break;
    case JX_DICT:
        put_dict(c, o, v->u.d);
        break;
    case JX_NAMESPACE:
    case JX_MACRO:
    case JX_BUILTIN:
    case JX_METHOD:
    case JX_LOOP:
    case JX_CELL:
        jx_fail(c, ERR_UNSUPPORTED, "a %s as text", jx_type_name(v));
        break;
    }
}

struct jx_value jx_str(struct jx *c, const struct jx_value *v)
{
    struct jx_out o = {0};
    if (v->kind == JX_STRING)
        return *v;
    jx_put_str(c, &o, v);
    return jx_out_value(c, &o);
}

/* ---- JSON ---- */

static void put_json_text(struct jx *c, struct jx_out *o, const struct jx_string *s,
                          bool is_ascii)
{
    static const char names[] = "\"\\\n\r\t\b\f", letters[] = "\"\\nrtbf";
    char text[16];
    size_t len;
    put(c, o, "\"");
    for (size_t i = 0; i < s->len && c->rc == 0; i += len) {
        uint32_t u = utf8_at((const unsigned char *)s->s + i, &len);
        const char *p = u && u < 0x80 ? strchr(names, (int)u) : NULL;
        if (p)
            snprintf(text, sizeof text, "\\%c", letters[p - names]);
        else if (u < 0x20 || (is_ascii && u > 0x7f && u < 0x10000))
            snprintf(text, sizeof text, "\\u%04x", (unsigned)u);
        else if (is_ascii && u >= 0x10000)
            snprintf(text, sizeof text, "\\u%04x\\u%04x",
                     (unsigned)(0xd800 + ((u - 0x10000) >> 10)),
                     (unsigned)(0xdc00 + ((u - 0x10000) & 0x3ff)));
        else
            snprintf(text, sizeof text, "%.*s", (int)len, s->s + i);
        jx_out_puts(c, o, text, strlen(text), origin_at(s, i));
    }
    put(c, o, "\"");
}

static void new_line(struct jx *c, struct jx_out *o, const struct jx_json *how, int level)
{
    if (how->indent < 0)
        return;
    put(c, o, "\n");
    for (int64_t i = 0; c->rc == 0 && i < how->indent * level; i++)
        put(c, o, " ");
}

static void separate(struct jx *c, struct jx_out *o, const struct jx_json *how, bool is_key)
{
    const struct jx_string *s = is_key ? how->key : how->item;
    if (s)
        jx_out_put(c, o, s);
    else
        put(c, o, is_key ? ": " : how->indent < 0 ? ", " : ",");
}

static void put_json_list(struct jx *c, struct jx_out *o, const struct jx_list *l,
                          const struct jx_json *how, int level)
{
    put(c, o, "[");
    for (size_t i = 0; c->rc == 0 && i < l->n; i++) {
        if (i)
            separate(c, o, how, false);
        new_line(c, o, how, level + 1);
        jx_put_json(c, o, &l->v[i], how, level + 1);
    }
    if (l->n)
        new_line(c, o, how, level);
    put(c, o, "]");
}

static int by_key(const void *a, const void *b)
{
    const struct jx_string *s = ((const struct jx_pair *)a)->key.u.s,
                           *t = ((const struct jx_pair *)b)->key.u.s;
    size_t n = s->len < t->len ? s->len : t->len;
    int d = n ? memcmp(s->s, t->s, n) : 0;
    return d ? d : (s->len > t->len) - (s->len < t->len);
}

static const struct jx_pair *sorted_pairs(struct jx *c, const struct jx_dict *d)
{
    struct jx_pair *p = jx_take(c, d->n * sizeof *p);
    if (!p || !d->n)
        return p;
    memcpy(p, d->pairs, d->n * sizeof *p);
    for (size_t i = 0; i < d->n; i++)
        if (p[i].key.kind != JX_STRING)
            return d->pairs;
    qsort(p, d->n, sizeof *p, by_key);
    return p;
}

static void put_json_dict(struct jx *c, struct jx_out *o, const struct jx_dict *d,
                          const struct jx_json *how, int level)
{
    const struct jx_pair *p = how->is_sorted ? sorted_pairs(c, d) : d->pairs;
    put(c, o, "{");
    for (size_t i = 0; c->rc == 0 && i < d->n; i++) {
        if (i)
            separate(c, o, how, false);
        new_line(c, o, how, level + 1);
        if (p[i].key.kind == JX_STRING)
            put_json_text(c, o, p[i].key.u.s, how->is_ascii);
        else
            jx_fail(c, ERR_UNSUPPORTED, "JSON with a %s as key", jx_type_name(&p[i].key));
        separate(c, o, how, true);
        jx_put_json(c, o, &p[i].value, how, level + 1);
    }
    if (d->n)
        new_line(c, o, how, level);
    put(c, o, "}");
}

void jx_put_json(struct jx *c, struct jx_out *o, const struct jx_value *v,
                 const struct jx_json *how, int level)
{
    if (level > JINJA_MAX_DEPTH)
        jx_fail(c, ERR_RANGE, "JSON nested more than %d deep", JINJA_MAX_DEPTH);
    if (c->rc < 0)
        return;
    if (v->kind == JX_NONE)
        put(c, o, "null");
    else if (v->kind == JX_BOOL)
        put(c, o, v->u.b ? "true" : "false");
    else if (v->kind == JX_INT || v->kind == JX_REAL)
        put_number(c, o, v, true);
    else if (v->kind == JX_STRING)
        put_json_text(c, o, v->u.s, how->is_ascii);
    else if ((v->kind == JX_LIST || v->kind == JX_TUPLE) && !v->u.l->is_lazy)
        put_json_list(c, o, v->u.l, how, level);
    else if (v->kind == JX_DICT)
        put_json_dict(c, o, v->u.d, how, level);
    else
        jx_fail(c, ERR_FORMAT, "a %s as JSON", jx_type_name(v));
}
