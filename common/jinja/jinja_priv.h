/* SPDX-License-Identifier: MIT
 * jinja_priv: what the parts of jinja share.
 *
 *     text --jinja_lex--> tokens --jinja_parse, jinja_expr--> nodes
 *     nodes --jinja_exec (statements), jinja_eval (expressions)--> output
 *     values: jinja_value; what can be done with them: jinja_op, jinja_text (Python's str and
 *     repr, JSON), jinja_method, jinja_test, jinja_filter
 *
 * Nodes live in the template's arena, values in the rendering's. An error is kept in the
 * context (jx_fail) and the first one stays: whoever called checks c->rc where it matters, and
 * gets an undefined value meanwhile. */
#ifndef RAISE_JINJA_JINJA_PRIV_H
#define RAISE_JINJA_JINJA_PRIV_H

#include "base/arena.h"
#include "base/mem.h"
#include "jinja/jinja.h"

/* ---- values ---- */

enum jx_kind {
    JX_UNDEFINED,
    JX_NONE,
    JX_BOOL,
    JX_INT,
    JX_REAL,
    JX_STRING,
    JX_LIST,
    JX_TUPLE,
    JX_DICT,
    JX_NAMESPACE,
    JX_MACRO,
    JX_BUILTIN, /* a global function, by name */
    JX_METHOD,  /* of an object, not called yet */
    JX_LOOP,
    JX_CELL /* cycler and joiner: they remember */
};

struct jx_string {
    const char *s; /* not NUL-terminated */
    size_t len;
    const uint16_t *from; /* NULL: all of it is from `one` */
    uint16_t one;
    bool is_safe; /* Python's Markup: what it is added to gets escaped */
};

struct jx_value {
    enum jx_kind kind;
    union {
        bool b;
        int64_t i;
        double r;
        const struct jx_string *s;
        struct jx_list *l; /* LIST, TUPLE */
        struct jx_dict *d; /* DICT, NAMESPACE */
        struct jx_macro *macro;
        const char *name; /* BUILTIN; UNDEFINED: what is (may be NULL) */
        struct jx_method *method;
        struct jx_loop *loop;
        struct jx_cell *cell;
    } u;
};

struct jx_list {
    size_t n;
    bool is_lazy; /* a generator of Python's: it can be iterated over, and nothing else */
    struct jx_value *v;
};
struct jx_pair {
    struct jx_value key, value;
};
struct jx_dict {
    size_t n, cap;
    struct jx_pair *pairs; /* in the order of their coming */
};
struct jx_macro {
    const struct jx_node *node;
    struct jx_frame *frame; /* where it was defined */
};
struct jx_method {
    struct jx_value self;
    const char *name;
};
struct jx_loop {
    struct jx_list *items;
    size_t at;
    int depth;
    bool has_changed;
    struct jx_value last; /* of changed() */
};
struct jx_cell {
    bool is_joiner;
    struct jx_list *items;
    size_t at;
};

/* ---- nodes ---- */

enum jx_node_kind {
    /* expressions */
    JN_CONST,
    JN_NAME,
    JN_LIST,
    JN_TUPLE,
    JN_DICT, /* kids: key, value, key, ... */
    JN_ATTRIBUTE,
    JN_ITEM,
    JN_SLICE, /* kids: object, from, to, step (NULL: absent) */
    JN_CALL,  /* kids[0]: what; then arguments */
    JN_FILTER,
    JN_TEST, /* kids[0]: the value; then arguments */
    JN_NOT,
    JN_AND,
    JN_OR,
    JN_NEGATIVE,
    JN_POSITIVE,
    JN_BINARY,  /* op */
    JN_COMPARE, /* kids: a, b, c, ...; ops [n_kids - 1] */
    JN_IF_ELSE, /* value, condition, other (NULL: undefined) */
    /* statements */
    JN_BLOCK, /* kids, one after another */
    JN_DATA,
    JN_PRINT,
    JN_FOR,       /* target, iterable, filter (or NULL), body, else (or NULL) */
    JN_IF,        /* condition, body, else (or NULL) */
    JN_SET,       /* target, value */
    JN_SET_BLOCK, /* target, body, filters (or NULL) over it */
    JN_MACRO,     /* name; kids[0]: body; then parameters' defaults; names */
    JN_FILTERED,  /* {% filter %}: body, filters */
    JN_WITH,      /* body; then target, value, ... */
    JN_GENERATION,
    JN_BREAK,
    JN_CONTINUE
};

