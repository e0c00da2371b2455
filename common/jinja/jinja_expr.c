/* SPDX-License-Identifier: MIT
 * Expressions: Jinja's grammar, from the loosest operator to the tightest. A filter binds
 * tighter than any of them: a + b | trim trims b. */
#include "jinja/jinja_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NESTING = 100 };

static struct jx_node *binary(struct jx_parser *p, enum jx_node_kind kind, int op,
                              struct jx_node *a, struct jx_node *b)
{
    struct jx_node *n = jx_node_new(p, kind);
    n->op = op;
    jx_node_add(p, n, a);
    if (b)
        jx_node_add(p, n, b);
    return n;
}

static struct jx_node *constant(struct jx_parser *p, struct jx_value v)
{
    struct jx_node *n = jx_node_new(p, JN_CONST);
    n->value = v;
    return n;
}

static struct jx_string *string_in(struct jinja *t, const char *s, size_t len)
{
    struct jx_string *x = arena_take(&t->arena, sizeof *x);
    *x = (struct jx_string){.s = s, .len = len};
    return x;
}

/* ---- arguments ---- */

static void name_last(struct jx_parser *p, struct jx_node *n, const char *name)
{
    const char **names = arena_take(&p->t->arena, (size_t)n->n_kids * sizeof *names);
    for (int i = 0; i < n->n_kids; i++)
        names[i] = n->names && i < n->n_kids - 1 ? n->names[i] : NULL;
    names[n->n_kids - 1] = name;
    n->names = names;
}

/* "(a, b, c=d)" behind what is called; the opening bracket was taken. */
static void parse_arguments(struct jx_parser *p, struct jx_node *n)
{
    bool has_names = false;
    while (p->rc == 0 && !jx_is_op(p, ')')) {
        const char *name = NULL;
        if (jx_is_op(p, OP_POWER)) {
            jx_parse_fail(p, ERR_UNSUPPORTED, "arguments by ** are not supported");
            return;
        }
        if (jx_take_op(p, '*')) {
            name = JX_UNPACKED;
        } else if (p->at->kind == JT_NAME && p->at[1].kind == JT_OP && p->at[1].op == '=') {
            name = p->at->s;
            p->at += 2;
        } else if (has_names) {
            jx_parse_fail(p, ERR_FORMAT, "an argument without a name behind one with a name");
            return;
        }
        jx_node_add(p, n, jx_parse_expression(p));
        has_names |= name != NULL;
        if (has_names)
            name_last(p, n, name);
        if (!jx_take_op(p, ','))
            break;
    }
    jx_expect_op(p, ')');
}

/* ---- primaries ---- */

static struct jx_node *parse_number(struct jx_parser *p)
{
    const struct jx_token *k = p->at++;
    if (k->kind == JT_REAL)
        return constant(p, (struct jx_value){.kind = JX_REAL, .u.r = strtod(k->s, NULL)});
    errno = 0;
    int64_t i = strtoll(k->s, NULL, 10);
    if (errno)
        return jx_parse_fail(p, ERR_UNSUPPORTED, "the number %.40s is too large", k->s);
    return constant(p, (struct jx_value){.kind = JX_INT, .u.i = i});
}

/* Neighbouring texts are one. */
static struct jx_node *parse_string(struct jx_parser *p)
{
    struct buf b = {0};
    do
        buf_append(&b, p->at->s, p->at->len);
    while ((++p->at)->kind == JT_STRING);
    const char *s = arena_strndup(&p->t->arena, buf_str(&b), b.len);
    struct jx_value v = {.kind = JX_STRING, .u.s = string_in(p->t, s, b.len)};
    MEM_GROW(p->t->words, p->t->words_cap, p->t->n_words + 1);
    p->t->words[p->t->n_words++] = s;
    buf_free(&b);
    return constant(p, v);
}

static struct jx_node *parse_name(struct jx_parser *p)
{
    static const struct {
        const char *name;
        struct jx_value value;
    } words[] = {
        {"true", {.kind = JX_BOOL, .u.b = true}},
        {"True", {.kind = JX_BOOL, .u.b = true}},
        {"false", {.kind = JX_BOOL, .u.b = false}},
        {"False", {.kind = JX_BOOL, .u.b = false}},
        {"none", {.kind = JX_NONE}},
        {"None", {.kind = JX_NONE}},
    };
    const char *s = (p->at++)->s;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(s, words[i].name) == 0)
            return constant(p, words[i].value);
    struct jx_node *n = jx_node_new(p, JN_NAME);
    n->name = s;
    MEM_GROW(p->t->words, p->t->words_cap, p->t->n_words + 1);
    p->t->words[p->t->n_words++] = s;
    return n;
}

