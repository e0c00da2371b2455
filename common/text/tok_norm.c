/* SPDX-License-Identifier: MIT
 * tok_norm: normalizers; see tok_priv.h.
 *
 * The normal forms are utf8proc's. Most text needs none of that work: NFC and NFKC leave ASCII
 * alone, and NFC all below U+0300. An ASCII character starts afresh (nothing composes with what
 * stands before it), so a text is cut before each, and only the stretches that
 * hold something else are decomposed. */
#include "text/tok_priv.h"
#include "text/tok_uni.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

static utf8proc_option_t form_options(enum tok_norm_kind kind)
{
    int o = UTF8PROC_STABLE;
    o |= kind == NORM_NFC || kind == NORM_NFKC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    o |= kind == NORM_NFKC || kind == NORM_NFKD ? UTF8PROC_COMPAT : 0;
    return (utf8proc_option_t)o;
}

/* One stretch in a normal form, appended to out. utf8proc fails only on text that is not UTF-8
 * or on sizes that do not fit in memory; then the text stays as it is. */
static void put_form(struct tok_scratch *x, enum tok_norm_kind kind, const char *s, size_t len,
                     struct buf *out)
{
    utf8proc_option_t o = form_options(kind);
    const utf8proc_uint8_t *u = (const utf8proc_uint8_t *)s;
    MEM_GROW(x->chars, x->chars_cap, len * 4 + 1);
    utf8proc_ssize_t n = utf8proc_decompose(u, (utf8proc_ssize_t)len, x->chars,
                                            (utf8proc_ssize_t)x->chars_cap - 1, o);
    if (n >= (utf8proc_ssize_t)x->chars_cap) { /* compatibility forms may grow 18-fold */
        MEM_GROW(x->chars, x->chars_cap, n + 1);
        n = utf8proc_decompose(u, (utf8proc_ssize_t)len, x->chars, n, o);
    }
    if (n >= 0)
        n = utf8proc_reencode(x->chars, n, o);
    if (n >= 0)
        buf_append(out, x->chars, (size_t)n);
    else
        buf_append(out, s, len);
}

/* Bytes below this one never need work in the form. */
static unsigned char quick_byte(enum tok_norm_kind kind)
{
    return kind == NORM_NFC ? 0xcc : 0x80;
}

static bool needs_form(enum tok_norm_kind kind, const char *s, size_t len)
{
    unsigned char quick = quick_byte(kind);
    unsigned char top = 0;
    for (size_t i = 0; i < len; i++) /* without a branch, so that it is vectorised */
        top = (unsigned char)s[i] > top ? (unsigned char)s[i] : top;
    return top >= quick;
}

static void put_forms(struct tok_scratch *x, enum tok_norm_kind kind, const char *s, size_t len,
                      struct buf *out)
{
    size_t done = 0; /* s[0..done) is in out */
    for (size_t i = 0; i < len;) {
        size_t start = i++;
        while (i < len && (unsigned char)s[i] >= 0x80)
            i++;
        if (i - start == 1 || !needs_form(kind, s + start, i - start))
            continue;
        buf_append(out, s + done, start - done);
        put_form(x, kind, s + start, i - start, out);
        done = i;
    }
    buf_append(out, s + done, len - done);
}

void tok_replace(const char *s, size_t len, const struct tok_norm *r, struct buf *out)
{
    const char *end = s + len;
    size_t n = r->from.len;
    while (n > 0 && (size_t)(end - s) >= n) {
        const char *hit = memchr(s, r->from.data[0], (size_t)(end - s) - n + 1);
        if (!hit)
            break;
        bool is_hit = n == 1 || memcmp(hit, r->from.data, n) == 0;
        buf_append(out, s, (size_t)(hit - s));
        buf_append(out, is_hit ? r->to.data : hit, is_hit ? r->to.len : 1);
        s = hit + (is_hit ? n : 1);
    }
    buf_append(out, s, (size_t)(end - s));
}

void tok_normalize(const struct tok *t, struct tok_scratch *x, bool has_prefix, const char **s,
                   size_t *len)
{
    int which = 0;
    for (size_t i = 0; i < t->n_norms; i++) {
        const struct tok_norm *r = &t->norms[i];
        struct buf *out = &x->norm[which];
        out->len = 0;
        switch (r->kind) {
        case NORM_PREPEND:
            if (!has_prefix || *len == 0)
                continue;
            buf_append(out, r->to.data, r->to.len);
            buf_append(out, *s, *len);
            break;
        case NORM_REPLACE:
            tok_replace(*s, *len, r, out);
            break;
        case NORM_NFC:
        case NORM_NFD:
        case NORM_NFKC:
        case NORM_NFKD:
            if (!needs_form(r->kind, *s, *len))
                continue;
            put_forms(x, r->kind, *s, *len, out);
            break;
        }
        *s = buf_str(out);
        *len = out->len;
        which ^= 1;
    }
}

void tok_norms_free(struct tok_norm *n, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_free(&n[i].from);
        buf_free(&n[i].to);
    }
    free(n);
}
