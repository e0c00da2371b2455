/* SPDX-License-Identifier: MIT
 * tok_regex: Oniguruma's patterns run by PCRE2; see tok_priv.h.
 *
 * `tokenizers` runs the patterns of tokenizer.json with Oniguruma in its Ruby syntax. PCRE2
 * reads nearly all of it alike; what it reads differently is translated (\s, which in PCRE2
 * takes U+180E; \w; \d and general categories, which lack the newest characters; \u1234; ^ and
 * $; {1,3}+, which is possessive in PCRE2 and a plain repetition in Ruby) or, where that is not
 * worth its while, refused by name. */
#include "base/mem.h"
#include "text/tok_priv.h"
#include "text/tok_uni.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

struct tok_regex {
    pcre2_code *code;
};

struct tok_regex_state {
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* White_Space, as the inside of a character class. */
#define SPACES "\\x{9}-\\x{d}\\x{20}\\x{85}\\p{Z}"

enum { MAX_DEPTH = 64, MAX_PATTERN = 1 << 16 };

struct translator {
    const char *p, *end;
    struct buf out;
    size_t atom; /* where in `out` the last atom starts: what a quantifier repeats */
    size_t open[MAX_DEPTH];
    int depth;
    bool is_in_class;
};

static int refuse(const char *what, struct err *e)
{
    return err_set(e, ERR_UNSUPPORTED, "regex: %s is not supported", what);
}

/* A set of characters, as a class of its own or as part of the one we are in. */
static void put_set(struct translator *x, bool is_negated, const char *inside)
{
    if (x->is_in_class)
        buf_puts(&x->out, inside);
    else
        buf_printf(&x->out, "[%s%s]", is_negated ? "^" : "", inside);
}

/* \p{...} and \P{...}, p at the brace. General categories get the newest characters. */
static int property(struct translator *x, bool is_negated, struct err *e)
{
    const char *close =
        x->p < x->end && *x->p == '{' ? memchr(x->p, '}', (size_t)(x->end - x->p)) : NULL;
    if (!close)
        return refuse("\\p without braces", e);
    const char *name = x->p + 1;
    if (*name == '^') {
        is_negated = !is_negated;
        name++;
    }
    size_t len = (size_t)(close - name);
    x->p = close + 1;
    if (is_negated && x->is_in_class)
        return refuse("a negated property in a class", e);
    struct buf set = {0};
    buf_printf(&set, "\\p{%.*s}", (int)len, name);
    uni_append_new(&set, name, len);
    put_set(x, is_negated, buf_str(&set));
    buf_free(&set);
    return 0;
}

/* \d, \w and their opposites. */
static int word_or_digit(struct translator *x, char c, struct err *e)
{
    static const char *const WORD[] = {"L", "M", "Nd", "Nl", "Pc"};
    bool is_negated = c == 'D' || c == 'W', is_word = c == 'w' || c == 'W';
    if (is_negated && x->is_in_class)
        return refuse("\\D or \\W in a class", e);
    struct buf set = {0};
    for (size_t i = 0; i < sizeof WORD / sizeof WORD[0]; i++)
        if (is_word || strcmp(WORD[i], "Nd") == 0) {
            buf_printf(&set, "\\p{%s}", WORD[i]);
            uni_append_new(&set, WORD[i], strlen(WORD[i]));
        }
    if (is_word)
        buf_puts(&set, UNI_WORD_SYMBOLS);
    put_set(x, is_negated, buf_str(&set));
    buf_free(&set);
    return 0;
}

/* \uXXXX */
static int unicode_escape(struct translator *x, struct err *e)
{
    for (int i = 0; i < 4; i++)
        if (x->end - x->p <= i || !isxdigit((unsigned char)x->p[i]))
            return refuse("\\u without four hexadecimal digits", e);
    buf_printf(&x->out, "\\x{%.4s}", x->p);
    x->p += 4;
    return 0;
}

static int escape(struct translator *x, struct err *e)
{
    if (++x->p >= x->end)
        return err_set(e, ERR_FORMAT, "regex: ends with a backslash");
    char c = *x->p++;
    if (c == 's') {
        put_set(x, false, SPACES);
    } else if (c == 'S' && x->is_in_class) {
        buf_puts(&x->out, "\\S\\x{180e}"); /* the one character that PCRE2 calls a space */
    } else if (c == 'S') {
        put_set(x, true, SPACES);
    } else if (c == 'p' || c == 'P') {
        return property(x, c == 'P', e);
    } else if (tolower((unsigned char)c) == 'd' || tolower((unsigned char)c) == 'w') {
        return word_or_digit(x, c, e);
    } else if (c == 'u') {
        return unicode_escape(x, e);
    } else if (strchr("nrtfaexAz", c) || ispunct((unsigned char)c)) {
        buf_printf(&x->out, "\\%c", c); /* \x{1F} and \x1F: the digits follow by themselves */
    } else {
        char what[] = {'\\', c, '\0'};
        return refuse(what, e);
    }
    return 0;
}

/* A whole [...], p at the bracket. */
static int class(struct translator *x, struct err *e)
{
    x->is_in_class = true;
    buf_putc(&x->out, *x->p++);
    if (x->p < x->end && *x->p == '^')
        buf_putc(&x->out, *x->p++);
    int rc = 0;
    while (rc == 0 && x->p < x->end && *x->p != ']') {
        if (*x->p == '[')
            rc = refuse("a class inside a class", e);
        else if (*x->p == '&' && x->end - x->p > 1 && x->p[1] == '&')
            rc = refuse("&& in a class", e);
        else if (*x->p == '\\')
            rc = escape(x, e);
        else
            buf_putc(&x->out, *x->p++);
    }
    x->is_in_class = false;
    if (rc == 0 && x->p >= x->end)
        return err_set(e, ERR_FORMAT, "regex: a [ without its ]");
    if (rc == 0)
        buf_putc(&x->out, *x->p++);
    return rc;
}

/* After "(": ?:, ?=, ?!, ?<=, ?<!, ?> and ?i: mean the same in both. */
static int group(struct translator *x, struct err *e)
{
    static const char *const KNOWN[] = {"?:", "?=", "?!", "?<=", "?<!", "?>", "?i:", "?-i:"};
    if (x->depth == MAX_DEPTH)
        return err_set(e, ERR_RANGE, "regex: more than %d groups inside each other", MAX_DEPTH);
    x->open[x->depth++] = x->out.len;
    bool is_first = x->out.len == 0;
    buf_putc(&x->out, *x->p++);
    if (x->p >= x->end || *x->p != '?')
        return 0;
    size_t left = (size_t)(x->end - x->p);
    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++) {
        size_t n = strlen(KNOWN[i]);
        if (n <= left && memcmp(x->p, KNOWN[i], n) == 0) {
            buf_append(&x->out, x->p, n);
            x->p += n;
            return 0;
        }
    }
    if (is_first && left >= 3 && memcmp(x->p, "?i)", 3) == 0) {
        buf_puts(&x->out, "?i"); /* elsewhere its reach differs */
        x->p += 2;
        return 0;
    }
    return refuse("a group of this kind", e);
}

