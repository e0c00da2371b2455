/* SPDX-License-Identifier: MIT
 *
 * text: UTF-8, JSON strings, numbers and amounts as text, and text made safe to print.
 *
 * The one place for each: every other module calls these. Nothing here depends on the locale
 * (no RAISE program calls setlocale, so printf and strtod use the C locale's point).
 */
#ifndef RAISE_BASE_TEXT_H
#define RAISE_BASE_TEXT_H

#include "base/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the well-formed UTF-8 character at s (RFC 3629: no overlong form, no surrogate,
 * nothing above U+10FFFF), or 0. *n_bad is then the number of bytes that one replacement
 * character stands for (the maximal prefix of a character, at least 1). */
size_t utf8_char(const unsigned char *s, size_t len, size_t *n_bad);
/* Offset of the first byte that is not part of well-formed UTF-8; `len` when all is well. */
size_t utf8_check(const char *s, size_t len);
/* Length of the white space character that begins at s (Unicode's, as Python's strip()); 0: it
 * is none. */
size_t utf8_space(const unsigned char *s, size_t left);
/* The character at p, which must be well-formed; *len is its length in bytes. */
static inline uint32_t utf8_at(const unsigned char *p, size_t *len)
{
    uint32_t c = p[0];
    if (c < 0x80) {
        *len = 1;
        return c;
    }
    if (c < 0xe0) {
        *len = 2;
        return (c & 0x1f) << 6 | (p[1] & 0x3fu);
    }
    if (c < 0xf0) {
        *len = 3;
        return (c & 0xf) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    }
    *len = 4;
    return (c & 7) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
}

/* Appends s as a JSON string with its quotes. Only what JSON demands is escaped; a byte that is
 * not UTF-8 becomes U+FFFD. */
void text_json_string(struct buf *b, const char *s, size_t len);

/* Appends s as it may be shown on a terminal or in a message: characters that steer a terminal
 * (C0, DEL, C1) or reorder what is read (bidirectional controls, U+2028, U+2029), and bytes
 * that are not UTF-8, become \n, \t, \r, \x1b or \u202e. All else stays, in any locale. */
void text_printable(struct buf *b, const char *s, size_t len);

/* A number as the shortest decimal that reads back as the same value of its type: 0.7f is 0.7,
 * not 0.699999988. "nan", "inf", "-inf" where it is none. (Numbers too small for a full
 * mantissa keep the digits that others of their type never need more of.) Into a caller's
 * buffer of at least TEXT_REAL bytes; returns it. */
enum { TEXT_REAL = 32 };
enum text_type { TEXT_HALF = 3, TEXT_FLOAT = 6, TEXT_DOUBLE = 15 }; /* digits that come back */
char *text_real(char *dst, double v, enum text_type type);
void text_put_real(struct buf *b, double v, enum text_type type); /* the same, appended */

/* "1.5 GiB", "12.3M", "1h02m": into a caller's buffer of at least TEXT_AMOUNT bytes; returns
 * it.
 */
enum { TEXT_AMOUNT = 32 };
char *text_bytes(char *dst, int64_t n);
char *text_count(char *dst, double n);
char *text_duration(char *dst, double seconds);

/* "s" but for 1: "%d record%s". */
static inline const char *text_s(int64_t n)
{
    return n == 1 ? "" : "s";
}

double text_clock(void); /* monotonic clock, in seconds, for such durations */

#endif
