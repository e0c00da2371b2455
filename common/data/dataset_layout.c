/* SPDX-License-Identifier: MIT
 * From a JSON object to a record's turns, whatever the layout.
 *
 * Fields that the layout reads must have their type; others may be anything. */
#include "data/dataset_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct builder {
    struct arena *arena;
    struct data_turn *turns;
    size_t n, cap;
    struct err *e;
};

static int wrong_type(struct builder *b, const char *path, const json_t *v, const char *want)
{
    return err_set(b->e, ERR_FORMAT, "field \"%s\" is %s, expected %s", path, data_type_name(v),
                   want);
}

static void add_turn(struct builder *b, enum data_role role, const char *text, size_t len)
{
    MEM_GROW(b->turns, b->cap, b->n + 1);
    b->turns[b->n++] = (struct data_turn){role, text, len};
}

/* May be absent, null or "": then *s is NULL. */
static int get_optional(struct builder *b, const json_t *o, const char *key, const json_t **s)
{
    const json_t *v = json_object_get(o, key);
    *s = NULL;
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_string(v))
        return wrong_type(b, key, v, "string");
    if (json_string_length(v))
        *s = v;
    return 0;
}

/* Must be there, and a string; `path` is what messages call it. */
static int get_string(struct builder *b, const json_t *v, const char *path, const json_t **s)
{
    if (!v)
        return err_set(b->e, ERR_FORMAT, "\"%s\" is missing", path);
    if (!json_is_string(v))
        return wrong_type(b, path, v, "string");
    *s = v;
    return 0;
}

static int is_empty(struct builder *b, const char *path)
{
    return err_set(b->e, ERR_FORMAT, "\"%s\" is empty", path);
}

static void add_json_turn(struct builder *b, enum data_role role, const json_t *s)
{
    size_t len = json_string_length(s);
    add_turn(b, role, arena_strndup(b->arena, json_string_value(s), len), len);
}

static int add_field(struct builder *b, const json_t *o, const char *key, enum data_role role)
{
    const json_t *s = NULL;
    int rc = get_string(b, json_object_get(o, key), key, &s);
    if (rc < 0)
        return rc;
    if (json_string_length(s) == 0)
        return is_empty(b, key);
    add_json_turn(b, role, s);
    return 0;
}

/* ---- lists of messages ---- */

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
        rc = get_string(b, v, path, &s);
        if (rc == 0) {
            *len = json_string_length(s);
            *text = arena_strndup(b->arena, json_string_value(s), *len);
        }
    }
    buf_free(&joined);
    return rc;
}

static int add_message(struct builder *b, const json_t *m, const char *list, size_t i)
{
    char path[96];
    snprintf(path, sizeof path, "%s[%zu]", list, i);
    if (!json_is_object(m))
        return wrong_type(b, path, m, "object");
    bool is_sharegpt = json_object_get(m, "from") || json_object_get(m, "value");
    const json_t *name = NULL;
    enum data_role role = DATA_USER;
    snprintf(path, sizeof path, "%s[%zu].%s", list, i, is_sharegpt ? "from" : "role");
    int rc = get_string(b, json_object_get(m, is_sharegpt ? "from" : "role"), path, &name);
    if (rc == 0)
        rc = find_role(b, name, path, &role);
    if (rc < 0)
        return rc;
    const char *text = NULL;
    size_t len = 0;
    snprintf(path, sizeof path, "%s[%zu].%s", list, i, is_sharegpt ? "value" : "content");
    rc = get_content(b, json_object_get(m, is_sharegpt ? "value" : "content"), path, &text,
                     &len);
    if (rc < 0)
        return rc;
    if (len == 0 && (role == DATA_USER || role == DATA_ASSISTANT))
        return is_empty(b, path);
    if (len > 0 || role == DATA_TOOL)
        add_turn(b, role, text, len);
    return 0;
}

/* A list, or the JSON text of one, which is how a CSV cell or a data frame holds it. The caller
 * releases what it gets (json_decref); NULL: neither. */
static json_t *get_list(json_t *v)
{
    json_t *list = NULL;
    if (json_is_array(v))
        return json_incref(v);
    if (json_is_string(v) && json_string_value(v)[0] == '[')
        list = json_loadb(json_string_value(v), json_string_length(v), JSON_REJECT_DUPLICATES,
                          NULL);
    return list;
}

static int add_messages(struct builder *b, json_t *value, const char *key)
{
    size_t i;
    const json_t *m;
    int rc = 0;
    if (!value)
        return err_set(b->e, ERR_FORMAT, "\"%s\" is missing", key);
    json_t *list = get_list(value);
    if (!list)
        return wrong_type(b, key, value, "array");
    json_array_foreach(list, i, m)
    {
        rc = add_message(b, m, key, i);
        if (rc < 0)
            break;
    }
    json_decref(list);
    return rc;
}

