/* SPDX-License-Identifier: MIT
 * Tokens of a template, with Jinja's rules on white space: a line break behind a block goes
 * (trim_blocks), so do blanks before a block that begins its line (lstrip_blocks), `-` takes
 * all white space on its side, `+` keeps it; the file's last line break is no part of it. */
#include "base/text.h"
#include "jinja/jinja_priv.h"

#include <stdlib.h>
#include <string.h>

struct lexer {
    struct jinja *t;
    const char *s;
    size_t len, i;
    int line;
    struct jx_token *tokens;
    size_t n, cap;
    bool is_line_start; /* what went before ended with a line break, or nothing did */
    struct err *e;
};

static int bad(struct lexer *x, const char *what)
{
    return err_set(x->e, ERR_FORMAT, "%s:%d: %s", x->t->name, x->line, what);
}

static void add(struct lexer *x, enum jx_token_kind kind, const char *s, size_t len, int op)
{
    MEM_GROW(x->tokens, x->cap, x->n + 1);
    x->tokens[x->n++] = (struct jx_token){.kind = kind,
                                          .line = x->line,
                                          .op = op,
                                          .len = len,
                                          .s = s ? arena_strndup(&x->t->arena, s, len) : NULL};
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' ||
           (unsigned char)c >= 0x80;
}

static char at(const struct lexer *x, size_t i)
{
    return i < x->len ? x->s[i] : '\0';
}

static void move_to(struct lexer *x, size_t to)
{
    for (; x->i < to; x->i++)
        x->line += x->s[x->i] == '\n';
}

/* ---- inside a block ---- */

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void put_utf8(struct buf *b, uint32_t u)
{
    if (u < 0x80) {
        buf_putc(b, (char)u);
    } else if (u < 0x800) {
        buf_putc(b, (char)(0xc0 | u >> 6));
        buf_putc(b, (char)(0x80 | (u & 0x3f)));
    } else {
        if (u < 0x10000) {
            buf_putc(b, (char)(0xe0 | u >> 12));
        } else {
            buf_putc(b, (char)(0xf0 | u >> 18));
            buf_putc(b, (char)(0x80 | (u >> 12 & 0x3f)));
        }
        buf_putc(b, (char)(0x80 | (u >> 6 & 0x3f)));
        buf_putc(b, (char)(0x80 | (u & 0x3f)));
    }
}

/* \xHH, \uHHHH, \UHHHHHHHH, \ooo at s (behind the backslash); how many bytes were read, 0: no
 * such escape. */
static size_t numeric_escape(const char *s, size_t len, uint32_t *u)
{
    size_t n = s[0] == 'x' ? 2 : s[0] == 'u' ? 4 : s[0] == 'U' ? 8 : 0, i;
    *u = 0;
    if (n == 0) {
        for (i = 0; i < 3 && i < len && s[i] >= '0' && s[i] <= '7'; i++)
            *u = *u * 8 + (uint32_t)(s[i] - '0');
        return i;
    }
    if (len < n + 1)
        return 0;
    for (i = 1; i <= n; i++) {
        int v = hex_value(s[i]);
        if (v < 0)
            return 0;
        *u = *u * 16 + (uint32_t)v;
    }
    return *u && *u < 0x110000 && (*u & 0x1ff800) != 0xd800 ? n + 1 : 0;
}

static void unescape(const char *s, size_t len, struct buf *b)
{
    static const char from[] = "ntr\\'\"abfv", to[] = "\n\t\r\\'\"\a\b\f\v";
    for (size_t i = 0; i < len; i++) {
        const char *p;
        uint32_t u = 0;
        size_t n;
        if (s[i] != '\\' || i + 1 == len) {
            buf_putc(b, s[i]);
        } else if ((p = strchr(from, s[i + 1])) && *p) {
            buf_putc(b, to[p - from]);
            i++;
        } else if (s[i + 1] == '\n') {
            i++;
        } else if ((n = numeric_escape(s + i + 1, len - i - 1, &u)) > 0) {
            put_utf8(b, u);
            i += n;
        } else {
            buf_putc(b, s[i]);
        }
    }
}

static int lex_string(struct lexer *x)
{
    size_t end = x->i + 1;
    while (end < x->len && x->s[end] != x->s[x->i])
        end += x->s[end] == '\\' ? 2 : 1;
    if (end >= x->len)
        return bad(x, "a text without its closing quote");
    struct buf b = {0};
    unescape(x->s + x->i + 1, end - x->i - 1, &b);
    add(x, JT_STRING, buf_str(&b), b.len, 0);
    buf_free(&b);
    move_to(x, end + 1);
    return 0;
}