/* `+` and so on: as they are written. Two characters: the second shifted by eight. */
enum { OP_POWER = '*' | '*' << 8, OP_FLOOR = '/' | '/' << 8 };
enum jx_compare { CMP_EQ, CMP_NE, CMP_LT, CMP_LE, CMP_GT, CMP_GE, CMP_IN, CMP_NOT_IN };

#define JX_UNPACKED "*" /* the name of an argument that is a list of them */
struct jx_node {
    enum jx_node_kind kind;
    int line;
    int op;
    struct jx_value value; /* CONST, DATA */
    const char *name;      /* NAME, ATTRIBUTE, FILTER, TEST, MACRO */
    struct jx_node **kids;
    int n_kids;
    const char **names; /* of kids that are keyword arguments, parameters; else NULL */
    int *ops;           /* COMPARE */
    const void *row;    /* FILTER, TEST: of its table */
};

struct jinja {
    char *name;
    struct arena arena;
    struct jx_node *body;
    bool has_generation;
    const char **words; /* names and texts that it speaks of */
    size_t n_words, words_cap;
};

/* ---- tokens ---- */

enum jx_token_kind {
    JT_DATA,
    JT_BLOCK_BEGIN,
    JT_BLOCK_END,
    JT_PRINT_BEGIN,
    JT_PRINT_END,
    JT_NAME,
    JT_STRING,
    JT_INT,
    JT_REAL,
    JT_OP,
    JT_END
};
struct jx_token {
    enum jx_token_kind kind;
    int line;
    const char *s; /* in the arena, NUL-terminated; escapes undone */
    size_t len;
    int op;
};
/* All tokens of a template, the last one JT_END; in *tokens, to be freed. */
int jx_lex(struct jinja *t, const char *text, size_t len, struct jx_token **tokens,
           struct err *e);

struct jx_parser {
    struct jinja *t;
    const struct jx_token *at;
    struct err *e;
    int rc;
    int depth, n_loops;
};
/* jinja_node.c: what both parsers use. */
struct jx_node *jx_node_new(struct jx_parser *p, enum jx_node_kind kind);
void jx_node_add(struct jx_parser *p, struct jx_node *n, struct jx_node *kid);
/* An error at the current token; NULL. */
struct jx_node *jx_parse_fail(struct jx_parser *p, int code, const char *fmt, ...)
    RAISE_PRINTF(3, 4);
bool jx_is_op(const struct jx_parser *p, int op);
bool jx_is_name(const struct jx_parser *p, const char *name);
bool jx_take_op(struct jx_parser *p, int op);
bool jx_take_name(struct jx_parser *p, const char *name);
void jx_expect_op(struct jx_parser *p, int op);
struct jx_node *jx_parse_expression(struct jx_parser *p);
/* a, b, ...: a tuple, or what stands alone. */
struct jx_node *jx_parse_tuple(struct jx_parser *p);
/* The targets of for and set; with_condition: an `if` is no part of it (for's iterable). */
struct jx_node *jx_parse_target(struct jx_parser *p);
struct jx_node *jx_parse_iterable(struct jx_parser *p);
/* "| a | b(1)", around `node`. */
struct jx_node *jx_parse_filters(struct jx_parser *p, struct jx_node *node);
/* The name of a filter and its arguments, around `node`. */
struct jx_node *jx_parse_filter(struct jx_parser *p, struct jx_node *node);

