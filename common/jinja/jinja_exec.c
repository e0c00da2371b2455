/* SPDX-License-Identifier: MIT
 * Statements, and a rendering from beginning to end.
 *
 * Scopes are Jinja's: a loop's body, a macro, {% generation %} and what is captured have their
 * own, anew for each round; what they set is gone behind them. An `if` has none. */
#include "jinja/jinja_priv.h"

#include <stdlib.h>
#include <string.h>

enum jump { JUMP_NONE, JUMP_BREAK, JUMP_CONTINUE };

static enum jump run(struct jx *c, const struct jx_node *n);

static struct jx_frame *push_frame(struct jx *c, struct jx_frame *parent)
{
    struct jx_frame *old = c->frame, *f = jx_take(c, sizeof *f);
    if (f) {
        f->parent = parent;
        c->frame = f;
    }
    return old;
}

/* ---- set ---- */

static void assign_to(struct jx *c, const struct jx_node *target, struct jx_value v)
{
    if (c->rc < 0)
        return;
    if (target->kind == JN_NAME) {
        jx_assign(c, target->name, v);
    } else if (target->kind == JN_ATTRIBUTE) {
        struct jx_value space = jx_eval(c, target->kids[0]);
        if (c->rc == 0 && space.kind != JX_NAMESPACE)
            jx_fail(c, ERR_FORMAT, "only attributes of a namespace can be set");
        else if (c->rc == 0)
            jx_dict_set(c, space.u.d, jx_cstr(c, target->name), v);
    } else {
        struct jx_list *l = jx_items_of(c, &v);
        if (l && l->n != (size_t)target->n_kids)
            jx_fail(c, ERR_FORMAT, "%zu values for %d names", l->n, target->n_kids);
        for (int i = 0; c->rc == 0 && i < target->n_kids; i++)
            assign_to(c, target->kids[i], l->v[i]);
    }
}

/* What a body writes, as a value; in a scope of its own. */
static struct jx_value capture(struct jx *c, const struct jx_node *body,
                               struct jx_frame *parent)
{
    struct jx_out own = {0}, *old = c->out;
    struct jx_frame *frame = push_frame(c, parent);
    c->out = &own;
    if (c->rc == 0)
        run(c, body);
    c->out = old;
    c->frame = frame;
    return jx_out_value(c, &own);
}

/* ---- loops ---- */

/* The items that pass the loop's own `if`. */
static struct jx_list *items_of(struct jx *c, const struct jx_node *n)
{
    struct jx_value v = jx_eval(c, n->kids[1]);
    c->line = n->line;
    struct jx_list *l = c->rc == 0 ? jx_items_of(c, &v) : NULL;
    if (!l || !n->kids[2])
        return l;
    struct jx_value to = jx_list_new(c, JX_LIST, l->n);
    size_t count = 0;
    for (size_t i = 0; c->rc == 0 && i < l->n; i++) {
        struct jx_frame *frame = push_frame(c, c->frame);
        assign_to(c, n->kids[0], l->v[i]);
        struct jx_value is_in = jx_eval(c, n->kids[2]);
        c->frame = frame;
        if (c->rc == 0 && jx_truth(&is_in))
            to.u.l->v[count++] = l->v[i];
    }
    if (c->rc < 0)
        return NULL;
    to.u.l->n = count;
    return to.u.l;
}

static enum jump run_for(struct jx *c, const struct jx_node *n)
{
    struct jx_list *l = items_of(c, n);
    struct jx_loop *loop = jx_take(c, sizeof *loop);
    if (c->rc < 0)
        return JUMP_NONE;
    loop->items = l;
    struct jx_frame *frame = c->frame, *own = NULL;
    for (size_t i = 0; c->rc == 0 && i < l->n; i++) {
        if (own && !own->is_kept) { /* the last round's: empty again */
            own->n = 0;
            c->frame = own;
        } else {
            push_frame(c, frame);
            own = c->frame;
        }
        loop->at = i;
        jx_assign(c, "loop", (struct jx_value){.kind = JX_LOOP, .u.loop = loop});
        assign_to(c, n->kids[0], l->v[i]);
        enum jump jump = c->rc == 0 ? run(c, n->kids[3]) : JUMP_NONE;
        c->frame = frame;
        if (jump == JUMP_BREAK)
            break;
    }
    if (c->rc == 0 && l->n == 0 && n->kids[4])
        return run(c, n->kids[4]);
    return JUMP_NONE;
}