static struct jx_node *parse_list(struct jx_parser *p)
{
    struct jx_node *n = jx_node_new(p, JN_LIST);
    while (p->rc == 0 && !jx_is_op(p, ']')) {
        jx_node_add(p, n, jx_parse_expression(p));
        if (!jx_take_op(p, ','))
            break;
    }
    jx_expect_op(p, ']');
    return n;
}

static struct jx_node *parse_dict(struct jx_parser *p)
{
    struct jx_node *n = jx_node_new(p, JN_DICT);
    while (p->rc == 0 && !jx_is_op(p, '}')) {
        jx_node_add(p, n, jx_parse_expression(p));
        jx_expect_op(p, ':');
        jx_node_add(p, n, jx_parse_expression(p));
        if (!jx_take_op(p, ','))
            break;
    }
    jx_expect_op(p, '}');
    return n;
}

static struct jx_node *parse_primary(struct jx_parser *p)
{
    if (p->at->kind == JT_NAME)
        return parse_name(p);
    if (p->at->kind == JT_STRING)
        return parse_string(p);
    if (p->at->kind == JT_INT || p->at->kind == JT_REAL)
        return parse_number(p);
    if (jx_take_op(p, '['))
        return parse_list(p);
    if (jx_take_op(p, '{'))
        return parse_dict(p);
    if (!jx_take_op(p, '('))
        return jx_parse_fail(p, ERR_FORMAT, "expected a value");
    struct jx_node *n = jx_is_op(p, ')') ? jx_node_new(p, JN_TUPLE) : jx_parse_tuple(p);
    jx_expect_op(p, ')');
    return n;
}

/* ---- behind a value ---- */

static struct jx_node *parse_dot(struct jx_parser *p, struct jx_node *of)
{
    if (p->at->kind == JT_INT)
        return binary(p, JN_ITEM, 0, of, parse_number(p));
    if (p->at->kind != JT_NAME)
        return jx_parse_fail(p, ERR_FORMAT, "expected a name behind the dot");
    struct jx_node *n = binary(p, JN_ATTRIBUTE, 0, of, NULL);
    n->name = (p->at++)->s;
    MEM_GROW(p->t->words, p->t->words_cap, p->t->n_words + 1);
    p->t->words[p->t->n_words++] = n->name;
    return n;
}

static bool ends_bound(const struct jx_parser *p)
{
    return jx_is_op(p, ':') || jx_is_op(p, ']');
}

static struct jx_node *parse_subscript(struct jx_parser *p, struct jx_node *of)
{
    struct jx_node *bounds[3] = {0};
    int n = 0;
    bool is_slice = jx_is_op(p, ':');
    if (!is_slice)
        bounds[0] = jx_parse_expression(p);
    while (p->rc == 0 && n < 2 && jx_take_op(p, ':')) {
        is_slice = true;
        bounds[++n] = ends_bound(p) ? NULL : jx_parse_expression(p);
    }
    jx_expect_op(p, ']');
    if (!is_slice)
        return binary(p, JN_ITEM, 0, of, bounds[0]);
    struct jx_node *s = binary(p, JN_SLICE, 0, of, NULL);
    for (int i = 0; i < 3; i++)
        jx_node_add(p, s, bounds[i]);
    return s;
}

static struct jx_node *parse_postfix(struct jx_parser *p, struct jx_node *n)
{
    while (p->rc == 0) {
        if (jx_take_op(p, '.')) {
            n = parse_dot(p, n);
        } else if (jx_take_op(p, '[')) {
            n = parse_subscript(p, n);
        } else if (jx_take_op(p, '(')) {
            n = binary(p, JN_CALL, 0, n, NULL);
            parse_arguments(p, n);
        } else {
            break;
        }
    }
    return n;
}

struct jx_node *jx_parse_filter(struct jx_parser *p, struct jx_node *of)
{
    if (p->at->kind != JT_NAME)
        return jx_parse_fail(p, ERR_FORMAT, "expected a filter's name");
    const char *name = p->at->s;
    struct jx_node *n = jx_node_new(p, JN_FILTER);
    n->name = name;
    n->row = jx_filter_find(name);
    if (!n->row)
        return jx_parse_fail(p, ERR_UNSUPPORTED, "the filter \"%.40s\" is not supported", name);
    p->at++;
    jx_node_add(p, n, of);
    if (jx_take_op(p, '('))
        parse_arguments(p, n);
    return n;
}

