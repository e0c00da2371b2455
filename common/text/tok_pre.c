/* SPDX-License-Identifier: MIT
 * tok_pre: pre-tokenizers; see tok_priv.h.
 *
 * A step cuts each span of the text into smaller ones and sees nothing outside of it: a
 * look-ahead ends at the span's end, as in `tokenizers`. Two arrays of spans take turns. */
#include "text/tok_priv.h"
#include "text/tok_uni.h"

#include <stdlib.h>
#include <string.h>

/* Where a step writes its spans. A span that is empty is never written. */
struct cutter {
    struct tok_spans *out;
    struct tok_scratch *x;
    enum tok_behavior behavior;
    bool is_inverted;
    size_t first; /* span of `out` where the text now being cut began */
};

static void put_span(struct tok_spans *out, size_t start, size_t end)
{
    if (start == end)
        return;
    if (out->n == out->cap)
        MEM_GROW(out->at, out->cap, out->n + 1);
    out->at[out->n++] = (struct tok_span){start, end};
}

static void put_flagged(struct cutter *c, size_t start, size_t end, bool is_match)
{
    if (start == end)
        return;
    size_t i = c->out->n;
    put_span(c->out, start, end);
    if (i >= c->x->is_match_cap)
        MEM_GROW(c->x->is_match, c->x->is_match_cap, i + 1);
    c->x->is_match[i] = is_match != c->is_inverted;
}

/* Joins or removes neighbours among the spans from c->first on, as the behaviour says. */
static void settle(struct cutter *c)
{
    struct tok_span *at = c->out->at;
    const uint8_t *is_match = c->x->is_match;
    size_t n = c->out->n, to = c->first;
    for (size_t i = c->first; i < n; i++) {
        bool after_match = i > c->first && is_match[i - 1];
        bool joins = false;
        switch (c->behavior) {
        case SPLIT_ISOLATED:
            break;
        case SPLIT_REMOVED:
            if (is_match[i])
                continue;
            break;
        case SPLIT_CONTIGUOUS:
            joins = i > c->first && is_match[i] == is_match[i - 1];
            break;
        case SPLIT_WITH_PREVIOUS:
            joins = i > c->first && is_match[i] && !after_match;
            break;
        case SPLIT_WITH_NEXT:
            /* Only the last of a row of matches goes with what follows. */
            joins = after_match && !is_match[i];
            break;
        }
        if (joins)
            at[to - 1].end = at[i].end;
        else
            at[to++] = at[i];
    }
    c->out->n = to;
}

static int cut_regex(struct cutter *c, const struct tok_pre *p, const char *s,
                     struct tok_span span, struct err *e)
{
    const char *text = s + span.start;
    size_t len = span.end - span.start, from = 0, done = 0;
    struct tok_span m = {0, 0};
    while (from < len) {
        int rc = tok_regex_find(p->regex, c->x->regex, text, len, from, &m, e);
        if (rc < 0)
            return rc;
        if (rc == 0)
            break;
        put_flagged(c, span.start + done, span.start + m.start, false);
        put_flagged(c, span.start + m.start, span.start + m.end, true);
        done = from = m.end;
        if (m.start == m.end && from < len) { /* empty: look again after the next character */
            size_t n;
            utf8_at((const unsigned char *)text + from, &n);
            from += n;
        }
    }
    put_flagged(c, span.start + done, span.end, false);
    return 0;
}

static void cut_string(struct cutter *c, const char *needle, size_t n, const char *s,
                       struct tok_span span)
{
    size_t done = span.start;
    for (size_t i = span.start; n > 0 && i + n <= span.end;) {
        if (memcmp(s + i, needle, n) != 0) {
            i++;
            continue;
        }
        put_flagged(c, done, i, false);
        put_flagged(c, i, i + n, true);
        done = i += n;
    }
    put_flagged(c, done, span.end, false);
}

