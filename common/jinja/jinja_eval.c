/* SPDX-License-Identifier: MIT
 * Expressions to values. */
#include "jinja/jinja_priv.h"

#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

struct jx_value *jx_lookup(struct jx_frame *f, const char *name)
{
    for (; f; f = f->parent)
        for (size_t i = 0; i < f->n; i++)
            if (strcmp(f->vars[i].name, name) == 0)
                return &f->vars[i].value;
    return NULL;
}

void jx_assign(struct jx *c, const char *name, struct jx_value v)
{
    struct jx_frame *f = c->frame;
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->vars[i].name, name) == 0) {
            f->vars[i].value = v;
            return;
        }
    if (f->n == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 4;
        struct jx_variable *vars = jx_take(c, cap * sizeof *vars);
        if (!vars)
            return;
        if (f->n)
            memcpy(vars, f->vars, f->n * sizeof *vars);
        f->vars = vars;
        f->cap = cap;
    }
    f->vars[f->n++] = (struct jx_variable){name, v};
}

static struct jx_value eval_name(struct jx *c, const char *name)
{
    const struct jx_value *v = jx_lookup(c->frame, name);
    if (v)
        return *v;
    enum jx_kind kind = jx_is_global(name) ? JX_BUILTIN : JX_UNDEFINED;
    return (struct jx_value){.kind = kind, .u.name = name};
}

/* ---- calls ---- */

/* The values of kids from `first` on; of the unpacked ones in lists[]. How many they are. */
static size_t eval_kids(struct jx *c, const struct jx_node *n, int first, struct jx_value *v,
                        struct jx_list **lists)
{
    size_t count = 0;
    for (int i = first; c->rc == 0 && i < n->n_kids; i++) {
        v[i - first] = jx_eval(c, n->kids[i]);
        bool is_unpacked = n->names && n->names[i] && strcmp(n->names[i], JX_UNPACKED) == 0;
        lists[i - first] = is_unpacked && c->rc == 0 ? jx_items_of(c, &v[i - first]) : NULL;
        count += lists[i - first] ? lists[i - first]->n : 1;
    }
    return count;
}

/* Arguments, positional and with names, in the rendering's arena. */
static struct jx_args eval_arguments(struct jx *c, const struct jx_node *n, int first)
{
    struct jx_args a = {0};
    size_t n_kids = (size_t)(n->n_kids - first);
    if (n_kids == 0)
        return a;
    struct jx_value *kids = jx_take(c, n_kids * sizeof *kids);
    struct jx_list **lists = jx_take(c, n_kids * sizeof *lists);
    size_t count = c->rc == 0 ? eval_kids(c, n, first, kids, lists) : 0;
    struct jx_value *v = jx_take(c, count * sizeof *v), *kw = jx_take(c, n_kids * sizeof *v);
    const char **names = jx_take(c, n_kids * sizeof *names);
    for (size_t i = 0; c->rc == 0 && i < n_kids; i++) {
        const char *name = n->names ? n->names[first + (int)i] : NULL;
        for (size_t k = 0; lists[i] && k < lists[i]->n; k++)
            v[a.n++] = lists[i]->v[k];
        if (!lists[i] && name) {
            names[a.n_kw] = name;
            kw[a.n_kw++] = kids[i];
        } else if (!lists[i]) {
            v[a.n++] = kids[i];
        }
    }
    a.v = v;
    a.kw = kw;
    a.names = names;
    return a;
}

static struct jx_value call_loop(struct jx *c, struct jx_loop *l, const char *name,
                                 const struct jx_args *a)
{
    if (strcmp(name, "cycle") == 0 && a->n)
        return a->v[l->at % a->n];
    if (strcmp(name, "changed") != 0 || a->n != 1)
        return jx_fail(c, ERR_UNSUPPORTED, "loop.%s is not supported", name);
    bool is_changed = !l->has_changed || !jx_equal(c, &l->last, &a->v[0]);
    l->has_changed = true;
    l->last = a->v[0];
    return jx_bool(is_changed);
}

static struct jx_value call_cell(struct jx *c, struct jx_cell *x, const char *name)
{
    size_t at = x->at;
    if (x->is_joiner) {
        x->at = 1;
        return at ? x->items->v[0] : jx_cstr(c, "");
    }
    if (name && strcmp(name, "next") == 0)
        x->at = (at + 1) % x->items->n;
    else if (!name || strcmp(name, "reset") != 0)
        return jx_fail(c, ERR_UNSUPPORTED, "a cycler has next() and reset()");
    else
        x->at = 0;
    return x->items->v[at];
}