static void lex_number(struct lexer *x)
{
    size_t i = x->i;
    bool is_real = false, is_index = x->n && x->tokens[x->n - 1].op == '.';
    while (is_digit(at(x, i)) || (at(x, i) == '_' && is_digit(at(x, i + 1))))
        i++;
    if (!is_index && at(x, i) == '.' && is_digit(at(x, i + 1))) {
        is_real = true;
        for (i++; is_digit(at(x, i));)
            i++;
    }
    size_t exponent = i + (at(x, i + 1) == '+' || at(x, i + 1) == '-');
    if (!is_index && (at(x, i) | 0x20) == 'e' && is_digit(at(x, exponent + 1))) {
        is_real = true;
        for (i = exponent + 1; is_digit(at(x, i));)
            i++;
    }
    char *text = mem_strndup(x->s + x->i, i - x->i), *to = text;
    for (const char *p = text; *p; p++)
        if (*p != '_')
            *to++ = *p;
    add(x, is_real ? JT_REAL : JT_INT, text, (size_t)(to - text), 0);
    free(text);
    x->i = i;
}

/* One token of an expression; *nesting counts open brackets. */
static int lex_one(struct lexer *x, int *nesting)
{
    static const char pairs[] = "==!=<=>=//**", singles[] = "+-*/%~<>=()[]{},.:|";
    char c = x->s[x->i];
    if (c == '"' || c == '\'')
        return lex_string(x);
    if (is_digit(c)) {
        lex_number(x);
        return 0;
    }
    if (is_name_char(c)) {
        size_t end = x->i;
        while (is_name_char(at(x, end)))
            end++;
        add(x, JT_NAME, x->s + x->i, end - x->i, 0);
        x->i = end;
        return 0;
    }
    for (size_t k = 0; k < sizeof pairs - 1; k += 2)
        if (c == pairs[k] && at(x, x->i + 1) == pairs[k + 1]) {
            add(x, JT_OP, x->s + x->i, 2, pairs[k] | pairs[k + 1] << 8);
            x->i += 2;
            return 0;
        }
    if (!strchr(singles, c))
        return bad(x, "a character that no expression has");
    *nesting += strchr("([{", c) ? 1 : strchr(")]}", c) ? -1 : 0;
    add(x, JT_OP, &x->s[x->i++], 1, c);
    return 0;
}

/* The end of a block or a value at x->i: its length, and the sign before it. */
static size_t end_at(const struct lexer *x, char mark, char *sign)
{
    char c = at(x, x->i);
    *sign = (c == '-' || c == '+') && at(x, x->i + 1) == mark && at(x, x->i + 2) == '}' ? c : 0;
    if (*sign && !(*sign == '+' && mark == '}'))
        return 3;
    *sign = 0;
    return c == mark && at(x, x->i + 1) == '}' ? 2 : 0;
}

/* White space behind what ends here, by the sign before the end. */
static void trim_behind(struct lexer *x, char sign, bool is_trimmed)
{
    size_t to = x->i;
    if (sign == '-')
        while (to < x->len && is_space(x->s[to]))
            to++;
    else if (is_trimmed && sign != '+' && at(x, to) == '\n')
        to++;
    x->is_line_start = to > 0 && x->s[to - 1] == '\n';
    move_to(x, to);
}

static int lex_inside(struct lexer *x, char mark)
{
    int nesting = 0, rc = 0;
    for (size_t n; rc == 0;) {
        char sign;
        while (x->i < x->len && is_space(x->s[x->i]))
            move_to(x, x->i + 1);
        if (x->i >= x->len)
            return bad(x, mark == '%' ? "a block without its %}" : "a value without its }}");
        if (nesting == 0 && (n = end_at(x, mark, &sign)) > 0) {
            add(x, mark == '%' ? JT_BLOCK_END : JT_PRINT_END, NULL, 0, 0);
            x->i += n;
            trim_behind(x, sign, mark == '%');
            return 0;
        }
        rc = lex_one(x, &nesting);
        if (rc == 0 && nesting < 0)
            rc = bad(x, "a closing bracket that nothing opened");
    }
    return rc;
}

/* ---- between blocks ---- */