static void cut_digits(struct cutter *c, const char *s, struct tok_span span)
{
    size_t done = span.start, n;
    for (size_t i = span.start; i < span.end; i += n) {
        if (!uni_is_digit(utf8_at((const unsigned char *)s + i, &n)))
            continue;
        put_flagged(c, done, i, false);
        put_flagged(c, i, i + n, true);
        done = i + n;
    }
    put_flagged(c, done, span.end, false);
}

/* Copies the spans' text to a new place, each with a space before it. */
static void put_prefix_spaces(const struct tok_spans *in, struct tok_spans *out,
                              struct buf *text, const char *s, bool is_continued)
{
    for (size_t i = 0; i < in->n; i++) {
        size_t start = text->len;
        const char *p = s + in->at[i].start;
        if (*p != ' ' && !(is_continued && i == 0))
            buf_putc(text, ' ');
        buf_append(text, p, in->at[i].end - in->at[i].start);
        put_span(out, start, text->len);
    }
}

static void put_metaspaces(const struct tok_pre *p, struct cutter *c,
                           const struct tok_spans *in, struct buf *text, const char *s,
                           bool is_first, bool is_continued)
{
    char space[] = " ";
    struct tok_norm r = {.from = {space, 1, 1}, .to = p->string};
    for (size_t i = 0; i < in->n; i++) {
        size_t start = text->len, len = in->at[i].end - in->at[i].start;
        const char *from = s + in->at[i].start;
        bool is_start = is_first && in->at[i].start == 0;
        bool has_prefix = p->scheme == SCHEME_ALWAYS || (p->scheme == SCHEME_FIRST && is_start);
        bool is_there = *from == ' ' || (len >= p->string.len &&
                                         memcmp(from, p->string.data, p->string.len) == 0);
        if (has_prefix && !is_there && !(is_continued && is_start))
            buf_append(text, p->string.data, p->string.len);
        tok_replace(from, len, &r, text);
        c->first = c->out->n;
        if (!p->is_split) {
            put_span(c->out, start, text->len);
            continue;
        }
        cut_string(c, p->string.data, p->string.len, text->data,
                   (struct tok_span){start, text->len});
        settle(c);
    }
}

int tok_pretokenize(const struct tok *t, struct tok_scratch *x, bool is_first,
                    bool is_continued, const char **s, size_t len, int *which, struct err *e)
{
    int w = 0, text = 0, rc = 0;
    x->spans[0].n = 0;
    put_span(&x->spans[0], 0, len);
    for (size_t k = 0; k < t->n_pres; k++) {
        const struct tok_pre *p = &t->pres[k];
        const struct tok_spans *in = &x->spans[w];
        struct cutter c = {&x->spans[w ^ 1], x, p->behavior, p->is_inverted, 0};
        c.out->n = 0;
        if (p->kind == PRE_PREFIX_SPACE || p->kind == PRE_METASPACE) {
            struct buf *moved = &x->pre[text];
            moved->len = 0;
            if (p->kind == PRE_METASPACE)
                put_metaspaces(p, &c, in, moved, *s, is_first, is_continued);
            else
                put_prefix_spaces(in, c.out, moved, *s, is_continued);
            *s = buf_str(moved);
            text ^= 1;
            w ^= 1;
            continue;
        }
        for (size_t i = 0; i < in->n; i++) {
            c.first = c.out->n;
            if (p->scanner != SCAN_NONE)
                tok_scan(p->scanner, *s, in->at[i], c.out);
            else if (p->kind == PRE_STRING)
                cut_string(&c, p->string.data, p->string.len, *s, in->at[i]);
            else if (p->kind == PRE_DIGITS)
                cut_digits(&c, *s, in->at[i]);
            else
                rc = cut_regex(&c, p, *s, in->at[i], e);
            if (rc < 0)
                return rc;
            if (p->behavior != SPLIT_ISOLATED)
                settle(&c);
        }
        w ^= 1;
    }
    *which = w;
    return 0;
}