static enum jump run_if(struct jx *c, const struct jx_node *n)
{
    while (c->rc == 0) {
        struct jx_value is_true = jx_eval(c, n->kids[0]);
        if (c->rc < 0)
            break;
        if (jx_truth(&is_true))
            return run(c, n->kids[1]);
        if (!n->kids[2])
            break;
        if (n->kids[2]->kind != JN_IF) /* not an elif */
            return run(c, n->kids[2]);
        n = n->kids[2];
    }
    return JUMP_NONE;
}

/* ---- macros ---- */

static struct jx_value call_macro(struct jx *c, const struct jx_macro *m,
                                  const struct jx_args *a)
{
    const struct jx_node *n = m->node;
    struct jx_frame *old = push_frame(c, m->frame);
    if (a->n >= (size_t)n->n_kids)
        jx_fail(c, ERR_FORMAT, "the macro %s takes %d arguments", n->name, n->n_kids - 1);
    for (size_t k = 0; k < a->n_kw; k++) {
        bool is_known = false;
        for (int i = 1; i < n->n_kids; i++)
            is_known |= strcmp(n->names[i], a->names[k]) == 0;
        if (!is_known)
            jx_fail(c, ERR_FORMAT, "the macro %s has no argument %s", n->name, a->names[k]);
    }
    for (int i = 1; c->rc == 0 && i < n->n_kids; i++) {
        const struct jx_value *v = jx_arg(a, (size_t)i - 1, n->names[i]);
        struct jx_value missing = {.kind = JX_UNDEFINED, .u.name = n->names[i]};
        jx_assign(c, n->names[i], v ? *v : n->kids[i] ? jx_eval(c, n->kids[i]) : missing);
    }
    struct jx_value text = capture(c, n->kids[0], c->frame);
    c->frame = old;
    return text;
}

static void define_macro(struct jx *c, const struct jx_node *n)
{
    struct jx_macro *m = jx_take(c, sizeof *m);
    if (!m)
        return;
    *m = (struct jx_macro){n, c->frame};
    for (struct jx_frame *f = c->frame; f; f = f->parent)
        f->is_kept = true;
    jx_assign(c, n->name, (struct jx_value){.kind = JX_MACRO, .u.macro = m});
}

/* ---- the others ---- */

static void put(struct jx *c, const struct jx_value *v)
{
    size_t from = c->out->len;
    jx_put_str(c, c->out, v);
    for (size_t i = from; c->generated && i < c->out->len; i++)
        c->out->from[i] |= c->generated;
}

static void run_generation(struct jx *c, const struct jx_node *n)
{
    uint16_t old = c->generated;
    struct jx_frame *frame = push_frame(c, c->frame);
    c->generated = JINJA_GENERATED;
    run(c, n->kids[0]);
    c->generated = old;
    c->frame = frame;
}

static enum jump run_with(struct jx *c, const struct jx_node *n)
{
    struct jx_frame *outer = c->frame, *old = push_frame(c, outer), *inner = c->frame;
    for (int i = 1; c->rc == 0 && i + 1 < n->n_kids; i += 2) {
        c->frame = outer; /* the values see nothing of each other */
        struct jx_value v = jx_eval(c, n->kids[i + 1]);
        c->frame = inner;
        assign_to(c, n->kids[i], v);
    }
    enum jump jump = c->rc == 0 ? run(c, n->kids[0]) : JUMP_NONE;
    c->frame = old;
    return jump;
}

