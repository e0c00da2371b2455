/* SPDX-License-Identifier: MIT
 * Where the records of a JSON array or of JSON lines begin and end.
 *
 * The scanner follows strings and nesting and counts lines; whether a slice is valid JSON is
 * decided when it is parsed. It looks at each byte once, but for those of a record that the
 * window cuts off, which is scanned again when more of it is there. */
#include "data/dataset_json.h"

#include <string.h>

struct scanner {
    const char *s;
    size_t len, at;
    int64_t line;
};

static struct scanner scanner_of(const struct data_split *s)
{
    return (struct scanner){s->text, s->len, s->at, s->line};
}

static void skip_space(struct scanner *c)
{
    for (; c->at < c->len; c->at++) {
        char x = c->s[c->at];
        if (x == '\n')
            c->line++;
        else if (x != ' ' && x != '\t' && x != '\r')
            break;
    }
}

enum scan { SCAN_WHOLE, SCAN_CUT, SCAN_LINE_BREAK };

/* From an opening quote to the byte after the closing one. */
static enum scan scan_string(struct scanner *c)
{
    const char *p = c->s + c->at + 1, *end = c->s + c->len;
    while (p < end && *p != '"' && *p != '\n')
        p += *p == '\\' && p + 1 < end && p[1] != '\n' ? 2 : 1;
    if (p < end && *p == '\n') {
        c->at = (size_t)(p - c->s);
        return SCAN_LINE_BREAK;
    }
    c->at = p < end ? (size_t)(p - c->s) + 1 : c->len;
    return p < end ? SCAN_WHOLE : SCAN_CUT;
}

/* One value: to its closing bracket, or, a scalar, to the next separator. */
static enum scan scan_value(struct scanner *c)
{
    int64_t depth = 0;
    while (c->at < c->len) {
        char x = c->s[c->at];
        if (x == '"') {
            enum scan r = scan_string(c);
            if (r != SCAN_WHOLE)
                return r;
            if (depth == 0)
                return SCAN_WHOLE;
            continue;
        }
        if (depth == 0 && (x == ',' || x == ']' || x == '}' || x == '\n' || x == ' '))
            return SCAN_WHOLE;
        c->at++;
        if (x == '{' || x == '[')
            depth++;
        else if (x == '\n')
            c->line++;
        else if ((x == '}' || x == ']') && --depth == 0)
            return SCAN_WHOLE;
    }
    return depth ? SCAN_CUT : SCAN_WHOLE;
}

/* Blanks up to the scanner are dealt with. */
static int take_blanks(struct data_split *s, const struct scanner *c, struct err *e)
{
    size_t n = c->at - s->at;
    s->at = c->at;
    s->line = c->line;
    return data_split_blank(s, n, e);
}

/* A slice that has no end. Where jansson finds something wrong before the end of the text, that
 * is the cause; else the text was cut. */
static int report_cut(const struct data_split *s, struct err *e)
{
    json_error_t why;
    long long number = s->n_before + s->n_slices;
    size_t len = s->len - s->at;
    json_t *v = data_json_load(s->text + s->at, len, JSON_DISABLE_EOF_CHECK, false, &why);
    json_decref(v);
    enum json_error_code code = json_error_code(&why);
    if (v || code == json_error_premature_end_of_input || (size_t)why.position >= len)
        return err_set(e, ERR_TRUNCATED,
                       "%s:%lld: record %lld: the file ends inside this record", s->name,
                       (long long)s->line, number);
    return err_set(e, ERR_FORMAT, "%s:%lld: record %lld: not valid JSON: %s", s->name,
                   (long long)(s->line + why.line - 1), number, why.text);
}

