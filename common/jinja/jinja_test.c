/* SPDX-License-Identifier: MIT
 * Tests: x is NAME. */
#include "jinja/jinja_priv.h"

#include <string.h>

struct jx_test_row {
    const char *name;
    bool (*test)(struct jx *c, const struct jx_value *v, const struct jx_value *arg);
    int n_args;
};

static bool is_defined(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    (void)c, (void)arg;
    return v->kind != JX_UNDEFINED;
}

static bool is_undefined(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    return !is_defined(c, v, arg);
}

static bool is_none(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    (void)c, (void)arg;
    return v->kind == JX_NONE;
}

static bool is_string(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    (void)c, (void)arg;
    return v->kind == JX_STRING;
}

static bool is_mapping(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    (void)c, (void)arg;
    return v->kind == JX_DICT;
}

static bool is_sequence(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    (void)c, (void)arg;
    if (v->kind == JX_LIST || v->kind == JX_TUPLE)
        return !v->u.l->is_lazy;
    return v->kind == JX_STRING || v->kind == JX_DICT || v->kind == JX_UNDEFINED;
}

static bool is_iterable(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    return v->kind == JX_LIST || is_sequence(c, v, arg);
}

static bool is_boolean(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    (void)c, (void)arg;
    return v->kind == JX_BOOL;
}

static bool is_true(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    return is_boolean(c, v, arg) && v->u.b;
}

static bool is_false(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    return is_boolean(c, v, arg) && !v->u.b;
}

static bool is_integer(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    (void)c, (void)arg;
    return v->kind == JX_INT;
}

static bool is_float(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    (void)c, (void)arg;
    return v->kind == JX_REAL;
}

static bool is_number(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    (void)c, (void)arg;
    return v->kind == JX_INT || v->kind == JX_REAL || v->kind == JX_BOOL;
}

static bool is_callable(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    (void)c, (void)arg;
    return v->kind == JX_MACRO || v->kind == JX_BUILTIN || v->kind == JX_METHOD;
}

static bool leaves(struct jx *c, const struct jx_value *v, int64_t by, int64_t rest)
{
    int64_t i = 0;
    if (!jx_as_int(v, &i) || by == 0) {
        jx_fail(c, ERR_FORMAT, "a %s divided by %lld", jx_type_name(v), (long long)by);
        return false;
    }
    return by == -1 ? rest == 0 : (i % by + by) % by == rest;
}

static bool is_odd(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    (void)arg;
    return leaves(c, v, 2, 1);
}

static bool is_even(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    (void)arg;
    return leaves(c, v, 2, 0);
}

static bool is_divisible(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    int64_t by = 0;
    jx_as_int(arg, &by);
    return leaves(c, v, by, 0);
}

static bool is_equal(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    return jx_equal(c, v, arg);
}

static bool is_unequal(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    return !jx_equal(c, v, arg);
}

static bool is_less(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    return jx_order(c, v, arg) < 0;
}

static bool is_at_most(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    return jx_order(c, v, arg) <= 0;
}

static bool is_more(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    return jx_order(c, v, arg) > 0;
}

static bool is_at_least(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    return jx_order(c, v, arg) >= 0;
}

static bool is_in(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    return jx_contains(c, arg, v);
}

static bool is_same(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    return v->kind == arg->kind && jx_equal(c, v, arg);
}

static bool has_case(struct jx *c, const struct jx_value *v, const char *name)
{
    struct jx_value s = jx_str(c, v);
    s = c->rc ? s : jx_call_method(c, &s, name, &(struct jx_args){0});
    return c->rc == 0 && s.u.b;
}

static bool is_lower(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    (void)arg;
    return has_case(c, v, "islower");
}

static bool is_upper(struct jx *c, const struct jx_value *v, const struct jx_value *arg)
{
    (void)arg;
    return has_case(c, v, "isupper");
}

static const struct jx_test_row rows[] = {
    {"defined", is_defined, 0},
    {"undefined", is_undefined, 0},
    {"none", is_none, 0},
    {"string", is_string, 0},
    {"mapping", is_mapping, 0},
    {"sequence", is_sequence, 0},
    {"iterable", is_iterable, 0},
    {"boolean", is_boolean, 0},
    {"true", is_true, 0},
    {"false", is_false, 0},
    {"integer", is_integer, 0},
    {"float", is_float, 0},
    {"number", is_number, 0},
    {"callable", is_callable, 0},
    {"odd", is_odd, 0},
    {"even", is_even, 0},
    {"divisibleby", is_divisible, 1},
    {"equalto", is_equal, 1},
    {"eq", is_equal, 1},
    {"==", is_equal, 1},
    {"ne", is_unequal, 1},
    {"!=", is_unequal, 1},
    {"lt", is_less, 1},
    {"lessthan", is_less, 1},
    {"<", is_less, 1},
    {"le", is_at_most, 1},
    {"<=", is_at_most, 1},
    {"gt", is_more, 1},
    {"greaterthan", is_more, 1},
    {">", is_more, 1},
    {"ge", is_at_least, 1},
    {">=", is_at_least, 1},
    {"in", is_in, 1},
    {"sameas", is_same, 1},
    {"lower", is_lower, 0},
    {"upper", is_upper, 0},
};

const struct jx_test_row *jx_test_find(const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

bool jx_test(struct jx *c, const struct jx_test_row *t, const struct jx_value *v,
             const struct jx_args *a)
{
    if (a->n != (size_t)t->n_args || a->n_kw) {
        jx_fail(c, ERR_FORMAT, "the test \"%s\" takes %d arguments", t->name, t->n_args);
        return false;
    }
    return t->test(c, v, a->n ? &a->v[0] : NULL);
}
