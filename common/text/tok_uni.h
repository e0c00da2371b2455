/* SPDX-License-Identifier: MIT
 *
 * tok_uni: what tokenizers need to know about characters. Internal to text/.
 *
 * The classes are those of Unicode 16, which is what Hugging Face's `tokenizers` uses. The
 * system's PCRE2 and utf8proc are often older, so the characters that came since Unicode 14 are
 * listed here and added to what those libraries know: ids do not depend on their versions.
 */
#ifndef RAISE_TEXT_TOK_UNI_H
#define RAISE_TEXT_TOK_UNI_H

#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Start of the character that ends before p (p > the text's start, valid UTF-8). */
static inline const unsigned char *utf8_before(const unsigned char *p)
{
    do
        p--;
    while ((*p & 0xc0) == 0x80);
    return p;
}

/* Writes c, a valid code point; returns the number of bytes, 1 to 4. */
size_t utf8_put(uint32_t c, char *dst);

enum uni_class { UNI_OTHER, UNI_LETTER, UNI_NUMBER, UNI_SPACE };
/* \p{L}, \p{N}, White_Space (what \s means to `tokenizers`), or none of them. */
enum uni_class uni_class(uint32_t c);

/* \w to Rust's regexes, which look for whole words among added tokens: letters, marks, digits,
 * letter-like numbers and symbols, connectors, joiners. */
bool uni_is_word(uint32_t c);
/* What \w is to Oniguruma besides the categories L, M, Nd, Nl and Pc: circled and squared
 * letters, and Latin-1's superscripts and fractions. */
#define UNI_WORD_SYMBOLS                                                                       \
    "\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"       \
    "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
/* What the pre-tokenizer Digits takes apart: Rust's char::is_numeric, of Unicode 17. */
bool uni_is_digit(uint32_t c);

/* Appends to a character class of a regex the characters newer than Unicode 14 whose general
 * category is `category` ("L", "Nd"; one or two letters). */
void uni_append_new(struct buf *out, const char *category, size_t len);

/* GPT-2's byte alphabet: byte b is written as code point byte_to_char(b). */
uint32_t byte_to_char(unsigned char b);
int char_to_byte(uint32_t c); /* -1: not in the alphabet */

#endif
