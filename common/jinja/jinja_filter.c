/* SPDX-License-Identifier: MIT
 * Filters: x | NAME. Those that go through a list are in jinja_list.c. */
#include "base/text.h"
#include "jinja/jinja_list.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FILTER(name)                                                                           \
    static struct jx_value name(struct jx *c, const struct jx_value *v, const struct jx_args *a)

/* The value as a text, which most filters of texts make of it first; NULL: an error. */
static const struct jx_string *text_of(struct jx *c, const struct jx_value *v)
{
    struct jx_value s = jx_str(c, v);
    return c->rc == 0 ? s.u.s : NULL;
}

FILTER(do_trim)
{
    const struct jx_string *s = text_of(c, v);
    return s ? jx_strip(c, s, jx_arg(a, 0, "chars"), true, true) : JX_NOTHING;
}

static struct jx_value change(struct jx *c, const struct jx_value *v, const char *how)
{
    const struct jx_string *s = text_of(c, v);
    return s ? jx_change_case(c, s, how) : JX_NOTHING;
}

FILTER(do_upper)
{
    (void)a;
    return change(c, v, "upper");
}

FILTER(do_lower)
{
    (void)a;
    return change(c, v, "lower");
}

FILTER(do_title)
{
    (void)a;
    return change(c, v, "title");
}

FILTER(do_capitalize)
{
    (void)a;
    return change(c, v, "capitalize");
}

FILTER(do_replace)
{
    const struct jx_string *s = text_of(c, v);
    return s ? jx_replace(c, s, a) : JX_NOTHING;
}

FILTER(do_string)
{
    (void)a;
    return jx_str(c, v);
}

FILTER(do_safe)
{
    const struct jx_string *s = text_of(c, v);
    (void)a;
    return s ? jx_safe(c, s) : JX_NOTHING;
}

FILTER(do_escape)
{
    const struct jx_string *s = text_of(c, v);
    (void)a;
    return !s ? JX_NOTHING : s->is_safe ? *v : jx_escape(c, s);
}

FILTER(do_default)
{
    const struct jx_value *other = jx_arg(a, 0, "default_value"),
                          *is_strict = jx_arg(a, 1, "boolean");
    bool is_absent =
        v->kind == JX_UNDEFINED || (is_strict && jx_truth(is_strict) && !jx_truth(v));
    return !is_absent ? *v : other ? *other : jx_cstr(c, "");
}

FILTER(do_length)
{
    (void)a;
    return jx_int(jx_length(c, v));
}

FILTER(do_tojson)
{
    const struct jx_value *ascii = jx_arg(a, 0, "ensure_ascii"),
                          *indent = jx_arg(a, 1, "indent"),
                          *separators = jx_arg(a, 2, "separators"),
                          *sort = jx_arg(a, 3, "sort_keys");
    struct jx_json how = {.indent = -1,
                          .is_ascii = ascii && jx_truth(ascii),
                          .is_sorted = sort && jx_truth(sort)};
    struct jx_out o = {0};
    if (indent && indent->kind != JX_NONE && !jx_as_int(indent, &how.indent))
        return jx_fail(c, ERR_UNSUPPORTED, "an indent that is a %s", jx_type_name(indent));
    if (separators && separators->kind != JX_NONE) {
        struct jx_list *l = jx_items_of(c, separators);
        if (!l || l->n != 2 || l->v[0].kind != JX_STRING || l->v[1].kind != JX_STRING)
            return jx_fail(c, ERR_FORMAT, "separators are two texts");
        how.item = l->v[0].u.s;
        how.key = l->v[1].u.s;
    }
    jx_put_json(c, &o, v, &how, 0);
    return jx_out_value(c, &o);
}

