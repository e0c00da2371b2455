/* SPDX-License-Identifier: MIT
 * Lists of messages: OpenAI's {role, content} and ShareGPT's {from, value}, message by message.
 */
#include "data/dataset_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    enum data_role role;
} role_names[] = {
    {"user", DATA_USER},         {"human", DATA_USER},      {"assistant", DATA_ASSISTANT},
    {"gpt", DATA_ASSISTANT},     {"model", DATA_ASSISTANT}, {"function_call", DATA_ASSISTANT},
    {"chatgpt", DATA_ASSISTANT}, {"system", DATA_SYSTEM},   {"developer", DATA_SYSTEM},
    {"tool", DATA_TOOL},         {"function", DATA_TOOL},   {"observation", DATA_TOOL},
    {"bing", DATA_ASSISTANT},    {"bard", DATA_ASSISTANT},  {"bot", DATA_ASSISTANT},
};

static int find_role(struct builder *b, const json_t *name, const char *path,
                     enum data_role *role)
{
    const char *s = json_string_value(name);
    for (size_t i = 0; i < sizeof role_names / sizeof *role_names; i++)
        if (strcasecmp(s, role_names[i].name) == 0) {
            *role = role_names[i].role;
            return 0;
        }
    return err_set(b->e, ERR_FORMAT,
                   "\"%s\" is \"%.40s\", expected system, user, assistant or tool "
                   "(or human, gpt, observation, function_call)",
                   path, s);
}

static bool is_text_type(const char *type)
{
    return !strcmp(type, "text") || !strcmp(type, "input_text") || !strcmp(type, "output_text");
}

/* Content as OpenAI's list of parts: only parts of text can be used. A text may stand alone. */
static int join_parts(struct builder *b, const json_t *list, const char *path, struct buf *text)
{
    size_t i;
    const json_t *part;
    json_array_foreach(list, i, part)
    {
        if (json_is_null(part))
            continue;
        const json_t *type = json_object_get(part, "type"), *s = json_object_get(part, "text");
        if (json_is_string(part)) {
            buf_append(text, json_string_value(part), json_string_length(part));
            continue;
        }
        if (!json_is_object(part))
            return err_set(b->e, ERR_FORMAT, "field \"%s[%zu]\" is %s, expected object", path,
                           i, data_type_name(part));
        if (json_is_string(type) && !is_text_type(json_string_value(type)))
            return err_set(b->e, ERR_UNSUPPORTED,
                           "\"%s[%zu]\" is of type \"%.40s\": only text can be used", path, i,
                           json_string_value(type));
        if (!json_is_string(s))
            return err_set(b->e, ERR_FORMAT, "\"%s[%zu].text\" is missing or no string", path,
                           i);
        buf_append(text, json_string_value(s), json_string_length(s));
    }
    return 0;
}

/* The content of one message, kept in the arena. */
static int get_content(struct builder *b, const json_t *v, const char *path, const char **text,
                       size_t *len)
{
    struct buf joined = {0};
    int rc = 0;
    if (json_is_array(v)) {
        rc = join_parts(b, v, path, &joined);
        *len = joined.len;
        *text = arena_strndup(b->arena, buf_str(&joined), joined.len);
    } else {
        const json_t *s = NULL;
        rc = build_string(b, v, path, &s);
        if (rc == 0) {
            *len = json_string_length(s);
            *text = arena_strndup(b->arena, json_string_value(s), *len);
        }
    }
    buf_free(&joined);
    return rc;
}

/* The pair of keys a message uses, key by key: data frames give every message all four. */
static const char *pick_key(const json_t *m, const char *sharegpt, const char *openai,
                            bool is_sharegpt)
{
    if (build_get(m, sharegpt))
        return sharegpt;
    return build_get(m, openai) || !is_sharegpt ? openai : sharegpt;
}

/* A turn may be without a text where something else is said. */
static int check_text(struct builder *b, const struct data_turn *t, const char *path)
{
    if (t->len > 0 || t->role == DATA_TOOL || t->role == DATA_SYSTEM)
        return 0;
    if (t->role == DATA_ASSISTANT && (t->keys & (DATA_KEY_TOOL_CALLS | DATA_KEY_REASONING)))
        return 0;
    return t->is_silent ? build_is_missing(b, path) : build_is_empty(b, path);
}

static int add_message(struct builder *b, const json_t *m, const struct data_member *raw,
                       const char *list, size_t i)
{
    char path[96];
    snprintf(path, sizeof path, "%s[%zu]", list, i);
    if (!json_is_object(m))
        return build_wrong_type(b, path, m, "object");
    bool is_sharegpt = build_get(m, "from") || build_get(m, "value");
    const char *role_key = pick_key(m, "from", "role", is_sharegpt);
    const char *text_key = pick_key(m, "value", "content", is_sharegpt);
    const json_t *name = NULL, *content = build_get(m, text_key);
    struct data_turn t = {.text = "", .is_silent = !content};
    snprintf(path, sizeof path, "%s[%zu].%s", list, i, role_key);
    int rc = build_string(b, build_get(m, role_key), path, &name);
    if (rc == 0)
        rc = find_role(b, name, path, &t.role);
    if (rc == 0) {
        t.is_developer = strcasecmp(json_string_value(name), "developer") == 0;
        rc = build_extra(b, m, raw, &t);
    }
    snprintf(path, sizeof path, "%s[%zu].%s", list, i, text_key);
    if (rc == 0 && (content || t.role == DATA_TOOL))
        rc = get_content(b, content, path, &t.text, &t.len);
    if (rc == 0 && (t.role != DATA_SYSTEM || content))
        rc = check_text(b, &t, path);
    if (rc < 0 || (t.role == DATA_SYSTEM && t.is_silent))
        return rc;
    build_turn(b, t.role, t.text, t.len);
    b->turns[b->n - 1] = t;
    return 0;
}

/* The list's text: of the record's field, or what its string holds. NULL: there is none. */
static char *text_of_list(struct builder *b, const char *key)
{
    struct data_member m;
    json_error_t why;
    for (size_t at = 0; data_member_next(b->record->raw, b->record->raw_len, &at, &m);) {
        if (!data_member_is(&m, key))
            continue;
        if (m.value[0] != '"')
            return mem_strndup(m.value, m.value_len);
        json_t *s = json_loadb(m.value, m.value_len, JSON_DECODE_ANY, &why);
        char *text = s ? mem_strndup(json_string_value(s), json_string_length(s)) : NULL;
        json_decref(s);
        return text;
    }
    return NULL;
}

int build_messages(struct builder *b, json_t *list, const char *key)
{
    size_t i, at = 0;
    const json_t *m;
    char *text = text_of_list(b, key);
    int rc = 0;
    json_array_foreach(list, i, m)
    {
        struct data_member raw = {0};
        bool has_raw = text && data_element_next(text, strlen(text), &at, &raw);
        rc = json_is_null(m) ? 0 : add_message(b, m, has_raw ? &raw : NULL, key, i);
        if (rc < 0)
            break;
    }
    free(text);
    return rc;
}