/* ---- a rendering ---- */

struct jx_variable {
    const char *name;
    struct jx_value value;
};
struct jx_frame {
    struct jx_frame *parent;
    bool is_kept; /* a macro was defined here, and may be called later */
    size_t n, cap;
    struct jx_variable *vars;
};

struct jx_out { /* what is written, with its origins */
    char *s;
    uint16_t *from;
    size_t len, cap, from_cap;
};

struct jx_args {
    const struct jx_value *v; /* positional */
    size_t n;
    const char *const *names; /* keywords */
    const struct jx_value *kw;
    size_t n_kw;
};

struct jx {
    const struct jinja *t;
    struct arena arena;
    size_t n_bytes;
    int64_t n_steps;
    int depth;
    int line; /* of the statement or expression at work */
    int rc;
    struct err *e;
    struct jx_out *out;
    uint16_t generated; /* JINJA_GENERATED inside a block of it */
    int loop_depth;
    time_t now;
    struct jx_frame *frame;
    /* Calls a macro: statements are run by a later file. */
    struct jx_value (*call_macro)(struct jx *c, const struct jx_macro *m,
                                  const struct jx_args *a);
};

/* jinja_value.c */
#define JX_NOTHING ((struct jx_value){.kind = JX_UNDEFINED})
struct jx_value jx_fail(struct jx *c, int code, const char *fmt, ...) RAISE_PRINTF(3, 4);
void jx_step(struct jx *c, size_t n_bytes); /* one step, and the moving of bytes */
void *jx_take(struct jx *c, size_t n); /* never NULL, zeroed; past the bound c->rc is set */
struct jx_value jx_none(void);
struct jx_value jx_bool(bool b);
struct jx_value jx_int(int64_t i);
struct jx_value jx_real(double r);
struct jx_value jx_text(struct jx *c, const char *s, size_t len); /* borrowed; the template's */
struct jx_value jx_cstr(struct jx *c, const char *s);
struct jx_value jx_part(struct jx *c, const struct jx_string *s, size_t from, size_t to);
struct jx_value jx_list_new(struct jx *c, enum jx_kind kind, size_t n); /* of undefined */
struct jx_value jx_dict_new(struct jx *c, enum jx_kind kind);
/* A key that is not there yet. */
void jx_dict_append(struct jx *c, struct jx_dict *d, struct jx_value key,
                    struct jx_value value);
const struct jx_value *jx_dict_find(const struct jx_dict *d, const char *key);
struct jx_value jx_of_json(struct jx *c, const json_t *v, uint16_t from);
const char *jx_type_name(const struct jx_value *v); /* Python's */
bool jx_is_text(const struct jx_value *v, const char *s);
void jx_out_put(struct jx *c, struct jx_out *o, const struct jx_string *s);
void jx_out_puts(struct jx *c, struct jx_out *o, const char *s, size_t len, uint16_t from);
/* What was written, as a value; frees o. */
struct jx_value jx_out_value(struct jx *c, struct jx_out *o);
void jx_out_free(struct jx_out *o);

/* jinja_op.c: what Python's operators do */
bool jx_truth(const struct jx_value *v);
bool jx_equal(struct jx *c, const struct jx_value *a, const struct jx_value *b);
void jx_dict_set(struct jx *c, struct jx_dict *d, struct jx_value key, struct jx_value value);
const struct jx_value *jx_dict_get(struct jx *c, const struct jx_dict *d,
                                   const struct jx_value *key);
/* Python's order; an error where it has none. */
int jx_order(struct jx *c, const struct jx_value *a, const struct jx_value *b);
bool jx_contains(struct jx *c, const struct jx_value *in, const struct jx_value *what);
struct jx_value jx_binary(struct jx *c, int op, const struct jx_value *a,
                          const struct jx_value *b);