FILTER(do_indent)
{
    const struct jx_value *width = jx_arg(a, 0, "width"), *first = jx_arg(a, 1, "first"),
                          *blank = jx_arg(a, 2, "blank");
    const struct jx_string *s = text_of(c, v);
    int64_t n = 4;
    struct jx_out o = {0}, pad = {0};
    if (!s || (width && width->kind != JX_STRING && !jx_as_int(width, &n)))
        return jx_fail(c, ERR_FORMAT, "an indent that is no number");
    if (width && width->kind == JX_STRING)
        jx_out_put(c, &pad, width->u.s);
    else
        for (int64_t i = 0; i < n && c->rc == 0; i++)
            jx_out_puts(c, &pad, " ", 1, 0);
    for (size_t i = 0, end; i <= s->len && c->rc == 0; i = end) {
        for (end = i; end < s->len && s->s[end] != '\n';)
            end++;
        bool is_blank = end == i;
        if (i == 0 ? first && jx_truth(first) : !is_blank || (blank && jx_truth(blank)))
            jx_out_puts(c, &o, pad.s, pad.len, 0);
        end += end < s->len;
        struct jx_value line = jx_part(c, s, i, end);
        if (c->rc == 0)
            jx_out_put(c, &o, line.u.s);
        if (end >= s->len && !(end > i && s->s[end - 1] == '\n'))
            break;
    }
    jx_out_free(&pad);
    return jx_out_value(c, &o);
}

FILTER(do_int)
{
    const struct jx_value *other = jx_arg(a, 0, "default");
    int64_t i = 0;
    double r;
    if (jx_as_int(v, &i))
        return jx_int(i);
    if (jx_as_real(v, &r) && isfinite(r) && fabs(r) < 9e18)
        return jx_int((int64_t)r);
    if (v->kind == JX_STRING && v->u.s->len < 64) {
        struct jx_value s = jx_strip(c, v->u.s, NULL, true, true);
        char text[64] = "", *end = text;
        if (c->rc == 0)
            memcpy(text, s.u.s->s, s.u.s->len);
        long long n = strtoll(text, &end, 10);
        if (*text && *end == '\0')
            return jx_int(n);
        double d = strtod(text, &end);
        if (*text && *end == '\0' && fabs(d) < 9e18)
            return jx_int((int64_t)d);
    }
    return other ? *other : jx_int(0);
}

FILTER(do_float)
{
    const struct jx_value *other = jx_arg(a, 0, "default");
    double r;
    (void)c;
    if (jx_as_real(v, &r))
        return jx_real(r);
    if (v->kind == JX_STRING && v->u.s->len < 64) {
        char text[64] = "", *end = text;
        memcpy(text, v->u.s->s, v->u.s->len);
        r = strtod(text, &end);
        if (*text && *end == '\0')
            return jx_real(r);
    }
    return other ? *other : jx_real(0);
}

FILTER(do_abs)
{
    int64_t i;
    double r;
    (void)a;
    if (jx_as_int(v, &i))
        return i == INT64_MIN ? jx_fail(c, ERR_RANGE, "a number beyond 64 bits")
                              : jx_int(i < 0 ? -i : i);
    if (jx_as_real(v, &r))
        return jx_real(fabs(r));
    return jx_fail(c, ERR_FORMAT, "abs of a %s", jx_type_name(v));
}

FILTER(do_round)
{
    const struct jx_value *places = jx_arg(a, 0, "precision");
    int64_t n = 0;
    double r;
    if (!jx_as_real(v, &r) || (places && !jx_as_int(places, &n)) || n < 0 || n > 15 ||
        jx_arg(a, 1, "method"))
        return jx_fail(c, ERR_UNSUPPORTED, "round of a %s, or by a method", jx_type_name(v));
    double scale = pow(10, (double)n);
    return jx_real(nearbyint(r * scale) / scale);
}

FILTER(do_items)
{
    (void)a;
    if (v->kind == JX_UNDEFINED)
        return jx_list_new(c, JX_LIST, 0);
    if (v->kind != JX_DICT)
        return jx_fail(c, ERR_FORMAT, "items of a %s", jx_type_name(v));
    return jx_lazy(jx_call_method(c, v, "items", &(struct jx_args){0}));
}

