/* SPDX-License-Identifier: MIT
 * Nodes, and the reading of tokens: what the parsers of statements and expressions share. */
#include "jinja/jinja_priv.h"

#include <string.h>

struct jx_node *jx_node_new(struct jx_parser *p, enum jx_node_kind kind)
{
    struct jx_node *n = arena_take(&p->t->arena, sizeof *n);
    *n = (struct jx_node){.kind = kind, .line = p->at->line};
    return n;
}

/* Capacity is the next power of two: kids are few. */
void jx_node_add(struct jx_parser *p, struct jx_node *n, struct jx_node *kid)
{
    if ((n->n_kids & (n->n_kids - 1)) == 0) {
        size_t cap = n->n_kids ? 2 * (size_t)n->n_kids : 1;
        struct jx_node **kids = arena_take(&p->t->arena, cap * sizeof *kids);
        if (n->n_kids)
            memcpy(kids, n->kids, (size_t)n->n_kids * sizeof *kids);
        n->kids = kids;
    }
    n->kids[n->n_kids++] = kid;
}

struct jx_node *jx_parse_fail(struct jx_parser *p, int code, const char *fmt, ...)
{
    if (p->rc == 0) {
        struct buf b = {0};
        va_list ap;
        va_start(ap, fmt);
        buf_vprintf(&b, fmt, ap);
        va_end(ap);
        p->rc = err_set(p->e, code, "%s:%d: %s", p->t->name, p->at->line, buf_str(&b));
        if (p->rc == 0)
            p->rc = code;
        buf_free(&b);
    }
    return jx_node_new(p, JN_CONST);
}

bool jx_is_op(const struct jx_parser *p, int op)
{
    return p->at->kind == JT_OP && p->at->op == op;
}

bool jx_is_name(const struct jx_parser *p, const char *name)
{
    return p->at->kind == JT_NAME && strcmp(p->at->s, name) == 0;
}

bool jx_take_op(struct jx_parser *p, int op)
{
    bool is_it = p->rc == 0 && jx_is_op(p, op);
    p->at += is_it;
    return is_it;
}

bool jx_take_name(struct jx_parser *p, const char *name)
{
    bool is_it = p->rc == 0 && jx_is_name(p, name);
    p->at += is_it;
    return is_it;
}

void jx_expect_op(struct jx_parser *p, int op)
{
    if (p->rc == 0 && !jx_take_op(p, op))
        jx_parse_fail(p, ERR_FORMAT, "expected \"%c\"", op & 0xff);
}