static enum jump run_one(struct jx *c, const struct jx_node *n)
{
    struct jx_value v;
    c->line = n->line;
    /* NOLINTNEXTLINE: expressions are no statements */
    switch ((int)n->kind) {
    case JN_BLOCK:
        for (int i = 0; i < n->n_kids; i++) {
            enum jump jump = run(c, n->kids[i]);
            if (jump != JUMP_NONE || c->rc < 0)
                return jump;
        }
        return JUMP_NONE;
    case JN_DATA:
        put(c, &n->value);
        return JUMP_NONE;
    case JN_PRINT:
        v = jx_eval(c, n->kids[0]);
        c->line = n->line;
        if (c->rc == 0)
            put(c, &v);
        return JUMP_NONE;
    case JN_FOR:
        return run_for(c, n);
    case JN_IF:
        return run_if(c, n);
    case JN_SET:
        assign_to(c, n->kids[0], jx_eval(c, n->kids[1]));
        return JUMP_NONE;
    case JN_SET_BLOCK:
        v = capture(c, n->kids[1], c->frame);
        assign_to(c, n->kids[0], c->rc == 0 && n->kids[2] ? jx_eval_over(c, n->kids[2], v) : v);
        return JUMP_NONE;
    case JN_FILTERED:
        v = capture(c, n->kids[0], c->frame);
        v = c->rc == 0 ? jx_eval_over(c, n->kids[1], v) : v;
        if (c->rc == 0)
            put(c, &v);
        return JUMP_NONE;
    case JN_MACRO:
        define_macro(c, n);
        return JUMP_NONE;
    case JN_WITH:
        return run_with(c, n);
    case JN_GENERATION:
        run_generation(c, n);
        return JUMP_NONE;
    case JN_BREAK:
        return JUMP_BREAK;
    case JN_CONTINUE:
        return JUMP_CONTINUE;
    default:
        return JUMP_NONE;
    }
}

static enum jump run(struct jx *c, const struct jx_node *n)
{
    jx_step(c, 0);
    if (++c->depth > JINJA_MAX_DEPTH)
        jx_fail(c, ERR_RANGE, "nested more than %d deep", JINJA_MAX_DEPTH);
    enum jump jump = c->rc < 0 ? JUMP_NONE : run_one(c, n);
    c->depth--;
    return jump;
}

/* ---- a rendering ---- */

/* Messages know which they are; but a role is one of few known names, and templates make
 * markers of it. */
static struct jx_value message_of_json(struct jx *c, const json_t *v, size_t i)
{
    uint16_t from = (uint16_t)(i + 1 < JINJA_DATA ? i + 1 : JINJA_DATA - 1);
    struct jx_value m = jx_of_json(c, v, from);
    for (size_t k = 0; m.kind == JX_DICT && k < m.u.d->n; k++)
        if (jx_is_text(&m.u.d->pairs[k].key, "role") &&
            m.u.d->pairs[k].value.kind == JX_STRING) {
            const struct jx_string *s = m.u.d->pairs[k].value.u.s;
            m.u.d->pairs[k].value = jx_text(c, s->s, s->len);
        }
    return m;
}

static void define(struct jx *c, const struct jinja_var *var)
{
    if (!var->value)
        return;
    struct jx_value v;
    if (var->origin != JINJA_PER_ITEM || !json_is_array(var->value)) {
        v = jx_of_json(c, var->value, var->origin == JINJA_TRUSTED ? 0 : JINJA_DATA);
    } else {
        v = jx_list_new(c, JX_LIST, json_array_size(var->value));
        for (size_t i = 0; c->rc == 0 && i < v.u.l->n; i++)
            v.u.l->v[i] = message_of_json(c, json_array_get(var->value, i), i);
    }
    if (c->rc == 0)
        jx_assign(c, var->name, v);
}

int jinja_render(const struct jinja *t, const struct jinja_var *vars, int n_vars, time_t now,
                 struct jinja_text *out, struct err *e)
{
    struct jx_out o = {0};
    struct jx_frame root = {0};
    struct jx c = {.t = t,
                   .e = e,
                   .out = &o,
                   .frame = &root,
                   .now = now,
                   .line = 1,
                   .call_macro = call_macro};
    *out = (struct jinja_text){0};
    for (int i = 0; c.rc == 0 && i < n_vars; i++)
        define(&c, &vars[i]);
    if (c.rc == 0)
        run(&c, t->body);
    arena_free(&c.arena);
    if (c.rc < 0) {
        jx_out_free(&o);
        return c.rc;
    }
    MEM_GROW(o.s, o.cap, o.len + 1);
    MEM_GROW(o.from, o.from_cap, o.len + 1);
    o.s[o.len] = '\0';
    *out = (struct jinja_text){o.s, o.from, o.len};
    return 0;
}

void jinja_text_free(struct jinja_text *x)
{
    free(x->s);
    free(x->from);
    *x = (struct jinja_text){0};
}
