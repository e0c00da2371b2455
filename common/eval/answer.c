/* SPDX-License-Identifier: MIT
 * answer: see answer.h. The expressions are small enough to be followed by hand; each function
 * names the one that it is. */
#include "eval/answer.h"

#include "base/mem.h"

#include <string.h>

static const struct answer none = {"[invalid]", 9};
static const char mark[] = "#### ";
enum { N_MARK = sizeof mark - 1 };

static bool is_of(const char *set, char c)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* Characters of `set` from text[at] on. */
static size_t run_of(const char *set, const char *text, size_t at, size_t len)
{
    size_t n = 0;
    while (at + n < len && is_of(set, text[at + n]))
        n++;
    return n;
}

static bool has_mark(const char *text, size_t at, size_t len)
{
    return at + N_MARK <= len && memcmp(text + at, mark, N_MARK) == 0;
}

struct answer answer_strict(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!has_mark(text, i, len))
            continue;
        size_t at = i + N_MARK, sign = at < len && text[at] == '-';
        size_t n = run_of("0123456789.,", text, at + sign, len);
        if (n)
            return (struct answer){text + at, sign + n};
    }
    return none;
}

/* (-?[$0-9.,]{2,})|(-?[0-9]+) from text[at] on: the length, 0 without a match. The second can
 * only match where the first does not: at one digit. */
static size_t flexible_at(const char *text, size_t at, size_t len)
{
    size_t sign = text[at] == '-', n = run_of("$0123456789.,", text, at + sign, len);
    if (n >= 2)
        return sign + n;
    return run_of("0123456789", text, at + sign, len) == 1 ? sign + 1 : 0;
}

struct answer answer_flexible(const char *text, size_t len)
{
    struct answer last = none;
    size_t n;
    for (size_t i = 0; i < len; i += n ? n : 1) {
        n = flexible_at(text, i, len);
        if (n)
            last = (struct answer){text + i, n};
    }
    return last;
}

static void put_normal(struct buf *b, const char *s, size_t len)
{
    struct buf plain = {0};
    size_t from = 0;
    for (size_t i = 0; i < len; i++)
        if (s[i] != ',' && s[i] != '$')
            buf_putc(&plain, s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] - 'A' + 'a') : s[i]);
    for (size_t i = 0; i < plain.len; i++)
        if (has_mark(plain.data, i, plain.len))
            from = i + N_MARK;
    size_t end = plain.len - (plain.len > from && plain.data[plain.len - 1] == '\n');
    bool is_stop = end > from && plain.data[end - 1] == '.'; /* "$" is before a last newline */
    if (plain.len > from)
        buf_append(b, plain.data + from, (is_stop ? end - 1 : end) - from);
    if (end < plain.len)
        buf_putc(b, '\n');
    buf_free(&plain);
}

bool answer_is(struct answer a, const char *b, size_t len)
{
    struct buf x = {0}, y = {0};
    put_normal(&x, a.text, a.len);
    put_normal(&y, b, len);
    bool is = x.len == y.len && (x.len == 0 || memcmp(x.data, y.data, x.len) == 0);
    buf_free(&x);
    buf_free(&y);
    return is;
}
