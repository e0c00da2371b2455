/* SPDX-License-Identifier: MIT
 * tok_decode: ids to text; see tok.h.
 *
 * Bytes that are no UTF-8 (a model may stop amid a character) become U+FFFD as in `tokenizers`:
 * byte-level one for each broken sequence, byte fallback one for each byte of the run. */
#include "text/tok_priv.h"
#include "text/tok_uni.h"

#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"

static bool is_left_out(const struct tok *t, int32_t id, bool is_special_shown)
{
    return !is_special_shown && t->added_kind[id] == TOK_ADDED_SPECIAL;
}

/* Bytes of a name in the byte alphabet; a name that holds anything else is its own text. */
static void put_bytes(const char *s, size_t len, struct buf *out)
{
    size_t before = out->len, n;
    for (size_t i = 0; i < len; i += n) {
        int b = char_to_byte(utf8_at((const unsigned char *)s + i, &n));
        if (b < 0) {
            out->len = before;
            buf_append(out, s, len);
            return;
        }
        buf_putc(out, (char)b);
    }
}

static void put_lossy(const char *s, size_t len, struct buf *out)
{
    size_t done = 0, n_bad;
    for (size_t i = 0; i < len;) {
        size_t n = utf8_char((const unsigned char *)s + i, len - i, &n_bad);
        if (n) {
            i += n;
            continue;
        }
        buf_append(out, s + done, i - done);
        buf_puts(out, REPLACEMENT);
        done = i += n_bad;
    }
    buf_append(out, s + done, len - done);
}

/* The byte that "<0xNN>" names, or -1. */
static int fallback_byte(const char *s, size_t len)
{
    if (len != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>')
        return -1;
    char hex[] = {s[3], s[4], '\0'}, *end;
    long v = strtol(hex, &end, 16);
    return *end || hex[0] == '-' || hex[0] == '+' || hex[0] == ' ' ? -1 : (int)v;
}

static void flush_run(struct buf *run, struct buf *out)
{
    if (run->len && utf8_check(run->data, run->len) == run->len)
        buf_append(out, run->data, run->len);
    else
        for (size_t i = 0; i < run->len; i++)
            buf_puts(out, REPLACEMENT);
    run->len = 0;
}

static void put_replaced(const struct tok *t, const char *s, size_t len, struct buf *out)
{
    struct buf text[2] = {{0}, {0}};
    for (size_t i = 0; i < t->n_decode_replace; i++) {
        struct buf *to = &text[i & 1];
        to->len = 0;
        tok_replace(s, len, &t->decode_replace[i], to);
        s = buf_str(to);
        len = to->len;
    }
    buf_append(out, s, len);
    buf_free(&text[0]);
    buf_free(&text[1]);
}

static int decode_pieces(const struct tok *t, const int32_t *ids, size_t n,
                         bool is_special_shown, struct buf *out, struct err *e)
{
    struct buf run = {0}, text = {0};
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        size_t len;
        const char *s = tok_vocab_at(&t->names, ids[i], &len);
        if (!s)
            rc = err_set(e, ERR_RANGE, "id %d: no such token", ids[i]);
        if (!s || is_left_out(t, ids[i], is_special_shown))
            continue;
        int b = t->has_byte_fallback ? fallback_byte(s, len) : -1;
        if (b >= 0) {
            buf_putc(&run, (char)b);
            continue;
        }
        flush_run(&run, &text);
        put_replaced(t, s, len, &text);
    }
    flush_run(&run, &text);
    size_t start = 0;
    while (start < t->n_decode_strip && start < text.len && text.data[start] == ' ')
        start++;
    if (rc == 0 && text.len)
        buf_append(out, text.data + start, text.len - start);
    buf_free(&run);
    buf_free(&text);
    return rc;
}

static int decode_bytes(const struct tok *t, const int32_t *ids, size_t n,
                        bool is_special_shown, struct buf *out, struct err *e)
{
    struct buf text = {0};
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        size_t len;
        const char *s = tok_vocab_at(&t->names, ids[i], &len);
        if (!s)
            rc = err_set(e, ERR_RANGE, "id %d: no such token", ids[i]);
        else if (!is_left_out(t, ids[i], is_special_shown))
            put_bytes(s, len, &text);
    }
    if (rc == 0)
        put_lossy(text.data, text.len, out);
    buf_free(&text);
    return rc;
}

int tok_decode(const struct tok *t, const int32_t *ids, size_t n, bool is_special_shown,
               struct buf *out, struct err *e)
{
    return t->decoder == DECODE_BYTES ? decode_bytes(t, ids, n, is_special_shown, out, e)
                                      : decode_pieces(t, ids, n, is_special_shown, out, e);
}

/* Text of a token for a person: control characters and broken UTF-8 are escaped. */
static void put_shown(const char *s, size_t len, struct buf *out)
{
    size_t n, n_bad;
    for (size_t i = 0; i < len; i += n) {
        unsigned char c = (unsigned char)s[i];
        n = utf8_char((const unsigned char *)s + i, len - i, &n_bad);
        if (n == 0) {
            buf_printf(out, "<0x%02X>", c);
            n = 1;
        } else if (c == '\n' || c == '\t' || c == '\r') {
            buf_printf(out, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
        } else if (c < 0x20 || c == 0x7f) {
            buf_printf(out, "\\x%02x", c);
        } else {
            buf_append(out, s + i, n);
        }
    }
}

static void put_token(const struct tok *t, int32_t id, bool has_bytes, struct buf *out)
{
    size_t len;
    const char *s = tok_vocab_at(&t->names, id, &len);
    int b = s && has_bytes && t->has_byte_fallback ? fallback_byte(s, len) : -1;
    if (!s)
        return;
    if (t->added_kind[id] != TOK_PLAIN)
        buf_append(out, s, len);
    else if (t->decoder == DECODE_BYTES)
        put_bytes(s, len, out);
    else if (b >= 0)
        buf_putc(out, (char)b);
    else
        put_replaced(t, s, len, out);
}

void tok_text(const struct tok *t, int32_t id, struct buf *out)
{
    put_token(t, id, true, out);
}

void tok_plain(const struct tok *t, const char *s, size_t len, struct buf *out)
{
    struct tok_scratch *x = tok_scratch_take(t);
    tok_normalize(t, x, false, &s, &len);
    if (t->decoder == DECODE_BYTES)
        buf_append(out, s, len);
    else
        put_replaced(t, s, len, out);
    tok_scratch_give(t, x);
}

void tok_show(const struct tok *t, int32_t id, struct buf *out)
{
    size_t len;
    const char *s = tok_vocab_at(&t->names, id, &len);
    if (!s) {
        buf_printf(out, "<no token %d>", id);
        return;
    }
    struct buf text = {0};
    put_token(t, id, false, &text);
    put_shown(text.data, text.len, out);
    buf_free(&text);
}
