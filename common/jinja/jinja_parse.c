/* SPDX-License-Identifier: MIT
 * Statements of a template; see jinja.h for those that are known. */
#include "base/text.h"
#include "jinja/jinja_priv.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_BLOCKS = 100 };

static void expect_end(struct jx_parser *p)
{
    if (p->rc == 0 && p->at->kind != JT_BLOCK_END)
        jx_parse_fail(p, ERR_FORMAT, "expected the end of the block%s%.40s",
                      p->at->s ? ", found " : "", p->at->s ? p->at->s : "");
    else if (p->rc == 0)
        p->at++;
}

/* ---- statements ---- */

static struct jx_node *parse_until(struct jx_parser *p, const char *const *ends);

/* The body of a block, and its end's tag up to its name, which is left. */
static struct jx_node *parse_body(struct jx_parser *p, const char *const *ends)
{
    expect_end(p);
    if (++p->depth > MAX_BLOCKS)
        return jx_parse_fail(p, ERR_RANGE, "blocks nested more than %d deep", MAX_BLOCKS);
    struct jx_node *n = parse_until(p, ends);
    p->depth--;
    return n;
}

static struct jx_node *parse_to_end(struct jx_parser *p, const char *end)
{
    struct jx_node *n = parse_body(p, (const char *const[]){end, NULL});
    jx_take_name(p, end);
    expect_end(p);
    return n;
}

static struct jx_node *parse_for(struct jx_parser *p)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    struct jx_node *n = jx_node_new(p, JN_FOR);
    jx_node_add(p, n, jx_parse_target(p));
    if (p->rc == 0 && !jx_take_name(p, "in"))
        return jx_parse_fail(p, ERR_FORMAT, "expected \"in\"");
    jx_node_add(p, n, jx_parse_iterable(p));
    jx_node_add(p, n, jx_take_name(p, "if") ? jx_parse_expression(p) : NULL);
    if (jx_is_name(p, "recursive"))
        return jx_parse_fail(p, ERR_UNSUPPORTED, "recursive loops are not supported");
    p->n_loops++;
    jx_node_add(p, n, parse_body(p, ends));
    p->n_loops--;
    if (jx_take_name(p, "else")) {
        jx_node_add(p, n, parse_to_end(p, "endfor"));
    } else {
        jx_node_add(p, n, NULL);
        jx_take_name(p, "endfor");
        expect_end(p);
    }
    return n;
}

/* elif: an if in the else, built without recursion, for chains of them are long. */
static struct jx_node *parse_if(struct jx_parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct jx_node *first = jx_node_new(p, JN_IF), *n = first;
    for (;;) {
        jx_node_add(p, n, jx_parse_expression(p));
        jx_node_add(p, n, parse_body(p, ends));
        if (p->rc < 0 || !jx_take_name(p, "elif"))
            break;
        struct jx_node *next = jx_node_new(p, JN_IF);
        jx_node_add(p, n, next);
        n = next;
    }
    if (jx_take_name(p, "else")) {
        jx_node_add(p, n, parse_to_end(p, "endif"));
    } else {
        jx_node_add(p, n, NULL);
        jx_take_name(p, "endif");
        expect_end(p);
    }
    return first;
}

static struct jx_node *parse_set(struct jx_parser *p)
{
    struct jx_node *n = jx_node_new(p, JN_SET);
    jx_node_add(p, n, jx_parse_target(p));
    if (jx_take_op(p, '=')) {
        jx_node_add(p, n, jx_parse_tuple(p));
        expect_end(p);
        return n;
    }
    n->kind = JN_SET_BLOCK;
    struct jx_node *hole = jx_node_new(p, JN_CONST), *filters = jx_parse_filters(p, hole);
    jx_node_add(p, n, parse_to_end(p, "endset"));
    jx_node_add(p, n, filters == hole ? NULL : filters);
    return n;
}

static struct jx_node *parse_macro(struct jx_parser *p)
{
    struct jx_node *n = jx_node_new(p, JN_MACRO);
    const char **names = NULL;
    size_t cap = 0;
    if (p->at->kind != JT_NAME)
        return jx_parse_fail(p, ERR_FORMAT, "expected a macro's name");
    n->name = (p->at++)->s;
    jx_node_add(p, n, NULL); /* the body's place */
    jx_expect_op(p, '(');
    while (p->rc == 0 && p->at->kind == JT_NAME) {
        MEM_GROW(names, cap, n->n_kids + 1);
        names[n->n_kids] = (p->at++)->s;
        jx_node_add(p, n, jx_take_op(p, '=') ? jx_parse_expression(p) : NULL);
        if (!jx_take_op(p, ','))
            break;
    }
    jx_expect_op(p, ')');
    n->names = arena_take(&p->t->arena, (size_t)n->n_kids * sizeof *names);
    if (names)
        memcpy(n->names, names, (size_t)n->n_kids * sizeof *names);
    n->names[0] = NULL;
    free(names);
    int n_loops = p->n_loops; /* break does not leave a macro */
    p->n_loops = 0;
    n->kids[0] = parse_to_end(p, "endmacro");
    p->n_loops = n_loops;
    return n;
}

static struct jx_node *parse_generation(struct jx_parser *p)
{
    struct jx_node *n = jx_node_new(p, JN_GENERATION);
    int n_loops = p->n_loops;
    p->t->has_generation = true;
    p->n_loops = 0;
    jx_node_add(p, n, parse_to_end(p, "endgeneration"));
    p->n_loops = n_loops;
    return n;
}

