/* SPDX-License-Identifier: MIT
 * text: UTF-8, JSON strings, numbers and amounts as text; see text.h. */
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- UTF-8 ---- */

size_t utf8_char(const unsigned char *s, size_t len, size_t *n_bad)
{
    *n_bad = 1;
    if (len == 0)
        return 0;
    unsigned char c = s[0];
    if (c < 0x80)
        return 1;
    size_t n = c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (n == 0)
        return 0;
    /* The second byte's range excludes overlong forms, surrogates and what is past U+10FFFF. */
    unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    unsigned char high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    for (size_t i = 1; i < n; i++) {
        *n_bad = i;
        if (i >= len || s[i] < low || s[i] > high)
            return 0;
        low = 0x80, high = 0xbf;
    }
    return n;
}

size_t utf8_check(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t i = 0, n_bad;
    while (i < len) {
        if (i + 8 <= len) { /* eight bytes of ASCII at once */
            uint64_t w;
            memcpy(&w, p + i, 8);
            if (!(w & UINT64_C(0x8080808080808080))) {
                i += 8;
                continue;
            }
        }
        size_t n = utf8_char(p + i, len - i, &n_bad);
        if (n == 0)
            return i;
        i += n;
    }
    return len;
}

size_t utf8_space(const unsigned char *s, size_t left)
{
    if (left >= 1 &&
        (s[0] == ' ' || (s[0] >= 9 && s[0] <= 13) || (s[0] >= 0x1c && s[0] <= 0x1f)))
        return 1;
    if (left >= 2 && s[0] == 0xc2 && (s[1] == 0x85 || s[1] == 0xa0))
        return 2;
    if (left < 3)
        return 0;
    uint32_t c = (uint32_t)(s[0] & 0xf) << 12 | (uint32_t)(s[1] & 0x3f) << 6 | (s[2] & 0x3f);
    bool is_space =
        (s[0] & 0xf0) == 0xe0 && (c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
                                  c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000);
    return is_space ? 3 : 0;
}

/* ---- strings ---- */

static void put_json_escape(struct buf *b, unsigned char c)
{
    static const char letters[] = "btnvfr"; /* of 8 to 13; \v is not JSON */
    if (c == '"' || c == '\\')
        buf_printf(b, "\\%c", c);
    else if (c >= 8 && c <= 13 && c != 11)
        buf_printf(b, "\\%c", letters[c - 8]);
    else
        buf_printf(b, "\\u%04x", c);
}

void text_json_string(struct buf *b, const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t from = 0, n_bad;
    buf_putc(b, '"');
    for (size_t i = 0; i < len;) {
        size_t n = utf8_char(p + i, len - i, &n_bad);
        if (n > 1 || (n == 1 && p[i] >= 0x20 && p[i] != '"' && p[i] != '\\')) {
            i += n;
            continue;
        }
        buf_append(b, s + from, i - from);
        if (n)
            put_json_escape(b, p[i]);
        else
            buf_puts(b, "\xEF\xBF\xBD");
        i++;
        from = i;
    }
    buf_append(b, s + from, len - from);
    buf_putc(b, '"');
}

static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x61c || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

static void put_visible(struct buf *b, uint32_t c)
{
    if (c == '\n' || c == '\t' || c == '\r')
        buf_printf(b, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
    else
        buf_printf(b, c < 0x80 ? "\\x%02x" : "\\u%04x", (unsigned)c);
}

void text_printable(struct buf *b, const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t from = 0, n_bad;
    for (size_t i = 0; i < len;) {
        size_t n = utf8_char(p + i, len - i, &n_bad), n_c;
        if (n && !is_control(utf8_at(p + i, &n_c))) {
            i += n;
            continue;
        }
        buf_append(b, s + from, i - from);
        if (n)
            put_visible(b, utf8_at(p + i, &n_c));
        else
            buf_printf(b, "\\x%02x", p[i]);
        i += n ? n : 1;
        from = i;
    }
    buf_append(b, s + from, len - from);
}

/* ---- numbers ---- */

/* Decimals of so few digits always come back from a number of that type, so none shorter is
 * missed; nine (a float) and seventeen are always enough. */
char *text_real(char *dst, double v, enum text_type type)
{
    bool is_float = type != TEXT_DOUBLE;
    int most = is_float ? 9 : 17;
    if (isnan(v)) { /* without its sign */
        memcpy(dst, "nan", 4);
        return dst;
    }
    for (int digits = (int)type;; digits++) {
        snprintf(dst, TEXT_REAL, "%.*g", digits, v);
        if (digits >= most ||
            (is_float ? strtof(dst, NULL) == (float)v : strtod(dst, NULL) == v))
            return dst;
    }
}

void text_put_real(struct buf *b, double v, enum text_type type)
{
    char text[TEXT_REAL];
    buf_puts(b, text_real(text, v, type));
}

char *text_bytes(char *dst, int64_t n)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)n;
    int u = 0;
    while (v >= 1024 && u < 4) {
        v /= 1024;
        u++;
    }
    snprintf(dst, TEXT_AMOUNT, u ? "%.1f %s" : "%.0f %s", v, unit[u]);
    return dst;
}

char *text_count(char *dst, double n)
{
    static const char *const unit[] = {"", "k", "M", "G", "T"};
    int u = 0;
    while (n >= 10000 && u < 4) {
        n /= 1000;
        u++;
    }
    snprintf(dst, TEXT_AMOUNT, u || n < 100 ? "%.4g%s" : "%.0f%s", n, unit[u]);
    return dst;
}

char *text_duration(char *dst, double seconds)
{
    if (!(seconds >= 0 && seconds < 1e9))
        snprintf(dst, TEXT_AMOUNT, "?");
    else if (seconds < 100)
        snprintf(dst, TEXT_AMOUNT, "%.1fs", seconds);
    else if (seconds < 6000)
        snprintf(dst, TEXT_AMOUNT, "%dm%02ds", (int)seconds / 60, (int)seconds % 60);
    else
        snprintf(dst, TEXT_AMOUNT, "%dh%02dm", (int)(seconds / 3600), (int)(seconds / 60) % 60);
    return dst;
}

double text_clock(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}
