/* SPDX-License-Identifier: MIT
 * JSON as text: UTF-8, quoting, and the members of an object that is known to be valid. */
#include "data/dataset_json.h"

#include <limits.h>
#include <string.h>

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

/* ---- JSON as Python writes it ---- */

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           c == '-' || c == '+' || c == '.';
}

static bool is_text(const char *s, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(s, word, len) == 0;
}

/* A number, a name, or what only Python takes for a number. */
static void relax_word(struct buf *b, const char *s, size_t len, bool numbers_are_text)
{
    bool is_infinite = is_text(s, len, "Infinity") || is_text(s, len, "-Infinity");
    if (is_text(s, len, "NaN")) {
        buf_puts(b, "null");
    } else if (numbers_are_text && (is_infinite || *s == '-' || (*s >= '0' && *s <= '9'))) {
        buf_putc(b, '"');
        buf_append(b, s, len);
        buf_putc(b, '"');
    } else if (is_infinite) {
        buf_putc(b, '0');
    } else {
        buf_append(b, s, len);
    }
}

/* The text with its bare words made such as JSON knows; all else, line breaks too, stays. */
static void relax(struct buf *b, const char *s, size_t len, bool numbers_are_text)
{
    for (size_t i = 0, end; i < len; i = end) {
        end = i + 1;
        if (s[i] == '"') {
            end = skip_string(s, len, i);
            buf_append(b, s + i, end - i);
        } else if (is_word(s[i])) {
            while (end < len && is_word(s[end]))
                end++;
            relax_word(b, s + i, end - i, numbers_are_text);
        } else {
            buf_putc(b, s[i]);
        }
    }
}

static json_t *load_relaxed(const char *s, size_t len, size_t flags, bool numbers_are_text,
                            json_error_t *why)
{
    struct buf b = {0};
    relax(&b, s, len, numbers_are_text);
    json_t *v = json_loadb(buf_str(&b), b.len, flags, why);
    if (!v && (size_t)why->position >= b.len) /* where the text ends, in either */
        why->position = len < INT_MAX ? (int)len : INT_MAX;
    buf_free(&b);
    return v;
}

json_t *data_json_load(const char *s, size_t len, size_t flags, bool numbers_are_text,
                       json_error_t *why)
{
    json_t *v = json_loadb(s, len, flags, why);
    if (!v && json_error_code(why) == json_error_invalid_syntax)
        v = load_relaxed(s, len, flags, false, why);
    if (!v && json_error_code(why) == json_error_numeric_overflow)
        return load_relaxed(s, len, flags, true, why);
    if (v && numbers_are_text) {
        json_decref(v);
        v = load_relaxed(s, len, flags, true, why);
    }
    return v;
}

/* ---- members of an object ---- */

static size_t skip_value(const char *s, size_t len, size_t i)
{
    int64_t depth = 0;
    while (i < len) {
        char c = s[i];
        if (c == '"') {
            i = skip_string(s, len, i);
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}' || c == ']'))
            break;
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        i++;
    }
    return i;
}

bool data_member_is(const struct data_member *m, const char *name)
{
    if (!memchr(m->key, '\\', m->key_len))
        return is_text(m->key, m->key_len, name);
    struct buf key = {0};
    data_member_name(m, &key);
    bool is_it = is_text(key.data, key.len, name);
    buf_free(&key);
    return is_it;
}

void data_member_name(const struct data_member *m, struct buf *name)
{
    if (!memchr(m->key, '\\', m->key_len)) {
        buf_append(name, m->key, m->key_len);
        return;
    }
    json_t *s = json_loadb(m->key - 1, m->key_len + 2, JSON_DECODE_ANY, NULL); /* its quotes */
    buf_append(name, json_string_value(s), json_string_length(s));
    json_decref(s);
}

static void set_value(struct data_member *m, const char *raw, size_t i, size_t end)
{
    while (end > i && strchr(" \t\r\n", raw[end - 1]))
        end--;
    m->value = raw + i;
    m->value_len = end - i;
}

bool data_element_next(const char *raw, size_t raw_len, size_t *at, struct data_member *m)
{
    size_t i = skip_blanks(raw, raw_len, *at);
    if (i < raw_len && (raw[i] == '[' || raw[i] == ','))
        i = skip_blanks(raw, raw_len, i + 1);
    if (i >= raw_len || raw[i] == ']')
        return false;
    *m = (struct data_member){0};
    *at = skip_value(raw, raw_len, i);
    set_value(m, raw, i, *at);
    return true;
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
    *at = skip_value(raw, raw_len, i);
    set_value(m, raw, i, *at);
    return true;
}

const char *data_type_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "object";
    case JSON_ARRAY:
        return "array";
    case JSON_STRING:
        return "string";
    case JSON_INTEGER:
        return "integer";
    case JSON_REAL:
        return "number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "boolean";
    case JSON_NULL:
        break;
    }
    return "null";
}