/* "{...}" right after an atom. Ruby's {n,m}+ repeats the repetition. */
static void interval(struct translator *x)
{
    const char *q = x->p + 1;
    while (q < x->end && (isdigit((unsigned char)*q) || *q == ','))
        q++;
    if (q >= x->end || *q != '}' || q == x->p + 1) { /* a plain brace */
        x->atom = x->out.len;
        buf_puts(&x->out, "\\{");
        x->p++;
        return;
    }
    if (x->p[1] == ',') /* {,n}: plain text in PCRE2 before 10.43 */
        buf_puts(&x->out, "{0"), x->p++;
    buf_append(&x->out, x->p, (size_t)(q + 1 - x->p));
    x->p = q + 1;
    if (x->p >= x->end || *x->p != '+')
        return;
    size_t len = x->out.len - x->atom;
    char *atom = mem_strndup(x->out.data + x->atom, len);
    x->out.len = x->atom;
    buf_printf(&x->out, "(?:%s)+", atom);
    x->p++;
    free(atom);
}

static int translate(struct translator *x, struct err *e)
{
    int rc = 0;
    while (rc == 0 && x->p < x->end) {
        size_t start = x->out.len;
        if (!strchr("*+?{)", *x->p))
            x->atom = start;
        if (*x->p == '\\') {
            rc = escape(x, e);
        } else if (*x->p == '[') {
            rc = class(x, e);
        } else if (*x->p == '(') {
            rc = group(x, e);
        } else if (*x->p == '{') {
            interval(x);
        } else {
            if (*x->p == ')' && x->depth > 0)
                x->atom = x->open[--x->depth];
            buf_putc(&x->out, *x->p++);
        }
    }
    return rc;
}

