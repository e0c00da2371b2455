/* SPDX-License-Identifier: MIT
 * Functions that every template has: range, namespace, dict, cycler, joiner, and those that
 * transformers adds: raise_exception, strftime_now. */
#include "jinja/jinja_priv.h"

#include <stdlib.h>
#include <string.h>

#define FUNCTION(name) static struct jx_value name(struct jx *c, const struct jx_args *a)

FUNCTION(do_range)
{
    int64_t bounds[3] = {0, 0, 1};
    if (a->n < 1 || a->n > 3)
        return jx_fail(c, ERR_FORMAT, "range takes one to three numbers");
    for (size_t i = 0; i < a->n; i++)
        if (!jx_as_int(&a->v[i], &bounds[a->n == 1 ? 1 : i]))
            return jx_fail(c, ERR_FORMAT, "range of a %s", jx_type_name(&a->v[i]));
    int64_t from = bounds[0], to = bounds[1], by = bounds[2];
    static const int64_t MOST = 100000; /* as the sandbox of Jinja has it */
    if (by == 0 || from < -(1LL << 60) || from > 1LL << 60 || to < -(1LL << 60) ||
        to > 1LL << 60)
        return jx_fail(c, ERR_RANGE, "such a range cannot be");
    int64_t n = by > 0 ? (to - from + by - 1) / by : (from - to - by - 1) / -by;
    n = n < 0 ? 0 : n;
    if (n > MOST)
        return jx_fail(c, ERR_RANGE, "a range of more than %lld numbers", (long long)MOST);
    struct jx_value l = jx_list_new(c, JX_LIST, (size_t)n);
    for (int64_t i = 0; c->rc == 0 && i < n; i++)
        l.u.l->v[i] = jx_int(from + i * by);
    return l;
}

static struct jx_value dict_of(struct jx *c, const struct jx_args *a, enum jx_kind kind)
{
    struct jx_value d = jx_dict_new(c, kind);
    if (a->n && a->v[0].kind == JX_DICT)
        for (size_t i = 0; c->rc == 0 && i < a->v[0].u.d->n; i++)
            jx_dict_set(c, d.u.d, a->v[0].u.d->pairs[i].key, a->v[0].u.d->pairs[i].value);
    else if (a->n)
        return jx_fail(c, ERR_UNSUPPORTED, "a dict of a %s", jx_type_name(&a->v[0]));
    for (size_t i = 0; c->rc == 0 && i < a->n_kw; i++)
        jx_dict_set(c, d.u.d, jx_cstr(c, a->names[i]), a->kw[i]);
    return d;
}

FUNCTION(do_namespace)
{
    return dict_of(c, a, JX_NAMESPACE);
}

FUNCTION(do_dict)
{
    return dict_of(c, a, JX_DICT);
}

FUNCTION(do_raise)
{
    struct jx_value s = a->n ? jx_str(c, &a->v[0]) : jx_cstr(c, "an exception");
    if (c->rc < 0)
        return JX_NOTHING;
    return jx_fail(c, ERR_FORMAT, "the template refuses this: %.*s",
                   (int)(s.u.s->len < 400 ? s.u.s->len : 400), s.u.s->s);
}

FUNCTION(do_strftime)
{
    char text[256] = "";
    struct tm tm;
    if (a->n != 1 || a->v[0].kind != JX_STRING || !gmtime_r(&c->now, &tm))
        return jx_fail(c, ERR_FORMAT, "strftime_now takes a format");
    char *format = mem_strndup(a->v[0].u.s->s, a->v[0].u.s->len);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t n = strftime(text, sizeof text, format, &tm);
#pragma GCC diagnostic pop
    free(format);
    char *copy = jx_take(c, n + 1);
    if (!copy)
        return JX_NOTHING;
    memcpy(copy, text, n);
    return jx_text(c, copy, n);
}

static struct jx_value cell(struct jx *c, const struct jx_args *a, bool is_joiner)
{
    struct jx_cell *x = jx_take(c, sizeof *x);
    struct jx_value items = jx_list_new(c, JX_LIST, a->n ? a->n : 1);
    if (c->rc < 0)
        return JX_NOTHING;
    items.u.l->v[0] = jx_cstr(c, ", ");
    for (size_t i = 0; i < a->n; i++)
        items.u.l->v[i] = a->v[i];
    *x = (struct jx_cell){.is_joiner = is_joiner, .items = items.u.l};
    return (struct jx_value){.kind = JX_CELL, .u.cell = x};
}

FUNCTION(do_joiner)
{
    return cell(c, a, true);
}

FUNCTION(do_cycler)
{
    return cell(c, a, false);
}

static const struct {
    const char *name;
    struct jx_value (*call)(struct jx *c, const struct jx_args *a);
} functions[] = {
    {"range", do_range},           {"namespace", do_namespace},   {"dict", do_dict},
    {"raise_exception", do_raise}, {"strftime_now", do_strftime}, {"joiner", do_joiner},
    {"cycler", do_cycler},
};

bool jx_is_global(const char *name)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].name, name) == 0)
            return true;
    return false;
}

struct jx_value jx_call_global(struct jx *c, const char *name, const struct jx_args *a)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].name, name) == 0)
            return functions[i].call(c, a);
    return jx_fail(c, ERR_FORMAT, "%s is no function", name);
}