struct jx_node *jx_parse_filters(struct jx_parser *p, struct jx_node *n)
{
    while (p->rc == 0 && jx_take_op(p, '|'))
        n = jx_parse_filter(p, n);
    return n;
}

static bool begins_value(const struct jx_parser *p)
{
    if (p->at->kind == JT_NAME)
        return !jx_is_name(p, "else") && !jx_is_name(p, "or") && !jx_is_name(p, "and") &&
               !jx_is_name(p, "if") && !jx_is_name(p, "is") && !jx_is_name(p, "in") &&
               !jx_is_name(p, "not");
    return p->at->kind == JT_STRING || p->at->kind == JT_INT || p->at->kind == JT_REAL ||
           jx_is_op(p, '[') || jx_is_op(p, '{');
}

static struct jx_node *parse_test(struct jx_parser *p, struct jx_node *of)
{
    bool is_negated = jx_take_name(p, "not");
    if (p->at->kind != JT_NAME)
        return jx_parse_fail(p, ERR_FORMAT, "expected a test's name");
    const char *name = p->at->s;
    struct jx_node *n = jx_node_new(p, JN_TEST);
    n->name = name;
    n->row = jx_test_find(name);
    if (!n->row)
        return jx_parse_fail(p, ERR_UNSUPPORTED, "the test \"%.40s\" is not supported", name);
    p->at++;
    jx_node_add(p, n, of);
    if (jx_take_op(p, '('))
        parse_arguments(p, n);
    else if (begins_value(p))
        jx_node_add(p, n, parse_postfix(p, parse_primary(p)));
    return is_negated ? binary(p, JN_NOT, 0, n, NULL) : n;
}

static struct jx_node *parse_unary(struct jx_parser *p, bool has_filters)
{
    struct jx_node *n;
    if (++p->depth > MAX_NESTING)
        return jx_parse_fail(p, ERR_RANGE, "nested more than %d deep", MAX_NESTING);
    if (jx_take_op(p, '-'))
        n = binary(p, JN_NEGATIVE, 0, parse_unary(p, false), NULL);
    else if (jx_take_op(p, '+'))
        n = binary(p, JN_POSITIVE, 0, parse_unary(p, false), NULL);
    else
        n = parse_primary(p);
    n = parse_postfix(p, n);
    while (p->rc == 0 && has_filters) {
        if (jx_take_op(p, '|')) {
            n = jx_parse_filter(p, n);
        } else if (jx_take_name(p, "is")) {
            n = parse_test(p, n);
        } else if (jx_take_op(p, '(')) {
            n = binary(p, JN_CALL, 0, n, NULL);
            parse_arguments(p, n);
        } else {
            break;
        }
    }
    p->depth--;
    return n;
}

/* ---- operators ---- */

static struct jx_node *parse_power(struct jx_parser *p)
{
    struct jx_node *n = parse_unary(p, true);
    while (p->rc == 0 && jx_take_op(p, OP_POWER))
        n = binary(p, JN_BINARY, OP_POWER, n, parse_unary(p, true));
    return n;
}

static struct jx_node *parse_left(struct jx_parser *p, const int *ops,
                                  struct jx_node *(*next)(struct jx_parser *))
{
    struct jx_node *n = next(p);
    for (int k = 0; p->rc == 0 && ops[k];) {
        if (jx_take_op(p, ops[k])) {
            n = binary(p, JN_BINARY, ops[k], n, next(p));
            k = 0;
        } else {
            k++;
        }
    }
    return n;
}

static struct jx_node *parse_product(struct jx_parser *p)
{
    return parse_left(p, (const int[]){'*', '/', OP_FLOOR, '%', 0}, parse_power);
}

static struct jx_node *parse_tilde(struct jx_parser *p)
{
    return parse_left(p, (const int[]){'~', 0}, parse_product);
}

static struct jx_node *parse_sum(struct jx_parser *p)
{
    return parse_left(p, (const int[]){'+', '-', 0}, parse_tilde);
}

