/* SPDX-License-Identifier: MIT
 * Values, and what is written; see jinja_priv.h. */
#include "jinja/jinja_priv.h"

#include <stdlib.h>
#include <string.h>

/* ---- errors and bounds ---- */

struct jx_value jx_fail(struct jx *c, int code, const char *fmt, ...)
{
    if (c->rc == 0) {
        struct buf b = {0};
        va_list ap;
        va_start(ap, fmt);
        buf_vprintf(&b, fmt, ap);
        va_end(ap);
        err_set(c->e, code, "%s:%d: %s", c->t->name, c->line, buf_str(&b));
        c->rc = code;
        buf_free(&b);
    }
    return JX_NOTHING;
}

void jx_step(struct jx *c, size_t n_bytes)
{
    c->n_steps += 1 + (int64_t)(n_bytes / 64);
    if (c->n_steps > JINJA_MAX_STEPS)
        jx_fail(c, ERR_RANGE, "more than %d steps", JINJA_MAX_STEPS);
}

/* What does not fit any more is not made: the error stands, and the caller gets a little. */
void *jx_take(struct jx *c, size_t n)
{
    static const size_t LEAST = 64;
    if (n > JINJA_MAX_MEMORY || c->n_bytes + n > JINJA_MAX_MEMORY) {
        jx_fail(c, ERR_RANGE, "the values take more than %d MiB", JINJA_MAX_MEMORY >> 20);
        return NULL;
    }
    n = n < LEAST / 8 ? LEAST / 8 : n;
    c->n_bytes += n;
    void *p = arena_take(&c->arena, n);
    memset(p, 0, n);
    return p;
}

/* ---- small values ---- */

struct jx_value jx_none(void)
{
    return (struct jx_value){.kind = JX_NONE};
}

struct jx_value jx_bool(bool b)
{
    return (struct jx_value){.kind = JX_BOOL, .u.b = b};
}

struct jx_value jx_int(int64_t i)
{
    return (struct jx_value){.kind = JX_INT, .u.i = i};
}

struct jx_value jx_real(double r)
{
    return (struct jx_value){.kind = JX_REAL, .u.r = r};
}

static struct jx_value string_of(struct jx *c, struct jx_string s)
{
    struct jx_string *x = jx_take(c, sizeof *x);
    if (!x)
        return JX_NOTHING;
    *x = s;
    return (struct jx_value){.kind = JX_STRING, .u.s = x};
}

struct jx_value jx_text(struct jx *c, const char *s, size_t len)
{
    return string_of(c, (struct jx_string){.s = s, .len = len});
}

struct jx_value jx_cstr(struct jx *c, const char *s)
{
    return jx_text(c, s, strlen(s));
}

struct jx_value jx_part(struct jx *c, const struct jx_string *s, size_t from, size_t to)
{
    return string_of(c, (struct jx_string){.s = s->s + from,
                                           .len = to > from ? to - from : 0,
                                           .from = s->from ? s->from + from : NULL,
                                           .one = s->one,
                                           .is_safe = s->is_safe});
}

const char *jx_type_name(const struct jx_value *v)
{
    static const char *const names[] = {"undefined", "None",     "bool",   "int",  "float",
                                        "str",       "list",     "tuple",  "dict", "Namespace",
                                        "macro",     "function", "method", "loop", "object"};
    return names[v->kind];
}

bool jx_is_text(const struct jx_value *v, const char *s)
{
    return v->kind == JX_STRING && v->u.s->len == strlen(s) &&
           memcmp(v->u.s->s, s, v->u.s->len) == 0;
}

/* ---- lists and dicts ---- */

struct jx_value jx_list_new(struct jx *c, enum jx_kind kind, size_t n)
{
    struct jx_list *l = jx_take(c, sizeof *l);
    struct jx_value *v = l ? jx_take(c, n * sizeof *v) : NULL;
    if (!v)
        return JX_NOTHING;
    *l = (struct jx_list){.n = n, .v = v};
    return (struct jx_value){.kind = kind, .u.l = l};
}

struct jx_value jx_dict_new(struct jx *c, enum jx_kind kind)
{
    struct jx_dict *d = jx_take(c, sizeof *d);
    return d ? (struct jx_value){.kind = kind, .u.d = d} : JX_NOTHING;
}

const struct jx_value *jx_dict_find(const struct jx_dict *d, const char *key)
{
    for (size_t i = 0; i < d->n; i++)
        if (jx_is_text(&d->pairs[i].key, key))
            return &d->pairs[i].value;
    return NULL;
}

