/* SPDX-License-Identifier: MIT
 *
 * tmpl: prompt templates. A record becomes a list of segments, each with a flag that says
 * whether its tokens count in the loss.
 *
 * By name: alpaca (Stanford's two texts, exactly), chatml, llama3, llama2, qwen, mistral,
 * plain ("{prompt}\n{response}"), none. Or from a file:
 *     # comment                       lines before the first [section] may be comments
 *     [system]     text with {system}
 *     [user]       text with {user} ({instruction} and {input} for Alpaca records)
 *     [user-input] used instead of [user] when an Alpaca record has an input
 *     [assistant]  text with {assistant}: what stands before {assistant} is prompt, {assistant}
 *                  itself and what follows it is response
 *     [options]    bos = yes|no, eos = yes|no, default_system = text
 * \n, \t and \\ are escapes; a section's text ends before the next section's line, and its last
 * newline is not part of it.
 *
 * Markers such as <|im_start|> are written as text and become special tokens when encoded with
 * TOK_SPECIAL: segments that come from the template may hold special tokens (is_markup), text
 * that comes from a record never turns into one.
 */
#ifndef RAISE_DATA_TMPL_H
#define RAISE_DATA_TMPL_H

#include "data/dataset.h"

struct tmpl_segment {
    char *text; /* owned by the list */
    size_t len;
    bool is_response; /* counts in the loss */
    bool is_markup;   /* from the template: special tokens are parsed */
};

struct tmpl_text {
    struct tmpl_segment *segments;
    int n_segments;
    bool wants_bos; /* the tokenizer's BOS first, unless the text starts with it */
    bool wants_eos; /* EOS after the last response, counted in the loss, unless there */
};

struct tmpl; /* owned; tmpl_free */
/* A built-in name, or a path when it contains '/' or '.'; an unknown name lists the known. */
struct tmpl *tmpl_load(const char *name_or_path, struct err *e) RAISE_MUST_CHECK;
void tmpl_free(struct tmpl *t);
const char *tmpl_name(const struct tmpl *t);
uint64_t tmpl_hash(const struct tmpl *t); /* for provenance */
/* NULL-terminated list of built-in names. */
const char *const *tmpl_names(void);

int tmpl_render(const struct tmpl *t, const struct data_record *r, struct tmpl_text *out,
                struct err *e) RAISE_MUST_CHECK;
void tmpl_text_free(struct tmpl_text *x);

#endif
