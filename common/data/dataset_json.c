/* SPDX-License-Identifier: MIT
 * JSON as text: UTF-8, quoting, and the members of an object that is known to be valid. */
#include "data/dataset_impl.h"

#include <string.h>

/* Length of the well-formed sequence at s, 0 when there is none (RFC 3629's table). */
static size_t utf8_sequence(const unsigned char *s, size_t left)
{
    unsigned char c = s[0], lo = 0x80, hi = 0xbf;
    size_t n = c >= 0xc2 && c <= 0xdf   ? 2
               : (c & 0xf0) == 0xe0     ? 3
               : c >= 0xf0 && c <= 0xf4 ? 4
                                        : 0;
    if (n == 0 || n > left)
        return 0;
    if (c == 0xe0)
        lo = 0xa0; /* overlong */
    else if (c == 0xed)
        hi = 0x9f; /* surrogates */
    else if (c == 0xf0)
        lo = 0x90; /* overlong */
    else if (c == 0xf4)
        hi = 0x8f; /* above U+10FFFF */
    if (s[1] < lo || s[1] > hi)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

size_t data_utf8_check(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t i = 0;
    while (i < len) {
        uint64_t word;
        while (i + 8 <= len) { /* eight ASCII bytes at a time */
            memcpy(&word, p + i, 8);
            if (word & UINT64_C(0x8080808080808080))
                break;
            i += 8;
        }
        if (i < len && p[i] < 0x80) {
            i++;
        } else if (i < len) {
            size_t n = utf8_sequence(p + i, len - i);
            if (n == 0)
                return i;
            i += n;
        }
    }
    return len;
}

void data_json_quote(struct buf *b, const char *s, size_t len)
{
    static const char letters[] = "btnvfr"; /* of 8 to 13; \v is not JSON */
    buf_putc(b, '"');
    size_t from = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_append(b, s + from, i - from);
        from = i + 1;
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c >= 8 && c <= 13 && c != 11)
            buf_printf(b, "\\%c", letters[c - 8]);
        else
            buf_printf(b, "\\u%04x", c);
    }
    buf_append(b, s + from, len - from);
    buf_putc(b, '"');
}

static size_t skip_blanks(const char *s, size_t len, size_t i)
{
    while (i < len && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r'))
        i++;
    return i;
}

/* From an opening quote to the byte after the closing one. */
static size_t skip_string(const char *s, size_t len, size_t i)
{
    for (i++; i < len && s[i] != '"'; i++)
        if (s[i] == '\\')
            i++;
    return i < len ? i + 1 : len;
}

static size_t skip_value(const char *s, size_t len, size_t i)
{
    int64_t depth = 0;
    while (i < len) {
        char c = s[i];
        if (c == '"') {
            i = skip_string(s, len, i);
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}'))
            break;
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        i++;
    }
    return i;
}

bool data_member_next(const char *raw, size_t raw_len, size_t *at, struct data_member *m)
{
    size_t i = skip_blanks(raw, raw_len, *at);
    if (i < raw_len && (raw[i] == '{' || raw[i] == ','))
        i = skip_blanks(raw, raw_len, i + 1);
    if (i >= raw_len || raw[i] != '"')
        return false;
    size_t end = skip_string(raw, raw_len, i);
    m->key = raw + i + 1;
    m->key_len = end - i - 2;
    i = skip_blanks(raw, raw_len, end);
    if (i >= raw_len || raw[i] != ':')
        return false;
    i = skip_blanks(raw, raw_len, i + 1);
    end = skip_value(raw, raw_len, i);
    *at = end;
    while (end > i && strchr(" \t\r\n", raw[end - 1]))
        end--;
    m->value = raw + i;
    m->value_len = end - i;
    return true;
}