struct jx_value jx_escape(struct jx *c, const struct jx_string *s); /* for HTML */
struct jx_value jx_safe(struct jx *c, const struct jx_string *s);
/* The items of what can be iterated, as a new list or the value's own. */
struct jx_list *jx_items_of(struct jx *c, const struct jx_value *v);
/* The same, but nothing is an empty list: of filters that choose. */
struct jx_list *jx_items_or_none(struct jx *c, const struct jx_value *v);
struct jx_value jx_lazy(struct jx_value list); /* what such a filter gives */
int64_t jx_length(struct jx *c, const struct jx_value *v);
struct jx_value jx_item(struct jx *c, const struct jx_value *v, const struct jx_value *key);
struct jx_value jx_slice(struct jx *c, const struct jx_value *v, const struct jx_value *from,
                         const struct jx_value *to, const struct jx_value *step);
bool jx_as_int(const struct jx_value *v, int64_t *i); /* int or bool */
bool jx_as_real(const struct jx_value *v, double *r); /* a number */
/* Bytes of the first n characters of s; n past its end: all. */
size_t jx_chars(const struct jx_string *s, size_t n);
size_t jx_n_chars(const struct jx_string *s);
/* Where what stands in s[from..); SIZE_MAX: nowhere. */
size_t jx_find(const struct jx_string *s, size_t from, const struct jx_string *what);

/* jinja_text.c: values as text */
struct jx_value jx_str(struct jx *c, const struct jx_value *v); /* Python's str() */
void jx_put_str(struct jx *c, struct jx_out *o, const struct jx_value *v);
void jx_put_repr(struct jx *c, struct jx_out *o, const struct jx_value *v);
struct jx_json {
    bool is_ascii, is_sorted;
    int64_t indent;                     /* < 0: on one line */
    const struct jx_string *item, *key; /* separators */
};
void jx_put_json(struct jx *c, struct jx_out *o, const struct jx_value *v,
                 const struct jx_json *how, int level);

/* jinja_method.c */
const struct jx_value *jx_arg(const struct jx_args *a, size_t i, const char *name);
bool jx_has_method(const struct jx_value *v, const char *name);
struct jx_value jx_call_method(struct jx *c, const struct jx_value *self, const char *name,
                               const struct jx_args *a);
struct jx_value jx_strip(struct jx *c, const struct jx_string *s, const struct jx_value *chars,
                         bool at_start, bool at_end);
struct jx_value jx_replace(struct jx *c, const struct jx_string *s, const struct jx_args *a);
struct jx_value jx_change_case(struct jx *c, const struct jx_string *s, const char *how);
struct jx_value jx_attribute(struct jx *c, const struct jx_value *v, const char *name);

/* jinja_test.c, jinja_filter.c: rows by name; NULL: there is none */
struct jx_test_row;
const struct jx_test_row *jx_test_find(const char *name);
bool jx_test(struct jx *c, const struct jx_test_row *t, const struct jx_value *v,
             const struct jx_args *a);
struct jx_filter_row;
const struct jx_filter_row *jx_filter_find(const char *name);
struct jx_value jx_filter(struct jx *c, const struct jx_filter_row *f, const struct jx_value *v,
                          const struct jx_args *a);

/* jinja_global.c: functions that every template has */
bool jx_is_global(const char *name);
struct jx_value jx_call_global(struct jx *c, const char *name, const struct jx_args *a);

/* jinja_eval.c */
struct jx_value jx_eval(struct jx *c, const struct jx_node *n);
struct jx_value *jx_lookup(struct jx_frame *f, const char *name);
void jx_assign(struct jx *c, const char *name, struct jx_value v);
/* The filters around a hole that `v` fills: JN_FILTERED, JN_SET_BLOCK. */
struct jx_value jx_eval_over(struct jx *c, const struct jx_node *n, struct jx_value v);

#endif
