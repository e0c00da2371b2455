/* SPDX-License-Identifier: MIT
 * tok_scan: the two best known pre-tokenizer regexes by hand; see tok_priv.h.
 *
 * GPT-2's regex, and the one that Llama 3, Qwen and many others share (with one digit a word or
 * up to three), match at every character, and which alternative does is decided by the classes
 * of one or two characters. So a scanner walks through the text. Its words are those of PCRE2
 * with the same pattern, which a unit test compares on random text. */
#include "text/tok_priv.h"
#include "text/tok_uni.h"

#include <string.h>

#define WORDS(digits)                                                                          \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits                       \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

const char TOK_REGEX_GPT2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char TOK_REGEX_LLAMA3[] = WORDS("\\p{N}{1,3}");
const char TOK_REGEX_QWEN2[] = WORDS("\\p{N}");

enum tok_scanner tok_scanner_of(const char *pattern)
{
    static const char *const PATTERNS[] = {TOK_REGEX_GPT2, TOK_REGEX_LLAMA3, TOK_REGEX_QWEN2};
    for (int i = 0; i < 3; i++)
        if (strcmp(pattern, PATTERNS[i]) == 0)
            return (enum tok_scanner)(SCAN_GPT2 + i);
    return SCAN_NONE;
}

/* enum uni_class of ASCII, with a class of its own for the end of a text. */
enum { UNI_END = UNI_SPACE + 1 };
static const unsigned char ASCII_CLASS[128] = {
#define O UNI_OTHER
#define L UNI_LETTER
#define N UNI_NUMBER
#define S UNI_SPACE
    O, O, O, O, O, O, O, O, O, S, S, S, S, S, O, O, /* 00: tab to carriage return */
    O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, /* 10 */
    S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, /* 20 */
    N, N, N, N, N, N, N, N, N, N, O, O, O, O, O, O, /* 30 */
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, /* 40 */
    L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O, /* 50 */
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, /* 60 */
    L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O, /* 70 */
#undef O
#undef L
#undef N
#undef S
};

/* Class of the character at p and its length; UNI_END and 0 at the end. */
static inline int class_at(const unsigned char *p, const unsigned char *end, size_t *n)
{
    *n = 0;
    if (p == end)
        return UNI_END;
    *n = 1;
    return *p < 0x80 ? ASCII_CLASS[*p] : (int)uni_class(utf8_at(p, n));
}

/* End of the run of one class that starts at p. */
static inline const unsigned char *run_end(const unsigned char *p, const unsigned char *end,
                                           int class)
{
    size_t n;
    while (class_at(p, end, &n) == class)
        p += n;
    return p;
}

static bool is_line_end(unsigned char c)
{
    return c == '\n' || c == '\r';
}

/* Length of 's 't 're 've 'm 'll 'd at p, or 0. A long s is an s when case does not count. */
static size_t contraction(const unsigned char *p, const unsigned char *end, bool is_caseless)
{
    size_t left = (size_t)(end - p);
    if (left < 2 || p[0] != '\'')
        return 0;
    unsigned char fold = is_caseless ? 0x20 : 0, a = p[1] | fold;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    if (left < 3)
        return 0;
    if (is_caseless && p[1] == 0xc5 && p[2] == 0xbf)
        return 3;
    unsigned char b = p[2] | fold;
    return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* \s+(?!\S)|\s+: all of a run at the end of the text; else all but its last character, which
 * may go with what follows; or that one alone. Before them, has_lines: \s*[\r\n]+. */
static const unsigned char *spaces(const unsigned char *p, const unsigned char *end,
                                   bool has_lines)
{
    const unsigned char *start = p, *last = p, *line = NULL;
    size_t n;
    while (class_at(p, end, &n) == UNI_SPACE) {
        last = p;
        if (is_line_end(*p))
            line = p;
        p += n;
    }
    if (has_lines && line)
        return line + 1;
    return p == end || last == start ? p : last;
}

static const unsigned char *next_gpt2(const unsigned char *p, const unsigned char *end)
{
    size_t n, skip = contraction(p, end, false);
    if (skip)
        return p + skip;
    int class = class_at(p, end, &n);
    if (*p == ' ') {
        int after = class_at(p + 1, end, &n);
        if (after != UNI_SPACE && after != UNI_END)
            return run_end(p + 1, end, after);
    }
    return class == UNI_SPACE ? spaces(p, end, false) : run_end(p, end, class);
}

static const unsigned char *next_llama3(const unsigned char *p, const unsigned char *end,
                                        int max_digits)
{
    size_t n, n_after, skip = contraction(p, end, true);
    if (skip)
        return p + skip;
    int class = class_at(p, end, &n);
    if (class == UNI_LETTER)
        return run_end(p, end, UNI_LETTER);
    if (class == UNI_NUMBER) {
        for (int i = 0; i < max_digits && class_at(p, end, &n) == UNI_NUMBER; i++)
            p += n;
        return p;
    }
    int after = class_at(p + n, end, &n_after);
    if (after == UNI_LETTER && !is_line_end(*p))
        return run_end(p + n, end, UNI_LETTER);
    if (class == UNI_SPACE && (*p != ' ' || after != UNI_OTHER))
        return spaces(p, end, true);
    p = run_end(p + (class == UNI_SPACE), end, UNI_OTHER);
    while (p < end && is_line_end(*p))
        p++;
    return p;
}

void tok_scan(enum tok_scanner scanner, const char *s, struct tok_span span,
              struct tok_spans *out)
{
    const unsigned char *start = (const unsigned char *)s, *p = start + span.start;
    const unsigned char *end = start + span.end;
    while (p < end) {
        const unsigned char *q = scanner == SCAN_GPT2     ? next_gpt2(p, end)
                                 : scanner == SCAN_LLAMA3 ? next_llama3(p, end, 3)
                                                          : next_llama3(p, end, 1);
        if (out->n == out->cap)
            MEM_GROW(out->at, out->cap, out->n + 1);
        out->at[out->n++] = (struct tok_span){(size_t)(p - start), (size_t)(q - start)};
        p = q;
    }
}
