/* SPDX-License-Identifier: MIT
 *
 * tmpl: prompt templates. A record becomes a list of segments, each with a flag that says
 * whether its tokens count in the loss.
 *
 * By name: alpaca (Stanford's two texts, exactly), chatml, smollm2, qwen, qwen3, llama2,
 * llama3, llama31, mistral, plain ("{user}\n{assistant}"), none (the texts end to end). Or from
 * a file:
 *
 *     # comment                       lines before the first [section] may be comments
 *     [system]     text with {system}
 *     [user]       text with {user}, or with {instruction} and {input} (of an Alpaca record; of
 *                  others {instruction} is the whole text and {input} is empty)
 *     [user-input] instead of [user] where the record has an input
 *     [user-system] instead of [system] and [user] for a system turn and the first user's: both
 *     [user-next]  instead of [user] for every user's turn but the first
 *     [tool]       text with {tool}
 *     [assistant]  text with {assistant}: what stands before it is prompt, {assistant} itself
 *                  and what follows it is response
 *     [assistant-last] instead of [assistant] for the last one, unless its text has its own
 *                  reasoning (contains </think>)
 *     [options]    bos = yes|no, eos = yes|no, trim = yes|no, default_system = text,
 *                  reasoning = yes|no
 *
 * [user] and [assistant] must be there. A turn whose section is missing is an error, not left
 * out. \n, \t, \\, \{, \[ and \# are escapes; a section's text ends before the next section's
 * line, and its last newline is not part of it. A section's line is lower-case letters in
 * brackets, so "[INST]" may begin a line of text.
 *
 * Two rules about what counts in the loss. Spaces just before {assistant} belong to the
 * response, because tokenizers join a space to the word after it. Line breaks and blanks that
 * end the section after an end marker ("<|im_end|>\n") are prompt of the turn to come: nobody
 * has to learn to write them.
 *
 * With reasoning = yes the reasoning_content of the last assistant's turn stands before its
 * text between <think> and </think>, as Qwen 3 has it. A turn that is masked
 * (data_turn.is_masked) is in the text, but does not count in the loss. Tool calls have no
 * place in these templates: ERR_UNSUPPORTED.
 *
 * With eos = yes the tokenizer's EOS follows every assistant's turn, so a model learns where to
 * stop in each, and two turns of one role stay two. Defaults: bos = yes; eos = yes where only
 * blanks follow {assistant}, else no (there is a marker); trim = no (yes: white space around
 * each turn's text is removed). A default_system, even an empty one, is used where the record
 * has no system turn. Turns after the last assistant's are left out. A record that is text
 * alone (DATA_TEXT) is that text between BOS and EOS, whatever the template.
 *
 * Markers such as <|im_start|> are written as text and become special tokens when encoded with
 * TOK_SPECIAL: segments that come from the template may hold special tokens (is_markup), text
 * that comes from a record never turns into one.
 */
#ifndef RAISE_DATA_TMPL_H
#define RAISE_DATA_TMPL_H

#include "data/dataset.h"

struct tmpl_segment {
    char *text;       /* owned by the list; NUL-terminated */
    size_t len;       /* > 0 */
    bool is_response; /* counts in the loss */
    bool is_markup;   /* from the template: special tokens are parsed */
    bool wants_eos;   /* EOS behind it, counted in the loss, unless it ends so: a turn ends */
};

struct tmpl_text {
    struct tmpl_segment *segments;
    int n_segments;
    bool wants_bos; /* the tokenizer's BOS first, where it adds one, unless it starts so */
    bool is_whole;  /* one text: tokens may span prompt and response, and count if they do */
};

struct tmpl; /* owned; tmpl_free. Read-only after loading: any number of threads may render. */
/* A built-in name, or a path when it contains '/' or '.'; an unknown name lists the known. */
struct tmpl *tmpl_load(const char *name_or_path, struct err *e) RAISE_MUST_CHECK;
/* From a template file's text; `name` is for messages. */
struct tmpl *tmpl_parse(const char *name, const char *text, size_t len,
                        struct err *e) RAISE_MUST_CHECK;
/* The template that a model ships (jinja.h): what is rendered is as transformers renders it,
 * without BOS or EOS but those that it writes. What counts in the loss: what stands in
 * {% generation %}, where the template has that; else each assistant's turn, found by rendering
 * the conversation up to it with a generation prompt, with the end marker behind it; where
 * there is none, EOS follows. Strings are borrowed for the call. */
struct tmpl_model {
    const char *name;                  /* for messages */
    const char *text;                  /* Jinja */
    const char *tool_text;             /* for records with tools; NULL: the same */
    const char *bos, *eos, *unk, *pad; /* texts of special tokens; NULL: none */
    int64_t now;                       /* seconds since 1970: what strftime_now tells */
};
struct tmpl *tmpl_of_model(const struct tmpl_model *m, struct err *e) RAISE_MUST_CHECK;
bool tmpl_is_model(const struct tmpl *t);

void tmpl_free(struct tmpl *t); /* NULL-safe */
const char *tmpl_name(const struct tmpl *t);
uint64_t tmpl_hash(const struct tmpl *t); /* for provenance: xxh64 of the template's text */
/* NULL-terminated list of built-in names. */
const char *const *tmpl_names(void);
/* A built-in's text in the syntax above; NULL: no such name. */
const char *tmpl_builtin(const char *name);

/* ERR_UNSUPPORTED when the template has no section for one of the turns. The message has no
 * place; on failure *out is empty. */
int tmpl_render(const struct tmpl *t, const struct data_record *r, struct tmpl_text *out,
                struct err *e) RAISE_MUST_CHECK;
void tmpl_text_free(struct tmpl_text *x);
/* What the record says (enum data_key) that this template has no place for, so that the model
 * never sees it. Tool calls without a place are no such thing: they are an error of
 * tmpl_render. */
unsigned tmpl_unheeded(const struct tmpl *t, const struct data_record *r);

/* Every distinct piece of the template's own text, for a caller that looks for special tokens
 * in it: the i-th, or NULL past the last. */
const char *tmpl_markup(const struct tmpl *t, int i);

#endif