static struct jx_value call_value(struct jx *c, const struct jx_value *f,
                                  const struct jx_args *a)
{
    if (f->kind == JX_MACRO)
        return c->call_macro(c, f->u.macro, a);
    if (f->kind == JX_BUILTIN)
        return jx_call_global(c, f->u.name, a);
    if (f->kind == JX_METHOD)
        return jx_call_method(c, &f->u.method->self, f->u.method->name, a);
    if (f->kind == JX_CELL)
        return call_cell(c, f->u.cell, NULL);
    if (f->kind == JX_UNDEFINED)
        return jx_fail(c, ERR_FORMAT, "%s is undefined", f->u.name ? f->u.name : "a function");
    return jx_fail(c, ERR_FORMAT, "a %s cannot be called", jx_type_name(f));
}

static struct jx_value eval_call(struct jx *c, const struct jx_node *n)
{
    const struct jx_node *what = n->kids[0];
    struct jx_value f, self = JX_NOTHING;
    if (what->kind == JN_ATTRIBUTE)
        self = jx_eval(c, what->kids[0]);
    bool is_own = self.kind == JX_LOOP || self.kind == JX_CELL || self.kind == JX_STRING ||
                  self.kind == JX_DICT || self.kind == JX_LIST || self.kind == JX_TUPLE;
    if (what->kind == JN_ATTRIBUTE && !is_own)
        f = c->rc < 0 ? JX_NOTHING : jx_attribute(c, &self, what->name);
    else
        f = is_own ? JX_NOTHING : jx_eval(c, what);
    struct jx_args a = eval_arguments(c, n, 1);
    if (c->rc < 0)
        return JX_NOTHING;
    c->line = n->line;
    if (self.kind == JX_LOOP)
        return call_loop(c, self.u.loop, what->name, &a);
    if (self.kind == JX_CELL)
        return call_cell(c, self.u.cell, what->name);
    return is_own ? jx_call_method(c, &self, what->name, &a) : call_value(c, &f, &a);
}

/* ---- the rest ---- */

static struct jx_value eval_list(struct jx *c, const struct jx_node *n)
{
    enum jx_kind kind = n->kind == JN_LIST ? JX_LIST : JX_TUPLE;
    struct jx_value l = jx_list_new(c, kind, (size_t)n->n_kids);
    for (int i = 0; c->rc == 0 && i < n->n_kids; i++)
        l.u.l->v[i] = jx_eval(c, n->kids[i]);
    return l;
}

static struct jx_value eval_dict(struct jx *c, const struct jx_node *n)
{
    struct jx_value d = jx_dict_new(c, JX_DICT);
    for (int i = 0; c->rc == 0 && i + 1 < n->n_kids; i += 2) {
        struct jx_value key = jx_eval(c, n->kids[i]), value = jx_eval(c, n->kids[i + 1]);
        if (c->rc == 0)
            jx_dict_set(c, d.u.d, key, value);
    }
    return d;
}

static struct jx_value eval_item(struct jx *c, const struct jx_node *n)
{
    struct jx_value v = jx_eval(c, n->kids[0]), key = jx_eval(c, n->kids[1]);
    if (c->rc < 0)
        return JX_NOTHING;
    c->line = n->line;
    if (v.kind == JX_NAMESPACE || v.kind == JX_LOOP) {
        if (key.kind != JX_STRING)
            return JX_NOTHING;
        const struct jx_value *found =
            v.kind == JX_NAMESPACE ? jx_dict_get(c, v.u.d, &key) : NULL;
        return found ? *found : JX_NOTHING;
    }
    struct jx_value item = jx_item(c, &v, &key);
    if (item.kind == JX_UNDEFINED && key.kind == JX_STRING && n->kids[1]->kind == JN_CONST)
        item.u.name = key.u.s->s; /* constants end with NUL */
    return item;
}

static struct jx_value eval_slice(struct jx *c, const struct jx_node *n)
{
    struct jx_value v[4];
    for (int i = 0; i < 4; i++)
        v[i] = n->kids[i] ? jx_eval(c, n->kids[i]) : jx_none();
    c->line = n->line;
    return c->rc < 0 ? JX_NOTHING : jx_slice(c, &v[0], &v[1], &v[2], &v[3]);
}

static bool compare(struct jx *c, int op, const struct jx_value *a, const struct jx_value *b)
{
    switch ((enum jx_compare)op) {
    case CMP_EQ:
        return jx_equal(c, a, b);
    case CMP_NE:
        return !jx_equal(c, a, b);
    case CMP_LT:
        return jx_order(c, a, b) < 0;
    case CMP_LE:
        return jx_order(c, a, b) <= 0;
    case CMP_GT:
        return jx_order(c, a, b) > 0;
    case CMP_GE:
        return jx_order(c, a, b) >= 0;
    case CMP_IN:
        return jx_contains(c, b, a);
    case CMP_NOT_IN:
        break;
    }
    return !jx_contains(c, b, a);
}