static bool take_comparison(struct jx_parser *p, int *op)
{
    static const int ops[] = {'=' | '=' << 8, '!' | '=' << 8, '<', '<' | '=' << 8, '>',
                              '>' | '=' << 8};
    for (*op = 0; *op < 6; ++*op)
        if (jx_take_op(p, ops[*op]))
            return true;
    *op = CMP_IN;
    if (jx_take_name(p, "in"))
        return true;
    *op = CMP_NOT_IN;
    if (jx_is_name(p, "not") && p->at[1].kind == JT_NAME && strcmp(p->at[1].s, "in") == 0) {
        p->at += 2;
        return true;
    }
    return false;
}

static struct jx_node *parse_comparison(struct jx_parser *p)
{
    struct jx_node *n = parse_sum(p), *all = NULL;
    for (int op; p->rc == 0 && take_comparison(p, &op);) {
        if (!all)
            all = binary(p, JN_COMPARE, 0, n, NULL);
        int *ops = arena_take(&p->t->arena, (size_t)all->n_kids * sizeof *ops);
        if (all->n_kids > 1)
            memcpy(ops, all->ops, (size_t)(all->n_kids - 1) * sizeof *ops);
        ops[all->n_kids - 1] = op;
        all->ops = ops;
        jx_node_add(p, all, parse_sum(p));
    }
    return all ? all : n;
}

static struct jx_node *parse_not(struct jx_parser *p)
{
    int n_nots = 0;
    while (jx_is_name(p, "not") && n_nots < MAX_NESTING) {
        p->at++;
        n_nots++;
    }
    struct jx_node *n = parse_comparison(p);
    for (; n_nots > 0; n_nots--)
        n = binary(p, JN_NOT, 0, n, NULL);
    return n;
}

static struct jx_node *parse_and(struct jx_parser *p)
{
    struct jx_node *n = parse_not(p);
    while (p->rc == 0 && jx_take_name(p, "and"))
        n = binary(p, JN_AND, 0, n, parse_not(p));
    return n;
}

static struct jx_node *parse_or(struct jx_parser *p)
{
    struct jx_node *n = parse_and(p);
    while (p->rc == 0 && jx_take_name(p, "or"))
        n = binary(p, JN_OR, 0, n, parse_and(p));
    return n;
}

struct jx_node *jx_parse_expression(struct jx_parser *p)
{
    if (++p->depth > MAX_NESTING)
        return jx_parse_fail(p, ERR_RANGE, "nested more than %d deep", MAX_NESTING);
    struct jx_node *n = parse_or(p);
    while (p->rc == 0 && jx_take_name(p, "if")) {
        n = binary(p, JN_IF_ELSE, 0, n, parse_or(p));
        jx_node_add(p, n, jx_take_name(p, "else") ? jx_parse_expression(p) : NULL);
    }
    p->depth--;
    return n;
}

/* ---- lists of them ---- */

static struct jx_node *parse_commas(struct jx_parser *p,
                                    struct jx_node *(*one)(struct jx_parser *))
{
    struct jx_node *n = one(p), *all = NULL;
    while (p->rc == 0 && jx_take_op(p, ',')) {
        if (!all)
            all = binary(p, JN_TUPLE, 0, n, NULL);
        if (p->at->kind == JT_BLOCK_END || p->at->kind == JT_PRINT_END || jx_is_op(p, ')') ||
            jx_is_op(p, '='))
            break;
        jx_node_add(p, all, one(p));
    }
    return all ? all : n;
}

struct jx_node *jx_parse_tuple(struct jx_parser *p)
{
    return parse_commas(p, jx_parse_expression);
}

struct jx_node *jx_parse_iterable(struct jx_parser *p)
{
    return parse_commas(p, parse_or);
}

/* A name, an attribute of a namespace, or a tuple of such. */
static struct jx_node *parse_target_one(struct jx_parser *p)
{
    if (jx_take_op(p, '(')) {
        struct jx_node *n = jx_parse_target(p);
        jx_expect_op(p, ')');
        return n;
    }
    if (p->at->kind != JT_NAME)
        return jx_parse_fail(p, ERR_FORMAT, "expected a name to give a value to");
    struct jx_node *n = parse_name(p);
    if (n->kind == JN_CONST)
        return jx_parse_fail(p, ERR_FORMAT, "a constant cannot be given a value");
    return jx_take_op(p, '.') ? parse_dot(p, n) : n;
}

struct jx_node *jx_parse_target(struct jx_parser *p)
{
    if (++p->depth > MAX_NESTING)
        return jx_parse_fail(p, ERR_RANGE, "nested more than %d deep", MAX_NESTING);
    struct jx_node *n = parse_commas(p, parse_target_one);
    p->depth--;
    return n;
}