/* The value at s->at becomes the next slice: 1; 0: its end is not in this window. */
static int add_value(struct data_split *s, struct err *e)
{
    struct scanner scanner = scanner_of(s), *c = &scanner;
    switch (scan_value(c)) {
    case SCAN_CUT:
        return s->is_last ? report_cut(s, e) : 0;
    case SCAN_LINE_BREAK:
        return err_set(e, ERR_FORMAT,
                       "%s:%lld: record %lld: a string is not closed before the line ends",
                       s->name, (long long)c->line, (long long)(s->n_before + s->n_slices));
    case SCAN_WHOLE:
        break;
    }
    if (c->at == c->len && !s->is_last)
        return 0; /* a scalar may go on */
    if (c->at == s->at)
        return err_set(e, ERR_FORMAT, "%s:%lld: record %lld: expected a record, found '%c'",
                       s->name, (long long)s->line, (long long)(s->n_before + s->n_slices),
                       c->s[c->at]);
    data_split_add(s, s->at, c->at - s->at, s->base + (int64_t)s->at, s->line, NULL);
    s->at = c->at;
    s->line = c->line;
    return 1;
}

/* ---- arrays ---- */

/* The array is not as it should be at s->at. Brackets that do not match make the scanner cut
 * wrongly, so a last record that is not valid is the better explanation. */
static int report_array(const struct data_split *s, int code, const char *what, struct err *e)
{
    const struct data_slice *last = s->n_slices ? &s->slices[s->n_slices - 1] : NULL;
    if (last) {
        json_error_t why;
        json_t *v =
            data_json_load(s->text + last->offset, last->len, JSON_DECODE_ANY, false, &why);
        json_decref(v);
        if (!v && json_error_code(&why) == json_error_invalid_syntax)
            return err_set(e, ERR_FORMAT, "%s:%lld: record %lld: not valid JSON: %s", s->name,
                           (long long)(last->line + why.line - 1),
                           (long long)(s->n_before + s->n_slices) - 1, why.text);
    }
    return err_set(e, code, "%s:%lld: %s", s->name, (long long)s->line, what);
}

/* ', "key": value' after the array of a nested dataset: 1; 0: its end is not in this window. */
static int skip_member(struct data_split *s, struct err *e)
{
    struct scanner c = scanner_of(s);
    c.at++;
    for (int part = 0; part < 2; part++) {
        skip_space(&c);
        size_t from = c.at;
        enum scan r =
            part == 0 && c.at < c.len && c.s[c.at] != '"' ? SCAN_LINE_BREAK : scan_value(&c);
        if (r == SCAN_LINE_BREAK || (c.at < c.len && c.at == from))
            return report_array(s, ERR_FORMAT, "expected a member after ','", e);
        skip_space(&c);
        if (c.at >= c.len)
            return s->is_last
                       ? report_array(s, ERR_TRUNCATED, "the file ends inside an object", e)
                       : 0;
        if (part == 0 && c.s[c.at++] != ':')
            return report_array(s, ERR_FORMAT, "expected ':' after a member's name", e);
    }
    return take_blanks(s, &c, e) < 0 ? ERR_RANGE : 1;
}

/* One byte of punctuation, or a value, by the phase: 1; 0: more is needed; < 0: error. */
static int array_step(struct data_split *s, struct err *e)
{
    char x = s->text[s->at];
    bool is_end = x == ']' && (s->phase == PHASE_FIRST || s->phase == PHASE_COMMA);
    if (s->phase == PHASE_END)
        return report_array(s, ERR_FORMAT,
                            s->is_nested ? "text after the object's closing '}'"
                                         : "text after the array's closing ']'",
                            e);
    if (s->phase == PHASE_MEMBER && x == ',')
        return skip_member(s, e);
    if (s->phase == PHASE_MEMBER && x != '}')
        return report_array(s, ERR_FORMAT, "expected ',' or '}' after the array", e);
    if (!is_end && s->phase == PHASE_COMMA && x != ',')
        return report_array(s, ERR_FORMAT, "expected ',' or ']' after a record", e);
    if (is_end || s->phase == PHASE_MEMBER || s->phase == PHASE_COMMA) {
        s->at++;
        s->phase = s->phase == PHASE_MEMBER ? PHASE_END
                   : !is_end                ? PHASE_VALUE
                   : s->is_nested           ? PHASE_MEMBER
                                            : PHASE_END;
        return 1;
    }
    int rc = add_value(s, e);
    if (rc > 0)
        s->phase = PHASE_COMMA;
    return rc;
}

