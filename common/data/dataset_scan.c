/* SPDX-License-Identifier: MIT
 * Where the records of a JSON array or of JSON lines begin and end.
 *
 * The scanner follows strings and nesting and counts lines; whether a slice is valid JSON is
 * decided when it is parsed. It keeps to one pass and looks at each byte once. */
#include "data/dataset_json.h"

#include <string.h>

struct scanner {
    const char *s;
    size_t len, at;
    int64_t line;
};

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

/* A slice that has no end. Where jansson finds something wrong before the end of the text, that
 * is the cause; else the text was cut. */
static int report_cut(const struct data_split *s, size_t from, int64_t line, int64_t source,
                      struct err *e)
{
    json_error_t why;
    json_t *v =
        data_json_load(s->text + from, s->len - from, JSON_DISABLE_EOF_CHECK, false, &why);
    json_decref(v);
    enum json_error_code code = json_error_code(&why);
    if (v || code == json_error_premature_end_of_input || (size_t)why.position >= s->len - from)
        return err_set(e, ERR_TRUNCATED,
                       "%s:%lld: record %lld: the file ends inside this record", s->name,
                       (long long)line, (long long)source);
    return err_set(e, ERR_FORMAT, "%s:%lld: record %lld: not valid JSON: %s", s->name,
                   (long long)(line + why.line - 1), (long long)source, why.text);
}

/* The value at the scanner becomes the next slice. */
static int add_value(struct data_split *s, struct scanner *c, struct err *e)
{
    size_t from = c->at;
    int64_t line = c->line;
    switch (scan_value(c)) {
    case SCAN_CUT:
        return report_cut(s, from, line, s->n_slices, e);
    case SCAN_LINE_BREAK:
        return err_set(e, ERR_FORMAT,
                       "%s:%lld: record %lld: a string is not closed before the line ends",
                       s->name, (long long)c->line, (long long)s->n_slices);
    case SCAN_WHOLE:
        break;
    }
    if (c->at == from)
        return err_set(e, ERR_FORMAT, "%s:%lld: record %lld: expected a record, found '%c'",
                       s->name, (long long)line, (long long)s->n_slices, c->s[c->at]);
    data_split_add(s, from, c->at - from, line, NULL);
    return 0;
}

/* The array is not as it should be at the scanner. Brackets that do not match make the scanner
 * cut wrongly, so a last record that is not valid is the better explanation. */
static int report_array(const struct data_split *s, const struct scanner *c, int code,
                        const char *what, struct err *e)
{
    const struct data_slice *last = s->n_slices ? &s->slices[s->n_slices - 1] : NULL;
    if (last) {
        json_error_t why;
        json_t *v =
            data_json_load(s->text + last->offset, last->len, JSON_DECODE_ANY, false, &why);
        json_decref(v);
        if (!v && json_error_code(&why) == json_error_invalid_syntax)
            return err_set(e, ERR_FORMAT, "%s:%lld: record %lld: not valid JSON: %s", s->name,
                           (long long)(last->line + why.line - 1), (long long)s->n_slices - 1,
                           why.text);
    }
    return err_set(e, code, "%s:%lld: %s", s->name, (long long)c->line, what);
}

int data_split_array(struct data_split *s, size_t at, int64_t line, struct err *e)
{
    struct scanner scanner = {s->text, s->len, at, line}, *c = &scanner;
    c->at++; /* '[' */
    skip_space(c);
    bool is_closed = c->at < c->len && c->s[c->at] == ']';
    while (!is_closed && c->at < c->len) {
        int rc = add_value(s, c, e);
        if (rc < 0)
            return rc;
        skip_space(c);
        if (c->at >= c->len)
            break;
        is_closed = c->s[c->at] == ']';
        if (!is_closed && c->s[c->at] != ',')
            return report_array(s, c, ERR_FORMAT, "expected ',' or ']' after a record", e);
        if (!is_closed) {
            c->at++;
            skip_space(c);
        }
    }
    if (!is_closed)
        return report_array(s, c, ERR_TRUNCATED, "the file ends before the array's closing ']'",
                            e);
    c->at++;
    skip_space(c);
    if (c->at < c->len)
        return report_array(s, c, ERR_FORMAT, "text after the array's closing ']'", e);
    return 0;
}

/* One record a line; blank lines are passed over. */
static void split_lines(struct data_split *s, struct scanner *c)
{
    while (c->at < c->len) {
        const char *p = c->s + c->at, *nl = memchr(p, '\n', c->len - c->at);
        size_t len = nl ? (size_t)(nl - p) : c->len - c->at, from = 0, n = len;
        while (from < n && strchr(" \t\r", p[from]) && p[from])
            from++;
        while (n > from && strchr(" \t\r", p[n - 1]) && p[n - 1])
            n--;
        if (n > from)
            data_split_add(s, c->at + from, n - from, c->line, NULL);
        c->at += len + (nl != NULL);
        c->line++;
    }
}

/* Objects one after another that span lines, as `jq .` prints them. */
static int split_stream(struct data_split *s, struct scanner *c, struct err *e)
{
    for (skip_space(c); c->at < c->len; skip_space(c)) {
        int rc = add_value(s, c, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* An opening brace alone on its line: the object was printed over several. */
static bool spans_lines(const struct scanner *c)
{
    size_t i = c->at;
    if (i >= c->len || c->s[i] != '{')
        return false;
    for (i++; i < c->len && strchr(" \t\r", c->s[i]) && c->s[i]; i++)
        ;
    return i < c->len && c->s[i] == '\n';
}

int data_split_lines(struct data_split *s, size_t at, int64_t line, struct err *e)
{
    struct scanner c = {s->text, s->len, at, line};
    if (spans_lines(&c))
        return split_stream(s, &c, e);
    split_lines(s, &c);
    return 0;
}
