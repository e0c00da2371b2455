/* SPDX-License-Identifier: MIT
 *
 * example: a record as the model sees it: ids, and which of them count in the loss.
 *
 * The template's segments are encoded so that ids equal those of the whole rendered text where
 * special tokens delimit the segments; a boundary between prompt and response without one is
 * kept: prompt and response are encoded apart, so the response's first token never swallows
 * prompt text. The tokenizer's BOS is put first where it adds one and the template has not;
 * never twice. A record whose own text imitates a special token keeps it as plain text.
 */
#ifndef RAISE_TEXT_EXAMPLE_H
#define RAISE_TEXT_EXAMPLE_H

#include "data/tmpl.h"
#include "text/tok.h"

struct example {
    int32_t *ids;     /* n */
    uint8_t *is_loss; /* n; 1: this token is predicted and counted (never the first) */
    int32_t n;
    int32_t n_prompt;   /* len(x): tokens that do not count */
    int32_t n_response; /* len(y): tokens that count */
    bool is_cut;
    bool is_empty; /* dropped since nothing in it counts, however long it may be */
};

enum example_overlong { EXAMPLE_DROP, EXAMPLE_CUT, EXAMPLE_FAIL };

/* Encodes one record. `max_len` > 0 bounds n: DROP returns 0 with n = 0; CUT keeps the first
 * max_len tokens and sets is_cut (with no response token left it is dropped as well); FAIL is
 * ERR_RANGE. Returns 1: made, 0: dropped, < 0: error. The arrays are owned by the caller. */
int example_make(const struct tok *t, const struct tmpl *tm, const struct data_record *r,
                 int64_t max_len, enum example_overlong overlong, struct example *x,
                 struct err *e) RAISE_MUST_CHECK;
void example_free(struct example *x);

/* All records of a dataset, in parallel; examples[i] belongs to d->records[i], n = 0 where it
 * was dropped. n_dropped and n_cut count. Owned by the caller: example_set_free. */
struct example_set {
    struct example *examples;
    int64_t n_examples;
    int64_t n_dropped, n_cut, n_tokens, n_response_tokens;
    int64_t max_len; /* longest */
};
int example_set_make(struct example_set *s, const struct tok *t, const struct tmpl *tm,
                     const struct dataset *d, int64_t max_len, enum example_overlong overlong,
                     struct err *e) RAISE_MUST_CHECK;
void example_set_free(struct example_set *s);

/* Markers in the template's own text ("<|im_start|>", "</s>") that are no one token of this
 * tokenizer: the model would see them as ordinary text, which is seldom meant. A list such as
 * "<|im_start|>, <|im_end|>", owned by the caller; NULL when all are known. */
char *example_foreign_markers(const struct tok *t, const struct tmpl *tm);

/* Prints one example as the model sees it: a line of counts, then a line a token: id, '*' where
 * it counts in the loss, and the token between bars with \n, \t and \r escaped. */
void example_show(const struct tok *t, const struct example *x, struct buf *out);

#endif