static int compile(struct tok_regex *r, struct buf *pattern, struct err *e)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context)
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    r->code = pcre2_compile((PCRE2_SPTR)buf_str(pattern), pattern->len,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_AUTO_CAPTURE,
                            &code, &at, context);
    pcre2_compile_context_free(context);
    if (r->code) {
        (void)pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* without it: only slower */
        return 0;
    }
    PCRE2_UCHAR why[128] = "";
    pcre2_get_error_message(code, why, sizeof why);
    return err_set(e, ERR_FORMAT, "regex: %s", (const char *)why);
}

int tok_regex_new(struct tok_regex **r, const char *pattern, struct err *e)
{
    struct translator x = {.p = pattern, .end = pattern + strlen(pattern)};
    int rc = x.end - x.p > MAX_PATTERN
                 ? err_set(e, ERR_RANGE, "regex: longer than %d bytes", MAX_PATTERN)
                 : translate(&x, e);
    *r = mem_zalloc(1, sizeof **r);
    if (rc == 0)
        rc = compile(*r, &x.out, e);
    buf_free(&x.out);
    if (rc < 0) {
        tok_regex_free(*r);
        *r = NULL;
        err_prefix(e, "\"%.200s\"", pattern);
    }
    return rc;
}

void tok_regex_free(struct tok_regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    free(r);
}

struct tok_regex_state *tok_regex_state_new(void)
{
    enum { STACK_MIN = 32 << 10, STACK_MAX = 8 << 20 };
    struct tok_regex_state *x = mem_zalloc(1, sizeof *x);
    x->match = pcre2_match_data_create(1, NULL);
    x->context = pcre2_match_context_create(NULL);
    x->stack = pcre2_jit_stack_create(STACK_MIN, STACK_MAX, NULL);
    if (x->context && x->stack)
        pcre2_jit_stack_assign(x->context, NULL, x->stack);
    return x;
}

void tok_regex_state_free(struct tok_regex_state *x)
{
    if (!x)
        return;
    pcre2_jit_stack_free(x->stack);
    pcre2_match_context_free(x->context);
    pcre2_match_data_free(x->match);
    free(x);
}

int tok_regex_find(const struct tok_regex *r, struct tok_regex_state *x, const char *s,
                   size_t len, size_t from, struct tok_span *m, struct err *e)
{
    PCRE2_SPTR text = (PCRE2_SPTR)s;
    /* Patterns that tokenizers use take a few tries a byte; one that takes exponentially many
     * is stopped in a fraction of a second, not in PCRE2's ten million tries a match. */
    enum { TRIES_A_BYTE = 100, TRIES_MIN = 100000, TRIES_MAX = 10000000 };
    size_t tries =
        (len - from) > TRIES_MAX / TRIES_A_BYTE ? TRIES_MAX : (len - from) * TRIES_A_BYTE;
    pcre2_set_match_limit(x->context, tries < TRIES_MIN ? TRIES_MIN : (uint32_t)tries);
    int rc = pcre2_match(r->code, text, len, from, PCRE2_NO_UTF_CHECK, x->match, x->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(r->code, text, len, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, x->match,
                         x->context);
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc < 0) {
        PCRE2_UCHAR why[128] = "";
        pcre2_get_error_message(rc, why, sizeof why);
        return err_set(e, ERR_RANGE, "byte %zu: pre-tokenizer: %s", from, (const char *)why);
    }
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(x->match);
    *m = (struct tok_span){at[0], at[1]};
    return 1;
}