/* Text up to `end`, where something begins with that sign; is_value: with {{. */
static void add_data(struct lexer *x, size_t end, char sign, bool is_value)
{
    size_t to = end, line = end;
    while (line > x->i && x->s[line - 1] != '\n')
        line--;
    if (sign == '-') {
        while (to > x->i && is_space(x->s[to - 1]))
            to--;
    } else if (sign != '+' && !is_value && (line > x->i || x->is_line_start)) {
        size_t k = line;
        while (k < end && (x->s[k] == ' ' || x->s[k] == '\t'))
            k++;
        if (k == end)
            to = line;
    }
    if (to > x->i)
        add(x, JT_DATA, x->s + x->i, to - x->i, 0);
    move_to(x, end);
}

static size_t find_text(const struct lexer *x, size_t from, const char *what)
{
    size_t n = strlen(what);
    for (size_t i = from; i + n <= x->len; i++)
        if (memcmp(x->s + i, what, n) == 0)
            return i;
    return x->len;
}

static int skip_comment(struct lexer *x)
{
    size_t end = find_text(x, x->i + 2, "#}");
    if (end == x->len)
        return bad(x, "a comment without its #}");
    char sign = end > x->i + 2 ? x->s[end - 1] : 0;
    move_to(x, end + 2);
    trim_behind(x, sign, true);
    return 0;
}

/* "{%- name -%}" at i: the byte behind it, 0: it is not. */
static size_t tag_at(const struct lexer *x, size_t i, const char *name, char *before,
                     char *after)
{
    size_t n = strlen(name);
    if (at(x, i) != '{' || at(x, i + 1) != '%')
        return 0;
    i += 2;
    *before = at(x, i);
    i += *before == '-' || *before == '+';
    while (is_space(at(x, i)))
        i++;
    if (i + n > x->len || memcmp(x->s + i, name, n) != 0)
        return 0;
    i += n;
    while (is_space(at(x, i)))
        i++;
    *after = at(x, i);
    i += *after == '-' || *after == '+';
    return at(x, i) == '%' && at(x, i + 1) == '}' ? i + 2 : 0;
}

static int lex_raw(struct lexer *x, size_t from, char sign)
{
    char before, after;
    x->i = from;
    trim_behind(x, sign, true);
    for (size_t i = x->i; i < x->len; i++) {
        size_t end = tag_at(x, i, "endraw", &before, &after);
        if (!end)
            continue;
        add_data(x, i, before, false);
        move_to(x, end);
        trim_behind(x, after, true);
        return 0;
    }
    return bad(x, "a raw block without its end");
}

static int lex_text(struct lexer *x)
{
    size_t i = x->i;
    while (i < x->len && !(x->s[i] == '{' && at(x, i + 1) && strchr("{%#", at(x, i + 1))))
        i++;
    char mark = at(x, i + 1), sign = at(x, i + 2), before, after;
    if (i >= x->len) {
        add_data(x, x->len, '+', true);
        return 0;
    }
    add_data(x, i, sign, mark == '{');
    if (mark == '#')
        return skip_comment(x);
    size_t raw = mark == '%' ? tag_at(x, i, "raw", &before, &after) : 0;
    if (raw)
        return lex_raw(x, raw, after);
    add(x, mark == '%' ? JT_BLOCK_BEGIN : JT_PRINT_BEGIN, NULL, 0, 0);
    x->i = i + 2 + (sign == '-' || sign == '+');
    return lex_inside(x, mark == '%' ? '%' : '}');
}

int jx_lex(struct jinja *t, const char *text, size_t len, struct jx_token **tokens,
           struct err *e)
{
    struct buf b = {0}; /* with line breaks of one kind */
    for (size_t i = 0; i < len; i++)
        if (text[i] != '\r')
            buf_putc(&b, text[i]);
        else if (i + 1 == len || text[i + 1] != '\n')
            buf_putc(&b, '\n');
    (void)buf_str(&b);
    struct lexer x = {
        .t = t, .s = b.data, .len = b.len, .line = 1, .is_line_start = true, .e = e};
    if (x.len > 0 && x.s[x.len - 1] == '\n')
        x.len--;
    int rc = 0;
    while (rc == 0 && x.i < x.len)
        rc = lex_text(&x);
    add(&x, JT_END, NULL, 0, 0);
    buf_free(&b);
    *tokens = x.tokens;
    return rc;
}