void jx_dict_append(struct jx *c, struct jx_dict *d, struct jx_value key, struct jx_value value)
{
    if (d->n == d->cap) {
        size_t cap = d->cap ? 2 * d->cap : 4;
        struct jx_pair *p = jx_take(c, cap * sizeof *p);
        if (!p)
            return;
        if (d->n)
            memcpy(p, d->pairs, d->n * sizeof *p);
        d->pairs = p;
        d->cap = cap;
    }
    d->pairs[d->n++] = (struct jx_pair){key, value};
}

/* ---- from JSON ---- */

static struct jx_value dict_of_json(struct jx *c, const json_t *v, uint16_t from)
{
    struct jx_value d = jx_dict_new(c, JX_DICT);
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)v, key, member)
    {
        if (c->rc < 0)
            break;
        struct jx_value name =
            string_of(c, (struct jx_string){.s = key, .len = strlen(key), .one = from});
        jx_dict_append(c, d.u.d, name, jx_of_json(c, member, from));
    }
    return c->rc < 0 ? JX_NOTHING : d;
}

static struct jx_value list_of_json(struct jx *c, const json_t *v, uint16_t from)
{
    struct jx_value l = jx_list_new(c, JX_LIST, json_array_size(v));
    for (size_t i = 0; c->rc == 0 && i < l.u.l->n; i++)
        l.u.l->v[i] = jx_of_json(c, json_array_get(v, i), from);
    return c->rc < 0 ? JX_NOTHING : l;
}

struct jx_value jx_of_json(struct jx *c, const json_t *v, uint16_t from)
{
    if (++c->depth > JINJA_MAX_DEPTH)
        jx_fail(c, ERR_RANGE, "JSON nested more than %d deep", JINJA_MAX_DEPTH);
    struct jx_value x = JX_NOTHING;
    if (c->rc == 0)
        switch (json_typeof(v)) {
        case JSON_OBJECT:
            x = dict_of_json(c, v, from);
            break;
        case JSON_ARRAY:
            x = list_of_json(c, v, from);
            break;
        case JSON_STRING:
            x = string_of(c, (struct jx_string){.s = json_string_value(v),
                                                .len = json_string_length(v),
                                                .one = from});
            break;
        case JSON_INTEGER:
            x = jx_int(json_integer_value(v));
            break;
        case JSON_REAL:
            x = jx_real(json_real_value(v));
            break;
        case JSON_TRUE:
        case JSON_FALSE:
            x = jx_bool(json_is_true(v));
            break;
        case JSON_NULL:
            x = jx_none();
            break;
        }
    c->depth--;
    return x;
}

/* ---- output ---- */

static bool out_room(struct jx *c, struct jx_out *o, size_t len)
{
    if (o->len + len > JINJA_MAX_OUTPUT) {
        jx_fail(c, ERR_RANGE, "the text is longer than %d MiB", JINJA_MAX_OUTPUT >> 20);
        return false;
    }
    MEM_GROW(o->s, o->cap, o->len + len + 1);
    MEM_GROW(o->from, o->from_cap, o->len + len + 1);
    return true;
}

void jx_out_puts(struct jx *c, struct jx_out *o, const char *s, size_t len, uint16_t from)
{
    jx_step(c, len);
    if (len == 0 || !out_room(c, o, len))
        return;
    memcpy(o->s + o->len, s, len);
    for (size_t i = 0; i < len; i++)
        o->from[o->len + i] = from;
    o->len += len;
}

void jx_out_put(struct jx *c, struct jx_out *o, const struct jx_string *s)
{
    if (!s->from) {
        jx_out_puts(c, o, s->s, s->len, s->one);
        return;
    }
    jx_step(c, s->len);
    if (s->len == 0 || !out_room(c, o, s->len))
        return;
    memcpy(o->s + o->len, s->s, s->len);
    memcpy(o->from + o->len, s->from, s->len * sizeof *s->from);
    o->len += s->len;
}

struct jx_value jx_out_value(struct jx *c, struct jx_out *o)
{
    struct jx_string s = {.len = o->len};
    bool is_one = true;
    for (size_t i = 1; i < o->len && is_one; i++)
        is_one = o->from[i] == o->from[0];
    char *text = jx_take(c, o->len + 1);
    uint16_t *from = text && !is_one ? jx_take(c, o->len * sizeof *from) : NULL;
    struct jx_value v = JX_NOTHING;
    if (text && (is_one || from)) {
        if (o->len)
            memcpy(text, o->s, o->len);
        if (from)
            memcpy(from, o->from, o->len * sizeof *from);
        s.s = text;
        s.from = from;
        s.one = o->len && is_one ? o->from[0] : 0;
        v = string_of(c, s);
    }
    jx_out_free(o);
    return v;
}

void jx_out_free(struct jx_out *o)
{
    free(o->s);
    free(o->from);
    *o = (struct jx_out){0};
}
