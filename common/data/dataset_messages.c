/* SPDX-License-Identifier: MIT
 * Lists of messages: OpenAI's {role, content} and ShareGPT's {from, value}, message by message.
 */
#include "data/dataset_build.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    enum data_role role;
} role_names[] = {
    {"user", DATA_USER},         {"human", DATA_USER},      {"assistant", DATA_ASSISTANT},
    {"gpt", DATA_ASSISTANT},     {"model", DATA_ASSISTANT}, {"function_call", DATA_ASSISTANT},
    {"chatgpt", DATA_ASSISTANT}, {"system", DATA_SYSTEM},   {"developer", DATA_SYSTEM},
    {"tool", DATA_TOOL},         {"function", DATA_TOOL},   {"observation", DATA_TOOL},
};

static int find_role(struct builder *b, const json_t *name, const char *path,
                     enum data_role *role)
{
    const char *s = json_string_value(name);
    for (size_t i = 0; i < sizeof role_names / sizeof *role_names; i++)
        if (strcmp(s, role_names[i].name) == 0) {
            *role = role_names[i].role;
            return 0;
        }
    return err_set(b->e, ERR_FORMAT,
                   "\"%s\" is \"%.40s\", expected system, user, assistant or tool "
                   "(or human, gpt, observation, function_call)",
                   path, s);
}

/* Content as OpenAI's list of parts: only parts of text can be used. */
static int join_parts(struct builder *b, const json_t *list, const char *path, struct buf *text)
{
    size_t i;
    const json_t *part;
    json_array_foreach(list, i, part)
    {
        if (json_is_null(part))
            continue;
        const json_t *type = json_object_get(part, "type"), *s = json_object_get(part, "text");
        if (!json_is_object(part))
            return err_set(b->e, ERR_FORMAT, "field \"%s[%zu]\" is %s, expected object", path,
                           i, data_type_name(part));
        if (json_is_string(type) && strcmp(json_string_value(type), "text") != 0)
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

static int add_message(struct builder *b, const json_t *m, const char *list, size_t i)
{
    char path[96];
    snprintf(path, sizeof path, "%s[%zu]", list, i);
    if (!json_is_object(m))
        return build_wrong_type(b, path, m, "object");
    bool is_sharegpt = build_get(m, "from") || build_get(m, "value");
    const char *role_key = pick_key(m, "from", "role", is_sharegpt);
    const char *text_key = pick_key(m, "value", "content", is_sharegpt);
    const json_t *name = NULL, *content = build_get(m, text_key);
    enum data_role role = DATA_USER;
    snprintf(path, sizeof path, "%s[%zu].%s", list, i, role_key);
    int rc = build_string(b, build_get(m, role_key), path, &name);
    if (rc == 0)
        rc = find_role(b, name, path, &role);
    if (rc < 0)
        return rc;
    const char *text = NULL;
    size_t len = 0;
    snprintf(path, sizeof path, "%s[%zu].%s", list, i, text_key);
    if (role == DATA_SYSTEM && !content)
        return 0;
    rc = get_content(b, content, path, &text, &len);
    if (rc < 0)
        return rc;
    if (len == 0 && (role == DATA_USER || role == DATA_ASSISTANT))
        return build_is_empty(b, path);
    if (len > 0 || role == DATA_TOOL)
        build_turn(b, role, text, len);
    return 0;
}

int build_messages(struct builder *b, json_t *list, const char *key)
{
    size_t i;
    const json_t *m;
    json_array_foreach(list, i, m)
    {
        int rc = json_is_null(m) ? 0 : add_message(b, m, key, i);
        if (rc < 0)
            return rc;
    }
    return 0;
}
