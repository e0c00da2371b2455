/* SPDX-License-Identifier: MIT
 * tok_json: what the readers of tokenizer.json and of the files beside it share. */
#ifndef RAISE_TEXT_TOK_JSON_H
#define RAISE_TEXT_TOK_JSON_H

#include "text/tok_priv.h"

#include <jansson.h>

/* NULL: the error has the line. */
json_t *tok_json_parse(const char *text, size_t len, size_t flags,
                       struct err *e) RAISE_MUST_CHECK;
/* An added token as an object describes it: content, special, normalized, single_word, lstrip,
 * rstrip. */
int tok_json_added(struct tok *t, const json_t *o, int64_t id, struct err *e) RAISE_MUST_CHECK;
/* Reads the tokenizer.json at `path`. */
int tok_json_read(struct tok *t, const char *path, struct err *e) RAISE_MUST_CHECK;
/* Reads the files beside the tokenizer.json at `path`, as far as they are there. */
int tok_read_beside(struct tok *t, const char *path, struct err *e) RAISE_MUST_CHECK;

#endif