static bool has_assistant(const struct builder *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->turns[i].role == DATA_ASSISTANT)
            return true;
    return false;
}

/* ---- layouts ---- */

/* The system text of a record's own field comes first, whatever the layout but text. */
static int add_system(struct builder *b, const json_t *o, struct data_record *r)
{
    const char *key = json_object_get(o, "system") ? "system" : "system_prompt";
    const json_t *s = NULL;
    int rc = get_optional(b, o, key, &s);
    if (json_object_get(o, key))
        r->fields[DATA_FIELD_SYSTEM] = key;
    if (rc == 0 && s)
        add_json_turn(b, DATA_SYSTEM, s);
    return rc;
}

/* A conversation. */
static int build_list(struct builder *b, const json_t *o, struct data_record *r)
{
    const char *key = r->fields[DATA_FIELD_PROMPT];
    int rc = add_messages(b, json_object_get(o, key), key);
    if (rc < 0)
        return rc;
    if (!has_assistant(b))
        return err_set(b->e, ERR_FORMAT, "\"%s\" has no assistant turn", key);
    return 0;
}

static int add_pair(struct builder *b, const json_t *pair, size_t i)
{
    for (size_t k = 0; k < 2; k++) {
        const json_t *s = json_array_get(pair, k);
        if (json_array_size(pair) != 2 || !json_is_string(s))
            return err_set(b->e, ERR_FORMAT, "\"history[%zu]\" is not a pair of strings", i);
        if (json_string_length(s) == 0)
            return err_set(b->e, ERR_FORMAT, "\"history[%zu][%zu]\" is empty", i, k);
        add_json_turn(b, k ? DATA_ASSISTANT : DATA_USER, s);
    }
    return 0;
}

static int add_history(struct builder *b, json_t *value)
{
    size_t i;
    const json_t *pair;
    int rc = 0;
    if (!value || json_is_null(value) ||
        (json_is_string(value) && json_string_length(value) == 0))
        return 0;
    json_t *list = get_list(value);
    if (!list)
        return wrong_type(b, "history", value, "array");
    json_array_foreach(list, i, pair)
    {
        rc = add_pair(b, pair, i);
        if (rc < 0)
            break;
    }
    json_decref(list);
    return rc;
}

/* The user's turn is "instruction\ninput", as LLaMA-Factory joins them. */
static int add_alpaca_user(struct builder *b, const json_t *o, struct data_record *r)
{
    const json_t *instruction = NULL, *input = NULL;
    const char *key = r->fields[DATA_FIELD_PROMPT];
    int rc = get_string(b, json_object_get(o, key), key, &instruction);
    if (rc == 0)
        rc = get_optional(b, o, r->fields[DATA_FIELD_INPUT], &input);
    if (rc < 0)
        return rc;
    size_t n = json_string_length(instruction), m = input ? json_string_length(input) : 0;
    if (n + m == 0)
        return is_empty(b, key);
    r->instruction = arena_strndup(b->arena, json_string_value(instruction), n);
    r->input = arena_strndup(b->arena, input ? json_string_value(input) : "", m);
    size_t len = n + m + (n && m);
    char *text = arena_take(b->arena, len + 1);
    memcpy(text, r->instruction, n);
    if (n && m)
        text[n] = '\n';
    memcpy(text + len - m, r->input, m + 1);
    add_turn(b, DATA_USER, text, len);
    return 0;
}

static int build_alpaca(struct builder *b, const json_t *o, struct data_record *r)
{
    int rc = add_history(b, json_object_get(o, "history"));
    if (rc == 0)
        rc = add_alpaca_user(b, o, r);
    return rc < 0 ? rc : add_field(b, o, r->fields[DATA_FIELD_RESPONSE], DATA_ASSISTANT);
}

/* Prompt and response: strings. */
static int build_pair(struct builder *b, const json_t *o, struct data_record *r)
{
    int rc = add_field(b, o, r->fields[DATA_FIELD_PROMPT], DATA_USER);
    return rc < 0 ? rc : add_field(b, o, r->fields[DATA_FIELD_RESPONSE], DATA_ASSISTANT);
}