FILTER(do_attr)
{
    const struct jx_value *name = jx_arg(a, 0, "name");
    const struct jx_value *found = NULL;
    if (name && name->kind == JX_STRING && v->kind == JX_NAMESPACE)
        found = jx_dict_get(c, v->u.d, name);
    return found ? *found : JX_NOTHING;
}

FILTER(do_wordcount)
{
    const struct jx_string *s = text_of(c, v);
    struct jx_value text = {.kind = JX_STRING, .u.s = s};
    (void)a;
    struct jx_value l =
        s ? jx_call_method(c, &text, "split", &(struct jx_args){0}) : JX_NOTHING;
    return c->rc == 0 ? jx_int((int64_t)l.u.l->n) : JX_NOTHING;
}

struct jx_filter_row {
    const char *name;
    struct jx_value (*filter)(struct jx *c, const struct jx_value *v, const struct jx_args *a);
};

FILTER(do_map);

static const struct jx_filter_row rows[] = {
    {"trim", do_trim},
    {"upper", do_upper},
    {"lower", do_lower},
    {"title", do_title},
    {"capitalize", do_capitalize},
    {"replace", do_replace},
    {"string", do_string},
    {"safe", do_safe},
    {"escape", do_escape},
    {"e", do_escape},
    {"default", do_default},
    {"d", do_default},
    {"length", do_length},
    {"count", do_length},
    {"tojson", do_tojson},
    {"indent", do_indent},
    {"int", do_int},
    {"float", do_float},
    {"abs", do_abs},
    {"round", do_round},
    {"items", do_items},
    {"attr", do_attr},
    {"wordcount", do_wordcount},
    {"map", do_map},
    {"list", jx_do_list},
    {"join", jx_do_join},
    {"first", jx_do_first},
    {"last", jx_do_last},
    {"reverse", jx_do_reverse},
    {"sort", jx_do_sort},
    {"unique", jx_do_unique},
    {"sum", jx_do_sum},
    {"min", jx_do_min},
    {"max", jx_do_max},
    {"select", jx_do_select},
    {"reject", jx_do_reject},
    {"selectattr", jx_do_selectattr},
    {"rejectattr", jx_do_rejectattr},
    {"dictsort", jx_do_dictsort},
    {"batch", jx_do_batch},
};

const struct jx_filter_row *jx_filter_find(const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

struct jx_value jx_filter(struct jx *c, const struct jx_filter_row *f, const struct jx_value *v,
                          const struct jx_args *a)
{
    jx_step(c, 0);
    return c->rc < 0 ? JX_NOTHING : f->filter(c, v, a);
}

/* map('filter', arguments) or map(attribute='name', default=...). */
FILTER(do_map)
{
    const struct jx_value *name = jx_arg(a, 0, NULL),
                          *attribute = jx_arg(a, SIZE_MAX, "attribute"),
                          *other = jx_arg(a, SIZE_MAX, "default");
    const struct jx_filter_row *f = NULL;
    struct jx_list *l = jx_items_or_none(c, v);
    struct jx_value to = l ? jx_list_new(c, JX_LIST, l->n) : JX_NOTHING;
    if (name && name->kind == JX_STRING) {
        char *text = mem_strndup(name->u.s->s, name->u.s->len);
        f = jx_filter_find(text);
        free(text);
    }
    if (!f && !attribute)
        return jx_fail(c, ERR_UNSUPPORTED, "map by an unknown filter");
    struct jx_args rest = *a;
    if (f) {
        rest.v++;
        rest.n--;
    }
    for (size_t i = 0; c->rc == 0 && i < l->n; i++) {
        struct jx_value x =
            f ? jx_filter(c, f, &l->v[i], &rest) : jx_list_attribute(c, &l->v[i], attribute);
        to.u.l->v[i] = !f && other && x.kind == JX_UNDEFINED ? *other : x;
    }
    return jx_lazy(to);
}
