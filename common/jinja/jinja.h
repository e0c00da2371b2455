/* SPDX-License-Identifier: MIT
 *
 * jinja: chat templates as models ship them, rendered as transformers renders them.
 *
 * The subset of Jinja2 that published chat templates use, with what transformers sets around
 * it: trim_blocks, lstrip_blocks, break and continue, {% generation %}, `tojson` without HTML
 * escapes, `raise_exception`, `strftime_now`. Statements: for (with if, else, loop's
 * attributes), if, set (names, tuples, namespaces, blocks), macro, filter, with, raw.
 * Expressions: all of Jinja's but keyword unpacking; lists are not changed (the sandbox of
 * transformers forbids it). What a template uses beyond that is refused when it is parsed, with
 * its line: include, import, extends, call, recursive loops, unknown filters and tests.
 *
 *     struct jinja *t = jinja_parse("chat template", text, len, &e);
 *     struct jinja_var vars[] = {
 *         {"messages", list, JINJA_PER_ITEM},
 *         {"add_generation_prompt", json_false(), JINJA_TRUSTED},
 *     };
 *     struct jinja_text out;
 *     int rc = jinja_render(t, vars, 2, now, &out, &e);
 *     ... out.s, out.from ...
 *     jinja_text_free(&out);
 *     jinja_free(t);
 *
 * Every byte of the output knows where it comes from: the template, or a value of the caller's,
 * and which message of a list; whatever was joined, cut, replaced or captured on the way. So a
 * caller can tell a marker that the template wrote from one that a record imitates, and what of
 * the text is which message's.
 *
 * Templates come from strangers: a rendering has a bound on its steps, its depth, its memory
 * and its output, each an error of its own. There is no access to files, clock or environment:
 * strftime_now formats the time that the caller gives. A parsed template is read-only; any
 * number of threads may render it.
 *
 * Not written lightly: Debian has no library that does this for C or C++. python3-jinja2 would
 * bring an interpreter, its lock and no bounds; grantlee (Qt) and ctemplate speak other
 * languages; tera (Rust) has no macros with namespaces, slices or Python's methods; inja,
 * jinja2cpp and minja are not packaged.
 */
#ifndef RAISE_JINJA_JINJA_H
#define RAISE_JINJA_JINJA_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <jansson.h>

/* Bounds of one rendering. A conversation of a thousand turns takes some 100,000 steps. */
enum {
    JINJA_MAX_STEPS = 10 * 1000 * 1000,  /* nodes evaluated, and bytes moved / 64 */
    JINJA_MAX_DEPTH = 400,               /* nested expressions, statements and macro calls */
    JINJA_MAX_OUTPUT = 16 * 1024 * 1024, /* bytes */
    JINJA_MAX_MEMORY = 128 * 1024 * 1024 /* bytes of values */
};

struct jinja; /* owned; jinja_free */

/* `name` begins the messages: "NAME:LINE: what". ERR_FORMAT: not well-formed; ERR_UNSUPPORTED:
 * beyond the subset. */
struct jinja *jinja_parse(const char *name, const char *text, size_t len,
                          struct err *e) RAISE_MUST_CHECK;
void jinja_free(struct jinja *t); /* NULL-safe */

bool jinja_has_generation(const struct jinja *t); /* has it {% generation %}? */
/* Does the template speak of this name: a variable, an attribute, a text equal to it? What it
 * does not speak of, it cannot render. */
bool jinja_mentions(const struct jinja *t, const char *name);

/* Where a byte of the output comes from. */
enum {
    JINJA_TEMPLATE = 0,      /* the template's own text, or a trusted value */
    JINJA_DATA = 0x7fff,     /* a value of the caller's that is no message's */
    JINJA_WHO = 0x7fff,      /* the bits of the above, and 1 + the index of a message */
    JINJA_GENERATED = 0x8000 /* a bit: inside {% generation %} */
};
enum jinja_origin {
    JINJA_TRUSTED, /* as if the template had written it */
    JINJA_UNTRUSTED,
    JINJA_PER_ITEM /* an array: strings of item i come from message i; but its "role" is trusted
                    */
};

struct jinja_var {
    const char *name;
    json_t *value; /* borrowed, and read until the rendering ends; NULL: not defined */
    enum jinja_origin origin;
};

struct jinja_text {
    char *s;        /* owned; NUL-terminated UTF-8 */
    uint16_t *from; /* owned; [len]: see above */
    size_t len;
};

/* now: what strftime_now formats, in UTC. ERR_RANGE: a bound; ERR_FORMAT: the template raised
 * an exception, or did what Python could not; *out is then empty. */
int jinja_render(const struct jinja *t, const struct jinja_var *vars, int n_vars, time_t now,
                 struct jinja_text *out, struct err *e) RAISE_MUST_CHECK;
void jinja_text_free(struct jinja_text *x);

#endif
