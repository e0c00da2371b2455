/* SPDX-License-Identifier: MIT
 *
 * asked: a prompt and its continuations as token ids, as lm-evaluation-harness makes them.
 *
 * White space at the end of the context belongs to the continuation; context and continuation
 * are encoded together, and the continuation is what is beyond as many ids as the context alone
 * has; the tokenizer's BOS comes first where it adds one. So a continuation's first token may
 * differ from what it would be by itself. Special tokens in the text are plain text, which is
 * where ours differs: a question that says "</s>" ends nothing.
 *
 * Under a template the prompt is a user's turn and each continuation the assistant's, without
 * its blank in front; what counts is what counts in training, the end of the turn included.
 */
#ifndef RAISE_EVAL_ASKED_H
#define RAISE_EVAL_ASKED_H

#include "base/mem.h"
#include "text/example.h"

struct asked {
    int32_t *context; /* [n_context] */
    int64_t n_context;
    int32_t **after; /* [n_after]: each of after_len[i] >= 1 ids */
    int64_t *after_len;
    int n_after;
    int64_t longest; /* n_context and the longest continuation */
};

/* after: n texts, each with its blank in front. ERR_EMPTY: a continuation has no token of its
 * own, or the context has none. Owned by the caller. */
int asked_encode(struct asked *a, const struct tok *t, const char *context,
                 const char *const *after, int n, struct err *e) RAISE_MUST_CHECK;
/* The same under a template. ERR_UNSUPPORTED: it has no one prompt for all answers. */
int asked_render(struct asked *a, const struct tok *t, const struct tmpl *tm,
                 const char *context, const char *const *after, int n,
                 struct err *e) RAISE_MUST_CHECK;
void asked_free(struct asked *a); /* leaves it empty */
/* Cuts the context from the left, so that `longest` is max_len; false: the continuations alone
 * are longer. */
bool asked_cut(struct asked *a, int64_t max_len);
static inline bool asked_is_one_token(const struct asked *a)
{
    return a->longest == a->n_context + 1;
}

#endif