/* Strings, or lists of messages as TRL takes them. */
static int build_completion(struct builder *b, const json_t *o, struct data_record *r)
{
    json_t *prompt = json_object_get(o, "prompt");
    json_t *completion = json_object_get(o, "completion");
    (void)r;
    int rc = json_is_array(prompt) ? add_messages(b, prompt, "prompt")
                                   : add_field(b, o, "prompt", DATA_USER);
    if (rc < 0)
        return rc;
    if (!json_is_array(completion))
        return add_field(b, o, "completion", DATA_ASSISTANT);
    size_t before = b->n;
    rc = add_messages(b, completion, "completion");
    for (size_t i = before; rc == 0 && i < b->n; i++)
        if (b->turns[i].role == DATA_ASSISTANT)
            return 0;
    return rc < 0 ? rc : err_set(b->e, ERR_FORMAT, "\"completion\" has no assistant turn");
}

static int build_text(struct builder *b, const json_t *o, struct data_record *r)
{
    return add_field(b, o, r->fields[DATA_FIELD_RESPONSE], DATA_ASSISTANT);
}

/* Layouts by the fields that they need, the surest first. The second rows of a layout are what
 * well-known datasets call the same: Dolly; HelpSteer, MetaMathQA, MATH; OpenOrca. */
static const struct layout {
    enum data_layout layout;
    const char *fields[3]; /* prompt or list, response, input */
    int (*build)(struct builder *b, const json_t *o, struct data_record *r);
} layouts[] = {
    {DATA_MESSAGES, {"messages", NULL, NULL}, build_list},
    {DATA_SHAREGPT, {"conversations", NULL, NULL}, build_list},
    {DATA_ALPACA, {"instruction", "output", "input"}, build_alpaca},
    {DATA_ALPACA, {"instruction", "response", "context"}, build_alpaca},
    {DATA_COMPLETION, {"prompt", "completion", NULL}, build_completion},
    {DATA_COMPLETION, {"prompt", "response", NULL}, build_pair},
    {DATA_COMPLETION, {"query", "response", NULL}, build_pair},
    {DATA_COMPLETION, {"problem", "solution", NULL}, build_pair},
    {DATA_QA, {"question", "answer", NULL}, build_pair},
    {DATA_QA, {"question", "response", NULL}, build_pair},
    {DATA_TEXT, {NULL, "text", NULL}, build_text},
};
enum { N_LAYOUTS = sizeof layouts / sizeof *layouts };

/* The first whose fields are all there, else the first with one of them, which can then say
 * what is missing. Text alone is the last choice: a record with "prompt" and "text" lacks its
 * completion. */
static const struct layout *find_layout(const json_t *o)
{
    const struct layout *half = NULL;
    for (int i = 0; i < N_LAYOUTS; i++) {
        const char *const *f = layouts[i].fields;
        int n_wanted = (f[0] != NULL) + (f[1] != NULL);
        int n_found = (f[0] && json_object_get(o, f[0])) + (f[1] && json_object_get(o, f[1]));
        if (n_found == n_wanted && (layouts[i].layout != DATA_TEXT || !half))
            return &layouts[i];
        if (n_found > 0 && !half)
            half = &layouts[i];
    }
    return half;
}

static int unknown_layout(json_t *o, struct err *e)
{
    struct buf found = {0};
    const char *key;
    json_t *v;
    json_object_foreach(o, key, v)
    {
        if (found.len > 200) {
            buf_puts(&found, ", ...");
            break;
        }
        buf_printf(&found, "%s\"%.60s\"", found.len ? ", " : "", key);
    }
    err_set(e, ERR_FORMAT,
            "no \"instruction\", \"messages\", \"conversations\", \"prompt\", \"question\" or "
            "\"text\" among its fields (%s)",
            found.len ? buf_str(&found) : "none");
    buf_free(&found);
    return e ? e->code : ERR_FORMAT;
}

int data_record_build(struct data_record *r, json_t *o, struct arena *a, struct err *e)
{
    struct builder b = {.arena = a, .e = e};
    const struct layout *l = find_layout(o);
    if (!l)
        return unknown_layout(o, e);
    r->layout = l->layout;
    memcpy(r->fields, l->fields, sizeof l->fields);
    int rc = l->layout == DATA_TEXT ? 0 : add_system(&b, o, r);
    size_t n_system = b.n;
    if (rc == 0)
        rc = l->build(&b, o, r);
    if (rc == 0) {
        if (n_system && b.turns[1].role == DATA_SYSTEM) /* the list's own stands for it */
            memmove(b.turns, b.turns + 1, --b.n * sizeof *b.turns);
        r->n_turns = (int)b.n;
        r->turns = arena_take(a, b.n * sizeof *b.turns);
        memcpy(r->turns, b.turns, b.n * sizeof *b.turns);
    }
    free(b.turns);
    return rc;
}