static struct jx_node *parse_filter_block(struct jx_parser *p)
{
    struct jx_node *n = jx_node_new(p, JN_FILTERED);
    struct jx_node *filters = jx_parse_filter(p, jx_node_new(p, JN_CONST));
    filters = jx_parse_filters(p, filters);
    jx_node_add(p, n, parse_to_end(p, "endfilter"));
    jx_node_add(p, n, filters);
    return n;
}

static struct jx_node *parse_with(struct jx_parser *p)
{
    struct jx_node *n = jx_node_new(p, JN_WITH);
    jx_node_add(p, n, NULL);
    while (p->rc == 0 && p->at->kind == JT_NAME) {
        struct jx_node *name = jx_node_new(p, JN_NAME);
        name->name = (p->at++)->s;
        jx_node_add(p, n, name);
        jx_expect_op(p, '=');
        jx_node_add(p, n, jx_parse_expression(p));
        if (!jx_take_op(p, ','))
            break;
    }
    n->kids[0] = parse_to_end(p, "endwith");
    return n;
}

static struct jx_node *parse_jump(struct jx_parser *p, enum jx_node_kind kind)
{
    if (!p->n_loops)
        return jx_parse_fail(p, ERR_FORMAT, "outside of a loop");
    struct jx_node *n = jx_node_new(p, kind);
    expect_end(p);
    return n;
}

static struct jx_node *parse_break(struct jx_parser *p)
{
    return parse_jump(p, JN_BREAK);
}

static struct jx_node *parse_continue(struct jx_parser *p)
{
    return parse_jump(p, JN_CONTINUE);
}

static struct jx_node *parse_statement(struct jx_parser *p)
{
    static const struct {
        const char *name;
        struct jx_node *(*parse)(struct jx_parser *p);
    } statements[] = {
        {"for", parse_for},
        {"if", parse_if},
        {"set", parse_set},
        {"macro", parse_macro},
        {"generation", parse_generation},
        {"filter", parse_filter_block},
        {"with", parse_with},
        {"break", parse_break},
        {"continue", parse_continue},
    };
    if (p->at->kind != JT_NAME)
        return jx_parse_fail(p, ERR_FORMAT, "expected a statement");
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        if (jx_take_name(p, statements[i].name))
            return statements[i].parse(p);
    return jx_parse_fail(p, ERR_UNSUPPORTED, "the statement \"%.40s\" is not supported here",
                         p->at->s);
}

static struct jx_node *parse_data(struct jx_parser *p)
{
    struct jx_node *n = jx_node_new(p, JN_DATA);
    struct jx_string *s = arena_take(&p->t->arena, sizeof *s);
    *s = (struct jx_string){.s = p->at->s, .len = p->at->len};
    n->value = (struct jx_value){.kind = JX_STRING, .u.s = s};
    p->at++;
    return n;
}

static struct jx_node *parse_print(struct jx_parser *p)
{
    p->at++;
    struct jx_node *n = jx_node_new(p, JN_PRINT);
    jx_node_add(p, n, jx_parse_tuple(p));
    if (p->rc == 0 && p->at->kind != JT_PRINT_END)
        return jx_parse_fail(p, ERR_FORMAT, "expected }}%s%.40s", p->at->s ? ", found " : "",
                             p->at->s ? p->at->s : "");
    p->at += p->rc == 0;
    return n;
}

static bool is_one_of(const struct jx_parser *p, const char *const *names)
{
    for (; *names; names++)
        if (jx_is_name(p, *names))
            return true;
    return false;
}

/* Up to a tag that begins with one of `ends`, or the end of the text (NULL). */
static struct jx_node *parse_until(struct jx_parser *p, const char *const *ends)
{
    struct jx_node *n = jx_node_new(p, JN_BLOCK);
    int line = p->at->line;
    while (p->rc == 0 && p->at->kind != JT_END) {
        if (p->at->kind == JT_DATA) {
            jx_node_add(p, n, parse_data(p));
        } else if (p->at->kind == JT_PRINT_BEGIN) {
            jx_node_add(p, n, parse_print(p));
        } else {
            p->at++;
            if (ends && is_one_of(p, ends))
                return n;
            jx_node_add(p, n, parse_statement(p));
        }
    }
    if (p->rc == 0 && ends)
        jx_parse_fail(p, ERR_FORMAT, "the block that began in line %d has no end", line);
    return n;
}

/* ---- a template ---- */

struct jinja *jinja_parse(const char *name, const char *text, size_t len, struct err *e)
{
    struct jinja *t = mem_zalloc(1, sizeof *t);
    struct jx_token *tokens = NULL;
    struct err own = ERR_INIT;
    t->name = mem_strdup(name);
    size_t good = utf8_check(text, len);
    int rc = 0;
    e = e ? e : &own;
    if (good < len || memchr(text, '\0', len))
        rc = err_set(e, ERR_FORMAT, "%s: not UTF-8, or a NUL byte", name);
    if (rc == 0)
        rc = jx_lex(t, text, len, &tokens, e);
    if (rc == 0) {
        struct jx_parser p = {.t = t, .at = tokens, .e = e};
        t->body = parse_until(&p, NULL);
        rc = p.rc;
    }
    free(tokens);
    if (rc == 0)
        return t;
    jinja_free(t);
    return NULL;
}

void jinja_free(struct jinja *t)
{
    if (!t)
        return;
    arena_free(&t->arena);
    free(t->words);
    free(t->name);
    free(t);
}

bool jinja_has_generation(const struct jinja *t)
{
    return t->has_generation;
}

bool jinja_mentions(const struct jinja *t, const char *name)
{
    for (size_t i = 0; i < t->n_words; i++)
        if (strcmp(t->words[i], name) == 0)
            return true;
    return false;
}