static struct jx_value eval_compare(struct jx *c, const struct jx_node *n)
{
    struct jx_value a = jx_eval(c, n->kids[0]);
    bool is_true = true;
    for (int i = 1; c->rc == 0 && is_true && i < n->n_kids; i++) {
        struct jx_value b = jx_eval(c, n->kids[i]);
        c->line = n->line;
        is_true = c->rc == 0 && compare(c, n->ops[i - 1], &a, &b);
        a = b;
    }
    return jx_bool(is_true);
}

static struct jx_value eval_unary(struct jx *c, const struct jx_node *n)
{
    struct jx_value v = jx_eval(c, n->kids[0]), zero = jx_int(0);
    if (c->rc < 0)
        return JX_NOTHING;
    c->line = n->line;
    if (n->kind == JN_NOT)
        return jx_bool(!jx_truth(&v));
    return jx_binary(c, n->kind == JN_NEGATIVE ? '-' : '+', &zero, &v);
}

static struct jx_value eval_filter(struct jx *c, const struct jx_node *n)
{
    struct jx_value v = jx_eval(c, n->kids[0]);
    struct jx_args a = eval_arguments(c, n, 1);
    if (c->rc < 0)
        return JX_NOTHING;
    c->line = n->line;
    return jx_filter(c, n->row, &v, &a);
}

static struct jx_value eval_test(struct jx *c, const struct jx_node *n)
{
    struct jx_value v = jx_eval(c, n->kids[0]);
    struct jx_args a = eval_arguments(c, n, 1);
    if (c->rc < 0)
        return JX_NOTHING;
    c->line = n->line;
    return jx_bool(jx_test(c, n->row, &v, &a));
}

static struct jx_value eval_choice(struct jx *c, const struct jx_node *n)
{
    struct jx_value v;
    if (n->kind == JN_IF_ELSE) {
        v = jx_eval(c, n->kids[1]);
        if (jx_truth(&v))
            return jx_eval(c, n->kids[0]);
        return n->kids[2] ? jx_eval(c, n->kids[2]) : JX_NOTHING;
    }
    v = jx_eval(c, n->kids[0]);
    return jx_truth(&v) == (n->kind == JN_AND) ? jx_eval(c, n->kids[1]) : v;
}

static struct jx_value eval_binary(struct jx *c, const struct jx_node *n)
{
    struct jx_value a = jx_eval(c, n->kids[0]), b = jx_eval(c, n->kids[1]);
    if (c->rc < 0)
        return JX_NOTHING;
    c->line = n->line;
    return jx_binary(c, n->op, &a, &b);
}

static struct jx_value eval_attribute(struct jx *c, const struct jx_node *n)
{
    struct jx_value v = jx_eval(c, n->kids[0]);
    c->line = n->line;
    return c->rc < 0 ? JX_NOTHING : jx_attribute(c, &v, n->name);
}

static struct jx_value eval(struct jx *c, const struct jx_node *n)
{
    /* NOLINTNEXTLINE: statements are no expressions */
    switch ((int)n->kind) {
    case JN_CONST:
        return n->value;
    case JN_NAME:
        return eval_name(c, n->name);
    case JN_LIST:
    case JN_TUPLE:
        return eval_list(c, n);
    case JN_DICT:
        return eval_dict(c, n);
    case JN_ATTRIBUTE:
        return eval_attribute(c, n);
    case JN_ITEM:
        return eval_item(c, n);
    case JN_SLICE:
        return eval_slice(c, n);
    case JN_CALL:
        return eval_call(c, n);
    case JN_FILTER:
        return eval_filter(c, n);
    case JN_TEST:
        return eval_test(c, n);
    case JN_NOT:
    case JN_NEGATIVE:
    case JN_POSITIVE:
        return eval_unary(c, n);
    case JN_AND:
    case JN_OR:
    case JN_IF_ELSE:
        return eval_choice(c, n);
    case JN_BINARY:
        return eval_binary(c, n);
    case JN_COMPARE:
        return eval_compare(c, n);
    default:
        return JX_NOTHING;
    }
}

struct jx_value jx_eval(struct jx *c, const struct jx_node *n)
{
    jx_step(c, 0);
    if (++c->depth > JINJA_MAX_DEPTH)
        jx_fail(c, ERR_RANGE, "nested more than %d deep", JINJA_MAX_DEPTH);
    struct jx_value v = c->rc < 0 ? JX_NOTHING : eval(c, n);
    c->depth--;
    return c->rc < 0 ? JX_NOTHING : v;
}

/* The innermost filter's value is the hole. */
struct jx_value jx_eval_over(struct jx *c, const struct jx_node *n, struct jx_value v)
{
    if (n->kind != JN_FILTER)
        return v;
    v = jx_eval_over(c, n->kids[0], v);
    struct jx_args a = eval_arguments(c, n, 1);
    return c->rc < 0 ? JX_NOTHING : jx_filter(c, n->row, &v, &a);
}