int data_split_array(struct data_split *s, struct err *e)
{
    for (int rc = 1; rc > 0;) {
        struct scanner c = scanner_of(s);
        skip_space(&c);
        rc = take_blanks(s, &c, e);
        if (rc == 0 && s->at < s->len)
            rc = array_step(s, e);
        if (rc < 0)
            return rc;
    }
    if (!s->is_last || s->phase == PHASE_END)
        return 0;
    return report_array(s, ERR_TRUNCATED,
                        s->phase == PHASE_MEMBER
                            ? "the file ends before the object's closing '}'"
                            : "the file ends before the array's closing ']'",
                        e);
}

/* ---- lines and streams ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* A line without the blanks around it: [*from, returned). */
static size_t trim(const char *p, size_t len, size_t *from)
{
    size_t n = len;
    for (*from = 0; *from < n && is_blank(p[*from]);)
        ++*from;
    while (n > *from && is_blank(p[n - 1]))
        n--;
    return n;
}

/* One record a line; blank lines are passed over. */
int data_split_lines(struct data_split *s, struct err *e)
{
    while (s->at < s->len) {
        const char *p = s->text + s->at, *nl = memchr(p, '\n', s->len - s->at);
        if (!nl && !s->is_last)
            return 0;
        size_t len = nl ? (size_t)(nl - p) : s->len - s->at, from, end = trim(p, len, &from);
        int64_t place = s->base + (int64_t)(s->at + from);
        if (end > from)
            data_split_add(s, s->at + from, end - from, place, s->line, NULL);
        s->at += len + (nl != NULL);
        s->line += nl != NULL;
        int rc = end > from ? 0 : data_split_blank(s, len + 1, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Objects one after another that span lines, as `jq .` prints them. */
int data_split_stream(struct data_split *s, struct err *e)
{
    for (int rc = 1; rc > 0;) {
        struct scanner c = scanner_of(s);
        skip_space(&c);
        rc = take_blanks(s, &c, e);
        if (rc == 0 && s->at < s->len)
            rc = add_value(s, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

bool data_spans_lines(const struct data_split *s)
{
    size_t i = s->at;
    if (i >= s->len || s->text[i] != '{')
        return false;
    for (i++; i < s->len && is_blank(s->text[i]);)
        i++;
    return i < s->len && s->text[i] == '\n';
}

/* The members up to "data". What is a record of its own is no nested dataset: then its object
 * is followed by another, or reads as one (which the caller tries, with `end`). */
bool data_find_nested(const struct data_split *s, size_t *at, int64_t *line)
{
    struct scanner c = scanner_of(s);
    if (c.at >= c.len || c.s[c.at++] != '{')
        return false;
    for (;;) {
        skip_space(&c);
        size_t key = c.at;
        if (c.at >= c.len || c.s[c.at] != '"' || scan_string(&c) != SCAN_WHOLE)
            return false;
        bool is_data = c.at - key == 6 && memcmp(c.s + key, "\"data\"", 6) == 0;
        skip_space(&c);
        if (c.at >= c.len || c.s[c.at++] != ':')
            return false;
        skip_space(&c);
        if (is_data && c.at < c.len && c.s[c.at] == '[')
            break;
        if (scan_value(&c) != SCAN_WHOLE)
            return false;
        skip_space(&c);
        if (c.at >= c.len || c.s[c.at++] != ',')
            return false;
    }
    *at = c.at++;
    *line = c.line;
    skip_space(&c);
    if (c.at < c.len && c.s[c.at] != '{' && c.s[c.at] != ']')
        return false;
    struct scanner whole = scanner_of(s);
    if (scan_value(&whole) != SCAN_WHOLE || whole.at >= whole.len)
        return true;
    skip_space(&whole);
    return whole.at >= whole.len;
}

size_t data_scan_again(enum data_phase phase, const char *text, size_t len, bool is_last)
{
    if (phase == PHASE_LINES) {
        const char *nl = memchr(text, '\n', len);
        size_t from;
        return nl || is_last ? trim(text, nl ? (size_t)(nl - text) : len, &from) : 0;
    }
    struct scanner c = {text, len, 0, 1};
    bool is_whole = scan_value(&c) == SCAN_WHOLE && (c.at < len || is_last);
    return is_whole ? c.at : 0;
}
