/* SPDX-License-Identifier: MIT
 * asked: prompts and continuations as ids; see asked.h. */
#include "eval/asked.h"

#include <stdlib.h>
#include <string.h>

void asked_free(struct asked *a)
{
    for (int i = 0; i < a->n_after; i++)
        free(a->after[i]);
    free(a->after);
    free(a->after_len);
    free(a->context);
    *a = (struct asked){0};
}

static int encode(const struct tok *t, const char *s, size_t len, struct tok_ids *ids,
                  struct err *e)
{
    int32_t bos = tok_bos(t);
    ids->n = 0;
    int rc = tok_encode(t, s, len, 0, ids, e);
    if (rc < 0 || !tok_adds_bos(t) || bos < 0)
        return rc;
    MEM_GROW(ids->ids, ids->cap, ids->n + 1);
    memmove(ids->ids + 1, ids->ids, ids->n * sizeof *ids->ids);
    ids->ids[0] = bos;
    ids->n++;
    return 0;
}

static int add_after(struct asked *a, const struct tok *t, struct buf *text,
                     const char *continuation, struct tok_ids *ids, struct err *e)
{
    size_t len = text->len;
    buf_puts(text, continuation);
    int rc = encode(t, text->data, text->len, ids, e);
    text->len = len;
    if (rc < 0)
        return rc;
    int64_t n = (int64_t)ids->n - a->n_context;
    if (n < 1)
        return err_set(e, ERR_EMPTY, "choice %d has no token of its own", a->n_after + 1);
    a->after_len[a->n_after] = n;
    a->after[a->n_after++] = mem_dup(ids->ids + a->n_context, (size_t)n * sizeof *ids->ids);
    if (a->n_context + n > a->longest)
        a->longest = a->n_context + n;
    return 0;
}

int asked_encode(struct asked *a, const struct tok *t, const char *context,
                 const char *const *after, int n, struct err *e)
{
    struct tok_ids ids = {0};
    struct buf text = {0};
    size_t len = strlen(context);
    *a = (struct asked){.after = mem_zalloc((size_t)n, sizeof *a->after),
                        .after_len = mem_zalloc((size_t)n, sizeof *a->after_len)};
    buf_append(&text, context, len);
    while (len > 0 && strchr(" \t\n\r\v\f", context[len - 1]))
        len--;
    int rc = encode(t, context, len, &ids, e);
    if (rc == 0 && ids.n == 0)
        rc = err_set(e, ERR_EMPTY, "the question has no token");
    if (rc == 0) {
        a->n_context = (int64_t)ids.n;
        a->context = mem_dup(ids.ids, ids.n * sizeof *ids.ids);
    }
    for (int i = 0; rc == 0 && i < n; i++)
        rc = add_after(a, t, &text, after[i], &ids, e);
    free(ids.ids);
    buf_free(&text);
    if (rc < 0)
        asked_free(a);
    return rc;
}

/* ---- under a template ---- */

/* Takes over what counts of one example: it must be the end of it, after the same prompt. */
static int add_example(struct asked *a, const struct example *x, struct err *e)
{
    int64_t first = 0, end = x->n;
    while (first < end && !x->is_loss[first])
        first++;
    while (end > first && !x->is_loss[end - 1])
        end--;
    for (int64_t i = first; i < end; i++)
        if (!x->is_loss[i])
            return err_set(e, ERR_UNSUPPORTED, "the template breaks an answer in parts");
    if (!a->n_after) {
        a->n_context = first;
        a->context = mem_dup(x->ids, (size_t)first * sizeof *x->ids);
    }
    if (first == 0 || a->n_context != first ||
        memcmp(a->context, x->ids, (size_t)first * sizeof *x->ids) != 0)
        return err_set(e, ERR_UNSUPPORTED, "the template has no one prompt for all answers");
    a->after_len[a->n_after] = end - first;
    a->after[a->n_after++] = mem_dup(x->ids + first, (size_t)(end - first) * sizeof *x->ids);
    a->longest = end > a->longest ? end : a->longest;
    return 0;
}

int asked_render(struct asked *a, const struct tok *t, const struct tmpl *tm,
                 const char *context, const char *const *after, int n, struct err *e)
{
    int rc = 0;
    *a = (struct asked){.after = mem_zalloc((size_t)n, sizeof *a->after),
                        .after_len = mem_zalloc((size_t)n, sizeof *a->after_len)};
    for (int i = 0; rc == 0 && i < n; i++) {
        const char *answer = after[i] + (after[i][0] == ' ');
        struct data_turn turns[] = {
            {.role = DATA_USER, .text = context, .len = strlen(context)},
            {.role = DATA_ASSISTANT, .text = answer, .len = strlen(answer)}};
        struct data_record r = {.layout = DATA_COMPLETION, .n_turns = 2, .turns = turns};
        struct example x = {0};
        int made = example_make(t, tm, &r, 0, EXAMPLE_FAIL, &x, e);
        if (made == 0)
            made = err_set(e, ERR_EMPTY, "choice %d has no token of its own", i + 1);
        rc = made < 0 ? made : add_example(a, &x, e);
        example_free(&x);
    }
    if (rc < 0)
        asked_free(a);
    return rc;
}

bool asked_cut(struct asked *a, int64_t max_len)
{
    int64_t over = a->longest - max_len;
    if (over <= 0)
        return true;
    if (over >= a->n_context)
        return false;
    a->n_context -= over;
    a->longest -= over;
    memmove(a->context, a->context + over, (size_t)a->n_context * sizeof *a->context);
    return true;
}
