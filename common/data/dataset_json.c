/* SPDX-License-Identifier: MIT
 * JSON as text: UTF-8, quoting, and the members of an object that is known to be valid. */
#include "data/dataset_json.h"

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

static size_t skip_value(const char *s, size_t len, size_t i)
{
    int64_t depth = 0;
    while (i < len) {
        char c = s[i];
        if (c == '"') {
            i = skip_string(s, len, i);
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}'))
            break;
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        i++;
    }
    return i;
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
    end = skip_value(raw, raw_len, i);
    *at = end;
    while (end > i && strchr(" \t\r\n", raw[end - 1]))
        end--;
    m->value = raw + i;
    m->value_len = end - i;
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
